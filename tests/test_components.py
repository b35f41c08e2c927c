"""Components are those of other software, their scores those of a calculation by hand, and the error rate holds."""

import sys
from dataclasses import replace

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import binom

from dysconnect.localize import components
from dysconnect.localize.components import (
    adaptive_network_based,
    attained,
    exceedance,
    found_components,
    maxima,
    network_based,
    permuted_edges,
    smallest_p,
    threshold_free,
)
from dysconnect.localize.statistics import edge_statistics, to_t

THRESHOLDS = (2.0, 2.5, 3.0)


def people(n: int, rng: np.random.Generator, shift: float = 0.0) -> pd.DataFrame:
    """Half of them patients, on two sites; motion may differ between the groups."""
    label = np.arange(n) % 2
    motion = rng.normal(size=n) + shift * label
    names = [f"sub-{k}" for k in range(n)]
    return pd.DataFrame({"participant_id": names, "label": label, "mean_fd": motion, "site": np.arange(n) // 2 % 2})


def cohort(seed: int, n: int = 40, n_nodes: int = 20, permutations: int = 200, planted=(), d: float = 0.0, **more):
    """Independent edges, some of them different in patients, ready for permutation."""
    rng = np.random.default_rng([seed, 3])
    table = people(n, rng, more.get("shift", 0.0))
    rows, cols = np.triu_indices(n_nodes, 1)
    edges = rng.normal(size=(n, len(rows))) + np.outer(table["mean_fd"], rng.normal(0, more.get("load", 0), len(rows)))
    edges[:, list(planted)] += d * table["label"].to_numpy()[:, None]
    nuisance = more.get("nuisance", ["mean_fd"])
    return permuted_edges(edges, table, nuisance, (rows, cols, n_nodes), permutations, seed)


def by_hand(pairs: list[tuple[int, int]], t: list[float], permutations: int = 20):
    """A graph whose edges have exactly these t: two orthogonal residuals mixed."""
    rng = np.random.default_rng(0)
    table = people(24, rng)
    rows, cols = np.array(pairs).T
    edges = permuted_edges(rng.normal(size=(24, 1)), table, [], (rows, cols, rows.max() + 6), permutations, 0)
    other = rng.normal(size=24)
    other -= other.mean() + edges.group * (edges.group @ other)
    other /= np.linalg.norm(other)
    r = np.array(t) / np.sqrt(np.square(t) + edges.df)
    units = np.outer(edges.group, r) + np.outer(other, np.sqrt(1 - r**2))
    return replace(edges, units=units.astype(np.float32))


# components


def test_components_by_hand():
    pairs = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (6, 7), (1, 3)]
    edges = by_hand(pairs, [3.5, 4.0, 3.2, -5.0, -3.1, 2.0, 2.9])
    table = network_based(edges, 3.0).table.set_index("tail")
    assert table.loc["patients higher", ["n_edges", "n_nodes", "nodes"]].tolist() == [3, 3, (0, 1, 2)]
    assert table.loc["patients higher", "intensity"] == pytest.approx(0.5 + 1.0 + 0.2, abs=1e-4)
    assert table.loc["patients lower", ["n_edges", "n_nodes", "nodes"]].tolist() == [2, 3, (3, 4, 5)]
    assert table.loc["patients lower", "intensity"] == pytest.approx(2.1, abs=1e-4)
    sizes, masses, peaks = maxima(edges, [2.5, 3.0], np.ones((1, 7), bool))
    assert sizes[0, 0].tolist() == [[4, 3], [2, 2]]
    np.testing.assert_allclose(masses[0, 0], [[1.0 + 1.5 + 0.7 + 0.4, 1.7], [2.5 + 0.6, 2.1]], atol=1e-4)
    np.testing.assert_allclose(to_t(peaks[0, 0], edges.df), [4, 5], atol=1e-4)


def test_an_edge_belongs_to_its_most_significant_component():
    found = network_based(by_hand([(0, 1), (1, 2), (4, 5), (6, 7)], [4.0, 4.0, -3.5, 1.0]), 3.0)
    assert found.member.tolist() == [1, 1, 2, 0]
    assert [own.tolist() for own in found.edges] == [[0, 1], [2]]
    np.testing.assert_allclose(found.p_edge, [*found.table["p_fwer"].iloc[[0, 0, 1]], 1])


def test_maxima_of_every_permutation_equal_scipys_components():
    edges = cohort(1, permutations=60, planted=range(12), d=1.0)
    mask = np.random.default_rng(0).random(190) < 0.4
    masks = np.stack([np.ones(190, bool), mask])
    sizes, masses, peaks = maxima(edges, THRESHOLDS, masks)
    r = np.concatenate([part for _, part in edges.chunks("test")]).astype(float)
    assert len(r) == 61
    for b, t in enumerate(to_t(r, edges.df)):
        for f, tail, k in np.ndindex(2, 2, 3):
            own = np.flatnonzero((t * (1 - 2 * tail) > THRESHOLDS[k]) & masks[f])
            graph = coo_array((np.ones(len(own)), (edges.rows[own], edges.cols[own])), shape=(20, 20))
            label = connected_components(graph, directed=False)[1][edges.rows[own]]
            mass = np.bincount(label, np.abs(t[own]) - THRESHOLDS[k], minlength=1)
            assert sizes[b, f, tail, k] == np.bincount(label, minlength=1).max()
            assert masses[b, f, tail, k] == pytest.approx(mass.max(), abs=1e-4)
        assert peaks[b, 1, 0] == pytest.approx(r[b, mask].max())


def test_component_sizes_equal_bctpy(monkeypatch):
    bct = pytest.importorskip("bct", reason="bctpy is not installed")
    rng = np.random.default_rng(2)
    n_nodes, table = 20, people(40, rng)
    rows, cols = np.triu_indices(n_nodes, 1)
    edges = rng.normal(size=(40, 190)) + 0.9 * np.outer(table["label"], np.arange(190) < 19)
    matrices = np.zeros((n_nodes, n_nodes, 40))
    matrices[rows, cols] = matrices[cols, rows] = edges.T
    cases = matrices[..., table["label"] == 1], matrices[..., table["label"] == 0]
    own = network_based(permuted_edges(edges, table, [], (rows, cols, n_nodes), 20, 0), 2.5).table
    own = own[own["tail"] == "patients higher"]
    _, adjacency, _ = bct.nbs_bct(*cases, 2.5, k=2, tail="right", seed=0)
    theirs = [int((adjacency[rows, cols] == k).sum()) for k in np.unique(adjacency[adjacency > 0])]
    assert sorted(own["n_edges"]) == sorted(theirs) and max(theirs) > 5


def test_a_cohort_without_strong_edges_gives_an_empty_result():
    edges = cohort(0, permutations=30)
    for found in (network_based(edges, 30.0), adaptive_network_based(edges, (30.0, 40.0))):
        assert len(found.table) == 0 and found.edges == []
        assert "p_fwer" in found.table and (found.member == 0).all()
    assert (network_based(edges, 30.0).p_edge == 1).all()


@pytest.mark.parametrize("thresholds", [(), (3.0, 2.5), (0.0, 1.0)])
def test_thresholds_must_rise_from_above_zero(thresholds):
    with pytest.raises(ValueError, match=r"must be positive and rise \(localize\.thresholds\)"):
        adaptive_network_based(cohort(0, permutations=20), thresholds)


# the smallest p


def test_the_smallest_p_by_hand():
    statistics = np.array([[9.0, 1.0], [5.0, 7.0], [5.0, 2.0], [1.0, 3.0]])  # row 0 is the group
    np.testing.assert_allclose(smallest_p(statistics), [1 / 4, 1 / 4, 3 / 4, 2 / 4])
    np.testing.assert_allclose(smallest_p(statistics, np.array([0.5, 1.0])), [2 / 4, 1 / 4, 3 / 4, 2 / 4])
    np.testing.assert_allclose(attained(np.array([1 / 4, 2 / 4, 1.0]), np.array([1 / 4, 3 / 4, 2 / 4])), [0.5, 0.75, 1])


def test_ties_count_and_no_p_is_zero():
    null = np.array([2.0, 3.0, 3.0, 5.0])
    np.testing.assert_allclose(exceedance([6, 3 * (1 + 1e-7), 3, 1], null), [1 / 5, 4 / 5, 4 / 5, 1])


def test_p_is_never_zero_and_the_best_possible_is_one_of_all():
    edges = cohort(4, planted=range(19), d=6.0, permutations=99)
    assert network_based(edges).table["p_fwer"].min() == 1 / 100
    assert threshold_free(edges).p_fwer.min() == 1 / 100
    adaptive = adaptive_network_based(edges)
    assert 1 / 100 <= adaptive.table["p_fwer"].min() == adaptive.p_edge.min() <= 2 / 100


# threshold-free


def stepped(t: np.ndarray, rows, cols, n_nodes: int, steps: int) -> np.ndarray:
    """Score by a sum over thresholds, middle of each step; positive tail."""
    score, width = np.zeros(len(t)), t.max() / steps
    for h in (np.arange(steps) + 0.5) * width:
        own = np.flatnonzero(t > h)
        graph = coo_array((np.ones(len(own)), (rows[own], cols[own])), shape=(n_nodes, n_nodes))
        label = connected_components(graph, directed=False)[1][rows[own]]
        score[own] += np.bincount(label)[label] ** 0.4 * h**3 * width
    return score


def test_threshold_free_by_hand():
    score = threshold_free(by_hand([(0, 1), (1, 2), (5, 6)], [3.0, 2.0, -2.0])).score
    shared = 2**0.4 * 2.0**4 / 4
    np.testing.assert_allclose(score, [(3.0**4 - 2.0**4) / 4 + shared, shared, 2.0**4 / 4], rtol=1e-5)
    halves = threshold_free(by_hand([(0, 1), (1, 2)], [3.0, 2.0]), extent=1.0, height=0.5).score
    np.testing.assert_allclose(halves, [(3**1.5 + 2**1.5) / 1.5, 2 * 2**1.5 / 1.5], rtol=1e-5)


def test_threshold_free_is_the_limit_of_the_stepped_sum():
    edges = cohort(5, planted=range(15), d=1.0, permutations=20)
    t, exact = edges.observed(), threshold_free(edges).score
    for sign in (1, -1):
        own = np.flatnonzero(sign * t > 1)
        height = np.maximum(sign * t, 0)
        errors = [np.abs(stepped(height, edges.rows, edges.cols, 20, steps)[own] / exact[own] - 1).max()
                  for steps in (40, 400, 4000)]  # fmt: skip
        assert errors[0] > 4 * errors[1] > 16 * errors[2] and errors[2] < 4e-3


def test_the_null_of_the_maximum_is_the_maximum_of_the_scores():
    """Two routes: best of the roots of a permutation, and all edges scored with that permutation as group."""
    edges = cohort(6, permutations=5)
    null = threshold_free(edges).max_null
    permutations = np.concatenate([part for part in edges._groups()])[1:]
    for b in range(5):
        turned = replace(edges, group=permutations[b])
        score, t = threshold_free(turned).score, turned.observed()
        np.testing.assert_allclose(null[b], [score[t > 0].max(), score[t < 0].max()], rtol=1e-4)


# what must not matter


def test_the_order_of_the_nodes_does_not_matter():
    edges = cohort(7, planted=range(10), d=1.2, permutations=99)
    rng = np.random.default_rng(0)
    order, names = rng.permutation(190), rng.permutation(20).astype(np.int32)
    turned = replace(edges, units=edges.units[:, order], rows=names[edges.cols[order]], cols=names[edges.rows[order]])
    for method in (network_based, adaptive_network_based, threshold_free):
        one, other = method(edges), method(turned)
        p = "p_edge" if hasattr(one, "p_edge") else "p_fwer"
        np.testing.assert_allclose(getattr(one, p)[order], getattr(other, p))


def test_chunks_and_threads_do_not_matter(monkeypatch):
    edges = cohort(8, permutations=300)
    whole = maxima(edges, THRESHOLDS, np.ones((1, 190), bool))
    monkeypatch.setattr(components, "CHUNK", 4 * 190 * 7)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    for one, other in zip(whole, maxima(edges, THRESHOLDS, np.ones((1, 190), bool))):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_is_small_is_multiplied_once(monkeypatch):
    """And what is not, again: products of it would fill the memory."""
    small, large = cohort(3, permutations=30), cohort(3, permutations=30)
    first = [r for _, r in small.chunks("first")]
    assert all(r is kept for (_, r), kept in zip(small.chunks("again"), first))
    monkeypatch.setattr(components, "CHUNK", 4 * len(large.rows) * 30)
    parts = [r for _, r in large.chunks("first")]
    assert not any(r is other for (_, r), other in zip(large.chunks("again"), parts))
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(parts))


