"""One person's connectome from regional series: by nilearn, or as the measure says itself."""

import numpy as np

from dysconnect.data.edges import measure_pairs
from dysconnect.data.measures import Measure, measure_of
from dysconnect.data.series import has_signal


def connectome(series: np.ndarray, measure: str, estimator: str | None) -> np.ndarray:
    """Connectome of one subject, [E].

    Parameters
    ----------
    series : array, [T, N]
        Denoised; a constant column is a missing region.
    measure : str
        As it is stored: Fisher z of a correlation without the diagonal, say, or the covariance with it.
    estimator : {"empirical", "ledoit_wolf", None}
        Covariance estimator; `partial` with T <= N needs the shrinkage of Ledoit and Wolf (2004). None where the
        measure needs no covariance.

    Returns
    -------
    array of float32
        N(N-1)/2 edges, N(N+1)/2 with the diagonal; zero where a region is missing (one on the diagonal).
    """
    entry, alive = measure_of(measure), np.flatnonzero(has_signal(series))
    if measure == "partial" and estimator == "empirical" and len(series) <= len(alive):
        raise ValueError(
            f"partial correlation of {len(alive)} regions from {len(series)} volumes needs shrinkage: "
            "set connectivity.estimator=ledoit_wolf."
        )
    matrix = np.eye(series.shape[1])
    seen = series[:, alive]
    matrix[np.ix_(alive, alive)] = entry.compute(seen) if entry.compute else _through_nilearn(seen, entry, estimator)
    return entry.transformed(measure_pairs(measure, len(matrix)).edges(matrix)).astype(np.float32)


def _through_nilearn(series: np.ndarray, measure: Measure, estimator: str) -> np.ndarray:
    """Matrix of the regions with a signal, [T, N] -> [N, N]."""
    from nilearn.connectome import ConnectivityMeasure  # takes a second to load
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    covariance = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}[estimator](store_precision=False)
    fitted = ConnectivityMeasure(cov_estimator=covariance, kind=measure.kind, standardize="zscore_sample")
    return fitted.fit_transform([series])[0]
