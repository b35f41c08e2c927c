"""Motion of the head and eddy currents in diffusion scans: every volume registered to its own prediction.

Gauss-Newton on intensities, with Tukey's weights and the gain of each volume, from wide smoothing to narrow; the
prediction is made anew each time. A b0 moves rigidly, a weighted volume is also sheared and scaled along the phase
axis. The first b0 is where the head is at rest: the other b0 are registered to it, the weighted volumes begin where
the b0 around them are, and as their predictions come from weighted volumes only in the main, all of them together are
registered to the b0 by mutual information.
"""

from dataclasses import replace

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage
from scipy.optimize import minimize

from dysconnect.data.images.rigid import rigid_matrices, rigid_parameters
from dysconnect.diffusion.poses import STILL, Frame, Pose

RADIUS = 50.0  # mm, makes rotations comparable with translations
SCALE = np.r_[np.ones(3), np.full(3, RADIUS)]
STEPS = 12  # at most
LONGEST = 5.0  # mm a step, so that a poor first step throws no volume out of the field of view
CLOSE = 0.005  # mm: a step that is smaller ends it
ACROSS, BINS = 3.0, 32  # b0 beside weighted volumes: mm of smoothing and between points; bins of either brightness
TUKEY = 4.685  # robust standard deviations: 95 % efficiency for normal noise


def register(
    volume: np.ndarray, prediction: np.ndarray, frame: Frame, pose: Pose, width: float, distance: float, eddy: bool
) -> Pose:
    """Register one volume to its prediction.

    Parameters
    ----------
    volume : array, [X, Y, Z]
    prediction : array, [N]
        At the frame's voxels.
    frame : Frame
    pose : Pose
        Where to begin.
    width, distance : float
        mm: FWHM of the smoothing, distance of the points.
    eddy : bool
        Whether shear and scale along the phase axis are sought.

    Returns
    -------
    Pose
    """
    sigma = width / 2.3548 / voxel_sizes(frame.affine)
    smooth = ndimage.gaussian_filter(np.asarray(volume, np.float32), sigma, mode="nearest")
    smooth = ndimage.spline_filter(smooth, mode="nearest", output=np.float32)
    wanted, rises, chosen = _template(prediction, frame, sigma, distance, volume.shape)
    points = frame.only(chosen)
    columns = _columns(wanted, rises, points, eddy)
    shape, scale = np.array(volume.shape)[:, None], np.r_[SCALE, np.full(3, RADIUS)]
    for _ in range(STEPS):
        at = points.seen_at(pose)
        inside = ((at >= 0) & (at <= shape - 1)).all(0)
        seen = ndimage.map_coordinates(smooth, at, order=3, mode="nearest", prefilter=False) * points.stretch(pose)
        gain = (inside * seen * wanted).sum() / (inside * wanted * wanted).sum()
        residual = seen - gain * wanted
        weight = inside * _tukey(residual)
        left = (columns * weight) @ columns.T
        step = -np.linalg.lstsq(left, (columns * weight) @ residual, rcond=1e-10)[0][:-1] / max(gain, 0.1)
        step = np.r_[step, np.zeros(9 - len(step))]
        step *= min(1, LONGEST / np.abs(step * scale).max())
        pose = pose.after(step, frame.centre)
        if np.abs(step * scale).sum() < CLOSE:
            break
    return pose


def _template(prediction: np.ndarray, frame: Frame, sigma: np.ndarray, distance: float, shape: tuple) -> tuple:
    """Smoothed prediction [n], its slopes (a voxel) [3, n], and which of the frame's voxels are compared [n]."""
    image = ndimage.gaussian_filter(_image(prediction, frame, shape), sigma, mode="nearest")
    chosen = _spread(frame, distance)
    at = tuple(frame.voxels[:, chosen])
    return image[at], np.stack([np.gradient(image, axis=k)[at] for k in range(3)]), chosen


def _columns(wanted: np.ndarray, rises: np.ndarray, points: Frame, eddy: bool) -> np.ndarray:
    """How the signal at the points changes with shifts, turns, slopes along the phase axis and gain, [10 or 7, n]."""
    away = points.places - points.centre[:, None]
    by_mm = np.linalg.inv(points.affine)[:3, :3].T @ rises
    turns = np.cross(away.T, by_mm.T).T
    slopes = [rises[points.axis] * away + points.affine[:3, points.axis, None] * wanted] if eddy else []
    return np.vstack([by_mm, turns, *slopes, -wanted[None]])


def _tukey(residual: np.ndarray) -> np.ndarray:
    spread = 1.4826 * np.median(np.abs(residual))
    return (1 - (residual / (TUKEY * spread + 1e-12)) ** 2).clip(min=0) ** 2


