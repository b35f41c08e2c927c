"""The norm of all sites' controls: what a connection is expected to be for a person's covariates, and its spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysconnect.pooling.fit import FLAT, nuisance, patterns
from dysconnect.pooling.sums import GROUP, Sums
from dysconnect.pooling.within import Within, joined, scanners, within


@dataclass(frozen=True)
class PooledNorm:
    """Linear model of the controls.

    Attributes
    ----------
    columns : list of str, [q]
        Covariates as in the files of the sites, numbers less their centres; then the intercepts of all scanners.
    coefficients : array, [q, E]
        Of columns that depend on each other, those of least norm when all have unit length. NaN for scanners without
        this connection.
    variance : array, [E]
        Of the residuals.
    df : array, [E]
        Residual degrees of freedom.
    pattern : array of int, [E]
        Which of the inverses belongs to a connection; -1 where nobody gives it.
    inverse : array, [P, q, q]
        ``variance * (1 + row @ inverse @ row)`` is the variance of a new person about the expected value.
    """

    columns: list[str]
    coefficients: np.ndarray
    variance: np.ndarray
    df: np.ndarray
    pattern: np.ndarray
    inverse: np.ndarray


def pooled_norm(sites: Sequence[Sums]) -> PooledNorm:
    """Fit the controls of all sites as one cohort with an intercept a scanner.

    Parameters
    ----------
    sites : sequence of Sums
        Of controls alone.
    """
    parts, means = [within(one) for one in sites], [scanners(one) for one in sites]
    others = [name for name in dict.fromkeys(name for part in parts for name in part.columns) if name != GROUP]
    columns = [*others, *(name for one in means for name in one.names)]
    given = np.stack([part.given for part in parts])
    coefficients = np.full((len(columns), given.shape[1]), np.nan)
    variance, df = np.full((2, given.shape[1]), np.nan)
    chosen, inverses = np.full(given.shape[1], -1), []
    for pattern, outcomes in patterns(given):
        inside = np.flatnonzero(pattern)
        sums = joined([parts[k] for k in inside], outcomes)
        free, variance[outcomes] = _residual(sums)
        df[outcomes], chosen[outcomes] = free, len(inverses)
        slopes, spread = _slopes(sums, others)
        shift, people, values = _intercepts([means[k] for k in inside], [parts[k] for k in inside], others, outcomes)
        rows = [columns.index(name) for k in inside for name in means[k].names]
        coefficients[np.ix_(range(len(others)), outcomes)] = slopes
        coefficients[np.ix_(rows, outcomes)] = values - shift @ slopes
        inverses.append(_inverse(spread, shift, people, rows, len(columns)))
    shape = (len(inverses), len(columns), len(columns))
    return PooledNorm(columns, coefficients, variance, df, chosen, np.reshape(inverses, shape))


def _residual(sums: Within) -> tuple[int, np.ndarray]:
    """Degrees of freedom, and variance of the residuals; NaN without any."""
    covariates = nuisance(sums)
    df = sums.n - sums.intercepts - covariates.weights.shape[1]
    rest = sums.yy - (covariates.of(sums.xy) ** 2).sum(0)
    rest = np.where(rest > FLAT * sums.squares, rest, 0)
    return df, rest / df if df > 0 else np.full_like(rest, np.nan)


def _slopes(sums: Within, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the covariates [k, E] and the inverse of their sums [k, k], in the order of `names`."""
    covariates = nuisance(sums)
    weights = np.zeros((len(names), covariates.weights.shape[1]))
    weights[[names.index(sums.columns[k]) for k in covariates.places]] = covariates.weights
    return weights @ covariates.of(sums.xy), weights @ weights.T


def _intercepts(means: Sequence, parts: Sequence[Within], names: Sequence[str], outcomes: np.ndarray) -> tuple:
    """Of every scanner: means of the covariates [S, k], people [S], and means of the outcomes [S, E]."""
    shift = np.zeros((sum(len(one.n) for one in means), len(names)))
    row = 0
    for one, part in zip(means, parts):
        for k, name in enumerate(part.columns):
            if name != GROUP:
                shift[row : row + len(one.n), names.index(name)] = one.x[:, k]
        row += len(one.n)
    return shift, np.concatenate([one.n for one in means]), np.concatenate([one.y[:, outcomes] for one in means])


def _inverse(spread: np.ndarray, shift: np.ndarray, people: np.ndarray, rows: Sequence[int], q: int) -> np.ndarray:
    """Inverse of X'X over covariates and intercepts, [q, q]; NaN for scanners that are not in."""
    full = np.full((q, q), np.nan)
    places = [*range(len(spread)), *rows]
    move = np.vstack([np.eye(len(spread)), -shift])
    full[np.ix_(places, places)] = move @ spread @ move.T + np.diag(np.r_[np.zeros(len(spread)), 1 / people])
    return full
