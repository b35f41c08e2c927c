"""Which voxels and vertices belong to which region, and their averages in one pass over a run, on its grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nibabel.cifti2 import BrainModelAxis
from scipy import sparse

from dysconnect.data.atlas.join import label_codes, label_shares
from dysconnect.data.images.averages import MIN_COVERAGE, Averages, Watcher, judged, one_pass, without_spoiled
from dysconnect.data.images.cifti import (
    open_grayordinates,
    series_notes,
    series_time,
    surface_regions,
    timepoints,
    vertices_of,
)
from dysconnect.data.images.spaces import is_grayordinates
from dysconnect.data.images.volumes import (
    header_notes,
    open_bold,
    read_mask,
    reading,
    refuse_other_count,
    refuse_other_length,
    repetition_time,
    time_between_volumes,
)


def sphere_weights(nodes: pd.DataFrame, affine: np.ndarray, mask: np.ndarray) -> sparse.csr_array:
    """Averaging over spheres as one sparse matrix, [N, voxels in the mask].

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `x`, `y`, `z` (MNI mm) and `radius` (mm).
    affine : array, [4, 4]
        Voxel to MNI mm.
    mask : array of bool, [X, Y, Z]

    Returns
    -------
    csr_array
        Rows sum to one; a sphere outside the mask is an empty row.
    """
    return _normalised(_sphere_shares(nodes, affine, np.argwhere(mask), mask.shape)[0])


def label_weights(
    nodes: pd.DataFrame, labels_image: nib.Nifti1Image, affine: np.ndarray, mask: np.ndarray
) -> sparse.csr_array:
    """Averaging over the regions of a label image as one sparse matrix, [N, voxels in the mask].

    A voxel counts for a region by the share of it that the region fills, so that small nuclei are averaged
    on grids coarser than the atlas too.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `node`: code of the region in the image, whatever the order of the rows.
    labels_image : Nifti1Image, [X', Y', Z']
        On any grid; codes that `nodes` does not name are left out.
    affine : array, [4, 4]
        Voxel to MNI mm, of the BOLD.
    mask : array of bool, [X, Y, Z]

    Returns
    -------
    csr_array
        Rows sum to one; a region outside the mask is an empty row.

    Raises
    ------
    ValueError
        When a node's code is not in the image at all: table and image belong to different atlases.
    """
    return _normalised(_label_shares(nodes, labels_image, affine, np.argwhere(mask))[0])


def regional_series(
    bold: str | Path,
    mask: str | Path | None,
    nodes: pd.DataFrame,
    image: str | Path | None = None,
    min_coverage: float = MIN_COVERAGE,
    watcher: Watcher | None = None,
    surface: str | Path | None = None,
) -> Averages:
    """Average BOLD in the atlas's regions on the native grid, volume by volume.

    Volumes are read once, and again only where a voxel is left out that had given something. Sums are float64.

    Parameters
    ----------
    bold : path
        BOLD, [X, Y, Z, T], in the atlas's space; or cortex as a surface and voxels below it, ``.dtseries.nii``.
    mask : path or None
        Without a mask, the voxels that vary. Not used for ``.dtseries.nii``.
    nodes : DataFrame, [N rows]
        `x`, `y`, `z` and `radius` (mm) of spheres, or `node` of a label image. Coverage is relative to `volume` (mm3),
        where there is such a column: for labels that were cut when they were brought to the subject.
    image : path, optional
        Label image of the atlas, on any grid; spheres where there is none.
    min_coverage : float
        A region with less of its volume inside the mask and with signal is silent: zero throughout.
    watcher : Watcher, optional
        Sees the values of all voxels of the mask.
    surface : path, optional
        The cortex of the atlas as ``.dlabel.nii``, for ``.dtseries.nii``; see `grayordinate_shares`.

    Returns
    -------
    Averages

    Raises
    ------
    ValueError
        When the image is damaged, not four-dimensional or zero or NaN in whole volumes, the mask of another grid, the
        repetition time unknown, no region inside the field of view, or a ``.dtseries.nii`` does not fit the atlas.
    """
    if is_grayordinates(bold):
        return _of_grayordinates(Path(bold), nodes, image, surface, min_coverage, watcher)
    scan = open_bold(bold)
    seconds = repetition_time(bold, scan)
    refuse_other_length(bold, scan)
    inside = read_mask(mask, scan) if mask else np.ones(scan.shape[:3], bool)
    length, scale = scan.shape[3], (scan.dataobj.slope, scan.dataobj.inter)
    with reading(scan) as volumes:  # begins to unpack while the regions are computed
        shares, volume, voxels = _regions(nodes, image, scan.affine, inside, watcher)
        places = np.ravel_multi_index(voxels.T, scan.shape[:3], order="F")
        sums, moments = one_pass(volumes, length, places, scale, shares, watcher)

    def again(usable: sparse.csr_array) -> np.ndarray:
        with reading(scan) as volumes:
            return one_pass(volumes, length, places, scale, usable, None)[0]

    sums, shares = without_spoiled(Path(bold).name, sums, moments, shares, again)
    notes = (*header_notes(bold, scan, seconds), *moments.notes())
    return judged(Path(bold).name, sums, shares, volume, min_coverage, moments.tsnr(), seconds, notes)


def _of_grayordinates(
    bold: Path,
    nodes: pd.DataFrame,
    image: str | Path | None,
    surface: str | Path | None,
    min_coverage: float,
    watcher: Watcher | None,
) -> Averages:
    """Averages of a run whose cortex is a surface."""
    scan = open_grayordinates(bold)
    seconds = time_between_volumes(bold, series_time(scan))
    refuse_other_count(bold, scan.shape[0])
    shares, volume = grayordinate_shares(nodes, image, surface, scan)
    if watcher is not None:
        watcher.start(shares)
    length, scale = scan.shape[0], (scan.dataobj.slope, scan.dataobj.inter)
    sums, moments = one_pass(timepoints(scan), length, slice(None), scale, shares, watcher)

    def again(usable: sparse.csr_array) -> np.ndarray:
        return one_pass(timepoints(scan), length, slice(None), scale, usable, None)[0]

    sums, shares = without_spoiled(bold.name, sums, moments, shares, again)
    notes = (*series_notes(scan, seconds), *moments.notes())
    return judged(bold.name, sums, shares, volume, min_coverage, moments.tsnr(), seconds, notes)


def grayordinate_shares(
    nodes: pd.DataFrame, image: str | Path | None, surface: str | Path | None, scan: nib.Cifti2Image
) -> tuple[sparse.csr_array, np.ndarray]:
    """Share of every vertex and voxel of a run in every region: cortex by a surface's labels, the rest by voxels.

    What has no vertices on the surface is averaged over voxels; a vertex counts as one, whatever its area.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
    image, surface : path or None
        As of `regional_series`.
    scan : Cifti2Image, [T, G]

    Returns
    -------
    shares : csr_array, [N, G]
    volume : array, [N]
        What each whole region measures: vertices, or voxels of the run.

    Raises
    ------
    ValueError
        When the run has no vertices or no voxels though the atlas has regions there, or the mesh is another one.
    """
    axis, name = scan.header.get_axis(1), Path(scan.get_filename()).name
    regions = surface_regions(nodes, surface)
    row = vertices_of(axis, regions, name)
    column, below = np.flatnonzero(row >= 0), np.flatnonzero(axis.volume_mask)
    rest = np.flatnonzero(regions.counts == 0)
    entries, volume = [np.array([row[column], column, np.ones(len(column))])], regions.counts.astype(float)
    if len(rest) and not len(below):
        raise ValueError(
            f"{name} holds the cortex only, and {len(rest)} of {len(nodes)} regions lie below it "
            f"({nodes['name'].iloc[rest[0]]}, ...): take outputs with subcortex (fmriprep --cifti-output 91k)"
        )
    if len(rest):
        below_surface, volume[rest] = _voxel_shares(nodes.iloc[rest], image, axis)
        pairs = below_surface.tocoo()
        entries.append(np.array([rest[pairs.coords[0]], below[pairs.coords[1]], pairs.data]))
    row, column, share = np.concatenate(entries, axis=1)
    size = (len(nodes), len(axis))
    return sparse.csr_array((share, (row.astype(int), column.astype(int))), shape=size), volume


def _voxel_shares(
    nodes: pd.DataFrame, image: str | Path | None, axis: BrainModelAxis
) -> tuple[sparse.csr_array, np.ndarray]:
    """Shares of the voxels of an axis, in its order, and the regions' volumes in voxels."""
    voxels = axis.voxel[axis.volume_mask]
    if image is None:
        return _sphere_shares(nodes, axis.affine, voxels, tuple(axis.volume_shape))
    return _label_shares(nodes, nib.load(image), axis.affine, voxels)


def _regions(
    nodes: pd.DataFrame, image: str | Path | None, affine: np.ndarray, inside: np.ndarray, watcher: Watcher | None
) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Shares of the voxels in the regions [N, V], volumes of the regions in voxels [N], and these voxels [V, 3]."""
    voxels = np.argwhere(inside.T)[:, ::-1]  # in the order of the file
    if image is None:
        shares, volume = _sphere_shares(nodes, affine, voxels, inside.shape)
    else:
        shares, volume = _label_shares(nodes, nib.load(image), affine, voxels)
    if "volume" in nodes:
        volume = nodes["volume"].to_numpy(float) / abs(np.linalg.det(affine[:3, :3]))
    if watcher is not None:
        watcher.start(shares)
        return shares, volume, voxels
    used = np.flatnonzero(np.bincount(shares.indices, minlength=len(voxels)))
    return shares[:, used], volume, voxels[used]


def _normalised(shares: sparse.csr_array) -> sparse.csr_array:
    total = shares.sum(axis=1)
    return sparse.csr_array(sparse.diags_array(1 / np.where(total > 0, total, 1)) @ shares)


def _sphere_shares(
    nodes: pd.DataFrame, affine: np.ndarray, voxels: np.ndarray, shape: tuple[int, ...]
) -> tuple[sparse.csr_array, np.ndarray]:
    """Membership of voxels [V, 3] in spheres, [N, V] of 0 and 1, and the spheres' voxels on an endless grid, [N]."""
    if nodes["radius"].isna().any():
        raise ValueError(
            "this atlas has neither a label image nor a radius for its regions, and images need one of them. Set "
            "atlas=seitzman300 or wholebrain200, name your label image in atlas.image, or add a column radius (mm)."
        )
    column = np.full(shape, -1)
    column[tuple(voxels.T)] = np.arange(len(voxels))
    members, volume = [], np.zeros(len(nodes))
    for k, (*centre, radius) in enumerate(nodes[["x", "y", "z", "radius"]].to_numpy(float)):
        ball = _ball(np.array(centre), radius, affine)
        volume[k] = len(ball)
        ball = ball[((ball >= 0) & (ball < shape)).all(axis=1)]
        voxels_of = column[tuple(ball.T)]
        members.append(voxels_of[voxels_of >= 0])
    counts = [len(voxels_of) for voxels_of in members]
    rows, columns = np.repeat(np.arange(len(nodes)), counts), np.concatenate(members)
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(nodes), len(voxels))), volume


