"""How well maps of models rank planted edges, relative to |t| on the same cohorts; what they rank without learning.

python benchmarks/maps.py [--cohorts 8] [--only gcn:1:1e-4:10:8,ridge,tangent=wide] [--effect 0.8] [--table] [--save]
Cohorts of 50 + 50 people and 100 regions, simulated, with 40 edges of two motor loops planted at d = 0.8 into the
series of all patients. Five folds, one repeat, one seed; maps are averaged over folds. |t| is that of the linear model
with age, sex and site, on the correlations of everybody. A network on correlations is NAME:LINEAR:LR:EPOCHS:BATCH; an
experiment of configs/experiment in the tangent space is tangent=EXPERIMENT. `random`: the same maps of randomised
weights, `shuffled`: of models trained on labels shuffled inside sites; `auc`: of the model, held out. --file gets a
line a model and cohort, and a run goes on where it stopped; --table only prints what it has. --save writes
src/dysconnect/attribute/measured.tsv, by which the report says what a map may be called.
"""

import argparse
import contextlib
import os
import tempfile
import time
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from shared import COUNTS, add_line, lines_of
from sklearn.metrics import average_precision_score, roc_auc_score

from dysconnect.attribute.folds import fold_maps, held_out, randomised_twin, shuffled_twin
from dysconnect.attribute.verdict import MEASURED, variant
from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.estimate import connectome
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.classifier import DEFAULTS
from dysconnect.learning.saved import read_folds, save_folds
from dysconnect.learning.splits import make_splits
from dysconnect.localize.recovery import match_truth
from dysconnect.localize.statistics import edge_statistics
from dysconnect.models.dual import PENALTIES
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import training_sections
from dysconnect.planted.plant import plant_cohort, resting_band
from dysconnect.planted.simulated import simulate_cohort
from dysconnect.train import cross_validate
from dysconnect.validate.scores import mean_limits

HERE = Path(__file__).parent
EFFECT, EDGES, NODES, GROUP, SECONDS = 0.8, 40, 100, 50, 2.0
LINEAR = ("ridge", "logistic", "svm")
ASKED = [
    *LINEAR,
    *(f"{name}:1:1e-4:10:{batch}" for batch in (8, 32) for name in ("gcn", "sage", "gin", "ibgnn", "gat")),
    *(f"{name}:1:1e-4:10:{batch}" for batch in (8, 32) for name in ("brainnetcnn", "bnt")),
    *(f"{name}:0:1e-3:30:8" for name in ("gcn", "ibgnn")),
    *(f"tangent={name}" for name in ("tangent_ridge", "tangent_logistic", "tangent_svm", "low_rank", "wide")),
    *(f"tangent={name}" for name in ("wide_learned", "riemann", "gcn")),
]
SETTINGS = ["linear", "lr", "epochs", "batch_size"]
KEYS = ["model", "variant", *SETTINGS, "method"]


@cache
def planted_cohort(seed: int, effect: float = EFFECT) -> tuple[dict[str, Cohort], np.ndarray]:
    """Correlations and covariances of the same people, and the planted edges, [E]."""
    nodes = load_atlas("seitzman300")
    deep = nodes["system"].isin(["basal_ganglia", "thalamus", "cerebellum"])
    rows = np.r_[np.flatnonzero(deep)[::2], np.flatnonzero(~deep)[::3]][:NODES]
    nodes = nodes.iloc[np.sort(rows)].reset_index(drop=True)
    spec = {"patients": GROUP, "controls": GROUP, "volumes": 240, "repetition_time": SECONDS, "motion_ratio": 1.0}
    people, series, _ = simulate_cohort({**spec, "seed": seed}, nodes)
    plan = {"circuits": ["cerebello_thalamo_cortical", "striato_pallidal"], "edges": EDGES, "effect": effect}
    plan |= {"region": None, "carriers": 1.0, "direction": "down", "seed": seed}
    patients = np.flatnonzero(people["group"] == "DYT")
    series, truth, _ = plant_cohort(series, people, nodes, [SECONDS] * len(people), plan, patients)
    i, j = Pairs(len(nodes)).ends
    bands = [resting_band(x, SECONDS) for x in series]
    z = np.stack([np.arctanh(np.corrcoef(x.T)[i, j]) for x in bands]).astype(np.float32)
    covariances = np.stack([connectome(x, "tangent", "ledoit_wolf") for x in bands])
    people = people.assign(label=(people["group"] == "DYT").astype(int), scan_group=people["participant_id"])
    names = nodes["name"].to_numpy()
    edges = pd.DataFrame({"region_a": names[i], "region_b": names[j]})
    planted, _ = match_truth(edges, truth)
    missing = np.zeros((len(people), len(nodes)), bool)
    values = {"correlation": z, "tangent": covariances}
    return {name: Cohort(people, edges, missing, names, name) for name, edges in values.items()}, planted


