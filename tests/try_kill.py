"""Kill a running workflow at random moments, resume it as a user would, and compare with an undisturbed run.

``python tests/try_kill.py 30`` kills 30 times (an hour on two cores); `test_workflow` has three of the moments.
Whatever works in the project is killed with SIGKILL at once, as when the power fails.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np

DAY = r"\d{4}-\d\d-\d\d"
ASIDE = ("logs", "benchmarks", "tracking", "unfinished", "figures", "mlflow-artifacts")  # times, and names of runs
UNLOCK = "--unlock"


def killed(project, *arguments: str, when: Callable[[], bool], **keywords) -> bool:
    """Start the workflow, and kill it once `when` says so; whether it came to that before the end."""
    told = {"cwd": project.folder, "env": project.environment(), "start_new_session": True}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(project.command(*arguments, **keywords), **told, **quiet)
    while process.poll() is None:
        if when():
            kill_all(project.folder)
            process.wait()
            return True
        time.sleep(0.05)
    return False


def kill_all(folder: Path) -> None:
    """Kill every process that works in a folder, until none is left."""
    while own := [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if works_in(entry, folder)]:
        for pid in own:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def works_in(process: Path, folder: Path) -> bool:
    """Whether a process lives and its working folder is this one."""
    try:
        return Path(os.readlink(process / "cwd")) == folder and "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def resume(project, *arguments: str, **keywords) -> subprocess.CompletedProcess:
    """Go on as after a kill on another machine, where the lock stays until somebody takes it away."""
    unlocked = project.snakemake(UNLOCK, *arguments, **keywords)
    assert unlocked.returncode == 0, unlocked.stdout + unlocked.stderr
    return project.snakemake(*arguments, **keywords)


def difference(one: Path, other: Path) -> list[str]:
    """Files of two folders of results that are not the same in content."""
    files = [set(relative(folder)) for folder in (one, other)]
    alone = [f"{path}: only in one of them" for path in sorted(files[0] ^ files[1])]
    return alone + [str(path) for path in sorted(files[0] & files[1]) if not same(one / path, other / path)]


def relative(folder: Path) -> list[Path]:
    """Files whose content is a result."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and not describes(path)]
    return [path for path in paths if not set(path.parts) & set(ASIDE) and path.suffix not in (".html", ".db")]


def describes(path: Path) -> bool:
    """Whether a file says only what the columns of the table beside it mean: the last rule of a whole run writes it."""
    settings = ("splits.json", "edges.json", "severity.json", "groups.json")  # results of their own
    beside = path.with_suffix(".tsv").exists() and path.name not in settings and path.parent.name != "maps"
    return path.suffix == ".json" and (beside or path.stem.endswith("_columns"))


def same(one: Path, other: Path) -> bool:
    """Whether two files hold the same numbers and words."""
    if one.suffix == ".npz":
        with np.load(one, allow_pickle=False) as a, np.load(other, allow_pickle=False) as b:
            return a.files == b.files and all(close(a[name], b[name]) for name in a.files)
    if one.suffix == ".h5":
        with h5py.File(one) as a, h5py.File(other) as b:
            return np.array_equal(a["connectome"][:], b["connectome"][:], equal_nan=True)
    if "tried" in (one.stem, one.parent.name):  # settings, and the day when they were new
        return re.sub(DAY, "", one.read_text()) == re.sub(DAY, "", other.read_text())
    return one.read_bytes() == other.read_bytes()


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same but for rounding: threads may add up in another order."""
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True)


def runs(database: Path) -> tuple[Counter, Counter]:
    """What MLflow holds: its runs by name and status, and the versions of its models by name."""
    with closing(sqlite3.connect(database)) as connection:
        active = "SELECT name, status FROM runs WHERE lifecycle_stage = 'active'"
        return Counter(connection.execute(active)), Counter(connection.execute("SELECT name FROM model_versions"))


def running(database: Path) -> bool:
    """Whether a run in MLflow is not finished."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0] > 0


def clear(folder: Path) -> None:
    """Begin anew."""
    for name in ("results", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)


def undisturbed(folder: Path, target: list[str], keywords: dict) -> Path:
    """Run once without a kill, or take a project that ran before."""
    from test_workflow import Project

    if not folder.exists():
        folder.mkdir()
        done = Project(folder, 7200, sys.executable).snakemake(*target, **keywords)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results"


def seconds(results: Path) -> float:
    """How long a run took, from the times of its files."""
    times = [path.stat().st_mtime for path in results.rglob("*") if path.is_file()]
    return max(times) - min(times)


def campaign(kills: int, seed: int, calm: Path, target: list[str], keywords: dict) -> None:
    """Kill, resume, compare, until there were so many kills."""
    from test_workflow import Project

    chance, told = random.Random(seed), 0
    results = undisturbed(calm, target, keywords)
    wanted, longest = runs(results / "mlflow.db"), seconds(results)
    project = Project(Path(tempfile.mkdtemp(prefix="kills")), 7200, sys.executable)
    print(f"undisturbed: {longest:.0f} s in {calm}; killed in {project.folder}", flush=True)
    while told < kills:
        end = time.time() + chance.uniform(1, 0.3 * longest)
        if killed(project, *target, when=lambda end=end: time.time() > end, **keywords):
            told += 1
            print(f"kill {told}: {'locked' if locked(project.folder) else 'no lock'}", flush=True)
            if told < kills and chance.random() < 0.7:
                continue  # killed again before the end
        done = project.snakemake(*target, **keywords)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not (problems := difference(results, project.folder / "results")), problems
        assert (own := runs(project.folder / "results/mlflow.db")) == wanted, (own, wanted)
        print(f"the same results and runs after {told} kills", flush=True)
        clear(project.folder)


def locked(folder: Path) -> bool:
    """Whether a killed Snakemake has left its locks."""
    return any((folder / ".snakemake/locks").glob("*"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", nargs="*", default=[], help="files to make; all of them by default")
    parser.add_argument("--config", nargs="*", default=[], help="as of snakemake: experiment=gcn")
    parser.add_argument("--undisturbed", type=Path, help="of a run before, to compare with; made where there is none")
    given = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    calm = given.undisturbed or Path(tempfile.mkdtemp()) / "undisturbed"
    campaign(given.kills, given.seed, calm, given.target, {"config": tuple(given.config)})
    print(json.dumps({"kills": given.kills, "seed": given.seed}))
