"""Our classifier of covariances: a few whole networks and many small edges, added in the tangent space."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from dysconnect.data.edges import Pairs
from dysconnect.models.dual import PENALTIES, Calibrated, DualRidge, centred_kernel, inner_folds, platt

BATCH = 16  # label vectors solved at once: memory grows with them
SPARE = 16  # directions beyond the rank in which the search for eigenvectors goes on


class LowRank(Calibrated, ClassifierMixin, BaseEstimator):
    """Weights that are a dense matrix plus one of low rank, on tangent vectors T_s [N, N].

    ``decision = (1 - h) <A, T_s> / a + h <B, T_s> / b``, each path divided by the spread of its decisions (a: left out
    one by one, b: of the training subjects).

    B, the low-rank path, is ``argmin |s - <B, T>|^2 / 2 + l |B|_*`` (labels s, both centred; the trace norm is the sum
    of the absolute eigenvalues). It keeps few eigenvectors u_k, so that ``<B, T_s> = sum_k b_k u_k^T T_s u_k``: every
    u_k is a network of regions, b_k what its deviation says. l is `trace` times the smallest l at which B vanishes.

    A, the dense path, is ridge regression on the kernel ``K^power`` instead of ``K = <T_s, T_t>``: directions in
    which people differ much are penalised less (power 1 is plain ridge).

    The two err on different people; each alone is no better than ridge. Calibrated on an inner split.

    Parameters
    ----------
    trace : float
        Between 0 (any rank) and 1 (nothing is left).
    power : float
    share : float
        h.
    penalties : sequence of float
        Of the dense path, chosen by its leave-one-out error.

    Attributes
    ----------
    weights_ : array, [N (N + 1) / 2]
        ``decision = X @ weights_ + intercept_``.
    networks_ : array, [N, R]
        The u_k, those that say most first.
    strengths_ : array, [R]
        The b_k, in units of the decision.
    intercept_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).

    References
    ----------
    Tomioka and Müller (2010), doi:10.1016/j.neuroimage.2009.07.045 (trace norm on covariances);
    Beck and Teboulle (2009), doi:10.1137/080716542 (the solver); O'Donoghue and Candes (2015),
    doi:10.1007/s10208-013-9150-3 (its restarts).
    """

    def __init__(self, trace: float = 0.3, power: float = 1.5, share: float = 1 / 3, penalties=PENALTIES):
        self.trace, self.power, self.share, self.penalties = trace, power, share, penalties

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "LowRank":
        """Fit on tangent vectors [n, N (N + 1) / 2], off-diagonal entries times sqrt(2), and labels [n] (1: patient).

        Copies of one scan share a group [n].
        """
        y = self._take_labels(y)
        X = np.asarray(X, np.float32)
        held_out = np.empty(len(y))
        for fit, watch in inner_folds(y, groups):
            fit_groups = None if groups is None else groups[fit]
            (dense, low), intercept = self._weights(X[fit], y[fit, None], fit_groups)
            held_out[watch] = (X[watch] @ (dense + low) + intercept)[:, 0]
        (dense, low), intercept = self._weights(X, y[:, None], groups)
        self.weights_, self.intercept_ = (dense + low)[:, 0].astype(float), float(intercept[0])
        self.slope_, self.offset_ = platt(held_out, y)
        self.strengths_, self.networks_ = strongest(low[:, 0])
        return self

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decision values of X_test [m, E] for many label vectors [n, P] of X [n, E], all solved anew: [m, P]."""
        X, X_test, decided = np.asarray(X, np.float32), np.asarray(X_test, np.float32), []
        for start in range(0, labels.shape[1], BATCH):
            (dense, low), intercept = self._weights(X, labels[:, start : start + BATCH], groups)
            decided.append(X_test @ (dense + low) + intercept)
        return np.hstack(decided).astype(float)

    def _weights(self, X: np.ndarray, labels: np.ndarray, groups) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """Weights of both paths, [E, P] each, and intercepts [P]."""
        mean = X.mean(0)
        centred = X - mean
        kernel, scale = centred_kernel(centred.astype(float))
        dense = centred.T @ (self._ridge(kernel, labels, groups) / scale).astype(np.float32)
        signs = (2.0 * labels - 1).astype(np.float32)
        low = low_rank_weights(centred / np.float32(np.sqrt(scale)), signs - signs.mean(0), self.trace)
        spread = np.maximum((centred @ low).std(0), 1e-12)
        dense, low = (1 - self.share) * dense, self.share * low / spread
        return (dense, low), -mean @ (dense + low)

    def _ridge(self, kernel: np.ndarray, labels: np.ndarray, groups) -> np.ndarray:
        """Dual weights on the kernel of ridge regression on its power, decisions of unit spread: [n, P]."""
        values, vectors = np.linalg.eigh(kernel)
        values = np.where(values > 1e-8 * values[-1], values, 0)
        size = (values**self.power).mean()
        powered = (vectors * values**self.power) @ vectors.T / size
        dual, _, _, held_out = DualRidge(self.penalties).solve(powered, labels, groups)
        lift = np.where(values > 0, values, 1) ** (self.power - 1) * (values > 0) / size
        return (vectors * lift) @ (vectors.T @ dual) / np.maximum(held_out.std(0), 1e-12)


