"""Support vector machine, elastic net, Riemannian model: equal to their peers, honest inside the fold, saved whole."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from pyriemann.classification import FgMDM
from pyriemann.preprocessing import Whitening
from sklearn.linear_model import ElasticNet as PeerElasticNet
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.svm import SVC

from dysconnect.data.edges import Pairs
from dysconnect.learning.estimators import EdgeModel, build
from dysconnect.learning.permuted import shuffle_labels
from dysconnect.learning.saved import SavedModel, save_model
from dysconnect.learning.splits import audit_splits, make_splits
from dysconnect.models.dual import DualLogistic, DualRidge, DualSVM, concordance, inner_folds
from dysconnect.models.riemann import FilteredMDM, ReducedTangent
from dysconnect.models.sparse import ElasticNet, correlations, screen
from dysconnect.train import cross_validate, permutation_null

WIDE = yaml.safe_load((Path(__file__).parents[1] / "configs/model/wide.yaml").read_text())
SPECS = {
    "svm": {"name": "svm", "penalties": [0.1, 1.0, 10.0]},
    "elastic_net": {"name": "elastic_net", "ratio": 0.2, "screened": 30, "steps": 8, "shortest": 0.1},
    "low_rank": {"name": "low_rank", "trace": 0.3, "power": 1.5, "share": 0.333, "penalties": [0.1, 1.0, 10.0]},
    "wide": WIDE | {"penalties": [0.1, 1.0, 10.0]},
    "wide_learned": WIDE | {"penalties": [0.1, 1.0, 10.0], "learned": 0.5, "soften": [0]},
    "riemann": {"name": "riemann", "components": 5},
    "ridge": {"name": "ridge", "penalties": [0.1, 1.0, 10.0]},
    "logistic": {"name": "logistic", "penalties": [0.1, 1.0, 10.0]},
    "floor": {"name": "floor", "penalties": [0.1, 1.0, 10.0], "covariates": ["age", "sex", "site", "mean_fd"]},
}
PREPARED = {"harmonise": "combat", "deconfound": ["age", "sex", "mean_fd"]}
MODELS = [
    ("svm", "correlation"),
    ("svm", "tangent"),
    ("elastic_net", "correlation"),
    ("low_rank", "tangent"),
    ("wide", "tangent"),
    ("wide_learned", "tangent"),
    ("riemann", "tangent"),
]
ALL = pytest.mark.parametrize(("name", "measure"), MODELS)
CHANCE = pytest.mark.parametrize(
    ("name", "measure"),
    [*MODELS, ("ridge", "correlation"), ("ridge", "tangent"), ("logistic", "correlation"), ("floor", "correlation")],
)


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


def sizes(x: np.ndarray, y: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
    """Absolute correlation of features [n, E] with labels [n] by which edges are screened, [E]."""
    rows, side = (x - x.mean(0)).T, np.ones(len(y)) if side is None else side
    return correlations(rows, rows**2, y[:, None], side[:, None])[:, 0]


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
    kept = screen(sizes(x, y), 12)
    assert set(np.flatnonzero(own.weights_)) <= set(kept)
    strongest = np.argsort([-abs(np.corrcoef(column, y)[0, 1]) for column in x.T])[:12]
    assert set(kept) == set(strongest)


def test_edges_are_screened_among_those_who_are_fitted_on(data):
    x, y, _ = data
    side = np.arange(40) % 3 > 0
    own = sizes(x, y, side.astype(float))
    expected = np.array([abs(np.corrcoef(column, y[side])[0, 1]) for column in x[side].T])
    np.testing.assert_allclose(own / own.max(), expected / expected.max(), atol=1e-5)


def test_an_edge_without_variance_among_those_who_are_fitted_on_is_not_picked(data):
    x, y, _ = data
    side = np.arange(40) % 3 > 0
    x[side, 3] = 0.7
    assert sizes(x, y, side.astype(float))[3] < 1e-2 * sizes(x, y, side.astype(float)).max()


def test_many_label_vectors_of_the_elastic_net_equal_one_at_a_time(data):
    x, y, new = data
    rng = np.random.default_rng(1)
    labels = np.column_stack([y, *(rng.permutation(y) for _ in range(19))])  # more than are screened at once
    many = ElasticNet(screened=20, steps=6).decide_many(x, labels, new)
    one = [ElasticNet(screened=20, steps=6).fit(x, column).decision_function(new) for column in labels.T]
    np.testing.assert_allclose(many, np.column_stack(one), atol=1e-4)


@pytest.mark.parametrize("components", [5, 7])
def test_riemannian_distances_equal_pyriemanns_pipeline(make_covariances, components):
    cohort = make_covariances(shift=-0.3)
    matrices = Pairs(8, diagonal=True).matrix(cohort.values.astype(float))
    space = ReducedTangent(components).fit(cohort.values[:40], 8)
    own = FilteredMDM().fit(space.transform(cohort.values[:40]), cohort.labels[:40])
    reduce = Whitening(metric="euclid", dim_red={"n_components": components}).fit(matrices[:40])
    peer = FgMDM().fit(reduce.transform(matrices[:40]), cohort.labels[:40])
    distances = peer.transform(reduce.transform(matrices[40:]))
    expected = distances[:, 0] ** 2 - distances[:, 1] ** 2
    np.testing.assert_allclose(own.decision_function(space.transform(cohort.values[40:])), expected, atol=1e-5)


def test_many_label_vectors_of_the_geodesic_filter_equal_one_at_a_time(data):
    x, y, new = data
    labels = np.column_stack([y, *(np.random.default_rng(k).permutation(y) for k in range(4))])
    one = [FilteredMDM().fit(x, column).decision_function(new) for column in labels.T]
    np.testing.assert_allclose(FilteredMDM().decide_many(x, labels, new), np.column_stack(one), atol=1e-10)


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


@CHANCE
def test_noise_gives_chance(cohort_of, name, measure):
    aucs = [scored(cohort_of(measure, signal=0, seed=seed), name, measure) for seed in range(5)]
    assert np.mean(aucs) == pytest.approx(0.5, abs=0.11)


@CHANCE
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
        picked = screen(sizes(cohort.values, cohort.labels), 30)
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
    ("riemann", "tangent", PREPARED),
]
EVERY = pytest.mark.parametrize(("name", "measure", "own"), PREPARED_MODELS)


def moved_by_held_out(cohort, build_model) -> set[str]:
    """Parts of a model's state that change with people it is not fitted on."""
    train, test = np.arange(48), np.arange(48, 60)
    values, labels, people = cohort.values.copy(), cohort.labels.copy(), cohort.participants
    values[test] *= 3
    labels[test] = 1 - labels[test]
    ages = people["age"].where(people.index < 48, 99)
    other = dataclasses.replace(cohort, values=values, participants=people.assign(label=labels, age=ages))
    first, second = (build_model().fit(c, train).state() for c in (cohort, other))
    assert first.keys() == second.keys()
    return {key for key in first if not np.array_equal(first[key], second[key])}


