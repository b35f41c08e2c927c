"""Localization of 200 regions against other software, on the same data in one run: ratios of CPU time.

python benchmarks/localize.py [--permutations 5000] [--only nbs,tfnbs,max_t,large,wide,memory]
Needs bctpy and tfnbs beside nilearn (a peer that is absent is left out, and said so).
Writes benchmarks/results/localize.json. Peers run few permutations, their loops being linear: `peer` is what all
would take. CPU seconds, so that other work on the machine counts little; ours and the peer take turns.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.localize.components import adaptive_network_based, network_based, permuted_edges, threshold_free
from dysconnect.localize.statistics import edge_statistics

OUT = Path(__file__).parent / "results"
SUBJECTS, NAMES = 100, [f"covariate_{k}" for k in range(4)]
TURNS = 3


def cohort(n_nodes: int, n: int = SUBJECTS) -> tuple[np.ndarray, pd.DataFrame, tuple[np.ndarray, np.ndarray, int]]:
    """Independent edges [n, E] without any difference, 4 covariates, nodes of the edges."""
    rng = np.random.default_rng(0)
    rows, cols = np.triu_indices(n_nodes, 1)
    edges = rng.standard_normal((n, len(rows))).astype(np.float32)
    table = pd.DataFrame({"participant_id": np.arange(n).astype(str), "label": np.arange(n) % 2})
    table["site"] = "one"
    table[NAMES] = rng.standard_normal((n, 4))
    return edges, table, (rows, cols, n_nodes)


def matrices(edges: np.ndarray, nodes: tuple[np.ndarray, np.ndarray, int]) -> np.ndarray:
    """Symmetric matrices, [100, N, N]."""
    rows, cols, n = nodes
    full = np.zeros((len(edges), n, n))
    full[:, rows, cols] = full[:, cols, rows] = edges
    return full


def timed(run) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def in_turns(ours: dict, peer=None, few: int = 1, permutations: int = 1) -> list[dict]:
    """Median CPU seconds of each of ours and of the peer, one after the other, three times over.

    The peer runs 1 and `few` permutations; the difference is what a permutation takes, its start left out.
    """
    for run in ours.values():
        run(10)  # compiled, and in the cache
    times = {what: [] for what in [*ours, "peer"]}
    for _ in range(TURNS):
        for what, run in ours.items():
            times[what].append(timed(run))
        if peer:
            times["peer"].append((timed(lambda: peer(few))[0] - timed(lambda: peer(1))[0]) / (few - 1))
    theirs = float(np.median(times["peer"])) * permutations if peer else None
    rows = []
    for what in ours:
        cpu, wall = np.array(times[what]).T
        row = {"what": what, "ours": float(np.median(cpu)), "wall": float(wall.min()), "peer": theirs}
        rows.append(row | {"ratio": round(theirs / row["ours"], 1) if theirs else None})
    return rows


def methods(n_nodes: int, permutations: int, n: int = SUBJECTS) -> dict:
    """Ours, each from the edges on."""
    edges, table, nodes = cohort(n_nodes, n)

    def method(run):
        return lambda b=permutations: run(permuted_edges(edges, table, NAMES, nodes, b, 0))

    return {
        "NBS, both tails, size and intensity": method(network_based),
        "adaptive NBS": method(adaptive_network_based),
        "exact TFNBS": method(threshold_free),
    }


def nbs(permutations: int) -> list[dict]:
    """NBS against bctpy, both tails, without its covariates."""
    from bct import nbs_bct

    edges, table, nodes = cohort(200)
    full = matrices(edges, nodes).transpose(1, 2, 0)
    one, two = full[..., table["label"] == 1].copy(), full[..., table["label"] == 0].copy()
    few = 6
    ours = {name: run for name, run in methods(200, permutations).items() if "NBS" in name and "exact" not in name}

    def peer(k: int) -> None:
        nbs_bct(one, two, 3.0, k=k, tail="both", seed=0)

    rows = in_turns(ours, peer, few, permutations)
    against = f"bctpy nbs_bct (size only, tails merged, no covariates), {few} permutations scaled"
    goals = {"NBS, both tails, size and intensity": (1500, 5.0), "adaptive NBS": (None, 6.0)}
    return [
        row | {"against": against, "goal": goals[row["what"]][0], "goal_wall": goals[row["what"]][1]} for row in rows
    ]


def tfnbs(permutations: int) -> list[dict]:
    """Exact TFNBS against the stepped one of tfnbs, one process each."""
    from tfnbs import compute_p_val

    edges, table, nodes = cohort(200)
    full = matrices(edges, nodes)
    one, two = full[table["label"] == 1], full[table["label"] == 0]
    few = 50
    ours = {"exact TFNBS": methods(200, permutations)["exact TFNBS"]}

    def peer(k: int) -> None:
        compute_p_val(one, two, n_permutations=k, test_type="two-sample", method="tfnbs", use_mp=False, random_state=0)

    peer(1)  # compiled
    rows = in_turns(ours, peer, few, permutations)
    against = f"tfnbs (10 steps, no covariates), {few} permutations scaled"
    return [row | {"against": against, "goal": 40, "goal_wall": 10.0} for row in rows]


def max_t(permutations: int) -> list[dict]:
    """Max-T against nilearn, the same covariates, one process each."""
    from nilearn.mass_univariate import permuted_ols

    edges, table, _ = cohort(200)
    label, covariates, few = table[["label"]].to_numpy(float), table[NAMES].to_numpy(), 500
    ours = {"max-T": lambda b=permutations: edge_statistics(edges, table, NAMES, b, 0)}

    def peer(k: int) -> None:
        permuted_ols(label, edges, covariates, n_perm=k, n_jobs=1, verbose=0, random_state=0)

    rows = in_turns(ours, peer, few, permutations)
    against = f"nilearn permuted_ols, {few} permutations scaled"
    return [row | {"against": against, "goal": 20, "goal_wall": None} for row in rows]


def large(permutations: int) -> list[dict]:
    """Ours at 400 regions."""
    rows = in_turns(methods(400, permutations))
    return [row | {"what": f"{row['what']}, 400 nodes", "against": None, "goal": None} for row in rows]


def wide(permutations: int) -> list[dict]:
    """Adaptive NBS of 200 people at 400 regions with twice the permutations."""
    rows = in_turns({"adaptive NBS": methods(400, 2 * permutations, 200)["adaptive NBS"]})
    size = {"n": 200, "nodes": 400, "permutations": 2 * permutations, "goal_wall": 10.0}
    return [row | size | {"what": f"{row['what']}, 200 people, 400 nodes"} for row in rows]


def memory(permutations: int) -> list[dict]:
    """Largest memory of a process that runs all three methods, with as many permutations and ten times as many."""
    rows = []
    for count in (10, permutations, 10 * permutations):
        script = f"import localize, sys; sys.exit(localize.print_peak({count}))"
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
        mb = float(done.stdout.split()[-1])
        rows.append({"what": f"peak memory, {count} permutations", "ours": mb, "unit": "MB", "goal": 1000})
    return rows


def print_peak(permutations: int) -> None:
    """Run all three methods and print the largest memory of this process, MB."""
    for run in methods(200, permutations).values():
        run()
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins with the size of the parent
    print(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1e3)


def main() -> None:
    """Run the comparisons, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--permutations", type=int, default=5000)
    parser.add_argument("--only", default="nbs,tfnbs,max_t,large,wide,memory")
    asked = parser.parse_args()
    versions = {}
    for name in ("numpy", "scipy", "numba", "bctpy", "tfnbs", "nilearn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed")
    common = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions}
    common |= {"n": SUBJECTS, "nodes": 200, "permutations": asked.permutations, "covariates": 4, "unit": "CPU s"}
    found = []
    for comparison in [globals()[name] for name in asked.only.split(",")]:
        try:
            rows = comparison(asked.permutations)
        except ModuleNotFoundError as absent:
            print(f"{comparison.__name__}: left out, {absent.name} is not installed")
            continue
        for row in rows:
            print({key: value for key, value in row.items() if value is not None})
        found += [common | row for row in rows]
    OUT.mkdir(exist_ok=True)
    (OUT / "localize.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
