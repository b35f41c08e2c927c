"""Denoising as one linear map of the kept volumes: trend, filter and confounds leave together."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import linalg

from dysconnect.data.series import has_signal
from dysconnect.denoising.regressors import UnusableError, kept_volumes, nuisance_regressors

ORDER = 5  # of the Butterworth filter, run forwards and backwards; nilearn's
NOTHING = 1e-10  # what is left of a series relative to what it was, below which rounding is all that is left


@dataclass(frozen=True)
class Projection:
    """Linear map that denoises a scan of T volumes, of which K are kept.

    Attributes
    ----------
    kept : bool array, [T]
    smoother : array, [K, K] or None
        Interpolation over censored volumes, trend and Butterworth filter; None where these are part of `basis`.
    basis : array, [K, Q]
        Orthonormal: the space that is regressed out.
    regressors : list of str
        Names of the confounds in it.
    """

    kept: np.ndarray
    smoother: np.ndarray | None
    basis: np.ndarray
    regressors: list[str]

    def __call__(self, series: np.ndarray) -> np.ndarray:
        """Return what is left, [K, N], in the units of `series`, [T, N]."""
        values = series[self.kept]
        if self.smoother is not None:
            values = self.smoother @ values
        return values - self.basis @ (self.basis.T @ values)

    def clean(self, series: np.ndarray) -> np.ndarray:
        """Return what is left as z-scores, [K, N]; zero where a region was constant or nothing is left."""
        before = series[self.kept]
        left = self(series)
        scale = left.std(0, ddof=1)
        alive = has_signal(before) & (scale > NOTHING * before.std(0, ddof=1))
        return np.where(alive, (left - left.mean(0)) / np.where(alive, scale, 1), 0.0)

    @property
    def degrees_of_freedom(self) -> float:
        """Trace of the map, which is the rank of a projection.

        K less the regressors, less what the filter takes; of a smoother it is the effective number (Hastie and
        Tibshirani 1990, Generalized Additive Models, section 3.5).
        """
        if self.smoother is None:
            return float(np.subtract(*self.basis.shape))
        return float(np.trace(self.smoother) - np.vdot(self.basis, self.smoother @ self.basis))


def denoise(series: np.ndarray, confounds: pd.DataFrame | None, repetition_time: float, spec: dict) -> np.ndarray:
    """Denoise regional series: trend, filter, confounds and censoring in one linear map, then z-scores.

    Parameters
    ----------
    series : array, [T, N]
    confounds : DataFrame or None, [T rows]
        With fMRIPrep's column names.
    repetition_time : float
        Seconds.
    spec : dict
        The `denoise` section.

    Returns
    -------
    array, [K, N]
        Of the K volumes that are not censored: mean zero, standard deviation one; zero throughout where the region was
        constant.

    Raises
    ------
    UnusableError
        When the strategy needs confounds that there are not, or no volume is left.
    """
    return plan(series, confounds, repetition_time, spec).clean(series)


def plan(series: np.ndarray, confounds: pd.DataFrame | None, repetition_time: float, spec: dict) -> Projection:
    """Choose the volumes and regressors of a scan, and build the map; parameters as of `denoise`."""
    kept = kept_volumes(confounds, len(series), spec)
    return projection(nuisance_regressors(series, confounds, kept, spec), kept, repetition_time, spec)


def projection(regressors: pd.DataFrame, kept: np.ndarray, repetition_time: float, spec: dict) -> Projection:
    """Build the map that removes regressors, trend and frequencies outside the band, so that none comes back.

    Done one after the other, regression brings back frequencies that the filter took, and the reverse (Lindquist et
    al. 2019, doi:10.1002/hbm.24528). ``filter: cosine`` joins everything in one orthonormal basis and is an
    orthogonal projection of the kept volumes: nothing is interpolated, and every frequency outside the band costs a
    volume. ``filter: butterworth`` passes series and regressors through the same filter and regresses within
    the band; censored volumes are interpolated by a cubic spline before it and dropped after it, volumes at
    the ends are dropped before. That equals ``nilearn.signal.clean``.

    Parameters
    ----------
    regressors : DataFrame, [T, P]
    kept : bool array, [T]
    repetition_time : float
        Seconds.
    spec : dict
        The `denoise` section: `detrend`, `filter`, `high_pass` and `low_pass` (Hz).
    """
    high, low = _band(repetition_time, spec)
    values, names = regressors.to_numpy(float)[kept], list(regressors.columns)
    if (high or low) and spec["filter"] == "butterworth":
        smoother = _smoother(kept, repetition_time, high, low, spec["detrend"])
        return Projection(kept, smoother, orthonormal(smoother @ values, values), names)
    drift = cosines(len(kept), repetition_time, high, low)
    trend = np.arange(len(kept), dtype=float)[:, None] if spec["detrend"] else np.zeros((len(kept), 0))
    return Projection(kept, None, orthonormal(np.hstack([trend[kept], drift[kept], values])), names)


def orthonormal(columns: np.ndarray, origin: np.ndarray | None = None) -> np.ndarray:
    """Orthonormal basis [K, rank] of a constant and the columns [K, P].

    Columns of which the filter left nothing of the `origin` are noise of rounding, and left out.
    """
    columns = columns - columns.mean(0)
    origin = columns if origin is None else origin - origin.mean(0)
    size, before = np.linalg.norm(columns, axis=0), np.linalg.norm(origin, axis=0)
    there = size > NOTHING * before
    constant = np.full((len(columns), 1), len(columns) ** -0.5)
    q, r, _ = linalg.qr(columns[:, there] / size[there], mode="economic", pivoting=True)
    return np.hstack([constant, q[:, np.abs(np.diag(r)) > NOTHING]])


def cosines(n_volumes: int, repetition_time: float, high_pass: float | None, low_pass: float | None) -> np.ndarray:
    """Discrete cosines (type II) of all frequencies outside the band, [T, columns]; fMRIPrep's for the high-pass."""
    number = np.arange(1, n_volumes)
    outside = np.zeros(n_volumes - 1, bool)
    if high_pass:
        outside |= number <= np.floor(2 * n_volumes * repetition_time * high_pass)
    if low_pass:
        outside |= number > np.floor(2 * n_volumes * repetition_time * low_pass)
    time = np.arange(n_volumes)[:, None] + 0.5
    return np.sqrt(2 / n_volumes) * np.cos(np.pi / n_volumes * time * number[outside])


