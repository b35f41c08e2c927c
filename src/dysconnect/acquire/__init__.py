"""Stage `acquire`: from a dataset's configuration to participants and an index of verified series.

Every dataset ends in the same contract: a participants table, an index of series (`participant_id`,
`series`, `key`, `confounds`, `repetition_time`, `sha256`) and, where a truth was planted, that truth.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.abide import acquire_abide, phenotype_file, series_files
from dysconnect.acquire.derivatives import acquire_derivatives, bold_files
from dysconnect.acquire.plant import plant_cohort
from dysconnect.acquire.simulated import add_motion, simulate_cohort, spoil
from dysconnect.participants import write_participants
from dysconnect.progress import track
from dysconnect.series import read_series, series_hash, write_series


@dataclass(frozen=True)
class Acquired:
    """What the stage hands on; `truth` and `carriers` are None unless something was planted."""

    participants: pd.DataFrame
    index: pd.DataFrame
    truth: pd.DataFrame | None = None
    carriers: pd.DataFrame | None = None


def source_files(dataset: dict) -> list[str]:
    """List the files of the user's that the stage reads, so that a change in one of them is noticed."""
    if dataset["kind"] == "simulated":
        return []
    root = data_root(dataset)
    if dataset["kind"] == "derivatives":
        return [str(path) for path in bold_files(dataset, root)]
    files = series_files(root, dataset["source_atlas"], dataset["strategy"])
    return [str(phenotype_file(root)), *map(str, files)]


def data_root(dataset: dict) -> Path:
    """Return the folder of the user's data, or say how to set it."""
    if not dataset["root"]:
        raise FileNotFoundError(
            f"dataset.root is not set: dataset={dataset['name']} reads files that you already have. "
            "Add 'overrides=dataset.root=/path/to/folder'."
        )
    root = Path(dataset["root"])
    if not root.is_dir():
        raise FileNotFoundError(f"dataset.root={root}: no such folder (seen from {Path.cwd()}).")
    return root


def acquire(dataset: dict, nodes: pd.DataFrame, folder: Path) -> Acquired:
    """Bring a dataset to the contract.

    Parameters
    ----------
    dataset : dict
        The `dataset` section of the configuration; `kind` chooses between simulation and reading.
    nodes : DataFrame, [N rows]
        Atlas table.
    folder : path
        Where series that are made here (simulated or planted) are written.
    """
    if dataset["kind"] == "simulated":
        return _simulated(dataset, nodes, folder)
    if dataset["kind"] == "derivatives":
        return Acquired(*acquire_derivatives(dataset, data_root(dataset)))
    participants, index = acquire_abide(dataset, data_root(dataset))
    if dataset["plant"] is None:
        return Acquired(participants, index)
    return _planted(dataset, nodes, participants, index, folder)


def _simulated(dataset: dict, nodes: pd.DataFrame, folder: Path) -> Acquired:
    participants, series, confounds = simulate_cohort(dataset, nodes)
    patients = np.flatnonzero(participants["group"].isin(dataset["contrast"]["cases"]))
    times = [dataset["repetition_time"]] * len(participants)
    series, truth, carriers = plant_cohort(series, participants, nodes, times, dataset["plant"], patients)
    series = add_motion(series, confounds, nodes, dataset)
    rows = []
    subjects = spoil(participants, series, confounds, dataset)
    for subject in track(subjects, "writing simulated series"):
        if subject.series is None:
            continue
        path = folder / f"{subject.participant_id}_task-rest_desc-raw_timeseries.tsv"
        motion = folder / f"{subject.participant_id}_task-rest_desc-confounds_timeseries.tsv"
        write_series(subject.series, nodes["name"], path)
        subject.confounds.to_csv(motion, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
        rows.append(_entry(subject.participant_id, path, motion, dataset["repetition_time"]))
    participants["scan_group"] = participants["participant_id"]
    names = participants["participant_id"].iloc[carriers].to_frame()
    return Acquired(participants.drop(columns="target_fd"), pd.DataFrame(rows), truth, names)


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
    except (ValueError, OSError) as problem:
        print(f"{entry.Index}: {problem}; nothing planted.", flush=True)
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
    """Write the tables; `outputs` has the paths `participants`, `index` and, with a truth, `truth`, `carriers`."""
    write_participants(acquired.participants, outputs["participants"])
    acquired.index.to_csv(outputs["index"], sep="\t", index=False)
    if "truth" in outputs:
        acquired.truth.to_csv(outputs["truth"], sep="\t", index=False)
        acquired.carriers.to_csv(outputs["carriers"], sep="\t", index=False)
