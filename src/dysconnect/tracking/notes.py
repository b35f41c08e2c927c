"""Descriptions in MLflow, as Markdown: what a run or a model is, how well it does beside its floor, how to predict."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.tracking.runs import RESEARCH_ONLY

SHOWN = 20  # runs in the table of a sweep


def experiment_note(config: Mapping, scores: pd.DataFrame, predictions: pd.DataFrame) -> str:
    """Say what one experiment is: model, data, people, its AUC beside the floor's.

    Parameters
    ----------
    config : mapping
        Composed configuration of the experiment.
    scores : DataFrame
        Of its experiment and of the floor.
    predictions : DataFrame
        Out of fold; tells how many people of either label.
    """
    people = predictions.drop_duplicates("participant_id")["label"]
    dataset, model = config["dataset"], config["model"]["name"]
    contrast = dataset["contrast"]
    groups = f"{', '.join(contrast['cases'])} against {', '.join(contrast['controls'])}"
    note = f"**{model}** on {config['connectivity']['measure']} connectomes of **{dataset['name']}**, {groups}: "
    note += f"{len(people)} people, {int(people.sum())} of them patients; atlas {config['atlas']['name']}."
    if dataset["kind"] == "simulated":
        note += " These people are simulated: nothing here is a finding about patients."
    note += f"\n\nOut of fold ({_splits(config['splits'])}):\n\n" + _table(config, scores)
    return f"{note}\n\n{RESEARCH_ONLY}"


def _splits(splits: Mapping) -> str:
    if splits["scheme"] != "kfold":
        return splits["scheme"].replace("_", " ")
    repeats = "" if splits["repeats"] == 1 else f", {splits['repeats']} times"
    return f"{splits['folds']} folds{repeats}"


def _table(config: Mapping, scores: pd.DataFrame) -> str:
    """AUC of the experiments in `scores`, the floor last."""
    floor, level = config["evaluate"]["floor"], config["evaluate"]["level"]
    rows = [f"| | AUC | {level:.0%} interval | permutation p |", "|---|---|---|---|"]
    aucs = scores[scores["metric"] == "auc"].assign(last=lambda table: table["experiment"] == floor)
    for row in aucs.sort_values("last", kind="stable").itertuples():
        known = ", ".join(config["dataset"]["covariates"])
        alone = f"the floor: {known} alone" if known else "no floor: no covariates"
        who = alone if row.last else row.experiment
        p = "not tested" if pd.isna(row.p) else f"{row.p:.3g}"
        rows.append(f"| {who} | {row.value:.3f} | {row.low:.3f} to {row.high:.3f} | {p} |")
    return "\n".join(rows)


def model_note(note: str, uri: str) -> str:
    """Add to an experiment's description how to predict with its model, which is at `uri` in the registry."""
    return f"""{note}

**Predict a new person**, with `MLFLOW_TRACKING_URI` set to this server or database:

```
dysconnect predict \\
  --model {uri} \\
  --series SERIES.tsv --age 52 --sex F --out person
```

**Predict many** from connectivity matrices `[n, N, N]`, in the order of the atlas's regions:

```
model = mlflow.pyfunc.load_model(
  "{uri}")
model.predict(matrices)
```
"""


def cohort_note(dataset: str, summary: Mapping, simulated: bool) -> str:
    """Say what the run of a cohort holds, and what came of it."""
    note = f"Localization, quality and report of **{dataset}**: open *Artifacts*, `index.html`. "
    note += "The folder `report` has it with figures and pages whose links work once it is downloaded."
    if {"n_edges", "n_fwer", "n_fdr"} <= set(summary):
        note += (
            f"\n\nOf {summary['n_edges']:,} connections {summary['n_fwer']} differ at a family-wise error of "
            f"{summary['alpha']:.0%}, {summary['n_fdr']} at that false discovery rate."
        )
    if simulated:
        note += " The people are simulated and the truth is planted: nothing here is a finding about patients."
    return f"{note}\n\n{RESEARCH_ONLY}"


def sweep_note(swept: Sequence[str], runs: Sequence[Mapping], expected: int | None) -> str:
    """Say what a sweep tried, and how its runs did, the best first.

    Parameters
    ----------
    swept : sequence of str
        Overrides with several values, as given.
    runs : sequence of mapping
        `name`, `auc` (None where the run failed), `low`, `high`.
    expected : int or None
        How many runs there will be.
    """
    done = [run for run in runs if run["auc"] is not None]
    failed = len(runs) - len(done)
    of = f" of {expected}" if expected else ""
    note = f"Scratch sweep over {', '.join(f'`{text}`' for text in swept)}: {len(runs)}{of} runs"
    note += f", {failed} of them failed." if failed else "."
    if done:
        note += (
            f"\n\n`best_auc` is the largest of {len(done)} on the same people and folds, so **it is optimistic**: for "
            "a number to report, choose inside the training folds (`training.search`)."
        )
        rows = [f"| {run['name']} | {run['auc']:.3f} | {run['low']:.3f} to {run['high']:.3f} |" for run in done[:SHOWN]]
        note += "\n\n" + "\n".join(["| run | AUC | interval |", "|---|---|---|", *rows])
    return f"{note}\n\n{RESEARCH_ONLY}"
