"""How much of the machine's memory the data may take."""

import os
from pathlib import Path


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
