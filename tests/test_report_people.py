"""Everybody has a page: the same numbers as the tables, its cautions, and nothing that the gates withhold."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_report import GOOD, NODES, Document, cohort_of, people, scores_of

from dysconnect.data.participants import write_participants
from dysconnect.paper.deviation import brain_picture
from dysconnect.paper.text import Estimate
from dysconnect.report.people import (
    Everybody,
    alike,
    out_of_fold,
    people_table,
    read_everybody,
    scan_table,
    write_people,
)
from dysconnect.report.people.norm import norm_sentence

ODD = "sub/7 <odd>"
SHOWN = "tangent ridge beats its permutation null (p = 0.002)"


def write_tables(folder: Path, verdict: str = SHOWN, seventh: str = ODD) -> dict[str, Path]:
    """What the stages before leave of two dozen people; one has an odd name, one is of a third group."""
    table = people().replace({"participant_id": {"sub-07": seventh}})
    table.loc[11, "group"] = "other"
    paths = {
        name: folder / f"{name}.tsv" for name in ("participants", "index", "scores", "people", "circuits", "edges")
    }
    write_participants(table, paths["participants"])
    moved = np.r_[np.nan, np.linspace(0, 0.9, 99)]
    pd.DataFrame({"framewise_displacement": moved}).to_csv(folder / "fd.tsv", sep="\t", index=False, na_rep="n/a")
    scans = table[["participant_id"]].assign(confounds="fd.tsv", repetition_time=2.0).drop(index=7)
    scans.to_csv(paths["index"], sep="\t", index=False)
    scores_of(GOOD).to_csv(paths["scores"], sep="\t", index=False)
    kept = table[table["included"] & (table["group"] != "other")].reset_index(drop=True)
    label = (kept["group"] == "DYT").astype(int)
    names = kept["participant_id"]
    z = np.linspace(3, 6, len(kept))
    told = pd.DataFrame({"participant_id": names, "label": label, "pooled": "", "df": 9, "largest_z": z})
    told = told.assign(p_max=np.where(names == "sub-02", 0.04, 0.5), n_fdr=1, n_controls=9)
    told.to_csv(paths["people"], sep="\t", index=False)
    edges = pd.concat([_edges(name) for name in names])
    edges.to_csv(paths["edges"], sep="\t", index=False)
    circuits = told[["participant_id", "label"]].assign(circuit="sensorimotor", n_edges=20, score=1.1, mean_z=-0.3)
    circuits.assign(relative=0.4, p=0.3, p_max=0.6).to_csv(paths["circuits"], sep="\t", index=False)
    paths |= {"targets": folder / "targets.tsv", "verdict": folder / "verdict.json"}
    paths["verdict"].write_text(json.dumps({"verdict": verdict}))
    rows = [
        (name, kind, target, -0.4, -1.2, rank, 2.5)
        for name in names[label == 1]
        for kind, targets in (("node", ["Putamen L 1", "Putamen R 1"]), ("region", ["gpi"]))
        for rank, target in enumerate(targets, start=1)
        if verdict == SHOWN
    ]
    columns = ["participant_id", "kind", "target", "shift", "score", "rank", "cost"]
    targets = pd.DataFrame(rows, columns=columns)
    targets.to_csv(paths["targets"], sep="\t", index=False)
    paths["edits"] = folder / "edits.tsv"
    edits = targets.loc[targets["rank"] == 1, ["participant_id", "kind", "target"]]
    edits = edits.assign(region_a="Putamen L 1", region_b=NODES["name"].iloc[0], change=0.31, change_spread=np.nan)
    edits = edits.assign(change_sd=1.5, share=0.25, cheapest=0.6, cheapest_sd=2.5, cheapest_share=0.5)
    edits.to_csv(paths["edits"], sep="\t", index=False)
    return paths


def _edges(name: str) -> pd.DataFrame:
    left, right, middle = "Putamen L 1", "Putamen R 1", NODES["name"].iloc[0]
    table = pd.DataFrame({"region_a": [left, right], "region_b": [middle, middle], "z": [-4.5, 3.2]})
    return table.assign(participant_id=name, direction=["lower", "higher"], p=0.001, p_fdr=0.04, p_max=[0.03, 0.7])


def predictions_of(folder: Path) -> dict[str, Path]:
    """Two repeats of three experiments, on whoever is compared."""
    table = people()
    kept = table[table["included"] & (table.index != 11)]
    rng, paths = np.random.default_rng(3), {}
    for name in GOOD:
        rows = [
            (row.participant_id, name, repeat, 0, 0, int(row.group == "DYT"), rng.uniform())
            for repeat in range(2)
            for row in kept.itertuples()
        ]
        columns = ["participant_id", "experiment", "repeat", "fold", "seed", "label", "probability"]
        paths[name] = folder / f"{name}.tsv"
        pd.DataFrame(rows, columns=columns).to_csv(paths[name], sep="\t", index=False)
    return paths


SPEC = {
    "dataset": cohort_of()["dataset"], "denoise": cohort_of()["denoise"], "alpha": 0.05, "floors": ["floor"],
    "measure": "correlation", "stimulated": "correlation",
    "nuisance": ["age", "sex", "site", "mean_fd"], "marked_fd": 0.3, "scanned": False,
}  # fmt: skip


def write_pages(folder: Path, verdict: str = SHOWN, seventh: str = ODD) -> Everybody:
    """Write the pages into ``people`` of the folder; return what they were made of."""
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    everybody = read_everybody(write_tables(tables, verdict, seventh), predictions_of(tables))
    write_people(everybody, NODES, SPEC, folder / "people", "2026-01-02")
    return everybody


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    (folder / "people").mkdir()
    (folder / "people/sub-gone.html").write_text("of a run before")
    return folder / "people", write_pages(folder)


def read(made, name: str) -> Document:
    return Document((made[0] / f"{name}.html").read_text(encoding="utf-8"))


def test_everybody_has_a_page_and_nobody_else(made):
    folder, everybody = made
    expected = {re.sub(r"[^\w-]", "-", name) for name in everybody.participants["participant_id"]}
    assert {path.stem for path in folder.iterdir()} == expected | {"index"}
    index = read(made, "index")
    assert all(name in index.text for name in everybody.participants["participant_id"])
    assert "left out: <b>corrupt</b> & short" in index.text and "24 participants, 4 left out" in index.text


def test_whoever_stands_out_is_marked_and_told_why(made):
    everybody = made[1]
    table = people_table(everybody, SPEC)
    note = {row.cells[0][0]: row.cells[-1] for row in table.rows}
    best = everybody.predictions["tangent_ridge"]
    wrong = set(best.index[(best["value"] > 0.5) != (best["label"] == 1)])
    patients = set(best.index[best["label"] == 1])
    assert {name for name in note if "taken for" in note[name]} == wrong and 0 < len(wrong) < len(best)
    assert {name for name in note if "taken for a control" in note[name]} == wrong & patients
    assert [name for name in note if "deviates" in note[name]] == ["sub-02"]
    motion = everybody.participants["mean_fd"]
    assert {name for name in note if "moves much" in note[name]} == set(motion.index[motion > 0.3])
    assert all(bool(row.mark) == bool(row.cells[-1]) for row in table.rows)
    assert f"named in the note ({sum(map(bool, note.values()))})" in table.caption
    chance = dataclasses.replace(everybody, aucs=everybody.aucs | {"tangent_ridge": Estimate(0.8, 0.4, 0.9, 0.2)})
    table = people_table(chance, SPEC)
    assert "taken for a" not in str(table.rows) and "tangent ridge does not beat chance" in table.caption


def test_every_page_stands_alone_and_leads_on(made):
    folder, _ = made
    for path in folder.iterdir():
        page = Document(path.read_text(encoding="utf-8"))
        assert all(address == "data:," or address.startswith("#") for address in page.fetched), path.name
        assert len(page.ids) == len(set(page.ids)) and path.stat().st_size < 60_000
        links = [own["href"] for tag, own in page.tags if tag == "a"]
        beside = [link for link in links if not link.startswith(("#", ".."))]
        assert beside and all((folder / link).is_file() for link in beside)
        assert "../index.html" in links
        assert page.text.count("For research only: no diagnosis") == 2


def test_the_numbers_are_those_of_the_tables(made):
    page, everybody = read(made, "sub-02"), made[1]
    own = everybody.predictions["gcn"].loc["sub-02"]
    assert f"{own['value']:.2f}" in page.text and f"{own['low']:.2f} to {own['high']:.2f}" in page.text
    assert page.text.index("tangent ridge") < page.text.index("GCN") < page.text.index("floor no connections")
    assert "GCN does not beat chance" not in page.text  # its interval excludes chance, and no test was asked for
    assert "0.80 [0.70, 0.90]" in page.text and "9 controls make likely for age, sex, site and motion" in page.text
    assert "more than the largest of healthy people are (p = 0.040" in page.text
    assert "−4.50 weaker" in page.text and "3.20 stronger" in page.text
    assert "Time between volumes, s 2" in page.text and "≤ 0.5" in page.text
    assert "largest 0.90" in page.text and "3.3 minutes" in page.text


def test_a_page_says_how_little_one_person_s_numbers_are(made):
    page = read(made, "sub-02").text
    assert "About one person each of them may be wrong, and often is." in page
    assert "1 of 11 patients (9.1%) and 0 of 8 controls (0%)" in page and "where 5% of healthy people" in page
    assert norm_sentence(made[1].people, 0.6).startswith("Against the norm of the controls 11 of 11 patients")


def test_whoever_moves_more_than_every_control_is_compared_with_nobody_and_told_why(made, tmp_path):
    """The page of the person, that of everybody, and the sentence beside the counts."""
    everybody = made[1]
    told = everybody.people.assign(beyond=np.nan).astype({"beyond": object})
    told.loc["sub-02", ["beyond", "largest_z", "p_max"]] = "mean_fd, mean_fd_task", np.nan, np.nan
    moved = dataclasses.replace(everybody, people=told)
    write_people(moved, NODES, SPEC, tmp_path, "today")
    text = Document((tmp_path / "sub-02.html").read_text()).text
    assert "no norm of the controls for this person: motion and motion during the task of this person is above" in text
    assert "are compared with nobody" not in text
    assert "1 patient moves more than every control, and is compared with nobody." in text
    rows = {row.cells[0][0]: row for row in people_table(moved, SPEC).rows}
    assert "moves more than every control" in rows["sub-02"].cells[-1]
    assert not any("than every control" in row.cells[-1] for name, row in rows.items() if name != "sub-02")
    assert "compared with nobody" not in norm_sentence(everybody.people, 0.6)


def test_whoever_was_left_out_is_told_why_and_nothing_more(made):
    for name, reason in (("sub-05", "<b>corrupt</b> & short"), ("sub-7--odd-", "no series file in the index")):
        page = read(made, name)
        assert f"Left out of the analysis: {reason}" in page.text
        assert "What the models said" not in page.text and "Virtual stimulation" not in page.text
    assert "this group is neither side of the contrast" in read(made, "sub-11").text


def test_connections_without_scans_are_no_short_scans(made):
    """A table of connections has neither volumes nor a time between them: nothing was measured, nothing is beyond."""
    everybody, bare = made[1], made[1].participants.assign(n_volumes=0, seconds_kept=0.0, mean_fd=np.nan)
    nothing = dataclasses.replace(everybody, participants=bare, index=everybody.index[[]])
    assert scan_table(nothing, "sub-02", SPEC["denoise"]) is None
    short = dataclasses.replace(everybody, participants=everybody.participants.assign(seconds_kept=120.0))
    assert scan_table(short, "sub-02", SPEC["denoise"]).rows[1].beyond == [1]


def test_targets_are_shown_of_patients_and_behind_the_gate_only(made, tmp_path):
    patient, control = read(made, "sub-02").text, read(made, "sub-03").text
    assert "Hypotheses for research, not for the selection of a treatment" in patient
    assert "Putamen L 1 region 1 −0.40 −1.20 2.5" in patient
    assert f"Putamen L 1 node Putamen L 1 – {NODES['name'].iloc[0]} 0.31 1.50 25% 0.60" in patient
    assert "Virtual stimulation" not in control
    write_pages(tmp_path, "withheld: ridge does not beat its permutation null (p = 0.297)")
    page = read((tmp_path / "people", None), "sub-02").text
    assert "No ranking is shown; withheld: ridge does not beat" in page and "Putamen L 1 region 1" not in page


def test_out_of_fold_is_the_mean_over_repeats_of_means_over_seeds():
    rows = [("a", 0, 0, 0.2), ("a", 0, 1, 0.4), ("a", 1, 0, 0.6), ("a", 1, 1, 0.8), ("b", 0, 0, 0.5)]
    table = pd.DataFrame(rows, columns=["participant_id", "repeat", "seed", "probability"]).assign(label=1)
    own = out_of_fold(table).loc["a"]
    assert own[["value", "low", "high"]].tolist() == pytest.approx([0.5, 0.3, 0.7])


def test_people_alike_are_counted_without_the_person():
    """Fifty people on a line, patients above the middle: of the ten next to somebody in the upper half all are."""
    value = np.linspace(0, 1, 50)
    names = [f"p{k}" for k in range(50)]
    table = pd.DataFrame({"value": value, "label": (value > 0.5).astype(int)}, index=names)
    assert alike(table, "p45") == (10, 10) and alike(table, "p3") == (10, 0)


def test_two_people_of_one_page_are_refused(tmp_path):
    paths = write_tables(tmp_path)
    table = paths["participants"].read_text().replace("sub-08", "sub 7 <odd>")
    paths["participants"].write_text(table)
    with pytest.raises(ValueError, match=r"would have one page, sub-7--odd-\.html"):
        write_people(read_everybody(paths, {}), NODES, SPEC, tmp_path / "people", "today")


def test_left_is_left_and_weaker_is_solid():
    svg = str(brain_picture(_edges("a"), NODES).svg)
    lines = re.findall(r'd="M([\d.]+) [\d.]+L[\d.]+ [\d.]+" stroke="(#\w+)"( stroke-dasharray)?', svg)
    assert len(lines) == 6  # two connections from three sides
    (left, blue, solid), (right, red, dashed) = lines[:2]
    assert float(left) < 120 < float(right) and blue != red and not solid and dashed
    assert [text for text in re.findall(r">([^<>]+)</text>", svg)][:3] == ["From above", "L", "R"]


def test_pages_need_nothing_slow_that_they_do_not_use():
    slow = [
        "fontTools.subset", "joblib", "mlflow", "nilearn", "scipy.interpolate", "scipy.optimize", "scipy.sparse",
        "scipy.stats", "sklearn", "torch",
    ]  # fmt: skip
    code = f"import sys; import dysconnect.report.people; print([name for name in {slow} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
