"""What the scores say: whether a model beats chance, the floor and the others, and what could have been seen."""

from collections.abc import Iterable, Mapping

import numpy as np

from dysconnect.models.cards import label
from dysconnect.paper.text import Estimate, counted, covariate_names, listed, number, p_text
from dysconnect.report.budget import model_share
from dysconnect.report.prediction.scores import (
    RIVALS,
    Gap,
    above_chance,
    aucs,
    beats_chance,
    best_of,
    candidates,
    competing,
    gap_between,
    measure_seen,
    regional_floor,
    seen_by_floor,
    was_permuted,
    why_blind,
)
from dysconnect.report.results import Results, Study
from dysconnect.report.structures import detectable_effect


def prediction_sentence(study: Study) -> str:
    """Which model scores best, and whether any beats chance once there being several is allowed for."""
    auc, alpha = candidates(study), model_share(study)
    if not auc:
        return "Only the confound floor was run: there is no model of connectivity to judge."
    best, rest = best_of(auc), _not_competing(auc)
    title, score = f"{label(best)} ({counted(len(auc), 'model')} tried)", auc[best]
    if not np.isfinite(score.corrected):
        untested = "Whether a model beats chance was not tested against enough permuted labels"
        return f"{untested}: the highest AUC, {title}, is {score}."
    above = [name for name in auc if beats_chance(auc[name], alpha)]
    tried, tested = len(competing(auc)), f"{_chosen_p(score, len(competing(auc)))}"
    if not above:
        asked = (
            f"; {alpha:.2g} is asked, the models' half of the error rate of this page" if score.p <= 2 * alpha else ""
        )
        return f"No model beats chance: the best, {title}, reaches an AUC of {score} ({tested}{asked}).{rest}"
    if best not in above:
        second = max(above, key=lambda name: auc[name].value)
        return (
            f"{label(best)} scores best, with an AUC of {score}, but is not shown to beat chance ({tested}); "
            f"{label(second)} is, with {auc[second]} ({_chosen_p(auc[second], tried)}).{rest}"
        )
    return f"The best model, {title}, tells patients from controls with an AUC of {score} ({tested}).{rest}"


def _chosen_p(auc: Estimate, tried: int) -> str:
    """P against permuted labels, and among how many models the choice is allowed for."""
    choice = f", allowing for the choice among {tried}" if tried > 1 else ""
    return f"{p_text(auc.corrected)} against permuted labels{choice}"


def _not_competing(auc: Mapping[str, Estimate]) -> str:
    """Name the models that were not permuted, or too rarely, and so cannot be the best."""
    out = [f"{label(name)} (AUC {auc[name]})" for name in auc if name not in competing(auc)]
    if not out or len(out) == len(auc):
        return ""
    were = "was" if len(out) == 1 else "were"
    return f" {listed(out)} {were} not tested against permuted labels often enough to compete."


def floor_sentence(study: Study) -> str:
    """Whether the covariates alone explain the score of the best model."""
    results, floor, auc = study.results, study.floor, candidates(study)
    if floor is None:
        return "No confound floor was run, so age, sex, site and motion cannot be ruled out as the explanation."
    if blind := why_blind(study):
        key = "" if seen_by_floor(study) in blind else " (dataset.covariates)"
        return (
            f"No confound floor could be made: {blind}{key}, so age, sex, site and motion cannot be ruled out as the "
            "explanation."
        )
    score = aucs(results.scores)[floor]
    names, reached = seen_by_floor(study), f"an AUC of {score} ({p_text(score.p)})"
    if not auc:
        return f"From {names} alone: {reached}."
    best = best_of(auc)
    gap = gap_between(study, best, floor)
    if gap is None:
        return f"From {names} alone: {reached}. The difference to the models was not tested."
    if beats_chance(auc[best], model_share(study)):
        judged = f"{_above_floor(label(best), gap, names, reached)}{_one_fold(gap)}"
        return f"{judged} {_others_above(study, auc, best)}{_remains(results, best)}".strip()
    return _floor_alone(study, names, reached)


def regional_sentence(study: Study) -> str:
    """Whether what the measure says of regions explains the score of the best model; empty where it says nothing."""
    auc = candidates(study)
    best = best_of(auc) if auc else None
    floor = regional_floor(study, best) if best else None
    if floor is None:
        return ""
    score, gap, seen = aucs(study.results.scores)[floor], gap_between(study, best, floor), _seen_of_regions(study, best)
    reached = f"{label(floor)}, which sees {seen} but no connection, reaches an AUC of {score} ({p_text(score.p)})"
    if not beats_chance(auc[best], model_share(study)):
        differ = above_chance(score, study.score_alpha)
        return f"{'The groups differ in what is no connection' if differ else 'Without connections'}: {reached}."
    if gap is not None and gap.shown > 0:
        return (
            f"The best model also beats what regions tell without their connections: {reached}; the paired difference "
            f"is {_said(gap)} ({_tests(gap)}).{_one_fold(gap)}"
        )
    compared = "" if gap is None else f", and the difference to {label(best)} is {_said(gap)} ({_tests(gap)})"
    return (
        f"What differs in regions may explain the score: {reached}{compared}. Nothing beyond "
        f"{listed(measure_seen(study, best).regional)} of regions and the covariates is shown."
    )


