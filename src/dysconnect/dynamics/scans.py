"""What all methods in time ask of a scan: finite series of regions with a signal, and which volumes they are of."""

import numpy as np


def check_scan(series: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Series [K, N] of the kept volumes of a scan as z-scores, in float64.

    Parameters
    ----------
    series : array, [K, N]
        Of the volumes that are kept.
    kept : bool array, [T]
        Which volumes of the scan these are.

    Raises
    ------
    ValueError
        When series and mask are not of one scan, a value is not finite, or a region is constant.
    """
    series, kept = np.asarray(series, float), np.asarray(kept)
    if kept.dtype != bool or kept.ndim != 1 or series.ndim != 2 or len(series) != kept.sum():
        raise ValueError(
            f"series of shape {series.shape} are not those of {int(kept.sum())} kept volumes of {len(kept)}; give the "
            "series [K, N] with the mask [T] by which they were censored"
        )
    if len(series) < 2:
        raise ValueError(f"{len(series)} of {len(kept)} volumes are kept: too few for any connection in time")
    bad = np.argwhere(~np.isfinite(series))
    if len(bad):
        raise ValueError(f"region {bad[0, 1] + 1} has no number in kept volume {bad[0, 0] + 1}; make the series again")
    spread = series.std(0)
    flat = np.flatnonzero(np.ptp(series, axis=0) == 0)
    if len(flat):
        raise ValueError(
            f"region {flat[0] + 1} of {series.shape[1]} is constant; leave regions without signal out beforehand"
        )
    return (series - series.mean(0)) / spread


def on_time(series: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Series [K, N] at the volumes [T, N] that they are of, zero where none was kept."""
    whole = np.zeros((len(kept), series.shape[1]), series.dtype)
    whole[kept] = series
    return whole
