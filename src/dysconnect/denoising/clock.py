"""Whether the events of a person are on the clock of the scan, as the responses of all others tell.

A table of events cannot show that its onsets count from another moment, or belong to another run; the responses can.
Regions that respond in most people say which pattern to look for, and at which shift of the task a person has it.
"""

from collections.abc import Sequence

import numpy as np

from dysconnect.denoising.task import TaskDesign, TaskRegression

SHIFTS = np.arange(-40.0, 41.0, 2.0)  # s, that the task is moved by
NEAR = 4.0  # s, that responses differ by in their delay
BETTER = 4 / 3  # times as well, at another time, do the responses of a doubtful person fit
TYPICAL = 0.5  # of the median person's fit, that those of a doubtful person have somewhere
FEWEST = 5  # people who say what is typical
LEAST = 0.15  # correlation of the region that responds most with the task, in the median person


def shifted_fits(
    series: np.ndarray, design: TaskDesign, regression: TaskRegression, repetition_time: float
) -> np.ndarray:
    """Correlation of each region with the course of the task moved by `SHIFTS`, beside confounds and drift, [S, N].

    Parameters
    ----------
    series : array, [T, N]
    design : TaskDesign
    regression : TaskRegression
        Of the same T volumes.
    repetition_time : float
        Seconds.
    """
    time, nuisance = np.arange(len(design.course)) * repetition_time, regression.nuisance
    moved = [np.interp(time - shift, time, design.course[:, 0], left=0, right=0) for shift in SHIFTS]
    course, signal = nuisance(np.column_stack(moved)), nuisance(series)
    lengths = [np.linalg.norm(columns, axis=0) for columns in (course, signal)]
    return ((course.T @ signal) / np.maximum(np.outer(*lengths), np.finfo(float).tiny)).astype(np.float32)


def off_clock(fits: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """How much later (s) the task fits everybody's responses, and how well it fits as it is.

    Parameters
    ----------
    fits : sequence of array, [S, N]
        From `shifted_fits`, one a person.

    Returns
    -------
    shift : array, [n]
        Zero where the task fits as it is, or fits nowhere.
    fit : array, [n]
        Relative to the median person; below `POOR` (`data.conditions`) these are perhaps not the events. NaN where too
        few people, or none of the regions, say what is typical.
    """
    fits, there = np.array(fits), np.flatnonzero(SHIFTS == 0)[0]
    typical = np.median(fits[:, there], axis=0) if len(fits) else np.zeros(1)
    if len(fits) < FEWEST or np.abs(typical).max() < LEAST:
        return np.zeros(len(fits)), np.full(len(fits), np.nan)
    scores = fits @ typical  # [n, S]
    scores = scores / np.median(scores[:, there])
    now, best, shift = scores[:, there], scores.max(axis=1), SHIFTS[scores.argmax(axis=1)]
    doubtful = (np.abs(shift) > NEAR) & (best > BETTER * now) & (best > TYPICAL)
    return np.where(doubtful, shift, 0.0), now
