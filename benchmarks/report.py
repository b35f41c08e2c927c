"""What the report of a finished run costs, in CPU seconds by step, each job in a process of its own.

python benchmarks/report.py [--directory FOLDER] [--keep FOLDER]
FOLDER holds `results/` of a finished run with the default settings (104 people), this checkout by default. Nothing
there is written: the pages go to a temporary folder, or to that of --keep. Pages of images are no part of it.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(__file__).parent / "results"
GOAL = 10  # CPU seconds of about 100 people


def described(rule: str) -> dict:
    """Inputs, outputs and parameters of a rule, as its job would find them in this folder."""
    sys.path.insert(0, str(ROOT / "workflow/scripts"))
    from _mock import job

    made = job(rule)
    return {name: dict(getattr(made, name).items()) for name in ("input", "output", "params")}


class Steps:
    """CPU seconds of what is done one after the other in this process."""

    def __init__(self):
        self.seconds, self.last = {}, 0.0  # the start of the interpreter belongs to the first

    def end(self, name: str) -> None:
        """End a step here."""
        now = time.process_time()
        self.seconds[name], self.last = now - self.last, now


def report(input: dict, output: dict, params: dict, steps: Steps) -> None:
    """As the script `report.py`."""
    from dysconnect.data.atlas import load_atlas
    from dysconnect.paper.html import alone
    from dysconnect.report import Study, render
    from dysconnect.report.checklists import checklists_page
    from dysconnect.report.results import read_results

    gc.freeze()  # as every job does
    steps.end("imports")
    results = read_results(input, list(params["experiments"]), input["histories"])
    known = results, params["cohort"], params["experiments"], load_atlas(params["cohort"]["atlas"]["nodes"])
    steps.end("reading")
    page = render(*known, day := date.today().isoformat(), images=True)
    steps.end("page")
    texts = {"html": page.html, "standalone": alone(page.html), "checklists": checklists_page(Study(*known), day)}
    texts["in_short"] = "\n".join(page.in_short) + "\n"
    for name, text in texts.items():
        Path(output[name]).write_text(text, encoding="utf-8")
    steps.end("other pages")
    page.write_figures({name: output[name] for name in set(output) - set(texts)})
    steps.end("figures as files")


def report_people(input: dict, output: dict, params: dict, steps: Steps) -> None:
    """As the script `report_people.py`."""
    from dysconnect.data.atlas import load_atlas
    from dysconnect.report.people import read_everybody, write_people

    gc.freeze()  # as every job does
    steps.end("imports")
    everybody = read_everybody(input, dict(zip(params["experiments"], input["predictions"])))
    nodes, folder = load_atlas(params["atlas"]["nodes"]), Path(output["index"]).parent
    steps.end("reading")
    write_people(everybody, nodes, params["spec"], folder, date.today().isoformat())
    steps.end("pages")


JOBS = {"report": report, "report_people": report_people}


def measured(rule: str) -> dict[str, float]:
    """CPU seconds of a rule by step, with those of its end; what to do is read from the standard input."""
    told, steps = json.load(sys.stdin), Steps()
    JOBS[rule](told["input"], told["output"], told["params"], steps)
    return steps.seconds


def run(rule: str, directory: Path, keep: Path) -> dict[str, float]:
    """Run a job in a process of its own; its CPU seconds by step and in all."""
    here = [sys.executable, str(Path(__file__).resolve())]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [*here, "--describe", rule], cwd=directory, env=environment, capture_output=True, text=True, check=True
    )
    job = json.loads(told.stdout.splitlines()[-1])
    for name, path in job["output"].items():
        paths = [str(keep / Path(one)) for one in ([path] if isinstance(path, str) else path)]
        job["output"][name] = paths[0] if isinstance(path, str) else paths
        for one in paths:
            Path(one).parent.mkdir(parents=True, exist_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*here, "--job", rule], cwd=directory, env=environment, input=json.dumps(job), capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))
    return json.loads(done.stdout.splitlines()[-1]) | {"in all": whole}


def main() -> None:
    """Run the jobs, print and save what they cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=ROOT)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--describe", help=argparse.SUPPRESS)
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.describe:
        return print(json.dumps(described(given.describe)))
    if given.job:
        return print(json.dumps(measured(given.job)))
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for rule in JOBS:
            seconds = run(rule, given.directory, (given.keep or Path(temporary)).resolve())
            print(f"{rule}: " + ", ".join(f"{name} {value:.2f}" for name, value in seconds.items()) + " CPU s")
            rows.append({"what": rule, **{name: round(value, 2) for name, value in seconds.items()}, "unit": "CPU s"})
    whole = sum(row["in all"] for row in rows)
    print(f"in all {whole:.1f} CPU s; goal {GOAL}")
    OUT.mkdir(exist_ok=True)
    (OUT / "report.json").write_text(json.dumps([*rows, {"what": "in all", "ours": whole, "goal": GOAL}], indent=1))


if __name__ == "__main__":
    main()
