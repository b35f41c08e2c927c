"""From volumes as scanned to values at places of the head, slice times and motion undone in one interpolation."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage
from threadpoolctl import threadpool_limits

from dysconnect.preprocess.run import Run, slice_timed

CHUNK = 16  # volumes that are in work together
BORDER = 0.5  # voxels outside the grid that still count as seen


def values_at(
    run: Run, matrices: np.ndarray, points: np.ndarray, threads: int = 2
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Sample a run at places that move with the head, by cubic B-splines.

    Parameters
    ----------
    run : Run
    matrices : array, [T, 4, 4]
        Volume to reference, scanner mm.
    points : array, [P, 3]
        mm, in the reference.
    threads : int

    Yields
    ------
    volumes : slice
    values : array of float32, [volumes, P]
        Zero where the place left the field of view.
    seen : array of bool, [volumes, P]
    """
    shape, columns = np.array(run.data.shape[:3])[:, None], np.ascontiguousarray(points.T)
    back = np.linalg.inv(matrices @ run.affine)  # reference mm to the voxels of each volume

    def sample(volume: np.ndarray, to_voxel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = to_voxel[:3, :3] @ columns + to_voxel[:3, 3:]
        seen = ((places >= -BORDER) & (places <= shape - 1 + BORDER)).all(0)
        smooth = ndimage.spline_filter(volume, 3, output=np.float32, mode="mirror")
        values = ndimage.map_coordinates(smooth, places, order=3, mode="mirror", prefilter=False)
        return np.where(seen, values, 0), seen

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:  # more threads only get in the way
        for first in range(0, run.data.shape[3], CHUNK):
            rows = slice(first, min(first + CHUNK, run.data.shape[3]))
            volumes = np.moveaxis(slice_timed(run.data, run.shifts, rows.start, rows.stop), 3, 0)
            values, seen = zip(*pool.map(sample, volumes, back[rows]))
            yield rows, np.array(values), np.array(seen)


def brain_series(run: Run, matrices: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Realign the voxels of the brain.

    Parameters
    ----------
    run : Run
    matrices : array, [T, 4, 4]
        Volume to reference, scanner mm.
    brain : array of bool, [X, Y, Z]
        On the run's grid.

    Returns
    -------
    series : array of float32, [V, T]
        Of the voxels of `inside`, in its order (the last axis runs fastest).
    inside : array of bool, [X, Y, Z]
        What of the brain stays in the field of view throughout.

    Raises
    ------
    ValueError
        When nothing does.
    """
    voxels = np.argwhere(brain)
    series, there = np.empty((len(voxels), run.data.shape[3]), np.float32), np.ones(len(voxels), bool)
    for rows, values, seen in values_at(run, matrices, apply_affine(run.affine, voxels)):
        series[:, rows] = values.T
        there &= seen.all(0)
    if not there.any():
        raise ValueError(
            "no voxel of the brain stays in the field of view throughout: too much motion; leave the subject out"
        )
    inside = np.zeros_like(brain)
    inside[tuple(voxels[there].T)] = True
    return series if there.all() else series[there], inside


def write_volumes(
    path: str | Path, volumes: Iterator[np.ndarray], inside: np.ndarray, affine: np.ndarray, n: int, seconds: float
) -> None:
    """Write a run of which only the brain is known, volume by volume, uncompressed so that it can be read in place.

    Parameters
    ----------
    path : path
    volumes : iterator of array, [V]
        Values of the voxels of `inside`, in its order.
    inside : array of bool, [X, Y, Z]
    affine : array, [4, 4]
    n : int
        Volumes.
    seconds : float
        Repetition time.
    """
    header = nib.Nifti1Header()
    header.set_data_shape((*inside.shape, n))
    header.set_data_dtype(np.float32)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, code=1)
    header.set_zooms((*nib.affines.voxel_sizes(affine), seconds))
    header["vox_offset"], header["magic"] = 352, b"n+1"
    volume = np.zeros(inside.shape, np.float32, order="F")
    with open(path, "wb") as file:
        header.write_to(file)
        file.write(bytes(352 - file.tell()))
        for values in volumes:
            volume[inside] = values
            file.write(volume.tobytes(order="F"))
