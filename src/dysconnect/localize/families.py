"""Edges in families that are known beforehand: circuits, blocks of systems, and a prior on single edges."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.localize.components import PermutedEdges, in_threads
from dysconnect.localize.ranks import attained, exceedance, smallest_p
from dysconnect.localize.statistics import false_discovery

BINS = 5  # of strength and of length each, for matched sets
COLUMNS = ["name", "n_edges", "mean_t", "magnitude", "p_mean", "p_magnitude", "p_fwer_mean", "p_fwer_magnitude"]


def prior_weights(inside: np.ndarray, weight: float) -> np.ndarray:
    """Weights of mean one, [E], in which an edge inside [E] counts `weight` times as much as one outside."""
    weights = np.where(inside, weight, 1.0)
    return weights / weights.mean()


def weighted_false_discovery(p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted Benjamini-Hochberg adjusted p, [E].

    Parameters
    ----------
    p : array, [E]
    weights : array, [E]
        Positive, of mean one, fixed before the data are seen.

    Raises
    ------
    ValueError
        When the weights are not positive with mean one: the error rate would not hold.

    References
    ----------
    Genovese, Roeder and Wasserman (2006), doi:10.1093/biomet/93.3.509.
    """
    if (weights <= 0).any() or abs(weights.mean() - 1) > 1e-6:
        raise ValueError(
            f"weights from {weights.min():.3g} with mean {weights.mean():.3g} do not control the false-discovery rate: "
            "they must be positive with mean one (prior_weights makes such)."
        )
    return false_discovery(p / weights)


class SetTests(NamedTuple):
    """Tests of sets of edges: `table`, and of the group and every permutation the `smallest` p of them all, [1 + B]."""

    table: pd.DataFrame
    smallest: np.ndarray


def circuit_tests(permuted: PermutedEdges, circuits: dict[str, np.ndarray]) -> SetTests:
    """Test whole circuits: is the mean t of its edges shifted, or their mean square too large?

    Parameters
    ----------
    permuted : PermutedEdges
    circuits : dict of name to mask [E]
        Those without an edge are left out.

    Returns
    -------
    SetTests
        `name`, `n_edges`, `mean_t`, `magnitude` (mean square of t), `p_mean` (two-sided) and `p_magnitude` of the
        circuit alone, `p_fwer_mean` and `p_fwer_magnitude` corrected over all circuits and both statistics by the
        smallest p over the same permutations.
    """
    return _set_tests(permuted, circuits, np.square)


def constrained_network_based(permuted: PermutedEdges, blocks: np.ndarray) -> SetTests:
    """Constrained network-based statistic: is the mean t of a block of edges shifted, or its mean absolute t?

    Parameters
    ----------
    permuted : PermutedEdges
    blocks : array of str, [E]
        Block of every edge, such as a pair of systems.

    Returns
    -------
    SetTests
        As of `circuit_tests`, with `magnitude` the mean absolute t. Blocks differ in size, so that the correction
        is by the smallest p: the largest mean would always be sought in the smallest block.

    References
    ----------
    Noble and Scheinost (2020), MICCAI, LNCS 12267:458-468.
    """
    return _set_tests(permuted, {name: blocks == name for name in np.unique(blocks)}, np.abs)


def _set_tests(permuted: PermutedEdges, sets: dict[str, np.ndarray], magnitude: np.ufunc) -> SetTests:
    sets = {name: mask for name, mask in sets.items() if mask.any()}
    if not sets:
        return SetTests(pd.DataFrame(columns=COLUMNS), np.ones(1 + permuted.n_permutations))
    mean, size = set_means(permuted, np.stack(list(sets.values())), magnitude)
    statistics = np.stack([np.abs(mean), size], -1)  # [1 + B, C, 2]
    smallest = smallest_p(statistics)
    p = np.array([[exceedance(values[0], values[1:]) for values in one.T] for one in statistics.transpose(1, 0, 2)])
    numbers = [[int(mask.sum()) for mask in sets.values()], mean[0], size[0], *p.T, *attained(p, smallest[1:]).T]
    return SetTests(pd.DataFrame(dict(zip(COLUMNS, [list(sets), *numbers]))), smallest)


