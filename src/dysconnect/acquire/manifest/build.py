"""From a dataset's files at one tag to its manifest: selection, groups, sources."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote

import pandas as pd

from dysconnect.acquire.manifest import COLUMNS, ManifestError
from dysconnect.reading.tables import read_table

ANNEX_KEY = re.compile(r"(?P<backend>[A-Z0-9_]+)(?:-s(?P<bytes>\d+))?(?:-[mSC]\d+)*--(?P<name>[^/\s]+)")
ALGORITHMS = {"SHA256": "sha256", "SHA256E": "sha256", "MD5": "md5", "MD5E": "md5"}


@dataclass(frozen=True)
class File:
    """One file of a dataset at a tag; `text` when git itself keeps it, so that GitHub has it too."""

    path: str
    bytes: int | None
    hash: str
    version_id: str = ""
    text: bool = False


@dataclass(frozen=True)
class Snapshot:
    """The wanted files of a dataset at a tag.

    `label` is the tag, or the commit where it is none; `storage` the address of the folder in S3;
    `participants` the text of participants.tsv, "" where there is none.
    """

    label: str
    commit: str
    storage: str
    files: list[File]
    participants: str = ""


def parse_key(key: str) -> tuple[int | None, str]:
    """Take size and hash out of a git-annex key.

    Returns
    -------
    bytes : int or None
    hash : str
        ``sha256:HEX`` or ``md5:HEX``; "" for the backends that hash nothing (URL, WORM).

    Raises
    ------
    ManifestError
        When it is no key.

    References
    ----------
    https://git-annex.branchable.com/internals/key_format
    """
    match = ANNEX_KEY.fullmatch(key)
    if match is None:
        raise ManifestError(f"{key!r} is no git-annex key (BACKEND-sBYTES--HASH).")
    algorithm = ALGORITHMS.get(match["backend"])
    digest = f"{algorithm}:{match['name'].split('.')[0].lower()}" if algorithm else ""
    return int(match["bytes"]) if match["bytes"] else None, digest


def wanted(paths: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Select paths by glob patterns in which, as in a shell, ``*`` stays within one folder."""
    split = [pattern.split("/") for pattern in patterns]
    return sorted(path for path in set(paths) if any(_matches(path.split("/"), parts) for parts in split))


def _matches(path: list[str], pattern: list[str]) -> bool:
    return len(path) == len(pattern) and all(map(fnmatchcase, path, pattern))


def build_manifest(spec: Mapping, snapshot: Snapshot, borrowed: pd.DataFrame | None = None) -> pd.DataFrame:
    """Make the manifest of a dataset.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `kind`, `select`, `columns`, and `groups`, from patterns of ids to labels, where
        the participants table has no such column.
    snapshot : Snapshot
        The selected files.
    borrowed : DataFrame, optional
        Rows of another manifest to take along.

    Returns
    -------
    DataFrame
        As from `read_manifest`.

    Raises
    ------
    ManifestError
        When a pattern selects nothing, or a participant has no group.
    """
    groups = _groups(spec, snapshot, sorted({participant(file.path) for file in snapshot.files} - {""}))
    rows = [
        {
            "participant_id": participant(file.path),
            "group": groups.get(participant(file.path), ""),
            "path": file.path,
            "bytes": file.bytes,
            "hash": file.hash,
            "version_id": file.version_id,
            "urls": " ".join(_urls(file, spec, snapshot)),
        }
        for file in snapshot.files
    ]
    selected = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"bytes": "Int64"})
    table = pd.concat([selected, borrowed]).sort_values("path", ignore_index=True)
    idle = [pattern for pattern in spec["select"] if not wanted(table["path"], [pattern])]
    if idle:
        raise ManifestError(
            f"{spec['name']} {snapshot.label}: no file matches {', '.join(idle)}. Correct dataset.select (`*` stays "
            "within a folder), or check the tag."
        )
    return table


def participant(path: str) -> str:
    """Return the participant that a file belongs to; "" for files of the whole dataset."""
    first, _, rest = path.partition("/")
    return first if rest and first.startswith("sub-") else ""


def repository(spec: Mapping) -> str:
    """Name the dataset's repository on GitHub; derivatives are called RAW_PIPELINE here and RAW-PIPELINE there."""
    if spec["kind"] == "derivatives":
        return f"OpenNeuroDerivatives/{spec['name'].replace('_', '-')}"
    return f"OpenNeuroDatasets/{spec['name']}"


def _urls(file: File, spec: Mapping, snapshot: Snapshot) -> list[str]:
    """Sources of a file: GitHub for text, the version in S3, its newest version, OpenNeuro's route."""
    stored = f"{snapshot.storage}/{quote(file.path)}"
    urls = [f"{stored}?versionId={quote(file.version_id, safe='')}"] if file.version_id else []
    urls.append(stored)
    if file.text:
        urls.insert(0, f"https://raw.githubusercontent.com/{repository(spec)}/{snapshot.label}/{quote(file.path)}")
    if spec["kind"] == "bids":
        name = quote(file.path.replace("/", ":"), safe=":")
        urls.append(f"https://openneuro.org/crn/datasets/{spec['name']}/snapshots/{snapshot.label}/files/{name}")
    return urls


def _groups(spec: Mapping, snapshot: Snapshot, names: list[str]) -> dict[str, str]:
    """Label every participant: by the patterns of `groups`, else by the column of participants.tsv."""
    if spec.get("groups"):
        rules = spec["groups"].items()
        groups = {name: next((label for rule, label in rules if fnmatchcase(name, rule)), "") for name in names}
        remedy = "Add a pattern to dataset.groups"
    else:
        groups = _column(spec, snapshot)
        remedy = "Name the column in dataset.columns.group, or give patterns in dataset.groups"
    lost = [name for name in names if groups.get(name, "") in ("", "n/a")]
    if lost:
        raise ManifestError(
            f"{spec['name']} {snapshot.label}: no group for {', '.join(lost[:5])}{' ...' * (len(lost) > 5)} "
            f"({len(lost)} of {len(names)} participants). {remedy}."
        )
    return groups


def _column(spec: Mapping, snapshot: Snapshot) -> dict[str, str]:
    """Read the labels out of participants.tsv."""
    column = spec["columns"].get("group")
    table = read_table(f"{spec['name']}: participants.tsv", text=snapshot.participants or "participant_id")
    if column not in table:
        raise ManifestError(
            f"{spec['name']} {snapshot.label}: participants.tsv has no column {column!r} (found: "
            f"{', '.join(table.columns)}). Correct dataset.columns.group, or give patterns in dataset.groups."
        )
    return dict(zip(table["participant_id"], table[column]))