def _band(repetition_time: float, spec: dict) -> tuple[float | None, float | None]:
    """Return the edges of the band in Hz; None where there is nothing to remove."""
    high, low, nyquist = spec["high_pass"], spec["low_pass"], 0.5 / repetition_time
    if high and high >= min(low or np.inf, nyquist):
        raise UnusableError(
            f"nothing lies between denoise.high_pass={high:g} Hz and the smaller of denoise.low_pass and "
            f"{nyquist:g} Hz, the highest frequency at {repetition_time:g} s a volume; lower denoise.high_pass"
        )
    return high, low if low and low < nyquist else None


def _smoother(
    kept: np.ndarray, repetition_time: float, high: float | None, low: float | None, detrend: bool
) -> np.ndarray:
    """Interpolate, detrend, filter and censor, as one matrix [K, K] from and to the kept volumes."""
    from scipy.interpolate import CubicSpline  # slow to import, and only needed here

    inside = kept[kept.argmax() : len(kept) - kept[::-1].argmax()]
    operator = filter_operator(len(inside), repetition_time, high, low, detrend)
    if inside.all():
        return operator
    rows, gaps = operator[inside], np.flatnonzero(~inside)
    spline = CubicSpline(np.flatnonzero(inside), np.eye(inside.sum()))
    return rows[:, inside] + rows[:, gaps] @ spline(gaps)


@lru_cache(maxsize=4)
def filter_operator(
    n_volumes: int, repetition_time: float, high_pass: float | None, low_pass: float | None, detrend: bool
) -> np.ndarray:
    """Butterworth filter of order 5, forwards and backwards, after the trend is taken out, as a matrix [T, T].

    The same for every scan of that length, and so built once; padding as in ``scipy.signal.sosfiltfilt``.
    """
    from scipy.signal import butter, sosfiltfilt  # brings scipy.stats along: half a second

    edges = [edge for edge in (high_pass, low_pass) if edge]
    kind = "bandpass" if len(edges) == 2 else "highpass" if high_pass else "lowpass"
    sections = butter(ORDER, edges if len(edges) == 2 else edges[0], kind, output="sos", fs=1 / repetition_time)
    try:
        operator = sosfiltfilt(sections, np.eye(n_volumes), axis=0)
    except ValueError as error:  # scipy: the input must be longer than its padding
        raise UnusableError(f"{n_volumes} volumes are too few to be filtered; set denoise.min_seconds") from error
    if detrend:
        trend = np.linalg.qr(np.stack([np.ones(n_volumes), np.arange(n_volumes)], axis=1))[0]
        operator -= (operator @ trend) @ trend.T
    operator.setflags(write=False)
    return operator
