"""Figures of what differs: a glass brain, the circuits, and stability in halves of the cohort."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrow

from dysconnect.paper.glass import glass_brain
from dysconnect.paper.style import COLUMN, GREY, HIGHER, INK, LIGHT, LOWER, PAGE, note_figure, styled

MOST_DRAWN = 200
SIDES = ((-1, LOWER, "-"), (1, HIGHER, (0, (2.2, 1.1))))  # sign of the effect, and how it is drawn


def drawn_edges(edges: pd.DataFrame, alpha: float, strongest: int) -> tuple[pd.DataFrame, bool]:
    """Edges to draw: those that survive, else the `strongest` uncorrected; and whether they survive."""
    surviving = edges[edges["p_fwer"] <= alpha]
    if len(surviving):
        return surviving.head(MOST_DRAWN), True
    return edges.sort_values("statistic", key=np.abs, ascending=False).head(strongest), False


@styled
def connectome_figure(
    edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, strongest: int, directed: bool = False
) -> Figure:
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
    directed : bool
        Arrows from `region_a` to `region_b`, hollow where patients are stronger.
    """
    shown, survive = drawn_edges(edges, alpha, strongest)
    names = pd.unique(pd.concat([shown["region_a"], shown["region_b"]]))
    xyz = nodes.set_index("name").loc[names, ["x", "y", "z"]].to_numpy(float)
    row = pd.Series(range(len(names)), names)
    figure = Figure(figsize=(PAGE, 2.75))
    views = glass_brain(figure, xyz, 9, color=INK)
    for sign, colour, line in SIDES:
        side = shown[np.sign(shown["effect_size"]) == sign]
        if len(side):
            look = {"color": colour, "linestyle": line, "linewidth": 1.4 if len(shown) < 60 else 0.9}
            ends = side[["region_a", "region_b"]].apply(lambda column: row[column].to_numpy()).to_numpy()
            for axes, places in views:
                _add_edges(axes, places[ends], np.abs(side["effect_size"].to_numpy(float)), look, directed)
    for place, sign, (_, colour, line) in zip((0.3, 0.62), ("weaker", "stronger"), SIDES):
        mark = {"marker": ">", "markevery": [1], "markersize": 5, "markerfacecolor": colour if line == "-" else "white"}
        look = {"color": colour, **(mark if directed else {"linestyle": line})}
        figure.add_artist(matplotlib.lines.Line2D([place - 0.05, place - 0.01], [0.04, 0.04], **look))
        figure.text(place, 0.04, f"{sign} in patients", va="center")
    count = f"{len(shown)} connections" if len(shown) != 1 else "1 connection"
    figure.text(0.01, 0.96, _glass_title(count, survive, len(shown), edges, alpha), va="center")
    return figure


def _add_edges(axes: Axes, ends: np.ndarray, strength: np.ndarray, look: dict, directed: bool) -> None:
    """Add edges [m, 2 ends, 2] of one sign to a view, the strongest on top: lines, or arrows, filled or hollow."""
    for ((x, y), (to_x, to_y)), over in zip(ends, 10 + 10 * strength / strength.max()):
        if not directed:
            axes.add_line(matplotlib.lines.Line2D([x, to_x], [y, to_y], zorder=over, **look))
        elif (x, y) != (to_x, to_y):
            shape = {"width": 0.5, "head_width": 5, "head_length": 7, "length_includes_head": True}
            hollow = {"color": look["color"], "linewidth": 0.8, "fill": look["linestyle"] == "-"}
            axes.add_patch(FancyArrow(x, y, to_x - x, to_y - y, zorder=over, **shape, **hollow))


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


@styled
def stability_figure(edges: pd.DataFrame, alpha: float, critical: float) -> Figure:
    """Share of random halves in which an edge is among the strongest, by its statistic in everybody.

    Parameters
    ----------
    edges : DataFrame
        `statistic`, `stability`, `p_fwer`.
    alpha : float
        Family-wise error rate.
    critical : float
        |t| at which an edge survives.
    """
    shown = edges[edges["stability"] > 0]
    if shown.empty:
        return note_figure("Stability was not measured: no random halves of the cohort were drawn.")
    survive = shown["p_fwer"] <= alpha
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    rest = shown.loc[~survive, ["statistic", "stability"]].abs()
    rest = rest.assign(
        statistic=(rest["statistic"] * 20).round() / 20
    ).drop_duplicates()  # thousands lie on one another
    axes.scatter(rest["statistic"], rest["stability"], s=5, color=LIGHT, linewidths=0, label="others")
    for sign, colour, marker, word in ((-1, LOWER, "v", "weaker"), (1, HIGHER, "^", "stronger")):
        side = shown[survive & (np.sign(shown["statistic"]) == sign)]
        if len(side):
            look = {"s": 22, "color": colour, "marker": marker, "linewidths": 0.4, "edgecolors": "white"}
            axes.scatter(np.abs(side["statistic"]), side["stability"], label=f"{word} in patients", **look)
    if np.isfinite(critical) and critical <= 1.5 * np.abs(shown["statistic"]).max():
        axes.axvline(critical, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        axes.annotate(
            f"FWER {alpha:g}", (critical, 1), (-3, -1), ("data", "axes fraction"), "offset points", size=7, color=INK,
            ha="right", va="top",
        )  # fmt: skip
    axes.set(xlabel="|t| in everybody", ylabel="Share of random halves", ylim=(-0.03, 1.06))
    axes.legend(loc="upper left", handletextpad=0.4, borderaxespad=0.2)
    return figure
