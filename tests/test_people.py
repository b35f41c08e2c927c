"""Every person against the norm: the deviant one is named, missing regions are no deviation."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dysconnect.localize.people import describe_people

SPEC = {"nuisance": ["age", "sex"], "alpha": 0.05, "max_missing": 0.1, "deviant_edges": 5}
LOOPS = pd.DataFrame({"circuit": ["loop"] * 6 + ["other"] * 6, "edge": [*range(6), *range(20, 26)]})


@pytest.fixture(scope="module")
def cohort(make_cohort):
    """Sixty people, of whom the first patient's loop is far from the norm."""
    plain = make_cohort(n=60, planted=range(0), shift=0.0, seed=3)
    values = plain.values.copy()
    values[np.flatnonzero(plain.labels == 1)[0], :6] -= 8 * values[:, :6].std(0)
    return dataclasses.replace(plain, values=values)


def test_the_deviant_patient_is_named_with_circuit_and_edges(cohort):
    found = describe_people(cohort, LOOPS, SPEC)
    name = cohort.participants["participant_id"][np.flatnonzero(cohort.labels == 1)[0]]
    row = found.people.set_index("participant_id").loc[name]
    assert row["p_max"] <= 0.05 and row["circuit"] == "loop" and row["circuit_z"] < 0
    assert found.people["p_max"].idxmin() == found.people.index[found.people["participant_id"] == name][0]
    edges = found.edges[found.edges["participant_id"] == name]
    rows, cols = np.triu_indices(len(cohort.nodes), k=1)
    planted = {(cohort.nodes[rows[k]], cohort.nodes[cols[k]]) for k in range(6)}
    assert len(edges) == 5 and set(zip(edges["region_a"], edges["region_b"])) <= planted
    assert set(edges["direction"]) == {"lower"}


def test_everybody_has_a_row_and_every_circuit(cohort):
    found = describe_people(cohort, LOOPS, SPEC)
    assert found.people["participant_id"].tolist() == cohort.participants["participant_id"].tolist()
    assert len(found.circuits) == 2 * len(cohort.labels)


def test_an_atlas_without_circuits_gives_people_all_the_same(cohort):
    found = describe_people(cohort, LOOPS.iloc[:0], SPEC)
    assert len(found.people) == len(cohort.labels) and "circuit" not in found.people


def test_a_missing_region_is_no_deviation(cohort):
    missing = cohort.missing.copy()
    missing[1, 0] = True  # one person of sixty
    found = describe_people(dataclasses.replace(cohort, missing=missing), LOOPS, SPEC)
    name = cohort.participants["participant_id"][1]
    lost = found.edges[found.edges["participant_id"] == name]
    assert cohort.nodes[0] not in set(lost["region_a"])


def test_too_few_controls_leave_everybody_without_numbers_and_say_why(cohort, capsys):
    few = np.r_[np.flatnonzero(cohort.labels == 1)[:6], np.flatnonzero(cohort.labels == 0)[:4]]
    people = cohort.participants.iloc[few].reset_index(drop=True)
    small = dataclasses.replace(cohort, participants=people, values=cohort.values[few], missing=cohort.missing[few])
    found = describe_people(small, LOOPS, SPEC)
    assert found.people["largest_z"].isna().all() and found.edges.empty and found.circuits.empty
    assert "4 controls are too few for a norm" in capsys.readouterr().out
