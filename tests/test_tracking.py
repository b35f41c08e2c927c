"""MLflow: one process opens the database, many write to it, and logging again adds nothing."""

import json
import subprocess

import numpy as np
import pandas as pd
import pytest
import warm

from dysconnect.paper.html import alone
from dysconnect.tracking import (
    Handle,
    finish,
    git_commit,
    leaderboard,
    log_cohort,
    log_folds,
    log_run,
    nested,
    open_tracking,
    read_span,
    score_metrics,
)
from dysconnect.tracking.nested import curves, log_pretraining
from dysconnect.tracking.page import lay_out
from dysconnect.tracking.runs import absolute_uri, as_metrics, find_runs, flatten

# processes of their own, forked before any of them opens the database: what they import is paid for once
WRITERS = """
import os, sys
from dysconnect.tracking import Handle, finish, log_run

def write(number):
    handle = Handle(sys.argv[1], sys.argv[2], "many")
    tags = {"dataset": "the same for all", "data_hash": "x" * 64}
    run = log_run(handle, f"writer {number}", {"a": {"b": number}}, tags, {"auc": 0.5}, [])
    for step in range(20):
        handle.client().log_metric(run, "loss", step, step=step)
    finish(handle, run)

children = []
for number in range(4):
    child = os.fork()
    if not child:
        write(number)
        os._exit(0)  # an exception ends with 1
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] != 0 for child in children))
"""


@pytest.fixture(scope="module")
def handle(tmp_path_factory) -> Handle:
    folder = tmp_path_factory.mktemp("tracking")
    return open_tracking(f"sqlite:///{folder}/mlflow.db", "many")


def active(handle: Handle) -> list:
    return handle.client().search_runs([handle.experiment_id], max_results=1000)


def test_four_parallel_writers_on_a_fresh_database_all_arrive(tmp_path):
    handle = open_tracking(f"sqlite:///{tmp_path}/fresh.db", "many")
    command = [warm.python(), "-c", WRITERS, handle.uri, handle.experiment_id]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = active(handle)
    assert {run.info.run_name for run in runs} == {f"writer {k}" for k in range(4)}
    for run in runs:
        assert len(handle.client().get_metric_history(run.info.run_id, "loss")) == 20
        assert [entry.dataset.name for entry in run.inputs.dataset_inputs] == ["the same for all"]
    assert not handle.client().search_runs(["0"])


def test_opening_again_finds_the_same_experiment(handle):
    assert open_tracking(handle.uri, "many").experiment_id == handle.experiment_id


