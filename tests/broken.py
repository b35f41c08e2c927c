"""Tables of numbers as people have them: forms that change nothing, forms that break a table, arrays, matrices."""

import gzip
import io
import pickle

import numpy as np

NAMES = ["Precentral gyrus L", "Precentral gyrus R", "Heschl's gyrus L", "Größer", "Putamen L", "7Networks_LH_Vis_1"]


def cells(values, names=NAMES) -> list[list[str]]:
    rows = [[f"{value:.3f}" for value in row] for row in values]
    return [list(names), *rows] if names is not None else rows


def joined(rows, separator="\t", end="\n", before="", after="") -> str:
    return "".join(f"{before}{separator.join(row)}{after}{end}" for row in rows)


def quoted(rows, separator):
    return joined([[f'"{cell}"' for cell in row] for row in rows], separator)


def permuted(rows):
    return [[row[k] for k in (3, 1, 5, 0, 4, 2)] for row in rows]


HARMLESS = {
    "as it is": lambda rows: joined(rows).encode(),
    "byte-order mark": lambda rows: b"\xef\xbb\xbf" + joined(rows).encode(),
    "UTF-16": lambda rows: joined(rows).encode("utf-16"),
    "CRLF": lambda rows: joined(rows, end="\r\n").encode(),
    "old Macintosh": lambda rows: joined(rows, end="\r").encode(),
    "a tab at the end of every line": lambda rows: joined(rows, after="\t").encode(),
    "a tab at the end of every row": lambda rows: (joined(rows[:1]) + joined(rows[1:], after="\t")).encode(),
    "a tab at the end of the first line": lambda rows: (joined(rows[:1], after="\t") + joined(rows[1:])).encode(),
    "semicolons": lambda rows: joined(rows, ";").encode(),
    "commas": lambda rows: joined(rows, ",").encode(),
    "a comma at the end of every line": lambda rows: joined(rows, ",", after=",").encode(),
    "commas and blanks": lambda rows: joined(rows, ", ").encode(),
    "quotes": lambda rows: quoted(rows, ",").encode(),
    "quotes in a TSV": lambda rows: quoted(rows, "\t").encode(),
    "quotes and blanks": lambda rows: quoted(rows, " ").encode(),
    "another order": lambda rows: joined(permuted(rows)).encode(),
    "index of pandas": lambda rows: joined(
        [["", *rows[0]], *([str(k), *row] for k, row in enumerate(rows[1:]))]
    ).encode(),
    "index of times": lambda rows: joined(
        [["", *rows[0]], *([str(0.8 * k), *row] for k, row in enumerate(rows[1:]))]
    ).encode(),
    "another column, of words": lambda rows: joined([["run", *rows[0]], *(["one", *row] for row in rows[1:])]).encode(),
    "numpy.savetxt": lambda rows: ("# " + joined(rows)).encode(),
    "comments above and below": lambda rows: ("# made by x\n# y\tz\n" + joined(rows) + "# end\n").encode(),
    "empty lines below": lambda rows: (joined(rows) + "\n\n\t\t\t\n").encode(),
    "an empty line above": lambda rows: ("\n" + joined(rows)).encode(),
    "no line end at the end": lambda rows: joined(rows).encode().rstrip(b"\n"),
    "blanks around": lambda rows: joined(rows, " \t ").encode(),
    "Excel's word": lambda rows: ("sep=;\n" + joined(rows, ";")).encode(),
    "packed": lambda rows: gzip.compress(joined(rows).encode()),
    "invisible characters": lambda rows: joined(rows, "\u200b\t\ufeff").encode(),
}


def changed(rows, line, column, cell) -> bytes:
    """A table with another cell; line from 1, as in the file."""
    rows = [list(row) for row in rows]
    rows[line - 1][column - 1] = cell
    return joined(rows).encode()


def without(rows, line, by) -> bytes:
    lines = joined(rows).split("\n")
    lines[line - 1 : line] = by
    return "\n".join(lines).encode()


