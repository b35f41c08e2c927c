"""Edges are tested as the textbook says, the error rate holds on null cohorts, and what was planted is found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from nilearn.mass_univariate import permuted_ols
from scipy.stats import binom, false_discovery_control, ttest_ind
from scipy.stats import t as student

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.localize import localize
from dysconnect.localize.recovery import match_truth, read_recovery, recovery, weights_recovery
from dysconnect.localize.statistics import (
    edge_statistics,
    exceedance_p,
    false_discovery,
    max_correlations,
    nuisance_basis,
    permuted_groups,
    residual_unit,
    selection_stability,
    to_t,
)

NUISANCE = ["age", "sex", "site", "mean_fd"]
SPEC = {
    "nuisance": NUISANCE,
    "permutations": 300,
    "permutation": "smith",
    "device": "cpu",
    "alpha": 0.05,
    "thresholds": [2.5, 3.0, 3.5, 4.0],
    "prior": 4,
    "prior_circuits": ["loop 1"],
    "stability_draws": 20,
    "stability_top": 10,
    "max_missing": 0.1,
    "seed": 0,
}


# the statistic


@pytest.mark.parametrize("covariates", [[], ["age"], NUISANCE])
def test_t_equals_least_squares(make_cohort, covariates):
    cohort = make_cohort(planted=range(8))
    people = cohort.participants
    columns = {
        "age": people["age"],
        "sex": people["sex"] == "M",
        "site": people["site"] == "site-B",
        "mean_fd": people["mean_fd"],
    }
    design = np.column_stack([people["label"], np.ones(60), *(columns[name] for name in covariates)]).astype(float)
    own = edge_statistics(cohort.values, people, covariates, 10, 0)
    assert own.df == 60 - design.shape[1]
    inverse = np.linalg.inv(design.T @ design)[0, 0]
    for e in (0, 5, 30, 65):
        beta, rest, _, _ = np.linalg.lstsq(design, cohort.values[:, e].astype(float), rcond=None)
        t = beta[0] / np.sqrt(rest[0] / own.df * inverse)
        assert own.t[e] == pytest.approx(t, rel=1e-4)
        assert own.p[e] == pytest.approx(2 * student.sf(abs(t), own.df), rel=1e-3)


def test_without_covariates_it_is_the_two_sample_t_and_cohens_d(make_cohort):
    cohort = make_cohort(planted=range(8))
    cases, controls = (cohort.values[cohort.labels == label].astype(float) for label in (1, 0))
    own = edge_statistics(cohort.values, cohort.participants, [], 10, 0)
    np.testing.assert_allclose(own.t, ttest_ind(cases, controls).statistic, rtol=1e-4)
    pooled = np.sqrt((cases.var(0, ddof=1) + controls.var(0, ddof=1)) / 2)
    np.testing.assert_allclose(own.effect_size, (cases.mean(0) - controls.mean(0)) / pooled, rtol=1e-4)


def test_max_t_agrees_with_nilearn(make_cohort):
    """Other permutation scheme, other random numbers: the same p within Monte Carlo error."""
    cohort = make_cohort(planted=range(6), shift=0.8)
    people = cohort.participants.assign(site="one")
    confounds = people[["age", "mean_fd"]].to_numpy()
    peer = permuted_ols(
        people[["label"]].to_numpy(float), cohort.values.astype(float), confounds, n_perm=2000, random_state=0,
        output_type="dict",
    )  # fmt: skip
    own = edge_statistics(cohort.values, people, ["age", "mean_fd"], 2000, 0)
    np.testing.assert_allclose(own.t, peer["t"][0], rtol=1e-4)
    p = 10 ** -peer["logp_max_t"][0]
    error = np.sqrt(2 * p * (1 - p) / 2000)
    assert (np.abs(own.p_fwer - p) < 4.5 * error + 0.003).all()
    assert 0 < (p < 0.05).sum() < 66


def test_false_discovery_equals_scipy():
    rng = np.random.default_rng(0)
    p = np.r_[rng.random(200), rng.random(20) / 1000, 0.5, 0.5, 1.0]
    np.testing.assert_allclose(false_discovery(p), false_discovery_control(p))


def test_exceedance_counts_ties_and_is_never_zero():
    null = np.array([0.5, 0.3, 0.7, 0.5])
    np.testing.assert_allclose(exceedance_p(np.array([0.9, 0.7, 0.5, 0.1]), null), [1 / 5, 2 / 5, 4 / 5, 1])


def test_to_t_inverts_the_correlation_of_t():
    t = np.array([-3.0, 0.0, 0.4, 12.0])
    np.testing.assert_allclose(to_t(t / np.sqrt(t**2 + 40), 40), t)


def test_chunks_make_no_difference():
    rng = np.random.default_rng(0)
    groups, edges = rng.normal(size=(23, 10)), rng.normal(size=(10, 7))
    expected = np.abs(groups @ edges).max(1)
    np.testing.assert_allclose(max_correlations(groups, edges, chunk_bytes=5 * 4 * 7), expected, rtol=1e-5)


def test_permutations_stay_inside_blocks_and_off_the_nuisance(make_cohort):
    people = make_cohort().participants
    blocks = people["site"].to_numpy()
    basis = np.ones((60, 1)) / np.sqrt(60)
    label = people["label"].to_numpy(float)
    groups = permuted_groups(label - label.mean(), basis, blocks, 50, 0)
    np.testing.assert_allclose(np.linalg.norm(groups, axis=1), 1)
    for block in set(blocks):
        counts = (groups[:, blocks == block] > 0).sum(1)
        assert (counts == label[blocks == block].sum()).all()
    full = nuisance_basis(people, NUISANCE)
    np.testing.assert_allclose(permuted_groups(label, full, blocks, 50, 0) @ full, 0, atol=1e-12)


def test_residuals_are_unit_orthogonal_or_zero(make_cohort):
    cohort = make_cohort()
    basis = nuisance_basis(cohort.participants, NUISANCE)
    values = np.c_[cohort.values.astype(float), np.full(60, 3.0), cohort.participants["age"]]
    units = residual_unit(values, basis)
    np.testing.assert_allclose(np.linalg.norm(units, axis=0), [*np.ones(66), 0, 0], atol=1e-12)
    np.testing.assert_allclose(basis.T @ units, 0, atol=1e-10)


# covariates


def test_constant_and_doubled_covariates_are_harmless(make_cohort):
    cohort = make_cohort(planted=range(5))
    people = cohort.participants.assign(scanner="one", tesla=3.0, months=12 * cohort.participants["age"])
    plain = edge_statistics(cohort.values, people, ["age", "sex"], 50, 0)
    more = edge_statistics(cohort.values, people, ["age", "sex", "scanner", "tesla", "months"], 50, 0)
    assert more.df == plain.df
    np.testing.assert_allclose(more.t, plain.t, rtol=1e-6)


@pytest.mark.parametrize("kind", ["number", "text"])
def test_a_covariate_that_is_the_group_is_refused(make_cohort, kind):
    people = make_cohort().participants
    people = people.assign(scanner=people["label"] * 2.0 if kind == "number" else people["group"])
    with pytest.raises(ValueError, match=r"covariates age, scanner determine the group.*Leave out.*localize\.nuisance"):
        nuisance_basis(people, ["age", "scanner"])


@pytest.mark.parametrize("n", [6, 5])
def test_too_many_covariates_are_refused(make_cohort, n):
    people = make_cohort(n=n).participants.assign(sex=["F", "M", "M", "F", "F", "M"][:n])
    with pytest.raises(
        ValueError, match=rf"{n} subjects leave no degrees of freedom for 5 nuisance columns\. Use fewer"
    ):
        nuisance_basis(people, NUISANCE)


def test_a_covariate_that_is_known_of_nobody_is_named(make_cohort):
    cohort = make_cohort(20)
    table = cohort.participants.assign(mean_fd=np.nan)
    with pytest.raises(ValueError, match="covariate mean_fd is known of none of 20 people"):
        edge_statistics(cohort.values.astype(float), table, ["age", "mean_fd"], 10, 0)


def test_an_unknown_covariate_is_named(make_cohort):
    with pytest.raises(ValueError, match=r"covariate handedness is not a column of participants\.tsv"):
        nuisance_basis(make_cohort().participants, ["handedness"])


def test_nan_edges_name_the_subject(make_cohort):
    cohort = make_cohort()
    cohort.values[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"edges of sub-017 hold NaN or infinity; compute them again"):
        edge_statistics(cohort.values, cohort.participants, NUISANCE, 10, 0)


@pytest.mark.parametrize(("label", "name"), [(1, "patients"), (0, "controls")])
def test_a_group_of_one_is_named(make_cohort, label, name):
    cohort = make_cohort()
    alone = np.where(np.arange(60) == 7, label, 1 - label)
    people = cohort.participants.assign(label=alone)
    with pytest.raises(ValueError, match=rf"the {name} are one person \(sub-007\): two or more.*dataset\.contrast"):
        edge_statistics(cohort.values, people, ["age"], 10, 0)
    with pytest.raises(ValueError, match=rf"the {name} are nobody"):
        edge_statistics(cohort.values, people.assign(label=1 - label), ["age"], 10, 0)


def test_groups_that_share_no_site_are_refused(make_cohort):
    """Without the site among the covariates nothing else would stop it, and every p would be 1."""
    cohort = make_cohort()
    people = cohort.participants.assign(site=np.where(cohort.labels == 1, "clinic", "university"))
    with pytest.raises(ValueError, match=r"no site has both patients and controls \(clinic, university\).*contrast"):
        edge_statistics(cohort.values, people, [], 10, 0)


def test_a_site_with_one_group_is_told_and_changes_little(make_cohort, capsys):
    """Its people estimate the covariates; its group is no part of the comparison where site is a covariate."""
    cohort = make_cohort(n=80, planted=range(6))
    alone = (np.arange(80) >= 60) & (cohort.labels == 1)
    people = cohort.participants.assign(site=np.where(alone, "site-C", cohort.participants["site"]))
    own = edge_statistics(cohort.values, people, ["site"], 100, 0)
    assert "one group only in site-C (10 people): no permutation changes" in capsys.readouterr().out
    without = edge_statistics(cohort.values[~alone], people[~alone], ["site"], 100, 0)
    assert own.df == without.df + 9
    moved = cohort.values.copy()
    moved[alone] += 5  # a site of its own level says nothing about the group
    np.testing.assert_allclose(edge_statistics(moved, people, ["site"], 100, 0).t, own.t, rtol=1e-3, atol=1e-4)


# the error rate

COHORTS = 150


def false_alarms(covariates: list[str]) -> int:
    """In how many null cohorts anything is called, when motion differs between groups and moves all edges."""
    alarms = 0
    for seed in range(COHORTS):
        rng = np.random.default_rng([seed, 9])
        label = np.arange(40) % 2
        motion = rng.normal(size=40) + 0.9 * label
        loading = rng.normal(0, 0.5, 120)
        edges = rng.normal(size=(40, 120)) + np.outer(motion, loading) + rng.normal(size=(40, 1))
        site = np.where(rng.random(40) < 0.5, "A", "B")
        names = [f"sub-{k}" for k in range(40)]
        people = pd.DataFrame({"participant_id": names, "label": label, "mean_fd": motion, "site": site})
        alarms += (edge_statistics(edges, people, covariates, 199, seed).p_fwer <= 0.05).any()
    return int(alarms)


def test_family_wise_error_holds_when_motion_is_a_covariate():
    low, high = binom.interval(0.999, COHORTS, 0.05)
    assert low <= false_alarms(["mean_fd", "site"]) <= high


def test_family_wise_error_breaks_when_motion_is_left_out():
    assert false_alarms(["site"]) > 0.3 * COHORTS


# the table


@pytest.fixture(scope="module")
def planted(make_cohort):
    """A cohort in which nine edges are weaker and three stronger in patients, and which."""
    cohort = make_cohort(n=100, n_nodes=16, planted=range(0, 90, 10), shift=-1.3, seed=1)
    stronger = np.array([3, 33, 63])
    cohort.values[:, stronger] += 0.26 * cohort.labels[:, None]
    return cohort, np.r_[np.arange(0, 90, 10), stronger], np.r_[np.full(9, -1), np.ones(3, int)]


@pytest.fixture(scope="module")
def circuits() -> np.ndarray:
    """A loop's name for every edge of sixteen regions."""
    return np.array([f"loop {e % 3}" if e % 3 else "" for e in range(120)])


