"""A site's sums about the means of its scanners: what is left of them when the intercepts are taken out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysconnect.pooling.sums import GROUP, SITE, Sums

CONSTANT = 1e-10  # of a column's sum of squares: what is less within scanners is no variation


@dataclass(frozen=True)
class Within:
    """Sums of one or more sites over columns that are centred within every scanner.

    The intercepts are orthogonal to each other, so that they are taken out exactly and first: no sum of squares about
    zero is subtracted from one of another site.

    Attributes
    ----------
    columns : tuple of str
        Without intercepts, [k].
    n, patients, intercepts : int
        People, patients, and scanners that have people.
    xx : array, [k, k]
    xy : array, [k, E]
    yy : array, [E]
    squares : array, [E]
        Sums of squares about zero: what rounding is measured by.
    given : array of bool, [E]
    """

    columns: tuple[str, ...]
    n: int
    patients: int
    intercepts: int
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    squares: np.ndarray
    given: np.ndarray

    @property
    def constant(self) -> list[str]:
        """Columns that do not vary within any scanner."""
        return [name for name, square in zip(self.columns, np.diag(self.xx)) if square == 0]


@dataclass(frozen=True)
class Scanners:
    """Intercepts of a site that have people: names [S], people [S], means of the columns [S, k] and outcomes [S, E]."""

    names: list[str]
    n: np.ndarray
    x: np.ndarray
    y: np.ndarray


def scanners(sums: Sums) -> Scanners:
    """Means of every scanner of a site.

    Raises
    ------
    ValueError
        For sums without an intercept.
    """
    inside, others = _intercepts(sums.columns)
    n = np.diag(sums.xx)[inside]
    inside, n = [k for k, count in zip(inside, n) if count > 0], n[n > 0]
    if not inside:
        raise ValueError(f"sums of {', '.join(sums.columns)} have no intercept ({SITE}=NAME).")
    names = [sums.columns[k] for k in inside]
    return Scanners(names, n, sums.xx[np.ix_(inside, others)] / n[:, None], sums.xy[inside] / n[:, None])


def within(sums: Sums) -> Within:
    """Centre the sums of a site, in which every person has one of the intercepts, within its scanners."""
    _, others = _intercepts(sums.columns)
    means, columns = scanners(sums), [sums.columns[k] for k in others]
    weighted = means.x.T * means.n
    raw = sums.xx[np.ix_(others, others)]
    xx = raw - weighted @ means.x
    varies = np.diag(xx) > CONSTANT * np.diag(raw)
    xx = np.where(varies[:, None] & varies, xx, 0.0)
    xy = np.where(varies[:, None], sums.xy[others] - weighted @ means.y, 0.0)
    yy = np.maximum(sums.yy - means.n @ means.y**2, 0.0)
    patients = raw[columns.index(GROUP), columns.index(GROUP)]
    counts = (round(float(value)) for value in (means.n.sum(), patients, len(means.n)))
    return Within(tuple(columns), *counts, xx, xy, yy, sums.yy, sums.given)


def joined(parts: Sequence[Within], outcomes: np.ndarray) -> Within:
    """Sums of several sites together, over some outcomes that all of them give; whoever lacks a column has zeros."""
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    xx, xy = np.zeros((len(columns),) * 2), np.zeros((len(columns), len(outcomes)))
    for part in parts:
        place = [columns.index(name) for name in part.columns]
        xx[np.ix_(place, place)] += part.xx
        xy[place] += part.xy[:, outcomes]
    counts = (sum(getattr(part, name) for part in parts) for name in ("n", "patients", "intercepts"))
    yy, squares = (sum(getattr(part, name)[outcomes] for part in parts) for name in ("yy", "squares"))
    return Within(tuple(columns), *counts, xx, xy, yy, squares, np.ones(len(outcomes), bool))


def _intercepts(columns: Sequence[str]) -> tuple[list[int], list[int]]:
    """Places of the intercepts, and of all other columns."""
    inside = [k for k, name in enumerate(columns) if name.startswith(f"{SITE}=")]
    return inside, [k for k in range(len(columns)) if k not in inside]
