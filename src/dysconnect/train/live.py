"""Learning curves on their way to MLflow while networks train.

Training only ever puts numbers into a queue. A thread writes them to another process (`dysconnect.tracking.live`) that
talks to MLflow, and of which nothing is awaited but, for a few seconds, its end: a server that is slow, down or wrong
can neither stop a training nor change it. Whatever ends the training ends the pipe, so that the process knows.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from queue import Full, Queue
from threading import Thread

import numpy as np

from dysconnect.keeping.code import LIBRARY

WAITING = 10_000  # pieces of curves that the queue holds; more are not shown
LAST_WAIT = 5.0  # seconds for what is under way when training ends
SHOW = "from dysconnect.tracking.live import main; main()"


class Live:
    """Takes learning curves and passes them on.

    Parameters
    ----------
    about : mapping
        Where and as what they are shown (`Run.live` of the plan); the first line that the other process reads.
    """

    def __init__(self, about: Mapping):
        paths = os.pathsep.join(filter(None, (str(LIBRARY.parent), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-c", SHOW],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # Ctrl-C is for the training; its end is enough
        )
        self._queue: Queue = Queue(WAITING)
        self._queue.put(about)
        for work in (self._write, self._say):
            Thread(target=work, daemon=True).start()

    def hear(self, place: Mapping, networks: int, first: int, jobs: int, epoch: int, curves: np.ndarray) -> None:
        """Take some epochs of some trainings.

        Parameters
        ----------
        place : mapping
            `repeat` and `fold`; nothing of the networks that learn from everybody.
        networks : int
            How many there are, a seed each; `jobs` trainings are in their order, as many for each.
        first : int
            Number of the first training among them.
        jobs : int
        epoch : int
            The first of the epochs.
        curves : array, [epochs, K, 3]
            Training loss, and loss and AUC of those who are watched, of K trainings.
        """
        with suppress(Full):
            self._queue.put_nowait({"place": place, "networks": networks, "first": first, "jobs": jobs}
                                   | {"epoch": epoch, "curves": curves})  # fmt: skip

    def close(self, status: str) -> None:
        """Say how training ended (an MLflow status), and wait until that is shown, but not for long."""
        until = time.monotonic() + LAST_WAIT
        with suppress(Full):
            self._queue.put({"end": status}, timeout=LAST_WAIT)
        try:
            self._process.wait(max(until - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            self._process.kill()
            print(
                f"MLflow is slow: learning curves did not arrive in {LAST_WAIT:g} s; they are logged with the results"
            )

    def _write(self) -> None:
        with suppress(OSError, ValueError), self._process.stdin as pipe:  # the other process has ended
            while True:
                message = self._queue.get()
                pipe.write(json.dumps(message, default=np.ndarray.tolist) + "\n")
                pipe.flush()
                if "end" in message:
                    return

    def _say(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                print(line, end="", flush=True)


@contextmanager
def show_live(about: Mapping | None) -> Iterator[Live | None]:
    """Around a training: its curves are shown in MLflow, unless `about` is None (``tracking.live=false``)."""
    try:
        live = None if about is None else Live(about)
    except OSError as error:
        print(f"learning curves are not shown in MLflow while networks train: {error}", flush=True)
        live = None
    status = "FAILED"
    try:
        yield live
        status = "FINISHED"
    finally:
        if live is not None:
            live.close(status)
