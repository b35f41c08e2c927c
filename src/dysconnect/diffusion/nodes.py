"""From streamlines to matrices of regions: which two each connects, and what lies between them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial import cKDTree

PER = 1e5  # mm4, of a density: a cm3 of region and a dm of length, which leaves numbers about as large as counts
REACH = 2.0  # mm from an end to the centre of the nearest labelled voxel, at most


@dataclass(frozen=True)
class Regions:
    """Where the regions lie.

    Attributes
    ----------
    points : array, [P, 3]
        Centres of the labelled voxels, mm.
    owner : array of int, [P]
        The region of each, 0 to N - 1.
    volumes : array, [N]
        mm3; zero of a region outside the field of view.
    """

    points: np.ndarray
    owner: np.ndarray
    volumes: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, affine: np.ndarray, codes: np.ndarray) -> "Regions":
        """Regions of a label image.

        Parameters
        ----------
        labels : array of int, [X, Y, Z]
            On any grid in the space of the streamlines.
        affine : array, [4, 4]
            Voxel to mm.
        codes : array of int, [N]
            The label of every region, in the order of the names; labels between them may be skipped.
        """
        codes = np.asarray(codes)
        order = np.argsort(codes)
        place = np.searchsorted(codes[order], labels).clip(max=len(codes) - 1)
        inside = (codes[order][place] == labels) & (labels != 0)
        owner = order[place[inside]]
        volumes = np.bincount(owner, minlength=len(codes)) * abs(np.linalg.det(affine[:3, :3]))
        return cls(apply_affine(affine, np.argwhere(inside)), owner, volumes)

    def at(self, points: np.ndarray, reach: float = REACH) -> np.ndarray:
        """Region of the nearest labelled voxel within `reach` mm of each point [M, 3], or -1: [M] int."""
        if not len(self.points):
            return np.full(len(points), -1)
        distance, nearest = cKDTree(self.points).query(points, distance_upper_bound=reach)
        return np.where(np.isfinite(distance), self.owner[nearest.clip(max=len(self.owner) - 1)], -1)


def connected(
    batches: Iterable[list[np.ndarray]],
    regions: Regions,
    maps: Mapping[str, np.ndarray],
    affine: np.ndarray,
    reach: float = REACH,
    fewest: int = 1,
    watch: Callable[[np.ndarray, list[np.ndarray]], None] | None = None,
) -> dict[str, np.ndarray]:
    """Matrices of regions from streamlines.

    Parameters
    ----------
    batches : iterable of list of array, [P, 3]
        Streamlines, mm.
    regions : Regions
    maps : dict of str to array, [X, Y, Z]
        What is averaged along the streamlines, such as `fa`.
    affine : array, [4, 4]
        Of the maps, voxel to mm.
    reach : float
        mm from an end of a streamline to its region.
    fewest : int
        Streamlines of a pair, with fewer of which nothing is averaged: strays are few, and run through other bundles.
    watch : callable, optional
        Sees the streamlines of every batch that join two regions, before they are forgotten: for each its place in the
        flat matrix, above the diagonal, and its points.

    Returns
    -------
    dict of str to array, [N, N]
        Symmetric. `count` of streamlines; `length`, their mean length in mm; `density`, the count divided by that
        length and by the mean volume of both regions, streamlines a dm and cm3; and of every map the mean along each
        streamline, averaged over those of a pair. Where there is no streamline, and on the diagonal, count and density
        are zero; where there are fewer than `fewest`, all else is missing: NaN.
    """
    n = len(regions.volumes)
    sums = {name: np.zeros(n * n) for name in ("count", "length", *maps)}
    for lines in batches:
        pairs, lines = _pairs(lines, regions, reach)
        if watch is not None:
            watch(pairs, lines)
        for name, values in {"count": np.ones(len(lines)), **_along(lines, maps, affine)}.items():
            sums[name] += np.bincount(pairs, values, minlength=n * n)
    full = {name: total.reshape(n, n) + total.reshape(n, n).T for name, total in sums.items()}
    count = full.pop("count")
    with np.errstate(invalid="ignore"):
        means = {name: total / np.where(count >= max(fewest, 1), count, np.nan) for name, total in full.items()}
    between = (regions.volumes[:, None] + regions.volumes) / 2  # of their mean length, the sum of lengths over count
    density = PER * np.divide(count**2, full["length"] * between, out=np.zeros_like(count), where=count > 0)
    return {"count": count, **means, "density": density}


def _pairs(lines: list[np.ndarray], regions: Regions, reach: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Place in a matrix, above its diagonal, of every streamline between two regions; and these streamlines."""
    ends = np.array([line[[0, -1]] for line in lines]).reshape(-1, 3)
    first, last = regions.at(ends, reach).reshape(-1, 2).T
    between = (first >= 0) & (last >= 0) & (first != last)
    low, high = np.minimum(first, last)[between], np.maximum(first, last)[between]
    return low * len(regions.volumes) + high, [lines[k] for k in np.flatnonzero(between)]


def _along(lines: list[np.ndarray], maps: Mapping[str, np.ndarray], affine: np.ndarray) -> dict[str, np.ndarray]:
    """Length of every streamline (mm) and the mean of each map along it, [S] each."""
    if not lines:
        return {name: np.zeros(0) for name in ("length", *maps)}
    counts = np.array([len(line) for line in lines])
    points = np.concatenate(lines)
    steps = np.linalg.norm(np.diff(points, axis=0, prepend=points[:1]), axis=1)
    starts = np.r_[0, np.cumsum(counts)[:-1]]
    steps[starts] = 0
    at = apply_affine(np.linalg.inv(affine), points).T
    values = {name: ndimage.map_coordinates(image, at, order=1, mode="nearest") for name, image in maps.items()}
    means = {name: np.add.reduceat(along, starts) / counts for name, along in values.items()}
    return {"length": np.add.reduceat(steps, starts), **means}
