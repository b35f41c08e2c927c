"""Lines of a text file as rows of numbers, with or without names above them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from dysconnect.reading.numeric.cells import (
    COMMA,
    COMPLEX,
    INTEGER,
    NUMBER,
    THOUSANDS,
    WITH_COMMA,
    Numbers,
    is_numbering,
    short,
)
from dysconnect.reading.tables import INVISIBLE, TableError, clean, split_line

NOTHING_BUT_SEPARATORS = f" \t,;\x0b\x0c{INVISIBLE}"
WIDEST = 50_000  # columns; more are voxels, not regions


def parse_lines(lines: list[str], name: str, blanks: bool) -> Numbers:
    """Read the lines of a table; cells between `blanks` whatever else there is."""
    numbers, comments = rows_and_comments(lines, name)
    if lines[numbers[0] - 1].lstrip().startswith("<"):
        raise TableError(f"{name} cannot be read as a table of numbers: it is a web page or XML; fetch it again")
    separator = None if blanks else separator_of(lines[numbers[0] - 1])
    split = splitter(separator, any('"' in lines[number - 1] for number in numbers), name)
    header = _headline(numbers, comments, lines, split)
    names = _names(split(lines[header - 1], header)) if header else []
    numbers = [number for number in numbers if number != header]
    if not numbers:
        raise TableError(f"{name} has a first line and no rows: a line for each of the volumes is expected below it")
    _refuse_gaps(header or numbers[0], {*numbers, *(comments if blanks else [])}, numbers[-1], name)
    body, separator = _evened([lines[number - 1] for number in numbers], numbers, separator, split)
    widths = [line.count(separator) + 1 for line in body]
    body, widths = _without_ends(body, widths, names, separator)
    while len(names) > widths[0] and names[-1] == "":
        names = names[:-1]
    _refuse_ragged(widths, numbers, names, separator, name)
    _refuse_twice(names, name)
    return _without_index(Numbers(name, _parsed(body, separator, widths[0], blanks), names, numbers))


def rows_and_comments(lines: list[str], name: str) -> tuple[list[int], list[int]]:
    """Numbers of the lines that are rows (or names), and of those that are comments, from 1."""
    rows, comments = [], []
    for number, line in enumerate(lines, 1):
        bare = line.strip(NOTHING_BUT_SEPARATORS)
        if bare and not (number == 1 and bare.lower().startswith("sep=")):  # a word of Excel's
            (comments if bare[0] == "#" else rows).append(number)
    if not rows:
        raise TableError(f"{name} cannot be read as a table of numbers: it is empty")
    return rows, comments


def separator_of(line: str) -> str | None:
    """What stands between the cells of a line: a tab, semicolon or comma; None for blanks.

    Commas within numbers, with blanks between, are decimal.
    """
    bare = re.sub(r'"[^"]*"', "", line)
    if "\t" in bare:
        return "\t"
    cells = bare.split()
    if len(cells) > 1 and all(map(WITH_COMMA.fullmatch, cells)):
        return None
    return next((mark for mark in ";," if mark in bare), None)


def splitter(separator: str | None, quoted: bool, name: str) -> Callable[[str, int], list[str]]:
    """How a line, with its number, falls into cells; blanks may stand within double quotes."""
    if separator is None and quoted:
        return lambda line, number: re.findall(r'"[^"]*"|\S+', line)
    return lambda line, number: split_line(line, separator, name, number)


def _is_header(cells: list[str]) -> bool:
    """Whether the cells of a line are names: some are no numbers, and none is a number that is not whole.

    A row of which one cell is damaged holds fractions too; codes of regions may stand beside words.
    """
    cells = [clean(cell) for cell in cells]
    words = [cell for cell in cells if not NUMBER.fullmatch(cell)]
    fractions = [cell for cell in cells if cell and NUMBER.fullmatch(cell) and not INTEGER.fullmatch(cell)]
    decimals = [cell for cell in fractions if any(sign.isdigit() for sign in cell)]
    if words:
        return not decimals and not any(
            kind.fullmatch(cell[:99]) for cell in words for kind in (COMMA, THOUSANDS, COMPLEX)
        )
    return is_numbering(cells)


def _headline(numbers: list[int], comments: list[int], lines: list[str], split: Callable) -> int | None:
    """Number of the line of names: the first, or else the last comment above it that has as many cells; or None."""
    first = split(lines[numbers[0] - 1], numbers[0])
    if _is_header(first):
        return numbers[0]
    above = [number for number in comments if number < numbers[0]]
    names = _names(split(lines[above[-1] - 1], above[-1])) if above else []
    widths = {len("\t".join(map(str.strip, cells)).rstrip("\t").split("\t")) for cells in (first, names)}
    return above[-1] if above and len(widths) == 1 else None


def _names(cells: list[str]) -> list[str]:
    """Names in the cells of a first line, without the ``#`` of comments."""
    cells = [clean(cell) for cell in cells]
    if cells and cells[0] == "#":
        cells = cells[1:]
    return [cell.lstrip("#").strip() for cell in cells]


def _refuse_gaps(start: int, there: set[int], end: int, name: str) -> None:
    """Refuse an empty line between rows: those below would stand beside other volumes of other tables."""
    gap = next((number for number in range(start + 1, end) if number not in there), None)
    if gap:
        raise TableError(
            f"{name}, line {gap} is empty or a comment, and rows follow: they would no longer fit those of other "
            "tables. Write n/a for values that are missing, or delete the line"
        )


