"""Graph networks of infinite width: kernels of what every region's profile says, solved in the dual."""

import copy
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from dysconnect.models.dual import PENALTIES, Calibrated, DualRidge, inner_folds, platt
from dysconnect.models.low_rank import BATCH, fold, low_rank_weights, unfold
from dysconnect.models.tangent import in_threads

SAME = 1e-6  # of the size of tangent vectors: people who differ by less, as rounding errors do, are the same


class Wide(Calibrated, ClassifierMixin, BaseEstimator):
    """A graph network that reads the profile of every region, infinitely wide, and beside it weights of low rank.

    A network with L hidden layers of ReLU, whose random weights all regions share, and a trained read-out for every
    region becomes ridge regression on the kernel of `profile_kernel` as its layers widen. So its penalty has a
    leave-one-out error in closed form, no seed matters, and a permutation of the labels is one more right-hand side.

    Such a network trains its read-out alone. One of finite width also trains its first layer, which comes to look where
    the decision is steep; `learned` = g > 0 does so in one step. M, the outer products of the decision's gradients by
    the profiles of regions, summed over regions and training people and scaled to a mean eigenvalue of 1, says which
    directions of a profile matter; products of profiles are taken in the metric ``(1 - g) I + g M``, and the read-out
    is solved again, its penalty as it was: leaving one out means little after its label has formed M. Every permutation
    of the labels then needs a kernel of its own.

    ``decision = (1 - h) f / a + h <B, T> / b``: f is the network, a the spread of its decisions (left out one by one),
    B the low-rank weights of `LowRank`, b the spread of theirs (of the training people). Calibrated on an inner split,
    in which everything is learned anew.

    Parameters
    ----------
    depth : int
        L; 0 is ridge regression.
    learned : float
        From 0 to 1.
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
    metric_ : array, [N, N], or None
        In which profiles are compared, if that was learned.
    dual_ : array, [n]
    low_ : array, [N (N + 1) / 2]
    intercept_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).

    References
    ----------
    Cho and Saul (2009), Kernel methods for deep learning; Du et al. (2019), arXiv:1905.13192 (graph networks of
    infinite width); Radhakrishnan et al. (2024), doi:10.1126/science.adi5639 (the metric).
    """

    def __init__(
        self, depth: int = 2, learned: float = 0.0, share: float = 0.0, trace: float = 0.3, penalties=PENALTIES
    ):
        self.depth, self.learned, self.share, self.trace, self.penalties = depth, learned, share, trace, penalties

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "Wide":
        """Fit on tangent vectors [n, N (N + 1) / 2], off-diagonal entries times sqrt(2), and labels [n] (1: patient).

        Copies of one scan share a group [n].
        """
        y = self._take_labels(y)
        X = self._remember(X)
        kernel, held_out = profile_kernel(X, X, self.depth), np.empty(len(y))
        for fit, watch in inner_folds(y, groups):
            some = None if groups is None else groups[fit]
            metric, dual, low, intercept = self._learn(X[fit], kernel[np.ix_(fit, fit)], y[fit, None], some)
            plain = metric is None
            cross = kernel[np.ix_(watch, fit)] if plain else profile_kernel(X[watch], X[fit], self.depth, metric)
            held_out[watch] = (cross @ dual + X[watch] @ low + intercept)[:, 0]
        self.metric_, dual, low, intercept = self._learn(X, kernel, y[:, None], groups)
        self.dual_, self.low_, self.intercept_ = dual[:, 0], low[:, 0], float(intercept[0])
        self.slope_, self.offset_ = platt(held_out, y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Signed distance, [n]; positive is patient."""
        X = np.asarray(X, np.float32) - self.origin_
        kernel = profile_kernel(X, self._people(), self.depth, self.metric_)
        return kernel @ self.dual_ + X @ self.low_ + self.intercept_

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decision values of X_test [m, E] for many label vectors [n, P] of X [n, E], all solved anew: [m, P]."""
        X = self._remember(X)
        X_test = np.asarray(X_test, np.float32) - self.origin_
        kernel, decided = profile_kernel(X, X, self.depth), []
        step = 1 if self.learned else BATCH if self.share else labels.shape[1]
        for start in range(0, labels.shape[1], step):
            metric, dual, low, intercept = self._learn(X, kernel, labels[:, start : start + step], groups)
            decided.append(profile_kernel(X_test, X, self.depth, metric) @ dual + X_test @ low + intercept)
        return np.hstack(decided)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """What the decision gains for every entry of the tangent vectors [m, E] of some people: [m, E]."""
        X = np.asarray(X, np.float32) - self.origin_
        return profile_gradient(X, self._people(), self.dual_, self.depth, self.metric_) + self.low_

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        metric = {} if self.metric_ is None else {"metric": self.metric_}
        weights = {"dual": self.dual_, "low": self.low_, "numbers": self._numbers()}
        return {"people": self.people_, "unit": self.unit_, **weights, **metric}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "Wide":
        """Restore from `state`."""
        self.people_, self.unit_ = arrays["people"], arrays["unit"]
        self.dual_, self.low_, self.metric_ = arrays["dual"], arrays["low"], arrays.get("metric")
        self.origin_ = self._vectors().mean(0)
        return self._take_numbers(arrays["numbers"])

    def shuffled(self, rng: np.random.Generator) -> "Wide":
        """The same classifier with its weights permuted."""
        twin = copy.copy(self)
        twin.dual_, twin.low_ = rng.permutation(self.dual_), rng.permutation(self.low_)
        return twin

    def _remember(self, X: np.ndarray) -> np.ndarray:
        """Keep the training people as they are saved; their tangent vectors less their mean, [n, E] float32.

        Raises
        ------
        ValueError
            When all are the same.
        """
        size = np.sqrt(np.mean(np.square(X, dtype=float)))
        self.unit_ = np.float32(max(size, np.finfo(np.float32).tiny))
        self.people_ = (X / self.unit_).astype(np.float16)
        self.origin_ = self._vectors().mean(0)
        people = self._people()
        if np.abs(people).max() <= SAME * self.unit_:
            raise ValueError(
                f"the connectivity of all {len(X)} training people is the same: nothing tells them apart. "
                "Are their scans copies of one?"
            )
        return people

    def _vectors(self) -> np.ndarray:
        return self.people_.astype(np.float32) * self.unit_

    def _people(self) -> np.ndarray:
        """Tangent vectors of the training people less their mean, where profiles start: [n, E] float32."""
        return self._vectors() - self.origin_

    def _learn(
        self, X: np.ndarray, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
        """What people X [n, E] teach: metric (of one label vector), weights [n, P], [E, P or 1], intercepts [P]."""
        metric, dual, intercept, spread = self._network(X, kernel, labels, groups)
        if not self.share:
            return metric, dual, np.zeros((X.shape[1], 1), np.float32), intercept
        low, mean = self._low_rank(X, labels)
        part = (1 - self.share) / np.maximum(spread, 1e-12)
        return metric, part * dual, low, part * intercept + mean

    def _network(
        self, X: np.ndarray, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray | float]:
        """Metric, weights [n, P] and intercepts [P] of the network, and the spread of its decisions, if needed."""
        ridge = DualRidge(self.penalties)
        if not (self.learned or self.share):
            return None, *_solve(ridge.solve_many, kernel, labels, groups), 1.0
        dual, intercept, chosen, held_out = _solve(ridge.solve, kernel, labels, groups)
        if not self.learned:
            return None, dual, intercept, held_out.std(0)
        metric = learned_metric(X, dual[:, 0], self.depth, self.learned)
        ridge = DualRidge((self.penalties[int(chosen[0])],))
        own = profile_kernel(X, X, self.depth, metric)
        dual, intercept, _, held_out = _solve(ridge.solve, own, labels, groups)
        return metric, dual, intercept, held_out.std(0)

    def _low_rank(self, X: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The part of the low-rank weights in the decision, [E, P], and its intercepts [P]."""
        mean, signs = X.mean(0), (2.0 * labels - 1).astype(np.float32)
        centred = X - mean
        size = max(float(np.sqrt((centred**2).sum(dtype=float) / len(centred))), np.finfo(np.float32).tiny)
        low = low_rank_weights(centred / np.float32(size), signs - signs.mean(0), self.trace)
        low *= (self.share / np.maximum((centred @ low).std(0), 1e-12)).astype(np.float32)
        return low, -mean @ low


def _solve(solver, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """What a solver of centred kernels of unit size finds for a kernel [n, n]: dual weights, intercepts, the rest."""
    mean = kernel.mean(0)
    centred = kernel - mean - mean[:, None] + kernel.mean()
    scale = max(float(np.trace(centred)) / len(centred), np.finfo(float).tiny)
    dual, intercept, *rest = solver(centred / scale, labels, groups)
    dual = dual / scale
    return dual, intercept - mean @ dual, *rest


def profile_kernel(A: np.ndarray, B: np.ndarray, depth: int, metric: np.ndarray | None = None) -> np.ndarray:
    """Kernel of two sets of people: the profiles of their regions, seen through infinitely wide hidden layers.

    ``k(S, T) = sum_i |s_i| |t_i| phi(phi(... cos(s_i, t_i)))`` with row i of the matrices, s_i and t_i, and
    ``phi(c) = (sqrt(1 - c^2) + (pi - acos c) c) / pi``, once a layer: the arc-cosine kernel of order one (Cho and Saul
    2009), scaled so that ``k(S, S) = |S|^2`` at every depth. Without a layer it is the product of the vectors.

    Parameters
    ----------
    A, B : array, [m, E] and [n, E]
        Upper triangles with diagonal, off-diagonal entries times sqrt(2).
    depth : int
    metric : array, [N, N], optional
        Of the product of two profiles, and so of lengths and cosines; the identity without one.

    Returns
    -------
    array, [m, n]
    """
    if not depth and metric is None:
        return (A @ B.T).astype(float)
    S, T = (_Profiles(A, metric),) * 2 if A is B else (_Profiles(A, metric), _Profiles(B, metric))

    def of_regions(regions: np.ndarray) -> np.ndarray:
        total = 0.0
        for region in regions:
            cosine, sizes_s, sizes_t = _cosines(S, T, region)
            for _ in range(depth):
                cosine = _through(cosine)[0]
            total = total + sizes_s[:, None] * cosine * sizes_t
        return total

    return sum(in_threads(of_regions, np.arange(S.rows.shape[1])))


def profile_gradient(
    A: np.ndarray, B: np.ndarray, dual: np.ndarray, depth: int, metric: np.ndarray | None = None
) -> np.ndarray:
    """Gradient of ``sum_t dual_t k(S, T_t)`` at people S of A, with T of B and dual [n]: [m, E], entries as of A."""
    if not depth and metric is None:
        return np.tile(dual @ B, (len(A), 1)).astype(np.float32)
    S, T = _Profiles(A, metric), _Profiles(B, metric)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        return np.stack([_slopes(S, T, region, dual, depth) for region in regions])

    rows = np.concatenate(list(in_threads(of_regions, np.arange(S.rows.shape[1])))).swapaxes(0, 1)
    return fold((rows + rows.swapaxes(1, 2)) / 2).T


def learned_metric(X: np.ndarray, dual: np.ndarray, depth: int, learned: float) -> np.ndarray:
    """Metric of profiles in which directions count by how steep the decision is along them, [N, N]; see `Wide`.

    ``(1 - g) I + g M``, M the outer products of the gradients of ``sum_t dual_t k(S, T_t)`` by the rows of the people
    S of X [n, E], who are the T as well, summed over rows and people and scaled to the trace N.
    """
    S = _Profiles(X)

    def of_regions(regions: np.ndarray) -> np.ndarray:
        slopes = (_slopes(S, S, region, dual, depth) for region in regions)
        return sum((rows.T @ rows).astype(float) for rows in slopes)

    products = sum(in_threads(of_regions, np.arange(S.rows.shape[1])))
    size = max(float(np.trace(products)) / len(products), np.finfo(float).tiny)
    return ((1 - learned) * np.eye(len(products)) + learned * products / size).astype(np.float32)


class _Profiles:
    """Rows of the matrices of people [n, E], and the same times the metric: [n, N, N] each."""

    def __init__(self, X: np.ndarray, metric: np.ndarray | None = None):
        self.rows = unfold(X.T)
        self.weighed = self.rows if metric is None else self.rows @ metric

    def sizes(self, region: int) -> np.ndarray:
        """Lengths of a region's profiles, [n]."""
        squares = np.einsum("ij,ij->i", self.rows[:, region], self.weighed[:, region], dtype=float)
        return np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))


def _slopes(S: _Profiles, T: _Profiles, region: int, dual: np.ndarray, depth: int) -> np.ndarray:
    """Gradient of a region's part of the kernel by its profiles s of S, with t of T and dual [n]: [m, N] float32.

    The last cosine ``c_L = phi(c_(L-1))`` has in the first, c_0, the slope ``u = prod phi'(c_l)``, ``phi'(c) =
    (pi - acos c) / pi``; so the kernel of two profiles has in s the gradient ``|t| (c_L - u c_0) s / |s| + u t``, times
    the metric.
    """
    first, sizes_s, sizes_t = _cosines(S, T, region)
    cosine, slope = first, 1.0
    for _ in range(depth):
        cosine, steeper = _through(cosine)
        slope = slope * steeper
    along = (cosine - slope * first) @ (dual * sizes_t) / sizes_s
    across = np.broadcast_to(slope * dual, first.shape).astype(np.float32)
    return along[:, None].astype(np.float32) * S.weighed[:, region] + across @ T.weighed[:, region]


def _cosines(S: _Profiles, T: _Profiles, region: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines of a region's profiles in two sets of people, [m, n], and their lengths, [m] and [n]."""
    sizes = S.sizes(region), T.sizes(region)
    return np.clip(S.weighed[:, region] @ T.rows[:, region].T / np.outer(*sizes), -1, 1), *sizes


def _through(cosine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cosine behind an infinitely wide layer of ReLU, and its slope in the one before it."""
    slope = 1 - np.arccos(cosine) / np.pi
    return np.sqrt(1 - cosine**2) / np.pi + slope * cosine, slope
