"""MLflow, the view of the experiments: files are the truth, and are logged once they are complete.

`runs` logs one run and knows where it goes, `nested` what lies under an experiment; here are the experiment, its model,
and the cohort.
"""

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from dysconnect import __version__
from dysconnect.report.figures import calibration_figure, learning_figure, roc_figure
from dysconnect.tracking.nested import log_folds, log_pretraining
from dysconnect.tracking.runs import (
    RESEARCH_ONLY,
    Handle,
    choose_uri,
    finish,
    git_commit,
    log_run,
    open_tracking,
    read_handle,
)
from dysconnect.train.estimators import SavedModel

__all__ = [
    "ConnectomeModel",
    "Handle",
    "choose_uri",
    "finish",
    "git_commit",
    "log_cohort",
    "log_experiment",
    "log_folds",
    "log_model",
    "log_run",
    "open_tracking",
    "read_handle",
    "score_metrics",
]


def score_metrics(scores: pd.DataFrame) -> dict[str, float]:
    """Scores of one experiment with intervals, p and floor, named alike in every run."""
    metrics = {}
    for row in scores.itertuples():
        own = {"": row.value, "_low": row.low, "_high": row.high, "_p": row.p, "_floor": row.floor}
        metrics |= {f"{row.metric}{suffix}": value for suffix, value in own.items()}
    return metrics


class ConnectomeModel(mlflow.pyfunc.PythonModel):
    """A saved model as an MLflow model: connectivity matrices [n, N, N] in, probabilities [n] out.

    Of one person more is said by ``mlflow.pyfunc.load_model(uri).unwrap_python_model().predict_person(...)``.
    """

    def load_context(self, context) -> None:
        """Read the arrays; nothing in the file is executed."""
        from dysconnect.predict.bundle import read_bundle

        self.saved = SavedModel(context.artifacts["model"])
        self.bundle = read_bundle(context.artifacts["bundle"]) if "bundle" in context.artifacts else None

    def predict(self, context, model_input, params=None):
        """Probability of being a patient."""
        return self.saved.predict(np.asarray(model_input))

    def predict_person(self, series: pd.DataFrame, repetition_time: float, anyway: bool = False, **told) -> dict:
        """Predict one person from denoised regional series, as ``dysconnect predict`` does.

        Parameters
        ----------
        series : DataFrame, [T, N]
            Columns named as the atlas's regions.
        repetition_time : float
            Seconds.
        anyway : bool
            Give the probability though the person is unlike the cohort.
        **told
            Covariates that are known: `age`, `sex`, `site`, `mean_fd`.
        """
        from dysconnect.predict.person import predict_person  # seconds to load, which no job that logs has use for
        from dysconnect.predict.scan import scan_from_table

        return predict_person(self.bundle, scan_from_table(series, repetition_time, self.bundle), told, anyway)


def log_model(
    handle: Handle, run_id: str, path: str | Path, metrics: Mapping[str, float], bundle: str | Path | None = None
) -> str:
    """Log a saved model with its signature under a run, with the final metrics, and return its URI.

    With it goes the file that predicts a new person, the `bundle`, where there is one.
    """
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
            artifacts={"model": str(path)} | ({"bundle": str(bundle)} if bundle else {}),
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
    bundle: str | Path | None = None,
) -> dict[str, str]:
    """Log one experiment: configuration, scores, figures, folds with their curves and searches, and the model.

    Parameters
    ----------
    handle : Handle
    name : str
        Of the experiment.
    config, tags : mapping
    tables : mapping of str to DataFrame
        `predictions`, `history`, `search`, `scores` and `curves` (of all experiments), and maybe `pretraining`.
    files : sequence of path
        Logged as artifacts.
    model : path
        The saved model; the confound floor has none that takes connectomes.
    bundle : path, optional
        What predicts a new person.

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
    log_pretraining(handle, run_id, tables.get("pretraining", pd.DataFrame()))
    log_folds(handle, run_id, tables["predictions"], tables["history"], tables["search"])
    model_uri = "" if floor else log_model(handle, run_id, model, metrics, bundle)
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
