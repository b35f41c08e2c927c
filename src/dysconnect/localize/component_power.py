"""The effect that a component of connections would have needed: counted, as there is no closed form.

Noise is that of the cohort: residuals z of its edges for nuisance and group, of norm ``sqrt(n)``, and the group
vectors g of permutations. An effect of d on an edge adds ``d |g| g`` to its residuals, so that its correlation
``r = g . z / sqrt(n)`` becomes ``(sqrt(n) r + s) / sqrt(n + 2 s sqrt(n) r + s^2)`` with ``s = d |g|``: planting is a
formula on the same matrix product, and only the planted edges change.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd

from dysconnect.localize.components import PermutedEdges, alpha_shares, maxima, permuted_edges
from dysconnect.localize.power import POWER, group_size, needed_effect, residual_noise
from dysconnect.localize.ranks import attained, exceedance, smallest_p
from dysconnect.localize.statistics import parts, to_t

SIZE = 20  # edges of the component
DRAWS, NULLS = 60, 399  # planted cohorts for each effect; permutations: few, so that the answer is approximate
FRACTIONS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.1)  # of the effect that one edge needs


@dataclass(frozen=True)
class PlantedEdges(PermutedEdges):
    """Noise with an effect planted along every permuted group: `planted` [k] edges are moved by `shift`, ``d |g|``."""

    planted: np.ndarray
    shift: float

    def chunks(self, what: str) -> Iterator[tuple[slice, np.ndarray]]:
        """As of `PermutedEdges`, with the planted effect."""
        for place, r in super().chunks(what):
            plain = np.sqrt(len(self.group)) * r[:, self.planted]
            spread = np.sqrt(len(self.group) + 2 * self.shift * plain + self.shift**2)
            moved = r.copy()
            moved[:, self.planted] = (plain + self.shift) / spread
            yield place, moved


def component_power(
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    nodes: tuple[np.ndarray, np.ndarray, int],
    thresholds: Sequence[float],
    families: Mapping[str, np.ndarray],
    one_edge: float,
    alpha: float,
    seed: int,
) -> tuple[int, float]:
    """Effect that a component of some edges needs to be found by adaptive NBS with power 0.8.

    Parameters
    ----------
    edges, table, covariates, nodes
        As for `permuted_edges`.
    thresholds, families
        As for `adaptive_network_based`. The component is grown inside the families, or anywhere where there are none.
    one_edge : float
        Effect (d) that a single edge needs (`power_table`): up to a little more than it is tried.
    alpha : float
    seed : int

    Returns
    -------
    n_edges : int
        Of the component.
    d : float
        Of all its edges in one direction; NaN where none of the effects tried has this power.
    """
    families = [mask for mask in families.values() if mask.any()]
    masks = np.stack([np.ones(edges.shape[1], bool), *families])
    pool = np.flatnonzero(masks[1:].any(0)) if families else np.arange(edges.shape[1])
    component = grown_component(*nodes[:2], pool, SIZE, np.random.default_rng([seed, 6]))
    noise = _noise(permuted_edges(edges[:, :0], table, covariates, nodes, NULLS, seed), edges, table, covariates)
    shares, null = alpha_shares(len(masks)), _statistics(noise, thresholds, masks)
    smallest, size = smallest_p(null, shares[:, None, None]), group_size(table, covariates)[0]
    power, effects = [], one_edge * np.array(FRACTIONS)
    settings = {field.name: getattr(noise, field.name) for field in fields(noise)}
    settings |= {"n_permutations": DRAWS, "seed": seed + 1}  # other permutations than those of the null
    for d in effects:
        drawn = _statistics(PlantedEdges(**settings, planted=component, shift=float(d * size)), thresholds, masks)
        p = np.stack([exceedance(one, other) for one, other in zip(_columns(drawn), _columns(null))], -1)
        best = (p / np.repeat(shares, null[0, 0].size)).min(-1)
        power.append((attained(best, smallest) <= alpha).mean())
    return len(component), needed_effect(pd.DataFrame({"d": effects, "power": power}), POWER)


def grown_component(
    rows: np.ndarray, cols: np.ndarray, pool: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Edges [<= size] of a pool that hang together: from a random one, always another that touches those before."""
    chosen = [int(rng.choice(pool))]
    reached = {int(rows[chosen[0]]), int(cols[chosen[0]])}
    while len(chosen) < size:
        touching = np.isin(rows[pool], list(reached)) | np.isin(cols[pool], list(reached))
        free = np.setdiff1d(pool[touching], chosen)
        if len(free) == 0:
            break
        edge = int(rng.choice(free))
        chosen.append(edge)
        reached |= {int(rows[edge]), int(cols[edge])}
    return np.array(chosen)


def _noise(empty: PermutedEdges, edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str]) -> PermutedEdges:
    units = np.empty(edges.shape, np.float32)
    for part in parts(edges.shape[1], len(edges)):
        units[:, part] = residual_noise(edges[:, part].astype(float), table, covariates) / np.sqrt(len(edges))
    return replace(empty, units=units)


def _statistics(permuted: PermutedEdges, thresholds: Sequence[float], masks: np.ndarray) -> np.ndarray:
    """Largest intensities and t of the permutations, [B, families, 2, thresholds + 1]."""
    _, masses, peaks = maxima(permuted, thresholds, masks)
    return np.concatenate([masses, to_t(peaks, permuted.df)[..., None]], -1)[1:]


def _columns(statistics: np.ndarray) -> np.ndarray:
    return statistics.reshape(len(statistics), -1).T
