"""What this cohort could have found: the effect that an edge, a circuit and a component would have needed.

The t of a group difference of d residual standard deviations has a noncentral t distribution with noncentrality
``d |g|``, where g is the group, residualised for the nuisance: covariates that go with the group cost power. The mean
over the edges of a circuit varies less than one edge, by how much follows from the correlation of the residuals of
this cohort. For procedures without a closed form (components) power is counted over cohorts with planted effects,
whose noise are the residuals of this cohort.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import gammaincinv, ndtr, stdtrit

from dysconnect.localize.statistics import nuisance_basis, orthonormal
from dysconnect.progress import track

POWER = 0.8


def power_at(d: float, size: float, df: int, critical: float) -> float:
    """Probability that a two-sided test calls an effect.

    Parameters
    ----------
    d : float
        Difference in residual standard deviations.
    size : float
        Norm of the group residualised for the nuisance: without nuisance ``sqrt(n1 n0 / (n1 + n0))``.
    df : int
        Residual degrees of freedom.
    critical : float
        Absolute t that is called.
    """
    # noncentral t as a mean over the estimated spread: scipy's own is NaN far out in the tail
    nodes, weights = _quadrature()
    spread = np.sqrt(2 * gammaincinv(df / 2, (nodes + 1) / 2) / df)  # quantiles of chi-squared
    above, below = ndtr(d * size - critical * spread), ndtr(-d * size - critical * spread)
    return float(weights @ (above + below) / 2)


@cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of 200 points between -1 and 1, which every step of a search asks for."""
    return np.polynomial.legendre.leggauss(200)


def detectable(size: float, df: int, critical: float, power: float = POWER) -> float:
    """Smallest effect (d) that is called with this power; parameters as for `power_at`."""
    from scipy.optimize import brentq  # slow to import, and only needed here

    if power_at(0, size, df, critical) >= power:
        return 0.0
    highest = (critical + 10) / size
    while power_at(highest, size, df, critical) < power:
        highest *= 2
    return float(brentq(lambda d: power_at(d, size, df, critical) - power, 0, highest, xtol=1e-6))


def group_size(table: pd.DataFrame, covariates: Sequence[str]) -> tuple[float, int]:
    """Norm of the residualised group, and residual degrees of freedom: what decides on the power of an edge."""
    basis, label = nuisance_basis(table, covariates), table["label"].to_numpy(float)
    return float(np.linalg.norm(label - basis @ (basis.T @ label))), len(table) - basis.shape[1] - 1


def power_table(
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    circuits: Mapping[str, np.ndarray],
    critical_t: float,
    alpha: float = 0.05,
    power: float = POWER,
) -> pd.DataFrame:
    """Effects that an edge and every circuit would have needed.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label` and the covariates.
    covariates : sequence of str
        Nuisance.
    circuits : mapping of str to array of int
        Positions of the edges of every circuit.
    critical_t : float
        Of one edge, family-wise over all edges (`localize.summary`).
    alpha, power : float
        A circuit is tested by the mean of its edges, two-sided, at alpha divided by the number of circuits.

    Returns
    -------
    DataFrame, [1 + circuits rows]
        `what`, `n_edges`, `critical_t`, `spread` (standard deviation over people of the mean of the edges, in those of
        one edge), `detectable_d` (that all of these edges have, in the same direction).
    """
    size, df = group_size(table, covariates)
    one = detectable(size, df, critical_t, power)
    rows = [("edge", 1, critical_t, 1.0, one)]
    critical = float(-stdtrit(df, alpha / 2 / max(len(circuits), 1)))
    needed = detectable(size, df, critical, power)
    for name, members in circuits.items():
        if len(members) == 0:
            raise ValueError(f"circuit {name} has no edges in this atlas. Leave it out.")
        noise = residual_noise(edges[:, members], table, covariates)
        spread = float(np.sqrt((noise.mean(1) ** 2).mean()))
        rows.append((name, len(members), critical, spread, needed * spread))
    return pd.DataFrame(rows, columns=["what", "n_edges", "critical_t", "spread", "detectable_d"])


def residual_noise(edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Residuals of edges for group and nuisance, [n, E], with variance one; zero for edges that do not vary."""
    design = np.column_stack([nuisance_basis(table, covariates), table["label"].to_numpy(float)])
    basis = orthonormal(design)
    rest = edges - basis @ (basis.T @ edges)
    spread = np.sqrt((rest**2).mean(0))
    alive = spread > 1e-6 * np.maximum(np.abs(edges).max(0), 1e-12)
    return np.where(alive, rest / np.where(alive, spread, 1), 0)


def simulated_power(
    call: Callable[[np.ndarray], bool],
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    planted: np.ndarray,
    effects: Sequence[float],
    draws: int,
    seed: int,
) -> pd.DataFrame:
    """Count how often a procedure finds an effect that is planted in noise like this cohort's.

    The residuals of whole people are shuffled inside sites, so that the correlation of edges stays, and the planted
    edges of the patients are moved. All effects are planted in the same noise.

    Parameters
    ----------
    call : callable
        Whether the procedure finds what is planted, from edges [n, E] of the people in `table`.
    edges, table, covariates
        As for `power_table`; `table` with `site`.
    planted : array, [E]
        Direction of the effect on every edge: -1, 0 or 1.
    effects : sequence of float
        d, ascending.
    draws, seed : int
        Simulated cohorts for each effect.

    Returns
    -------
    DataFrame, [effects rows]
        `d`, `power`, `low`, `high` (95 % by Wilson).
    """
    from scipy.stats import binomtest  # half a second that no job need wait for

    rng = np.random.default_rng(seed)
    noise = residual_noise(np.asarray(edges, float), table, covariates)
    sites = table.reset_index(drop=True).groupby("site").indices
    shift = np.outer(table["label"].to_numpy(float), planted)
    hits = np.zeros(len(effects), int)
    for _ in track(range(draws), f"cohorts with {len(effects)} planted effects"):
        rows = np.arange(len(table))
        for members in sites.values():
            rows[members] = rng.permutation(members)
        hits += [bool(call(noise[rows] + d * shift)) for d in effects]
    limits = [binomtest(int(count), draws).proportion_ci(method="wilson") for count in hits]
    low, high = zip(*limits)
    return pd.DataFrame({"d": effects, "power": hits / draws, "low": low, "high": high})


def needed_effect(counted: pd.DataFrame, power: float = POWER) -> float:
    """Effect with this power, interpolated in the table of `simulated_power`; NaN where none of them has it."""
    rising = np.maximum.accumulate(counted["power"].to_numpy(float))
    if rising[-1] < power:
        return float("nan")
    first = int(np.argmax(rising >= power))
    if first == 0:
        return float(counted["d"].iloc[0])
    return float(np.interp(power, rising[first - 1 : first + 1], counted["d"].iloc[first - 1 : first + 1]))
