"""Would another half of the cohort name the same connections? Stability against the statistic."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dysconnect.paper.style import note_figure
from dysconnect.report.figures import COLUMN, GREY, HIGHER, INK, LIGHT, LOWER, styled


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
    own = edges[edges["stability"] > 0]
    if own.empty:
        return note_figure("Stability was not measured: no random halves of the cohort were drawn.")
    found = own["p_fwer"] <= alpha
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    rest = own.loc[~found, ["statistic", "stability"]].abs()
    rest = rest.assign(
        statistic=(rest["statistic"] * 20).round() / 20
    ).drop_duplicates()  # thousands lie on one another
    axes.scatter(rest["statistic"], rest["stability"], s=5, color=LIGHT, linewidths=0, label="others")
    for sign, colour, marker, word in ((-1, LOWER, "v", "weaker"), (1, HIGHER, "^", "stronger")):
        side = own[found & (np.sign(own["statistic"]) == sign)]
        if len(side):
            look = {"s": 22, "color": colour, "marker": marker, "linewidths": 0.4, "edgecolors": "white"}
            axes.scatter(np.abs(side["statistic"]), side["stability"], label=f"{word} in patients", **look)
    if np.isfinite(critical) and critical <= 1.5 * np.abs(own["statistic"]).max():
        axes.axvline(critical, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        axes.annotate(
            f"FWER {alpha:g}", (critical, 1), (-3, -1), ("data", "axes fraction"), "offset points", size=7, color=INK,
            ha="right", va="top",
        )  # fmt: skip
    axes.set(xlabel="|t| in everybody", ylabel="Share of random halves", ylim=(-0.03, 1.06))
    axes.legend(loc="upper left", handletextpad=0.4, borderaxespad=0.2)
    return figure


def stability_caption(edges: pd.DataFrame, alpha: float, top: int) -> str:
    """What the figure shows, and how often those that survive are found again."""
    found = edges.loc[edges["p_fwer"] <= alpha, "stability"]
    told = f" Of those that survive {alpha:g}, the median is {found.median():.0%}." if found.notna().any() else ""
    return (
        f"Stability of the connections. Share of random halves of the cohort in which a connection is among the "
        f"{top:,} strongest, by its |t| in everybody; connections that never are, are left out.{told} Halves overlap, "
        "and are no replication in other people."
    )
