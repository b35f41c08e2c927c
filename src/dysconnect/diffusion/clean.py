"""From diffusion images as scanned to images in register: field, motion, eddy currents, lost slices undone at once."""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage

from dysconnect.data.images.rigid import rigid_parameters
from dysconnect.diffusion.brain import brain_of
from dysconnect.diffusion.dropout import dropped_slices, replace_slices, slice_losses
from dysconnect.diffusion.motion import between, common_motion, linear_eddy, register, rotated
from dysconnect.diffusion.poses import STILL, Frame, Pose
from dysconnect.diffusion.prediction import predict
from dysconnect.diffusion.quality import scan_quality
from dysconnect.diffusion.susceptibility import Field, estimate_field
from dysconnect.reading.encoding import Encoding, readout_ratio
from dysconnect.reading.gradients import B0

UNLIKE = 0.3  # correlation with the mean of its kind, below which a volume is damaged
AROUND = 6.0  # mm around the brain that are kept
ROUNDS = (
    (8.0, 6.0),
    (5.0, 4.0),
    (3.0, 3.0),
    (3.0, 3.0),
)  # mm: smoothing (FWHM) and distance of points, a prediction each


@dataclass(frozen=True)
class Cleaned:
    """Diffusion images in register.

    Attributes
    ----------
    data : array of float32, [X, Y, Z, V]
        Zero away from the brain.
    bvecs : array, [V, 3]
        Scanner axes, turned with the head.
    mask : array of bool, [X, Y, Z]
        The brain.
    motion : array, [V, 6]
        Of the head (reference to scanner), about the middle of the grid: trans_x, trans_y, trans_z (mm), rot_x, rot_y,
        rot_z (radians).
    eddy : array, [V, 3]
        Voxels along the phase axis a mm along the scanner's axes.
    dropped : array of bool, [V, Z]
        Slices (along the last axis) that were replaced by their prediction.
    field : Field or None
        None where there was no reversed b0.
    quality : dict of str to float
        See :func:`dysconnect.diffusion.quality.scan_quality`.
    """

    data: np.ndarray
    bvecs: np.ndarray
    mask: np.ndarray
    motion: np.ndarray
    eddy: np.ndarray
    dropped: np.ndarray
    field: Field | None
    quality: dict[str, float]


def cleaned(
    dwi: np.ndarray,
    affine: np.ndarray,
    bvals: np.ndarray,
    bvecs: np.ndarray,
    encoding: Encoding,
    reverse: np.ndarray | None = None,
    reverse_encoding: Encoding | None = None,
    mask: np.ndarray | None = None,
) -> Cleaned:
    """Undo susceptibility, motion, eddy currents and lost slices, with one interpolation.

    Parameters
    ----------
    dwi : array, [X, Y, Z, V]
        Denoised and without ringing, where that is done.
    affine : array, [4, 4]
        Voxel to mm.
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors in the scanner's axes (:func:`dysconnect.reading.gradients.world_vectors`).
    encoding : Encoding
    reverse : array, [X, Y, Z] or [X, Y, Z, R], optional
        b0 encoded the other way round, on the same grid.
    reverse_encoding : Encoding, optional
        Of `reverse`; without both the distortion stays.
    mask : array of bool, [X, Y, Z], optional
        The brain on this grid, undistorted; without it the foreground of the b0.

    Returns
    -------
    Cleaned

    Raises
    ------
    ValueError
        When arrays disagree, the reversed b0 is not encoded in the opposite direction, or directions are too few.
    """
    _check(dwi, bvals, bvecs, reverse)
    weighted = np.asarray(bvals) > B0
    still = _mean_still([dwi[..., k] for k in np.flatnonzero(~weighted)], affine, encoding.axis)
    field, undistorted = None, still
    if reverse is not None and reverse_encoding is not None:
        ratio = readout_ratio(encoding, reverse_encoding, "the reversed b0")
        images = np.moveaxis(reverse, 3, 0) if reverse.ndim == 4 else [reverse]
        field = estimate_field(still, _mean_still(images, affine, encoding.axis), affine, encoding.axis, ratio)
        whole = _whole_frame(still.shape, affine, encoding.axis, field.shift)
        undistorted = whole.fetched(still, STILL).reshape(still.shape)
    mask = brain_of(undistorted, affine) if mask is None else np.asarray(mask) > 0
    shift = np.zeros(mask.shape, np.float32) if field is None else field.shift
    frame = _whole_frame(mask.shape, affine, encoding.axis, shift).only(_around(mask, affine).ravel())
    scan = _Scan(dwi, bvals, bvecs, frame, shift)
    scan.begin(*ROUNDS[0])
    for width, distance in ROUNDS[:-1]:
        scan.improve(width, distance)
    scan.improve(*ROUNDS[-1], eddy=False)
    data = np.zeros(dwi.shape, np.float32)
    for k, volume in enumerate(scan.volumes):
        data[(*frame.voxels, k)] = frame.fetched(volume, scan.poses[k], order=3).clip(0)
    motions = np.stack([pose.motion for pose in scan.poses])
    motion = rigid_parameters(motions, frame.centre)
    eddy = np.stack([pose.eddy for pose in scan.poses])
    turned = rotated(bvecs, motions)
    quality = scan_quality(data, mask, bvals, turned, motion, scan.judged, scan.dropped, field)
    return Cleaned(data, turned, mask, motion, eddy, scan.dropped, field, quality)


