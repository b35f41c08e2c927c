"""The distortion of an image along its phase axis."""

from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

STEPS, CLOSE = 30, 1e-3  # of the fixed point: at most, and when it is there (mm)


@dataclass(frozen=True)
class Distortion:
    """Where the scanner put what belongs elsewhere, along one axis.

    The signal of place p (BOLD mm, where it should be) lies at ``p + shift(p) * direction``.

    Attributes
    ----------
    shift : array, [X, Y, Z]
        mm, on the grid of the BOLD; interpolated between voxels, held beyond the edges.
    affine : array, [4, 4]
        BOLD voxel to mm.
    direction : array, [3]
        Unit vector of the phase-encoding axis, mm.
    """

    shift: np.ndarray
    affine: np.ndarray
    direction: np.ndarray

    def distorted(self, points: np.ndarray) -> np.ndarray:
        """Where the signal of places [P, 3] lies, mm."""
        points = np.asarray(points, float)
        return points + self._at(points)[:, None] * self.direction

    def undistorted(self, points: np.ndarray) -> np.ndarray:
        """Where the signal at points [P, 3] belongs, mm: a fixed point, no field being steeper than 1."""
        points = np.asarray(points, float)
        places = points
        for _ in range(STEPS):
            before, places = places, points - self._at(places)[:, None] * self.direction
            if not len(places) or np.abs(places - before).max() < CLOSE:
                break
        return places

    def _at(self, points: np.ndarray) -> np.ndarray:
        voxels = apply_affine(np.linalg.inv(self.affine), points).T
        return ndimage.map_coordinates(self.shift, voxels, order=1, mode="nearest")
