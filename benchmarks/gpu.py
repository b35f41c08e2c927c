"""What a GPU makes faster, in one command and under eight minutes: `make gpu`.

python benchmarks/gpu.py [--device cuda] [--only NAME,NAME] [--out FILE]
python benchmarks/gpu.py --device cpu --tiny     does everything run through? A minute, and its figures mean nothing
python benchmarks/gpu.py --table                 writes the figures of the last run into benchmarks/README.md

People are simulated on the spot. Needs torch, torch_geometric, numpy, scipy, pandas, scikit-learn and numba, and pytest
for the tests. Every part is a process of its own with its share of the time: what fails there, or takes too long, is
written down with its reason and stops no other part.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
OUT, README = ROOT / "benchmarks/results/gpu.json", ROOT / "benchmarks/README.md"
PACKAGES = ("torch", "torch_geometric", "numpy", "scipy", "pandas", "scikit-learn", "numba")
MARKS = "<!-- gpu: written by benchmarks/gpu.py --table -->", "<!-- end of gpu -->"
SECONDS = {  # of each part, at most: 460 in all
    "tests": 90, "stacked_gcn": 50, "stacked_bnt": 70, "permutations": 75, "default_network": 60, "localization": 35,
    "bfloat16": 80,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much of everything: of ABIDE's size, or tiny."""

    people: int = 1009
    nodes: int = 200
    folds: int = 5
    seeds: int = 10
    epochs: int = 20
    permutations: int = 50
    localized: int = 100
    shuffles: int = 5000

    @property
    def training(self) -> int:
        """People of a training fold."""
        return self.people * 4 // 5


TINY = Size(people=40, nodes=12, folds=2, seeds=3, epochs=2, permutations=3, localized=30, shuffles=50)


def row(what: str, value: float, unit: str, goal: float | None = None, least: bool = False) -> dict:
    """One figure; a goal is the largest value, or with `least` the smallest, that is good enough."""
    reached = None if goal is None else bool(value >= goal if least else value <= goal)
    return {"what": what, "value": float(value), "unit": unit, "goal": goal, "reached": reached}


def missing(what: str, reason: str) -> dict:
    """In place of a figure, why there is none."""
    return {"what": what, "reason": reason}


# people and networks


