"""Figures of prediction: scores of the models, ROC curves, calibration, and learning curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.models.cards import label
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, LIGHT, LINES, MARKERS, PAGE, one_panel, styled
from dysconnect.paper.text import number
from dysconnect.report.prediction.scores import aucs

RUN = ["repeat", "fold", "seed"]


def model_styles(names: Sequence[str], floor: str | None) -> dict[str, dict]:
    """Colour, line and marker of every experiment; the floor is grey."""
    others = [name for name in names if name != floor]
    styles = {
        name: {"color": COLOURS[k % 7], "linestyle": LINES[(k + k // 7) % 7], "marker": MARKERS[k % 7]}
        for k, name in enumerate(others)
    }
    return styles | ({floor: {"color": GREY, "linestyle": (0, (2, 1)), "marker": "x"}} if floor in names else {})


@styled
def forest_figure(scores: pd.DataFrame, floor: str | None) -> Figure:
    """AUC of every experiment with its interval, best first and the floor last; chance and floor as lines."""
    auc = aucs(scores)
    order = sorted(auc, key=lambda name: (name == floor, -auc[name].value))
    styles = model_styles(list(auc), floor)
    figure, axes = one_panel(PAGE, 0.75 + 0.27 * len(order))
    for row, name in enumerate(order):
        score, look = auc[name], styles[name]
        axes.plot([score.low, score.high], [row, row], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        axes.plot(score.value, row, look["marker"], color=look["color"], markersize=6, markeredgewidth=1.4)
        axes.annotate(str(score), (1.02, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
    axes.axvline(0.5, color=INK, linestyle=(0, (1, 2)), linewidth=0.9, zorder=0)
    heights = ("data", "axes fraction")
    axes.annotate("chance", (0.5, 1), (0, 2), heights, "offset points", size=7, ha="center", color=INK)
    if floor in auc:
        level = auc[floor].value
        axes.axvline(level, color=GREY, linestyle=(0, (4, 2)), linewidth=0.9, zorder=0)
        near = abs(level - 0.5) < 0.06
        axes.annotate(
            "floor", (level, 1), (3 * np.sign(level - 0.5) * 6 if near else 0, 2), heights, "offset points",
            size=7, ha="center", color=GREY,
        )  # fmt: skip
    axes.set_yticks(range(len(order)), [_row_title(name, floor) for name in order])
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.set(xlim=(min(0.4, min(score.low for score in auc.values()) - 0.02), 1.0), ylim=(len(order) - 0.4, -0.6))
    axes.set_xlabel("Area under the ROC curve (AUC)")
    axes.spines["left"].set_visible(False)
    return figure


def _row_title(name: str, floor: str | None) -> str:
    return label(name) if name != floor else "confound floor" if name == "floor" else f"{label(name)} (confound floor)"


@styled
def roc_figure(curves: pd.DataFrame, scores: pd.DataFrame, floor: str | None = None) -> Figure:
    """ROC curve of every experiment, with its AUC in the legend.

    Parameters
    ----------
    curves : DataFrame
        `experiment`, `curve`, `x`, `y`; rows of curve ``roc``.
    scores : DataFrame
        Gives the AUC.
    floor : str, optional
        The confound floor, drawn in grey.
    """
    points, auc = curves[curves["curve"] == "roc"], aucs(scores)
    styles = model_styles(list(curves["experiment"].unique()), floor)
    figure, axes = one_panel(COLUMN, 3.5)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    for name in sorted(points["experiment"].unique(), key=lambda name: -auc[name].value if name in auc else 0):
        part, look = points[points["experiment"] == name], {key: styles[name][key] for key in ("color", "linestyle")}
        title = f"{label(name)}, {number(auc[name].value)}" if name in auc else label(name)
        axes.plot([0, *part["x"], 1], [0, *part["y"], 1], label=title, **look)
    axes.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    _unit_square(axes)
    _model_legend(figure, axes, points["experiment"].nunique(), "lower right", "AUC")
    return figure


@styled
def calibration_figure(curves: pd.DataFrame, floor: str | None = None) -> Figure:
    """Predicted probability against the observed share of patients, in bins of equal size.

    Parameters
    ----------
    curves : DataFrame
        `experiment`, `curve`, `x`, `y`; rows of curve ``calibration``.
    floor : str, optional
        The confound floor, drawn in grey.
    """
    points = curves[curves["curve"] == "calibration"]
    styles = model_styles(list(curves["experiment"].unique()), floor)
    figure, axes = one_panel(COLUMN, 3.5)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    for name, part in points.groupby("experiment", sort=False):
        axes.plot(part["x"], part["y"], label=label(name), markersize=4, linewidth=0.8, **styles[name])
    axes.set(xlabel="Predicted probability of being a patient", ylabel="Observed share of patients")
    _unit_square(axes)
    _model_legend(figure, axes, points["experiment"].nunique(), "upper left", None)
    return figure


def _model_legend(figure: Figure, axes: Axes, models: int, corner: str, title: str | None) -> None:
    """Legend inside the axes, or below them where there are many models."""
    look = {"title": title, "title_fontsize": 7, "alignment": "left", "handlelength": 2.6}
    if models > 5:
        figure.set_figheight(3.6 + 0.08 * models)
        figure.legend(loc="outside lower center", ncols=2, **look)
    elif models:
        axes.legend(loc=corner, **look)


def _unit_square(axes: Axes) -> None:
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=ticks, yticks=ticks, aspect="equal")


@styled
def learning_figure(history: pd.DataFrame) -> Figure:
    """Loss by epoch of one experiment: a thin line a fold, the mean in bold, a dot where the best state was kept.

    Parameters
    ----------
    history : DataFrame
        `repeat`, `fold`, `seed`, `epoch`, `train_loss`, `val_loss`. The mean carries
        the last loss of runs that stopped early, and ends where less than half of them go on.
    """
    figure, axes = one_panel(COLUMN, 3.2)
    runs = [part.sort_values("epoch") for _, part in history.groupby(RUN)]
    for column, title, colour, line in (
        ("train_loss", "training", COLOURS[0], "-"),
        ("val_loss", "validation", COLOURS[1], (0, (4, 1.5))),
    ):
        for part in runs:
            axes.plot(part["epoch"] + 1, part[column], color=colour, linewidth=0.6, alpha=0.35)
            if column == "val_loss" and part[column].notna().any():
                best = part.loc[part[column].idxmin()]
                axes.plot(best["epoch"] + 1, best[column], "o", color=colour, markersize=2.6)
        by_epoch = history.pivot_table(index="epoch", columns=RUN, values=column).sort_index()
        mean = by_epoch.ffill().mean(axis=1)[by_epoch.notna().sum(axis=1) >= len(runs) / 2]
        axes.plot(mean.index + 1, mean, color=colour, linestyle=line, linewidth=2.2, label=title)
    axes.set(xlabel="Epoch", ylabel="Loss (binary cross-entropy)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if runs:
        axes.legend(loc="upper right", handlelength=2.6)
    else:
        axes.text(0.5, 0.5, "no epochs recorded", transform=axes.transAxes, ha="center", color=GREY)
    return figure