@pytest.fixture(scope="module")
def truth(planted) -> pd.DataFrame:
    """The planted edges by name, some of them turned round."""
    cohort, edges, direction = planted
    rows, cols = np.triu_indices(16, 1)
    a, b = cohort.nodes[rows[edges]], cohort.nodes[cols[edges]]
    turned = np.arange(len(edges)) % 2 == 0
    return pd.DataFrame(
        {
            "region_a": np.where(turned, b, a),
            "region_b": np.where(turned, a, b),
            "circuit": "loop",
            "direction": direction,
            "effect": 1.3,
            "carriers": 1.0,
        }
    )


@pytest.fixture(scope="module")
def localized(planted, circuits):
    """Edges and summary of the planted cohort."""
    return localize(planted[0], circuits, SPEC)


def test_planted_edges_are_recovered_with_their_signs(localized, truth):
    scores = recovery(localized[0], truth, 0.05).set_index("method")
    assert scores.loc["max-T", "tpr"] > 0.75
    assert scores.loc["max-T", "fwer"] == 0
    assert scores.loc["Benjamini-Hochberg", "fdp"] < 0.25
    assert scores.loc["max-T", "sign_accuracy"] == 1
    assert scores.loc["max-T", "auprc"] > 5 * scores.loc["chance", "auprc"]
    assert scores.loc["chance", "auprc"] == pytest.approx(12 / 120)