class _Scan:
    """The volumes and what is known of each so far."""

    def __init__(self, dwi: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, frame: Frame, field: np.ndarray):
        self.original = [np.asarray(dwi[..., k], np.float32) for k in range(dwi.shape[3])]
        self.volumes = list(self.original)  # with lost slices replaced
        self.bvals, self.bvecs, self.weighted = np.asarray(bvals), np.asarray(bvecs), np.asarray(bvals) > B0
        self.frame, self.field = frame, field
        self.poses = [STILL] * len(self.original)
        self.judged = self.dropped = np.zeros((len(self.original), field.shape[2]), bool)

    def improve(self, width: float, distance: float, eddy: bool = True) -> None:
        """Predict every volume and register it to its prediction; then look for lost slices."""
        self.register(self.predicted(), width, distance, eddy)
        self.align_weighted()
        self.replace_lost()

    def fetched(self, volumes: list[np.ndarray]) -> np.ndarray:
        """Signal in register, [V, N]."""
        pairs = zip(volumes, self.poses)
        return np.stack([self.frame.fetched(volume, pose) for volume, pose in pairs]).astype(np.float32)

    def predicted(self) -> np.ndarray:
        turned = rotated(self.bvecs, np.stack([pose.motion for pose in self.poses]))
        return predict(self.fetched(self.volumes), self.bvals, turned, self.weighted)

    def begin(self, width: float, distance: float) -> None:
        """Register the b0 to the first of them; the volumes between them begin in between."""
        stills = np.flatnonzero(~self.weighted)
        first = self.frame.fetched(self.original[stills[0]], STILL)
        for k in stills[1:]:
            self.poses[k] = self.registered(k, first, width, distance, eddy=False)
        self.poses = between(self.poses, ~self.weighted, self.frame.centre)

    def registered(self, k: int, prediction: np.ndarray, width: float, distance: float, eddy: bool) -> Pose:
        eddy = eddy and bool(self.weighted[k])
        return register(self.volumes[k], prediction, self.frame, self.poses[k], width, distance, eddy)

    def register(self, predictions: np.ndarray, width: float, distance: float, eddy: bool) -> None:
        first = np.flatnonzero(~self.weighted)[0]  # where the head is at rest
        poses = [self.registered(k, one, width, distance, eddy) for k, one in enumerate(predictions)]
        back = np.linalg.inv(poses[first].motion)
        self.poses = [Pose(pose.motion @ back, pose.eddy) for pose in poses]

    def align_weighted(self) -> None:
        """Move all weighted volumes together to where the b0 are."""
        self.poses = linear_eddy(self.poses, self.bvals, self.bvecs, self.weighted)
        seen = self.fetched(self.volumes)
        means = [seen[chosen].mean(0) for chosen in (~self.weighted, self.weighted)]
        _refuse_unlike(seen, np.stack(means)[self.weighted.astype(int)])
        common = common_motion(*means, self.frame, self.field.shape)
        moved = [Pose(pose.motion @ common, pose.eddy) for pose in self.poses]
        self.poses = [new if there else pose for new, pose, there in zip(moved, self.poses, self.weighted)]

    def replace_lost(self) -> None:
        """Find slices that lost signal, as scanned, and write their prediction into copies of the volumes."""
        predictions = self.predicted()
        losses = slice_losses(self.original, predictions, self.frame, self.poses, self.field)
        self.judged, self.dropped = np.isfinite(losses), dropped_slices(losses, self.weighted)
        for k, volume in enumerate(self.original):
            self.volumes[k] = volume
            if self.dropped[k].any():
                self.volumes[k] = volume.copy()
                replace_slices(self.volumes[k], predictions[k], self.dropped[k], self.frame, self.poses[k], self.field)