@EVERY
def test_held_out_subjects_change_no_model(cohort_of, name, measure, own):
    assert moved_by_held_out(cohort_of(measure, 0.5), lambda: built(name, measure, **own)) == set()


class ReferenceOfEverybody(EdgeModel):
    """The copied defect: the tangent reference is learned from the test subjects too."""

    def _learn_features(self, cohort, rows):
        super()._learn_features(cohort, np.arange(len(cohort.labels)))
        return self._features(cohort, rows)


@pytest.mark.parametrize(("own", "part"), [({}, "whitening"), (PREPARED, "combat_mean")])
def test_what_is_learned_from_everybody_is_found_out(cohort_of, own, part):
    """A reference or a harmonisation of everybody moves with the held-out, who never move ours."""
    moved = moved_by_held_out(cohort_of("tangent"), lambda: ReferenceOfEverybody({**SPECS["ridge"], **own}, "tangent"))
    assert {part, "weights"} <= moved
    assert moved_by_held_out(cohort_of("tangent"), lambda: built("ridge", "tangent", **own)) == set()


def test_a_scan_copied_into_the_test_fold_is_found_out(make_cohort):
    """Noise: copies on both sides of a split tell the groups; the audit refuses it, and our splits keep them apart."""
    cohort, scores = make_cohort(n=40, n_nodes=40), {}
    twice = np.tile(np.arange(40), 2)
    people = cohort.participants.iloc[twice].reset_index(drop=True)
    people["participant_id"] = [f"sub-{k:03d}" for k in range(80)]
    doubled = dataclasses.replace(
        cohort, participants=people, values=cohort.values[twice], missing=cohort.missing[twice]
    )
    for name, table in (("naive", people.drop(columns="scan_group")), ("ours", people)):
        splits = make_splits(table, 5, 1, 0)
        assert bool(audit_splits(splits, people)) == (name == "naive")
        told = doubled
        if name == "naive":
            with pytest.raises(ValueError, match="copies of one scan on both sides"):
                cross_validate(doubled, splits, name, sections_of("ridge", "correlation"))
            told = dataclasses.replace(doubled, participants=people.assign(scan_group=people["participant_id"]))
        predictions = cross_validate(told, splits, name, sections_of("ridge", "correlation")).predictions
        parts = [concordance(p["probability"], p["label"].to_numpy()) for _, p in predictions.groupby("fold")]
        scores[name] = np.mean(parts)
    assert scores["naive"] > 0.8
    assert scores["ours"] == pytest.approx(0.5, abs=0.2)


