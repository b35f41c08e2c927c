"""Reading a BOLD run volume by volume, and what its headers tell: times, orientation, and whether a mask fits."""

import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener

from dysconnect.data.images.bare import is_bare
from dysconnect.reading.bids import read_sidecars, sidecars_of
from dysconnect.reading.numeric import refuse_absent
from dysconnect.reading.repetition import time_of

try:  # decompresses in a third of the time; there is no build of it for every platform
    from isal import igzip
    from isal.isal_zlib import error as IsalError

    GZIP, DAMAGE = igzip.open, (EOFError, OSError, zlib.error, IsalError)
except ImportError:
    import gzip

    GZIP, DAMAGE = gzip.open, (EOFError, OSError, zlib.error)

BLOCK = 1 << 23  # bytes that are read in one go
AHEAD = 32  # blocks that wait, read and unpacked, while regions are computed or others are averaged
SLACK = 0.1  # mm that two affines may differ at the corners of the grid
TIGHTEST = 1040  # times that gzip packs at most; whoever reads it says what is merely cut short


def open_bold(path: str | Path) -> nib.Nifti1Image:
    """Open a BOLD image without reading its voxels.

    Raises
    ------
    ValueError
        When it is no NIfTI image, is not four-dimensional, or holds colours or complex numbers.
    """
    name = Path(path).name
    scan = open_image(path)
    if scan.ndim != 4:
        raise ValueError(f"{name} has {scan.ndim} dimensions, expected 4 (x, y, z, time)")
    if not isinstance(scan, nib.Nifti1Pair):
        raise ValueError(f"{name} is no NIfTI image but {type(scan).__name__}; convert it to .nii.gz")
    if scan.get_data_dtype().kind not in "iuf":
        raise ValueError(f"{name} holds {scan.get_data_dtype()}, expected real numbers")
    return scan


def open_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """Open an image without reading its voxels, and refuse one whose header cannot be.

    Raises
    ------
    FileNotFoundError
        When it is gone since it was collected.
    ValueError
        When it is no image, places its voxels nowhere, or promises more of them than the file can hold.
    """
    path = Path(path)
    refuse_absent(path, "image")
    try:
        image = _loaded(path)
    except (*DAMAGE, ValueError, nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError) as error:
        raise ValueError(f"{path.name} cannot be read as an image ({error}); fetch it again") from error
    if min(image.shape, default=0) < 1:
        raise ValueError(f"{path.name} has shape {image.shape}: no voxel; convert it again")
    if not np.isfinite(image.affine).all() or not abs(np.linalg.det(image.affine[:3, :3])) > 1e-6:
        raise ValueError(f"{path.name}: its header says no place of the voxels (affine); convert it again")
    held = path.stat().st_size * TIGHTEST
    needed = int(np.prod(image.shape, dtype=object)) * image.get_data_dtype().itemsize
    if held < needed:  # before anybody asks for so much memory
        raise ValueError(f"{path.name} is too small for its shape {image.shape}: it is cut short; fetch it again")
    return image


def _loaded(path: Path) -> nib.spatialimages.SpatialImage:
    """Open an image by its name, but for one that is called packed and is not."""
    if path.suffix != ".gz" or not is_bare(path):
        return nib.load(path)
    holder = nib.fileholders.FileHolder(str(path), open(path, "rb"))  # open as long as the image is  # noqa: SIM115
    return nib.Nifti1Image.from_file_map({"image": holder})


@contextmanager
def reading(scan: nib.Nifti1Image) -> Iterator[Iterator[np.ndarray]]:
    """Read a run from its beginning, unpacking in another thread; a few blocks of it are in memory at a time.

    Parameters
    ----------
    scan : Nifti1Image, [X, Y, Z, T]
        From `open_bold`.

    Yields
    ------
    iterator of array, [X * Y * Z]
        One a volume, in the type of the file and unscaled; voxels in the order of the file (x runs fastest).

    Raises
    ------
    ValueError
        While reading, when the file ends early or is damaged.
    """
    pool, blocks = ThreadPoolExecutor(1), _blocks(scan)
    waiting = deque(pool.submit(next, blocks, None) for _ in range(AHEAD))

    def volumes():
        while (block := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, blocks, None))
            yield from block

    try:
        yield volumes()
    finally:
        pool.shutdown(cancel_futures=True)
        blocks.close()


