"""Engine `ants`: from raw BIDS (T1w, BOLD, sidecar) to realigned BOLD, masks, confounds and regional series.

The atlas comes to the subject: sphere centres or labels are brought once into the space of the BOLD, and the volumes
are only realigned to each other, in one interpolation. Slice times are corrected on the voxels as scanned, after
motion was estimated and before it is undone, as fMRIPrep does. First volumes that are not steady are left out.
Distortion by susceptibility is not corrected: without a field map the BOLD is matched to the T1w rigidly, and regions
beside the sinuses and the ear canals carry what error remains.
"""

import json
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from dysconnect import __version__
from dysconnect.preprocess.confounds import confounds_table, erode, write_confounds
from dysconnect.preprocess.motion import Motion, foreground, realign, register, steady_start
from dysconnect.preprocess.registration import (
    Anatomy,
    dice,
    labels_to_bold,
    points_to_bold,
    prepare_anatomy,
    pulled,
    register_bold,
)
from dysconnect.preprocess.spaces import TEMPLATE_SPACE, refuse_other_space
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.preprocess.volumes import (
    header_notes,
    open_bold,
    read_sidecar,
    reading,
    refuse_other_length,
    repetition_time,
)

CHUNK = 16  # volumes that are realigned together
TAPS = 4  # volumes on each side that slice timing looks at
FEWEST = 10  # steady volumes of a run
OVERLAP = 0.6  # least Dice of the T1w's brain and the template's, and least share of the BOLD's brain in the T1w's
TISSUE = 0.8  # least probability of white matter; CSF is rarer on coarse grids
FLUID = 0.6


