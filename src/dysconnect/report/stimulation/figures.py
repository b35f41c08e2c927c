"""The glass brain of virtual stimulation."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysconnect.paper.glass import glass_brain
from dysconnect.paper.style import GREY, LIGHT, LOWER, PAGE, note_figure, styled

DRAWN = 40
PALE = "#92b4d4"  # between the blue of what survives and the grey of what does not
SMALL, LARGE = 4, 90  # points squared


@styled
def stimulation_figure(targets: pd.DataFrame, alpha: float) -> Figure:
    """Glass brain of the strongest nodes: size is the score, darkness whether it survives.

    Parameters
    ----------
    targets : DataFrame
        `kind`, `rank`, `score`, `matched_z`, `p`, `p_fwer`, `x`, `y`, `z` (MNI mm).
    alpha : float
    """
    if targets.empty:
        return note_figure("No targets are shown: nothing opened the gate of the virtual stimulation.")
    nodes = targets[targets["kind"] == "node"].head(DRAWN)
    strength = np.clip(-nodes["score"].fillna(nodes["matched_z"]).to_numpy(float), 0, None)
    sizes = SMALL + (LARGE - SMALL) * strength / max(strength.max(), 1e-12)
    colours = np.select([nodes["p_fwer"] <= alpha, nodes["p"] <= alpha], [LOWER, PALE], LIGHT).tolist()
    figure = Figure(figsize=(PAGE, 2.75))
    look = {"c": colours, "edgecolors": GREY, "linewidths": 0.5, "alpha": 0.9}
    glass_brain(figure, nodes[["x", "y", "z"]].to_numpy(float), sizes, **look)
    words = (("survives", LOWER), (f"p ≤ {alpha:g}, uncorrected", PALE), ("neither", LIGHT))
    for place, (title, colour) in zip((0.2, 0.42, 0.72), words):
        dot = Line2D([place - 0.02], [0.04], marker="o", color="none", markerfacecolor=colour, markeredgecolor=GREY)
        figure.add_artist(dot)
        figure.text(place, 0.04, title, va="center")
    figure.text(0.01, 0.96, f"The {len(nodes)} regions that move patients furthest, one at a time", va="center")
    return figure