def low_rank_weights(
    X: np.ndarray, response: np.ndarray, trace: float, tolerance: float = 1e-2, max_steps: int = 300
) -> np.ndarray:
    """Least squares with the trace norm for many responses at once, by the accelerated proximal gradient.

    Most steps look for eigenvectors near those of the step before (one power iteration); the first and the last look
    everywhere.

    Parameters
    ----------
    X : array, [n, N (N + 1) / 2]
        Centred upper triangles, off-diagonal entries times sqrt(2).
    response : array, [n, P]
        Centred.
    trace : float
        Penalty relative to the smallest at which nothing is left.
    tolerance : float
        Relative change of the weights in a step at which the search ends.

    Returns
    -------
    array, [N (N + 1) / 2, P]
    """
    step = 1 / max(float(np.linalg.eigvalsh((X @ X.T).astype(float))[-1]), 1e-12)
    first = X.T @ response
    limit = trace * step * np.abs(np.linalg.eigvalsh(unfold(first))).max(1)
    weights, point = np.zeros_like(first), np.zeros_like(first)
    momentum, near = np.ones(response.shape[1]), None
    for _ in range(max_steps):
        new, vectors = _shrink(point - step * (X.T @ (X @ point - response)), limit, near)
        change = new - weights
        uphill = ((point - new) * change).sum(0) > 0  # then the momentum is lost
        following = np.where(uphill, 1, (1 + np.sqrt(1 + 4 * momentum**2)) / 2)
        pace = np.where(uphill, 0, (momentum - 1) / following)
        weights, point, momentum = new, new + (pace * change).astype(new.dtype), following
        settled = (np.linalg.norm(change, axis=0) <= tolerance * np.linalg.norm(new, axis=0)).all()
        if settled and near is None:
            break
        near = None if settled else vectors
    return weights


def _shrink(weights: np.ndarray, limit: np.ndarray, near: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Move the eigenvalues of symmetric matrices towards zero, and return where the largest of them are.

    Parameters
    ----------
    weights : array, [E, P]
        Upper triangles.
    limit : array, [P]
        How far; what is smaller vanishes.
    near : array, [P, N, K], or None
        Look for eigenvectors near this space only.
    """
    matrices = unfold(weights)
    if near is None:
        values, vectors = np.linalg.eigh(matrices)
    else:
        space = np.linalg.qr(matrices @ near)[0]
        values, turn = np.linalg.eigh(space.swapaxes(1, 2) @ matrices @ space)
        vectors = space @ turn
    kept = np.sign(values) * np.maximum(np.abs(values) - limit[:, None], 0)
    order = np.argsort(-np.abs(values), axis=1)[:, : int((kept != 0).sum(1).max()) + SPARE]
    kept, vectors = np.take_along_axis(kept, order, 1), np.take_along_axis(vectors, order[:, None], 2)
    return fold((vectors * kept[:, None].astype(weights.dtype)) @ vectors.swapaxes(1, 2)), vectors


def unfold(triangles: np.ndarray) -> np.ndarray:
    """Upper triangles with off-diagonal entries times sqrt(2), [N (N + 1) / 2, P] -> symmetric matrices [P, N, N]."""
    pairs = Pairs.of(len(triangles), diagonal=True)
    return pairs.matrix((triangles / isometry(pairs)[:, None]).T)


def fold(matrices: np.ndarray) -> np.ndarray:
    """Undo `unfold`."""
    pairs = Pairs(matrices.shape[-1], diagonal=True)
    return (pairs.edges(matrices) * isometry(pairs)).T


def isometry(pairs: Pairs) -> np.ndarray:
    """What makes a product of upper triangles one of matrices: 1 on the diagonal, sqrt(2) off it; float32."""
    return np.where(pairs.rows == pairs.cols, 1, np.sqrt(2)).astype(np.float32)


def strongest(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [R] and eigenvectors [N, R] of a low-rank matrix, given as upper triangle [E]; largest first."""
    values, vectors = np.linalg.eigh(unfold(weights[:, None].astype(float))[0])
    order = np.argsort(-np.abs(values))
    order = order[np.abs(values[order]) > 1e-3 * np.abs(values).max()]
    return values[order], vectors[:, order]
