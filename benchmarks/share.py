"""Sums of many people: time and memory of adding up 1,000 to 100,000, in batches and at once.

python benchmarks/share.py [--people 1000 10000 100000] [--regions 200] [--batches 10]
People are made while they are read, so that nothing but the sums has a size. Each size runs in a process of its own:
CPU seconds without those of making people, peak memory, and that of the plain way (all people in one matrix, `lstsq`)
where it fits. The sums of batches, joined, are compared with those made at once.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.share.columns import Design, share_design
from dysconnect.share.release import Circuits, gathered, released

PLAIN = 20_000  # people, up to which the plain way fits here


class People:
    """Connections [n, E] that are made when rows are asked for; the same rows are the same again."""

    def __init__(self, n: int, n_edges: int):
        self.shape, self.dtype, self.seconds = (n, n_edges), np.dtype(np.float32), 0.0
        self.pool = np.random.default_rng(0).normal(0.3, 0.2, (257, n_edges)).astype(np.float32)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        start = time.process_time()
        rows = np.arange(self.shape[0])[rows]
        made = self.pool[rows % 257] + (rows % 1009 / 1009).astype(np.float32)[:, None]
        self.seconds += time.process_time() - start
        return made

    def __len__(self) -> int:
        return self.shape[0]


def cohort_of(n: int, regions: int) -> tuple[Cohort, Design]:
    """A cohort of n people with age, sex and motion."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({
        "participant_id": np.arange(n).astype(str), "label": np.arange(n) % 2, "age": rng.normal(50, 10, n),
        "sex": rng.choice(["F", "M"], n), "mean_fd": rng.gamma(4, 0.05, n), "site": "one",
    })  # fmt: skip
    values = People(n, regions * (regions - 1) // 2)
    names = np.array([f"region {k}" for k in range(regions)])
    cohort = Cohort(table, values, np.zeros((n, regions), bool), names, "correlation")
    return cohort, share_design(table, ["age", "sex", "mean_fd"], {"age": 45, "mean_fd": 0.2}, "one")


def one(n: int, regions: int, batches: int) -> dict:
    """Add n people up; what it took."""
    cohort, design = cohort_of(n, regions)
    circuits, rows = Circuits([], []), np.arange(n)
    before = time.process_time()
    ends = [n * k // batches for k in range(batches + 1)]
    parts = [gathered(cohort, design, rows, circuits, slice(a, b)) for a, b in itertools.pairwise(ends)]
    sums = released(parts, design, circuits, 0.1, np.ones(cohort.values.shape[1], bool)).everybody
    took = time.process_time() - before - cohort.values.seconds
    return {
        "people": n, "batches": batches, "cpu_seconds": round(took, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "check": float(np.abs(sums.xy).sum()),
    }  # fmt: skip


def plain(n: int, regions: int) -> dict:
    """The same by least squares over one matrix of everybody."""
    cohort, design = cohort_of(n, regions)
    values = cohort.values[:].astype(float)
    before = time.process_time()
    np.linalg.lstsq(design.values, values, rcond=None)
    took = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"people": n, "what": "lstsq over everybody", "cpu_seconds": round(took, 2), "peak_mb": peak}


def main() -> None:
    """Run every size in a process of its own."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--people", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    asked.add_argument("--regions", type=int, default=200)
    asked.add_argument("--batches", type=int, default=10)
    asked.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.one:
        kind, n, batches = given.one
        print(json.dumps(plain(int(n), given.regions) if kind == "plain" else one(int(n), given.regions, int(batches))))
        return
    for n in given.people:
        runs = [("sums", n, 1), ("sums", n, given.batches)] + ([("plain", n, 1)] if n <= PLAIN else [])
        for run in runs:
            words = [sys.executable, __file__, "--regions", str(given.regions), "--one", *map(str, run)]
            print(subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
