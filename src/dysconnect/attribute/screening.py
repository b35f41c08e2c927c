"""Error rates for the edges of any model: one half of the people screens, the other half tests; many times over."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.learning.splits import strata
from dysconnect.localize.statistics import edge_statistics, nuisance_basis, refuse_untestable
from dysconnect.progress import track

Screen = Callable[[np.ndarray, int], np.ndarray]  # rows [h] and a seed to scores [E]


class Screened(NamedTuple):
    """p of every edge [E], the share of splits in which it was screened [E], and how many splits could test."""

    p_fwer: np.ndarray
    share: np.ndarray
    tested: int


def screened_statistics(
    screen: Screen, edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], spec: dict
) -> Screened:
    """Test the edges that a model picks, on people whom the model has not seen.

    In each of S splits a model of one half scores the edges, and max-T tests the k best on the other half (nuisance,
    permutations inside sites); an edge that was not screened has p = 1. The S p-values of an edge are combined by
    `adaptive_quantile`.

    Why the family-wise error rate holds, for whatever model: take the edges N that do not differ. Given the screening
    half, the other half is an independent sample, and max-T over the screened edges gives
    ``P(min_{e in N} p_e^(s) <= a) <= a``: so the smallest p-value of N, ``P_s = min_{e in N} p_e^(s)``, is a valid
    p-value in every split s. The combination Q rises with each of its arguments, so that ``min_{e in N} Q(p_e) >=
    Q(P)``, and Q(P) is valid under any dependence of the P_s: ``P(min_{e in N} Q(p_e) <= a) <= P(Q(P) <= a) <= a``.
    The model may be wrong, overfitted or noise: it costs power only.

    Parameters
    ----------
    screen : callable
        Scores [E] of all edges, larger is better, from a model of some rows and a seed.
    edges : array, [n, E]
        Fisher z, complete, of independent people (no copies of a scan).
    table : DataFrame, [n rows]
        `label`, `site` and the covariates.
    covariates : sequence of str
    spec : dict
        `splits`, `screened` (k), `permutations`, `seed`.

    References
    ----------
    Meinshausen, Meier and Bühlmann (2009), doi:10.1198/jasa.2009.tm08647; Wasserman and Roeder (2009),
    doi:10.1214/08-AOS646.
    """
    p = np.ones((spec["splits"], edges.shape[1]))
    times, tested = np.zeros(edges.shape[1], int), 0
    for split in track(range(spec["splits"]), "screening on halves"):
        rng = np.random.default_rng([spec["seed"], 23, split])
        first, second = halves(table, rng)
        scores = screen(first, int(rng.integers(2**31)))
        kept = np.argsort(-scores, kind="stable")[: spec["screened"]]
        kept = kept[np.isfinite(scores[kept])]
        times[kept] += 1
        people = table.iloc[second]
        try:
            refuse_untestable(people)
            nuisance_basis(people, covariates)
        except ValueError as error:  # a half may be too small, for the covariates or at all; then it finds nothing
            print(f"split {split} tests nothing: {error}")
            continue
        statistics = edge_statistics(
            edges[np.ix_(second, kept)], people, covariates, spec["permutations"], spec["seed"] + split
        )
        p[split, kept], tested = statistics.p_fwer, tested + 1
    return Screened(adaptive_quantile(p), times / spec["splits"], tested)


def halves(table: pd.DataFrame, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves, of equal composition of label x site (label alone where that is one person); positions."""
    first = np.zeros(len(table), bool)
    for rows in pd.Series(range(len(table))).groupby(strata(table, 2)).indices.values():
        size = (len(rows) + int(rng.integers(2))) // 2  # of an odd count the larger part goes to either half
        first[rng.permutation(rows)[:size]] = True
    return np.flatnonzero(first), np.flatnonzero(~first)


def adaptive_quantile(p: np.ndarray, least: float = 0.05) -> np.ndarray:
    """Combine the p-values of S splits [S, E] into one that is valid under any dependence, [E].

    ``min(1, (1 - log g) inf_{g <= q <= 1} Q_q(p) / q)`` with the empirical q-quantile Q_q and g = `least`
    (Meinshausen, Meier and Bühlmann 2009, equation 2.3).
    """
    splits = len(p)
    from_ = max(1, int(np.ceil(least * splits - 1e-9)))
    ranks = np.arange(from_, splits + 1)
    ordered = np.sort(p, axis=0)[from_ - 1 :]
    penalty = 1 - np.log(least) if splits > 1 else 1  # one split needs no combination
    return np.minimum(1, penalty * (ordered * (splits / ranks)[:, None]).min(0))
