"""The dictionary: each column of each table is described once, and beside the table without writing over a result."""

import json
import os
from pathlib import Path

import pytest

from dysconnect.data.dictionary import columns, describe, meanings, place, sidecar
from dysconnect.data.images.receipts import CHOICES
from dysconnect.evaluate.compare import COLUMNS as COMPARISONS
from dysconnect.evaluate.power import COLUMNS as POWER
from dysconnect.evaluate.subgroups import COLUMNS as SUBGROUPS
from dysconnect.localize import COLUMNS as EDGES
from dysconnect.report.maps import TESTS, TITLES
from dysconnect.stimulate.control import MEASURES as CONTROLLABILITY
from dysconnect.stimulate.edits import COLUMNS as EDITS
from dysconnect.stimulate.ranking import COLUMNS as TARGETS
from dysconnect.stimulate.ranking import PATIENT_COLUMNS as PATIENTS
from dysconnect.train import HISTORY, SEARCH
from dysconnect.validate.scores import COLUMNS as VALIDATED

FINISHED = os.environ.get("DYSCONNECT_RESULTS", "")  # results/DATASET of a finished run


def heads(folder: Path) -> dict[str, list[str]]:
    paths = sorted(folder.rglob("*.tsv"))
    return {p.relative_to(folder).as_posix(): p.open().readline().rstrip("\n").split("\t") for p in paths}


@pytest.mark.skipif(not FINISHED, reason="DYSCONNECT_RESULTS names no finished results")
def test_every_column_of_a_finished_run_is_described_once():
    wrong = {
        (table, name): len(rows)
        for table, names in heads(Path(FINISHED)).items()
        for name, rows in meanings(table, names).items()
        if len(rows) != 1
    }
    assert wrong == {}


def test_a_row_has_a_meaning_and_no_column_of_a_table_has_two():
    assert all(row.meaning and row.tables and row.column for row in columns())
    pairs = [(table, row.column) for row in columns() for table in row.tables.split()]
    assert len(pairs) == len(set(pairs))


WRITTEN = {
    "acquire/choices.tsv": CHOICES,
    "attribute/maps/gin.tsv": [*TITLES, *(f"p_{test}" for test in TESTS), "screened"],
    "evaluate/comparisons.tsv": COMPARISONS,
    "evaluate/power.tsv": POWER,
    "evaluate/subgroups.tsv": SUBGROUPS,
    "localize/edges.tsv": EDGES,
    "localize/severity.tsv": ["effect_size", "direction", "statistic", "p", "p_fwer", "p_fdr"],
    "stimulate/edits.tsv": EDITS,
    "stimulate/patients.tsv": PATIENTS,
    "stimulate/targets.tsv": [*TARGETS, *CONTROLLABILITY],
    "train/gcn/history.tsv": HISTORY,
    "train/gcn/search.tsv": SEARCH,
    "validate/cohorts.tsv": [*VALIDATED, "stability"],
    "validate/scores.tsv": [*VALIDATED[:4], "method", "measure", "value", "low", "high", "cohorts"],
}


@pytest.mark.parametrize("table", WRITTEN)
def test_a_column_that_some_run_writes_is_described(table):
    """A default run has no graph network that beats its null, nobody's score, and no validation."""
    assert {name: len(rows) for name, rows in meanings(table, WRITTEN[table]).items() if len(rows) != 1} == {}


def test_the_description_is_that_of_bids():
    entry = sidecar("acquire/participants.tsv", ["age", "sex", "mmse"])
    assert entry["age"] == {"Description": "age at the scan", "Units": "years"}
    assert entry["sex"]["Levels"] == {"F": "F", "M": "M"} and "Description" in entry["mmse"]
    assert sidecar("train/gcn/predictions.tsv", ["label"])["label"]["Levels"] == {"1": "patient", "0": "control"}


def test_a_column_that_nobody_describes_is_named():
    with pytest.raises(ValueError, match=r"localize/edges.tsv: column weight has 0 descriptions"):
        sidecar("localize/edges.tsv", ["region_a", "weight"])


def test_no_result_is_written_over(tmp_path):
    (tmp_path / "attribute").mkdir()
    (tmp_path / "localize").mkdir()
    for stage in ("attribute", "localize"):
        (tmp_path / stage / "edges.tsv").write_text("region_a\tregion_b\tp\nA\tB\t0.5\n")
    verdict = tmp_path / "attribute/edges.json"
    verdict.write_text('{"beats": true}')
    for _ in range(2):  # a second time finds its own
        assert set(describe(tmp_path)) == {"attribute/edges.tsv", "localize/edges.tsv"}
    assert json.loads(verdict.read_text()) == {"beats": True}
    assert place(tmp_path / "attribute/edges.tsv").name == "edges_columns.json"
    assert set(json.loads((tmp_path / "localize/edges.json").read_text())) == {"region_a", "region_b", "p"}


def test_participants_are_described_and_series_keep_their_sidecars(tmp_path):
    (tmp_path / "timeseries/sub-1/func").mkdir(parents=True)
    (tmp_path / "timeseries/participants.tsv").write_text("participant_id\tage\nsub-1\t40\n")
    (tmp_path / "timeseries/sub-1/func/sub-1_timeseries.tsv").write_text("Putamen L\n0.1\n")
    assert list(describe(tmp_path)) == ["timeseries/participants.tsv"]
    assert json.loads((tmp_path / "timeseries/participants.json").read_text())["age"]["Units"] == "years"
    assert not (tmp_path / "timeseries/sub-1/func/sub-1_timeseries.json").exists()
