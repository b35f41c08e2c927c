"""The data of one fold as graph networks see them, resident on the device as edges, unfolded batch by batch."""

import numpy as np
import torch

from dysconnect.models.graph.views import edge_weights, unfold


class View:
    """Subjects on the device: standardised edges, and the weights of the edges in the graph.

    Half the size of the matrices; a batch of matrices is unfolded from them once and shared by all models.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, without NaN.
    mean, scale : array, [E]
        Of the training subjects.
    n_nodes : int
    density : float or None
        Share of edges in the graph; None for networks that use no graph.
    device : torch.device
    dtype : torch.dtype
    """

    def __init__(self, edges, mean, scale, n_nodes, density, device, dtype=torch.float32):
        z = torch.as_tensor(edges, device=device).to(dtype)
        self.weights = None if density is None else edge_weights(z, density)
        mean, scale = (torch.as_tensor(numbers, device=device).to(dtype) for numbers in (mean, scale))
        self.standard = (z - mean) / scale
        self.n_nodes, self.device, self.dtype = n_nodes, device, dtype

    def __len__(self) -> int:
        return len(self.standard)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Node features and adjacency of some subjects, [B, N, N] each."""
        x = unfold(self.standard[rows], self.n_nodes)
        return x, None if self.weights is None else unfold(self.weights[rows], self.n_nodes)


def learn_scale(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the training subjects' edges, [E] each; a constant edge keeps its unit and says nothing.

    Raises
    ------
    ValueError
        For NaN or infinity, with the subjects, and where no edge varies.
    """
    bad = ~np.isfinite(edges).all(1)
    if bad.any():
        raise ValueError(
            f"NaN or infinity in the edges of {bad.sum()} training subjects, at rows "
            f"{np.flatnonzero(bad)[:5].tolist()}: leave them out, or fill what is missing."
        )
    mean, scale = edges.mean(0, dtype=float), edges.std(0, dtype=float)
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
        own = np.flatnonzero(labels[first] == label)
        if len(own) < (2 if fraction else 1):
            needs = "two or more of each class, to fit on some and watch others" if fraction else "both classes"
            raise ValueError(
                f"{len(own)} {people} in the training fold: a graph network needs {needs}. "
                "Use fewer folds or more subjects."
            )
        watched[rng.permutation(own)[: max(1, round(fraction * len(own))) if fraction else 0]] = True
    return watched[group]
