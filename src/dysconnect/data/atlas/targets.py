"""Targets of stimulation as rules over the node table: ``targets.tsv``."""

from functools import cache

import numpy as np
import pandas as pd

from dysconnect.data.atlas import FOLDER, circuit_edges, circuit_titles
from dysconnect.data.edges import Pairs


def target_regions(nodes: pd.DataFrame) -> pd.DataFrame:
    """Find the targets of deep brain (DBS) and transcranial magnetic stimulation (TMS) in an atlas.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        Node table with `name`, `system`, `x`, `y`, `z` (MNI mm).

    Returns
    -------
    DataFrame
        `target`, `title`, `access` (DBS or TMS), `rows` (tuple of positions in `nodes`; empty where the atlas has
        no such region), in the order of ``targets.tsv``.

    Notes
    -----
    A rule takes the regions of one system whose name holds a pattern (ignoring case) and whose centre lies in ranges of
    the distance from the midline (`abs_x`), y and z, written ``low:high`` in mm, the lower end included; an empty range
    or end does not bound. Several rules of one target add up.
    """
    targets = []
    for (target, title, access), rules in _rules().groupby(["target", "title", "access"], sort=False):
        hit = np.any([_matches(nodes, rule) for rule in rules.to_dict("records")], axis=0)
        targets.append((target, title, access, tuple(np.flatnonzero(hit).tolist())))
    return pd.DataFrame(targets, columns=["target", "title", "access", "rows"])


def target_members(nodes: pd.DataFrame, directed: bool = False) -> list[dict]:
    """List every node, target region and circuit of an atlas with its edges.

    Returns
    -------
    list of dict
        `kind` (node, region, circuit), `target`, `title`, `access` (of regions), `n_nodes`, `edges` (array of bool,
        [E], in the order of `Pairs`).

    Notes
    -----
    To stimulate a node or a region is to act on all edges that touch it, those that leave it and those that come to it
    alike; a circuit, on its edges alone, which go one way where edges do.
    """
    rows, cols = Pairs(len(nodes), directed).ends
    touching = lambda ends: np.isin(rows, ends) | np.isin(cols, ends)
    members = [
        {"kind": "node", "target": name, "title": name, "n_nodes": 1, "edges": touching([k])}
        for k, name in enumerate(nodes["name"])
    ]
    members += [
        {"kind": "region", "target": region.target, "title": region.title, "access": region.access,
         "n_nodes": len(region.rows), "edges": touching(region.rows)}
        for region in target_regions(nodes).itertuples()
    ]  # fmt: skip
    circuits = circuit_edges(nodes, directed)
    for name, title in circuit_titles().items():
        inside = circuits[circuits["circuit"] == name]
        ends = np.union1d(inside["i"], inside["j"])
        edges = np.isin(np.arange(len(rows)), inside["edge"])
        members.append({"kind": "circuit", "target": name, "title": title, "n_nodes": len(ends), "edges": edges})
    return members


@cache
def target_titles() -> dict[str, str]:
    """Map every target region's name to its title for people, in the order of ``targets.tsv``."""
    rules = _rules().drop_duplicates("target")
    return dict(zip(rules["target"], rules["title"], strict=True))


@cache
def _rules() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "targets.tsv", sep="\t", dtype=str, keep_default_na=False)


def _matches(nodes: pd.DataFrame, rule: dict[str, str]) -> np.ndarray:
    """Whether each node obeys a rule, [N] bool."""
    fits = (nodes["system"] == rule["system"]).to_numpy()
    fits = fits & nodes["name"].str.contains(rule["name"], case=False, regex=True).to_numpy(bool)
    for axis, place in (("abs_x", nodes["x"].abs()), ("y", nodes["y"]), ("z", nodes["z"])):
        low, _, high = rule[axis].partition(":")
        fits &= (place >= float(low or -np.inf)).to_numpy() & (place < float(high or np.inf)).to_numpy()
    return fits
