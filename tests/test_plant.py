"""A planted disruption is what was asked for: these edges, this far, these people, and nothing else."""

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.atlas import circuit_edges
from dysconnect.data.edges import Pairs
from dysconnect.planted.plant import (
    FLOOR,
    Ground,
    _moved,
    choose_carriers,
    choose_edges,
    edge_spread,
    plant,
    plant_cohort,
    resting_band,
)
from dysconnect.planted.simulated import simulate_cohort

TR = 2.0


@pytest.fixture(scope="module")
def cohort(nodes, simulated_spec):
    """Participants and series of sixteen, [100, 40] each."""
    participants, series, _ = simulate_cohort(simulated_spec, nodes)
    return participants, series


@pytest.fixture(scope="module")
def edges(nodes) -> pd.DataFrame:
    """Eight edges of two loops."""
    circuits = ["cerebello_thalamo_cortical", "striato_pallidal"]
    return choose_edges(nodes, circuits, 8, "down", np.random.default_rng(0))


def fisher(series: np.ndarray) -> np.ndarray:
    """Fisher z of all edges in the resting band, [E]."""
    return np.arctanh(np.corrcoef(resting_band(series, TR).T)[Pairs(series.shape[1]).ends])


# the resting band


def test_resting_band_keeps_what_is_inside_and_removes_what_is_outside():
    time = np.arange(200) * TR
    inside, outside = np.sin(2 * np.pi * 0.05 * time), np.sin(2 * np.pi * 0.2 * time)
    band = resting_band((5 + inside + outside)[:, None], TR)[:, 0]
    np.testing.assert_allclose(band, inside, atol=1e-9)


# the move


def test_no_shift_leaves_the_series_as_they_are(cohort, edges):
    x = cohort[1][0]
    np.testing.assert_allclose(plant(x, resting_band(x, TR), edges, np.zeros(8)), x, rtol=1e-9)


def test_only_the_lowest_eigenvalues_are_raised():
    """The nearest matrix with none below the floor, by all eigenvectors; then a correlation again."""
    rng = np.random.default_rng(0)
    matrix = np.corrcoef(rng.normal(size=(30, 60)))
    i, j = np.triu_indices(8, 1)
    moved = _moved(matrix, i, j, np.full(len(i), -0.8))
    expected, wanted = matrix.copy(), np.tanh(np.arctanh(matrix[i, j]) - 0.8)
    for _ in range(3):
        expected[i, j] = expected[j, i] = wanted
        values, vectors = np.linalg.eigh(expected)
        assert (values < FLOOR).any()
        expected = (vectors * np.maximum(values, FLOOR)) @ vectors.T
        scale = np.sqrt(np.diag(expected))
        expected /= np.outer(scale, scale)
    np.testing.assert_allclose(moved, expected, atol=1e-12)


def test_ground_serves_any_number_of_plantings(cohort, edges):
    x = cohort[1][0]
    ground = Ground.of(x, resting_band(x, TR))
    for shift in (-0.4, 0.2, -0.4):
        expected = plant(x, resting_band(x, TR), edges, np.full(8, shift))
        np.testing.assert_array_equal(ground.planted(edges, np.full(8, shift)), expected)


@pytest.mark.parametrize("amount", [-0.3, 0.2])
def test_planted_edges_move_as_asked_and_the_others_hardly(cohort, edges, amount):
    moves = np.array([
        fisher(plant(x, resting_band(x, TR), edges, np.full(8, amount))) - fisher(x) for x in cohort[1][:6]
    ])  # fmt: skip
    planted = np.isin(np.arange(moves.shape[1]), edges["edge"])
    np.testing.assert_allclose(moves[:, planted], amount, atol=0.02)
    assert abs(moves[:, ~planted].mean()) < 0.03 * abs(amount)
    assert np.abs(moves[:, ~planted]).mean() < 0.15 * abs(amount)


def test_every_edge_moves_by_its_own_amount(cohort, edges):
    x, asked = cohort[1][1], np.linspace(-0.3, 0.3, 8)
    move = (fisher(plant(x, resting_band(x, TR), edges, asked)) - fisher(x))[edges["edge"]]
    np.testing.assert_allclose(move, asked, atol=0.02)