def _seen_of_regions(study: Study, name: str) -> str:
    """What the floor with regions sees."""
    given = study.experiments[regional_floor(study, name)]["model"]["covariates"]
    of_regions = f"{listed(measure_seen(study, name).regional)} of every region"
    return f"{of_regions} beside {covariate_names(given)}" if given else of_regions


def exploratory_models(study: Study) -> str:
    """That models of exploratory connections are so as well; empty where the best one is not of such."""
    auc = candidates(study)
    why = measure_seen(study, best_of(auc)).exploratory if auc else ""
    return f"Models of these connections are exploratory, as the connections are: {why}." if why else ""


def _floor_alone(study: Study, names: str, reached: str) -> str:
    """What the covariates tell where no model is shown to tell anything."""
    if not was_permuted(study, study.floor, study.score_alpha):
        return f"{names[0].upper()}{names[1:]} alone reach {reached}: too few permuted labels to say whether by chance."
    if above_chance(aucs(study.results.scores)[study.floor], study.score_alpha):
        return f"The groups differ in covariates, not measurably in connectivity: {names} alone reach {reached}."
    return f"The confound floor is at chance as well: {names} alone reach {reached}."


def _above_floor(best: str, gap: Gap, names: str, reached: str) -> str:
    size = _said(gap)
    if gap.shown > 0:
        return (
            f"The best model beats the confound floor: {names} alone reach {reached}, and the paired difference is "
            f"{size} ({_tests(gap)})."
        )
    if gap.shown < 0:
        return (
            f"The best model is worse than the confound floor: {names} alone reach {reached}; the difference is {size}."
        )
    low, high = gap.size.low, gap.size.high
    open_ = "includes zero" if low <= 0 <= high else "is not sure when training on others is allowed for"
    open_ = open_ if np.isfinite(low) else "has no interval, as some samples of these people hold no pair to compare"
    return (
        f"The confound floor may explain the score: {names} alone reach {reached}, and the difference to {best}, "
        f"{size}, {open_} ({_tests(gap)}). Nothing beyond these covariates is shown."
    )


def _said(gap: Gap) -> str:
    """A difference, and where it is one of people of the same site alone."""
    return f"{gap.size} within sites" if gap.within else str(gap.size)


def _tests(gap: Gap) -> str:
    """Both tests of a difference: over subjects, and corrected for the training subjects that folds share."""
    corrected = f"; corrected t-test {p_text(gap.size.corrected)}" if np.isfinite(gap.size.corrected) else ""
    return f"{p_text(gap.size.p)}{corrected}"


def _one_fold(gap: Gap) -> str:
    """What stands beside a difference that only one test fold judges; empty where there is a test over folds."""
    return " There is one test fold: its bootstrap alone decides, without a test over folds." if gap.one_fold else ""


def _others_above(study: Study, auc: Mapping, best: str) -> str:
    """How many of the other models beat the floor too; empty where the best is alone."""
    others = [name for name in auc if name != best]
    gaps = [gap_between(study, name, study.floor) for name in others]
    above = sum(gap is not None and gap.shown > 0 for gap in gaps)
    if not others:
        return ""
    if len(others) == 1:
        return "The other model does as well. " if above else "The other model is not shown to. "
    do = f"{above:,} {'does' if above == 1 else 'do'}" if above else "none does"
    return f"Of the other {counted(len(others), 'model')}, {do}. "


def _remains(results: Results, best: str) -> str:
    """The score of the best model once the covariates are accounted for."""
    score = aucs(results.scores, "auc_deconfounded").get(best)
    if score is None:
        return ""
    if not np.isfinite(score.value):
        return "Patients and controls overlap too little in their covariates to be compared with these held equal."
    held = "which is above chance" if score.low > 0.5 else "which is not shown to be above chance"
    return f"With the covariates held equal its AUC is {score}, {held}."


def rivalry_sentence(study: Study) -> str:
    """Whether any graph network beats the best linear model; empty unless both kinds were run."""
    rivals = [candidates(study, *kinds) for kinds in RIVALS]
    if not all(rivals):
        return ""
    best = [best_of(auc) for auc in rivals]
    graph, linear = map(label, best)
    ahead, behind = (gap_between(study, *pair) for pair in (best, best[::-1]))
    if ahead is None:
        return ""
    if not _either_beats_chance(study, best):
        return (
            f"Neither {graph} nor {linear} is shown to beat chance, so that their difference ({_said(ahead)}, "
            f"{_tests(ahead)}) says nothing for or against either."
        )
    if ahead.shown > 0:
        text = f"The graph network beats the linear models: {graph} leads {linear} by {_said(ahead)} ({_tests(ahead)})."
    elif ahead.shown < 0:
        text = f"A linear model beats the graph network: {linear} leads {graph} by {_said(behind)} ({_tests(behind)})."
    else:
        text = (
            f"Graph network and linear model cannot be told apart: {linear} minus {graph} is {_said(behind)} "
            f"({_tests(behind)}). Nothing speaks for the more complex one."
        )
    return text + _one_fold(ahead)


