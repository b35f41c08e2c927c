"""Graph networks of infinite width, and tangent spaces that whiten less."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dysconnect.data.edges import Pairs
from dysconnect.models.dual import DualRidge
from dysconnect.models.low_rank import unfold
from dysconnect.models.softened import CommonTangent, SoftenedTangent, soften
from dysconnect.models.tangent import TangentSpace
from dysconnect.models.wide import Wide, learned_metric, profile_kernel

N = 6
TRIANGLE = Pairs(N, diagonal=True)


def people(n: int, seed: int = 0) -> np.ndarray:
    """Tangent vectors of n people, float32 ."""
    return np.random.default_rng(seed).standard_normal((n, len(TRIANGLE))).astype(np.float32)


def covariances(n: int, seed: int = 0, volumes: int = 40) -> np.ndarray:
    """Sample covariances of n people, as edges with diagonal."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((N, N))
    series = rng.standard_normal((n, volumes, N)) @ mixing
    return TRIANGLE.edges(np.einsum("nti,ntj->nij", series, series) / volumes)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_kernel_is_the_limit_of_wide_networks(depth):
    X = people(8)
    limit, off = profile_kernel(X, X, depth), {}
    for width in (256, 4096):
        errors = []
        for seed in range(6):
            rng, hidden = np.random.default_rng([seed, width]), unfold(X.T).astype(float)
            for _ in range(depth):
                layer = rng.standard_normal((hidden.shape[-1], width)) * np.sqrt(2 / width)
                hidden = np.maximum(hidden @ layer, 0)
            errors.append(np.einsum("aiw,biw->ab", hidden, hidden) - limit)
        off[width] = np.sqrt(np.mean(np.square(errors))) / np.abs(limit).mean()
    assert off[4096] < 0.05
    assert 2.5 < off[256] / off[4096] < 6.5  # 1 / sqrt(width): 4


def test_without_a_layer_it_is_ridge():
    X, y = people(40), np.arange(40) % 2
    wide = Wide(depth=0).fit(X, y)
    ridge = DualRidge().fit(wide.people_.astype(float) * wide.unit_, y)
    new = people(10, seed=1)
    np.testing.assert_allclose(wide.decision_function(new), ridge.decision_function(new), atol=1e-5)


def test_leaving_one_out_in_closed_form_is_fitting_again():
    X, y = people(24), np.arange(24) % 2
    wide = Wide(penalties=(0.3,))
    kernel = profile_kernel(X, X, 2)
    centred = kernel - kernel.mean(0) - kernel.mean(0)[:, None] + kernel.mean()
    scale = np.trace(centred) / len(centred)
    *_, left_out = DualRidge((0.3,)).solve(centred / scale, y[:, None])
    for k in range(3):
        rest = np.arange(24) != k
        part = kernel[np.ix_(rest, rest)]
        inner = part - part.mean(0) - part.mean(0)[:, None] + part.mean()
        wide.penalties = (0.3 * scale / (np.trace(inner) / len(inner)),)  # the same penalty in units of the kernel
        _, dual, _, intercept = wide._learn(X[rest], part, y[rest, None], None)
        assert (kernel[k, rest] @ dual + intercept)[0] == pytest.approx(left_out[k, 0], abs=1e-8)


@pytest.mark.parametrize(("depth", "learned", "share"), [(0, 0.5, 0.3), (1, 0.0, 0.0), (2, 0.5, 0.0), (2, 0.0, 0.3)])
def test_the_gradient_is_that_of_differences(depth, learned, share):
    X, y = people(30), np.arange(30) % 2
    wide, asked, step = Wide(depth, learned, share).fit(X, y), people(2, seed=3), 1e-2
    shifts = step * np.eye(X.shape[1], dtype=np.float32)
    for person, gradient in zip(asked, wide.gradient(asked)):
        ahead, behind = wide.decision_function(person + shifts), wide.decision_function(person - shifts)
        np.testing.assert_allclose(gradient, (ahead - behind) / (2 * step), atol=2e-5 * np.abs(gradient).max() + 1e-5)


