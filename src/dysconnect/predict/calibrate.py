"""Calibration of the models of all folds, learned from out-of-fold predictions and never from the person."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit, logit

EXTREME = 1e-6  # probabilities nearer to 0 or 1 count as this far from them, so that their logit is finite
PRIOR = 0.1  # precision of the slope in standard deviations of the logit: finite where nothing is misjudged
STEPS = 50
SAMPLES = 200  # bootstrap samples of people
LEVEL = 0.95
FEWEST = 10  # people whom a model was tested on, with fewer of whom its scale is a guess


@dataclass(frozen=True)
class Calibration:
    """Curve ``P(patient) = expit(a + b z)`` of one experiment's models, ``z = (logit(p) - centre) / scale`` of each.

    Models of different folds may differ wildly in how far they spread their probabilities, and still agree on who is
    likelier: so each is measured on the people it was tested on.

    Attributes
    ----------
    place : array of int, [M, 2]
        Repeat and fold of every model.
    centre, scale : array, [M]
        Mean of patients' and controls' logits, and standard deviation, out of fold.
    curve : array, [2]
        a and b, from everybody's out-of-fold predictions; b is never negative.
    samples : array, [B, 2]
        The same from bootstrap samples of people.
    probability, label : array, [n]
        Calibrated out-of-fold probability of everybody, and who was a patient.
    """

    place: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    curve: np.ndarray
    samples: np.ndarray
    probability: np.ndarray
    label: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """As arrays."""
        return vars(self).copy()

    def apply(self, raw: Mapping[tuple[int, int], float]) -> np.ndarray:
        """Calibrate the probabilities of models by (repeat, fold), [K]."""
        return expit(self.curve[0] + self.curve[1] * self._standardised(raw))

    def interval(self, raw: Mapping[tuple[int, int], float]) -> tuple[float, float]:
        """Middle 95% over models by (repeat, fold) and the bootstrap samples of the curve."""
        spread = expit(self.samples[:, :1] + self.samples[:, 1:] * self._standardised(raw))
        low, high = np.quantile(spread, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def elsewhere(self, factor: float, summand: float) -> "Calibration":
        """The curve of the same models for people of new sites, whose logits are ``summand + factor * logit``."""
        turn = np.array([summand, 0.0])
        probability = expit(summand + factor * _logit(self.probability))
        return replace(
            self, curve=factor * self.curve + turn, samples=factor * self.samples + turn, probability=probability
        )

    def alike(self, probability: float) -> tuple[int, int]:
        """How many people of the cohort were given nearly this probability, and how many of them were patients."""
        n = max(10, len(self.label) // 5)
        nearest = np.argsort(np.abs(self.probability - probability), kind="stable")[:n]
        return len(nearest), int(self.label[nearest].sum())

    def _standardised(self, raw: Mapping[tuple[int, int], float]) -> np.ndarray:
        rows = [int(np.flatnonzero((self.place == place).all(1))[0]) for place in raw]
        return (_logit(np.array(list(raw.values()))) - self.centre[rows]) / self.scale[rows]


def calibrate(predictions: pd.DataFrame, seed: int = 0) -> Calibration:
    """Fit the curve on out-of-fold predictions of the models that are kept: those of the first seed.

    Parameters
    ----------
    predictions : DataFrame
        Tidy, of one experiment.
    seed : int
        Of the bootstrap.
    """
    kept = predictions[predictions["seed"] == predictions["seed"].min()]
    names, person = np.unique(kept["participant_id"], return_inverse=True)
    raw, label = _logit(kept["probability"].to_numpy(float)), kept["label"].to_numpy(float)
    place, model = np.unique(kept[["repeat", "fold"]].to_numpy(int), axis=0, return_inverse=True)
    model = model.ravel()
    centre, scale = np.array([_spread(raw, label, model == k) for k in range(len(place))]).T
    z = (raw - centre[model]) / scale[model]
    often = np.bincount(person)
    counts = np.random.default_rng([seed, 17]).multinomial(len(names), np.full(len(names), 1 / len(names)), SAMPLES)
    weights = (np.vstack([np.ones(len(names)), counts]) / often)[:, person]
    curves = _curves(z, label, weights)
    probability = np.bincount(person, expit(curves[0, 0] + curves[0, 1] * z)) / often
    of_person = (np.bincount(person, label) / often).astype(np.int8)
    return Calibration(place, centre, scale, curves[0], curves[1:], probability, of_person)


def _spread(raw: np.ndarray, label: np.ndarray, tested: np.ndarray) -> tuple[float, float]:
    """Centre and scale of the logits of the people whom one model was tested on; of all where these say too little."""
    if tested.sum() < FEWEST or len(np.unique(label[tested])) < 2:
        tested = np.ones(len(raw), bool)
    means = [raw[tested & (label == side)].mean() for side in (0, 1)]
    return float(np.mean(means)), max(float(raw[tested].std()), 1e-9)


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