def between(poses: list[Pose], known: np.ndarray, centre: np.ndarray) -> list[Pose]:
    """Fill in the motion of volumes from the volumes before and after whose poses are known.

    Parameters
    ----------
    poses : list of Pose, [V]
    known : array of bool, [V]
    centre : array, [3]
        mm.
    """
    at = np.flatnonzero(known)
    numbers = rigid_parameters(np.stack([poses[k].motion for k in at]), centre)
    filled = [np.interp(np.arange(len(poses)), at, column) for column in numbers.T]
    motions = rigid_matrices(np.column_stack(filled), centre)
    return [pose if there else Pose(motion, pose.eddy) for pose, there, motion in zip(poses, known, motions)]


def linear_eddy(poses: list[Pose], bvals: np.ndarray, bvecs: np.ndarray, weighted: np.ndarray) -> list[Pose]:
    """Put in place of the shears and scales of weighted volumes what in them is linear in the gradient.

    Eddy currents are so in the main (the second-level model of Andersson and Sotiropoulos 2016). A shear of one volume
    alone, or one that all volumes share, is a turn of the head, mistaken.
    """
    gradients = np.sqrt(bvals / 1000)[:, None] * bvecs
    design = np.column_stack([gradients, np.ones(len(bvals))])[weighted]
    slopes = np.linalg.lstsq(design, np.stack([pose.eddy for pose in poses])[weighted], rcond=None)[0][:3]
    return [replace(pose, eddy=g @ slopes) if there else pose for pose, g, there in zip(poses, gradients, weighted)]


def common_motion(still: np.ndarray, mean: np.ndarray, frame: Frame, shape: tuple) -> np.ndarray:
    """Where the mean of the weighted volumes lies beside that of the b0, by mutual information, [4, 4] mm.

    Parameters
    ----------
    still, mean : array, [N]
        At the frame's voxels.
    frame : Frame
    shape : tuple
        Of the image.
    """
    sigma = ACROSS / 2.3548 / voxel_sizes(frame.affine)
    there, moving = (ndimage.gaussian_filter(_image(values, frame, shape), sigma) for values in (still, mean))
    points = frame.only(_spread(frame, ACROSS))
    # between voxels, at random: on them nothing is interpolated, and so sharp an image holds the head where it is
    between_voxels = points.voxels + np.random.default_rng(0).uniform(-0.5, 0.5, points.voxels.shape)
    points = replace(points, voxels=between_voxels, shift=0 * points.shift, slope=0 * points.slope)
    values, moved = points.fetched(there, STILL), points.fetched(moving, STILL)
    edges = np.quantile(moved, np.linspace(0, 1, BINS + 1))
    rows = np.searchsorted(np.quantile(values, np.linspace(0, 1, BINS + 1))[1:-1], values)

    def unlike(numbers: np.ndarray) -> float:
        values = points.fetched(moving, STILL.after(numbers / SCALE, frame.centre))
        return -_information(rows, np.interp(values, edges, np.arange(BINS + 1)))

    found = minimize(unlike, np.zeros(6), method="Powell", options={"xtol": 0.003, "ftol": 1e-7})
    return STILL.after(found.x / SCALE, frame.centre).motion


def _information(rows: np.ndarray, columns: np.ndarray) -> float:
    """Mutual information (nats) of numbers of bins and places among bins, each place shared by the two around it."""
    low = np.minimum(columns.astype(int), BINS - 1)
    part = columns - low
    flat = rows * (BINS + 1) + low
    joint = np.bincount(flat, 1 - part, BINS * (BINS + 1)) + np.bincount(flat + 1, part, BINS * (BINS + 1))
    joint = joint.reshape(BINS, BINS + 1) / len(rows)
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / alone[seen])).sum())


def _image(values: np.ndarray, frame: Frame, shape: tuple) -> np.ndarray:
    image = np.zeros(shape, np.float32)
    image[tuple(frame.voxels)] = values
    return image


def _spread(frame: Frame, distance: float) -> np.ndarray:
    """Every so many voxels of a frame, so that they lie about a distance (mm) apart."""
    stride = np.round(distance / voxel_sizes(frame.affine)).astype(int).clip(1)
    return np.flatnonzero((frame.voxels % stride[:, None] == 0).all(0))


def rotated(bvecs: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Turn gradient directions with the head (Leemans and Jones 2009, doi:10.1002/mrm.21890), [V, 3].

    Parameters
    ----------
    bvecs : array, [V, 3]
        In the scanner's axes.
    motions : array, [V, 4, 4]
        Reference to scanner, mm.
    """
    return np.einsum("vji,vj->vi", motions[:, :3, :3], bvecs)
