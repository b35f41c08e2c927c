"""What models in the tangent space make of single connections: gradients at people, taken back to correlations."""

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.learning.estimators import EdgeModel
from dysconnect.learning.graph.model import GraphModel
from dysconnect.models.cards import is_graph
from dysconnect.models.pullback import correlation_gradients


def tangent_gradient(model: EdgeModel | GraphModel, people: Cohort) -> np.ndarray:
    """Gradient of the decision by the Fisher z of every pair of regions, averaged over people, [N (N - 1) / 2].

    Variances and all other correlations are held. Of a network it is that of the logit, with the part that goes through
    the graph; of others that of the decision. People whose tangent vectors are completed (`MaskedRegression`) count
    only where nobody is complete, and then as if what was completed had been measured.
    """
    graph = is_graph(model.spec["name"])
    represented = model.input_.represented_ if graph else model.represented_
    lacking = people.missing & ~represented.masked_.donors_.all(0)
    rows = np.flatnonzero(~lacking.any(1)) if not lacking.any(1).all() else np.arange(len(lacking))
    by_features, by_graph = (_of_network if graph else _of_features)(model, people, rows)
    found = correlation_gradients(represented.space_, represented.completed(people, rows), by_features)
    return (found + by_graph).mean(0)


def _of_features(model: EdgeModel, people: Cohort, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Gradients by the tangent vectors of some people, [n, F], before they were prepared; there is no graph."""
    classifier = model.classifier_
    if hasattr(classifier, "gradient"):
        slopes = classifier.gradient(model.features(people, rows))
    else:
        slopes = np.tile(classifier.weights_, (len(rows), 1))
    return model.preparation_.gradients(slopes, people.participants.iloc[rows]), 0.0


def _of_network(model: GraphModel, people: Cohort, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | float]:
    """Gradients by the tangent vectors of some people, [n, F], and by the Fisher z of which their graphs are made."""
    from dysconnect.attribute.gradients import people_gradients  # torch

    slopes = people_gradients(model.networks_, model.input_.of(people, rows))[0].astype(float)
    n_features = model.networks_.view().layout.n_features
    correlated = slopes.shape[1] > n_features and not model.graph.get("connectomes")  # other edges are none of theirs
    return slopes[:, :n_features], slopes[:, n_features:] if correlated else 0.0
