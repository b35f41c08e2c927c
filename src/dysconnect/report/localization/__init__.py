"""Localization: which single connections differ, by how much, and how sure that is."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.data.measures import MEASURES, Measure
from dysconnect.localize.methods import sentences
from dysconnect.paper.tables import Column, Row, Table, region_cell, significant
from dysconnect.paper.text import NONE, Estimate, counted, covariate_names, listed, number, p_value
from dysconnect.report.budget import budget_text, family, held_back, may_name, out_of_reach
from dysconnect.report.direction import (
    CIRCUITS_GO,
    direction_sentence,
    end_columns,
    exploratory_sentence,
)
from dysconnect.report.localization.beside import (
    adjusted_for,
    also_explained,
    asked_beside,
    beside_table,
    beside_text,
    explained_sentence,
    regional_table,
)
from dysconnect.report.localization.brain import as_script, brain_data
from dysconnect.report.localization.figures import circuits_figure, connectome_figure, drawn_edges, stability_figure
from dysconnect.report.localization.groups import MOST_POINTS, means_figure, points_figure
from dysconnect.report.localization.matrix import matrix_figure
from dysconnect.report.results import Results, Study
from dysconnect.report.section import Drawing, Section
from dysconnect.report.structures import detectable_effect

SEEN = 0.8  # share of the controls who must have a tract
WHOLES = {"component": "components of connections", "circuit": "circuits", "block": "pairs of systems"}


def section(study: Study) -> Section:
    """Which connections differ: figures, facts, and a table of the strongest."""
    results, summary, most = study.results, study.results.summary, study.cohort["report"]["edges"]
    single, measure, directed = localization_sentence(study), study.measure, study.measure.directed
    regional = results.regional, study.nodes
    said = exploratory_sentence(measure), direction_sentence(summary), tracts_sentence(summary, circuit_titles())
    return Section(
        "localization",
        "Localization",
        sentences=[*filter(None, [*said, explained_sentence(results.edges, measure, study.alpha)])],
        facts=_facts(results, measure),
        figures=_drawings(study, most),
        tables={
            "edges": edge_table(results.edges, study.nodes, circuit_titles(), study.alpha, most, measure),
            "beside": beside_table(results.edges, *regional, measure, study.alpha),
            "regional": regional_table(*regional, summary["nuisance"]),
        },
        more={
            "brain": as_script(brain_data(results.edges, study.nodes, study.alpha, most, directed)),
            "attribution": summary.get("attribution", ""),
            "directed": directed,
        },
        verdict=[("Connections", single)],
        methods=[
            ("Localization", localization_text(summary, study.cohort["localize"])),
            ("Error rate of the verdict", budget_text(study)),
        ],
    )


def tracts_sentence(summary: Mapping, titles: Mapping[str, str]) -> str:
    """Circuits whose tract too few controls have, of whom nothing can be said; empty where all are seen."""
    lost = {name: share for name, share in summary.get("tracts", {}).items() if share < SEEN}
    named = listed(f"{titles.get(name, name)} ({share:.0%})" for name, share in lost.items())
    return (
        f"Not seen in these scans: {named}. In brackets is the share of the controls in whom any streamline joins two "
        f"of its regions, which is less than {SEEN:.0%}; that nothing differs there says nothing."
        if lost
        else ""
    )


def _drawings(study: Study, most: int) -> dict[str, Drawing]:
    edges, nodes, alpha = study.results.edges, study.nodes, study.alpha
    critical, top = study.results.summary["critical_t"], study.cohort["localize"]["stability_top"]
    survive = drawn_edges(edges, alpha, most)[1]
    points, directed = study.results.points, study.measure.directed
    unit = study.measure.sentence.removeprefix("the ").split(",")[0]
    return {
        "connectome": Drawing(
            lambda: connectome_figure(edges, nodes, alpha, most, directed),
            _connectome_caption(survive, alpha, directed),
            wide=True,
        ),
        "circuits": Drawing(
            lambda: circuits_figure(edges, circuit_titles(), alpha), _circuits_caption(alpha, directed), wide=True
        ),
        "edges": Drawing(
            lambda: points_figure(points, unit, directed),
            points_caption(points, study.results.summary, study.measure),
            wide=True,
        ),
        "matrix": Drawing(
            lambda: matrix_figure(edges, nodes, alpha, directed),
            _matrix_caption(alpha) if not directed else _directed_matrix_caption(alpha),
            wide=True,
        ),
        "means": Drawing(
            lambda: means_figure(edges, nodes, unit),
            MEANS_CAPTION + (" Connections go from the region of the row to that of the column." if directed else ""),
            wide=True,
        ),
        "stability": Drawing(lambda: stability_figure(edges, alpha, critical), stability_caption(edges, alpha, top)),
    }


def points_caption(points: pd.DataFrame, summary: Mapping, measure: Measure) -> str:
    """What the points are, and that the strongest of many connections look stronger than they are."""
    shown = len(points[["region_a", "region_b"]].drop_duplicates())
    n = min(shown, summary["n_fwer"])
    survive = f"{n:,} of them {'survives' if n == 1 else 'survive'}" if n else "None of them survives"
    return (
        f"The {counted(shown, 'strongest connection')} in everybody, raw and adjusted for "
        f"{adjusted_for(summary['nuisance'], measure)}; the adjusted values keep the difference of the groups and the "
        f"mean. {survive} a family-wise error rate of {summary['alpha']:g}. Boxes show quartiles, whiskers reach 1.5 "
        f"interquartile ranges; of more than {MOST_POINTS} people no points are drawn. The connections were chosen for "
        "being strong, so that the groups differ less in other people."
    )


MEANS_CAPTION = (
    "Mean connectivity of patients and of controls, as measured, in the same colours and ordered like the matrix "
    "above: by system and network. Grey: not tested."
)


def _connectome_caption(survive: bool, alpha: float, directed: bool) -> str:
    glass = (
        f"Connections that survive a family-wise error rate of {alpha:g}."
        if survive
        else "The strongest connections, none of which survives correction. They are shown for orientation only."
    )
    lines = "arrows go the way of the connection; filled blue" if directed else "solid blue"
    return (
        f"{glass} Seen from the right, from behind and from above, left (L) and right (R) marked; {lines} is weaker "
        f"in patients, {'hollow' if directed else 'dashed'} red stronger."
    )


def _circuits_caption(alpha: float, directed: bool) -> str:
    return (
        f"Findings by circuit. Left: connections that survive at {alpha:g}. Right: effect sizes of all connections of "
        "the circuit, their mean (diamond), middle half (bar) and middle 90% (line). An edge of several circuits "
        "counts in the first." + (f" {CIRCUITS_GO}" if directed else "")
    )


def _matrix_caption(alpha: float) -> str:
    return (
        "Connections by system and network. Below the diagonal: t of every connection, adjusted for the covariates "
        f"(blue: weaker in patients). Above it: those that survive at {alpha:g}, filled for the family-wise error "
        "rate, hollow for the false-discovery rate only, pointing down where patients are weaker. Columns are ordered "
        "like rows, left hemisphere before right in every network."
    )


def _directed_matrix_caption(alpha: float) -> str:
    return (
        "Connections by system and network, from the region of the row to that of the column: t of every connection, "
        f"adjusted for the covariates (blue: weaker in patients). White marks: those that survive at {alpha:g}, filled "
        "for the family-wise error rate, hollow for the false-discovery rate only, pointing down where patients are "
        "weaker. Columns are ordered like rows, left hemisphere before right in every network."
    )


def stability_caption(edges: pd.DataFrame, alpha: float, top: int) -> str:
    """What the figure shows, and how often those that survive are found again."""
    shares = edges.loc[edges["p_fwer"] <= alpha, "stability"]
    words = f" Of those that survive {alpha:g}, the median is {shares.median():.0%}." if shares.notna().any() else ""
    return (
        f"Stability of the connections. Share of random halves of the cohort in which a connection is among the "
        f"{top:,} strongest, by its |t| in everybody; connections that never are, are left out.{words} Halves overlap, "
        "and are no replication in other people."
    )


def _facts(results: Results, measure: Measure) -> list[tuple[str, str]]:
    """What the localization rests on, in numbers."""
    summary = results.summary
    missing = (
        f" ({summary['n_untested']:,} more were not measured, or missing in too many subjects)"
        if summary["n_untested"]
        else ""
    )
    return [
        ("Patients, controls", f"{summary['n_cases']:,}, {summary['n_controls']:,}"),
        ("Tested", f"{counted(summary['n_edges'], 'connection')}{missing}"),
        *([("A connection", measure.sentence)] if measure.timed else []),
        (
            "Survive",
            f"{summary['n_fwer']:,} at FWER {summary['alpha']:g}; {summary['n_fdr']:,} at FDR {summary['alpha']:g}",
        ),
        ("Adjusted for", adjusted_for(summary["nuisance"], measure)),
        ("Permutations", f"{summary['permutations']:,}"),
        ("Critical |t|", f"{number(summary['critical_t'])} ({summary['df']} degrees of freedom)"),
        ("Detectable d", f"{number(detectable_effect(results.detectable))} (power 80%)"),
        ("Attribution", summary["attribution"]),
    ]


def edge_table(
    edges: pd.DataFrame,
    nodes: pd.DataFrame,
    titles: Mapping[str, str],
    alpha: float,
    n: int,
    measure: Measure,
) -> Table:
    """Name the strongest edges, with coordinates; the attribution column is hidden where it is withheld."""
    places = nodes.set_index("name")[["x", "y", "z"]]
    weighted, beside = bool(edges["attribution"].notna().any()), asked_beside(measure)
    rows = []
    for rank, row in enumerate(edges.head(n).itertuples(), start=1):
        cells = [
            str(rank), region_cell(row.region_a, places), region_cell(row.region_b, places),
            titles.get(row.circuit, NONE), _effect(row), number(row.effect_corrected),
            row.direction.removeprefix("patients "),
            number(row.statistic),
            p_value(row.p), p_value(row.p_fwer), p_value(row.p_fdr), number(row.stability),
        ]  # fmt: skip
        cells += [row.also_explained or NONE] if beside else []
        cells += [significant(row.attribution)] if weighted else []
        rows.append(Row(cells, "best" if row.p_fwer <= alpha else ""))
    columns = [
        Column("#"), *end_columns(measure.directed), Column("Circuit", False),
        Column("d\u00a0[interval]"),
        Column("Corrected\u00a0d"),
        Column("In\u00a0patients", False), Column("t"), Column("p"), Column("p\u00a0FWER"), Column("p\u00a0FDR"),
        Column("Stability"), *([Column("Also\u00a0explained\u00a0by", False)] if beside else []),
    ]  # fmt: skip
    caption = (
        f"The {len(rows)} strongest of {len(edges):,} connections, with the MNI coordinates of both regions (x, y, z "
        f"in mm). d: difference in residual standard deviations, with its {1 - alpha:.0%} interval; corrected d: what "
        "is left once it is allowed for that edges were called for being strong, on average over the called. "
        f"Marked: those that survive a family-wise error rate of {alpha:g}."
    ) + (" Also explained by: values of the regions beside which the difference is not found." if beside else "")
    return Table(caption, columns + ([Column("Attribution")] if weighted else []), rows)


def _effect(row: Mapping) -> str:
    return str(Estimate(row.effect_size, row.effect_low, row.effect_high, row.p))


def localization_sentence(study: Study) -> str:
    """How many connections differ, or which difference (d) would have been seen."""
    edges, summary, detectable = study.results.edges, study.results.summary, detectable_effect(study.results.detectable)
    alpha, tested = summary["alpha"], counted(summary["n_edges"], "connection")
    if study.measure.exploratory:
        return _exploratory(study)
    if out_of_reach(study):
        return f"{_none_named(study)} {out_of_reach(study)}"
    if not may_name(study, "edge"):
        return (
            f"{_none_named(study)} "
            f"A difference of d = {number(detectable)} or more would have been found with 80% power "
            f"(critical |t| {number(summary['critical_t'])}); smaller ones are not ruled out."
        )
    survivors = edges[edges["p_fwer"] <= alpha]
    lower = int((survivors["statistic"] < 0).sum())
    top = survivors.iloc[0]
    return (
        f"{summary['n_fwer']:,} of {tested} {'differs' if summary['n_fwer'] == 1 else 'differ'} at a family-wise error "
        f"rate of {alpha:g} ({summary['n_fdr']:,} at the same false-discovery rate): {lower:,} weaker and "
        f"{len(survivors) - lower:,} stronger in patients. The strongest is {top['region_a']} to {top['region_b']}, "
        f"d = {number(top['effect_size'])} [{number(top['effect_low'])}, {number(top['effect_high'])}]"
        f"{_corrected(top, summary)}.{also_explained(survivors, study.measure)}"
    )


def _exploratory(study: Study) -> str:
    """How many connections of an exploratory measure survive, without a name."""
    summary, n = study.results.summary, study.results.summary["n_fwer"]
    verb = "passes" if n == 1 else "pass"
    return (
        f"Exploratory, as {study.measure.exploratory}: {n or 'none'} of {counted(summary['n_edges'], 'connection')} "
        f"{verb if n else 'passes'} a family-wise error rate of {summary['alpha']:g}"
        f"{', and none is counted as a finding' if n else ''}."
    )


def _none_named(study: Study) -> str:
    """Say that no single connection is shown to differ, and what passes an error rate of its own all the same."""
    summary = study.results.summary
    alpha, tested = summary["alpha"], counted(summary["n_edges"], "connection")
    if summary["n_fwer"]:
        why = held_back(study, family(summary, "edge").p_any, "edge")
        return f"No single connection is shown to differ: {summary['n_fwer']:,} of {tested} would ({why})."
    if any(may_name(study, name) for name in WHOLES):
        false = f" ({summary['n_fdr']:,} at a false-discovery rate of {alpha:g})" if summary["n_fdr"] else ""
        return f"No single connection survives: none of {tested} at a family-wise error rate of {alpha:g}{false}."
    return f"Nothing survives: none of {tested} differs at a family-wise error rate of {alpha:g}."


def _corrected(top: Mapping, summary: Mapping) -> str:
    """What is left of the d of a called edge; empty where that could not be estimated."""
    share = summary.get("shrinkage")
    if share is None:
        return ""
    return f"; about {number(top['effect_corrected'])} once it is allowed for that it was chosen for being strong"


def connections_in_short(study: Study) -> str:
    """How many connections differ, and which way; or what differs as a whole."""
    results, summary = study.results, study.results.summary
    tested, rate = counted(summary["n_edges"], "connection"), f"a family-wise error rate of {summary['alpha']:g}"
    if study.measure.exploratory:
        return f"{tested} were tested, which are exploratory: none is named here, whatever was found."
    if not may_name(study, "edge"):
        wholes = [WHOLES[name] for name in WHOLES if may_name(study, name)]
        if wholes:
            return f"No single one of {tested} is shown to differ, but {listed(wholes)} do as wholes."
        if out_of_reach(study):
            return f"Whether any of {tested} differs was not tested against enough permutations."
        return f"None of {tested} is shown to differ, single or together."
    survivors = results.edges[results.edges["p_fwer"] <= summary["alpha"]]
    weaker = int((survivors["statistic"] < 0).sum())
    sides = {len(survivors): "all weaker in patients", 0: "all stronger in patients"}
    words = sides.get(weaker, f"{weaker:,} weaker and {len(survivors) - weaker:,} stronger in patients")
    words = words.removeprefix("all ") if len(survivors) == 1 else words
    verb = "differs" if summary["n_fwer"] == 1 else "differ"
    return f"{summary['n_fwer']:,} of {tested} {verb} at {rate}, {words}.{also_explained(survivors, study.measure)}"


def localization_text(summary: Mapping, spec: Mapping) -> str:
    """How connections were tested, for the methods."""
    left_out = (
        f"; {summary['n_untested']:,} were not measured, or missing in too many subjects"
        if summary["n_untested"]
        else ""
    )
    settings = {
        "permutations": f"{summary['permutations']:,}",
        "thresholds": listed([f"{value:g}" for value in spec["thresholds"]]),
        "prior": spec["prior"],
    }
    single = "; ".join(sentences(("FWER", "FDR"), summary["permutation"], **settings))
    wholes = " ".join(f"{one}." for one in sentences(("FWER of sets", "bounds"), summary["permutation"], **settings))
    return (
        f"{summary['n_edges']:,} connections ({MEASURES[spec['measure']].sentence}) were tested{left_out}, each with a "
        f"linear model of group adjusted for {covariate_names(summary['nuisance'])} ({summary['df']} degrees of "
        f"freedom).{beside_text(MEASURES[spec['measure']])} {single}. Effect sizes are t over the norm of the group "
        "residualised for the covariates: Cohen's d in residual standard deviations, with intervals from the "
        "noncentral t distribution. Those of called connections are corrected by what a list as long, chosen in random "
        "halves, keeps in the other halves (stepped up from half the cohort to all of it). Stability is the share of "
        f"{spec['stability_draws']} random halves of the cohort (after Meinshausen and Bühlmann 2010) in which a "
        f"connection is among the {spec['stability_top']} strongest. {wholes} Detectable differences of connections "
        "and circuits follow from the noncentral t distribution and the residuals of this cohort; those of components "
        "were counted over effects planted in these residuals."
    )
