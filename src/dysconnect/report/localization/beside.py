"""What a measure says of regions, beside the connections that are called: is it the connection that differs?"""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.data.measures import Measure
from dysconnect.paper.tables import Column, Row, Table, region_cell
from dysconnect.paper.text import NONE, counted, covariate_names, listed, number, p_value
from dysconnect.report.direction import end_columns

MOST = 10  # regions of a table
MOST_CALLED = 200  # connections of a table
UNITS = {
    "activation": "activation is the response to the blocks, in standard deviations of what no response explains",
    "delay": "delay is the time in seconds by which a region follows all others",
    "noise": "noise is the share of a region's variance that is gone one volume later",
}


def explained_sentence(edges: pd.DataFrame, measure: Measure, alpha: float) -> str:
    """How many called connections are also explained by values of regions; empty where there are no such values."""
    called = edges[edges["p_fwer"] <= alpha]
    if not asked_beside(measure) or called.empty:
        return ""
    n, names = int((called["also_explained"] != "").sum()), listed(measure.regional)
    one = "connection" if len(called) == 1 else "connections"
    of = f"{n or 'None'} of the {len(called):,} {one} that survive {'is' if n < 2 else 'are'} also explained by {names}"
    if not n:
        return f"{of}: beside {names} of {whose(measure)} each still differs (p of {alpha:g} or less)."
    return (
        f"{of}: beside {names} of {whose(measure)} {'its' if n == 1 else 'their'} difference is not found (p above "
        f"{alpha:g}), so that a difference of the regions may be all there is."
    )


def also_explained(survivors: pd.DataFrame, measure: Measure) -> str:
    """How many of those that survive may do so for their regions' sake; empty where none does."""
    n = int((survivors["also_explained"] != "").sum()) if "also_explained" in survivors else 0
    return f" {n:,} of them {'is' if n == 1 else 'are'} also explained by {listed(measure.regional)}." if n else ""


def asked_beside(measure: Measure) -> bool:
    """Whether connections were tested again beside values of regions; where those of all are covariates, all were."""
    return bool(measure.regional) and not measure.everywhere


def adjusted_for(nuisance: Sequence[str], measure: Measure) -> str:
    """What connections were adjusted for before any test, and in the test."""
    taken = measure.regional if measure.everywhere or measure.adjusted else ()
    of = "all regions" if measure.everywhere else "both regions"
    return covariate_names([*nuisance, *(f"{name} of {of}" for name in taken)])


def whose(measure: Measure) -> str:
    """Of which regions the values stand beside a connection."""
    return "all regions" if measure.everywhere else "both its regions"


def beside_text(measure: Measure) -> str:
    """How values of regions enter the tests, for the methods; empty where the measure has none."""
    if not measure.regional:
        return ""
    names, of = listed(measure.regional), whose(measure)
    first = (
        f" Before any test, what {names} of {of} explain of a connection beyond the covariates was taken out of it, "
        "and only what they leave was tested."
        if measure.adjusted
        else ""
    )
    if measure.everywhere:
        return f" {names.capitalize()} of all regions were covariates of every test as well."
    return (
        f"{first} Every connection was also tested with {names} of {of} as further covariates (p beside, by Student's "
        f"t); one that survives, and whose p beside is above the error rate, is called also explained by {names}."
    )


def beside_table(
    edges: pd.DataFrame, regional: pd.DataFrame | None, nodes: pd.DataFrame, measure: Measure, alpha: float
) -> Table | None:
    """Values of both regions of every called connection in both groups; None where there are none."""
    every = edges[edges["p_fwer"] <= alpha]
    called = every.head(MOST_CALLED)
    if regional is None or regional.empty or called.empty:
        return None
    places, again = nodes.set_index("name")[["x", "y", "z"]], asked_beside(measure)
    known = regional.set_index(["region", "quantity"]).to_dict("index")
    rows = [
        Row([
            str(rank), region_cell(row["region_a"], places), region_cell(row["region_b"], places),
            *([p_value(row["p_beside"]), row["also_explained"] or NONE] if again else []),
            *(_groups(known[row[end], name]) for name in measure.regional for end in ("region_a", "region_b")),
        ])
        for rank, row in enumerate(called.to_dict("records"), start=1)
    ]  # fmt: skip
    columns = [Column("#"), *end_columns(measure.directed)]
    columns += [Column("p\u00a0beside"), Column("Also explained by", False)] if again else []
    sides = ("from", "to") if measure.directed else ("first", "second")
    columns += [Column(f"{name.capitalize()}, {side}") for name in measure.regional for side in sides]
    names = listed(measure.regional)
    beside = f" p beside: of the connection, beside {names} of {whose(measure)}." if again else ""
    which = f"the {len(called)} strongest of {len(every):,}" if len(called) < len(every) else f"all {len(called)}"
    caption = (
        f"{names.capitalize()} of both regions of {which} connections that survive, in patients | controls: means as "
        f"measured, and below them d given the covariates.{beside} {_units(measure.regional)}"
    )
    return Table(caption, columns, rows)


def regional_table(regional: pd.DataFrame | None, nodes: pd.DataFrame, covariates: Sequence[str]) -> Table | None:
    """Regions whose values differ most between the groups; None where the measure has no values of regions."""
    if regional is None or regional.empty:
        return None
    places = nodes.set_index("name")[["x", "y", "z"]]
    shown = regional.sort_values("t", key=abs, ascending=False).head(MOST)
    rows = [
        Row([
            region_cell(row["region"], places), row["quantity"], number(row["mean_cases"]),
            number(row["mean_controls"]), number(row["d"]), number(row["t"]), p_value(row["p"]),
        ])
        for row in shown.to_dict("records")
    ]  # fmt: skip
    columns = [
        Column("Region", False), Column("What", False), Column("Patients"), Column("Controls"), Column("d"),
        Column("t"), Column("p"),
    ]  # fmt: skip
    names = list(regional["quantity"].unique())
    caption = (
        f"Where {listed(names)} {'differs' if len(names) == 1 else 'differ'} most between the groups: "
        f"{len(rows)} of {counted(len(regional), 'value')}, adjusted for {covariate_names(covariates)}; p is that of a "
        f"region alone, not corrected. {_units(names)}"
    )
    return Table(caption, columns, rows)


def _groups(row: Mapping) -> tuple[str, str]:
    return f"{number(row['mean_cases'])} | {number(row['mean_controls'])}", f"d = {number(row['d'])}"


def _units(names: Sequence[str]) -> str:
    words = "; ".join(UNITS[name] for name in names if name in UNITS)
    return f"{words[:1].upper()}{words[1:]}." if words else ""
