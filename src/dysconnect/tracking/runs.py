"""Runs in MLflow: where they go, one run with its files, and that logging again adds nothing."""

import fcntl
import getpass
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import requests
import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, ViewType
from mlflow.exceptions import MlflowException, RestException
from sqlalchemy.exc import SQLAlchemyError

from dysconnect.keeping.address import absolute_uri, artifact_folder, database, hidden, settle, shown, with_password
from dysconnect.keeping.settings import config_hash
from dysconnect.plan.config import dotted
from dysconnect.tracking.leaderboard import share_leaderboard
from dysconnect.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a fold
RESEARCH_ONLY = "For research only: no diagnosis and no basis for treatment."
# sections that are no parameters: they fetch, check and show; of two the name is enough
ASIDE = ("acquire", "atlas", "dataset", "evaluate", "experiments", "preprocess", "quality", "report", "tracking")


@dataclass(frozen=True)
class Handle:
    """Where runs go: the tracking server's or database's address, as it is written down, and the experiment."""

    uri: str
    experiment_id: str
    experiment: str

    def client(self) -> mlflow.MlflowClient:
        """Return a client, and point MLflow's functions to the same place."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's 7 take minutes
        uri = absolute_uri(with_password(self.uri))
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return mlflow.MlflowClient(uri, uri)


def read_handle(path: str | Path) -> Handle:
    """Read the handle that `open_tracking` returned and a job wrote, and open it again.

    An experiment that was deleted meanwhile is restored, one that is gone with its database is made anew.

    Raises
    ------
    ConnectionError
        As `open_tracking`.
    """
    handle = json.loads(Path(path).read_text())
    return open_tracking(with_password(handle["uri"]), handle["experiment"])


def open_tracking(uri: str, experiment: str) -> Handle:
    """Make or migrate the database and create the experiment; of processes that come at once one goes first.

    A local database that was moved learns where its artifacts lie now.

    Raises
    ------
    ConnectionError
        When the server does not answer or the database cannot be used, with the address and what to do.
    """
    place = database(uri)
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _alone(place):
            settle(uri)
            return _opened(uri, experiment)
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        raise ConnectionError(_unusable(uri, error)) from None


def _opened(uri: str, experiment: str) -> Handle:
    try:
        return _open_experiment(uri, experiment)
    except MlflowException as error:
        if "out-of-date database schema" not in str(error):
            raise
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", absolute_uri(uri)]  # of an older MLflow
    subprocess.run(command, check=True, capture_output=True, text=True)
    return _open_experiment(uri, experiment)


def _open_experiment(uri: str, experiment: str) -> Handle:
    client, place = Handle(shown(uri), "", experiment).client(), shown(uri)
    stored = client.get_experiment_by_name(experiment)
    if stored is None:
        own = client.create_experiment(experiment, artifact_location=artifact_folder(uri))
    else:
        own = stored.experiment_id
        if stored.lifecycle_stage == "deleted":
            client.restore_experiment(own)
    share_leaderboard(client, own)
    return Handle(place, own, experiment)


@contextmanager
def _alone(place: Path | None) -> Iterator[None]:
    """Around the opening of a local database: of processes that make it at once, all but one would fail."""
    if place is None:
        yield
        return
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _unusable(uri: str, error: Exception) -> str:
    """Say that MLflow cannot be reached, and what to do."""
    reason, place = hidden(str(error)), database(uri)
    if place is None:
        return (
            f"MLflow at {shown(uri)} does not answer ({reason}). Start the server, or set tracking.uri or "
            "MLFLOW_TRACKING_URI to one that runs."
        )
    return (
        f"MLflow's database {shown(uri)} cannot be used ({reason.splitlines()[0]}). Results do not depend on it, it is "
        f"only a view of them: move {place.name} aside, remove results/tracking.json, and give the same command again; "
        "all experiments are logged anew."
    )


@contextmanager
def reaching(handle: Handle, what: str) -> Iterator[None]:
    """Around what logs: a server that goes away in the middle, or a database that fails, is named, with what to do.

    Raises
    ------
    ConnectionError
        Instead of MLflow's error, where it is not the server's answer.
    """
    try:
        yield
    except RestException:
        raise
    except (MlflowException, requests.RequestException, SQLAlchemyError) as error:
        if handle.uri.startswith("http"):
            raise ConnectionError(
                f"MLflow at {handle.uri} went away while {what} was logged ({hidden(str(error))}). Nothing is lost, "
                "all of it is in files: start the server and give the same command again; what was half logged is "
                "replaced."
            ) from None  # MLflow's error may hold a password
        raise ConnectionError(f"{what} was not logged. {_unusable(handle.uri, error)}") from None


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
    figures: "Mapping[str, Figure] | None" = None,
    note: str = RESEARCH_ONLY,
) -> str:
    """Log one finished experiment and return its run id.

    A run of the same name, configuration, data and parent that is there already is replaced, so that logging again
    adds nothing. See `begin_run` and `fill_run`.
    """
    run = begin_run(handle, name, config, tags)
    fill_run(handle, run, config, metrics, files, figures, note)
    return run.info.run_id


def begin_run(
    handle: Handle,
    name: str,
    config: Mapping,
    tags: Mapping[str, str],
    content: str = "",
    start: int | None = None,
) -> Run:
    """Return the run to fill: the finished one of the same content, or a new one in place of those of the same key.

    A run that is kept keeps its id, its folds and its model, so that nobody's link or ``models:/NAME/VERSION`` breaks.

    Parameters
    ----------
    handle : Handle
    name : str
        Readable, as shown in the UI.
    config : mapping
        Composed configuration.
    tags : mapping of str to str
        With `data_hash`.
    content : str, optional
        Hash of what was trained (`hash_files`); without it a run is never kept.
    start : int, optional
        When the job that made it began, in milliseconds since 1970.
    """
    client = handle.client()
    identity = {"name": name, "config": config, "data": tags.get("data_hash", "")}
    parent = tags.get("mlflow.parentRunId")
    key = config_hash(identity | ({"parent": parent} if parent else {}))
    earlier = find_runs(handle, key=key)
    kept = [run for run in earlier if content and run.data.tags.get("content") == content]
    kept = [run for run in kept if run.info.status == RunStatus.to_string(RunStatus.FINISHED)][:1]
    for run in earlier:
        if run not in kept:
            _retire(client, handle, run)
    for run in find_runs(handle, ViewType.DELETED_ONLY, key=key):  # in the interface, where its folds stay
        delete_below(handle, run.info.run_id)
    tags = {**tags, "key": key, "config_hash": config_hash(config), "content": content, "dysconnect": __version__}
    tags |= {"mlflow.source.name": "dysconnect", "mlflow.user": user()}
    tags = {tag: value for tag, value in tags.items() if value}
    if not kept:
        return client.create_run(handle.experiment_id, start_time=start, run_name=name, tags=tags)
    for tag, value in tags.items():
        client.set_tag(kept[0].info.run_id, tag, value)
    return client.get_run(kept[0].info.run_id)


def user() -> str:
    """Who logs, as the system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


