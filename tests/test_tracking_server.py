"""A real tracking server: all of it arrives, comes back and opens in a browser; a server that goes away; sweeps."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import tracked
import warm
from tracked import MODELS

from dysconnect.commands.predict import main as predict
from dysconnect.commands.sweep import main as train_scratch
from dysconnect.learning.saved import SavedModel
from dysconnect.tracking import Handle, Sweep, log_cohort, log_failure, open_tracking
from dysconnect.tracking.live import Board
from dysconnect.tracking.runs import find_runs
from dysconnect.tracking.sweeps import join_sweep, short_names, summarise

ROOT = Path(__file__).resolve().parents[1]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def lab(tmp_path_factory, simulated, nodes, sections, denoise_spec):
    """A server with a database and artifacts of its own, and files to log; the server starts while models train."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log)
    lab = SimpleNamespace(folder=folder, uri=f"http://127.0.0.1:{port}", results=folder / "results/tiny")
    own = {name: sections(model) for name, model in MODELS.items()}
    own["gcn"]["training"]["epochs"] = 3
    tracked.make_results(lab.results, simulated, nodes, own, denoise_spec)
    lab.series = next(Path(simulated.kept["series"].iloc[0]).parent.glob("*.tsv"))
    try:
        await_answer(f"{lab.uri}/health", process)
        yield lab
    finally:
        process.terminate()
        process.wait(30)


def await_answer(address: str, process: subprocess.Popen) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended; see server.log"
        try:
            return urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{address} does not answer")


@pytest.fixture(scope="module")
def logged(lab):
    """What another process, in another folder, logs with nothing but MLFLOW_TRACKING_URI."""
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    environment = {**os.environ, "MLFLOW_TRACKING_URI": lab.uri}
    command = [warm.python(), str(ROOT / "tests/tracked.py"), str(lab.results)]
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(elsewhere.iterdir()) == []  # nothing lands beside the process
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def client(lab):
    return Handle(lab.uri, "", "").client()


def test_everything_arrives_at_the_server(lab, logged, client):
    experiment = client.get_experiment_by_name("dysconnect")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = {run.info.run_name for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert parents == {f"tiny · {name}" for name in [*MODELS, "localize"]}
    gcn = client.get_run(logged["gcn"]["run_id"])
    assert gcn.data.params["model.hidden"] == "8" and gcn.data.params["atlas.name"] == "tiny"
    assert not any(name.startswith(("acquire", "evaluate")) for name in gcn.data.params)  # in config.yaml
    assert gcn.inputs.dataset_inputs[0].dataset.name == "tiny"
    assert "the floor: age, sex, site, mean_fd alone" in gcn.data.tags["mlflow.note.content"]
    folds = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == gcn.info.run_id]
    assert len(folds) == 2
    assert len(client.get_metric_history(folds[0].info.run_id, "train_loss")) == 3


def test_runs_of_a_cohort_have_the_same_names_to_compare(logged, client):
    runs = [client.get_run(logged[name]["run_id"]) for name in MODELS]
    told = [f"{metric}{end}" for metric in ("auc", "brier") for end in ("", "_low", "_high", "_floor")]
    assert all(set(told) <= set(run.data.metrics) for run in runs)
    assert all({"model.name", "connectivity.measure", "splits.folds"} <= set(run.data.params) for run in runs)


def test_artifacts_come_back_byte_for_byte(lab, logged, client, tmp_path):
    got = Path(client.download_artifacts(logged["gcn"]["run_id"], "", str(tmp_path)))
    for name in ("predictions.tsv", "history.tsv"):
        assert (got / name).read_bytes() == (lab.results / "train/gcn" / name).read_bytes()
    assert (got / "learning.png").read_bytes().startswith(b"\x89PNG")
    model = Path(mlflow.artifacts.download_artifacts(logged["ridge"]["registered"], dst_path=str(tmp_path / "model")))
    assert (model / "artifacts/model.npz").read_bytes() == (lab.results / "train/ridge/model.npz").read_bytes()
    assert (model / "artifacts/ridge.npz").read_bytes() == (lab.results / "ridge.npz").read_bytes()
    assert not list(lab.folder.glob("elsewhere/*"))


