"""Figures of quality: how connections follow motion, and who was left out."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.paper.style import COLOURS, COLUMN, GREY, LIGHT, PAGE, note_figure, styled
from dysconnect.paper.text import number, p_text, percent

SIDES = {"cases": "patients", "controls": "controls", "others": "not compared"}
# colours that differ in greyscale too, and hatches
LOOKS = {
    "cases": {"color": COLOURS[1]},
    "controls": {"color": COLOURS[5], "hatch": "////", "edgecolor": "white", "linewidth": 0},
    "others": {"color": LIGHT},
}
MOST = 10  # rows of a table or bars of a figure; the rest is summed up
BAND = {"color": LIGHT, "linewidth": 0, "alpha": 0.8}


@styled
def qcfc_figure(quality: Mapping) -> Figure:
    """Histogram of QC-FC over connections, before the middle of its null.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    values = quality["qcfc"]["everybody"]
    if "reason" in values:
        return note_figure(f"Not tested: {values['reason']}.")
    cells = values["histogram"]
    edges, value, low, high = (np.array(cells[name]) for name in ("edges", "value", "low", "high"))
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    heights = (np.append(values, values[-1]) for values in (low, high))
    axes.fill_between(edges, *heights, step="post", label="motion permuted", **BAND)
    axes.stairs(value, edges, color=COLOURS[0], linewidth=1.5, label="observed")
    axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
    reach = np.abs(edges[np.flatnonzero(np.append((value > 5e-4) | (high > 5e-4), False))]).max(initial=0.1) + 0.04
    axes.set(xlim=(-reach, reach), xlabel="QC-FC: correlation with motion (partial r)", ylabel="Share of connections")
    axes.set_ylim(0, axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.legend(loc="upper left", handlelength=1.4)
    axes.set_title(f"{percent(values['share']['value'])} with p < 0.05, {p_text(values['share']['p'])}", loc="left")
    return figure


@styled
def distance_figure(quality: Mapping) -> Figure:
    """QC-FC by the distance of the regions: means of bins, middle half of their connections, and the null.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    link = quality["qcfc"]["everybody"]
    if "reason" in link:
        return note_figure(f"Not tested: {link['reason']}.")
    bins = {name: np.array(numbers) for name, numbers in link["bins"].items()}
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(bins["distance"], bins["low"], bins["high"], label="mean, motion permuted", **BAND)
    axes.axhline(0, color=GREY, linewidth=0.7, zorder=0)
    axes.vlines(bins["distance"], bins["first"], bins["third"], color=COLOURS[0], linewidth=0.8, label="middle half")
    axes.plot(bins["distance"], bins["value"], "o-", color=COLOURS[0], markersize=4.5, label="mean")
    axes.set(xlabel="Distance of the regions (mm)", ylabel="QC-FC (partial r)")
    axes.legend(loc="upper right", handlelength=1.4)
    if "rho" in link:
        axes.set_title(f"Spearman ρ = {number(link['rho']['value'])}, {p_text(link['rho']['p'])}", loc="left")
    return figure


@styled
def flow_figure(quality: Mapping) -> Figure:
    """Who is kept and who is left out, then the reasons on a scale of their own; patients, controls, others stacked.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    subjects = quality["subjects"]
    kept = {side: subjects[side]["kept"] for side in SIDES}
    lost = {side: subjects[side]["total"] - subjects[side]["kept"] for side in SIDES}
    reasons = _fewer(quality["excluded"])
    heights = [2, len(reasons)] if reasons else [2]
    figure = Figure(figsize=(PAGE, 0.9 + 0.3 * sum(heights) + 0.35 * bool(reasons)), layout="constrained")
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _stacked(panels[0], ["kept", "left out"], [kept, lost])
    shown = [side for side in SIDES if subjects[side]["total"]]
    handles = [panels[0].barh([0], [0], label=SIDES[side], **LOOKS[side]) for side in shown]
    panels[0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handlelength=1.2)
    if reasons:
        _stacked(panels[1], [_short(row["reason"]) for row in reasons], reasons)
        panels[1].set_title("left out, by reason", loc="left")
    panels[-1].set_xlabel("People")
    return figure


def _stacked(axes: Axes, titles: Sequence[str], counts: Sequence[Mapping]) -> None:
    places, starts = np.arange(len(counts)), np.zeros(len(counts))
    for side, look in LOOKS.items():
        lengths = np.array([row[side] for row in counts], float)
        axes.barh(places, lengths, left=starts, height=0.62, **look)
        starts += lengths
    for place, row in zip(places, counts):
        parts = " + ".join(f"{row[side]:,}" for side in SIDES if row[side])
        axes.annotate(parts or "0", (starts[place], place), (4, 0), textcoords="offset points", va="center", size=7)
    axes.set_yticks(places, titles)
    axes.set(ylim=(len(counts) - 0.5, -0.5), xlim=(0, max(1, 1.12 * starts.max())))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines["left"].set_color(GREY)


def _fewer(excluded: Sequence[Mapping]) -> list[Mapping]:
    """Reasons for a figure: the most frequent, and the sum of the others."""
    if len(excluded) <= MOST:
        return list(excluded)
    rest = {side: sum(row[side] for row in excluded[MOST - 1 :]) for side in SIDES}
    return [*excluded[: MOST - 1], {"reason": f"{len(excluded) - MOST + 1} other reasons", **rest}]


def _short(reason: str) -> str:
    words = textwrap.shorten(reason, 90, placeholder=" …")
    return "\n".join(textwrap.wrap(words, 46)).replace("$", r"\$")  # a dollar would begin a formula
