"""Graphs of other connectomes: matched by name, gaps no edge, learned from training people, saved, refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dysconnect.attribute.folds import fold_maps, held_out
from dysconnect.data.connectomes import Connectomes, write_connectomes
from dysconnect.data.edges import Pairs
from dysconnect.data.participants import write_participants
from dysconnect.data.structure import graph_files, with_graph
from dysconnect.learning.graph.model import GraphModel
from dysconnect.learning.permuted import design_permutations
from dysconnect.learning.saved import SavedModel, read_folds, save_folds, save_model
from dysconnect.learning.splits import make_splits
from dysconnect.localize.tested import chosen_people
from dysconnect.models.graph.views import edge_weights
from dysconnect.plan.checks import check_asked, check_graphs
from dysconnect.plan.config import ConfigError, training_sections
from dysconnect.report.prediction.words import _adjacency_text
from dysconnect.stimulate.networks import refuse_unasked

N, PEOPLE = 8, 24
TRAIN, TEST = np.arange(16), np.arange(16, PEOPLE)


@pytest.fixture
def structure(make_cohort):
    """Counts of everybody, of every pair of regions, and the people's table."""
    cohort = make_cohort(PEOPLE, N)
    rng = np.random.default_rng(4)
    return rng.gamma(1.0, 1.0, (PEOPLE, len(Pairs(N)))).astype(np.float32), cohort.participants, cohort.nodes


