"""A user's own folder: a participants table and regional series, one table a subject; or fMRIPrep outputs.

Names follow BIDS as far as people do: a series is a file ``sub-X.EXT`` or ``sub-X_KEY-VALUE_..._WORD.EXT`` whose word
is `timeseries` or the like. So the outputs of XCP-D (``sub-X_task-rest_space-..._seg-ATLAS_stat-mean_timeseries.tsv``)
are found as they are, and its tables of motion, coverage and connectivity are passed over.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.people import people_files, read_people
from dysconnect.series import BY_ORDER, read_confounds, series_hash

PREPARED = ("desc-preproc_bold.nii*", "_space-fsLR_den-*k_bold.dtseries.nii")  # fMRIPrep's volumes and surfaces
ENDINGS = (".tsv", ".csv", ".txt", ".1D", ".1D.gz", ".npy")
SERIES = re.compile(r"(time)?(series|courses?)|ts|rois?|regions?|signals?|bold", re.IGNORECASE)
CONFOUNDS = re.compile(r"confounds?|regressors", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """A file and what its name says: `entities` (``{"sub": "01", "task": "rest"}``), the other `words`."""

    path: Path
    entities: Mapping[str, str]
    words: tuple[str, ...]

    @property
    def participant_id(self) -> str:
        """The subject, with its prefix."""
        return f"sub-{self.entities['sub']}"

    @property
    def segmentation(self) -> str:
        """The atlas in the name; an empty string where it has none."""
        return self.entities.get("seg", self.entities.get("atlas", ""))

    @property
    def place(self) -> tuple:
        """For sorting: session, run as a number, then the path."""
        run = self.entities.get("run", "0")
        return self.entities.get("ses", ""), int(run) if run.isdigit() else 0, str(self.path)


def images(root: str | Path, spec: Mapping) -> bool:
    """Whether the folder holds fMRIPrep outputs and no regional series: then it is read as `kind: derivatives`."""
    root = Path(root)
    found = itertools.chain.from_iterable(root.glob(f"sub-*/**/*{name}") for name in PREPARED)
    return next(found, None) is not None and not find_series(root, spec)


def raw_images(root: str | Path, spec: Mapping) -> bool:
    """Whether the folder is a raw BIDS dataset: unprocessed BOLD of the task, and neither series nor derivatives."""
    root = Path(root)
    return next(root.glob(f"sub-*/**/func/*_task-{spec['task']}_*bold.nii*"), None) is not None and not find_series(
        root, spec
    )


def local_files(spec: Mapping, root: str | Path) -> list[Path]:
    """List the files that the stage reads, so that a change in one of them is noticed."""
    root = Path(root)
    files = []
    for file in find_series(root, spec):
        files += [file.path, *_beside(file), *(path for path in _sidecars(file, root) if path.is_file())]
    return [*people_files(spec, root), *dict.fromkeys(files)]


def find_series(root: Path, spec: Mapping) -> list[Named]:
    """Find the files of regional series that the configuration asks for, sorted.

    Hidden folders and folders named `results` are passed over.
    """
    found = []
    for path in root.rglob("sub-*"):
        above = path.relative_to(root).parts[:-1]
        named = read_name(path)
        if named and is_series(named) and not any(part.startswith(".") or part == "results" for part in above):
            found.append(named)
    wanted = [file for file in found if _is_wanted(file, spec) and file.path.is_file()]
    return sorted(wanted, key=lambda file: (file.participant_id, file.place))


def read_name(path: Path) -> Named | None:
    """Take a file name apart; None where it is no subject's table."""
    ending = _ending(path)
    if not ending:
        return None
    parts = path.name.removesuffix(ending).split("_")
    pairs = [part.split("-", 1) for part in parts if "-" in part]
    entities = {key: value for key, value in pairs if key.isalpha() and key.islower()}
    words = tuple(part for part in parts if "-" not in part)
    return Named(path, entities, words) if entities.get("sub") else None


def _ending(path: Path) -> str:
    """Ending of a table, ``.1D.gz`` in one piece; an empty string where it is no table."""
    return next((ending for ending in ENDINGS if path.name.endswith(ending)), "")


