"""Checklists that reviewers ask for, filled from the configuration and the results; what is open is named.

The items stand in ``checklists.tsv``. An answer there is a template; it is open where something it needs is not known.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.data.measures import MEASURES
from dysconnect.models.cards import label
from dysconnect.paper.html import template
from dysconnect.paper.text import (
    NONE,
    RESEARCH_ONLY,
    Estimate,
    compared_text,
    counted,
    covariate_names,
    listed,
    number,
)
from dysconnect.report import cohort as people
from dysconnect.report import localization
from dysconnect.report.budget import connection_share, model_share
from dysconnect.report.cohort.tables import cohort_table
from dysconnect.report.prediction.scores import aucs, best_of, candidates, kind
from dysconnect.report.prediction.sentences import floor_sentence, power_sentence, prediction_sentence
from dysconnect.report.prediction.tried import tried_sentence
from dysconnect.report.prediction.words import evaluation_text, models_text, splits_text
from dysconnect.report.quality.sentences import quality_sentence
from dysconnect.report.references import cited
from dysconnect.report.results import Study
from dysconnect.report.series import criteria, denoised_here, denoising_text, images_text
from dysconnect.report.software import software_versions, version
from dysconnect.report.structures import detectable_sentence, structure_sentence
from dysconnect.report.unnamed import as_shown

ITEMS = Path(__file__).with_suffix(".tsv")
ABOUT = {
    "COBIDAS": "For studies of brain images: best practices in data analysis and sharing (Nichols et al. 2017).",
    "TRIPOD+AI": "For models that predict from what is known of a person (Collins et al. 2024).",
}
SCANNED = ("bids", "derivatives")  # kinds of data of which there are images


class Item(NamedTuple):
    """A row of the list: what a reviewer asks, the template that answers, and what to write where it cannot."""

    checklist: str
    area: str
    item: str
    answer: str
    open: str


class Answer(NamedTuple):
    """An item with its answer, or with what is still to be written."""

    item: Item
    words: str
    open: bool


def read_items() -> list[Item]:
    """All items of all checklists, in the order of the list."""
    with ITEMS.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Item(**row) for row in rows]


def fill(item: Item, known: Mapping[str, str]) -> Answer:
    """Answer an item, or leave it open where its template needs a word that is empty.

    Raises
    ------
    KeyError
        When the template has a name that nobody knows.
    """
    needed = [name for _, name, _, _ in Formatter().parse(item.answer) if name]
    if item.answer and all([known[name] for name in needed]):
        return Answer(item, item.answer.format_map(known), open=False)
    return Answer(item, item.open, open=True)


def answers(study: Study) -> list[Answer]:
    """Every item, answered as far as configuration and results can."""
    known = _people(study) | _scans(study) | _connections(study) | _models(study) | _scores(study) | _software(study)
    return [fill(item, known) for item in read_items()]


def checklists_page(study: Study, date: str) -> str:
    """Write the page of the checklists; it names no person.

    Parameters
    ----------
    study : Study
    date : str
        As it is to be printed.
    """
    study = as_shown(study)
    filled = answers(study)
    words = [("", text) for text in [*ABOUT.values(), *(answer.words for answer in filled)]]
    return template("checklists.html", __file__).render(
        title=study.cohort["dataset"]["title"],
        date=date,
        banner=people.banner(study.cohort),
        research_only=RESEARCH_ONLY,
        count=counts_text(filled),
        checklists=[(name, about, _of(filled, name)) for name, about in ABOUT.items()],
        counts_text=counts_text,
        references=[str(paper) for paper in cited(words)],
    )


def counts_text(filled: Iterable[Answer]) -> str:
    """Count what is answered and what is open."""
    is_open = [answer.open for answer in filled]
    return f"{len(is_open) - sum(is_open)} answered, {sum(is_open)} open"


def _of(filled: Iterable[Answer], name: str) -> dict[str, list[Answer]]:
    """Answers of a checklist by area."""
    areas: dict[str, list[Answer]] = {}
    for answer in filled:
        if answer.item.checklist == name:
            areas.setdefault(answer.item.area, []).append(answer)
    return areas


def _people(study: Study) -> dict[str, str]:
    """Who was studied, and what is left out of the answers where nobody is real."""
    dataset, contrast, table = study.cohort["dataset"], study.contrast, study.results.participants
    kept = study.results.splits.drop_duplicates("participant_id")["label"]
    sites = sorted(set(table.loc[table["included"], "site"].dropna().astype(str)) - {""})
    simulated = dataset["kind"] == "simulated"
    nobody = "Does not apply: the cohort is simulated, and there are no people in it." if simulated else ""
    return {
        "no_people": nobody,
        "task": nobody or _sentence(f"files of the task “{dataset.get('task')}”" if dataset.get("task") else ""),
        "name": dataset["name"],
        "data": f"{_stopped(dataset['title'])} {_stopped(dataset['citation'])}",
        "licence": _sentence(dataset["licence"]),
        "subjects": people.subjects_sentence(study.results, contrast, where=""),
        "counts": f"{counted(int((kept == 1).sum()), 'patient')} and {counted(int((kept == 0).sum()), 'control')}",
        "described": described(table, contrast),
        "criteria": f"{criteria(study.cohort)} are excluded.",
        "exclusions": exclusions(study.results.quality["excluded"], table["participant_id"]),
        "sites": f"{counted(len(sites), 'site')}: {listed(sites)}." if sites else "",
        "outcome": (
            f"The group in the table of participants: {listed(contrast['cases'])} (patients) or "
            f"{listed(contrast['controls'])} (controls)."
        ),
    }


def described(participants: pd.DataFrame, contrast: Mapping) -> str:
    """Age, sex, site and motion of the groups that are compared, in one line a group."""
    table, lines = cohort_table(participants, contrast), []
    heads = [column.title for column in table.columns[3:]]
    for row in table.rows:
        if not row.mark:  # of the contrast
            parts = [f"{head}: {cell}" for head, cell in zip(heads, row.cells[3:]) if cell != NONE]
            lines.append("; ".join([f"{row.cells[0][0]}: {row.cells[2]} included", *parts]))
    return ". ".join(lines) + "."


def exclusions(excluded: Iterable[Mapping], names: Iterable[str]) -> str:
    """How many were left out for which reason; an ellipsis stands in place of a person's name."""
    named = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})(?![A-Za-z0-9])")
    sides = (("cases", "patient"), ("controls", "control"), ("others", "other"))
    parts = []
    for row in excluded:
        who = listed(counted(row[side], word) for side, word in sides if row[side])
        parts.append(f"{who}: {named.sub('…', row['reason'])}")
    return f"{'; '.join(parts)}." if parts else "Nobody was."


