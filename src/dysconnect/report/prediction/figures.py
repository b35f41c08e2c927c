"""Figures of prediction: scores of the models, ROC curves, calibration, probabilities, nulls, and learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.models.cards import label
from dysconnect.paper.style import (
    COLOURS,
    COLUMN,
    GREY,
    INK,
    LIGHT,
    LINES,
    MARKERS,
    PAGE,
    box,
    evenly,
    note_figure,
    one_panel,
    styled,
)
from dysconnect.paper.text import number, p_text
from dysconnect.report.prediction.scores import aucs

RUN = ["repeat", "fold", "seed"]
SMALL = 3  # small panels of calibration in a row
WORDS = (-0.55, -0.15)  # from where to where the words of a row of the forest reach, in rows
NULLS = 4  # small panels of nulls in a row
PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind words, over lines


def model_styles(names: Sequence[str], floor: str | None) -> dict[str, dict]:
    """Colour, line and marker of every experiment; the floor is grey."""
    others = [name for name in names if name != floor]
    styles = {
        name: {"color": COLOURS[k % 7], "linestyle": LINES[(k + k // 7) % 7], "marker": MARKERS[k % 7]}
        for k, name in enumerate(others)
    }
    return styles | ({floor: {"color": GREY, "linestyle": (0, (2, 1)), "marker": "x"}} if floor in names else {})


@styled
def forest_figure(scores: pd.DataFrame, floor: str | None, empty: bool = False) -> Figure:
    """AUC of every experiment with its interval, best first and the floor last; chance and floor as lines.

    An `empty` floor sees no covariate: it has a row, but no line to be passed.
    """
    auc = aucs(scores)
    order = sorted(auc, key=lambda name: (name == floor, -auc[name].value))
    styles = model_styles(list(auc), floor)
    figure, axes = one_panel(COLUMN, 0.75 + 0.4 * len(order))  # a phone shows it whole
    for row, name in enumerate(order):
        score, look = auc[name], styles[name]
        axes.plot([score.low, score.high], [row, row], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        axes.plot(score.value, row, look["marker"], color=look["color"], markersize=6, markeredgewidth=1.4)
        title = _row_title(name, floor, empty)
        for words, place, side in ((title, 0, "left"), (str(score), 1, "right")):
            axes.text(place, row - 0.2, words, ha=side, va="bottom", transform=axes.get_yaxis_transform(), bbox=PLAIN)
    _level(axes, 0.5, len(order), color=INK, linestyle=(0, (1, 2)))
    heights = ("data", "axes fraction")
    axes.annotate("chance", (0.5, 1), (0, 2), heights, "offset points", size=7, ha="center", color=INK)
    if floor in auc and not empty:
        level = auc[floor].value
        _level(axes, level, len(order), color=GREY, linestyle=(0, (4, 2)))
        near = abs(level - 0.5) < 0.06
        axes.annotate(
            "floor", (level, 1), (3 * np.sign(level - 0.5) * 6 if near else 0, 2), heights, "offset points",
            size=7, ha="center", color=GREY,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set(xlim=(min(0.4, min(score.low for score in auc.values()) - 0.02), 1.0), ylim=(len(order) - 0.6, -0.85))
    axes.set_xlabel("Area under the ROC curve (AUC)")
    axes.spines["left"].set_visible(False)
    return figure


def _level(axes: Axes, value: float, rows: int, **look: object) -> None:
    """Draw a vertical line that is broken where the words of a row stand: a browser may set them wider."""
    pieces = np.array([[row + WORDS[1], row + 1 + WORDS[0], np.nan] for row in range(-1, rows)])
    axes.plot(np.full(pieces.size, value), pieces.ravel(), linewidth=0.9, zorder=0, **look)


def _row_title(name: str, floor: str | None, empty: bool) -> str:
    if name != floor:
        return label(name)
    if empty:
        return "no covariates"
    return "confound floor" if name == "floor" else f"{label(name)} (confound floor)"


@styled
def roc_figure(curves: pd.DataFrame, scores: pd.DataFrame, floor: str | None = None) -> Figure:
    """ROC curve of every experiment with its band over folds, and its AUC in the legend.

    Parameters
    ----------
    curves : DataFrame
        `experiment`, `curve`, `x`, `y`, `low`, `high`; rows of curve ``roc``. No band where low and high are NaN.
    scores : DataFrame
        Gives the AUC.
    floor : str, optional
        The confound floor, drawn in grey.
    """
    points, auc = curves[curves["curve"] == "roc"], aucs(scores)
    styles = model_styles(list(curves["experiment"].unique()), floor)
    figure, axes = one_panel(COLUMN, 3.5)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    faint = 0.3 / max(3, points["experiment"].nunique())  # bands lie over each other
    for name in sorted(points["experiment"].unique(), key=lambda name: -auc[name].value if name in auc else 0):
        part, look = points[points["experiment"] == name], {key: styles[name][key] for key in ("color", "linestyle")}
        title = f"{label(name)}, {number(auc[name].value)}" if name in auc else label(name)
        axes.plot([0, *part["x"], 1], [0, *part["y"], 1], label=title, **look)
        axes.fill_between(part["x"], part["low"], part["high"], color=look["color"], alpha=faint, linewidth=0)
    axes.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    _unit_square(axes)
    _model_legend(figure, axes, points["experiment"].nunique(), "lower right", "AUC")
    return figure


@styled
def calibration_figure(curves: pd.DataFrame, best: str, floor: str | None = None) -> Figure:
    """Predicted probability against the observed share of patients: one model with its band, the others small.

    Parameters
    ----------
    curves : DataFrame
        `experiment`, `curve`, `x`, `y`, `low`, `high`; rows of curve ``calibration``.
    best : str
        The model that is drawn large.
    floor : str, optional
        The confound floor, drawn in grey.
    """
    points = curves[curves["curve"] == "calibration"]
    styles = model_styles(list(curves["experiment"].unique()), floor)
    others = [name for name in points["experiment"].unique() if name != best]
    rows = -(-len(others) // SMALL)
    figure = Figure(figsize=(COLUMN, 3.5 + 1.25 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, SMALL, height_ratios=[3.3, *[1.15] * rows])
    large = figure.add_subplot(grid[0, :])
    _calibration(large, points[points["experiment"] == best], styles[best], 4)
    large.set_title(label(best))
    large.set(xlabel="Predicted probability of being a patient", ylabel="Observed share of patients")
    _unit_square(large)
    for k, name in enumerate(others):
        axes = figure.add_subplot(grid[1 + k // SMALL, k % SMALL])
        _calibration(axes, points[points["experiment"] == name], styles[name], 2)
        axes.set_title(label(name), size=6.5)
        axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xticks=[0, 1], yticks=[0, 1], aspect="equal")
    return figure


def _calibration(axes: Axes, part: pd.DataFrame, look: Mapping, size: float) -> None:
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    axes.fill_between(part["x"], part["low"], part["high"], color=look["color"], alpha=0.15, linewidth=0)
    axes.plot(part["x"], part["y"], markersize=size, linewidth=0.8, **look)


@styled
def probability_figure(predictions: pd.DataFrame) -> Figure:
    """Predicted probability of one model by group: a point a person, the mean over repeats and seeds.

    Parameters
    ----------
    predictions : DataFrame
        `participant_id`, `label`, `probability`, out of fold.
    """
    people = predictions.groupby("participant_id")[["label", "probability"]].mean()
    figure, axes = one_panel(COLUMN, 3.5)
    jitter = np.random.default_rng(0)
    for place, (group, colour) in enumerate(((1, COLOURS[1]), (0, COLOURS[0]))):
        values = people.loc[people["label"] == group, "probability"].to_numpy(float)
        size, alpha = (9, 0.75) if len(values) < 150 else (4, 0.5)
        box(axes, values, place)
        values = values[evenly(values)]
        where = place + jitter.uniform(-0.17, 0.17, len(values))
        axes.scatter(where, values, s=size, color=colour, alpha=alpha, linewidths=0, zorder=3)
    axes.axhline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    axes.set(xlim=(-0.6, 1.6), ylim=(-0.02, 1.02), ylabel="Predicted probability of being a patient")
    axes.set_xticks(
        [0, 1], [f"{name} ({(people['label'] == k).sum():,})" for name, k in (("patients", 1), ("controls", 0))]
    )
    axes.tick_params(axis="x", length=0, labelsize=8)
    return figure


def null_figure(nulls: Mapping[str, pd.DataFrame], scores: pd.DataFrame, floor: str | None = None) -> Figure:
    """AUC of every tested model under permuted labels, and that of the labels as they are as a line.

    Parameters
    ----------
    nulls : mapping of str to DataFrame
        `permutation` (0: the labels as they are) and `auc`, by experiment; no rows where there is no null.
    scores : DataFrame
        Gives the order and the p.
    floor : str, optional
        The confound floor, drawn in grey and last.
    """
    auc = aucs(scores)
    tested = sorted((name for name in auc if len(nulls[name]) > 1), key=lambda name: (name == floor, -auc[name].value))
    if not tested:
        return note_figure("No model was tested against permuted labels.")
    colours = {name: look["color"] for name, look in model_styles(list(auc), floor).items()}
    return _null_panels({name: nulls[name] for name in tested}, {name: auc[name].p for name in tested}, colours)


@styled
def _null_panels(nulls: Mapping[str, pd.DataFrame], p: Mapping[str, float], colours: Mapping[str, str]) -> Figure:
    columns = min(NULLS, len(nulls))
    rows = -(-len(nulls) // columns)
    every = np.concatenate([null["auc"] for null in nulls.values()])
    edges = np.linspace(np.floor(every.min() * 20) / 20, np.ceil(every.max() * 20) / 20 + 1e-9, 31)
    figure = Figure(figsize=(PAGE, 0.4 + 1.45 * rows), layout="constrained")
    for k, (name, null) in enumerate(nulls.items()):
        axes = figure.add_subplot(rows, columns, k + 1)
        permuted = null.loc[null["permutation"] > 0, "auc"]
        axes.hist(permuted, edges, color=LIGHT, weights=np.full(len(permuted), 1 / len(permuted)))
        axes.axvline(null.loc[null["permutation"] == 0, "auc"].item(), color=colours[name], linewidth=1.6)
        axes.set_title(f"{label(name)}\n{p_text(p[name])}", loc="left", size=7)
        axes.set(xlim=(edges[0] - 0.02, edges[-1] + 0.02), yticks=[])
        axes.spines["left"].set_visible(False)
    figure.supxlabel("Area under the ROC curve (AUC)", size=8)
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
        `repeat`, `fold`, `seed`, `epoch`, `train_loss`, `val_loss`, `kept`. The mean carries
        the last loss of runs that stopped early, and ends where less than half of them go on.
        No line of validation where nobody was watched.
    """
    figure, axes = one_panel(COLUMN, 3.2)
    runs = [part.sort_values("epoch") for _, part in history.groupby(RUN)]
    for column, title, colour, line in (
        ("train_loss", "training", COLOURS[0], "-"),
        ("val_loss", "validation", COLOURS[1], (0, (4, 1.5))),
    ):
        if history[column].isna().all():
            continue
        for part in runs:
            axes.plot(part["epoch"] + 1, part[column], color=colour, linewidth=0.6, alpha=0.35)
            if column == "val_loss":
                best = part[part["kept"]]
                axes.plot(best["epoch"] + 1, best[column], "o", color=colour, markersize=2.6)
        mean = mean_loss(history, column)
        axes.plot(mean.index + 1, mean, color=colour, linestyle=line, linewidth=2.2, label=title)
    axes.set(xlabel="Epoch", ylabel="Loss (binary cross-entropy)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if runs:
        axes.legend(loc="upper right", handlelength=2.6)
    else:
        axes.text(0.5, 0.5, "no epochs recorded", transform=axes.transAxes, ha="center", color=GREY)
    return figure


def mean_loss(history: pd.DataFrame, column: str) -> pd.Series:
    """Mean loss over runs by epoch, from 0, with the last of those that stopped, while half of the runs go on."""
    by_epoch = history.pivot_table(index="epoch", columns=RUN, values=column).sort_index()
    return by_epoch.ffill().mean(axis=1)[by_epoch.notna().sum(axis=1) >= by_epoch.shape[1] / 2]
