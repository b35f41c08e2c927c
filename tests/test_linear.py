"""Support vector machine, elastic net, Riemannian model: equal to their peers, honest inside the fold, saved whole."""

import dataclasses

import numpy as np
import pytest
from pyriemann.classification import FgMDM
from pyriemann.preprocessing import Whitening
from sklearn.linear_model import ElasticNet as PeerElasticNet
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from dysconnect.models.dual import DualRidge, DualSVM, concordance, inner_folds
from dysconnect.models.edges import matrix_from_edges
from dysconnect.models.riemann import FilteredMDM
from dysconnect.models.sparse import ElasticNet, screen
from dysconnect.train import cross_validate, permutation_null, shuffle_labels
from dysconnect.train.estimators import SavedModel, build, save_model
from dysconnect.train.splits import make_splits

SPECS = {
    "svm": {"name": "svm", "penalties": [0.1, 1.0, 10.0]},
    "elastic_net": {"name": "elastic_net", "ratio": 0.2, "screened": 30, "steps": 8, "shortest": 0.1},
    "riemann": {"name": "riemann", "components": 5},
    "ridge": {"name": "ridge", "penalties": [0.1, 1.0, 10.0]},
}
PREPARED = {"harmonise": "combat", "deconfound": ["age", "sex", "mean_fd"]}
MODELS = [("svm", "correlation"), ("svm", "tangent"), ("elastic_net", "correlation"), ("riemann", "tangent")]
ALL = pytest.mark.parametrize(("name", "measure"), MODELS)


def sections_of(name: str, measure: str, permutations: int = 0, **own) -> dict:
    """What training one experiment reads."""
    training = {"permutations": permutations, "seed": 0}
    return {"model": {**SPECS[name], **own}, "measure": measure, "graph": {}, "training": training}


def built(name: str, measure: str, **own):
    """A model as the configuration would build it."""
    return build({**SPECS[name], **own}, measure, {}, {})


