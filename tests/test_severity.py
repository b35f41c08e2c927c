"""t of a score and F of groups are those of least squares, their error rate holds, and what was planted is found."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, f_oneway, false_discovery_control, pearsonr

from dysconnect.localize.severity import (
    adjusted_means,
    group_statistics,
    max_shares,
    permuted_bases,
    refuse_unfinite,
    score_statistics,
    to_f,
)
from dysconnect.localize.statistics import edge_statistics, nuisance_basis

NUISANCE = ["age", "sex", "site", "mean_fd"]


@pytest.fixture(scope="module")
def scored(make_participants):
    """People with a score and three groups, and 60 edges: the score moves the first five, ULD the next five."""

    def build(n: int = 60, seed: int = 0, effect: float = 1.0) -> tuple[np.ndarray, pd.DataFrame]:
        rng = np.random.default_rng([seed, 5])
        people = make_participants(n, seed)
        diagnosis = np.array(["CD", "HC", "ULD"])[rng.integers(0, 3, n)]
        people = people.assign(bfm=np.round(rng.gamma(2, 6, n), 1), diagnosis=diagnosis)
        edges = rng.normal(0.3, 0.2, (n, 60))
        edges[:, :5] += (
            0.2 * effect * ((people["bfm"] - people["bfm"].mean()) / people["bfm"].std()).to_numpy()[:, None]
        )
        edges[:, 5:10] -= 0.2 * effect * (diagnosis == "ULD")[:, None]
        return edges.astype(np.float32), people

    return build


# the statistic


@pytest.fixture
def least_squares():
    """Fit of a formula by statsmodels."""
    return pytest.importorskip("statsmodels.formula.api", reason="statsmodels (of the imaging extra) is absent").ols


def test_t_of_a_score_equals_statsmodels(scored, least_squares):
    edges, people = scored()
    own = score_statistics(edges, people, "bfm", NUISANCE, 50, 0)
    for e in (0, 4, 30, 59):
        model = least_squares(
            "y ~ bfm + age + C(sex) + C(site) + mean_fd", people.assign(y=edges[:, e].astype(float))
        ).fit()
        assert own.statistic[e] == pytest.approx(model.tvalues["bfm"], rel=1e-4)
        assert own.p[e] == pytest.approx(model.pvalues["bfm"], rel=1e-3)
        assert own.df == (1, model.df_resid)
        t = model.tvalues["bfm"]
        assert own.effect_size[e] == pytest.approx(t / np.sqrt(t**2 + model.df_resid), rel=1e-4)
    np.testing.assert_allclose(own.p_fdr, false_discovery_control(own.p))


def test_without_covariates_it_is_pearsons_r(scored):
    edges, people = scored()
    own = score_statistics(edges, people, "bfm", [], 50, 0)
    for e in (0, 20):
        r, p = pearsonr(edges[:, e].astype(float), people["bfm"])
        assert own.effect_size[e] == pytest.approx(r, rel=1e-5)
        assert own.p[e] == pytest.approx(p, rel=1e-4)


def test_f_of_groups_equals_statsmodels(scored, least_squares):
    edges, people = scored()
    own = group_statistics(edges, people, "diagnosis", NUISANCE, 50, 0)
    for e in (0, 7, 30):
        table = people.assign(y=edges[:, e].astype(float))
        whole = least_squares("y ~ C(diagnosis) + age + C(sex) + C(site) + mean_fd", table).fit()
        part = least_squares("y ~ age + C(sex) + C(site) + mean_fd", table).fit()
        f, p, q = whole.compare_f_test(part)
        assert own.statistic[e] == pytest.approx(f, rel=1e-4)
        assert own.p[e] == pytest.approx(p, rel=1e-3)
        assert own.df == (q, whole.df_resid) == (2, 60 - 7)
        assert own.effect_size[e] == pytest.approx(1 - whole.ssr / part.ssr, rel=1e-4)
    np.testing.assert_allclose(own.p_fdr, false_discovery_control(own.p))


def test_without_covariates_it_is_one_way_analysis_of_variance(scored):
    edges, people = scored()
    own = group_statistics(edges, people, "diagnosis", [], 50, 0)
    groups = [edges[(people["diagnosis"] == name).to_numpy()].astype(float) for name in ("CD", "HC", "ULD")]
    np.testing.assert_allclose(own.statistic, f_oneway(*groups).statistic, rtol=1e-4)


def test_adjusted_means_equal_the_coefficients_of_statsmodels(scored, least_squares):
    edges, people = scored()
    edges[:, 3] = 0.2
    names, means = adjusted_means(edges, people, "diagnosis", NUISANCE)
    assert names == ["CD", "HC", "ULD"]
    np.testing.assert_allclose(means.sum(0), 0, atol=1e-10)
    for e in (0, 7, 30):
        table = people.assign(y=edges[:, e].astype(float))
        fit = least_squares("y ~ C(diagnosis) + age + C(sex) + C(site) + mean_fd", table).fit()
        assert means[1, e] - means[0, e] == pytest.approx(fit.params["C(diagnosis)[T.HC]"] / np.sqrt(fit.scale))
        assert means[2, e] - means[0, e] == pytest.approx(fit.params["C(diagnosis)[T.ULD]"] / np.sqrt(fit.scale))
    assert (means[2, 5:10] < means[1, 5:10]).mean() > 0.7  # planted: weak in ULD
    assert (means[:, 3] == 0).all()


def test_two_groups_give_t_squared_and_the_same_p(make_cohort):
    cohort = make_cohort(n=60, planted=range(8), shift=0.8)
    people = cohort.participants
    t = edge_statistics(cohort.values, people, NUISANCE, 3000, 0)
    f = group_statistics(cohort.values, people, "group", NUISANCE, 3000, 1)
    np.testing.assert_allclose(f.statistic, t.t**2, rtol=1e-4)
    np.testing.assert_allclose(f.p, t.p, rtol=1e-4)
    error = np.sqrt(2 * t.p_fwer * (1 - t.p_fwer) / 3000)
    assert (np.abs(f.p_fwer - t.p_fwer) < 4.5 * error + 0.003).all()
    assert 0 < (t.p_fwer < 0.05).sum() < 60
    np.testing.assert_allclose(np.quantile(f.max_null, [0.5, 0.9]), np.quantile(t.max_null, [0.5, 0.9]) ** 2, rtol=0.05)


def test_a_label_as_a_score_is_the_comparison_of_groups(make_cohort):
    cohort = make_cohort(planted=range(8))
    t = edge_statistics(cohort.values, cohort.participants, NUISANCE, 200, 0)
    own = score_statistics(cohort.values, cohort.participants, "label", NUISANCE, 200, 0)
    np.testing.assert_allclose(own.statistic, t.t)
    np.testing.assert_allclose(own.p_fwer, t.p_fwer)


def test_names_and_order_of_groups_make_no_difference(scored):
    edges, people = scored()
    own = group_statistics(edges, people, "diagnosis", NUISANCE, 20, 0)
    renamed = people.assign(diagnosis=people["diagnosis"].map({"CD": 3, "HC": 2, "ULD": 1}))
    np.testing.assert_allclose(group_statistics(edges, renamed, "diagnosis", NUISANCE, 20, 0).statistic, own.statistic)


# permutation


def test_permuted_groups_stay_inside_sites_and_off_the_nuisance(scored):
    _, people = scored()
    basis = nuisance_basis(people, NUISANCE)
    rest = np.random.default_rng(0).normal(size=(60, 2))
    sites = people["site"].to_numpy()
    bases = permuted_bases(rest, basis, sites, 30, 0)
    np.testing.assert_allclose(bases.transpose(0, 2, 1) @ bases, np.tile(np.eye(2), (30, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(basis.T @ bases, 0, atol=1e-5)
    alone = permuted_bases(rest[:, :1], np.zeros((60, 1)), sites, 30, 0)[..., 0]
    expected = np.sort(np.abs(rest[sites == "site-A", 0])) / np.linalg.norm(rest[:, 0])
    for own in alone:
        np.testing.assert_allclose(np.sort(np.abs(own[sites == "site-A"])), expected, rtol=1e-4)


def test_columns_are_shuffled_together():
    rest = np.eye(12)[:, :3] - 1 / 12
    for own in permuted_bases(rest, np.zeros((12, 1)), np.zeros(12), 20, 0):
        span = own @ own.T  # projection on three indicators: three people stand out, each by the same
        assert (np.diag(span) > 0.5).sum() == 3


def test_chunks_make_no_difference():
    rng = np.random.default_rng(0)
    bases, units = rng.normal(size=(23, 10, 2)), rng.normal(size=(10, 7))
    expected = ((bases.transpose(0, 2, 1) @ units) ** 2).sum(1).max(1)
    np.testing.assert_allclose(max_shares(bases, units, chunk_bytes=5 * 4 * 3 * 7), expected, rtol=1e-4)


def test_share_becomes_f():
    assert to_f(np.array([0.25]), 2, 30)[0] == pytest.approx((0.25 / 2) / (0.75 / 30))


# error rate and power

COHORTS = 200


@pytest.mark.parametrize("kind", ["score", "groups"])
def test_null_cohorts_are_rejected_as_often_as_alpha(scored, kind):
    alarms = 0
    for seed in range(COHORTS):
        edges, people = scored(36, seed, effect=0)
        edges = edges + np.outer(people["mean_fd"], np.linspace(-5, 5, 60))  # motion, which is a covariate
        if kind == "score":
            own = score_statistics(edges, people, "bfm", NUISANCE, 99, seed)
        else:
            own = group_statistics(edges, people, "diagnosis", NUISANCE, 99, seed)
        alarms += (own.p_fwer <= 0.05).any()
    low, high = binom.interval(0.999, COHORTS, 0.05)
    assert low <= alarms <= high


def test_planted_severity_edges_are_found(scored):
    edges, people = scored(80, seed=1)
    own = score_statistics(edges, people, "bfm", NUISANCE, 300, 0)
    assert (own.p_fwer[:5] <= 0.05).all()
    assert (own.effect_size[:5] > 0.4).all()
    assert (own.p_fwer[10:] > 0.05).all()
    assert own.p_fwer.min() == pytest.approx(1 / 301)


def test_planted_group_edges_are_found(scored):
    edges, people = scored(90, seed=2, effect=1.3)
    own = group_statistics(edges, people, "diagnosis", NUISANCE, 300, 0)
    assert (own.p_fwer[5:10] <= 0.05).all()
    assert (own.p_fwer[10:] > 0.05).all()


# bad input


def test_a_missing_score_names_the_people(scored):
    edges, people = scored()
    people.loc[[3, 10], "bfm"] = np.nan
    with pytest.raises(ValueError, match=r"bfm is missing for sub-003, sub-010 \(2 of 60 people\)\. Complete"):
        score_statistics(edges, people, "bfm", [], 10, 0)


def test_many_missing_scores_are_counted(scored):
    edges, people = scored()
    people.loc[:8, "bfm"] = np.nan
    with pytest.raises(ValueError, match=r"sub-000, sub-001, sub-002, sub-003, sub-004 and 4 more \(9 of 60"):
        score_statistics(edges, people, "bfm", [], 10, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bfm": 0.0}, r"bfm is 0\.0 for all 60 people \(sub-000, .*nothing to test"),
        ({"bfm": ["3", "n/a", *["4"] * 58]}, r"bfm is no number for sub-001 \('n/a'\)"),
        ({"bfm": np.r_[np.inf, np.arange(59.0)]}, r"bfm is no number for sub-000"),
        ({"bfm": np.where(np.arange(60) % 4 < 2, 1.0, 2.0)}, r"bfm does not vary inside any site \(site-A, site-B\)"),
        ({"age": lambda table: 2 * table["bfm"] + 1}, r"bfm: the covariates age, mean_fd determine the score"),
    ],
)
def test_a_score_that_cannot_be_tested_is_refused(scored, change, reason):
    edges, people = scored()
    with pytest.raises(ValueError, match=reason):
        score_statistics(edges, people.assign(**change), "bfm", ["age", "mean_fd"], 10, 0)


def test_an_unknown_score_is_refused(scored):
    edges, people = scored()
    with pytest.raises(ValueError, match=r"burke is not a column of participants\.tsv \(found: participant_id"):
        score_statistics(edges, people, "burke", [], 10, 0)


def test_a_group_of_one_is_named(scored):
    edges, people = scored()
    people.loc[7, "diagnosis"] = "PSP"
    with pytest.raises(ValueError, match=r"diagnosis PSP has one member \(sub-007\)"):
        group_statistics(edges, people, "diagnosis", [], 10, 0)


def test_groups_that_cannot_be_compared_are_refused(scored):
    edges, people = scored()
    with pytest.raises(ValueError, match=r"diagnosis is HC for all 60 people"):
        group_statistics(edges, people.assign(diagnosis="HC"), "diagnosis", [], 10, 0)
    with pytest.raises(ValueError, match=r"diagnosis is missing for sub-004 \(1 of 60"):
        empty = people["diagnosis"].where(np.arange(60) != 4, "")
        group_statistics(edges, people.assign(diagnosis=empty), "diagnosis", [], 10, 0)
    with pytest.raises(ValueError, match=r"diagnosis: the covariates scanner determine a group"):
        group_statistics(edges, people.assign(scanner=people["diagnosis"]), "diagnosis", ["scanner"], 10, 0)
    joined = people["diagnosis"].replace("ULD", "CD")
    with pytest.raises(ValueError, match=r"diagnosis: the covariates scanner determine a group"):
        group_statistics(edges, people.assign(scanner=joined), "diagnosis", ["scanner"], 10, 0)


def test_too_many_covariates_are_refused(scored):
    edges, people = scored(8)
    people = people.assign(diagnosis=["CD", "HC"] * 4, city=list("abcdefgh"))
    for test, column in ((score_statistics, "bfm"), (group_statistics, "diagnosis")):
        with pytest.raises(ValueError, match=r"8 people leave no degrees of freedom for 8 nuisance columns"):
            test(edges, people, column, ["city"], 10, 0)


def test_edges_that_are_not_finite_name_the_people(scored):
    edges, people = scored()
    edges[[2, 5], [1, 8]] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"edges of sub-002, sub-005 hold NaN or infinity"):
        refuse_unfinite(edges, people)
