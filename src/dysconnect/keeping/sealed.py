"""What one stage hands to the next is sealed by its maker, and compared by whoever reads it.

A table says nothing of itself: half of its rows, those of another experiment or of another configuration look as good
as its own. So every job writes down of each file that it made (``results/sealed/``, in the folders of the results) the
SHA-256, how many rows it has, and what it was made from; and every job compares before it reads. Nothing in it is
absolute or a time: results may be moved, copied and mailed.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dysconnect.keeping.whole import whole_file
from dysconnect.version import __version__

FOLDER = "sealed"  # below the results
KINDS = (".tsv", ".json", ".npz", ".h5")
ASIDE = ("data", "scratch")  # below the results: downloads, which are verified where they are fetched, and sweeps
PER_PERSON = ("receipts", "participants", "fmriprep")  # folders of one job a person: what these say is read, and judged


class Maker(NamedTuple):
    """What made a file of the results, as its seal says; "" where it does not say."""

    code: str
    version: str


class NotAsWrittenError(ValueError):
    """A file of the results is not what its maker wrote, or does not belong to the files beside it."""


def seal(
    made: Iterable[str | Path], read: Iterable[str | Path] = (), results: str | Path = "results", code: str = ""
) -> None:
    """Write down what files are, and what they were made from; the last that a job does.

    Parameters
    ----------
    made, read : iterable of path
        Outputs and inputs of a job; of those that are not handed on between stages nothing is written.
    results : path
        Folder of all results.
    code : str
        Digest of the code that made them.
    """
    sources = {place: known["sha256"] for place in _places(read, results) if (known := _record(place, results))}
    for place in _places(made, results):
        path = Path(results, place)
        record = {"sha256": fingerprint(path), "rows": _rows(path), "made_from": sources}
        record |= {"code": code, "dysconnect": __version__}
        text = json.dumps(record, indent=1).encode()
        where = _where(place, results)
        where.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(where, len(text)) as file:
            file.write(text)


def check(paths: Iterable[str | Path], results: str | Path = "results", patience: int = 0) -> None:
    """Compare files with what their makers wrote, and with what is there now of what they were made from.

    Parameters
    ----------
    paths : iterable of path
        Inputs of a job; those that no stage made are passed over. Of an ``.h5`` its own seal is compared here, and its
        content by whoever reads it.
    results : path
    patience : int
        Seconds to look again: on a network's file system another machine's files come late.

    Raises
    ------
    NotAsWrittenError
        Names the first file that differs, how, and how it is made again.
    """
    paths = list(paths)
    try:
        for place in _places(paths, results):
            _compare(place, results)
    except NotAsWrittenError:
        if patience <= 0:
            raise
        time.sleep(1)
        check(paths, results, patience - 1)


def _compare(place: str, results: str | Path) -> None:
    path, record = Path(results, place), _record(place, results)
    if record is None:
        raise NotAsWrittenError(
            f"{path}: nothing says what wrote it ({_where(place, results)} is missing): it was not made by the "
            f"workflow, or by an older version. {remedy(path)}"
        )
    if fingerprint(path) != record["sha256"]:
        raise NotAsWrittenError(
            f"{path} is not what was written{_difference(path, record)}: it was changed, cut or put here from "
            f"elsewhere. {remedy(path)}"
        )
    for source, sha256 in record["made_from"].items():
        now = _record(source, results)
        if now is not None and now["sha256"] != sha256:
            raise NotAsWrittenError(
                f"{path} was made from another {source} than the one that is there now: it belongs to other "
                f"results. {remedy(path)}"
            )


def makers(dataset: str, results: str | Path = "results") -> dict[str, Maker]:
    """What made the files of a dataset that are there, by place (``DATASET/STAGE/...``), in order."""
    folder = Path(results, FOLDER)
    seals = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.glob(f"{dataset}/**/*.json"))
    }
    return {place: _maker(path) for place, path in seals.items() if Path(results, place).exists()}


def _maker(seal: Path) -> Maker:
    try:
        record = json.loads(seal.read_text(encoding="utf-8"))
        return Maker(str(record.get("code", "")), str(record.get("dysconnect", "")))
    except (ValueError, AttributeError):  # whoever reads the file says so
        return Maker("", "")


def remedy(path: str | Path) -> str:
    """How a file of the results is made again."""
    return f"Make it again: add --forcerun {path} to the command, or delete the file and give the same command."


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file's bytes; of an ``.h5`` that in its own attribute `seal`, which covers all that is in it."""
    path = Path(path)
    if path.suffix == ".h5":
        return _own_seal(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _own_seal(path: Path) -> str:
    import h5py  # 0.1 s that the other jobs need not wait for

    try:
        with h5py.File(path) as file:
            return str(file.attrs.get("seal", ""))
    except OSError as error:
        if error.errno:  # the disk's or the network's, not the file's
            raise
        raise NotAsWrittenError(f"{path} is cut, or no HDF5 file ({error}). {remedy(path)}") from error


def _places(paths: Iterable[str | Path], results: str | Path) -> list[str]:
    """Those of the paths that stages hand on, relative to the results: ``DATASET/STAGE/...``."""
    root = Path(results).absolute()
    inside = [Path(path).absolute() for path in paths if Path(path).suffix in KINDS]
    places = [path.relative_to(root) for path in inside if path.is_relative_to(root)]
    return [
        place.as_posix()
        for place in places
        if len(place.parts) > 2 and place.parts[0] not in ASIDE and place.parts[2] not in PER_PERSON
    ]


def _where(place: str, results: str | Path) -> Path:
    return Path(results, FOLDER, f"{place}.json")


def _record(place: str, results: str | Path) -> dict | None:
    """What the maker of a file wrote down; None where it wrote nothing."""
    where = _where(place, results)
    if not where.exists():
        return None
    try:
        record = json.loads(where.read_text(encoding="utf-8"))
        return {"sha256": str(record["sha256"]), "rows": record["rows"], "made_from": dict(record["made_from"])}
    except (ValueError, KeyError, TypeError) as error:
        raise NotAsWrittenError(
            f"{where} is damaged ({error!r}): nothing says what {Path(results, place)} must be. "
            f"{remedy(Path(results, place))}"
        ) from error


def _rows(path: Path) -> int | None:
    """Rows of a table, without its first line."""
    return max(path.read_bytes().count(b"\n") - 1, 0) if path.suffix == ".tsv" else None


def _difference(path: Path, record: dict) -> str:
    rows = _rows(path)
    return "" if rows == record["rows"] else f" ({rows} rows, {record['rows']} were written)"
