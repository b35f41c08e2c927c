"""A user's folder of regional series, one table a subject, read as people have it.

The outputs of XCP-D (``sub-X_task-rest_space-..._seg-ATLAS_stat-mean_timeseries.tsv``) are read as they are, and its
tables of motion, coverage and connectivity are passed over. Which file is meant is decided before anything is read.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.events import events_above, find_events, no_events
from dysconnect.acquire.find import NONE_OF_THIS, describe_choice, joined
from dysconnect.acquire.kinds import (
    NAMES,
    first_line,
    is_confounds,
    is_nuisance,
    newest_first,
    refuse_other_task,
    segmentation,
    series_files,
    shown_matrices,
)
from dysconnect.acquire.participants_table import people_files
from dysconnect.acquire.people import People, read_people
from dysconnect.data.images.receipts import CHOICES
from dysconnect.data.series import BY_ORDER, read_confounds, series_hash
from dysconnect.problems import one_line, reason
from dysconnect.reading.bids import (
    Ambiguity,
    Choice,
    Listing,
    Named,
    absent_content,
    asked_entities,
    choose,
    companion,
    fits,
    list_folder,
    read_sidecars,
    refuse_ambiguities,
    refuse_unfit,
)
from dysconnect.reading.numeric import refuse_absent
from dysconnect.reading.repetition import SAME, sidecar_seconds, start_seconds, start_time


@dataclass(frozen=True)
class SeriesFiles:
    """One person's series and what belongs to it.

    Attributes
    ----------
    series : Named
    confounds, motion : Named or None
        Table of confounds; or else XCP-D's table of motion, which has the volumes that were censored too.
    sidecars : tuple of str
        Of the series, the most general first.
    scans : tuple of tuple of Named
        Sidecars of the scan that the series come from, by folder, the most general first.
    others, foreign : tuple of Named
        Series that could have been meant; confounds that lie beside, and are of other scans.
    problem : str
        Why it cannot be used; "" when all is well.
    events : str
        Table of the events of a task that has some, relative; "" elsewhere.
    events_problem : str
        Why a scan of a task that has events has none; "" elsewhere.
    """

    series: Named
    confounds: Named | None
    motion: Named | None
    sidecars: tuple[str, ...]
    scans: tuple[tuple[Named, ...], ...]
    others: tuple[Named, ...]
    foreign: tuple[Named, ...] = ()
    problem: str = ""
    events: str = ""
    events_problem: str = ""

    @property
    def files(self) -> list[str]:
        """Everything that is read of this person, relative."""
        tables = [file.path for file in (self.series, self.confounds or self.motion) if file]
        about = [path.removesuffix(".tsv") + ".json" for path in tables[1:]]  # of XCP-D
        tables += [self.events] if self.events else []
        return [*tables, *about, *self.sidecars, *(file.path for level in self.scans for file in level)]


@dataclass(frozen=True)
class LocalPlan:
    """What is read of a user's folder: everybody, their files by `participant_id`, and the folder's listing."""

    people: People
    chosen: Mapping[str, SeriesFiles]
    listing: Listing

    @property
    def choices(self) -> pd.DataFrame:
        """What was taken of several: `participant_id`, `what`, `chosen`, `others`, `why`."""
        rows = []
        for name, chosen in self.chosen.items():
            if chosen.others:
                rows.append(
                    (
                        name,
                        "series",
                        chosen.series.path,
                        joined(chosen.others),
                        describe_choice(chosen.series, chosen.others),
                    )
                )
            if chosen.foreign:
                rows.append((name, "confounds", "", joined(chosen.foreign), NONE_OF_THIS))
        return pd.DataFrame(rows, columns=list(CHOICES))


def plan_local(spec: Mapping, root: str | Path, listing: Listing | None = None) -> LocalPlan:
    """Decide whose series are read, and which; of the files only names, links and single first lines are looked at.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `contrast`, `covariates`, `task`, `session`, `run`, `entities`, `segmentation`.
    root : path
    listing : Listing, optional
        Of the folder, where it was listed already.

    Raises
    ------
    FileNotFoundError, ValueError
        When the table or all series are missing, when series could be meant for one another, or when the atlas is not
        the only one.
    """
    listing = listing or list_folder(root)
    people = read_people(spec, root)
    table = people.table
    wanted = table.loc[table["exclusion_reason"] == "", "participant_id"]
    series = series_files(listing)
    refuse_other_task(series, spec["task"], listing.root, NAMES["local"])
    _refuse_nobody(series, table, listing, spec)
    by_name = _by_participant(series)
    files = {name: by_name[name] for name in wanted if name in by_name}
    asked, events = asked_entities(spec), events_above(listing.files, spec)
    fitting = {name: [file for file in candidates if _fits(file, asked, spec)] for name, candidates in files.items()}
    _refuse_several_atlases(file for candidates in fitting.values() for file in candidates)
    chosen, unclear = {}, []
    for name, candidates in fitting.items():
        try:
            choice = choose(candidates, asked)
            chosen |= {name: _series_files(choice, files[name], listing, spec | events)} if choice.file else {}
        except Ambiguity as error:
            unclear.append(error)
    refuse_ambiguities(unclear, root)
    if not chosen:
        raise FileNotFoundError(_nobody(table, listing, spec))
    _refuse_all_absent(chosen, listing)
    return LocalPlan(people, chosen, listing)


def _fits(file: Named, asked: Mapping, spec: Mapping) -> bool:
    """Whether a name fits the task, session, run and atlas that are asked for; what it leaves out fits all."""
    return fits(file, asked) and (not spec.get("segmentation") or segmentation(file) in ("", spec["segmentation"]))


def _series_files(choice: Choice, candidates: Sequence[Named], listing: Listing, spec: Mapping) -> SeriesFiles:
    """What belongs to a series: tables and sidecars of the same scan, in the same folder or above."""
    series, events = choice.file, ("", "")
    beside = [file for file in listing.by_participant[series.participant_id] if file.folder == series.folder]
    moved = [
        file for file in beside if file.extension == ".tsv" and "motion" in (*file.words, file.entities.get("desc"))
    ]
    problem, confounds, motion = "", Choice(None), None
    try:
        confounds = companion(series, newest_first(filter(is_confounds, beside)), candidates)
        motion = companion(series, moved, candidates).file
        events = _events(series, listing, spec) if "events" in spec else events
    except ValueError as error:
        problem = reason(error)
    sidecars = tuple(listing.applying(series))
    scans = tuple(_nearest(series, level, candidates) for level in listing.scans_beside(series, "bold"))
    foreign = () if confounds.file else confounds.others
    chosen = SeriesFiles(series, confounds.file, motion, sidecars, scans, choice.others, foreign, problem, *events)
    dead = [path for path in chosen.files if path in listing.dead]
    return chosen if problem or not dead else replace(chosen, problem=absent_content(listing.root, dead))


def _events(series: Named, listing: Listing, spec: Mapping) -> tuple[str, str]:
    """Events of a person's series, or why there are none.

    Raises
    ------
    ValueError
        When nothing says which.
    """
    where = series, listing.by_participant[series.participant_id], spec["events"], spec["task"]
    events = find_events(*where)
    return events, "" if events else one_line(no_events(*where))


def _nearest(series: Named, level: Sequence[Named], rivals: Sequence[Named]) -> tuple[Named, ...]:
    """Of a folder's sidecars of scans that of this scan; all where nothing tells which it is."""
    try:
        nearest = companion(series, level, rivals).file
        return (nearest,) if nearest else ()
    except Ambiguity as error:
        return tuple(error.files)


