"""Maps of models: gradients are gradients, error rates hold, checks tell what learned from what did not."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from dysconnect import attribute as learned
from dysconnect.attribute.curves import SHARES, area, fold_curves
from dysconnect.attribute.folds import fisher_edges, fold_maps, haufe_pattern, held_out, randomised_twin
from dysconnect.attribute.null import studentised
from dysconnect.attribute.ridge import ridge_statistics
from dysconnect.attribute.screening import adaptive_quantile, halves, screened_statistics
from dysconnect.attribute.stability import consistency, kuncheva, nogueira, strongest
from dysconnect.attribute.verdict import DIAGNOSTIC, LOCALIZES, MEASURED, label, variant
from dysconnect.attribute.weights import attribution, with_attribution
from dysconnect.learning.estimators import build
from dysconnect.learning.saved import read_folds, save_folds, save_model
from dysconnect.learning.splits import make_splits
from dysconnect.localize.statistics import edge_statistics
from dysconnect.localize.tested import complete_edges
from dysconnect.models.dual import DualRidge
from dysconnect.train import cross_validate, permutation_null

NUISANCE = ["age", "sex", "site"]
SPEC = {
    "nuisance": NUISANCE, "permutations": 200, "alpha": 0.05, "max_missing": 0.1, "stability_top": 8, "seed": 0,
    "ridge_penalty": 1.0, "screening_splits": 4, "screened": 10, "attribution_permutations": 0, "explained": 0,
}  # fmt: skip


# stability


def test_identical_selections_are_perfectly_stable_and_random_ones_are_not():
    rng = np.random.default_rng(0)
    one = strongest(rng.normal(size=(1, 400)), 20)
    assert nogueira(np.repeat(one, 6, axis=0)).value == pytest.approx(1)
    random = nogueira(strongest(rng.normal(size=(30, 400)), 20))
    assert abs(random.value) < 0.03 and random.low < 0 < random.high


def test_of_equal_sizes_nogueira_is_kuncheva():
    rng = np.random.default_rng(1)
    selected = strongest(rng.normal(size=(7, 60)) + np.linspace(0, 3, 60), 11)
    assert nogueira(selected).value == pytest.approx(kuncheva(selected))
    with pytest.raises(ValueError, match="equal sizes"):
        kuncheva(np.vstack([selected, ~selected[:1]]))


def test_the_interval_of_nogueira_covers():
    rng = np.random.default_rng(2)
    draw = lambda n: strongest(rng.normal(size=(n, 100)) + 2.0 * (np.arange(100) < 10), 10)
    truth = nogueira(draw(2000)).value
    found = [nogueira(draw(25)) for _ in range(150)]
    covered = sum(own.low <= truth <= own.high for own in found)
    assert covered >= binom.ppf(0.001, 150, 0.9)


def test_consistency_equals_shrout_and_fleiss():
    """Table 2 of the paper: six targets, four judges, ICC(3,1) = 0.71."""
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    assert consistency(ratings.T) == pytest.approx(0.71, abs=0.005)
    assert np.isnan(consistency(np.ones((3, 4))))


# ridge weights


def test_a_large_penalty_makes_max_t_of_ridge_weights(make_cohort):
    cohort = make_cohort(planted=range(8))
    args = cohort.values, cohort.participants, NUISANCE, 200, 3
    ridge, plain = ridge_statistics(*args, penalty=1e9), edge_statistics(*args)
    np.testing.assert_allclose(ridge.t, plain.t, rtol=1e-4)
    np.testing.assert_allclose(ridge.p_fwer, plain.p_fwer, atol=1 / 200)


def test_they_are_the_weights_of_ridge_regression(make_cohort):
    """Without covariates and studentising: the same weights as of the model in the dual, on units of norm one."""
    cohort = make_cohort(n=40, planted=range(6))
    people = cohort.participants.assign(site="one")
    centred = cohort.values - cohort.values.mean(0, dtype=float)
    units = centred / np.linalg.norm(centred, axis=0)
    own = ridge_statistics(cohort.values, people, [], 50, 0, penalty=0.7)
    kernel = units @ units.T
    inverse = np.linalg.inv(kernel * 39 / np.trace(kernel) + 0.7 * np.eye(40))
    shrunk = inverse @ units
    shrunk -= shrunk.mean(0)
    group = cohort.labels - cohort.labels.mean()
    r = group @ shrunk / np.linalg.norm(shrunk, axis=0) / np.linalg.norm(group)
    np.testing.assert_allclose(own.t, r * np.sqrt(38 / (1 - r**2)), rtol=1e-5)
    # penalty 0.7 of a mean eigenvalue of trace / 39 is 0.7 * 40 / 39 of the model's trace / 40
    model = DualRidge(penalties=(0.7 * 40 / 39,)).fit(units, cohort.labels)
    weights = model.weights_ / np.linalg.norm(shrunk, axis=0)
    assert np.corrcoef(weights, r)[0, 1] > 0.9999


def test_ridge_weights_keep_the_error_rate_in_null_cohorts(make_cohort):
    rejected = 0
    for seed in range(200):
        cohort = make_cohort(n=36, n_nodes=10, seed=seed)
        own = ridge_statistics(cohort.values, cohort.participants, NUISANCE, 199, seed, penalty=1.0)
        rejected += own.p_fwer.min() <= 0.05
    assert binom.ppf(0.001, 200, 0.05) <= rejected <= binom.ppf(0.999, 200, 0.05)


# screening


def ridge_screen(values, labels):
    """Scores of a ridge model of some rows."""
    return lambda rows, seed: np.abs(DualRidge(penalties=(1.0,)).fit(values[rows], labels[rows]).weights_)


def test_screening_keeps_the_error_rate_in_null_cohorts(make_cohort):
    """Also of a screen that knows the whole cohort's labels: it picks, and other people's permutations decide."""
    rejected, spec = 0, {"splits": 4, "screened": 8, "permutations": 99, "seed": 0}
    for seed in range(100):
        cohort = make_cohort(n=40, n_nodes=9, seed=seed)
        screen = ridge_screen(cohort.values, cohort.labels)
        own = screened_statistics(screen, cohort.values, cohort.participants, [], {**spec, "seed": seed})
        rejected += own.p_fwer.min() <= 0.05
    assert rejected <= binom.ppf(0.999, 100, 0.05)


def test_one_split_is_exact_and_not_only_conservative(make_cohort):
    rejected, spec = 0, {"splits": 1, "screened": 8, "permutations": 99}
    for seed in range(100):
        cohort = make_cohort(n=40, n_nodes=9, seed=seed)
        screen = ridge_screen(cohort.values, cohort.labels)
        own = screened_statistics(screen, cohort.values, cohort.participants, [], {**spec, "seed": seed})
        rejected += own.p_fwer.min() <= 0.05
    assert binom.ppf(0.001, 100, 0.05) <= rejected <= binom.ppf(0.999, 100, 0.05)


def test_screening_finds_what_is_planted(make_cohort):
    cohort = make_cohort(n=120, n_nodes=12, planted=range(5), shift=1.8)
    spec = {"splits": 10, "screened": 10, "permutations": 999, "seed": 0}
    own = screened_statistics(
        ridge_screen(cohort.values, cohort.labels), cohort.values, cohort.participants, NUISANCE, spec
    )
    assert (own.p_fwer[:5] <= 0.05).all() and (own.p_fwer[5:] > 0.05).all()
    assert own.tested == 10 and (own.share[:5] == 1).all()
    again = screened_statistics(
        ridge_screen(cohort.values, cohort.labels), cohort.values, cohort.participants, NUISANCE, spec
    )
    np.testing.assert_array_equal(own.p_fwer, again.p_fwer)


def test_halves_have_the_same_composition(make_cohort):
    people = make_cohort(n=60).participants
    first, second = halves(people, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(60))
    for rows in (first, second):
        own = people.iloc[rows]
        assert own.groupby(["label", "site"]).size().between(7, 8).all()


def test_a_half_too_small_for_the_covariates_finds_nothing(make_cohort, capsys):
    cohort = make_cohort(n=10)
    people = cohort.participants.assign(site=[f"site-{k % 5}" for k in range(10)])
    spec = {"splits": 3, "screened": 5, "permutations": 99, "seed": 0}
    own = screened_statistics(ridge_screen(cohort.values, cohort.labels), cohort.values, people, NUISANCE, spec)
    assert own.tested == 0 and (own.p_fwer == 1).all()
    assert "tests nothing" in capsys.readouterr().out


def test_a_half_of_one_patient_finds_nothing(make_cohort, capsys):
    cohort = make_cohort(n=6)
    spec = {"splits": 2, "screened": 5, "permutations": 99, "seed": 0}
    own = screened_statistics(ridge_screen(cohort.values, cohort.labels), cohort.values, cohort.participants, [], spec)
    assert own.tested < 2 and np.isfinite(own.p_fwer).all()
    assert "tests nothing: the " in capsys.readouterr().out


def test_edges_that_are_not_numbers_are_refused(make_cohort):
    cohort = make_cohort(n=40)
    values = np.where(np.arange(66) == 3, np.nan, cohort.values)
    spec = {"splits": 1, "screened": 66, "permutations": 99, "seed": 0}
    with pytest.raises(ValueError, match="NaN"):
        screened_statistics(lambda rows, seed: np.ones(66), values, cohort.participants, [], spec)


def test_adaptive_quantile_by_hand():
    p = np.array([[0.001, 1.0], [0.002, 1.0], [0.5, 1.0], [1.0, 0.0001]])
    penalty = 1 - np.log(0.05)
    expected = penalty * min(0.001 * 4, 0.002 * 2, 0.5 * 4 / 3, 1.0)
    np.testing.assert_allclose(adaptive_quantile(p), [expected, penalty * 0.0001 * 4])
    np.testing.assert_allclose(adaptive_quantile(p[:1]), p[0])  # one split needs no combination


def test_adaptive_quantile_is_valid_whatever_the_dependence():
    rng = np.random.default_rng(0)
    equal = np.repeat(rng.random((1, 4000)), 20, axis=0)
    shared = rng.random((20, 4000))
    shared = np.where(rng.random(4000) < 0.5, shared, shared[:1])
    for p in (equal, shared, rng.random((20, 4000))):
        assert (adaptive_quantile(p) <= 0.05).mean() <= binom.ppf(0.999, 4000, 0.05) / 4000


# the null of a map


def test_the_null_of_maps_is_exact_for_exchangeable_ones():
    rng = np.random.default_rng(0)
    spread = rng.lognormal(size=50)
    rejected = sum(studentised(rng.normal(size=(40, 50)) * spread).p_fwer.min() <= 0.05 for _ in range(400))
    assert binom.ppf(0.001, 400, 0.05) <= rejected <= binom.ppf(0.999, 400, 0.05)
    maps = rng.normal(size=(40, 50)) * spread
    maps[0, 7] += 9 * spread[7]
    own = studentised(maps)
    assert own.z.argmax() == 7 and own.p_fwer[7] == pytest.approx(1 / 40)
    constant = np.zeros((40, 3))
    assert (studentised(constant).p_fwer == 1).all()


# maps of folds


@pytest.fixture(scope="module")
def trained(make_cohort, sections, tmp_path_factory):
    """Ridge on a cohort with five planted edges: cohort, splits, null, models of the folds, sections."""
    cohort = make_cohort(n=60, n_nodes=12, planted=range(5), shift=1.5)
    splits, own = make_splits(cohort.participants, 3, 2, 0), sections("ridge")
    found = cross_validate(cohort, splits, "ridge", own)
    path = tmp_path_factory.mktemp("maps") / "folds.npz"
    save_folds(found.folds, cohort, path)
    return cohort, splits, permutation_null(cohort, splits, own, found.first_repeat), path, own, found


def test_saved_folds_predict_what_was_predicted(trained):
    cohort, splits, _, path, _, found = trained
    for fold in read_folds(path, cohort, splits):
        table = found.predictions.query("repeat == @fold.repeat and fold == @fold.fold")
        names = cohort.participants["participant_id"].to_numpy()[fold.test]
        expected = table.set_index("participant_id").loc[names, "probability"]
        np.testing.assert_allclose(fold.model.predict(cohort, fold.test), expected, atol=1e-5)
        assert not set(fold.train) & set(fold.test)


def test_no_map_sees_the_label_of_those_held_out(trained):
    cohort, splits, _, path, _, _ = trained
    fold = read_folds(path, cohort, splits)[0]
    labels = cohort.labels.copy()
    labels[fold.test] = 1 - labels[fold.test]
    turned = replace(cohort, participants=cohort.participants.assign(label=labels))
    before, after = (fold_maps(held_out(one, fold)) for one in (cohort, turned))
    assert before.keys() == {"weights", "haufe"}
    for method in before:
        np.testing.assert_array_equal(before[method], after[method])


def test_the_pattern_shows_an_edge_whose_weight_is_small():
    """Haufe's example: a distractor gets a weight that cancels noise, and no pattern."""
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, 5000))
    edges = np.column_stack([signal + noise, noise])
    decision = edges @ np.array([1.0, -1.0])  # recovers the signal
    pattern = haufe_pattern(edges, decision)
    assert pattern[0] == pytest.approx(np.sqrt(0.5), abs=0.03) and abs(pattern[1]) < 0.04