def test_means_and_spreads_of_the_regions_stay(cohort, edges):
    x = cohort[1][2]
    planted = plant(x, resting_band(x, TR), edges, np.full(8, -0.4))
    np.testing.assert_allclose(planted.mean(0), x.mean(0), rtol=1e-9)
    np.testing.assert_allclose(planted.std(0), x.std(0), rtol=1e-9)


def test_it_works_with_fewer_volumes_than_regions(cohort, edges):
    x = cohort[1][3][:35]
    planted = plant(x, resting_band(x, TR), edges, np.full(8, -0.3))
    move = fisher(planted) - fisher(x)
    assert np.isfinite(planted).all()
    np.testing.assert_allclose(move[edges["edge"]], -0.3, atol=0.05)


@pytest.mark.parametrize("constant", [0.0, 700.0])
def test_a_region_without_signal_is_not_touched(cohort, edges, constant):
    x = cohort[1][4].copy()
    dead = edges["i"].iloc[0]
    x[:, dead] = constant
    planted = plant(x, resting_band(x, TR), edges, np.full(8, -0.3))
    np.testing.assert_array_equal(planted[:, dead], constant)
    others = edges[(edges["i"] != dead) & (edges["j"] != dead)]
    with np.errstate(invalid="ignore", divide="ignore"):
        move = (fisher(planted) - fisher(x))[others["edge"]]
    np.testing.assert_allclose(move, -0.3, atol=0.02)


# which edges


@pytest.mark.parametrize(("direction", "signs"), [("down", {-1}), ("up", {1}), ("mixed", {-1, 1})])
def test_directions_have_their_signs(nodes, direction, signs):
    chosen = choose_edges(nodes, ["cerebello_striatal"], 30, direction, np.random.default_rng(0))
    assert set(chosen["direction"]) == signs


def test_edges_come_evenly_from_the_circuits_asked(nodes):
    circuits = ["cerebello_thalamo_cortical", "striato_pallidal"]
    chosen = choose_edges(nodes, circuits, 12, "down", np.random.default_rng(0))
    assert chosen["circuit"].value_counts().to_dict() == dict.fromkeys(circuits, 6)
    assert chosen["edge"].is_unique
    known = circuit_edges(nodes).set_index(["circuit", "edge"])[["i", "j"]]
    own = chosen.set_index(["circuit", "edge"])[["i", "j"]]
    pd.testing.assert_frame_equal(own, known.loc[own.index])
    rows, cols = Pairs(len(nodes)).ends
    assert (rows[chosen["edge"]] == chosen["i"]).all()
    assert (cols[chosen["edge"]] == chosen["j"]).all()


def test_unknown_circuit_lists_the_known(nodes):
    with pytest.raises(ValueError, match=r"plant in: nonsense has no edge .*Known circuits: cerebello_"):
        choose_edges(nodes, ["nonsense"], 2, "down", np.random.default_rng(0))


def test_too_many_edges_says_how_many_there_are(nodes):
    pool = (circuit_edges(nodes)["circuit"] == "striato_pallidal").sum()
    with pytest.raises(ValueError, match=rf"9999 edges to plant asked, but striato_pallidal have {pool}"):
        choose_edges(nodes, ["striato_pallidal"], 9999, "down", np.random.default_rng(0))


# whom, and how much


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 20), (0.7, 14), (0.5, 10), (0.0, 0)])
def test_the_share_of_carriers_is_kept(fraction, count):
    patients = np.arange(100, 120)
    carriers = choose_carriers(patients, fraction, np.random.default_rng(0))
    assert len(carriers) == count == len(set(carriers))
    assert set(carriers) <= set(patients)


def test_spread_is_the_standard_deviation_within_sites(cohort):
    participants, series = cohort
    bands = [resting_band(x, TR) for x in series]
    z = np.array([fisher(x) for x in series])
    sites = participants["site"].to_numpy()
    parts = [((z[sites == site] - z[sites == site].mean(0)) ** 2).sum(0) for site in set(sites)]
    expected = np.sqrt(np.sum(parts, axis=0) / (len(z) - len(parts)))
    np.testing.assert_allclose(edge_spread(bands, participants), expected, rtol=1e-3)