def _evened(body: list[str], numbers: list[int], separator: str | None, split: Callable) -> tuple[list[str], str]:
    """Lines with one separator between two cells, and no quotes."""
    text = "\n".join(body)
    if '"' in text or "'" in text or not text.isascii():
        return [_cleaned(line, number, separator, split) for line, number in zip(body, numbers)], "\t"
    if separator is not None:
        return body, separator
    uneven = "  " in text or "\t" in text or any(line[0] == " " or line[-1] == " " for line in body)
    return [" ".join(line.split()) for line in body] if uneven else body, " "


def _cleaned(line: str, number: int, separator: str | None, split: Callable) -> str:
    """A line with tabs between cleaned cells."""
    if separator and line[0] == line[-1] == '"':  # all cells are quoted, as a rule
        plain = line[1:-1].replace(f'"{separator}"', "\0")
        if plain.isascii() and not any(mark in plain for mark in ('"', "'", separator)):
            return plain.replace("\0", "\t")
    return "\t".join(clean(cell) for cell in split(line, number))


def _without_ends(body: list[str], widths: list[int], names: list[str], separator: str) -> tuple[list[str], list[int]]:
    """Drop a separator that ends every row, unless the last name belongs to that empty cell, or the rows are numbered.

    In single rows it may be a doubled one further left, which shifts the row: that is refused later. Where another
    column is empty too, the empty cell may belong there.
    """
    while len(set(widths)) == 1 and widths[0] > 1 and all(line.rstrip(" ").endswith(separator) for line in body):
        named = len(names) == widths[0] and names[-1] != ""
        empty = any(not cell.strip() for cell in body[0].split(separator)[:-1])
        longer = names and len(names) < widths[0]
        if named or (longer and (empty or _are_counted(body, separator))):
            break
        body, widths = [line.rstrip(" ")[:-1] for line in body], [width - 1 for width in widths]
    return body, widths


def _are_counted(body: list[str], separator: str) -> bool:
    """Whether rows begin with their number, as R writes them: then the last cell is a value that is missing."""
    firsts = [line.split(separator, 1)[0].strip() for line in body[:3]]
    return len(firsts) > 1 and is_numbering(firsts)


def _refuse_ragged(widths: list[int], numbers: list[int], names: list[str], separator: str, name: str) -> None:
    width = len(names) or widths[0]
    if width > WIDEST:
        raise TableError(f"{name} has {width:,} columns: one a region is expected, not one a voxel")
    wrong = next((k for k, cells in enumerate(widths) if cells != width), None)
    if wrong is None:
        return
    cells, every = widths[wrong], len(set(widths)) == 1
    mark = {"\t": "tab", " ": "blank"}.get(separator, repr(separator))
    if every and separator == "," and cells == 2 * width:
        hint = "Decimal commas? Write it with decimal points"
    elif every and cells == width + 1:
        hint = "The first column seems to be an index without a name (in R: write.table(..., row.names=FALSE))"
    elif wrong == len(widths) - 1 and cells < width:
        hint = "The file seems to be cut short; fetch or write it again"
    else:
        hint = f"A {mark} too {'many' if cells > width else 'few'}? Write n/a in a cell without a value"
    raise TableError(f"{name}, line {numbers[wrong]}: {cells} cells, but the first line has {width}. {hint}")


def _refuse_twice(names: list[str], name: str) -> None:
    twice = next((given for given, count in Counter(names).items() if given and count > 1), None)
    if twice:
        places = [str(k) for k, given in enumerate(names, 1) if given == twice]
        raise TableError(
            f"{name}: the name {short(twice)} stands over {len(places)} columns ({', '.join(places[:5])}). Keep one"
        )


def _parsed(body: list[str], separator: str, width: int, exact: bool) -> pd.DataFrame:
    if exact:
        try:
            return pd.DataFrame(np.loadtxt(body, ndmin=2, delimiter=separator, comments=None))
        except ValueError:
            pass  # pandas leaves what is no number as it is, so that it can be named
    frame = pd.read_csv(
        io.BytesIO("\n".join(body).encode()),
        sep=separator,
        header=None,
        names=range(width),
        index_col=False,
        na_values=["n/a"],
        quoting=csv.QUOTE_NONE,
        skip_blank_lines=False,
        low_memory=False,
    )
    if len(frame) != len(body):
        raise TableError(f"{len(frame)} rows were read of {len(body)}")  # never seen; a row is a line
    return frame


def _without_index(table: Numbers) -> Numbers:
    """Drop columns without a name that only count the rows, as pandas writes them, hold text or nothing."""
    nameless = [k for k, name in enumerate(table.names) if name == ""]
    for column in nameless:
        values = table.frame[column]
        if values.dtype.kind in "iuf" and not values.isna().all() and not _counts(values.to_numpy(float)):
            raise TableError(
                f"{table.name}: column {column + 1} has no name in the first line (it holds {values.iloc[0]:g}). Name "
                "or remove it"
            )
    kept = [k for k in range(table.frame.shape[1]) if k not in nameless]
    frame = table.frame.iloc[:, kept].set_axis(range(len(kept)), axis=1)
    return replace(table, frame=frame, names=[table.names[k] for k in kept]) if nameless else table


def _counts(values: np.ndarray) -> bool:
    """Whether values rise by equal steps, as numbers of rows and times do."""
    steps = np.diff(values)
    return len(values) == 1 or bool(steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3))
