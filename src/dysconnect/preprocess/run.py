"""A BOLD run as scanned: read whole, refused where it is none, without its unsteady start, and slice-timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from dysconnect.data.images.volumes import (
    header_notes,
    open_bold,
    read_sidecar,
    reading,
    refuse_other_length,
    repetition_time,
)
from dysconnect.preprocess.motion import steady_start

TAPS = 4  # volumes on each side that slice timing looks at
FEWEST = 10  # steady volumes of a run


@dataclass(frozen=True)
class Run:
    """A BOLD run as scanned, without its first unsteady volumes.

    Attributes
    ----------
    data : array, [X, Y, Z, T]
        In the type of the file where it is not scaled, else float32.
    affine : array, [4, 4]
        Voxel to scanner mm.
    seconds : float
        Repetition time.
    shifts : array, [Z], or None
        When each slice was taken, relative to the middle one, in repetition times; None where nobody knows.
    dropped : int
        Volumes that were left out.
    notes : tuple of str
    """

    data: np.ndarray
    affine: np.ndarray
    seconds: float
    shifts: np.ndarray | None
    dropped: int
    notes: tuple[str, ...]

    @property
    def start_time(self) -> float:
        """When the first volume that is left was taken, s from the beginning of the file: the middle of its time."""
        return (self.dropped + 0.5) * self.seconds


def read_run(bold: str | Path, slice_timing: bool = True) -> Run:
    """Read a raw BOLD run, refuse what is none, and leave out its unsteady start.

    Raises
    ------
    ValueError
        When the file is missing or damaged, is not four-dimensional, holds NaN or volumes of zero, or is too short.
    """
    name = Path(bold).name
    if not name:
        raise ValueError("no BOLD (none was found): fetch func/*_bold.nii.gz again")
    scan = open_bold(bold)
    seconds = repetition_time(bold, scan)
    refuse_other_length(bold, scan)
    data = _read_volumes(scan, name)
    dropped = steady_start(data)
    if scan.shape[3] - dropped < FEWEST:
        raise ValueError(f"{name} has {scan.shape[3] - dropped} steady volumes, at least {FEWEST} are needed")
    notes = list(header_notes(bold, scan, seconds))
    if dropped:
        notes.append(f"{dropped} volumes before the steady state were left out")
    shifts = slice_shifts(read_sidecar(bold), seconds, scan.shape[2], name) if slice_timing else None
    return Run(data[..., dropped:], scan.affine, seconds, shifts, dropped, tuple(notes))


def _read_volumes(scan: nib.Nifti1Image, name: str) -> np.ndarray:
    """Read all volumes, [X, Y, Z, T], and refuse those that hold nothing or no numbers."""
    slope, intercept = scan.dataobj.slope, scan.dataobj.inter
    scaled = (slope, intercept) != (1, 0)
    data = np.empty(scan.shape, np.float32 if scaled else scan.get_data_dtype().newbyteorder("="), order="F")
    with reading(scan) as volumes:
        for t, volume in enumerate(volumes):
            if not np.isfinite(volume).all():
                raise ValueError(f"{name}: volume {t + 1} holds NaN or infinity; convert the scan again")
            if volume.min() == volume.max():
                raise ValueError(f"{name}: volume {t + 1} is {volume[0]} throughout; fetch or convert the scan again")
            values = volume * np.float64(slope) + intercept if scaled else volume
            data[..., t] = values.reshape(scan.shape[:3], order="F")
    return data


def slice_shifts(sidecar: Mapping, seconds: float, n_slices: int, name: str) -> np.ndarray | None:
    """When each slice was taken, relative to the middle of all, in repetition times, [Z]; None where no sidecar says.

    Raises
    ------
    ValueError
        When the times do not fit the image, or lie outside the repetition time.
    """
    times = np.asarray(sidecar.get("SliceTiming") or [], float)
    if not len(times):
        return None
    if len(times) != n_slices or sidecar.get("SliceEncodingDirection", "k") not in ("k", "k-"):
        raise ValueError(
            f"{name} has {n_slices} slices along z, its sidecar tells {len(times)} times along "
            f"{sidecar.get('SliceEncodingDirection', 'k')}; correct SliceTiming, or set preprocess.slice_timing=false"
        )
    if times.min() < 0 or times.max() > seconds:
        raise ValueError(
            f"{name}: SliceTiming goes from {times.min():g} to {times.max():g} s, the repetition time is {seconds:g} "
            "s; write seconds into SliceTiming, or set preprocess.slice_timing=false"
        )
    if sidecar.get("SliceEncodingDirection", "k") == "k-":
        times = times[::-1]
    return (times - (times.min() + times.max()) / 2) / seconds


def slice_timed(data: np.ndarray, shifts: np.ndarray | None, first: int, last: int) -> np.ndarray:
    """Volumes `first` to `last` as if all slices had been taken at once.

    Parameters
    ----------
    data : array, [X, Y, Z, T]
    shifts : array, [Z], or None
        See :func:`slice_shifts`.
    first, last : int

    Returns
    -------
    array of float32, [X, Y, Z, last - first]
        Every slice interpolated in time by a windowed sinc (Lanczos) over 8 volumes; ends are held.
    """
    if shifts is None:
        return data[..., first:last].astype(np.float32)
    out = np.empty((*data.shape[:3], last - first), np.float32, order="F")
    wanted = np.arange(first, last)
    near = np.clip(np.arange(first - TAPS, last + TAPS), 0, data.shape[3] - 1)
    away = np.arange(first - TAPS, last + TAPS) - wanted[:, None]  # [wanted, near]
    for z, shift in enumerate(shifts):
        late = away + shift  # of the samples from the wanted time, in repetition times
        weights = np.where(np.abs(late) < TAPS, np.sinc(late) * np.sinc(late / TAPS), 0)
        weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
        out[:, :, z] = data[:, :, z, near].astype(np.float32) @ weights.T
    return out