HARMFUL = {
    "a tab less": (lambda rows: joined([*rows[:9], rows[9][1:], *rows[10:]]).encode(), "line 10: 5 cells, .* has 6"),
    "a tab more": (lambda rows: joined([*rows[:9], ["", *rows[9]], *rows[10:]]).encode(), "line 10: 7 cells"),
    "a tab at the end of one": (lambda rows: without(rows, 4, ["\t".join(rows[3]) + "\t"]), "line 4: 7 cells"),
    "R's names of rows": (
        lambda rows: joined([rows[0], *([str(k), *row] for k, row in enumerate(rows[1:]))]).encode(),
        "line 2: 7 cells.*index without a name",
    ),
    "R's names of rows, and a last region without values": (
        lambda rows: joined([rows[0], *([str(k), *row[:-1], ""] for k, row in enumerate(rows[1:], 1))]).encode(),
        "line 2: 7 cells.*index without a name",
    ),
    "cut last line": (lambda rows: joined(rows).encode()[:-30], r"line 41: \d cells.*cut short"),
    "empty line": (lambda rows: without(rows, 7, ["", "\t".join(rows[6])]), "line 7 is empty"),
    "line of tabs": (lambda rows: without(rows, 8, ["\t" * 5]), "line 8 is empty"),
    "commented volume": (lambda rows: without(rows, 9, ["#" + "\t".join(rows[8])]), "line 9 is empty or a comment"),
    "name twice": (lambda rows: changed(rows, 1, 3, NAMES[0]), "Precentral gyrus L stands over 2 columns \\(1, 3"),
    "column without a name": (lambda rows: changed(rows, 1, 3, ""), "column 3 has no name"),
    "words": (lambda rows: changed(rows, 5, 2, "abc"), r"line 5, column 2 \(Precentral gyrus R\) holds 'abc'"),
    "a long word": (lambda rows: changed(rows, 5, 2, "x" * 2_000_000), "line 5, column 2 .* holds 'xxxxxxx"),
    "True": (lambda rows: changed(rows, 5, 2, "True"), "line 5, column 2 .*holds 'True'"),
    "True throughout": (
        lambda rows: joined([rows[0], *(["True", *row[1:]] for row in rows[1:])]).encode(), "line 2, column 1 .*'True'"
    ),
    "complex": (lambda rows: changed(rows, 6, 1, "1+2j"), r"complex numbers \(1\+2j; first: line 6, column 1"),
    "hexadecimal": (lambda rows: changed(rows, 6, 1, "0x1A"), "line 6, column 1 .*0x1A"),
    "Fortran": (lambda rows: changed(rows, 6, 1, "1.0D+03"), "line 6, column 1 .*1.0D"),
    "underscores": (lambda rows: changed(rows, 6, 1, "1_000"), "line 6, column 1 .*1_000"),
    "a lone quote": (lambda rows: changed(rows, 6, 1, '"1000'), "line 6, column 1 .*1000"),
    "another minus": (lambda rows: changed(rows, 6, 1, "\u22125"), "line 6, column 1"),
    "thousands": (lambda rows: changed(rows, 6, 4, "1,000.5"), r"thousands separators \(1,000\.5\).*line 6, column 4"),
    "decimal commas": (lambda rows: joined(rows).replace(".", ",").encode(), r"commas \(\d+,\d+\).*line 2, col"),
    "one decimal comma": (lambda rows: changed(rows, 30, 6, "1003,205"), r"decimal commas \(1003,205\).*line 30, col"),
    "semicolons, decimal commas": (lambda rows: joined(rows, ";").replace(".", ",").encode(), "commas .*line 2"),
    "quoted decimal commas": (lambda rows: quoted(rows, ",").replace(".", ",").encode(), "decimal commas .*line 2"),
    "commas, decimal commas": (lambda rows: joined(rows, ",").replace(".", ",").encode(), "12 cells.*Decimal commas"),
    "NUL": (lambda rows: joined(rows).encode()[:300] + b"\0" + joined(rows).encode()[300:], r"line \d+: holds NUL"),
    "Latin-1": (lambda rows: joined(rows).encode("latin-1"), "not UTF-8"),
    "UTF-16 without its mark": (lambda rows: joined(rows).encode("utf-16-le"), "NUL|not UTF-8"),
    "empty": (lambda rows: b"", "is empty"),
    "blank lines only": (lambda rows: b"\n\n \n", "is empty"),
    "names only": (lambda rows: joined(rows[:1]).encode(), "no rows"),
    "an error page": (lambda rows: b"<html>\n<body>Permission denied</body>\n</html>\n", "it is a web page"),
    "an image": (lambda rows: gzip.compress(b"\x5c\x01\0\0" * 99), "packed with gzip"),
    "a million columns": (lambda rows: b"1\t" * 1_000_000 + b"1\n", "1,000,001 columns"),
    "transposed": (lambda rows: joined(np.array(rows).T.tolist()).encode(), "transposed"),
}  # fmt: skip


class Trap:
    """Whoever unpickles it leaves a file."""

    def __reduce__(self):
        return (open, ("trapped", "w"))


def saved(array, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


ARRAYS = {
    "complex": (lambda x: saved(x + 1j), "complex numbers"),
    "objects": (lambda x: saved(np.array([[Trap()]]), allow_pickle=True), "array of object"),
    "a pickle": (lambda x: pickle.dumps(Trap()), "cannot be read as an array"),
    "structured": (lambda x: saved(np.zeros((3, 2), [("a", float)])), r"array of \[\('a'"),
    "words": (lambda x: saved(x.astype(str)), "array of <U"),
    "truth values": (lambda x: saved(x > 1000), "array of bool"),
    "three axes": (lambda x: saved(x[None]), r"shape \(1, 40, 6\)"),
    "header only": (lambda x: saved(x)[:128], r"holds 0 of 1,920 bytes"),
    "cut": (lambda x: saved(x)[:-8], "cut short"),
    "a header that promises terabytes": (
        lambda x: saved(x).replace(b"(40, 6), }" + b" " * 10, b"(4000000000, 600), }"), "holds .* cut short"
    ),
    "empty": (lambda x: b"", "cannot be read as an array"),
    "text": (lambda x: b"1 2 3\n", "cannot be read as an array"),
}  # fmt: skip


def matrix(size=6, kind="correlations") -> np.ndarray:
    x = np.random.default_rng(1).normal(size=(50, size))
    r = np.corrcoef(x.T)
    if kind == "fisher z":
        with np.errstate(divide="ignore"):
            return np.arctanh(r)
    if kind == "covariances":
        return np.cov(x.T)
    if kind == "graph":
        return ((r > 0) & ~np.eye(size, dtype=bool)).astype(float)
    if kind == "no diagonal":
        return r - np.eye(size)
    return np.triu(r) if kind == "upper half" else np.tril(r, -1) if kind == "lower half" else r
