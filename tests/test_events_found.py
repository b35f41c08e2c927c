"""Scans of a task and their tables of events: fetched, chosen, handed on through both stages; who has none is named."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from test_acquire import compose, composer, fetch, published
from tiny import NOT_PACKED, TURNED, write_image

from dysconnect.acquire import Acquired, acquire, write_acquired
from dysconnect.acquire.events import events_above, find_events
from dysconnect.acquire.find import find_scan
from dysconnect.acquire.images import Plan, acquire_images, discard, fetch_unit, plan_images, plan_scans
from dysconnect.acquire.manifest import of_task, read_manifest
from dysconnect.acquire.manifest.__main__ import gigabytes
from dysconnect.acquire.scan import describe_scan
from dysconnect.commands.withdraw import find_removal
from dysconnect.data.images.receipts import write_receipt
from dysconnect.data.images.volumes import open_bold, reading
from dysconnect.data.series import read_index
from dysconnect.fetching.remote import LEDGER
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.run import Run
from dysconnect.reading.bids import Ambiguity, list_folder, read_name

__all__ = ["compose", "published"]  # fixtures

RAW = {"kind": "bids", "task": "finger", "space": None}
BOLD = "sub-1/func/sub-1_task-finger_bold.nii.gz"
EVENTS = "sub-1/func/sub-1_task-finger_events.tsv"
SOME = ["sub-C01710", "sub-C01713", "sub-C01718", "sub-C01856", "sub-P00774", "sub-P00888", *TURNED]
TABLE = "onset\tduration\ttrial_type\n0\t30\tright\n30\t30\trest\n"


def with_events(spec, plan):
    """The settings of a scan, as a run of the workflow makes them."""
    return spec | events_above(plan.paths, spec)


@pytest.fixture(scope="module")
def finger(repository, published, tmp_path_factory):
    """Finger tapping, fetched and brought to the contract (read only)."""
    some = f"dataset.participants=[{','.join(SOME)}]"
    spec, fetching = composer(repository, published, tmp_path_factory.mktemp("finger"))(some, dataset="ds006395_finger")
    manifests = published / "manifest"
    spec = with_events(spec, plan_images(spec, fetching, manifests))
    plan, receipts = fetch(spec, fetching, manifests)
    return spec, plan, receipts, *acquire_images(spec, plan, receipts, 0.0)


# the dataset


def test_the_t1w_is_where_the_resting_scan_has_it(compose, published, finger):
    plans = plan_images(*compose(f"dataset.participants=[{','.join(SOME)}]"), published / "manifest"), finger[1]
    assert plans[0].folder.name == plans[1].folder.name == "ds006395"
    shared = set(plans[0].paths) & set(plans[1].paths)
    assert {path.rpartition("_")[2] for path in shared} == {
        "T1w.json",
        "T1w.nii.gz",
        "participants.tsv",
        "description.json",
    }
    assert not any("task-finger" in path for path in plans[0].paths)
    assert not any("task-rest" in path for path in plans[1].paths)


def test_who_differs_in_this_scan_is_left_out_and_who_differs_at_rest_is_not(finger):
    *_, participants, index = finger
    reasons = participants.set_index("participant_id")["exclusion_reason"]
    for name, direction in TURNED.items():
        assert f"phase encoding {direction}" in reasons[name]
    assert not reasons[["sub-C01713", "sub-C01856", "sub-P00774"]].any()  # only their rest is unlike the others'
    assert len(index) == len(SOME) - len(TURNED)


def test_the_lists_of_both_datasets_are_those_of_the_tiny_sidecars(compose):
    """Nobody is left out by name whom the sidecar would let in, and the other way round."""
    spec, _ = compose(dataset="ds006395_finger")
    assert {name for name, why in spec["exclude"].items() if why} == set(TURNED)
    assert {name for name, why in spec["exclude"].items() if not why} >= {"sub-P00927", "sub-C01713"}


def test_everybody_comes_with_events_that_stay_when_images_go(finger, tmp_path):
    _, plan, receipts, participants, index = finger
    assert index["events"].str.endswith("_task-finger_events.tsv").all()
    for row in index.itertuples():
        assert row.participant_id in row.events and "right" in Path(row.events).read_text()
    copy = shutil.copytree(plan.folder, tmp_path / "copy")
    assert discard(receipts[1] | {"folder": str(copy)}) > 0
    assert len(list((copy / receipts[1]["unit"]).rglob("*_events.tsv"))) == 1
    assert not list((copy / receipts[1]["unit"]).rglob("*.nii.gz"))
    outputs = {name: str(tmp_path / "acquire" / f"{name}.tsv") for name in ("participants", "index")}
    (tmp_path / "acquire").mkdir()
    write_acquired(Acquired(participants, index), outputs)
    written = pd.read_csv(outputs["index"], sep="\t")
    assert written["events"].str.endswith("_events.tsv").all()


def test_rest_has_no_such_column(compose, published):
    spec, fetching = compose("dataset.limit=2")
    spec = with_events(spec, plan_images(spec, fetching, published / "manifest"))
    plan, receipts = fetch(spec, fetching, published / "manifest")
    assert "events" not in acquire_images(spec, plan, receipts, 0.0)[1]
    assert not any("events" in receipt["scan"] for receipt in receipts)


def test_a_scan_that_is_called_packed_and_is_not_is_read(finger):
    *_, index = finger
    index = index.set_index("participant_id")
    for name in (NOT_PACKED[0], "sub-C01710"):
        assert index.loc[name, "n_volumes"] == 12
        scan = open_bold(index.loc[name, "bold"])
        with reading(scan) as volumes:
            read = np.array(list(volumes))
        assert read.shape == (12, 64)
        assert np.array_equal(read.T.reshape(scan.shape, order="F"), np.asarray(scan.dataobj))


def test_one_that_is_not_packed_and_cut_short_is_said_to_be(tmp_path):
    write_image(tmp_path / BOLD, (4, 4, 4, 20), np.eye(4), 2.0, 0)
    whole = gzip.decompress((tmp_path / BOLD).read_bytes())
    (tmp_path / BOLD).write_bytes(whole[:-300])
    assert "cut short" in describe_scan(tmp_path, [BOLD], RAW)["problem"]


def test_rows_of_another_task_are_passed_over_but_not_where_there_is_nothing_else(repository):
    table = read_manifest(repository / "configs/manifest/ds006395.tsv")
    counts = {task: len(of_task(table, task)) for task in ("rest", "finger", "walking", None)}
    assert counts == {"rest": 2 + 2 * 91 + 2 * 90, "finger": 2 + 5 * 91, "walking": len(table), None: len(table)}
    text = (repository / "configs/dataset/ds006395_finger.yaml").read_text()
    assert yaml.safe_load(text)["dataset"]["size_gb"] == gigabytes(of_task(table, "finger"))


def test_another_task_of_the_manifest_is_named_as_before(compose, published):
    spec, fetching = compose("dataset.task=walking")
    with pytest.raises(FileNotFoundError, match=r"no task-walking .*there is finger, rest"):
        plan_scans(plan_images(spec, fetching, published / "manifest"), spec)


def lacking(published, folder, *paths):
    """The manifest without some files."""
    table = read_manifest(published / "manifest/ds006395.tsv")
    folder.mkdir(exist_ok=True)
    table[~table["path"].isin(paths)].to_csv(folder / "ds006395.tsv", sep="\t", index=False)
    return folder


def test_a_person_with_rest_and_no_task_and_the_reverse_are_named(compose, published, tmp_path):
    without = [f"sub-P00888/func/sub-P00888_task-finger_{end}" for end in ("bold.nii.gz", "bold.json", "events.tsv")]
    manifests = lacking(published, tmp_path / "manifest", *without)
    spec, fetching = compose(dataset="ds006395_finger")
    people = plan_images(spec, fetching, manifests).people.set_index("participant_id")
    assert people.loc["sub-P00888", "reason"] == "no finger scan (dataset.task; there is rest) among its 4 files"
    assert "sub-P00888/" not in "".join(plan_images(spec, fetching, manifests).paths)
    spec, fetching = compose("dataset.exclude.sub-P00927=null", "dataset.contrast.cases=[CD]")
    people = plan_images(spec, fetching, manifests).people.set_index("participant_id")
    assert people.loc["sub-P00927", "reason"] == "no rest scan (dataset.task; there is finger) among its 5 files"


def test_events_missing_for_one_person_are_told_and_cost_only_who_needs_them(compose, published, tmp_path):
    manifests = lacking(published, tmp_path / "m", "sub-P00888/func/sub-P00888_task-finger_events.tsv")
    spec, fetching = compose(
        "dataset.limit=null", "dataset.participants=[sub-P00888,sub-C01710]", dataset="ds006395_finger"
    )
    spec = with_events(spec, plan_images(spec, fetching, manifests))
    plan, receipts = fetch(spec, fetching, manifests)
    participants, index = acquire_images(spec, plan, receipts, 0.0)
    index = index.set_index("participant_id")
    assert not participants["exclusion_reason"].any() or set(index.index) == {"sub-P00888", "sub-C01710"}
    assert index.loc["sub-P00888", "events"] == "" and index.loc["sub-C01710", "events_problem"] == ""
    assert index.loc["sub-P00888", "events_problem"].startswith(
        "sub-P00888_task-finger_bold.nii.gz has no events, and others have: write sub-P00888_task-finger_events.tsv"
    )


def test_events_missing_for_all_leave_a_scan_as_it_was(compose, published, tmp_path):
    table = read_manifest(published / "manifest/ds006395.tsv")
    manifests = lacking(published, tmp_path / "m", *table["path"][table["path"].str.endswith("events.tsv")])
    spec, fetching = compose("dataset.limit=2", dataset="ds006395_finger")
    spec = with_events(spec, plan_images(spec, fetching, manifests))
    assert "events" not in spec
    plan, receipts = fetch(spec, fetching, manifests)
    _, index = acquire_images(spec, plan, receipts, 0.0)
    assert len(index) == 2 and "events" not in index


# which table belongs to a scan


def chosen(paths, scan=BOLD, **spec):
    """Events of the person's scan among these files, and what is told of other scans."""
    spec = RAW | events_above(paths, RAW) | spec
    return find_scan([scan, *(path for path in paths if path.startswith("sub-1/"))], spec)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([EVENTS], EVENTS),
        (["task-finger_events.tsv"], "task-finger_events.tsv"),
        (["task-finger_events.tsv", EVENTS], EVENTS),
        (["sub-1/sub-1_task-finger_events.tsv"], "sub-1/sub-1_task-finger_events.tsv"),
        (["sub-1/sub-1_task-finger_events.tsv", EVENTS], EVENTS),
        (["task-rest_events.tsv", "sub-2/func/sub-2_task-finger_events.tsv"], ""),
        ([EVENTS.replace("finger", "toe"), "task-finger_events.tsv"], "task-finger_events.tsv"),
        (["sub-1/func/backup/sub-1_task-finger_events.tsv", EVENTS], EVENTS),  # a copy is none of its events
        (["sub-1/func/backup/sub-1_task-finger_events.tsv", "code/task-finger_events.tsv"], ""),
        (["code/task-finger_events.tsv", "task-finger_events.tsv"], "task-finger_events.tsv"),
        (["sub-1/func/sub-1_task-finger_run-2_events.tsv"], ""),  # the scan has no run
        (["sub-1/ses-2/func/sub-1_ses-2_task-finger_events.tsv"], ""),
        (["sub-1/func/sub-1_events.tsv"], ""),  # of which task?
    ],
)
def test_the_nearest_events_count(paths, expected):
    assert chosen(paths)["events"] == expected