def sections_of(asked: str) -> dict:
    """Sections of an experiment: NAME, NAME:LINEAR:LR:EPOCHS:BATCH, or tangent=EXPERIMENT."""
    if asked.startswith("tangent="):
        name, schema = asked.partition("=")[2], HERE.parent / "workflow/schemas/config.schema.json"
        return training_sections(compose_workflow(HERE.parent / "configs", schema, {"experiment": name})[1][name])
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


def averaged(cohort: Cohort, sections: dict, seed: int) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """Maps averaged over folds, of trained, of randomised models and of ones with shuffled labels; held-out AUC."""
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
    return total, roc_auc_score(trained.predictions["label"], trained.predictions["probability"])


def ratios_of(sections: dict, cohorts: dict[str, Cohort], planted: np.ndarray, seed: int) -> dict[str, dict]:
    """What every map reaches in one cohort as a share of |t|, what it reaches without learning, and the AUC."""
    edges = cohorts["correlation"]
    reference = edge_statistics(edges.values, edges.participants, ["age", "sex", "site"], 10, 0).t
    score = lambda own: average_precision_score(planted, np.abs(own))
    maps, auc = averaged(cohorts[sections["measure"]], sections, seed)
    reached = {what: {method: score(own) / score(reference) for method, own in maps[what].items()} for what in maps}
    return {method: {"auc": auc} | {what: reached[what][method] for what in maps} for method in maps["ratio"]}


def rows_of(asked: str, ratios: list[dict[str, dict]], effect: float) -> list[dict]:
    """A row a method: mean ratio to |t| over cohorts, its t interval, and the ratios of what learned nothing."""
    sections = sections_of(asked)
    spec, training = sections["model"], sections["training"]
    own = {"linear": int(spec["linear"]), **{key: training[key] for key in SETTINGS[1:]}} if "linear" in spec else {}
    names = {"model": spec["name"], "variant": variant(sections), **dict.fromkeys(SETTINGS), **own}
    rows = []
    for method in ratios[0]:
        table = pd.DataFrame([one[method] for one in ratios])
        low, high = mean_limits(table["ratio"], 0.95)
        row = {**names, "method": method, "subjects": 2 * GROUP, "nodes": NODES, "d": effect, "cohorts": len(table)}
        row |= {"ratio": table["ratio"].mean(), "low": low, "high": high}
        rows.append(row | table[["random", "shuffled", "auc"]].mean().to_dict())
    return rows


def save(table: pd.DataFrame) -> None:
    """Put the rows in place of those of the same settings."""
    new = table.drop(columns="auc").astype(dict.fromkeys(SETTINGS, float))
    both = pd.concat([pd.read_csv(MEASURED, sep="\t"), new]).drop_duplicates(KEYS, keep="last")
    both.sort_values(KEYS).to_csv(MEASURED, sep="\t", index=False, float_format="%.4g")


def measure(given: argparse.Namespace) -> None:
    """Add the lines that the file lacks, all models of one cohort before the next."""
    done = {(line["asked"], line["cohort"], line["d"]) for line in lines_of(given.file)}
    wanted = [
        (seed, asked)
        for seed in range(given.cohorts)
        for asked in given.only
        if (asked, seed, given.effect) not in done
    ]
    for left, (seed, asked) in zip(range(len(wanted), 0, -1), wanted):
        start = time.process_time()
        print(f"{left} of {len(given.only) * given.cohorts} left: {asked}, cohort {seed}", flush=True)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            maps = ratios_of(sections_of(asked), *planted_cohort(seed, given.effect), seed)
        line = {"asked": asked, "cohort": seed, "d": given.effect, "seconds": round(time.process_time() - start, 1)}
        add_line(given.file, line | {"torch": version("torch"), "maps": maps})


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=COUNTS / "maps.jsonl")
    parser.add_argument("--cohorts", type=int, default=8)
    parser.add_argument("--only", type=lambda text: text.split(","), default=ASKED)
    parser.add_argument("--effect", type=float, default=EFFECT)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    if given.save and given.effect != EFFECT:
        parser.error(f"--save is for d = {EFFECT}, by which maps are named")
    if not given.table:
        measure(given)
    lines, rows = lines_of(given.file), []
    for asked in given.only:
        own = [line["maps"] for line in lines if line["asked"] == asked and line["d"] == given.effect]
        rows += rows_of(asked, own, given.effect) if own else []
    print(pd.DataFrame(rows).round(3).to_string())
    if given.save:
        save(pd.DataFrame(rows))


if __name__ == "__main__":
    main()
