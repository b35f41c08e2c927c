"""Both views of a graph give the same logits; the network learns what is there, the same way each time."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dysconnect.models.gcn import DenseGCN, SparseGCN, adjacency, to_batch
from dysconnect.train.graph_trainer import GraphClassifier, choose_device

N = 9
SIZES = {"n_nodes": N, "n_features": N, "hidden": 6, "readout": 3, "dropout": 0.4}


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def z() -> torch.Tensor:
    """Fisher z of five people, [5, 9, 9], positive and negative, zero diagonal."""
    values = torch.randn(5, N, N, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.1
    values = (values + values.transpose(1, 2)) / 2
    return values * (1 - torch.eye(N))


def dense(seed: int = 0) -> DenseGCN:
    """A network with random weights, norms included, in evaluation."""
    torch.manual_seed(seed)
    network = DenseGCN(**SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


# graphs


@pytest.mark.parametrize("density", [0.1, 0.25, 0.4])
def test_adjacency_keeps_the_strongest_share(z, density):
    graph = adjacency(z, density)
    kept = round(density * 36)
    rows, cols = np.triu_indices(N, 1)
    for own, strength in zip(graph.numpy()[:, rows, cols], z.numpy()[:, rows, cols]):
        assert (own > 0).sum() == kept
        assert set(np.flatnonzero(own)) == set(np.argsort(-strength)[:kept])
        np.testing.assert_allclose(own[own > 0], np.tanh(strength[own > 0]), rtol=1e-6)


def test_adjacency_is_symmetric_non_negative_and_without_diagonal(z):
    graph = adjacency(z, 1.0)
    assert torch.equal(graph, graph.transpose(1, 2))
    assert (graph >= 0).all()
    assert (graph.diagonal(dim1=1, dim2=2) == 0).all()
    assert torch.equal(graph > 0, z > 0)  # all positive edges and no negative one


def test_adjacency_of_permuted_nodes_is_permuted(z):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    permuted = adjacency(z[:, order][:, :, order], 0.3)
    assert torch.equal(permuted, adjacency(z, 0.3)[:, order][:, :, order])


def test_convolutions_follow_permuted_nodes(z):
    """With the read-out permuted too, order of the regions makes no difference."""
    network, order = dense(), torch.randperm(N, generator=torch.Generator().manual_seed(2))
    x = torch.randn(5, N, N, generator=torch.Generator().manual_seed(3))
    before = network(x, adjacency(z, 0.3))
    weight = network.classify.weight.data.reshape(N, -1)
    network.classify.weight.data = weight[order].reshape(1, -1)
    after = network(x[:, order], adjacency(z, 0.3)[:, order][:, :, order])
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


# two views


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_dense_and_sparse_give_the_same_logits(z, density, isolated):
    if isolated:
        z[:, 4] = z[:, :, 4] = -0.5
        z[0] = -z[0].abs()  # a graph without any edge
    network = dense()
    twin = SparseGCN(**SIZES).eval()
    twin.load_state_dict(network.state_dict())
    graph = adjacency(z, density)
    assert (graph.sum(2) == 0).any() == isolated or density < 1
    batch = to_batch(z, graph)
    with torch.inference_mode():
        expected, own = network(z, graph), twin(batch.x, batch.edge_index, batch.edge_attr)
    assert own.shape == (5,)
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3


def test_dense_convolution_follows_its_formula(z):
    """``A_hat X W + b`` with ``A_hat = D^-1/2 (A + I) D^-1/2``."""
    layer, graph = dense().convolutions[0], adjacency(z, 0.5)
    loops = graph + torch.eye(N)
    scale = loops.sum(2).rsqrt()
    expected = (scale[:, :, None] * loops * scale[:, None]) @ z @ layer.lin.weight.T + layer.bias
    torch.testing.assert_close(layer(z, graph), expected, atol=1e-5, rtol=1e-5)


def test_dropout_is_off_in_evaluation_and_on_in_training(z):
    network, graph = dense(), adjacency(z, 0.5)
    assert torch.equal(network(z, graph), network(z, graph))
    network.train()
    assert not torch.equal(network(z, graph), network(z, graph))


# training


@pytest.fixture(scope="module")
def planted():
    """Edges of 120 people, ten of which differ strongly, and labels."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    edges = rng.normal(0.2, 0.2, (120, 66))
    edges[:, :10] += 0.35 * y[:, None]
    return edges.astype(np.float32), y


