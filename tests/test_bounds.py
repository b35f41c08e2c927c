"""Bounds on true discoveries have their closed forms, agree with other software, and hold as often as they say."""

import numpy as np
import pytest
from scipy.special import stdtr
from scipy.stats import binom, norm
from scipy.stats import t as student

from dysconnect.localize.bounds import (
    LARGEST,
    TIE,
    DiscoveryBound,
    _ratios,
    all_resolutions,
    bounds_table,
    calibrate,
    discovery_bound,
    permuted_ratios,
    simes,
)
from dysconnect.localize.severity import score_statistics
from dysconnect.localize.statistics import edge_statistics, nuisance_basis, permuted_groups, residual_unit, to_t

NUISANCE = ["age", "mean_fd", "site"]
FIVE = np.array([0.004, 0.5, 0.015, 0.025, 0.9])


def among(*positions: int, of: int = 5) -> np.ndarray:
    """Return a set of edges."""
    return np.isin(np.arange(of), positions)


# closed forms


def test_simes_bound_of_five_p_by_hand():
    bound = simes(FIVE, 0.05)  # thresholds 0.01, 0.02, 0.03, 0.04, 0.05
    everything = among(0, 1, 2, 3, 4)  # k = 1: 4 + 0; k = 2: 3 + 1; k = 3: 2 + 2: at most 4 are false
    assert bound.true_discoveries(everything) == 1
    assert bound.proportion(everything) == pytest.approx(1 / 5)
    assert bound.true_discoveries(among(0, 2, 3)) == 1  # k = 1: 2; k = 2: 1 + 1; k = 3: 0 + 2
    assert bound.true_discoveries(among(2, 3)) == 0  # k = 1: 2; k = 2: 1 + 1: as many as there are
    assert bound.true_discoveries(among(1, 4)) == 0
    assert bound.true_discoveries(among(0)) == 1
    assert bound.proportion(among(0)) == 1


def test_closed_testing_of_five_p_by_hand():
    """Subsets that Simes accepts: the two largest; of three 3 x 0.025 > 0.05 but also 3 x 0.5 > 0.1 and 2.7 > 0.15."""
    bound = all_resolutions(FIVE, 0.05)  # of four: 4 x 0.015 > 0.05, 4 x 0.025 = 0.1 is not > 0.1: h = 3
    assert bound.slope == pytest.approx(0.05 / 3)
    assert bound.true_discoveries(among(0, 2, 3)) == 2  # k = 1 (0.0167): 1 + 0
    assert simes(FIVE, 0.05).true_discoveries(among(0, 2, 3)) == 1


def test_closed_testing_agrees_with_all_subsets():
    """The shortcut against the definition: a set is false as a whole unless every set that holds it is rejected."""
    rng = np.random.default_rng(0)
    subsets = np.array([[(code >> i) & 1 for i in range(7)] for code in range(1, 128)], bool)
    for _ in range(40):
        p = np.where(rng.random(7) < 0.5, rng.random(7) * 0.03, rng.random(7))
        simes_p = [np.min(np.sort(p[own]) * own.sum() / np.arange(1, own.sum() + 1)) for own in subsets]
        kept = subsets[np.array(simes_p) > 0.05]
        bound = all_resolutions(p, 0.05)
        for own in subsets:
            false = max((kept & own).sum(1), default=0)
            assert bound.true_discoveries(own) == own.sum() - false


def test_an_empty_set_holds_nothing():
    for bound in (simes(FIVE, 0.05), all_resolutions(FIVE, 0.05), DiscoveryBound(FIVE, 1.0, 3)):
        assert bound.true_discoveries(among()) == 0
        assert bound.proportion(among()) == 0


def test_overwhelming_evidence_is_believed_and_none_is_not():
    assert all_resolutions(np.full(50, 1e-9), 0.05).proportion(np.ones(50, bool)) == 1
    assert all_resolutions(np.ones(50), 0.05).proportion(np.ones(50, bool)) == 0


def test_bound_grows_with_the_set_by_at_most_what_is_added():
    rng = np.random.default_rng(1)
    bound = DiscoveryBound(rng.random(300) ** 3, 0.0008, 40)
    chosen, order, before = np.zeros(300, bool), rng.permutation(300), 0
    for edge in order:
        chosen[edge] = True
        now = bound.true_discoveries(chosen)
        assert before <= now <= before + 1
        before = now
    assert before > 10


def test_table_of_named_sets():
    table = bounds_table(all_resolutions(FIVE, 0.05), {"component 1": among(0, 2, 3), "empty": among()})
    assert table["set"].tolist() == ["component 1", "empty"]
    assert table[["n_edges", "true_discoveries"]].to_numpy().tolist() == [[3, 2], [0, 0]]
    assert table["proportion"].tolist() == [pytest.approx(2 / 3), 0]


