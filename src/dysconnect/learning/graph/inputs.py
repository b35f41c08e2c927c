"""What networks are given of the people of a cohort: edges, or tangent vectors and the correlations of their graph."""

from functools import partial

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import BorrowedCovariances, BorrowedRegions, Pairs, edges_of_matrices
from dysconnect.data.measures import MEASURES, fisher_z
from dysconnect.learning.graph.view import FilledEdges, uses_graph
from dysconnect.learning.represented import Represented
from dysconnect.models.cards import card_of


def make_input(sections: dict) -> "EdgeInput | TangentInput":
    """What turns people into the input of the network, not yet learned."""
    return TangentInput(sections) if MEASURES[sections["measure"]].tangent else EdgeInput(sections["measure"])


class EdgeInput:
    """Fisher z edges; those of missing regions are borrowed (`BorrowedRegions`).

    Parameters
    ----------
    measure : str

    Attributes
    ----------
    filler_ : BorrowedRegions
    """

    def __init__(self, measure: str):
        self.measure = measure

    def fit(self, cohort: Cohort, rows: np.ndarray) -> "EdgeInput":
        """Learn from some rows of a cohort."""
        self.filler_ = BorrowedRegions().fit(_edges(cohort, rows), cohort.missing[rows])
        return self

    def of(self, cohort: Cohort, rows: np.ndarray) -> FilledEdges:
        """Edges of some rows, read as they are asked for: no copy of a whole training fold."""
        return _edges(cohort, rows, self.filler_)

    def of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Edges of matrices [n, N, N], single ones of which may be missing."""
        edges = edges_of_matrices(matrices, self.measure)
        return self.filler_.transform(edges, np.zeros((len(edges), self.filler_.pairs_.n), bool))

    def remember(self, cohort: Cohort, rows: np.ndarray) -> None:
        """Show the training people again, whose regions are lent."""
        self.filler_.remember(_edges(cohort, rows), cohort.missing[rows])

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return self.filler_.state()

    def load_state(self, arrays: dict[str, np.ndarray]) -> "EdgeInput":
        """Restore from `state`."""
        self.filler_ = BorrowedRegions().load_state(arrays)
        return self


class TangentInput:
    """Tangent vectors and, behind them, the Fisher z of the same covariances, of which a graph is made (`Layout`).

    Covariances of people who lack regions are completed by the regression of others (`BorrowedCovariances`).

    Parameters
    ----------
    sections : dict
        `model`, `graph` and `measure` of the configuration.

    Attributes
    ----------
    represented_ : Represented
    """

    def __init__(self, sections: dict):
        spec = sections["model"]
        self.graph, self.measure = uses_graph(sections), sections["measure"]
        self.represented_ = Represented(True, partial(card_of(spec["name"]).space, spec), BorrowedCovariances)

    @property
    def filler_(self):
        """What completes covariances."""
        return self.represented_.filler_

    def fit(self, cohort: Cohort, rows: np.ndarray) -> "TangentInput":
        """Learn the reference and more from some rows of a cohort."""
        self.represented_.fit_transform(cohort, rows)
        return self

    def of(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Tangent vectors and correlations of some rows, [len(rows), E]."""
        vectors = self.represented_.transform(cohort, rows)
        return self._joined(vectors, self.represented_.completed(cohort, rows)) if self.graph else vectors

    def of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of covariance matrices [n, N, N]."""
        edges = edges_of_matrices(matrices, self.measure)
        vectors = self.represented_.of_edges(edges)
        return self._joined(vectors, edges) if self.graph else vectors

    def remember(self, cohort: Cohort, rows: np.ndarray) -> None:
        """Show the training people again (`Represented`)."""
        self.represented_.remember(cohort, rows)

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return self.represented_.state()

    def load_state(self, arrays: dict[str, np.ndarray]) -> "TangentInput":
        """Restore from `state`."""
        self.represented_.load_state(arrays)
        return self

    @staticmethod
    def _joined(vectors: np.ndarray, covariances: np.ndarray) -> np.ndarray:
        return np.hstack([vectors, correlations(covariances).astype(np.float32)])


def correlations(covariances: np.ndarray) -> np.ndarray:
    """Fisher z of the correlations of covariances with their diagonal, [n, N (N + 1) / 2] -> [n, N (N - 1) / 2]."""
    pairs = Pairs.of(covariances.shape[1], diagonal=True)
    rows, cols = pairs.ends
    scale = np.sqrt(covariances[:, rows == cols])
    between = rows != cols
    return fisher_z(covariances[:, between] / (scale[:, rows[between]] * scale[:, cols[between]]))


def _edges(cohort: Cohort, rows: np.ndarray, filler: BorrowedRegions | None = None) -> FilledEdges:
    return FilledEdges(cohort.values, cohort.missing, np.asarray(rows), filler)
