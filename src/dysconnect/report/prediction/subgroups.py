"""Scores by site, sex, age and motion: a forest of the best model, and a table of all."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.models.cards import label
from dysconnect.paper.style import COLOURS, GREY, INK, PAGE, note_figure, styled
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, Estimate, number
from dysconnect.report.prediction.scores import aucs, best_of

TITLES = {"site": "Site", "sex": "Sex", "age": "Age", "motion": "Mean framewise displacement"}
MOST_ROWS = 45  # a figure of more would not fit a page


def shown_model(scores: pd.DataFrame, floor: str | None) -> str:
    """The model whose subgroups are drawn: the best that is not the floor."""
    auc = {name: score for name, score in aucs(scores).items() if name != floor}
    return best_of(auc) if auc else floor


def subgroup_figure(subgroups: pd.DataFrame, scores: pd.DataFrame, floor: str | None) -> Figure:
    """AUC of the best model in every subgroup, with intervals; a word where there is none.

    Parameters
    ----------
    subgroups : DataFrame
        Of the stage `evaluate`.
    scores : DataFrame
        Gives the AUC of all subjects, drawn as a line.
    floor : str or None
        The confound floor, which is not drawn.
    """
    name = shown_model(scores, floor)
    rows = subgroups[(subgroups["experiment"] == name) & (subgroups["metric"] == "auc")]
    if rows.empty:
        return note_figure("Everybody is of one site, sex and age:\nthere are no subgroups.")
    return _forest(rows.head(MOST_ROWS), aucs(scores)[name])


@styled
def _forest(rows: pd.DataFrame, overall: Estimate) -> Figure:
    places, titles = _places(rows["variable"].tolist())
    figure = Figure(figsize=(PAGE, 0.8 + 0.21 * (max(places) + 1)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in zip(places, rows.itertuples()):
        _draw_row(axes, place, row)
    axes.axvline(0.5, color=INK, linestyle=(0, (1, 2)), linewidth=0.9, zorder=0)
    axes.axvline(overall.value, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=0)
    heights = ("data", "axes fraction")
    for x, words, colour in ((0.5, "chance", INK), (overall.value, "all", GREY)):
        if words == "all" and abs(x - 0.5) < 0.05:
            continue
        axes.annotate(words, (x, 1), (0, 2), heights, "offset points", size=7, ha="center", color=colour)
    counts = [f"{row.group} ({row.n:,}, {row.n_cases:,} patients)" for row in rows.itertuples()]
    axes.set_yticks([*places, *titles.values()], [*counts, *(TITLES.get(name, name) for name in titles)])
    for tick in axes.get_yticklabels()[len(places) :]:
        tick.set_fontweight("bold")
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set(xlim=(0, 1), ylim=(max(places) + 0.6, -0.6), xlabel="Area under the ROC curve (AUC)")
    axes.spines["left"].set_visible(False)
    return figure


def _places(variables: Sequence[str]) -> tuple[list[int], dict[str, int]]:
    """Rows of the subgroups, and of the headings above them."""
    places, titles, row = [], {}, 0
    for name in variables:
        if name not in titles:
            titles[name] = row
            row += 1
        places.append(row)
        row += 1
    return places, titles


def _draw_row(axes: Axes, place: int, row) -> None:
    aside = {"xycoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
    if not np.isfinite(row.value):
        axes.annotate(row.reason, (0.01, place), color=GREY, size=7, **aside)
        return
    axes.plot([row.low, row.high], [place, place], color=COLOURS[0], linewidth=1.4, solid_capstyle="butt")
    axes.plot(row.value, place, "o", color=COLOURS[0], markersize=4.5)
    axes.annotate(str(Estimate(row.value, row.low, row.high, np.nan)), (1.02, place), **aside)


def subgroup_rows(subgroups: pd.DataFrame) -> Table:
    """AUC of every experiment in every subgroup; a dash, and why, where there are too few subjects."""
    table = subgroups[subgroups["metric"] == "auc"]
    names, rows = list(table["experiment"].unique()), []
    for (variable, group), part in table.groupby(["variable", "group"], sort=False):
        by_name, first = part.set_index("experiment"), part.iloc[0]
        cells = [_cell(by_name.loc[name]) for name in names]
        rows.append(Row([TITLES.get(variable, variable), group, f"{first.n:,}", f"{first.n_cases:,}", *cells]))
    columns = [Column("By", False), Column("Subgroup", False), Column("n"), Column("Patients")]
    caption = (
        "AUC [interval] by subgroup, among patients and controls of the subgroup that were tested in the same fold. "
        "No number is given for fewer than 10 subjects or one group only. Differences between rows are not tested."
    )
    return Table(caption, [*columns, *(Column(label(name)) for name in names)], rows)


def _cell(row: pd.Series) -> str | tuple[str, str]:
    if not np.isfinite(row["value"]):
        return NONE, row["reason"]
    return number(row["value"]), f"[{number(row['low'])}, {number(row['high'])}]"
