"""Find a participant's scan among verified files, and check that it is what the dataset promises."""

import gzip
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dysconnect.acquire.diffusion import GRADIENTS, is_diffusion, opposite
from dysconnect.acquire.find import ALL_FILES, FILES, files_of_subject, find_scan, is_scan
from dysconnect.acquire.kinds import first_line, is_confounds, is_nuisance, old_names
from dysconnect.data.images.bare import is_bare
from dysconnect.data.images.spaces import GRAYORDINATES, is_grayordinates, space_of
from dysconnect.problems import one_line, reason
from dysconnect.reading.bids import Ambiguity, absent_content, listed, read_name, read_sidecars, sidecars_of
from dysconnect.reading.repetition import time_of

CHUNK = 1 << 22
SETTINGS = (
    "kind",
    "task",
    "space",
    "session",
    "run",
    "entities",
    "repetition_time",
    "phase_encoding",
    "site",
)  # of the dataset, read here
RAW_ENGINES = ("ants", "fmriprep")  # they need a T1w


def describe_scan(folder: Path, paths: Sequence[str], spec: Mapping) -> dict:
    """Collect what is known of a scan from its header and sidecars, without reading the image.

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
        What `find_scan` returns, `volumes`, `repetition_time` (s), `site` and `problem` ("" when all is well).
    """
    scan = dict.fromkeys(FILES, "") | {"choices": [], "volumes": 0, "repetition_time": 0.0, "site": "", "problem": ""}
    try:
        scan |= find_scan(paths, spec)
        if not scan["bold"]:
            return scan | {"problem": one_line(no_scan(paths, spec))}
        scan |= {"reverse": opposite(scan["bold"], paths, folder)} if is_diffusion(spec) else {}
        _refuse_absent(scan, folder, spec)
        shape, header_time = read_header(folder / scan["bold"])
        sidecar, origins = read_sidecars(sidecars_of(folder / scan["bold"], folder))
        scan |= {
            "volumes": shape[3],
            "repetition_time": time_of(sidecar, origins, header_time, Path(scan["bold"]).name),
        }
    except Exception as error:  # whatever a person's files raise is that person's reason
        return scan | {"problem": reason(error)}
    scan["site"] = "_".join(str(sidecar.get(spec.get("site") or "", "")).split())  # one spelling
    return scan | {"problem": one_line(_differs(scan, sidecar, spec))}


def _refuse_absent(scan: dict, folder: Path, spec: Mapping) -> None:
    """Refuse links without content, a missing T1w, and confounds under old names."""
    if absent := absent_content(folder, [scan[name] for name in ALL_FILES if name in scan]):
        raise ValueError(absent)
    if spec.get("engine") in RAW_ENGINES and spec["kind"] == "bids" and not scan["t1w"]:
        raise ValueError(
            f"no T1w beside {Path(scan['bold']).name}, nor in another session, so that it cannot be registered. Add "
            "one, or leave the person out"
        )
    for kind in GRADIENTS:
        if not scan.get(kind, "-"):
            raise ValueError(
                f"no {kind} beside {Path(scan['bold']).name}, under its name: how volumes were weighted is not known. "
                "Convert the scan again (dcm2niix writes it), or fetch the file"
            )
    if not scan["confounds"]:
        return
    cells, name = first_line(folder / scan["confounds"]), Path(scan["confounds"]).name
    if old := old_names(cells):
        raise ValueError(
            f"{name}: the confounds have old names ({', '.join(old[:3])}): write those of fMRIPrep since 1.2 "
            "(framewise_displacement, trans_x, rot_x, csf, white_matter, global_signal), or run a newer one"
        )
    if not is_confounds(read_name(name)) and not is_nuisance(cells):
        scan["confounds"] = ""  # a table of something else under the name of series


def no_scan(paths: Sequence[str], spec: Mapping) -> str:
    """Say that there is no scan of the task, in the space or of the session asked for, and what there is instead."""
    scans = [file for file in files_of_subject(paths) if is_scan(file, spec)]
    asked = [f"a {spec['task']} scan", f"in {spec['space']}" if spec["kind"] == "derivatives" and not scans else ""]
    bold = [path for path in paths if path.endswith(("_bold.nii.gz", "_bold.nii", GRAYORDINATES))]
    spaces = sorted({space for path in bold if (space := space_of(path))})
    tasks = sorted({file.entities.get("task", "") for file in scans} - {"", spec["task"]})
    other = [file for file in scans if file.entities.get("task") == spec["task"]]
    there = ""
    if other:
        there = f" (dataset.session, run or entities; there is {listed(other, 2)})"
    elif tasks:
        there = f" (dataset.task; there is {', '.join(tasks)})"
    elif spec["kind"] == "derivatives" and spaces:
        there = f" (dataset.space; there is {', '.join(spaces)})"
    return f"no {' '.join(filter(None, asked)).removeprefix('a ')}{there} among its {len(paths)} files"


def _differs(scan: Mapping, sidecar: Mapping, spec: Mapping) -> str:
    """Say how a scan differs from what the dataset promises."""
    expected, directions = spec.get("repetition_time"), spec.get("phase_encoding")
    if expected and abs(scan["repetition_time"] - expected) > 1e-3:
        return f"repetition time {scan['repetition_time']:g} s, expected {expected:g} s"
    direction = sidecar.get("PhaseEncodingDirection")
    if directions and direction and direction not in directions:
        return f"phase encoding {direction}, expected {' or '.join(directions)}"
    return ""


def echo_times(ambiguity: Ambiguity, root: Path) -> str:
    """Say what to do with several echoes, and their times (ms) where sidecars tell them; "" of anything else."""
    if ambiguity.key != "echo":
        return ""
    times_of = []
    for file in ambiguity.files:
        try:
            seconds = read_sidecars(sidecars_of(root / file.path, root))[0].get("EchoTime")
            times_of.append(f"echo {file.entities.get('echo', '?')}: {1e3 * seconds:.3g} ms")
        except (ValueError, TypeError, OSError):
            pass
    times = f" ({', '.join(times_of)})" if times_of else ""
    return f" Echoes{times} are not combined here: --config preprocess=fmriprep combines them."


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
        from dysconnect.data.images.cifti import open_grayordinates, series_time  # nibabel

        scan = open_grayordinates(path)
        return (1, 1, scan.shape[1], scan.shape[0]), series_time(scan)
    import nibabel as nib
    from nibabel.wrapstruct import WrapStructError

    try:
        packed = path.name.endswith(".gz") and not is_bare(path)
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
        raise ValueError(
            f"{path.name} holds {held:,} of {needed:,} bytes: the image is cut short; fetch or convert it again"
        )
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
            while block := file.read1(CHUNK):  # `read` would forget what came before a sudden end
                held += len(block)
    except (OSError, EOFError, zlib.error):
        pass  # damaged: what could be unpacked is what it holds
    return held