def hash_files(paths: Iterable[str | Path]) -> str:
    """Hash names and contents of files."""
    hashes = [(Path(path).name, hashlib.sha256(Path(path).read_bytes()).hexdigest()) for path in paths]
    return hashlib.sha256(json.dumps(sorted(hashes)).encode()).hexdigest()


def fill_run(
    handle: Handle,
    run: Run,
    config: Mapping,
    metrics: Mapping[str, float],
    files: Sequence[str | Path],
    figures: "Mapping[str, Figure] | None" = None,
    note: str = RESEARCH_ONLY,
) -> None:
    """Log a run's data set, parameters, metrics, files and description.

    Parameters
    ----------
    handle : Handle
    run : Run
        Of `begin_run`.
    config : mapping
        Composed configuration; what trained the model becomes parameters, all of it ``config.yaml``.
    metrics : mapping of str to float
        NaN are left out, and what a kept run has already.
    files : sequence of path
        Logged as artifacts.
    figures : mapping of str to matplotlib Figure
        By file name.
    note : str
        Markdown.
    """
    client, run_id, tags = handle.client(), run.info.run_id, run.data.tags
    if "dataset" in tags and not run.inputs.dataset_inputs:
        _log_lineage(client, run_id, Dataset(tags["dataset"], tags["data_hash"][:32], "local", tags["dataset"]))
    params = parameters(config)
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=[Param(k, v) for k, v in params[start : start + 100]])
    client.log_batch(run_id, metrics=as_metrics(changed(run, metrics)))
    client.set_tag(run_id, "mlflow.note.content", note)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=True))
        client.log_artifact(run_id, str(Path(folder, "config.yaml")))
    for path in files:
        client.log_artifact(run_id, str(path))
    for file, figure in (figures or {}).items():
        client.log_figure(run_id, figure, file)


