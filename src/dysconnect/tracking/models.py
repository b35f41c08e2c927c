"""A saved model as an MLflow model, with its signature."""

import re
from collections.abc import Mapping
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from dysconnect.learning.saved import SavedModel
from dysconnect.tracking.runs import RESEARCH_ONLY, Handle, as_metrics, changed
from dysconnect.version import __version__

CODE = str(Path(__file__).with_name("served.py"))  # models from code: nothing that is unpickled goes into the artifacts


class _Predictor:
    """Prediction from matrices. Were it a method of the class below, MLflow would ask for type hints in every job."""

    def predict(self, context, model_input, params=None):
        """Probability of being a patient."""
        return self.saved.predict(np.asarray(model_input))


class ConnectomeModel(_Predictor, mlflow.pyfunc.PythonModel):
    """A saved model as an MLflow model: connectivity matrices [n, N, N] in, probabilities [n] out.

    Of one person more is said by ``mlflow.pyfunc.load_model(uri).unwrap_python_model().predict_person(...)``.
    """

    def load_context(self, context) -> None:
        """Read the arrays; nothing in the file is executed."""
        from dysconnect.predict.bundle import read_bundle

        self.saved = SavedModel(context.artifacts["model"])
        self.bundle = read_bundle(context.artifacts["bundle"]) if "bundle" in context.artifacts else None

    def predict_person(self, series: pd.DataFrame, repetition_time: float, anyway: bool = False, **covariates) -> dict:
        """Predict one person from denoised regional series, as ``dysconnect predict`` does.

        Parameters
        ----------
        series : DataFrame, [T, N]
            Columns named as the atlas's regions.
        repetition_time : float
            Seconds.
        anyway : bool
            Give the probability though the person is unlike the cohort.
        **covariates
            Covariates that are known: `age`, `sex`, `site`, `mean_fd`.
        """
        if self.bundle is None:
            raise ValueError("this run keeps nothing that predicts a person; experiments of other measures may.")
        from dysconnect.predict.person import predict_person  # seconds to load, which no job that logs has use for
        from dysconnect.predict.scan import scan_from_table

        return predict_person(self.bundle, scan_from_table(series, repetition_time, self.bundle), covariates, anyway)


def log_model(
    handle: Handle, run: Run, path: str | Path, metrics: Mapping[str, float], bundle: str | Path | None = None
) -> str:
    """Log a saved model with its signature under a run, with the final metrics, and return its model id.

    With it goes the file that predicts a new person, the `bundle`, where there is one. A run that is kept has its model
    already; only metrics that changed are logged.
    """
    run_id = run.info.run_id
    logged = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    logged = [model_id for model_id in logged if _is_there(handle, model_id)]
    name = model_name(run.data.tags.get("experiment", "model"))
    model_id = logged[0] if logged else _log_model(handle, run_id, name, path, bundle)
    points = as_metrics(changed(run, metrics), model_id=model_id, run_id=run_id)
    handle.client().log_batch(run_id, metrics=points)
    return model_id


def _is_there(handle: Handle, model_id: str) -> bool:
    """Whether a logged model was not deleted."""
    try:
        return bool(handle.client().get_logged_model(model_id))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def model_name(experiment: str) -> str:
    """Name of an experiment's logged model, without the signs that MLflow refuses in one."""
    return re.sub(r"[^\w+ -]", "-", experiment)


def _log_model(handle: Handle, run_id: str, name: str, path: str | Path, bundle: str | Path | None) -> str:
    handle.client()
    saved = SavedModel(path)
    n_nodes = len(saved.nodes)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float64"), (-1, n_nodes, n_nodes))]),  # unnamed: a name makes it a dict
        Schema([TensorSpec(np.dtype("float64"), (-1,))]),
    )
    with mlflow.start_run(run_id=run_id, experiment_id=handle.experiment_id):
        info = mlflow.pyfunc.log_model(
            name=name,
            python_model=CODE,
            artifacts={"model": str(path)} | ({"bundle": str(bundle)} if bundle else {}),
            signature=signature,
            pip_requirements=[f"dysconnect=={__version__}"],
            metadata={"measure": saved.measure, "note": RESEARCH_ONLY},
        )
    return info.model_id