def _scans(study: Study) -> dict[str, str]:
    """How people were scanned, and how scans became series."""
    cohort, results = study.cohort, study.results
    dataset, spec, atlas = cohort["dataset"], cohort["denoise"], cohort["atlas"]
    scanned, given = dataset["kind"] in SCANNED, dataset["kind"] in ("table", "matrices")
    simulated = "Does not apply: the series are simulated." if dataset["kind"] == "simulated" else ""
    engine = {} if results.scans is None else results.scans.engine
    motion = results.quality["motion"]
    return {
        "repetition": repetition_text(results.index, results.participants),
        "length": length_text(results.participants),
        "images": simulated or (images_text(cohort, engine).strip() if scanned else ""),
        "smoothing": simulated or ("None: series are means over the voxels of a region." if scanned else ""),
        "denoising": "" if given or not denoised_here(spec) else f"Regional series were {denoising_text(spec)}",
        "atlas": f"{len(study.nodes)} regions, {_stopped(atlas['title'])} {_stopped(atlas['citation'])}",
        "n_regions": f"{len(study.nodes):,}",
        "missing": missing_text(results.quality["edges"]),
        "motion": f"Mean framewise displacement: {compared_text(motion, 'mm', 3)}." if "cases" in motion else "",
        "quality": quality_sentence(study),
    }


def missing_text(edges: Mapping) -> str:
    """How many connections are missing, and what models make of one that a person lacks."""
    lost, total = edges["total"] - edges["tested"], f"{edges['total']:,}"
    tested = (
        f"{lost:,} of {total} connections were not measured, or missing in too many people, and not tested."
        if lost
        else f"All {total} connections were tested."
    )
    return f"{tested} In models, those that a person lacks are filled in from the people of the training fold."


