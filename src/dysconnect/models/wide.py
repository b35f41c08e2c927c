"""Graph networks of infinite width: kernels of what every region's profile says, solved in the dual."""

import copy
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from dysconnect.models.dual import PENALTIES, Calibrated, DualRidge, inner_folds, platt
from dysconnect.models.low_rank import fold, unfold
from dysconnect.models.tangent import in_threads


class Wide(Calibrated, ClassifierMixin, BaseEstimator):
    """A graph network that reads the profile of every region, infinitely wide.

    A network with L hidden layers of ReLU, whose random weights all regions share, and a trained read-out for every
    region becomes ridge regression on the kernel of `profile_kernel` as its layers widen. So its penalty has a
    leave-one-out error in closed form, no seed matters, and a permutation of the labels is one more right-hand side.

    Such a network trains its read-out alone. One of finite width also trains its first layer, which comes to look where
    the decision is steep; `learned` = a > 0 does so in one step. M, the outer products of the decision's gradients by
    the profiles of regions, averaged over regions and training people and scaled to a mean eigenvalue of 1, says which
    directions of a profile matter; profiles are multiplied by ``((1 - a) I + a M)^(1/2)``, and the read-out is solved
    again, its penalty as it was: leaving one out means little after its label has formed M. Every permutation of the
    labels then needs a kernel of its own.

    Calibrated on an inner split, in which the layer is learned anew as well.

    Parameters
    ----------
    depth : int
        L; 0 is ridge regression.
    learned : float
        a, from 0 to 1.
    penalties : sequence of float
        Of the read-out, relative to the mean of the centred kernel's diagonal; one is chosen by leave-one-out error.

    Attributes
    ----------
    people_ : array, [n, N (N + 1) / 2], float16
        The training people's tangent vectors, in units of `unit_`: a kernel does not do without them.
    unit_, origin_ : float, array [N (N + 1) / 2]
        Root mean square of their entries; their mean.
    layer_ : array, [N, N], or None
        What profiles are multiplied by, if that was learned.
    dual_ : array, [n]
    intercept_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).

    References
    ----------
    Cho and Saul (2009), Kernel methods for deep learning; Du et al. (2019), arXiv:1905.13192 (graph networks of
    infinite width); Radhakrishnan et al. (2024), doi:10.1126/science.adi5639 (the learned layer).
    """

    def __init__(self, depth: int = 2, learned: float = 0.0, penalties=PENALTIES):
        self.depth, self.learned, self.penalties = depth, learned, penalties

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "Wide":
        """Fit on tangent vectors [n, N (N + 1) / 2], off-diagonal entries times sqrt(2), and labels [n] (1: patient).

        Copies of one scan share a group [n].
        """
        y = self._take_labels(y)
        X = self._remember(X)
        kernel, held_out = profile_kernel(X, X, self.depth), np.empty(len(y))
        for fit, watch in inner_folds(y, groups):
            some = None if groups is None else groups[fit]
            layer, dual, intercept = self._learn(X[fit], kernel[np.ix_(fit, fit)], y[fit, None], some)
            cross = kernel[np.ix_(watch, fit)] if layer is None else profile_kernel(X[watch], X[fit], self.depth, layer)
            held_out[watch] = (cross @ dual + intercept)[:, 0]
        self.layer_, dual, intercept = self._learn(X, kernel, y[:, None], groups)
        self.dual_, self.intercept_ = dual[:, 0], float(intercept[0])
        self.slope_, self.offset_ = platt(held_out, y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Signed distance, [n]; positive is patient."""
        X = np.asarray(X, np.float32) - self.origin_
        return profile_kernel(X, self._people(), self.depth, self.layer_) @ self.dual_ + self.intercept_

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decision values of X_test [m, E] for many label vectors [n, P] of X [n, E], all solved anew: [m, P]."""
        X = self._remember(X)
        X_test = np.asarray(X_test, np.float32) - self.origin_
        kernel, decided = profile_kernel(X, X, self.depth), []
        for part in np.split(labels, labels.shape[1], axis=1) if self.learned else [labels]:
            layer, dual, intercept = self._learn(X, kernel, part, groups)
            decided.append(profile_kernel(X_test, X, self.depth, layer) @ dual + intercept)
        return np.hstack(decided)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """What the decision gains for every entry of the tangent vectors [m, E] of some people: [m, E]."""
        X = np.asarray(X, np.float32) - self.origin_
        return profile_gradient(X, self._people(), self.dual_, self.depth, self.layer_)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        layer = {} if self.layer_ is None else {"layer": self.layer_}
        return {"people": self.people_, "unit": self.unit_, "dual": self.dual_, "numbers": self._numbers(), **layer}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "Wide":
        """Restore from `state`."""
        self.people_, self.unit_, self.dual_ = arrays["people"], arrays["unit"], arrays["dual"]
        self.layer_ = arrays.get("layer")
        self.origin_ = self._vectors().mean(0)
        return self._take_numbers(arrays["numbers"])

    def shuffled(self, rng: np.random.Generator) -> "Wide":
        """The same classifier with its weights permuted."""
        twin = copy.copy(self)
        twin.dual_ = rng.permutation(self.dual_)
        return twin

    def _remember(self, X: np.ndarray) -> np.ndarray:
        """Keep the training people as they are saved; their tangent vectors less their mean, [n, E] float32."""
        size = np.sqrt(np.mean(np.square(X, dtype=float)))
        self.unit_ = np.float32(max(size, np.finfo(np.float32).tiny))
        self.people_ = (X / self.unit_).astype(np.float16)
        self.origin_ = self._vectors().mean(0)
        return self._people()

    def _vectors(self) -> np.ndarray:
        return self.people_.astype(np.float32) * self.unit_

    def _people(self) -> np.ndarray:
        """Tangent vectors of the training people less their mean, where profiles start: [n, E] float32."""
        return self._vectors() - self.origin_

    def _learn(
        self, X: np.ndarray, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        """The first layer (of one label vector), dual weights [n, P] and intercepts [P] on people X [n, E]."""
        if not self.learned:
            return None, *_solve(DualRidge(self.penalties).solve_many, kernel, labels, groups)
        dual, _, chosen, _ = _solve(DualRidge(self.penalties).solve, kernel, labels, groups)
        layer = learned_layer(X, dual[:, 0], self.depth, self.learned)
        ridge = DualRidge((self.penalties[int(chosen[0])],))
        return layer, *_solve(ridge.solve_many, profile_kernel(X, X, self.depth, layer), labels, groups)


def _solve(solver, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """What a solver of centred kernels of unit size finds for a kernel [n, n]: dual weights, intercepts, the rest."""
    mean = kernel.mean(0)
    centred = kernel - mean - mean[:, None] + kernel.mean()
    scale = max(float(np.trace(centred)) / len(centred), np.finfo(float).tiny)
    dual, intercept, *rest = solver(centred / scale, labels, groups)
    dual = dual / scale
    return dual, intercept - mean @ dual, *rest


def profile_kernel(A: np.ndarray, B: np.ndarray, depth: int, layer: np.ndarray | None = None) -> np.ndarray:
    """Kernel of two sets of people: the profiles of their regions, seen through infinitely wide hidden layers.

    ``k(S, T) = sum_i |s_i| |t_i| phi(phi(... cos(s_i, t_i)))`` with row i of the matrices, s_i and t_i, and
    ``phi(c) = (sqrt(1 - c^2) + (pi - acos c) c) / pi``, once a layer: the arc-cosine kernel of order one (Cho and Saul
    2009), scaled so that ``k(S, S) = |S|^2`` at every depth. Without a layer it is the product of the vectors.

    Parameters
    ----------
    A, B : array, [m, E] and [n, E]
        Upper triangles with diagonal, off-diagonal entries times sqrt(2).
    depth : int
    layer : array, [N, N], optional
        Multiplies every s_i and t_i.

    Returns
    -------
    array, [m, n]
    """
    if not depth and layer is None:
        return (A @ B.T).astype(float)
    S, T = _profiles(A, layer), _profiles(B, layer)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        total = 0.0
        for region in regions:
            cosine, sizes_s, sizes_t = _cosines(S[:, region], T[:, region])
            for _ in range(depth):
                cosine = _through(cosine)[0]
            total = total + sizes_s[:, None] * cosine * sizes_t
        return total

    return sum(in_threads(of_regions, np.arange(S.shape[1])))


def profile_gradient(
    A: np.ndarray, B: np.ndarray, dual: np.ndarray, depth: int, layer: np.ndarray | None = None
) -> np.ndarray:
    """Gradient of ``sum_t dual_t k(S, T_t)`` at people S of A, with T of B and dual [n]: [m, E], entries as of A."""
    if not depth and layer is None:
        return np.tile(dual @ B, (len(A), 1)).astype(np.float32)
    S, T = _profiles(A, layer), _profiles(B, layer)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        rows = np.stack([_slopes(S[:, region], T[:, region], dual, depth) for region in regions])
        return rows if layer is None else rows @ layer

    rows = np.concatenate(list(in_threads(of_regions, np.arange(S.shape[1])))).swapaxes(0, 1)
    return fold((rows + rows.swapaxes(1, 2)) / 2).T.astype(np.float32)


def learned_layer(X: np.ndarray, dual: np.ndarray, depth: int, learned: float) -> np.ndarray:
    """What the first layer makes of a profile once it looks where the decision is steep, [N, N]; see `Wide`.

    ``((1 - a) I + a M)^(1/2)``, M the outer products of the gradients of ``sum_t dual_t k(S, T_t)`` by the rows of
    the people S of X [n, E], who are the T as well, summed over rows and people and scaled to the trace N.
    """
    S = _profiles(X)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        slopes = [_slopes(S[:, region], S[:, region], dual, depth) for region in regions]
        return sum(rows.T @ rows for rows in slopes)

    products = sum(in_threads(of_regions, np.arange(S.shape[1])))
    size = max(float(np.trace(products)) / len(products), np.finfo(float).tiny)
    values, vectors = np.linalg.eigh((1 - learned) * np.eye(len(products)) + learned * products / size)
    return ((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T).astype(np.float32)


def _profiles(X: np.ndarray, layer: np.ndarray | None = None) -> np.ndarray:
    """Rows of the matrices of people [n, E], each multiplied by the first layer if there is one: [n, N, N]."""
    profiles = unfold(X.T)
    return profiles if layer is None else profiles @ layer


def _slopes(s: np.ndarray, t: np.ndarray, dual: np.ndarray, depth: int) -> np.ndarray:
    """Gradient of a region's part of the kernel by its profiles s [m, N], with t [n, N] and dual [n]: [m, N].

    The last cosine ``c_L = phi(c_(L-1))`` has in the first, c_0, the slope ``u = prod phi'(c_l)``, ``phi'(c) =
    (pi - acos c) / pi``; so the kernel of two profiles has in s the gradient ``|t| (c_L - u c_0) s / |s| + u t``.
    """
    first, sizes_s, sizes_t = _cosines(s, t)
    cosine, slope = first, 1.0
    for _ in range(depth):
        cosine, steeper = _through(cosine)
        slope = slope * steeper
    along = (cosine - slope * first) @ (dual * sizes_t) / sizes_s
    return along[:, None] * s + (slope * dual) @ t


def _cosines(s: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of the rows of two matrices, [m, n], and their lengths, [m] and [n]."""
    sizes = [np.maximum(np.linalg.norm(rows, axis=1).astype(float), np.finfo(np.float32).tiny) for rows in (s, t)]
    return np.clip((s @ t.T) / np.outer(*sizes), -1, 1), *sizes


def _through(cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosine behind an infinitely wide layer of ReLU, and its slope in the one before it."""
    slope = 1 - np.arccos(cosine) / np.pi
    return np.sqrt(1 - cosine**2) / np.pi + slope * cosine, slope
