"""Rigid motion of a BOLD run: all volumes at once, by least squares on intensities.

Convention: a point of the head that lies at x (scanner mm, by the image's affine) in volume t lies in the reference at
``M_t x = R_t (x - c) + c + p_t``, with ``p = (trans_x, trans_y, trans_z)`` in mm along the scanner's axes (right,
anterior, superior), ``R = Rx(rot_x) Ry(rot_y) Rz(rot_z)`` right-handed in radians, and c the centre of mass of the
brain mask. Names and units are fMRIPrep's; MCFLIRT may count single axes the other way, which neither framewise
displacement nor a regression sees.

Method: Gauss-Newton, coarse to fine, with gain and offset of every volume and Tukey's weights. The *reference* is
sampled at the moved points, its gradient with it (derivatives of the smoothing Gaussian, computed once a level); the
volumes stay on their grid. So each volume is read once a level, its noise is never interpolated (which would draw
the estimates to whole voxels: Grootoonk et al. 2000, NeuroImage 11:49), and an iteration is one sampling and one batch
of 8 x 8 equations.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import torch
from nilearn.masking import compute_epi_mask
from scipy import ndimage

from dysconnect.data.images.rigid import centre_of_mass, rigid_matrices, rigid_parameters
from dysconnect.preprocess.leastsquares import build_level, refine_poses

LEVELS = ((16.0, 8.0), (8.0, 6.0), (5.0, 4.0))  # mm: width (FWHM) of the smoothing, distance of the points
TOLERANCE = 0.001  # mm at 50 mm from the centre: a volume whose step is smaller is done
REFERENCE_VOLUMES = 20  # realigned and averaged for the second reference


@dataclass(frozen=True)
class Motion:
    """Estimated motion of a run.

    Attributes
    ----------
    parameters : array, [T, 6]
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (radians).
    centre : array, [3]
        Centre of rotation, scanner mm.
    reference : array, [X, Y, Z]
        What the volumes were registered to.
    mask : array of bool, [X, Y, Z]
        Where the intensities counted.
    """

    parameters: np.ndarray
    centre: np.ndarray
    reference: np.ndarray
    mask: np.ndarray

    @property
    def matrices(self) -> np.ndarray:
        """World to world, volume to reference, [T, 4, 4]."""
        return rigid_matrices(self.parameters, self.centre)


def estimate_motion(
    volumes: np.ndarray | torch.Tensor,
    affine: np.ndarray,
    reference: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    device: str = "auto",
) -> np.ndarray:
    """Estimate the rigid motion of each volume; see the module for the convention.

    Parameters
    ----------
    volumes : array or tensor, [X, Y, Z, T]
        Any number type; memory-mapped arrays are read in pieces.
    affine : array, [4, 4]
        Voxel to scanner mm; oblique and left-handed ones too.
    reference : array, [X, Y, Z], optional
        Without it the mean of early steady volumes, replaced once by the mean of realigned volumes.
    mask : array of bool, [X, Y, Z], optional
        The brain; without it the foreground of the reference.
    device : str
        "auto" takes the GPU where there is one.

    Returns
    -------
    array, [T, 6]
        trans_x, trans_y, trans_z (mm), rot_x, rot_y, rot_z (radians). They turn about ``centre_of_mass(mask, affine)``;
        use :func:`register` to get the centre, the reference and the mask that were chosen too.

    Raises
    ------
    ValueError
        When shapes disagree, the mask is empty, or a volume holds NaN, infinity or no contrast (it is named).
    """
    return register(volumes, affine, reference, mask, device).parameters


def register(
    volumes: np.ndarray | torch.Tensor,
    affine: np.ndarray,
    reference: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    device: str = "auto",
) -> Motion:
    """Estimate the rigid motion of each volume, and tell centre, reference and mask; see :func:`estimate_motion`."""
    _check_shapes(volumes, affine, reference, mask)
    refine = reference is None
    if refine:
        start = steady_start(volumes)
        reference = _mean_volume(volumes, range(start, min(start + 5, volumes.shape[3])))
    reference = np.asarray(reference, np.float32)
    mask = foreground(reference, affine) if mask is None else np.asarray(mask) > 0
    centre, at = centre_of_mass(mask, affine), _choose_device(device)
    pose = torch.eye(4, dtype=torch.float64, device=at).repeat(volumes.shape[3], 1, 1)
    for fwhm, distance in LEVELS:
        last = (fwhm, distance) == LEVELS[-1]
        if last and refine:
            reference = _realigned_mean(volumes, affine, rigid_matrices(rigid_parameters(pose.cpu().numpy()), centre))
        level = build_level(reference, mask, affine, centre, fwhm, distance, at)
        pose = refine_poses(volumes, level, pose, TOLERANCE if last else 20 * TOLERANCE)
    return Motion(rigid_parameters(pose.cpu().numpy()), centre, reference, mask)


def realign(
    volumes: np.ndarray | torch.Tensor,
    affine: np.ndarray,
    matrices: np.ndarray,
    order: int = 3,
    only: Sequence[int] | None = None,
    threads: int = 2,
) -> np.ndarray:
    """Resample volumes on the reference's grid, in one interpolation (scipy's splines, on the CPU).

    Parameters
    ----------
    volumes : array or tensor, [X, Y, Z, T]
    affine : array, [4, 4]
        Voxel to scanner mm.
    matrices : array, [T, 4, 4]
        Volume to reference, scanner mm, from :func:`rigid_matrices`.
    order : int
        1 trilinear, 3 cubic B-spline.
    only : sequence of int, optional
        Volumes to resample; all without it.
    threads : int

    Returns
    -------
    array of float32, [X, Y, Z, len(only) or T]
        Zero where the volume does not reach (more than half a voxel outside).
    """
    only = range(volumes.shape[3]) if only is None else only
    out = np.empty((*volumes.shape[:3], len(only)), np.float32, order="F")
    to_voxel = np.linalg.inv(affine) @ np.linalg.inv(matrices) @ affine

    def resample(k: int) -> None:
        out[..., k] = _resampled(np.asarray(volumes[..., only[k]]), to_voxel[only[k]], order)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(resample, range(len(only))))
    return out


def steady_start(volumes: np.ndarray | torch.Tensor, look: int = 50, threshold: float = 3.5) -> int:
    """Count the first volumes that are brighter than the steady state (T1 saturation not yet reached).

    Parameters
    ----------
    volumes : array or tensor, [X, Y, Z, T]
    look : int
        Volumes from the start that are compared.
    threshold : float
        Robust standard deviations (1.4826 x median absolute deviation) above the median of the whole-image mean.

    Returns
    -------
    int
        Index of the first steady volume; 0 when all are steady.
    """
    means = np.array(
        [float(volumes[..., t].mean(dtype=_mean_type(volumes))) for t in range(min(look, volumes.shape[3]))]
    )
    middle = np.median(means)
    spread = 1.4826 * np.median(np.abs(means - middle))
    bright = means - middle > threshold * max(spread, 1e-6 * abs(middle))
    return int(np.argmin(bright)) if not bright.all() else 0


def foreground(reference: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mask the head in a BOLD volume, by its histogram (nilearn's ``compute_epi_mask``).

    Parameters
    ----------
    reference : array, [X, Y, Z]
    affine : array, [4, 4]

    Returns
    -------
    array of bool, [X, Y, Z]
    """
    image = nib.Nifti1Image(np.asarray(reference, np.float32), affine)
    return compute_epi_mask(image, ensure_finite=True).get_fdata() > 0


