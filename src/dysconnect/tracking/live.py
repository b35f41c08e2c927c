"""Learning curves in MLflow while networks train.

`dysconnect.train.live` starts `main` as a process of its own and writes to it, line by line, what networks learn. Here
it becomes a run tagged ``live`` with a run a network under it. They are a preview: training leaves files, and logging
these removes the preview (`supersede`). If the lines stop without a word, the training was killed, and so are the runs.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread, Timer

from mlflow.entities import Metric

from dysconnect.keeping.address import hidden, shown, with_password
from dysconnect.tracking.nested import PLACE, name_fold
from dysconnect.tracking.runs import Handle, as_metrics, delete_below, find_runs, open_tracking, user

PAUSE = 2.0  # seconds between two times that curves are sent
LAST = 15.0  # seconds after which the process ends, whatever a server does
CURVES = ("train_loss", "val_loss", "val_auc")
QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
NOTE = "In training: learning curves as they come. The finished experiment replaces this run."


class Board:
    """The runs of an experiment in training.

    Parameters
    ----------
    about : mapping
        `uri` and `tracking` (the experiment in MLflow), `dataset`, `experiment`, `model`, and `candidates`, as many as
        are tried for every network.
    """

    def __init__(self, about: Mapping):
        self.about, self.status = about, "KILLED"  # unless something else is said
        self.handle: Handle | None = None
        self.runs: dict[str, str] = {}
        self.waiting: dict[str, list[Metric]] = {}
        self.tags: dict[str, dict] = {}

    def take(self, line: str) -> None:
        """Take one line: curves, or how training ended."""
        message = json.loads(line)
        if "end" in message:
            self.status = message["end"]
            return
        each = max(message["jobs"] // message["networks"], 1)
        for k, training in enumerate(range(message["first"], message["first"] + len(message["curves"][0]))):
            network, number = divmod(training, each)
            name, tags = self._named(message["place"], network)
            self.tags[name] = tags
            waiting = self.waiting.setdefault(name, [])
            for epoch, row in enumerate(message["curves"], message["epoch"]):
                prefix = self._prefix(number, each)
                waiting += as_metrics({prefix + curve: value for curve, value in zip(CURVES, row[k])}, epoch)

    def _named(self, place: Mapping, network: int) -> tuple[str, dict[str, str]]:
        """Name and tags of a network's run."""
        if not place:
            return f"{self.about['experiment']}, all people", {}
        return name_fold(self.about["experiment"], tuple((place | {"seed": network})[name] for name in PLACE))

    def _prefix(self, number: int, each: int) -> str:
        """What stands before the names of curves, where a network is trained several times."""
        inner = max(each // self.about["candidates"], 1)
        words = [f"candidate {number // inner + 1}"] if each > inner else []
        words += [f"inner fold {number % inner + 1}"] if inner > 1 else []
        return " ".join(words) + "/" if words else ""

    def send(self) -> None:
        """Log what is waiting; what fails waits on."""
        if self.handle is None:
            self._begin()
        client = self.handle.client()
        for name, metrics in self.waiting.items():
            if name not in self.runs:
                tags = {**self.tags[name], "kind": "live fold", "mlflow.parentRunId": self.runs[""]}
                self.runs[name] = self._create(name, tags)
            while metrics:
                client.log_batch(self.runs[name], metrics=metrics[:1000])
                del metrics[:1000]

    def finish(self) -> None:
        """Give all runs the status with which training ended."""
        for run_id in reversed(self.runs.values()):  # the one above them last
            self.handle.client().set_terminated(run_id, self.status)

    def _begin(self) -> None:
        handle = open_tracking(with_password(self.about["uri"]), self.about["tracking"])
        supersede(handle, self.about["dataset"], self.about["experiment"])
        self.handle = handle
        tags = {"kind": "live", "mlflow.note.content": NOTE}
        self.runs[""] = self._create(f"{self.about['dataset']} · {self.about['experiment']} · live", tags)

    def _create(self, name: str, tags: Mapping[str, str]) -> str:
        known = {key: self.about[key] for key in ("dataset", "experiment", "model")}
        known |= {"live": "true", "project": project(), "mlflow.source.name": "dysconnect", "mlflow.user": user()}
        client = self.handle.client()
        return client.create_run(self.handle.experiment_id, run_name=name, tags={**known, **tags}).info.run_id


def project() -> str:
    """A word for this project on a server that others use too."""
    return hashlib.sha256(f"{user()} {Path.cwd()}".encode()).hexdigest()[:16]


def supersede(handle: Handle, dataset: str, experiment: str) -> int:
    """Delete what this project showed of an experiment in training; returns how many runs that were."""
    runs = find_runs(handle, kind="live", dataset=dataset, experiment=experiment, project=project())
    for run in runs:
        delete_below(handle, run.info.run_id)
        handle.client().delete_run(run.info.run_id)
    return len(runs)


def relay(lines: Iterable[str], board: Board, say=print) -> None:
    """Show lines as they come, every few seconds, until they end; the first thing that goes wrong is said."""
    incoming: SimpleQueue = SimpleQueue()
    Thread(target=_read, args=(lines, incoming), daemon=True).start()
    over = said = False
    while not over:
        over = _gather(incoming, board)
        try:
            board.send()
            if over:
                board.finish()
        except Exception as error:  # nobody waits for this process, and nothing depends on it
            if not said:
                reason = hidden(str(error)).splitlines()[0][:300] if str(error) else type(error).__name__
                say(f"learning curves are not in MLflow at {shown(board.about['uri'])} yet, training goes on: {reason}")
            said = True


def _read(lines: Iterable[str], incoming: SimpleQueue) -> None:
    """Read all that is written, so that the writer never waits; after the end there is not much time."""
    for line in lines:
        incoming.put(line)
    incoming.put(None)
    timer = Timer(LAST, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _gather(incoming: SimpleQueue, board: Board) -> bool:
    """Give the board what comes in the next seconds; whether that was all."""
    until = time.monotonic() + PAUSE
    while (left := until - time.monotonic()) > 0:
        try:
            line = incoming.get(timeout=left)
        except Empty:
            return False
        if line is None:
            return True
        board.take(line)
    return False


def main() -> None:
    """Read where curves go, then curves, from standard input; what goes wrong is told on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # training ends by it, and then this
    os.environ.update(QUICK)
    out, sys.stdout = sys.stdout, sys.stderr  # which MLflow may write to
    about = json.loads(sys.stdin.readline())
    relay(sys.stdin, Board(about), lambda text: print(text, file=out, flush=True))
