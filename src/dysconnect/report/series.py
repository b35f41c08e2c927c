"""The series: where they come from, and what was done to them before anything was computed."""

import re
from collections.abc import Mapping

import pandas as pd

from dysconnect.data.conditions import HIGH, LOW
from dysconnect.data.matrices import CONTENTS
from dysconnect.denoising.task import LASTING, LEAST_FREEDOM, RESPONSE
from dysconnect.paper.text import counted, listed, worded
from dysconnect.report.quality.sentences import processing_text
from dysconnect.report.results import Results, Study
from dysconnect.report.section import Section

MOTION = {
    "basic": "the 6 motion parameters",
    "power2": "12 motion parameters (6 and their squares)",
    "derivatives": "12 motion parameters (6 and their differences)",
    "full": "24 motion parameters (6, their differences, and the squares of both; Satterthwaite et al. 2013)",
}
EXPANDED = {
    "basic": "",
    "power2": " and their squares",
    "derivatives": " and their differences",
    "full": ", their differences, and the squares of both",
}
FILTERS = {"butterworth": "Butterworth", "cosine": "cosine regressors"}
GLOBAL = {
    "basic": "the global signal",
    "power2": "the global signal and its square",
    "derivatives": "the global signal and its difference",
    "full": "the global signal, its difference, and the squares of both",
    "regions": "the mean of all regions",
}


def section(study: Study) -> Section:
    """How scans became series, for the methods."""
    words = _series_text(study.results, study.cohort, study.nodes)
    return Section("series", methods=[("Cohort and series", words)])


def _series_text(results: Results, cohort: Mapping, nodes: pd.DataFrame) -> str:
    atlas, spec, dataset = cohort["atlas"], cohort["denoise"], cohort["dataset"]
    excluded = f"{(~results.participants['included']).sum()} of {len(results.participants):,} subjects in all."
    if dataset["kind"] == "table":
        return (
            f"Data: {dataset['title']}. Correlations of {results.summary['n_edges']} pairs of {len(nodes)} regions "
            f"({atlas['title']}; {_authors(atlas['citation'])}) were published as numbers; the scans had been prepared "
            f"by the data's providers. {criteria(cohort)} were excluded, {excluded}"
        )
    if dataset["kind"] == "matrices":
        made = tracts_text(cohort) if _traced(dataset) else matrices_text(dataset)
        processing = results.quality.get("processing")
        ways = f" How they were made: {processing_text(processing)}." if processing else ""
        return (
            f"Data: {dataset['title']}. {made}{ways} Regions were {len(nodes)} ({atlas['title']}; "
            f"{_authors(atlas['citation'])}). {criteria(cohort)} were excluded, {excluded}"
        )
    engine = {} if results.scans is None else results.scans.engine
    scans = images_text(cohort, engine) if dataset["kind"] in ("bids", "derivatives") else ""
    return (
        f"Data: {dataset['title']}.{scans} Regional series of {len(nodes)} regions ({atlas['title']}; "
        f"{_authors(atlas['citation'])}) were {denoising_text(spec)} {criteria(cohort)} were excluded, "
        f"{excluded}"
    )


def criteria(cohort: Mapping) -> str:
    """Who is left out of the analysis, as the subject of a sentence."""
    dataset, spec = cohort["dataset"], cohort["denoise"]
    known = ", ".join(name for name in dataset["covariates"] if name != "mean_fd")
    if dataset["kind"] == "table":
        return f"Subjects without {known} or one of the connections"
    if _traced(dataset):
        return (
            f"Subjects without {known} or diffusion images that can be used, with a mean framewise displacement above "
            f"{spec['max_mean_fd']:g} mm in them (Power et al. 2012), or no streamline of more than "
            f"{spec['max_missing_regions']:.0%} of the regions"
        )
    if dataset["kind"] == "matrices":
        return (
            f"Subjects without {known} or a matrix of which every region of the atlas is known and whose values can be "
            f"what they are called, with a mean framewise displacement above {spec['max_mean_fd']:g} mm (Power et al. "
            f"2012), or no connection of more than {spec['max_missing_regions']:.0%} of the regions"
        )
    return (
        f"Subjects without {known} or a readable scan, with less than {spec['min_seconds']:g} s, a mean "
        f"framewise displacement above {spec['max_mean_fd']:g} mm (Power et al. 2012), or no "
        f"signal in more than {spec['max_missing_regions']:.0%} of the regions"
    )


