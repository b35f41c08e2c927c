"""How long a job took and what it used, from the benchmark file that Snakemake wrote of it."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

# column of the benchmark file: metric; MLflow shows those under `system/` in a tab of their own
USED = {
    "s": "system/seconds",
    "cpu_time": "system/cpu_seconds",
    "max_rss": "system/max_memory_mb",
    "mean_load": "system/mean_cpu_percent",
    "io_in": "system/read_mb",
    "io_out": "system/written_mb",
}


@dataclass(frozen=True)
class Span:
    """When a job ran, in milliseconds since 1970, and what it used; nothing of it where no file tells."""

    start: int | None = None
    end: int | None = None
    used: tuple[tuple[str, float], ...] = ()

    def end_after(self, start: int) -> int | None:
        """When a run ends that began at `start` and lasts as long as the job did."""
        return None if self.start is None else start + self.end - self.start


UNKNOWN = Span()


def read_span(path: str | Path) -> Span:
    """Read a benchmark file. It was written when the job ended; a copied file keeps the duration, not the day."""
    path = Path(path)
    if not path.is_file():  # results of somebody else come without
        return UNKNOWN
    row = pd.to_numeric(pd.read_csv(path, sep="\t").iloc[-1], errors="coerce")
    end = int(path.stat().st_mtime * 1000)
    used = tuple((name, float(row[column])) for column, name in USED.items() if column in row)
    return Span(end - int(row["s"] * 1000), end, used)
