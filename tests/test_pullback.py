"""Gradients in the tangent space, taken back to single connections: against differences, and what is planted."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import logm

from dysconnect.attribute.folds import fisher_edges, fold_maps, held_out, randomised_twin
from dysconnect.attribute.tangent import tangent_gradient
from dysconnect.data.edges import Pairs
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.start import RidgeStart
from dysconnect.learning.saved import FoldModel, read_folds, save_folds
from dysconnect.learning.splits import make_splits
from dysconnect.models.dual import PENALTIES
from dysconnect.models.pullback import correlation_gradients, log_differences
from dysconnect.models.riemann import ReducedTangent
from dysconnect.models.softened import CommonTangent, SoftenedTangent, soften
from dysconnect.models.tangent import TangentSpace
from dysconnect.models.wide import profile_kernel
from dysconnect.train import cross_validate

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TRAIN, TEST = np.arange(40), np.arange(40, 60)
STEP, SOME = 1e-4, np.array([0, 3, 7, 12])


def moved(covariance: np.ndarray, edge: int, change: float) -> np.ndarray:
    """A covariance [N (N + 1) / 2] whose Fisher z of one pair changed, variances and other correlations held."""
    pairs = Pairs.of(len(covariance), diagonal=True)
    matrix = pairs.matrix(covariance.astype(float))
    i, j = (ends[edge] for ends in Pairs(pairs.n).ends)
    size = np.sqrt(matrix[i, i] * matrix[j, j])
    matrix[i, j] = matrix[j, i] = size * np.tanh(np.arctanh(matrix[i, j] / size) + change)
    return pairs.edges(matrix)


def differences(decide, covariance: np.ndarray) -> np.ndarray:
    """Central differences of a decision about one person by the Fisher z of some pairs, to the fourth order."""
    at = lambda edge, steps: decide(moved(covariance, edge, steps * STEP))
    slope = lambda edge: 8 * (at(edge, 1) - at(edge, -1)) - (at(edge, 2) - at(edge, -2))
    return np.array([slope(edge) for edge in SOME]) / (12 * STEP)


def vector(covariance: np.ndarray, whitening: np.ndarray, degree: float = 0) -> np.ndarray:
    """Tangent vector of one person in double precision, by scipy's logarithm."""
    matrix = Pairs.of(len(covariance), diagonal=True).matrix(soften(covariance[None].astype(float), degree)[0])
    pairs = Pairs(whitening.shape[1], diagonal=True)
    return pairs.edges(logm(whitening.T @ matrix @ whitening)) * np.where(pairs.rows == pairs.cols, 1, np.sqrt(2))


def softened(space: SoftenedTangent, covariance: np.ndarray) -> np.ndarray:
    """Mean of the views of one person in double precision."""
    return sum(
        vector(covariance, part.whitening_, degree) * space.sizes_[0] / size / len(space.degrees)
        for part, size, degree in zip(space.spaces_, space.sizes_, space.degrees)
    )


def exact(space, covariance: np.ndarray) -> np.ndarray:
    """What `space.transform` makes of one person, in double precision."""
    if isinstance(space, CommonTangent):
        return softened(space.space_, covariance[space.kept_])
    if isinstance(space, SoftenedTangent):
        return softened(space, covariance)
    return space.transform(covariance[None])[0] if isinstance(space, ReducedTangent) else vector(
        covariance, space.whitening_
    )  # fmt: skip


def lacking(n: int, n_nodes: int, region: int) -> np.ndarray:
    """One in four people lacks a region."""
    missing = np.zeros((n, n_nodes), bool)
    missing[::4, region] = True
    return missing


@pytest.mark.parametrize(
    "space",
    [
        TangentSpace(),
        SoftenedTangent([0, 0.5]),
        SoftenedTangent([0.7]),
        CommonTangent([0, 0.5], lacking(40, 8, 2)),
        ReducedTangent(5),
    ],
    ids=["tangent", "two degrees", "one degree", "left out", "reduced"],
)
def test_taken_back_gradients_are_those_of_differences(make_covariances, space):
    values = make_covariances(60).values.astype(float)
    space.fit(values[TRAIN], 8)
    person, rng = values[50], np.random.default_rng(0)
    weights, bent = rng.normal(size=(2, len(exact(space, person))))
    decide = lambda covariance: np.tanh(exact(space, covariance) @ weights) + (exact(space, covariance) @ bent) ** 2
    features = exact(space, person)
    by_features = weights / np.cosh(features @ weights) ** 2 + 2 * (features @ bent) * bent
    expected = differences(decide, person)
    found = correlation_gradients(space, person[None], by_features[None])[0]
    np.testing.assert_allclose(found[SOME], expected, atol=1e-6 * np.abs(expected).max())
    if isinstance(space, CommonTangent):
        assert not found[Pairs(8).touching(np.arange(8) == 2)].any() and found.any()