def test_of_two_runs_the_first_is_taken_with_its_events_and_said():
    runs = [f"sub-1/func/sub-1_task-finger_run-{k}_bold.nii.gz" for k in (1, 2)]
    events = [path.replace("bold.nii.gz", "events.tsv") for path in runs]
    found = chosen([runs[1], *events[::-1]], runs[0])
    assert (found["bold"], found["events"]) == (runs[0], events[0])
    assert found["choices"][0]["others"] == [runs[1]] and "dataset.run=2" in found["choices"][0]["why"]
    found = chosen([runs[1], *events], runs[0], run=2)
    assert (found["bold"], found["events"]) == (runs[1], events[1])
    assert chosen([runs[1], events[1]], runs[0])["events"] == ""  # those of the second run are not the first's
    assert chosen([runs[1], EVENTS], runs[0])["events"] == EVENTS  # one table for both, as BIDS has it


@pytest.mark.parametrize(
    "events",
    [
        [EVENTS, "sub-1/func/sub-1_task-finger_run-1_events.tsv"],
        [EVENTS.replace("sub-1_", "sub-1_acq-mb_"), "sub-1/func/sub-1_task-finger_run-01_events.tsv"],
        ["task-finger_events.tsv", "task-finger_run-1_events.tsv"],
    ],
)
def test_two_that_could_be_meant_in_one_folder_are_refused_by_name(events):
    scan = "sub-1/func/sub-1_task-finger_acq-mb_run-1_bold.nii.gz"
    with pytest.raises(Ambiguity, match="nothing says which events are its, ") as refused:
        chosen(events, scan)
    assert all(path in str(refused.value) for path in events)


