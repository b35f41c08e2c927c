"""A page for everybody of the cohort: the scan, what the models said, how they deviate, and what is only a hypothesis.

Everything is read from tables of the stages before, and drawn as SVG by hand, so that hundreds of pages take seconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.data.atlas.targets import target_titles
from dysconnect.data.measures import measure_of
from dysconnect.data.participants import read_participants
from dysconnect.data.series import read_confounds
from dysconnect.models.cards import label
from dysconnect.paper.deviation import columns_beyond
from dysconnect.paper.html import Picture, template
from dysconnect.paper.tables import Column, Row, Table, page_name
from dysconnect.paper.text import (
    NONE,
    RESEARCH_ONLY,
    Estimate,
    counted,
    listed,
    number,
    p_value,
)
from dysconnect.problems import reason
from dysconnect.progress import track
from dysconnect.report.cohort import banner
from dysconnect.report.people import norm, strips
from dysconnect.report.prediction.scores import above_chance, aucs
from dysconnect.report.stimulation import CAUTION
from dysconnect.report.stimulation.tables import connections

SHOWN = 5  # targets of a kind
MEASURES = {"mean_fd": ("Mean FD, mm", 3), "seconds_kept": ("Scan kept, s", 0), "n_volumes": ("Volumes kept", 0)}
KINDS = {"node": "region", "region": "target region", "circuit": "circuit"}


@dataclass(frozen=True)
class Everybody:
    """The people of a cohort, and what the stages before said of each.

    Attributes
    ----------
    participants : DataFrame
        After the `timeseries` stage, by `participant_id`.
    index : DataFrame
        `repetition_time` and `confounds` of every scan that there is, by `participant_id`; no columns where there are
        connections only.
    predictions : mapping of str to DataFrame
        Out-of-fold probability by experiment: `value`, `low` and `high` over repeats, and `label`, by `participant_id`.
    aucs : mapping of str to Estimate
        By experiment, the best first.
    people : DataFrame
        How everybody deviates from the norm of the controls, by `participant_id`.
    circuits, edges, targets, edits : mapping of str to DataFrame
        By participant: how their circuits and their most deviant connections deviate; virtual-stimulation targets of
        patients, and the connections behind the first of these, nobody's where they are withheld.
    stimulation : str
        The model behind the targets, or why they are withheld; empty where nobody asked.
    """

    participants: pd.DataFrame
    index: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    aucs: Mapping[str, Estimate]
    people: pd.DataFrame
    circuits: Mapping[str, pd.DataFrame]
    edges: Mapping[str, pd.DataFrame]
    targets: Mapping[str, pd.DataFrame]
    edits: Mapping[str, pd.DataFrame]
    stimulation: str

    def found(self, name: str) -> pd.Series | None:
        """What the norm of the controls says of a person; None where it was not asked."""
        return self.people.loc[name] if name in self.people.index else None

    @cached_property
    def measured(self) -> dict[str, tuple[pd.Series, np.ndarray]]:
        """Measures of the scans by column: everybody's, and the 5th, 50th and 95th percentile of those known, [3]."""
        people = self.participants
        known = {name: pd.to_numeric(people[name], errors="coerce") for name in MEASURES if name in people}
        return {name: (values, values.dropna().quantile([0.05, 0.5, 0.95])) for name, values in known.items()}


def read_everybody(paths: Mapping, predictions: Mapping[str, str | Path]) -> Everybody:
    """Read what the pages show.

    Parameters
    ----------
    paths : mapping of str to path
        `participants`, `index` (before denoising), `scores`, `people`, `circuits`, `edges`; `targets`, `edits` and
        `verdict` are empty where stimulation was not asked for.
    predictions : mapping of str to path
        Of every experiment.
    """
    index = pd.read_csv(paths["index"], sep="\t", dtype=str, keep_default_na=False).set_index("participant_id")
    folder = Path(paths["index"]).parent
    if "confounds" in index:
        index["confounds"] = [str(folder / cell) if cell else "" for cell in index["confounds"]]
    table = lambda name: pd.read_csv(paths[name], sep="\t", dtype={"participant_id": str})
    by_person = lambda name: dict(iter(table(name).groupby("participant_id"))) if paths.get(name) else {}
    scores = aucs(pd.read_csv(paths["scores"], sep="\t"))
    return Everybody(
        read_participants(paths["participants"]).set_index("participant_id", drop=False),
        index,
        {name: out_of_fold(pd.read_csv(path, sep="\t", dtype={"participant_id": str}))
         for name, path in predictions.items()},
        dict(sorted(scores.items(), key=lambda pair: -pair[1].value)),
        table("people").set_index("participant_id"),
        by_person("circuits"),
        by_person("edges"),
        by_person("targets"),
        by_person("edits"),
        json.loads(Path(paths["verdict"]).read_text())["verdict"] if paths.get("verdict") else "",
    )  # fmt: skip


