"""A diffusion scan as people's files have it: images, gradients, and b0 that were encoded the other way round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dysconnect.data.images.volumes import DAMAGE, open_bold, open_image, read_sidecar
from dysconnect.reading.encoding import Encoding, read_encoding
from dysconnect.reading.gradients import B0, one_row, read_gradients, read_rows, world_vectors

DARKER = 0.3  # of the way from the weighted volumes to the brightest: a b0 is brighter
ALIKE = 0.75  # of the brightest b0 another one has at least


@dataclass(frozen=True)
class Scan:
    """A diffusion scan, nothing done to it.

    Attributes
    ----------
    name : str
        Of the file of gradient directions, for messages.
    data : array of float32, [X, Y, Z, V]
    affine : array, [4, 4]
        Voxel to mm.
    bvals : array, [V]
        s/mm2.
    bvecs : array, [V, 3]
        Unit vectors along the scanner's axes.
    encoding : Encoding
    reverse : array of float32, [X, Y, Z, R], or None
        b0 that were encoded in the opposite direction.
    reverse_encoding : Encoding or None
    notes : tuple of str
    """

    name: str
    data: np.ndarray
    affine: np.ndarray
    bvals: np.ndarray
    bvecs: np.ndarray
    encoding: Encoding
    reverse: np.ndarray | None
    reverse_encoding: Encoding | None
    notes: tuple[str, ...]


def read_scan(dwi: str | Path, reverse: str | Path = "") -> Scan:
    """Read a diffusion scan; ``.bval`` and ``.bvec`` lie beside the image, under its name.

    Parameters
    ----------
    dwi : path
    reverse : path
        Image with b0 of the opposite direction; "" where there is none.

    Raises
    ------
    FileNotFoundError, ValueError
        With the file, what is wrong with it, and what to do.
    """
    image = open_bold(dwi)
    gradients = read_gradients(beside(dwi, ".bval"), beside(dwi, ".bvec"), image.shape[3])
    encoding = read_encoding(read_sidecar(dwi), Path(dwi).name)
    bvecs, notes = world_vectors(gradients.bvecs, image.affine), list(gradients.notes)
    data = _read(image, dwi)
    _refuse_exchanged(data, gradients.bvals, Path(dwi).name)
    first = (beside(dwi, ".bvec").name, data, image.affine, gradients.bvals, bvecs, encoding)
    if not reverse:
        notes.append("no b0 of the opposite phase encoding: the distortion by susceptibility is not corrected")
        return Scan(*first, None, None, tuple(notes))
    other = open_image(reverse)
    if other.shape[:3] != image.shape[:3] or not np.allclose(other.affine, image.affine, atol=0.1):
        raise ValueError(
            f"{Path(reverse).name} has another grid than {Path(dwi).name}: {other.shape[:3]} and {image.shape[:3]} "
            "voxels, or another place. Take the b0 of the same session, or resample it to that grid"
        )
    opposite = read_encoding(read_sidecar(reverse), Path(reverse).name)
    still = _stills(_read(other, reverse), reverse)
    return Scan(*first, still, opposite, tuple(notes))


def beside(image: str | Path, extension: str) -> Path:
    """A file of the image's name with another extension."""
    path = Path(image)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + extension)


def _read(image, path: str | Path) -> np.ndarray:
    try:
        return np.asarray(image.dataobj, np.float32)
    except (*DAMAGE, ValueError) as error:
        raise ValueError(f"{Path(path).name} cannot be read to its end ({error}); fetch it again") from error


def _refuse_exchanged(data: np.ndarray, bvals: np.ndarray, name: str) -> None:
    """Refuse volumes that are called b0 and are as dark as weighted ones: b values in the order of another scan."""
    means = np.array([data[..., k].mean() for k in range(len(bvals))])
    weighted = np.median(means[bvals > B0])
    dark = np.flatnonzero((bvals <= B0) & (means < weighted + DARKER * (means.max() - weighted)))
    if len(dark):
        raise ValueError(
            f"{name}: volume {dark[0] + 1} (from 1) is a b0 by the .bval, and as dark as weighted ones: was a volume "
            "removed or added? Take the files of one conversion"
        )


def _stills(volumes: np.ndarray, path: str | Path) -> np.ndarray:
    """The b0 of an image: those that its .bval says, all where it has none."""
    volumes = volumes if volumes.ndim == 4 else volumes[..., None]
    name, bval = Path(path).name, beside(path, ".bval")
    bvals = read_bvals(bval) if bval.exists() else np.zeros(volumes.shape[3])
    if len(bvals) != volumes.shape[3] or not (bvals <= B0).any():
        raise ValueError(
            f"{name} has {volumes.shape[3]} volumes and b values {bvals[:5]}; expected one each, some of them at most "
            f"{B0:g} s/mm2. Mend its .bval, or take another image"
        )
    still = volumes[..., bvals <= B0]
    empty = [k + 1 for k in range(still.shape[3]) if not np.isfinite(still[..., k]).all() or not np.ptp(still[..., k])]
    if empty:
        raise ValueError(
            f"{name}: b0 {empty[0]} (from 1) is empty or holds NaN; convert it again, or leave the image out"
        )
    means = still.mean((0, 1, 2))
    if means.min() < ALIKE * means.max():
        raise ValueError(
            f"{name}: its b0 differ in brightness by {means.min() / means.max():.2f}, as weighted volumes do. Write "
            "its .bval (0 for a b0), or keep the b0 only"
        )
    return still


def read_bvals(path: Path) -> np.ndarray:
    """Read b values of an image whose directions are not asked for, s/mm2."""
    return one_row(read_rows(path), path.name)
