"""Every person against the norm of the controls: tables of people, their circuits and their edges."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.localize.deviation import NoNormError, circuit_table, deviations, edge_table, person_table
from dysconnect.localize.tested import complete_edges


class People(NamedTuple):
    """What `describe_people` finds."""

    people: pd.DataFrame
    circuits: pd.DataFrame
    edges: pd.DataFrame


def describe_people(cohort: Cohort, circuits: pd.DataFrame, spec: dict) -> People:
    """Measure how every person deviates from the controls, given the nuisance covariates.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of labelled subjects.
    circuits : DataFrame
        `circuit` and `edge`, from `atlas.circuit_edges`.
    spec : dict
        The `localize` section: `nuisance`, `alpha`, `max_missing`, `deviant_edges` (how many of a person are named).

    Returns
    -------
    people : DataFrame
        As of `person_table`, with the most deviant circuit: `circuit`, its `circuit_z` and `circuit_p_max`.
    circuits, edges : DataFrame
        As of `circuit_table` and `edge_table`; without rows, and people without numbers, where the controls are too few
        for a norm.
    """
    complete, tested, _ = complete_edges(cohort, spec["max_missing"])
    lost = cohort.lacking(np.s_[:])[:, tested]
    try:
        measured = deviations(complete, cohort.participants, spec["nuisance"], lost if lost.any() else None)
    except NoNormError as error:  # the group can be tested all the same
        print(f"nobody is compared with the controls: {error}", flush=True)
        return _nobody(cohort)
    place = np.cumsum(tested) - 1
    inside = circuits[tested[circuits["edge"]]].groupby("circuit", sort=False)["edge"]
    loops = circuit_table(measured, {name: place[edges.to_numpy()] for name, edges in inside}) if len(inside) else None
    pairs = cohort.edge_names[tested].reset_index(drop=True)
    people = person_table(measured, spec["alpha"])
    if loops is None:
        return People(
            people, pd.DataFrame(columns=["participant_id"]), edge_table(measured, pairs, spec["deviant_edges"])
        )
    first = loops.drop_duplicates("participant_id")[["participant_id", "circuit", "mean_z", "p_max"]]
    first = first.rename(columns={"mean_z": "circuit_z", "p_max": "circuit_p_max"})
    return People(
        people.merge(first, on="participant_id", how="left"), loops, edge_table(measured, pairs, spec["deviant_edges"])
    )


def _nobody(cohort: Cohort) -> People:
    known = {"pooled": "", "beyond": "", "df": 0, "largest_z": np.nan, "p_max": np.nan, "n_fdr": 0, "n_controls": 0}
    none = pd.DataFrame(columns=["participant_id", "label"])
    return People(cohort.participants[["participant_id", "label"]].assign(**known), none, none)
