"""What is done to a cohort: nothing, motion tied to the group, or a planted disruption."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.planted.plant import PATTERNS, choose_carriers, choose_pattern
from dysconnect.validate.pools import Pool

MOTION = "mean_fd"
SPILL = 0.1  # standard deviations: an edge that was not chosen and moves by more is neither true nor false


class Scenario(NamedTuple):
    """One row of the design; where nothing is planted `pattern` is empty, `carriers` and `d` are 0.

    `carriers` is a share of the patients, `d` the effect in them.
    """

    scenario: str
    pattern: str
    carriers: float
    d: float


NULL, CONFOUNDED, UNADJUSTED = (  # "null" would read as missing
    Scenario(name, "", 0.0, 0.0) for name in ("no difference", "confounded", "confounded, not adjusted")
)


def planted_scenarios(
    patterns: Sequence[str], carriers: Sequence[float], effects: Sequence[float]
) -> list[list[Scenario]]:
    """All patterns with all effects, each a list of the same in all shares of the patients.

    Raises
    ------
    ValueError
        When a pattern is unknown, a share is none, or an effect is not positive.
    """
    unknown = [name for name in patterns if name not in PATTERNS]
    if unknown:
        raise ValueError(f"validate.patterns: {', '.join(unknown)} is unknown. Choose of {', '.join(PATTERNS)}.")
    none = [share for share in carriers if not 0 < share <= 1]
    if none:
        raise ValueError(
            f"validate.carriers: {none[0]:g} is no share of the patients. Give 1 for all of them, 0.5 for half."
        )
    wrong = [d for d in effects if not d > 0]
    if wrong:
        raise ValueError(
            f"validate.effects: {wrong[0]:g} is not positive. Give Cohen's d of the planted edges, 0.8 say; cohorts "
            "without any effect are made anyway."
        )
    return [
        [Scenario("planted", pattern, float(share), float(d)) for share in carriers]
        for pattern in patterns
        for d in effects
    ]


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
    pool: Pool,
    edges: np.ndarray,
    labels: np.ndarray,
    chosen: pd.DataFrame,
    scenario: Scenario,
    spec: dict,
    seed: list,
    disrupted: dict[int, np.ndarray] | None = None,
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
    disrupted : dict of int to array, [E]
        Connectomes with this pattern and effect, by person: filled, for scenarios that differ in their carriers only.

    Returns
    -------
    edges : array, [n, E]
    truth : Truth
    """
    disrupted = {} if disrupted is None else disrupted
    patients = np.flatnonzero(labels == 1)
    carriers = choose_carriers(patients, scenario.carriers, np.random.default_rng(seed))
    shift = scenario.d * (chosen["direction"] * pool.spread[chosen["edge"]]).to_numpy()
    changed = edges.copy()
    for person in carriers:
        if person not in disrupted:
            disrupted[person] = pool.edges(person, pool.grounds[person].planted(chosen, shift), spec)
        changed[person] = disrupted[person]
    direction = np.zeros(edges.shape[1], int)
    direction[chosen["edge"]] = chosen["direction"]
    mean_shift = (changed - edges)[patients].mean(0) / edges.std(0, ddof=1)
    return changed, Truth(direction, (np.abs(mean_shift) > SPILL) | (direction != 0))


def chosen_edges(nodes: pd.DataFrame, pattern: str, spec: dict, seed: list) -> pd.DataFrame:
    """Edges of a pattern."""
    return choose_pattern(nodes, pattern, spec["circuits"], spec["edges"], np.random.default_rng(seed))
