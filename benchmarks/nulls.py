"""Null cohorts of every kind, and what every method calls in one: a kind is a row of `SOURCES`.

A cohort is made of its seed alone, so that its calls are the same on any machine and in any order. It comes in three
scenarios: `plain`; `motion in`, where motion goes with the group and is in the model; and `motion out`, where it is
left out of it, so that calls must be frequent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from abide import configurations, prepare

from dysconnect.data.atlas import load_atlas
from dysconnect.data.estimate import connectome
from dysconnect.data.participants import read_participants
from dysconnect.data.series import has_signal, read_index, read_series
from dysconnect.localize.ingredients import Regions
from dysconnect.plan.run import plan_run
from dysconnect.validate import null_outcomes
from dysconnect.validate.pools import Pool, controls_of, simulated_pool, thin
from dysconnect.validate.scenarios import CONFOUNDED, NULL, UNADJUSTED

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ("plain", "motion in", "motion out")
NAMED = dict(zip((NULL, CONFOUNDED, UNADJUSTED), SCENARIOS))

Calls = dict[str, dict[str, bool]]  # by scenario and method: whether anything is called


def of_table(pool_of: Callable[[int], Pool], nodes: pd.DataFrame, spec: dict, seed: int) -> Calls:
    """Calls of all that the table of methods has; of bounds whether one is above the truth, which is none."""
    spec = spec | {"localize": spec["localize"] | {"seed": seed}}
    made = null_outcomes(pool_of(seed), nodes, Regions.of_atlas(nodes), spec, seed)
    return {
        NAMED[scenario]: {one.method: bool(one.called.any()) for one in outcomes if len(one.called)}
        for scenario, outcomes, *_ in made
    }


def settings_of(cohort: dict, estimator: str) -> dict:
    """What the validation reads of a composed configuration."""
    return {name: cohort[name] for name in ("validate", "localize", "denoise")} | {"estimator": estimator}


def simulated(one_site: bool, data: Path, work: Path) -> Callable[[int], Calls]:
    """Fresh people of the simulator, 60 regions; of both its sites, or of the first."""
    asked = "validate.regions=60 validate.permutations=999"
    run = plan_run(ROOT, {"dataset": "simulated", "experiment": "validate_localization", "overrides": asked})
    spec = settings_of(run.cohort, run.estimator(run.cohort["localize"]["measure"]))
    nodes = load_atlas(run.cohort["atlas"]["nodes"])
    nodes = nodes.iloc[thin(nodes, spec["validate"]["regions"])].reset_index(drop=True)
    wanted = spec["validate"]["patients"] + spec["validate"]["controls"]

    def pool_of(seed: int) -> Pool:
        pool = simulated_pool(run.cohort["dataset"], nodes, (1 + one_site) * wanted, [0, seed])
        return first_site(pool, wanted) if one_site else pool

    return partial(of_table, pool_of, nodes, spec)


def first_site(pool: Pool, wanted: int) -> Pool:
    """As many people as wanted, of the site that comes first by name."""
    sites = pool.participants["site"]
    rows = np.flatnonzero(sites == sites.min())[:wanted]
    lists = (pool.series, pool.artefacts, pool.confounds, pool.repetition_times)
    people = pool.participants.iloc[rows].reset_index(drop=True)
    return Pool(people, *([one[k] for k in rows] for one in lists))


@dataclass(frozen=True)
class Drawn:
    """Real people of one cohort, whose connectomes [n, E] are known: a `Pool` in which nothing can be planted."""

    participants: pd.DataFrame
    edges: np.ndarray
    is_simulated: bool = False

    def all_edges(self, spec: dict) -> np.ndarray:
        """Connectomes of everybody, [n, E]."""
        return self.edges


def abide(data: Path, work: Path) -> Callable[[int], Calls]:
    """Controls of ABIDE, 50 + 50 of them in each cohort, 100 regions."""
    config, _ = configurations(data / "abide", ["validate_localization"])
    config["validate"] |= {"regions": 100, "permutations": 999}
    prepare(config, data / "abide", work)
    spec = settings_of(config, config["connectivity"]["estimator"])
    nodes = load_atlas(config["atlas"]["nodes"])
    kept = thin(nodes, spec["validate"]["regions"])
    wanted = spec["validate"]["patients"] + spec["validate"]["controls"]
    people, index = read_participants(work / "participants.tsv"), read_index(work / "index.tsv")
    controls = controls_of(people, index, config["dataset"]["contrast"]["controls"], wanted)
    series = [read_series(*row, nodes)[:, kept] for row in zip(controls["series"], controls["key"])]
    whole = np.array([np.isfinite(x).all() and has_signal(x).all() for x in series])
    controls = controls[whole].reset_index(drop=True)
    edges = np.stack([
        connectome(x, spec["localize"]["measure"], spec["estimator"]) for x, good in zip(series, whole) if good
    ])  # fmt: skip

    def pool_of(seed: int) -> Drawn:
        rows = np.random.default_rng([0, seed]).permutation(len(controls))[:wanted]
        return Drawn(controls.iloc[rows].reset_index(drop=True), edges[rows])

    return partial(of_table, pool_of, nodes.iloc[kept].reset_index(drop=True), spec)


class Source(NamedTuple):
    """A kind of null cohorts: settings in words, and what makes the function from a seed to the calls of a cohort."""

    about: str
    make: Callable[[Path, Path], Callable[[int], Calls]]


SOURCES = {
    "simulated": Source("50 + 50 simulated people of two sites, 60 regions, 999 permutations", partial(simulated, False)),
    "one_site": Source("50 + 50 simulated people of one site, 60 regions, 999 permutations", partial(simulated, True)),
    "abide": Source("50 + 50 controls of ABIDE, 100 regions, 999 permutations", abide),
}
