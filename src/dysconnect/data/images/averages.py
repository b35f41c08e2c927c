"""Averages over regions while a run passes volume by volume, and what each voxel or vertex did meanwhile."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

MIN_COVERAGE = 0.5


@dataclass(frozen=True)
class Averages:
    """Regional series of one run.

    Attributes
    ----------
    series : array, [T, N]
        In the image's units; zero throughout for a region whose coverage is too low.
    coverage : array, [N]
        Share of the region's volume, or of its vertices, (0 to 1) inside the mask and with signal.
    voxels : array of int, [N]
        Voxels or vertices that were averaged.
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


def one_pass(
    volumes: Iterable[np.ndarray],
    n_volumes: int,
    places: np.ndarray | slice,
    scale: tuple[float, float],
    shares: sparse.csr_array,
    watcher: Watcher | None,
) -> tuple[np.ndarray, "Moments"]:
    """Sum over regions while a run passes.

    Parameters
    ----------
    volumes : iterable of array
        As stored.
    n_volumes : int
    places : array of int, [V], or slice
        What of each volume is taken.
    scale : tuple of float
        Slope and intercept of what is stored.
    shares : csr_array, [N, V]
        Share of each voxel in each region.
    watcher : Watcher or None

    Returns
    -------
    sums : array, [T, N]
    moments : Moments
        Of everything that was taken.
    """
    slope, intercept = scale
    sums, moments = np.empty((n_volumes, shares.shape[0])), Moments(shares.shape[1])
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


def without_spoiled(
    name: str,
    sums: np.ndarray,
    moments: "Moments",
    shares: sparse.csr_array,
    again: Callable[[sparse.csr_array], np.ndarray],
) -> tuple[np.ndarray, sparse.csr_array]:
    """Leave out voxels that do not vary or are no numbers at times.

    Parameters
    ----------
    name : str
        Of the run, for messages.
    sums, moments
        From `one_pass`.
    shares : csr_array, [N, V]
    again : callable
        Reads the run once more and returns the sums by the given shares; called only where a voxel that is left out
        had given something but zeros.

    Returns
    -------
    sums : array, [T, N]
    shares : csr_array, [N, V]
        Without those voxels.

    Raises
    ------
    ValueError
        When whole volumes are zero or no numbers.
    """
    moments.refuse_lost_volumes(name)
    shares = shares @ sparse.diags_array(moments.usable.astype(float))
    return (again(shares) if moments.spoiling else sums), shares


def judged(
    name: str,
    sums: np.ndarray,
    shares: sparse.csr_array,
    volume: np.ndarray,
    min_coverage: float,
    tsnr: np.ndarray,
    seconds: float,
    notes: tuple[str, ...],
) -> Averages:
    """Divide sums into averages, of the regions that were there; zero for the others.

    Parameters
    ----------
    name : str
        Of the run, for messages.
    sums : array, [T, N]
    shares : csr_array, [N, V]
    volume : array, [N]
        What the whole region would measure, in the units of `shares`.
    min_coverage : float
    tsnr : array, [V]
    seconds : float
        Repetition time.
    notes : tuple of str

    Raises
    ------
    ValueError
        When no region was there.
    """
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


class Moments:
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
