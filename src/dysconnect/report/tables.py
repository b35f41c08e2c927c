"""Tables of the report: frames in, rows of text out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import chi2_contingency, fisher_exact, mannwhitneyu

from dysconnect.paper.tables import Column, Row, Table, page_link, region_cell, significant
from dysconnect.paper.text import NONE, Estimate, label, number, p_text, p_value
from dysconnect.report.text import Results, aucs, difference


def cohort_table(participants: pd.DataFrame, contrast: Mapping) -> Table:
    """Describe every group: how many, and age, sex, site and motion of the included."""
    compared = [*contrast["cases"], *contrast["controls"]]
    groups = compared + sorted(set(participants["group"]) - set(compared))
    rows = []
    for name in groups:
        own = participants[participants["group"] == name]
        role = "patients" if name in contrast["cases"] else "controls" if name in compared else "not compared"
        rows.append(Row([(name or "no group", role), *_group_cells(own)], "" if name in compared else "aside"))
    rows.append(Row([("p", "patients against controls"), "", "", *_balance(participants, contrast)], "total"))
    columns = [
        Column("Group", False), Column("n"), Column("Included"), Column("Age, years (mean ± sd)"),
        Column("Sex", False), Column("Site", False), Column("Mean FD, mm (mean ± sd)"),
    ]  # fmt: skip
    caption = (
        "Groups. Age, sex, site and mean framewise displacement (FD) are those of the included subjects; "
        "p by Mann–Whitney for age and FD, Fisher or χ² for sex and site."
    )
    return Table(caption, columns, rows)


def _group_cells(group: pd.DataFrame) -> list[str]:
    kept = group[group["included"]]
    return [
        f"{len(group):,}", f"{len(kept):,}", _mean_sd(kept["age"], 1), _counts(kept["sex"]), _counts(kept["site"]),
        _mean_sd(kept["mean_fd"], 3),
    ]  # fmt: skip


def _mean_sd(values: pd.Series, digits: int) -> str:
    known = values.dropna()
    if known.empty:
        return NONE
    text = (
        f"{number(known.mean(), digits)} ± {number(known.std(), digits)}"
        if len(known) > 1
        else number(known.mean(), digits)
    )
    return text if len(known) == len(values) else f"{text} (n = {len(known)})"


def _counts(values: pd.Series) -> str:
    counts = values.fillna("").astype(str).replace("", "unknown").value_counts().sort_index()
    return ", ".join(f"{name}\u00a0{count}" for name, count in counts.items()) or NONE


def _balance(participants: pd.DataFrame, contrast: Mapping) -> list[str]:
    kept = participants[participants["included"]]
    cases, controls = kept[kept["group"].isin(contrast["cases"])], kept[kept["group"].isin(contrast["controls"])]
    both = pd.concat([cases, controls])
    side = np.repeat(["case", "control"], [len(cases), len(controls)])
    ps = []
    for name in ("age", "sex", "site", "mean_fd"):
        if name in ("age", "mean_fd"):
            one, other = cases[name].dropna(), controls[name].dropna()
            p = mannwhitneyu(one, other).pvalue if len(one) and len(other) else np.nan
        else:
            p = _contingency_p(pd.crosstab(side, both[name].astype(str).to_numpy()).to_numpy())
        ps.append(p_value(float(p)))
    return ps


def _contingency_p(counts: np.ndarray) -> float:
    if counts.shape[0] < 2 or counts.shape[1] < 2:
        return np.nan
    return fisher_exact(counts).pvalue if counts.shape == (2, 2) else chi2_contingency(counts).pvalue


MANY = 8  # people with one and the same reason share a row of the table


def excluded_table(participants: pd.DataFrame) -> Table:
    """List everybody who was left out, with the reason; people left out by the dozen share a row."""
    own = participants[~participants["included"]]
    reasons = own["exclusion_reason"].replace("", "no reason given")
    rows = []
    for reason, people in own.groupby(reasons, sort=False):
        if len(people) > MANY:
            groups = ", ".join(f"{group or NONE} {count}" for group, count in people["group"].value_counts().items())
            named = (f"{len(people):,} people", "by name in timeseries/participants.tsv")
            rows.append(Row([named, groups, NONE, reason]))
        else:
            rows += [
                Row(
                    [row.participant_id, row.group or NONE, number(row.mean_fd, 2), reason],
                    link=page_link(row.participant_id),
                )
                for row in people.itertuples()
            ]
    columns = [Column("Subject", False), Column("Group", False), Column("FD, mm"), Column("Reason", False)]
    return Table(f"Excluded subjects ({len(own):,}).", columns, rows)


def model_table(results: Results, floor: str | None, kinds: Mapping[str, str], empty: bool = False) -> Table:
    """Scores of every experiment, best first and the floor last; an `empty` floor is compared with nothing."""
    auc, scores = aucs(results.scores), results.scores.set_index(["experiment", "metric"])
    order = sorted(auc, key=lambda name: (name == floor, -auc[name].value))
    alike = aucs(results.scores, "auc_deconfounded")
    rows = []
    for name in order:
        gap = difference(results.comparisons, name, floor) if floor and not empty else None
        values = {metric: scores["value"].get((name, metric), np.nan) for metric in METRICS}
        rest = [number(value, 3 if metric == "brier" else 2) for metric, value in values.items()]
        p = p_value(auc[name].p) if np.isfinite(auc[name].p) else "not tested"
        beyond = ("no covariates" if empty else "the floor") if name == floor else _with_corrected(gap)
        held = str(alike[name]) if name in alike and np.isfinite(alike[name].value) and not empty else NONE
        mark = "floor" if name == floor else "best" if name == order[0] else ""
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
        "a slope of 1 (below: probabilities too extreme) and an intercept of 0."
    )
    if len(same) and alike and np.isfinite([own.value for own in alike.values()]).any():
        caption += (
            f" Covariates are held equal by weighting, which leaves the information of {same.max():,.0f} subjects and "
            "is conservative in small cohorts: what covariates alone have taught falls below 0.5."
        )
    return Table(caption, columns, rows)


METRICS = (
    "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_slope", "calibration_intercept",
)  # fmt: skip


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
        Row([f"{repeat + 1}.{fold + 1}", f"{n_train:,}", f"{n_test:,}", *(number(own[name]) for name in names)])
        for (repeat, fold, n_train, n_test), own in wide.iterrows()
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


def edge_table(edges: pd.DataFrame, nodes: pd.DataFrame, titles: Mapping[str, str], alpha: float, n: int) -> Table:
    """Name the strongest edges, with coordinates; the attribution column is hidden where it is withheld."""
    places = nodes.set_index("name")[["x", "y", "z"]]
    weighted = bool(edges["attribution"].notna().any())
    rows = []
    for rank, row in enumerate(edges.head(n).itertuples(), start=1):
        cells = [
            str(rank), region_cell(row.region_a, places), region_cell(row.region_b, places),
            titles.get(row.circuit, NONE), number(row.effect_size), row.direction.removeprefix("patients "),
            number(row.statistic),
            p_value(row.p), p_value(row.p_fwer), p_value(row.p_fdr), number(row.stability),
        ]  # fmt: skip
        rows.append(
            Row(cells + ([significant(row.attribution)] if weighted else []), "best" if row.p_fwer <= alpha else "")
        )
    columns = [
        Column("#"), Column("Region", False), Column("Region", False), Column("Circuit", False), Column("d"),
        Column("In\u00a0patients", False), Column("t"), Column("p"), Column("p\u00a0FWER"), Column("p\u00a0FDR"),
        Column("Stability"),
    ]  # fmt: skip
    caption = (
        f"The {len(rows)} strongest of {len(edges):,} connections, with the MNI coordinates of both regions (x, y, z "
        f"in mm). Marked: those that survive a family-wise error rate of {alpha:g}."
    )
    return Table(caption, columns + ([Column("Attribution")] if weighted else []), rows)


RECOVERY = (
    ("called", "Called", "connections that the method names", 0),
    ("tpr", "Found", "share of the planted connections that are named (true positive rate)", 2),
    ("fdp", "False share", "share of the named connections that were not planted (false-discovery proportion)", 2),
    ("fwer", "Any false", "1 where at least one named connection is false; over many cohorts the family-wise error", 2),
    ("sign_accuracy", "Right sign", "share of the found connections with the planted direction", 2),
    (
        "auprc",
        "AUPRC",
        "area under the precision-recall curve of the ranking; the chance row is what no information gives",
        3,
    ),
    ("auprc_ratio", "Ratio", "AUPRC relative to the ranking by |t|", 3),
)


def recovery_table(recovery: pd.DataFrame) -> Table:
    """How well each method finds the planted truth, and what each column means."""
    rows = []
    for row in recovery.to_dict("records"):
        cells = [number(float(row[name]), digits) for name, _, _, digits in RECOVERY]
        rows.append(Row([row["method"], *cells], "floor" if row["method"] == "chance" else ""))
    columns = [Column("Method", False), *(Column(title) for _, title, _, _ in RECOVERY)]
    notes = [(title, meaning) for _, title, meaning, _ in RECOVERY]
    return Table("Recovery of the planted truth in this cohort.", columns, rows, notes)
