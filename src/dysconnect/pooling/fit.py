"""The linear model of all people of several sites, from their sums: the numbers of pooled data, edge by edge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr

from dysconnect.localize.effects import effect_interval
from dysconnect.localize.statistics import false_discovery, to_t
from dysconnect.pooling.sums import GROUP
from dysconnect.pooling.within import Within, joined

REDUNDANT = 1e-10  # eigenvalues of the correlations of columns below this are none
LEFT = 1e-6  # of the group's sum of squares must be left by covariates, as in `localize.statistics.estimable`
FLAT = 1e-12  # of a connection's sum of squares about zero: residuals below are rounding


@dataclass(frozen=True)
class Fit:
    """Group effect on every outcome, [E] each; NaN where the people who have it cannot tell.

    Attributes
    ----------
    t, d : array
        Positive: stronger in patients. d is in residual standard deviations, ``t / size``.
    size : array
        Norm of the residualised group, ``|g|``.
    df : array
        Residual degrees of freedom.
    sites : array of int
        How many sites give it.
    """

    t: np.ndarray
    d: np.ndarray
    size: np.ndarray
    df: np.ndarray
    sites: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Two-sided p."""
        return 2 * stdtr(self.df, -np.abs(self.t))

    def interval(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Interval of d: low and high."""
        low, high = np.full((2, len(self.t)), np.nan)
        for size, df, who in self._alike():
            low[who], high[who] = effect_interval(self.t[who], size, df, alpha)
        return low, high

    def _alike(self) -> Iterator[tuple[float, float, np.ndarray]]:
        """Outcomes of the same people: size, df and places."""
        known = np.flatnonzero(np.isfinite(self.t))
        pairs, which = np.unique(np.column_stack([self.size, self.df])[known], axis=0, return_inverse=True)
        for k, (size, df) in enumerate(pairs):
            yield float(size), float(df), known[which.ravel() == k]


class Nuisance(NamedTuple):
    """Covariates of some sites as orthonormal columns: `weights` [k, r] make them of the columns at `places` [k]."""

    places: np.ndarray
    weights: np.ndarray

    def of(self, products: np.ndarray) -> np.ndarray:
        """Products of the orthonormal columns, from those of all columns [k, ...]."""
        return self.weights.T @ products[self.places]


def nuisance(sums: Within) -> Nuisance:
    """Covariates as orthonormal columns; what is constant or redundant drops out.

    Every level of a category has a column, so that those of a site add up to its intercept: of columns that depend on
    each other only their span counts, and that is found after each has been brought to unit length.
    """
    scale = np.sqrt(np.diag(sums.xx))
    places = np.array([k for k, name in enumerate(sums.columns) if name != GROUP and scale[k] > 0], int)
    unit = scale[places]
    values, vectors = np.linalg.eigh(sums.xx[np.ix_(places, places)] / np.outer(unit, unit))
    kept = values > REDUNDANT * max(1.0, values.max(initial=0.0))
    return Nuisance(places, vectors[:, kept] / np.sqrt(values[kept]) / unit[:, None])


def fit(parts: Sequence[Within]) -> Fit:
    """Fit the people of all sites as one cohort with an intercept a scanner.

    Parameters
    ----------
    parts : sequence of Within
        Sites; of every connection those that give it are taken.

    Notes
    -----
    Group and connections are residualised for the covariates, all as products of sums, and correlated: the t of the
    group in the full model, as `localize.statistics.edge_statistics` computes it from people.
    """
    given = np.stack([part.given for part in parts])
    result = Fit(*np.full((4, given.shape[1]), np.nan), given.sum(0))
    for pattern, outcomes in patterns(given):
        sums = joined([part for part, inside in zip(parts, pattern) if inside], outcomes)
        if why_not(sums):
            continue
        t, size, df = _group_effect(sums)
        for name, value in {"t": t, "d": t / size, "size": size, "df": df}.items():
            getattr(result, name)[outcomes] = value
    return result


def patterns(given: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Outcomes that the same sites give, of [S, E]: which sites [S], and which outcomes; none that nobody gives."""
    kinds, which = np.unique(np.packbits(given, axis=0), axis=1, return_inverse=True)
    for k in range(kinds.shape[1]):
        outcomes = np.flatnonzero(which.ravel() == k)
        pattern = given[:, outcomes[0]]
        if pattern.any():
            yield pattern, outcomes


def why_not(sums: Within) -> str:
    """Why the group effect of these people cannot be estimated, as the end of a sentence; empty where it can."""
    if not 0 < sums.patients < sums.n:
        return "has one group only"
    covariates = nuisance(sums)
    if sums.n - sums.intercepts - covariates.weights.shape[1] - 1 < 1:
        return "has fewer people than the model has columns"
    total = sums.patients * (sums.n - sums.patients) / sums.n
    if _left(sums, covariates) <= LEFT * total:
        return "has a group that covariates or scanners determine"
    return ""


def _left(sums: Within, covariates: Nuisance) -> float:
    """Sum of squares of the group that the covariates leave."""
    k = sums.columns.index(GROUP)
    return float(sums.xx[k, k] - (covariates.of(sums.xx[:, k]) ** 2).sum())


def _group_effect(sums: Within) -> tuple[np.ndarray, float, int]:
    """Return t [E], norm of the residualised group, and residual degrees of freedom."""
    covariates, k = nuisance(sums), sums.columns.index(GROUP)
    size = np.sqrt(_left(sums, covariates))
    df = sums.n - sums.intercepts - covariates.weights.shape[1] - 1
    shared = covariates.of(sums.xy)
    products = sums.xy[k] - covariates.of(sums.xx[:, k]) @ shared
    rest = sums.yy - (shared**2).sum(0)
    alive = rest > FLAT * sums.squares
    r = np.where(alive, products / (size * np.sqrt(np.where(alive, rest, 1))), 0.0)
    return to_t(r, df), float(size), df


def corrected(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bonferroni and Benjamini-Hochberg over the outcomes that were tested, [E]; NaN for the others."""
    bonferroni, fdr = np.full((2, len(p)), np.nan)
    tested = np.isfinite(p)
    bonferroni[tested] = np.minimum(1, p[tested] * tested.sum())
    fdr[tested] = false_discovery(p[tested])
    return bonferroni, fdr
