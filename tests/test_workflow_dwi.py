"""Diffusion images of nine people from a server to the report: every step is computed, and images go on the way."""

import copy
import json
import re
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from phantom import Head, t1w_image
from test_workflow_finger import manifest_of, write_scan
from test_workflow_images import Project
from tiny import served

from dysconnect.anatomy.kept import keep_anatomy, place_of
from dysconnect.anatomy.registration import prepare_anatomy
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import read_connectomes
from dysconnect.data.edges import Pairs

REST = "sub-C01710"  # whose resting scan was fetched before
SAME, NO_T1W, NO_REVERSE = "sub-C01722", "sub-C01725", "sub-P00795"
MISMATCHED, CUT = "sub-P00782", "sub-P00804"
GROUPS = {
    "HC": [REST, "sub-C01718", "sub-C01719", SAME, NO_T1W],
    "ULD": ["sub-P00886", NO_REVERSE, MISMATCHED, CUT],
}
PEOPLE = [name for names in GROUPS.values() for name in names]
USED = sorted(set(PEOPLE) - {SAME, NO_T1W, MISMATCHED, CUT})
REASONS = {  # what is wrong, and what to do about it
    SAME: ("PhaseEncodingDirection is j-, that of the diffusion images j-", "Mend the sidecar, or take another image"),
    NO_T1W: ("no T1w beside", "Add one, or leave the person out"),
    MISMATCHED: ("volumes disagree", "Take the files of one conversion"),
    CUT: ("the image is cut short", "fetch or convert it again"),
}
JOINED = [(29, 46), (201, 203), (50, 53), (101, 240), (63, 207), (16, 25)]  # of the Seitzman atlas: ends of one arc
REGIONS = sorted(region for pair in JOINED for region in pair)
DIRECTIONS, STILLS, SHAPE, VOXEL = 15, 2, (24, 29, 24), 6.5
REGISTERED = {"transform": "affine", "resolution": 4, "seed": 0}
COARSE = (
    *(f"preprocess.{key}={value}" for key, value in REGISTERED.items()),
    "atlas.nodes=tiny.tsv", "+atlas.image=tiny.nii.gz", "stimulate.experiment=null",
    "tractography.noise=false", "tractography.ringing=false", "tractography.seeds=3000", "tractography.reach=4",
    "tractography.fewest=1",
    "denoise.max_mean_fd=5", "localize.nuisance=[]", "quality.permutations=100", "training.permutations=9",
    f"dataset.participants=[{','.join(PEOPLE)}]", "acquire.keep=false",
)  # fmt: skip

pytestmark = pytest.mark.workflow
pytest.importorskip("ants", reason="antspyx is not installed: pip install -e '.[imaging]' -c requirements.lock")
pytest.importorskip("dipy", reason="dipy is not installed: pip install -e '.[diffusion]' -c requirements.lock")


