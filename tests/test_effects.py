"""d of an edge: on the scale of power, covariates or not; its interval; and what is left of it once chosen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct, ttest_ind

from dysconnect.localize.effects import effect_interval, selection_shrinkage
from dysconnect.localize.power import group_size, power_at
from dysconnect.localize.statistics import edge_statistics, random_halves


def people(n: int, apart: float, seed: int = 0) -> pd.DataFrame:
    """Half patients, whose age differs by `apart` standard deviations."""
    rng, label = np.random.default_rng(seed), np.arange(n) % 2
    return pd.DataFrame({
        "participant_id": [f"sub-{k}" for k in range(n)], "label": label, "site": "one",
        "age": rng.normal(size=n) + apart * label,
    })  # fmt: skip


def effects(d: np.ndarray, apart: float, n: int = 200, seed: int = 0) -> tuple:
    table = people(n, apart, seed)
    rng = np.random.default_rng([seed, 1])
    edges = rng.normal(size=(n, len(d))) + np.outer(table["label"], d) + 0.7 * table["age"].to_numpy()[:, None]
    return edges, table


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0])
def test_d_is_the_true_one_whether_or_not_a_covariate_goes_with_the_group(apart):
    edges, table = effects(np.ones(4000), apart)
    own = edge_statistics(edges, table, ["age"], 1, 0)
    assert own.effect_size.mean() == pytest.approx(1.0, abs=0.02)
    old = own.t * np.sqrt(4 / 200)
    assert old.mean() == pytest.approx(own.size * np.sqrt(4 / 200), abs=0.02)
    assert old.mean() < {0.0: 1.01, 1.0: 0.92, 2.0: 0.75}[apart]


def test_the_scale_is_that_of_power():
    """An edge whose d is at the critical t is called half of the time, were its d the true one."""
    _, table = effects(np.ones(3), 1.0)
    size, df = group_size(table, ["age"])
    own = edge_statistics(*effects(np.ones(3), 1.0), ["age"], 1, 0)
    assert (own.size, own.df) == (pytest.approx(size), df)
    assert power_at(3.5 / size, size, df, 3.5) == pytest.approx(0.5, abs=0.01)


def test_without_covariates_it_is_cohens_d():
    edges, table = effects(np.linspace(-1, 1, 20), 0.0, 40)
    cases, controls = edges[table["label"] == 1], edges[table["label"] == 0]
    pooled = np.sqrt((cases.var(0, ddof=1) + controls.var(0, ddof=1)) / 2)
    own = edge_statistics(edges, table, [], 1, 0)
    np.testing.assert_allclose(own.effect_size, (cases.mean(0) - controls.mean(0)) / pooled, rtol=1e-6)
    np.testing.assert_allclose(own.t, ttest_ind(cases, controls).statistic, rtol=1e-6)


@pytest.mark.parametrize("df", [5, 30, 400])
def test_limits_have_the_tails_that_they_are_for(df):
    t = np.array([-9.0, -2, 0, 1, 4, 15])
    for alpha in (0.05, 0.01):
        low, high = effect_interval(t, 3.0, df, alpha)
        np.testing.assert_allclose(nct.cdf(t, df, low * 3), 1 - alpha / 2, atol=2e-5)
        np.testing.assert_allclose(nct.cdf(t, df, high * 3), alpha / 2, atol=2e-5)


def test_limits_of_many_edges_are_those_of_each():
    t = np.random.default_rng(0).normal(0, 3, 3000)
    many, few = effect_interval(t, 4.0, 50, 0.05), effect_interval(t[:50], 4.0, 50, 0.05)
    np.testing.assert_allclose(np.array(many)[:, :50], few, atol=1e-4)
    apart = effect_interval(np.r_[t, 1e6], 4.0, 50, 0.05)  # groups that never overlap in one edge
    np.testing.assert_allclose(np.array(apart)[:, :50], few, atol=2e-3)
    assert np.isfinite(apart).all()
    assert effect_interval(t[:0], 4.0, 50, 0.05)[0].shape == (0,)


def test_the_interval_covers_the_truth():
    edges, table = effects(np.full(4000, 0.6), 1.0, 60)
    own = edge_statistics(edges, table, ["age"], 1, 0)
    low, high = effect_interval(own.t, own.size, own.df, 0.05)
    assert np.mean((low < 0.6) & (high > 0.6)) == pytest.approx(0.95, abs=0.012)
    np.testing.assert_array_equal((low > 0) | (high < 0), own.p < 0.05)


def chosen(seed: int, d: np.ndarray, n: int = 100, limit: float = 4.2) -> tuple[float, float]:
    """What a list of called edges truly keeps of its d, and what the correction says."""
    edges, table = effects(d, 0.5, n, seed)
    own = edge_statistics(edges, table, ["age"], 1, 0)
    called = np.abs(own.t) >= limit
    keeps = (np.sign(own.t) * d)[called].mean() / np.abs(own.effect_size[called]).mean()
    return keeps, selection_shrinkage(edges, table, ["age"], int(called.sum()), 30, seed)


@pytest.mark.parametrize("make", [
    lambda rng: np.where(np.arange(4000) < 60, -0.8, 0.0),  # few edges differ
    lambda rng: rng.normal(0, 0.3, 4000),  # all do, a little
])  # fmt: skip
def test_the_correction_is_what_a_planted_list_keeps(make):
    pairs = np.array([chosen(seed, make(np.random.default_rng(seed))) for seed in range(5)])
    assert pairs[:, 0].mean() < 0.88  # there is something to correct
    keeps, said = pairs.mean(0)
    assert -0.12 < said - keeps < 0.05
    assert said - said / (2 - said) > 0.1  # what half of the people would keep is far too little


def test_nothing_called_nothing_corrected():
    edges, table = effects(np.zeros(50), 0.0, 40)
    assert np.isnan(selection_shrinkage(edges, table, [], 0, 10, 0))
    tiny = table[:4], edges[:4]
    assert np.isnan(selection_shrinkage(tiny[1], tiny[0], [], 3, 5, 0))


def test_halves_are_halves_of_every_stratum():
    table = people(41, 0).assign(site=np.where(np.arange(41) % 3, "a", "b"))
    for half, other in random_halves(table, [], 5, 0):
        assert sorted([*half.rows, *other.rows]) == list(range(41))
        counts = (
            table.iloc[half.rows].groupby(["label", "site"]).size()
            - table.iloc[other.rows].groupby(["label", "site"]).size()
        )
        assert counts.between(0, 1).all()
