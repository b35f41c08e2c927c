"""Scores by site, sex, age band and motion band: whom a model serves, and whom it does not."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.evaluate.metrics import Evidence, bootstrap_weights, subset, weighted_scores

SMALLEST = 10  # subjects; from fewer no number is given
FEWEST = 3  # of a class
LOST = 0.05  # share of bootstrap samples that may lack a pair
SCORES = ("auc", "balanced_accuracy", "sensitivity", "specificity", "brier")
COLUMNS = ["experiment", "variable", "group", "metric", "value", "low", "high", "n", "n_cases", "reason"]


def subgroups(participants: pd.DataFrame) -> dict[str, pd.Series]:
    """Group of every subject by `site`, `sex`, `age` and `motion`; tertiles from low to high for the last two.

    Parameters
    ----------
    participants : DataFrame, [n rows]
        Those who were tested; columns that are absent, empty or the same in everybody make no groups.

    Returns
    -------
    dict of str to categorical Series, [n]
        NaN where a value is unknown.
    """
    grouping = {}
    for name in ("site", "sex"):
        if name in participants:
            values = participants[name].astype(str).where(participants[name].notna() & (participants[name] != ""))
            grouping[name] = values.astype("category")
    for name, column, unit, digits in (("age", "age", "years", 0), ("motion", "mean_fd", "mm", 2)):
        if column in participants and participants[column].notna().any():
            grouping[name] = _tertiles(participants[column], unit, digits)
    return {name: groups for name, groups in grouping.items() if len(groups.cat.categories) > 1}


def _tertiles(values: pd.Series, unit: str, digits: int) -> pd.Series:
    bands = pd.qcut(values, 3, duplicates="drop")
    spans = values.groupby(bands, observed=True).agg(["min", "max"])
    names = [f"{row.min:.{digits}f} to {row.max:.{digits}f} {unit}" for row in spans.itertuples(index=False, name="R")]
    if len(set(names)) < len(names):  # bands that rounding makes one
        names = [f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return bands.cat.remove_unused_categories().cat.rename_categories(names)


def subgroup_table(evidence: Mapping[str, Evidence], groups: np.ndarray, table: pd.DataFrame, spec: Mapping):
    """Scores of every experiment in every subgroup, with intervals; none from too few subjects, which says why.

    The AUC compares patients and controls of the subgroup that were tested in the same fold.

    Parameters
    ----------
    evidence : mapping of str to Evidence
    groups : array, [n]
        Copies of a scan share one.
    table : DataFrame, [n rows]
        Participants in the order of the evidence.
    spec : mapping
        `bootstraps`, `level`, `seed`.

    Returns
    -------
    DataFrame
        `experiment`, `variable`, `group`, `metric`, `value`, `low`, `high`, `n`, `n_cases`, `reason` (empty, or why
        there is no number).
    """
    labels, rows = next(iter(evidence.values())).labels, []
    for variable, group in subgroups(table).items():
        for name in group.cat.categories:
            members = (group == name).to_numpy()
            reason = too_few(labels[members])
            weights = (
                None
                if reason
                else bootstrap_weights(labels[members], groups[members], spec["bootstraps"], spec["seed"])
            )
            for experiment, all_ in evidence.items():
                scores = _scores(subset(all_, members), weights, reason, spec["level"])
                place = (experiment, variable, name)
                counts = (int(members.sum()), int((labels[members] == 1).sum()))
                rows += [(*place, metric, *numbers, *counts, why) for metric, numbers, why in scores]
    return pd.DataFrame(rows, columns=COLUMNS)


def too_few(labels: np.ndarray) -> str:
    """Why a subgroup with these labels gets no scores; empty when it does."""
    cases, controls = int((labels == 1).sum()), int((labels == 0).sum())
    if not cases or not controls:
        return "controls only" if not cases else "patients only"
    if len(labels) < SMALLEST:
        return f"fewer than {SMALLEST} subjects"
    if min(cases, controls) < FEWEST:
        return f"fewer than {FEWEST} {'patients' if cases < controls else 'controls'}"
    return ""


def _scores(evidence: Evidence, weights: np.ndarray | None, reason: str, level: float) -> list[tuple]:
    """(metric, (value, low, high), reason) of one subgroup."""
    nothing = (np.nan, np.nan, np.nan)
    if weights is None:
        return [(metric, nothing, reason) for metric in SCORES]
    point = weighted_scores(evidence, np.ones((1, len(evidence.labels))))
    samples = weighted_scores(evidence, weights)
    scores = []
    for metric in SCORES:
        known = samples[metric][np.isfinite(samples[metric])]
        if len(known) < (1 - LOST) * len(weights):
            scores.append((metric, nothing, "too few patients and controls tested together"))
            continue
        ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        scores.append((metric, (point[metric][0], *ends), ""))
    return scores
