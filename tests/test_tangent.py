"""The tangent space equals nilearn's, obeys its closed forms, and learns from training subjects only."""

import numpy as np
import pytest
from nilearn.connectome import ConnectivityMeasure
from nilearn.connectome.connectivity_matrices import _geometric_mean, sym_matrix_to_vec
from scipy.linalg import expm, logm, sqrtm
from threadpoolctl import threadpool_limits

from dysconnect.data.edges import Pairs
from dysconnect.models.tangent import TangentSpace, geometric_mean, in_threads, logarithms, mean_log, spd_function


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


def around(reference: np.ndarray, n: int, seed: int = 5) -> np.ndarray:
    """Covariances of n people whose tangent vectors at a reference [N, N] are noise around zero, [n, N, N]."""
    root, size = np.linalg.cholesky(reference), len(reference)
    noise = np.random.default_rng(seed).normal(size=(n, size, size)) / np.sqrt(8 * size)
    noise -= noise.mean(0)
    return root @ expm(noise + noise.swapaxes(1, 2)) @ root.T


def stretched(size: int, condition: float) -> np.ndarray:
    """A covariance of some condition number, in no order of its regions, [N, N]."""
    turn = np.linalg.qr(np.random.default_rng(6).normal(size=(size, size)))[0]
    return (turn * np.geomspace(1 / condition, 1, size)) @ turn.T


@pytest.mark.parametrize("n", [40, 250])  # few and many people: two ways to the mean
@pytest.mark.parametrize("condition", [30, 1e4, 1e8])
def test_mean_of_people_around_a_reference_is_the_reference_however_stretched(n, condition):
    reference = stretched(12, condition)
    white = np.linalg.inv(np.linalg.cholesky(reference))
    mean = geometric_mean(around(reference, n))
    np.testing.assert_allclose(white @ mean @ white.T, np.eye(12), atol=1e-4)


def test_mean_of_many_is_within_the_tolerance_and_can_be_had_closer():
    people = around(stretched(20, 100), 300)
    for tolerance in (1e-5, 1e-9):
        whitening = spd_function(geometric_mean(people, tolerance), lambda values: 1 / np.sqrt(values))
        assert np.linalg.norm(mean_log(people, whitening)) / 20 < tolerance


def test_edges_and_matrices_have_one_mean(covariances):
    many = around(stretched(10, 50), 220)
    for people in (covariances, many):
        edges = Pairs(10, diagonal=True).edges(people)
        np.testing.assert_allclose(geometric_mean(edges), geometric_mean(people), rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [40, 250])
def test_threads_change_no_digit(n):
    edges = Pairs(15, diagonal=True).edges(around(stretched(15, 50), n))
    features = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            features.append(TangentSpace().fit(edges, 15).transform(edges))
    np.testing.assert_array_equal(*features)


# the features


@pytest.mark.parametrize(("condition", "worst"), [(10, 5e-6), (400, 3e-5), (1e4, 1e-6), (1e8, 1e-5)])
def test_logarithms_are_exact_enough_by_whichever_precision(condition, worst):
    matrices = np.stack([stretched(60, condition) * np.sqrt(condition), np.eye(60)])
    expected = spd_function(matrices, np.log)
    own = logarithms(matrices)
    assert own.dtype == np.float32
    np.testing.assert_allclose(own, expected, atol=worst)
    assert np.sqrt(((own - expected) ** 2).mean()) < worst / 5


@pytest.mark.parametrize("condition", [30, 1e8])
@pytest.mark.parametrize("n", [40, 250])
def test_features_of_stretched_covariances_are_what_they_were_made_of(n, condition):
    people = around(stretched(12, condition), n)
    space = fitted(people)
    whitening = spd_function(geometric_mean(people, 1e-9), lambda values: 1 / np.sqrt(values))
    pairs = Pairs(12, diagonal=True)
    weight = np.where(pairs.rows == pairs.cols, 1, np.sqrt(2))
    expected = pairs.edges(np.stack([logm(whitening @ c @ whitening).real for c in people[:20]])) * weight
    np.testing.assert_allclose(
        space.transform(pairs.edges(people[:20])), expected, atol=2e-5 if condition < 1e4 else 1e-3
    )


def test_edges_in_single_precision_give_the_same_features():
    edges = Pairs(12, diagonal=True).edges(around(stretched(12, 30), 250))
    single = edges.astype(np.float32)
    features = TangentSpace().fit(edges, 12).transform(edges)
    np.testing.assert_allclose(TangentSpace().fit(single, 12).transform(single), features, atol=2e-5)


def test_one_person_is_the_reference_and_two_regions_are_enough():
    edges = np.array([[2.0, 0.5, 1.0]])
    space = TangentSpace().fit(edges, 2)
    np.testing.assert_allclose(space.transform(edges), 0, atol=1e-6)
    expected = logm(space.whitening_ @ np.array([[3.0, -1], [-1, 2]]) @ space.whitening_).real
    np.testing.assert_allclose(
        space.transform(np.array([[3.0, -1.0, 2.0]]))[0], expected[[0, 0, 1], [0, 1, 1]] * [1, np.sqrt(2), 1], atol=1e-5
    )


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
