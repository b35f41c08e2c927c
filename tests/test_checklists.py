"""The checklists answer what configuration and results know, name what is open, and name no person."""

import copy
import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_report import GOOD, NODES, Document, cohort_of, experiments_of, quality_of, results_of, severity_of

from dysconnect.plan.compose import compose_workflow
from dysconnect.report import Study
from dysconnect.report.checklists import (
    ABOUT,
    Item,
    answers,
    checklists_page,
    counts_text,
    exclusions,
    fill,
    read_items,
)

AREAS = {
    "Experimental design", "Image acquisition", "Preprocessing", "Statistical modelling and inference", "Results",
    "Data sharing", "Reproducibility",
}  # fmt: skip
IMAGES = {"engine": "ants", "min_coverage": 0.5, "transform": "fast", "resolution": 2}


def series_index() -> pd.DataFrame:
    """Two repetition times, the second of people who are all included."""
    names = [f"sub-{k:02d}" for k in range(24)]
    return pd.DataFrame({"participant_id": names, "repetition_time": ["2.0"] * 20 + ["2.5"] * 4})


def study_of(kind: str = "abide", changes: dict | None = None, models=tuple(GOOD), **results) -> Study:
    """The cohort of the report's tests with another kind of data, and sections of the configuration changed."""
    cohort = cohort_of(simulated=kind == "simulated")
    cohort["dataset"] = {**cohort["dataset"], "kind": kind}
    if kind in ("bids", "derivatives"):
        cohort["dataset"] |= {"task": "rest", "space": "MNI152NLin2009cAsym"}
        cohort["preprocess"] = IMAGES
    for section, keys in (changes or {}).items():
        cohort[section] = {**cohort[section], **keys}
    found = results_of({name: GOOD[name] for name in models}, **({"index": series_index()} | results))
    experiments = {name: {**cohort, "model": config["model"]} for name, config in experiments_of(models).items()}
    return Study(found, cohort, experiments, NODES)


def said(study: Study, item: str, checklist: str = "COBIDAS") -> tuple[str, bool]:
    """Words of an item, and whether it is open."""
    (one,) = [a for a in answers(study) if (a.item.checklist, a.item.item) == (checklist, item)]
    return one.words, one.open


