"""Engine `ants`: from raw BIDS (T1w, BOLD, sidecar) to realigned BOLD, masks, confounds and regional series.

The atlas comes to the subject: sphere centres or labels are brought once into the space of the BOLD, and the volumes
are only realigned to each other, in one interpolation; BOLD in the template is written on request. Slice times are
corrected on the voxels as scanned, after motion was estimated and before it is undone, as fMRIPrep does. First volumes
that are not steady are left out. Distortion by susceptibility is not corrected by default: without a field map the BOLD
is matched to the T1w rigidly, and regions beside the sinuses and the ear canals carry what error remains.
`susceptibility=syn` estimates it against the T1w; then the regions go where their signal lies, at the mean place of
the head, as the volumes are not warped.
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
from nibabel.affines import apply_affine
from nilearn.datasets import load_mni152_brain_mask
from scipy import ndimage

from dysconnect.anatomy.distortion import Distortion
from dysconnect.anatomy.kept import keep_anatomy, place_of, read_anatomy
from dysconnect.anatomy.registration import (
    Anatomy,
    dice,
    labels_to_bold,
    points_to_bold,
    prepare_anatomy,
    pulled,
    register_bold,
)
from dysconnect.data.images.spaces import TEMPLATE_SPACE, refuse_other_space
from dysconnect.data.images.volumes import read_sidecar
from dysconnect.preprocess.confounds import confounds_table, erode, write_confounds
from dysconnect.preprocess.motion import Motion, foreground, register
from dysconnect.preprocess.pictures import registration_figure
from dysconnect.preprocess.resample import brain_series, values_at, write_volumes
from dysconnect.preprocess.run import Run, read_run
from dysconnect.preprocess.subject import preprocess_subject
from dysconnect.preprocess.susceptibility import estimate_distortion, phase_axis
from dysconnect.version import __version__

OVERLAP = 0.6  # least Dice of the T1w's brain and the template's, and least share of the BOLD's brain in the T1w's
TISSUE = 0.8  # least probability of white matter; CSF is rarer on coarse grids
FLUID = 0.6


@dataclass(frozen=True)
class Place:
    """Where the head lies: its anatomy in the template, and the BOLD in the T1w.

    Attributes
    ----------
    anatomy : Anatomy
    to_t1w : array, [4, 4]
        BOLD mm to T1w mm.
    distortion : Distortion or None
        Of the BOLD, by susceptibility.
    measures : dict of str to float
        Of the registrations.
    """

    anatomy: Anatomy
    to_t1w: np.ndarray
    distortion: Distortion | None
    measures: dict[str, float]

    def in_bold(self, image: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Bring an image on the T1w's grid to a grid of the BOLD."""
        return pulled(image, self.anatomy.t1w.affine, self.to_t1w, affine, shape, self.distortion)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Bring template points [P, 3] to the BOLD, mm."""
        return points_to_bold(points, self.anatomy, self.to_t1w, self.distortion)


def run_subject(scan: Mapping, nodes: pd.DataFrame, atlas: Mapping, folder: Path, spec: Mapping) -> dict:
    """Preprocess one subject from raw images.

    Parameters
    ----------
    scan : mapping
        `participant_id`, `bold` and `t1w` (paths), `events` of a task; the BOLD's sidecar lies beside it.
    nodes : DataFrame, [N rows], in template mm
    atlas : mapping
        The `atlas` section: label image `image` and its template `space`, where it has them.
    folder : path
        Where the tables go; images and the report go into the folder `bold` beside it, what the T1w alone tells into
        `anatomy`.
    spec : mapping
        The `preprocess` section: `transform` (`affine`, `fast`, `accurate`), `resolution` (mm), `slice_timing` (bool),
        `susceptibility` (`none`, `syn`), `save_bold`, `save_mni` (bool), `min_coverage`, `seed`, `threads`, `device`.

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
    stem = Path(folder).parent / "bold" / scan["participant_id"]
    stem.parent.mkdir(parents=True, exist_ok=True)
    clock: dict[str, float] = {}
    with timed(clock, "read BOLD"):
        run = read_run(scan["bold"], spec.get("slice_timing", True))
        axis = phase_axis(read_sidecar(scan["bold"]), Path(scan["bold"]).name) if _corrects(spec) else None
    with tempfile.TemporaryDirectory() as scratch:
        with timed(clock, "T1w to template"):
            anatomy = _anatomy(scan, stem, Path(scratch), spec)
        motion, place = _placed(run, anatomy, axis, Path(scratch), spec, clock)
        masks, overlap = brain_masks(motion, run.affine, place, Path(scan["bold"]).name)
        with timed(clock, "realign"):
            series, masks["brain"] = brain_series(run, motion.matrices, masks["brain"])
        nodes, image = _atlas_and_template(run, motion, place, nodes, atlas, stem, spec, clock)
    with timed(clock, "confounds"):
        paths = _write_tables(run, motion, masks, series, stem)
    with timed(clock, "series"):
        bold = _write_bold(run, series, masks["brain"], stem)
        del series
        entry = {"participant_id": scan["participant_id"], "bold": str(bold), **paths}
        entry |= {"events": scan.get("events", ""), "start_time": run.start_time}
        entry |= {"events_problem": scan.get("events_problem", "")}
        row = preprocess_subject(entry, nodes, Path(folder), {"image": image or None}, spec)
        kept = _kept(bold, spec)
    with timed(clock, "picture"):
        picture = _write_picture(run, motion, masks, place, Path(folder).parent / "quality" / stem.name)
    return {
        **row,
        "note": "; ".join(part for part in (*run.notes, row["note"]) if part),
        "bold": kept,
        "mask": paths["mask"],
        "nodes": f"{stem}_nodes.tsv",
        "image": image,
        "registration": picture,
        "engine": _write_report(run, motion, {**place.measures, **overlap}, clock, spec, stem),
    }


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Write the wall seconds of a step into `clock`."""
    start = time.perf_counter()
    yield
    clock[name] = round(time.perf_counter() - start, 2)


def _corrects(spec: Mapping) -> bool:
    return spec.get("susceptibility", "none") == "syn"


def _anatomy(scan: Mapping, stem: Path, scratch: Path, spec: Mapping) -> Anatomy:
    """Where the T1w lies in the template: as it was found for another scan of it, or found now and kept."""
    t1w = scan.get("t1w") or ""
    place = place_of(t1w, stem.parents[1] / "anatomy", scan["participant_id"], spec)
    return read_anatomy(place) or keep_anatomy(prepare_anatomy(t1w, scratch, spec), place)


def _placed(
    run: Run, anatomy: Anatomy, axis: int | None, scratch: Path, spec: Mapping, clock: dict
) -> tuple[Motion, Place]:
    """Find the motion of the run, and where the head lies; `axis` is that of phase encoding, to be corrected."""
    seed, distortion, more = int(spec.get("seed", 0)), None, {}
    with timed(clock, "motion"):
        motion = register(run.data, run.affine, device=spec.get("device", "auto"))
    with timed(clock, "BOLD to T1w"):
        to_t1w, measures = register_bold(motion.reference, run.affine, motion.mask, anatomy)
    if axis is not None:
        with timed(clock, "susceptibility"):
            distortion, more = estimate_distortion(
                motion.reference, run.affine, motion.mask, anatomy, to_t1w, axis, scratch, seed
            )
    return motion, Place(anatomy, to_t1w, distortion, {**anatomy.measures, **measures, **more})


def brain_masks(
    motion: Motion, affine: np.ndarray, place: Place, name: str
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
    reference, anatomy = motion.reference, place.anatomy
    tissues = [
        place.in_bold(image, affine, reference.shape) for image in (anatomy.brain, anatomy.white_matter, anatomy.csf)
    ]
    by_t1w, by_bold = tissues[0] > 0.5, ndimage.binary_fill_holes(foreground(reference, affine))
    overlap = {"dice_bold_t1w": dice(by_t1w, by_bold)}
    contained = np.sum(by_t1w & by_bold) / max(np.sum(by_bold), 1)
    if anatomy.measures["dice_t1w_template"] < OVERLAP or contained < OVERLAP:
        raise ValueError(
            f"{name}: {contained:.0%} of the BOLD's brain lies in the T1w's, and T1w and template overlap by a Dice of "
            f"{anatomy.measures['dice_t1w_template']:.2f} (both at least {OVERLAP}): the brain is outside the field of "
            "view, or T1w and BOLD are not of one person. Look at both images; leave the subject out if so"
        )
    brain = by_t1w & (reference > 0.2 * np.median(reference[by_t1w & by_bold]))
    masks = {
        "brain": brain,
        "white_matter": brain & (tissues[1] > TISSUE),
        "csf": by_t1w & brain & (tissues[2] > FLUID),
    }
    return masks, overlap


def atlas_to_bold(nodes: pd.DataFrame, atlas: Mapping, place: Place, stem: Path) -> tuple[pd.DataFrame, str]:
    """Bring the nodes, and the label image where there is one, into the BOLD's mm, and write both.

    Returns
    -------
    nodes : DataFrame, [N rows]
    image : str
        Path of the labels; "" for spheres.
    """
    moved = nodes.copy()
    moved[["x", "y", "z"]] = place.points(nodes[["x", "y", "z"]].to_numpy(float))
    moved.to_csv(f"{stem}_nodes.tsv", sep="\t", index=False, float_format="%.3f")
    if not atlas.get("image"):
        return moved, ""
    path = f"{stem}_desc-atlas_dseg.nii.gz"
    labels = labels_to_bold(nib.load(atlas["image"]), place.anatomy, place.to_t1w, distortion=place.distortion)
    nib.save(labels, path)
    return moved, path


def _atlas_and_template(
    run: Run, motion: Motion, place: Place, nodes: pd.DataFrame, atlas: Mapping, stem: Path, spec: Mapping, clock: dict
) -> tuple[pd.DataFrame, str]:
    """Bring the atlas to the BOLD (`atlas_to_bold`) and, where it is asked for, the BOLD to the template."""
    with timed(clock, "atlas to BOLD"):
        moved, image = atlas_to_bold(nodes, atlas, place, stem)
    if spec.get("save_mni", False):
        with timed(clock, "BOLD to template"):
            write_in_template(run, motion, place, int(spec.get("resolution", 2)), stem)
    return moved, image


def write_in_template(run: Run, motion: Motion, place: Place, resolution: int, stem: Path) -> Path:
    """Write the brain's BOLD on the template's grid, slice times, motion and warp in one interpolation.

    Parameters
    ----------
    run : Run
    motion : Motion
    place : Place
    resolution : int
        mm.
    stem : path
        Of the files' names.
    """
    template = load_mni152_brain_mask(resolution)
    affine, brain = template.affine, np.asarray(template.dataobj) > 0
    points = place.points(apply_affine(affine, np.argwhere(brain)))
    path = Path(f"{stem}_space-{TEMPLATE_SPACE}_desc-preproc_bold.nii")
    chunks = values_at(run, motion.matrices, points)
    volumes = (values for _, chunk, _ in chunks for values in chunk)
    write_volumes(path, volumes, brain, affine, run.data.shape[3], run.seconds)
    _write_sidecar(run, path)
    return path


def _write_bold(run: Run, series: np.ndarray, brain: np.ndarray, stem: Path) -> Path:
    """Write the realigned brain on the run's grid."""
    path = Path(f"{stem}_desc-preproc_bold.nii")
    write_volumes(path, iter(series.T), brain, run.affine, series.shape[1], run.seconds)
    _write_sidecar(run, path)
    return path