def _either_beats_chance(study: Study, names: Iterable[str]) -> bool:
    auc = candidates(study)
    return any(beats_chance(auc[name], model_share(study)) for name in names)


def power_sentence(study: Study) -> str:
    """Which AUC this cohort could have told from chance, and what the best model would need."""
    auc, power = candidates(study), study.results.power
    if not auc:
        return ""
    best = best_of(auc)
    rows = power[power["experiment"] == best].set_index("method")
    row = rows.loc["permutation" if "permutation" in rows.index else "hanley_mcneil"]
    people = f"{counted(int(row['n_cases']), 'patient')} and {counted(int(row['n_controls']), 'control')}"
    if not np.isfinite(row["detectable_auc"]):
        return f"With {people} no AUC could have been told from chance."
    null = "of permuted labels" if row.name == "permutation" else "in theory (Hanley and McNeil 1982)"
    text = (
        f"With {people}, an AUC of {number(row['detectable_auc'])} or more would have been told from chance with 80% "
        f"power (one-sided, {1 - study.level:.2g}; standard error at chance {null} "
        f"{number(row['null_sd'], 3)})."
    )
    if beats_chance(auc[best], model_share(study)) or not np.isfinite(row["n_needed"]):
        return text
    return f"{text} Were {number(auc[best].value)} the true value, {int(row['n_needed']):,} subjects would show it."


def prediction_in_short(study: Study) -> str:
    """The best model beside chance and its floor."""
    auc, floor = candidates(study), study.floor
    if not auc:
        return "Only the confound floor was run: there is no model of connectivity to judge."
    best = best_of(auc)
    above = {name: score for name, score in auc.items() if beats_chance(score, model_share(study))}
    best, tried = best_of(above or auc), len(competing(auc) or auc)
    who = f"The {f'best of {tried:,} models' if tried > 1 else 'one tested model' if len(auc) > 1 else 'one model'}, "
    who += f"{label(best)},"
    if not beats_chance(auc[best], model_share(study)):
        who = who.replace("The", "the", 1)
        if not competing(auc):
            asked = "Whether connectivity tells patients from controls was not tested against enough permuted labels"
            return f"{asked}: {who} reaches an AUC of {auc[best]}."
        return f"Connectivity is not shown to tell patients from controls: {who} reaches an AUC of {auc[best]}."
    text = f"{who} tells patients from controls with an AUC of {auc[best]}"
    if blind := why_blind(study):
        return f"{text}; {blind}, so no confound floor could be made to compare it with."
    text += " (exploratory)" if measure_seen(study, best).exploratory else ""
    gap = gap_between(study, best, floor) if floor else None
    if gap is None:
        return f"{text}; what the covariates alone would tell was not tested."
    alone = f"the confound floor ({seen_by_floor(study)} alone: {aucs(study.results.scores)[floor]})"
    alone += ", compared within sites" if gap.within else ""
    if gap.shown > 0:
        return f"{text}, more than {alone}{_regions_in_short(study, best)}.{_one_fold(gap)}"
    return (
        f"{text}, but is not shown to do better than {alone}: it may have found nothing in the connections."
        f"{_one_fold(gap)}"
    )


def _regions_in_short(study: Study, best: str) -> str:
    """Whether a model beats what regions tell without their connections; empty where nothing is said of them."""
    floor = regional_floor(study, best)
    gap = gap_between(study, best, floor) if floor else None
    if floor is None:
        return ""
    told = f"{_seen_of_regions(study, best)} tell without any connection ({aucs(study.results.scores)[floor]})"
    if gap is not None and gap.shown > 0:
        return f", and more than {told}"
    return f", but is not shown to do better than what {told}: it may have found nothing in the connections"


def rivalry_in_short(study: Study) -> str:
    """Network or linear; empty unless both kinds were run."""
    rivals = [candidates(study, *kinds) for kinds in RIVALS]
    gap = gap_between(study, *map(best_of, rivals)) if all(rivals) else None
    if gap is None or not _either_beats_chance(study, map(best_of, rivals)):
        return ""
    says = {1: "does better than", 0: "cannot be told apart from", -1: "does worse than"}[gap.shown]
    return f"The best graph network {says} the best linear model (difference in AUC {_said(gap)}).{_one_fold(gap)}"


def power_in_short(study: Study) -> str:
    """What would have been found."""
    auc, power = candidates(study), study.results.power
    detectable = power[power["experiment"].isin([best_of(auc)] if auc else [])].set_index("method")["detectable_auc"]
    least = detectable.get("permutation", detectable.get("hanley_mcneil", np.nan))
    d = detectable_effect(study.results.detectable)
    seen = [f"an AUC of {number(least)}"] * bool(np.isfinite(least)) + [
        f"a difference of d = {number(d)} in a connection"
    ]
    return f"With 80% power {' and '.join(seen)} would have been found: less than that is not ruled out."
