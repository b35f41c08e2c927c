"""Events of a task run (BIDS ``*_events.tsv``): what happened when, in seconds of the scan, or refused by line.

Times are never divided, moved or cut in silence. What BIDS allows and a response can be modelled for is read: a
duration of zero (an impulse), and an onset before the first volume, where volumes at the beginning were not stored.
Events that last and overlap are refused: their load would add up, and a rest that a task overlaps is none. So are
times that could as well be counted in volumes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.reading.cells import folded, form, is_missing, label, number
from dysconnect.reading.numeric import refuse_absent
from dysconnect.reading.tables import TableError, read_table, read_text, shown

COLUMNS = ("onset", "duration", "trial_type")
LISTS = ("task", "rest", "ignore")  # what a kind of event can be said to be
EARLIEST = -24.0  # s; of what began before and is over, hardly anything is left in the first volume
SLACK = 0.1  # s that an event may be logged late: a few frames of a display


def read_events(
    path: str | Path, n_volumes: int, repetition_time: float, kinds: Mapping | None = None, start_time: float = 0.0
) -> tuple[pd.DataFrame, list[str]]:
    """Read the events of a run, and check that they are those of a scan of this length.

    Parameters
    ----------
    path : path
    n_volumes : int
        Of the scan.
    repetition_time : float
        Seconds.
    kinds : mapping, optional
        As of `task_events`; besides, `times` is ``seconds`` where somebody looked, and they are not counted in volumes.
    start_time : float
        When the first volume was taken, s on the clock of the table.

    Returns
    -------
    events : DataFrame
        `onset` (s, from the first volume), `duration` (s) and `trial_type`, by onset, without those to `ignore`; the
        index is the line of the file. Rest without a duration has zero: it lasts until something else begins.
    notes : list of str
        What was unusual and let pass: rows out of order, an event that outlasts the scan, a scan that begins later.

    Raises
    ------
    FileNotFoundError
        When the file is missing.
    TableError
        Names file, line and remedy: no such table, a column that is not there, no event, a cell that is no number,
        times in milliseconds or perhaps in volumes, before or after the scan, or events that overlap.
    """
    path, kinds = Path(path), kinds or {}
    refuse_absent(path, "events file")
    table = read_table(path.name, required=COLUMNS, text=read_text(path))
    kind = _kinds(table["trial_type"], path.name)
    table, kind = (rows[~kind.isin(kinds.get("ignore") or ())] for rows in (table, kind))
    if table.empty:
        raise TableError(f"{path.name} holds no event; without them it cannot be said when the task was")
    unsaid = kind.isin(kinds.get("rest") or ()) & table["duration"].map(is_missing)
    cells = table.assign(duration=table["duration"].mask(unsaid, "0"))
    events = pd.DataFrame({column: _times(cells[column], path.name) for column in COLUMNS[:2]})
    events = events.assign(onset=events["onset"] - start_time, trial_type=kind)
    _refuse_outside(events, n_volumes, repetition_time, start_time, path.name)
    ordered = events.sort_values("onset", kind="stable")
    _refuse_overlap(ordered, path.name)
    if kinds.get("times") != "seconds":
        _refuse_volumes(events, n_volumes, repetition_time, start_time, path.name)
    notes = _notes(events, ordered, n_volumes * repetition_time, path.name)
    if start_time >= repetition_time:
        notes.append(
            f"the first volume is {start_time:g} s after the clock of {path.name} began; onsets count from there"
        )
    return ordered, notes


def check_kinds(kinds: Mapping) -> None:
    """Refuse lists of kinds that cannot be meant; parameters as of `task_events`.

    Raises
    ------
    ValueError
        When two lists name a kind, or none is of the task.
    """
    said: dict[str, str] = {}
    for name in LISTS:
        for kind in kinds.get(name) or ():
            if said.setdefault(kind, name) != name:
                raise ValueError(f"trial_type {kind} is {said[kind]} and {name}; leave it in one list")
    if not kinds["task"]:
        raise ValueError("no trial_type is of the task")


def task_events(events: pd.DataFrame, kinds: Mapping, where: str) -> pd.DataFrame:
    """Take the events of the task; every kind of event must be said to be of the task or not.

    Parameters
    ----------
    events : DataFrame
        From `read_events`.
    kinds : mapping
        Kinds (`trial_type`) of the `task`, which are modelled; those of `rest`, and of what means nothing here; and, as
        far as `ignore` is there, those that may lie within others: presses of a button, a cue.
    where : str
        Name of the file, for messages.

    Returns
    -------
    DataFrame
        Rows of `events`.

    Raises
    ------
    ValueError
        As of `check_kinds`.
    TableError
        When the file lacks a kind of the task, or has one that no list names; it lists those that there are.
    """
    check_kinds(kinds)
    there = list(dict.fromkeys(events["trial_type"]))
    counts = ", ".join(f"{kind} ({(events['trial_type'] == kind).sum()})" for kind in there[:20])
    absent = [kind for kind in kinds["task"] if kind not in there]
    if absent:
        near = [kind for kind in there if folded(kind) in {folded(name) for name in absent}]
        hint = f"; {shown(near)} differs in case or blanks only" if near else ""
        raise TableError(f"{where} has no event of trial_type {shown(absent)}; there are {counts}{hint}")
    unknown = [kind for kind in there if kind not in {*kinds["task"], *kinds["rest"]}]
    if unknown:
        raise TableError(
            f"{where}, line {events.index[events['trial_type'] == unknown[0]][0]}: trial_type {shown(unknown)} is not "
            f"said to be task or rest; there are {counts}. Name it in one of the two, or in a list ignore beside them"
        )
    return events[events["trial_type"].isin(kinds["task"])]


def _times(cells: pd.Series, where: str) -> pd.Series:
    """Numbers of the column of onsets or durations; each must be one."""
    values = cells.map(number)
    for line in cells.index[values.isna()]:
        cell = cells[line]
        what = "is missing" if is_missing(cell) else f"{cell!r:.40} is no number of seconds ({form(cell)})"
        raise TableError(f"{where}, line {line}: {cells.name} {what}; an event needs both times")
    return values


def _kinds(cells: pd.Series, where: str) -> pd.Series:
    missing = cells.index[cells.map(is_missing)]
    if len(missing):
        raise TableError(
            f"{where}, line {missing[0]}: trial_type is missing ({len(missing)} of {len(cells)} events); say what "
            "it was, or remove the line"
        )
    return cells.map(label)


def _refuse_volumes(
    events: pd.DataFrame, n_volumes: int, repetition_time: float, start_time: float, where: str
) -> None:
    """Refuse times that could be counted in volumes: whole numbers to the number of volumes, or to half the seconds."""
    seconds, end = n_volumes * repetition_time, (events["onset"] + events["duration"]).max() + start_time
    whole = ((events["onset"] + start_time) % 1 == 0).all() and (events["duration"] % 1 == 0).all()
    to_the_last = 0.9 * n_volumes <= end <= n_volumes + 1 and abs(repetition_time - 1) > 0.1
    if (whole and to_the_last) or 0 < end - start_time <= seconds / 2 + repetition_time:
        raise TableError(
            f"{where}: the last event ends at {end:g}; the scan has {n_volumes} volumes and {seconds:g} s. Are the "
            "times counted in volumes, or minutes? BIDS has seconds; multiply them. Where they are seconds, add times: "
            "seconds to dataset.trial_types"
        )


def _refuse_outside(
    events: pd.DataFrame, n_volumes: int, repetition_time: float, start_time: float, where: str
) -> None:
    """Refuse times that the scan does not have, with the first line of each, as it stands there."""
    onset, duration, seconds = events["onset"], events["duration"], n_volumes * repetition_time
    later = f" after {start_time:g} s" if start_time >= repetition_time else ""
    scan = f"the scan ({n_volumes} volumes x {repetition_time:g} s = {seconds:g} s{later})"
    written, over = onset + start_time, (onset < EARLIEST) & (onset + duration <= 0)
    for problem, wrong, values in (
        ("an event cannot last so long: duration", duration < 0, duration),
        (f"is over, and began more than {-EARLIEST:g} s before the first volume{later}: onset", over, written),
        (f"begins after the last volume of {scan}: onset", onset >= seconds, written),
        (f"lasts longer than {scan}: duration", duration > seconds, duration),
    ):
        if wrong.any():
            line = events.index[wrong][0]
            raise TableError(
                f"{where}, line {line} ({events['trial_type'][line]:.40}): {problem} {values[line]:g} s "
                f"({wrong.sum()} of {len(events)} events so){_remedy(values, wrong, seconds, n_volumes)}"
            )


def _remedy(values: pd.Series, wrong: pd.Series, seconds: float, n_volumes: int) -> str:
    """Say what times outside the scan seem to be."""
    others = (values != 0).sum()
    # ten times as long as the scan at least: events in seconds of a scan that was cut short do not reach as far
    if values.min() >= 0 and 10 * seconds < values.max() <= 1000 * seconds and 2 * wrong.sum() > others:
        return ": milliseconds? BIDS has seconds; divide them and write the file again"
    unit = "counted in volumes" if seconds < values.max() <= n_volumes + 1 else "wrong"
    return f": the file is of another run, the scan is cut short, or the times are {unit}"


def _refuse_overlap(ordered: pd.DataFrame, where: str) -> None:
    """Refuse events that begin while another lasts; impulses may lie anywhere."""
    lasting = ordered[ordered["duration"] > 0]
    twice = ordered.duplicated(list(COLUMNS))
    if twice.any():
        raise TableError(f"{where}, line {ordered.index[twice][0]} holds an event that stands there already; remove it")
    begin, end = lasting["onset"].to_numpy(), (lasting["onset"] + lasting["duration"]).to_numpy()
    latest = np.maximum.accumulate(end)
    late = np.flatnonzero(begin[1:] < latest[:-1] - SLACK)
    if len(late):
        k, before = late[0] + 1, int(np.argmax(end[: late[0] + 1]))
        apart = np.all(np.diff(begin) >= lasting["duration"].to_numpy()[:-1] / 1000)
        hint = " (milliseconds? BIDS has seconds)" if apart and lasting["duration"].median() >= 100 else ""
        kinds = lasting["trial_type"].to_numpy()
        raise TableError(
            f"{where}, lines {lasting.index[before]} and {lasting.index[k]}: {kinds[before]:.40} lasts from "
            f"{begin[before]:g} to {end[before]:g} s{hint}, and {kinds[k]:.40} begins at {begin[k]:g} s. Responses "
            "that overlap cannot be told apart; write the times again, or add ignore: [KIND] to dataset.trial_types"
        )


def _notes(events: pd.DataFrame, ordered: pd.DataFrame, seconds: float, where: str) -> list[str]:
    """Say what is unusual and harmless."""
    notes, end = [], events["onset"] + events["duration"]
    if not events.index.equals(ordered.index):
        notes.append(f"the rows of {where} were not in the order of their onsets, and were sorted")
    beyond = end.max() - seconds
    if beyond > SLACK:
        notes.append(f"line {end.idxmax()} of {where} is cut at the end of the scan, {beyond:.1f} s early")
    return notes
