"""The one reader of tables that people, scanners and other software wrote: participants, series, confounds, events.

BIDS tables are text, a line a row, tabs between the cells, never quoted. So no column becomes an index by itself, a
quotation mark swallows nothing, and every row has as many cells as the first line; what cannot be read so is refused
with file and line. Harmless differences are read: byte-order marks, UTF-16 that says so, any line ends, an index
that pandas wrote, a separator at the end of *every* line, ``#`` before the first line, quotes around whole cells.
"""

import codecs
import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

MARKS = (  # longest first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NO_TEXT = (  # how files begin that are no text
    (b"PK\x03\x04", "a workbook of a spreadsheet (or another zip archive); save it as text, separated by tabs"),
    (b"\xd0\xcf\x11\xe0", "a workbook of a spreadsheet; save it as text, separated by tabs"),
    (b"\x1f\x8b", "packed with gzip; unpack it"),
    (b"version https://git-lfs", "a link of Git LFS without its content; fetch it with `git lfs pull`"),
    (b"/annex/objects/", "a link of git-annex without its content; fetch it with `datalad get`"),
)
INVISIBLE = "\ufeff\u00ad\u200b\u200c\u200d\u200e\u200f\u2060"
EDGES = re.compile(rf"^[\s{INVISIBLE}]+|[\s{INVISIBLE}]+$")  # blanks of every kind, and what cannot be seen
LINE_END = re.compile(rb"\r\n|\r|\n")


class TableError(ValueError):
    """A table cannot be read as what it should be; the message names the file, the line and the remedy."""


