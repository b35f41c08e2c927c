"""Runs in grayordinates (CIFTI): cortex by vertices, the rest by voxels, and what is wrong with a file."""

import hashlib
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.maskers import NiftiLabelsMasker
from omegaconf import OmegaConf

from dysconnect.acquire import kind_of
from dysconnect.acquire.find import FILES, find_scan
from dysconnect.acquire.images import SHARED, acquire_images, fetch_unit, plan_images, plan_scans, users_files
from dysconnect.acquire.scan import describe_scan
from dysconnect.data.atlas import FOLDER
from dysconnect.data.atlas.join import remotes
from dysconnect.data.images import cifti
from dysconnect.data.images.cifti import surface_regions
from dysconnect.data.images.receipts import scan_entry
from dysconnect.data.images.regions import regional_series
from dysconnect.data.images.spaces import refuse_other_space
from dysconnect.data.series import read_index, read_series
from dysconnect.fetching import Transport
from dysconnect.plan.checks import check_engine
from dysconnect.preprocess.engine import run_engine
from dysconnect.reading.bids import list_folder

MESH, WALL, TIMES, TR = 300, 40, 50, 2.0
SHAPE = (24, 20, 16)
LOST = np.r_[np.ones(20), [np.nan] * 3, np.ones(27)][:, None]  # three times are no numbers
AFFINE = np.array([[-2.0, 0, 0, 24], [0, 2, 0, -30], [0, 0, 2, -20], [0, 0, 0, 1]])  # from right to left, as fsLR
LEFT, RIGHT = "CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"
SPEC = {
    "name": "own", "kind": "derivatives", "space": "fsLR", "task": "rest",
    "contrast": {"cases": ["patient"], "controls": ["control"]}, "exclude": {},
}  # fmt: skip
STEM = "sub-1/func/sub-1_task-rest_"
BOLD = STEM + "space-fsLR_den-91k_bold.dtseries.nii"


@pytest.fixture(scope="module")
def regions() -> pd.DataFrame:
    """Six parcels, named otherwise in the file of labels, and four regions below the cortex; codes in no order."""
    cortex = [(f"Area {k} {side}", side, "cortex", f"{side}H_{k}") for side in "LR" for k in (1, 2, 3)]
    below = [
        ("Cerebellum L", "L", "cerebellum", "cereb"),
        ("Thalamus R", "R", "thalamus", "thal"),
        ("Putamen L", "L", "basal_ganglia", "put"),
        ("Dentate nucleus L", "L", "cerebellum", "dent"),
    ]
    table = pd.DataFrame([*cortex, *below], columns=["name", "hemisphere", "system", "source_label"])
    return table.assign(node=[9, 4, 7, 1, 2, 3, 12, 5, 8, 6], radius=np.nan)


@pytest.fixture(scope="module")
def codes(regions) -> np.ndarray:
    """Label image on the grid of the voxels; the cortical parcels lie elsewhere in it."""
    image = np.zeros(SHAPE, np.int16)
    image[2:6, 2:6, 2:6], image[14:18, 10:13, 5:9], image[8:11, 10:14, 6:9] = 12, 5, 8
    image[8:11, 2:5, 2:5] = 6  # the dentate: no structure of the axis holds it
    for k, code in enumerate(regions["node"][:6]):
        image[3 * k : 3 * k + 2, 17:19, 12:15] = code
    return image


def parcels(side: str) -> np.ndarray:
    """Parcel of each vertex of a hemisphere, 0 in the medial wall and beyond."""
    parcel = np.repeat([0, 1, 2, 3, 0], [WALL, 100, 60, 80, 20])
    return parcel if side == "L" else np.roll(parcel, 7)


def surface(side: str) -> BrainModelAxis:
    outside = np.arange(WALL) if side == "L" else (np.arange(WALL) + 7) % MESH
    return BrainModelAxis.from_surface(np.setdiff1d(np.arange(MESH), outside), MESH, LEFT if side == "L" else RIGHT)