def test_the_logarithms_differences_of_equal_eigenvalues_are_its_slope():
    values = np.array([0.2, 0.5, 0.5, 0.5 * (1 + 1e-12), 3.0])
    found = log_differences(values)
    np.testing.assert_allclose(found, found.T, rtol=1e-12)
    np.testing.assert_allclose(np.diag(found), 1 / values, rtol=1e-12)
    np.testing.assert_allclose(found[1:4, 1:4], 2, rtol=1e-11)
    assert found[0, 4] == pytest.approx(np.log(15) / 2.8)


def model_of(name: str, **options) -> dict:
    """Sections of a model in the tangent space that is no network trained step by step."""
    spec = {"name": name, "penalties": list(PENALTIES), "soften": [0, 0.5], **options}
    return {"model": spec, "measure": "tangent", "graph": {}, "training": {"permutations": 0, "seed": 0}}


def wide(**options) -> dict:
    return model_of("wide", **{"depth": 2, "learned": 0.0, **options})


def built(spec: dict):
    return build(spec["model"], spec["measure"], spec["graph"], spec["training"])


def wide_decision(model, covariance: np.ndarray) -> float:
    """Decision of a wide network about one person in double precision."""
    own, features = model.classifier_, exact(model.represented_.space_, covariance)[None]
    people = own.people_.astype(float) * own.unit_ - own.origin_
    return float((profile_kernel(features - own.origin_, people, own.depth, own.metric_) @ own.dual_)[0])


