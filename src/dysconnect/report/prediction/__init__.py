"""Prediction: what every model scores beside chance, the confound floor, and the others."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.style import drawn_of
from dysconnect.report.prediction.figures import (
    calibration_figure,
    forest_figure,
    learning_figure,
    null_figure,
    probability_figure,
    roc_figure,
)
from dysconnect.report.prediction.scores import harmonised_by_site, kind, why_blind
from dysconnect.report.prediction.sentences import (
    exploratory_models,
    floor_sentence,
    power_sentence,
    prediction_sentence,
    regional_sentence,
    rivalry_sentence,
)
from dysconnect.report.prediction.subgroups import shown_model, subgroup_figure, subgroup_rows
from dysconnect.report.prediction.tables import comparison_table, fold_table, model_table
from dysconnect.report.prediction.tried import tried_sentence, tried_table
from dysconnect.report.prediction.words import evaluation_text, forest_caption, learning_caption, models_text
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section

KINDS = {
    "floor": "covariates only",
    "linear": "linear model",
    "wide": "graph network of infinite width",
    "graph": "graph neural network",
}


def section(study: Study) -> Section:
    """Scores of all models with their floor, curves, folds and subgroups."""
    results, floor, experiments = study.results, study.floor, study.experiments
    kinds = {name: _kind(config) for name, config in experiments.items()}
    regional = next((name for name, config in experiments.items() if config["model"].get("regional")), None)
    return Section(
        "prediction",
        "Prediction",
        figures=_drawings(study) | _learning(results.histories),
        tables={
            "models": model_table(results, floor, kinds, _empty(study), harmonised_by_site(experiments), regional),
            "comparisons": comparison_table(results.comparisons, harmonised_by_site(experiments)),
            "folds": fold_table(results.folds),
            "subgroups": subgroup_rows(results.subgroups),
            "tried": tried_table(results),
        },
        more={"learning": list(_learning(results.histories)), "tried": tried_sentence(results)},
        verdict=[
            ("Prediction", prediction_sentence(study)),
            ("Prediction", exploratory_models(study)),
            ("Confounds", floor_sentence(study)),
            ("Confounds", regional_sentence(study)),
            ("Graph or linear", rivalry_sentence(study)),
            ("Power", power_sentence(study)),
        ],
        methods=[
            ("Connectivity and models", models_text(experiments, study.cohort)),
            ("Evaluation", evaluation_text(results, study.cohort, experiments)),
            ("Evaluation", tried_sentence(results)),
        ],
    )


def _kind(config: Mapping) -> str:
    """Kind of a model in the table; what carries a network beside it is named."""
    if config["model"].get("regional"):
        return "covariates and values of regions"
    beside = " beside a linear model" if config["model"].get("linear") else ""
    if kind(config) == "wide":
        beside += " that learns its first layer" if config["model"]["learned"] else ""
        beside += " beside weights of low rank" if config["model"]["share"] else ""
    beside += " added to ridge regression" if config["model"].get("start", "none") != "none" else ""
    return f"{KINDS[kind(config)]}{beside}"


def _empty(study: Study) -> bool:
    return bool(why_blind(study))


def _drawings(study: Study) -> dict[str, Drawing]:
    results, floor, level = study.results, study.floor, f"{study.level:.0%}"
    best = shown_model(results.scores, floor)
    subgroups = (
        f"AUC of {label(best)} by site, sex, age and motion (thirds), with {level} "
        "intervals, beside that of all subjects (all). Differences between subgroups are not tested."
    )
    roc = (
        "ROC curves: mean of the folds' curves; band: one standard deviation over folds; the area under each is the "
        "AUC in the legend. The diagonal is chance."
    )
    calibration = (
        f"Calibration of the out-of-fold probabilities of {label(best)}, in bins of equal size; band: {level} interval "
        "(Wilson). The diagonal is perfect. Small: the other models."
    )
    probability = (
        f"Out-of-fold probability of being a patient, as {label(best)} predicts it. Each point is a person, the mean "
        "over repeats and seeds; above the dashed line a person is taken for a patient."
    ) + drawn_of(results.predictions[best]["participant_id"].nunique())
    nulls = (
        "AUC under permuted labels (grey bars) and with the labels as they are (line), on the repeat of the folds that "
        "was permuted: the first. p is the share of all that reach the line, itself included."
    )
    return {
        "forest": Drawing(lambda: forest_figure(results.scores, floor, _empty(study)), forest_caption(study)),
        "subgroups": Drawing(lambda: subgroup_figure(results.subgroups, results.scores, floor), subgroups, wide=True),
        "roc": Drawing(lambda: roc_figure(results.curves, results.scores, floor), roc),
        "calibration": Drawing(lambda: calibration_figure(results.curves, best, floor), calibration),
        "probability": Drawing(lambda: probability_figure(results.predictions[best]), probability),
        "nulls": Drawing(lambda: null_figure(results.nulls, results.scores, floor), nulls, wide=True),
    }


def _learning(histories: Mapping[str, pd.DataFrame]) -> dict[str, Drawing]:
    """Learning curves of the models that train in epochs."""
    return {
        f"learning_{name}": Drawing(lambda history=history: learning_figure(history), learning_caption(name, history))
        for name, history in histories.items()
        if len(history)
    }
