"""Stage `tractography`: a head of known fibres, files that cannot be used, and matrices as later stages read them."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire.diffusion import opposite
from dysconnect.acquire.find import find_scan
from dysconnect.connectivity import matrix_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.matrices import read_index_of_matrices, traced_matrices, write_index_of_matrices
from dysconnect.plan.checks import check_tracts
from dysconnect.plan.config import ConfigError
from dysconnect.timeseries import judge_matrices
from dysconnect.tractography.cohort import collected
from dysconnect.tractography.place import tissues_of
from dysconnect.tractography.scan import read_scan
from dysconnect.tractography.written import read_person, write_person

SPEC = {
    "noise": False, "ringing": False, "seeds": 6000, "step": 0.5, "angle": 20, "shortest": 10, "longest": 250,
    "reach": 2.0, "fewest": 1, "seed": 0,
}  # fmt: skip
ANATOMY = {"transform": "fast", "resolution": 2, "seed": 0}


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A person's files: T1w, 30 directions of coarse voxels, reversed b0; and an atlas of 300 regions."""
    pytest.importorskip("dipy")
    import tractperson

    folder = tmp_path_factory.mktemp("head")
    entry = tractperson.write_person(folder / "raw", shape=(36, 42, 36), voxel=5.0, number=30)
    tractperson.write_atlas(folder / "atlas.nii.gz", load_atlas("seitzman300"))
    return folder, entry


def traced(head, known_anatomy, monkeypatch, folder=None, **changed):
    from dysconnect.tractography import place
    from dysconnect.tractography.person import run_person

    monkeypatch.setattr(place, "prepare_anatomy", known_anatomy)
    atlas = {"name": "mine", "image": str(head[0] / "atlas.nii.gz")} | changed.pop("atlas", {})
    entry = head[1] | changed
    folder = folder or head[0] / "results" / "tractography"
    return run_person(entry, load_atlas("seitzman300"), folder, atlas, SPEC, ANATOMY)


def test_arcs_join_what_lies_opposite(head, known_anatomy, monkeypatch):
    """From files to matrices: fibres run in coronal planes, so that both ends of a connection are as far back."""
    row = traced(head, known_anatomy, monkeypatch)
    assert row["problem"] == "" and 0 < row["mean_fd"] < 1
    folder = head[0] / "results" / "tractography"
    matrices, about = read_person(folder / row["matrices"])
    nodes = load_atlas("seitzman300")
    assert list(matrices["count"].index) == nodes["name"].tolist() == list(matrices["fa"].columns)
    count, fa, length = (matrices[name].to_numpy() for name in ("count", "fa", "length"))
    np.testing.assert_array_equal(count, count.T)
    assert (np.isnan(fa) == (count == 0)).all() and (np.isnan(length) == (count == 0)).all()
    pairs = np.triu_indices(len(nodes), 1)
    apart = np.abs(nodes["y"].to_numpy()[pairs[0]] - nodes["y"].to_numpy()[pairs[1]])
    assert np.average(apart, weights=count[pairs]) < 0.25 * apart.mean()
    quality = about["quality"]
    assert 200 < quality["connecting_streamlines"] == count.sum() / 2
    assert quality["dice_dwi_t1w"] > 0.95 and quality["field_rms"] < 0.2 and quality["fa_callosum"] > 0.5
    assert 0.4 < np.nanmedian(fa) < 0.75 and quality["dropped_slices"] == 0
    kept = sorted(path.name for path in (head[0] / "results/preprocess/anatomy").glob("sub-01_*"))
    assert len(kept) == 1  # the anatomy that the resting scan has, or will have


def copied(head, folder):
    """Files of the person in another folder, and the entry there."""
    shutil.copytree(head[0] / "raw", folder)
    paths = ("bold", "reverse", "t1w")
    return {**head[1], **{key: str(folder / Path(head[1][key]).name) for key in paths}}


def no_bvec(entry, folder):
    (folder / "sub-01_dwi.bvec").unlink()


def few_bvals(entry, folder):
    path = folder / "sub-01_dwi.bval"
    path.write_text(" ".join(path.read_text().split()[:-1]))


def same_direction(entry, folder):
    shutil.copy(folder / "sub-01_dwi.json", folder / "sub-01_dir-PA_dwi.json")


