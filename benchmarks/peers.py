"""Networks of ml4fmri on the folds that ours were tested on: same training people, same test people.

pip install --no-deps ml4fmri==1.1.0     (MIT; the rest of what it needs is here already)
python benchmarks/peers.py SPLITS [--data FOLDER] [--ours FOLDER] [--models LR meanMLP] [--folds 0 1] [--repeats 1]

SPLITS are saved folds (`participant_id`, `label`, `repeat`, `fold`; tab or comma); their people's series are read from
the ABIDE folder (DYSCONNECT_DATA/abide unless given). The peers train as their own `cvbench` does: their
architectures, optimisers and learning rates, batches of 64, at most 200 epochs, patience 30 on a fifth of the training
people, seed 42 + fold. Series differ in length: correlations are taken over each series as it is, and meanMLP, which
takes the series, gets those of all repeated to the longest. Predictions are saved fold by fold under
benchmarks/results/peers, so that what was interrupted goes on; the comparison with our predictions (a folder of tidy
tables) is over the folds that both have, and written to benchmarks/results/peers.json.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.model_selection import StratifiedShuffleSplit
from torch.utils.data import DataLoader, TensorDataset

from dysconnect.acquire.abide import index_series, series_files
from dysconnect.data.atlas import load_atlas
from dysconnect.data.series import read_series
from dysconnect.evaluate.compare import compare, fold_scores
from dysconnect.evaluate.metrics import bootstrap_weights, gather, weighted_scores

RESULTS = Path(__file__).parent / "results"
SAVED = RESULTS / "peers"
DATASET = Path(__file__).parents[1] / "configs" / "dataset" / "abide.yaml"
MODELS = ("LR", "meanMLP", "BNT", "BrainNetCNN")
COUNTERPARTS = {
    "LR": ("correlation_logistic", "correlation_ridge", "tangent_logistic", "tangent_ridge"),
    "meanMLP": ("correlation_ridge", "tangent_logistic", "tangent_ridge"),
    "BNT": ("bnt", "tangent_ridge"),
    "BrainNetCNN": ("brainnetcnn", "tangent_ridge"),
}  # by the names of configs/experiment
SEED, WATCHED, EPOCHS, PATIENCE, BATCH = 42, 0.2, 200, 30, 64  # cvbench's own defaults


def read_table(path: Path) -> pd.DataFrame:
    """Read a table separated by tabs or commas."""
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",")


def people_and_series(splits: pd.DataFrame, root: Path) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """People of the folds and their regional series [T, N], in one order."""
    spec = yaml.safe_load(DATASET.read_text())["dataset"]
    found = index_series(series_files(root, spec["source_atlas"], spec["strategy"])).drop_duplicates("file_id")
    found["participant_id"] = "sub-" + found["file_id"].str.replace(r"[^A-Za-z0-9]", "", regex=True)
    people = splits.drop_duplicates("participant_id")[["participant_id", "label"]]
    found = found.set_index("participant_id").reindex(people["participant_id"])
    if found["series"].isna().any():
        absent = found.index[found["series"].isna()][:5]
        raise SystemExit(
            f"{root}: no series of {', '.join(absent)}, which the folds name. Give the folder with --data."
        )
    nodes = load_atlas(spec["source_atlas"])
    series = [read_series(path, key, nodes).astype(np.float32) for path, key in zip(found["series"], found["key"])]
    return people.reset_index(drop=True), series


class Inputs:
    """What the peers' own `prepare_dataloader` makes of series of one length, from series of any length."""

    def __init__(self, series: list[np.ndarray], labels: np.ndarray):
        from ml4fmri.models.helper_functions import corrcoef_batch, zscore_np

        longest = max(map(len, series))
        self.labels = labels
        self.connectivity = np.stack([corrcoef_batch(x[None])[0] for x in series]).astype(np.float32)
        self.repeated = np.stack([zscore_np(x[np.arange(longest) % len(x)]) for x in series]).astype(np.float32)

    def loader(self, model: str, rows: np.ndarray, shuffle: bool = False):
        """Batches of some people; for LR their edges and labels."""
        if model == "LR":
            lower = np.tril_indices(self.connectivity.shape[1], -1)
            return self.connectivity[rows][:, lower[0], lower[1]], self.labels[rows]
        values = (self.repeated if model == "meanMLP" else self.connectivity)[rows]
        pairs = TensorDataset(torch.as_tensor(values), torch.as_tensor(self.labels[rows], dtype=torch.int64))
        return DataLoader(pairs, batch_size=BATCH, shuffle=shuffle)


