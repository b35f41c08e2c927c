"""Side by side with other software, on the same data in one run: ratios, not seconds.

python benchmarks/quick.py [--repeats 3] [--only connectomes] [--cpu]
Each comparison writes benchmarks/results/NAME.json.
"""

import argparse
import json
import os
import platform
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.edges import Pairs, measure_pairs
from dysconnect.data.estimate import connectome
from dysconnect.data.measures import measure_of
from dysconnect.data.series import series_hash, write_series
from dysconnect.localize.statistics import edge_statistics
from dysconnect.models.graph.gcn import GCN, SparseGCN
from dysconnect.models.graph.views import adjacency, to_batch
from dysconnect.models.tangent import TangentSpace

OUT = Path(__file__).parent / "results"


CLOCKS = [time.perf_counter]


def seconds(run) -> float:
    """Time of a call, s."""
    start = CLOCKS[-1]()
    run()
    return CLOCKS[-1]() - start


def median_seconds(run, repeats: int) -> float:
    """Median time of a call, after one that does not count."""
    run()
    return float(np.median([seconds(run) for _ in range(repeats)]))


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


PEOPLE, REGIONS, VOLUMES = 1000, 200, (200, 300, 400)
CONNECTIONS = {"correlation": "empirical", "partial": "ledoit_wolf", "covariance": "ledoit_wolf"}


def connectomes(repeats: int) -> list[dict]:
    """Connectomes of 1,000 people, from series in memory and from files to a file, against ConnectivityMeasure."""
    by_nilearn([np.eye(9)], "correlation")  # loads what it needs
    rng = np.random.default_rng(0)
    mix, nodes = np.eye(REGIONS) + rng.standard_normal((REGIONS, REGIONS)) / 30, atlas(REGIONS)
    kinds = [rng.standard_normal((volumes, REGIONS)) @ mix for volumes in VOLUMES]
    series = [kinds[k % len(kinds)] * (1 + k) for k in range(PEOPLE)]
    rows = []
    with TemporaryDirectory() as folder:
        index = written(kinds, nodes, Path(folder))
        for measure, estimator in CONNECTIONS.items():
            runs = {
                "series in memory": (
                    partial(of_series, series, measure, estimator),
                    partial(by_nilearn, series, measure),
                ),
                "files to file": (
                    partial(of_files, index, nodes, measure, Path(folder)),
                    partial(files_by_nilearn, index, measure, Path(folder)),
                ),
            }
            for what, (own, other) in runs.items():
                ours, peer = (float(np.median([seconds(run) for _ in range(repeats)])) for run in (own, other))
                what = f"{measure} ({estimator}) of {PEOPLE:,} people, {REGIONS} regions, {VOLUMES} volumes, {what}"
                rows.append(
                    {"what": what, "ours": ours, "peer": peer, "against": "nilearn ConnectivityMeasure", "goal": 5}
                )
    return rows


def atlas(n_nodes: int) -> pd.DataFrame:
    """Regions of a table that is as large."""
    names = [f"Region {k}" for k in range(n_nodes)]
    return pd.DataFrame({"node": np.arange(1, n_nodes + 1), "name": names})


def written(kinds: list[np.ndarray], nodes: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write each series once; an index of `PEOPLE` who have them in turns, as the stage `timeseries` writes it."""
    for k, values in enumerate(kinds):
        write_series(values, nodes["name"], folder / f"{k}.tsv")
    paths = [folder / f"{k % len(kinds)}.tsv" for k in range(PEOPLE)]
    hashes = {path: series_hash(path.read_bytes()) for path in set(paths)}
    rows = [(f"sub-{k}", str(path), hashes[path]) for k, path in enumerate(paths)]
    return pd.DataFrame(rows, columns=["participant_id", "series", "sha256"])


def of_series(series: list[np.ndarray], measure: str, estimator: str) -> np.ndarray:
    """Edges [n, E] by dysconnect."""
    edges = np.empty((len(series), len(measure_pairs(measure, REGIONS))), np.float32)
    for person, values in enumerate(series):
        edges[person] = connectome(values, measure, estimator)
    return edges


def by_nilearn(series: list[np.ndarray], measure: str) -> np.ndarray:
    """The same edges by nilearn, and Fisher's z of them."""
    from nilearn.connectome import ConnectivityMeasure
    from sklearn.covariance import EmpiricalCovariance, LedoitWolf

    known = {"empirical": EmpiricalCovariance, "ledoit_wolf": LedoitWolf}
    entry, estimator = measure_of(measure), known[CONNECTIONS[measure]](store_precision=False)
    fitted = ConnectivityMeasure(
        estimator, entry.kind, vectorize=True, discard_diagonal=not entry.diagonal, standardize="zscore_sample"
    )
    return entry.transformed(fitted.fit_transform(series)).astype(np.float32)


def of_files(index: pd.DataFrame, nodes: pd.DataFrame, measure: str, folder: Path) -> None:
    """From files of series, compared with their hashes, to one labelled file by dysconnect."""
    made = cohort_connectomes(index, nodes, measure, CONNECTIONS[measure])
    write_connectomes(made, folder / "ours.h5", {})


def files_by_nilearn(index: pd.DataFrame, measure: str, folder: Path) -> None:
    """From files of series to an array in a file by pandas, nilearn and numpy."""
    series = [pd.read_csv(path, sep="\t").to_numpy() for path in index["series"]]
    np.save(folder / "nilearn.npy", by_nilearn(series, measure))


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


COMPARISONS = (max_t, tangent, connectomes, graph_step)


def main() -> None:
    """Run all comparisons, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[comparison.__name__ for comparison in COMPARISONS])
    parser.add_argument("--cpu", action="store_true", help="CPU time of all threads, beside other work, not wall time")
    given = parser.parse_args()
    if given.cpu:
        CLOCKS.append(time.process_time)
    OUT.mkdir(exist_ok=True)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "scipy", "torch", "torch_geometric", "nilearn")}
    for comparison in (chosen for chosen in COMPARISONS if given.only in (None, chosen.__name__)):
        rows = []
        for row in comparison(given.repeats):
            ratio = row["peer"] / row["ours"]
            rows.append(
                {
                    **row,
                    "unit": "CPU s" if given.cpu else "s",
                    "ratio": round(ratio, 1),
                    "machine": machine,
                    "versions": versions,
                }
            )
            print(
                f"{row['what']}: {ratio:.1f} x as fast as {row['against']} ({row['ours']:.3f} s, {row['peer']:.3f} s)"
            )
        (OUT / f"{comparison.__name__}.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