def _kept(bold: Path, spec: Mapping) -> str:
    """Path of the realigned brain; "" where it is not to be kept, and deleted."""
    if spec.get("save_bold", False):
        return str(bold)
    bold.unlink()
    bold.with_suffix(".json").unlink()
    return ""


def _write_sidecar(run: Run, path: Path) -> None:
    sidecar = {
        "RepetitionTime": run.seconds,
        "SkullStripped": True,
        "SliceTimingCorrected": run.shifts is not None,
        "NumberOfVolumesDiscardedByUser": run.dropped,
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar, indent=1))


def _write_tables(run: Run, motion: Motion, masks: dict[str, np.ndarray], series: np.ndarray, stem: Path) -> dict:
    """Write confounds and brain mask; return their paths."""
    paths = {"mask": f"{stem}_desc-brain_mask.nii.gz", "confounds": f"{stem}_desc-confounds_timeseries.tsv"}
    nib.save(nib.Nifti1Image(masks["brain"].astype(np.uint8), run.affine), paths["mask"])
    within = {name: masks[name] & masks["brain"] for name in ("csf", "white_matter")}
    tissues = {name: erode(mask) if mask.any() else None for name, mask in within.items()}
    table = confounds_table(motion.parameters, series, masks["brain"], run.seconds, **tissues)
    write_confounds(table, Path(paths["confounds"]))
    return paths