def test_fisher_edges_of_covariances(make_covariances):
    cohort = make_covariances()
    assert fisher_edges(cohort).shape == (60, 28)
    assert np.abs(np.tanh(fisher_edges(cohort))).max() < 1


def test_a_randomised_model_keeps_its_original(trained):
    cohort, splits, _, path, _, _ = trained
    fold = held_out(cohort, read_folds(path, cohort, splits)[0])
    before = copy.deepcopy(fold.model.classifier_.weights_)
    twin = randomised_twin(fold, 0)
    np.testing.assert_array_equal(before, fold.model.classifier_.weights_)
    assert sorted(twin.model.classifier_.weights_) == sorted(before)
    assert not np.array_equal(twin.model.classifier_.weights_, before)


def test_curves_by_hand():
    """The only edge that decides: once it is gone, nobody is told apart; once it is there, everybody is."""
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    edges = rng.normal(size=(20, 1000))
    edges[:, 3] = labels
    order = np.r_[3, np.delete(np.arange(1000), 3)]
    curves = fold_curves(lambda own: own[:, 3], edges, labels, np.zeros(1000), order)
    np.testing.assert_allclose(curves.deletion, [1.0] + [0.5] * (len(SHARES) - 1))
    np.testing.assert_allclose(curves.insertion, [0.5] + [1.0] * (len(SHARES) - 1))
    assert area(curves.deletion) == 0.5
    late = fold_curves(lambda own: own[:, 3], edges, labels, np.zeros(1000), order[::-1])
    assert late.deletion[-2] == 1.0 and late.deletion[-1] == 0.5