def test_a_model_is_registered_with_description_signature_and_tags(lab, logged, client, tmp_path):
    assert logged["floor"]["registered"] == ""
    name, version = "dysconnect-tiny-ridge", client.get_model_version_by_alias("dysconnect-tiny-ridge", "current")
    assert logged["ridge"]["registered"] == f"models:/{name}/1" and int(version.version) == 1
    run = client.get_run(logged["ridge"]["run_id"])
    assert version.run_id == run.info.run_id
    for tag in ("data_hash", "config_hash", "git"):
        assert version.tags[tag] == run.data.tags[tag]
    auc = run.data.metrics["auc"]
    for text in (version.description, client.get_registered_model(name).description):
        for told in (f"| ridge | {auc:.3f} |", "the floor:", "simulated", "research only", "dysconnect predict"):
            assert told in text
    assert f"--model models:/{name}/1" in version.description
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature
    assert [one.shape for one in signature.inputs.inputs] == [(-1, 40, 40)]
    assert [one.shape for one in signature.outputs.inputs] == [(-1,)]
    matrices = np.tile(np.eye(40), (2, 1, 1))
    here = SavedModel(lab.results / "train/ridge/model.npz").predict(matrices)
    assert np.array_equal(mlflow.pyfunc.load_model(f"models:/{name}/1").predict(matrices), here)
    kept = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path / "model")))
    assert (kept / "served.py").exists() and not list(kept.rglob("*.pkl"))  # code, not a pickle


def said(lab, capsys, model: str) -> dict:
    """What `dysconnect predict` says of one person."""
    told = ["--series", str(lab.series), "--age", "50", "--sex", "F", "--site", "site-A", "--mean-fd", "0.1"]
    capsys.readouterr()
    status = predict(["--model", model, *told, "--anyway"])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out)


def test_a_person_is_predicted_from_run_version_and_alias_as_from_the_file(lab, logged, capsys, monkeypatch, tmp_path):
    file = said(lab, capsys, str(lab.results / "ridge.npz"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", lab.uri)
    registered = "models:/dysconnect-tiny-ridge"
    for model in (logged["ridge"]["run_id"], f"{registered}/1", f"{registered}@current"):
        assert said(lab, capsys, model) == file
    assert predict(["--model", f"{registered}/7", "--series", str(lab.series)]) == 2
    assert f"no model {registered}/7" in capsys.readouterr().err


@pytest.mark.parametrize("through", ["server", "database"])
def test_logging_again_adds_no_run_and_no_version(lab, through, capsys, monkeypatch, tmp_path):
    uri = lab.uri if through == "server" else f"sqlite:///{lab.folder}/server.db"
    handle = open_tracking(uri, f"again {through}")
    named = lambda changes: {**tracked.config_of(lab.results, "ridge"), **changes}
    config = named({"dataset": {**named({})["dataset"], "name": through}})
    monkeypatch.setattr("dysconnect.tracking.registered_name", lambda *_: f"again-{through}")
    first = tracked.log(handle, lab.results, "ridge", config=config)
    shutil.copy(lab.results / "ridge.npz", tmp_path)
    assert tracked.log(handle, lab.results, "ridge", config=config) == first
    client, name = handle.client(), f"again-{through}"
    assert len(client.search_runs([handle.experiment_id])) == 3  # itself and two folds
    assert len(client.get_metric_history(first["run_id"], "auc")) == 1
    assert len(client.search_model_versions(f"name = '{name}'")) == 1
    # trained again with another result: a new run and a new version, and who named the old one still gets it
    other = tmp_path / "model.npz"
    with np.load(lab.results / "train/ridge/model.npz") as file:
        np.savez(other, **dict(file), more=np.ones(1))
    second = tracked.log(handle, lab.results, "ridge", config=config, model=other)
    assert len(client.search_runs([handle.experiment_id])) == 3
    assert second["run_id"] != first["run_id"] and second["registered"] == f"models:/{name}/2"
    assert int(client.get_model_version_by_alias(name, "current").version) == 2
    assert client.get_model_version(name, "1").tags["superseded_by"] == "2"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert said(lab, capsys, f"models:/{name}/1") == said(lab, capsys, str(lab.results / "ridge.npz"))


def test_what_was_shown_while_an_experiment_trained_gives_way_to_it(lab, logged):
    handle = open_tracking(lab.uri, "dysconnect")
    board = Board({"uri": lab.uri, "tracking": "dysconnect", "dataset": "tiny", "experiment": "gcn", "model": "gcn"}
                  | {"candidates": 1})  # fmt: skip
    curves = {
        "place": {"repeat": 0, "fold": 0},
        "networks": 1,
        "first": 0,
        "jobs": 1,
        "epoch": 0,
        "curves": [[[1, 1, 1]]],
    }
    board.take(json.dumps(curves))
    board.send()
    assert {run.data.tags["kind"] for run in find_runs(handle, live="true")} == {"live", "live fold"}
    shown = find_runs(handle, kind="experiment", experiment="gcn")
    assert [run.info.run_id for run in shown] == [logged["gcn"]["run_id"]]  # the leaderboard has one row of it
    again = tracked.log(handle, lab.results, "gcn")
    assert again["run_id"] == logged["gcn"]["run_id"] and not find_runs(handle, live="true")


def test_model_and_report_load_from_a_project_that_was_moved(lab, monkeypatch, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old}/results/mlflow.db")
    first = tracked.log(open_tracking(f"sqlite:///{old}/results/mlflow.db", "moving"), lab.results, "ridge")
    shutil.copytree(old, new)
    shutil.rmtree(old / "results/mlflow-artifacts")
    handle = open_tracking(f"sqlite:///{new}/results/mlflow.db", "moving")
    handle.client()
    matrices = np.tile(np.eye(40), (2, 1, 1))
    here = SavedModel(lab.results / "train/ridge/model.npz").predict(matrices)
    for uri in (first["model_uri"], first["registered"]):
        assert np.array_equal(mlflow.pyfunc.load_model(uri).predict(matrices), here)
    assert [model.name for model in handle.client().search_logged_models([handle.experiment_id])] == ["ridge"]
    tags = {"dataset": "tiny", "data_hash": "m"}
    run = log_cohort(handle, {}, tags, {}, None, [], None, lab.results / "report/index.html")["run_id"]
    assert Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path="report/index.html")).exists()


