"""Graph convolutional network, dense and its sparse twin."""

from torch import Tensor
from torch_geometric.nn import DenseGCNConv, GCNConv

from dysconnect.models.graph.layers import NodeNetwork, SparseForward, propagate


class GraphConvolution(DenseGCNConv):
    """PyTorch Geometric's dense layer; graphs that many models share are multiplied once for all of them."""

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """``D^-1/2 (A + I) D^-1/2 X W + b``: [B, N, F] and [B, N, N] -> [B, N, H]."""
        scale = (graph.sum(-1, keepdim=True) + 1).rsqrt()
        x = scale * self.lin(x)
        return scale * (propagate(graph, x) + x) + self.bias


class GCN(NodeNetwork):
    """Two graph convolutions with LayerNorm, and a read-out that keeps the regions apart.

    ``H1 = relu(LN(A_hat X W1 + b1))``, ``H2 = relu(LN(A_hat H1 W2 + b2))``, ``logit = w . vec(H2 P) + b`` with
    ``A_hat = D^-1/2 (A + I) D^-1/2``; X [N, N] are the rows of the standardised connectome, A [N, N] the
    strongest positive correlations. Parameters as in `NodeNetwork`.

    References
    ----------
    Kipf and Welling (2017), arXiv:1609.02907; Cui et al. (2023) BrainGB, doi:10.1109/TMI.2022.3218745.
    """

    convolution = GraphConvolution


class SparseGCN(SparseForward, GCN):
    """`GCN` on `edge_index`, with PyTorch Geometric's `GCNConv`."""

    convolution, weighted = GCNConv, True
