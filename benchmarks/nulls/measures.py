"""Null cohorts of the measures over time: as `localize` tests them, by all of the table of methods.

26 + 26 simulated people of ten regions of the motor loops. With motion, patients move 1.6 times as much, and by as much
more while they tap; and what motion leaves in the signal is four times as strong, as in the validation. In task cohorts
patients respond less as well, as the simulated cohort always has it.
"""

from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path

import pandas as pd
from verdicts import cohort_of, prepare

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.localize.beside import prepared
from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.tested import complete_edges
from dysconnect.plan.run import Run, plan_run
from dysconnect.planted.simulated import simulate_dataset
from nulls.scenarios import ALPHA, OUT, PERMUTATIONS, ROOT, SCENARIOS, Calls, anything, called, without_motion

SET = (
    "dataset.patients=26 dataset.controls=26 dataset.defects={short:0,corrupted:0,dead_regions:0,missing:0} "
    f"dataset.plant.effect=0 dataset.plant.edges=6 localize.permutations={PERMUTATIONS} denoise.max_mean_fd=1"
)
MOVES = {"plain": "", "motion": " dataset.motion_ratio=1.6 dataset.motion_artefact=8"}


@cache
def planned(measure: str, moves: str) -> Run:
    """The run of a measure."""
    chosen = {"dataset": "simulated", "connectivity": measure, "atlas": "motor10", "experiment": "floor"}
    return plan_run(ROOT, chosen | {"overrides": SET + MOVES[moves]})


def made(measure: str, moves: str, seed: int) -> tuple[pd.DataFrame, dict]:
    """People of a seed and their denoised series; of a task and its change they are the same."""
    run = planned(measure, moves)
    dataset, nodes = run.cohort["dataset"], load_atlas(run.cohort["atlas"]["nodes"])
    dataset |= {"seed": seed, "plant": dataset["plant"] | {"seed": seed}}
    return prepare(simulate_dataset(dataset, nodes), run, nodes)


def ready(cohort: Cohort, nodes: pd.DataFrame, spec: dict) -> Ingredients:
    """A cohort as `localize` makes it ready for the methods."""
    measured, tested, _ = complete_edges(cohort, spec["max_missing"])
    edges, people, nuisance = prepared(cohort, measured, tested, spec["nuisance"])
    circuits = edge_circuits(nodes, cohort.directed)[tested]
    loops = {name: circuits == name for name in pd.unique(circuits) if name}
    rows, cols = (end[tested] for end in cohort.pairs.ends)
    regions = Regions((rows, cols, len(nodes)), loops, nodes["system"].to_numpy(str))
    return Ingredients(edges, people, regions, spec | {"nuisance": nuisance})


def tested(cohort: Cohort, nodes: pd.DataFrame, spec: dict) -> dict[str, bool]:
    """Calls of the table of methods, and whether the page says that anything at all differs."""
    shared = ready(cohort, nodes, spec)
    return called(shared) | {"anything at all": anything(shared) <= ALPHA}


def of_measure(made: Callable, measure: str, seed: int) -> Calls:
    """Calls in the cohorts of a seed."""
    calls = {}
    for moves, scenarios in zip(MOVES, (SCENARIOS[:1], SCENARIOS[1:])):
        run = planned(measure, moves)
        nodes, spec = load_atlas(run.cohort["atlas"]["nodes"]), run.cohort["localize"] | {"seed": seed}
        cohort = cohort_of(measure, *made(measure.removesuffix("_change"), moves, seed), run, nodes)
        for scenario in scenarios:
            left = without_motion(spec["nuisance"]) if scenario == OUT else spec["nuisance"]
            calls[scenario] = tested(cohort, nodes, spec | {"nuisance": left})
    return calls


def measure(name: str, data: Path, work: Path) -> Callable[[int], Calls]:
    """Of one measure."""
    return partial(of_measure, made, name)


def tasks(data: Path, work: Path) -> Callable[[int], Calls]:
    """Of connectivity in the task and of its change from rest, from the same series."""
    once = lru_cache(maxsize=2)(made)

    def both(seed: int) -> Calls:
        calls = {name: of_measure(once, name, seed) for name in ("task", "task_change")}
        return {
            scenario: {f"{name}: {method}": hit for name in calls for method, hit in calls[name][scenario].items()}
            for scenario in SCENARIOS
        }

    return both
