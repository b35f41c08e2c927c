"""What the rows of a matrix are called: one or more names a row, and a number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysconnect.reading.numeric.cells import is_numbering


@dataclass(frozen=True)
class RowNames:
    """Names of rows.

    Attributes
    ----------
    ways : tuple of tuple of str
        Each is one way to call all rows, [M] ("" where a row has none): long names, short names, numbers.
    """

    ways: tuple[tuple[str, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ways)

    @classmethod
    def of(cls, *ways: Sequence[str]) -> "RowNames":
        """Ways to call rows; those in which every row is called nothing do not count."""
        return cls(tuple(dict.fromkeys(tuple(map(str, way)) for way in ways if any(way))))

    @property
    def words(self) -> bool:
        """Whether there is more than a count of rows: then they are names of somebody's regions."""
        return any(not is_numbering(way) for way in self.ways)

    @property
    def first(self) -> tuple[str, ...]:
        """The way to call them in messages."""
        return self.ways[0]


def holding(values: np.ndarray) -> np.ndarray:
    """Which rows of a matrix [M, M] hold any connection, in either half, [M]; the diagonal is none."""
    there = (np.nan_to_num(values) != 0) & ~np.eye(len(values), dtype=bool)
    return there.any(0) | there.any(1)
