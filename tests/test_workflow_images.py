"""Images from a server to the report: fetched, averaged, deleted; interrupted, resumed; people who fail alone."""

import copy
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import warm
from tiny import like_fmriprep, point_at, raw_like_ds006395, served
from try_kill import killed, works_in

from dysconnect.acquire.manifest import read_manifest
from dysconnect.data.atlas import load_atlas
from dysconnect.plan.batches import dealt

ROOT = Path(__file__).parents[1]
TINY = [
    "atlas.nodes=tiny.tsv", "denoise.min_seconds=200", "denoise.motion=basic", "splits.folds=2", "splits.repeats=1",
    "evaluate.bootstraps=100", "training.permutations=19", "localize.permutations=100", "localize.stability_draws=2",
    "localize.stability_top=5", "localize.screening_splits=2", "stimulate.permutations=19", "stimulate.draws=19",
    "acquire.backoff=0", "acquire.attempts=2",
]  # fmt: skip

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
REPORT = "results/ds000245_fmriprep/report/index.html"  # what is logged and predicted does not depend on images

pytestmark = pytest.mark.workflow


class Project:
    """A copy of the project whose manifest points at a server on loopback."""

    def __init__(self, folder: Path, dataset: str, manifest: pd.DataFrame):
        self.folder, self.dataset, self.python = folder, dataset, warm.python()
        warm.copy_project(folder)
        manifest.to_csv(folder / f"configs/manifest/{dataset}.tsv", sep="\t", index=False)
        nodes = load_atlas("seitzman300").assign(radius=10.0)
        wanted = nodes["system"].isin(["basal_ganglia", "thalamus", "cerebellum"]) | (nodes.index % 20 == 0)
        nodes[wanted].iloc[::3].to_csv(folder / "tiny.tsv", sep="\t", index=False)
        self.results = folder / "results" / dataset

    def snakemake(self, *arguments: str, **keywords):
        """Run Snakemake as a user would."""
        told = {"cwd": self.folder, "env": self.environment(), "timeout": 600}
        return subprocess.run(self.command(*arguments, **keywords), **told, capture_output=True, text=True)

    def command(self, *arguments: str, overrides: tuple[str, ...] = (), config=("experiment=correlation_ridge",)):
        """The command of `snakemake`."""
        command = [self.python, "-m", "snakemake", "--cores", "2", *arguments, "--config"]
        return [*command, f"dataset={self.dataset}", *config, f"overrides={' '.join([*TINY, *overrides])}"]

    def environment(self) -> dict[str, str]:
        """Variables of the user's shell."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        return environment

    def said(self, done) -> str:
        """Everything a failing test should show."""
        logs = "".join(path.read_text()[-800:] for path in self.folder.glob("results/logs/**/*.log"))
        return done.stdout[-3000:] + done.stderr[-3000:] + logs[-6000:]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twelve people as fMRIPrep left them, on a server; one has no image there."""
    root = tmp_path_factory.mktemp("images")
    real = read_manifest(ROOT / "configs/manifest/ds000245_fmriprep.tsv")
    people = [f"sub-{group}{k:02d}" for k in range(1, 7) for group in ("CTL", "ODN")]
    like_fmriprep(root / "server", real, people)
    own = real[(real["participant_id"] == "") | real["participant_id"].isin(people)]
    with served(root / "server") as (base, requests):
        manifest = point_at(own, root / "server", base)
        next((root / "server/sub-ODN03").rglob("*bold.nii.gz")).unlink()
        yield Project(root / "project", "ds000245_fmriprep", manifest), requests


@pytest.fixture(scope="module")
def finished(prepared):
    """The whole workflow, images deleted as it goes."""
    project, requests = prepared
    done = project.snakemake(REPORT, overrides=("acquire.keep=false",))
    assert done.returncode == 0, project.said(done)
    return project, requests, done


