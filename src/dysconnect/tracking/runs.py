"""Runs in MLflow: where they go, one run with its files, and that logging again adds nothing."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import yaml
from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, ViewType
from mlflow.exceptions import MlflowException

from dysconnect import __version__
from dysconnect.config import config_hash, dotted

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
RESEARCH_ONLY = "For research only: no diagnosis and no basis for treatment."


@dataclass(frozen=True)
class Handle:
    """Where runs go: the tracking server's URI and the experiment."""

    uri: str
    experiment_id: str
    experiment: str

    def client(self) -> mlflow.MlflowClient:
        """Return a client, and point MLflow's own functions to the same place."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's own 7 take minutes
        uri = absolute_uri(self.uri)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return mlflow.MlflowClient(uri, uri)


def read_handle(path: str | Path) -> Handle:
    """Read the handle that `open_tracking` returned and a job wrote."""
    return Handle(**json.loads(Path(path).read_text()))


def choose_uri(configured: str | None) -> str:
    """Return the URI of the configuration, of MLFLOW_TRACKING_URI, or of the database among the results."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///results/mlflow.db"


def absolute_uri(uri: str) -> str:
    """Make the path of an SQLite URI absolute; MLflow would resolve it anew in every process."""
    prefix = "sqlite:///"
    return prefix + str(Path(uri[len(prefix) :]).absolute()) if uri.startswith(prefix) else uri


def open_tracking(uri: str, experiment: str) -> Handle:
    """Migrate the database and create the experiment; to be called by one process before others log.

    Raises
    ------
    ConnectionError
        When the server does not answer, with the URI and what to do.
    """
    if uri.startswith("sqlite:"):
        Path(absolute_uri(uri)[len("sqlite:///") :]).parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "db", "upgrade", absolute_uri(uri)]
        subprocess.run(command, check=True, capture_output=True, text=True)
    client = Handle(uri, "", experiment).client()
    try:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            place = artifact_folder(uri)
            return Handle(uri, client.create_experiment(experiment, artifact_location=place), experiment)
    except MlflowException as error:
        raise ConnectionError(
            f"MLflow at {uri} does not answer ({error}). Start the server, or set tracking.uri or "
            "MLFLOW_TRACKING_URI to one that runs."
        ) from error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return Handle(uri, found.experiment_id, experiment)


def artifact_folder(uri: str) -> str | None:
    """Artifacts lie beside an SQLite database; a server keeps its own."""
    if not uri.startswith("sqlite:"):
        return None
    return (Path(absolute_uri(uri)[len("sqlite:///") :]).parent / "mlflow-artifacts").as_uri()


def fetch_bundle(uri: str, model: str) -> Path:
    """Download what predicts a new person from the model of a run.

    Parameters
    ----------
    uri : str
        Of the tracking server or database.
    model : str
        A run id, or ``models:/NAME/VERSION``.

    Raises
    ------
    FileNotFoundError
        When there is no such run or it keeps no such file, with what to do.
    """
    place = absolute_uri(uri)
    if place.startswith("sqlite:///") and not Path(place[len("sqlite:///") :]).exists():
        raise FileNotFoundError(f"no MLflow database at {uri}: name the file of a model, or set MLFLOW_TRACKING_URI.")
    client = Handle(uri, "", "").client()
    try:
        logged = [] if model.startswith("models:/") else client.get_run(model).outputs.model_outputs
        sources = [model] if model.startswith("models:/") else [f"models:/{own.model_id}" for own in logged]
        folders = [Path(mlflow.artifacts.download_artifacts(source)) for source in sources]
    except (MlflowException, OSError) as error:
        raise FileNotFoundError(
            f"MLflow at {uri} has no model {model} ({error}). Name a run, or set MLFLOW_TRACKING_URI to where it is."
        ) from error
    files = [file for folder in folders for file in folder.glob("artifacts/*.npz") if file.name != "model.npz"]
    if len(files) != 1:
        raise FileNotFoundError(
            f"run {model} keeps nothing that predicts a new person; experiments other than the floor do."
        )
    return files[0]


