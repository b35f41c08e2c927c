"""Null cohorts of the measures over time: how often anything is called, with groups alike and with groups apart.

python benchmarks/timed.py FILE [--measures task,task_change,lagged,variability] [--seeds 0-199]
python benchmarks/timed.py FILE --table
Cohorts of 26 + 26 simulated people without a difference in any connection, of ten regions of the motor loops: `plain`;
or `motion`, where patients move 1.6 times as much, and by as much more while they tap. In task cohorts they respond
less as well, as the simulated cohort always has it. FILE gets a line of JSON a cohort, and a count goes on where it
stopped. The table has the share of cohorts with a call at a family-wise 0.05 and the share of connections with
p <= 0.05, with Wilson's limits (normal ones for the latter), and the band for all cells jointly.
"""

import argparse
import contextlib
import json
import os
import time
from functools import cache, lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom, binomtest
from shared import lines_of
from threadpoolctl import threadpool_limits
from verdicts import ROOT, cohort_of, numbers, prepare

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.localize import localize
from dysconnect.plan.run import Run, plan_run
from dysconnect.planted.simulated import simulate_dataset

MEASURES = "task,task_change,lagged,variability"
MOTION = {"plain": 1.0, "motion": 1.6}
SET = (
    "dataset.patients=26 dataset.controls=26 dataset.defects={short:0,corrupted:0,dead_regions:0,missing:0} "
    "dataset.plant.effect=0 dataset.plant.edges=6 localize.permutations=199 localize.stability_draws=2 "
    "denoise.max_mean_fd=1"
)
ALPHA = 0.05


@cache
def planned(measure: str, motion: str) -> Run:
    """The run of a cell."""
    chosen = {"dataset": "simulated", "connectivity": measure, "atlas": "motor10", "experiment": "floor"}
    return plan_run(ROOT, chosen | {"overrides": f"{SET} dataset.motion_ratio={MOTION[motion]}"})


@lru_cache(maxsize=1)
def prepared(measure: str, motion: str, seed: int) -> tuple[pd.DataFrame, dict]:
    """One cohort's people and denoised series; task and its change are of the same."""
    run = planned(measure, motion)
    dataset, nodes = run.cohort["dataset"], load_atlas(run.cohort["atlas"]["nodes"])
    dataset |= {"seed": seed, "plant": dataset["plant"] | {"seed": seed}}
    return prepare(simulate_dataset(dataset, nodes), run, nodes)


def count(measure: str, motion: str, seed: int) -> dict:
    """What is called in one cohort."""
    run = planned(measure, motion)
    nodes, spec = load_atlas(run.cohort["atlas"]["nodes"]), run.cohort["localize"] | {"seed": seed}
    people, series = prepared(measure.removesuffix("_change"), motion, seed)
    cohort = cohort_of(measure, people, series, run, nodes)
    found = localize(cohort, edge_circuits(nodes, cohort.directed), spec, nodes)
    shares = {name: float((found.edges[name] <= ALPHA).mean()) for name in ("p", "p_beside")}
    called = {"called": bool((found.edges["p_fwer"] <= ALPHA).any()), "any": bool(found.summary["p_any"] <= ALPHA)}
    return {"n": len(cohort.labels)} | called | {"share": shares["p"], "share_beside": shares["p_beside"]}


def table(lines: list[dict]) -> pd.DataFrame:
    """A row a cell; `inside`: no more cohorts with a call than 0.05 makes likely, for all cells jointly."""
    rows, cells = [], pd.DataFrame(lines).groupby(["measure", "motion"], sort=False)
    for (measure, motion), cell in cells:
        n, row = len(cell), {"measure": measure, "motion": motion, "cohorts": len(cell)}
        for name in ("called", "any"):
            hits = int(cell[name].sum())
            limits = binomtest(hits, n).proportion_ci(method="wilson")
            row[name] = f"{hits} ({hits / n:.3f} [{limits.low:.3f}, {limits.high:.3f}])"
        most = binom.ppf(1 - ALPHA / 2 / len(cells), n, ALPHA)
        row["inside"] = bool(cell["called"].sum() <= most)
        for name in ("share", "share_beside"):
            row[name] = f"{cell[name].mean():.3f} +- {1.96 * cell[name].std() / np.sqrt(n):.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Count, or print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--measures", default=MEASURES)
    parser.add_argument("--seeds", type=numbers, default=numbers("0-199"))
    parser.add_argument("--table", action="store_true", help="print what the file has")
    asked = parser.parse_args()
    done = {(line["measure"], line["motion"], line["seed"]) for line in lines_of(asked.file)}
    cells = product(asked.seeds, MOTION, asked.measures.split(","))
    for seed, motion, measure in () if asked.table else cells:
        if (measure, motion, seed) in done:
            continue
        start = time.process_time()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), threadpool_limits(1):
            says = count(measure, motion, seed)
        line = {"measure": measure, "motion": motion, "seed": seed} | says
        with asked.file.open("a") as file:
            file.write(json.dumps(line | {"seconds": round(time.process_time() - start, 1)}) + "\n")
    print(table(lines_of(asked.file)).to_string(index=False))


if __name__ == "__main__":
    main()
