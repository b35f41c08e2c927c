"""What the graph networks share: one product for many models, dropout that is a function of its seed, a read-out."""

import torch
from torch import Tensor, nn

GOLDEN, MIX_1, MIX_2 = -1640531527, -2048144789, -1028477387  # 2^32 / golden ratio; MurmurHash3's finalizer


class _Propagate(torch.autograd.Function):
    """``graph @ x`` for which many models that share the graphs are more columns of x, not copies of the graphs."""

    @staticmethod
    def forward(graph, x):
        return torch.bmm(graph, x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        graph, x = ctx.saved_tensors
        to_graph = torch.bmm(gradient, x.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        return to_graph, torch.bmm(graph.transpose(1, 2), gradient)

    @staticmethod
    def vmap(info, in_dims, graph, x):
        if in_dims[1] is None:
            x, models = x.expand(info.batch_size, *x.shape), 0
        else:
            models = in_dims[1]
        x = x.movedim(models, 0)
        if in_dims[0] is not None:
            return torch.matmul(graph.movedim(in_dims[0], 0), x), 0
        n_models, n_graphs, n_nodes, channels = x.shape
        columns = x.permute(1, 2, 0, 3).reshape(n_graphs, n_nodes, n_models * channels)
        return torch.bmm(graph, columns).view(n_graphs, n_nodes, n_models, channels), 2


def propagate(graph: Tensor, x: Tensor) -> Tensor:
    """Sum over neighbours, [B, N, N] @ [B, N, H]."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # for the backward pass too, which autocast does not see
        graph, x = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (graph, x))
    return _Propagate.apply(graph, x)


class _Attend(torch.autograd.Function):
    """Attention whose weights are never stored, for many models at once: models are more graphs of the batch.

    The backward pass computes the weights anew, which takes less time than writing and reading them.
    """

    @staticmethod
    def forward(query, key, value):
        return nn.functional.scaled_dot_product_attention(query, key, value)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        inputs = [saved.detach().requires_grad_() for saved in ctx.saved_tensors]
        with torch.enable_grad():
            output = nn.functional.scaled_dot_product_attention(*inputs)
        return torch.autograd.grad(output, inputs, gradient)

    @staticmethod
    def vmap(info, in_dims, *inputs):
        models = [
            part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
            for part, dim in zip(inputs, in_dims)
        ]
        return _Attend.apply(*(part.flatten(0, 1) for part in models)).unflatten(0, (info.batch_size, -1)), 0


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``softmax(Q K^T / sqrt(d)) V`` of every head, [B, heads, N, d] each -> same."""
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # for the backward pass too, which autocast does not see
        query, key, value = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (query, key, value))
    return _Attend.apply(query, key, value)


def scramble(bits: Tensor) -> Tensor:
    """Mix 32-bit integers so that neighbours have nothing in common (MurmurHash3's finalizer)."""
    bits = (bits ^ (bits >> 16)) * MIX_1
    bits = (bits ^ (bits >> 13)) * MIX_2
    return bits ^ (bits >> 16)


class Dropout(nn.Module):
    """Drop channels as a pure function of the seed, so that a model trained beside others drops what it drops alone.

    PyTorch's generator would give each model other numbers as soon as others are trained with it, or on another
    device. Here a channel is kept where ``hash(noise_b, layer, place) >= p``; `noise` is one number a graph, made
    from the model's seed, the step and the subject. Without `noise` (evaluation) nothing is dropped.

    Parameters
    ----------
    p : float
        Share that is dropped, in [0, 1); the others are multiplied by 1 / (1 - p).
    layer : int
        Different for every layer of a network.
    """

    def __init__(self, p: float, layer: int):
        super().__init__()
        self.p, self.layer = p, layer

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """Drop from x [B, ...] with noise [B] (int32) or None."""
        if noise is None or self.p == 0:
            return x
        places = torch.arange(x[0].numel(), dtype=torch.int32, device=x.device) * GOLDEN
        start = scramble(noise + self.layer * MIX_1)
        bits = scramble(start[:, None] ^ places) & 0x7FFFFFFF
        kept = (bits >= int(self.p * 2**31)).view(x.shape)
        return x * kept * (1 / (1 - self.p))


class ReadOut(nn.Module):
    """A few numbers of every region, side by side: ``logit = w . vec(H P) + b``; [B, N, H] -> [B].

    It keeps the regions apart, which served connectomes better than pooling (Cui et al. 2023, BrainGB,
    doi:10.1109/TMI.2022.3218745).
    """

    def __init__(self, n_nodes: int, hidden: int, readout: int):
        super().__init__()
        self.n_nodes = n_nodes
        self.keep = nn.Linear(hidden, readout)
        self.classify = nn.Linear(n_nodes * readout, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, [B], from hidden channels [B, N, H] or [B * N, H]."""
        return self.classify(self.keep(x).reshape(-1, self.n_nodes * self.keep.out_features))[:, 0]


class LinearPath(nn.Module):
    """A network and, beside it, a straight line from every edge to the logit: ``network(X, A) + sum_ij w_ij X_ij``.

    A graph network treats the profiles of all regions alike and reads a few numbers of each, which leaves it short of
    a linear model of all edges; with that model beside it, it has to learn only what the line leaves. w starts at zero.
    Where the network hides edges behind a mask (`edge_mask`), they are hidden here too.

    Parameters
    ----------
    network : Module
    n_nodes : int
    """

    def __init__(self, network: nn.Module, n_nodes: int):
        super().__init__()
        self.network, self.auxiliary = network, 0.0
        self.line = nn.Parameter(torch.zeros(n_nodes, n_nodes))

    def forward(self, x: Tensor, graph: Tensor | None = None, noise: Tensor | None = None) -> Tensor:
        """Logits, [B], from the standardised connectome and adjacency, both [B, N, N]."""
        logits = self.network(x, graph, noise)
        self.auxiliary, self.network.auxiliary = self.network.auxiliary, 0.0
        mask = self.network.edge_mask() if hasattr(self.network, "edge_mask") else 1
        return logits + x.flatten(1) @ (self.line * mask).flatten()


class NodeNetwork(nn.Module):
    """Two convolutions, each followed by LayerNorm, ReLU and dropout, and a read-out that keeps the regions apart.

    ``H1 = relu(LN(conv1(X, A)))``, ``H2 = relu(LN(conv2(H1, A)))``, ``logit = w . vec(H2 P) + b``; the subclass
    says what a convolution is.

    Parameters
    ----------
    n_nodes, hidden, readout : int
        N regions (and features of a region), hidden channels, numbers kept of a region.
    dropout : float
        On hidden channels, in training only.
    """

    auxiliary = 0.0

    def __init__(self, n_nodes: int, hidden: int, readout: int, dropout: float, **options):
        super().__init__()
        sizes = ((n_nodes, hidden), (hidden, hidden))
        self.convolutions = nn.ModuleList([self.convolution(*size, **options) for size in sizes])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.drop = nn.ModuleList([Dropout(dropout, 1), Dropout(dropout, 2)])
        self.read_out = ReadOut(n_nodes, hidden, readout)

    def forward(self, x: Tensor, graph: Tensor, noise: Tensor | None = None) -> Tensor:
        """Logits, [B], from node features [B, N, N] and adjacency [B, N, N]."""
        for convolution, norm, drop in zip(self.convolutions, self.norms, self.drop):
            x = drop(torch.relu(norm(convolution(x, graph))), noise)
        return self.read_out(x)


class SparseForward:
    """The same network on PyTorch Geometric's `edge_index`: same weights, same logits, in evaluation."""

    weighted = False

    def load_dense(self, network: NodeNetwork) -> "SparseForward":
        """Take the weights of a dense network."""
        self.load_state_dict(network.state_dict())
        return self.eval()

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Logits, [B], from a batch of graphs: features [B * N, N], edges [2, K] and their weights [K]."""
        edges = (edge_index, edge_weight) if self.weighted else (edge_index,)
        for convolution, norm in zip(self.convolutions, self.norms):
            x = torch.relu(norm(convolution(x, *edges)))
        return self.read_out(x)
