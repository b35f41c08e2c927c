"""Motion in the model as a line, its logarithm, or both: how often null cohorts of ABIDE controls call anything.

python benchmarks/bend.py [--seeds 3000-3799] [--table] [--data FOLDER] [--work FOLDER]
Patients are those with more of the logarithm of motion, times 2 (strongly) or 0.3 (as the diagnosis goes with motion in
ABIDE), plus noise. 199 permutations. Counts are kept in benchmarks/counts/bend.jsonl, a line a cohort.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from errors import quiet
from nulls.people import abide
from nulls.scenarios import ALPHA, ROOT
from scipy.stats import binomtest
from shared import COUNTS, add_line, lines_of
from verdicts import numbers

from dysconnect.localize.components import network_based, permuted_edges
from dysconnect.localize.ingredients import Regions
from dysconnect.localize.statistics import edge_statistics
from dysconnect.validate import labelled

FILE, PERMUTATIONS, STRENGTHS = COUNTS / "bend.jsonl", 199, (2.0, 0.3)
MODELS = {
    "line": ["mean_fd"], "logarithm": ["log_mean_fd"], "line and square": ["mean_fd", "square"],
    "line and logarithm": ["mean_fd", "log_mean_fd"],
}  # fmt: skip
METHODS = ("max-T", "Benjamini-Hochberg", "NBS, intensity", "NBS, size")


def called(edges: np.ndarray, people: pd.DataFrame, nuisance: list[str], regions: Regions, seed: int) -> list[int]:
    """1 for each of the methods that calls anything."""
    alone = edge_statistics(edges, people, nuisance, PERMUTATIONS, seed)
    parts = network_based(permuted_edges(edges, people, nuisance, regions.ends, PERMUTATIONS, seed)).table
    smallest = alone.p_fwer.min(), alone.p_fdr.min(), parts["p_fwer"].min(), parts["p_fwer_size"].min()
    return [int(p <= ALPHA) for p in smallest]


def table(lines: list[dict]) -> str:
    """Shares with limits of Clopper and Pearson, in %, as Markdown."""
    rows = [["times the logarithm", "in the model", "cohorts", *METHODS], ["---"] * (3 + len(METHODS))]
    for strength in STRENGTHS:
        for model in MODELS:
            hits = np.array([line[model] for line in lines if line["strength"] == strength and model in line])
            if len(hits):
                limits = [binomtest(int(k), len(hits)).proportion_ci(method="exact") for k in hits.sum(0)]
                shares = [
                    f"{100 * p:.1f} [{100 * one.low:.1f}, {100 * one.high:.1f}]" for p, one in zip(hits.mean(0), limits)
                ]
                rows.append([f"{strength:g}", model, f"{len(hits):,}", *shares])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    """Count, or print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=numbers, default=numbers("3000-3799"))
    parser.add_argument("--table", action="store_true", help="print what the file has")
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=ROOT / "results/abide_benchmark")
    given = parser.parse_args()
    done = {(line["seed"], line["strength"]) for line in lines_of(FILE)}
    left = [(s, k) for s in given.seeds for k in STRENGTHS if (s, k) not in done and not given.table]
    if left:
        pool_of, nodes, spec = abide([], Path(given.data), given.work).args
    for number, (seed, strength) in enumerate(left):
        pool = pool_of(seed)
        people = labelled(pool, spec["validate"], strength, seed)
        people["square"] = (people["mean_fd"] - people["mean_fd"].mean()) ** 2
        with quiet():
            calls = {
                name: called(pool.edges, people, ["age", "sex", "site", *own], Regions.of_atlas(nodes), seed)
                for name, own in MODELS.items()
            }
        add_line(FILE, {"seed": seed, "strength": strength} | calls)
        print(f"{len(left) - number - 1} cohorts left", flush=True)
    print(table(lines_of(FILE)))


if __name__ == "__main__":
    main()
