"""Null cohorts of every kind, and what every method calls in one: a kind is a row of `SOURCES`.

A cohort is made of its seed alone, so that its calls are the same on any machine and in any order.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nulls.matrices import matrices
from nulls.measures import measure, tasks
from nulls.people import abide, simulated
from nulls.questions import questions
from nulls.scenarios import PERMUTATIONS, Calls


class Source(NamedTuple):
    """A kind of null cohorts: in words, what makes the function of a seed, and which methods need not see motion.

    `make` takes the folder of the data and that of benchmarks/abide.py; `spared` are methods and why they are.
    """

    about: str
    make: Callable[[Path, Path], Callable[[int], Calls]]
    spared: Mapping[str, str] = {}


BY = f"{PERMUTATIONS} permutations"
SOURCES = {
    "simulated": Source(f"50 + 50 simulated people of two sites, 60 regions, {BY}", partial(simulated, False)),
    "abide": Source(f"50 + 50 controls of ABIDE, 100 regions, {BY}", partial(abide, [])),
    "abide_log": Source(
        f"50 + 50 controls of ABIDE, 100 regions, {BY}, log_mean_fd in the model too", partial(abide, ["log_mean_fd"])
    ),
    "one_site": Source(f"50 + 50 simulated people of one site, 60 regions, {BY}", partial(simulated, True)),
    "matrices": Source(f"50 + 50 simulated people, FA and counts of streamlines, 30 regions, {BY}", matrices),
    "questions": Source(
        f"50 + 50 simulated people of two sites, 60 regions, {BY}",
        questions,
        {
            "circuits beside like edges": "motion moves a circuit no more than other connections as strong and as long",
            "picked in one half, tested in the other": "it must find the same in two halves, and calls far less than "
            "5 % wherever nothing differs",
        },
    ),
    "task": Source(f"26 + 26 simulated people who tap, 10 regions, {BY}", tasks),
    "lagged": Source(f"26 + 26 simulated people, 10 regions, {BY}", partial(measure, "lagged")),
    "variability": Source(f"26 + 26 simulated people, 10 regions, {BY}", partial(measure, "variability")),
}
