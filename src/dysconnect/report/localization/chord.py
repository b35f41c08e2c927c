"""Between which systems the called connections run: a chord diagram, and their share of all that were tested."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Wedge
from matplotlib.path import Path

from dysconnect.data.atlas import SYSTEMS
from dysconnect.paper.style import HIGHER, INK, LOWER, PAGE, note_figure, styled
from dysconnect.paper.text import counted
from dysconnect.report.localization.matrix import spoken

GAP = np.radians(4)  # between the arcs of two systems
INNER, OUTER = 0.93, 1.0  # radii of the arcs
MOST_PAIRS = 10
LOOKS = {-1: {"facecolor": "#7aa6d0"}, 1: {"facecolor": "#f6d3cf", "hatch": "//////"}}  # told apart in greyscale too
EDGES = {-1: LOWER, 1: HIGHER}


@styled
def chord_figure(edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, strongest: int) -> Figure:
    """Chord diagram of the edges that survive, else of the strongest uncorrected, by system.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b`, `statistic`, `p_fwer`.
    nodes : DataFrame
        Atlas: `name`, `system`.
    alpha : float
        Family-wise error rate.
    strongest : int
        Edges drawn where none survives.
    """
    if "system" not in nodes or nodes["system"].nunique() < 2:
        return note_figure("The atlas knows one system only: there are no pairs of systems.")
    pairs, survive = system_pairs(edges, nodes, alpha, strongest)
    figure = Figure(figsize=(PAGE, 3.5))
    circle = figure.add_axes((0.0, 0.0, 0.52, 0.9))
    bars = figure.add_axes((0.73, 0.17, 0.155, 0.62))
    _draw_chords(circle, pairs)
    _draw_shares(bars, pairs)
    called = counted(int(pairs[["weaker", "stronger"]].to_numpy().sum()), "connection")
    title = (
        f"{called} at a family-wise error rate of {alpha:g}"
        if survive
        else f"Nothing survives correction; the {called} with the largest |t|, uncorrected"
    )
    figure.text(0.01, 0.955, title, va="center")
    return figure


def system_pairs(edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, strongest: int) -> tuple[pd.DataFrame, bool]:
    """Count the connections of every pair of systems.

    Returns
    -------
    DataFrame
        `one`, `other` (systems, `one` first in the order of the atlas), `tested`, `weaker` and `stronger`:
        connections that survive `alpha`, else the `strongest`.
    bool
        Whether any survives.
    """
    rank = nodes.set_index("name")["system"].map({name: k for k, name in enumerate(SYSTEMS)})
    ends = np.sort([rank.reindex(edges[name]).to_numpy() for name in ("region_a", "region_b")], axis=0)
    t = edges["statistic"].to_numpy()
    called = edges["p_fwer"].to_numpy() <= alpha
    survive = bool(called.any())
    if not survive:
        called = np.isin(np.arange(len(t)), np.argsort(-np.abs(t), kind="stable")[:strongest])
    table = pd.DataFrame(
        {"one": ends[0], "other": ends[1], "tested": 1, "weaker": called & (t < 0), "stronger": called & (t > 0)}
    ).dropna()
    sums = table.groupby(["one", "other"], as_index=False).sum()
    spelled = {name: sums[name].map(lambda k: SYSTEMS[int(k)]) for name in ("one", "other")}
    return sums.assign(**spelled), survive


def arcs(pairs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Angles at which every system with a connection begins and ends, clockwise from the top, in radians."""
    ends: dict[str, int] = {}
    for row in pairs.itertuples():
        for name in (row.one, row.other):
            ends[name] = ends.get(name, 0) + row.weaker + row.stronger
    ends = {name: ends[name] for name in SYSTEMS if ends.get(name)}
    gap = GAP if len(ends) > 1 else 0.0
    unit = (2 * np.pi - gap * len(ends)) / max(sum(ends.values()), 1)
    places, begin = {}, gap / 2
    for name, count in ends.items():
        places[name] = (begin, begin + unit * count)
        begin += unit * count + gap
    return places


def ribbons(pairs: pd.DataFrame) -> list[tuple[int, tuple[float, float], tuple[float, float]]]:
    """Sign of every ribbon, and the angles of its two ends, ordered on each arc so that few ribbons cross."""
    bands = [
        (sign, row.one, row.other, count)
        for row in pairs.itertuples()
        for sign, count in ((-1, row.weaker), (1, row.stronger))
        if count
    ]
    places = arcs(pairs)
    order = list(places)
    angles: dict[tuple[int, int], tuple[float, float]] = {}
    for here, name in enumerate(order):
        ends = [  # counterclockwise steps to the system at the other end: those come first that lie clockwise before
            ((here - order.index(bands[k][2 - side])) % len(order), k, side)
            for k in range(len(bands))
            for side in (0, 1)
            if bands[k][1 + side] == name
        ]
        begin, end = places[name]
        unit = (end - begin) / sum(bands[k][3] for _, k, _ in ends)
        for _, k, side in sorted(ends):
            angles[k, side] = (begin, begin + unit * bands[k][3])
            begin += unit * bands[k][3]
    return [(ribbon[0], angles[k, 0], angles[k, 1]) for k, ribbon in enumerate(bands)]


def _at(angle: np.ndarray | float, radius: float) -> np.ndarray:
    """Place on the circle, clockwise from the top: [..., 2]."""
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _ribbon_path(one: tuple[float, float], other: tuple[float, float]) -> Path:
    """Band between two arcs, drawn towards the centre the more, the farther they are apart."""
    middle = 0.3 * (_at(np.mean(one), INNER) + _at(np.mean(other), INNER))
    first, second = (_at(np.linspace(*arc, 24), INNER) for arc in (one, other))
    curve, line = [Path.CURVE3] * 2, [Path.LINETO] * 23
    if np.isclose(one[1], other[0]):  # within a system: both ends are one arc
        return Path([*first, *second[1:], middle, first[0]], [Path.MOVETO, *line, *line, *curve])
    points = [*first, middle, *second, middle, first[0]]
    return Path(points, [Path.MOVETO, *line, *curve, *line, *curve])


def _draw_chords(axes: Axes, pairs: pd.DataFrame) -> None:
    axes.set(xlim=(-1.85, 1.85), ylim=(-1.3, 1.3), aspect="equal")
    axes.set_axis_off()
    bands = ribbons(pairs)
    for sign, one, other in sorted(bands, key=lambda part: part[1][0] - part[1][1]):
        axes.add_patch(PathPatch(_ribbon_path(one, other), edgecolor=EDGES[sign], linewidth=0.6, **LOOKS[sign]))
    called = pairs["weaker"] + pairs["stronger"]
    for name, (begin, end) in arcs(pairs).items():
        first, last = 90 - np.degrees(end), 90 - np.degrees(begin)
        axes.add_patch(Wedge((0, 0), OUTER, first, last, width=OUTER - INNER, facecolor=INK, linewidth=0))
        x, y = _at((begin + end) / 2, OUTER + 0.1)
        part = int(called[(pairs["one"] == name) | (pairs["other"] == name)].sum())
        side = "center" if abs(x) < 0.25 else "left" if x > 0 else "right"
        height = "center" if abs(y) < 0.8 else "bottom" if y > 0 else "top"
        axes.text(x, y, f"{spoken(name)}\n{part:,}", ha=side, va=height, linespacing=1.25)


def _draw_shares(axes: Axes, pairs: pd.DataFrame) -> None:
    """Which share of the tested connections of a pair is called: large systems have more to call."""
    called = pairs["weaker"] + pairs["stronger"]
    share = (100 * called / pairs["tested"]).sort_values(ascending=False, kind="stable")
    shown = pairs.loc[share[share > 0].index[:MOST_PAIRS]]
    rows, left = np.arange(len(shown)), np.zeros(len(shown))
    for sign, column in ((-1, "weaker"), (1, "stronger")):
        width = (100 * shown[column] / shown["tested"]).to_numpy(float)
        axes.barh(rows, width, 0.62, left, edgecolor=EDGES[sign], linewidth=0.6 * (width > 0), **LOOKS[sign])
        left += width
    for row, (_, pair) in enumerate(shown.iterrows()):
        words = f"{pair['weaker'] + pair['stronger']:,} of {pair['tested']:,}"
        axes.annotate(words, (left[row], row), (3, 0), textcoords="offset points", va="center", size=7)
    axes.set_yticks(rows, [_pair_title(pair) for _, pair in shown.iterrows()])
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(max(len(shown), 5) - 0.4, -0.6), xlabel="Share of the tested connections (%)")
    axes.spines["left"].set_visible(False)
    handles = [
        Patch(edgecolor=EDGES[sign], label=f"{word} in patients", **LOOKS[sign])
        for sign, word in ((-1, "weaker"), (1, "stronger"))
    ]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.6, 1.02), ncols=2, handlelength=1.6)


def _pair_title(pair: Mapping) -> str:
    one, other = spoken(pair["one"]), spoken(pair["other"])
    return f"Within {one.lower()}" if one == other else f"{one} – {other.lower()}"
