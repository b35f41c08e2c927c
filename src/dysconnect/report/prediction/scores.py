"""Scores of experiments and their differences, as sentences, tables and figures read them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.measures import Measure, measure_of
from dysconnect.models.card import KINDS
from dysconnect.models.cards import card_of
from dysconnect.paper.text import Estimate, covariate_names
from dysconnect.report.results import Study

RIVALS = (("graph", "wide"), ("linear",))  # networks, and what they have to beat


def kind(config: Mapping) -> str:
    """Kind of an experiment's model, one of `dysconnect.models.card.KINDS`."""
    return card_of(config["model"]["name"]).kind


def seen_by_floor(study: Study) -> str:
    """Name the covariates of the confound floor."""
    return covariate_names(study.experiments[study.floor]["model"].get("covariates", []))


def measure_seen(study: Study, name: str) -> Measure:
    """Measure that an experiment is given."""
    return measure_of(study.experiments[name]["connectivity"]["measure"])


def regional_floor(study: Study, name: str) -> str | None:
    """Experiment that sees what the measure of another one says of regions, and no connection; None without one."""
    scored, wanted = aucs(study.results.scores), measure_seen(study, name)
    sees = [other for other, config in study.experiments.items() if other in scored and config["model"].get("regional")]
    return next((other for other in sees if measure_seen(study, other) == wanted), None)


def why_blind(study: Study) -> str:
    """Why the confound floor sees nothing: its AUC of 0.5 is then no floor, and nothing can beat it; else empty."""
    if study.floor is None:
        return ""
    given = study.experiments[study.floor]["model"].get("covariates", [])
    if not given:
        return "no covariates are given"
    score = aucs(study.results.scores)[study.floor]
    alike = score.value == score.low == score.high == 0.5  # everybody of a fold got the same probability
    return f"{seen_by_floor(study)} {'is' if len(given) == 1 else 'are'} the same in everybody" if alike else ""


def on_one_fold(study: Study) -> bool:
    """Whether one test fold holds all pairs of a patient and a control, so that no test over folds can be made."""
    scored = study.results.folds.dropna(subset="auc")
    return study.cohort["splits"]["scheme"] != "kfold" and len(scored.drop_duplicates(["repeat", "fold"])) < 2


def was_permuted(study: Study, name: str, alpha: float) -> bool:
    """Whether an experiment has permutations enough for a p of alpha."""
    rows = len(study.results.nulls.get(name, ()))
    return rows > 0 and 1 / rows <= alpha


def aucs(scores: pd.DataFrame, metric: str = "auc") -> dict[str, Estimate]:
    """AUC, or another metric, of every experiment, in the order of the table."""
    rows = scores[scores["metric"] == metric]
    return {row.experiment: Estimate(row.value, row.low, row.high, row.p, row.p_best) for row in rows.itertuples()}


def difference(comparisons: pd.DataFrame, one: str, other: str, metric: str = "auc") -> Estimate | None:
    """Paired difference `one` minus `other`, whichever way round the table has it; None where it has not."""
    rows = comparisons[comparisons["metric"] == metric]
    for first, second, sign in ((one, other, 1), (other, one, -1)):
        row = rows[(rows["experiment"] == first) & (rows["other"] == second)]
        if len(row):
            ends = sorted([sign * row["low"].iloc[0], sign * row["high"].iloc[0]])
            return Estimate(sign * row["difference"].iloc[0], *ends, row["p"].iloc[0], row["p_corrected"].iloc[0])
    return None


def harmonised_by_site(experiments: Mapping[str, Mapping]) -> set[str]:
    """Experiments with ComBat or site regressed out: what moves whole sites against each other."""
    return {
        name
        for name, config in experiments.items()
        if config["model"].get("harmonise") == "combat" or "site" in config["model"].get("deconfound", ())
    }


def fair_difference(
    comparisons: pd.DataFrame, one: str, other: str, harmonised: Collection[str]
) -> tuple[Estimate | None, bool]:
    """Difference in AUC of two experiments, and whether it is that within sites: where only one is harmonised."""
    if (one in harmonised) != (other in harmonised):
        within = difference(comparisons, one, other, "auc_within_site")
        if within is not None and np.isfinite(within.value):
            return within, True
    return difference(comparisons, one, other), False


class Gap(NamedTuple):
    """A difference of two experiments in AUC, as all sentences judge it.

    Attributes
    ----------
    size : Estimate
    shown : int
        Sign of a difference that is shown, else 0.
    within : bool
        Whether people of the same site alone are compared.
    one_fold : bool
        Whether one test fold decides: there is no test over folds.
    """

    size: Estimate
    shown: int
    within: bool
    one_fold: bool


def gap_between(study: Study, one: str, other: str) -> Gap | None:
    """How much better `one` is than `other`, by the rule of the tables; None where they were not compared."""
    size, within = fair_difference(study.results.comparisons, one, other, harmonised_by_site(study.experiments))
    if size is None:
        return None
    return Gap(size, excludes_zero(size, study.score_alpha), within, on_one_fold(study))


def excludes_zero(gap: Estimate, alpha: float) -> int:
    """Sign of a difference that is shown: by its interval, and by the corrected test where there is one; else 0."""
    sign = int(gap.low > 0) - int(gap.high < 0)
    return sign if not np.isfinite(gap.corrected) or gap.corrected <= alpha else 0


def beats_chance(auc: Estimate, alpha: float) -> bool:
    """Whether a model is above chance by the p that allows for the others; never where it was not permuted."""
    return bool(auc.corrected <= alpha and auc.value > 0.5)


def above_chance(auc: Estimate, alpha: float) -> bool:
    """Whether one score, such as that of the floor, is above chance by its permutation p."""
    return bool(auc.p <= alpha and auc.value > 0.5)


def candidates(study: Study, *kinds: str) -> dict[str, Estimate]:
    """AUC of the models of some kinds (by default: that see connectivity), in the order of the table."""
    wanted, experiments = kinds or set(KINDS) - {"floor"}, study.experiments
    auc = aucs(study.results.scores)
    return {name: score for name, score in auc.items() if name in experiments and kind(experiments[name]) in wanted}


def competing(auc: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The models that were permuted often enough to be called the best."""
    return {name: score for name, score in auc.items() if np.isfinite(score.corrected)}


def best_of(auc: Mapping[str, Estimate]) -> str:
    """The model with the highest score of those that compete, the first of several; of all where none does."""
    auc = competing(auc) or auc
    return max(auc, key=lambda name: auc[name].value)
