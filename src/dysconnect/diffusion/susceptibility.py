"""The distortion of echo-planar images by susceptibility, from two b0 with opposite phase encoding.

The field shifts signal along the phase axis, one way in the one image and the other way in the other, and stretches
or piles it up. As in Andersson et al. 2003 (doi:10.1016/S1053-8119(03)00336-7) the shift is sought that makes both
alike: ``plus(y + d) (1 + d') = minus(y - d) (1 - d')``. The shift d is a sum of cosines in three dimensions, found by
Gauss-Newton on images that are less and less smooth, its bending penalised. The head may have moved between the two:
its rigid motion is found along with the field. A motion along the phase axis alone looks like a constant field, and
is left in the field.
"""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from dysconnect.data.images.rigid import rigid_matrices

LEVELS = (  # mm: width (FWHM) of the smoothing, distance of the points, half period of the finest cosine; steps;
    (14.0, 6.0, 40.0, 6, False),  # whether motion is sought, which a blurred head hardly tells
    (8.0, 4.0, 24.0, 5, True),
    (4.0, 2.0, 12.0, 5, True),
)
STIFFNESS = 1e-3  # weight of the bending beside the squared difference of the images, which are scaled to 1
RIDGE = 1e-4  # of the equations' diagonal
RADIUS = 50.0  # mm, makes rotations comparable with translations
FEWEST = 8  # voxels along each axis, to tell motion
HALVINGS = 4  # of a step that makes the images less alike


@dataclass(frozen=True)
class Field:
    """Shift by susceptibility.

    Attributes
    ----------
    shift : array, [X, Y, Z]
        Voxels along the phase axis: the signal of place y lies at ``y + shift`` in the image called `plus`.
    axis : int
        Voxel axis of phase encoding.
    motion : array, [4, 4]
        Where a place (mm, in `plus`) was while `minus` was taken.
    before, after : float
        Correlation of the two images where there is signal.
    """

    shift: np.ndarray
    axis: int
    motion: np.ndarray
    before: float
    after: float


@dataclass(frozen=True)
class _Level:
    """One scale: smoothed images with their slopes (a voxel), the points that count, and the cosines there."""

    plus: np.ndarray  # [2, X, Y, Z]: the image and its slope along the phase axis
    minus: np.ndarray  # [4, X, Y, Z]: the image and its slopes along the voxel axes
    points: np.ndarray  # [3, x, y, z] voxels
    affine: np.ndarray
    axis: int
    ratio: float
    cosines: list[np.ndarray]  # [points along an axis, cosines]
    slopes: list[np.ndarray]  # the same, with their derivative along the phase axis
    penalty: np.ndarray  # [cosines, cosines, cosines]
    moves: bool  # whether motion is sought

    def seen(self, coefficients: np.ndarray, motion: np.ndarray, slopes: bool = True) -> tuple[np.ndarray, ...]:
        """Both images at the points, unwarped but for the intensities: [2 or 1, x, y, z], [4 or 1, x, y, z]."""
        shift = _summed(self.cosines, coefficients)
        ahead = self.points.copy()
        ahead[self.axis] += shift
        behind = _moved(self.points, np.linalg.inv(self.affine) @ motion @ self.affine)
        behind[self.axis] -= self.ratio * shift
        return tuple(
            np.stack([ndimage.map_coordinates(image, at, order=3, mode="nearest", prefilter=False) for image in images])
            for images, at in (
                (self.plus if slopes else self.plus[:1], ahead),
                (self.minus if slopes else self.minus[:1], behind),
            )
        )

    def difference(self, coefficients: np.ndarray, motion: np.ndarray) -> np.ndarray:
        (plus,), (minus,) = self.seen(coefficients, motion, slopes=False)
        slope = _summed(self.slopes, coefficients)
        return plus * (1 + slope) - minus * (1 - self.ratio * slope)

    def cost(self, coefficients: np.ndarray, motion: np.ndarray) -> float:
        bending = (self.penalty * coefficients**2).sum()
        return float((self.difference(coefficients, motion) ** 2).sum() + bending)


