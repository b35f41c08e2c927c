"""Random halves of a cohort: how often an edge is found again, and how much smaller it is where it was not chosen.

Edges that are called are called for being large, so that their d is too large on average. A half that chooses as many
edges by their |t| tells by how much: the other half had no part in the choice. Choosing among fewer people is harder,
and the ratio s of a half is too small for the whole cohort. It is stepped up like a reliability by the formula of
Spearman and Brown: ``1 / s - 1`` is multiplied by the share of the information that the half has.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.localize.statistics import estimable, nuisance_basis, orthonormal, parts, residual_unit, to_t
from dysconnect.progress import track


class Half(NamedTuple):
    """Some people: rows [h], orthonormal nuisance [h, K], residualised group [h]."""

    rows: np.ndarray
    basis: np.ndarray
    group: np.ndarray

    @property
    def size(self) -> float:
        """Norm of the group: d is t divided by it."""
        return float(np.linalg.norm(self.group))

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return len(self.rows) - self.basis.shape[1] - 1

    def effects(self, edges: np.ndarray) -> np.ndarray:
        """Effects d of edges of the whole cohort, [n, E] -> [E]."""
        r = (self.group / self.size) @ residual_unit(edges[self.rows], self.basis)
        return to_t(r, self.df) / self.size


class Halves(NamedTuple):
    """Random halves that can estimate the group: `halves` and their complements (None where those cannot) [D].

    `effects` [D, E] are d in the halves, and `whole` is the norm of the group in everybody.
    """

    halves: list[Half]
    others: list[Half | None]
    effects: np.ndarray
    whole: float


def random_halves(edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], draws: int, seed: int) -> Halves:
    """Draw halves that keep the label x site composition, and estimate every edge in them.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label`, `site` and the covariates.
    covariates : sequence of str
    draws, seed : int
    """
    rng = np.random.default_rng(seed)
    stratum = table["label"].astype(str) + "/" + table["site"].astype(str)
    nuisance, label = nuisance_basis(table, covariates), table["label"].to_numpy(float)
    halves, others = [], []
    for _ in range(draws):
        drawn = [rng.permutation(rows)[: (len(rows) + 1) // 2] for rows in stratum.groupby(stratum).indices.values()]
        inside = np.isin(np.arange(len(label)), np.concatenate(drawn))
        half = _half(inside, nuisance, label)
        if half is not None:
            halves.append(half)
            others.append(_half(~inside, nuisance, label))
    d = np.empty((len(halves), edges.shape[1]))
    for part in track(parts(edges.shape[1], len(edges)), f"{draws} halves of the cohort, in parts"):
        values = edges[:, part].astype(float)
        for k, half in enumerate(halves):
            d[k, part] = half.effects(values)
    return Halves(halves, others, d, float(np.linalg.norm(label - nuisance @ (nuisance.T @ label))))


def _half(inside: np.ndarray, nuisance: np.ndarray, label: np.ndarray) -> Half | None:
    """People of a half; None where they cannot estimate the group beside the nuisance."""
    rows = np.flatnonzero(inside)
    if len(rows) == 0:
        return None
    basis = orthonormal(nuisance[rows])
    if len(rows) <= basis.shape[1] + 1 or not estimable(label[rows], basis):
        return None
    return Half(rows, basis, label[rows] - basis @ (basis.T @ label[rows]))


def selection_stability(halves: Halves, top: int) -> np.ndarray:
    """How often an edge is among the `top` strongest of a half, [E] (after Meinshausen and Buhlmann 2010).

    NaN where the cohort is so small that no half can estimate the group beside the nuisance.
    """
    if not halves.halves:
        return np.full(halves.effects.shape[1], np.nan)
    strongest = _strongest(halves.effects, top)
    return np.bincount(strongest.ravel(), minlength=halves.effects.shape[1]) / len(halves.halves)


def _strongest(d: np.ndarray, top: int) -> np.ndarray:
    """The edges of largest d in every half, [D, top]; inside a half d orders like t."""
    return np.argpartition(-np.abs(d), top - 1, axis=1)[:, :top]


def selection_shrinkage(halves: Halves, edges: np.ndarray, called: int) -> float | None:
    """What is left of d where edges are not chosen for being large: one ratio for the list of those called.

    Parameters
    ----------
    halves : Halves
    edges : array, [n, E]
        As given to `random_halves`.
    called : int
        How many edges were called in the whole cohort; each half chooses as many.

    Returns
    -------
    float or None
        From 0 to 1, by which the d of the called edges are multiplied; None where nothing was called, or no pair of
        halves can estimate the group.
    """
    pairs = [k for k, other in enumerate(halves.others) if other is not None]
    if not called or not pairs:
        return None
    chosen = _strongest(halves.effects[pairs], called)
    inside, outside = 0.0, 0.0
    for k, members in zip(pairs, chosen):
        d = halves.effects[k, members]
        inside += np.abs(d).sum()
        outside += (np.sign(d) * halves.others[k].effects(edges[:, members].astype(float))).sum()
    share = float(np.mean([halves.halves[k].size ** 2 for k in pairs])) / halves.whole**2
    left = min(max(outside / inside, 0.0), 1.0) if inside > 0 else 0.0
    return float(left / (left + share * (1 - left))) if left else 0.0