def test_a_set_must_be_a_mask():
    with pytest.raises(ValueError, match=r"a bool for each of the 5 edges; this one is int64 of shape \(2,\)"):
        simes(FIVE, 0.05).true_discoveries(np.array([0, 2]))
    with pytest.raises(ValueError, match=r"bool of shape \(4,\)"):
        simes(FIVE, 0.05).true_discoveries(np.ones(4, bool))


# calibration


@pytest.fixture(scope="module")
def correlated():
    """A cohort whose edges share three factors; the first `planted` edges are stronger in patients."""

    def build(make_participants, seed: int, planted: int = 0, shift: float = 1.2, shared: float = 1.5):
        people = make_participants(40, seed)
        rng = np.random.default_rng([seed, 9])
        edges = rng.normal(size=(40, 150)) + shared * rng.normal(size=(40, 3)) @ rng.normal(size=(3, 150))
        edges[:, :planted] += shift * people["label"].to_numpy()[:, None] * edges.std(0)[:planted]
        return edges.astype(np.float32), people

    return build


def test_ratios_of_permutations_by_definition(correlated, make_participants):
    edges, people = correlated(make_participants, 0)
    basis = nuisance_basis(people, NUISANCE)
    df = len(people) - basis.shape[1] - 1
    groups = permuted_groups(people["label"].to_numpy(float), basis, people["site"].to_numpy(), 25, 0)
    p = np.sort(2 * student.sf(np.abs(to_t(groups @ residual_unit(edges.astype(float), basis), df)), df), axis=1)
    for largest in (1, 20, 150, 1000):
        expected = (p * 150 / np.arange(1, 151))[:, :largest].min(1)
        own = permuted_ratios(groups, edges, basis, largest, chunk_bytes=8 * 7 * (150 + largest))
        np.testing.assert_allclose(own, expected, rtol=1e-4)


@pytest.mark.parametrize("df", [20, 92, 3000])
def test_the_smallest_ratio_is_that_of_all_ranks(df):
    """Found in a table of p, and then computed: the same number as by computing every p, far out in the tail too."""
    rng = np.random.default_rng(0)
    strongest = np.minimum(np.abs(rng.normal(size=(60, 40))) * rng.choice([0.02, 0.1, 0.4], (60, 1)), 1).astype(
        np.float32
    )
    strongest[0] = 1
    p = 2 * stdtr(df, -to_t(-np.sort(-strongest, axis=1).astype(float), df))
    np.testing.assert_array_equal(_ratios(strongest, df, 500), (p / np.arange(1, 41)).min(1) * 500)


def test_parts_of_the_edges_make_no_difference(correlated, make_participants, monkeypatch):
    edges, people = correlated(make_participants, 0)
    basis = nuisance_basis(people, NUISANCE)
    groups = permuted_groups(people["label"].to_numpy(float), basis, people["site"].to_numpy(), 25, 0)
    whole = permuted_ratios(groups, edges, basis, 20)
    monkeypatch.setattr("dysconnect.localize.permutation.PART", 8 * 40 * 17)
    np.testing.assert_allclose(permuted_ratios(groups, edges, basis, 20), whole, rtol=1e-5)


def test_slope_is_the_permutations_own_quantile():
    t, ratios = np.linspace(0, 4, 10), np.arange(1, 100) / 100
    bound = calibrate(t, 30, ratios, 0.05, 1000)  # the 5th smallest of 99
    assert bound.slope == pytest.approx(0.05 / 10, rel=2 * TIE)
    assert bound.largest == 10
    np.testing.assert_allclose(bound.p, 2 * student.sf(t, 30))
    with pytest.raises(ValueError, match=r"18 permutations are too few for alpha = 0\.05: at least 19 are needed"):
        calibrate(t, 30, ratios[:18], 0.05, 10)
    assert calibrate(t, 30, ratios[:19], 0.05, 10).slope == pytest.approx(0.001, rel=2 * TIE)


def test_permutations_that_repeat_the_observed_grouping_are_ties(make_participants):
    """Where every permutation is the observed one again, nothing can be said."""
    people = make_participants(20)
    edges = np.random.default_rng(0).normal(size=(20, 30)) + 5 * people["label"].to_numpy()[:, None]
    basis = nuisance_basis(people, [])
    group = people["label"].to_numpy() - 0.5
    unit = group / np.linalg.norm(group)
    ratios = permuted_ratios(np.repeat(unit[None], 19, axis=0), edges, basis)
    t = to_t(unit @ residual_unit(edges, basis), 18)
    assert calibrate(t, 18, ratios, 0.05, LARGEST).true_discoveries(np.ones(30, bool)) < 30
    alone = permuted_ratios(np.repeat(unit[None], 19, axis=0), edges[:, :1], basis)
    assert calibrate(t[:1], 18, alone, 0.05, 1).true_discoveries(np.ones(1, bool)) == 0


