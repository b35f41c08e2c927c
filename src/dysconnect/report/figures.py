"""Figures of the report: each function takes tables and returns a matplotlib figure in one style."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.paper.style import (
    COLOURS,
    COLUMN,
    GREY,
    HIGHER,
    INK,
    LIGHT,
    LINES,
    LOWER,
    MARKERS,
    PAGE,
    box,
    note_figure,
    one_panel,
    styled,
)
from dysconnect.paper.text import Estimate, label, number, p_text
from dysconnect.quality.people import group_difference
from dysconnect.report.text import aucs

MOST_DRAWN = 200
RUN = ["repeat", "fold", "seed"]


def model_styles(names: Sequence[str], floor: str | None) -> dict[str, dict]:
    """Colour, line and marker of every experiment; the floor is grey."""
    others = [name for name in names if name != floor]
    styles = {
        name: {"color": COLOURS[k % 7], "linestyle": LINES[(k + k // 7) % 7], "marker": MARKERS[k % 7]}
        for k, name in enumerate(others)
    }
    return styles | ({floor: {"color": GREY, "linestyle": (0, (2, 1)), "marker": "x"}} if floor in names else {})


def motion_test(participants: pd.DataFrame, contrast: Mapping, level: float = 0.95) -> Estimate:
    """Motion of the included patients against controls: Cohen's d (patients higher: positive), Mann-Whitney p."""
    kept = participants[participants["included"] & participants["mean_fd"].notna()]
    sides = (kept.loc[kept["group"].isin(contrast[side]), "mean_fd"].to_numpy(float) for side in ("cases", "controls"))
    p, d, low, high = group_difference(*sides, level)
    return Estimate(d, low, high, p)


@styled
def motion_figure(participants: pd.DataFrame, contrast: Mapping, limit: float) -> Figure:
    """Mean framewise displacement by group, with everybody as a point: patients first, then controls.

    Parameters
    ----------
    participants : DataFrame
        `group`, `mean_fd` (mm), `included`.
    contrast : mapping
        `cases` and `controls`: names of groups.
    limit : float
        Largest mean displacement that is included, mm.
    """
    compared = [*contrast["cases"], *contrast["controls"]]
    groups = compared + [name for name in participants["group"].unique() if name not in compared]
    if participants["mean_fd"].isna().all():
        return note_figure("No measure of head motion came with these data:\nnothing here can tell its part.")
    figure, axes = one_panel(COLUMN, 2.9)
    jitter = np.random.default_rng(0)
    for place, name in enumerate(groups):
        own = participants[(participants["group"] == name) & participants["mean_fd"].notna()]
        kept = own.loc[own["included"], "mean_fd"].to_numpy(float)
        lost = own.loc[~own["included"], "mean_fd"].to_numpy(float)
        colour = COLOURS[1] if name in contrast["cases"] else COLOURS[0] if name in compared else GREY
        if len(kept):
            box(axes, kept, place)
        where = place + jitter.uniform(-0.17, 0.17, len(kept))
        size, alpha = (9, 0.75) if len(kept) < 150 else (4, 0.5)
        axes.scatter(where, kept, s=size, color=colour, alpha=alpha, linewidths=0, zorder=3)
        where = place + jitter.uniform(-0.17, 0.17, len(lost))
        axes.scatter(where, lost, s=16, color=INK, marker="x", linewidths=0.9, zorder=4)
    axes.axhline(limit, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.annotate(
        "limit", (1, limit), (0, 2), ("axes fraction", "data"), "offset points", color=GREY, size=7, ha="right"
    )
    test = motion_test(participants, contrast)
    if np.isfinite(test.p):
        axes.set_title(f"Mann–Whitney {p_text(test.p)}, d = {number(test.value)}", loc="left")
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylabel="Mean framewise displacement (mm)")
    axes.set_ylim(0, max(axes.get_ylim()[1], limit * 1.12))
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0, labelsize=8)
    return figure


