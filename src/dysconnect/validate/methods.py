"""All methods of the library on one cohort: what each of them calls, and how it ranks the edges."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.localize.bounds import DiscoveryBound, discovery_bound
from dysconnect.localize.components import (
    Components,
    PermutedEdges,
    adaptive_network_based,
    exceedance,
    maxima,
    network_based,
    permuted_edges,
    threshold_free,
)
from dysconnect.localize.families import (
    circuit_tests,
    constrained_network_based,
    prior_weights,
    system_blocks,
    weighted_false_discovery,
)
from dysconnect.localize.statistics import edge_statistics
from dysconnect.models.dual import DualRidge

TAILS = {"": 0, ", patients higher": 1, ", patients lower": -1}
THRESHOLD = 3.0  # of |t|, for the classical network-based statistic


@dataclass(frozen=True)
class Atlas:
    """What the methods know of the regions that are used.

    Attributes
    ----------
    nodes : DataFrame, [N rows]
    rows, cols : array of int, [E]
        Nodes of every edge.
    circuits : array of str, [E]
        Circuit of every edge; empty where it is in none.
    """

    nodes: pd.DataFrame
    rows: np.ndarray
    cols: np.ndarray
    circuits: np.ndarray

    @property
    def loops(self) -> dict[str, np.ndarray]:
        """Edges of every circuit, bool [E]."""
        return {name: self.circuits == name for name in pd.unique(self.circuits) if name}

    @property
    def blocks(self) -> np.ndarray:
        """Pair of systems of every edge, [E]."""
        return system_blocks(self.nodes["system"].to_numpy(str), self.rows, self.cols)


@dataclass(frozen=True)
class Outcome:
    """What a method says of one cohort.

    Attributes
    ----------
    method : str
    called : array of bool, [U]
        Units that it calls different: edges, or sets of edges. None called, and no `sets`: a ranking only.
    strength : array or None, [E]
        How it ranks the edges, the strongest highest.
    sets : array of bool or None, [U, E]
        Edges of every set, where sets are called.
    tail : int
        -1, 1: it looks in this direction only; 0: in both.
    bound : DiscoveryBound or None
        Lower bounds on true discoveries, and in `sets` the sets whose bounds are looked at.
    """

    method: str
    called: np.ndarray
    strength: np.ndarray | None = None
    sets: np.ndarray | None = None
    tail: int = 0
    bound: DiscoveryBound | None = None


def run_methods(
    edges: np.ndarray, people: pd.DataFrame, atlas: Atlas, spec: dict, seed: int
) -> tuple[list[Outcome], np.ndarray]:
    """Run all methods on one cohort: their outcomes, and t of every edge.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    people : DataFrame, [n rows]
        `label`, `site` and the covariates.
    atlas : Atlas
    spec : dict
        `nuisance`, `alpha`, `permutations`, `thresholds`, `prior_circuits`, `prior`.
    seed : int
        Of the permutations, which are the same for all network-based methods.
    """
    nuisance, alpha, count = spec["nuisance"], spec["alpha"], spec["permutations"]
    statistics = edge_statistics(edges, people, nuisance, count, seed)
    nodes = (atlas.rows, atlas.cols, len(atlas.nodes))
    permuted = permuted_edges(edges, people, nuisance, nodes, count, seed)
    size, loops = np.abs(statistics.t), atlas.loops
    prior = {name: mask for name, mask in loops.items() if name in spec["prior_circuits"]}
    inside = np.any([*prior.values(), np.zeros(len(size), bool)], axis=0)
    weights = prior_weights(inside, spec["prior"])
    p_weighted = weighted_false_discovery(statistics.p, weights)
    adaptive = adaptive_network_based(permuted, spec["thresholds"], prior)
    found = [
        Outcome("max-T", statistics.p_fwer <= alpha, size),
        *_tails_of_peaks(permuted, alpha),
        Outcome("Benjamini-Hochberg", statistics.p_fdr <= alpha, size),
        Outcome("weighted Benjamini-Hochberg", p_weighted <= alpha, -statistics.p / weights),
        *_network_based(permuted, alpha),
        Outcome("adaptive NBS", adaptive.p_edge <= alpha, _ranked(adaptive.p_edge, size)),
        *_threshold_free(permuted, alpha),
        Outcome("ridge weights", np.zeros(0, bool), np.abs(_ridge_weights(edges, people["label"].to_numpy()))),
        *_sets(permuted, atlas, alpha),
    ]
    bound = discovery_bound(edges, people, nuisance, count, seed, alpha)
    looked_at = [np.ones(len(size), bool), *loops.values(), *(one.called for one in found if _calls_edges(one))]
    everywhere = np.array([bound.true_discoveries(own) > 0 for own in looked_at])
    bounds = Outcome("true-discovery bounds", everywhere, sets=np.stack(looked_at), bound=bound)
    return [*found, bounds], statistics.t


def _calls_edges(one: Outcome) -> bool:
    return one.sets is None and len(one.called) > 0


def _ranked(p: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Order by p, then by |t|."""
    return np.argsort(np.lexsort((size, -p))).astype(float)


