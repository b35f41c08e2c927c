"""A network that is added to ridge regression: it never loses by more than noise, and finds what ridge cannot see."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dysconnect.attribute.explainer import sparse_twin
from dysconnect.attribute.folds import fold_maps, held_out, randomised_twin
from dysconnect.attribute.gradients import mean_gradients
from dysconnect.data.edges import BorrowedCovariances, MissingRegions, Pairs
from dysconnect.learning.estimators import build
from dysconnect.learning.graph import inside, run, start
from dysconnect.learning.graph.classifier import GraphClassifier
from dysconnect.learning.graph.inside import inner_parts, weigh
from dysconnect.learning.graph.run import train_networks
from dysconnect.learning.graph.start import fit_start, inner_logits, recentred
from dysconnect.learning.saved import FoldModel, read_folds
from dysconnect.learning.seeds import rounds
from dysconnect.learning.splits import make_splits
from dysconnect.models.cards import of_kind
from dysconnect.models.dual import PENALTIES, DualRidge
from dysconnect.models.graph.views import to_batch
from dysconnect.plan.checks import check_asked
from dysconnect.plan.config import ConfigError
from dysconnect.report.prediction.tables import start_note
from dysconnect.report.prediction.words import learning_caption, memorised
from dysconnect.stimulate.networks import NetworkDecision
from dysconnect.train import cross_validate, permutation_null, write_trained

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TRAIN, TEST = np.arange(60), np.arange(60, 90)


def boosted(sections, name="gcn", measure="tangent", linear=False, **training) -> dict:
    """Sections of a network that starts from ridge regression."""
    own = sections(name, measure, **{"inner_folds": 3, "validation": 0, "epochs": 2, **training})
    return {**own, "model": {**own["model"], "start": "ridge", "linear": linear}}


def built(spec: dict):
    """The model of some sections."""
    return build(spec["model"], spec["measure"], spec["graph"], spec["training"])


@pytest.fixture(scope="module")
def noise():
    """Edges of sixty people that tell nothing, and twenty-four labellings."""
    rng = np.random.default_rng(3)
    common = rng.normal(size=(60, 8)) @ rng.normal(size=(8, 28)) / np.sqrt(8)
    edges = (0.2 + 0.2 * common + 0.05 * rng.normal(size=(60, 28))).astype(np.float32)
    return edges, np.column_stack([rng.permutation(np.arange(60) % 2) for _ in range(24)])


# the start


@pytest.mark.parametrize("measure", ["correlation", "tangent"])
def test_a_network_that_is_switched_off_leaves_ridge_regression(
    make_cohort, make_covariances, sections, monkeypatch, measure
):
    cohort = make_covariances(90, shift=0.4) if measure == "tangent" else make_cohort(90, planted=range(5), shift=0.6)
    monkeypatch.setattr(inside, "MOST", 0.0)
    model = built(boosted(sections, measure=measure)).fit(cohort, TRAIN, seed=1)
    ridge = build({"name": "ridge", "penalties": PENALTIES}, measure, {}, {}).fit(cohort, TRAIN)
    assert (model.gains_[0]["gamma"], model.gains_[0]["epochs"]) == (0, 0)
    assert model.gains_[0]["penalty"] == ridge.classifier_.penalty_
    np.testing.assert_allclose(model.predict(cohort, TEST), ridge.predict(cohort, TEST), rtol=0, atol=1e-10)


def test_inner_logits_are_those_of_ridge_regression_fitted_anew(noise):
    edges, labels = noise
    y, groups = labels[:, 0], np.arange(60)
    _, held_out, kernel = fit_start(edges, labels[:, :1], groups)
    ((fit, watch), *_) = parts = inner_parts(labels[:, :1], groups, 3)[0]
    got = inner_logits(kernel, y, parts, groups)
    ridge = DualRidge().fit(edges[fit], y[fit])
    expected = ridge.slope_ * ridge.decision_function(edges[watch]) + ridge.offset_
    np.testing.assert_allclose(got[watch, 0], expected, atol=1e-8)
    assert np.abs(got[fit, 0] - held_out[fit, 0]).max() > 1e-3
    own, across = recentred(kernel, fit, watch)
    np.testing.assert_allclose((own.sum(), np.trace(own)), (0, len(fit)), atol=1e-9)
    assert across.shape == (len(watch), len(fit))


def test_the_weight_is_that_of_largest_likelihood_and_a_gain():
    rng = np.random.default_rng(0)
    said, start = rng.normal(size=(2, 400, 3))
    said[:, 1], truth = -said[:, 1], np.array([0.0, 0.0, 0.6])
    labels = (rng.random((400, 3)) < 1 / (1 + np.exp(-start - truth * said))).astype(int)
    gain = weigh(said, start, labels)
    grid = np.linspace(0, 1, 101)
    best = [weigh_at(said[:, 2], start[:, 2], labels[:, 2], gamma) for gamma in grid]
    assert gain.gamma[2] == pytest.approx(grid[np.argmax(best)], abs=0.011)
    gained = (gain.likelihood - gain.without) / np.where(gain.error > 0, gain.error, 1)
    assert gained[2] > 2 and (gained[:2] < 2).all()
    assert (gain.likelihood >= gain.without - 1e-12).all()


def weigh_at(said, start, labels, gamma):
    """Mean log-likelihood with one weight."""
    return inside.log_likelihood(start + gamma * said, labels).mean()


# what it finds, and what it does not


def product(n: int, n_nodes: int, second: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Edges, and labels that are the sign of the product of the first and another of them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, n_nodes * (n_nodes - 1) // 2)).astype(np.float32)
    return 0.2 + 0.2 * z, (z[:, 0] * z[:, second] > 0).astype(int)


def test_a_product_of_two_edges_is_found_where_ridge_is_at_chance(sections):
    edges, y = product(400, 5, second=9)  # regions 0 and 1, 3 and 4: no region has both
    own = boosted(sections, "brainnetcnn", "correlation", lr=0.03, epochs=20, batch_size=30)
    own["model"] |= {"layers": 1, "edge_channels": 6, "graph_channels": 16, "dropout": 0.0}
    networks = train_networks(edges[:240], y[:240, None], np.arange(240), np.array([1]), own)
    assert roc_auc_score(y[240:], networks.decide(edges[240:])[:, 0]) > 0.8
    assert abs(roc_auc_score(y[240:], networks.start.logits(edges[240:])[:, 0]) - 0.5) < 0.12
    (gain,) = networks.gains
    assert gain["gamma"] > 0.1 and gain["network_auc"] > 0.75 and abs(gain["ridge_auc"] - 0.5) < 0.1


def test_a_linear_difference_is_left_to_ridge_regression(sections):
    """Three cohorts: the network hardly counts, and the score is that of ridge regression."""
    rng, gammas, both, ridge = np.random.default_rng(5), [], [], []
    for seed in range(3):
        y = np.arange(300) % 2
        edges = rng.normal(0.2, 0.2, (300, 45)).astype(np.float32)
        edges[:, :8] += 0.12 * y[:, None]
        own = boosted(sections, measure="correlation", lr=1e-3)
        networks = train_networks(edges[:100], y[:100, None], np.arange(100), np.array([seed]), own)
        gammas.append(networks.gains[0]["gamma"])
        both.append(roc_auc_score(y[100:], networks.decide(edges[100:])[:, 0]))
        ridge.append(roc_auc_score(y[100:], networks.start.logits(edges[100:])[:, 0]))
    assert min(ridge) > 0.75 and np.mean(gammas) < 0.5
    assert abs(np.mean(both) - np.mean(ridge)) < 0.002


@pytest.mark.parametrize("linear", [True, False])
def test_labels_that_mean_nothing_give_networks_at_chance(noise, sections, monkeypatch, linear):
    """Unless leave-one-out logits of all training people, made once, are what they learn from: these know too much."""
    monkeypatch.setattr(start, "DualRidge", partial(DualRidge, penalties=(0.3,)))
    monkeypatch.setattr(DualRidge, "calibrate", lambda ridge, held_out, y: (3.0, 0.0))  # sure of itself
    right = inner_aucs(noise, sections, linear)
    assert abs(right.mean() - 0.5) < 3 * right.std(ddof=1) / np.sqrt(len(right))
    monkeypatch.setattr(inside, "inner_logits", made_once)
    wrong = inner_aucs(noise, sections, linear)
    assert wrong.mean() < 0.5 - 3 * wrong.std(ddof=1) / np.sqrt(len(wrong))


def inner_aucs(noise, sections, linear):
    """AUC of the network alone on people left out of inner folds, one a labelling."""
    edges, labels = noise
    own = boosted(sections, "gcn", "correlation", linear, lr=0.03, epochs=1, batch_size=6, inner_folds=5, stacked=True)
    networks = train_networks(edges, labels, np.arange(60), np.full(labels.shape[1], 7), own)
    return np.array([gain["network_auc"] for gain in networks.gains])


def made_once(kernel, y, parts, groups):
    """Leave-one-out logits of everybody, for every inner fold the same."""
    held_out = start.DualRidge().solve(recentred(kernel, np.arange(len(y)), [0])[0], y[:, None], groups)[3]
    return np.repeat(3 * held_out, len(parts), axis=1)


# tangent vectors, dense and sparse


@pytest.mark.parametrize("edges", ["own", "mean"])
@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage"])
def test_tangent_vectors_dense_and_sparse(make_covariances, sections, name, edges):
    cohort = make_covariances(30, shift=0.4)
    spec = sections(name, "tangent", epochs=1, validation=0)
    spec["graph"] = {"density": 0.3, "edges": edges, "drop": 0.2}
    model = built(spec).fit(cohort, np.arange(20), seed=1)
    networks, given = model.networks_, model.input_.of(cohort, np.arange(20, 30))
    assert given.shape == (10, 8 * 8)
    x, graph = networks.view().see(torch.as_tensor(given))
    batch = to_batch(x, graph)
    with torch.no_grad():
        sparse = sparse_twin(networks)(batch.x, batch.edge_index, batch.edge_attr)
    np.testing.assert_allclose(sparse.numpy(), networks.decide(given)[:, 0], atol=1e-5)
    vectors = model.input_.represented_.transform(cohort, np.arange(20, 30))
    mean, scale = networks.mean[:36], networks.scale[:36]
    expected = Pairs(8, diagonal=True).matrix((vectors - mean) / scale)
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-5)
    assert bool((graph == graph[0]).all()) == (edges == "mean")
    assert (graph > 0).sum((1, 2)).unique().tolist() == [2 * round(0.3 * 28)]


def test_the_reference_is_that_of_the_training_people(make_covariances, sections):
    cohort, spec = make_covariances(30), sections("gcn", "tangent", epochs=1, validation=0)
    model = built(spec).fit(cohort, np.arange(20))
    values = cohort.values.copy()
    values[20:] *= 2
    same = built(spec).fit(replace(cohort, values=values), np.arange(20))
    np.testing.assert_array_equal(same.predict(cohort, np.arange(20)), model.predict(cohort, np.arange(20)))
    expected = build({"name": "ridge", "penalties": PENALTIES}, "tangent", {}, {}).fit(cohort, np.arange(20))
    space, other = (own.space_.whitening_ for own in (model.input_.represented_, expected.represented_))
    np.testing.assert_array_equal(space, other)


@pytest.mark.parametrize("name", of_kind("graph"))
def test_every_network_takes_tangent_vectors_and_a_start(make_covariances, sections, name):
    cohort, spec = make_covariances(24, shift=0.5), boosted(sections, name, inner_folds=2, epochs=1, batch_size=12)
    model = built(spec).fit(cohort, np.arange(20))
    predicted = model.predict(cohort, np.arange(20, 24))
    assert np.isfinite(predicted).all() and model.edge_weights() is None
    matrices = cohort.pairs.matrix(cohort.values[20:24])
    np.testing.assert_allclose(model.predict_matrices(matrices), predicted, atol=1e-6)


def test_covariances_on_another_scale_are_the_same(make_covariances, sections):
    cohort, spec = make_covariances(60, shift=0.4), boosted(sections)
    large = replace(cohort, values=cohort.values * 1000)
    one, other = (built(spec).fit(own, np.arange(40)).predict(own, np.arange(40, 60)) for own in (cohort, large))
    np.testing.assert_allclose(other, one, atol=2e-3)


# training and files


def trained(cohort, sections, folder=None, **training):
    """Cross-validation of a boosted network whose weight is forced, on two folds."""
    splits = make_splits(cohort.participants, folds=2, repeats=1, seed=0)
    spec = boosted(sections, seeds=2, **training)
    return splits, spec, cross_validate(cohort, splits, "gcn", spec, folder)


@pytest.fixture
def counting(monkeypatch):
    """Networks that count whether they gain or not."""
    real = inside.weigh
    monkeypatch.setattr(
        inside, "weigh", lambda *given: (own := real(*given))._replace(gamma=own.gamma + 0.7, error=own.error * 0 - 9)
    )


def test_what_is_written_and_restored(make_covariances, sections, tmp_path, counting):
    cohort = make_covariances(40, shift=0.3)
    splits, spec, own = trained(cohort, sections)
    null = permutation_null(
        cohort, splits, spec | {"training": spec["training"] | {"graph_permutations": 2}}, own.first_repeat
    )
    assert len(null) == 3 and null["auc"].between(0, 1).all()
    kinds = {name: tmp_path / f"{name}.tsv" for name in ("predictions", "history", "search", "start", "null")}
    write_trained(own, null, cohort, kinds | {name: tmp_path / f"{name}.npz" for name in ("model", "folds")})
    table = pd.read_csv(kinds["start"], sep="\t")
    assert table[["repeat", "fold", "seed"]].to_numpy().tolist() == [[0, f, s] for f in (0, 1) for s in (0, 1)]
    assert (
        (table["gamma"] >= 0.7).all() and table["epochs"].between(1, 2).all() and table["penalty"].isin(PENALTIES).all()
    )
    history = pd.read_csv(kinds["history"], sep="\t")
    assert history["val_loss"].notna().all() and (history.groupby(["fold", "seed"])["kept"].sum() == 1).all()
    rows = history[history["kept"]].set_index(["fold", "seed"])["epoch"] + 1
    np.testing.assert_array_equal(rows, table["epochs"])
    for kept in read_folds(tmp_path / "folds.npz", cohort, splits):
        model = own.folds[kept.repeat, kept.fold, kept.seed]
        np.testing.assert_allclose(kept.model.predict(cohort, kept.test), model.predict(cohort, kept.test), atol=1e-5)
        assert kept.model.networks_.gamma[0] == model.networks_.gamma[0] > 0


def test_side_by_side_is_one_after_the_other(make_covariances, sections, counting):
    cohort, labels = make_covariances(40, shift=0.3), np.random.default_rng(1).integers(0, 2, (40, 3))
    given = built(boosted(sections)), cohort, np.arange(40), labels
    alone, together = (
        built(boosted(sections, stacked=how, precision="float64")).fit_labels(*given[1:], 3)[1] for how in (False, True)
    )
    np.testing.assert_allclose(together.gamma, alone.gamma, atol=1e-5)
    numbers = given[0].fit_labels(*given[1:], 3)[0].of(cohort, np.arange(40))
    np.testing.assert_allclose(together.decide(numbers), alone.decide(numbers), atol=1e-5)


def test_finished_inner_folds_survive_an_interruption(make_covariances, sections, tmp_path, monkeypatch):
    cohort, calls = make_covariances(40, shift=0.3), []
    _, _, whole = trained(cohort, sections)
    real = run.watch_stack

    def stopping(*given):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(run, "watch_stack", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(cohort, sections, tmp_path)
    _, _, again = trained(cohort, sections, tmp_path)
    assert len(calls) == 5 + (2 * 2 + 1) * 3 - 4  # four of the fifteen inner trainings were there
    pd.testing.assert_frame_equal(again.predictions, whole.predictions)


def test_inner_folds_choose_a_search_and_calibrate_a_network_without_a_start(make_cohort, sections):
    cohort = make_cohort(60, planted=range(5), shift=1.5)
    spec = sections("gcn", inner_folds=3, validation=0, epochs=4, search={"lr": [1e-6, 1e-2], "weight_decay": []})
    model = built(spec).fit(cohort, np.arange(50))
    assert [row["chosen"] for row in model.search_] == [False, True] and model.gains_ == []
    assert model.networks_.gamma[0] > 0 and model.networks_.start is None
    assert rounds(spec) == 2 * 3 + 1
    watched = spec | {"training": spec["training"] | {"validation": 0.2}}
    assert np.isnan(built(watched).fit(cohort, np.arange(50)).networks_.bias).sum() == 0  # as it was before
    assert (built(watched).fit(cohort, np.arange(50)).networks_.gamma == 1).all()


def test_the_face_of_scikit_learn(make_cohort):
    cohort = make_cohort(40, planted=range(5), shift=1.5)
    options = {"start": "ridge", "linear": False, "hidden": 4, "readout": 2}
    model = GraphClassifier(options=options, epochs=1, inner_folds=3, random_state=0)
    model.fit(cohort.values[:30], cohort.labels[:30])
    assert roc_auc_score(cohort.labels[30:], model.decision_function(cohort.values[30:])) > 0.7


# what cannot be


def test_people_who_cannot_be_learned_from_are_named(make_covariances, sections):
    cohort, spec = make_covariances(24), boosted(sections)
    alone = replace(cohort, participants=cohort.participants.assign(label=0))
    with pytest.raises(ValueError, match="a class has no training subject"):
        built(spec).fit(alone, np.arange(20))
    values = cohort.values.copy()
    values[3, 5] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in the covariances of 1 training subjects \(sub-003\)"):
        built(spec).fit(replace(cohort, values=values), np.arange(20))
    off = spec | {"training": spec["training"] | {"inner_folds": 0}}
    with pytest.raises(ValueError, match=r"model\.start=ridge .* set training\.inner_folds to 2 or more"):
        built(off).fit(cohort, np.arange(20))


def test_twelve_people_of_one_site_and_regions_that_some_lack(make_covariances, sections):
    cohort = make_covariances(16, shift=0.5)
    missing = cohort.missing.copy()
    missing[12:14, 2] = True
    cohort = replace(cohort, missing=missing, participants=cohort.participants.assign(site="A"))
    model = built(boosted(sections, inner_folds=5)).fit(cohort, np.arange(12))
    assert np.isfinite(model.predict(cohort, np.arange(12, 16))).all()


def test_regions_that_are_lent_vary_as_those_that_were_seen(make_covariances):
    """By the regression of the mean all who lack a region have the same function of the others there."""
    cohort = make_covariances(60, n_nodes=10)
    missing = np.broadcast_to(np.isin(np.arange(10), [2, 5]), (60, 10))
    lent, mean = (
        kind().fit(cohort.values, cohort.missing, cohort.pairs) for kind in (BorrowedCovariances, MissingRegions)
    )
    filled, plain = (own.transform(cohort.values, missing) for own in (lent, mean))
    assert np.linalg.eigvalsh(cohort.pairs.matrix(filled)).min() > 0
    lost = cohort.pairs.touching(missing[0])
    np.testing.assert_allclose(filled[:, ~lost], cohort.values[:, ~lost], rtol=1e-6)
    assert not (np.abs(filled - cohort.values) < 1e-6).all(1).any()  # nobody lends to himself
    shares = [
        residuals(own, cohort, missing[0]) / residuals(cohort.values, cohort, missing[0]) for own in (filled, plain)
    ]
    assert 0.6 < shares[0] < 1.7 and shares[1] < 0.2


def residuals(values, cohort, missing):
    """Spread over people of what regions have to do with each other once the others are regressed out."""
    matrices = cohort.pairs.matrix(values.astype(float))
    own, others = np.flatnonzero(missing), np.flatnonzero(~missing)
    cross = matrices[:, own][:, :, others]
    slope = np.linalg.solve(matrices[:, others][:, :, others], cross.swapaxes(1, 2))
    return (matrices[:, own[0], own[1]] - (cross @ slope)[:, 0, 1]).std()


def test_a_pattern_of_missing_regions_tells_a_tangent_network_nothing(make_covariances, sections, tmp_path):
    """Three in five patients lack two regions, and no control; a graph of the completed covariances is the hardest."""
    scores = []
    for seed in range(4):
        cohort = make_covariances(120, n_nodes=10, seed=seed)
        lacking = (cohort.labels == 1) & (np.random.default_rng(seed).random(120) < 0.6)
        cohort = replace(cohort, missing=lacking[:, None] & np.isin(np.arange(10), [3, 8]))
        model = built(boosted(sections, lr=0.01, epochs=4)).fit(cohort, np.arange(80), seed=seed)
        scores.append(roc_auc_score(cohort.labels[80:], model.predict(cohort, np.arange(80, 120))))
    assert abs(np.mean(scores) - 0.5) < 0.12
    restored = built(boosted(sections)).load_state({**model.state(), "n_nodes": np.array(10)})
    assert np.isfinite(restored.predict(cohort, np.arange(80, 120))).all()  # stand-ins lend
    restored.remember(cohort, np.arange(80))
    expected = model.predict(cohort, np.arange(80, 120))
    np.testing.assert_allclose(restored.predict(cohort, np.arange(80, 120)), expected, atol=1e-5)


def test_no_edge_of_a_tangent_network_is_edited_or_pretrained(make_covariances, sections):
    from dysconnect.learning.graph.pretrain import pretrain
    from dysconnect.stimulate.networks import refuse_unasked

    edges = {"model": {"name": "floor"}, "connectivity": {"measure": "correlation"}}
    known = {"floor": edges, "gcn": edges | {"connectivity": {"measure": "tangent"}}}
    cohort = {"evaluate": {"floor": "floor"}, "localize": {"attribution": None}, "stimulate": {"experiment": "gcn"}}
    with pytest.raises(ConfigError, match=r"stimulate\.experiment: gcn sees the tangent space.* as correlation_ridge"):
        check_asked(cohort, known, [*known], ())
    with pytest.raises(ValueError, match=r"no single edges .* correlation_ridge"):
        refuse_unasked(boosted(sections))
    with pytest.raises(ValueError, match=r"the tangent space has none\. Choose connectivity=correlation"):
        pretrain(make_covariances(24), boosted(sections), 0)


def test_maps_of_a_tangent_network_are_those_of_its_decision(make_covariances, sections):
    cohort, train, test = make_covariances(30, shift=0.5), np.arange(20), np.arange(20, 30)
    model = built(boosted(sections)).fit(cohort, train)
    fold = held_out(cohort, FoldModel(model, train, test, 0, 0, 0))
    maps = fold_maps(fold)
    assert [*maps] == ["gradient", "haufe"] and maps["gradient"].shape == maps["haufe"].shape == (28,)
    assert fold_maps(randomised_twin(fold, 1)).keys() == maps.keys()


def test_the_gradient_of_a_network_with_a_start_is_that_of_the_whole_decision(make_cohort, sections, counting):
    cohort = make_cohort(40, planted=range(5))
    model = built(boosted(sections, measure="correlation", precision="float64")).fit(cohort, np.arange(30))
    people, networks = cohort.values[30:], model.networks_
    assert networks.gamma[0] > 0
    step = np.zeros(people.shape[1])
    step[7] = 1e-4
    slope = (networks.decide(people + step) - networks.decide(people - step)).mean(0) / 2e-4
    np.testing.assert_allclose(mean_gradients(networks, people)[:, 7], slope, rtol=0.01)
    decision = NetworkDecision(networks)
    np.testing.assert_allclose(decision.decision_function(people), networks.decide(people)[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("train", "held", "epoch"),
    [
        ([0.7, 0.3, 0.05, 0.01], [0.7, 0.5, 0.6, 0.9], 2),
        ([0.7, 0.3, 0.05, 0.01], [0.7, 0.5, 0.45, 0.44], None),  # it learns, and others gain
        ([0.7, 0.6, 0.5, 0.4], [0.7, 0.8, 0.9, 1.0], None),  # it gets worse, and has not learned by heart
        ([0.7, 0.3, 0.05, 0.01], [np.nan] * 4, 2),  # nobody was watched
    ],
)
def test_what_memorised_means(train, held, epoch):
    history = pd.DataFrame(
        {"repeat": 0, "fold": 0, "seed": 0, "epoch": range(4), "train_loss": train, "val_loss": held}
    )
    assert memorised(history) == epoch
    assert ("Memorised: by epoch 3" in learning_caption("gcn", history)) == (epoch is not None)


def test_what_the_report_says_of_networks_that_are_off():
    table = pd.DataFrame({"gamma": [0, 0, 0.25, 0.5], "network_auc": [0.5, 0.5, 0.6, 0.6], "ridge_auc": [0.8] * 4})
    text = start_note({"gcn": table, "ridge": table.iloc[:0]})
    assert text.startswith(" GCN: in 2 of 4 folds") and "switched off" in text and "0.25 to 0.50" in text
    assert "an AUC of 0.55, ridge regression 0.80" in text and "ridge:" not in text
