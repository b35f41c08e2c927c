"""Image datasets, participant by participant: what is to be fetched, what was, and why somebody has no scan.

One receipt a participant (JSON) says which files were verified, what the scan is, and what went wrong; a
failed participant fails alone. The receipts together become the participants table and the index of scans.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.find import ALL_FILES, files_of_subject, find_scan, is_scan
from dysconnect.acquire.kinds import NAMES, refuse_other_task
from dysconnect.acquire.manifest import of_task, read_manifest
from dysconnect.acquire.participants_table import people_files
from dysconnect.acquire.people import read_people, with_sites
from dysconnect.acquire.scan import describe_scan, echo_times, no_scan
from dysconnect.acquire.selection import select
from dysconnect.data.images.receipts import scan_entry
from dysconnect.fetching import Outcome, Remote, Transport, fetch_all
from dysconnect.keeping.place import portable
from dysconnect.problems import counted
from dysconnect.reading.bids import (
    Ambiguity,
    Listing,
    Named,
    is_pointer,
    list_folder,
    read_name,
    refuse_ambiguities,
    refuse_unfit,
    sidecars_of,
)

SHARED = "dataset"  # the unit of files that belong to everybody


@dataclass(frozen=True)
class Plan:
    """What is to be fetched for a dataset.

    Attributes
    ----------
    folder : path
        Data folder: the user's, or one below `acquire.folder`.
    people : DataFrame
        `participant_id`, `group` and `reason` ("" for those who are wanted).
    units : dict of str to list
        Files (`path`, `urls`, `bytes`, `hash`) of every wanted participant, and of `dataset`.
    notes : tuple of str
        Lines for the terminal on how the user's participants table was read.
    """

    folder: Path
    people: pd.DataFrame
    units: dict[str, list[dict]]
    notes: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[str]:
        """Participants to fetch, in the order of the table."""
        return self.people.loc[self.people["reason"] == "", "participant_id"].tolist()

    @property
    def paths(self) -> list[str]:
        """All files to fetch."""
        return [file["path"] for files in self.units.values() for file in files]


def plan_images(spec: Mapping, acquire: Mapping, manifests: Path) -> Plan:
    """Decide whom and what to fetch; nothing is read but the manifest, or the user's folder.

    Parameters
    ----------
    spec, acquire : mapping
        The `dataset` and `acquire` sections.
    manifests : path
        Folder of the manifests, ``configs/manifest``.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is neither a manifest nor a folder, or the selection names people who are not there.
    """
    if spec["root"]:
        folder = Path(spec["root"])
        people, notes = _read_already(spec, folder)
        wanted = [SHARED, *people.loc[people["reason"] == "", "participant_id"]]
        return Plan(folder, people, {name: [] for name in wanted}, notes)
    table = _manifest(spec, manifests)
    folder = Path(acquire["folder"]) / (spec.get("folder") or spec["manifest"])
    personal = table[table["participant_id"] != ""]
    people = personal.drop_duplicates("participant_id")[["participant_id", "group"]].reset_index(drop=True)
    needed = of_task(table, spec["task"])
    files = {name or SHARED: _files(rows, spec) for name, rows in needed.groupby("participant_id")}
    reasons = select(people.assign(reason=_without_scan(people, table, needed, spec)), spec)
    people, notes = people.assign(reason=[reasons[name] for name in people["participant_id"]]), ()
    if spec.get("people"):
        people, notes = _read_already(spec, folder, people)
    wanted = {SHARED, *people.loc[people["reason"] == "", "participant_id"]}
    return Plan(folder, people, {name: rows for name, rows in files.items() if name in wanted}, notes)


def _read_already(
    spec: Mapping, folder: Path, known: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """People of a participants table that need not be fetched, as `Plan` has them, and notes on it."""
    read = read_people(spec, folder, known)
    people = read.table.rename(columns={"exclusion_reason": "reason"})[["participant_id", "group", "reason"]]
    return people, read.notes


def _manifest(spec: Mapping, manifests: Path) -> pd.DataFrame:
    if not spec.get("manifest"):
        raise FileNotFoundError(
            f"dataset.root is not set: dataset={spec['name']} reads files that you already have. "
            "Add 'overrides=dataset.root=/path/to/folder'."
        )
    path = manifests / f"{spec['manifest']}.tsv"
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: this dataset has no manifest yet. Make it (needs the network, a minute): "
            f"python -m dysconnect.acquire.manifest {spec['manifest']} {spec['tag']}"
        )
    return read_manifest(path)


def _without_scan(people: pd.DataFrame, table: pd.DataFrame, needed: pd.DataFrame, spec: Mapping) -> list[str]:
    """Why there is nothing to fetch of those who have scans of other tasks only; "" for the others."""
    paths, left = (rows.groupby("participant_id")["path"].agg(list) for rows in (table, needed))
    others = {name for name in paths.index if not _scans(left.get(name, []), spec) and _scans(paths[name], spec)}
    return [no_scan(paths[name], spec) if name in others else "" for name in people["participant_id"]]


def _scans(paths: Sequence[str], spec: Mapping) -> list[Named]:
    """Scans among the files of a person, of any task."""
    return [file for file in files_of_subject(paths) if is_scan(file, spec)]


def _files(rows: pd.DataFrame, spec: Mapping) -> list[dict]:
    """Files of one unit; of several sessions the one that is asked for, with the anatomy of others if it has none."""
    session = spec.get("session")
    keep = np.array([not session or f"/{session}/" in path or "/ses-" not in path for path in rows["path"]])
    anatomy = rows["path"].str.contains("_T1w.", regex=False).to_numpy()
    keep = keep if (keep & anatomy).any() else keep | anatomy
    return [
        {
            "path": row.path,
            "urls": row.urls.split(),
            "bytes": None if pd.isna(row.bytes) else int(row.bytes),
            "hash": row.hash,
        }
        for row in rows[keep].itertuples()
    ]


def plan_scans(plan: Plan, spec: Mapping, listing: Listing | None = None) -> dict[str, dict]:
    """Choose everybody's scan by the names of the files, before anything is fetched or read.

    Parameters
    ----------
    plan : Plan
    spec : mapping
        What `find_scan` takes.
    listing : Listing, optional
        Of the user's folder; without it the files are those to be fetched.

    Returns
    -------
    dict of str to dict
        By participant: what `find_scan` returns, and `files`, all that is read of the user's folder.

    Raises
    ------
    Ambiguity, FileNotFoundError
        When several scans could be meant; when nobody has one of the task and space, or nobody's has any content.
    """
    scans, unclear = {}, []
    paths = {name: _paths(plan, name, listing) for name in plan.wanted}
    for name, files in paths.items():
        try:
            scans[name] = find_scan(files, spec)
        except Ambiguity as error:
            unclear.append(error)
    if unclear:
        refuse_ambiguities(unclear, plan.folder, echo_times(unclear[0], plan.folder))
    _refuse_nobody(plan, spec, scans, paths)
    if listing is None:
        return scans
    _refuse_absent(plan, scans, listing)
    return {name: scan | {"files": _watched(scan, paths[name], spec, listing)} for name, scan in scans.items()}


def _paths(plan: Plan, name: str, listing: Listing | None) -> list[str]:
    """Files of a participant, relative to the data folder: to be fetched, or in the user's folder of that name."""
    if listing is None:
        return [file["path"] for file in plan.units.get(name, [])]
    return [file.path for file in listing.by_participant.get(name, []) if file.path.startswith(f"{name}/")]


