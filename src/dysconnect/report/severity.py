"""What goes with a score inside the patients, what differs between several groups, and what in several maps."""

from collections.abc import Mapping
from functools import partial
from math import isfinite

import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.data.measures import Measure
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, covariate_names, listed, number, p_value
from dysconnect.report.budget import asked_p, connection_share, held_back
from dysconnect.report.localization.beside import also_explained, whose
from dysconnect.report.results import QUESTIONS, Asked, Results, Study
from dysconnect.report.section import Section

MOST = 10  # connections of a table


def section(study: Study) -> Section | None:
    """What was asked of the connections beside the difference of the two groups; None where nothing was."""
    words = {
        "severity": (severity_sentence, partial(severity_table, measure=study.measure)),
        "groups": (groups_sentence, partial(groups_table, measure=study.measure)),
        "joint": (joint_sentence, joint_table),
    }
    asked = [
        (
            QUESTIONS[name].capitalize(),
            words[name][0](question) + _more(study, question),
            words[name][1](question, circuit_titles(), MOST),
        )
        for name, question in study.results.asked.items()
    ]
    if not asked:
        return None
    return Section(
        "severity",
        more={"asked": asked},
        verdict=[(heading, sentence) for heading, sentence, _ in asked],
        methods=[("Localization", _tests_text(study.results))],
    )


def _more(study: Study, asked: Asked) -> str:
    """What is added where connections survive: what else explains them, and whether they do for the whole page."""
    p = asked_p(asked)
    if not asked.summary.get("n_fwer"):
        return ""
    called = asked.edges[asked.edges["p_fwer"] <= asked.summary["alpha"]]
    held = f" That is {held_back(study, p)}." if p > connection_share(study) else ""
    return also_explained(called, study.measure) + held


def severity_sentence(asked: Asked) -> str:
    """How many connections go with the score in the patients, of how many patients; or why that was not tested."""
    summary = asked.summary
    score = _words(summary["score"])
    without = f" {counted(summary['n_without'], 'patient')} without it {_were(summary['n_without'])} left out."
    left_out = without if summary["n_without"] else ""
    if summary["reason"]:
        reason = summary["reason"].rstrip(".")
        return f"Whether connections go with {score} in the patients was not tested: {reason}.{left_out}"
    return (
        f"{_survivors(summary)} with {score} in {counted(summary['n'], 'patient')} at a family-wise error rate of "
        f"{summary['alpha']:g}{_at_fdr(summary)}.{_left_out(summary)} A partial correlation of "
        f"{number(summary['detectable_r'])} would have been found with 80% power.{left_out} "
        "An association is no cause: severity goes with duration and treatment too."
    )


def groups_sentence(asked: Asked) -> str:
    """How many connections differ between any of the groups; or why that was not tested."""
    summary = asked.summary
    groups = listed(f"{name} ({size:,})" for name, size in summary["groups"].items())
    if summary["reason"]:
        return f"Differences between {groups} were not tested: {summary['reason'].rstrip('.')}."
    verb = "differs" if summary["n_fwer"] == 1 else "differ"
    return (
        f"{summary['n_fwer'] or 'None'} of {counted(summary['n_edges'], 'connection')} {verb} between any of {groups} "
        f"at a family-wise error rate of {summary['alpha']:g}{_at_fdr(summary)}.{_left_out(summary)} "
        "Which groups differ from which was not tested."
    )


def severity_table(asked: Asked, titles: Mapping[str, str], n: int, measure: Measure) -> Table | None:
    """Connections that go most with the score; None where nothing was tested."""
    edges, alpha = asked.edges, asked.summary["alpha"]
    if edges.empty:
        return None
    rows = [
        Row([*_names(row, titles), number(row["effect_size"]), number(row["statistic"]), *_p(row)], _mark(row, alpha))
        for row in edges.head(n).to_dict("records")
    ]
    columns = [*_heads(), Column("r"), Column("t"), *_p_heads(edges)]
    caption = (
        f"The {len(rows)} of {len(edges):,} connections that go most with {_words(asked.summary['score'])} in the "
        f"patients. r is the partial correlation, adjusted for {_adjusted(asked, measure)} "
        f"(negative: weaker in those who score higher). Marked: family-wise p of {alpha:g} or less."
    )
    return Table(caption, columns, rows)


def groups_table(asked: Asked, titles: Mapping[str, str], n: int, measure: Measure) -> Table | None:
    """Connections that differ most between the groups, with the groups' means; None where nothing was tested."""
    edges, alpha = asked.edges, asked.summary["alpha"]
    if edges.empty:
        return None
    groups = list(asked.summary["groups"])
    rows = []
    for row in edges.head(n).to_dict("records"):
        means = [number(row[f"mean_{name}"]) for name in groups]
        numbers = [number(row["effect_size"]), number(row["statistic"]), *means, *_p(row)]
        rows.append(Row([*_names(row, titles), *numbers], _mark(row, alpha)))
    columns = [*_heads(), Column("η²"), Column("F"), *map(Column, groups), *_p_heads(edges)]
    caption = (
        f"The {len(rows)} of {len(edges):,} connections that differ most between the groups, adjusted for "
        f"{_adjusted(asked, measure)}. η² is the share of the variance that the groups explain; below "
        "their names is each group's deviation from the mean of the groups, in standard deviations. Marked: "
        f"family-wise p of {alpha:g} or less."
    )
    return Table(caption, columns, rows)


