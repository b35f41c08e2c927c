"""Tables of prediction: scores of the models, every fold, and every pair of models."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, Estimate, number, p_text, p_value
from dysconnect.report.prediction.scores import aucs, best_of, difference, fair_difference
from dysconnect.report.results import Results

METRICS = (
    "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_slope", "calibration_intercept",
)  # fmt: skip
SHOWN = ("auc", "balanced_accuracy", "brier", "auc_within_site")  # of pairs; the last where there are several sites
MOVES = "centring by site moves whole sites against each other, and with them the AUC of all pairs"


def model_table(
    results: Results,
    floor: str | None,
    kinds: Mapping[str, str],
    empty: bool = False,
    harmonised: Collection[str] = (),
    regional: str | None = None,
) -> Table:
    """Scores of every experiment, best first and the floor last; an `empty` floor is compared with nothing.

    Where there is a floor with what the measure says of regions, `regional`, models are compared with it as well.

    Experiments that are `harmonised` by site are compared with the floor within sites; AUC within sites has a column
    where there are several.
    """
    auc, within = aucs(results.scores), aucs(results.scores, "auc_within_site")
    several = any(np.isfinite(score.value) for score in within.values())
    order = sorted(auc, key=lambda name: (name == floor, name == regional, -auc[name].value))
    best = best_of({name: score for name, score in auc.items() if name not in (floor, regional)} or auc)
    same = aucs(results.scores, "auc_deconfounded")
    rows = []
    for name in order:
        beyond = "no covariates" if empty else "the floor"
        if name != floor:
            beyond = (
                _gap_cell(*fair_difference(results.comparisons, name, floor, harmonised))
                if floor and not empty
                else NONE
            )
        cells = [(label(name), kinds.get(name, "")), str(auc[name]), *[_score_cell(within, name)] * several]
        cells += [_p_cell(auc[name]), beyond]
        if regional:
            gap = fair_difference(results.comparisons, name, regional, harmonised)
            cells.append(NONE if name in (floor, regional) else _gap_cell(*gap))
        cells.append(NONE if empty else _score_cell(same, name))
        mark = "floor" if name in (floor, regional) else "best" if name == best else ""
        rows.append(Row([*cells, *_other_scores(results.scores, name)], mark))
    columns = [
        Column("Model", False), Column("AUC [interval]"), *[Column("Within sites [interval]")] * several,
        Column("Permutation p"), Column("AUC minus floor [interval]"),
        *[Column(f"AUC minus {label(regional or '')} [interval]")] * bool(regional),
        Column("AUC, covariates held equal"),
        Column("Balanced accuracy"), Column("Sensitivity"), Column("Specificity"), Column("Brier score"),
        Column("Calibration slope"), Column("Calibration intercept"),
    ]  # fmt: skip
    caption = _model_caption(results.scores, several, bool(harmonised) and bool(floor), empty)
    return Table(caption + start_note(results.starts), columns, rows)


def start_note(starts: Mapping[str, pd.DataFrame]) -> str:
    """How often networks that start from ridge regression were switched off, and what they tell alone."""
    text = ""
    for name, table in starts.items():
        if table.empty:
            continue
        off, on = int((table["gamma"] == 0).sum()), table.loc[table["gamma"] > 0, "gamma"]
        text += (
            f" {label(name)}: in {off:,} of {len(table):,} folds (of every repeat and seed) the network was switched "
            "off, and ridge regression alone decided"
        )
        text += f"; in the others its weight was {number(on.min())} to {number(on.max())}" if len(on) else ""
        alone, ridge = (number(table[column].mean()) for column in ("network_auc", "ridge_auc"))
        text += (
            f". On people left out of inner folds the network alone has an AUC of {alone}, ridge regression {ridge}."
        )
    return text


def _score_cell(scores: Mapping[str, Estimate], name: str) -> str:
    return str(scores[name]) if name in scores and np.isfinite(scores[name].value) else NONE


def _other_scores(scores: pd.DataFrame, name: str) -> list[str]:
    """Scores without an interval, in the order of `METRICS`; a dash for one that is not known."""
    values = scores[scores["experiment"] == name].set_index("metric")["value"]
    return [number(values.get(metric, np.nan), 3 if metric == "brier" else 2) for metric in METRICS]


def _model_caption(scores: pd.DataFrame, several: bool, mixed: bool, empty: bool) -> str:
    n = int(scores.loc[scores["metric"] == "auc", "n"].max())
    caption = (
        f"Out-of-fold scores of {n:,} subjects. Higher is better, except for the Brier score; the best calibration has "
        "a slope of 1 (below: probabilities too extreme) and an intercept of 0. Of the best: allowing for the choice "
        "among the models that were tested."
    )
    if several:
        caption += (
            " Within sites: the AUC of patients and controls of the same site, which differences between sites cannot "
            "raise."
        )
    if several and mixed and not empty:
        caption += f" A model that is harmonised by site is compared with the floor within sites: {MOVES}."
    same = scores[(scores["metric"] == "auc_deconfounded") & np.isfinite(scores["value"])]
    if len(same) and not empty:
        caption += (
            f" Covariates are held equal by weighting, which leaves the information of {same['n'].max():,.0f} subjects "
            "and is conservative in small cohorts: what covariates alone have taught falls below 0.5."
        )
    return caption


def _p_cell(score: Estimate) -> str | tuple[str, str]:
    """The permutation p, and under it that which allows for the other models."""
    if not np.isfinite(score.p):
        return "not tested"
    return (
        (p_value(score.p), f"of the best {p_text(score.corrected)}")
        if np.isfinite(score.corrected)
        else p_value(score.p)
    )


def _gap_cell(gap: Estimate | None, within: bool) -> str | tuple[str, str]:
    """A difference, and under it whether it is within sites, and the p of the corrected test."""
    if gap is None:
        return NONE
    small = ["within sites"] * within + [f"corrected {p_text(gap.corrected)}"] * bool(np.isfinite(gap.corrected))
    return (str(gap), ", ".join(small)) if small else str(gap)


def fold_table(folds: pd.DataFrame) -> Table:
    """AUC of every fold: a row a fold, a column an experiment."""
    wide = folds.pivot_table(
        index=["repeat", "fold", "n_train", "n_test"], columns="experiment", values="auc", dropna=False
    )
    wide = wide.loc[wide.index.isin(folds.set_index(["repeat", "fold", "n_train", "n_test"]).index)]
    names = list(folds["experiment"].unique())
    rows = [
        Row([f"{repeat + 1}.{fold + 1}", f"{n_train:,}", f"{n_test:,}", *(number(row[name]) for name in names)])
        for (repeat, fold, n_train, n_test), row in wide.iterrows()
    ]
    columns = [
        Column("Repeat and fold", False),
        Column("Trained on"),
        Column("Tested"),
        *map(Column, map(label, names)),
    ]
    return Table("AUC of every fold, averaged over seeds; a dash where a fold tested one group only.", columns, rows)


def comparison_table(comparisons: pd.DataFrame, harmonised: Collection[str] = ()) -> Table:
    """Every pair of experiments, the better AUC first; within sites where only one of them is `harmonised` by site."""
    several = bool(comparisons.loc[comparisons["metric"] == "auc_within_site", "difference"].notna().any())
    rows, mixed = [], False
    for row in comparisons[comparisons["metric"] == "auc"].itertuples():
        gap, within = fair_difference(comparisons, row.experiment, row.other, harmonised)
        first, second = (row.experiment, row.other) if gap.value >= 0 else (row.other, row.experiment)
        gaps = [difference(comparisons, first, second, metric) for metric in SHOWN[: None if several else -1]]
        cells = [str(found) if found and np.isfinite(found.value) else NONE for found in gaps]
        cells[0] = (NONE, "within sites only") if within else cells[0]
        ps = [p_value(gap.p), p_value(gap.corrected)]
        rows.append((abs(gap.value), Row([label(first), label(second), cells[0], *ps, *cells[1:]])))
        mixed |= within
    rows.sort(key=lambda pair: -pair[0])
    columns = [
        Column("Model", False), Column("minus", False), Column("AUC [interval]"), Column("p, other subjects"),
        Column("p, trained on others (corrected)"), Column("Balanced accuracy [interval]"),
        Column("Brier score [interval]"), *[Column("AUC within sites [interval]")] * several,
    ]  # fmt: skip
    caption = (
        "Paired differences on the same folds and bootstrap samples. An interval that includes zero shows no "
        "difference. The first p asks how these fitted models do on other subjects, the second (corrected resampled "
        "t-test over folds) how the methods do when trained on others."
    )
    if mixed:
        caption += (
            f" Two models of which only one is harmonised by site are compared within sites, both p included: {MOVES}."
        )
    return Table(caption, columns, [row for _, row in rows])