def _choose_device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={wanted}, but torch sees no GPU. Set device=auto or cpu.")
    return torch.device(wanted)


def _check_shapes(volumes, affine, reference, mask) -> None:
    if len(volumes.shape) != 4:
        raise ValueError(f"the BOLD has {len(volumes.shape)} dimensions, expected 4 (x, y, z, time)")
    if min(volumes.shape[:3]) < 4:
        raise ValueError(
            f"the BOLD has shape {tuple(volumes.shape)}: too few slices for rigid motion, at least 4 a side"
        )
    if np.shape(affine) != (4, 4) or abs(np.linalg.det(np.asarray(affine)[:3, :3])) < 1e-6:
        raise ValueError(f"the affine of the BOLD cannot be inverted:\n{affine}\nSet it from the scanner's file again.")
    for name, image in (("reference", reference), ("mask", mask)):
        if image is not None and image.shape != tuple(volumes.shape[:3]):
            raise ValueError(
                f"the {name} has shape {image.shape}, the BOLD {tuple(volumes.shape[:3])}; resample it first"
            )


def _mean_type(volumes):
    return torch.float64 if isinstance(volumes, torch.Tensor) else np.float64


def _mean_volume(volumes: np.ndarray | torch.Tensor, rows: range) -> np.ndarray:
    return np.mean([np.asarray(volumes[..., t], np.float64) for t in rows], axis=0)


def _realigned_mean(volumes, affine: np.ndarray, matrices: np.ndarray) -> np.ndarray:
    """Mean of volumes spread evenly over the run, realigned."""
    chosen = np.unique(np.linspace(0, volumes.shape[3] - 1, REFERENCE_VOLUMES).round().astype(int))
    return realign(volumes, affine, matrices, only=chosen).mean(3, dtype=np.float64).astype(np.float32)


def _resampled(volume: np.ndarray, to_voxel: np.ndarray, order: int) -> np.ndarray:
    """One volume at the places where the reference's voxels lie in it, [X, Y, Z]; zero outside."""
    turn, shift = to_voxel[:3, :3], to_voxel[:3, 3]
    moved = ndimage.affine_transform(np.asarray(volume, np.float32), turn, shift, order=order, mode="nearest")
    axes = np.ogrid[tuple(slice(n) for n in volume.shape)]
    for row, start, n in zip(turn, shift, volume.shape):
        at = row[0] * axes[0] + row[1] * axes[1] + (row[2] * axes[2] + start)
        moved[(at < -0.5) | (at > n - 0.5)] = 0
    return moved
