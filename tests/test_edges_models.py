"""Edges and matrices are two views of one thing; missing regions are filled with what is likely."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.edges import MissingRegions, Pairs
from dysconnect.models.floor import CovariateEncoder, covariate, is_covariate
from dysconnect.models.tangent import TangentSpace


@pytest.fixture
def covariances() -> np.ndarray:
    """Thirty sample covariances of six regions, [30, 6, 6]."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    return np.stack([np.cov((rng.normal(size=(50, 6)) @ mixing).T) for _ in range(30)])


@pytest.fixture
def missing() -> np.ndarray:
    """Regions missing in three of thirty subjects, [30, 6]."""
    lost = np.zeros((30, 6), bool)
    lost[4, 2] = lost[9, [0, 5]] = lost[20, 2] = True
    return lost


# views


@pytest.mark.parametrize(("diagonal", "n_edges"), [(False, 10), (True, 15)])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_edges_and_matrices_round_trip(diagonal, n_edges, shape):
    edges = np.random.default_rng(0).normal(size=(*shape, n_edges))
    matrices = Pairs(5, diagonal=diagonal).matrix(edges)
    assert matrices.shape == (*shape, 5, 5)
    np.testing.assert_array_equal(matrices, matrices.swapaxes(-1, -2))
    np.testing.assert_array_equal(Pairs(matrices.shape[-1], diagonal=diagonal).edges(matrices), edges)
    if not diagonal:
        assert (np.diagonal(matrices, axis1=-2, axis2=-1) == 0).all()


@pytest.mark.parametrize("diagonal", [False, True])
def test_the_order_of_edges_is_the_atlas_order(diagonal):
    rows, cols = Pairs(5, diagonal=diagonal).ends
    matrix = Pairs(5, diagonal=diagonal).matrix(np.arange(1.0, len(rows) + 1)[None])[0]
    np.testing.assert_array_equal(matrix[rows, cols], np.arange(1, len(rows) + 1))


@pytest.mark.parametrize("diagonal", [False, True])
def test_missing_edges_are_those_that_touch_a_missing_region(missing, diagonal):
    rows, cols = Pairs(6, diagonal=diagonal).ends
    expected = [[lost[i] or lost[j] for i, j in zip(rows, cols)] for lost in missing]
    np.testing.assert_array_equal(Pairs(missing.shape[-1], diagonal=diagonal).touching(missing), expected)


# correlations


def test_missing_correlations_take_the_mean_of_those_who_have_them(missing):
    edges = np.random.default_rng(1).normal(size=(30, 15)).astype(np.float32)
    lost = Pairs(missing.shape[-1]).touching(missing)
    edges[lost] = 0  # as they are stored
    filled = MissingRegions().fit(edges, missing).transform(edges, missing)
    for e in range(15):
        mean = edges[~lost[:, e], e].astype(float).mean()
        np.testing.assert_allclose(filled[lost[:, e], e], mean, rtol=1e-5)
    np.testing.assert_array_equal(filled[~lost], edges[~lost])


def test_test_subjects_are_filled_from_the_training_subjects(missing):
    rng = np.random.default_rng(2)
    train, test = rng.normal(size=(30, 15)), 100 + rng.normal(size=(2, 15))
    filler = MissingRegions().fit(train, np.zeros((30, 6), bool))
    lost = np.zeros((2, 6), bool)
    lost[0, 3] = True
    filled = filler.transform(test, lost)
    own = Pairs(lost.shape[-1]).touching(lost)[0]
    np.testing.assert_allclose(filled[0, own], train.mean(0)[own])
    np.testing.assert_array_equal(filled[1], test[1])


@pytest.mark.parametrize("diagonal", [False, True])
def test_nothing_missing_nothing_touched(covariances, diagonal):
    edges = Pairs(covariances.shape[-1], diagonal=diagonal).edges(covariances)
    none = np.zeros((30, 6), bool)
    filler = MissingRegions().fit(edges, none, Pairs(none.shape[1], diagonal=diagonal))
    np.testing.assert_array_equal(filler.transform(edges, none), edges)


def test_an_edge_that_nobody_has_stays_finite():
    lost = np.zeros((4, 3), bool)
    lost[:, 0] = True
    filled = MissingRegions().fit(np.ones((4, 3)), lost).transform(np.ones((4, 3)), lost)
    assert np.isfinite(filled).all()


def test_a_region_that_nobody_has_leaves_the_tangent_space_of_the_others_as_it_is(covariances):
    """Deep nuclei of the cerebellum in grayordinates, say."""
    others = [0, 1, 3, 4, 5]
    stored, lost = covariances.copy(), np.zeros((30, 6), bool)
    lost[:, 2] = True
    stored[:, 2], stored[:, :, 2] = 0, 0
    edges = Pairs(stored.shape[-1], diagonal=True).edges(stored)
    filled = MissingRegions().fit(edges, lost, Pairs(6, diagonal=True)).transform(edges, lost)
    features = Pairs(6, diagonal=True).matrix(TangentSpace().fit(filled, 6).transform(filled))
    alone = Pairs(5, diagonal=True).edges(covariances[:, others][:, :, others])
    expected = Pairs(5, diagonal=True).matrix(TangentSpace().fit(alone, 5).transform(alone))
    np.testing.assert_allclose(features[:, others][:, :, others], expected, atol=1e-4)
    np.testing.assert_allclose(features[:, 2], 0, atol=1e-6)


# covariances


