"""Rigid registration of two images of one head by mutual information, coarse to fine.

Mutual information after Mattes et al. (2003, IEEE Transactions on Medical Imaging 22:120): the joint histogram takes
the moving image through cubic B-splines, so that its slope is a closed form and a quasi-Newton search needs few steps.
All points of a level count, none are drawn by chance: the same images give the same digits.

A level of 8 mm costs so little that the head is looked for from many sides there, also from those where it cannot lie
(upside down, on its nose): an image whose header names the wrong axes would else be laid over the other as well as a
brain upside down goes into a brain.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from dysconnect.data.images.rigid import centre_of_mass, rigid_matrices
from dysconnect.keeping.compiled import compiled

BINS = 32
LEVELS = ((8.0, 8.0), (4.0, 4.0), (1.5, 2.0))  # mm: width (FWHM) of the smoothing, distance of the points
STEPS = (15, 30, 60)  # of the search at each level
MARGIN = 7.0  # mm around the brain that count too: its edge tells most
SLOW = 30.0  # mm, standard deviation of what counts as bias of brightness
TURNS = (-15.0, 0.0, 15.0)  # degrees about each axis, where the search begins
UPRIGHT = 45.0  # degrees: no head turns farther between two images
KEPT = 3  # of the places that the coarse level finds
SCALE = np.array([1, 1, 1, 1 / 50, 1 / 50, 1 / 50])  # of the search: mm, and mm at 50 mm from the centre


@dataclass(frozen=True)
class Level:
    """One scale of the problem.

    Attributes
    ----------
    points : array, [n, 3]
        Of the fixed image, mm from the centre of its brain.
    codes : array of int, [n]
        Bin of the fixed image's intensity there.
    image : array of float32, [X, Y, Z]
        Moving image, in bins.
    to_voxel : array, [4, 4]
        mm from the centre to the moving image's voxels.
    """

    points: np.ndarray
    codes: np.ndarray
    image: np.ndarray
    to_voxel: np.ndarray


def rigid_to(
    fixed: np.ndarray, affine: np.ndarray, mask: np.ndarray, moving: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, float]:
    """Find the rigid transform from an image to another one of the same head.

    Parameters
    ----------
    fixed : array, [X, Y, Z]
        Of any contrast.
    affine : array, [4, 4]
        Its voxels to mm.
    mask : array of bool, [X, Y, Z]
        Its brain.
    moving : array, [X', Y', Z']
        The brain alone, zero outside.
    grid : array, [4, 4]
        Its voxels to mm.

    Returns
    -------
    matrix : array, [4, 4]
        mm of `fixed` to mm of `moving`.
    turned : float
        Mutual information (nats, at 4 mm) that is won where the head may lie at any angle, say upside down. More than
        zero: one of the headers names the wrong axes.
    """
    around = ndimage.distance_transform_edt(~mask, sampling=voxel_sizes(affine)) < MARGIN
    fixed, centre = even(np.asarray(fixed, np.float32), mask, affine), centre_of_mass(mask, affine)
    moving = np.asarray(moving, np.float32)
    coarse, middle, fine = (build_level(fixed, affine, around, moving, grid, centre, *scale) for scale in LEVELS)
    apart = centre_of_mass(moving > 0, grid) - centre
    places = sorted((searched(coarse, pose, STEPS[0]) for pose in starts(apart)), key=lambda place: -place[0])
    upright = [place for place in places if angle(place[1]) < UPRIGHT][:KEPT] or places[:1]
    others = [place for place in places if angle(place[1]) >= UPRIGHT][:KEPT]
    best, other = ([searched(middle, pose, STEPS[1]) for _, pose in some] for some in (upright, others))
    information, pose = max(best, key=lambda place: place[0])
    askew = max((place[0] for place in other if angle(place[1]) >= UPRIGHT), default=-np.inf)  # others ended upright
    _, pose = searched(fine, pose, STEPS[2])
    pose[:3, 3] += centre - pose[:3, :3] @ centre
    return pose, askew - information


def starts(apart: np.ndarray) -> np.ndarray:
    """Poses to begin with, mm from the centre of one brain to mm from the same place, [S, 4, 4].

    The scanner's coordinates, and the centres of mass brought together (`apart` mm); each turned a little about all
    axes, and by quarter turns.
    """
    little = Rotation.from_euler("xyz", list(product(TURNS, repeat=3)), degrees=True)
    turns = np.concatenate([little.as_matrix(), Rotation.create_group("O").as_matrix()])
    poses = np.tile(np.eye(4), (2, len(turns), 1, 1))
    poses[..., :3, :3] = turns
    poses[1, :, :3, 3] = apart
    return poses.reshape(-1, 4, 4)


def angle(pose: np.ndarray) -> float:
    """By how many degrees a pose turns."""
    return float(np.degrees(Rotation.from_matrix(pose[:3, :3]).magnitude()))


def even(image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Divide by the mean of the brain around each voxel: coils make one side brighter."""
    width = SLOW / voxel_sizes(affine)
    weight = ndimage.gaussian_filter(mask.astype(np.float32), width)
    mean = ndimage.gaussian_filter(image * mask, width) / np.maximum(weight, 0.01)
    return image / np.maximum(mean, 1e-3 * mean.max())


def build_level(
    fixed: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray,
    moving: np.ndarray,
    grid: np.ndarray,
    centre: np.ndarray,
    fwhm: float,
    distance: float,
) -> Level:
    """Smooth both images, choose points of the fixed one, and sort intensities into bins.

    Parameters
    ----------
    fixed, mask : array, [X, Y, Z]
    affine, grid : array, [4, 4]
        Voxels to mm.
    moving : array, [X', Y', Z']
    centre : array, [3]
        mm; the poses turn about it.
    fwhm, distance : float
        Width of the smoothing and distance between points, mm.
    """
    smooth, other = (
        ndimage.gaussian_filter(image, fwhm / 2.3548 / voxel_sizes(to_mm))
        for image, to_mm in ((fixed, affine), (moving, grid))
    )
    stride = np.round(distance / voxel_sizes(affine)).astype(int).clip(1)
    chosen = np.zeros(fixed.shape, bool)
    chosen[tuple(slice((n - 1) % step // 2, None, step) for n, step in zip(fixed.shape, stride))] = True
    chosen &= mask
    low, high = np.percentile(smooth[chosen], (0.5, 99.5))
    codes = np.clip((smooth[chosen] - low) / (high - low), 0, 1) * (BINS - 1)
    top = np.percentile(other[other > 0.05 * other.max()], 99.5)
    image = np.clip(other / top, 0, 1) * np.float32(BINS - 4)  # a spline reaches one bin down and two up
    shift = np.eye(4)
    shift[:3, 3] = centre
    points = apply_affine(affine, np.argwhere(chosen)) - centre
    return Level(points, np.rint(codes).astype(np.int64), image, np.linalg.inv(grid) @ shift)


def searched(level: Level, pose: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """Improve a pose by BFGS; return mutual information (nats) and the pose."""

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = information(level, parameters * SCALE, pose)
        return -value, -slope * SCALE

    best = minimize(loss, np.zeros(6), jac=True, method="BFGS", options={"maxiter": steps, "gtol": 1e-4})
    return -best.fun, rigid_matrices(best.x[None] * SCALE, np.zeros(3))[0] @ pose


def information(level: Level, parameters: np.ndarray, pose: np.ndarray) -> tuple[float, np.ndarray]:
    """Mutual information at a pose that is moved a little, and its slope.

    Parameters
    ----------
    level : Level
    parameters : array, [6]
        mm and radians, as of :func:`rigid_matrices`, after the pose.
    pose : array, [4, 4]

    Returns
    -------
    float
        nats.
    array, [6]
    """
    near = 1e-6 * np.vstack([np.zeros(6), np.eye(6), -np.eye(6)])
    steps = (level.to_voxel @ rigid_matrices(parameters + near, np.zeros(3)) @ pose)[:, :3]
    seen = _sampled(level.points, np.ascontiguousarray(steps[0]), level.image)
    joint = _joint(level.codes, seen) / len(seen)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(joint > 0, np.log(joint / joint.sum(0)), 0)  # given the moving image's bin
        value = np.sum(joint * np.where(joint > 0, gain - np.log(joint.sum(1, keepdims=True)), 0))
    slope = _slope(level.codes, seen, level.points, gain / len(seen))
    return float(value), np.einsum("kij,ij->k", (steps[1:7] - steps[7:]) / 2e-6, slope)


@compiled
def _sampled(points, step, image):
    """Value and gradient (per voxel) of the image at points, trilinear, [n, 4]; zero outside."""
    seen = np.zeros((len(points), 4), np.float32)
    nx, ny, nz = image.shape
    for i in range(len(points)):
        right, front, top = points[i]
        x = step[0, 0] * right + step[0, 1] * front + step[0, 2] * top + step[0, 3]
        y = step[1, 0] * right + step[1, 1] * front + step[1, 2] * top + step[1, 3]
        z = step[2, 0] * right + step[2, 1] * front + step[2, 2] * top + step[2, 3]
        if x < 0 or y < 0 or z < 0 or x >= nx - 1 or y >= ny - 1 or z >= nz - 1:
            continue
        a, b, c = int(x), int(y), int(z)
        x, y, z = x - a, y - b, z - c
        edge00, edge01 = image[a, b, c], image[a, b, c + 1]
        edge10, edge11 = image[a, b + 1, c], image[a, b + 1, c + 1]
        rise00, rise01 = image[a + 1, b, c] - edge00, image[a + 1, b, c + 1] - edge01
        rise10, rise11 = image[a + 1, b + 1, c] - edge10, image[a + 1, b + 1, c + 1] - edge11
        side00, side01 = edge00 + x * rise00, edge01 + x * rise01
        side10, side11 = edge10 + x * rise10, edge11 + x * rise11
        seen[i, 0] = (1 - y) * ((1 - z) * side00 + z * side01) + y * ((1 - z) * side10 + z * side11)
        seen[i, 1] = (1 - y) * ((1 - z) * rise00 + z * rise01) + y * ((1 - z) * rise10 + z * rise11)
        seen[i, 2] = (1 - z) * (side10 - side00) + z * (side11 - side01)
        seen[i, 3] = (1 - y) * (side01 - side00) + y * (side11 - side10)
    return seen


@compiled
def _joint(codes, seen):
    """Joint histogram, [bins of the fixed, bins of the moving image], by cubic B-splines along the second."""
    joint = np.zeros((BINS, BINS))
    for i in range(len(codes)):
        b = int(seen[i, 0])
        u = seen[i, 0] - b
        row = joint[codes[i]]
        row[b] += (1 - u) ** 3 / 6
        row[b + 1] += (3 * u**3 - 6 * u**2 + 4) / 6
        row[b + 2] += (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6
        row[b + 3] += u**3 / 6
    return joint


@compiled
def _slope(codes, seen, points, gain):
    """Slope of the information along the entries of the matrix that takes points to voxels, [3, 4]."""
    slope = np.zeros((3, 4))
    for i in range(len(codes)):
        b = int(seen[i, 0])
        u = seen[i, 0] - b
        row = gain[codes[i]]
        rise = row[b + 1] * (1.5 * u**2 - 2 * u) + row[b + 2] * (-1.5 * u**2 + u + 0.5)
        rise += (row[b + 3] * u**2 - row[b] * (1 - u) ** 2) / 2
        for k in range(3):
            pull = rise * seen[i, k + 1]
            slope[k, 3] += pull
            for j in range(3):
                slope[k, j] += pull * points[i, j]
    return slope
