"""Denoise everybody, decide who can be used, write series with what was done to them."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from dysconnect.data.conditions import POOR
from dysconnect.data.measures import measure_of
from dysconnect.data.participants import COVARIATES, covariate_problem
from dysconnect.data.series import (
    has_signal,
    read_regions,
    series_hash,
    write_series,
)
from dysconnect.data.timing import Timing
from dysconnect.denoising.checks import check_map, check_series, mean_displacement, usable_confounds
from dysconnect.denoising.clock import off_clock, shifted_fits
from dysconnect.denoising.projection import Projection, plan
from dysconnect.denoising.regressors import UnusableError
from dysconnect.denoising.task import TaskRegression, task_design, task_regression
from dysconnect.problems import MachineError, counted, frequent, one_line, reason, refuse_gone
from dysconnect.progress import track
from dysconnect.reading.events import read_events, task_events
from dysconnect.version import __version__


@dataclass(frozen=True)
class Verdict:
    """What became of one subject; `series` is None for the excluded, `removed` goes into the sidecar.

    `note` says what was decided about a file that could be used; `moved` has mean framewise displacements of parts of a
    scan (mm), by column of the participants; `fits`, of a task, is that of `shifted_fits`.
    """

    participant_id: str
    series: np.ndarray | None
    mean_fd: float
    n_volumes: int
    seconds_kept: float
    exclusion_reason: str
    removed: dict = field(default_factory=dict)
    note: str = ""
    moved: dict = field(default_factory=dict)
    fits: np.ndarray | None = None


def prepare_subject(
    row: pd.Series,
    entry: pd.Series | None,
    nodes: pd.DataFrame,
    spec: dict,
    covariates: Sequence[str] = COVARIATES,
    kinds: Mapping[str, Sequence[str]] | None = None,
    measures: Sequence[str] = (),
) -> Verdict:
    """Read, check and denoise one subject; a problem becomes the exclusion reason, never an exception.

    Whoever comes with an exclusion reason from `acquire` keeps it, and is not read.

    Parameters
    ----------
    row : Series
        The subject's row of the participants table.
    entry : Series or None
        Its row of the index of series.
    nodes : DataFrame, [N rows]
    spec : dict
        The `denoise` section.
    covariates : sequence of str
        What must be known of everybody.
    kinds : mapping, optional
        Kinds of events that are of the `task`, and those of `rest`, where the task's responses are removed.
    measures : sequence of str
        Measures of connectivity, of which each may refuse a scan that has too little for it.
    """
    name, mean_fd, n_volumes, of_task = row["participant_id"], float(row.get("mean_fd", np.nan)), 0, {}
    if earlier_reason(row):
        return Verdict(name, None, mean_fd, n_volumes, 0.0, earlier_reason(row))
    try:
        if entry is None:
            raise UnusableError("no series file in the index; check that the scan was acquired")
        if entry.get("problem"):
            raise UnusableError(entry["problem"])
        series, note = read_regions(entry["series"], entry["key"], nodes)
        n_volumes, repetition_time = len(series), float(entry["repetition_time"])
        confounds = usable_confounds(entry["confounds"], n_volumes) if entry["confounds"] else None
        if confounds is not None:
            mean_fd = mean_displacement(confounds)
        check_series(series, repetition_time, spec)
        check_subject(row, mean_fd, spec, covariates)
        if spec.get("task"):
            events, said = _events(entry, n_volumes, repetition_time, kinds)
            design = task_design(events, n_volumes, repetition_time)
            regression = task_regression(series, confounds, design, repetition_time, spec)
            denoising, timing = regression.remove, _task_timing(regression, series, repetition_time)
            note = "; ".join([*filter(None, [note]), *said])
            of_task["moved"] = regression.mean_displacement()
            of_task["fits"] = shifted_fits(series, design, regression, repetition_time)
        else:
            denoising = plan(series, confounds, repetition_time, spec)
            timing = Timing(repetition_time, denoising.kept)
        check_map(denoising, repetition_time, spec)
        cleaned = denoising.clean(series)
        for measure in measures:
            measure_of(measure).refuse(timing, int(has_signal(cleaned).sum()))
    except Exception as problem:  # whatever a person's files raise is their reason; the machine's troubles go on
        return Verdict(name, None, mean_fd, n_volumes, 0.0, reason(problem, name))
    removed = timing.written() | _removed(denoising)
    return Verdict(name, cleaned, mean_fd, n_volumes, len(cleaned) * repetition_time, "", removed, note, **of_task)


def _events(
    entry: pd.Series, n_volumes: int, repetition_time: float, kinds: Mapping[str, Sequence[str]] | None
) -> tuple[pd.DataFrame, list[str]]:
    """Events of the task, on the clock of the volumes, and what was let pass in their table."""
    if not kinds:
        raise ValueError(
            "denoise.task=true, and nothing says which events are of the task: give dataset.trial_types={task: [...], "
            "rest: [...]}, with the trial_type of each"
        )
    if not entry.get("events"):
        none = "no table of events (task-NAME_events.tsv) beside the scan: nothing says when the task was"
        raise UnusableError(entry.get("events_problem") or none)
    start = float(entry.get("start_time") or 0)  # of the first volume, on the clock of the events
    events, notes = read_events(entry["events"], n_volumes, repetition_time, kinds, start)
    return task_events(events, kinds, Path(entry["events"]).name), notes


def _task_timing(regression: TaskRegression, series: np.ndarray, repetition_time: float) -> Timing:
    regression.refuse_short()
    return Timing(repetition_time, regression.remove.kept, regression.load, regression.activation(series))


def _removed(denoising: Projection) -> dict:
    return {"Regressors": denoising.regressors, "DegreesOfFreedom": round(denoising.degrees_of_freedom, 2)}


def earlier_reason(row: pd.Series) -> str:
    """Return the exclusion reason that a subject brings from `acquire`; an empty string when there is none."""
    cell = row.get("exclusion_reason")
    return cell if isinstance(cell, str) else ""


def check_subject(row: pd.Series, mean_fd: float, spec: dict, covariates: Sequence[str]) -> None:
    problem = covariate_problem(row, covariates)
    if problem:
        raise UnusableError(problem)
    if "mean_fd" in covariates and not np.isfinite(mean_fd):
        raise UnusableError(
            "mean_fd is missing: without a motion estimate the confound floor cannot see it; give a confounds table, a "
            "column mean_fd (mm) in participants.tsv, or leave mean_fd out of dataset.covariates"
        )
    if mean_fd < 0:
        raise UnusableError(f"mean_fd is {mean_fd:g} mm; nothing below zero can be: write n/a for what is not known")
    if mean_fd > spec["max_mean_fd"]:
        raise UnusableError(
            f"mean framewise displacement {mean_fd:.2f} mm, more than {spec['max_mean_fd']:g} mm; "
            "set denoise.max_mean_fd to keep it"
        )


def prepare_cohort(
    participants: pd.DataFrame,
    index: pd.DataFrame,
    nodes: pd.DataFrame,
    spec: dict,
    folder: Path,
    names: dict,
    workers: int = 1,
    covariates: Sequence[str] = COVARIATES,
    kinds: Mapping[str, Sequence[str]] | None = None,
    measures: Sequence[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prepare everybody and write one series file (and sidecar) for each included subject.

    Parameters
    ----------
    participants, index : DataFrame
        From `acquire`.
    nodes : DataFrame, [N rows]
    spec : dict
        The `denoise` section.
    folder : path
        Of the BIDS derivative; the series go to ``sub-X/func`` in it.
    names : dict
        `atlas`, `denoise` and `task` (rest without it), for the file names.
    workers : int
        Processes.
    covariates : sequence of str
        What must be known of everybody.
    kinds, measures
        As of `prepare_subject`.

    Returns
    -------
    participants : DataFrame
        With `mean_fd` (mm), `n_volumes`, `seconds_kept`, `included` and `exclusion_reason`; of a task with `task_shift`
        (s) and `task_fit`, see `off_clock`, and mean displacements (mm) within task and rest.
    index : DataFrame
        Index of the denoised series of the included, paths from `folder`; `note` says what was decided about their
        columns.

    Raises
    ------
    ValueError
        When nobody can be used: the reasons of the first subjects are quoted.
    MachineError
        When files of the index are gone, or the machine fails: nobody is left out for it.
    """
    entries = {entry["participant_id"]: entry for _, entry in index.iterrows()}
    _refuse_gone(participants, entries)
    settings = nodes, spec, folder, names, covariates, kinds, measures
    jobs = (
        delayed(_prepare_and_write)(row, entries.get(row["participant_id"]), *settings)
        for _, row in participants.iterrows()
    )
    results = Parallel(n_jobs=workers, return_as="generator")(jobs)
    try:
        done = list(track(results, "denoising series", total=len(participants)))
    except BrokenProcessPool as problem:
        raise MachineError(
            "a process of this job was killed, for want of memory as a rule. Nobody is left out for this: give the job "
            f"more memory or fewer threads, and run the same command again ({one_line(str(problem))})"
        ) from problem
    verdicts, rows = [verdict for verdict, _ in done], [row for _, row in done if row is not None]
    return with_verdicts(participants, verdicts), pd.DataFrame(rows)


