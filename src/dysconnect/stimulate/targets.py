"""What can be stimulated: every node, every target region, every circuit, as sets of edges."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from dysconnect.data.atlas.targets import target_members, target_regions
from dysconnect.data.edges import Pairs

KINDS = ("node", "region", "circuit")


@dataclass(frozen=True)
class Targets:
    """Sets of edges, by name.

    Attributes
    ----------
    table : DataFrame, [T rows]
        `kind` (node, region, circuit), `target`, `title`, `access` (DBS, TMS or both, of regions and their nodes),
        `system`, `x`, `y`, `z` (MNI mm, of nodes), `n_nodes`, `n_edges`.
    members : csr_matrix of 0/1, [T, E]
    nodes : array of int
        Position in the connectomes of every target that is a node; these come first.
    absent : DataFrame
        Regions without a node in this atlas, or without an edge that was measured: `target`, `title`, `access`.
    pairs : Pairs
        What the edges join.
    """

    table: pd.DataFrame
    members: csr_matrix
    nodes: np.ndarray
    absent: pd.DataFrame
    pairs: Pairs

    @property
    def kinds(self) -> np.ndarray:
        """Kind of every target, [T]."""
        return self.table["kind"].to_numpy()


def list_targets(nodes: pd.DataFrame, measured: np.ndarray, directed: bool = False) -> Targets:
    """List the targets of an atlas.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        In the order of the connectomes.
    measured : array of bool, [E]
        Edges that anybody has.
    directed : bool
        Whether an edge goes from one region to the other.
    """
    targets = target_members(nodes, directed)
    members = np.stack([target.pop("edges") & measured for target in targets])
    table = pd.DataFrame(targets).assign(n_edges=members.sum(1)).fillna({"access": ""})
    table = table.join(nodes[["system", "x", "y", "z"]])
    table.loc[: len(nodes) - 1, "access"] = _node_access(target_regions(nodes), len(nodes))
    seen = (table["n_edges"] > 0).to_numpy()
    absent = table.loc[~seen & (table["kind"] == "region"), ["target", "title", "access"]].reset_index(drop=True)
    columns = ["kind", "target", "title", "access", "system", "x", "y", "z", "n_nodes", "n_edges"]
    nodes_seen = np.flatnonzero(seen[: len(nodes)])
    kept = table.loc[seen, columns].reset_index(drop=True)
    return Targets(kept, csr_matrix(members[seen], dtype=np.float32), nodes_seen, absent, Pairs(len(nodes), directed))


def _node_access(regions: pd.DataFrame, n_nodes: int) -> list[str]:
    """How every node can be reached: that of the regions it belongs to."""
    ways = [set() for _ in range(n_nodes)]
    for region in regions.itertuples():
        for row in region.rows:
            ways[row].add(region.access)
    return ["; ".join(sorted(way)) for way in ways]