def no_phase(entry, folder):
    (folder / "sub-01_dwi.json").write_text("{}")


def other_grid(entry, folder):
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.int16), np.eye(4)), entry["reverse"])


def cut_short(entry, folder):
    path = Path(entry["bold"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def weighted_reverse(entry, folder):
    (folder / "sub-01_dir-PA_dwi.bval").write_text("1000 1000")


def empty_reverse(entry, folder):
    image = nib.load(entry["reverse"])
    nib.save(
        nib.Nifti1Image(np.asarray(image.dataobj, np.float32) * np.float32([1, 0]), image.affine), entry["reverse"]
    )


def whole_reverse(entry, folder):
    shutil.copy(entry["bold"], entry["reverse"])


def milliseconds(entry, folder):
    path = folder / "sub-01_dir-PA_dwi.json"
    path.write_text(json.dumps({"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.9}))


def volume_removed(entry, folder):
    for end, axis in ((".bval", 0), (".bvec", 1)):
        path = folder / f"sub-01_dwi{end}"
        np.savetxt(path, np.atleast_2d(np.roll(np.loadtxt(path), -1, axis)), "%g")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty_reverse, r"b0 2 .from 1. is empty"),
        (whole_reverse, r"differ in brightness by .*Write its \.bval"),
        (milliseconds, "TotalReadoutTime is 0.9, that of the diffusion images"),
        (volume_removed, "is a b0 by the .bval, and as dark as weighted ones"),
        (no_bvec, r"sub-01_dwi\.bvec"),
        (few_bvals, "volumes disagree: .*32.* 33"),
        (same_direction, "opposite one is needed"),
        (no_phase, "PhaseEncodingDirection is None"),
        (other_grid, "has another grid than"),
        (cut_short, "fetch it again"),
        (weighted_reverse, "expected one each, some of them at most 50"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(head, tmp_path, spoil, said):
    from dysconnect.diffusion.clean import cleaned

    entry = copied(head, tmp_path / "raw")
    spoil(entry, tmp_path / "raw")
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        scan = read_scan(entry["bold"], entry["reverse"])
        given = scan.bvals, scan.bvecs, scan.encoding, scan.reverse, scan.reverse_encoding
        cleaned(scan.data, scan.affine, *given)


def test_without_a_reversed_b0_it_is_said_and_goes_on(head):
    scan = read_scan(head[1]["bold"])
    assert scan.reverse is None and "distortion by susceptibility is not corrected" in scan.notes[0]
    lengths = np.linalg.norm(scan.bvecs, axis=1)
    np.testing.assert_allclose(lengths, [0, 0, 0] + [1] * 30, atol=1e-6)


def test_a_problem_stays_in_the_row(head, known_anatomy, monkeypatch, tmp_path):
    row = traced(head, known_anatomy, monkeypatch, tmp_path, problem="no dwi scan among its 4 files")
    assert row["problem"].startswith("no dwi scan") and not row["matrices"]
    assert (
        "Choose an atlas with a label image"
        in traced(head, known_anatomy, monkeypatch, tmp_path, atlas={"image": None})["problem"]
    )


def test_tissues_sum_to_one_and_regions_are_grey():
    white, fluid, brain = np.zeros((3, 12, 12, 12))
    brain[2:10, 2:10, 2:10], white[3:9, 3:9, 3:9], fluid[4, 4, 4], white[4, 4, 4] = 1, 0.9, 0.8, 0.1
    labels = np.zeros((24, 24, 24), np.int32)
    labels[12:16, 12:16, 12:16] = 5
    fine = np.diag([0.5, 0.5, 0.5, 1])
    fine[:3, 3] = -0.25
    tissues = tissues_of(white, fluid, brain, nib.Nifti1Image(labels, fine), np.eye(4))
    np.testing.assert_allclose(tissues.white + tissues.grey + tissues.fluid, 1, atol=1e-6)
    assert min(share.min() for share in (tissues.white, tissues.grey, tissues.fluid)) >= -1e-6
    assert tissues.fluid[0, 0, 0] == 1 and tissues.fluid[4, 4, 4] > 0.7 and tissues.white[8, 8, 8] > 0.85
    assert tissues.grey[6, 6, 6] > 0.7 and tissues.grey[2, 5, 5] == pytest.approx(1)


@pytest.fixture
def people(tmp_path, nodes):
    """Rows of three people: the second lacks edges and a reversed b0, the last a scan."""
    few, rng, rows = nodes.head(6), np.random.default_rng(0), []
    for k, name in enumerate(("sub-1", "sub-2")):
        fa = rng.uniform(0.2, 0.6, (6, 6))
        fa = (fa + fa.T) / 2
        count = np.round(50 * fa) * (1 - np.eye(6))
        if k:
            fa[0, 1] = fa[1, 0] = np.nan
            count[0, 1] = count[1, 0] = 0
        np.fill_diagonal(fa, np.nan)
        matrices = {"fa": fa, "count": count, "density": count / 7, "length": 100 * fa}
        about = {"quality": {"snr_b0": 20.0 + k, "mean_fd": 0.1 + k, "field_rms": np.nan if k else 0.8}}
        write_person(tmp_path / "people" / f"{name}.h5", matrices, few["name"], {}, np.eye(4), about)
        rows.append(
            {"participant_id": name, "matrices": f"people/{name}.h5", "mean_fd": str(0.1 + k)}
            | {"note": "b = 3000" * k, "problem": ""}
        )
    rows.append({"participant_id": "sub-3", "matrices": "", "mean_fd": "nan", "note": "", "problem": "no dwi scan"})
    return few, pd.DataFrame(rows), tmp_path


@pytest.mark.parametrize(("measure", "stored"), [("fa", "fa"), ("count", "density"), ("length", "length")])
def test_connectomes_are_what_was_traced(people, measure, stored):
    """An edge without streamline is missing in FA and length, and zero in counts; motion is that of the scan."""
    few, rows, folder = people
    index, quality = collected(rows, folder, traced_matrices(measure), "keep")
    write_index_of_matrices(index, folder / "matrices.tsv")
    assert quality["participant_id"].tolist() == ["sub-1", "sub-2"] and quality["snr_b0"].tolist() == [20, 21]
    table = pd.DataFrame({"participant_id": rows["participant_id"], "exclusion_reason": ""})
    spec = {"max_mean_fd": 5.0, "max_missing_regions": 0.2}
    judged, kept = judge_matrices(table, read_index_of_matrices(folder / "matrices.tsv"), few, spec, [])
    assert judged["included"].tolist() == [True, True, False] and judged["exclusion_reason"].iloc[2] == "no dwi scan"
    assert judged["mean_fd"].iloc[:2].tolist() == [0.1, 1.1]
    assert kept["note"].tolist() == ["", "b = 3000"]
    made = matrix_connectomes(kept, few, measure)
    pairs = np.triu_indices(6, 1)
    for k, name in enumerate(("sub-1", "sub-2")):
        truth = read_person(folder / "people" / f"{name}.h5")[0][stored].to_numpy()[pairs]
        expected = np.log1p(truth) if measure == "count" else truth
        np.testing.assert_allclose(made.values[k], expected, rtol=1e-4)
    assert np.isnan(made.values[1]).sum() == (measure != "count")


@pytest.mark.parametrize(("measure", "left_out"), [("fa", False), ("count", True), ("length", True)])
def test_who_is_not_corrected_is_left_out_of_what_depends_on_where_streamlines_end(people, measure, left_out):
    _, rows, folder = people
    index, quality = collected(rows, folder, traced_matrices(measure))
    index = index.set_index("participant_id")
    assert index["processing"].tolist() == ["distortion corrected", "distortion not corrected", ""]
    assert index.loc["sub-1", "problem"] == "" and index.loc["sub-3", "problem"] == "no dwi scan"
    assert index.loc["sub-2", "problem"].startswith("no b0 of the opposite phase encoding") == left_out
    assert ("tractography.uncorrected=keep" in index.loc["sub-2", "problem"]) == left_out
    assert len(quality) == 2  # how good a scan is does not depend on the measure
    kept, _ = collected(rows, folder, traced_matrices(measure), "keep")
    assert kept["problem"].tolist() == ["", "", "no dwi scan"]


NAMES = [
    "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/dwi/sub-1_dwi.nii.gz", "sub-1/dwi/sub-1_dwi.bval", "sub-1/dwi/sub-1_dwi.bvec",
    "sub-1/dwi/sub-1_dir-PA_dwi.nii.gz", "sub-1/dwi/sub-1_dir-PA_dwi.bval", "sub-1/func/sub-1_task-rest_bold.nii.gz",
]  # fmt: skip
ASKED = {"kind": "bids", "task": "dwi"}


def test_diffusion_images_are_found_by_name():
    found = find_scan(NAMES, ASKED)
    assert found["bold"] == "sub-1/dwi/sub-1_dwi.nii.gz" and found["t1w"] == NAMES[0]
    assert found["reverse"] == "sub-1/dwi/sub-1_dir-PA_dwi.nii.gz" and found["bvec"] == NAMES[3]
    assert find_scan(NAMES, ASKED | {"task": "rest"})["bold"] == NAMES[-1]
    assert "reverse" not in find_scan(NAMES, ASKED | {"task": "rest"})


def test_a_direction_in_both_names_is_asked_for():
    both = [name.replace("sub-1_dwi", "sub-1_dir-AP_dwi") for name in NAMES]
    with pytest.raises(ValueError, match="dir"):
        find_scan(both, ASKED)
    found = find_scan(both, ASKED | {"entities": {"dir": "AP"}})
    assert found["bold"].endswith("dir-AP_dwi.nii.gz") and found["reverse"].endswith("dir-PA_dwi.nii.gz")


def test_a_field_map_may_be_the_reversed_b0_and_another_session_may_not():
    fmap = [NAMES[0], NAMES[1].replace("_dwi", "_dir-AP_dwi"), "sub-1/fmap/sub-1_acq-dwi_dir-PA_epi.nii.gz"]
    assert find_scan(fmap, ASKED)["reverse"] == fmap[2]
    sessions = [name.replace("sub-1/", "sub-1/ses-1/").replace("sub-1_", "sub-1_ses-1_") for name in NAMES[:4]]
    sessions.append("sub-1/ses-2/dwi/sub-1_ses-2_dir-PA_dwi.nii.gz")
    assert find_scan(sessions, ASKED | {"session": "ses-1"})["reverse"] == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"localize": {"measure": "correlation"}}, "diffusion images, which give no correlation"),
        ({"atlas": {"name": "seitzman300"}}, "atlas=seitzman300 has spheres"),
        ({"preprocess": {"engine": "fmriprep"}}, "need preprocess=ants"),
    ],
)
def test_what_diffusion_cannot_give_is_refused_before_any_job(changed, said):
    cohort = {
        "dataset": {"name": "mine", "kind": "matrices"}, "localize": {"measure": "fa"}, "validate": {"cohorts": {}},
        "atlas": {"name": "wholebrain100", "image": "x.nii.gz"}, "preprocess": {"engine": "ants"},
    }  # fmt: skip
    check_tracts(cohort)
    with pytest.raises(ConfigError, match=said):
        check_tracts(cohort | changed)


def test_matrices_are_tables_that_others_read(people):
    few, rows, folder = people
    collected(rows, folder, traced_matrices("fa"))
    table = pd.read_csv(folder / "matrices/sub-1_meas-fa_relmat.tsv", sep="\t", index_col=0)
    assert table.index.tolist() == table.columns.tolist() == few["name"].tolist()
    assert json.loads(json.dumps(read_person(folder / "people/sub-1.h5")[1]))["quality"]["snr_b0"] == 20


def test_the_field_map_is_that_of_these_scans_and_of_the_opposite_direction(tmp_path):
    """Names do not say which of two directions is the opposite one; field maps of BOLD lie in the same folder."""
    maps = {"acq-bold_dir-PA": "j", "acq-dwi_dir-AP": "j-", "acq-dwi_dir-LR": "i", "acq-dwi_dir-PA": "j"}
    paths = {"dwi/sub-1_dwi": "j-"} | {f"fmap/sub-1_{name}_epi": way for name, way in maps.items()}
    for path, way in paths.items():
        (tmp_path / "sub-1" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"sub-1/{path}.json").write_text(json.dumps({"PhaseEncodingDirection": way}))
    files = [f"sub-1/{path}.nii.gz" for path in paths]
    assert opposite(files[0], files, tmp_path) == files[-1]
    (tmp_path / "sub-1/dwi/sub-1_dwi.json").unlink()
    assert opposite(files[0], files, tmp_path) == files[2]  # who reads it says what is wrong
    assert opposite(files[0], files[:2], tmp_path) == ""
