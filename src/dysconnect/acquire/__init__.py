"""Stage `acquire`: from a dataset's configuration to participants and an index of verified series.

Every dataset ends in the same contract: a participants table, an index of series (`participant_id`,
`series`, `key`, `confounds`, `repetition_time`, `sha256`), of matrices or of scans (`bold`, `mask`, `confounds`, `t1w`
instead of series), with the `events` of a task that has some, and, where a truth was planted, that truth. Whoever has
no data keeps the row, with `exclusion_reason`.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.abide import acquire_abide, fetch_abide, phenotype_file, read_abide, series_files
from dysconnect.acquire.diffusion import is_diffusion
from dysconnect.acquire.images import Plan, TransferFailed, acquire_images
from dysconnect.acquire.kinds import kind_of_folder
from dysconnect.acquire.kinds import series_files as local_series
from dysconnect.acquire.local import acquire_local, local_files, plan_local
from dysconnect.acquire.matrices import acquire_matrices, matrix_sources, plan_matrices
from dysconnect.acquire.matrix_names import matrix_files
from dysconnect.acquire.table import acquire_table, table_files
from dysconnect.data.images.receipts import CHOICES, read_receipts, scan_choices
from dysconnect.data.participants import write_participants
from dysconnect.data.series import read_series, series_hash, write_series
from dysconnect.fetching import fetch_or_stop, transport_of
from dysconnect.keeping.place import portable
from dysconnect.planted.plant import plant_cohort
from dysconnect.planted.simulated import simulate_dataset
from dysconnect.problems import reason
from dysconnect.progress import track
from dysconnect.reading.bids import Listing, list_folder

LOCATED = ("series", "confounds", "bold", "mask", "t1w", "events", "reverse", "matrix", "labels")  # columns of paths


@dataclass(frozen=True)
class Acquired:
    """What the stage hands on; `truth` and `carriers` are None unless something was planted.

    `choices` are files that were taken of several (`participant_id`, `what`, `chosen`, `others`, `why`).
    """

    participants: pd.DataFrame
    index: pd.DataFrame
    truth: pd.DataFrame | None = None
    carriers: pd.DataFrame | None = None
    choices: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CHOICES)))


def list_folder_of(dataset: dict) -> Listing | None:
    """List a user's folder, once for all who ask; None where files are fetched or named one by one."""
    if dataset["kind"] == "local" or (dataset["kind"] in ("bids", "derivatives") and dataset["root"]):
        return list_folder(data_root(dataset))
    return None


def kind_of(dataset: dict, listing: Listing | None = None, engine: str | None = None, given: bool = False) -> str:
    """Say how a dataset is read; a folder of the user's is looked at: series, matrices, fMRIPrep's images or raw ones.

    Parameters
    ----------
    dataset : dict
    listing : Listing, optional
        From `list_folder_of`.
    engine : str, optional
        Of `preprocess`.
    given : bool
        Whether the measure of connectivity comes as matrices.
    """
    if dataset["kind"] != "local":
        return dataset["kind"]
    if is_diffusion(dataset):
        return "bids"
    if given or dataset.get("matrices", {}).get("content"):
        return "matrices"
    listing = listing or list_folder_of(dataset)
    kind = kind_of_folder(listing, dataset, engine)
    return "matrices" if kind == "local" and not local_series(listing) and matrix_files(listing) else kind


def source_files(dataset: dict, listing: Listing | None = None) -> list[str]:
    """List the files of the user's that the stage reads, so that a change in one of them is noticed.

    Parameters
    ----------
    dataset : dict
    listing : Listing, optional
        From `list_folder_of`.

    Raises
    ------
    FileNotFoundError, ValueError
        When it is not clear which files are meant.
    """
    if dataset["kind"] not in ("abide", "table", "local", "matrices") or not dataset["root"]:
        return []
    root = data_root(dataset)
    if dataset["kind"] == "table":
        return [str(root / file["path"]) for file in table_files(dataset)]
    if dataset["kind"] == "local":
        return [str(path) for path in local_files(dataset, plan_local(dataset, root, listing))]
    if dataset["kind"] == "matrices":
        return [str(path) for path in matrix_sources(dataset, plan_matrices(dataset, root, listing))]
    files = series_files(root, dataset["source_atlas"], dataset["strategy"])
    return [str(phenotype_file(root)), *map(str, files)]


