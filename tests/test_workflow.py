"""The real workflow on a tiny cohort: complete, idempotent, and rerunning exactly what a change touches."""

import copy
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm
from recomputed import numbers
from try_kill import difference, killed, resume, running, runs

from dysconnect.data.atlas import load_atlas
from dysconnect.data.dictionary import columns, meanings

ROOT = Path(__file__).parents[1]
TINY = [
    "dataset.patients=14", "dataset.controls=14", "dataset.volumes=130", "denoise.min_seconds=200",
    "dataset.plant.edges=5", "splits.folds=2", "splits.repeats=1", "evaluate.bootstraps=100",
    "training.permutations=19", "training.epochs=2", "model.hidden=4", "localize.permutations=100",
    "localize.screening_splits=2", "localize.stability_draws=2", "localize.stability_top=5", "quality.permutations=100",
    "stimulate.permutations=19", "stimulate.draws=19",
]  # fmt: skip
DESCRIPTION = ["dataset_description.json", "README.md", ".bidsignore"]  # of a BIDS derivative
EXPERIMENTS = ["floor", "correlation_ridge", "tangent_logistic", "wide", "gcn"]
JOINED = {"attribute_edges", "attribute_recovery"}  # the localization with the weights of a model
AFTER_TRAINING = {
    "evaluate", "bundle", "attribute", *JOINED, "stimulate", "report_people", "report", "dictionary",
    "track", "track_cohort", "all",
}  # fmt: skip
AFTER_SERIES = {"connectivity", "quality", "deviations", "localize", "recovery", "train", *AFTER_TRAINING}
AFTER_EVALUATION = {"bundle", "report_people", "report", "dictionary", "track", "track_cohort", "all"}
AFTER_LOCALIZATION = {"report", "dictionary", "track_cohort", "all"}

pytestmark = pytest.mark.workflow


