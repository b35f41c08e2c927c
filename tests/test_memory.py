"""What does not fit in memory is read batch by batch, to the same numbers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysconnect.data import edges as edges_module
from dysconnect.data.connectomes import Connectomes, StoredEdges, open_connectomes, read_connectomes, write_connectomes
from dysconnect.data.edges import MissingRegions, Pairs
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.memory import data_memory, free_memory, linear_bytes
from dysconnect.data.participants import write_participants
from dysconnect.learning.estimators import EdgeModel
from dysconnect.learning.graph.view import learn_scale
from dysconnect.learning.on_disk import OnDisk
from dysconnect.learning.represented import FilledEdges
from dysconnect.learning.room import check_room
from dysconnect.learning.splits import make_splits
from dysconnect.localize import localize, permutation
from dysconnect.train import cross_validate, permutation_null

pytestmark = pytest.mark.usefixtures("one_torch_thread")
CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven people of 66 edges at a time."""
    monkeypatch.setattr(edges_module, "BLOCK", 7 * 66 * 4)


@pytest.fixture
def stored(tmp_path, make_participants):
    """Sixty people of twelve regions in a file, some regions missing, one connection measured in nobody."""
    rng = np.random.default_rng(0)
    people = make_participants(60)
    missing = np.zeros((60, 12), bool)
    missing[[3, 20, 41], [1, 5, 5]] = True
    values = rng.normal(0.2, 0.3, (60, 66)).astype(np.float32)
    values[(people["group"] == "DYT").to_numpy(), :8] += 0.4
    values[Pairs(missing.shape[-1]).touching(missing)] = 0
    values[:, 50] = 0
    names = np.array([f"region {k}" for k in range(12)])
    connectomes = Connectomes(values, missing, people["participant_id"].to_numpy(str), names, "correlation", "ab")
    write_connectomes(connectomes, tmp_path / "correlation.h5", {})
    write_participants(people.assign(included=True, exclusion_reason=""), tmp_path / "participants.tsv")
    return tmp_path / "correlation.h5", tmp_path / "participants.tsv", values


# the file


@pytest.mark.parametrize(
    "wanted", [slice(None), slice(5, 9), slice(3, 3), np.array([7, 2, 2, 59]), np.arange(60) % 3 == 0], ids=str
)
def test_rows_of_the_file_are_those_of_the_array(stored, wanted):
    path, _, values = stored
    lazy = read_connectomes(path, resident=False).values
    assert isinstance(lazy, StoredEdges) and lazy.shape == values.shape and len(lazy) == 60
    np.testing.assert_array_equal(lazy[wanted], values[wanted])
    np.testing.assert_array_equal(read_connectomes(path).values, values)


def test_rows_come_in_the_order_of_the_people_asked_for(stored):
    path, _, values = stored
    names = read_connectomes(path).subjects[[50, 3, 17]]
    np.testing.assert_array_equal(read_connectomes(path, names, resident=False).values[1:], values[[3, 17]])


def test_a_cohort_stays_in_the_file_when_it_takes_more_than_half_of_the_memory(stored):
    path, participants, values = stored
    needed = values.nbytes * 2 / 1e9
    lazy, _ = labelled_cohort(path, participants, CONTRAST, "correlation", 0.99 * needed)
    held, _ = labelled_cohort(path, participants, CONTRAST, "correlation", 1.01 * needed)
    assert isinstance(lazy.values, StoredEdges) and isinstance(held.values, np.ndarray)
    np.testing.assert_array_equal(lazy.values[:], held.values)


def test_an_older_file_is_refused(stored, tmp_path):
    with open_connectomes(stored[0]) as dataset:
        dataset.drop_vars("measured").to_netcdf(tmp_path / "old.h5", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"old\.h5 was written by an older version. Run the connectivity stage"):
        read_connectomes(tmp_path / "old.h5")


def test_half_of_the_memory_is_for_the_data():
    assert data_memory(3.0) == 1.5e9
    assert 0 < data_memory(None) <= free_memory()


