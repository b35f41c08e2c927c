"""Two gates of the virtual stimulation on the same cohorts: the model beats chance, or a target survives.

python benchmarks/stimulate_gate.py [--nulls 200] [--hubs 60] [--permutations 199]
Cohorts of 30 + 30 people, 60 regions of the atlas (nodes, target regions and circuits are ranked), three sites of which
each has another share of patients, and age, sex and motion. Edges share variance through their regions and follow site,
age and motion. Cohorts are:
null        no difference
confounded  no difference, but patients are older and move more by half a standard deviation
hub         one in three edges of one region, another in every cohort, is weaker by d spreads in the patients
Labels are permuted inside sites. Every cohort is a line of benchmarks/results/stimulate_gate.jsonl; those that are
there are not made again. Prints how often each gate opens, with Wilson's 95 % intervals.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from stimulate import NO_EDITS, RIDGE

from dysconnect.data.atlas import load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.learning.permuted import gate
from dysconnect.learning.splits import make_splits
from dysconnect.stimulate import rank_targets
from dysconnect.train import cross_validate, permutation_null
from dysconnect.validate.pools import thin

OUT = Path(__file__).parent / "results" / "stimulate_gate.jsonl"
SUBJECTS, NODES, ALPHA = 60, 60, 0.05
PATIENTS = {"A": (8, 22), "B": (12, 20), "C": (10, 18)}  # of the people of every site


def people(older: float, rng: np.random.Generator) -> pd.DataFrame:
    """Participants of three sites; patients differ from controls by `older` spreads of age and motion."""
    site = np.repeat(list(PATIENTS), [n for _, n in PATIENTS.values()])
    label = np.concatenate([np.arange(n) < ill for ill, n in PATIENTS.values()]).astype(int)
    table = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(SUBJECTS)], "label": label, "site": site})
    table = table.assign(age=50 + 10 * (rng.standard_normal(SUBJECTS) + older * label))
    table = table.assign(mean_fd=np.exp(-2 + 0.3 * (rng.standard_normal(SUBJECTS) + older * label)))
    return table.assign(sex=rng.choice(["F", "M"], SUBJECTS)).sample(frac=1, random_state=rng).reset_index(drop=True)


def cohort(nodes: pd.DataFrame, effect: float, older: float, seed: int) -> tuple[Cohort, str]:
    """A cohort, and its hub."""
    rng = np.random.default_rng([seed, 23])
    table, pairs = people(older, rng), Pairs(NODES)
    (rows, cols), sites = pairs.ends, table["site"].to_numpy()
    own, node = rng.standard_normal((SUBJECTS, len(rows))), rng.standard_normal((SUBJECTS, NODES))
    values = np.sqrt(0.5) * own + 0.5 * (node[:, rows] + node[:, cols])
    for name in PATIENTS:
        values[sites == name] += 0.3 * rng.standard_normal(len(rows))
    for column in (table["age"], np.log(table["mean_fd"])):
        z = (column - column.mean()) / column.std()
        values += 0.3 * z.to_numpy()[:, None] * rng.standard_normal(len(rows))
    hub = int(rng.integers(NODES))
    touching = np.flatnonzero(pairs.touching(np.arange(NODES) == hub))
    values[:, rng.choice(touching, len(touching) // 3, replace=False)] -= effect * table["label"].to_numpy()[:, None]
    values, names = (0.3 + 0.2 * values).astype(np.float32), nodes["name"].to_numpy()
    return Cohort(table, values, np.zeros((SUBJECTS, NODES), bool), names, "correlation"), names[hub]


def judged(nodes: pd.DataFrame, effect: float, older: float, seed: int, permutations: int) -> dict:
    """Smallest p of the targets of a cohort, of the model, and what is ranked first."""
    own, hub = cohort(nodes, effect, older, seed)
    splits = make_splits(own.participants, 5, 2, seed)
    trained = cross_validate(own, splits, "model", RIDGE)
    model = gate(permutation_null(own, splits, RIDGE, trained.first_repeat), ALPHA, "model")
    spec = {"covariates": ["age", "sex", "site", "mean_fd"], "matched": 2, "draws": 19, "goal": "controls"}
    spec |= {"permutations": permutations, "network_permutations": 0, "edits": NO_EDITS, "seed": seed}
    targets = rank_targets(own, splits, RIDGE, nodes, spec).targets
    first = targets.iloc[0]
    others = targets[(targets["kind"] == "node") & (targets["target"] != hub)]
    return {
        "model": model.p, "targets": targets["p_fwer"].min(), "first": bool(first["target"] == hub),
        "others": int((others["p_fwer"] <= ALPHA).sum()),
        "kinds": targets.groupby("kind")["p_fwer"].min().to_dict(),
    }  # fmt: skip


def opened(p: pd.Series) -> str:
    """How often p opens a gate."""
    hits = int((p <= ALPHA).sum())
    limits = binomtest(hits, len(p)).proportion_ci(method="wilson")
    return f"{hits} of {len(p)} ({hits / len(p):.3f} [{limits.low:.3f}, {limits.high:.3f}])"


def main() -> None:
    """Run what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nulls", type=int, default=200)
    parser.add_argument("--hubs", type=int, default=60)
    parser.add_argument("--permutations", type=int, default=199)
    asked = parser.parse_args()
    atlas = load_atlas("seitzman300")
    nodes = atlas.iloc[thin(atlas, NODES)].reset_index(drop=True)
    designs = {"null": (0, 0, asked.nulls), "confounded": (0, 0.5, asked.nulls)}
    designs |= {f"hub, d = {effect}": (effect, 0, asked.hubs) for effect in (0.8, 1.2)}
    OUT.parent.mkdir(exist_ok=True)
    done = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    there = {(row["design"], row["seed"], row["permutations"]) for row in done}
    for name, (effect, older, many) in designs.items():
        for seed in range(many):
            key = {"design": name, "seed": seed, "permutations": asked.permutations}
            if tuple(key.values()) in there:
                continue
            started = time.process_time()
            row = key | judged(nodes, effect, older, seed, asked.permutations)
            with OUT.open("a") as lines:
                lines.write(json.dumps(row | {"seconds": round(time.process_time() - started, 2)}) + "\n")
    table = pd.DataFrame([json.loads(line) for line in OUT.read_text().splitlines()])
    for name, rows in table[table["permutations"] == asked.permutations].groupby("design", sort=False):
        print(f"{name}: model's gate {opened(rows['model'])}; targets' gate {opened(rows['targets'])}")
        print(f"  hub first in {rows['first'].sum()}; another node survives in {(rows['others'] > 0).sum()}")


if __name__ == "__main__":
    main()