def test_shuffled_groups_recover_nothing(planted, circuits, truth):
    cohort = planted[0]
    label = np.random.default_rng(2).permutation(cohort.labels)
    shuffled = dataclasses.replace(cohort, participants=cohort.participants.assign(label=label))
    scores = recovery(localize(shuffled, circuits, SPEC)[0], truth, 0.05).set_index("method")
    assert scores.loc["max-T", "called"] <= 1
    assert scores.loc["max-T", "auprc"] < 4 * scores.loc["chance", "auprc"]


def test_table_is_strongest_first_and_says_the_direction(localized, planted):
    edges, *_ = localized
    assert len(edges) == 120
    assert edges["p_fwer"].is_monotonic_increasing
    assert ((edges["statistic"] < 0) == (edges["direction"] == "patients lower")).all()
    assert (np.sign(edges["effect_size"]) == np.sign(edges["statistic"])).all()
    assert (edges["p_fwer"] >= 1 / 301).all()
    assert (edges["p_fdr"] >= edges["p"]).all()
    assert edges["stability"].between(0, 1).all()
    lower = edges.query("direction == 'patients lower' and p_fwer < 0.05").iloc[0]
    cohort, position = planted[0], {name: k for k, name in enumerate(planted[0].nodes)}
    rows, cols = np.triu_indices(16, 1)
    e = np.flatnonzero((rows == position[lower["region_a"]]) & (cols == position[lower["region_b"]]))[0]
    means = [cohort.values[cohort.labels == label, e].mean() for label in (0, 1)]
    assert means[1] < means[0]


