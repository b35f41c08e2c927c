"""The classifiers in the dual equal scikit-learn's in the primal, and their leave-one-out equals leaving one out."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from dysconnect.models.dual import DualLogistic, DualRidge, centred_kernel
from dysconnect.models.in_place import KernelInPlace

BOTH = pytest.mark.parametrize("model", [DualRidge, DualLogistic])
PENALTIES = pytest.mark.parametrize("penalty", [0.05, 1.0, 20.0])


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Thirty-one subjects, eighty edges of which ten differ, and labels."""
    rng = np.random.default_rng(0)
    y = (np.arange(31) % 3 == 0).astype(int)
    x = rng.normal(1.0, 1.0, (31, 80))
    x[:, :10] += 0.8 * y[:, None]
    return x, y


@pytest.fixture
def new(data) -> np.ndarray:
    """Seven further subjects."""
    return np.random.default_rng(1).normal(1.0, 1.0, (7, data[0].shape[1]))


def scaled(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Features centred and scaled as the kernel of `like` is."""
    centred = like - like.mean(0)
    return (x - like.mean(0)) / np.sqrt((centred**2).sum(1).mean())


def with_constant(x: np.ndarray) -> np.ndarray:
    """Add the column that stands for the nearly unpenalised intercept."""
    return np.c_[x, np.full(len(x), np.sqrt(10.0))]


def logistic(x: np.ndarray, y: np.ndarray, penalty: float) -> LogisticRegression:
    """Fit scikit-learn's logistic regression of the same objective."""
    return LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-10, max_iter=5000).fit(with_constant(x), y)


# the same as in the primal


def test_kernel_has_unit_mean_diagonal(data):
    kernel, scale = centred_kernel(data[0] - data[0].mean(0))
    assert np.trace(kernel) / len(kernel) == pytest.approx(1)
    np.testing.assert_allclose(kernel * scale, (data[0] - data[0].mean(0)) @ (data[0] - data[0].mean(0)).T)


@PENALTIES
def test_ridge_equals_scikit_learn(data, new, penalty):
    x, y = data
    own = DualRidge(penalties=(penalty,)).fit(x, y)
    peer = Ridge(alpha=penalty).fit(scaled(x, x), 2 * y - 1)
    np.testing.assert_allclose(own.decision_function(new), peer.predict(scaled(new, x)), atol=1e-8)
    assert own.penalty_ == penalty


@PENALTIES
def test_logistic_equals_scikit_learn(data, new, penalty):
    x, y = data
    own = DualLogistic(penalties=(penalty,)).fit(x, y)
    peer = logistic(scaled(x, x), y, penalty)
    np.testing.assert_allclose(
        own.decision_function(new), peer.decision_function(with_constant(scaled(new, x))), atol=1e-4
    )
    np.testing.assert_allclose(own.predict_proba(new)[:, 1], expit(own.decision_function(new)))


# leave-one-out


