"""Harmonisation and confound regression: the published equations, fitted on training subjects, blind to labels."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from dysconnect.learning.splits import make_splits
from dysconnect.models.dual import DualRidge
from dysconnect.models.prepare import ComBat, ConfoundRegression, Preparation
from dysconnect.train import cross_validate


@pytest.fixture
def scanned() -> tuple[np.ndarray, np.ndarray]:
    """Forty-two subjects of three unequal sites, each with its own location and scale of fifteen features."""
    rng = np.random.default_rng(0)
    sites = np.repeat(["A", "B", "C"], [12, 20, 10])
    shift, scale = rng.normal(0, 0.5, (3, 15)), rng.uniform(0.6, 1.8, (3, 15))
    own = np.repeat([0, 1, 2], [12, 20, 10])
    return 2 + np.arange(15) + (shift[own] + scale[own] * rng.normal(size=(42, 15))), sites


# ComBat


def combat_by_hand(features: np.ndarray, sites: np.ndarray) -> np.ndarray:
    """The equations of Johnson et al. (2007), one site and one feature at a time, with lists and loops."""
    n, n_features = features.shape
    names = sorted(set(sites))
    out = np.empty_like(features)
    design = np.array([[float(site == name) for name in names] for site in sites])
    effects = np.linalg.lstsq(design, features, rcond=None)[0]  # neuroCombat: site means by least squares
    share = design.sum(0) / n
    grand = share @ effects
    pooled = ((features - design @ effects) ** 2).T @ np.full(n, 1 / n)
    z = (features - grand) / np.sqrt(pooled)
    for name in names:
        rows = [k for k in range(n) if sites[k] == name]
        gamma = [np.mean([z[k, v] for k in rows]) for v in range(n_features)]
        delta = [np.var([z[k, v] for k in rows], ddof=1) for v in range(n_features)]
        middle, tau2 = np.mean(gamma), np.var(gamma, ddof=1)
        m, s2 = np.mean(delta), np.var(delta, ddof=1)
        shape, rate = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
        for v in range(n_features):
            g, d = gamma[v], delta[v]
            for _ in range(500):
                g = (len(rows) * tau2 * gamma[v] + d * middle) / (len(rows) * tau2 + d)
                d = (rate + 0.5 * sum((z[k, v] - g) ** 2 for k in rows)) / (len(rows) / 2 + shape - 1)
            for k in rows:
                out[k, v] = (z[k, v] - g) / np.sqrt(d) * np.sqrt(pooled[v]) + grand[v]
    return out


def test_combat_equals_the_published_equations(scanned):
    features, sites = scanned
    own = ComBat().fit(features, sites).transform(features, sites)
    np.testing.assert_allclose(own, combat_by_hand(features, sites), rtol=2e-5, atol=2e-5)


def test_combat_aligns_locations_and_scales(scanned):
    features, sites = scanned
    own = ComBat().fit(features, sites).transform(features, sites)
    for statistic, before in ((np.mean, 3), (np.std, 1.5)):
        spread = [np.ptp([statistic(x[sites == s], axis=0) for s in "ABC"], axis=0).mean() for x in (features, own)]
        assert spread[1] < spread[0] / before


def test_a_test_fold_may_lack_a_site(scanned):
    features, sites = scanned
    fitted = ComBat().fit(features, sites)
    whole = fitted.transform(features, sites)
    for rows in (np.flatnonzero(sites != "B"), np.array([3]), np.arange(40, 42)):
        np.testing.assert_array_equal(fitted.transform(features[rows], sites[rows]), whole[rows])


def test_a_site_never_seen_is_left_as_it_is(scanned):
    features, sites = scanned
    own = ComBat().fit(features, sites).transform(features[:3], np.array(["X", "A", "X"]))
    np.testing.assert_allclose(own[[0, 2]], features[[0, 2]], rtol=1e-6)
    assert np.abs(own[1] - features[1]).max() > 0.01


def test_a_site_with_one_subject_loses_its_location_only(scanned):
    features, sites = scanned
    rows = np.flatnonzero((sites != "C") | (np.arange(42) == 41))
    fitted = ComBat().fit(features[rows], sites[rows])
    np.testing.assert_array_equal(fitted.scale_[2], 1)
    assert np.isfinite(fitted.shift_).all()
    assert np.abs(fitted.shift_[2]).max() > 0.1


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_features_without_variance_stay_finite(scanned, constant):
    features, sites = scanned
    features[:, 4] = constant
    own = ComBat().fit(features, sites).transform(features, sites)
    assert np.isfinite(own).all()
    np.testing.assert_allclose(own[:, 4], constant)
    others = np.arange(15) != 4
    np.testing.assert_allclose(own[:, others], combat_by_hand(features[:, others], sites), rtol=2e-5, atol=2e-5)


def test_one_feature_and_one_site_are_no_special_case(scanned):
    features, sites = scanned
    one = ComBat().fit(features[:, :1], sites).transform(features[:, :1], sites)
    assert [one[sites == s].mean() for s in "ABC"] == pytest.approx([features[:, 0].mean()] * 3, abs=1e-4)
    alone = np.full(42, "A")
    np.testing.assert_allclose(
        ComBat().fit(features, alone).transform(features, alone).mean(0), features.mean(0), rtol=1e-5
    )


# confounds


@pytest.fixture
def people() -> pd.DataFrame:
    """Sixty subjects with age, sex, site and motion."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"age": rng.normal(40, 9, 60), "mean_fd": rng.lognormal(-2, 0.4, 60)})
    return table.assign(sex=rng.choice(["F", "M"], 60), site=rng.choice(["A", "B", "C"], 60))


