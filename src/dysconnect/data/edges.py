"""Edges and matrices: one order everywhere, and what is done about regions without signal."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from zlib import crc32

import numpy as np
import pandas as pd

from dysconnect.data.measures import measure_of

LENDERS = 32  # mixtures of people in a saved network, and of how many people, about, they are made
MIXED = 256
TRACE = 0.05  # of the mean, in a covariance that is lent
BLOCK = 5e7  # bytes of edges that are looked at together


def blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Slices of the rows of edges [n, E], in order: memory grows with the block, not with the cohort."""
    step = max(1, int(BLOCK // (4 * max(shape[1], 1))))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


@dataclass(frozen=True)
class Pairs:
    """Pairs of n regions in the project's one order, and the way between their values and matrices.

    Undirected pairs are the upper triangle of a matrix, row by row. Directed ones are the whole matrix, row by row:
    the entry (a, b) is the connection from a to b.

    Attributes
    ----------
    n : int
        Number of regions N.
    directed : bool
        Whether a to b is another pair than b to a.
    diagonal : bool
        Whether a region and itself are a pair.
    """

    n: int
    directed: bool = False
    diagonal: bool = False

    @classmethod
    def of(cls, n_pairs: int, directed: bool = False, diagonal: bool = False) -> "Pairs":
        """Pairs of as many regions as make `n_pairs`.

        Raises
        ------
        ValueError
            When no number of regions does.
        """
        ways = 1 if directed else 2
        half = (ways * diagonal - 1) / 2  # N^2 + 2 half N = ways E
        pairs = cls(round(np.sqrt(half**2 + ways * n_pairs) - half), directed, diagonal)
        if len(pairs) != n_pairs:
            raise ValueError(f"{n_pairs} {pairs._kind}: no number of regions has so many.")
        return pairs

    def __len__(self) -> int:
        """E, the number of pairs."""
        return self.n * (self.n - 1) // (1 if self.directed else 2) + self.n * self.diagonal

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns, [E] each, read-only: ``matrix[pairs.ends]`` are the values of the pairs."""
        return _ends(self)

    @property
    def rows(self) -> np.ndarray:
        """First region of every pair (from where, if directed), [E] read-only."""
        return _ends(self)[0]

    @property
    def cols(self) -> np.ndarray:
        """Second region of every pair (to where, if directed), [E] read-only."""
        return _ends(self)[1]

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """Unfold values into matrices, [..., E] -> [..., N, N]: symmetric unless directed, zero where there is no pair.

        Raises
        ------
        ValueError
            When the values are not as many as the pairs.
        """
        rows, cols = self.ends
        self._refuse_others(values.shape[-1:] == (len(rows),), values.shape, "[..., E]")
        matrices = np.zeros((*values.shape[:-1], self.n, self.n), values.dtype)
        matrices[..., rows, cols] = values
        if not self.directed:
            matrices[..., cols, rows] = values
        return matrices

    def edges(self, matrices: np.ndarray) -> np.ndarray:
        """Values of the pairs in matrices, [..., N, N] -> [..., E]; undirected ones are read above the diagonal.

        Raises
        ------
        ValueError
            When the matrices are of another size.
        """
        self._refuse_others(matrices.shape[-2:] == (self.n, self.n), matrices.shape, "[..., N, N]")
        return matrices.reshape(*matrices.shape[:-2], self.n**2).take(_places(self), -1)

    def touching(self, regions: np.ndarray) -> np.ndarray:
        """Pairs that have one of the regions of a mask or both, [..., N] -> [..., E] bool."""
        rows, cols = self.ends
        return regions[..., rows] | regions[..., cols]

    def position(self, a: np.ndarray | int, b: np.ndarray | int) -> np.ndarray:
        """Place of the pairs of regions a and b (from a to b, if directed) among all, [...].

        Raises
        ------
        ValueError
            For a region that there is not, or a region and itself where that is no pair.
        """
        a, b = np.broadcast_arrays(np.asarray(a, int), np.asarray(b, int))
        none = (np.minimum(a, b) < 0) | (np.maximum(a, b) >= self.n) | ((a == b) & (not self.diagonal))
        if none.any():
            raise ValueError(f"{a[none][0]} and {b[none][0]} are none of the {self._kind} of {self.n} regions.")
        if self.directed:
            return a * self.n + b if self.diagonal else a * (self.n - 1) + b - (b > a)
        a, b = np.minimum(a, b), np.maximum(a, b)
        return a * (2 * self.n - a - 1) // 2 + (b if self.diagonal else b - a - 1)

    def among(self, regions: np.ndarray) -> np.ndarray:
        """Place among these pairs of every pair of some regions [M] in an order of their own, [E of M regions]."""
        rows, cols = replace(self, n=len(regions)).ends
        return self.position(regions[rows], regions[cols])

    def named(self, names: np.ndarray) -> pd.DataFrame:
        """Table of the names of every pair's regions [N]: `region_a` and `region_b`, [E rows]."""
        return pd.DataFrame({"region_a": names[self.rows], "region_b": names[self.cols]})

    @property
    def _kind(self) -> str:
        return ("directed" if self.directed else "undirected") + " pairs" + " with the diagonal" * self.diagonal

    def _refuse_others(self, fits: bool, shape: tuple, wanted: str) -> None:
        if not fits:
            raise ValueError(
                f"an array of shape {shape} does not hold {len(self)} {self._kind} of {self.n} regions: {wanted} does."
            )


@lru_cache(maxsize=32)
def _ends(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs; shared by all who ask, so that nobody may write into them."""
    if pairs.directed:
        ends = np.nonzero(np.ones((pairs.n, pairs.n), bool) if pairs.diagonal else ~np.eye(pairs.n, dtype=bool))
    else:
        ends = np.triu_indices(pairs.n, k=0 if pairs.diagonal else 1)
    ends = tuple(np.ascontiguousarray(side) for side in ends)  # those of `nonzero` are views of one array
    for side in ends:
        side.flags.writeable = False
    return ends


@lru_cache(maxsize=32)
def _places(pairs: Pairs) -> np.ndarray:
    """Where the pairs stand in a matrix whose rows are laid end to end, [E]: four times as fast as rows and columns."""
    places = pairs.rows * pairs.n + pairs.cols
    places.flags.writeable = False
    return places


def lacking(edges: np.ndarray, missing: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Edges that somebody lacks, [..., E] bool: of regions without signal [..., N], or single ones, which are NaN."""
    return pairs.touching(missing) | np.isnan(edges)


def known_mean(people: Iterable[np.ndarray], n_edges: int) -> np.ndarray:
    """Mean of every edge over those who have it, people [E] each -> [E]; zero of one that all lack."""
    total, seen = np.zeros(n_edges), np.zeros(n_edges, int)
    for one in people:  # no copy of the cohort
        known = ~np.isnan(one)
        total[known] += one[known]
        seen += known
    return total / np.maximum(seen, 1)


def measure_pairs(measure: str, n_nodes: int, directed: bool = False) -> Pairs:
    """Pairs of regions that a measure, as stored or as a model sees it, has values of."""
    entry = measure_of(measure)
    return Pairs(n_nodes, directed or entry.directed, entry.diagonal)


class MissingRegions:
    """Fill the edges of regions without signal with what the training subjects make likely.

    A region outside the field of view is no zero connection, and its pattern betrays the site: so what is
    filled in carries no information of its own. Edges of a correlation take the mean of the training
    subjects that have them; so do single edges that a person lacks, which are NaN. A covariance is completed as
    a Gaussian conditional on the regions that were seen, ``C_ro = B C_oo``, ``C_rr = M_rr - B M_or + B C_oo B^T``
    with ``B = M_ro M_oo^-1`` and the training mean M, which keeps it positive definite.
    """

    def fit(self, edges: np.ndarray, missing: np.ndarray, pairs: Pairs | None = None) -> "MissingRegions":
        """Learn the mean of the training subjects: edges [n, E], read in blocks, missing regions [n, N].

        Without `pairs` they are undirected and without diagonal.
        """
        self.pairs_ = Pairs(missing.shape[1]) if pairs is None else pairs
        total, seen = np.zeros(edges.shape[1]), np.zeros(edges.shape[1], int)
        for part in blocks(edges.shape):
            block = edges[part]
            lost = lacking(block, missing[part], self.pairs_)
            total += np.where(lost, 0, block).sum(0, dtype=float)
            seen += (~lost).sum(0)
        self.mean_ = total / np.maximum(seen, 1)
        if self.pairs_.diagonal:  # a region that nobody has: variance one, alone; with zero there would be no inverse
            rows, cols = self.pairs_.ends
            self.mean_[(rows == cols) & (seen == 0)] = 1
        return self

    def transform(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Fill in, [n, E] -> [n, E]; where everybody has everything, the edges are returned as they are."""
        some = self._incomplete(edges, missing)
        filled = edges.copy() if len(some) else edges
        for subject in some:
            if self.pairs_.diagonal:
                filled[subject] = self._complete(edges[subject], missing[subject])
            else:
                lost = lacking(edges[subject], missing[subject], self.pairs_)
                filled[subject, lost] = self.mean_[lost]
        return filled

    def _incomplete(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Who lacks a region or an edge."""
        holes = False if self.pairs_.diagonal else np.isnan(edges.sum(1))  # a sum is NaN where an edge is
        return np.flatnonzero(missing.any(1) | holes)

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays: edges that are filled in are float32 themselves, a covariance is solved for."""
        mean = self.mean_ if self.pairs_.diagonal else self.mean_.astype(np.float32)
        return {"filler_mean": mean, "filler_directed": np.array(self.pairs_.directed)}

    def load_state(self, arrays: Mapping[str, np.ndarray], diagonal: bool) -> "MissingRegions":
        """Restore from `state`."""
        self.mean_ = arrays["filler_mean"]
        directed = bool(arrays.get("filler_directed", False))  # older files knew of none
        self.pairs_ = Pairs.of(len(self.mean_), directed, diagonal)
        return self

    def _complete(self, edges: np.ndarray, missing: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        mean = self.pairs_.matrix(self.mean_ if reference is None else reference)
        matrix = self.pairs_.matrix(edges.astype(float))
        lost, seen = np.flatnonzero(missing), np.flatnonzero(~missing)
        regress = np.linalg.solve(mean[np.ix_(seen, seen)], mean[np.ix_(seen, lost)]).T
        cross = regress @ matrix[np.ix_(seen, seen)]
        matrix[np.ix_(lost, seen)] = cross
        matrix[np.ix_(seen, lost)] = cross.T
        matrix[np.ix_(lost, lost)] = mean[np.ix_(lost, lost)] - regress @ mean[np.ix_(seen, lost)] + cross @ regress.T
        return self.pairs_.edges(matrix)


class Borrowed(MissingRegions):
    """Fill missing regions with what training people have, not with the mean, which is no typical person."""

    def fit(self, edges: np.ndarray, missing: np.ndarray, pairs: Pairs | None = None) -> "Borrowed":
        """Learn the mean, and remember who may lend: Fisher z or covariances [n, E], missing regions [n, N]."""
        super().fit(edges, missing, pairs)
        return self.remember(edges, missing)

    def remember(self, edges: np.ndarray, missing: np.ndarray) -> "Borrowed":
        """Let these people lend: edges [n, E], read when they are asked for, and missing regions [n, N]."""
        self.edges_, self.missing_ = edges, missing
        return self


class BorrowedRegions(Borrowed):
    """Fill the edges of missing regions with those of a training person, who is drawn for everybody anew.

    The mean is no typical person: a network, which is not linear, sees that a row is exactly the mean. The edges of one
    other person vary as edges do. Who lends is drawn among the training people who have the regions, by the edges of
    who borrows: always the same for the same person. What is left (nobody has all of them) takes the mean.
    """

    def transform(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Fill in, [n, E] -> [n, E]; where everybody has everything, the edges are returned as they are."""
        filled = super().transform(edges, missing)
        for person in self._incomplete(edges, missing):
            lacked = (self.missing_ & missing[person]).sum(1)
            rng = np.random.default_rng(crc32(np.ascontiguousarray(edges[person], np.float32)))
            first = rng.choice(np.flatnonzero(lacked == lacked.min()), 1)[0]
            lost = lacking(edges[person], missing[person], self.pairs_)
            filled[person, lost] = self._lent(first, lost, rng)
        return filled

    def _lent(self, first: int, lost: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Edges of the mask `lost` [E] of a lender, and of others in turn those single ones that he lacks himself."""
        values, wanted = self.mean_[lost], np.ones(int(lost.sum()), bool)
        for lender in self._lenders(first, rng):
            edges = self.edges_[[lender]][0]
            has = wanted & ~lacking(edges, self.missing_[lender], self.pairs_)[lost]
            values[has] = edges[lost][has]
            wanted &= np.isnan(edges[lost])
            if not wanted.any():
                break
        return values

    def _lenders(self, first: int, rng: np.random.Generator) -> Iterator[int]:
        yield first
        yield from rng.permutation(len(self.missing_))

    def state(self) -> dict[str, np.ndarray]:
        """What was learned; in place of people who lend, random mixtures of them all, as many as a quarter or 32."""
        if isinstance(self.edges_, np.ndarray) and self.edges_.dtype == np.float16:
            return {**super().state(), "filler_lent": self.edges_}
        every = max(1, len(self.missing_) // MIXED)
        rows = np.arange(len(self.missing_))[::every]
        away = super().transform(self.edges_[rows], self.missing_[rows]) - self.mean_
        size = max(1, min(LENDERS, len(rows) // 4))
        mixing = np.random.default_rng(31).normal(size=(size, len(rows))) / np.sqrt(len(rows))
        return {**super().state(), "filler_lent": (self.mean_ + mixing @ away).astype(np.float16)}

    def load_state(self, arrays: Mapping[str, np.ndarray], diagonal: bool = False) -> "BorrowedRegions":
        """Restore from `state`."""
        super().load_state(arrays, diagonal)
        lent = arrays["filler_lent"]
        return self.remember(lent, np.zeros((len(lent), self.pairs_.n), bool))


class BorrowedCovariances(Borrowed):
    """Complete a covariance by the regression of a training person, who is drawn for everybody anew.

    Completed by that of the mean, a region is the same function of the others in all who lack it, which a network sees
    and a linear model does not (`BorrowedRegions` says the same of edges). A trace of the mean keeps a lender's
    covariance invertible. Who is masked does not borrow from himself.
    """

    def transform(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Complete, [n, E] -> [n, E]; subjects with all regions are returned as they are."""
        if not missing.any():
            return edges
        filled = edges.copy()
        for person in np.flatnonzero(missing.any(1)):
            reference = (1 - TRACE) * self._lent(edges[person], missing[person]) + TRACE * self.mean_
            filled[person] = self._complete(edges[person], missing[person], reference)
        return filled

    def _lent(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        lacked = (self.missing_ & missing).sum(1)
        rng = np.random.default_rng(crc32(np.ascontiguousarray(edges, np.float32)))
        lenders = rng.permutation(np.flatnonzero(lacked == lacked.min()))[:2]
        one = lenders[-1] if np.array_equal(self.edges_[lenders[:1]][0], edges) else lenders[0]
        lent = np.asarray(self.edges_[[one]][0], float)
        return self._complete(lent, self.missing_[one]) if self.missing_[one].any() else lent


def edges_of_matrices(matrices: np.ndarray, measure: str) -> np.ndarray:
    """Edges as the models take them, from the matrices that users have.

    Parameters
    ----------
    matrices : array, [n, N, N]
        Correlation or partial correlation matrices (r, not z); covariance matrices for the tangent space. Zero is an
        edge that the person lacks, of a measure that has gaps.
    measure : str
    """
    matrices = np.asarray(matrices, float)
    entry, edges = measure_of(measure), measure_pairs(measure, matrices.shape[-1]).edges(matrices)
    return entry.transformed(np.where(edges == 0, np.nan, edges) if entry.gaps else edges)
