"""Regional averages in one pass over a run, on its own grid, and how much of each region was there to average."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from scipy import sparse

from dysconnect.atlas.join import label_codes, label_shares
from dysconnect.preprocess.volumes import (
    header_notes,
    open_bold,
    read_mask,
    reading,
    refuse_other_length,
    repetition_time,
)

MIN_COVERAGE = 0.5


@dataclass(frozen=True)
class Averages:
    """Regional series of one run.

    Attributes
    ----------
    series : array, [T, N]
        In the image's units; zero throughout for a region whose coverage is too low.
    coverage : array, [N]
        Share of the region's volume (0 to 1) inside the mask and with signal.
    voxels : array of int, [N]
        Voxels that were averaged.
    tsnr : array, [N]
        Mean over the region's voxels of mean over standard deviation in time; NaN without voxels.
    brain_tsnr : float
        The same over all voxels that were read: those of regions, or of the mask where somebody watches.
    repetition_time : float
        Seconds.
    notes : tuple of str
        What was doubtful and did not hinder.
    """

    series: np.ndarray
    coverage: np.ndarray
    voxels: np.ndarray
    tsnr: np.ndarray
    brain_tsnr: float
    repetition_time: float
    notes: tuple[str, ...]


class Watcher(Protocol):
    """Whoever wants to see every volume of the brain as it passes (`dysconnect.preprocess.quality.Brain`)."""

    def start(self, shares: sparse.csr_array) -> None:
        """Take the share of every voxel in every region, [N, V], before the first volume."""

    def add(self, values: np.ndarray) -> None:
        """Take the next volume, [V], finite."""


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
) -> Averages:
    """Average BOLD in the atlas's regions on the native grid, volume by volume.

    The run is read once, and a second time only where a voxel has to be left out that had given something: a constant
    other than zero, or NaN in some volumes. Sums are float64.

    Parameters
    ----------
    bold, mask : path
        BOLD, [X, Y, Z, T], in the atlas's space; without a mask, the voxels that vary.
    nodes : DataFrame, [N rows]
        With `x`, `y`, `z` and `radius` (mm) for spheres, with `node` for a label image. Where it has a column `volume`
        (mm3), coverage is relative to that: for labels that were cut when they were brought to the subject.
    image : path, optional
        Label image of the atlas, on any grid; spheres where there is none.
    min_coverage : float
        A region with less of its volume inside the mask and with signal is silent: zero throughout.
    watcher : Watcher, optional
        Sees the values of all voxels of the mask.

    Returns
    -------
    Averages

    Raises
    ------
    ValueError
        When the image is not four-dimensional, is damaged, is zero or NaN in whole volumes; when the mask is of another
        grid, the repetition time is unknown, or no region lies inside the field of view.
    """
    scan = open_bold(bold)
    seconds = repetition_time(bold, scan)
    refuse_other_length(bold, scan)
    inside = read_mask(mask, scan) if mask else np.ones(scan.shape[:3], bool)
    with reading(scan) as volumes:  # begins to unpack while the regions are found
        shares, volume, voxels = _regions(nodes, image, scan.affine, inside, watcher)
        places = np.ravel_multi_index(voxels.T, scan.shape[:3], order="F")
        sums, moments = _pass(volumes, scan, places, shares, watcher)
    moments.refuse_lost_volumes(Path(bold).name)
    shares = shares @ sparse.diags_array(moments.usable.astype(float))
    if moments.spoiling:
        with reading(scan) as volumes:
            sums, _ = _pass(volumes, scan, places, shares, None)
    notes = (*header_notes(bold, scan, seconds), *moments.notes())
    return _judged(Path(bold).name, sums, shares, volume, min_coverage, moments.tsnr(), seconds, notes)


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


def _pass(
    volumes: Iterable[np.ndarray],
    scan: nib.Nifti1Image,
    places: np.ndarray,
    shares: sparse.csr_array,
    watcher: Watcher | None,
) -> tuple[np.ndarray, "_Moments"]:
    """Sums over the regions, [T, N], and the moments of every voxel at `places`."""
    slope, intercept = scan.dataobj.slope, scan.dataobj.inter
    sums, moments = np.empty((scan.shape[3], shares.shape[0])), _Moments(len(places))
    for t, volume in enumerate(volumes):
        values = volume[places].astype(float)  # before any arithmetic: whole numbers cannot overflow
        if (slope, intercept) != (1, 0):
            values *= slope
            values += intercept
        values = moments.add(values)
        sums[t] = shares @ values
        if watcher is not None:
            watcher.add(values)
    return sums, moments


def _judged(
    name: str,
    sums: np.ndarray,
    shares: sparse.csr_array,
    volume: np.ndarray,
    min_coverage: float,
    tsnr: np.ndarray,
    seconds: float,
    notes: tuple[str, ...],
) -> Averages:
    """Averages of the regions that were there, zero for the others."""
    total = shares.sum(axis=1)
    coverage = np.clip(total / volume, 0, 1)  # counting points can find a trace more than there is
    live = (coverage >= min_coverage) & (total > 0)
    if not live.any():
        raise ValueError(
            f"{name}: none of the {len(volume)} regions lies inside the field of view (largest coverage "
            f"{coverage.max():.0%}). Image and atlas do not share a space; check the registration"
        )
    divisor = np.where(total > 0, total, 1)
    return Averages(
        series=np.where(live, sums / divisor, 0.0),
        coverage=coverage,
        voxels=(shares > 0).sum(axis=1),
        tsnr=np.where(total > 0, shares @ tsnr / divisor, np.nan),
        brain_tsnr=float(tsnr[tsnr != 0].mean()),
        repetition_time=seconds,
        notes=notes,
    )


class _Moments:
    """Mean and variance in time of every voxel, about its first value, and what was not a number."""

    def __init__(self, n_voxels: int):
        self.first = np.zeros(n_voxels)
        self.sum, self.square = np.zeros(n_voxels), np.zeros(n_voxels)
        self.missing = np.zeros(n_voxels, int)
        self.lost: list[int] = []  # voxels that are no number, by volume
        self.zero: list[bool] = []  # whether a volume is zero throughout

    def add(self, values: np.ndarray) -> np.ndarray:
        """Take the next volume; return it with zeros where it holds no numbers."""
        finite = np.isfinite(values)
        lost = len(values) - int(np.count_nonzero(finite))
        if lost:
            self.missing += ~finite
            values = np.where(finite, values, 0.0)
        if not self.lost:
            self.first = values.copy()
        self.lost.append(lost)
        self.zero.append(not values.any())
        change = values - self.first
        self.sum += change
        change *= change
        self.square += change
        return values

    @property
    def usable(self) -> np.ndarray:
        """Voxels that are numbers throughout and vary, bool [V]."""
        return (self.missing == 0) & (self.square > 0)

    @property
    def spoiling(self) -> bool:
        """Whether a voxel that is not usable gave anything but zeros."""
        return bool((~self.usable & ((self.first != 0) | (self.square > 0))).any())

    def tsnr(self) -> np.ndarray:
        """Mean over standard deviation, [V]; 0 where not usable."""
        n, usable = len(self.lost), self.usable
        mean = self.first + self.sum / n
        variance = np.maximum(self.square / n - (self.sum / n) ** 2, 0)
        return np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=usable & (variance > 0))

    def refuse_lost_volumes(self, name: str) -> None:
        """Refuse a run with volumes that are no numbers in most of the brain, or zero throughout."""
        never = int((self.missing == len(self.lost)).sum())
        lost = (np.array(self.lost) - never) > (len(self.missing) - never) / 2
        for wrong, what in ((lost, "hold no numbers (NaN or infinity) in most of the brain"), (self.zero, "are zero")):
            if np.any(wrong):
                raise ValueError(
                    f"{name}: {np.sum(wrong)} of {len(self.lost)} volumes {what} (first: volume "
                    f"{int(np.argmax(wrong)) + 1}); preprocess the scan again"
                )

    def notes(self) -> list[str]:
        """Say how many voxels were left out because they are no numbers at times."""
        partly = int(((self.missing > 0) & (self.missing < len(self.lost))).sum())
        return [f"{partly:,} voxels hold NaN or infinity in some volumes and were left out"] if partly else []


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
        own = column[tuple(ball.T)]
        members.append(own[own >= 0])
    counts = [len(own) for own in members]
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
