"""Values of both ends as covariates of an edge: closed forms, and what a difference of regions alone does."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.localize.beside import adjusted, also_explained, beside, regional_values
from dysconnect.localize.statistics import edge_statistics

N = 6
PAIRS = Pairs(N)


def people(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    names = [f"sub-{k}" for k in range(n)]
    return pd.DataFrame({"participant_id": names, "label": label, "site": "A", "age": rng.normal(50, 10, n)})


def test_it_is_the_t_of_ordinary_least_squares():
    rng, table = np.random.default_rng(1), people(40)
    edges, values = rng.standard_normal((40, len(PAIRS))), rng.standard_normal((2, 40, N))
    found = beside(edges, values, PAIRS.ends, table, ["age"])
    for edge in (0, 7, 14):
        own = values[:, :, [PAIRS.rows[edge], PAIRS.cols[edge]]].transpose(1, 0, 2).reshape(40, 4)
        design = np.column_stack([table["label"], np.ones(40), table["age"], own])
        beta, rss, *_ = np.linalg.lstsq(design, edges[:, edge], rcond=None)
        variance = rss[0] / (40 - 7) * np.linalg.inv(design.T @ design)[0, 0]
        assert found.t[edge] == pytest.approx(beta[0] / np.sqrt(variance), rel=1e-9)
        assert found.df[edge] == 33


def test_values_of_all_regions_are_covariates_of_every_edge():
    rng, table = np.random.default_rng(1), people(60)
    edges, values = rng.standard_normal((60, len(PAIRS))), rng.standard_normal((2, 60, N))
    found = beside(edges, values, None, table, ["age"])
    columns = [table["label"], np.ones(60), table["age"], *values.transpose(0, 2, 1).reshape(2 * N, 60)]
    design = np.column_stack(columns)
    beta, rss, *_ = np.linalg.lstsq(design, edges[:, 7], rcond=None)
    error = np.sqrt(rss[0] / (60 - len(columns)) * np.linalg.inv(design.T @ design)[0, 0])
    assert found.t[7] == pytest.approx(beta[0] / error, rel=1e-9)
    left = adjusted(edges, values, None, table, ["age"])
    rest = left - design[:, 1:] @ np.linalg.lstsq(design[:, 1:], left, rcond=None)[0]
    own = edges - design[:, 1:] @ np.linalg.lstsq(design[:, 1:], edges, rcond=None)[0]
    np.testing.assert_allclose(rest, own, atol=1e-5)
    with pytest.raises(ValueError, match="12 covariates, and 19 degrees of freedom"):
        beside(edges[:22], values[:, :22], None, table[:22], ["age"])


def test_values_that_say_nothing_or_the_same_cost_no_degree_of_freedom():
    rng, table = np.random.default_rng(1), people(40)
    edges, values = rng.standard_normal((40, len(PAIRS))), np.zeros((1, 40, N))
    plain = edge_statistics(edges, table, ["age"], 20, 0)
    found = beside(edges, values, PAIRS.ends, table, ["age"])
    np.testing.assert_allclose(found.t, plain.t, rtol=1e-6)
    values[0] = rng.standard_normal((40, 1))
    assert set(beside(edges, values, PAIRS.ends, table, ["age"]).df) == {plain.df - 1}
    values[0] = table["label"].to_numpy()[:, None]
    assert np.isnan(beside(edges, values, PAIRS.ends, table, ["age"]).t).all()  # the value is the group


def test_an_adjusted_edge_has_nothing_of_its_ends():
    rng, table = np.random.default_rng(2), people(50)
    values = rng.standard_normal((1, 50, N))
    edges = 3 * values[0][:, PAIRS.rows] - 2 * values[0][:, PAIRS.cols] + 1e-3 * rng.standard_normal((50, len(PAIRS)))
    left = adjusted(edges, values, PAIRS.ends, table, [])
    np.testing.assert_allclose(left, np.broadcast_to(edges.mean(0), left.shape), atol=0.01)


def test_groups_that_differ_in_regions_alone_are_not_called_once_adjusted():
    rng, called = np.random.default_rng(3), {"plain": 0, "adjusted": 0}
    for _ in range(40):
        table = people(60, int(rng.integers(1e6)))
        values = rng.standard_normal((1, 60, N)) + table["label"].to_numpy()[None, :, None]
        edges = 0.5 * (values[0][:, PAIRS.rows] + values[0][:, PAIRS.cols]) + rng.standard_normal((60, len(PAIRS)))
        for name, own in (("plain", edges), ("adjusted", adjusted(edges, values, PAIRS.ends, table, []))):
            called[name] += (edge_statistics(own, table, [], 99, 0).p_fwer <= 0.05).any()
    assert called["plain"] > 30
    assert called["adjusted"] <= 5  # of 40 at 0.05: 5 or fewer in 98 %


def test_a_difference_of_the_connection_stays():
    rng, table = np.random.default_rng(4), people(100)
    values = rng.standard_normal((1, 100, N))
    edges = 0.5 * values[0][:, PAIRS.rows] + rng.standard_normal((100, len(PAIRS)))
    edges[:, 3] += 1.5 * table["label"]
    found = beside(edges, values, PAIRS.ends, table, ["age"])
    assert found.p[3] < 1e-6
    assert edge_statistics(adjusted(edges, values, PAIRS.ends, table, ["age"]), table, ["age"], 99, 0).p_fwer[3] <= 0.05
    words = also_explained(np.array([0.01, 0.01, 0.2]), np.array([0.001, 0.4, np.nan]), {"activation": 0}, 0.05)
    assert list(words) == ["", "activation", ""]


def test_who_lacks_a_region_has_the_mean_of_the_others():
    table, values = people(4), np.arange(12.0).reshape(4, 3)
    missing = np.zeros((4, 3), bool)
    missing[0, 1] = missing[:, 2] = True
    cohort = Cohort(table, np.zeros((4, 3)), missing, np.array(list("abc")), "correlation", regional={"size": values})
    known = regional_values(cohort)[0]
    assert known[0, 1] == np.mean([4, 7, 10])
    assert not known[:, 2].any()
