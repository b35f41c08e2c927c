"""Values of both ends as covariates of an edge: closed forms, and what a difference of regions alone does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.measures import MEASURES
from dysconnect.dynamics.direction import direction_accuracy
from dysconnect.localize import localize
from dysconnect.localize.beside import (
    REGIONAL,
    adjusted,
    also_explained,
    beside,
    regional_table,
    regional_values,
    with_regions,
)
from dysconnect.localize.statistics import edge_statistics
from dysconnect.report.localization.beside import beside_table as beside_shown

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


def test_activation_stands_beside_every_connection_that_is_called():
    pairs = Pairs(30)
    names = np.array([f"region {k}" for k in range(30)])
    nodes = pd.DataFrame({"name": names, "x": 0.0, "y": 1.0, "z": 2.0})
    values = {"mean_cases": 1.0, "mean_controls": 2.0, "d": -1.0}
    regional = pd.DataFrame({"region": names, "quantity": "activation", **values})
    edges = pairs.named(names).assign(p_fwer=0.001, p_beside=0.2, also_explained="activation")
    few = beside_shown(edges[:60], regional, nodes, MEASURES["task"], 0.05)
    assert len(few.rows) == 60 and "all 60 connections" in few.caption
    many = beside_shown(edges, regional, nodes, MEASURES["task"], 0.05)
    assert len(many.rows) == 200 and "the 200 strongest of 435 connections" in many.caption
    assert beside_shown(edges.assign(p_fwer=1.0), regional, nodes, MEASURES["task"], 0.05) is None


def cohort_of(measure: str, n: int = 60, regions: int = 4) -> Cohort:
    """A cohort whose groups differ in the values of regions, and whose connections follow these."""
    rng, table = np.random.default_rng(5), people(n)
    pairs = Pairs(regions, MEASURES[measure].directed)
    values = rng.standard_normal((n, regions)) + table["label"].to_numpy()[:, None] * np.linspace(0, 2, regions)
    edges = values[:, pairs.cols] + rng.standard_normal((n, len(pairs)))
    names = np.array([f"region {k}" for k in range(regions)])
    regional = {name: values + k for k, name in enumerate(MEASURES[measure].regional)}
    whole = pairs.directed, None, regional, {"pairs": 200.4, "repetition_time": 2.0, "reversal": -0.5}
    return Cohort(table, edges, np.zeros((n, regions), bool), names, measure, *whole)


def test_the_groups_values_of_regions_are_those_of_ordinary_least_squares():
    cohort = cohort_of("lagged")
    table, found = cohort.participants, regional_table(cohort, ["age"])
    assert found["quantity"].tolist() == ["delay"] * 4 + ["noise"] * 4 and tuple(found) == REGIONAL
    values, row = cohort.regional["delay"][:, 3], found.iloc[3]
    assert row["mean_cases"] == pytest.approx(values[table["label"] == 1].mean())
    design = np.column_stack([table["label"], np.ones(60), table["age"]])
    beta, rss, *_ = np.linalg.lstsq(design, values, rcond=None)
    variance = rss[0] / 57
    assert row["t"] == pytest.approx(beta[0] / np.sqrt(variance * np.linalg.inv(design.T @ design)[0, 0]))
    assert row["d"] == pytest.approx(beta[0] / np.sqrt(variance), rel=1e-9)
    assert found["t"].iloc[0] == pytest.approx(found["t"].iloc[4])  # a constant more changes nothing
    none = regional_table(replace(cohort, regional={}), ["age"])
    assert none.empty and tuple(none) == REGIONAL


def test_what_is_shown_of_a_connection_is_as_it_was_measured():
    """Tested is what the values of regions leave; the means of the groups, and the raw points, are not changed."""
    cohort = cohort_of("lagged")
    spec = {
        "nuisance": ["age"], "permutations": 50, "permutation": "smith", "device": "cpu", "alpha": 0.05,
        "thresholds": [3.0], "prior": 4, "prior_circuits": [], "stability_draws": 2, "stability_top": 5,
        "max_missing": 0.1, "seed": 0,
    }  # fmt: skip
    found = localize(cohort, np.full(len(cohort.pairs), ""), spec)
    label, pairs = cohort.labels, cohort.edge_names
    for row in found.edges.itertuples():
        edge = ((pairs["region_a"] == row.region_a) & (pairs["region_b"] == row.region_b)).to_numpy()
        assert row.mean_cases == pytest.approx(cohort.values[label == 1][:, edge].mean(), rel=1e-5)
    last = found.edges[found.edges["region_b"] == "region 3"]
    assert (last["mean_cases"] - last["mean_controls"] > 1).all() and (last["effect_size"] < 1).all()
    first = found.points[["region_a", "region_b"]].iloc[0]
    own = found.edges.merge(first.to_frame().T).iloc[0]
    points = found.points.head(60)
    assert points.loc[points["label"] == 1, "raw"].mean() == pytest.approx(own["mean_cases"], rel=1e-5)
    known = found.summary["direction"]
    assert (known["pairs"], known["reversal"]) == (200.4, -0.5)
    wanted = direction_accuracy(4, 200, 2.0, 1.0, networks=100)
    assert known["direction"]["differing"] == pytest.approx(wanted.direction, abs=1e-4)


def test_values_of_all_regions_join_the_covariates_of_a_measure_that_looks_at_all():
    rng, table = np.random.default_rng(1), people(60)
    directed = Pairs(3, directed=True)
    edges, delay, noise = (rng.standard_normal((60, k)) for k in (len(directed), 3, 3))
    missing = np.zeros((60, 3), bool)
    regional = {"delay": delay, "noise": noise}
    cohort = Cohort(table, edges, missing, np.array(list("abc")), "lagged", directed=True, regional=regional)
    who, names = with_regions(cohort, ["age"])
    assert names == ["age", *(f"{what} of {region}" for what in ("delay", "noise") for region in "abc")]
    by_hand = beside(edges, np.stack([delay, noise]), None, table, ["age"])
    np.testing.assert_allclose(edge_statistics(edges, who, names, 20, 0).t, by_hand.t, rtol=1e-6)
    plain, same = with_regions(replace(cohort, measure="correlation"), ["age"])
    assert same == ["age"] and plain is table
