"""Low-rank and dense weights in the tangent space: optimal, equal to ridge where they must be, and networks found."""

import numpy as np
import pytest

from dysconnect.models.dual import DualRidge
from dysconnect.models.low_rank import LowRank, fold, low_rank_weights, strongest, unfold

N = 20


@pytest.fixture(scope="module")
def data():
    """Seventy tangent vectors of twenty regions, one network of which is weaker in patients; labels; the network."""
    rng = np.random.default_rng(0)
    network = np.zeros(N)
    network[[2, 5, 9, 14]] = 0.5
    y = np.arange(70) % 2
    matrices = rng.normal(0, 1, (70, N, N))
    matrices = (matrices + matrices.swapaxes(1, 2)) / 2 - 2.5 * y[:, None, None] * np.outer(network, network)
    return fold(matrices).T, y, network


def centred(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features and signs of the labels, without their means."""
    signs = (2.0 * y - 1)[:, None]
    return x - x.mean(0), signs - signs.mean()


def test_folding_keeps_products():
    a, b = np.random.default_rng(1).normal(size=(2, 3, N, N))
    a, b = a + a.swapaxes(1, 2), b + b.swapaxes(1, 2)
    np.testing.assert_allclose((fold(a) * fold(b)).sum(0), (a * b).sum((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(unfold(fold(a)), a, rtol=1e-6)


def test_the_weights_meet_the_optimality_conditions(data):
    x, y, _ = data
    x, signs = centred(x, y)
    limit = 0.3 * np.abs(np.linalg.eigvalsh(unfold(x.T @ signs)[0])).max()
    weights = low_rank_weights(x, signs, 0.3, tolerance=1e-9, max_steps=5000)
    downhill = unfold(x.T @ (signs - x @ weights))[0]
    values, vectors = np.linalg.eigh(unfold(weights)[0])
    kept = np.abs(values) > 1e-6
    assert 1 <= kept.sum() < N / 2
    assert np.abs(np.linalg.eigvalsh(downhill)).max() <= limit * (1 + 1e-4)
    on_support = vectors[:, kept].T @ downhill @ vectors[:, kept]
    np.testing.assert_allclose(on_support, limit * np.diag(np.sign(values[kept])), atol=1e-3 * limit)


def test_nothing_is_left_at_the_largest_penalty_and_more_at_a_smaller_one(data):
    x, signs = centred(*data[:2])
    ranks = [
        np.linalg.matrix_rank(unfold(low_rank_weights(x, signs, trace))[0], tol=1e-6) for trace in (1.001, 0.7, 0.2)
    ]
    assert ranks[0] == 0 < ranks[1] < ranks[2]


def test_many_responses_equal_one_at_a_time(data):
    x, y, _ = data
    rng = np.random.default_rng(2)
    labels = np.column_stack([y, *(rng.permutation(y) for _ in range(20))])  # more than are solved at once
    model = LowRank(penalties=(0.1, 1.0))
    many = model.decide_many(x, labels, x[:9])
    one = np.column_stack([model.decide_many(x, labels[:, [k]], x[:9])[:, 0] for k in range(labels.shape[1])])
    for k in range(labels.shape[1]):
        assert np.corrcoef(many[:, k], one[:, k])[0, 1] > 0.995


def test_without_low_rank_weights_and_powers_it_is_ridge(data):
    x, y, _ = data
    own = LowRank(share=0.0, power=1.0, penalties=(0.1, 1.0, 10.0)).fit(x[:60], y[:60])
    peer = DualRidge(penalties=(0.1, 1.0, 10.0)).fit(x[:60], y[:60])
    ratio = own.decision_function(x[60:]) / peer.decision_function(x[60:])
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)


def test_a_power_of_the_kernel_equals_ridge_on_scaled_components(data):
    x, y, _ = data
    train, mean = x[:60], x[:60].mean(0)
    _, size, right = np.linalg.svd(train - mean, full_matrices=False)
    scaled = lambda rows: (rows - mean) @ right.T * (size / np.sqrt((size**2).mean())) ** 0.5
    peer = DualRidge(penalties=(0.3,)).fit(scaled(train), y[:60]).decision_function(scaled(x[60:]))
    own = LowRank(share=0.0, power=1.5, penalties=(0.3,)).fit(train, y[:60]).decision_function(x[60:])
    assert np.corrcoef(own, peer)[0, 1] > 0.9999


def test_a_planted_network_comes_first(data):
    x, y, network = data
    model = LowRank().fit(x, y)
    assert abs(model.networks_[:, 0] @ network) > 0.9
    assert model.strengths_[0] < 0  # weaker in patients
    low = (model.networks_ * model.strengths_) @ model.networks_.T
    values, vectors = strongest(fold(low[None])[:, 0])
    np.testing.assert_allclose((vectors * values) @ vectors.T, low, atol=1e-5)


def test_one_class_is_refused(data):
    with pytest.raises(ValueError, match="one class only"):
        LowRank().fit(data[0], np.ones(70, int))
