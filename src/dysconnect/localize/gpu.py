"""Largest and smallest correlation of every permutation by torch, where there is a GPU.

Permutations are drawn by numpy on the CPU, so that the same seed gives the same p everywhere, ties to float32 apart.
torch takes longer to import than a small cohort to test: it is imported only where there is a driver and enough to do.
"""

import shutil

import numpy as np

CHUNK = 2e9  # bytes of a product
WORTH_IT = 5e10  # multiplications; a CPU does fewer in the time that importing torch and starting the GPU take


def choose_gpu(wanted: str, multiplications: float) -> str | None:
    """Name the device of torch to use, or None for numpy.

    Parameters
    ----------
    wanted : str
        ``cpu``, ``cuda``, ``cuda:1``, or ``auto``: a GPU where there is one and it is worth it.
    multiplications : float
        Of people, permutations and edges.

    Raises
    ------
    ValueError
        When a GPU is asked for and torch sees none.
    """
    if wanted == "cpu" or (wanted == "auto" and (multiplications < WORTH_IT or shutil.which("nvidia-smi") is None)):
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda" if wanted == "auto" else wanted
    if wanted == "auto":
        return None
    raise ValueError(f"localize.device={wanted}, but torch sees no GPU. Set localize.device=auto or cpu.")


class TorchExtremes:
    """Extremes of unit residuals of edges, as of `permutation.extreme_correlations` and `studentised_extremes`.

    Parameters
    ----------
    device : str
        Of torch.
    vectors : array, [B, S] or [S, 1 + K]
        Group vectors; with `rows` the unit group and the nuisance that moves.
    rows : array of int, [B, S], optional
        Freedman-Lane permutations.
    """

    def __init__(self, device: str, vectors: np.ndarray, rows: np.ndarray | None = None):
        import torch

        self.torch, self.device = torch, device
        self.vectors = self._there(vectors.astype(np.float32))
        self.rows = None if rows is None else self._there(rows.astype(np.int64))

    def _there(self, values: np.ndarray):
        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def __call__(self, edges: np.ndarray, chunk_bytes: float = CHUNK) -> tuple[np.ndarray, np.ndarray]:
        """Largest and smallest correlation over edges [S, E] of every permutation, [B] each."""
        edges = self._there(edges.astype(np.float32))
        drawn = self.vectors if self.rows is None else self.rows
        columns = 1 if self.rows is None else self.vectors.shape[1]
        size = max(1, int(chunk_bytes / (4 * columns * (edges.shape[1] + len(edges)))))
        extremes = [self.torch.aminmax(self._correlations(part, edges), dim=1) for part in drawn.split(size)]
        low, high = (self.torch.cat(one).cpu().numpy().astype(float) for one in zip(*extremes))
        return high, low

    def _correlations(self, drawn, edges):
        if self.rows is None:
            return drawn @ edges
        shuffled = self.vectors[drawn].transpose(1, 2).reshape(-1, len(edges))
        product = (shuffled @ edges).reshape(len(drawn), -1, edges.shape[1])
        left = 1 - (product[:, 1:] ** 2).sum(1)
        return product[:, 0] / left.clamp_min(1e-6).sqrt()
