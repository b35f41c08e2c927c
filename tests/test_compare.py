"""The corrected test has its closed form, and errs as often as it says where a plain t-test does not."""

import numpy as np
import pandas as pd
import pytest
from predicted import evaluated, predictions_of, splits_of
from scipy.stats import rankdata, t, ttest_1samp

from dysconnect.evaluate.compare import corrected_t, fold_scores


def test_closed_form():
    d = np.array([0.02, 0.05, -0.01, 0.04])
    statistic, df, p = corrected_t(d, 0.25)
    assert statistic == pytest.approx(d.mean() / np.sqrt((1 / 4 + 0.25) * d.var(ddof=1)))
    assert df == 3 and p == pytest.approx(2 * t.sf(abs(statistic), 3))


def test_without_a_correction_it_is_the_plain_t_test():
    d = np.random.default_rng(0).normal(0.1, 0.2, 12)
    assert corrected_t(d, 0.0)[2] == pytest.approx(ttest_1samp(d, 0).pvalue)
    assert corrected_t(d, 0.25)[2] > corrected_t(d, 0.0)[2]
    assert corrected_t(-d, 0.25)[0] == pytest.approx(-corrected_t(d, 0.25)[0])


@pytest.mark.parametrize("d", [[0.1], [0.1, np.nan], [0.1, 0.1, 0.1]])
def test_nothing_is_said_of_one_fold_or_of_no_spread(d):
    assert np.isnan(corrected_t(np.array(d), 0.25)[2])


def test_the_same_everywhere_is_no_difference():
    assert corrected_t(np.zeros(10), 0.25) == (0, 9, 1)


def rivals(n: int, folds: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """AUC differences, [folds * repeats], of one method on two feature sets that are equally good."""
    y = np.arange(n) % 2
    features = [rng.normal(0.35 * y[:, None], 1, (n, 6)) for _ in range(2)]
    found = []
    for _ in range(repeats):
        fold = np.empty(n, int)
        for label in (0, 1):
            fold[y == label] = rng.permutation(np.arange((y == label).sum()) % folds)
        for k in range(folds):
            test, own = fold == k, []
            for x in features:
                direction = x[~test & (y == 1)].mean(0) - x[~test & (y == 0)].mean(0)
                ranks, cases = rankdata(x[test] @ direction), y[test] == 1
                m1, m0 = cases.sum(), (~cases).sum()
                own.append((ranks[cases].sum() - m1 * (m1 + 1) / 2) / (m1 * m0))
            found.append(own[0] - own[1])
    return np.array(found)


def test_the_corrected_test_keeps_its_level_and_the_plain_one_does_not():
    """Both feature sets come from one distribution: whatever is called a difference is false."""
    rng = np.random.default_rng(3)
    runs = [rivals(80, 5, 10, rng) for _ in range(200)]
    corrected = np.mean([corrected_t(d, 1 / 4)[2] <= 0.05 for d in runs])
    plain = np.mean([corrected_t(d, 0.0)[2] <= 0.05 for d in runs])
    assert corrected <= 0.10
    assert plain >= 0.35


def two_models(seed: int = 0) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    label, tables = np.arange(60) % 2, {"good": [], "poor": []}
    for repeat in range(2):
        fold = rng.permutation(60) % 3
        for name, shift in (("good", 3.0), ("poor", 0.0)):
            p = 1 / (1 + np.exp(-rng.normal(shift * (label - 0.5))))
            tables[name].append(predictions_of(p, label, fold, repeat))
    return {name: pd.concat(parts) for name, parts in tables.items()}


def test_the_tables_hold_the_test_of_their_own_folds():
    found = evaluated(two_models())
    folds = found.folds.set_index(["experiment", "repeat", "fold"])
    assert len(folds) == 12 and (folds["n_train"] == 40).all() and (folds["n_test"] == 20).all()
    row = found.comparisons.set_index("metric").loc["auc"]
    assert (row["experiment"], row["other"]) == ("poor", "good")
    d = folds.loc["poor", "auc"] - folds.loc["good", "auc"]
    assert tuple(row[["t", "df", "p_corrected"]]) == pytest.approx(corrected_t(d.to_numpy(), 0.5))
    assert row["t"] < 0 and row["p_corrected"] < 0.1
    scores = found.scores.set_index(["experiment", "metric"])["value"]
    assert scores["good", "auc"] == pytest.approx(folds.loc["good", "auc"].mean(), abs=0.01)


def test_a_fold_of_one_class_has_no_scores_and_is_left_out():
    own = predictions_of([0.2, 0.7, 0.4, 0.9, 0.3, 0.6, 0.1, 0.2], [0, 1, 0, 1, 0, 1, 0, 0], [0, 0, 1, 1, 2, 2, 3, 3])
    folds = fold_scores({"a": own}, splits_of(own)).set_index("fold")
    assert folds.loc[3, ["auc", "balanced_accuracy", "brier"]].isna().all()
    assert folds.loc[[0, 1, 2], "auc"].notna().all()
    rows = evaluated({"a": own, "b": own.assign(probability=own["probability"] ** 2)}).comparisons
    assert rows.set_index("metric").loc["brier", "df"] == 2