def changed(run: Run, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics that a run does not have yet with this value; logged twice, one number would become a curve."""
    return {name: value for name, value in metrics.items() if run.data.metrics.get(name) != value}


def _log_lineage(client: mlflow.MlflowClient, run_id: str, dataset: Dataset) -> None:
    """Note which data a run saw."""
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "connectomes")])]
    beside_others(lambda: client.log_inputs(run_id, inputs))


def beside_others(write: Callable[[], None]) -> None:
    """Write what other jobs may write at the same time.

    MLflow looks for a data set or a tag and then inserts it, so that of two jobs that write the same one at once the
    second fails; asked again, it finds it.
    """
    for attempt in range(8):
        try:
            return write()
        except MlflowException as error:
            if "unique" not in str(error).lower() or attempt == 7:
                raise
            time.sleep(0.1 * (attempt + 1))


def find_runs(handle: Handle, view: int = ViewType.ACTIVE_ONLY, **tags: str) -> list[Run]:
    """Runs of the experiment that have these tags; dots in a tag's name are written as double underscores.

    Of deleted ones with ``view=ViewType.DELETED_ONLY``.
    """
    wanted = " and ".join(f"tags.`{name.replace('__', '.')}` = '{value}'" for name, value in tags.items())
    runs, token = [], None
    while token != "":
        page = handle.client().search_runs([handle.experiment_id], wanted, view, max_results=1000, page_token=token)
        runs, token = [*runs, *page], page.token or ""
    return runs


def _retire(client: mlflow.MlflowClient, handle: Handle, run: Run) -> None:
    """Delete a run, the folds under it and the candidates under those; of an unfinished one the model too."""
    run_id = run.info.run_id
    if run.info.status != RunStatus.to_string(RunStatus.FINISHED):  # interrupted: nobody heard of its model
        for version in client.search_model_versions(f"run_id = '{run_id}'"):
            client.delete_model_version(version.name, version.version)
    delete_below(handle, run_id)
    client.delete_run(run_id)


def delete_below(handle: Handle, run_id: str) -> None:
    """Delete the folds under a run and the candidates under those."""
    for child in [*find_runs(handle, mlflow__parentRunId=run_id), *find_runs(handle, experiment_run=run_id)]:
        handle.client().delete_run(child.info.run_id)


def finish(handle: Handle, run_id: str, end: int | None = None) -> None:
    """Mark a run as finished, now or at `end`, in milliseconds since 1970."""
    handle.client().set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED), end)


def parameters(config: Mapping) -> list[tuple[str, str]]:
    """What made a result, as (dotted key, text), with the same names for every model so that they compare.

    All of the configuration is in ``config.yaml``; among its 160 keys nobody would find the learning rate.
    """
    kept = {key: value for key, value in config.items() if key not in ASIDE}
    kept |= {key: {"name": config[key]["name"]} for key in ("dataset", "atlas") if key in config}
    return flatten(kept)


def flatten(config: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Leaves of a nested configuration as (dotted key, text); MLflow allows few signs in a key."""
    rows = []
    for name, value in config.items():
        key = dotted(prefix, re.sub(r"[^\w\-. :/]", "_", str(name)))
        rows += flatten(value, key) if isinstance(value, Mapping) else [(key, str(value)[:6000])]
    return rows


def as_metrics(metrics: Mapping[str, float], step: int = 0, **of_a_model: str) -> list[Metric]:
    """Turn numbers into MLflow metrics, of a model where `model_id` and `run_id` are given; NaN are left out."""
    now, finite = int(time.time() * 1000), {name: value for name, value in metrics.items() if np.isfinite(value)}
    return [Metric(name, float(value), now, step, **of_a_model) for name, value in finite.items()]
