"""How much disk fetching and preprocessing will still take."""

from collections.abc import Collection, Mapping
from pathlib import Path

from dysconnect.acquire.images import Plan

UNPACKED = 3  # times its packed size that a raw run takes while `ants` works: its realigned voxels, in single precision


def room_needed(plan: Plan, keep: bool, jobs: int = 1, units: Collection[str] | None = None) -> int:
    """Bytes of disk that fetching will still take: of everybody, or (`keep` false) of those at work at one time.

    Parameters
    ----------
    plan : Plan
    keep : bool
        Whether images stay once they are read.
    jobs : int
        How many run at once.
    units : collection of str, optional
        Who is still to be fetched; everybody by default. Of the others images may be gone on purpose.
    """
    wanted = {unit: files for unit, files in plan.units.items() if units is None or unit in units}
    missing = [sum(_missing(plan.folder / file["path"], file) for file in files) for files in wanted.values()]
    return sum(missing) if keep else sum(sorted(missing, reverse=True)[: jobs + 1])


def room_to_work(plan: Plan, jobs: int, people: Collection[str]) -> int:
    """Bytes of disk that preprocessing raw images takes beside them, while `jobs` of these people are at work."""
    runs = [max((file["bytes"] or 0 for file in plan.units[name]), default=0) for name in people]
    return UNPACKED * sum(sorted(runs, reverse=True)[:jobs])


def _missing(path: Path, file: Mapping) -> int:
    here = [part.stat().st_size for part in (path, path.with_name(path.name + ".part")) if part.exists()]
    return max((file["bytes"] or 0) - max(here, default=0), 0)