# everything together


def test_maps_of_ridge(trained):
    cohort, splits, null, path, own, _ = trained
    maps = learned.attribute(cohort, splits, null, path, own, SPEC)
    assert maps.told["shown"] and "beats" in maps.told["verdict"]
    assert list(maps.edges) == ["region_a", "region_b", "weights", "haufe", "p_weights", "p_screening", "screened"]
    assert len(maps.edges) == 66
    assert set(maps.edges["weights"].abs().nlargest(5).index) == set(range(5))
    weights = maps.told["methods"]["weights"]
    assert weights["stability"]["maps"] == 6 and weights["stability"]["nogueira"][0] > 0.3
    assert weights["sanity"]["passed"]
    random = maps.told["random"]
    assert weights["curves"]["deletion_area"] < random["deletion_area"] - 0.1
    assert weights["curves"]["insertion_area"] > random["insertion_area"] + 0.1
    assert maps.told["weights"]["n_fwer"] == (maps.edges["p_weights"] <= 0.05).sum() > 0
    again = learned.attribute(cohort, splits, null, path, own, SPEC)
    pd.testing.assert_frame_equal(maps.edges, again.edges)
    assert maps.told == again.told


def test_a_model_that_does_not_beat_its_null_shows_no_map(trained):
    cohort, splits, null, path, own, _ = trained
    beaten = null.assign(auc=np.where(null["permutation"] == 0, 0.5, 0.6))
    maps = learned.attribute(cohort, splits, beaten, path, own, SPEC)
    assert list(maps.edges) == ["region_a", "region_b", "p_weights", "p_screening", "screened"]
    assert maps.told["verdict"].startswith("withheld: does not beat its permutation null (p = 1)")
    assert maps.told["methods"] == {}


