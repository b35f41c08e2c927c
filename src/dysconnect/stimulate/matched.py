"""Is a target special, or only well connected? Its effect among those of nodes and sets of the same strength."""

import numpy as np

from dysconnect.data.edges import Pairs, known_mean
from dysconnect.stimulate.targets import Targets


def node_strength(edges: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Sum of a node's mean absolute edges, whichever way they go, [n, E] -> [N]; no label is looked at.

    The mean is over the people who have the edge.
    """
    rows, cols = pairs.ends
    mean = known_mean(map(np.abs, edges), edges.shape[1])
    return np.bincount(rows, mean, pairs.n) + np.bincount(cols, mean, pairs.n)


def neighbours(strength: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random exchange of nodes with ones of like strength, [N]: nobody moves much farther than `width` ranks."""
    order = np.argsort(strength, kind="stable")
    moved = np.argsort(np.arange(len(order)) + rng.uniform(0, width, len(order)))
    exchange = np.empty(len(order), int)
    exchange[order] = order[moved]
    return exchange


def matched_standing(
    effects: np.ndarray, targets: Targets, strength: np.ndarray, width: int, draws: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Standing of every target's effect among matched ones.

    The null hypothesis is that the target is no different from others of its make: it tests specificity, not whether
    there is any difference between the groups (that is what permuted labels test).

    Parameters
    ----------
    effects : array, [E]
        Part of every edge in the group's shift.
    targets : Targets
    strength : array, [N]
    width : int
        A node is compared with the `width` nodes nearest to it in strength; all have as many edges. The nodes of a set
        are exchanged with ones of like strength, which keeps how its edges hang together and how many they are.
    draws : int
        Random sets.
    seed : int

    Returns
    -------
    z, p : array, [T]
        p is ``(1 + #{matched <= observed}) / (1 + draws)``. A matched set may share edges with the target, which
        makes both cautious.
    """
    rng = np.random.default_rng([seed, 19])
    matrix, ends = targets.pairs.matrix(effects), targets.pairs.ends
    observed = targets.members @ effects
    exchanges = [neighbours(strength, width, rng) for _ in range(draws)]
    standing = []
    for row in range(len(observed)):
        if row < len(targets.nodes):
            null = _like(observed[: len(targets.nodes)], strength[targets.nodes], row, width)
        else:
            rows, cols = (side[targets.members[row].indices] for side in ends)
            null = np.array([matrix[exchange[rows], exchange[cols]].sum() for exchange in exchanges])
        spread = null.std()
        z = (observed[row] - null.mean()) / spread if spread > 0 else np.nan
        standing.append((z, (1 + (null <= observed[row]).sum()) / (1 + len(null))))
    z, p = np.array(standing).T
    return z, p


def _like(effects: np.ndarray, strength: np.ndarray, node: int, width: int) -> np.ndarray:
    """Effects of the nodes nearest to one in strength, without itself."""
    away = np.abs(strength - strength[node])
    away[node] = np.inf
    return effects[np.argsort(away, kind="stable")[: min(width, len(effects) - 1)]]
