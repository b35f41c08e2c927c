"""Tangent space of covariance matrices, with the reference learned on the training subjects only."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from dysconnect.models.edges import matrix_from_edges


def eigh(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of symmetric matrices, [S, N, N] -> [S, N], [S, N, N].

    The matrices are shared out over as many threads as BLAS may use: a small eigenproblem keeps one busy.
    """
    threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    if matrices.ndim < 3 or len(matrices) < 2 * threads or threads == 1:
        return np.linalg.eigh(matrices)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(np.linalg.eigh, np.array_split(matrices, threads)))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def spd_function(matrices: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function to the eigenvalues of positive-definite matrices, [..., N, N]."""
    values, vectors = eigh(matrices)
    return (vectors * function(np.maximum(values, 1e-12))[..., None, :]) @ vectors.swapaxes(-1, -2)


def geometric_mean(covariances: np.ndarray, tolerance: float = 1e-6, max_steps: int = 50) -> np.ndarray:
    """Affine-invariant (Frechet) mean of covariance matrices, [S, N, N] -> [N, N].

    Gradient descent from the log-Euclidean mean with Barzilai-Borwein steps: about seven instead of the fifteen
    of unit steps. Stops when the gradient's root mean square per row is below `tolerance`.

    References
    ----------
    Fletcher and Joshi (2007), doi:10.1016/j.sigpro.2005.12.018; Varoquaux et al. (2010), MICCAI;
    Barzilai and Borwein (1988), doi:10.1093/imanum/8.1.141.
    """
    mean = exponential(spd_function(covariances, np.log).mean(0))
    step, before = 0.8, None
    for _ in range(max_steps):
        root = spd_function(mean, np.sqrt)
        inverse_root = spd_function(mean, lambda values: 1 / np.sqrt(values))
        gradient = spd_function(inverse_root @ covariances @ inverse_root, np.log).mean(0)
        if before is not None:
            change = before - gradient
            step = float(np.clip(step * (before * change).sum() / (change**2).sum(), 0.3, 1.5))
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
        features = np.empty(edges.shape, np.float32)
        for start in range(0, len(edges), 64):
            chunk = matrix_from_edges(edges[start : start + 64].astype(float), n_nodes, diagonal=True)
            logs = spd_function(self.whitening_ @ chunk @ self.whitening_, np.log)
            features[start : start + 64] = logs[:, rows, cols] * weight
        return features