@styled
def forest_figure(scores: pd.DataFrame, floor: str | None) -> Figure:
    """AUC of every experiment with its interval, best first and the floor last; chance and floor as lines."""
    auc = aucs(scores)
    order = sorted(auc, key=lambda name: (name == floor, -auc[name].value))
    styles = model_styles(list(auc), floor)
    figure, axes = one_panel(PAGE, 0.75 + 0.27 * len(order))
    for row, name in enumerate(order):
        own, look = auc[name], styles[name]
        axes.plot([own.low, own.high], [row, row], color=look["color"], linewidth=1.6, solid_capstyle="butt")
        axes.plot(own.value, row, look["marker"], color=look["color"], markersize=6, markeredgewidth=1.4)
        axes.annotate(str(own), (1.02, row), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
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
    axes.set(xlim=(min(0.4, min(own.low for own in auc.values()) - 0.02), 1.0), ylim=(len(order) - 0.4, -0.6))
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
    own, auc = curves[curves["curve"] == "roc"], aucs(scores)
    styles = model_styles(list(curves["experiment"].unique()), floor)
    figure, axes = one_panel(COLUMN, 3.5)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    for name in sorted(own["experiment"].unique(), key=lambda name: -auc[name].value if name in auc else 0):
        part, look = own[own["experiment"] == name], {key: styles[name][key] for key in ("color", "linestyle")}
        title = f"{label(name)}, {number(auc[name].value)}" if name in auc else label(name)
        axes.plot([0, *part["x"], 1], [0, *part["y"], 1], label=title, **look)
    axes.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    _unit_square(axes)
    _model_legend(figure, axes, own["experiment"].nunique(), "lower right", "AUC")
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
    own = curves[curves["curve"] == "calibration"]
    styles = model_styles(list(curves["experiment"].unique()), floor)
    figure, axes = one_panel(COLUMN, 3.5)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=0.9)
    for name, part in own.groupby("experiment", sort=False):
        axes.plot(part["x"], part["y"], label=label(name), markersize=4, linewidth=0.8, **styles[name])
    axes.set(xlabel="Predicted probability of being a patient", ylabel="Observed share of patients")
    _unit_square(axes)
    _model_legend(figure, axes, own["experiment"].nunique(), "upper left", None)
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


def drawn_edges(edges: pd.DataFrame, alpha: float, strongest: int) -> tuple[pd.DataFrame, bool]:
    """Edges to draw: those that survive, else the `strongest` uncorrected; and whether they survive."""
    surviving = edges[edges["p_fwer"] <= alpha]
    if len(surviving):
        return surviving.head(MOST_DRAWN), True
    return edges.sort_values("statistic", key=np.abs, ascending=False).head(strongest), False


@styled
def connectome_figure(edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, strongest: int) -> Figure:
    """Glass brain of the edges that survive; of the strongest uncorrected where none does, and says so.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b`, `effect_size`, `statistic`, `p_fwer`.
    nodes : DataFrame
        Atlas: `name`, `x`, `y`, `z` (MNI mm).
    alpha : float
        Family-wise error rate.
    strongest : int
        Edges drawn where none survives.
    """
    from nilearn.plotting import plot_connectome  # slow to import, and only needed here

    shown, survive = drawn_edges(edges, alpha, strongest)
    names = pd.unique(pd.concat([shown["region_a"], shown["region_b"]]))
    xyz = nodes.set_index("name").loc[names, ["x", "y", "z"]].to_numpy(float)
    row = pd.Series(range(len(names)), names)
    figure = Figure(figsize=(PAGE, 2.75))
    blank = np.zeros((len(names), len(names)))
    panel = figure.add_axes((0, 0.08, 1, 0.84))
    look = {"node_size": 9, "node_color": INK, "colorbar": False, "annotate": False}
    display = plot_connectome(blank, xyz, display_mode="ortho", figure=figure, axes=panel, **look)
    display.annotate(size=8, positions=False)
    for sign, colour, line in ((-1, LOWER, "-"), (1, HIGHER, (0, (2.2, 1.1)))):
        own = shown[np.sign(shown["effect_size"]) == sign]
        if len(own):
            matrix = blank.copy()
            ends = row[own["region_a"]].to_numpy(), row[own["region_b"]].to_numpy()
            matrix[ends] = matrix[ends[::-1]] = own["effect_size"]
            kwargs = {"color": colour, "linestyle": line, "linewidth": 1.4 if len(shown) < 60 else 0.9}
            display.add_graph(matrix, xyz, node_size=0, edge_kwargs=kwargs)
    for place, sign, colour, line in ((0.3, "weaker", LOWER, "-"), (0.62, "stronger", HIGHER, (0, (2.2, 1.1)))):
        figure.add_artist(
            matplotlib.lines.Line2D([place - 0.05, place - 0.01], [0.04, 0.04], color=colour, linestyle=line)
        )
        figure.text(place, 0.04, f"{sign} in patients", va="center")
    count = f"{len(shown)} connections" if len(shown) != 1 else "1 connection"
    figure.text(0.01, 0.96, _glass_title(count, survive, len(shown), edges, alpha), va="center")
    return figure