def write_dwi(folder: Path, name: str, image: nib.Nifti1Image, along: np.ndarray, seed: int) -> None:
    """Write a person's diffusion images with noise of their own, and what is wrong with them."""
    noisy = np.asarray(image.dataobj) + 10 * np.random.default_rng(seed).standard_normal(image.shape)
    image = nib.Nifti1Image(noisy.clip(0).astype(np.int16), image.affine)
    stem = folder / f"{name}/dwi/{name}"
    stem.parent.mkdir(parents=True)
    scans = {"dwi": (image, "j-", along), "dir-PA_dwi": (image.slicer[..., :1], "j", np.zeros((1, 3)))}
    if name == NO_REVERSE:
        del scans["dir-PA_dwi"]
    for kind, (scan, direction, vectors) in scans.items():
        nib.save(scan, f"{stem}_{kind}.nii.gz")
        sidecar = {"RepetitionTime": 3.151, "PhaseEncodingDirection": "j-" if name == SAME else direction}
        sidecar |= {"TotalReadoutTime": 0.05, "SoftwareVersions": "syngo_MR_E11"}
        Path(f"{stem}_{kind}.json").write_text(json.dumps(sidecar))
        bvals = np.where(vectors.any(1), 1000, 5)
        np.savetxt(f"{stem}_{kind}.bval", bvals[: len(bvals) - (name == MISMATCHED)][None], "%d")
        np.savetxt(f"{stem}_{kind}.bvec", vectors.T, "%.8f")
    if name == CUT:
        path = Path(f"{stem}_dwi.nii.gz")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def like_ds006395(folder: Path) -> None:
    """Write people under names of the real data set, all of one head, with the traps of the real participants.tsv."""
    from tractperson import diffusion_image

    head = Head(load_atlas("seitzman300"), 2, 2.0, seed=0, voxel=VOXEL, shape=SHAPE, motion=0.2)
    image, bvecs = diffusion_image(head, DIRECTIONS, STILLS, noise=0.04)
    left, _, right = np.linalg.svd(image.affine[:3, :3])
    t1w = t1w_image(head, 4.0)
    for seed, name in enumerate(PEOPLE):
        write_dwi(folder, name, image, bvecs @ (left @ right), seed)
        if name != NO_T1W:
            (folder / name / "anat").mkdir()
            nib.save(t1w, folder / f"{name}/anat/{name}_T1w.nii.gz")
            (folder / f"{name}/anat/{name}_T1w.json").write_text("{}")
    still = nib.Nifti1Image(np.ones((4, 4, 4, 24), np.int16), np.eye(4))
    write_scan(folder, REST, "rest", still, 0.9, "j")
    rows = [
        f"{name}\t{group}\t{'m' if name == 'sub-P00886' else 'FM'[k % 2]}\t{40 + 3 * k}\t{k if group == 'ULD' else 0}"
        for group, names in GROUPS.items()
        for k, name in enumerate(names)
    ]
    (folder / "participants.tsv").write_text(
        "\n".join(["participant_id\tgroup\tsex\tage\tBurke-Fahn_scale", *rows, ""])
    )
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.2.1"}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One person's rest, fetched; everybody's diffusion to the report; and who is left when streamlines are counted."""
    from tractperson import write_atlas

    root = tmp_path_factory.mktemp("dwi")
    like_ds006395(root / "server")
    with served(root / "server") as (base, requests):
        dwi = Project(root / "project", "ds006395_dwi", manifest_of(root / "server", base, "ds006395_dwi", PEOPLE))
        rest = manifest_of(root / "server", base, people=PEOPLE).sort_values("path")
        rest.to_csv(dwi.folder / "configs/manifest/ds006395.tsv", sep="\t", index=False)
        nodes = load_atlas("seitzman300").iloc[REGIONS]
        nodes.to_csv(dwi.folder / "tiny.tsv", sep="\t", index=False)
        write_atlas(dwi.folder / "tiny.nii.gz", nodes)
        before = copy.copy(dwi)
        before.dataset = "ds006395"
        done = before.snakemake("--until", "download", overrides=(f"dataset.participants=[{REST}]",))
        assert done.returncode == 0, dwi.said(done)
        asked, tables = len(requests), {}
        keep_anatomies(root / f"server/{REST}/anat/{REST}_T1w.nii.gz", dwi.folder / "results/ds006395")
        for measure, target in (("fa", "report/index.html"), ("count", "timeseries/participants.tsv")):
            make(dwi, measure, target)
            tables[measure] = read(dwi.results / "timeseries/participants.tsv").set_index("participant_id")
        parts = requests[:asked], requests[asked:]
        yield dwi, tables, [[path.lstrip("/") for path in part] for part in parts]


def make(project: Project, measure: str, target: str) -> None:
    choice = (f"connectivity={measure}", "experiment=floor,ridge")
    done = project.snakemake(f"results/ds006395_dwi/{target}", "--cores", "1", overrides=COARSE, config=choice)
    assert done.returncode == 0, project.said(done)


def keep_anatomies(t1w: Path, rest: Path) -> None:
    """Register the one T1w that all have, and keep it as if everybody's resting scan had been analysed before."""
    place = place_of(t1w, rest / "preprocess/anatomy", REST, REGISTERED)
    with tempfile.TemporaryDirectory() as scratch:
        keep_anatomy(prepare_anatomy(t1w, Path(scratch), REGISTERED), place)
    for name in set(USED) - {REST}:
        shutil.copytree(place, place.with_name(place.name.replace(REST, name)))


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False)


