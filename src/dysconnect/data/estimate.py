"""One person's connectome from regional series: of their covariance, or as the measure says itself."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dysconnect.data.edges import measure_pairs
from dysconnect.data.measures import Measure, measure_of
from dysconnect.data.series import has_signal
from dysconnect.data.timing import Timing


class Connectome(NamedTuple):
    """`edges` [E]; beside them `regional` [R, N] of every region and `scan` of the whole; `missing` regions [N]."""

    edges: np.ndarray
    regional: np.ndarray
    scan: Mapping[str, float]
    missing: np.ndarray


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
    entry, seen = measure_of(measure), has_signal(series)
    alive, n = np.flatnonzero(seen), series.shape[1]
    inverted = "tangent space" if entry.tangent else "partial correlation" if measure == "partial" else ""
    if inverted and estimator == "empirical" and len(series) <= len(alive):
        raise ValueError(
            f"{inverted} of {len(alive)} regions from {len(series)} volumes needs shrinkage: "
            "set connectivity.estimator=ledoit_wolf."
        )
    regional, scan = np.zeros((len(entry.regional), n), np.float32), {}
    living = series if len(alive) == n else series[:, alive]
    if entry.compute:
        matrix, regional[:, alive], scan = _computed(living, entry, timing and timing.among(alive))
    else:
        matrix = FROM_COVARIANCE[entry.kind](covariance(living, estimator))
    if len(alive) < n:
        whole = np.eye(n)
        whole[np.ix_(alive, alive)] = matrix
        matrix = whole
    edges = entry.transformed(measure_pairs(measure, n).edges(matrix)).astype(np.float32)
    return Connectome(edges, regional, scan, ~seen)


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


def covariance(series: np.ndarray, estimator: str) -> np.ndarray:
    """Covariance of the regions of one scan, [T, N] -> [N, N], over T.

    Raises
    ------
    ValueError
        When there is no region, or a variance is infinite.
    """
    away = series - series.mean(0)
    matrix = away.T @ away  # one triangle is computed and copied: numpy sees that both are one array
    matrix *= 1 / len(series)
    if not len(matrix) or not np.isfinite(np.diag(matrix)).all():
        raise ValueError("no region has a signal, or one holds infinite values; write the series again.")
    return matrix if estimator == "empirical" else _shrunk(matrix, away)


def _shrunk(matrix: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Shrink a covariance [N, N] of centred series [T, N] towards its mean variance, in place.

    As scikit-learn does, but that the sum over all pairs of regions of the products of their squares is the sum over
    volumes of a square, and needs no matrix.

    References
    ----------
    Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices, Journal of
    Multivariate Analysis 88.
    """
    n_volumes, n = away.shape
    power = away**2
    mean = np.trace(matrix) / n
    squares = np.sum(matrix**2)
    noise = (np.sum(power.sum(1) ** 2) / n_volumes - squares) / (n * n_volumes)
    spread = (squares - n * mean**2) / n
    share = min(noise, spread) / spread if spread > 0 else 0.0
    matrix *= 1 - share
    matrix.flat[:: n + 1] += share * mean
    return matrix


def correlations(matrix: np.ndarray) -> np.ndarray:
    """Correlations of a covariance [N, N], in place, with ones on the diagonal."""
    scale = 1 / np.sqrt(np.diag(matrix))
    matrix *= scale
    matrix *= scale[:, None]
    np.fill_diagonal(matrix, 1)
    return matrix


def partial_correlations(matrix: np.ndarray) -> np.ndarray:
    """Correlation of each two regions given all others, of their covariance [N, N]; ones on the diagonal."""
    from scipy.linalg import inv

    partial = -correlations(inv(matrix))
    np.fill_diagonal(partial, 1)
    return partial


FROM_COVARIANCE = {
    "covariance": lambda matrix: matrix,
    "correlation": correlations,
    "partial correlation": partial_correlations,
}