@pytest.fixture(scope="module")
def models(codes) -> list[BrainModelAxis]:
    """Both hemispheres, and three structures: the cerebellum without a slab of it, more than the putamen."""
    masks = {name: codes == code for name, code in (("CEREBELLUM_LEFT", 12), ("THALAMUS_RIGHT", 5))}
    masks["CEREBELLUM_LEFT"][2] = False
    putamen = np.zeros(SHAPE, bool)
    putamen[7:12, 9:15, 5:10] = True
    masks["PUTAMEN_LEFT"] = putamen
    below = [BrainModelAxis.from_mask(mask, f"CIFTI_STRUCTURE_{name}", AFFINE) for name, mask in masks.items()]
    return [surface("L"), surface("R"), *below]


def joined(models) -> BrainModelAxis:
    axis = models[0]
    for model in models[1:]:
        axis += model
    return axis


def save(path, data, *axes):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Cifti2Image(data, nib.Cifti2Header.from_axes(axes)), path)
    return path


def series_axis(step=TR, length=TIMES, unit="SECOND"):
    return SeriesAxis(0, step, length, unit)


@pytest.fixture(scope="module")
def atlas(tmp_path_factory, regions, codes) -> dict:
    """Label image and labels of the cortex; keys are the file's own, and it has labels of voxels that are not used."""
    folder = tmp_path_factory.mktemp("atlas")
    nib.save(nib.Nifti1Image(codes, AFFINE), folder / "dseg.nii.gz")
    key = {f"{side}H_{k}": 10 * k + (side == "R") for side in "LR" for k in (1, 2, 3)}
    table = {0: ("???", (1, 1, 1, 0)), 99: ("thal", (0, 0, 1, 1))}
    table |= {number: (label, (1, 0, 0, 1)) for label, number in key.items()}
    below = BrainModelAxis.from_mask(codes == 5, "CIFTI_STRUCTURE_THALAMUS_RIGHT", AFFINE)
    values = [key.get(f"{side}H_{parcel}", 0) for side in "LR" for parcel in parcels(side)[surface(side).vertex]]
    save(
        folder / "dlabel.nii",
        np.array([values + [99] * len(below)], np.float32),
        LabelAxis(["parcels"], [table]),
        surface("L") + surface("R") + below,
    )
    return {"image": str(folder / "dseg.nii.gz"), "surface": str(folder / "dlabel.nii"), "space": "MNI152NLin6Asym"}


@pytest.fixture(scope="module")
def values(models) -> np.ndarray:
    """Everything that the run holds, [T, G]."""
    rng = np.random.default_rng(2)
    size = sum(map(len, models))
    return (1000 + 50 * rng.random(size) + 10 * rng.standard_normal((TIMES, size))).astype(np.float32)


@pytest.fixture
def bold(tmp_path, models, values):
    return save(tmp_path / BOLD, values, series_axis(), joined(models))


def average(bold, regions, atlas, **more):
    return regional_series(bold, None, regions, atlas["image"], surface=atlas["surface"], **more)


def members(axis: BrainModelAxis, regions: pd.DataFrame, codes: np.ndarray) -> list[list[int]]:
    """Places of each region by a plain loop over everything."""
    own = [[] for _ in range(len(regions))]
    for place, (kind, where, structure) in enumerate(axis):
        for row, region in regions.iterrows():
            if kind == "CIFTI_MODEL_TYPE_VOXELS":
                hit = region["system"] != "cortex" and codes[tuple(where)] == region["node"]
            else:
                side = "L" if structure == LEFT else "R"
                hit = region["source_label"] == f"{side}H_{parcels(side)[where]}"
            if hit:
                own[row].append(place)
    return own


