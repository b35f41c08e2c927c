"""One order of the pairs of regions, whoever asks; directed edges from the file to the component; zero as a value."""

from dataclasses import replace
from itertools import combinations, combinations_with_replacement, permutations, product

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from dysconnect.data.atlas import circuit_edges, edge_circuits, load_atlas
from dysconnect.data.cohort import Cohort
from dysconnect.data.connectomes import Connectomes, read_connectomes, write_connectomes
from dysconnect.data.edges import MissingRegions, Pairs, measure_pairs
from dysconnect.data.labelled import labelled_cohort
from dysconnect.learning.estimators import build
from dysconnect.localize import localize
from dysconnect.localize.bounds import discovery_bound
from dysconnect.localize.components import TAILS, maxima, network_based, permuted_edges
from dysconnect.localize.families import circuit_tests, system_blocks
from dysconnect.localize.statistics import to_t
from dysconnect.localize.tested import complete_edges
from dysconnect.models.graph.views import unfold, unfolding

KINDS = [(False, False), (False, True), (True, False), (True, True)]  # directed, diagonal
LISTED = {  # the same orders, by another road
    (False, False): lambda n: combinations(range(n), 2),
    (False, True): lambda n: combinations_with_replacement(range(n), 2),
    (True, False): lambda n: permutations(range(n), 2),
    (True, True): lambda n: product(range(n), repeat=2),
}


@pytest.fixture(params=KINDS, ids=["undirected", "with diagonal", "directed", "directed with diagonal"])
def kind(request) -> tuple[bool, bool]:
    return request.param


# the order


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_pairs_stand_row_by_row(kind, n):
    listed, pairs = list(LISTED[kind](n)), Pairs(n, *kind)
    assert list(zip(pairs.rows, pairs.cols)) == listed and len(pairs) == len(listed)


def test_the_undirected_order_is_numpys():
    np.testing.assert_array_equal(Pairs(30).ends, np.triu_indices(30, k=1))
    np.testing.assert_array_equal(Pairs(30, diagonal=True).ends, np.triu_indices(30))
    assert all(side.dtype == np.intp and side.flags.c_contiguous for side in Pairs(30, directed=True).ends)


def test_every_pair_knows_its_place(kind):
    pairs = Pairs(9, *kind)
    np.testing.assert_array_equal(pairs.position(*pairs.ends), np.arange(len(pairs)))
    if not pairs.directed:
        np.testing.assert_array_equal(pairs.position(pairs.cols, pairs.rows), np.arange(len(pairs)))
    assert pairs.position(2, 5) == list(LISTED[kind](9)).index((2, 5))


def test_places_of_many_regions_do_not_overflow():
    pairs = Pairs(100_000, directed=True)
    last = np.array([99_999], np.int32)
    assert pairs.position(last, last - 1) == len(pairs) - 1 == 99_999 * 100_000 - 1
    assert Pairs(100_000).position(last - 1, last) == len(Pairs(100_000)) - 1


@pytest.mark.parametrize(("a", "b"), [(0, 4), (-1, 2), (3, 3), (np.array([0, 1]), np.array([1, 7]))])
def test_what_is_no_pair_has_no_place(a, b):
    with pytest.raises(ValueError, match="are none of the undirected pairs of 4 regions"):
        Pairs(4).position(a, b)


def test_the_number_of_regions_follows_from_that_of_pairs(kind):
    for n in (2, 3, 7, 200, 1000):
        assert Pairs.of(len(Pairs(n, *kind)), *kind) == Pairs(n, *kind)
    with pytest.raises(ValueError, match=r"5 .*: no number of regions has so many"):
        Pairs.of(5, *kind)


def test_nobody_can_write_into_what_all_share(kind):
    pairs = Pairs(6, *kind)
    assert pairs.rows is Pairs(6, *kind).rows  # made once
    for side in pairs.ends:
        with pytest.raises(ValueError, match="read-only"):
            side[0] = 3