def emptied(folder: Path) -> Path:
    """Return a folder without the series of an earlier run: of people who are out by now, or of another denoising.

    Parameters
    ----------
    folder : path
        Of the BIDS derivative; it need not be there. Its ``series`` is where earlier versions wrote.
    """
    paths = [*folder.glob("sub-*/func/*_timeseries.*"), *folder.glob("series/*_timeseries.*")]
    for path in paths:
        path.unlink()
    emptied = {parent for path in paths for parent in path.relative_to(folder).parents} - {Path()}
    for parent in sorted(emptied, reverse=True):  # the deepest first
        if not any((folder / parent).iterdir()):
            (folder / parent).rmdir()
    return folder


def _refuse_gone(participants: pd.DataFrame, entries: Mapping[str, pd.Series]) -> None:
    """Stop where files that the index lists are gone, of those that are read."""
    names = [row["participant_id"] for _, row in participants.iterrows() if not earlier_reason(row)]
    read = [(name, entries[name]) for name in names if name in entries and not entries[name].get("problem")]
    refuse_gone((name, entry[key]) for name, entry in read for key in ("series", "confounds", "events") if key in entry)


def with_verdicts(participants: pd.DataFrame, verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Join the verdicts to the participants; refuse a cohort of which nobody is left."""
    table = participants.drop(columns=["mean_fd"], errors="ignore").assign(
        mean_fd=[verdict.mean_fd for verdict in verdicts],
        n_volumes=[verdict.n_volumes for verdict in verdicts],
        seconds_kept=[verdict.seconds_kept for verdict in verdicts],
        included=[verdict.exclusion_reason == "" for verdict in verdicts],
        exclusion_reason=[verdict.exclusion_reason for verdict in verdicts],
    )
    for name in dict.fromkeys(name for verdict in verdicts for name in verdict.moved):
        table[name] = [verdict.moved.get(name, np.nan) for verdict in verdicts]
    table = table.join(_clock(verdicts), on="participant_id")
    if not table["included"].any():
        print(*counted(dict(zip(table["participant_id"], table["exclusion_reason"]))), sep="\n", flush=True)
        reasons = "; ".join(frequent(table["exclusion_reason"]))
        raise ValueError(f"none of the {len(table)} subjects can be used. Most frequent reasons: {reasons}.")
    for verdict in verdicts:
        if verdict.exclusion_reason:
            print(f"{verdict.participant_id}: {verdict.exclusion_reason}; excluded.", flush=True)
        elif verdict.note:
            print(f"{verdict.participant_id}: {verdict.note}.", flush=True)
    return table


def _clock(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """`task_shift` and `task_fit` by person, see `off_clock`; who is doubtful is printed. No columns without a task."""
    people = {verdict.participant_id: verdict.fits for verdict in verdicts if verdict.fits is not None}
    if not people:
        return pd.DataFrame()
    shift, fit = off_clock(list(people.values()))
    table = pd.DataFrame({"task_shift": shift, "task_fit": fit}, index=list(people))
    for name, row in table.iterrows():
        if row["task_shift"]:
            when = f"{abs(row['task_shift']):g} s {'later' if row['task_shift'] > 0 else 'earlier'}"
            print(f"{name}: responses fit the task {when} than its events say: another clock, another run?", flush=True)
        elif row["task_fit"] < POOR:
            print(f"{name}: responses do not fit the events as the others' do: those of another run?", flush=True)
    return table


def judge_cohort(
    participants: pd.DataFrame, edges: pd.DataFrame, covariates: Sequence[str] = COVARIATES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Decide who can be used where connections are given as numbers, without series.

    Parameters
    ----------
    participants : DataFrame
        From `acquire`.
    edges : DataFrame
        `participant_id`, `region_a`, `region_b`, `connectivity`; from `acquire`.
    covariates : sequence of str
        What must be known of everybody.

    Returns
    -------
    participants : DataFrame
        As from `prepare_cohort`; there are no volumes.
    edges : DataFrame
        Of the included.
    """
    pairs = edges[["region_a", "region_b"]].drop_duplicates()
    n_known = edges[np.isfinite(edges["connectivity"])].groupby("participant_id").size()
    verdicts = []
    for _, row in participants.iterrows():
        name, n_missing = row["participant_id"], len(pairs) - int(n_known.get(row["participant_id"], 0))
        why = earlier_reason(row) or covariate_problem(row, covariates)
        if not why and n_missing:
            why = f"lacks {n_missing} of the {len(pairs)} connections of the table"
        verdicts.append(Verdict(name, None, float(row.get("mean_fd", np.nan)), 0, 0.0, why))
    table = with_verdicts(participants, verdicts)
    kept = table.loc[table["included"], "participant_id"]
    return table, edges[edges["participant_id"].isin(kept)].reset_index(drop=True)


def _prepare_and_write(
    row: pd.Series,
    entry: pd.Series | None,
    nodes: pd.DataFrame,
    spec: dict,
    folder: Path,
    names: dict,
    covariates: Sequence[str],
    kinds: Mapping[str, Sequence[str]] | None,
    measures: Sequence[str],
) -> tuple[Verdict, dict | None]:
    verdict = prepare_subject(row, entry, nodes, spec, covariates, kinds, measures)
    if verdict.series is None:
        return verdict, None
    task = names.get("task", "rest")
    stem = f"{verdict.participant_id}_task-{task}_seg-{names['atlas']}_desc-{names['denoise']}_timeseries"
    path = folder / verdict.participant_id / "func" / f"{stem}.tsv"
    sidecar = {
        "RepetitionTime": float(entry["repetition_time"]),
        "Units": "z-score",
        "Sources": [Path(entry["series"]).name + (f"[{entry['key']}]" if entry["key"] else "")],
        "SourceSHA256": entry["sha256"],
        "Denoising": spec,
        **verdict.removed,
        **({"Notes": [verdict.note]} if verdict.note else {}),
        "RegionsWithoutSignal": nodes["name"][~has_signal(verdict.series)].tolist(),
        "GeneratedBy": {"Name": "dysconnect", "Version": __version__},
    }
    try:
        write_series(verdict.series, nodes["name"], path)
        path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1))
    except OSError as problem:
        raise MachineError(reason(problem, verdict.participant_id)) from problem
    located = {
        "participant_id": verdict.participant_id,
        "series": path.relative_to(folder).as_posix(),
        "key": "",
        "confounds": "",
        "repetition_time": entry["repetition_time"],
        "sha256": series_hash(path.read_bytes()),
        "note": verdict.note,
    }
    # the verdict travels back between processes: leave the array, which is on disk now
    return replace(verdict, series=np.empty(0)), located
