"""What no measure in time or of a task can be made of is named, with what to do: before a job, or of one person."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.measures import MEASURES
from dysconnect.data.series import series_hash
from dysconnect.data.timing import Timing
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import ConfigError
from dysconnect.timeseries.cohort import prepare_cohort, prepare_subject

NODES = pd.DataFrame({"name": [f"region {k}" for k in range(12)]})
KINDS = {"task": ["tap"], "rest": ["rest"]}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"connectivity": "task", "dataset": "abide"}, "connectivity=task needs events .*dataset=ds006395_finger"),
        ({"connectivity": "task_change", "dataset": "ds006395"}, "of dataset=ds006395 no events are said to be of one"),
        ({"denoise": "task", "dataset": "ds006395"}, "denoise=task needs events of a task"),
        (
            {"connectivity": "task", "denoise": "standard"},
            "needs denoise.task=true denoise.low_pass=null, and .*standard",
        ),
        ({"connectivity": "lagged", "denoise": "standard"}, "connectivity=lagged needs denoise.low_pass=null"),
        (
            {"connectivity": "lagged", "dataset": "abide"},
            "band-passed by those who prepared it. Set dataset.strategy=no",
        ),
        ({"connectivity": "lagged", "experiment": "floor,gcn"}, "model=gcn needs correlations or covariances"),
    ],
)
def test_what_does_not_fit_is_said_before_any_job(repository, asked, words):
    with pytest.raises(ConfigError, match=words):
        compose_workflow(repository / "configs", repository / "workflow/schemas/config.schema.json", asked)


FINGER = {"connectivity": "task", "dataset": "ds006395_finger"}


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ("{task:[left,right],rest:[left]}", "dataset.trial_types: trial_type left is task and rest; leave it in one"),
        ("{task:[left],rest:[rest],ignore:[rest]}", "trial_type rest is rest and ignore"),
        ("{task:[left],rest:[rest],ignored:[press]}", "ignored"),
        ("{task:[left],rest:[rest],times:volumes}", "times"),
    ],
)
def test_kinds_that_cannot_be_meant_stop_before_any_job(repository, kinds, words):
    asked = FINGER | {"overrides": f"dataset.trial_types={kinds}"}
    with pytest.raises(ConfigError, match=words):
        compose_workflow(repository / "configs", repository / "workflow/schemas/config.schema.json", asked)


def test_presses_can_be_ignored_and_times_said_to_be_seconds(repository):
    kinds = "{task:[left],rest:[rest],ignore:[press,cue],times:seconds}"
    asked = FINGER | {"overrides": f"dataset.trial_types={kinds}"}
    cohort, *_ = compose_workflow(repository / "configs", repository / "workflow/schemas/config.schema.json", asked)
    assert cohort["dataset"]["trial_types"]["ignore"] == ["press", "cue"]
    assert cohort["dataset"]["trial_types"]["times"] == "seconds"


def index_of(folder, n_volumes: int, censored: int = 0) -> pd.DataFrame:
    """One person's denoised series, of which the last volumes are left out."""
    path, kept = folder / "sub-1.tsv", np.arange(n_volumes) < n_volumes - censored
    values = np.random.default_rng(0).standard_normal((kept.sum(), len(NODES)))
    pd.DataFrame(values, columns=NODES["name"]).to_csv(path, sep="\t", index=False)
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": 2.0, **Timing(2.0, kept).written()}))
    return pd.DataFrame([{"participant_id": "sub-1", "series": path, "sha256": series_hash(path.read_bytes())}])


def test_too_many_regions_for_a_direction_name_the_number_allowed_and_the_atlas(tmp_path):
    with pytest.raises(ValueError, match=r"sub-1: connectivity=lagged of 12 regions needs 240 pairs") as told:
        cohort_connectomes(index_of(tmp_path, 230), NODES, "lagged", None)
    assert "this scan has 229: with more than 11 regions" in str(told.value)
    assert "choose atlas=motor10 (10 regions)" in str(told.value)
    with pytest.raises(ValueError, match=r"with more than 5 .* give 5 regions \(atlas.nodes=FILE\)"):
        cohort_connectomes(index_of(tmp_path, 230, censored=120), NODES, "lagged", None)
    assert cohort_connectomes(index_of(tmp_path, 241), NODES, "lagged", None).directed


