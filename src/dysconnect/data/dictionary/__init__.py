"""What every column of every table of the results means: one list, read by sidecars and by the reference.

A package of its own, so that another wording reruns nothing but what shows it (`dysconnect.keeping.code`).
"""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

LIST = Path(__file__).with_name("columns.tsv")
DESCRIBED = (  # one a person
    "*/series/*.tsv", "timeseries/sub-*/func/*.tsv", "preprocess/coverage/*.tsv", "preprocess/participants/*.tsv",
    "tractography/participants/*.tsv", "tractography/matrices/*.tsv",
)  # fmt: skip


class Column(NamedTuple):
    """A row of the list; `*` in tables and column stands for any name."""

    tables: str
    column: str
    unit: str
    meaning: str
    levels: str

    def is_of(self, table: str) -> bool:
        """Whether a table, named from the folder of the data set, has it."""
        parts = table.split("/")
        return any(
            len(parts) == len(pattern.split("/")) and all(map(fnmatchcase, parts, pattern.split("/")))
            for pattern in self.tables.split()
        )


@cache
def columns() -> tuple[Column, ...]:
    """All rows of the list."""
    return tuple(Column(*line.split("\t")) for line in LIST.read_text(encoding="utf-8").splitlines()[1:])


def meanings(table: str, names: Sequence[str]) -> dict[str, list[Column]]:
    """Rows that describe each column of a table: those of its very name, or else those of a pattern.

    Parameters
    ----------
    table : str
        Path from the folder of the data set, ``localize/edges.tsv``.
    names : sequence of str
        Head of the table.
    """
    rows = [row for row in columns() if row.is_of(table)]
    exact = {name: [row for row in rows if row.column == name] for name in names}
    return {name: exact[name] or [row for row in rows if fnmatchcase(name, row.column)] for name in names}


def sidecar(table: str, names: Sequence[str]) -> dict[str, dict]:
    """Columns of a table as BIDS describes them: ``Description``, ``Units``, ``Levels``.

    Raises
    ------
    ValueError
        When a column has no description, or several.
    """
    described = meanings(table, names)
    for name, rows in described.items():
        if len(rows) != 1:
            raise ValueError(f"{table}: column {name} has {len(rows)} descriptions; it needs one row in {LIST.name}.")
    return {name: _entry(rows[0]) for name, rows in described.items()}


def _entry(row: Column) -> dict:
    entry: dict = {"Description": row.meaning}
    if row.unit:
        entry["Units"] = row.unit
    if row.levels:
        pairs = (level.strip().partition(":") for level in row.levels.split(";"))
        entry["Levels"] = {value: (meaning or value).strip() for value, _, meaning in pairs}
    return entry


def place(table: Path) -> Path:
    """Where the description of a table goes: beside it, and aside where a result has that name.

    A result ``edges.json`` is what a stage says of its table. It stays what it is: the description is then
    ``edges_columns.json``.
    """
    plain = table.with_suffix(".json")
    aside = table.with_name(f"{table.stem}_columns.json")
    return aside if plain.exists() and not _describes(plain) else plain


def _describes(path: Path) -> bool:
    content = json.loads(path.read_text(encoding="utf-8"))
    return bool(content) and all(isinstance(own, dict) and "Description" in own for own in content.values())


def describe(folder: str | Path) -> dict[str, dict]:
    """Write the description of every table of a data set beside it, and return all by table.

    Beside tables that there is one of a person (series, coverage) nothing is written: series have their sidecars. Nor
    beside the batches of the validation, which its scores join.

    Parameters
    ----------
    folder : path
        ``results/DATASET``.
    """
    described = {}
    for path in sorted(Path(folder).rglob("*.tsv")):
        table = path.relative_to(folder).as_posix()
        if any(fnmatchcase(table, pattern) for pattern in DESCRIBED) or "batches" in path.parts:
            continue
        head = path.open(encoding="utf-8").readline().rstrip("\r\n").split("\t")
        known = [name for name, rows in meanings(table, head).items() if len(rows) == 1]  # others stop no run
        described[table] = sidecar(table, known)
        text = json.dumps(described[table], indent=1, ensure_ascii=False)
        place(path).write_text(text, encoding="utf-8")
    return described