@pytest.mark.parametrize("deleted", ["run", "fold", "model", "registered model", "version"])
def test_what_is_deleted_in_the_interface_comes_back(lab, monkeypatch, deleted):
    handle = open_tracking(f"sqlite:///{lab.folder}/server.db", f"deleted {deleted}")
    client, name = handle.client(), f"deleted {deleted}"
    monkeypatch.setattr("dysconnect.tracking.registered_name", lambda *_: name)
    config = {**tracked.config_of(lab.results, "ridge"), "seed": deleted}
    first = tracked.log(handle, lab.results, "ridge", config=config)
    fold = next(run for run in client.search_runs([handle.experiment_id]) if run.info.run_id != first["run_id"])
    delete = {
        "run": lambda: client.delete_run(first["run_id"]),
        "fold": lambda: client.delete_run(fold.info.run_id),
        "model": lambda: client.delete_logged_model(first["model_uri"].removeprefix("models:/")),
        "registered model": lambda: client.delete_registered_model(name),
        "version": lambda: client.delete_model_version(name, "1"),
    }
    delete[deleted]()
    again = tracked.log(handle, lab.results, "ridge", config=config)
    assert len(client.search_runs([handle.experiment_id])) == 3  # itself and two folds
    assert client.get_run(again["run_id"]).info.status == "FINISHED"
    assert client.get_logged_model(again["model_uri"].removeprefix("models:/")).status == "READY"
    assert client.get_model_version_by_alias(name, "current").run_id == again["run_id"]


class Tunnel(BaseHTTPRequestHandler):
    """Passes requests on to the server until `left` of them are used up; then hangs up."""

    target, left, protocol_version = "", 0, "HTTP/1.1"

    def _pass(self) -> None:
        type(self).left -= 1
        if self.left < 0:
            self.close_connection = True
            return self.connection.close()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        request = urllib.request.Request(self.target + self.path, body or None, headers, method=self.command)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

    def log_message(self, *args) -> None:
        pass


