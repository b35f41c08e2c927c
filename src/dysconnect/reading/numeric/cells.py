"""Cells of a table of numbers: which are numbers, and what the others seem to be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dysconnect.reading.tables import TableError, clean

PLAIN = re.IGNORECASE | re.ASCII
NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)|n/?a|", PLAIN)
INTEGER = re.compile(r"[-+]?\d+(\.0*)?", PLAIN)
MISSING = ("", "na", "n/a", "nan", "null", "none", "<na>", "#n/a", "#na")  # as pandas has them, whatever stands around
COMMA = re.compile(r"[-+]?[\d.]*,\d+(e[-+]?\d+)?", PLAIN)  # 1003,205 and 1.003,205
WITH_COMMA = re.compile(r"[-+]?\d+(,\d+)?(e[-+]?\d+)?|n/a|nan", PLAIN)
THOUSANDS = re.compile(r"[-+]?\d{1,3}([,' ]\d{3})+\.\d*", PLAIN)
COMPLEX = re.compile(r"\(?[-+.\de]*[-+]?[.\de]+[ij]\)?", PLAIN)


MANY = 10  # regions; the values of fewer in a volume may ascend by chance


@dataclass(frozen=True)
class Numbers:
    """A table of numbers as its file has it.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    frame : DataFrame, [T rows, N columns]
        Columns by position; one that holds anything but numbers is of type object or str.
    names : list of str, [N]
        Of the columns, cleaned; empty where the file has none.
    lines : sequence of int, [T]
        Where the rows stand in the file, from 1.
    """

    name: str
    frame: pd.DataFrame
    names: list[str]
    lines: Sequence[int]

    def values(self, columns: Sequence[int] | None = None) -> np.ndarray:
        """Numbers of the columns at these positions (of all), [T, columns]; n/a and empty cells are NaN.

        Raises
        ------
        TableError
            When a cell of them is no number, with its line, column and content.
        """
        every = list(range(self.frame.shape[1]))
        frame = self.frame if columns is None or list(columns) == every else self.frame.iloc[:, list(columns)]
        if all(are_numbers(frame)):
            return frame.to_numpy(float)
        return np.stack([self._column(column) for column in frame.columns], axis=1)

    def _column(self, column: int) -> np.ndarray:
        values = self.frame[column]
        if values.dtype.kind in "iuf":
            return values.to_numpy(float)
        cells = [clean(str(cell)) if cell == cell else "" for cell in values]
        for k, cell in enumerate(cells):
            if cell.lower() not in MISSING and not is_plain(cell):
                raise TableError(self._no_number(k, column, cell))
        return np.array([np.nan if cell.lower() in MISSING else float(cell) for cell in cells])

    def _no_number(self, row: int, column: int, cell: str) -> str:
        """Say that a cell is no number, where it stands, and what it seems to be."""
        named = f" ({short(self.names[column])})" if self.names and self.names[column] else ""
        place, shown, start = f"line {self.lines[row]}, column {column + 1}{named}", short(cell), cell[:99]
        if COMMA.fullmatch(start):
            return f"{self.name} has decimal commas ({shown}); write it with decimal points (first: {place})"
        if THOUSANDS.fullmatch(start):
            return f"{self.name} has thousands separators ({shown}); write it without them (first: {place})"
        if COMPLEX.fullmatch(start):
            return f"{self.name} holds complex numbers ({shown}; first: {place}); write real ones"
        return (
            f"{self.name} cannot be read as a table of numbers: {place} holds {shown!r}. Write a number there, or n/a "
            "for one that is missing"
        )

    def headed(self) -> "Numbers":
        """The same table, of which the first row holds whole numbers that are the names of the columns."""
        names = [f"{code:.0f}" for code in self.frame.iloc[0]]
        return replace(self, frame=self.frame.iloc[1:].reset_index(drop=True), names=names, lines=self.lines[1:])


def are_numbers(frame: pd.DataFrame) -> list[bool]:
    """Which columns hold real numbers only: pandas counts True and complex numbers among them."""
    return [kind.kind in "iuf" for kind in frame.dtypes]


def is_plain(cell: str) -> bool:
    """Whether a cell is a number with a decimal point, NaN or infinity."""
    return bool(NUMBER.fullmatch(cell)) and "," not in cell


def is_numbering(cells: Sequence[str]) -> bool:
    """Whether names of columns only count them: 0, 1, 2, ... or from 1."""
    numbers = [cell for cell in cells if cell]
    return len(numbers) > 1 and any(numbers == [str(k + start) for k in range(len(numbers))] for start in (0, 1))


def holds_codes(table: Numbers) -> bool | None:
    """Whether the first row holds codes of regions, not numbers of a volume; None where nobody can say.

    Codes are whole and all different. They differ from a volume where the others are not whole, or where they ascend
    and no other row does.
    """
    values = table.values()
    first, rest = values[0], values[1:]
    if len(rest) == 0 or len(first) < 2 or not np.isfinite(first).all() or len(set(first)) < len(first):
        return False
    if (first != np.round(first)).any():
        return False
    known = rest[np.isfinite(rest)]
    if (known != np.round(known)).mean() > 0.5:  # of large numbers that were rounded some are whole
        return True
    ascends = (np.diff(first) > 0).all() and not (np.diff(rest, axis=1) > 0).all(axis=1).any()
    if ascends and len(first) > 4:
        return True if len(first) >= MANY else None
    sure = rest[:, np.isfinite(rest).all(axis=0)]
    middle, spread = np.median(sure, axis=0), np.ptp(sure, axis=0)
    unlike = np.abs(first[np.isfinite(rest).all(axis=0)] - middle) > 10 * spread
    return None if len(spread) and unlike.all() and spread.any() else False


def short(cell: str) -> str:
    """A cell as it fits into a message."""
    return cell if len(cell) <= 24 else f"{cell[:20]} ..."
