"""Targets are shown for a p of their own, over all kinds; where they have none, for that of their model."""

import numpy as np
import pytest
from scipy.stats import binomtest

from dysconnect.learning.permuted import Gate, target_gate
from dysconnect.stimulate.permute import across_kinds, permutation_p

KINDS = np.repeat(["node", "region", "circuit"], [20, 6, 3])


def any_target_p(one: np.ndarray) -> float:
    """Smallest p over the targets of all kinds."""
    return permutation_p(one, KINDS)[2].min()


def within_kinds(one: np.ndarray) -> float:
    """Smallest p of a target over its own kind."""
    return across_kinds((one - one.mean(0)) / one.std(0), KINDS)[0].min()


def shifts(seed: int, rows: int = 100) -> np.ndarray:
    """Shifts that go together, in spreads of their own."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, len(KINDS))) + rng.normal(size=(rows, 1))) * rng.uniform(0.1, 9, len(KINDS))


def test_where_nothing_is_there_a_twentieth_of_the_gates_open():
    p = np.array([any_target_p(shifts(seed)) for seed in range(1000)])
    assert binomtest(int((p <= 0.05).sum()), 1000, 0.05).pvalue > 0.01
    alone = [within_kinds(shifts(seed)) <= 0.05 for seed in range(300)]
    assert np.mean(alone) > 0.075  # the kinds' own p, the smallest of three


def test_it_is_no_smaller_than_the_p_of_a_kind():
    for seed in range(30):
        one = shifts(seed)
        assert any_target_p(one) >= within_kinds(one) - 1e-12


def test_one_strong_target_opens_it():
    one = shifts(0, 400)
    one[0, 3] -= 8 * one[:, 3].std()
    assert any_target_p(one) <= 3 / 400


@pytest.mark.parametrize("model", [Gate(True, 0.01, "ridge"), Gate(False, 0.4, "withheld: ridge")])
def test_the_targets_decide_and_without_a_p_the_model(model):
    assert target_gate(0.04, 0.05, "ridge", model).is_open and not target_gate(0.06, 0.05, "ridge", model).is_open
    assert target_gate(np.nan, 0.05, "ridge", model) is model
