"""What others meet who want to join: checks at every push and commit, forms for reports, and the recipe of an image."""

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import warm
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from standins import APPTAINER, write_program
from test_workflow import Project

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
RECIPE = (ROOT / "workflow/envs/dysconnect.def").read_text()
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


@pytest.fixture(scope="module")
def ci():
    """The checks at every push; YAML takes the key `on` for true."""
    return yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def steps(ci: dict, key: str) -> list[str]:
    """What the steps of all jobs run, or use."""
    return [step[key] for job in ci["jobs"].values() for step in job["steps"] if key in step]


def test_the_checks_are_targets_of_the_makefile(ci):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    words = [command.split() for command in steps(ci, "run")]
    assert all(word[0] == "make" and len(word) == 2 and word[1] in targets for word in words)
    assert {word[1] for word in words} == {"lint", "test", "run", "docs"}


def test_the_checks_may_read_and_no_more_and_end(ci):
    assert ci["permissions"] == {"contents": "read"} and ci["concurrency"]["group"]
    assert set(ci[True]) == {"push", "pull_request", "workflow_dispatch"}
    assert all(job["timeout-minutes"] <= 60 and "permissions" not in job for job in ci["jobs"].values())
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in steps(ci, "uses"))
    assert not [text for text in steps(ci, "run") if "${{" in text]


def test_every_python_that_the_package_allows_is_tested(ci):
    allowed = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20) if allowed.contains(f"3.{minor}.0")]
    assert ci["jobs"]["test"]["strategy"]["matrix"]["python-version"] == minors
    setups = [step["with"] for job in ci["jobs"].values() for step in job["steps"] if "setup-python" in str(step)]
    assert len(setups) == len(ci["jobs"])
    assert all(own["cache"] == "pip" and own["cache-dependency-path"] == "requirements.lock" for own in setups)


def test_what_a_run_leaves_is_kept(ci):
    kept = [step["with"]["path"] for step in ci["jobs"]["run"]["steps"] if "upload" in step.get("uses", "")]
    assert kept == ["results/simulated/report", "results/logs"]


def test_hooks_have_the_versions_of_the_lock():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    asked = [text.split("==") for hook in hooks for text in hook["additional_dependencies"]]
    assert {hook["id"] for hook in hooks} >= {
        "ruff-check",
        "ruff-format",
        "snakefmt",
        "end-of-file-fixer",
        "check-yaml",
    }
    assert all(hook["language"] == "python" and len(hook["additional_dependencies"]) for hook in hooks)
    assert {name for name, _ in asked} >= {"ruff", "snakefmt"}
    assert all(PINS.get(canonicalize_name(name), version) == version for name, version in asked)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_is_one_that_github_understands(form):
    content = yaml.safe_load(form.read_text())
    if form.stem == "config":
        assert content == {"blank_issues_enabled": True}
        return
    assert {"name", "description", "body"} <= set(content) <= {"name", "description", "body", "labels", "title"}
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert all(field["type"] in ("input", "textarea") and field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names)) and any(field.get("validations", {}).get("required") for field in fields)


def test_a_report_asks_for_command_log_and_versions_and_for_no_data_of_people():
    bug = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    required = {field.get("id") for field in bug["body"] if field.get("validations", {}).get("required")}
    assert {"command", "log", "versions"} <= required
    assert "Nothing of patients here" in bug["body"][0]["attributes"]["value"]
    assert "python -m pip freeze | grep" in str(bug)


def section(name: str) -> str:
    """Lines of a section of the recipe."""
    return re.search(rf"^%{name}\n((?: .*\n|\n)*)", RECIPE, flags=re.MULTILINE)[1]


def test_the_image_has_what_the_package_needs_and_the_versions_of_the_lock():
    copied = {line.split()[0] for line in section("files").splitlines() if line.strip()}
    assert copied >= {"pyproject.toml", "requirements.lock", PROJECT["readme"], *PROJECT["license-files"], "src"}
    assert all((ROOT / name).exists() for name in copied)
    [install] = [line for line in section("post").splitlines() if "pip install" in line]
    assert "-c requirements.lock" in install and set(re.findall(r"\[(.+?)\]", install)) <= set(
        PROJECT["optional-dependencies"]
    )
    python = re.search(r"^From: python:(3\.\d+)-slim-\w+$", RECIPE, flags=re.MULTILINE)[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python}.0")


def test_no_rule_has_an_image_unless_somebody_names_one():
    assert 'container: os.environ.get("DYSCONNECT_IMAGE")' in (ROOT / "Snakefile").read_text()
    rules = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    assert re.findall(r"container:\n\s+(\S+)", rules) == ['COHORT["preprocess"]["container"]']


@pytest.mark.workflow
def test_jobs_run_in_an_image_that_is_named_and_only_then(tmp_path):
    project, inside, asked = Project(tmp_path), tmp_path / "inside", tmp_path / "asked"
    inside.mkdir()
    (inside / "python").symlink_to(warm.python())
    host = write_program(tmp_path / "host", "apptainer", APPTAINER)
    project.tracking = {"PATH": f"{host}{os.pathsep}{os.environ['PATH']}"}
    project.tracking |= {"APPTAINER_CALLS": str(asked), "INSIDE": str(inside)}
    command = ("results/simulated/acquire/participants.tsv", "--sdm", "apptainer")
    done = project.snakemake(*command)
    assert done.returncode == 0 and not asked.exists(), done.stderr

    project.tracking["DYSCONNECT_IMAGE"] = str(tmp_path / "dysconnect.sif")
    done = project.snakemake(*command)  # other software: made again
    assert done.returncode == 0, done.stderr
    [call] = [json.loads(line)[0] for line in asked.read_text().splitlines()]
    assert "exec" in call and project.tracking["DYSCONNECT_IMAGE"] in call
