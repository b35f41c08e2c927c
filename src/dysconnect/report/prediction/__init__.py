"""Prediction: what every model scores beside chance, the confound floor, and the others."""

from collections.abc import Mapping, Sequence

import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.text import covariate_names, listed
from dysconnect.report.methods import models_text
from dysconnect.report.prediction.figures import calibration_figure, forest_figure, learning_figure, roc_figure
from dysconnect.report.prediction.scores import kind, sees_nothing
from dysconnect.report.prediction.sentences import floor_sentence, power_sentence, prediction_sentence, rivalry_sentence
from dysconnect.report.prediction.subgroups import shown_model, subgroup_figure, subgroup_rows
from dysconnect.report.prediction.tables import comparison_table, fold_table, model_table
from dysconnect.report.results import Results, Study
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
            ("Evaluation", _evaluation_text(results, study.cohort, experiments)),
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


def _evaluation_text(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    spec = cohort["evaluate"]
    tested = results.scores.loc[(results.scores["metric"] == "auc") & results.scores["p"].notna(), "experiment"]
    text = (
        f"{_splits_text(cohort['splits'])} Whatever learns, learned inside the training fold. The AUC compares "
        f"patients and controls that were tested in the same fold. Intervals ({spec['level']:.0%}) and paired "
        f"differences come from {spec['bootstraps']:,} bootstrap samples of subjects, the same ones for all "
        "experiments. Experiments were also compared by the resampled t-test over folds, corrected for the training "
        "subjects that folds share (Nadeau and Bengio 2003; Bouckaert and Frank "
        "2004). Calibration slope and intercept are those of a logistic recalibration (Van Calster et al. 2016). "
        f"{_held_equal(cohort['dataset']['covariates'])}The detectable AUC follows from the standard error of Hanley "
        "and McNeil 1982, and from that of permuted labels."
    )
    by_number: dict[int, list[str]] = {}
    for name in tested:
        which = "graph_permutations" if kind(experiments[name]) == "graph" else "permutations"
        by_number.setdefault(experiments[name]["training"][which], []).append(label(name))
    if by_number:
        who = "; ".join(f"{count:,} for {listed(names)}" for count, names in by_number.items())
        text += (
            " Permutations of the labels inside site and fold (first repeat) gave p = (1 + b) / (1 + B) (Phipson and "
            f"Smyth 2010): {who}."
        )
    return text


def _held_equal(covariates: Sequence[str]) -> str:
    """How the AUC with the covariates held equal is made; empty without covariates."""
    if not covariates:
        return ""
    return (
        f"The AUC with {covariate_names(covariates)} held equal weighs subjects by their overlap in the propensity to "
        "be a patient (Li et al. 2018), judging predictions rather than features as Dinga et al. 2020 advise. "
    )


def _splits_text(splits: Mapping) -> str:
    """How subjects were split."""
    if splits["scheme"] == "leave_one_site_out":
        return "Every site was tested by a model trained on all others (leave one site out)."
    if splits["scheme"] == "fixed":
        return f"Models were trained on all sites but {listed(splits['test_sites'])}, and tested on those."
    repeated = f", repeated {splits['repeats']} times with other folds" if splits["repeats"] > 1 else ""
    return f"{splits['folds']}-fold cross-validation by subject, stratified by group and site{repeated}."
