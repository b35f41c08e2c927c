"""All experiments on the same folds of ABIDE I, through the library as the workflow calls it.

python benchmarks/abide.py [--data FOLDER] [--experiments bnt,gcn] [--schemes kfold] [--work FOLDER] [--table]

FOLDER holds abide/ with the phenotype and the series (default: DYSCONNECT_DATA). Every experiment's predictions are
kept in --work as soon as they are made and never made twice; --table only scores what is there. Writes
benchmarks/results/abide_SCHEME.tsv and .md. Linear models and the floor are trained on five repeats of 5 folds,
the others on the first of them, and compared with tangent ridge on the repeats that they share.
"""

import argparse
import json
import os
import time
from pathlib import Path

import pandas as pd

from dysconnect.acquire.abide import acquire_abide, read_abide
from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.measures import STORED
from dysconnect.data.participants import read_participants, with_labels, write_participants
from dysconnect.data.series import read_index
from dysconnect.evaluate import evaluate
from dysconnect.learning.splits import audit_splits, make_splits
from dysconnect.plan.compose import compose_workflow
from dysconnect.plan.config import training_sections
from dysconnect.timeseries import prepare_cohort
from dysconnect.train import clear_store, cross_validate

HERE = Path(__file__).parent
SCHEMES = ("kfold", "leave_one_site_out")
REFERENCE, FOLDS, REPEATS = "tangent_ridge", 5, 5
MANY = ("ridge", "logistic", "svm", "low_rank", "wide", "floor")  # models cheap enough for all repeats
SHOWN = ("auc", "auc_deconfounded", "balanced_accuracy", "brier", "calibration_slope")


def configurations(root: Path, names: list[str]) -> tuple[dict, dict[str, dict]]:
    """Configuration of the cohort and of every experiment, as the workflow composes them."""
    schema = HERE.parent / "workflow/schemas/config.schema.json"
    chosen = {"dataset": "abide", "experiment": ",".join(names), "overrides": [f"dataset.root={root}"]}
    return compose_workflow(HERE.parent / "configs", schema, chosen)


def prepare(config: dict, root: Path, work: Path) -> None:
    """Participants and connectomes, once."""
    nodes, people = load_atlas(config["atlas"]["nodes"]), work / "participants.tsv"
    if not people.exists():
        participants, index = acquire_abide(config["dataset"], *read_abide(config["dataset"], root))
        names = {"atlas": config["atlas"]["name"], "denoise": config["denoise"]["name"]}
        covariates = config["dataset"]["covariates"]
        work.mkdir(parents=True, exist_ok=True)
        table, index = prepare_cohort(participants, index, nodes, config["denoise"], work, names, 1, covariates)
        index.to_csv(work / "index.tsv", sep="\t", index=False)
        write_participants(table, people)
    for measure, estimator in (("correlation", "empirical"), ("covariance", "ledoit_wolf")):
        path = work / f"{measure}.h5"
        if not path.exists():
            connectomes = cohort_connectomes(read_index(work / "index.tsv"), nodes, measure, estimator, 1)
            write_connectomes(connectomes, path, {"atlas": config["atlas"]["name"], "estimator": estimator})


