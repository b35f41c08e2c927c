"""Receipts: which files a participant's scan is made of, and what was taken of several."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dysconnect.keeping.rows import rows_of

CHOICES = ("participant_id", "what", "chosen", "others", "why")  # columns of the table of choices


def scan_entry(name: str, receipt: Mapping) -> dict:
    """Row of the index of scans for one participant; `problem` says why there is none to use."""
    scan, folder = receipt["scan"], Path(receipt["folder"]).absolute()
    hashes = {file["path"]: file["sha256"] for file in receipt["files"]}
    located = {key: str(folder / scan[key]) if scan.get(key) else "" for key in ("bold", "mask", "confounds", "t1w")}
    more = {key: str(folder / scan[key]) for key in ("events", "reverse") if scan.get(key)}
    more |= {"events_problem": scan["events_problem"]} if scan.get("events_problem") else {}
    return {
        "participant_id": name,
        **located,
        "repetition_time": scan.get("repetition_time", 0.0),
        "n_volumes": scan.get("volumes", 0),
        "sha256": hashes.get(scan.get("bold", ""), ""),
        "problem": receipt["problem"],
        **more,
    }


def write_rows(receipts: str, table: str, maker: str | None, make: Callable[[Mapping], Mapping]) -> None:
    """Write the table of a job on images: what is made of the scan of every person, or is kept (`rows_of`).

    Parameters
    ----------
    receipts, table : str
        Files: of the job's people, and what is written.
    maker : str, optional
        Of `made_by`.
    make : callable
        Row of the index of scans (`scan_entry`) to row of the table.
    """
    made = rows_of(read_receipts(receipts), Path(table), maker, lambda one: make(scan_entry(one["unit"], one)))
    pd.DataFrame(made).to_csv(table, sep="\t", index=False)


def scan_choices(receipts: Iterable[Mapping]) -> pd.DataFrame:
    """What was taken of several: `participant_id`, `what`, `chosen`, `others`, `why`."""
    rows = [
        {"participant_id": receipt["unit"], **row, "others": ", ".join(row["others"])}
        for receipt in receipts
        for row in receipt["scan"].get("choices", ())
    ]
    return pd.DataFrame(rows, columns=list(CHOICES))


def read_receipts(path: str | Path) -> list[dict]:
    """Read the receipts of a job: one, or those of many people."""
    read = read_receipt(path)
    return read.get("receipts", [read])


def kept_elsewhere(names: Sequence[str], images: Path, results: Path = Path("results")) -> list[dict]:
    """Receipts of some people in other data sets of the project whose images are there still.

    Parameters
    ----------
    names : sequence of str
    images : path
        The mark of their images in this data set, ``results/DATASET/acquire/receipts/JOB.images``.
    results : path
    """
    marks = [path for name in (*names, "batch-*") for path in results.glob(f"*/acquire/receipts/{name}.images")]
    files = [path.with_suffix(".json") for path in marks if path.parent != images.parent]
    return [each for path in files if path.exists() for each in read_receipts(path) if each["unit"] in names]


def write_receipts(receipts: Sequence[Mapping], path: str | Path) -> None:
    """Write the receipts of a job; that of one person alone as it is."""
    write_receipt(receipts[0] if len(receipts) == 1 else {"receipts": receipts}, path)


def read_receipt(path: str | Path) -> dict:
    """Read one receipt."""
    return json.loads(Path(path).read_text())


def write_receipt(receipt: Mapping, path: str | Path) -> None:
    """Write one receipt."""
    Path(path).write_text(json.dumps(receipt, indent=1))