def test_a_circuit_follows_its_edge(planted, circuits):
    cohort, _, _ = planted
    table, *_ = localize(cohort, circuits, SPEC)
    rows, cols = np.triu_indices(16, 1)
    place = {(cohort.nodes[i], cohort.nodes[j]): e for e, (i, j) in enumerate(zip(rows, cols))}
    e = np.array([place[pair] for pair in zip(table["region_a"], table["region_b"])])
    np.testing.assert_array_equal(table["circuit"], circuits[e])


def test_summary_counts_and_says_what_could_have_been_seen(localized):
    edges, summary, *_ = localized
    assert (summary["n_cases"], summary["n_controls"], summary["n_edges"], summary["n_untested"]) == (50, 50, 120, 0)
    assert summary["n_fwer"] == (edges["p_fwer"] <= 0.05).sum()
    assert summary["n_fdr"] == (edges["p_fdr"] <= 0.05).sum()
    assert summary["df"] == 100 - 5 - 1
    assert 3 < summary["critical_t"] < 4.2
    power = localized.power.set_index("what")
    assert power.index.tolist() == ["edge", "component", "loop 1", "loop 2"]
    assert power.loc["edge", "critical_t"] == summary["critical_t"]
    assert power.loc["edge", "detectable_d"] == pytest.approx((summary["critical_t"] + 0.84) * np.sqrt(2 / 50), rel=0.1)
    assert (power["detectable_d"].iloc[2:] < 0.5 * power.loc["edge", "detectable_d"]).all()
    assert power.loc["component", "n_edges"] == 20
    assert 0.2 < power.loc["component", "detectable_d"] / power.loc["edge", "detectable_d"] < 0.9


