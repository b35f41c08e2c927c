"""All connections as a matrix ordered by system and network: t below the diagonal, what survives above it."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dysconnect.data.atlas import SYSTEMS
from dysconnect.paper.carpet import spread
from dysconnect.paper.style import GREY, HIGHER, INK, LIGHT, LOWER, PAGE, styled

UNTESTED = "#dfe1e4"
LARGE = 0.25  # share of the regions that a system needs for its networks to be named
LEAST_ROWS = 0.009  # share of the regions that a network needs to be named
APART = 0.024  # share of the height between two names


@styled
def matrix_figure(edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, directed: bool = False) -> Figure:
    """Matrix of t by system and network, the survivors above the diagonal; of directed edges from row to column.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b`, `statistic`, `p_fwer`, `p_fdr`.
    nodes : DataFrame
        Atlas: `name`, and where it is known `system`, `network`, `hemisphere`.
    alpha : float
        Error rate, family-wise and of false discoveries.
    """
    ordered = ordered_nodes(nodes)
    t, marked = split_triangles(edges, ordered, directed)
    figure = Figure(figsize=(PAGE, 5.75))
    axes = figure.add_axes((0.165, 0.155, 0.66, 0.66 * PAGE / 5.75))
    limit = max(float(np.nanquantile(np.abs(t), 0.998)), 3.0)
    colours = ScalarMappable(Normalize(-limit, limit), colormaps["RdBu_r"].resampled(33))  # few colours: a small file
    axes.imshow(_painted(t, colours, directed), interpolation="none")  # one pixel a connection, also in SVG
    _mark_survivors(axes, marked, alpha, "white" if directed else None)
    draw_blocks(axes, ordered)
    _name_blocks(axes, ordered)
    bar = figure.add_axes((0.165, 0.08, 0.3, 0.016))
    figure.colorbar(colours, cax=bar, orientation="horizontal", extend="both")
    bar.set_xlabel(f"t{'' if directed else ', below the diagonal'} (negative: weaker in patients)", labelpad=2)
    if directed:
        axes.set_xlabel("From the region of the row to that of the column", size=8)
    _legend(figure, marked, alpha, "Marks" if directed else "Above the diagonal")
    return figure


def ordered_nodes(nodes: pd.DataFrame) -> pd.DataFrame:
    """Order regions by system, network and side; where the atlas knows no systems all are `regions`."""
    given = {"system": "regions", "network": "", "hemisphere": ""}
    regions = nodes.assign(**{name: nodes.get(name, plain) for name, plain in given.items()}).fillna({"network": ""})
    rank = regions["system"].map({name: k for k, name in enumerate(SYSTEMS)}).fillna(len(SYSTEMS))
    regions = regions.assign(rank=rank, last=regions["network"].isin(["", "unassigned"]))
    return regions.sort_values(["rank", "last", "network", "hemisphere"], kind="stable").reset_index(drop=True)


def split_triangles(
    edges: pd.DataFrame, ordered: pd.DataFrame, directed: bool = False
) -> tuple[np.ndarray, pd.DataFrame]:
    """Put t below the diagonal, and give every edge its place above it; directed ones have one place for both.

    Returns
    -------
    ndarray, [N, N]
        t below the diagonal, NaN where nothing was tested and elsewhere; of directed edges from row to column.
    DataFrame
        `edges` with `row` < `column`, places in `ordered`; of directed ones the place of t.
    """
    place = pd.Series(range(len(ordered)), ordered["name"])
    ends = np.stack([place.reindex(edges[name]).to_numpy() for name in ("region_a", "region_b")])
    known = np.isfinite(ends).all(axis=0)
    ends = ends[:, known].astype(int)
    low, high = ends if directed else np.sort(ends, axis=0)
    t = np.full((len(ordered), len(ordered)), np.nan)
    t[(low, high) if directed else (high, low)] = edges["statistic"].to_numpy()[known]
    return t, edges[known].assign(row=low, column=high)


def _painted(t: np.ndarray, colours: ScalarMappable, directed: bool) -> np.ndarray:
    """Colours of the lower triangle (of both, if directed), grey where nothing was tested; nothing elsewhere."""
    below = ~np.eye(len(t), dtype=bool) if directed else np.tri(len(t), k=-1, dtype=bool)
    paint = colours.to_rgba(np.nan_to_num(t)).astype(np.float32)  # resampled in half of the time
    paint[below & np.isnan(t)] = to_rgba(UNTESTED)
    paint[~below] = 0
    return paint


def _mark_survivors(axes: Axes, above: pd.DataFrame, alpha: float, ink: str | None = None) -> None:
    """Triangles above the diagonal: filled for the family-wise rate, small for false discoveries only.

    On cells that have a colour already they are drawn in `ink`.
    """
    strict, loose = above["p_fwer"] <= alpha, (above["p_fdr"] <= alpha) & (above["p_fwer"] > alpha)
    many = int(strict.sum() + loose.sum())
    size = float(np.clip(2600 / max(many, 1), 5, 26))
    for sign, colour, marker in ((-1, LOWER, "v"), (1, HIGHER, "^")):
        side, colour = np.sign(above["statistic"]) == sign, ink or colour
        rest, filled = above[loose & side], above[strict & side]
        axes.scatter(
            rest["column"], rest["row"], s=size / 2, marker=marker, c="none", edgecolors=colour, linewidths=0.6
        )
        axes.scatter(filled["column"], filled["row"], s=size, marker=marker, color=colour, linewidths=0)


def _edges_of_blocks(values: pd.Series) -> np.ndarray:
    return np.flatnonzero(values.to_numpy()[1:] != values.to_numpy()[:-1]) + 0.5


def draw_blocks(axes: Axes, ordered: pd.DataFrame) -> None:
    """Thin lines between networks, strong ones between systems, and the diagonal."""
    n = len(ordered)
    networks = ordered["system"] + "/" + ordered["network"]
    for blocks, colour, width in ((networks, LIGHT, 0.35), (ordered["system"], INK, 0.7)):
        for edge in _edges_of_blocks(blocks):
            axes.axhline(edge, color=colour, linewidth=width)
            axes.axvline(edge, color=colour, linewidth=width)
    axes.plot([-0.5, n - 0.5], [-0.5, n - 0.5], color=GREY, linewidth=0.5)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set(visible=True, linewidth=0.7)


def _name_blocks(axes: Axes, ordered: pd.DataFrame) -> None:
    """Networks of the large systems on the left, systems on the right, each with a line to its middle."""
    n = len(ordered)
    large = ordered["system"].map(ordered["system"].value_counts()) >= LARGE * n
    named = ordered[large & (ordered["network"] != "")]
    networks = named.groupby(["system", "network"], sort=False)
    blocks = [(name, part.index.to_numpy().mean()) for (_, name), part in networks if len(part) >= LEAST_ROWS * n]
    _name_side(axes, blocks, APART * n, -0.5, -0.5 - 0.03 * n, {"size": 6.5, "ha": "right"})
    name_systems(axes, ordered)


def name_systems(axes: Axes, ordered: pd.DataFrame, left: bool = False) -> None:
    """Name the systems beside their blocks, on the right or, of a smaller matrix, on the left."""
    n = len(ordered)
    systems = [(name, part.index.to_numpy().mean()) for name, part in ordered.groupby("system", sort=False)]
    if left:
        _name_side(axes, systems, 0.055 * n, -0.5, -0.5 - 0.03 * n, {"size": 7, "weight": "bold", "ha": "right"})
    else:
        _name_side(axes, systems, 1.45 * APART * n, n - 0.5, 1.03 * n, {"size": 8, "weight": "bold"})


def _name_side(
    axes: Axes, blocks: Sequence[tuple[str, float]], apart: float, edge: float, column: float, look: Mapping
) -> None:
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
    places = spread(np.array([middle for _, middle in blocks]), apart)
    for (name, middle), place in zip(blocks, places):
        axes.annotate(
            spoken(name), (edge, middle), (column, place), va="center", arrowprops=line, annotation_clip=False, **look
        )


def spoken(name: str) -> str:
    """Write a name of a table for people: ``SomatomotorDorsal`` becomes ``Somatomotor dorsal``."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " "))
    return words[:1].upper() + (words[1:].lower() if re.search("[a-z]", words) else words[1:])


def _legend(figure: Figure, above: pd.DataFrame, alpha: float, title: str) -> None:
    strict = above["p_fwer"] <= alpha
    loose = (above["p_fdr"] <= alpha) & ~strict
    look = {"linestyle": "", "markersize": 4.5, "markeredgewidth": 0.6}
    hollow = {"marker": "s", "color": INK, "markerfacecolor": "none"}
    handles = [
        Line2D([], [], marker="v", color=LOWER, label="weaker in patients", **look),
        Line2D([], [], marker="^", color=HIGHER, label="stronger", **look),
        Line2D([], [], marker="s", color=INK, label=f"FWER {alpha:g} ({strict.sum():,})", **look),
        Line2D([], [], **hollow, label=f"FDR {alpha:g} only ({loose.sum():,})", **look),
        Patch(facecolor=UNTESTED, edgecolor=LIGHT, linewidth=0.4, label="not tested"),
    ]  # fmt: skip
    figure.legend(
        handles=handles, loc="lower right", bbox_to_anchor=(0.99, 0.005), ncols=2, columnspacing=1.2, handletextpad=0.5,
        title=title, title_fontsize=7, alignment="left", handlelength=1.2,
    )  # fmt: skip