def data_root(dataset: dict) -> Path:
    """Return the folder of the user's data, or say that it is not there."""
    if not dataset["root"]:
        raise FileNotFoundError(
            f"dataset.root is not set: dataset={dataset['name']} reads files that you already have. "
            "Add 'overrides=dataset.root=/path/to/folder'."
        )
    root = Path(dataset["root"])
    if not root.is_dir():
        raise FileNotFoundError(f"dataset.root={root}: no such folder (seen from {Path.cwd()}).")
    return root


def acquire(dataset: dict, nodes: pd.DataFrame, folder: Path, fetching: dict | None = None) -> Acquired:
    """Bring a dataset of series to the contract.

    Parameters
    ----------
    dataset : dict
        The `dataset` section of the configuration; `kind` chooses between simulation, reading and fetching.
    nodes : DataFrame, [N rows]
        Atlas table.
    folder : path
        Where series that are made here (simulated or planted) are written.
    fetching : dict, optional
        The `acquire` section, for datasets that are fetched.
    """
    if dataset["kind"] == "simulated":
        return _simulated(dataset, nodes, folder)
    if dataset["kind"] == "table":
        return _table(dataset, nodes, fetching)
    if dataset["kind"] == "local":
        plan = plan_local(dataset, data_root(dataset))
        return Acquired(*acquire_local(dataset, data_root(dataset), plan), choices=plan.choices)
    if dataset["kind"] == "matrices":
        plan = plan_matrices(dataset, data_root(dataset))
        return Acquired(*acquire_matrices(dataset, plan), choices=plan.choices)
    if dataset["root"]:
        read = read_abide(dataset, data_root(dataset))
    else:
        read = fetch_abide(dataset, Path(fetching["folder"]) / "abide", transport_of(fetching, "abide"))
        _refuse_failures(read[0], fetching["max_failed"], dataset["name"])
    participants, index = acquire_abide(dataset, *read)
    if dataset["plant"] is None:
        return Acquired(participants, index)
    return _planted(dataset, nodes, participants, index, folder)


def _table(dataset: dict, nodes: pd.DataFrame, fetching: dict) -> Acquired:
    if dataset["root"]:
        return Acquired(*acquire_table(dataset, data_root(dataset), nodes))
    folder = Path(fetching["folder"]) / dataset["name"]
    fetch_or_stop(table_files(dataset), folder, fetching)
    return Acquired(*acquire_table(dataset, folder, nodes))


def _refuse_failures(participants: pd.DataFrame, max_failed: float, name: str) -> None:
    """Stop where so much could not be fetched that the cohort would be another one."""
    failed = participants["exclusion_reason"].str.startswith("could not be fetched")
    wanted = int((participants["exclusion_reason"] == "").sum() + failed.sum())
    if failed.sum() > max_failed * wanted:
        raise OSError(
            f"{name}: {failed.sum()} of {wanted} series could not be fetched, more than acquire.max_failed allows "
            f"({max_failed:.0%}). First: {participants.loc[failed, 'exclusion_reason'].iloc[0]}. What was fetched is "
            "kept: run the same command again, or raise acquire.max_failed."
        )


def acquire_scans(dataset: dict, plan: Plan, receipts: list[str], max_failed: float) -> Acquired:
    """Bring a dataset of images to the contract, from the receipts of what was fetched.

    Raises
    ------
    TransferFailed
        When too much could not be fetched; those receipts are deleted, so that the next run tries again.
    """
    try:
        read = [receipt for path in receipts for receipt in read_receipts(path)]
        return Acquired(*acquire_images(dataset, plan, read, max_failed), choices=scan_choices(read))
    except TransferFailed as failure:
        for path in receipts:
            if {receipt["unit"] for receipt in read_receipts(path)} & set(failure.units):
                Path(path).unlink()
        raise


def fetched_so_far(receipts: list[str]) -> dict | None:
    """Say for the summary what the receipts prove: bytes verified, where, and how to try the failed ones again."""
    known = {path: read_receipts(path) for path in receipts}
    if not known:
        return None
    read = [(path, receipt) for path, each in known.items() for receipt in each]
    failed = [path for path, receipt in read if any(file["state"] == "failed" for file in receipt["files"])]
    return {
        "bytes": sum(file["bytes"] for _, receipt in read for file in receipt["files"] if file["state"] != "failed"),
        "folder": read[0][1]["folder"],
        "retry": f"--forcerun {' '.join(dict.fromkeys(failed))}" if failed else "",
    }