def test_averages_equal_a_plain_loop(bold, regions, atlas, codes, models, values, monkeypatch):
    averages = average(bold, regions, atlas)
    own = members(joined(models), regions, codes)
    for row, places in enumerate(own[:9]):
        x = values[:, places].astype(float)
        np.testing.assert_allclose(averages.series[:, row], x.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(averages.tsnr[row], (x.mean(0) / x.std(0)).mean(), rtol=1e-9)
    assert averages.voxels.tolist() == [len(places) for places in own]
    np.testing.assert_allclose(averages.coverage, [1, 1, 1, 1, 1, 1, 0.75, 1, 1, 0])
    assert not averages.series[:, 9].any() and averages.repetition_time == TR and averages.notes == ()
    monkeypatch.setattr(cifti, "BLOCK", 7 * values.shape[1] * 4)  # seven times of everything in memory
    np.testing.assert_array_equal(average(bold, regions, atlas).series, averages.series)


def test_planted_signals_are_recovered(tmp_path, regions, atlas, codes, models, values):
    rng = np.random.default_rng(3)
    planted = rng.standard_normal((TIMES, len(regions)))
    axis = joined(models)
    data = np.tile(np.float64(500) + np.arange(len(axis)), (TIMES, 1)) + 30 * rng.standard_normal((TIMES, 1))
    for row, places in enumerate(members(axis, regions, codes)):
        data[:, places] = planted[:, [row]]
    path = save(tmp_path / BOLD, data, series_axis(), axis)
    np.testing.assert_allclose(average(path, regions, atlas).series[:, :9], planted[:, :9], atol=1e-12)


@pytest.mark.parametrize("order", [[4, 3, 2, 1, 0], [1, 3, 0, 4, 2]])
def test_the_order_of_the_brain_models_and_of_the_table_is_of_no_matter(
    tmp_path, bold, regions, atlas, models, values, order
):
    first = average(bold, regions, atlas)
    starts = np.cumsum([0, *map(len, models)])
    rng = np.random.default_rng(1)
    places = [starts[k] + rng.permutation(len(models[k])) for k in order]  # within a structure too
    axis = joined([models[k][own - starts[k]] for k, own in zip(order, places)])
    path = save(tmp_path / "other" / BOLD, values[:, np.concatenate(places)], series_axis(), axis)
    table = regions.iloc[rng.permutation(len(regions))].reset_index(drop=True)
    second = average(path, table, atlas)
    back = table["name"].map(dict(zip(regions["name"], range(len(regions))))).to_numpy()
    np.testing.assert_allclose(second.series, first.series[:, back], rtol=1e-12)
    np.testing.assert_allclose(second.coverage, first.coverage[back])


@pytest.mark.parametrize("stored", [np.float32, np.int16])
def test_voxels_are_averaged_as_those_of_a_volume(tmp_path, regions, atlas, codes, models, values, stored):
    axis, below = joined(models), regions.iloc[6:9].reset_index(drop=True)
    image = nib.Cifti2Image(values, nib.Cifti2Header.from_axes((series_axis(), axis)))
    image.nifti_header.set_data_dtype(stored)  # whole numbers are stored with slope and intercept
    path = tmp_path / BOLD
    path.parent.mkdir(parents=True)
    image.to_filename(path)
    kept = np.asarray(nib.load(path).get_fdata())
    volume = np.zeros((*SHAPE, TIMES))
    volume[tuple(axis.voxel[axis.volume_mask].T)] = kept[:, axis.volume_mask].T
    scan = nib.Nifti1Image(volume, AFFINE)
    scan.header.set_zooms((2, 2, 2, TR))
    nib.save(scan, tmp_path / "bold.nii.gz")
    ours = average(path, regions, atlas)
    by_volume = regional_series(tmp_path / "bold.nii.gz", None, below, atlas["image"])
    np.testing.assert_allclose(ours.series[:, 6:9], by_volume.series, rtol=1e-10)
    np.testing.assert_allclose(ours.coverage[6:9], by_volume.coverage)
    np.testing.assert_allclose(ours.tsnr[6:9], by_volume.tsnr)
    mask = nib.Nifti1Image(volume.any(axis=3).astype(np.uint8), AFFINE)
    wanted = np.where(np.isin(codes, below["node"]), codes, 0)
    masker = NiftiLabelsMasker(nib.Nifti1Image(wanted, AFFINE), mask_img=mask, standardize=None)
    expected = masker.fit_transform(scan)[:, [2, 0, 1]]  # nilearn's: ascending codes 5, 8, 12
    np.testing.assert_allclose(ours.series[:, 6:9], expected, rtol=1e-5)


def test_spheres_below_and_labels_above(bold, regions, atlas, models, values):
    axis = joined(models)
    centre = nib.affines.apply_affine(AFFINE, [15, 11, 7])
    table = regions.iloc[[0, 7]].assign(radius=4.0, x=centre[0], y=centre[1], z=centre[2]).reset_index(drop=True)
    averages = regional_series(bold, None, table, surface=atlas["surface"], min_coverage=0.1)
    near = np.linalg.norm(nib.affines.apply_affine(AFFINE, axis.voxel) - centre, axis=1) <= 4
    near &= axis.volume_mask
    np.testing.assert_allclose(averages.series[:, 1], values[:, near].astype(float).mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(averages.coverage, [1, near.sum() / 33])  # voxels of 2 mm in a sphere of 4


def test_what_holds_no_signal_lowers_the_coverage(tmp_path, regions, atlas, codes, models, values):
    axis, data = joined(models), values.copy()
    own = members(axis, regions, codes)
    data[:, own[0][:25]] = 0  # outside the field of view
    data[7, own[1][:10]] = np.nan  # at one time
    data[:, own[2][:60]] = 8  # constant
    averages = average(save(tmp_path / BOLD, data, series_axis(), axis), regions, atlas)
    np.testing.assert_allclose(averages.coverage[:3], [0.75, 50 / 60, 0.25])
    np.testing.assert_allclose(averages.series[:, 0], values[:, own[0][25:]].astype(float).mean(1), rtol=1e-12)
    np.testing.assert_allclose(averages.series[:, 1], values[:, own[1][10:]].astype(float).mean(1), rtol=1e-12)
    assert not averages.series[:, 2].any()
    assert averages.notes == ("10 voxels hold NaN or infinity in some volumes and were left out",)


# what is wrong with a run


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data, axis: (data[:, : len(axis[:520])], axis[:520]), r"holds the cortex only, and 4 of 10 regions"),
        (
            lambda data, axis: (data[:, 260:], axis[260:]),
            r"has no CIFTI_STRUCTURE_CORTEX_LEFT, where the atlas has",
        ),
        (lambda data, axis: (data * 0, axis), r"50 of 50 volumes are zero"),
        (lambda data, axis: (data * LOST, axis), r"3 of 50 volumes hold no numbers .*volume 21"),
    ],
)
def test_runs_without_what_is_needed_are_refused(tmp_path, regions, atlas, models, values, spoil, message):
    data, axis = spoil(values, joined(models))
    path = save(tmp_path / BOLD, np.asarray(data, np.float32), series_axis(), axis)
    with pytest.raises(ValueError, match=message):
        average(path, regions, atlas)


