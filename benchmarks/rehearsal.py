"""Dress rehearsal of ds006395: people of its size and with its traps, from a server to the report, killed on the way.

python benchmarks/rehearsal.py --folder DIR [--people 24] [--cores 2] [--kill download,preprocess:60,train:8]
python benchmarks/rehearsal.py --folder DIR --small [--kill none]
python benchmarks/rehearsal.py --folder DIR --against OTHER
A server on loopback makes everybody's images from a seed when they are asked for (104 x 104 x 72 x 400, T1w of 1 mm;
0.5 GB and 4 CPU-s a person). A copy of the workflow in DIR/project gets a data set `rehearsal`, which is ds006395 with
other addresses and checksums, and is run as a user types it, with acquire.keep=false. At the moments of --kill
its processes get SIGKILL, all of them, and the same command is run again. DIR keeps what was counted: if this command
is interrupted, the same goes on where it stopped. Tables of two such folders are compared by
--against (one with --kill none, say).
Writes benchmarks/results/rehearsal.json. Linux only: it looks into /proc.
"""

import argparse
import ctypes
import json
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
from rehearsed.account import account, differences
from rehearsed.people import BY_NAME, FULL, OTHERS, SIDEWAYS, SLOW, SMALL, Cohort, measured
from rehearsed.server import Server
from rehearsed.watch import Watch, jobs, look_at_processes, now
from try_kill import relative  # of tests/

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks/results"
MOMENTS = ("download", "preprocess:2", "train:2")
USUAL = ("acquire.keep=false",)
COARSE = (  # of the small one: seconds a person, and few folds and permutations
    *USUAL, "preprocess.transform=affine", "preprocess.resolution=4", "atlas.nodes=tiny.tsv", "splits.folds=2",
    "splits.repeats=1", "evaluate.bootstraps=100", "training.permutations=19", "localize.permutations=100",
    "localize.stability_draws=2", "localize.stability_top=5", "localize.screening_splits=2",
    "stimulate.permutations=19", "stimulate.draws=19", "quality.permutations=100", "denoise.motion=basic",
    "denoise.min_seconds=100", "localize.nuisance=[mean_fd]",
)  # fmt: skip


