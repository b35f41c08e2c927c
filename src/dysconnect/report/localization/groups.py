"""Figures of the two groups as they are: their mean matrices, and everybody's strongest connections."""

from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dysconnect.paper.style import COLOURS, GREY, LIGHT, PAGE, box, note_figure, styled
from dysconnect.report.localization.matrix import UNTESTED, draw_blocks, name_systems, ordered_nodes

SIDES = (("patients", 1, COLOURS[1], "o"), ("controls", 0, COLOURS[0], "s"))
KINDS = (("raw", 0.0), ("adjusted", 2.5))  # column, and where its patients stand
ACROSS = 3  # panels in a row
LETTERS = 32  # beside a row of panels
MOST_POINTS = 200  # people that are drawn as points; more would fill a file and hide each other


@styled
def points_figure(points: pd.DataFrame, unit: str, directed: bool = False) -> Figure:
    """Strongest connections, a panel each: patients and controls, raw and adjusted for the covariates.

    Parameters
    ----------
    points : DataFrame
        `label`, `region_a`, `region_b`, `raw`, `adjusted`; connection after connection.
    unit : str
        Of the measure.
    directed : bool
        Whether the connections go from `region_a` to `region_b`.
    """
    if points.empty:
        return note_figure("No connection was tested.")
    panels = list(points.groupby(["region_a", "region_b"], sort=False))
    rows = -(-len(panels) // ACROSS)
    figure = Figure(figsize=(PAGE, 0.4 + 2.05 * rows), layout="constrained")
    grid = figure.subplots(rows, ACROSS, squeeze=False).ravel()
    for axes, (pair, people) in zip(grid, panels):
        _panel(axes, people)
        axes.set_title("\n→ ".join(pair) if directed else "\n".join(pair), loc="left", size=7)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    figure.supylabel(fill(unit, LETTERS * rows), size=8)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=name) for name, _, colour, marker in SIDES
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, handletextpad=0.1)
    return figure


def _panel(axes: Axes, people: pd.DataFrame) -> None:
    jitter = np.random.default_rng(0)
    axes.axhline(0, color=LIGHT, linewidth=0.7, zorder=0)
    for column, start in KINDS:
        for side, (_, label, colour, marker) in enumerate(SIDES):
            values = people.loc[people["label"] == label, column].to_numpy(float)
            box(axes, values, start + side)
            if len(people) <= MOST_POINTS:
                where = start + side + jitter.uniform(-0.2, 0.2, len(values))
                axes.scatter(where, values, s=6, color=colour, marker=marker, alpha=0.7, linewidths=0, zorder=3)
    axes.axvline(1.75, color=GREY, linewidth=0.5, linestyle=(0, (4, 3)))
    axes.set_xlim(-0.6, 4.1)
    axes.set_xticks([start + 0.5 for _, start in KINDS], [column for column, _ in KINDS])
    axes.tick_params(axis="x", length=0)


@styled
def means_figure(edges: pd.DataFrame, nodes: pd.DataFrame, unit: str) -> Figure:
    """Mean matrix of the patients beside that of the controls, ordered by system, in the same colours.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b`, `mean_cases`, `mean_controls`.
    nodes : DataFrame
        Atlas: `name`, and where it is known `system`, `network`, `hemisphere`.
    unit : str
        Of the measure.
    """
    ordered = ordered_nodes(nodes)
    columns = (("Patients", "mean_cases"), ("Controls", "mean_controls"))
    matrices = {title: mean_matrix(edges, ordered, column) for title, column in columns}
    known = np.abs(np.stack(list(matrices.values())))
    limit = float(np.nanquantile(known, 0.998)) if np.isfinite(known).any() else 1.0
    colours = ScalarMappable(Normalize(-limit, limit), colormaps["RdBu_r"].resampled(33))
    height, side = 3.95, 2.95
    figure = Figure(figsize=(PAGE, height))
    for place, (title, matrix) in enumerate(matrices.items()):
        corner = (0.95 + place * (side + 0.25)) / PAGE
        axes = figure.add_axes((corner, 0.7 / height, side / PAGE, side / height))
        axes.imshow(_painted(matrix, colours), interpolation="none")  # one pixel a connection, also in SVG
        draw_blocks(axes, ordered)
        axes.set_title(title, loc="left", pad=4)
        if not place:
            name_systems(axes, ordered, left=True)
    bar = figure.add_axes((0.95 / PAGE, 0.45 / height, side / PAGE, 0.1 / height))
    figure.colorbar(colours, cax=bar, orientation="horizontal", extend="both")
    bar.set_xlabel(unit, labelpad=2)
    return figure


def mean_matrix(edges: pd.DataFrame, ordered: pd.DataFrame, column: str) -> np.ndarray:
    """Matrix [N, N] of a column of edges in the order of the regions; NaN where nothing is known."""
    place = pd.Series(range(len(ordered)), ordered["name"])
    known = edges[edges["region_a"].isin(place.index) & edges["region_b"].isin(place.index)]
    rows, columns = place[known["region_a"]].to_numpy(), place[known["region_b"]].to_numpy()
    matrix = np.full((len(ordered), len(ordered)), np.nan)
    matrix[columns, rows] = known[column]
    matrix[rows, columns] = known[column]  # the way that a directed one goes
    return matrix


def _painted(matrix: np.ndarray, colours: ScalarMappable) -> np.ndarray:
    """Colours of a matrix, grey where nothing was tested; none on the diagonal."""
    paint = colours.to_rgba(np.nan_to_num(matrix))
    paint[np.isnan(matrix)] = to_rgba(UNTESTED)
    paint[np.diag_indices(len(matrix))] = 0
    return paint