def test_a_label_comes_from_a_measurement(sections):
    columns = ["model", "linear", "lr", "epochs", "batch_size", "method"]
    columns += ["cohorts", "ratio", "low", "high", "random", "shuffled"]
    started = "tangent, start ridge"
    rows = [
        ("ridge", np.nan, np.nan, np.nan, np.nan, "weights", 8, 1.0, 0.95, 1.05, 0.01, 0.02),
        ("ridge", np.nan, np.nan, np.nan, np.nan, "haufe", 8, 0.6, 0.5, 0.7, 0.01, 0.02),
        ("gcn", 0, 0.01, 15, 16, "gradient", 8, 0.95, 0.9, 1.0, 0.01, 0.02),
        ("gcn", 0, 0.01, 15, 16, "integrated_gradients", 8, 0.95, 0.9, 1.0, 0.3, 0.02),
        ("gcn", 0, 0.01, 15, 16, "gradient", 8, 0.7, 0.6, 0.8, 0.01, 0.02),
    ]
    measured = pd.DataFrame(rows, columns=columns).assign(variant=["correlation"] * 4 + [started])
    assert label("weights", sections("ridge"), measured) == (LOCALIZES, "1.00 [0.95, 1.05] of |t| in 8 planted cohorts")
    assert label("haufe", sections("ridge"), measured)[0] == DIAGNOSTIC
    assert label("gradient", sections("gcn"), measured)[0] == LOCALIZES
    name, why = label("integrated_gradients", sections("gcn"), measured)
    assert name == DIAGNOSTIC and why.endswith("but also without having learned them")
    for other in (sections("gcn", lr=0.001), sections("gat")):
        assert label("gradient", other, measured) == (
            DIAGNOSTIC, "not measured in planted cohorts with these settings",
        )  # fmt: skip
    other = sections("gcn", "tangent", inner_folds=5)
    other = {**other, "model": {**other["model"], "start": "ridge"}}
    assert label("gradient", other, measured)[1].startswith("0.70")
    assert label("weights", sections("ridge", "partial"), measured)[1].startswith("not measured")


