"""Manifests: which files of a dataset are wanted, how many bytes, which hash, and where they can be had.

A manifest is a tab-separated table with one row a file, in the order of `path`:

============== ======================================================================================
participant_id empty for files of the whole dataset
group          clinical label of the participant, so that whom to fetch can be chosen before fetching
path           relative to the data folder, with ``/``
bytes          size; empty when nobody published it
hash           ``sha256:HEX``, ``md5:HEX`` or ``git:HEX`` (a git blob id); empty: trust on first use
version_id     of the object in S3; empty when it is not versioned
urls           complete https addresses in the order to try, separated by spaces
============== ======================================================================================

`python -m dysconnect.acquire.manifest DATASET TAG` makes one; see `build`.
"""

import csv
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from dysconnect.reading.bids import read_name, same

COLUMNS = ("participant_id", "group", "path", "bytes", "hash", "version_id", "urls")
HASHES = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}|git:[0-9a-f]{40}|")
UNSAFE = re.compile(r"[\\\x00-\x1f\x7f]|^[A-Za-z]:")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ManifestError(ValueError):
    """A manifest cannot be read or made; the message says where and what to do."""


def read_manifest(path: str | Path) -> pd.DataFrame:
    """Read and check a manifest.

    Parameters
    ----------
    path : path
        Tab-separated table with the columns of this module's description.

    Returns
    -------
    DataFrame
        `bytes` as nullable integers, everything else as strings (empty where nothing is known).

    Raises
    ------
    FileNotFoundError
        When there is no such file; the message gives the command that makes it.
    ManifestError
        When a column is missing or a row is unsafe or wrong; the message names file, line and remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such manifest. Make it with `python -m dysconnect.acquire.manifest {path.stem} TAG` "
            "(TAG as in `dataset.tag`; it needs the network, or --clone with a git clone of the dataset)."
        )
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE)
    if tuple(table.columns) != COLUMNS:
        raise ManifestError(f"{path}, line 1: columns are {', '.join(table.columns)}; expected {', '.join(COLUMNS)}.")
    for line, row in enumerate(table.itertuples(index=False), start=2):
        problem = _problem(row)
        if problem:
            raise ManifestError(f"{path}, line {line}: {problem} Correct the line, or make the manifest anew.")
    _check_whole(table, path)
    table["bytes"] = pd.to_numeric(table["bytes"].replace("", pd.NA)).astype("Int64")
    return table


def _problem(row) -> str:
    """Say what is wrong with one row; an empty string when nothing is."""
    if not safe_path(row.path):
        return f"path {row.path!r} could leave the data folder (absolute, '..', backslash or control character)."
    if row.bytes and not (row.bytes.isascii() and row.bytes.isdigit() and int(row.bytes) > 0):
        return f"{row.path}: bytes is {row.bytes!r}; expected a number above 0, or nothing."
    if not HASHES.fullmatch(row.hash):
        return f"{row.path}: hash is {row.hash!r}; expected sha256:HEX, md5:HEX, git:HEX or nothing."
    bad = [url for url in row.urls.split(" ") if not safe_url(url)]
    if bad:
        return f"{row.path}: url is {bad[0]!r}; expected https addresses without credentials, one space between them."
    if row.participant_id and not row.path.startswith(f"{row.participant_id}/"):
        return f"{row.path}: lies outside of the participant's folder {row.participant_id}/."
    if bool(row.participant_id) != bool(row.group):
        return f"{row.path}: participant {row.participant_id!r} has group {row.group!r}; give both, or neither."
    return ""


def _check_whole(table: pd.DataFrame, where: Path) -> None:
    """Refuse what only several rows together can show: no rows, a path twice, a participant in two groups."""
    if table.empty:
        raise ManifestError(f"{where}: no files. Make it anew, with patterns that match something.")
    twice = table["path"][table["path"].duplicated()]
    if len(twice):
        raise ManifestError(f"{where}, line {twice.index[0] + 2}: {twice.iloc[0]} is listed twice. Keep one line.")
    people = table[table["participant_id"] != ""].drop_duplicates(["participant_id", "group"])
    torn = people[people["participant_id"].duplicated()]
    if len(torn):
        row = torn.iloc[0]
        raise ManifestError(
            f"{where}, line {torn.index[0] + 2}: {row['participant_id']} is in group {row['group']} here and in "
            "another one above. Give every participant one group."
        )


def safe_path(path: str) -> bool:
    """Tell whether a path stays below the folder that it is joined to."""
    return not UNSAFE.search(path) and all(part not in ("", ".", "..") for part in path.split("/"))


def safe_url(url: str) -> bool:
    """Tell whether an address is https (http on this machine only) and holds no credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return bool(secure and parts.hostname and parts.username is None)


def of_task(table: pd.DataFrame, task: str | None) -> pd.DataFrame:
    """Rows that one task needs: its scans and what belongs to them, and whatever is of no task; all where it has none.

    Parameters
    ----------
    table : DataFrame
        Manifest.
    task : str or None
        As in the file names; None for any.
    """
    tasks = [read_name(path).entities.get("task") for path in table["path"]]
    if not any(same("task", each, task) for each in tasks if each):
        return table
    return table[[not each or same("task", each, task) for each in tasks]]


def write_manifest(table: pd.DataFrame, path: str | Path) -> None:
    """Write a manifest in the place of the old one, which stays whole until then."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        table.to_csv(part, sep="\t", index=False, columns=list(COLUMNS), lineterminator="\n", quoting=csv.QUOTE_NONE)
        read_manifest(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def describe_changes(old: pd.DataFrame, new: pd.DataFrame, shown: int = 10) -> list[str]:
    """Say in lines which files a new manifest adds, removes and changes.

    Parameters
    ----------
    old, new : DataFrame
        Manifests.
    shown : int
        At most so many files of each kind are named.
    """
    before, after = old.set_index("path"), new.set_index("path")
    both = after.index.intersection(before.index)
    content = _differ(before, after, both, ["bytes", "hash"])
    versions = _differ(before, after, both, ["version_id"]).difference(content)  # urls differ with every tag
    groups = _differ(before, after, both, ["group"])
    kinds = {
        "added": after.index.difference(before.index),
        "removed": before.index.difference(after.index),
        "with other content": content,
        "with another S3 version of the same content": versions,
        "whose participant has another group": groups,
    }
    lines = []
    for kind, paths in kinds.items():
        if len(paths):
            lines += [f"{len(paths)} {'file' if len(paths) == 1 else 'files'} {kind}:"]
            lines += [f"  {path}" for path in sorted(paths)[:shown]] + ["  ..."] * (len(paths) > shown)
    return lines or ["the same files with the same content"]


def _differ(before: pd.DataFrame, after: pd.DataFrame, both: pd.Index, columns: list[str]) -> pd.Index:
    texts = [frame.loc[both, columns].astype(str) for frame in (before, after)]
    return both[(texts[0] != texts[1]).any(axis=1)]
