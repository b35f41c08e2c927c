"""Scores equal their definitions, intervals cover the truth, and p values keep their promises."""

import numpy as np
import pandas as pd
import pytest
from predicted import NO_NULL, evaluated, predictions_of, simulated
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score

from dysconnect.evaluate.metrics import (
    bootstrap_weights,
    calibration_points,
    gather,
    roc_points,
    weighted_auc,
    weighted_scores,
    within_sites,
)
from dysconnect.learning.permuted import permutation_p


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


def test_label_one_is_the_patient(some):
    """Higher probabilities in those labelled 1 give an AUC above one half, and sensitivity is theirs."""
    sure = predictions_of([0.9, 0.8, 0.4, 0.1, 0.2, 0.3, 0.3, 0.2], [1, 1, 1, 0, 0, 0, 0, 0])
    scores = scores_of(sure)
    assert scores["auc"] == 1 and scores["sensitivity"] == pytest.approx(2 / 3) and scores["specificity"] == 1
    turned = scores_of(sure.assign(label=1 - sure["label"]))
    assert turned["auc"] == 0 and turned["specificity"] == pytest.approx(1 / 3)


def test_bad_predictions_name_experiment_and_subject(some):
    some.loc[[7, 9], "probability"] = [np.nan, 3.0]
    with pytest.raises(ValueError, match=r"^any: probability of sub-007 is missing .* \(2 of 60 are\.\)"):
        gather(some)


def test_decisions_are_no_probabilities(some):
    with pytest.raises(ValueError, match="all probabilities are 0 or 1, so they are decisions"):
        gather(some.assign(probability=(some["probability"] > 0.5).astype(float)))


@pytest.mark.parametrize(("labels", "message"), [(2, "label of sub-000 is 2; expected 1"), (1, "only patients were")])
def test_labels_that_cannot_be_scored_are_refused(some, labels, message):
    with pytest.raises(ValueError, match=message):
        gather(some.assign(label=labels))


def test_no_predictions_are_refused(some):
    with pytest.raises(ValueError, match="no rows, so nothing to score"):
        gather(some.head(0))


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


def test_intervals_cover_the_truth():
    rng, truth, covered, widths = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), [], []
    for _ in range(60):
        own = simulated(60, 1.0, rng)
        row = evaluated({"a": own}).scores.set_index("metric").loc["auc"]
        assert row["low"] < row["value"] < row["high"]
        covered.append(row["low"] <= truth <= row["high"])
        widths.append(row["high"] - row["low"])
    assert np.mean(covered) >= 0.85
    # standard error of AUC, Hanley and McNeil (1982), doi:10.1148/radiology.143.1.7063747: 0.062
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.062, rel=0.15)


def test_scores_table_has_value_interval_floor_and_p(some):
    floor = simulated(60, 0.0, np.random.default_rng(3))
    null = pd.DataFrame({"permutation": range(5), "auc": [0.8, 0.5, 0.8, 0.4, 0.9]})
    table = evaluated({"floor": floor, "a": some}, {"a": null}).scores
    scores = table.set_index(["experiment", "metric"])
    assert scores.loc[("a", "auc"), "value"] == pytest.approx(scores_of(some)["auc"])
    values = scores["value"].loc["floor"]
    np.testing.assert_array_equal(scores["floor"].loc["a"], values)  # of one site: none within sites
    assert scores.loc[("a", "auc"), "floor"] == scores.loc[("floor", "auc"), "value"]
    assert scores.loc[("a", "auc"), "p"] == pytest.approx((1 + 2) / 5)
    assert np.isnan(scores.loc[("floor", "auc"), "p"])
    assert scores["p"].notna().sum() == 1
    assert (table["n"] == 60).all()


def test_a_model_compared_with_itself_differs_by_nothing(some):
    comparisons = evaluated({"a": some, "b": some}).comparisons
    assert set(comparisons["metric"]) == {"auc", "balanced_accuracy", "brier", "auc_within_site"}
    comparisons = comparisons[comparisons["metric"] != "auc_within_site"]  # they are of one site
    assert (comparisons[["difference", "low", "high"]] == 0).all(axis=None)
    assert (comparisons["p"] == 1).all()


def test_comparisons_are_paired_and_signed():
    rng = np.random.default_rng(4)
    label = np.arange(100) % 2
    latent = rng.normal(1.2 * label)
    good = predictions_of(norm.cdf(latent), label)
    worse = predictions_of(norm.cdf(latent + rng.normal(0, 1.5, 100)), label)
    found = evaluated({"worse": worse, "good": good})
    row = found.comparisons.set_index("metric").loc["auc"]
    assert (row["experiment"], row["other"]) == ("good", "worse")
    assert row["difference"] == pytest.approx(scores_of(good)["auc"] - scores_of(worse)["auc"])
    assert 0 < row["low"] < row["difference"] < row["high"]
    assert 0 < row["p"] < 0.05
    widths = found.scores.query("metric == 'auc'").eval("high - low")
    assert row["high"] - row["low"] < np.sqrt((widths**2).sum())  # narrower than if they were unpaired


def test_every_pair_is_compared_once(some):
    names = ["a", "b", "c", "floor"]
    pairs = evaluated(dict.fromkeys(names, some)).comparisons.query("metric == 'auc'")[["experiment", "other"]]
    assert len({frozenset(pair) for pair in pairs.itertuples(index=False)}) == len(pairs) == 6


def test_other_subjects_are_refused(some):
    other = some.iloc[:-1]
    with pytest.raises(ValueError, match=r"^b was not tested on the same subjects as the others; train it again"):
        evaluated({"a": some, "b": other})


