"""Fibre orientations by constrained spherical deconvolution, and probabilistic streamlines through white matter.

Streamlines begin where white matter meets grey, and end in grey matter by the continuous map criterion (Girard et al.
2014, NeuroImage 98:266-278); what ends elsewhere is not kept. One thread a person: the same seed then gives the same
streamlines, digit by digit.

Where bundles cross, single steps within the angle allowed add up to a turn into the wrong one. So streamlines whose
direction differs by more than 35 degrees between the 5 mm before and after a point are not kept either: noise of
single steps averages out over 5 mm, a turn does not. Arcs of less than 8 mm radius are lost with them.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from scipy import ndimage

from dysconnect.diffusion.tensor import gradients

ORDERS = {8: 45, 6: 28, 4: 15}  # of the spherical harmonics, and their numbers: so many directions are needed
ANISOTROPIC = (0.7, 0.6, 0.5)  # least FA of a voxel of one fibre direction; the next where hardly a voxel has it
FEWEST = 30  # such voxels
BATCH = 20_000  # seeds at a time, so that streamlines of a person are never all in memory
REACH, SHARPEST = 5.0, 35.0  # mm before and after a point; degrees between the two
SPHERE = "repulsion724"  # directions that a step may take


@dataclass(frozen=True)
class Tissues:
    """Shares of tissue in every voxel, 0 to 1, on the grid of the diffusion images.

    Attributes
    ----------
    white, grey, fluid : array, [X, Y, Z]
    """

    white: np.ndarray
    grey: np.ndarray
    fluid: np.ndarray


def orientations(
    data: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray, mask: np.ndarray, affine: np.ndarray
) -> np.ndarray:
    """Distribution of fibre orientations in every voxel, by constrained spherical deconvolution.

    The response of one fibre is the mean of the most anisotropic voxels in the middle of the mask.

    Parameters
    ----------
    data : array, [X, Y, Z, V]
        Cleaned.
    bvals : array, [V]
        s/mm2, of one shell.
    bvecs : array, [V, 3]
        Unit vectors along the scanner's axes.
    mask : array of bool, [X, Y, Z]
        Where to fit.
    affine : array, [4, 4]
        Voxel to mm.

    Returns
    -------
    array, [X, Y, Z, 45 or 28 or 15]
        Coefficients of spherical harmonics, as many as the directions allow, along the axes of the voxels, where
        streamlines are followed, in dipy's legacy basis; zero outside the mask.

    Raises
    ------
    ValueError
        When no voxel is anisotropic enough.
    """
    from dipy.reconst.csdeconv import ConstrainedSphericalDeconvModel

    left, _, right = np.linalg.svd(affine[:3, :3])  # the affine without sizes and shears
    table = gradients(bvals, bvecs @ (left @ right))
    order = max((order for order, least in ORDERS.items() if (~table.b0s_mask).sum() >= least), default=min(ORDERS))
    model = ConstrainedSphericalDeconvModel(table, _response(table, data, mask), sh_order_max=order)
    out = np.zeros((*mask.shape, ORDERS[order]))
    out[mask] = model.fit(np.asarray(data[mask], float)).shm_coeff
    return out


def _response(table, data: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Eigenvalues of the tensor of one fibre, and its signal without weighting."""
    from dipy.reconst.csdeconv import mask_for_response_ssst, response_from_mask_ssst

    middle = [round(place) for place in ndimage.center_of_mass(mask)]
    for least in ANISOTROPIC:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No voxel with a FA", UserWarning)
            fibres = mask_for_response_ssst(table, data, roi_center=middle, roi_radii=10, fa_thr=least) * mask
        if fibres.sum() >= FEWEST:
            return response_from_mask_ssst(table, data, fibres)[0]
    raise ValueError(
        f"{int(fibres.sum())} voxels in the middle of the brain have a fractional anisotropy above {least}, expected "
        f"{FEWEST} or more: no response of a single fibre can be learned. Look at the images and at the gradients."
    )


def rim(tissues: Tissues) -> np.ndarray:
    """Voxels that are mostly white and touch one that is mostly grey, [X, Y, Z] bool."""
    white = tissues.white > 0.5
    return white & ndimage.binary_dilation(tissues.grey > 0.5, ndimage.generate_binary_structure(3, 3))


def seeds_in(mask: np.ndarray, affine: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Points at random in the voxels of a mask, as many in each as in any other but for the rest, [number, 3] mm.

    Raises
    ------
    ValueError
        When the mask is empty.
    """
    places = np.argwhere(mask)
    if not len(places):
        raise ValueError("no voxel of white matter touches grey matter: labels and diffusion images do not overlap.")
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(places)) for _ in range(-(-number // len(places)))])[:number]
    return apply_affine(affine, places[order] + rng.uniform(-0.5, 0.5, (number, 3)))


def streamlines(
    fibres: np.ndarray,
    tissues: Tissues,
    seeds: np.ndarray,
    affine: np.ndarray,
    *,
    step: float = 0.5,
    angle: float = 20.0,
    shortest: float = 10.0,
    longest: float = 250.0,
    seed: int = 1,
    probabilistic: bool = True,
) -> Iterator[list[np.ndarray]]:
    """Follow the fibre orientations from every seed, both ways.

    Parameters
    ----------
    fibres : array, [X, Y, Z, C]
        See :func:`orientations`.
    tissues : Tissues
    seeds : array, [S, 3]
        mm.
    affine : array, [4, 4]
        Voxel to mm.
    step : float
        Voxels.
    angle : float
        Degrees between two steps, at most.
    shortest, longest : float
        mm.
    seed : int
        1 or more; the same gives the same streamlines.
    probabilistic : bool
        Steps are drawn from the distribution; False takes the most likely one, which loses its way where fibres cross.

    Yields
    ------
    list of array, [P, 3]
        mm: those streamlines of the next seeds that end in grey matter at both ends, without a sharp bend.
    """
    from dipy.data import get_sphere
    from dipy.tracking.stopping_criterion import CmcStoppingCriterion
    from dipy.tracking.tracker import deterministic_tracking, probabilistic_tracking

    track = probabilistic_tracking if probabilistic else deterministic_tracking
    size = voxel_sizes(affine)
    length = step * float(size.mean())
    maps = [np.ascontiguousarray(share, float) for share in (tissues.white, tissues.grey, tissues.fluid)]
    ends = CmcStoppingCriterion.from_pve(*maps, step_size=length, average_voxel_size=float(size.mean()))
    options = {"max_angle": angle, "step_size": length, "voxel_size": size, "min_len": shortest, "max_len": longest}
    options |= {"sh": fibres, "sphere": get_sphere(name=SPHERE), "random_seed": seed, "nbr_threads": 1}
    for start in range(0, len(seeds), BATCH):
        lines = track(seeds[start : start + BATCH], ends, affine, return_all=False, **options)
        yield [line for line in lines if sharpest_bend(line, round(REACH / length)) <= SHARPEST]


def sharpest_bend(line: np.ndarray, reach: int) -> float:
    """Largest angle (degrees) between the ways to a point of a streamline [P, 3] and on from it, `reach` steps each."""
    reach = min(reach, (len(line) - 1) // 2)
    if not reach:
        return 0.0
    ways = np.asarray(line[reach:] - line[:-reach], float)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    return float(np.rad2deg(np.arccos((ways[:-reach] * ways[reach:]).sum(1).min().clip(-1, 1))))
