"""Sums over people: all that a linear model of their connections needs, and additive over people, batches and sites.

For a design X [n, q] and connections Y [n, E], the sums X'X, X'Y and Y'Y (of every connection with itself) give the
least-squares fit of X to Y with its residual variance. Those of several sites, added, give the fit of all their people
together: not a meta-analysis but the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GROUP = "group"  # column that is 1 for patients
SITE = "site"  # intercepts are site=NAME, or site=NAME/SCANNER


@dataclass(frozen=True)
class Sums:
    """Sums of people.

    Attributes
    ----------
    columns : tuple of str
        Names of the columns of the design, [q].
    xx : array, [q, q]
    xy : array, [q, E]
    yy : array, [E]
        Sum of squares of every connection.
    given : array of bool, [E]
        Connections that are in the sums; of the others they are zero.
    """

    columns: tuple[str, ...]
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    given: np.ndarray

    @classmethod
    def of(cls, columns: Sequence[str], design: np.ndarray, values: np.ndarray) -> "Sums":
        """Sums of people: design [n, q] and complete connections [n, E], in double precision."""
        design, values = np.asarray(design, float), np.asarray(values, float)
        squares = np.einsum("ne,ne->e", values, values)
        return cls(tuple(columns), design.T @ design, design.T @ values, squares, np.ones(values.shape[1], bool))

    def ordered(self, columns: Sequence[str]) -> "Sums":
        """Bring the columns into an order; those that nobody of these people has are zero in all of them."""
        place = [columns.index(name) for name in self.columns]
        xx, xy = np.zeros((len(columns),) * 2), np.zeros((len(columns), self.xy.shape[1]))
        xx[np.ix_(place, place)], xy[place] = self.xx, self.xy
        return Sums(tuple(columns), xx, xy, self.yy, self.given)

    def among(self, outcomes: np.ndarray) -> "Sums":
        """Only some connections, by a mask or places."""
        return Sums(self.columns, self.xx, self.xy[:, outcomes], self.yy[outcomes], self.given[outcomes])

    def minus(self, part: "Sums") -> "Sums":
        """Sums of everybody who is not among the people of `part`."""
        part = part.ordered(list(self.columns))
        return Sums(self.columns, self.xx - part.xx, self.xy - part.xy, self.yy - part.yy, self.given)


def added(parts: Sequence[Sums]) -> Sums:
    """Sums of the people of all parts together; a connection that one of them lacks is not given.

    A part without a column has zeros there, which is what an indicator of another site or level is.
    """
    columns = list(dict.fromkeys(name for part in parts for name in part.columns))
    parts = [part.ordered(columns) for part in parts]
    given = np.all([part.given for part in parts], axis=0)
    xx, xy, yy = (sum(getattr(part, name) for part in parts) for name in ("xx", "xy", "yy"))
    return Sums(tuple(columns), xx, xy * given, yy * given, given)


@dataclass
class Gathering:
    """Sums while people come in, block by block: memory grows with the connections, never with the people.

    Somebody who lacks a connection is given the mean of those who have it, as the localization does; that mean is only
    known in the end, and the sums are linear in it, so that one pass is enough.

    Attributes
    ----------
    columns : tuple of str
    xx : array, [q, q]
    xy, lacking : array, [q, E]
        Of those who have a connection, X'Y; of those who lack it, the sum of X.
    yy, total : array, [E]
        Sums of squares and of values of those who have it.
    seen, lost : array of int, [E]
        How many have it, and lack it.
    """

    columns: tuple[str, ...]
    xx: np.ndarray
    xy: np.ndarray
    lacking: np.ndarray
    yy: np.ndarray
    total: np.ndarray
    seen: np.ndarray
    lost: np.ndarray

    @classmethod
    def empty(cls, columns: Sequence[str], n_outcomes: int) -> "Gathering":
        """Sums of nobody."""
        q, e = len(columns), n_outcomes
        counts = np.zeros(e, int), np.zeros(e, int)
        return cls(tuple(columns), np.zeros((q, q)), *np.zeros((2, q, e)), *np.zeros((2, e)), *counts)

    def take(self, design: np.ndarray, values: np.ndarray, lacking: np.ndarray) -> None:
        """Add people: design [m, q], connections [m, E], and which of them they lack [m, E] bool."""
        design = np.asarray(design, float)
        known = np.where(lacking, 0.0, values).astype(float, copy=False)
        self.xx += design.T @ design
        self.xy += design.T @ known
        self.yy += np.einsum("ne,ne->e", known, known)
        self.total += known.sum(0)
        lost = lacking.sum(0)
        if lost.any():
            some = np.flatnonzero(lost)
            self.lacking[:, some] += design.T @ lacking[:, some]
        self.lost += lost
        self.seen += len(design) - lost

    def join(self, other: "Gathering") -> None:
        """Add the people of another batch."""
        if self.columns != other.columns:
            raise ValueError(f"batches of different columns: {', '.join(self.columns)}; {', '.join(other.columns)}.")
        for name in ("xx", "xy", "lacking", "yy", "total", "seen", "lost"):
            getattr(self, name).__iadd__(getattr(other, name))

    @property
    def mean(self) -> np.ndarray:
        """Mean over those who have a connection, [E]; 0 where nobody does."""
        return self.total / np.maximum(self.seen, 1)

    def sums(self, max_missing: float, filled: np.ndarray | None = None) -> Sums:
        """Sums of everybody; a connection that more than a share of them lacks, or nobody has, is not given.

        Who lacks a connection is given `filled` [E], or the mean of the others.
        """
        n = self.seen + self.lost
        given = (self.seen > 0) & (self.lost <= max_missing * n)
        mean = self.mean if filled is None else filled
        xy, yy = self.xy + self.lacking * mean, self.yy + self.lost * mean**2
        return Sums(self.columns, self.xx, xy * given, yy * given, given)


@dataclass
class GatheringMeans:
    """Sums of the mean over a set of K connections, while people come in who may lack some of them.

    The mean of somebody is that of their connections with those they lack filled in. What is filled in is only known
    in the end; the sum of squares of the mean is quadratic in it, and its coefficients are gathered.

    Attributes
    ----------
    xs : array, [q]
        X'S, with S the sum of the connections that somebody has.
    xl : array, [q, K]
        X'L, with L one where somebody lacks a connection.
    ss : float
        S'S.
    sl : array, [K]
        S'L.
    ll : array, [K, K]
        L'L.
    """

    xs: np.ndarray
    xl: np.ndarray
    ss: np.ndarray
    sl: np.ndarray
    ll: np.ndarray

    @classmethod
    def empty(cls, q: int, k: int) -> "GatheringMeans":
        """Sums of nobody."""
        return cls(np.zeros(q), np.zeros((q, k)), np.zeros(()), np.zeros(k), np.zeros((k, k)))

    def take(self, design: np.ndarray, values: np.ndarray, lacking: np.ndarray) -> None:
        """Add people: design [m, q], connections [m, K], and which of them they lack."""
        total = np.where(lacking, 0.0, values).sum(1, dtype=float)
        self.xs += design.T @ total
        self.ss += total @ total
        some = lacking.any(1)
        if some.any():
            lost = lacking[some].astype(float)
            self.xl += design[some].T @ lost
            self.sl += total[some] @ lost
            self.ll += lost.T @ lost

    def join(self, other: "GatheringMeans") -> None:
        """Add the people of another batch."""
        for name in ("xs", "xl", "ss", "sl", "ll"):
            getattr(self, name).__iadd__(getattr(other, name))

    def sums(self, filled: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, float]:
        """X'M [q] and M'M of the mean M of everybody, given what fills in every connection [K].

        Connections that nobody has (`known` [K] is false) are none of the mean's, and filled with zero.
        """
        k = max(int(known.sum()), 1)
        xm = (self.xs + self.xl @ filled) / k
        return xm, float(self.ss + 2 * self.sl @ filled + filled @ self.ll @ filled) / k**2