def is_series(file: Named) -> bool:
    """Whether a name is that of regional series, rather than of confounds or of one number a region."""
    other = CONFOUNDS.fullmatch(file.entities.get("desc", "")) or any(map(CONFOUNDS.fullmatch, file.words))
    one_number = file.entities.get("stat", "mean") not in ("mean", "median")  # coverage, alff, reho of XCP-D
    return not other and not one_number and (not file.words or any(map(SERIES.fullmatch, file.words)))


def _is_wanted(file: Named, spec: Mapping) -> bool:
    """Whether a file is of the task, session, run and atlas that are asked for; what a name leaves out fits all."""
    session, run = spec.get("session"), spec.get("run")
    asked = {"task": spec.get("task"), "ses": session and session.removeprefix("ses-")}
    if any(value and file.entities.get(key, value) != value for key, value in asked.items()):
        return False
    if run is not None and "run" in file.entities and file.entities["run"].lstrip("0") != str(run).lstrip("0"):
        return False
    return not spec.get("segmentation") or file.segmentation in ("", spec["segmentation"])


def acquire_local(spec: Mapping, root: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect participants and the index of their series; nothing is copied.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `contrast`, `covariates`, `task`, `session`, `run`, `segmentation`, `order`,
        `repetition_time` (s, or None), `limit`, `participants`.
    root : path
        Folder with `participants.tsv` and the series.

    Returns
    -------
    participants : DataFrame
        Everybody, with `exclusion_reason` for those who are not wanted. Copies of one file share a `scan_group`.
    index : DataFrame
        `participant_id`, `series`, `key`, `confounds` (absolute paths), `repetition_time`, `sha256`, `problem`.

    Raises
    ------
    FileNotFoundError, ValueError
        When the table or all series are missing, or do not fit each other or the configuration.
    """
    root = Path(root)
    people = read_people(spec, root)
    for note in people.notes:
        print(note, flush=True)
    participants = people.table
    files = find_series(root, spec)
    _refuse_several_atlases(files)
    _refuse_nobody(files, participants, root, spec)
    chosen = {name: _first(name, own) for name, own in _by_participant(files).items()}
    index = pd.DataFrame(_entry(chosen[name], spec, root) for name in participants["participant_id"] if name in chosen)
    owner = index.groupby("sha256")["participant_id"].transform("first")
    index = index.assign(scan_group=owner).set_index("participant_id")
    names = participants["participant_id"]
    told = participants.get("mean_fd", np.nan)
    participants = participants.assign(
        scan_group=names.map(index["scan_group"]).fillna(names), mean_fd=names.map(index["mean_fd"]).fillna(told)
    )
    return participants, index.drop(columns=["scan_group", "mean_fd"]).reset_index()


def _refuse_several_atlases(files: Iterable[Named]) -> None:
    several = sorted({file.segmentation for file in files} - {""})
    if len(several) > 1:
        raise ValueError(
            f"the series come in {len(several)} atlases: {', '.join(several)}. Choose one with "
            f"dataset.segmentation={several[0]}, and its table of regions with atlas=NAME."
        )


def _refuse_nobody(files: Sequence[Named], people: pd.DataFrame, root: Path, spec: Mapping) -> None:
    found = sorted({file.participant_id for file in files})
    if set(found) & set(people["participant_id"]):
        return
    ids = people["participant_id"].iloc[0]
    if found:
        raise FileNotFoundError(
            f"{root}: series of {', '.join(found[:3])}, but participants.tsv has {ids} and others. Write the ids alike."
        )
    raise FileNotFoundError(
        f"{root}: no series of anybody in participants.tsv. Expected one table a subject, such as "
        f"{ids}_task-{spec['task']}_timeseries.tsv or {ids}.csv (also .txt, .1D, .npy), here or in a folder below; or "
        "fMRIPrep outputs, sub-*/**/*desc-preproc_bold.nii.gz or *_space-fsLR_den-91k_bold.dtseries.nii. Check "
        "dataset.root, dataset.task, dataset.session, dataset.run and dataset.segmentation."
    )


def _by_participant(files: Iterable[Named]) -> dict[str, list[Named]]:
    own: dict[str, list[Named]] = {}
    for file in files:
        own.setdefault(file.participant_id, []).append(file)
    return own


def _first(name: str, own: Sequence[Named]) -> Named:
    """Take the first session and run of a subject, and say so where there are more."""
    if len(own) > 1:
        print(
            f"{name}: {len(own)} files of series; taking {own[0].path.name}. Choose another with dataset.session or "
            "dataset.run.",
            flush=True,
        )
    return own[0]


def _entry(file: Named, spec: Mapping, root: Path) -> dict:
    """One row of the index, and the mean framewise displacement (mm) where a table of motion tells it."""
    confounds, mean_fd = _motion(file)
    problem = "no repetition time: give it as RepetitionTime (s) in a JSON sidecar, or as dataset.repetition_time"
    try:
        seconds = _repetition_time(file, root) or spec["repetition_time"]
    except ValueError as error:
        seconds, problem = None, str(error)
    return {
        "participant_id": file.participant_id,
        "series": str(file.path.resolve()),
        "key": BY_ORDER if spec["order"] == "atlas" else "",
        "confounds": str(confounds.resolve()) if confounds else "",
        "repetition_time": float(seconds or 0),
        "sha256": series_hash(file.path.read_bytes()),
        "problem": "" if seconds else problem,
        "mean_fd": mean_fd,
    }


def _motion(file: Named) -> tuple[Path | None, float]:
    """Confounds table, or else the mean framewise displacement (mm) of XCP-D's table of motion.

    That table has the volumes that were censored too, so it cannot stand beside the series as confounds do.
    """
    tables = _beside(file)
    confounds = [path for path in tables if not path.name.endswith("_motion.tsv")]
    if confounds or not tables:
        return (confounds[0] if confounds else None), np.nan
    try:
        return None, float(read_confounds(tables[0])["framewise_displacement"].mean())
    except ValueError as problem:
        print(f"{file.participant_id}: {problem}; no motion read from it.", flush=True)
        return None, np.nan


def _beside(file: Named) -> list[Path]:
    """Tables of confounds or motion in the folder of a series, of the same session, task and run."""
    tables = []
    for path in sorted(file.path.parent.glob(f"{file.participant_id}_*.tsv")):
        other = read_name(path)
        alike = all(other.entities.get(key) == value for key, value in _scan(file).items())
        words = [*other.words, other.entities.get("desc", "")]
        if alike and any(CONFOUNDS.fullmatch(word) or word == "motion" for word in words):
            tables.append(path)
    return tables


def _scan(file: Named) -> dict[str, str]:
    """The part of a name that tells one scan of a subject from another."""
    return {key: file.entities[key] for key in ("ses", "task", "run") if key in file.entities}


def _sidecars(file: Named, root: Path) -> list[Path]:
    """Where the repetition time may stand, nearest first: the series' own sidecar, the scan's, the dataset's."""
    stem = file.path.name.removesuffix(_ending(file.path))
    told = [f"_{key}-{value}_" for key, value in _scan(file).items()]
    scans = sorted(file.path.parent.glob(f"{file.participant_id}_*bold.json"))
    alike = [path for path in scans if all(part in path.name for part in told)]
    task = file.entities.get("task")
    return [file.path.with_name(f"{stem}.json"), *alike, *([root / f"task-{task}_bold.json"] if task else [])]


def _repetition_time(file: Named, root: Path) -> float | None:
    """Seconds, from the nearest sidecar that tells them."""
    for path in filter(Path.is_file, _sidecars(file, root)):
        try:
            told = json.loads(path.read_text(encoding="utf-8-sig"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path.name} is no JSON ({error}); mend it, or delete it") from error
        if isinstance(told, dict) and told.get("RepetitionTime"):
            return float(told["RepetitionTime"])
        if isinstance(told, dict) and told.get("SamplingFrequency"):
            return 1 / float(told["SamplingFrequency"])
    return None