def _blocks(scan: nib.Nifti1Image) -> Iterator[np.ndarray]:
    """Blocks of volumes, [volumes, X * Y * Z], to the end of the file, so that its checksum is seen."""
    proxy, n_volumes = scan.dataobj, scan.shape[3]
    n_voxels, done = int(np.prod(scan.shape[:3])), 0
    step = max(1, BLOCK // (n_voxels * proxy.dtype.itemsize))
    path = Path(scan.get_filename())
    try:
        with _opened(path) as file:
            file.seek(proxy.offset)
            while done < n_volumes:
                block = np.empty((min(step, n_volumes - done), n_voxels), proxy.dtype)
                _fill(file, block)
                done += len(block)
                yield block
            while path.suffix == ".gz" and file.read(1 << 20):
                pass
    except DAMAGE as error:
        raise ValueError(
            f"{path.name} is cut short or damaged (after volume {done} of {n_volumes}: {error}); fetch it again"
        ) from error


def _opened(path: Path):
    """Open a file for reading, and unpack what is packed."""
    if path.suffix != ".gz":
        return Opener(path)
    return open(path, "rb") if is_bare(path) else GZIP(path, "rb")


def _fill(file, block: np.ndarray) -> None:
    """Read until a block is full: a file of gzip gives what it has."""
    view, held = memoryview(block).cast("B"), 0
    while held < len(view):
        got = file.readinto(view[held:])
        if not got:
            raise EOFError("the file ends here")
        held += got


def read_mask(path: str | Path, scan: nib.Nifti1Image) -> np.ndarray:
    """Read a brain mask that must lie on the grid of the BOLD, bool [X, Y, Z].

    Raises
    ------
    ValueError
        When shape or affine differ from the BOLD's, or no voxel is inside.
    """
    name, bold = Path(path).name, Path(scan.get_filename()).name
    image = open_image(path)
    try:
        inside = np.asanyarray(image.dataobj) > 0.5
    except (*DAMAGE, ValueError, TypeError, nib.filebasedimages.ImageFileError) as error:
        raise ValueError(f"{name} cannot be read as a mask ({error}); fetch it again") from error
    if inside.shape != scan.shape[:3]:
        raise ValueError(f"{name} has shape {inside.shape}, the BOLD {scan.shape[:3]}")
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(inside.shape) - 1)
    places = [nib.affines.apply_affine(affine, corners) for affine in (image.affine, scan.affine)]
    apart = np.linalg.norm(places[0] - places[1], axis=1).max()
    if not apart <= SLACK:
        raise ValueError(
            f"{name} and {bold} have different affines: {apart:.1f} mm apart at a corner. They do not belong together; "
            "take the mask of this run"
        )
    if not inside.any():
        raise ValueError(f"{name} is empty: no voxel is inside the brain")
    return inside


def read_sidecar(bold: str | Path) -> dict:
    """Merge the sidecars that apply to an image, the more specific over the more general (BIDS inheritance).

    Raises
    ------
    ValueError
        When one of them is no JSON object.
    """
    return read_sidecars(sidecars_of(bold))[0]


def repetition_time(bold: str | Path, image: nib.Nifti1Image) -> float:
    """Seconds between volumes: the sidecar's word counts; converters put other things into headers.

    Raises
    ------
    ValueError
        When neither says anything, or what is said is no number of seconds.
    """
    return time_between_volumes(bold, header_time(image))


def time_between_volumes(bold: str | Path, of_header: float) -> float:
    """Seconds between volumes as `repetition_time` tells them, `of_header` where the sidecar says nothing."""
    return time_of(*read_sidecars(sidecars_of(bold)), of_header, Path(bold).name)


def refuse_other_length(bold: str | Path, image: nib.Nifti1Image) -> None:
    """Refuse a run whose sidecar tells another number of volumes: `NumberOfVolumes`, or the times of `VolumeTiming`."""
    refuse_other_count(bold, image.shape[3])


def refuse_other_count(bold: str | Path, n_volumes: int) -> None:
    """Refuse a number of volumes other than the sidecar's, as `refuse_other_length` does."""
    sidecar = read_sidecar(bold)
    expected = sidecar.get("NumberOfVolumes") or len(sidecar.get("VolumeTiming") or [])
    if expected and expected != n_volumes:
        raise ValueError(
            f"{Path(bold).name} has {n_volumes} volumes, its sidecar says {expected}: a part of the run is "
            "missing or does not belong to it; fetch both again"
        )


def header_time(image: nib.Nifti1Image) -> float:
    """Repetition time of the header in seconds, whatever unit it declares; 0 where it says nothing."""
    unit = {"msec": 1e-3, "usec": 1e-6}.get(image.header.get_xyzt_units()[1], 1.0)
    return float(image.header.get_zooms()[3]) * unit


def header_notes(bold: str | Path, image: nib.Nifti1Image, seconds: float) -> list[str]:
    """Say what is doubtful in a header though the run can be used: another repetition time, left and right.

    Parameters
    ----------
    bold : path
    image : Nifti1Image
    seconds : float
        Repetition time that is used.
    """
    notes, in_header = [], header_time(image)
    if in_header and abs(in_header - seconds) > 1e-3:
        notes.append(f"header says a repetition time of {in_header:.4g} s, the sidecar {seconds:.4g} s, which is used")
    (sform, s_code), (qform, q_code) = image.get_sform(coded=True), image.get_qform(coded=True)
    if not s_code and not q_code:
        notes.append("left and right are a guess: the header has no orientation (sform and qform codes are 0)")
    elif s_code and q_code and np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        notes.append("left and right may be swapped: sform and qform disagree in handedness; the sform is used")
    return notes
