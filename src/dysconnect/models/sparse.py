"""Elastic net: the linear classifier that keeps few edges."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import enet_path

from dysconnect.models.dual import Calibrated, concordance, inner_folds, platt


class ElasticNet(Calibrated, ClassifierMixin, BaseEstimator):
    """Elastic-net regression on labels -1 and 1, its strength chosen in an inner split by AUC.

    ``min_w |s - X w|^2 / (2 n) + a (r |w|_1 + (1 - r) |w|^2 / 2)``, features centred and divided by one common
    scale, by coordinate descent along a path of a, from the smallest that leaves no edge down to `shortest` of it.
    Coordinate descent over all 20,000 edges of 200 regions takes seconds a path and keeps a few hundred; so only
    the `screened` edges with the largest marginal correlation with the label enter (sure independence screening),
    picked anew inside every inner training set: the watched subjects never help to pick. Platt's curve is fitted to
    the decisions of the inner split.

    Parameters
    ----------
    ratio : float
        r, the share of the L1 penalty.
    screened : int
        Edges that enter.
    steps : int
        Strengths on the path.
    shortest : float
        The last strength, relative to the first.

    Attributes
    ----------
    weights_ : array, [E]
        ``decision = X @ weights_ + intercept_``; most are zero.
    intercept_, penalty_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_); `penalty_` is the strength relative to the first.

    References
    ----------
    Zou and Hastie (2005), doi:10.1111/j.1467-9868.2005.00503.x; Fan and Lv (2008),
    doi:10.1111/j.1467-9868.2008.00674.x; Friedman, Hastie and Tibshirani (2010), doi:10.18637/jss.v033.i01.
    """

    def __init__(self, ratio: float = 0.1, screened: int = 2000, steps: int = 15, shortest: float = 0.1):
        self.ratio, self.screened, self.steps, self.shortest = ratio, screened, steps, shortest

    def fit(self, X: np.ndarray, y: np.ndarray) -> "ElasticNet":
        """Fit on features [n, E] and labels [n] (0 control, 1 patient)."""
        y = self._take_labels(y)
        X = np.asarray(X, float)
        relative = np.geomspace(1, self.shortest, self.steps)
        held_out, auc = np.empty((self.steps, len(y))), np.zeros(self.steps)
        for fit, watch in inner_folds(y):
            kept, path, intercepts = self._path(X[fit], y[fit], relative)
            held_out[:, watch] = (X[np.ix_(watch, kept)] @ path + intercepts).T
            auc += [concordance(decisions, y[watch]) for decisions in held_out[:, watch]]
        chosen = int(auc.argmax())
        kept, path, intercepts = self._path(X, y, relative[: chosen + 1])
        self.weights_ = np.zeros(X.shape[1])
        self.weights_[kept] = path[:, chosen]
        self.intercept_, self.penalty_ = float(intercepts[chosen]), float(relative[chosen])
        self.slope_, self.offset_ = platt(held_out[chosen], y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Signed distance, [n]; positive is patient."""
        return np.asarray(X, float) @ self.weights_ + self.intercept_

    def _path(self, X: np.ndarray, y: np.ndarray, relative: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Screen and fit the path: kept edges [K], weights on them [K, L], intercepts [L]."""
        mean, signs = X.mean(0), 2.0 * y - 1
        kept = screen(X - mean, signs - signs.mean(), self.screened)
        centred = np.asfortranarray(X[:, kept] - mean[kept])
        scale = max(float(np.sqrt((centred**2).mean())), 1e-12)
        centred /= scale
        first = np.abs(centred.T @ (signs - signs.mean())).max() / (len(y) * self.ratio)
        _, path, _ = enet_path(
            centred,
            signs - signs.mean(),
            l1_ratio=self.ratio,
            alphas=max(first, 1e-12) * relative,
            precompute=False,
            tol=1e-3,
        )
        return kept, path / scale, signs.mean() - mean[kept] @ path / scale


def screen(centred: np.ndarray, response: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n features [S, E] most correlated with the response [S], ascending; both centred."""
    correlation = np.abs(centred.T @ response) / np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    return np.sort(np.argsort(-correlation, kind="stable")[:n])
