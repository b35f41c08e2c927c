"""Which lists of connections replicate at ABIDE sites that had no part in the choice.

python benchmarks/replication.py [--data FOLDER] [--work FOLDER] [--permutations 1000] [--halves 20] [--shuffled 40]

FOLDER holds abide/ (default: DYSCONNECT_DATA). Every site is left out in turn as `localize.replicate=site` does; then
random halves of the sites are named as the part that is looked at, and shares are of all halves together; then each
site is left out with labels shuffled inside sites (199 permutations), where p must be as often small as it says. `plain
t-test` is what people do without covariates: as many connections as Benjamini-Hochberg calls, those of the largest |t|
of a t-test of the two groups, looked at in the same way. --work keeps the connectomes, and is that of
benchmarks/abide.py. Writes benchmarks/results/replication.json.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from abide import configurations, prepare

from dysconnect.data.cohort import Cohort
from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize.permutation import permuted_rows
from dysconnect.localize.replication import NOMINAL, parts_of, replicate
from dysconnect.localize.statistics import edge_statistics
from dysconnect.localize.tested import chosen_people, complete_edges, without_copies

HERE = Path(__file__).parent


def plain(cohort: Cohort, spec: dict, lengths: dict[str, int]) -> dict:
    """Shares of the strongest by a t-test without covariates, `lengths` of them by the part that is looked at."""
    counts, alone = np.zeros(3, int), without_copies(cohort)
    for name, other in parts_of(alone.participants, spec["replicate"])[0].items():
        sides = [chosen_people(alone, who) for who in (~other, other)]
        edges = [complete_edges(side, spec["max_missing"]) for side in sides]
        kept = edges[0].tested & edges[1].tested
        tests = [
            edge_statistics(one.values[:, kept[one.tested]], side.participants, covariates, 1, 0)
            for one, side, covariates in zip(edges, sides, ([], spec["nuisance"]))
        ]
        top = np.argsort(-np.abs(tests[0].t))[: lengths[name]]
        along = tests[1].t[top] * np.sign(tests[0].t[top])
        counts += len(top), (along > 0).sum(), ((along > 0) & (tests[1].p[top] < 2 * NOMINAL)).sum()
    sign, replicated = ({"share": count / max(counts[0], 1)} for count in counts[1:].tolist())
    return {"name": "plain t-test", "n": int(counts[0]), "sign": sign, "replicated": replicated}


def shares(cohort: Cohort, spec: dict) -> dict:
    """What `localize.replicate` says, and the plain t-test as a further list."""
    _, summary = replicate(cohort, np.full(len(cohort.edge_names), ""), spec)
    lengths = {part["name"]: part["n_fdr"] for part in summary["parts"]}
    return summary | {"lists": [*summary["lists"], plain(cohort, spec, lengths)]}


def shuffled(cohort: Cohort, spec: dict, seed: int) -> dict:
    """What is said where nothing differs."""
    order = permuted_rows(cohort.participants["site"].to_numpy(), 1, seed)[0]
    people = cohort.participants.assign(label=cohort.labels[order])
    spec = spec | {"replicate": "site", "permutations": 199, "seed": seed}
    return replicate(replace(cohort, participants=people), np.full(len(cohort.edge_names), ""), spec)[1]


def together(runs: list[dict]) -> str:
    """A line a list: connections, and their shares over all runs; `p` is the share of the runs with p <= .05."""
    rows = [
        {"run": k, "list": row["name"], "n": row["n"], **{
            f"{what} {key}": row[what].get(key) for what in ("sign", "replicated")
            for key in ("share", "other", "expected", "p", "low", "high")
        }}
        for k, run in enumerate(runs) for row in run["lists"] if row["n"]
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    if table.empty:
        return "nothing called"
    for what in ("sign", "replicated"):
        table[f"{what} p"] = (table[f"{what} p"] <= NOMINAL).astype(float)
    named = [column for column in table if column not in ("run", "list", "n")]
    weighted = {
        name: own[named].astype(float).mul(own["n"], axis=0).sum() / own["n"].sum()
        for name, own in table.groupby("list", sort=False)
    }
    counted = table.groupby("list", sort=False)["n"].agg(["size", "sum"])
    return counted.join(pd.DataFrame(weighted).T).round(3).T.to_string()


def main() -> None:
    """Leave sites out, and write what became of every list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/abide_benchmark")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--halves", type=int, default=20)
    parser.add_argument("--shuffled", type=int, default=40)
    given = parser.parse_args()
    if given.data is None:
        parser.error("give --data, the folder that holds abide/, or set DYSCONNECT_DATA")
    config, _ = configurations(Path(given.data) / "abide", ["floor"])
    prepare(config, Path(given.data) / "abide", given.work)
    people = given.work / "participants.tsv"
    cohort, _ = labelled_cohort(
        given.work / "correlation.h5", people, config["dataset"]["contrast"], "correlation", None
    )
    spec = config["localize"] | {"permutations": given.permutations}
    start = time.process_time()
    found = {"each site": [shares(cohort, spec | {"replicate": "site"})], "halves of the sites": []}
    sites, rng = sorted(cohort.participants["site"].unique()), np.random.default_rng(0)
    for _ in range(given.halves):
        named = sorted(map(str, rng.permutation(sites)[: len(sites) // 2]))
        found["halves of the sites"].append(shares(cohort, spec | {"replicate": named}))
    found["labels shuffled"] = [shuffled(cohort, spec, seed) for seed in range(given.shuffled)]
    summary = {"n": len(cohort.labels), "cpu_seconds": round(time.process_time() - start), **found}
    out = HERE / "results/replication.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(summary, indent=1))
    for name, runs in found.items():
        print(f"{name}\n{together(runs)}")
    print(f"{summary['n']} people, {summary['cpu_seconds']} CPU-s")


if __name__ == "__main__":
    main()