def test_files_of_another_kind_are_refused(tmp_path, regions, atlas, models, values, bold):
    axis = joined(models)
    whole = bold.read_bytes()
    bold.write_bytes(whole[:-4000])
    with pytest.raises(ValueError, match=r"bold\.dtseries\.nii holds [0-9,]+ of [0-9,]+ bytes: it is cut short"):
        average(bold, regions, atlas)
    bold.write_bytes(whole[:3000])
    with pytest.raises(ValueError, match=r"cannot be read as CIFTI .*; fetch it again"):
        average(bold, regions, atlas)
    bold.write_bytes(b"no image")
    with pytest.raises(ValueError, match="cannot be read as CIFTI"):
        average(bold, regions, atlas)
    save(bold, values[:2], ScalarAxis(["thickness", "myelin"]), axis)
    with pytest.raises(ValueError, match="holds scalar by brainmodel, expected a time series of vertices and voxels"):
        average(bold, regions, atlas)
    parcel = ParcelsAxis.from_brain_models([("one", axis[:100]), ("two", axis[100:])])
    save(bold, values[:, :2], series_axis(), parcel)
    with pytest.raises(ValueError, match=r"holds series by parcels.*_space-fsLR_den-91k_bold\.dtseries\.nii"):
        average(bold, regions, atlas)
    nib.save(nib.Nifti2Image(values, np.eye(4)), bold)
    with pytest.raises(ValueError, match="cannot be read as CIFTI"):
        average(bold, regions, atlas)


def test_another_mesh_is_refused(tmp_path, regions, atlas, models, values):
    fine = [BrainModelAxis.from_surface(np.arange(600), 900, name) for name in (LEFT, RIGHT)]
    axis = joined([*fine, *models[2:]])
    data = np.ones((TIMES, len(axis)), np.float32)
    path = save(tmp_path / BOLD, data, series_axis(), axis)
    with pytest.raises(ValueError, match=r"a mesh of 900 vertices a hemisphere, dlabel\.nii one of 300.*surface"):
        average(path, regions, atlas)


