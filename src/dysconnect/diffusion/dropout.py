"""Slices that lost their signal because the head moved while they were weighted: found, and replaced.

As in Andersson et al. 2016 (doi:10.1016/j.neuroimage.2016.06.058) the mean difference between a slice and its
prediction is compared with that of the same slice in the other volumes, and a slice far below is replaced by its
prediction, in the volume as scanned, before anything is interpolated.
"""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from dysconnect.diffusion.poses import Frame, Pose

Z = 4.0  # robust standard deviations below the others
LOSS = 0.1  # of the predicted signal, at least
SHARE = 0.15  # of the largest slice's brain that a slice must hold to be judged


def slice_losses(
    seen: np.ndarray, predicted: np.ndarray, frame: Frame, poses: Iterable[Pose], slices: int
) -> np.ndarray:
    """What each slice, as scanned, lost of its predicted signal.

    Parameters
    ----------
    seen, predicted : array, [V, N]
        Signal at the frame's voxels, and its prediction.
    frame : Frame
    poses : iterable of Pose
    slices : int
        Z, along the last axis of the image.

    Returns
    -------
    array, [V, Z]
        As a share of the prediction; NaN where there is hardly any brain.
    """
    losses = np.full((len(seen), slices), np.nan)
    for k, pose in enumerate(poses):
        at = np.rint(frame.seen_at(pose)[2]).astype(int).clip(0, slices - 1)
        counts = np.bincount(at, minlength=slices)
        wanted, missing = (np.bincount(at, values, slices) for values in (predicted[k], predicted[k] - seen[k]))
        enough = (counts >= SHARE * counts.max()) & (wanted > 0)
        losses[k, enough] = missing[enough] / wanted[enough]
    return losses


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
    image = np.zeros(volume.shape, np.float32)
    image[tuple(frame.voxels)] = predicted / frame.stretch(pose).clip(0.2)
    for z in np.flatnonzero(dropped):
        at = np.stack(np.meshgrid(*(np.arange(n) for n in volume.shape[:2]), [z], indexing="ij")).reshape(3, -1)
        values = ndimage.map_coordinates(image, frame.inverted(pose, at, field), order=1, mode="constant")
        volume[:, :, z] = values.reshape(volume.shape[:2])