def test_what_makes_another_model_of_one_name():
    wide = {"name": "wide", "depth": 2, "learned": 1 / 3, "soften": [0, 0.5], "harmonise": "none", "deconfound": []}
    assert variant({"model": wide, "measure": "tangent"}) == "tangent, depth 2, learned 0.333, soften 0 0.5"
    ridge = {"name": "ridge", "soften": [0], "harmonise": "combat"}
    assert variant({"model": ridge, "measure": "correlation"}) == "correlation, prepared"
    assert variant({"model": {"name": "gcn", "start": "none"}, "measure": "tangent"}) == "tangent"


def test_what_was_measured_is_complete():
    table = pd.read_csv(MEASURED, sep="\t")
    assert len(table) and table[["ratio", "low", "high", "random", "shuffled", "cohorts"]].notna().to_numpy().all()
    assert (table["d"] >= 0.8).all() and (table["cohorts"] >= 5).all()
    assert not table.duplicated(["model", "variant", "linear", "lr", "epochs", "batch_size", "method"]).any()


def test_edges_that_many_lack_are_not_tested(make_cohort):
    cohort = make_cohort(n=20, n_nodes=6)
    missing = cohort.missing.copy()
    missing[:5, 2] = True
    edges, tested, _ = complete_edges(replace(cohort, missing=missing), 0.1)
    assert edges.shape == (20, 10) and tested.sum() == 10


