"""The minimal plausible counterfactual: the cheapest edit of a target's edges that moves a decision where it should be.

The price of an edit is its Mahalanobis distance under the covariance S of the controls' edges given their covariates:
a change along which healthy people differ anyway is cheap. For a linear decision ``w x + b`` and edits d of the
target's edges alone, ``min d^T S^-1 d`` subject to ``w^T d = -g`` has the solution ``d = -g S w / (w^T S w)`` of
distance ``g / sqrt(w^T S w)`` (w and S of the target's edges).
"""

import numpy as np
from scipy.sparse import csr_matrix


def ledoit_wolf(residuals: np.ndarray) -> float:
    """Weight of the diagonal in the covariance of standardised residuals [n, E], from their n x n Gram matrix.

    Every edge keeps its variance and correlations shrink to zero: with fewer people than edges the covariance
    has no inverse without it.

    References
    ----------
    Ledoit and Wolf (2004), doi:10.1016/S0047-259X(03)00096-4.
    """
    n, width = residuals.shape
    spread = np.sqrt((residuals**2).mean(0))
    units = residuals / np.where(spread > 0, spread, 1)
    gram = units @ units.T
    norm = (gram**2).sum() / n**2  # squared Frobenius norm of the covariance
    away = norm - (np.diag(gram).sum() / n) ** 2 / width  # from the multiple of the identity
    noise = ((np.diag(gram) ** 2).sum() / n - norm) / n
    return float(np.clip(noise / away, 0, 1)) if away > 0 else 1.0


def cheapest_edit(
    residuals: np.ndarray, weights: np.ndarray, gap: float, df: int, shrinkage: float
) -> tuple[np.ndarray, float]:
    """Edit of a target's edges that lowers a linear decision by `gap` at the least Mahalanobis distance.

    Parameters
    ----------
    residuals : array, [n, S]
        Controls' edges of the target, less what is expected of their covariates.
    weights : array, [S]
    gap : float
        By how much the decision is to fall.
    df : int
        Degrees of freedom of the residuals.
    shrinkage : float
        Weight of the diagonal (`ledoit_wolf`).

    Returns
    -------
    edit : array, [S]
    distance : float
    """
    varied = (1 - shrinkage) * residuals.T @ (residuals @ weights) / df
    varied += shrinkage * (residuals**2).sum(0) / df * weights
    square = float(weights @ varied)
    if square <= 0:
        return np.full(len(weights), np.nan), np.inf
    return -gap * varied / square, gap / np.sqrt(square)


def reach(residuals: np.ndarray, weights: np.ndarray, members: csr_matrix, df: int, shrinkage: float) -> np.ndarray:
    """How far an edit of distance one moves a linear decision, ``sqrt(w^T S w)`` of every target, [T].

    The parameters are those of `cheapest_edit`, for all edges at once; `members` [T, E]. A gap g costs ``g / reach``.
    """
    along = members @ (residuals * weights).T
    variance = (residuals**2).sum(0) / df
    square = (1 - shrinkage) * (along**2).sum(1) / df + shrinkage * (members @ (variance * weights**2))
    return np.sqrt(square)


def cheapest_steps(
    residuals: np.ndarray, weights: np.ndarray, members: csr_matrix, df: int, shrinkage: float
) -> np.ndarray:
    """Edits that lower a linear decision by one, and their parts in it, of every target, float32 [2, nnz].

    The parameters are those of `reach`; entries are those of `members`. A gap g takes g times the edit. Where a
    target's edges have no weight there is no edit, and 0.
    """
    steps = np.zeros((2, members.nnz), np.float32)
    for start, stop in zip(members.indptr[:-1], members.indptr[1:]):
        edges = members.indices[start:stop]
        edit, _ = cheapest_edit(residuals[:, edges], weights[edges], 1.0, df, shrinkage)
        if np.isfinite(edit).all():
            steps[:, start:stop] = edit, edit * weights[edges]
    return steps


def costs(gaps: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Distances of the cheapest edits, [n, T], for gaps [n] and the targets' `reach` [T]; 0 without a gap."""
    with np.errstate(divide="ignore"):
        return np.maximum(gaps, 0)[:, None] * np.where(steps > 0, 1 / steps, np.nan)
