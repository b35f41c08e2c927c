"""Averages, coverage and quality of one subject: closed forms, types of file, bad input, memory, and the picture."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dysconnect.data.images.regions import regional_series
from dysconnect.paper.carpet import carpet_figure, motion_trace, region_carpet
from dysconnect.preprocess.quality import Brain, subject_measures, write_picture
from dysconnect.preprocess.subject import preprocess_subject

SIZE, N_VOLUMES, TR = 16, 40, 2.0
AFFINE = nib.affines.from_matvec(np.diag([3.0, 3, 3]), [-22.5, -22.5, -22.5])
TIME = np.arange(N_VOLUMES)


@pytest.fixture
def nodes() -> pd.DataFrame:
    xyz = [(-12, 0, 0), (12, 0, 0), (0, 0, 12)]
    table = pd.DataFrame(xyz, columns=["x", "y", "z"], dtype=float)
    systems = ["cortex", "thalamus", "cerebellum"]
    return table.assign(node=[1, 2, 3], name=["Left", "Right", "Top"], system=systems, radius=6.0)


@pytest.fixture
def labels(nodes) -> np.ndarray:
    """Boxes around the centres, codes as in the table."""
    codes = np.zeros((SIZE,) * 3, np.int16)
    codes[2:6, 6:10, 6:10], codes[10:14, 6:10, 6:10], codes[6:10, 6:10, 10:14] = 1, 2, 3
    return codes


def noise(seed: int = 0) -> np.ndarray:
    return 1000 + 10 * np.random.default_rng(seed).standard_normal((SIZE, SIZE, SIZE, N_VOLUMES))


def write(folder, data, mask=None, affine=AFFINE, seconds=TR, name="sub-01_task-rest_desc-preproc_bold.nii.gz", **side):
    """Write a run, its sidecar, mask and confounds; return its row of the index of scans."""
    image = data if isinstance(data, nib.Nifti1Image) else nib.Nifti1Image(np.asarray(data, np.float32), affine)
    if image.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], seconds))
    folder.mkdir(exist_ok=True, parents=True)
    nib.save(image, folder / name)
    stem = name.split(".")[0]
    (folder / f"{stem}.json").write_text(json.dumps({"RepetitionTime": TR, **side}))
    mask = np.ones(image.shape[:3]) if mask is None else mask
    inside = mask if isinstance(mask, nib.Nifti1Image) else nib.Nifti1Image(mask.astype(np.uint8), affine)
    nib.save(inside, folder / "mask.nii.gz")
    moved = np.r_[np.nan, np.full(N_VOLUMES - 1, 0.1)]
    moved[[7, 20]] = 0.8
    pd.DataFrame({"framewise_displacement": moved}).to_csv(
        folder / "confounds.tsv", sep="\t", index=False, na_rep="n/a"
    )
    return {
        "participant_id": "sub-01", "bold": str(folder / name), "mask": str(folder / "mask.nii.gz"),
        "confounds": str(folder / "confounds.tsv"), "problem": "",
    }  # fmt: skip


def run(entry, nodes, tmp_path, atlas=None, spec=None):
    return preprocess_subject(entry, nodes, tmp_path / "out/series", atlas or {}, spec)


def test_a_constant_in_each_region_and_a_ramp_over_time(tmp_path, nodes, labels):
    level = np.array([0.0, 3.0, 5.0, 7.0])[labels]
    entry = write(tmp_path, level[..., None] * (1 + TIME))
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "dseg.nii.gz")
    got = regional_series(entry["bold"], entry["mask"], nodes, tmp_path / "dseg.nii.gz")
    np.testing.assert_allclose(got.series, np.outer(1 + TIME, [3, 5, 7]), rtol=1e-12)
    np.testing.assert_array_equal(got.voxels, 64)
    np.testing.assert_allclose(got.tsnr, (1 + TIME).mean() / (1 + TIME).std(), rtol=1e-9)


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("scaling", [(0.0, 0.0), (np.nan, 5.0), (0.25, -3.0), (1.0, 0.0)])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_every_type_order_and_scaling_is_read_as_nibabel_reads_it(tmp_path, nodes, kind, order, scaling, ending):
    kind = np.dtype(order + kind)
    high = np.iinfo(kind).max if kind.kind in "iu" else 30000  # at the end of the range: sums overflow in the type
    raw = np.random.default_rng(0).integers(high - 100, high, (SIZE, SIZE, SIZE, 6), endpoint=True).astype(kind)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_shape(raw.shape)
    header.set_data_dtype(kind)
    header.set_sform(AFFINE, 1)
    header["pixdim"][4], header["scl_slope"], header["scl_inter"], header["vox_offset"] = 2, *scaling, 352
    header["magic"] = b"n+1"
    path = tmp_path / f"run{ending}"
    with (gzip.open if ending.endswith("gz") else open)(path, "wb") as file:
        file.write(header.binaryblock + bytes(4) + raw.tobytes(order="F"))
    data = nib.load(path).get_fdata()
    centres = nib.affines.apply_affine(AFFINE, np.argwhere(np.ones(data.shape[:3])))
    ball = [np.linalg.norm(centres - row, axis=1) <= 6 for row in nodes[["x", "y", "z"]].to_numpy()]
    expected = np.array([data.reshape(-1, 6)[own].mean(axis=0) for own in ball]).T
    np.testing.assert_allclose(regional_series(path, None, nodes).series, expected, rtol=1e-12)


@pytest.mark.parametrize("radius", [4.0, 6.0, 9.0])
def test_half_a_sphere_is_half_covered(tmp_path, nodes, radius):
    nodes = nodes.assign(radius=radius)
    mask = np.zeros((SIZE,) * 3, bool)
    mask[8:] = True  # x > 0: a sphere around x = 0 is cut in the middle, between two voxels
    entry = write(tmp_path, noise(), mask)
    got = regional_series(entry["bold"], entry["mask"], nodes)
    np.testing.assert_allclose(got.coverage[[1, 2]], [1, 0.5])
    assert got.coverage[0] < 0.5 and (got.series[:, 0] == 0).all() and got.series[:, 2].std() > 0


def test_a_sphere_at_the_border_of_the_image_is_measured_against_its_whole_volume(tmp_path, nodes):
    nodes = nodes.assign(z=[0.0, 0.0, -24.0])  # half a voxel below the lowest layer's border
    entry = write(tmp_path, noise())
    np.testing.assert_allclose(regional_series(entry["bold"], entry["mask"], nodes, None, 0.4).coverage, [1, 1, 0.5])


def test_a_label_outside_the_image_counts_as_not_covered(tmp_path, nodes, labels):
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "dseg.nii.gz")
    entry = write(tmp_path, noise()[:, :, :12])  # without the upper half of the third box
    got = regional_series(entry["bold"], entry["mask"], nodes, tmp_path / "dseg.nii.gz")
    np.testing.assert_allclose(got.coverage, [1, 1, 0.5])
    told = regional_series(
        entry["bold"], entry["mask"], nodes.assign(volume=64 * 27.0 * 2), tmp_path / "dseg.nii.gz", 0.2
    )
    np.testing.assert_allclose(told.coverage, [0.5, 0.5, 0.25])


@pytest.mark.parametrize("dead", [0.0, 777.0, np.nan])
def test_voxels_without_signal_are_left_out_whatever_they_hold(tmp_path, nodes, dead):
    data = noise()
    expected = noise()
    data[2:4] = dead
    entry = write(tmp_path, data)
    got = regional_series(entry["bold"], entry["mask"], nodes)
    centres = nib.affines.apply_affine(AFFINE, np.argwhere(np.ones((SIZE,) * 3)))
    ball = np.linalg.norm(centres - [-12, 0, 0], axis=1) <= 6
    here = ball & ~np.isin(np.argwhere(np.ones((SIZE,) * 3))[:, 0], [2, 3])
    np.testing.assert_allclose(got.coverage[0], here.sum() / ball.sum())
    np.testing.assert_allclose(got.series[:, 0], expected.reshape(-1, N_VOLUMES)[here].mean(0), rtol=1e-6)


def test_nan_in_a_few_volumes_leaves_the_voxel_out_and_says_so(tmp_path, nodes):
    data = noise()
    data[4, 8, 8, 10:13] = np.nan
    row = run(write(tmp_path, data), nodes, tmp_path)
    assert row["problem"] == "" and "1 voxels hold NaN or infinity in some volumes and were left out" in row["note"]
    series = pd.read_csv(tmp_path / "out" / row["series"], sep="\t")
    assert np.isfinite(series.to_numpy()).all() and series["Left"].std() > 0


def test_a_region_below_the_least_coverage_is_silent_and_written_down(tmp_path, nodes):
    mask = np.zeros((SIZE,) * 3, bool)
    mask[5:] = True
    row = run(write(tmp_path, noise(), mask), nodes, tmp_path, spec={"min_coverage": 0.9})
    table = pd.read_csv(tmp_path / "out" / row["coverage"], sep="\t")
    series = pd.read_csv(tmp_path / "out" / row["series"], sep="\t")
    assert list(table.columns) == ["name", "coverage", "voxels", "tsnr"]
    assert list(table["name"][table["coverage"] < 0.9]) == ["Left"] and row["silent_regions"] == 1
    assert (series["Left"] == 0).all() and (series["Right"] > 0).all()
    assert "1 of 3 regions have less than 90% of their volume" in row["note"] and "(Left)" in row["note"]
    kept = run(write(tmp_path, noise(), mask), nodes, tmp_path, spec={"min_coverage": 0.1})
    assert kept["silent_regions"] == 0


def cut(tmp_path):
    entry = write(tmp_path, noise())
    path = tmp_path / entry["bold"].split("/")[-1]
    path.write_bytes(path.read_bytes()[:-20000])
    return entry


def damaged(tmp_path):
    entry = write(tmp_path, noise())
    path = tmp_path / entry["bold"].split("/")[-1]
    content = bytearray(path.read_bytes())
    content[-6] ^= 255  # in the checksum
    path.write_bytes(bytes(content))
    return entry


def zero_volumes(tmp_path):
    data = noise()
    data[..., [11, 30]] = 0
    return write(tmp_path, data)


def nan_volumes(tmp_path):
    data = noise()
    data[..., 5:8] = np.nan
    return write(tmp_path, data)


def short_confounds(tmp_path):
    entry = write(tmp_path, noise())
    (tmp_path / "confounds.tsv").write_text("framewise_displacement\n" + "0.1\n" * 38)
    return entry


BAD = {
    "truncated gzip": (cut, r"cut short or damaged \(after volume \d+ of 40: .*fetch it again"),
    "wrong checksum": (damaged, "cut short or damaged"),
    "truncated, not packed": (
        lambda folder: _shortened(write(folder, noise(), name="sub-01_bold.nii")), r"after volume \d+ of 40"
    ),
    "all zero": (lambda folder: write(folder, np.zeros((SIZE, SIZE, SIZE, N_VOLUMES))), "40 of 40 volumes are zero"),
    "zero volumes": (zero_volumes, r"2 of 40 volumes are zero \(first: volume 12\)"),
    "NaN volumes": (nan_volumes, r"3 of 40 volumes hold no numbers .*\(first: volume 6\)"),
    "constant": (lambda folder: write(folder, np.full((SIZE,) * 3 + (N_VOLUMES,), 9.0)), "none of the 3 regions"),
    "3D": (lambda folder: write(folder, noise()[..., 0]), r"has 3 dimensions, expected 4"),
    "fewer volumes than confounds": (lambda folder: write(folder, noise()[..., :35]), "35 volumes but 40 rows"),
    "more volumes than confounds": (short_confounds, r"40 volumes but 38 rows .*\(confounds.tsv"),
    "fewer volumes than the sidecar": (
        lambda folder: write(folder, noise(), NumberOfVolumes=400), "has 40 volumes, its sidecar says 400"
    ),
    "mask of another shape": (lambda folder: write(folder, noise(), np.ones((8, 8, 8))), r"shape \(8, 8, 8\)"),
    "mask with another affine": (
        lambda folder: write(folder, noise(), nib.Nifti1Image(np.ones((SIZE,) * 3, np.uint8), AFFINE + np.eye(4, k=3))),
        "different affines: 1.0 mm apart",
    ),
    "empty mask": (lambda folder: write(folder, noise(), np.zeros((SIZE,) * 3)), "is empty"),
    "brain outside": (
        lambda folder: write(folder, noise(), affine=nib.affines.from_matvec(np.eye(3) * 3, [300, 0, 0])),
        "none of the 3 regions lies inside the field of view",
    ),
    "wrong time": (lambda folder: write(folder, noise(), RepetitionTime=2000), "2000: seconds, not milliseconds"),
    "no time": (lambda folder: write(folder, noise(), RepetitionTime=None, seconds=0), "no repetition time"),
    "sidecar that is none": (lambda folder: _broken_sidecar(write(folder, noise())), "is no JSON"),
    "no NIfTI": (lambda folder: _overwritten(write(folder, noise())), "cannot be read as an image"),
    "colours": (lambda folder: write(folder, _coloured()), "expected real numbers"),
}  # fmt: skip


def _shortened(entry):
    with open(entry["bold"], "r+b") as file:
        file.truncate(100_000)
    return entry


def _broken_sidecar(entry):
    with open(entry["bold"].replace(".nii.gz", ".json"), "w") as file:
        file.write("{RepetitionTime")
    return entry


def _overwritten(entry):
    with open(entry["bold"], "wb") as file:
        file.write(b"<html>not found</html>")
    return entry


def _coloured():
    return nib.Nifti1Image(np.zeros((4, 4, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")]), AFFINE)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_survived(tmp_path, nodes, name):
    make, told = BAD[name]
    row = run(make(tmp_path), nodes, tmp_path)
    assert pd.Series([row["problem"]]).str.contains(told).all(), row["problem"]
    assert row["series"] == "" and "\n" not in row["problem"] and "\t" not in row["problem"]
    assert not list((tmp_path / "out").rglob("*.tsv"))


def test_the_sidecars_time_wins_over_the_headers_and_this_is_said(tmp_path, nodes):
    row = run(write(tmp_path, noise(), seconds=1.79), nodes, tmp_path)
    assert row["repetition_time"] == 2.0 and row["problem"] == ""
    assert "header says a repetition time of 1.79 s, the sidecar 2 s" in row["note"]


def test_milliseconds_in_the_header_are_no_disagreement(tmp_path, nodes):
    image = nib.Nifti1Image(noise().astype(np.float32), AFFINE)
    image.header.set_xyzt_units("mm", "msec")
    assert run(write(tmp_path, image, seconds=2000), nodes, tmp_path)["note"] == ""


def test_a_hint_that_left_and_right_are_swapped_is_passed_on(tmp_path, nodes):
    image = nib.Nifti1Image(noise().astype(np.float32), AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE @ np.diag([-1.0, 1, 1, 1]), 1)
    row = run(write(tmp_path, image, mask=nib.Nifti1Image(np.ones((SIZE,) * 3, np.uint8), AFFINE)), nodes, tmp_path)
    assert row["problem"] == "" and "left and right may be swapped" in row["note"]


def test_measures_in_closed_form(tmp_path, nodes):
    """Half of the volumes one above the mean, half below: deviation one, change two."""
    wave = np.where(TIME % 2, 1.0, -1.0)
    entry = write(tmp_path, np.full((SIZE,) * 3 + (N_VOLUMES,), 200.0) + wave)
    row = run(entry, nodes, tmp_path)
    got = json.loads((tmp_path / "out" / row["quality"]).read_text())
    assert (got["volumes"], got["seconds"], got["brain_voxels"]) == (N_VOLUMES, 80.0, SIZE**3)
    assert (got["tsnr"], got["tsnr_regions"], got["dvars"]) == (200.0, 200.0, 1.0)
    assert (got["max_fd"], got["spikes"], got["silent_regions"]) == (0.8, 2, 0)
    assert got["mean_fd"] == pytest.approx((37 * 0.1 + 2 * 0.8) / 39, abs=1e-5)
    assert row["tsnr"] == 200.0


def test_without_confounds_motion_is_unknown_and_the_rest_is_measured(tmp_path, nodes):
    entry = write(tmp_path, noise())
    row = run({**entry, "confounds": ""}, nodes, tmp_path)
    got = json.loads((tmp_path / "out" / row["quality"]).read_text())
    assert row["problem"] == "" and got["mean_fd"] is None and got["spikes"] is None and got["tsnr"] > 50


def test_dvars_finds_the_volume_that_jumps(tmp_path, nodes):
    data = noise()
    data[..., 20:] += 30
    entry = write(tmp_path, data)
    brain = Brain(nodes)
    averages = regional_series(entry["bold"], entry["mask"], nodes, watcher=brain)
    assert np.nanargmax(brain.dvars()) == 20 and np.isnan(brain.dvars()[0])
    assert subject_measures(averages, brain, None, 0.5)["dvars"] > 1
    np.testing.assert_allclose(brain.dvars()[1:20], 100 * 10 * np.sqrt(2) / 1015, rtol=0.05)


def test_the_carpet_holds_every_system_and_shows_what_is_planted(tmp_path, nodes, labels):
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "dseg.nii.gz")
    wave = np.sin(TIME / 3)
    entry = write(tmp_path, noise() + 100 * (labels == 2)[..., None] * wave)
    brain = Brain(nodes)
    regional_series(entry["bold"], entry["mask"], nodes, tmp_path / "dseg.nii.gz", watcher=brain)
    carpet = brain.carpet()
    assert carpet.values.shape[0] <= 400 and carpet.values.shape[1] == N_VOLUMES
    assert set(carpet.groups) == {"cortex", "thalamus", "cerebellum", "outside the atlas"}
    follows = [abs(np.corrcoef(row, wave)[0, 1]) > 0.9 for row in carpet.values]
    assert follows == [group == "thalamus" for group in carpet.groups]


def test_the_carpet_before_and_after_denoising_has_a_panel_each(nodes):
    before = 100 + np.random.default_rng(0).standard_normal((900, 3))
    before[:, 1] = 0  # silent: not shown
    carpets = {"Before denoising": region_carpet(before, nodes), "After": region_carpet(before / 2, nodes)}
    assert carpets["After"].groups == ("cortex", "cerebellum")
    figure = carpet_figure(carpets, 0.8, [motion_trace(np.full(900, 0.1)), motion_trace(None)])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["", *carpets]
    assert all(axes.images[0].get_array().shape == (2, 450) for axes in figure.axes[1:])  # pairs of volumes


def test_the_picture_of_the_noisiest_brain_stays_small(tmp_path, nodes):
    brain = Brain(nodes)
    brain.start(sparse.csr_array((np.ones(3), ([0, 1, 2], [0, 500, 900])), shape=(3, 1000)))
    rng = np.random.default_rng(0)
    for _ in range(1200):
        brain.add(100 + rng.standard_normal(1000))
    write_picture(brain, rng.random(1200), 0.8, tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size < 150_000


# VmHWM is of this process alone; ru_maxrss would start from its parent's
MEASURE = """
import re, sys
from pathlib import Path
from dysconnect.data.atlas import load_atlas
from dysconnect.preprocess.quality import Brain
from dysconnect.data.images.regions import regional_series
nodes = load_atlas("seitzman300")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
averages = regional_series(sys.argv[1], None, nodes, watcher=Brain(nodes))
print(before, peak(), *averages.series.shape)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from Linux's /proc")
def test_memory_does_not_grow_with_the_run(tmp_path):
    """104 x 104 x 72 voxels, float32, 80 volumes: 249 MB; what is held is a few blocks and a few volumes."""
    shape = (104, 104, 72, 80)
    header = nib.Nifti1Image(np.empty((1, 1, 1, 1), np.float32), None).header
    header.set_data_shape(shape)
    header.set_sform(nib.affines.from_matvec(np.diag([2.0, 2, 2]), [-104, -122, -64]), 1)
    header["pixdim"][4] = 0.9
    header.set_slope_inter(1, 0)
    volume = 100 + np.random.default_rng(0).standard_normal(shape[:3], dtype=np.float32)
    with open(tmp_path / "run.nii", "wb") as file:
        file.write(header.binaryblock + bytes(4))
        for t in range(shape[3]):
            file.write((volume + t % 7).tobytes(order="F"))
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "run.nii")], capture_output=True, text=True, check=True
    )
    before, peak, n_volumes, n_regions = map(float, ran.stdout.split())
    assert (n_volumes, n_regions) == (80, 300)
    assert peak < 1000 and peak - before < 500
