"""Single edges that a person lacks, as the FA of two regions that no streamline joins: missing, and not zero."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from dysconnect.data.connectomes import Connectomes, data_hash, read_connectomes, write_connectomes
from dysconnect.data.edges import BorrowedRegions, MissingRegions
from dysconnect.data.measures import MEASURES, Measure
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.inputs import EdgeInput
from dysconnect.localize import localize
from dysconnect.localize.people import describe_people
from dysconnect.localize.tested import complete_edges
from dysconnect.quality.motion import known_edges
from dysconnect.report.localization import tracts_sentence
from dysconnect.stimulate.control import controllability
from dysconnect.stimulate.matched import node_strength

PREPARED = {"penalties": [0.01, 0.1, 1.0, 10.0, 100.0], "harmonise": "none", "deconfound": []}


@pytest.fixture
def make_tracts(make_cohort):
    """Build a cohort of FA in which patients and controls lack some share of the first half of all edges."""

    def made(cases: float = 0.1, controls: float = 0.1, seed: int = 0, **kinds):
        cohort = make_cohort(seed=seed, **kinds)
        share = np.where(cohort.labels == 1, cases, controls)[:, None] * (np.arange(cohort.values.shape[1]) % 2)
        holes = np.random.default_rng([seed, 9]).random(cohort.values.shape) < share
        known = np.ones(cohort.values.shape[1], bool)
        return replace(cohort, values=np.where(holes, np.float32(np.nan), cohort.values), measure="fa", known=known)

    return made


def connectomes_of(cohort) -> Connectomes:
    subjects = cohort.participants["participant_id"].to_numpy(str)
    made = data_hash(cohort.values, subjects, cohort.nodes)
    return Connectomes(cohort.values, cohort.missing, subjects, cohort.nodes, cohort.measure, made, zero_measured=True)


def test_a_gap_is_the_same_after_the_file(make_tracts, tmp_path):
    cohort = make_tracts()
    cohort.values[:, 7] = np.nan
    write_connectomes(connectomes_of(cohort), tmp_path / "fa.h5", {})
    some = cohort.participants["participant_id"].to_numpy(str)[[5, 2]]
    read = read_connectomes(tmp_path / "fa.h5", some)
    assert np.flatnonzero(~read.measured).tolist() == [7]
    expected = cohort.values[[5, 2]].copy()
    expected[:, 7] = 0  # measured in nobody
    np.testing.assert_array_equal(read.values, expected)


def test_only_a_measure_with_gaps_may_have_them(make_tracts, tmp_path):
    wrong = replace(connectomes_of(make_tracts()), measure="correlation")
    with pytest.raises(ValueError, match=r"of sub-\S+ holds NaN"):
        write_connectomes(wrong, tmp_path / "z.h5", {})


def test_gaps_take_the_mean_of_those_who_have_the_edge(make_tracts):
    cohort = make_tracts()
    gap = np.isnan(cohort.values)
    filled = MissingRegions().fit(cohort.values, cohort.missing, cohort.pairs).transform(cohort.values, cohort.missing)
    means = np.broadcast_to(np.nanmean(cohort.values, 0, dtype=float), gap.shape)
    np.testing.assert_allclose(filled[gap], means[gap], rtol=1e-6)
    np.testing.assert_array_equal(filled[~gap], cohort.values[~gap])


def test_networks_borrow_a_gap_from_somebody_who_has_the_edge(make_tracts):
    cohort = make_tracts(cases=0.5, controls=0.5)
    cohort.missing[3, 2] = True
    cohort.values[3, cohort.pairs.touching(cohort.missing[3])] = np.nan
    gap = cohort.lacking(np.s_[:])
    filler = BorrowedRegions().fit(cohort.values, cohort.missing, cohort.pairs)
    filled = filler.transform(cohort.values, cohort.missing)
    for person, edge in np.argwhere(gap):
        assert filled[person, edge] in cohort.values[~gap[:, edge], edge]
    np.testing.assert_array_equal(filled, filler.transform(cohort.values, cohort.missing))


def test_a_gap_that_nobody_can_lend_takes_the_mean(make_tracts):
    cohort = make_tracts(cases=0, controls=0)
    cohort.values[:, 4] = np.nan
    filled = BorrowedRegions().fit(cohort.values, cohort.missing).transform(cohort.values, cohort.missing)
    assert (filled[:, 4] == 0).all()


def test_whoever_lacks_many_is_counted_edge_by_edge(make_tracts):
    cohort = make_tracts(cases=0.3, controls=0)
    edges = complete_edges(cohort, 0.1)
    np.testing.assert_array_equal(edges.lost, np.isnan(cohort.values).sum(0))
    np.testing.assert_array_equal(edges.tested, np.isnan(cohort.values).mean(0) <= 0.1)
    assert 0 < edges.tested.sum() < len(edges.tested)
    np.testing.assert_array_equal(np.isnan(known_edges(cohort)), np.isnan(cohort.values))


SPEC = {
    "nuisance": ["age"], "permutations": 199, "permutation": "smith", "alpha": 0.05, "thresholds": [2.5, 3.5],
    "prior": 1.0, "prior_circuits": [], "stability_draws": 2, "stability_top": 5, "max_missing": 0.2, "seed": 0,
}  # fmt: skip


def localized(cohort) -> pd.DataFrame:
    return localize(cohort, np.full(cohort.values.shape[1], ""), SPEC).edges


def test_an_edge_with_gaps_is_named_if_it_differs(make_tracts):
    cohort = make_tracts(planted=[5], shift=1.6)
    edges = localized(cohort)
    called = edges[edges["p_fwer"] <= 0.05]
    assert called[["region_a", "region_b"]].values.tolist() == [cohort.edge_names.iloc[5].tolist()]
    assert called["n_missing"].item() == np.isnan(cohort.values[:, 5]).sum() > 0


@pytest.mark.parametrize("shares", [(0.3, 0.0), (0.0, 0.3)])
def test_who_has_gaps_says_nothing_of_the_edge(make_tracts, shares):
    """No more p below .05 among edges that one group lacks more often; with zero in place of a gap, far more."""
    p, as_zero = [], []
    for seed in range(6):
        cohort = make_tracts(*shares, seed=seed)
        gaps = np.isnan(cohort.values).sum(0) > 3
        spec = SPEC | {"permutations": 19, "max_missing": 1.0, "alpha": 0.06}
        for values, kept in ((cohort.values, p), (np.nan_to_num(cohort.values, nan=0), as_zero)):
            edges = localize(replace(cohort, values=values), np.full(66, ""), spec).edges.sort_index()
            order = edges.set_index(["region_a", "region_b"]).loc[list(map(tuple, cohort.edge_names.values))]
            kept.extend(order["p"].to_numpy()[gaps])
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    assert np.mean(np.array(as_zero) <= 0.05) > 0.3


def test_which_edges_somebody_lacks_tells_no_model_who_is_a_patient(make_tracts, sections):
    for name in ("ridge", "logistic"):
        scores = [_held_out_score(name, make_tracts(0.6, 0.0, seed, n=80)) for seed in range(12)]
        assert abs(np.mean(scores) - 0.5) < 3 * np.std(scores) / np.sqrt(len(scores)) + 0.02


def test_the_floor_knows_how_many_edges_a_person_lacks(make_tracts):
    spec = {"name": "floor", "penalties": PREPARED["penalties"], "covariates": ["age"]}
    assert _held_out_score("floor", make_tracts(0.6, 0.0, n=80), spec) > 0.9


def test_what_is_said_of_people_and_targets_is_a_number(make_tracts):
    cohort = make_tracts(0.15, 0.1, n=80)
    circuits = pd.DataFrame({"circuit": "loop", "edge": range(8)})
    spec = {"nuisance": ["age"], "alpha": 0.05, "max_missing": 0.2, "deviant_edges": 5}
    for table in describe_people(cohort, circuits, spec):
        assert len(table) and np.isfinite(table.select_dtypes("number")).all(axis=None)
    known = ~np.isnan(cohort.values)
    means = cohort.pairs.matrix(np.where(known, np.abs(cohort.values), 0).sum(0, dtype=float) / known.sum(0))
    np.testing.assert_allclose(node_strength(cohort.values, cohort.pairs), means.sum(0), rtol=1e-5)
    nodes = pd.DataFrame({"name": cohort.nodes})
    filled = MissingRegions().fit(cohort.values, cohort.missing).transform(cohort.values, cohort.missing)
    for one, other in zip(*(_controllable(values, nodes) for values in (cohort.values, filled))):
        np.testing.assert_allclose(one, other, atol=1e-5)


def _controllable(values: np.ndarray, nodes: pd.DataFrame) -> list:
    table = controllability(values, nodes)
    return [] if table is None else [table[name] for name in table]


def test_a_saved_model_fills_the_gaps_of_a_matrix(make_tracts, sections):
    """Zero in a matrix of FA is a gap, and gives what the same gap gave in the cohort; a network borrows."""
    cohort, known, new = make_tracts(0.3, 0.3), np.arange(40), np.arange(40, 60)
    matrices = cohort.pairs.matrix(np.nan_to_num(cohort.values[new], nan=0))
    own = sections("ridge", "fa")
    model = build(own["model"], "fa", own["graph"], own["training"]).fit(cohort, known)
    np.testing.assert_allclose(model.predict_matrices(matrices), model.predict(cohort, new), atol=1e-5)
    assert np.isfinite(EdgeInput("fa").fit(cohort, known).of_matrices(matrices)).all()


def _held_out_score(name: str, cohort, spec=None) -> float:
    model = build(spec or PREPARED | {"name": name}, "fa", {}, {})
    rows = np.arange(len(cohort.values))
    train, test = rows[rows // 2 % 4 != 0], rows[rows // 2 % 4 == 0]
    model.fit(cohort, train)
    return float(roc_auc_score(cohort.labels[test], model.predict(cohort, test)))


def test_a_tract_that_few_controls_have_is_not_seen(make_tracts):
    cohort = make_tracts(cases=0, controls=0)
    circuits = np.where(np.arange(66) < 6, "cerebello_thalamic", np.where(np.arange(66) < 9, "striato_pallidal", ""))
    controls = np.flatnonzero(cohort.labels == 0)
    cohort.values[np.ix_(controls[:12], np.arange(6))] = np.nan  # of 30: all of its connections
    cohort.values[np.ix_(controls, [6, 7])] = np.nan  # one of three is left
    seen = localize(cohort, circuits, SPEC).summary["tracts"]
    assert seen == {"cerebello_thalamic": 0.6, "striato_pallidal": 1.0}
    said = tracts_sentence({"tracts": seen}, {"cerebello_thalamic": "Cerebellum and thalamus"})
    assert said.startswith("Not seen in these scans: Cerebellum and thalamus (60%).") and "striato" not in said
    assert tracts_sentence({"tracts": {"striato_pallidal": 0.81}}, {}) == tracts_sentence({}, {}) == ""
    functional = replace(cohort, values=np.nan_to_num(cohort.values), measure="correlation")
    assert "tracts" not in localize(functional, circuits, SPEC).summary


def test_a_measure_is_computed_or_given():
    assert {name for name, measure in MEASURES.items() if measure.given} == {"fa", "count", "length", "binary"}
    with pytest.raises(ValueError, match="or `given`"):
        Measure("x", "y", kind="correlation", estimator="empirical", given=True)
    np.testing.assert_allclose(MEASURES["count"].transformed(np.array([0.0, np.e - 1])), [0, 1])
