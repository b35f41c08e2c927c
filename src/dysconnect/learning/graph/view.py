"""The data of one fold as graph networks see them: edges, held on the device or read, unfolded batch by batch."""

from dataclasses import dataclass

import numpy as np
import torch

from dysconnect.data.edges import MissingRegions, blocks
from dysconnect.models.graph.views import edge_weights, unfold


@dataclass(frozen=True)
class FilledEdges:
    """Edges of some subjects of a cohort, [n, E], filled in when a slice or rows of them are asked for.

    Attributes
    ----------
    values : array or StoredEdges, [S, E]
        Of the cohort.
    missing : array of bool, [S, N]
    rows : array of int, [n]
        Which subjects.
    filler : MissingRegions or None
        None: as they are.
    """

    values: np.ndarray
    missing: np.ndarray
    rows: np.ndarray
    filler: MissingRegions | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Subjects and edges."""
        return len(self.rows), self.values.shape[1]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        rows = self.rows[wanted]
        return (
            self.values[rows] if self.filler is None else self.filler.transform(self.values[rows], self.missing[rows])
        )

    def __str__(self) -> str:
        return "memory" if isinstance(self.values, np.ndarray) else str(self.values)


class View:
    """Subjects as standardised edges and the weights of the edges in the graph, on the device batch by batch.

    Held there, they take half the size of the matrices; otherwise every batch is read and prepared anew, to the same
    numbers. A batch of matrices is unfolded from them once and shared by all models.

    Parameters
    ----------
    edges : array or FilledEdges, [n, E]
        Fisher z, without NaN.
    mean, scale : array, [E]
        Of the training subjects.
    n_nodes : int
    density : float or None
        Share of edges in the graph; None for networks that use no graph.
    device : torch.device
    dtype : torch.dtype
    held : bool
        Keep everybody on the device.
    """

    def __init__(self, edges, mean, scale, n_nodes, density, device, dtype=torch.float32, held=True):
        self.edges, self.n_nodes, self.density, self.device, self.dtype = edges, n_nodes, density, device, dtype
        self.mean, self.scale = (torch.as_tensor(numbers, device=device).to(dtype) for numbers in (mean, scale))
        self.held = self._hold() if held else None

    def __len__(self) -> int:
        return len(self.edges)

    @property
    def nbytes(self) -> int:
        """Of what is held on the device."""
        return sum(numbers.nbytes for numbers in self.held or () if numbers is not None)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Node features and adjacency of some subjects, [B, N, N] each."""
        if self.held is None:
            numbers = self._prepare(self.edges[rows.cpu().numpy()])
        else:
            numbers = (None if edges is None else edges[rows] for edges in self.held)
        return tuple(None if edges is None else unfold(edges, self.n_nodes) for edges in numbers)

    def _prepare(self, edges: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
        z = torch.as_tensor(edges, device=self.device).to(self.dtype)
        return (z - self.mean) / self.scale, None if self.density is None else edge_weights(z, self.density)

    def _hold(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        empty = lambda: torch.empty(tuple(self.edges.shape), device=self.device, dtype=self.dtype)
        held = empty(), None if self.density is None else empty()
        for part in blocks(self.edges.shape):
            for kept, numbers in zip(held, self._prepare(self.edges[part])):
                if kept is not None:
                    kept[part] = numbers
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
