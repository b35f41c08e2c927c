"""Runs in grayordinates (CIFTI): the cortex as vertices of a surface, what lies below it as voxels; and their atlas.

fMRIPrep writes them as ``..._space-fsLR_den-91k_bold.dtseries.nii``: 32,492 vertices a hemisphere without the medial
wall, and voxels of 2 mm in MNI152NLin6Asym (Glasser et al. 2013, doi:10.1016/j.neuroimage.2013.04.127).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, LabelAxis, SeriesAxis
from nibabel.cifti2.cifti2_axes import Axis

HEMISPHERES = {"CIFTI_STRUCTURE_CORTEX_LEFT": "L", "CIFTI_STRUCTURE_CORTEX_RIGHT": "R"}
BLOCK = 1 << 26  # bytes that are read at a time: all times of a vertex stand together, so each block passes the file
REMEDY = "take another atlas (atlas=wholebrain200), name yours in atlas.surface, or take volumes (dataset.space)"


@dataclass(frozen=True)
class SurfaceRegions:
    """Cortical regions on a mesh.

    Attributes
    ----------
    rows : mapping of str to array of int, [vertices of the mesh]
        By structure (``CIFTI_STRUCTURE_CORTEX_LEFT``): row of the node table, -1 where there is none.
    counts : array of int, [N]
        Vertices of each region on both hemispheres; 0 for a region that is no cortex.
    name : str
        Of the file.
    """

    rows: Mapping[str, np.ndarray]
    counts: np.ndarray
    name: str


def open_grayordinates(path: str | Path) -> nib.Cifti2Image:
    """Open a dense time series, [T, G], without reading its values.

    Raises
    ------
    ValueError
        When it is no CIFTI file, holds something else than a time series of vertices and voxels, or is cut short.
    """
    path = Path(path)
    scan, axes = _load(path)
    kinds = tuple(type(axis) for axis in axes)
    if kinds != (SeriesAxis, BrainModelAxis):
        named = " by ".join(kind.__name__.removesuffix("Axis").lower() for kind in kinds)
        raise ValueError(
            f"{path.name} holds {named}, expected a time series of vertices and voxels (series by brainmodel); take "
            "fMRIPrep's _space-fsLR_den-91k_bold.dtseries.nii"
        )
    if scan.get_data_dtype().kind not in "iuf":
        raise ValueError(f"{path.name} holds {scan.get_data_dtype()}, expected real numbers")
    needed = scan.dataobj.offset + int(np.prod(scan.shape, dtype=np.int64)) * scan.dataobj.dtype.itemsize
    held = path.stat().st_size
    if held < needed:
        raise ValueError(f"{path.name} holds {held:,} of {needed:,} bytes: it is cut short; fetch it again")
    return scan


def _load(path: Path) -> tuple[nib.Cifti2Image, list[Axis]]:
    """Open any CIFTI file; says in our words what is wrong with it."""
    try:
        scan = nib.load(path)
        if not isinstance(scan, nib.Cifti2Image):
            raise ValueError(f"it is {type(scan).__name__}")
        return scan, [scan.header.get_axis(k) for k in range(scan.ndim)]
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever the parser of a damaged header raises
        raise ValueError(f"{path.name} cannot be read as CIFTI ({error}); fetch it again") from error


def series_time(scan: nib.Cifti2Image) -> float:
    """Seconds between the times of a dense time series; 0 where its axis is not one of seconds."""
    axis = scan.header.get_axis(0)
    return float(axis.step) if axis.unit == "SECOND" else 0.0


def series_notes(scan: nib.Cifti2Image, seconds: float) -> list[str]:
    """Say that the axis tells another repetition time than the one that is used (s)."""
    in_header = series_time(scan)
    if not in_header or abs(in_header - seconds) <= 1e-3:
        return []
    return [f"header says a repetition time of {in_header:.4g} s, the sidecar {seconds:.4g} s, which is used"]


def timepoints(scan: nib.Cifti2Image) -> Iterator[np.ndarray]:
    """Read a dense time series time by time, [G], in the type of the file and unscaled.

    A file holds all times of the first vertex, then of the next; a few times of everything are in memory at a time.
    """
    length, size = scan.shape
    proxy = scan.dataobj
    stored = np.memmap(proxy.file_like, proxy.dtype, "r", proxy.offset, (size, length))
    step = max(1, BLOCK // (size * proxy.dtype.itemsize))
    for first in range(0, length, step):
        yield from np.ascontiguousarray(stored[:, first : first + step].T)


def surface_regions(nodes: pd.DataFrame, surface: str | Path | None) -> SurfaceRegions:
    """Find the regions of a node table on a surface, by name.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `name`, `hemisphere` (L, R; M for both), `system`, and `source_label` where the labels are not named as the
        regions are.
    surface : path or None
        ``.dlabel.nii`` with one map. Labels without vertices on the cortex, and those that no node names, are left out.

    Returns
    -------
    SurfaceRegions

    Raises
    ------
    ValueError
        When a region of system cortex is not on the surface, or the file is no map of labels.
    """
    if surface is None:
        regions = SurfaceRegions({}, np.zeros(len(nodes), int), "an atlas without atlas.surface")
    else:
        regions = _labelled(nodes, Path(surface))
    absent = nodes[(regions.counts == 0) & (nodes["system"] == "cortex").to_numpy()]
    if len(absent):
        first = absent.iloc[0]
        raise ValueError(
            f"{regions.name} has no vertex of {first['name']} (label {_labels(absent).iloc[0]!r}, hemisphere "
            f"{first['hemisphere']}) and {len(absent) - 1} other cortical regions: {REMEDY}"
        )
    return regions


def _labelled(nodes: pd.DataFrame, surface: Path) -> SurfaceRegions:
    """Rows of the node table on the meshes of a file of labels."""
    image, axes = _load(surface)
    if tuple(type(axis) for axis in axes) != (LabelAxis, BrainModelAxis) or len(axes[0]) != 1:
        raise ValueError(f"{surface.name} is no map of labels (.dlabel.nii) with one map; name one in atlas.surface")
    (table,), keys = axes[0].label, np.rint(np.asanyarray(image.dataobj)[0]).astype(int)
    rows, counts = {}, np.zeros(len(nodes), int)
    for structure, part, model in axes[1].iter_structures():
        if structure not in HEMISPHERES:
            continue
        side = nodes["hemisphere"].isin([HEMISPHERES[structure], "M"]).to_numpy()
        row = dict(zip(_labels(nodes)[side], np.flatnonzero(side)))
        known, inverse = np.unique(keys[part], return_inverse=True)
        row_of = np.array([row.get(table[key][0], -1) if key in table else -1 for key in known])[inverse]
        rows[structure] = np.full(model.nvertices[structure], -1)
        rows[structure][model.vertex] = row_of
        counts += np.bincount(row_of[row_of >= 0], minlength=len(nodes))
    return SurfaceRegions(rows, counts, surface.name)


def _labels(nodes: pd.DataFrame) -> pd.Series:
    """What the regions are called in files of labels."""
    return nodes["source_label"] if "source_label" in nodes else nodes["name"]


def vertices_of(axis: BrainModelAxis, regions: SurfaceRegions, name: str) -> np.ndarray:
    """Row of the node table for every vertex and voxel of a run, [G]; -1 for voxels, and where there is no region.

    Parameters
    ----------
    axis : BrainModelAxis, [G]
    regions : SurfaceRegions
    name : str
        Of the run, for messages.

    Raises
    ------
    ValueError
        When a hemisphere that has regions is not in the run, or its mesh is another one.
    """
    rows, seen = np.full(len(axis), -1), set()
    for structure, part, model in axis.iter_structures():
        if structure not in regions.rows:
            continue
        mesh, size = regions.rows[structure], model.nvertices[structure]
        if size != len(mesh):
            raise ValueError(
                f"{name} has a mesh of {size:,} vertices a hemisphere, {regions.name} one of {len(mesh):,}: take "
                "fMRIPrep's outputs of the same density (32,492: den-91k), or name labels on this mesh in atlas.surface"
            )
        rows[part] = mesh[model.vertex]
        seen.add(structure)
    for structure, mesh in regions.rows.items():
        if structure not in seen and (mesh >= 0).any():
            raise ValueError(f"{name} has no {structure}, where the atlas has regions; {REMEDY}")
    return rows
