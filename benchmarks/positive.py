"""Two real controls of the localization: what must be found is found, and what motion makes vanishes with motion.

python benchmarks/positive.py [--data FOLDER] [--work FOLDER] [--permutations 1000]

FOLDER holds degeneration/ and abide/ (default: DYSCONNECT_DATA). In cerebellar degeneration the cortico-cerebellar
connections must be weaker and the cortico-cortical ones spared. ABIDE I (CC200) is tested with and without mean
framewise displacement among the covariates. --work keeps the connectomes, and is that of benchmarks/abide.py. Writes
benchmarks/results/positive.json.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
from abide import configurations, prepare

from dysconnect.acquire.table import acquire_table
from dysconnect.connectivity import table_connectomes
from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import write_participants
from dysconnect.localize import Localization, localize
from dysconnect.plan.compose import compose_workflow
from dysconnect.timeseries import judge_cohort

HERE = Path(__file__).parent
METHODS = {
    "max-T": "p_fwer",
    "Benjamini-Hochberg": "p_fdr",
    "weighted Benjamini-Hochberg": "p_weighted",
    "adaptive NBS": "p_component",
}


def degeneration(root: Path, work: Path, permutations: int) -> list[dict]:
    """Effects and calls in the connections between cortex and cerebellum, within cortex, and within the cerebellum."""
    schema = HERE.parent / "workflow/schemas/config.schema.json"
    config, _ = compose_workflow(HERE.parent / "configs", schema, {"dataset": "degeneration"})
    nodes = load_atlas(config["atlas"]["nodes"])
    people = config["dataset"]["people"] if (root / config["dataset"]["people"]["path"]).exists() else None
    covariates = config["localize"]["nuisance"] if people else ["site"]
    table, edges = judge_cohort(*acquire_table({**config["dataset"], "people": people}, root, nodes), covariates)
    work.mkdir(parents=True, exist_ok=True)
    write_connectomes(table_connectomes(edges, nodes, "correlation"), work / "degeneration.h5", {})
    write_participants(table, work / "degeneration.tsv")
    contrast = config["dataset"]["contrast"]
    cohort, _ = labelled_cohort(work / "degeneration.h5", work / "degeneration.tsv", contrast, "correlation")
    spec = {**config["localize"], "nuisance": covariates, "permutations": permutations}
    found = localize(cohort, edge_circuits(nodes), spec, atlas=nodes).edges.dropna(subset="statistic")
    inside = nodes.set_index("name")["system"] == "cerebellum"
    ends = found["region_a"].map(inside).astype(int) + found["region_b"].map(inside).astype(int)
    rows = []
    for number, kind in enumerate(("within cortex", "cortex and cerebellum", "within cerebellum")):
        own = found[ends == number]
        d = own["effect_size"]
        rows.append({"what": f"degeneration, {kind}", "connections": len(own), "weaker": int((d < 0).sum())})
        rows[-1] |= {"median_d": d.median(), "lowest_d": d.min(), "highest_d": d.max()}
        rows[-1] |= {name: int((own[p] <= spec["alpha"]).sum()) for name, p in METHODS.items()}
    return rows


def called(found: Localization, alpha: float) -> dict[str, set]:
    """Connections that every method calls."""
    pairs = pd.Series(list(zip(found.edges["region_a"], found.edges["region_b"])), dtype=object)
    return {name: set(pairs[(found.edges[p] <= alpha).to_numpy()]) for name, p in METHODS.items()}


def motion(cohort: Cohort, nodes: pd.DataFrame, spec: dict) -> list[dict]:
    """How many connections each method calls with and without motion in the model, and how many vanish with it."""
    sets, rows, circuits = {}, [], edge_circuits(nodes)
    for name, nuisance in (
        ("without", [own for own in spec["nuisance"] if own != "mean_fd"]),
        ("with", spec["nuisance"]),
    ):
        start = time.perf_counter()
        found = localize(cohort, circuits, {**spec, "nuisance": nuisance}, atlas=nodes)
        sets[name] = called(found, spec["alpha"])
        t = found.edges["statistic"]
        told = {"what": f"ABIDE {name} motion", "people": len(cohort.labels), "seconds": time.perf_counter() - start}
        rows.append(told | {"largest_t": float(t.abs().max()), "critical_t": found.summary["critical_t"]})
        rows[-1] |= {key: found.summary[key] for key in ("n_components", "n_component_true", "n_circuits")}
        print(rows[-1], flush=True)
    for method in METHODS:
        without, own = sets["without"][method], sets["with"][method]
        numbers = {
            "without": len(without),
            "with": len(own),
            "vanish": len(without - own),
            "appear": len(own - without),
        }
        rows.append({"what": f"ABIDE, connections of {method}", **numbers})
    return rows


def main() -> None:
    """Run both and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/abide_benchmark")
    parser.add_argument("--permutations", type=int, default=1000)
    given = parser.parse_args()
    if given.data is None:
        parser.error("give --data, the folder that holds degeneration/ and abide/, or set DYSCONNECT_DATA")
    rows = degeneration(Path(given.data) / "degeneration", given.work, given.permutations)
    config, _ = configurations(Path(given.data) / "abide", ["floor"])
    prepare(config, Path(given.data) / "abide", given.work)
    stored = given.work / "correlation.h5", given.work / "participants.tsv"
    cohort, _ = labelled_cohort(*stored, config["dataset"]["contrast"], "correlation")
    spec = {**config["localize"], "permutations": given.permutations, "stability_draws": 2}
    rows += motion(cohort, load_atlas(config["atlas"]["nodes"]), spec)
    (HERE / "results").mkdir(exist_ok=True)
    as_number = lambda value: value.item() if isinstance(value, np.generic) else value
    (HERE / "results/positive.json").write_text(json.dumps(rows, indent=1, default=as_number))
    for row in rows:
        print(
            "  ".join(
                f"{key}: {value:.3g}" if isinstance(value, float) else f"{key}: {value}" for key, value in row.items()
            )
        )


if __name__ == "__main__":
    main()