def estimate_field(plus: np.ndarray, minus: np.ndarray, affine: np.ndarray, axis: int, ratio: float = 1.0) -> Field:
    """Find the field between two b0 with opposite phase encoding.

    Parameters
    ----------
    plus, minus : array, [X, Y, Z]
        Encoded in the direction of the diffusion images, and in the opposite one.
    affine : array, [4, 4]
        Voxel to mm, of both.
    axis : int
        Voxel axis of phase encoding.
    ratio : float
        Total readout time of `minus` over that of `plus`.

    Returns
    -------
    Field

    Raises
    ------
    ValueError
        When shapes differ, or an image is empty or not finite.
    """
    pair = [_scaled(image) for image in (plus, minus)]
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"the b0 has shape {pair[0].shape}, the reversed one {pair[1].shape}; resample one of them")
    coefficients, motion = np.zeros((1, 1, 1)), np.eye(4)
    for *scale, steps, moves in LEVELS:
        level = _level(pair, affine, axis, ratio, scale, moves and min(plus.shape) >= FEWEST)
        coefficients = _grown(coefficients, level.penalty.shape)
        for _ in range(steps):
            coefficients, motion = _improved(level, coefficients, motion)
    whole = [_cosines(np.arange(n), n, count)[0] for n, count in zip(plus.shape, coefficients.shape)]
    before, after = _agreement(level, 0 * coefficients, np.eye(4)), _agreement(level, coefficients, motion)
    return Field(_summed(whole, coefficients).astype(np.float32), axis, motion, before, after)


def _scaled(image: np.ndarray) -> np.ndarray:
    """An image as float32 whose mean where there is signal is 1."""
    image = np.asarray(image, np.float32)
    if not np.isfinite(image).all() or not image.any():
        raise ValueError("a b0 of the field is empty or holds NaN or infinity; convert the scan again, or leave it out")
    return image / image[image > image.mean()].mean()


