"""Snakemake's lock goes with a run that was killed here, and with no other."""

import json
import os
import subprocess
import sys
import time

import pytest

from dysconnect.keeping.lock import LOCKS, RECORD, free_stale_lock, record_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
RUN = """
import sys, time
from pathlib import Path
from dysconnect.keeping.lock import record_run
record_run(Path.cwd(), True)
print("holds", flush=True)
time.sleep(60)
"""


def lock(project, number=0):
    """What Snakemake writes when it begins."""
    (project / LOCKS).mkdir(parents=True, exist_ok=True)
    for what in ("input", "output"):
        (project / LOCKS / f"{number}.{what}.lock").write_text("results/report.html\n")


@pytest.fixture
def killed(tmp_path):
    """A folder whose run got SIGKILL."""
    lock(tmp_path)
    run = subprocess.Popen([sys.executable, "-c", RUN], cwd=tmp_path, stdout=subprocess.PIPE)
    run.stdout.readline()
    run.kill()
    run.communicate()
    return tmp_path


def test_the_lock_of_a_killed_run_is_taken_away_and_said(killed):
    said = free_stale_lock(killed)
    assert "was killed" in said and not list((killed / LOCKS).iterdir())
    assert free_stale_lock(killed) == ""


def test_a_run_that_lives_keeps_its_lock(tmp_path):
    lock(tmp_path)
    record_run(tmp_path, True)
    assert free_stale_lock(tmp_path) == "" and len(list((tmp_path / LOCKS).iterdir())) == 2


@pytest.mark.parametrize("argument", [".snakemake/scripts/tmp1.preprocess.py", "-m snakemake"])
def test_a_job_that_outlived_its_snakemake_keeps_the_lock(killed, argument):
    sleep = [sys.executable, "-c", "import time; print('on', flush=True); time.sleep(60)", *argument.split()]
    job = subprocess.Popen(sleep, cwd=killed, stdout=subprocess.PIPE)
    job.stdout.readline()
    assert free_stale_lock(killed) == ""
    job.kill()
    job.communicate()
    assert free_stale_lock(killed) != ""


@pytest.mark.parametrize("key", ["machine", "space"])
def test_the_lock_of_another_machine_or_container_stays(killed, key):
    record = json.loads((killed / RECORD).read_text())
    (killed / RECORD).write_text(json.dumps(record | {key: "elsewhere"}))
    assert free_stale_lock(killed) == "" and list((killed / LOCKS).iterdir())


def test_a_number_that_was_given_again_is_another_process(tmp_path):
    lock(tmp_path)
    record_run(tmp_path, True)
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps(record | {"began": "1"}))
    assert free_stale_lock(tmp_path) != ""


def test_a_lock_taken_since_stays(killed):
    lock(killed)
    later = time.time_ns() + 10**9
    for path in (killed / LOCKS).iterdir():
        os.utime(path, ns=(later, later))
    assert free_stale_lock(killed) == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": 1}'])
def test_a_record_that_says_nothing_frees_nothing(killed, text):
    (killed / RECORD).write_text(text)
    assert free_stale_lock(killed) == "" and list((killed / LOCKS).iterdir())


def test_of_two_runs_at_once_and_of_jobs_elsewhere_nothing_is_written_down(tmp_path):
    lock(tmp_path)
    record_run(tmp_path, False)
    assert not (tmp_path / RECORD).exists()
    record_run(tmp_path, True)
    assert (tmp_path / RECORD).exists()
    lock(tmp_path, 1)
    record_run(tmp_path, True)
    assert not (tmp_path / RECORD).exists()


def test_without_a_lock_there_is_nothing_to_free(tmp_path):
    assert free_stale_lock(tmp_path) == ""


def test_a_run_without_a_lock_of_its_own_leaves_the_record(tmp_path):
    lock(tmp_path)
    for path in (tmp_path / LOCKS).iterdir():
        os.utime(path, (1e9, 1e9))  # taken long before this process began
    (tmp_path / RECORD).write_text("{}")
    record_run(tmp_path, True)
    assert (tmp_path / RECORD).read_text() == "{}"
