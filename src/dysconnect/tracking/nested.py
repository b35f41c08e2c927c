"""Runs under an experiment: its folds and seeds, and under each the candidates of its search."""

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param, Run, RunStatus
from sklearn.metrics import roc_auc_score

from dysconnect.tracking.runs import Handle, as_metrics, delete_below, find_runs, finish
from dysconnect.tracking.timing import UNKNOWN, Span

MANY = 500  # candidates: twenty seconds in SQLite; of more, only the chosen become runs
PLACE = ["repeat", "fold", "seed"]
ABOUT = ("dataset", "experiment", "model", "model_kind")  # tags of an experiment that its folds carry too


def log_folds(
    handle: Handle,
    parent: str,
    predictions: pd.DataFrame,
    history: pd.DataFrame,
    search: pd.DataFrame | None = None,
    span: Span = UNKNOWN,
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
    span : Span
        When the job ran that trained all folds.
    """
    client, parts = handle.client(), predictions.groupby(PLACE)
    search = pd.DataFrame(columns=[*PLACE, "chosen"]) if search is None else search
    shown = search if len(search) <= MANY else search[search["chosen"].astype(bool)]
    if len(shown) < len(search):
        note = f"Of {len(search)} candidates of the search the {len(shown)} chosen are runs; all are in search.tsv."
        print(note, flush=True)
        client.set_tag(parent, "search", note)
    above = client.get_run(parent)
    about = {tag: above.data.tags[tag] for tag in ABOUT if tag in above.data.tags}
    for place, part in parts:
        name, where = name_fold(about.get("experiment", above.info.run_name), place)
        tags = {"mlflow.parentRunId": parent, "kind": "fold", **about, **where}
        run = client.create_run(handle.experiment_id, start_time=span.start, run_name=name, tags=tags)
        run_id = run.info.run_id
        metrics = curves(_of(history, place)) + as_metrics(fold_scores(part))
        for start in range(0, len(metrics), 1000):
            client.log_batch(run_id, metrics=metrics[start : start + 1000])
        log_candidates(handle, client, run, parent, _of(shown, place))
        finish(handle, run_id, span.end)
    return len(parts)


def name_fold(experiment: str, place: tuple[int, int, int]) -> tuple[str, dict[str, str]]:
    """Name and tags of a fold's run; tables count repeats, folds and seeds from 0, people from 1."""
    where = {name: str(number + 1) for name, number in zip(PLACE, place)}
    return f"{experiment}, " + " ".join(f"{name} {number}" for name, number in where.items()), where


def has_folds(handle: Handle, parent: str, predictions: pd.DataFrame) -> bool:
    """Whether the folds of a run are all there; what is left of them, where some were deleted, is deleted too."""
    there = find_runs(handle, mlflow__parentRunId=parent, kind="fold")  # those of earlier versions have no kind
    if len(there) == len(predictions.groupby(PLACE)):
        return True
    delete_below(handle, parent)
    return False


def _of(table: pd.DataFrame, place: tuple[int, int, int]) -> pd.DataFrame:
    """Rows of one repeat, fold and seed."""
    return table[(table[PLACE] == list(place)).all(axis=1)]


def log_candidates(
    handle: Handle, client: mlflow.MlflowClient, fold: Run, experiment_run: str, candidates: pd.DataFrame
) -> None:
    """Log the candidates of one fold's search under its run: parameters, validation loss and epoch, whether chosen."""
    scores, fold_run = ["val_loss", "best_epoch"], fold.info.run_id
    about = {tag: fold.data.tags[tag] for tag in (*ABOUT, *PLACE) if tag in fold.data.tags}
    searched = [name for name in candidates.columns if name not in (*PLACE, *scores, "chosen")]
    for row in candidates.to_dict("records"):
        params = [Param(name, f"{row[name]:g}") for name in searched]
        if row["chosen"]:
            client.log_batch(fold_run, params=params)
        title = "candidate · " + " · ".join(f"{param.key} {param.value}" for param in params)
        tags = {"mlflow.parentRunId": fold_run, "experiment_run": experiment_run, "chosen": str(bool(row["chosen"]))}
        tags |= {"kind": "candidate", **about}
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
