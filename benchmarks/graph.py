"""Graph networks side by side with PyTorch Geometric and with a plain loop over models, on the same data in one run.

python benchmarks/graph.py [--repeats 9] [--folds 1] [--seeds 4] [--epochs 2] [--subjects 320]

What a GPU makes faster measures gpu.py, without peers.
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
import torch
from torch.utils.data import DataLoader, TensorDataset

from dysconnect.data.edges import Pairs
from dysconnect.learning.graph.classifier import DEFAULTS
from dysconnect.learning.graph.device import choose_device
from dysconnect.learning.graph.run import train_networks
from dysconnect.models.graph.gcn import GCN, SparseGCN
from dysconnect.models.graph.views import adjacency, to_batch
from dysconnect.models.networks import build_network

OUT = Path(__file__).parent / "results"
N_NODES, BATCH = 200, 64
DEVICE = choose_device("auto")


def paired(ours, peer, repeats: int) -> tuple[float, float]:
    """Median seconds of two calls that take turns, after one of each that does not count.

    On a CPU the seconds that this process was given, so that neighbours count less; on a GPU the wall's.
    """
    clock = time.perf_counter if DEVICE.type == "cuda" else time.process_time
    times = []
    for _ in range(repeats + 1):
        pair = []
        for run in (ours, peer):
            start = clock()
            run()
            if DEVICE.type == "cuda":
                torch.cuda.synchronize()
            pair.append(clock() - start)
        times.append(pair)
    return tuple(float(each) for each in np.median(times[1:], axis=0))


def step(repeats: int) -> list[dict]:
    """Forward and backward of the dense GCN, against message passing over the same edges."""
    z = torch.randn(BATCH, N_NODES, N_NODES, generator=torch.Generator().manual_seed(0))
    z = ((z + z.transpose(1, 2)) / 2).to(DEVICE)
    z.diagonal(dim1=1, dim2=2).zero_()
    dense, sparse = GCN(N_NODES, 32, 4, 0.0).to(DEVICE), SparseGCN(N_NODES, 32, 4, 0.0)
    sparse.load_dense(dense).to(DEVICE)
    rows = []
    for density, goal in ((1.0, 60), (0.1, 6)):
        graph = adjacency(z.abs(), density)
        batch = to_batch(z, graph)
        ours, peer = paired(
            lambda a=graph: dense(z, a).sum().backward(),
            lambda b=batch: sparse(b.x, b.edge_index, b.edge_attr).sum().backward(),
            repeats,
        )
        what = f"GCN step, {BATCH} graphs of {N_NODES} nodes, {density:.0%} of the edges"
        rows.append({"what": what, "ours": ours, "peer": peer, "against": "PyTorch Geometric GCNConv", "goal": goal})
    return rows


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges and labels of n simulated people."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    edges = rng.normal(0.2, 0.2, (n, N_NODES * (N_NODES - 1) // 2)).astype(np.float32)
    edges[:, :50] += 0.1 * labels[:, None]
    return edges, labels


def settings(name: str, epochs: int, stacked: bool) -> dict:
    """Sections for training without early stopping, so that all do the same work."""
    training = {"device": "auto", "epochs": epochs, "patience": epochs, "validation": 0.2, "batch_size": BATCH}
    training |= {"lr": 1e-4, "weight_decay": 1e-4, "precision": "float32", "stacked": stacked, "memory": None}
    return {
        "model": {"name": name, **DEFAULTS[name]},
        "measure": "correlation",
        "graph": {"density": 0.1},
        "training": {**training, "search": {}},
    }


class PlainTransformer(torch.nn.Module):
    """A Brain Network Transformer of PyTorch's own layers, as its authors wrote theirs, in the sizes of ours."""

    def __init__(self, sizes: dict):
        super().__init__()
        width, clusters = sizes["width"], sizes["clusters"]
        self.embed = torch.nn.Linear(N_NODES, width)
        layers = [
            torch.nn.TransformerEncoderLayer(
                width, sizes["heads"], sizes["feedforward"], sizes["dropout"], batch_first=True
            )
            for _ in range(sizes["layers"])
        ]
        self.attention = torch.nn.Sequential(*layers)
        self.centres = torch.nn.Parameter(torch.linalg.qr(torch.randn(width, clusters)).Q.T, requires_grad=False)
        self.reduce, self.classify = (
            torch.nn.Linear(width, 8),
            torch.nn.Sequential(
                torch.nn.LayerNorm(8 * clusters),
                torch.nn.Linear(8 * clusters, 32),
                torch.nn.LeakyReLU(),
                torch.nn.Linear(32, 1),
            ),
        )

    def forward(self, x: torch.Tensor, graph=None, noise=None) -> torch.Tensor:
        """Logits, [B]; the clustering loss is left behind."""
        x = self.attention(self.embed(x))
        assigned = (x @ self.centres.T).softmax(-1)
        sharp = (assigned**2 / assigned.sum(1, keepdim=True)).detach()
        sharp = sharp / sharp.sum(-1, keepdim=True)
        self.auxiliary = (sharp * (sharp / assigned).log()).sum(-1).mean(-1)
        pooled = torch.nn.functional.leaky_relu(self.reduce(assigned.transpose(1, 2) @ x)).flatten(1)
        return self.classify(pooled)[:, 0]


