"""Tangent space of covariance matrices, with the reference learned on the training subjects only."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from dysconnect.models.edges import matrix_from_edges

CHUNK = 16  # matrices a thread takes at once


def spd_function(matrix: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function to the eigenvalues of positive-definite matrices, [..., N, N]."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * function(np.maximum(values, 1e-12))[..., None, :]) @ vectors.swapaxes(-1, -2)


def in_threads(function: Callable[[np.ndarray], np.ndarray], matrices: np.ndarray) -> Iterator[np.ndarray]:
    """Apply a function to chunks of matrices, in order, on as many threads as BLAS may use.

    A small eigenproblem keeps one thread busy; many of them keep all.
    """
    threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    chunks = [matrices[start : start + CHUNK] for start in range(0, len(matrices), CHUNK)]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, chunks)


def mean_log(matrices: np.ndarray, whitening: np.ndarray | None = None) -> np.ndarray:
    """Mean of the matrix logarithms, ``mean_s log(W C_s W)``, [S, N, N] -> [N, N]."""

    def partial_sum(chunk: np.ndarray) -> np.ndarray:
        return spd_function(chunk if whitening is None else whitening @ chunk @ whitening, np.log).sum(0)

    return sum(in_threads(partial_sum, matrices)) / len(matrices)


def geometric_mean(covariances: np.ndarray, tolerance: float = 1e-5, max_steps: int = 50) -> np.ndarray:
    """Affine-invariant (Frechet) mean of covariance matrices, [S, N, N] -> [N, N].

    Gradient descent from the log-Euclidean mean with Barzilai-Borwein steps, which need about half as many as
    unit steps. Stops when the gradient's root mean square per row is below `tolerance`; people differ from
    their mean by about 0.1 to 1 in this unit.

    References
    ----------
    Fletcher and Joshi (2007), doi:10.1016/j.sigpro.2005.12.018; Varoquaux et al. (2010), MICCAI;
    Barzilai and Borwein (1988), doi:10.1093/imanum/8.1.141.
    """
    mean = exponential(mean_log(covariances))
    step, before = 0.8, None
    for _ in range(max_steps):
        root = spd_function(mean, np.sqrt)
        gradient = mean_log(covariances, spd_function(mean, lambda values: 1 / np.sqrt(values)))
        if before is not None:
            change = before - gradient
            step = float(np.clip(step * (before * change).sum() / max((change**2).sum(), 1e-300), 0.3, 1.5))
        mean = root @ exponential(step * gradient) @ root
        mean = (mean + mean.T) / 2
        if np.linalg.norm(gradient) / len(gradient) < tolerance:
            return mean
        before = gradient
    raise ValueError(
        f"the geometric mean of {len(covariances)} covariances did not settle in {max_steps} steps; are they "
        "positive definite? Set connectivity.estimator=ledoit_wolf."
    )


def exponential(matrix: np.ndarray) -> np.ndarray:
    """Matrix exponential of one symmetric matrix, [N, N]."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.exp(values)) @ vectors.T


class TangentSpace:
    """Project covariances on the tangent space at the training mean.

    ``T_s = log(M^-1/2 C_s M^-1/2)``; the features are its upper triangle, row by row, with the off-diagonal
    entries times sqrt(2), so that Euclidean distances are distances in the tangent space.

    Attributes
    ----------
    whitening_ : array, [N, N]
        ``M^-1/2``, learned from the training subjects only.

    References
    ----------
    Varoquaux et al. (2010), MICCAI, doi:10.1007/978-3-642-15705-9_25.
    """

    def fit(self, edges: np.ndarray, n_nodes: int) -> "TangentSpace":
        """Learn the reference from covariances stored as edges with diagonal, [n, N(N+1)/2]."""
        matrices = matrix_from_edges(edges.astype(float), n_nodes, diagonal=True)
        self.whitening_ = spd_function(geometric_mean(matrices), lambda v: 1 / np.sqrt(v))
        return self

    def transform(self, edges: np.ndarray) -> np.ndarray:
        """Project covariances, [n, N(N+1)/2] -> features of the same shape, float32."""
        n_nodes = len(self.whitening_)
        rows, cols = np.triu_indices(n_nodes)
        weight = np.where(rows == cols, 1.0, np.sqrt(2.0))

        def project(chunk: np.ndarray) -> np.ndarray:
            matrices = matrix_from_edges(chunk.astype(float), n_nodes, diagonal=True)
            logs = spd_function(self.whitening_ @ matrices @ self.whitening_, np.log)
            return (logs[:, rows, cols] * weight).astype(np.float32)

        return np.concatenate(list(in_threads(project, edges)))
