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


def rows_of(receipts: Sequence[Mapping], table: Path, maker: str, make: Callable[[Mapping], Mapping]) -> list[Mapping]:
    """Make a row of a table of every person, or take the one that is kept, if the files that it names are as they were.

    A person's files stand in one place, whichever job makes them. So where they are made again, tables of other jobs
    that have the person's row go, and Snakemake makes them again when they are asked for.

    Parameters
    ----------
    receipts : sequence of mapping
        What each is made from; `unit` is the person. The row of one alone is made in any case.
    table : path
        What the job writes, ``STAGE/participants/JOB.tsv``.
    maker : str
        Of `made_by`.
    make : callable
        Receipt to row.
    """
    stage, rows = table.parents[1], []
    for receipt in receipts:
        place = stage / FOLDER / f"{receipt['unit']}.json"
        known = _read(place)
        same = known.get("maker") == maker and known.get("receipt") == json.loads(json.dumps(receipt))
        if len(receipts) == 1 or not same or known.get("files") != _contents(known["row"], stage):
            place.unlink(missing_ok=True)
            for other in known.get("tables", []):
                _remove(table.with_name(other), receipt["unit"], table)
            row = make(receipt)
            known = {"maker": maker, "receipt": receipt, "row": row, "files": _contents(row, stage)}
        if table.name not in known.get("tables", []):
            _write(place, known | {"tables": [*known.get("tables", []), table.name]})
        rows.append(known["row"])
    return rows


def _contents(row: Mapping, stage: Path) -> dict[str, str]:
    """Digests of the files below the stage that a row names."""
    paths = {name: stage / value for name, value in row.items() if isinstance(value, str) and value}
    ours = {
        name: path for name, path in paths.items() if path.is_file() and path.resolve().is_relative_to(stage.resolve())
    }
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in ours.items()}


def _remove(other: Path, name: str, table: Path) -> None:
    """Remove another job's table that has a row of this person."""
    if (
        other != table
        and other.exists()
        and any(line.startswith(f"{name}\t") for line in other.read_text().splitlines())
    ):
        other.unlink()


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


def forget_forced(workflow, jobs: Mapping[str, Sequence[str]], results: Path) -> None:
    """Forget what is kept of the people of jobs that somebody forces to run again.

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
    for job in workflow.dag.needrun_jobs():
        stage = job.rule.name
        if stage in ("preprocess", "tractography"):
            named = {stage, *map(str, job.output)} & set(map(str, asked.forcerun))
            if named or asked.forceall or workflow.dag.reason(job).forced:
                forget(jobs[job.wildcards.participant], results / stage)


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
