"""A slab of white matter whose bundles are known: eight regions, six bundles, three of which cross in the middle."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dysconnect.diffusion.tracking import Tissues

SHAPE, VOXEL = (36, 36, 16), 2.0
NODES = np.array([(4, 18), (31, 18), (18, 4), (18, 31), (7, 7), (28, 28), (7, 28), (28, 7)], float)
BUNDLES = [(0, 1), (2, 3), (4, 5), (0, 6), (1, 7), (3, 5)]
ALONG, ACROSS, FREE = 1.7e-3, 0.2e-3, 0.8e-3  # mm2/s: along fibres, across them, in grey matter
B, SIGNAL = 1000.0, 100.0


@dataclass
class Slab:
    """What was scanned, and what is true."""

    data: np.ndarray  # [X, Y, Z, V]
    bvals: np.ndarray
    bvecs: np.ndarray
    labels: np.ndarray  # [X, Y, Z], codes 1 to 8
    white: np.ndarray  # [X, Y, Z] bool
    affine: np.ndarray
    centres: np.ndarray  # [8, 3] voxels

    @property
    def tissues(self) -> Tissues:
        grey = self.labels > 0
        white = self.white & ~grey
        return Tissues(white.astype(float), grey.astype(float), (~white & ~grey).astype(float))


def directions(number: int = 60, seed: int = 0) -> np.ndarray:
    """Directions spread over the sphere by a spiral, turned at random, [number, 3]."""
    k = np.arange(number) + 0.5
    height, turn = 1 - k / number, np.pi * (1 + 5**0.5) * k  # a half sphere: opposite directions are the same
    flat = np.sqrt(1 - height**2)
    points = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    return points @ np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]


def arc(start: np.ndarray, end: np.ndarray, bend: float) -> np.ndarray:
    """Points of a line from `start` to `end`, [3] each, that bends in the plane by so many voxels: [200, 3]."""
    share = np.linspace(0, 1, 200)[:, None]
    way = end - start
    aside = np.array([-way[1], way[0], 0]) / np.hypot(way[0], way[1])
    return start + share * way + 4 * share * (1 - share) * bend * aside


def slab(
    seed: int, snr: float = 20.0, across: dict[int, float] | None = None, jitter: float = 1.0, bend: float = 2.5
) -> Slab:
    """One phantom: places of the regions, course and width of the bundles vary with the seed, as does the noise.

    Parameters
    ----------
    seed : int
    snr : float
        Of the unweighted signal; Rician.
    across : dict of int to float, optional
        Diffusivity across the fibres of some bundles, mm2/s.
    jitter : float
        Voxels by which regions are moved, at most.
    bend : float
        Voxels by which the middle of a bundle is moved, at most.
    """
    rng = np.random.default_rng(seed)
    bvals = np.r_[np.zeros(9), np.full(60, B)]
    bvecs = np.vstack([np.zeros((9, 3)), directions(60, seed)])
    centres = np.c_[NODES + rng.uniform(-jitter, jitter, NODES.shape), 7.5 + rng.uniform(-jitter, jitter, len(NODES))]
    grid = np.stack(np.indices(SHAPE), axis=-1).astype(float)
    labels = np.zeros(SHAPE, int)
    for code, centre in enumerate(centres, 1):
        labels[(np.abs(grid - centre) <= 2.5).all(-1)] = code
    signal, fibres = np.zeros((*SHAPE, len(bvals)), np.float32), np.zeros(SHAPE, int)
    for k, (a, b) in enumerate(BUNDLES):
        line = arc(centres[a], centres[b], rng.uniform(-bend, bend))
        away, at = cKDTree(line).query(grid)
        near = away <= 2.2 + rng.uniform(-0.2, 0.2)
        tangent = np.gradient(line, axis=0)[at[near]]
        along = (tangent / np.linalg.norm(tangent, axis=1, keepdims=True) @ bvecs.T) ** 2
        side = (across or {}).get(k, ACROSS)
        signal[near] += np.exp(-bvals * (side + (ALONG - side) * along))
        fibres += near
    white = fibres > 0
    signal[white] /= fibres[white, None]
    signal[~white] = np.exp(-bvals * FREE)
    noise = rng.standard_normal((2, *signal.shape), np.float32) / snr
    data = SIGNAL * np.hypot(signal + noise[0], noise[1])
    return Slab(data, bvals, bvecs, labels, white, np.diag([VOXEL, VOXEL, VOXEL, 1.0]), centres)


def truth() -> np.ndarray:
    """Which regions are connected, [8, 8] bool."""
    out = np.zeros((len(NODES), len(NODES)), bool)
    for a, b in BUNDLES:
        out[a, b] = out[b, a] = True
    return out
