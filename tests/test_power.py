"""Standard errors have their closed forms, and what is said to be detectable is detected four times in five."""

import numpy as np
import pandas as pd
import pytest
from predicted import NO_NULL, predictions_of
from scipy.stats import norm

from dysconnect.evaluate.metrics import gather, weighted_scores
from dysconnect.evaluate.power import auc_sd, detectable_auc, power_table, subjects_needed

ONE = np.array([27.0]), np.array([35.0])


def test_closed_forms():
    assert auc_sd(0.5, *ONE) == pytest.approx(np.sqrt((27 + 35 + 1) / (12 * 27 * 35)))  # Wilcoxon
    assert auc_sd(0.5, *ONE) == pytest.approx(0.0746, abs=1e-4)
    assert auc_sd(0.893, np.array([51.0]), np.array([58.0])) == pytest.approx(0.0323, abs=5e-4)  # by hand
    assert auc_sd(1.0, *ONE) == 0
    five = np.full(5, 6.0), np.full(5, 8.0)
    assert auc_sd(0.6, *five) == pytest.approx(auc_sd(0.6, np.array([6.0]), np.array([8.0])) / np.sqrt(5))


def draw(auc: float, cases: np.ndarray, controls: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Within-fold AUCs of normal scores, [n]."""
    shift, concordant = np.sqrt(2) * norm.ppf(auc), np.zeros(n)
    for m1, m0 in zip(cases.astype(int), controls.astype(int)):
        x, y = rng.normal(shift, 1, (n, m1, 1)), rng.normal(0, 1, (n, 1, m0))
        concordant += (x > y).sum((1, 2))
    return concordant / (cases * controls).sum()


@pytest.mark.parametrize("folds", [1, 5])
def test_the_detectable_auc_is_detected_with_the_power_it_says(folds):
    cases = np.array([len(part) for part in np.array_split(np.arange(27), folds)], float)
    controls = np.array([len(part) for part in np.array_split(np.arange(35), folds)], float)
    critical, detectable = detectable_auc(cases, controls, 0.05)
    rng = np.random.default_rng(0)
    assert np.mean(draw(0.5, cases, controls, 4000, rng) >= critical) == pytest.approx(0.05, abs=0.015)
    assert np.mean(draw(detectable, cases, controls, 4000, rng) >= critical) == pytest.approx(0.8, abs=0.03)


def test_the_sample_that_is_needed_detects_its_auc():
    n = subjects_needed(0.65, *ONE, 0.05)
    times = n / 62
    assert detectable_auc(27 * times * np.ones(1), 35 * times * np.ones(1), 0.05)[1] == pytest.approx(0.65, abs=0.002)
    assert subjects_needed(0.75, *ONE, 0.05) < 62 < n < subjects_needed(0.6, *ONE, 0.05)
    assert subjects_needed(detectable_auc(*ONE, 0.05)[1], *ONE, 0.05) in (62, 63)
    assert np.isnan(subjects_needed(0.5, *ONE, 0.05)) and np.isnan(subjects_needed(0.45, *ONE, 0.05))
    assert subjects_needed(0.999, *ONE, 0.05) < 20


def test_a_wider_or_shifted_null_asks_for_more():
    plain = detectable_auc(*ONE, 0.05)[1]
    assert detectable_auc(*ONE, 0.05, null_sd=0.09)[1] > plain
    assert detectable_auc(*ONE, 0.05, null_mean=0.55)[1] > plain
    assert np.isnan(detectable_auc(np.array([2.0]), np.array([1.0]), 0.05)[1])


def test_the_table_has_theory_and_permutations():
    rng = np.random.default_rng(1)
    null = pd.DataFrame({"permutation": np.arange(501), "auc": np.r_[0.7, rng.normal(0.5, 0.09, 500)]})
    found = power_table({"a": 0.7, "b": 0.48}, {"a": null, "b": NO_NULL}, np.array([27, 3]), np.array([35, 0]), 0.05)
    rows = found.set_index(["experiment", "method"])
    assert list(rows.index) == [("a", "hanley_mcneil"), ("a", "permutation"), ("b", "hanley_mcneil")]
    assert (rows["n_cases"] == 27).all() and (rows["n_controls"] == 35).all()  # a fold of one class has no pair
    assert rows.loc[("a", "permutation"), "null_sd"] == pytest.approx(0.09, rel=0.1)
    assert rows.loc[("a", "permutation"), "detectable_auc"] > rows.loc[("a", "hanley_mcneil"), "detectable_auc"]
    assert np.isnan(rows.loc[("b", "hanley_mcneil"), "n_needed"])


def test_theory_agrees_with_the_scores_of_the_stage():
    """The standard error is that of the AUC as `evaluate` computes it, over folds."""
    rng, label, fold = np.random.default_rng(2), np.arange(60) % 2, np.arange(60) // 2 % 5
    own = [gather(predictions_of(rng.random(60), label, fold)) for _ in range(150)]
    observed = np.std([weighted_scores(one, np.ones((1, 60)))["auc"][0] for one in own])
    assert auc_sd(0.5, np.full(5, 6.0), np.full(5, 6.0)) == pytest.approx(observed, rel=0.15)