STUDIES = {
    "simulated": lambda: study_of("simulated"),
    "series": lambda: study_of("abide"),
    "local": lambda: study_of("local", index=None),
    "images": lambda: study_of("bids"),
    "fmriprep": lambda: study_of("derivatives"),
    "table": lambda: study_of("table", {"dataset": {"covariates": ["age", "sex"]}}, index=None),
    "floor alone": lambda: study_of("abide", models=("floor",)),
    "no floor": lambda: study_of("abide", models=("tangent_ridge",)),
    "nothing found": lambda: study_of("abide", surviving=0),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_template_fills_for_every_kind_of_cohort(name):
    for answer in answers(STUDIES[name]()):
        assert answer.words.strip() and "{" not in answer.words, answer.item
        assert "  " not in answer.words and ".." not in answer.words, answer
        assert answer.words.endswith("."), answer


def test_items_lie_in_the_areas_of_the_published_lists_and_none_stands_there_twice():
    items = read_items()
    assert {item.checklist for item in items} == set(ABOUT)
    assert {item.area for item in items if item.checklist == "COBIDAS"} == AREAS
    assert len({item[:3] for item in items}) == len(items) > 90
    assert all(item.answer or item.open for item in items)


def test_a_template_needs_every_word():
    item = Item("COBIDAS", "Results", "Who", "{one} and {two}.", "Write it.")
    assert fill(item, {"one": "a", "two": "b"})[1:] == ("a and b.", False)
    assert fill(item, {"one": "a", "two": ""})[1:] == ("Write it.", True)
    assert fill(item._replace(answer=""), {})[1:] == ("Write it.", True)
    with pytest.raises(KeyError, match="two"):
        fill(item, {"one": "a"})


def test_what_nobody_can_read_from_files_is_open_for_people_and_does_not_apply_to_simulated_ones():
    for item in ("Ethics", "Scanner", "Recruitment and diagnosis", "Functional sequence"):
        assert said(study_of("bids"), item)[1]
        assert said(study_of("simulated"), item) == (
            "Does not apply: the cohort is simulated, and there are no people in it.", False,
        )  # fmt: skip
    assert said(study_of("simulated"), "Funding", "TRIPOD+AI")[1], "somebody paid for the work all the same"


def test_what_the_providers_did_is_open():
    prepared = {"denoise": {"motion": None, "high_pass": None, "low_pass": None}}
    assert said(study_of("abide", prepared), "Denoising")[1]
    assert said(study_of("table", index=None), "Denoising")[1]
    assert "24 motion parameters" in said(study_of("abide"), "Denoising")[0]
    assert said(study_of("abide"), "From images to regional series")[1]
    assert "N4" in said(study_of("bids"), "From images to regional series")[0]
    assert "fMRIPrep" in said(study_of("derivatives"), "From images to regional series")[0]


def test_numbers_are_those_of_the_results():
    study = study_of()
    kept = study.results.participants.query("included")
    cases = int((kept["group"] == "DYT").sum())
    assert f"{cases} patients and {len(kept) - cases} controls" in said(study, "Model development", "TRIPOD+AI")[0]
    assert said(study, "Time between volumes")[0] == "2 to 2.5 s."
    assert said(study_of(index=series_index().head(20)), "Time between volumes")[0] == "2 s."
    assert said(study_of(index=None), "Time between volumes")[1]
    assert said(study, "Length of the scan")[0] == "480 s a person were analysed, of 240 volumes."
    assert said(study, "Sites")[0] == "2 sites: A and B."
    assert "age" in said(study, "Covariates")[0].lower() and "motion" in said(study, "Covariates")[0]
    calibration = said(study, "Calibration", "TRIPOD+AI")[0]
    assert "Tangent ridge: slope 0.91 [0.50, —], intercept −0.12" in calibration
    assert said(study, "Performance by group", "TRIPOD+AI")[0].startswith(
        "AUC of tangent ridge: site A 0.71 [0.61, 0.81]; motion 0.05"
    )
    assert "0.20 [0.10, 0.30]" in said(study, "Beyond covariates", "TRIPOD+AI")[0]
    assert "times 0.75" in said(study, "Intervals of the effect sizes")[0]
    assert "times" not in said(study_of(surviving=0), "Intervals of the effect sizes")[0]


def test_without_motion_or_models_the_items_are_open():
    unmeasured = quality_of(motion={"reason": "not measured"})
    assert said(study_of(quality=unmeasured), "Head motion")[1]
    alone = study_of(models=("floor",))
    for item in ("Discrimination", "Calibration", "Model specification", "Performance by group"):
        assert said(alone, item, "TRIPOD+AI")[1]
    assert said(study_of(models=("tangent_ridge",)), "Covariates alone", "TRIPOD+AI")[1]
    scores = results_of().scores
    scores.loc[scores["metric"] == "calibration_slope", "value"] = np.nan
    assert said(study_of(scores=scores), "Calibration", "TRIPOD+AI")[1]


@pytest.mark.parametrize(
    "section, keys, item, checklist, words",
    [
        ("splits", {"folds": 7}, "Folds", "TRIPOD+AI", "7-fold"),
        ("splits", {"scheme": "leave_one_site_out"}, "Differences", "TRIPOD+AI", "sites where nobody was trained on"),
        ("splits", {"seed": 41}, "Random numbers", "COBIDAS", "splits 41"),
        ("denoise", {"global_signal": "basic"}, "Denoising", "COBIDAS", "the global signal"),
        ("denoise", {"min_seconds": 333}, "Who was left out", "COBIDAS", "less than 333 s"),
        ("dataset", {"licence": "of a friend"}, "Licence of the data", "COBIDAS", "Of a friend."),
        ("localize", {"measure": "partial"}, "Measure of connectivity", "COBIDAS", "artial correlation"),
        ("localize", {"stability_draws": 77}, "Stability", "COBIDAS", "77 random halves"),
        ("evaluate", {"bootstraps": 1234}, "Scores, tests and comparisons", "TRIPOD+AI", "1,234 bootstrap"),
        ("evaluate", {"level": 0.9}, "Correction for several tests", "COBIDAS", "best model needs a p of 0.05"),
        ("atlas", {"title": "Atlas of nobody"}, "Regions", "COBIDAS", "Atlas of nobody"),
    ],
)
def test_another_configuration_gives_another_answer(section, keys, item, checklist, words):
    assert words not in said(study_of(), item, checklist)[0]
    assert words in said(study_of(changes={section: keys}), item, checklist)[0]


def test_models_and_questions_that_were_added_are_named():
    study = study_of()
    changed = copy.deepcopy(dict(study.experiments))
    changed["tangent_ridge"]["model"]["harmonise"] = "combat"
    changed["gcn"]["training"]["pretrain"]["connectomes"] = "results/abide/connectivity/x.h5"
    other = dataclasses.replace(study, experiments=changed)
    assert said(study, "Differences between sites", "TRIPOD+AI")[0] == "Not aligned."
    assert "for tangent ridge." in said(other, "Differences between sites", "TRIPOD+AI")[0]
    assert said(other, "Updating", "TRIPOD+AI")[0] == "GCN started from weights of other data."
    assert "association with burke_fahn" in said(study_of(severity=severity_of(0)), "Further questions")[0].lower()
    assert "graph networks" in said(study, "Handling", "TRIPOD+AI")[0]
    assert "graph networks" not in said(study_of(models=("floor", "tangent_ridge")), "Handling", "TRIPOD+AI")[0]


def test_no_person_is_named():
    rows = [{"reason": "sub-01_task-rest_bold.nii: sub-01 is short", "cases": 1, "controls": 0, "others": 0}]
    assert exclusions(rows, ["sub-0", "sub-01"]) == "1 patient: …_task-rest_bold.nii: … is short."
    assert exclusions([], ["sub-01"]) == "Nobody was."
    quality = quality_of(excluded=rows)
    html = checklists_page(study_of(quality=quality), "2026-01-02")
    assert not any(name in html for name in study_of().results.participants["participant_id"])
    assert "people/" not in html and "subjects/" not in html


def test_the_page_counts_what_is_open_and_names_its_sources():
    study = study_of()
    html = checklists_page(study, "2026-01-02")
    page, filled = Document(html), answers(study)
    n_open = sum(answer.open for answer in filled)
    assert f"{len(filled) - n_open} answered, {n_open} open" == counts_text(filled)
    assert counts_text(filled) in page.text and page.text.count("Open.") == n_open > 20
    for name in ABOUT:
        assert counts_text(answer for answer in filled if answer.item.checklist == name) in page.text
    assert "10.1038/nn.4500" in html and "10.1136/bmj-2023-078378" in html
    assert [tag for tag, _ in page.tags].count("h1") == 1 and len(page.ids) == len(set(page.ids))
    assert "Tiny &lt;cohort&gt;" in html and "<cohort>" not in html
    assert all(address.startswith(("#", "data:")) for address in page.fetched)
    links = [own["href"] for tag, own in page.tags if tag == "a"]
    assert all(link.startswith(("#", "https:")) for link in links)  # Snakemake's report has it with nothing beside
    assert {link[1:] for link in links if link.startswith("#")} <= set(page.ids)


def test_simulated_data_are_called_so():
    assert "Simulated data." in checklists_page(study_of("simulated"), "2026-01-02")
    assert "Simulated data." not in checklists_page(study_of("abide"), "2026-01-02")


@pytest.mark.parametrize("dataset", ["simulated", "ds006395", "degeneration", "abide", "local"])
def test_real_configurations_fill(dataset, repository):
    given = {"dataset": dataset}
    if dataset == "local":
        given["overrides"] = "dataset.root=/nowhere dataset.contrast.cases=[DYT] dataset.contrast.controls=[HC]"
    cohort, experiments = compose_workflow(
        repository / "configs", repository / "workflow/schemas/config.schema.json", given
    )
    cohort["dataset"]["contrast"] = cohort_of()["dataset"]["contrast"]
    results = results_of({"floor": GOOD["floor"], "correlation_ridge": GOOD["tangent_ridge"]}, gaps={})
    filled = answers(Study(results, cohort, experiments, NODES))
    assert all(answer.words for answer in filled)
    assert sum(answer.open for answer in filled) < (30 if dataset == "simulated" else 60)