def test_a_derivative_has_the_events_of_its_raw_scan_and_of_no_other_derivative():
    name = "sub-1_task-finger_events.tsv"
    series = read_name("derivatives/xcp/sub-1/func/sub-1_task-finger_seg-a_timeseries.tsv")
    others = [read_name(f"derivatives/old/sub-1/func/{name}"), read_name(f"sourcedata/sub-1/func/{name}")]
    raw, own = read_name(EVENTS), read_name(f"derivatives/xcp/sub-1/func/{name}")
    assert find_events(series, others, ["derivatives/old/task-finger_events.tsv"], "finger") == ""
    assert find_events(series, [*others, raw], ["task-finger_events.tsv"], "finger") == EVENTS
    assert find_events(series, [*others, raw, own], [], "finger") == own.path
    assert find_events(read_name(BOLD), others, [], "finger") == ""


def test_what_lies_there_and_is_not_taken_is_named_with_the_reason():
    scan = "sub-1/func/sub-1_task-finger_run-1_bold.nii.gz"
    for other, why in (
        ("sub-1/func/sub-1_task-finger_run-2_events.tsv", "run-2"),
        ("sub-1/func/sub-1_task-finger_run-1_events.tsv.gz", ".tsv.gz, not .tsv"),
        ("sub-1/func/sub-1_task-finger_run-1_events.csv", ".csv, not .tsv"),
        ("sub-1/func/sub-1_task-Finger_run-1_events.tsv", "task-Finger"),
        ("sub-1/old/sub-1_task-finger_run-1_events.tsv", "another folder"),
        ("sub-1/func/sub-1_run-1_events.tsv", "no task"),
    ):
        found = chosen([other], scan)
        assert found["events"] == ""
        assert "write sub-1_task-finger_run-1_events.tsv (onset" in found["events_problem"]
        assert found["events_problem"].endswith(f"not its own: {other} ({why})")


