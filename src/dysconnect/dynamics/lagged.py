"""Lagged coupling: what the regions of one circuit say about each other one volume later."""

from dataclasses import dataclass

import numpy as np

from dysconnect.dynamics.scans import check_scan, on_time

PENALTY = 0.2  # of the variance of a region; near the best of fixed ones in benchmarks/direction.py
PAIRS_A_REGION = 20  # pairs of volumes; with fewer the direction of a connection is hardly more than a guess
LONGEST_LAG = 6.0  # s, at which a region is still looked for before or after the others


@dataclass(frozen=True)
class Lagged:
    """Coupling of N regions from one volume to the next.

    Attributes
    ----------
    present, following : array, [N, N]
        Covariance within a volume, Q0, and of the following volume (rows) with this one (columns), Q1.
    penalty : float
        Of the ridge, in units of a region's variance.
    pairs : int
        Pairs of volumes that were used.
    """

    present: np.ndarray
    following: np.ndarray
    penalty: float
    pairs: int

    @property
    def coupling(self) -> np.ndarray:
        """Ridge estimate ``B = Q1 (Q0 + penalty)^-1``, [N, N]: from the region of the column to that of the row."""
        return np.linalg.solve(self._ridge, self.following.T).T

    @property
    def reversed(self) -> np.ndarray:
        """Coupling of the same scan run backwards, [N, N]: ``Q1' (Q0 + penalty)^-1``."""
        return np.linalg.solve(self._ridge, self.following).T

    @property
    def edges(self) -> np.ndarray:
        """Coupling from region a to region b, [N (N - 1)]: off the diagonal, row by row, a being the row."""
        return self.coupling.T[~np.eye(len(self.present), dtype=bool)]

    @property
    def _ridge(self) -> np.ndarray:
        return self.present + self.penalty * np.eye(len(self.present))


def lagged(series: np.ndarray, kept: np.ndarray, penalty: float = PENALTY) -> Lagged:
    """Coupling of the regions of one circuit from one volume to the next, refused where there are too many regions.

    Only pairs of volumes are used of which both are kept and one follows the other. The series must not have been
    low-passed: what is left between the volumes is then the filter's.

    Parameters
    ----------
    series : array, [K, N]
        Denoised, of the kept volumes; every region is scaled to variance one.
    kept : bool array, [T]
    penalty : float
        One for everybody, not chosen for each scan by cross-validation: that takes too little of series as smooth as
        BOLD (neighbouring volumes are no independent test), and shrinks noisy people more, which looks like a group.

    Raises
    ------
    ValueError
        When the series are unusable (`check_scan`), or the regions more than one for 20 pairs of volumes.
    """
    allowed, regions = most_regions(kept), np.shape(series)[-1]
    if regions > allowed:
        raise ValueError(
            f"lagged coupling of {regions} regions from {following_pairs(kept).sum()} pairs of volumes that follow "
            f"each other: at most {allowed}, or direction is a guess. "
            + ("Take a smaller circuit" if allowed > 1 else "The scan is too short or too much of it is censored")
        )
    return estimate(series, kept, penalty)


def most_regions(kept: np.ndarray) -> int:
    """Number of regions whose lagged coupling a scan with these kept volumes [T] allows: one for 20 pairs."""
    return int(following_pairs(kept).sum()) // PAIRS_A_REGION


def following_pairs(kept: np.ndarray) -> np.ndarray:
    """Volumes that are kept as is the next one, bool [T - 1]."""
    return kept[:-1] & kept[1:]


def estimate(series: np.ndarray, kept: np.ndarray, penalty: float = PENALTY) -> Lagged:
    """Coupling of any number of regions: parameters as of `lagged`, which refuses what cannot be told.

    Q0 is of both volumes of every pair, so that a scan run backwards has the same, and
    ``B(reversed) = (Q0 + penalty) B' (Q0 + penalty)^-1`` is exact.
    """
    whole, both = on_time(check_scan(series, kept), kept), following_pairs(kept)
    before, after = whole[:-1][both], whole[1:][both]
    count = len(before)
    if count == 0:
        raise ValueError(f"none of {int(kept.sum())} kept volumes follows another: lagged coupling needs pairs of them")
    present = (before.T @ before + after.T @ after) / (2 * count)
    return Lagged(present, after.T @ before / count, penalty, count)


