"""Virtual stimulation on cohorts with a known answer: hubs that are found, and cohorts without any that stay silent.

python benchmarks/stimulate.py [--hubs 50] [--nulls 200] [--permutations 199]
Edge-level cohorts of 100 people at two sites, 80 regions, 4 covariates. Edges share variance through their nodes, as
real ones do. A hub is a region of whose edges one in three, or one in eight, moves by d spreads in the patients. Writes
benchmarks/results/stimulate.json.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kstest

from dysconnect.stimulate import beats_null, rank_targets
from dysconnect.train import cross_validate, permutation_null
from dysconnect.train.estimators import Cohort
from dysconnect.train.splits import make_splits

OUT = Path(__file__).parent / "results"
SUBJECTS, NODES, HUB = 100, 80, 7
SECTIONS = {
    "model": {"name": "ridge", "penalties": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]},
    "measure": "correlation", "graph": {}, "training": {"permutations": 199, "seed": 0},
}  # fmt: skip


def atlas() -> pd.DataFrame:
    """Regions without a place in any circuit."""
    table = pd.DataFrame({"node": np.arange(NODES), "name": [f"region {k}" for k in range(NODES)]})
    return table.assign(hemisphere="L", x=0.0, y=0.0, z=0.0, system="cortex", network="unassigned")


def cohort(effect: float, share: int, seed: int) -> Cohort:
    """People whose edges are half their own, half their nodes'; one in `share` of the hub's moves by `effect`."""
    rng = np.random.default_rng([seed, 3])
    rows, cols = np.triu_indices(NODES, 1)
    label = np.arange(SUBJECTS) % 2
    own, node = rng.standard_normal((SUBJECTS, len(rows))), rng.standard_normal((SUBJECTS, NODES))
    values = np.sqrt(0.5) * own + 0.5 * (node[:, rows] + node[:, cols])
    site = rng.permutation(np.repeat([0, 1], SUBJECTS // 2))
    values += 0.3 * site[:, None] * rng.standard_normal(len(rows))
    touching = np.flatnonzero((rows == HUB) | (cols == HUB))
    moved = rng.choice(touching, len(touching) // share, replace=False)
    values[:, moved] -= effect * label[:, None]
    people = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(SUBJECTS)], "label": label})
    people = people.assign(site=np.where(site, "A", "B"), age=rng.normal(50, 10, SUBJECTS))
    people = people.assign(mean_fd=rng.lognormal(-2, 0.3, SUBJECTS), sex=rng.choice(["F", "M"], SUBJECTS))
    names = np.array([f"region {k}" for k in range(NODES)])
    values = 0.3 + 0.2 * values
    return Cohort(people, values.astype(np.float32), np.zeros((SUBJECTS, NODES), bool), names, "correlation")


def ranked(effect: float, share: int, seed: int, permutations: int) -> tuple[pd.DataFrame, bool]:
    """Targets of a cohort, and whether its model beats chance."""
    own = cohort(effect, share, seed)
    splits = make_splits(own.participants, 5, 2, seed)
    trained = cross_validate(own, splits, "ridge", SECTIONS)
    shown, _ = beats_null(permutation_null(own, splits, SECTIONS, trained.first_repeat), "ridge", 0.05)
    spec = {"covariates": ["age", "sex", "site", "mean_fd"], "permutations": permutations, "matched": 30, "draws": 99}
    found = rank_targets(own, splits, SECTIONS, atlas(), {**spec, "goal": "controls", "seed": seed})
    return found.targets, shown


def hubs(asked: argparse.Namespace) -> list[dict]:
    """How often the hub is first, by effect."""
    rows = []
    for share, effect in product(asked.shares, asked.effects):
        found = []
        for seed in range(asked.hubs):
            targets, shown = ranked(effect, share, seed, asked.permutations)
            own = targets.set_index("target").loc[f"region {HUB}"]
            others = targets[targets["target"] != f"region {HUB}"]
            found.append(
                {"first": own["rank"] == 1, "first by shift": own["shift"] == targets["shift"].min(), "shown": shown,
                 "p <= 0.05": own["p"] <= 0.05, "p_fwer <= 0.05": own["p_fwer"] <= 0.05, "score": own["score"],
                 "matched z": own["matched_z"], "matched first": own["matched_z"] == targets["matched_z"].min(),
                 "others p_fwer <= 0.05": (others["p_fwer"] <= 0.05).any(), "top10": own["top10"]}
            )  # fmt: skip
        means = {key: round(float(value), 3) for key, value in pd.DataFrame(found).mean().items()}
        rows.append({"what": f"hub, 1 of {share} edges, d = {effect}", "cohorts": asked.hubs, **means})
    return rows


def nulls(asked: argparse.Namespace) -> list[dict]:
    """Whether p is uniform where there is nothing: one region of every cohort, and the family-wise p."""
    p, first, silent, scores, rates = [], [], [], [], []
    for seed in range(asked.nulls):
        targets, shown = ranked(0.0, 3, 1000 + seed, asked.permutations)
        own = targets.set_index("target").loc[f"region {HUB}"]
        p.append((own["p"], own["matched_p"]))
        first.append(targets["p_fwer"].min())
        silent.append(not shown)
        scores.append(targets["shift"].mean() / targets["shift"].std())
        rates.append((targets["p"] <= 0.05).mean())
    p = np.array(p)
    return [
        {"what": "null cohorts", "cohorts": asked.nulls, "KS p of p": kstest(p[:, 0], "uniform").pvalue,
         "p <= 0.05": (p[:, 0] <= 0.05).mean(), "p <= 0.05, all regions": np.mean(rates),
         "family-wise error": (np.array(first) <= 0.05).mean(),
         "KS p of smallest p_fwer": kstest(first, "uniform").pvalue, "matched_p <= 0.05": (p[:, 1] <= 0.05).mean(),
         "KS p of matched_p": kstest(p[:, 1], "uniform").pvalue, "no ranking shown": np.mean(silent),
         "mean shift / spread over regions": np.mean(scores)}
    ]  # fmt: skip


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hubs", type=int, default=50)
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--effects", type=float, nargs="*", default=[0.5, 0.8, 1.0])
    parser.add_argument("--shares", type=int, nargs="*", default=[3, 8])
    asked = parser.parse_args()
    common = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "n": SUBJECTS, "nodes": NODES}
    common |= {"permutations": asked.permutations, "versions": {"numpy": version("numpy")}}
    start, rows = time.process_time(), []
    for part in (hubs, nulls):
        rows += part(asked)
        print(json.dumps(rows[-6:], indent=1, default=float), f"{time.process_time() - start:.0f} CPU s", flush=True)
    OUT.mkdir(exist_ok=True)
    (OUT / "stimulate.json").write_text(json.dumps([common | row for row in rows], indent=1, default=float))


if __name__ == "__main__":
    main()
