"""Scratch runs, and those of one multirun sweep under one run named for what was swept.

Runs of a sweep may be processes side by side, on one machine or many. They share the sweep's folder and the tracking
server, nothing else, and each may fail.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.entities import Run, RunStatus

from dysconnect.keeping.address import hidden
from dysconnect.learning.trained import Trained
from dysconnect.tracking.nested import log_folds, log_pretraining
from dysconnect.tracking.notes import sweep_note
from dysconnect.tracking.runs import Handle, as_metrics, beside_others, find_runs, finish, log_run, reaching, user
from dysconnect.tracking.scores import score_metrics

CHOSEN = "yes: the best of the sweep on the same people and folds, so its score is optimistic"
ENDS = {"": "auc", "_low": "low", "_high": "high", "_floor": "floor"}  # of metrics of the AUC


@dataclass(frozen=True)
class Sweep:
    """What one job of a sweep knows of it.

    Parameters
    ----------
    folder : Path
        Shared by all jobs of the sweep, and by no other.
    swept : tuple of str
        Overrides with several values, as given: ``training.lr=1e-3,1e-4``.
    values : tuple of str
        This job's value of each: ``training.lr=1e-3``.
    expected : int or None
        Number of jobs, where it is known.
    """

    folder: Path
    swept: tuple[str, ...]
    values: tuple[str, ...]
    expected: int | None

    @property
    def title(self) -> str:
        """What was swept: ``model × lr``."""
        return " × ".join(short_names(self.swept).values())

    @property
    def job(self) -> str:
        """The values of this job: ``model gcn · lr 1e-3``."""
        return " · ".join(f"{name} {text.split('=', 1)[1]}" for text, name in short_names(self.values).items())


def short_names(overrides: Sequence[str]) -> dict[str, str]:
    """Last word of every override's key, by the override; the whole key where two end alike."""
    keys = [text.split("=", 1)[0].lstrip("+~") for text in overrides]
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {text: key if last.count(name) > 1 else name for text, key, name in zip(overrides, keys, last)}


def log_scratch(
    handle: Handle,
    config: Mapping,
    data_hash: str,
    scores: pd.DataFrame,
    trained: Trained,
    sweep: Sweep | None = None,
) -> str:
    """Log one scratch run, under its sweep where it is one of several; returns its run id.

    Parameters
    ----------
    handle : Handle
    config : mapping
    data_hash : str
    scores : DataFrame
    trained : Trained
    sweep : Sweep, optional

    Raises
    ------
    ConnectionError
        When the server goes away in the middle.
    """
    title, tags = _named(config, sweep)
    with reaching(handle, title):
        parent = {"mlflow.parentRunId": join_sweep(handle, config, sweep)} if sweep else {}
        run_id = log_run(handle, title, config, {**tags, **parent, "data_hash": data_hash}, score_metrics(scores), [])
        log_pretraining(handle, run_id, pd.DataFrame(trained.pretraining))
        log_folds(handle, run_id, trained.predictions, trained.history, trained.search)
        finish(handle, run_id)
        if sweep:
            summarise(handle, parent["mlflow.parentRunId"], sweep)
    return run_id


def log_failure(handle: Handle, config: Mapping, sweep: Sweep, error: Exception) -> None:
    """Log a job of a sweep that failed as a failed run with the reason, so that it is not missing from the sweep."""
    title, tags = _named(config, sweep)
    with reaching(handle, title):
        parent = join_sweep(handle, config, sweep)
        note = hidden(f"Failed: {type(error).__name__}: {error}")[:4000]
        tags_known = {key: value for key, value in tags.items() if key != "dataset"}  # which data it saw is not known
        run_id = log_run(handle, title, config, {**tags_known, "mlflow.parentRunId": parent}, {}, [], note=note)
        handle.client().set_terminated(run_id, RunStatus.to_string(RunStatus.FAILED))
        summarise(handle, parent, sweep)


def _named(config: Mapping, sweep: Sweep | None) -> tuple[str, dict[str, str]]:
    """Name and tags of a scratch run."""
    dataset, model = config["dataset"]["name"], config["model"]["name"]
    tags = {"dataset": dataset, "kind": "scratch", "scratch": "true", "model": model}
    return (sweep.job if sweep else f"scratch · {dataset} · {model}"), tags


def join_sweep(handle: Handle, config: Mapping, sweep: Sweep) -> str:
    """Return the run that holds the sweep's runs, made by whichever job comes first.

    Each of several that come at once makes one; a link to a finished file appears whole or not at all, so that one
    wins and the others delete theirs.
    """
    claim, client = sweep.folder / "sweep.json", handle.client()
    if not claim.exists():
        run_id = client.create_run(handle.experiment_id, **_parent(config, sweep)).info.run_id
        with tempfile.NamedTemporaryFile("w", dir=sweep.folder, suffix=".json", delete=False) as file:
            file.write(json.dumps({"run_id": run_id, "tracking": handle.uri}))
        try:
            os.link(file.name, claim)
        except FileExistsError:
            client.delete_run(run_id)
        finally:
            os.unlink(file.name)
    return json.loads(claim.read_text())["run_id"]


def _parent(config: Mapping, sweep: Sweep) -> dict:
    dataset = config["dataset"]["name"]
    tags = {"dataset": dataset, "kind": "sweep", "scratch": "true", "mlflow.source.name": "dysconnect"}
    tags["mlflow.user"] = user()
    return {"run_name": f"sweep · {dataset} · {sweep.title}", "tags": tags}


def summarise(handle: Handle, parent: str, sweep: Sweep) -> None:
    """Give the sweep's run the best score so far, its description, and its end with the last job.

    Jobs that end together may write one after the other in any order. The step of the metrics is the number of jobs
    seen, so that the fuller one counts; and who finds, having written, that another job has ended, writes again.
    """
    seen: list[dict] | None = None
    while (runs := reported(handle, parent)) != seen:
        seen = runs
        beside_others(partial(_write_summary, handle, parent, sweep, runs))
    if len(seen) == (sweep.expected or len(seen)):
        finish(handle, parent)


def _write_summary(handle: Handle, parent: str, sweep: Sweep, runs: Sequence[Mapping]) -> None:
    client, done = handle.client(), [run for run in runs if run["auc"] is not None]
    numbers = {"runs": len(runs), "failed_runs": len(runs) - len(done)}
    if done:
        best = done[0]
        numbers |= {f"best_auc{end}": best[name] for end, name in ENDS.items()}
        client.set_tag(parent, "best_run", best["name"])
        client.set_tag(parent, "chosen_on_these_data", CHOSEN)
    client.log_batch(parent, metrics=as_metrics(numbers, step=len(runs)))
    client.set_tag(parent, "mlflow.note.content", sweep_note(sweep.swept, runs, sweep.expected))


def reported(handle: Handle, parent: str) -> list[dict]:
    """Jobs of a sweep that have ended: name, AUC with interval and floor (None where it failed), the best first."""
    ended = [run for run in find_runs(handle, mlflow__parentRunId=parent) if run.info.status != "RUNNING"]
    rows = [{"name": run.info.run_name, "run_id": run.info.run_id, **_score(run)} for run in ended]
    return sorted(rows, key=lambda row: (-np.inf if row["auc"] is None else row["auc"], row["run_id"]), reverse=True)


def _score(run: Run) -> dict[str, float | None]:
    metrics = run.data.metrics
    return {name: metrics.get(f"auc{end}", np.nan if end else None) for end, name in ENDS.items()}
