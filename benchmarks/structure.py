"""Networks on a structural graph, where function follows structure: beside the same network on a shuffled graph.

python benchmarks/structure.py [--cohorts 12] [--regions 20] [--people 60]
Streamlines join a third of the pairs of regions, a few hubs most of them. The Fisher z of a pair rises where they join
it and where they join both to a third. In the patients the neighbours of a region shift together by d spreads: of the
largest hub in all, or of another region in each. The shuffled graph has the same degrees: pairs of edges swap ends. All
networks are a GCN without anything beside it, of the same weights, epochs and folds; only the graph differs.
"""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.learning.estimators import build
from dysconnect.learning.splits import fold_rows, make_splits

DENSITY, SPREAD, SWAPS = 0.3, 0.2, 20
CELLS = {"one hub in all": 0.2, "another region in each": 0.5, "another region in each, larger": 0.8}  # d
GCN = {"name": "gcn", "linear": False, "start": "none", "hidden": 32, "readout": 4, "dropout": 0.3}
TRAINING = {
    "device": "cpu", "epochs": 15, "patience": 15, "validation": 0, "inner_folds": 0, "batch_size": 16, "lr": 1e-3,
    "weight_decay": 1e-2, "precision": "float32", "stacked": "auto", "memory": 1, "seeds": 1, "seed": 0,
    "search": {"lr": [], "weight_decay": []},
}  # fmt: skip
RIDGE = {"name": "ridge", "penalties": [0.01, 0.1, 1.0, 10.0, 100.0]}


def structure(regions: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs that streamlines join, [N, N] bool: drawn by how much of a hub both are."""
    pull = rng.permutation(np.linspace(0.3, 2, regions) ** 2)
    chance = Pairs(regions).edges(np.outer(pull, pull)) * rng.exponential(size=len(Pairs(regions)))
    return Pairs(regions).matrix(chance >= np.quantile(chance, 1 - DENSITY))


def shuffled(graph: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another graph of the same degrees: two edges a-b and c-d become a-d and c-b, where neither is one already."""
    graph = graph.copy()
    for _ in range(SWAPS * graph.sum() // 2):
        ends = np.argwhere(graph)
        (a, b), (c, d) = ends[rng.choice(len(ends), 2, replace=False)]
        if len({a, b, c, d}) == 4 and not graph[a, d] and not graph[c, b]:
            for x, y, joined in ((a, b, False), (c, d, False), (a, d, True), (c, b, True)):
                graph[x, y] = graph[y, x] = joined
    return graph


def simulated(cell: str, graph: np.ndarray, people: int, rng: np.random.Generator) -> Cohort:
    """Function that follows the structure, and the neighbours of a hub shifted in the patients."""
    n, pairs = len(graph), Pairs(len(graph))
    label = np.arange(people) % 2
    follows = pairs.edges(0.1 + 0.3 * graph + 0.3 * (graph @ graph.astype(float)) / graph.sum(0).max())
    z = follows + SPREAD * rng.normal(size=(people, len(pairs)))
    hubs = np.argsort(-graph.sum(0))[: 1 if cell.startswith("one") else n]
    for person in np.flatnonzero(label):
        near = graph[rng.choice(hubs)]
        z[person] += CELLS[cell] * SPREAD * pairs.edges(np.outer(near, near))
    table = pd.DataFrame({"participant_id": [f"sub-{k:03d}" for k in range(people)], "label": label, "site": "a"})
    names = np.array([f"region {k}" for k in range(n)])
    return Cohort(table, z.astype(np.float32), np.zeros((people, n), bool), names, "correlation")


def counts(graph: np.ndarray, people: int, rng: np.random.Generator) -> np.ndarray:
    """Everybody's log counts of streamlines, [n, E]: zero where none run."""
    joined = Pairs(len(graph)).edges(graph)
    return (joined * rng.gamma(4, 0.5, (people, len(joined)))).astype(np.float32)


def auc(cohort: Cohort, spec: dict, graph: dict, splits: pd.DataFrame, seed: int) -> float:
    """Of all people, each by the model of a fold that did not see them."""
    said = np.empty(len(cohort.labels))
    for fold in range(5):
        train, test = fold_rows(splits, cohort.participants, 0, fold)
        model = build(spec, "correlation", graph, TRAINING if spec is GCN else {"seed": seed, "permutations": 0})
        said[test] = model.fit(cohort, train, seed=seed).predict(cohort, test)
    return roc_auc_score(cohort.labels, said)


def compared(cell: str, seed: int, regions: int, people: int) -> dict[str, float]:
    """AUC of the network on every graph, and of ridge regression."""
    rng = np.random.default_rng([seed, 3])
    graph = structure(regions, rng)
    cohort = simulated(cell, graph, people, rng)
    splits = make_splits(cohort.participants, folds=5, repeats=1, seed=seed)
    given = replace(cohort, graph=counts(graph, people, rng))
    others = replace(cohort, graph=counts(shuffled(graph, rng), people, rng))
    own = {"density": 1.0, "edges": "own", "drop": 0.0, "connectomes": "given"}
    mean, functional = own | {"edges": "mean"}, own | {"connectomes": None, "density": DENSITY}
    return {
        "structure of each": auc(given, GCN, own, splits, seed),
        "structure of each, shuffled": auc(others, GCN, own, splits, seed),
        "structure, mean of controls": auc(given, GCN, mean, splits, seed),
        "structure, mean of controls, shuffled": auc(others, GCN, mean, splits, seed),
        "function of each": auc(cohort, GCN, functional, splits, seed),
        "ridge regression": auc(cohort, RIDGE, {}, splits, seed),
    }


def main():
    """Print the mean AUC of every graph, and paired differences, with standard errors over cohorts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cells", nargs="*", choices=[*CELLS], default=[*CELLS])
    for name, default in (("cohorts", 12), ("regions", 20), ("people", 60)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for cell in asked.cells:
        rows = [compared(cell, seed, asked.regions, asked.people) for seed in range(asked.cohorts)]
        table = pd.DataFrame(rows)
        print(
            f"{cell}, d = {CELLS[cell]}, {asked.cohorts} cohorts of {asked.people} people and {asked.regions} regions"
        )
        for name in table:
            print(f"  {name}: {table[name].mean():.3f} (SE {table[name].sem():.3f})")
        for name in [name for name in table if f"{name}, shuffled" in table]:
            gain = table[name] - table[f"{name}, shuffled"]
            print(f"  {name} less shuffled: {gain.mean():+.3f} (SE {gain.sem():.3f})", flush=True)


if __name__ == "__main__":
    main()
