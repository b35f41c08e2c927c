"""Simulated cohorts from seed to verdict, without pages: what differs between seeds, and how often a null is called.

python benchmarks/verdicts.py FILE --dataset simulated --seeds 0-19 [--set dataset.patients=60 ...]
python benchmarks/verdicts.py FILE --dataset simulated_null --seeds 0-199 --regions 100 \
    --set splits.repeats=1 localize.permutations=500 training.permutations=199 stimulate.permutations=199
python benchmarks/verdicts.py FILE --table
The stages are the workflow's, in one process and in memory; a seed draws the people, the planted edges and who carries
them. FILE gets a line of JSON a seed; a seed that it has with the same settings is passed over, so that a count goes on
where it stopped (after a change of the code begin another file). `--regions` thins the atlas.
"""

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from shared import add_line, lines_of, shared_tangent
from threadpoolctl import threadpool_limits

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.atlas.targets import target_regions
from dysconnect.data.cohort import Cohort
from dysconnect.data.estimate import scan_connectome
from dysconnect.data.measures import STORED, measure_of
from dysconnect.data.participants import read_participants, with_labels, write_participants
from dysconnect.data.series import has_signal
from dysconnect.data.timing import Timing
from dysconnect.evaluate import Evaluation, evaluate
from dysconnect.keeping.settings import config_hash
from dysconnect.learning.splits import make_splits
from dysconnect.localize import Localization, localize
from dysconnect.localize.recovery import match_truth
from dysconnect.plan.run import Run, plan_run
from dysconnect.planted.simulated import Simulated, Subject, simulate_dataset
from dysconnect.report.budget import named
from dysconnect.report.prediction.scores import gap_between
from dysconnect.report.results import Study
from dysconnect.stimulate import Stimulation, shown_targets
from dysconnect.timeseries.cohort import prepare_subject
from dysconnect.train import cross_validate, permutation_null
from dysconnect.validate.pools import thin

ROOT = Path(__file__).resolve().parents[1]
LINEAR = "floor,correlation_ridge,tangent_logistic"


def six_digits(values: np.ndarray) -> np.ndarray:
    """Values as a table of six significant digits would hold them."""
    with np.errstate(divide="ignore", invalid="ignore"):
        digits = np.nan_to_num(5 - np.floor(np.log10(np.abs(values))), posinf=0.0, neginf=0.0)
    scale = 10.0**digits
    return np.rint(values * scale) / scale


class Denoised(NamedTuple):
    """A denoised series [K, N], and when its volumes were taken."""

    series: np.ndarray
    timing: Timing


def prepare(made: Simulated, run: Run, nodes: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Denoised]]:
    """Everybody's row as the stage `timeseries` leaves it, and the denoised series of the included."""
    subjects = {subject.participant_id: subject for subject in made.subjects}
    rows, series = [], {}
    with tempfile.TemporaryDirectory() as folder:
        people = as_read(made.participants, Path(folder))
        for _, row in people.iterrows():
            dataset = run.cohort["dataset"]
            entry = entry_of(subjects[row["participant_id"]], dataset["repetition_time"], Path(folder))
            asked = run.cohort["denoise"], dataset["covariates"], dataset.get("trial_types"), run.demanding
            judged = prepare_subject(row, entry, nodes, *asked)
            rows.append({"mean_fd": judged.mean_fd, "included": judged.series is not None} | judged.moved)
            if judged.series is not None:
                timing = Timing.of(
                    {"RepetitionTime": dataset["repetition_time"]} | judged.removed, row["participant_id"]
                )
                series[judged.participant_id] = Denoised(six_digits(judged.series), timing)
        return as_read(people.join(pd.DataFrame(rows)), Path(folder)), series