def test_more_permutations_begin_with_the_fewer():
    few, many = (maxima(cohort(9, permutations=n), THRESHOLDS, np.ones((1, 190), bool))[1] for n in (90, 300))
    np.testing.assert_allclose(few, many[:91], atol=1e-5)


def test_numba_is_not_imported_before_it_is_needed():
    import subprocess

    asked = "import sys, dysconnect.localize.components; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


# the error rate

COHORTS = 100


def alarms(**more) -> dict[str, int]:
    """In how many null cohorts each method calls anything, both tails together and apart."""
    names = ["size", "intensity", "one tail", "adaptive", "adaptive, families", "threshold-free"]
    counts = dict.fromkeys(names, 0)
    mask = {"circuit": np.arange(190) < 30, "other": np.arange(190) > 150}
    for seed in range(COHORTS):
        edges = cohort(1000 + seed, permutations=199, **more)
        plain = network_based(edges, 2.0).table
        counts["size"] += (plain["p_fwer_size"] <= 0.05).any()
        counts["intensity"] += (plain["p_fwer"] <= 0.05).any()
        counts["one tail"] += (plain.query("tail == 'patients lower'")["p_tail"] <= 0.05).any()
        counts["adaptive"] += (adaptive_network_based(edges, THRESHOLDS).p_edge <= 0.05).any()
        counts["adaptive, families"] += (adaptive_network_based(edges, THRESHOLDS, mask).p_edge <= 0.05).any()
        counts["threshold-free"] += (threshold_free(edges).p_fwer <= 0.05).any()
    return counts


