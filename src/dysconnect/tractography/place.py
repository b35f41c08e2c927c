"""Where the head lies in the diffusion images: the anatomy that `preprocess` keeps, and the atlas brought there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from dysconnect.anatomy.kept import keep_anatomy, place_of, read_anatomy
from dysconnect.anatomy.registration import (
    Anatomy,
    dice,
    labels_to_bold,
    points_to_bold,
    prepare_anatomy,
    pulled,
    register_bold,
)
from dysconnect.diffusion.tracking import Tissues

OVERLAP = 0.6  # least share of the brain in the b0 that lies in the T1w's
CALLOSUM = ((0, 26, 6), (0, 4, 24), (0, -38, 12))  # template mm: white matter of the template on the midline
NEAR = 5.0  # mm around them


@dataclass(frozen=True)
class Place:
    """What the anatomy says of the diffusion images.

    Attributes
    ----------
    labels : Nifti1Image of int32
        Codes of the atlas, in the mm of the diffusion images, on a finer grid.
    tissues : Tissues
        On the grid of the diffusion images.
    callosum : array of bool, [X, Y, Z]
        Around three points of the corpus callosum.
    measures : dict of str to float
        Of the registrations.
    """

    labels: nib.Nifti1Image
    tissues: Tissues
    callosum: np.ndarray
    measures: dict[str, float]


def anatomy_of(t1w: str | Path, name: str, folder: Path, scratch: Path, spec: Mapping) -> Anatomy:
    """Where the T1w lies in the template: as `preprocess` found it for another scan, or found now and kept.

    Parameters
    ----------
    t1w : path
    name : str
        ``sub-01``.
    folder : path
        Of the data set's results, ``results/DATASET``.
    scratch : path
    spec : mapping
        The `preprocess` section.
    """
    place = place_of(t1w, folder / "preprocess" / "anatomy", name, spec)
    return read_anatomy(place) or keep_anatomy(prepare_anatomy(t1w, scratch, spec), place)


def placed(b0: np.ndarray, mask: np.ndarray, affine: np.ndarray, anatomy: Anatomy, atlas: str | Path) -> Place:
    """Bring atlas and tissues to the diffusion images.

    Parameters
    ----------
    b0, mask : array, [X, Y, Z]
        Mean of the b0, and the brain.
    affine : array, [4, 4]
        Voxel to mm.
    anatomy : Anatomy
    atlas : path
        Label image in the template's space.

    Raises
    ------
    ValueError
        When diffusion images and T1w overlap too little.
    """
    to_t1w, measures = register_bold(b0, affine, mask, anatomy)
    brain, white, fluid = (
        pulled(image, anatomy.t1w.affine, to_t1w, affine, mask.shape)
        for image in (anatomy.brain, anatomy.white_matter, anatomy.csf)
    )
    contained = np.sum(mask & (brain > 0.5)) / max(mask.sum(), 1)
    if contained < OVERLAP:
        raise ValueError(
            f"{contained:.0%} of the brain in the diffusion images lies in that of the T1w, expected {OVERLAP:.0%} or "
            "more: they were not brought together, or are not of one person. Look at both; leave the person out if so"
        )
    labels = labels_to_bold(nib.load(atlas), anatomy, to_t1w)
    measures = {"dice_dwi_t1w": dice(mask, brain > 0.5), **{k.replace("bold", "dwi"): v for k, v in measures.items()}}
    tissues = tissues_of(white, fluid, brain, labels, affine)
    return Place(labels, tissues, _callosum(anatomy, to_t1w, affine, mask.shape), measures | anatomy.measures)


def tissues_of(
    white: np.ndarray, fluid: np.ndarray, brain: np.ndarray, labels: nib.Nifti1Image, affine: np.ndarray
) -> Tissues:
    """Tissues by the template, and every region of the atlas as grey: so that tracts end in nuclei as in cortex.

    Parameters
    ----------
    white, fluid, brain : array, [X, Y, Z]
        Shares, 0 to 1.
    labels : Nifti1Image
        Codes, in the same mm; zero is no region.
    affine : array, [4, 4]
        Voxel to mm of the shares.

    Returns
    -------
    Tissues
        They sum to one; what is outside the brain is fluid.
    """
    inside = (np.asarray(labels.dataobj) > 0).astype(np.float32)
    coarser = np.linalg.norm(affine[:3, :3], axis=0) / np.linalg.norm(labels.affine[:3, :3], axis=0)
    smooth = ndimage.gaussian_filter(inside, 0.3 * np.maximum(coarser, 1))  # share of a voxel, not its middle alone
    labelled = pulled(smooth, labels.affine, np.eye(4), affine, white.shape).clip(0, 1)
    brain = np.maximum(brain, labelled)
    fluid = (1 - brain + brain * fluid * (1 - labelled)).clip(0, 1)
    white = (brain * white * (1 - labelled)).clip(0, 1 - fluid)
    return Tissues(white, 1 - white - fluid, fluid)


def _callosum(anatomy: Anatomy, to_t1w: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    points = points_to_bold(np.array(CALLOSUM, float), anatomy, to_t1w)
    voxels = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    return np.any([np.linalg.norm(voxels - point, axis=-1) <= NEAR for point in points], axis=0)
