"""Slices that lost their signal because the head moved while they were weighted: found, and replaced.

As in Andersson et al. 2016 (doi:10.1016/j.neuroimage.2016.06.058) the mean difference between a slice and its
prediction is compared with that of the same slice in the other volumes, and a slice far below is replaced by its
prediction, in the volume as scanned, before anything is interpolated. How far is told by the spread of that slice over
volumes: it is wide where a slice holds few voxels of the brain, so that end slices must lose more.
"""

import numpy as np
from scipy import ndimage

from dysconnect.diffusion.poses import Frame, Pose

Z = 4.0  # robust standard deviations below the others
LOSS = 0.1  # of the predicted signal, at least
STRIDE = 2  # voxels within the slice that are passed over
DARK = 0.2  # of the typical prediction: darker places tell little
SHARE = 0.05  # of the largest slice's brain that a slice must hold to be judged


def slice_losses(
    volumes: list[np.ndarray], predicted: np.ndarray, frame: Frame, poses: list[Pose], field: np.ndarray
) -> np.ndarray:
    """What each slice, as scanned, lost of its predicted signal.

    Parameters
    ----------
    volumes : list of array, [V] of [X, Y, Z]
    predicted : array, [V, N]
        At the frame's voxels.
    frame : Frame
    poses : list of Pose, [V]
    field : array, [X, Y, Z]
        Shift by susceptibility, voxels.

    Returns
    -------
    array, [V, Z]
        As a share of the prediction; NaN where there is hardly any brain.
    """
    nx, ny, slices = field.shape
    at = np.indices((len(range(0, nx, STRIDE)), len(range(0, ny, STRIDE)), slices)).reshape(3, -1)
    at[:2] *= STRIDE
    losses = np.full((len(volumes), slices), np.nan)
    for k, pose in enumerate(poses):
        wanted = _as_scanned(predicted[k], frame, pose, at, field)
        brain = wanted > DARK * np.median(predicted[k])
        there = at[:, brain]
        counts, expected, seen = (
            np.bincount(there[2], values, slices) for values in (None, wanted[brain], volumes[k][tuple(there)])
        )
        enough = (counts >= SHARE * counts.max()) & (expected > 0)
        losses[k, enough] = 1 - seen[enough] / expected[enough]
    return losses


def _as_scanned(predicted: np.ndarray, frame: Frame, pose: Pose, at: np.ndarray, field: np.ndarray) -> np.ndarray:
    """What the scanner would have seen of a prediction in voxels [3, P] of the volume; zero away from the brain."""
    image = np.zeros(field.shape, np.float32)
    image[tuple(frame.voxels)] = predicted / frame.stretch(pose).clip(0.2)
    return ndimage.map_coordinates(image, frame.inverted(pose, at, field), order=1, mode="constant")


def dropped_slices(losses: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Judge slices by how much signal they lost beside the same slice of other weighted volumes, bool [V, Z].

    Parameters
    ----------
    losses : array, [V, Z]
        From :func:`slice_losses`.
    weighted : array of bool, [V]
        A b0 loses no signal to motion.
    """
    there = np.where(weighted[:, None], losses, np.nan)
    known = np.isfinite(there).any(0)
    away = np.full(losses.shape, np.nan)
    away[:, known] = there[:, known] - np.nanmedian(there[:, known], 0)
    spread = np.full(losses.shape[1], np.nan)
    spread[known] = 1.4826 * np.nanmedian(np.abs(away[:, known]), 0)
    if not known.any():
        return np.zeros(losses.shape, bool)
    spread = np.maximum(spread, np.nanmedian(spread))
    return (away > Z * spread) & (away > LOSS)


def replace_slices(
    volume: np.ndarray, predicted: np.ndarray, dropped: np.ndarray, frame: Frame, pose: Pose, field: np.ndarray
) -> None:
    """Write the prediction into the dropped slices of a volume, as the scanner would have seen it.

    Parameters
    ----------
    volume : array, [X, Y, Z]
        Changed in place.
    predicted : array, [N]
        At the frame's voxels.
    dropped : array of bool, [Z]
    frame : Frame
    pose : Pose
    field : array, [X, Y, Z]
        Shift by susceptibility, voxels.
    """
    for z in np.flatnonzero(dropped):
        at = np.indices((*volume.shape[:2], 1)).reshape(3, -1)
        at[2] = z
        volume[:, :, z] = _as_scanned(predicted, frame, pose, at, field).reshape(volume.shape[:2])
