"""Read a published table of connections: one correlation a person, session and pair of regions; no series.

Coding of the cerebellar-degeneration table (Nettekoven et al. 2024, doi:10.1101/2024.07.05.602300): group `p` is a
patient, `c` a control; sex `m` or `f`; a pair is written ``ppc-left_cereb-M3-right``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.people import People, read_people
from dysconnect.acquire.selection import select
from dysconnect.reading.cells import label, number
from dysconnect.reading.tables import read_table

GROUPS = {"p": "patient", "c": "control"}
COLUMNS = ("subject", "session", "group", "regions", "connectivity")
FURTHER = {"condition": "condition", "TIV": "tiv"}  # training condition; total intracranial volume, ml


def table_files(spec: Mapping) -> list[dict]:
    """List the files to fetch: `path`, `urls`, `bytes`, `hash`.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `base` (URL), `connections` and `people` (`path`, `bytes`, `hash`; `people` may be None).
    """
    files = [spec["connections"], *([spec["people"]] if spec["people"] else [])]
    return [{**file, "urls": [f"{spec['base'].rstrip('/')}/{file['path']}"]} for file in files]


def read_connections(path: str | Path) -> pd.DataFrame:
    """Read and check the table of connections.

    Returns
    -------
    DataFrame
        `subject`, `session`, `group`, `regions`, `connectivity` (Pearson's r), then the table's other columns.

    Raises
    ------
    ValueError
        When a column is missing, a value is no correlation, or a pair stands twice.
    """
    path = Path(path)
    table = read_table(path, required=COLUMNS)
    value = table["connectivity"].map(number).astype(float)
    wrong = np.flatnonzero(~(value.abs() <= 1))
    if len(wrong):
        cell = table["connectivity"].iloc[wrong[0]]
        raise ValueError(
            f"{path}, line {table.index[wrong[0]]}: connectivity is {cell}, no correlation between -1 and 1."
        )
    twice = table.duplicated(["subject", "session", "regions"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(
            f"{path}, line {row.name}: {row['subject']} {row['session']} has {row['regions']} twice. Keep one."
        )
    return table.assign(connectivity=value)


def acquire_table(spec: Mapping, folder: Path, nodes: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect participants and their connections.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `connections`, `people`, `session`, `contrast`, `limit`, `participants`.
    folder : path
        Folder of the tables.
    nodes : DataFrame, [N rows]
        Atlas table with the column `label`: the regions' names in the table of connections.

    Returns
    -------
    participants : DataFrame
        Everybody of the table, with every column of the table of people: age, sex, site (one, where it tells none),
        motion and what else is the same in all of a person's rows. Age and sex are missing where `people` is None.
    edges : DataFrame
        `participant_id`, `region_a`, `region_b` (names of the atlas) and `connectivity` (Pearson's r) of the session.
    """
    table = read_connections(_existing(folder, spec["connections"]))
    if spec["session"] not in set(table["session"]):
        known = ", ".join(sorted(table["session"].unique()))
        raise ValueError(f"dataset.session={spec['session']}: no such session (found: {known}). Choose one of them.")
    people = table_people(spec, folder, table)
    for note in people.notes:
        print(note, flush=True)
    participants = people.table.assign(scan_group=people.table["participant_id"])
    rows = table[table["session"] == spec["session"]]
    pairs = rows["regions"].str.split("_", n=1, expand=True)
    names = _names(nodes, np.unique(pairs.to_numpy()))
    edges = pd.DataFrame(
        {
            "participant_id": rows["subject"],
            "region_a": pairs[0].map(names),
            "region_b": pairs[1].map(names),
            "connectivity": rows["connectivity"],
        }
    )
    return participants, edges.reset_index(drop=True)


def _existing(folder: Path, file: Mapping) -> Path:
    path = folder / file["path"]
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such table. Set dataset.root to its folder, or to null to have it fetched."
        )
    return path


def table_people(spec: Mapping, folder: Path, table: pd.DataFrame | None = None) -> People:
    """Everybody of a table of connections, with all that the table of people tells of them; one row a person.

    Parameters
    ----------
    spec : mapping
        The `dataset` section.
    folder : path
        Of the tables.
    table : DataFrame, optional
        From `read_connections`, where it was read already.

    Raises
    ------
    ValueError
        As `read_people`.
    """
    path = _existing(folder, spec["connections"])
    table = read_connections(path) if table is None else table
    people = table.drop_duplicates("subject").sort_values("subject")
    groups = people["group"].map(lambda group: GROUPS.get(group, label(group)))
    known = pd.DataFrame({"participant_id": people["subject"], "group": groups})
    chosen = select(known, {**spec, "limit": None})
    known = known.assign(reason=known["participant_id"].map(chosen)).reset_index(drop=True)
    if spec["people"]:
        _existing(folder, spec["people"])
    read = read_people({**spec, "kind": "table"}, folder, known)
    further = {
        name: _values(people[theirs]) for theirs, name in FURTHER.items() if theirs in people and name not in read.table
    }
    limited = select(read.table.rename(columns={"exclusion_reason": "reason"}), spec)
    reasons = [old or limited[name] for name, old in read.table[["participant_id", "exclusion_reason"]].to_numpy()]
    return People(read.table.assign(**further, exclusion_reason=reasons), read.notes)


def _values(cells: pd.Series) -> np.ndarray:
    """Numbers, where a column holds nothing else."""
    numbers = cells.map(number)
    return (numbers if numbers.notna().all() else cells).to_numpy()


def _names(nodes: pd.DataFrame, labels: np.ndarray) -> dict[str, str]:
    """Region names of the atlas by the labels of the table."""
    names = dict(zip(nodes["label"], nodes["name"])) if "label" in nodes else {}
    absent = [label for label in labels if label not in names]
    if absent:
        raise ValueError(
            f"the atlas has no label {', '.join(absent[:5])}, a region of the table of connections. "
            "Choose atlas=degeneration, or add the column `label` to your own atlas."
        )
    return names
