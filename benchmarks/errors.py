"""Error rates: how often anything is called in cohorts in which nothing differs, by every method, with limits.

python benchmarks/errors.py [--sources simulated,abide] [--seeds 0-999] [--workers 1] [--data FOLDER] [--work FOLDER]
python benchmarks/errors.py --again          counts sources with a cell above the band with fresh seeds, 1000-1999
python benchmarks/errors.py --table          prints what was counted, with all one-sided methods
python benchmarks/errors.py --page PAGE.md   writes it between the lines <!-- errors --> and <!-- end --> of a page
FOLDER of --data holds abide/ (default: DYSCONNECT_DATA); --work is that of benchmarks/abide.py. What was counted is in
--counts, a file a source and a line a seed: a count goes on where it stopped, whenever and however that was. A line has
a digit a method, the sum of 1 if it called anything in the plain cohort, 2 with motion in the model and 4 with motion
left out; `.` if the method does not fit the cohort. The methods stand in the second line of the file, in order. A seed
alone makes a cohort: counts are the same on any machine and in any order. Workers are nice and have one thread each.

The status is 1 where a cell is above the band with fresh seeds too, or motion left out does not fail where it must.
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
    os.environ[name] = "1"  # before numpy is imported

from bands import ABOVE, FRESH, judged, read_counts, troubles, words  # noqa: E402
from nulls import SOURCES  # noqa: E402
from nulls.scenarios import BITS, ROOT, Calls  # noqa: E402
from shared import COUNTS  # noqa: E402
from verdicts import numbers  # noqa: E402

BEGIN, END = "<!-- errors -->\n", "<!-- end -->\n"


def digits(calls: Calls, methods: list[str]) -> str:
    """A line's digits; a method that does not fit a cohort fits it in no scenario."""
    fits = [all(method in called for called in calls.values()) for method in methods]
    sums = [sum(BITS[name] * called.get(method, False) for name, called in calls.items()) for method in methods]
    return "".join(str(total) if fit else "." for total, fit in zip(sums, fits))


class Counts:
    """The file of a source: what it is, its methods, a header, and a line a seed.

    Raises
    ------
    SystemExit
        When the file was counted under other settings, or with other methods.
    """

    def __init__(self, path: Path, about: str):
        self.path, self.about, self.methods = path, f"# {about}", []
        self.seeds = self._read() if path.exists() else set()

    def _read(self) -> set[int]:
        """Seeds that are there; half a line, of a process that was killed, is cut off."""
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        lines = whole.decode().splitlines()
        if len(lines) < 3:
            self.path.unlink()
            return set()
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        self._refuse_other(lines[0], self.about)
        self.methods = lines[1].removeprefix("# ").split("; ")
        return {int(line.split("\t")[0]) for line in lines[3:]}

    def add(self, seed: int, calls: Calls) -> None:
        """One more line, in one write."""
        names = list(dict.fromkeys(name for called in calls.values() for name in called))
        if not self.methods:
            self.methods = names
            self._write(f"{self.about}\n# {'; '.join(names)}\nseed\tcalls\n")
        self._refuse_other("; ".join(self.methods), "; ".join(names))
        self._write(f"{seed}\t{digits(calls, self.methods)}\n")
        self.seeds.add(seed)

    def _refuse_other(self, there: str, here: str) -> None:
        if there != here:
            raise SystemExit(f"{self.path} was counted for\n{there}\nand this is\n{here}\nGive another --counts.")

    def _write(self, text: str) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(text.encode())


def begin(source: str, data: Path | None, work: Path) -> None:
    """Make a worker ready for a source."""
    os.nice(19)
    with quiet():
        begin.count = SOURCES[source].make(data, work)


def one(seed: int) -> tuple[int, Calls, float]:
    """Calls of a seed, and its CPU seconds."""
    start = time.process_time()
    with quiet():
        calls = begin.count(seed)
    return seed, calls, time.process_time() - start


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the lines of progress of every method."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def go_on(source: str, seeds: list[int], given: argparse.Namespace) -> None:
    """Count the seeds of a source that its file does not have."""
    counts = Counts(given.counts / f"{source}.tsv", SOURCES[source].about)
    left, spent = [seed for seed in seeds if seed not in counts.seeds], 0.0
    if left and source.startswith("abide") and given.data is None:
        raise SystemExit("give --data, the folder that holds abide/, or set DYSCONNECT_DATA; or leave out abide")
    setting = source, given.data, given.work
    with ProcessPoolExecutor(given.workers, initializer=begin, initargs=setting) as pool:
        jobs = as_completed([pool.submit(one, seed) for seed in left])
        for done, (seed, calls, seconds) in enumerate((job.result() for job in jobs), 1):
            counts.add(seed, calls)
            spent += seconds
            more = len(left) - done
            print(f"{source}: {more} of {len(seeds)} cohorts left, {spent / done * more:.0f} CPU-s", flush=True)


def counted(folder: Path) -> dict:
    """What the files hold, by source; those of which no seed is counted are left out."""
    paths = {source: folder / f"{source}.tsv" for source in SOURCES}
    tables = {source: read_counts(path) for source, path in paths.items() if path.exists()}
    return {source: table for source, table in tables.items() if len(table)}


def put(page: Path, text: str) -> None:
    """Write a text between the two lines of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{text}\n\n{END}{after}")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", default=",".join(SOURCES), help="of " + ", ".join(SOURCES))
    parser.add_argument("--seeds", type=numbers, default=numbers(f"0-{FRESH - 1}"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--counts", type=Path, default=COUNTS / "errors")
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    parser.add_argument("--work", type=Path, default=ROOT / "results/abide_benchmark")
    return parser.parse_args()


def main() -> int:
    """Count, and say what was counted."""
    given = arguments()
    given.counts.mkdir(parents=True, exist_ok=True)
    sources, seeds = given.sources.split(","), given.seeds
    if given.again:
        cells = judged(counted(given.counts))
        sources = sorted({*sources} & {*cells["source"][cells["verdict"] == ABOVE]}, key=list(SOURCES).index)
        seeds = range(FRESH, 2 * FRESH)
    for source in [] if given.table or given.page else sources:
        go_on(source, list(seeds), given)
    cells, about = judged(counted(given.counts)), {name: source.about for name, source in SOURCES.items()}
    spared = {name: source.spared for name, source in SOURCES.items()}
    if given.page:
        put(given.page, words(cells, about, spared, every=False))
    else:
        print(words(cells, about, spared, every=True))
    problems = troubles(cells, spared)
    for line in problems:
        print(line, file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
