"""What the maps that were tested together say of a target's connections, beside what the model answers to it."""

import numpy as np
import pandas as pd

from dysconnect.data.atlas.targets import target_members
from dysconnect.data.edges import Pairs
from dysconnect.paper.tables import Column, Row, Table, significant
from dysconnect.paper.text import NONE, listed, number
from dysconnect.report.results import Asked

FIRST = 5  # of every kind


def mean_t(joint: Asked, nodes: pd.DataFrame) -> pd.DataFrame:
    """Mean t of every target's connections in every map that was tested (`localize.joint`).

    Returns
    -------
    DataFrame
        `kind`, `target`, and of every map NAME `t_NAME` (NaN where none of its connections was tested) and `n_NAME`,
        how many were.
    """
    names = [row["name"] for row in joint.summary["pictures"]]
    place = pd.Index(nodes["name"])
    ends = [place.get_indexer(joint.edges[column]) for column in ("region_a", "region_b")]
    t = np.full((len(names), len(Pairs(len(nodes)))), np.nan)
    t[:, Pairs(len(nodes)).position(*ends)] = joint.edges[[f"t_{name}" for name in names]].to_numpy(float).T
    rows = []
    for member in target_members(nodes):
        row = {"kind": member["kind"], "target": member["target"]}
        for name, values in zip(names, t[:, member["edges"]]):
            known = values[np.isfinite(values)]
            row |= {f"t_{name}": known.mean() if len(known) else np.nan, f"n_{name}": len(known)}
        rows.append(row)
    return pd.DataFrame(rows)


def evidence_table(targets: pd.DataFrame, joint: Asked | None, nodes: pd.DataFrame) -> Table | None:
    """The first targets of every kind with the mean t of their connections in each map; None without such maps."""
    if joint is None or joint.edges.empty:
        return None
    names = [row["name"] for row in joint.summary["pictures"]]
    first = targets.groupby("kind", sort=False).head(FIRST).merge(mean_t(joint, nodes), on=["kind", "target"])
    rows = [
        Row([
            (row["title"], row["kind"]), significant(row["shift"]), number(row["score"]),
            *((number(row[f"t_{name}"]), f"{row[f'n_{name}']:,}") if row[f"n_{name}"] else NONE for name in names),
        ])
        for row in first.to_dict("records")
    ]  # fmt: skip
    shown = [name.replace("_", " ") for name in names]
    columns = [Column("Target", False), Column("Shift"), Column("Score"), *(Column(f"mean t {name}") for name in shown)]
    caption = (
        f"What {listed(shown)} say of the connections of the first targets, beside what the model answers: the mean t "
        "of the difference between patients and controls over a target's connections, and how many were tested "
        "(negative: weaker in patients). It describes and tests nothing, and the map that the model learned from is "
        "not independent of the score."
    )
    return Table(caption, columns, rows)
