"""Permutation of a group inside exchangeability blocks, and the largest correlations of any edge under it.

Each scheme leaves all edges of all permutations one matrix product of unit vectors:

- Smith shuffles the residualised group and residualises it again;
- Freedman-Lane shuffles the residuals of the edges and residualises those again. That is the same product with the
  group and the nuisance shuffled instead, as ``r = g . P e / |R P e|`` and ``|R P e|^2 = 1 - |B^T P e|^2`` for unit
  residuals e, the nuisance B and its residual-forming matrix R: the denominator changes with every permutation;
- Huh-Jhun shuffles coordinates in a basis of the residual space, where nothing is lost again.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from dysconnect.localize.gpu import TorchExtremes

PART = 2e7  # bytes
SCHEMES = ("smith", "freedman_lane", "huh_jhun")

Extremes = tuple[np.ndarray, np.ndarray]


def residual_unit(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Residualise columns [n, E] and scale them to unit norm; columns without variance become zero."""
    rest = values - basis @ (basis.T @ values)
    norm = np.linalg.norm(rest, axis=0)
    alive = norm > 1e-6 * np.maximum(np.linalg.norm(values, axis=0), 1e-12)
    return np.where(alive, rest / np.where(alive, norm, 1), 0)


def parts(count: int, length: int) -> list[slice]:
    """Slices of many vectors of one length that are worked on together: memory grows with them, not with the cohort."""
    step = max(1, int(PART // (8 * max(length, 1))))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def permuted_groups(group: np.ndarray, basis: np.ndarray, blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Unit group vectors under permutation inside blocks (Smith), [n, S]; `group` [S] is residualised already."""
    rng = np.random.default_rng(seed)
    shuffled = np.empty((n, len(group)))
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        for part in parts(n, len(rows)):
            shuffled[part, rows] = rng.permuted(np.repeat(group[rows][None], part.stop - part.start, axis=0), axis=1)
    for part in parts(n, len(group)):
        shuffled[part] = residual_unit(shuffled[part].T, basis).T
    return shuffled


def permuted_rows(blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Numbers of the people under permutation inside blocks, [n, S]."""
    rng = np.random.default_rng(seed)
    rows = np.empty((n, len(blocks)), np.int32)
    for block in np.unique(blocks):
        members = np.flatnonzero(blocks == block).astype(np.int32)
        for part in parts(n, len(members)):
            rows[part, members] = rng.permuted(np.repeat(members[None], part.stop - part.start, axis=0), axis=1)
    return rows


def rotated_groups(group: np.ndarray, basis: np.ndarray, blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Unit group vectors under permutation of the coordinates of the residual space (Huh-Jhun), [n, S].

    Raises
    ------
    ValueError
        For more than one block: a coordinate mixes residuals of all people and belongs to no site.
    """
    if len(sites := np.unique(blocks)) > 1:
        raise ValueError(
            f"localize.permutation=huh_jhun cannot keep permutations inside {len(sites)} sites "
            f"({', '.join(map(str, sites[:5]))}): what it shuffles are mixtures of people of all sites. "
            "Use smith or freedman_lane."
        )
    rest = np.linalg.qr(basis, mode="complete")[0][:, basis.shape[1] :]
    coordinates = rest.T @ (group / np.linalg.norm(group))
    rng, rotated = np.random.default_rng(seed), np.empty((n, len(group)))
    for part in parts(n, len(group)):
        rotated[part] = rng.permuted(np.repeat(coordinates[None], part.stop - part.start, axis=0), axis=1) @ rest.T
    return rotated


def moving_nuisance(basis: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Directions of the nuisance that permutation inside blocks changes, [S, <= K]: neither intercept nor sites."""
    indicators = (blocks[:, None] == np.unique(blocks)).astype(float)
    indicators /= np.linalg.norm(indicators, axis=0)
    directions, shares, _ = np.linalg.svd(basis.T @ indicators)
    still = np.zeros(basis.shape[1], bool)
    still[: len(shares)] = shares > 1 - 1e-9
    return basis @ directions[:, ~still]


def null_extremes(
    scheme: str,
    group: np.ndarray,
    basis: np.ndarray,
    blocks: np.ndarray,
    n: int,
    seed: int,
    gpu: str | None = None,
) -> Callable[[np.ndarray], Extremes]:
    """Draw the permutations once.

    Parameters
    ----------
    scheme : {"smith", "freedman_lane", "huh_jhun"}
    group : array, [S]
        Residualised.
    basis : array, [S, K]
        Orthonormal nuisance.
    blocks : array, [S]
        Exchangeability blocks.
    n, seed : int
        Number of permutations.
    gpu : str, optional
        Device of torch that multiplies (`gpu.choose_gpu`); by default numpy does.

    Returns
    -------
    callable
        From unit residuals of edges [S, E] to the largest and the smallest correlation of every permutation, [n] each.

    References
    ----------
    Winkler et al. (2014), doi:10.1016/j.neuroimage.2014.01.060, table 2; Huh and Jhun (2001),
    doi:10.1081/STA-100106060.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"localize.permutation={scheme} is unknown; use {', '.join(SCHEMES)}.")
    if scheme == "freedman_lane":
        vectors = np.column_stack([group / np.linalg.norm(group), moving_nuisance(basis, blocks)])
        given, multiply = (vectors.astype(np.float32), permuted_rows(blocks, n, seed)), studentised_extremes
    else:
        draw = rotated_groups if scheme == "huh_jhun" else permuted_groups
        given, multiply = (draw(group, basis, blocks, n, seed).astype(np.float32),), extreme_correlations
    return TorchExtremes(gpu, *given) if gpu else partial(multiply, *given)


def extreme_correlations(groups: np.ndarray, edges: np.ndarray, chunk_bytes: float = 2e8) -> Extremes:
    """Largest and smallest correlation over edges for every group vector, [B, S] x [S, E] -> [B] each, in chunks."""
    size = max(1, int(chunk_bytes / (4 * edges.shape[1])))
    groups, edges = (numbers.astype(np.float32, copy=False) for numbers in (groups, edges))
    highest, lowest = np.empty(len(groups)), np.empty(len(groups))
    for start in range(0, len(groups), size):
        product = groups[start : start + size] @ edges
        highest[start : start + size], lowest[start : start + size] = product.max(1), product.min(1)
    return highest, lowest


def studentised_extremes(
    vectors: np.ndarray, rows: np.ndarray, edges: np.ndarray, chunk_bytes: float = 8e6
) -> Extremes:
    """Largest and smallest correlation of every Freedman-Lane permutation, [B] each, in chunks.

    Parameters
    ----------
    vectors : array, [S, 1 + K]
        Unit group, then the nuisance that moves.
    rows : array of int, [B, S]
    edges : array, [S, E]
        Unit residuals.
    """
    edges, count = edges.astype(np.float32, copy=False), vectors.shape[1]
    size = max(1, int(chunk_bytes / (4 * count * (edges.shape[1] + len(edges)))))
    highest, lowest = np.empty(len(rows)), np.empty(len(rows))
    for start in range(0, len(rows), size):
        some = slice(start, start + size)
        shuffled = vectors[rows[some]].transpose(2, 0, 1).reshape(-1, len(edges))
        r, *lost = (shuffled @ edges).reshape(count, -1, edges.shape[1])
        if lost:
            r /= np.sqrt(np.maximum(1 - sum(np.square(one, out=one) for one in lost), 1e-6))
        highest[some], lowest[some] = r.max(1), r.min(1)
    return highest, lowest


def max_correlations(groups: np.ndarray, edges: np.ndarray, chunk_bytes: float = 2e8) -> np.ndarray:
    """Largest absolute correlation over edges for every group vector, [B, S] x [S, E] -> [B]."""
    highest, lowest = extreme_correlations(groups, edges, chunk_bytes)
    return np.maximum(highest, -lowest)
