"""Slices through images of a head, as all pictures show them: upright, left of the head on the left, named."""

import io
from pathlib import Path

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dysconnect.paper.style import INK

AXES = ("sagittal", "coronal", "axial")


def upright(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn an image so that its axes go right, forward and up, as far as voxels allow.

    Parameters
    ----------
    values : array, [X, Y, Z] or [X, Y, Z, C]
    affine : array, [4, 4]
        Voxel to mm.

    Returns
    -------
    turned : array of float32
    sizes : array, [3]
        Edges of its voxels, mm.
    """
    image = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(values, np.float32), affine))
    return np.asarray(image.dataobj, np.float32), nib.affines.voxel_sizes(image.affine)


def box_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of a mask along each axis, [3] each; those of the whole grid where it is empty."""
    inside = np.argwhere(mask)
    return (inside.min(0), inside.max(0)) if len(inside) else (np.zeros(3, int), np.array(mask.shape) - 1)


def show_slice(axes: Axes, values: np.ndarray, axis: int, at: int, sizes: np.ndarray, **look) -> None:
    """Show one slice of an upright image [X, Y, Z] or, in colour, [X, Y, Z, 3 or 4]."""
    height, width = (sizes[k] for k in (2, 1, 0) if k != axis)
    cut = np.take(values, at, axis).swapaxes(0, 1)
    axes.imshow(cut, origin="lower", aspect=height / width, **look)


def name_slice(axes: Axes, axis: int) -> None:
    """Write below a slice how it is cut, and left and right into it; take scale and frame away."""
    axes.set_xticks([]), axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(AXES[axis], fontsize=6, labelpad=1)
    if axis:
        for side, place in (("L", 0.02), ("R", 0.98)):
            axes.text(place, 0.03, side, color="white", fontsize=6, ha="left" if side == "L" else "right",
                      transform=axes.transAxes, bbox={"facecolor": INK, "pad": 0.6, "linewidth": 0})  # fmt: skip


def write_small_png(figure: Figure, path: Path, dpi: int = 100, colours: int = 64) -> None:
    """Write a figure as PNG with so many colours: a quarter of the bytes, and hardly another picture."""
    canvas, buffer = FigureCanvasAgg(figure), io.BytesIO()
    figure.dpi = dpi
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    image.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