def test_a_t1w_is_fetched_and_registered_once_for_rest_and_diffusion(finished):
    dwi, _, (first, second) = finished
    t1w = [path for path in second if path.endswith("_T1w.nii.gz")]
    assert f"{REST}/anat/{REST}_T1w.nii.gz" in first
    assert sorted(t1w) == sorted(f"{name}/anat/{name}_T1w.nii.gz" for name in set(PEOPLE) - {REST, NO_T1W})
    assert len(second) == len(set(second)) and not any("/func/" in path for path in second)
    for name in USED:
        log = (dwi.folder / f"results/logs/ds006395_dwi/tractography/{name}.log").read_text()
        assert "its T1w was registered for ds006395 already" in log


def test_images_are_gone_but_those_that_rest_keeps_and_the_matrices_stay(finished):
    dwi, _, _ = finished
    left = {path.name for path in (dwi.folder / "results/data/ds006395").rglob("*.nii.gz")}
    assert left == {f"{REST}_{what}.nii.gz" for what in ("T1w", "task-rest_bold")}
    assert [path.stem for path in sorted((dwi.results / "tractography/people").glob("*.h5"))] == USED


def test_who_cannot_be_used_is_named_with_reason_and_remedy_and_stops_nobody(finished):
    dwi, tables, _ = finished
    people, page = tables["fa"], (dwi.results / "report/index.html").read_text()
    assert sorted(people.index[people["included"]]) == USED
    for name, (reason, remedy) in REASONS.items():
        assert reason in people.loc[name, "exclusion_reason"] and remedy in people.loc[name, "exclusion_reason"]
        assert name in page and reason in page
    assert people.loc["sub-P00886", "sex"] == "M"


def test_who_has_no_reversed_b0_is_kept_for_fa_and_left_out_of_counts(finished):
    dwi, tables, _ = finished
    counted = tables["count"]
    assert sorted(counted.index[counted["included"]]) == sorted({*USED} - {NO_REVERSE})
    assert "no b0 of the opposite phase encoding" in counted.loc[NO_REVERSE, "exclusion_reason"]
    quality = pd.read_csv(dwi.results / "tractography/quality.tsv", sep="\t").set_index("participant_id")
    assert quality.index[quality["field_rms"].isna()].tolist() == [NO_REVERSE]
    assert quality["dice_dwi_t1w"].min() > 0.9 and quality["fa_callosum"].min() > 0.5
    assert quality["regions_without_streamlines"].max() == 0


def test_the_regions_that_fibres_join_are_joined_in_everybody(finished):
    dwi, _, _ = finished
    held = read_connectomes(dwi.results / "connectivity/wholebrain100_fa.h5")
    assert sorted(held.subjects) == USED
    assert not held.missing.any()
    rows, cols = Pairs(len(REGIONS)).ends
    planted = np.array([(REGIONS[a], REGIONS[b]) in JOINED for a, b in zip(rows, cols)])
    traced = np.isfinite(held.values) & held.measured
    assert traced[:, planted].all() and held.values[:, planted].min() > 0.2
    assert traced[:, ~planted].mean() < 0.5


def test_the_report_has_connections_and_quality_and_no_nan(finished):
    dwi, _, _ = finished
    edges = read(dwi.results / "localize/edges.tsv")
    assert (edges["p_fwer"] != "").sum() >= len(JOINED)
    page = (dwi.results / "report/index.html").read_text()
    assert "distortion not corrected (1 patient, 0 controls)" in page
    assert all(words in page for words in ("Diffusion scans", "Displacement", "Lost slices", "r of neighbours"))
    assert f"In 1 of {len(USED)} scans distortion by susceptibility was not corrected" in page
    for path in (dwi.results / "report").rglob("*.html"):
        shown = re.sub(r"<(script|style).*?</\1>", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"\bnan\b", shown, re.IGNORECASE), path