def cohort_of(folder, volumes: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """People with scans of so many volumes, and the index of their series."""
    people = pd.DataFrame({"participant_id": list(volumes), "group": "HC", "age": 40.0, "sex": "F", "site": "A"})
    rows = []
    for name, length in volumes.items():
        values = np.random.default_rng(length).standard_normal((length, len(NODES)))
        pd.DataFrame(values, columns=NODES["name"]).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
        own = {"series": folder / f"{name}.tsv", "key": "", "confounds": "", "repetition_time": 2.0, "sha256": ""}
        rows.append({"participant_id": name, **own})
    return people.assign(mean_fd=0.1), pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("measure", "short", "words"),
    [
        ("lagged", 230, "of 12 regions needs 240 pairs of volumes that follow each other, and this scan has 229"),
        ("variability", 85, "connectivity=variability: 85 volumes .* shorter than 3 windows of 30, .*; it takes three"),
    ],
)
def test_whoever_has_too_little_for_the_measure_is_left_out_and_the_others_go_on(
    tmp_path, repository, measure, short, words
):
    spec = OmegaConf.to_container(OmegaConf.load(repository / f"configs/denoise/{measure}.yaml"))
    spec |= {"motion": None, "min_seconds": 100}
    people, index = cohort_of(tmp_path, {"sub-1": 250, "sub-2": short, "sub-3": 245})
    names = {"atlas": "twelve", "denoise": measure}
    given = people, index, NODES, spec, tmp_path / "out", names
    table, denoised = prepare_cohort(*given, measures=[measure])
    assert table["included"].tolist() == [True, False, True]
    assert re.search(words, table["exclusion_reason"][1])
    assert not list((tmp_path / "out").glob("sub-2/func/*"))
    kept = denoised.assign(series=[tmp_path / "out" / name for name in denoised["series"]])
    assert cohort_connectomes(kept, NODES, measure, None).subjects.tolist() == ["sub-1", "sub-3"]
    assert prepare_cohort(*given)[0]["included"].all()  # of a measure that asks for nothing


def test_a_direction_of_too_many_regions_for_everybody_is_one_error(tmp_path, repository):
    spec = OmegaConf.to_container(OmegaConf.load(repository / "configs/denoise/lagged.yaml")) | {"motion": None}
    people, index = cohort_of(tmp_path, {"sub-1": 220, "sub-2": 230, "sub-3": 225})
    names = {"atlas": "twelve", "denoise": "lagged"}
    with pytest.raises(ValueError, match=r"none of the 3 subjects can be used.*choose atlas=motor10") as told:
        prepare_cohort(people, index, NODES, spec, tmp_path / "out", names, measures=["lagged"])
    assert str(told.value).count("direction is a guess") == 1


def test_censoring_that_leaves_too_little_says_what_to_loosen():
    censored = np.arange(400) % 3 > 0
    with pytest.raises(ValueError, match=r"10 regions needs 200 .* has 133: .* give 6 regions"):
        MEASURES["lagged"].refuse(Timing(2.0, censored), 10)
    with pytest.raises(ValueError, match=r"1 regions direction is a guess; loosen denoise.fd_threshold"):
        MEASURES["lagged"].refuse(Timing(2.0, censored[:100]), 10)
    with pytest.raises(ValueError, match=r"keep half of them, too much is censored; loosen denoise.fd_threshold"):
        MEASURES["variability"].refuse(Timing(2.0, ~censored), 10)
    with pytest.raises(ValueError, match="1 of the regions have a signal"):
        MEASURES["variability"].refuse(Timing(2.0, np.ones(400, bool)), 1)


@pytest.fixture
def person(tmp_path, repository):
    """Verdict on a scan with these events: rows of onset, duration and kind; None: there is no table."""
    spec = OmegaConf.to_container(OmegaConf.load(repository / "configs/denoise/task.yaml")) | {"motion": None}
    values = np.random.default_rng(1).standard_normal((360, len(NODES)))
    pd.DataFrame(values, columns=NODES["name"]).to_csv(tmp_path / "sub-1.tsv", sep="\t", index=False)
    row = pd.Series({"participant_id": "sub-1", "age": 40.0, "sex": "F", "site": "A", "mean_fd": 0.1})
    entry = {"series": str(tmp_path / "sub-1.tsv"), "key": "", "confounds": "", "repetition_time": 2.0}

    def verdict(events):
        if events is not None:
            path = tmp_path / "sub-1_events.tsv"
            pd.DataFrame(events, columns=["onset", "duration", "trial_type"]).to_csv(path, sep="\t", index=False)
            entry["events"] = str(path)
        return prepare_subject(row, pd.Series(entry), NODES, spec, ("age", "sex", "site"), KINDS)

    return verdict


def test_a_person_without_events_is_left_out_with_the_reason(person):
    verdict = person(None)
    assert verdict.series is None and "nothing says when the task was" in verdict.exclusion_reason


def test_a_person_with_too_little_of_the_task_is_left_out_with_the_reason(person):
    blocks = [(60 * k, 30, "tap") for k in range(12)] + [(60 * k + 30, 30, "rest") for k in range(12)]
    assert person(sorted(blocks)).exclusion_reason == ""
    verdict = person([(0, 30, "tap"), (30, 690, "rest")])
    assert verdict.series is None and "too little of it is task" in verdict.exclusion_reason