@pytest.mark.parametrize("more", [{}, {"shift": 0.9, "load": 0.5}], ids=["plain", "motion"])
def test_family_wise_error_holds(more):
    low, high = binom.interval(0.999, COHORTS, 0.05)
    assert all(low <= count <= high for count in alarms(**more).values())


def test_family_wise_error_breaks_when_motion_is_left_out():
    assert min(alarms(shift=0.9, load=0.5, nuisance=[]).values()) > 0.25 * COHORTS


# power


def test_a_planted_circuit_is_found_with_more_power_than_by_single_edges():
    """Forty edges among ten of forty nodes, d = 0.8, 50 + 50: adaptive components against max-T."""
    rows, cols = np.triu_indices(40, 1)
    circuit = np.flatnonzero((rows < 10) & (cols < 10))[:40]
    found = {"adaptive": 0.0, "max-T": 0.0}
    for seed in range(6):
        rng = np.random.default_rng([seed, 4])
        table = people(100, rng)
        edges = rng.normal(size=(100, len(rows)))
        edges[:, circuit] -= 0.8 * table["label"].to_numpy()[:, None]
        ready = permuted_edges(edges, table, ["mean_fd"], (rows, cols, 40), 300, 0)
        found["adaptive"] += (adaptive_network_based(ready).p_edge[circuit] <= 0.05).mean() / 6
        found["max-T"] += (edge_statistics(edges, table, ["mean_fd"], 300, 0).p_fwer[circuit] <= 0.05).mean() / 6
    assert found["adaptive"] > found["max-T"] + 0.15


def test_found_components_are_apart_by_sign():
    edges = by_hand([(0, 1), (1, 2)], [4.0, -4.0])
    table, own = found_components(edges.observed(), edges, [3.0], {"whole brain": None})
    assert table["n_edges"].tolist() == [1, 1] and [part.tolist() for part in own] == [[0], [1]]


def test_without_a_place_for_its_cache_code_is_compiled_all_the_same(monkeypatch):
    """As on a read-only checkout without a home."""
    from dysconnect.keeping import compiled

    def njit(cache=False, **_):
        if cache:
            raise RuntimeError("cannot cache function 'find': no locator available for file 'kernels.py'")
        return lambda function: function

    monkeypatch.setattr(compiled, "njit", njit)
    assert compiled.compiled(len) is len