class Rehearsal:
    """One folder: what was made, what ran, what was counted."""

    def __init__(self, folder: Path, people: int, small: bool):
        self.folder, self.small, self.size = folder.resolve(), small, SMALL if small else FULL
        self.project, self.scratch = self.folder / "project", self.folder / "tmp"
        for place in (self.folder / "server", self.scratch):
            place.mkdir(parents=True, exist_ok=True)
        self.cohort = Cohort(people, self.size, self.folder / "server/heads")

    def prepare(self) -> None:
        """Measure every file of the manifest; what was measured before is known."""
        known = self.folder / "server/known.jsonl"
        there = {json.loads(line)["path"] for line in known.read_text().splitlines()} if known.exists() else set()
        with open(known, "a") as file:
            for path in self.cohort.files():
                if path not in there:
                    file.write(json.dumps(measured(self.cohort, path)) + "\n")
                    file.flush()

    @property
    def port(self) -> int:
        """Of the server, the same for all runs: addresses are in the manifest."""
        path = self.folder / "server/port"
        if not path.exists():
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                path.write_text(str(free.getsockname()[1]))
        return int(path.read_text())

    def set_up(self) -> None:
        """Copy what runs, and add the data set."""
        if (self.project / "ready").exists():
            return
        shutil.rmtree(self.project, ignore_errors=True)
        for name in ("src", "workflow", "configs", "profiles"):
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, self.project / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", self.project)
        (self.project / "configs/dataset/rehearsal.yaml").write_text(configuration())
        self._manifest().to_csv(self.project / "configs/manifest/rehearsal.tsv", sep="\t", index=False)
        nodes = self.size.nodes
        nodes[nodes.index % (6 if self.small else 1) == 0].to_csv(self.project / "tiny.tsv", sep="\t", index=False)
        (self.project / "ready").touch()

    def _manifest(self) -> pd.DataFrame:
        """All files with their checksums; those who are left out have files in it, and none on the server."""
        rows = [json.loads(line) for line in (self.folder / "server/known.jsonl").read_text().splitlines()]
        groups = self.cohort.people.set_index("participant_id")["group"].to_dict()
        groups |= {name: "HC" if name[4] == "C" else "ULD" for name in BY_NAME} | dict.fromkeys(OTHERS, "CD")
        for name in (*BY_NAME, *OTHERS):
            bold = f"{name}/func/{name}_task-rest_bold.nii.gz"
            rows.append({"path": bold, "bytes": 1, "hash": "sha256:" + 64 * "0"})
        table = pd.DataFrame(rows).sort_values("path")
        name = table["path"].str.extract("^(sub-[^/]+)/")[0].fillna("")
        base = f"http://127.0.0.1:{self.port}/"
        return pd.DataFrame(
            {
                "participant_id": name,
                "group": name.map(groups).fillna(""),
                **table[["path", "bytes", "hash"]],
                "version_id": "v1",
                "urls": [f"{base}{path}?versionId=v1 {base}{path}" for path in table["path"]],
            }
        )

    @contextmanager
    def served(self, cache: float):
        """The server, in a process of its own."""
        command = [sys.executable, __file__, "--folder", str(self.folder), "--people", str(len(self.cohort.people))]
        command += ["--serve", "--cache", str(cache), *["--small"] * self.small]
        server = subprocess.Popen(command)
        try:
            for _ in range(600):
                with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                    break
                time.sleep(0.1)
            yield
        finally:
            server.terminate()
            server.wait()

    def command(self, cores: int, *more: str) -> list[str]:
        """What a user types."""
        words = [sys.executable, "-m", "snakemake", "--cores", str(cores), *more, "--config", "dataset=rehearsal"]
        words += ["experiment=floor,correlation_ridge"] * self.small
        return [*words, f"overrides={' '.join(COARSE if self.small else USUAL)}"]

    def run(self, cores: int, kill: str | None = None, *more: str) -> dict:
        """Run the command once; kill it at a moment."""
        self._arm(kill)
        (self.folder / "began").write_text(str(time.time()))
        start, before = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(self.folder / f"run{len(self.runs)}.log", "w") as log:
            told = {"cwd": self.project, "env": self._environment(), "start_new_session": True}
            process = subprocess.Popen(self.command(cores, *more), stdout=log, stderr=subprocess.STDOUT, **told)
        places, current = [self.project / "results"], self.folder / "current"
        current.write_text(json.dumps({"session": process.pid}))
        seconds, end = 0.3 if self.small else 1.0, lambda: os.killpg(process.pid, signal.SIGKILL)
        watch = Watch(process.pid, places, self.scratch, seconds, current, self._moment(kill), end)
        watch.start()
        code = process.wait()
        watch.over.set()
        watch.join()
        reap(process.pid)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        current.unlink()
        told = {"arguments": list(more), "kill": kill, "code": code, "cpu": round(used, 1)}
        return self._note(told | {"seconds": round(time.time() - start, 1), **watch.summary()})

    def _environment(self) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.project / "src"), "TMPDIR": str(self.scratch), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own

    def _arm(self, kill: str | None) -> None:
        """Have the server keep still in the middle of a file, where the run is to be killed in a download."""
        if kill == "download":
            last = self.cohort.people["participant_id"].iloc[min(7, len(self.cohort.people) - 1)]
            (self.folder / "server/stalled").unlink(missing_ok=True)
            (self.folder / "server/stall").write_text(last)

    def _note(self, row: dict) -> dict:
        """Write down what a run took, and what it did by its log."""
        number = len(self.runs)
        begun, done = jobs(self.folder / f"run{number}.log")
        ended = row["code"] >= 0
        row = {"run": number, **row, "begun": begun, "done": done}
        row |= {"under_way": [] if ended else sorted(set(begun) - set(done)), "left": {} if ended else self.left()}
        with open(self.folder / "runs.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{now()} run {number} {' '.join(row['arguments'])} exit {row['code']}, ", end="")
        print(f"{row['seconds']:.0f} s, {row['cpu'] / 60:.1f} core-minutes, {len(done)} jobs", flush=True)
        return row

    def end_interrupted(self) -> None:
        """End a run whose rehearsal was killed, and write down what was seen of it."""
        current = self.folder / "current"
        if not current.exists():
            return
        seen = json.loads(current.read_text())
        session = seen.pop("session")
        with suppress(OSError):
            if Path(f"/proc/{session}/cwd").resolve() == self.project:
                os.killpg(session, signal.SIGKILL)
        log = self.folder / f"run{len(self.runs)}.log"
        seconds = current.stat().st_mtime - float((self.folder / "began").read_text())
        used = sum(seen.get("cpu_by_rule", {}).values())
        told = {"arguments": [], "kill": "interrupted", "code": -9, "cpu": used, "seconds": seconds}
        self._note(told | seen) if log.exists() else None
        current.unlink()

    @property
    def runs(self) -> list[dict]:
        """What ran so far."""
        path = self.folder / "runs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _moment(self, kill: str | None):
        """When to kill: half a file has come; or a job of the rule has been at work for a while."""
        if kill is None:
            return None
        since: dict[str, float] = {}

        def moment(rules: set[str]) -> bool:
            if kill == "download":
                return (self.folder / "server/stalled").exists()
            rule, _, wait = kill.partition(":")
            if rule not in rules:
                since.clear()
                return False
            return time.time() - since.setdefault(rule, time.time()) >= float(wait or 1)

        return moment

    def left(self) -> dict[str, int]:
        """Bytes of images, parts and temporary files that lie there now, by path."""
        places = [self.project / "results", self.scratch]
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        ours = [path for path in files if ".nii" in path.name or path.suffix == ".part" or self.scratch in path.parents]
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in ours}


