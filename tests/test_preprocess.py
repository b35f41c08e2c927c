"""From images to regional averages: spheres, repetition times, and subjects that fail alone."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiSpheresMasker

from dysconnect.acquire.derivatives import acquire_derivatives, bold_files
from dysconnect.preprocess import preprocess_cohort, regional_series, sphere_weights
from dysconnect.series import read_index, read_series
from dysconnect.timeseries import prepare_cohort

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = -40
SPEC = {"space": "MNI152NLin2009cAsym", "task": "rest"}
DENOISE = {
    "motion": "basic", "global_signal": False, "detrend": True, "high_pass": 0.01, "low_pass": 0.1,
    "min_seconds": 60, "max_mean_fd": 0.5, "max_missing_regions": 0.4,
}  # fmt: skip


@pytest.fixture
def nodes() -> pd.DataFrame:
    xyz = [(0, 0, 0), (-20, 10, 4), (20, 10, 4), (200, 0, 0)]  # the last is outside every image
    table = pd.DataFrame(xyz, columns=["x", "y", "z"], dtype=float)
    return table.assign(node=range(1, 5), name=["Middle", "Left", "Right", "Far away"], radius=6.0)


def write_subject(root, name: str, seed: int, n_volumes: int = 60):
    folder = root / name / "func"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    stem = folder / f"{name}_task-rest_space-{SPEC['space']}"
    data = (100 + rng.standard_normal((20, 20, 20, n_volumes))).astype(np.float32)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_zooms((4, 4, 4, 1.7935))  # as some converters write it
    nib.save(image, f"{stem}_desc-preproc_bold.nii.gz")
    (folder / f"{stem.name}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    nib.save(nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), AFFINE), f"{stem}_desc-brain_mask.nii.gz")
    motion = pd.DataFrame(
        rng.standard_normal((n_volumes, 6)) * 0.01,
        columns=["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"],
    )
    motion["framewise_displacement"] = 0.1
    motion.to_csv(folder / f"{name}_task-rest_desc-confounds_timeseries.tsv", sep="\t", index=False)
    return f"{stem}_desc-preproc_bold.nii.gz"


@pytest.fixture
def derivatives(tmp_path):
    root = tmp_path / "fmriprep"
    for k in range(1, 4):
        write_subject(root, f"sub-0{k}", k)
    table = pd.DataFrame({"participant_id": ["sub-01", "sub-02", "sub-03", "sub-04"], "group": "control"})
    table.assign(age=40, sex="F", site="one").to_csv(root / "participants.tsv", sep="\t", index=False)
    return root


def test_averages_equal_nilearn(derivatives, nodes):
    bold = next(derivatives.glob("sub-01/func/*bold.nii.gz"))
    series, seconds = regional_series(bold, None, nodes)
    inside = nodes.iloc[:3]
    masker = NiftiSpheresMasker(inside[["x", "y", "z"]].to_numpy().tolist(), radius=6.0, standardize=None)
    expected = masker.fit_transform(str(bold))
    np.testing.assert_allclose(series[:, :3], expected, rtol=1e-5)
    assert seconds == 2.0  # the sidecar's, not the header's 1.7935
    assert (series[:, 3] == 0).all()


def test_weights_of_a_sphere_sum_to_one_inside_the_mask(nodes):
    mask = np.ones((20, 20, 20), bool)
    weights = sphere_weights(nodes, AFFINE, mask)
    np.testing.assert_allclose(weights.sum(1), [1, 1, 1, 0])


def test_an_atlas_of_labels_is_refused(nodes):
    with pytest.raises(ValueError, match=r"radius.*seitzman300"):
        sphere_weights(nodes.assign(radius=np.nan), AFFINE, np.ones((20, 20, 20), bool))


def test_one_bad_image_never_stops_the_cohort(derivatives, nodes, tmp_path):
    broken = next(derivatives.glob("sub-02/func/*bold.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:2000])
    participants, index = acquire_derivatives(SPEC, derivatives)
    folder = tmp_path / "series"
    located = preprocess_cohort(index, nodes, folder)
    located.to_csv(tmp_path / "series.tsv", sep="\t", index=False)
    table, denoised = prepare_cohort(
        participants,
        read_index(tmp_path / "series.tsv"),
        nodes,
        DENOISE,
        tmp_path / "out",
        {"atlas": "a", "denoise": "b"},
    )
    reasons = table.set_index("participant_id")["exclusion_reason"]
    assert list(denoised["participant_id"]) == ["sub-01", "sub-03"]
    assert reasons["sub-01"] == "" and reasons["sub-02"] != "" and "no series file" in reasons["sub-04"]
    written = pd.read_csv(folder / "sub-01_desc-regional_timeseries.tsv", sep="\t")
    assert list(written.columns) == list(nodes["name"])
    assert read_series(folder / "sub-01_desc-regional_timeseries.tsv", "", nodes).shape == (60, 4)


def test_the_files_that_are_read_are_listed(derivatives):
    files = [path.name for path in bold_files(SPEC, derivatives)]
    assert files[0] == "participants.tsv"
    assert [name[:6] for name in files[1:]] == ["sub-01", "sub-02", "sub-03"]


def test_sub_1_is_not_sub_10(tmp_path):
    for name in ("sub-1", "sub-10"):
        write_subject(tmp_path, name, 1)
    table = pd.DataFrame({"participant_id": ["sub-1", "sub-10"], "group": "a", "age": 1, "sex": "F", "site": "b"})
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    index = acquire_derivatives(SPEC, tmp_path)[1]
    assert [path.split("/")[-1].split("_")[0] for path in index["bold"]] == ["sub-1", "sub-10"]


def test_a_folder_without_images_is_named(derivatives):
    with pytest.raises(FileNotFoundError, match=r"dataset\.space"):
        acquire_derivatives({**SPEC, "space": "MNI152NLin6Asym"}, derivatives)
