"""The outline of a brain in space: few faces, made of the brain mask of the MNI152 template."""

import base64
import functools
import json
from pathlib import Path

import numpy as np

SIDE = 7  # mm of a voxel: about 3,000 faces
ROUNDS = 24  # of smoothing
KEPT = Path(__file__).with_suffix(".json")


@functools.cache
def brain_shell() -> tuple[np.ndarray, np.ndarray]:
    """Surface of the MNI152 brain with cerebellum and brainstem.

    Returns
    -------
    ndarray, [V, 3]
        Vertices, mm in MNI space.
    ndarray, [F, 4]
        Vertices of every face, counterclockwise seen from outside.
    """
    known = json.loads(KEPT.read_text())  # to make it anew would cost a report a tenth of its time
    bits = np.unpackbits(np.frombuffer(base64.b64decode(known["voxels"]), np.uint8), count=np.prod(known["shape"]))
    corners, faces = mask_faces(bits.reshape(known["shape"]).astype(bool))
    affine = np.array(known["affine"])
    places = (corners - 0.5) @ affine[:3, :3].T + affine[:3, 3]
    return smoothed(places, faces, ROUNDS), faces


def template_mask() -> dict:
    """Make what `shell.json` holds: `shape`, `affine` (mm) and `voxels` (bits, base64) of the filled brain mask."""
    from nilearn.datasets import load_mni152_brain_mask  # slow to import, and only needed here
    from scipy.ndimage import binary_fill_holes

    mask = load_mni152_brain_mask(resolution=SIDE)
    filled = binary_fill_holes(np.asarray(mask.dataobj) > 0)
    voxels = base64.b64encode(np.packbits(filled).tobytes()).decode()
    return {"shape": list(filled.shape), "affine": mask.affine.tolist(), "voxels": voxels}


def mask_faces(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faces between voxels of a mask and those outside it.

    Parameters
    ----------
    mask : ndarray of bool, [X, Y, Z]

    Returns
    -------
    ndarray, [V, 3]
        Corners of voxels; voxel (0, 0, 0) has the corners from 0 to 1.
    ndarray, [F, 4]
        Corners of every face, counterclockwise seen from outside.
    """
    padded = np.pad(mask, 1).astype(np.int8)
    quads = []
    for axis in range(3):
        one, other = np.eye(3, dtype=int)[[(axis + 1) % 3, (axis + 2) % 3]]
        step = np.diff(padded, axis=axis)
        for sign, turn in ((-1, [0, 1, 2, 3]), (1, [3, 2, 1, 0])):
            voxel = np.argwhere(step == sign)
            first = voxel - 1
            first[:, axis] += 1  # the corner that the face begins at
            quads.append(np.stack([first, first + one, first + one + other, first + other], axis=1)[:, turn])
    corners, faces = np.unique(np.concatenate(quads).reshape(-1, 3), axis=0, return_inverse=True)
    return corners, faces.reshape(-1, 4)


def smoothed(places: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Move every vertex to the mean of its neighbours and back a little less (Taubin 1995): smooth, and not smaller."""
    ends = np.concatenate([faces[:, [k, (k + 1) % 4]] for k in range(4)])
    degree = np.bincount(ends.ravel(), minlength=len(places))[:, None]
    for weight in (0.6, -0.61) * rounds:
        total = np.zeros_like(places)
        np.add.at(total, ends[:, 0], places[ends[:, 1]])
        np.add.at(total, ends[:, 1], places[ends[:, 0]])
        places = places + weight * (total / degree - places)
    return places
