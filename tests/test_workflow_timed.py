"""The workflow on measures in time and of a task, on a tiny simulated cohort: to the report, in their words."""

import json
import re

import pandas as pd
import pytest
from test_workflow import Project

from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import read_connectomes

REPORT = "results/simulated/report/index.html"
TINY = (
    "dataset.patients=16", "dataset.controls=16", "dataset.plant.edges=4", "splits.folds=2", "splits.repeats=1",
    "evaluate.bootstraps=100", "training.permutations=19", "localize.permutations=100", "localize.stability_draws=2",
    "localize.stability_top=5", "quality.permutations=100", "report.people=false",
)  # fmt: skip

pytestmark = pytest.mark.workflow


def made(folder, measure: str, *overrides: str):
    """Results of the workflow to its report, and the words of the page."""
    project = Project(folder)
    load_atlas("motor10").head(6).to_csv(project.folder / "six.tsv", sep="\t", index=False)
    config = (f"connectivity={measure}", "atlas=motor10", "experiment=floor")
    done = project.snakemake(REPORT, config=config, overrides=(*TINY, *overrides), tiny=False)
    logs = "".join(path.read_text() for path in project.folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-5000:]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", (project.folder / REPORT).read_text()))
    return project.folder / "results/simulated", text


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Within a task."""
    return made(tmp_path_factory.mktemp("task"), "task", "dataset.plant.effect=6", "localize.attribution=null")


@pytest.fixture(scope="module")
def lagged(tmp_path_factory):
    """From one volume to the next."""
    sound = [f"dataset.defects.{name}=0" for name in ("short", "corrupted", "dead_regions", "missing")]
    short = "dataset.volumes=130", "denoise.min_seconds=200"
    return made(tmp_path_factory.mktemp("lagged"), "lagged", "atlas.nodes=six.tsv", *short, *sound)


def test_a_task_comes_to_the_report_with_its_activation(task):
    results, text = task
    held = read_connectomes(results / "connectivity/motor10_task.h5")
    regional = pd.read_csv(results / "localize/regional.tsv", sep="\t")
    assert regional["region"].tolist() == held.nodes.tolist() and set(regional["quantity"]) == {"activation"}
    assert regional["mean_controls"].mean() > 0.2  # tapping was planted in everybody
    edges = pd.read_csv(results / "localize/edges.tsv", sep="\t")
    assert edges["p_beside"].notna().all() and len(edges) == 45
    assert "in the volumes of the task, of what no response to it explains" in text
    assert "with activation of both its regions as further covariates" in text and "Regions themselves" in text
    assert "exploratory" not in text
    called = int((edges["p_fwer"] <= 0.05).sum())
    assert called and f"of the {called} connection" in text and "Activation, first" in text


def test_lagged_coupling_comes_to_the_report_as_exploratory(lagged):
    results, text = lagged
    held = read_connectomes(results / "connectivity/motor10_lagged.h5")
    assert held.directed and held.values.shape[1] == 30 and set(held.regional) == {"delay", "noise"}
    known = json.loads((results / "localize/summary.json").read_text())["direction"]
    assert known["n_regions"] == 6 and known["pairs"] == pytest.approx(held.scan_means["pairs"])
    assert 0.5 < known["direction"]["differing"] < known["direction"]["same"] <= 1
    assert -1 <= known["reversal"] < 0
    regional = pd.read_csv(results / "localize/regional.tsv", sep="\t")
    assert len(regional) == 12 and set(regional["quantity"]) == {"delay", "noise"}
    assert "30 connections were tested, which are exploratory: none is named here" in text
    assert f"seen in {known['pairs']:.0f} pairs of volumes 2 s apart as here" in text and "chance is 50%" in text
    assert "delay and noise of all regions explain" in text and "A circuit has the connections of the way" in text


def test_what_every_column_means(task):
    described = {path.name: path for path in (task[0] / "localize").glob("*.tsv")}
    from dysconnect.data.dictionary import sidecar

    head = described["regional.tsv"].read_text().splitlines()[0].split("\t")
    assert set(sidecar("localize/regional.tsv", head)) == set(head)
