"""How much of the machine's memory the data may take, and that what is freed goes back to it."""

import ctypes
import os
import sys
from pathlib import Path

MAPPED = 6_000_000  # bytes: above what a chunk of matrices takes, which comes and goes often
MMAP_THRESHOLD = -3  # of glibc's malloc.h


def free_memory() -> float:
    """Bytes of memory that are free; half of all where the system does not say (only Linux does)."""
    known = Path("/proc/meminfo")
    if known.exists():
        lines = dict(line.split(":") for line in known.read_text().splitlines())
        return float(lines["MemAvailable"].split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def data_memory(wanted: float | None) -> float:
    """Bytes that data may take: half of `wanted` (GB), or of what is free; the other half is for the work on them."""
    return (free_memory() if wanted is None else wanted * 1e9) / 2


def give_back() -> None:
    """Let arrays of 6 MB or more be the system's again as soon as they are freed.

    The allocator of Linux (glibc) raises that limit up to 32 MB by itself, and keeps what is smaller between what is
    still used: of 500 people, 300 MB that nobody needs. Other systems do as they like.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:
            set_option(MMAP_THRESHOLD, MAPPED)


def linear_bytes(n: int, n_features: int, in_place: bool, in_file: bool, tangent: bool) -> float:
    """Bytes that a linear model of n people takes at least, beside the libraries.

    In place that is one kernel, and the features where they are not read from a file; else the features in double
    precision as well, and two kernels more.
    """
    held = 0 if in_file else 4 * n * n_features * (3 if tangent else 1)
    return held + (8 * n**2 if in_place else 8 * n * n_features + 24 * n**2)