def test_same_seed_same_table_other_seed_same_statistic(planted, circuits, localized):
    again, *_ = localize(planted[0], circuits, SPEC)
    pd.testing.assert_frame_equal(again, localized[0])
    other, *_ = localize(planted[0], circuits, {**SPEC, "seed": 5})
    keys = ["region_a", "region_b"]
    both = localized[0].merge(other, on=keys, suffixes=("", "_other"))
    np.testing.assert_allclose(both["statistic"], both["statistic_other"])
    assert (both["p_fwer"] != both["p_fwer_other"]).any()


def test_another_scheme_of_permutation_changes_single_edges_only(planted, circuits, localized):
    found = localize(planted[0], circuits, {**SPEC, "permutation": "freedman_lane"})
    keys = ["region_a", "region_b"]
    both = localized.edges.merge(found.edges, on=keys, suffixes=("", "_other"))
    np.testing.assert_array_equal(both["p_component"], both["p_component_other"])
    assert (both["p_fwer"] != both["p_fwer_other"]).any()
    np.testing.assert_allclose(both["p_fwer"], both["p_fwer_other"], atol=0.15)
    assert found.summary["permutation"] == "freedman_lane"
    assert {"p_fwer_higher", "p_fwer_lower"} <= set(found.edges)


def test_planted_edges_are_stable_and_the_others_are_not(planted, localized):
    cohort, edges, _ = planted
    stability = selection_stability(cohort.values, cohort.participants, NUISANCE, 12, 20, 0)
    assert stability.sum() == pytest.approx(12)
    assert stability[edges].mean() > 0.6
    assert np.delete(stability, edges).mean() < 0.05


def test_halves_of_a_small_cohort_do_not_stop_the_analysis(make_cohort):
    cohort = make_cohort(n=12, n_nodes=6)
    people = cohort.participants.assign(site=[f"site-{k // 4}" for k in range(12)])
    small = dataclasses.replace(cohort, participants=people)
    assert edge_statistics(small.values, people, NUISANCE, 10, 0).df > 0
    table, *_ = localize(small, np.full(15, ""), SPEC)
    assert len(table) == 15


