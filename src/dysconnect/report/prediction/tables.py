"""Tables of prediction: scores of the models, every fold, and every pair of models."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, Estimate, number, p_text, p_value
from dysconnect.report.prediction.scores import aucs, best_of, difference
from dysconnect.report.results import Results

METRICS = (
    "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_slope", "calibration_intercept",
)  # fmt: skip


def model_table(results: Results, floor: str | None, kinds: Mapping[str, str], empty: bool = False) -> Table:
    """Scores of every experiment, best first and the floor last; an `empty` floor is compared with nothing."""
    auc, scores = aucs(results.scores), results.scores.set_index(["experiment", "metric"])
    order = sorted(auc, key=lambda name: (name == floor, -auc[name].value))
    best = best_of({name: score for name, score in auc.items() if name != floor} or auc)
    alike = aucs(results.scores, "auc_deconfounded")
    rows = []
    for name in order:
        gap = difference(results.comparisons, name, floor) if floor and not empty else None
        values = {metric: scores["value"].get((name, metric), np.nan) for metric in METRICS}
        rest = [number(value, 3 if metric == "brier" else 2) for metric, value in values.items()]
        p = _p_cell(auc[name])
        beyond = ("no covariates" if empty else "the floor") if name == floor else _with_corrected(gap)
        held = str(alike[name]) if name in alike and np.isfinite(alike[name].value) and not empty else NONE
        mark = "floor" if name == floor else "best" if name == best else ""
        rows.append(Row([(label(name), kinds.get(name, "")), str(auc[name]), p, beyond, held, *rest], mark))
    columns = [
        Column("Model", False), Column("AUC [interval]"), Column("Permutation p"), Column("AUC minus floor [interval]"),
        Column("AUC, covariates held equal"), Column("Balanced accuracy"), Column("Sensitivity"),
        Column("Specificity"), Column("Brier score"), Column("Calibration slope"), Column("Calibration intercept"),
    ]  # fmt: skip
    n = int(results.scores.loc[results.scores["metric"] == "auc", "n"].max())
    same = results.scores.loc[results.scores["metric"] == "auc_deconfounded", "n"]
    caption = (
        f"Out-of-fold scores of {n:,} subjects. Higher is better, except for the Brier score; the best calibration has "
        "a slope of 1 (below: probabilities too extreme) and an intercept of 0. Of the best: allowing for the choice "
        "among the models that were tested."
    )
    if len(same) and alike and np.isfinite([score.value for score in alike.values()]).any():
        caption += (
            f" Covariates are held equal by weighting, which leaves the information of {same.max():,.0f} subjects and "
            "is conservative in small cohorts: what covariates alone have taught falls below 0.5."
        )
    return Table(caption, columns, rows)


def _p_cell(score: Estimate) -> str | tuple[str, str]:
    """The permutation p, and under it that which allows for the other models."""
    if not np.isfinite(score.p):
        return "not tested"
    return (
        (p_value(score.p), f"of the best {p_text(score.corrected)}")
        if np.isfinite(score.corrected)
        else p_value(score.p)
    )


def _with_corrected(gap: Estimate | None) -> str | tuple[str, str]:
    """A difference, and under it the p of the corrected test."""
    if gap is None:
        return NONE
    return (str(gap), f"corrected {p_text(gap.corrected)}") if np.isfinite(gap.corrected) else str(gap)


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


def comparison_table(comparisons: pd.DataFrame) -> Table:
    """Every pair of experiments, the better AUC first."""
    rows = []
    for row in comparisons[comparisons["metric"] == "auc"].itertuples():
        first, second = (row.experiment, row.other) if row.difference >= 0 else (row.other, row.experiment)
        gaps = {
            metric: difference(comparisons, first, second, metric) for metric in ("auc", "balanced_accuracy", "brier")
        }
        cells = [str(gap) if gap else NONE for gap in gaps.values()]
        ps = [p_value(row.p), p_value(row.p_corrected)]
        rows.append((row.difference, Row([label(first), label(second), cells[0], *ps, *cells[1:]])))
    rows.sort(key=lambda pair: -abs(pair[0]))
    columns = [
        Column("Model", False), Column("minus", False), Column("AUC [interval]"), Column("p, other subjects"),
        Column("p, trained on others (corrected)"), Column("Balanced accuracy [interval]"),
        Column("Brier score [interval]"),
    ]  # fmt: skip
    caption = (
        "Paired differences on the same folds and bootstrap samples. An interval that includes zero shows no "
        "difference. The first p asks how these fitted models do on other subjects, the second (corrected resampled "
        "t-test over folds) how the methods do when trained on others."
    )
    return Table(caption, columns, [row for _, row in rows])
