"""A graph network as the workflow uses it: rows of a cohort in, probabilities out, saved as plain arrays."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from dysconnect.data.measures import MEASURES
from dysconnect.data.participants import scan_groups
from dysconnect.models.cards import card_of

if TYPE_CHECKING:  # torch and torch_geometric take seconds to load
    import pandas as pd

    from dysconnect.learning.graph.inputs import EdgeInput, GivenGraph, TangentInput
    from dysconnect.learning.graph.run import Networks
    from dysconnect.learning.represented import FilledEdges


class GraphModel:
    """Fill in missing regions, represent and scale (edges or tangent space), and train a graph network.

    Parameters
    ----------
    spec, graph, training : dict
        Sections `model`, `graph` and `training` of the configuration.
    measure : str
        One whose edges are correlations, or the tangent space.

    Attributes
    ----------
    networks_ : Networks
        The trained network, with what it starts from.
    history_ : list of dict
        `epoch`, `train_loss`, `val_loss`, `val_auc`, `lr`, `weight_decay`, `kept` of every epoch.
    search_ : list of dict
        `lr`, `weight_decay`, `val_loss`, `best_epoch`, `chosen` of every candidate.
    gains_ : list of dict
        What the network adds to what it starts from (`inside.Inside`); empty where it starts from nothing.
    """

    def __init__(self, spec: dict, graph: dict, training: dict, measure: str):
        lacking = card_of(spec["name"]).lacks(MEASURES[measure])
        if lacking:
            raise ValueError(
                f"model={spec['name']} needs {lacking}; connectivity={measure} has none. "
                f"Choose connectivity={' or '.join(card_of(spec['name']).suited())}."
            )
        self.spec, self.graph, self.training, self.measure = spec, graph, training, measure
        self.tangent = MEASURES[measure].tangent

    @property
    def graph_of_controls(self) -> bool:
        """Whether labels decide the graph, which is made anew then for each of them."""
        return bool(self.graph.get("connectomes")) and self.graph.get("edges") == "mean"

    @property
    def filler_(self):
        """What completes edges or covariances."""
        return self.input_.filler_

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
        source, networks = self.fit_labels(cohort, rows, labels, np.array(seeds), store, ticks, start)
        models = [GraphModel(self.spec, self.graph, self.training, self.measure) for _ in seeds]
        for k, model in enumerate(models):
            model.input_, model.networks_ = source, networks.take(k)
            model.history_, model.search_ = model.networks_.history(), model.networks_.search()
            model.gains_, model.seed_, model.start_ = model.networks_.gains, int(seeds[k]), start
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
        logits = []
        for columns in labels.T[:, :, None] if self.graph_of_controls else [labels]:
            taught = _relabelled(cohort, train, columns[:, 0]) if self.graph_of_controls else cohort
            source, networks = self.fit_labels(taught, train, columns, seed, store, ticks, self.start_)
            logits.append(networks.decide(source.of(cohort, test)))
        return np.hstack(logits)

    def fit_labels(
        self,
        cohort,
        rows: np.ndarray,
        labels: np.ndarray,
        seeds: int | np.ndarray,
        store: Path | None = None,
        ticks: Iterator | None = None,
        start: dict | None = None,
    ) -> tuple["EdgeInput | TangentInput | GivenGraph", "Networks"]:
        """Networks for many label vectors of the same rows [n, P], and what turns people into their input.

        With one seed all start from the same weights and drop the same channels, the observed labels' no less than the
        others', and each chooses its learning rate if there is a choice: nothing but the labels tells them apart,
        whatever the seed.
        """
        from dysconnect.learning.graph.inputs import make_input
        from dysconnect.learning.graph.run import train_networks

        if cohort.directed:
            raise ValueError("graph networks take edges that are the same both ways, and these are directed.")
        source, groups = make_input(self._sections()).fit(cohort, rows), scan_groups(cohort.participants)[rows]
        seeds = np.broadcast_to(np.asarray(seeds, np.int64), labels.shape[1:]).copy()
        given = source.of(cohort, rows), labels, groups, seeds
        return source, train_networks(*given, self._sections(), store, ticks, start)

    @property
    def nbytes(self) -> int:
        """Of the tangent vectors that are kept."""
        return self.input_.represented_.nbytes if self.tangent else 0

    def forget(self) -> None:
        """Keep no tangent vectors of people, see `Represented`."""
        if self.tangent:
            self.input_.represented_.forget()

    def remember(self, cohort, rows: np.ndarray) -> "GraphModel":
        """Give a restored model the people it learned from, who stand in for regions that others lack."""
        self.input_.remember(cohort, rows)
        return self

    def _adopt(self, other: "GraphModel") -> None:
        self.__dict__.update(other.__dict__)

    def _sections(self) -> dict:
        return {"model": self.spec, "measure": self.measure, "graph": self.graph, "training": self.training}

    def predict(self, cohort, rows: np.ndarray) -> np.ndarray:
        """Probability of being a patient for other rows, [len(rows)]."""
        return self._probability(self.input_.of(cohort, np.asarray(rows)))

    def _probability(self, numbers: "np.ndarray | FilledEdges") -> np.ndarray:
        return expit(self.networks_.decide(numbers)[:, 0].astype(float))

    def predict_matrices(self, matrices: np.ndarray, participants: "pd.DataFrame | None" = None) -> np.ndarray:
        """Probabilities from connectivity matrices [n, N, N]; see `edges_of_matrices`. People do not matter here."""
        return self._probability(self.input_.of_matrices(matrices))

    def edge_weights(self) -> None:
        """A graph network has no weight per edge."""
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        from dysconnect.learning.graph.run import network_state

        return network_state(self.networks_) | self.input_.state()

    def load_state(self, arrays: dict[str, np.ndarray]) -> "GraphModel":
        """Restore from `state`."""
        from dysconnect.learning.graph.inputs import make_input
        from dysconnect.learning.graph.run import restore_network

        self.networks_ = restore_network(arrays, self._sections(), int(arrays["n_nodes"]))
        self.input_ = make_input(self._sections()).load_state(arrays)
        return self


def _relabelled(cohort, rows: np.ndarray, labels: np.ndarray):
    """The cohort with other labels of some rows."""
    everybodys = cohort.labels.copy()
    everybodys[rows] = labels
    return replace(cohort, participants=cohort.participants.assign(label=everybodys))
