"""What was made of each person in a job of many, so that the job goes on where it stood, or when somebody joins.

Where a job is of one person, Snakemake knows whether it is to run again. Of a job of many it knows no more than that;
so each person's row is kept beside what it was made from and by, and used again only where both are the same.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dysconnect.keeping.whole import whole_file

FOLDER = "kept"  # below that of a stage


def made_by(settings: object, files: Iterable[str | Path] = ()) -> str:
    """Digest of settings and of the content of files; a file that is not there yet counts as none."""
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in map(Path, files) if path.exists()]
    return hashlib.sha256(json.dumps([settings, contents], sort_keys=True, default=str).encode()).hexdigest()


def rows_of(receipts: Sequence[Mapping], stage: Path, maker: str, make: Callable[[Mapping], Mapping]) -> list[Mapping]:
    """Make a row of a table of every person, or take the one that is kept.

    Parameters
    ----------
    receipts : sequence of mapping
        What each is made from; `unit` is the person. Of one alone nothing is kept.
    stage : path
        Folder of the stage.
    maker : str
        Of `made_by`.
    make : callable
        Receipt to row.
    """
    if len(receipts) == 1:
        return [make(receipts[0])]
    rows = []
    for receipt in receipts:
        place = stage / FOLDER / f"{receipt['unit']}.json"
        known = _read(place)
        if known.get("maker") != maker or known.get("receipt") != json.loads(json.dumps(receipt)):
            known = {"maker": maker, "receipt": receipt, "row": make(receipt)}
            _write(place, known)
        rows.append(known["row"])
    return rows


def receipt_kept(name: str, files: Sequence[Mapping], stage: Path, maker: str) -> dict | None:
    """What somebody's row was made from, where it was made by the same and of these files: nothing need be fetched."""
    known = _read(stage / FOLDER / f"{name}.json")
    if known.get("maker") != maker or known["receipt"]["problem"]:
        return None
    fetched = {file["path"]: file["sha256"] for file in known["receipt"]["files"]}
    wanted = {file["path"]: file["hash"].removeprefix("sha256:") for file in files}
    return known["receipt"] if fetched == wanted else None


def in_order(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of all jobs in the order of the people."""
    return rows.set_index("participant_id").loc[list(names)].reset_index()


def forget(names: Iterable[str], stage: str | Path) -> None:
    """Forget rows, so that they are made again."""
    for name in names:
        (Path(stage) / FOLDER / f"{name}.json").unlink(missing_ok=True)


def _read(place: Path) -> dict:
    try:
        return json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or cut
        return {}


def _write(place: Path, known: Mapping) -> None:
    text = json.dumps(known, indent=1, default=float).encode()
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(place, len(text)) as file:
        file.write(text)
