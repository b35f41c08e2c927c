"""Differences between experiments: paired bootstrap over subjects, and a t-test corrected for shared training sets."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import stdtr

from dysconnect.evaluate.metrics import tally, weighted_auc, weighted_scores, within_sites

COMPARED = ("auc", "balanced_accuracy", "brier", "auc_within_site")
COLUMNS = ["experiment", "other", "metric", "difference", "low", "high", "p", "t", "df", "p_corrected"]


def fold_scores(
    predictions: Mapping[str, pd.DataFrame], splits: pd.DataFrame, sites: pd.Series | None = None
) -> pd.DataFrame:
    """Scores of every fold, averaged over seeds.

    Parameters
    ----------
    predictions : mapping of str to DataFrame
        Tidy, by experiment.
    splits : DataFrame
        Tells how many subjects each fold was trained on.
    sites : Series, optional
        Site by subject; without, there is no AUC within sites.

    Returns
    -------
    DataFrame
        `experiment`, `repeat`, `fold`, `n_train`, `n_test`, `auc`, `balanced_accuracy`, `brier`,
        `auc_within_site`; all NaN where a fold tested one class only.
    """
    rows, everybody = [], splits.groupby("repeat").size()
    for name, table in predictions.items():
        for (repeat, fold), part in table.groupby(["repeat", "fold"]):
            n_test = part["participant_id"].nunique()
            scores = dict.fromkeys(COMPARED, np.nan)
            if part["label"].nunique() == 2:
                evidence, ones = tally(part), np.ones((1, n_test))
                scores |= {metric: value[0] for metric, value in weighted_scores(evidence, ones).items()}
                if sites is not None:
                    scores["auc_within_site"] = weighted_auc(within_sites(evidence, sites), ones)[0]
            n_train = int(everybody.loc[repeat]) - n_test
            rows.append((name, repeat, fold, n_train, n_test, *(scores[metric] for metric in COMPARED)))
    return pd.DataFrame(rows, columns=["experiment", "repeat", "fold", "n_train", "n_test", *COMPARED])


def corrected_t(differences: np.ndarray, test_to_train: float) -> tuple[float, float, float]:
    """Corrected resampled t-test of paired differences over folds and repeats.

    Folds share training subjects, so that their differences are not independent: a plain t-test finds differences
    where there are none. The variance of the mean of J differences is taken as ``(1 / J + n_test / n_train) s^2``
    (Nadeau and Bengio 2003); with J = folds x repeats and J - 1 degrees of freedom this is the corrected repeated
    k-fold test of Bouckaert and Frank 2004.

    Parameters
    ----------
    differences : array, [J]
    test_to_train : float
        Test subjects over training subjects, 1 / (folds - 1) for K-fold.

    Returns
    -------
    t, df, p : float
        Two-sided p; NaN from fewer than two folds, or where all differ by the same amount.

    References
    ----------
    Nadeau and Bengio 2003, doi:10.1023/A:1024068626366; Bouckaert and Frank 2004,
    doi:10.1007/978-3-540-24775-3_3.
    """
    known = differences[np.isfinite(differences)]
    df = len(known) - 1
    if df < 1:
        return np.nan, np.nan, np.nan
    if np.allclose(known, 0):
        return 0.0, float(df), 1.0
    spread = known.std(ddof=1)
    if spread < 1e-12:
        return np.nan, float(df), np.nan
    t = known.mean() / (spread * np.sqrt(1 / len(known) + test_to_train))
    return float(t), float(df), float(2 * stdtr(df, -abs(t)))


def compare(point: Mapping, samples: Mapping, folds: pd.DataFrame, level: float) -> pd.DataFrame:
    """Differences between all pairs of experiments, on the same folds and bootstrap samples.

    `p` is that of the bootstrap over subjects, two-sided: twice the smaller share of differences on one side of zero,
    never 0. It asks how the fitted models do on other subjects. `p_corrected` asks how the methods do when they are
    trained on other subjects as well (see `corrected_t`), and is the one to believe when methods are compared.
    """
    rows = []
    names = list(point)
    by_fold = folds.set_index(["experiment", "repeat", "fold"]).sort_index()
    for k, name in enumerate(names):
        for other in names[:k]:
            for metric in (metric for metric in COMPARED if metric in point[name]):
                value = point[name][metric][0] - point[other][metric][0]
                gaps = by_fold.loc[name, metric] - by_fold.loc[other, metric]
                ratio = (by_fold.loc[name, "n_test"] / by_fold.loc[name, "n_train"])[gaps.notna()].mean()
                bootstrapped = _bootstrap(samples[name][metric] - samples[other][metric], level)
                rows.append((name, other, metric, value, *bootstrapped, *corrected_t(gaps.to_numpy(float), ratio)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _bootstrap(differences: np.ndarray, level: float) -> tuple[float, float, float]:
    """Interval and two-sided p of bootstrap differences; NaN where a sample has none."""
    if not np.isfinite(differences).all():
        return np.nan, np.nan, np.nan
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    return low, high, min(1.0, 2 * (1 + beyond) / (1 + len(differences)))
