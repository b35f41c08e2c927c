"""Progress of long loops: a live bar at a terminal, one line a minute in a log."""

import sys
import time
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
