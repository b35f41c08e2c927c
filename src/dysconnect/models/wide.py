"""Graph networks of infinite width: kernels of what every region's profile says, solved in the dual."""

import copy
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from dysconnect.models.dual import PENALTIES, Calibrated, DualRidge, inner_folds, platt
from dysconnect.models.low_rank import BATCH, fold, low_rank_weights, unfold
from dysconnect.models.tangent import in_threads


class Wide(Calibrated, ClassifierMixin, BaseEstimator):
    """A network that reads the profile of every region, infinitely wide, and beside it weights of low rank.

    A network with L hidden layers of ReLU, whose random weights all regions share, and a trained read-out for every
    region becomes ridge regression on the kernel of `profile_kernel` as its layers widen. So its penalty has a
    leave-one-out error in closed form, no seed matters, and a permutation of the labels is one more right-hand side.

    ``decision = (1 - h) f / a + h <B, T> / b``: f is the network, a the spread of its decisions (left out one by one),
    B the low-rank weights of `LowRank`, b the spread of theirs (of the training people). Calibrated on an inner split.

    Parameters
    ----------
    depth : int
        L; 0 is ridge regression.
    share : float
        h, below 1; 0 is the network alone.
    trace : float
        Of the low-rank weights, see `LowRank`.
    penalties : sequence of float
        Of the read-out, relative to the mean of the centred kernel's diagonal; one is chosen by leave-one-out error.

    Attributes
    ----------
    people_ : array, [n, N (N + 1) / 2], float16
        The training people's tangent vectors, in units of `unit_`: a kernel does not do without them.
    unit_, origin_ : float, array [N (N + 1) / 2]
        Root mean square of their entries; their mean.
    dual_ : array, [n]
    low_ : array, [N (N + 1) / 2]
    intercept_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).

    References
    ----------
    Cho and Saul (2009), Kernel methods for deep learning; Du et al. (2019), arXiv:1905.13192 (graph networks of
    infinite width).
    """

    def __init__(self, depth: int = 2, share: float = 0.0, trace: float = 0.3, penalties=PENALTIES):
        self.depth, self.share, self.trace, self.penalties = depth, share, trace, penalties

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "Wide":
        """Fit on tangent vectors [n, N (N + 1) / 2], off-diagonal entries times sqrt(2), and labels [n] (1: patient).

        Copies of one scan share a group [n].
        """
        y = self._take_labels(y)
        X = self._remember(X)
        kernel, held_out = profile_kernel(X - self.origin_, X - self.origin_, self.depth), np.empty(len(y))
        for fit, watch in inner_folds(y, groups):
            some = None if groups is None else groups[fit]
            dual, low, intercept = self._solve(kernel[np.ix_(fit, fit)], X[fit], y[fit, None], some)
            held_out[watch] = (kernel[np.ix_(watch, fit)] @ dual + X[watch] @ low + intercept)[:, 0]
        dual, low, intercept = self._solve(kernel, X, y[:, None], groups)
        self.dual_, self.low_, self.intercept_ = dual[:, 0], low[:, 0], float(intercept[0])
        self.slope_, self.offset_ = platt(held_out, y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Signed distance, [n]; positive is patient."""
        X = np.asarray(X, np.float32)
        kernel = profile_kernel(X - self.origin_, self._origin() - self.origin_, self.depth)
        return kernel @ self.dual_ + X @ self.low_ + self.intercept_

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decision values of X_test [m, E] for many label vectors [n, P] of X [n, E], all solved anew: [m, P]."""
        X, X_test, decided = self._remember(X), np.asarray(X_test, np.float32), []
        kernel = profile_kernel(X - self.origin_, X - self.origin_, self.depth)
        cross = profile_kernel(X_test - self.origin_, X - self.origin_, self.depth)
        step = BATCH if self.share else labels.shape[1]
        for start in range(0, labels.shape[1], step):
            dual, low, intercept = self._solve(kernel, X, labels[:, start : start + step], groups)
            decided.append(cross @ dual + X_test @ low + intercept)
        return np.hstack(decided)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """What the decision gains for every entry of the tangent vectors [m, E] of some people: [m, E]."""
        X = np.asarray(X, np.float32)
        slopes = profile_gradient(X - self.origin_, self._origin() - self.origin_, self.dual_, self.depth)
        return slopes + self.low_

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        weights = {"dual": self.dual_, "low": self.low_, "numbers": self._numbers()}
        return {"people": self.people_, "unit": self.unit_, **weights}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "Wide":
        """Restore from `state`."""
        self.people_, self.unit_ = arrays["people"], arrays["unit"]
        self._origin()
        self.dual_, self.low_ = arrays["dual"], arrays["low"]
        return self._take_numbers(arrays["numbers"])

    def shuffled(self, rng: np.random.Generator) -> "Wide":
        """The same classifier with its weights permuted."""
        twin = copy.copy(self)
        twin.dual_, twin.low_ = rng.permutation(self.dual_), rng.permutation(self.low_)
        return twin

    def _remember(self, X: np.ndarray) -> np.ndarray:
        """Keep the training people as they are saved; their tangent vectors, [n, E] float32."""
        size = np.sqrt(np.mean(np.square(X, dtype=float)))
        self.unit_ = np.float32(max(size, np.finfo(np.float32).tiny))
        self.people_ = (X / self.unit_).astype(np.float16)
        return self._origin()

    def _origin(self) -> np.ndarray:
        """Tangent vectors of the training people, [n, E] float32, whose mean is where profiles start."""
        X = self.people_.astype(np.float32) * self.unit_
        self.origin_ = X.mean(0)
        return X

    def _solve(self, kernel: np.ndarray, X: np.ndarray, labels: np.ndarray, groups) -> tuple[np.ndarray, ...]:
        """Weights of both paths, on the kernel [n, P] and on tangent vectors [E, P or 1], and intercepts [P]."""
        mean = kernel.mean(0)
        centred = kernel - mean - mean[:, None] + kernel.mean()
        scale = max(float(np.trace(centred)) / len(centred), np.finfo(float).tiny)
        ridge = DualRidge(self.penalties)
        if not self.share:
            dual, intercept = ridge.solve_many(centred / scale, labels, groups)
            dual /= scale
            return dual, np.zeros((X.shape[1], 1), np.float32), intercept - mean @ dual
        dual, _, _, held_out = ridge.solve(centred / scale, labels, groups)
        dual *= (1 - self.share) / scale / np.maximum(held_out.std(0), 1e-12)
        low, intercept = self._low_rank(X, labels)
        return dual, low, intercept - mean @ dual

    def _low_rank(self, X: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The part of the low-rank weights in the decision, [E, P], and its intercepts [P]."""
        mean, signs = X.mean(0), (2.0 * labels - 1).astype(np.float32)
        centred = X - mean
        size = max(float(np.sqrt((centred**2).sum(dtype=float) / len(centred))), np.finfo(np.float32).tiny)
        low = low_rank_weights(centred / np.float32(size), signs - signs.mean(0), self.trace)
        low *= (self.share / np.maximum((centred @ low).std(0), 1e-12)).astype(np.float32)
        return low, -mean @ low


def profile_kernel(A: np.ndarray, B: np.ndarray, depth: int) -> np.ndarray:
    """Kernel of two sets of people: the profiles of their regions, seen through infinitely wide hidden layers.

    ``k(S, T) = sum_i |s_i| |t_i| phi(phi(... cos(s_i, t_i)))`` with row i of the matrices, s_i and t_i, and
    ``phi(c) = (sqrt(1 - c^2) + (pi - acos c) c) / pi``, once a layer: the arc-cosine kernel of order one (Cho and Saul
    2009), scaled so that ``k(S, S) = |S|^2`` at every depth. Without a layer it is the product of the vectors.

    Parameters
    ----------
    A, B : array, [m, E] and [n, E]
        Upper triangles with diagonal, off-diagonal entries times sqrt(2).
    depth : int

    Returns
    -------
    array, [m, n]
    """
    if not depth:
        return (A @ B.T).astype(float)
    S, T = unfold(A.T), unfold(B.T)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        total = 0.0
        for region in regions:
            cosine, sizes_s, sizes_t = _cosines(S[:, region], T[:, region])
            for _ in range(depth):
                cosine = _layer(cosine)[0]
            total = total + sizes_s[:, None] * cosine * sizes_t
        return total

    return sum(in_threads(of_regions, np.arange(S.shape[1])))


def profile_gradient(A: np.ndarray, B: np.ndarray, dual: np.ndarray, depth: int) -> np.ndarray:
    """Gradient of ``sum_t dual_t k(S, T_t)`` at people S of A, with T of B and dual [n]: [m, E], entries as of A.

    The last cosine ``c_L = phi(c_(L-1))`` has in the first, c_0, the slope ``u = prod phi'(c_l)``, ``phi'(c) =
    (pi - acos c) / pi``; so the kernel of a region has in its row s the gradient
    ``|t| (c_L - u c_0) s / |s| + u t``.
    """
    if not depth:
        return np.tile(dual @ B, (len(A), 1)).astype(np.float32)
    S, T = unfold(A.T), unfold(B.T)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        rows = []
        for region in regions:
            first, sizes_s, sizes_t = _cosines(S[:, region], T[:, region])
            cosine, slope = first, 1.0
            for _ in range(depth):
                cosine, steeper = _layer(cosine)
                slope = slope * steeper
            along = (cosine - slope * first) @ (dual * sizes_t) / sizes_s
            rows.append(along[:, None] * S[:, region] + (slope * dual) @ T[:, region])
        return np.stack(rows)

    rows = np.concatenate(list(in_threads(of_regions, np.arange(S.shape[1])))).swapaxes(0, 1)
    return fold((rows + rows.swapaxes(1, 2)) / 2).T.astype(np.float32)


def _cosines(s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of the rows of two matrices, [m, n], and their lengths, [m] and [n]."""
    sizes = [np.maximum(np.linalg.norm(rows, axis=1).astype(float), np.finfo(np.float32).tiny) for rows in (s, t)]
    return np.clip((s @ t.T) / np.outer(*sizes), -1, 1), *sizes


def _layer(cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosine behind an infinitely wide layer of ReLU, and its slope in the one before it."""
    slope = 1 - np.arccos(cosine) / np.pi
    return np.sqrt(1 - cosine**2) / np.pi + slope * cosine, slope
