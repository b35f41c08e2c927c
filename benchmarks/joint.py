"""Several maps tested as one: what is found beside single maps. Where nothing differs, benchmarks/errors.py counts.

python benchmarks/joint.py [--cohorts 200] [--regions 40] [--people 80]
Three maps of the same people and 780 connections, with noise that is alike by a half or not; the third map is lacking
in half of the patients and a tenth of the controls, or in nobody. One connection differs by d in all maps, or in one.
`together` is `localize.joint`; `one map` is the max-T of the first map alone; `Bonferroni` is the smallest max-T p of
three maps times three, what people do without such a test.
"""

import argparse
import contextlib
import os

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from threadpoolctl import threadpool_limits

from dysconnect.data.cohort import Cohort
from dysconnect.localize.joint import Picture, joint
from dysconnect.localize.statistics import edge_statistics

EDGE, NUISANCE = 7, ("age", "site")
SPEC = {"permutations": 199, "alpha": 0.05, "thresholds": [3, 3.5], "prior_circuits": [], "max_missing": 0.2}
CELLS = {  # d in each map, how alike their noise is, and whether the third map is lacked by group
    "d = .8 in three maps": ((0.8, 0.8, 0.8), 0.0, False), "the same, noise alike": ((0.8, 0.8, 0.8), 0.5, False),
    "the same, third map lacking": ((0.8, 0.8, 0.8), 0.0, True), "d = 1.2 in one map": ((1.2, 0, 0), 0.0, False),
    "d = 1.2 in one map, lower in another": ((1.2, -0.6, 0), 0.0, False),
}  # fmt: skip


def maps(
    shifts: tuple, alike: float, lacking: bool, regions: int, people: int, rng: np.random.Generator
) -> list[Cohort]:
    """Cohorts of the same people, one a map."""
    n_edges, label = regions * (regions - 1) // 2, np.arange(people) % 2
    table = pd.DataFrame({
        "participant_id": [f"sub-{k:03d}" for k in range(people)], "label": label, "age": rng.normal(size=people),
        "site": np.where(np.arange(people) < people // 2, "a", "b"),
    })  # fmt: skip
    common, made = rng.normal(size=(people, n_edges)), []
    names = np.array([f"region {k}" for k in range(regions)])
    for k, shift in enumerate(shifts):
        values = np.sqrt(alike) * common + np.sqrt(1 - alike) * rng.normal(size=common.shape)
        values[:, EDGE] += shift * label
        kept = rng.random(people) >= np.where(label, 0.5, 0.1) if lacking and k == 2 else np.ones(people, bool)
        who = table[kept].reset_index(drop=True)
        made.append(
            Cohort(who, values[kept].astype(np.float32), np.zeros((len(who), regions), bool), names, "correlation")
        )
    return made


def called(cell: str, seed: int, regions: int, people: int) -> dict[str, bool]:
    """Whether the edge is called."""
    shifts, *kind = CELLS[cell]
    cohorts = maps(shifts, *kind, regions, people, np.random.default_rng([seed, 1]))
    pictures = {f"map {k}": Picture(cohort, NUISANCE) for k, cohort in enumerate(cohorts)}
    together = joint(pictures, np.full(cohorts[0].values.shape[1], ""), SPEC | {"seed": seed}).edges
    together = together.set_index(["region_a", "region_b"])["p_fwer"].loc[list(zip(*cohorts[0].edge_names.values.T))]
    alone = [edge_statistics(one.values, one.participants, NUISANCE, 199, seed).p_fwer for one in cohorts]
    p = {"together": together.to_numpy(), "one map": alone[0], "Bonferroni": 3 * np.min(alone, axis=0)}
    return {name: bool(values[EDGE] <= SPEC["alpha"]) for name, values in p.items()}


def main() -> None:
    """Print a row a cell: shares of cohorts with Wilson's limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("cohorts", 200), ("regions", 40), ("people", 80)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    for cell in CELLS:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), threadpool_limits(1):
            counts = pd.DataFrame([called(cell, seed, asked.regions, asked.people) for seed in range(asked.cohorts)])
        row = {}
        for name, hits in counts.sum().items():
            limits = binomtest(int(hits), asked.cohorts).proportion_ci(method="wilson")
            row[name] = f"{hits / asked.cohorts:.3f} [{limits.low:.3f}, {limits.high:.3f}]"
        print(cell, row, flush=True)


if __name__ == "__main__":
    main()
