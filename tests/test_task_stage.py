"""Series of a task through the stage `timeseries`: its sidecar, the clock of the events, and who is left out."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from dysconnect.data.timing import Timing
from dysconnect.planted.motion import head_motion
from dysconnect.planted.tapping import tapping_events, tapping_load, tapping_responses
from dysconnect.timeseries.cohort import prepare_cohort, prepare_subject

T, TR, N = 360, 2.0, 5
NODES = pd.DataFrame({"name": [f"region {k}" for k in range(N)]})
KINDS = {"task": ["right", "left", "bimanual"], "rest": ["rest"]}
ROW = pd.Series({"participant_id": "sub-1", "age": 40.0, "sex": "F", "site": "A"})


@pytest.fixture
def spec(repository):
    return yaml.safe_load((repository / "configs/denoise/task.yaml").read_text())


@pytest.fixture
def entry(tmp_path):
    """A run of five regions, of which two respond, its confounds and its events."""
    rng = np.random.default_rng(0)
    events = tapping_events(T, TR, rng)
    series = 1000 + 10 * rng.standard_normal((T, N))
    series += tapping_responses(events, T, TR, np.array([20.0, -20, 0, 0, 0]), rng)
    motion = head_motion(T, 0.1, rng)
    pd.DataFrame(series, columns=NODES["name"]).to_csv(tmp_path / "series.tsv", sep="\t", index=False)
    motion.to_csv(tmp_path / "confounds.tsv", sep="\t", index=False, na_rep="n/a")
    events.to_csv(tmp_path / "sub-1_task-finger_events.tsv", sep="\t", index=False)
    files = {"series": tmp_path / "series.tsv", "confounds": tmp_path / "confounds.tsv"}
    own = {"participant_id": "sub-1", "key": "", "repetition_time": TR, "sha256": "", "start_time": 0.0}
    return pd.Series({**files, **own, "events": tmp_path / "sub-1_task-finger_events.tsv"})


def judged(entry, spec, kinds=KINDS):
    return prepare_subject(ROW, entry, NODES, spec, kinds=kinds)


def test_the_sidecar_says_when_the_task_was_and_who_responded(entry, spec):
    found = judged(entry, spec)
    assert found.exclusion_reason == ""
    events = pd.read_csv(entry["events"], sep="\t")
    load = np.array(found.removed["TaskLoad"])
    assert np.corrcoef(load, tapping_load(events, T, TR))[0, 1] > 0.97
    assert load.max() == pytest.approx(1)
    activation = np.array(found.removed["Activation"])
    assert activation[0] > 0.5 and activation[1] < -0.5 and np.abs(activation[2:]).max() < 0.3
    assert found.removed["DegreesOfFreedom"] >= 100
    assert set(found.moved) == {"mean_fd_task", "mean_fd_rest"}
    assert np.mean([*found.moved.values()]) == pytest.approx(found.mean_fd, rel=0.2)


def test_onsets_are_on_the_clock_of_the_events(entry, spec):
    """Five volumes that preprocessing left out are before the first of the series."""
    on_time = judged(entry, spec).removed["TaskLoad"]
    events = pd.read_csv(entry["events"], sep="\t")
    events.assign(onset=events["onset"] + 11.0).to_csv(entry["events"], sep="\t", index=False)
    unmoved = judged(entry, spec)
    assert unmoved.exclusion_reason or not np.allclose(unmoved.removed["TaskLoad"], on_time, atol=0.1)
    entry["start_time"] = 11.0
    np.testing.assert_allclose(judged(entry, spec).removed["TaskLoad"], on_time, atol=1e-6)


def test_without_events_or_with_others_a_person_is_left_out_with_the_reason(entry, spec):
    assert "no table of events" in judged(entry.drop("events"), spec).exclusion_reason
    assert "no table of events" in judged(pd.Series({**entry, "events": ""}), spec).exclusion_reason
    other = judged(entry, spec, {"task": ["tap"], "rest": ["rest"]})
    assert "has no event of trial_type tap" in other.exclusion_reason
    assert "dataset.trial_types" in judged(entry, spec, None).exclusion_reason
    events = pd.read_csv(entry["events"], sep="\t")
    events.assign(onset=1000 * events["onset"], duration=1000 * events["duration"]).to_csv(
        entry["events"], sep="\t", index=False
    )
    assert "millisecond" in judged(entry, spec).exclusion_reason


def test_why_there_are_no_events_is_the_reason_of_who_needs_them_and_of_nobody_else(entry, spec):
    without = pd.Series({**entry, "events": "", "events_problem": "a_bold.nii.gz has no events, and others have"})
    assert judged(without, spec).exclusion_reason == "a_bold.nii.gz has no events, and others have"
    assert judged(without, spec | {"task": False}).exclusion_reason == ""


def test_a_run_with_hardly_any_task_is_left_out(entry, spec):
    events = pd.read_csv(entry["events"], sep="\t")
    events["trial_type"] = ["right", *["rest"] * (len(events) - 1)]
    events.to_csv(entry["events"], sep="\t", index=False)
    reason = judged(entry, spec, {"task": ["right"], "rest": ["rest"]}).exclusion_reason
    assert "volumes of task" in reason and "degrees of freedom" in reason


def test_the_cohort_has_motion_of_both_and_names_its_task(entry, spec, tmp_path):
    people = pd.DataFrame([ROW, ROW.replace("sub-1", "sub-2")])
    names = {"atlas": "five", "denoise": "task", "task": "finger"}
    table, index = prepare_cohort(
        people, pd.DataFrame([entry]), NODES, spec, tmp_path / "out", names, kinds=KINDS, covariates=("age", "mean_fd")
    )
    assert table["included"].tolist() == [True, False]
    assert np.isfinite(table.loc[0, ["mean_fd_task", "mean_fd_rest"]].astype(float)).all()
    series = tmp_path / "out" / index["series"].item()
    assert series.name == "sub-1_task-finger_seg-five_desc-task_timeseries.tsv"
    timing = Timing.read(series)
    assert len(timing.load) == json.loads(series.with_suffix(".json").read_text())["NumberOfVolumes"] == T
