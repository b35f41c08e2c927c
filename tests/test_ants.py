"""Engine `ants` on a phantom whose geometry, motion and signals are known, and on input that is broken."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine
from nilearn.datasets import load_mni152_brain_mask
from phantom import Head, write_phantom
from scipy.spatial import cKDTree

from dysconnect.anatomy.registration import Anatomy, dice, mutual_information, read_t1w
from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.regions import regional_series, sphere_weights
from dysconnect.data.images.spaces import TEMPLATE_SPACE
from dysconnect.data.series import read_confounds, read_series
from dysconnect.preprocess.ants import Place, brain_masks, run_subject
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.motion import Motion, rigid_matrices
from dysconnect.preprocess.resample import brain_series
from dysconnect.preprocess.run import Run, read_run, slice_shifts, slice_timed

pytest.importorskip("ants", reason="antspyx is not installed (extra: imaging)")
SPEC = {
    "engine": "ants", "transform": "fast", "resolution": 2, "slice_timing": True, "save_bold": True, "save_mni": True,
    "seed": 0,
}  # fmt: skip
GROUPS = ("Cerebellum", "Putamen", "Thalamus", "Precentral")


@pytest.fixture(scope="session")
def atlas() -> pd.DataFrame:
    return load_atlas("seitzman300")


@pytest.fixture(scope="session")
def labels(tmp_path_factory, atlas) -> dict:
    """The atlas's spheres as a label image, on the template's grid of 1 mm."""
    grid = load_mni152_brain_mask(1)
    places = np.argwhere(np.ones(grid.shape, bool))
    away, owner = cKDTree(atlas[["x", "y", "z"]]).query(apply_affine(grid.affine, places), distance_upper_bound=9)
    near = np.isfinite(away)
    near[near] = away[near] <= atlas["radius"].to_numpy()[owner[near]]
    codes = np.zeros(grid.shape, np.int32)
    codes[tuple(places[near].T)] = atlas["node"].to_numpy()[owner[near]]
    path = tmp_path_factory.mktemp("labels") / "dseg.nii.gz"
    nib.save(nib.Nifti1Image(codes, grid.affine), path)
    return {"image": str(path), "space": TEMPLATE_SPACE}


@pytest.fixture(scope="session")
def done(tmp_path_factory, atlas, labels, known_anatomy) -> SimpleNamespace:
    """One phantom subject through the whole engine, slices taken one after the other, regions as labels (read only)."""
    folder = tmp_path_factory.mktemp("ants")
    times = np.arange(46) * 2.0 / 46
    head = write_phantom(folder / "bids", atlas, n_volumes=40, dummies=2, t1w_voxel=2.5, slice_times=times)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dysconnect.preprocess.ants.prepare_anatomy", known_anatomy)
        row = run_subject(scan_of(folder / "bids"), atlas, labels, folder / "out" / "series", SPEC)
    assert row["problem"] == ""
    engine = json.loads(Path(row["engine"]).read_text())
    dropped = engine["volumes_left_out"]
    nodes = pd.read_csv(row["nodes"], sep="\t")
    spheres = regional_series(row["bold"], row["mask"], nodes).series
    by_labels = read_series(folder / "out" / row["series"], "", atlas)
    return SimpleNamespace(
        folder=folder, head=head, row=row, engine=engine, dropped=dropped, nodes=nodes, spheres=spheres,
        labels=by_labels, truth=head.truth[dropped:],
    )  # fmt: skip


def _r(series: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Correlation of each column, a linear trend taken out of both."""
    trend = np.column_stack([np.ones(len(series)), np.arange(len(series))])
    series, truth = (values - trend @ np.linalg.lstsq(trend, values, rcond=None)[0] for values in (series, truth))
    return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(series.T, truth.T, strict=True)])


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
    found = done.nodes[["x", "y", "z"]].to_numpy()
    error = np.linalg.norm(found - done.head.to_bold(points), axis=1)
    print(f"region centres: mean {error.mean():.2f}, 95 % {np.percentile(error, 95):.2f}, most {error.max():.2f} mm")
    assert error.mean() < 1.2 and np.percentile(error, 95) < 2.0
    moved = np.linalg.norm(done.head.to_bold(points) - points, axis=1)
    inverse = points - (found - points)  # where the other direction would put them, to first order
    wrong = np.linalg.norm(inverse - done.head.to_bold(points), axis=1)
    assert moved.mean() > 5 and wrong.mean() > 4 * error.mean()


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("way", ["spheres", "labels"])
def test_signals_are_recovered(done, atlas, group, way):
    own = np.flatnonzero(atlas["name"].str.contains(group))
    r = _r(getattr(done, way)[:, own], done.truth[:, own])
    assert len(own) and np.mean(r) > 0.95, (group, np.mean(r), np.min(r))


