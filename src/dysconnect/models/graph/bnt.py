"""Brain Network Transformer: attention over regions and a read-out that clusters them."""

import torch
from torch import Tensor, nn

from dysconnect.models.graph.layers import Dropout, attend


class Attention(nn.Module):
    """A transformer layer over regions: attention and a perceptron, each added and normalised; [B, N, W] -> same."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, layer: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"model.width={width} cannot be shared by model.heads={heads}; choose a multiple.")
        self.heads = heads
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.drop = nn.ModuleList([Dropout(dropout, layer), Dropout(dropout, layer + 1)])

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Every region looks at all regions."""
        query, key, value = self.mix(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        seen = attend(query, key, value).transpose(1, 2).flatten(2)
        x = self.norms[0](x + self.drop[0](self.out(seen), noise))
        return self.norms[1](x + self.drop[1](self.perceptron(x), noise))


class BrainNetworkTransformer(nn.Module):
    """Attention over regions, clusters with orthonormal centres, and a perceptron on the clusters.

    ``Z0 = X V + R`` [N, W]; ``Z_l = TransformerLayer(Z_{l-1})``; ``P = softmax(Z_L E^T)`` [N, K] with fixed orthonormal
    centres E [K, W] (Gram-Schmidt of a random start, whence each region belongs clearly to few of them);
    ``Z_G = P^T Z_L`` [K, W]; ``logit = MLP(vec(leaky_relu(Z_G U)))`` with U [W, 8]. X [N, N] is the standardised
    connectome; the graph is not used.

    `auxiliary` is the clustering loss in use: ``c KL(T || P) / N`` with the sharpened assignment
    ``T_ik = (P_ik^2 / f_k) / sum_k'(P_ik'^2 / f_k')``, ``f_k = sum_i P_ik``, over the regions of a graph, T held fixed
    (Xie et al. 2016, arXiv:1511.06335). V is ours: it makes the width independent of the number of regions. So is R
    [N, W], a learned place of every region: the edges are centred over people, so that a profile no longer tells whose
    it is, and attention and clusters would take all regions for one another.

    Parameters
    ----------
    n_nodes, width, heads, layers, feedforward, clusters : int
        N regions; W channels of a region; heads and layers of attention; its perceptron; K clusters (at most W).
    dropout : float
        In attention layers, in training only.
    clustering : float
        c, weight of the clustering loss.

    References
    ----------
    Kan et al. (2022), arXiv:2210.06681.
    """

    auxiliary = 0.0
    numbers = 8  # kept of a cluster

    def __init__(self, n_nodes, width, heads, layers, feedforward, clusters, dropout, clustering):
        super().__init__()
        if clusters > width:
            raise ValueError(f"model.clusters={clusters} orthonormal centres do not fit model.width={width}.")
        self.clustering = clustering
        self.embed = nn.Linear(n_nodes, width)
        self.place = nn.Parameter(torch.randn(n_nodes, width))
        stack = [Attention(width, heads, feedforward, dropout, 2 * layer + 1) for layer in range(layers)]
        self.attention = nn.ModuleList(stack)
        centres = torch.linalg.qr(nn.init.xavier_uniform_(torch.empty(clusters, width)).T).Q.T
        self.register_buffer("centres", centres.contiguous())
        self.reduce = nn.Linear(width, self.numbers)
        self.norm = nn.LayerNorm(clusters * self.numbers)
        sizes = (clusters * self.numbers, 32, 1)
        self.classify = nn.Sequential(nn.Linear(*sizes[:2]), nn.LeakyReLU(), nn.Linear(*sizes[1:]))

    def forward(self, x: Tensor, graph: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Logits, [B], from the standardised connectome [B, N, N]."""
        x = self.embed(x) + self.place
        for layer in self.attention:
            x = layer(x, noise)
        scores = x @ self.centres.T
        assigned = scores.softmax(-1)
        self.auxiliary = self.clustering * self._divergence(scores)
        pooled = nn.functional.leaky_relu(self.reduce(assigned.transpose(1, 2) @ x)).flatten(1)
        return self.classify(self.norm(pooled))[:, 0]

    @staticmethod
    def _divergence(scores: Tensor) -> Tensor:
        """``KL(T || P) / N`` of every graph, from the logits of P: [B, N, K] -> [B]."""
        log_p = scores.log_softmax(-1)
        with torch.no_grad():
            sharp = 2 * log_p - log_p.exp().sum(1, keepdim=True).clamp(min=1e-12).log()
            log_t = sharp.log_softmax(-1)
        return (log_t.exp() * (log_t - log_p)).sum(-1).mean(-1)
