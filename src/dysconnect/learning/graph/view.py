"""The data of one fold as graph networks see them: edges, held on the device or read, unfolded batch by batch."""

from dataclasses import dataclass

import numpy as np
import torch

from dysconnect.data.edges import Pairs, blocks
from dysconnect.data.measures import MEASURES
from dysconnect.models.cards import CARDS
from dysconnect.models.graph.layers import Dropout
from dysconnect.models.graph.views import edge_weights, unfold


@dataclass(frozen=True)
class Layout:
    """What stands where in the numbers that a network is given of a person, [E].

    First come the features: the edges, or the tangent vector with its diagonal. A graph is made of correlations, which
    the edges are; behind a tangent vector they follow, of the same covariance, for networks that use a graph. Where the
    graph is made of other connectomes (``graph.connectomes``), their edges follow instead, behind any features.

    Attributes
    ----------
    n_nodes : int
    tangent : bool
    density : float or None
        Share of edges in the graph; None for networks that use no graph.
    shared : bool
        Whether all have one graph, of the training mean's strongest edges (of other connectomes, that of the training
        controls); if not, each person has their own.
    drop : float
        Share of the edges of a graph that are left out of a step of training (Rong et al. 2020, arXiv:1907.10903).
    """

    n_nodes: int
    tangent: bool = False
    density: float | None = None
    shared: bool = False
    drop: float = 0.0

    @classmethod
    def of(cls, n_numbers: int, sections: dict) -> "Layout":
        """Layout of E numbers a person for the `model`, `graph` and `measure` of the configuration.

        Raises
        ------
        ValueError
            When no number of regions has as many.
        """
        spec, tangent = sections["graph"], MEASURES[sections["measure"]].tangent
        density = spec["density"] if uses_graph(sections) else None
        behind = density is not None and (tangent or bool(spec.get("connectomes")))
        n_nodes = nodes_of(n_numbers, tangent, behind)
        return cls(n_nodes, tangent, density, spec.get("edges", "own") == "mean", spec.get("drop", 0.0))

    @property
    def n_features(self) -> int:
        """How many of the numbers are features."""
        return len(Pairs(self.n_nodes, diagonal=self.tangent))

    @property
    def n_edges(self) -> int:
        """How many of the numbers, the last ones, are correlations of which a graph is made."""
        return len(Pairs(self.n_nodes))


def uses_graph(sections: dict) -> bool:
    """Whether the network passes messages on a graph."""
    return "graph" in CARDS[sections["model"]["name"]].needs


def nodes_of(n_numbers: int, tangent: bool = False, behind: bool = False) -> int:
    """Regions of E numbers a person: N (N - 1) / 2 edges, N (N + 1) / 2 of a tangent vector, maybe edges behind."""
    if behind:
        n_nodes = round(n_numbers**0.5 if tangent else (1 + (1 + 4 * n_numbers) ** 0.5) / 2)
        expected = len(Pairs(n_nodes, diagonal=tangent)) + len(Pairs(n_nodes))
    else:
        n_nodes = round(((1 + 8 * n_numbers) ** 0.5 + (-1 if tangent else 1)) / 2)
        expected = len(Pairs(n_nodes, diagonal=tangent))
    if n_nodes < 2 or expected != n_numbers:
        raise ValueError(f"{n_numbers} features are no upper triangle of a matrix, N (N - 1) / 2: 1, 3, 6, 10, 15, ...")
    return n_nodes


