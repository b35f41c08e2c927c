"""The formula for a planted effect is that of planting it, and what a component is said to need is what it needs."""

import dataclasses

import numpy as np
import pytest

from dysconnect.localize.component_power import PlantedEdges, component_power, grown_component
from dysconnect.localize.components import adaptive_network_based, permuted_edges
from dysconnect.localize.power import group_size, power_table, residual_noise, simulated_power
from dysconnect.localize.statistics import edge_statistics, residual_unit

NUISANCE, N_NODES = ["age", "sex", "site", "mean_fd"], 16
ENDS = (*np.triu_indices(N_NODES, k=1), N_NODES)


@pytest.fixture(scope="module")
def cohort(make_cohort):
    return make_cohort(n=60, n_nodes=N_NODES)


def test_planting_is_the_formula(cohort):
    """An effect along the permuted group, planted in the residuals of every edge and tested as any other."""
    people, planted, d = cohort.participants, np.array([2, 5, 11]), 0.7
    noise = residual_noise(cohort.values.astype(float), people, NUISANCE)
    plain = permuted_edges(noise, people, NUISANCE, ENDS, 20, 0)
    size = group_size(people, NUISANCE)[0]
    own = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    moved = PlantedEdges(**own, planted=planted, shift=d * size)
    found, again = (np.concatenate([r for _, r in moved.chunks("planted")]) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    groups = np.concatenate(list(plain._groups()))
    for k in (0, 1, 20):
        moved = noise.copy()
        moved[:, planted] += d * size * groups[k][:, None]
        np.testing.assert_allclose(found[k], groups[k] @ residual_unit(moved, plain.basis), atol=1e-5)
    assert found[1:, planted].mean() > 0.2 and abs(np.delete(found, planted, axis=1).mean()) < 0.02


def test_a_component_hangs_together_and_stays_in_its_pool():
    rows, cols, _ = ENDS
    pool = np.flatnonzero((rows < 8) & (cols < 8))
    for seed in range(5):
        own = grown_component(rows, cols, pool, 10, np.random.default_rng(seed))
        assert len(set(own)) == 10 and set(own) <= set(pool)
        reached = {rows[own[0]], cols[own[0]]}
        for edge in own[1:]:
            assert {rows[edge], cols[edge]} & reached
            reached |= {rows[edge], cols[edge]}
    apart = np.flatnonzero((rows == 0) & (cols == 1) | (rows == 4) & (cols == 5))
    assert len(grown_component(rows, cols, apart, 10, np.random.default_rng(0))) == 1


def test_a_detectable_component_is_detected_about_four_times_in_five(cohort):
    """Against planting in whole cohorts, each tested with its own permutations."""
    people, thresholds = cohort.participants, [2.5, 3.0, 3.5]
    critical = np.quantile(edge_statistics(cohort.values, people, NUISANCE, 300, 0).max_null, 0.95)
    one = power_table(cohort.values, people, NUISANCE, {}, critical)["detectable_d"][0]
    size, d = component_power(cohort.values, people, NUISANCE, ENDS, thresholds, {}, one, 0.05, 0)
    assert size == 20 and 0.3 * one < d < 0.9 * one
    planted = np.zeros(120)
    planted[grown_component(*ENDS[:2], np.arange(120), 20, np.random.default_rng([0, 6]))] = 1

    def call(values: np.ndarray) -> bool:
        found = adaptive_network_based(permuted_edges(values, people, NUISANCE, ENDS, 99, 1), thresholds)
        return bool(found.p_edge.min() <= 0.05)

    counted = simulated_power(call, cohort.values, people, NUISANCE, planted, [0.5 * d, d, 1.5 * d], 60, 0)
    assert counted["low"][1] - 0.05 < 0.8 < counted["high"][1] + 0.05
    assert counted["power"][0] < 0.6 and counted["power"][2] > 0.9


def test_where_no_effect_suffices_it_is_nan(cohort):
    _, d = component_power(cohort.values, cohort.participants, NUISANCE, ENDS, [3.0], {}, 0.1, 0.05, 0)
    assert np.isnan(d)
