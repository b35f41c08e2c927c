"""Null cohorts of the simulator's people and of real controls, tested by all of the table of methods."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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
from nulls.scenarios import PERMUTATIONS, ROOT, SCENARIOS, Calls

NAMED = dict(zip((NULL, CONFOUNDED, UNADJUSTED), SCENARIOS))


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
    return partial(of_table, *simulated_pools(one_site))


def simulated_pools(one_site: bool = False) -> tuple[Callable[[int], Pool], pd.DataFrame, dict]:
    """What makes the people of a seed, their regions, and the settings."""
    asked = f"validate.regions=60 validate.permutations={PERMUTATIONS}"
    run = plan_run(ROOT, {"dataset": "simulated", "experiment": "validate_localization", "overrides": asked})
    spec = settings_of(run.cohort, run.estimator(run.cohort["localize"]["measure"]))
    nodes = load_atlas(run.cohort["atlas"]["nodes"])
    nodes = nodes.iloc[thin(nodes, spec["validate"]["regions"])].reset_index(drop=True)
    wanted = spec["validate"]["patients"] + spec["validate"]["controls"]

    def pool_of(seed: int) -> Pool:
        pool = simulated_pool(run.cohort["dataset"], nodes, (1 + one_site) * wanted, [0, seed])
        return first_site(pool, wanted) if one_site else pool

    return pool_of, nodes, spec


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


def abide(more: list[str], data: Path, work: Path) -> Callable[[int], Calls]:
    """Controls of ABIDE, 50 + 50 of them in each cohort, 100 regions; with more covariates in the model."""
    config, _ = configurations(data / "abide", ["validate_localization"])
    config["validate"] |= {"regions": 100, "permutations": PERMUTATIONS}
    prepare(config, data / "abide", work)
    config["localize"]["nuisance"] += more
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
