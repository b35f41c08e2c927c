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
    Where zero is a value, as of a count of streamlines, those in whom a connection is not zero are looked at as well:
    the sums of one that only few people have are theirs, with their covariates.
    """
    measure = measure_of(cohort.measure)
    fit = np.ones(cohort.values.shape[1], bool)
    if not (cohort.missing[rows].any() or measure.gaps or measure.zero):
        return fit
    least = least_people(spec["minimum"])
    fit &= _filled(design, _lost(cohort, rows, design), least["cell"], least["group"])
    if measure.zero:
        fit &= _filled(design, _lost(cohort, rows, design, or_zero=True), least["cell"], 0)
    for _, who in subsets(design, spec["norm"]):
        fit &= _unexposed(cohort, rows[who], design.values[who], fit)
    return fit


def _cells(design: Design) -> np.ndarray:
    """Indicators of both groups, then of every level and scanner within each, [n, m]."""
    inside = [np.ones(len(design.values))]
    inside += [design.values[:, k] for k, column in enumerate(design.columns) if column.kind in ("level", SITE)]
    controls = controls_of(design)
    return np.column_stack([cell * side for cell in inside for side in (controls, ~controls)])


def _parts(cohort: Cohort, rows: np.ndarray, or_zero: bool = False) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of people, and which connections they lack, or have as zero, [m, E] bool."""
    for part in blocks((len(rows), cohort.values.shape[1])):
        lacking = cohort.lacking(rows[part])
        yield part, lacking | (cohort.values[rows[part]] == 0) if or_zero else lacking


def _lost(cohort: Cohort, rows: np.ndarray, design: Design, or_zero: bool = False) -> np.ndarray:
    """How many people of every cell lack a connection, [m, E]."""
    cells = _cells(design)
    return sum(cells[part].T @ lacking for part, lacking in _parts(cohort, rows, or_zero))


def _filled(design: Design, lost: np.ndarray, cell: int, group: int) -> np.ndarray:
    """Connections that enough people of every cell have, or nobody of it, [E] bool."""
    had = _cells(design).sum(0)[:, None] - lost
    return ((had == 0) | (had >= cell)).all(0) & (had[:2] >= group).all(0)


def _unexposed(cohort: Cohort, rows: np.ndarray, values: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """Connections in whose sums nobody weighs too much among those who have them, [E] bool.

    In an orthonormal basis those who lack a connection take a matrix L from the identity, and no leverage grows by more
    than 1 / (1 - largest eigenvalue of L). Where that is not enough to know, the leverages are computed.
    """
    axes = basis(values)
    rank, n = axes.shape[1], len(rows)
    taken = sum(_squares(axes[part]).T @ lacking for part, lacking in _parts(cohort, rows))
    some = np.flatnonzero(fit & taken.any(0))
    kept = np.ones(len(fit), bool)
    if not len(some):
        return kept
    left = 1 - np.linalg.eigvalsh(taken[:, some].T.reshape(-1, rank, rank))[:, -1]
    most = (axes**2).sum(1).max() / np.maximum(left, np.finfo(float).tiny)
    unsure = some[most > MOST_LEVERAGE]
    have = ~np.concatenate([lacking[:, unsure] for _, lacking in _parts(cohort, rows)])
    kept[unsure] = [leverages(values[who]).max() <= MOST_LEVERAGE + ROUNDING for who in have.T]
    lost = np.trace(taken.T.reshape(-1, rank, rank), axis1=1, axis2=2) > 0
    people = np.full(len(fit), n) - sum(lacking.sum(0) for _, lacking in _parts(cohort, rows))
    return kept & (~lost | (rank <= MOST_PARAMETERS * people))


def _squares(axes: np.ndarray) -> np.ndarray:
    """Products of all pairs of coordinates of everybody, [n, rank ** 2]."""
    return (axes[:, :, None] * axes[:, None, :]).reshape(len(axes), -1)
