"""Virtual stimulation on cohorts with a known answer: hubs that are found, and cohorts without any that stay silent.

python benchmarks/stimulate.py [--source edges] [--hubs 50] [--nulls 200] [--permutations 199]
Cohorts of 50 + 50 people, 80 regions, 4 covariates. A hub is a region of whose edges all, one in three or one in eight
move down by d spreads in the patients; it is another region in every cohort of series.
Designs are 1, 3, 8 (one in so many edges), and 3:half (in half of the patients). Sources:
edges      Fisher z at two sites; edges share variance through their nodes, as real ones do
networks   the same with 40 people, 20 regions and a GCN trained again for every permutation (--permutations 39, say)
simulated  series of the simulator, in which hubs are planted; then denoised
abide      series of real controls of ABIDE I, called patients at random inside sites (--data, or DYSCONNECT_DATA, holds
           abide/; --work is that of benchmarks/abide.py)
Writes benchmarks/results/stimulate_SOURCE.json.
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
from abide import configurations, prepare
from scipy.stats import binomtest, kstest

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.participants import read_participants
from dysconnect.data.series import read_index
from dysconnect.learning.permuted import gate
from dysconnect.learning.splits import make_splits
from dysconnect.plan.compose import compose_workflow
from dysconnect.planted.plant import choose_pattern
from dysconnect.stimulate import rank_targets
from dysconnect.train import cross_validate, permutation_null
from dysconnect.validate import pool_maker
from dysconnect.validate.pools import thin
from dysconnect.validate.scenarios import Scenario, draw_labels, plant_scenario

HERE = Path(__file__).parent
OUT = HERE / "results"
SUBJECTS, NODES, HUB = 100, 80, 7
NO_EDITS = {"targets": 0, "edges": 1, "patient_targets": 0, "patient_edges": 1}
DESIGNS = {
    "edges": ["3", "8"],
    "networks": ["1"],
    "simulated": ["1", "3", "8", "3:half"],
    "abide": ["1", "3", "8", "3:half"],
}
RIDGE = {
    "model": {"name": "ridge", "penalties": [0.001, 0.01, 0.1, 1.0, 10.0, 100.0]},
    "measure": "correlation", "graph": {}, "training": {"permutations": 199, "seed": 0},
}  # fmt: skip
GCN = {
    "model": {"name": "gcn", "linear": True, "hidden": 8, "readout": 2, "dropout": 0.3},
    "measure": "correlation", "graph": {"density": 0.1},
    "training": {
        "device": "auto", "precision": "float32", "stacked": True, "memory": None, "epochs": 10, "validation": 0,
        "patience": 15, "batch_size": 8, "lr": 1e-3, "weight_decay": 0.01, "search": {}, "seeds": 1,
        "graph_permutations": 0, "seed": 0,
    },
}  # fmt: skip


def atlas(n_nodes: int) -> pd.DataFrame:
    """Regions without a place in any circuit."""
    table = pd.DataFrame({"node": np.arange(n_nodes), "name": [f"region {k}" for k in range(n_nodes)]})
    return table.assign(hemisphere="L", x=0.0, y=0.0, z=0.0, system="cortex", network="unassigned")


def cohort(effect: float, share: int, seed: int, subjects: int, n_nodes: int) -> Cohort:
    """People whose edges are half their own, half their nodes'; one in `share` of the hub's moves by `effect`."""
    rng = np.random.default_rng([seed, 3])
    rows, cols = np.triu_indices(n_nodes, 1)
    label = np.arange(subjects) % 2
    own, node = rng.standard_normal((subjects, len(rows))), rng.standard_normal((subjects, n_nodes))
    values = np.sqrt(0.5) * own + 0.5 * (node[:, rows] + node[:, cols])
    site = rng.permutation(np.repeat([0, 1], subjects // 2))
    values += 0.3 * site[:, None] * rng.standard_normal(len(rows))
    touching = np.flatnonzero((rows == HUB) | (cols == HUB))
    moved = rng.choice(touching, len(touching) // share, replace=False)
    values[:, moved] -= effect * label[:, None]
    people = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(subjects)], "label": label})
    people = people.assign(site=np.where(site, "A", "B"), age=rng.normal(50, 10, subjects))
    people = people.assign(mean_fd=rng.lognormal(-2, 0.3, subjects), sex=rng.choice(["F", "M"], subjects))
    names = np.array([f"region {k}" for k in range(n_nodes)])
    values = 0.3 + 0.2 * values
    return Cohort(people, values.astype(np.float32), np.zeros((subjects, n_nodes), bool), names, "correlation")


class EdgeSource:
    """Cohorts made at the level of edges."""

    sections, folds, subjects, n_nodes = RIDGE, (5, 2), SUBJECTS, NODES

    def __init__(self):
        self.nodes = atlas(self.n_nodes)

    def __call__(self, effect: float, design: str, seed: int) -> tuple[Cohort, str]:
        """A cohort, and its hub."""
        return cohort(effect, int(design), seed, self.subjects, self.n_nodes), f"region {HUB}"


class NetworkSource(EdgeSource):
    """Small ones, that are shown to small graph networks; no permutation null gates them."""

    sections, folds, subjects, n_nodes = GCN, (2, 1), 40, 20


class SeriesSource:
    """Cohorts whose hubs are planted in the series of people between whom there is no difference."""

    sections, folds = RIDGE, (5, 2)

    def __init__(self, source: str, given: argparse.Namespace):
        if source == "abide":
            config, _ = configurations(given.data / "abide", ["floor"])
            prepare(config, given.data / "abide", given.work)
            people, index = read_participants(given.work / "participants.tsv"), read_index(given.work / "index.tsv")
        else:
            config, _ = compose_workflow(
                HERE.parent / "configs", HERE.parent / "workflow/schemas/config.schema.json", {}
            )
            people = index = None
        nodes = load_atlas(config["atlas"]["nodes"])
        wanted = {"regions": NODES, "patients": SUBJECTS // 2, "controls": SUBJECTS // 2, "seed": 0}
        self.make = pool_maker(config["dataset"], nodes, wanted, people, index)
        self.nodes = nodes.iloc[thin(nodes, NODES)].reset_index(drop=True)
        self.spec = {"denoise": config["denoise"], "localize": {"measure": "correlation"}, "estimator": "empirical"}

    def __call__(self, effect: float, design: str, seed: int) -> tuple[Cohort, str]:
        """A cohort, and its hub."""
        pool, rng = self.make(seed), np.random.default_rng([seed, 3])
        labels, edges = draw_labels(pool.participants, SUBJECTS // 2, 0.0, rng), pool.all_edges(self.spec)
        chosen = choose_pattern(self.nodes, "hub", [], 0, rng)
        hub = np.bincount(chosen[["i", "j"]].to_numpy().ravel()).argmax()
        one_in, _, half = design.partition(":")
        chosen = chosen.sample(len(chosen) // int(one_in), random_state=seed).sort_values("edge")
        if effect:
            what = Scenario("planted", "hub", 0.5 if half else 1.0, effect)
            edges, _ = plant_scenario(pool, edges, labels, chosen, what, self.spec, [seed])
        people, names = pool.participants.assign(label=labels), self.nodes["name"].to_numpy()
        people = people.assign(scan_group=people["participant_id"])
        missing = np.zeros((SUBJECTS, NODES), bool)
        return Cohort(people, edges.astype(np.float32), missing, names, "correlation"), names[hub]


def ranked(source, effect: float, design: str, seed: int, permutations: int) -> tuple[pd.DataFrame, bool, str]:
    """Nodes of a cohort as targets, whether its model beats chance, and the hub."""
    own, hub = source(effect, design, seed)
    splits = make_splits(own.participants, *source.folds, seed)
    trained = cross_validate(own, splits, "model", source.sections)
    shown, *_ = gate(permutation_null(own, splits, source.sections, trained.first_repeat), 0.05, "model")
    spec = {"covariates": ["age", "sex", "site", "mean_fd"], "matched": 30, "draws": 99, "goal": "controls"}
    spec |= {"permutations": permutations, "network_permutations": permutations, "edits": NO_EDITS, "seed": seed}
    found = rank_targets(own, splits, source.sections, source.nodes, spec)
    return found.targets[found.targets["kind"] == "node"], shown, hub


def share(hits) -> dict:
    """How often, with Clopper and Pearson's limits."""
    hits = np.asarray(hits, bool)
    limits = binomtest(int(hits.sum()), len(hits)).proportion_ci()
    return {"share": hits.mean(), "low": limits.low, "high": limits.high}