@pytest.mark.parametrize(("learned", "share"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.3), (0.5, 0.3)])
def test_what_was_saved_predicts_the_same_and_many_labels_are_one_by_one(learned, share):
    X, y, new = people(40), np.arange(40) % 2, people(9, seed=1)
    wide = Wide(learned=learned, share=share).fit(X, y)
    restored = Wide(learned=learned, share=share).load_state(wide.state())
    np.testing.assert_array_equal(restored.predict_proba(new), wide.predict_proba(new))
    labels = np.random.default_rng(0).permuted(np.repeat(y[:, None], 20, 1), axis=0)
    many = Wide(learned=learned, share=share).decide_many(X, labels, new)
    for k in (0, 7, 19):
        alone = Wide(learned=learned, share=share).fit(X, labels[:, k]).decision_function(new)
        np.testing.assert_allclose(many[:, k], alone, atol=2e-2 if share else 1e-10)  # its search stops at a percent


@pytest.mark.parametrize("depth", [0, 2])
def test_a_learned_metric_is_a_layer_before_the_others(depth):
    X, new = people(20), people(4, seed=1)
    metric = learned_metric(X, np.random.default_rng(2).standard_normal(20), depth, 0.5)
    values, vectors = np.linalg.eigh(metric)
    layer, expected = (vectors * np.sqrt(values)) @ vectors.T, np.zeros((4, 20))
    for person in range(4):
        for other in range(20):
            for s, t in zip(unfold(new.T)[person] @ layer, unfold(X.T)[other] @ layer):
                cosine = s @ t / np.sqrt((s @ s) * (t @ t))
                for _ in range(depth):
                    cosine = (np.sqrt(1 - cosine**2) + (np.pi - np.arccos(cosine)) * cosine) / np.pi
                expected[person, other] += cosine * np.sqrt((s @ s) * (t @ t))
    np.testing.assert_allclose(profile_kernel(new, X, depth, metric), expected, rtol=1e-4, atol=1e-4)


def test_a_learned_metric_without_layers_is_that_of_the_weights():
    X, dual = people(25), np.random.default_rng(0).standard_normal(25)
    weights = unfold((dual @ X)[:, None])[0].astype(float)  # of ridge regression, whose gradient is the same everywhere
    products = weights.T @ weights
    expected = 0.25 * np.eye(N) + 0.75 * products * N / np.trace(products)
    np.testing.assert_allclose(learned_metric(X, dual, 0, 0.75), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(learned_metric(X, dual, 2, 0.0), np.eye(N, dtype=np.float32))


def test_a_metric_is_learned_where_few_profiles_of_few_directions_matter():
    rng, size = np.random.default_rng(3), 20
    pairs = Pairs(size, diagonal=True)
    X = rng.standard_normal((300, len(pairs))).astype(np.float32)
    direction = rng.standard_normal(size) / np.sqrt(size)
    along = np.einsum("i,nij,j->n", direction, unfold(X.T), direction)  # a network of regions: weights of rank one
    y = (along + 0.3 * along.std() * rng.standard_normal(300) > 0).astype(int)
    train, test = slice(0, 150), slice(150, 300)
    seen = {a: Wide(0, a).fit(X[train], y[train]) for a in (0.0, 0.5)}
    auc = {a: roc_auc_score(y[test], model.decision_function(X[test])) for a, model in seen.items()}
    assert auc[0.5] > auc[0.0] + 0.03
    strongest = np.linalg.eigh(seen[0.5].metric_)[1][:, -1]
    assert abs(strongest @ direction) / np.linalg.norm(direction) > 0.8


def test_it_sees_a_product_that_no_linear_model_sees():
    X = people(400, seed=5)
    first, second = TRIANGLE.matrix(np.arange(len(TRIANGLE)))[0, 1:3]
    y = (X[:, first] * X[:, second] > 0).astype(int)
    train, test = slice(0, 300), slice(300, 400)
    seen = {depth: Wide(depth).fit(X[train], y[train]).decision_function(X[test]) for depth in (0, 2)}
    assert roc_auc_score(y[test], seen[2]) > 0.75
    assert roc_auc_score(y[test], seen[0]) < 0.62


@pytest.mark.parametrize(("learned", "times"), [(0.0, 200), (0.5, 60)])
def test_labels_that_mean_nothing_give_chance(learned, times):
    X, y = people(60, seed=7), np.arange(60) % 2
    labels = np.random.default_rng(1).permuted(np.repeat(y[:, None], times, 1), axis=0)
    decided = Wide(learned=learned).decide_many(X[:40], labels[:40], X[40:])
    auc = [roc_auc_score(labels[40:, k], decided[:, k]) for k in range(times) if 0 < labels[40:, k].sum() < 20]
    assert abs(np.mean(auc) - 0.5) < 4 * np.std(auc) / np.sqrt(len(auc))


@pytest.mark.parametrize("learned", [0.0, 0.5])
def test_features_on_another_scale_change_nothing(learned):
    X, y, new = people(40), np.arange(40) % 2, people(5, seed=1)
    plain, larger = Wide(learned=learned).fit(X, y), Wide(learned=learned).fit(1e6 * X, y)
    np.testing.assert_allclose(larger.predict_proba(1e6 * new), plain.predict_proba(new), atol=1e-3)


@pytest.mark.parametrize("vector", [np.zeros(21), np.linspace(-1, 1, 21)])
def test_people_who_are_all_the_same_are_refused(vector):
    same, y = np.tile(vector, (12, 1)), np.arange(12) % 2
    for learned in (0, 0.5):
        with pytest.raises(ValueError, match="all 12 training people is the same"):
            Wide(learned=learned).fit(same, y)
        with pytest.raises(ValueError, match="all 12 training people is the same"):
            Wide(learned=learned).decide_many(same, y[:, None], same)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="one class only"):
        Wide().fit(people(10), np.zeros(10, int))