def _traced(dataset: Mapping) -> bool:
    """Whether matrices were made here, of diffusion images."""
    return dataset["kind"] == "matrices" and dataset.get("task") == "dwi"


def tracts_text(cohort: Mapping) -> str:
    """How diffusion images became matrices."""
    spec = cohort["tractography"]
    steps = ["thermal noise (MP-PCA; Veraart et al. 2016)"] * spec["noise"]
    steps += ["Gibbs ringing (local shifts; Kellner et al. 2016)"] * spec["ringing"]
    before = f"From diffusion images {listed(steps)} were removed. " if steps else ""
    return (
        f"{before}Distortion by susceptibility was estimated from b0 of opposite phase encoding (after Andersson et "
        "al. 2003), where there were any. For motion and eddy currents every volume was registered to its prediction "
        "from the others (as in Andersson and Sotiropoulos 2016; Cieslak et al. 2021), and slices far below theirs "
        "were replaced by it (Andersson et al. 2016). All was undone in one interpolation, and gradients were turned "
        "with the head (Leemans and Jones 2009). The tensor was fitted by weighted least squares, and fibre "
        "orientations by constrained spherical deconvolution (order 8, less for under 45 directions; Tournier et al. "
        "2007; software: Garyfallidis "
        f"et al. 2014). {spec['seeds']:,} probabilistic streamlines began where white matter meets grey and ended by "
        f"the shares of tissue (Girard et al. 2014; steps of {spec['step']:g} voxels, {spec['angle']:g} degrees "
        f"between two at most, {spec['shortest']:g} to {spec['longest']:g} mm); those with both ends within "
        f"{spec['reach']:g} mm of a region and without a bend above 35 degrees counted. White matter and regions came "
        "from the template by the registration of the T1-weighted image. A pair with "
        f"fewer than {spec['fewest']} streamlines has no FA and no length."
    )


def matrices_text(dataset: Mapping) -> str:
    """What was given in place of scans, and how rows became regions."""
    content = CONTENTS[dataset["matrices"]["content"]]
    weighted = ", weighted or divided" if dataset["matrices"]["scaled"] else ""
    rows = "the order of the atlas, as the user says" if dataset.get("order") == "atlas" else "their names"
    return (
        f"Connections came as matrices, one a subject, that had been made elsewhere ({content.words}{weighted}). Rows "
        f"were matched to regions by {rows}."
    )


def images_text(cohort: Mapping, engine: Mapping) -> str:
    """How images became regional series, as the engine tells it; empty where there were none."""
    dataset, spec = cohort["dataset"], cohort["preprocess"]
    covered = f" Regions of which less than {spec['min_coverage']:.0%} lay in the field of view counted as missing."
    if dataset["kind"] == "derivatives":
        source = f"fMRIPrep (Esteban et al. 2019; space {dataset['space']})"
        return f" BOLD had been preprocessed by {source}{_told(engine)}.{covered}"
    if spec["engine"] == "fmriprep":
        options = f", with the options {spec['options']}" if spec["options"] else ""
        return (
            f" T1-weighted images and BOLD were preprocessed by fMRIPrep {spec['version']} (Esteban et al. 2019; "
            f"output space {spec['space']}{options}){_told(engine)}.{covered}"
        )
    how = worded({"affine": "an affine transform", "fast": "SyN", "accurate": "SyN"}, spec["transform"])
    template = f" ({listed(engine['template'])})" if "template" in engine else ""
    return (
        f" T1-weighted images were corrected for intensity (N4) and registered to the MNI template{template} by {how} "
        f"at {spec['resolution']:g} mm (ANTs, Avants et al. 2011). In the BOLD, rigid motion was estimated by least "
        "squares and corrected in one cubic interpolation, the mean volume was registered to the T1-weighted image, "
        f"and the atlas was brought to the BOLD{_told(engine)}.{covered}"
    )


