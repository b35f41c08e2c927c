"""One interface for every model: fit on rows of a cohort, predict others, save as plain arrays."""

import copy
import json
from collections.abc import Collection

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import MissingRegions, edges_of_matrices
from dysconnect.data.measures import MEASURES
from dysconnect.data.participants import scan_groups
from dysconnect.learning.graph.model import GraphModel
from dysconnect.models.card import PREPARED, SOFTENED
from dysconnect.models.cards import card_of
from dysconnect.models.floor import CovariateEncoder
from dysconnect.models.masked import MaskedRegression
from dysconnect.models.prepare import Preparation

LACKING = "regions_missing"  # what the floor calls the number of regions that a person lacks
KEPT = 1e8  # bytes of tangent vectors that a model keeps: they take longer than all that is done with them


class FeatureModel:
    """A classifier on features that a subclass learns from the training rows; `spec` is its section `model`."""

    def __init__(self, spec: dict):
        self.spec, self.card = spec, card_of(spec["name"])

    def fit(self, cohort: Cohort, rows: np.ndarray, seed: int = 0) -> "FeatureModel":
        """Fit on some rows of a cohort."""
        features = self._learn_features(cohort, rows)
        self.classifier_ = self._classifier().fit(features, cohort.labels[rows], scan_groups(cohort.participants)[rows])
        return self

    def predict(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Probability of being a patient for other rows of a cohort, [len(rows)]."""
        return self.classifier_.predict_proba(self._features(cohort, rows))[:, 1]

    def features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """What the classifier sees of some rows, after `fit`: [len(rows), F]."""
        return self._features(cohort, rows)

    def decide_many(self, cohort: Cohort, train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Decision values on `test` for many label vectors of `train` [n, P], after `fit`: [len(test), P]."""
        features, groups = self._features(cohort, train), scan_groups(cohort.participants)[train]
        return self._classifier().decide_many(features, labels, self._features(cohort, test), groups)

    def taught(self, cohort: Cohort, rows: np.ndarray) -> "FeatureModel":
        """The same model with other labels of the people it learned from: what sees no label stays as it is."""
        twin, groups = copy.copy(self), scan_groups(cohort.participants)[rows]
        twin.classifier_ = self._classifier().fit(self._features(cohort, rows), cohort.labels[rows], groups)
        return twin

    def _built(self, skipped: Collection[str]):
        """A classifier from the options, without those that it does not read."""
        options = {key: value for key, value in self.spec.items() if key != "name" and key not in skipped}
        return self.card.load()(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
        )


class EdgeModel(FeatureModel):
    """Fill in missing regions, represent (edges or tangent space), prepare (`Preparation`), classify."""

    def __init__(self, spec: dict, measure: str):
        super().__init__(spec)
        lacking = self.card.lacks(MEASURES[measure])
        if lacking:
            raise ValueError(
                f"model={spec['name']} needs {lacking}; connectivity={measure} has none. "
                f"Choose {' or '.join(self.card.suited())}."
            )
        self.measure, self.tangent = measure, MEASURES[measure].tangent
        if any(spec.get("soften", ())) and not self.tangent:
            raise ValueError(
                f"model.soften={spec['soften']} is for the tangent space; connectivity={measure} has none: "
                "leave it at [0]."
            )
        self._kept: list[tuple] = []

    def predict_matrices(self, matrices: np.ndarray, participants: pd.DataFrame | None = None) -> np.ndarray:
        """Probabilities from connectivity matrices [n, N, N]; see `edges_of_matrices`.

        A model that harmonises or deconfounds takes the people for ones of an unknown site and average covariates,
        unless their table is given.
        """
        edges = edges_of_matrices(matrices, self.measure)
        features = self.space_.transform(edges) if self.tangent else edges
        return self.classifier_.predict_proba(self.preparation_.transform(features, participants))[:, 1]

    def edge_weights(self) -> np.ndarray | None:
        """Weights on the (prepared) edges, [E]; None in the tangent space, whose features are not single edges."""
        return None if self.tangent else self.classifier_.weights_

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        arrays = {**self.classifier_.state(), **self.preparation_.state(), **self.filler_.state()}
        return arrays | self.space_.state() | self.masked_.state() if self.tangent else arrays

    def load_state(self, arrays: dict[str, np.ndarray]) -> "EdgeModel":
        """Restore from `state`."""
        self.classifier_ = self._classifier().load_state(arrays)
        self.preparation_ = Preparation(self.spec).load_state(arrays)
        self.filler_ = MissingRegions().load_state(arrays, self.tangent)
        if self.tangent:
            self.space_ = self._space().load_state(arrays)
            self.masked_, self._kept = self._masked().load_state(arrays), []
        return self

    def remember(self, cohort: Cohort, rows: np.ndarray) -> "EdgeModel":
        """Give a restored model the people it learned from, who then need no stand-ins (`MaskedRegression`)."""
        if self.tangent:
            self.masked_.fit(cohort.values, cohort.missing, rows)
            self._kept = []
        return self

    def _learn_features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        missing, people = cohort.missing[rows], cohort.participants.iloc[rows]
        self.filler_ = MissingRegions().fit(cohort.values[rows], missing, cohort.pairs)
        edges = self.filler_.transform(cohort.values[rows], missing)
        if self.tangent:
            self.space_ = self._space(missing).fit(edges, cohort.missing.shape[1])
            self.masked_, self._kept = self._masked().fit(cohort.values, cohort.missing, rows), []
        features = self._keep(cohort, rows, self._represented(edges, missing))
        self.preparation_ = Preparation(self.spec).fit(features, people)
        return self.preparation_.transform(features, people)

    def _features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        return self.preparation_.transform(self._unprepared(cohort, rows), cohort.participants.iloc[rows])

    def _unprepared(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Edges or tangent vectors of some rows; vectors of the same rows are computed once."""
        for values, missing, known, features in self._kept:
            if values is cohort.values and missing is cohort.missing and np.array_equal(known, rows):
                return features
        missing = cohort.missing[rows]
        edges = self.filler_.transform(cohort.values[rows], missing)
        return self._keep(cohort, rows, self._represented(edges, missing))

    def _keep(self, cohort: Cohort, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        if self.tangent and features.nbytes + sum(kept.nbytes for *_, kept in self._kept) <= KEPT:
            self._kept.append((cohort.values, cohort.missing, np.array(rows), features))
        return features

    def _represented(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        return self.masked_.transform(self.space_.transform(edges), missing) if self.tangent else edges

    def _masked(self) -> MaskedRegression:
        return MaskedRegression(self.filler_, self.space_.transform)

    def _space(self, missing: np.ndarray | None = None):
        return self.card.space(self.spec, missing)

    def _classifier(self):
        return self._built(skipped=(*PREPARED, *SOFTENED))


class FloorModel(FeatureModel):
    """The confound floor: logistic regression on covariates alone.

    Where training subjects differ in it, it also sees how many regions a person lacks, but not which.
    """

    measure = "covariates"

    def edge_weights(self) -> None:
        """The floor sees no edges."""
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Weights on the encoded covariates, and the encoding."""
        return {**self.classifier_.state(), "encoding": np.array(json.dumps(self.encoder_.state()))}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "FloorModel":
        """Restore from `state`."""
        encoding = json.loads(str(arrays["encoding"]))
        lacking = [LACKING] if LACKING in encoding["numeric"] else []
        self.encoder_ = CovariateEncoder([*self.spec["covariates"], *lacking]).load_state(encoding)
        self.classifier_ = self._classifier().load_state(arrays)
        return self

    def _classifier(self):
        return self._built(skipped=("covariates",))

    def _learn_features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        differ = len(np.unique(cohort.missing[rows].sum(1))) > 1
        names = [*self.spec["covariates"], *([LACKING] if differ else [])]
        self.encoder_ = CovariateEncoder(names).fit(self._people(cohort, rows))
        return self._features(cohort, rows)

    def _features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        return self.encoder_.transform(self._people(cohort, rows))

    def _people(self, cohort: Cohort, rows: np.ndarray) -> pd.DataFrame:
        return cohort.participants.iloc[rows].assign(**{LACKING: cohort.missing[rows].sum(1).astype(float)})


Model = EdgeModel | FloorModel | GraphModel


def build(spec: dict, measure: str, graph: dict, training: dict) -> Model:
    """Build the model that the `model` section of the configuration names, as its card says."""
    kind = card_of(spec["name"]).kind
    if kind == "floor":
        return FloorModel(spec)
    return GraphModel(spec, graph, training, measure) if kind == "graph" else EdgeModel(spec, measure)