def read_text(path: str | Path, content: bytes | None = None) -> str:
    r"""Decode a text file: UTF-8, or what its byte-order mark says; all line ends become ``\n``.

    Parameters
    ----------
    path : path
    content : bytes, optional
        Of the file, where they were read (or unpacked) already.

    Raises
    ------
    TableError
        When it is no text in these encodings, with the line.
    FileNotFoundError, OSError
    """
    path = Path(path)
    content = path.read_bytes() if content is None else content
    for beginning, kind in NO_TEXT:
        if content.startswith(beginning):
            raise TableError(f"{path} is no table but {kind}.")
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(LINE_END.findall(content[: error.start])) + 1
        if encoding not in ("utf-8", "utf-8-sig"):
            raise TableError(
                f"{path}: begins as {encoding.upper()} and is damaged or cut short. Save it again as UTF-8."
            ) from error
        raise TableError(
            f"{path}, line {line}: the byte 0x{content[error.start]:02x} is not UTF-8 (the file may be Latin-1 or "
            "Windows-1252). Save it as UTF-8."
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise TableError(
            f"{path}, line {line}: holds NUL characters: it is damaged, or UTF-16 without its mark. Save it as UTF-8."
        )
    return text


def clean(cell: str) -> str:
    """A cell without blanks and invisible characters around it, and without quotes around the whole of it."""
    cell = EDGES.sub("", cell)
    inner = cell[1:-1]
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return EDGES.sub("", inner.replace('""', '"'))
    if len(cell) > 2 and cell[0] == cell[-1] == "'" and "'" not in inner:  # two of them alone are a ditto mark
        return EDGES.sub("", inner)
    return cell


def split_line(line: str, separator: str, path: str | Path, number: int) -> list[str]:
    """Cells of one line. Commas and semicolons may stand inside double quotes; tabs and blanks (None) never do.

    Raises
    ------
    TableError
        When a quotation mark is not closed on its line.
    """
    if separator in (None, "\t"):
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise TableError(
            f"{path}, line {number}: a quotation mark is not closed ({error}). A cell stands on one line; mend it."
        ) from error


def read_table(
    path: str | Path, separator: str = "\t", required: Sequence[str] = (), text: str | None = None
) -> pd.DataFrame:
    r"""Read a table with names in its first line; every cell is text, cleaned (`clean`), as written.

    Parameters
    ----------
    path : path
    separator : str
        ``\t``, ``,`` or ``;``.
    required : sequence of str
        Columns that must be there.
    text : str, optional
        Of the file, where it was read already.

    Returns
    -------
    DataFrame of str
        One row a line that holds any value; the index is the number of the line in the file, from 1.

    Raises
    ------
    TableError
        Names file, line and remedy: another encoding, another separator, a row with more or fewer cells than the
        first line, a name that stands over two columns, a column that is not there, or no rows at all.
    """
    lines = (read_text(path) if text is None else text).split("\n")
    rows = {
        number: [clean(cell) for cell in split_line(line, separator, path, number)]
        for number, line in enumerate(lines, 1)
        if EDGES.sub("", line) and not (number == 1 and line.lower().startswith("sep="))  # a word of Excel's
    }
    if not rows:
        raise TableError(f"{path} is empty. The table needs a first line of names and one line a row.")
    first = _header(rows)
    names = rows[first]
    if names[0].startswith("#"):
        names = [clean(names[0].lstrip("#")), *names[1:]]
    body = {number: cells for number, cells in rows.items() if number > first and any(cells)}
    names, body = _without_ends(names, body)
    _refuse_separator(names, list(body.values()), separator, f"{path}, line {first}")
    _refuse_ragged(names, body, separator, path)
    _refuse_twice(names, path, first)
    table = pd.DataFrame(list(body.values()), index=list(body), columns=names, dtype=object)
    if "" in names and _is_index(table[""], names.index("") == 0):
        table = table.drop(columns="")
    _refuse_nameless(table, path)
    absent = [name for name in required if name not in table]
    if absent:
        raise TableError(
            f"{path}: missing column{'s' * (len(absent) > 1)} {', '.join(absent)} (found: {shown(table.columns)})."
        )
    return table


def shown(names: Sequence[str], most: int = 20) -> str:
    """Join the first of many names."""
    return ", ".join(names[:most]) + f" and {len(names) - most} more" * (len(names) > most)


def _header(rows: dict[int, list[str]]) -> int:
    """Number of the line of names: the first, or, after lines that begin with ``#``, the one as wide as its rows."""
    numbers = list(rows)
    comments = [number for number in numbers if rows[number][0].startswith("#")]
    leading = comments[: next((k for k, (a, b) in enumerate(zip(comments, numbers)) if a != b), len(comments))]
    if not leading or len(leading) == len(numbers):
        return numbers[0]
    after = numbers[len(leading)]
    wide = len(_without_last(rows[leading[-1]])) == len(_without_last(rows[after]))
    return leading[-1] if wide else after


def _without_last(cells: list[str]) -> list[str]:
    """Cells up to the last that holds anything."""
    return cells[: max((k for k, cell in enumerate(cells, 1) if cell), default=0)]


def _without_ends(names: list[str], body: dict) -> tuple[list[str], dict]:
    """Drop a separator that ends every line: of the rows, of the names, or of both.

    In single lines it may be a doubled separator further left, which shifts the row: that is refused later.
    """
    widths = {len(cells) for cells in body.values()}
    width = widths.pop() if len(widths) == 1 else None
    if width is None:
        return names, body
    while len(names) > width and names[-1] == "":
        names = names[:-1]
    while width > len(names) and not any(cells[-1] for cells in body.values()):
        if any(not any(cells[k] for cells in body.values()) for k in range(len(names))):
            return names, body  # a column without any value: the empty cell may belong there
        first = [cells[0] for cells in body.values()]
        if len(first) > 1 and any(first == [str(k + start) for k in range(len(first))] for start in (0, 1)):
            return names, body  # numbers of the rows, as R writes them without a name, and a last column that is empty
        width, body = width - 1, {number: cells[:-1] for number, cells in body.items()}
    while names and width == len(names) and names[-1] == "" and not any(cells[-1] for cells in body.values()):
        width, names, body = width - 1, names[:-1], {number: cells[:-1] for number, cells in body.items()}
    return names, body


def _refuse_ragged(names: list[str], body: dict, separator: str, path: str | Path) -> None:
    for number, cells in body.items():
        if len(cells) != len(names):
            mark = {"\t": "tab", None: "blank"}.get(separator, repr(separator))
            amount = "many" if len(cells) > len(names) else "few"
            every = len({len(row) for row in body.values()}) == 1
            hint = (
                " The first column seems to be an index without a name (in R: write.table(..., row.names=FALSE))."
                if every and len(cells) == len(names) + 1
                else f" A {mark} too {amount}? Write n/a in a cell without a value."
            )
            raise TableError(f"{path}, line {number}: {len(cells)} cells, but the first line has {len(names)}.{hint}")


def _refuse_separator(names: list[str], rows: list[list[str]], separator: str, place: str) -> None:
    """Refuse a single name that holds another separator; a blank is one where the first row has as many of them."""
    others = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "blanks"}
    marks = [mark for mark in others if mark != separator and mark in names[0]]
    alike = bool(rows) and len(rows[0][0].split()) == len(names[0].split())
    if len(names) == 1 and marks and (marks[0] != " " or alike):
        wanted = "tabs, as BIDS wants them" if separator == "\t" else others.get(separator, repr(separator))
        raise TableError(
            f"{place}: the columns are not separated by {wanted}, but by {others[marks[0]]} (it begins "
            f"{names[0][:60]!r}). Save the table so."
        )


def _refuse_twice(names: list[str], path: str | Path, first: int) -> None:
    for name in names:
        places = [str(k) for k, other in enumerate(names, 1) if other == name]
        if len(places) > 1:
            problem = f"the name {name} stands over" if name else "there is no name over"
            raise TableError(
                f"{path}, line {first}: {problem} {len(places)} columns ({', '.join(places)}). Keep one, or name them."
            )


def _is_index(column: pd.Series, first: bool) -> bool:
    """Whether a column without a name is empty, or (`first`) numbers the rows, as pandas and R write it.

    After rows were removed the numbers have gaps; they still rise.
    """
    values = column.tolist()
    if not any(values):
        return True
    numbers = [int(value) for value in values if value.isascii() and value.isdigit()]
    rising = all(a < b for a, b in itertools.pairwise(numbers))
    return first and len(numbers) == len(values) and rising


def _refuse_nameless(table: pd.DataFrame, path: str | Path) -> None:
    if "" in table:
        place = table.columns.get_loc("") + 1
        raise TableError(
            f"{path}: column {place} has no name in the first line (it holds {table[''].iloc[0]!r}). Name or remove it."
        )
