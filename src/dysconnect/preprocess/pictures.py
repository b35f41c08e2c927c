"""The picture by which people judge a registration: edges of one image on another."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.paper.slices import box_of, name_slice, show_slice, upright
from dysconnect.paper.style import COLOURS, PAGE, styled

CUTS = ((2, 0.35), (2, 0.55), (1, 0.32), (1, 0.55), (0, 0.35), (0, 0.5))  # axis, and where through the brain
WIDTHS = (0.7, 0.5)  # points, of outlines


@styled
def registration_figure(rows: Sequence[tuple[str, np.ndarray, np.ndarray, Sequence[np.ndarray]]]) -> Figure:
    """Slices of images with the outlines of what was registered to them.

    Parameters
    ----------
    rows : sequence of (str, array [X, Y, Z], array [4, 4], sequence of array [X, Y, Z])
        Title, image, voxel to mm, and the outlines on the image's grid: masks, or shares drawn at one half. The first
        outline is the brain, through which the slices go.
    """
    figure = Figure(figsize=(PAGE, 1.55 * len(rows) + 0.1), layout="constrained", facecolor="white")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, image, affine, outlines) in zip(parts, rows):
        part.suptitle(title, x=0.01, ha="left", fontsize=8)
        line = part.subplots(1, len(CUTS))
        data, sizes = zip(*(upright(values, affine) for values in (image, *outlines)))
        brain = data[1] > 0.5
        low, high = box_of(brain)
        top = np.percentile(data[0][brain], 99.5) if brain.any() else data[0].max()
        for axes, (axis, share) in zip(line, CUTS):
            at = round(float(low[axis] + share * (high[axis] - low[axis])))
            _draw_slice(axes, data, axis, at, sizes[0], float(top) or 1.0)
    return figure


def _draw_slice(axes: Axes, data: Sequence[np.ndarray], axis: int, at: int, sizes: np.ndarray, top: float) -> None:
    """One slice: the image in grey, outlines in colour."""
    show_slice(axes, data[0], axis, at, sizes, cmap="gray", vmin=0, vmax=1.1 * top)
    for values, colour, line in zip(data[1:], (COLOURS[4], COLOURS[5]), WIDTHS):
        cut = np.take(values, at, axis).T
        if cut.min() < 0.5 < cut.max():
            axes.contour(cut, levels=[0.5], colors=[colour], linewidths=line)
    name_slice(axes, axis)
