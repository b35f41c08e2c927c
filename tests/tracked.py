"""A tiny cohort with trained models, in files as the workflow leaves them, and how its jobs log them.

``python tracked.py RESULTS`` logs all of it to MLFLOW_TRACKING_URI.
"""

import json
import sys
from pathlib import Path

import pandas as pd

CONTRAST, COVARIATES = {"cases": ["DYT"], "controls": ["HC"]}, ["age", "sex", "site", "mean_fd"]
MODELS = {"floor": "floor", "ridge": "ridge", "gcn": "gcn"}
EVALUATE = {"floor": "floor", "bootstraps": 20, "level": 0.95, "seed": 0}
ESTIMATORS = {"correlation": "empirical", "covariance": "ledoit_wolf"}
TABLES = ("predictions", "history", "search", "start")


def make_results(folder: Path, simulated, nodes: pd.DataFrame, sections, denoise: dict) -> None:
    """Write connectomes, splits, trained models, their evaluation, and one file that predicts a person."""
    from dysconnect.connectivity import cohort_connectomes
    from dysconnect.data.connectomes import write_connectomes
    from dysconnect.data.labelled import labelled_cohort
    from dysconnect.data.participants import write_participants
    from dysconnect.evaluate import evaluate
    from dysconnect.learning.saved import save_folds, save_model
    from dysconnect.learning.splits import make_splits
    from dysconnect.train import cross_validate

    for name in ("connectivity", "timeseries", "evaluate", "report", *(f"train/{own}" for own in MODELS)):
        (folder / name).mkdir(parents=True)
    simulated.kept.to_csv(folder / "timeseries/series.tsv", sep="\t", index=False)
    write_participants(simulated.participants, folder / "timeseries/participants.tsv")
    nodes.to_csv(folder / "nodes.tsv", sep="\t", index=False)
    files = folder / "connectivity/tiny_correlation.h5", folder / "timeseries/participants.tsv"
    write_connectomes(cohort_connectomes(simulated.kept, nodes, "correlation", "empirical"), files[0], {})
    cohort, data_hash = labelled_cohort(*files, CONTRAST, "correlation")
    splits = make_splits(cohort.participants, 2, 1, 0)
    splits.to_csv(folder / "train/splits.tsv", sep="\t", index=False)
    predictions = {}
    for name in MODELS:
        own, trained = folder / "train" / name, cross_validate(cohort, splits, name, sections[name])
        save_model(trained.final, cohort, own / "model.npz", trained.weights)
        save_folds(trained.folds, cohort, own / "folds.npz")
        for table in TABLES:
            getattr(trained, table).to_csv(own / f"{table}.tsv", sep="\t", index=False)
        (own / "run.json").write_text(json.dumps({"data_hash": data_hash, "sections": sections[name]}))
        predictions[name] = trained.predictions
    nothing = dict.fromkeys(predictions, pd.DataFrame(columns=["permutation", "auc"]))
    told = evaluate(predictions, nothing, splits, cohort.participants, COVARIATES, EVALUATE)
    for table in ("scores", "curves"):
        getattr(told, table).to_csv(folder / f"evaluate/{table}.tsv", sep="\t", index=False)
    for name in ("index.html", "standalone.html"):
        (folder / "report" / name).write_text("<!doctype html><title>r</title><h1>A report of nobody</h1>")
    (folder / "report/table.tsv").write_text("edge\tt\nputamen to M1\t-4.25\n")
    _bundle(folder, sections["ridge"], denoise)


def _bundle(folder: Path, sections: dict, denoise: dict) -> None:
    from dysconnect.predict.make import make_bundle

    train = folder / "train"
    files = {
        "connectomes": folder / "connectivity/tiny_correlation.h5",
        "participants": folder / "timeseries/participants.tsv", "index": folder / "timeseries/series.tsv",
        "splits": train / "splits.tsv", "scores": folder / "evaluate/scores.tsv",
        "folds": train / "ridge/folds.npz", "predictions": train / "ridge/predictions.tsv",
        "floor_folds": train / "floor/folds.npz", "floor_predictions": train / "floor/predictions.tsv",
    }  # fmt: skip
    dataset = {"name": "tiny", "title": "Tiny", "citation": "nobody", "licence": "CC0", "simulated": True}
    spec = {
        "experiment": "ridge", "sections": sections, "denoise": denoise, "estimators": ESTIMATORS, "min_coverage": 0.5,
        "surface": False, "stored": "correlation",
        "dataset": {**dataset, "contrast": CONTRAST, "covariates": COVARIATES},
        "atlas": {"name": "tiny", "title": "Forty regions", "nodes": str(folder / "nodes.tsv")},
        "localize": {"measure": "correlation", "nuisance": [], "alpha": 0.05, "max_missing": 0.1, "deviant_edges": 5},
    }  # fmt: skip
    make_bundle(files, spec, folder / "ridge.npz")


def config_of(folder: Path, name: str) -> dict:
    """The configuration of an experiment."""
    sections = json.loads((folder / f"train/{name}/run.json").read_text())["sections"]
    return {
        "model": sections["model"], "training": sections["training"], "graph": sections["graph"],
        "connectivity": {"measure": "correlation"}, "atlas": {"name": "tiny", "citation": "nobody"},
        "dataset": {"name": "tiny", "kind": "simulated", "contrast": CONTRAST, "covariates": COVARIATES},
        "splits": {"scheme": "kfold", "folds": 2, "repeats": 1}, "evaluate": EVALUATE, "acquire": {"attempts": 5},
    }  # fmt: skip


def log(handle, folder: Path, name: str, **changes) -> dict[str, str]:
    """Log one experiment as the job of rule `track` does."""
    from dysconnect.tracking import log_experiment

    train, read = folder / "train" / name, lambda path: pd.read_csv(path, sep="\t")
    tables = {table: read(train / f"{table}.tsv") for table in TABLES}
    tables |= {table: read(folder / f"evaluate/{table}.tsv") for table in ("scores", "curves")}
    tags = {"dataset": "tiny", "data_hash": json.loads((train / "run.json").read_text())["data_hash"], "git": "abc"}
    files = [train / f"{table}.tsv" for table in TABLES]
    bundle = folder / "ridge.npz" if name == "ridge" else None
    told = {"config": config_of(folder, name), "model": train / "model.npz", **changes}
    return log_experiment(handle, name, told["config"], tags, tables, files, told["model"], bundle)


def log_all(folder: Path) -> dict[str, dict[str, str]]:
    """Log the cohort and every experiment to where MLFLOW_TRACKING_URI says."""
    from dysconnect.tracking import choose_uri, log_cohort, open_tracking

    handle = open_tracking(choose_uri(None), "dysconnect")
    runs = {name: log(handle, folder, name) for name in MODELS}
    files = [folder / "report/index.html", folder / "report/table.tsv"]
    tags = {"dataset": "tiny", "data_hash": "d" * 64}
    return runs | {"localize": log_cohort(handle, {"localize": {"alpha": 0.05}}, tags, {"n_fwer": 2}, None, files)}


if __name__ == "__main__":
    print(json.dumps(log_all(Path(sys.argv[1]))))