def _mean_still(images: list[np.ndarray], affine: np.ndarray, axis: int) -> np.ndarray:
    """Mean of b0, registered to the first of them without any field, [X, Y, Z]."""
    first = np.asarray(images[0], np.float32)
    if len(images) == 1:
        return first
    frame = _whole_frame(first.shape, affine, axis)
    poses = [register(image, first.ravel(), frame, STILL, *ROUNDS[0], eddy=False) for image in images[1:]]
    moved = [frame.fetched(np.asarray(image, np.float32), pose, order=3) for image, pose in zip(images[1:], poses)]
    return np.mean([first.ravel(), *moved], axis=0).reshape(first.shape)


def _whole_frame(shape: tuple, affine: np.ndarray, axis: int, shift: np.ndarray | None = None) -> Frame:
    """The frame of all voxels of a grid."""
    voxels = np.indices(shape).reshape(3, -1)
    shift = np.zeros(shape, np.float32) if shift is None else shift
    slope = np.gradient(shift, axis=axis)
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    return Frame(affine, axis, voxels, shift.ravel(), slope.ravel(), centre)


def _around(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The brain and some millimetres around it."""
    return ndimage.distance_transform_edt(~mask, voxel_sizes(affine)) <= AROUND


def _refuse_unlike(seen: np.ndarray, means: np.ndarray) -> None:
    """Refuse volumes that have nothing in common with the mean of their kind, both [V, N]."""
    unlike = [k + 1 for k, pair in enumerate(zip(seen, means)) if not np.corrcoef(*pair)[0, 1] > UNLIKE]
    if unlike:
        raise ValueError(
            f"volumes {', '.join(map(str, unlike[:5]))} of {len(seen)} (counted from 1) show no head that fits the "
            "others; damaged? Remove them from the image, .bval and .bvec"
        )


def _check(dwi: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, reverse: np.ndarray | None) -> None:
    if dwi.ndim != 4 or len(bvals) != dwi.shape[3] or np.shape(bvecs) != (dwi.shape[3], 3):
        raise ValueError(
            f"the diffusion image has shape {dwi.shape}, with {len(bvals)} b values and b vectors {np.shape(bvecs)}: "
            "one a volume is expected"
        )
    if reverse is not None and reverse.shape[:3] != dwi.shape[:3]:
        raise ValueError(
            f"the reversed b0 has shape {reverse.shape[:3]}, the diffusion image {dwi.shape[:3]}; resample "
            "it to that grid"
        )
    bad = [k + 1 for k in range(dwi.shape[3]) if not np.isfinite(dwi[..., k]).all() or not np.ptp(dwi[..., k])]
    if bad:
        raise ValueError(
            f"volumes {', '.join(map(str, bad[:5]))} of {dwi.shape[3]} (counted from 1) hold NaN, infinity or one "
            "value only; convert the scan again, or remove them from the image, .bval and .bvec"
        )
