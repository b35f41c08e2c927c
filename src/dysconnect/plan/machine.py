"""What of this machine does not do for a run: its folders, its disk, its software."""

from collections.abc import Sequence
from pathlib import Path
from shutil import which

from dysconnect.acquire.room import room_needed, room_to_work
from dysconnect.fetching import check_room
from dysconnect.plan.config import ConfigError
from dysconnect.preprocess.fmriprep import Places, bound_folders, places_sentence
from dysconnect.reading.bids import unfit


def check_folders(*folders: Path) -> None:
    """Refuse folders whose names Snakemake would read as patterns."""
    for wrong in filter(None, map(unfit, folders)):
        raise ConfigError(f"{wrong}. Snakemake reads braces as wildcards.")


def check_disk(run, jobs: int, todo: Sequence[tuple[str, ...]]) -> None:
    """Refuse a disk that is too small for what is to be fetched, and for what preprocessing writes on the way.

    Parameters
    ----------
    run : Run
    jobs : int
        How many run at once.
    todo : sequence of tuple of str
        What is to be done: a rule and its wildcards, the last of which says for whom.

    Raises
    ------
    ConfigError
        Says what is needed, and how to do with less.
    """
    fetched, seen = (
        {name for job in todo if job[0] == wanted for name in run.files_of(job[-1])}
        for wanted in ("download", "preprocess")
    )
    needed = room_needed(run.plan, run.keep, jobs * run.largest, fetched)
    if run.cohort["preprocess"]["engine"] == "ants":
        needed += room_to_work(run.plan, jobs, seen)
    try:
        check_room(needed, run.plan.folder)
    except OSError as error:
        raise ConfigError(
            f"{error.strerror}. Add to the overrides acquire.folder=/larger/disk, dataset.limit=4 for a first try, "
            f"or acquire.keep=false, which deletes a participant's images once the regional series exist."
        ) from error


def check_container(version: str, places: Places, waiting: int, contained: bool) -> str:
    """Refuse to begin where fMRIPrep must run and is not there; else say what its container will see.

    Parameters
    ----------
    version : str
        Of fMRIPrep.
    places : Places
    waiting : int
        Participants for whom it must run.
    contained : bool
        Whether it runs in its container.

    Returns
    -------
    str
        A line for the terminal, or nothing.

    Raises
    ------
    ConfigError
        With the option that brings it.
    """
    if waiting and contained:
        bound = places_sentence(bound_folders(places, Path.cwd()))
        return f"fMRIPrep {version}: {waiting} participants, in the container; {bound}."
    if waiting and not which("fmriprep"):
        raise ConfigError(
            f"fMRIPrep is to run for {waiting} participants, and is not installed here. Add --sdm apptainer to the "
            "command (needs Apptainer or Singularity), also when only a later step is to be made again."
        )
    return ""
