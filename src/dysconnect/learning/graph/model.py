"""A graph network as the workflow uses it: rows of a cohort in, probabilities out, saved as plain arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from dysconnect.data.edges import BorrowedRegions
from dysconnect.data.measures import MEASURES
from dysconnect.data.participants import scan_groups
from dysconnect.models.cards import card_of

if TYPE_CHECKING:  # torch and torch_geometric take seconds to load
    import pandas as pd

    from dysconnect.learning.graph.run import Networks
    from dysconnect.learning.graph.view import FilledEdges


class GraphModel:
    """Fill in missing regions, scale the edges, and train a graph network; early stopping, if any, watches some people.

    Parameters
    ----------
    spec, graph, training : dict
        Sections `model`, `graph` and `training` of the configuration.
    measure : str
        One whose edges are correlations.

    Attributes
    ----------
    networks_ : Networks
        The trained network.
    history_ : list of dict
        `epoch`, `train_loss`, `val_loss`, `val_auc`, `lr`, `weight_decay` of every epoch.
    search_ : list of dict
        `lr`, `weight_decay`, `val_loss`, `best_epoch`, `chosen` of every candidate.
    """

    def __init__(self, spec: dict, graph: dict, training: dict, measure: str):
        if card_of(spec["name"]).lacks(MEASURES[measure]):
            raise ValueError(
                f"model={spec['name']} needs edges that are correlations; connectivity={measure} has none. "
                f"Choose connectivity={' or '.join(card_of(spec['name']).suited())}."
            )
        self.spec, self.graph, self.training, self.measure = spec, graph, training, measure

    def fit(self, cohort, rows: np.ndarray, seed: int = 0) -> "GraphModel":
        """Fit on some rows of a cohort."""
        self._adopt(self.fit_many(cohort, rows, [seed])[0])
        return self

    def fit_many(
        self,
        cohort,
        rows: np.ndarray,
        seeds: list[int],
        store: Path | None = None,
        ticks: Iterator | None = None,
        start: dict | None = None,
    ) -> list["GraphModel"]:
        """Fit one model a seed on the same rows; see `train_networks` for `store`, `ticks` and `start`."""
        labels = np.repeat(cohort.labels[rows][:, None], len(seeds), axis=1)
        filler, networks = self._train(cohort, rows, labels, np.array(seeds), store, ticks, start)
        models = [GraphModel(self.spec, self.graph, self.training, self.measure) for _ in seeds]
        for k, model in enumerate(models):
            model.filler_, model.networks_ = filler, networks.take(k)
            model.history_, model.search_ = model.networks_.history(), model.networks_.search()
            model.seed_, model.start_ = int(seeds[k]), start
        return models

    def decide_many(
        self,
        cohort,
        train: np.ndarray,
        labels: np.ndarray,
        test: np.ndarray,
        store: Path | None = None,
        ticks: Iterator | None = None,
    ) -> np.ndarray:
        """Logits on `test` of a network for each label vector of `train` [n, P]: [len(test), P]; see `fit_labels`."""
        seed = int(np.random.SeedSequence([self.seed_, 13]).generate_state(1)[0] % 2**31)
        filler, networks = self.fit_labels(cohort, train, labels, seed, store, ticks, self.start_)
        return networks.decide(_filled(cohort, test, filler))

    def fit_labels(
        self,
        cohort,
        rows: np.ndarray,
        labels: np.ndarray,
        seed: int,
        store: Path | None = None,
        ticks: Iterator | None = None,
        start: dict | None = None,
    ) -> tuple[BorrowedRegions, "Networks"]:
        """Networks for many label vectors of the same rows [n, P], and what fills in missing regions.

        All start from the same weights and drop the same channels, the observed labels' no less than the others', and
        each chooses its learning rate if there is a choice: nothing but the labels tells them apart, whatever the seed.
        """
        seeds = np.full(labels.shape[1], seed, np.int64)
        return self._train(cohort, rows, labels, seeds, store, ticks, start)

    def _train(self, cohort, rows, labels, seeds, store, ticks, start) -> tuple[BorrowedRegions, "Networks"]:
        from dysconnect.learning.graph.run import train_networks

        if cohort.directed:
            raise ValueError("graph networks take edges that are the same both ways, and these are directed.")
        filler = BorrowedRegions().fit(_filled(cohort, rows), cohort.missing[rows])
        edges, groups = _filled(cohort, rows, filler), scan_groups(cohort.participants)[rows]
        return filler, train_networks(edges, labels, groups, seeds, self._sections(), store, ticks, start)

    def remember(self, cohort, rows: np.ndarray) -> "GraphModel":
        """Give a restored model the people it learned from, whose regions are lent again (`BorrowedRegions`)."""
        self.filler_.remember(_filled(cohort, rows), cohort.missing[rows])
        return self

    def _adopt(self, other: "GraphModel") -> None:
        self.__dict__.update(other.__dict__)

    def _sections(self) -> dict:
        return {"model": self.spec, "graph": self.graph, "training": self.training}

    def predict(self, cohort, rows: np.ndarray) -> np.ndarray:
        """Probability of being a patient for other rows, [len(rows)]."""
        return self.probability(_filled(cohort, rows, self.filler_))

    def probability(self, edges: "np.ndarray | FilledEdges") -> np.ndarray:
        """Probability of being a patient from complete edges, [n, E] -> [n]."""
        return expit(self.networks_.decide(edges)[:, 0].astype(float))

    def predict_matrices(self, matrices: np.ndarray, participants: "pd.DataFrame | None" = None) -> np.ndarray:
        """Probabilities from connectivity matrices [n, N, N]; see `edges_of_matrices`. People do not matter here."""
        from dysconnect.data.edges import edges_of_matrices

        return self.probability(edges_of_matrices(matrices, self.measure))

    def edge_weights(self) -> None:
        """A graph network has no weight per edge."""
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        networks = self.networks_
        weights = {f"network.{name}": value[0].numpy() for name, value in networks.fitted.weights.items()}
        return {"scale_mean": networks.mean, "scale_sd": networks.scale, **self.filler_.state(), **weights}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "GraphModel":
        """Restore from `state`."""
        from dysconnect.learning.graph.run import restore_network

        self.networks_ = restore_network(arrays, self._sections(), int(arrays["n_nodes"]))
        self.filler_ = BorrowedRegions().load_state(arrays)
        return self


def _filled(cohort, rows: np.ndarray, filler: BorrowedRegions | None = None) -> "FilledEdges":
    """Edges of some rows, read as they are asked for: no copy of a whole training fold."""
    from dysconnect.learning.graph.view import FilledEdges

    return FilledEdges(cohort.values, cohort.missing, np.asarray(rows), filler)
