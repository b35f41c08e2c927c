"""A score that only knows the confounds falls to chance; one that knows more keeps what it knows."""

import numpy as np
import pandas as pd
import pytest
from predicted import evaluated, predictions_of
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from dysconnect.evaluate.deconfound import confound_design, effective_sizes, level_folds, overlap_weights

COVARIATES = ["age", "sex", "site", "mean_fd"]


def confounded(n: int, strength: float, rng: np.random.Generator) -> pd.DataFrame:
    """People whose group depends on age, sex, site and motion."""
    age, fd = rng.normal(50, 12, n), rng.lognormal(-2, 0.4, n)
    sex, site = rng.choice(["F", "M"], n), rng.choice(["A", "B", "C"], n)
    risk = 0.08 * (age - 50) + 3 * (fd - 0.15) + 0.6 * (sex == "M") + 0.8 * (site == "C") - 0.6
    label = (rng.random(n) < expit(strength * risk)).astype(int)
    names = [f"sub-{k:03d}" for k in range(n)]
    return pd.DataFrame(
        {"participant_id": names, "age": age, "sex": sex, "site": site, "mean_fd": fd, "label": label, "risk": risk}
    )


def score(people: pd.DataFrame, latent: np.ndarray, covariates=COVARIATES) -> pd.DataFrame:
    """AUC and deconfounded AUC of a latent score."""
    own = predictions_of(norm.cdf((latent - latent.mean()) / latent.std()), people["label"].to_numpy())
    scores = evaluated({"a": own}, people=people, covariates=covariates, bootstraps=200).scores
    return scores.set_index("metric").loc[["auc", "auc_deconfounded"]]


def test_confounds_are_balanced_exactly():
    people = confounded(200, 1.0, np.random.default_rng(0))
    labels, design = people["label"].to_numpy(), confound_design(people, COVARIATES)
    weights = overlap_weights(labels, design, np.ones((1, 200)))[0]
    means = [np.average(design[labels == k], axis=0, weights=weights[labels == k]) for k in (0, 1)]
    plain = [design[labels == k].mean(0) for k in (0, 1)]
    assert np.abs(plain[0] - plain[1]).max() > 0.5
    np.testing.assert_allclose(means[0], means[1], atol=0.01)


@pytest.mark.parametrize(
    "proxy",
    [
        lambda people: people["risk"],
        lambda people: people["age"],
        lambda people: -((people["age"] - 40) ** 2),
        lambda people: (people["site"] == "C") + 0.01 * people["age"],
        lambda people: people["mean_fd"] ** 3,
    ],
    ids=["risk", "age", "age squared", "site", "motion cubed"],
)
def test_a_proxy_of_the_confounds_is_at_chance(proxy):
    rng, before, after = np.random.default_rng(1), [], []
    for _ in range(12):
        people = confounded(300, 1.0, rng)
        found = score(people, proxy(people).to_numpy(float) + rng.normal(0, 1e-3, 300))
        before.append(found.loc["auc", "value"])
        after.append(found.loc["auc_deconfounded", "value"])
    assert abs(np.mean(before) - 0.5) > 0.05
    assert np.mean(after) == pytest.approx(0.5, abs=0.03)


def test_a_true_signal_stays():
    """The score knows the group beyond the confounds: its AUC among the alike is ``Phi(1 / sqrt 2)``."""
    rng, plain, alike, held = np.random.default_rng(2), [], [], []
    for _ in range(30):
        people = confounded(250, 1.0, rng)
        found = score(people, people["label"].to_numpy() + rng.normal(0, 1, 250))
        plain.append(found.loc["auc", "value"])
        row = found.loc["auc_deconfounded"]
        alike.append(row["value"])
        held.append(row["low"] <= norm.cdf(1 / np.sqrt(2)) <= row["high"])
    assert np.mean(alike) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)
    assert np.mean(alike) == pytest.approx(np.mean(plain), abs=0.02)
    assert np.mean(held) >= 0.8


def test_a_mixture_falls_to_what_it_knows_beyond():
    rng, plain, alike = np.random.default_rng(3), [], []
    for _ in range(12):
        people = confounded(300, 1.0, rng)
        risk = people["risk"].to_numpy()
        found = score(people, people["label"].to_numpy() + 1.0 * risk + rng.normal(0, 1, 300))
        plain.append(found.loc["auc", "value"])
        alike.append(found.loc["auc_deconfounded", "value"])
    assert np.mean(plain) - 0.04 > np.mean(alike) > 0.6


