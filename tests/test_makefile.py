"""What `make` does to environments: it sets up its own, uses others as they are, and writes into no other folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def project(tmp_path):
    """A folder with the Makefile, and a Python that stands in for the installation."""
    folder = tmp_path / "my project (1)"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    write_python(tmp_path / "python3", 'test "$2" = venv && mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; true')
    return folder


def write_python(path, then="true"):
    """Write a program that notes how it was called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\necho "$0 $*" >> "$CALLS"\n{then}\n')
    path.chmod(0o755)


def make(project, *arguments):
    """Run make; return how it ended, and the calls of Python."""
    calls = project.parent / "calls"
    calls.write_text("")
    environment = {**os.environ, "CALLS": str(calls)}
    environment = {key: value for key, value in environment.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "VENV")}
    command = ["make", "-s", f"PYTHON={project.parent / 'python3'}", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    return done, calls.read_text()


def test_an_environment_is_set_up_once_and_again_when_the_lock_changes(project):
    done, calls = make(project, ".venv/.ready")
    assert done.returncode == 0 and "-m venv .venv" in calls and "pip install" in calls
    assert "pip install" not in make(project, ".venv/.ready")[1]
    (project / ".venv/.ready").unlink()  # interrupted, or out of date
    assert "pip install" in make(project, "bench")[1]


def test_one_of_an_earlier_make_is_brought_up_to_date(project):
    make(project, ".venv/.ready")
    (project / ".venv/.made").unlink()  # which earlier ones did not leave
    os.utime(project / ".venv/.ready", (0, 0))
    done, calls = make(project, ".venv/.ready")
    assert done.returncode == 0 and "pip install" in calls


def test_what_a_gpu_gains_is_measured_without_setting_anything_up(project):
    done, calls = make(project, "gpu", "ARGS=--tiny")
    assert done.returncode == 0 and calls == f"{project.parent / 'python3'} benchmarks/gpu.py --tiny\n"


def test_the_site_brings_what_it_needs_once(project):
    done, calls = make(project, "docs")
    assert done.returncode == 0 and ".[docs] -c requirements.lock" in calls and "-m sphinx -W --keep-going" in calls
    assert "Documentation: docs/_build/html/index.html" in done.stdout
    assert "pip install" not in make(project, "docs")[1]
    (project / ".venv/.ready").unlink()
    assert ".[docs]" in make(project, "docs")[1]  # the lock may have changed


def test_the_site_says_what_another_environment_lacks(project):
    write_python(project / "own/bin/python", 'case "$2" in *sphinx*) false;; esac')
    done, calls = make(project, "docs", "VENV=own")
    assert done.returncode and "pip install -e '.[docs]'" in done.stderr and "-m sphinx" not in calls


@pytest.mark.parametrize("made", [None, "/another/checkout\n"])
def test_an_environment_that_make_did_not_set_up_here_is_used_as_it_is(project, made):
    write_python(project / "own/bin/python")
    if made:
        (project / "own/.made").write_text(made)
    before = sorted(project.rglob("*"))
    done, calls = make(project, "bench", "VENV=own")
    assert "Using own as it is" in done.stdout and "pip install" not in calls and "venv" not in calls
    assert "own/bin/python benchmarks/quick.py" in calls and sorted(project.rglob("*")) == before


def test_one_that_lacks_the_packages_is_refused_and_not_touched(project):
    write_python(project / "own/bin/python", "false")
    done, calls = make(project, "bench", "VENV=own")
    assert done.returncode and "lacks what dysconnect needs" in done.stderr and "quick.py" not in calls
    assert sorted(path.name for path in (project / "own").iterdir()) == ["bin"]


@pytest.mark.parametrize("folder", [".", "data"])
def test_a_folder_with_something_in_it_is_no_place_for_an_environment(project, folder):
    (project / "data").mkdir()
    (project / "data/scan.nii").touch()
    done, calls = make(project, "bench", f"VENV={folder}")
    assert done.returncode and "no environment: name another" in done.stderr and "venv" not in calls


def test_a_blank_in_its_name_is_refused_with_what_helps(project):
    done, calls = make(project, "bench", "VENV=my env")
    assert done.returncode and 'ln -s "my env" .venv' in done.stderr and not calls


def test_make_clean_leaves_an_environment_of_somebody_else(project):
    write_python(project / ".venv/bin/python")
    assert make(project, "clean")[0].returncode and (project / ".venv").exists()
    (project / ".venv/.made").touch()
    assert make(project, "clean")[0].returncode == 0 and not (project / ".venv").exists()


def test_a_python_without_a_wheel_is_told():
    from dysconnect.plan.checks import _ants_for

    assert "pip install" in _ants_for((3, 12, 1)) and "no wheel for Python 3.13" in _ants_for((3, 13, 0))