# blocks


def test_means_and_spreads_of_blocks_are_those_of_everybody(stored):
    _, _, values = stored
    mean, scale = learn_scale(values)
    np.testing.assert_allclose(mean, values.mean(0, dtype=float), rtol=1e-6)
    expected = values.std(0, dtype=float)
    np.testing.assert_allclose(scale, np.where(expected < 1e-6, 1, expected), rtol=1e-6)


def test_nan_is_found_in_every_block(stored):
    values = stored[2].copy()
    values[[2, 33, 59], 4] = np.nan
    with pytest.raises(ValueError, match=r"edges of 3 training subjects, at rows \[2, 33, 59\]"):
        learn_scale(values)


def test_filled_edges_are_filled_where_they_are_read(stored):
    path, participants, _ = stored
    cohort, _ = labelled_cohort(path, participants, CONTRAST, "correlation")
    lazy, _ = labelled_cohort(path, participants, CONTRAST, "correlation", 0)
    rows = np.arange(0, 60, 2)
    filler = MissingRegions().fit(cohort.values[rows], cohort.missing[rows])
    expected = filler.transform(cohort.values[rows], cohort.missing[rows])
    for own in (cohort, lazy):
        edges = FilledEdges(own.values, own.missing, rows, filler)
        np.testing.assert_array_equal(edges[:], expected)
        np.testing.assert_array_equal(edges[np.array([10, 4, 20])], expected[[10, 4, 20]])


# training


@pytest.mark.parametrize("name", ["gcn", "bnt"])
def test_networks_that_read_their_batches_are_those_that_hold_the_data(stored, sections, name, capsys):
    """Same weights, probabilities and curves; and it says that it reads, and from where."""
    path, participants, _ = stored
    trained = {}
    for memory in (None, 1e-6):
        own = {**sections(name, epochs=4, patience=4, memory=memory), "measure": "correlation"}
        cohort, _ = labelled_cohort(path, participants, CONTRAST, "correlation", memory)
        splits = make_splits(cohort.participants, 2, 1, 0)
        trained[memory] = cross_validate(cohort, splits, "net", own)
        said = capsys.readouterr().out
        text = f"reading batches from {path}: 30 people do not fit in 5e-07 GB"
        assert (text in said) == (memory is not None)
    held, read = trained.values()
    for weight, other in zip(
        held.final.networks_.fitted.weights.values(), read.final.networks_.fitted.weights.values()
    ):
        np.testing.assert_allclose(weight, other, atol=1e-6)
    np.testing.assert_allclose(held.predictions["probability"], read.predictions["probability"], atol=1e-6)
    np.testing.assert_allclose(held.history["train_loss"], read.history["train_loss"], atol=1e-6)


def test_linear_models_take_a_cohort_that_stays_in_its_file(stored, sections):
    path, participants, _ = stored
    own = {
        "model": {"name": "ridge", "penalties": [1.0]},
        "graph": {},
        "training": {"seed": 0},
        "measure": "correlation",
    }
    probabilities = []
    for memory in (None, 0):
        cohort, _ = labelled_cohort(path, participants, CONTRAST, "correlation", memory)
        splits = make_splits(cohort.participants, 2, 1, 0)
        probabilities.append(cross_validate(cohort, splits, "ridge", own).predictions["probability"])
    np.testing.assert_allclose(*probabilities, atol=1e-7)


# localization


def test_a_localization_in_parts_is_the_same(make_cohort, monkeypatch):
    cohort = make_cohort(40, planted=(3, 4), shift=2.0)
    cohort.missing[5, 2] = True
    spec = {"nuisance": ["age", "sex"], "permutations": 60, "alpha": 0.05, "seed": 0, "max_missing": 0.1}
    spec |= {"stability_draws": 7, "stability_top": 5, "thresholds": [2.5, 3.5], "prior": 4, "prior_circuits": []}
    spec |= {"permutation": "smith", "device": "cpu"}
    whole, summary, *_ = localize(cohort, np.full(66, ""), spec)
    monkeypatch.setattr(permutation, "PART", 8 * 40 * 9)  # nine connections, or nine permutations
    parts, again, *_ = localize(cohort, np.full(66, ""), spec)
    pd.testing.assert_frame_equal(whole, parts, rtol=1e-6)
    assert again.pop("nuisance") == summary.pop("nuisance") == ["age", "sex"]
    assert again.pop("permutation") == summary.pop("permutation") == "smith"
    assert again.pop("families") == summary.pop("families")
    assert again == pytest.approx(summary, rel=1e-6)


