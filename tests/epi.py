"""A head scanned by trxscan's simulated EPI: known field, motion, eddy currents, lost slices; nothing is fetched."""

import os

os.environ["TRXSCAN_OFFLINE"] = "1"

from types import SimpleNamespace

import numpy as np
import pytest

from dysconnect.data.images.rigid import rigid_matrices

trxscan = pytest.importorskip("trxscan", reason="trxscan, which simulates EPI, is not installed")
from trxscan.phantom import Fibers  # noqa: E402

FINE = 2  # points of the object a voxel, in the plane
SLICED = (-1 / 3, 0, 1 / 3)  # of a slice: where its profile is sampled
SIZE = 3.0  # mm
SHAPE = (32, 32, 20)
AFFINE = np.diag([SIZE, SIZE, SIZE, 1.0])
AFFINE[:3, 3] = -SIZE * (np.array(SHAPE) - 1) / 2
HALF = SIZE * np.array(SHAPE) / 2 * (0.80, 0.86, 0.88)  # axes of the brain, mm
PROTOCOL = trxscan.Protocol.DEFAULT.replace(voxel_mm=SIZE)
SECONDS = PROTOCOL.readout(*SHAPE[:2]).total_readout_ms / 1000


def soft(away, width):
    return 1 / (1 + np.exp(-np.clip(away / width, -40, 40)))


def folds(places, seed):
    """A smooth pattern of waves of 14 to 26 mm."""
    random, pattern = np.random.default_rng(seed), 0
    for _ in range(5):
        wave = random.normal(size=3)
        wave *= 2 * np.pi / random.uniform(14, 26) / np.linalg.norm(wave)
        pattern = pattern + np.cos(places @ wave + random.uniform(0, 2 * np.pi))
    return pattern


def tissues(places):
    """White matter, grey matter and fluid at places of the head (mm)."""
    radius = np.linalg.norm(places / HALF, axis=-1)
    brain = soft((1 - radius) * HALF.min(), 0.7)
    ventricle = soft(1 - np.linalg.norm((places - [0, 4, 2]) / (7, 12, 8), axis=-1), 0.08)
    fluid = np.maximum(ventricle, soft(folds(places, 1) - 1.8, 0.3)) * brain
    grey = np.maximum(soft(folds(places, 2) - 0.8, 0.3), soft((radius - 0.85) * HALF.min(), 0.7))
    return np.stack([(brain - fluid) * (1 - grey), (brain - fluid) * grey, fluid])


def fibres(places):
    """Directions: around the vertical axis, but in two blocks up, or to the front."""
    angle = np.arctan2(places[..., 1], places[..., 0])
    around = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], -1)
    around = np.where((places[..., :1] > 6) & (places[..., 2:] > -6), (0, 0, 1.0), around)
    return np.where((places[..., :1] < -8) & (places[..., 1:2] < 5), (0, 1.0, 0), around)


def hertz(places):
    front = 70 * np.exp(-(((places - [0, 18, -8]) / (14, 12, 12)) ** 2).sum(-1))
    return front - 40 * np.exp(-(((places - [14, -10, 0]) / (12, 12, 14)) ** 2).sum(-1))


def grid(fine=1):
    axes = [(np.arange(n * f) - (n * f - 1) / 2) * SIZE / f for n, f in zip(SHAPE, (fine, fine, 1))]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def true_shift():
    """Voxels along j, and where the brain is."""
    return hertz(grid()) * SECONDS, np.linalg.norm(grid() / HALF, axis=-1) < 1


def scan(bval, bvec, motion=None, direction="j", field=1.0, bands=1, **artefacts):
    """One volume of the head at ``motion x``, and the slices whose signal was lost."""
    back = np.linalg.inv(np.eye(4) if motion is None else motion)
    places = grid(FINE) @ back[:3, :3].T + back[:3, 3]
    white, grey, fluid = sum(tissues(places + back[:3, 2] * SIZE * part) for part in SLICED) / len(SLICED)
    inside = np.flatnonzero(white.ravel(order="F") > 0.02)
    turned = fibres(places) @ back[:3, :3]  # its transpose turns back
    along = np.stack([turned[..., k].ravel(order="F") for k in range(3)], -1)[inside]
    made = trxscan.objects.from_arrays(
        *(part.astype(np.float32) for part in (white, grey, fluid)), oversample=FINE, voxel_mm=SIZE,
        fibers=Fibers(inside, along, np.ones(len(inside))), fieldmap=(field * hertz(places)).astype(np.float32),
    )  # fmt: skip
    seen = made.simulate(
        (np.array([float(bval)]), np.array([bvec], float)), PROTOCOL.replace(pe=direction, mb=bands),
        trxscan.Artifacts(**{"noise": 1e-4} | artefacts), kspace=False, clean_b0=False,
    )  # fmt: skip
    return seen.magnitude.get_fdata(dtype=np.float32)[..., 0], {z for shot in seen.dropout for z in shot.slices}


def even_directions(n, seed=0):
    """Directions pushed apart from each other and from their opposites, [n, 3]."""
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    for _ in range(200):
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        away = vectors[:, None] - np.r_[vectors, -vectors]
        distance = np.linalg.norm(away, axis=2, keepdims=True)
        vectors = vectors + 0.02 * (away / np.where(distance > 0, distance, np.inf) ** 3).sum(1) / n
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def series(stills=4, directions=24, lost=(), seed=0):
    """A scan with drift and jerks of a head, eddy currents, and a reversed b0 for which it moved again."""
    random, n = np.random.default_rng(seed), stills + directions
    bvals, bvecs = np.full(n, 1000.0), np.zeros((n, 3))
    bvals[np.linspace(0, n - 1, stills).round().astype(int)] = 0
    bvecs[bvals > 0] = even_directions(directions)
    drift = 0.08 * random.normal(size=(n, 6)).cumsum(0) + 0.1 * random.normal(size=(n, 6))
    motion = (drift - drift[0]) * np.r_[1, 1, 1, np.deg2rad([1, 1, 1])]
    volumes, dropped = [], np.zeros((n, SHAPE[2]), bool)
    for k, matrix in enumerate(rigid_matrices(motion, np.zeros(3))):
        extra = {"eddy": 0.001} if bvals[k] else {}
        extra |= {"dropout": 1.0, "bands": 2} if k in lost else {}
        volume, gone = scan(bvals[k], bvecs[k], matrix, seed=k, **extra)
        volumes.append(volume)
        dropped[k, list(gone)] = True
    again = rigid_matrices(np.array([[0.3, 0, 0.2, 0.004, -0.004, 0.003]]), np.zeros(3))[0]
    return SimpleNamespace(
        data=np.stack(volumes, -1), bvals=bvals, bvecs=bvecs, motion=motion, dropped=dropped, lost=list(lost),
        reverse=scan(0, (0, 0, 0), again, "j-", seed=99)[0],
    )  # fmt: skip
