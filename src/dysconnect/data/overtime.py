"""Connectivity in time, as the table of measures takes it: a matrix, and what is to stand beside it of every region."""

import numpy as np

from dysconnect.data.timing import Timing
from dysconnect.dynamics.lagged import delay_and_noise, lagged
from dysconnect.dynamics.variability import SHORTEST_WINDOW, variability


def lagged_coupling(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Coupling from the region of the row to that of the column, [N, N], and delay (s) and noise of each, [2, N].

    Parameters
    ----------
    series : array, [K, N]
    timing : Timing

    Raises
    ------
    ValueError
        When the regions are too many for so few volumes, or the series unusable.
    """
    return lagged(series, timing.kept).coupling.T, np.stack(delay_and_noise(series, *_timed(timing)))


def variability_excess(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Excess of every connection's variance in time, [N, N], and delay (s) and noise of every region, [2, N].

    Parameters and errors as of `lagged_coupling`. Everybody has the same random phases: the window is a minute.
    """
    rows, cols = np.triu_indices(series.shape[1], 1)
    matrix = np.zeros((series.shape[1],) * 2, np.float32)
    matrix[rows, cols] = matrix[cols, rows] = variability(series, *_timed(timing), SHORTEST_WINDOW)
    return matrix, np.stack(delay_and_noise(series, *_timed(timing)))


def _timed(timing: Timing) -> tuple[np.ndarray, float]:
    return timing.kept, timing.repetition_time