def test_rest_has_no_events_whatever_lies_there():
    assert events_above([EVENTS.replace("finger", "rest"), "task-rest_events.tsv"], RAW | {"task": "rest"}) == {}
    assert events_above(["sub-1/func/sub-1_task-toe_events.tsv"], RAW) == {}


def test_a_table_that_is_prepared_by_fmriprep_goes_with_the_scan_in_any_space():
    bold = "sub-1/func/sub-1_task-finger_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    assert find_events(read_name(bold), [read_name(EVENTS)], [], "finger") == EVENTS


def test_a_link_without_content_is_said(tmp_path):
    write_image(tmp_path / BOLD, (4, 4, 4, 20), np.eye(4), 2.0, 0)
    (tmp_path / EVENTS).symlink_to("nowhere")
    told = describe_scan(tmp_path, [BOLD, EVENTS], RAW | {"events": []})
    assert "is a link without content" in told["problem"] and EVENTS in told["problem"]


def test_a_change_of_the_events_of_ones_own_images_is_noticed(tmp_path):
    """They are among the files that a job reads."""
    write_image(tmp_path / BOLD, (4, 4, 4, 20), np.eye(4), 2.0, 0)
    (tmp_path / "task-finger_events.tsv").write_text(TABLE)
    listing = list_folder(tmp_path)
    plan = Plan(tmp_path, pd.DataFrame({"participant_id": ["sub-1"], "group": "a", "reason": ""}), {"sub-1": []})
    spec = RAW | events_above(listing.files, RAW)
    assert plan_scans(plan, spec, listing)["sub-1"]["files"] == [BOLD, "task-finger_events.tsv"]
    receipt = fetch_unit("sub-1", [], tmp_path, None, spec)
    assert set(receipt["changed"]) == {BOLD, "task-finger_events.tsv"} and receipt["problem"] == ""


