"""Linear models at the size of ABIDE: tangent features against nilearn, and the label permutations of ridge.

python benchmarks/linear.py [--subjects 1009] [--folds 5]
CPU seconds of this process, so that neighbours count less; writes benchmarks/results/linear.json.
"""

import argparse
import json
import os
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.edges import Pairs
from dysconnect.learning.permuted import shuffle_labels
from dysconnect.learning.splits import make_splits
from dysconnect.models.dual import DualRidge
from dysconnect.models.tangent import TangentSpace, geometric_mean, spd_function

OUT = Path(__file__).parent / "results" / "linear.json"


def covariances(n: int, n_nodes: int = 200, volumes: int = 176) -> np.ndarray:
    """Simulated covariances, [n, N, N]: common networks, people who differ, few volumes, shrunk to the diagonal."""
    rng = np.random.default_rng(0)
    networks = rng.standard_normal((n_nodes, 20))
    out = np.empty((n, n_nodes, n_nodes))
    for k in range(n):
        mixing = networks + 0.5 * rng.standard_normal((n_nodes, 20))
        noise = 2 * rng.standard_normal((volumes, n_nodes))
        out[k] = 0.9 * np.corrcoef((rng.standard_normal((volumes, 20)) @ mixing.T + noise).T) + 0.1 * np.eye(n_nodes)
    return out


class Passed:
    """An estimator whose covariance is what it is given: nilearn's time then has no estimation in it."""

    def fit(self, covariance, y=None):
        """Take the covariance as it is."""
        self.covariance_ = covariance
        return self

    def get_params(self, deep=True):
        """No parameters."""
        return {}


def timed(run) -> tuple[object, float, float]:
    """Result, CPU seconds and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    return run(), time.process_time() - cpu, time.perf_counter() - wall


def tangent(matrices: np.ndarray, fold: np.ndarray, folds: int) -> dict:
    """Reference on the training subjects and features of everybody, fold by fold."""
    from nilearn.connectome import ConnectivityMeasure

    edges, spent = Pairs(matrices.shape[-1], diagonal=True).edges(matrices), {"ours": [], "peer": []}
    wall, far, distance = {"ours": 0.0, "peer": 0.0}, 0.0, 0.0
    rows, cols = np.triu_indices(matrices.shape[-1])
    for k in range(folds):
        train = fold != k
        space = TangentSpace()
        own, cpu, seconds = timed(lambda t=train, s=space: s.fit(edges[t], matrices.shape[-1]).transform(edges))
        spent["ours"].append(cpu)
        wall["ours"] += seconds
        peer = ConnectivityMeasure(kind="tangent", cov_estimator=Passed(), standardize=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs, cpu, seconds = timed(lambda t=train, p=peer: p.fit(list(matrices[t])).transform(list(matrices)))
        spent["peer"].append(cpu)
        wall["peer"] += seconds
        exact = spd_function(geometric_mean(matrices[train], 1e-9), lambda v: 1 / np.sqrt(v))
        logs = spd_function(exact @ matrices[::20] @ exact, np.log)[:, rows, cols]
        weight = np.where(rows == cols, 1, np.sqrt(2))
        far = max(far, float(np.abs(own[::20] / weight - logs).max()))
        distance = max(distance, float(np.abs(theirs[::20][:, rows, cols] - logs).max()))
    return {
        "what": f"tangent features, {folds} folds of {len(matrices)} x {matrices.shape[-1]} regions, CPU",
        "ours": sum(spent["ours"]),
        "peer": sum(spent["peer"]),
        "wall": wall,
        "largest difference from the exact features": {"ours": far, "peer": distance},
        "against": "nilearn ConnectivityMeasure on the same covariances",
        "goal": 5,
    }


def permutations(n: int, fold: np.ndarray, labels: np.ndarray, count: int = 1000) -> dict:
    """Ridge on 19,900 edges, all folds, all label permutations; a goal of ten seconds in place of a peer."""
    edges = np.random.default_rng(1).standard_normal((n, 19900)).astype(np.float32)
    shuffled = shuffle_labels(labels, fold, count, np.random.default_rng(2))

    def run() -> None:
        for k in range(5):
            DualRidge().decide_many(edges[fold != k], shuffled[fold != k], edges[fold == k])

    _, cpu, wall = timed(run)
    what = f"ridge, {count} label permutations x 5 folds of {n} x 19900 edges, penalty chosen anew, CPU"
    return {"what": what, "ours": cpu, "peer": 10.0, "wall": wall, "against": "the goal of 10 CPU seconds", "goal": 1}


def main() -> None:
    """Run both, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=1009)
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    n = given.subjects
    names = [f"sub-{k:04d}" for k in range(n)]
    table = pd.DataFrame({"participant_id": names, "label": np.arange(n) % 2, "site": "one"})
    fold = make_splits(table, 5, 1, 0)["fold"].to_numpy()
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "torch", "nilearn")}
    rows = []
    for row in (permutations(n, fold, table["label"].to_numpy()), tangent(covariances(n), fold, given.folds)):
        ratio = round(row["peer"] / row["ours"], 1)
        rows.append({**row, "unit": "s", "ratio": ratio, "machine": machine, "versions": versions})
        print(f"{row['what']}: {row['ours']:.1f} s, {ratio} x as fast as {row['against']} ({row['peer']:.1f} s)")
        print({key: row[key] for key in row if key in ("wall", "largest difference from the exact features")})
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
