"""The verdict in five sentences, for those who read no further; each is computed from the numbers."""

from collections.abc import Mapping

import numpy as np

from dysconnect.paper.text import counted, covariate_names, label, number, p_text
from dysconnect.report.quality import motion_followers
from dysconnect.report.structures import detectable_effect
from dysconnect.report.text import (
    Results,
    aucs,
    beats_chance,
    chosen_floor,
    difference,
    excludes_zero,
    kind,
    sees_nothing,
)


def in_short(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> list[str]:
    """Prediction beside its floor, network or linear, connections, motion, and what could have been seen."""
    said = [
        _prediction(results, cohort, experiments),
        _rivalry(results, cohort, experiments),
        _connections(results),
        _motion(results, cohort),
        _power(results, experiments),
    ]
    return [sentence for sentence in said if sentence]


def _models(results: Results, experiments: Mapping[str, Mapping], wanted: tuple[str, ...]) -> list[str]:
    """Names of the models of some kinds, best first."""
    auc = aucs(results.scores)
    names = [name for name in auc if name in experiments and kind(experiments[name]) in wanted]
    return sorted(names, key=lambda name: -auc[name].value)


def _alpha(cohort: Mapping) -> float:
    return 1 - cohort["evaluate"]["level"] + 1e-9


def _prediction(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    names, auc = _models(results, experiments, ("linear", "graph")), aucs(results.scores)
    if not names:
        return "Only the confound floor was run: there is no model of connectivity to judge."
    best, floor = names[0], chosen_floor(cohort, results.scores)
    who = f"The {f'best of {len(names):,} models' if len(names) > 1 else 'one model'}, {label(best)},"
    if not beats_chance(auc[best], _alpha(cohort)):
        who = who.replace("The", "the", 1)
        return f"Connectivity is not shown to tell patients from controls: {who} reaches an AUC of {auc[best]}."
    text = f"{who} tells patients from controls with an AUC of {auc[best]}"
    if floor and sees_nothing(floor, experiments):
        return f"{text}; no covariates are given, so no confound floor could be made to compare it with."
    gap = difference(results.comparisons, best, floor) if floor else None
    if gap is None:
        return f"{text}; what the covariates alone would tell was not tested."
    alone = (
        f"the confound floor ({covariate_names(experiments[floor]['model'].get('covariates', []))} alone: {auc[floor]})"
    )
    if excludes_zero(gap, _alpha(cohort)) > 0:
        return f"{text}, more than {alone}."
    return f"{text}, but is not shown to do better than {alone}: it may have found nothing in the connections."


def _rivalry(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    best = [_models(results, experiments, (wanted,))[:1] for wanted in ("graph", "linear")]
    gap = difference(results.comparisons, best[0][0], best[1][0]) if all(best) else None
    if gap is None:
        return ""
    shown = excludes_zero(gap, _alpha(cohort))
    says = {1: "does better than", 0: "cannot be told apart from", -1: "does worse than"}[shown]
    return f"The best graph network {says} the best linear model (difference in AUC {gap})."


def _connections(results: Results) -> str:
    summary = results.summary
    tested, rate = counted(summary["n_edges"], "connection"), f"a family-wise error rate of {summary['alpha']:g}"
    if summary["n_fwer"] == 0:
        return f"None of {tested} differs at {rate}."
    found = results.edges[results.edges["p_fwer"] <= summary["alpha"]]
    weaker = int((found["statistic"] < 0).sum())
    sides = {len(found): "all weaker in patients", 0: "all stronger in patients"}
    told = sides.get(weaker, f"{weaker:,} weaker and {len(found) - weaker:,} stronger in patients")
    told = told.removeprefix("all ") if len(found) == 1 else told
    verb = "differs" if summary["n_fwer"] == 1 else "differ"
    return f"{summary['n_fwer']:,} of {tested} {verb} at {rate}, {told}."


def _motion(results: Results, cohort: Mapping) -> str:
    """Whether motion could be behind what was found."""
    motion, link = results.quality["motion"], results.quality["qcfc"]["everybody"]
    if "p" not in motion:
        return f"Head motion could not be compared ({motion.get('reason', 'not measured')}): its part is unknown."
    differs = motion["p"] <= cohort["quality"]["group_alpha"]
    follow = min((link[name]["p"] for name in ("share", "rho") if name in link), default=1.0)
    text = (
        f"Head motion {'differs' if differs else 'is not shown to differ'} between the groups ({p_text(motion['p'])})"
    )
    if follow > cohort["quality"]["qcfc_alpha"]:
        return f"{text}, and connections are not shown to follow it." if "share" in link else f"{text}."
    survivors, moved = motion_followers(results.edges, results.qcfc, results.summary["alpha"])
    do = f"{moved:,} {'does' if moved == 1 else 'do'}" if moved else "none does"
    own = f"; of the {survivors:,} that differ, {do}" if survivors else ""
    return f"{text}, and connections follow it after denoising{own}."


def _power(results: Results, experiments: Mapping[str, Mapping]) -> str:
    names = _models(results, experiments, ("linear", "graph"))
    own = results.power[results.power["experiment"].isin(names[:1])].set_index("method")["detectable_auc"]
    auc = own.get("permutation", own.get("hanley_mcneil", np.nan))
    d = detectable_effect(results.detectable)
    seen = [f"an AUC of {number(auc)}"] * bool(np.isfinite(auc)) + [f"a difference of d = {number(d)} in a connection"]
    return f"With 80% power {' and '.join(seen)} would have been found: less than that is not ruled out."