@pytest.mark.parametrize("kind", ["unreadable", "dead region"])
def test_spread_takes_no_account_of_what_is_missing(cohort, kind):
    participants, series = cohort
    bands = [resting_band(x, TR) for x in series]
    expected = edge_spread(bands[1:], participants.iloc[1:])
    bands[0] = np.full_like(bands[0], np.nan)
    edges = slice(None)
    if kind == "dead region":
        bands[0] = resting_band(series[0], TR)
        bands[0][:, 0] = 0
        edges = slice(0, 39)  # of region 0
    np.testing.assert_allclose(edge_spread(bands, participants)[edges], expected[edges], rtol=0.02)


@pytest.fixture(scope="module")
def planting(nodes, cohort, simulated_spec):
    """Plant in the tiny cohort: returns what `plant_cohort` returns, for changes of the specification."""
    participants, series = cohort
    patients = np.flatnonzero(participants["group"] == "DYT")

    def run(series=series, **changes):
        spec = {**simulated_spec["plant"], **changes}
        return plant_cohort(series, participants, nodes, [TR] * len(series), spec, patients)

    return run


def test_a_hub_has_its_edges_at_one_region(planting, nodes):
    hub = nodes["name"].iloc[3]
    _, truth, _ = planting(region=hub, edges=9, direction="mixed")
    assert ((truth["region_a"] == hub) ^ (truth["region_b"] == hub)).all()
    assert len(truth.drop_duplicates(["region_a", "region_b"])) == 9 and set(truth["direction"]) == {-1, 1}


def test_a_hub_must_be_a_region_with_enough_edges(planting, nodes):
    hub = nodes["name"].iloc[3]
    with pytest.raises(ValueError, match=f"no '{hub[:-1]}'. It has .*{hub}"):
        planting(region=hub[:-1])
    with pytest.raises(ValueError, match=f"40 edges to plant asked, but {hub} has 39"):
        planting(region=hub, edges=40)


def test_only_carriers_are_changed_and_they_are_patients(cohort, planting):
    participants, series = cohort
    planted, truth, carriers = planting()
    changed = [k for k in range(len(series)) if not np.array_equal(planted[k], series[k])]
    assert changed == carriers.tolist()
    assert len(carriers) == 6
    assert (participants["group"].iloc[carriers] == "DYT").all()
    assert len(truth) == 10
    assert (truth["effect"] == 1.5).all()
    assert (truth["carriers"] == 0.75).all()


def test_effect_is_in_units_of_the_spread(cohort, planting, nodes):
    participants, series = cohort
    planted, truth, carriers = planting(effect=1.0)
    position = {name: k for k, name in enumerate(nodes["name"])}
    i, j = truth["region_a"].map(position).to_numpy(), truth["region_b"].map(position).to_numpy()
    square = np.zeros((40, 40))
    square[Pairs(40).ends] = edge_spread([resting_band(x, TR) for x in series], participants)
    moves = []
    for k in carriers:
        change = np.zeros((40, 40))
        change[Pairs(40).ends] = fisher(planted[k]) - fisher(series[k])
        moves.append(change[i, j] / square[i, j])
    np.testing.assert_allclose(moves, -1.0, atol=0.1)


def test_same_seed_same_truth_other_seed_other_truth(planting):
    first, again, other = planting()[1], planting()[1], planting(seed=5)[1]
    assert first.equals(again)
    assert not first.equals(other)


def test_no_effect_leaves_everything_and_an_empty_truth(cohort, planting):
    planted, truth, carriers = planting(effect=0)
    assert all(new is old for new, old in zip(planted, cohort[1]))
    assert len(carriers) == len(truth) == 0
    assert {"region_a", "region_b", "circuit", "direction", "effect"} <= set(truth.columns)


def test_unreadable_carriers_are_left_as_they_are(cohort, planting):
    _, _, carriers = planting()
    series = list(cohort[1])
    series[carriers[0]] = np.full((2, 40), np.nan)
    planted, _, again = planting(series=series)
    assert again.tolist() == carriers.tolist()
    assert np.isnan(planted[carriers[0]]).all()
    assert np.isfinite(planted[carriers[1]]).all()
