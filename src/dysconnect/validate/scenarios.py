"""What is done to a cohort: nothing, motion tied to the group, or a planted disruption."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.planted.plant import PATTERNS, choose_carriers, choose_pattern
from dysconnect.validate.pools import Pool

MOTION = "mean_fd"
CARRIERS = "carriers"  # the pattern `circuit` in half of the patients
SPILL = 0.1  # standard deviations: an edge that was not chosen and moves by more is neither true nor false


class Scenario(NamedTuple):
    """One row of the design; `pattern` is empty and `d` 0 where nothing is planted."""

    scenario: str
    pattern: str
    d: float


NULL, CONFOUNDED = Scenario("no difference", "", 0.0), Scenario("confounded", "", 0.0)  # "null" reads as missing
UNADJUSTED = Scenario("confounded, not adjusted", "", 0.0)


def planted_scenarios(patterns: Sequence[str], effects: Sequence[float]) -> list[Scenario]:
    """All patterns with all effects.

    Raises
    ------
    ValueError
        When a pattern is unknown, or an effect is not positive.
    """
    known = [*PATTERNS, CARRIERS]
    unknown = [name for name in patterns if name not in known]
    if unknown:
        raise ValueError(f"validate.patterns: {', '.join(unknown)} is unknown. Choose of {', '.join(known)}.")
    wrong = [d for d in effects if not d > 0]
    if wrong:
        raise ValueError(
            f"validate.effects: {wrong[0]:g} is not positive. Give Cohen's d of the planted edges, 0.8 say; cohorts "
            "without any effect are made anyway."
        )
    return [Scenario("planted", pattern, float(d)) for pattern in patterns for d in effects]


def draw_labels(people: pd.DataFrame, patients: int, confounding: float, rng: np.random.Generator) -> np.ndarray:
    """Call some people patients, in every site the same share, [n] of 0 and 1.

    Parameters
    ----------
    people : DataFrame, [n rows]
        `site`; `mean_fd` where motion is tied to the group.
    patients : int
        How many.
    confounding : float
        0: at random. Else those are patients who are highest in ``confounding * z + noise`` of their site, z being the
        standardized log of motion and the noise of variance one.
    rng : Generator
    """
    score = rng.standard_normal(len(people))
    if confounding:
        motion = np.log(people[MOTION].to_numpy(float))
        score += confounding * (motion - motion.mean()) / motion.std()
    sites = people["site"].to_numpy()
    labels, done, given = np.zeros(len(people), int), 0, 0
    for site in rng.permutation(np.unique(sites)):
        members = np.flatnonzero(sites == site)
        done += len(members)
        wanted = round(patients * done / len(people)) - given
        labels[members[np.argsort(-score[members])[:wanted]]] = 1
        given += wanted
    return labels


@dataclass(frozen=True)
class Truth:
    """What is true of every edge, each [E]: `direction` (-1, 0, 1) of the planted ones, `moved` of all that differ."""

    direction: np.ndarray
    moved: np.ndarray

    @classmethod
    def nothing(cls, n_edges: int) -> "Truth":
        """No edge differs."""
        return cls(np.zeros(n_edges, int), np.zeros(n_edges, bool))

    @property
    def planted(self) -> np.ndarray:
        """Chosen edges, bool [E]."""
        return self.direction != 0


def plant_scenario(
    pool: Pool, edges: np.ndarray, labels: np.ndarray, chosen: pd.DataFrame, scenario: Scenario, spec: dict, seed: list
) -> tuple[np.ndarray, Truth]:
    """Plant a disruption in the series of the patients.

    Correlations are not free: edges near the chosen ones move with them. Every carrier is known with and without the
    disruption, so that it is known which ones, and by how much.

    Parameters
    ----------
    pool : Pool
    edges : array, [n, E]
        Connectomes of everybody without it.
    labels : array, [n]
    chosen : DataFrame
        Of `choose_pattern`.
    scenario : Scenario
    spec : dict
    seed : list of int

    Returns
    -------
    edges : array, [n, E]
    truth : Truth
    """
    patients = np.flatnonzero(labels == 1)
    fraction = 0.5 if scenario.pattern == CARRIERS else 1.0
    carriers = choose_carriers(patients, fraction, np.random.default_rng(seed))
    shift = scenario.d * (chosen["direction"] * pool.spread[chosen["edge"]]).to_numpy()
    changed = edges.copy()
    for person in carriers:
        changed[person] = pool.edges(person, pool.grounds[person].planted(chosen, shift), spec)
    direction = np.zeros(edges.shape[1], int)
    direction[chosen["edge"]] = chosen["direction"]
    mean_shift = (changed - edges)[patients].mean(0) / edges.std(0, ddof=1)
    return changed, Truth(direction, (np.abs(mean_shift) > SPILL) | (direction != 0))


def chosen_edges(nodes: pd.DataFrame, pattern: str, spec: dict, seed: list) -> pd.DataFrame:
    """Edges of a pattern."""
    shape = "circuit" if pattern == CARRIERS else pattern
    return choose_pattern(nodes, shape, spec["circuits"], spec["edges"], np.random.default_rng(seed))
