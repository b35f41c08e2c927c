"""Connectivity in time, as the table of measures takes it: a matrix, and what is to stand beside it of every region."""

import numpy as np

from dysconnect.data.timing import Timing
from dysconnect.dynamics.lagged import (
    PAIRS_A_REGION,
    delay_and_noise,
    following_pairs,
    lagged,
    most_regions,
    reversal,
)
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
    _refuse_too_many(series.shape[1], timing)
    return lagged(series, timing.kept).coupling.T, np.stack(delay_and_noise(series, *_timed(timing)))


def lagged_scan(series: np.ndarray, timing: Timing) -> dict[str, float]:
    """What is said of a scan as a whole: `pairs` of volumes that were used, `repetition_time` (s), and `reversal`.

    Parameters as of `lagged_coupling`.
    """
    fit = lagged(series, timing.kept)
    return {"pairs": fit.pairs, "repetition_time": timing.repetition_time, "reversal": reversal(fit)}


def variability_excess(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Excess of every connection's variance in time, [N, N], and delay (s) and noise of every region, [2, N].

    Parameters and errors as of `lagged_coupling`. Everybody has the same random phases: the window is a minute.
    """
    rows, cols = np.triu_indices(series.shape[1], 1)
    matrix = np.zeros((series.shape[1],) * 2, np.float32)
    matrix[rows, cols] = matrix[cols, rows] = variability(series, *_timed(timing), SHORTEST_WINDOW)
    return matrix, np.stack(delay_and_noise(series, *_timed(timing)))


def _refuse_too_many(regions: int, timing: Timing) -> None:
    """Say of too many regions what is to be done about them: `lagged` refuses them whatever they are for."""
    allowed, pairs = most_regions(timing.kept), int(following_pairs(timing.kept).sum())
    if regions <= allowed or allowed < 2:
        return
    smaller = "atlas=motor10 (10 regions)" if allowed >= 10 else f"a table of {allowed} regions (atlas.nodes=FILE)"
    seconds = np.ceil(PAIRS_A_REGION * regions * timing.repetition_time * timing.kept.sum() / pairs)
    raise ValueError(
        f"connectivity=lagged of {regions} regions needs {PAIRS_A_REGION * regions:,} pairs of volumes that follow "
        f"each other, and this scan has {pairs:,}: with more than {allowed} regions direction is a guess. Choose "
        f"{smaller}; or leave out people with less data: denoise.min_seconds={seconds:.0f}."
    )


def _timed(timing: Timing) -> tuple[np.ndarray, float]:
    return timing.kept, timing.repetition_time
