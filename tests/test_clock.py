"""Whether events are on the clock of the scan is seen from the responses of the others."""

import numpy as np
import pytest

from dysconnect.data.conditions import POOR
from dysconnect.denoising.clock import SHIFTS, off_clock, shifted_fits
from dysconnect.denoising.task import task_design, task_regression
from dysconnect.planted.tapping import Tapping, tapping_events, tapping_series

T, TR, N = 240, 2.0, 12
SPEC = {
    "motion": None, "wm_csf": None, "global_signal": None, "compcor": None, "n_compcor": 5, "fd_threshold": None,
    "std_dvars_threshold": None, "scrub": 5, "detrend": True, "high_pass": 0.01, "min_seconds": 240,
    "min_degrees_of_freedom": 50,
}  # fmt: skip
PATTERN = np.array([1, 1, 1, 0.5, -0.5, -0.5, 0, 0, 0, 0, 0, 0])


def fits_of(activation: float, shifts, seed: int = 0) -> list[np.ndarray]:
    """People who tap alike, whose events say so later by `shifts` (s)."""
    rng = np.random.default_rng(seed)
    events = tapping_events(T, TR, rng)
    truth = Tapping(np.vstack([np.eye(N), np.full(N, 0.5)]), np.zeros((0, N)), activation * PATTERN)
    tasks = events[events["trial_type"] != "rest"]
    fits = []
    for series, shift in zip(tapping_series(events, T, TR, truth, rng, len(shifts)), shifts):
        moved = tasks.assign(onset=tasks["onset"] + shift)
        design = task_design(moved[moved["onset"] < T * TR], T, TR)
        fits.append(shifted_fits(series, design, task_regression(series, None, design, TR, SPEC), TR))
    return fits


def test_a_fit_is_the_correlation_with_the_course_where_nothing_else_is_removed():
    design = task_design(tapping_events(T, TR, np.random.default_rng(0)).query("trial_type != 'rest'"), T, TR)
    course = np.column_stack([design.course[:, 0], np.roll(design.course[:, 0], 5)])
    regression = task_regression(course, None, design, TR, SPEC)
    fits = shifted_fits(course, design, regression, TR)
    assert fits[SHIFTS == 0, 0] == pytest.approx(1, abs=1e-6)
    assert SHIFTS[fits.argmax(axis=0)].tolist() == [0, 10]


@pytest.mark.parametrize("shift", [31.0, 20.0, 8.0, -8.0])
def test_who_is_off_the_clock_is_seen_with_the_time_and_nobody_else(shift):
    shifts = np.zeros(12)
    shifts[4] = shift
    later, fit = off_clock(fits_of(1.0, shifts))
    assert np.flatnonzero(later).tolist() == [4]
    assert abs(later[4] + shift) <= 4 or shift == 31.0  # half a period later or earlier is alike
    assert fit[shifts == 0].min() > POOR


def test_people_who_respond_more_or_less_are_not_doubted_and_who_does_not_respond_is():
    shift, fit = off_clock([*fits_of(2.0, np.zeros(8)), *fits_of(0.4, np.zeros(8), 0)[:4]])
    assert not shift.any() and fit.min() > POOR
    shift, fit = off_clock([*fits_of(1.0, np.zeros(10)), *fits_of(0.0, np.zeros(2))])
    assert not shift.any() and np.flatnonzero(fit < POOR).tolist() == [10, 11]


def test_nobody_is_doubted_where_nothing_is_typical():
    for fits in (fits_of(0.0, np.zeros(8)), fits_of(1.0, [0, 0, 0, 20]), []):
        shift, fit = off_clock(fits)
        assert len(shift) == len(fits) and not shift.any() and np.isnan(fit).all()
