"""The brain in a b0, where no better mask is at hand."""

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

SMOOTH = 3.0  # mm, FWHM
THIN = 5.0  # mm: bridges to eyes and skin are thinner, and cut


def brain_of(b0: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mask the brain by its brightness: above Otsu's threshold, the largest piece, without bridges and holes.

    Parameters
    ----------
    b0 : array, [X, Y, Z]
    affine : array, [4, 4]

    Returns
    -------
    array of bool, [X, Y, Z]

    Raises
    ------
    ValueError
        When nothing stands out.
    """
    size = voxel_sizes(affine)
    smooth = ndimage.gaussian_filter(np.asarray(b0, np.float32), SMOOTH / 2.3548 / size)
    bright = smooth > _otsu(np.minimum(smooth, _otsu(smooth)))  # twice: the first may part fluid from tissue
    ball = _ball(THIN, size)
    opened = ndimage.binary_erosion(bright, ball)
    labels, count = ndimage.label(opened if opened.any() else bright)
    if not count:
        raise ValueError("no brain is seen in the b0; check the image, or give a mask")
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    brain = ndimage.binary_dilation(largest, ball) & bright if opened.any() else largest
    return ndimage.binary_fill_holes(brain)


def _ball(radius: float, size: np.ndarray) -> np.ndarray:
    reach = [np.arange(-(radius // s), radius // s + 1) * s for s in size]
    return sum(np.square(axis) for axis in np.meshgrid(*reach, indexing="ij")) <= radius**2


def _otsu(values: np.ndarray) -> float:
    """The threshold that parts values into the two classes that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 256)
    middles = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(middles[np.nanargmax(apart)])
