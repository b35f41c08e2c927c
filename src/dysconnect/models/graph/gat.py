"""Graph attention network, dense and its sparse twin."""

import torch
from torch import Tensor, nn
from torch_geometric.nn import DenseGATConv, GATConv

from dysconnect.models.graph.layers import NodeNetwork, SparseForward


def channels(n_in: int, n_out: int, heads: int) -> tuple[int, int]:
    """Sizes of a layer whose heads together have `n_out` channels."""
    if n_out % heads:
        raise ValueError(f"model.hidden={n_out} cannot be shared by model.heads={heads}; choose a multiple.")
    return n_in, n_out // heads


class GraphAttention(DenseGATConv):
    """PyTorch Geometric's dense layer, with heads before regions in memory, which is faster."""

    def __init__(self, n_in: int, n_out: int, heads: int):
        super().__init__(*channels(n_in, n_out, heads), heads=heads)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Attention over neighbours and itself: [B, N, F] and [B, N, N] -> [B, N, H]."""
        n_nodes = graph.shape[-1]
        x = self.lin(x).view(-1, n_nodes, self.heads, self.out_channels)
        sent, got = ((x * a).sum(-1).transpose(1, 2) for a in (self.att_src, self.att_dst))
        weight = nn.functional.leaky_relu(got[..., :, None] + sent[..., None, :], self.negative_slope)
        joined = (graph != 0) | torch.eye(n_nodes, dtype=torch.bool, device=graph.device)
        weight = weight.masked_fill(~joined[:, None], -torch.inf).softmax(-1)
        return (weight @ x.transpose(1, 2)).transpose(1, 2).flatten(2) + self.bias


class GAT(NodeNetwork):
    """Graph attention network: ``h_i = sum_j a_ij W x_j + b`` over i and its neighbours, for every head.

    ``a_ij = softmax_j(leaky_relu(u . W x_i + v . W x_j))``. Twice, with LayerNorm, ReLU and dropout between and
    the read-out of `NodeNetwork`, whose parameters it has; `heads` share the hidden channels. The weights of
    the edges do not count. Attention takes [B, heads, N, N] numbers.

    References
    ----------
    Veličković et al. (2018), arXiv:1710.10903.
    """

    convolution = GraphAttention


class SparseGAT(SparseForward, GAT):
    """`GAT` on `edge_index`, with PyTorch Geometric's `GATConv`."""

    @staticmethod
    def convolution(n_in: int, n_out: int, heads: int) -> GATConv:
        """PyTorch Geometric's layer."""
        return GATConv(*channels(n_in, n_out, heads), heads=heads)

    def load_dense(self, network: GAT) -> "SparseGAT":
        """Take the weights of a dense network."""
        state = self.state_dict()
        self.load_state_dict({name: value.view(state[name].shape) for name, value in network.state_dict().items()})
        return self.eval()