def _refuse_nobody(plan: Plan, spec: Mapping, scans: Mapping, paths: Mapping[str, Sequence[str]]) -> None:
    """Stop where nobody has a scan, and say what there is instead."""
    if any(scan["bold"] for scan in scans.values()):
        return
    files = [file for names in paths.values() for file in _scans(names, spec)]
    refuse_other_task(files, spec["task"], plan.folder, NAMES[spec["kind"]])
    first = next(iter(paths), "")
    raise FileNotFoundError(
        f"{plan.folder}: nobody has a {spec['task']} scan. {first}: {no_scan(paths.get(first, []), spec)}."
    )


def _refuse_absent(plan: Plan, scans: Mapping[str, Mapping], listing: Listing) -> None:
    """Stop where nobody's scan has content: a clone of which nothing was fetched."""
    bold = [scan["bold"] for scan in scans.values() if scan["bold"]]
    if all(path in listing.dead or is_pointer(listing.root / path) for path in bold):
        refuse_unfit(bold, plan.folder)
        raise FileNotFoundError(
            f"{plan.folder}: the scans of all {len(bold)} people are links without content. Fetch them there: "
            f"datalad get {' '.join(bold[:2])} ... (of a clone by git-lfs: git lfs pull)"
        )


def _watched(scan: Mapping, paths: Sequence[str], spec: Mapping, listing: Listing) -> list[str]:
    """All that is read of a scan and has content: images, tables, and the sidecars that apply to them.

    fMRIPrep reads every run, echo and anatomy of the person.
    """
    images = [scan[name] for name in ALL_FILES if scan.get(name)]
    if spec.get("engine") == "fmriprep":
        images += [path for path in paths if ".nii" in path and ("/anat/" in path or f"_task-{spec['task']}_" in path)]
    about = [sidecar for path in images for sidecar in listing.applying(read_name(path))]
    return sorted(path for path in {*images, *about} if path in listing.present)


