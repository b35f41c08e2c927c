"""A T1w that was registered once is not registered again: not for another scan, nor for another data set."""

import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("ants", reason="antspyx is not installed: pip install -e '.[imaging]' -c requirements.lock")

from dysconnect.anatomy.kept import keep_anatomy, place_of, read_anatomy
from dysconnect.anatomy.registration import Anatomy
from dysconnect.commands.withdraw import find_removal
from dysconnect.preprocess import ants as engine

SPEC = {"transform": "fast", "resolution": 2, "seed": 0, "slice_timing": True, "threads": 1}


@pytest.fixture
def head(tmp_path):
    """A file in place of a T1w, and what a registration of it would have left in a folder of work."""
    t1w = tmp_path / "sub-1_T1w.nii.gz"
    t1w.write_bytes(b"a head")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = [scratch / name for name in ("affine_0GenericAffine.mat", "syn_1Warp.nii.gz", "syn_1InverseWarp.nii.gz")]
    for file in files:
        file.write_bytes(file.name.encode())
    rng = np.random.default_rng(0)
    image = nib.Nifti1Image(np.asfortranarray(rng.random((5, 6, 7), np.float32)), np.diag([2, 2, 2, 1.0]) + 1e-9)
    tissue = rng.random((5, 6, 7), np.float32)
    measures = {"dice_t1w_template": float(np.float64(1) / 3)}
    forward, inverse = [str(files[1]), str(files[0])], [str(files[0]), str(files[2])]
    return t1w, Anatomy(image, tissue > 0.5, tissue, 1 - tissue, forward, inverse, measures)


def place(t1w, results, dataset="rest", name="sub-1", **changed):
    return place_of(t1w, results / dataset / "preprocess/anatomy", name, SPEC | changed)


def same(one, other):
    """Whether two anatomies are the same to the last bit, transforms by their content and order."""
    for name in ("brain", "white_matter", "csf"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype and np.array_equal(a, b) and a.flags.f_contiguous == b.flags.f_contiguous
    images = [np.asarray(each.t1w.dataobj) for each in (one, other)]
    assert images[0].dtype == images[1].dtype and np.array_equal(*images)
    assert images[0].flags.f_contiguous == images[1].flags.f_contiguous
    assert np.array_equal(one.t1w.affine, other.t1w.affine) and one.measures == other.measures
    for way in ("forward", "inverse"):
        a, b = ([Path(file) for file in getattr(each, way)] for each in (one, other))
        assert [file.name for file in a] == [file.name for file in b]
        assert [file.read_bytes() for file in a] == [file.read_bytes() for file in b]
    return True


def test_what_is_read_is_what_was_kept_to_the_last_bit(head, tmp_path):
    t1w, anatomy = head
    where = place(t1w, tmp_path / "results")
    assert read_anatomy(where) is None
    assert same(keep_anatomy(anatomy, where), anatomy)
    assert same(read_anatomy(where), anatomy)
    assert all(Path(file).parent == where for file in read_anatomy(where).forward)  # work folders go


def test_another_data_set_of_the_project_finds_it_and_has_its_own(head, tmp_path, capsys):
    t1w, anatomy = head
    keep_anatomy(anatomy, place(t1w, tmp_path / "results"))
    other = place(t1w, tmp_path / "results", "finger")
    assert same(read_anatomy(other), anatomy)
    assert "registered for rest already" in capsys.readouterr().out
    removal = find_removal(tmp_path / "results", "rest", "sub-1")  # the person withdraws from one of them
    assert len(removal.files) == 5
    for path in removal.files:
        path.unlink()
    assert same(read_anatomy(other), anatomy)


def test_without_links_it_is_copied(head, tmp_path, monkeypatch):
    t1w, anatomy = head
    keep_anatomy(anatomy, place(t1w, tmp_path / "results"))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    assert same(read_anatomy(place(t1w, tmp_path / "results", "finger")), anatomy)


@pytest.mark.parametrize("changed", [{"transform": "affine"}, {"resolution": 3}, {"seed": 1}])
def test_other_settings_are_another_anatomy(head, tmp_path, changed):
    t1w, anatomy = head
    keep_anatomy(anatomy, place(t1w, tmp_path / "results"))
    assert read_anatomy(place(t1w, tmp_path / "results", **changed)) is None
    assert read_anatomy(place(t1w, tmp_path / "results", slice_timing=False)) is not None  # says nothing of the T1w


def test_another_content_or_person_is_another_anatomy_and_takes_the_place_of_the_earlier(head, tmp_path):
    t1w, anatomy = head
    first, results = place(t1w, tmp_path / "results"), tmp_path / "results"
    keep_anatomy(anatomy, first)
    keep_anatomy(anatomy, place(t1w, results, name="sub-10"))
    t1w.write_bytes(b"the head as defaced anew")
    second = place(t1w, results)
    assert read_anatomy(second) is None and read_anatomy(place(t1w, results, name="sub-2")) is None
    keep_anatomy(replace(anatomy, measures={"dice_t1w_template": 0.5}), second)
    assert not first.exists() and read_anatomy(second).measures == {"dice_t1w_template": 0.5}
    assert len(list(second.parent.iterdir())) == 2  # sub-10 has kept theirs


def test_what_was_interrupted_is_not_there(head, tmp_path):
    t1w, anatomy = head
    where = place(t1w, tmp_path / "results")
    with pytest.raises(FileNotFoundError):
        keep_anatomy(replace(anatomy, forward=[str(tmp_path / "gone.mat")]), where)
    assert read_anatomy(where) is None and not list(where.parent.iterdir())


def test_the_engine_registers_once(head, tmp_path, monkeypatch):
    t1w, anatomy = head
    calls = []
    monkeypatch.setattr(engine, "prepare_anatomy", lambda *given: calls.append(given) or anatomy)
    for dataset in ("rest", "rest", "finger"):
        stem = tmp_path / "results" / dataset / "preprocess/bold/sub-1"
        found = engine._anatomy({"participant_id": "sub-1", "t1w": str(t1w)}, stem, tmp_path, SPEC)
        assert same(found, anatomy)
    assert len(calls) == 1


def test_without_a_t1w_the_engine_says_what_it_said(tmp_path):
    stem = tmp_path / "results/rest/preprocess/bold/sub-1"
    with pytest.raises(ValueError, match="no T1w"):
        engine._anatomy({"participant_id": "sub-1", "t1w": ""}, stem, tmp_path, SPEC)
