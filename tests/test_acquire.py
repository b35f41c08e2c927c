"""The stage `acquire` for images: a tiny dataset shaped like ds006395, with the real configuration and its traps."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from tiny import point_at, raw_like_ds006395

from dysconnect.acquire import Acquired, acquire_scans, fetched_so_far, transport_of
from dysconnect.acquire.images import (
    SHARED,
    TransferFailed,
    acquire_images,
    discard,
    fetch_unit,
    plan_images,
)
from dysconnect.acquire.manifest import read_manifest
from dysconnect.acquire.room import room_needed
from dysconnect.acquire.summary import summarise
from dysconnect.commands.download import main as download
from dysconnect.data.images.receipts import read_receipt, write_receipt
from dysconnect.plan.compose import compose_workflow


@pytest.fixture(scope="module")
def published(tmp_path_factory, repository):
    """A folder as a mirror would hold it, MIRROR/ds006395/..., and the manifest of its tiny files."""
    root = tmp_path_factory.mktemp("published")
    real = read_manifest(repository / "configs/manifest/ds006395.tsv")
    raw_like_ds006395(root / "mirror/ds006395", real)
    (root / "manifest").mkdir()
    tiny = point_at(real, root / "mirror/ds006395", "https://nowhere.invalid/ds006395")
    tiny.to_csv(root / "manifest/ds006395.tsv", sep="\t", index=False)
    return root


def composer(repository, published, folder):
    """Compose the real configuration; only the place of files differs."""

    def run(*overrides, dataset="ds006395"):
        own = [f"acquire.folder={folder}/data", f"acquire.mirror=file://{published}/mirror", "acquire.backoff=0"]
        cohort, _ = compose_workflow(
            repository / "configs",
            repository / "workflow/schemas/config.schema.json",
            {"dataset": dataset, "experiment": "floor", "overrides": [*own, *overrides]},
        )
        return cohort["dataset"], cohort["acquire"]

    return run


@pytest.fixture
def compose(repository, published, tmp_path):
    """The real configuration, with a data folder of the test's own."""
    return composer(repository, published, tmp_path)


def fetch(spec, fetching, manifests, only=None):
    """Fetch everything that is wanted; return the plan and the receipts."""
    plan = plan_images(spec, fetching, manifests)
    transport = transport_of(fetching, plan.folder.name)
    units = [SHARED, *plan.wanted] if only is None else only
    return plan, [fetch_unit(unit, plan.units[unit], plan.folder, transport, spec) for unit in units]


@pytest.fixture(scope="module")
def acquired(repository, published, tmp_path_factory):
    """The default contrast, fetched and brought to the contract (read only)."""
    spec, fetching = composer(repository, published, tmp_path_factory.mktemp("acquired"))()
    plan, receipts = fetch(spec, fetching, published / "manifest")
    participants, index = acquire_images(spec, plan, receipts, 0.1)
    return spec, plan, receipts, participants.set_index("participant_id"), index.set_index("participant_id")


def test_everybody_keeps_a_row_and_a_reason(acquired):
    _, _, _, participants, index = acquired
    assert len(participants) == 91
    without = participants[participants["exclusion_reason"] != ""]
    assert sorted(set(participants.index) - set(without.index)) == sorted(index.index)
    reasons = without["exclusion_reason"]
    assert (reasons == "group CD is not part of the contrast").sum() == 23  # 25, two of them excluded by name
    for name in ("sub-C01713", "sub-C01715", "sub-P00774", "sub-P00777"):
        assert "repetition time 2 s" in reasons[name].lower() or "TR 2 s" in reasons[name]
    assert "phase encoding" in reasons["sub-C01856"].lower()
    assert "cut short" in reasons["sub-P00821"]
    assert "sub-P00821" not in index.index


def test_only_the_contrast_is_fetched(acquired):
    _, plan, _, participants, _ = acquired
    fetched = {path.name for path in plan.folder.glob("sub-*")}
    assert fetched == set(plan.wanted)
    assert not participants.loc[sorted(fetched), "group"].eq("CD").any()
    assert not fetched & {"sub-C01713", "sub-C01856", "sub-P00927"}


def test_columns_come_under_our_names(acquired, published):
    _, _, _, participants, index = acquired
    theirs = pd.read_csv(published / "mirror/ds006395/participants.tsv", sep="\t").set_index("participant_id")
    assert (participants["age"] == theirs["age"]).all()
    assert set(participants["sex"]) == {"F", "M"}  # `m` counts as M
    used = participants.loc[index.index]
    assert set(used["site"]) == {"syngo_MR_D13D", "syngo_MR_E11"}
    assert set(index["repetition_time"]) == {0.9}
    assert index.loc["sub-P00987", "n_volumes"] == 10
    assert index["sha256"].str.len().eq(64).all()


@pytest.mark.parametrize(
    ("dataset", "groups"), [("ds006395_cd", {"CD", "HC"}), ("ds006395_pooled", {"CD", "ULD", "HC"})]
)
def test_other_contrasts_share_the_files(compose, published, dataset, groups):
    spec, fetching = compose(dataset=dataset)
    plan = plan_images(spec, fetching, published / "manifest")
    assert plan.folder.name == "ds006395"
    people = plan.people.set_index("participant_id")
    assert set(people.loc[plan.wanted, "group"]) == groups