def test_one_threshold_is_max_t(correlated, make_participants):
    """With K = 1 a set holds a true discovery exactly where max-T finds one of its edges."""
    edges, people = correlated(make_participants, 3, planted=5)
    bound = discovery_bound(edges, people, NUISANCE, 199, 4, 0.05, largest=1)
    tested = edge_statistics(edges, people, NUISANCE, 199, 4)
    np.testing.assert_allclose(bound.p, tested.p, rtol=1e-6)
    found = np.array([bound.true_discoveries(np.arange(150) == e) for e in range(150)])
    np.testing.assert_array_equal(found, tested.p_fwer <= 0.05)
    assert 0 < found.sum() < 150


def test_a_score_in_the_place_of_the_label(correlated, make_participants):
    wrong, shares = 0, []
    for seed in range(80):
        edges, people = correlated(make_participants, seed)
        score = np.random.default_rng([seed, 3]).gamma(2, 5, 40)
        edges[:, :20] += 1.5 * edges[:, :20].std(0) * ((score - score.mean()) / score.std())[:, None]
        bound = discovery_bound(edges, people.assign(label=score), NUISANCE, 99, seed, 0.05, largest=50)
        shares.append(bound.proportion(np.arange(150) < 20))
        wrong += bound.true_discoveries(np.arange(150) >= 20) > 0
    tested = score_statistics(edges, people.assign(bfm=score), "bfm", NUISANCE, 99, 0)
    np.testing.assert_allclose(bound.p, tested.p, rtol=1e-6)
    assert wrong <= binom.ppf(0.999, 80, 0.05)
    assert np.mean(shares) > 0.8


def test_calibrated_bounds_beat_the_parametric_where_edges_are_correlated(correlated, make_participants):
    more = []
    for seed in range(8):
        edges, people = correlated(make_participants, seed, planted=15, shift=1.0, shared=3)
        bound = discovery_bound(edges, people, NUISANCE, 299, seed, 0.05, largest=50)
        parametric = all_resolutions(bound.p, 0.05)
        masks = [among(*range(15), of=150), among(*range(60), of=150), bound.p < 0.01]
        more += [bound.proportion(mask) - parametric.proportion(mask) for mask in masks]
    assert np.min(more) >= 0
    assert np.mean(more) > 0.05


COHORTS = 240


def test_bounds_exceed_the_truth_no_more_often_than_alpha(correlated, make_participants):
    """All sets at once: the worst of all sets of null edges is one of the strongest null edges."""
    high = binom.ppf(0.999, COHORTS, 0.05)
    wrong = {0: 0, 40: 0}
    for planted in wrong:
        for seed in range(COHORTS):
            edges, people = correlated(make_participants, seed, planted)
            bound = discovery_bound(edges, people, NUISANCE, 99, seed, 0.05, largest=50)
            null = np.arange(150) >= planted
            order = np.argsort(np.where(null, bound.p, 2))[: null.sum()]
            worst = np.zeros(150, bool)
            for edge in order[:20]:
                worst[edge] = True
                if bound.true_discoveries(worst) > 0:
                    wrong[planted] += 1
                    break
    assert wrong[0] <= high and wrong[40] <= high
    assert wrong[0] >= binom.ppf(0.001, COHORTS, 0.05)  # calibrated, not merely conservative


# other software


def test_agrees_with_sanssouci():
    peer = pytest.importorskip("sanssouci", reason="the sanssouci package is not installed")
    rng = np.random.default_rng(0)
    null = rng.random((60, 80)) ** 1.1
    p = np.r_[rng.random(50), rng.random(30) / 500]
    pivots = peer.get_pivotal_stats(null, K=30)
    ratios = (np.sort(null, axis=1) * 80 / np.arange(1, 81))[:, :30].min(1)
    np.testing.assert_allclose(pivots, ratios)
    level = np.quantile(pivots, 0.05)
    bound = DiscoveryBound(p, level / 80, 30)
    thresholds = peer.linear_template(level, 30, 80)
    for mask in (p < 0.01, p < 0.1, rng.random(80) < 0.5, np.ones(80, bool)):
        assert bound.true_discoveries(mask) == peer.min_tp(p[mask], thresholds)


def test_hommels_value_agrees_with_sanssouci():
    """Their h (nilearn's too) is found with the divisors n..2 in the place of n - 1..1: equal, or one more."""
    peer = pytest.importorskip("sanssouci.post_hoc_bounds", reason="the sanssouci package is not installed")
    rng = np.random.default_rng(1)
    for strong in (1, 20, 60):
        z = np.r_[rng.normal(size=100), rng.normal(3.5, 1, strong)]
        hommel = peer._compute_hommel_value(z, 0.05)
        own = round(0.05 / all_resolutions(norm.sf(z), 0.05).slope)
        assert hommel - 1 <= own <= hommel


def test_p_of_the_bound_is_two_sided():
    bound = calibrate(np.array([-2.0, 2.0]), 12, np.full(99, 0.5), 0.05, 2)
    np.testing.assert_allclose(bound.p, 2 * stdtr(12, -2.0))
