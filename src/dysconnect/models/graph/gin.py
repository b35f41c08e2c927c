"""Graph isomorphism network, dense and its sparse twin."""

from torch import Tensor, nn
from torch_geometric.nn import DenseGINConv, GINConv

from dysconnect.models.graph.layers import NodeNetwork, SparseForward, propagate


def perceptron(n_in: int, n_out: int) -> nn.Sequential:
    """The function that GIN learns on every sum: two linear layers and a ReLU."""
    return nn.Sequential(nn.Linear(n_in, n_out), nn.ReLU(), nn.Linear(n_out, n_out))


class Isomorphism(DenseGINConv):
    """PyTorch Geometric's dense layer on unweighted edges; it multiplies by W1 before it sums, which is cheaper."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__(perceptron(n_in, n_out), train_eps=True)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """``relu(((1 + eps) x_i + sum_{j in N(i)} x_j) W1 + b1) W2 + b2``: [B, N, F], [B, N, N] -> [B, N, H]."""
        first, relu, second = self.nn
        x = nn.functional.linear(x, first.weight)
        return second(relu(propagate((graph != 0).to(x.dtype), x) + (1 + self.eps) * x + first.bias))


class GIN(NodeNetwork):
    """Graph isomorphism network: ``h_i = MLP((1 + eps) x_i + sum_{j in N(i)} x_j)`` with a learned eps.

    Twice, with LayerNorm, ReLU and dropout between and the read-out of `NodeNetwork`, whose parameters it has.
    N(i) are the regions joined to i by a kept edge; their weights do not count.

    References
    ----------
    Xu et al. (2019), arXiv:1810.00826.
    """

    convolution = Isomorphism


class SparseGIN(SparseForward, GIN):
    """`GIN` on `edge_index`, with PyTorch Geometric's `GINConv`."""

    @staticmethod
    def convolution(n_in: int, n_out: int) -> GINConv:
        """PyTorch Geometric's layer."""
        return GINConv(perceptron(n_in, n_out), train_eps=True)
