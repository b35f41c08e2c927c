"""The verdict: sentences about the results, computed from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_titles
from dysconnect.paper.text import (
    Estimate,
    counted,
    covariate_names,
    difference_text,
    label,
    listed,
    number,
    p_text,
    percent,
)
from dysconnect.report.scans import scan_warnings
from dysconnect.report.severity import groups_sentence, severity_sentence
from dysconnect.report.structures import detectable_effect, structure_sentence
from dysconnect.report.text import (
    Results,
    aucs,
    beats_chance,
    chosen_floor,
    difference,
    excludes_zero,
    kind,
    lacking_text,
    sees_nothing,
)


def verdict(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> list[tuple[str, str]]:
    """Judge the results in a few sentences: (topic, sentences) pairs, computed from the numbers."""
    said = [
        ("Subjects", subjects_sentence(results, cohort)),
        ("Quality", quality_sentence(results, cohort)),
        ("Prediction", prediction_sentence(results.scores, cohort, experiments)),
        ("Confounds", floor_sentence(results, cohort, experiments)),
        ("Graph or linear", rivalry_sentence(results, cohort, experiments)),
        ("Power", power_sentence(results, cohort, experiments)),
        ("Connections", _connections(results)),
        ("Severity", "" if results.severity is None else severity_sentence(results.severity)),
        ("Several groups", "" if results.groups is None else groups_sentence(results.groups)),
        ("Planted truth", recovery_sentence(results, cohort)),
    ]
    return [(topic, text) for topic, text in said if text]


def subjects_sentence(results: Results, cohort: Mapping) -> str:
    """How many subjects were analysed, left out, or belong to no side of the contrast."""
    everybody, contrast = results.participants, cohort["dataset"]["contrast"]
    people = results.splits.drop_duplicates("participant_id")
    cases, controls = int((people["label"] == 1).sum()), int((people["label"] == 0).sum())
    text = (
        f"{cases + controls:,} of {counted(len(everybody), 'subject')} were analysed: {counted(cases, 'patient')} "
        f"({listed(contrast['cases'])}) and {counted(controls, 'control')} ({listed(contrast['controls'])})."
    )
    excluded = int((~everybody["included"]).sum())
    if excluded:
        text += f" {excluded:,} {'was' if excluded == 1 else 'were'} excluded, listed below with the reason."
    others = len(everybody) - excluded - cases - controls
    return text + (f" {others:,} of other groups were not compared." if others > 0 else "")


def quality_sentence(results: Results, cohort: Mapping) -> str:
    """Warn where motion, exclusion or the amount of data threatens the claim; one line where nothing does."""
    spec, level = cohort["quality"], cohort["evaluate"]["level"]
    warnings, own = quality_warnings(results.quality, spec), results.quality["qcfc"]["everybody"]
    if results.scans is not None:
        warnings += scan_warnings(results.scans, cohort["dataset"]["contrast"], spec, level)
    unmeasured = results.quality["motion"].get("reason") == "not measured"
    if unmeasured:
        warnings.append("Head motion was not measured: its part in any difference is unknown")
    if not warnings:
        known = "; how connections follow motion could not be tested"
        if "share" in own:
            known = f", and {percent(own['share']['value'])} of the connections follow motion (5% by chance)"
        return f"No warning: neither motion, exclusion nor the amount of data differs between the groups{known}."
    if unmeasured or not _motion_warned(results.quality, spec):
        return ". ".join(warnings) + "."
    adjusted = (
        "Connections are tested with motion as a covariate, which removes what is linear in its mean, not all"
        if "mean_fd" in results.summary["nuisance"]
        else "The tests do not adjust for motion: a difference may be one of motion alone"
    )
    return ". ".join([*warnings, adjusted]) + "."


def quality_warnings(quality: Mapping, spec: Mapping) -> list[str]:
    """What threatens the claim, one sentence each (without a full stop), by the limits of the configuration."""
    alpha, subjects, link = spec["group_alpha"], quality["subjects"], quality["qcfc"]["everybody"]
    said = []
    for name, what, more in (("motion", "Motion", "move more"), ("seconds", "The amount of data", "have more")):
        if quality[name].get("p", 1) <= alpha:
            who = "patients" if quality[name]["d"] > 0 else "controls"
            said.append(f"{what} differs between the groups ({difference_text(quality[name])}; {who} {more})")
    if subjects["p"] <= alpha:
        lost = listed(
            f"{own['total'] - own['kept']:,} of {counted(own['total'], one)}"
            for own, one in ((subjects["cases"], "patient"), (subjects["controls"], "control"))
        )
        said.append(f"Exclusion depends on the group: {lost} are left out ({p_text(subjects['p'])})")
    said += _missing_warned(quality["lacking"], subjects, alpha)
    if "share" in link and link["share"]["p"] <= spec["qcfc_alpha"]:
        null = f"5% by chance, rarely above {percent(link['share']['high'])} where motion is permuted"
        said.append(
            f"{percent(link['share']['value'])} of the connections follow motion after denoising ({null}; "
            f"{p_text(link['share']['p'])})"
        )
    if "rho" in link and link["rho"]["p"] <= spec["qcfc_alpha"]:
        near = "nearer" if link["rho"]["value"] < 0 else "farther"
        said.append(
            f"Motion acts by distance: the {near} two regions, the more strongly connected in those who move more "
            f"(ρ = {number(link['rho']['value'])}, {p_text(link['rho']['p'])})"
        )
    return said


def _missing_warned(lacking: Mapping, subjects: Mapping, alpha: float) -> list[str]:
    """Whether missing regions go with the group: how many a person lacks, and which."""
    said = []
    if lacking["p"] is not None and lacking["p"] <= alpha:
        said.append(
            f"Missing regions go with the group ({lacking_text(lacking)}): who lacks regions was scanned otherwise, "
            "which may show in the regions that are there"
        )
    named = [row for row in lacking["regions"] if row["p"] <= alpha]
    if named:
        first = named[0]
        more = f" (and {counted(len(named) - 1, 'other region')})" if len(named) > 1 else ""
        said.append(
            f"{first['region']}{more} is missing by group: in {first['cases']:,} of "
            f"{counted(subjects['cases']['kept'], 'patient')} and {first['controls']:,} of "
            f"{counted(subjects['controls']['kept'], 'control')} ({p_text(first['p'])}, adjusted for all regions)"
        )
    return said


def _motion_warned(quality: Mapping, spec: Mapping) -> bool:
    own = quality["qcfc"]["everybody"]
    ps = [own[name]["p"] for name in ("share", "rho") if name in own]
    return quality["motion"].get("p", 1) <= spec["group_alpha"] or min(ps, default=1) <= spec["qcfc_alpha"]


def prediction_sentence(scores: pd.DataFrame, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """Which model scores best, and whether any beats chance."""
    auc, alpha = _candidates(scores, experiments), 1 - cohort["evaluate"]["level"] + 1e-9
    if not auc:
        return "Only the confound floor was run: there is no model of connectivity to judge."
    best = max(auc, key=lambda name: auc[name].value)
    title, own = f"{label(best)} ({counted(len(auc), 'model')} tried)", auc[best]
    above = [name for name in auc if beats_chance(auc[name], alpha)]
    if not above:
        test = f"{p_text(own.p)} against permuted labels" if np.isfinite(own.p) else "its interval includes 0.5"
        return f"No model beats chance: the best, {title}, reaches an AUC of {own} ({test})."
    if best not in above:
        second = max(above, key=lambda name: auc[name].value)
        return (
            f"{label(best)} scores best, with an AUC of {own}, but is not shown to beat chance ({p_text(own.p)}); "
            f"{label(second)} is, with {auc[second]} ({p_text(auc[second].p)})."
        )
    return f"The best model, {title}, tells patients from controls with an AUC of {own}{_tested(own, len(auc), alpha)}."


def _tested(auc: Estimate, tried: int, alpha: float) -> str:
    if not np.isfinite(auc.p):
        return "; its interval excludes chance, but it was not tested against permuted labels"
    chosen = "" if auc.p * tried <= alpha else f", which does not allow for choosing the best of {tried}"
    return f" ({p_text(auc.p)} against permuted labels{chosen})"


def floor_sentence(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """Whether the covariates alone explain the score of the best model."""
    floor, auc = chosen_floor(cohort, results.scores), _candidates(results.scores, experiments)
    if floor is None:
        return "No confound floor was run, so age, sex, site and motion cannot be ruled out as the explanation."
    if sees_nothing(floor, experiments):
        return (
            "No confound floor could be made: no covariates are given (dataset.covariates), so age, sex, site and "
            "motion cannot be ruled out as the explanation."
        )
    own, alpha = aucs(results.scores)[floor], 1 - cohort["evaluate"]["level"] + 1e-9
    names = covariate_names(experiments[floor]["model"].get("covariates", []))
    reached = f"an AUC of {own} ({p_text(own.p)})"
    if not auc:
        return f"From {names} alone: {reached}."
    best = max(auc, key=lambda name: auc[name].value)
    gap = difference(results.comparisons, best, floor)
    if gap is None:
        return f"From {names} alone: {reached}. The difference to the models was not tested."
    if beats_chance(auc[best], alpha):
        judged = _above_floor(label(best), gap, alpha, names, reached)
        return (
            f"{judged} {_others_above(results.comparisons, auc, best, floor, alpha)}{_remains(results, best)}".strip()
        )
    if beats_chance(own, alpha):
        return f"The groups differ in covariates, not measurably in connectivity: {names} alone reach {reached}."
    return f"The confound floor is at chance as well: {names} alone reach {reached}."


def _above_floor(best: str, gap: Estimate, alpha: float, names: str, reached: str) -> str:
    shown = excludes_zero(gap, alpha)
    if shown > 0:
        return (
            f"The best model beats the confound floor: {names} alone reach {reached}, and the paired difference is "
            f"{gap} ({_tests(gap)})."
        )
    if shown < 0:
        return (
            f"The best model is worse than the confound floor: {names} alone reach {reached}; the difference is {gap}."
        )
    open_ = "includes zero" if gap.low <= 0 <= gap.high else "is not sure when training on others is allowed for"
    return (
        f"The confound floor may explain the score: {names} alone reach {reached}, and the difference to {best}, "
        f"{gap}, {open_} ({_tests(gap)}). Nothing beyond these covariates is shown."
    )


def _tests(gap: Estimate) -> str:
    """Both tests of a difference: over subjects, and corrected for the training subjects that folds share."""
    corrected = f"; corrected t-test {p_text(gap.corrected)}" if np.isfinite(gap.corrected) else ""
    return f"{p_text(gap.p)}{corrected}"


def _others_above(comparisons: pd.DataFrame, auc: Mapping, best: str, floor: str, alpha: float) -> str:
    """How many of the other models beat the floor too; empty where the best is alone."""
    others = [name for name in auc if name != best]
    gaps = [difference(comparisons, name, floor) for name in others]
    above = sum(gap is not None and excludes_zero(gap, alpha) > 0 for gap in gaps)
    if not others:
        return ""
    do = f"{above:,} {'does' if above == 1 else 'do'}" if above else "none does"
    return f"Of the other {counted(len(others), 'model')}, {do}. "


def _remains(results: Results, best: str) -> str:
    """The score of the best model once the covariates are accounted for."""
    own = aucs(results.scores, "auc_deconfounded").get(best)
    if own is None:
        return ""
    if not np.isfinite(own.value):
        return "Patients and controls overlap too little in their covariates to be compared with these held equal."
    held = "which is above chance" if own.low > 0.5 else "which is not shown to be above chance"
    return f"With the covariates held equal its AUC is {own}, {held}."


def rivalry_sentence(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """Whether any graph network beats the best linear model; empty unless both kinds were run."""
    auc, alpha = _candidates(results.scores, experiments), 1 - cohort["evaluate"]["level"] + 1e-9
    best = {}
    for wanted in ("graph", "linear"):
        own = [name for name in auc if kind(experiments[name]) == wanted]
        if not own:
            return ""
        best[wanted] = max(own, key=lambda name: auc[name].value)
    graph, linear = label(best["graph"]), label(best["linear"])
    gap = difference(results.comparisons, best["graph"], best["linear"])
    if gap is None:
        return ""
    shown = excludes_zero(gap, alpha)
    if shown > 0:
        return f"The graph network beats the linear models: {graph} leads {linear} by {gap} ({_tests(gap)})."
    gap = Estimate(-gap.value, -gap.high, -gap.low, gap.p, gap.corrected)
    if shown < 0:
        return f"A linear model beats the graph network: {linear} leads {graph} by {gap} ({_tests(gap)})."
    return (
        f"Graph network and linear model cannot be told apart: {linear} minus {graph} is {gap} "
        f"({_tests(gap)}). Nothing speaks for the more complex one."
    )


def power_sentence(results: Results, cohort: Mapping, experiments: Mapping[str, Mapping]) -> str:
    """Which AUC this cohort could have told from chance, and what the best model would need."""
    auc = _candidates(results.scores, experiments)
    if not auc:
        return ""
    best = max(auc, key=lambda name: auc[name].value)
    own = results.power[results.power["experiment"] == best].set_index("method")
    row = own.loc["permutation" if "permutation" in own.index else "hanley_mcneil"]
    people = f"{counted(int(row['n_cases']), 'patient')} and {counted(int(row['n_controls']), 'control')}"
    if not np.isfinite(row["detectable_auc"]):
        return f"With {people} no AUC could have been told from chance."
    null = "of permuted labels" if row.name == "permutation" else "in theory (Hanley and McNeil 1982)"
    text = (
        f"With {people}, an AUC of {number(row['detectable_auc'])} or more would have been told from chance with 80% "
        f"power (one-sided, {1 - cohort['evaluate']['level']:.2g}; standard error at chance {null} "
        f"{number(row['null_sd'], 3)})."
    )
    alpha = 1 - cohort["evaluate"]["level"] + 1e-9
    if beats_chance(auc[best], alpha) or not np.isfinite(row["n_needed"]):
        return text
    return f"{text} Were {number(auc[best].value)} the true value, {int(row['n_needed']):,} subjects would show it."


def _connections(results: Results) -> str:
    """Single connections, then what is larger."""
    single = localization_sentence(results.edges, results.summary, detectable_effect(results.detectable))
    return " ".join(filter(None, (single, structure_sentence(results, circuit_titles()))))


def localization_sentence(edges: pd.DataFrame, summary: Mapping, detectable: float) -> str:
    """How many connections differ, or which difference (d) would have been seen."""
    alpha, tested = summary["alpha"], counted(summary["n_edges"], "connection")
    if summary["n_fwer"] == 0:
        false = f"{summary['n_fdr']:,} at a false-discovery rate of {alpha:g}"
        return (
            f"Nothing survives: none of {tested} differs at a family-wise error rate of {alpha:g} "
            f"({false if summary['n_fdr'] else 'nor at the same false-discovery rate'}). "
            f"A difference of d = {number(detectable)} or more would have been found with 80% power "
            f"(critical |t| {number(summary['critical_t'])}); smaller ones are not ruled out."
        )
    found = edges[edges["p_fwer"] <= alpha]
    lower = int((found["statistic"] < 0).sum())
    top = found.iloc[0]
    return (
        f"{summary['n_fwer']:,} of {tested} {'differs' if summary['n_fwer'] == 1 else 'differ'} at a family-wise error "
        f"rate of {alpha:g} ({summary['n_fdr']:,} at the same false-discovery rate): {lower:,} weaker and "
        f"{len(found) - lower:,} stronger in patients. The strongest is {top['region_a']} to {top['region_b']}, "
        f"d = {number(top['effect_size'])}."
    )


def recovery_sentence(results: Results, cohort: Mapping) -> str:
    """How well the planted truth was found again; empty where none was planted."""
    table, plant = results.recovery, cohort["dataset"]["plant"]
    if table is None or plant is None or table.empty:
        return ""
    strict = table.iloc[0]
    called, wrong = int(strict["called"]), round(strict["called"] * strict["fdp"])
    if not np.isfinite(strict["tpr"]):
        calls = counted(called, "connection")
        return f"Nothing was planted: whatever is found is false. {strict['method']} calls {calls}."
    of = f" of {plant['region']}" if plant["region"] else ""
    planted = (
        f"{plant['edges']} planted connections{of} (d = {plant['effect']:g} in {plant['carriers']:.0%} of the patients)"
    )
    return (
        f"Of {planted}, {strict['method']} finds {called - wrong}; "
        f"{wrong or 'none'} of its {counted(called, 'call')} {'are' if wrong > 1 else 'is'} false."
        + _hub_sentence(results.targets, plant["region"])
    )


def _hub_sentence(targets: pd.DataFrame | None, hub: str | None) -> str:
    """Where virtual stimulation ranks a region that was planted in; empty where there is neither."""
    if targets is None or targets.empty or not hub:
        return ""
    nodes = targets[targets["kind"] == "node"].set_index("target")
    return f" Virtual stimulation ranks it number {nodes.loc[hub, 'rank']} of {len(nodes):,} regions."


def banner(cohort: Mapping) -> str:
    """Say that a cohort is simulated or semi-synthetic; empty for real data."""
    dataset = cohort["dataset"]
    if not dataset["simulated"]:
        return ""
    if dataset["plant"] is not None and dataset["plant"]["effect"] == 0:
        what = "No difference was planted in this cohort: whatever is found here is false."
    else:
        what = "The difference was planted by software: nothing here is a finding about patients."
    return f"{'Simulated data.' if dataset['kind'] == 'simulated' else 'Semi-synthetic data: real scans.'} {what}"


def _candidates(scores: pd.DataFrame, experiments: Mapping[str, Mapping]) -> dict[str, Estimate]:
    """AUC of the models that see connectivity."""
    return {
        name: auc for name, auc in aucs(scores).items() if name in experiments and kind(experiments[name]) != "floor"
    }