def test_softening_nothing_is_the_tangent_space():
    edges = covariances(30)
    plain = TangentSpace().fit(edges, N).transform(edges)
    np.testing.assert_allclose(SoftenedTangent([0]).fit(edges, N).transform(edges), plain, atol=1e-6)


def test_softened_almost_to_the_identity_tangent_vectors_are_correlations():
    edges = covariances(30)
    correlations = soften(edges, 0.0) / np.sqrt(
        edges[:, TRIANGLE.rows == TRIANGLE.cols][:, TRIANGLE.rows]
        * edges[:, TRIANGLE.rows == TRIANGLE.cols][:, TRIANGLE.cols]
    )
    vectors = SoftenedTangent([0.999]).fit(edges, N).transform(edges)
    off = TRIANGLE.rows != TRIANGLE.cols
    centred = (correlations - correlations.mean(0))[:, off] * np.sqrt(2)
    scale = (vectors[:, off] * centred).sum() / (centred**2).sum()
    np.testing.assert_allclose(vectors[:, off], scale * centred, atol=0.01 * np.abs(vectors).max())


def test_views_have_the_same_size_and_survive_saving():
    edges, new = covariances(30), covariances(4, seed=9)
    mixed = SoftenedTangent([0, 0.5]).fit(edges, N)
    views = [SoftenedTangent([degree]).fit(edges, N).transform(new) for degree in (0, 0.5)]
    expected = (views[0] + views[1] * mixed.sizes_[0] / mixed.sizes_[1]) / 2
    np.testing.assert_allclose(mixed.transform(new), expected, atol=1e-5)
    restored = SoftenedTangent([0, 0.5]).load_state(mixed.state())
    np.testing.assert_array_equal(restored.transform(new), mixed.transform(new))


def test_regions_on_another_scale_change_nothing_once_softened():
    edges = covariances(20)
    sizes = np.exp(np.random.default_rng(0).standard_normal((20, N)))
    scaled = edges * sizes[:, TRIANGLE.rows] * sizes[:, TRIANGLE.cols]
    np.testing.assert_allclose(soften(scaled, 0.5), soften(edges, 0.5), rtol=1e-9)


def test_regions_that_people_lack_are_left_out():
    edges, missing = covariances(40), np.zeros((40, N), bool)
    missing[::4, 2] = True
    space = CommonTangent([0, 0.5], missing).fit(edges, N)
    seen = np.flatnonzero((TRIANGLE.rows != 2) & (TRIANGLE.cols != 2))
    np.testing.assert_array_equal(space.kept_, seen)
    expected = SoftenedTangent([0, 0.5]).fit(edges[:, seen], N - 1).transform(edges[:, seen])
    np.testing.assert_array_equal(space.transform(edges), expected)
    changed = edges.copy()
    changed[:, TRIANGLE.rows == 2] *= 1.5
    np.testing.assert_array_equal(CommonTangent([0]).load_state(space.state() | {}).kept_, seen)
    np.testing.assert_array_equal(space.transform(changed), expected)
