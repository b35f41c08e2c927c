"""Scores equal their definitions, intervals cover the truth, and p values keep their promises."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from dysconnect.evaluate import evaluate, permutation_p
from dysconnect.evaluate.metrics import bootstrap_weights, calibration_points, gather, roc_points, weighted_scores

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
    return predictions[["participant_id"]].assign(scan_group=predictions["participant_id"])


def scores_of(predictions: pd.DataFrame) -> dict[str, float]:
    """Point estimates."""
    evidence = gather(predictions)
    return {k: float(v[0]) for k, v in weighted_scores(evidence, np.ones((1, len(evidence.labels)))).items()}


@pytest.fixture
def some() -> pd.DataFrame:
    """Sixty people, probabilities that tell a little, with ties."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 2
    return predictions_of(np.round(1 / (1 + np.exp(-rng.normal(0.8 * label - 0.4))), 1), label)


# scores


def test_scores_of_one_fold_equal_scikit_learn(some):
    y, p = some["label"], some["probability"]
    scores = scores_of(some)
    assert scores["auc"] == pytest.approx(roc_auc_score(y, p))
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, p > 0.5))
    assert scores["sensitivity"] == pytest.approx((p[y == 1] > 0.5).mean())
    assert scores["specificity"] == pytest.approx((p[y == 0] <= 0.5).mean())
    assert scores["brier"] == pytest.approx(brier_score_loss(y, p))


def test_ties_count_one_half():
    assert scores_of(predictions_of([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1]))["auc"] == 0.5
    assert scores_of(predictions_of([0.2, 0.2, 0.1, 0.9], [0, 1, 0, 1]))["auc"] == pytest.approx(3.5 / 4)


def test_auc_of_folds_is_weighted_by_their_pairs():
    """Cases and controls are compared only where one model judged both."""
    label = np.array([1, 1, 0, 0, 0, 1, 0, 0])
    p = np.array([0.9, 0.6, 0.7, 0.1, 0.2, 0.01, 0.02, 0.03])
    fold = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    parts = [roc_auc_score(label[fold == k], p[fold == k]) for k in (0, 1)]
    pairs = [6, 2]
    own = scores_of(predictions_of(p, label, fold))["auc"]
    assert own == pytest.approx(np.average(parts, weights=pairs))
    assert own != pytest.approx(roc_auc_score(label, p))


def test_repeats_and_seeds_are_averaged(some):
    turned = some.assign(probability=1 - some["probability"], repeat=1)
    scores = scores_of(pd.concat([some, turned]))
    assert scores["auc"] == pytest.approx(0.5)
    one, other = scores_of(some), scores_of(turned)
    for metric in ("sensitivity", "specificity", "brier"):
        assert scores[metric] == pytest.approx((one[metric] + other[metric]) / 2)
    seeds = pd.concat([some, some.assign(seed=1)])
    assert scores_of(seeds) == pytest.approx(one)


def test_order_of_the_rows_makes_no_difference(some):
    assert scores_of(some.sample(frac=1, random_state=0)) == pytest.approx(scores_of(some))


def test_brier_has_its_closed_form():
    p = np.array([0.1, 0.4, 0.8, 1.0])
    assert scores_of(predictions_of(p, [0, 1, 1, 0]))["brier"] == pytest.approx((0.01 + 0.36 + 0.04 + 1) / 4)


@pytest.mark.parametrize("value", [np.nan, 1.2, -0.1])
def test_an_impossible_probability_names_the_subject(some, value):
    some.loc[7, "probability"] = value
    with pytest.raises(
        ValueError, match=r"probability of sub-007 is missing or outside \[0, 1\]; train the model again"
    ):
        gather(some)


def test_two_labels_of_one_subject_are_refused(some):
    other = some.assign(repeat=1)
    other.loc[5, "label"] = 1 - other.loc[5, "label"]
    with pytest.raises(ValueError, match="sub-005 has two different labels"):
        gather(pd.concat([some, other]))


# weights