@dataclass(frozen=True)
class Run:
    """A BOLD run as scanned, without its first unsteady volumes.

    Attributes
    ----------
    data : array, [X, Y, Z, T]
        In the file's own type, unscaled.
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


def run_subject(scan: Mapping, nodes: pd.DataFrame, atlas: Mapping, folder: Path, spec: Mapping) -> dict:
    """Preprocess one subject from raw images.

    Parameters
    ----------
    scan : mapping
        `participant_id`, `bold` and `t1w` (paths); the BOLD's sidecar lies beside it.
    nodes : DataFrame, [N rows]
        In template mm.
    atlas : mapping
        The `atlas` section: label image `image` and its template `space`, where it has them.
    folder : path
        Where the tables go; images and the report go into the folder `bold` beside it.
    spec : mapping
        The `preprocess` section: `transform` (`affine`, `fast`, `accurate`), `resolution` (mm), `slice_timing` (bool),
        `save_bold` (bool), `min_coverage`, `seed`, `threads`, `device`.

    Returns
    -------
    dict
        The row of `preprocess_subject`; then `bold` ("" unless kept), `mask`, `nodes`, `image` (the atlas in the
        BOLD's mm) and `engine` (JSON: measures of registration, seconds by step, peak memory, versions).

    Raises
    ------
    ValueError
        When an image is missing or not usable, the registration failed, or atlas and template are of different spaces.
    """
    refuse_other_space(TEMPLATE_SPACE, atlas.get("space"), "the template of preprocess=ants")
    images = Path(folder).parent / "bold"
    images.mkdir(parents=True, exist_ok=True)
    stem = images / scan["participant_id"]
    clock: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        with timed(clock, "read BOLD"):
            run = read_run(scan["bold"], spec.get("slice_timing", True))
        with timed(clock, "T1w to template"):
            anatomy = prepare_anatomy(scan.get("t1w") or "", Path(scratch), spec)
        with timed(clock, "motion"):
            motion = register(run.data, run.affine, device=spec.get("device", "auto"))
        with timed(clock, "BOLD to T1w"):
            found = register_bold(
                motion.reference, run.affine, motion.mask, anatomy, Path(scratch), int(spec.get("seed", 0))
            )
            masks, measures = brain_masks(motion, run.affine, anatomy, found[0], Path(scan["bold"]).name)
        measures = {**anatomy.measures, **found[1], **measures}
        with timed(clock, "realign"):
            bold = write_realigned(run, motion, masks, Path(f"{stem}_desc-preproc_bold.nii"))
        with timed(clock, "atlas to BOLD"):
            own_nodes, own_image = atlas_to_bold(nodes, atlas, anatomy, found[0], stem)
    with timed(clock, "confounds"):
        paths = _write_tables(run, motion, masks, bold, stem)
    with timed(clock, "series"):
        entry = {"participant_id": scan["participant_id"], "bold": str(bold), **paths}
        row = preprocess_subject(entry, own_nodes, Path(folder), {"image": own_image or None}, spec)
    if not spec.get("save_bold", False):
        bold.unlink()
    row["note"] = "; ".join(part for part in (*run.notes, row["note"]) if part)
    engine = _write_report(run, motion, measures, clock, spec, stem)
    kept = str(bold) if spec.get("save_bold", False) else ""
    return {
        **row,
        "bold": kept,
        "mask": paths["mask"],
        "nodes": f"{stem}_nodes.tsv",
        "image": own_image,
        "engine": engine,
    }


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Write the wall seconds of a step into `clock`."""
    start = time.perf_counter()
    yield
    clock[name] = round(time.perf_counter() - start, 2)


def read_run(bold: str | Path, slice_timing: bool = True) -> Run:
    """Read a raw BOLD run, refuse what is none, and leave out its unsteady start.

    Raises
    ------
    ValueError
        When the file is missing or damaged, is not four-dimensional, holds NaN or volumes of zero, or is too short.
    """
    name = Path(bold).name
    if not str(bold) or not Path(bold).is_file():
        raise ValueError(f"no BOLD ({name or 'none was found'}): fetch func/*_bold.nii.gz again")
    scan = open_bold(bold)
    seconds = repetition_time(bold, scan)
    refuse_other_length(bold, scan)
    data = np.empty(scan.shape, scan.get_data_dtype().newbyteorder("="), order="F")
    with reading(scan) as volumes:
        for t, volume in enumerate(volumes):
            data[..., t] = volume.reshape(scan.shape[:3], order="F")
            if not np.isfinite(volume).all():
                raise ValueError(f"{name}: volume {t + 1} holds NaN or infinity; convert the scan again")
            if not np.ptp(volume) > 0:
                raise ValueError(f"{name}: volume {t + 1} is {volume[0]} throughout; fetch or convert the scan again")
    dropped = steady_start(data)
    if scan.shape[3] - dropped < FEWEST:
        raise ValueError(f"{name} has {scan.shape[3] - dropped} steady volumes, at least {FEWEST} are needed")
    notes = list(header_notes(bold, scan, seconds))
    if dropped:
        notes.append(f"{dropped} volumes before the steady state were left out")
    shifts = slice_shifts(read_sidecar(bold), seconds, scan.shape[2], name) if slice_timing else None
    return Run(data[..., dropped:], scan.affine, seconds, shifts, dropped, tuple(notes))


def slice_shifts(sidecar: Mapping, seconds: float, n_slices: int, name: str) -> np.ndarray | None:
    """When each slice was taken, relative to the middle of all, in repetition times, [Z]; None where it is not told.

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
    steps = np.arange(-TAPS, TAPS + 1)
    away = steps[:, None] + shifts  # of the samples from the wanted time, [taps, Z]
    weights = np.where(np.abs(away) < TAPS, np.sinc(away) * np.sinc(away / TAPS), 0)
    weights = (weights / weights.sum(0)).astype(np.float32)
    out = np.zeros((*data.shape[:3], last - first), np.float32, order="F")
    for step, weight in zip(steps, weights, strict=True):
        rows = np.clip(np.arange(first, last) + step, 0, data.shape[3] - 1)
        for k, t in enumerate(rows):
            out[..., k] += weight * data[..., t]
    return out


def brain_masks(
    motion: Motion, affine: np.ndarray, anatomy: Anatomy, to_t1w: np.ndarray, name: str
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Bring brain and tissues of the T1w to the grid of the BOLD, and judge the registration by their overlap.

    Returns
    -------
    masks : dict of str to array of bool, [X, Y, Z]
        `brain` (where the BOLD has signal), `white_matter`, `csf`.
    measures : dict of str to float
        `dice_bold_t1w` (brain by the BOLD's histogram and by the T1w, within the field of view).

    Raises
    ------
    ValueError
        When BOLD and T1w, or T1w and template, overlap too little.
    """
    reference, shape = motion.reference, motion.reference.shape
    own = [
        pulled(image, anatomy.t1w.affine, to_t1w, affine, shape)
        for image in (anatomy.brain, anatomy.white_matter, anatomy.csf)
    ]
    by_t1w, by_bold = own[0] > 0.5, ndimage.binary_fill_holes(foreground(reference, affine))
    overlap = {"dice_bold_t1w": dice(by_t1w, by_bold)}
    contained = np.sum(by_t1w & by_bold) / max(np.sum(by_bold), 1)
    if anatomy.measures["dice_t1w_template"] < OVERLAP or contained < OVERLAP:
        raise ValueError(
            f"{name}: {contained:.0%} of the BOLD's brain lies in the T1w's, and T1w and template overlap by a Dice of "
            f"{anatomy.measures['dice_t1w_template']:.2f} (both at least {OVERLAP}): the brain is outside the field of "
            "view, or T1w and BOLD are not of one person. Look at both images; leave the subject out if so"
        )
    brain = by_t1w & (reference > 0.2 * np.median(reference[by_t1w & by_bold]))
    masks = {"brain": brain, "white_matter": brain & (own[1] > TISSUE), "csf": by_t1w & brain & (own[2] > FLUID)}
    return masks, overlap


def write_realigned(run: Run, motion: Motion, masks: dict[str, np.ndarray], path: Path) -> Path:
    """Write the run with slice times and motion corrected, and take out of the masks what left the field of view.

    Parameters
    ----------
    run : Run
    motion : Motion
    masks : dict of str to array of bool, [X, Y, Z]
        Changed in place.
    path : path
        Uncompressed, so that it can be read in place.
    """
    there = np.ones(run.data.shape[:3], bool)
    header = nib.Nifti1Header()
    header.set_data_shape(run.data.shape)
    header.set_data_dtype(np.float32)
    header.set_xyzt_units("mm", "sec")
    header.set_sform(run.affine, code=1)
    header.set_zooms((*nib.affines.voxel_sizes(run.affine), run.seconds))
    with open(path, "wb") as file:
        header["vox_offset"] = 352
        header["magic"] = b"n+1"
        header.write_to(file)
        file.write(bytes(352 - file.tell()))
        for first in range(0, run.data.shape[3], CHUNK):
            last = min(first + CHUNK, run.data.shape[3])
            timed_ = slice_timed(run.data, run.shifts, first, last)
            moved = realign(timed_, run.affine, motion.matrices[first:last])
            there &= (moved != 0).all(3)
            file.write(moved.tobytes(order="F"))
    for name, mask in masks.items():
        masks[name] = mask & there
    if not masks["brain"].any():
        raise ValueError(f"{path.name}: no voxel of the brain stays in the field of view throughout; too much motion")
    path.with_suffix(".json").write_text(json.dumps({"RepetitionTime": run.seconds, "SkullStripped": False}))
    return path


def atlas_to_bold(
    nodes: pd.DataFrame, atlas: Mapping, anatomy: Anatomy, to_t1w: np.ndarray, stem: Path
) -> tuple[pd.DataFrame, str]:
    """Bring the nodes, and the label image where there is one, into the BOLD's mm, and write both.

    Returns
    -------
    nodes : DataFrame, [N rows]
    image : str
        Path of the labels; "" for spheres.
    """
    own = nodes.copy()
    own[["x", "y", "z"]] = points_to_bold(nodes[["x", "y", "z"]].to_numpy(float), anatomy, to_t1w)
    own.to_csv(f"{stem}_nodes.tsv", sep="\t", index=False, float_format="%.3f")
    if not atlas.get("image"):
        return own, ""
    path = f"{stem}_desc-atlas_dseg.nii.gz"
    nib.save(labels_to_bold(nib.load(atlas["image"]), anatomy, to_t1w), path)
    return own, path


def _write_tables(run: Run, motion: Motion, masks: dict[str, np.ndarray], bold: Path, stem: Path) -> dict[str, str]:
    """Write confounds and brain mask; return their paths."""
    paths = {"mask": f"{stem}_desc-brain_mask.nii.gz", "confounds": f"{stem}_desc-confounds_timeseries.tsv"}
    nib.save(nib.Nifti1Image(masks["brain"].astype(np.uint8), run.affine), paths["mask"])
    tissues = {name: erode(masks[name]) if masks[name].any() else None for name in ("csf", "white_matter")}
    data = np.asanyarray(nib.load(bold).dataobj)
    table = confounds_table(motion.parameters, data, masks["brain"], run.seconds, **tissues)
    write_confounds(table, Path(paths["confounds"]))
    return paths


def _write_report(
    run: Run, motion: Motion, measures: dict[str, float], clock: dict[str, float], spec: Mapping, stem: Path
) -> str:
    told = {
        "measures": {name: round(float(value), 4) for name, value in measures.items()},
        "volumes_left_out": run.dropped,
        "slice_timing": run.shifts is not None,
        "susceptibility": "not corrected",
        "template": TEMPLATE_SPACE,
        "rotation_centre_mm": np.round(motion.centre, 3).tolist(),
        "notes": list(run.notes),
        "seconds": clock,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "settings": dict(spec),
        "versions": {"dysconnect": __version__, **{name: version(name) for name in ("antspyx", "nilearn", "torch")}},
    }
    path = f"{stem}_desc-engine.json"
    Path(path).write_text(json.dumps(told, indent=1, default=str))
    return path
