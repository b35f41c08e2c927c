"""Finger tapping of nine people from a server to the report: images go on the way, and what fails alone is named."""

import copy
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from test_workflow_images import Project
from tiny import point_at, served

from dysconnect.acquire.manifest import read_manifest
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import read_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.series import read_index
from dysconnect.planted.tapping import Tapping, edge_sources, tapping_events, tapping_series

ROOT = Path(__file__).parents[1]
REST = "sub-C01710"  # whose resting scan was analysed before
ONLY_REST, MILLISECONDS, BROKEN, CUT = "sub-C01713", "sub-C01722", "sub-P00782", "sub-P00795"
GROUPS = {
    "HC": [REST, "sub-C01718", "sub-C01719", ONLY_REST, MILLISECONDS],
    "ULD": ["sub-P00888", "sub-P00790", CUT, BROKEN],
}
PEOPLE = [name for names in GROUPS.values() for name in names]
TAPPED = sorted(set(PEOPLE) - {ONLY_REST})
USED = sorted(set(TAPPED) - {MILLISECONDS, BROKEN})
DUMMIES, VOLUMES, SHORT, SECONDS = 2, 242, 80, 2.0
REGIONS = [0, 60, 120, 180, 240, 247, 250, 253, 256, 265, 274, 298]  # of the Seitzman atlas
LOW = 10  # of these, in the lower cerebellum
COUPLED, ACTIVE = (3, 7), 1  # a pair that shares a source while tapping, and a region that responds
COARSE = ("preprocess.transform=affine", "preprocess.resolution=4", f"dataset.participants=[{','.join(PEOPLE)}]")
MEASURES = ("task_change", "task")
FEW = (
    "denoise.min_seconds=100",
    "localize.measure=task_change",
    "localize.attribution=task_change_ridge",
    "localize.nuisance=[]",
    "quality.permutations=100",
    "training.permutations=9",
)
RIDGE = "# @package _global_\ndefaults:\n  - override /connectivity: {}\n  - override /model: ridge\n"

pytestmark = pytest.mark.workflow
pytest.importorskip("ants", reason="antspyx is not installed: pip install -e '.[imaging]' -c requirements.lock")


# In the place of three modules: where the head lies and how little it moves is known here, and estimated in other tests
PLACED = """

def register_bold(*_):
    return np.array({matrix}), {{"mi_bold_t1w_before": 0.5, "mi_bold_t1w_after": 1.0}}


def points_to_bold(*_):
    return np.array({points})
"""
STILL = """

def register(volumes, affine, **_):
    reference = _mean_volume(volumes, range(20))
    mask = foreground(reference, affine)
    moves = np.random.default_rng(int(volumes[..., -1].sum())).standard_normal((volumes.shape[3], 6))
    return Motion(moves * ([0.01] * 3 + [0.0001] * 3), centre_of_mass(mask, affine), reference, mask)
"""
DRAWN = """

def registration_figure(*_):
    return Figure(figsize=(1, 1))
"""


def regions() -> pd.DataFrame:
    return load_atlas("seitzman300").iloc[REGIONS].assign(radius=10.0)


def tapped_image(still: nib.Nifti1Image, owner: np.ndarray, seed: int) -> tuple[nib.Nifti1Image, pd.DataFrame]:
    """A head that lies still and taps: one source shared while it does, one response; and its events."""
    rng, n = np.random.default_rng(seed), len(REGIONS)
    events = tapping_events(VOLUMES, SECONDS, rng)
    sources = edge_sources(*np.array([COUPLED]).T, n, 2.0)
    truth = Tapping(np.eye(n), sources, 3.0 * (np.arange(n) == ACTIVE))
    signal = tapping_series(events, VOLUMES, SECONDS, truth, rng)[0] - 1000
    volumes = np.asarray(still.dataobj, float)[..., [*range(DUMMIES), *[DUMMIES] * (VOLUMES - DUMMIES)]]
    volumes[owner >= 0] *= 1 + 0.002 * signal.T[owner[owner >= 0]]
    volumes += 10 * rng.standard_normal(volumes.shape)
    return nib.Nifti1Image(volumes.clip(0).astype(np.int16), still.affine), events


