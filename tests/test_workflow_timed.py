"""The workflow on measures in time and of a task, on a tiny simulated cohort: to the report, in their words."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from test_workflow import Project

from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import read_connectomes
from dysconnect.data.dictionary import sidecar

TINY = (
    "dataset.patients=16", "dataset.controls=16", "dataset.plant.edges=4", "splits.folds=2", "splits.repeats=1",
    "evaluate.bootstraps=100", "training.permutations=19", "localize.permutations=100", "localize.stability_draws=2",
    "localize.stability_top=5", "quality.permutations=100", "report.people=false",
)  # fmt: skip

pytestmark = pytest.mark.workflow


def made(folder: Path, measure: str, target: str, *overrides: str) -> Path:
    """Results of the workflow, up to a file of them."""
    project = Project(folder)
    load_atlas("motor10").drop([1, 3]).to_csv(project.folder / "eight.tsv", sep="\t", index=False)
    config = (f"connectivity={measure}", "atlas=motor10", "experiment=floor")
    done = project.snakemake(
        f"results/simulated/{target}", "--cores", "1", config=config, overrides=(*TINY, *overrides), tiny=False
    )
    logs = "".join(path.read_text() for path in project.folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-5000:]
    return project.folder / "results/simulated"


@pytest.fixture(scope="module")
def lagged(tmp_path_factory):
    """From one volume to the next, to the report: results, and the words of the page; one scan is too short for it."""
    asked = ["dataset.volumes=165", "atlas.nodes=eight.tsv", "dataset.patients=21", "dataset.controls=21"]
    asked += [
        f"dataset.defects.{name}={int(name == 'short')}" for name in ("short", "corrupted", "dead_regions", "missing")
    ]
    asked += ["denoise.min_seconds=100"]
    results = made(tmp_path_factory.mktemp("lagged"), "lagged", "report/index.html", *asked)
    return results, re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", (results / "report/index.html").read_text()))


def test_a_task_is_localized_with_its_activation_and_noise(tmp_path):
    planted = "dataset.plant.effect=6", "localize.attribution=null"
    results = made(tmp_path, "task", "localize/edges.tsv", *planted)
    held = read_connectomes(results / "connectivity/motor10_task.h5")
    regional = pd.read_csv(results / "localize/regional.tsv", sep="\t")
    assert regional["region"].tolist() == 2 * held.nodes.tolist()
    assert regional["quantity"].unique().tolist() == ["activation", "noise"]
    assert regional.groupby("quantity")["mean_controls"].mean()["activation"] > 0.2  # everybody taps
    assert set(sidecar("localize/regional.tsv", list(regional))) == set(regional)
    edges, truth = (pd.read_csv(results / f"{name}.tsv", sep="\t") for name in ("localize/edges", "acquire/truth"))
    assert edges["p_beside"].notna().all() and len(edges) == 45
    planted = {frozenset(pair) for pair in truth[["region_a", "region_b"]].to_numpy()}
    known = [frozenset(pair) in planted for pair in edges[["region_a", "region_b"]].to_numpy()]
    t = edges.groupby(known)["statistic"].mean()
    assert t[True] < -2 and t[True] < t[False] - 1  # weaker in patients, and more so where it was planted


def test_lagged_coupling_comes_to_the_report_as_exploratory(lagged):
    results, text = lagged
    held = read_connectomes(results / "connectivity/motor10_lagged.h5")
    assert held.directed and held.values.shape[1] == 56 and set(held.regional) == {"delay", "noise"}
    known = json.loads((results / "localize/summary.json").read_text())["direction"]
    assert known["n_regions"] == 8 and known["pairs"] == pytest.approx(held.scan_means["pairs"])
    assert 0.5 < known["direction"]["differing"] < known["direction"]["same"] <= 1
    assert -1 <= known["reversal"] < 0
    regional = pd.read_csv(results / "localize/regional.tsv", sep="\t")
    assert len(regional) == 16 and set(regional["quantity"]) == {"delay", "noise"}
    assert "56 connections were tested, which are exploratory: none is named here" in text
    assert f"seen in {known['pairs']:.0f} pairs of volumes 2 s apart as here" in text and "chance is 50%" in text
    assert (
        "Delay and noise of all regions were covariates of every test" in text
        and "A circuit has the connections of the way" in text
    )


def test_whoever_has_too_few_volumes_for_a_direction_is_left_out_of_everything(lagged):
    results, text = lagged
    people = pd.read_csv(results / "timeseries/participants.tsv", sep="\t")
    [out] = people[~people["included"]].to_dict("records")
    reason = "connectivity=lagged of 8 regions needs 160 pairs of volumes that follow each other, and this scan has"
    assert out["exclusion_reason"].startswith(reason) and "to keep it" in out["exclusion_reason"]
    assert out["participant_id"] not in read_connectomes(results / "connectivity/motor10_lagged.h5").subjects
    assert out["participant_id"] not in (results / "train/floor/predictions.tsv").read_text()
    summary = json.loads((results / "localize/summary.json").read_text())
    assert summary["n_cases"] + summary["n_controls"] == len(people) - 1 == 41
    [counted] = json.loads((results / "quality/summary.json").read_text())["excluded"]
    assert counted["reason"].startswith(reason) and counted["cases"] + counted["controls"] == 1
    assert "Left out 1 patient, 0 controls" in text and out["participant_id"] not in text  # this page names nobody
