"""What networks are given of the people of a cohort: edges, or tangent vectors and the correlations of their graph."""

from dataclasses import replace
from functools import partial

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import BorrowedCovariances, BorrowedRegions, Pairs, edges_of_matrices
from dysconnect.data.measures import MEASURES, fisher_z
from dysconnect.learning.graph.view import uses_graph
from dysconnect.learning.represented import FilledEdges, Represented
from dysconnect.models.cards import card_of


def make_input(sections: dict) -> "EdgeInput | TangentInput | GivenGraph":
    """What turns people into the input of the network, not yet learned."""
    features = TangentInput(sections) if MEASURES[sections["measure"]].tangent else EdgeInput(sections["measure"])
    if sections["graph"].get("connectomes") and uses_graph(sections):
        return GivenGraph(features, sections["graph"].get("edges", "own") == "mean")
    return features


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
        given = bool(sections["graph"].get("connectomes"))
        self.graph, self.measure = uses_graph(sections) and not given, sections["measure"]
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


class GivenGraph:
    """Features, and behind them edges of other connectomes, of which the graph is made (`Cohort.graph`, `Layout`).

    They are in units of the strongest edge of the training mean, so that its weight is that of a correlation of
    tanh 1 whatever was measured. What somebody lacks takes the training mean.

    Parameters
    ----------
    features : EdgeInput or TangentInput
    shared : bool
        Whether all have the graph of the mean of the training controls; then labels decide it.

    Attributes
    ----------
    mean_ : array of float32, [E]
        Of the training people, or their controls, who have an edge; zero where nobody does.
    """

    def __init__(self, features: "EdgeInput | TangentInput", shared: bool):
        self.features, self.shared = features, shared

    @property
    def filler_(self):
        """What completes the features."""
        return self.features.filler_

    @property
    def represented_(self) -> Represented:
        """What makes tangent vectors."""
        return self.features.represented_

    def fit(self, cohort: Cohort, rows: np.ndarray) -> "GivenGraph":
        """Learn from some rows of a cohort.

        Raises
        ------
        ValueError
            When the cohort brings no such edges, or none of these people has any.
        """
        self.features.fit(cohort, rows)
        given = _graph_of(cohort)[rows]
        given = given[cohort.labels[rows] == 0] if self.shared else given
        known = ~np.isnan(given)
        self.mean_ = (np.nansum(given, 0) / np.maximum(known.sum(0), 1)).astype(np.float32)
        if not self.mean_.max() > 0:
            raise ValueError(
                f"no training {'control' if self.shared else 'subject'} has an edge in graph.connectomes: name a file "
                "of the same people, or use fewer folds."
            )
        return self

    def of(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray | FilledEdges:
        """Features and edges of the graph of some rows, [len(rows), E]; edges are read as they are asked for."""
        given = _graph_of(cohort)[rows]
        given = np.where(np.isnan(given) | self.shared, self.mean_, given) / self.mean_.max()
        features = self.features.of(cohort, rows)
        return replace(features, graph=given) if isinstance(features, FilledEdges) else np.hstack([features, given])

    def of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """Refused where every person has a graph: a matrix says nothing of it. Else features and the one graph.

        Raises
        ------
        ValueError
            For graphs of persons.
        """
        if not self.shared:
            raise ValueError(
                "this network needs everybody's own graph beside the matrix, and none is given: predict with an "
                "experiment of graph.edges=mean, or without graph.connectomes."
            )
        features = self.features.of_matrices(matrices)
        return np.hstack([features, np.tile(self.mean_ / self.mean_.max(), (len(features), 1))])

    def remember(self, cohort: Cohort, rows: np.ndarray) -> None:
        """Show the training people again."""
        self.features.remember(cohort, rows)

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return {**self.features.state(), "graph_mean": self.mean_}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "GivenGraph":
        """Restore from `state`."""
        self.features.load_state(arrays)
        self.mean_ = arrays["graph_mean"]
        return self


def _graph_of(cohort: Cohort) -> np.ndarray:
    if cohort.graph is None:
        raise ValueError("graph.connectomes is set, and the cohort has no edges of it: give them by `with_graph`.")
    return cohort.graph


def correlations(covariances: np.ndarray) -> np.ndarray:
    """Fisher z of the correlations of covariances with their diagonal, [n, N (N + 1) / 2] -> [n, N (N - 1) / 2]."""
    pairs = Pairs.of(covariances.shape[1], diagonal=True)
    rows, cols = pairs.ends
    scale = np.sqrt(covariances[:, rows == cols])
    between = rows != cols
    return fisher_z(covariances[:, between] / (scale[:, rows[between]] * scale[:, cols[between]]))


def _edges(cohort: Cohort, rows: np.ndarray, filler: BorrowedRegions | None = None) -> FilledEdges:
    return FilledEdges(cohort.values, cohort.missing, np.asarray(rows), filler)