def users_files(spec: Mapping, plan: Plan, scans: Mapping[str, Mapping], unit: str) -> list[str]:
    """List the files of the user's folder that a unit reads, so that a change in one of them is noticed."""
    if unit == SHARED and (spec["root"] or spec.get("people")):
        return [str(path) for path in people_files(spec, plan.folder)]
    if unit == SHARED or not spec["root"]:
        return []
    return [str(plan.folder / path) for path in scans[unit]["files"]]


def fetch_unit(unit: str, files: Iterable[Mapping], folder: Path, transport: Transport, spec: Mapping) -> dict:
    """Fetch the files of a participant, or those of the whole dataset, and describe the scan.

    Returns
    -------
    dict
        The receipt: `unit`, `folder` (relative in the project), `files` (outcomes, and the `hash` that each was to
        have), `scan` (see `describe_scan`; empty
        for those of the dataset itself), `problem` ("" when all is well) and `permanent` (trying again soon is
        useless); of a user's files `changed`: when (ns), so that what follows notices that one was corrected.
    """
    remotes = [Remote(file["path"], tuple(file["urls"]), file["bytes"], file["hash"]) for file in files]
    outcomes = fetch_all(remotes, folder, transport, what=unit) if remotes else []
    receipt = {
        "unit": unit,
        "folder": portable(os.path.abspath(folder)),
        "files": [asdict(outcome) | {"hash": remote.hash} for outcome, remote in zip(outcomes, remotes)],
    }
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if failed:
        permanent = any(outcome.permanent for outcome in failed)
        return receipt | {"scan": {}, "problem": _could_not(failed), "permanent": permanent}
    if unit == SHARED:
        return receipt | {"scan": {}, "problem": "", "permanent": False}
    paths = [outcome.path for outcome in outcomes] or _listing(folder, unit)
    scan = describe_scan(folder, paths, spec)
    receipt |= {} if outcomes else {"changed": _changed(folder, scan)}
    return receipt | {"scan": scan, "problem": scan.pop("problem"), "permanent": True}


def _changed(folder: Path, scan: Mapping) -> dict[str, int]:
    """When the files of a scan and its sidecars were last changed, ns; those that are there."""
    read = [folder / scan[name] for name in ALL_FILES if scan.get(name)]
    read += sidecars_of(folder / scan["bold"], folder) if scan.get("bold") else []
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in read if path.exists()}


def _could_not(failed: Sequence[Outcome]) -> str:
    first = failed[0]
    others = f" (and {len(failed) - 1} more of its files)" if len(failed) > 1 else ""
    return f"could not be fetched: {first.path}: {first.problem}{others}"


def _listing(folder: Path, unit: str) -> list[str]:
    """Files of a participant in the user's folder, links without content among them."""
    return sorted(path for path in list_folder(folder, only=unit).files if path.startswith(f"{unit}/"))


