"""How well maps of models rank planted edges, relative to |t| on the same cohorts; what they rank without learning.

python benchmarks/maps.py [--cohorts 8] [--only gcn:1:1e-4:10:8,ridge] [--save]
Cohorts of 50 + 50 people and 100 regions, simulated, with 40 edges of two motor loops planted at d = 0.8 into the
series of all patients. Five folds, one repeat, one seed; maps are averaged over folds. |t| is that of the linear model
with age, sex and site, on everybody. A network is NAME:LINEAR:LR:EPOCHS:BATCH. `random`: the same maps of randomised
weights, `shuffled`: of models trained on labels shuffled inside sites. Writes benchmarks/results/maps.json; with --save
also src/dysconnect/attribute/measured.tsv, by which the report says what a map may be called.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

from dysconnect.attribute.folds import fold_maps, held_out, randomised_twin, shuffled_twin
from dysconnect.attribute.verdict import MEASURED
from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.classifier import DEFAULTS
from dysconnect.learning.saved import read_folds, save_folds
from dysconnect.learning.splits import make_splits
from dysconnect.localize.recovery import match_truth
from dysconnect.localize.statistics import edge_statistics
from dysconnect.models.dual import PENALTIES
from dysconnect.planted.plant import plant_cohort, resting_band
from dysconnect.planted.simulated import simulate_cohort
from dysconnect.train import cross_validate

OUT = Path(__file__).parent / "results"
EFFECT, EDGES, NODES, GROUP, SECONDS = 0.8, 40, 100, 50, 2.0
LINEAR = ("ridge", "logistic", "svm")
ASKED = [
    *LINEAR,
    *(f"{name}:1:1e-4:10:{batch}" for batch in (8, 32) for name in ("gcn", "sage", "gin", "ibgnn", "gat")),
    *(f"{name}:1:1e-4:10:8" for name in ("brainnetcnn", "bnt")),
    *(f"{name}:0:1e-3:30:8" for name in ("gcn", "ibgnn")),
]
SETTINGS = ["linear", "lr", "epochs", "batch_size"]
COLUMNS = ["model", *SETTINGS, "method", "subjects", "nodes", "d", "cohorts"]


def planted_cohort(seed: int) -> tuple[Cohort, np.ndarray]:
    """A cohort with its planted edges, [E]."""
    nodes = load_atlas("seitzman300")
    deep = nodes["system"].isin(["basal_ganglia", "thalamus", "cerebellum"])
    rows = np.r_[np.flatnonzero(deep)[::2], np.flatnonzero(~deep)[::3]][:NODES]
    nodes = nodes.iloc[np.sort(rows)].reset_index(drop=True)
    spec = {"patients": GROUP, "controls": GROUP, "volumes": 240, "repetition_time": SECONDS, "motion_ratio": 1.0}
    people, series, _ = simulate_cohort({**spec, "seed": seed}, nodes)
    plan = {"circuits": ["cerebello_thalamo_cortical", "striato_pallidal"], "edges": EDGES, "effect": EFFECT}
    plan |= {"region": None, "carriers": 1.0, "direction": "down", "seed": seed}
    patients = np.flatnonzero(people["group"] == "DYT")
    series, truth, _ = plant_cohort(series, people, nodes, [SECONDS] * len(people), plan, patients)
    i, j = Pairs(len(nodes)).ends
    z = np.stack([np.arctanh(np.corrcoef(resting_band(x, SECONDS).T)[i, j]) for x in series]).astype(np.float32)
    people = people.assign(label=(people["group"] == "DYT").astype(int), scan_group=people["participant_id"])
    names = nodes["name"].to_numpy()
    edges = pd.DataFrame({"region_a": names[i], "region_b": names[j]})
    planted, _ = match_truth(edges, truth)
    return Cohort(people, z, np.zeros((len(people), len(nodes)), bool), names, "correlation"), planted


def sections_of(asked: str) -> dict:
    """Sections of an experiment: NAME, or NAME:LINEAR:LR:EPOCHS:BATCH."""
    name, *settings = asked.split(":")
    if not settings:
        model = {"name": name, "penalties": list(PENALTIES)}
        return {"model": model, "measure": "correlation", "graph": {}, "training": {"permutations": 0, "seed": 0}}
    linear, lr, epochs, batch = settings
    training = {"device": "auto", "precision": "float32", "stacked": "auto", "memory": None, "validation": 0}
    training |= {"patience": 15, "weight_decay": 0.01, "search": {}, "seeds": 1, "seed": 0, "graph_permutations": 0}
    training |= {"lr": float(lr), "epochs": int(epochs), "batch_size": int(batch)}
    model = {"name": name, **DEFAULTS[name], "linear": linear == "1"}
    return {"model": model, "measure": "correlation", "graph": {"density": 0.1}, "training": training}


def averaged(cohort: Cohort, sections: dict, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """Maps averaged over folds: of the trained models, of randomised ones, of ones with shuffled labels."""
    splits = make_splits(cohort.participants, 5, 1, seed)
    trained = cross_validate(cohort, splits, "model", sections)
    new = partial(build, sections["model"], sections["measure"], sections["graph"], sections["training"])
    total = {"ratio": {}, "random": {}, "shuffled": {}}
    with tempfile.TemporaryDirectory() as folder:
        save_folds(trained.folds, cohort, Path(folder) / "folds.npz")
        for fold in read_folds(Path(folder) / "folds.npz", cohort, splits):
            own = held_out(cohort, fold)
            twins = randomised_twin(own, fold.fold), shuffled_twin(cohort, fold, new, fold.fold)
            for what, one in zip(total, (own, *twins)):
                for method, found in fold_maps(one).items():
                    total[what][method] = total[what].get(method, 0) + found
    return total


def compare(asked: str, cohorts: list[tuple[Cohort, np.ndarray]]) -> list[dict]:
    """A row a method: mean ratio to |t| over cohorts, its t interval, and the ratios of what learned nothing."""
    ratios = {}
    for seed, (cohort, planted) in enumerate(cohorts):
        reference = edge_statistics(cohort.values, cohort.participants, ["age", "sex", "site"], 10, 0).t
        score = lambda own, truth=planted: average_precision_score(truth, np.abs(own))
        for what, maps in averaged(cohort, sections_of(asked), seed).items():
            for method, own in maps.items():
                ratios.setdefault(method, {}).setdefault(what, []).append(score(own) / score(reference))
    name, linear, lr, epochs, batch = (asked.split(":") + [None] * 4)[:5]
    settings = dict(zip(COLUMNS[:5], (name, linear, lr, epochs, batch)))
    rows = []
    for method, own in ratios.items():
        values = np.array(own["ratio"])
        reach = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        row = {**settings, "method": method, "subjects": 2 * GROUP, "nodes": NODES, "d": EFFECT, "cohorts": len(values)}
        row |= {"ratio": values.mean(), "low": values.mean() - reach, "high": values.mean() + reach}
        rows.append(row | {what: float(np.mean(own[what])) for what in ("random", "shuffled")})
    return rows


def save(table: pd.DataFrame) -> None:
    """Put the rows in place of those of the same settings."""
    both = pd.concat([pd.read_csv(MEASURED, sep="\t"), table.astype(dict.fromkeys(SETTINGS, float))])
    both = both.drop_duplicates(["model", *SETTINGS, "method"], keep="last")
    both.sort_values(["model", *SETTINGS, "method"]).to_csv(MEASURED, sep="\t", index=False, float_format="%.4g")


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cohorts", type=int, default=8)
    parser.add_argument("--only", default=",".join(ASKED))
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    cohorts = [planted_cohort(seed) for seed in range(given.cohorts)]
    OUT.mkdir(exist_ok=True)
    found = []
    for asked in given.only.split(","):
        start = time.perf_counter()
        found += compare(asked, cohorts)
        table = pd.DataFrame(found)
        print(table[table["model"] == asked.split(":")[0]].round(3).tail(5).to_string(), flush=True)
        print(f"{asked}: {time.perf_counter() - start:.0f} s", flush=True)
        if given.save:
            save(table)
        machine = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": {"torch": version("torch")}}
        (OUT / "maps.json").write_text(json.dumps([row | machine for row in found], indent=1, default=float))


if __name__ == "__main__":
    main()
