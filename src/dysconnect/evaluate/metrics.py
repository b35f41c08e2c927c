"""Scores of out-of-fold predictions, and the same scores for every bootstrap sample at once."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

METRICS = (
    "auc", "balanced_accuracy", "sensitivity", "specificity", "brier",
    "calibration_slope", "calibration_intercept", "auc_deconfounded", "auc_within_site",
)  # fmt: skip
GRID = 200  # false positive rates at which ROC curves are averaged


@dataclass(frozen=True)
class Evidence:
    """Predictions reduced to what weighted scores need, averaged over repeats and seeds.

    Attributes
    ----------
    subjects : array of str, [n]
    labels : array, [n]
    concordance, pairs : array, [cases, controls]
        How often a case and a control were tested in the same fold, and how often the case got the higher
        probability (ties count one half). AUC is the ratio of their weighted sums: cases and controls
        are compared only under the same fitted model.
    correct, error : array, [n]
        Mean of correct decisions at probability one half, and mean squared error of the probability.
    """

    subjects: np.ndarray
    labels: np.ndarray
    concordance: np.ndarray
    pairs: np.ndarray
    correct: np.ndarray
    error: np.ndarray


def gather(predictions: pd.DataFrame) -> Evidence:
    """Reduce one experiment's tidy predictions.

    Raises
    ------
    ValueError
        When there is nothing to score, a probability is missing or outside [0, 1], all of them are decisions (0 or
        1), a label is not 0 or 1, or a subject has two.
    """
    _check(predictions)
    return tally(predictions)


def tally(predictions: pd.DataFrame) -> Evidence:
    """Count pairs and errors of predictions that are known to be sound; of one fold too."""
    probability = predictions["probability"].to_numpy(float)
    people = predictions.groupby("participant_id")["label"].first()
    subjects, labels = people.index.to_numpy(str), people.to_numpy(int)
    row = pd.Series(np.arange(len(subjects)), index=subjects)
    place = np.empty(len(subjects), int)
    place[labels == 1] = np.arange(labels.sum())
    place[labels == 0] = np.arange((labels == 0).sum())
    concordance = np.zeros((labels.sum(), (labels == 0).sum()))
    pairs = np.zeros_like(concordance)
    for _, part in predictions.groupby(["repeat", "fold", "seed"]):
        rows, p = row.loc[part["participant_id"]].to_numpy(), part["probability"].to_numpy()
        case = labels[rows] == 1
        higher = np.sign(p[case][:, None] - p[~case]) / 2 + 0.5
        cell = np.ix_(place[rows[case]], place[rows[~case]])
        concordance[cell] += higher
        pairs[cell] += 1
    scored = predictions.assign(
        correct=(probability > 0.5) == (predictions["label"] == 1),
        error=(probability - predictions["label"]) ** 2,
    )
    means = scored.groupby("participant_id")[["correct", "error"]].mean().loc[subjects]
    return Evidence(subjects, labels, concordance, pairs, means["correct"].to_numpy(float), means["error"].to_numpy())


def _check(predictions: pd.DataFrame) -> None:
    """Refuse predictions that cannot be scored, with the subject and the experiment."""
    if predictions.empty:
        raise ValueError("predictions: no rows, so nothing to score; train the model again.")
    name = predictions["experiment"].iloc[0]
    probability = predictions["probability"]
    fine = probability.between(0, 1)
    if not fine.all():
        bad = predictions.loc[~fine, "participant_id"].iloc[0]
        raise ValueError(
            f"{name}: probability of {bad} is missing or outside [0, 1]; train the model again. "
            f"({(~fine).sum()} of {len(fine)} are.)"
        )
    if len(probability) > 2 and probability.isin([0, 1]).all():
        raise ValueError(
            f"{name}: all probabilities are 0 or 1, so they are decisions. The AUC ranks probabilities; save those."
        )
    known = predictions["label"].isin([0, 1])
    if not known.all():
        bad = predictions.loc[~known].iloc[0]
        raise ValueError(
            f"{name}: label of {bad['participant_id']} is {bad['label']}; expected 1 (patient) or 0 (control)."
        )
    labels = predictions.groupby("participant_id")["label"].nunique()
    if (labels > 1).any():
        raise ValueError(f"{name}: {labels.index[labels > 1][0]} has two different labels.")
    if predictions["label"].nunique() < 2:
        only = "patients" if predictions["label"].iloc[0] == 1 else "controls"
        raise ValueError(f"{name}: only {only} were predicted; scores need both groups. Correct the splits.")


def subset(evidence: Evidence, rows: np.ndarray) -> Evidence:
    """Evidence on some of the subjects, in the same order; rows is a mask, [n]."""
    case = evidence.labels == 1
    cell = np.ix_(rows[case], rows[~case])
    return Evidence(
        evidence.subjects[rows],
        evidence.labels[rows],
        evidence.concordance[cell],
        evidence.pairs[cell],
        evidence.correct[rows],
        evidence.error[rows],
    )


def site_codes(sites: pd.Series) -> pd.Series:
    """Number the sites of people; where all are of one, everybody gets a number: an AUC within it is the pooled one."""
    codes = pd.factorize(sites.fillna("").astype(str))[0]
    return pd.Series(codes if codes.any() else np.arange(len(codes)), sites.index)


def within_sites(evidence: Evidence, sites: np.ndarray) -> Evidence:
    """Keep the pairs of a patient and a control of one site, [n]: whole sites that score higher then count nothing."""
    case = evidence.labels == 1
    same = sites[case][:, None] == sites[~case]
    return replace(evidence, concordance=evidence.concordance * same, pairs=evidence.pairs * same)


def weighted_scores(evidence: Evidence, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores under subject weights, one value for each row of `weights` [B, n]; all ones give the estimate.

    Returns
    -------
    dict of array, [B]
        `auc`, `balanced_accuracy`, `sensitivity`, `specificity` (higher is better) and `brier` (lower is).
    """
    case = evidence.labels == 1
    cases, controls = weights[:, case], weights[:, ~case]
    concordant = ((cases @ evidence.concordance) * controls).sum(1)
    pairs = ((cases @ evidence.pairs) * controls).sum(1)
    sensitivity = cases @ evidence.correct[case] / cases.sum(1)
    specificity = controls @ evidence.correct[~case] / controls.sum(1)
    with np.errstate(invalid="ignore"):  # no patient and control of one fold: no AUC
        auc = concordant / pairs
    return {
        "auc": auc,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "brier": weights @ evidence.error / weights.sum(1),
    }


