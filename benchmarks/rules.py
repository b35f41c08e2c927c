"""Time and memory of every rule against the number of people, the size of every page, and how long a plan takes.

python benchmarks/rules.py [--people 500 1000 2000 5000] [--plans 500 1000 2000 5000 10000] [--folder DIR] [--left]
The real workflow runs on simulated cohorts (series of 200 regions; the floor, ridge regression in the tangent space,
logistic regression on correlations, a small graph network; few permutations), on one core. What Snakemake measured of
every rule is collected, and its growth from the last size but one to the last is given as an exponent: 1 is as the
cohort, and more than 1.1 is marked. Run it alone on the machine: growth is of seconds by the clock, since of seconds of
the processor Snakemake counts those up to its last look, of which a busy machine leaves few. A plan (`snakemake -n`) is
of raw images that are to be fetched, with acquire.keep=false: three jobs a person, or a batch. Killed, it goes on where
it stopped; --left says what is left. Writes benchmarks/rules.tsv.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
OUT = Path(__file__).with_suffix(".tsv")
NODES, STEEP, SHORT, PAGE = 200, 1.1, 10, 5e6  # regions; exponent that is marked; seconds that say nothing; bytes
FEW = [
    "dataset.volumes=130", "experiments=[floor,tangent_ridge,correlation_logistic,gcn]",
    "localize.attribution=correlation_logistic", "localize.permutations=200", "training.permutations=20",
    "training.memory=1", "training.epochs=2", "training.inner_folds=2", "splits.repeats=1", "splits.folds=2",
    "localize.stability_draws=5", "localize.screening_splits=2", "stimulate.permutations=20", "stimulate.draws=20",
    "quality.permutations=100", "evaluate.bootstraps=200",
]  # fmt: skip
ALONE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def run(people: int, folder: Path, dry: bool = False) -> str:
    """Run the workflow in a folder, or ask it what is left; its words."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [f"dataset.patients={people // 2}", f"dataset.controls={people - people // 2}", *FEW]
    settings.append(f"atlas.nodes={nodes(folder)}")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(folder), *["--dry-run"] * dry]
    command += ["--config", "dataset=simulated", f"overrides={' '.join(settings)}"]
    environment = {**os.environ, **ALONE, "PYTHONPATH": str(ROOT / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{folder}: {done.stderr[-3000:]}")
    return done.stdout + done.stderr


def nodes(folder: Path) -> Path:
    """Two hundred regions: all of Seitzman 300 below the cortex, and the first of it."""
    from dysconnect.data.atlas import load_atlas

    table, path = load_atlas("seitzman300"), folder / "two_hundred.tsv"
    cortex = table["system"] == "cortex"
    kept = table[~cortex | (cortex.cumsum() <= NODES - (~cortex).sum())]
    kept.assign(node=range(1, NODES + 1)).to_csv(path, sep="\t", index=False)
    return path


def measured(people: int, folder: Path) -> list[dict]:
    """What every rule took, and the largest page."""
    rows = []
    for path in sorted((folder / "results/benchmarks/simulated").rglob("*.tsv")):
        last = pd.read_csv(path, sep="\t", na_values="-").iloc[-1]
        rows.append(
            {"what": path.stem, "people": people, "s": last["s"], "cpu_s": last["cpu_time"], "mb": last["max_rss"]}
        )
    for name in ("index", "standalone", "people/index", "people/sub-*"):
        pages = (folder / "results/simulated/report").glob(f"{name}.html")
        rows.append({"what": f"page {name}", "people": people, "mb": max(page.stat().st_size for page in pages) / 1e6})
    return rows


def plan(people: int) -> dict:
    """Seconds of the processor and memory of a plan for people whose images are to be fetched."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("src", "workflow", "configs", "profiles"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "Snakefile", folder)
        (folder / "configs/manifest/ds006395.tsv").write_text(manifest(people))
        dataset = folder / "configs/dataset/ds006395.yaml"
        dataset.write_text(re.sub(r"exclude:.*\n(    sub-.*\n)+", "exclude: {}\n", dataset.read_text()))
        command = [sys.executable, "-m", "snakemake", "-n", "--quiet", "all", "--config", "dataset=ds006395"]
        command += ["overrides=acquire.keep=false"]
        environment = {**os.environ, **ALONE, "PYTHONPATH": str(folder / "src")}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the plan for {people} people failed")
    return {"what": "plan", "people": people, "cpu_s": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss / 1e3}


def manifest(people: int) -> str:
    """List of the files of many people, four each."""
    empty = "sha256:" + "0" * 64
    lines = ["participant_id\tgroup\tpath\tbytes\thash\tversion_id\turls"]
    shared = [("", "", name) for name in ("dataset_description.json", "participants.tsv")]
    ids = [f"sub-{k:05d}" for k in range(people)]
    kinds = (
        "anat/{0}_T1w.json",
        "anat/{0}_T1w.nii.gz",
        "func/{0}_task-rest_bold.json",
        "func/{0}_task-rest_bold.nii.gz",
    )
    own = [(name, ("HC", "ULD")[k % 2], f"{name}/{kind.format(name)}") for k, name in enumerate(ids) for kind in kinds]
    lines += [
        f"{who}\t{group}\t{path}\t1000\t{empty}\t\thttps://example.org/{path}" for who, group, path in shared + own
    ]
    return "\n".join(lines) + "\n"


def with_growth(table: pd.DataFrame) -> pd.DataFrame:
    """A row a rule: what it took at every size, and the exponents from the last size but one to the last."""
    wide = table.pivot_table(index="what", columns="people", values=["s", "cpu_s", "mb"])
    sizes = sorted(table.loc[~table["what"].isin(["plan"]), "people"].unique())[-2:]
    if len(sizes) == 2:
        for kind in ("s", "mb"):
            growth = np.log(wide[kind][sizes[1]] / wide[kind][sizes[0]]) / np.log(sizes[1] / sizes[0])
            wide["exponent", kind] = growth.round(2)
        steep = (wide["exponent", "s"] > STEEP) & (wide["s"][sizes[1]] > SHORT)
        wide["steep", ""] = np.where(steep | (wide["exponent", "mb"] > STEEP), "faster than the cohort", "")
    return wide.round(2)


def main() -> None:
    """Run what is left, collect, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="*", default=[500, 1000, 2000, 5000])
    parser.add_argument("--plans", type=int, nargs="*", default=[500, 1000, 2000, 5000, 10000])
    parser.add_argument("--folder", type=Path, default=Path("results/scratch/rules"))
    parser.add_argument("--left", action="store_true", help="say what is left, and run nothing")
    given = parser.parse_args()
    known = pd.read_csv(OUT, sep="\t") if OUT.exists() else pd.DataFrame(columns=["what", "people", "s", "cpu_s", "mb"])
    has = lambda what, people: ((known["what"] == what) & (known["people"] == people)).any()
    todo = [("plan", n) for n in given.plans if not has("plan", n)]
    todo += [("page index", n) for n in given.people if not has("page index", n)]
    for what, people in todo:
        folder = (given.folder / str(people)).absolute()
        if given.left:
            print(what.split()[0], people, "" if what == "plan" else run(people, folder, dry=True)[-1500:])
            continue
        if what != "plan":
            run(people, folder)
        rows = [plan(people)] if what == "plan" else measured(people, folder)
        known = pd.concat([known, pd.DataFrame(rows)], ignore_index=True)
        known.round(3).to_csv(OUT, sep="\t", index=False)
    print(with_growth(known).to_string(na_rep=""))
    large = known[known["what"].str.startswith("page") & (known["mb"] > PAGE / 1e6)]
    print("pages above 5 MB:", large.to_string() if len(large) else "none")


if __name__ == "__main__":
    main()