# components and circuits


def test_components_hold_their_edges(localized, planted):
    edges, summary, components, *_ = localized
    assert components["component"].tolist() == list(range(1, len(components) + 1))
    assert components["p_fwer"].is_monotonic_increasing and (components["p_fwer"] > 0).all()
    first = edges[edges["component"] == 1]
    regions = set(components.loc[0, "regions"].split("; "))
    assert set(first["region_a"]) | set(first["region_b"]) <= regions
    assert (first["direction"] == components.loc[0, "direction"]).all()
    assert (first["statistic"].abs() > components.loc[0, "threshold"]).all()
    assert set(edges["component"]) == {0, *components["component"]}
    called = edges["p_component"] <= 0.05
    assert summary["n_component_edges"] == called.sum() >= 9
    assert summary["n_components"] == (components["p_fwer"] <= 0.05).sum() >= 1
    assert summary["n_weighted"] == (edges["p_weighted"] <= 0.05).sum() >= 9


def test_the_prior_favours_its_circuit(localized):
    edges, *_ = localized
    ratio = edges["p_weighted"] / edges["p_fdr"]
    inside = edges["circuit"] == "loop 1"
    assert ratio[inside].mean() < 1 < ratio[~inside & (edges["p_fdr"] < 0.3)].mean()


def test_circuits_blocks_and_enrichment_need_an_atlas(planted, circuits, localized):
    assert localized.circuits["name"].tolist() == ["loop 1", "loop 2"]
    assert (localized.circuits["kind"] == "circuit").all() and "enrichment" not in localized.circuits
    rng, cohort = np.random.default_rng(0), planted[0]
    place = {axis: rng.normal(0, 40, 16) for axis in "xyz"}
    atlas = pd.DataFrame({"name": cohort.nodes, "system": ["cortex", "thalamus"] * 8, **place})
    with_atlas = localize(cohort, circuits, SPEC, atlas=atlas.iloc[::-1])
    table = with_atlas.circuits.set_index("name")
    assert list(table.index[:2]) == ["loop 1", "loop 2"]
    blocks = table[table["kind"] == "block"]
    assert blocks["n_edges"].to_dict() == {
        "cortex - cortex": 28,
        "cortex - thalamus": 64,
        "thalamus - thalamus": 28,
    }
    assert table["enrichment"].notna().tolist() == [True, True, False, False, False]
    pd.testing.assert_frame_equal(with_atlas.edges, localized.edges)


def test_too_few_permutations_for_alpha_are_refused(planted, circuits):
    with pytest.raises(ValueError, match=r"300 permutations give no p below 0\.00332.*localize\.permutations to 1000"):
        localize(planted[0], circuits, {**SPEC, "alpha": 0.001})


# missing regions


def test_edges_missing_in_many_are_not_tested(planted, circuits):
    cohort, _, _ = planted
    missing = cohort.missing.copy()
    missing[:11, 2] = True  # 11 of 100
    missing[:10, 5] = True  # 10 of 100: still tested
    table, summary, *_ = localize(dataclasses.replace(cohort, missing=missing), circuits, SPEC)
    assert summary["n_untested"] == 15
    assert table["p_fwer"].notna().sum() == 105 and len(table) == 120
    touched = (table["region_a"] == "region 2") | (table["region_b"] == "region 2")
    assert table.loc[touched, "statistic"].isna().all() and touched.sum() == 15
    ten = (table["region_a"] == "region 5") | (table["region_b"] == "region 5")
    assert (table.loc[ten & ~touched, "n_missing"] == 10).all()
    assert (table.loc[~ten & ~touched, "n_missing"] == 0).all()


