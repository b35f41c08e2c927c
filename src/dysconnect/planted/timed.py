"""Truths in time to find again: regions that lead others more, and connections that switch more."""

import numpy as np

from dysconnect.data.series import has_signal
from dysconnect.planted.plant import resting_band

BLOCK = (40.0, 80.0)  # s that a connection stays as it is before it switches


def lead(
    series: np.ndarray, sources: np.ndarray, targets: np.ndarray, repetition_time: float, strength: float
) -> np.ndarray:
    """Let regions lead others more strongly, without another correlation within a volume.

    A target gains the course of its source one volume earlier and loses that one volume later: what it shares with the
    source at the same time stays the same, but for the scale that keeps its variance.

    Parameters
    ----------
    series : array, [T, N]
        Regional BOLD of one person.
    sources, targets : array of int, [P]
        Positions of the regions that lead and that follow; a target follows all its sources, each as it was before.
    repetition_time : float
        Seconds.
    strength : float
        Standard deviation of what a target gains, relative to its own in the resting band.

    Returns
    -------
    array, [T, N]
        Same means and standard deviations.
    """
    band = resting_band(series, repetition_time)
    gained = np.zeros(series.shape)
    for source, target in zip(sources, targets):
        slope = np.roll(band[:, source], 1) - np.roll(band[:, source], -1)  # the band is periodic
        if slope.std() > 0:
            gained[:, target] += strength * band[:, target].std() / slope.std() * slope
    return _as_spread(series, gained)


def switch(
    series: np.ndarray, regions: np.ndarray, repetition_time: float, strength: float, rng: np.random.Generator
) -> np.ndarray:
    """Let the connections between some regions switch between stronger and weaker, about the same mean.

    One slow course is added to all the regions, with signs that are drawn anew for each of them after 40 to 80 s: while
    two have the same sign they are more correlated, and less while not. Another course that all share with one sign
    makes up for the correlation that this dilutes.

    Parameters
    ----------
    series : array, [T, N]
        Regional BOLD of one person.
    regions : array of int, [P]
        Positions of the regions, two or more.
    repetition_time : float
        Seconds.
    strength : float
        Standard deviation of what a region gains, relative to its own in the resting band.
    rng : Generator

    Returns
    -------
    array, [T, N]
        Same means and standard deviations.
    """
    regions = regions[has_signal(series[:, regions])]
    if len(regions) < 2:
        return series.astype(float)
    band, n_volumes = resting_band(series, repetition_time), len(series)
    courses = resting_band(rng.standard_normal((n_volumes, 2)), repetition_time)
    courses /= courses.std(0)
    signs = np.empty((n_volumes, len(regions)))
    start = 0
    while start < n_volumes:
        end = start + max(1, round(rng.uniform(*BLOCK) / repetition_time))
        signs[start:end] = rng.choice([-1.0, 1.0], len(regions))
        start = end
    gained = np.zeros(series.shape)
    steady = np.clip(np.corrcoef(band[:, regions].T)[np.triu_indices(len(regions), 1)].mean(), 0, 1)
    added = np.sqrt(1 - steady) * signs * courses[:, :1] + np.sqrt(steady) * courses[:, 1:]
    gained[:, regions] = strength * band[:, regions].std(0) * added
    return _as_spread(series, gained)


def _as_spread(series: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """Series [T, N] with what they gain, at the mean and standard deviation that they had; others as they are."""
    changed = has_signal(series) & gained.any(0)
    new = series.astype(float)
    mean, spread = new[:, changed].mean(0), new[:, changed].std(0)
    moved = new[:, changed] - mean + gained[:, changed]
    moved -= moved.mean(0)
    new[:, changed] = moved / moved.std(0) * spread + mean
    return new
