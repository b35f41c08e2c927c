"""Measures over time: they know when every volume was taken, and keep what they say of regions beside connections."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.connectomes import read_connectomes, write_connectomes
from dysconnect.data.estimate import scan_connectome
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.measures import MEASURES, STORED, Measure
from dysconnect.data.series import series_hash
from dysconnect.data.timing import Timing
from dysconnect.keeping.sealed import NotAsWrittenError

NODES = pd.DataFrame({"name": ["a", "b", "c"]})


def follows(series, timing):
    """Covariance with the next volume, where it follows; and the size of every region."""
    places = np.flatnonzero(timing.kept)
    pairs = np.flatnonzero(np.diff(places) == 1)
    return series[pairs + 1].T @ series[pairs] / len(pairs), series.std(0)[None]


@pytest.fixture
def lagged(monkeypatch):
    row = Measure("next", "", compute=follows, timed=True, regional=("size",), transform="none", directed=True)
    monkeypatch.setitem(MEASURES, "next", row)
    monkeypatch.setitem(STORED, "next", row.stored)
    return row


@pytest.fixture
def index(tmp_path):
    """Three people of 30 volumes of 40, with their sidecars."""
    rows = []
    for person in range(3):
        rng, path = np.random.default_rng(person), tmp_path / f"sub-{person}.tsv"
        kept = np.sort(rng.permutation(40)[:30])
        timing = Timing(2.0, np.isin(np.arange(40), kept))
        pd.DataFrame(rng.standard_normal((30, 3)), columns=NODES["name"]).to_csv(path, sep="\t", index=False)
        path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": 2.0, **timing.written()}))
        rows.append({"participant_id": f"sub-{person}", "series": path, "sha256": series_hash(path.read_bytes())})
    return pd.DataFrame(rows)


def test_the_sidecar_says_when_volumes_were_taken(tmp_path):
    kept = np.array([0, 1, 1, 0, 1], bool)
    timing = Timing(0.8, kept, np.array([0.5, 1, 0.25]), np.array([2.0, -1]))
    (tmp_path / "x.json").write_text(json.dumps({"RepetitionTime": 0.8, **timing.written()}))
    known = Timing.read(tmp_path / "x.tsv")
    np.testing.assert_array_equal(known.kept, kept)
    np.testing.assert_allclose(known.load, timing.load)
    np.testing.assert_allclose(known.among(np.array([1])).activation, [-1])


def test_a_sidecar_that_does_not_say_it_is_refused(tmp_path, lagged):
    (tmp_path / "x.json").write_text(json.dumps({"RepetitionTime": 0.8}))
    with pytest.raises(ValueError, match=r"x\.tsv: its sidecar does not give NumberOfVolumes, CensoredVolumes"):
        Timing.read(tmp_path / "x.tsv")
    with pytest.raises(ValueError, match="measure next needs to know when the volumes were taken"):
        scan_connectome(np.random.default_rng(0).standard_normal((20, 3)), "next", None)


def test_values_of_regions_are_kept_beside_connections(tmp_path, lagged, index):
    made = cohort_connectomes(index, NODES, "next", None)
    write_connectomes(made, tmp_path / "next.h5", {"atlas": "three"})
    read = read_connectomes(tmp_path / "next.h5", ["sub-2", "sub-0"])
    assert read.directed
    for row, person in enumerate((2, 0)):
        series = pd.read_csv(index["series"][person], sep="\t").to_numpy()
        matrix, sizes = follows(series, Timing.read(index["series"][person]))
        np.testing.assert_allclose(read.pairs.matrix(read.values)[row], matrix * (1 - np.eye(3)), rtol=1e-5)
        np.testing.assert_allclose(read.regional["size"][row], sizes[0], rtol=1e-6)


def test_a_region_without_signal_has_none(lagged):
    series = np.random.default_rng(0).standard_normal((20, 3))
    series[:, 1] = 0
    made = scan_connectome(series, "next", None, Timing(2.0, np.ones(20, bool)))
    np.testing.assert_allclose(made.regional, [[series[:, 0].std(), 0, series[:, 2].std()]], rtol=1e-6)


def test_changed_values_of_regions_are_refused(tmp_path, lagged, index):
    import h5py

    write_connectomes(cohort_connectomes(index, NODES, "next", None), tmp_path / "next.h5", {"atlas": "three"})
    with h5py.File(tmp_path / "next.h5", "r+") as file:
        file["regional"][0, 0, 0] += 1
    with pytest.raises(NotAsWrittenError, match="not what was written"):
        read_connectomes(tmp_path / "next.h5")


def test_a_cohort_has_the_regions_of_its_own_people(tmp_path, lagged, index):
    write_connectomes(cohort_connectomes(index, NODES, "next", None), tmp_path / "next.h5", {"atlas": "three"})
    people = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-0"],
            "group": ["P", "C"],
            "site": "A",
            "included": True,
            "age": 40,
            "sex": "F",
        }
    )
    people.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    contrast = {"cases": ["P"], "controls": ["C"]}
    cohort, _ = labelled_cohort(tmp_path / "next.h5", tmp_path / "participants.tsv", contrast, "next")
    order = [["sub-0", "sub-1", "sub-2"].index(name) for name in cohort.participants["participant_id"]]
    whole = read_connectomes(tmp_path / "next.h5").regional["size"]
    np.testing.assert_array_equal(cohort.regional["size"], whole[order])


def test_values_that_the_row_does_not_name_are_refused(monkeypatch, lagged):
    monkeypatch.setitem(MEASURES, "next", dataclasses.replace(lagged, regional=("size", "age")))
    with pytest.raises(ValueError, match="values of regions of shape"):
        scan_connectome(np.random.default_rng(0).standard_normal((20, 3)), "next", None, Timing(2.0, np.ones(20, bool)))