def repetition_text(index: pd.DataFrame | None, participants: pd.DataFrame) -> str:
    """Repetition time of the included, or its span; empty where it is not known."""
    if index is None or "repetition_time" not in index:
        return ""
    kept = index["participant_id"].isin(participants.loc[participants["included"], "participant_id"])
    times = pd.to_numeric(index.loc[kept, "repetition_time"], errors="coerce")
    times = times[times > 0]
    if times.empty:
        return ""
    return f"{_span(times, 4)} s."


def length_text(participants: pd.DataFrame) -> str:
    """Seconds and volumes of the included that were analysed; empty where there was no scan to read."""
    kept = participants[participants["included"]]
    if not {"seconds_kept", "n_volumes"} <= set(kept) or not (kept["seconds_kept"] > 0).any():
        return ""
    return f"{_span(kept['seconds_kept'], 6)} s a person were analysed, of {_span(kept['n_volumes'], 6)} volumes."


def _span(values: pd.Series, digits: int) -> str:
    low, high = values.min(), values.max()
    return f"{low:.{digits}g}" if np.isclose(low, high) else f"{low:.{digits}g} to {high:.{digits}g}"


def _connections(study: Study) -> dict[str, str]:
    """How connections were tested, and what was found."""
    results, spec, summary = study.results, study.cohort["localize"], study.results.summary
    untested = f"; {summary['n_untested']:,} more could not be tested" if summary["n_untested"] else ""
    return {
        "measure": _sentence(MEASURES[spec["measure"]].sentence),
        "tested": f"{counted(summary['n_edges'], 'connection')}{untested}.",
        "n_edges": f"{summary['n_edges']:,}",
        "nuisance": _sentence(covariate_names(summary["nuisance"])),
        "localization": localization.localization_text(summary, spec),
        "errors": errors_text(study),
        "asked": asked_text(study),
        "found": localization.localization_sentence(study),
        "wholes": structure_sentence(study, circuit_titles()) or "No set of connections is shown to differ.",
        "intervals": intervals_text(summary),
        "detectable": detectable_sentence(results.detectable, circuit_titles()),
        "stability": (
            f"How often each connection is among the {spec['stability_top']} strongest in {spec['stability_draws']} "
            "random halves of the cohort."
        ),
    }


def errors_text(study: Study) -> str:
    """Error rate of each family of tests, and of what the report names as a difference."""
    summary = study.results.summary
    return (
        f"Family-wise error rate of {summary['alpha']:g} for single connections and, apart from these, for sets of "
        f"connections, from {summary['permutations']:,} permutations. To be named as a difference by the report, the "
        f"best model needs a p of {model_share(study):.3g} or less, a family of connections one of "
        f"{connection_share(study):.3g}."
    )


def intervals_text(summary: Mapping) -> str:
    """How sure effect sizes are, and what is left of those that were chosen."""
    text = f"Each d has its {1 - summary['alpha']:.0%} interval, by the noncentral t distribution."
    if summary.get("shrinkage") is None:
        return text
    return (
        f"{text} Those of called connections are also given times {number(summary['shrinkage'])}, which allows for "
        "their having been chosen for being strong."
    )


def asked_text(study: Study) -> str:
    """What was asked of the connections beside the difference of the groups."""
    severity, groups, joint = study.results.severity, study.results.groups, study.results.joint
    parts = [] if severity is None else [f"association with {severity.summary['score']} inside the patients"]
    parts += [] if groups is None else [f"differences between {listed(groups.summary['groups'])}"]
    parts += [] if joint is None else [f"the same difference in {len(joint.summary['pictures'])} maps tested as one"]
    return _sentence(listed(parts)) or "None beside the difference of the groups."