def rates(coupling: np.ndarray, repetition_time: float) -> np.ndarray | None:
    """Rates of a process in continuous time, ``J = log(B) / TR`` in 1/s, [N, N]; None where there are none.

    A matrix has one real principal logarithm unless an eigenvalue is zero or negative. An estimate with one says that
    the regions change faster than a volume takes: no continuous process with this coupling is the one that was seen.
    Then, and since people of one group must not be measured by two scales, connections are tested as `coupling`.
    """
    from scipy.linalg import logm

    values = np.linalg.eigvals(coupling)
    if np.any((values.real <= 0) & (np.abs(values.imag) <= 1e-12 * np.abs(values).max(initial=1e-300))):
        return None
    return np.real(logm(coupling)) / repetition_time


def reversal(fit: Lagged) -> float:
    """Agreement of the direction of a scan with that of the same scan run backwards, -1 to 1.

    The direction is ``B - B'``. What truly leads follows when time runs backwards: -1. Unequal noise, or one source
    seen in several regions, leads nowhere but also makes B asymmetric, and does so in both ways: 1. That is the cosine
    of the two directions, which is their correlation over all ordered pairs.

    References
    ----------
    Winkler et al. (2016), Validity of time reversal for testing Granger causality, arXiv:1509.07636.
    """
    forwards, backwards = (matrix - matrix.T for matrix in (fit.coupling, fit.reversed))
    size = np.linalg.norm(forwards) * np.linalg.norm(backwards)
    return float(np.vdot(forwards, backwards) / size) if size > 0 else 0.0


def delay_and_noise(series: np.ndarray, kept: np.ndarray, repetition_time: float) -> tuple[np.ndarray, np.ndarray]:
    """Delay and noise of every region: what makes lagged coupling differ where no coupling does.

    A test between groups takes delays and noise of *all* N regions as 2 N covariates of every edge. Those of the two
    ends are not enough, since an estimate that conditions on all regions changes with the delay of any.

    Parameters
    ----------
    series : array, [K, N]
        Of two regions or more.
    kept : bool array, [T]
    repetition_time : float
        Seconds.

    Returns
    -------
    delay : array, [N]
        Seconds by which a region follows the others, each weighted by its correlation with the region: the peak of the
        cross-correlation, up to 6 s, by a parabola between volumes.
    noise : array, [N]
        Share of the variance that is gone one volume later: ``1 - (4 c1 - c2) / 3`` of the autocorrelations c1 and c2,
        the parabola through both at lag zero. About zero for a smooth region, one for white noise.
    """
    scaled = check_scan(series, kept)
    if scaled.shape[1] < 2:
        raise ValueError("the delay of a region is that to others, and there is one region; take two or more")
    whole, mask = on_time(scaled, kept), kept.astype(float)
    others = whole @ (scaled.T @ scaled / len(scaled) - np.eye(scaled.shape[1]))
    longest = max(2, round(LONGEST_LAG / repetition_time))
    courses = np.array([_at_lag(whole, others, mask, lag) for lag in range(-longest, longest + 1)])
    near, far = (_at_lag(whole, whole, mask, lag) for lag in (1, 2))
    return _peaks(courses) * repetition_time, 1 - (4 * near - far) / 3


def _at_lag(first: np.ndarray, second: np.ndarray, mask: np.ndarray, lag: int) -> np.ndarray:
    """Mean product of `first` with `second` `lag` volumes earlier over the kept ones, [N]; both zero elsewhere."""
    size = len(mask) - abs(lag)
    late, early = slice(max(lag, 0), max(lag, 0) + size), slice(max(-lag, 0), max(-lag, 0) + size)
    count = max(float(mask[late] @ mask[early]), 1.0)
    return np.einsum("tn,tn->n", first[late], second[early]) / count


def _peaks(courses: np.ndarray) -> np.ndarray:
    """Lag of the largest value of courses [2 L + 1, N] around lag zero, in volumes, by a parabola, [N]."""
    middle, column = len(courses) // 2, np.arange(courses.shape[1])
    place = np.clip(courses.argmax(0), 1, len(courses) - 2)
    left, top, right = (courses[place + step, column] for step in (-1, 0, 1))
    bend = left - 2 * top + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1), 0)
    return place - middle + np.clip(shift, -1, 1)
