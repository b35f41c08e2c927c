"""Connectivity in time, as the table of measures takes it: a matrix, what is to stand beside it, and what it asks."""

from collections.abc import Mapping

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
from dysconnect.dynamics.variability import SHORTEST_WINDOW, check_windows, variability

CENSORING = "loosen denoise.fd_threshold, denoise.std_dvars_threshold or denoise.scrub to keep it"


def lagged_coupling(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray, Mapping[str, float]]:
    """Coupling from the region of the row to that of the column, what stands beside it, and what the scan says.

    Parameters
    ----------
    series : array, [K, N]
    timing : Timing

    Returns
    -------
    coupling : array, [N, N]
    regional : array, [2, N]
        Delay (s) and noise of every region.
    scan : mapping
        `pairs` of volumes that were used, `repetition_time` (s), and `reversal`.

    Raises
    ------
    ValueError
        When the regions are too many for so few volumes, or the series unusable.
    """
    fit = lagged(series, timing.kept)
    scan = {"pairs": fit.pairs, "repetition_time": timing.repetition_time, "reversal": reversal(fit)}
    return fit.coupling.T, np.stack(delay_and_noise(series, *_timed(timing))), scan


def variability_excess(series: np.ndarray, timing: Timing) -> tuple[np.ndarray, np.ndarray]:
    """Excess of every connection's variance in time, [N, N], and delay (s) and noise of every region, [2, N].

    Parameters and errors as of `lagged_coupling`. Everybody has the same random phases: the window is a minute.
    """
    rows, cols = np.triu_indices(series.shape[1], 1)
    matrix = np.zeros((series.shape[1],) * 2, np.float32)
    matrix[rows, cols] = matrix[cols, rows] = variability(series, *_timed(timing), SHORTEST_WINDOW)
    return matrix, np.stack(delay_and_noise(series, *_timed(timing)))


def refuse_few_pairs(timing: Timing, regions: int) -> None:
    """Refuse a scan with too few pairs of volumes for lagged coupling of its regions, and say how many it allows.

    Raises
    ------
    ValueError
    """
    _refuse_one(regions)
    allowed, pairs = most_regions(timing.kept), int(following_pairs(timing.kept).sum())
    if regions <= allowed:
        return
    smaller = "choose atlas=motor10 (10 regions)" if allowed >= 10 else f"give {allowed} regions (atlas.nodes=FILE)"
    remedy = f"{smaller} to keep it" if allowed > 1 else CENSORING
    raise ValueError(
        f"connectivity=lagged of {regions} regions needs {PAIRS_A_REGION * regions:,} pairs of volumes that follow "
        f"each other, and this scan has {pairs:,}: with more than {allowed} regions direction is a guess; {remedy}"
    )


def refuse_few_windows(timing: Timing, regions: int) -> None:
    """Refuse a scan that is too short, or too much censored, for connectivity in windows of a minute.

    Raises
    ------
    ValueError
    """
    _refuse_one(regions)
    try:
        check_windows(*_timed(timing), SHORTEST_WINDOW)
    except ValueError as problem:
        remedy = "it takes three minutes or more" if timing.kept.all() else CENSORING
        raise ValueError(f"connectivity=variability: {str(problem).split(';')[0]}; {remedy}") from problem


def _refuse_one(regions: int) -> None:
    if regions < 2:
        raise ValueError(
            f"{regions} of the regions have a signal, and this connectivity is of two or more; lower "
            "denoise.max_missing_regions"
        )


def _timed(timing: Timing) -> tuple[np.ndarray, float]:
    return timing.kept, timing.repetition_time
