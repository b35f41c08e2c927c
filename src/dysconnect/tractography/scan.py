"""A diffusion scan as people's files have it: images, gradients, and b0 that were encoded the other way round."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dysconnect.data.images.volumes import DAMAGE, open_bold, open_image, read_sidecar
from dysconnect.reading.encoding import Encoding, read_encoding
from dysconnect.reading.gradients import B0, read_gradients, world_vectors


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
    first = (beside(dwi, ".bvec").name, _read(image, dwi), image.affine, gradients.bvals, bvecs, encoding)
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


def _stills(volumes: np.ndarray, path: str | Path) -> np.ndarray:
    """The b0 of an image: those that its .bval says, all where it has none."""
    volumes = volumes if volumes.ndim == 4 else volumes[..., None]
    if not beside(path, ".bval").exists():
        return volumes
    bvals = read_bvals(beside(path, ".bval"))
    if len(bvals) != volumes.shape[3] or not (bvals <= B0).any():
        raise ValueError(
            f"{Path(path).name} has {volumes.shape[3]} volumes and b values {bvals[:5]}; expected one each, some of "
            f"them at most {B0:g} s/mm2. Mend its .bval, or take another image"
        )
    return volumes[..., bvals <= B0]


def read_bvals(path: Path) -> np.ndarray:
    """Read b values of an image without directions, s/mm2."""
    try:
        return np.array(path.read_text().split(), float)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}; one number a volume is expected") from error
