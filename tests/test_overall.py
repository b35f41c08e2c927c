"""Several families of tests, several models: the smallest p, corrected for there being several."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from dysconnect.evaluate.best import best_p
from dysconnect.learning.permuted import permutation_p, shuffle_labels
from dysconnect.localize.overall import ranked, smallest_of_families


def null(auc):
    return pd.DataFrame({"permutation": range(len(auc)), "auc": auc})


def related(rng, n_models, rows, spreads):
    """Scores of models that agree with each other, with spreads of their own."""
    common = rng.normal(size=(rows, 1))
    return 0.5 + spreads * (0.7 * common + 0.7 * rng.normal(size=(rows, n_models)))


def test_the_smallest_p_counts_the_rows_that_reach_it():
    strengths = {"a": np.array([1.0, 2, 3, 4]), "b": np.array([40.0, 10, 20, 30])}
    # ranks of a: 1 2 3 4; of b: 4 1 2 3; smallest: 1 1 2 3 of 4
    assert smallest_of_families(strengths) == {"a": 0.5, "b": 1.0}
    assert smallest_of_families({}) == {}


def test_ties_count():
    assert ranked(np.array([[1.0, 1, 2, 2]])).tolist() == [[0.5, 0.5, 1, 1]]


def test_one_family_keeps_its_p():
    strength = np.random.default_rng(0).normal(size=200)
    strength[0] = np.sort(strength)[4]
    assert smallest_of_families({"only": strength})["only"] == pytest.approx(ranked(strength[None])[0, 0])


def test_it_is_never_below_the_p_of_the_family():
    rng = np.random.default_rng(1)
    for _ in range(50):
        strengths = {name: rng.normal(size=100) for name in "abc"}
        corrected = smallest_of_families(strengths)
        assert all(corrected[name] >= ranked(one[None])[0, 0] for name, one in strengths.items())


def test_the_best_of_several_models_is_right_where_nothing_is_there():
    rng, hits, plain = np.random.default_rng(2), 0, 0
    for _ in range(1000):
        scores = related(rng, 4, 100, np.array([0.02, 0.05, 0.1, 0.1]))
        nulls = {name: null(one) for name, one in zip("abcd", scores.T)}
        hits += np.nanmin(list(best_p(nulls, list(nulls), 0.05).values())) <= 0.05
        plain += min(ranked(-scores.T)[:, 0]) <= 0.05
    assert binomtest(hits, 1000, 0.05).pvalue > 0.01
    assert plain > 90  # the p that the best had for itself


def test_a_strong_model_stays_significant_among_weak_ones():
    scores = related(np.random.default_rng(3), 3, 500, 0.05)
    scores[0] = 0.5, 0.9, 0.5
    p = best_p({name: null(one) for name, one in zip("abc", scores.T)}, "abc", 0.025)
    assert p["b"] == pytest.approx(1 / 500) and min(p["a"], p["c"]) > 0.2


def test_who_was_not_permuted_or_sees_no_connections_does_not_compete():
    scores = related(np.random.default_rng(4), 3, 500, 0.05)
    nulls = {name: null(one) for name, one in zip("abc", scores.T)}
    nulls |= {"floor": null(scores[:, 0]), "untested": null([]), "few": null(scores[:20, 0])}
    p = best_p(nulls, ["a", "b", "c", "untested", "few"], 0.025)
    assert all(np.isnan(p[name]) for name in ("floor", "untested", "few"))
    assert p["a"] == best_p({name: nulls[name] for name in "abc"}, "abc", 0.025)["a"]


def test_unequal_numbers_of_permutations_are_compared_on_those_that_all_have():
    scores = related(np.random.default_rng(5), 2, 500, 0.05)
    nulls = {"a": null(scores[:, 0]), "b": null(scores[:100, 1])}
    cut = {"a": null(scores[:100, 0]), "b": nulls["b"]}
    assert best_p(nulls, "ab", 0.025) == best_p(cut, "ab", 0.025)


def test_it_is_never_below_the_p_of_the_model_alone():
    """Of 999 permutations 29 reach the model, of the 39 that another model shares none."""
    many = np.r_[0.6, np.linspace(0.4, 0.55, 960), np.full(39, 0.61)]
    nulls = {"a": null(many), "b": null(np.r_[0.5, np.linspace(0.45, 0.55, 39)])}
    assert best_p(nulls, "ab", 0.025)["a"] == permutation_p(nulls["a"]) == 0.04


def test_models_of_other_permutations_are_corrected_apart():
    scores = related(np.random.default_rng(6), 3, 500, 0.05)
    nulls = {name: null(one) for name, one in zip("abc", scores.T)}
    apart = best_p(nulls, "abc", 0.025, {"a": 0, "b": 0, "c": 1})
    two, one = best_p(nulls, "ab", 0.025), best_p(nulls, "c", 0.025)
    assert apart == {"a": min(1, 2 * two["a"]), "b": min(1, 2 * two["b"]), "c": min(1, 2 * one["c"])}


def test_permutations_do_not_depend_on_their_number():
    labels, blocks = np.repeat([0, 1], 20), np.tile(["a", "b"], 20)
    many = shuffle_labels(labels, blocks, 50, np.random.default_rng([3, 11]))
    few = shuffle_labels(labels, blocks, 7, np.random.default_rng([3, 11]))
    assert (many[:, :7] == few).all() and len(np.unique(many.T, axis=0)) == 50
