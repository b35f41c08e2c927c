"""Runs under an experiment: its folds and seeds, and under each the candidates of its search."""

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param, RunStatus
from sklearn.metrics import roc_auc_score

from dysconnect.tracking.runs import Handle, as_metrics, delete_below, find_runs, finish

MANY = 500  # candidates: twenty seconds in SQLite; of more, only the chosen become runs
PLACE = ["repeat", "fold", "seed"]


def log_folds(
    handle: Handle, parent: str, predictions: pd.DataFrame, history: pd.DataFrame, search: pd.DataFrame | None = None
) -> int:
    """Log every fold and seed as a run nested under its experiment, curves included; returns how many.

    Parameters
    ----------
    handle : Handle
    parent : str
        Run id of the experiment.
    predictions, history : DataFrame
    search : DataFrame, optional
        Candidates that were tried inside each training fold (`search.tsv`): a run each under the run of their fold,
        whose parameters are then the chosen ones. Of more than `MANY` only the chosen become runs; the experiment's
        note says so, and the table has all of them.
    """
    client, parts = handle.client(), predictions.groupby(PLACE)
    search = pd.DataFrame(columns=[*PLACE, "chosen"]) if search is None else search
    shown = search if len(search) <= MANY else search[search["chosen"].astype(bool)]
    if len(shown) < len(search):
        note = f"Of {len(search)} candidates of the search the {len(shown)} chosen are runs; all are in search.tsv."
        print(note, flush=True)
        client.set_tag(parent, "search", note)
    for place, part in parts:
        tags = {"mlflow.parentRunId": parent, **dict(zip(PLACE, map(str, place)))}
        name = "repeat {} · fold {} · seed {}".format(*place)
        run_id = client.create_run(handle.experiment_id, run_name=name, tags=tags).info.run_id
        metrics = curves(_of(history, place)) + as_metrics(fold_scores(part))
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        log_candidates(handle, client, run_id, parent, _of(shown, place))
        finish(handle, run_id)
    return len(parts)


def has_folds(handle: Handle, parent: str, predictions: pd.DataFrame) -> bool:
    """Whether the folds of a run are all there; what is left of them, where some were deleted, is deleted too."""
    there = find_runs(handle, mlflow__parentRunId=parent)
    if len(there) == len(predictions.groupby(PLACE)):
        return True
    delete_below(handle, parent)
    return False


def _of(table: pd.DataFrame, place: tuple[int, int, int]) -> pd.DataFrame:
    """Rows of one repeat, fold and seed."""
    return table[(table[PLACE] == list(place)).all(axis=1)]


def log_candidates(
    handle: Handle, client: mlflow.MlflowClient, fold_run: str, experiment_run: str, candidates: pd.DataFrame
) -> None:
    """Log the candidates of one fold's search under its run: parameters, validation loss and epoch, whether chosen."""
    scores = ["val_loss", "best_epoch"]
    searched = [name for name in candidates.columns if name not in (*PLACE, *scores, "chosen")]
    for row in candidates.to_dict("records"):
        params = [Param(name, f"{row[name]:g}") for name in searched]
        if row["chosen"]:
            client.log_batch(fold_run, params=params)
        title = "candidate · " + " · ".join(f"{param.key} {param.value}" for param in params)
        tags = {"mlflow.parentRunId": fold_run, "experiment_run": experiment_run, "chosen": str(bool(row["chosen"]))}
        run_id = client.create_run(handle.experiment_id, run_name=title, tags=tags).info.run_id
        client.log_batch(run_id, metrics=as_metrics({name: row[name] for name in scores}), params=params)
        client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))


def log_pretraining(handle: Handle, run_id: str, curve: pd.DataFrame) -> None:
    """Log the curve that all folds share as `pretrain_train_loss` and the like, a step an epoch."""
    metrics = [
        metric
        for row in curve.to_dict("records")
        for metric in as_metrics({f"pretrain_{key}": row[key] for key in row if key != "epoch"}, int(row["epoch"]))
    ]
    for start in range(0, len(metrics), 1000):
        handle.client().log_batch(run_id, metrics=metrics[start : start + 1000])


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