def _level(pair: list[np.ndarray], affine: np.ndarray, axis: int, ratio: float, scale: list, moves: bool) -> _Level:
    width, distance, period = scale
    shape, size = pair[0].shape, voxel_sizes(affine)
    plus, minus = (ndimage.gaussian_filter(image, width / 2.3548 / size, mode="nearest") for image in pair)
    stride = np.round(distance / size).astype(int).clip(1)
    at = [np.arange((n - 1) % s // 2, n, s) for n, s in zip(shape, stride)]
    counts = np.ceil(shape * size / period).astype(int) + 1
    counts = np.minimum(counts, [len(a) for a in at])
    pairs = [_cosines(a, n, count) for a, n, count in zip(at, shape, counts)]
    cosines = [values for values, _ in pairs]
    slopes = [pair[k == axis] for k, pair in enumerate(pairs)]
    waves = [(np.arange(count) * period / (n * s)) ** 2 for count, n, s in zip(counts, shape, size)]
    bending = (waves[0][:, None, None] + waves[1][:, None] + waves[2]) ** 2
    penalty = STIFFNESS * np.prod([len(a) for a in at]) / 8 * bending
    points = np.stack(np.meshgrid(*at, indexing="ij")).astype(float)
    images = [plus, np.gradient(plus, axis=axis)], [minus, *_gradients(minus)]
    images = [
        np.stack([ndimage.spline_filter(one, mode="nearest", output=np.float32) for one in some]) for some in images
    ]
    return _Level(*images, points, affine, axis, ratio, cosines, slopes, penalty, moves)


def _gradients(image: np.ndarray) -> list[np.ndarray]:
    return [np.gradient(image, axis=k) if n > 1 else np.zeros_like(image) for k, n in enumerate(image.shape)]


def _cosines(at: np.ndarray, n: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines over n voxels, and their slopes, at some of them, [points, count]."""
    waves = np.pi * np.arange(count) / n
    phases = np.outer(at + 0.5, waves)
    return np.cos(phases), -waves * np.sin(phases)


def _summed(bases: list[np.ndarray], coefficients: np.ndarray) -> np.ndarray:
    """Sum of products of one column of each basis, [x, y, z]; the bases' transposes turn it round."""
    for basis in bases:  # the axis in work is the first, and goes to the end
        coefficients = np.tensordot(coefficients, basis, (0, 1))
    return coefficients


def _moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.tensordot(matrix[:3, :3], points, 1) + matrix[:3, 3][:, None, None, None]


def _grown(coefficients: np.ndarray, shape: tuple) -> np.ndarray:
    """The same field with more cosines."""
    kept = tuple(slice(0, min(a, b)) for a, b in zip(coefficients.shape, shape))
    grown = np.zeros(shape)
    grown[kept] = coefficients[kept]
    return grown


def _improved(level: _Level, coefficients: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One step of Gauss-Newton for field and motion together, halved until the images become more alike."""
    by_shift, by_slope, turns, difference, centre = _linear(level, coefficients, motion)
    shape, n = level.penalty.shape, level.penalty.size
    back = [basis.T for basis in level.cosines], [basis.T for basis in level.slopes]

    def transposed(image: np.ndarray) -> np.ndarray:
        field = _summed(back[0], by_shift * image) + _summed(back[1], by_slope * image)
        return np.r_[field.ravel(), turns @ image.ravel()]

    def product(change: np.ndarray) -> np.ndarray:
        field = change[:n].reshape(shape)
        image = by_shift * _summed(level.cosines, field) + by_slope * _summed(level.slopes, field)
        return transposed(image + (change[n:] @ turns).reshape(image.shape)) + ridge * change

    squares = [[basis**2 for basis in bases] for bases in back]
    diagonal = (_summed(squares[0], by_shift**2) + _summed(squares[1], by_slope**2)).ravel()
    diagonal = np.r_[diagonal, (turns**2).sum(1)]
    prior = np.r_[level.penalty.ravel(), np.zeros(len(turns))]
    ridge = prior + RIDGE * np.r_[np.full(n, diagonal[:n].mean()), diagonal[n:]]
    right = -transposed(difference) - prior * np.r_[coefficients.ravel(), np.zeros(len(turns))]
    inverse = 1 / (diagonal + ridge)
    size = (len(right), len(right))
    change, _ = cg(
        LinearOperator(size, product, dtype=float), right, rtol=0.01, maxiter=80,
        M=LinearOperator(size, lambda flat: inverse * flat, dtype=float),
    )  # fmt: skip
    before = level.cost(coefficients, motion)
    for _ in range(HALVINGS):
        new = coefficients + change[:n].reshape(shape), motion @ _small_motion(level, change[n:], centre)
        if level.cost(*new) < before:
            return new
        change = change / 2
    return coefficients, motion


def _linear(level: _Level, coefficients: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, ...]:
    """The difference of the images, and how it changes with shift, slope [x, y, z] and motion [5 or 0, points]."""
    (plus, rise), (minus, *rises) = level.seen(coefficients, motion)
    slope = _summed(level.slopes, coefficients)
    less = 1 - level.ratio * slope
    by_shift = rise * (1 + slope) + level.ratio * rises[level.axis] * less
    difference = plus * (1 + slope) - minus * less
    places = apply_affine(level.affine, level.points.reshape(3, -1).T)
    weight = (minus * less).ravel().clip(0)
    centre = weight @ places / weight.sum()
    turns = np.zeros((0, difference.size))
    if level.moves:
        rise = np.tensordot(np.linalg.inv(level.affine)[:3, :3].T, np.stack(rises) * less, 1).reshape(3, -1)  # a mm
        turns = -np.vstack([_across(level) @ rise, np.cross(places - centre, rise.T).T / RADIUS])
    return by_shift, plus + level.ratio * minus, turns, difference, centre


def _across(level: _Level) -> np.ndarray:
    """Two directions (mm) across the phase axis, [2, 3]."""
    return np.linalg.svd(level.affine[:3, level.axis][None])[2][1:]


def _small_motion(level: _Level, numbers: np.ndarray, centre: np.ndarray) -> np.ndarray:
    if not len(numbers):
        return np.eye(4)
    return rigid_matrices(np.r_[numbers[:2] @ _across(level), numbers[2:] / RADIUS][None], centre)[0]


def _agreement(level: _Level, coefficients: np.ndarray, motion: np.ndarray) -> float:
    (plus,), (minus,) = level.seen(coefficients, motion, slopes=False)
    slope = _summed(level.slopes, coefficients)
    images = plus * (1 + slope), minus * (1 - level.ratio * slope)
    inside = sum(images) > 0.5
    return float(np.corrcoef(images[0][inside], images[1][inside])[0, 1])