def still_head(nodes: pd.DataFrame) -> tuple[nib.Nifti1Image, nib.Nifti1Image, np.ndarray, dict[str, str]]:
    """A T1w, three volumes of which two are bright, the region of every voxel (none: -1), and what is known."""
    from nibabel.affines import apply_affine
    from phantom import Head, _grid, bold_image, t1w_image
    from scipy.spatial import cKDTree

    head = Head(nodes, DUMMIES + 1, SECONDS, seed=0, voxel=8.0, shape=(24, 27, 24), motion=0)
    back = np.linalg.inv(head.to_reference)
    places = head.from_t1w(apply_affine(back, _grid(head.shape, head.bold_affine)))
    away, owner = cKDTree(nodes[["x", "y", "z"]].to_numpy()).query(places)
    still = bold_image(head, noise=0, percent=0, drift=0, dummies=DUMMIES)
    points = head.to_bold(nodes[["x", "y", "z"]].to_numpy(float))
    placed = PLACED.format(matrix=back.tolist(), points=points.tolist())
    given = {"anatomy/registration": placed, "preprocess/motion": STILL, "preprocess/pictures": DRAWN}
    return t1w_image(head, 4.0), still, np.where(away < 15, owner, -1).reshape(head.shape), given


def write_scan(folder: Path, name: str, task: str, image: nib.Nifti1Image, seconds: float, direction: str) -> None:
    """Write a scan; it is called .gz and not packed, as nine of the real ones are."""
    image.header.set_zooms((*image.header.get_zooms()[:3], seconds))
    image.header.set_xyzt_units("mm", "sec")
    path = folder / f"{name}/func/{name}_task-{task}_bold.nii.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(image.to_bytes())
    sidecar = {"RepetitionTime": seconds, "PhaseEncodingDirection": direction, "SoftwareVersions": "E11"}
    path.with_name(f"{name}_task-{task}_bold.json").write_text(json.dumps(sidecar))


def like_ds006395(folder: Path) -> dict[str, str]:
    """Write nine people under names of the real data set, all of one head, and what is wrong with four of them.

    Returns what is known of the head, by the module that is given it.
    """
    t1w, still, owner, given = still_head(regions())
    for seed, name in enumerate(PEOPLE):
        (folder / name / "anat").mkdir(parents=True)
        if seed:
            shutil.copytree(folder / REST / "anat", folder / name / "anat", dirs_exist_ok=True)
            next((folder / name / "anat").glob("*.gz")).rename(folder / f"{name}/anat/{name}_T1w.nii.gz")
        else:
            nib.save(t1w, folder / f"{name}/anat/{name}_T1w.nii.gz")
        (folder / f"{name}/anat/{name}_T1w.json").write_text("{}")
        image, events = tapped_image(still, owner, seed)
        if name in (REST, ONLY_REST):
            write_scan(folder, name, "rest", image.slicer[..., :24], 0.9, "j")
        if name == CUT:  # three slices of 8 mm above the lowest of the others
            image = image.slicer[:, :, 6:]
        if name in (MILLISECONDS, BROKEN):  # nobody needs more of them
            image, events = image.slicer[..., :SHORT], events[events["onset"] < SHORT * SECONDS]
        if name == MILLISECONDS:
            events = events.assign(onset=1000 * events["onset"], duration=1000 * events["duration"])
        if name == BROKEN:
            events = events.astype({"onset": str}).replace({"onset": {"62.0": "62,0"}})
        if name != ONLY_REST:
            write_scan(folder, name, "finger", image, SECONDS, "j-")
            events.to_csv(folder / f"{name}/func/{name}_task-finger_events.tsv", sep="\t", index=False)
    head = "participant_id\tgroup\tsex\tage\tBurke-Fahn_scale"
    rows = [
        f"{name}\t{group}\t{'FM'[k % 2]}\t{40 + 3 * k}\t{k if group == 'ULD' else 0}"
        for group, names in GROUPS.items()
        for k, name in enumerate(names)
    ]
    (folder / "participants.tsv").write_text("\n".join([head, *rows, ""]))
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.2.1"}))
    return given