@pytest.mark.slow
def test_labels_and_spheres_agree(done):
    r = _r(done.spheres, done.labels)
    assert np.median(r) > 0.99 and np.percentile(r, 5) > 0.9, np.percentile(r, [0, 5, 50])
    codes = nib.load(done.row["image"])
    for _, node in done.nodes.iloc[::60].iterrows():
        own = apply_affine(codes.affine, np.argwhere(np.asarray(codes.dataobj) == node["node"])).mean(0)
        assert np.linalg.norm(own - node[["x", "y", "z"]].astype(float)) < 1.5, node["name"]


@pytest.mark.slow
def test_slice_times_are_corrected_on_the_way(done):
    assert done.engine["slice_timing"] is True
    raw = read_run(scan_of(done.folder / "bids")["bold"], slice_timing=False)
    table = read_confounds(done.row["confounds"])
    parameters = table[["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]].to_numpy()
    matrices = rigid_matrices(parameters, np.array(done.engine["rotation_centre_mm"]))
    mask = np.asarray(nib.load(done.row["mask"]).dataobj) > 0
    series, inside = brain_series(raw, matrices, mask)
    late = (sphere_weights(done.nodes, raw.affine, inside) @ series).T
    plane = apply_affine(np.linalg.inv(raw.affine), done.nodes[["x", "y", "z"]].to_numpy())[:, 2]
    far = np.abs(plane / 46 - 0.5) * 2.0 > 0.4  # s from the middle of the volume, at least
    missed, missed_late = (np.mean(1 - _r(values[:, far], done.truth[:, far])) for values in (done.spheres, late))
    assert far.sum() > 20 and missed < 0.7 * missed_late, (far.sum(), missed, missed_late)


@pytest.mark.slow
def test_bold_in_the_template_on_request(done, atlas):
    path = next((done.folder / "out" / "bold").glob(f"sub-01_space-{TEMPLATE_SPACE}_desc-preproc_bold.nii"))
    told = json.loads(path.with_suffix(".json").read_text())
    assert told["RepetitionTime"] == 2.0 and told["SkullStripped"] and told["SliceTimingCorrected"]
    assert nib.load(path).shape == (*load_mni152_brain_mask(2).shape, len(done.truth))
    found = regional_series(path, None, atlas, min_coverage=0.2).series
    own = np.flatnonzero(atlas["name"].str.contains("|".join(GROUPS)))
    assert np.mean(_r(found[:, own], done.truth[:, own])) > 0.95


@pytest.mark.slow
def test_the_registration_is_drawn(done):
    picture = done.folder / "out" / done.row["registration"]
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.stat().st_size < 400_000


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


@pytest.mark.slow
def test_distortion_is_corrected_on_request(tmp_path, atlas, known_anatomy, monkeypatch):
    monkeypatch.setattr("dysconnect.preprocess.ants.prepare_anatomy", known_anatomy)
    coarse = {"voxel": 5.0, "shape": (38, 44, 38)}
    head = write_phantom(tmp_path / "bids", atlas, n_volumes=12, distortion=8.0, **coarse)[0]
    spec = SPEC | {"susceptibility": "syn", "save_mni": False}
    row = run_subject(scan_of(tmp_path / "bids"), atlas, {}, tmp_path / "out" / "series", spec)
    engine = json.loads(Path(row["engine"]).read_text())
    straight = apply_affine(head.to_reference, head.to_t1w(atlas[["x", "y", "z"]].to_numpy(float)))
    shift = head.shift(straight)
    moved = (pd.read_csv(row["nodes"], sep="\t")[["x", "y", "z"]].to_numpy() - straight) @ head.direction
    far = np.abs(shift) > 3
    assert engine["susceptibility"].endswith("corrected") and engine["measures"]["shift_max_mm"] > 2
    assert far.sum() > 3 and np.mean(np.abs(moved - shift)[far]) < 0.8 * np.abs(shift[far]).mean()


def test_the_axis_of_phase_encoding_must_be_told_before_anything_long_is_done(tmp_path, atlas):
    entry = {"participant_id": "sub-01", "bold": str(_bold(tmp_path, _spoiled(""))), "t1w": "", "mask": ""}
    entry |= {"confounds": "", "problem": ""}
    row = run_engine(entry, atlas, tmp_path / "out" / "series", {}, SPEC | {"susceptibility": "syn"})
    assert re.search("sub-01_task-rest_bold.*PhaseEncodingDirection.*susceptibility=none", row["problem"])


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
    backwards = {"SliceTiming": [0, 1, 0.5], "SliceEncodingDirection": "k-"}  # the first time is that of the last slice
    np.testing.assert_allclose(slice_shifts(backwards, 2.0, 3, "b"), [0, 0.25, -0.25])


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


def test_a_brain_outside_the_field_of_view_is_refused():
    away = np.indices((30, 30, 30)) - 15
    ball = (away**2).sum(0) < 100
    t1w = nib.Nifti1Image(ball.astype(np.float32), np.diag([4.0, 4, 4, 1]))
    anatomy = Anatomy(t1w, ball, ball * 1.0, ball * 0.0, [], [], {"dice_t1w_template": 0.95})
    reference = 1000.0 * ball + 5 * np.random.default_rng(0).standard_normal(ball.shape)
    motion = Motion(np.zeros((20, 6)), np.zeros(3), reference, ball)
    masks, measures = brain_masks(motion, t1w.affine, Place(anatomy, np.eye(4), None, {}), "sub-01_bold.nii.gz")
    assert measures["dice_bold_t1w"] > 0.9 and masks["brain"].sum() > 0.9 * ball.sum()
    beside = np.eye(4)
    beside[0, 3] = 60.0
    with pytest.raises(ValueError, match=r"sub-01_bold.*outside the field of view.*leave the subject out"):
        brain_masks(motion, t1w.affine, Place(anatomy, beside, None, {}), "sub-01_bold.nii.gz")


def test_a_head_that_leaves_the_field_of_view_is_refused():
    data = np.random.default_rng(0).standard_normal((8, 8, 8, 20)).astype(np.float32)
    gone = np.tile(np.eye(4), (20, 1, 1))
    gone[7, 0, 3] = 100.0
    with pytest.raises(ValueError, match="stays in the field of view"):
        brain_series(Run(data, np.eye(4), 2.0, None, 0, ()), gone, np.ones((8, 8, 8), bool))


def test_sampling_where_nothing_moves_gives_the_run():
    data = np.random.default_rng(0).integers(0, 3000, (8, 9, 7, 20)).astype(np.int16)
    brain = np.zeros((8, 9, 7), bool)
    brain[2:6, 1:8, 2:6] = True
    affine = np.array([[-2.0, 0, 0, 9], [0, 0, 3, 1], [0, 2, 0, -4], [0, 0, 0, 1]])
    series, inside = brain_series(Run(data, affine, 2.0, None, 0, ()), np.tile(np.eye(4), (20, 1, 1)), brain)
    assert (inside == brain).all()
    np.testing.assert_allclose(series, data[brain], atol=0.5)  # splines in single precision


def _bold(tmp_path, data, seconds=2.0, sidecar=None):
    path = tmp_path / "sub-01_task-rest_bold.nii.gz"
    image = nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1]))
    if data.ndim == 4:
        image.header.set_zooms((4, 4, 4, seconds))
    nib.save(image, path)
    if sidecar:
        path.with_name("sub-01_task-rest_bold.json").write_text(json.dumps(sidecar))
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


