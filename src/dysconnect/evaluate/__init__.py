"""Stage `evaluate`: scores with intervals, permutation p, the confound floor, and paired comparisons."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.evaluate.metrics import (
    METRICS,
    bootstrap_weights,
    calibration_points,
    gather,
    roc_points,
    weighted_scores,
)


def evaluate(
    predictions: Mapping[str, pd.DataFrame],
    nulls: Mapping[str, pd.DataFrame],
    splits: pd.DataFrame,
    spec: Mapping,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Score all experiments of a cohort on the same folds and the same bootstrap samples.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        Tidy out-of-fold predictions by experiment.
    nulls : mapping of str to DataFrame
        `permutation`, `auc` by experiment; empty where there is no permutation null.
    splits : DataFrame
        Gives the groups of copied scans.
    spec : mapping
        The `evaluate` section: `floor` (the experiment that is the confound floor), `bootstraps` (samples of
        subjects), `level` (of the percentile intervals), `seed`.

    Returns
    -------
    scores : DataFrame
        `experiment`, `metric`, `value`, `low`, `high`, `p`, `floor`, `n`; p is the label-permutation p of AUC.
    comparisons : DataFrame
        Every pair: `experiment`, `other`, `metric`, `difference`, `low`, `high`, `p` (paired bootstrap).
    curves : DataFrame
        `experiment`, `curve` (roc, calibration), `x`, `y`.
    """
    evidence = {name: gather(table) for name, table in predictions.items()}
    first = next(iter(evidence.values()))
    for name, own in evidence.items():
        if not np.array_equal(own.subjects, first.subjects):
            raise ValueError(f"{name} was not tested on the same subjects as the others; train it again.")
    group = splits.drop_duplicates("participant_id").set_index("participant_id")["scan_group"]
    groups = group.loc[first.subjects].to_numpy()
    weights = bootstrap_weights(first.labels, groups, spec["bootstraps"], spec["seed"])
    ones = np.ones((1, len(first.labels)))
    point = {name: weighted_scores(own, ones) for name, own in evidence.items()}
    samples = {name: weighted_scores(own, weights) for name, own in evidence.items()}
    scores = _score_table(point, samples, nulls, spec["floor"], spec["level"], len(first.labels))
    return scores, compare(point, samples, spec["level"]), _curve_table(predictions)


def _score_table(point, samples, nulls, floor: str | None, level: float, n: int) -> pd.DataFrame:
    rows = []
    tails = [(1 - level) / 2, (1 + level) / 2]
    for name in point:
        for metric in METRICS:
            low, high = np.quantile(samples[name][metric], tails)
            p = permutation_p(nulls[name]) if metric == "auc" else np.nan
            level_of_floor = point[floor][metric][0] if floor in point else np.nan
            rows.append((name, metric, point[name][metric][0], low, high, p, level_of_floor, n))
    return pd.DataFrame(rows, columns=["experiment", "metric", "value", "low", "high", "p", "floor", "n"])


def permutation_p(null: pd.DataFrame) -> float:
    """Permutation p, ``(1 + #{null >= observed}) / (1 + B)``; NaN where there is no null."""
    if null.empty:
        return np.nan
    observed = null.loc[null["permutation"] == 0, "auc"].item()
    permuted = null.loc[null["permutation"] > 0, "auc"].to_numpy()
    return (1 + (permuted >= observed - 1e-12).sum()) / (1 + len(permuted))


def compare(point, samples, level: float) -> pd.DataFrame:
    """Differences between all pairs of experiments, on the same folds and bootstrap samples.

    The p is two-sided: twice the smaller share of bootstrap differences on one side of zero, never 0.
    """
    rows = []
    names = list(point)
    tails = [(1 - level) / 2, (1 + level) / 2]
    for k, name in enumerate(names):
        for other in names[:k]:
            for metric in ("auc", "balanced_accuracy", "brier"):
                difference = samples[name][metric] - samples[other][metric]
                low, high = np.quantile(difference, tails)
                beyond = min((difference <= 0).sum(), (difference >= 0).sum())
                p = min(1.0, 2 * (1 + beyond) / (1 + len(difference)))
                value = point[name][metric][0] - point[other][metric][0]
                rows.append((name, other, metric, value, low, high, p))
    return pd.DataFrame(rows, columns=["experiment", "other", "metric", "difference", "low", "high", "p"])


def _curve_table(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    tables = []
    for name, table in predictions.items():
        roc = roc_points(table).set_axis(["x", "y"], axis=1).assign(experiment=name, curve="roc")
        calibration = calibration_points(table)[["probability", "observed"]].set_axis(["x", "y"], axis=1)
        tables += [roc, calibration.assign(experiment=name, curve="calibration")]
    return pd.concat(tables, ignore_index=True)[["experiment", "curve", "x", "y"]]
