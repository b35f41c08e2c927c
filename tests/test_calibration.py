"""Slope and intercept equal a logistic regression's, and find a known miscalibration."""

import numpy as np
import pandas as pd
import pytest
from predicted import evaluated, predictions_of
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from dysconnect.evaluate.calibration import recalibration


def found(predictions: pd.DataFrame, weights=None) -> tuple[float, float]:
    subjects = np.sort(predictions["participant_id"].unique())
    weights = np.ones((1, len(subjects))) if weights is None else weights
    numbers = recalibration(predictions, subjects, weights)
    return tuple(numbers[f"calibration_{name}"][0] for name in ("slope", "intercept"))


def people(n: int, slope: float, shift: float, seed: int = 0) -> pd.DataFrame:
    """Predictions whose true recalibration is ``shift + slope * logit(p)``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.2, n)
    return predictions_of(expit(x), (rng.random(n) < expit(shift + slope * x)).astype(int))


@pytest.mark.parametrize("slope", [0.4, 1.0, 2.0])
def test_a_known_slope_is_found(slope):
    own, shift = found(people(20_000, slope, 0.0))
    assert own == pytest.approx(slope, abs=0.07)
    assert shift == pytest.approx(0, abs=0.05)


def test_a_known_shift_is_found():
    slope, shift = found(people(20_000, 1.0, -0.7))
    assert slope == pytest.approx(1, abs=0.06) and shift == pytest.approx(-0.7, abs=0.05)


def test_slope_equals_scikit_learn_with_weights():
    own, weights = people(80, 0.8, 0.3), np.random.default_rng(1).integers(0, 4, 80)
    x = logit(own["probability"].to_numpy())[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(x, own["label"], sample_weight=weights)
    slope, shift = found(own, weights[None].astype(float))
    assert slope == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    expected = (weights * expit(shift + x[:, 0])).sum()  # in the large: as many patients expected as observed
    assert expected == pytest.approx((weights * own["label"]).sum())


def test_many_samples_at_once_equal_one_at_a_time():
    own, weights = people(60, 1.0, 0.0), np.random.default_rng(2).multinomial(60, np.full(60, 1 / 60), 30)
    subjects = own["participant_id"].to_numpy()
    together = recalibration(own, subjects, weights.astype(float))
    alone = [recalibration(own, subjects, row[None].astype(float)) for row in weights]
    for name, values in together.items():
        np.testing.assert_allclose(values, [one[name][0] for one in alone], atol=1e-6)


def test_predicting_somebody_often_makes_nobody_heavier():
    own = people(50, 1.0, 0.2)
    doubled = pd.concat([own, own.iloc[:20].assign(seed=1), own.iloc[:20].assign(seed=2)])
    assert found(doubled) == pytest.approx(found(own))


def test_perfect_separation_has_no_end():
    slope, shift = found(predictions_of([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [0, 0, 0, 1, 1, 1]))
    assert slope == np.inf and shift == pytest.approx(0)
    assert found(predictions_of([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], [1, 1, 1, 0, 0, 0]))[0] == -np.inf


def test_one_probability_for_everybody_has_no_slope_but_an_intercept():
    slope, shift = found(predictions_of([0.3] * 8, [0, 1] * 4))
    assert np.isnan(slope) and shift == pytest.approx(-logit(0.3))


def test_certainty_stays_finite():
    assert np.isfinite(found(predictions_of([0, 1, 0.4, 1, 0.0, 0.6], [0, 1, 1, 0, 1, 0]))).all()


def test_the_interval_of_the_slope_holds_the_truth():
    held = []
    for seed in range(40):
        scores = evaluated({"a": people(150, 0.7, 0.0, seed)}).scores.set_index("metric")
        row = scores.loc["calibration_slope"]
        held.append(row["low"] <= 0.7 <= row["high"])
    assert np.mean(held) >= 0.85
