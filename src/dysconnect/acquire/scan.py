"""Find a participant's scan among verified files, and check that it is what the dataset promises."""

import fnmatch
import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.wrapstruct import WrapStructError

from dysconnect.preprocess.cifti import ENDING, is_grayordinates, open_grayordinates, series_time
from dysconnect.preprocess.spaces import SURFACE_SPACE, space_of
from dysconnect.preprocess.volumes import read_sidecar

CHUNK = 1 << 22
ON_SURFACE = f"space-{SURFACE_SPACE}_den-[0-9]*k_bold"  # fMRIPrep's; other programs name a desc- of their own
SETTINGS = (
    "kind",
    "task",
    "space",
    "session",
    "repetition_time",
    "phase_encoding",
    "site",
)  # of the dataset, read here


def find_scan(paths: Sequence[str], spec: Mapping) -> dict[str, str]:
    """Choose the files of the resting scan.

    Parameters
    ----------
    paths : sequence of str
        Files of one participant, relative to the data folder.
    spec : mapping
        The `dataset` section: `kind` (`bids` or `derivatives`), `task`, `space` (derivatives), `session` (or None).

    Returns
    -------
    dict of str to str
        `bold`, `sidecar`, `mask`, `confounds`, `t1w`: the first match in alphabetical order (so the first run),
        "" where there is none.
    """
    session = spec.get("session")
    own = [path for path in paths if not session or f"/{session}/" in path or "/ses-" not in path]
    own.sort(key=lambda path: ("_den-170k_" in path, path))  # of two meshes the coarser, on which atlases are drawn
    task = f"*_task-{spec['task']}_*"
    if spec["kind"] == "bids":
        patterns = {"bold": f"{task}bold.nii*", "sidecar": f"{task}bold.json", "t1w": "*_T1w.nii*"}
    elif spec["space"] == SURFACE_SPACE:
        patterns = {"bold": f"{task}{ON_SURFACE}.dtseries.nii", "sidecar": f"{task}{ON_SURFACE}*.json"}
    else:
        space = f"{task}space-{spec['space']}_*"
        patterns = {"bold": f"{space}desc-preproc_bold.nii*", "sidecar": f"{space}desc-preproc_bold.json"}
        patterns |= {"mask": f"{space}desc-brain_mask.nii*"}
    if spec["kind"] != "bids":
        patterns |= {"confounds": f"{task}desc-confounds_timeseries.tsv"}
    found = {name: fnmatch.filter(own, pattern) for name, pattern in patterns.items()}
    return {name: (found.get(name) or [""])[0] for name in ("bold", "sidecar", "mask", "confounds", "t1w")}


def describe_scan(folder: Path, paths: Sequence[str], spec: Mapping) -> dict:
    """Collect what is known of a scan from its header and sidecar, without reading the image.

    Parameters
    ----------
    folder : path
        Data folder.
    paths : sequence of str
        Files of one participant, relative to it.
    spec : mapping
        The `dataset` section; beside the keys of `find_scan`: `repetition_time` (seconds) and `phase_encoding`
        (allowed directions), each None for any; `site` (a sidecar field, or None).

    Returns
    -------
    dict
        The files of `find_scan`, `volumes`, `repetition_time` (s), `site` and `problem` ("" when all is well).
    """
    scan = {**find_scan(paths, spec), "volumes": 0, "repetition_time": 0.0, "site": "", "problem": ""}
    if not scan["bold"]:
        return scan | {"problem": f"no {spec['task']} scan{_where(paths, spec)} among its {len(paths)} files"}
    try:
        shape, header_time = read_header(folder / scan["bold"])
        sidecar = read_sidecar(folder / scan["bold"])
    except ValueError as problem:
        return scan | {"problem": str(problem)}
    repetition_time = float(sidecar.get("RepetitionTime") or header_time)
    scan |= {"volumes": shape[3], "repetition_time": repetition_time}
    scan["site"] = "_".join(str(sidecar.get(spec.get("site") or "", "")).split())  # one spelling
    return scan | {"problem": _differs(scan, sidecar, spec)}


def _where(paths: Sequence[str], spec: Mapping) -> str:
    """Name the space in which there is no scan, and those in which there is one."""
    if spec["kind"] == "bids":
        return ""
    bold = [path for path in paths if path.endswith(("_bold.nii.gz", "_bold.nii", ENDING))]
    others = sorted({space for path in bold if (space := space_of(path))})
    return f" in {spec['space']}" + (f" (dataset.space; there is {', '.join(others)})" if others else "")


def _differs(scan: Mapping, sidecar: Mapping, spec: Mapping) -> str:
    """Say how a scan differs from what the dataset promises."""
    expected, directions = spec.get("repetition_time"), spec.get("phase_encoding")
    if scan["repetition_time"] <= 0:
        return f"{Path(scan['bold']).name}: no repetition time in sidecar or header; add a sidecar with RepetitionTime"
    if expected and abs(scan["repetition_time"] - expected) > 1e-3:
        return f"repetition time {scan['repetition_time']:g} s, expected {expected:g} s"
    direction = sidecar.get("PhaseEncodingDirection")
    if directions and direction and direction not in directions:
        return f"phase encoding {direction}, expected {' or '.join(directions)}"
    return ""


def read_header(path: Path) -> tuple[tuple[int, ...], float]:
    """Read the header of a NIfTI-1 image, or of a dense time series, and check that the file holds all of its values.

    Returns
    -------
    shape : tuple of int
        Four-dimensional; (1, 1, vertices and voxels, T) for a dense time series.
    repetition_time : float
        Seconds of the header, 0 where it says nothing. A sidecar is more reliable: converters put other
        things here.

    Raises
    ------
    ValueError
        When it is no four-dimensional NIfTI image, or is cut short.
    """
    if is_grayordinates(path):
        scan = open_grayordinates(path)
        return (1, 1, scan.shape[1], scan.shape[0]), series_time(scan)
    packed = path.name.endswith(".gz")
    try:
        with (gzip.open if packed else open)(path, "rb") as file:
            header = nib.Nifti1Header.from_fileobj(file)
    except (OSError, EOFError, zlib.error, WrapStructError, nib.spatialimages.HeaderDataError) as error:
        raise ValueError(f"{path.name} is no NIfTI image ({error})") from error
    shape = tuple(int(size) for size in header.get_data_shape())
    if len(shape) != 4:
        raise ValueError(f"{path.name} has {len(shape)} dimensions, expected 4 (x, y, z, time)")
    needed = int(header["vox_offset"]) + int(np.prod(shape, dtype=np.int64)) * header.get_data_dtype().itemsize
    held = _unpacked_size(path, needed) if packed else path.stat().st_size
    if held < needed:
        raise ValueError(f"{path.name} holds {held:,} of {needed:,} bytes: the image is cut short")
    unit = {8: 1.0, 16: 1e-3, 24: 1e-6}.get(int(header["xyzt_units"]) & 56, 1.0)
    return shape, float(header["pixdim"][4]) * unit


def _unpacked_size(path: Path, needed: int) -> int:
    """Bytes in a gzip file: by its trailer; where that disagrees (several members, or damage), by unpacking."""
    with open(path, "rb") as file:
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == needed % 2**32:
            return needed
    held = 0
    try:
        with gzip.open(path, "rb") as file:
            while block := file.read(CHUNK):
                held += len(block)
    except (OSError, EOFError, zlib.error):
        pass  # damaged: what could be unpacked is what it holds
    return held
