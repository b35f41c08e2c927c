"""Figures of what differs: matrix of all connections, stability, chords between systems."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from dysconnect.report.chord import chord_figure
from dysconnect.report.figures import drawn_edges
from dysconnect.report.matrix import matrix_figure
from dysconnect.report.stability import stability_caption, stability_figure
from dysconnect.report.text import Results

WIDE = ("matrix", "chord")


def draw(results: Results, cohort: Mapping, nodes: pd.DataFrame) -> dict[str, Figure]:
    """Draw the figures by name."""
    edges, alpha = results.edges, results.summary["alpha"]
    return {
        "chord": chord_figure(edges, nodes, alpha, cohort["report"]["edges"]),
        "matrix": matrix_figure(edges, nodes, alpha),
        "stability": stability_figure(edges, alpha, results.summary["critical_t"]),
    }


def captions(results: Results, cohort: Mapping) -> dict[str, str]:
    """Caption of every figure: what it shows, then how to read it."""
    edges, alpha = results.edges, results.summary["alpha"]
    shown = (
        f"Drawn are those that survive a family-wise error rate of {alpha:g}."
        if drawn_edges(edges, alpha, cohort["report"]["edges"])[1]
        else "Drawn are the strongest, none of which survives correction."
    )
    return {
        "matrix": "Connections by system and network. Below the diagonal: t of every connection, adjusted for the "
        f"covariates (blue: weaker in patients). Above it: those that survive at {alpha:g}, filled for the family-wise "
        "error rate, hollow for the false-discovery rate only, pointing down where patients are weaker. Columns are "
        "ordered like rows, left hemisphere before right in every network.",
        "chord": f"Connections between systems. {shown} Left: every ribbon joins two systems, as wide as it has "
        "connections; the number of each system counts the connections that begin or end there. Right: how many of the "
        "tested connections of a pair of systems these are, the largest shares first; large systems have more to find.",
        "stability": stability_caption(edges, alpha, cohort["localize"]["stability_top"]),
    }