def discard(receipt: Mapping, others: Iterable[Mapping] = ()) -> int:
    """Delete the images of a participant that were fetched; return the bytes that became free.

    Parameters
    ----------
    receipt : mapping
    others : iterable of mapping
        Receipts of the same participant in other data sets, which keep their images: the T1w may be one of them.
    """
    kept = {Path(other["folder"]) / file["path"] for other in others for file in other["files"]}
    folder, free = Path(receipt["folder"]), 0
    for file in receipt["files"]:
        path = folder / file["path"]
        if ".nii" in path.name and path.exists() and path not in kept:
            free += path.stat().st_size
            path.unlink()
    return free


def acquire_images(
    spec: Mapping, plan: Plan, receipts: Sequence[Mapping], max_failed: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring the receipts to the contract.

    Parameters
    ----------
    spec : mapping
        The `dataset` section.
    plan : Plan
    receipts : sequence of mapping
        From `fetch_unit`, one a wanted participant, and that of the dataset.
    max_failed : float
        Largest share of the wanted participants whose fetching may fail.

    Returns
    -------
    participants : DataFrame
        Everybody of the dataset, with `exclusion_reason` for those without a scan to use.
    index : DataFrame
        `participant_id`, `bold`, `mask`, `confounds`, `t1w` (absolute paths, "" where there is none),
        `repetition_time` (s), `n_volumes`, `sha256` (of the BOLD; "" for a user's files), `events` of a task that has
        some, or `events_problem`.

    Raises
    ------
    TransferFailed
        When the files of the whole dataset, or more participants than `max_failed`, could not be fetched.
    """
    by_unit = {receipt["unit"]: receipt for receipt in receipts}
    _refuse_failures(by_unit, max_failed, spec)
    scans = {name: by_unit[name] for name in plan.wanted}
    participants = _participants(spec, plan, scans)
    index = pd.DataFrame([scan_entry(name, receipt) for name, receipt in scans.items()])
    index = index[index["problem"] == ""].drop(columns="problem").reset_index(drop=True)
    index = index.fillna({"events": "", "events_problem": ""})
    if index.empty:
        reasons = counted({name: receipt["problem"] for name, receipt in scans.items()})
        raise FileNotFoundError(f"{plan.folder}: nobody has a scan to use. People, reasons: {'; '.join(reasons[:5])}.")
    return participants, index


class TransferFailed(OSError):
    """Too much could not be fetched to go on; `units` are those to try again."""

    def __init__(self, message: str, units: Sequence[str]):
        super().__init__(message)
        self.units = list(units)


def _refuse_failures(by_unit: Mapping[str, Mapping], max_failed: float, spec: Mapping) -> None:
    failed = [name for name, receipt in by_unit.items() if any(f["state"] == "failed" for f in receipt["files"])]
    people = [name for name in failed if name != SHARED]
    share = len(people) / max(len(by_unit) - 1, 1)
    if SHARED not in failed and share <= max_failed:
        return
    first = by_unit[failed[0] if SHARED not in failed else SHARED]
    raise TransferFailed(
        f"{spec['name']}: {len(failed)} of {len(by_unit)} could not be fetched, more than acquire.max_failed allows "
        f"({max_failed:.0%} of the participants). First: {first['unit']} {first['problem']}. What was fetched is "
        "kept: run the same command again when the network or the server is back, or raise acquire.max_failed.",
        failed,
    )


def _participants(spec: Mapping, plan: Plan, scans: Mapping[str, Mapping]) -> pd.DataFrame:
    """Everybody of the plan, with the columns of participants.tsv under our names."""
    people = read_people(spec, plan.folder, None if spec["root"] else plan.people)
    for note in people.notes:
        print(note, flush=True)
    table = people.table
    problems = {name: receipt["problem"] for name, receipt in scans.items() if receipt["problem"]}
    reasons = zip(table["participant_id"], table["exclusion_reason"])
    table = table.assign(exclusion_reason=[problems.get(name, reason) for name, reason in reasons])
    if spec.get("site"):
        table = with_sites(table, {name: receipt["scan"].get("site", "") for name, receipt in scans.items()}, spec)
    return table.assign(scan_group=table["participant_id"])
