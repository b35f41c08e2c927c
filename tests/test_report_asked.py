"""What was not asked, or could not be, is said in the report: no covariates, no experiment to ask, no circuits."""

import pytest
from test_report import GOOD, NODES, cohort_of, experiments_of, methods, results_of, verdict

from dysconnect.report import Study
from dysconnect.report.prediction.tables import model_table
from dysconnect.report.stimulation import section
from dysconnect.report.structures import structure_sentence
from dysconnect.report.verdict import in_short


@pytest.fixture
def nothing_known():
    """Cohort and experiments without covariates."""
    cohort, experiments = cohort_of(), experiments_of(GOOD)
    cohort["dataset"]["covariates"] = []
    experiments["floor"]["model"]["covariates"] = []
    return cohort, experiments


def test_without_covariates_no_floor_is_beaten(nothing_known):
    judged = dict(verdict(results_of(), *nothing_known))["Confounds"]
    assert judged.startswith("No confound floor could be made: no covariates are given")
    short = " ".join(in_short(Study(results_of(), *nothing_known, NODES)))
    assert "no confound floor could be made" in short and "more than the confound floor" not in short
    assert "beats the confound floor" in dict(verdict(results_of(), cohort_of(), experiments_of(GOOD)))["Confounds"]
    told = dict(methods(results_of(), *nothing_known, NODES))["Evaluation"]
    assert "held equal" not in told and "held equal" in dict(
        methods(results_of(), cohort_of(), experiments_of(GOOD), NODES)
    )["Evaluation"]  # fmt: skip


def test_without_covariates_no_difference_to_the_floor_is_shown():
    rows = model_table(results_of(), "floor", {}, empty=True).rows
    assert {str(row.cells[3]) for row in rows} <= {"—", "no covariates"}
    assert {str(row.cells[4]) for row in rows} == {"—"}


def test_a_floor_of_its_own_covariates_is_one(nothing_known):
    cohort, experiments = nothing_known
    experiments["floor"]["model"]["covariates"] = ["mean_fd"]
    assert "beats the confound floor" in dict(verdict(results_of(), cohort, experiments))["Confounds"]


def test_an_experiment_that_was_not_chosen_is_named_where_its_targets_would_be():
    cohort, experiments = cohort_of(), experiments_of(GOOD)
    cohort["stimulate"]["experiment"] = "riemann"
    told = section(Study(results_of(), cohort, experiments, NODES))
    assert not told.tables and "No targets were asked for: stimulate.experiment is riemann" in told.sentences[0]
    assert f"experiment={','.join(experiments)},riemann" in told.sentences[0]
    for asked in (None, next(iter(experiments))):
        cohort["stimulate"]["experiment"] = asked
        assert section(Study(results_of(), cohort, experiments, NODES)) is None


def test_regions_without_circuits_are_told():
    study = lambda results: Study(results, cohort_of(), experiments_of(["floor"]), NODES)
    results = results_of(surviving=0)
    families = results.families[results.families["kind"] != "circuit"]
    assert "no circuit as a whole differs" in structure_sentence(study(results), {})
    results = results_of(surviving=0, families=families)
    told = structure_sentence(study(results), {})
    assert told.startswith("No component differs") and "no connection of these regions is in a circuit" in told