def trained(planted, sections, seed=0, **training) -> GraphClassifier:
    """Fit on sixty-four people and watch sixteen."""
    own = sections("gcn", **{"epochs": 25, "patience": 8, **training})
    classifier = GraphClassifier(own["model"], own["graph"], own["training"], 12)
    return classifier.fit(*planted, np.arange(64), np.arange(64, 80), seed)


@pytest.fixture(scope="module")
def classifier(planted, sections):
    """A network fitted once."""
    return trained(planted, sections)


def test_a_planted_difference_is_found_in_others(planted, classifier):
    edges, y = planted
    assert roc_auc_score(y[80:], classifier.decide(edges[80:])) > 0.9


def test_same_seed_same_network_other_seed_other_network(planted, classifier, sections):
    edges = planted[0][80:]
    np.testing.assert_allclose(trained(planted, sections).decide(edges), classifier.decide(edges), rtol=1e-6)
    assert np.abs(trained(planted, sections, seed=1).decide(edges) - classifier.decide(edges)).max() > 1e-3


def test_training_leaves_the_global_random_state_alone(planted, sections):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(planted, sections, seed=2)
    assert torch.equal(torch.rand(3), expected)


def test_subjects_that_are_neither_fitted_nor_watched_make_no_difference(planted, classifier, sections):
    edges, y = planted
    changed = edges.copy()
    changed[80:] = 100
    own = trained((changed, np.r_[y[:80], 1 - y[80:]]), sections)
    np.testing.assert_allclose(own.decide(edges[80:]), classifier.decide(edges[80:]), rtol=1e-5)


def test_the_watched_choose_the_epoch_and_set_no_scale(planted, classifier):
    edges, _ = planted
    np.testing.assert_allclose(classifier.mean_, edges[:64].mean(0), rtol=1e-5)
    losses = [row["val_loss"] for row in classifier.history_]
    assert [row["epoch"] for row in classifier.history_] == list(range(len(losses)))
    assert losses[classifier.best_epoch_] == pytest.approx(min(losses), abs=2e-4)
    assert np.isfinite([row["train_loss"] for row in classifier.history_]).all()


def test_the_weights_kept_are_those_of_the_best_epoch(planted, classifier):
    edges, y = planted
    logits = torch.as_tensor(classifier.decide(edges[64:80]))
    share = torch.as_tensor(y[:64].mean())
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=(1 - share) / share)(logits, torch.as_tensor(y[64:80]).float())
    assert float(loss) == pytest.approx(classifier.history_[classifier.best_epoch_]["val_loss"], rel=1e-4)


def test_training_stops_when_patience_ends(planted, sections):
    classifier = trained(planted, sections, epochs=60, patience=4)
    best = np.argmin([row["val_loss"] for row in classifier.history_])
    assert len(classifier.history_) < 60
    assert len(classifier.history_) - 1 - classifier.best_epoch_ == 4
    assert classifier.best_epoch_ <= best  # gains below the tolerance do not count


def test_a_second_fit_starts_a_new_history(planted, sections):
    own = sections("gcn", epochs=3, patience=5)
    classifier = GraphClassifier(own["model"], own["graph"], own["training"], 12)
    for _ in range(2):
        classifier.fit(*planted, np.arange(64), np.arange(64, 80), 0)
    assert [row["epoch"] for row in classifier.history_] == [0, 1, 2]


def test_state_restores_the_classifier(planted, classifier):
    edges = planted[0][80:]
    again = GraphClassifier(classifier.model, classifier.graph, classifier.training, 12).load_state(classifier.state())
    np.testing.assert_allclose(again.decide(edges), classifier.decide(edges), rtol=1e-6)


def test_a_learning_rate_that_explodes_says_what_to_do(planted, sections):
    with pytest.raises(ValueError, match=r"validation loss was never finite; lower training\.lr \(now 1e\+30\)"):
        trained(planted, sections, lr=1e30)


# devices


def test_a_gpu_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device=cuda, but torch sees no GPU\. Set training\.device=auto"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_an_unknown_device_is_refused_with_the_key():
    with pytest.raises(ValueError, match=r"training\.device=gpu.*(auto|cpu|cuda)"):
        choose_device("gpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_agree(planted, sections, classifier):
    edges, y = planted
    on_gpu = trained(planted, sections, device="cuda")
    assert roc_auc_score(y[80:], on_gpu.decide(edges[80:])) > 0.9
    moved = GraphClassifier(classifier.model, classifier.graph, classifier.training, 12).load_state(classifier.state())
    moved.network_.to("cuda")
    np.testing.assert_allclose(moved.decide(edges[80:]), classifier.decide(edges[80:]), atol=1e-4)
