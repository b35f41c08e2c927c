"""Thermal noise: components of small patches that random numbers alone would have (MP-PCA).

Veraart et al. 2016, as in `dipy.denoise.localpca`.
"""

import warnings

import numpy as np


def without_noise(data: np.ndarray, mask: np.ndarray, radius: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Take noise out of the volumes inside a mask.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
        Magnitudes as scanned, before anything is interpolated.
    mask : array of bool, [X, Y, Z]
        Outside the data stay as they are.
    radius : int
        Of the patches, voxels: 2 for 5 x 5 x 5, which suits up to 124 volumes.

    Returns
    -------
    denoised : array of float32, [X, Y, Z, V]
    sigma : array of float32, [X, Y, Z]
        Standard deviation of the noise; zero outside the mask.

    Raises
    ------
    ValueError
        When the image is narrower than a patch.
    """
    from dipy.denoise.localpca import mppca

    width = 2 * radius + 1
    if min(data.shape[:3]) < width:
        raise ValueError(f"diffusion images of {data.shape[:3]} voxels: patches of {width} voxels do not fit.")
    data = np.asarray(data, np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of samples", UserWarning)  # more volumes than voxels of a patch
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # voxels in no patch: 0 / 0
        denoised, sigma = mppca(data, mask=mask, patch_radius=radius, return_sigma=True)
    reached = mask & np.isfinite(denoised).all(-1) & np.isfinite(sigma)
    return np.where(reached[..., None], denoised, data), np.where(reached, sigma, 0).astype(np.float32)