def manifest_of(folder: Path, base: str, name: str = "ds006395", people: list[str] = PEOPLE) -> pd.DataFrame:
    """The real manifest; what the server has of people comes from there, and nothing else of them exists."""
    real = read_manifest(ROOT / f"configs/manifest/{name}.tsv")
    there = real["path"].map(lambda path: (folder / path).exists())
    return pd.concat([point_at(real[there], folder, base), real[~real["participant_id"].isin(["", *people])]])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One resting scan, its images kept; then everybody's tapping to the report, its images deleted on the way.

    All have the same T1w. It is registered once; the others find it as if their resting scans had been analysed too.
    """
    root = tmp_path_factory.mktemp("finger")
    given = like_ds006395(root / "server")
    with served(root / "server") as (base, requests):
        rest = Project(root / "project", "ds006395", manifest_of(root / "server", base).sort_values("path"))
        for module, text in given.items():
            with (rest.folder / f"src/dysconnect/{module}.py").open("a") as file:
                file.write(text)
        regions().to_csv(rest.folder / "tiny.tsv", sep="\t", index=False)
        for measure in MEASURES:
            (rest.folder / f"configs/experiment/{measure}_ridge.yaml").write_text(RIDGE.format(measure))
        done = rest.snakemake("--until", "preprocess_cohort", overrides=(*COARSE[:2], f"dataset.participants=[{REST}]"))
        assert done.returncode == 0, rest.said(done)
        asked = len(requests)
        kept = next((rest.results / "preprocess/anatomy").glob(f"{REST}_*"))
        for name in set(TAPPED) - {REST}:
            shutil.copytree(kept, kept.with_name(kept.name.replace(REST, name)))
        finger = copy.copy(rest)
        finger.dataset, finger.results = "ds006395_finger", rest.folder / "results/ds006395_finger"
        choice = ("denoise=task", f"experiment={','.join(f'{measure}_ridge' for measure in MEASURES)}")
        report = "results/ds006395_finger/report/index.html"
        done = finger.snakemake(report, "--cores", "1", overrides=(*COARSE, *FEW, "acquire.keep=false"), config=choice)
        assert done.returncode == 0, finger.said(done)
        yield rest, finger, [[path.lstrip("/") for path in part] for part in (requests[:asked], requests[asked:])]


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", keep_default_na=False)


def test_each_task_fetches_its_own_and_a_t1w_comes_once(both):
    _, _, (first, second) = both
    assert not any("finger" in path for path in first) and sum("_T1w.nii.gz" in path for path in first) == 1
    ends = ("bold.json", "bold.nii.gz", "events.tsv")
    func = [f"{name}/func/{name}_task-finger_{end}" for name in TAPPED for end in ends]
    anat = [f"{name}/anat/{name}_T1w.{end}" for name in TAPPED if name != REST for end in ("json", "nii.gz")]
    assert sorted(second) == sorted(["dataset_description.json", "participants.tsv", *func, *anat])


def test_images_of_the_task_are_gone_and_those_that_rest_keeps_are_not(both):
    rest, _, _ = both
    data = rest.folder / "results/data/ds006395"
    left = {path.name for path in data.rglob("*.nii.gz")}
    assert left == {f"{REST}_{what}.nii.gz" for what in ("T1w", "task-rest_bold")}
    assert len(list(data.rglob("*_events.tsv"))) == len(TAPPED)


def test_the_t1w_is_registered_once(both):
    rest, finger, _ = both
    log = rest.folder / "results/logs/{}/preprocess" / f"{REST}.log"
    said = [Path(str(log).format(each.dataset)).read_text() for each in (rest, finger)]
    assert "already" not in said[0] and "its T1w was registered for ds006395 already" in said[1]
    places = [next((each.results / "preprocess/anatomy").glob(f"{REST}_*")) for each in (rest, finger)]
    assert places[0].name == places[1].name
    engines = [each.results / f"preprocess/bold/{REST}_desc-engine.json" for each in (rest, finger)]
    measures = [json.loads(path.read_text())["measures"] for path in engines]
    assert all(measures[0][key] == measures[1][key] for key in measures[0] if "t1w_template" in key)


def test_the_index_of_series_has_events_only_of_the_task(both):
    rest, finger, _ = both
    assert not {"events", "start_time"} & set(read_index(rest.results / "preprocess/series.tsv"))
    index = read_index(finger.results / "preprocess/series.tsv").set_index("participant_id")
    assert set(index.index) == set(TAPPED) and not index["problem"].any()
    assert Path(index.loc[REST, "events"]).read_text().startswith("onset\tduration\ttrial_type\n0.0\t30.0\t")
    assert set(index["start_time"]) == {5.0}  # two volumes of 2 s were left out, and half of the third
    assert not read(finger.results / "preprocess/series.tsv")["events"].str.startswith("/").any()  # it can be moved


def test_who_cannot_be_used_is_named_and_stops_nobody(both):
    _, finger, _ = both
    people = pd.read_csv(finger.results / "timeseries/participants.tsv", sep="\t").set_index("participant_id")
    assert sorted(people.index[people["included"]]) == USED
    reasons, page = people["exclusion_reason"], (finger.results / "report/index.html").read_text()
    for name, words in ((ONLY_REST, "no finger scan"), (MILLISECONDS, "milliseconds?"), (BROKEN, "62,0")):
        assert words in reasons[name] and name in page and words in page
    assert people.loc[USED, ["mean_fd_task", "mean_fd_rest"]].gt(0).all().all()


def test_the_lower_cerebellum_of_one_person_is_said_to_be_outside(both):
    _, finger, _ = both
    quality = json.loads((finger.results / "quality/summary.json").read_text())
    low, page = regions()["name"].iloc[LOW], (finger.results / "report/index.html").read_text()
    assert quality["people"] == [{"participant_id": CUT, "group": "ULD", "regions": 1, "outside": 1}]
    assert [row["region"] for row in quality["regions"]] == [low]
    assert CUT in page and low in page and "outside the field of view" in page


def test_what_was_planted_in_the_images_is_in_both_measures(both):
    """Coupled while tapping and not at rest; a region that only responds is connected to nothing."""
    _, finger, _ = both
    names, (rows, cols) = regions()["name"].to_numpy(), Pairs(len(REGIONS)).ends
    planted = (rows == COUPLED[0]) & (cols == COUPLED[1])
    for measure in MEASURES:
        held = read_connectomes(finger.results / f"connectivity/seitzman300_{measure}.h5")
        assert list(held.nodes) == list(names) and len(held.values) == len(USED)
        mean = np.nanmean(held.values, axis=0)
        assert mean[planted] > 0.4 and np.abs(mean[~planted]).max() < mean[planted]
    regional = read(finger.results / "localize/regional.tsv").set_index("region")
    assert (regional[["mean_cases", "mean_controls"]].idxmax() == names[ACTIVE]).all()
    for path in (finger.results / "timeseries").rglob("*_timeseries.json"):
        assert json.loads(path.read_text())["DegreesOfFreedom"] >= 100


def test_the_report_says_what_was_removed_and_how_both_groups_moved(both):
    _, finger, _ = both
    page = (finger.results / "report/index.html").read_text()
    assert "all responses to the task" in page and "fewer than 100 degrees of freedom" in page
    assert "Motion during the task" in page and "Motion at rest" in page
    assert "in the volumes of the task less that in those of rest" in page
