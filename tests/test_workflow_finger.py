"""Two tasks of the same people from a server: the T1w is fetched and registered once, images go, events stay."""

import copy
import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from test_workflow_images import Project
from tiny import point_at, served

from dysconnect.acquire.manifest import read_manifest
from dysconnect.data.series import read_index

ROOT = Path(__file__).parents[1]
PEOPLE = {"sub-C01710": "HC", "sub-P00888": "ULD"}
COARSE = ("preprocess.transform=affine", "preprocess.resolution=3", f"dataset.participants=[{','.join(PEOPLE)}]")
TABLE = "onset\tduration\ttrial_type\n0.0\t30.0\tright\n30.0\t30.0\trest\n"

pytestmark = pytest.mark.workflow
pytest.importorskip("ants", reason="antspyx is not installed: pip install -e '.[imaging]' -c requirements.lock")


def like_ds006395(folder: Path, made: Path) -> None:
    """Two heads under the names of the real data set: one run as both tasks, two volumes before the steady state."""
    for head, name in zip(("sub-01", "sub-02"), PEOPLE):
        for kind in ("anat", "func"):
            (folder / name / kind).mkdir(parents=True)
        shutil.copy(made / f"{head}/anat/{head}_T1w.nii.gz", folder / f"{name}/anat/{name}_T1w.nii.gz")
        (folder / f"{name}/anat/{name}_T1w.json").write_text("{}")
        for task, seconds, direction in (("rest", 0.9, "j"), ("finger", 2.0, "j-")):
            bold = folder / f"{name}/func/{name}_task-{task}_bold.nii.gz"
            shutil.copy(made / f"{head}/func/{head}_task-rest_bold.nii.gz", bold)
            sidecar = {"RepetitionTime": seconds, "PhaseEncodingDirection": direction, "SoftwareVersions": "E11"}
            bold.with_name(f"{name}_task-{task}_bold.json").write_text(json.dumps(sidecar))
        (folder / f"{name}/func/{name}_task-finger_events.tsv").write_text(TABLE)
    bold.write_bytes(gzip.decompress(bold.read_bytes()))  # called .gz and not packed
    rows = [f"{name}\t{group}\tF\t{40 + k}\t0" for k, (name, group) in enumerate(PEOPLE.items())]
    head = "participant_id\tgroup\tsex\tage\tBurke-Fahn_scale"
    (folder / "participants.tsv").write_text("\n".join([head, *rows, ""]))
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "tiny", "BIDSVersion": "1.2.1"}))


@pytest.fixture(scope="module")
def both(tmp_path_factory, nodes):
    """Rest with images kept, then finger tapping with images deleted on the way; what was asked of the server."""
    from phantom import write_phantom

    root = tmp_path_factory.mktemp("finger")
    coarse = {"voxel": 6.0, "shape": (32, 37, 32), "t1w_voxel": 3.0, "dummies": 2}
    write_phantom(root / "made", nodes, n_subjects=2, n_volumes=24, **coarse)
    like_ds006395(root / "server", root / "made")
    real = read_manifest(ROOT / "configs/manifest/ds006395.tsv")
    here = (real["participant_id"] == "") | real["participant_id"].isin(PEOPLE)
    with served(root / "server") as (base, requests):
        manifest = pd.concat([point_at(real[here], root / "server", base), real[~here]]).sort_values("path")
        rest = Project(root / "project", "ds006395", manifest)
        finger = copy.copy(rest)
        finger.dataset, finger.results = "ds006395_finger", rest.folder / "results/ds006395_finger"
        asked = []
        for project, more in ((rest, ()), (finger, ("acquire.keep=false",))):
            done = project.snakemake("--until", "preprocess_cohort", overrides=(*COARSE, *more))
            assert done.returncode == 0, project.said(done)
            asked.append([path.lstrip("/") for path in requests[sum(map(len, asked)) :]])
        yield rest, finger, asked


def test_each_task_fetches_its_own_and_the_t1w_comes_once(both):
    _, _, (first, second) = both
    assert not any("finger" in path for path in first) and sum("_T1w.nii.gz" in path for path in first) == 2
    ends = ("bold.json", "bold.nii.gz", "events.tsv")
    assert sorted(second) == sorted(f"{name}/func/{name}_task-finger_{end}" for name in PEOPLE for end in ends)


def test_the_index_of_series_has_events_only_of_the_task(both):
    rest, finger, _ = both
    assert not {"events", "start_time"} & set(read_index(rest.results / "preprocess/series.tsv"))
    index = read_index(finger.results / "preprocess/series.tsv")
    assert index["problem"].tolist() == ["", ""]
    assert [Path(path).read_text() for path in index["events"]] == [TABLE, TABLE]
    assert index["start_time"].tolist() == [5.0, 5.0]  # two volumes of 2 s were left out, and half of the third
    written = pd.read_csv(finger.results / "preprocess/series.tsv", sep="\t")
    assert not written["events"].str.startswith("/").any()  # the project can be moved


def test_images_of_the_task_are_gone_and_those_that_rest_keeps_are_not(both):
    rest, _, _ = both
    left = {path.name for path in (rest.folder / "results/data/ds006395").rglob("*.nii.gz")}
    assert left == {f"{name}_{what}.nii.gz" for name in PEOPLE for what in ("T1w", "task-rest_bold")}
    assert len(list((rest.folder / "results/data/ds006395").rglob("*_events.tsv"))) == 2


def test_the_t1w_is_registered_once(both):
    rest, finger, _ = both
    for name in PEOPLE:
        log = rest.folder / "results/logs/{}/preprocess" / f"{name}.log"
        said = [Path(str(log).format(each.dataset)).read_text() for each in (rest, finger)]
        assert "already" not in said[0] and "its T1w was registered for ds006395 already" in said[1]
        places = [next((each.results / "preprocess/anatomy").glob(f"{name}_*")) for each in (rest, finger)]
        assert places[0].name == places[1].name
        assert {path.name for path in places[0].iterdir()} == {path.name for path in places[1].iterdir()}
        engines = [each.results / f"preprocess/bold/{name}_desc-engine.json" for each in (rest, finger)]
        measures = [json.loads(path.read_text())["measures"] for path in engines]
        assert all(measures[0][key] == measures[1][key] for key in measures[0] if "t1w_template" in key)
