"""A graph network behind one edge mask that all people share."""

import torch
from torch import Tensor, nn

from dysconnect.models.graph.layers import Dropout, ReadOut, propagate


class IBGNN(nn.Module):
    """Message passing on a connectome of which one learned, shared and sparse mask shows a part.

    ``M = sigmoid(T + T^T)`` [N, N] for everybody; ``X' = M * X``, ``A' = M * A``;
    ``H1 = relu(LN((D^-1 A' X' + X') W1 + b1))``, ``H2 = relu(LN((D^-1 A' H1 + H1) W2 + b2))`` with the degrees D of A;
    ``logit = w . vec(H2 P) + b``. X [N, N] is the standardised connectome, A [N, N] the strongest positive
    correlations. The mask hides an edge in the features and in the graph, so that what it hides is not seen.

    `auxiliary` draws the mask to few edges and to 0 or 1: ``s mean(M) + e mean(H(M))`` with the entropy H of a coin.
    The published model trains without the mask, then learns it, then trains again; here all is learned at once.

    Parameters
    ----------
    n_nodes, hidden, readout : int
        N regions, hidden channels, numbers kept of a region.
    dropout : float
        On hidden channels, in training only.
    sparsity, entropy : float
        s and e.

    References
    ----------
    Cui et al. (2022), arXiv:2207.00813.
    """

    auxiliary = 0.0

    def __init__(self, n_nodes: int, hidden: int, readout: int, dropout: float, sparsity: float, entropy: float):
        super().__init__()
        self.sparsity, self.entropy = sparsity, entropy
        self.mask = nn.Parameter(torch.full((n_nodes, n_nodes), 1.0) + 0.01 * torch.randn(n_nodes, n_nodes))
        self.linear = nn.ModuleList([nn.Linear(n_nodes, hidden), nn.Linear(hidden, hidden)])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.drop = nn.ModuleList([Dropout(dropout, 1), Dropout(dropout, 2)])
        self.read_out = ReadOut(n_nodes, hidden, readout)

    def forward(self, x: Tensor, graph: Tensor, noise: Tensor | None = None) -> Tensor:
        """Logits, [B], from the standardised connectome and adjacency, both [B, N, N]."""
        shown = self.edge_mask()
        self.auxiliary = (
            self.sparsity * shown.mean()
            + self.entropy * torch.special.entr(torch.stack([shown, 1 - shown]).clamp(1e-6, 1)).sum(0).mean()
        )
        degree = graph.sum(-1, keepdim=True).clamp(min=1)
        x, graph = x * shown, graph * shown
        for linear, norm, drop in zip(self.linear, self.norms, self.drop):
            x = nn.functional.linear(x, linear.weight)
            x = drop(torch.relu(norm(propagate(graph, x) / degree + x + linear.bias)), noise)
        return self.read_out(x)

    def edge_mask(self) -> Tensor:
        """The mask, [N, N], symmetric, in (0, 1)."""
        return torch.sigmoid(self.mask + self.mask.T)