@pytest.fixture(scope="module")
def cohort_of(make_cohort, make_covariances):
    """Build a cohort by measure; `signal` in units that are plain to see."""

    def build_cohort(measure: str, signal: float = 1.0, seed: int = 0, n: int = 60):
        if measure == "tangent":
            return make_covariances(n=n, shift=-0.4 * signal, seed=seed)
        return make_cohort(n=n, planted=range(8), shift=1.5 * signal, seed=seed)

    return build_cohort


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forty subjects with eighty features of which ten differ, their labels, and seven further subjects."""
    rng = np.random.default_rng(0)
    y = (np.arange(40) % 5 < 2).astype(int)
    x = rng.normal(1, 1, (40, 80))
    x[:, :10] += 0.9 * y[:, None]
    return x, y, rng.normal(1, 1, (7, 80))


# the same as their peers


@pytest.mark.parametrize("penalty", [0.1, 1.0, 10.0])
def test_the_machine_in_the_dual_equals_the_one_in_the_primal(data, penalty):
    x, y, new = data
    scale = np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    peer = SVC(C=1 / penalty, kernel="linear").fit((x - x.mean(0)) / scale, y)
    own = DualSVM(penalties=(penalty,)).fit(x, y)
    np.testing.assert_allclose(own.decision_function(new), peer.decision_function((new - x.mean(0)) / scale), atol=1e-3)


def test_many_label_vectors_of_the_machine_equal_one_at_a_time(data):
    x, y, new = data
    rng = np.random.default_rng(1)
    labels = np.column_stack([y, *(rng.permutation(y) for _ in range(4))])
    many = DualSVM().decide_many(x, labels, new)
    one = [DualSVM().fit(x, column).decision_function(new) for column in labels.T]
    np.testing.assert_allclose(many, np.column_stack(one), atol=1e-8)


def test_the_penalty_is_that_of_the_highest_auc_in_the_inner_split(data):
    x, y, _ = data
    grid, auc = (0.01, 0.3, 300.0), []
    kernel = DualSVM(penalties=grid)
    for penalty in grid:
        one = [
            roc_auc_score(y[watch], SVC(C=1 / penalty, kernel="linear").fit(z[fit], y[fit]).decision_function(z[watch]))
            for z in [(x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())]
            for fit, watch in inner_folds(y)
        ]
        auc.append(np.mean(one))
    assert kernel.fit(x, y).penalty_ == grid[int(np.argmax(auc))]


def test_elastic_net_equals_scikit_learn(data):
    x, y, new = data
    own = ElasticNet(ratio=0.5, screened=80, steps=6).fit(x, y)
    scale = np.sqrt(((x - x.mean(0)) ** 2).mean())
    z, signs = (x - x.mean(0)) / scale, 2.0 * y - 1
    first = np.abs(z.T @ (signs - signs.mean())).max() / (len(y) * 0.5)
    peer = PeerElasticNet(alpha=first * own.penalty_, l1_ratio=0.5, tol=1e-8, max_iter=10000).fit(z, signs)
    np.testing.assert_allclose(own.decision_function(new), peer.predict((new - x.mean(0)) / scale), atol=0.02)
    assert 0 < (own.weights_ != 0).sum() < 80


def test_only_the_screened_edges_have_weights(data):
    x, y, _ = data
    own = ElasticNet(screened=12).fit(x, y)
    kept = screen(x - x.mean(0), (2.0 * y - 1) - (2.0 * y - 1).mean(), 12)
    assert set(np.flatnonzero(own.weights_)) <= set(kept)
    strongest = np.argsort([-abs(np.corrcoef(column, y)[0, 1]) for column in x.T])[:12]
    assert set(kept) == set(strongest)


def test_riemannian_distances_equal_pyriemanns_pipeline(make_covariances):
    cohort = make_covariances(shift=-0.3)
    matrices = matrix_from_edges(cohort.values.astype(float), 8, diagonal=True)
    own = FilteredMDM(5).fit(matrices[:40], cohort.labels[:40])
    reduce = Whitening(metric="euclid", dim_red={"n_components": 5}).fit(matrices[:40])
    peer = FgMDM().fit(reduce.transform(matrices[:40]), cohort.labels[:40])
    distances = peer.transform(reduce.transform(matrices[40:]))
    expected = distances[:, 0] ** 2 - distances[:, 1] ** 2
    np.testing.assert_allclose(own.decision_function(matrices[40:]), expected, atol=1e-5)


def test_concordance_is_the_area_under_the_curve():
    rng = np.random.default_rng(3)
    y, decisions = np.arange(50) % 3 == 0, np.round(rng.normal(size=50), 1)
    assert concordance(decisions, y.astype(int)) == pytest.approx(roc_auc_score(y, decisions))


# behaviour


def scored(cohort, name: str, measure: str, **own) -> float:
    """AUC inside the folds of one cross-validation."""
    splits = make_splits(cohort.participants, 5, 1, 0)
    table = cross_validate(cohort, splits, name, sections_of(name, measure, **own)).predictions
    return float(np.mean([concordance(p["probability"], p["label"].to_numpy()) for _, p in table.groupby("fold")]))


@ALL
def test_a_planted_difference_is_found(cohort_of, name, measure):
    assert scored(cohort_of(measure), name, measure) > 0.8


@ALL
def test_noise_gives_chance(cohort_of, name, measure):
    aucs = [scored(cohort_of(measure, signal=0, seed=seed), name, measure) for seed in range(5)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.11)


@ALL
def test_shuffled_labels_give_chance(cohort_of, name, measure):
    cohort = cohort_of(measure)
    site = cohort.participants["site"].to_numpy()
    aucs = []
    for labels in shuffle_labels(cohort.labels, site, 5, np.random.default_rng(2)).T:
        people = cohort.participants.assign(label=labels)
        aucs.append(scored(dataclasses.replace(cohort, participants=people), name, measure))
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.11)


def test_edges_picked_on_everybody_are_found_out(make_cohort):
    """Noise: edges picked outside the fold tell the groups, edges picked inside do not."""
    inside, outside = [], []
    for seed in range(4):
        cohort = make_cohort(n_nodes=40, seed=seed)
        signs = 2.0 * cohort.labels - 1
        picked = screen(cohort.values - cohort.values.mean(0), signs - signs.mean(), 30)
        fold = make_splits(cohort.participants, 5, 1, 0)["fold"].to_numpy()
        inside.append(scored(cohort, "elastic_net", "correlation"))
        for k in range(5):
            train, test = fold != k, fold == k
            fitted = DualRidge().fit(cohort.values[train][:, picked], cohort.labels[train])
            outside.append(concordance(fitted.decision_function(cohort.values[test][:, picked]), cohort.labels[test]))
    assert np.mean(inside) == pytest.approx(0.5, abs=0.12)
    assert np.mean(outside) > 0.8


PREPARED_MODELS = [
    *((name, measure, {}) for name, measure in MODELS),
    ("ridge", "correlation", PREPARED),
    ("svm", "tangent", PREPARED),
    ("elastic_net", "correlation", PREPARED),
]
EVERY = pytest.mark.parametrize(("name", "measure", "own"), PREPARED_MODELS)


@EVERY
def test_held_out_subjects_change_no_model(cohort_of, name, measure, own):
    cohort = cohort_of(measure, 0.5)
    train, test = np.arange(48), np.arange(48, 60)
    values, labels, people = cohort.values.copy(), cohort.labels.copy(), cohort.participants
    values[test] *= 3
    labels[test] = 1 - labels[test]
    ages = people["age"].where(people.index < 48, 99)
    other = dataclasses.replace(cohort, values=values, participants=people.assign(label=labels, age=ages))
    first, second = (built(name, measure, **own).fit(c, train).state() for c in (cohort, other))
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)


@EVERY
def test_a_saved_model_predicts_what_the_model_predicts(cohort_of, tmp_path, name, measure, own):
    cohort = cohort_of(measure, 0.5)
    model = built(name, measure, **own).fit(cohort, np.arange(40))
    save_model(model, cohort, tmp_path / "model.npz")
    loaded, held_out = SavedModel(tmp_path / "model.npz"), np.arange(40, 60)
    matrices = matrix_from_edges(cohort.values[held_out].astype(float), len(cohort.nodes), measure == "tangent")
    if measure != "tangent":
        matrices = np.tanh(matrices) + np.eye(len(cohort.nodes))
    expected = model.predict(cohort, held_out)
    people = cohort.participants.iloc[held_out]
    np.testing.assert_allclose(loaded.predict(matrices, people), expected, atol=1e-4)
    assert expected.std() > 1e-3
    anybody = np.abs(loaded.predict(matrices) - expected).max()
    assert anybody > 1e-3 if own else anybody < 1e-4


@pytest.mark.parametrize("name", ["svm", "elastic_net"])
def test_weights_are_on_edges_of_correlations_and_on_none_of_the_tangent_space(cohort_of, name):
    cohort = cohort_of("correlation")
    weights = built(name, "correlation").fit(cohort, np.arange(60)).edge_weights()
    assert weights.shape == (66,)
    assert weights[:8].mean() > 3 * np.abs(weights[8:].mean())  # the edges that are stronger in patients
    assert built(name, "tangent").fit(cohort_of("tangent"), np.arange(60)).edge_weights() is None


def test_the_null_of_the_machine_starts_with_its_own_score(cohort_of):
    cohort, own = cohort_of("correlation", 0.6), sections_of("svm", "correlation", permutations=19)
    splits = make_splits(cohort.participants, 5, 1, 0)
    trained = cross_validate(cohort, splits, "svm", own)
    null = permutation_null(cohort, splits, own, trained.first_repeat)["auc"]
    own_score = [concordance(p["probability"], p["label"].to_numpy()) for _, p in trained.predictions.groupby("fold")]
    assert null[0] == pytest.approx(np.mean(own_score), abs=1e-9)
    assert null[1:].mean() == pytest.approx(0.5, abs=0.1)
    assert null[0] > null[1:].max()


@pytest.mark.parametrize(("name", "measure"), [("elastic_net", "correlation"), ("riemann", "tangent")])
def test_models_too_slow_to_permute_have_no_null(cohort_of, name, measure):
    cohort, own = cohort_of(measure), sections_of(name, measure, permutations=10)
    splits = make_splits(cohort.participants, 5, 1, 0)
    trained = cross_validate(cohort, splits, name, own)
    assert permutation_null(cohort, splits, own, trained.first_repeat).empty


@pytest.mark.parametrize("classifier", [DualSVM(), ElasticNet(), FilteredMDM(2)])
def test_a_class_that_is_missing_or_alone_is_named(classifier):
    x = np.eye(4) + np.random.default_rng(0).normal(size=(6, 4, 4)) * 0.01
    x = x @ x.swapaxes(1, 2) if isinstance(classifier, FilteredMDM) else x.reshape(6, 16)
    with pytest.raises(ValueError, match=r"one class only \(label 1\); both are needed"):
        classifier.fit(x, np.ones(6, int))
    with pytest.raises(ValueError, match=r"a class has one training subject only.*splits\.folds"):
        classifier.fit(x, np.array([1, 0, 0, 0, 0, 0]))


def test_features_without_variance_give_the_base_rate():
    y = (np.arange(40) % 4 == 0).astype(int)
    for classifier in (DualSVM(), ElasticNet()):
        probability = classifier.fit(np.ones((40, 5)), y).predict_proba(np.ones((3, 5)))[:, 1]
        np.testing.assert_allclose(probability, 0.25, atol=0.1)


def test_the_riemannian_model_wants_covariances():
    with pytest.raises(ValueError, match=r"riemann needs covariances; connectivity=correlation has none\. Choose"):
        built("riemann", "correlation")