def _refuse_all_absent(chosen: Mapping[str, SeriesFiles], listing: Listing) -> None:
    """Stop where nobody's series have content: a clone whose files were not fetched."""
    paths = [one.series.path for one in chosen.values()]
    if all(path in listing.dead or absent_content(listing.root, [path]) for path in paths):
        refuse_unfit(paths, listing.root)
        raise FileNotFoundError(
            f"{listing.root}: the series of all {len(paths)} people are links without content. Fetch them there: "
            f"{absent_content(listing.root, paths[:2]).partition(': ')[2]} ..."
        )


def local_files(spec: Mapping, plan: LocalPlan) -> list[Path]:
    """List the files that the stage reads, so that a change in one of them is noticed; dead links are not."""
    files = [path for one in plan.chosen.values() for path in one.files if path in plan.listing.present]
    return [*people_files(spec, plan.listing.root), *(plan.listing.root / path for path in dict.fromkeys(files))]


def acquire_local(spec: Mapping, root: str | Path, plan: LocalPlan | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Collect participants and the index of their series; nothing is copied.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: beside the keys of `plan_local` `order`, `repetition_time` (s, or None), `limit`,
        `participants`.
    root : path
        Folder with `participants.tsv` and the series.
    plan : LocalPlan, optional
        Where it was made already.

    Returns
    -------
    participants : DataFrame
        Everybody, with `exclusion_reason` for those who are not wanted. Copies of one file share a `scan_group`.
    index : DataFrame
        `participant_id`, `series`, `key`, `confounds` (absolute paths), `repetition_time`, `sha256`, `problem`; of a
        task that has some `events` (absolute path) and `start_time` (s), or `events_problem`, see `read_index`.

    Raises
    ------
    FileNotFoundError, ValueError
        When the table or all series are missing, or do not fit each other or the configuration.
    """
    plan = plan or plan_local(spec, root)
    participants = plan.people.table
    index = pd.DataFrame(_entry(name, chosen, spec, plan.listing) for name, chosen in plan.chosen.items())
    owner = index.groupby(index["sha256"].where(index["sha256"] != "", index["participant_id"]))["participant_id"]
    index = index.assign(scan_group=owner.transform("first")).set_index("participant_id")
    names = participants["participant_id"]
    in_table = participants.get("mean_fd", np.nan)
    participants = participants.assign(
        scan_group=names.map(index["scan_group"]).fillna(names), mean_fd=names.map(index["mean_fd"]).fillna(in_table)
    )
    index = index.drop(columns=["scan_group", "mean_fd"]).reset_index()
    return participants, index.fillna({"events": "", "events_problem": ""})


def _by_participant(files: Iterable[Named]) -> dict[str, list[Named]]:
    by_name: dict[str, list[Named]] = {}
    for file in files:
        by_name.setdefault(file.participant_id, []).append(file)
    return by_name


def _refuse_several_atlases(files: Iterable[Named]) -> None:
    several = sorted({segmentation(file) for file in files} - {""})
    if len(several) > 1:
        raise ValueError(
            f"the series come in {len(several)} atlases: {', '.join(several)}. Choose one with "
            f"dataset.segmentation={several[0]}, and its table of regions with atlas=NAME."
        )


def _refuse_nobody(files: Sequence[Named], people: pd.DataFrame, listing: Listing, spec: Mapping) -> None:
    names = sorted({file.participant_id for file in files})
    if set(names) & set(people["participant_id"]):
        return
    if names:
        raise FileNotFoundError(
            f"{listing.root}: series of {', '.join(names[:3])}, but participants.tsv has "
            f"{people['participant_id'].iloc[0]} and others. Write the ids alike."
        )
    raise FileNotFoundError(_nobody(people, listing, spec))


def _nobody(people: pd.DataFrame, listing: Listing, spec: Mapping) -> str:
    ids = people["participant_id"].iloc[0]
    return (
        f"{listing.root}: no series of anybody in participants.tsv. Expected one table a subject, such as "
        f"{ids}_task-{spec['task']}_timeseries.tsv or {ids}.csv (also .txt, .1D, .npy), here or in a folder below; or "
        "fMRIPrep outputs, sub-*/**/*desc-preproc_bold.nii.gz or *_space-fsLR_den-91k_bold.dtseries.nii. Check "
        "dataset.root, dataset.task, dataset.session, dataset.run and dataset.segmentation."
        f"{shown_matrices(listing)}"
    )


def _entry(name: str, chosen: SeriesFiles, spec: Mapping, listing: Listing) -> dict:
    """One row of the index, and the mean framewise displacement (mm) where a table of motion tells it."""
    root, row = listing.root, {"sha256": "", "repetition_time": 0.0, "problem": chosen.problem, "mean_fd": np.nan}
    try:
        if not chosen.problem:
            row |= _read(chosen, spec, root)
    except Exception as error:  # whatever a person's files raise is that person's reason
        row["problem"] = reason(error)
    return {
        "participant_id": name,
        "series": os.path.abspath(root / chosen.series.path),  # of a link where it lies: sidecars lie beside it
        "key": BY_ORDER if spec["order"] == "atlas" else "",
        "confounds": os.path.abspath(root / chosen.confounds.path) if chosen.confounds else "",
        **row,
    }


def _read(chosen: SeriesFiles, spec: Mapping, root: Path) -> dict:
    """What the index tells of a person's files.

    Raises
    ------
    ValueError
        When they cannot be used.
    """
    if absent := absent_content(root, [chosen.series.path, *([chosen.confounds.path] if chosen.confounds else [])]):
        raise ValueError(absent)
    if is_nuisance(cells := first_line(root / chosen.series.path)):
        raise ValueError(f"{chosen.series.name} is a table of confounds or motion ({', '.join(cells[:3])}), no series")
    seconds = _told(chosen, root, sidecar_seconds) or spec["repetition_time"]
    if not seconds:
        raise ValueError(
            "no repetition time: give it as RepetitionTime (s) in a JSON sidecar, or as dataset.repetition_time"
        )
    refuse_absent(root / chosen.series.path)  # a device never ends
    hashed = series_hash((root / chosen.series.path).read_bytes())
    row = {"repetition_time": float(seconds), "sha256": hashed, "mean_fd": _mean_fd(chosen, root)}
    row |= {"events": "", "events_problem": chosen.events_problem} if chosen.events_problem else {}
    return row | (_timing(chosen, float(seconds), root) if chosen.events else {})


def _timing(chosen: SeriesFiles, seconds: float, root: Path) -> dict:
    """The table of events, and when the first volume was taken on their clock (s)."""
    told = _told(chosen, root, start_seconds)
    return {"events": os.path.abspath(root / chosen.events), "start_time": start_time(told, seconds)}


def _mean_fd(chosen: SeriesFiles, root: Path) -> float:
    """Mean framewise displacement (mm) of XCP-D's table of motion, which is longer than the censored series."""
    if chosen.confounds or not chosen.motion:
        return np.nan
    try:
        return float(read_confounds(root / chosen.motion.path)["framewise_displacement"].mean())
    except ValueError as problem:
        print(f"{chosen.series.participant_id}: {problem}; no motion read from it.", flush=True)
        return np.nan


def _told(chosen: SeriesFiles, root: Path, tell: Callable[[Mapping, Mapping], float | None]) -> float | None:
    """A time (s), from the sidecars of the series, else from the nearest of the scan's.

    Raises
    ------
    ValueError
        When what they say is no time, or nothing says which of several scans the series come from.
    """
    seconds = tell(*read_sidecars(root / path for path in chosen.sidecars))
    for level in reversed(chosen.scans):
        if seconds is not None:
            break
        times = {file.name: tell(*read_sidecars([root / file.path])) for file in level}
        known = {name: time for name, time in times.items() if time is not None}
        if known and not same_times(known.values()):
            times_in = ", ".join(f"{time:g} s in {name}" for name, time in list(known.items())[:3])
            raise ValueError(
                f"{chosen.series.name}: nothing says which scan it comes from: {times_in}. Name them alike"
            )
        seconds = next(iter(known.values()), None)
    return seconds


def same_times(times: Iterable[float]) -> bool:
    """Whether repetition times (s) are of one sequence."""
    times = list(times)
    return max(times) - min(times) <= SAME
