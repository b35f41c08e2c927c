"""Calibration slope and intercept by logistic recalibration, for every bootstrap sample at once."""

import numpy as np
import pandas as pd
from scipy.special import expit, logit

EXTREME = 1e-6  # probabilities nearer to 0 or 1 count as this far from them, so that their logit is finite
STEPS = 40
CELLS = 4_000_000  # of a chunk, bootstrap samples x predictions


def recalibration(predictions: pd.DataFrame, subjects: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Slope and intercept of a logistic regression of the label on the logit of the predicted probability.

    The slope is b of ``logit P(y = 1) = a + b logit(p)``: 1 where risks are spread as they should be, below 1 where
    they are too extreme. The intercept is a of ``logit P(y = 1) = a + logit(p)``, calibration in the large: 0
    where as many patients are expected as there are. Every subject counts once, however often it was predicted.

    Parameters
    ----------
    predictions : DataFrame
        Tidy, of one experiment.
    subjects : array of str, [S]
        Order of the columns of `weights`.
    weights : array, [B, S]
        Of the subjects.

    Returns
    -------
    dict of array, [B]
        `calibration_slope`, `calibration_intercept`. The slope is infinite where the probabilities separate
        patients and controls without an error, and NaN where all probabilities are the same.

    References
    ----------
    Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster et al. 2016, doi:10.1016/j.jclinepi.2015.12.005.
    """
    place = pd.Series(np.arange(len(subjects)), subjects).loc[predictions["participant_id"]].to_numpy()
    often = np.bincount(place, minlength=len(subjects))
    x = logit(np.clip(predictions["probability"].to_numpy(float), EXTREME, 1 - EXTREME))
    y = predictions["label"].to_numpy(float)
    slopes, intercepts = [], []
    for part in np.array_split(weights, max(1, len(weights) * len(x) // CELLS)):
        rows = (part / np.maximum(often, 1))[:, place]
        slopes.append(_slope(x, y, rows))
        intercepts.append(_intercept(x, y, rows))
    return {"calibration_slope": np.concatenate(slopes), "calibration_intercept": np.concatenate(intercepts)}


def _slope(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Newton's method in two parameters, [B]; x, y [R], weights [B, R]."""
    if np.ptp(x) < 1e-9:
        return np.full(len(weights), np.nan)
    scale = x.std()
    x = x / scale
    a, b = np.zeros(len(weights)), np.zeros(len(weights))
    powers = np.column_stack([np.ones_like(x), x, x * x])
    open_ = np.arange(len(weights))
    for _ in range(STEPS):
        weight = weights[open_]
        p = expit(a[open_, None] + b[open_, None] * x)
        slack = weight * (y - p)
        g0, g1 = slack.sum(1), slack @ x
        h0, h1, h2 = (weight * p * (1 - p) @ powers).T
        determinant = np.maximum(h0 * h2 - h1 * h1, 1e-300)
        step_a, step_b = (h2 * g0 - h1 * g1) / determinant, (h0 * g1 - h1 * g0) / determinant
        length = np.maximum(1, np.hypot(step_a, step_b) / 4)  # no leap where a sample is all but separated
        a[open_] += step_a / length
        b[open_] += step_b / length
        open_ = open_[np.hypot(step_a, step_b) > 1e-7]
        if not len(open_):
            break
    b[open_] = np.where(b[open_] > 0, np.inf, -np.inf)  # still growing: nothing stops the slope
    return b / scale


def _intercept(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Newton's method for the intercept beside a slope of one, [B]."""
    a = np.zeros(len(weights))
    for _ in range(STEPS):
        p = expit(a[:, None] + x)
        step = (weights * (y - p)).sum(1) / np.maximum((weights * p * (1 - p)).sum(1), 1e-300)
        a += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-7:
            break
    return a
