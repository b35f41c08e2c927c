"""MLflow, the view of the experiments: files are the truth, and are logged once they are complete.

`runs` logs one run and knows where it goes, `nested` what lies under an experiment, `models` and `registry` its model,
`sweeps` groups scratch runs, `live` shows networks in training, `notes` writes descriptions; here are the experiment
and the cohort.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from mlflow.entities import Run

from dysconnect.keeping.address import choose_uri
from dysconnect.models.cards import card_of
from dysconnect.tracking.live import supersede
from dysconnect.tracking.models import ConnectomeModel, log_model
from dysconnect.tracking.nested import has_folds, log_folds, log_pretraining
from dysconnect.tracking.notes import cohort_note, experiment_note
from dysconnect.tracking.page import lay_out
from dysconnect.tracking.registry import register, registered_name
from dysconnect.tracking.runs import (
    Handle,
    begin_run,
    fill_run,
    finish,
    git_commit,
    hash_files,
    log_run,
    open_tracking,
    reaching,
    read_handle,
)
from dysconnect.tracking.scores import score_metrics
from dysconnect.tracking.sweeps import Sweep, log_failure, log_scratch
from dysconnect.tracking.timing import UNKNOWN, Span, read_span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ConnectomeModel",
    "Handle",
    "Span",
    "Sweep",
    "choose_uri",
    "finish",
    "git_commit",
    "log_cohort",
    "log_experiment",
    "log_failure",
    "log_folds",
    "log_model",
    "log_run",
    "log_scratch",
    "open_tracking",
    "read_handle",
    "read_span",
    "score_metrics",
]


def log_experiment(
    handle: Handle,
    name: str,
    config: Mapping,
    tags: Mapping[str, str],
    tables: Mapping[str, pd.DataFrame],
    files: Sequence[str | Path],
    model: str | Path,
    bundle: str | Path | None = None,
    span: Span = UNKNOWN,
    system_metrics: bool = False,
) -> dict[str, str]:
    """Log one experiment: configuration, scores, figures, folds with their curves and searches, and the model.

    What was shown of it while it trained (``tracking.live``) is removed.

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
    span : Span
        When the job ran that trained it: the run's duration, and that of its folds.
    system_metrics : bool
        Also log what that job used.

    Returns
    -------
    dict
        `run_id`, `name`, `model_uri`, and `registered`: ``models:/NAME/VERSION``.

    Raises
    ------
    ConnectionError
        When the server goes away in the middle.
    """
    card = card_of(config["model"]["name"])
    floor = card.kind == "floor"
    scores = tables["scores"][tables["scores"]["experiment"].isin([name, config["evaluate"]["floor"]])]
    note = experiment_note(config, scores, tables["predictions"])
    metrics = score_metrics(scores[scores["experiment"] == name])
    used = dict(span.used) if system_metrics else {}
    title, about = f"{tags['dataset']} · {name}", {"experiment": name, "model": card.name, "model_kind": card.kind}
    content = hash_files([*files, model, *([bundle] if bundle else [])])
    with reaching(handle, title):
        run = begin_run(handle, title, config, {**tags, **about, "kind": "experiment"}, content, span.start)
        run_metrics = metrics if floor else {}  # else they are logged with the model
        fill_run(handle, run, config, run_metrics | used, files, _figures(name, tables), note)
        if run.info.status != "FINISHED":
            log_pretraining(handle, run.info.run_id, tables.get("pretraining", pd.DataFrame()))
        if not has_folds(handle, run.info.run_id, tables["predictions"]):
            log_folds(handle, run.info.run_id, tables["predictions"], tables["history"], tables["search"], span)
        logged = {"model_uri": "", "registered": ""} if floor else _log_model(handle, run, metrics, note, model, bundle)
        finish(handle, run.info.run_id, span.end_after(run.info.start_time))
        supersede(handle, tags["dataset"], name)
    return {"run_id": run.info.run_id, "name": title, **logged}


def _figures(name: str, tables: Mapping[str, pd.DataFrame]) -> "dict[str, Figure]":
    from dysconnect.report.prediction.figures import calibration_figure, learning_figure, roc_figure  # matplotlib

    scores, points = (tables[table][tables[table]["experiment"] == name] for table in ("scores", "curves"))
    figures = {"roc.png": roc_figure(points, scores), "calibration.png": calibration_figure(points, name)}
    return figures | ({"learning.png": learning_figure(tables["history"])} if len(tables["history"]) else {})


def _log_model(
    handle: Handle, run: Run, metrics: Mapping, note: str, model: str | Path, bundle: str | Path | None
) -> dict[str, str]:
    """Log and register an experiment's model."""
    model_id, tags = log_model(handle, run, model, metrics, bundle), run.data.tags
    known = ("dataset", "experiment", "model", "config_hash", "data_hash", "git", "key", "dysconnect")
    model_tags = {tag: tags[tag] for tag in known if tag in tags}
    name = registered_name(tags["dataset"], tags["experiment"])
    registered = register(handle, name, model_id, run.info.run_id, model_tags, note)
    return {"model_uri": f"models:/{model_id}", "registered": registered}


def log_cohort(
    handle: Handle,
    config: Mapping,
    tags: Mapping[str, str],
    summary: Mapping,
    recovery: pd.DataFrame | None,
    files: Sequence[str | Path],
    quality: Mapping[str, float] | None = None,
    report: str | Path | None = None,
) -> dict[str, str]:
    """Log the localization and the report of a cohort.

    Parameters
    ----------
    handle : Handle
    config, tags : mapping
    summary : mapping
        Of the localization; its numbers become metrics.
    recovery : DataFrame or None
        Of a planted truth; adds its metrics.
    files : sequence of path
        Logged as artifacts.
    quality : mapping of str to float, optional
        Of `dysconnect.quality.metrics.quality_metrics`.
    report : path, optional
        The report's page; figures and, unless ``report.people`` is false, pages of people beside it go along.

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
    note = cohort_note(tags["dataset"], summary, recovery is not None)
    people = config.get("report", {}).get("people", True)
    with reaching(handle, title), tempfile.TemporaryDirectory() as folder:
        files = [*files, *(lay_out(report, folder, people) if report else [])]
        run_id = log_run(handle, title, config, {**tags, "kind": "cohort"}, metrics, files, note=note)
        finish(handle, run_id)
    return {"run_id": run_id, "name": title}