@pytest.fixture
def completed(covariances, missing):
    """Stored edges with zeros where missing, the same filled in, and the training mean matrix."""
    stored = covariances.copy()
    for subject in range(30):
        gone = missing[subject]
        stored[subject][gone] = 0
        stored[subject][:, gone] = 0
        stored[subject][gone, gone] = 1
    edges = Pairs(stored.shape[-1], diagonal=True).edges(stored)
    filler = MissingRegions().fit(edges, missing, Pairs(6, diagonal=True))
    mean = Pairs(6, diagonal=True).matrix(filler.mean_)
    return edges, Pairs(6, diagonal=True).matrix(filler.transform(edges, missing)), mean


def test_training_mean_leaves_the_missing_out(completed, covariances, missing):
    _, _, mean = completed
    for i, j in [(0, 1), (2, 2), (2, 3), (0, 5)]:
        have = ~(missing[:, i] | missing[:, j])
        assert mean[i, j] == pytest.approx(covariances[have, i, j].mean())


def test_completed_covariances_are_positive_definite_and_finite(completed):
    _, filled, _ = completed
    assert np.isfinite(filled).all()
    assert np.linalg.eigvalsh(filled).min() > 1e-6


def test_what_was_seen_stays(completed, covariances, missing):
    _, filled, _ = completed
    for subject in range(30):
        seen = np.ix_(~missing[subject], ~missing[subject])
        np.testing.assert_allclose(filled[subject][seen], covariances[subject][seen])


def test_completion_keeps_the_regression_and_residual_of_the_mean(completed, missing):
    """As a Gaussian conditional: same coefficients and same residual covariance of lost on seen regions."""
    _, filled, mean = completed
    for subject in np.flatnonzero(missing.any(1)):
        lost, seen = np.flatnonzero(missing[subject]), np.flatnonzero(~missing[subject])
        for of_mean, own in zip(conditional(mean, lost, seen), conditional(filled[subject], lost, seen)):
            np.testing.assert_allclose(own, of_mean, atol=1e-8)


def conditional(matrix: np.ndarray, lost: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Regression coefficients and residual covariance of `lost` given `seen`, through the precision matrix."""
    precision = np.linalg.inv(matrix)
    residual = np.linalg.inv(precision[np.ix_(lost, lost)])
    return -residual @ precision[np.ix_(lost, seen)], residual


def test_a_subject_with_the_mean_covariance_is_completed_to_the_mean(covariances):
    mean = covariances.mean(0)
    edges = Pairs(covariances.shape[-1], diagonal=True).edges(covariances)
    filler = MissingRegions().fit(edges, np.zeros((30, 6), bool), Pairs(6, diagonal=True))
    lost = np.arange(6)[None] == 3
    pairs = Pairs(6, diagonal=True)
    holed = np.where(pairs.touching(lost), 0, pairs.edges(mean[None]))
    np.testing.assert_allclose(pairs.matrix(filler.transform(holed, lost))[0], mean, atol=1e-8)


# covariates


def test_covariates_are_standardised_and_one_hot():
    table = pd.DataFrame({"age": [20.0, 30.0, 40.0], "site": ["A", "B", "C"]})
    encoded = CovariateEncoder(["age", "site"]).fit(table).transform(table)
    np.testing.assert_allclose(encoded, [[-1, 0, 0], [0, 1, 0], [1, 0, 1]])


def test_encoding_is_learned_on_the_training_subjects():
    train = pd.DataFrame({"age": [20.0, 30.0, 40.0], "site": ["A", "B", "B"]})
    test = pd.DataFrame({"age": [np.nan, 50.0], "site": ["unseen", "B"]})
    np.testing.assert_allclose(CovariateEncoder(["age", "site"]).fit(train).transform(test), [[0, 2 / 3], [2, 1]])


def test_a_site_that_training_lacks_is_the_mean_of_the_sites_and_not_the_first():
    train = pd.DataFrame({"site": ["A", "A", "B", "C"]})
    encoder = CovariateEncoder(["site"]).fit(train)
    first, unseen, unknown = encoder.transform(pd.DataFrame({"site": ["A", "D", None]}))
    np.testing.assert_allclose(first, [0, 0])
    np.testing.assert_allclose([unseen, unknown], [[0.25, 0.25]] * 2)
    np.testing.assert_allclose(encoder.transform(train).mean(0), unseen)
    np.testing.assert_allclose(encoder.centred(pd.DataFrame({"site": ["D"]})), [[0, 0]])


def test_a_covariate_that_is_no_column_is_named_with_the_remedy():
    table = pd.DataFrame({"age": [20.0], "site": ["A"]})
    with pytest.raises(ValueError, match=r"covariate handedness is not a column .*found: age, site\)\. Correct"):
        CovariateEncoder(["age", "handedness"]).fit(table)


def test_the_logarithm_of_a_column_is_a_covariate_unless_there_is_such_a_column():
    table = pd.DataFrame({"mean_fd": [0.1, 0.2, 0.4, 0.8]})
    encoded = CovariateEncoder(["log_mean_fd"]).fit(table).transform(table)
    np.testing.assert_allclose(np.diff(encoded[:, 0]), np.diff(encoded[:, 0])[0])  # doubled each time
    assert is_covariate("log_mean_fd", table) and not is_covariate("log_age", table)
    assert covariate("log_mean_fd", table.assign(log_mean_fd=[1, 2, 3, 4])).tolist() == [1, 2, 3, 4]
    again = CovariateEncoder(["log_mean_fd"]).load_state(CovariateEncoder(["log_mean_fd"]).fit(table).state())
    np.testing.assert_array_equal(again.transform(table), encoded)


@pytest.mark.parametrize(
    ("values", "said"), [([0.1, 0.0], "mean_fd is not above zero in sub-2, and"), (["a", "b"], "mean_fd is no number")]
)
def test_the_logarithm_of_what_has_none_is_refused(values, said):
    table = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "mean_fd": values})
    with pytest.raises(ValueError, match=f"log_mean_fd: {said}"):
        CovariateEncoder(["log_mean_fd"]).fit(table)
