"""Virtual normalisation: a planted hub is ranked first, specificity shows in the controls."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.models.edges import edges_from_matrix, matrix_from_edges
from dysconnect.stimulate import rank_targets, region_shifts
from dysconnect.train import cross_validate
from dysconnect.train.estimators import Cohort
from dysconnect.train.splits import make_splits

N = 20
SECTIONS = {
    "model": {"name": "ridge", "penalties": [0.1, 1.0, 10.0]},
    "measure": "correlation",
    "graph": {},
    "training": {"permutations": 0, "seed": 0},
}


@pytest.fixture(scope="module")
def nodes() -> pd.DataFrame:
    return pd.DataFrame({"name": [f"region {k}" for k in range(N)], "system": "cortex", "x": 0.0, "y": 0.0, "z": 0.0})


def cohort_with_hub(hub: int, effect: float, seed: int = 0) -> Cohort:
    rng = np.random.default_rng(seed)
    n = 80
    label = np.arange(n) % 2
    values = rng.standard_normal((n, N * (N - 1) // 2)).astype(np.float32)
    touched = edges_from_matrix(np.eye(N)[hub][:, None] + np.eye(N)[hub]) > 0
    values[np.ix_(label == 1, touched)] -= effect
    participants = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(n)], "label": label, "site": "one"})
    participants["age"] = rng.normal(50, 10, n)
    return Cohort(
        participants, values, np.zeros((n, N), bool), np.array([f"region {k}" for k in range(N)]), "correlation"
    )


def ranking(cohort: Cohort, nodes: pd.DataFrame) -> pd.DataFrame:
    splits = make_splits(cohort.participants, folds=4, repeats=2, seed=0)
    weights = cross_validate(cohort, splits, "ridge", SECTIONS).weights
    return rank_targets(cohort, splits, weights, nodes, ["age"])


def test_the_planted_hub_is_ranked_first(nodes):
    table = ranking(cohort_with_hub(7, 0.8), nodes)
    first = table.iloc[0]
    assert first["region"] == "region 7"
    assert first["shift"] < 0 and first["z_score"] < -3 and first["consistency"] > 0.8
    assert abs(first["controls"]) < abs(first["shift"]) / 4


def test_without_an_effect_no_region_stands_out(nodes):
    tops = [ranking(cohort_with_hub(7, 0.0, seed), nodes).iloc[0] for seed in range(5)]
    assert {top["region"] for top in tops} != {"region 7"}
    assert min(top["z_score"] for top in tops) > -4


def test_shifts_are_those_of_the_edited_connectome():
    rng = np.random.default_rng(0)
    excess, weights = rng.standard_normal((3, N * (N - 1) // 2)), rng.standard_normal(N * (N - 1) // 2)
    shifts = region_shifts(excess, weights, N)
    edited = matrix_from_edges(excess, N)
    edited[:, 4, :] = edited[:, :, 4] = 0
    by_hand = (edges_from_matrix(edited) - excess) @ weights
    np.testing.assert_allclose(shifts[:, 4], by_hand)