def held_out(model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Leave-one-out decisions as the model computes them, [n]."""
    kernel, _ = centred_kernel(x - x.mean(0))
    return model.solve(kernel, y[:, None])[3][:, 0]


@PENALTIES
def test_ridge_leave_one_out_equals_leaving_one_out(data, penalty):
    x, y = data
    z, n = scaled(x, x), len(y)
    brute = np.empty(n)
    for k in range(n):
        rest = np.arange(n) != k
        brute[k] = Ridge(alpha=penalty).fit(z[rest], 2 * y[rest] - 1).predict(z[[k]])[0]
    np.testing.assert_allclose(held_out(DualRidge(penalties=(penalty,)), x, y), brute, atol=1e-8)


@PENALTIES
def test_the_first_newton_step_of_logistic_regression_is_ridge(data, penalty):
    """From zero every weight is 1/4: ridge with four times the penalty, and that is what chooses the penalty."""
    x, y = data
    z = scaled(x, x)
    response = 4 * (y - 0.5)  # the working response at decision zero
    gram = z.T @ z / 4 + penalty * np.eye(80)  # intercept left out: labels and features are centred below
    step = np.linalg.solve(gram, z.T @ (response - response.mean()) / 4)
    ridge = DualRidge(penalties=(4 * penalty,)).fit(x, y)
    np.testing.assert_allclose(
        z @ step, 2 * (ridge.decision_function(x) - ridge.decision_function(x).mean()), atol=1e-8
    )
    np.testing.assert_allclose(
        held_out(DualLogistic(penalties=(penalty,)), x, y), held_out(DualRidge(penalties=(4 * penalty,)), x, y)
    )


@BOTH
def test_the_penalty_with_the_least_held_out_error_is_chosen(data, model):
    x, y = data
    grid = (0.01, 0.3, 3.0, 300.0)
    loss = [((held_out(model(penalties=(penalty,)), x, y) - (2 * y - 1)) ** 2).mean() for penalty in grid]
    assert model(penalties=grid).fit(x, y).penalty_ == grid[int(np.argmin(loss))]


# many label vectors


@BOTH
def test_many_label_vectors_equal_one_at_a_time(data, new, model):
    x, y = data
    rng = np.random.default_rng(2)
    labels = np.column_stack([y, *(rng.permutation(y) for _ in range(6))])
    many = model().decide_many(x, labels, new)
    one = [model().fit(x, column).decision_function(new) for column in labels.T]
    np.testing.assert_allclose(many, np.column_stack(one), atol=1e-5)


@BOTH
def test_chunks_make_no_difference(data, new, model, monkeypatch):
    x, y = data
    labels = np.column_stack([np.random.default_rng(k).permutation(y) for k in range(7)])
    whole = model().decide_many(x, labels, new)
    monkeypatch.setattr("dysconnect.models.dual.CHUNK", 2 * len(x) * len(model().penalties))
    np.testing.assert_allclose(model().decide_many(x, labels, new), whole, atol=1e-6)


# behaviour


@BOTH
def test_one_class_is_refused(data, model):
    with pytest.raises(ValueError, match=r"one class only \(label 1\); both are needed"):
        model().fit(data[0], np.ones(31, int))


@BOTH
def test_probabilities_are_inside_zero_and_one_and_follow_the_decision(data, new, model):
    fitted = model().fit(*data)
    far = fitted.weights_ / np.linalg.norm(fitted.weights_) * np.linspace(-3, 3, 50)[:, None] + data[0].mean(0)
    probability, decision = fitted.predict_proba(far), fitted.decision_function(far)
    np.testing.assert_allclose(probability.sum(1), 1)
    assert ((probability > 0) & (probability < 1)).all()
    assert (np.diff(decision) > 0).all()
    assert (np.diff(probability[:, 1]) > 0).all()
    np.testing.assert_array_equal(fitted.predict(far), probability[:, 1] > 0.5)


@BOTH
def test_label_one_is_the_patient(data, model):
    x, y = data
    fitted = model().fit(x, y)
    assert fitted.weights_[:10].mean() > 0  # the edges that are stronger in patients
    assert fitted.predict_proba(x)[y == 1, 1].mean() > fitted.predict_proba(x)[y == 0, 1].mean() + 0.1
    turned = model().fit(x, 1 - y)
    np.testing.assert_allclose(turned.weights_, -fitted.weights_, atol=1e-6)


@BOTH
def test_a_planted_difference_is_found_in_others(model):
    rng = np.random.default_rng(3)
    y = np.arange(120) % 2
    x = rng.normal(size=(120, 300))
    x[:, :30] += 0.6 * y[:, None]
    fitted = model().fit(x[:80], y[:80])
    assert roc_auc_score(y[80:], fitted.predict_proba(x[80:])[:, 1]) > 0.85


@BOTH
def test_probabilities_of_noise_are_hardly_worse_than_the_base_rate(model):
    """Brier score on new people: 0.25 is the best, a confident fit of 60 people on 300 edges has 0.35 and more."""
    rng, y = np.random.default_rng(4), np.arange(60) % 2
    scores, overfitted = [], []
    for _ in range(12):
        x, new = rng.normal(size=(60, 300)), rng.normal(size=(60, 300))
        scores.append(((model().fit(x, y).predict_proba(new)[:, 1] - y) ** 2).mean())
        overfitted.append(((DualLogistic(penalties=(0.001,)).fit(x, y).predict_proba(new)[:, 1] - y) ** 2).mean())
    assert np.mean(scores) < 0.275
    assert np.mean(overfitted) > 0.3


@BOTH
def test_shift_and_scale_of_all_features_make_no_difference(data, new, model):
    plain = model().fit(*data).predict_proba(new)
    moved = model().fit(100 * data[0] + 7, data[1]).predict_proba(100 * new + 7)
    np.testing.assert_allclose(moved, plain, atol=1e-6)


@BOTH
def test_features_without_variance_give_the_base_rate(model):
    y = np.arange(40) % 4 == 0
    probability = model().fit(np.ones((40, 5)), y.astype(int)).predict_proba(np.ones((3, 5)))[:, 1]
    np.testing.assert_allclose(probability, 0.25, atol=0.05)


# many people


@BOTH
@pytest.mark.parametrize("way", ["in place", "narrow"])
@pytest.mark.parametrize("copied", [False, True])
def test_many_people_need_no_eigenvectors_of_their_kernel(model, way, copied, monkeypatch):
    """The same decisions, penalty and calibration by another route: factors in place, or products of features."""
    rng, n_edges = np.random.default_rng(3), 90 if way == "in place" else 6
    y = (np.arange(70) % 3 == 0).astype(int)
    x = rng.normal(0.3, 1.0, (70, n_edges)) + 0.6 * y[:, None] * (np.arange(n_edges) < 5)
    groups = np.r_[np.arange(64), [1, 2, 2, 4, 5, 64]] if copied else None
    x[64:69] = x[[1, 2, 2, 4, 5]]
    labels, new = np.column_stack([y, rng.permutation(y), y[::-1]]), rng.normal(size=(9, n_edges))
    plain, plain_many = model().fit(x, y, groups), model().decide_many(x, labels, new, groups)
    monkeypatch.setattr("dysconnect.models.dual.MANY" if way == "in place" else "dysconnect.models.dual.FEW", 20)
    monkeypatch.setattr("dysconnect.models.in_place.COPIED", 16)
    other = model().fit(x, y, groups)
    np.testing.assert_allclose(other.predict_proba(new), plain.predict_proba(new), atol=1e-6)
    np.testing.assert_allclose(model().decide_many(x, labels, new, groups), plain_many, atol=1e-6)
    assert other.penalty_ == plain.penalty_


def test_nan_in_features_of_many_people_is_refused(data, monkeypatch):
    monkeypatch.setattr("dysconnect.models.dual.MANY", 20)
    x = data[0].copy()
    x[3, 4] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="31 people is not positive definite: NaN in features"):
        DualRidge().fit(x, data[1])


def test_a_kernel_in_place_gives_its_products(data):
    x, _ = data
    kernel, plain = KernelInPlace(x), centred_kernel(x - x.mean(0))[0]
    right = np.random.default_rng(0).normal(size=(31, 2))
    kernel.factorise(0.5, 2.0)
    np.testing.assert_allclose(kernel.times(right), plain @ right, atol=1e-12)
    np.testing.assert_allclose(kernel.solved(right), np.linalg.solve(plain + 2 + 0.5 * np.eye(31), right), atol=1e-10)
    kernel.invert(0.5)
    np.testing.assert_allclose(kernel.by_inverse(right), np.linalg.solve(plain + 0.5 * np.eye(31), right), atol=1e-10)