def test_from_the_server_to_the_report(finished):
    project, _, done = finished
    assert (project.results / "report/index.html").exists()
    table = pd.read_csv(project.results / "timeseries/participants.tsv", sep="\t").set_index("participant_id")
    assert table["included"].sum() == 11
    assert "could not be fetched" in table.loc["sub-ODN03", "exclusion_reason"]
    assert "11 of 12 people have data." in done.stderr
    assert "Cite: Yoneyama" in done.stderr
    assert "could not be fetched" in (project.results / "report/index.html").read_text()


def test_images_are_gone_and_tables_are_kept(finished):
    project, _, _ = finished
    data = project.folder / "results/data/ds000245_fmriprep"
    assert not list(data.rglob("*bold.nii.gz*")) and not list(data.rglob("*.part"))
    assert len(list(data.rglob("*confounds_timeseries.tsv"))) == 12
    assert len(list((project.results / "preprocess/series").glob("*.tsv"))) == 11


def test_few_images_lie_on_the_disk_at_one_time(finished):
    """With two cores: those at work, and those just fetched."""
    project, _, _ = finished
    log = sorted((project.folder / ".snakemake/log").glob("*.log"))[0].read_text()
    there, most = 0, 0
    for line in log.splitlines():
        there += line.startswith("Finished jobid") and "(Rule: download)" in line
        there -= line.startswith("Finished jobid") and "(Rule: discard)" in line
        most = max(most, there)
    assert 1 <= most <= 6


def test_nothing_is_fetched_twice_and_a_second_run_has_nothing_to_do(finished):
    project, requests, _ = finished
    images = [path for path in requests if path.endswith("bold.nii.gz") and "ODN03" not in path]
    assert len(images) == len(set(images)) == 11
    before = len(requests)
    done = project.snakemake(REPORT, overrides=("acquire.keep=false",))
    assert "Nothing to be done" in done.stdout + done.stderr
    assert len(requests) == before


def test_how_to_fetch_is_no_reason_to_fetch_again(finished):
    project, _, _ = finished
    own = ("acquire.keep=false", "acquire.connections=2", "acquire.mirror=file:///elsewhere", "acquire.timeout=5")
    done = project.snakemake("--dry-run", REPORT, overrides=own)
    assert "Nothing to be done" in done.stdout + done.stderr, project.said(done)


@pytest.mark.parametrize("how", ["moved", "another checkout"])
def test_a_project_in_another_place_fetches_and_preprocesses_nobody_again(finished, tmp_path, how):
    """Though the images are gone, and files of the copy have the times of copying."""
    project, requests, _ = finished
    place = warm.move(project.folder, tmp_path / "another place/copy")
    there, before = copy_of(project, place if how == "moved" else project.folder), len(requests)
    elsewhere = ("--snakefile", str(place / "Snakefile")) if how != "moved" else ()
    done = there.snakemake(REPORT, *elsewhere, overrides=("acquire.keep=false",))
    assert "Nothing to be done" in done.stdout + done.stderr, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(requests) == before
    for path in there.results.rglob("*"):
        if path.suffix in (".json", ".tsv") and path.is_file():
            assert str(project.folder) not in path.read_text(), path


def copy_of(project: Project, folder: Path) -> Project:
    """The same project elsewhere."""
    own = copy.copy(project)
    own.folder, own.results = folder, folder / "results" / project.dataset
    return own


def test_a_subset_of_what_is_there_fetches_nothing(finished):
    project, _, _ = finished
    done = project.snakemake("--dry-run", "--until", "download", overrides=("dataset.limit=6", "acquire.keep=false"))
    said = done.stdout + done.stderr
    assert "Fetching sub-" not in said


def test_the_retry_of_the_summary_fetches_the_one_that_failed(finished):
    project, _, _ = finished
    summary = (project.results / "acquire/summary.txt").read_text()
    retry = next(line for line in summary.splitlines() if "--forcerun" in line).split("command: ")[1]
    done = project.snakemake("--dry-run", REPORT, *retry.split(), overrides=("acquire.keep=false",))
    fetched = re.findall(r"Fetching (sub-\w+)", done.stdout + done.stderr)
    assert set(fetched) == {"sub-ODN03"}, project.said(done)


