"""Curves in MLflow while networks train: they arrive, change nothing, stop nothing, and give way to what is logged."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import warm

from dysconnect.learning.splits import make_splits
from dysconnect.progress import Ticks
from dysconnect.tracking import open_tracking
from dysconnect.tracking.live import Board, relay, supersede
from dysconnect.tracking.runs import find_runs
from dysconnect.train import cross_validate, show_live

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("train_loss", "val_loss", "val_auc")
PLACE = ["repeat", "fold", "seed"]
pytestmark = pytest.mark.usefixtures("one_torch_thread")

KILLED = """
import json, os, signal, sys, time
import numpy as np
from dysconnect.train.live import show_live
sys.executable = sys.argv[2]
with show_live(json.loads(sys.argv[1])) as live:
    for epoch in range(3):
        live.hear({"repeat": 0, "fold": 0}, 1, 0, 1, epoch, np.full((1, 1, 3), 0.5 - epoch / 10))
    print("telling", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A database that is there already."""
    subprocess.run([warm.python(), "-c", ""], check=True)  # what shows curves starts at once then
    return open_tracking(f"sqlite:///{tmp_path_factory.mktemp('live')}/mlflow.db", "live")


@pytest.fixture
def about(place, monkeypatch):
    """Where curves go."""
    monkeypatch.setattr("dysconnect.train.live.sys.executable", warm.python())
    return {**dict.fromkeys(("dataset", "experiment", "model"), "gcn"), "uri": place.uri, "tracking": "live"} | {
        "candidates": 1
    }


@pytest.fixture(scope="module")
def given(make_cohort, sections):
    cohort = make_cohort(40, 8, planted=range(6), shift=2.0)
    return cohort, make_splits(cohort.participants, 2, 1, 0), "gcn", sections("gcn", epochs=4, seeds=2)


@pytest.fixture(scope="module")
def alone(given):
    """Trained while nobody listens."""
    return cross_validate(*given)


def assert_same(trained, alone):
    """The same numbers to the bit."""
    for table in ("predictions", "history", "search"):
        pd.testing.assert_frame_equal(getattr(trained, table), getattr(alone, table), check_exact=True)
    mine, theirs = ({**model.final.state()} for model in (trained, alone))
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        np.testing.assert_array_equal(value, theirs[name])


def children(place, parent) -> dict:
    return {run.info.run_name: run for run in find_runs(place, mlflow__parentRunId=parent.info.run_id)}


def test_curves_arrive_and_training_gives_the_same_to_the_bit(given, alone, place, about):
    with show_live(about) as live:
        trained = cross_validate(*given, live=live)
    assert_same(trained, alone)
    (parent,) = find_runs(place, kind="live", experiment="gcn")
    assert parent.info.run_name == "gcn · gcn · live" and parent.info.status == "FINISHED"
    runs, client = children(place, parent), place.client()
    named = {f"gcn, repeat 1 fold {fold} seed {seed}" for fold in (1, 2) for seed in (1, 2)}
    assert set(runs) == named | {"gcn, all people"}
    for (repeat, fold, seed), history in trained.history.groupby(PLACE):
        run = runs[f"gcn, repeat {repeat + 1} fold {fold + 1} seed {seed + 1}"]
        assert run.info.status == "FINISHED" and run.data.tags["live"] == "true"
        for name in NAMES:
            curve = client.get_metric_history(run.info.run_id, name)
            assert [point.step for point in curve] == history["epoch"].tolist()
            np.testing.assert_array_equal([point.value for point in curve], history[name])
    assert not find_runs(place, kind="experiment")  # the leaderboard has none of it
    assert supersede(place, "gcn", "gcn") == 1
    assert not find_runs(place, live="true")


def test_inner_folds_are_heard_and_then_the_network_itself(given, sections):
    cohort, splits, name, _ = given
    own = sections("gcn", epochs=3, inner_folds=2, validation=0, stacked=True)
    told, plain = [], cross_validate(cohort, splits, name, own)
    trained = cross_validate(cohort, splits, name, own, live=SimpleNamespace(hear=lambda *one: told.append(one)))
    assert_same(trained, plain)
    inner = [one[-1] for one in told if one[0] == {"repeat": 0, "fold": 1} and one[3] == 2]
    history = trained.history[trained.history["fold"] == 1]
    np.testing.assert_allclose(np.concatenate(inner).mean(1), history[list(NAMES)])
    (itself,) = {one[1:4] for one in told if one[0] == {"repeat": 0, "fold": 1} and one[3] != 2}
    assert itself == (1, 0, 1)


def test_what_is_read_from_an_interrupted_run_is_heard_too(given, tmp_path):
    class Heard:
        def __init__(self):
            self.curves = []

        def hear(self, place, networks, first, jobs, epoch, curves):
            self.curves.append((place, networks, first, jobs, epoch, curves.tolist()))

    first, again = Heard(), Heard()
    cross_validate(*given, store=tmp_path, live=first)
    cross_validate(*given, store=tmp_path, live=again)
    whole = [told for told in again.curves if told[0]]
    assert [len(told[-1]) for told in whole] == [4] * 4  # all epochs of a network at once
    singly = [row for told in first.curves for row in told[-1]]
    np.testing.assert_array_equal(singly, [row for told in again.curves for row in told[-1]])


def test_a_server_that_is_down_costs_one_line(given, alone, about, capfd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with show_live(about | {"uri": f"http://127.0.0.1:{port}"}) as live:
        trained = cross_validate(*given, live=live)
        ended = time.monotonic()
    assert time.monotonic() - ended < 7
    assert_same(trained, alone)
    lines = [line for line in capfd.readouterr().out.splitlines() if "MLflow" in line]
    assert len(lines) == 1 and (f"http://127.0.0.1:{port}" in lines[0] or "MLflow is slow" in lines[0])


def test_a_server_that_never_answers_is_not_waited_for(given, alone, about, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections, and says nothing
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        with show_live(about | {"uri": uri}) as live:
            trained = cross_validate(*given, live=live)
            ended = time.monotonic()
        assert 4 < time.monotonic() - ended < 7
    assert_same(trained, alone)
    assert "MLflow is slow: learning curves did not arrive in 5 s" in capfd.readouterr().out


def test_a_process_that_cannot_be_started_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr("dysconnect.train.live.sys.executable", "/no/python")
    with show_live({}) as live:
        assert live is None
    assert "not shown in MLflow while networks train" in capsys.readouterr().out


def test_a_killed_training_leaves_a_run_that_says_so_and_goes(place, about, tmp_path):
    command = [warm.python(), "-c", KILLED, json.dumps(about), warm.python()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    training = subprocess.Popen(command, env=environment, **streams)
    assert training.stdout.readline() == "telling\n"
    await_runs(place, "RUNNING")
    training.communicate("now\n")
    assert training.returncode == -signal.SIGKILL
    (parent,) = await_runs(place, "KILLED")
    (fold,) = children(place, parent).values()
    assert fold.info.status == "KILLED" and fold.data.metrics["train_loss"] == pytest.approx(0.3)
    assert supersede(place, "another", "gcn") == 0 and supersede(place, "gcn", "gcn") == 1


def await_runs(place, status: str) -> list:
    """Runs that are live, once there are some with this status."""
    for _ in range(300):
        runs = [run for run in find_runs(place, kind="live") if run.info.status == status]
        if runs and children(place, runs[0]):
            return runs
        time.sleep(0.1)
    raise AssertionError(f"no live run is {status}")


def test_a_training_that_fails_is_a_failed_run(place, about):
    with pytest.raises(ZeroDivisionError), show_live(about) as live:
        live.hear({"repeat": 0, "fold": 1}, 1, 0, 1, 0, np.ones((1, 1, 3)))
        raise ZeroDivisionError
    (parent,) = find_runs(place, kind="live")
    assert parent.info.status == "FAILED"
    supersede(place, "gcn", "gcn")


def test_another_project_with_the_same_names_keeps_its_runs(place, about, tmp_path, monkeypatch):
    with show_live(about) as live:
        live.hear({}, 1, 0, 1, 0, np.ones((1, 1, 3)))
    monkeypatch.chdir(tmp_path)
    assert supersede(place, "gcn", "gcn") == 0
    monkeypatch.undo()
    assert supersede(place, "gcn", "gcn") == 1


@pytest.mark.parametrize(
    ("networks", "jobs", "candidates", "names"),
    [
        (2, 2, 1, ["seed 1: ", "seed 2: "]),
        (1, 2, 2, ["seed 1: candidate 1/", "seed 1: candidate 2/"]),
        (2, 4, 1, ["seed 1: inner fold 1/", "seed 1: inner fold 2/", "seed 2: inner fold 1/", "seed 2: inner fold 2/"]),
        (1, 4, 2, [f"seed 1: candidate {c} inner fold {f}/" for c in (1, 2) for f in (1, 2)]),
    ],
)
def test_trainings_of_one_network_are_told_apart(networks, jobs, candidates, names):
    board = Board({"experiment": "gcn", "candidates": candidates})
    message = {"place": {"repeat": 0, "fold": 0}, "networks": networks, "jobs": jobs, "epoch": 3}
    for first in range(jobs):  # one at a time, as on a CPU
        board.take(json.dumps(message | {"first": first, "curves": [[[first, np.nan, 0.5]]]}))
    found = [
        (f"{run.split('fold 1 ')[1]}: {metric.key[: -len('train_loss')]}", metric.value, metric.step)
        for run, metrics in board.waiting.items()
        for metric in metrics
        if metric.key.endswith("train_loss")
    ]
    assert found == [(name, float(k), 3) for k, name in enumerate(names)]
    assert not any("val_loss" in metric.key for metrics in board.waiting.values() for metric in metrics)  # NaN


def test_a_server_that_comes_back_gets_all_and_its_absence_is_said_once(monkeypatch):
    class Away(Board):
        calls, ended = 0, False

        def send(self):
            Away.calls += 1
            if Away.calls < 3:
                raise ConnectionError("https://me:secret@here does not answer\nand more")
            super().send()

        def _begin(self):
            self.runs, sent = {"": "above"}, self.sent
            client = SimpleNamespace(log_batch=lambda run, metrics: sent.extend(metrics))
            self.handle = SimpleNamespace(client=lambda: client)

        def _create(self, name, tags):
            return name

        def finish(self):
            Away.ended = True

    def lines():
        for epoch in range(4):
            curves = {"place": {}, "networks": 1, "first": 0, "jobs": 1, "epoch": epoch, "curves": [[[1, 2, 3]]]}
            yield json.dumps(curves)
            time.sleep(0.05)
        yield json.dumps({"end": "FINISHED"})

    said = []
    monkeypatch.setattr("dysconnect.tracking.live.PAUSE", 0.04)
    monkeypatch.setattr("dysconnect.tracking.live.Timer", lambda *_: SimpleNamespace(start=lambda: None))
    board = Away({"uri": "https://me:secret@here", "experiment": "gcn", "candidates": 1})
    board.sent = []
    relay(lines(), board, said.append)
    assert Away.ended and board.status == "FINISHED"
    assert [metric.step for metric in board.sent if metric.key == "train_loss"] == [0, 1, 2, 3]
    (line,) = said
    assert "secret" not in line and "and more" not in line and "training goes on" in line


def test_ticks_are_counted_and_by_default_nobody_listens():
    ticks = Ticks(iter(range(3)))
    assert ticks.hear is None and list(ticks) == [0, 1, 2]
