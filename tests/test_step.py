"""The job object without a run: what a script finds is what it finds in a job, and it makes the same file."""

import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import warm
from test_workflow import Project

ROOT = Path(__file__).parents[1]
MADE = "results/simulated/connectivity/seitzman300_correlation.h5"
PARTS = ("input", "output", "params", "wildcards", "threads", "log", "rule")
STEP = """
import pickle, runpy, sys
sys.path.insert(0, "workflow/scripts")
from _mock import job
snakemake = job("connectivity", {config!r}, cores=2, measure="correlation")
pickle.dump(snakemake, open("mocked.pickle", "wb"))
runpy.run_path("workflow/scripts/connectivity.py", init_globals={{"snakemake": snakemake}})
"""

sys.path.append(str(ROOT / "workflow/scripts"))


@pytest.mark.workflow
def test_a_script_finds_what_its_job_finds_and_makes_the_same(tmp_path):
    project = Project(tmp_path)
    done = project.snakemake(MADE, "--skip-script-cleanup")
    assert done.returncode == 0, done.stdout + done.stderr
    made = values(tmp_path / MADE)
    [script] = [p for p in tmp_path.glob(".snakemake/scripts/*.py") if "Job of rule `connectivity`" in p.read_text()]
    pickled = re.search(r"pickle\.loads\((b.+?)\);from snakemake", script.read_text(), flags=re.DOTALL)[1]
    real = pickle.loads(eval(pickled))

    (tmp_path / MADE).unlink()
    config = {"overrides": project.command()[-1].removeprefix("overrides=")}
    command = [warm.python(), "-c", STEP.format(config=config)]
    stepped = subprocess.run(command, cwd=tmp_path, env=project.environment(), capture_output=True, text=True)
    assert stepped.returncode == 0, stepped.stderr
    mocked = pickle.loads((tmp_path / "mocked.pickle").read_bytes())
    for part in PARTS:
        assert shown(mocked, part) == shown(real, part)
    assert dict(mocked.resources.items()) == dict(real.resources.items())
    assert values(tmp_path / MADE) == made


def shown(job, part: str) -> object:
    """A part of a job, so that two of them can be compared."""
    value = getattr(job, part)
    return (dict(value.items()) or list(value)) if hasattr(value, "items") else value


def values(path: Path) -> dict[str, object]:
    """Everything in a file of connectomes."""
    content: dict[str, object] = {}
    with h5py.File(path) as file:
        content |= {key: str(value) for key, value in file.attrs.items()}
        for name, item in file.items():
            cells = np.asarray(item)
            content[name] = cells.tolist() if cells.dtype == object else cells.tobytes()
    return content


def test_what_a_rule_needs_is_asked_for(tmp_path, monkeypatch):
    from _mock import _value, job

    known = {"dataset": "simulated", "measure": "correlation|covariance", "participant": "sub-[A-Za-z0-9]+"}
    rule = SimpleNamespace(name="connectivity", workflow=SimpleNamespace(wildcard_constraints=known))
    assert _value(rule, "dataset", None) == "simulated" and _value(rule, "participant", "sub-01") == "sub-01"
    with pytest.raises(ValueError, match="rule connectivity is given no measure: correlation, covariance"):
        _value(rule, "measure", None)
    with pytest.raises(ValueError, match="rule connectivity is given measure=mutual: correlation, covariance"):
        _value(rule, "measure", "mutual")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="rule evaluate has no measure: its wildcards are dataset"):
        job("evaluate", measure="correlation")