@pytest.mark.parametrize(("events", "gone"), [(EVENTS, True), ("task-finger_events.tsv", False)])
def test_who_withdraws_takes_their_own_events_along_and_nobody_elses(tmp_path, events, gone):
    data, results = tmp_path / "results/data/ds006395", tmp_path / "results"
    for path in (BOLD, events):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_text("x")
    ledger = "\n".join(["path", f"{BOLD}\t", f"{events}\t"])
    (data / LEDGER).write_text(ledger)
    receipt = {"unit": "sub-1", "folder": str(data), "scan": {"bold": BOLD, "events": events}}
    folder = results / "ds006395_finger/acquire/receipts"
    folder.mkdir(parents=True)
    write_receipt(receipt | {"files": [{"path": BOLD}], "problem": ""}, folder / "sub-1.json")
    downloads = find_removal(results, "ds006395_finger", "sub-1").downloads
    assert data / BOLD in downloads and (data / events in downloads) == gone


# through the second stage


@pytest.fixture
def prepared(tmp_path):
    """One scan as fMRIPrep leaves it, with events."""
    bold = tmp_path / "data/sub-1_task-finger_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = [-84, -114, -66]
    write_image(bold, (14, 18, 14, 30), affine, 2.0, 0)
    events = bold.with_name("sub-1_task-finger_events.tsv")
    events.write_text(TABLE)
    entry = {"participant_id": "sub-1", "bold": str(bold), "mask": "", "confounds": "", "t1w": "", "problem": ""}
    return entry | {"events": str(events)}


def averaged(entry, folder, nodes):
    """Row of the index of series."""
    return run_engine(entry, nodes.iloc[::20], folder / "preprocess/series", {}, {"engine": "derivatives"})


def test_the_index_of_series_has_the_events_and_when_the_series_begins(prepared, tmp_path, nodes):
    row = averaged(prepared, tmp_path, nodes)
    assert (row["problem"], row["start_time"]) == ("", 1.0)  # the middle of a volume of 2 s
    pd.DataFrame([row]).to_csv(tmp_path / "preprocess/series.tsv", sep="\t", index=False)
    index = read_index(tmp_path / "preprocess/series.tsv")
    assert index.loc[0, "events"] == prepared["events"] and index.loc[0, "start_time"] == 1.0
    sidecar = prepared["bold"].replace("nii.gz", "json")
    with open(sidecar, "w") as file:
        file.write('{"RepetitionTime": 2.0, "StartTime": 0.951}')
    assert averaged(prepared, tmp_path, nodes)["start_time"] == 0.951


def test_without_events_the_row_is_what_it_was(prepared, tmp_path, nodes):
    with_them = averaged(prepared, tmp_path, nodes)
    without = averaged({name: prepared[name] for name in prepared if name != "events"}, tmp_path, nodes)
    assert {name: with_them[name] for name in without} == without
    assert set(with_them) - set(without) == {"events", "start_time"}


def test_a_person_without_series_has_empty_cells_beside_others(prepared, tmp_path, nodes):
    lost = averaged(prepared | {"problem": "no finger scan"}, tmp_path, nodes)
    assert lost["problem"] and "events" not in lost
    pd.DataFrame([averaged(prepared, tmp_path, nodes), lost]).to_csv(tmp_path / "series.tsv", sep="\t", index=False)
    index = read_index(tmp_path / "series.tsv")
    assert index["events"].tolist()[1] == "" and np.isnan(index["start_time"].iloc[1])


def test_volumes_that_are_left_out_move_the_beginning():
    assert Run(np.zeros((1, 1, 1, 4)), np.eye(4), 2.0, None, 3, ()).start_time == 7.0


# a folder of series


