"""Memory grows with the batch, not with the cohort: models trained on many simulated people of 200 regions.

python benchmarks/size.py [--people 2000 20000] [--models gcn ridge logistic] [--memory 1] [--epochs 1] [--penalties 1]
The connectomes are simulated and written block by block into a temporary folder. A process of its own then trains and
predicts as the workflow does, with training.memory=1 (GB), and the largest memory it ever held is read from the
system: a network on four fifths of the people, a linear model on all of them, as the final one is, with one candidate
of the penalty (each takes as long, and no more memory; the configuration has six); `tangent_NAME` is one in the tangent
space. Writes benchmarks/results/size.json; the goal is 4 GB for 20,000 people. Ridge and logistic regression
need one kernel, 8 n^2 bytes: 3.2 GB of the 4; tangent vectors lie in a temporary file meanwhile.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
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


class SimulatedCovariances(Simulated):
    """Covariances with their diagonal, [n, N (N + 1) / 2], of 260 volumes: ten regions of patients go together."""

    def __init__(self, people: int):
        self.shape = (people, NODES * (NODES + 1) // 2)

    def __getitem__(self, wanted: slice) -> np.ndarray:
        rows, triangle = np.arange(len(self))[wanted], np.triu_indices(NODES)
        values = np.empty((len(rows), self.shape[1]), np.float32)
        for place, row in enumerate(rows):
            rng = np.random.default_rng([7, row])
            series = rng.standard_normal((260, NODES)) + 0.5 * rng.standard_normal((260, 1))
            series[:, :10] += 0.3 * (row % 2) * rng.standard_normal((260, 1))
            values[place] = (series.T @ series / 260)[triangle]
        return values


def write(people: int, folder: Path, measure: str) -> None:
    """Write the file of connectomes and the table of people, as the stages before training do."""
    from dysconnect.data.connectomes import Connectomes, data_hash, write_connectomes
    from dysconnect.data.participants import write_participants

    values = SimulatedCovariances(people) if measure == "covariance" else Simulated(people)
    names = np.array([f"region {k:03d}" for k in range(NODES)])
    table = pd.DataFrame({"participant_id": [f"sub-{k:05d}" for k in range(people)], "site": "one"})
    table["group"] = np.where(np.arange(people) % 2, "patient", "control")
    table = table.assign(age=40.0, sex="F", mean_fd=0.1, included=True, exclusion_reason="")
    subjects = table["participant_id"].to_numpy(str)
    nobody = np.zeros((people, NODES), bool)
    digest = data_hash(values, subjects, names)
    write_connectomes(Connectomes(values, nobody, subjects, names, measure, digest), folder / f"{measure}.h5", {})
    write_participants(table, folder / "participants.tsv")


def in_tangent_space(name: str) -> bool:
    """Whether a model is given covariances."""
    return name.startswith("tangent_")


def train(folder: Path, name: str, memory: float, epochs: int, penalties: list[float]) -> None:
    """Train a model on people of the files, and predict a fifth of them."""
    from dysconnect.data.labelled import labelled_cohort
    from dysconnect.data.measures import STORED
    from dysconnect.data.memory import give_back
    from dysconnect.learning.estimators import EdgeModel
    from dysconnect.learning.graph.model import GraphModel

    give_back()
    load = lambda *parts: yaml.safe_load(CONFIGS.joinpath(*parts).read_text())
    measure, name = ("tangent", name.removeprefix("tangent_")) if in_tangent_space(name) else ("correlation", name)
    file = folder / f"{STORED[measure]}.h5"
    cohort, _ = labelled_cohort(file, folder / "participants.tsv", CONTRAST, measure, memory)
    test = np.arange(len(cohort.labels)) % 5 == 0
    if name == "gcn":
        training = {**load("training", "default.yaml"), "epochs": epochs, "memory": memory, "device": "cpu"}
        model = GraphModel(load("model", "gcn.yaml"), load("graph", "positive.yaml"), training, "correlation")
        (model,) = model.fit_many(cohort, np.flatnonzero(~test), [1], folder / "unfinished")
    else:
        spec = load("model", f"{name}.yaml")
        spec |= {"penalties": penalties} if "penalties" in spec else {}
        model = EdgeModel(spec, measure).fit(cohort, np.arange(len(test)))
    probability = model.predict(cohort, np.flatnonzero(test))
    own = cohort.labels[test] == 1
    print(f"mean probability {probability[own].mean():.3f} of patients, {probability[~own].mean():.3f} of controls")


def step(which: str, folder: Path, *more) -> tuple[float, float]:
    """Run one step in a process of its own: largest memory in GB, seconds of the processor."""
    command = [sys.executable, __file__, "--step", which, "--folder", str(folder), *map(str, more)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {status}")
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes here
    return usage.ru_maxrss * scale / 1e9, usage.ru_utime + usage.ru_stime


def measure(people: int, given: argparse.Namespace) -> list[dict]:
    """Write, train and predict; the memory of every step beside that of the connectomes."""
    rows, data = [], 4 * people * NODES * (NODES - 1) / 2 / 1e9
    with tempfile.TemporaryDirectory() as folder:
        for name in given.models:
            measure = "covariance" if in_tangent_space(name) else "correlation"
            file = Path(folder, f"{measure}.h5")
            if not file.exists():
                wrote = step("write", Path(folder), "--people", people, "--measure", measure)
            stored = file.stat().st_size / 1e9
            options = ["--memory", given.memory, "--epochs", given.epochs, "--penalties", *given.penalties]
            trained = step("train", Path(folder), "--models", name, *options)
            network = (
                name == "gcn"
            )  # data as they are, standardised, and as a graph; or centred in float64, and kernels
            held = 3 * data if network else 4 * data + 5 * 8 * people**2 / 1e9
            print(f"{name}, {people} people: {trained[0]:.2f} GB, {trained[1]:.0f} CPU-s", flush=True)
            more = f"epochs: {given.epochs}" if network else f"penalties: {len(given.penalties)}"
            row = {"what": f"{name} trained on {people} people of {NODES} regions, {more}, and predictions"}
            row["what"] += f"; training.memory={given.memory:g}"
            row |= {"ours": round(trained[0], 3), "peer": round(held, 3)}
            row |= {"against": "what it would take with everything held (data, and kernels with their eigenvectors)"}
            row |= {"unit": "GB", "ratio": round(held / trained[0], 1), "goal": round(held / GOAL, 1)}
            cpu = {"write": wrote[1], "train": trained[1]}
            rows.append(row | {"cpu": cpu, "written with": round(wrote[0], 3), "file": round(stored, 3)})
    return rows


def main() -> None:
    """Measure every size, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--models", nargs="+", default=["gcn", "ridge", "logistic"])
    parser.add_argument("--memory", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--penalties", type=float, nargs="+", default=[1.0])
    parser.add_argument("--step", choices=("write", "train"), help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step == "write":
        return write(given.people[0], given.folder, given.measure)
    if given.step == "train":
        return train(given.folder, given.models[0], given.memory, given.epochs, given.penalties)
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("numpy", "torch", "h5py", "xarray")}
    rows = [row for people in given.people for row in measure(people, given)]
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([{**row, "machine": machine, "versions": versions} for row in rows], indent=1))


if __name__ == "__main__":
    main()
