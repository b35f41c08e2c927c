"""Truths in time to find again: regions that lead others more, and connections that switch more."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dysconnect.data.atlas import circuit_edges
from dysconnect.data.edges import Pairs
from dysconnect.data.series import has_signal
from dysconnect.planted.plant import choose_carriers, choose_edges, resting_band, truth_table

# one of so many connections of the circuits is planted: many would be delays of regions, not connections
SHARE = 18
SWITCHING = 4  # regions among which connections switch
LED, SWITCHED = 0.35, 1.5  # what a region gains where the effect is one, relative to its spread in the resting band
BLOCK = (40.0, 80.0)  # s that a connection stays as it is before it switches


def plant_in_time(
    series: Sequence[np.ndarray],
    nodes: pd.DataFrame,
    repetition_times: Sequence[float],
    spec: dict,
    patients: np.ndarray,
    measure: str,
) -> tuple[list[np.ndarray], pd.DataFrame, np.ndarray]:
    """Plant a truth in time in the carriers among the patients, always stronger: parameters as of `plant_cohort`.

    Parameters
    ----------
    measure : {"lagged", "variability"}
        Regions that lead others along the circuits, or connections that switch among a few regions of the circuits.
        `effect` is about Cohen's d among carriers for cohorts like the simulated one, not exactly.

    Returns
    -------
    series, truth, carriers
        As of `plant_cohort`; of lagged coupling the truth goes from `region_a` to `region_b`.
    """
    rng = np.random.default_rng([spec["seed"], 7])
    directed = measure == "lagged"
    edges = _led(nodes, spec, rng) if directed else _switching(nodes, spec["circuits"], rng)
    carriers = choose_carriers(patients, spec["carriers"], rng) if spec["effect"] else np.array([], int)
    planted, ends = list(series), (edges["i"].to_numpy(), edges["j"].to_numpy())
    for subject in carriers:
        x, seconds = series[subject], repetition_times[subject]
        if not np.isfinite(x).all():
            continue
        if directed:
            planted[subject] = lead(x, *ends, seconds, LED * spec["effect"])
        else:
            own = np.random.default_rng([spec["seed"], 8, subject])
            planted[subject] = switch(x, np.unique(ends), seconds, SWITCHED * spec["effect"], own)
    truth = _both_ways(edges) if directed else edges
    return planted, truth_table(nodes, truth, spec["effect"], spec["carriers"]), carriers


def _led(nodes: pd.DataFrame, spec: dict, rng: np.random.Generator) -> pd.DataFrame:
    """Connections along the circuits, as of `choose_edges`."""
    pool = circuit_edges(nodes, directed=True)
    pool = pool[pool["circuit"].isin(spec["circuits"])].drop_duplicates("edge")
    return choose_edges(nodes, spec["circuits"], min(spec["edges"], len(pool) // SHARE), "up", rng, directed=True)


def _both_ways(edges: pd.DataFrame) -> pd.DataFrame:
    """What leads more is followed less: the same connections, and their reverse with the other sign."""
    back = edges.rename(columns={"i": "j", "j": "i"}).assign(direction=-edges["direction"])
    return pd.concat([edges, back], ignore_index=True)


def _switching(nodes: pd.DataFrame, circuits: Sequence[str], rng: np.random.Generator) -> pd.DataFrame:
    """All connections among a few regions of the circuits, as of `choose_edges`."""
    pool = circuit_edges(nodes)
    pool = pool[pool["circuit"].isin(circuits)]
    regions = np.sort(rng.choice(np.unique(pool[["i", "j"]]), SWITCHING, replace=False))
    pairs, edge = Pairs(len(nodes)), Pairs(len(nodes)).among(regions)
    table = {"circuit": "switching", "edge": edge, "i": pairs.rows[edge], "j": pairs.cols[edge], "direction": 1}
    return pd.DataFrame(table)


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
    makes up for the correlation that this dilutes. The resting band keeps its share of the variance: regions that
    switch are no less noisy.

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
    before = band[:, regions]
    spread = before.std(0)
    slow = before + strength * spread * added
    gained[:, regions] = slow / slow.std(0) * spread - before
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
