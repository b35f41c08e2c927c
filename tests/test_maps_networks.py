"""Maps of graph networks: gradients of the trained network, checked against captum, and their inference."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dysconnect import attribute as learned
from dysconnect.attribute.explainer import explain, sparse_twin
from dysconnect.attribute.folds import fold_maps, held_out, randomised_twin
from dysconnect.attribute.gradients import (
    edge_masks,
    integrated_gradients,
    mean_gradients,
    path_gradients,
    randomised,
)
from dysconnect.attribute.null import attribution_null
from dysconnect.learning.graph.run import train_networks
from dysconnect.learning.saved import read_folds, save_folds
from dysconnect.learning.splits import make_splits
from dysconnect.models.graph.views import edge_weights, to_batch, unfold
from dysconnect.models.networks import build_network
from dysconnect.train import cross_validate

pytestmark = pytest.mark.usefixtures("one_torch_thread")
SPEC = {
    "nuisance": ["age", "site"], "permutations": 99, "alpha": 0.05, "max_missing": 0.1, "stability_top": 8, "seed": 0,
    "ridge_penalty": 1.0, "screening_splits": 2, "screened": 6, "attribution_permutations": 0, "explained": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def train(make_cohort, sections):
    """Train networks of a model on a cohort with five planted edges: networks, edges, sections."""

    def build(name, n=3, density=0.3, linear=False, **training):
        cohort = make_cohort(n=48, n_nodes=10, planted=range(5), shift=1.5)
        own = sections(name, validation=0, epochs=6, batch_size=8, **training)
        own = {**own, "model": {**own["model"], "linear": linear}, "graph": {"density": density}}
        labels = np.repeat(cohort.labels[:, None], n, axis=1)
        return train_networks(cohort.values, labels, np.arange(48), np.arange(n), own), cohort.values, own

    return build


def forward(networks, own, k=0):
    """The k-th network as a plain function of edges [B, E]."""
    network = build_network(own["model"], networks.n_nodes)
    network.load_state_dict({name: value[k] for name, value in networks.fitted.weights.items()})
    network.eval()
    mean, scale = torch.as_tensor(networks.mean), torch.as_tensor(networks.scale)

    def decide(z):
        graph = unfold(edge_weights(z, own["graph"]["density"]), networks.n_nodes)
        return network(unfold((z - mean) / scale, networks.n_nodes), graph)

    return decide


@pytest.mark.parametrize("name", ["gcn", "gat", "brainnetcnn", "ibgnn"])
def test_gradients_equal_finite_differences(train, name):
    networks, edges, _ = train(name, n=2, precision="float64", density=1.0)
    mean, step = mean_gradients(networks, edges[:3]), 1e-3
    for e in (0, 7, 44):
        up, down = edges[:3].astype(np.float64), edges[:3].astype(np.float64)
        up[:, e] += step
        down[:, e] -= step
        slope = (networks.decide(up) - networks.decide(down)).mean(0) / (2 * step)
        np.testing.assert_allclose(mean[:, e], slope, rtol=0.02, atol=2e-3)


def test_integrated_gradients_sum_to_the_difference(train):
    """Completeness, where the graph has all edges and so nothing jumps; float64."""
    networks, edges, _ = train("gcn", density=1.0, precision="float64")
    baseline = edges[::2].mean(0)
    found = integrated_gradients(networks, edges[:6], baseline, steps=300).sum(2)
    difference = networks.decide(edges[:6]) - networks.decide(baseline[None])
    np.testing.assert_allclose(found.T, difference, atol=0.03 * np.abs(difference).max())


@pytest.mark.parametrize("linear", [False, True])
def test_integrated_gradients_equal_captums(train, linear):
    captum = pytest.importorskip("captum.attr")
    networks, edges, own = train("gcn", linear=linear)
    baseline = edges[::2].mean(0)
    ours = integrated_gradients(networks, edges[:5], baseline, steps=16)
    for k in range(3):
        peer = captum.IntegratedGradients(forward(networks, own, k)).attribute(
            torch.as_tensor(edges[:5]), torch.as_tensor(baseline)[None], n_steps=16, method="riemann_middle"
        )
        np.testing.assert_allclose(ours[k], peer.detach().numpy(), atol=1e-4)


def test_many_networks_at_once_are_the_same_as_one_by_one(train):
    networks, edges, _ = train("gat", n=3)
    together = replace(networks, chunk=3)
    baseline = edges.mean(0)
    for function in (mean_gradients, lambda own, z: path_gradients(own, z, baseline, 3)):
        np.testing.assert_allclose(function(together, edges[:5]), function(networks, edges[:5]), atol=2e-5)
        alone = np.concatenate([function(networks.take(k), edges[:5]) for k in range(3)])
        np.testing.assert_allclose(alone, function(networks, edges[:5]), atol=2e-5)


def test_the_gradient_of_a_linear_model_is_its_weights(train):
    """A network whose own part is silenced leaves the straight line."""
    networks, edges, _ = train("gcn", n=1, linear=True)
    weights = {name: value.clone() for name, value in networks.fitted.weights.items()}
    weights["network.read_out.classify.weight"].zero_()
    silent = replace(networks, fitted=replace(networks.fitted, weights=weights))
    rows, cols = np.triu_indices(10, k=1)
    line = weights["line"][0].numpy()
    expected = (line + line.T)[rows, cols] / networks.scale
    np.testing.assert_allclose(mean_gradients(silent, edges[:4])[0], expected, rtol=1e-4, atol=1e-6)


def test_randomised_networks_have_other_weights_and_the_same_shapes(train):
    networks, edges, _ = train("gcn", n=2, linear=True)
    other = randomised(networks, 0)
    for name, value in networks.fitted.weights.items():
        assert other.fitted.weights[name].shape == value.shape
    for name in ("line", "network.convolutions.0.lin.weight"):
        assert not torch.allclose(other.fitted.weights[name], networks.fitted.weights[name])
    again = randomised(networks, 0)
    np.testing.assert_array_equal(mean_gradients(other, edges[:3]), mean_gradients(again, edges[:3]))


def test_only_ibgnn_has_a_mask(train):
    networks, _, own = train("ibgnn", n=2)
    masks = edge_masks(networks)
    network = build_network(own["model"], 10)
    network.load_state_dict({name: value[1] for name, value in networks.fitted.weights.items()})
    rows, cols = np.triu_indices(10, k=1)
    np.testing.assert_allclose(masks[1], network.edge_mask().detach().numpy()[rows, cols], atol=1e-6)
    assert edge_masks(train("gcn", n=1)[0]) is None


@pytest.mark.parametrize("name", ["gcn", "sage"])
def test_the_sparse_twin_decides_alike_and_can_be_explained(train, name):
    networks, edges, _ = train(name, n=1, linear=False)
    z = torch.as_tensor(edges[:2])
    x = unfold((z - torch.as_tensor(networks.mean)) / torch.as_tensor(networks.scale), 10)
    one = to_batch(x, unfold(edge_weights(z, 0.3), 10))
    twin = sparse_twin(networks)(one.x, one.edge_index, one.edge_attr).detach().numpy()
    np.testing.assert_allclose(twin, networks.decide(edges[:2])[:, 0], atol=1e-4)
    found = explain(networks, edges[:2], epochs=5, seed=1)
    in_graph = (edge_weights(z, 0.3) > 0).any(0).numpy()
    assert found.shape == (45,) and (found[~in_graph] == 0).all() and (found[in_graph] > 0).any()
    np.testing.assert_array_equal(found, explain(networks, edges[:2], epochs=5, seed=1))


def test_a_network_without_a_sparse_twin_says_so(train):
    networks, edges, _ = train("ibgnn", n=1)
    with pytest.raises(ValueError, match="ibgnn has no sparse twin"):
        explain(networks, edges[:1])


@pytest.fixture(scope="module")
def crossed(make_cohort, sections, tmp_path_factory):
    """A network beside a linear model, cross-validated: cohort, splits, models of the folds, sections."""
    cohort = make_cohort(n=48, n_nodes=12, planted=range(5), shift=1.5)
    own = sections("gcn", validation=0, epochs=10, batch_size=8, seeds=2, lr=0.001)
    own = {**own, "model": {**own["model"], "linear": True}}
    splits = make_splits(cohort.participants, 2, 1, 0)
    found = cross_validate(cohort, splits, "gcn", own)
    path = tmp_path_factory.mktemp("maps") / "folds.npz"
    save_folds(found.folds, cohort, path)
    return cohort, splits, path, own, found


def test_saved_networks_predict_what_was_predicted(crossed):
    cohort, splits, path, _, found = crossed
    kept = read_folds(path, cohort, splits)
    assert [(fold.repeat, fold.fold, fold.seed) for fold in kept] == [(0, f, s) for f in range(2) for s in range(2)]
    for fold in kept:
        table = found.predictions.query("fold == @fold.fold and seed == @fold.seed").set_index("participant_id")
        names = cohort.participants["participant_id"].to_numpy()[fold.test]
        np.testing.assert_allclose(fold.model.predict(cohort, fold.test), table.loc[names, "probability"], atol=1e-5)


def test_no_map_of_a_network_sees_the_label_of_those_held_out(crossed):
    cohort, splits, path, _, _ = crossed
    fold = read_folds(path, cohort, splits)[0]
    labels = cohort.labels.copy()
    labels[fold.test] = 1 - labels[fold.test]
    turned = replace(cohort, participants=cohort.participants.assign(label=labels))
    before, after = (fold_maps(held_out(one, fold)) for one in (cohort, turned))
    assert before.keys() == {"integrated_gradients", "gradient", "haufe"}
    for method in before:
        np.testing.assert_array_equal(before[method], after[method])


def test_a_trained_network_finds_what_a_random_one_does_not(crossed):
    cohort, splits, path, _, _ = crossed
    trained, random = np.zeros(66), np.zeros(66)
    for fold in read_folds(path, cohort, splits):
        one = held_out(cohort, fold)
        trained += fold_maps(one)["gradient"]
        random += fold_maps(randomised_twin(one, fold.fold))["gradient"]
    assert len(set(np.abs(trained).argsort()[-5:]) & set(range(5))) >= 4
    assert len(set(np.abs(random).argsort()[-5:]) & set(range(5))) <= 2
    assert (trained[:5] > 0).all()  # planted up in patients


def test_maps_and_inference_of_a_network(crossed):
    cohort, splits, path, own, _ = crossed
    null = pd.DataFrame({"permutation": range(20), "auc": np.r_[0.8, np.full(19, 0.5)]})
    spec = {**SPEC, "attribution_permutations": 3, "explained": 1}
    maps = learned.attribute(cohort, splits, null, path, own, spec)
    columns = ["integrated_gradients", "gradient", "haufe", "explainer", "p_screening", "screened", "p_attribution"]
    assert list(maps.edges)[2:] == columns
    assert maps.told["methods"]["gradient"]["stability"]["maps"] == 4
    assert maps.told["methods"]["explainer"]["sanity"] is None  # too slow to be done over and over
    assert maps.told["attribution"]["permutations"] == 3
    assert maps.edges["p_attribution"].between(0.25, 1).all()


def test_an_untested_network_is_withheld_but_screened(crossed):
    cohort, splits, path, own, _ = crossed
    untested = pd.DataFrame({"permutation": pd.Series(dtype=int), "auc": pd.Series(dtype=float)})
    maps = learned.attribute(cohort, splits, untested, path, own, {**SPEC, "attribution_permutations": 19})
    assert maps.told["verdict"] == "withheld: not tested against permuted labels"
    assert list(maps.edges) == ["region_a", "region_b", "p_screening", "screened"]
    assert maps.edges["screened"].sum() == pytest.approx(6)


def test_a_null_of_maps_has_a_p_for_every_edge_and_the_same_each_time(make_cohort, sections):
    own = sections("gcn", validation=0, epochs=2, batch_size=16)
    cohort = make_cohort(n=40, n_nodes=8, planted=range(3))
    splits = make_splits(cohort.participants, 2, 1, 0)
    found, again = (attribution_null(cohort, splits, own, 4, 0) for _ in range(2))
    np.testing.assert_array_equal(found.p_fwer, again.p_fwer)
    assert found.p_fwer.shape == (28,) and found.max_null.shape == (4,)
    assert (found.p_fwer >= 0.2).all() and (found.z > 0).any()
    assert attribution_null(cohort, splits, own, 4, 1).p_fwer.shape == (28,)
