"""BrainNetCNN: convolutions whose neighbours are the edges that share a region."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from dysconnect.models.graph.layers import Dropout

SLOPE = 0.33  # of the leaky ReLU, as published


class EdgeToEdge(nn.Module):
    """``out_o(i, j) = sum_ck r_ock x_c(i, k) + sum_ck s_ock x_c(k, j) + b_o``: [B, C, N, N] -> [B, O, N, N].

    One product a direction and a broadcast sum, instead of convolutions that repeat their output N times.
    """

    def __init__(self, n_nodes: int, n_in: int, n_out: int):
        super().__init__()
        bound = (n_nodes * n_in) ** -0.5
        self.row = nn.Parameter(torch.empty(n_out, n_in, n_nodes).uniform_(-bound, bound))
        self.column = nn.Parameter(torch.empty(n_out, n_in, n_nodes).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """Cross-shaped filter of every edge."""
        rows = over_rows(x, self.row).transpose(1, 2) + self.bias[:, None]
        columns = self.column.flatten(1) @ x.flatten(1, 2)
        return rows[..., :, None] + columns[..., None, :]


def over_rows(x: Tensor, weight: Tensor) -> Tensor:
    """``sum_ck w_ock x_c(i, k)``: [B, C, N, N] and [O, C, N] -> [B, N, O], without a copy of x."""
    return (x @ weight.permute(1, 2, 0)).sum(1)


class BrainNetCNN(nn.Module):
    """Edge-to-edge, edge-to-node and node-to-graph convolutions of the connectome, then a perceptron.

    ``H1 = s(E2E(X))`` and, of two layers, ``H2 = s(E2E(H1))`` [C, N, N]; ``H3 = s(E2N(H2))`` [D, N] with
    ``E2N: sum_ck w_dck x_c(i, k)``; ``H4 = s(LN(N2G(H3)))`` [G] with ``N2G: sum_di v_gdi h_d(i)``;
    ``logit = w . H4 + b``; s is a leaky ReLU of slope 0.33, with dropout in training. X [N, N] is the standardised
    connectome; the graph is not used. LayerNorm is ours.

    Parameters
    ----------
    n_nodes, layers, edge_channels, node_channels, graph_channels : int
        N regions, one or two edge-to-edge layers, C, D and G channels.
    dropout : float
        Of H3 and H4, in training only.

    References
    ----------
    Kawahara et al. (2017), doi:10.1016/j.neuroimage.2016.09.046.
    """

    auxiliary = 0.0

    def __init__(self, n_nodes, layers, edge_channels, node_channels, graph_channels, dropout):
        super().__init__()
        sizes = [1] + layers * [edge_channels]
        self.edges = nn.ModuleList([EdgeToEdge(n_nodes, *size) for size in pairwise(sizes)])
        bound = (n_nodes * edge_channels) ** -0.5
        self.to_node = nn.Parameter(torch.empty(node_channels, edge_channels, n_nodes).uniform_(-bound, bound))
        self.node_bias = nn.Parameter(torch.zeros(node_channels))
        self.to_graph = nn.Linear(node_channels * n_nodes, graph_channels)
        self.norm = nn.LayerNorm(graph_channels)
        self.drop = nn.ModuleList([Dropout(dropout, 1), Dropout(dropout, 2)])
        self.classify = nn.Linear(graph_channels, 1)

    def forward(self, x: Tensor, graph: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Logits, [B], from the standardised connectome [B, N, N]."""
        edges = x[:, None]
        for layer in self.edges:
            edges = nn.functional.leaky_relu(layer(edges), SLOPE)
        nodes = nn.functional.leaky_relu(over_rows(edges, self.to_node) + self.node_bias, SLOPE)
        whole = self.norm(self.to_graph(self.drop[0](nodes, noise).flatten(1)))
        return self.classify(self.drop[1](nn.functional.leaky_relu(whole, SLOPE), noise))[:, 0]