@cache
def people(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Fisher z [n, E] of people of whom half have other connections, a twentieth of them, and who does, [n]."""
    rng = np.random.default_rng(0)
    labels = np.arange(size.people) % 2
    edges = rng.normal(0.2, 0.2, (size.people, size.nodes * (size.nodes - 1) // 2)).astype(np.float32)
    edges[:, :: 20 * 20] += 0.1 * labels[:, None]
    return edges, labels


def settings(name: str, device: str, size: Size, **training) -> dict:
    """Sections for a network; all epochs, unless `training` says otherwise."""
    from dysconnect.learning.graph.classifier import DEFAULTS

    spec = {"device": device, "epochs": size.epochs, "patience": size.epochs, "validation": 0.2, "batch_size": 64}
    spec |= {"lr": 1e-4, "weight_decay": 1e-2, "precision": "float32", "stacked": True, "memory": None, "search": {}}
    model = {"name": name, **DEFAULTS[name]}
    return {"model": model, "measure": "correlation", "graph": {"density": 0.1}, "training": spec | training}


def train(size: Size, sections: dict, labels: np.ndarray, seeds: np.ndarray, first: int = 0):
    """Networks of as many label vectors as seeds, on the training people of the fold that begins at `first`."""
    from dysconnect.learning.graph.run import train_networks

    rows = (first + np.arange(size.training)) % size.people
    columns = labels[rows] if labels.ndim == 2 else np.repeat(labels[rows, None], len(seeds), axis=1)
    return train_networks(people(size)[0][rows], columns, np.arange(len(rows)), seeds, sections)


def timed(device: str, run: Callable[[], object]) -> float:
    """Wall seconds of a call, until the device has done all of it."""
    import torch

    wait = partial(torch.cuda.synchronize, device) if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


# the parts: each yields figures as they come, and what is stopped keeps those that it has


def tests(device: str, size: Size) -> Iterator[dict]:
    """The tests that need a GPU, file by file: one that cannot be imported on a bare machine stops no other."""
    files = sorted(path for path in (ROOT / "tests").glob("test_*.py") if "pytest.mark.gpu" in path.read_text())
    for path in files[-1:] if size == TINY else files:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "--tb=short", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        absent = re.search(r"No module named '?([\w.]+)", done.stdout + done.stderr)
        if absent and not re.search(r"\d (passed|failed)", done.stdout):
            yield missing(f"tests, {path.name}", f"{absent[1]} is not installed")
            continue
        counted = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
        bad = counted.get("failed", 0) + counted.get("error", 0)
        if bad or done.returncode not in (0, 5):  # 5: none to run
            print(done.stdout[-3000:], done.stderr[-1000:], sep="\n", file=sys.stderr)
        yield row(f"tests, {path.name}: passed", counted.get("passed", 0), "tests", 1, least=True)
        yield row(f"tests, {path.name}: failed", bad, "tests", 0)


def stacked(name: str, device: str, size: Size) -> Iterator[dict]:
    """Seeds of a fold side by side, and folds x seeds side by side, against one network after the other."""
    labels, seeds, folds = people(size)[1], np.arange(1, size.seeds + 1), range(size.folds)
    shift = size.people // size.folds
    what = f"{name.upper()}, {len(folds)} folds x {len(seeds)} seeds x {size.epochs} epochs, {size.training} people"
    together, serial = (settings(name, device, size, stacked=how) for how in (True, False))
    train(size, settings(name, device, size, epochs=1), labels, seeds[:2])  # what is compiled and chosen at first
    one, three = (timed(device, lambda n=n: train(size, serial, labels, seeds[:n])) for n in (1, 3))
    each = max((three - one) / 2, 1e-9)
    alone = len(folds) * (max(one - each, 0) + len(seeds) * each)
    yield row(f"{what}: one after the other, extrapolated from 1 and 3 networks", alone, "s")
    by_fold = timed(device, lambda: [train(size, together, labels, seeds, k * shift) for k in folds])
    yield row(f"{what}: side by side in each fold", by_fold, "s")
    yield row(f"{what}: gain in each fold", alone / by_fold, "x")
    every = np.arange(1, len(seeds) * len(folds) + 1)
    at_once = timed(device, lambda: train(size, together, labels, every))
    yield row(f"{what}: {len(every)} side by side", at_once, "s")
    yield row(f"{what}: gain, all side by side", alone / at_once, "x", 15, least=True)


def permutations(device: str, size: Size) -> Iterator[dict]:
    """A label-permutation null of the GCN with early stopping, of which a few permutations of one fold are trained."""
    own = settings("gcn", device, size, epochs=5 * size.epochs, patience=15)
    what = f"GCN, {size.people} people x {size.nodes} regions, at most {5 * size.epochs} epochs"
    yield from null_of(what, own, device, size, size.permutations, 15)


def default_network(device: str, size: Size) -> Iterator[dict]:
    """The same of a GCN beside ridge regression, with inner folds."""
    own = settings("gcn", device, size, epochs=5, batch_size=8, lr=1e-3, validation=0, inner_folds=5)
    own["model"] |= {"start": "ridge", "linear": False}
    what = f"GCN beside ridge regression, {size.people} people x {size.nodes} regions, 5 inner folds, 5 epochs"
    yield from null_of(what, own, device, size, max(size.permutations // 5, 2))


def null_of(what: str, own: dict, device: str, size: Size, n: int, goal: float | None = None) -> Iterator[dict]:
    """Time of n label permutations of one fold, and of 1,000 of five."""
    labels, rng = people(size)[1], np.random.default_rng(1)
    columns = np.column_stack([rng.permutation(labels) for _ in range(n)])
    seeds = np.ones(n, int)  # the same first weights for all, as in the workflow
    train(size, own | {"training": own["training"] | {"epochs": 1}}, columns[:, :2], seeds[:2])
    seconds = timed(device, lambda: train(size, own, columns, seeds))
    yield row(f"{what}: {n} label permutations of one fold", seconds, "s")
    yield row(f"{what}: 1,000 permutations x 5 folds, extrapolated from these", seconds / n * 5000 / 60, "min", goal)


def localization(device: str, size: Size) -> Iterator[dict]:
    """The max-T permutations of all edges, in a cohort of a hundred and in a large one."""
    yield from max_t(device, Size(people=size.localized, nodes=size.nodes, shuffles=size.shuffles), 0.1)
    yield from max_t(device, size, None)


def max_t(device: str, size: Size, goal: float | None) -> Iterator[dict]:
    """Seconds of the device and of numpy for the same permutations, and whether they give the same p."""
    from dysconnect.localize.permutation import null_extremes, residual_unit
    from dysconnect.localize.statistics import exceedance_p

    edges, labels = people(size)
    what = f"max-T, {size.people} people, {size.shuffles} permutations x {edges.shape[1]} edges"
    basis = np.full((size.people, 1), size.people**-0.5)
    group, units = labels - labels.mean(), residual_unit(edges.astype(float), basis)
    observed, p = np.abs((group / np.linalg.norm(group)) @ units), []
    there, here = f"{what}: on the device, there and back", f"{what}: numpy, {os.cpu_count()} cores"
    for gpu, how, wanted in ((device, there, goal), (None, here, None)):
        extremes, got = null_extremes("smith", group, basis, np.zeros(size.people), size.shuffles, 0, gpu), []
        extremes(units[:, :100])  # started
        yield row(how, timed(device, lambda run=extremes, kept=got: kept.append(run(units))), "s", wanted)
        ((high, low),) = got
        p.append(exceedance_p(observed, np.maximum(high, -low)))
    yield row(f"{what}: largest difference of p", np.abs(p[0] - p[1]).max(), "", 1 / (size.shuffles + 1))


def bfloat16(device: str, size: Size) -> Iterator[dict]:
    """Mixed precision against single: AUC of people whom networks never saw, and time."""
    from sklearn.metrics import roc_auc_score

    (edges, labels), seeds = people(size), np.arange(1, size.seeds + 1)
    unseen = slice(size.training, None)
    for name in ("gcn", "bnt"):
        auc, seconds = {}, {}
        for precision in ("float32", "bfloat16"):
            own = settings(name, device, size, precision=precision)
            train(size, own | {"training": own["training"] | {"epochs": 1}}, labels, seeds[:2])
            networks: list = []
            seconds[precision] = timed(device, lambda o=own, n=networks: n.append(train(size, o, labels, seeds)))
            auc[precision] = np.array([roc_auc_score(labels[unseen], z) for z in networks[0].decide(edges[unseen]).T])
        change = abs((auc["bfloat16"] - auc["float32"]).mean())
        noise = max(auc["float32"].std(ddof=1), 0.002)
        what = f"{name.upper()}, {size.seeds} seeds, bfloat16 against float32"
        yield row(f"{what}: AUC in float32", auc["float32"].mean(), "")
        yield row(f"{what}: change of the AUC, goal the spread of seeds", change, "", round(noise, 4))
        yield row(f"{what}: gain in time", seconds["float32"] / seconds["bfloat16"], "x")


PARTS: dict[str, Callable[[str, Size], Iterator[dict]]] = {
    "tests": tests,
    "stacked_gcn": lambda *how: stacked("gcn", *how),
    "stacked_bnt": lambda *how: stacked("bnt", *how),
    "permutations": permutations,
    "default_network": default_network,
    "localization": localization,
    "bfloat16": bfloat16,
}


# one part in its process


def run_part(name: str, device: str, size: Size) -> Iterator[dict]:
    """Figures of a part and its largest memory, or why there are no more."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        yield missing(name, f"torch {torch.__version__} sees no GPU")
        return
    try:
        yield from PARTS[name](device, size)
    except (RuntimeError, MemoryError, ValueError, ImportError, OSError) as error:  # of torch too: out of memory
        yield missing(name, f"{type(error).__name__}: {error}"[:500])
    if name == "tests":  # whose processes are others
        return
    yield row(f"{name}: memory of the process", _host_peak(), "GB")
    if device.startswith("cuda"):
        yield row(f"{name}: memory of the GPU", torch.cuda.max_memory_reserved(device) / 1e9, "GB")


def _host_peak() -> float:
    """Largest memory of this process, GB; NaN where the system does not say."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1e6 if found else float("nan")


def send_part(sender: Connection, name: str, device: str, size: Size) -> None:
    """What the process of a part does."""
    for figure in run_part(name, device, size):
        sender.send(figure)


def start_part(name: str, device: str, size: Size) -> dict:
    """Run a part in a process of its own, for as long as it may take; they fork from one that has loaded torch."""
    context, started = multiprocessing.get_context("forkserver"), time.monotonic()
    context.set_forkserver_preload(["torch", "dysconnect.learning.graph.classifier"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_part, args=(sender, name, device, size))
    process.start()
    sender.close()
    rows: list[dict] = []
    try:
        while receiver.poll(max(started + SECONDS[name] - time.monotonic(), 0)):
            rows.append(receiver.recv())
        rows.append(missing(name, f"stopped after {SECONDS[name]} s, its share of the time"))
    except EOFError:  # it has ended
        process.join(10)
        if process.exitcode:  # killed by the system, or by the driver
            rows.append(missing(name, f"its process ended with {process.exitcode}"))
    process.kill()
    process.join()
    seconds = round(time.monotonic() - started, 1)
    return {"part": name, "rows": rows, "seconds": seconds, "seconds_allowed": SECONDS[name]}


# all of them


def describe(device: str) -> dict:
    """Device, driver and versions."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    there = {"device": device, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "versions": versions}
    there["versions"] |= {"python": platform.python_version(), "cuda": torch.version.cuda}
    if device.startswith("cuda") and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(device)
        there |= {"gpu": card.name, "gpu_memory_gb": round(card.total_memory / 1e9, 1)}
    return there


def measure(names: list[str], device: str, tiny: bool) -> dict:
    """Run the parts one after the other."""
    result = {"command": " ".join(["python", *sys.argv]), "tiny": tiny, **describe(device), "parts": []}
    started = time.monotonic()
    for name in names:
        print(f"{name} (at most {SECONDS[name]} s)", flush=True)
        part = start_part(name, device, TINY if tiny else Size())
        result["parts"].append(part)
        print(*(f"  {line}" for line in words(part)), sep="\n", flush=True)
    return result | {"seconds": round(time.monotonic() - started, 1)}


def words(part: dict) -> list[str]:
    """Figures of a part as lines of text."""
    return [" | ".join(cells) for cells in cells_of(part)]


def cells_of(part: dict) -> list[tuple[str, str, str]]:
    """Figures of a part as what, value and goal."""
    cells = []
    for figure in part["rows"]:
        if "reason" in figure:
            cells.append((figure["what"], f"not measured: {figure['reason']}", ""))
            continue
        goal = "" if figure["goal"] is None else f"{figure['goal']:.3g}{'' if figure['reached'] else ', missed'}"
        cells.append((figure["what"], f"{figure['value']:.3g} {figure['unit']}".strip(), goal))
    return cells


# the page


def table(result: dict | None) -> str:
    """The figures as Markdown; that there are none, where nothing was measured on a GPU."""
    if result is None or result["tiny"] or "gpu" not in result:
        return "Not run on a GPU yet: `make gpu` on a machine with one."
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items() if number)
    where = f"{result['gpu']} ({result['gpu_memory_gb']:g} GB), {result['machine']}"
    head = f"{where}; {versions}; {result['seconds']:g} s in all."
    rows = [f"| {' | '.join(cells)} |" for part in result["parts"] for cells in cells_of(part)]
    return "\n".join([head, "", "| what | value | goal |", "|---|---|---|", *rows])


def fill(page: str, result: dict | None) -> str:
    """The page with the table of a run between its marks."""
    before, rest = page.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{table(result)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def main() -> None:
    """Measure and save, or fill the page."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_args()
    out = asked.out or (OUT.with_name("gpu_tiny.json") if asked.tiny else OUT)
    if asked.table:
        result = json.loads(out.read_text()) if out.exists() else None
        README.write_text(fill(README.read_text(), result))
    else:
        result = measure(asked.only.split(","), asked.device, asked.tiny)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1))
        print(
            f"{result['seconds']:g} s. All figures: {out}; into benchmarks/README.md: python benchmarks/gpu.py --table"
        )


if __name__ == "__main__":
    main()