def bootstrap_weights(labels: np.ndarray, groups: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Bootstrap counts of every subject, [n, S]: within each class, copies of one scan are drawn together.

    Parameters
    ----------
    labels, groups : array, [S]
    n : int
        Bootstrap samples.
    seed : int
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((n, len(labels)))
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        names, cluster = np.unique(groups[members], return_inverse=True)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
        weights[:, members] = counts[:, cluster]
    return weights


def roc_points(predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean of the ROC curves of the folds, on a fixed grid.

    Folds weigh as they do in the AUC, by their pairs of a patient and a control, so that the area under the mean is
    the AUC. Folds that tested one class have no curve.

    Returns
    -------
    DataFrame
        `fpr`, `tpr`, and `low`, `high`: one standard deviation of the folds (of all repeats, seeds averaged) from it.
    """
    grid = np.r_[0, (np.arange(GRID) + 0.5) / GRID, 1]
    curves, weights = [], []
    for _, fold in predictions.groupby(["repeat", "fold"]):
        cases = fold.drop_duplicates("participant_id")["label"]
        if cases.nunique() == 2:
            curves.append(np.mean([_roc(one, grid) for _, one in fold.groupby("seed")], axis=0))
            weights.append(cases.sum() * (1 - cases).sum())
    mean, spread = np.average(curves, axis=0, weights=weights), np.std(curves, axis=0)
    low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
    return pd.DataFrame({"fpr": grid, "tpr": mean, "low": low, "high": high})


def _roc(predictions: pd.DataFrame, grid: np.ndarray) -> np.ndarray:
    """Sensitivity of one model at false positive rates."""
    order = np.argsort(-predictions["probability"].to_numpy(), kind="stable")
    p, y = predictions["probability"].to_numpy()[order], predictions["label"].to_numpy()[order]
    last = np.r_[np.flatnonzero(np.diff(p)), len(p) - 1]
    tpr = np.r_[0, np.cumsum(y)[last] / y.sum()]
    fpr = np.r_[0, np.cumsum(1 - y)[last] / (1 - y).sum()]
    return np.interp(grid, fpr, tpr)


def calibration_points(predictions: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Calibration: mean probability and share of patients in bins of equal size: `probability`, `observed`, `n`."""
    order = predictions.sort_values("probability", kind="stable")
    part = np.array_split(np.arange(len(order)), min(bins, len(order)))
    rows = [
        (order["probability"].iloc[of_bin].mean(), order["label"].iloc[of_bin].mean(), len(of_bin))
        for of_bin in part
        if len(of_bin)
    ]
    return pd.DataFrame(rows, columns=["probability", "observed", "n"])