class View:
    """Subjects as standardised features and the weights of the edges in the graph, on the device batch by batch.

    Held there, they take half the size of the matrices; otherwise every batch is read and prepared anew, to the same
    numbers. A batch of matrices is unfolded from them once and shared by all models.

    Parameters
    ----------
    edges : array or FilledEdges, [n, E]
        Fisher z, or tangent vectors (see `Layout`), without NaN.
    mean, scale : array, [E]
        Of the training subjects.
    layout : Layout
    device : torch.device
    dtype : torch.dtype
    held : bool
        Keep everybody on the device.
    """

    def __init__(self, edges, mean, scale, layout: Layout, device, dtype=torch.float32, held=True):
        self.edges, self.layout, self.device, self.dtype = edges, layout, device, dtype
        self.mean, self.scale = (torch.as_tensor(numbers, device=device).to(dtype) for numbers in (mean, scale))
        everybodys = self.mean[None, -layout.n_edges :]
        self.shared = edge_weights(everybodys, layout.density) if layout.density and layout.shared else None
        self.drop = Dropout(layout.drop, 0)  # networks count theirs from 1
        self.held = self._hold() if held else None

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def nbytes(self) -> int:
        """Of what is held on the device."""
        return sum(numbers.nbytes for numbers in self.held or () if numbers is not None)

    def batch(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Node features and adjacency of some subjects, [B, N, N] each; with noise [B] edges are dropped.

        All models see the same edges, so that they go on sharing their graphs.
        """
        if self.held is None:
            numbers = torch.as_tensor(self.edges[rows.cpu().numpy()], device=self.device).to(self.dtype)
            return self._unfolded(*self._prepare(numbers), noise)
        return self._unfolded(*(None if edges is None else edges[rows] for edges in self.held), noise)

    def see(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Node features and adjacency, [B, N, N] each, of any numbers [B, E], through which gradients go."""
        return self._unfolded(*self._prepare(numbers))

    def _unfolded(self, x: torch.Tensor, graph: torch.Tensor | None, noise: torch.Tensor | None = None):
        n_nodes = self.layout.n_nodes
        graph = graph if self.shared is None else self.shared.expand(len(x), -1)
        graph = None if graph is None else unfold(self.drop(graph, noise), n_nodes)
        return unfold(x, n_nodes, self.layout.tangent), graph

    def _prepare(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        features, layout = slice(self.layout.n_features), self.layout
        x = (numbers[:, features] - self.mean[features]) / self.scale[features]
        own = layout.density is not None and self.shared is None
        return x, edge_weights(numbers[:, -layout.n_edges :], layout.density) if own else None

    def _hold(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        n, layout = len(self.edges), self.layout
        empty = lambda columns: torch.empty((n, columns), device=self.device, dtype=self.dtype)
        own = layout.density is not None and self.shared is None
        held = empty(layout.n_features), empty(layout.n_edges) if own else None
        for part in blocks(tuple(self.edges.shape)):
            numbers = torch.as_tensor(self.edges[part], device=self.device).to(self.dtype)
            for kept, prepared in zip(held, self._prepare(numbers)):
                if kept is not None:
                    kept[part] = prepared
        return held


def learn_scale(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the training subjects' edges, [E] each; a constant edge keeps its unit and says nothing.

    The edges [n, E] are read once, in blocks.

    Raises
    ------
    ValueError
        For NaN or infinity, with the subjects, and where no edge varies.
    """
    count, mean, squares = 0, np.zeros(edges.shape[1]), np.zeros(edges.shape[1])
    bad = np.zeros(len(edges), bool)
    for part in blocks(edges.shape):
        block = edges[part]
        bad[part] = ~np.isfinite(block).all(1)
        if bad.any():
            continue  # only to name them all
        shift = block.mean(0, dtype=float) - mean  # of Chan, Golub and LeVeque 1983
        squares += len(block) * block.var(0, dtype=float) + shift**2 * count * len(block) / (count + len(block))
        count += len(block)
        mean += shift * len(block) / count
    if bad.any():
        raise ValueError(
            f"NaN or infinity in the edges of {bad.sum()} training subjects, at rows "
            f"{np.flatnonzero(bad)[:5].tolist()}: leave them out, or fill what is missing."
        )
    scale = np.sqrt(squares / count)
    constant = scale < 1e-6
    if constant.all():
        raise ValueError(f"all {len(scale)} edges are constant over the training subjects: nothing can be learned.")
    return mean.astype(np.float32), np.where(constant, 1, scale).astype(np.float32)


def watched_rows(labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which training subjects are watched for early stopping, [n] bool: drawn by label, copies together.

    Parameters
    ----------
    labels : array, [n]
        The labels of this model, permuted ones where they are.
    groups : array, [n]
        Subjects with the same entry stand on the same side.
    fraction : float
        Share that is watched, at least one group of each class; 0 watches nobody.

    Raises
    ------
    ValueError
        If a class is missing or has too few subjects to fit on some and watch others.
    """
    rng = np.random.default_rng([seed, 5])
    names, first, group = np.unique(groups, return_index=True, return_inverse=True)
    watched = np.zeros(len(names), bool)
    for label, people in ((1, "patients"), (0, "controls")):
        candidates = np.flatnonzero(labels[first] == label)
        if len(candidates) < (2 if fraction else 1):
            needs = "two or more of each class, to fit on some and watch others" if fraction else "both classes"
            raise ValueError(
                f"{len(candidates)} {people} in the training fold: a graph network needs {needs}. "
                "Use fewer folds or more subjects."
            )
        watched[rng.permutation(candidates)[: max(1, round(fraction * len(candidates))) if fraction else 0]] = True
    return watched[group]