def test_a_disk_that_is_too_small_stops_before_the_first_job(prepared, tmp_path):
    project, _ = prepared
    manifest = project.folder / "configs/manifest/ds000245_fmriprep.tsv"
    before = manifest.read_text()
    table = pd.read_csv(manifest, sep="\t", keep_default_na=False)
    table["bytes"] = 10**14
    try:
        table.to_csv(manifest, sep="\t", index=False)
        done = project.snakemake("--directory", str(tmp_path), overrides=("atlas.nodes=seitzman300",))
    finally:
        manifest.write_text(before)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "GB" in said and "acquire.folder" in said, said[-700:]
    assert not list(tmp_path.glob("results/**/*.json"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """The tiny ds006395 on a server, with the real configuration; only the addresses differ."""
    root = tmp_path_factory.mktemp("raw")
    real = read_manifest(ROOT / "configs/manifest/ds006395.tsv")
    raw_like_ds006395(root / "server", real)
    with served(root / "server") as (base, requests):
        yield Project(root / "project", "ds006395", point_at(real, root / "server", base)), requests


def test_raw_images_are_acquired(raw):
    project, requests = raw
    done = project.snakemake("--until", "acquire", overrides=("dataset.limit=6",))
    assert done.returncode == 0, project.said(done)
    table = pd.read_csv(project.results / "acquire/participants.tsv", sep="\t", keep_default_na=False)
    assert len(table) == 91
    used = table[table["exclusion_reason"] == ""]
    assert used["group"].value_counts().to_dict() == {"ULD": 3, "HC": 3}
    assert "6 of 91 people have data." in done.stderr
    index = pd.read_csv(project.results / "acquire/series.tsv", sep="\t")
    assert all((project.results / "acquire" / path).exists() for path in [*index["bold"], *index["t1w"]])
    assert len(requests) == 6 * 4 + 2
    before = len(requests)
    done = project.snakemake("--until", "acquire", overrides=("dataset.limit=8",))
    assert done.returncode == 0, project.said(done)
    assert len(requests) == before + 2 * 4


def test_a_server_that_is_away_stops_the_workflow_and_loses_nothing(raw):
    project, requests = raw
    before = len(requests)
    manifest = project.folder / "configs/manifest/ds006395.tsv"
    text = manifest.read_text()
    try:
        manifest.write_text(re.sub(r"(http://127\.0\.0\.1):\d+", r"\1:9", text))  # nobody listens there
        done = project.snakemake("--until", "acquire", overrides=("dataset.limit=12", "acquire.attempts=1"))
    finally:
        manifest.write_text(text)
    assert done.returncode != 0
    assert "run the same command again" in project.said(done)
    done = project.snakemake("--until", "acquire", overrides=("dataset.limit=12",))
    assert done.returncode == 0, project.said(done)
    assert len(requests) == before + 4 * 4


# more people than jobs


def people_fetched(requests, since: int) -> set[str]:
    """Whose images were asked for, of requests from some number on."""
    return {
        match[1] for line in requests[since:] if (match := re.search(r"/(sub-[A-Za-z0-9]+)/\S*bold\.nii\.gz", line))
    }


def test_nobody_is_fetched_or_averaged_again_who_need_not_be(finished):
    """More people than jobs, somebody joins, a job is killed or forced, images stay from now on."""
    project, requests, _ = finished
    people = [f"sub-{name}" for name in ("CTL01", "CTL02", "CTL03", "CTL04", "ODN03", "CTL05")]
    results, failing = project.folder / "results/batched", {"sub-ODN03"}
    written = lambda: {path.name.split("_")[0]: path.stat().st_mtime_ns for path in results.glob("preprocess/series/*")}
    jobs = lambda: {path.stem for path in (results / "preprocess/participants").iterdir()}

    def run(some: list[str], *arguments: str, keep: bool = False) -> tuple[set[str], set[str]]:
        """Who was fetched, and whose series were written; one of whom there is no image is always asked for."""
        before, since = written(), len(requests)
        more = "dataset.name=batched", f"acquire.keep={str(keep).lower()}", "acquire.batches=3", "acquire.max_failed=1"
        more += (f"dataset.participants=[{','.join(some)}]",)
        done = project.snakemake("results/batched/preprocess/series.tsv", *arguments, overrides=more)
        assert done.returncode == 0, project.said(done)
        made = {name for name, when in written().items() if before.get(name) != when}
        return people_fetched(requests, since) - failing, made

    dealt_to = dealt(people[:-1], 3)
    assert 1 in map(len, dealt_to.values())  # also in a batch of one
    assert run(people[:3]) == (set(people[:3]), set(people[:3])) and jobs() == set(people[:3])
    assert run(people[:-1]) == ({people[3]}, {people[3]}) and jobs() == set(dealt_to)
    assert run(people) == ({people[5]}, {people[5]})
    index = pd.read_csv(project.results / "preprocess/series.tsv", sep="\t", dtype=str)
    ours = pd.read_csv(results / "preprocess/series.tsv", sep="\t", dtype=str)
    known = index.set_index("participant_id").loc[ours["participant_id"]].reset_index()
    pd.testing.assert_frame_equal(ours, known)
    batch, members = next((job, names) for job, names in dealt(people, 3).items() if len(names) > 1)
    table = results / f"preprocess/participants/{batch}.tsv"
    for path in (table, results / "preprocess/series.tsv", results / f"preprocess/kept/{members[0]}.json"):
        path.unlink()
    assert run(people) == ({members[0]} - failing, {members[0]} - failing)
    assert run(people, "--forcerun", str(table.relative_to(project.folder)))[1] == set(members) - failing
    assert run(people[1:], keep=True) == ({people[5]}, set())  # of whom the image was deleted, in a job that changed
    assert run(people, keep=True) == ({people[0]}, set())


def test_after_kills_the_same_command_goes_on_and_nothing_is_done_twice(finished):
    """SIGKILL to everything while images come, then to Snakemake alone, whose jobs live on and end."""
    project, requests, _ = finished
    own = copy.copy(project)
    own.python = sys.executable  # as users start it: the next run finds whose the lock was
    results = project.folder / "results/killed"
    target, kept = "results/killed/preprocess/series.tsv", results / "preprocess/kept"
    more = {"overrides": ("dataset.name=killed", "acquire.keep=false", "acquire.batches=2", "dataset.limit=8")}
    since = len(requests)
    assert killed(own, target, when=lambda: people_fetched(requests, since), **more)
    alone = subprocess.Popen(own.command(target, **more), cwd=own.folder, env=own.environment(), **QUIET)
    while not any(kept.glob("*.json")) and alone.poll() is None:
        time.sleep(0.01)
    alone.kill()
    assert alone.wait() == -signal.SIGKILL
    while any(works_in(process, own.folder) for process in Path("/proc").glob("[0-9]*")):
        time.sleep(0.05)
    before = {path.name: path.stat().st_mtime_ns for path in (results / "preprocess/series").iterdir()}
    done = own.snakemake(target, **more)
    assert done.returncode == 0 and "was killed" in done.stderr, own.said(done)
    after = {path.name: path.stat().st_mtime_ns for path in (results / "preprocess/series").iterdir()}
    assert before and before.items() <= after.items()
    fetched = [path for path in requests[since:] if path.endswith("bold.nii.gz") and "ODN03" not in path]
    assert len(fetched) - len(set(fetched)) <= 2  # what was under way
    ours = pd.read_csv(results / "preprocess/series.tsv", sep="\t", dtype=str)
    index = pd.read_csv(project.results / "preprocess/series.tsv", sep="\t", dtype=str).set_index("participant_id")
    pd.testing.assert_frame_equal(ours, index.loc[ours["participant_id"]].reset_index())
