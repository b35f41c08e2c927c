"""Whether totals over sites say who is in them: at chance for as many circuits as are permuted, and not for edges.

The attacker has the scans of some people, all plain sums, and the totals of every permutation. He asks whether a scan
lies in the span of the totals, and how far it lies from the mean, as the totals say that people vary together; beside
it, how far as the plain sums say that they vary in each circuit.
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dysconnect.pooling.masks import stream
from dysconnect.pooling.permuted import centred, permuted_products
from dysconnect.share.session import MOST_CIRCUITS, most_circuits


@pytest.fixture(scope="module")
def simulated():
    """Edges of people at three sites who are alike by twenty patterns, labels and sites."""
    rng = np.random.default_rng(1)
    patterns = rng.normal(0, 1, (20, 3000)) / np.arange(1, 21)[:, None]
    edges = 0.3 + 0.03 * rng.normal(0, 1, (240, 20)) @ patterns + rng.normal(0, 0.15, (240, 3000))
    return edges, np.arange(240) % 2, np.repeat([0, 1, 2], 80)


@pytest.fixture(scope="module")
def abide(real_data):
    """Connections of real people at three sites."""
    edges, sites = [], []
    for k, name in enumerate(("NYU", "PITT", "KKI")):
        with np.load(real_data / f"abide/cc200_filt_global_z16/{name}.npz") as series:
            for scan in series.values():
                if (scan.std(0) > 1e-6).all():
                    edges.append(
                        np.arctanh(np.clip(np.corrcoef(scan.T.astype(float))[np.triu_indices(200, 1)], -0.999, 0.999))
                    )
                    sites.append(k)
    return np.array(edges), np.arange(len(sites)) % 2, np.array(sites)


def totals_of(values: np.ndarray, label: np.ndarray, site: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Totals over sites of people in them, [n, V], as the combiner sees them."""
    parts = []
    for k in np.unique(site):
        rows = np.flatnonzero(site == k)
        inside = np.zeros(len(rows), int)
        group = centred(label[rows].astype(float), inside)
        draw = stream(bytes([seed % 256, k] * 16), "permutations", b"")
        parts.append(permuted_products(group, centred(values[rows], inside), inside, draw, n)[1:])
    return sum(parts)


def attacked(
    people, sites: int, per_site: int, n_values: int | None, permutations: int, draws: int
) -> tuple[float, ...]:
    """AUC for those who are in against others: distance to the span, to the mean by totals, and by plain sums."""
    (edges, label, site), rng, found = people, np.random.default_rng(0), []
    for seed in range(draws):
        order = [rng.permutation(np.flatnonzero(site == k)) for k in range(sites)]
        members, others = (np.concatenate([one[part] for one in order]) for part in
                           (slice(per_site), slice(per_site, 2 * per_site)))  # fmt: skip
        values = edges
        if n_values:
            values = np.stack([edges[:, rng.choice(edges.shape[1], 100, False)].mean(1) for _ in range(n_values)], 1)
        totals = totals_of(values[members], label[members], site[members], permutations, seed)
        both = np.concatenate([members, others])
        away = values[both].copy()
        for k in range(sites):
            away[site[both] == k] -= values[members][site[members] == k].mean(0)
        _, strength, span = np.linalg.svd(totals, full_matrices=False)
        along = away @ span[strength > 1e-8 * strength[0]].T
        inside = np.linalg.norm(along, axis=1) / np.linalg.norm(away, axis=1)
        near = -((along / strength[strength > 1e-8 * strength[0]]) ** 2).sum(1)
        known = np.arange(len(both)) < len(members)
        plain = -((away / values[members].std(0)) ** 2).sum(1)
        found.append([roc_auc_score(known, score) for score in (np.round(inside, 6), near, plain)])
    return tuple(np.mean(found, 0))


@pytest.mark.parametrize("cohort", ["simulated", "abide"])
def test_circuits_as_many_as_are_permuted_say_next_to_nothing(cohort, request):
    """Of three sites, and of two that are left where the third takes its own people away."""
    people = request.getfixturevalue(cohort)
    for sites, per_site, count in ((3, 28, most_circuits(56)), (2, 20, most_circuits(40)), (2, 28, most_circuits(56))):
        span, near, plain = attacked(people, sites, per_site, count, 999, 40)
        print(f"{cohort}: {sites * per_site} people, {count} circuits: {span:.3f}, {near:.3f} (sums: {plain:.3f})")
        assert abs(span - 0.5) < 0.01 and near < 0.6 and near < plain + 0.04


@pytest.mark.parametrize("cohort", ["simulated", "abide"])
def test_more_circuits_and_edges_say_who_is_in(cohort, request):
    people = request.getfixturevalue(cohort)
    span, near, plain = attacked(people, 3, 20, MOST_CIRCUITS, 999, 10)
    edges, *_ = attacked(people, 3, 28, None, 19, 3)
    print(f"{cohort}: 60 people, 20 circuits: {span:.3f}, {near:.3f} (sums: {plain:.3f}); edges {edges:.3f}")
    assert abs(span - 0.5) < 0.01 and near > 0.7 and edges > 0.95
