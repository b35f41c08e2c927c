"""Maps of one fold's model from people it never saw: what each kind of model offers, and its randomised twin."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logit

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.measures import MEASURES, fisher_z
from dysconnect.learning.estimators import Model
from dysconnect.learning.saved import FoldModel
from dysconnect.models.cards import is_graph

STEPS = 8  # of integrated gradients


@dataclass(frozen=True)
class HeldOut:
    """A fold's model and the people it never saw.

    Attributes
    ----------
    model : Model
    people : Cohort
        Those held out, completed; in the tangent space `missing` still says what was filled in.
    baseline, spread : array, [E]
        Mean edges of the training controls; standard deviation of the training subjects' Fisher z, or of what edges
        are where they are no correlations.
    """

    model: Model
    people: Cohort
    baseline: np.ndarray
    spread: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """What a network is given of the held-out people: edges, and behind them those of a given graph, [m, E]."""
        return self.model.input_.of(self.people, np.arange(len(self.people.values)))[:]

    def decide(self, edges: np.ndarray) -> np.ndarray:
        """Logits of the held-out people, had they these edges, [m, E] -> [m]."""
        probability = self.model.predict(replace(self.people, values=edges), np.arange(len(edges)))
        return logit(np.clip(probability, 1e-12, 1 - 1e-12))


def held_out(cohort: Cohort, fold: FoldModel) -> HeldOut:
    """Look at a fold from its test side; labels of held-out people are there to score curves, and for no map."""
    fill = lambda rows: fold.model.filler_.transform(cohort.values[rows], cohort.missing[rows])
    train, controls = fill(fold.train), cohort.labels[fold.train] == 0
    people = cohort.participants.iloc[fold.test].reset_index(drop=True)
    lost = cohort.missing[fold.test]  # a tangent vector must know of them even after they were filled in
    missing = lost if MEASURES[cohort.measure].tangent else np.zeros_like(lost)
    graph = None if cohort.graph is None else cohort.graph[fold.test]
    people = replace(cohort, participants=people, values=fill(fold.test), missing=missing, graph=graph)
    spread = fisher_edges(replace(cohort, values=train)).std(0)
    return HeldOut(fold.model, people, train[controls].mean(0), spread)


def fold_maps(fold: HeldOut) -> dict[str, np.ndarray]:
    """All maps of a fold, each [E]: how much the model makes of an edge, for one spread of it.

    `weights` (linear models) and `gradient` (networks, and all models in the tangent space, where weights are those of
    no single edge: at the held-out people, averaged) have the sign of patients having more; `integrated_gradients` is
    the mean magnitude over held-out people, from the mean of the training controls; `haufe` is the pattern of the
    decision; `mask` is IBGNN's. No held-out label is used.
    """
    maps = {"haufe": haufe_pattern(fisher_edges(fold.people), fold.decide(fold.people.values))}
    if fold.model.tangent:
        from dysconnect.attribute.tangent import tangent_gradient  # with torch, which takes seconds to load

        return {"gradient": tangent_gradient(fold.model, fold.people) * fold.spread} | maps
    if is_graph(fold.model.spec["name"]):
        return _network_maps(fold) | maps
    weights = fold.model.edge_weights()
    return maps if weights is None else {"weights": weights * fold.spread} | maps


def _network_maps(fold: HeldOut) -> dict[str, np.ndarray]:
    from dysconnect.attribute.gradients import edge_masks, integrated_gradients, mean_gradients  # torch

    networks, numbers, n_edges = fold.model.networks_, fold.numbers, len(fold.spread)
    baseline = numbers.copy()
    baseline[:, :n_edges] = fold.baseline  # a graph of other connectomes stays as it is
    paths = integrated_gradients(networks, numbers, baseline, STEPS)[..., :n_edges]
    maps = {
        "integrated_gradients": np.abs(paths).mean((0, 1)),
        "gradient": mean_gradients(networks, numbers).mean(0)[:n_edges] * fold.spread,
    }
    mask = edge_masks(networks)
    return maps if mask is None else maps | {"mask": mask.mean(0)}


def haufe_pattern(edges: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """What the decision looks like in the edges: their correlation over people, [m, E] and [m] -> [E].

    Weights of a multivariate model also cancel noise; the pattern ``cov(x, s) / var(s)`` shows what varies with the
    decision s. Edges are taken in units of their spread.

    References
    ----------
    Haufe et al. (2014), doi:10.1016/j.neuroimage.2013.10.067.
    """
    centred, decided = edges - edges.mean(0, dtype=float), decisions - decisions.mean()
    size = np.linalg.norm(centred, axis=0) * np.linalg.norm(decided)
    return decided @ centred / np.where(size > 1e-12, size, np.inf)


def fisher_edges(cohort: Cohort) -> np.ndarray:
    """Fisher z of everybody, [n, E]: of covariances, that of their correlations."""
    if not MEASURES[cohort.measure].tangent:
        return cohort.values
    matrices = cohort.pairs.matrix(np.asarray(cohort.values, float))
    rows, cols = Pairs(len(cohort.nodes)).ends
    scale = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    return fisher_z(matrices[:, rows, cols] / (scale[:, rows] * scale[:, cols]))


def randomised_twin(fold: HeldOut, seed: int) -> HeldOut:
    """The same fold with a model that knows nothing: weights permuted, or as before the training."""
    model = copy.copy(fold.model)
    if is_graph(model.spec["name"]):
        from dysconnect.attribute.gradients import randomised

        model.networks_ = randomised(model.networks_, seed)
    else:
        model.classifier_ = model.classifier_.shuffled(np.random.default_rng([seed, 19]))
    return replace(fold, model=model)


def shuffled_twin(cohort: Cohort, fold: FoldModel, build: Callable[[], Model], seed: int) -> HeldOut:
    """The same fold with a model of shuffled labels: of the training subjects, inside their sites."""
    rng, labels = np.random.default_rng([seed, 29]), cohort.labels.copy()
    sites = cohort.participants["site"].to_numpy()[fold.train]
    for site in np.unique(sites):
        members = fold.train[sites == site]
        labels[members] = rng.permutation(labels[members])
    shuffled = replace(cohort, participants=cohort.participants.assign(label=labels))
    graph = is_graph(fold.model.spec["name"])
    model = build().fit(shuffled, fold.train, seed=seed) if graph else fold.model.taught(shuffled, fold.train)
    return held_out(shuffled, fold._replace(model=model))
