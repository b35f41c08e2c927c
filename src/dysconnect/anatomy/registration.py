"""Registration: the T1w to the template with ANTs, the BOLD to the T1w, and the atlas to the subject.

Affine: the T1w with its scalp, but the metric only within the dilated brain of the template. Then the brain is cut out
(the template's mask brought back, and what is connected and bright inside it), and SyN goes brain to brain, on images
of local contrast: intensities relative to mean and spread of what lies around. Mutual information then judges edges
where they are, much as local correlation does (Avants et al. 2008, doi:10.1016/j.media.2007.06.004), at a tenth of its
cost. Points move by the forward transforms (template to T1w), images by pulling; ANTs counts in LPS mm, everybody else
here in RAS.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import ndimage

from dysconnect.anatomy.coregistration import UPRIGHT, rigid_to
from dysconnect.anatomy.images import (
    LPS,
    cut_brain,
    from_ants,
    load_ants,
    local_contrast,
    read_t1w,
    template_image,
    to_ants,
    without_bias,
)

if TYPE_CHECKING:
    from dysconnect.anatomy.distortion import Distortion

ITERATIONS = {  # of SyN at 4, 2 and 1 times the resolution
    "fast": (100, 60, 4),
    "accurate": (100, 60, 20),
}


@dataclass(frozen=True)
class Anatomy:
    """One subject's T1w and where it lies in the template.

    Attributes
    ----------
    t1w : Nifti1Image, [X, Y, Z]
        Without bias, on the grid of work.
    brain : array of bool, [X, Y, Z]
    white_matter, csf : array of float, [X, Y, Z]
        Probability by the template, 0 to 1.
    forward : list of str
        Files of ANTs; they move points from the template to the T1w.
    inverse : list of str
        The way back.
    measures : dict of str to float
        `dice_t1w_template`; mutual information (nats) `mi_t1w_template_before`, `..._after`.
    """

    t1w: nib.Nifti1Image
    brain: np.ndarray
    white_matter: np.ndarray
    csf: np.ndarray
    forward: list[str]
    inverse: list[str]
    measures: dict[str, float]


def prepare_anatomy(path: str | Path, folder: Path, spec: Mapping) -> Anatomy:
    """Correct the bias of a T1w, cut out the brain and register it to the template.

    Parameters
    ----------
    path : path
        T1w, [X, Y, Z].
    folder : path
        Where the transforms go.
    spec : mapping
        `transform` (`affine`, `fast` or `accurate`), `resolution` (mm, whole), `seed`, `threads`.

    Returns
    -------
    Anatomy

    Raises
    ------
    ValueError
        When the file is missing or no T1w of a head, or the brain cannot be found in it.
    """
    ants = load_ants(spec.get("threads", 1))
    resolution, seed = int(spec.get("resolution", 2)), int(spec.get("seed", 0)) + 1  # ANTs takes 0 for "no seed"
    template, brain = template_image("t1w", resolution), template_image("brain", resolution)
    head = without_bias(ants, read_t1w(path), resolution)
    around = ants.iMath(brain, "MD", max(1, round(6 / resolution)))
    affine = ants.registration(
        template, head, "Affine", outprefix=f"{folder}/affine_", mask=around, random_seed=seed,
        aff_iterations=(300, 200, 50, 0), aff_shrink_factors=(4, 3, 2, 1), aff_smoothing_sigmas=(3, 2, 1, 0),
    )["fwdtransforms"]  # fmt: skip
    back = ants.iMath(brain, "MD", max(1, round(6 / resolution)))  # 4 mm would clip the cerebellum where affine errs
    near = ants.apply_transforms(head, back, affine, "nearestNeighbor", whichtoinvert=[True]).numpy() > 0
    inside = cut_brain(head.numpy(), near, head.spacing, Path(path).name)
    cut = head.new_image_like((head.numpy() * inside).astype(np.float32))
    forward, inverse = _syn(ants, template, cut, affine, folder, spec.get("transform", "fast"), seed)
    invert = [name.endswith(".mat") for name in inverse]
    tissue = {
        name: ants.apply_transforms(head, template_image(name, resolution), inverse, whichtoinvert=invert).numpy()
        for name in ("white_matter", "csf")
    }
    measures = _t1w_measures(ants, template, brain, cut, inside, forward)
    return Anatomy(from_ants(head), inside, tissue["white_matter"], tissue["csf"], forward, inverse, measures)


def _syn(ants, template, cut, affine: list[str], folder: Path, transform: str, seed: int):
    if transform == "affine":
        return affine, affine
    if transform not in ITERATIONS:
        raise ValueError(f"preprocess.transform={transform!r}: choose affine, {' or '.join(ITERATIONS)}")
    fixed, moving = (image.new_image_like(local_contrast(image.numpy(), image.spacing)) for image in (template, cut))
    fixed = ants.crop_image(fixed, ants.iMath(ants.get_mask(template, low_thresh=1e-6), "MD", 4))
    registered = ants.registration(
        fixed, moving, "SyNOnly", initial_transform=affine[0], outprefix=f"{folder}/syn_", random_seed=seed,
        syn_metric="mattes", syn_sampling=32, reg_iterations=ITERATIONS[transform], grad_step=0.25,
    )  # fmt: skip
    return registered["fwdtransforms"], registered["invtransforms"]


def _t1w_measures(ants, template, brain, cut, inside: np.ndarray, forward: list[str]) -> dict[str, float]:
    target = brain.numpy() > 0
    mask = cut.new_image_like(inside.astype(np.float32))
    warped = ants.apply_transforms(template, mask, forward, "nearestNeighbor").numpy() > 0
    before = ants.resample_image_to_target(cut, template).numpy()
    after = ants.apply_transforms(template, cut, forward).numpy()
    return {
        "dice_t1w_template": dice(warped, target),
        "mi_t1w_template_before": mutual_information(before[target], template.numpy()[target]),
        "mi_t1w_template_after": mutual_information(after[target], template.numpy()[target]),
    }


def register_bold(
    reference: np.ndarray, affine: np.ndarray, mask: np.ndarray, anatomy: Anatomy
) -> tuple[np.ndarray, dict[str, float]]:
    """Find the rigid transform from BOLD, or b0, to T1w by mutual information.

    Parameters
    ----------
    reference, mask : array, [X, Y, Z]
        BOLD volume and its brain.
    affine : array, [4, 4]
        BOLD voxel to scanner mm.
    anatomy : Anatomy

    Returns
    -------
    matrix : array, [4, 4]
        BOLD mm to T1w mm.
    measures : dict of str to float
        Mutual information (nats) in the mask, `mi_bold_t1w_before` and `mi_bold_t1w_after`.

    Raises
    ------
    ValueError
        When the images fit better upside down, or turned otherwise as no head lies in a scanner.
    """
    t1w, grid = np.asarray(anatomy.t1w.dataobj) * anatomy.brain, anatomy.t1w.affine
    matrix, turned = rigid_to(reference, affine, mask, t1w, grid)
    if turned > 0:
        raise ValueError(
            "the images of this person fit the T1w better upside down, or turned otherwise by more than "
            f"{UPRIGHT:.0f} degrees: the header of one of them names the wrong axes. Look at both; convert them again, "
            "or leave the person out"
        )
    before, after = (
        mutual_information(pulled(t1w, grid, pose, affine, mask.shape)[mask], reference[mask])
        for pose in (np.eye(4), matrix)
    )
    return matrix, {"mi_bold_t1w_before": before, "mi_bold_t1w_after": after}


def _moved_points(ants, points: np.ndarray, files: list[str], invert: list[bool] | None = None) -> np.ndarray:
    twice = np.vstack([points, points[:1]])  # ANTs fails on a single point
    table = pd.DataFrame(apply_affine(LPS, twice), columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, files, whichtoinvert=invert)
    return apply_affine(LPS, moved[["x", "y", "z"]].to_numpy())[:-1]


def points_to_bold(
    points: np.ndarray, anatomy: Anatomy, to_t1w: np.ndarray, distortion: "Distortion | None" = None
) -> np.ndarray:
    """Bring template points to the BOLD.

    Parameters
    ----------
    points : array, [P, 3]
        Template mm.
    anatomy : Anatomy
    to_t1w : array, [4, 4]
        BOLD mm to T1w mm.
    distortion : Distortion, optional
        Of the BOLD, by susceptibility.

    Returns
    -------
    array, [P, 3]
        BOLD mm.
    """
    at_t1w = _moved_points(load_ants(), np.asarray(points, float), anatomy.forward)
    straight = apply_affine(np.linalg.inv(to_t1w), at_t1w)
    return straight if distortion is None else distortion.distorted(straight)


def labels_to_bold(
    image: nib.Nifti1Image,
    anatomy: Anatomy,
    to_t1w: np.ndarray,
    voxel: float = 1.25,
    distortion: "Distortion | None" = None,
) -> nib.Nifti1Image:
    """Bring a label image to the BOLD, nothing of it cut by the BOLD's field of view.

    Labels are pulled on a fine grid over the T1w (nearest neighbour); the rigid rest is only a new affine.

    Parameters
    ----------
    image : Nifti1Image
        Codes, in the template's space.
    anatomy : Anatomy
    to_t1w : array, [4, 4]
        BOLD mm to T1w mm.
    voxel : float
        mm, of the result.
    distortion : Distortion, optional
        Of the BOLD, by susceptibility; then labels are pulled a second time.

    Returns
    -------
    Nifti1Image of int32
        In the BOLD's mm.
    """
    ants = load_ants()
    grid = ants.resample_image(to_ants(anatomy.t1w), (voxel,) * 3, False, 1)
    invert = [name.endswith(".mat") for name in anatomy.inverse]
    moved = ants.apply_transforms(grid, to_ants(image), anatomy.inverse, "nearestNeighbor", whichtoinvert=invert)
    warped = from_ants(moved)
    codes = np.rint(np.asarray(warped.dataobj)).astype(np.int32)
    at_bold = np.linalg.inv(to_t1w) @ warped.affine
    if distortion is not None:
        codes = pulled(codes, at_bold, np.eye(4), at_bold, codes.shape, distortion, order=0).astype(np.int32)
    return nib.Nifti1Image(codes, at_bold)


def pulled(
    data: np.ndarray,
    affine: np.ndarray,
    matrix: np.ndarray,
    grid: np.ndarray,
    shape: tuple[int, ...],
    distortion: "Distortion | None" = None,
    order: int = 1,
) -> np.ndarray:
    """Sample an image on another grid; `matrix` maps mm of the grid to mm of the image.

    With a `distortion` the grid is the distorted BOLD, and each voxel shows what belongs there. `order` 1 is
    trilinear, 0 takes the nearest voxel.
    """
    data, step = np.asarray(data, np.float32), np.linalg.inv(affine) @ matrix
    if distortion is None:
        step = step @ grid
        return ndimage.affine_transform(data, step[:3, :3], step[:3, 3], shape, order=order)
    out = np.empty(shape, np.float32)
    across = np.indices((1, *shape[1:])).reshape(3, -1).T
    for x in range(shape[0]):  # a slice at a time: fine grids have millions of points
        places = distortion.undistorted(apply_affine(grid, across + np.array([x, 0, 0])))
        out[x] = ndimage.map_coordinates(data, apply_affine(step, places).T, order=order).reshape(shape[1:])
    return out


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks, 0 to 1."""
    return float(2 * np.sum(one & other) / max(np.sum(one) + np.sum(other), 1))


def mutual_information(one: np.ndarray, other: np.ndarray, bins: int = 32) -> float:
    """Mutual information of two lists of intensities by their joint histogram, nats."""
    joint = np.histogram2d(one, other, bins)[0]
    joint /= joint.sum()
    alone = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / alone[seen])))
