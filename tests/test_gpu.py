"""`make gpu` without a GPU: it runs through with what a bare GPU machine has, and says which parts failed, and why."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BARE = {"PYTHONPATH": str(ROOT / "tests/bare"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


def test_all_runs_through_with_nothing_but_what_a_bare_machine_has(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--device", "cpu", "--tiny"]
    command += [
        "--only",
        "tests,permutations,default_network,localization,bfloat16",
        "--out",
        str(tmp_path / "gpu.json"),
    ]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **BARE}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["seconds"] < 60 and result["versions"]["torch"] and "gpu" not in result
    tests, *others = result["parts"]
    assert tests["rows"] == [{"what": "tests, test_permutation.py", "reason": "pytest is not installed"}]
    assert [len(part["rows"]) for part in others] == [3, 3, 7, 7]
    assert all(figure["value"] >= 0 for part in others for figure in part["rows"])
    same = [figure for figure in others[2]["rows"] if "difference of p" in figure["what"]]
    assert [figure["reached"] for figure in same] == [True, True]


def test_a_bare_machine_lacks_what_it_should():
    absent = ("mlflow", "nilearn", "hydra", "snakemake", "pytest", "xarray", "yaml", "rich")
    program = f"import importlib.util as u, torch, numba; print([n for n in {absent} if u.find_spec(n)])"
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, **BARE}, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_part_that_takes_too_long_is_stopped_and_one_without_a_gpu_says_so(gpu, monkeypatch):
    monkeypatch.setitem(gpu.SECONDS, "stacked_bnt", 0.01)
    (late,) = gpu.start_part("stacked_bnt", "cpu", gpu.TINY)["rows"]
    assert late["reason"].startswith("stopped after 0.01 s")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (none,) = gpu.run_part("permutations", "cuda", gpu.TINY)
    assert "sees no GPU" in none["reason"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: no kernel image"), MemoryError("all of it")])
def test_a_part_that_fails_leaves_its_reason_and_what_it_has(gpu, monkeypatch, error):
    def fail(*_):
        yield gpu.row("before", 1, "s")
        raise error

    monkeypatch.setitem(gpu.PARTS, "permutations", fail)
    before, reason, memory = rows = list(gpu.run_part("permutations", "cpu", gpu.TINY))
    assert (before["value"], memory["unit"]) == (1.0, "GB")
    assert reason == {"what": "permutations", "reason": f"{type(error).__name__}: {error}"}
    assert gpu.words({"rows": rows})[1] == f"permutations | not measured: {reason['reason']} | "


def test_the_parts_share_less_than_eight_minutes(gpu):
    assert set(gpu.SECONDS) == set(gpu.PARTS) and sum(gpu.SECONDS.values()) < 470


def test_the_page_shows_a_run_on_a_gpu_and_no_other(gpu):
    page, run = gpu.README.read_text(), {"tiny": False, "versions": {"torch": "2", "cuda": None}, "seconds": 400.2}
    run |= {"machine": "x86_64, 16 cores", "parts": [{"rows": [gpu.missing("localization", "stopped after 40 s")]}]}
    run["parts"].append({"rows": [gpu.row("gain", 12.34, "x", 15, least=True)]})
    assert "Not run on a GPU yet" in gpu.fill(page, None) and "Not run on a GPU yet" in gpu.fill(page, run)
    shown = gpu.fill(page, run | {"gpu": "a card", "gpu_memory_gb": 80.0})
    assert "a card (80 GB), x86_64, 16 cores; torch 2; 400.2 s in all." in shown
    assert "| localization | not measured: stopped after 40 s |  |" in shown
    assert "| gain | 12.3 x | 15, missed |" in shown
    assert gpu.fill(shown, None) == gpu.fill(page, None)  # what stands around it stays