@pytest.mark.parametrize("learned", [0.0, 0.5])
def test_the_map_of_a_wide_network_is_that_of_differences_of_its_decision(make_covariances, learned):
    cohort = make_covariances(60, n_nodes=6, shift=0.3)
    model = built(wide(learned=learned)).fit(cohort, TRAIN)
    people = TEST[:2]
    expected = np.mean([differences(lambda c: wide_decision(model, c), cohort.values[k]) for k in people], axis=0)
    found = tangent_gradient(model, held_out(cohort, FoldModel(model, TRAIN, people, 0, 0, 0)).people)
    np.testing.assert_allclose(found[SOME], expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("edges", ["own", "mean"])
def test_the_map_of_a_network_is_that_of_differences_of_its_decision(make_covariances, sections, edges):
    """Features, the graph of a person's correlations (all positive ones), and ridge regression beside them."""
    cohort = make_covariances(60, n_nodes=6, shift=0.3)
    spec = sections("gcn", "tangent", validation=0, epochs=3, precision="float64")
    spec = {**spec, "graph": {"density": 1.0, "edges": edges}}
    model, rng = built(spec).fit(cohort, TRAIN), np.random.default_rng(0)
    numbers = [np.array([value]) for value in (0.1, 1.3, 0.0, 1.0)]
    start = RidgeStart(rng.normal(size=(21, 1)), *numbers)
    networks = model.networks_ = replace(model.networks_, gamma=np.array([0.7]), start=start)
    space = model.input_.represented_.space_

    def decide(covariance: np.ndarray) -> float:
        z = fisher_edges(replace(cohort, values=covariance[None]))[0]
        return float(networks.decide(np.concatenate([exact(space, covariance), z])[None])[0, 0])

    expected = np.mean([differences(decide, cohort.values[k]) for k in TEST[:2]], axis=0)
    found = tangent_gradient(model, held_out(cohort, FoldModel(model, TRAIN, TEST[:2], 0, 0, 0)).people)
    np.testing.assert_allclose(found[SOME], expected, atol=2e-6 * np.abs(expected).max())
    assert edges == "mean" or np.abs(found - without_graph(model, cohort)).max() > 1e-3


def without_graph(model, cohort) -> np.ndarray:
    """The map of the same network had it one graph for all."""
    networks = model.networks_
    shared = replace(networks, sections={**networks.sections, "graph": {"density": 1.0, "edges": "mean"}})
    twin = built({**model._sections(), "graph": {"density": 1.0, "edges": "mean"}})
    twin.input_, twin.networks_ = model.input_, shared
    return tangent_gradient(twin, held_out(cohort, FoldModel(twin, TRAIN, TEST[:2], 0, 0, 0)).people)


@pytest.mark.parametrize("name", ["ridge", "riemann", "wide", "gcn"])
def test_a_planted_connection_is_found_and_not_without_learning(make_covariances, sections, tmp_path, name):
    cohort = make_covariances(80, shift=0.3)
    spec = {"ridge": model_of("ridge"), "riemann": {**model_of("ridge"), "model": {"name": "riemann", "components": 7}}}
    spec = {**spec, "wide": wide(), "gcn": boosted(sections)}[name]
    splits = make_splits(cohort.participants, 2, 1, 0)
    save_folds(cross_validate(cohort, splits, name, spec).folds, cohort, tmp_path / "folds.npz")
    learned, random = 0, 0
    for fold in read_folds(tmp_path / "folds.npz", cohort, splits):
        own = held_out(cohort, fold)
        learned = learned + fold_maps(own)["gradient"]
        random = random + np.array([fold_maps(randomised_twin(own, seed))["gradient"] for seed in range(8)])
    assert learned[0] == np.abs(learned).max()  # of 28; more in patients
    ahead = [own[0] > 0 and own[0] == np.abs(own).max() for own in random]
    assert sum(ahead) <= 4  # what differs so much between people stands out with either sign


def boosted(sections) -> dict:
    """Sections of a network that starts from ridge regression."""
    own = sections("gcn", "tangent", inner_folds=2, validation=0, epochs=2)
    return {**own, "model": {**own["model"], "start": "ridge", "linear": False}}


def test_the_map_survives_saving_and_sees_no_held_out_label(make_covariances):
    cohort = make_covariances(60, shift=0.3)
    model = built(wide()).fit(cohort, TRAIN)
    fold = FoldModel(model, TRAIN, TEST, 0, 0, 0)
    again = built(wide()).load_state({**model.state(), "n_nodes": np.array(8)}).remember(cohort, TRAIN)
    turned = cohort.labels.copy()
    turned[TEST] = 1 - turned[TEST]
    other = replace(cohort, participants=cohort.participants.assign(label=turned))
    expected = fold_maps(held_out(cohort, fold))["gradient"]
    np.testing.assert_allclose(fold_maps(held_out(cohort, fold._replace(model=again)))["gradient"], expected, rtol=1e-6)
    np.testing.assert_array_equal(fold_maps(held_out(other, fold))["gradient"], expected)


@pytest.mark.parametrize("name", ["ridge", "wide"])
def test_people_who_lack_regions_count_only_where_nobody_is_complete(make_covariances, name):
    cohort = replace(make_covariances(60), missing=lacking(60, 8, 5))
    model = built(wide() if name == "wide" else model_of("ridge")).fit(cohort, TRAIN)
    seen = lambda rows: tangent_gradient(model, held_out(cohort, FoldModel(model, TRAIN, rows, 0, 0, 0)).people)
    complete = ~cohort.missing[TEST].any(1)
    np.testing.assert_allclose(seen(TEST), seen(TEST[complete]), rtol=1e-6, atol=1e-9)
    assert np.isfinite(seen(TEST[~complete])).all() and seen(TEST[~complete]).any()
    spread = held_out(cohort, FoldModel(model, TRAIN, TEST, 0, 0, 0)).spread
    assert spread.shape == (28,) and (spread > 0).all()


def test_harmonised_sites_are_taken_back_too(make_covariances):
    """Twice the scale of a site's tangent vectors is half the gradient there."""
    cohort = make_covariances(60, n_nodes=6)
    model = built(model_of("ridge", soften=[0], harmonise="combat")).fit(cohort, TRAIN)
    person = TEST[:1]
    space, weights = model.represented_.space_, model.classifier_.weights_
    people = cohort.participants.iloc[person]
    decide = lambda c: float(
        model.preparation_.combat_.mean_ @ weights
        + ((exact(space, c) - model.preparation_.combat_.mean_) / scale_of(model, people)) @ weights
    )
    found = tangent_gradient(model, held_out(cohort, FoldModel(model, TRAIN, person, 0, 0, 0)).people)
    expected = differences(decide, cohort.values[person[0]])
    np.testing.assert_allclose(found[SOME], expected, atol=1e-6 * np.abs(expected).max())


def scale_of(model, people) -> np.ndarray:
    combat = model.preparation_.combat_
    return combat.scale_[combat.sites_.index(people["site"].iloc[0])]