def _models(study: Study) -> dict[str, str]:
    """What the models are, and how they were trained and tested."""
    results, cohort, experiments = study.results, study.cohort, study.experiments
    seeing = [name for name, config in experiments.items() if kind(config) != "floor"]
    floor, graphs = study.floor, any(kind(config) == "graph" for config in experiments.values())
    aligned = [label(name) for name, config in experiments.items() if config["model"].get("harmonise") == "combat"]
    weighed = " The loss of graph networks weighs both groups equally in the training fold." if graphs else ""
    first = {name: config["training"]["pretrain"]["connectomes"] for name, config in experiments.items()}
    pretrained = [label(name) for name in seeing if first[name] and kind(experiments[name]) == "graph"]
    named = listed(label(name) for name in seeing)
    sees = [] if floor is None else experiments[floor]["model"].get("covariates", [])
    return {
        "aims": f"Development and internal validation of {counted(len(experiments), 'model')}.",
        "models": models_text(experiments, cohort),
        "evaluation": evaluation_text(results, cohort, experiments),
        "folds": splits_text(cohort["splits"]),
        "apart": apart_text(cohort["splits"]["scheme"]),
        "choice": f"Compared: {named}. The p of the best allows for the choice among those that were permuted."
        if seeing
        else "",
        "tried": tried_sentence(results),
        "floor_sees": _sentence(covariate_names(sees)) if sees else "",
        "harmonised": f"Sites were aligned inside the training folds for {listed(aligned)}."
        if aligned
        else "Not aligned.",
        "imbalance": f"Nobody was resampled.{weighed} The AUC does not depend on how many people a group has.",
        "specification": f"Fitted to everybody, as files in results/{cohort['dataset']['name']}/predict: {named}."
        if seeing
        else "",
        "updating": f"{listed(pretrained)} started from weights of other data."
        if pretrained
        else "No earlier model was updated.",
    }


def apart_text(scheme: str) -> str:
    """How people who were tested differ from those who were trained on."""
    if scheme == "kfold":
        return "None by design: other people of the same data and sites."
    return "Models were tested at sites where nobody was trained on; scanners and people of these may differ."


def _scores(study: Study) -> dict[str, str]:
    """What the models reached."""
    auc, floor = candidates(study), floor_sentence(study)
    known = {"prediction": "", "power": "", "calibration": "", "subgroups": "", "by_group": "", "floor": floor}
    if not auc:
        return known
    best = best_of(auc)
    rows = study.results.subgroups
    rows = rows[(rows["experiment"] == best) & (rows["metric"] == "auc") & rows["value"].notna()]
    return known | {
        "prediction": prediction_sentence(study),
        "power": power_sentence(study),
        "calibration": calibration_text(study, best),
        "subgroups": _sentence(listed(dict.fromkeys(rows["variable"]))),
        "by_group": by_group_text(label(best), rows),
    }


def by_group_text(name: str, rows: pd.DataFrame) -> str:
    """AUC of a model in every group that is large enough; empty where none is."""
    parts = [
        f"{row.variable} {row.group} {Estimate(row.value, row.low, row.high, np.nan)}" for row in rows.itertuples()
    ]
    return f"AUC of {name}: {'; '.join(parts)}." if parts else ""


def calibration_text(study: Study, name: str) -> str:
    """Slope, intercept and Brier score of a model; empty where its slope is not known."""
    metrics = {"calibration_slope": "slope", "calibration_intercept": "intercept", "brier": "Brier score"}
    values = {title: aucs(study.results.scores, metric).get(name) for metric, title in metrics.items()}
    if values["slope"] is None or not np.isfinite(values["slope"].value):
        return ""
    return _sentence(f"{label(name)}: {', '.join(f'{title} {value}' for title, value in values.items() if value)}")


def _software(study: Study) -> dict[str, str]:
    """What ran, and the seeds of its random numbers."""
    versions = {name: of for name, of in software_versions().items() if name != "dysconnect" and of != NONE}
    sections = study.cohort.items()
    seeds = {name: part["seed"] for name, part in sections if isinstance(part, Mapping) and "seed" in part}
    return {
        "code": f"dysconnect {version('dysconnect')}, BSD-3-Clause.",
        "versions": f"With {', '.join(f'{name} {of}' for name, of in versions.items())}.",
        "seeds": f"Seeds: {', '.join(f'{name} {seed}' for name, seed in seeds.items())}.",
    }


def _stopped(words: str) -> str:
    """Words with a full stop behind them."""
    return f"{words.rstrip('.')}." if words else ""


def _sentence(words: str) -> str:
    """Words as a sentence; none of none."""
    return _stopped(f"{words[:1].upper()}{words[1:]}")
