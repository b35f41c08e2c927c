"""Prediction: what every model scores beside chance, the confound floor, and the others."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.text import covariate_names
from dysconnect.report.prediction.figures import calibration_figure, forest_figure, learning_figure, roc_figure
from dysconnect.report.prediction.scores import kind, sees_nothing
from dysconnect.report.prediction.sentences import floor_sentence, power_sentence, prediction_sentence, rivalry_sentence
from dysconnect.report.prediction.subgroups import shown_model, subgroup_figure, subgroup_rows
from dysconnect.report.prediction.tables import comparison_table, fold_table, model_table
from dysconnect.report.prediction.words import evaluation_text, models_text
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section

KINDS = {"floor": "covariates only", "linear": "linear model", "graph": "graph neural network"}


def section(study: Study) -> Section:
    """Scores of all models with their floor, curves, folds and subgroups."""
    results, floor, experiments = study.results, study.floor, study.experiments
    kinds = {name: KINDS[kind(config)] for name, config in experiments.items()}
    return Section(
        "prediction",
        "Prediction",
        figures=_drawings(study) | _learning(results.histories),
        tables={
            "models": model_table(results, floor, kinds, bool(floor) and sees_nothing(floor, experiments)),
            "comparisons": comparison_table(results.comparisons),
            "folds": fold_table(results.folds),
            "subgroups": subgroup_rows(results.subgroups),
        },
        more={"learning": list(_learning(results.histories))},
        verdict=[
            ("Prediction", prediction_sentence(study)),
            ("Confounds", floor_sentence(study)),
            ("Graph or linear", rivalry_sentence(study)),
            ("Power", power_sentence(study)),
        ],
        methods=[
            ("Connectivity and models", models_text(experiments, study.cohort)),
            ("Evaluation", evaluation_text(results, study.cohort, experiments)),
        ],
    )


def _drawings(study: Study) -> dict[str, Drawing]:
    results, floor, level = study.results, study.floor, f"{study.level:.0%}"
    forest = f"AUC of every model with its {level} interval. {_floor_caption(study.cohort['dataset']['covariates'])}"
    subgroups = (
        f"AUC of {label(shown_model(results.scores, floor))} by site, sex, age and motion (thirds), with {level} "
        "intervals, beside that of all subjects (all). Differences between subgroups are not tested."
    )
    roc = "ROC curves of the out-of-fold predictions, averaged over repeats. The diagonal is chance."
    calibration = "Calibration of the out-of-fold probabilities, in bins of equal size. The diagonal is perfect."
    return {
        "forest": Drawing(lambda: forest_figure(results.scores, floor), forest, wide=True),
        "subgroups": Drawing(lambda: subgroup_figure(results.subgroups, results.scores, floor), subgroups, wide=True),
        "roc": Drawing(lambda: roc_figure(results.curves, results.scores, floor), roc),
        "calibration": Drawing(lambda: calibration_figure(results.curves, floor), calibration),
    }


def _learning(histories: Mapping[str, pd.DataFrame]) -> dict[str, Drawing]:
    """Learning curves of the models that train in epochs."""
    return {
        f"learning_{name}": Drawing(
            lambda history=history: learning_figure(history),
            f"Learning curves of {label(name)}. One thin line a fold, repeat and seed; the mean in bold, with the last "
            "loss of runs that stopped early; dots where the network was kept.",
        )
        for name, history in histories.items()
        if len(history)
    }


def _floor_caption(covariates: Sequence[str]) -> str:
    if not covariates:
        return "No covariates are given, so the floor sees nothing: to pass it is to pass chance."
    known = covariate_names(covariates)
    return f"A model that does not pass the floor has found nothing that {known} do not tell."