def test_labels_without_a_region_are_refused(regions, atlas, bold):
    table = regions.assign(source_label=regions["source_label"].replace({"RH_2": "RH_9", "RH_3": "LH_3"}))
    with pytest.raises(ValueError, match=r"no vertex of Area 2 R \(label 'RH_9', hemisphere R\) and 1 other cortical"):
        average(bold, table, atlas)
    with pytest.raises(ValueError, match=r"an atlas without atlas\.surface has no vertex of Area 1 L"):
        regional_series(bold, None, regions, atlas["image"])
    named = regions.drop(columns="source_label").assign(name=regions["source_label"])
    np.testing.assert_array_equal(average(bold, named, atlas).series, average(bold, regions, atlas).series)
    with pytest.raises(ValueError, match=r"bold\.dtseries\.nii is no map of labels"):
        average(bold, regions, {**atlas, "surface": bold})


def test_an_atlas_without_cortex_needs_no_surface(bold, regions, atlas):
    below = regions.iloc[6:].reset_index(drop=True)
    ours = regional_series(bold, None, below, atlas["image"])
    np.testing.assert_array_equal(ours.series, average(bold, regions, atlas).series[:, 6:])


def test_regions_on_both_hemispheres(regions, atlas, bold):
    table = regions.iloc[:2].assign(hemisphere="M", source_label=["LH_1", "RH_2"])
    assert surface_regions(table, atlas["surface"]).counts.tolist() == [100, 60]


# times


def test_the_sidecar_counts_and_the_axis_where_it_says_nothing(tmp_path, regions, atlas, models, values, bold):
    stem = bold.with_name(bold.name.removesuffix(".dtseries.nii"))
    for sidecar in (".json", ".dtseries.json"):  # fMRIPrep from version 21, and before
        path = stem.with_name(stem.name + sidecar)
        path.write_text(json.dumps({"RepetitionTime": 1.5, "SliceTiming": [0, 1]}))
        averages = average(bold, regions, atlas)
        assert averages.repetition_time == 1.5
        assert averages.notes == ("header says a repetition time of 2 s, the sidecar 1.5 s, which is used",)
        path.write_text(json.dumps({"NumberOfVolumes": 60}))
        with pytest.raises(ValueError, match="has 50 volumes, its sidecar says 60"):
            average(bold, regions, atlas)
        path.write_text(json.dumps({"RepetitionTime": 1500}))
        with pytest.raises(ValueError, match="RepetitionTime 1500: seconds, not milliseconds"):
            average(bold, regions, atlas)
        path.unlink()
    save(bold, values, series_axis(unit="HERTZ"), joined(models))
    with pytest.raises(ValueError, match="no repetition time in header or sidecar"):
        average(bold, regions, atlas)


# names and spaces


def test_names_of_fmriprep():
    other = [
        STEM + "space-MNI152NLin6Asym_res-2_desc-preproc_bold.nii.gz",
        STEM + "space-MNI152NLin6Asym_res-2_desc-brain_mask.nii.gz",
        STEM + "hemi-L_space-fsaverage_bold.func.gii",
        STEM + "space-fsLR_den-91k_desc-denoised_bold.dtseries.nii",  # of XCP-D
        STEM + "desc-confounds_timeseries.tsv",
        "sub-1/func/sub-1_task-motor_space-fsLR_den-91k_bold.dtseries.nii",
        STEM + "space-fsLR_den-170k_bold.dtseries.nii",
    ]
    for sidecar in (BOLD[: -len(".dtseries.nii")] + ".json", BOLD[: -len(".nii")] + ".json"):
        found = find_scan([*other, BOLD, sidecar], SPEC)
        assert {name: found[name] for name in FILES} == {"bold": BOLD, "mask": "", "confounds": other[4], "t1w": ""}
        assert found["choices"][0]["others"] == [other[-1]]
    assert find_scan(other, SPEC)["bold"] == other[-1]
    runs = [BOLD.replace("rest_", f"rest_run-{k}_") for k in (2, 1)]
    assert find_scan(runs, SPEC)["bold"] == runs[1]
    sessions = [f"sub-1/ses-{k}/func/sub-1_ses-{k}_task-rest_space-fsLR_den-91k_bold.dtseries.nii" for k in (1, 2)]
    assert find_scan(sessions, {**SPEC, "session": "ses-2"})["bold"] == sessions[1]


