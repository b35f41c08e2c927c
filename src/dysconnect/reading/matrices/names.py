"""What names the rows of a matrix from beside it: lists, lookup tables, node tables of BIDS, JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dysconnect.reading.matrices.rows import RowNames
from dysconnect.reading.numeric import read_content, refuse_absent
from dysconnect.reading.numeric.cells import INTEGER
from dysconnect.reading.numeric.lines import rows_and_comments, separator_of, splitter
from dysconnect.reading.tables import TableError, clean, read_text

PLACES = ("matrix_index", "mics", "index", "id", "node", "value", "number", "code", "no", "label", "roi", "region")
ORDERED = ("mics",)  # ascends with the rows of the matrix, whatever the order of the table
WORDS = ("name", "label", "region", "roi", "node", "parcel", "abbreviation", "nodes", "regions", "labels", "names")


def read_names(path: str | Path, holds: np.ndarray) -> RowNames:
    """Read what the rows of a matrix are called.

    Parameters
    ----------
    path : path
        One name a line; a lookup table (number, names, colours) as FreeSurfer and MRtrix have it; a table with column
        names (``matrix_index`` and ``label`` of BIDS, ``mics`` and ``label`` of micapipe, ``index`` and ``name``); JSON
        with a list of names.
    holds : array of bool, [M]
        Which rows of the matrix hold any connection.

    Raises
    ------
    FileNotFoundError
        When there is none.
    TableError
        When it holds no names, or not as many as the matrix has rows.
    """
    path = Path(path)
    refuse_absent(path, "table of names")
    text = read_text(Path(path.name), read_content(path))
    ways, numbers = _of_json(text, path.name) if path.suffix == ".json" else _of_table(text, path.name)
    return fitted(ways, numbers, holds, path.name)


def fitted(ways: Sequence[Sequence[str]], numbers: Sequence[int], holds: np.ndarray, file: str) -> RowNames:
    """Names of all rows of a matrix: as many as it has rows, or else each row by its number.

    Parameters
    ----------
    ways : sequence of sequence of str, [K] each
        Ways to call the rows.
    numbers : sequence of int, [K]
        Of the rows; empty where there are none.
    holds : array of bool, [M]
        Which rows of the matrix hold any connection. A lookup table may skip numbers, and the matrix has an empty row
        for each: those are called "".
    file : str
        For messages.

    Raises
    ------
    TableError
        When neither fits: then nothing says which row is which.
    """
    codes, size = np.asarray(numbers, int), len(holds)
    skipped = _skipped(codes, holds)
    if len(codes) and codes[0] == 0 and (len(codes) == size + 1 or skipped):
        _refuse_either(skipped and not holds[0], file)
        ways, codes = [way[1:] for way in ways], codes[1:]  # background
        skipped = skipped or _skipped(codes, holds)
    if len(ways[0]) == size and not skipped:
        return RowNames.of(*ways, *([list(map(str, codes))] if len(codes) else []))
    if len(codes) and (skipped or size in codes):
        kept = (codes >= 1) & (codes <= size)
        spread = [_spread(way, codes, kept, size) for way in ways]
        return RowNames.of(*(way for pair in zip(*spread) for way in pair), [str(k + 1) for k in range(size)])
    highest = f", the highest number {codes.max()}" if len(codes) else ""
    raise TableError(
        f"{file} names {len(ways[0])} rows{highest}, but the matrix has {size}: nothing says which is which (was a "
        "number skipped?). Give the table of names that it was made with"
    )


def _skipped(codes: np.ndarray, holds: np.ndarray) -> bool:
    """Whether numbers that are as many as the rows skip some, and the rows of these alone would be empty.

    Then the matrix has a row for each number, and not for each name: MRtrix makes it so, up to the highest number that
    is in the person's image.
    """
    if len(codes) != len(holds):
        return False
    skipped = np.setdiff1d(np.arange(1, len(holds) + 1), codes)
    return len(skipped) > 0 and codes.max() >= len(holds) and not holds[skipped - 1].any()


def _refuse_either(both: bool, file: str) -> None:
    """Refuse a table of which nothing says whether it has a row for the background, or one for each number."""
    if both:
        raise TableError(
            f"{file} has the number 0 and skips others, and the matrix has empty rows for either: nothing says which "
            "is which. Give a table without the background"
        )


def _spread(way: Sequence[str], codes: np.ndarray, kept: np.ndarray, size: int) -> tuple[list[str], list[str]]:
    """Names by number; where a number has two names, the first of them, and the last."""
    first, last = [""] * size, [""] * size
    for k in np.flatnonzero(kept):
        first[codes[k] - 1] = first[codes[k] - 1] or way[k]
        last[codes[k] - 1] = way[k]
    return first, last


def _of_table(text: str, name: str) -> tuple[list[list[str]], list[int]]:
    lines = text.split("\n")
    numbers, _ = rows_and_comments(lines, name)
    first = lines[numbers[0] - 1]
    separator = separator_of(first)
    split = splitter(separator, '"' in text, name)
    cells = [[clean(cell) for cell in split(lines[number - 1], number)] for number in numbers]
    if all(len(row) == 1 for row in cells) or (separator is None and not _is_lookup(cells)):
        cells = [[clean(lines[number - 1])] for number in numbers]  # names with blanks
    header = [cell.lower().lstrip("#").strip() for cell in cells[0]]
    if len(header) > 1 and any(cell in WORDS or cell in PLACES for cell in header):
        return _with_header(header, cells[1:], name)
    if len(header) == 1 and header[0] in WORDS:
        return [[row[0] for row in cells[1:]]], []
    if _is_lookup(cells):
        return _of_lookup(cells, name)
    return [[row[0] for row in cells]], []


def _is_lookup(cells: Sequence[Sequence[str]]) -> bool:
    return all(len(row) > 1 and INTEGER.fullmatch(row[0]) for row in cells)


def _of_lookup(cells: Sequence[Sequence[str]], name: str) -> tuple[list[list[str]], list[int]]:
    """Number, then names up to the colours."""
    width = min(len(row) for row in cells)
    texts = [k for k in range(1, width) if not all(INTEGER.fullmatch(row[k]) for row in cells)]
    if not texts:
        raise TableError(f"{name} has numbers only, and no names")
    return [[row[k] for row in cells] for k in texts], [int(float(row[0])) for row in cells]


def _with_header(header: list[str], cells: list[list[str]], name: str) -> tuple[list[list[str]], list[int]]:
    """Columns of names, best first, and the number of each row in the order of the matrix."""
    cells = [row + [""] * (len(header) - len(row)) for row in cells]
    columns = {word: [row[k] for row in cells] for k, word in enumerate(header)}
    whole = {word: all(INTEGER.fullmatch(cell) for cell in column) for word, column in columns.items()}
    ways = [columns[word] for word in WORDS if word in columns and not whole[word]]
    place = next((word for word in PLACES if word in columns and whole[word]), "")
    if not ways:
        raise TableError(f"{name} has no column of names ({', '.join(header[:6])}); call it name or label")
    if not place:
        return ways, []
    codes = np.array([int(float(cell)) for cell in columns[place]])
    if place == "matrix_index":
        return _placed(ways, codes + (0 in codes), name)
    if place in ORDERED:
        order = np.argsort(codes, kind="stable")
        ways, codes = [[way[k] for k in order] for way in ways], codes[order]
    elif (np.diff(codes) < 0).any():
        raise TableError(
            f"{name}: the numbers in {place} do not ascend, so that nothing says in which order the rows of the matrix "
            "stand. Sort the table, or call the column matrix_index"
        )
    return ways, codes.tolist()


def _placed(ways: list[list[str]], places: np.ndarray, name: str) -> tuple[list[list[str]], list[int]]:
    """Names by the rows that they are said to be of, "" for a row that none is of."""
    if len(set(places)) < len(places):
        raise TableError(f"{name} has a number twice in matrix_index; a row of the matrix has one name. Mend it")
    rows = range(1, places.max() + 1)
    named = [dict(zip(places.tolist(), way)) for way in ways]
    return [[names.get(row, "") for row in rows] for names in named], list(rows)


def _of_json(text: str, name: str) -> tuple[list[list[str]], list[int]]:
    """The list of names in a JSON file: by itself, or under some key; of objects their name or label."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise TableError(f"{name} is no JSON ({error}); mend it") from error
    lists = names_in(content)
    if len(lists) != 1:
        raise TableError(f"{name} holds {len(lists)} lists of names; one is expected")
    return [lists[0]], []


def names_in(content: object) -> list[list[str]]:
    """Lists of words in what a JSON file holds."""
    if isinstance(content, Mapping):
        return [found for value in content.values() if isinstance(value, list) for found in names_in(value)]
    if not isinstance(content, list) or len(content) < 2:
        return []
    words = [_word_of(entry) for entry in content]
    return [words] if all(words) else []


def _word_of(entry: object) -> str:
    if isinstance(entry, Mapping):
        entry = entry.get("name") or entry.get("label")
    return entry if isinstance(entry, str) else ""
