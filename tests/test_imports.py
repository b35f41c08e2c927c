"""What a job loads before it does anything: no more than it uses, for thirty jobs start in one run."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow/scripts"
HEAVY = (
    "hydra", "jinja2", "matplotlib", "mlflow", "nibabel", "nilearn", "numba", "pandas", "scipy.stats", "sklearn",
    "snakemake", "torch", "torch_geometric", "xarray",
)  # fmt: skip

# What scripts may load beside what those above them may: one process imports them all, in this order. Torch and
# xarray are in no line, and nilearn and numba in the last alone: the functions that need them load them.
STEPS = (
    ((), ("discard_outputs",)),
    (("pandas",), (
        "splits", "preprocess_cohort", "arrange", "arrange_matrices", "connectivity", "bundle", "deviations",
        "evaluate", "localize", "group_differences", "joint", "severity", "recovery", "attribute_edges",
        "replicate", "attribute_recovery", "tractography_cohort", "acquire", "discard", "dictionary", "download", "key",
        "masked", "sums",
    )),
    (("scipy.stats",), ("elsewhere", "judge", "judge_matrices", "timeseries", "quality", "quality_scans")),
    (("sklearn",), ("train", "attribute", "stimulate", "validate", "validate_scores")),
    (("nibabel",), ("atlas", "surface")),
    (("matplotlib",), ("preprocess",)),
    (("jinja2",), ("report", "report_people", "report_subjects", "report_tracts", "share")),
    (("mlflow",), ("tracking", "track", "track_cohort")),
    (("nilearn", "numba"), ("tractography",)),  # ten minutes a person
)  # fmt: skip

PROGRAM = """
import ast, json, sys
folders, files, heavy = json.loads(sys.stdin.read())
sys.path[:0] = folders
for file in files:
    with open(file) as script:
        body = [line for line in ast.parse(script.read()).body if isinstance(line, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(body, []), file, "exec"), {"__name__": "__main__"})
    print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def loaded(files: list[str]) -> list[set[str]]:
    """Heavy packages that are loaded after the imports of every file, one after the other in one process."""
    given = json.dumps([[str(SCRIPTS), str(ROOT / "src")], files, HEAVY])
    run = subprocess.run([sys.executable, "-c", PROGRAM], input=given, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return [set(json.loads(line)) for line in run.stdout.splitlines()]


def test_a_job_starts_with_what_it_uses():
    order = [(script, new) for new, scripts in STEPS for script in scripts]
    assert sorted(script for script, _ in order) == sorted(path.stem for path in SCRIPTS.glob("[!_]*.py"))
    allowed, wrong = set(), {}
    for (script, new), seen in zip(order, loaded([str(SCRIPTS / f"{script}.py") for script, _ in order]), strict=True):
        allowed |= set(new)
        if seen - allowed:
            wrong[script] = seen - allowed
            allowed |= seen  # told once
    assert not wrong


def test_the_package_itself_loads_nothing():
    program = "import sys; before = set(sys.modules); import dysconnect; print(*sorted(set(sys.modules) - before))"
    own = {"PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=own)
    others = {name.partition(".")[0] for name in run.stdout.split()} - set(sys.stdlib_module_names)
    assert others == {"dysconnect"}
