"""Folders as people have them: what they hold, which files are read, and what is said of those that are not."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import write_image

from dysconnect.acquire import acquire, acquire_scans, kind_of, list_folder_of, source_files, write_acquired
from dysconnect.acquire.images import SHARED, fetch_unit, plan_images, plan_scans, users_files
from dysconnect.acquire.people import read_people
from dysconnect.acquire.summary import summarise
from dysconnect.data.images.receipts import CHOICES, write_receipt
from dysconnect.fetching import Transport
from dysconnect.plan.checks import check_engine
from dysconnect.problems import left_out
from dysconnect.report.cohort import times_text
from dysconnect.report.cohort.tables import choices_table

PREPARED = "{sub}/func/{sub}_task-rest{middle}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
RAW = "{sub}/func/{sub}_task-rest{middle}_bold.nii.gz"
MOTION = "trans_x\ttrans_y\tframewise_displacement\n0\t0\t0.1\n"
OLD = "CSF\tWhiteMatter\tGlobalSignal\tFramewiseDisplacement\tX\tY\tZ\tRotX\n1\t1\t1\t.1\t0\t0\t0\t0\n"


@pytest.fixture
def study(tmp_path):
    """A folder with two patients and two controls; returns it with the `dataset` section."""
    root = tmp_path / "study"
    root.mkdir()
    rows = [f"sub-0{k}\t{'patient' if k < 3 else 'control'}\t4{k}\tF\tclinic\t0.1" for k in (1, 2, 3, 4)]
    (root / "participants.tsv").write_text("participant_id\tgroup\tage\tsex\tsite\tmean_fd\n" + "\n".join(rows) + "\n")
    spec = {"name": "mine", "title": "Mine", "kind": "local", "root": str(root), "covariates": ["age", "sex", "site"]}
    spec |= {
        "contrast": {"cases": ["patient"], "controls": ["control"]},
        "task": "rest",
        "space": "MNI152NLin2009cAsym",
    }
    spec |= dict.fromkeys(("session", "run", "entities", "segmentation", "repetition_time", "limit", "participants"))
    return root, spec | {"order": "names", "licence": "", "citation": "", "plant": None}


PEOPLE = ("sub-01", "sub-02", "sub-03", "sub-04")


def write(root: Path, form: str, content: str = "a\tb\n1\t2\n2\t1\n", people=PEOPLE, **parts) -> None:
    for name in people:
        path = root / form.format(sub=name, **parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def scan(root: Path, form: str, middle: str = "", people=PEOPLE, seconds: float | None = 2.0) -> None:
    for k, name in enumerate(people):
        path = root / form.format(sub=name, middle=middle)
        write_image(path, (2, 2, 2, 4), np.eye(4), 7.0, k)
        if seconds:
            path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps({"RepetitionTime": seconds}))


def series(root: Path, form: str = "{sub}_task-rest_timeseries.tsv", people=PEOPLE) -> None:
    write(root, form, people=people)
    write(root, form.replace(".tsv", ".json"), '{"RepetitionTime": 2.0}', people)


def front(spec: dict, engine: str = "derivatives", **more):
    """What is decided before the first job: the section with its kind, plan, settings and scans."""
    spec = spec | more
    listing = list_folder_of(spec)
    spec["kind"] = kind_of(spec, listing, engine)
    plan = plan_images(spec, {}, Path("."))
    settings = {**spec, "engine": engine}
    return spec, plan, settings, plan_scans(plan, settings, listing)


def acquired(spec: dict, tmp_path: Path, engine: str = "derivatives", **more):
    """Front and stage; returns the index by participant, and the summary."""
    spec, plan, settings, _ = front(spec, engine, **more)
    paths = []
    for unit in [SHARED, *plan.wanted]:
        paths.append(str(tmp_path / f"{unit}.json"))
        write_receipt(fetch_unit(unit, [], plan.folder, Transport(), settings), paths[-1])
    got = acquire_scans(spec, plan, paths, 0)
    return got.index.set_index("participant_id"), summarise(got.participants, spec, None, got.index, got.choices)


def taken(index, column: str) -> list[str]:
    return [Path(path).name.removeprefix(name) for name, path in index[column].items()]


# what a folder holds


@pytest.mark.parametrize(
    "table", ["mriqc/{sub}/func/{sub}_task-rest_timeseries.tsv", "{sub}/func/{sub}_timeseries.tsv"]
)
@pytest.mark.parametrize("content", [MOTION, OLD, "framewise_displacement\n0.1\n", "dvars_std\tdvars_nstd\n1\t1\n"])
def test_tables_of_motion_are_no_series_however_they_are_called(study, table, content):
    root, spec = study
    scan(root, PREPARED)
    write(root, table, content, people=("sub-01",))
    assert kind_of(spec) == "derivatives"


@pytest.mark.parametrize(
    "table",
    [
        "derivatives/xcp_d/{sub}/{sub}_task-rest_seg-A_timeseries.tsv",
        "code/test/{sub}_timeseries.csv",
        "sourcedata/{sub}.tsv",
        "{sub}/func/{sub}_task-rest_conmat.tsv",
        "{sub}/func/{sub}_task-rest_desc-connectivity_timeseries.csv",
        "{sub}/func/{sub}_task-rest_desc-framewisedisplacement_bold.tsv",
        "{sub}/func/{sub}_task-rest_events.tsv",
        "{sub}/func/{sub}_task-rest_physio.tsv",
    ],
)
def test_what_lies_in_a_raw_folder_beside_the_images_does_not_decide(study, table):
    root, spec = study
    scan(root, RAW)
    write(root, table)
    assert kind_of(spec) == "bids"


def test_series_in_derivatives_are_read_where_there_is_nothing_else(study):
    root, spec = study
    series(root, "derivatives/xcp_d/{sub}/{sub}_task-rest_seg-A_timeseries.tsv")
    assert kind_of(spec) == "local"
    assert len(source_files(spec)) == 9


@pytest.mark.parametrize("name", ["_space-T1w", "_desc-denoised", "_space-MNI152NLin6Asym_desc-smooth", "_part-phase"])
def test_images_that_were_processed_are_never_raw(study, name):
    root, spec = study
    scan(root, RAW, middle=name)
    assert kind_of(spec) == "local"  # nothing to read
    scan(root, RAW)
    index = front(spec, "ants")[3]
    assert index["sub-01"]["bold"] == "sub-01/func/sub-01_task-rest_bold.nii.gz"


def test_a_derivative_dataset_is_never_raw(study):
    root, spec = study
    scan(root, RAW)
    (root / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    assert kind_of(spec) == "local"


def test_an_engine_for_raw_images_contradicts_a_folder_of_series(study):
    root, spec = study
    series(root)
    assert kind_of(spec, engine="ants") == "local"
    with pytest.raises(ValueError, match=r"preprocess=ants is for raw images.*read as regional series"):
        check_engine(spec, {"engine": "ants"}, {})
    scan(root, RAW)
    assert kind_of(spec, engine="ants") == "bids" and kind_of(spec) == "local"


@pytest.mark.parametrize("form", [RAW, PREPARED, "{sub}_task-rest_timeseries.tsv"])
def test_another_task_is_named_before_any_job(study, form):
    root, spec = study
    form = form.replace("task-rest", "task-resting")
    scan(root, form) if "{middle}" in form else write(root, form)
    with pytest.raises(FileNotFoundError, match=r"no task-rest among .*there is resting: dataset\.task=resting"):
        kind_of(spec)


# series


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["backup/{sub}_task-rest_timeseries.tsv"], r"2 files of one name \(sub-01_task-rest_t.*, backup/sub-01"),
        (["{sub}_task-rest_acq-b_timeseries.tsv"], r"acquisition \(none, b\).*dataset\.entities=\{acq:b\}"),
        (["{sub}_ses-2_task-rest_timeseries.tsv"], r"session \(none, 2\).*dataset\.session=ses-2"),
        (["{sub}_task-rest_desc-old_timeseries.tsv"], r"desc \(none, old\).*dataset\.entities=\{desc:null\}"),
    ],
)
def test_series_that_could_be_meant_for_one_another_stop_before_the_first_job(study, more, message):
    root, spec = study
    series(root)
    for form in more:
        series(root, form, people=("sub-01", "sub-03"))
    with pytest.raises(ValueError, match=rf"{message}.*So it is with 1 other person"):
        source_files(spec)
    source_files(spec | {"participants": ["sub-02", "sub-04"]})  # whoever is not wanted does not count


def test_a_run_that_was_taken_is_said_and_counted(study, tmp_path):
    root, spec = study
    series(root, "{sub}_task-rest_run-10_timeseries.tsv")
    series(root, "{sub}_task-rest_run-9_timeseries.tsv")
    got = acquire(spec, None, tmp_path)
    text = summarise(got.participants, spec, None, got.index, got.choices)
    assert (
        "Chosen for 4 people: series, the first of several runs (dataset.run=10 takes another) (sub-01_task-rest_run-9"
        in text
    )
    assert acquire(spec | {"run": 10}, None, tmp_path).choices.empty


def test_the_confounds_of_another_run_are_not_those_of_a_series(study, tmp_path):
    root, spec = study
    series(root, "{sub}_task-rest_run-2_timeseries.tsv")
    write(root, "{sub}_task-rest_run-1_desc-confounds_timeseries.tsv", MOTION)
    write(root, "{sub}_task-rest_run-02_desc-confounds_regressors.tsv", MOTION, people=("sub-01",))
    index = acquire(spec, None, tmp_path).index
    assert [path.rpartition("/")[2] for path in index["confounds"]] == [
        "sub-01_task-rest_run-02_desc-confounds_regressors.tsv", "", "", "",
    ]  # fmt: skip
    choices = acquire(spec, None, tmp_path).choices
    assert choices["why"].tolist() == ["none of the same scan"] * 3
    assert choices["others"][0] == "sub-02_task-rest_run-1_desc-confounds_timeseries.tsv"


def test_one_person_s_files_cost_that_person(study, tmp_path):
    root, spec = study
    series(root)
    (root / "sub-01_task-rest_timeseries.json").write_text('{"RepetitionTime": [2.0]}')
    (root / "sub-02_task-rest_timeseries.tsv").unlink()
    (root / "sub-02_task-rest_timeseries.tsv").symlink_to(".git/annex/objects/gone")
    (root / "sub-03_task-rest_timeseries.tsv").write_text(MOTION)
    files = source_files(spec)
    assert not any("sub-02_task-rest_timeseries.tsv" in path for path in files)
    got = acquire(spec, None, tmp_path)
    problems = got.index.set_index("participant_id")["problem"]
    assert "RepetitionTime [2.0] is no number of seconds" in problems["sub-01"]
    assert problems["sub-02"].endswith("datalad get sub-02_task-rest_timeseries.tsv")
    assert "is a table of confounds or motion (trans_x" in problems["sub-03"] and problems["sub-04"] == ""
    text = summarise(got.participants, spec, None, got.index, got.choices)
    assert "1 of 4 people have data." in text and "(sub-02)" in text


@pytest.mark.parametrize("pointer", [None, "/annex/objects/MD5E-s1--0.tsv\n"])
def test_a_clone_without_any_content_stops_with_the_command(study, pointer):
    root, spec = study
    for name in PEOPLE:
        path = root / f"{name}_task-rest_timeseries.tsv"
        path.symlink_to("gone") if pointer is None else path.write_text(pointer)
    with pytest.raises(
        FileNotFoundError, match=r"all 4 people are links without content.*datalad get sub-01_task-rest"
    ):
        source_files(spec)


def test_the_scan_that_series_come_from_tells_the_time_unless_there_are_two(study, tmp_path):
    root, spec = study
    write(root, "{sub}_task-rest_timeseries.tsv")
    (root / "sub-01_task-rest_run-1_bold.json").write_text('{"RepetitionTime": 2}')
    (root / "sub-01_task-rest_run-2_bold.json").write_text('{"RepetitionTime": 3}')
    (root / "sub-02_task-rest_run-1_bold.json").write_text('{"RepetitionTime": 2}')
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 1.5}')
    index = acquire(spec, None, tmp_path).index.set_index("participant_id")
    assert index["repetition_time"].tolist() == [0, 2, 1.5, 1.5]
    assert "2 s in sub-01_task-rest_run-1_bold.json, 3 s in" in index.loc["sub-01", "problem"]


def test_matrices_are_no_series_and_said(study):
    root, spec = study
    write(root, "{sub}_task-rest_conmat.tsv")
    with pytest.raises(FileNotFoundError, match=r"Matrices of connectivity \(sub-01_task-rest_conmat\.tsv"):
        source_files(spec)


# images


def test_mask_and_confounds_are_those_of_the_same_scan(study, tmp_path):
    root, spec = study
    scan(root, PREPARED, "_run-1")
    scan(root, PREPARED, "_run-2")
    for run in (1, 2):
        write(root, "{sub}/func/{sub}_task-rest_run-{run}_desc-confounds_timeseries.tsv", MOTION, PEOPLE[:2], run=run)
        write(root, PREPARED.replace("preproc_bold", "brain_mask"), "", PEOPLE[:1], middle=f"_run-{run}")
    index, text = acquired(spec, tmp_path, run=2)
    assert all("run-2" in path for path in index["bold"])
    assert [bool(path) for path in index["mask"]] == [True, False, False, False]
    assert all("run-2" in path for path in index["confounds"][:2]) and index["confounds"][2:].tolist() == ["", ""]
    index, text = acquired(spec, tmp_path)
    assert "Chosen for 4 people: BOLD, the first of several runs (dataset.run=2 takes another)" in text
    assert all("run-1" in path for path in [*index["bold"], *index["confounds"][:2], index["mask"].iloc[0]])


@pytest.mark.parametrize(
    "name", ["desc-confounds_timeseries", "desc-confounds_regressors", "bold_confounds", "confounds"]
)
def test_confounds_of_all_versions_are_found(study, tmp_path, name):
    root, spec = study
    scan(root, PREPARED)
    write(root, "{sub}/func/{sub}_task-rest_" + name + ".tsv", MOTION)
    assert taken(acquired(spec, tmp_path)[0], "confounds") == [f"_task-rest_{name}.tsv"] * 4


def test_confounds_that_were_not_taken_are_said(study, tmp_path):
    root, spec = study
    scan(root, PREPARED, "_dir-AP")
    write(root, "{sub}/func/{sub}_task-rest_dir-PA_desc-confounds_timeseries.tsv", MOTION)
    index, text = acquired(spec, tmp_path)
    assert index["confounds"].tolist() == [""] * 4
    assert (
        "Chosen for 4 people: confounds, none of the same scan (none, not sub-01/func/sub-01_task-rest_dir-PA" in text
    )


def test_old_columns_of_confounds_are_named(study, tmp_path):
    root, spec = study
    scan(root, PREPARED)
    write(root, "{sub}/func/{sub}_task-rest_timeseries.tsv", OLD, PEOPLE[:1])
    index, text = acquired(spec, tmp_path)
    assert index.index.tolist() == ["sub-02", "sub-03", "sub-04"]
    assert "the confounds have old names (WhiteMatter, GlobalSignal, FramewiseDisplacement)" in text


def test_a_mask_in_another_space_or_resolution_is_not_taken(study, tmp_path):
    root, spec = study
    scan(root, PREPARED.replace("_desc", "_res-2_desc"))
    mask = "{sub}/func/{sub}_task-rest_space-{space}_desc-brain_mask.nii.gz"
    write(root, mask, "", space="MNI152NLin2009cAsym_res-1")
    write(root, mask, "", space="T1w")
    assert acquired(spec, tmp_path)[0]["mask"].tolist() == [""] * 4


def test_echoes_stop_with_their_times_unless_fmriprep_combines_them(study, monkeypatch):
    root, spec = study
    for k in (1, 2, 3):
        scan(root, RAW, f"_echo-{k}")
        (root / f"task-rest_echo-{k}_bold.json").write_text(json.dumps({"EchoTime": 0.012 * k}))
    with pytest.raises(ValueError, match=r"echo 1: 12 ms, echo 2: 24 ms.*preprocess=fmriprep combines them"):
        front(spec, "ants")
    assert front(spec, "ants", entities={"echo": 2})[3]["sub-01"]["bold"].endswith("_echo-2_bold.nii.gz")
    spec, plan, _, scans = front(spec, "fmriprep")
    assert scans["sub-01"]["choices"] == []
    assert (
        sum("echo-" in path for path in users_files(spec, plan, scans, "sub-01")) == 9
    )  # 3 x image, own and root's sidecar


def test_the_anatomy_of_the_same_session_else_of_another_and_said(study, tmp_path):
    root, spec = study
    for session in (1, 2):
        scan(root, RAW.replace("_task", f"_ses-{session}_task").replace("/func", f"/ses-{session}/func"))
    write(root, "{sub}/ses-1/anat/{sub}_ses-1_T1w.nii.gz", "", PEOPLE[:3])
    write(root, "{sub}/ses-2/anat/{sub}_ses-2_T1w.nii.gz", "", PEOPLE[:1])
    index, text = acquired(spec, tmp_path, "ants", session="ses-2")
    assert taken(index, "t1w") == ["_ses-2_T1w.nii.gz", "_ses-1_T1w.nii.gz", "_ses-1_T1w.nii.gz"]
    assert "Chosen for 2 people: T1w, of another session, as this one has none (sub-02/ses-1" in text
    assert "no T1w beside sub-04_ses-2_task-rest_bold.nii.gz, nor in another session" in text
    with pytest.raises(ValueError, match=r"session \(1, 2\)"):
        front(spec, "ants")


@pytest.mark.parametrize("what", ["bold", "desc-brain_mask", "desc-confounds", "json"])
def test_dead_links_cost_their_owner_and_are_no_inputs(study, tmp_path, what):
    root, spec = study
    scan(root, PREPARED)
    write(root, PREPARED.replace("preproc_bold", "brain_mask"), "", middle="")
    write(root, "{sub}/func/{sub}_task-rest_desc-confounds_timeseries.tsv", MOTION)
    ending = "preproc_bold.json" if what == "json" else "preproc_bold.nii.gz" if what == "bold" else what
    path = next(file for file in (root / "sub-01/func").iterdir() if ending in file.name)
    path.unlink()
    path.symlink_to("../../.git/annex/objects/gone")
    spec, plan, _, scans = front(spec)
    files = users_files(spec, plan, scans, "sub-01")
    assert len(files) == 3 and all(Path(file).exists() for file in files)
    assert len(users_files(spec, plan, scans, "sub-02")) == 4
    index, text = acquired(spec | {"kind": "local"}, tmp_path)
    assert index.index.tolist() == ["sub-02", "sub-03", "sub-04"]
    assert f"{path.name} is a link without content" in text and "3 of 4 people have data." in text


@pytest.mark.parametrize("pointer", [None, "version https://git-lfs.github.com/spec/v1\n"])
def test_a_clone_of_images_without_content_stops_with_the_command(study, pointer):
    root, spec = study
    for name in PEOPLE:
        path = root / RAW.format(sub=name, middle="")
        path.parent.mkdir(parents=True)
        path.symlink_to("gone") if pointer is None else path.write_text(pointer)
    with pytest.raises(FileNotFoundError, match=r"all 4 people are links without content.*datalad get sub-01/func/"):
        front(spec, "ants")


def test_a_file_of_somebody_else_in_a_person_s_folder_is_not_theirs(study, tmp_path):
    root, spec = study
    scan(root, PREPARED, people=PEOPLE[:3])
    scan(root, "sub-04/func/" + PREPARED.rpartition("/")[2].replace("{sub}", "sub-03"), people=("sub-04",))
    index, text = acquired(spec, tmp_path)
    assert index.index.tolist() == ["sub-01", "sub-02", "sub-03"] and "(sub-04)" in text


def test_all_that_is_read_of_the_user_s_images_is_watched(study):
    root, spec = study
    scan(root, PREPARED)
    write(root, PREPARED.replace("preproc_bold", "brain_mask"), "", middle="")
    write(root, "{sub}/func/{sub}_task-rest_desc-confounds_timeseries.tsv", MOTION)
    write(root, "{sub}/func/{sub}_task-rest_desc-confounds_timeseries.json", "{}")
    (root / "task-rest_bold.json").write_text("{}")
    (root / "sub-01/func/notes.txt").touch()
    spec, plan, _, scans = front(spec)
    assert [Path(path).name.removeprefix("sub-01_task-rest_") for path in users_files(spec, plan, scans, "sub-01")] == [
        "desc-confounds_timeseries.json", "desc-confounds_timeseries.tsv",
        "space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", "space-MNI152NLin2009cAsym_desc-preproc_bold.json",
        "space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz", "task-rest_bold.json",
    ]  # fmt: skip


def front_seconds(spec: dict, n: int) -> float:
    """Processor seconds until the files of n people are known."""
    start = time.process_time()
    listing = list_folder_of(spec)
    if kind_of(spec, listing) == "local":
        assert len(source_files(spec, listing)) == 2 * n + 1
    else:
        assert len(front(spec)[3]) == n
    return time.process_time() - start


@pytest.mark.parametrize("form", ["{sub}_task-rest_timeseries.tsv", PREPARED])
def test_the_front_takes_twice_as_long_for_twice_as_many(study, form):
    root, spec = study
    seconds = {}
    for n in (100, 400):
        names = [f"sub-{k:04d}" for k in range(n)]
        rows = [f"{name}\t{('patient', 'control')[k % 2]}\t40\tF\ta\t0.1" for k, name in enumerate(names)]
        table = "\n".join(["participant_id\tgroup\tage\tsex\tsite\tmean_fd", *rows])
        (root / "participants.tsv").write_text(table + "\n")
        write(root, form, "a\tb\n1\t2\n", names, middle="")
        write(root, form.replace(".nii.gz", ".json").replace(".tsv", ".json"), "{}", names, middle="")
        seconds[n] = min(front_seconds(spec, n) for _ in range(3))  # a collection of garbage may fall into one
    assert seconds[400] < 9 * seconds[100]  # 4 times as many; the square would be 16


def test_those_who_are_left_out_are_counted_for_the_terminal():
    reasons = {
        "sub-1": "",
        "sub-2": "sub-2_bold.nii is cut short",
        "sub-3": "sub-3_bold.nii is cut short",
        "sub-4": "x",
    }
    assert left_out(reasons).splitlines() == [
        "1 of 4 people are included; left out:",
        "   2  sub-..._bold.nii is cut short (sub-2, sub-3)",
        "   1  x (sub-4)",
    ]
    assert left_out({"sub-1": ""}) == "1 of 1 people are included."


def test_a_corrected_file_changes_the_receipt(study):
    root, spec = study
    scan(root, PREPARED)
    (root / "task-rest_bold.json").write_text("{}")
    spec, plan, settings, _ = front(spec)
    first = fetch_unit("sub-01", [], plan.folder, Transport(), settings)
    assert fetch_unit("sub-01", [], plan.folder, Transport(), settings) == first
    os.utime(root / "task-rest_bold.json", ns=(1, 1))
    assert fetch_unit("sub-01", [], plan.folder, Transport(), settings) != first


def test_sequences_that_go_with_the_group_are_told(study, tmp_path):
    root, spec = study
    scan(root, PREPARED, people=PEOPLE[:2], seconds=0.9)
    scan(root, PREPARED, people=PEOPLE[2:])
    _, text = acquired(spec, tmp_path)
    assert "Repetition time: 0.9 s (2 patients), 2 s (2 controls)." in text and "goes with the group" in text


def test_the_report_lists_choices_and_times():
    people = pd.DataFrame({"participant_id": PEOPLE, "group": ["patient"] * 2 + ["control"] * 2, "included": True})
    index = pd.DataFrame({"participant_id": PEOPLE, "repetition_time": ["0.9", "0.9", "2.0", "2.0"]})
    choices = pd.DataFrame(
        [["sub-01", "confounds", "", "a.tsv, b.tsv", "none of the same scan"]], columns=list(CHOICES)
    )
    contrast = {"cases": ["patient"], "controls": ["control"]}
    told = times_text(SimpleNamespace(participants=people, index=index), contrast)
    assert told[0] == "Repetition time: 0.9 s (2 patients), 2 s (2 controls)."
    row = choices_table(choices).rows[0]
    assert row.cells == ["sub-01", "confounds", "—", "a.tsv, b.tsv", "none of the same scan"]
    assert times_text(SimpleNamespace(participants=people, index=None), {}) == []
    assert choices_table(choices.head(0)) is None and choices_table(None) is None


# names as people give them


FIT = ('a b\'s "q"', "$(touch PWNED);x", "-rf", "üß日本", "`id` & x #%*?[1]", "\\", "a\nb", "a\tb", "x" * 200)
UNFIT = {"{y}": "a brace", "a\udcffb": "a byte that is no UTF-8"}


@pytest.mark.parametrize("folder", FIT)
@pytest.mark.parametrize("kind", ["local", "derivatives"])
def test_a_file_is_read_whatever_its_folder_is_called(study, tmp_path, folder, kind):
    index, sources = hostile(study, tmp_path, folder, kind)
    assert Path(index["series" if kind == "local" else "bold"]["sub-01"]).parent.name == folder
    assert any(f"/{folder}/" in path for path in sources) and (index.get("problem", "") == "").all()


@pytest.mark.parametrize("folder", UNFIT)
@pytest.mark.parametrize("kind", ["local", "derivatives"])
def test_a_path_that_nobody_can_hold_leaves_out_its_owner_alone(study, tmp_path, folder, kind):
    index, sources = hostile(study, tmp_path, folder, kind)
    assert not any(folder in path for path in sources) and any("sub-02" in path for path in sources)
    reasons = index["problem"].to_dict()
    assert reasons.pop("sub-01").startswith(f"there is {UNFIT[folder]}") and set(reasons.values()) == {""}


@pytest.mark.parametrize("kind", ["local", "derivatives"])
def test_a_path_that_nobody_can_hold_stops_the_run_where_it_is_everybody_s(study, kind):
    root, spec = study
    place = "{{new}}/{sub}" if kind == "local" else "{sub}/{{new}}"
    if kind == "local":
        series(root, place + "/{sub}_task-rest_timeseries.tsv")
    else:
        scan(root, PREPARED.replace("{sub}/func", place, 1))
    with pytest.raises(FileNotFoundError, match=r"nobody has files that can be read: there is a brace in the path"):
        source_files(spec, list_folder_of(spec)) if kind == "local" else front(spec)


def hostile(study, tmp_path: Path, folder: str, kind: str):
    """Index of people, of whom sub-01 has files in a folder of that name, and the files that are watched."""
    root, spec = study
    for name in PEOPLE:
        place = f"{name}/{folder if name == 'sub-01' else 'func'}".replace("{y}", "{{y}}")
        if kind == "local":
            write(root, f"{place}/{{sub}}_task-rest_timeseries.tsv", people=[name])
            write(root, f"{place}/{{sub}}_task-rest_timeseries.json", '{"RepetitionTime": 2.0}', [name])
        else:
            scan(root, PREPARED.replace("{sub}/func", place, 1), people=[name])
    if kind == "local":
        spec |= {"kind": "local", "denoise": None}
        listing = list_folder_of(spec)
        got, sources = acquire(spec, None, tmp_path / "series", {}), source_files(spec, listing)
    else:
        spec, plan, settings, scans = front(spec)
        sources = [path for unit in plan.wanted for path in users_files(spec, plan, scans, unit)]
        paths = [str(tmp_path / f"{unit}.json") for unit in [SHARED, *plan.wanted]]
        for unit, path in zip([SHARED, *plan.wanted], paths):
            write_receipt(fetch_unit(unit, [], plan.folder, Transport(), settings), path)
        got = acquire_scans(spec, plan, paths, 0)
    outputs = {name: str(tmp_path / f"{name}.tsv") for name in ("participants", "index", "choices")}
    write_acquired(got, outputs)
    index = pd.read_csv(outputs["index"], sep="\t", keep_default_na=False, dtype=str).set_index("participant_id")
    people = pd.read_csv(outputs["participants"], sep="\t", keep_default_na=False).set_index("participant_id")
    assert sorted(people.index) == list(PEOPLE)
    problem = people["exclusion_reason"].replace("n/a", "")
    return (index if kind == "local" else index.reindex(people.index).assign(problem=problem)), sources


@pytest.mark.parametrize("name", ["sub-01 copy", "sub-{z}", "sub-"])
def test_files_under_what_is_no_id_decide_nothing(study, name):
    root, spec = study
    scan(root, PREPARED)
    series(root, "old/{sub}_timeseries.tsv".replace("{sub}", name.replace("{z}", "{{z}}")), people=("sub-01",))
    assert kind_of(spec) == "derivatives"


NO_IDS = ("sub-01 copy", "sub-$(touch PWNED)", "sub-", "sub-{z}", "sub-Ä", "sub-a\nb", "sub-\udcff", "sub-" + "A" * 101)


@pytest.mark.parametrize("name", NO_IDS)
def test_a_folder_that_is_no_id_is_told_and_passed_over_where_no_table_says_who_is_who(study, name):
    root, spec = study
    spec |= {"groups": {"sub-01": "patient", "sub-0*": "control"}, "covariates": []}
    (root / "participants.tsv").unlink()
    for own in (*PEOPLE, name):
        (root / own).mkdir()
    read = read_people(spec, root)
    assert read.table["participant_id"].tolist() == list(PEOPLE)
    assert f"the folder {name[:60]!a} begins as an id and is none: passed over" in read.notes[0]
