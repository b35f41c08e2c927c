"""How many of a set of edges are truly disrupted, at least: bounds that hold for all sets at once.

An edge of a significant component is not significant itself. What can be said of any set, also of one that was
chosen after looking, is how many of its edges are at most false. A template of thresholds ``t_k = slope k`` bounds
them: if with probability 1 - alpha at most k - 1 null edges have p < t_k, for all k at once (control of the joint
error rate), then a set S holds at most ``V(S) = min_k #{i in S: p_i >= t_k} + k - 1`` false ones. Simes' inequality
gives slope alpha / E whatever the number of null edges; permutations give the largest slope that this cohort's
correlated edges allow.

References
----------
Goeman and Solari (2011), doi:10.1214/11-STS356; Rosenblatt et al. (2018), doi:10.1016/j.neuroimage.2018.07.060 (all
resolutions inference); Blanchard, Neuvial and Roquain (2020), doi:10.1214/19-AOS1847 (calibration); Blain, Thirion and
Neuvial (2022), doi:10.1016/j.neuroimage.2022.119492 (choice of K).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr

from dysconnect.localize.statistics import nuisance_basis, parts, permuted_groups, residual_unit, to_t
from dysconnect.progress import track

LARGEST = 1000  # thresholds of the template: a bound on more false discoveries than this would say nothing
CELLS = 1 << 14  # of the table of log p over r: between them it is a line, to less than TIE
TIE = 1e-4  # relative: p of the permutations come from float32


@dataclass(frozen=True)
class DiscoveryBound:
    """Lower bounds on the true discoveries in any set of edges, all valid together with probability 1 - alpha.

    Attributes
    ----------
    p : array, [E]
        Two-sided parametric p of every edge.
    slope : float
        Thresholds are ``slope k``.
    largest : int
        K, the number of thresholds.
    """

    p: np.ndarray
    slope: float
    largest: int

    def true_discoveries(self, chosen: np.ndarray) -> int:
        """At least so many edges of a set (bool, [E]) are truly disrupted."""
        chosen = np.asarray(chosen)
        if chosen.dtype != bool or chosen.shape != self.p.shape:
            raise ValueError(
                f"a set of edges is a bool for each of the {len(self.p)} edges; "
                f"this one is {chosen.dtype} of shape {chosen.shape}. Pass edges == name, or p <= 0.05, say."
            )
        p = np.sort(self.p[chosen])
        k = np.arange(1, min(self.largest, len(p)) + 1)
        below = np.searchsorted(p, self.slope * k, side="left")
        return int(np.max(below - k + 1, initial=0))

    def proportion(self, chosen: np.ndarray) -> float:
        """At least this share of a set is truly disrupted; 0 of an empty set."""
        return self.true_discoveries(chosen) / max(int(np.sum(chosen)), 1)


def bounds_table(bound: DiscoveryBound, sets: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Bounds of named sets of edges (components, circuits): `set`, `n_edges`, `true_discoveries`, `proportion`."""
    rows = [
        (name, int(np.sum(mask)), bound.true_discoveries(mask), bound.proportion(mask)) for name, mask in sets.items()
    ]
    return pd.DataFrame(rows, columns=["set", "n_edges", "true_discoveries", "proportion"])


def simes(p: np.ndarray, alpha: float) -> DiscoveryBound:
    """Bounds by Simes' inequality for all edges, without permutations; conservative where many edges are disrupted."""
    return DiscoveryBound(p, alpha / len(p), len(p))


def all_resolutions(p: np.ndarray, alpha: float) -> DiscoveryBound:
    """Parametric bounds by closed testing with Simes' test (ARI), [E] p-values.

    Hommel's h, the largest number of edges whose p could all be null, takes the place of E in the slope.
    """
    ordered, count = np.sort(p), len(p)
    sizes = np.arange(1, count + 1)
    # the i largest are jointly acceptable: p_(E-i+j) > alpha j / i for j = 1..i, that is, i (p of rank E-i+j) > alpha j
    low, high = 0, count
    while low < high:
        size = (low + high + 1) // 2
        acceptable = (size * ordered[count - size :] > alpha * sizes[:size]).all()
        low, high = (size, high) if acceptable else (low, size - 1)
    return DiscoveryBound(p, alpha / max(low, 1), count)


