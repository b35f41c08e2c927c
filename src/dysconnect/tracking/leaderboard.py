"""The table that MLflow opens with: one row an experiment, the AUC and what belongs to it, the best first.

A view that MLflow's interface shares is a tag of its experiment, named in the address.
"""

import json

from mlflow import MlflowClient

VIEW = "leaderboard"
TAG = f"mlflow.sharedViewState.{VIEW}"
METRICS = ("auc", "auc_low", "auc_high", "auc_p", "auc_p_best", "auc_floor", "auc_within_site")
STATE = {
    "searchFilter": "tags.kind = 'experiment'",  # neither folds nor sweeps
    "orderByKey": "metrics.`auc`",
    "orderByAsc": False,
    "selectedColumns": [f"metrics.`{name}`" for name in METRICS],
    "runsExpanded": {},
    "groupBy": None,
}


def share_leaderboard(client: MlflowClient, experiment_id: str) -> None:
    """Keep the leaderboard with its experiment; the same text each time."""
    client.set_experiment_tag(experiment_id, TAG, json.dumps(STATE, sort_keys=True))


def leaderboard_address(server: str, experiment_id: str) -> str:
    """Address of the leaderboard on a server; MLflow opens in another mode unless told."""
    view = f"workflowType=machine_learning&viewStateShareKey={VIEW}&compareRunsMode=TABLE"
    return f"{server}/#/experiments/{experiment_id}/runs?{view}"
