"""d of an edge: unbiased beside covariates, with an interval that covers, and corrected for having been chosen."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nct
from scipy.stats import t as student

from dysconnect.localize.effects import effect_interval, noncentral_cdf
from dysconnect.localize.halves import random_halves, selection_shrinkage
from dysconnect.localize.power import detectable, group_size
from dysconnect.localize.statistics import edge_statistics


def people(n: int, apart: float = 0.0, seed: int = 0) -> pd.DataFrame:
    label = np.arange(n) % 2
    age = np.random.default_rng(seed).normal(size=n) + apart * label
    return pd.DataFrame({"participant_id": [f"p{k}" for k in range(n)], "label": label, "age": age, "site": "one"})


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0])
def test_a_true_d_of_one_is_one_however_far_age_is_apart(apart):
    table, rng = people(200, apart), np.random.default_rng(1)
    edges = rng.normal(size=(200, 3000)) + table["label"].to_numpy()[:, None] + 0.7 * table[["age"]].to_numpy()
    own = edge_statistics(edges, table, ["age"], 10, 0)
    size, df = group_size(table, ["age"])
    assert (own.size, own.df) == (pytest.approx(size), df)
    assert own.effect_size.mean() == pytest.approx(1 + 3 / (4 * df - 1), abs=0.015)  # as any d of a small sample
    old = (own.t * np.sqrt(2 / 100)).mean()
    assert old == pytest.approx({0.0: 1, 1.0: 0.9, 2.0: 0.7}[apart], abs=0.05)
    low, high = effect_interval(own.t, own.size, own.df)
    assert ((low < 1) & (high > 1)).mean() == pytest.approx(0.95, abs=0.015)


def test_detectable_and_observed_d_are_on_one_scale():
    size, df = group_size(people(80, 1.5), ["age"])
    assert detectable(size, df, 4.0, power=0.5) == pytest.approx(4.0 / size, rel=0.02)


@pytest.mark.parametrize("df", [3, 20, 94, 2000])
def test_the_interval_inverts_the_noncentral_t(df):
    t = np.array([-6.0, -1.0, 0.0, 0.3, 2.5, 7.0])
    low, high = effect_interval(np.r_[t, np.zeros(500)], 2.0, df)
    for limit, below in ((low, 0.975), (high, 0.025)):
        np.testing.assert_allclose(nct.cdf(t, df, 2 * limit[:6]), below, atol=1e-4)
        np.testing.assert_allclose(noncentral_cdf(t, 2 * limit[:6], df), below, atol=1e-5)
    critical = student.isf(0.025, df)
    near = effect_interval(np.array([critical - 0.001, critical + 0.001]), 2.0, df)[0]
    assert near[0] < 0 < near[1]


def test_the_interval_is_finite_where_groups_never_overlap():
    low, high = effect_interval(np.array([-1e6, 0.5, 1e6]), 3.0, 40)
    assert np.isfinite([low, high]).all() and (low < high).all()
    assert effect_interval(np.array([0.5]), 3.0, 40)[0] == pytest.approx(low[1], abs=1e-3)


def chosen(n: int, d: float, critical: float, seed: int) -> tuple[float, float]:
    """Shrinkage, and what was true of the edges called beyond a critical t."""
    table, rng = people(n, seed=seed), np.random.default_rng(seed)
    edges = rng.normal(size=(n, 800)) + 0.5 * rng.normal(size=(n, 1))
    true = np.where(np.arange(800) < 30, d, 0.0)
    edges += np.outer(table["label"], true) * np.sqrt(1.25)
    own = edge_statistics(edges, table, ["age"], 10, 0)
    called = np.abs(own.t) > critical
    truth = (np.sign(own.t) * true)[called].mean() / np.abs(own.effect_size[called]).mean()
    return selection_shrinkage(random_halves(edges, table, ["age"], 20, seed), edges, called.sum()), truth


@pytest.mark.parametrize(
    "n, d, critical, error",
    [(100, 0.0, 2.5, 0.15), (100, 0.7, 3.8, 0.2), (300, 0.7, 3.8, 0.07), (100, 1.5, 3.8, 0.06)],
)
def test_shrinkage_is_near_what_is_true_of_the_called(n, d, critical, error):
    drawn = np.array([chosen(n, d, critical, seed) for seed in range(6)])
    assert drawn[:, 0].mean() == pytest.approx(drawn[:, 1].mean(), abs=error)


def test_nothing_called_or_too_few_people_leave_no_shrinkage():
    table, edges = people(12), np.random.default_rng(0).normal(size=(12, 20))
    assert selection_shrinkage(random_halves(edges, table, ["age"], 5, 0), edges, 0) is None
    few = table[:6].assign(site=list("aabbcc"))  # one person of each label a site: no complement
    assert selection_shrinkage(random_halves(edges[:6], few, ["age", "site"], 5, 0), edges[:6], 3) is None
