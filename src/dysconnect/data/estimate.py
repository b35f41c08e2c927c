"""One person's connectome from regional series: by nilearn, or as the measure says itself."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dysconnect.data.edges import measure_pairs
from dysconnect.data.measures import Measure, measure_of
from dysconnect.data.series import has_signal
from dysconnect.data.timing import Timing


class Connectome(NamedTuple):
    """`edges` [E], and what the measure says beside them: `regional` [R, N] of every region, `scan` of the whole."""

    edges: np.ndarray
    regional: np.ndarray
    scan: Mapping[str, float]


def connectome(series: np.ndarray, measure: str, estimator: str | None, timing: Timing | None = None) -> np.ndarray:
    """Edges of one subject alone, [E], see `scan_connectome`."""
    return scan_connectome(series, measure, estimator, timing).edges


def scan_connectome(
    series: np.ndarray, measure: str, estimator: str | None, timing: Timing | None = None
) -> Connectome:
    """Connectome of one subject.

    Parameters
    ----------
    series : array, [T, N]
        Denoised; a constant column is a missing region.
    measure : str
        As it is stored: Fisher z of a correlation without the diagonal, say, or the covariance with it.
    estimator : {"empirical", "ledoit_wolf", None}
        Covariance estimator; what needs its inverse or logarithm, `partial` and `tangent`, needs the shrinkage of
        Ledoit and Wolf (2004) with T <= N. None where the measure needs no covariance.
    timing : Timing, optional
        Of the volumes, where the measure asks for it.

    Returns
    -------
    Connectome of float32
        N(N-1)/2 edges, N(N+1)/2 with the diagonal; zero where a region is missing (one on the diagonal).
    """
    entry, alive = measure_of(measure), np.flatnonzero(has_signal(series))
    inverted = "tangent space" if entry.tangent else "partial correlation" if measure == "partial" else ""
    if inverted and estimator == "empirical" and len(series) <= len(alive):
        raise ValueError(
            f"{inverted} of {len(alive)} regions from {len(series)} volumes needs shrinkage: "
            "set connectivity.estimator=ledoit_wolf."
        )
    matrix, regional = np.eye(series.shape[1]), np.zeros((len(entry.regional), series.shape[1]), np.float32)
    seen = series[:, alive]
    if entry.compute:
        made, regional[:, alive], scan = _computed(seen, entry, timing and timing.among(alive))
    else:
        made, scan = _through_nilearn(seen, entry, estimator), {}
    matrix[np.ix_(alive, alive)] = made
    edges = entry.transformed(measure_pairs(measure, len(matrix)).edges(matrix)).astype(np.float32)
    return Connectome(edges, regional, scan)


def _computed(
    series: np.ndarray, measure: Measure, timing: Timing | None
) -> tuple[np.ndarray, np.ndarray, Mapping[str, float]]:
    """Matrix [N, N] by the measure's own function, its values of regions [R, N] and of the scan.

    Refused where the row says other, or where it refuses the scan.
    """
    if measure.timed and timing is None:
        raise ValueError(f"measure {measure.name} needs to know when the volumes were taken, and nothing says it.")
    n_regions = series.shape[1]
    if measure.refuse:
        measure.refuse(timing, n_regions)
    answer = measure.compute(series, timing) if measure.timed else measure.compute(series)
    made, regional, *scan = answer if measure.regional else (answer, np.zeros((0, n_regions)))
    made = np.asarray(made)
    if made.shape != (n_regions, n_regions) or made.dtype.kind not in "fiu":
        wrong = f"an array of shape {made.shape} of {made.dtype}, not a real matrix of {n_regions} regions"
    elif not measure.directed and not np.allclose(made, made.T, rtol=1e-6, atol=1e-8, equal_nan=True):
        wrong = "a matrix that is not symmetric, and its row does not say `directed=True`"
    elif measure.transform == "fisher" and np.abs(made).max(initial=0) > 1 + 1e-6:
        wrong = 'values beyond 1, which have no Fisher z, and its row does not say `transform="none"`'
    elif np.shape(regional) != (len(measure.regional), n_regions):
        wrong = f"values of regions of shape {np.shape(regional)}, and its row names {', '.join(measure.regional)}"
    else:
        return made, regional, scan[0] if scan else {}
    raise ValueError(f"measure {measure.name}: `compute` returns {wrong} (data/measures.py).")


def _through_nilearn(series: np.ndarray, measure: Measure, estimator: str) -> np.ndarray:
    """Matrix of the regions with a signal, [T, N] -> [N, N]."""
    from nilearn.connectome import ConnectivityMeasure  # takes a second to load
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    covariance = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}[estimator](store_precision=False)
    fitted = ConnectivityMeasure(cov_estimator=covariance, kind=measure.kind, standardize="zscore_sample")
    return fitted.fit_transform([series])[0]