def _told(engine: Mapping) -> str:
    """What differs between scans and data sets, read from what the engine left: as further parts of a sentence."""
    timing, left_out, n = engine.get("slice_timing", {}), engine.get("volumes_left_out", {}), engine.get("people", 0)
    parts = []
    if timing:
        done = timing.get("yes", 0)
        some = "" if done == n else f" in {done:,} of {counted(n, 'scan')}"
        parts.append(f"slice timing was corrected{some}" if done else "slice timing was not corrected")
    if left_out:
        least, most = min(map(int, left_out)), max(map(int, left_out))
        many = f"{least} to {counted(most, 'volume')}" if least < most else counted(most, "volume")
        parts.append(f"{many if most else 'no volumes'} before the steady state were left out")
    answers = engine.get("susceptibility", {})
    if answers:
        each = [f"{answer} in {counted(count, 'scan')}" for answer, count in answers.items()]
        parts.append(f"susceptibility distortion was {listed(each if len(each) > 1 else answers)}")
    return "".join(f"; {part}" for part in parts)


def denoised_here(spec: Mapping) -> bool:
    """Whether anything was regressed out or filtered here, and not by the data's providers."""
    return bool(_removed(spec) or _band(spec["high_pass"], spec["low_pass"]))


def denoising_text(spec: Mapping) -> str:
    """What was done to the series, as the end of a sentence that they begin, and further sentences."""
    steps = ["detrended"] if spec["detrend"] else []
    band = _band(spec["high_pass"], spec["low_pass"])
    if band:
        steps.append(f"filtered to {band} ({worded(FILTERS, spec['filter'])})")
    removed = _removed(spec)
    if removed:
        steps.append(f"cleaned of {'; '.join(removed)}")
    steps.append("z-scored")
    together = " Confounds were filtered as the series are (Lindquist et al. 2019)." if band and removed else ""
    untouched = "" if removed or band else " Motion and noise had been dealt with by the data's providers."
    signal = "" if spec["global_signal"] else " No global signal was removed here."
    return f"{listed(steps)}.{together}{untouched}{signal}{_scrubbing(spec)}{_responses(spec)}"


def _responses(spec: Mapping) -> str:
    """What of a task was regressed out, and which volumes are its; empty where there is none."""
    if not spec.get("task"):
        return ""
    return (
        " Responses were taken out in the same regression: one of any shape for every kind of event (finite impulse "
        f"response, to {RESPONSE:g} s after its end), and of every single event the canonical one, its derivative and, "
        f"from {LASTING:g} s of duration, its slope and an impulse at its end. Volumes in which the canonical course "
        f"is above {HIGH:g} of its maximum are those of the task, below {LOW:g} those of rest. Scans that this leaves "
        f"fewer than {spec['min_degrees_of_freedom']:g} degrees of freedom in all (a rank, of all regressors), or "
        f"{LEAST_FREEDOM} within the task or at rest, were excluded."
    )


def _removed(spec: Mapping) -> list[str]:
    """What was regressed out."""
    removed = [worded(MOTION, spec["motion"])] if spec["motion"] else []
    if spec["wm_csf"]:
        expanded = EXPANDED.get(spec["wm_csf"], f" ({spec['wm_csf']})")
        removed.append(f"the mean signals of white matter and CSF{expanded}")
    if spec["compcor"]:
        n = "all" if spec["n_compcor"] == "all" else f"the first {spec['n_compcor']}"
        removed.append(f"{n} components of anatomical CompCor (Behzadi et al. 2007)")
    removed += [worded(GLOBAL, spec["global_signal"])] if spec["global_signal"] else []
    return removed + (["all responses to the task"] if spec.get("task") else [])


def _scrubbing(spec: Mapping) -> str:
    """Which volumes were left out; empty where none is."""
    limits = [
        f"a {name} above {spec[key]:g}{unit}"
        for name, key, unit in (
            ("framewise displacement", "fd_threshold", " mm"),
            ("standardized DVARS", "std_dvars_threshold", ""),
        )
        if spec[key]
    ]
    if not limits:
        return ""
    short = f", and runs of fewer than {spec['scrub']} volumes between them" if spec["scrub"] else ""
    return f" Volumes with {' or '.join(limits)} were left out{short} (Power et al. 2014)."


def _band(high_pass: float | None, low_pass: float | None) -> str:
    if high_pass and low_pass:
        return f"{high_pass:g} to {low_pass:g} Hz"
    return f"above {high_pass:g} Hz" if high_pass else f"below {low_pass:g} Hz" if low_pass else ""


def _authors(citation: str) -> str:
    return re.split(r",?\s*doi:", citation)[0].strip()