def test_a_missing_space_is_named_with_those_that_are_there(tmp_path, bold):
    volume = STEM + "space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    problem = describe_scan(tmp_path, [volume], SPEC)["problem"]
    assert problem == "no rest scan in fsLR (dataset.space; there is MNI152NLin6Asym) among its 1 files"
    problem = describe_scan(tmp_path, [BOLD], {**SPEC, "space": "MNI152NLin6Asym"})["problem"]
    assert problem == "no rest scan in MNI152NLin6Asym (dataset.space; there is fsLR) among its 1 files"
    scan = describe_scan(tmp_path, [BOLD], SPEC)
    assert (scan["volumes"], scan["repetition_time"], scan["problem"]) == (TIMES, TR, "")
    bold.write_bytes(bold.read_bytes()[:-1])
    assert "cut short" in describe_scan(tmp_path, [BOLD], SPEC)["problem"]


@pytest.mark.parametrize("atlas_space", ["MNI152NLin6Asym", None])
def test_voxels_of_a_surface_are_in_one_template(atlas_space):
    refuse_other_space("fsLR", atlas_space, "the BOLD")
    with pytest.raises(ValueError, match=r"fsLR \(voxels in MNI152NLin6Asym\), the atlas in MNI152NLin2009cAsym"):
        refuse_other_space("fsLR", "MNI152NLin2009cAsym", "the BOLD")


def test_spheres_are_refused_before_anything_is_read(tmp_path, regions, bold):
    spheres = {"name": "seitzman300", "nodes": "seitzman300"}
    message = r"cortex on a surface \(fsLR\), where atlas=seitzman300 has no regions.*wholebrain200.*dataset\.space="
    with pytest.raises(ValueError, match=message):
        check_engine({"kind": "derivatives", **SPEC}, {"engine": "derivatives"}, spheres)
    row = run_engine(entry(bold), regions, tmp_path / "series", spheres, {"engine": "derivatives", "min_coverage": 0.5})
    assert "where atlas=seitzman300 has no regions" in row["problem"] and row["series"] == ""
    check_engine({"kind": "derivatives", **SPEC}, {"engine": "derivatives"}, {**spheres, "surface": "own.dlabel.nii"})


# the whole path


def entry(bold, confounds="", **more):
    return {"participant_id": "sub-1", "bold": str(bold), "mask": "", "confounds": confounds, "problem": "", **more}


def write_confounds(root, length=TIMES):
    rng = np.random.default_rng(4)
    names = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
    table = pd.DataFrame(rng.normal(0, 0.01, (length, 6)), columns=names)
    path = root / f"{STEM}desc-confounds_timeseries.tsv"
    table.assign(framewise_displacement=np.r_[np.nan, np.full(length - 1, 0.1)]).to_csv(
        path, sep="\t", index=False, na_rep="n/a"
    )
    path.with_suffix(".json").write_text("{}")
    return path