# linear models of many people


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_a_linear_model_of_many_people_is_the_same_from_the_file(stored, name, monkeypatch):
    """In place and in blocks against everything in memory: predictions, permuted labels, and weights."""
    path, participants, _ = stored
    cohorts = [labelled_cohort(path, participants, CONTRAST, "correlation", memory)[0] for memory in (1e-6, np.inf)]
    made = []
    for many, cohort in zip((10, 5000), cohorts):
        for module in ("models.dual", "learning.represented"):
            monkeypatch.setattr(f"dysconnect.{module}.MANY", many)
        train, test = np.arange(45), np.arange(45, 60)
        model = EdgeModel({"name": name, "penalties": [0.01, 1.0, 30.0]}, "correlation").fit(cohort, train)
        labels = np.column_stack([cohort.labels[train], cohort.labels[train][::-1]])
        made.append((model.predict(cohort, test), model.decide_many(cohort, train, labels, test), model.state()))
        assert isinstance(model.features(cohort, train), np.ndarray) == (many == 5000)
    for ours, theirs in zip(*(one[:2] for one in made)):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert made[0][2].keys() == made[1][2].keys()
    np.testing.assert_allclose(made[0][2]["weights"], made[1][2]["weights"], atol=1e-6)


def test_who_cannot_do_with_blocks_reads_everybody(stored):
    values, missing = np.arange(12.0).reshape(4, 3), np.zeros((4, 3), bool)
    view = FilledEdges(values, missing, np.array([2, 0]))
    np.testing.assert_array_equal(np.asarray(view, np.float32), values[[2, 0]])


@pytest.fixture
def covariances(tmp_path, make_participants):
    """Eighty people of twelve regions in a file of covariances, two of whom lack a region."""
    rng, pairs = np.random.default_rng(1), Pairs(12, diagonal=True)
    people, missing = make_participants(80), np.zeros((80, 12), bool)
    series = rng.normal(size=(80, 60, 12)) + 0.5 * rng.normal(size=(80, 60, 1))
    series[(people["group"] == "DYT").to_numpy(), :, :3] += rng.normal(
        size=(int((people["group"] == "DYT").sum()), 60, 1)
    )
    values = pairs.edges(np.einsum("stn,stm->snm", series, series) / 60).astype(np.float32)
    missing[[3, 20], [1, 5]] = True
    values[pairs.touching(missing)] = 0
    names = np.array([f"region {k}" for k in range(12)])
    connectomes = Connectomes(values, missing, people["participant_id"].to_numpy(str), names, "covariance", "cd")
    write_connectomes(connectomes, tmp_path / "covariance.h5", {})
    write_participants(people.assign(included=True, exclusion_reason=""), tmp_path / "participants.tsv")
    return tmp_path / "covariance.h5", tmp_path / "participants.tsv"


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_tangent_vectors_of_many_people_lie_in_a_file(covariances, name, monkeypatch):
    """Read and solved in blocks against everything in memory: predictions, permuted labels, and weights."""
    spec, made = {"name": name, "penalties": [0.01, 1.0, 30.0]}, []
    for many, memory in ((10, 1e-6), (5000, np.inf)):
        for module in ("models.dual", "learning.represented"):
            monkeypatch.setattr(f"dysconnect.{module}.MANY", many)
        cohort, _ = labelled_cohort(*covariances, CONTRAST, "tangent", memory)
        train, test = np.arange(60), np.arange(60, 80)
        model = EdgeModel(spec, "tangent").fit(cohort, train)
        assert isinstance(model.features(cohort, train), OnDisk if many == 10 else np.ndarray)
        labels = np.column_stack([cohort.labels[train], cohort.labels[train][::-1]])
        made.append((model.predict(cohort, test), model.decide_many(cohort, train, labels, test), model.state()))
    for ours, theirs in zip(*(one[:2] for one in made)):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(made[0][2]["weights"], made[1][2]["weights"], atol=1e-4)


