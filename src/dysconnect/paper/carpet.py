"""Carpet plots: signals over time as rows of a picture, under the traces of motion on one axis of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.data.atlas import SYSTEMS
from dysconnect.paper.style import COLOURS, GREY, INK, LIGHT, PAGE, styled

SPIKE = 0.5  # mm of framewise displacement (Power et al. 2012)
COLUMNS = 600  # of a carpet, at most
LEVELS = 9  # of grey: noise in more of them fills a file and shows nothing
GAP = "#f3c9a5"  # no grey, so that a volume that was left out is not taken for a signal
REST = "outside the atlas"


@dataclass(frozen=True)
class Carpet:
    """Signals over time as rows of a picture.

    Attributes
    ----------
    values : array, [R, T]
        Without trend, standard deviation one; NaN where a volume was left out.
    groups : tuple of str, [R]
        What each row belongs to; rows of one group stand together.
    """

    values: np.ndarray
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """Lines above a carpet.

    Attributes
    ----------
    title : str
        With the unit.
    lines : mapping of str to array, [T]
        By label; a line without numbers is left out.
    level : float or None
        Where a dashed line is drawn.
    """

    title: str
    lines: Mapping[str, np.ndarray | None]
    level: float | None = None


def motion_trace(displacement: np.ndarray | None, level: float = SPIKE) -> Trace:
    """Framewise displacement, [T] mm, and the displacement that counts as motion."""
    return Trace("FD (mm)", {"": displacement}, level)


def region_carpet(series: np.ndarray, nodes: pd.DataFrame) -> Carpet:
    """Carpet of regions, grouped by system; those without signal are left out.

    Parameters
    ----------
    series : array, [T, N]
        Before or after denoising; NaN where a volume was left out.
    nodes : DataFrame, [N rows]
        With `system`.
    """
    known = np.isfinite(series).all(1)
    alive = np.ptp(series[known], axis=0) > 0 if known.any() else np.zeros(len(nodes), bool)
    order = [k for system in SYSTEMS for k in np.flatnonzero((nodes["system"] == system).to_numpy() & alive)]
    values = np.full((len(order), len(series)), np.nan)
    values[:, known] = standardised(series[known][:, order].T)
    return Carpet(values, tuple(nodes["system"].iloc[order]))


def standardised(rows: np.ndarray) -> np.ndarray:
    """Rows [R, T] without linear trend, standard deviation one; zero where they do not vary."""
    from scipy.signal import detrend  # half a second that no page of a person need wait for

    values = detrend(rows, axis=1) if rows.shape[1] > 1 else np.zeros_like(rows, float)
    spread = values.std(axis=1, keepdims=True)
    largest = np.abs(rows).max(initial=0)
    return np.divide(values, spread, out=np.zeros_like(values), where=spread > 1e-9 * largest)


@styled
def carpet_figure(carpets: Mapping[str, Carpet], seconds: float, traces: Sequence[Trace] = ()) -> Figure:
    """Traces above carpets of signal, on one axis of time.

    Parameters
    ----------
    carpets : mapping of str to Carpet
        By title, from above: the whole brain; or regions before and after denoising.
    seconds : float
        Repetition time.
    traces : sequence of Trace
        From above; those without numbers are left out.
    """
    traces = [trace for trace in traces if any(map(_known, trace.lines.values()))]
    heights = [0.6] * len(traces) + [2.2] * len(carpets)
    figure = Figure(figsize=(PAGE, sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes, trace in zip(panels, traces):
        _draw_trace(axes, trace, seconds)
    for axes, (title, carpet) in zip(panels[len(traces) :], carpets.items()):
        _draw_carpet(axes, carpet, title, seconds)
    panels[-1].set_xlabel("Time (s)")
    figure.align_ylabels(panels)
    return figure


def spread(places: np.ndarray, least: float) -> np.ndarray:
    """Move ascending places of labels apart to `least`, the last ones backwards, so that no label covers another."""
    steps = least * np.arange(len(places))
    moved = np.maximum.accumulate(places - steps) + steps
    return np.minimum(moved, places[-1] + steps - steps[-1]) if len(places) else places


def _known(values: np.ndarray | None) -> bool:
    return values is not None and bool(np.isfinite(values).any())


def _draw_trace(axes: Axes, trace: Trace, seconds: float) -> None:
    lines = {name: values for name, values in trace.lines.items() if _known(values)}
    looks = [{"color": COLOURS[0]}, {"color": COLOURS[1], "linestyle": (0, (3, 1))}]
    looks = looks[::-1] if trace.level is not None else looks
    for (name, values), look in zip(lines.items(), looks):
        look = look if len(lines) > 1 else {"color": look["color"]}
        axes.plot(np.arange(len(values)) * seconds, values, linewidth=0.8, label=name, **look)
    axes.set(ylim=(0, None), ylabel=trace.title)
    if trace.level is not None:
        axes.axhline(trace.level, color=LIGHT, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    if len(lines) > 1:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.92), ncols=len(lines), borderaxespad=0)


def _shrunk(values: np.ndarray) -> np.ndarray:
    """Average neighbouring volumes of a carpet [R, T] until at most `COLUMNS` remain; a gap of half of them stays."""
    step = -(-values.shape[1] // COLUMNS)
    starts = np.arange(0, values.shape[1], step)
    known = np.isfinite(values)
    count = np.add.reduceat(known.astype(float), starts, axis=1)
    total = np.add.reduceat(np.where(known, values, 0), starts, axis=1)
    enough = 2 * count > np.diff(np.append(starts, values.shape[1]))
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=enough)


def _draw_carpet(axes: Axes, carpet: Carpet, title: str, seconds: float) -> None:
    n_rows, n_volumes = carpet.values.shape
    extent = (-seconds / 2, (n_volumes - 0.5) * seconds, n_rows, 0)
    shades = matplotlib.colormaps["gray"].resampled(LEVELS).with_extremes(bad=GAP)
    look = {"cmap": shades, "vmin": -2, "vmax": 2, "aspect": "auto", "interpolation": "nearest"}
    axes.imshow(_shrunk(carpet.values), extent=extent, **look)
    names = list(dict.fromkeys(carpet.groups))
    edges = np.cumsum([0, *[carpet.groups.count(name) for name in names]])
    for k, name in enumerate(names):
        colour = COLOURS[k % len(COLOURS)] if name != REST else GREY
        axes.plot([-0.008] * 2, edges[k : k + 2], color=colour, linewidth=4, clip_on=False, solid_capstyle="butt",
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_yticks(spread((edges[:-1] + edges[1:]) / 2, n_rows / 18), [name.replace("_", " ") for name in names])
    axes.tick_params(axis="y", length=0, pad=6)
    for edge in edges[1:-1]:
        axes.axhline(edge, color=INK, linewidth=0.5)
    axes.set_ylim(n_rows, 0)
    axes.set_title(title, loc="left")
    axes.spines[:].set_visible(False)
