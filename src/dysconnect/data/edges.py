"""Edges and matrices: one order everywhere, and what is done about regions without signal."""

from collections.abc import Iterator, Mapping
from zlib import crc32

import numpy as np

from dysconnect.data.measures import MEASURES

LENDERS = 32  # mixtures of people in a saved network, and of how many people, about, they are made
MIXED = 256
BLOCK = 5e7  # bytes of edges that are looked at together


def blocks(shape: tuple[int, int]) -> Iterator[slice]:
    """Slices of the rows of edges [n, E], in order: memory grows with the block, not with the cohort."""
    step = max(1, int(BLOCK // (4 * max(shape[1], 1))))
    return (slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step))


def matrix_from_edges(edges: np.ndarray, n_nodes: int, diagonal: bool = False) -> np.ndarray:
    """Unfold edges (upper triangle, row by row) into symmetric matrices, [n, E] -> [n, N, N].

    Without `diagonal` the diagonal is zero.
    """
    rows, cols = np.triu_indices(n_nodes, k=0 if diagonal else 1)
    matrices = np.zeros((*edges.shape[:-1], n_nodes, n_nodes), edges.dtype)
    matrices[..., rows, cols] = edges
    matrices[..., cols, rows] = edges
    return matrices


def edges_from_matrix(matrices: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """Fold symmetric matrices into edges, [n, N, N] -> [n, E]."""
    rows, cols = np.triu_indices(matrices.shape[-1], k=0 if diagonal else 1)
    return matrices[..., rows, cols]


def edge_missing(missing: np.ndarray, diagonal: bool = False) -> np.ndarray:
    """Edges that touch a missing region, [n, N] -> [n, E]."""
    rows, cols = np.triu_indices(missing.shape[1], k=0 if diagonal else 1)
    return missing[:, rows] | missing[:, cols]


class MissingRegions:
    """Fill the edges of regions without signal with what the training subjects make likely.

    A region outside the field of view is no zero connection, and its pattern betrays the site: so what is
    filled in carries no information of its own. Edges of a correlation take the mean of the training
    subjects that have them. A covariance is completed as a Gaussian conditional on the regions that were
    seen, ``C_ro = B C_oo``, ``C_rr = M_rr - B M_or + B C_oo B^T`` with ``B = M_ro M_oo^-1`` and the training
    mean M, which keeps it positive definite.
    """

    def fit(self, edges: np.ndarray, missing: np.ndarray, diagonal: bool) -> "MissingRegions":
        """Learn the mean of the training subjects: edges [n, E], read in blocks, missing regions [n, N]."""
        self.diagonal_ = diagonal
        total, seen = np.zeros(edges.shape[1]), np.zeros(edges.shape[1], int)
        for part in blocks(edges.shape):
            lost = edge_missing(missing[part], diagonal)
            total += np.where(lost, 0, edges[part]).sum(0, dtype=float)
            seen += (~lost).sum(0)
        self.mean_ = total / np.maximum(seen, 1)
        if diagonal:  # a region that nobody has: variance one, alone; with zero there would be no inverse
            rows, cols = np.triu_indices(missing.shape[1])
            self.mean_[(rows == cols) & (seen == 0)] = 1
        return self

    def transform(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Fill in, [n, E] -> [n, E]; subjects with all regions are returned as they are."""
        if not missing.any():
            return edges
        filled = edges.copy()
        for subject in np.flatnonzero(missing.any(1)):
            if self.diagonal_:
                filled[subject] = self._complete(edges[subject], missing[subject])
            else:
                lost = edge_missing(missing[subject : subject + 1])[0]
                filled[subject, lost] = self.mean_[lost]
        return filled

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays: edges that are filled in are float32 themselves, a covariance is solved for."""
        return {"filler_mean": self.mean_ if self.diagonal_ else self.mean_.astype(np.float32)}

    def load_state(self, arrays: Mapping[str, np.ndarray], diagonal: bool) -> "MissingRegions":
        """Restore from `state`."""
        self.diagonal_, self.mean_ = diagonal, arrays["filler_mean"]
        return self

    def _complete(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        n_nodes = len(missing)
        mean = matrix_from_edges(self.mean_, n_nodes, diagonal=True)
        own = matrix_from_edges(edges.astype(float), n_nodes, diagonal=True)
        lost, seen = np.flatnonzero(missing), np.flatnonzero(~missing)
        regress = np.linalg.solve(mean[np.ix_(seen, seen)], mean[np.ix_(seen, lost)]).T
        cross = regress @ own[np.ix_(seen, seen)]
        own[np.ix_(lost, seen)] = cross
        own[np.ix_(seen, lost)] = cross.T
        own[np.ix_(lost, lost)] = mean[np.ix_(lost, lost)] - regress @ mean[np.ix_(seen, lost)] + cross @ regress.T
        return edges_from_matrix(own, diagonal=True)


class BorrowedRegions(MissingRegions):
    """Fill the edges of missing regions with those of a training person, who is drawn for everybody anew.

    The mean is no typical person: a network, which is not linear, sees that a row is exactly the mean. The edges of one
    other person vary as edges do. Who lends is drawn among the training people who have the regions, by the edges of
    who borrows: always the same for the same person. What is left (nobody has all of them) takes the mean.
    """

    def fit(self, edges: np.ndarray, missing: np.ndarray, diagonal: bool = False) -> "BorrowedRegions":
        """Learn the mean, and remember who may lend: Fisher z edges [n, E], missing regions [n, N]."""
        super().fit(edges, missing, diagonal)
        return self.remember(edges, missing)

    def remember(self, edges: np.ndarray, missing: np.ndarray) -> "BorrowedRegions":
        """Let these people lend: edges [n, E], read when they are asked for, and missing regions [n, N]."""
        self.edges_, self.missing_ = edges, missing
        return self

    def transform(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Fill in, [n, E] -> [n, E]; subjects with all regions are returned as they are."""
        if not missing.any():
            return edges
        filled = super().transform(edges, missing)
        for person in np.flatnonzero(missing.any(1)):
            lacked = (self.missing_ & missing[person]).sum(1)
            rng = np.random.default_rng(crc32(np.ascontiguousarray(edges[person], np.float32)))
            lender = rng.choice(np.flatnonzero(lacked == lacked.min()), 1)
            lent = edge_missing(missing[person][None])[0] & ~edge_missing(self.missing_[lender])[0]
            filled[person, lent] = self.edges_[lender][0, lent]
        return filled

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
        n_nodes = round((1 + np.sqrt(1 + 8 * lent.shape[1])) / 2)
        return self.remember(lent, np.zeros((len(lent), n_nodes), bool))


def edge_index(n_nodes: int, diagonal: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the project's one edge order: the upper triangle, row by row.

    Parameters
    ----------
    n_nodes : int
        Number of nodes N.
    diagonal : bool
        Whether the N self-connections belong to it.

    Returns
    -------
    rows, cols : ndarray of int, [E]
        E = N (N - 1) / 2, or N (N + 1) / 2 with the diagonal; ``matrix[rows, cols]`` is the edge vector.
    """
    return np.triu_indices(n_nodes, k=0 if diagonal else 1)


def edges_of_matrices(matrices: np.ndarray, measure: str) -> np.ndarray:
    """Edges as the models take them, from the matrices that users have.

    Parameters
    ----------
    matrices : array, [n, N, N]
        Correlation or partial correlation matrices (r, not z); covariance matrices for the tangent space.
    measure : str
    """
    matrices = np.asarray(matrices, float)
    own = MEASURES[measure]
    return own.transformed(edges_from_matrix(matrices, own.diagonal))