def our_transformer() -> torch.nn.Module:
    """Our network, to be trained by others."""
    return build_network({"name": "bnt", **DEFAULTS["bnt"]}, N_NODES)


def plain_transformer() -> torch.nn.Module:
    """The network of PyTorch's own layers."""
    return PlainTransformer(DEFAULTS["bnt"])


def plain_loop(edges: np.ndarray, labels: np.ndarray, seeds: int, epochs: int, build) -> None:
    """One model after the other with a DataLoader of matrices, as BNT's authors train; same subjects."""
    standard = (edges - edges.mean(0)) / edges.std(0)
    x = torch.as_tensor(Pairs(N_NODES).matrix(standard))
    y = torch.as_tensor(labels, dtype=torch.float32)
    watched = np.arange(len(y)) % 5 == 0
    parts = [TensorDataset(x[own], y[own]) for own in (~watched, watched)]
    for seed in range(seeds):
        torch.manual_seed(seed)
        network = build().to(DEVICE)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=1e-4)
        train, watch = DataLoader(parts[0], BATCH, shuffle=True), DataLoader(parts[1], BATCH)
        for _ in range(epochs):
            for own, target in train:
                optimizer.zero_grad()
                own, target = own.to(DEVICE), target.to(DEVICE)
                noise = torch.randint(2**31 - 1, (len(own),), device=DEVICE).to(torch.int32)
                logits = network(own, None, noise)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target) + network.auxiliary.mean()
                loss.backward()
                optimizer.step()
                loss.item()  # as they log every step
            with torch.no_grad():
                for own, _ in watch:
                    network(own.to(DEVICE)).cpu()


def training(folds: int, seeds: int, epochs: int, subjects: int) -> list[dict]:
    """BNT on all folds and seeds: our trainer against plain loops."""
    edges, labels = data(subjects)
    columns = np.repeat(labels[:, None], seeds, axis=1)
    what = f"BNT, {folds} folds x {seeds} seeds x {epochs} epochs of {subjects} subjects, "

    def ours(stacked: bool) -> None:
        for fold in range(folds):
            train_networks(
                edges, columns, np.arange(subjects), np.arange(seeds) + 1 + fold, settings("bnt", epochs, stacked)
            )

    def loop(build) -> None:
        for _ in range(folds):
            plain_loop(edges, labels, seeds, epochs, build)

    rows = []
    for stacked, how in ((True, "side by side"), (False, "one by one")):
        for build, whose in ((plain_transformer, "PyTorch's own layers"), (our_transformer, "our network")):
            own, peer = paired(lambda s=stacked: ours(s), lambda b=build: loop(b), 1)
            goal = 15 if DEVICE.type == "cuda" else 1.2
            against = f"a loop with a DataLoader over models of {whose}"
            rows.append({"what": what + how, "ours": own, "peer": peer, "against": against, "goal": goal})
    return rows


def main() -> None:
    """Run the comparisons, print and save them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("repeats", 9),
        ("folds", 1),
        ("seeds", 4),
        ("epochs", 2),
        ("subjects", 320),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    name = torch.cuda.get_device_name() if DEVICE.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {package: version(package) for package in ("torch", "torch_geometric")}
    rows = step(args.repeats)
    rows += training(args.folds, args.seeds, args.epochs, args.subjects)
    for row in rows:
        row |= {"unit": "s", "ratio": round(row["peer"] / row["ours"], 2), "machine": name, "versions": versions}
        print(f"{row['what']}: {row['ratio']} x as fast as {row['against']} ({row['ours']:.3f} s, {row['peer']:.3f} s)")
    (OUT / "graph.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
