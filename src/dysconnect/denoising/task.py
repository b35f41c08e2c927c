"""Task connectivity of one run: one regression that leaves nothing of the responses, then correlations of the rest.

A mean response that is flexible in time (finite impulse response, FIR) is needed, for what activation leaves behind
seems connectivity (Cole et al. 2019, doi:10.1016/j.neuroimage.2018.12.054), and is not enough: responses rise and fall
together from block to block, fade or grow within them, begin and end early or late, and regions that respond more then
seem more connected. So every block has a response as well: the canonical one, its derivative, a slope within the
block, and an impulse at its end. Connected is what fluctuates together beyond them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from dysconnect.data.conditions import HIGH, LOW, volumes_of
from dysconnect.data.series import has_signal
from dysconnect.denoising.checks import check_map
from dysconnect.denoising.projection import NOTHING, Projection, projection
from dysconnect.denoising.regressors import UnusableError, kept_volumes, nuisance_regressors
from dysconnect.reading.events import EARLIEST

RESPONSE = 20.0  # s after the end of a block that the flexible response covers
STEP = 0.1  # s, of the time grid on which boxcars meet the response
LASTING = 10.0  # s; slope and end of shorter events cannot be told from the derivative of the response
LEAST_FREEDOM = 30  # degrees of freedom within the volumes of task, and of rest
LEAST_LOAD = 0.05  # fraction of the task's course that drift and confounds must leave, for an activation to be known


@dataclass(frozen=True)
class TaskDesign:
    """What events do to a scan of T volumes, whoever lies in it.

    Attributes
    ----------
    responses : DataFrame, [T, P]
        Flexible responses of every kind of event, and the courses of every event as of `block_courses`.
    course : array, [T, 2]
        Canonical course of the whole task, with a maximum of one, and its derivative.
    load : array, [T]
        The former, but nowhere rest while an event has a response, however short it is beside others.
    """

    responses: pd.DataFrame
    course: np.ndarray
    load: np.ndarray


@dataclass(frozen=True)
class TaskRegression:
    """Regression of a task run of T volumes, of which K are kept.

    Attributes
    ----------
    remove : Projection
        Takes out confounds, drift and all responses.
    nuisance : Projection
        Takes out confounds and drift only.
    course : array, [K, 2]
    load : array, [K]
        As of `TaskDesign`.
    displacement : array, [K]
        Framewise displacement in mm; NaN where it is not known.
    """

    remove: Projection
    nuisance: Projection
    course: np.ndarray
    load: np.ndarray
    displacement: np.ndarray

    @property
    def volumes(self) -> dict[str, np.ndarray]:
        """Which of the kept volumes are `task` and which `rest`, bool [K] each."""
        return volumes_of(self.load)

    def freedom(self, rows: np.ndarray) -> float:
        """Degrees of freedom within some of the kept volumes, bool [K]: the trace of the map there."""
        return float(rows.sum() - (self.remove.basis[rows] ** 2).sum())

    def refuse_short(self) -> dict[str, float]:
        """Degrees of freedom within `task` and `rest`.

        Raises
        ------
        UnusableError
            When they are too few within either.
        """
        freedom = {name: self.freedom(rows) for name, rows in self.volumes.items()}
        for name, rows in self.volumes.items():
            if freedom[name] < LEAST_FREEDOM:
                limit = f"more than {HIGH:g}" if name == "task" else f"less than {LOW:g}"
                raise UnusableError(
                    f"{rows.sum()} volumes of {name} ({limit} of the largest load), of which all responses and "
                    f"confounds leave {int(max(freedom[name], 0))} degrees of freedom; {LEAST_FREEDOM} are needed. The "
                    f"run is too short, too little of it is {name}, or its events are many and short: each takes two"
                )
        return freedom

    def mean_displacement(self) -> dict[str, float]:
        """Mean framewise displacement (mm) within `mean_fd_task` and `mean_fd_rest`; NaN where it is not known.

        Motion that goes with the task differs between groups where that of the whole run does not: both are covariates.
        """
        return {f"mean_fd_{name}": _mean(self.displacement[rows]) for name, rows in self.volumes.items()}

    def activation(self, series: np.ndarray) -> np.ndarray:
        """Mean amplitude of the response to the task, [N], of `series` [T, N]; zero where there is no signal.

        The unit is the standard deviation of what is left after all responses: series need not be raw images, of which
        alone percent can be told, and it is in this unit that a response left in would raise a correlation.
        """
        left, signal = self.remove(series), self.nuisance(series)
        slopes = np.linalg.lstsq(_without(self.course, self.nuisance), signal, rcond=None)[0]
        spread = np.sqrt((left**2).sum(0) / self.remove.degrees_of_freedom)
        before = series[self.nuisance.kept]
        alive = has_signal(before) & (spread > NOTHING * before.std(0))
        return np.where(alive, slopes[0] / np.where(alive, spread, 1), 0.0)


def task_design(events: pd.DataFrame, n_volumes: int, repetition_time: float) -> TaskDesign:
    """Model the events of the task.

    Parameters
    ----------
    events : DataFrame
        `onset` (s), `duration` (s), `trial_type` of the task alone: from ``reading.events.task_events``.
    n_volumes : int
    repetition_time : float
        Seconds.

    Raises
    ------
    UnusableError
        When no response falls into the scan.
    """
    blocks = [block_courses(event, n_volumes, repetition_time) for event in events.itertuples()]
    course = np.sum([block.to_numpy()[:, :2] for block in blocks], axis=0)
    if not course[:, 0].max() > 0:
        raise UnusableError("no response to the task falls into the scan: its events are at the very end")
    responses = pd.concat([flexible_responses(events, n_volumes, repetition_time), *blocks], axis=1)
    course = course / course[:, 0].max()
    inside = [block.iloc[:, 0].to_numpy() for block, onset in zip(blocks, events["onset"]) if onset >= 0]
    return TaskDesign(responses, course, _load(course[:, 0], inside))


def task_regression(
    series: np.ndarray, confounds: pd.DataFrame | None, design: TaskDesign, repetition_time: float, spec: dict
) -> TaskRegression:
    """Build the one regression of a task run.

    Parameters
    ----------
    series : array, [T, N]
    confounds : DataFrame or None, [T rows]
        With fMRIPrep's column names.
    design : TaskDesign
    repetition_time : float
        Seconds.
    spec : dict
        As the `denoise` section, without a low-pass; the filter is a projection (``cosine``), whatever it says.

    Raises
    ------
    UnusableError
        When too few degrees of freedom or seconds are left, as `check_map` says, or too little of the task's course.
    """
    if spec.get("low_pass"):
        raise ValueError(
            f"denoise.low_pass={spec['low_pass']:g}: set it to null for a task, or hardly a degree of freedom is left"
        )
    spec = {**spec, "filter": "cosine", "low_pass": None}
    kept = kept_volumes(confounds, len(series), spec)
    nuisance = nuisance_regressors(series, confounds, kept, spec)
    remove = projection(pd.concat([nuisance, design.responses], axis=1), kept, repetition_time, spec)
    check_map(remove, repetition_time, spec)
    drift = projection(nuisance, kept, repetition_time, spec)
    _refuse_explained(design.course[kept, :1], drift)
    displacement = np.full(len(series), np.nan) if confounds is None else confounds["framewise_displacement"].to_numpy()
    return TaskRegression(remove, drift, design.course[kept], design.load[kept], displacement[kept])


def flexible_responses(events: pd.DataFrame, n_volumes: int, repetition_time: float) -> pd.DataFrame:
    """Finite impulse response of every kind of event: one column a volume since its onset, [T, lags of all kinds].

    It covers the longest event of the kind and 20 s after it. A volume belongs to the time at which it begins.

    Parameters
    ----------
    events : DataFrame
        As of `task_design`.
    n_volumes : int
    repetition_time : float
        Seconds.
    """
    time, columns = np.arange(n_volumes) * repetition_time, {}
    for kind, of_kind in events.groupby("trial_type", sort=True):
        n_lags = max(1, round((of_kind["duration"].max() + RESPONSE) / repetition_time))
        since = np.floor((time[:, None] - of_kind["onset"].to_numpy()) / repetition_time + 1e-6)  # 1e-6: of rounding
        columns |= {f"{kind} +{lag}": (since == lag).sum(1).astype(float) for lag in range(n_lags)}
    return pd.DataFrame(columns)


def block_courses(event, n_volumes: int, repetition_time: float) -> pd.DataFrame:
    """Canonical response to one event, its derivative, and of a block its slope and its end, [T, 2 or 4].

    The event is a boxcar, the slope a ramp from -1 to 1 in its place, and the end an impulse, through nilearn's SPM
    response. The derivative is about an impulse at the beginning less one at the end: with the latter it lets a block
    begin and end early or late, each by itself.

    Parameters
    ----------
    event : row of `events`
    n_volumes : int
    repetition_time : float
        Seconds.
    """
    name = f"{event.trial_type} at {event.onset:g} s"
    courses = _courses(float(event.onset), float(event.duration), n_volumes, repetition_time).copy()
    names = [name, f"{name}, derivative", f"{name}, slope", f"{name}, end"]
    return pd.DataFrame(courses, columns=names[: courses.shape[1]])


@lru_cache(maxsize=512)  # the blocks of one person are mostly those of the next
def _courses(onset: float, duration: float, n_volumes: int, repetition_time: float) -> np.ndarray:
    """Courses of `block_courses`, [T, 2 or 4]."""
    scan = n_volumes, repetition_time
    courses = [_convolved(([onset], [duration], [1.0]), "spm + derivative", *scan)]
    if duration >= LASTING:
        n_steps = round(duration)
        step = duration / n_steps
        ramp = onset + step * np.arange(n_steps), np.full(n_steps, step), np.linspace(-1, 1, n_steps)
        courses += [_convolved(ramp, "spm", *scan), _convolved(([onset + duration], [0.0], [1.0]), "spm", *scan)]
    return np.hstack(courses)


def _convolved(condition: tuple, model: str, n_volumes: int, repetition_time: float) -> np.ndarray:
    """Onsets, durations and heights through a response of nilearn's, [T, columns of the model]."""
    from nilearn.glm.first_level import compute_regressor  # takes a second to load

    time, fine = np.arange(n_volumes) * repetition_time, int(np.ceil(repetition_time / STEP))
    first = min(EARLIEST, *condition[0])  # what began long before may last into the scan
    return compute_regressor(condition, model, time, oversampling=fine, min_onset=first)[0]


def _load(course: np.ndarray, responses: Sequence[np.ndarray]) -> np.ndarray:
    """Course of the task, [T], raised to where rest ends while any of its responses is above that share of itself.

    The response to an impulse is small beside that to a block, and the volumes after it are no rest.
    """
    load = course.copy()
    for response in responses:
        load[(response >= LOW * response.max()) & (response > 0) & (load < LOW)] = LOW
    return load


def _without(columns: np.ndarray, nuisance: Projection) -> np.ndarray:
    """What is left of columns of kept volumes, [K, P], after confounds and drift."""
    return columns - nuisance.basis @ (nuisance.basis.T @ columns)


def _refuse_explained(load: np.ndarray, nuisance: Projection) -> None:
    """Refuse a task whose course drift and confounds explain: nothing can be said then about its response."""
    left = (_without(load, nuisance) ** 2).sum() / max(((load - load.mean()) ** 2).sum(), NOTHING)
    if left < LEAST_LOAD:
        raise UnusableError(
            f"drift and confounds explain {1 - left:.0%} of the course of the task: the head moved with it, or its "
            "blocks are longer than denoise.high_pass lets pass"
        )


def _mean(values: np.ndarray) -> float:
    """Mean of the numbers among them; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
