"""The T1w and the template as images for ANTs: read, without bias, cut, and their local contrast.

The template is the skull-stripped MNI152 (2009a symmetric) that nilearn ships, so nothing is downloaded. ANTs counts in
LPS mm, everybody else here in RAS.
"""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from nilearn import datasets
from scipy import ndimage

from dysconnect.data.images.volumes import DAMAGE, open_image

if TYPE_CHECKING:
    import ants

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AROUND = 8  # mm, standard deviation of the neighbourhood that contrast is relative to


def load_ants(threads: int = 1):
    """Import ANTs, which is optional; `threads` count only where it was not imported before.

    Raises
    ------
    ImportError
        When it is not installed, with the command that installs it.
    """
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(threads))
    try:
        import ants
    except ImportError as error:
        raise ImportError(
            "preprocess=ants needs the package antspyx: pip install -e '.[imaging]' -c requirements.lock"
        ) from error
    return ants


def template_image(name: str, resolution: int) -> "ants.ANTsImage":
    """One image of nilearn's template in ANTs' form: `t1w`, `brain`, `white_matter` or `csf` (0 to 1)."""
    if name in ("t1w", "brain"):
        loader = {"t1w": datasets.load_mni152_template, "brain": datasets.load_mni152_brain_mask}[name]
        return to_ants(loader(resolution))
    white, grey = datasets.load_mni152_wm_template(resolution), datasets.load_mni152_gm_template(resolution)
    shares = [np.asarray(image.dataobj, np.float32) / np.max(image.dataobj) for image in (white, grey)]
    if name == "white_matter":
        return to_ants(white, shares[0])
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution).dataobj) > 0
    deep = ndimage.binary_erosion(
        brain, iterations=round(14 / resolution)
    )  # ventricles, not the fluid around the brain
    return to_ants(white, np.clip(1 - sum(shares), 0, 1) * deep)


def read_t1w(path: str | Path) -> nib.Nifti1Image:
    """Read a T1w and refuse what is none.

    Raises
    ------
    ValueError
        When it is missing, is not three-dimensional, or holds NaN or nothing.
    """
    name = Path(path).name
    if not name:
        raise ValueError("no T1w (none was found): preprocess=ants needs one; fetch anat/*_T1w.nii.gz")
    image = open_image(path)
    try:
        data = np.squeeze(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except (*DAMAGE, ValueError, TypeError, nib.filebasedimages.ImageFileError) as error:
        raise ValueError(f"{name} cannot be read as an image ({error}); fetch it again") from error
    if data.ndim != 3:
        raise ValueError(f"{name} has {data.ndim} dimensions, expected 3 (x, y, z)")
    if not np.isfinite(data).all():
        raise ValueError(f"{name} holds NaN or infinity; convert it again, or leave the subject out")
    if not np.ptp(data) > 0:
        raise ValueError(f"{name} is {data.flat[0]:g} throughout: an empty image; fetch it again")
    return nib.Nifti1Image(data, image.affine)


def without_bias(ants, image: nib.Nifti1Image, resolution: int):
    """T1w on the grid of work, without slow changes of brightness (N4)."""
    head = to_ants(image)
    if min(head.spacing) < resolution - 0.01:  # average, then pick: finer detail would only alias
        head = ants.smooth_image(head, 0.42 * resolution, sigma_in_physical_coordinates=True)
        head = ants.resample_image(head, tuple(max(size, resolution) for size in head.spacing), False, 0)
    around = ants.get_mask(head)
    return ants.n4_bias_field_correction(
        head, mask=around, shrink_factor=4, convergence={"iters": [20, 20], "tol": 1e-5}, spline_param=200
    )


def cut_brain(data: np.ndarray, near: np.ndarray, spacing: tuple[float, ...], name: str) -> np.ndarray:
    """Cut the brain out of a T1w.

    Parameters
    ----------
    data : array, [X, Y, Z]
        Without bias.
    near : array of bool, [X, Y, Z]
        The template's brain after affine registration, somewhat widened.
    spacing : tuple of float
        Edges of a voxel, mm.
    name : str
        For the message.

    Returns
    -------
    array of bool, [X, Y, Z]

    Raises
    ------
    ValueError
        When what was cut out has not the size of a brain.
    """
    if not near.any():
        raise ValueError(f"{name}: no brain where the template says; is it a T1w of a whole head?")
    edge = float(np.mean(spacing))
    bright = near & (data > 0.4 * np.median(data[near]))
    opened = ndimage.binary_opening(bright, iterations=max(1, round(2 / edge)))
    parts, count = ndimage.label(opened)
    if count:
        opened = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
        opened = ndimage.binary_closing(opened, iterations=max(1, round(6 / edge)))
        opened = ndimage.binary_fill_holes(opened) & near
    litres = opened.sum() * np.prod(spacing) / 1e6
    if not 0.6 < litres < 2.6:
        raise ValueError(
            f"{name}: what was cut out as brain has {litres:.2f} litres, expected 0.6 to 2.6; look at the image, and "
            "leave the subject out if it is not a whole head"
        )
    return opened


def local_contrast(data: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Intensity relative to the mean and spread around, inside the brain.

    Parameters
    ----------
    data : array, [X, Y, Z]
        Zero outside the brain.
    spacing : tuple of float
        Edges of a voxel, mm.

    Returns
    -------
    array of float32, [X, Y, Z]
        Zero outside, about 3 on average inside.
    """
    inside = data > 1e-6
    smooth = partial(ndimage.gaussian_filter, sigma=[AROUND / edge for edge in spacing])
    weight = np.maximum(smooth(inside.astype(np.float64)), 1e-3)
    mean = smooth(data.astype(np.float64)) / weight
    spread = np.sqrt(np.maximum(smooth(data.astype(np.float64) ** 2) / weight - mean**2, 0))
    spread += 0.3 * spread[inside].mean()  # else noise would count where all is one tissue
    return np.where(inside, (data - mean) / spread + 3, 0).astype(np.float32)


def to_ants(image: nib.Nifti1Image, data: np.ndarray | None = None) -> "ants.ANTsImage":
    """Give an image, or other values on its grid, to ANTs (RAS to LPS, float32)."""
    values = np.asarray(image.dataobj if data is None else data, np.float32)
    affine = LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return load_ants().from_numpy(
        np.ascontiguousarray(values), affine[:3, 3].tolist(), spacing.tolist(), affine[:3, :3] / spacing
    )


def from_ants(image: "ants.ANTsImage") -> nib.Nifti1Image:
    """Take an image from ANTs (LPS to RAS)."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = image.direction * np.array(image.spacing), image.origin
    return nib.Nifti1Image(image.numpy(), LPS @ affine)
