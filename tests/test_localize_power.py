"""What is said to be detectable is detected four times in five: by closed form and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, norm
from scipy.stats import t as student

from dysconnect.localize.power import (
    detectable,
    group_size,
    needed_effect,
    power_at,
    power_table,
    residual_noise,
    simulated_power,
)
from dysconnect.localize.statistics import edge_statistics, nuisance_basis, residual_unit, to_t

NUISANCE = ["age", "sex", "site", "mean_fd"]


def test_power_equals_statsmodels():
    peer = pytest.importorskip("statsmodels.stats.power", reason="statsmodels (of the imaging extra) is absent")
    size, df = np.sqrt(27 * 35 / 62), 60
    critical = student.isf(0.025, df)
    for d in (0.0, 0.4, 0.8):
        expected = peer.TTestIndPower().power(d, 27, 0.05, ratio=35 / 27)
        assert power_at(d, size, df, critical) == pytest.approx(expected, abs=1e-5)
    needed = peer.TTestIndPower().solve_power(None, 27, 0.05, 0.8, ratio=35 / 27)
    assert detectable(size, df, critical) == pytest.approx(needed, rel=1e-4)


def test_power_is_that_of_the_noncentral_t():
    for df, critical, d in ((5, 2.5, 1.0), (20, 4.0, 1.5), (90, 4.5, 0.9), (9000, 1.96, 0.5)):
        expected = nct.sf(critical, df, 3 * d) + nct.cdf(-critical, df, 3 * d)
        assert power_at(d, 3.0, df, critical) == pytest.approx(expected, abs=1e-5)
    assert power_at(0, 3.0, 12, 4.0) == pytest.approx(2 * student.sf(4.0, 12), rel=0.02)


def test_many_people_need_the_normal_approximation():
    size, critical = np.sqrt(5000**2 / 10000), 4.0
    assert detectable(size, 9998, critical) == pytest.approx((critical + norm.ppf(0.8)) / size, rel=1e-3)
    assert detectable(size, 9998, critical, power=0.5) == pytest.approx(critical / size, rel=1e-3)


def test_a_test_that_always_calls_needs_no_effect():
    assert detectable(3.0, 20, 0.1) == 0


def test_covariates_that_go_with_the_group_cost_power(make_participants):
    people = make_participants(60)
    free, df = group_size(people, [])
    assert (free, df) == (pytest.approx(np.sqrt(30 * 30 / 60)), 58)
    bound, less = group_size(people.assign(age=people["age"] + 20 * people["label"]), ["age"])
    assert less == 57
    assert bound < 0.8 * free
    assert detectable(bound, less, 4.0) > 1.2 * detectable(free, df, 4.0)


@pytest.mark.parametrize("covariates", [[], ["age", "mean_fd"]])
def test_a_detectable_edge_is_detected_four_times_in_five(make_participants, covariates):
    people = make_participants(60)
    people = people.assign(age=people["age"] + 10 * people["label"])
    rng, (size, df) = np.random.default_rng(0), group_size(people, covariates)
    d = detectable(size, df, 3.7)
    edges = rng.normal(size=(60, 4000)) + d * people["label"].to_numpy()[:, None] + 0.1 * people[["age"]].to_numpy()
    if not covariates:
        edges -= 0.1 * people[["age"]].to_numpy()
    basis = nuisance_basis(people, covariates)
    group = residual_unit(people[["label"]].to_numpy(float), basis)[:, 0]
    t = to_t(group @ residual_unit(edges, basis), df)
    assert (np.abs(t) > 3.7).mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 4000))


@pytest.fixture(scope="module")
def correlated(make_participants):
    """People, edges with a shared factor in the first circuit only, and the circuits."""
    people, rng = make_participants(200), np.random.default_rng(1)
    edges = rng.normal(size=(200, 60))
    edges[:, :20] = np.sqrt(0.7) * edges[:, :20] + np.sqrt(0.3) * rng.normal(size=(200, 1))
    edges *= rng.uniform(0.1, 3, 60)
    return edges, people, {"together": np.arange(20), "apart": np.arange(20, 60)}


def test_a_circuit_needs_less_than_an_edge_and_more_where_edges_go_together(correlated):
    edges, people, circuits = correlated
    table = power_table(edges, people, NUISANCE, circuits, 3.9).set_index("what")
    assert table["n_edges"].tolist() == [1, 20, 40]
    size, df = group_size(people, NUISANCE)
    assert table.loc["edge", "detectable_d"] == pytest.approx(detectable(size, df, 3.9))
    assert table.loc["together", "spread"] == pytest.approx(np.sqrt(0.3 + 0.7 / 20), rel=0.15)
    assert table.loc["apart", "spread"] == pytest.approx(np.sqrt(1 / 40), rel=0.15)
    assert table.loc["apart", "critical_t"] == pytest.approx(student.isf(0.0125, df))
    assert table["detectable_d"].is_monotonic_decreasing


@pytest.mark.parametrize("name", ["together", "apart"])
def test_a_detectable_circuit_is_detected_four_times_in_five(correlated, name):
    """The closed form against shuffled residuals, tested with the standard deviations of the shuffled cohort."""
    edges, people, circuits = correlated
    row = power_table(edges, people, NUISANCE, circuits, 3.9).set_index("what").loc[name]
    planted = np.isin(np.arange(60), circuits[name]).astype(float)
    basis = nuisance_basis(people, NUISANCE)
    group = residual_unit(people[["label"]].to_numpy(float), basis)[:, 0]

    def call(values: np.ndarray) -> bool:
        mean = values[:, circuits[name]].mean(1, keepdims=True)
        return abs(to_t(group @ residual_unit(mean, basis), 200 - 6)[0]) > row["critical_t"]

    d = row["detectable_d"]
    counted = simulated_power(call, edges, people, NUISANCE, planted, [0.0, 0.5 * d, d, 2 * d], 600, 0)
    assert counted["power"].is_monotonic_increasing
    assert counted["power"][2] == pytest.approx(0.8, abs=0.06)
    assert counted["power"][0] < 0.08  # 0.025, two-sided
    assert counted["power"][3] > 0.99
    assert ((counted["low"] <= counted["power"]) & (counted["power"] <= counted["high"])).all()


def test_simulated_power_of_max_t_agrees_with_the_closed_form(correlated):
    edges, people, _ = correlated
    critical = np.quantile(edge_statistics(edges, people, NUISANCE, 300, 0).max_null, 0.95)
    needed = power_table(edges, people, NUISANCE, {}, critical)["detectable_d"][0]
    basis, planted = nuisance_basis(people, NUISANCE), np.eye(60)[33]
    group = residual_unit(people[["label"]].to_numpy(float), basis)[:, 0]

    def call(values: np.ndarray) -> bool:
        return abs(to_t(group @ residual_unit(values[:, 33:34], basis), 194)[0]) > critical

    counted = simulated_power(call, edges, people, NUISANCE, planted, needed * np.linspace(0.6, 1.4, 9), 400, 1)
    assert needed_effect(counted) == pytest.approx(needed, rel=0.06)


def test_noise_keeps_the_correlation_and_loses_the_group(correlated):
    edges, people, _ = correlated
    noise = residual_noise(edges, people, NUISANCE)
    np.testing.assert_allclose((noise**2).mean(0), 1)
    labels = people["label"].to_numpy()
    np.testing.assert_allclose(noise[labels == 1].mean(0), noise[labels == 0].mean(0), atol=1e-10)
    assert np.corrcoef(noise[:, 0], noise[:, 1])[0, 1] == pytest.approx(0.3, abs=0.15)
    assert (residual_noise(np.ones((200, 1)), people, NUISANCE) == 0).all()


def test_interpolation_by_hand():
    counted = pd.DataFrame({"d": [0.2, 0.4, 0.6, 0.8], "power": [0.1, 0.5, 0.9, 0.85]})
    assert needed_effect(counted) == pytest.approx(0.55)
    assert needed_effect(counted, 0.05) == 0.2
    assert np.isnan(needed_effect(counted, 0.95))


def test_a_circuit_without_edges_is_refused(correlated):
    edges, people, _ = correlated
    with pytest.raises(ValueError, match="circuit nowhere has no edges"):
        power_table(edges, people, NUISANCE, {"nowhere": np.array([], int)}, 3.9)
