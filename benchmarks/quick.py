"""Side by side with other software, on the same data in one run: ratios, not seconds.

python benchmarks/quick.py [--repeats 3]
Each comparison writes benchmarks/results/NAME.json.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dysconnect.data.edges import Pairs
from dysconnect.localize.statistics import edge_statistics
from dysconnect.models.graph.gcn import GCN, SparseGCN
from dysconnect.models.graph.views import adjacency, to_batch
from dysconnect.models.tangent import TangentSpace

OUT = Path(__file__).parent / "results"


def median_seconds(run, repeats: int) -> float:
    """Median wall time of a call, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def max_t(repeats: int) -> list[dict]:
    """Max-T over edges with nuisance covariates, against nilearn.mass_univariate.permuted_ols."""
    from nilearn.mass_univariate import permuted_ols

    rng = np.random.default_rng(0)
    n, n_edges, permutations = 100, 19900, 500
    edges = rng.standard_normal((n, n_edges)).astype(np.float32)
    table = pd.DataFrame({"participant_id": np.arange(n).astype(str), "label": np.arange(n) % 2, "site": "one"})
    covariates = rng.standard_normal((n, 4))
    names = [f"covariate_{k}" for k in range(4)]
    table[names] = covariates
    ours = median_seconds(lambda: edge_statistics(edges, table, names, permutations, 0), repeats)
    label = table[["label"]].to_numpy(float)
    peer = median_seconds(
        lambda: permuted_ols(label, edges, covariates, n_perm=permutations, n_jobs=os.cpu_count(), verbose=0), repeats
    )
    what = f"max-T, n={n}, {n_edges} edges, 4 covariates, {permutations} permutations"
    return [{"what": what, "ours": ours, "peer": peer, "against": "nilearn permuted_ols, all cores", "goal": 5}]


def tangent(repeats: int) -> list[dict]:
    """Tangent features of training and test subjects, against nilearn.connectome.ConnectivityMeasure."""
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance

    rng = np.random.default_rng(0)
    factor = rng.standard_normal((100, 100)) / 10 + np.eye(100)
    series = [rng.standard_normal((300, 100)) @ factor for _ in range(60)]
    covariances = np.stack([np.cov(x.T) for x in series])
    edges = Pairs(covariances.shape[-1], diagonal=True).edges(covariances)
    ours = median_seconds(lambda: TangentSpace().fit(edges, 100).transform(edges), repeats)
    estimator = EmpiricalCovariance(store_precision=False)
    peer = median_seconds(
        lambda: ConnectivityMeasure(
            kind="tangent", cov_estimator=estimator, vectorize=True, standardize="zscore_sample"
        ).fit_transform(series),
        repeats,
    )
    what = "tangent space, 60 subjects, 100 regions (nilearn's includes the covariances)"
    return [{"what": what, "ours": ours, "peer": peer, "against": "nilearn ConnectivityMeasure", "goal": 2}]


def graph_step(repeats: int) -> list[dict]:
    """Forward and backward of the dense GCN, against message passing over the same edges."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(32, 200, 200, generator=rng)
    z = (z + z.transpose(1, 2)) / 2
    z.diagonal(dim1=1, dim2=2).zero_()
    rows = []
    for density in (0.1, 1.0):
        graph = adjacency(z, density)
        dense, sparse = GCN(200, 64, 4, 0.0), SparseGCN(200, 64, 4, 0.0)
        sparse.load_dense(dense)
        batch = to_batch(z, graph)
        ours = median_seconds(lambda net=dense, a=graph: net(z, a).sum().backward(), repeats)
        peer = median_seconds(lambda net=sparse, b=batch: net(b.x, b.edge_index, b.edge_attr).sum().backward(), repeats)
        what = f"GCN step, 32 graphs of 200 nodes, density {density:g}"
        rows.append({"what": what, "ours": ours, "peer": peer, "against": "PyTorch Geometric GCNConv", "goal": 3})
    return rows


def main() -> None:
    """Run all comparisons, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    OUT.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "torch", "torch_geometric", "nilearn")}
    for comparison in (max_t, tangent, graph_step):
        rows = []
        for row in comparison(repeats):
            ratio = row["peer"] / row["ours"]
            rows.append({**row, "unit": "s", "ratio": round(ratio, 1), "machine": machine, "versions": versions})
            print(
                f"{row['what']}: {ratio:.1f} x as fast as {row['against']} ({row['ours']:.3f} s, {row['peer']:.3f} s)"
            )
        (OUT / f"{comparison.__name__}.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