def test_weights_equal_copying_subjects(some):
    weights = np.random.default_rng(1).integers(0, 4, 60)
    copied = some.loc[some.index.repeat(weights)]
    own = weighted_scores(gather(some), weights[None].astype(float))
    assert own["auc"][0] == pytest.approx(roc_auc_score(copied["label"], copied["probability"]))
    assert own["brier"][0] == pytest.approx(brier_score_loss(copied["label"], copied["probability"]))
    expected = balanced_accuracy_score(copied["label"], copied["probability"] > 0.5)
    assert own["balanced_accuracy"][0] == pytest.approx(expected)


def test_bootstrap_keeps_the_size_of_the_classes():
    labels = np.r_[np.ones(13, int), np.zeros(21, int)]
    weights = bootstrap_weights(labels, np.arange(34), 200, seed=0)
    assert weights.shape == (200, 34)
    assert (weights[:, labels == 1].sum(1) == 13).all()
    assert (weights[:, labels == 0].sum(1) == 21).all()
    assert weights.mean() == pytest.approx(1)
    assert weights.var() == pytest.approx(1, abs=0.1)  # multinomial, nearly Poisson
    np.testing.assert_array_equal(weights, bootstrap_weights(labels, np.arange(34), 200, seed=0))


def test_bootstrap_draws_copied_scans_together():
    labels = np.arange(20) % 2
    groups = np.array([f"g{k}" for k in range(20)])
    groups[[2, 8, 14]] = "copied"
    weights = bootstrap_weights(labels, groups, 300, seed=0)
    np.testing.assert_array_equal(weights[:, 2], weights[:, 8])
    np.testing.assert_array_equal(weights[:, 2], weights[:, 14])
    assert len(np.unique(weights[:, 2])) > 2
    assert (weights[:, 4] != weights[:, 2]).any()


# the tables


def simulated(n: int, shift: float, rng: np.random.Generator) -> pd.DataFrame:
    """Predictions whose true AUC is ``Phi(shift / sqrt 2)``."""
    label = np.arange(n) % 2
    return predictions_of(norm.cdf(rng.normal(shift * label)), label)


def test_intervals_cover_the_truth():
    rng, truth, covered, widths = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), [], []
    for _ in range(60):
        own = simulated(60, 1.0, rng)
        row = evaluate({"a": own}, {"a": NO_NULL}, splits_of(own), SPEC)[0].set_index("metric").loc["auc"]
        assert row["low"] < row["value"] < row["high"]
        covered.append(row["low"] <= truth <= row["high"])
        widths.append(row["high"] - row["low"])
    assert np.mean(covered) >= 0.85
    # standard error of AUC, Hanley and McNeil (1982), doi:10.1148/radiology.143.1.7063747: 0.062
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.062, rel=0.15)


def test_scores_table_has_value_interval_floor_and_p(some):
    floor = simulated(60, 0.0, np.random.default_rng(3))
    null = pd.DataFrame({"permutation": range(5), "auc": [0.8, 0.5, 0.8, 0.4, 0.9]})
    tables = evaluate({"floor": floor, "a": some}, {"floor": NO_NULL, "a": null}, splits_of(some), SPEC)
    scores = tables[0].set_index(["experiment", "metric"])
    assert scores.loc[("a", "auc"), "value"] == pytest.approx(scores_of(some)["auc"])
    values = scores["value"].loc["floor"]
    assert (scores["floor"].loc["a"] == values).all()
    assert scores.loc[("a", "auc"), "floor"] == scores.loc[("floor", "auc"), "value"]
    assert scores.loc[("a", "auc"), "p"] == pytest.approx((1 + 2) / 5)
    assert np.isnan(scores.loc[("floor", "auc"), "p"])
    assert scores["p"].notna().sum() == 1
    assert (tables[0]["n"] == 60).all()