def set_means(permuted: PermutedEdges, masks: np.ndarray, magnitude: np.ufunc) -> tuple[np.ndarray, np.ndarray]:
    """Mean t, and mean of its magnitude, over sets of edges [C, E]: for the group and every permutation, [1 + B, C]."""
    from dysconnect.localize import kernels

    used = np.flatnonzero(masks.any(0))
    shares = (masks[:, used] / masks.sum(1, keepdims=True)).T.astype(np.float32)
    mean, size = (np.empty((1 + permuted.n_permutations, len(masks))) for _ in range(2))

    def one(r: np.ndarray, rows: slice) -> None:
        t = kernels.single_t(r if len(used) == r.shape[1] else r.take(used, axis=1), float(permuted.df))
        mean[rows] = t @ shares
        size[rows] = magnitude(t, out=t) @ shares

    in_threads(permuted, f"{len(masks)} sets of edges", one)
    return mean, size


def system_blocks(systems: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Name the pair of systems [N] that every edge joins, whichever way round, [E]."""
    first, second = np.sort(np.stack([systems[rows], systems[cols]]).astype(str), axis=0)
    return np.array([f"{a} - {b}" for a, b in zip(first, second)])


def enrichment(
    permuted: PermutedEdges, circuits: dict[str, np.ndarray], strength: np.ndarray, length: np.ndarray
) -> pd.DataFrame:
    """Test whether a circuit differs more than edges of like strength and length do.

    The mean absolute t inside is divided by that expected of as many edges drawn at random from the same fifths of
    strength by fifths of length. Edges depend on each other, so that the ratio is compared with those of permuted
    people, not of random edges.

    Parameters
    ----------
    permuted : PermutedEdges
    circuits : dict of name to mask [E]
        Those without an edge are left out.
    strength : array, [E]
        Sum of the strengths (weighted degrees) of an edge's two nodes.
    length : array, [E]
        Distance of the two nodes, mm.

    Returns
    -------
    DataFrame
        `name`, `enrichment` (the ratio), `p_enrichment` (corrected over the circuits by the smallest p).
    """
    from dysconnect.localize import kernels

    circuits = {name: mask for name, mask in circuits.items() if mask.any()}
    if not circuits:  # regions whose names follow no rule of a circuit
        return pd.DataFrame(columns=["name", "enrichment", "p_enrichment"])
    masks = np.stack(list(circuits.values())).astype(np.float32)  # [C, E]
    stratum = fifths(strength) * BINS + fifths(length)
    inside = (stratum == np.arange(BINS * BINS)[:, None]).astype(np.float32)  # [S, E]
    like = inside / np.maximum(inside.sum(1, keepdims=True), 1)
    weights = np.concatenate([masks, (masks @ inside.T) @ like]).T  # sums inside, and expected of like edges
    sums = np.empty((1 + permuted.n_permutations, 2 * len(masks)))

    def one(r: np.ndarray, rows: slice) -> None:
        sums[rows] = np.abs(kernels.single_t(r, float(permuted.df))) @ weights

    in_threads(permuted, f"{len(masks)} circuits beside like edges", one)
    ratio = sums[:, : len(masks)] / np.maximum(sums[:, len(masks) :], 1e-12)
    p = [float(exceedance(own[0], own[1:])) for own in ratio.T]
    corrected = attained(np.array(p), smallest_p(ratio)[1:])
    return pd.DataFrame({"name": list(circuits), "enrichment": ratio[0], "p_enrichment": corrected})


def fifths(values: np.ndarray) -> np.ndarray:
    """Fifth of its distribution that every value is in, 0 to 4."""
    return np.searchsorted(np.quantile(values, np.arange(1, BINS) / BINS), values, side="right")
