"""A stranger adds a model and a measure as the pages say, and the workflow makes a report in their words."""

import re
import subprocess
from pathlib import Path

import pytest
from test_workflow import TINY, Project

ROOT = Path(__file__).parents[1]
FILE = r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```"  # the name of a new file, and what it holds
PATCH = r"^```diff\n(.*?)^```"
REPORT = "results/simulated/report/index.html"
SMALL = ("atlas.nodes=tiny.tsv", *(override for override in TINY if not override.startswith("model.")))

pytestmark = pytest.mark.workflow


def follow(page: str, folder: Path) -> tuple[set[str], set[str]]:
    """Do what a page of docs/how-to says; returns names of the files that are new, and of those that are changed."""
    text = (ROOT / f"docs/how-to/{page}.md").read_text()
    new = dict(re.findall(FILE, text, flags=re.MULTILINE | re.DOTALL))
    for name, content in new.items():
        assert not (folder / name).exists()
        (folder / name).write_text(content)
    changed = set()
    for patch in re.findall(PATCH, text, flags=re.MULTILINE | re.DOTALL):
        done = subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=folder, capture_output=True)
        assert done.returncode == 0, done.stderr
        changed |= set(re.findall(r"^\+\+\+ b/(.*)$", patch, flags=re.MULTILINE))
    return set(new), changed


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with both additions, and which files they took."""
    project = Project(tmp_path_factory.mktemp("stranger"))
    subprocess.run(["git", "init", "-q", "."], cwd=project.folder, check=True)
    project.model, project.measure = follow("model", project.folder), follow("measure", project.folder)
    return project


def snakemake(project, *arguments: str, experiment="floor,correlation_pls,spearman_ridge", overrides=()):
    """Run the workflow on a tiny cohort."""
    asked = {"config": (f"experiment={experiment}",), "overrides": (*SMALL, *overrides), "tiny": False}
    return project.snakemake(*arguments, **asked)


@pytest.fixture(scope="module")
def made(extended):
    """The report of both."""
    done = snakemake(extended, REPORT, overrides=("localize.measure=spearman",))
    logs = "".join(path.read_text() for path in extended.folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-5000:]
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", "", (extended.folder / REPORT).read_text()))


def test_a_linear_model_is_three_files_and_an_experiment(extended):
    new, changed = extended.model
    assert changed == {"src/dysconnect/models/cards.py"}
    assert new == {"src/dysconnect/models/pls.py", "configs/model/pls.yaml", "configs/experiment/correlation_pls.yaml"}


def test_a_measure_is_two_files_and_an_experiment(extended):
    new, changed = extended.measure
    assert changed == {"src/dysconnect/data/measures.py"}
    assert new == {"configs/connectivity/spearman.yaml", "configs/experiment/spearman_ridge.yaml"}


def test_the_words_of_the_report_are_those_of_the_model_and_of_the_measure(made):
    assert "partial least squares regression of 2 components on the Fisher z of Pearson correlations" in made
    assert "ridge regression on the Fisher z of Spearman rank correlations" in made
    assert "connections (the Fisher z of Spearman rank correlations) were tested" in made
    for wrong in ("AdamW", "graphs of the", "PyTorch Geometric (Fey"):
        assert wrong not in made
    assert "Platt JC. Probabilistic outputs" in made


def test_both_are_called_by_their_names(made):
    assert "correlation PLS" in made and "Spearman ridge" in made


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("connectivity.measure=spaerman", "connectivity.measure: 'spaerman' is not one of"),
        ("model.components=0", "model.components: 0 is less than the minimum of 1"),
    ],
)
def test_what_is_wrong_is_refused_before_any_job(extended, override, said):
    done = snakemake(extended, "--dry-run", overrides=(override,))
    assert done.returncode != 0 and said in done.stdout + done.stderr
    assert "Job stats" not in done.stdout + done.stderr


def test_a_model_of_covariances_is_refused_on_the_new_measure(extended):
    file = extended.folder / "configs/experiment/mine.yaml"
    file.write_text(
        "# @package _global_\ndefaults:\n  - override /connectivity: spearman\n  - override /model: riemann\n"
    )
    try:
        done = snakemake(extended, "--dry-run", experiment="floor,mine")
    finally:
        file.unlink()
    told = "model=riemann needs covariances, and connectivity=spearman has none. Choose connectivity=tangent"
    assert told in done.stdout + done.stderr