@pytest.fixture
def stored(structure, tmp_path):
    """Write connectomes of another run, regions in an order of their own, and return the path."""

    def write(order=None, measure="count", drop=(), **changes) -> str:
        values, people, nodes = structure
        values, order = changes.get("values", values), np.arange(N) if order is None else order
        missing = changes.get("missing", np.zeros((PEOPLE, N), bool))[:, order]
        entry = {"zero_measured": True} if measure in ("count", "fa") else {}
        kept = ~people["participant_id"].isin(drop).to_numpy()
        folder = tmp_path / "results/scans"
        for name in ("connectivity", "timeseries"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        edges = values[:, Pairs(N).among(order)]
        subjects = people["participant_id"].to_numpy(str)[::-1][kept[::-1]]
        given = Connectomes(
            edges[::-1][kept[::-1]], missing[::-1][kept[::-1]], subjects, nodes[order], measure, "hash", **entry
        )
        path = folder / f"connectivity/tiny_{measure}.h5"
        write_connectomes(given, path, {"atlas": "tiny"})
        table = people.drop(columns="label").assign(included=~people["participant_id"].isin(changes.get("out", ())))
        write_participants(table[kept], folder / "timeseries/participants.tsv")
        return str(path)

    return write


def asked(sections, path, edges="own", **training) -> dict:
    own = sections("gcn", epochs=2, inner_folds=0, validation=0, **training)
    return own | {"graph": {"density": 0.3, "edges": edges, "connectomes": path}}


def built(own: dict) -> GraphModel:
    return GraphModel(own["model"], own["graph"], own["training"], own["measure"])


@pytest.fixture
def brought(make_cohort, structure):
    """A cohort that brings the edges of its graphs."""
    return replace(make_cohort(PEOPLE, N), graph=structure[0])


# matching


def test_people_and_regions_are_matched_by_name(make_cohort, structure, stored, sections, capsys):
    path = stored(np.random.default_rng(1).permutation(N), drop=("sub-003",), out=("sub-005",))
    cohort = with_graph(make_cohort(PEOPLE, N), asked(sections, path))
    lacking = np.isin(np.arange(PEOPLE), (3, 5))
    assert np.isnan(cohort.graph[lacking]).all()
    np.testing.assert_array_equal(cohort.graph[~lacking], structure[0][~lacking])
    assert "22 of 24 people have the count of their graph; 2 get the mean" in capsys.readouterr().out


def test_a_gap_is_no_edge_and_a_region_without_signal_is_not_known(make_cohort, structure, stored, sections):
    values, missing = structure[0].clip(0, 1).copy(), np.zeros((PEOPLE, N), bool)
    values[2, 7], missing[4, 1] = np.nan, True
    cohort = with_graph(make_cohort(PEOPLE, N), asked(sections, stored(measure="fa", values=values, missing=missing)))
    assert cohort.graph[2, 7] == 0
    unknown = Pairs(N).touching(missing)
    np.testing.assert_array_equal(np.isnan(cohort.graph), unknown)
    view = built(asked(sections, "given")).fit(cohort, TRAIN).networks_.view()
    source = built(asked(sections, "given")).fit(cohort, TRAIN).input_
    seen = edge_weights(torch.as_tensor(source.of(cohort, np.array([2]))[:][:, -len(Pairs(N)) :]), 1.0)
    assert seen[0, 7] == 0 and view.layout.n_edges == len(Pairs(N))


def test_without_the_key_nothing_changes(make_cohort, sections):
    cohort = make_cohort(PEOPLE, N)
    assert with_graph(cohort, sections("gcn")) is cohort
    assert graph_files(sections("gcn")) == {} and graph_files(sections("ridge") | {"graph": {}}) == {}


def test_some_people_of_a_cohort_keep_their_graphs(brought, structure):
    chosen = np.arange(PEOPLE) % 3 == 0
    np.testing.assert_array_equal(chosen_people(brought, chosen).graph, structure[0][chosen])


# learning


def test_the_graph_is_of_the_structure_and_not_of_the_edges(brought, structure, sections):
    model = built(asked(sections, "given")).fit(brought, TRAIN)
    _, graph = model.networks_.view().see(torch.as_tensor(model.input_.of(brought, TEST)[:]))
    z = torch.as_tensor(structure[0][TEST] / structure[0][TRAIN].mean(0).max())
    expected = edge_weights(z, 0.3).numpy()
    np.testing.assert_allclose(Pairs(N).edges(graph.numpy()), expected, rtol=1e-5)


@pytest.mark.parametrize("edges", ["own", "mean"])
def test_only_training_people_are_learned_from(brought, structure, sections, edges):
    """The mean is that of the training people, or of their controls; others may have any structure and labels."""
    source = built(asked(sections, "given", edges)).fit(brought, TRAIN).input_
    among = TRAIN if edges == "own" else TRAIN[brought.labels[TRAIN] == 0]
    np.testing.assert_allclose(source.mean_, structure[0][among].mean(0), rtol=1e-5)
    graph, people = structure[0].copy(), brought.participants.copy()
    graph[TEST] *= 100
    people.loc[TEST, "label"] = 1 - people.loc[TEST, "label"]
    other = built(asked(sections, "given", edges)).fit(replace(brought, graph=graph, participants=people), TRAIN)
    np.testing.assert_array_equal(other.input_.mean_, source.mean_)
    if edges == "mean":  # nor is a person's own structure seen
        np.testing.assert_array_equal(other.predict(replace(brought, graph=graph), TEST), other.predict(brought, TEST))


def test_who_lacks_structure_gets_the_mean_of_the_training_people(brought, structure, sections):
    graph = structure[0].copy()
    graph[[1, 20]] = np.nan
    source = built(asked(sections, "given")).fit(replace(brought, graph=graph), TRAIN).input_
    mean = structure[0][np.delete(TRAIN, 1)].mean(0)
    given = source.of(replace(brought, graph=graph), np.array([1, 20]))[:][:, -len(mean) :]
    np.testing.assert_allclose(given, np.tile(mean / mean.max(), (2, 1)), rtol=1e-5)


def test_permuted_labels_have_the_graphs_of_their_own_controls(brought, structure, sections, monkeypatch):
    labels = design_permutations(brought.labels, brought.participants.assign(fold=0), 2, 0)
    model, means = built(asked(sections, "given", "mean")).fit(brought, TRAIN), []
    fit_labels = GraphModel.fit_labels

    def spied(self, *given):
        source, networks = fit_labels(self, *given)
        means.append(source.mean_)
        return source, networks

    monkeypatch.setattr(GraphModel, "fit_labels", spied)
    assert model.decide_many(brought, TRAIN, labels[TRAIN], TEST).shape == (len(TEST), 3)
    for column, mean in zip(labels[TRAIN].T, means):
        np.testing.assert_allclose(mean, structure[0][TRAIN[column == 0]].mean(0), rtol=1e-5)


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize("edges", ["own", "mean"])
def test_a_model_that_was_saved_says_the_same(brought, make_covariances, structure, sections, tmp_path, edges, tangent):
    cohort = replace(make_covariances(PEOPLE, N), graph=structure[0]) if tangent else brought
    own = asked(sections, "given", edges) | {"measure": cohort.measure}
    model = built(own).fit(cohort, TRAIN)
    splits = make_splits(cohort.participants, folds=3, repeats=1, seed=0)
    save_folds({(0, 0, 0): model}, cohort, tmp_path / "folds.npz")
    again = read_folds(tmp_path / "folds.npz", cohort, splits)[0].model
    np.testing.assert_allclose(again.predict(cohort, TEST), model.predict(cohort, TEST), rtol=1e-5)
    maps = fold_maps(held_out(cohort, read_folds(tmp_path / "folds.npz", cohort, splits)[0]))
    assert {len(values) for values in maps.values()} == {len(Pairs(N))}
    assert all(np.isfinite(values).all() for values in maps.values())
    save_model(model, cohort, tmp_path / "model.npz")
    matrices = Pairs(N, diagonal=tangent).matrix(cohort.values[TEST].astype(float))
    matrices = matrices if tangent else np.tanh(matrices) + np.eye(N)
    if edges == "own":
        with pytest.raises(ValueError, match="everybody's own graph beside the matrix"):
            SavedModel(tmp_path / "model.npz").predict(matrices)
    else:
        found = SavedModel(tmp_path / "model.npz").predict(matrices)
        np.testing.assert_allclose(found, model.predict(cohort, TEST), rtol=1e-4)


def test_a_persons_own_structure_counts(brought, structure, sections):
    model = built(asked(sections, "given")).fit(brought, TRAIN)
    other = replace(brought, graph=structure[0][:, ::-1].copy())
    assert np.abs(model.predict(other, TEST) - model.predict(brought, TEST)).min() > 1e-6


def test_the_methods_say_of_what_the_graph_is():
    spec = {"density": 0.1, "drop": 0, "connectomes": "results/scans/connectivity/tiny_fa.h5"}
    said = ", graphs of the 10% strongest edges of results/scans/connectivity/tiny_fa.h5"
    assert _adjacency_text(spec | {"edges": "own"}) == said
    assert _adjacency_text(spec | {"edges": "mean"}).endswith("tiny_fa.h5 in the mean of the training controls")
    assert "training mean" in _adjacency_text({"density": 0.1, "drop": 0, "edges": "mean"})


# refusals


def test_what_cannot_be_a_graph_is_refused(make_cohort, stored, sections, brought):
    cohort = make_cohort(PEOPLE, N)
    with pytest.raises(ValueError, match="holds length, whose large values are no strong"):
        with_graph(cohort, asked(sections, stored(measure="length")))
    with pytest.raises(ValueError, match=r"lacks 1 of 8 regions: region 7\. Make the file with the atlas"):
        with_graph(cohort, asked(sections, stored(np.arange(N - 1))))
    strangers = cohort.participants.assign(participant_id="other-" + cohort.participants["participant_id"])
    with pytest.raises(ValueError, match="none of its people is among the 24"):
        with_graph(replace(cohort, participants=strangers), asked(sections, stored()))
    older = cohort.participants.assign(age=cohort.participants["age"] + 20)
    with pytest.raises(ValueError, match=r"sub-000 has age .* in this cohort and .* two people under one id"):
        with_graph(replace(cohort, participants=older), asked(sections, stored()))
    with pytest.raises(ValueError, match="the cohort has no edges of it"):
        built(asked(sections, "given")).fit(cohort, TRAIN)
    with pytest.raises(ValueError, match="no training control has an edge"):
        built(asked(sections, "given", "mean")).fit(replace(brought, graph=np.zeros_like(brought.graph)), TRAIN)
    with pytest.raises(ValueError, match="networks on a given graph"):
        refuse_unasked(asked(sections, "given"))


@pytest.fixture(scope="module")
def experiments(repository):
    """Configurations composed from the real files."""
    from dysconnect.plan.compose import compose_workflow

    schema = repository / "workflow/schemas/config.schema.json"
    return compose_workflow(repository / "configs", schema, {"experiment": "gcn,bnt,structural_gcn"})


def test_the_plan_refuses_before_any_job(experiments, tmp_path, monkeypatch):
    cohort, known = experiments
    assert "connectomes" not in training_sections(known["gcn"])["graph"]  # earlier results stand
    own = known["structural_gcn"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="dataset=ds006395_dwi connectivity=count --until connectivity"):
        check_graphs(known)
    for file in graph_files(training_sections(own)).values():
        Path(file).parent.mkdir(parents=True)
        Path(file).touch()
    check_graphs(known)
    with pytest.raises(ConfigError, match="model=bnt is without a graph"):
        check_graphs({"bnt": known["bnt"] | {"graph": own["graph"]}})
    length = own["graph"]["connectomes"].replace("count", "length")
    Path(length).touch()
    with pytest.raises(ValueError, match="holds length"):
        check_graphs({"one": own | {"graph": own["graph"] | {"connectomes": length}}})
    stimulated = cohort | {"stimulate": cohort["stimulate"] | {"experiment": "one"}}
    on_edges = own | {"connectivity": own["connectivity"] | {"measure": "correlation"}}
    with pytest.raises(ConfigError, match="has graphs of other connectomes"):
        check_asked(stimulated, {**known, "one": on_edges}, [*known, "one", "correlation_ridge"], set())
