"""Null cohorts of structural matrices, as tractography writes them, and of several maps tested as one.

50 + 50 people, 30 regions. Streamlines of a pair are a Poisson count about a skewed mean of the pair and a gain of the
person, so that many pairs have none in somebody; the FA of a pair is known where ten or more run. Those who move have
fewer streamlines, lack more, and have a lower FA. A third map, of function, follows motion too, and is lacking in
those who move more, up to half of them.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.localize.joint import Picture, joint
from dysconnect.plan.run import plan_run
from dysconnect.validate.pools import thin
from dysconnect.validate.scenarios import draw_labels
from nulls.measures import ready
from nulls.scenarios import ALPHA, OUT, PERMUTATIONS, ROOT, SCENARIOS, Calls, called, without_motion

PEOPLE, REGIONS, PATIENTS, CONFOUNDING = 100, 30, 50, 2.0
FEWEST = 10  # streamlines that make an FA
LOST = 0.3  # of the log of streamlines, of the spread of FA and of function, a standard deviation of motion


def people_of(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """People of two sites, and their motion in standard deviations [n]."""
    moved = rng.standard_normal(PEOPLE)
    table = {
        "participant_id": [f"sub-{k:03d}" for k in range(PEOPLE)], "age": rng.normal(50, 12, PEOPLE),
        "sex": rng.choice(["F", "M"], PEOPLE), "site": rng.choice(["site-A", "site-B"], PEOPLE),
        "mean_fd": 0.14 + 0.03 * moved,
    }  # fmt: skip
    return pd.DataFrame(table), moved


def maps_of(moved: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Maps of everybody by measure, [n, E] each; an FA that is not known is NaN."""
    n_edges = len(Pairs(REGIONS))
    follows, lost = rng.normal(1, 0.5, n_edges), LOST * moved[:, None]
    mean, gain = rng.normal(3.5, 1.5, n_edges), rng.normal(0, 0.3, (PEOPLE, 1))
    count = rng.poisson(np.exp(mean + gain + rng.normal(0, 0.4, (PEOPLE, n_edges)) - lost))
    fa = rng.normal(0.45, 0.05, n_edges) + 0.03 * (rng.normal(size=count.shape) - lost * follows)
    function = 0.3 + 0.2 * (rng.normal(size=count.shape) + lost * follows)
    return {"fa": np.where(count >= FEWEST, fa, np.nan), "count": np.log1p(count), "correlation": function}


def cohort_of(measure: str, values: np.ndarray, people: pd.DataFrame, names: np.ndarray) -> Cohort:
    """A cohort of one measure."""
    missing, floats = np.zeros((len(people), len(names)), bool), values.astype(np.float32)
    return Cohort(people.reset_index(drop=True), floats, missing, names, measure, known=np.isfinite(values).any(0))


def of_matrices(nodes: pd.DataFrame, spec: dict, seed: int) -> Calls:
    """Calls in the cohorts of a seed: of both structural maps alone, and of all three as one."""
    rng, names = np.random.default_rng([seed, 1]), nodes["name"].to_numpy(str)
    people, moved = people_of(rng)
    maps, there = maps_of(moved, rng), rng.random(PEOPLE) >= 0.5 / (1 + np.exp(-2 * moved))
    calls, spec = {}, spec | {"seed": seed}
    for scenario in SCENARIOS:
        labels = draw_labels(people, PATIENTS, CONFOUNDING * (scenario != SCENARIOS[0]), rng)
        table, nuisance = people.assign(label=labels), spec["nuisance"]
        nuisance = without_motion(nuisance) if scenario == OUT else nuisance
        cohorts = {name: cohort_of(name, values, table, names) for name, values in maps.items()}
        cohorts["correlation"] = cohort_of("correlation", maps["correlation"][there], table[there], names)
        calls[scenario] = {
            f"{name}: {method}": hit
            for name in ("fa", "count")
            for method, hit in called(ready(cohorts[name], nodes, spec | {"nuisance": nuisance})).items()
        } | of_joint(cohorts, nodes, nuisance, spec)
    return calls


def of_joint(cohorts: dict[str, Cohort], nodes: pd.DataFrame, nuisance: list[str], spec: dict) -> dict[str, bool]:
    """Calls of all maps tested as one."""
    found = joint({name: Picture(one, nuisance) for name, one in cohorts.items()}, edge_circuits(nodes), spec)
    circuits = found.circuits[["p_fwer_mean", "p_fwer_magnitude"]]
    smallest = {"connections": found.edges["p_fwer"], "components": found.components["p_fwer"], "circuits": circuits}
    return {f"three maps as one: {name}": bool((p.to_numpy() <= ALPHA).any()) for name, p in smallest.items()}


def matrices(data: Path, work: Path) -> Callable[[int], Calls]:
    """Of structural matrices."""
    asked = f"localize.permutations={PERMUTATIONS}"
    run = plan_run(ROOT, {"dataset": "simulated", "experiment": "floor", "overrides": asked})
    nodes = load_atlas(run.cohort["atlas"]["nodes"])
    return partial(of_matrices, nodes.iloc[thin(nodes, REGIONS)].reset_index(drop=True), run.cohort["localize"])