def test_maps_of_the_tangent_space_are_of_single_connections(make_covariances, sections, tmp_path):
    cohort = make_covariances(shift=0.3)
    own = sections("logistic", "tangent")
    splits = make_splits(cohort.participants, 3, 1, 0)
    found = cross_validate(cohort, splits, "tangent", own)
    save_folds(found.folds, cohort, tmp_path / "folds.npz")
    null = pd.DataFrame({"permutation": range(100), "auc": np.r_[0.7, np.full(99, 0.5)]})
    maps = learned.attribute(cohort, splits, null, tmp_path / "folds.npz", own, SPEC)
    assert list(maps.edges) == ["region_a", "region_b", "gradient", "haufe"] and len(maps.edges) == 28
    assert maps.edges["haufe"].abs().idxmax() == 0 and maps.edges["gradient"].abs().idxmax() == 0
    assert maps.told["methods"]["gradient"]["sanity"]["passed"]
    assert maps.told["methods"]["haufe"]["curves"] is None and maps.told["random"] is None


def test_build_of_a_fold_needs_no_private_knowledge(trained):
    """A saved fold is what `build` and `load_state` make of its arrays."""
    cohort, splits, _, path, own, found = trained
    fold = read_folds(path, cohort, splits)[0]
    state = {**found.folds[0, 0, 0].state(), "n_nodes": np.array(len(cohort.nodes))}
    model = build(own["model"], own["measure"], own["graph"], own["training"]).load_state(state)
    np.testing.assert_array_equal(model.edge_weights(), fold.model.edge_weights())


# the attribution of every edge


@pytest.fixture
def model_and_null(tmp_path, make_cohort, sections):
    """Save a ridge with the weights of three folds, and a null; returns the two paths."""

    def save(observed: float, fold_weights=True):
        cohort, own = make_cohort(), sections("ridge")
        model = build(own["model"], "correlation", {}, own["training"]).fit(cohort, np.arange(60))
        weights = np.outer([1.0, 2.0, 6.0], np.arange(66.0)) if fold_weights else None
        save_model(model, cohort, tmp_path / "model.npz", weights)
        null = np.r_[observed, np.linspace(0.3, 0.7, 99)] if observed else []
        table = pd.DataFrame({"permutation": np.arange(len(null)), "auc": null})
        table.to_csv(tmp_path / "null.tsv", sep="\t", index=False)
        return tmp_path / "model.npz", tmp_path / "null.tsv"

    return save


def test_weights_of_a_model_that_beats_its_null_are_averaged_over_folds(model_and_null, make_cohort):
    weights, verdict = attribution(*model_and_null(0.9), "correlation_ridge", 0.05)
    assert verdict == "correlation ridge, mean over 3 folds (permutation p = 0.01)"
    np.testing.assert_allclose(weights["attribution"], 3.0 * np.arange(66))
    nodes = make_cohort().nodes
    assert weights.iloc[12][["region_a", "region_b"]].tolist() == [nodes[1], nodes[3]]


@pytest.mark.parametrize(
    ("observed", "verdict"),
    [
        (0.5, "withheld: tangent SVM does not beat its permutation null (p = 0.51)"),
        (0, "withheld: tangent SVM was not tested against permuted labels"),
    ],
)
def test_weights_of_a_model_that_does_not_are_withheld(model_and_null, observed, verdict):
    weights, why = attribution(*model_and_null(observed), "tangent_svm", 0.05)
    assert why == verdict and weights.empty


def test_a_model_without_edge_weights_says_so(model_and_null):
    with pytest.raises(ValueError, match=r"no weights per edge; choose another localize\.attribution"):
        attribution(*model_and_null(0.9, fold_weights=False), "ridge", 0.05)


def test_weights_follow_their_edge_by_name(model_and_null, tmp_path):
    weights, _ = attribution(*model_and_null(0.9), "ridge", 0.05)
    edges = weights.sample(frac=1, random_state=0).drop(columns="attribution")
    edges = edges.assign(p=["0.10", "", *["1e-05"] * 64], component="1", circuit="", n_missing="0")
    joined = with_attribution(edges, weights)
    assert list(joined) == ["region_a", "region_b", "p", "component", "attribution", "circuit", "n_missing"]
    pd.testing.assert_frame_equal(joined.drop(columns="attribution"), edges.reset_index(drop=True))
    np.testing.assert_array_equal(joined["attribution"], 3.0 * edges.index)
    nothing, verdict = attribution([], [], None, 0.05)
    assert verdict == "no experiment chosen" and with_attribution(edges, nothing)["attribution"].isna().all()
