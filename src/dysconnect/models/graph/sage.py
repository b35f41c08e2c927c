"""GraphSAGE, dense and its sparse twin."""

from torch import Tensor
from torch_geometric.nn import DenseSAGEConv, SAGEConv

from dysconnect.models.graph.layers import NodeNetwork, SparseForward, propagate


class SampleAndAggregate(DenseSAGEConv):
    """PyTorch Geometric's dense layer on unweighted edges; it multiplies by W before it sums, which is cheaper."""

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """``mean_{j in N(i)} x_j W1 + x_i W2 + b``: [B, N, F] and [B, N, N] -> [B, N, H]."""
        edges = (graph != 0).to(x.dtype)
        neighbours = propagate(edges, self.lin_rel(x)) / edges.sum(-1, keepdim=True).clamp(min=1)
        return neighbours + self.lin_root(x)


class GraphSAGE(NodeNetwork):
    """GraphSAGE with the mean of all neighbours: ``h_i = W1 mean_{j in N(i)} x_j + W2 x_i + b``.

    Twice, with LayerNorm, ReLU and dropout between and the read-out of `NodeNetwork`, whose parameters it has.
    N(i) are the regions joined to i by a kept edge; their weights do not count. Nothing is sampled, as a
    connectome is small.

    References
    ----------
    Hamilton, Ying and Leskovec (2017), arXiv:1706.02216.
    """

    convolution = SampleAndAggregate


class SparseGraphSAGE(SparseForward, GraphSAGE):
    """`GraphSAGE` on `edge_index`, with PyTorch Geometric's `SAGEConv`."""

    convolution = SAGEConv

    def load_dense(self, network: GraphSAGE) -> "SparseGraphSAGE":
        """Take the weights of a dense network."""
        names = (
            ("lin_rel.weight", "lin_l.weight"),
            ("lin_root.weight", "lin_r.weight"),
            ("lin_root.bias", "lin_l.bias"),
        )
        renamed = network.state_dict()
        for layer in range(len(self.convolutions)):
            for dense, sparse in names:
                renamed[f"convolutions.{layer}.{sparse}"] = renamed.pop(f"convolutions.{layer}.{dense}")
        self.load_state_dict(renamed)
        return self.eval()
