"""Stage `report`: one self-contained page, its figures, and a methods paragraph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.paper.bibtex import as_link, bibliography, cited
from dysconnect.paper.files import listed_figures, to_png
from dysconnect.paper.html import Picture, picture, template
from dysconnect.paper.svg import to_svg
from dysconnect.report import chosen, software, stimulation, structures, tables, text
from dysconnect.report import figures as draw
from dysconnect.report import localization as localized
from dysconnect.report import maps as learned
from dysconnect.report import methods as describe
from dysconnect.report import quality as judge
from dysconnect.report import scans as scanned
from dysconnect.report import severity as asked
from dysconnect.report import subgroups as grouped
from dysconnect.report import validation as validated
from dysconnect.report.brain import as_script, brain_data
from dysconnect.report.consort import consort_figure
from dysconnect.report.references import REFERENCES, references
from dysconnect.report.summary import in_short
from dysconnect.report.text import Results
from dysconnect.report.verdict import banner, verdict

__all__ = ["Page", "Results", "render"]

KINDS = {"floor": "covariates only", "linear": "linear model", "graph": "graph neural network"}


@dataclass(frozen=True)
class Page:
    """The page as HTML, and its figures by name: SVG documents, and PNG where they were asked for."""

    html: str
    figures: dict[str, str]
    images: dict[str, bytes]


def render(
    results: Results,
    cohort: Mapping,
    experiments: Mapping[str, Mapping],
    nodes: pd.DataFrame,
    date: str,
    images: bool = False,
) -> Page:
    """Make the report of a cohort.

    Parameters
    ----------
    results : Results
        Tables of the stages before.
    cohort : mapping
        Composed configuration without an experiment.
    experiments : mapping of str to mapping
        Composed configuration of each experiment.
    nodes : DataFrame, [N rows]
        Atlas table.
    date : str
        As it is to be printed.
    images : bool
        Whether to draw the figures as PNG too, for a paper.
    """
    floor = text.chosen_floor(cohort, results.scores)
    drawn = _figures(results, cohort, nodes, floor)
    pixels = {name: to_png(figure) for name, figure in drawn.items()} if images else {}
    documents = {name: to_svg(figure) for name, figure in drawn.items()}  # clears the figures
    pictures = {name: _picture(name, svg, results, cohort) for name, svg in documents.items()}
    paragraphs = describe.methods(results, cohort, experiments, nodes)
    paragraphs[-1:-1] = learned.paragraph(results.maps, cohort["localize"])  # before the software
    page = template("template.html", __file__).render(
        dataset=cohort["dataset"],
        date=date,
        interval=f"{cohort['evaluate']['level']:.0%}",
        research_only=text.RESEARCH_ONLY,
        banner=banner(cohort),
        in_short=in_short(results, cohort, experiments),
        verdict=verdict(results, cohort, experiments),
        pictures=pictures,
        brain=as_script(brain_data(results.edges, nodes, results.summary["alpha"], cohort["report"]["edges"])),
        learning=[name for name in documents if name.startswith("learning_")],
        tables=_tables(results, cohort, experiments, nodes, floor),
        curves=any(told["random"] for told in results.maps.values()),
        summary=results.summary,
        facts=_facts(results),
        chosen=chosen.section(results, cohort["dataset"]["contrast"]),
        quality=_quality(results),
        scans=None if results.scans is None else scanned.section(results.scans, cohort),
        detectable=structures.detectable_sentence(results.detectable, circuit_titles()),
        associations=asked.association_sections(results, circuit_titles()),
        validation=None
        if results.validation is None
        else validated.section(results.validation, cohort["validate"], results.summary["alpha"]),
        stimulation=stimulation.section(results, cohort, experiments),
        methods=paragraphs,
        references=references(paragraphs),
        bibliography=as_link(_bibliography(cohort, paragraphs)),
        files=listed_figures(pictures.values()),
        atlas=cohort["atlas"],
        versions=software.software_versions(),
        configuration=software.configuration_text(cohort, experiments),
    )
    return Page(page, documents, pixels)


def _bibliography(cohort: Mapping, paragraphs: list[tuple[str, str]]) -> str:
    """Papers, data and atlas that the page cites, as BibTeX."""
    dataset, atlas = cohort["dataset"], cohort["atlas"]
    data = {f"Data: {dataset['title']}": dataset["citation"], f"Atlas: {atlas['title']}": atlas["citation"]}
    return bibliography(cited(REFERENCES, references(paragraphs)), data)


def _figures(results: Results, cohort: Mapping, nodes: pd.DataFrame, floor: str | None) -> dict:
    alpha = results.summary["alpha"]
    drawn = {
        "cohort": consort_figure(results.quality, cohort["dataset"]["contrast"]),
        "motion": draw.motion_figure(
            results.participants, cohort["dataset"]["contrast"], cohort["denoise"]["max_mean_fd"]
        ),
        "forest": draw.forest_figure(results.scores, floor),
        "subgroups": grouped.subgroup_figure(results.subgroups, results.scores, floor),
        "roc": draw.roc_figure(results.curves, results.scores, floor),
        "calibration": draw.calibration_figure(results.curves, floor),
        "connectome": draw.connectome_figure(results.edges, nodes, alpha, cohort["report"]["edges"]),
        "circuits": draw.circuits_figure(results.edges, circuit_titles(), alpha),
    }
    drawn |= {"maps": learned.curves_figure(results.maps)} if results.maps else {}
    drawn |= localized.draw(results, cohort, nodes)
    drawn |= judge.draw(results.quality)
    if results.targets is not None:
        drawn["stimulation"] = stimulation.stimulation_figure(results.targets, cohort["stimulate"]["alpha"])
    if results.scans is not None:
        drawn |= scanned.draw(results.scans, cohort, nodes)
    if results.validation is not None:
        drawn |= validated.draw(results.validation, alpha)
    return drawn | {
        f"learning_{name}": draw.learning_figure(history) for name, history in results.histories.items() if len(history)
    }


def _tables(results: Results, cohort: Mapping, experiments: Mapping, nodes: pd.DataFrame, floor: str | None) -> dict:
    contrast, alpha = cohort["dataset"]["contrast"], results.summary["alpha"]
    kinds = {name: KINDS[text.kind(config)] for name, config in experiments.items()}
    return {
        "cohort": tables.cohort_table(results.participants, contrast),
        "excluded": tables.excluded_table(results.participants),
        "models": tables.model_table(results, floor, kinds, bool(floor) and text.sees_nothing(floor, experiments)),
        "comparisons": tables.comparison_table(results.comparisons),
        "folds": tables.fold_table(results.folds),
        "subgroups": grouped.subgroup_rows(results.subgroups),
        "edges": tables.edge_table(results.edges, nodes, circuit_titles(), alpha, cohort["report"]["edges"]),
        **structures.structure_tables(results, circuit_titles()),
        "maps": learned.map_table(results.maps, alpha),
        "recovery": None if results.recovery is None else tables.recovery_table(results.recovery),
    }


def _quality(results: Results) -> dict:
    """What the section on quality shows beside its figures; `untested` says why motion could not be followed."""
    survivors, moved = judge.motion_followers(results.edges, results.qcfc, results.summary["alpha"])
    return {
        "facts": judge.quality_facts(results.quality, survivors, moved),
        "untested": results.quality["qcfc"]["everybody"].get("reason", ""),
        "qcfc": judge.qcfc_table(results.quality),
        "regions": judge.region_table(results.quality),
        "people": judge.people_table(results.quality),
    }


def _facts(results: Results) -> list[tuple[str, str]]:
    """What the localization rests on, in numbers."""
    summary = results.summary
    missing = (
        f" ({summary['n_untested']:,} more were not measured, or missing in too many subjects)"
        if summary["n_untested"]
        else ""
    )
    return [
        ("Patients, controls", f"{summary['n_cases']:,}, {summary['n_controls']:,}"),
        ("Tested", f"{text.counted(summary['n_edges'], 'connection')}{missing}"),
        (
            "Survive",
            f"{summary['n_fwer']:,} at FWER {summary['alpha']:g}; {summary['n_fdr']:,} at FDR {summary['alpha']:g}",
        ),
        ("Adjusted for", text.covariate_names(summary["nuisance"])),
        ("Permutations", f"{summary['permutations']:,}"),
        ("Critical |t|", f"{text.number(summary['critical_t'])} ({summary['df']} degrees of freedom)"),
        ("Detectable d", f"{text.number(structures.detectable_effect(results.detectable))} (power 80%)"),
        ("Attribution", summary["attribution"]),
    ]


def _floor_caption(covariates: Sequence[str]) -> str:
    if not covariates:
        return "No covariates are given, so the floor sees nothing: to pass it is to pass chance."
    known = text.covariate_names(covariates)
    return f"A model that does not pass the floor has found nothing that {known} do not tell."


def _picture(name: str, document: str, results: Results, cohort: Mapping) -> Picture:
    return picture(
        name, document, _caption(name, results, cohort), name in {"cohort", *WIDE, *localized.WIDE}, "figures"
    )


VALIDATION = ("validation_fwer", "validation_power", "validation_fdp")
WIDE = (
    "forest", "subgroups", "connectome", "stimulation", "circuits", "maps", "flow", "scans", "coverage", *VALIDATION,
)  # fmt: skip


def _caption(name: str, results: Results, cohort: Mapping) -> str:
    """Caption of a figure: what it shows, then how to read it."""
    if name.startswith("learning_"):
        return (
            f"Learning curves of {text.label(name.removeprefix('learning_'))}. One thin line a fold, repeat and "
            "seed; the mean in bold, with the last loss of runs that stopped early; dots where the network was kept."
        )
    level, alpha = f"{cohort['evaluate']['level']:.0%}", results.summary["alpha"]
    best = grouped.shown_model(results.scores, text.chosen_floor(cohort, results.scores))
    _, survive = draw.drawn_edges(results.edges, alpha, cohort["report"]["edges"])
    test = draw.motion_test(results.participants, cohort["dataset"]["contrast"], cohort["evaluate"]["level"])
    glass = (
        f"Connections that survive a family-wise error rate of {alpha:g}."
        if survive
        else "The strongest connections, none of which survives correction. They are shown for orientation only."
    )
    return {
        **judge.captions(results.quality, level),
        "stimulation": stimulation.CAPTION,
        **localized.captions(results, cohort),
        **({} if results.scans is None else scanned.captions(results.scans, cohort)),
        **({} if results.validation is None else validated.captions(results.validation, alpha)),
        "maps": learned.CAPTION,
        "motion": "Head motion was not measured."
        if results.participants["mean_fd"].isna().all()
        else f"Head motion by group ({text.p_text(test.p)}, Cohen's d = {test}). Each point is a subject, "
        "crosses are excluded ones; boxes show quartiles of the included, whiskers reach 1.5 interquartile ranges.",
        "forest": f"AUC of every model with its {level} interval. {_floor_caption(cohort['dataset']['covariates'])}",
        "subgroups": f"AUC of {text.label(best)} by site, sex, age and motion (thirds), with {level} intervals, beside "
        "that of all subjects (all). Differences between subgroups are not tested.",
        "roc": "ROC curves of the out-of-fold predictions, averaged over repeats. The diagonal is chance.",
        "calibration": "Calibration of the out-of-fold probabilities, in bins of equal size. The diagonal is perfect.",
        "cohort": "From everybody in the data to those who are compared. Numbers before a reason count people; an "
        "ellipsis stands for numbers that differ between them.",
        "connectome": f"{glass} Seen from the right, from behind and from above, left (L) and right (R) marked; solid "
        "blue is weaker in patients, dashed red stronger.",
        "circuits": f"Findings by circuit. Left: connections that survive at {alpha:g}. Right: effect sizes of all "
        "connections of the circuit, their mean (diamond), middle half (bar) and middle 90% (line). An edge of several "
        "circuits counts in the first.",
    }[name]
