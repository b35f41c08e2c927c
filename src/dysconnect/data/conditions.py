"""Connectivity of a scan of a task: in the volumes of the task, and against those of rest in the same scan."""

import numpy as np

from dysconnect.data.timing import Timing
from dysconnect.dynamics.fisher import fisher_z
from dysconnect.dynamics.lagged import delay_and_noise

HIGH, LOW = 0.8, 0.2  # of the largest load: volumes above are task, below rest
POOR = 0.2  # of the median person's fit to the task: below, responses are not those to these events, or absent


def volumes_of(load: np.ndarray) -> dict[str, np.ndarray]:
    """Which volumes are `task` and which `rest`, bool [K] each, by how much of the task is in each, [K]."""
    return {"task": load > HIGH, "rest": load < LOW}


def within_task(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Correlations in the volumes of the task, [N, N], and activation and noise of every region, [2, N].

    Noise makes every correlation smaller: groups that differ in it seem to differ in connections. It is that of all
    volumes, so that what regions share in the task alone hardly looks like less of it.

    Parameters
    ----------
    series : array, [K, N]
        What no response to the task explains.
    timing : Timing
        With `load` and `activation`.
    """
    return _correlation(series, timing, "task"), _regional(series, timing)


def task_change(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Fisher z in the volumes of the task less that in those of rest, [N, N]; otherwise as `within_task`."""
    z = [fisher_z(_correlation(series, timing, name)) for name in ("task", "rest")]
    return z[0] - z[1], _regional(series, timing)


def _regional(series: np.ndarray, timing: Timing) -> np.ndarray:
    return np.stack([timing.activation, delay_and_noise(series, timing.kept, timing.repetition_time)[1]])


def _correlation(series: np.ndarray, timing: Timing, name: str) -> np.ndarray:
    if timing.load is None or timing.activation is None:
        raise ValueError(
            "the series were not denoised for a task: nothing says when it went on. Choose denoise=task, and make the "
            "series again: add --forcerun timeseries to the command."
        )
    return np.corrcoef(series[volumes_of(timing.load)[name]].T)
