"""Figures of quality: how connections follow motion."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dysconnect.paper.style import COLOURS, COLUMN, GREY, LIGHT, note_figure, styled
from dysconnect.paper.text import number, p_text, percent

MOST = 10  # rows of a table; the rest is summed up
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
