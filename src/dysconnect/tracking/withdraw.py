"""What MLflow holds of a dataset's people is removed: predictions, tables of participants, pages, models."""

from collections.abc import Iterable

import mlflow
import requests
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from dysconnect.keeping.address import database, hidden, settle, shown
from dysconnect.tracking.runs import Handle


def remove_dataset(uri: str, dataset: str, dry: bool = False) -> list[str]:
    """Delete all runs of a dataset, scratch runs too, with their artifacts, models and registered models.

    Runs that were deleted before are visited as well: MLflow keeps their artifacts.

    Parameters
    ----------
    uri : str
        Of the tracking server or database.
    dataset : str
    dry : bool
        Only say what would be deleted.

    Returns
    -------
    list of str
        Names of the runs that have artifacts or models.

    Raises
    ------
    ConnectionError
        When the server does not answer.
    """
    place = database(uri)
    if place is not None and not place.exists():
        return []
    try:
        settle(uri)  # of a project that was moved, the artifacts that lie here
        client = Handle(shown(uri), "", "").client()
        runs = _runs(client, f"tags.dataset = '{dataset}'")
        if not dry:
            _remove(client, dataset, runs)
    except (MlflowException, requests.RequestException) as error:
        raise ConnectionError(
            f"MLflow at {shown(uri)} does not answer, and what it holds of {dataset} is still there "
            f"({hidden(str(error))}). Give the same command again when it runs."
        ) from None
    return [run.info.run_name for run in runs]


def _runs(client: mlflow.MlflowClient, wanted: str) -> list[Run]:
    """Runs of all experiments, deleted ones too."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    runs, token = [], None
    while token != "":
        page = client.search_runs(experiments, wanted, ViewType.ALL, max_results=1000, page_token=token)
        runs, token = [*runs, *page], page.token or ""
    return runs


def _remove(client: mlflow.MlflowClient, dataset: str, runs: Iterable[Run]) -> None:
    for model in client.search_registered_models(f"tags.dataset = '{dataset}'"):
        client.delete_registered_model(model.name)
    for run in runs:
        for output in run.outputs.model_outputs if run.outputs else []:
            _remove_model(client, output.model_id)
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()
        for nested in [*_runs(client, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"), run]:
            if nested.info.lifecycle_stage == "active":
                client.delete_run(nested.info.run_id)


def _remove_model(client: mlflow.MlflowClient, model_id: str) -> None:
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # removed before
            return
        raise
    get_artifact_repository(model.artifact_location).delete_artifacts()
    client.delete_logged_model(model_id)