def _ball(centre: np.ndarray, radius: float, affine: np.ndarray) -> np.ndarray:
    """Voxels [K, 3] with centres in a sphere, on a grid without end; a sphere between voxels is the nearest one."""
    inverse = np.linalg.inv(affine)
    reach = np.ceil(radius * np.linalg.norm(inverse[:3, :3], axis=1)).astype(int) + 1
    box = np.indices(2 * reach + 1).reshape(3, -1).T - reach
    box += np.rint(apply_affine(inverse, centre)).astype(int)
    distance = np.linalg.norm(apply_affine(affine, box) - centre, axis=1)
    return box[distance <= max(radius, distance.min()) + 1e-6]


def _label_shares(
    nodes: pd.DataFrame, labels_image: nib.Nifti1Image, affine: np.ndarray, voxels: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray]:
    """Share of voxels [V, 3] that labels fill, [N, V], and the labels' volumes in voxels of this grid, [N]."""
    codes, to_mm = label_codes(labels_image)
    counts = np.bincount(codes.reshape(-1), minlength=int(nodes["node"].max()) + 1)[nodes["node"].to_numpy()]
    absent = nodes[counts == 0]
    if len(absent):
        raise ValueError(
            f"atlas.image has no voxel of {absent['name'].iloc[0]} (code {absent['node'].iloc[0]}) and "
            f"{len(absent) - 1} others: set atlas.nodes and atlas.image to the table and the image of one atlas."
        )
    shares = label_shares(codes, to_mm, nodes["node"].to_numpy(), affine, voxels)
    return shares, counts * abs(np.linalg.det(to_mm[:3, :3]) / np.linalg.det(affine[:3, :3]))
