"""Repetition times: read in one way from every file and route, and listed by group where a cohort has several."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny import write_image

from dysconnect.acquire.scan import describe_scan
from dysconnect.data.images.volumes import open_bold, repetition_time
from dysconnect.reading.repetition import seconds_of, sidecar_seconds, time_of, times_by_group

WRONG = [2000, 0, -2, 0.04, 60.1, True, [2.0], "2.0", "2,0", {"s": 2}, float("nan"), float("inf"), 10**400]


@pytest.mark.parametrize("value", WRONG)
def test_what_is_no_time_in_seconds_is_refused_with_file_and_value(value):
    with pytest.raises(ValueError, match=r"^sub-01_bold\.json: RepetitionTime .*(no number|not milliseconds|no time)"):
        seconds_of(value, "sub-01_bold.json")


@pytest.mark.parametrize("value", [2, 0.1, 60, 0.72])
def test_seconds_are_read(value):
    assert seconds_of(value, "x.json") == value


@pytest.mark.parametrize(
    ("sidecar", "seconds"),
    [({"RepetitionTime": 2}, 2), ({"SamplingFrequency": 0.5}, 2), ({"RepetitionTime": None}, None), ({}, None)],
)
def test_a_frequency_or_nothing(sidecar, seconds):
    assert sidecar_seconds(sidecar, dict.fromkeys(sidecar, "x.json")) == seconds


@pytest.mark.parametrize("frequency", [0, -1, "1", True, [1], 1e-9, float("nan"), 500])
def test_a_frequency_that_cannot_be(frequency):
    with pytest.raises(ValueError, match=r"x\.json: .*SamplingFrequency"):
        sidecar_seconds({"SamplingFrequency": frequency}, {"SamplingFrequency": "x.json"})


@pytest.mark.parametrize(("header", "message"), [(0.0, "no repetition time"), (2000.0, "header 2000.0: seconds, not")])
def test_a_header_is_judged_alike(header, message):
    with pytest.raises(ValueError, match=message):
        time_of({}, {}, header, "a_bold.nii.gz")
    assert time_of({"RepetitionTime": 2}, {"RepetitionTime": "a.json"}, header, "a_bold.nii.gz") == 2


@pytest.mark.parametrize("value", ["1e400", "[2.0]", "true", "2000"])
def test_acquire_and_preprocess_say_the_same(tmp_path, value):
    bold = "sub-1/func/sub-1_task-rest_bold.nii.gz"
    write_image(tmp_path / bold, (4, 4, 4, 5), np.eye(4), 2.0, 0)
    (tmp_path / "task-rest_bold.json").write_text(f'{{"RepetitionTime": {value}}}')
    spec = {"kind": "bids", "task": "rest", "repetition_time": None}
    problem = describe_scan(tmp_path, [bold], spec)["problem"]
    assert problem.startswith("task-rest_bold.json: RepetitionTime")
    with pytest.raises(ValueError) as refused:
        repetition_time(tmp_path / bold, open_bold(tmp_path / bold))
    assert str(refused.value) == problem
    (tmp_path / "sub-1/sub-1_task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    assert describe_scan(tmp_path, [bold], spec)["repetition_time"] == 1.5


# by group


def cohort(patients: list[float], controls: list[float]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    times = [*patients, *controls]
    names = [f"sub-{k}" for k in range(len(times))]
    people = pd.DataFrame({"participant_id": names, "group": ["P"] * len(patients) + ["C"] * len(controls)})
    index = pd.DataFrame({"participant_id": names, "repetition_time": times})
    return people, index, {"cases": ["P"], "controls": ["C"]}


def test_one_sequence_is_not_worth_a_line():
    assert times_by_group(*cohort([2, 2.0004], [2, 0])) == []  # 0: nobody knows


def test_several_are_listed_by_group():
    lines = times_by_group(*cohort([2] * 9 + [3], [2] * 9 + [3]))
    assert lines == ["repetition time: 2 s (9 patients, 9 controls), 3 s (1 patient, 1 control)"]


@pytest.mark.parametrize("times", [([0.9] * 2, [2] * 2), ([2] * 5 + [3] * 15, [2] * 15 + [3] * 5)])
def test_a_sequence_that_goes_with_the_group_is_a_warning(times):
    lines = times_by_group(*cohort(*times))
    assert len(lines) == 2 and "goes with the group" in lines[1]


def test_groups_that_are_not_compared_do_not_count():
    people, index, contrast = cohort([2, 2], [2, 2])
    people.loc[0, "group"], index.loc[0, "repetition_time"] = "other", 3
    assert times_by_group(people, index, contrast) == []
