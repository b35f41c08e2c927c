"""One table of methods: what `localize` writes is what `validate` tries and what the report describes."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.localize import localize, methods
from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.methods import METHODS, NEEDS, Method, run_methods
from dysconnect.localize.recovery import recovery
from dysconnect.report import validation
from dysconnect.report.localization import localization_text
from dysconnect.report.references import PAPERS
from dysconnect.validate.scenarios import Truth
from dysconnect.validate.scores import COLUMNS, gather, score_cohort

SOURCE = Path(methods.__file__).parents[1]
SPEC = {
    "measure": "correlation", "nuisance": ["age"], "permutations": 99, "permutation": "smith", "device": "cpu",
    "alpha": 0.05, "thresholds": [2.5, 3.5], "prior_circuits": ["striato_pallidal"], "prior": 4, "stability_draws": 2,
    "stability_top": 5, "max_missing": 0.1, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def nodes() -> pd.DataFrame:
    return load_atlas("seitzman300").iloc[::12].reset_index(drop=True)


@pytest.fixture
def cohort(make_cohort, nodes):
    """Ten of its 300 edges differ."""
    return replace(make_cohort(40, len(nodes), range(10), shift=2.0), nodes=nodes["name"].to_numpy(str))


@pytest.fixture
def shared(cohort, nodes) -> Ingredients:
    return Ingredients(cohort.values, cohort.participants, Regions.of_atlas(nodes), SPEC)


@pytest.fixture
def bonferroni(monkeypatch) -> Method:
    """One more row of the table."""

    def corrected(shared: Ingredients) -> np.ndarray:
        p = shared.statistics().p
        return np.minimum(1, len(p) * p)

    words = "p was also corrected by Bonferroni for a prior of {prior:g}"
    own = Method("Bonferroni", "edges", "FWER", corrected, words, column="p_bonferroni")
    monkeypatch.setattr(methods, "METHODS", (*METHODS, own))
    return own


def test_the_table_is_complete():
    known = {paper.name for paper in PAPERS}
    assert len({own.name for own in METHODS}) == len(METHODS)
    for own in METHODS:
        assert own.sentence and set(own.needs) <= set(NEEDS) and set(own.papers) <= known, own.name
        assert all(paper in own.sentence for paper in own.papers), own.name
    for scheme in ("smith", "freedman_lane", "huh_jhun"):
        columns = [own.column for own in methods.written("edges", scheme)]
        assert sorted(columns) == ["p_component", "p_fdr", "p_fwer", "p_fwer_higher", "p_fwer_lower", "p_weighted"]


def test_the_validation_knows_no_statistics_but_those_of_the_table():
    taken = set()
    for path in (SOURCE / "validate").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [node.module] if isinstance(node, ast.ImportFrom) else [own.name for own in getattr(node, "names", ())]
            )
            taken |= {name for name in names if name and name.startswith(("dysconnect.localize", "dysconnect.models"))}
    assert taken == {"dysconnect.localize.ingredients", "dysconnect.localize.methods"}


@pytest.mark.parametrize("scheme", ["smith", "freedman_lane"])
def test_what_is_validated_is_what_is_written(cohort, nodes, scheme):
    spec = {**SPEC, "permutation": scheme}
    found = localize(cohort, edge_circuits(nodes), spec, nodes)
    shared = Ingredients(cohort.values, cohort.participants, Regions.of_atlas(nodes), spec)
    outcomes = {own.method: own for own in run_methods(shared)}
    edges = cohort.edge_names.merge(found.edges, on=["region_a", "region_b"])
    for method in methods.written("edges", scheme):
        np.testing.assert_array_equal(outcomes[method.name].called, edges[method.column] <= 0.05, method.name)
    assert outcomes["max-T"].called.sum() >= 8
    for method in methods.written("sets", scheme):
        own = found.circuits[found.circuits["kind"] == method.column]
        called = own[["p_fwer_mean", "p_fwer_magnitude"]].min(axis=1) <= 0.05
        np.testing.assert_array_equal(outcomes[method.name].called, called, method.name)
    bounds = outcomes["true-discovery bounds"]
    loops = [bounds.bound.true_discoveries(mask) for mask in shared.regions.loops.values()]
    np.testing.assert_array_equal(found.circuits.query("kind == 'circuit'")["true_edges"], loops)


def test_every_scheme_of_permutation_is_validated_where_it_can_be(shared, cohort):
    names = {own.method for own in run_methods(shared)}
    assert {"max-T", "max-T, Freedman-Lane", "max-T, Freedman-Lane, patients lower"} <= names
    assert not any("Huh-Jhun" in name for name in names)  # two sites
    one = cohort.participants.assign(site="one")
    names = {own.method for own in run_methods(Ingredients(shared.edges, one, shared.regions, SPEC))}
    assert {"max-T, Huh-Jhun", "max-T, Huh-Jhun, patients higher"} <= names


def test_what_a_cohort_lacks_is_left_out(shared):
    bare = Regions(shared.regions.ends, {})
    names = {own.method for own in run_methods(Ingredients(shared.edges, shared.people, bare, SPEC))}
    assert not {"circuit tests", "cNBS, blocks"} & names and "adaptive NBS" in names


def test_a_new_method_is_one_row(bonferroni, cohort, nodes, shared):
    edges = localize(cohort, edge_circuits(nodes), SPEC, nodes).edges
    assert list(edges).index("p_bonferroni") == list(edges).index("component") - 1
    np.testing.assert_allclose(edges["p_bonferroni"], np.minimum(1, 300 * edges["p"]))
    truth = edges.head(3)[["region_a", "region_b"]].assign(direction=1, effect=2.0, circuit="x")
    assert "Bonferroni" in set(recovery(edges, truth, 0.05)["method"])

    scores = score_cohort(run_methods(shared), Truth.nothing(300), shared.statistics().t)
    table = scores.assign(scenario="no difference", pattern="", carriers=0.0, d=0.0, cohort=0, batch="null_0")[COLUMNS]
    null = gather(table.assign(stability=np.nan))
    planted = null.assign(scenario="planted", pattern="hub", carriers=1.0, d=1.0)
    judged = validation.judged(pd.concat([null, planted]), 0.05).set_index(["method", "where"])
    assert judged.loc["Bonferroni", "said"].tolist() == ["1 of 1 cohort", "100.0% of cohorts"]
    assert "Bonferroni" in {row.cells[0] for row in validation.method_table(null, 0.05).rows}
    assert "Bonferroni" in validation.compared()

    summary = {"n_untested": 0, "n_edges": 300, "nuisance": ["age"], "df": 37, "permutations": 99}
    words = localization_text({**summary, "permutation": "smith"}, SPEC)
    assert "corrected by Bonferroni for a prior of 4" in words
