"""Cross-validation leaks nothing: shuffled labels give chance, and what was held out changes no model."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs, edges_of_matrices
from dysconnect.data.measures import MEASURES, Measure
from dysconnect.evaluate.metrics import gather, weighted_scores
from dysconnect.learning.estimators import GraphModel, build
from dysconnect.learning.permuted import shuffle_labels
from dysconnect.learning.saved import SavedModel, read_fold_weights, save_model
from dysconnect.learning.splits import fold_rows, make_splits
from dysconnect.models.cards import of_kind
from dysconnect.train import cross_validate, permutation_null

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def auc_of(predictions: pd.DataFrame) -> float:
    """AUC as `evaluate` computes it."""
    evidence = gather(predictions)
    return float(weighted_scores(evidence, np.ones((1, len(evidence.labels))))["auc"][0])


def with_labels(cohort: Cohort, labels: np.ndarray) -> Cohort:
    """Give the same people other labels."""
    return dataclasses.replace(cohort, participants=cohort.participants.assign(label=labels))


# splits


@pytest.fixture(scope="module")
def splits(make_participants):
    """Three repeats of five folds of 61 people at two sites, two pairs of copied scans among them."""
    people = make_participants(61)
    people.loc[[3, 7], "scan_group"] = "copied-1"
    people.loc[[10, 22], "scan_group"] = "copied-2"
    return make_splits(people, folds=5, repeats=3, seed=0)


def test_everybody_is_tested_once_per_repeat(splits):
    counts = splits.groupby(["participant_id", "repeat"]).size()
    assert len(counts) == 61 * 3
    assert (counts == 1).all()
    assert set(splits["fold"]) == set(range(5))


def test_copied_scans_never_stand_on_both_sides(splits):
    spread = splits.groupby(["repeat", "scan_group"])["fold"].agg(["min", "max"])
    assert (spread["min"] == spread["max"]).all()
    people = splits[splits["repeat"] == 0]
    train, test = fold_rows(splits, people, 0, 2)
    assert not set(people["scan_group"].iloc[train]) & set(people["scan_group"].iloc[test])
    assert sorted([*train, *test]) == list(range(61))


def test_folds_are_balanced_by_label_and_site(make_participants):
    splits = make_splits(make_participants(62), folds=5, repeats=4, seed=3)
    for columns, most in ((["label", "site"], 1), (["label"], 2)):
        sizes = splits.groupby([*columns, "repeat", "fold"]).size().groupby([*columns, "repeat"])
        assert (sizes.size() == 5).all()
        assert (sizes.max() - sizes.min() <= most).all()


def test_repeats_and_seeds_differ_and_the_same_seed_repeats_itself(make_participants):
    people = make_participants(40)
    splits = make_splits(people, 5, 2, seed=0)
    assert splits.equals(make_splits(people, 5, 2, seed=0))
    first, second = (splits.loc[splits["repeat"] == repeat, "fold"].to_numpy() for repeat in (0, 1))
    assert (first != second).any()
    assert not splits.equals(make_splits(people, 5, 2, seed=10))


@pytest.mark.parametrize(("label", "name"), [(1, "patients"), (0, "controls")])
def test_too_few_of_a_class_names_the_key(make_participants, label, name):
    people = make_participants(40)
    people = pd.concat([people[people["label"] != label], people[people["label"] == label].head(4)])
    with pytest.raises(ValueError, match=rf"4 {name} cannot be split into 5 folds.*Set splits\.folds=4 or fewer"):
        make_splits(people, 5, 1, 0)


def test_small_sites_are_merged_and_every_fold_has_both_classes(make_participants):
    people = make_participants(30).assign(site=[f"site-{k % 9}" for k in range(30)])
    splits = make_splits(people, 5, 3, 0)
    assert (splits.groupby(["repeat", "fold"])["label"].nunique() == 2).all()


# predictions


@pytest.fixture(scope="module")
def planted(make_cohort):
    """Sixty people of whom eight edges differ by one and a half spreads."""
    return make_cohort(planted=range(8), shift=1.5)


@pytest.fixture(scope="module")
def folds(planted):
    """Two repeats of five folds."""
    return make_splits(planted.participants, 5, 2, 0)


def test_predictions_are_complete_and_out_of_fold(planted, folds, sections):
    trained = cross_validate(planted, folds, "ridge", sections("ridge"))
    merged = trained.predictions.merge(folds, on=["participant_id", "repeat"], suffixes=("", "_split"))
    assert len(merged) == len(folds) == 120
    assert (merged["fold"] == merged["fold_split"]).all()
    assert (merged["label"] == merged["label_split"]).all()
    assert merged["probability"].between(0, 1).all()
    assert set(trained.predictions["experiment"]) == {"ridge"}
    assert trained.weights.shape == (10, planted.values.shape[1])
    assert trained.history.empty
    for fold in range(5):
        train, test = fold_rows(folds, planted.participants, 0, fold)
        own = build(**parts(sections("ridge"))).fit(planted, train).predict(planted, test)
        table = trained.predictions.query("repeat == 0 and fold == @fold").set_index("participant_id")
        names = planted.participants["participant_id"].iloc[test]
        np.testing.assert_allclose(table.loc[names, "probability"], own, rtol=1e-6)


def parts(sections: dict) -> dict:
    """Sections as arguments of `build`."""
    return {"spec": sections["model"], **{name: sections[name] for name in ("measure", "graph", "training")}}


def test_networks_leave_curves_and_one_prediction_a_seed(planted, folds, sections):
    one = folds[folds["repeat"] == 0]
    trained = cross_validate(planted, one, "gcn", sections("gcn", seeds=2, epochs=3))
    assert len(trained.predictions) == 2 * 60
    assert set(trained.predictions["seed"]) == {0, 1}
    assert trained.history.groupby(["repeat", "fold", "seed"]).size().tolist() == [3] * 10
    assert trained.weights is None
    first, second = (trained.predictions.query("seed == @seed")["probability"].to_numpy() for seed in (0, 1))
    assert np.abs(first - second).max() > 1e-4


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_a_planted_difference_is_found(planted, folds, sections, name):
    assert auc_of(cross_validate(planted, folds, name, sections(name)).predictions) > 0.85


def test_a_planted_difference_is_found_in_the_tangent_space(make_covariances, sections):
    cohort = make_covariances(shift=-0.4)
    splits = make_splits(cohort.participants, 5, 1, 0)
    trained = cross_validate(cohort, splits, "t", sections("logistic", "tangent"))
    assert auc_of(trained.predictions) > 0.85
    assert trained.weights is None


def test_the_floor_sees_covariates_only(make_cohort, sections):
    cohort = make_cohort(planted=range(66), shift=5)
    splits = make_splits(cohort.participants, 5, 2, 0)
    blind = auc_of(cross_validate(cohort, splits, "floor", sections("floor")).predictions)
    older = cohort.participants["age"] + 15 * cohort.labels
    aged = dataclasses.replace(cohort, participants=cohort.participants.assign(age=older))
    seeing = auc_of(cross_validate(aged, splits, "floor", sections("floor")).predictions)
    assert blind < 0.7
    assert seeing > 0.75


# chance


@pytest.fixture(scope="module")
def telling(make_cohort, make_covariances):
    """A cohort whose edges and whose covariates tell the group, by measure."""

    def build(measure: str) -> Cohort:
        cohort = make_covariances(n_nodes=6, shift=-0.35) if measure == "tangent" else make_cohort(planted=range(8))
        aged = cohort.participants["age"] + 15 * cohort.labels
        return dataclasses.replace(cohort, participants=cohort.participants.assign(age=aged))

    return build


def score_and_null(cohort: Cohort, own: dict) -> tuple[float, np.ndarray]:
    """Mean AUC over two repeats, and the AUCs under permuted labels."""
    splits = make_splits(cohort.participants, 5, 2, 0)
    trained = cross_validate(cohort, splits, "any", own)
    null = permutation_null(cohort, splits, own, trained.first_repeat)["auc"].to_numpy()[1:]
    return auc_of(trained.predictions), null


MODELS = pytest.mark.parametrize(
    ("name", "measure"), [("ridge", "correlation"), ("logistic", "tangent"), ("floor", "correlation")]
)


@MODELS
def test_shuffled_labels_give_chance(telling, sections, name, measure):
    """The mean over three shuffles lies inside the permutation interval of such a mean."""
    cohort, own = telling(measure), sections(name, measure, permutations=100)
    shuffled = shuffle_labels(cohort.labels, cohort.participants["site"].to_numpy(), 3, np.random.default_rng(1))
    scores, nulls = zip(*(score_and_null(with_labels(cohort, labels), own) for labels in shuffled.T))
    low, high = np.quantile(np.mean(nulls, axis=0), [0.005, 0.995])
    assert low <= np.mean(scores) <= high
    assert 0.3 < low < 0.5 < high < 0.7


@MODELS
def test_true_labels_do_not_give_chance(telling, sections, name, measure):
    score, null = score_and_null(telling(measure), sections(name, measure, permutations=100))
    assert score > null.max()


def test_many_more_noise_features_than_subjects_give_chance(make_cohort, sections):
    aucs = []
    for seed in range(4):
        cohort = make_cohort(n=60, n_nodes=50, seed=seed)  # 1,225 edges
        splits = make_splits(cohort.participants, 5, 1, seed)
        aucs.append(auc_of(cross_validate(cohort, splits, "ridge", sections("ridge")).predictions))
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.1)
    assert 0.2 < min(aucs) < max(aucs) < 0.8


@pytest.mark.parametrize(
    ("name", "measure"), [("ridge", "correlation"), ("logistic", "tangent"), ("gcn", "correlation")]
)
def test_held_out_subjects_change_no_model(make_cohort, make_covariances, sections, name, measure):
    cohort = make_covariances(shift=-0.2) if measure == "tangent" else make_cohort(planted=range(5))
    cohort.missing[3, 2] = True
    train, test = np.arange(48), np.arange(48, 60)
    values, labels, missing = cohort.values.copy(), cohort.labels.copy(), cohort.missing.copy()
    values[test] *= 3
    labels[test] = 1 - labels[test]
    missing[test[0], 4] = True
    other = with_labels(dataclasses.replace(cohort, values=values, missing=missing), labels)
    states = [
        build(**parts(sections(name, measure, **({"epochs": 3} if name == "gcn" else {}))))
        .fit(c, train, seed=1)
        .state()
        for c in (cohort, other)
    ]
    assert states[0].keys() == states[1].keys()
    for key in states[0]:
        np.testing.assert_allclose(states[0][key], states[1][key], rtol=1e-6, err_msg=key)


def test_training_subjects_do_change_the_model(make_cohort, sections):
    cohort = make_cohort(planted=range(5))
    first, second = (build(**parts(sections("ridge"))).fit(cohort, np.arange(k, k + 40)) for k in (0, 1))
    assert np.abs(first.edge_weights() - second.edge_weights()).max() > 1e-6


# the permutation null


@pytest.mark.parametrize(
    ("name", "measure"), [("ridge", "correlation"), ("floor", "correlation"), ("logistic", "tangent")]
)
def test_the_observed_value_is_the_score_of_the_first_repeat(planted, make_covariances, sections, name, measure):
    cohort = make_covariances(shift=-0.2) if measure == "tangent" else planted
    splits = make_splits(cohort.participants, 5, 2, 0)
    own = sections(name, measure, permutations=3)
    trained = cross_validate(cohort, splits, name, own)
    null = permutation_null(cohort, splits, own, trained.first_repeat)
    assert null["permutation"].tolist() == [0, 1, 2, 3]
    assert null["auc"].iloc[0] == pytest.approx(auc_of(trained.predictions.query("repeat == 0")), abs=1e-9)


def test_one_permutation_is_a_cross_validation_with_those_labels(planted, folds, sections):
    own, first = sections("ridge", permutations=4), folds[folds["repeat"] == 0]
    trained = cross_validate(planted, first, "ridge", own)
    null = permutation_null(planted, first, own, trained.first_repeat)
    blocks = (first["site"] + "/" + first["fold"].astype(str)).to_numpy()
    labels = shuffle_labels(planted.labels, blocks, 4, np.random.default_rng([0, 11]))
    for k in range(2):
        people = with_labels(planted, labels[:, k])
        predictions = cross_validate(people, first.assign(label=labels[:, k]), "ridge", own).predictions
        assert null["auc"].iloc[k + 1] == pytest.approx(auc_of(predictions), abs=1e-9)


def test_labels_are_shuffled_inside_their_blocks():
    labels, blocks = np.r_[np.zeros(20, int), np.ones(20, int)], np.arange(40) % 4
    shuffled = shuffle_labels(labels, blocks, 50, np.random.default_rng(0))
    for block in range(4):
        assert (shuffled[blocks == block].sum(0) == labels[blocks == block].sum()).all()
    assert len(np.unique(shuffled, axis=1).T) == 50


def null_p(cohort: Cohort, own: dict) -> tuple[float, float]:
    """Observed AUC and its permutation p."""
    splits = make_splits(cohort.participants, 4, 1, 0)
    train = [fold_rows(splits, cohort.participants, 0, fold)[0] for fold in range(4)]
    models = {fold: build(**parts(own)).fit(cohort, rows) for fold, rows in enumerate(train)}
    null = permutation_null(cohort, splits, own, models)["auc"]
    return null.iloc[0], (null >= null.iloc[0] - 1e-12).mean()


def test_p_is_uniform_on_noise(make_cohort, sections):
    own = sections("ridge", permutations=99)
    p = np.array([null_p(make_cohort(n=32, n_nodes=7, seed=seed), own)[1] for seed in range(40)])
    assert binomtest(int((p <= 0.2).sum()), 40, 0.2).pvalue > 0.001
    assert binomtest(int((p <= 0.5).sum()), 40, 0.5).pvalue > 0.001


def test_a_signal_of_the_site_alone_is_not_counted(make_cohort, sections):
    """The site is in every edge and tells the group: the AUC is high, the p is not small."""
    results = []
    for seed in range(8):
        cohort = make_cohort(n=64, n_nodes=7, seed=seed)
        rng = np.random.default_rng(seed)
        site = np.where(rng.random(64) < 0.2 + 0.6 * cohort.labels, "site-A", "site-B")
        values = cohort.values + 0.5 * (site == "site-A")[:, None]
        people = cohort.participants.assign(site=site)
        own = sections("ridge", permutations=199)
        results.append(null_p(dataclasses.replace(cohort, participants=people, values=values), own))
    auc, p = np.transpose(results)
    assert auc.mean() > 0.68
    assert (p <= 0.05).sum() <= 2
    assert p.mean() > 0.25


def test_no_null_is_made_where_none_is_asked_for(planted, folds, sections):
    assert permutation_null(planted, folds, sections("gcn"), {}).empty
    assert permutation_null(planted, folds, sections("ridge", permutations=0), {}).empty


# models on disk


def matrices_of(cohort: Cohort) -> np.ndarray:
    """Connectivity matrices as users have them: correlations with a unit diagonal, or covariances."""
    if cohort.measure == "tangent":
        return Pairs(len(cohort.nodes), diagonal=True).matrix(cohort.values.astype(float))
    return np.tanh(Pairs(len(cohort.nodes)).matrix(cohort.values.astype(float))) + np.eye(len(cohort.nodes))


@pytest.fixture(scope="module")
def saved(tmp_path_factory, make_cohort, make_covariances, sections):
    """Fit and save a model; returns it, its cohort, and the file."""

    def save(name, measure):
        cohort = make_covariances(shift=-0.3) if measure == "tangent" else make_cohort(planted=range(5))
        own = sections(name, measure, **({"epochs": 4} if name in of_kind("graph") else {}))
        model = build(**parts(own)).fit(cohort, np.arange(40), seed=0)
        path = tmp_path_factory.mktemp("models") / f"{name}.npz"
        save_model(model, cohort, path, model.edge_weights()[None] if name == "ridge" else None)
        return model, cohort, path

    return save


SAVED = [("ridge", "correlation"), ("logistic", "tangent"), *((name, "correlation") for name in of_kind("graph"))]


@pytest.mark.parametrize(("name", "measure"), SAVED)
def test_a_saved_model_predicts_from_matrices_what_the_model_predicts(saved, name, measure):
    model, cohort, path = saved(name, measure)
    loaded = SavedModel(path)
    expected = model.predict(cohort, np.arange(40, 60))
    np.testing.assert_allclose(loaded.predict(matrices_of(cohort)[40:]), expected, atol=1e-5)
    assert loaded.measure == measure
    assert loaded.nodes == cohort.nodes.tolist()
    assert expected.std() > 1e-3


def test_a_saved_model_holds_arrays_and_json_only(saved):
    _, _, path = saved("gcn", "correlation")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert all(array.dtype != object for array in arrays.values())
    assert json.loads(str(arrays["spec"]))["model"]["name"] == "gcn"


def test_wrong_shape_and_nan_are_refused(saved):
    _, cohort, path = saved("ridge", "correlation")
    loaded, matrices = SavedModel(path), matrices_of(cohort)
    with pytest.raises(ValueError, match=r"shape \(60, 11, 11\); this model takes \(n, 12, 12\): correlation"):
        loaded.predict(matrices[:, :11, :11])
    with pytest.raises(ValueError, match=r"shape \(12, 12\); this model takes \(n, 12, 12\)"):
        loaded.predict(matrices[0])
    matrices[[2, 7], 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the matrices at positions \[2, 7\]; leave them out"):
        loaded.predict(matrices)


def test_the_floor_predicts_from_no_matrices(saved):
    _, _, path = saved("floor", "correlation")
    with pytest.raises(ValueError, match=r"floor\.npz: the confound floor predicts from covariates"):
        SavedModel(path)


def test_fold_weights_are_kept_where_there_are_any(saved):
    model, _, path = saved("ridge", "correlation")
    np.testing.assert_allclose(read_fold_weights(path), model.edge_weights()[None])
    _, _, other = saved("logistic", "tangent")
    with pytest.raises(ValueError, match=r"no weights per edge; choose another localize\.attribution"):
        read_fold_weights(other)


def test_edges_of_matrices_are_fisher_z_or_covariances():
    matrix = np.array([[[1.0, 0.5, -0.2], [0.5, 1.0, 0.1], [-0.2, 0.1, 1.0]]])
    np.testing.assert_allclose(edges_of_matrices(matrix, "correlation"), np.arctanh([[0.5, -0.2, 0.1]]))
    np.testing.assert_allclose(
        edges_of_matrices(matrix, "tangent"), Pairs(matrix.shape[-1], diagonal=True).edges(matrix)
    )


def test_probabilities_of_a_network_are_the_logistic_of_its_logits(saved):
    model, cohort, _ = saved("gcn", "correlation")
    expected = expit(model.networks_.decide(cohort.values)[:, 0])
    np.testing.assert_allclose(model.predict(cohort, np.arange(60)), expected, rtol=1e-5)


def test_what_does_not_fit_together_is_refused(sections, monkeypatch):
    raw = Measure(name="raw", sentence="covariances", kind="covariance", estimator="empirical", transform="none")
    monkeypatch.setitem(MEASURES, "raw", raw)
    own = sections("gcn", "raw")
    needed = r"model=gcn needs correlations or covariances; connectivity=raw has none\. Choose connectivity=correlation"
    with pytest.raises(ValueError, match=needed):
        GraphModel(own["model"], own["graph"], own["training"], "raw")
    with pytest.raises(ValueError, match=r"model\.name='forest' is unknown; known: ridge, logistic, svm, elastic_net"):
        build({"name": "forest"}, "correlation", {}, {})