def test_a_model_compared_with_itself_differs_by_nothing(some):
    _, comparisons, _ = evaluate({"a": some, "b": some}, {"a": NO_NULL, "b": NO_NULL}, splits_of(some), SPEC)
    assert set(comparisons["metric"]) == {"auc", "balanced_accuracy", "brier"}
    assert (comparisons[["difference", "low", "high"]] == 0).all(axis=None)
    assert (comparisons["p"] == 1).all()


def test_comparisons_are_paired_and_signed():
    rng = np.random.default_rng(4)
    label = np.arange(100) % 2
    latent = rng.normal(1.2 * label)
    good = predictions_of(norm.cdf(latent), label)
    worse = predictions_of(norm.cdf(latent + rng.normal(0, 1.5, 100)), label)
    tables = evaluate({"worse": worse, "good": good}, {"worse": NO_NULL, "good": NO_NULL}, splits_of(good), SPEC)
    row = tables[1].set_index("metric").loc["auc"]
    assert (row["experiment"], row["other"]) == ("good", "worse")
    assert row["difference"] == pytest.approx(scores_of(good)["auc"] - scores_of(worse)["auc"])
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert 0 < row["p"] < 0.05
    widths = tables[0].query("metric == 'auc'").eval("high - low")
    assert row["high"] - row["low"] < np.sqrt((widths**2).sum())  # narrower than if they were unpaired


def test_every_pair_is_compared_once(some):
    names = ["a", "b", "c", "floor"]
    tables = evaluate(dict.fromkeys(names, some), dict.fromkeys(names, NO_NULL), splits_of(some), SPEC)
    pairs = tables[1].query("metric == 'auc'")[["experiment", "other"]]
    assert len({frozenset(pair) for pair in pairs.itertuples(index=False)}) == len(pairs) == 6


def test_other_subjects_are_refused(some):
    other = some.iloc[:-1]
    with pytest.raises(ValueError, match=r"^b was not tested on the same subjects as the others; train it again"):
        evaluate({"a": some, "b": other}, {"a": NO_NULL, "b": NO_NULL}, splits_of(some), SPEC)


@pytest.mark.parametrize(
    ("permuted", "p"), [([0.1] * 9, 1 / 10), ([0.7] * 9, 1.0), ([0.6, 0.7, 0.8], 3 / 4), ([0.9] * 4, 1.0)]
)
def test_permutation_p_is_never_zero_and_counts_ties(permuted, p):
    null = pd.DataFrame({"permutation": range(len(permuted) + 1), "auc": [0.7, *permuted]})
    assert permutation_p(null) == pytest.approx(p)
    assert permutation_p(null.sample(frac=1, random_state=0)) == pytest.approx(p)


def test_without_a_null_there_is_no_p():
    assert np.isnan(permutation_p(NO_NULL))


# curves


def test_area_under_the_curve_is_the_auc():
    own = simulated(200, 1.0, np.random.default_rng(5))
    points = roc_points(own)
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(scores_of(own)["auc"], abs=0.01)
    assert (np.diff(points["tpr"]) >= 0).all()


def test_curve_of_nothing_but_ties_is_the_diagonal():
    points = roc_points(predictions_of([0.5] * 10, np.arange(10) % 2))
    np.testing.assert_allclose(points["tpr"], points["fpr"])


def test_calibrated_probabilities_lie_on_the_diagonal():
    rng = np.random.default_rng(6)
    p = rng.random(8000)
    points = calibration_points(predictions_of(p, (rng.random(8000) < p).astype(int)))
    assert points["n"].tolist() == [1000] * 8
    np.testing.assert_allclose(points["observed"], points["probability"], atol=0.05)
    np.testing.assert_allclose(points["probability"], (np.arange(8) + 0.5) / 8, atol=0.02)


def test_curves_of_all_experiments_are_there(some):
    _, _, curves = evaluate({"a": some, "b": some}, {"a": NO_NULL, "b": NO_NULL}, splits_of(some), SPEC)
    assert set(map(tuple, curves[["experiment", "curve"]].to_numpy())) == {
        (name, curve) for name in "ab" for curve in ("roc", "calibration")
    }