def test_missing_edges_make_no_difference_between_groups(make_cohort, circuits):
    """What is stored where a region is missing (zero) must not be taken for a weak connection."""
    cohort = make_cohort(n=100, n_nodes=16, seed=7)
    values, missing = cohort.values + 1, cohort.missing.copy()
    missing[cohort.labels == 1, 4] = np.arange(50) < 9
    values[Pairs(missing.shape[-1]).touching(missing)] = 0
    own = dataclasses.replace(cohort, values=values, missing=missing)
    table, summary, *_ = localize(own, circuits, SPEC)
    assert summary["n_untested"] == 0
    touched = (table["region_a"] == "region 4") | (table["region_b"] == "region 4")
    assert table.loc[touched, "statistic"].abs().max() < 3.2
    plain = edge_statistics(values, own.participants, NUISANCE, 10, 0)
    assert np.abs(plain.t).max() > 3.2  # untreated it is


def test_a_planted_edge_that_was_not_tested_counts_as_missed(planted, circuits, truth):
    cohort, _, _ = planted
    missing = cohort.missing.copy()
    missing[:20, 0] = True
    table, *_ = localize(dataclasses.replace(cohort, missing=missing), circuits, SPEC)
    untested = (truth[["region_a", "region_b"]] == "region 0").any(axis=1).sum()
    assert untested > 0
    scores = recovery(table, truth, 0.05).set_index("method")
    assert scores.loc["max-T", "tpr"] <= 1 - untested / len(truth)


# recovery by hand


