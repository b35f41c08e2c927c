"""A folder of matrices of streamlines to the report: by name, one person's file stops one person."""

import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import warm
from test_workflow_images import TINY

from dysconnect.commands.predict import main
from dysconnect.data.atlas import load_atlas

REPORT = "results/study/report/index.html"
BUNDLE = "results/study/predict/ridge.npz"
PEOPLE = [f"sub-{k:02d}" for k in range(1, 25)]
WEAK = (0, 5)  # the connection that patients have weaker

pytestmark = pytest.mark.workflow


def write_folder(folder: Path, nodes: pd.DataFrame) -> None:
    """FA of 24 people as MRtrix leaves it, an upper half without names, and one lookup table for all."""
    rng, n = np.random.default_rng(8), len(nodes)
    k = np.arange(1, len(PEOPLE) + 1)
    people = pd.DataFrame({"participant_id": PEOPLE, "group": np.where(k % 2, "dystonia", "control"), "age": 40 + k})
    people = people.assign(sex=np.where(k % 3, "F", "M"), site=np.where(k % 4 < 2, "A", "B"))
    people = people.assign(dwi_motion=np.round(rng.uniform(0.1, 0.4, len(k)), 3))
    folder.mkdir()
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    names = nodes["name"].iloc[::-1]  # not the order of the atlas
    (folder / "labels.txt").write_text("\n".join(names) + "\n")
    tract = np.triu(rng.random((n, n)) < 0.9, 1)
    mean = rng.uniform(0.3, 0.6, (n, n))
    for row in people.itertuples():
        fa = np.where(tract & (rng.random((n, n)) < 0.98), mean + rng.normal(0, 0.02, (n, n)), 0)
        fa[WEAK] = mean[WEAK] + rng.normal(0, 0.02) - 0.08 * (row.group == "dystonia")
        fa = (fa + fa.T)[::-1, ::-1]
        fa = fa * 3 if row.participant_id == "sub-03" else fa  # no FA
        fa = fa[:-1, :-1] if row.participant_id == "sub-04" else fa  # of another atlas
        np.savetxt(folder / f"{row.participant_id}_desc-x_meanFA.csv", np.triu(fa), "%.4f", ",")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The whole workflow on that folder."""
    folder = tmp_path_factory.mktemp("matrices") / "project"
    warm.copy_project(folder)
    nodes = load_atlas("seitzman300").assign(radius=10.0)
    nodes = nodes[nodes["system"].isin(["basal_ganglia", "thalamus", "cerebellum"]) | (nodes.index % 20 == 0)].iloc[::3]
    nodes.to_csv(folder / "tiny.tsv", sep="\t", index=False)
    write_folder(folder / "study", nodes)
    done = snakemake(folder, "connectivity=fa", REPORT, "results/study/dictionary.json", BUNDLE)
    assert done.returncode == 0, said(folder, done)
    return folder, done, nodes


def snakemake(folder: Path, choice: str, *arguments: str):
    """Run Snakemake as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    own = [
        "dataset.root=study", "dataset.name=study", "dataset.contrast.cases=[dystonia]",
        "dataset.contrast.controls=[control]", "dataset.columns={mean_fd:dwi_motion}", "stimulate.experiment=ridge",
    ]  # fmt: skip
    command = [warm.python(), "-m", "snakemake", "--cores", "2", *arguments, "--config", "dataset=local", choice]
    command += [f"overrides={' '.join([*TINY, *own])}"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def said(folder: Path, done) -> str:
    """Everything a failing test should show."""
    logs = "".join(path.read_text()[-1500:] for path in folder.glob("results/logs/**/*.log"))
    return done.stdout[-3000:] + done.stderr[-3000:] + logs[-9000:]


def test_people_whose_matrices_cannot_be_used_are_left_out_by_name(finished):
    folder, done, _ = finished
    table = pd.read_csv(folder / "results/study/timeseries/participants.tsv", sep="\t").set_index("participant_id")
    assert table["included"].sum() == 22
    assert "said to hold fractional anisotropy, between 0 and 1, but 1." in table.loc["sub-03", "exclusion_reason"]
    assert "names 23 rows, but the matrix has 22" in table.loc["sub-04", "exclusion_reason"]
    given = pd.read_csv(folder / "study/participants.tsv", sep="\t").set_index("participant_id")["dwi_motion"]
    assert table.loc["sub-05", "mean_fd"] == given["sub-05"]
    assert "only the upper half is stored, and was mirrored" in done.stdout + done.stderr
    assert "sub-04" in (folder / REPORT).read_text()


def test_the_planted_connection_is_found_under_its_name(finished):
    folder, _, nodes = finished
    edges = pd.read_csv(folder / "results/study/localize/edges.tsv", sep="\t")
    first = edges.sort_values("p_fwer").iloc[0]
    assert {first["region_a"], first["region_b"]} == {nodes["name"].iloc[WEAK[0]], nodes["name"].iloc[WEAK[1]]}
    assert (first["direction"], first["p_fwer"] <= 0.05) == ("patients lower", True)


def test_the_report_says_what_was_given(finished):
    folder, _, _ = finished
    text = (folder / REPORT).read_text()
    assert "fractional anisotropy" in text and "came as matrices" in text
    pages = [*(folder / REPORT).parent.rglob("*.html")]
    assert len(pages) > 20
    for page in pages:  # a connection that somebody lacks is no number on any of them
        shown = re.sub(r"<(script|style).*?</\1>", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r"\bnan\b", shown, re.IGNORECASE), page
    assert (folder / "results/study/stimulate/targets.tsv").exists()


def test_a_new_matrix_is_predicted_by_the_names_of_its_rows(finished, tmp_path):
    folder, _, _ = finished
    scan = ["--matrix", f"{folder}/study/sub-03_desc-x_meanFA.csv", "--labels", f"{folder}/study/labels.txt"]
    arguments = ["--model", str(folder / BUNDLE), *scan, "--age", "43", "--out", str(tmp_path)]
    assert main(arguments) == 2  # no FA, and left out of the cohort
    table = pd.read_csv(scan[1], header=None) / 3
    table.to_csv(tmp_path / "new.csv", header=False, index=False)
    arguments[3] = str(tmp_path / "new.csv")
    assert main([*arguments, "--anyway"]) == 0
    said = json.loads((tmp_path / "prediction.json").read_text())
    assert 0 < said["probability"]["value"] < 1 and not any("this very scan" in words for words in said["warnings"])


def test_what_the_names_of_the_files_do_not_say_is_refused_before_any_job(finished):
    folder, _, _ = finished
    done = snakemake(folder, "connectivity=count", "--dry-run")
    assert done.returncode != 0 and "that holds count" in done.stdout + done.stderr