class Project:
    """A copy of the project with a tiny atlas, so that tests may change its files."""

    def __init__(self, folder: Path, timeout: int = 600, python: str | None = None):
        self.folder, self.timeout, self.python = folder, timeout, python or warm.python()
        self.tracking = {}
        warm.copy_project(folder)
        nodes = load_atlas("seitzman300")
        wanted = nodes["system"].isin(["basal_ganglia", "thalamus", "cerebellum"]) | (nodes.index % 12 == 0)
        nodes[wanted].iloc[::2].to_csv(folder / "tiny.tsv", sep="\t", index=False)

    def snakemake(self, *arguments: str, overrides: tuple[str, ...] = (), config: tuple[str, ...] = (), tiny=True):
        """Run Snakemake as a user would; later overrides win."""
        command = self.command(*arguments, overrides=overrides, config=config, tiny=tiny)
        told = {"cwd": self.folder, "env": self.environment(), "timeout": self.timeout}
        return subprocess.run(command, **told, capture_output=True, text=True)

    def command(self, *arguments: str, overrides: tuple[str, ...] = (), config: tuple[str, ...] = (), tiny=True):
        """The command of `snakemake`; the other scheduler, which is the default, chooses in the workflow of images."""
        text = " ".join([*(["atlas.nodes=tiny.tsv", *TINY] if tiny else []), *overrides])
        command = [self.python, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", *arguments]
        return [*command, "--config", *config, f"overrides={text}"]

    def environment(self) -> dict[str, str]:
        """That of the user, who has set no tracking server but what is in `tracking`."""
        own = {"PYTHONPATH": str(self.folder / "src"), "MLFLOW_DISABLE_TELEMETRY": "true", **self.tracking}
        return {name: text for name, text in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own

    def rules(self, *arguments: str, **keywords) -> set[str]:
        """Rules that a dry run would execute."""
        done = self.snakemake("--dry-run", *arguments, **keywords)
        assert done.returncode == 0, done.stdout + done.stderr
        stats = (done.stdout + done.stderr).split("Job stats:")[-1].split("\n\n")[0]
        return set(re.findall(r"^(\w+)\s+\d+$", stats, re.MULTILINE)) - {"total"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Run everything once."""
    project = Project(tmp_path_factory.mktemp("project"))
    done = project.snakemake()
    logs = "".join(path.read_text() for path in project.folder.glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-5000:]
    return project


def settings_tried(dataset: Path) -> list[str]:
    """Records of the settings with which a cohort was evaluated."""
    return [path.name for path in dataset.glob("evaluate/tried/*.json")]


def test_files(project):
    results = project.folder / "results"
    made = {str(path.relative_to(results / "simulated")) for path in (results / "simulated").rglob("*.*")}
    series = {name for name in made if "/series/" in name or "/func/" in name}
    trained = [f"{name}.tsv" for name in ("predictions", "history", "search", "start", "null")]
    trained += ["model.npz", "folds.npz", "run.json"]
    expected = {f"train/{name}/{file}" for name in EXPERIMENTS for file in trained}
    expected |= {f"attribute/maps/{name}.{kind}" for name in EXPERIMENTS[1:] for kind in ("tsv", "json")}
    expected |= {f"predict/{name}.npz" for name in EXPERIMENTS[1:]}
    expected |= {f"tracking/{name}.json" for name in [*EXPERIMENTS, "localize"]}
    expected |= {f"acquire/{name}.tsv" for name in ("participants", "series", "truth", "carriers", "choices")}
    expected |= {f"timeseries/{name}.tsv" for name in ("participants", "series")}
    expected |= {f"connectivity/seitzman300_{name}.h5" for name in ("correlation", "covariance")}
    expected |= {f"evaluate/{name}.tsv" for name in ("scores", "comparisons", "curves", "folds", "subgroups", "power")}
    expected |= {"evaluate/tried.json", *(f"evaluate/tried/{own}" for own in settings_tried(results / "simulated"))}
    expected |= {"localize/components.tsv", "localize/circuits.tsv", "localize/power.tsv", "localize/points.tsv"}
    expected |= {"localize/regional.tsv"}
    expected |= {f"localize/people{table}.tsv" for table in ("", "_circuits", "_edges")}
    expected |= {"localize/edges.tsv", "localize/summary.json", "localize/recovery.tsv"}
    expected |= {"attribute/edges.tsv", "attribute/edges.json", "attribute/recovery.tsv"}
    expected |= {"train/splits.tsv", "train/splits.json"}
    expected |= {"quality/qcfc.tsv", "quality/summary.json"}
    expected |= {"acquire/summary.txt", *(f"timeseries/{name}" for name in DESCRIPTION)}
    expected |= {f"stimulate/{name}" for name in ("targets.tsv", "patients.tsv", "edits.tsv", "verdict.json")}
    expected |= {f"report/{page}.html" for page in ("index", "standalone", "checklists")}
    expected |= {"report/verdict.txt", "dictionary.json"}
    tables = {name.removesuffix(".tsv") for name in expected if name.endswith(".tsv")}
    taken = {name for name in tables if f"{name}.json" in expected}  # a result has the name of the description
    expected |= {f"{name}_columns.json" for name in taken} | {f"{name}.json" for name in tables - taken}
    people = pd.read_csv(results / "simulated/acquire/participants.tsv", sep="\t")["participant_id"]
    expected |= {f"report/people/{name}.html" for name in [*people, "index"]}
    assert {name for name in made - series if not name.startswith("report/figures/")} == expected
    assert len(settings_tried(results / "simulated")) == 1
    figures = [
        {path.stem for path in results.glob(f"simulated/report/figures/*.{kind}")} for kind in ("svg", "png", "pdf")
    ]
    assert (
        figures[0] == figures[1] == figures[2] and {"cohort", "forest", "probability", "nulls", "matrix"} <= figures[0]
    )
    included = pd.read_csv(results / "simulated/timeseries/participants.tsv", sep="\t")["included"].sum()
    denoised = {name for name in series if name.startswith("timeseries/")}
    assert len(denoised) == 2 * included  # a table and its sidecar


def test_a_report_that_is_mailed_asks_for_no_pages_of_people(project):
    rules = project.rules("--forcerun", "report", overrides=("report.people=false",))
    assert "report" in rules and "report_people" not in rules


def test_every_column_of_every_table_is_described_once(project):
    folder = project.folder / "results/simulated"
    paths = sorted(folder.rglob("*.tsv"))
    heads = {path.relative_to(folder).as_posix(): path.read_text().splitlines()[0].split("\t") for path in paths}
    described = {(table, name): rows for table, head in heads.items() for name, rows in meanings(table, head).items()}
    assert {key: len(rows) for key, rows in described.items() if len(rows) != 1} == {}
    asked = (
        "validate/", "quality/scans", "quality/coverage", "preprocess/", "localize/severity", "localize/groups",
        "localize/joint", "localize/replication", "tractography/", "acquire/matrices", "timeseries/matrices",
        "acquire/scans", "combine/",
    )  # fmt: skip
    rows = {row for row in columns() if not row.tables.startswith(asked) and row.column != "*"}
    images = {"bold", "mask", "t1w", "n_volumes", "coverage", "quality", "picture", "tsnr", "silent_regions", "problem"}
    unwritten = rows - {row for some in described.values() for row in some}
    maps = {"p_attribution", "haufe", "weights", "gradient", "integrated_gradients", "explainer"}
    timed = {"events", "events_problem", "start_time", "mean_fd_task", "mean_fd_rest", "task_shift"}
    timed |= {"p_beside", "also_explained", "task_fit"}
    assert {row.column for row in unwritten} <= images | maps | timed  # maps are of a model that beats chance


def test_the_page_says_what_other_code_computes_from_the_files(project):
    results = project.folder / "results/simulated"
    page = re.sub(r"<(script|style|svg)[\s\S]*?</\1>|<[^>]+>", " ", (results / "report/index.html").read_text())
    page = re.sub(r"\s+", " ", html.unescape(page))
    said = numbers(results)
    assert len(said) >= 20
    missing = {what: words for what, words in said.items() if words not in page}
    assert not missing


def test_nobody_disappears(project):
    table = pd.read_csv(project.folder / "results/simulated/timeseries/participants.tsv", sep="\t")
    assert len(table) == 28
    excluded = table[~table["included"]]
    assert len(excluded) >= 5 and excluded["exclusion_reason"].notna().all()
    report = (project.folder / "results/simulated/report/index.html").read_text()
    assert all(name in report for name in excluded["participant_id"])


def test_out_of_fold_predictions_are_complete(project):
    results = project.folder / "results/simulated"
    splits = pd.read_csv(results / "train/splits.tsv", sep="\t")
    for name in EXPERIMENTS:
        predictions = pd.read_csv(results / f"train/{name}/predictions.tsv", sep="\t")
        assert sorted(predictions["participant_id"]) == sorted(splits["participant_id"])
        assert predictions["probability"].between(0, 1).all()


def test_second_run_has_nothing_to_do(project):
    done = project.snakemake()
    said = done.stdout + done.stderr
    assert "Nothing to be done" in said and "other code" not in said and "other settings" not in said


def test_results_of_other_code_or_settings_are_said_and_can_be_kept(project):
    path = project.folder / "src/dysconnect/localize/statistics.py"
    before = path.read_text()
    try:
        path.write_text(before + "\n# changed\n")
        again = project.snakemake("--dry-run", overrides=("splits.seed=1",)).stderr
        kept = project.snakemake("--dry-run", "--rerun-triggers", "mtime")
    finally:
        path.write_text(before)
    (told,) = re.findall(r"results/simulated: \d+ of \d+ results were made by other code, .*", again)
    assert "localize" in told and "--touch" in told and "timeseries" not in told
    assert "splits.seed=0, not 1 (stage splits)" in again
    assert "Nothing to be done" in kept.stdout + kept.stderr


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dataset.motion_artefact=1", {"acquire", "timeseries", "splits", *AFTER_SERIES}),
        ("denoise.low_pass=0.09", {"timeseries", "splits", *AFTER_SERIES}),
        ("connectivity.estimator=ledoit_wolf", AFTER_SERIES),
        ("quality.distance_bins=5", {"quality", *AFTER_LOCALIZATION}),
        ("quality.group_alpha=0.01", AFTER_LOCALIZATION),
        ("splits.seed=1", {"splits", "train", *AFTER_TRAINING}),
        ("training.permutations=29", {"train", *AFTER_TRAINING}),
        ("graph.density=0.2", {"train", "evaluate", "attribute", *AFTER_EVALUATION}),
        ("model.dropout=0.1", {"train", "evaluate", "attribute", *AFTER_EVALUATION}),
        ("training.lr=0.01", {"train", "evaluate", "attribute", *AFTER_EVALUATION}),
        ("evaluate.seed=1", {"evaluate", *AFTER_EVALUATION}),
        (
            "localize.alpha=0.1",
            {"localize", "attribute", *JOINED, "deviations", "stimulate", "recovery", *AFTER_EVALUATION},
        ),
        ("localize.permutations=200", {"localize", "attribute", *JOINED, "recovery", *AFTER_LOCALIZATION}),
        ("localize.screened=5", {"attribute", *AFTER_LOCALIZATION}),
        ("localize.deviant_edges=5", {"deviations", *AFTER_EVALUATION}),
        ("localize.score=severity", {"severity", *AFTER_LOCALIZATION}),
        ("localize.groups=true", {"group_differences", *AFTER_LOCALIZATION}),
        ("localize.replicate=site", {"replicate", *AFTER_LOCALIZATION}),
        ("localize.permutation=freedman_lane", {"localize", "recovery", *JOINED, *AFTER_LOCALIZATION}),
        ("stimulate.permutations=29", {"stimulate", "report_people", *AFTER_LOCALIZATION}),
        ("report.edges=3", AFTER_LOCALIZATION),
        ("tracking.experiment=other", {"tracking", "track", "track_cohort", "all"}),
        ("tracking.live=true", set()),
    ],
)
def test_a_changed_key_reruns_what_reads_it(project, override, expected):
    assert project.rules(overrides=(override,)) == expected


def test_further_questions_are_tested_when_asked_for(project):
    asked = (
        "localize.score=severity", "localize.groups=[HC,DYT]", "localize.joint=[correlation,partial]",
        "localize.replicate=site",
    )  # fmt: skip
    folder = project.folder / "results/simulated/localize"
    wanted = [f"results/simulated/localize/{name}.tsv" for name in ("severity", "groups", "joint", "replication")]
    try:
        done = project.snakemake(*wanted, overrides=asked)
        assert done.returncode == 0, done.stdout + done.stderr
        found, groups, joint, replicated = (pd.read_csv(project.folder / path, sep="\t") for path in wanted)
        told, parts = (json.loads((folder / f"{name}.json").read_text()) for name in ("severity", "replication"))
    finally:
        for name in ("severity.*", "groups.*", "joint*", "replication.*"):
            for path in folder.glob(name):
                path.unlink()
    truth = pd.read_csv(project.folder / "results/simulated/acquire/truth.tsv", sep="\t")
    pairs = {frozenset(pair) for pair in zip(truth["region_a"], truth["region_b"])}
    planted = [frozenset(pair) in pairs for pair in zip(found["region_a"], found["region_b"])]
    assert sum(planted) == 5
    assert found.loc[planted, "statistic"].mean() < found["statistic"].mean() - 0.5  # weaker where severity is higher
    summary = json.loads((folder / "summary.json").read_text())
    assert told["n"] == summary["n_cases"] and told["n_without"] == 0
    assert set(replicated["replicated_in"]) == {part["name"] for part in parts["parts"]}
    edges = pd.read_csv(folder / "edges.tsv", sep="\t")
    both = edges.merge(joint, on=["region_a", "region_b"])
    np.testing.assert_allclose(both["t_correlation"], both["statistic_x"], rtol=1e-3, atol=1e-4)
    assert (both["n_maps"] == 2).all() and both["t_partial"].notna().all()
    pair = edges.merge(groups, on=["region_a", "region_b"])
    np.testing.assert_allclose(
        pair["statistic_y"], pair["statistic_x"] ** 2, rtol=1e-3, atol=1e-4
    )  # F of two is t squared


def test_a_gnn_key_leaves_the_linear_models_alone(project):
    done = project.snakemake("--dry-run", overrides=("training.lr=0.01",))
    assert set(re.findall(r"Training (\w+) on simulated", done.stdout + done.stderr)) == {"gcn"}


@pytest.mark.parametrize(
    ("module", "first"),
    [
        ("planted/simulated.py", {"acquire"}),
        ("models/dual.py", {"train"}),
        ("localize/statistics.py", {"localize"}),
        ("stimulate/folds.py", {"stimulate", "report"}),
        ("predict/norm.py", {"bundle"}),
        ("tracking/runs.py", {"tracking"}),
        ("report/prediction/scores.py", {"report_people", "report"}),
    ],
)
def test_a_changed_module_reruns_its_stage(project, module, first):
    path = project.folder / "src/dysconnect" / module
    before = path.read_text()
    try:
        path.write_text(before + "\n# changed\n")
        rules = project.rules()
    finally:
        path.write_text(before)
    assert first <= rules
    upstream = {"acquire", "timeseries", "connectivity", "splits", "train", "evaluate"}
    order = ["acquire", "timeseries", "connectivity", "train", "evaluate", "localize", "report"]
    stage = min((order.index(name) for name in first if name in order), default=len(order))
    assert not rules & (upstream & set(order[:stage]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"overrides": ("traning.lr=0.1",)}, "unknown key traning.lr (did you mean training.lr?)"),
        ({"overrides": ("model.hiden=3",)}, "unknown key model.hiden (did you mean model.hidden?)"),
        ({"overrides": ("denoise.motion=fulll",)}, "denoise.motion"),
        ({"config": ("datset=abide",)}, "--config datset: unknown key (did you mean dataset?)"),
        ({"config": ("dataset=adibe",)}, "adibe"),
        ({"config": ("experiment=gnc",)}, "gnc"),
        ({"config": ("dataset=local",), "tiny": False}, "dataset.root is not set"),
        ({"config": ("experiment=gcn_pretrained",)}, "`snakemake --config dataset=abide --until connectivity`"),
    ],
)
def test_a_typo_stops_before_any_job_and_names_the_key(project, arguments, message):
    done = project.snakemake(**arguments)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert message in said
    assert "Job stats" not in said
    assert "Traceback" not in said


def test_a_typo_in_a_file_is_named(project):
    path = project.folder / "configs/model/gcn.yaml"
    before = path.read_text()
    try:
        path.write_text(before.replace("dropout:", "dropuot:"))
        done = project.snakemake()
    finally:
        path.write_text(before)
    assert done.returncode != 0
    assert "model.dropuot" in done.stdout + done.stderr


def test_only_scoring_reads_the_truth(project):
    done = project.snakemake("--detailed-summary")
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.count("\t") >= 6]
    summary = pd.DataFrame(lines[1:], columns=lines[0])
    assert len(summary) > 20
    for secret, readers in (("acquire/truth.tsv", {"recovery", "attribute_recovery"}), ("acquire/carriers.tsv", set())):
        assert set(summary.loc[summary["input-file(s)"].str.contains(secret), "rule"]) == readers


def test_runs_arrive_in_mlflow_under_the_right_experiment(project):
    import mlflow

    database = project.folder / "results/mlflow.db"
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("dysconnect")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = {run.info.run_name for run in runs if "mlflow.parentRunId" not in run.data.tags}
    assert parents == {f"simulated · {name}" for name in [*EXPERIMENTS, "localize"]}
    assert len(runs) == 1 + 3 * len(EXPERIMENTS)  # two folds under each experiment
    default = client.search_runs(["0"])
    assert not default
    gcn = next(run for run in runs if run.info.run_name == "simulated · gcn")
    scores = pd.read_csv(project.folder / "results/simulated/evaluate/scores.tsv", sep="\t")
    auc = scores[(scores["experiment"] == "gcn") & (scores["metric"] == "auc")].iloc[0]
    assert gcn.data.metrics["auc"] == pytest.approx(auc["value"])
    assert gcn.data.metrics["auc_low"] == pytest.approx(auc["low"])
    assert gcn.data.params["model.hidden"] == "4"
    assert len(gcn.data.tags["data_hash"]) == 64
    fold = next(run for run in runs if run.data.tags.get("mlflow.parentRunId") == gcn.info.run_id)
    assert len(client.get_metric_history(fold.info.run_id, "train_loss")) == 2


LOGGED = ["tangent_logistic", "gcn"]


def _matrices(project, name: str) -> np.ndarray:
    """What a model is told of the people of the cohort."""
    from dysconnect.data.connectomes import read_connectomes
    from dysconnect.data.edges import Pairs

    tangent = name == "tangent_logistic"
    measure = "covariance" if tangent else "correlation"
    connectomes = read_connectomes(project.folder / f"results/simulated/connectivity/seitzman300_{measure}.h5")
    matrices = Pairs(len(connectomes.nodes), diagonal=tangent).matrix(connectomes.values.astype(float))
    return matrices if tangent else np.tanh(matrices) + np.eye(len(connectomes.nodes))


@pytest.fixture(scope="module")
def logged(project):
    """What the logged models say in one fresh process, which is told nothing but where they are."""
    results, uris = project.folder / "results", {}
    for name in LOGGED:
        uris[name] = json.loads((results / f"simulated/tracking/{name}.json").read_text())["model_uri"]
        np.save(project.folder / f"{name}.npy", _matrices(project, name))
    code = (
        "import mlflow, numpy as np, sys\n"
        f"mlflow.set_tracking_uri('sqlite:///{results}/mlflow.db')\n"
        f"for name, uri in {uris}.items():\n"
        "    model = mlflow.pyfunc.load_model(uri)\n"
        "    p = model.predict(np.load(f'{name}.npy'))\n"
        "    np.save(f'{name}_probabilities.npy', p)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: np.load(project.folder / f"{name}_probabilities.npy") for name in LOGGED}


@pytest.mark.parametrize("name", LOGGED)
def test_the_logged_model_predicts_in_a_fresh_process(project, logged, name):
    from dysconnect.learning.saved import SavedModel

    matrices, probabilities = _matrices(project, name), logged[name]
    here = SavedModel(project.folder / f"results/simulated/train/{name}/model.npz").predict(matrices)
    np.testing.assert_allclose(probabilities, here, atol=1e-6)
    assert probabilities.shape == (len(matrices),) and probabilities.std() > 0


@pytest.mark.parametrize("name", ["gcn"])  # the others: test_predict
def test_a_person_is_predicted_from_the_file_and_from_the_run_as_out_of_fold(project, name):
    """`dysconnect predict` in a fresh process says of a subject what the fold that left it out said."""
    results = project.folder / "results/simulated"
    predictions = pd.read_csv(results / f"train/{name}/predictions.tsv", sep="\t")
    person = predictions["participant_id"].iloc[0]
    series = next((results / f"timeseries/{person}/func").glob("*.tsv"))
    run = json.loads((results / f"tracking/{name}.json").read_text())["run_id"]
    said = []
    for model in (str(results / f"predict/{name}.npz"), run):
        command = [project.python, "-m", "dysconnect", "predict", "--model", model, "--series", str(series)]
        done = subprocess.run([*command, "--anyway"], cwd=project.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout))
    assert said[0] == said[1]
    expected = predictions[predictions["participant_id"] == person]
    np.testing.assert_allclose([own["raw"] for own in said[0]["models"]], expected["probability"], atol=1e-6)


def test_a_network_is_pretrained_on_another_cohort(project):
    """The other cohort numbers its people alike, so that those of the same name are left out."""
    null = {"config": ("dataset=simulated_null",), "overrides": ("dataset.controls=40",)}
    made = project.snakemake("--until", "connectivity", **null)
    assert made.returncode == 0, made.stdout + made.stderr
    run = "results/simulated/train/gcn_pretrained/run.json"
    other = "training.pretrain.connectomes=results/simulated_null/connectivity/seitzman300_correlation.h5"
    overrides = (other, "training.pretrain.epochs=2")
    done = project.snakemake(run, config=("experiment=gcn_pretrained",), overrides=overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((project.folder / run).read_text())
    assert [row["epoch"] for row in written["pretraining"]] == [0, 1]
    assert "pretrain" in written["sections"]["training"]
    log = (project.folder / "results/logs/simulated/train_gcn_pretrained.log").read_text()
    kept, left_out = map(int, re.search(r"(\d+) people to pretrain on; (\d+) left out", log).groups())
    assert kept >= 4 and left_out >= 4
    assert json.loads((project.folder / "results/simulated/train/gcn/run.json").read_text())["pretraining"] == []
    name_alike(project.folder / "results/simulated", project.folder / "results/simulated_null")
    edges, other = "results/simulated/attribute/maps/structural_gcn.tsv", other.replace("training.pretrain", "graph")
    done = project.snakemake(edges, config=("experiment=structural_gcn",), overrides=(other,))
    assert done.returncode == 0, done.stdout + done.stderr
    log = (project.folder / "results/logs/simulated/attribute_structural_gcn.log").read_text()
    assert "people have the correlation of their graph" in log
    with np.load(project.folder / "results/simulated/train/structural_gcn/model.npz") as model:
        assert model["graph_mean"].max() > 0


def name_alike(results: Path, others: Path) -> None:
    """Make those of another cohort the people of this one: graphs of other people under the same ids are refused."""
    table = "timeseries/participants.tsv"
    people, other = (
        pd.read_csv(folder / table, sep="\t", dtype=str, keep_default_na=False).set_index("participant_id")
        for folder in (results, others)
    )
    other.update(people[["sex", "age"]])
    other.to_csv(others / table, sep="\t")


# moved, elsewhere, killed

FLOOR = "tracking/floor.json"


@pytest.fixture(scope="module")
def moved(project, tmp_path_factory):
    """A copy in another place, made without the times of the files, the checkout with it."""
    own = copy.copy(project)
    own.folder, own.tracking = tmp_path_factory.mktemp("another place") / "copy", {}
    warm.move(project.folder, own.folder)
    return own


def test_a_moved_project_has_nothing_to_do_and_mlflow_opens_its_own_files(project, moved):
    import mlflow

    done = moved.snakemake()
    assert "Nothing to be done" in done.stdout + done.stderr, done.stdout + done.stderr
    run = json.loads((moved.folder / "results/simulated/tracking/gcn.json").read_text())["run_id"]
    client = mlflow.MlflowClient(f"sqlite:///{moved.folder}/results/mlflow.db")
    assert client.get_run(run).info.artifact_uri.startswith(f"{(moved.folder / 'results').as_uri()}/mlflow-artifacts/")
    logged = Path(client.download_artifacts(run, "predictions.tsv"))
    assert logged.read_bytes() == (moved.folder / "results/simulated/train/gcn/predictions.tsv").read_bytes()
    for path in (moved.folder / "results").rglob("*.*"):
        if path.suffix in (".json", ".tsv") and "logs" not in path.parts and "mlflow-artifacts" not in path.parts:
            assert str(project.folder) not in path.read_text(), path


def test_settings_that_were_tried_are_counted_once_each(project, tmp_path):
    """Fewer models, the same again, and all as at first: two sets of settings, one of which is of this run."""
    own, target = copy.copy(project), "results/simulated/evaluate/tried.json"
    own.folder, own.tracking = tmp_path / "copy", {}
    warm.move(project.folder, own.folder)
    fewer, differs = {"config": ("experiment=floor,correlation_ridge,gcn",)}, []
    for arguments, keywords in (((), fewer), (("--forcerun", "evaluate"), fewer), ((), {})):
        done = own.snakemake(target, *arguments, **keywords)
        assert done.returncode == 0, done.stdout + done.stderr
        known = json.loads((own.folder / target).read_text())
        assert len(known["tried"]) == len(settings_tried(own.folder / "results/simulated")) == 2
        differs.append({one["differs"][0][0] for one in known["tried"] if one["id"] != known["this"]})
    assert differs == [{"experiments.tangent_logistic"}] * 3
    assert own.rules(target) == set()


def test_another_checkout_of_the_same_code_has_nothing_to_do(project, moved):
    done = project.snakemake("--snakefile", str(moved.folder / "Snakefile"), "--directory", str(project.folder))
    assert "Nothing to be done" in done.stdout + done.stderr, done.stdout + done.stderr


def test_another_tracking_server_is_another_view_and_trains_nothing(moved):
    logging = {"tracking", "track", "track_cohort", "all"}
    moved.tracking = {"MLFLOW_TRACKING_URI": "http://me:secret@127.0.0.1:9"}
    try:
        assert moved.rules() == logging
    finally:
        moved.tracking = {}
    assert moved.rules() == set()


def test_after_a_kill_the_workflow_goes_on_where_it_was(project, moved):
    """Three moments: networks begin, some of them are kept, a run is being logged."""
    results, targets = moved.folder / "results", [f"results/simulated/{own}" for own in ("train/gcn/run.json", FLOOR)]
    shutil.rmtree(results / "simulated/train/gcn")
    (results / "simulated" / FLOOR).unlink()
    with closing(sqlite3.connect(results / "mlflow.db")) as connection, connection:
        own = "(SELECT run_uuid FROM runs WHERE name = 'simulated · floor')"
        below = f"(SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId' AND value IN {own})"
        connection.execute(
            f"UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid IN {own} OR run_uuid IN {below}"
        )
    log, kept = results / "logs/simulated/train_gcn.log", results / "simulated/train/gcn"
    log.unlink()
    assert killed(moved, *targets, when=log.exists)
    locked = moved.snakemake(*targets)
    assert locked.returncode and "--unlock" in locked.stdout + locked.stderr
    for moment in (lambda: any(kept.rglob("*.*")), lambda: running(results / "mlflow.db")):
        assert moved.snakemake("--unlock", *targets).returncode == 0
        assert killed(moved, *targets, when=moment)
    done = resume(moved, *targets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not difference(project.folder / "results/simulated/train", results / "simulated/train")
    assert not difference(project.folder / "results/simulated/evaluate", results / "simulated/evaluate")
    assert runs(results / "mlflow.db") == runs(project.folder / "results/mlflow.db")


VALIDATION = (
    "validate.cohorts.null=2", "validate.cohorts.planted=2", "validate.batch.null=2", "validate.patients=8",
    "validate.controls=8", "validate.patterns=[circuit]", "validate.carriers=[1]", "validate.effects=[2]",
    "validate.edges=4", "validate.regions=20", "validate.permutations=19", "validate.circuits=[cerebello_striatal]",
)  # fmt: skip
CHOSEN = (f"experiment={','.join(EXPERIMENTS)},validate_localization",)


@pytest.fixture(scope="module")
def validated(project):
    """Validate the localization beside what is there."""
    done = project.snakemake(overrides=VALIDATION, config=CHOSEN)
    logs = "".join(path.read_text() for path in project.folder.glob("results/logs/simulated/validate*/*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + logs[-3000:]
    ran = set(re.findall(r"Training (\w+) on simulated", done.stdout + done.stderr))
    assert not ran  # the validation is no model, and leaves the others alone
    return project


def test_the_validation_comes_into_the_report(validated):
    results = validated.folder / "results/simulated"
    batches = {path.name for path in (results / "validate/batches").iterdir()}
    assert batches == {"null_0.tsv", "planted_0.tsv"}
    cohorts = pd.read_csv(results / "validate/cohorts.tsv", sep="\t")
    assert cohorts.groupby(["scenario", "method"]).size().eq(2).all()
    scores = pd.read_csv(results / "validate/scores.tsv", sep="\t")
    columns = ["scenario", "pattern", "carriers", "d", "method", "measure", "value", "low", "high", "cohorts"]
    assert list(scores.columns) == columns
    assert {"tpr", "fdp", "fwer", "auprc", "auprc_ratio"} <= set(scores["measure"])
    report = (results / "report/index.html").read_text()
    assert "Does the localization keep its promises?" in report
    assert (results / "report/figures/validation_fwer.svg").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("validate.seed=1", {"validate", "validate_scores", *AFTER_LOCALIZATION}),
        ("validate.cohorts.null=4", {"validate", "validate_scores", *AFTER_LOCALIZATION}),
    ],
)
def test_a_changed_key_of_the_validation_reruns_it_alone(validated, override, expected):
    assert validated.rules(overrides=(*VALIDATION, override), config=CHOSEN) == expected


def test_more_cohorts_leave_the_old_batches_as_they_are(validated):
    done = validated.snakemake("--dry-run", overrides=(*VALIDATION, "validate.cohorts.null=4"), config=CHOSEN)
    assert re.findall(r"(\w+) cohorts, batch (\d+)", done.stdout + done.stderr) == [("null", "1")]
