"""Engine `ants` on a phantom whose geometry, motion and signals are known, and on input that is broken."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from phantom import Head, write_phantom

from dysconnect.atlas import load_atlas
from dysconnect.preprocess.ants import read_run, run_subject, slice_shifts, slice_timed
from dysconnect.preprocess.motion import rigid_matrices
from dysconnect.preprocess.registration import dice, mutual_information, read_t1w
from dysconnect.series import read_confounds, read_series

pytest.importorskip("ants", reason="antspyx is not installed (extra: imaging)")
SPEC = {"transform": "fast", "resolution": 2, "slice_timing": True, "save_bold": True, "threads": 1, "seed": 0}
GROUPS = ("Cerebellum", "Putamen", "Thalamus", "Precentral")


@pytest.fixture(scope="session")
def atlas() -> pd.DataFrame:
    return load_atlas("seitzman300")


@pytest.fixture(scope="session")
def done(tmp_path_factory, atlas) -> SimpleNamespace:
    """One phantom subject through the whole engine (read only)."""
    folder = tmp_path_factory.mktemp("ants")
    head = write_phantom(folder / "bids", atlas, n_volumes=40, dummies=2, t1w_voxel=2.5)[0]
    row = run_subject(scan_of(folder / "bids"), atlas, {}, folder / "out" / "series", SPEC)
    assert row["problem"] == ""
    engine = json.loads(Path(row["engine"]).read_text())
    dropped = engine["volumes_left_out"]
    return SimpleNamespace(folder=folder, head=head, row=row, engine=engine, dropped=dropped)


def scan_of(root) -> dict:
    return {
        "participant_id": "sub-01",
        "bold": str(root / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz"),
        "t1w": str(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz"),
    }


@pytest.mark.slow
def test_motion_is_recovered(done):
    table = read_confounds(done.row["confounds"])
    parameters = table[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]].to_numpy()
    matrices = rigid_matrices(parameters, np.array(done.engine["rotation_centre_mm"]))
    product = matrices @ done.head.moved[done.dropped :]  # constant, had nothing been missed
    offset = product[0] if len(product) < 2 else _mean_rigid(product)
    error = np.linalg.inv(offset) @ product
    degrees = np.degrees(np.arccos(((np.trace(error[:, :3, :3], axis1=1, axis2=2) - 1) / 2).clip(-1, 1)))
    centre = done.head.centre
    shift = np.linalg.norm(np.einsum("tij,j->ti", error[:, :3, :3], centre) + error[:, :3, 3] - centre, axis=1)
    assert done.dropped == 2
    assert np.sqrt((shift**2).mean()) < 0.1 and np.sqrt((degrees**2).mean()) < 0.1, (shift.max(), degrees.max())


def _mean_rigid(matrices: np.ndarray) -> np.ndarray:
    left, _, right = np.linalg.svd(matrices[:, :3, :3].mean(0))
    mean = np.eye(4)
    mean[:3, :3], mean[:3, 3] = left @ right, matrices[:, :3, 3].mean(0)
    return mean


@pytest.mark.slow
def test_displacement_equals_its_closed_form(done):
    table = read_confounds(done.row["confounds"])
    change = np.abs(np.diff(table[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]].to_numpy(), axis=0))
    expected = change[:, :3].sum(1) + 50 * change[:, 3:].sum(1)  # Power et al. 2012
    np.testing.assert_allclose(table["framewise_displacement"][1:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_regions_lie_where_they_are(done, atlas):
    points = atlas[["x", "y", "z"]].to_numpy(float)
    found = pd.read_csv(done.row["nodes"], sep="\t")[["x", "y", "z"]].to_numpy()
    error = np.linalg.norm(found - done.head.to_bold(points), axis=1)
    print(f"region centres: mean {error.mean():.2f}, 95 % {np.percentile(error, 95):.2f}, most {error.max():.2f} mm")
    assert error.mean() < 1.5 and np.percentile(error, 90) < 2.5
    moved = np.linalg.norm(done.head.to_bold(points) - points, axis=1)
    inverse = points - (found - points)  # where the other direction would put them, to first order
    wrong = np.linalg.norm(inverse - done.head.to_bold(points), axis=1)
    assert moved.mean() > 5 and wrong.mean() > 4 * error.mean()


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_signals_are_recovered(done, atlas, group):
    path = done.folder / "out" / done.row["series"]
    series, truth = read_series(path, "", atlas), done.head.truth[done.dropped :]
    trend = np.column_stack([np.ones(len(series)), np.arange(len(series))])
    series, truth = (values - trend @ np.linalg.lstsq(trend, values, rcond=None)[0] for values in (series, truth))
    own = np.flatnonzero(atlas["name"].str.contains(group))
    r = [np.corrcoef(series[:, k], truth[:, k])[0, 1] for k in own]
    assert len(own) and np.mean(r) > 0.95, (group, np.mean(r), np.min(r))


@pytest.mark.slow
def test_masks_overlap_and_files_are_there(done):
    measures = done.engine["measures"]
    assert measures["dice_t1w_template"] > 0.93 and measures["dice_bold_t1w"] > 0.9
    assert measures["mi_bold_t1w_after"] > 1.5 * measures["mi_bold_t1w_before"]
    assert measures["mi_t1w_template_after"] > 1.5 * measures["mi_t1w_template_before"]
    table = read_confounds(done.row["confounds"])
    assert len(table) == 38 and {"csf", "white_matter", "std_dvars", "a_comp_cor_00"} <= set(table)
    assert "header says a repetition time of 1.7 s" in done.row["note"] and "2 volumes before" in done.row["note"]
    assert done.row["repetition_time"] == 2.0 and done.row["silent_regions"] == 0


def test_slices_are_brought_to_one_time():
    seconds, n_volumes, shifts = 2.0, 60, np.linspace(-0.45, 0.45, 6)
    taken = (np.arange(n_volumes) + shifts[:, None]) * seconds
    data = np.tile(np.sin(np.pi / 10 * taken), (4, 4, 1, 1))
    found = slice_timed(data, shifts, 8, 52)[0, 0]
    wanted = np.sin(np.pi / 10 * np.arange(8, 52) * seconds)
    assert np.abs(found - wanted).max() < 0.02 < 0.2 < np.abs(data[0, 0, :, 8:52] - wanted).max()
    np.testing.assert_array_equal(slice_timed(data, None, 3, 5), data[..., 3:5].astype(np.float32))


@pytest.mark.parametrize(
    ("sidecar", "told"),
    [({"SliceTiming": [0, 1]}, "3 slices along z, its sidecar tells 2"), ({"SliceTiming": [0, 900, 1800]}, "seconds")],
)
def test_slice_times_that_do_not_fit_are_refused(sidecar, told):
    with pytest.raises(ValueError, match=told):
        slice_shifts(sidecar, 2.0, 3, "bold")


def test_slice_times_are_relative_to_the_middle():
    np.testing.assert_allclose(slice_shifts({"SliceTiming": [0, 1, 0.5]}, 2.0, 3, "b"), [-0.25, 0.25, 0])
    assert slice_shifts({}, 2.0, 3, "b") is None


def test_the_phantom_knows_its_inverse(atlas):
    head = Head(atlas, 5, 2.0, seed=3)
    points = atlas[["x", "y", "z"]].to_numpy(float)
    assert np.abs(head.from_t1w(head.to_t1w(points)) - points).max() < 1e-3
    turned = apply_affine(head.moved[3], head.centre[None])
    assert head.moved.shape == (5, 4, 4) and np.allclose(head.moved[0], np.eye(4)) and turned.shape == (1, 3)


def test_overlap_and_information_in_closed_form():
    one, other = np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 1], bool)
    assert dice(one, other) == pytest.approx(2 / 5)
    values = np.repeat([0.0, 1.0], 500)
    assert mutual_information(values, values) == pytest.approx(np.log(2))
    assert mutual_information(values, np.tile([0.0, 1.0], 500)) == pytest.approx(0, abs=1e-9)


def _bold(tmp_path, data, seconds=2.0):
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    image = nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1]))
    if data.ndim == 4:
        image.header.set_zooms((4, 4, 4, seconds))
    nib.save(image, path)
    return path


def _spoiled(kind: str) -> np.ndarray:
    data = (100 + np.random.default_rng(0).standard_normal((8, 8, 8, 20))).astype(np.float32)
    if kind == "NaN":
        data[2, 2, 2, 4] = np.nan
    elif kind == "zero":
        data[..., 7] = 0
    return {"3D": data[..., 0], "short": data[..., :5]}.get(kind, data)


@pytest.mark.parametrize(
    ("kind", "told"),
    [("3D", "3 dimensions"), ("NaN", "volume 5 holds NaN"), ("zero", "volume 8 is 0"), ("short", "steady volumes")],
)
def test_bad_bold_is_named(tmp_path, kind, told):
    with pytest.raises(ValueError, match=rf"sub-01_task-rest_bold.*{told}"):
        read_run(_bold(tmp_path, _spoiled(kind)))


def test_a_run_without_repetition_time_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no repetition time"):
        read_run(_bold(tmp_path, _spoiled(""), seconds=0.0))


@pytest.mark.parametrize(("fill", "told"), [(0, "empty image"), (np.nan, "NaN")])
def test_bad_t1w_is_named(tmp_path, fill, told):
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), fill, np.float32), np.eye(4)), tmp_path / "sub-01_T1w.nii.gz")
    with pytest.raises(ValueError, match=f"sub-01_T1w.*{told}"):
        read_t1w(tmp_path / "sub-01_T1w.nii.gz")


@pytest.mark.parametrize("path", ["", "nowhere_T1w.nii.gz"])
def test_a_missing_t1w_is_named(path):
    with pytest.raises(ValueError, match=r"no T1w.*anat/\*_T1w"):
        read_t1w(path)


def test_an_atlas_of_another_template_is_refused(tmp_path, atlas):
    with pytest.raises(ValueError, match="MNI152NLin6Asym"):
        run_subject({}, atlas, {"image": "dseg.nii.gz", "space": "MNI152NLin6Asym"}, tmp_path, SPEC)