@pytest.mark.parametrize(
    ("seconds", "sidecar", "told"),
    [
        (0.0, None, "no repetition time"),
        (0.0, {"RepetitionTime": 2000}, "RepetitionTime 2000: seconds, not milliseconds"),
        (0.0, {"RepetitionTime": "2.0 s"}, "no number of seconds"),
        (2.0, {"RepetitionTime": 2.0, "NumberOfVolumes": 25}, "has 20 volumes, its sidecar says 25"),
        (2.0, {"RepetitionTime": 2.0, "SliceTiming": [0.0, 1.0]}, "8 slices along z, its sidecar tells 2"),
    ],
)
def test_headers_and_sidecars_that_cannot_be_are_refused(tmp_path, seconds, sidecar, told):
    with pytest.raises(ValueError, match=told):
        read_run(_bold(tmp_path, _spoiled(""), seconds, sidecar))


def test_a_header_that_disagrees_gives_way_to_the_sidecar(tmp_path):
    run = read_run(_bold(tmp_path, _spoiled(""), 1.79, {"RepetitionTime": 2.0}))
    assert run.seconds == 2.0 and "1.79" in run.notes[0]


def test_a_hint_that_left_and_right_are_swapped_is_passed_on(tmp_path):
    path = _bold(tmp_path, _spoiled(""))
    image = nib.load(path)
    image.set_qform(np.diag([-4.0, 4, 4, 1]), code=1)
    image.set_sform(np.diag([4.0, 4, 4, 1]), code=1)
    nib.save(image, path)
    assert "left and right" in read_run(path).notes[0]


