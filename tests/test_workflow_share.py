"""Three clinics by the commands of the README: each writes its sums, and joined they are one cohort."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from test_workflow import Project

from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize.statistics import edge_statistics
from dysconnect.share.unpacked import read_package

CLINICS = {"kiel": 1, "luebeck": 2, "rostock": 3}
CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}

pytestmark = pytest.mark.workflow


def asked(project: Project, name: str, *overrides: str, dry: bool = False) -> subprocess.CompletedProcess:
    """Ask Snakemake for what a clinic gives, in the clinic's own folder."""
    target = f"results/simulated/share/{name}.zip", f"results/simulated/share/{name}.html"
    told = (
        f"dataset.seed={CLINICS[name]}", f"share.site={name}", f"share.contact=science@{name}.example",
        "dataset.patients=34", "dataset.controls=34", "dataset.plant.edges=4", "dataset.volumes=120", *overrides,
    )  # fmt: skip
    config = ("share=statistics", "atlas=motor10", "experiment=floor")
    words = [*target, "--directory", str(project.folder / name), *["--dry-run"] * dry]
    return project.snakemake(*words, config=config, overrides=told, tiny=False)


@pytest.fixture(scope="module")
def clinics(tmp_path_factory):
    """A project with the folders of three clinics, the second of which adds its people up in three batches."""
    project = Project(tmp_path_factory.mktemp("clinics"))
    for name in CLINICS:
        (project.folder / name).mkdir()
        done = asked(project, name, *["share.batches=3"] * (name == "luebeck"))
        logs = "".join(path.read_text() for path in (project.folder / name).glob("results/logs/**/*.log"))
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:] + logs[-3000:]
    return project


def given(project: Project) -> dict[str, str]:
    return {name: str(project.folder / name / f"results/simulated/share/{name}.zip") for name in CLINICS}


def test_joined_they_say_what_all_people_in_one_table_say(clinics, tmp_path):
    command = [
        sys.executable,
        "-m",
        "dysconnect",
        "combine",
        *given(clinics).values(),
        "--out",
        str(tmp_path / "joined"),
    ]
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
