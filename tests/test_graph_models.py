"""Every network gives what its formula gives, on dense graphs as on sparse ones, and drops nothing in evaluation."""

import numpy as np
import pytest
import torch

from dysconnect.models.cards import of_kind
from dysconnect.models.graph.brainnetcnn import EdgeToEdge
from dysconnect.models.graph.gat import SparseGAT
from dysconnect.models.graph.gcn import SparseGCN
from dysconnect.models.graph.gin import SparseGIN
from dysconnect.models.graph.layers import Dropout, propagate
from dysconnect.models.graph.sage import SparseGraphSAGE
from dysconnect.models.graph.views import adjacency, to_batch
from dysconnect.models.networks import build_network

N = 9
TWINS = {"gcn": SparseGCN, "gat": SparseGAT, "gin": SparseGIN, "sage": SparseGraphSAGE}

pytestmark = pytest.mark.usefixtures("one_torch_thread")
every_network = pytest.mark.parametrize("name", of_kind("graph"))


@pytest.fixture
def z() -> torch.Tensor:
    """Fisher z of five people, [5, 9, 9], positive and negative, zero diagonal."""
    values = torch.randn(5, N, N, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.1
    values = (values + values.transpose(1, 2)) / 2
    return values * (1 - torch.eye(N))


@pytest.fixture
def network(sections):
    """Build a network with random weights, norms included."""

    def build(name: str, seed: int = 0):
        torch.manual_seed(seed)
        own = build_network(sections(name)["model"], N)
        for parameter in own.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return own

    return build


def noise(seed: int = 1) -> torch.Tensor:
    """Seeds of the dropout of five graphs."""
    return torch.randint(2**31 - 1, (5,), generator=torch.Generator().manual_seed(seed)).to(torch.int32)


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


@pytest.mark.parametrize("name", TWINS)
def test_convolutions_follow_permuted_nodes(z, network, name):
    """With the read-out permuted too, order of the regions makes no difference."""
    own, order = network(name), torch.randperm(N, generator=torch.Generator().manual_seed(2))
    x = torch.randn(5, N, N, generator=torch.Generator().manual_seed(3))
    before = own(x, adjacency(z, 0.3))
    weight = own.read_out.classify.weight.data.reshape(N, -1)
    own.read_out.classify.weight.data = weight[order].reshape(1, -1)
    after = own(x[:, order], adjacency(z, 0.3)[:, order][:, :, order])
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


# two views


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("density", [0.1, 1.0])
def test_dense_and_sparse_give_the_same_logits(z, network, sections, name, density, isolated):
    if isolated:
        z[:, 4] = z[:, :, 4] = -0.5
        z[0] = -z[0].abs()  # a graph without any edge
    own = network(name)
    options = {key: value for key, value in sections(name)["model"].items() if key != "name"}
    twin = TWINS[name](N, **options).load_dense(own)
    graph = adjacency(z, density)
    assert (graph.sum(2) == 0).any() == isolated or density < 1
    batch = to_batch(z, graph)
    with torch.inference_mode():
        expected, sparse = own(z, graph), twin(batch.x, batch.edge_index, batch.edge_attr)
    assert sparse.shape == (5,)
    torch.testing.assert_close(sparse, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3


@pytest.mark.parametrize("name", TWINS)
def test_a_layer_is_pytorch_geometrics_dense_layer(z, network, name):
    """Ours overrides its forward only to multiply in another order; GIN, SAGE and GAT ignore edge weights."""
    layer, graph = network(name).convolutions[0], adjacency(z, 0.4)
    parent = type(layer).__mro__[1]
    assert parent.__module__.startswith("torch_geometric")
    edges = graph if name == "gcn" else (graph != 0).float()
    torch.testing.assert_close(layer(z, graph), parent.forward(layer, z, edges), atol=1e-5, rtol=1e-5)


# formulas


def test_edge_to_edge_is_the_sum_over_both_ends(z):
    layer, x = EdgeToEdge(N, 2, 3), torch.stack([z, z**2 + z], dim=1)
    x = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(4))  # not symmetric
    layer.bias.data.normal_()
    got = layer(x)
    i, j, o = 3, 7, 1
    expected = (layer.row[o] * x[2, :, i]).sum() + (layer.column[o] * x[2, :, :, j]).sum() + layer.bias[o]
    torch.testing.assert_close(got[2, o, i, j], expected, atol=1e-5, rtol=1e-5)
    assert got.shape == (5, 3, N, N)


def test_centres_are_orthonormal_and_stay_fixed(network, sections):
    own = build_network(sections("bnt")["model"], N)
    torch.testing.assert_close(own.centres @ own.centres.T, torch.eye(4), atol=1e-6, rtol=0)
    assert "centres" not in dict(own.named_parameters())


def test_the_clustering_loss_falls_as_clusters_become_clear(network):
    vague, clear = torch.zeros(1, N, 4), 20 * torch.eye(4)[torch.arange(N) % 4][None]
    loss = network("bnt")._divergence
    between = loss(0.3 * torch.randn(1, N, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(torch.cat([loss(vague), loss(clear)]), torch.zeros(2), atol=1e-5, rtol=0)
    assert between > 1e-3


def test_the_clustering_loss_is_in_use(z, network):
    own = network("bnt")
    own(z, None)
    assert own.auxiliary.shape == (5,)
    gradients = torch.autograd.grad(own.auxiliary.sum(), own.embed.weight)
    assert gradients[0].abs().max() > 1e-6


def test_the_mask_is_shared_symmetric_and_hides_edges_from_features_and_graph(z, network):
    own, graph = network("ibgnn"), adjacency(z, 1.0)
    torch.testing.assert_close(own.edge_mask(), own.edge_mask().T)
    own.mask.data[2, 5] = own.mask.data[5, 2] = -60
    changed = z.clone()
    changed[:, 2, 5] = changed[:, 5, 2] = 0.9
    other = graph.clone()
    torch.testing.assert_close(own(changed, other), own(z, graph), atol=1e-5, rtol=1e-5)
    sparse, full = own.edge_mask().mean(), torch.ones(())
    assert own.auxiliary < own.sparsity * full + own.entropy * np.log(2)
    assert 0 < sparse < 1


# the line beside a network


@every_network
def test_a_linear_path_adds_every_edge_to_the_logit(z, sections, name):
    torch.manual_seed(3)
    both = build_network({**sections(name)["model"], "linear": True}, N)
    graph = adjacency(z, 0.5)
    torch.testing.assert_close(both(z, graph), both.network(z, graph))  # the line starts at zero
    both.line.data.normal_()
    seen = z * both.network.edge_mask() if name == "ibgnn" else z
    expected = both.network(z, graph) + torch.einsum("bij,ij->b", seen, both.line)
    torch.testing.assert_close(both(z, graph), expected, atol=1e-5, rtol=1e-5)
    both.network(z, graph)
    own = torch.as_tensor(both.network.auxiliary)
    both(z, graph)
    torch.testing.assert_close(torch.as_tensor(both.auxiliary), own)


def test_a_masked_edge_is_hidden_from_the_line_too(z, sections):
    both = build_network({**sections("ibgnn")["model"], "linear": True}, N)
    both.line.data.normal_()
    both.network.mask.data[2, 5] = both.network.mask.data[5, 2] = -60
    changed, graph = z.clone(), adjacency(z, 1.0)
    changed[:, 2, 5] = changed[:, 5, 2] = 0.9
    torch.testing.assert_close(both(changed, graph), both(z, graph), atol=1e-5, rtol=1e-5)


def test_regions_with_the_same_profile_are_told_apart_by_their_place(sections):
    """The transformer has no other way to know them: without it, moved profiles would be the same person."""
    torch.manual_seed(0)
    own, x = build_network(sections("bnt")["model"], N), torch.randn(5, N, N)
    order = torch.randperm(N)
    assert (own(x[:, order]) - own(x)).abs().min() > 1e-4
    own.place.data.zero_()
    torch.testing.assert_close(own(x[:, order]), own(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_brainnetcnn_has_one_or_two_edge_layers(z, sections, layers):
    own = build_network({**sections("brainnetcnn")["model"], "layers": layers}, N)
    assert len(own.edges) == layers
    assert own(z).shape == (5,)


# dropout


@every_network
def test_dropout_needs_noise(z, network, name):
    """Evaluation has none, also after `train()`: it cannot be forgotten."""
    own, graph = network(name).train(), adjacency(z, 0.5)
    assert torch.equal(own(z, graph), own(z, graph))
    assert not torch.equal(own(z, graph, noise()), own(z, graph))
    assert torch.equal(own(z, graph, noise()), own(z, graph, noise()))
    assert not torch.equal(own(z, graph, noise(2)), own(z, graph, noise(1)))


def test_dropout_drops_its_share_everywhere_and_keeps_the_mean():
    x = torch.ones(400, 30, 20)
    seeds = torch.arange(400, dtype=torch.int32)
    got = Dropout(0.3, 1)(x, seeds)
    dropped = (got == 0).float()
    assert dropped.mean() == pytest.approx(0.3, abs=0.003)
    assert dropped.mean((1, 2)).std() == pytest.approx((0.21 / 600) ** 0.5, rel=0.2)
    assert dropped.mean(0).std() == pytest.approx((0.21 / 400) ** 0.5, rel=0.2)
    assert got.mean() == pytest.approx(1, abs=0.01)
    other = (Dropout(0.3, 2)(x, seeds) == 0).float()
    assert (dropped * other).mean() == pytest.approx(0.09, abs=0.003)  # layers know nothing of each other


def test_dropout_of_a_graph_depends_on_its_own_noise_alone():
    x, seeds = torch.ones(5, 8, 8), noise()
    assert torch.equal(Dropout(0.5, 1)(x, seeds)[3:4], Dropout(0.5, 1)(x[3:4], seeds[3:4]))


# many models


def test_propagation_of_many_models_is_that_of_each(z):
    x = torch.randn(3, 5, N, 4, generator=torch.Generator().manual_seed(5), requires_grad=True)
    graph = z.clone().requires_grad_()
    got = torch.func.vmap(propagate, in_dims=(None, 0))(graph, x)
    expected = torch.stack([graph @ own for own in x])
    torch.testing.assert_close(got, expected)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(6))
    for own, other in zip(
        torch.autograd.grad((got * weights).sum(), (graph, x)),
        torch.autograd.grad((expected * weights).sum(), (graph, x)),
    ):
        torch.testing.assert_close(own, other, atol=1e-5, rtol=1e-5)


# what cannot be


def test_unknown_names_and_options_are_named():
    with pytest.raises(
        ValueError, match=r"model='gnc' is unknown; known graph networks: gcn, gat, gin, sage, brainnetcnn"
    ):
        build_network({"name": "gnc"}, N)
    with pytest.raises(ValueError, match=r"options of model=gcn: .*depth"):
        build_network({"name": "gcn", "hidden": 2, "readout": 1, "dropout": 0.1, "depth": 3}, N)
    with pytest.raises(ValueError, match=r"model\.hidden=6 cannot be shared by model\.heads=4"):
        build_network({"name": "gat", "hidden": 6, "readout": 1, "dropout": 0.1, "heads": 4}, N)