COVARIATES = ["age", "sex", "site", "mean_fd"]


@pytest.fixture
def confounded(people) -> np.ndarray:
    """Ten features that follow age, motion and site."""
    noise = np.random.default_rng(2).normal(size=(60, 10))
    explained = 0.1 * people["age"] + 5 * people["mean_fd"] + (people["site"] == "B")
    return noise + explained.to_numpy()[:, None]


def design(people: pd.DataFrame) -> np.ndarray:
    """The covariates as pandas encodes them."""
    return pd.get_dummies(people[COVARIATES], drop_first=True).to_numpy(float)


def test_confound_regression_equals_scikit_learn(people, confounded):
    train, test = np.arange(45), np.arange(45, 60)
    own = ConfoundRegression(COVARIATES).fit(confounded[train], people.iloc[train])
    peer = LinearRegression().fit(design(people)[train], confounded[train])
    effect = peer.predict(design(people)) - confounded[train].mean(0)
    for rows in (train, test):
        got = own.transform(confounded[rows], people.iloc[rows])
        np.testing.assert_allclose(got, confounded[rows] - effect[rows], atol=1e-4)
    left = own.transform(confounded[train], people.iloc[train])
    assert np.abs(design(people)[train].T @ (left - left.mean(0))).max() < 1e-2


def test_what_is_not_known_counts_as_average(people, confounded):
    fitted = ConfoundRegression(["age", "site"]).fit(confounded, people)
    strangers = people.iloc[:2].assign(age=np.nan, site=["nowhere", None])
    np.testing.assert_allclose(fitted.transform(confounded[:2], strangers), confounded[:2], rtol=1e-6)


def test_two_covariates_that_say_the_same_do_no_harm(people, confounded):
    one = ConfoundRegression(["site"]).fit(confounded, people).transform(confounded, people)
    both = people.assign(scanner=people["site"])
    two = ConfoundRegression(["site", "scanner"]).fit(confounded, both).transform(confounded, both)
    np.testing.assert_allclose(two, one, atol=1e-4)


def test_a_step_that_is_not_asked_for_is_not_done(people, confounded):
    plain = Preparation({"name": "ridge"}).fit(confounded, people)
    assert plain.transform(confounded, people) is confounded
    assert plain.state() == {}


def test_preparation_survives_its_state(people, confounded):
    spec = {"harmonise": "combat", "deconfound": COVARIATES}
    fitted = Preparation(spec).fit(confounded, people)
    restored = Preparation(spec).load_state(fitted.state())
    strangers = people.assign(site=np.where(people["site"] == "A", "nowhere", people["site"]))
    for table in (people, strangers):
        np.testing.assert_array_equal(restored.transform(confounded, table), fitted.transform(confounded, table))
    assert fitted.transform(confounded, None) is confounded


# leakage