def test_from_a_folder_of_fmriprep_to_series_and_quality(tmp_path, bold, regions, atlas):
    people = {
        "participant_id": ["sub-1", "sub-2"],
        "group": ["control", "patient"],
        "exclusion_reason": ["no", "moved"],
    }
    table = pd.DataFrame({**people, "age": 40, "sex": "F", "site": "one"})
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    write_confounds(tmp_path)
    spec = {**SPEC, "root": str(tmp_path)}
    assert kind_of({**spec, "kind": "local"}) == "derivatives"
    plan, listing = plan_images(spec, {}, tmp_path), list_folder(tmp_path)
    assert str(bold) in users_files(spec, plan, plan_scans(plan, spec, listing), "sub-1")
    receipts = [fetch_unit(unit, [], tmp_path, Transport(), spec) for unit in (SHARED, "sub-1")]
    participants, scans = acquire_images(spec, plan, receipts, 0)
    assert participants["exclusion_reason"].tolist() == ["", "moved"] and scans["n_volumes"].tolist() == [TIMES]
    folder = tmp_path / "results" / "series"
    own = {"engine": "derivatives", "min_coverage": 0.5}
    row = run_engine(scan_entry("sub-1", receipts[1]), regions, folder, atlas, own)
    assert row["problem"] == "" and row["silent_regions"] == 1 and row["repetition_time"] == TR
    assert "1 of 10 regions have less than 50% of their volume or surface" in row["note"]
    assert "Dentate nucleus L" in row["note"]
    pd.DataFrame([row]).to_csv(tmp_path / "results" / "series.tsv", sep="\t", index=False)
    index = read_index(tmp_path / "results" / "series.tsv").iloc[0]
    np.testing.assert_allclose(
        read_series(index["series"], "", regions), average(bold, regions, atlas).series, rtol=1e-5
    )
    coverage = pd.read_csv(tmp_path / "results" / row["coverage"], sep="\t")
    assert coverage["name"].tolist() == regions["name"].tolist()
    assert coverage["coverage"].tolist() == [1, 1, 1, 1, 1, 1, 0.75, 1, 1, 0]
    quality = json.loads((tmp_path / "results" / row["quality"]).read_text())
    assert quality["brain_voxels"] == nib.load(bold).shape[1] and quality["mean_fd"] == 0.1 and quality["tsnr"] > 50
    assert (folder / "sub-1_desc-regional_timeseries.json").is_file()
    confounds, _ = load_confounds(str(bold), strategy=("motion",), motion="basic", demean=False)
    theirs = pd.read_csv(scans["confounds"][0], sep="\t")[confounds.columns]
    np.testing.assert_allclose(confounds, theirs)  # nilearn finds the same table for the same run


def test_confounds_of_another_length_are_named(tmp_path, bold, regions, atlas):
    confounds = write_confounds(tmp_path, TIMES - 1)
    own = {"engine": "derivatives", "min_coverage": 0.5}
    row = run_engine(entry(bold, str(confounds)), regions, tmp_path / "series", atlas, own)
    assert "50 volumes but 49 rows of confounds" in row["problem"]
    assert "sub-1_task-rest_desc-confounds_timeseries.tsv is of another run" in row["problem"]


# the real labels


@pytest.fixture(scope="module", params=[100, 200, 400])
def pinned(request, repository):
    """Number of parcels, and the `atlas` section."""
    with initialize_config_dir(str(repository / "configs"), version_base="1.3"):
        config = compose("config", [f"atlas=wholebrain{request.param}"])
    return request.param, OmegaConf.to_container(config, resolve=True)["atlas"]


def test_surfaces_are_pinned_beside_the_images_they_belong_to(pinned):
    size, spec = pinned
    (file,) = remotes(spec, ["surface"])
    image = spec["sources"]["schaefer_tian"]["image"]
    assert file["urls"][0].split("/")[5] == image["urls"][0].split("/")[5]  # of one commit
    assert f"_{size}Parcels_7Networks_order_Tian_Subcortex_S2.dlabel.nii" in file["path"]
    assert len(remotes(spec)) == 6 and spec["surface"] == f"results/atlas/wholebrain{size}/dlabel.nii"


def test_every_parcel_has_its_vertices(pinned, real_data, tmp_path):
    size, spec = pinned
    (file,) = remotes(spec, ["surface"])
    found = next((real_data / "atlases").rglob(f"*{size}Parcels_7Networks_order_Tian_Subcortex_S2.dlabel.nii"), None)
    if found is None:
        pytest.skip(f"no copy of {file['path']}")
    assert "sha256:" + hashlib.sha256(found.read_bytes()).hexdigest() == file["hash"]
    names = pd.read_csv(FOLDER / "names.tsv", sep="\t", dtype=str)
    table = names[names["source"] == f"schaefer{size}"].reset_index(drop=True).rename(columns={"label": "source_label"})
    table["hemisphere"] = table["name"].str.extract(r" ([LRM])(?: \d+)?$", expand=False)
    regions = surface_regions(table, found)
    assert {len(row) for row in regions.rows.values()} == {32492} and len(regions.rows) == 2
    assert (regions.counts.min(), regions.counts.max()) == {100: (249, 1424), 200: (37, 743), 400: (48, 337)}[size]
    assert regions.counts.sum() == {100: 58609, 200: 58609, 400: 58606}[size]
