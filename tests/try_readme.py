"""Run every command of README.md, in its order, in a fresh clone: what a new user would type.

python tests/try_readme.py [--data FOLDER] [--folder FOLDER] [--from WORDS]

Takes one to two hours of two cores. The data of `dataset=NAME` are taken from FOLDER/NAME, where that is; else the
command is only planned (`--dry-run`), and the table says so. At the end the figures that the README promises are
compared with those of its first run.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from test_docs import ROOT, commands, spans

README = ROOT / "README.md"
SERVERS = ("make ui", "mlflow server")  # do not end: they must answer
SKIPPED = {
    ". .venv": "the environment's programs come first on the path of all that follows",
    "pytest": "make test ran it",
}
NEEDS_DATA = re.compile(r"dataset=(ds\w+|abide|degeneration)\b")
PROMISED = {
    "tangent space + logistic regression": "tangent_logistic",
    "correlation + ridge": "correlation_ridge",
    "graph convolutional network": "gcn",
    "the floor": "floor",
}


def study(folder: Path) -> None:
    """A folder as a user has one: participants and tables of the regions of cc200."""
    nodes = pd.read_csv(ROOT / "src/dysconnect/data/atlas/cc200.tsv", sep="\t")["name"]
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(24):
        name, group = f"sub-{number:02d}", ("dystonia", "control")[number % 2]
        series = pd.DataFrame(rng.standard_normal((200, len(nodes))), columns=nodes)
        series.to_csv(folder / f"{name}_task-rest_timeseries.tsv", sep="\t", index=False)
        (folder / f"{name}_task-rest_timeseries.json").write_text('{"RepetitionTime": 2.0}')
        rows.append(
            [name, group, rng.integers(30, 70), "FM"[number // 2 % 2], "clinic", round(rng.uniform(0.05, 0.2), 3)]
        )
    table = pd.DataFrame(rows, columns=["participant_id", "group", "age", "sex", "site", "mean_fd"])
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)


def cluster() -> bool:
    """Whether a SLURM answers."""
    return bool(shutil.which("sinfo")) and subprocess.run(["sinfo"], capture_output=True).returncode == 0


def here(command: str, data: Path | None, folder: Path) -> tuple[str, str]:
    """The command with the places of this machine, and what is different from the README."""
    for place in ("/scratch/study", "/data/study"):
        command = command.replace(place, str(folder) + place)
    needed = NEEDS_DATA.search(command)
    if needed and data and (data / needed[1]).exists():
        root = f"dataset.root={(data / needed[1]).resolve()}"
        with_root, n = re.subn(r"overrides=", f"overrides={root} ", command)
        with_root = re.sub(r"'?(overrides=[^']*)'?$", r"'\1'", with_root) if n else f"{command} overrides={root}"
        return with_root, "data from a folder"
    if needed:
        return f"{command} --dry-run", "planned only: its data are not here"
    if "profiles/slurm" in command:
        command = f"pip install --quiet -e '.[slurm]' -c requirements.lock && {command}"
        return (command, "") if cluster() else (f"{command} --dry-run", "planned only: no cluster here")
    return command, ""


def answers(process: subprocess.Popen, url: str = "http://127.0.0.1:5055/health") -> bool:
    """Whether a server comes up within a minute."""
    for _ in range(60):
        try:
            with urllib.request.urlopen(url, timeout=1) as reply:
                return process.poll() is None and reply.status == 200
        except OSError:
            time.sleep(1)
    return False


def run(command: str, clone: Path, log: Path) -> bool:
    """Run one command as a shell would; True if it did what it should."""
    environment = {**os.environ, "PATH": f"{clone / '.venv/bin'}:{os.environ['PATH']}", "CI": "true"}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name, None)
    with log.open("a") as out:
        out.write(f"\n$ {command}\n")
        out.flush()
        told = {"cwd": clone, "env": environment, "stdout": out, "stderr": subprocess.STDOUT}
        if not command.startswith(SERVERS):
            return subprocess.run(["bash", "-c", command], **told).returncode == 0
        process = subprocess.Popen(["bash", "-c", f"exec {command}"], **told, start_new_session=True)
        try:
            return answers(process)
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)
            time.sleep(3)  # its port


def promised(clone: Path) -> list[str]:
    """Scores of the README that are not those of the run."""
    scores = pd.read_csv(clone / "results/simulated/evaluate/scores.tsv", sep="\t").set_index(["experiment", "metric"])
    wrong = []
    for title, experiment in PROMISED.items():
        row = re.search(
            rf"^\| {re.escape(title)}[^|]*\| \**([\d.]+)\** \[([\d.]+), ([\d.]+)\]", README.read_text(), re.M
        )
        own = scores.loc[(experiment, "auc"), ["value", "low", "high"]]
        told = np.array([float(number) for number in row.groups()])
        if np.abs(told - own.to_numpy(float)).max() > 0.0051 + (0.03 if experiment == "gcn" else 0):  # networks vary
            wrong.append(f"{title}: the README says {told}, the run {own.round(3).tolist()}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of folders named as the data sets")
    parser.add_argument("--folder", type=Path, help="where to clone to; default: a temporary one")
    parser.add_argument("--from", dest="first", default="", help="go on at the first command with these words")
    told = parser.parse_args()
    folder = (told.folder or Path(tempfile.mkdtemp(prefix="readme"))).resolve()
    clone, log = folder / "dysconnect", folder / "log.txt"
    if not clone.exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    study(folder / "data/study")
    wanted = list(dict.fromkeys([*commands(README), *spans(README)]))
    start = next((k for k, command in enumerate(wanted) if told.first in command), 0)
    failed = []
    for number, command in enumerate(wanted[start:], start):
        why = next((why for words, why in SKIPPED.items() if command.startswith(words)), "")
        exact, note = here(command, told.data, folder)
        began = time.time()
        good = bool(why) or run(exact, clone, log)
        failed += [] if good else [command]
        state = "skipped" if why else "done" if good else "FAILED"
        print(f"{state:8}{time.time() - began:6.0f} s  {command}  {why or note}".rstrip(), flush=True)
        if number == 0 and good:
            failed += promised(clone)
    print(f"\n{len(wanted) - start} commands, {len(failed)} wrong; what they printed: {log}", *failed, sep="\n")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