def configuration() -> str:
    """That of ds006395 under another name; two people are left out by what their sidecars say, not by name."""
    text = (ROOT / "configs/dataset/ds006395.yaml").read_text()
    for name in (*SLOW, *SIDEWAYS):
        text = re.sub(rf"^ +{name}: .*\n", "", text, flags=re.MULTILINE)
    changes = {"name": "rehearsal", "manifest": "rehearsal", "title": "Dress rehearsal of ds006395, simulated people"}
    for key, value in changes.items():
        text = re.sub(rf"^  {key}: .*$", f"  {key}: {value}", text, flags=re.MULTILINE)
    return text


def reap(session: int) -> None:
    """Wait for what a killed process left to us, until nothing of its session lives."""
    for _ in range(100):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not any(look_at_processes(session)):
            return
        time.sleep(0.1)


def go(rehearsal: Rehearsal, cores: int, kills: list[str]) -> None:
    """Run until all moments have passed and the report is there; then once more, for which nothing is left."""
    killed = {row["kill"] for row in rehearsal.runs if row["code"] < 0}
    moments = [name for name in kills if name not in killed | {"none"}]
    while not any("--dry-run" in row["arguments"] for row in rehearsal.runs):
        row = rehearsal.run(cores, moments.pop(0) if moments else None)
        log = (rehearsal.folder / f"run{row['run']}.log").read_text()
        if "LockException" in log or "cannot be locked" in log:
            moments = [row["kill"]] * bool(row["kill"]) + moments
            rehearsal.run(cores, None, "--unlock")
        elif row["code"] == 0 and not moments:
            rehearsal.run(cores, None, "--dry-run")
        elif row["code"] > 0:
            raise SystemExit(f"exit {row['code']}: see {rehearsal.folder}/run{row['run']}.log")


def write(rehearsal: Rehearsal) -> None:
    """Write what was counted, and what 91 people would cost by it."""
    counted = account(rehearsal.folder)
    about = {
        "what": f"{len(rehearsal.cohort.people)} people, {' x '.join(map(str, rehearsal.size.shape))} x "
        f"{rehearsal.size.volumes}, T1w {rehearsal.size.t1w:g} mm, from a server to the report",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    OUT.mkdir(exist_ok=True)
    name = "rehearsal_small" if rehearsal.small else "rehearsal"
    (OUT / f"{name}.json").write_text(json.dumps([about | counted], indent=1))
    print(json.dumps(about | counted, indent=1))


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--people", type=int, default=None, help="24; 14 of the small one")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--small", action="store_true", help="coarse images, few folds: minutes")
    moments = (
        "moments: download (half a file has come), or a rule and for how many seconds it has been at work; or none"
    )
    parser.add_argument("--kill", default=",".join(MOMENTS), help=f"{moments}. %(default)s")
    parser.add_argument("--cache", type=float, default=3.0, help="GB of images that the server keeps")
    parser.add_argument("--against", type=Path, help="only compare the results with those of this folder")
    parser.add_argument("--count", action="store_true", help="only count what was done so far")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.people = given.people or (14 if given.small else 24)
    return given


def main() -> None:
    """Prepare, run, kill, run again, count."""
    given = asked()
    rehearsal = Rehearsal(given.folder, given.people, given.small)
    if given.serve:
        Server(rehearsal.cohort, rehearsal.folder / "server", rehearsal.port, given.cache).serve_forever()
    if given.against:
        lines = differences(given.folder, given.against)
        print(*lines, f"{len(lines)} of {len(relative(given.folder / 'project/results'))} files differ", sep="\n")
        raise SystemExit(bool(lines))
    if not given.count:
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: what a killed process leaves is ours to count
        rehearsal.end_interrupted()
        rehearsal.prepare()
        rehearsal.set_up()
        with rehearsal.served(given.cache):
            go(rehearsal, given.cores, given.kill.split(","))
    write(rehearsal)


if __name__ == "__main__":
    main()
