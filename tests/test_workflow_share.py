"""Three clinics, one of them by the commands of the README: each writes its sums, and joined they are one cohort."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clinics import ASKED
from test_workflow import ROOT, Project

from dysconnect.acquire import acquire, write_acquired
from dysconnect.commands import console
from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.atlas import load_atlas
from dysconnect.data.connectomes import write_connectomes
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.participants import read_participants, write_participants
from dysconnect.data.series import read_index
from dysconnect.keeping.whole import save_arrays
from dysconnect.localize.statistics import edge_statistics
from dysconnect.plan.run import plan_run
from dysconnect.share.make import make_masked, make_package, make_sums
from dysconnect.share.package import write_package
from dysconnect.share.session import described_key, kept_key
from dysconnect.share.unpacked import read_package
from dysconnect.timeseries import prepare_cohort

CLINICS = {"kiel": 1, "luebeck": 2, "rostock": 3}
CHOSEN = {"share": "statistics", "atlas": "motor10", "experiment": "floor"}
CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}

pytestmark = pytest.mark.workflow


def settings(name: str) -> list[str]:
    """Settings of a clinic; the first adds its people up in three batches."""
    told = [f"dataset.seed={CLINICS[name]}", f"share.site={name}", f"share.contact=science@{name}.example"]
    told += ["dataset.patients=34", "dataset.controls=34", "dataset.plant.edges=4", "dataset.volumes=120"]
    return [*told, *["share.batches=3"] * (name == "kiel")]


def asked(
    project: Project, name: str, *overrides: str, dry: bool = False, kinds: tuple[str, ...] = ("zip", "html")
) -> subprocess.CompletedProcess:
    """Ask Snakemake for what a clinic gives, in the clinic's own folder."""
    target = [f"results/simulated/share/{name}.{kind}" for kind in kinds]
    config = [f"{key}={value}" for key, value in CHOSEN.items()]
    words = [*target, "--directory", str(project.folder / name), *["--dry-run"] * dry]
    return project.snakemake(*words, config=config, overrides=(*settings(name), *overrides), tiny=False)


