"""QC-FC: how far every edge follows motion over people, and whether that depends on the distance of its regions.

Without influence of motion the correlations follow the t distribution of a partial correlation. Edges depend on each
other, so that the *share* of edges beyond a threshold scatters much more widely than its 5 %: motion permuted inside
sites tells how widely.

References
----------
Power et al. (2012), doi:10.1016/j.neuroimage.2011.10.018; Ciric et al. (2017), doi:10.1016/j.neuroimage.2017.03.020;
Parkes et al. (2018), doi:10.1016/j.neuroimage.2017.12.073.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.localize.statistics import (
    estimable,
    exceedance_p,
    false_discovery,
    orthonormal,
    permuted_groups,
    residual_unit,
    to_t,
)
from dysconnect.models.floor import CovariateEncoder
from dysconnect.models.threads import blas_threads
from dysconnect.progress import track

THRESHOLD = 0.05  # of the p of a single edge: convention of the QC-FC literature
CELLS = 50  # of the histogram of r, from -1 to 1


class UntestableError(ValueError):
    """There is nothing to test; the message says why, and stands in the report."""


@dataclass(frozen=True)
class EdgeMotion:
    """QC-FC of the tested edges, and what permuting them takes.

    Attributes
    ----------
    r, p, p_fdr : array, [E]
        Partial correlation with motion; two-sided p of its t; Benjamini-Hochberg. NaN for edges that are not tested.
    df : int
        Degrees of freedom of the t where nothing is missing.
    units : array of float32, [n, tested]
        Residual edges of unit norm.
    motion : array, [n]
        Residual motion.
    basis : array, [n, K]
        Orthonormal nuisance.
    kept : array of bool, [people]
        Whose motion is known.
    """

    r: np.ndarray
    p: np.ndarray
    p_fdr: np.ndarray
    df: int
    units: np.ndarray
    motion: np.ndarray
    basis: np.ndarray
    kept: np.ndarray


def known_edges(cohort: Cohort) -> np.ndarray:
    """Edges with NaN where one of the regions has no signal, or where nobody was measured, [n, E] float32."""
    unknown = cohort.lacking(np.s_[:]) | ~cohort.measured
    return np.where(unknown, np.float32(np.nan), cohort.values.astype(np.float32, copy=False))


def edge_distances(centres: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Euclidean distance of the two regions of every edge, [N, 3] mm -> [E] mm."""
    first, second = pairs.ends
    return np.linalg.norm(centres[first] - centres[second], axis=1)


def edge_motion(edges: np.ndarray, people: pd.DataFrame, nuisance: Sequence[str], max_missing: float) -> EdgeMotion:
    """Correlate every edge with motion over people, the nuisance projected out of both.

    An unknown edge takes the mean of those who have it, which weakens r a little; the degrees of freedom count
    whom it is known of.

    Parameters
    ----------
    edges : array, [n, E]
        NaN where unknown.
    people : DataFrame, [n rows]
        `mean_fd` (mm; NaN where it was not measured) and the nuisance.
    nuisance : sequence of str
    max_missing : float
        Edges that are unknown of a larger share of the people are not tested.

    Raises
    ------
    UntestableError
        When motion was not measured, does not vary beyond the nuisance, or too few people are left.
    """
    motion = people["mean_fd"].to_numpy(float)
    kept = np.isfinite(motion)
    if not kept.any():
        raise UntestableError("head motion was not measured")
    measured, edges, motion = people[kept], edges[kept], motion[kept]
    columns = CovariateEncoder(nuisance).fit(measured).transform(measured) if len(measured) > 1 else np.zeros((1, 0))
    basis = orthonormal(np.column_stack([np.ones(len(measured)), columns]))
    df = len(measured) - basis.shape[1] - 1
    if df < 2:
        raise UntestableError(
            f"{len(measured)} people with known motion are too few beside {basis.shape[1]} covariates"
        )
    if not estimable(motion, basis):
        raise UntestableError("motion does not vary beyond the covariates")
    known = np.isfinite(edges)
    tested = 1 - known.mean(0) <= max_missing
    if not tested.any():
        raise UntestableError("every connection is missing in too many people")
    units = residual_unit(_filled(edges[:, tested], known[:, tested]), basis.astype(np.float32))
    residual = motion - basis @ (basis.T @ motion)
    r = (residual / np.linalg.norm(residual)) @ units
    edge_df = np.maximum(df - (~known[:, tested]).sum(0), 1)
    p = 2 * stdtr(edge_df, -np.abs(to_t(r, edge_df)))
    spread = [_among(tested, numbers) for numbers in (r, p, false_discovery(p))]
    return EdgeMotion(*spread, df, units, residual, basis, kept)


def _filled(edges: np.ndarray, known: np.ndarray) -> np.ndarray:
    mean = np.where(known, edges, 0).sum(0, dtype=float) / np.maximum(known.sum(0), 1)
    return np.where(known, edges, 0) - np.where(known, mean, 0).astype(np.float32)  # centred: unknown is zero


