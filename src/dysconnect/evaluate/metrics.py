"""Scores of out-of-fold predictions, and the same scores for every bootstrap sample at once."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import ndtri

METRICS = (
    "auc", "balanced_accuracy", "sensitivity", "specificity", "brier",
    "calibration_slope", "calibration_intercept", "auc_deconfounded", "auc_within_site",
)  # fmt: skip
GRID = np.linspace(0, 1, 101)  # false positive rates of the drawn curve


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


def within_sites(evidence: Evidence, sites: pd.Series) -> Evidence:
    """Evidence on pairs of one site only; no pair where there are not two sites.

    Parameters
    ----------
    evidence : Evidence
    sites : Series
        Site by subject; who has none is compared with nobody.
    """
    codes, names = pd.factorize(sites.loc[evidence.subjects].replace("", np.nan))
    case = evidence.labels == 1
    alike = (codes[case][:, None] == codes[~case]) & (codes[~case] >= 0) & (len(names) > 1)
    return replace(evidence, concordance=evidence.concordance * alike, pairs=evidence.pairs * alike)


def weighted_auc(evidence: Evidence, weights: np.ndarray) -> np.ndarray:
    """AUC under subject weights [B, n], [B]; NaN where no patient and control were compared."""
    case = evidence.labels == 1
    cases, controls = weights[:, case], weights[:, ~case]
    concordant = ((cases @ evidence.concordance) * controls).sum(1)
    pairs = ((cases @ evidence.pairs) * controls).sum(1)
    with np.errstate(invalid="ignore"):
        return concordant / pairs


def weighted_scores(evidence: Evidence, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Scores under subject weights, one value for each row of `weights` [B, n]; all ones give the estimate.

    Returns
    -------
    dict of array, [B]
        `auc`, `balanced_accuracy`, `sensitivity`, `specificity` (higher is better) and `brier` (lower is).
    """
    case = evidence.labels == 1
    cases, controls = weights[:, case], weights[:, ~case]
    sensitivity = cases @ evidence.correct[case] / cases.sum(1)
    specificity = controls @ evidence.correct[~case] / controls.sum(1)
    return {
        "auc": weighted_auc(evidence, weights),
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
    """Mean of the folds' ROC curves with their spread, whose area is the AUC.

    The curves of a fold's seeds are averaged; folds of all repeats weigh as many pairs of a patient and a control as
    they have, as in the AUC. A value is the mean of the curve within half a step of its place (at the ends, within
    the half that there is), so that the trapezoid rule gives the area exactly, steps and ties included.

    Parameters
    ----------
    predictions : DataFrame
        Tidy, of one experiment.

    Returns
    -------
    DataFrame
        `fpr` on a fixed grid, `tpr`, and `low` and `high`: one standard deviation over folds away (NaN from one fold).
    """
    edges = np.r_[0, (GRID[1:] + GRID[:-1]) / 2, 1]
    curves, pairs = [], []
    for _, fold in predictions.groupby(["repeat", "fold"]):
        once = fold.drop_duplicates("participant_id")["label"]
        if once.nunique() == 2:
            curves.append(np.mean([_mean_tpr(*_roc(part), edges) for _, part in fold.groupby("seed")], axis=0))
            pairs.append((once == 1).sum() * (once == 0).sum())
    curves, n = np.array(curves), len(curves)
    mean = np.average(curves, axis=0, weights=pairs)
    spread = np.sqrt(np.average((curves - mean) ** 2, axis=0, weights=pairs) * n / (n - 1)) if n > 1 else np.nan
    low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
    return pd.DataFrame({"fpr": GRID, "tpr": mean, "low": low, "high": high})


def _roc(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1); ties are one threshold."""
    order = np.argsort(-predictions["probability"].to_numpy(), kind="stable")
    p, y = predictions["probability"].to_numpy()[order], predictions["label"].to_numpy()[order]
    last = np.r_[np.flatnonzero(np.diff(p)), len(p) - 1]
    return np.r_[0, np.cumsum(1 - y)[last] / (1 - y).sum()], np.r_[0, np.cumsum(y)[last] / y.sum()]


def _mean_tpr(fpr: np.ndarray, tpr: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of a curve of straight lines between neighbouring edges, from 0 to 1."""
    area = np.r_[0, np.cumsum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2)]
    inner = edges[1:-1]
    k = np.searchsorted(fpr, inner, side="right") - 1
    aside = inner - fpr[k]
    height = tpr[k] + aside * (tpr[k + 1] - tpr[k]) / (fpr[k + 1] - fpr[k])
    below = np.r_[0, area[k] + aside * (tpr[k] + height) / 2, area[-1]]
    return np.diff(below) / np.diff(edges)


def calibration_points(predictions: pd.DataFrame, bins: int = 8, level: float = 0.95) -> pd.DataFrame:
    """Calibration in bins of equal size: mean probability and share of patients, with Wilson's interval.

    A person who is in a bin several times, from several repeats or seeds, informs it once: the interval is that of
    the effective number of people, ``(sum m)^2 / sum m^2`` of the times m.

    Returns
    -------
    DataFrame
        `probability`, `observed`, `low`, `high`, `n` (predictions).
    """
    order = predictions.sort_values("probability", kind="stable")
    rows = []
    for rank in np.array_split(np.arange(len(order)), min(bins, len(order))):
        part = order.iloc[rank]
        times = part["participant_id"].value_counts().to_numpy(float)
        share, people = part["label"].mean(), times.sum() ** 2 / (times**2).sum()
        rows.append((part["probability"].mean(), share, *_wilson(share, people, level), len(part)))
    return pd.DataFrame(rows, columns=["probability", "observed", "low", "high", "n"])


def _wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's interval of a share among n."""
    z2 = ndtri((1 + level) / 2) ** 2
    middle, half = share + z2 / (2 * n), np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))
