"""Predictions with known answers, and their evaluation, for the tests of the stage `evaluate`."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from dysconnect.evaluate import Evaluation, evaluate

SPEC = {"floor": "floor", "bootstraps": 400, "level": 0.95, "seed": 0}
NO_NULL = pd.DataFrame({"permutation": [], "auc": []})


def predictions_of(probability, label, fold=0, repeat=0, seed=0) -> pd.DataFrame:
    """Tidy predictions of people named by their place."""
    names = [f"sub-{k:03d}" for k in range(len(label))]
    return pd.DataFrame(
        {"participant_id": names, "experiment": "any", "repeat": repeat, "fold": fold, "seed": seed, "label": label,
         "probability": probability}
    )  # fmt: skip


def splits_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """Splits in which everybody is a scan group of one."""
    own = predictions[["participant_id", "label", "repeat", "fold"]].drop_duplicates()
    return own.assign(scan_group=own["participant_id"])


def evaluated(predictions: dict[str, pd.DataFrame], nulls=None, people=None, covariates=(), **changes) -> Evaluation:
    """Evaluate experiments of the same people, who differ in nothing unless told."""
    first = next(iter(predictions.values()))
    people = first[["participant_id"]].drop_duplicates() if people is None else people
    predictions = {name: table.assign(experiment=name) for name, table in predictions.items()}
    nulls = {name: NO_NULL for name in predictions} | (nulls or {})
    return evaluate(predictions, nulls, splits_of(first), people, covariates, SPEC | changes)


def simulated(n: int, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """Predictions whose true AUC is ``Phi(shift / sqrt 2)``."""
    label = np.arange(n) % 2
    return predictions_of(norm.cdf(rng.normal(shift * label)), label)
