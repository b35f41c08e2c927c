"""The folder of the series is a BIDS derivative: where files lie, what describes them, what the BIDS validator says."""

import json
import os
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.dictionary import describe
from dysconnect.data.participants import write_participants
from dysconnect.data.series import read_index, read_series, write_series
from dysconnect.timeseries import describe_dataset, emptied, judge_cohort, prepare_cohort

VALIDATOR = shutil.which("bids-validator-deno")
FINISHED = os.environ.get("DYSCONNECT_RESULTS", "")  # results/DATASET of a finished run
SOURCE = {"name": "ds1", "title": "A study", "licence": "CC0-1.0", "citation": "Ray 2020, doi:10.1/x"}
NAMES = {"atlas": "few", "denoise": "plain"}
OF_BIDS = re.compile(  # names of the specification that the folder uses
    r"participants\.(tsv|json)|dataset_description\.json|README\.md|\.bidsignore"
)


@pytest.fixture
def few(nodes):
    return nodes.iloc[:6].reset_index(drop=True)


@pytest.fixture
def derivative(tmp_path, few, denoise_spec):
    """What `timeseries` leaves of two people, one of whom is left out."""
    rng, folder = np.random.default_rng(0), tmp_path / "timeseries"
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "group": "HC", "age": 40.0, "sex": "F", "site": "A"})
    people = people.assign(exclusion_reason=["", "left the study"], mean_fd=0.1)
    write_series(rng.standard_normal((150, len(few))), few["name"], tmp_path / "raw.tsv")
    index = people[["participant_id"]].assign(
        series=str(tmp_path / "raw.tsv"), key="", confounds="", repetition_time=2.0, sha256=""
    )
    table, kept = prepare_cohort(people, index, few, denoise_spec | {"motion": None}, folder, NAMES)
    kept.to_csv(folder / "series.tsv", sep="\t", index=False)
    return _described(table, folder, "series")


@pytest.fixture
def judged(tmp_path):
    """What `timeseries` leaves where connections are given as numbers."""
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "group": "HC", "site": "A", "mean_fd": 0.1})
    edges = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "region_a": "A", "region_b": "B", "connectivity": 0.2})
    table, kept = judge_cohort(people, edges, ["site"])
    folder = tmp_path / "timeseries"
    folder.mkdir()
    kept.to_csv(folder / "edges.tsv", sep="\t", index=False)
    return _described(table, folder, "edges")


def _described(table: pd.DataFrame, folder: Path, index: str) -> Path:
    write_participants(table, folder / "participants.tsv")
    describe_dataset(SOURCE, folder, index)
    describe(folder.parent)  # rule dictionary
    return folder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_series_lie_where_bids_has_those_of_a_person(derivative, few):
    stem = "sub-1/func/sub-1_task-rest_seg-few_desc-plain_timeseries"
    assert {name for name in files_of(derivative) if name.startswith("sub-")} == {f"{stem}.tsv", f"{stem}.json"}
    index = read_index(derivative / "series.tsv")
    assert index["series"].tolist() == [str(derivative / f"{stem}.tsv")]
    assert read_series(index["series"][0], "", few).shape == (150, len(few))


def test_what_is_no_bids_is_listed_and_nothing_else(derivative):
    patterns = (derivative / ".bidsignore").read_text().splitlines()
    for name in files_of(derivative):
        assert any(fnmatchcase(name, pattern) for pattern in patterns) != bool(OF_BIDS.fullmatch(name)), name
    for pattern in patterns:
        assert any(fnmatchcase(name, pattern) for name in files_of(derivative)), pattern


def test_without_files_of_people_the_participants_are_listed_too(judged):
    patterns = (judged / ".bidsignore").read_text().splitlines()
    assert set(patterns) == {"edges.tsv", "edges.json", "participants.tsv", "participants.json"} <= files_of(judged)


def test_the_dataset_is_described_with_its_source(derivative):
    made = json.loads((derivative / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "DatasetType", "License", "GeneratedBy", "SourceDatasets"} <= set(made)
    assert made["DatasetType"] == "derivative" and made["License"] == "CC0-1.0"
    assert made["GeneratedBy"][0]["Name"] == "dysconnect" and made["GeneratedBy"][0]["Version"]
    assert made["SourceDatasets"] == [{"Name": "ds1", "Title": "A study", "Citation": "Ray 2020, doi:10.1/x"}]
    describe_dataset(SOURCE | {"citation": "OpenNeuro, doi:10.18112/openneuro.ds006395.v1.0.6."}, derivative)
    source = json.loads((derivative / "dataset_description.json").read_text())["SourceDatasets"][0]
    assert (source["DOI"], source["Version"]) == ("doi:10.18112/openneuro.ds006395.v1.0.6", "1.0.6")
    assert source["URL"] == "https://openneuro.org/datasets/ds006395/versions/1.0.6"


def test_nothing_of_an_earlier_run_stays(derivative):
    (derivative / "series").mkdir()
    for name in ("series/sub-9_timeseries.tsv", "series/sub-9_timeseries.json", "sub-1/notes.txt"):
        (derivative / name).write_text("1")
    kept = {name for name in files_of(derivative) if not name.endswith(("_timeseries.tsv", "_timeseries.json"))}
    assert emptied(derivative) == derivative
    assert files_of(derivative) == kept and "sub-1/notes.txt" in kept
    assert not (derivative / "series").exists() and not (derivative / "sub-1/func").exists()
    assert emptied(derivative / "absent") == derivative / "absent"


needs_validator = pytest.mark.skipif(
    VALIDATOR is None, reason="no bids-validator-deno on the PATH (pip install bids-validator-deno)"
)


def complaints(folder: Path) -> list[tuple[str, str]]:
    """Code and place of every error of the BIDS validator."""
    done = subprocess.run([VALIDATOR, "--format", "json", folder], capture_output=True, text=True, timeout=300)
    issues = json.loads(done.stdout)["issues"]["issues"]
    errors = [(own["code"], own["location"]) for own in issues if own["severity"] == "error"]
    assert bool(errors) == bool(done.returncode), done.stderr
    return errors


@needs_validator
@pytest.mark.parametrize("kind", ["derivative", "judged"])
def test_the_bids_validator_accepts_the_folder(request, kind):
    folder = request.getfixturevalue(kind)
    assert complaints(folder) == []
    (folder / ".bidsignore").unlink()
    assert {code for code, _ in complaints(folder)} == {
        "derivative": {"NOT_INCLUDED"}, "judged": {"NOT_INCLUDED", "PARTICIPANT_ID_MISMATCH"},
    }[kind]  # fmt: skip


@needs_validator
@pytest.mark.skipif(not FINISHED, reason="DYSCONNECT_RESULTS names no finished results")
def test_the_bids_validator_accepts_a_finished_run():
    assert complaints(Path(FINISHED) / "timeseries") == []