@pytest.mark.parametrize(("n", "least"), [(100, 0.36), (400, 0.43)])
def test_a_learned_floor_never_rises_above_chance(n, least):
    """Conservative in small cohorts: below one half, and nearer to it the more subjects there are."""
    rng, before, after = np.random.default_rng(10), [], []
    for _ in range(12):
        people = confounded(n, 0.7, rng)
        labels, design, fold = people["label"].to_numpy(), confound_design(people, COVARIATES), rng.permutation(n) % 5
        p = np.empty(n)
        for k in range(5):
            model = LogisticRegression(C=1.0).fit(design[fold != k, 1:], labels[fold != k])
            p[fold == k] = model.predict_proba(design[fold == k, 1:])[:, 1]
        own = predictions_of(p, labels, fold)
        scores = evaluated({"a": own}, people=people, covariates=COVARIATES, bootstraps=100).scores
        before.append(scores.set_index("metric").loc["auc", "value"])
        after.append(scores.set_index("metric").loc["auc_deconfounded", "value"])
    assert np.mean(before) > 0.6
    assert least < np.mean(after) < 0.51


def test_without_confounding_nothing_changes():
    rng = np.random.default_rng(4)
    people = confounded(400, 0.0, rng)
    found = score(people, people["label"].to_numpy() + rng.normal(0, 1, 400))["value"]
    assert found["auc_deconfounded"] == pytest.approx(found["auc"], abs=0.02)
    found = score(people, people["label"].to_numpy() + rng.normal(0, 1, 400), covariates=[])["value"]
    assert found["auc_deconfounded"] == pytest.approx(found["auc"])


def sites_unlike(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    """Four sites: at the large one patients are older, at the others younger; and the number of the site."""
    site = np.repeat([0, 1, 2, 3], [180, 40, 40, 40])
    label = np.arange(300) % 2
    age = rng.normal(50, 8, 300) + np.where(site == 0, 6, -8) * (label - 0.5)
    names = [f"sub-{k:03d}" for k in range(300)]
    return pd.DataFrame({"participant_id": names, "age": age, "site": site.astype(str), "label": label}), site


def test_pairs_inside_sites_are_balanced_too():
    """Where folds are sites, a balance over everybody is not one over the pairs that are compared."""
    people, site = sites_unlike(np.random.default_rng(8))
    labels, age = people["label"].to_numpy(), people["age"].to_numpy()
    plain = overlap_weights(labels, confound_design(people, ["age", "site"]), np.ones((1, 300)))
    gaps = []
    for weights in (plain[0], level_folds(labels, plain, site[None])[0]):
        pair = weights[labels == 1][:, None] * weights[labels == 0]
        pair *= site[labels == 1][:, None] == site[labels == 0]
        gaps.append((pair * (age[labels == 1][:, None] - age[labels == 0])).sum() / pair.sum())
    assert abs(gaps[0]) > 1 and gaps[1] == pytest.approx(0, abs=0.02)


def test_a_proxy_is_at_chance_where_folds_are_sites():
    rng, before, after = np.random.default_rng(9), [], []
    for _ in range(12):
        people, site = sites_unlike(rng)
        own = predictions_of(norm.cdf((people["age"] - 50) / 9), people["label"].to_numpy(), site)
        scores = evaluated({"a": own}, people=people, covariates=["age", "site"], bootstraps=100).scores
        before.append(scores.set_index("metric").loc["auc", "value"])
        after.append(scores.set_index("metric").loc["auc_deconfounded", "value"])
    assert np.mean(before) > 0.6 and np.mean(after) == pytest.approx(0.5, abs=0.03)


def test_folds_alike_change_nothing():
    labels, weights = np.arange(40) % 2, np.full((3, 40), 0.5)
    levelled = level_folds(labels, weights, np.array([np.arange(40) // 2 % 4, np.arange(40) // 4 % 2]))
    np.testing.assert_allclose(levelled[:, labels == 1].std(), 0, atol=1e-12)
    np.testing.assert_allclose(levelled[:, labels == 0], 0.5)


def test_groups_without_overlap_get_no_score_and_few_count_as_few():
    rng = np.random.default_rng(5)
    people = confounded(80, 1.0, rng)
    people["site"] = np.where(people["label"] == 1, "clinic", "university")
    assert score(people, rng.normal(size=80))["value"].isna().tolist() == [False, True]
    sizes = effective_sizes(np.array([1, 1, 0, 0, 0]), np.array([1, 0, 1, 1, 1]))
    assert sizes == pytest.approx((1, 3))


def test_a_site_of_one_class_counts_for_next_to_nothing():
    people = confounded(200, 0.5, np.random.default_rng(6))
    people.loc[people["label"] == 1, "site"] = people.loc[people["label"] == 1, "site"].replace("C", "B")
    labels = people["label"].to_numpy()
    weights = overlap_weights(labels, confound_design(people, COVARIATES), np.ones((1, 200)))[0]
    at_c = (people["site"] == "C").to_numpy()
    assert weights[at_c].mean() < 0.1 * weights[~at_c & (labels == 0)].mean()


def test_missing_and_constant_covariates_are_taken():
    people = confounded(40, 1.0, np.random.default_rng(7)).assign(sex="F")
    people.loc[[3, 5], "age"] = np.nan
    design = confound_design(people.assign(mean_fd=np.nan), COVARIATES)
    assert np.isfinite(design).all() and design.shape == (40, 1 + 3 + 2 + 1)  # 1, age known and squared, sites, motion