def train_peer(model: str, inputs: Inputs, train: np.ndarray, test: np.ndarray, fold: int, device: str):
    """Train one peer on the rows of a fold as `cvbench` does; predictions of the test rows, and epochs."""
    import ml4fmri.models
    from ml4fmri.utils import _seed_everything

    splitter = StratifiedShuffleSplit(1, test_size=WATCHED, random_state=SEED)
    fitted, watched = (train[rows] for rows in next(splitter.split(train, inputs.labels[train])))
    _seed_everything(SEED + fold)
    network = getattr(ml4fmri.models, model)(input_size=inputs.connectivity.shape[1], output_size=2)
    loaders = inputs.loader(model, fitted, shuffle=True), inputs.loader(model, watched), inputs.loader(model, test)
    curve, _, predicted = network.train_model(*loaders, epochs=EPOCHS, lr=None, device=device, patience=PATIENCE)
    if not np.array_equal(predicted["y_true"], inputs.labels[test]):
        raise RuntimeError(f"{model} returned its predictions in another order than it was given the people.")
    return predicted["p_1"].to_numpy(float), len(curve)


def run_fold(model: str, inputs: Inputs, people: pd.DataFrame, own: pd.DataFrame, place: tuple, device: str) -> None:
    """Train and save one fold, unless it is there."""
    path = SAVED / f"{model}_{place[0]}_{place[1]}.tsv"
    if path.exists():
        return
    fold = own.set_index("participant_id")["fold"].loc[people["participant_id"]].to_numpy()
    train, test = np.flatnonzero(fold != place[1]), np.flatnonzero(fold == place[1])
    cpu, wall = time.process_time(), time.perf_counter()
    probability, epochs = train_peer(model, inputs, train, test, place[1], device)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    table = people.iloc[test].assign(experiment=model, repeat=place[0], fold=place[1], seed=0, probability=probability)
    table.assign(cpu_seconds=cpu, epochs=epochs).to_csv(path.with_suffix(".part"), sep="\t", index=False)
    os.replace(path.with_suffix(".part"), path)
    print(f"{model}, repeat {place[0]}, fold {place[1]}: {epochs} epochs, {cpu:.0f} CPU-s, {wall:.0f} s", flush=True)


def saved_predictions(folder: Path) -> dict[str, pd.DataFrame]:
    """All tidy predictions in a folder (and below), by experiment."""
    needed = {"participant_id", "experiment", "repeat", "fold", "seed", "label", "probability"}
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".tsv", ".csv"))
    tables = [table for table in map(read_table, paths) if needed <= set(table.columns)]
    if not tables:
        raise SystemExit(f"{folder}: no table of predictions with the columns {', '.join(sorted(needed))}.")
    together = pd.concat(tables, ignore_index=True)
    return {name: table for name, table in together.groupby("experiment")}


