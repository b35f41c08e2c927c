"""Snakemake's lock of a folder after a run was killed: taken away only where it is certain that nobody is at work.

Snakemake does not write down whose lock it is. So a run on this machine does, and the next one looks whether that
process, or a job of it, still lives. Where that cannot be known (another machine or container, a cluster, a system
without ``/proc``) the lock stays, and Snakemake says what to do.
"""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

RECORD, LOCKS = ".snakemake/dysconnect_run.json", ".snakemake/locks"
PAIR = 2  # files of one lock: inputs and outputs


def record_run(project: Path, seen: bool) -> None:
    """Write down which process of which machine holds the lock that was just taken.

    Parameters
    ----------
    project : path
        Folder that holds ``.snakemake``.
    seen : bool
        Whether all jobs are processes of this machine that `free_stale_lock` can see.
    """
    record = project / RECORD
    with suppress(OSError):
        taken = [path.stat().st_mtime for path in (project / LOCKS).iterdir()]
        if not taken or max(taken) < _began() - 2:  # this run took none (--nolock): what is there is another's
            return
        record.unlink(missing_ok=True)
        if seen and len(taken) == PAIR:  # of two runs at once nobody knows whose is whose
            record.write_text(json.dumps(_holder(os.getpid())))


def free_stale_lock(project: Path) -> str:
    """Take away the lock of a run that was killed here with all its jobs.

    Parameters
    ----------
    project : path

    Returns
    -------
    str
        A line for the terminal; "" where there was no lock, or it may still be held.
    """
    try:
        locks = list((project / LOCKS).iterdir())
        taken = max(path.stat().st_mtime_ns for path in locks)
        recorded = (project / RECORD).stat().st_mtime_ns
        holder = json.loads((project / RECORD).read_text())
        stale = taken <= recorded and _is_over(holder) and not _at_work(project)
    except (OSError, ValueError, KeyError, TypeError):  # no lock, no record, or no way to look
        return ""
    if not stale:
        return ""
    for path in locks:
        path.unlink(missing_ok=True)
    return f"The run that held the lock of this folder was killed (process {holder['process']}): going on after it."


def _began() -> float:
    """When this process began, seconds since 1970."""
    started = int(Path("/proc/stat").read_text().partition("btime ")[2].split()[0])
    return started + int(_holder(os.getpid())["began"]) / os.sysconf("SC_CLK_TCK")


def _holder(process: int) -> dict:
    """A process as nobody else can be it: machine, container, number, and when it began (ticks since the start).

    Machines of a cluster may share their name, so that of the installation stands beside it, where there is one.
    """
    began = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    installed = Path("/etc/machine-id")
    machine = f"{platform.node()} {installed.read_text().strip() if installed.exists() else ''}".strip()
    return {"machine": machine, "space": os.readlink("/proc/self/ns/pid"), "process": process, "began": began}


def _is_over(holder: dict) -> bool:
    """Whether a process of this machine and container has ended; a number that was given again is another process."""
    here = _holder(os.getpid())
    if any(here[key] != holder[key] for key in ("machine", "space")):
        return False
    try:
        return _holder(holder["process"])["began"] != holder["began"]
    except (FileNotFoundError, ProcessLookupError):
        return True


def _at_work(project: Path) -> bool:
    """Whether another Snakemake or a job of one is in this folder; its Snakemake may have been killed without it."""
    ours = set(_ancestors(os.getpid()))
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # gone; or somebody else's
            here = int(place.name) not in ours and os.path.samefile(place / "cwd", project)
            if here and b"snakemake" in (place / "cmdline").read_bytes():
                return True
    return False


def _ancestors(process: int) -> Iterator[int]:
    while process:
        yield process
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
