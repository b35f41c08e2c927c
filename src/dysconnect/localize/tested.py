"""Who and which connections are tested, whatever the question."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import MissingRegions
from dysconnect.data.measures import measure_of


class NothingToTest(ValueError):
    """The people of this cohort cannot answer the question; the message says why and what to do."""


class CompleteEdges(NamedTuple):
    """`values` [n, tested], which are `tested` [E], and in how many people every edge is missing, `lost` [E]."""

    values: np.ndarray
    tested: np.ndarray
    lost: np.ndarray


def without_copies(cohort: Cohort) -> Cohort:
    """Keep one of several copies of a scan: people who are tested must be independent."""
    if "scan_group" not in cohort.participants:
        return cohort
    return chosen_people(cohort, ~cohort.participants["scan_group"].duplicated().to_numpy())


def chosen_people(cohort: Cohort, chosen: np.ndarray) -> Cohort:
    """Some people of a cohort, by a mask [n]."""
    people = cohort.participants[chosen].reset_index(drop=True)
    regional = {name: values[chosen] for name, values in cohort.regional.items()}
    graph = None if cohort.graph is None else cohort.graph[chosen]
    edges = {"values": cohort.values[chosen], "missing": cohort.missing[chosen], "graph": graph}
    return replace(cohort, participants=people, regional=regional, **edges)


def complete_edges(cohort: Cohort, max_missing: float) -> CompleteEdges:
    """Leave out edges that are missing in too many people, or were measured in nobody; fill in the rest."""
    lost = cohort.n_lacking
    lost[~cohort.measured] = len(cohort.values)  # measured in nobody
    tested = lost / len(cohort.values) <= max_missing
    filler = MissingRegions().fit(cohort.values, cohort.missing, cohort.pairs)
    complete = filler.transform(cohort.values, cohort.missing)
    return CompleteEdges(complete if tested.all() else complete[:, tested], tested, lost)


def tracts_seen(cohort: Cohort, circuits: np.ndarray) -> dict[str, float]:
    """Share of the controls in whom a streamline joins any two regions of each circuit; empty for other measures.

    Parameters
    ----------
    cohort : Cohort
    circuits : array of str, [E]
        Loop of every edge; empty where it is in none.
    """
    controls = np.flatnonzero(cohort.labels == 0)
    if not measure_of(cohort.measure).given or not len(controls):
        return {}
    joined = ~cohort.lacking(controls) & (cohort.values[controls] != 0)
    return {str(name): float(joined[:, circuits == name].any(1).mean()) for name in np.unique(circuits) if name}


def check_permutations(spec: dict) -> None:
    """Raise ValueError where the permutations are too few for alpha."""
    least = 1 / (1 + spec["permutations"])
    if least > spec["alpha"]:
        raise ValueError(
            f"{spec['permutations']} permutations give no p below {least:.3g}, so nothing can be found at alpha = "
            f"{spec['alpha']:g}. Set localize.permutations to {int(np.ceil(1 / spec['alpha']))} or more."
        )
