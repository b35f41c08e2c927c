"""One person's connectome from regional series, through nilearn."""

import numpy as np

from dysconnect.data.edges import measure_pairs
from dysconnect.data.measures import KINDS
from dysconnect.data.series import has_signal


def connectome(series: np.ndarray, measure: str, estimator: str) -> np.ndarray:
    """Connectome of one subject through nilearn, [E].

    Parameters
    ----------
    series : array, [T, N]
        Denoised; a constant column is a missing region.
    measure : {"correlation", "partial", "covariance"}
        Fisher z of the (partial) correlation without the diagonal, or the covariance with it.
    estimator : {"empirical", "ledoit_wolf"}
        Covariance estimator; `partial` with T <= N needs the shrinkage of Ledoit and Wolf (2004).

    Returns
    -------
    array of float32
        N(N-1)/2 edges, N(N+1)/2 for covariance; zero where a region is missing (one on the diagonal).
    """
    from nilearn.connectome import ConnectivityMeasure  # seconds that those who read connectomes need not wait for
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    alive = np.flatnonzero(has_signal(series))
    covariance = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}[estimator](store_precision=False)
    if measure == "partial" and estimator == "empirical" and len(series) <= len(alive):
        raise ValueError(
            f"partial correlation of {len(alive)} regions from {len(series)} volumes needs shrinkage: "
            "set connectivity.estimator=ledoit_wolf."
        )
    fitted = ConnectivityMeasure(cov_estimator=covariance, kind=KINDS[measure], standardize="zscore_sample")
    matrix = np.eye(series.shape[1])
    matrix[np.ix_(alive, alive)] = fitted.fit_transform([series[:, alive]])[0]
    edges = measure_pairs(measure, len(matrix)).edges(matrix)
    if measure == "covariance":
        return edges.astype(np.float32)
    return np.arctanh(np.clip(edges, -0.999999, 0.999999)).astype(np.float32)