def hubs(source, asked: argparse.Namespace) -> list[dict]:
    """How often the hub is first, by effect."""
    rows = []
    for design, effect in product(asked.designs, asked.effects):
        found = []
        for seed in range(asked.hubs):
            targets, shown, hub = ranked(source, effect, design, seed, asked.permutations)
            own = targets.set_index("target").loc[hub]
            others = targets[targets["target"] != hub]
            found.append(
                {"rank": own["rank"], "matched z": own["matched_z"], "score": own["score"], "top10": own["top10"],
                 "first": own["rank"] == 1, "first by shift": own["shift"] == targets["shift"].min(), "shown": shown,
                 "first, where shown": own["rank"] == 1 if shown else np.nan, "among 5": own["rank"] <= 5,
                 "p <= 0.05": own["p"] <= 0.05, "p_fwer <= 0.05": own["p_fwer"] <= 0.05,
                 "matched first": own["matched_z"] == targets["matched_z"].min(),
                 "others p_fwer <= 0.05": (others["p_fwer"] <= 0.05).any()}
            )  # fmt: skip
        table = pd.DataFrame(found)
        row = {"what": f"hub, 1 of {design} edges, d = {effect}", "cohorts": asked.hubs}
        row |= {"median rank": table["rank"].median(), "ranks": table["rank"].tolist()}
        row |= {name: float(table[name].mean()) for name in ("matched z", "score", "top10")}
        row |= {
            name: share(table[name].dropna().astype(bool)) for name in table.columns[4:] if table[name].notna().any()
        }
        rows.append(row)
        print(json.dumps(row, default=float), f"{time.process_time():.0f} CPU s", flush=True)
    return rows