def test_logging_the_same_run_again_replaces_it_and_its_folds(handle):
    predictions = pd.DataFrame(
        {
            "repeat": 0,
            "fold": [0, 0, 1, 1],
            "seed": 0,
            "label": [0, 1, 0, 1],
            "probability": [0.2, 0.9, 0.6, 0.4],
        }
    )
    history = pd.DataFrame(
        {
            "repeat": 0,
            "fold": 0,
            "seed": 0,
            "epoch": [0, 1],
            "train_loss": 1.0,
            "val_loss": [0.7, 0.6],
            "val_auc": np.nan,
        }
    )
    config = {"model": {"name": "gcn", "hidden": 3}}
    before = len(active(handle))
    for _ in range(2):
        run = log_run(handle, "twice", config, {"data_hash": "h"}, {"auc": 0.7, "auc_p": np.nan}, [])
        assert log_folds(handle, run, predictions, history) == 2
        finish(handle, run)
    runs = active(handle)
    assert len(runs) == before + 3
    parent = next(run for run in runs if run.info.run_name == "twice")
    assert parent.data.metrics == {"auc": 0.7}
    assert parent.data.params == {"model.name": "gcn", "model.hidden": "3"}
    children = {run.info.run_name: run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert children["twice, repeat 1 fold 1 seed 1"].data.metrics["test_auc"] == 1.0
    assert children["twice, repeat 1 fold 2 seed 1"].data.metrics["test_auc"] == 0.0
    first = children["twice, repeat 1 fold 1 seed 1"].info.run_id
    assert [point.value for point in handle.client().get_metric_history(first, "val_loss")] == [0.7, 0.6]


def test_the_curve_of_pretraining_is_the_experiments_own(handle):
    run = log_run(handle, "pretrained", {"a": 1}, {"data_hash": "p"}, {}, [])
    curve = pd.DataFrame({"epoch": [0, 1], "train_loss": [1.0, 0.9], "val_loss": 1.0, "val_explained": [0.0, 0.2]})
    log_pretraining(handle, run, curve)
    log_pretraining(handle, run, pd.DataFrame())  # most experiments have none
    finish(handle, run)
    history = handle.client().get_metric_history(run, "pretrain_val_explained")
    assert [(point.step, point.value) for point in history] == [(0, 0.0), (1, 0.2)]


def searched(folds: int = 2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of some folds, and two candidates inside each: the second is better."""
    fold = np.repeat(np.arange(folds), 2)
    place = {"repeat": 0, "fold": fold, "seed": 0}
    predictions = pd.DataFrame({**place, "label": np.tile([0, 1], folds), "probability": np.tile([0.2, 0.9], folds)})
    found = {"val_loss": np.tile([0.7, 0.5], folds), "best_epoch": 3, "chosen": np.tile([False, True], folds)}
    return predictions, pd.DataFrame({**place, "lr": np.tile([1e-3, 1e-2], folds), "weight_decay": 0.1, **found})


HISTORY = pd.DataFrame(columns=["repeat", "fold", "seed", "epoch", "train_loss", "val_loss", "val_auc"])


def test_candidates_of_a_search_are_runs_under_their_fold(handle):
    predictions, search = searched()
    before = len(active(handle))
    for _ in range(2):  # logging again replaces the candidates too
        run = log_run(handle, "searched", {"a": 1}, {"data_hash": "s"}, {}, [])
        log_folds(handle, run, predictions, HISTORY, search)
        finish(handle, run)
    runs = {entry.info.run_id: entry for entry in active(handle)}
    assert len(runs) == before + 1 + 2 + 4
    folds = [entry for entry in runs.values() if entry.data.tags.get("mlflow.parentRunId") == run]
    assert [fold.data.params for fold in folds] == [{"lr": "0.01", "weight_decay": "0.1"}] * 2  # the chosen
    for fold in folds:
        under = [own for own in runs.values() if own.data.tags.get("mlflow.parentRunId") == fold.info.run_id]
        got = {(own.data.params["lr"], own.data.tags["chosen"], own.data.metrics["val_loss"]) for own in under}
        assert got == {("0.001", "False", 0.7), ("0.01", "True", 0.5)}
        assert {own.data.metrics["best_epoch"] for own in under} == {3}
        assert {own.info.run_name for own in under} >= {"candidate · lr 0.01 · weight_decay 0.1"}
        assert {own.info.status for own in under} == {"FINISHED"}


def test_of_very_many_candidates_only_the_chosen_are_runs_and_it_is_said(handle, monkeypatch, capsys):
    monkeypatch.setattr(nested, "MANY", 3)
    predictions, search = searched()
    before = len(active(handle))
    run = log_run(handle, "much searched", {"a": 1}, {"data_hash": "m"}, {}, [])
    log_folds(handle, run, predictions, HISTORY, search)
    assert len(active(handle)) == before + 1 + 2 + 2
    note = "Of 4 candidates of the search the 2 chosen are runs; all are in search.tsv."
    assert capsys.readouterr().out == note + "\n"
    assert handle.client().get_run(run).data.tags["search"] == note


def test_a_cohort_is_logged_with_its_quality(handle, tmp_path):
    table = tmp_path / "scans.tsv"
    table.write_text("participant_id\ttsnr\nsub-01\t41.2\n")
    quality = {"quality.tsnr_mean": 41.2, "quality.kept_cases": 9.0, "quality.dvars_mean": np.nan}
    summary = {"n_fwer": 2, "attribution": "withheld"}
    run = log_cohort(handle, {"a": 1}, {"data_hash": "q", "dataset": "heads"}, summary, None, [table], quality)
    logged = handle.client().get_run(run["run_id"])
    assert logged.data.metrics == {"n_fwer": 2, "quality.tsnr_mean": 41.2, "quality.kept_cases": 9.0}
    assert "scans.tsv" in {file.path for file in handle.client().list_artifacts(run["run_id"])}


def test_other_data_or_configuration_is_another_run(handle):
    before = len(active(handle))
    for config, data in (({"a": 1}, "x"), ({"a": 2}, "x"), ({"a": 1}, "y")):
        finish(handle, log_run(handle, "same name", config, {"data_hash": data}, {}, []))
    assert len(active(handle)) == before + 3


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9.*MLFLOW_TRACKING_URI"):
        open_tracking("http://127.0.0.1:9", "nobody")


def test_sqlite_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///results/a.db") == f"sqlite:///{tmp_path}/results/a.db"
    assert absolute_uri("http://127.0.0.1:5055") == "http://127.0.0.1:5055"


def test_the_experiment_keeps_a_leaderboard_of_experiments_by_auc(handle):
    again = open_tracking(handle.uri, "many")
    view = json.loads(handle.client().get_experiment(again.experiment_id).tags[leaderboard.TAG])
    assert view["orderByKey"] == "metrics.`auc`" and view["orderByAsc"] is False
    row = {"metric": "auc", "value": 0.7, "low": 0.6, "high": 0.8, "p": 0.1, "p_best": 0.2, "floor": 0.5}
    within = {**row, "metric": "auc_within_site"}
    assert {column.strip("`")[9:] for column in view["selectedColumns"]} <= set(
        score_metrics(pd.DataFrame([row, within]))
    )
    address = leaderboard.leaderboard_address("http://127.0.0.1:5055", again.experiment_id)
    assert f"/experiments/{again.experiment_id}/runs" in address and "viewStateShareKey=leaderboard" in address


def test_folds_are_found_by_tags_and_last_as_long_as_the_training(handle, tmp_path):
    file = tmp_path / "train.tsv"
    file.write_text("s\th:m:s\tmax_rss\tcpu_time\n22.5\t0:00:22\t724.6\tNA\n")
    span = read_span(file)
    assert span.end - span.start == 22500 and span.end_after(5) == 22505
    assert dict(span.used)["system/max_memory_mb"] == 724.6
    predictions, search = searched()
    about = {"dataset": "d", "experiment": "gcn_wide", "model": "gcn", "model_kind": "graph"}
    run = log_run(handle, "d · gcn_wide", {"a": 1}, {"data_hash": "t", **about}, {}, [])
    log_folds(handle, run, predictions, HISTORY, search, span)
    finish(handle, run)
    wanted = "tags.model = 'gcn' and tags.kind = 'fold'"
    folds = handle.client().search_runs([handle.experiment_id], wanted)
    assert {fold.info.run_name for fold in folds} == {f"gcn_wide, repeat 1 fold {k} seed 1" for k in (1, 2)}
    assert all(about.items() <= fold.data.tags.items() for fold in folds)
    assert {(fold.info.start_time, fold.info.end_time) for fold in folds} == {(span.start, span.end)}
    assert len(handle.client().search_runs([handle.experiment_id], wanted.replace("fold", "candidate"))) == 4


def test_folds_of_an_earlier_version_are_logged_anew(handle):
    predictions, _ = searched()
    run = log_run(handle, "earlier", {"a": 1}, {"data_hash": "e"}, {}, [])
    for _ in range(2):
        handle.client().create_run(handle.experiment_id, tags={"mlflow.parentRunId": run})
    assert not nested.has_folds(handle, run, predictions) and not find_runs(handle, mlflow__parentRunId=run)
    log_folds(handle, run, predictions, HISTORY)
    assert nested.has_folds(handle, run, predictions)


def test_results_without_a_benchmark_file_have_no_times(tmp_path):
    span = read_span(tmp_path / "absent.tsv")
    assert span.start is None and span.end_after(5) is None and not span.used


@pytest.mark.parametrize("people", [True, False])
def test_the_page_that_mlflow_shows_links_to_no_other_file_and_the_folder_does(tmp_path, people):
    report, logged = tmp_path / "report", tmp_path / "logged"
    for folder in ("figures", "people"):
        (report / folder).mkdir(parents=True)
    (report / "people/sub-1.html").write_text('<a href="../index.html">all</a>')
    (report / "figures/roc.svg").write_text("<svg/>")
    kept = '<a href="#edges">edges</a> <a href="https://doi.org/1">doi</a> <a href="data:,">bib</a>'
    page = f'<p>{kept} <a class="x" href="people/sub-1.html">sub-1</a></p>'
    (report / "index.html").write_text(page)
    (report / "standalone.html").write_text(alone(page))
    (report / "checklists.html").write_text("asked by reviewers")
    logged.mkdir()
    shown, whole = lay_out(report / "index.html", logged, people)
    text = shown.read_text()
    assert kept in text and 'href="people' not in text and ">sub-1</span>" in text
    assert (whole / "index.html").read_text() == page and (whole / "figures/roc.svg").exists()
    assert (whole / "people/sub-1.html").exists() == people
    assert (whole / "checklists.html").read_text() == "asked by reviewers"


def test_scores_become_metrics_with_intervals_and_nan_are_left_out():
    row = {"metric": "auc", "value": 0.7, "low": 0.6, "high": 0.8, "p": np.nan, "floor": 0.5}
    metrics = score_metrics(pd.DataFrame([row]))
    assert metrics["auc_low"] == 0.6 and metrics["auc_floor"] == 0.5
    assert "auc_p" not in {metric.key for metric in as_metrics(metrics)}


def test_curves_have_one_step_an_epoch():
    history = pd.DataFrame({"epoch": [0, 1], "train_loss": [1.0, 0.5], "val_loss": [1.1, np.nan], "val_auc": 0.5})
    points = {(metric.key, metric.step): metric.value for metric in curves(history)}
    assert points["train_loss", 1] == 0.5
    assert ("val_loss", 1) not in points


def test_configuration_is_flat_and_complete():
    assert flatten({"a": {"b": 1, "c": [1, 2]}, "d": None}) == [
        ("a.b", "1"),
        ("a.c", "[1, 2]"),
        ("d", "None"),
    ]


def test_no_commit_outside_a_repository(tmp_path):
    assert git_commit(tmp_path) == ""


def test_keys_of_the_configuration_are_ones_that_mlflow_takes():
    config = {"dataset": {"groups": {"sub-CTL*": "CTL"}, "repetition_time": {"A.B": 2.0}, "traps": ["a", "b"]}, "n": 1}
    assert flatten(config) == [
        ("dataset.groups.sub-CTL_", "CTL"),
        ("dataset.repetition_time.A.B", "2.0"),
        ("dataset.traps", "['a', 'b']"),
        ("n", "1"),
    ]
