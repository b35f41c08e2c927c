"""What localization says of more than single connections: components, circuits, blocks of systems."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.paper.deviation import uncompared_sentence
from dysconnect.paper.tables import Column, Row, Table, page_link
from dysconnect.paper.text import NONE, counted, listed, number, p_value
from dysconnect.report.budget import family, held_back, may_name
from dysconnect.report.direction import CIRCUITS_GO
from dysconnect.report.results import Study
from dysconnect.report.section import Section

NAMED = 6  # regions of a component that are named
PLURALS = {"component": "components", "circuit": "circuits", "block": "pairs of systems"}
MOST = 10  # rows of a table


def section(study: Study) -> Section:
    """Components, circuits and blocks as wholes, single patients, and what could have been found."""
    results, titles, alpha = study.results, circuit_titles(), study.alpha
    circuits, blocks = (results.families[results.families["kind"] == kind] for kind in ("circuit", "block"))
    first = blocks.sort_values("p_fwer_magnitude").head(MOST)
    return Section(
        "structures",
        sentences=[detectable_sentence(results.detectable, titles)],
        tables={
            "components": component_table(results.components, titles, alpha, MOST) if len(results.components) else None,
            "circuits": family_table(circuits, titles, alpha, study.measure.directed) if len(circuits) else None,
            "detectable": detectable_table(results.detectable, titles),
            "deviants": deviant_table(results.people, titles, alpha, MOST),
            "blocks": family_table(first, {}, alpha) if len(blocks) else None,
        },
        verdict=[("Connections", structure_sentence(study, titles))],
    )


def component_table(components: pd.DataFrame, titles: Mapping[str, str], alpha: float, n: int) -> Table:
    """Name the most significant components and some of their regions."""
    rows = []
    holders = inside(components.head(n))
    for row in components.head(n).itertuples():
        regions = row.regions.split("; ")
        more = f" and {len(regions) - NAMED} more" if len(regions) > NAMED else ""
        cells = [
            (str(row.component), f"inside #{holder}") if (holder := holders.get(row.component)) else str(row.component),
            row.direction.removeprefix("patients "), titles.get(row.family, row.family),
            number(row.threshold), f"{row.n_edges:,}", f"{row.true_edges:,}", f"{row.n_nodes:,}", p_value(row.p_fwer),
            ", ".join(regions[:NAMED]) + more,
        ]  # fmt: skip
        rows.append(Row(cells, "best" if row.p_fwer <= alpha else ""))
    columns = [
        Column("#"), Column("In\u00a0patients", False), Column("Looked for in", False), Column("|t|\u00a0>"),
        Column("Connections"), Column("At\u00a0least\u00a0true"), Column("Regions"), Column("p\u00a0FWER"),
        Column("Among them", False),
    ]  # fmt: skip
    caption = (
        f"The {len(rows)} most significant of {counted(len(components), 'component')}: connections beyond a threshold "
        "that hang together (adaptive network-based statistic). The error rate is that of the component: it differs "
        "somewhere, not in every connection. At least true: so many of its connections differ, a bound for all sets of "
        f"connections together with an error rate of {alpha:g} (Blain et al. 2022). Marked: p of {alpha:g} or less."
    )
    if holders:
        caption += " Inside #k: all its regions are in component k, of the same direction: not two findings."
    return Table(caption, columns, rows)


def inside(components: pd.DataFrame) -> dict[int, int]:
    """Components whose regions are all in another of the same direction, and the first that holds each.

    Of two with the same regions the second is inside the first.
    """
    sets = [(row.component, row.direction, frozenset(row.regions.split("; "))) for row in components.itertuples()]
    holders = {}
    for name, direction, regions in sets:
        first = (
            other
            for other, way, others in sets
            if way == direction and (regions < others or (regions == others and other < name))
        )
        if (holder := next(first, None)) is not None:
            holders[name] = holder
    return holders


def family_table(families: pd.DataFrame, titles: Mapping[str, str], alpha: float, directed: bool = False) -> Table:
    """Circuits or blocks as wholes."""
    enriched = "enrichment" in families and families["enrichment"].notna().any()
    bounded = "true_edges" in families and families["true_edges"].notna().any()
    rows = []
    for row in families.to_dict("records"):
        cells = [
            titles.get(row["name"], row["name"].replace("_", " ")), f"{row['n_edges']:,}",
            *([f"{row['true_edges']:.0f}"] if bounded else []), number(row["mean_t"]),
            p_value(row["p_fwer_mean"]), p_value(row["p_fwer_magnitude"]),
        ]  # fmt: skip
        cells += [number(row["enrichment"]), p_value(row["p_enrichment"])] if enriched else []
        called = min(row["p_fwer_mean"], row["p_fwer_magnitude"]) <= alpha
        rows.append(Row(cells, "best" if called else ""))
    columns = [Column("Set", False), Column("Connections"), *([Column("At\u00a0least\u00a0true")] if bounded else [])]
    columns += [Column("Mean t"), Column("p, shift"), Column("p, size")]
    columns += [Column("Enrichment"), Column("p, enrichment")] if enriched else []
    caption = (
        "Sets of connections as wholes. Shift: is their mean t moved to one side? Size: are their t too large in "
        "either direction? Both corrected over all sets of the table's kind by permutation."
    )
    if enriched:
        caption += (
            " Enrichment: mean |t| relative to that of connections of like strength and length; its p "
            "compares with permuted people and is corrected over the circuits."
        )
    return Table(caption + (f" {CIRCUITS_GO}" if directed else ""), columns, rows)


def detectable_effect(detectable: pd.DataFrame) -> float:
    """Effect (d) that a single connection would have needed."""
    return float(detectable.set_index("what")["detectable_d"]["edge"])


def detectable_sentence(detectable: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """What a connection, a component and the most sensitive circuit would have needed."""
    rows = detectable.set_index("what")
    parts = [f"{number(rows['detectable_d']['edge'])} in one connection"]
    if "component" in rows.index and np.isfinite(rows["detectable_d"]["component"]):
        parts.append(
            f"about {number(rows['detectable_d']['component'])} in a component of {rows['n_edges']['component']}"
        )
    circuits = rows["detectable_d"].drop(["edge", "component"], errors="ignore").dropna()
    if len(circuits):
        name = circuits.idxmin()
        parts.append(f"{number(circuits.min())} in all connections of the circuit {titles.get(name, name)}")
    return f"With 80% power this cohort could have found a difference d of {listed(parts)}."


def detectable_table(detectable: pd.DataFrame, titles: Mapping[str, str]) -> Table:
    """What this cohort could have found: effects of a connection, the circuits and a component."""
    names = {"edge": "One connection", "component": "A component, approximately", **titles}
    rows = [
        Row([
            names.get(row.what, row.what), f"{row.n_edges:,}", number(row.critical_t), number(row.spread),
            number(row.detectable_d),
        ])
        for row in detectable.itertuples()
    ]  # fmt: skip
    columns = [Column("What", False), Column("Connections"), Column("Critical\u00a0|t|"), Column("Spread"), Column("d")]
    caption = (
        "Differences d that this cohort could have found with 80% power: of one connection; of all connections of a "
        "component that hangs together inside the circuits, counted over few cohorts with effects planted in noise "
        "like this one's; of all connections of a circuit, in one direction, tested by their mean and corrected over "
        "the circuits. Spread: standard deviation over people of that mean, relative to one connection. Smaller ones "
        "are not ruled out."
    )
    return Table(caption, columns, rows)


def deviant_table(people: pd.DataFrame, titles: Mapping[str, str], alpha: float, n: int) -> Table | None:
    """Patients who deviate most from the norm of the controls; None where nobody could be compared."""
    patients = people[(people["label"] == 1) & people["largest_z"].notna()]
    if patients.empty:
        return None
    rows = []
    for row in patients.sort_values(["p_max", "largest_z"], ascending=[True, False]).head(n).to_dict("records"):
        circuit = row.get("circuit")
        cells = [
            row["participant_id"], number(row["largest_z"]), p_value(row["p_max"]), f"{row['n_fdr']:,}",
            titles.get(circuit, NONE), number(row.get("circuit_z", np.nan)), p_value(row.get("circuit_p_max", np.nan)),
        ]  # fmt: skip
        rows.append(Row(cells, "best" if row["p_max"] <= alpha else "", page_link(row["participant_id"])))
    columns = [
        Column("Patient", False), Column("Largest |z|"), Column("p\u00a0FWER"), Column("Connections, FDR"),
        Column("Most deviant circuit", False), Column("Mean z"), Column("p\u00a0FWER, circuits"),
    ]  # fmt: skip
    least = 1 / (1 + int(patients["n_controls"].max()))
    called = int((patients["p_max"] <= alpha).sum())
    caption = (
        f"The {len(rows)} of {counted(len(patients), 'patient')} who deviate most from what the controls make likely "
        "for their covariates. p FWER compares a person's largest deviation with those of the controls (never below "
        f"{least:.2g}); {called:,} of all are at {alpha:g} or less, where {alpha * len(patients):.1f} would be "
        f"expected if patients were like controls. No diagnosis.{uncompared_sentence(people)}"
    )
    return Table(caption, columns, rows)


def structure_sentence(study: Study, titles: Mapping[str, str]) -> str:
    """Which components, circuits and pairs of systems differ; empty where none was looked for."""
    results, alpha = study.results, study.alpha
    if results.families.empty and results.components.empty:
        return ""
    passing = _passing(study, titles)
    named = {name: some for name, some in passing.items() if some and may_name(study, name)}
    back = [
        f"{PLURALS[name]} ({held_back(study, family(results.summary, name).p_any, name)})"
        for name, some in passing.items()
        if some and name not in named
    ]
    more = f" Not shown to differ as wholes: {listed(back)}." if back else ""
    if not named and back:
        return more.strip()
    if not named:
        circuits = (results.families["kind"] == "circuit").any()
        looked = "No component and no circuit as a whole differs" if circuits else "No component differs"
        unknown = "" if circuits else " By their names no connection of these regions is in a circuit of dystonia."
        return f"{looked} at a family-wise error rate of {alpha:g}.{unknown}"
    verb = "differs" if sum(map(len, named.values())) == 1 else "differ"
    words = listed(_wholes(name, some, results.summary) for name, some in named.items())
    return f"Beyond single connections {words} {verb} at a family-wise error rate of {alpha:g}.{more}"


def _passing(study: Study, titles: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of what keeps the error rate of its own family."""
    components, sets = study.results.components, study.results.families
    p = np.fmin(sets["p_fwer_mean"].to_numpy(float), sets["p_fwer_magnitude"].to_numpy(float))
    called = sets[p <= study.alpha]
    return {
        "component": components.loc[components["p_fwer"] <= study.alpha, "component"].astype(str).tolist(),
        "circuit": [titles.get(name, name) for name in called.loc[called["kind"] == "circuit", "name"]],
        "block": [name.replace("_", " ") for name in called.loc[called["kind"] == "block", "name"]],
    }


def _wholes(name: str, some: Sequence[str], summary: Mapping) -> str:
    """What differs of one family, as a part of a sentence."""
    if name == "component":
        edges, sure = counted(summary["n_component_edges"], "connection"), summary["n_component_true"]
        return f"{counted(len(some), 'component')} with {edges} in all ({sure:,} of which truly differ, at least)"
    one = {"circuit": "the circuit", "block": "the pair of systems"}[name]
    return f"{one} {some[0]} as a whole" if len(some) == 1 else f"the {PLURALS[name]} {listed(some)} as wholes"
