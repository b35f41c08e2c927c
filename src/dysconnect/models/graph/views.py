"""Views of one connectome: a dense adjacency for training, PyTorch Geometric's `Batch` for its ecosystem."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from dysconnect.data.edges import Pairs


def edge_weights(z: Tensor, density: float) -> Tensor:
    """Weighted graph of a connectome: the strongest positive correlations, [B, E] -> [B, E].

    Parameters
    ----------
    z : Tensor, [B, E]
        Fisher z.
    density : float
        Fraction of edges kept in each graph, in (0, 1].

    Returns
    -------
    Tensor
        Correlations (tanh z) of the kept edges, zero elsewhere; non-negative.
    """
    kept = max(1, round(density * z.shape[1]))
    if kept == z.shape[1]:
        return torch.tanh(z).clamp(min=0)
    threshold = z.topk(kept, dim=1).values[:, -1:]
    return torch.where((z >= threshold) & (z > 0), torch.tanh(z), 0.0)


def unfold(edges: Tensor, n_nodes: int, diagonal: bool = False) -> Tensor:
    """Symmetric matrices of their edges, [B, E] -> [B, N, N]; without a `diagonal` it is zero; see `unfolding`."""
    padded = edges if diagonal else torch.nn.functional.pad(edges, (0, 1))
    return padded.index_select(1, unfolding(n_nodes, edges.device, diagonal)).view(-1, n_nodes, n_nodes)


_PLACES: dict[tuple[int, torch.device, bool], Tensor] = {}


def unfolding(n_nodes: int, device: torch.device, diagonal: bool = False) -> Tensor:
    """Edge at each place of the matrix, [N * N]; a diagonal that is no edge points behind the last one."""
    if (n_nodes, device, diagonal) not in _PLACES:
        pairs = Pairs(n_nodes, diagonal=diagonal)
        place = pairs.matrix(np.arange(len(pairs), dtype=np.int32))
        if not diagonal:
            np.fill_diagonal(place, len(pairs))
        _PLACES[n_nodes, device, diagonal] = torch.as_tensor(place.ravel(), device=device)
    return _PLACES[n_nodes, device, diagonal]


def adjacency(z: Tensor, density: float) -> Tensor:
    """`edge_weights` as matrices: Fisher z [B, N, N] -> symmetric, zero diagonal, non-negative [B, N, N]."""
    n_nodes = z.shape[-1]
    rows, cols = (torch.tensor(side, device=z.device) for side in Pairs(n_nodes).ends)
    return unfold(edge_weights(z[:, rows, cols], density), n_nodes)


def to_batch(x: Tensor, graph: Tensor) -> Batch:
    """View dense graphs as PyTorch Geometric's: features [B, N, F] and adjacency [B, N, N] -> `Batch`."""
    graphs = []
    for features, weights in zip(x, graph):
        edge_index = weights.nonzero().T
        graphs.append(Data(x=features, edge_index=edge_index, edge_attr=weights[edge_index[0], edge_index[1]]))
    return Batch.from_data_list(graphs)
