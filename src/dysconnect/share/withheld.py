"""Connections that are withheld, since the few people who have them would be given away.

Somebody may lack a connection: a region outside the field of view, two regions that no streamline joins. The sums of
such a connection are those of the others, who must pass the gate for themselves.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.data.measures import measure_of
from dysconnect.share.columns import SITE, Design
from dysconnect.share.gate import MOST_LEVERAGE, MOST_PARAMETERS, ROUNDING, least_people, subsets
from dysconnect.share.weights import basis, controls_of, leverages


def fit_connections(cohort: Cohort, rows: np.ndarray, design: Design, spec: Mapping) -> np.ndarray:
    """Connections that may be given, [E] bool.

    Parameters
    ----------
    cohort : Cohort
    rows : array of int, [n]
        Of the people of the design.
    design : Design
    spec : mapping
        `minimum`, `norm`.

    Notes
    -----
    Where zero is a value, as of a count of streamlines, those in whom a connection is not zero must pass as well: the
    sums of one that only few people have are theirs. One that is the same in all who have it is not given: with a table
    of covariates its sums say who these are.
    """
    measure = measure_of(cohort.measure)
    fit = np.ones(cohort.values.shape[1], bool)
    least = least_people(spec["minimum"])
    if cohort.missing[rows].any() or measure.gaps:
        fit &= _filled(design, _lost(cohort, rows, design, False), least["cell"], least["group"])
        for _, who in subsets(design, spec["norm"]):
            fit = _unexposed(cohort, rows[who], design.values[who], fit, False)
    if measure.zero:
        fit &= _filled(design, _lost(cohort, rows, design, True), least["cell"], 0) & _varies(cohort, rows)
        for _, who in subsets(design, spec["norm"]):
            fit = _unexposed(cohort, rows[who], design.values[who], fit, True)
    return fit


def _cells(design: Design) -> np.ndarray:
    """Indicators of both groups, then of every level and scanner within each, [n, m]."""
    inside = [np.ones(len(design.values))]
    inside += [design.values[:, k] for k, column in enumerate(design.columns) if column.kind in ("level", SITE)]
    controls = controls_of(design)
    return np.column_stack([cell * side for cell in inside for side in (controls, ~controls)])


def _parts(cohort: Cohort, rows: np.ndarray, or_zero: bool) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of people, and which connections they lack, or have as zero, [m, E] bool."""
    for part in blocks((len(rows), cohort.values.shape[1])):
        lacking = cohort.lacking(rows[part])
        yield part, lacking | (cohort.values[rows[part]] == 0) if or_zero else lacking


def _lost(cohort: Cohort, rows: np.ndarray, design: Design, or_zero: bool) -> np.ndarray:
    """How many people of every cell lack a connection, [m, E]."""
    cells = _cells(design)
    return sum(cells[part].T @ lacking for part, lacking in _parts(cohort, rows, or_zero))


def _filled(design: Design, lost: np.ndarray, cell: int, group: int) -> np.ndarray:
    """Connections that enough people of every cell have, or nobody of it, [E] bool."""
    had = _cells(design).sum(0)[:, None] - lost
    return ((had == 0) | (had >= cell)).all(0) & (had[:2] >= group).all(0)


def _varies(cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Connections that differ among those in whom they are not zero, or are zero in all, [E] bool."""
    low, high = np.full(cohort.values.shape[1], np.inf), np.full(cohort.values.shape[1], -np.inf)
    for part, lacking in _parts(cohort, rows, True):
        values = cohort.values[rows[part]]
        low = np.minimum(low, np.where(lacking, np.inf, values).min(0))
        high = np.maximum(high, np.where(lacking, -np.inf, values).max(0))
    return low != high


def _unexposed(cohort: Cohort, rows: np.ndarray, values: np.ndarray, fit: np.ndarray, or_zero: bool) -> np.ndarray:
    """Connections among those that are fit in whose sums nobody weighs too much of those who have them, [E] bool.

    In an orthonormal basis those who lack a connection take a matrix L from the identity, and no leverage grows by more
    than 1 / (1 - largest eigenvalue of L). Where that is not enough to know, the leverages are computed.
    """
    axes = basis(values)
    rank, counted = axes.shape[1], np.column_stack([_squares(axes), np.ones(len(axes))])
    taken = sum(counted[part].T @ lacking for part, lacking in _parts(cohort, rows, or_zero))
    have = len(rows) - taken[-1]
    some, kept = np.flatnonzero(fit & (taken[-1] > 0) & (have > 0)), fit.copy()
    kept[some] = rank <= MOST_PARAMETERS * have[some]
    left = 1 - np.linalg.eigvalsh(taken[:-1, some].T.reshape(-1, rank, rank))[:, -1]
    most = (axes**2).sum(1).max() / np.maximum(left, np.finfo(float).tiny)
    unsure = some[kept[some] & (most > MOST_LEVERAGE)]
    if len(unsure):
        lost = np.concatenate([lacking[:, unsure] for _, lacking in _parts(cohort, rows, or_zero)])
        kept[unsure] = [leverages(values[~who]).max() <= MOST_LEVERAGE + ROUNDING for who in lost.T]
    return kept


def _squares(axes: np.ndarray) -> np.ndarray:
    """Products of all pairs of coordinates of everybody, [n, rank ** 2]."""
    return (axes[:, :, None] * axes[:, None, :]).reshape(len(axes), -1)