def out_of_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """Out-of-fold probability of everybody: mean over repeats (and seeds), least and largest of the repeats."""
    repeats = predictions.groupby(["participant_id", "repeat"])["probability"].mean().groupby("participant_id")
    estimates = repeats.agg(["mean", "min", "max"]).set_axis(["value", "low", "high"], axis=1)
    return estimates.assign(label=predictions.groupby("participant_id")["label"].first())


def write_people(everybody: Everybody, nodes: pd.DataFrame, spec: Mapping, folder: Path, date: str) -> None:
    """Write ``index.html``, which leads to everybody, and a page a person beside it; pages of others are removed.

    Parameters
    ----------
    everybody : Everybody
    nodes : DataFrame, [N rows]
    spec : mapping
        `dataset` (`title`, `contrast`, `simulated`, `plant`, `kind`), `denoise` (`max_mean_fd`, `min_seconds`),
        `alpha`, `nuisance`, `floors` (experiments that see no connection), `marked_fd` (mean
        displacement that is marked, mm), `measure` (that was tested) and `stimulated` (that of the model that was
        asked, or empty), `scanned` (whether there are pages of scans).
    folder : path
    date : str
        As it is to be printed.

    Raises
    ------
    ValueError
        When the pages of two people would have one name.
    """
    names = everybody.participants["participant_id"].tolist()
    files = pd.Series([page_name(name) for name in names], names)
    if files.duplicated().any():
        raise ValueError(
            f"{listed(files.index[files.duplicated(keep=False)][:2])} would have one page, "
            f"{files[files.duplicated()].iloc[0]}. Use letters, digits, hyphens, dots and underscores in "
            "participant_id."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    common = _common(everybody, nodes, spec, date)
    whole = template("participant.html", __file__)
    for place, name in enumerate(track(names, "pages of people", total=len(names))):
        beside = {
            "before": names[place - 1] if place else "",
            "after": names[place + 1] if place + 1 < len(names) else "",
        }
        page = whole.render(
            **common, **beside, **_person(everybody, name, nodes, spec, common["cohort"]), page=page_name
        )
        (folder / files[name]).write_text(page, encoding="utf-8")
    index = template("people.html", __file__).render(**common, table=people_table(everybody, spec))
    (folder / "index.html").write_text(index, encoding="utf-8")


def _common(everybody: Everybody, nodes: pd.DataFrame, spec: Mapping, date: str) -> dict:
    """What all pages share."""
    backgrounds = {name: strips.background(table) for name, table in everybody.predictions.items()}
    return {
        "title": spec["dataset"]["title"], "date": date, "banner": banner(spec), "research_only": RESEARCH_ONLY,
        "caution": CAUTION, "cohort": backgrounds, "norm": norm.norm_sentence(everybody.people, spec["alpha"]),
    }  # fmt: skip


def _person(everybody: Everybody, name: str, nodes: pd.DataFrame, spec: Mapping, backgrounds: Mapping) -> dict:
    """What the page of one person shows."""
    person = everybody.participants.loc[name]
    side = {group: word for word, groups in spec["dataset"]["contrast"].items() for group in groups}.get(
        person["group"]
    )
    scan = everybody.index.loc[name] if name in everybody.index.index else None
    seen = [model for model in _ordered(everybody, spec) if name in everybody.predictions[model].index]
    asked, found = side == "cases" and person["included"], everybody.found(name)
    return {
        "name": name,
        "facts": _facts(person),
        "left_out": "" if person["included"] else person["exclusion_reason"] or "no reason given",
        "compared": side is not None,
        "scan": scan_table(everybody, name, spec["denoise"]),
        "trace": None if scan is None else _trace(scan, spec["denoise"]),
        "own_scan": spec["scanned"] and scan is not None,
        "models": model_table(everybody, name, seen, spec) if seen else None,
        "strips": strips.picture_of(everybody.predictions, name, seen, backgrounds, spec) if seen else None,
        "deviation": norm.deviation(found, everybody.circuits.get(name), everybody.edges.get(name), nodes, spec),
        "no_norm": norm.no_norm(found),
        "stimulation": _stimulation(everybody, name, spec["stimulated"]) if asked else None,
    }


def _facts(person: pd.Series) -> list[tuple[str, str]]:
    age = person.get("age", np.nan)
    facts = {"Group": person["group"] or "none", "Age": number(age, 0) if np.isfinite(age) else ""}
    facts |= {"Sex": person.get("sex", ""), "Site": person.get("site", "")}
    return [(name, value) for name, value in facts.items() if isinstance(value, str) and value]


def scan_table(everybody: Everybody, name: str, denoise: Mapping) -> Table | None:
    """Measures of one scan beside those of the cohort, and their limits; None where nothing was measured."""
    rows, nobody = [], (pd.Series(dtype=float), ())
    limits = {"mean_fd": ("≤", denoise["max_mean_fd"]), "seconds_kept": ("≥", denoise["min_seconds"])}
    for column, (title, digits) in MEASURES.items():
        values, spread = everybody.measured.get(column, nobody)
        value = values.get(name, np.nan)
        if not np.isfinite(value) or (value == 0 and column != "mean_fd"):  # no scan, or connections only
            continue
        sign, limit = limits.get(column, ("", None))
        beyond = limit is not None and bool(value > limit if sign == "≤" else value < limit)
        low, middle, high = spread
        cohort = (number(middle, digits), f"{number(low, digits)} to {number(high, digits)}")
        words = NONE if limit is None else f"{sign} {limit:g}"
        rows.append(Row([title, number(value, digits), cohort, words], "beyond" * beyond, beyond=[1] * beyond))
    time = everybody.index["repetition_time"].get(name, "") if "repetition_time" in everybody.index else ""
    if time:
        rows.append(Row(["Time between volumes, s", f"{float(time):g}", NONE, NONE]))
    columns = [Column("Measure", False), Column("This scan"), Column("Cohort"), Column("Limit")]
    caption = "This scan, and the median and middle 90% of all; FD: framewise displacement."
    return Table(caption, columns, rows) if rows else None


def _trace(scan: pd.Series, denoise: Mapping) -> Picture | None:
    """Motion over time, where its table is still there."""
    if not scan.get("confounds") or not Path(scan["confounds"]).is_file():
        return None
    try:
        displacement = read_confounds(scan["confounds"])["framewise_displacement"].to_numpy(float)
    except Exception as problem:  # why the scan is left out stands on the page; the machine's troubles go on
        reason(problem, str(scan.name))
        return None
    return strips.trace(displacement, float(scan["repetition_time"]), denoise["max_mean_fd"])


def _ordered(everybody: Everybody, spec: Mapping) -> list[str]:
    """Experiments that were tested, the best first, and last those that see no connection."""
    names = [name for name in everybody.aucs if name in everybody.predictions]
    return sorted(names, key=lambda name: name in spec["floors"])


def model_table(everybody: Everybody, name: str, experiments: Sequence[str], spec: Mapping) -> Table:
    """What every experiment said of one person whom it had not seen, and how far it is to be believed."""
    rows = []
    for experiment in experiments:
        row, auc = everybody.predictions[experiment].loc[name], everybody.aucs[experiment]
        near, patients = alike(everybody.predictions[experiment], name)
        chance = above_chance(auc, spec["alpha"])
        mark = "floor" if experiment in spec["floors"] else "" if chance else "aside"
        judged = "" if chance else "does not beat chance" if np.isfinite(auc.p) else "not tested against chance"
        verdict = "no connections" if experiment in spec["floors"] else judged
        rows.append(
            Row(
                [(label(experiment), verdict), number(row["value"]), f"{number(row['low'])} to {number(row['high'])}",
                 f"{patients} of {near}", str(auc), p_value(auc.p) if np.isfinite(auc.p) else "not tested"], mark,
            )
        )  # fmt: skip
    cases = listed(spec["dataset"]["contrast"]["cases"])
    columns = [
        Column("Model", False), Column(f"Probability of {cases}"), Column("Repeats"),
        Column("Patients among those alike"), Column("AUC in the cohort [interval]"), Column("Permutation p"),
    ]  # fmt: skip
    caption = (
        "Out of fold: every probability is of models that were trained without this person; mean, least and largest "
        "over repeats of the cross-validation. Alike: the people with the nearest probability by the same model."
    )
    return Table(caption, columns, rows)


def alike(predictions: pd.DataFrame, name: str) -> tuple[int, int]:
    """How many others got nearly the same probability, and how many of them are patients."""
    place = predictions.index.get_loc(name)
    values, labels = (predictions[column].to_numpy() for column in ("value", "label"))
    others, value = np.delete(values, place), values[place]
    n = min(len(others), max(10, len(others) // 5))
    nearest = np.argsort(np.abs(others - value), kind="stable")[:n]
    return n, int(np.delete(labels, place)[nearest].sum())


def _stimulation(everybody: Everybody, name: str, stimulated: str) -> dict | None:
    """The first targets of a patient, or why there are none; None where nobody asked."""
    if not everybody.stimulation:
        return None
    if name not in everybody.targets:
        return {"verdict": everybody.stimulation, "tables": []}
    tables, measure = [target_table(everybody.targets[name])], measure_of(stimulated)
    if name in everybody.edits:
        titles, edits = {**target_titles(), **circuit_titles()}, everybody.edits[name]
        first = edits.drop_duplicates("kind")[["kind", "target"]].itertuples(index=False)
        titled = [(*pair, titles.get(pair.target, pair.target)) for pair in first]
        tables.append(connections(edits, titled, "this patient", measure.sentence, measure.directed))
    return {"verdict": everybody.stimulation, "tables": tables}


def target_table(targets: pd.DataFrame) -> Table:
    """The first targets of every kind of one patient: `kind`, `target`, `rank`, `shift`, `score`, `cost`."""
    titles = {**target_titles(), **circuit_titles()}
    first = targets[targets["rank"] <= SHOWN].sort_values(
        ["kind", "rank"], key=lambda targets: targets.map(_order), kind="stable"
    )
    rows = [
        Row([
            (titles.get(row.target, row.target), KINDS.get(row.kind, row.kind)), f"{row.rank}", number(row.shift),
            number(row.score), number(row.cost, 1),
        ])
        for row in first.itertuples()
    ]  # fmt: skip
    columns = [Column("Target", False), Column("Rank"), Column("Shift"), Column("Score"), Column("Cost")]
    caption = (
        "What moves this patient's logit furthest towards the controls when made normal: shift in logits (negative: "
        "towards the controls), score in standard deviations of the held-out controls, cost of the cheapest edit (0: "
        "already there). Rankings of one person are far less certain than the group's."
    )
    return Table(caption, columns, rows)


def _order(value: object) -> int:
    return list(KINDS).index(value) if value in KINDS else int(value)


def people_table(everybody: Everybody, spec: Mapping) -> Table:
    """Everybody, in the order of the data, with a link to each page; whoever stands out is marked, and told why."""
    models = [name for name in _ordered(everybody, spec) if name not in spec["floors"]]
    best = models[0] if models else None
    trusted = best is not None and above_chance(everybody.aucs[best], spec["alpha"])
    rows, apart = [], 0
    for name, person in everybody.participants.iterrows():
        row = everybody.found(name)
        said = everybody.predictions[best]["value"].get(name, np.nan) if best else np.nan
        deviation = [NONE, NONE] if row is None else [number(row["largest_z"]), p_value(row["p_max"])]
        why = {
            1: "moves much" if person["mean_fd"] > spec["marked_fd"] else "",
            2: _misclassified(everybody.predictions[best], name) if trusted else "",
            3: "moves more than every control" if row is not None and columns_beyond(row) else "",
            4: "deviates" if row is not None and row["p_max"] <= spec["alpha"] else "",
        }
        beyond = [place for place, words in why.items() if words]
        left_out = "" if person["included"] else f"left out: {person['exclusion_reason'] or 'no reason given'}"
        note = "; ".join(filter(None, [*why.values(), left_out]))
        cells = [(name, person["group"] or NONE), number(person["mean_fd"], 3), number(said), *deviation, note]
        rows.append(Row(cells, "failed" if left_out else "beyond" if beyond else "", page_name(name), beyond))
        apart += bool(note)
    columns = [
        Column("Participant", False), Column("Mean FD, mm"), Column("Probability"), Column("Largest |z|"),
        Column("p\u00a0FWER"), Column("Note", False),
    ]  # fmt: skip
    n = int((~everybody.participants["included"]).sum())
    words = f" Probability: out of fold, by {label(best)}." if best else ""
    caption = (
        f"{counted(len(rows), 'participant')}, {n:,} left out.{words} Largest |z| and its p: the most deviant "
        f"connection against the norm of the controls. Marked, and named in the note ({apart:,}): left out; moves "
        f"much, a mean FD above {spec['marked_fd']:g} mm; deviates, p of {spec['alpha']:g} or less"
    )
    return Table(f"{caption}{_taken_for(best, trusted)}", columns, rows)


def _misclassified(predictions: pd.DataFrame, name: str) -> str:
    """What a model takes somebody for, if it is wrong; the threshold is that of the scores, 0.5."""
    if name not in predictions.index:
        return ""
    said, patient = predictions.loc[name, "value"] > 0.5, predictions.loc[name, "label"] == 1
    return "" if said == patient else f"taken for a {'patient' if said else 'control'}"


def _taken_for(best: str | None, trusted: bool) -> str:
    """The end of the caption: whose errors are marked, or that nobody's are."""
    if best is None:
        return "."
    if trusted:
        return f"; taken for the other group by {label(best)}, at a probability of 0.5."
    return f". {label(best)} does not beat chance, so whom it takes for the other group is not marked."
