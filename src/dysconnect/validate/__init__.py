"""Validation: does the localization keep its promises on cohorts whose truth is known?

Cohorts are made again and again from people between whom there is no difference: fresh ones of the simulator, or real
controls. Either nothing is done to them, or motion is tied to the group, or a disruption is planted in the series of
the patients. Every method of the table that the localization itself reads is run on the same cohorts.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.methods import Outcome, run_methods
from dysconnect.validate.pools import Pool, controls_of, real_pool, simulated_pool, thin
from dysconnect.validate.scenarios import (
    CONFOUNDED,
    MOTION,
    NULL,
    UNADJUSTED,
    Scenario,
    Truth,
    chosen_edges,
    draw_labels,
    plant_scenario,
    planted_scenarios,
)
from dysconnect.validate.scores import COLUMNS, KEYS, gather, score_cohort, stability

__all__ = ["gather", "pool_maker", "validate_batch"]


def pool_maker(
    dataset: dict, nodes: pd.DataFrame, spec: dict, participants: pd.DataFrame | None, index: pd.DataFrame | None
) -> Callable[[int], Pool]:
    """Return the function that makes the people of a cohort by its number.

    Parameters
    ----------
    dataset : dict
        The `dataset` section: of a simulated cohort all of it, of others the `contrast`.
    nodes : DataFrame, [N rows]
        The whole atlas.
    spec : dict
        The `validate` section.
    participants, index : DataFrame or None
        After the `timeseries` stage, and of the series before denoising; not of a simulated cohort.
    """
    kept, wanted = thin(nodes, spec["regions"]), spec["patients"] + spec["controls"]
    if participants is None:
        some = nodes.iloc[kept].reset_index(drop=True)
        return lambda cohort: simulated_pool(dataset, some, wanted, [spec["seed"], cohort])
    controls = controls_of(participants, index, dataset["contrast"]["controls"], wanted)
    return lambda cohort: real_pool(controls, nodes, kept, wanted, [spec["seed"], cohort])


def validate_batch(
    make_pool: Callable[[int], Pool], nodes: pd.DataFrame, spec: dict, part: str, cohorts: Sequence[int]
) -> pd.DataFrame:
    """Make some cohorts, run all methods on each, and score them.

    Parameters
    ----------
    make_pool : function of int
        Makes the people of a cohort.
    nodes : DataFrame, [N rows]
        The whole atlas.
    spec : dict
        `validate`, `localize`, `denoise`: the sections; `estimator`: of the connectomes; `batch`: number of this
        batch, whose cohorts share their planted edges.
    part : {"null", "planted"}
        Cohorts without a difference, plain and confounded; or with all planted ones.
    cohorts : sequence of int

    Returns
    -------
    DataFrame
        `COLUMNS` and `stability`.
    """
    kept = thin(nodes, spec["validate"]["regions"])
    nodes = nodes.iloc[kept].reset_index(drop=True)
    regions = Regions.of_atlas(nodes)
    make = null_outcomes if part == "null" else planted_outcomes
    tables, calls, start = [], {}, time.monotonic()
    for done, cohort in enumerate(cohorts):
        for scenario, outcomes, truth, statistic in make(make_pool(cohort), nodes, regions, spec, cohort):
            key = {"cohort": cohort, "batch": f"{part}_{spec['batch']}"}
            tables.append(score_cohort(outcomes, truth, statistic).assign(**scenario._asdict(), **key))
            for one in outcomes:
                if len(one.called) and one.bound is None:
                    calls.setdefault((*scenario, one.method), []).append(one.called)
        left = (time.monotonic() - start) / (done + 1) * (len(cohorts) - done - 1)
        print(f"{part} cohorts: {done + 1} of {len(cohorts)} done, about {left:.0f} s left", flush=True)
    table = pd.concat(tables, ignore_index=True)
    stable = {key: stability(called) for key, called in calls.items()}
    keys = zip(*(table[name] for name in (*KEYS, "method")))
    return table[COLUMNS].assign(stability=[stable.get(key, np.nan) for key in keys])


Made = tuple[Scenario, list[Outcome], Truth, np.ndarray]


def null_outcomes(pool: Pool, nodes: pd.DataFrame, regions: Regions, spec: dict, cohort: int) -> Iterator[Made]:
    """Yield scenario, outcomes, truth and statistics [E] of the cohorts without a difference."""
    settings, nuisance = spec["validate"], list(spec["localize"]["nuisance"])
    edges = pool.all_edges(spec)
    nothing = Truth.nothing(edges.shape[1])
    outcomes, statistic = _tested(edges, labelled(pool, settings, 0.0, cohort), regions, spec, nuisance)
    yield NULL, outcomes, nothing, statistic
    if MOTION not in nuisance:
        print(f"{MOTION} is no covariate of the localization (localize.nuisance): no confounded cohorts")
        return
    people = labelled(pool, settings, settings["confounding"], cohort)
    edges = pool.all_edges(spec, settings["artefact"]) if pool.is_simulated else edges
    without = [name for name in nuisance if not name.endswith(MOTION)]  # nor its logarithm
    for scenario, covariates in ((CONFOUNDED, nuisance), (UNADJUSTED, without)):
        outcomes, statistic = _tested(edges, people, regions, spec, covariates)
        yield scenario, outcomes, nothing, statistic


def planted_outcomes(pool: Pool, nodes: pd.DataFrame, regions: Regions, spec: dict, cohort: int) -> Iterator[Made]:
    """Yield scenario, outcomes, truth and statistics [E] of the cohorts with a planted disruption."""
    settings, nuisance = spec["validate"], spec["localize"]["nuisance"]
    edges, people = pool.all_edges(spec), labelled(pool, settings, 0.0, cohort)
    labels, seed = people["label"].to_numpy(), [settings["seed"], cohort]
    for alike in planted_scenarios(settings["patterns"], settings["carriers"], settings["effects"]):
        pattern, disrupted = alike[0].pattern, {}
        place = [settings["seed"], spec["batch"], settings["patterns"].index(pattern)]
        chosen = chosen_edges(nodes, pattern, settings, place)
        for scenario in alike:
            changed, truth = plant_scenario(pool, edges, labels, chosen, scenario, spec, seed, disrupted)
            outcomes, statistic = _tested(changed, people, regions, spec, nuisance)
            yield scenario, outcomes, truth, statistic


def labelled(pool: Pool, settings: dict, confounding: float, cohort: int) -> pd.DataFrame:
    """People with `label`: the patients of this cohort."""
    rng = np.random.default_rng([settings["seed"], cohort, 1])
    return pool.participants.assign(label=draw_labels(pool.participants, settings["patients"], confounding, rng))


def _tested(
    edges: np.ndarray, people: pd.DataFrame, regions: Regions, spec: dict, nuisance: Sequence[str]
) -> tuple[list[Outcome], np.ndarray]:
    """Outcomes of all methods, and t of every edge."""
    settings = {**spec["localize"], "permutations": spec["validate"]["permutations"], "nuisance": nuisance}
    with contextlib.redirect_stdout(None):  # a line a method and cohort would bury the progress
        shared = Ingredients(edges, people, regions, settings)
        return run_methods(shared), shared.statistics().t