@EVERY
def test_a_saved_model_predicts_what_the_model_predicts(cohort_of, tmp_path, name, measure, own):
    cohort = cohort_of(measure, 0.5)
    model = built(name, measure, **own).fit(cohort, np.arange(40))
    save_model(model, cohort, tmp_path / "model.npz")
    loaded, held_out = SavedModel(tmp_path / "model.npz"), np.arange(40, 60)
    matrices = Pairs(len(cohort.nodes), diagonal=measure == "tangent").matrix(cohort.values[held_out].astype(float))
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


@ALL
def test_the_null_starts_with_the_score_of_the_model_itself(cohort_of, name, measure):
    cohort, own = cohort_of(measure), sections_of(name, measure, permutations=19)
    splits = make_splits(cohort.participants, 5, 1, 0)
    trained = cross_validate(cohort, splits, name, own)
    null = permutation_null(cohort, splits, own, trained.first_repeat)["auc"]
    own_score = [concordance(p["probability"], p["label"].to_numpy()) for _, p in trained.predictions.groupby("fold")]
    assert null[0] == pytest.approx(np.mean(own_score), abs=1e-9)
    assert null[1:].mean() == pytest.approx(0.5, abs=0.1)
    assert null[0] > null[1:].max()


@pytest.mark.parametrize(("name", "measure"), [("elastic_net", "correlation"), ("riemann", "tangent")])
def test_one_permutation_is_a_cross_validation_with_those_labels(cohort_of, name, measure):
    cohort, own = cohort_of(measure), sections_of(name, measure, permutations=2)
    splits = make_splits(cohort.participants, 5, 1, 0)
    trained = cross_validate(cohort, splits, name, own)
    null = permutation_null(cohort, splits, own, trained.first_repeat)["auc"]
    blocks = (splits["site"] + "/" + splits["fold"].astype(str)).to_numpy()
    labels = shuffle_labels(cohort.labels, blocks, 2, np.random.default_rng([0, 11]))[:, 1]
    other = dataclasses.replace(cohort, participants=cohort.participants.assign(label=labels))
    table = cross_validate(other, splits.assign(label=labels), name, own).predictions
    scores = [concordance(p["probability"], p["label"].to_numpy()) for _, p in table.groupby("fold")]
    assert null[2] == pytest.approx(np.mean(scores), abs=1e-9)


@pytest.mark.parametrize("classifier", [DualSVM(), ElasticNet(), FilteredMDM()])
def test_a_class_that_is_missing_or_alone_is_named(classifier):
    x = np.random.default_rng(0).normal(size=(6, 16))
    with pytest.raises(ValueError, match=r"one class only \(label 1\); both are needed"):
        classifier.fit(x, np.ones(6, int))
    with pytest.raises(ValueError, match=r"a class has one training subject only.*splits\.folds"):
        classifier.fit(x, np.array([1, 0, 0, 0, 0, 0]))