def test_a_server_that_goes_away_in_the_middle_is_named_and_logging_again_is_whole(lab, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("dysconnect.tracking.registered_name", lambda *_: "away")
    Tunnel.target, Tunnel.left = lab.uri, 10**6
    with ThreadingHTTPServer(("127.0.0.1", 0), Tunnel) as tunnel:
        threading.Thread(target=tunnel.serve_forever, daemon=True).start()
        handle = open_tracking(f"http://127.0.0.1:{tunnel.server_port}", "away")
        for last in (8, 40):  # in the files, in the model
            Tunnel.left = last
            with pytest.raises(ConnectionError, match=r"went away while tiny · ridge.*Nothing is lost.*again"):
                tracked.log(handle, lab.results, "ridge")
        Tunnel.left = 10**6
        run = tracked.log(handle, lab.results, "ridge")
        tunnel.shutdown()
    runs = Handle(lab.uri, "", "").client().search_runs([handle.experiment_id])
    assert {own.info.status for own in runs} == {"FINISHED"} and len(runs) == 3
    assert run["registered"] == "models:/away/1"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_ui_says_what_to_do_before_the_first_run_and_where_the_port_is_taken(lab, tmp_path):
    def said(*more: str) -> str:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["make", "-f", str(ROOT / "Makefile"), "ui", "VENV=", *more]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode != 0
        return done.stderr

    assert "No runs yet in results/mlflow.db: `make run` makes some." in said()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/mlflow.db").touch()
    port = lab.uri.rsplit(":", 1)[1]
    assert f"Port {port} is in use" in said(f"PORT={port}")


def sweep_runs(handle: Handle) -> tuple:
    """The run of the one sweep in an experiment, and its children by name."""
    runs = handle.client().search_runs([handle.experiment_id], max_results=1000)
    (parent,) = [run for run in runs if run.data.tags.get("kind") == "sweep"]
    own = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return parent, {run.info.run_name: run for run in own}


def test_runs_of_a_multirun_lie_under_one_run_with_those_that_failed(lab, monkeypatch):
    uri = f"sqlite:///{lab.folder}/server.db"
    handle = open_tracking(uri, "sweeps")
    fixed = ["dataset.name=tiny", "atlas.name=tiny", "tracking.experiment=sweeps", f"tracking.uri={uri}"]
    fixed += ["evaluate.bootstraps=100", "hydra/hydra_logging=none", "hydra/job_logging=none"]
    swept = ["model=ridge,gcn", "connectivity=correlation,tangent", "training.epochs=2"]
    monkeypatch.chdir(lab.folder)
    with pytest.raises((SystemExit, FileNotFoundError)):  # there are no covariances in these results
        train_scratch(["-cp", str(ROOT / "configs"), "-m", *swept, *fixed])
    parent, own = sweep_runs(handle)
    assert parent.info.run_name == "sweep · tiny · model × connectivity"
    jobs = product(("ridge", "gcn"), ("correlation", "tangent"))
    names = [f"model {model} · connectivity {measure}" for model, measure in jobs]
    assert set(own) == set(names)
    assert [own[name].info.status for name in names] == ["FINISHED", "FAILED", "FINISHED", "FAILED"]
    for name in names[1::2]:
        assert "not made yet" in own[name].data.tags["mlflow.note.content"]
    aucs = {name: own[name].data.metrics["auc"] for name in names[::2]}
    assert parent.data.metrics["best_auc"] == max(aucs.values()) and "auc" not in parent.data.metrics
    assert parent.data.metrics["runs"] == 4 and parent.data.metrics["failed_runs"] == 2
    assert parent.data.tags["best_run"] == max(aucs, key=aucs.get)
    assert "optimistic" in parent.data.tags["chosen_on_these_data"]
    assert "4 of 4 runs, 2 of them failed" in parent.data.tags["mlflow.note.content"]
    assert parent.info.status == "FINISHED"
    compared = [own[name].data for name in names[::2]]
    assert set(compared[0].metrics) == set(compared[1].metrics) >= {"auc", "auc_floor"}


def test_jobs_side_by_side_share_one_run_and_the_best_of_all_counts(lab, tmp_path):
    handle = open_tracking(f"sqlite:///{lab.folder}/server.db", "side by side")
    config = {"dataset": {"name": "tiny"}, "model": {"name": "gcn"}}
    sweeps = [Sweep(tmp_path, ("training.lr=1,2,3,4",), (f"training.lr={k}",), 5) for k in range(4)]
    with ThreadPoolExecutor(4) as jobs:
        parents = set(jobs.map(lambda sweep: join_sweep(handle, config, sweep), sweeps))
    (parent,) = parents
    assert len(handle.client().search_runs([handle.experiment_id])) == 1  # who came too late deleted its own

    def job(k: int) -> None:
        client, tags = handle.client(), {"mlflow.parentRunId": parent}
        run_id = client.create_run(handle.experiment_id, tags=tags, run_name=f"lr {k}").info.run_id
        client.log_metric(run_id, "auc", 0.5 + k / 10)
        client.set_terminated(run_id)
        summarise(handle, parent, sweeps[k])

    with ThreadPoolExecutor(4) as jobs:
        list(jobs.map(job, range(4)))
    run = handle.client().get_run(parent)
    assert run.data.metrics["best_auc"] == 0.8 and run.data.metrics["runs"] == 4
    assert run.data.tags["best_run"] == "lr 3" and run.info.status == "RUNNING"  # one of five is missing
    log_failure(handle, config, Sweep(tmp_path, ("training.lr=1,2",), ("training.lr=9",), 5), ValueError("no lr"))
    run = handle.client().get_run(parent)
    assert run.data.metrics["failed_runs"] == 1 and run.data.metrics["best_auc"] == 0.8
    assert run.info.status == "FINISHED"


def test_names_of_a_sweep_are_as_short_as_they_can_be():
    assert list(short_names(["training.lr=1", "model=gcn"]).values()) == ["lr", "model"]
    assert list(short_names(["training.seed=1", "splits.seed=2"]).values()) == ["training.seed", "splits.seed"]


@pytest.fixture(params=[1280, 390])
def page(lab, logged, request):
    """MLflow's interface at the width of a desk and of a phone; what it says and asks for in `told` and `asked`."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if BROWSER is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": request.param, "height": 900})
        page.set_default_timeout(30_000)
        page.told, page.asked = [], set()
        page.on("console", lambda said: page.told.append((said.type, said.text, said.location.get("url", ""))))
        page.on("pageerror", lambda error: page.told.append(("error", str(error), "")))
        page.on("request", lambda asked: page.asked.add(asked.url))
        yield page
        browser.close()


# errors of MLflow's own page: by their text or address, and why
KNOWN = (
    "/ajax-api/2.0/mlflow/users/current",  # asks who is logged in, where nobody logs in
    "ResizeObserver loop",  # its charts are laid out anew in the next frame
)


def test_the_interface_opens_and_calls_nobody(lab, page, client):
    place = client.get_experiment_by_name("dysconnect").experiment_id
    runs = f"{lab.uri}/#/experiments/{place}/runs?workflowType=machine_learning"
    page.goto(runs)
    page.get_by_role("button", name="Close").first.click()  # the assistant, which opens by itself
    if page.viewport_size["width"] < 1000:
        page.get_by_role("button", name="Toggle sidebar").click()
    page.get_by_text("tiny · gcn").first.wait_for(state="attached")
    if page.viewport_size["width"] > 1000:  # on a phone MLflow's lists have no room
        look_at_artifacts(page, runs)
        compare(page, runs)
    look_at_the_model(page, lab.uri)
    errors = [said for said in page.told if said[0] == "error" and not any(own in said[1] + said[2] for own in KNOWN)]
    assert not errors
    assert {url.split("/")[2] for url in page.asked if url.startswith("http")} == {lab.uri.split("/")[2]}


def look_at_artifacts(page, runs: str) -> None:
    """From the list to the cohort's report and tables, and to the curves of a fold."""
    page.get_by_role("link", name="tiny · localize").click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("index.html").first.click()
    page.frame_locator("iframe").get_by_role("heading", name="A report of nobody").wait_for()
    page.get_by_text("table.tsv").first.click()
    page.get_by_text("putamen to M1").wait_for()
    page.goto(runs)
    page.get_by_role("link", name="tiny · gcn").click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("learning.png").first.click()
    page.locator("img[src^='blob:']").first.wait_for()
    page.get_by_role("tab", name="Overview").click()
    page.get_by_role("link", name="gcn, repeat 1 fold 2 seed 1").click()
    page.get_by_role("heading", name="gcn, repeat 1 fold 2 seed 1").wait_for()
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_text("train_loss").first.wait_for()


def compare(page, runs: str) -> None:
    """Choose the experiments by their tag and compare them."""
    page.goto(runs)
    search = page.get_by_placeholder("metrics.rmse")
    search.fill("tags.kind = 'experiment'")
    search.press("Enter")
    page.get_by_role("link", name="tiny · localize").wait_for(state="detached")
    page.get_by_role("checkbox", name="Select all runs").check(force=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.get_by_role("heading", name="Comparing 3 Runs").wait_for()
    plot = page.locator(".js-plotly-plot").first
    plot.get_by_text("auc", exact=True).first.wait_for()
    plot.get_by_text("model.", exact=False).first.wait_for()


def look_at_the_model(page, uri: str) -> None:
    """The registered model, its description and its version."""
    page.goto(f"{uri}/#/models/dysconnect-tiny-ridge?workflowType=machine_learning")
    page.get_by_text("mean_fd alone").wait_for()
    page.get_by_role("link", name="Version 1").first.dispatch_event("click")
    page.get_by_text("--model models:/dysconnect-tiny-ridge/1").wait_for()
    page.get_by_text("current").first.wait_for(state="attached")
