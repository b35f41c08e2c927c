"""Engine `fmriprep`: what is asked of the official container, and what it left of one participant.

The command line is that of fMRIPrep 25.2 (Esteban et al. 2019, doi:10.1038/s41592-018-0235-4). Every participant has
another output folder: participants that run at one time and share a folder overwrite each other's citation files
and FreeSurfer templates there.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dysconnect.data.images.spaces import SURFACE_SPACE, VOXELS

OLDEST = (25, 2)  # the first with --session-label
TAKEN = (
    "--participant-label", "--participant_label", "--session-label", "-t", "--task-id", "--output-spaces", "-w",
    "--work-dir", "--fs-license-file", "--fs-no-reconall", "--nprocs", "--nthreads", "--n_cpus", "--n-cpus",
    "--omp-nthreads", "--mem", "--mem-mb", "--mem_mb", "--output-layout", "--cifti-output",
)  # fmt: skip
IMAGES = (".nii", ".nii.gz", ".gii", ".h5")


@dataclass(frozen=True)
class Places:
    """Absolute paths, symbolic links resolved: of the dataset, the outputs and the intermediate files of everybody."""

    bids: Path
    outputs: Path
    work: Path
    licence: Path


def check_fmriprep(spec: Mapping) -> None:
    """Refuse settings with which fMRIPrep would not run, or its outputs would lie elsewhere.

    Parameters
    ----------
    spec : mapping
        The `preprocess` section.

    Raises
    ------
    ValueError
        When there is no licence file, the version is too old, or `options` sets what other keys set.
    """
    remedy = (
        "fMRIPrep needs a FreeSurfer licence even where it makes no surfaces; it is free "
        "(https://surfer.nmr.mgh.harvard.edu/registration.html). Add "
        "'overrides=preprocess.fs_license=/path/to/license.txt'."
    )
    if not spec["fs_license"]:
        raise ValueError(f"preprocess.fs_license is not set: {remedy}")
    if not Path(spec["fs_license"]).is_file():
        raise ValueError(f"preprocess.fs_license={spec['fs_license']}: no such file (seen from {Path.cwd()}). {remedy}")
    if tuple(map(int, spec["version"].split(".")[:2])) < OLDEST:
        raise ValueError(
            f"preprocess.version={spec['version']}: fMRIPrep is run with the command line of "
            f"{'.'.join(map(str, OLDEST))}, and older ones know other options. Choose a newer one, or run fMRIPrep "
            "yourself and read its outputs with dataset=derivatives."
        )
    if spec["space"] == SURFACE_SPACE and not spec["reconall"]:
        raise ValueError(
            f"preprocess.space={SURFACE_SPACE} needs the surfaces of FreeSurfer: add preprocess.reconall=true to the "
            "overrides, or choose a space of voxels (preprocess.space=MNI152NLin6Asym:res-2)."
        )
    _refuse_taken(spec["options"])


def _refuse_taken(options: str) -> None:
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise ValueError(f"preprocess.options={options!r} cannot be read ({error}): close the quotes.") from error
    taken = [word for word in words if word.split("=")[0] in TAKEN]
    if taken:
        raise ValueError(
            f"preprocess.options has {taken[0]}, which is set by preprocess.space, reconall, fs_license, work, threads "
            "or mem_mb, or by dataset.task or session. Use that key."
        )


def find_places(spec: Mapping, bids: Path, dataset: str, complete: bool) -> Places:
    """Say where everything is, and check it against fMRIPrep's demands.

    Parameters
    ----------
    spec : mapping
        The `preprocess` section.
    bids : path
        Folder of the dataset.
    dataset : str
        Name of the dataset's folder under ``results/``.
    complete : bool
        The folder is the user's, so all must be there now.

    Raises
    ------
    ValueError
        When the dataset is not described as BIDS asks, or the intermediate files would lie inside it.
    """
    outputs = Path(f"results/{dataset}/preprocess/fmriprep")
    work = Path(spec["work"]) / dataset if spec["work"] else outputs.with_name("fmriprep_work")
    places = Places(
        bids.resolve(), outputs.resolve(), work.resolve() / spec["version"], Path(spec["fs_license"]).resolve()
    )
    if complete:
        _refuse_undescribed(bids)
    for folder in (places.work, places.outputs):
        if folder.is_relative_to(places.bids):
            raise ValueError(
                f"{folder} lies inside the dataset {places.bids}, where fMRIPrep would take it for data. Run snakemake "
                "from a folder outside of the dataset, or add --directory /path/to/another/folder."
            )
    return places


def _refuse_undescribed(bids: Path) -> None:
    """Refuse a dataset without the description that every BIDS dataset has."""
    path = bids / "dataset_description.json"
    example = '{"Name": "My study", "BIDSVersion": "1.9.0"}'
    if not path.is_file():
        raise ValueError(f"{path}: no such file, and fMRIPrep reads BIDS datasets only. Write one: {example}")
    try:
        description = json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no JSON ({error}). Write, for example: {example}") from error
    absent = [key for key in ("Name", "BIDSVersion") if not isinstance(description, dict) or not description.get(key)]
    if absent:
        raise ValueError(f"{path}: {' and '.join(absent)} missing, which BIDS asks for. For example: {example}")


def template_of(space: str) -> str:
    """Template of an output space, without its resolution: ``MNI152NLin6Asym:res-2`` is in MNI152NLin6Asym."""
    return space.split(":")[0]


def fmriprep_command(spec: Mapping, dataset: Mapping, participant: str, places: Places, threads: int) -> str:
    """Write the command line for one participant, but for ``--mem-mb``: a second attempt may have more memory.

    Parameters
    ----------
    spec, dataset : mapping
        The sections `preprocess` (`space`, `reconall`, `options`) and `dataset` (`task`, `session`).
    participant : str
        ``sub-01``.
    places : Places
    threads : int
        That the job may use.

    Returns
    -------
    str
        Quoted for a shell.
    """
    session = dataset.get("session")
    words = [
        *("fmriprep", places.bids, places.outputs / participant, "participant"),
        *("--participant-label", participant.removeprefix("sub-")),
        *(["--session-label", session.removeprefix("ses-")] if session else []),
        *("--task-id", dataset["task"], "--skip-bids-validation"),
        *_spaces(spec["space"]),
        *("--fs-license-file", places.licence),
        *([] if spec["reconall"] else ["--fs-no-reconall"]),
        *("--nprocs", threads, "--omp-nthreads", min(threads, 8)),
        *("-w", places.work / participant, "--notrack", "--stop-on-first-crash"),
        *shlex.split(spec["options"]),
    ]
    return shlex.join(map(str, words))


def _spaces(space: str) -> list[str]:
    """Options of an output space; a surface comes with its voxels, as CIFTI."""
    if space == SURFACE_SPACE:
        return ["--output-spaces", f"{VOXELS[space]}:res-2", "--cifti-output", "91k"]
    return ["--output-spaces", space]


def container_environment(places: Places, here: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Tell Apptainer, which sees the working directory only, what else to show, and to hide the host's variables.

    A laboratory's FSLDIR or FREESURFER_HOME would otherwise replace those of the container.

    Parameters
    ----------
    places : Places
    here : path
        Working directory.
    environment : mapping
        Of this process; folders that the user had bound stay bound.

    Returns
    -------
    dict of str to str
        Variables to set, for Apptainer and for SingularityCE.
    """
    bound = bound_folders(places, here)
    variables = {}
    for prefix in ("APPTAINER", "SINGULARITY"):
        already = environment.get(f"{prefix}_BIND", "")
        variables[f"{prefix}_BIND"] = ",".join(dict.fromkeys([*filter(None, already.split(",")), *map(str, bound)]))
        variables[f"{prefix}_CLEANENV"] = "1"
    return variables


