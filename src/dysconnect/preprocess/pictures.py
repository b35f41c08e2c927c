"""The picture by which people judge a registration: edges of one image on another."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.paper.style import COLOURS, INK, PAGE, styled

CUTS = ((2, 0.35), (2, 0.55), (1, 0.32), (1, 0.55), (0, 0.35), (0, 0.5))  # axis, and where through the brain
AXES = ("sagittal", "coronal", "axial")
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
        upright = [_upright(values, affine) for values in (image, *outlines)]
        edges = nib.affines.voxel_sizes(upright[0].affine)
        data = [np.asarray(turned.dataobj, np.float32) for turned in upright]
        inside = np.argwhere(data[1] > 0.5)
        low, high = (inside.min(0), inside.max(0)) if len(inside) else (np.zeros(3), np.array(data[0].shape) - 1)
        top = np.percentile(data[0][data[1] > 0.5], 99.5) if len(inside) else data[0].max()
        for axes, (axis, share) in zip(line, CUTS):
            at = round(float(low[axis] + share * (high[axis] - low[axis])))
            _draw_slice(axes, data, axis, at, edges, float(top) or 1.0)
    return figure


def _upright(values: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """Turn an image so that its axes go right, forward and up, as far as voxels allow."""
    return nib.as_closest_canonical(nib.Nifti1Image(np.asarray(values, np.float32), affine))


def _draw_slice(axes: Axes, data: Sequence[np.ndarray], axis: int, at: int, edges: np.ndarray, top: float) -> None:
    """One slice: the image in grey, outlines in colour, left of the head on the left of the picture."""
    cut = [np.take(values, at, axis).T for values in data]
    height, width = (edges[k] for k in (range(3)[::-1]) if k != axis)
    axes.imshow(cut[0], cmap="gray", origin="lower", vmin=0, vmax=1.1 * top, aspect=height / width)
    for values, colour, line in zip(cut[1:], (COLOURS[4], COLOURS[5]), WIDTHS):
        if values.min() < 0.5 < values.max():
            axes.contour(values, levels=[0.5], colors=[colour], linewidths=line)
    axes.set_xticks([]), axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(AXES[axis], fontsize=6, labelpad=1)
    if axis:
        for side, place in (("L", 0.02), ("R", 0.98)):
            axes.text(place, 0.03, side, color="white", fontsize=6, ha="left" if side == "L" else "right",
                      transform=axes.transAxes, bbox={"facecolor": INK, "pad": 0.6, "linewidth": 0})  # fmt: skip
