"""Pictures and tables of prediction show bands, nulls and people behind the scores, and what limits them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_report import GAPS, GOOD, cohort_of, experiments_of, history_of, null_of, predictions_of, results_of

from dysconnect.paper.style import COLUMN
from dysconnect.paper.svg import to_svg
from dysconnect.report.prediction import section
from dysconnect.report.prediction.figures import (
    calibration_figure,
    forest_figure,
    learning_figure,
    null_figure,
    probability_figure,
    roc_figure,
)
from dysconnect.report.prediction.scores import harmonised_by_site
from dysconnect.report.prediction.tables import comparison_table, model_table
from dysconnect.report.prediction.words import learning_caption, models_text
from dysconnect.report.references import cited
from dysconnect.report.results import Results, Study

SITES = {"floor": 0.5, "tangent_ridge": 0.78, "gcn": 0.7}


def study_of(results: Results | None = None, **models) -> Study:
    experiments = experiments_of(GOOD)
    for name, changes in models.items():
        experiments[name]["model"] |= changes
    return Study(results or results_of(), cohort_of(), experiments, pd.DataFrame())


def of_sites() -> Results:
    """Results with AUC within sites: 0.08 between tangent ridge and GCN, where all pairs say 0.15."""
    plain = results_of()
    rows = [(name, "auc_within_site", auc, auc - 0.1, auc + 0.1, np.nan, np.nan) for name, auc in SITES.items()]
    names = ["experiment", "metric", "value", "low", "high", "p", "p_best"]
    scores = pd.concat([plain.scores, pd.DataFrame(rows, columns=names)], ignore_index=True)
    pairs = [(*pair, "auc_within_site", SITES[pair[0]] - SITES[pair[1]], -0.2, 0.3, 0.25, 0.31) for pair in GAPS]
    pairs = pd.DataFrame(
        pairs, columns=["experiment", "other", "metric", "difference", "low", "high", "p", "p_corrected"]
    )
    return dataclasses.replace(plain, scores=scores, comparisons=pd.concat([plain.comparisons, pairs]))


def test_the_roc_has_the_band_of_its_table_and_none_of_one_fold():
    results = results_of()
    figure = roc_figure(results.curves, results.scores, "floor")
    bands = [band.get_paths()[0].vertices for band in figure.axes[0].collections]
    assert len(bands) == 3
    grid = np.linspace(0, 1, 11)
    assert {tuple(row) for row in np.c_[grid, grid**0.25].round(9)} <= {tuple(row) for row in bands[0].round(9)}
    lone = roc_figure(results.curves.assign(low=np.nan, high=np.nan), results.scores)
    assert not any(len(band.get_paths()) for band in lone.axes[0].collections)
    caption = section(study_of()).figures["roc"].caption
    assert "one standard deviation over folds" in caption and "over repeats" not in caption


def test_calibration_has_the_best_model_large_and_the_others_small():
    figure = calibration_figure(results_of().curves, "tangent_ridge", "floor")
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == ["tangent ridge", "floor", "GCN"]
    large, *small = [axes.get_window_extent().width for axes in figure.axes]
    assert all(width < large / 2 for width in small)
    assert all(len(axes.collections) == 1 for axes in figure.axes)
    assert len(calibration_figure(results_of({"gcn": GOOD["gcn"]}, {}).curves, "gcn").axes) == 1
    assert "of tangent ridge" in section(study_of()).figures["calibration"].caption


def test_a_person_is_one_point_at_the_mean_of_the_repeats():
    splits = results_of().splits
    axes = probability_figure(predictions_of(splits)).axes[0]
    patients, controls = (points.get_offsets().data[:, 1] for points in axes.collections)
    assert len(patients) == splits["label"].sum() and len(patients) + len(controls) == len(splits)
    np.testing.assert_allclose(patients, 0.7)
    np.testing.assert_allclose(controls, 0.3)


def test_every_tested_model_has_its_null_and_its_line():
    results = results_of()
    figure = null_figure(results.nulls, results.scores, "floor")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["tangent ridge\np = 0.002", "floor\np = 0.20"]
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)  # nobody is outside
        np.testing.assert_allclose(axes.lines[0].get_xdata(), 0.8)
    nothing = {name: null_of(False) for name in GOOD}
    assert "No model was tested against permuted labels" in to_svg(null_figure(nothing, results.scores))
    one = {"floor": null_of(True).assign(auc=0.5)}
    assert null_figure(nothing | one, results.scores).axes  # no spread at all


def test_auc_within_sites_has_a_column_where_there_are_several():
    results = of_sites()
    table = model_table(results, "floor", {})
    place = [column.title for column in table.columns].index("Within sites [interval]")
    assert [row.cells[place] for row in table.rows][:2] == ["0.78 [0.68, 0.88]", "0.70 [0.60, 0.80]"]
    assert "of the same site" in table.caption and "moves" not in table.caption
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    gone = results.scores["value"].where(results.scores["metric"] != "auc_within_site")
    lone = model_table(dataclasses.replace(results, scores=results.scores.assign(value=gone)), "floor", {})
    assert len(lone.columns) == len(table.columns) - 1 and "same site" not in lone.caption
    assert len(comparison_table(results_of().comparisons).columns) == 7


@pytest.mark.parametrize("changes", [{"harmonise": "combat"}, {"deconfound": ["age", "site"]}])
def test_a_harmonised_and_a_raw_model_are_compared_within_sites(changes):
    study = study_of(of_sites(), tangent_ridge=changes)
    assert harmonised_by_site(study.experiments) == {"tangent_ridge"}
    tables = section(study).tables
    pairs = {tuple(row.cells[:2]): row.cells for row in tables["comparisons"].rows}
    mixed = pairs["tangent ridge", "GCN"]
    assert mixed[2] == ("—", "within sites only") and mixed[3:5] == ["0.25", "0.31"] and mixed[-1].startswith("0.08")
    assert pairs["GCN", "floor"][2].startswith("0.05")
    assert "moves whole sites" in tables["comparisons"].caption
    beside = {row.cells[0][0]: row.cells[4] for row in tables["models"].rows}
    assert beside["tangent ridge"] == ("0.28 [−0.20, 0.30]", "within sites, corrected p = 0.31")
    assert beside["GCN"] == "0.05 [−0.05, 0.15]" and "moves whole sites" in tables["models"].caption


def test_pairs_are_compared_as_ever_where_nothing_or_all_is_harmonised():
    raw = section(study_of(of_sites())).tables["comparisons"]
    both = {name: {"harmonise": "combat"} for name in GOOD}
    alike = section(study_of(of_sites(), **both)).tables["comparisons"]
    lone = section(study_of(tangent_ridge={"harmonise": "combat"})).tables["comparisons"]  # of one site
    for table in (raw, alike, lone):
        assert "moves" not in table.caption and table.rows[0].cells[2].startswith("0.20")


def test_a_network_beside_a_linear_model_says_so_in_its_row():
    beside, added = "graph neural network beside a linear model", "graph neural network added to ridge regression"
    for model, words in (({"linear": True}, beside), ({"start": "ridge"}, added), ({}, "graph neural network")):
        rows = section(study_of(gcn=model)).tables["models"].rows
        assert dict(row.cells[0] for row in rows)["GCN"] == words


def test_learning_curves_name_validation_only_where_there_was_one():
    watched, alone = history_of(6), history_of(6).assign(val_loss=np.nan)
    assert "dots where" in learning_caption("gcn", watched) and "none were watched" not in learning_caption(
        "gcn", watched
    )
    assert "dots where" not in learning_caption("gcn", alone) and "none were watched" in learning_caption("gcn", alone)
    legends = [learning_figure(own).axes[0].get_legend().get_texts() for own in (watched, alone)]
    assert [[text.get_text() for text in own] for own in legends] == [["training", "validation"], ["training"]]


@pytest.mark.parametrize(("epochs", "epoch"), [(20, 11), (10, None)])
def test_a_network_that_learns_people_by_heart_is_told(epochs, epoch):
    """The loss is 1 / epoch: below a tenth of the first from the eleventh on."""
    text = learning_caption("gcn", history_of(epochs))
    assert (f"Memorised: by epoch {epoch} " in text) if epoch else "emorised" not in text


def test_the_forest_fits_a_phone_with_every_name_and_score_in_it():
    figure = forest_figure(results_of().scores, "floor")
    figure.canvas.draw()
    assert figure.get_figwidth() == COLUMN
    words = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    assert "0.80 [0.70, 0.90]" in words and "tangent ridge" in words
    assert all(place.x0 >= 0 and place.x1 <= figure.bbox.width for place in words.values())
    assert words["tangent ridge"].x1 < words["0.80 [0.70, 0.90]"].x0


def test_a_floor_that_sees_nothing_is_no_floor_in_the_forest():
    empty = study_of(floor={"covariates": []})
    caption = section(empty).figures["forest"].caption
    assert "nothing could be adjusted for" in caption and "chance" not in caption
    assert "age, sex, site and motion do not tell" in section(study_of()).figures["forest"].caption
    scores = results_of().scores
    assert "no covariates" in to_svg(forest_figure(scores, "floor", empty=True))
    assert (
        len(forest_figure(scores, "floor", empty=True).axes[0].lines)
        == len(forest_figure(scores, "floor").axes[0].lines) - 1
    )
    alone = study_of(results_of({"gcn": GOOD["gcn"]}, {}))
    assert "No confound floor was run" in section(alone).figures["forest"].caption


@pytest.mark.parametrize("learned", [0, 0.5])
@pytest.mark.parametrize("share", [0, 0.333])
def test_the_methods_say_of_a_wide_network_what_was_done_and_no_more(learned, share):
    config = experiments_of(["gcn"])["gcn"]
    soften = {"soften": [0], "harmonise": "none", "deconfound": []}
    config["model"] = {"name": "wide", "depth": 2, "learned": learned, "share": share, "trace": 0.3, **soften}
    text = models_text({"wide": config}, cohort_of())
    assert "infinite width and depth 2 (Cho and Saul 2009; Du et al. 2019) that reads every region's profile" in text
    assert ("gradients of the decision (Radhakrishnan et al. 2024) by a share of 0.5" in text) == bool(learned)
    assert ("33% of the decision from weights of low rank" in text) == bool(share)
    assert ("Radhakrishnan" in text, "Tomioka" in text) == (bool(learned), bool(share)) and "{" not in text


def test_the_methods_say_what_a_network_starts_from_and_who_stopped_it():
    config = experiments_of(["gcn"])["gcn"]
    plain = models_text({"gcn": config}, cohort_of())
    assert "added to ridge regression" not in plain and "stopped early on 20% of the training fold" in plain
    config["model"]["start"], config["graph"] = "ridge", {"density": 0.1, "edges": "mean", "drop": 0.2}
    config["training"] |= {"inner_folds": 5}
    text = models_text({"gcn": config}, cohort_of())
    assert "one graph of the 10% strongest positive correlations in the training mean, 20% of whose edges" in text
    assert "added to ridge regression on the same features" in text and "more than one standard error" in text
    assert "as many as served the people left out of 5 inner folds best, 1 seed" in text
    assert {"Rong et al. 2020", "Golub et al. 1979", "Platt 1999"} <= {paper.name for paper in cited([("", text)])}
