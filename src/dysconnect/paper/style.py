"""The one style of all figures: sizes, colours, fonts."""

import functools
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure

COLUMN, PAGE = 3.5, 7.2  # inches: one column and the whole page of a journal
GREY, LIGHT, INK = "#6b6b6b", "#c9c9c9", "#222222"
# Okabe and Ito: told apart by colour-blind readers; lines and markers tell them apart in greyscale
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
POINTS = 1000  # of a group in a figure: a point for everybody would make files grow with the cohort
LOWER, HIGHER = "#2166ac", "#b2182b"
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Arial", "Helvetica", "Liberation Sans", "DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,  # TrueType: text that can be edited
    "svg.fonttype": "none",
    "svg.hashsalt": "dysconnect",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the report's style, and leave the caller's as it was."""

    @functools.wraps(draw)
    def drawn(*args, **kwargs):
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def evenly(values: np.ndarray, most: int = POINTS) -> np.ndarray:
    """Positions of the values [n] that are drawn: all, or of more than `most` so many, evenly through their ranks."""
    if len(values) <= most:
        return np.arange(len(values))
    order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]
    return np.sort(order[np.unique(np.linspace(0, len(order) - 1, most).round().astype(int))])


def drawn_of(n: int) -> str:
    """What the caption of a figure with a point for each of n people adds where not all are drawn."""
    return f" Of more than {POINTS:,} alike so many are drawn, evenly through their ranks." if n > POINTS else ""


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


@styled
def note_figure(words: str) -> Figure:
    """A line of text where there is nothing to draw."""
    figure, axes = one_panel(COLUMN, 0.8)
    axes.set_axis_off()
    axes.text(0, 0.5, words, color=INK, size=8)
    return figure


def box(axes: Axes, values: np.ndarray, place: int) -> None:
    """A box plot without points beyond the whiskers, in two lines: those of `Axes.boxplot` are seven, and slow."""
    (of,) = boxplot_stats(values)
    left, right, low, high = place - 0.25, place + 0.25, of["whislo"], of["whishi"]
    parts = [
        ([left, right, right, left, left], [of["q1"], of["q1"], of["q3"], of["q3"], of["q1"]]),
        *(([place, place], [of[end], far]) for end, far in (("q1", low), ("q3", high))),
        *(([place - 0.125, place + 0.125], [far, far]) for far in (low, high)),
    ]
    x, y = (np.concatenate([[*part[k], np.nan] for part in parts]) for k in (0, 1))
    axes.plot(x, y, color=INK, linewidth=0.8)
    axes.plot([left, right], [of["med"]] * 2, color=INK, linewidth=1.6, zorder=2.1, solid_capstyle="butt")
