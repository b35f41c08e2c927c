"""Files that hold one square matrix of a person: text with or without names, arrays of numpy, MATLAB and GIFTI."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.reading.matrices.mat import read_mat
from dysconnect.reading.matrices.rows import RowNames
from dysconnect.reading.numeric import Numbers, read_array, read_content, refuse_absent
from dysconnect.reading.numeric.cells import COMMA, INTEGER, MISSING, is_plain
from dysconnect.reading.numeric.lines import rows_and_comments, separator_of, splitter
from dysconnect.reading.tables import TableError, clean, read_text

MARKS = " \t,;"
FULL = 0.01  # of the largest integer of a kind: up to here values may be such that found no room
TEXT = (".tsv", ".csv", ".txt", ".dense.tsv")
SPARSE = ".sparse.tsv"  # of BIDS's proposal: refused by name
EXTENSIONS = (*TEXT, ".npy", ".mat", ".shape.gii", ".gii", SPARSE)


@dataclass(frozen=True)
class Square:
    """A matrix as its file has it.

    Attributes
    ----------
    name : str
        Of the file, for messages.
    values : array of float, [M, M]
    rows, columns : RowNames
        What the file calls them.
    """

    name: str
    values: np.ndarray
    rows: RowNames = field(default_factory=RowNames)
    columns: RowNames = field(default_factory=RowNames)


def read_square(path: str | Path, key: str = "", segmentation: str = "") -> Square:
    """Read the matrix of one person.

    Parameters
    ----------
    path : path
        ``.npy``; ``.mat`` (any version); text whose cells are separated by tabs, semicolons, commas or blanks, with
        names in the first line, the first column, both or neither; ``.gii`` with one array, as micapipe writes it.
    key : str
        Of several matrices in a ``.mat`` the name of the one, or a part of it between underscores.
    segmentation : str
        Atlas, of a ``.mat`` that has several.

    Raises
    ------
    FileNotFoundError
        When there is none.
    TableError
        When it holds no square matrix of numbers, or several, with the remedy.
    """
    path = Path(path)
    refuse_absent(path, "matrix")
    if path.name.endswith(SPARSE):
        raise TableError(
            f"{path.name} lists single connections (sparse), and how is not settled (BIDS proposal 17). Write the "
            "whole square as _relmat.dense.tsv, with a zero where nothing is listed"
        )
    if path.suffix == ".npy":
        values, rows, columns = _wide(read_array(path), path.name), RowNames(), RowNames()
    elif path.suffix == ".mat":
        values, rows = read_mat(path, key, segmentation)
        columns = rows
    elif path.suffix == ".gii":
        values, rows, columns = _of_gifti(path), RowNames(), RowNames()
    else:
        values, rows, columns = _of_text(path)
    _refuse_shape(values, path.name)
    return Square(path.name, values, rows, columns)


def _wide(values: np.ndarray, name: str) -> np.ndarray:
    """Numbers as float; integers of one or two bytes may not reach their largest: counts are cut there, or wrap."""
    if values.dtype.kind in "iu" and values.dtype.itemsize < 3 and values.size:
        largest = np.iinfo(values.dtype).max
        if values.max() > (1 - FULL) * largest:
            raise TableError(
                f"{name} holds {values.dtype} up to {values.max()}, and {largest} is the largest that it can hold: "
                "larger counts were cut off, or begin anew at 0. Save them as int32"
            )
    return values.astype(float)


def _refuse_shape(values: np.ndarray, name: str) -> None:
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 2:
        size = " x ".join(map(str, values.shape))
        raise TableError(
            f"{name} holds {size} numbers: no square matrix. Write one row and one column a region; series of a scan "
            "are read without dataset.matrices"
        )


def _of_gifti(path: Path) -> np.ndarray:
    import nibabel

    try:
        arrays = nibabel.load(path).darrays
    except Exception as error:
        raise TableError(f"{path.name} cannot be read as GIFTI ({error}); fetch it again") from error
    if len(arrays) != 1:
        raise TableError(f"{path.name} holds {len(arrays)} arrays; one with the matrix is expected")
    return np.asarray(arrays[0].data, float)


def _of_text(path: Path) -> tuple[np.ndarray, RowNames, RowNames]:
    """Numbers of a text file, and the names in its first column and line, where there are some."""
    text = read_text(Path(path.name), read_content(path))
    lines, plain = text.split("\n"), text.isascii() and '"' not in text and "'" not in text
    numbers = _rows(lines, path.name)
    first = lines[numbers[0] - 1]
    if first.lstrip().startswith("<"):
        raise TableError(f"{path.name} cannot be read as a matrix: it is a web page or XML; fetch it again")
    split = splitter(separator_of(first), any('"' in lines[number - 1] for number in numbers), path.name)
    tidy = str.strip if plain else clean
    cells = [list(map(tidy, split(lines[number - 1], number))) for number in numbers]
    while len(cells) > 2 and not any(cells[-1]) and _is_word(cells[1][0]):
        cells, numbers = cells[:-1], numbers[:-1]  # of a spreadsheet: every row of a region begins with its name
    cells = _evened(cells, numbers, path.name)
    above, beside = _names_around(cells)
    columns = zip(*(row[beside:] for row in cells[above:]))
    body = pd.DataFrame({k: _numbers(column) for k, column in enumerate(columns)})
    head, side = cells[0][beside:] if above else [], [row[0] for row in cells[above:]] if beside else []
    for names, what in ((head, "line"), (side, "column")):
        _refuse_values(names, what, path.name)
    values = Numbers(path.name, body, head, numbers[above:]).values()
    commented = [] if head or side else _commented(lines[: numbers[0] - 1], len(values), path.name)
    return values, RowNames.of(side), RowNames.of(head or commented)


def _commented(lines: Sequence[str], size: int, name: str) -> list[str]:
    """Names in the last comment above a matrix without others, if as many: numpy.savetxt puts them there."""
    comments = [line.strip().lstrip("#").strip() for line in lines if line.strip().startswith("#")]
    if not comments:
        return []
    cells = splitter(separator_of(comments[-1]), '"' in comments[-1], name)(comments[-1], len(lines))
    names = list(map(clean, cells))
    return names if len(names) == size and any(map(_is_word, names)) else []


def _refuse_values(names: Sequence[str], what: str, name: str) -> None:
    """Refuse a first line or column that stands out of the square and holds values, as one of sums makes it."""
    numbers = [cell for cell in names if cell and is_plain(cell)]
    whole = all(map(INTEGER.fullmatch, numbers)) and len(set(numbers)) == len(numbers)
    if numbers and not whole and not any(map(_is_word, names)):
        raise TableError(
            f"{name}: its first {what} stands out of the square, and holds values ({', '.join(numbers[:2])}, ...), no "
            "names. Remove the line or column that is no region, of sums for instance"
        )


def _numbers(cells: tuple[str, ...]) -> np.ndarray | list[str]:
    """Cells of a column as numbers, or as they are where one is none."""
    try:
        return np.array(cells, float)
    except ValueError:
        return list(cells)


def _rows(lines: Sequence[str], name: str) -> list[int]:
    """Numbers of the lines that are rows, from 1: those of separators only too, as a missing region may have."""
    there = set(rows_and_comments(lines, name)[0])
    empty = {k for k, line in enumerate(lines, 1) if k > min(there) and line.strip(" ") and not line.strip(MARKS)}
    return sorted(there | empty)


def _evened(cells: list[list[str]], numbers: Sequence[int], name: str) -> list[list[str]]:
    """Rows of one length: without a separator that ends each of them, and with the corner that R leaves out."""
    while len(cells) > 2 and len(cells[1]) > 1 and _ends_empty(cells):
        head = cells[0][:-1] if len(cells[0]) == len(cells[1]) else cells[0]
        cells = [head, *(row[:-1] for row in cells[1:])]
    width = len(cells[-1])
    if len(cells[0]) == width - 1 and len(cells) == width:
        cells = [["", *cells[0]], *cells[1:]]
    wrong = next((k for k, row in enumerate(cells) if len(row) != width), None)
    if wrong is not None:
        raise TableError(
            f"{name}, line {numbers[wrong]}: {len(cells[wrong])} cells, but the last line has {width}. Write n/a in a "
            "cell without a value, and decimal points instead of commas"
        )
    return cells


def _ends_empty(cells: list[list[str]]) -> bool:
    """Whether an empty cell at the end of every row is a separator too many, and no region without values."""
    head, width = cells[0], len(cells[1])
    if any(row[-1] != "" for row in cells[1:]):
        return False
    return len(head) < width or (head[-1] == "" and (width > len(cells) or any(map(_is_word, head))))


def _is_word(cell: str) -> bool:
    return cell.lower() not in MISSING and not is_plain(cell) and not COMMA.fullmatch(cell[:99])


def _names_around(cells: list[list[str]]) -> tuple[int, int]:
    """How many first lines and first columns are names (0 or 1 each), as what is left is square."""
    above = len(cells) - len(cells[0])
    if above in (1, -1):
        return int(above == 1), int(above == -1)
    head, side = cells[0][1:], [row[0] for row in cells[1:]]
    both = above == 0 and _are_names(head, side, cells[0][0])
    return int(both), int(both)


def _are_names(head: list[str], side: list[str], corner: str) -> bool:
    """Whether first line and column of a square are names: words, beside which rows may be counted; or equal codes."""
    words = [sum(map(_is_word, names)) > len(names) / 2 for names in (head, side)]
    counted = [len(set(names)) == len(names) and all(map(INTEGER.fullmatch, names)) for names in (head, side)]
    if any(words):
        return all(word or number for word, number in zip(words, counted))
    return (corner == "" or _is_word(corner)) and all(counted) and sorted(head) == sorted(side)