@pytest.fixture
def folder(tmp_path, repository, nodes):
    """Three people with series of a task, two of them with events of their own."""
    rng = np.random.default_rng(0)
    for name in ("sub-1", "sub-2", "sub-3"):
        series = tmp_path / f"data/{name}/func/{name}_task-finger_timeseries.tsv"
        series.parent.mkdir(parents=True)
        frame = pd.DataFrame(rng.standard_normal((40, 3)), columns=nodes["name"].iloc[:3])
        frame.to_csv(series, sep="\t", index=False)
        if name != "sub-3":
            series.with_name(f"{name}_task-finger_events.tsv").write_text(TABLE)
    rows = [f"sub-{k}\t{group}\t{40 + k}\tF\ta" for k, group in enumerate(("patient", "control", "control"), start=1)]
    people = "\n".join(["participant_id\tgroup\tage\tsex\tsite", *rows, ""])
    (tmp_path / "data/participants.tsv").write_text(people)
    return tmp_path / "data"


def local(folder, compose, nodes, **more):
    """Read the folder as series; everybody's rows of both tables by name."""
    spec, _ = compose(f"dataset.root={folder}", "dataset.task=finger", "dataset.repetition_time=2", dataset="local")
    found = acquire(spec | {"withdrawn": []} | more, nodes.iloc[:3], folder.parent / "out")
    return found.participants.set_index("participant_id"), found.index.set_index("participant_id")


def test_series_of_ones_own_come_with_their_events(folder, compose, nodes):
    _, index = local(folder, compose, nodes)
    assert index.loc["sub-1", "events"] == str(folder / EVENTS) and index.loc["sub-1", "start_time"] == 1.0
    assert index.loc["sub-3", "events"] == "" and "has no events" in index.loc["sub-3", "events_problem"]
    assert not index["problem"].any()  # who does not ask for the task needs no events
    (folder / "task-finger_events.tsv").write_text(TABLE)
    _, index = local(folder, compose, nodes)
    assert index.loc["sub-3", "events"] == str(folder / "task-finger_events.tsv") and not index["problem"].any()


def test_series_of_a_task_without_events_are_as_they_were(folder, compose, nodes):
    for path in folder.rglob("*_events.tsv"):
        path.unlink()
    _, index = local(folder, compose, nodes)
    assert not index["problem"].any() and not {"events", "start_time"} & set(index)


def told(folder, **sidecars):
    """Start of the first person's series as these sidecars (`timeseries`, `bold`) tell it, or the reason against it."""
    for suffix, content in sidecars.items():
        (folder / f"sub-1/func/sub-1_task-finger_{suffix}.json").write_text(content)


@pytest.mark.parametrize("suffix", ["timeseries", "bold"])
def test_the_start_of_the_series_is_read_where_the_repetition_time_is(folder, compose, nodes, suffix):
    told(folder, **{suffix: '{"RepetitionTime": 2.0, "StartTime": 8}'})
    _, index = local(folder, compose, nodes)
    assert index.loc["sub-1", "start_time"] == 8.0 and index.loc["sub-2", "start_time"] == 1.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"0.0"', "StartTime '0.0' is no number of seconds"),
        ("NaN", "StartTime nan is no number of seconds"),
        ("8000", "StartTime 8000: seconds, not milliseconds"),
        ("100", "StartTime 100: seconds"),
        ("-8", "StartTime -8: Write how many seconds after the clock"),
    ],
)
def test_a_start_that_cannot_be_costs_the_person_and_is_named(folder, compose, nodes, value, message):
    told(folder, bold=f'{{"StartTime": {value}}}')
    _, index = local(folder, compose, nodes)
    assert index["problem"].astype(bool).tolist() == [True, False, False]
    assert index.loc["sub-1", "problem"].startswith(f"sub-1_task-finger_bold.json: {message}")


def test_the_start_of_a_prepared_scan_is_checked_as_well(prepared, tmp_path, nodes):
    with open(prepared["bold"].replace("nii.gz", "json"), "w") as file:
        file.write('{"RepetitionTime": 2.0, "StartTime": 951}')
    assert "not milliseconds" in averaged(prepared, tmp_path, nodes)["problem"]
    lost = averaged({**prepared, "events": "", "events_problem": "has none"}, tmp_path, nodes)
    assert (lost["problem"], lost["events"], lost["events_problem"]) == ("", "", "has none")