def _write_picture(run: Run, motion: Motion, masks: dict[str, np.ndarray], place: Place, stem: Path) -> str:
    """Draw both registrations; return the path relative to the folder above."""
    anatomy = place.anatomy
    tissues = (anatomy.brain, anatomy.white_matter)
    white = place.in_bold(tissues[1], run.affine, masks["brain"].shape)
    figure = registration_figure(
        [
            ("T1w, with white matter by the template", np.asarray(anatomy.t1w.dataobj), anatomy.t1w.affine, tissues),
            (
                "BOLD, with its brain mask and white matter by the T1w",
                motion.reference,
                run.affine,
                (masks["brain"], white),
            ),
        ]
    )
    stem.parent.mkdir(parents=True, exist_ok=True)
    path = Path(f"{stem}_registration.png")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return f"{path.parent.name}/{path.name}"


def _write_report(
    run: Run, motion: Motion, measures: dict[str, float], clock: dict[str, float], spec: Mapping, stem: Path
) -> str:
    report = {
        "measures": {name: round(float(value), 4) for name, value in measures.items()},
        "volumes_left_out": run.dropped,
        "slice_timing": run.shifts is not None,
        "susceptibility": "estimated by SyN against the T1w and corrected" if _corrects(spec) else "not corrected",
        "template": TEMPLATE_SPACE,
        "rotation_centre_mm": np.round(motion.centre, 3).tolist(),
        "notes": list(run.notes),
        "seconds": clock,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "settings": dict(spec),
        "versions": {"dysconnect": __version__, **{name: version(name) for name in ("antspyx", "nilearn", "torch")}},
    }
    path = f"{stem}_desc-engine.json"
    Path(path).write_text(json.dumps(report, indent=1, default=str))
    return path