def _tails_of_peaks(permuted: PermutedEdges, alpha: float) -> Iterator[Outcome]:
    """Max-T in one direction each, with the permutations' largest t of that direction."""
    _, _, peaks = maxima(permuted, [THRESHOLD], np.ones((1, len(permuted.rows)), bool))
    r = permuted.group.astype(np.float32) @ permuted.units
    for column, (name, tail) in enumerate(list(TAILS.items())[1:]):
        yield Outcome(f"max-T{name}", exceedance(tail * r, peaks[1:, 0, column]) <= alpha, tail * r, tail=tail)


def _network_based(permuted: PermutedEdges, alpha: float) -> Iterator[Outcome]:
    """Classical network-based statistic, by intensity and by size, in both directions and in one."""
    found = network_based(permuted, THRESHOLD)
    for kind, suffix in (("intensity", ""), ("size", "_size")):
        for name, tail in TAILS.items():
            column = f"p_tail{suffix}" if tail else f"p_fwer{suffix}"
            own = (found.table[column] <= alpha) & ((found.table["tail"] == name.removeprefix(", ")) | (tail == 0))
            yield Outcome(f"NBS, {kind}{name}", _members(found, own.to_numpy(), len(permuted.rows)), tail=tail)


def _members(found: Components, wanted: np.ndarray, n_edges: int) -> np.ndarray:
    """Edges of some of the components, bool [E]."""
    called = np.zeros(n_edges, bool)
    for own, is_wanted in zip(found.edges, wanted):
        called[own] |= is_wanted
    return called


def _threshold_free(permuted: PermutedEdges, alpha: float) -> Iterator[Outcome]:
    """Threshold-free network-based statistic, in both directions and in one."""
    found, t = threshold_free(permuted), permuted.observed()
    for name, tail in TAILS.items():
        called = (found.p_tail <= alpha) & (tail * t > 0) if tail else found.p_fwer <= alpha
        yield Outcome(f"TFNBS{name}", called, None if tail else found.score, tail=tail)


def _ridge_weights(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return DualRidge().fit(edges, labels).weights_


def _sets(permuted: PermutedEdges, atlas: Atlas, alpha: float) -> Iterator[Outcome]:
    """Circuits, and blocks of systems, as wholes."""
    blocks = atlas.blocks
    for method, table, masks in (
        ("circuit tests", circuit_tests(permuted, atlas.loops), atlas.loops),
        ("cNBS, blocks", constrained_network_based(permuted, blocks), {b: blocks == b for b in np.unique(blocks)}),
    ):
        if len(table):
            called = table[["p_fwer_mean", "p_fwer_magnitude"]].min(axis=1).to_numpy() <= alpha
            yield Outcome(method, called, sets=np.stack([masks[name] for name in table["name"]]))
