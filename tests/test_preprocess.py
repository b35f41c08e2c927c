"""From images to regional averages: spheres, label images, repetition times, and subjects that fail alone."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.maskers import NiftiLabelsMasker, NiftiSpheresMasker

from dysconnect.acquire.images import SHARED, acquire_images, fetch_unit, plan_images, plan_scans, users_files
from dysconnect.data.images.receipts import scan_entry
from dysconnect.data.images.regions import label_weights, regional_series, sphere_weights
from dysconnect.data.images.spaces import refuse_other_space
from dysconnect.data.series import read_index, read_series
from dysconnect.fetching import Transport
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.reading.bids import list_folder
from dysconnect.timeseries import prepare_cohort

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = -40
SPEC = {
    "name": "own",
    "kind": "derivatives",
    "space": "MNI152NLin2009cAsym",
    "task": "rest",
    "contrast": {"cases": ["patient"], "controls": ["control"]},
    "exclude": {},
}
DENOISE_CHANGES = {"motion": "basic", "min_seconds": 60, "max_mean_fd": 0.5, "max_missing_regions": 0.4}


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
    table = pd.DataFrame(
        {"participant_id": ["sub-01", "sub-02", "sub-03", "sub-04"], "group": ["patient", *["control"] * 3]}
    )
    table.assign(age=40, sex="F", site="one").to_csv(root / "participants.tsv", sep="\t", index=False)
    return root


def collect(root, nodes, folder, atlas=None, **spec):
    """Participants, scans and the index of regional series of a user's own folder."""
    spec = {**SPEC, "root": str(root), **spec}
    plan = plan_images(spec, {}, root)
    receipts = [fetch_unit(unit, [], root, Transport(), spec) for unit in [SHARED, *plan.wanted]]
    participants, scans = acquire_images(spec, plan, receipts, 0)
    entries = [scan_entry(receipt["unit"], receipt) for receipt in receipts[1:]]
    return (
        participants,
        scans,
        pd.DataFrame([preprocess_subject(entry, nodes, folder, atlas or {}) for entry in entries]),
    )


def test_averages_equal_nilearn(derivatives, nodes):
    bold = next(derivatives.glob("sub-01/func/*bold.nii.gz"))
    averages = regional_series(bold, None, nodes)
    series = averages.series
    inside = nodes.iloc[:3]
    masker = NiftiSpheresMasker(inside[["x", "y", "z"]].to_numpy().tolist(), radius=6.0, standardize=None)
    expected = masker.fit_transform(str(bold))
    np.testing.assert_allclose(series[:, :3], expected, rtol=1e-5)
    assert averages.repetition_time == 2.0  # the sidecar's, not the header's 1.7935
    assert "header says a repetition time of 1.79" in averages.notes[0]
    assert (series[:, 3] == 0).all()


def test_weights_of_a_sphere_sum_to_one_inside_the_mask(nodes):
    mask = np.ones((20, 20, 20), bool)
    weights = sphere_weights(nodes, AFFINE, mask)
    np.testing.assert_allclose(weights.sum(1), [1, 1, 1, 0])


def test_an_atlas_without_radius_and_image_is_refused(nodes):
    with pytest.raises(ValueError, match=r"radius.*seitzman300"):
        sphere_weights(nodes.assign(radius=np.nan), AFFINE, np.ones((20, 20, 20), bool))


@pytest.fixture
def labelled():
    """A label image on the BOLD's grid, with codes in no order, and its table."""
    codes = np.zeros((20, 20, 20), np.int16)
    codes[2:5, 3:9, 4:6], codes[12:15, 3:9, 4:6], codes[8:11, 0:2, 8:12] = 7, 3, 12
    table = pd.DataFrame({"node": [3, 7, 12], "name": ["Right", "Left", "Middle"], "radius": np.nan})
    return nib.Nifti1Image(codes, AFFINE), table


def test_label_averages_equal_nilearn(derivatives, labelled, tmp_path):
    image, table = labelled
    nib.save(image, tmp_path / "dseg.nii.gz")
    bold = next(derivatives.glob("sub-01/func/*bold.nii.gz"))
    averages = regional_series(bold, None, table, tmp_path / "dseg.nii.gz")
    expected = NiftiLabelsMasker(image, standardize=None).fit_transform(str(bold))
    np.testing.assert_allclose(averages.series, expected, rtol=1e-5)  # both by ascending code
    np.testing.assert_allclose(averages.coverage, 1)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("mirrored", [False, True])