def test_features_without_variance_give_the_base_rate():
    y = (np.arange(40) % 4 == 0).astype(int)
    for classifier in (DualSVM(), ElasticNet(), FilteredMDM()):
        probability = classifier.fit(np.ones((40, 5)), y).predict_proba(np.ones((3, 5)))[:, 1]
        np.testing.assert_allclose(probability, 0.25, atol=0.1)


def test_the_riemannian_model_wants_covariances():
    with pytest.raises(ValueError, match=r"riemann needs covariances; connectivity=correlation has none\. Choose"):
        built("riemann", "correlation")


# copies of a scan


@pytest.fixture
def copied() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise of twenty-four people, everybody scanned into the data twice: features, labels, groups."""
    x, groups = np.random.default_rng(5).normal(size=(24, 300)), np.tile(np.arange(24), 2)
    return np.r_[x, x], np.tile(np.arange(24) % 2, 2), groups


def test_copies_stand_on_one_side_of_an_inner_split(copied):
    _, y, groups = copied
    assert any(set(groups[fit]) & set(groups[watch]) for fit, watch in inner_folds(y))
    parts = inner_folds(y, groups)
    assert not any(set(groups[fit]) & set(groups[watch]) for fit, watch in parts)
    assert sorted(np.concatenate([watch for _, watch in parts])) == list(range(48))
    assert all(len(set(y[watch])) == 2 for _, watch in parts)


def test_an_inner_split_without_copies_is_the_one_without_groups(data):
    y = data[1]
    names = np.random.default_rng(0).permutation([f"sub-{k}" for k in range(40)])
    for one, other in zip(inner_folds(y), inner_folds(y, names)):
        np.testing.assert_array_equal(one[1], other[1])


CLASSIFIERS = [DualRidge(), DualLogistic(), DualSVM(), ElasticNet(screened=50), FilteredMDM()]


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda own: type(own).__name__)
def test_copies_make_no_model_sure_of_noise(copied, classifier):
    """A model that watches copies of those it learned from believes in noise; ours hears of the copies."""
    x, y, groups = copied
    naive, ours = (np.abs(classifier.fit(x, y, own).predict_proba(x)[:, 1] - 0.5).mean() for own in (None, groups))
    assert naive > 0.25
    assert ours < 0.75 * naive


def test_leaving_a_scan_out_leaves_its_copies_out(data):
    x, y, _ = data
    groups = np.r_[np.arange(38), 5, 5]  # three copies of one scan
    z = (x - x.mean(0)) / np.sqrt(((x - x.mean(0)) ** 2).sum(1).mean())
    held_out = DualRidge(penalties=(1.0,)).solve(z @ z.T, y[:, None], groups)[3][:, 0]
    for one in (np.array([5, 38, 39]), np.array([7])):
        rest = np.setdiff1d(np.arange(40), one)
        expected = Ridge(alpha=1.0).fit(z[rest], 2 * y[rest] - 1).predict(z[one])
        np.testing.assert_allclose(held_out[one], expected, atol=1e-7)


@pytest.mark.parametrize(("name", "measure"), [*MODELS, ("ridge", "correlation")])
def test_models_hear_of_copies(cohort_of, monkeypatch, name, measure):
    """What the cohort says about copies reaches the classifier, in the fit and in the null."""
    cohort = cohort_of(measure)
    cohort.participants.loc[[4, 8], "scan_group"] = "copied"
    model, heard = built(name, measure), []
    classifier = type(model._classifier())
    for method, place in (("fit", 2), ("decide_many", 3)):
        real = getattr(classifier, method)
        monkeypatch.setattr(
            classifier, method, lambda self, *args, real=real, k=place: heard.append(args[k]) or real(self, *args)
        )
    model.fit(cohort, np.arange(40)).decide_many(cohort, np.arange(40), cohort.labels[:40, None], np.arange(40, 60))
    for groups in heard:
        assert list(groups) == cohort.participants["scan_group"].tolist()[:40]
    assert len(heard) == 2