@pytest.fixture
def by_hand() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Six edges in order of strength, three of them planted, one of these with the wrong sign."""
    edges = pd.DataFrame(
        {
            "region_a": list("aaabbc"),
            "region_b": list("bcdcdd"),
            "statistic": [-6.0, 5.0, -4.0, 3.0, 2.0, -1.0],
            "p": [0.001, 0.002, 0.01, 0.04, 0.1, 0.5],
            "p_fwer": [0.01, 0.02, 0.2, 0.5, 0.9, 1.0],
            "p_fdr": [0.004, 0.01, 0.03, 0.2, 0.3, 0.5],
            "p_component": [0.01, 0.02, 0.02, 0.02, 0.02, 1.0],
            "p_weighted": [0.004, 0.2, 0.03, 0.03, 0.3, 0.5],
            "attribution": [0.1, 0.5, -0.9, 0.2, -0.3, 0.0],
        }
    )
    truth = pd.DataFrame(
        {"region_a": ["b", "d", "b"], "region_b": ["a", "a", "c"], "direction": [-1, 1, 1], "effect": 0.8,
         "circuit": ["x", "y", "x"]}
    )  # fmt: skip
    return edges, truth


def test_recovery_of_a_table_made_by_hand(by_hand):
    edges, truth = by_hand  # planted: rows 0 (right sign), 2 (wrong sign), 3 (right sign)
    scores = recovery(edges, truth, 0.05).set_index("method")
    columns = ["called", "tpr", "fdp", "fwer", "sign_accuracy"]
    assert scores.loc["max-T", columns].tolist() == [2, pytest.approx(1 / 3), 0.5, 1, 1]
    assert scores.loc["Benjamini-Hochberg", columns].tolist() == [3, pytest.approx(2 / 3), pytest.approx(1 / 3), 1, 0.5]
    assert scores.loc["adaptive NBS", columns].tolist() == [5, 1, pytest.approx(2 / 5), 1, pytest.approx(2 / 3)]
    assert scores.loc["weighted Benjamini-Hochberg", columns].tolist() == [3, 1, 0, 0, pytest.approx(2 / 3)]
    assert scores.loc["uncorrected p", columns].tolist() == [4, 1, 0.25, 1, pytest.approx(2 / 3)]
    auprc = (1 / 1 + 2 / 3 + 3 / 4) / 3  # precision at every planted edge of the ranking
    assert scores.loc["max-T", "auprc"] == pytest.approx(auprc)
    assert scores.loc["chance", "auprc"] == 0.5
    assert (scores["pattern"] == "x+y").all()
    assert (scores["d"] == 0.8).all()


def test_recovery_by_weights_stands_before_chance(by_hand, tmp_path):
    edges, truth = by_hand
    both = recovery(edges, truth, 0.05), weights_recovery(edges, truth)
    for name, table in zip("ab", both):
        table.to_csv(tmp_path / name, sep="\t", index=False)
    scores = read_recovery([tmp_path / "a", tmp_path / "b"])
    pd.testing.assert_frame_equal(scores.drop(index=5).reset_index(drop=True), both[0], check_dtype=False)
    assert scores["method"].tolist()[-2:] == ["model weights (ranking)", "chance"]
    auprc = (1 / 1 + 2 / 3 + 3 / 4) / 3
    weights = (1 / 1 + 2 / 4 + 3 / 5) / 3  # ranked .9 .5 .3 .2 .1 0: planted at 1, 4 and 5
    assert scores.loc[5, ["auprc", "auprc_ratio"]].tolist() == pytest.approx([weights, weights / auprc])
    assert scores.loc[5, ["called", "tpr", "fdp", "fwer", "sign_accuracy"]].isna().all()
    weights_recovery(edges.assign(attribution=np.nan), truth).to_csv(tmp_path / "b", sep="\t", index=False)
    pd.testing.assert_frame_equal(read_recovery([tmp_path / "a", tmp_path / "b"]), both[0], check_dtype=False)


def test_truth_is_matched_in_either_order(by_hand):
    edges, truth = by_hand
    planted, direction = match_truth(edges, truth)
    assert planted.tolist() == [True, False, True, True, False, False]
    assert direction.tolist() == [-1, 0, 1, 1, 0, 0]
    turned = truth.rename(columns={"region_a": "region_b", "region_b": "region_a"})
    np.testing.assert_array_equal(match_truth(edges, turned)[1], direction)


def test_a_foreign_truth_is_refused(by_hand):
    edges, truth = by_hand
    truth.loc[1, "region_b"] = "Putamen of another atlas"
    with pytest.raises(ValueError, match=r"truth: d - Putamen of another atlas is no edge .*Run acquire again"):
        match_truth(edges, truth)


def test_of_a_null_cohort_only_false_calls_are_scored(by_hand):
    edges, truth = by_hand
    scores = recovery(edges, truth.iloc[:0], 0.05).set_index("method")
    assert scores.loc["max-T", ["called", "fdp", "fwer"]].tolist() == [2, 1, 1]
    assert scores[["tpr", "auprc", "sign_accuracy"]].isna().all(axis=None)
    assert (scores["pattern"] == "null").all()
    assert (scores["d"] == 0).all()


def test_calling_nothing_is_no_false_discovery(by_hand):
    edges, truth = by_hand
    scores = recovery(edges.assign(p_fwer=1.0), truth, 0.05).set_index("method")
    assert scores.loc["max-T", ["called", "tpr", "fdp", "fwer"]].tolist() == [0, 0, 0, 0]
    assert np.isnan(scores.loc["max-T", "sign_accuracy"])


def test_a_connection_that_was_measured_in_nobody_is_not_tested(make_participants):
    people = make_participants(40)
    values = np.random.default_rng(0).normal(size=(40, 6))
    values[:, [1, 4]] = 0
    cohort = Cohort(people, values, np.zeros((40, 4), bool), np.array(list("abcd")), "correlation")
    spec = {**SPEC, "nuisance": [], "permutations": 100, "stability_draws": 2, "stability_top": 2}
    edges, summary, *_ = localize(cohort, np.full(6, ""), spec)
    assert (summary["n_edges"], summary["n_untested"]) == (4, 2)
    untested = edges[edges["statistic"].isna()]
    assert set(zip(untested["region_a"], untested["region_b"])) == {("a", "c"), ("b", "d")}
    assert (untested["n_missing"] == 40).all()
