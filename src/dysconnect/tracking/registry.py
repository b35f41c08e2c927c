"""The model registry: an experiment's model is a version of a registered model, and is fetched from there."""

import re
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from dysconnect.keeping.address import database, hidden, settle, shown
from dysconnect.tracking.notes import model_note
from dysconnect.tracking.runs import Handle

CURRENT = "current"  # alias of the version that the results hold; `latest` is MLflow's word for the highest number


def registered_name(dataset: str, experiment: str) -> str:
    """Name of the registered model; MLflow takes no ``/`` and ``:``, and its filters no quotes."""
    return re.sub(r"[^\w.+ -]", "-", f"dysconnect-{dataset}-{experiment}")


def register(handle: Handle, name: str, model_id: str, run_id: str, tags: Mapping[str, str], note: str) -> str:
    """Make a logged model a version of a registered model, once, and return ``models:/NAME/VERSION``.

    The alias `current` goes to it. An earlier version of the same configuration and data, which was trained again with
    another result, stays, so that who named it gets the same answer as before, and is tagged `superseded_by`.

    Parameters
    ----------
    handle : Handle
    name : str
        Of `registered_name`.
    model_id, run_id : str
    tags : mapping of str to str
        Of the version; with `key`, the run's.
    note : str
        Markdown; how to predict is added.
    """
    client = handle.client()
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    versions = client.search_model_versions(f"name = '{name}'")
    version_of_run = next((version for version in versions if version.run_id == run_id), None)
    if version_of_run is None:
        version_of_run = client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)
    uri = f"models:/{name}/{version_of_run.version}"
    client.update_model_version(name, version_of_run.version, model_note(note, uri))
    client.update_registered_model(name, model_note(note, f"models:/{name}@{CURRENT}"))
    for tag, value in tags.items():
        client.set_model_version_tag(name, version_of_run.version, tag, value)
    for tag in ("dataset", "experiment", "model"):
        client.set_registered_model_tag(name, tag, tags[tag])
    client.set_registered_model_alias(name, CURRENT, version_of_run.version)
    _supersede(client, version_of_run, [version for version in versions if version.tags.get("key") == tags["key"]])
    return uri


def _supersede(client: mlflow.MlflowClient, newest: ModelVersion, same: list[ModelVersion]) -> None:
    for version in same:
        if version.version != newest.version and "superseded_by" not in version.tags:
            client.set_model_version_tag(newest.name, version.version, "superseded_by", str(newest.version))


def fetch_bundle(uri: str, model: str, folder: str | Path) -> Path:
    """Download what predicts a new person from the model of a run.

    Parameters
    ----------
    uri : str
        Of the tracking server or database.
    model : str
        A run id, ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``.
    folder : path
        Where to.

    Raises
    ------
    FileNotFoundError
        When there is no such run or it keeps no such file, with what to do.
    """
    place = database(uri)
    if place and not place.exists():
        raise FileNotFoundError(f"no MLflow database at {uri}: name the file of a model, or set MLFLOW_TRACKING_URI.")
    settle(uri)
    client = Handle(uri, "", "").client()
    try:
        logged = [] if model.startswith("models:/") else client.get_run(model).outputs.model_outputs
        sources = [model] if model.startswith("models:/") else [f"models:/{output.model_id}" for output in logged]
        places = [
            Path(mlflow.artifacts.download_artifacts(source, dst_path=str(Path(folder, str(number)))))
            for number, source in enumerate(sources)
        ]
    except (MlflowException, OSError) as error:
        raise FileNotFoundError(
            f"MLflow at {shown(uri)} has no model {model} ({hidden(str(error))}). Name a run or a registered model, or "
            "set MLFLOW_TRACKING_URI to where it is."
        ) from error
    files = [file for place in places for file in place.glob("artifacts/*.npz") if file.name != "model.npz"]
    if len(files) != 1:
        raise FileNotFoundError(
            f"run {model} keeps nothing that predicts a new person: nor does the floor, a measure that is "
            "exploratory, or a table of single pairs of regions; other experiments do."
        )
    return files[0]