def git_commit(folder: str | Path) -> str:
    """Return the commit of the code, with ``+`` where files differ from it; empty outside a repository."""
    ask = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*ask, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        changed = subprocess.run([*ask, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.strip() + ("+" if changed.strip() else "")


def log_run(
    handle: Handle,
    name: str,
    config: Mapping,
    tags: Mapping[str, str],
    metrics: Mapping[str, float],
    files: Sequence[str | Path],
    figures: Mapping[str, Figure] | None = None,
) -> str:
    """Log one finished experiment and return its run id.

    A run of the same name, configuration and data that is there already is replaced, so that logging again
    adds nothing.

    Parameters
    ----------
    handle : Handle
    name : str
        Readable, as shown in the UI.
    config : mapping
        Composed configuration; logged flat as parameters and whole as ``config.yaml``.
    tags : mapping of str to str
        With `data_hash`.
    metrics : mapping of str to float
        NaN are left out.
    files : sequence of path
        Logged as artifacts.
    figures : mapping of str to matplotlib Figure
        By file name.
    """
    client = handle.client()
    key = config_hash({"name": name, "config": config, "data": tags.get("data_hash", "")})
    _retire(client, handle, key)
    tags = {**tags, "key": key, "dysconnect": __version__, "mlflow.note.content": RESEARCH_ONLY}
    tags |= {"mlflow.source.name": "dysconnect", "mlflow.user": os.environ.get("USER", "unknown")}
    run = client.create_run(handle.experiment_id, run_name=name, tags=tags)
    run_id = run.info.run_id
    if "dataset" in tags:
        _log_lineage(client, run_id, Dataset(tags["dataset"], tags["data_hash"][:32], "local", tags["dataset"]))
    flat = flatten(config)
    for start in range(0, len(flat), 100):
        client.log_batch(run_id, params=[Param(k, v) for k, v in flat[start : start + 100]])
    client.log_batch(run_id, metrics=as_metrics(metrics))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=True))
        client.log_artifact(run_id, str(Path(folder, "config.yaml")))
    for path in files:
        client.log_artifact(run_id, str(path))
    for file, figure in (figures or {}).items():
        client.log_figure(run_id, figure, file)
    return run_id


def _log_lineage(client: mlflow.MlflowClient, run_id: str, dataset: Dataset) -> None:
    """Note which data a run saw. MLflow looks for the data set and then inserts it, so that of two jobs that log
    the same one at once the second fails; asked again, it finds it.
    """
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "connectomes")])]
    for attempt in range(5):
        try:
            return client.log_inputs(run_id, inputs)
        except MlflowException as error:
            if "unique" not in str(error).lower() or attempt == 4:
                raise
            time.sleep(0.2 * (attempt + 1))


def _retire(client: mlflow.MlflowClient, handle: Handle, key: str) -> None:
    """Delete earlier runs of the same key, the folds under them, and the candidates under those."""
    find = lambda tag, value: client.search_runs(
        [handle.experiment_id], f"tags.`{tag}` = '{value}'", ViewType.ACTIVE_ONLY, max_results=10000
    )
    for run in find("key", key):
        for tag in ("mlflow.parentRunId", "experiment_run"):
            for child in find(tag, run.info.run_id):
                client.delete_run(child.info.run_id)
        client.delete_run(run.info.run_id)


def finish(handle: Handle, run_id: str) -> None:
    """Mark a run as finished."""
    handle.client().set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))


def flatten(config: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested configuration as (dotted key, text); MLflow allows few signs in a key."""
    rows = []
    for name, value in config.items():
        key = dotted(prefix, re.sub(r"[^\w\-. :/]", "_", str(name)))
        rows += flatten(value, key) if isinstance(value, Mapping) else [(key, str(value)[:6000])]
    return rows


def as_metrics(metrics: Mapping[str, float], step: int = 0) -> list[Metric]:
    """Turn numbers into MLflow metrics; NaN are left out."""
    now = int(time.time() * 1000)
    return [Metric(name, float(value), now, step) for name, value in metrics.items() if np.isfinite(value)]
