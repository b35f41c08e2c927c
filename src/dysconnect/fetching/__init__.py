"""Bytes from elsewhere into a data folder: every file verified, every interruption survived.

A file streams to NAME.part while it is hashed, and gets its name only when bytes and hash are right. What a kill
or a broken line leaves is taken up again where it ended. `Remote` says what should be here, `Transport` how to fetch
it, `Outcome` what came of it; nothing here knows about datasets.
"""

import errno
import math
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from dysconnect.fetching.client import Client, trust
from dysconnect.fetching.fetch import FULL, Fetch, Job, look_at
from dysconnect.fetching.ledger import Ledger
from dysconnect.fetching.part import Stopped
from dysconnect.fetching.remote import Outcome, Remote, Transport, check_list, redact, sources
from dysconnect.progress import Meter, amount

__all__ = ["Outcome", "Remote", "Transport", "check_room", "fetch_all", "plan", "redact"]

GOODBYE = 1.0  # seconds that the workers get to end after an interruption


def fetch_all(
    files: Sequence[Remote],
    folder: Path,
    transport: Transport,
    check: Callable[[Path], None] | None = None,
    what: str = "files",
) -> list[Outcome]:
    """Bring files into a folder.

    Parameters
    ----------
    files : sequence of Remote
    folder : path
        The data folder; nothing is ever written outside of it. Its ledger is ``downloads.tsv``.
    transport : Transport
    check : callable, optional
        Parses a finished file (still called NAME.part) and raises ValueError if it is not what it should be.
    what : str
        What is fetched, for the progress lines.

    Returns
    -------
    list of Outcome
        In the order of `files`. A file that fails, fails alone.

    Raises
    ------
    ValueError
        A path that leaves the folder, a source that is not https, a checksum that is none.
    OSError
        Not enough room, before or while downloading. Finished files stay, parts are resumed.
    """
    files, folder = list(files), Path(folder)
    check_list(files, folder, transport.mirror)
    there = plan(files, folder)
    check_room(_missing(there, folder), folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = int(there["bytes"].fillna(0).sum())
    with Meter(what, len(files), known) as meter:
        job = Job(folder.resolve(), transport, check, Ledger(folder), meter, threading.Event())
        crew = _Crew(files, job)
        try:
            return crew.work()
        except OSError as problem:
            if problem.errno in FULL:
                raise _full(problem, _missing(plan(files, folder), folder), folder) from problem
            raise


class _Crew:
    """Worker threads, each with its connections, and the list of files that they share."""

    def __init__(self, files: list[Remote], job: Job):
        self.job = job
        secure = any(url.startswith("https:") for remote in files for url in sources(remote, job.transport.mirror))
        self._tls = trust() if secure else None
        self._outcomes: list[Outcome | None] = [None] * len(files)
        self._todo: queue.SimpleQueue = queue.SimpleQueue()
        for task in enumerate(files):
            self._todo.put(task)
        self._left = len(files)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        number = min(job.transport.connections, len(files))
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(number)]

    def work(self) -> list[Outcome]:
        """Run until all files have an outcome, or one worker meets something that concerns all."""
        for thread in self._threads:
            thread.start()
        try:
            while self._left and not self._over.wait(0.25):
                self.job.meter.show()
        finally:
            self.job.stop.set()
            deadline = time.monotonic() + GOODBYE
            for thread in self._threads:
                thread.join(max(deadline - time.monotonic(), 0))
            self.job.ledger.close()
            _sync_folders(self.job.folder, [outcome for outcome in self._outcomes if outcome is not None])
        if self._failure is not None:
            raise self._failure
        return self._outcomes

    def _serve(self) -> None:
        client = Client(self.job.transport, self._tls)
        try:
            while not self.job.stop.is_set():
                place, remote = self._todo.get_nowait()
                self._done(place, Fetch(self.job, client, remote).run())
        except (queue.Empty, Stopped):
            pass  # nothing left to do
        except BaseException as problem:  # raised again where the caller sees it
            self._failure = self._failure or problem
            self._over.set()
        finally:
            client.close()

    def _done(self, place: int, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[place] = outcome
            self._left -= 1
            self.job.meter.finished(outcome.state)
            if not self._left:
                self._over.set()


def _sync_folders(root: Path, outcomes: list[Outcome]) -> None:
    """Bring the new names to the disk: every folder once rather than after every file."""
    fetched = [root / outcome.path for outcome in outcomes if outcome.state == "fetched"]
    for folder in {parent for path in fetched for parent in path.parents if parent.is_relative_to(root)}:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(file)
        except OSError as problem:
            if problem.errno != errno.EINVAL:  # some network file systems keep no folders to sync
                raise
        finally:
            os.close(file)


def plan(files: Sequence[Remote], folder: Path) -> pd.DataFrame:
    """Say what is there and what would be fetched, without hashing or asking anybody.

    Returns
    -------
    DataFrame
        `path`, `bytes` (missing where not published and never seen), `state`: ``there``, ``part`` or ``missing``.
    """
    folder = Path(folder)
    ledger = Ledger(folder)
    rows = [_planned(remote, folder, ledger) for remote in files]
    table = pd.DataFrame(rows, columns=["path", "bytes", "state"])
    return table.astype({"path": object, "bytes": "Int64", "state": object})


def _planned(remote: Remote, folder: Path, ledger: Ledger) -> tuple[str, int | None, str]:
    target, record = f"{folder}/{remote.path}", ledger.get(remote.path)
    size = remote.bytes if remote.bytes is not None or record is None else record.bytes
    look = look_at(target)
    if look is not None and size in (None, look.st_size):
        untouched = record is not None and record.describes(look)
        if record.fulfils(remote) if untouched else remote.hash or record:
            return remote.path, size, "there"
    return remote.path, size, "part" if _part_size(target) else "missing"


def _part_size(target: str) -> int:
    part = look_at(f"{target}.part")
    return 0 if part is None else part.st_size


def _missing(table: pd.DataFrame, folder: Path) -> int:
    """Bytes still to come, as far as sizes are known."""
    absent = table[table["state"] != "there"]
    begun = sum(_part_size(f"{folder}/{path}") for path in absent["path"])
    return max(int(absent["bytes"].fillna(0).sum()) - begun, 0)


def check_room(needed: int, folder: Path) -> None:
    """Stop before the first byte if the disk cannot hold what is needed.

    Parameters
    ----------
    needed : int
        Bytes.
    folder : path
        Need not exist yet.

    Raises
    ------
    OSError
        Says what is needed, what is free and what to do.
    """
    free = _free(folder)
    if needed > free:
        raise OSError(errno.ENOSPC, _advice(needed, free, folder))


def _free(folder: Path) -> int:
    place = Path(folder).absolute()
    return shutil.disk_usage(next(parent for parent in (place, *place.parents) if parent.exists())).free


def _advice(needed: int, free: int, folder: Path) -> str:
    return (
        f"{folder}: {amount(needed)} are needed and {amount(free)} are free. Free at least "
        f"{amount(math.ceil(max(needed - free, 0)))}, or choose another data folder, or fewer participants"
    )


def _full(problem: OSError, needed: int, folder: Path) -> OSError:
    advice = f"the disk is full. {_advice(needed, _free(folder), folder)}; then run again: finished files stay, "
    return OSError(problem.errno, f"{problem.strerror}: {advice}parts are resumed")


def transport_of(fetching: dict, name: str) -> Transport:
    """How to fetch, from the `acquire` section; a mirror holds what `acquire.folder` would: one folder a `name`."""
    keys = ("connections", "attempts", "timeout", "backoff")
    mirror = f"{fetching['mirror'].rstrip('/')}/{name}" if fetching["mirror"] else None
    return Transport(**{key: fetching[key] for key in keys}, mirror=mirror)


def fetch_or_stop(files: list[dict], folder: Path, fetching: dict) -> None:
    """Fetch files without which nothing can go on.

    Parameters
    ----------
    files : list of dict
        `path`, `urls`, `bytes`, `hash`.
    folder : path
    fetching : dict
        The `acquire` section.

    Raises
    ------
    OSError
        Names the file, and what every source answered.
    """
    remotes = [Remote(file["path"], tuple(file["urls"]), file["bytes"], file["hash"]) for file in files]
    for outcome in fetch_all(remotes, folder, transport_of(fetching, folder.name), what=folder.name):
        if outcome.state == "failed":
            raise OSError(f"{outcome.path} could not be fetched: {outcome.problem}. Run the same command again.")
