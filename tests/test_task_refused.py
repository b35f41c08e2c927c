"""What no measure in time or of a task can be made of is named, with what to do: before a job, or of one person."""

import json

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.series import series_hash
from dysconnect.data.timing import Timing
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import ConfigError
from dysconnect.timeseries.cohort import prepare_subject

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
        ({"connectivity": "lagged", "experiment": "floor,correlation_ridge"}, "model=ridge needs undirected edges"),
    ],
)
def test_what_does_not_fit_is_said_before_any_job(repository, asked, words):
    with pytest.raises(ConfigError, match=words):
        compose_workflow(repository / "configs", repository / "workflow/schemas/config.schema.json", asked)


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
    assert "Choose atlas=motor10 (10 regions)" in str(told.value)
    with pytest.raises(ValueError, match=r"with more than 5 .* a table of 5 regions \(atlas.nodes=FILE\)"):
        cohort_connectomes(index_of(tmp_path, 230, censored=120), NODES, "lagged", None)
    seconds = int(str(told.value).split("min_seconds=")[1].rstrip("."))
    assert cohort_connectomes(index_of(tmp_path, seconds // 2 + 1), NODES, "lagged", None).directed


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
