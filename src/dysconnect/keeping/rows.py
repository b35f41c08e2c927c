"""What was made of each person, so that a job goes on where it stood, or people are dealt to other jobs.

Of a job of many Snakemake knows no more than that it is to run again, and who joins may change everybody's job. So each
person's row is kept beside what it was made from and by, and used again only where both are the same.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dysconnect.keeping.whole import whole_file
from dysconnect.problems import people_of

FOLDER = "kept"  # below that of a stage
STAGES = ("preprocess", "tractography")  # that make a row of a person's images


def made_by(settings: object, files: Iterable[str | Path] = ()) -> str:
    """Digest of settings and of the content of files; a file that is not there yet counts as none."""
    contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in map(Path, files) if path.exists()]
    return hashlib.sha256(json.dumps([settings, contents], sort_keys=True, default=str).encode()).hexdigest()


def rows_of(
    receipts: Sequence[Mapping], table: Path, maker: str | None, make: Callable[[Mapping], Mapping]
) -> list[Mapping]:
    """Make a row of a table of every person, or take the one that is kept, if the files that it names are as they were.

    A person's files stand in one place, whichever job makes them, and a person's row in one table. So tables of other
    jobs that have it go: to write one again takes the rows that are kept, where they are still the same.

    Parameters
    ----------
    receipts : sequence of mapping
        What each is made from; `unit` is the person.
    table : path
        What the job writes, ``STAGE/participants/JOB.tsv``.
    maker : str, optional
        Of `made_by`; without it every row is made.
    make : callable
        Receipt to row.
    """
    stage, rows = table.parents[1], []
    for receipt in receipts:
        place = stage / FOLDER / f"{receipt['unit']}.json"
        known = _read(place)
        if not _holds(known, stage, maker) or _data(known["receipt"]) != _data(json.loads(json.dumps(receipt))):
            place.unlink(missing_ok=True)
            _remove(known, receipt["unit"], table)
            row = make(receipt)
            known = {"maker": maker, "receipt": receipt, "row": row, "files": _contents(row, stage)}
        if known.get("tables") != [table.name]:
            _remove(known, receipt["unit"], table)
            _write(place, known | {"tables": [table.name]})
        rows.append(known["row"])
    return rows


def _holds(known: Mapping, stage: Path, maker: str | None) -> bool:
    """Whether a row was made by the same, and the files that it names are as they were."""
    return bool(maker) and known.get("maker") == maker and known.get("files") == _contents(known["row"], stage)


def _data(receipt: Mapping) -> dict:
    """What a row is made from: not when and from where the files came, nor by what code they were described."""
    files = [{name: file.get(name) for name in ("path", "bytes", "sha256")} for file in receipt["files"]]
    return {**receipt, "files": files, "described_by": None}


def _contents(row: Mapping, stage: Path) -> dict[str, str]:
    """Digests of the files below the stage that a row names."""
    paths = {name: stage / value for name, value in row.items() if isinstance(value, str) and value}
    ours = {
        name: path for name, path in paths.items() if path.is_file() and path.resolve().is_relative_to(stage.resolve())
    }
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in ours.items()}


def _remove(known: Mapping, name: str, table: Path) -> None:
    """Remove other jobs' tables that have a row of this person."""
    for other in map(table.with_name, known.get("tables", [])):
        with suppress(FileNotFoundError):  # a job beside this one was first
            if other != table and name in people_of(other):
                other.unlink()


def receipt_kept(name: str, files: Sequence[Mapping], stage: Path, maker: str | None, described_by: str) -> dict | None:
    """What somebody's row was made from, where it would be the same: nothing need be fetched to make it.

    Parameters
    ----------
    name : str
        The person.
    files : sequence of mapping
        To fetch: `path`, and `hash` as it was published.
    stage : path
        Results of the stage that makes the row.
    maker : str, optional
        What will make it, of `made_by`.
    described_by : str
        What would describe the files, of `made_by`; in the receipt of the same name.
    """
    known = _read(stage / FOLDER / f"{name}.json")
    if not _holds(known, stage, maker) or known["receipt"].get("described_by") != described_by:
        return None
    fetched = {file["path"]: file for file in known["receipt"]["files"] if file["sha256"]}  # else it failed
    had = {path: {f"sha256:{file['sha256']}", file.get("hash")} - {"", None} for path, file in fetched.items()}
    same = had.keys() == {file["path"] for file in files} and all(file["hash"] in had[file["path"]] for file in files)
    return known["receipt"] if same else None


def in_order(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Rows of all jobs in the order of the people."""
    return rows.set_index("participant_id").loc[list(names)].reset_index()


def forget(names: Iterable[str], stage: str | Path) -> None:
    """Forget rows, so that they are made again."""
    for name in names:
        (Path(stage) / FOLDER / f"{name}.json").unlink(missing_ok=True)


def forget_forced(workflow, jobs: Mapping[str, Sequence[str]], results: Path) -> None:
    """Forget what is kept of the people of jobs that somebody forces to run again.

    Snakemake calls those forced, too, that were cut off after they had written: they go on where they stood.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        About to run.
    jobs : mapping of str to sequence of str
        The people of every job.
    results : path
        Of the dataset.
    """
    asked = workflow.dag_settings
    named = {os.path.relpath(name) for name in (*asked.forcerun, *(asked.targets if asked.forcetargets else ()))}
    for job in workflow.dag.needrun_jobs():
        rule = job.rule.name
        forced = asked.forceall or named & {rule, *map(str, job.output)}
        if forced and rule in ("download", *STAGES):  # who is fetched again is made again
            for stage in STAGES if rule == "download" else [rule]:
                forget(jobs.get(job.wildcards[-1], ()), results / stage)


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
