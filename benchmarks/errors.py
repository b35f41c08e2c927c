"""Error rates: how often anything is called in cohorts in which nothing differs, by every method, with limits.

python benchmarks/errors.py [--sources simulated,abide] [--seeds 0-999] [--workers 1] [--data FOLDER] [--work FOLDER]
python benchmarks/errors.py --again      counts cells outside the band with the seeds after those, 1000-1999
python benchmarks/errors.py --table      only says what was counted
FOLDER of --data holds abide/ (default: DYSCONNECT_DATA); --work is that of benchmarks/abide.py. What was counted is in
--counts, a file a source and a line a seed: it goes on where it stopped, whenever that was, and what was counted under
other settings or with other methods is refused. A line has a digit a method: 1 if it called anything in the plain
cohort, 2 with motion in the model, 4 with motion left out, added; `.` if the method does not fit the cohort. Its
methods stand in the second line of the file, in order.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
    os.environ[name] = "1"  # before numpy: one thread a worker

from nulls import SOURCES  # noqa: E402
from nulls.scenarios import SCENARIOS, Calls  # noqa: E402

HERE = Path(__file__).parent
BITS = {scenario: 1 << k for k, scenario in enumerate(SCENARIOS)}


def digits(calls: Calls, methods: list[str]) -> str:
    """A line's digits: a method is in all scenarios or in none."""
    fits = [all(method in called for called in calls.values()) for method in methods]
    sums = [sum(BITS[name] * called.get(method, False) for name, called in calls.items()) for method in methods]
    return "".join(str(total) if fit else "." for total, fit in zip(sums, fits))


class Counts:
    """The file of a source: a line of settings, one of methods, the header, and a line a seed."""

    def __init__(self, path: Path, about: str):
        self.path, self.head = path, f"# {about}\n"
        self.methods: list[str] = []
        self.seeds = self._read()

    def _read(self) -> set[int]:
        """Seeds that are there; half a line at the end, of a process that was killed, is cut off."""
        if not self.path.exists():
            return set()
        text = self.path.read_bytes()
        if not text.endswith(b"\n"):
            text = text[: text.rfind(b"\n") + 1]
            os.truncate(self.path, len(text))
        lines = text.decode().splitlines()
        if len(lines) < 3:
            self.path.unlink()
            return set()
        if lines[0] != self.head.rstrip("\n"):
            raise SystemExit(f"{self.path} was counted so:\n{lines[0]}\nand now it is\n{self.head}Use another --counts.")
        self.methods = lines[1].removeprefix("# ").split("; ")
        return {int(line.split("\t")[0]) for line in lines[3:]}

    def add(self, seed: int, calls: Calls) -> None:
        """One more line, in one write."""
        known = list(dict.fromkeys(name for called in calls.values() for name in called))
        if not self.methods:
            self.methods = known
            self._write(f"{self.head}# {'; '.join(known)}\nseed\tcalls\n")
        if known != self.methods:
            raise SystemExit(f"{self.path} has other methods; use another --counts.")
        self._write(f"{seed}\t{digits(calls, self.methods)}\n")
        self.seeds.add(seed)

    def _write(self, text: str) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(handle, text.encode())
        os.close(handle)


_COUNT = None


def begin(source: str, data: Path, work: Path) -> None:
    """Make a worker ready for a source."""
    global _COUNT
    os.nice(max(0, 19 - os.nice(0)))
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        _COUNT = SOURCES[source].make(data, work)


def one(seed: int) -> tuple[int, Calls, float]:
    """Calls of a seed, and its CPU seconds."""
    start = time.process_time()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        calls = _COUNT(seed)
    return seed, calls, time.process_time() - start


def counted(source: str, seeds: list[int], given: argparse.Namespace) -> Iterator[tuple[int, Calls, float]]:
    """Calls of some seeds as they come."""
    with ProcessPoolExecutor(given.workers, initializer=begin, initargs=(source, given.data, given.work)) as pool:
        for job in as_completed([pool.submit(one, seed) for seed in seeds]):
            yield job.result()


def numbers(text: str) -> list[int]:
    """Seeds of 0-3,7."""
    spans = (part.split("-") for part in text.split(","))
    return [seed for span in spans for seed in range(int(span[0]), int(span[-1]) + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", default=",".join(SOURCES))
    parser.add_argument("--seeds", type=numbers, default=numbers("0-999"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--counts", type=Path, default=HERE / "counts")
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/abide_benchmark")
    given = parser.parse_args()
    given.data = given.data and Path(given.data)
    given.counts.mkdir(parents=True, exist_ok=True)
    for source in given.sources.split(","):
        counts = Counts(given.counts / f"{source}.tsv", SOURCES[source].about)
        left, spent = [seed for seed in given.seeds if seed not in counts.seeds], 0.0
        for done, (seed, calls, seconds) in enumerate(counted(source, left, given), 1):
            counts.add(seed, calls)
            spent += seconds
            print(f"{source}: {len(left) - done} left, {spent / done * (len(left) - done):.0f} CPU-s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
