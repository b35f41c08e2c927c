"""Means of circuits permuted across sites: what a site adds up, and what the totals over all sites say.

A site takes from its group what the covariates of all people explain, shuffles the rest inside its scanners, and adds
up its products with means of circuits and with covariates. The totals over sites give the t of every circuit in every
permutation, as pooled data with the same permutations would (the orthogonalised permutation of Smith, as in
`localize.statistics`).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dysconnect.localize.permutation import parts
from dysconnect.localize.statistics import exceedance_p, to_t
from dysconnect.pooling.fit import FLAT, nuisance
from dysconnect.pooling.sums import GROUP
from dysconnect.pooling.within import Within


class Shared(NamedTuple):
    """What a site needs to know of all people, about the means of their scanners.

    Attributes
    ----------
    covariates : list of str, [k]
    slopes : array, [k]
        Of the group on the covariates.
    weights : array, [k, r]
        Which make orthonormal columns of the covariates.
    """

    covariates: list[str]
    slopes: np.ndarray
    weights: np.ndarray


class Tested(NamedTuple):
    """Circuits tested together: `t` and family-wise `p`, [C] each, and the largest |t| of every permutation, [B]."""

    t: np.ndarray
    p: np.ndarray
    max_null: np.ndarray


def shared_model(sums: Within) -> Shared:
    """Model of the group by the covariates, over all sites."""
    model, group = nuisance(sums), sums.columns.index(GROUP)
    slopes = model.weights @ model.of(sums.xx[:, group])
    return Shared([sums.columns[place] for place in model.places], slopes, model.weights)


def exact_products(sums: Within, shared: Shared) -> np.ndarray:
    """Products of the group that is not permuted with circuits, from the sums of one site or of all, [C]."""
    products = sums.xy[sums.columns.index(GROUP)].copy()
    for name, slope in zip(shared.covariates, shared.slopes):
        if name in sums.columns:  # whoever lacks a level has zeros there
            products -= slope * sums.xy[sums.columns.index(name)]
    return products


def largest_products(sums: Within) -> np.ndarray:
    """How large the products of a permuted group can be over all sites, [C + r]: lengths multiplied."""
    lengths = np.concatenate([np.sqrt(sums.yy), np.ones(nuisance(sums).weights.shape[1])])
    return np.sqrt(group_size(sums)) * lengths


def group_size(sums: Within) -> float:
    """Sum of squares of what the covariates leave of the group; permutations do not change it."""
    group = sums.columns.index(GROUP)
    return float(sums.xx[group, group] - (nuisance(sums).of(sums.xx[:, group]) ** 2).sum())


def permuted_products(
    group: np.ndarray, values: np.ndarray, scanners: np.ndarray, draw: Callable[[int], np.ndarray], n: int
) -> np.ndarray:
    """Products of a site's group, as it is and permuted inside scanners, [1 + n, V].

    Parameters
    ----------
    group : array, [people]
        What the covariates leave of it.
    values : array, [people, V]
        Means of circuits, then orthonormal covariates, centred within scanners.
    scanners : array, [people]
    draw : callable
        Gives the next random uint64 [count]: people are ordered by them.
    n : int
    """
    made = np.empty((1 + n, values.shape[1]))
    made[0] = group @ values
    for part in parts(n, len(group)):
        numbers = draw((part.stop - part.start) * len(group)).reshape(-1, len(group))
        made[1 + part.start : 1 + part.stop] = shuffled(group, scanners, numbers) @ values
    return made


def shuffled(group: np.ndarray, scanners: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Order a group [people] inside scanners by random numbers [n, people], [n, people]."""
    made = np.empty(numbers.shape)
    for scanner in np.unique(scanners):
        rows = np.flatnonzero(scanners == scanner)
        made[:, rows] = group[rows][np.argsort(numbers[:, rows], axis=1)]
    return made


def centred(values: np.ndarray, scanners: np.ndarray) -> np.ndarray:
    """Take the mean of every scanner from values [people, ...]."""
    made = np.array(values, float)
    for scanner in np.unique(scanners):
        made[scanners == scanner] -= made[scanners == scanner].mean(0)
    return made


def tested(sums: Within, shared: Shared, totals: np.ndarray) -> Tested:
    """Test circuits by the largest |t| of every permutation.

    Parameters
    ----------
    sums : Within
        Of all sites, over circuits.
    shared : Shared
        What the sites were given.
    totals : array, [1 + B, C + r]
        Products over all sites, first of the group as it is.
    """
    size, n_circuits = group_size(sums), len(sums.yy)
    explained = shared.weights.T @ sums.xy[[sums.columns.index(name) for name in shared.covariates]]
    along = totals[:, n_circuits:]
    rest = sums.yy - (explained**2).sum(0)
    left = size - (along**2).sum(1)
    alive = (rest > FLAT * sums.squares) & (left > FLAT * size)[:, None]
    r = (totals[:, :n_circuits] - along @ explained) / np.sqrt(np.where(alive, np.outer(left, rest), np.inf))
    df = sums.n - sums.intercepts - shared.weights.shape[1] - 1
    largest = np.abs(r[1:]).max(1)
    return Tested(to_t(r[0], df), exceedance_p(np.abs(r[0]), largest), to_t(largest, df))
