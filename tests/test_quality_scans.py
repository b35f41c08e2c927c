"""The scans of a cohort: every planted trouble is marked and explained, and denoising shows what it does."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
from scanned import ASKEW, CUT, FAILED, MOVING, NOISY, SPIKES, WILD, scanned_cohort
from test_report import NODES, Document, cohort_of, experiments_of, methods, page_of, quality_of, results_of, verdict

from dysconnect.paper.carpet import carpet_figure, region_carpet, spread
from dysconnect.quality.metrics import quality_metrics
from dysconnect.quality.scans import (
    Scan,
    denoising_effect,
    engine_facts,
    limits,
    marked,
    read_scan,
    read_scans,
    regional_dvars,
    scan_rows,
    scan_table,
)
from dysconnect.report.people.subjects import coverage_tables, engine_report, engine_rows, percentile, write_pages
from dysconnect.report.results import read_results
from dysconnect.report.scans import coverage_figure, coverage_steps, effect_figure, strips_figure

SPEC = cohort_of()["quality"]
CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, nodes, denoise_spec):
    """Twelve people with one of every trouble, their tables, and a page each (read only)."""
    folder = tmp_path_factory.mktemp("scanned")
    spec = {**denoise_spec, "motion": "basic", "fd_threshold": 0.5, "max_mean_fd": 0.6}
    made = scanned_cohort(folder, nodes, spec)
    rows = scan_rows(made.index, made.denoised)
    table, coverage, engine = scan_table((read_scan(*row, made.nodes) for row in rows), made.participants)
    paths = [folder / name for name in ("scans.tsv", "coverage.tsv", "engine.json")]
    table.to_csv(paths[0], sep="\t", index=False, na_rep="n/a", float_format="%.6g")
    coverage.to_csv(paths[1], sep="\t", na_rep="n/a", float_format="%.4g")
    paths[2].write_text(json.dumps(engine))
    made.rows, made.scans, made.paths = rows, read_scans(*paths), paths
    spec = {**SPEC, "title": "Tiny <cohort>", "fd_threshold": 0.5, "min_coverage": 0.5}
    write_pages(rows, made.scans, made.participants, made.nodes, spec, folder / "report/subjects", "2026-01-02")
    return made


@pytest.fixture(scope="module")
def images():
    """Configuration of a cohort of raw images."""
    cohort = cohort_of()
    cohort["dataset"]["kind"] = "bids"
    cohort["preprocess"] = {"engine": "ants", "min_coverage": 0.5, "transform": "fast", "resolution": 2}
    return cohort


@pytest.fixture(scope="module")
def report_of_scans(scanned, images):
    """The report of these people, and its document."""
    return page_of(_results(scanned), images)


def _results(scanned):
    people = scanned.participants
    kept = people[people["included"]]
    splits = kept[["participant_id", "site"]].assign(label=(kept["group"] == "DYT").astype(int), repeat=0, fold=0)
    return dataclasses.replace(results_of(), participants=people, splits=splits, scans=scanned.scans)


def of(scanned, name) -> pd.Series:
    return scanned.scans.table.set_index("participant_id").loc[name]


def html_of(scanned, name) -> str:
    return (scanned.folder / f"report/subjects/{name}.html").read_text()


# what is measured and marked


def test_every_planted_trouble_is_marked_and_nothing_else(scanned):
    table = scanned.scans.table
    found = marked(table, SPEC).set_index(table["participant_id"])
    beyond = {name: {measure for measure in found if row[measure]} for name, row in found.iterrows()}
    assert {"tsnr", "dvars"} <= beyond.pop(NOISY)
    assert "dvars" in beyond.pop(MOVING)
    assert "silent" in beyond.pop(CUT)
    assert {"mean_fd", "spikes"} <= beyond.pop(WILD)
    assert beyond.pop(ASKEW) == {"dice_t1w_template"}
    assert set(map(len, beyond.values())) == {0} and FAILED in beyond


def test_the_table_survives_being_written(scanned):
    failed, cut = of(scanned, FAILED), of(scanned, CUT)
    assert "cut short" in failed["problem"] and np.isnan(failed["tsnr"]) and failed["included"] == np.False_
    assert of(scanned, NOISY)["problem"] == "" and "of their volume" in cut["note"]
    assert of(scanned, MOVING)["censored"] == pytest.approx(7 / 120)  # four displacements, back and forth
    assert of(scanned, MOVING)["spikes"] == pytest.approx(7 / 120, abs=0.02)
    coverage = scanned.scans.coverage
    assert list(coverage.index) == scanned.nodes["name"].tolist() and coverage[FAILED].isna().all()
    assert (coverage[CUT] < 0.5).mean() == pytest.approx(cut["silent"]) and (coverage[NOISY] == 1).all()


def test_limits_come_from_the_configuration_and_from_the_cohort(scanned):
    table = scanned.scans.table
    assert limits(table, SPEC)["mean_fd"] == 0.25
    assert not marked(table, {**SPEC, "min_dice_template": 0.5})["dice_t1w_template"].any()
    strict = limits(table, {**SPEC, "min_tsnr": 1e6})
    assert strict["tsnr"] == 1e6 and marked(table, {**SPEC, "min_tsnr": 1e6})["tsnr"].sum() == 11
    alike = pd.DataFrame({name: np.full(20, 50.0) for name in strict}).assign(tsnr=np.r_[49.5, 30.0, np.full(18, 50)])
    assert marked(alike, SPEC)["tsnr"].tolist() == [False, True, *[False] * 18]  # 1% below is no outlier
    assert not marked(alike.head(5), SPEC)["tsnr"].any()  # of five people nobody is one


def test_dvars_in_closed_form():
    noise = np.random.default_rng(0).standard_normal((4000, 30))
    np.testing.assert_allclose(np.nanmean(regional_dvars(noise)), np.sqrt(2), rtol=0.01)
    wave = np.where(np.arange(400) % 2, 1.0, -1.0)[:, None] * [1, 7, 0] + [5, 100, 3]
    got = regional_dvars(wave)
    np.testing.assert_allclose(got[1:], 2, rtol=1e-3)
    assert np.isnan(got[0])
    wave[[10, 11]] = np.nan
    assert np.flatnonzero(np.isnan(regional_dvars(wave))).tolist() == [0, 10, 11, 12]
    assert np.isnan(regional_dvars(np.zeros((50, 4)))).all()


def test_denoising_takes_the_trace_of_motion_out(scanned):
    moving, well = of(scanned, MOVING), of(scanned, "sub-09")
    assert moving["fd_dvars_before"] > 0.8 and abs(moving["fd_dvars_after"]) < 0.35
    assert moving["dvars_after"] < moving["dvars_before"] and abs(well["fd_dvars_before"]) < 0.35
    assert np.isnan(of(scanned, WILD)["dvars_after"])  # left out, never denoised


def test_without_motion_or_denoised_series_the_effect_is_unknown():
    series = np.random.default_rng(0).standard_normal((60, 5))
    row = {"repetition_time": "2"}
    assert np.isnan(list(denoising_effect(Scan(row, before=series)).values())).all()
    told = denoising_effect(Scan(row, before=series, after=series))
    assert told["dvars_before"] == told["dvars_after"] and np.isnan(told["fd_dvars_before"])


def test_what_the_engine_says_is_counted_never_assumed():
    assert engine_facts([]) == {"people": 0}
    told = [{"slice_timing": True, "volumes_left_out": 2}, {"slice_timing": False, "volumes_left_out": 2}, {}]
    assert engine_facts(told) == {"people": 3, "volumes_left_out": {"2": 2}, "slice_timing": {"yes": 1, "no": 1}}


def test_files_are_found_beside_the_index_and_from_where_the_workflow_runs(scanned, tmp_path, monkeypatch):
    row, folder, cleaned = scanned.rows[0]
    monkeypatch.chdir(folder.parent)
    elsewhere = {**row, "engine": f"{folder.name}/{row['engine']}", "confounds": "not/here.tsv"}
    scan = read_scan(elsewhere, folder, cleaned, scanned.nodes)
    assert scan.engine["measures"]["dice_bold_t1w"] == 0.91 and scan.displacement is None


def test_metrics_have_consistent_names(scanned):
    metrics = quality_metrics(quality_of(), scanned.scans.table, SPEC)
    assert metrics["quality.kept_cases"] == 11 and metrics["quality.qcfc_share"] == 0.04
    assert metrics["quality.mean_fd_controls"] == 0.19 and metrics["quality.scans_failed"] == 1
    assert metrics["quality.scans_marked"] == 5 and metrics["quality.tsnr_mean"] > 20
    unmeasured = quality_metrics(quality_of(qcfc={"everybody": {"reason": "x"}}, motion={"reason": "not measured"}))
    assert "quality.qcfc_share" not in unmeasured and "quality.mean_fd_cases" not in unmeasured


def test_results_are_read_by_name(scanned, tmp_path):
    results, paths = _results(scanned), dict(zip(("scans", "coverage", "engine"), scanned.paths))
    names = (
        "splits",
        "scores",
        "comparisons",
        "curves",
        "edges",
        "qcfc",
        "participants",
        "folds",
        "subgroups",
        "power",
        "components",
        "families",
        "people",
        "detectable",
        "points",
    )
    for name in names:
        paths[name] = tmp_path / f"{name}.tsv"
        getattr(results, name).to_csv(paths[name], sep="\t", index=False)
    for name, told in (("summary", {"alpha": 0.05}), ("quality", {"edges": {}}), ("verdict", {"verdict": "withheld"})):
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(json.dumps(told))
    results.histories["gcn"].to_csv(tmp_path / "history.tsv", sep="\t", index=False)
    results.nulls["floor"].to_csv(tmp_path / "null.tsv", sep="\t", index=False)
    paths["nulls"] = [tmp_path / "null.tsv"]
    got = read_results({**paths, "recovery": [], "targets": []}, ["gcn"], [tmp_path / "history.tsv"])
    assert len(got.nulls["gcn"]) == 40 and got.predictions == {}
    assert got.stimulation == "withheld" and got.recovery is None and len(got.histories["gcn"]) > 3
    pd.testing.assert_frame_equal(got.scans.table, scanned.scans.table)
    plain = read_results({**paths, "scans": [], "verdict": []}, [], [])
    assert plain.scans is None and plain.stimulation == "" and plain.summary == {"alpha": 0.05}


# carpets


def test_a_volume_that_was_left_out_is_a_gap_on_the_same_axis_of_time(scanned):
    row = next(own for own in scanned.rows if own[0]["participant_id"] == MOVING)
    scan = read_scan(*row, scanned.nodes)
    gaps = np.isnan(scan.after).all(1)
    assert len(scan.after) == len(scan.before) == 120 and set(SPIKES) <= set(np.flatnonzero(gaps))
    carpet = region_carpet(scan.after, scanned.nodes)
    assert (np.isnan(carpet.values).all(0) == gaps).all() and not np.isnan(carpet.values[:, ~gaps]).any()
    figure = carpet_figure({"After": carpet}, scan.seconds)
    assert (figure.axes[0].images[0].get_array().mask.all(0) == gaps).all()


def test_labels_do_not_cover_each_other():
    moved = spread(np.array([10.0, 50.0, 98.0, 99.0, 99.5]), 5.0)
    assert (np.diff(moved) >= 5 - 1e-9).all() and moved[-1] == 99.5 and moved[0] == 10


# the report


def test_the_report_lists_the_failed_then_the_marked(report_of_scans):
    html, document = report_of_scans[0].html, report_of_scans[1]
    section = html.split('id="scans"', 1)[1].split('id="quality"', 1)[0]
    links = re.findall(r'<a href="(subjects/[^"]+)">([^<]+)</a>', section)
    assert links[0][1] == FAILED
    assert all(address == f"subjects/{name}.html" for address, name in links) and len(links) == 12
    assert {name for _, name in links[1:6]} == {NOISY, MOVING, CUT, WILD, ASKEW}
    assert "<strong>▼\u00a00.550</strong>" in section and "▲" in section
    assert "&lt;after volume 7&gt;" in section and "<after" not in html
    assert "12 scans, 1 failed, 5 beyond a limit" in document.text


def test_a_report_that_is_mailed_draws_the_scans_and_names_nobody(scanned, images):
    cohort = images | {"report": {"edges": 5, "people": False}}
    page, document = page_of(_results(scanned), cohort)
    assert [name for name in scanned.scans.table["participant_id"] if name in page.html] == []
    assert "12 scans, 1 failed, 5 beyond a limit" in document.text and "subjects/" not in page.html
    assert {"scans", "coverage", "denoising"} <= set(page.figures)


def test_the_report_says_what_denoising_did(report_of_scans):
    assert re.search(r"Denoising took DVARS .* from 0\.\d\d to 0\.\d\d standard dev.* 9 scans", report_of_scans[1].text)
    assert {"scans", "coverage", "denoising"} <= set(report_of_scans[0].figures)
    assert len(report_of_scans[1].ids) == len(set(report_of_scans[1].ids))
    assert all(address.startswith(("#", "data:")) for address in map(str, report_of_scans[1].fetched))


def test_figures_draw_everybody(scanned):
    figure = strips_figure(scanned.scans, CONTRAST, SPEC)
    assert len(figure.axes) == 5 and sum(len(line.get_xdata()) == 2 for line in figure.axes[0].lines) > 0
    covered = coverage_figure(scanned.scans, CONTRAST, scanned.nodes, 0.5)
    assert covered.axes[0].images[0].get_array().shape == (len(scanned.nodes), 11)
    assert effect_figure(scanned.scans.table, CONTRAST).axes[0].get_ylabel() == "DVARS of regions (sd)"
    empty = dataclasses.replace(scanned.scans, coverage=scanned.scans.coverage[[FAILED]])
    assert "not" not in coverage_figure(empty, CONTRAST, scanned.nodes, 0.5).axes[0].texts[0].get_text()
    assert coverage_steps(0.5) == [0, 0.5, 0.75, 0.95, 1.01] and coverage_steps(0.96) == [0, 0.96, 0.98, 1.01]


def test_cohorts_without_registration_or_denoising_still_render(scanned, images):
    unknown = ["dice_t1w_template", "dice_bold_t1w", "dvars_before", "dvars_after", "fd_dvars_before", "fd_dvars_after"]
    table = scanned.scans.table.assign(**dict.fromkeys([*unknown, "censored", "mean_fd", "spikes"], np.nan))
    scans = dataclasses.replace(scanned.scans, table=table, engine={"people": 0})
    page, document = page_of(dataclasses.replace(_results(scanned), scans=scans), images)
    section = page.html.split('id="scans"', 1)[1].split('id="quality"', 1)[0]
    assert "Dice" not in section and "Denoising took" not in document.text
    assert "Susceptibility" not in document.text and "slice timing" not in document.text


def test_a_difference_in_noise_between_the_groups_is_warned_of(scanned, images):
    table = scanned.scans.table
    noisy = table.assign(tsnr=np.where(table["group"] == "DYT", 40.0, 80.0) + np.arange(len(table)), included=True)
    results = dataclasses.replace(_results(scanned), scans=dataclasses.replace(scanned.scans, table=noisy))
    said = dict(verdict(results, images, experiments_of(["floor", "tangent_ridge", "gcn"])))["Quality"]
    assert "signal-to-noise ratio differs between the groups" in said and "patients have less" in said


def test_methods_say_what_the_engine_said(scanned, images):
    results, experiments = _results(scanned), experiments_of(["floor", "tangent_ridge", "gcn"])
    said = dict(methods(results, images, experiments, NODES))
    series = said["Cohort and series"]
    assert "slice timing was corrected; 0 to 1 volume before the steady state" in series.replace("volumes", "volume")
    assert "susceptibility distortion was not corrected" in series and "(MNI152NLin2009cAsym)" in series
    assert "Scans were marked" in said["Quality"]
    facts = {"people": 12, "slice_timing": {"no": 12}, "susceptibility": {"not corrected": 10, "corrected by SyN": 2}}
    other = dataclasses.replace(results, scans=dataclasses.replace(scanned.scans, engine=facts))
    series = dict(methods(other, images, experiments, NODES))["Cohort and series"]
    assert "slice timing was not corrected" in series and "steady state" not in series
    assert "not corrected in 10 scans and corrected by SyN in 2 scans" in series
    outside = {**images, "preprocess": {"engine": "fmriprep", "version": "25.2.5", "space": "fsLR", "options": "--a",
                                        "min_coverage": 0.5}}  # fmt: skip
    series = dict(methods(other, outside, experiments, NODES))["Cohort and series"]
    assert "fMRIPrep 25.2.5" in series and "ANTs" not in series and "--a" in series


# the pages


def test_everybody_has_a_page_that_stands_alone(scanned):
    pages = sorted(path.stem for path in (scanned.folder / "report/subjects").glob("*.html"))
    assert pages == [f"sub-{k:02d}" for k in range(1, 13)]
    for name in (MOVING, FAILED):
        document = Document(html_of(scanned, name))
        assert all(address.startswith(("#", "data:")) for address in map(str, document.fetched))
        assert len(document.ids) == len(set(document.ids))
        links = [own["href"] for tag, own in document.tags if tag == "a"]
        assert links[:2] == ["../index.html#scans", f"../people/{name}.html"]
        assert set(links[2:]) <= {f"{other}.html" for other in pages}


def test_a_page_shows_carpets_measures_and_registration(scanned):
    html = html_of(scanned, MOVING)
    document = Document(html)
    pictures = [own for tag, own in document.tags if tag == "img"]
    assert len(pictures) == 2 and all(
        own["src"].startswith("data:image/png;base64,") and own["alt"] for own in pictures
    )
    for words in ("Before denoising", "After denoising", "FD (mm)", "DVARS (sd)", "tinted where volumes were left out"):
        assert words in document.text
    assert "In the analysis" in document.text and "Every region lies in the field of view" in document.text
    assert "Susceptibility distortion not corrected" in document.text and "1,700 MB" in document.text
    assert "DVARS, %" in document.text and "▲" in html and "Site A <1>" in document.text and "A <1>" not in html


def test_the_page_of_the_excluded_has_the_reason(scanned):
    document = Document(html_of(scanned, WILD))
    assert "Left out of the analysis: mean framewise displacement 0." in document.text
    assert "Before denoising" in document.text and "After denoising" not in document.text
    assert "There are no denoised series" in document.text


def test_the_page_of_the_failed_has_the_reason_and_what_is_known(scanned):
    html = html_of(scanned, FAILED)
    document = Document(html)
    assert "The scan failed: sub-04_bold.nii.gz is cut short or damaged <after volume 7>" in document.text
    assert "&lt;after" in html and "Group HC" in document.text and "Nothing was measured" in document.text
    assert "img" not in {tag for tag, _ in document.tags}


def test_the_page_lists_what_is_missing(scanned):
    coverage = scanned.scans.coverage[CUT]
    html = html_of(scanned, CUT)
    for name in coverage.index[coverage < 0.5]:
        assert name in html
    assert "no signal taken" in html and "Left out of the analysis" in html
    table = pd.DataFrame({"name": ["<b>A", "B"], "coverage": [0.2, 1.0], "voxels": [1, 5], "tsnr": [np.nan, 9.0]})
    tables = coverage_tables(table, pd.DataFrame({"name": ["<b>A", "B"]}), 0.5)
    assert tables["regions"].rows[0].cells == ["<b>A", "regions", "20%", "1", "—", "no signal taken"]


def test_what_the_engine_measured_before_and_after_shares_a_line():
    measures = {"dice_bold_t1w": 0.9, "mi_bold_t1w_before": 0.1, "mi_bold_t1w_after": 1.0, "mi_x_after": 2.0}
    assert engine_rows({"measures": measures, "slice_timing": False}) == [
        ("Dice, BOLD T1w", "0.900"),
        ("Mutual information, BOLD T1w", "0.100 before, 1.000 after"),
        ("Mutual information, x after", "2.000"),
        ("Slice timing corrected", "no"),
    ]
    assert engine_rows({}) == []


def test_percentiles_and_links():
    assert percentile(np.array([1.0, 2, 3, 4, np.nan]), 3.0) == 62.5
    assert engine_report({"report": "fmriprep/sub-01.html"}) == "../../preprocess/fmriprep/sub-01.html"
    assert engine_report({"report": "/elsewhere/sub-01.html"}) == engine_report({}) == ""