def noise(seed: int, related: float, n: int = 60, n_features: int = 300) -> tuple[np.ndarray, pd.DataFrame]:
    """Pure noise, and people whose group is related to their site (0 not at all, 1 fully)."""
    rng = np.random.default_rng([seed, 7])
    label = np.arange(n) % 2
    site = np.where(rng.random(n) < 0.5 + related * (label - 0.5), "A", rng.choice(["B", "C"], n))
    table = pd.DataFrame({"participant_id": [f"sub-{k:02d}" for k in range(n)], "label": label, "site": site})
    table = table.assign(scan_group=table["participant_id"], age=rng.normal(40, 9, n))
    return rng.normal(size=(n, n_features)), table


def cross_validated(features: np.ndarray, table: pd.DataFrame, spec: dict, seed: int) -> float:
    """AUC inside folds of ridge on features prepared inside the fold."""
    fold = make_splits(table, 5, 1, seed)["fold"].to_numpy()
    label, scores = table["label"].to_numpy(), []
    for k in range(5):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        prepared = Preparation(spec).fit(features[train], table.iloc[train])
        x, new = (prepared.transform(features[rows], table.iloc[rows]) for rows in (train, test))
        scores.append(roc_auc_score(label[test], DualRidge().fit(x, label[train]).decision_function(new)))
    return float(np.mean(scores))


def preserving_the_label(features: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Remove the sites from everybody while "preserving" the label, as is often done before cross-validation."""
    sites = pd.get_dummies(table["site"]).to_numpy(float)
    effects = np.linalg.lstsq(np.c_[sites, table["label"]], features, rcond=None)[0]
    return features - sites @ effects[:-1]


STEPS = pytest.mark.parametrize("spec", [{"harmonise": "combat"}, {"deconfound": ["age", "site"]}])


@STEPS
def test_noise_stays_noise(spec):
    auc = [cross_validated(*noise(seed, related=0), spec, seed) for seed in range(8)]
    assert np.mean(auc) == pytest.approx(0.5, abs=0.08)


@STEPS
def test_a_label_that_is_preserved_turns_noise_into_a_finding_and_ours_does_not(spec):
    """Where group and site go together, what is fitted inside the fold may fall below chance, never above."""
    honest, leaking = [], []
    for seed in range(8):
        features, table = noise(seed, related=0.6)
        honest.append(cross_validated(features, table, spec, seed))
        leaking.append(cross_validated(preserving_the_label(features, table), table, {}, seed))
    assert np.mean(honest) < 0.56
    assert np.mean(leaking) > 0.65


@pytest.mark.parametrize("own", [{"harmonise": "combat"}, {"deconfound": ["age", "sex", "site", "mean_fd"]}])
@pytest.mark.parametrize("measure", ["correlation", "tangent"])
def test_a_planted_difference_survives_preparation(make_cohort, make_covariances, sections, measure, own):
    cohort = make_covariances(shift=-0.4) if measure == "tangent" else make_cohort(planted=range(8), shift=1.5)
    spec = sections("ridge", measure)
    spec = {**spec, "model": {**spec["model"], **own}}
    table = cross_validate(cohort, make_splits(cohort.participants, 5, 1, 0), "ridge", spec).predictions
    assert roc_auc_score(table["label"], table["probability"]) > 0.85


def test_a_shift_of_the_sites_is_harmonised_away(make_cohort, sections):
    """However the sites are moved apart, the predictions after ComBat are the same; without it they differ more."""
    cohort, spec = make_cohort(planted=range(4), n=80), sections("ridge")
    first_site = (cohort.participants["site"] == "site-A").to_numpy()[:, None]
    splits, agreement = make_splits(cohort.participants, 5, 2, 0), {}
    for harmonise in ("none", "combat"):
        own, tables = {**spec, "model": {**spec["model"], "harmonise": harmonise}}, []
        for seed in (5, 6):
            apart = np.random.default_rng(seed).normal(0, 1.5, cohort.values.shape[1]).astype(np.float32)
            moved = dataclasses.replace(cohort, values=cohort.values + apart * first_site)
            tables.append(cross_validate(moved, splits, "ridge", own).predictions["probability"])
        agreement[harmonise] = np.corrcoef(*tables)[0, 1]
    assert agreement["combat"] > 0.98
    assert agreement["none"] < agreement["combat"]
