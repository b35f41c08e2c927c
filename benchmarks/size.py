"""Memory grows with the batch, not with the cohort: one network trained on many simulated people of 200 regions.

python benchmarks/size.py [--people 2000 20000] [--memory 1.0] [--epochs 1]
The connectomes are simulated and written block by block into a temporary folder. A process of its own then trains and
predicts as the workflow does, with training.memory=1 (GB), and the largest memory it ever held is read from the
system. Writes benchmarks/results/size.json; the goal is 4 GB for 20,000 people.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

OUT = Path(__file__).parent / "results" / "size.json"
CONFIGS = Path(__file__).parents[1] / "configs"
NODES, GOAL = 200, 4.0  # regions; GB
CONTRAST = {"cases": ["patient"], "controls": ["control"]}


class Simulated:
    """Fisher z edges [n, E] made when a block is asked for: a patient's first hundred are stronger."""

    def __init__(self, people: int):
        self.shape = (people, NODES * (NODES - 1) // 2)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: slice) -> np.ndarray:
        rows = np.arange(len(self))[wanted]
        made = [np.random.default_rng([7, row]).standard_normal(self.shape[1], np.float32) for row in rows]
        values = 0.2 + 0.25 * np.stack(made)
        values[:, :100] += 0.1 * (rows % 2)[:, None].astype(np.float32)
        return values


def write(people: int, folder: Path) -> None:
    """Write the file of connectomes and the table of people, as the stages before training do."""
    from dysconnect.data.connectomes import Connectomes, data_hash, write_connectomes
    from dysconnect.data.participants import write_participants

    values, names = Simulated(people), np.array([f"region {k:03d}" for k in range(NODES)])
    table = pd.DataFrame({"participant_id": [f"sub-{k:05d}" for k in range(people)], "site": "one"})
    table["group"] = np.where(np.arange(people) % 2, "patient", "control")
    table = table.assign(age=40.0, sex="F", mean_fd=0.1, included=True, exclusion_reason="")
    subjects = table["participant_id"].to_numpy(str)
    nobody = np.zeros((people, NODES), bool)
    digest = data_hash(values, subjects, names)
    write_connectomes(Connectomes(values, nobody, subjects, names, "correlation", digest), folder / "edges.h5", {})
    write_participants(table, folder / "participants.tsv")


def train(folder: Path, memory: float, epochs: int) -> None:
    """Train on four fifths of the people and predict the others, from the files."""
    from dysconnect.data.labelled import labelled_cohort
    from dysconnect.learning.graph.model import GraphModel

    load = lambda *parts: yaml.safe_load(CONFIGS.joinpath(*parts).read_text())
    cohort, _ = labelled_cohort(folder / "edges.h5", folder / "participants.tsv", CONTRAST, "correlation", memory)
    graph = load("graph", "positive.yaml")
    training = {**load("training", "default.yaml"), "epochs": epochs, "memory": memory, "device": "cpu"}
    model = GraphModel(load("model", "gcn.yaml"), graph, training, "correlation")
    test = np.arange(len(cohort.labels)) % 5 == 0
    (model,) = model.fit_many(cohort, np.flatnonzero(~test), [1], folder / "unfinished")
    probability = model.predict(cohort, np.flatnonzero(test))
    own = cohort.labels[test] == 1
    print(f"mean probability {probability[own].mean():.3f} of patients, {probability[~own].mean():.3f} of controls")


def step(which: str, folder: Path, *more) -> tuple[float, float]:
    """Run one step in a process of its own: largest memory in GB, seconds."""
    command = [sys.executable, __file__, "--step", which, "--folder", str(folder), *map(str, more)]
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes here
    return usage.ru_maxrss * scale / 1e9, time.perf_counter() - start


def measure(people: int, memory: float, epochs: int) -> dict:
    """Write, train and predict; the memory of both steps beside that of the connectomes."""
    with tempfile.TemporaryDirectory() as folder:
        wrote = step("write", Path(folder), "--people", people)
        trained = step("train", Path(folder), "--memory", memory, "--epochs", epochs)
        stored = Path(folder, "edges.h5").stat().st_size / 1e9
    held = 3 * 4 * people * NODES * (NODES - 1) / 2 / 1e9  # edges as they are, standardised, and as a graph
    print(f"{people} people: trained in {trained[0]:.2f} GB ({trained[1]:.0f} s), written in {wrote[0]:.2f} GB")
    what = f"GCN trained on {people} people of {NODES} regions, epochs: {epochs}, and predictions"
    return {
        "what": f"{what}; training.memory={memory:g}",
        "ours": round(trained[0], 3),
        "peer": round(held, 3),
        "against": "what the same data would take if they were held (data alone)",
        "unit": "GB",
        "ratio": round(held / trained[0], 1),
        "goal": round(held / GOAL, 1),
        "wall": {"write": wrote[1], "train": trained[1]},
        "written with": round(wrote[0], 3),
        "file": round(stored, 3),
    }


def main() -> None:
    """Measure every size, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--memory", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--step", choices=("write", "train"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "write":
        return write(given.people[0], given.folder)
    if given.step == "train":
        return train(given.folder, given.memory, given.epochs)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "torch", "h5py", "xarray")}
    rows = [measure(people, given.memory, given.epochs) for people in given.people]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([{**row, "machine": machine, "versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