def bound_folders(places: Places, here: Path) -> list[Path]:
    """List what lies outside of the working directory `here`; of what is not there yet, the folder above it."""
    wanted = [places.bids, places.outputs, places.work, places.licence]
    there = [next(path for path in (place, *place.parents) if path.exists()) for place in wanted]
    outside = [path for path in there if not path.is_relative_to(here.resolve()) and path != Path(path.anchor)]
    return list(dict.fromkeys(outside))


def output_files(folder: Path, space: str) -> list[str]:
    """List what fMRIPrep left of a participant, relative to `folder`, without images of another resolution.

    A folder that was filled with other settings before holds the images of those too.
    """
    wanted = _resolution(space).replace("native", "")  # which names leave out
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if space == SURFACE_SPACE:
        return files
    return [path for path in files if "_space-MNI" not in path or _resolution(path) == wanted]


def _resolution(text: str) -> str:
    """Value of `res` in a file name, ``..._res-2_...``; an empty string where there is none."""
    match = re.search(r"[_:]res-([A-Za-z0-9]+)", text)
    return match[1].lstrip("0") if match else ""


def entry_left(
    entry: Mapping, outcome: str | Path, space: str, log: str, find: Callable[[Sequence[str]], Mapping]
) -> dict:
    """Row of the index of scans, as of `fmriprep_entry`, of what lies beside the outcome of a run.

    Parameters
    ----------
    entry, log
        As of `fmriprep_entry`.
    outcome : path
        ``NAME.json``, which holds the exit code; the outputs lie in ``NAME/``.
    space : str
        `preprocess.space`.
    find : callable
        Chooses among the files there: paths relative to the folder to `scan`.
    """
    outcome = Path(outcome)
    left, code = outcome.with_suffix(""), json.loads(outcome.read_text())["exit_code"]
    return fmriprep_entry(entry, code, left, find(output_files(left, space)), log)