def as_read(people: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """The table of participants once it is written and read."""
    write_participants(people, folder / "participants.tsv")
    return read_participants(folder / "participants.tsv")


def entry_of(subject: Subject, repetition_time: float, folder: Path) -> pd.Series | None:
    """Row of the index of series, with files; arrays, which are written in no time."""
    if subject.series is None:
        return None
    motion, path = folder / "motion.tsv", folder / "series.npz"
    subject.confounds.to_csv(motion, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    np.savez(path, series=six_digits(subject.series))
    entry = {"series": path, "key": "series", "confounds": motion, "repetition_time": repetition_time}
    if subject.events is not None:
        subject.events.to_csv(folder / "events.tsv", sep="\t", index=False)
        entry |= {"events": folder / "events.tsv", "start_time": 0.0}
    return pd.Series(entry)


def cohort_of(measure: str, people: pd.DataFrame, series: dict, run: Run, nodes: pd.DataFrame) -> Cohort:
    """Connectomes of the people of the contrast."""
    stored = STORED[measure]
    table = with_labels(people, run.cohort["dataset"]["contrast"])
    kept = [series[name] for name in table["participant_id"]]
    made = [scan_connectome(own.series, stored, run.estimator(stored), own.timing) for own in kept]
    missing, names = np.stack([~has_signal(own.series) for own in kept]), nodes["name"].to_numpy(str)
    regional = {name: np.stack([own.regional[k] for own in made]) for k, name in enumerate(measure_of(stored).regional)}
    values, directed = np.stack([own.edges for own in made]), measure_of(stored).directed
    return Cohort(table, values, missing, names, measure, directed, regional=regional)


def judge(run: Run, seed: int, regions: int | None) -> dict:
    """What the results of one cohort say."""
    dataset, atlas = run.cohort["dataset"], load_atlas(run.cohort["atlas"]["nodes"])
    dataset |= {"seed": seed, "plant": dataset["plant"] | {"seed": seed}}
    nodes = atlas.iloc[thin(atlas, regions)].reset_index(drop=True)
    made = simulate_dataset(dataset, nodes)
    people, series = prepare(made, run, nodes)
    measures = {run.sections(name)["measure"] for name in run.experiments} | {run.cohort["localize"]["measure"]}
    cohorts = {measure: cohort_of(measure, people, series, run, nodes) for measure in measures}
    splits = make_splits(next(iter(cohorts.values())).participants, **run.cohort["splits"])
    scored, nulls, begun = learn(run, cohorts, splits, people)
    spec = run.cohort["localize"]
    known = cohorts[spec["measure"]]
    tested = localize(known, edge_circuits(nodes, known.directed), spec, nodes)
    ranked = ranking(run, cohorts, splits, nulls, nodes)
    results = {"scores": scored.scores, "comparisons": scored.comparisons, "summary": tested.summary}
    results |= {"components": tested.components, "folds": scored.folds}
    results |= {"asked": {}, "stimulated": ranked.summary}
    study = Study(SimpleNamespace(**results), run.cohort, run.experiments, nodes)
    says = {"n": len(known.labels)} | scores(study) | connections(tested, made.truth, spec["alpha"])
    says |= targets(ranked, nodes, made.truth) | beside_ridge(begun)
    return says | {"names": [name for name, _ in named(study)]}


def learn(run: Run, cohorts: dict, splits: pd.DataFrame, people: pd.DataFrame) -> tuple[Evaluation, dict, dict]:
    """Scores of all experiments, their nulls, and what networks add to the ridge regression that they start from."""
    predictions, nulls, begun = {}, {}, {}
    for name in run.experiments:
        sections = run.sections(name)
        cohort = cohorts[sections["measure"]]
        trained = cross_validate(cohort, splits, name, sections)
        predictions[name], begun[name] = trained.predictions, trained.start
        nulls[name] = permutation_null(cohort, splits, sections, trained.first_repeat)
    given = run.cohort["dataset"]["covariates"], run.cohort["evaluate"]
    return evaluate(predictions, nulls, splits, people, *given, seeing=run.seeing), nulls, begun


def beside_ridge(begun: dict[str, pd.DataFrame]) -> dict:
    """Of networks that start from ridge regression: share of folds in which they count, mean gamma, mean inner AUC."""
    says = {}
    for name, folds in begun.items():
        if len(folds):
            says |= {f"{name} counts": float((folds["gamma"] > 0).mean()), f"{name} gamma": folds["gamma"].mean()}
            says |= {f"{name} inner AUC alone": folds["network_auc"].mean()}
    return says


def scores(study: Study) -> dict:
    """AUC and p of every experiment, and whether it does better than the floor."""
    auc = study.results.scores.query("metric == 'auc'").set_index("experiment")
    says = {}
    for name, row in auc.iterrows():
        says |= {f"{name} AUC": row["value"], f"{name} p": row["p"], f"{name} p_best": row["p_best"]}
    gaps = {name: gap_between(study, name, study.floor) for name in auc.index if name != study.floor}
    return says | {f"{name} beats floor": gap.shown > 0 for name, gap in gaps.items()}


def connections(tested: Localization, truth: pd.DataFrame, alpha: float) -> dict:
    """How many edges are called, how many of them are planted, and p of every family."""
    edges = tested.edges
    planted = match_truth(edges, truth)[0] & bool((truth["effect"] != 0).any())
    says = {}
    for name, column in (("max-T", "p_fwer"), ("BH", "p_fdr"), ("adaptive NBS", "p_component")):
        called = (edges[column] <= alpha).to_numpy()
        says |= {f"{name} called": int(called.sum()), f"{name} false": int((called & ~planted).sum())}
    says |= {f"{family['name']} p": family["p"] for family in tested.summary["families"]}
    return says | {f"{family['name']} p_any": family["p_any"] for family in tested.summary["families"]}


def ranking(run: Run, cohorts: dict, splits: pd.DataFrame, nulls: dict, nodes: pd.DataFrame) -> Stimulation:
    """Targets behind their gate."""
    name, spec = run.stimulated, run.cohort["stimulate"]
    sections = run.sections(name)
    return shown_targets(cohorts[sections["measure"]], splits, sections, nodes, spec, nulls[name])


def targets(found: Stimulation, nodes: pd.DataFrame, truth: pd.DataFrame) -> dict:
    """Whether targets are shown, and if so the first of every kind, its p, and whether something is planted in it."""
    right, shown = places(truth, nodes), bool(len(found.targets))
    says = {"targets shown": shown, "targets p": found.summary["p"]}
    for first in found.targets[found.targets["rank"] == 1].itertuples() if shown else []:
        says |= {f"first {first.kind}": first.target, f"first {first.kind} p": first.p_fwer}
        says |= {f"first {first.kind} planted": first.target in right}
    best = found.targets.nsmallest(1, "p_fwer")["target"] if shown else []
    return says | {"surest target planted": bool(len(best)) and best.item() in right}


def places(truth: pd.DataFrame, nodes: pd.DataFrame) -> set[str]:
    """Nodes, target regions and circuits with a planted edge."""
    planted = truth[truth["effect"] != 0]
    touched = {*planted["region_a"], *planted["region_b"]}
    hit = np.flatnonzero(nodes["name"].isin(touched))
    regions = [region.target for region in target_regions(nodes).itertuples() if np.isin(region.rows, hit).any()]
    return {*touched, *regions, *planted["circuit"]}


def numbers(text: str) -> range:
    """Seeds of ``0-19`` or ``7``."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def settings_of(run: Run, regions: int | None) -> str:
    """Hash of all settings but the seed."""
    dataset = run.cohort["dataset"]
    seedless = dataset | {"seed": None, "plant": dataset["plant"] | {"seed": None}}
    sections = {name: run.sections(name) for name in run.experiments}
    return config_hash({"cohort": run.cohort | {"dataset": seedless}, "sections": sections, "regions": regions})[:12]


def count(asked: argparse.Namespace) -> Iterator[dict]:
    """One line for every seed that the file lacks."""
    chosen = {"dataset": asked.dataset, "experiment": asked.experiment, "overrides": " ".join(asked.set)}
    run = plan_run(ROOT, chosen)
    settings = settings_of(run, asked.regions)
    done = {line["seed"] for line in lines_of(asked.file) if line["settings"] == settings}
    for seed in (seed for seed in asked.seeds if seed not in done):
        start = time.process_time()
        with (
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            threadpool_limits(1),
            shared_tangent(),
        ):
            says = judge(run, seed, asked.regions)
        place = {"seed": seed, "dataset": asked.dataset, "settings": settings, "set": asked.set}
        yield place | says | {"seconds": round(time.process_time() - start, 1)}


def spread(lines: list[dict]) -> pd.DataFrame:
    """Counts with Wilson's limits of what is true or false, p at .05 among them; quartiles of the other numbers."""
    table, rows = pd.DataFrame(lines), []
    flags = {name: table[name] for name in table.select_dtypes(bool)}
    flags |= {f"{name} <= .05": table[name] <= 0.05 for name in table if name.endswith((" p", " p_best", " p_any"))}
    flags |= {f"{name} > 0": table[name] > 0 for name in table if name.endswith(("called", "false"))}
    names = table["names"].explode().dropna().unique()
    flags |= {"verdict names something": table["names"].str.len() > 0}
    flags |= {f"verdict names {name}": table["names"].apply(lambda said, name=name: name in said) for name in names}
    for name in table.select_dtypes("number").columns.drop("seed"):
        low, middle, high = table[name].quantile([0.25, 0.5, 0.75])
        rows.append({"what": name, "cohorts": len(table), "value": f"{middle:.3g} [{low:.3g}, {high:.3g}]"})
    for name, hits in flags.items():
        limits = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
        share = f"{hits.sum()} of {len(hits)}: {hits.mean():.2f} [{limits.low:.2f}, {limits.high:.2f}]"
        rows.append({"what": name, "cohorts": len(table), "value": share})
    return pd.DataFrame(rows)


def typical(lines: list[dict]) -> list[int]:
    """Seeds, the most typical first: those where the same models and floor beat chance as in most, and of these the one
    whose ranks are nearest the middle, in sum over AUCs, calls and p of the first target region.
    """
    table = pd.DataFrame(lines).set_index("seed")
    models = [name.removesuffix(" AUC") for name in table if name.endswith(" AUC")]
    beaten = table[[f"{name} p" for name in models]] <= 0.05
    usual = (beaten == (beaten.mean() > 0.5)).all(axis=1)
    shown = [name for name in table if name.endswith((" AUC", " called")) or name == "first region p"]
    away = (table[shown].rank() - (len(table) + 1) / 2).abs().sum(axis=1)
    return table.assign(unusual=~usual, away=away).sort_values(["unusual", "away"], kind="stable").index.tolist()


def main() -> None:
    """Count, or print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--dataset", default="simulated")
    parser.add_argument("--seeds", type=numbers, default=numbers("0-19"))
    parser.add_argument("--experiment", default=LINEAR, help="rows of the table; graph networks take long")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as overrides=... of the workflow")
    parser.add_argument("--regions", type=int, help="how many regions of the atlas, evenly over its systems")
    parser.add_argument("--table", action="store_true", help="print the spread of what the file has")
    asked = parser.parse_args()
    if asked.table:
        lines = lines_of(asked.file)
        for settings in dict.fromkeys(line["settings"] for line in lines):
            part = [line for line in lines if line["settings"] == settings]
            print(settings, part[0]["dataset"], *part[0]["set"])
            print(spread(part).to_string(index=False, justify="left"))
            print("Most typical seeds:", *typical(part)[:5])
        return
    for line in count(asked):
        add_line(asked.file, line)


if __name__ == "__main__":
    main()