# matrices


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, bool])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_values_and_matrices_round_trip(kind, dtype, shape):
    pairs = Pairs(5, *kind)
    values = np.random.default_rng(0).normal(size=(*shape, len(pairs))).astype(dtype)
    matrices = pairs.matrix(values)
    assert matrices.shape == (*shape, 5, 5) and matrices.dtype == dtype and matrices.flags.c_contiguous
    np.testing.assert_array_equal(pairs.edges(matrices), values)
    for place, (a, b) in enumerate(LISTED[kind](5)):
        np.testing.assert_array_equal(matrices[..., a, b], values[..., place])
    if not pairs.directed:
        np.testing.assert_array_equal(matrices, matrices.swapaxes(-1, -2))
    if not pairs.diagonal:
        assert not np.diagonal(matrices, axis1=-2, axis2=-1).any()


def test_directed_matrices_are_not_made_symmetric():
    matrix = np.arange(16.0).reshape(4, 4)
    pairs = Pairs(4, directed=True)
    np.testing.assert_array_equal(pairs.matrix(pairs.edges(matrix)), matrix - np.diag(np.diag(matrix)))


def test_values_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 12\) does not hold 6 undirected pairs of 4 regions: \[..., E\]"):
        Pairs(4).matrix(np.zeros((2, 12)))
    with pytest.raises(ValueError, match=r"shape \(2, 4, 5\) does not hold 12 directed pairs of 4 regions"):
        Pairs(4, directed=True).edges(np.zeros((2, 4, 5)))


def test_pairs_of_missing_regions(kind):
    lost = np.random.default_rng(1).random((8, 5)) < 0.3
    expected = [[row[a] or row[b] for a, b in LISTED[kind](5)] for row in lost]
    np.testing.assert_array_equal(Pairs(5, *kind).touching(lost), expected)
    np.testing.assert_array_equal(Pairs(5, *kind).touching(lost[0]), expected[0])


def test_some_regions_in_another_order_keep_their_values(kind):
    matrix = np.random.default_rng(2).normal(size=(6, 6))
    matrix = matrix if kind[0] else matrix + matrix.T
    regions = np.array([4, 0, 5, 2])
    theirs = Pairs(6, *kind)
    expected = Pairs(4, *kind).edges(matrix[np.ix_(regions, regions)])
    np.testing.assert_array_equal(theirs.edges(matrix)[theirs.among(regions)], expected)


def test_names_of_pairs():
    table = Pairs(3, directed=True).named(np.array(["a", "b", "c"]))
    assert [*zip(table["region_a"], table["region_b"])] == list(permutations("abc", 2))


def test_which_measures_have_a_diagonal():
    own = {name: measure_pairs(name, 4).diagonal for name in ("correlation", "partial", "covariance", "tangent")}
    assert own == {"correlation": False, "partial": False, "covariance": True, "tangent": True}


def test_dense_graphs_unfold_in_the_same_order():
    edges = np.random.default_rng(3).normal(size=(2, 15)).astype(np.float32)
    assert torch.equal(unfold(torch.as_tensor(edges), 6), torch.as_tensor(Pairs(6).matrix(edges)))
    assert unfolding(6, torch.device("cpu")).dtype == torch.int32


# directed cohorts


@pytest.fixture
def directed(make_participants) -> Cohort:
    """Forty people and the 20 directed edges of five regions; patients differ in 0 -> 1 -> 2, not in the ways back."""
    people, rng, pairs = make_participants(40), np.random.default_rng(4), Pairs(5, directed=True)
    values = rng.normal(size=(40, 20)).astype(np.float32)
    values[:, pairs.position([0, 1], [1, 2])] -= 3 * people["label"].to_numpy()[:, None]
    names = np.array([f"region {k}" for k in range(5)])
    return Cohort(people, values, np.zeros((40, 5), bool), names, "correlation", directed=True)


def ready(cohort: Cohort, n_permutations: int = 40):
    nodes = (*cohort.pairs.ends, len(cohort.nodes))
    return permuted_edges(cohort.values, cohort.participants, ["age"], nodes, n_permutations, 0)