def test_a_subset_for_a_first_try(compose, published):
    spec, fetching = compose("dataset.limit=4")
    plan = plan_images(spec, fetching, published / "manifest")
    assert plan.people.loc[plan.people["reason"] == "", "group"].value_counts().to_dict() == {"ULD": 2, "HC": 2}
    spec, fetching = compose("dataset.participants=[sub-C01710,sub-P00888]")
    assert plan_images(spec, fetching, published / "manifest").wanted == ["sub-C01710", "sub-P00888"]


def damaged_mirror(published, tmp_path, *damage):
    """A copy of the mirror in which some files are missing."""
    mirror = tmp_path / "mirror"
    shutil.copytree(published / "mirror", mirror)
    for path in damage:
        (mirror / "ds006395" / path).unlink()
    return f"acquire.mirror=file://{mirror}"


def test_a_failed_participant_fails_alone(compose, published, tmp_path):
    lost = "sub-P00888/func/sub-P00888_task-rest_bold.nii.gz"
    spec, fetching = compose(damaged_mirror(published, tmp_path, lost))
    plan, receipts = fetch(spec, fetching, published / "manifest")
    participants, index = acquire_images(spec, plan, receipts, 0.1)
    reason = participants.set_index("participant_id").loc["sub-P00888", "exclusion_reason"]
    assert reason.startswith(f"could not be fetched: {lost}")
    assert len(index) == len(plan.wanted) - 2  # and sub-P00821, which is cut short
    assert not (plan.folder / lost).exists()


def test_too_many_failures_stop_and_are_tried_again(compose, published, tmp_path):
    spec, fetching = compose("dataset.limit=4")
    wanted = plan_images(spec, fetching, published / "manifest").wanted
    lost = f"{wanted[0]}/anat/{wanted[0]}_T1w.nii.gz"
    spec, fetching = compose("dataset.limit=4", damaged_mirror(published, tmp_path, lost))
    plan, receipts = fetch(spec, fetching, published / "manifest")
    paths = [tmp_path / f"{receipt['unit']}.json" for receipt in receipts]
    for path, receipt in zip(paths, receipts):
        write_receipt(receipt, path)
    with pytest.raises(TransferFailed, match=f"1 of 5 could not be fetched.*max_failed.*{wanted[0]}"):
        acquire_scans(spec, plan, list(map(str, paths)), 0.1)
    assert [path.exists() for path in paths] == [True, False, True, True, True]
    write_receipt(receipts[1], paths[1])
    assert isinstance(acquire_scans(spec, plan, list(map(str, paths)), 0.3), Acquired)


def test_without_the_table_of_participants_nothing_goes_on(compose, published, tmp_path):
    spec, fetching = compose("dataset.limit=4", damaged_mirror(published, tmp_path, "participants.tsv"))
    plan, receipts = fetch(spec, fetching, published / "manifest")
    with pytest.raises(TransferFailed, match=r"First: dataset could not be fetched: participants.tsv"):
        acquire_images(spec, plan, receipts, 1.0)


def test_receipts_survive_the_disk(acquired, tmp_path):
    write_receipt(acquired[2][3], tmp_path / "one.json")
    assert read_receipt(tmp_path / "one.json") == json.loads(json.dumps(acquired[2][3]))


def test_the_room_needed(compose, published):
    spec, fetching = compose("dataset.limit=4")
    plan = plan_images(spec, fetching, published / "manifest")
    sizes = {unit: sum(file["bytes"] for file in files) for unit, files in plan.units.items()}
    assert room_needed(plan, keep=True) == sum(sizes.values())
    assert room_needed(plan, keep=False, jobs=1) == sum(sorted(sizes.values())[-2:])
    assert room_needed(plan, keep=False, jobs=1, units=plan.wanted[:1]) == sizes[plan.wanted[0]]
    fetch(spec, fetching, published / "manifest", only=[plan.wanted[0]])
    assert room_needed(plan, keep=True) == sum(sizes.values()) - sizes[plan.wanted[0]]


def test_discard_deletes_the_images_and_nothing_else(compose, published):
    spec, fetching = compose("dataset.limit=4")
    plan, receipts = fetch(spec, fetching, published / "manifest")
    first = receipts[1]
    there = [plan.folder / file["path"] for file in first["files"]]
    images = [path for path in there if path.name.endswith(".nii.gz")]
    assert discard(first) > 0 and len(images) == 2
    assert [path.exists() for path in there] == [path not in images for path in there]
    assert discard(first) == 0