def _simulated(dataset: dict, nodes: pd.DataFrame, folder: Path) -> Acquired:
    made, rows = simulate_dataset(dataset, nodes), []
    for subject in track(made.subjects, "writing simulated series"):
        if subject.series is None:
            continue
        name = f"{subject.participant_id}_task-{'rest' if subject.events is None else dataset['task']}"
        path, motion = (folder / f"{name}_desc-{what}_timeseries.tsv" for what in ("raw", "confounds"))
        write_series(subject.series, nodes["name"], path)
        subject.confounds.to_csv(motion, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        rows.append(_entry(subject.participant_id, path, motion, dataset["repetition_time"]))
        if subject.events is not None:
            events = folder / f"{name}_events.tsv"
            subject.events.to_csv(events, sep="\t", index=False, float_format="%.6g")
            rows[-1] |= {"events": f"{folder.name}/{events.name}", "start_time": 0.0}
    return Acquired(made.participants, pd.DataFrame(rows), made.truth, made.carriers)


def _planted(
    dataset: dict, nodes: pd.DataFrame, participants: pd.DataFrame, index: pd.DataFrame, folder: Path
) -> Acquired:
    """Semi-synthetic cohort: half of the real controls of every site become `PLANTED` patients."""
    controls = participants[participants["group"].isin(dataset["contrast"]["controls"])].reset_index(drop=True)
    controls["group"] = "HC"
    there = controls["participant_id"].isin(index["participant_id"])
    absent, controls = controls[~there], controls[there].reset_index(drop=True)
    rng = np.random.default_rng([dataset["plant"]["seed"], 5])
    for _, rows in controls.groupby("site"):
        chosen = rng.choice(rows.index, size=len(rows) // 2, replace=False)
        controls.loc[chosen, "group"] = "PLANTED"
    entries = index.set_index("participant_id").loc[controls["participant_id"]]
    series = [_read_or_nothing(entry, nodes) for entry in track(list(entries.itertuples()), "reading series")]
    patients = np.flatnonzero(controls["group"] == "PLANTED")
    times = entries["repetition_time"]
    planted, truth, carriers = plant_cohort(series, controls, nodes, times, dataset["plant"], patients)
    rows = []
    for name, entry, x in zip(controls["participant_id"], entries.itertuples(), planted):
        path = folder / f"{name}_task-rest_desc-planted_timeseries.tsv"
        write_series(x, nodes["name"], path)
        rows.append(_entry(name, path, "", entry.repetition_time))
    everybody = pd.concat([controls, absent], ignore_index=True)
    return Acquired(everybody, pd.DataFrame(rows), truth, controls["participant_id"].iloc[carriers].to_frame())


def _read_or_nothing(entry, nodes: pd.DataFrame) -> np.ndarray:
    """Series of one subject; NaN where they cannot be read, so that the next stage leaves the subject out."""
    try:
        return read_series(entry.series, entry.key, nodes)
    except Exception as problem:  # the next stage says why; the machine's troubles go on
        print(f"{entry.Index}: {reason(problem, entry.Index)}; nothing planted.", flush=True)
        return np.full((2, len(nodes)), np.nan)


def _entry(name: str, series: Path, confounds: Path | str, repetition_time: float) -> dict:
    """One row of the index; paths are relative to the folder that holds the index."""
    return {
        "participant_id": name,
        "series": f"{series.parent.name}/{series.name}",
        "key": "",
        "confounds": f"{series.parent.name}/{confounds.name}" if confounds else "",
        "repetition_time": repetition_time,
        "sha256": series_hash(series.read_bytes()),
    }


def write_acquired(acquired: Acquired, outputs: dict[str, str]) -> None:
    """Write the tables; `outputs` has the paths `participants`, `index` and, with a truth, `truth`, `carriers`.

    Paths in the project become relative to the index, so that the project can be moved.
    """
    write_participants(acquired.participants, outputs["participants"])
    index, folder = acquired.index, Path(outputs["index"]).parent
    files = {name: [portable(cell, folder) for cell in index[name]] for name in LOCATED if name in index}
    index.assign(**files).to_csv(outputs["index"], sep="\t", index=False)
    if "choices" in outputs:
        acquired.choices.to_csv(outputs["choices"], sep="\t", index=False)
    if "truth" in outputs:
        acquired.truth.to_csv(outputs["truth"], sep="\t", index=False)
        acquired.carriers.to_csv(outputs["carriers"], sep="\t", index=False)
