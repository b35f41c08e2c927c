"""Calibration of the models of all folds, learned from out-of-fold predictions and never from the person."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

EXTREME = 1e-6  # probabilities nearer to 0 or 1 count as this far from them, so that their logit is finite
PRIOR = 0.1  # precision of the slope in standard deviations of the logit: finite where nothing is misjudged
STEPS = 50
SAMPLES = 200  # bootstrap samples of people
LEVEL = 0.95


@dataclass(frozen=True)
class Calibration:
    """Curve ``P(patient) = expit(a + b logit(p))`` of one experiment's models.

    Attributes
    ----------
    curve : array, [2]
        a and b, from everybody's out-of-fold predictions; b is never negative.
    samples : array, [B, 2]
        The same from bootstrap samples of people.
    probability, label : array, [n]
        Calibrated out-of-fold probability of everybody, and who was a patient.
    """

    curve: np.ndarray
    samples: np.ndarray
    probability: np.ndarray
    label: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """As arrays."""
        return vars(self).copy()

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Calibrate probabilities of single models, [K]."""
        return expit(self.curve[0] + self.curve[1] * _logit(raw))

    def interval(self, raw: np.ndarray) -> tuple[float, float]:
        """Middle 95% over the models [K] and the bootstrap samples of the curve."""
        spread = expit(self.samples[:, :1] + self.samples[:, 1:] * _logit(raw))
        low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def alike(self, probability: float) -> tuple[int, int]:
        """How many people of the cohort were given nearly this probability, and how many of them were patients."""
        n = max(10, len(self.label) // 5)
        nearest = np.argsort(np.abs(self.probability - probability), kind="stable")[:n]
        return len(nearest), int(self.label[nearest].sum())


def calibrate(predictions: pd.DataFrame, seed: int = 0) -> Calibration:
    """Fit the curve on out-of-fold predictions of the models that are kept: those of the first seed.

    Parameters
    ----------
    predictions : DataFrame
        Tidy, of one experiment.
    seed : int
        Of the bootstrap.
    """
    own = predictions[predictions["seed"] == predictions["seed"].min()]
    names, person = np.unique(own["participant_id"], return_inverse=True)
    raw, label = own["probability"].to_numpy(float), own["label"].to_numpy(float)
    often = np.bincount(person)
    counts = np.random.default_rng([seed, 17]).multinomial(len(names), np.full(len(names), 1 / len(names)), SAMPLES)
    weights = (np.vstack([np.ones(len(names)), counts]) / often)[:, person]
    curves = _curves(_logit(raw), label, weights)
    curve = Calibration(curves[0], curves[1:], np.empty(0), np.empty(0))
    probability = np.bincount(person, curve.apply(raw)) / often
    of_person = np.bincount(person, label) / often
    return Calibration(curves[0], curves[1:], probability, of_person.astype(np.int8))


def _logit(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability, EXTREME, 1 - EXTREME))


def _curves(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Logistic regression of y on x [R] for weights [B, R] by Newton's method: a and b, [B, 2].

    Where patients got lower values than controls, the slope is zero and the curve the share of patients.
    """
    centre, scale = x.mean(), max(x.std(), 1e-9)
    x = (x - centre) / scale
    total = weights.sum(1)
    share = np.clip(weights @ y / total, 0.5 / total, 1 - 0.5 / total)
    a, b = logit(share), np.zeros(len(weights))
    for _ in range(STEPS):
        p = expit(a[:, None] + b[:, None] * x)
        slack, curved = weights * (y - p), weights * p * (1 - p)
        g0, g1 = slack.sum(1), slack @ x - PRIOR * b
        h0, h1, h2 = curved.sum(1) + 1e-9, curved @ x, curved @ (x * x) + PRIOR
        determinant = h0 * h2 - h1 * h1
        step = np.stack([h2 * g0 - h1 * g1, h0 * g1 - h1 * g0]) / determinant
        step /= np.maximum(1, np.hypot(*step) / 2)  # no leap where a sample is all but separated
        a, b = a + step[0], b + step[1]
        if np.abs(step).max() < 1e-9:
            break
    falling = b <= 0
    a, b = np.where(falling, logit(share), a), np.where(falling, 0, b)
    return np.column_stack([a - b * centre / scale, b / scale])