def test_the_user_s_own_folder_is_read_where_it_is(compose, published, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(published / "mirror/ds006395", own)
    table = pd.read_csv(own / "participants.tsv", sep="\t")
    table["site"] = "here"
    table.to_csv(own / "participants.tsv", sep="\t", index=False)
    spec, fetching = compose(f"dataset.root={own}", "dataset.limit=4")
    plan, receipts = fetch(spec, fetching, published / "manifest")
    participants, index = acquire_images(spec, plan, receipts, 0)
    assert plan.folder == own and len(index) == 4
    assert index["bold"].str.startswith(str(own)).all()
    assert not (tmp_path / "data").exists()
    assert (participants["exclusion_reason"] != "").sum() == len(participants) - 4


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["dataset.root=/no/such/folder"], FileNotFoundError, "no such folder"),
        (["dataset.participants=[sub-X]"], ValueError, "no participant sub-X in ds006395"),
        (["dataset.contrast.cases=[DYT]", "dataset.contrast.controls=[CTL]"], ValueError, "groups here: CD, HC, ULD"),
    ],
)
def test_what_cannot_be_planned_is_named(compose, published, overrides, error, message):
    spec, fetching = compose(*overrides)
    with pytest.raises(error, match=message):
        plan_images(spec, fetching, published / "manifest")


def test_a_dataset_without_manifest_names_the_command_that_makes_it(compose, tmp_path):
    spec, fetching = compose(dataset="ds005892")
    with pytest.raises(FileNotFoundError, match=r"python -m dysconnect\.acquire\.manifest ds005892"):
        plan_images(spec, fetching, tmp_path)


def test_the_summary_says_what_a_reader_must_know(acquired):
    spec, _, _, participants, index = acquired
    text = summarise(participants.reset_index(), spec, {"bytes": 5_000_000, "folder": "here", "retry": ""})
    assert f"{len(index)} of 91 people have data." in text
    assert "syngo_MR_E11" in text and "CC0" in text and "ds006395.v1.0.6" in text
    counted = pd.crosstab(participants.loc[index.index, "site"], participants.loc[index.index, "group"])
    line = next(line for line in text.splitlines() if line.strip().startswith("syngo_MR_E11"))
    assert np.array(line.split()[1:], int).tolist() == [*counted.loc["syngo_MR_E11"], counted.loc["syngo_MR_E11"].sum()]
    assert all(trap in text for trap in spec["traps"])
    assert "23  group CD is not part of the contrast" in text


def test_the_receipts_are_counted(acquired, tmp_path):
    receipts = acquired[2]
    paths = []
    for receipt in receipts:
        paths.append(str(tmp_path / f"{receipt['unit']}.json"))
        write_receipt(receipt, paths[-1])
    told = fetched_so_far(paths)
    assert told["bytes"] == sum(file["bytes"] for receipt in receipts for file in receipt["files"])
    assert told["retry"] == "" and fetched_so_far([]) is None


@pytest.fixture
def project(repository, published, tmp_path):
    """A folder with the configuration and the tiny manifest, as the command line sees it."""
    shutil.copytree(repository / "configs", tmp_path / "project/configs")
    shutil.copytree(repository / "workflow/schemas", tmp_path / "project/workflow/schemas")
    shutil.copy(published / "manifest/ds006395.tsv", tmp_path / "project/configs/manifest/ds006395.tsv")
    settings = ["dataset=ds006395", "dataset.limit=4", f"acquire.folder={tmp_path}/data"]
    settings += [f"acquire.mirror=file://{published}/mirror", "acquire.backoff=0"]
    return ["--project", str(tmp_path / "project"), *settings]


def test_dry_run_lists_and_fetches_nothing(project, tmp_path, capsys):
    assert download([*project, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("missing") == 4 * 4 + 2 and "18 files of 4 people" in said
    assert not (tmp_path / "data").exists()


def test_fetching_ahead_of_the_workflow(project, capsys):
    assert download(project) == 0
    assert "18 of 18 files verified" in capsys.readouterr().out
    assert download([*project, "--dry-run"]) == 0
    assert "missing" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dataset=simulated"], "has no list of files"),
        (["dataset=ds006395", "dataset.limt=4"], "unknown key dataset.limt (did you mean dataset.limit?)"),
        (["dataset=ds006396"], "ds006396"),
    ],
)
def test_a_wrong_command_says_why(repository, capsys, settings, message):
    assert download(["--project", str(repository), *settings]) == 1
    assert message in capsys.readouterr().err


def test_the_retry_names_the_receipts_of_those_that_failed(compose, published, tmp_path):
    spec, fetching = compose("dataset.limit=4")
    wanted = plan_images(spec, fetching, published / "manifest").wanted
    lost = f"{wanted[0]}/anat/{wanted[0]}_T1w.nii.gz"
    spec, fetching = compose("dataset.limit=4", damaged_mirror(published, tmp_path, lost))
    _, receipts = fetch(spec, fetching, published / "manifest")
    paths = [str(tmp_path / f"{receipt['unit']}.json") for receipt in receipts]
    for path, receipt in zip(paths, receipts):
        write_receipt(receipt, path)
    told = fetched_so_far(paths)
    assert told["retry"] == f"--forcerun {paths[1]}"
    people = pd.DataFrame({"group": ["HC"], "site": ["a"], "age": [40.0], "sex": ["F"]})
    assert f"add to the same command: --forcerun {paths[1]}" in summarise(people, spec, told)