def test_rows_on_disk_are_those_that_were_added():
    values, held = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32), OnDisk((20, 5))
    for part in (slice(0, 7), slice(7, 20)):
        held.add(values[part])
    for wanted in (slice(None), slice(3, 9), slice(4, 4), np.array([7, 2, 2, 19]), np.arange(20) % 3 == 0):
        np.testing.assert_array_equal(held[wanted], values[wanted])
    np.testing.assert_array_equal(np.asarray(held, float), values.astype(float))


# what is told and freed


def test_who_does_not_fit_is_refused_before_anything_is_fitted(stored, sections, monkeypatch, capsys):
    path, participants, _ = stored
    cohort, _ = labelled_cohort(path, participants, CONTRAST, "correlation")
    spec = sections("ridge", memory=1e-6)
    check_room(cohort, spec)
    assert "takes 0.0 GB or more, beside the libraries: more than training.memory=1e-06" in capsys.readouterr().out
    check_room(cohort, sections("ridge", memory=1.0))
    assert not capsys.readouterr().out
    monkeypatch.setattr("dysconnect.learning.room.free_memory", lambda: 1e4)
    with pytest.raises(MemoryError, match=r"model.name=ridge on 60 people takes .* or more, and 0\.0 GB are free"):
        cross_validate(cohort, make_splits(cohort.participants, 2, 1, 0), "ridge", spec)
    check_room(cohort, sections("gcn"))  # reads batches


def test_the_floor_of_what_a_linear_model_takes():
    """Thousands of people: three kernels and what is centred, or one kernel alone."""
    assert linear_bytes(4000, 20100, False, False, True) == pytest.approx(4000 * 20100 * 20 + 24 * 4000**2)
    assert linear_bytes(20000, 20100, True, True, True) == 8 * 20000**2


def test_models_of_folds_that_are_done_keep_no_more_than_fits(covariances, sections, monkeypatch):
    cohort, _ = labelled_cohort(*covariances, CONTRAST, "tangent")
    splits, kept = make_splits(cohort.participants, 2, 2, 0), {}
    for limit in (1e9, 0):
        monkeypatch.setattr("dysconnect.train.KEPT", limit)
        trained = cross_validate(cohort, splits, "ridge", sections("ridge", "tangent"))
        kept[limit] = {place: model.nbytes for place, model in trained.folds.items()}
        assert trained.final.nbytes == 0
        kept[limit, "null"] = permutation_null(cohort, splits, sections("ridge", "tangent"), trained.first_repeat)
    assert all((size > 0) == (repeat == 0) for (repeat, _, _), size in kept[1e9].items())
    assert not any(kept[0].values())
    pd.testing.assert_frame_equal(kept[1e9, "null"], kept[0, "null"])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of a process is read from Linux")
def test_what_is_freed_goes_back_to_the_system():
    """Ten arrays of 20 MB, freed below one that stays: 200 MB less, with a margin of 50."""
    code = """if True:
        import sys, numpy as np
        from dysconnect.data.memory import give_back
        held = lambda: int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1000
        if sys.argv[1] == "yes": give_back()
        warm = np.ones(4_000_000); del warm
        arrays = [np.ones(2_500_000) for _ in range(10)]
        stays, before = np.ones(10_000), held()
        del arrays
        print(before - held())"""
    freed = lambda given: float(
        subprocess.run([sys.executable, "-c", code, given], capture_output=True, text=True, check=True).stdout
    )
    assert freed("yes") > 150