def _among(tested: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    everywhere = np.full(len(tested), np.nan)
    everywhere[tested] = numbers
    return everywhere


def motion_null(link: EdgeMotion, distance: np.ndarray, sites: np.ndarray, spec: Mapping) -> dict:
    """Set QC-FC of a group of people against permutations of motion inside sites.

    Parameters
    ----------
    link : EdgeMotion
    distance : array, [E]
        Of the regions of every edge, mm.
    sites : array, [n]
        Of those whose motion is known.
    spec : mapping
        `permutations`, `distance_bins`, `level`, `seed`.

    Returns
    -------
    dict
        `n`, `df`, `share_fdr`; `median_r` (of the absolute values), `share` (of edges with p < 0.05) and `rho`
        (Spearman, with distance), each as ``{value, low, high, p}`` with the interval of the null; `histogram` (of
        r) and `bins` (mean r by distance, quartiles), each with the interval of its null.
    """
    tested = np.isfinite(link.r)
    critical = -stdtrit(link.df, THRESHOLD / 2)
    critical = critical / np.sqrt(link.df + critical**2)  # of r
    shape = _Shape(distance[tested], spec["distance_bins"], critical)
    observed = {name: numbers[0] for name, numbers in shape.of(link.r[tested][None]).items()}
    null = _permuted(link, sites, shape, spec)
    limits = {name: np.quantile(values, _tails(spec["level"]), axis=0) for name, values in null.items()}
    result = {
        name: {
            "value": float(observed[name]),
            "low": float(limits[name][0]),
            "high": float(limits[name][1]),
            "p": float(exceedance_p(np.abs(observed[name]), np.abs(null[name]))),
        }
        for name in ("median_r", "share", "rho")
        if np.isfinite(observed[name])
    }
    histogram = {"edges": np.linspace(-1, 1, CELLS + 1).round(6).tolist(), **_lists("histogram", observed, limits)}
    bins = {"distance": shape.centres.tolist(), **_lists("bins", observed, limits), **shape.middle(link.r[tested])}
    counts = {"n": int(link.kept.sum()), "df": link.df, "share_fdr": float((link.p_fdr[tested] <= THRESHOLD).mean())}
    return {**counts, **result, "histogram": histogram, "bins": bins}


def _tails(level: float) -> list[float]:
    return [(1 - level) / 2, (1 + level) / 2]


def _lists(name: str, observed: Mapping, limits: Mapping) -> dict[str, list[float]]:
    return {
        key: np.round(numbers, 6).tolist()
        for key, numbers in (("value", observed[name]), ("low", limits[name][0]), ("high", limits[name][1]))
    }


def _permuted(link: EdgeMotion, sites: np.ndarray, shape: "_Shape", spec: Mapping) -> dict[str, np.ndarray]:
    """Measure permutations of motion as the observed one is measured, in chunks: one matrix product each."""
    motions = permuted_groups(link.motion, link.basis, sites, spec["permutations"], spec["seed"]).astype(np.float32)
    size = max(1, int(5e7 / (4 * link.units.shape[1])))
    starts = range(0, len(motions), size)
    what = f"motion permuted {len(motions)} times over {link.units.shape[1]} edges"
    chunks = [shape.of(motions[start : start + size] @ link.units) for start in track(starts, what)]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _cells(r: np.ndarray) -> np.ndarray:
    return np.bincount(np.clip((r + 1) * (CELLS / 2), 0, CELLS - 1).astype(np.int32), minlength=CELLS)


def _orders(r: np.ndarray) -> np.ndarray:
    """What sorts every row, [B, E] -> [B, E], on every thread: sorting releases the lock."""
    order = np.empty(r.shape, np.intp)

    def fill(row: int) -> None:
        order[row] = np.argsort(r[row])

    with ThreadPoolExecutor(blas_threads()) as pool:
        list(pool.map(fill, range(len(r))))
    return order


class _Shape:
    """What is measured of the r of all edges: how large they are, how spread, how they depend on distance."""

    def __init__(self, distance: np.ndarray, bins: int, critical: float):
        from scipy.stats import rankdata  # half a second that no page of a person need wait for

        self.critical = critical
        ranks = rankdata(distance)
        ranks -= ranks.mean()
        # Spearman's rho is the mean of these over the ranks of r; NaN where all regions are equally far
        scale = np.linalg.norm(ranks) * np.sqrt(len(ranks) * (len(ranks) ** 2 - 1) / 12)
        self.ranks = (ranks / scale if scale > 0 else ranks * np.nan).astype(np.float32)
        self.places = np.arange(len(ranks), dtype=np.float32) - (len(ranks) - 1) / 2
        limits = np.unique(np.quantile(distance, np.linspace(0, 1, bins + 1)))
        self.bin = np.clip(np.searchsorted(limits, distance, side="right") - 1, 0, max(len(limits) - 2, 0))
        counts = np.bincount(self.bin)
        self.members = np.flatnonzero(counts)
        self.centres = np.bincount(self.bin, distance)[self.members] / counts[self.members]
        self.averaging = (self.bin[:, None] == self.members).astype(np.float32) / counts[self.members]

    def of(self, r: np.ndarray) -> dict[str, np.ndarray]:
        """Measure rows of r, [B, E]: `median_r`, `share`, `rho` [B], `histogram` [B, H] (shares), `bins` [B, D]."""
        size = np.abs(r)
        return {
            "median_r": np.median(size, axis=1),
            "share": (size >= self.critical).mean(1),
            "rho": self.ranks[_orders(r)] @ self.places,
            "histogram": np.stack([_cells(row) for row in r]) / r.shape[1],
            "bins": r @ self.averaging,
        }

    def middle(self, r: np.ndarray) -> dict[str, list[float]]:
        """Quartiles of the observed r in every bin."""
        quartiles = [np.quantile(r[self.bin == member], [0.25, 0.75]).round(6) for member in self.members]
        return {"first": [float(low) for low, _ in quartiles], "third": [float(high) for _, high in quartiles]}
