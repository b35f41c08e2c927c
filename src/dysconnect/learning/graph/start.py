"""What a network may start from: ridge regression on the same features, in closed form, with its leave-one-out logits.

A network that is added to a linear model learns what that model leaves over. In the people whom a linear model was
fitted to it leaves nothing over, so that what counts are its decisions about each of them when left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dysconnect.models.dual import DualRidge, centre, centred_kernel


@dataclass(frozen=True)
class RidgeStart:
    """Ridge regression of K label vectors on the same people, as calibrated logits.

    Attributes
    ----------
    weights : array, [F, K]
        On the features, as is the intercept.
    intercept, slope, offset : array, [K]
        Logit = slope * decision + offset (Platt's curve).
    penalty : array, [K]
    """

    weights: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    penalty: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Calibrated logits of features, [m, F] -> [m, K]."""
        return self.slope * (np.asarray(features, float) @ self.weights + self.intercept) + self.offset

    @property
    def slopes(self) -> np.ndarray:
        """What one unit of a feature adds to the logits, [F, K]."""
        return self.weights * self.slope

    def take(self, k: int) -> "RidgeStart":
        """That of the k-th label vector alone."""
        one = slice(k, k + 1)
        numbers = (getattr(self, name)[one] for name in ("intercept", "slope", "offset", "penalty"))
        return RidgeStart(self.weights[:, one], *numbers)

    def state(self) -> dict[str, np.ndarray]:
        """That of the only label vector, as arrays."""
        numbers = np.array([self.intercept[0], self.slope[0], self.offset[0], self.penalty[0]])
        return {"start_weights": self.weights[:, 0].astype(np.float32), "start_numbers": numbers}

    @classmethod
    def of_state(cls, arrays: Mapping[str, np.ndarray]) -> "RidgeStart | None":
        """Restore from `state`; None where there was no start."""
        if "start_weights" not in arrays:
            return None
        return cls(arrays["start_weights"][:, None].astype(float), *arrays["start_numbers"][:, None])


def fit_start(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[RidgeStart, np.ndarray, np.ndarray]:
    """Fit ridge regression for many label vectors.

    Parameters
    ----------
    features : array, [n, F]
    labels : array of 0/1, [n, K]
    groups : array, [n]
        Copies of one scan share an entry: none helps to judge another.

    Returns
    -------
    RidgeStart
    held_out : array, [n, K]
        Leave-one-out logits.
    kernel : array, [n, n]
        Of the centred features, for `inner_logits`.
    """
    ridge, (centred, mean) = DualRidge(), centre(features)
    kernel, scale = centred_kernel(centred)
    dual, intercept, chosen, held_out = ridge.solve(kernel, labels, groups)
    weights = centred.T @ dual / scale
    slope, offset = np.array([ridge.calibrate(*one) for one in zip(held_out.T, labels.T)]).T
    penalty = np.asarray(ridge.penalties)[chosen]
    start = RidgeStart(weights, intercept - mean @ weights, slope, offset, penalty)
    return start, slope * held_out + offset, kernel


def inner_logits(
    kernel: np.ndarray, y: np.ndarray, parts: list[tuple[np.ndarray, np.ndarray]], groups: np.ndarray
) -> np.ndarray:
    """Logits of ridge regression that is fitted anew in every inner fold, penalty and Platt's curve included, [n, F].

    Of the people fitted on, those by leave-one-out among them; of the others, what is predicted of them. Leave-one-out
    logits of all training people, made once, would not do: each holds the labels of everybody else, so that what they
    leave over tells of a held-out label, and a network that has learned from it is below chance where nothing is there.

    Parameters
    ----------
    kernel : array, [n, n]
    y : array, [n]
    parts : list of (array, array)
        Positions to fit on and to watch.
    groups : array, [n]
    """
    ridge, logits = DualRidge(), np.empty((len(y), len(parts)))
    for number, (fit, watch) in enumerate(parts):
        own, across = recentred(kernel, fit, watch)
        dual, intercept, _, held_out = ridge.solve(own, y[fit, None], groups[fit])
        slope, offset = ridge.calibrate(held_out[:, 0], y[fit])
        logits[fit, number] = slope * held_out[:, 0] + offset
        logits[watch, number] = slope * (across @ dual[:, 0] + intercept) + offset
    return logits


def recentred(kernel: np.ndarray, fit: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels of features centred on the mean of some people [k], of unit mean diagonal, [k, k] and [m, k]."""
    own, across = kernel[np.ix_(fit, fit)], kernel[np.ix_(others, fit)]
    mean = own.mean(0)
    own = own - mean - mean[:, None] + mean.mean()
    across = across - across.mean(1, keepdims=True) - mean + mean.mean()
    scale = max(float(np.trace(own)) / len(own), np.finfo(float).tiny)
    return own / scale, across / scale
