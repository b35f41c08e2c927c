"""One table in many forms: the harmless ones give the same cells, every harmful one is refused with file and line."""

import random

import pandas as pd
import pytest

from dysconnect.reading.tables import TableError, clean, read_table

NAMES = ["participant_id", "group", "age", "sex", "notes"]


def cells_of(rng: random.Random) -> list[list[str]]:
    """Rows of a table; a cell may be empty, hold blanks, marks, commas or letters of other alphabets."""
    notes = ["", "n/a", "first scan", "5'10\" tall", "a, b; c", "größer", "д", "#3", "0", "- - -"]
    rows = range(1, rng.randint(3, 7))
    return [[f"sub-{k:02d}", rng.choice("PC"), f"{rng.uniform(18, 90):.3f}", "F", rng.choice(notes)] for k in rows]


def written(rows: list[list[str]], separator: str = "\t", end: str = "\n", names=NAMES) -> str:
    return "".join(separator.join(cells) + end for cells in [names, *rows])


def quoted(rows, mark='"'):
    return [[f"{mark}{cell}{mark}" for cell in cells] for cells in rows]


HARMLESS = {
    "as it is": lambda rows: written(rows).encode(),
    "byte-order mark": lambda rows: written(rows).encode("utf-8-sig"),
    "UTF-16 with its mark": lambda rows: written(rows).encode("utf-16"),
    "UTF-16, big end first": lambda rows: b"\xfe\xff" + written(rows).encode("utf-16-be"),
    "UTF-32 with its mark": lambda rows: written(rows).encode("utf-32"),
    "CRLF": lambda rows: written(rows, end="\r\n").encode(),
    "CR": lambda rows: written(rows, end="\r").encode(),
    "no last line end": lambda rows: written(rows).rstrip("\n").encode(),
    "a tab after every row": lambda rows: written([[*c, ""] for c in rows]).encode(),
    "a tab after every line": lambda rows: written([[*c, ""] for c in rows], names=[*NAMES, ""]).encode(),
    "a tab after the names": lambda rows: written(rows, names=[*NAMES, ""]).encode(),
    "an index from 0": lambda rows: written([[str(k), *c] for k, c in enumerate(rows)], names=["", *NAMES]).encode(),
    "an index with gaps": lambda rows: written(
        [[str(3 * k + 2), *c] for k, c in enumerate(rows)], names=["", *NAMES]
    ).encode(),
    "a # before the names": lambda rows: ("#" + written(rows)).encode(),
    "a # and a tab after every row": lambda rows: ("# " + written([[*c, ""] for c in rows])).encode(),
    "a comment above": lambda rows: ("# exported by a program\n" + written(rows)).encode(),
    "blanks around": lambda rows: written([[f"  {cell}\u00a0" for cell in c] for c in rows]).encode(),
    "nothing to be seen around": lambda rows: written([[f"\u200b{cell}\ufeff" for cell in c] for c in rows]).encode(),
    "empty lines": lambda rows: ("\n" + written(rows).replace("sub-02", "\n\nsub-02") + "\n \n\n").encode(),
    "rows of tabs": lambda rows: (written(rows) + "\t\t\t\t\n" * 3).encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", HARMLESS)
@pytest.mark.parametrize("seed", range(3))
def test_harmless_forms_give_the_same_cells(tmp_path, form, seed):
    rows = cells_of(random.Random(seed))
    rows[0][-1] = rows[0][-1] or "x"  # else the last column may be empty, and a tab at the end could belong to it
    (tmp_path / "t.tsv").write_bytes(HARMLESS[form](rows))
    table = read_table(tmp_path / "t.tsv")
    assert table.columns.tolist() == NAMES
    assert table.to_numpy().tolist() == rows


@pytest.mark.parametrize("seed", range(3))
def test_quoted_cells_and_the_order_of_columns_change_nothing(tmp_path, seed):
    rng = random.Random(seed)
    rows = [[cell.replace('"', "").replace("'", "") or "n/a" for cell in cells] for cells in cells_of(rng)]
    order = rng.sample(range(len(NAMES)), len(NAMES))
    for mark in "\"'":
        text = written(quoted(rows, mark), names=quoted([NAMES], mark)[0])
        (tmp_path / "t.tsv").write_text(text)
        assert read_table(tmp_path / "t.tsv").to_numpy().tolist() == rows
    shuffled = written([[cells[k] for k in order] for cells in rows], names=[NAMES[k] for k in order])
    (tmp_path / "t.tsv").write_text(shuffled)
    assert read_table(tmp_path / "t.tsv")[NAMES].to_numpy().tolist() == rows


def test_lines_are_those_of_the_file(tmp_path):
    (tmp_path / "t.tsv").write_text("# a\n\nx\ty\n1\t2\n\n\t\n3\t4\n")
    assert read_table(tmp_path / "t.tsv").index.tolist() == [4, 7]


@pytest.mark.parametrize("separator", [",", ";"])
def test_commas_stand_inside_quotes(tmp_path, separator):
    (tmp_path / "t.csv").write_text(f'a{separator}b\n"x{separator} y"{separator}"he said ""no"""\n')
    assert read_table(tmp_path / "t.csv", separator).to_numpy().tolist() == [[f"x{separator} y", 'he said "no"']]


@pytest.mark.parametrize(
    ("cell", "left"),
    [
        (" a ", "a"), ('"a"', "a"), ("'a'", "a"), ('""', ""), ("''", "''"), ('"', '"'), ('"a', '"a'),
        ('"a" and "b"', '"a" and "b"'), ("'s", "'s"), ('"a ""b"" c"', 'a "b" c'), ("\u200b\u00a0a\ufeff ", "a"),
    ],
)  # fmt: skip
def test_quotes_are_taken_off_whole_cells_only(cell, left):
    assert clean(cell) == left


def one(rows, k, change):
    """The table with one row changed."""
    return written([change(list(cells)) if n == k else cells for n, cells in enumerate(rows)])


HARMFUL = {
    "a doubled tab": (lambda rows, k: one(rows, k, lambda c: [c[0], "", *c[1:]]).encode(), "6 cells, but the first"),
    "a tab at the end of one row": (lambda rows, k: one(rows, k, lambda c: [*c, ""]).encode(), "6 cells, but"),
    "a lost tab": (lambda rows, k: one(rows, k, lambda c: [c[0] + c[1], *c[2:]]).encode(), "4 cells, but the first"),
    "blanks for a tab": (lambda rows, k: one(rows, k, lambda c: [f"{c[0]}    {c[1]}", *c[2:]]).encode(), "4 cells"),
    "a merged cell": (lambda rows, k: one(rows, k, lambda c: c[:3]).encode(), "3 cells, but the first line has 5"),
    "a line break in a cell": (lambda rows, k: one(rows, k, lambda c: [*c[:4], '"a\nb"']).encode(), "1 cells, but"),
    "a line break in the middle": (lambda rows, k: one(rows, k, lambda c: [c[0], "a\nb", *c[2:]]).encode(), "2 cells"),
    "Latin-1": (lambda rows, k: one(rows, k, lambda c: [*c[:4], "größer"]).encode("latin-1"), "0xf6 is not UTF-8"),
    "Windows-1252, CR": (
        lambda rows, k: one(rows, k, lambda c: [*c[:4], "–"]).replace("\n", "\r").encode("cp1252"), "0x96 is not UTF-8"
    ),
    "NUL": (lambda rows, k: one(rows, k, lambda c: [*c[:4], "a\x00"]).encode(), "holds NUL characters"),
}  # fmt: skip


@pytest.mark.parametrize("form", HARMFUL)
@pytest.mark.parametrize("seed", range(4))
def test_what_shifts_a_row_is_refused_with_file_and_line(tmp_path, form, seed):
    rng = random.Random(seed)
    rows = [[cell if cell.isascii() else "x" for cell in cells] for cells in cells_of(rng)]
    place = rng.randrange(len(rows))
    make, message = HARMFUL[form]
    (tmp_path / "t.tsv").write_bytes(make(rows, place))
    line = place + 2 + (form == "a line break in a cell")
    with pytest.raises(TableError, match=rf"t\.tsv, line {line}: .*{message}"):
        read_table(tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\n1\t2\n3", r"line 3: 1 cells, but the first line has 2\. A tab too few"),
        (b"a\tb\ta\n1\t2\t3\n", r"line 1: the name a stands over 2 columns \(1, 3\)"),
        (b"a\t\tb\t\n1\t2\t3\t4\n", r"line 1: there is no name over 2 columns \(2, 4\)"),
        (b"a\t\tb\n1\tx\t3\n", r"column 2 has no name .*'x'"),
        (b"a\tb\nr1\t1\t2\nr2\t3\t4\n", r"line 2: 3 cells.*index without a name.*row\.names=FALSE"),
        (b"a,b,c\n1,2,3\n", "line 1: the columns are not separated by tabs, as BIDS wants them, but by commas"),
        (b"a;b;c\n1;2;3\n", "but by semicolons"),
        (b"a b c\n1 2 3\n", "but by blanks"),
        ("a\tb\n1\t2\n".encode("utf-16-le"), "line 1: holds NUL characters.*UTF-16 without its mark"),
        ("a\tb\n1\t2\n".encode("utf-16")[:-1], "begins as UTF-16 and is damaged or cut short"),
        (b"", "is empty"),
        (b"\n\t\t\n  \n", "is empty"),
        (b"PK\x03\x04....", "a workbook of a spreadsheet"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s12--abc.tsv\n", "datalad get"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(TableError, match=rf"t\.tsv.*{message}"):
        read_table(tmp_path / "t.tsv")


def test_a_quotation_mark_that_is_not_closed_is_refused_between_commas(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,2\n"3,4\n')
    with pytest.raises(TableError, match=r"t\.csv, line 3: a quotation mark is not closed"):
        read_table(tmp_path / "t.csv", ",")


def test_a_lone_quotation_mark_between_tabs_swallows_nothing(tmp_path):
    (tmp_path / "t.tsv").write_text('a\tb\n1\t"\n2\tx\n3\t"\n')
    assert read_table(tmp_path / "t.tsv")["b"].tolist() == ['"', "x", '"']


def test_an_empty_column_and_a_tab_at_every_end_are_not_told_apart(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\tc\n1\t\t2\t\n3\t\t4\t\n")
    with pytest.raises(TableError, match="line 2: 4 cells"):
        read_table(tmp_path / "t.tsv")


def test_numbers_of_the_rows_and_a_last_column_without_values_are_not_told_apart_from_tabs(tmp_path):
    """R writes the numbers of the rows under no name: with an empty last column they look like tabs at every end."""
    (tmp_path / "t.tsv").write_text('a\tb\tc\n"1"\tx\ty\t\n"2"\tz\tw\t\n')
    with pytest.raises(TableError, match=r"line 2: 4 cells, but the first line has 3.*row.names=FALSE"):
        read_table(tmp_path / "t.tsv")


def test_a_column_that_is_needed_is_named_with_those_that_are_there(tmp_path):
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    with pytest.raises(TableError, match=r"t\.tsv: missing columns b, c \(found: a\)"):
        read_table(tmp_path / "t.tsv", required=["a", "b", "c"])