def test_regions_are_matched_by_code(labelled, order, mirrored):
    image, table = labelled
    codes, affine = np.asarray(image.dataobj), AFFINE.copy()
    if mirrored:  # a grid that runs from right to left, as fMRIPrep's
        codes, affine = codes[::-1], AFFINE @ np.array([[-1.0, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    table = table.iloc[order].reset_index(drop=True)
    weights = label_weights(table, image, affine, np.ones(codes.shape, bool))
    np.testing.assert_allclose(weights @ codes.reshape(-1), table["node"])
    np.testing.assert_allclose(weights.sum(axis=1), 1)


def test_a_coarse_voxel_counts_by_the_share_that_the_region_fills():
    codes = np.zeros((8, 8, 8), np.int16)
    codes[2:5, 2:4, 2:4], codes[5, 2:4, 2:4] = 4, 9  # 2 mm; the BOLD has 4 mm: two voxels of x, full and half full
    image = nib.Nifti1Image(codes, np.diag([2.0, 2, 2, 1]))
    affine = nib.affines.from_matvec(np.diag([4.0, 4, 4]), [1, 1, 1])
    table = pd.DataFrame({"node": [9, 4], "name": ["b", "a"]})
    weights = label_weights(table, image, affine, np.ones((4, 4, 4), bool)).toarray().reshape(2, 4, 4, 4)
    np.testing.assert_allclose(weights[1, 1:3, 1, 1], [2 / 3, 1 / 3])
    np.testing.assert_allclose(weights[0, 1:3, 1, 1], [0, 1])
    assert np.count_nonzero(weights) == 3


def test_a_region_outside_the_mask_is_silent(labelled):
    image, table = labelled
    mask = np.zeros((20, 20, 20), bool)
    mask[:10] = True  # without the right region, and with a part of the middle one
    weights = label_weights(table, image, AFFINE, mask)
    assert weights.shape == (3, 4000)
    np.testing.assert_allclose(weights.sum(axis=1), [0, 1, 1])


def test_a_table_of_another_atlas_is_refused(labelled):
    image, table = labelled
    with pytest.raises(ValueError, match=r"no voxel of Middle \(code 13\).*atlas\.nodes and atlas\.image"):
        label_weights(table.replace({"node": {12: 13}}), image, AFFINE, np.ones((20, 20, 20), bool))


@pytest.mark.parametrize(("space", "refused"), [("MNI152NLin6Asym", True), (SPEC["space"], False), (None, False)])
def test_another_template_is_refused_and_not_guessed(derivatives, labelled, tmp_path, space, refused):
    image, table = labelled
    nib.save(image, tmp_path / "dseg.nii.gz")
    atlas = {"image": tmp_path / "dseg.nii.gz", "space": space}
    problems = collect(derivatives, table, tmp_path / "series", atlas)[2]["problem"]
    told = problems.str.contains("is in MNI152NLin2009cAsym, the atlas in MNI152NLin6Asym.*atlas.space=null")
    assert list(told) == [refused] * 3 + [False] and "no rest scan" in problems.iloc[3]


@pytest.mark.parametrize("atlas_space", [None, "MNI152NLin6Asym"])
def test_images_in_the_subjects_own_space_are_refused(atlas_space):
    with pytest.raises(ValueError, match=r"own space \(T1w\), the atlas in MNI"):
        refuse_other_space("T1w", atlas_space, "the BOLD")


def test_a_known_problem_is_passed_on(nodes, tmp_path):
    entry = {"participant_id": "sub-01", "bold": "", "mask": "", "confounds": "", "problem": "no rest scan"}
    row = preprocess_subject(entry, nodes, tmp_path, {"nodes": "seitzman300"})
    assert (row["problem"], row["series"]) == ("no rest scan", "")


def test_one_bad_image_never_stops_the_cohort(derivatives, nodes, tmp_path, denoise_spec):
    broken = next(derivatives.glob("sub-02/func/*bold.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:2000])
    folder = tmp_path / "series"
    participants, _, located = collect(derivatives, nodes, folder)
    located.to_csv(tmp_path / "series.tsv", sep="\t", index=False)
    table, denoised = prepare_cohort(
        participants,
        read_index(tmp_path / "series.tsv"),
        nodes,
        {**denoise_spec, **DENOISE_CHANGES},
        tmp_path / "out",
        {"atlas": "a", "denoise": "b"},
    )
    reasons = table.set_index("participant_id")["exclusion_reason"]
    assert list(denoised["participant_id"]) == ["sub-01", "sub-03"]
    assert reasons["sub-01"] == "" and "cut short" in reasons["sub-02"] and "no rest scan" in reasons["sub-04"]
    written = pd.read_csv(folder / "sub-01_desc-regional_timeseries.tsv", sep="\t")
    assert list(written.columns) == list(nodes["name"])
    assert read_series(folder / "sub-01_desc-regional_timeseries.tsv", "", nodes).shape == (60, 4)


def test_the_files_that_are_read_are_listed(derivatives):
    spec = {**SPEC, "root": str(derivatives)}
    plan = plan_images(spec, {}, derivatives)
    scans = plan_scans(plan, spec, list_folder(derivatives))
    listed = [users_files(spec, plan, scans, unit) for unit in (SHARED, "sub-01", "sub-04")]
    assert [[path.split("/")[-1] for path in files] for files in listed] == [
        ["participants.tsv"],
        [
            "sub-01_task-rest_desc-confounds_timeseries.tsv",
            "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
            "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.json",
            "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz",
        ],
        [],
    ]


def test_sub_1_is_not_sub_10(tmp_path, nodes):
    for name in ("sub-1", "sub-10"):
        write_subject(tmp_path, name, 1)
    table = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-10"], "group": ["patient", "control"], "age": 1, "sex": "F", "site": "b"}
    )
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    scans = collect(tmp_path, nodes, tmp_path / "series")[1]
    assert [path.split("/")[-1].split("_")[0] for path in scans["bold"]] == ["sub-1", "sub-10"]


def test_a_folder_without_images_is_named(derivatives, nodes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nobody has a scan to use.*no rest scan"):
        collect(derivatives, nodes, tmp_path, space="MNI152NLin6Asym")