def calibrate(t: np.ndarray, df: int, ratios: np.ndarray, alpha: float, largest: int) -> DiscoveryBound:
    """Bounds by the template that the permutations allow.

    Parameters
    ----------
    t : array, [E]
        Observed statistics, with `df` degrees of freedom.
    ratios : array, [B]
        Smallest ``p_(k) E / k`` over k <= K of every permutation (`permuted_ratios`).
    alpha : float
        The bounds of all sets hold together with probability 1 - alpha.
    largest : int
        K, the same as for `ratios`.

    Raises
    ------
    ValueError
        When there are too few permutations for alpha.
    """
    rank = int(alpha * (len(ratios) + 1) + 1e-9)  # as good as any: the chance to be among them is rank / (B + 1)
    if rank < 1:
        raise ValueError(
            f"{len(ratios)} permutations are too few for alpha = {alpha}: "
            f"at least {int(np.ceil(1 / alpha)) - 1} are needed (localize.permutations)."
        )
    slope = np.sort(ratios)[rank - 1] / len(t)
    return DiscoveryBound(2 * stdtr(df, -np.abs(t)), float(slope * (1 - TIE)), min(largest, len(t)))


def permuted_ratios(
    groups: np.ndarray, edges: np.ndarray, basis: np.ndarray, largest: int = LARGEST, chunk_bytes: float = 1e8
) -> np.ndarray:
    """Smallest ``p_(k) E / k`` over k <= K of every permutation, [B]: what the template's slope is calibrated by.

    Parameters
    ----------
    groups : array, [B, S]
        Unit group (or score) vectors of the permutations (`statistics.permuted_groups`).
    edges : array, [S, E]
        Fisher z, complete.
    basis : array, [S, Z]
        Orthonormal nuisance.
    largest : int
        K. Memory is twice B K numbers, and `chunk_bytes`.
    """
    largest, df = min(largest, edges.shape[1]), len(edges) - basis.shape[1] - 1
    groups = groups.astype(np.float32, copy=False)
    strongest = np.zeros((len(groups), 0), np.float32)
    said = f"{len(groups)} permutations of {edges.shape[1]} edges for the bounds, in parts"
    for part in track(parts(edges.shape[1], len(edges)), said):
        units = residual_unit(edges[:, part].astype(float), basis).astype(np.float32)
        strongest = _strongest(groups, units, strongest, largest, chunk_bytes)
    return _ratios(strongest, df, edges.shape[1])


def _strongest(
    groups: np.ndarray, units: np.ndarray, before: np.ndarray, largest: int, chunk_bytes: float
) -> np.ndarray:
    """Join the strongest correlations so far, [B, k], with those of further edges [S, e]; the K strongest of them."""
    count = before.shape[1] + units.shape[1]
    kept = np.empty((len(groups), min(largest, count)), np.float32)
    size = max(1, int(chunk_bytes / (8 * count)))
    for start in range(0, len(groups), size):
        rows = slice(start, start + size)
        r = groups[rows] @ units
        np.abs(r, out=r)
        pool = np.concatenate([before[rows], r], axis=1) if before.size else r
        pool.partition(count - kept.shape[1], axis=1)
        kept[rows] = pool[:, count - kept.shape[1] :]
    return kept


def _ratios(strongest: np.ndarray, df: int, n_edges: int) -> np.ndarray:
    """Smallest ``p_(k) E / k`` of permutations whose K strongest correlations are given in any order, [B, K] -> [B].

    Which k it is shows in a table of p; only that p is computed.
    """
    from dysconnect.localize import kernels

    ordered = np.sort(strongest, axis=1)
    p = 2 * stdtr(df, -to_t(np.linspace(0, 1, CELLS + 1), df))
    logs = np.log(np.maximum(p, np.finfo(float).tiny))
    ranks = np.empty(len(ordered), np.int64)
    kernels.smallest_over_rank(ordered, logs, np.log(np.arange(1, ordered.shape[1] + 1)), ranks)
    r = ordered[np.arange(len(ordered)), ordered.shape[1] - ranks].astype(float)
    return 2 * stdtr(df, -to_t(r, df)) / ranks * n_edges


def discovery_bound(
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    n_permutations: int,
    seed: int,
    alpha: float,
    largest: int = LARGEST,
) -> DiscoveryBound:
    """Bound the true discoveries of any set of edges: differences of two groups, or associations with a score.

    Parameters
    ----------
    edges, table, covariates, n_permutations, seed
        As for `statistics.edge_statistics`; with the same seed the permutations are the same. For a score of severity
        `label` holds the score.
    alpha : float
        The bounds of all sets hold together with probability 1 - alpha.
    largest : int
        K, the number of thresholds, to be chosen before the data are seen: about the size of the largest set that
        is of interest.
    """
    basis = nuisance_basis(table, covariates)
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    nulls = permuted_groups(group, basis, table["site"].to_numpy(), n_permutations, seed)
    df, unit = len(table) - basis.shape[1] - 1, group / np.linalg.norm(group)
    r = [unit @ residual_unit(edges[:, part].astype(float), basis) for part in parts(edges.shape[1], len(edges))]
    ratios = permuted_ratios(nulls, edges, basis, largest)
    return calibrate(to_t(np.concatenate(r), df), df, ratios, alpha, largest)
