"""A glass brain from the right, from behind and from above: nilearn's outlines, without waiting for what draws them."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D

OUTLINES = "plotting/glass_brain_files/brain_schematics_{}.json"  # beside nilearn's `__init__`, which takes long
VIEWS = {  # file, axes of space, and the scale and place that fit it to the MNI template; nilearn's
    "x": ("side", [1, 2], (0.38, 0, 0, 0.38, -108, -70)),
    "y": ("back", [0, 2], (0.39, 0, 0, 0.39, -73, -73)),
    "z": ("top", [0, 1], (0.36, 0, 0, 0.37, -71, -107)),
}
BOTTOM, HEIGHT = 0.08, 0.84  # of the figure


def glass_brain(figure: Figure, places: np.ndarray, size: float | np.ndarray, **look) -> list[tuple[Axes, np.ndarray]]:
    """Draw the outlines of a brain and regions in it, across a figure.

    Parameters
    ----------
    places : ndarray, [n, 3]
        Regions, mm in MNI space.
    size : float or ndarray, [n]
        Points squared.
    look : mapping
        As for `Axes.scatter`.

    Returns
    -------
    list of (Axes, ndarray [n, 2])
        Every view, and the regions' places in it.
    """
    limits = [_outline(direction)[1] for direction in VIEWS]
    widths = np.array([high - low for low, high, *_ in limits])
    ends = np.concatenate([[0], np.cumsum(widths / widths.sum())])
    views = []
    for k, (direction, (_, dimensions, place)) in enumerate(VIEWS.items()):
        axes = figure.add_axes((ends[k], BOTTOM, ends[k + 1] - ends[k], HEIGHT), aspect="equal")
        axes.axis("off")
        for path, colour, width in _outline(direction)[0]:
            to_data = Affine2D.from_values(*place) + axes.transData
            shape = {"edgecolor": colour, "linewidth": width, "facecolor": "none", "alpha": 0.7}
            axes.add_artist(PathPatch(path, transform=to_data, **shape))  # the limits are known
        axes.axis(limits[k])
        seen = places[:, dimensions]
        axes.scatter(*seen.T, s=size, zorder=1000, **look)
        for x, side in ((0.1, "L"), (0.9, "R")) if direction != "x" else ():
            where = {"transform": axes.transAxes, "ha": "left" if side == "L" else "right", "va": "top"}
            box = {"boxstyle": "square,pad=0", "ec": "white", "fc": "white"}
            axes.text(x, 0.95, side, size=8, color="black", bbox=box, **where)
        views.append((axes, seen))
    return views


@cache
def _outline(direction: str) -> tuple[list[tuple[Outline, str, float]], tuple[float, float, float, float]]:
    """Lines of a view with their colours and widths, and what they take up: left, right, low, high (mm)."""
    name, _, place = VIEWS[direction]
    known = json.loads((Path(find_spec("nilearn").origin).parent / OUTLINES.format(name)).read_text())
    lines = [(Outline(*_parts(line["items"])), line["edgecolor"], line["linewidth"]) for line in known["paths"]]
    left, right, low, high = known["metadata"]["bounds"]
    (left, low), (right, high) = Affine2D.from_values(*place).transform([(left, low), (right, high)])
    across, up = (0.025 * (high - low) + 0.1 for low, high in ((left, right), (low, high)))
    return lines, (left - across, right + across, low - up, high + up)


def _parts(items: list[dict]) -> tuple[np.ndarray, list[int]]:
    """Points [n, 2] and codes [n] of straight and of curved pieces, each of which begins anew."""
    pieces = [item["pts"] for item in items]
    codes = {2: Outline.LINETO, 3: Outline.CURVE3, 4: Outline.CURVE4}
    return np.concatenate(pieces), [
        code for piece in pieces for code in (Outline.MOVETO, *[codes[len(piece)]] * (len(piece) - 1))
    ]
