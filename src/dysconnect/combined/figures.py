"""Figures of a joined analysis: a forest for each circuit, and how far sites agree on connections."""

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import chi2

from dysconnect.combined.cohort import Joined
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, LIGHT, PAGE, one_panel, styled
from dysconnect.paper.text import NONE, Estimate

BINS = np.linspace(0, 1, 21)
ROW = 0.24  # inches
FARTHEST = 3.0  # d that a forest shows
SMALL, LARGE = 3.0, 8.0  # size of a site's marker
SUMMARIES = ("d", "d_low", "d_high", "d_random", "d_random_low", "d_random_high")
WORDS = 1.02  # where the numbers of a row stand, of the width


@styled
def forest_figure(joined: Joined, circuit: str) -> Figure:
    """Effect of every site on a circuit, and below them that of all people and of sites as a random draw."""
    sites = joined.forest[joined.forest["circuit"] == circuit]
    own = joined.circuits.set_index("circuit").loc[circuit]
    names = [*sites["site"], "all people" if joined.exact else "weighted mean", "random effects"]
    effects = sites[["d", "d_low", "d_high"]].to_numpy(float)
    summaries = own[[*SUMMARIES]].to_numpy(float).reshape(2, 3)
    figure, axes = one_panel(COLUMN, 0.75 + ROW * len(names))
    for row, ((d, low, high), weight) in enumerate(zip(effects, _weights(effects))):
        axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=1.1, solid_capstyle="butt")
        axes.plot(d, row, "s", color=COLOURS[0], markersize=SMALL + (LARGE - SMALL) * weight)
    for row, ((d, low, high), colour) in enumerate(zip(summaries, (INK, COLOURS[1])), len(sites)):
        axes.fill([low, d, high, d], [row, row - 0.28, row, row + 0.28], color=colour, linewidth=0)
    for row, values in enumerate([*effects, *summaries]):
        words = str(Estimate(*values, np.nan)) if np.isfinite(values[0]) else NONE
        axes.text(WORDS, row, words, transform=axes.get_yaxis_transform(), va="center", size=7)
    axes.axvline(0, color=GREY, linestyle=(0, (1, 2)), linewidth=0.9, zorder=0)
    axes.axhline(len(sites) - 0.5, color=LIGHT, linewidth=0.7)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=7.5)
    axes.set(xlim=_reach(joined), ylim=(len(names) - 0.4, -0.6), xlabel="d (above 0: stronger in patients)")
    axes.spines["left"].set_visible(False)
    return figure


def _reach(joined: Joined) -> tuple[float, float]:
    """Both ends of the axis of all forests, so that they can be compared."""
    ends = [joined.forest[["d_low", "d_high"]], joined.circuits[["d_low", "d_high", "d_random_low", "d_random_high"]]]
    values = np.abs(np.concatenate([table.to_numpy(float).ravel() for table in ends]))
    reach = min(float(np.nanmax(values, initial=0.5)), FARTHEST) * 1.05
    return -reach, reach


def _weights(effects: np.ndarray) -> np.ndarray:
    """How exact every site is beside the most exact, 0 to 1, from d and its ends [S, 3]: the side of its marker."""
    width = effects[:, 2] - effects[:, 1]
    if not np.isfinite(width).any():
        return np.zeros(len(effects))
    return np.nan_to_num(np.nanmin(width) / width)


@styled
def heterogeneity_figure(joined: Joined) -> Figure:
    """How much of the differences between sites chance does not make, and p of Q, with what chance would give."""
    known = joined.edges[joined.edges["sites_alone"] > 1]
    figure = Figure(figsize=(PAGE, 2.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name in ((left, "i2"), (right, "p_q")):
        axes.hist(known[name], BINS, color=COLOURS[5], edgecolor="white", linewidth=0.5, label="these sites")
    by_chance = sum(_by_chance(int(k)) * count for k, count in known["sites_alone"].value_counts().items())
    look = {"color": INK, "linewidth": 1.2, "linestyle": "--", "label": "sites with the same effects"}
    left.stairs(by_chance, BINS, **look)
    right.axhline(len(known) / (len(BINS) - 1), **look)
    left.set(xlim=(0, 1), xlabel="I²", ylabel="Connections")
    right.set(xlim=(0, 1), xlabel="p of Cochran's Q")
    left.legend(loc="upper right")
    for axes in (left, right):
        axes.yaxis.set_major_formatter("{x:,.0f}")
    return figure


def _by_chance(sites: int) -> np.ndarray:
    """Share of connections in every bin of I² when as many sites have the same effects."""
    df = sites - 1
    below = chi2.cdf(df / np.maximum(1 - BINS, 1e-12), df)  # of Q, at which I² has each value
    below[0] = 0  # no I² is negative: they stand in the first bin
    return np.diff(below)
