"""Read a published table of connections: one correlation a person, session and pair of regions; no series.

Coding of the cerebellar-degeneration table (Nettekoven et al. 2024, doi:10.1101/2024.07.05.602300): group `p` is a
patient, `c` a control; sex `m` or `f`; a pair is written ``ppc-left_cereb-M3-right``.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.selection import select

GROUPS = {"p": "patient", "c": "control"}
COLUMNS = ("subject", "session", "group", "regions", "connectivity")
OWN = {"condition": "condition", "TIV": "tiv"}  # training condition; total intracranial volume, ml


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
    table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(("subject", "session", "group", "regions"), str))
    absent = [name for name in COLUMNS if name not in table]
    if absent:
        raise ValueError(f"{path}: missing column {', '.join(absent)}. Use the table of the release that is pinned.")
    value = pd.to_numeric(table["connectivity"], errors="coerce")
    wrong = np.flatnonzero(~(value.abs() <= 1))
    if len(wrong):
        found = table["connectivity"].iloc[wrong[0]]
        raise ValueError(f"{path}, line {wrong[0] + 2}: connectivity is {found}, no correlation between -1 and 1.")
    twice = table.duplicated(["subject", "session", "regions"])
    if twice.any():
        row = table[twice].iloc[0]
        raise ValueError(f"{path}: {row['subject']} {row['session']} has {row['regions']} twice. Keep one.")
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
        Everybody of the table. Age and sex are missing where `people` is None. There is one site.
    edges : DataFrame
        `participant_id`, `region_a`, `region_b` (names of the atlas) and `connectivity` (Pearson's r) of the session.
    """
    table = read_connections(_existing(folder, spec["connections"]))
    if spec["session"] not in set(table["session"]):
        known = ", ".join(sorted(table["session"].unique()))
        raise ValueError(f"dataset.session={spec['session']}: no such session (found: {known}). Choose one of them.")
    participants = _participants(table, spec, folder)
    own = table[table["session"] == spec["session"]]
    pairs = own["regions"].str.split("_", n=1, expand=True)
    names = _names(nodes, np.unique(pairs.to_numpy()))
    edges = pd.DataFrame(
        {
            "participant_id": own["subject"],
            "region_a": pairs[0].map(names),
            "region_b": pairs[1].map(names),
            "connectivity": own["connectivity"],
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


def _participants(table: pd.DataFrame, spec: Mapping, folder: Path) -> pd.DataFrame:
    """One row a person, with age and sex from the second table."""
    people = table.drop_duplicates("subject").sort_values("subject").reset_index(drop=True)
    known = _ages(folder, spec["people"]).reindex(people["subject"])
    participants = pd.DataFrame(
        {
            "participant_id": people["subject"],
            "group": people["group"].map(GROUPS),
            "age": known["age"].to_numpy(float),
            "sex": known["sex"].str.upper().to_numpy(object),
            "site": spec["name"],  # one scanner, which the table does not name
            **{own: people[name] for name, own in OWN.items() if name in people},
            "scan_group": people["subject"],
        }
    )
    reasons = select(participants, spec)
    return participants.assign(exclusion_reason=participants["participant_id"].map(reasons))


def _ages(folder: Path, file: Mapping | None) -> pd.DataFrame:
    """Age (years) and sex by person; no rows where there is no such table."""
    if file is None:
        return pd.DataFrame({"age": pd.Series(dtype=float), "sex": pd.Series(dtype=object)})
    path = _existing(folder, file)
    table = pd.read_csv(path, sep="\t")
    absent = [name for name in ("subject", "age", "sex") if name not in table]
    if absent:
        raise ValueError(f"{path}: missing column {', '.join(absent)}. Use the table of the release that is pinned.")
    return table.drop_duplicates("subject").set_index("subject")[["age", "sex"]]


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