def groups_of(ends: list[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Edges apart by whether a way joins them, whichever way it leads: merged until nothing can be."""
    groups = [{one} for one in ends]
    for one in ends:
        near = [group for group in groups if any(set(one) & set(other) for other in group)]
        groups = [group for group in groups if group not in near] + [set().union({one}, *near)]
    return [group for group in groups if group]


def test_a_planted_directed_component_is_found(directed):
    found = network_based(ready(directed), threshold=3.0)
    first = found.table.iloc[0]
    assert first["p_fwer"] < 0.05 and first["tail"] == "patients lower" and first["nodes"] == (0, 1, 2)
    ends = [(directed.pairs.rows[k], directed.pairs.cols[k]) for k in found.edges[0]]
    assert ends == [(0, 1), (1, 2)]


def test_directed_components_are_those_that_are_merged_by_hand(directed):
    edges = ready(directed)
    thresholds = [0.5, 1.0, 2.0]
    sizes, masses, _ = maxima(edges, thresholds, np.ones((1, 20), bool))
    r = np.concatenate([part for _, part in edges.chunks("test")]).astype(float)
    listed = list(permutations(range(5), 2))
    for b, t in enumerate(to_t(r, edges.df)):
        for tail, k in np.ndindex(2, 3):
            beyond = dict(zip(listed, t * (1 - 2 * tail) - thresholds[k]))
            groups = groups_of([ends for ends, above in beyond.items() if above > 0]) or [set()]
            assert sizes[b, 0, tail, k] == max(map(len, groups)), TAILS[tail]
            mass = max(sum(beyond[ends] for ends in group) for group in groups)
            assert masses[b, 0, tail, k] == pytest.approx(mass, abs=1e-4)


def test_families_and_bounds_take_directed_edges(directed):
    edges, wrong = ready(directed, 99), np.isin(np.arange(20), directed.pairs.position([0, 1], [1, 2]))
    table = circuit_tests(edges, {"there": wrong, "back": directed.pairs.edges(directed.pairs.matrix(wrong).T)}).table
    assert table["p_fwer_mean"][0] <= 0.05 < table["p_fwer_mean"][1]
    bound = discovery_bound(directed.values, directed.participants, ["age"], 99, 0, 0.05)
    assert bound.true_discoveries(wrong) == 2
    blocks = system_blocks(np.array(list("aabbb")), edges.rows, edges.cols)
    assert pd.Series(blocks).value_counts().to_dict() == {"a - b": 12, "b - b": 6, "a - a": 2}


def test_a_directed_cohort_is_localized_by_name(directed):
    spec = {
        "nuisance": ["age"], "permutations": 99, "seed": 0, "permutation": "smith", "device": "cpu", "alpha": 0.05,
        "stability_top": 2, "stability_draws": 10, "max_missing": 0.1, "thresholds": [2.5, 3.0],
        "prior_circuits": [], "prior": 2.0,
    }  # fmt: skip
    found = localize(directed, np.full(20, ""), spec)
    assert len(found.edges) == 20
    first = found.edges.iloc[:2]
    assert set(zip(first["region_a"], first["region_b"])) == {("region 0", "region 1"), ("region 1", "region 2")}
    assert (first["p_fwer"] <= 0.05).all() and found.edges["p_fwer"][2] > 0.05


def test_directed_circuits_go_the_way_that_their_rules_go():
    nodes = load_atlas("seitzman300")
    table, both = circuit_edges(nodes, directed=True), circuit_edges(nodes)
    pairs = Pairs(len(nodes), directed=True)
    np.testing.assert_array_equal(table["edge"], pairs.position(table["i"], table["j"]))
    undirected = Pairs(len(nodes)).position(np.minimum(table["i"], table["j"]), np.maximum(table["i"], table["j"]))
    for circuit, rows in table.assign(both=undirected).groupby("circuit"):
        assert set(rows["both"]) == set(both.loc[both["circuit"] == circuit, "edge"]), circuit
    system = nodes["system"].to_numpy()
    ends = table.assign(source=system[table["i"]], target=system[table["j"]]).groupby("circuit")
    ways = {circuit: set(zip(rows["source"], rows["target"])) for circuit, rows in ends}
    ahead = {("cerebellum", "thalamus"), ("thalamus", "cortex"), ("cerebellum", "cortex")}
    assert ways["cerebello_thalamo_cortical"] == ahead
    assert ways["cortico_striatal"] == {("cortex", "basal_ganglia")}
    assert ways["pallido_thalamic"] == {("basal_ganglia", "thalamus")}
    named = edge_circuits(nodes, directed=True)
    assert set(np.flatnonzero(named)) == set(table["edge"])


def test_missing_directed_edges_take_the_mean_of_those_who_have_them(directed):
    missing = np.zeros((40, 5), bool)
    missing[3, 2] = True
    own = replace(directed, missing=missing, values=np.where(directed.pairs.touching(missing), 0, directed.values))
    lost = own.pairs.touching(missing[3])
    complete = complete_edges(own, 0.1).values
    np.testing.assert_allclose(complete[3, lost], np.delete(own.values, 3, 0)[:, lost].mean(0), rtol=1e-5)
    with pytest.raises(ValueError):  # undirected pairs are not as many
        MissingRegions().fit(own.values, missing)


def test_the_tangent_space_and_graph_networks_refuse_directed_edges(directed):
    with pytest.raises(ValueError, match=r"tangent space.*directed\. Choose an experiment"):
        replace(directed, measure="tangent")
    training = {"device": "cpu", "lr": 0.01}
    network = build({"name": "gcn"}, "correlation", {"density": 0.1}, training)
    with pytest.raises(ValueError, match=r"graph networks.*directed"):
        network.fit(directed, np.arange(40))


# the file


def written(tmp_path, cohort: Cohort, **changes):
    """Write somebody's connectomes, read them again, and give both and the attributes of the file."""
    subjects = cohort.participants["participant_id"].to_numpy(str)
    stored = Connectomes(cohort.values, cohort.missing, subjects, cohort.nodes, "correlation", "ab", **changes)
    write_connectomes(stored, tmp_path / "own.h5", {})
    with h5py.File(tmp_path / "own.h5") as file:
        attributes = {str(name) for name in file.attrs if not name.startswith("_")}
    return stored, read_connectomes(tmp_path / "own.h5"), attributes


def test_a_file_says_that_its_edges_are_directed(tmp_path, directed):
    stored, back, attributes = written(tmp_path, directed, directed=True)
    assert attributes == {"measure", "data_hash", "dysconnect", "seal", "directed"}
    assert back.directed and back.pairs == stored.pairs
    np.testing.assert_array_equal(back.values, stored.values)
    with h5py.File(tmp_path / "own.h5") as file:
        assert [*zip(file["node_a"].asstr(), file["node_b"].asstr())] == list(permutations(directed.nodes, 2))
    directed.participants.assign(group=np.where(directed.labels == 1, "DYT", "HC"), included=True).to_csv(
        tmp_path / "participants.tsv", sep="\t", index=False
    )
    contrast = {"cases": ["DYT"], "controls": ["HC"]}
    cohort, _ = labelled_cohort(tmp_path / "own.h5", tmp_path / "participants.tsv", contrast, "correlation")
    assert cohort.directed and cohort.pairs == directed.pairs


def test_other_files_say_no_more_than_before(tmp_path, make_cohort):
    _, back, attributes = written(tmp_path, make_cohort(n=10, n_nodes=4))
    assert attributes == {"measure", "data_hash", "dysconnect", "seal"}
    assert not back.directed and not back.zero_measured and back.measured.all()


@pytest.mark.parametrize("zero", [False, True])
def test_zero_is_a_gap_or_a_value(tmp_path, make_cohort, zero):
    cohort = make_cohort(n=12, n_nodes=4)
    cohort.values[:, 1] = 0  # in everybody
    cohort.missing[:, 3] = True  # a region that nobody has
    cohort.values[:, cohort.pairs.touching(cohort.missing[0])] = 0
    stored, back, attributes = written(tmp_path, cohort, zero_measured=zero)
    assert ("zero_measured" in attributes) is zero and back.zero_measured is zero
    touched = cohort.pairs.touching(np.arange(4) == 3)
    expected = ~touched & (zero | (np.arange(6) != 1))
    np.testing.assert_array_equal(back.measured, expected)
    with h5py.File(tmp_path / "own.h5") as file:
        np.testing.assert_array_equal(np.isnan(file["connectome"][0]), ~expected)
    np.testing.assert_array_equal(back.values, stored.values)
    again = replace(cohort, known=back.known)
    np.testing.assert_array_equal(again.measured, expected)
    np.testing.assert_array_equal(complete_edges(again, 0.1).tested, expected)


def test_what_was_measured_can_be_given(tmp_path, make_cohort):
    cohort, given = make_cohort(n=12, n_nodes=4), np.arange(6) != 4
    cohort.values[:, [1, 4]] = 0
    _, back, _ = written(tmp_path, cohort, measured=given)
    np.testing.assert_array_equal(back.measured, given)
