"""Graph convolutional network on connectomes: a dense form for training, a sparse twin for the ecosystem."""

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import DenseGCNConv, GCNConv


def adjacency(z: Tensor, density: float) -> Tensor:
    """Weighted graph of a connectome: the strongest positive correlations, [B, N, N] -> [B, N, N].

    Parameters
    ----------
    z : Tensor, [B, N, N]
        Fisher z, zero diagonal.
    density : float
        Fraction of edges kept in each graph, in (0, 1].

    Returns
    -------
    Tensor
        Correlations (tanh z) of the kept edges, zero elsewhere; symmetric, zero diagonal, non-negative.
    """
    n_nodes = z.shape[-1]
    rows, cols = torch.triu_indices(n_nodes, n_nodes, offset=1, device=z.device)
    edges = z[:, rows, cols]
    kept = max(1, round(density * edges.shape[1]))
    threshold = edges.topk(kept, dim=1).values[:, -1:]
    weights = torch.where((edges >= threshold) & (edges > 0), torch.tanh(edges), 0.0)
    graph = torch.zeros_like(z)
    graph[:, rows, cols] = weights
    return graph + graph.transpose(1, 2)


class DenseGCN(nn.Module):
    """Two graph convolutions, LayerNorm, and a read-out that keeps the regions apart.

    ``H1 = relu(LN(A_hat X W1))``, ``H2 = relu(LN(A_hat H1 W2))``, ``logit = w . vec(H2 P)`` with
    ``A_hat = D^-1/2 (A + I) D^-1/2``; X are the rows of the standardised connectome. The read-out
    concatenates a few numbers of every region, which served connectomes better than pooling (Cui et al. 2022).

    Parameters
    ----------
    n_nodes, n_features, hidden, readout : int
        N regions, F features a region, hidden channels, numbers kept a region.
    dropout : float
        On hidden channels, in training only.

    References
    ----------
    Kipf and Welling (2017), arXiv:1609.02907; Cui et al. (2022) BrainGB, doi:10.1109/TMI.2022.3218745.
    """

    conv = DenseGCNConv

    def __init__(self, n_nodes: int, n_features: int, hidden: int, readout: int, dropout: float):
        super().__init__()
        self.n_nodes = n_nodes
        self.convolutions = nn.ModuleList([self.conv(n_features, hidden), self.conv(hidden, hidden)])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.keep = nn.Linear(hidden, readout)
        self.classify = nn.Linear(n_nodes * readout, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Logits, [B], from node features [B, N, F] and adjacency [B, N, N]."""
        for convolution, norm in zip(self.convolutions, self.norms):
            x = self.dropout(torch.relu(norm(convolution(x, graph))))
        return self.read_out(x)

    def read_out(self, x: Tensor) -> Tensor:
        """Logits, [B], from hidden channels of the regions, [B, N, H] or [B * N, H]."""
        return self.classify(self.keep(x).reshape(-1, self.n_nodes * self.keep.out_features))[:, 0]


class SparseGCN(DenseGCN):
    """The same network on PyTorch Geometric's `edge_index`: same parameter names, same weights, same logits."""

    conv = GCNConv

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        """Logits, [B], from a batch of graphs: features [B * N, F], edges [2, K] and their weights [K]."""
        for convolution, norm in zip(self.convolutions, self.norms):
            x = self.dropout(torch.relu(norm(convolution(x, edge_index, edge_weight))))
        return self.read_out(x)


def to_batch(x: Tensor, graph: Tensor) -> Batch:
    """View dense graphs as PyTorch Geometric's: features [B, N, F] and adjacency [B, N, N] -> `Batch`."""
    graphs = []
    for features, weights in zip(x, graph):
        edge_index = weights.nonzero().T
        graphs.append(Data(x=features, edge_index=edge_index, edge_attr=weights[edge_index[0], edge_index[1]]))
    return Batch.from_data_list(graphs)
