"""A report that is mailed: nobody is named on it, and it says all the rest."""

import dataclasses

import numpy as np
import pandas as pd
from test_report import NODES, cohort_of, experiments_of, people, quality_of, results_of

from dysconnect.quality.scans import Scans
from dysconnect.report import Study, render
from dysconnect.report.checklists import checklists_page
from dysconnect.report.results import Results
from dysconnect.report.unnamed import OTHER, remove_pages, shared_reasons, unnamed

SECRET = "Jane Roe asked for it"


def named_results() -> Results:
    """Results in which people are named wherever a table can name them."""
    everybody = people()
    ids = everybody["participant_id"]
    everybody.loc[5, "exclusion_reason"] = SECRET
    for k in (7, 9):
        everybody.loc[k, "exclusion_reason"] = f"/home/jane/{ids[k]}/func/{ids[k]}_bold.nii.gz: the file is cut"
    everybody["included"] = everybody["exclusion_reason"] == ""
    choices = pd.DataFrame({"participant_id": ids[:2], "what": "bold", "chosen": ids[:2] + "_run-1.nii.gz"})
    choices = choices.assign(others=ids[:2] + "_run-2.nii.gz", why="the first")
    targets = pd.DataFrame({
        "kind": ["node", "region"], "target": ["Putamen L 1", "gpi"], "title": ["Putamen L 1", "GPi"], "rank": 1,
        "participant_id": ids[2], "score": -1.2, "cost": 2.5,
    })  # fmt: skip
    quality = quality_of(excluded=[{"reason": SECRET, "cases": 0, "controls": 1, "others": 0}])
    return dataclasses.replace(
        results_of(), participants=everybody, choices=choices, patient_targets=targets, quality=quality,
        index=pd.DataFrame({"participant_id": ids, "repetition_time": "2.0", "path": ids + ".tsv"}),
    )  # fmt: skip


def html_of(shown: bool, results: Results | None = None) -> tuple[str, list[str]]:
    cohort = cohort_of() | {"report": {"edges": 5, "people": shown}}
    cohort["dataset"] |= {
        "participants": ["sub-02", "sub-03"],
        "root": "/home/jane/sub-02",
        "exclude": {"sub-00": SECRET},
    }
    results = results or named_results()
    experiments = {
        name: config | cohort for name, config in experiments_of(results.scores["experiment"].unique()).items()
    }
    page = render(results, cohort, experiments, NODES, "2026-01-02")
    lists = checklists_page(Study(results, cohort, experiments, NODES), "2026-01-02")
    return page.html + lists + "".join(page.figures.values()), page.in_short


def test_nobody_is_named_where_people_are_left_out():
    results = named_results()
    ids = [*results.participants["participant_id"], "/home/jane", "Jane", "people/"]
    html, short = html_of(shown=True, results=results)
    assert {name for name in ids if name in html} >= {
        "sub-00",
        "sub-01",
        "sub-02",
        "sub-04",
        "sub-05",
        "Jane",
        "people/",
    }
    html, short = html_of(shown=False, results=results)
    assert [name for name in ids if name in html or name in " ".join(short)] == []
    assert "Excluded subjects (4)" in html and "2 people" in html and "the file is cut" in html
    assert "Single patients against" not in html and "taken of several" not in html


def test_no_table_keeps_a_copied_scan_or_a_file():
    results = named_results()
    ids = results.participants["participant_id"]
    splits = results.splits.assign(scan_group=results.splits["participant_id"])
    results = dataclasses.replace(results, splits=splits, participants=results.participants.assign(scan_group=ids))
    bare = unnamed(Study(results, cohort_of(), {}, NODES)).results
    for table in (bare.participants, bare.splits, bare.index):
        assert not [name for name in ids if name in table.to_csv()]
    assert bare.index["repetition_time"].eq("2.0").all() and set(bare.index["participant_id"]) == set(
        bare.participants["participant_id"]
    )


def test_a_reason_is_printed_where_two_share_it_and_without_the_file():
    everybody = named_results().participants
    reasons = shared_reasons(everybody)
    assert reasons[everybody["included"]].eq("").all()
    assert reasons[7] == reasons[9] == "… the file is cut" and reasons[5] == reasons[0] == OTHER


def test_all_numbers_but_those_of_single_people_stay():
    """The counts of the study are those of the results as they were."""
    cohort = cohort_of() | {"report": {"edges": 5, "people": False}}
    whole = Study(named_results(), cohort, experiments_of(["floor"]), NODES)
    bare = unnamed(whole).results
    kept = ["group", "age", "sex", "site", "mean_fd", "included"]
    pd.testing.assert_frame_equal(bare.participants[kept], whole.results.participants[kept])
    assert bare.participants["participant_id"].nunique() == 24
    predicted = bare.predictions["tangent_ridge"]["participant_id"]
    assert set(predicted) <= set(bare.participants["participant_id"]) and len(predicted)
    merged = bare.splits.merge(bare.participants, on="participant_id", how="left")
    assert merged["group"].eq("DYT").astype(int).tolist() == whole.results.splits["label"].tolist()
    assert [sum(row[side] for row in bare.quality["excluded"]) for side in ("cases", "controls")] == [1, 3]


def test_scans_stay_in_the_figures_and_lose_their_words():
    ids = people()["participant_id"]
    table = people().assign(note=SECRET, problem=np.where(np.arange(24) == 3, f"{ids[3]}: cut", ""))
    coverage = pd.DataFrame(1.0, index=["a"], columns=ids.tolist())
    results = dataclasses.replace(named_results(), scans=Scans(table, coverage, {}))
    scans = unnamed(Study(results, cohort_of(), {}, NODES)).results.scans
    assert scans.coverage.columns.tolist() == scans.table["participant_id"].tolist()
    assert not set(ids) & set(scans.coverage.columns) and (scans.table["problem"] != "").sum() == 1
    assert "Jane" not in scans.table.to_csv() and "sub-" not in scans.table.to_csv()


def test_pages_of_an_earlier_run_go(tmp_path):
    for name in ("people", "subjects", "figures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sub-01.html").write_text("")
    remove_pages(tmp_path / "index.html")
    assert [path.name for path in tmp_path.iterdir()] == ["figures"]
    remove_pages(tmp_path / "index.html")
