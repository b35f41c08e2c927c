"""Who has withdrawn: a list in the project, ``withdrawn.tsv``, that every run reads, for every kind of dataset.

It holds a dataset and an id a line and nothing else, and lies beside the results, so that it outlives them.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dysconnect.acquire import Acquired

FILE = "withdrawn.tsv"
HEADER = ["dataset", "participant_id"]


def read_withdrawn(project: str | Path, dataset: str) -> list[str]:
    """Return the ids of those who have withdrawn from a dataset, as written; empty where there is no list.

    Raises
    ------
    ValueError
        As `withdrawals`.
    """
    return [name for left, name in withdrawals(project) if left == dataset]


def withdrawals(project: str | Path) -> list[tuple[str, str]]:
    """Read the list of a project: dataset and id.

    Raises
    ------
    ValueError
        With the line that cannot be read: nobody who has withdrawn is overlooked.
    """
    path = Path(project, FILE)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    rows = [line.rstrip().split("\t") for line in lines]
    if rows[:1] != [HEADER]:
        raise ValueError(f"{path}: the first line must be dataset, a tab, participant_id. Correct the list.")
    for number, row in enumerate(rows, 1):
        if row != [""] and (len(row) != 2 or not all(cell.strip() for cell in row)):
            raise ValueError(f"{path}, line {number}: expected a dataset, a tab and an id. Correct the list.")
    return [(row[0].strip(), row[1].strip()) for row in rows[1:] if row != [""]]


def add_withdrawn(project: str | Path, dataset: str, name: str) -> None:
    """Add somebody to the list, once."""
    if name in read_withdrawn(project, dataset):
        return
    path = Path(project, FILE)
    before = path.read_text(encoding="utf-8-sig") if path.exists() else "\t".join(HEADER)
    path.write_text(f"{before.rstrip()}\n{dataset}\t{name}\n", encoding="utf-8")


def without(acquired: "Acquired", names: Sequence[str], folder: str | Path) -> "Acquired":
    """Leave out those who have withdrawn: their rows, and the series that were made of them in `folder`."""
    for path in Path(folder).glob("*") if names else ():
        if any(is_of(name, path.name) for name in names):
            path.unlink()
    for name in sorted(set(names) - set(acquired.participants["participant_id"])):
        print(f"{FILE}: {name} is not in this dataset: no longer, or the id is misspelt.", flush=True)
    kept = {}
    for table in ("participants", "index", "carriers"):
        rows = getattr(acquired, table)
        if rows is not None and "participant_id" in rows:
            kept[table] = rows[~rows["participant_id"].isin(names)].reset_index(drop=True)
    return replace(acquired, **kept)


def is_of(name: str, text: str) -> bool:
    """Whether a text holds an id as a whole word: ``sub-1`` is not in ``sub-10_bold.nii``."""
    return re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text) is not None
