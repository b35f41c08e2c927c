"""One interface for every model: fit on rows of a cohort, predict others, save as plain arrays."""

import copy
import json
import warnings
from collections.abc import Collection
from functools import partial

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import MissingRegions, edges_of_matrices
from dysconnect.data.measures import MEASURES
from dysconnect.data.participants import scan_groups
from dysconnect.learning.graph.model import GraphModel
from dysconnect.learning.represented import Represented
from dysconnect.learning.splits import site_folds
from dysconnect.models.card import PREPARED, SOFTENED
from dysconnect.models.cards import card_of
from dysconnect.models.floor import CovariateEncoder
from dysconnect.models.prepare import Preparation, UnseenSite

LACKING = ("regions_missing", "edges_missing")  # what the floor calls the number of those that a person lacks


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

    def curve_at_new_sites(self, cohort: Cohort, rows: np.ndarray) -> tuple[float, float] | None:
        """Slope and offset of the probability for people of new sites, after `fit` on some rows.

        They are those of Platt's curve through decisions about whole sites left out of these rows (`site_folds`), by
        classifiers and steps of preparation that are fitted without them. The reference of the tangent space, which
        sees no label, is that of all rows. None where no site can be left out.
        """
        from dysconnect.models.dual import platt  # with scikit-learn, which takes a second to load

        people, labels = cohort.participants.iloc[rows], cohort.labels[rows]
        folds, held_out, groups = site_folds(people), np.empty(len(rows)), scan_groups(people)
        for fit, watch in folds:
            features, others = self._features_apart(cohort, rows, fit, watch)
            decided = self._classifier().decide_many(features, labels[fit][:, None], others, groups[fit])
            held_out[watch] = decided[:, 0]
        return platt(held_out, labels) if folds else None

    def _features_apart(
        self, cohort: Cohort, rows: np.ndarray, fit: np.ndarray, watch: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        features = self._features(cohort, rows)
        return features[fit], features[watch]

    nbytes = 0  # of what is kept of people

    def forget(self) -> None:
        """Keep nothing of the people that can be made again."""

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
    """Represent without gaps (edges or tangent space, `Represented`), prepare (`Preparation`), classify."""

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

    @property
    def filler_(self) -> MissingRegions:
        """What completes edges or covariances."""
        return self.represented_.filler_

    def predict_matrices(self, matrices: np.ndarray, participants: pd.DataFrame | None = None) -> np.ndarray:
        """Probabilities from connectivity matrices [n, N, N]; see `edges_of_matrices`.

        A model that harmonises or deconfounds takes the people for ones of an unknown site and average covariates,
        unless their table is given.
        """
        features = self.represented_.of_edges(edges_of_matrices(matrices, self.measure))
        return self.classifier_.predict_proba(self.preparation_.transform(features, participants))[:, 1]

    def edge_weights(self) -> np.ndarray | None:
        """Weights on the (prepared) edges, [E]; None in the tangent space, whose features are not single edges."""
        return None if self.tangent else self.classifier_.weights_

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        return {**self.classifier_.state(), **self.preparation_.state(), **self.represented_.state()}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "EdgeModel":
        """Restore from `state`."""
        self.classifier_ = self._classifier().load_state(arrays)
        self.preparation_ = Preparation(self.spec).load_state(arrays)
        self.represented_ = self._represented().load_state(arrays)
        return self

    def remember(self, cohort: Cohort, rows: np.ndarray) -> "EdgeModel":
        """Give a restored model the people it learned from, who then need no stand-ins (`MaskedRegression`)."""
        self.represented_.remember(cohort, rows)
        return self

    @property
    def nbytes(self) -> int:
        """Of the tangent vectors that are kept."""
        return self.represented_.nbytes

    def forget(self) -> None:
        """Keep no tangent vectors of people, see `Represented`."""
        self.represented_.forget()

    def _learn_features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        people, self.represented_ = cohort.participants.iloc[rows], self._represented()
        features = self.represented_.fit_transform(cohort, rows)
        self.preparation_ = Preparation(self.spec).fit(features, people)
        return self.preparation_.transform(features, people)

    def _features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        features = self.represented_.transform(cohort, rows)
        return self.preparation_.transform(features, cohort.participants.iloc[rows])

    def _features_apart(
        self, cohort: Cohort, rows: np.ndarray, fit: np.ndarray, watch: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features to fit on and to watch, prepared as if the rest had not been there."""
        features, people = self.represented_.transform(cohort, rows), cohort.participants.iloc[rows]
        preparation = Preparation(self.spec).fit(features[fit], people.iloc[fit])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnseenSite)  # these are unseen on purpose
            return tuple(preparation.transform(features[some], people.iloc[some]) for some in (fit, watch))

    def _represented(self) -> Represented:
        return Represented(self.tangent, partial(self.card.space, self.spec), curved=self.card.kind == "wide")

    def _classifier(self):
        return self._built(skipped=(*PREPARED, *SOFTENED))


class FloorModel(FeatureModel):
    """The confound floor: logistic regression on covariates alone, and what the measure says of regions if it may.

    Where training subjects differ in it, it also sees how many regions or edges a person lacks, but not which.
    """

    measure = "covariates"

    def edge_weights(self) -> None:
        """The floor sees no edges."""
        return None

    def state(self) -> dict[str, np.ndarray]:
        """Weights on the encoded covariates, and the encoding."""
        encoding = np.array(json.dumps(self.encoder_.state()))
        return {**self.classifier_.state(), "weights": self.classifier_.weights_, "encoding": encoding}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "FloorModel":
        """Restore from `state`."""
        encoding = json.loads(str(arrays["encoding"]))
        names = dict.fromkeys([*self.spec["covariates"], *encoding["numeric"]])
        self.encoder_ = CovariateEncoder(names).load_state(encoding)
        self.classifier_ = self._classifier().load_state(arrays)
        return self

    def _classifier(self):
        return self._built(skipped=("covariates", "regional"))

    def _learn_features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        people, counted = self._people(cohort, rows), self._counted(cohort)
        regions = people.columns.intersection(cohort.regional_table.columns)
        names = [*self.spec["covariates"], *([counted] if (people[counted] != people[counted].iloc[0]).any() else [])]
        names += [*regions[people[regions].notna().any()]]
        self.encoder_ = CovariateEncoder(names).fit(people)
        return self._features(cohort, rows)

    def _features(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        return self.encoder_.transform(self._people(cohort, rows))

    def _people(self, cohort: Cohort, rows: np.ndarray) -> pd.DataFrame:
        name = self._counted(cohort)
        lacked = cohort.missing[rows] if name == LACKING[0] else cohort.lacking(rows)
        people = cohort.participants.iloc[rows].assign(**{name: lacked.sum(1).astype(float)})
        return pd.concat([people, cohort.regional_table.iloc[rows]], axis=1) if self.spec.get("regional") else people

    @staticmethod
    def _counted(cohort: Cohort) -> str:
        return LACKING[MEASURES[cohort.measure].gaps]


Model = EdgeModel | FloorModel | GraphModel


def build(spec: dict, measure: str, graph: dict, training: dict) -> Model:
    """Build the model that the `model` section of the configuration names, as its card says."""
    kind = card_of(spec["name"]).kind
    if kind == "floor":
        return FloorModel(spec)
    return GraphModel(spec, graph, training, measure) if kind == "graph" else EdgeModel(spec, measure)