def nulls(source, asked: argparse.Namespace) -> list[dict]:
    """Whether p is uniform where there is nothing: one region of every cohort, all regions, and the family-wise p."""
    p, first, silent, scores, every = [], [], [], [], []
    for seed in range(asked.nulls):
        targets, shown, hub = ranked(source, 0.0, "1", 1000 + seed, asked.permutations)
        own = targets.set_index("target").loc[hub]
        p.append((own["p"], own["matched_p"]))
        first.append(targets["p_fwer"].min())
        silent.append(not shown)
        scores.append(targets["shift"].mean() / targets["shift"].std())
        every.append(targets.sort_values("target")["p"])
    p, first, every = np.array(p), np.array(first), np.array(every)
    each = np.array([kstest(own, "uniform").pvalue for own in every.T])
    row = {"what": "null cohorts", "cohorts": asked.nulls, "KS p of p": kstest(p[:, 0], "uniform").pvalue}
    row |= {"p <= 0.05": share(p[:, 0] <= 0.05), "p <= 0.05, all regions": (every <= 0.05).mean()}
    row |= {"regions whose KS p is below 0.05": (each < 0.05).mean()}
    row |= {"family-wise error": share(first <= 0.05), "KS p of smallest p_fwer": kstest(first, "uniform").pvalue}
    row |= {"matched_p <= 0.05": share(p[:, 1] <= 0.05), "KS p of matched_p": kstest(p[:, 1], "uniform").pvalue}
    row |= {"no ranking shown": share(silent), "mean shift / spread over regions": np.mean(scores)}
    print(json.dumps(row, default=float), f"{time.process_time():.0f} CPU s", flush=True)
    return [row]


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", choices=DESIGNS, default="edges")
    parser.add_argument("--hubs", type=int, default=50)
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--effects", type=float, nargs="*")
    parser.add_argument("--designs", nargs="*")
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=OUT / "abide_benchmark")
    asked = parser.parse_args()
    if asked.source == "abide" and asked.data is None:
        parser.error("give --data, the folder that holds abide/, or set DYSCONNECT_DATA")
    asked.designs = asked.designs or DESIGNS[asked.source]
    asked.effects = asked.effects or ([0.5, 0.8, 1.0] if asked.source == "edges" else [0.8, 1.0])
    small = {"edges": EdgeSource, "networks": NetworkSource}
    source = small[asked.source]() if asked.source in small else SeriesSource(asked.source, asked)
    common = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "n": SUBJECTS, "nodes": NODES}
    common |= {"permutations": asked.permutations, "versions": {"numpy": version("numpy")}}
    rows = (nulls(source, asked) if asked.nulls else []) + (hubs(source, asked) if asked.hubs else [])
    OUT.mkdir(exist_ok=True)
    told = json.dumps([common | row for row in rows], indent=1, default=float)
    (OUT / f"stimulate_{asked.source}.json").write_text(told)


if __name__ == "__main__":
    main()
