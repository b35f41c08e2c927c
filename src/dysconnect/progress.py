"""Progress of long loops: a live bar at a terminal, one line a minute in a log."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
except ImportError:  # a bare GPU machine: lines instead of a bar
    Console = None

Item = TypeVar("Item")


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how many are done and how long the rest will take.

    Parameters
    ----------
    items : iterable
    what : str
        What is being done, in a few words.
    total : int, optional
        Number of items, where `items` has no length.
    """
    if total is None:
        items = list(items)
        total = len(items)
    live = Console is not None and sys.stderr.isatty()
    start = time.monotonic()
    yield from _bar(items, what, total) if live else _lines(items, what, total, start)
    print(f"{what}: {total} done in {time.monotonic() - start:.1f} s", flush=True)


class Ticks(Iterator):
    """Steps of a training, handed down to whoever takes them; those who train tell their curves, if anyone listens.

    Attributes
    ----------
    hear : callable or None
        Told ``(first, jobs, epoch, curves)``: the number of the first of some trainings among all `jobs` of a call, the
        first of some epochs, and the curves [epochs, K, 3].
    """

    def __init__(self, steps: Iterator):
        self.steps, self.hear = steps, None

    def __next__(self):
        return next(self.steps)


def _bar(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)


def _lines(items: Iterable[Item], what: str, total: int, start: float) -> Iterator[Item]:
    said = start
    for done, item in enumerate(items):
        now = time.monotonic()
        if now - said > 60 and done:
            left = (now - start) / done * (total - done)
            print(f"{what}: {done} of {total}, about {left:.0f} s left", flush=True)
            said = now
        yield item


def say(text: str, aloud: bool = True) -> None:
    """Write a text that says something to the log and, if `aloud`, to the user's terminal too."""
    if text:
        print(text)
    if text and aloud:
        print(text, file=sys.__stderr__, flush=True)


def amount(number: float) -> str:
    """Bytes in words: 1234567 is ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            break
        number, unit = number / 1000, "TB"
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"


class Meter:
    """Progress of a download; use as a context. Workers count, one thread calls `show` now and then.

    Parameters
    ----------
    what : str
        What is being fetched, in a few words.
    files : int
    total : int
        Bytes, as far as they are known before.
    """

    SAY = 15.0  # seconds between two lines in a log; also what the rate is averaged over

    def __init__(self, what: str, files: int, total: int):
        self.what, self.files, self.total = what, files, total
        self._here = self._came = 0
        self._states = {"fetched": 0, "there": 0, "failed": 0}
        self._lock = threading.Lock()
        self._bar = None

    def __enter__(self) -> "Meter":
        self._start = self._said = time.monotonic()
        self._samples = deque([(self._start, 0)])
        if Console is not None and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.what, total=self.total, words="")
            self._bar.start()
        return self

    def add(self, number: int, fresh: bool) -> None:
        """Count bytes that are here now; `fresh` if they came just now, negative if they were thrown away."""
        with self._lock:
            self._here += number
            self._came += number if fresh else 0

    def finished(self, state: str) -> None:
        """Count a file."""
        with self._lock:
            self._states[state] += 1

    def show(self) -> None:
        """Refresh the bar, or print a line if the last one is old."""
        now = time.monotonic()
        self._samples.append((now, self._came))
        while self._samples[0][0] < now - self.SAY:
            self._samples.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._here, total=max(self.total, self._here), words=self._words())
        elif now - self._said >= self.SAY:
            print(f"{self.what}: {self._words()}", flush=True)
            self._said = now

    def _words(self) -> str:
        (start, before), (now, came) = self._samples[0], self._samples[-1]
        rate = (came - before) / (now - start) if now > start else 0.0
        left = f"about {(max(self.total - self._here, 0)) / rate:.0f} s left" if rate else "waiting"
        files = f"{sum(self._states.values())} of {self.files} files"
        return f"{amount(self._here)} of {amount(max(self.total, self._here))}, {amount(rate)}/s, {left}; {files}"

    def __exit__(self, *problem) -> None:
        if self._bar is not None:
            self._bar.stop()
        seconds = time.monotonic() - self._start
        states = ", ".join(f"{number} {state}" for state, number in self._states.items())
        rate = f"{amount(self._came)} in {seconds:.1f} s, {amount(self._came / max(seconds, 1e-9))}/s"
        print(f"{self.what}: {states} of {self.files}; {rate}", flush=True)
