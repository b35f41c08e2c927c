"""Maps tested together, around the test: which files they are, the covariates of each, and the words of the page."""

import pandas as pd
import pytest

from dysconnect.localize.joint import covariates_of
from dysconnect.paper.text import NONE
from dysconnect.plan.config import ConfigError
from dysconnect.plan.pictures import pictures
from dysconnect.report.results import Asked
from dysconnect.report.severity import joint_sentence, joint_table


def asked_for(*maps: str) -> dict:
    return pictures({"localize": {"joint": list(maps) or None}}, "mine", "wholebrain100")


def test_measures_of_this_run_lie_in_its_folder():
    assert asked_for() == {}
    files = asked_for("correlation", "partial")
    assert files["partial"] == {
        "connectomes": "results/mine/connectivity/wholebrain100_partial.h5",
        "participants": "results/mine/timeseries/participants.tsv",
    }


def test_maps_of_other_runs_come_with_their_people(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("dwi", "finger", "second"):
        for file in ("connectivity/wholebrain100_task_change.h5", "timeseries/participants.tsv"):
            (tmp_path / "results" / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "results" / name / file).touch()
    others = [f"results/{name}/connectivity/wholebrain100_task_change.h5" for name in ("finger", "second")]
    files = asked_for("correlation", *others)
    assert list(files) == ["correlation", "task_change", "second_task_change"]
    assert files["task_change"]["participants"] == "results/finger/timeseries/participants.tsv"


def test_no_map_is_lost_to_another_of_its_name_or_counted_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [f"{folder}/connectivity/{atlas}_fa.h5" for folder, atlas in (("dwi", "a"), ("dwi", "b"), ("dwi", "c"))]
    for path in paths:
        (tmp_path / "results" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / path).touch()
    (tmp_path / "results/dwi/timeseries").mkdir()
    (tmp_path / "results/dwi/timeseries/participants.tsv").touch()
    with pytest.raises(ConfigError, match="both called dwi_fa, and one would be lost"):
        asked_for(*(f"results/{path}" for path in paths))
    with pytest.raises(ConfigError, match="is one map, and named twice"):
        asked_for("correlation", f"results/{paths[0]}", str(tmp_path / "results" / paths[0]))


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (["correlation"], "is one map"),
        (["correlation", "correlation"], "is one map"),
        (["correlation", "lagged"], "lagged is no measure of which single connections may be named"),
        (["correlation", "tangent"], "Choose among correlation, partial, task, task_change, fa"),
        (
            ["correlation", "results/x/connectivity/a_fa.h5"],
            r"timeseries/participants.tsv is not there.*connectivity=fa",
        ),
    ],
)
def test_what_is_no_map_is_refused_with_the_remedy(maps, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        asked_for(*maps)


def test_motion_is_that_of_the_scans_of_the_map():
    rest = pd.DataFrame(columns=["age", "mean_fd"])
    task = pd.DataFrame(columns=["age", "mean_fd", "mean_fd_task", "mean_fd_rest"])
    assert covariates_of(rest, ["age", "mean_fd_task", "mean_fd_rest"]) == ["age", "mean_fd"]
    assert covariates_of(task, ["age", "mean_fd"]) == ["age", "mean_fd_task", "mean_fd_rest"]
    with pytest.raises(ValueError, match="no sex"):
        covariates_of(rest, ["age", "sex"])


SUMMARY = {
    "pictures": [
        {"name": "correlation", "n_cases": 20, "n_controls": 21}, {"name": "fa", "n_cases": 18, "n_controls": 21},
    ],
    "n": 41, "n_all": 39, "without": {"correlation": 0, "fa": 2}, "n_edges": 3, "n_untested": 1, "alpha": 0.05,
    "n_components": 1, "n_circuits": 0,
}  # fmt: skip


def asked(**changed) -> Asked:
    edges = pd.DataFrame({
        "region_a": ["Putamen L", "GPi L", "VIM L"], "region_b": ["GPi L", "VIM L", "M1 hand L"], "circuit": "",
        "statistic": [-5.1, 4.9, 1.0], "p_fwer": [0.001, 0.04, 0.9], "carried_by": ["sum", "fa", "sum"],
        "t_correlation": [-4.0, 0.2, 0.5], "t_fa": [-3.9, 5.2, float("nan")],
    })  # fmt: skip
    return Asked(edges.assign(**changed), SUMMARY)


def test_the_sentence_says_what_carries_and_who_lacks_a_map():
    said = joint_sentence(asked())
    assert "2 of 3 connections differ in the maps correlation (20 and 21) and fa (18 and 21)" in said
    assert "1 by the sum of all maps, 1 by one map" in said
    assert "39 of 41 people have all maps; 2 without fa count in the others." in said
    assert joint_sentence(asked(p_fwer=0.5)).startswith("None of 3 connections differ")


def test_the_table_has_the_t_of_every_map():
    table = joint_table(asked(), {}, 10)
    assert [column.title for column in table.columns][3:] == ["z", "Carried by", "t correlation", "t fa", "p\u00a0FWER"]
    assert table.rows[2].cells[6] == NONE and [row.mark for row in table.rows] == ["best", "best", ""]