def made_by_library(folder: Path, name: str) -> None:
    """What the rules up to `share` do, without Snakemake."""
    run, place = plan_run(ROOT, CHOSEN | {"overrides": " ".join(settings(name))}), folder / "results/simulated"
    for stage in ("acquire/series", "timeseries", "connectivity", "share"):
        (place / stage).mkdir(parents=True)
    nodes, dataset = load_atlas(run.cohort["atlas"]["nodes"]), run.cohort["dataset"]
    tables = {table: str(place / f"acquire/{table}.tsv") for table in ("participants", "index", "truth", "carriers")}
    write_acquired(acquire(dataset, nodes, place / "acquire/series"), tables)
    known = read_participants(tables["participants"]), read_index(tables["index"]), nodes, run.cohort["denoise"]
    people, kept = prepare_cohort(*known, place / "timeseries", {"atlas": "motor10", "denoise": "standard"})
    files = {"connectomes": place / "connectivity/motor10_correlation.h5"}
    files["participants"] = place / "timeseries/participants.tsv"
    write_participants(people, files["participants"])
    kept.to_csv(place / "timeseries/series.tsv", sep="\t", index=False)
    connectomes = cohort_connectomes(read_index(place / "timeseries/series.tsv"), nodes, "correlation", "empirical", 1)
    write_connectomes(connectomes, files["connectomes"], {})
    spec = {"share": run.sharing, "localize": run.cohort["localize"], "atlas": run.cohort["atlas"], "site": run.site}
    spec |= {"dataset": dataset["name"], "processing": run.processing, "licence": dataset["licence"]}
    spec["contrast"] = CONTRAST
    save_arrays(folder / "sums.npz", make_sums(files, spec, 0))
    package, _ = make_package(files, [folder / "sums.npz"], spec, folder / "released.json")
    write_package(place / f"share/{name}.zip", package)


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """A project with the folders of three clinics; in the first the commands of the README are given."""
    project = Project(tmp_path_factory.mktemp("clinics"))
    for name in CLINICS:
        (project.folder / name).mkdir()
    done = asked(project, "kiel")
    logs = "".join(path.read_text() for path in (project.folder / "kiel").glob("results/logs/**/*.log"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:] + logs[-3000:]
    for name in ("luebeck", "rostock"):
        made_by_library(project.folder / name, name)
    return project


def given(project: Project) -> dict[str, str]:
    return {name: str(project.folder / name / f"results/simulated/share/{name}.zip") for name in CLINICS}


def test_joined_they_say_what_all_people_in_one_table_say(clinics, tmp_path):
    command = [clinics.python, "-m", "dysconnect", "combine", *given(clinics).values()]
    command += ["--out", str(tmp_path / "joined")]
    done = subprocess.run(command, capture_output=True, text=True, env=clinics.environment())
    assert done.returncode == 0, done.stderr
    assert "3 sites were analysed as one cohort" in done.stdout
    edges, people = [], []
    for name in CLINICS:
        results = clinics.folder / name / "results/simulated"
        files = results / "connectivity/motor10_correlation.h5", results / "timeseries/participants.tsv"
        cohort, _ = labelled_cohort(*files, CONTRAST, "correlation")
        edges.append(cohort.values)
        people.append(cohort.participants.assign(site=f"{name}/" + cohort.participants["site"]))
    table = pd.concat(people, ignore_index=True)
    wanted = edge_statistics(np.concatenate(edges), table, ["age", "sex", "site", "mean_fd"], 100, 0)
    joined = pd.read_csv(tmp_path / "joined/edges.tsv", sep="\t").set_index(["region_a", "region_b"])
    pairs = pd.MultiIndex.from_frame(cohort.edge_names.astype(str))
    np.testing.assert_allclose(joined.loc[pairs, "t"], wanted.t, rtol=1e-5)  # six digits are written
    assert (tmp_path / "joined/index.html").stat().st_size > 10_000


def test_a_second_run_has_nothing_to_do_and_releases_nothing(clinics):
    before = (clinics.folder / "kiel/released.json").read_bytes()
    done = asked(clinics, "kiel", dry=True)
    assert "Nothing to be done" in done.stdout + done.stderr
    assert (clinics.folder / "kiel/released.json").read_bytes() == before


def test_another_contact_writes_the_statement_again_and_adds_nobody_up(clinics):
    done = asked(clinics, "kiel", "share.contact=other@kiel.example", dry=True)
    assert "share" in done.stdout and "connectivity" not in done.stdout.split("Job stats")[-1]


def test_no_id_leaves_and_batches_are_not_left_behind(clinics):
    for name, path in given(clinics).items():
        package = read_package(path)
        assert package.site == name and not list(
            clinics.folder.glob(f"{name}/results/simulated/share/not_to_be_sent/*")
        )
        ids = pd.read_csv(clinics.folder / name / "results/simulated/acquire/participants.tsv", sep="\t")[
            "participant_id"
        ]
        said = json.dumps(dict(package.about)) + package.regions.to_csv()
        assert not any(one in said for one in ids)


def test_a_site_without_a_contact_is_refused_before_any_job(clinics):
    done = asked(clinics, "kiel", "share.contact=null", dry=True)
    assert done.returncode and "share.contact is not given" in done.stderr + done.stdout


def by_library(folder: Path, name: str, plan: Path | None) -> None:
    """What the rules `key` and `masked` do, without Snakemake."""
    place, secrets = folder / "results/simulated", folder / "private"
    package = read_package(place / f"share/{name}.zip")
    if plan is None:
        key = described_key(kept_key(package, secrets).key)
        (place / f"share/{name}.key.json").write_text(json.dumps(key))
        return
    files = {"connectomes": place / "connectivity/motor10_correlation.h5", "package": place / f"share/{name}.zip"}
    files |= {"participants": place / "timeseries/participants.tsv", "plan": plan}
    localize = {"measure": "correlation", "prior_circuits": package.about["circuits"], "max_missing": 0.1}
    spec = {"share": ASKED, "localize": localize, "atlas": {"nodes": "motor10"}, "site": name, "contrast": CONTRAST}
    content, words = make_masked(files, spec, folder / "released.json", secrets)
    (place / f"share/{name}.masked.npz").write_bytes(content)
    (place / f"share/{name}.session.txt").write_text(f"{words}\n")


def test_circuits_are_permuted_together_by_keys_a_plan_and_answers(clinics, tmp_path, capsys):
    """By the commands at one clinic; its sums are not made again, and its secret stays in the project."""
    folder, files = tmp_path / "joined", given(clinics)
    for plan, kind in ((None, "key.json"), (folder / "plan.json", "masked.npz")):
        done = asked(clinics, "kiel", f"share.plan={plan}" if plan else "share.key=true", kinds=(kind,))
        assert done.returncode == 0 and "1 of 1 steps" in done.stderr, done.stderr
        for name in ("luebeck", "rostock"):
            by_library(clinics.folder / name, name, plan)
        sent = [*files.values(), *(path.replace(".zip", f".{kind}") for path in files.values()), *[plan] * bool(plan)]
        assert console(["combine", *map(str, sent), "--out", str(folder)]) == 0
        if plan is None:
            said = capsys.readouterr().out
    for name in CLINICS:
        heard = (clinics.folder / name / f"results/simulated/share/{name}.session.txt").read_text()
        assert heard in said and len(list(clinics.folder.glob(f"{name}/private/*.json"))) == 1
    circuits = pd.read_csv(folder / "circuits.tsv", sep="\t")
    assert circuits["p_fwer"].between(1 / 5001, 1).all() and (circuits["p_fwer"] >= 0.8 * circuits["p"]).all()
