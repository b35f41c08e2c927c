"""The one reader of tables of numbers: regional series and confounds, as programs and people write them.

Text is decoded and judged as by `dysconnect.reading.tables`; the numbers are those of pandas' parser (of ``.1D`` those
of numpy's). Nothing is an index by itself, every row has as many cells as the first line, and a row is a
line of the file.
"""

from pathlib import Path

import pandas as pd

from dysconnect.reading.numeric.arrays import check_member, read_array, read_content, refuse_absent
from dysconnect.reading.numeric.cells import Numbers, are_numbers, is_numbering
from dysconnect.reading.numeric.lines import parse_lines
from dysconnect.reading.numeric.match import begins_with_codes, in_order, match
from dysconnect.reading.tables import read_text

__all__ = [
    "Numbers", "are_numbers", "begins_with_codes", "check_member", "in_order", "is_numbering", "match", "read_array",
    "read_content", "read_numbers", "refuse_absent",
]  # fmt: skip


def read_numbers(path: str | Path) -> Numbers:
    """Read a table of numbers, with or without names in its first line, or an array.

    Parameters
    ----------
    path : path
        ``.npy`` [T, N]; else text, ``.gz`` or not, whose cells are separated by tabs, semicolons, commas or blanks
        (``.1D``: by blanks). Lines at the beginning and the end that begin with ``#`` are comments, but the last before
        the rows holds the names if it has as many cells as they. A separator at the end of every line is harmless.

    Raises
    ------
    FileNotFoundError
        When there is none.
    TableError
        When it is no file, is damaged, empty, or no table, with the line and the remedy.
    """
    path = Path(path)
    refuse_absent(path)
    if path.suffix == ".npy":
        values = read_array(path)
        return Numbers(path.name, pd.DataFrame(values), [], range(1, len(values) + 1))
    text = read_text(Path(path.name), read_content(path))
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    return parse_lines(lines, path.name, ".1D" in path.suffixes)