def fmriprep_entry(entry: Mapping, exit_code: int, folder: Path, scan: Mapping, log: str) -> dict:
    """Row of the index of scans, of what fMRIPrep left instead of the raw images.

    Parameters
    ----------
    entry : mapping
        Row of the raw scan; one with a `problem` stays as it is.
    exit_code : int
        Of fMRIPrep.
    folder : path
        Its output folder of this participant.
    scan : mapping
        Files there, relative to it: `bold`, `mask`, `confounds`; `problem`, where it is not clear which.
    log : str
        Path of the log of the run, for the message.

    Returns
    -------
    dict
        With `report`, the path of fMRIPrep's report, "" where there is none.
    """
    name = entry["participant_id"]
    report = str(next(iter(sorted(folder.glob(f"{name}*.html"))), ""))
    if entry["problem"]:
        return {**entry, "report": ""}
    paths = {key: str(folder / scan[key]) if scan[key] else "" for key in ("bold", "mask", "confounds")}
    problem = scan.get("problem") or _failure(exit_code, paths["bold"], folder)
    if problem:
        again = f"to try again, where it stopped: --forcerun {folder}.json"
        see = "; ".join(filter(None, [f"log: {log}", report and f"report: {Path(report).name}", again]))
        problem = f"{problem} ({see})"
        paths = dict.fromkeys(paths, "")
    return {**entry, **paths, "problem": problem, "report": report}


def _failure(exit_code: int, bold: str, folder: Path) -> str:
    """Say what went wrong with fMRIPrep; nothing when all is well."""
    if exit_code == 0:
        return "" if bold else f"fMRIPrep ended well and left no BOLD in the space that was asked for in {folder}"
    crashes = sorted(folder.rglob("crash*.txt"), key=lambda path: path.stat().st_mtime)
    if crashes:
        node = re.match(r"Node: (\S+)", crashes[-1].read_text(errors="replace"))
        return f"fMRIPrep crashed{f' in {node[1]}' if node else ''}: {crashes[-1].name}"
    killed = " (killed twice, for want of memory as a rule: raise preprocess.mem_mb)" if exit_code == 137 else ""
    return f"fMRIPrep failed with exit code {exit_code}{killed}"


def discard_outputs(folder: Path) -> int:
    """Delete the images that fMRIPrep made of a participant, and its surfaces; return the bytes that became free.

    Tables, transforms as text, figures and reports stay.
    """
    surfaces = folder / "sourcedata"
    doomed = [path for path in _files(folder) if path.name.endswith(IMAGES) or path.is_relative_to(surfaces)]
    free = sum(path.stat().st_size for path in doomed)
    for path in doomed:
        path.unlink()
    return free


def _files(folder: Path) -> Sequence[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def places_sentence(bound: Iterable[Path]) -> str:
    """Say in one sentence what the container sees beside the working directory."""
    bound = [str(path) for path in bound]
    if not bound:
        return "everything it needs lies in the working directory"
    return f"bound into it: {', '.join(bound)}"
