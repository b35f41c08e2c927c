"""Circuits, blocks and priors: calculated by hand too, honest on null cohorts, stronger where they are right."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from dysconnect.localize import kernels
from dysconnect.localize.components import permuted_edges
from dysconnect.localize.families import (
    circuit_tests,
    constrained_network_based,
    enrichment,
    fifths,
    prior_weights,
    set_means,
    system_blocks,
    weighted_false_discovery,
)
from dysconnect.localize.ranks import smallest_p
from dysconnect.localize.statistics import false_discovery, to_t

N_NODES = 20
ROWS, COLS = np.triu_indices(N_NODES, 1)
CIRCUITS = {"small": np.arange(190) < 6, "large": np.arange(190) >= 130, "empty": np.zeros(190, bool)}


def cohort(seed: int, d: float = 0.0, planted=(), permutations: int = 199, motion: float = 0.0, nuisance=("mean_fd",)):
    """Forty people; motion may differ between the groups and move all edges."""
    rng = np.random.default_rng([seed, 5])
    label = np.arange(40) % 2
    table = pd.DataFrame({"label": label, "mean_fd": rng.normal(size=40) + motion * label, "site": "one"})
    edges = rng.normal(size=(40, 190)) + rng.normal(size=(40, 1))
    edges += np.outer(table["mean_fd"], rng.normal(0.5 * (motion > 0), 0.3, 190)) * (motion > 0)
    edges[:, list(planted)] += d * label[:, None]
    return permuted_edges(edges, table, nuisance, (ROWS, COLS, N_NODES), permutations, seed)


# a prior on edges


def test_weights_have_mean_one_and_the_asked_ratio():
    inside = np.arange(50) < 10
    weights = prior_weights(inside, 4)
    assert weights.mean() == pytest.approx(1)
    assert weights[0] / weights[-1] == pytest.approx(4)


def test_weighted_false_discovery_by_hand():
    p, weights = np.array([0.01, 0.04, 0.03, 0.9]), np.array([0.5, 2.0, 1.0, 0.5])
    scaled = np.array([0.02, 0.02, 0.03, 1.8])
    np.testing.assert_allclose(weighted_false_discovery(p, weights), np.minimum(1, [0.04, 0.04, 0.04, 1.8]))
    np.testing.assert_allclose(weighted_false_discovery(p, weights), false_discovery(scaled))
    np.testing.assert_allclose(weighted_false_discovery(p, np.ones(4)), false_discovery(p))


@pytest.mark.parametrize("weights", [[0.0, 2.0], [1.0, 2.0], [-1.0, 3.0]])
def test_weights_that_would_break_the_error_rate_are_refused(weights):
    with pytest.raises(ValueError, match="must be positive with mean one"):
        weighted_false_discovery(np.array([0.1, 0.2]), np.array(weights))


def test_a_right_prior_gains_and_a_wrong_one_costs_little():
    """2000 edges, 60 of them shifted: power and false discoveries with the prior on them, and elsewhere."""
    rng = np.random.default_rng(0)
    true = np.arange(2000) < 60
    found = {"none": [], "right": [], "wrong": []}
    false = {name: [] for name in found}
    priors = {"none": true & False, "right": np.arange(2000) < 120, "wrong": np.arange(2000) > 1879}
    for _ in range(60):
        p = 2 * norm.sf(np.abs(rng.normal(size=2000) + 3.2 * true))
        for name, inside in priors.items():
            called = weighted_false_discovery(p, prior_weights(inside, 5)) <= 0.05
            found[name].append(called[true].mean())
            false[name].append((called & ~true).sum() / max(1, called.sum()))
    power = {name: np.mean(rates) for name, rates in found.items()}
    assert power["right"] > power["none"] + 0.05
    assert power["wrong"] > power["none"] - 0.06
    assert all(np.mean(rates) <= 0.05 + 2 * np.std(rates) / np.sqrt(60) for rates in false.values())


# circuits and blocks


def test_means_over_sets_equal_a_loop():
    edges = cohort(0, permutations=30)
    masks = np.stack([CIRCUITS["small"], CIRCUITS["large"]])
    r = np.concatenate([part for _, part in edges.chunks("test")]).astype(float)
    t = to_t(r, edges.df)
    mean, square = set_means(edges, masks, np.square)
    for c, mask in enumerate(masks):
        np.testing.assert_allclose(mean[:, c], t[:, mask].mean(1), atol=1e-5)
        np.testing.assert_allclose(square[:, c], (t[:, mask] ** 2).mean(1), rtol=1e-5)


def test_t_in_single_precision_is_rounded_once():
    r = np.linspace(-1, 1, 2001).astype(np.float32).reshape(3, -1)
    np.testing.assert_array_equal(kernels.single_t(r, 92.0), to_t(r.astype(float), 92).astype(np.float32))


def test_p_of_circuits_equals_the_smallest_p_by_hand():
    edges = cohort(1, 0.5, range(3), permutations=50)
    table = circuit_tests(edges, CIRCUITS).table.set_index("name")
    assert list(table.index) == ["small", "large"] and table["n_edges"].tolist() == [6, 60]
    mean, square = set_means(edges, np.stack([CIRCUITS["small"], CIRCUITS["large"]]), np.square)
    for c, name in enumerate(table.index):
        assert table.loc[name, "p_mean"] == (1 + (np.abs(mean[1:, c]) >= abs(mean[0, c])).sum()) / 51
        assert table.loc[name, "p_magnitude"] == (1 + (square[1:, c] >= square[0, c]).sum()) / 51
    smallest = smallest_p(np.stack([np.abs(mean), square], -1))[1:]
    raw, corrected = table[["p_mean", "p_magnitude"]].to_numpy(), table[["p_fwer_mean", "p_fwer_magnitude"]].to_numpy()
    np.testing.assert_allclose(corrected, (1 + (smallest[:, None, None] <= raw + 1e-12).sum(0)) / 51)
    assert (corrected >= raw).all()


def test_no_circuit_no_row():
    none = circuit_tests(cohort(2, permutations=20), {"empty": CIRCUITS["empty"]}).table
    edges = cohort(2, permutations=20)
    enriched = enrichment(edges, {"empty": CIRCUITS["empty"]}, np.arange(190.0), np.arange(190.0))
    assert len(none) == 0 and list(none.merge(enriched, on="name").columns[-2:]) == ["enrichment", "p_enrichment"]


def test_blocks_are_named_whichever_way_round():
    names = system_blocks(np.array(["thalamus", "cortex", "thalamus"]), np.array([0, 0, 1]), np.array([1, 2, 2]))
    assert names.tolist() == ["cortex - thalamus", "thalamus - thalamus", "cortex - thalamus"]


def test_a_shift_and_a_mix_of_signs_are_told_apart():
    """All edges of a circuit weaker: the mean shows it. Half weaker, half stronger: only the magnitude does."""
    small = np.flatnonzero(CIRCUITS["large"])
    same = circuit_tests(cohort(3, -0.6, small), CIRCUITS).table.set_index("name").loc["large"]
    assert same["p_fwer_mean"] <= 0.02 and same["mean_t"] < -1
    mixed = cohort(3, np.where(np.arange(len(small)) % 2, 1.4, -1.4), small)
    table = circuit_tests(mixed, CIRCUITS).table.set_index("name").loc["large"]
    assert table["p_fwer_magnitude"] <= 0.02 and table["p_mean"] > table["p_magnitude"]


def test_the_shifted_block_is_found():
    systems = np.repeat(["cortex", "thalamus", "cerebellum"], [10, 5, 5])
    blocks = system_blocks(systems, ROWS, COLS)
    table = constrained_network_based(cohort(4, 1.0, np.flatnonzero(blocks == "cerebellum - thalamus")), blocks).table
    assert len(table) == 6 and table["n_edges"].sum() == 190
    called = table[(table["p_fwer_mean"] <= 0.05)]
    assert called["name"].tolist() == ["cerebellum - thalamus"] and (called["mean_t"] > 0).all()


def false_alarms(**more) -> dict[str, int]:
    """In how many of 100 null cohorts any circuit, or any block, is called."""
    blocks = system_blocks(np.repeat(["a", "b", "c"], [10, 6, 4]), ROWS, COLS)
    counts = {"circuits": 0, "blocks": 0}
    for seed in range(100):
        edges = cohort(100 + seed, **more)
        for name, table in (
            ("circuits", circuit_tests(edges, CIRCUITS).table),
            ("blocks", constrained_network_based(edges, blocks).table),
        ):
            counts[name] += (table[["p_fwer_mean", "p_fwer_magnitude"]].to_numpy() <= 0.05).any()
    return counts


@pytest.mark.parametrize("motion", [0.0, 0.9])
def test_family_wise_error_over_circuits_and_blocks_holds(motion):
    low, high = binom.interval(0.999, 100, 0.05)
    assert all(low <= count <= high for count in false_alarms(motion=motion).values())


def test_family_wise_error_over_circuits_breaks_when_motion_is_left_out():
    assert min(false_alarms(motion=0.9, nuisance=()).values()) > 25


# enrichment


def test_enrichment_is_the_ratio_to_what_like_edges_have():
    """By hand: the mean of a circuit over the mean, stratum by stratum, of all edges."""
    edges, rng = cohort(5, 0.8, range(6), permutations=30), np.random.default_rng(0)
    strength, length = rng.random(len(ROWS)), rng.random(len(ROWS))
    t = np.abs(edges.observed())
    stratum = fifths(strength) * 5 + fifths(length)
    like = np.array([t[stratum == one].mean() for one in stratum])
    table = enrichment(edges, CIRCUITS, strength, length).set_index("name")
    for name, row in table.iterrows():
        inside = CIRCUITS[name]
        assert row["enrichment"] == pytest.approx(t[inside].sum() / like[inside].sum(), rel=1e-4)
    assert table.loc["small", "enrichment"] > 1.3 and table.loc["small", "p_enrichment"] <= 2 / 31


def test_a_circuit_is_not_enriched_for_being_short():
    """|t| is larger in short edges: these stand out among all, and not among edges as short."""
    edges = cohort(6, 1.0, range(38), permutations=99)
    length = np.where(np.arange(190) < 38, np.arange(190) / 1000, 1 + np.arange(190))
    short = (np.arange(190) < 38) & (np.arange(190) % 2 == 0)
    matched = enrichment(edges, {"short": short}, np.ones(190), length).iloc[0]
    t = np.abs(edges.observed())
    assert t[short].mean() / t.mean() > 1.4 and matched["enrichment"] == pytest.approx(1, abs=0.15)
    assert matched["p_enrichment"] > 0.05


@pytest.mark.parametrize("motion", [0.0, 0.9])
def test_edges_that_depend_on_each_other_enrich_no_circuit_of_a_null_cohort(motion):
    """Random edges would: those of one node go together."""
    star, p = (ROWS == 0) | (COLS == 0), []
    for seed in range(200):
        edges = cohort(300 + seed, permutations=49, motion=motion)
        p.append(enrichment(edges, {"star": star}, np.ones(190), np.ones(190))["p_enrichment"][0])
    assert binom.ppf(0.001, 200, 0.06) <= (np.array(p) <= 0.06).sum() <= binom.ppf(0.999, 200, 0.06)
    assert 0.42 < np.mean(p) < 0.6


def test_fifths_are_fifths():
    assert np.bincount(fifths(np.random.default_rng(0).random(100))).tolist() == [20] * 5
    assert set(fifths(np.ones(7))) == {4}