def folds(config: dict, scheme: str, work: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Participants with labels, and the folds that all experiments share."""
    people = with_labels(read_participants(work / "participants.tsv"), config["dataset"]["contrast"])
    splits = make_splits(people, FOLDS, REPEATS if scheme == "kfold" else 1, 0, scheme)
    if problems := audit_splits(splits, people):
        raise ValueError("the splits leak: " + "; ".join(problems))
    return people, splits


def train(name: str, config: dict, splits: pd.DataFrame, work: Path, scheme: str) -> None:
    """Out-of-fold predictions of one experiment and its CPU seconds, unless they are there."""
    path = work / scheme / f"{name}.tsv"
    if path.exists():
        return
    sections, start = training_sections(config), time.process_time()
    own = splits if config["model"]["name"] in MANY else splits[splits["repeat"] == 0]
    stored = work / f"{STORED[sections['measure']]}.h5"
    cohort, _ = labelled_cohort(stored, work / "participants.tsv", config["dataset"]["contrast"], sections["measure"])
    store = work / scheme / f"{name}.unfinished"
    predictions = cross_validate(cohort, own, name, sections, store).predictions
    seconds = time.process_time() - start
    path.parent.mkdir(exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps({"cpu_seconds": seconds, "sections": sections}, indent=1))
    predictions.to_csv(path, sep="\t", index=False)
    clear_store(store)
    print(f"{scheme} {name}: {seconds:.0f} CPU-seconds", flush=True)


def score(config: dict, people: pd.DataFrame, splits: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """One row an experiment; each compared with tangent ridge on the repeats that it has."""
    found = {path.stem: pd.read_csv(path, sep="\t", dtype={"participant_id": str}) for path in folder.glob("*.tsv")}
    always = [name for name in (config["evaluate"]["floor"], REFERENCE) if name in found]
    repeats, rows = {name: table["repeat"].nunique() for name, table in found.items()}, []
    for number in sorted(set(repeats.values())):
        own = [name for name in found if repeats[name] == number and name not in always]
        compared = {name: found[name][found[name]["repeat"] < number] for name in dict.fromkeys([*always, *own])}
        shared = splits[splits["repeat"] < number]
        none = {name: pd.DataFrame({"permutation": [], "auc": []}) for name in compared}
        result = evaluate(compared, none, shared, people, config["dataset"]["covariates"], config["evaluate"])
        own += always if number == max(repeats.values()) else []
        rows += [_row(name, result, number, folder) for name in own]
    return pd.DataFrame(rows).sort_values("auc", ascending=False, ignore_index=True)


def _row(name: str, result, repeats: int, folder: Path) -> dict:
    own = result.scores[result.scores["experiment"] == name].set_index("metric")
    row = {"experiment": name, "repeats": repeats}
    for metric in SHOWN:
        row |= {metric: own.loc[metric, "value"]}
        if metric.startswith("auc"):
            row |= {f"{metric}_low": own.loc[metric, "low"], f"{metric}_high": own.loc[metric, "high"]}
    row["floor"] = own.loc["auc", "floor"]
    pairs = result.comparisons[result.comparisons["metric"] == "auc"]
    for sign, this, other in ((1, name, REFERENCE), (-1, REFERENCE, name)):
        for pair in pairs[(pairs["experiment"] == this) & (pairs["other"] == other)].itertuples():
            low, high = sorted((sign * pair.low, sign * pair.high))
            row |= {"difference": sign * pair.difference, "difference_low": low, "difference_high": high}
            row["p_corrected"] = pair.p_corrected
    seconds = json.loads((folder / f"{name}.json").read_text())["cpu_seconds"]
    return {**row, "cpu_seconds": seconds, "n": int(own.loc["auc", "n"])}


def markdown(table: pd.DataFrame) -> str:
    """The table for people: AUC and differences in points, with intervals."""
    head = ["experiment", "AUC (95 %)", "confounds held equal", "balanced accuracy", "Brier", "calibration slope"]
    head += [f"against {REFERENCE}", "p, corrected t", "CPU-s"]
    lines = [head, ["---"] * len(head)]
    for row in table.to_dict("records"):
        interval = lambda key, own=row: (
            f"{100 * own[key]:.1f} ({100 * own[key + '_low']:.1f} to {100 * own[key + '_high']:.1f})"
        )
        known = pd.notna(row.get("difference"))
        against = [interval("difference"), f"{row['p_corrected']:.3f}"] if known else ["", ""]
        plain = [f"{row['balanced_accuracy']:.3f}", f"{row['brier']:.3f}", f"{row['calibration_slope']:.2f}"]
        seconds = f"{row['cpu_seconds']:.0f}"
        lines.append([row["experiment"], interval("auc"), interval("auc_deconfounded"), *plain, *against, seconds])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def arguments(about: str, experiments: str | None = None, schemes: str | None = None) -> argparse.Namespace:
    """Command line of a benchmark on ABIDE: what it is about, experiments and schemes (if there is a choice) taken."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("DYSCONNECT_DATA"))
    named = experiments or "all of configs/experiment"
    parser.add_argument("--experiments", default=experiments, help=f"names, with commas; default: {named}")
    if schemes:
        parser.add_argument("--schemes", default=schemes)
    parser.add_argument("--work", type=Path, default=HERE.parent / "results/abide_benchmark")
    parser.add_argument("--table", action="store_true", help="only score what is there")
    given = parser.parse_args()
    if given.data is None:
        parser.error("give --data, the folder that holds abide/, or set DYSCONNECT_DATA")
    return given


def main() -> None:
    """Train what is missing, experiment by experiment, and write the tables."""
    given = arguments(__doc__, schemes=",".join(SCHEMES))
    root = Path(given.data) / "abide"
    everything = sorted(path.stem for path in (HERE.parent / "configs/experiment").glob("*.yaml"))
    names = given.experiments.split(",") if given.experiments else everything
    config, experiments = configurations(root, names)
    prepare(config, root, given.work)
    (HERE / "results").mkdir(exist_ok=True)
    for scheme in given.schemes.split(","):
        people, splits = folds(config, scheme, given.work)
        for name in [] if given.table else names:
            train(name, experiments[name], splits, given.work, scheme)
        table = score(config, people, splits, given.work / scheme)
        table.to_csv(HERE / f"results/abide_{scheme}.tsv", sep="\t", index=False, float_format="%.6g")
        about = f"{scheme}: {table['n'].max()} people, AUC of the floor {100 * table['floor'].max():.1f}"
        text = f"{about}\n\n{markdown(table)}\n"
        (HERE / f"results/abide_{scheme}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