def test_whole_numbers_do_not_overflow(tmp_path):
    data = np.random.default_rng(0).integers(-32768, 32767, (8, 8, 8, 20), endpoint=True).astype(np.int16)
    data[0, 0, 0], data[0, 0, 1] = -32768, 32767
    run = read_run(_bold(tmp_path, data))
    assert run.data.dtype == np.int16 and (run.data == data).all()
    moved, _ = brain_series(run, np.tile(np.eye(4), (20, 1, 1)), np.ones((8, 8, 8), bool))
    np.testing.assert_allclose(moved, data.reshape(512, 20), atol=2)


def test_scaled_whole_numbers_are_read_as_what_they_mean(tmp_path):
    data = np.random.default_rng(0).integers(0, 1000, (8, 8, 8, 20)).astype(np.int16)
    path = tmp_path / "sub-01_task-rest_bold.nii"
    image = nib.Nifti1Image(data, np.diag([4.0, 4, 4, 1]))
    image.header.set_zooms((4, 4, 4, 2.0))
    image.header.set_slope_inter(0.5, -20)
    nib.save(image, path)
    np.testing.assert_allclose(read_run(path).data, nib.load(path).get_fdata(), rtol=1e-6)


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-2000])


BAD = {
    "truncated": (_cut_short, "sub-01_task-rest_bold.*cut short or damaged.*fetch it again"),
    "no image": (lambda path: path.write_bytes(b"<html>not found</html>"), "sub-01_task-rest_bold.*cannot be read"),
    "no T1w": (lambda path: None, r"no T1w.*anat/\*_T1w"),
    "bad sidecar": (lambda path: path.with_name("sub-01_task-rest_bold.json").write_text("{"), "is no JSON"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_broken_is_named_and_the_others_go_on(tmp_path, atlas, kind):
    spoil, told = BAD[kind]
    path = _bold(tmp_path, _spoiled(""))
    spoil(path)
    entry = {"participant_id": "sub-01", "bold": str(path), "t1w": "", "mask": "", "confounds": "", "problem": ""}
    row = run_engine(entry, atlas, tmp_path / "out" / "series", {}, SPEC)
    assert re.search(told, row["problem"]) and row["series"] == "" and "\n" not in row["problem"]


@pytest.mark.parametrize(("fill", "told"), [(0, "empty image"), (np.nan, "NaN")])
def test_bad_t1w_is_named(tmp_path, fill, told):
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), fill, np.float32), np.eye(4)), tmp_path / "sub-01_T1w.nii.gz")
    with pytest.raises(ValueError, match=f"sub-01_T1w.*{told}"):
        read_t1w(tmp_path / "sub-01_T1w.nii.gz")


def test_a_missing_t1w_is_named():
    with pytest.raises(ValueError, match=r"no T1w.*anat/\*_T1w"):
        read_t1w("")


@pytest.mark.parametrize("read", [read_t1w, read_run])
def test_an_image_that_is_gone_is_no_reason_of_a_person(tmp_path, read):
    with pytest.raises(FileNotFoundError, match=r"image nowhere\.nii\.gz is missing"):
        read(tmp_path / "nowhere.nii.gz")


def test_an_atlas_of_another_template_is_refused(tmp_path, atlas):
    with pytest.raises(ValueError, match="MNI152NLin6Asym"):
        run_subject({}, atlas, {"image": "dseg.nii.gz", "space": "MNI152NLin6Asym"}, tmp_path, SPEC)