def joint_sentence(asked: Asked) -> str:
    """How many connections differ in several maps, who has which, and what carries them."""
    summary = asked.summary
    maps = listed(
        f"{_words(row['name'])} ({row['n_cases']:,} and {row['n_controls']:,})" for row in summary["pictures"]
    )
    called = asked.edges[asked.edges["p_fwer"] <= summary["alpha"]]
    verb = "differs" if len(called) == 1 else "differ"
    single = int((called["carried_by"] != "sum").sum())
    carried = f": {len(called) - single} by the sum of all maps, {single} by one map" if len(called) else ""
    groups, circuits = summary["n_components"], summary["n_circuits"]
    return (
        f"{len(called) or 'None'} of {counted(summary['n_edges'], 'connection')} {verb} in the maps {maps} (patients "
        f"and controls) tested as one, at a family-wise error rate of {summary['alpha']:g} over all connections and "
        f"maps{carried}. {counted(groups, 'component')} and {counted(circuits, 'circuit')} pass theirs. "
        f"{summary['n_all']:,} of {summary['n']:,} people have all maps{_lacking(summary)}."
        f"{_left_out(summary)}"
    )


def _lacking(summary: Mapping) -> str:
    """How many people lack each map that somebody lacks."""
    some = [f"{n:,} without {_words(name)}" for name, n in summary["without"].items() if n]
    return f"; {listed(some)} count in the others" if some else ""


def joint_table(asked: Asked, titles: Mapping[str, str], n: int) -> Table | None:
    """Connections that differ most in all maps together, with the t of each map; None where nothing was tested."""
    edges, alpha = asked.edges, asked.summary["alpha"]
    if edges.empty:
        return None
    maps = [row["name"] for row in asked.summary["pictures"]]
    rows = []
    for row in edges.head(n).to_dict("records"):
        t = [number(row[f"t_{name}"]) if isfinite(row[f"t_{name}"]) else NONE for name in maps]
        numbers = [number(row["statistic"]), _words(row["carried_by"]), *t, p_value(row["p_fwer"])]
        rows.append(Row([*_names(row, titles), *numbers], _mark(row, alpha)))
    columns = [*_heads(), Column("z"), Column("Carried by", False), *(Column(f"t {_words(name)}") for name in maps)]
    caption = (
        f"The {len(rows)} of {len(edges):,} connections that differ most in {listed(map(_words, maps))} together. z is "
        "the larger of the sum of the maps' scores and of the largest score, corrected for the choice (negative: "
        "weaker in patients); t is that of each map, given its own covariates. Marked: family-wise p of "
        f"{alpha:g} or less."
    )
    return Table(caption, [*columns, Column("p\u00a0FWER")], rows)


def _tests_text(results: Results) -> str:
    """How the further questions were tested, for the methods."""
    asked = []
    if results.severity is not None:
        asked.append(f"its association with {_words(results.severity.summary['score'])} inside the patients by t")
    if results.groups is not None:
        asked.append(f"its differences between {listed(results.groups.summary['groups'])} by F")
    text = f"In the same way every connection was tested for {listed(asked)}." if asked else ""
    return f"{text} {_joint_text(results.joint)}".strip() if results.joint is not None else text


def _joint_text(asked: Asked) -> str:
    """How several maps were tested as one."""
    maps = [_words(row["name"]) for row in asked.summary["pictures"]]
    return (
        f"The maps {listed(maps)} were tested as one: the group of whole people was permuted, the same in all maps, "
        "inside sites and among those with the same maps; t of every map, given the covariates of its own scans, "
        "became a normal score by its degrees of freedom; and the larger of the standardised sum of the scores and of "
        "the largest, corrected for the choice, was compared with the largest of all connections under "
        f"{asked.summary['permutations']:,} permutations (non-parametric combination: Winkler et al. 2016)."
    )


def _survivors(summary: Mapping) -> str:
    verb = "goes" if summary["n_fwer"] == 1 else "go"
    return f"{summary['n_fwer'] or 'None'} of {counted(summary['n_edges'], 'connection')} {verb}"


def _at_fdr(summary: Mapping) -> str:
    return f" ({summary['n_fdr']:,} at the same false-discovery rate)" if summary["n_fdr"] else ""


def _left_out(summary: Mapping) -> str:
    n = summary["n_untested"]
    return f" {n:,} more {_were(n)} not measured, or missing in too many of these people." if n else ""


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def _words(score: str) -> str:
    return score.replace("_", " ")


def _names(row: Mapping, titles: Mapping[str, str]) -> list[str]:
    return [row["region_a"], row["region_b"], titles.get(row["circuit"], NONE)]


def _adjusted(asked: Asked, measure: Measure) -> str:
    """What a statistic is adjusted for: covariates, and values of regions where the measure asks for that."""
    regions = measure.regional if measure.adjusted or measure.everywhere else ()
    return covariate_names([*asked.summary["nuisance"], *(f"{name} of {whose(measure)}" for name in regions)])


def _p(row: Mapping) -> list[str]:
    beside = [row["also_explained"] or NONE] if "also_explained" in row else []
    return [p_value(row[name]) for name in ("p", "p_fwer", "p_fdr")] + beside


def _mark(row: Mapping, alpha: float) -> str:
    return "best" if row["p_fwer"] <= alpha else ""


def _heads() -> list[Column]:
    return [Column("Region", False), Column("Region", False), Column("Circuit", False)]


def _p_heads(edges: pd.DataFrame) -> list[Column]:
    beside = [Column("Also explained by", False)] if "also_explained" in edges else []
    return [Column("p"), Column("p\u00a0FWER"), Column("p\u00a0FDR"), *beside]
