"""The tangent space equals nilearn's, obeys its closed forms, and learns from training subjects only."""

import numpy as np
import pytest
from nilearn.connectome import ConnectivityMeasure
from nilearn.connectome.connectivity_matrices import _geometric_mean, sym_matrix_to_vec
from scipy.linalg import expm, logm, sqrtm
from threadpoolctl import threadpool_limits

from dysconnect.data.edges import Pairs
from dysconnect.models.tangent import TangentSpace, geometric_mean, in_threads, mean_log, spd_function


@pytest.fixture(scope="module")
def covariances() -> np.ndarray:
    """Covariances of twenty-five people around a common one, [25, 10, 10]."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(10, 10))
    return np.stack([np.cov((rng.normal(size=(40, 10)) @ mixing).T) for _ in range(25)])


def fitted(covariances: np.ndarray) -> TangentSpace:
    """Tangent space at the mean of these."""
    return TangentSpace().fit(Pairs(covariances.shape[-1], diagonal=True).edges(covariances), covariances.shape[-1])


# the mean


def test_mean_equals_nilearn(covariances):
    expected = _geometric_mean(list(covariances), max_iter=100, tol=1e-9)
    np.testing.assert_allclose(geometric_mean(covariances), expected, atol=1e-5 * np.abs(expected).max())


def test_mean_of_commuting_matrices_is_the_geometric_mean_of_eigenvalues():
    rng = np.random.default_rng(1)
    values = rng.uniform(0.5, 4, (8, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    expected = (turn * np.exp(np.log(values).mean(0))) @ turn.T
    np.testing.assert_allclose(geometric_mean((turn * values[:, None, :]) @ turn.T), expected, atol=1e-6)


def test_mean_of_two_has_a_closed_form(covariances):
    a, b = covariances[:2]
    root = sqrtm(a).real
    inverse = np.linalg.inv(root)
    expected = root @ sqrtm(inverse @ b @ inverse).real @ root
    np.testing.assert_allclose(geometric_mean(covariances[:2]), expected, atol=1e-4 * np.abs(expected).max())


def test_mean_is_affine_invariant(covariances):
    turn = np.random.default_rng(2).normal(size=(10, 10))
    expected = turn @ geometric_mean(covariances) @ turn.T
    own = geometric_mean(turn @ covariances @ turn.T)
    np.testing.assert_allclose(own, expected, atol=1e-4 * np.abs(expected).max())


def test_gradient_at_the_mean_is_zero(covariances):
    inverse = np.linalg.inv(sqrtm(geometric_mean(covariances)).real)
    gradient = np.mean([logm(inverse @ c @ inverse).real for c in covariances], axis=0)
    assert np.abs(gradient).max() < 1e-5


def test_a_mean_that_does_not_settle_says_what_to_do(covariances):
    with pytest.raises(ValueError, match=r"mean of 25 covariances did not settle in 2 steps.*estimator=ledoit_wolf"):
        geometric_mean(covariances, tolerance=1e-12, max_steps=2)


@pytest.mark.parametrize(("function", "peer"), [(np.log, logm), (np.exp, expm), (np.sqrt, sqrtm)])
def test_functions_of_matrices_equal_scipy(covariances, function, peer):
    np.testing.assert_allclose(spd_function(covariances[0], function), peer(covariances[0]).real, rtol=1e-6, atol=1e-8)


def test_threads_share_out_the_matrices_in_order(covariances):
    with threadpool_limits(2):
        chunks = list(in_threads(lambda chunk: chunk, covariances))
        mean = mean_log(covariances)
    assert [len(chunk) for chunk in chunks] == [16, 9]
    np.testing.assert_array_equal(np.concatenate(chunks), covariances)
    np.testing.assert_allclose(mean, np.mean([logm(c).real for c in covariances], axis=0), atol=1e-8)


# the features


def test_features_equal_nilearn(covariances):
    measure = ConnectivityMeasure(kind="tangent", cov_estimator=_Passed(), standardize=False)
    expected = sym_matrix_to_vec(measure.fit_transform(list(covariances))) * np.sqrt(2)
    own = fitted(covariances).transform(Pairs(covariances.shape[-1], diagonal=True).edges(covariances))
    rows, cols = np.triu_indices(10)
    lower = [list(zip(*np.tril_indices(10))).index((col, row)) for row, col in zip(rows, cols)]
    np.testing.assert_allclose(own, expected[:, lower], atol=1e-4)


class _Passed:
    """An estimator whose covariance is what it is given; nilearn wants series, the tests have covariances."""

    def fit(self, covariance, y=None):
        """Take the covariance as it is."""
        self.covariance_ = covariance
        return self

    def get_params(self, deep=True):
        """No parameters."""
        return {}

    def set_params(self):
        """No parameters."""
        return self


def test_distance_between_features_is_the_distance_of_the_tangent_matrices(covariances):
    space = fitted(covariances)
    a, b = (logm(space.whitening_ @ c @ space.whitening_).real for c in covariances[:2])
    features = space.transform(Pairs(covariances.shape[-1], diagonal=True).edges(covariances[:2]))
    assert np.linalg.norm(features[0] - features[1]) == pytest.approx(np.linalg.norm(a - b), rel=1e-4)


def test_features_at_the_reference_are_zero(covariances):
    reference = Pairs(covariances.shape[-1], diagonal=True).edges(geometric_mean(covariances)[None])
    np.testing.assert_allclose(fitted(covariances).transform(reference), 0, atol=1e-5)


def test_features_of_the_training_subjects_average_to_zero(covariances):
    features = fitted(covariances).transform(Pairs(covariances.shape[-1], diagonal=True).edges(covariances))
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)


def test_projecting_is_the_same_alone_and_in_company():
    rng = np.random.default_rng(3)
    many = np.stack([np.cov(rng.normal(size=(30, 5)).T) for _ in range(70)])
    space, edges = fitted(many), Pairs(many.shape[-1], diagonal=True).edges(many)
    one = np.concatenate([space.transform(edges[[k]]) for k in range(70)])
    np.testing.assert_allclose(space.transform(edges), one, atol=1e-6)
