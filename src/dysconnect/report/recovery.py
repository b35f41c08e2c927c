"""The planted truth: how well each method finds it again."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import counted, number
from dysconnect.report.results import Results, Study
from dysconnect.report.section import Section

RECOVERY = (
    ("called", "Called", "connections that the method names", 0),
    ("tpr", "Found", "share of the planted connections that are named (true positive rate)", 2),
    (
        "fdp",
        "False share",
        "share of the named connections that were not planted (false-discovery proportion); some of them "
        "differ in truth: planting moves the connections around a planted one as far as correlations must",
        2,
    ),
    ("fwer", "Any false", "1 where at least one named connection is false; over many cohorts the family-wise error", 2),
    ("sign_accuracy", "Right sign", "share of the found connections with the planted direction", 2),
    (
        "auprc",
        "AUPRC",
        "area under the precision-recall curve of the ranking; the chance row is what no information gives",
        3,
    ),
    ("auprc_ratio", "Ratio", "AUPRC relative to the ranking by |t|", 3),
)


def section(study: Study) -> Section | None:
    """How well the planted truth was found again; None where nothing was planted."""
    recovery = study.results.recovery
    if recovery is None:
        return None
    return Section(
        "recovery",
        "Planted truth",
        tables={"recovery": recovery_table(recovery)},
        verdict=[("Planted truth", recovery_sentence(study.results, study.cohort["dataset"]["plant"]))],
    )


def recovery_sentence(results: Results, plant: Mapping | None) -> str:
    """How well the planted truth was found again; empty where none was planted."""
    table = results.recovery
    if table is None or plant is None or table.empty:
        return ""
    strict = table.iloc[0]
    called, wrong = int(strict["called"]), round(strict["called"] * strict["fdp"])
    if not np.isfinite(strict["tpr"]):
        calls = counted(called, "connection")
        return f"Nothing was planted: whatever is found is false. {strict['method']} calls {calls}."
    of = f" of {plant['region']}" if plant["region"] else ""
    n = int(strict.get("planted", plant["edges"]))
    planted = f"{n} planted connections{of} (d = {plant['effect']:g} in {plant['carriers']:.0%} of the patients)"
    return (
        f"Of {planted}, {strict['method']} finds {called - wrong}; "
        f"{wrong or 'none'} of its {counted(called, 'call')} {'are' if wrong > 1 else 'is'} false."
        + _hub_sentence(results.targets, plant["region"])
    )


def _hub_sentence(targets: pd.DataFrame | None, hub: str | None) -> str:
    """Where virtual stimulation ranks a region that was planted in; empty where there is neither."""
    if targets is None or targets.empty or not hub:
        return ""
    nodes = targets[targets["kind"] == "node"].set_index("target")
    return f" Virtual stimulation ranks it number {nodes.loc[hub, 'rank']} of {len(nodes):,} regions."


def recovery_table(recovery: pd.DataFrame) -> Table:
    """How well each method finds the planted truth, and what each column means."""
    ranked = recovery[recovery["method"] != "chance"]
    equal = [name for name in ("auprc", "auprc_ratio") if len(ranked) > 1 and len(ranked[name].unique()) == 1]
    shown = [row for row in RECOVERY if row[0] not in equal]
    rows = []
    for row in recovery.to_dict("records"):
        cells = [number(float(row[name]), digits) for name, _, _, digits in shown]
        rows.append(Row([row["method"], *cells], "floor" if row["method"] == "chance" else ""))
    columns = [Column("Method", False), *(Column(title) for _, title, _, _ in shown)]
    notes = [(title, meaning) for _, title, meaning, _ in shown]
    caption = "Recovery of the planted truth in this cohort." + _equal_sentence(recovery, equal)
    return Table(caption, columns, rows, notes)


def _equal_sentence(recovery: pd.DataFrame, equal: Sequence[str]) -> str:
    """What all methods share, because they rank the connections alike; empty where nothing."""
    if "auprc" not in equal:
        return ""
    chance = recovery.loc[recovery["method"] == "chance", "auprc"]
    value = float(recovery.loc[recovery["method"] != "chance", "auprc"].iloc[0])
    beside = f" (chance: {number(float(chance.iloc[0]), 3)})" if len(chance) else ""
    return f" All methods rank the connections alike: area under the precision-recall curve {number(value, 3)}{beside}."
