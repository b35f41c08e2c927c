"""The pictures by which people judge a diffusion scan: the tensor in colour, the field, and the tracts of circuits."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from nibabel.affines import apply_affine, voxel_sizes

from dysconnect.data.atlas import circuit_edges, circuit_titles
from dysconnect.diffusion.clean import Cleaned
from dysconnect.diffusion.poses import STILL, Frame, Pose
from dysconnect.diffusion.susceptibility import Field
from dysconnect.diffusion.tensor import Tensor
from dysconnect.paper.slices import box_of, name_slice, show_slice, upright, write_small_png
from dysconnect.paper.style import COLOURS, INK, PAGE, styled
from dysconnect.paper.text import counted
from dysconnect.reading.encoding import readout_ratio
from dysconnect.reading.gradients import B0
from dysconnect.tractography.scan import Scan

PICTURES = ("tensor_picture", "field_picture", "tracts_picture")
BRIGHT = 0.7  # fractional anisotropy of the brightest colour
CUTS = ((2, 0.22), (2, 0.5), (0, 0.5))  # of the field: axis, and where through the brain; low, where it is large
PLANES = (0, 1, 2)
FAINT = 0.6  # of the grey of the FA behind tracts
LEAST = 1.0  # mm: the largest shift that the colours of a field tell, at least
LINE = {"levels": [0.5], "colors": [COLOURS[4]], "linewidths": 0.6}


class Bundles:
    """In how many streamlines of each circuit every voxel lies, counted while they are made and forgotten.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
    shape : tuple of int
        Grid of the diffusion images.
    affine : array, [4, 4]
        Voxel to mm.

    Attributes
    ----------
    visits : dict of str to array, [X, Y, Z]
        By circuit of this atlas.
    lines : dict of str to int
        Streamlines that join two regions of the circuit.
    """

    def __init__(self, nodes: pd.DataFrame, shape: tuple[int, ...], affine: np.ndarray):
        self._to_voxel, self._members, n = np.linalg.inv(affine), {}, len(nodes)
        for name, edges in circuit_edges(nodes).groupby("circuit", sort=False):
            self._members[name] = np.zeros(n * n, bool)
            self._members[name][edges["i"] * n + edges["j"]] = True
        self.visits = {name: np.zeros(shape, np.int32) for name in self._members}
        self.lines = dict.fromkeys(self._members, 0)

    def __call__(self, pairs: np.ndarray, lines: list[np.ndarray]) -> None:
        """Count a batch of streamlines, and the place of each in the flat matrix of regions, i < j."""
        for name, members in self._members.items():
            chosen = np.flatnonzero(members[pairs])
            self.lines[name] += len(chosen)
            if len(chosen):
                self._count(self.visits[name], [lines[k] for k in chosen])

    def _count(self, visits: np.ndarray, lines: list[np.ndarray]) -> None:
        """Add one to every voxel that a streamline passes, however long it stays there."""
        voxels = np.rint(apply_affine(self._to_voxel, np.concatenate(lines))).astype(int).T
        flat = np.ravel_multi_index(tuple(voxels), visits.shape, mode="clip")
        line = np.repeat(np.arange(len(lines)), [len(points) for points in lines])
        once = np.unique(line * visits.size + flat) % visits.size
        visits += np.bincount(once, minlength=visits.size).reshape(visits.shape).astype(visits.dtype)


def write_pictures(stem: Path, scan: Scan, clean: Cleaned, tensor: Tensor, bundles: Bundles) -> dict[str, str]:
    """Write the pictures of a person, tens of kB each.

    Parameters
    ----------
    stem : path
        ``results/DATASET/tractography/pictures/sub-X``.
    scan : Scan
    clean : Cleaned
    tensor : Tensor
    bundles : Bundles

    Returns
    -------
    dict
        `tensor_picture`, `field_picture` ("" where there is no field), `tracts_picture` ("" where the atlas has no
        circuit): paths relative to the folder of the stage.
    """
    figures = (
        tensor_figure(tensor, clean.mask, scan.affine),
        None if clean.field is None else _field_of(scan, clean),
        tracts_figure(bundles, tensor.fa, clean.mask, scan.affine) if bundles.lines else None,
    )
    written = dict.fromkeys(PICTURES, "")
    for name, figure in zip(PICTURES, figures):
        path = stem.with_name(f"{stem.name}_{name.removesuffix('_picture')}.png")
        path.unlink(missing_ok=True)  # of an earlier run
        if figure is not None:
            write_small_png(figure, path)
            written[name] = f"{path.parent.name}/{path.name}"
    return written


@styled
def tensor_figure(tensor: Tensor, mask: np.ndarray, affine: np.ndarray) -> Figure:
    """Direction of fastest diffusion in colour (red across, green forward, blue up), as bright as the anisotropy."""
    colour = np.abs(tensor.direction) * (tensor.fa / BRIGHT)[..., None]
    (values, sizes), (brain, _) = upright(colour.clip(0, 1), affine), upright(mask, affine)
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained", facecolor="white")
    low, high = box_of(brain > 0.5)
    values = _cropped(values, low, high)
    for axes, axis in zip(figure.subplots(1, 3), PLANES):
        show_slice(axes, values, axis, values.shape[axis] // 2, sizes)
        name_slice(axes, axis)
    return figure


def _field_of(scan: Scan, clean: Cleaned) -> Figure:
    ratio = readout_ratio(scan.encoding, scan.reverse_encoding, "the reversed b0")
    plus, minus = scan.data[..., np.flatnonzero(scan.bvals <= B0)[0]], scan.reverse[..., 0]
    return field_figure(plus, minus, clean.field, ratio, clean.mask, scan.affine)


@styled
def field_figure(
    plus: np.ndarray, minus: np.ndarray, field: Field, ratio: float, mask: np.ndarray, affine: np.ndarray
) -> Figure:
    """Both b0 as scanned, the shift by susceptibility, and both without it; the outline of the brain on all.

    Parameters
    ----------
    plus, minus : array, [X, Y, Z]
        As scanned; encoded as the diffusion images are, and the other way round.
    field : Field
    ratio : float
        Total readout time of `minus` over that of `plus`.
    mask : array of bool, [X, Y, Z]
        The brain, undistorted.
    affine : array, [4, 4]
        Voxel to mm.
    """
    shift = field.shift * voxel_sizes(affine)[field.axis]
    largest = max(LEAST, float(np.percentile(np.abs(shift[mask]), 99))) if mask.any() else LEAST
    shown = {
        "As scanned": plus,
        "The other way round": minus,
        "Shift (mm)": np.where(mask, shift, np.nan),
        "As scanned, corrected": undistorted(plus, field, 1.0, STILL, affine),
        "The other, corrected": undistorted(minus, field, -ratio, Pose(field.motion, STILL.eddy), affine),
    }
    brain, sizes = upright(mask, affine)
    low, high = box_of(brain > 0.5)
    brain = _cropped(brain, low, high)
    figure = Figure(figsize=(PAGE, 4.7), layout="constrained", facecolor="white")
    panels = figure.subplots(len(CUTS), len(shown))
    for column, (title, image) in zip(panels.T, shown.items()):
        values = _cropped(upright(image, affine)[0], low, high)
        if image is shown["Shift (mm)"]:
            look = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        else:
            look = {"cmap": "gray", "vmin": 0, "vmax": float(np.percentile(values[brain > 0.5], 99.5)) or 1.0}
        column[0].set_title(title, size=7)
        for axes, (axis, share) in zip(column, CUTS):
            at = round(share * (values.shape[axis] - 1))
            show_slice(axes, values, axis, at, sizes, **look)
            axes.contour(np.take(brain, at, axis).T, **LINE)
            name_slice(axes, axis)
    scale = figure.colorbar(panels[0, 2].images[0], ax=panels[:, 2], location="bottom", shrink=0.8, aspect=12)
    scale.ax.tick_params(labelsize=6, length=2)
    return figure


def undistorted(image: np.ndarray, field: Field, sign: float, pose: Pose, affine: np.ndarray) -> np.ndarray:
    """A b0 without the shift, which `sign` times the field is in it, [X, Y, Z]."""
    shift = sign * field.shift
    slope = np.gradient(shift, axis=field.axis)
    frame = Frame(affine, field.axis, np.indices(shift.shape).reshape(3, -1), shift.ravel(), slope.ravel(), np.zeros(3))
    return frame.fetched(np.asarray(image, np.float32), pose).reshape(shift.shape)


@styled
def tracts_figure(bundles: Bundles, fa: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> Figure:
    """Streamlines of each circuit in three planes, seen through the whole head, on a slice of FA through their middle.

    Parameters
    ----------
    bundles : Bundles
    fa : array, [X, Y, Z]
    mask : array of bool, [X, Y, Z]
        The brain.
    affine : array, [4, 4]
        Voxel to mm.
    """
    titles, names = circuit_titles(), list(bundles.lines)
    rows = -(-len(names) // 2)
    (grey, sizes), (brain, _) = upright(fa, affine), upright(mask, affine)
    low, high = box_of(brain > 0.5)
    figure = Figure(figsize=(PAGE, 1.5 * rows), layout="constrained", facecolor="white")
    parts = figure.subfigures(rows, 2, squeeze=False, wspace=0.03).ravel()
    for part, name in zip(parts, names):
        said = counted(bundles.lines[name], "streamline") if bundles.lines[name] else "no streamline was seen"
        part.suptitle(f"{titles[name]}: {said}", x=0.01, ha="left", fontsize=6.5)
        visits = upright(bundles.visits[name], affine)[0]
        _draw_bundle(part, _cropped(grey, low, high), _cropped(visits, low, high), sizes)
    return figure


def _draw_bundle(part: SubFigure, fa: np.ndarray, visits: np.ndarray, sizes: np.ndarray) -> None:
    weight = np.log1p(visits)
    middle = [_middle(weight.sum(tuple(k for k in PLANES if k != axis))) for axis in PLANES]
    for axes, axis in zip(part.subplots(1, 3), PLANES):
        axes.set_facecolor(INK)
        show_slice(axes, FAINT * fa, axis, middle[axis], sizes, cmap="gray", vmin=0, vmax=BRIGHT)
        through = weight.max(axis, keepdims=True)
        if through.any():
            show = {"cmap": "plasma", "norm": Normalize(0, weight.max()), "alpha": None}
            show_slice(axes, np.where(through > 0, through, np.nan), axis, 0, sizes, interpolation="nearest", **show)
        name_slice(axes, axis)


def _middle(profile: np.ndarray) -> int:
    """Where half of a profile lies to either side; the middle of an empty one."""
    if not profile.any():
        return len(profile) // 2
    return int(np.searchsorted(np.cumsum(profile), profile.sum() / 2))


def _cropped(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The part of an image around the brain."""
    first = np.maximum(low - 2, 0)
    return values[tuple(slice(a, b + 3) for a, b in zip(first, high))]