def test_predictions_of_other_folds_are_refused(some):
    moved = some.copy()
    moved.loc[3, "fold"] = 1
    with pytest.raises(ValueError, match=r"^b: sub-003 was predicted in another fold .*\(1 of 60 predictions are\)"):
        evaluated({"a": some, "b": moved})


def test_unknown_people_and_covariates_are_refused(some):
    with pytest.raises(ValueError, match="covariate age is not a column of participants"):
        evaluated({"a": some}, covariates=["age"])
    with pytest.raises(ValueError, match="sub-000 was predicted but is not in participants"):
        evaluated({"a": some}, people=some[["participant_id"]].iloc[1:])


def test_intervals_at_chance_hold_one_half():
    rng, covered = np.random.default_rng(10), {"auc": [], "balanced_accuracy": [], "sensitivity": []}
    for _ in range(60):
        scores = evaluated({"a": simulated(60, 0.0, rng)}).scores.set_index("metric")
        for metric, found in covered.items():
            found.append(scores.loc[metric, "low"] <= 0.5 <= scores.loc[metric, "high"])
    assert min(np.mean(found) for found in covered.values()) >= 0.88


def test_scores_keep_their_columns_and_order(some):
    scores = evaluated({"a": some}).scores
    assert list(scores.columns) == ["experiment", "metric", "value", "low", "high", "p", "p_best", "floor", "n"]
    assert list(scores["metric"]) == [
        "auc", "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_slope",
        "calibration_intercept", "auc_deconfounded", "auc_within_site",
    ]  # fmt: skip


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
    assert (np.diff(points["tpr"]) >= -1e-12).all()


def in_folds(rng: np.random.Generator) -> pd.DataFrame:
    """Two repeats of four folds of different sizes and shifts, two seeds; ties among the probabilities."""
    rows = []
    for repeat in range(2):
        fold, label = rng.integers(0, 4, 60) ** 2 // 3, np.arange(60) % 2
        for seed in range(2):
            p = np.clip((rng.normal(size=60) + label + 2 * fold) / 14 + 0.3, 0, 1).round(2)
            rows += [(f"s{k:02}", "a", repeat, fold[k], seed, label[k], p[k]) for k in range(60)]
    names = ["participant_id", "experiment", "repeat", "fold", "seed", "label", "probability"]
    return pd.DataFrame(rows, columns=names)


def test_area_under_the_mean_of_the_folds_is_the_auc_within_folds():
    own = in_folds(np.random.default_rng(0))
    points = roc_points(own)
    assert np.trapezoid(points["tpr"], points["fpr"]) == pytest.approx(scores_of(own)["auc"], abs=1e-9)
    assert (points["low"] <= points["tpr"]).all() and (points["tpr"] <= points["high"]).all()
    assert (points["high"] - points["low"]).max() > 0.1
    assert roc_points(own[(own["fold"] == 0) & (own["repeat"] == 0)])["low"].isna().all()


def test_auc_within_sites_compares_pairs_of_one_site_and_fold():
    own = in_folds(np.random.default_rng(1))
    sites = pd.Series(["A", "B", "C", None, ""], index=range(5)).loc[np.random.default_rng(2).integers(0, 5, 60)]
    sites.index = [f"s{k:02}" for k in range(60)]
    won = pairs = 0.0
    for _, part in own.groupby(["repeat", "fold", "seed"]):
        for one in part[part["label"] == 1].itertuples():
            for other in part[part["label"] == 0].itertuples():
                if sites[one.participant_id] and sites[one.participant_id] == sites[other.participant_id]:
                    won += (one.probability > other.probability) + (one.probability == other.probability) / 2
                    pairs += 1
    evidence, ones = gather(own), np.ones((1, 60))
    assert weighted_auc(within_sites(evidence, sites), ones)[0] == pytest.approx(won / pairs)
    assert np.isnan(weighted_auc(within_sites(evidence, pd.Series("A", sites.index)), ones)[0])


def test_the_interval_of_a_bin_counts_people_and_not_predictions():
    own = predictions_of(np.linspace(0.1, 0.9, 80), np.arange(80) % 2)
    twice = pd.concat([own, own.assign(repeat=1)])
    once, both = calibration_points(own), calibration_points(twice)
    np.testing.assert_allclose(both[["low", "high"]], once[["low", "high"]])
    assert ((once["low"] < once["observed"]) & (once["observed"] < once["high"])).all()


def test_curve_of_nothing_but_ties_is_the_diagonal():
    points = roc_points(predictions_of([0.5] * 10, np.arange(10) % 2))
    np.testing.assert_allclose(points["tpr"][1:-1], points["fpr"][1:-1])
    np.testing.assert_allclose(points["tpr"].iloc[[0, -1]], [0.0025, 0.9975])  # means of half a step


def test_calibrated_probabilities_lie_on_the_diagonal():
    rng = np.random.default_rng(6)
    p = rng.random(8000)
    points = calibration_points(predictions_of(p, (rng.random(8000) < p).astype(int)))
    assert points["n"].tolist() == [1000] * 8
    np.testing.assert_allclose(points["observed"], points["probability"], atol=0.05)
    np.testing.assert_allclose(points["probability"], (np.arange(8) + 0.5) / 8, atol=0.02)


def test_curves_of_all_experiments_are_there(some):
    curves = evaluated({"a": some, "b": some}).curves
    assert set(map(tuple, curves[["experiment", "curve"]].to_numpy())) == {
        (name, curve) for name in "ab" for curve in ("roc", "calibration")
    }
