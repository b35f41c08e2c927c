"""Connectomes equal their definitions, and travel through files by name."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nilearn.connectome import ConnectivityMeasure
from sklearn.covariance import LedoitWolf

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.connectomes import Connectomes, open_connectomes, read_connectomes, write_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.estimate import connectome
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.data.series import write_series

UPPER = np.triu_indices(10, 1)
WITH_DIAGONAL = np.triu_indices(10)


@pytest.fixture
def series() -> np.ndarray:
    """Correlated, z-scored series, [80, 10]."""
    x = np.random.default_rng(0).normal(size=(80, 10)).cumsum(1)
    return (x - x.mean(0)) / x.std(0, ddof=1)


@pytest.fixture
def stored(tmp_path, make_participants) -> tuple:
    """A file of six connectomes of four regions, and what is in it."""
    rng = np.random.default_rng(1)
    missing = np.zeros((6, 4), bool)
    missing[2, 1] = True
    subjects = make_participants(6)["participant_id"].to_numpy(str)
    names = np.array(["Putamen L", "Pallidum L", "Thalamus VL L", "Région étrange"])
    connectomes = Connectomes(rng.normal(size=(6, 6)).astype(np.float32), missing, subjects, names, "correlation", "ab")
    path = tmp_path / "correlation.h5"
    write_connectomes(connectomes, path, {"atlas": "few", "denoising": {"motion": None}})
    return path, connectomes


def test_correlation_is_fisher_z(series):
    expected = np.arctanh(np.corrcoef(series.T)[UPPER])
    np.testing.assert_allclose(connectome(series, "correlation", "empirical"), expected, atol=1e-5)


def test_partial_equals_the_inverse_of_the_correlation(series):
    precision = np.linalg.inv(np.corrcoef(series.T))
    scale = np.sqrt(np.diag(precision))
    expected = np.arctanh(-(precision / np.outer(scale, scale))[UPPER])
    np.testing.assert_allclose(connectome(series, "partial", "empirical"), expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["correlation", "partial correlation"])
def test_shrunk_measures_equal_nilearn(series, kind):
    matrix = ConnectivityMeasure(cov_estimator=LedoitWolf(), kind=kind, standardize=False).fit_transform([series])[0]
    own = connectome(series, kind.split()[0], "ledoit_wolf")
    np.testing.assert_allclose(own, np.arctanh(matrix[UPPER]), atol=1e-4)


def test_covariance_equals_ledoit_wolf_with_diagonal(series):
    expected = LedoitWolf().fit(series).covariance_[WITH_DIAGONAL]
    np.testing.assert_allclose(connectome(series, "covariance", "ledoit_wolf"), expected, atol=1e-5)


@pytest.mark.parametrize("measure", ["partial", "covariance"])
def test_what_is_inverted_needs_more_volumes_than_regions_without_shrinkage(series, measure):
    """A singular covariance has no logarithm: its tangent vectors would be those of rounding errors."""
    with pytest.raises(ValueError, match=r"10 regions from 10 volumes needs shrinkage: set connectivity\.estimator"):
        connectome(series[:10], measure, "empirical")
    assert np.isfinite(connectome(series[:11], measure, "empirical")).all()
    assert np.isfinite(connectome(series[:10], "correlation", "empirical")).all()


@pytest.mark.parametrize("measure", ["correlation", "partial", "covariance"])
def test_missing_regions_are_zero_and_the_others_as_if_alone(series, measure):
    dead = [0, 6]
    holed = series.copy()
    holed[:, dead] = 0
    alone = connectome(np.delete(series, dead, axis=1), measure, "ledoit_wolf")
    edges = connectome(holed, measure, "ledoit_wolf")
    assert np.isfinite(edges).all()
    matrix = Pairs(10, diagonal=measure == "covariance").matrix(edges)
    kept = np.delete(np.arange(10), dead)
    np.testing.assert_allclose(
        matrix[np.ix_(kept, kept)], Pairs(8, diagonal=measure == "covariance").matrix(alone), atol=1e-6
    )
    np.testing.assert_array_equal(matrix[np.ix_(dead, kept)], 0)
    if measure == "covariance":
        np.testing.assert_array_equal(matrix[np.ix_(dead, dead)], np.eye(2))


def test_identical_regions_stay_finite(series):
    series[:, 1] = series[:, 0]
    edges = connectome(series, "correlation", "empirical")
    assert np.isfinite(edges).all()
    assert edges[0] == edges.max() > 5


def test_a_cohort_is_computed_from_its_files(tmp_path, nodes, series):
    few = nodes.head(10)
    rows = []
    for k, name in enumerate(["sub-2", "sub-1"]):
        x = series[k:].copy()
        x[:, 4] *= k  # no signal in the first
        write_series(x, few["name"], tmp_path / f"{name}.tsv")
        rows.append({"participant_id": name, "series": str(tmp_path / f"{name}.tsv")})
    made = cohort_connectomes(pd.DataFrame(rows), few, "correlation", "empirical", workers=2)
    assert made.subjects.tolist() == ["sub-2", "sub-1"]
    assert made.values.dtype == np.float32
    np.testing.assert_array_equal(made.missing, [np.arange(10) == 4, np.zeros(10, bool)])
    np.testing.assert_allclose(made.values[1], np.arctanh(np.corrcoef(series[1:].T)[UPPER]), atol=1e-4)
    again = cohort_connectomes(pd.DataFrame(rows[::-1]), few, "correlation", "empirical")
    assert again.data_hash != made.data_hash  # order of the subjects belongs to the data


def test_round_trip_keeps_values_and_names(stored):
    path, written = stored
    read = read_connectomes(path)
    np.testing.assert_array_equal(read.values, written.values)
    np.testing.assert_array_equal(read.missing, written.missing)
    assert read.subjects.tolist() == written.subjects.tolist()
    assert read.nodes.tolist() == written.nodes.tolist()
    assert (read.measure, read.data_hash) == ("correlation", "ab")


def test_subjects_are_read_by_name_in_the_order_asked(stored):
    path, written = stored
    read = read_connectomes(path, ["sub-004", "sub-000", "sub-002"])
    assert read.subjects.tolist() == ["sub-004", "sub-000", "sub-002"]
    np.testing.assert_array_equal(read.values, written.values[[4, 0, 2]])
    np.testing.assert_array_equal(read.missing, written.missing[[4, 0, 2]])


def test_absent_subject_is_named_with_the_file(stored):
    path, _ = stored
    with pytest.raises(ValueError, match=r"correlation\.h5: no connectome of sub-777\. Run the connectivity stage"):
        read_connectomes(path, ["sub-001", "sub-777"])


def test_file_explains_itself(stored):
    path, written = stored
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset["connectome"].dims == ("subject", "edge")
        assert dataset["connectome"].dtype == np.float32
        assert dataset["missing"].dims == ("subject", "node")
        rows, cols = Pairs(4).ends
        assert dataset["node_a"].to_numpy().tolist() == written.nodes[rows].tolist()
        assert dataset["node_b"].to_numpy().tolist() == written.nodes[cols].tolist()
        assert {"measure": "correlation", "atlas": "few", "data_hash": "ab"}.items() <= dataset.attrs.items()
        assert json.loads(dataset.attrs["denoising"]) == {"motion": None}
        assert "dysconnect" in dataset.attrs


def test_file_opens_lazily(stored):
    path, _ = stored
    with open_connectomes(path) as dataset:
        assert not dataset["connectome"]._in_memory


def test_covariances_are_stored_with_their_diagonal(tmp_path):
    edges = np.arange(12, dtype=np.float32).reshape(2, 6)
    names = np.array(["a", "b", "c"])
    own = Connectomes(edges, np.zeros((2, 3), bool), np.array(["s1", "s2"]), names, "covariance", "")
    write_connectomes(own, tmp_path / "covariance.h5", {})
    with open_connectomes(tmp_path / "covariance.h5") as dataset:
        pairs = list(zip(dataset["node_a"].to_numpy(), dataset["node_b"].to_numpy()))
    assert pairs == [("a", "a"), ("a", "b"), ("a", "c"), ("b", "b"), ("b", "c"), ("c", "c")]


def test_cohort_is_joined_by_name_whatever_the_order(stored, tmp_path, make_participants):
    path, written = stored
    table = make_participants(6).assign(included=True, exclusion_reason="").drop(columns="label")
    table.loc[3, ["included", "exclusion_reason"]] = [False, "too short"]
    shuffled = table.iloc[[5, 3, 0, 2, 4, 1]]
    write_participants(shuffled, tmp_path / "participants.tsv")
    contrast = {"cases": ["DYT"], "controls": ["HC"]}
    cohort, digest = labelled_cohort(path, tmp_path / "participants.tsv", contrast, "correlation")
    order = [5, 0, 2, 4, 1]
    assert cohort.participants["participant_id"].tolist() == written.subjects[order].tolist()
    np.testing.assert_array_equal(cohort.values, written.values[order])
    np.testing.assert_array_equal(cohort.missing, written.missing[order])
    assert cohort.labels.tolist() == [1, 0, 0, 0, 1]
    assert digest == "ab"