def on_same_folds(ours: pd.DataFrame, peer: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Only the folds that both have; both must have tested the same people in them."""
    keys = ["repeat", "fold"]
    shared = ours[keys].drop_duplicates().merge(peer[keys].drop_duplicates())
    ours, peer = ours.merge(shared), peer.merge(shared)
    tested = [set(map(tuple, table[["participant_id", *keys]].to_numpy())) for table in (ours, peer)]
    if tested[0] != tested[1]:
        raise SystemExit(f"{ours['experiment'].iloc[0]} was tested on other folds: give its own splits to this script.")
    return ours, peer


def difference(ours: pd.DataFrame, peer: pd.DataFrame, splits: pd.DataFrame) -> dict | None:
    """AUC of both, paired difference with its interval, and p corrected for shared training people."""
    ours, peer = on_same_folds(ours, peer)
    if ours.empty:
        return None
    tables = {"peer": peer, "ours": ours}
    evidence = {name: gather(table) for name, table in tables.items()}
    first = evidence["ours"]
    groups = splits.drop_duplicates("participant_id").set_index("participant_id").get("scan_group")
    groups = first.subjects if groups is None else groups.loc[first.subjects].to_numpy()
    drawn = bootstrap_weights(first.labels, groups, 2000, 0)
    ones = np.ones((1, len(first.labels)))
    point, samples = ({k: weighted_scores(v, weights) for k, v in evidence.items()} for weights in (ones, drawn))
    gap = compare(point, samples, fold_scores(tables, splits), 0.95).set_index("metric").loc["auc"]
    return {
        "ours": point["ours"]["auc"][0],
        "peer": point["peer"]["auc"][0],
        "difference": gap["difference"],
        "interval": [gap["low"], gap["high"]],
        "p_corrected": gap["p_corrected"] if np.isfinite(gap["p_corrected"]) else None,  # of one fold there is none
        "folds": len(ours[["repeat", "fold"]].drop_duplicates()),
        "tested": len(first.labels),
        "cpu_seconds": {name: cpu_seconds(table) for name, table in tables.items()},
    }


def cpu_seconds(table: pd.DataFrame) -> float | None:
    """Mean CPU seconds of a fold, where they were saved."""
    if "cpu_seconds" not in table:
        return None
    return float(table.groupby(["repeat", "fold"])["cpu_seconds"].first().mean())


def report(ours: dict[str, pd.DataFrame], peers: dict[str, pd.DataFrame], splits: pd.DataFrame) -> list[dict]:
    """A row for every peer and each of our counterparts of it."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    versions = {name: version(name) for name in ("ml4fmri", "torch", "scikit-learn")}
    rows = []
    for peer, table in peers.items():
        for name in (known for known in COUNTERPARTS[peer] if known in ours):
            found = difference(ours[name], table, splits)
            if found is None:
                continue
            what = f"AUC on ABIDE, {found['tested']} people, {found['folds']} folds: our {name}, ml4fmri's {peer}"
            ratio = round(found["ours"] / found["peer"], 3)
            own = {"unit": "AUC", "ratio": ratio, "goal": 1, "machine": machine, "versions": versions}
            rows.append({"what": what, **found, **own})
            low, high = found["interval"]
            p = "unknown" if found["p_corrected"] is None else f"{found['p_corrected']:.3f}"
            print(
                f"{what}: {found['ours']:.3f} against {found['peer']:.3f}, difference {found['difference']:+.3f} "
                f"({low:+.3f} to {high:+.3f}), corrected p {p}"
            )
    return rows


def main() -> None:
    """Train the peers where they are not yet, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splits", type=Path)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DYSCONNECT_DATA", "data")) / "abide")
    parser.add_argument("--ours", type=Path)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folds", nargs="*", type=int)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    splits = read_table(given.splits)
    if given.models:
        SAVED.mkdir(parents=True, exist_ok=True)
        people, series = people_and_series(splits, given.data)
        inputs = Inputs(series, people["label"].to_numpy())
        for model in given.models:
            for (repeat, fold), _ in splits[splits["repeat"] < given.repeats].groupby(["repeat", "fold"]):
                if given.folds is None or fold in given.folds:
                    own = splits[splits["repeat"] == repeat]
                    run_fold(model, inputs, people, own, (repeat, fold), given.device)
    if given.ours:
        rows = report(saved_predictions(given.ours), saved_predictions(SAVED), splits)
        (RESULTS / "peers.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
