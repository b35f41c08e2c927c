"""Which lists of connections replicate at ABIDE sites that had no part in the choice.

python benchmarks/replication.py [--data FOLDER] [--work FOLDER] [--permutations 1000] [--sites NYU,UM_1]

FOLDER holds abide/ (default: DYSCONNECT_DATA). Every site is left out in turn as `localize.replicate=site` does, or the
sites that are named form the part that is looked at. `plain t-test` is what people do without covariates: as many
connections as Benjamini-Hochberg calls, those of the largest |t| of a t-test of the two groups, looked at in the same
way. --work keeps the connectomes, and is that of benchmarks/abide.py. Writes benchmarks/results/replication.json.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from abide import configurations, prepare

from dysconnect.data.cohort import Cohort
from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize.replication import NOMINAL, parts_of, replicate
from dysconnect.localize.statistics import edge_statistics
from dysconnect.localize.tested import chosen_people, complete_edges, without_copies

HERE = Path(__file__).parent


def plain(cohort: Cohort, spec: dict, lengths: dict[str, int]) -> dict:
    """Shares of the strongest by a t-test without covariates, `lengths` of them by the part that is looked at."""
    counts, alone = np.zeros(3), without_copies(cohort)
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
    return {"name": "plain t-test", "n": int(counts[0]), "sign": counts[1] / counts[0], "p": counts[2] / counts[0]}


def main() -> None:
    """Leave sites out, and write what became of every list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/abide_benchmark")
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--sites", default="site")
    given = parser.parse_args()
    if given.data is None:
        parser.error("give --data, the folder that holds abide/, or set DYSCONNECT_DATA")
    config, _ = configurations(Path(given.data) / "abide", ["floor"])
    prepare(config, Path(given.data) / "abide", given.work)
    people = given.work / "participants.tsv"
    cohort, _ = labelled_cohort(
        given.work / "correlation.h5", people, config["dataset"]["contrast"], "correlation", None
    )
    asked = "site" if given.sites == "site" else given.sites.split(",")
    spec = config["localize"] | {"replicate": asked, "permutations": given.permutations}
    start = time.process_time()
    _, summary = replicate(cohort, np.full(len(cohort.edge_names), ""), spec)
    summary |= {"cpu_seconds": round(time.process_time() - start), "n": len(cohort.labels)}
    lengths = {part["name"]: part["n_fdr"] for part in summary["parts"]}
    summary["plain"] = plain(cohort, spec, lengths) if sum(lengths.values()) else None
    out = HERE / "results/replication.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(summary, indent=1))
    for row in [*summary["lists"], summary["plain"]]:
        print(row)
    print(summary["cpu_seconds"], "CPU-s", summary["left_out"])


if __name__ == "__main__":
    main()
