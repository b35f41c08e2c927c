"""Settings with which a cohort was evaluated are counted once each, never lost, and stand in report and checklist."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from test_report import GOOD, NODES, cohort_of, experiments_of, results_of

from dysconnect.evaluate.tried import remember
from dysconnect.plan.run import Run
from dysconnect.report.checklists import answers
from dysconnect.report.prediction import section
from dysconnect.report.prediction.tried import tried_sentence, tried_table
from dysconnect.report.results import Study

RIDGE = {"model": {"name": "ridge", "penalties": [1.0]}, "measure": "correlation", "graph": {}, "training": {"seed": 0}}
GCN = {"model": {"name": "gcn", "hidden": 32}, "measure": "correlation", "graph": {}, "training": {"lr": 0.001}}
SETTINGS = {
    "dataset": {"name": "tiny", "covariates": ["age"]}, "atlas": {"name": "seitzman300", "nodes": "seitzman300"},
    "denoise": {"name": "standard", "high_pass": 0.01}, "experiments": {"tangent_ridge": RIDGE},
}  # fmt: skip
OTHER = SETTINGS | {"denoise": {"name": "standard", "high_pass": 0.008}}


def scores_of(**auc) -> pd.DataFrame:
    rows = [(name, metric, value) for name, value in auc.items() for metric in ("auc", "brier")]
    return pd.DataFrame(rows, columns=["experiment", "metric", "value"])


def evaluated(folder, settings, day: str, auc: float = 0.7) -> dict:
    """What the overview says after an evaluation."""
    scores = scores_of(floor=0.9, tangent_ridge=auc, gcn=0.5)
    remember(settings, scores, ["tangent_ridge", "gcn"], folder / "tried.json", day)
    return json.loads((folder / "tried.json").read_text())


def results_with(tried: dict):
    return dataclasses.replace(results_of(), tried=tried)


def test_two_settings_are_two_and_the_same_again_adds_nothing(tmp_path):
    first = evaluated(tmp_path, SETTINGS, "2026-01-01")
    assert [(own["since"], own["best"], own["auc"], own["differs"]) for own in first["tried"]] == [
        ("2026-01-01", "tangent_ridge", 0.7, [])
    ]
    assert "settings" not in first["tried"][0]
    second = evaluated(tmp_path, OTHER, "2026-01-02", 0.8)
    assert [own["since"] for own in second["tried"]] == ["2026-01-01", "2026-01-02"]
    assert second["tried"][0]["differs"] == [["denoise.high_pass", "0.01", "0.008"]]
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "tried").iterdir()}
    again = evaluated(tmp_path, dict(reversed(SETTINGS.items())), "2026-01-03")
    assert len(again["tried"]) == 2 and again["this"] == first["this"] != second["this"]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "tried").iterdir()} == files


def test_history_stays_when_snakemake_removes_the_overview(tmp_path):
    evaluated(tmp_path, SETTINGS, "2026-01-01")
    (tmp_path / "tried.json").unlink()
    assert len(evaluated(tmp_path, OTHER, "2026-01-02")["tried"]) == 2


def test_the_best_auc_that_was_seen_stays_with_its_first_day(tmp_path):
    for day, auc, kept in (("2026-01-01", 0.7, 0.7), ("2026-01-02", 0.8, 0.8), ("2026-01-03", 0.6, 0.8)):
        (own,) = evaluated(tmp_path, SETTINGS, day, auc)["tried"]
        assert (own["since"], own["auc"]) == ("2026-01-01", kept)
    remember({"experiments": {}}, scores_of(floor=0.5), [], tmp_path / "tried.json", "2026-01-04")
    assert json.loads((tmp_path / "tried.json").read_text())["tried"][1]["auc"] is None


def test_evaluations_at_the_same_time_lose_nothing(tmp_path):
    wanted = [SETTINGS | {"splits": {"seed": seed}} for seed in range(40)]
    scores = scores_of(tangent_ridge=0.7)
    with ThreadPoolExecutor(8) as pool:
        each = lambda k: remember(wanted[k], scores, ["tangent_ridge"], tmp_path / "tried.json", "2026-01-01")
        list(pool.map(each, range(40)))
    assert len(evaluated(tmp_path, wanted[0], "2026-01-02")["tried"]) == 40


@pytest.mark.parametrize("content", ["{", "[]", '{"since": "2026-01-01"}', '{"since": "x", "best": "", "auc": "much"}'])
def test_a_damaged_record_is_counted_and_named(tmp_path, content):
    evaluated(tmp_path, SETTINGS, "2026-01-01")
    evaluated(tmp_path, OTHER, "2026-01-02")
    lost = sorted((tmp_path / "tried").iterdir(), key=lambda path: "0.008" in path.read_text())[0]
    lost.write_text(content)
    known = evaluated(tmp_path, OTHER, "2026-01-03")
    assert known["damaged"] == [f"tried/{lost.name}"] and len(known["tried"]) == 1
    said = tried_sentence(results_with(known))
    assert "2 sets of settings" in said and f"damaged, so that its settings are not known: tried/{lost.name}" in said
    assert len(evaluated(tmp_path, SETTINGS, "2026-01-04")["tried"]) == 2  # its own settings make it whole again


def test_the_report_says_how_many_and_lists_what_was_other(tmp_path):
    one = evaluated(tmp_path, SETTINGS | {"experiments": {"tangent_ridge": RIDGE, "gcn": GCN}}, "2026-01-01", 0.7123)
    assert tried_table(results_with(one)) is None
    assert tried_sentence(results_with(one)).endswith("no other settings in this folder since 2026-01-01.")
    two = evaluated(tmp_path, SETTINGS | {"atlas": {"name": "wholebrain200", "nodes": "n"}}, "2026-01-02")
    study = Study(results_with(two), cohort_of(), experiments_of(GOOD), NODES)
    shown = section(study)
    assert (
        dict(shown.methods[1:])["Evaluation"]
        == tried_sentence(study.results)
        == (
            "This cohort has been evaluated with 2 sets of settings in this folder since 2026-01-01; the p values "
            "allow for the models of this run, not for the others."
        )
    )
    assert [row.cells for row in shown.tables["tried"].rows] == [
        ["2026-01-01", "atlas=seitzman300, now wholebrain200; with GCN", "tangent ridge", "0.71"],
        ["2026-01-02", "this run", "tangent ridge", "0.70"],
    ]
    (item,) = [answer for answer in answers(study) if answer.item.item == "Settings that were tried"]
    assert not item.open and "2 sets of settings" in item.words
    unknown = dataclasses.replace(study, results=results_of())
    (item,) = [answer for answer in answers(unknown) if answer.item.item == "Settings that were tried"]
    assert item.open and tried_sentence(unknown.results) == ""


def test_differences_of_models_are_said_by_their_titles_and_cut(tmp_path):
    evaluated(tmp_path, SETTINGS | {"experiments": {"gcn": GCN}}, "2026-01-01")
    changed = GCN | {"training": {f"key{k}": k for k in range(9)}}
    table = tried_table(results_with(evaluated(tmp_path, SETTINGS | {"experiments": {"gcn": changed}}, "2026-01-02")))
    words = table.rows[0].cells[1]
    assert words.startswith("GCN: training.lr=0.001, now null; GCN: training.key0=null, now 0;")
    assert words.endswith("; 4 more differences")


def test_words_that_change_no_number_make_no_other_settings():
    def run(title: str, width: float) -> Run:
        dataset = {"name": "tiny", "title": title, "plant": None}
        cohort = {"dataset": dataset, "atlas": {"name": "a"}, "denoise": {"high_pass": width}, "splits": {"seed": 0}}
        return Run(cohort, {}, {}, {}, "", [], [], {})

    settings = run("Tiny", 0.01).settings_of_predictions
    assert settings == run("Another title", 0.01).settings_of_predictions != run("Tiny", 0.02).settings_of_predictions
