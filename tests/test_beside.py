"""Values of both ends as covariates of an edge: closed forms, and what a difference of regions alone does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f as distribution

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.measures import MEASURES
from dysconnect.dynamics.direction import direction_accuracy
from dysconnect.localize import localize
from dysconnect.localize.associations import group_differences, severity
from dysconnect.localize.beside import (
    REGIONAL,
    adjusted,
    also_explained,
    beside,
    regional_table,
    regional_values,
    with_regions,
)
from dysconnect.localize.severity import group_statistics, score_statistics
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
    found = beside(edges, values, PAIRS.ends, table, ["age"], table["label"].to_numpy())
    for edge in (0, 7, 14):
        own = values[:, :, [PAIRS.rows[edge], PAIRS.cols[edge]]].transpose(1, 0, 2).reshape(40, 4)
        design = np.column_stack([table["label"], np.ones(40), table["age"], own])
        beta, rss, *_ = np.linalg.lstsq(design, edges[:, edge], rcond=None)
        variance = rss[0] / (40 - 7) * np.linalg.inv(design.T @ design)[0, 0]
        assert found.statistic[edge] == pytest.approx(beta[0] / np.sqrt(variance), rel=1e-9)
        assert found.df[edge] == 33


def test_values_of_all_regions_are_covariates_of_every_edge():
    rng, table = np.random.default_rng(1), people(60)
    edges, values = rng.standard_normal((60, len(PAIRS))), rng.standard_normal((2, 60, N))
    found = beside(edges, values, None, table, ["age"], table["label"].to_numpy())
    columns = [table["label"], np.ones(60), table["age"], *values.transpose(0, 2, 1).reshape(2 * N, 60)]
    design = np.column_stack(columns)
    beta, rss, *_ = np.linalg.lstsq(design, edges[:, 7], rcond=None)
    error = np.sqrt(rss[0] / (60 - len(columns)) * np.linalg.inv(design.T @ design)[0, 0])
    assert found.statistic[7] == pytest.approx(beta[0] / error, rel=1e-9)
    left = adjusted(edges, values, None, table, ["age"])
    rest = left - design[:, 1:] @ np.linalg.lstsq(design[:, 1:], left, rcond=None)[0]
    own = edges - design[:, 1:] @ np.linalg.lstsq(design[:, 1:], edges, rcond=None)[0]
    np.testing.assert_allclose(rest, own, atol=1e-5)
    with pytest.raises(ValueError, match="12 covariates, and 19 degrees of freedom"):
        beside(edges[:22], values[:, :22], None, table[:22], ["age"], table[:22]["label"].to_numpy())


def test_values_that_say_nothing_or_the_same_cost_no_degree_of_freedom():
    rng, table = np.random.default_rng(1), people(40)
    edges, values = rng.standard_normal((40, len(PAIRS))), np.zeros((1, 40, N))
    plain = edge_statistics(edges, table, ["age"], 20, 0)
    found = beside(edges, values, PAIRS.ends, table, ["age"], table["label"].to_numpy())
    np.testing.assert_allclose(found.statistic, plain.t, rtol=1e-6)
    values[0] = rng.standard_normal((40, 1))
    assert set(beside(edges, values, PAIRS.ends, table, ["age"], table["label"].to_numpy()).df) == {plain.df - 1}
    values[0] = table["label"].to_numpy()[:, None]
    beyond = beside(edges, values, PAIRS.ends, table, ["age"], table["label"].to_numpy())
    assert np.isnan(beyond.statistic).all()  # the value is the group


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
    found = beside(edges, values, PAIRS.ends, table, ["age"], table["label"].to_numpy())
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
    regional = pd.DataFrame({"region": np.tile(names, 2), "quantity": np.repeat(["activation", "noise"], 30), **values})
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
    by_hand = beside(edges, np.stack([delay, noise]), None, table, ["age"], table["label"].to_numpy())
    np.testing.assert_allclose(edge_statistics(edges, who, names, 20, 0).t, by_hand.statistic, rtol=1e-6)
    plain, same = with_regions(replace(cohort, measure="correlation"), ["age"])
    assert same == ["age"] and plain is table


# a score, and several groups


def test_of_a_score_and_of_groups_it_is_the_model_of_ordinary_least_squares():
    rng, table = np.random.default_rng(6), people(40)
    edges, values = rng.standard_normal((40, len(PAIRS))), rng.standard_normal((2, 40, N))
    score, third = rng.standard_normal(40), (np.arange(40)[:, None] % 3 == [1, 2]).astype(float)
    t = beside(edges, values, PAIRS.ends, table, ["age"], score)
    f = beside(edges, values, PAIRS.ends, table, ["age"], third)
    for edge in (0, 7, 14):
        ends = values[:, :, [PAIRS.rows[edge], PAIRS.cols[edge]]].transpose(1, 0, 2).reshape(40, 4)
        without = np.column_stack([np.ones(40), table["age"], ends])
        rss = [
            np.linalg.lstsq(np.column_stack([without, more]), edges[:, edge], rcond=None)[1][0]
            for more in (np.zeros((40, 0)), score, third)
        ]
        own = np.column_stack([without, score])
        sign = np.sign(np.linalg.lstsq(own, edges[:, edge], rcond=None)[0][-1])
        assert t.statistic[edge] == pytest.approx(sign * np.sqrt((rss[0] - rss[1]) / (rss[1] / 33)), rel=1e-9)
        assert f.statistic[edge] == pytest.approx((rss[0] - rss[2]) / 2 / (rss[2] / 32), rel=1e-9)
        assert (t.df[edge], f.df[edge]) == (33, 32)
        assert f.p[edge] == pytest.approx(distribution.sf(f.statistic[edge], 2, 32), rel=1e-6)


ASKED = {"score": "bfm", "nuisance": ["age"], "permutations": 99, "alpha": 0.05, "max_missing": 0.1, "seed": 0}


def followed(measure: str, seed: int, n: int = 80) -> Cohort:
    """People of three groups whose score and group go with the values of regions, and whose connections follow these.

    No connection goes with score or group beyond that.
    """
    rng, pairs = np.random.default_rng([seed, 9]), Pairs(4, MEASURES[measure].directed)
    table = people(n, seed)
    values = rng.standard_normal((len(MEASURES[measure].regional), n, 4)) + rng.standard_normal((n, 1))
    shared = values.mean((0, 2))
    table = table.assign(label=1, bfm=shared + 0.5 * rng.standard_normal(n))
    table["group"] = np.array(["A", "B", "C"])[np.searchsorted(np.quantile(shared, [0.3, 0.6]), shared)]
    edges = 0.5 * (values[:, :, pairs.rows] + values[:, :, pairs.cols]).sum(0) + rng.standard_normal((n, len(pairs)))
    regional = dict(zip(MEASURES[measure].regional, values))
    names = np.array([f"region {k}" for k in range(4)])
    return Cohort(table, edges, np.zeros((n, 4), bool), names, measure, pairs.directed, regional=regional)


@pytest.mark.parametrize("measure", ["lagged", "variability"])
def test_what_goes_with_the_values_of_regions_alone_is_not_called(measure):
    """Neither for a score nor for groups; without the values everything would be."""
    called, plain = np.zeros(2), np.zeros(2)
    for seed in range(20):
        cohort = followed(measure, seed)
        circuits = np.full(len(cohort.pairs), "")
        found = [question(cohort, circuits, ASKED).summary["n_fwer"] > 0 for question in (severity, group_differences)]
        given = cohort.values, cohort.participants
        bare = [score_statistics(*given, "bfm", ["age"], 99, 0), group_statistics(*given, "group", ["age"], 99, 0)]
        called, plain = called + found, plain + [(one.p_fwer <= 0.05).any() for one in bare]
    assert (called <= 4).all()  # of 20 at 0.05: 4 or fewer in 99.7 %
    assert (plain == 20).all()


def test_a_connection_of_a_task_that_activation_explains_is_said_to_be():
    cohort = followed("task", 1)
    cohort.values[:, 2] += 2 * cohort.participants["bfm"]  # this one goes with the score itself
    planted = tuple(cohort.edge_names.iloc[2])
    for question in (severity, group_differences):
        edges, summary = question(cohort, np.full(6, ""), ASKED)
        called = edges[edges["p_fwer"] <= 0.05].set_index(["region_a", "region_b"])["also_explained"]
        assert len(called) == summary["n_fwer"] == 6
        assert called[planted] == "" and (called.drop([planted]) == "activation and noise").sum() >= 4


def test_too_few_patients_for_the_values_of_all_regions_are_said_and_stop_nothing():
    for question in (severity, group_differences):
        edges, summary = question(followed("lagged", 0, n=17), np.full(12, ""), ASKED)
        assert edges.empty and "the values of all regions are 8 covariates" in summary["reason"]


def test_a_measure_without_values_of_regions_has_no_such_columns():
    cohort = replace(followed("variability", 0), measure="correlation", regional={})
    edges, _ = severity(cohort, np.full(6, ""), ASKED)
    assert "p_beside" not in edges
