"""Connected components of disrupted edges, with a family-wise error rate.

Every method here reads the same product: correlations r of the residualised edges with the group (row 0) and with
its permutations, a chunk at a time, so that memory does not grow with their number. Thresholds of t are turned to r.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd

from dysconnect.localize.ranks import attained, exceedance, smallest_p
from dysconnect.localize.statistics import nuisance_basis, parts, permuted_groups, residual_unit, to_t
from dysconnect.progress import track

DRAWN = 256  # permutations drawn together: part of the seed, so that results do not depend on the machine
CHUNK = 1e8  # bytes of a product
TAILS = ("patients higher", "patients lower")


@dataclass(frozen=True)
class PermutedEdges:
    """Edges ready for permutation, and the graph they make.

    Attributes
    ----------
    units : array of float32, [n, E]
        Residualised edges of unit norm.
    group : array, [n]
        Residualised group of unit norm.
    basis, blocks : array
        Orthonormal nuisance, [n, K]; exchangeability blocks, [n].
    rows, cols : array of int32, [E]
        Nodes of every edge.
    n_nodes, df, n_permutations, seed : int
    """

    units: np.ndarray
    group: np.ndarray
    basis: np.ndarray
    blocks: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    n_nodes: int
    df: int
    n_permutations: int
    seed: int

    def chunks(self, what: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Correlations of all edges with the group, then with its permutations: rows of 1 + B, float32 [c, E].

        Where all of them together are no more than a chunk may be, they are multiplied once and kept.
        """
        full, rest = divmod(self.n_permutations, DRAWN)
        count = 1 + full * -(-DRAWN // self._step) + -(-rest // self._step)
        done, small = 0, 1 + self.n_permutations <= self._step
        for r in track(self._kept if small else self._products(), what, total=count):
            yield slice(done, done + len(r)), r
            done += len(r)

    @cached_property
    def _kept(self) -> list[np.ndarray]:
        return list(self._products())

    def _products(self) -> Iterator[np.ndarray]:
        for groups in self._groups():
            for start in range(0, len(groups), self._step):
                yield groups[start : start + self._step].astype(np.float32) @ self.units

    @property
    def _step(self) -> int:
        """Rows of a chunk."""
        return max(1, int(CHUNK / (4 * max(1, self.units.shape[1]))))

    def _groups(self) -> Iterator[np.ndarray]:
        yield self.group[None]
        for draw, start in enumerate(range(0, self.n_permutations, DRAWN)):
            count = min(DRAWN, self.n_permutations - start)
            yield permuted_groups(self.group, self.basis, self.blocks, DRAWN, [self.seed, draw])[:count]

    def observed(self) -> np.ndarray:
        """Statistic t of every edge, [E]; positive: stronger in patients."""
        return to_t((self.group.astype(np.float32) @ self.units).astype(float), self.df)


def permuted_edges(
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    nodes: tuple[np.ndarray, np.ndarray, int],
    n_permutations: int,
    seed: int,
) -> PermutedEdges:
    """Residualise edges and group for the nuisance.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label`, `site` (exchangeability blocks) and the covariates.
    covariates : sequence of str
    nodes : tuple of array [E], array [E], int
        The two nodes of every edge, and how many nodes there are.
    n_permutations, seed : int

    Raises
    ------
    ValueError
        When the covariates determine the group, or leave no degrees of freedom.
    """
    basis = nuisance_basis(table, covariates)
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    units = np.empty(edges.shape, np.float32)
    for part in parts(edges.shape[1], len(edges)):
        units[:, part] = residual_unit(edges[:, part].astype(float), basis)
    rows, cols, n_nodes = nodes
    ends = (np.asarray(rows, np.int32), np.asarray(cols, np.int32), int(n_nodes))
    blocks, df = table["site"].to_numpy(), len(table) - basis.shape[1] - 1
    return PermutedEdges(units, group / np.linalg.norm(group), basis, blocks, *ends, df, n_permutations, seed)


@dataclass(frozen=True)
class Components:
    """Components of the group's own graph; none where no edge is beyond the threshold.

    Attributes
    ----------
    table : DataFrame
        `id` (from 1, most significant first), `family`, `tail`, `threshold` (t), `n_edges`, `n_nodes`,
        `intensity` (sum of ``|t| - threshold``), `p_fwer` (of both tails, all thresholds and families together),
        `nodes` (tuple of int); of `network_based` also `p_tail`, `p_fwer_size`, `p_tail_size`.
    edges : list of array of int
        Positions of the edges of each row of the table.
    member : array of int, [E]
        The most significant component of every edge (the smallest of those that are equal); 0: none.
    p_edge : array, [E]
        Smallest p of the components of an edge, and of its own t where that was tested; 1: none.
    smallest, largest : array or None, [1 + B]
        Of `adaptive_network_based`: smallest p over all that it looks at, and largest absolute r of any edge, of the
        group and of every permutation.
    """

    table: pd.DataFrame
    edges: list[np.ndarray]
    member: np.ndarray
    p_edge: np.ndarray
    smallest: np.ndarray | None = None
    largest: np.ndarray | None = None


def network_based(permuted: PermutedEdges, threshold: float = 3.0) -> Components:
    """Network-based statistic: components beyond one threshold, tails apart, by size and by intensity.

    Parameters
    ----------
    permuted : PermutedEdges
    threshold : float
        Of absolute t.

    Returns
    -------
    Components
        `p_fwer` and `p_tail` by intensity, `p_fwer_size` and `p_tail_size` by the number of edges; the latter of
        each pair are corrected over the components of their own tail only.

    References
    ----------
    Zalesky, Fornito and Bullmore (2010), doi:10.1016/j.neuroimage.2010.06.041.
    """
    sizes, masses, _ = maxima(permuted, [threshold], np.ones((1, len(permuted.rows)), bool))
    table, edges = found_components(permuted.observed(), permuted, [threshold], {"whole brain": None})
    tail = (table["tail"] == TAILS[1]).to_numpy(int)
    for name, null, observed in (("", masses, table["intensity"]), ("_size", sizes, table["n_edges"])):
        null, observed = null[1:, 0, :, 0], observed.to_numpy(float)
        apart = np.stack([exceedance(observed, null[:, k]) for k in (0, 1)], 1)
        table[f"p_tail{name}"] = apart[np.arange(len(observed)), tail]
        table[f"p_fwer{name}"] = exceedance(observed, null.max(1))
    return _sorted(table, edges, np.ones(len(permuted.rows)))


def adaptive_network_based(
    permuted: PermutedEdges,
    thresholds: Sequence[float] = (2.5, 3.0, 3.5, 4.0),
    families: dict[str, np.ndarray] | None = None,
) -> Components:
    """Adaptive network-based statistic: intensity at several thresholds and the largest t, by their smallest p.

    Every statistic (tail x threshold, and the largest t, in every family) is ranked over the group and all
    permutations; the smallest of these p is compared with that of every permutation. So the correction is for
    all of them at once.

    Parameters
    ----------
    permuted : PermutedEdges
    thresholds : sequence of float
        Of absolute t, rising.
    families : dict of name to mask [E], optional
        Circuits that are searched beside the whole brain. They share half of alpha, in equal parts.

    Returns
    -------
    Components
        The error rate is that of claims about components: that one is no accident does not make every edge of it
        real, least of all at the lowest thresholds, where in large atlases a few strong edges make a component of
        hundreds significant.

    References
    ----------
    Westfall and Young (1993), Resampling-based multiple testing (smallest p); Zalesky et al. (2010).
    """
    families = {"whole brain": None} | {name: mask for name, mask in (families or {}).items() if mask.any()}
    n_edges = len(permuted.rows)
    masks = np.stack([np.ones(n_edges, bool) if mask is None else mask for mask in families.values()])
    _, masses, peaks = maxima(permuted, thresholds, masks)
    shares = alpha_shares(len(masks))
    statistics = np.concatenate([masses, to_t(peaks, permuted.df)[..., None]], -1)  # [1 + B, F, 2, K + 1]
    smallest = smallest_p(statistics, shares[:, None, None])
    t = permuted.observed()
    table, edges = found_components(t, permuted, thresholds, families)
    p, names, limits = np.ones(len(table)), list(families), list(map(float, thresholds))
    for (family, tail, limit), rows in table.groupby(["family", "tail", "threshold"]).indices.items():
        f, null = names.index(family), statistics[1:, :, TAILS.index(tail), limits.index(limit)]
        p[rows] = exceedance(table["intensity"].to_numpy()[rows], null[:, f]) / shares[f]
    table["p_fwer"] = attained(p, smallest[1:])
    sorted_ = _sorted(table, edges, _peak_p(t, statistics, masks, shares, smallest[1:]))
    return replace(sorted_, smallest=smallest, largest=peaks[:, 0].max(1))


def alpha_shares(n_families: int) -> np.ndarray:
    """Parts of alpha: half for the whole brain, which comes first; the circuits share the other half."""
    shares = np.full(n_families, 0.5 / max(1, n_families - 1))
    shares[0] = 0.5 if n_families > 1 else 1.0
    return shares


def maxima(
    permuted: PermutedEdges, thresholds: Sequence[float], masks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Largest component of the group (row 0) and of every permutation.

    Parameters
    ----------
    permuted : PermutedEdges
    thresholds : sequence of float, [K]
        Of absolute t, rising.
    masks : array of bool, [F, E]
        Families of edges, each a graph of its own.

    Returns
    -------
    sizes, masses : array, [1 + B, F, 2, K]
        Number of edges, and sum of ``|t| - threshold``, of the largest component; tails as in `TAILS`.
    peaks : array, [1 + B, F, 2]
        Largest r and largest -r.
    """
    from dysconnect.localize import kernels

    limits = np.asarray(thresholds, float)
    if len(limits) == 0 or (np.diff(limits) <= 0).any() or limits[0] <= 0:
        raise ValueError(f"thresholds {list(thresholds)} of t must be positive and rise (localize.thresholds).")
    cuts = (limits / np.sqrt(limits**2 + permuted.df)).astype(np.float32)
    members = np.concatenate([np.flatnonzero(mask) for mask in masks]).astype(np.int32)
    starts = np.r_[0, np.cumsum(masks.sum(1))]
    graph = (permuted.rows, permuted.cols, permuted.n_nodes, members, starts, cuts, limits, float(permuted.df))
    shape = (1 + permuted.n_permutations, len(masks), 2)
    sizes, masses, peaks = np.zeros((*shape, len(cuts))), np.zeros((*shape, len(cuts))), np.zeros(shape)

    def one(r: np.ndarray, rows: slice) -> None:
        kernels.component_maxima(r, *graph, sizes[rows], masses[rows], peaks[rows])

    in_threads(permuted, "components of the permutations", one)
    return sizes, masses, peaks


def in_threads(permuted: PermutedEdges, what: str, one: Callable[[np.ndarray, slice], None]) -> None:
    """Call ``one(r, rows)`` on parts of every chunk, side by side; `rows` are of 1 + B."""
    import joblib  # slow to import, as those below: the report needs none of them

    threads = joblib.cpu_count()
    with ThreadPoolExecutor(threads) as pool:
        for place, r in permuted.chunks(what):
            bounds = np.linspace(0, len(r), threads + 1).astype(int)
            pieces = [slice(a, b) for a, b in pairwise(bounds)]
            rows = [slice(place.start + piece.start, place.start + piece.stop) for piece in pieces]
            list(pool.map(one, [r[piece] for piece in pieces], rows))


@dataclass(frozen=True)
class Enhanced:
    """Threshold-free scores: `score` [E], `p_fwer` and `p_tail` [E], `max_null` [B, 2] with tails as in `TAILS`."""

    score: np.ndarray
    p_fwer: np.ndarray
    p_tail: np.ndarray
    max_null: np.ndarray


def threshold_free(permuted: PermutedEdges, extent: float = 0.4, height: float = 3.0) -> Enhanced:
    """Exact threshold-free network-based statistic.

    The score of an edge is the integral, from zero to its ``|t|``, of ``(edges of its component at h)^extent
    h^height dh``, in closed form between the heights at which a component changes. Tails are apart.

    Parameters
    ----------
    permuted : PermutedEdges
    extent, height : float
        Exponents.

    Returns
    -------
    Enhanced

    References
    ----------
    Baggio et al. (2018), doi:10.1002/hbm.24007; Smith and Nichols (2009), doi:10.1016/j.neuroimage.2008.03.061.
    """
    from dysconnect.localize import kernels

    n_edges = len(permuted.rows)
    extents = np.arange(n_edges + 1, dtype=float) ** extent
    extents[0] = 0
    graph = (permuted.rows, permuted.cols, permuted.n_nodes, float(permuted.df), extents, height + 1.0)
    tops, score = np.zeros((1 + permuted.n_permutations, 2)), np.zeros(n_edges)
    in_threads(permuted, "threshold-free scores", lambda r, rows: kernels.enhanced_maxima(r, *graph, tops[rows]))
    values = permuted.group.astype(np.float32) @ permuted.units
    kernels.enhanced_scores(values, *graph, score)
    null = tops[1:]
    p_tail = np.where(values > 0, exceedance(score, null[:, 0]), exceedance(score, null[:, 1]))
    return Enhanced(score, exceedance(score, null.max(1)), p_tail, null)


def _peak_p(
    t: np.ndarray, statistics: np.ndarray, masks: np.ndarray, shares: np.ndarray, smallest: np.ndarray
) -> np.ndarray:
    """Corrected p of every edge by its own t, the last statistic of every family and tail, [E]."""
    p = np.full(len(t), np.inf)
    for f, mask in enumerate(masks):
        for tail, sign in enumerate((1, -1)):
            edges = mask & (sign * t > 0)
            p[edges] = np.minimum(p[edges], exceedance(np.abs(t[edges]), statistics[1:, f, tail, -1]) / shares[f])
    return attained(p, smallest)


def found_components(
    t: np.ndarray, permuted: PermutedEdges, thresholds: Sequence[float], families: dict[str, np.ndarray | None]
) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """All components of one map of t [E], of every family, tail and threshold: table without p, and their edges."""
    rows, edges = [], []
    for family, mask in families.items():
        for tail, sign in zip(TAILS, (1, -1)):
            for threshold in thresholds:
                beyond = sign * t > threshold
                for members in split(np.flatnonzero(beyond if mask is None else beyond & mask), permuted):
                    ends = np.unique(np.r_[permuted.rows[members], permuted.cols[members]])
                    mass = (np.abs(t[members]) - threshold).sum()
                    nodes = tuple(ends.tolist())
                    rows.append((family, tail, float(threshold), len(members), len(ends), mass, nodes))
                    edges.append(members)
    columns = ["family", "tail", "threshold", "n_edges", "n_nodes", "intensity", "nodes"]
    return pd.DataFrame(rows, columns=columns), edges


def split(edges: np.ndarray, permuted: PermutedEdges) -> list[np.ndarray]:
    """Edges [M] (positions) of one graph, apart by connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return []
    ends = permuted.rows[edges], permuted.cols[edges]
    graph = coo_array((np.ones(len(edges)), ends), shape=(permuted.n_nodes, permuted.n_nodes))
    label = connected_components(graph, directed=False)[1][ends[0]]
    order = np.argsort(label, kind="stable")
    return np.split(edges[order], np.flatnonzero(np.diff(label[order])) + 1)


def _sorted(table: pd.DataFrame, edges: list[np.ndarray], p_edge: np.ndarray) -> Components:
    """Put the most significant first, of equal ones the most specific, and give every edge its first component."""
    order = np.lexsort((table["n_edges"].to_numpy(), table["p_fwer"].to_numpy()))
    table = table.iloc[order].reset_index(drop=True)
    table.insert(0, "id", np.arange(1, len(table) + 1))
    edges = [edges[k] for k in order]
    member, p_edge = np.zeros(len(p_edge), int), p_edge.copy()
    for number, inside, p in zip(table["id"], edges, table["p_fwer"]):
        member[inside] = np.where(member[inside] == 0, number, member[inside])
        p_edge[inside] = np.minimum(p_edge[inside], p)
    return Components(table, edges, member, p_edge)
