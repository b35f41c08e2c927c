"""Registration with ANTs: the T1w to the template, the BOLD to the T1w, and the atlas to the subject.

The template is the skull-stripped MNI152 (2009a symmetric) that nilearn ships, so nothing is downloaded. Affine: the
T1w with its scalp, but the metric only within the dilated brain of the template. Then the brain is cut out (the
template's mask brought back, and what is connected and bright inside it), and SyN goes brain to brain. Points move by
the forward transforms (template to T1w), images by pulling; ANTs counts in LPS mm, everybody else here in RAS.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nilearn import datasets
from scipy import ndimage

if TYPE_CHECKING:
    import ants

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ITERATIONS = {  # of SyN at 4, 2 and 1 times the resolution
    "fast": (100, 60, 0),
    "accurate": (60, 40, 10),
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
    head = _without_bias(ants, read_t1w(path), resolution)
    around = ants.iMath(brain, "MD", max(1, round(6 / resolution)))
    affine = ants.registration(
        template, head, "Affine", outprefix=f"{folder}/affine_", mask=around, random_seed=seed,
        aff_iterations=(300, 200, 50, 0), aff_shrink_factors=(4, 3, 2, 1), aff_smoothing_sigmas=(3, 2, 1, 0),
    )["fwdtransforms"]  # fmt: skip
    back = ants.iMath(brain, "MD", max(1, round(4 / resolution)))
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
    found = ants.registration(
        template, cut, "SyNOnly", initial_transform=affine[0], outprefix=f"{folder}/syn_", random_seed=seed,
        syn_metric="mattes", syn_sampling=32, reg_iterations=ITERATIONS[transform], grad_step=0.25,
    )  # fmt: skip
    return found["fwdtransforms"], found["invtransforms"]


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
    if not str(path) or not Path(path).is_file():
        raise ValueError(f"no T1w ({name or 'none was found'}): preprocess=ants needs one; fetch anat/*_T1w.nii.gz")
    try:
        image = nib.load(path)
        data = np.squeeze(image.get_fdata(dtype=np.float32, caching="unchanged"))
    except (OSError, EOFError, nib.filebasedimages.ImageFileError) as error:
        raise ValueError(f"{name} cannot be read as an image ({error}); fetch it again") from error
    if data.ndim != 3:
        raise ValueError(f"{name} has {data.ndim} dimensions, expected 3 (x, y, z)")
    if not np.isfinite(data).all():
        raise ValueError(f"{name} holds NaN or infinity; convert it again, or leave the subject out")
    if not np.ptp(data) > 0:
        raise ValueError(f"{name} is {data.flat[0]:g} throughout: an empty image; fetch it again")
    return nib.Nifti1Image(data, image.affine)


def _without_bias(ants, image: nib.Nifti1Image, resolution: int):
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
        When what is found has not the size of a brain.
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


def register_bold(
    reference: np.ndarray, affine: np.ndarray, mask: np.ndarray, anatomy: Anatomy, folder: Path, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Find the rigid transform from BOLD to T1w, by mutual information (Mattes).

    Two starts, the scanner's coordinates and the centres of mass; the better one counts.

    Parameters
    ----------
    reference, mask : array, [X, Y, Z]
        BOLD volume and its brain.
    affine : array, [4, 4]
        BOLD voxel to scanner mm.
    anatomy : Anatomy
    folder : path
    seed : int

    Returns
    -------
    matrix : array, [4, 4]
        BOLD mm to T1w mm.
    measures : dict of str to float
        Mutual information (nats) in the mask, `mi_bold_t1w_before` and `mi_bold_t1w_after`.
    """
    ants = load_ants()
    fixed = to_ants(nib.Nifti1Image(reference.astype(np.float32), affine))
    inside = to_ants(nib.Nifti1Image(ndimage.binary_dilation(mask).astype(np.float32), affine))
    t1w = np.asarray(anatomy.t1w.dataobj) * anatomy.brain
    moving = to_ants(nib.Nifti1Image(t1w.astype(np.float32), anatomy.t1w.affine))

    def shared(matrix: np.ndarray) -> float:
        return mutual_information(pulled(t1w, anatomy.t1w.affine, matrix, affine, mask.shape)[mask], reference[mask])

    found = [np.eye(4)]
    for k, start in enumerate(("Identity", None)):
        result = ants.registration(
            fixed, moving, "Rigid", initial_transform=start, mask=inside, random_seed=seed + 1,
            outprefix=f"{folder}/bold{k}_", aff_iterations=(200, 200, 100, 0), aff_shrink_factors=(3, 2, 1, 1),
            aff_smoothing_sigmas=(2, 1, 0, 0), aff_random_sampling_rate=0.5,
        )  # fmt: skip
        found.append(_rigid_matrix(ants, result["fwdtransforms"]))
    shares = [shared(matrix) for matrix in found]
    best = int(np.argmax(shares))
    return found[best], {"mi_bold_t1w_before": shares[0], "mi_bold_t1w_after": shares[best]}


def _rigid_matrix(ants, files: list[str]) -> np.ndarray:
    """World to world (RAS), as the transforms of ANTs move points."""
    corners = np.vstack([np.zeros(3), np.eye(3) * 100])
    moved = _moved_points(ants, corners, files)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (moved[1:] - moved[0]).T / 100, moved[0]
    return matrix


def _moved_points(ants, points: np.ndarray, files: list[str], invert: list[bool] | None = None) -> np.ndarray:
    table = pd.DataFrame(apply_affine(LPS, points), columns=["x", "y", "z"])
    moved = ants.apply_transforms_to_points(3, table, files, whichtoinvert=invert)
    return apply_affine(LPS, moved[["x", "y", "z"]].to_numpy())


def points_to_bold(points: np.ndarray, anatomy: Anatomy, to_t1w: np.ndarray) -> np.ndarray:
    """Bring template points to the BOLD.

    Parameters
    ----------
    points : array, [P, 3]
        Template mm.
    anatomy : Anatomy
    to_t1w : array, [4, 4]
        BOLD mm to T1w mm.

    Returns
    -------
    array, [P, 3]
        BOLD mm.
    """
    at_t1w = _moved_points(load_ants(), np.asarray(points, float), anatomy.forward)
    return apply_affine(np.linalg.inv(to_t1w), at_t1w)


def labels_to_bold(
    image: nib.Nifti1Image, anatomy: Anatomy, to_t1w: np.ndarray, voxel: float = 1.25
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

    Returns
    -------
    Nifti1Image of int32
        In the BOLD's mm.
    """
    ants = load_ants()
    grid = ants.resample_image(to_ants(anatomy.t1w), (voxel,) * 3, False, 1)
    invert = [name.endswith(".mat") for name in anatomy.inverse]
    found = ants.apply_transforms(grid, to_ants(image), anatomy.inverse, "nearestNeighbor", whichtoinvert=invert)
    warped = from_ants(found)
    codes = np.rint(np.asarray(warped.dataobj)).astype(np.int32)
    return nib.Nifti1Image(codes, np.linalg.inv(to_t1w) @ warped.affine)


def pulled(
    data: np.ndarray, affine: np.ndarray, matrix: np.ndarray, grid: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Sample an image on another grid, trilinearly; `matrix` maps mm of the grid to mm of the image."""
    step = np.linalg.inv(affine) @ matrix @ grid
    return ndimage.affine_transform(np.asarray(data, np.float32), step[:3, :3], step[:3, 3], shape, order=1)


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
