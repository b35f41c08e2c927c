"""Connections that are withheld, since the few people who have them would be given away.

Somebody may lack a connection: a region outside the field of view, two regions that no streamline joins. The sums of
such a connection are those of the others, who must pass the gate for themselves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import blocks
from dysconnect.data.measures import measure_of
from dysconnect.share.columns import SITE, Design
from dysconnect.share.gate import MOST_LEVERAGE, MOST_PARAMETERS, ROUNDING, least_people, subsets
from dysconnect.share.release import Circuits
from dysconnect.share.weights import basis, controls_of, leverages

FEW = 5  # withheld connections of a circuit whose mean may be known


def fit_outcomes(cohort: Cohort, rows: np.ndarray, design: Design, circuits: Circuits, spec: Mapping) -> np.ndarray:
    """Connections, then means of circuits, that may be given, [E + C] bool.

    Parameters
    ----------
    cohort : Cohort
    rows : array of int, [n]
        Of the people of the design.
    design : Design
    circuits : Circuits
    spec : mapping
        `minimum`, `norm`.

    Notes
    -----
    A mean less the connections that are given is a mean of those that are not: of none, or of `FEW` and more, or else
    the circuit is withheld as well. That is so whatever `share.edges` is, since both may be released one day. What
    nobody has is in no mean.
    """
    edges = _fit(cohort, rows, design, spec)
    if measure_of(cohort.measure).zero:
        edges &= _varies(cohort, rows)
    had = _had(cohort, rows)
    unfit = np.array([(had & ~edges)[inside].sum() for inside in circuits.edges], int)
    size = np.array([had[inside].sum() for inside in circuits.edges], int)
    whole = _fit(cohort, rows, design, spec, circuits) & ((unfit == 0) | (unfit >= FEW) | (unfit == size))
    return np.concatenate([edges, whole & bool(edges.any())])


def _had(cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Connections that somebody has, [E] bool."""
    had = np.zeros(cohort.values.shape[1], bool)
    for _, lacking in _lacking(cohort, rows, False):
        had |= ~lacking.all(0)
    return had


def _fit(
    cohort: Cohort, rows: np.ndarray, design: Design, spec: Mapping, circuits: Circuits | None = None
) -> np.ndarray:
    """Connections, or circuits of which people have any, that pass the gate with these people alone, [E or C] bool.

    Where zero is a value, as of a count of streamlines, those in whom it is not zero must pass as well: the sums of a
    connection that only few people have are theirs.
    """
    measure, least = measure_of(cohort.measure), least_people(spec["minimum"])
    fit = np.ones(cohort.values.shape[1] if circuits is None else len(circuits.names), bool)
    asked = [(False, least["group"])] if cohort.missing[rows].any() or measure.gaps else []
    for or_zero, group in [*asked, *[(True, 0)] * measure.zero]:
        lacks = partial(_lacking, cohort, or_zero=or_zero, circuits=circuits)
        fit &= _filled(design, lacks(rows), least["cell"], group)
        for _, who in subsets(design, spec["norm"]):
            fit = _unexposed(partial(lacks, rows[who]), design.values[who], fit)
    return fit


def _filled(design: Design, lacks: Iterable, cell: int, group: int) -> np.ndarray:
    """Connections that enough people of every cell have, or nobody of it, [E] bool."""
    cells = _cells(design)
    had = cells.sum(0)[:, None] - sum(cells[part].T @ lacking for part, lacking in lacks)
    return ((had == 0) | (had >= cell)).all(0) & (had[:2] >= group).all(0)


def _cells(design: Design) -> np.ndarray:
    """Indicators of both groups, then of every level and scanner within each, [n, m]."""
    inside = [np.ones(len(design.values))]
    inside += [design.values[:, k] for k, column in enumerate(design.columns) if column.kind in ("level", SITE)]
    controls = controls_of(design)
    return np.column_stack([cell * side for cell in inside for side in (controls, ~controls)])


def _lacking(
    cohort: Cohort, rows: np.ndarray, or_zero: bool, circuits: Circuits | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of people, and which connections they lack or have as zero; or of which circuits all, [m, E or C] bool."""
    for part in blocks((len(rows), cohort.values.shape[1])):
        lacking = cohort.lacking(rows[part])
        if or_zero:
            lacking = lacking | (cohort.values[rows[part]] == 0)
        if circuits is not None:
            none = np.zeros((len(lacking), 0), bool)
            lacking = np.column_stack([none, *(lacking[:, inside].all(1) for inside in circuits.edges)])
        yield part, lacking


def _varies(cohort: Cohort, rows: np.ndarray) -> np.ndarray:
    """Connections that differ among those in whom they are not zero, or are zero in all, [E] bool."""
    low, high = np.full(cohort.values.shape[1], np.inf), np.full(cohort.values.shape[1], -np.inf)
    for part, lacking in _lacking(cohort, rows, True):
        values = cohort.values[rows[part]]
        low = np.minimum(low, np.where(lacking, np.inf, values).min(0))
        high = np.maximum(high, np.where(lacking, -np.inf, values).max(0))
    return low != high


def _unexposed(lacks: Callable[[], Iterable], values: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Connections among those that are fit in whose sums nobody weighs too much of those who have them, [E] bool.

    In an orthonormal basis those who lack a connection take a matrix L from the identity, and no leverage grows by more
    than 1 / (1 - largest eigenvalue of L). Where that is not enough to know, the leverages are computed.
    """
    axes = basis(values)
    rank, counted = axes.shape[1], np.column_stack([_squares(axes), np.ones(len(axes))])
    taken = sum(counted[part].T @ lacking for part, lacking in lacks())
    have = len(values) - taken[-1]
    some, kept = np.flatnonzero(fit & (taken[-1] > 0) & (have > 0)), fit.copy()
    kept[some] = rank <= MOST_PARAMETERS * have[some]
    left = 1 - np.linalg.eigvalsh(taken[:-1, some].T.reshape(-1, rank, rank))[:, -1]
    most = (axes**2).sum(1).max() / np.maximum(left, np.finfo(float).tiny)
    unsure = some[kept[some] & (most > MOST_LEVERAGE)]
    if len(unsure):
        lost = np.concatenate([lacking[:, unsure] for _, lacking in lacks()])
        kept[unsure] = [leverages(values[~who]).max() <= MOST_LEVERAGE + ROUNDING for who in lost.T]
    return kept


def _squares(axes: np.ndarray) -> np.ndarray:
    """Products of all pairs of coordinates of everybody, [n, rank ** 2]."""
    return (axes[:, :, None] * axes[:, None, :]).reshape(len(axes), -1)
