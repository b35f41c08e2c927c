"""MLflow, the view of the experiments: files are the truth, and are logged once they are complete."""

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
import pandas as pd
import yaml
from matplotlib.figure import Figure
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from sklearn.metrics import roc_auc_score

from dysconnect import __version__
from dysconnect.config import config_hash, dotted
from dysconnect.report.figures import calibration_figure, learning_figure, roc_figure
from dysconnect.train.estimators import SavedModel

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
    """Delete earlier runs of the same key, and the folds under them."""
    for run in client.search_runs([handle.experiment_id], f"tags.key = '{key}'", ViewType.ACTIVE_ONLY):
        children = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
        for child in client.search_runs([handle.experiment_id], children, ViewType.ACTIVE_ONLY, max_results=10000):
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


def log_folds(handle: Handle, parent: str, predictions: pd.DataFrame, history: pd.DataFrame) -> int:
    """Log every fold and seed as a run nested under its experiment, curves included; returns how many."""
    client = handle.client()
    parts = predictions.groupby(["repeat", "fold", "seed"])
    for (repeat, fold, seed), part in parts:
        tags = {"mlflow.parentRunId": parent, "repeat": str(repeat), "fold": str(fold), "seed": str(seed)}
        name = f"repeat {repeat} · fold {fold} · seed {seed}"
        run_id = client.create_run(handle.experiment_id, run_name=name, tags=tags).info.run_id
        own = history[(history["repeat"] == repeat) & (history["fold"] == fold) & (history["seed"] == seed)]
        metrics = curves(own) + as_metrics(fold_scores(part))
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        finish(handle, run_id)
    return len(parts)


def curves(history: pd.DataFrame) -> list[Metric]:
    """Learning curves, one metric a column and a step an epoch."""
    return [
        metric
        for row in history.itertuples()
        for metric in as_metrics(
            {"train_loss": row.train_loss, "val_loss": row.val_loss, "val_auc": row.val_auc}, row.epoch
        )
    ]


def fold_scores(part: pd.DataFrame) -> dict[str, float]:
    """AUC and Brier score of one fold's test subjects."""
    both = part["label"].nunique() == 2
    return {
        "test_auc": roc_auc_score(part["label"], part["probability"]) if both else np.nan,
        "test_brier": float(((part["probability"] - part["label"]) ** 2).mean()),
        "test_n": len(part),
    }


def score_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Scores of one experiment with intervals, p and floor, named alike in every run."""
    metrics = {}
    for row in scores.itertuples():
        own = {"": row.value, "_low": row.low, "_high": row.high, "_p": row.p, "_floor": row.floor}
        metrics |= {f"{row.metric}{suffix}": value for suffix, value in own.items()}
    return metrics


class ConnectomeModel(mlflow.pyfunc.PythonModel):
    """A saved model as an MLflow model: connectivity matrices [n, N, N] in, probabilities [n] out."""

    def load_context(self, context) -> None:
        """Read the arrays; nothing in the file is executed."""
        self.saved = SavedModel(context.artifacts["model"])

    def predict(self, context, model_input, params=None):
        """Probability of being a patient."""
        return self.saved.predict(np.asarray(model_input))


def log_model(handle: Handle, run_id: str, path: str | Path, metrics: Mapping[str, float]) -> str:
    """Log a saved model with its signature under a run, with the final metrics, and return its URI."""
    client = handle.client()
    saved = SavedModel(path)
    n_nodes = len(saved.nodes)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float64"), (-1, n_nodes, n_nodes))]),
        Schema([TensorSpec(np.dtype("float64"), (-1,))]),
    )
    with mlflow.start_run(run_id=run_id, experiment_id=handle.experiment_id):
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=ConnectomeModel(),
            artifacts={"model": str(path)},
            signature=signature,
            pip_requirements=[f"dysconnect=={__version__}"],
            metadata={"measure": saved.measure, "note": RESEARCH_ONLY},
        )
    finite = {name: value for name, value in metrics.items() if np.isfinite(value)}
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, int(time.time() * 1000), 0, model_id=info.model_id, run_id=run_id)
            for name, value in finite.items()
        ],
    )
    return info.model_uri


def log_experiment(
    handle: Handle,
    name: str,
    config: Mapping,
    tags: Mapping[str, str],
    tables: Mapping[str, pd.DataFrame],
    files: Sequence[str | Path],
    model: str | Path,
) -> dict[str, str]:
    """Log one experiment: configuration, scores, figures, folds with their curves, and the model.

    Parameters
    ----------
    handle : Handle
    name : str
        Of the experiment.
    config, tags : mapping
    tables : mapping of str to DataFrame
        `predictions`, `history`, `scores` and `curves` (of all experiments).
    files : sequence of path
        Logged as artifacts.
    model : path
        The saved model; the confound floor has none that takes connectomes.

    Returns
    -------
    dict
        `run_id`, `name`, `model_uri`.
    """
    scores = tables["scores"][tables["scores"]["experiment"] == name]
    points = tables["curves"][tables["curves"]["experiment"] == name]
    figures = {"roc.png": roc_figure(points, scores), "calibration.png": calibration_figure(points)}
    if len(tables["history"]):
        figures["learning.png"] = learning_figure(tables["history"])
    metrics = score_metrics(scores)
    title = f"{tags['dataset']} · {name}"
    own = {**tags, "experiment": name, "model": config["model"]["name"], "kind": "experiment"}
    floor = config["model"]["name"] == "floor"
    run_id = log_run(handle, title, config, own, metrics if floor else {}, files, figures)  # else with the model
    log_folds(handle, run_id, tables["predictions"], tables["history"])
    model_uri = "" if floor else log_model(handle, run_id, model, metrics)
    finish(handle, run_id)
    return {"run_id": run_id, "name": title, "model_uri": model_uri}


def log_cohort(
    handle: Handle,
    config: Mapping,
    tags: Mapping[str, str],
    summary: Mapping,
    recovery: pd.DataFrame | None,
    files: Sequence[str | Path],
    quality: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Log the localization and the report of a cohort.

    Parameters
    ----------
    handle : Handle
    config, tags : mapping
    summary : mapping
        Of the localization; its numbers become metrics.
    recovery : DataFrame or None
        Of a planted truth; adds its own metrics.
    files : sequence of path
        Logged as artifacts.
    quality : mapping of str to float, optional
        Of `dysconnect.quality.metrics.quality_metrics`.

    Returns
    -------
    dict
        `run_id`, `name`.
    """
    metrics = {key: value for key, value in summary.items() if isinstance(value, int | float)} | dict(quality or {})
    if recovery is not None:
        for row in recovery.itertuples():
            method = re.sub(r"[^A-Za-z]+", "_", row.method).strip("_").lower()
            metrics |= {f"{method}_{name}": getattr(row, name) for name in ("tpr", "fdp", "auprc")}
    title = f"{tags['dataset']} · localize"
    run_id = log_run(handle, title, config, {**tags, "kind": "cohort"}, metrics, files)
    finish(handle, run_id)
    return {"run_id": run_id, "name": title}