def _glass_title(count: str, survive: bool, shown: int, edges: pd.DataFrame, alpha: float) -> str:
    if not survive:
        return f"Nothing survives correction; the {count} with the largest |t|, uncorrected"
    total = int((edges["p_fwer"] <= alpha).sum())
    return f"{count} at a family-wise error rate of {alpha:g}" + (f" (strongest of {total:,})" if total > shown else "")


@styled
def circuits_figure(edges: pd.DataFrame, titles: Mapping[str, str], alpha: float) -> Figure:
    """By circuit: how many edges survive, and how the effects of all its edges are spread.

    Parameters
    ----------
    edges : DataFrame
        `circuit` (empty outside the loops), `effect_size`, `p_fwer`, `p_fdr`.
    titles : mapping of str to str
        Title of every circuit.
    alpha : float
    """
    present = [name for name in titles if (edges["circuit"] == name).any()]
    parts = {titles[name]: edges[edges["circuit"] == name] for name in present}
    parts["Outside these circuits"] = edges[~edges["circuit"].isin(present)]
    parts = {title: part for title, part in parts.items() if len(part)}
    figure = Figure(figsize=(PAGE, 0.9 + 0.3 * len(parts)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.25))
    rows = np.arange(len(parts))
    _survivors(left, rows, list(parts.values()), alpha)
    _spreads(right, rows, [part["effect_size"].to_numpy(float) for part in parts.values()])
    left.set_yticks(rows, [f"{title} ({len(part):,})" for title, part in parts.items()])
    left.set_ylim(len(parts) - 0.4, -0.6)
    for axes in (left, right):
        axes.tick_params(axis="y", length=0, labelsize=8)
        axes.spines["left"].set_visible(False)
    return figure


def _survivors(axes: Axes, rows: np.ndarray, parts: Sequence[pd.DataFrame], alpha: float) -> None:
    looks = (("p_fwer", "family-wise error", INK, -0.17), ("p_fdr", "false-discovery rate", LIGHT, 0.17))
    for column, title, colour, shift in looks:
        counts = [int((part[column] <= alpha).sum()) for part in parts]
        axes.barh(rows + shift, counts, height=0.32, color=colour, label=title)
        for row, count in zip(rows, counts):
            if not count:
                continue
            axes.annotate(f"{count:,}", (count, row + shift), (3, 0), textcoords="offset points", va="center", size=7)
    axes.set_xlim(0, max(axes.get_xlim()[1] * 1.12, 1))
    if not axes.texts:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(f"Connections that survive at {alpha:g}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1, columnspacing=1)


def _spreads(axes: Axes, rows: np.ndarray, effects: Sequence[np.ndarray]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    for row, effect in zip(rows, effects):
        low, first, third, high = np.quantile(effect, [0.05, 0.25, 0.75, 0.95])
        axes.plot([low, high], [row, row], color=INK, linewidth=0.8)
        axes.plot([first, third], [row, row], color=GREY, linewidth=5, solid_capstyle="butt")
        axes.plot(effect.mean(), row, "D", color="white", markeredgecolor=INK, markersize=4.5, markeredgewidth=1.1)
    reach = max(0.1, *(abs(value) for value in axes.get_xlim()))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("Cohen's d (negative: weaker in patients)")
