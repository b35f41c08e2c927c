"""What every card and every measure promises: chance on noise, the planted truth, the same after saving, and words."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from dysconnect.attribute.explainer import SPARSE
from dysconnect.connectivity import cohort_connectomes
from dysconnect.data.edges import edges_of_matrices
from dysconnect.data.estimate import connectome
from dysconnect.data.measures import MEASURES, Measure, measure_of
from dysconnect.learning.estimators import EdgeModel, build
from dysconnect.learning.saved import SavedModel, restore_folds, save_folds, save_model
from dysconnect.learning.splits import fold_rows, make_splits
from dysconnect.models.card import Card
from dysconnect.models.cards import CARDS, card_of, of_kind
from dysconnect.models.dual import concordance
from dysconnect.plan.compose import check_model
from dysconnect.plan.config import ConfigError, Validator, read_schema
from dysconnect.report.references import PAPERS
from dysconnect.train import permutation_null

pytestmark = pytest.mark.usefixtures("one_torch_thread")
EVERY = pytest.mark.parametrize("name", CARDS)
NETWORK = pytest.mark.parametrize("name", of_kind("graph"))
CITED = r"[A-Z]\w+(?: et al\.| and [A-Z]\w+)? (?:1[89]|20)\d\d"
TRAIN, TEST = np.arange(44), np.arange(44, 60)


def configured(repository, name: str) -> dict:
    """Options of configs/model/NAME.yaml."""
    spec = yaml.safe_load((repository / f"configs/model/{name}.yaml").read_text())
    return spec | ({"covariates": ["age", "sex", "site", "mean_fd"]} if "covariates" in spec else {})


@pytest.fixture
def sections_of(repository, sections):
    """What training a model reads, with the options of its file; networks learn fast and are given a few epochs."""

    def of_model(name: str) -> dict:
        own = sections("gcn" if name in of_kind("graph") else "ridge", CARDS[name].suited()[0], permutations=0)
        return {**own, "model": configured(repository, name)}

    return of_model


@pytest.fixture
def cohort_for(make_cohort, make_covariances):
    """A cohort of a measure that the model takes; `signal` is in its edges, and in the ages for the floor."""

    def of_model(name: str, signal: float, seed: int = 0):
        tangent = MEASURES[CARDS[name].suited()[0]].tangent
        few = make_covariances(shift=-0.4 * signal, seed=seed) if tangent else None
        cohort = few or make_cohort(planted=range(8), shift=2 * signal, seed=seed)
        ages = cohort.participants["age"] + 20 * signal * cohort.labels
        return dataclasses.replace(cohort, participants=cohort.participants.assign(age=ages))

    return of_model


def fitted(cohort, own: dict):
    """The model on some people."""
    return build(own["model"], own["measure"], own["graph"], own["training"]).fit(cohort, TRAIN)


# what a model does


@pytest.mark.parametrize("name", [*of_kind("linear"), *of_kind("floor")])
def test_shuffled_labels_give_chance(cohort_for, sections_of, name):
    cohort, own, models = cohort_for(name, 1.0), sections_of(name), {}
    splits = make_splits(cohort.participants, 2, 1, 0)
    for fold in range(2):
        train, _ = fold_rows(splits, cohort.participants, 0, fold)
        models[fold] = build(own["model"], own["measure"], {}, {}).fit(cohort, train)
    own["training"] |= {"permutations": 12}
    auc = permutation_null(cohort, splits, own, models)["auc"].to_numpy()
    assert auc[0] > 0.75 and auc[1:].mean() == pytest.approx(0.5, abs=0.1)


@EVERY
def test_held_out_people_change_nothing(cohort_for, sections_of, name):
    """So that chance is chance for networks too, of which no hundred can be trained here."""
    cohort, own = cohort_for(name, 0.5), sections_of(name)
    own["training"] |= {"epochs": 1} if CARDS[name].kind == "graph" else {}
    values, labels = cohort.values.copy(), cohort.labels.copy()
    values[TEST], labels[TEST] = 3 * values[TEST], 1 - labels[TEST]
    people = cohort.participants.assign(label=labels, age=cohort.participants["age"].where(np.arange(60) < 44, 99))
    other = dataclasses.replace(cohort, values=values, participants=people)
    first, second = fitted(cohort, own).state(), fitted(other, own).state()
    assert first.keys() == second.keys() and all(np.array_equal(first[key], second[key]) for key in first)


@EVERY
def test_the_planted_truth_is_found(cohort_for, sections_of, name):
    cohort = cohort_for(name, 1.5)
    assert concordance(fitted(cohort, sections_of(name)).predict(cohort, TEST), cohort.labels[TEST]) > 0.8


@EVERY
def test_a_saved_model_is_the_fresh_one(cohort_for, sections_of, name, tmp_path):
    cohort, own, path = cohort_for(name, 1.0), sections_of(name), tmp_path / "model.npz"
    own["training"] |= {"epochs": 2} if CARDS[name].kind == "graph" else {}
    model = fitted(cohort, own)
    expected = model.predict(cohort, TEST)
    save_folds({(0, 0, 0): model}, cohort, path)
    with np.load(path, allow_pickle=False) as file:
        (restored,) = restore_folds({key: file[key] for key in file.files}).values()
    np.testing.assert_allclose(restored.predict(cohort, TEST), expected, atol=1e-6)
    if "covariates" not in CARDS[name].needs:
        save_model(model, cohort, path)
        matrices = cohort.pairs.matrix(cohort.values[TEST].astype(float))
        matrices = matrices if MEASURES[own["measure"]].tangent else np.tanh(matrices)
        np.testing.assert_allclose(SavedModel(path).predict(matrices), expected, atol=1e-5)
    assert expected.std() > 1e-4


# what a card says


def check_words(row: Card | Measure, options: dict) -> None:
    """A sentence that can be filled in and names what was given; papers that it cites, all of them known."""
    words = {"measure": "MEASURED", "prepared": "PREPARED", **options}
    text = row.sentence.format(**words)
    assert len(text.split()) > 1 or text == row.title, f"{row.name} has no words"
    assert "{" not in text and text.strip(" .") == text
    assert set(re.findall(CITED, text)) == set(row.papers), f"{row.name}: papers are not those that the sentence cites"
    unknown = set(row.papers) - {paper.name for paper in PAPERS}
    assert not unknown, f"{row.name}: {unknown} is no known reference"


@EVERY
def test_a_card_has_words(repository, name):
    card, spec = CARDS[name], configured(repository, name)
    check_words(card, spec)
    says = "{measure}" in card.sentence or "{prepared}" in card.sentence or "{covariates}" in card.sentence
    assert says == (card.kind != "graph")  # for networks the report says it
    assert name == card.name and card.title.lower().replace("graph", "") in ("", name)


@pytest.mark.parametrize("words", ["", "SOMETHING {unknown}", "regression on {measure} (Nobody 1999)"])
def test_a_card_without_words_is_found_out(words):
    with pytest.raises((AssertionError, ValueError)):
        check_words(dataclasses.replace(CARDS["ridge"], sentence=words), {})


@EVERY
def test_the_options_of_a_model_are_those_of_its_card(repository, name):
    card, spec = CARDS[name], configured(repository, name)
    assert set(spec) == {"name", *card.options} and spec["name"] == name
    schema = read_schema(repository / "workflow/schemas/config.schema.json")["properties"]["model"]
    assert Validator(schema).is_valid(spec)
    assert not Validator(schema).is_valid({**spec, "typo": 1})
    for key in card.options:
        assert not Validator(schema).is_valid({**spec, key: {}}), f"{name}.{key} has no limits"
    assert card.defaults() == ({key: spec[key] for key in card.options} if card.kind == "graph" else {})


@EVERY
def test_a_model_is_refused_on_a_measure_that_has_not_what_it_needs(name):
    card = CARDS[name]
    assert card.suited()
    for measure in set(MEASURES) - set(card.suited()):
        with pytest.raises(ConfigError, match=f"model={name} needs .* connectivity={measure} has none. Choose"):
            check_model({"model": {"name": name}, "connectivity": {"measure": measure}}, "mine")
        with pytest.raises(ValueError, match=f"model={name} needs .*; connectivity={measure} has none. Choose"):
            build({"name": name}, measure, {}, {})


def test_no_model_of_another_name_is_known():
    with pytest.raises(ValueError, match=r"model\.name='forest' is unknown; known: ridge, logistic"):
        card_of("forest")


def test_sparse_twins_are_there():
    assert {name for name, card in CARDS.items() if card.sparse} == set(SPARSE)


# measures


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_has_words(name):
    check_words(MEASURES[name], {})
    assert MEASURES[name].name == name


@pytest.fixture
def counts(monkeypatch):
    """A measure as of tractography: numbers of streamlines, no Fisher z, a zero that was measured."""
    streamlines = lambda series: 5 * np.abs(series.T @ series)
    own = Measure("counts", "numbers of streamlines", compute=streamlines, transform="none", zero=True)
    monkeypatch.setitem(MEASURES, "counts", own)
    return own


def test_a_measure_without_fisher_z_is_stored_as_it_is(counts):
    series = np.random.default_rng(0).normal(size=(20, 4))
    expected = 5 * np.abs(series.T @ series)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(connectome(series, "counts", None), expected, rtol=1e-6)
    np.testing.assert_array_equal(edges_of_matrices(np.full((1, 3, 3), 7.0), "counts"), [[7, 7, 7]])
    with pytest.raises(ValueError, match="no measure is called 'cuonts'; there are correlation, partial, tangent"):
        measure_of("cuonts")


def test_connectomes_are_of_the_kind_that_the_table_says(counts, simulated, nodes):
    people = simulated.kept.head(2)
    own = cohort_connectomes(people, nodes, "counts", None)
    assert own.zero_measured and own.measured_edges().all() and own.values.max() > 1
    assert not cohort_connectomes(people, nodes, "correlation", "empirical").zero_measured


def test_models_take_what_is_beyond_one_of_a_measure_without_fisher_z(counts, make_cohort, tmp_path):
    cohort = make_cohort(planted=range(8), shift=2)
    cohort = dataclasses.replace(cohort, values=9 * cohort.values, measure="counts")
    model = build({"name": "ridge", "penalties": [1.0]}, "counts", {}, {}).fit(cohort, TRAIN)
    assert isinstance(model, EdgeModel)
    save_model(model, cohort, tmp_path / "model.npz")
    matrices = cohort.pairs.matrix(cohort.values.astype(float))
    np.testing.assert_allclose(
        SavedModel(tmp_path / "model.npz").predict(matrices), model.predict(cohort, np.arange(60)), atol=1e-6
    )
    with pytest.raises(ValueError, match=r"model=gcn needs .*connectivity=counts has none"):
        build({"name": "gcn"}, "counts", {}, {})


def test_networks_refuse_directed_edges():
    directed = Measure("granger", "Granger causality", compute=np.corrcoef, directed=True)
    for name in of_kind("graph"):
        assert card_of(name).lacks(directed) == "undirected edges"
    assert card_of("ridge").lacks(directed) == card_of("floor").lacks(directed) == ""
    own = Measure("covd", "covariances", compute=np.cov, transform="none", diagonal=True)
    assert card_of("ridge").lacks(own) == "edges without a diagonal" and card_of("floor").lacks(own) == ""


@pytest.mark.parametrize(
    "changes",
    [{"kind": "liner"}, {"needs": ("covariance",)}, {"needs": "edges"}, {"sentence": "{componets} components"}],
)
def test_a_card_that_nobody_understands_is_refused_at_once(changes):
    with pytest.raises(ValueError, match="card of model ridge: nobody knows"):
        dataclasses.replace(CARDS["ridge"], **changes)


@pytest.mark.parametrize(
    "row", [{}, {"kind": "corelation", "estimator": "empirical"}, {"kind": "correlation"},
            {"kind": "correlation", "estimator": "empirical", "compute": np.corrcoef},
            {"compute": np.corrcoef, "estimator": "empirical"}, {"compute": np.corrcoef, "transform": "fischer"}],
)  # fmt: skip
def test_a_measure_that_nobody_can_compute_is_refused_at_once(row):
    with pytest.raises(ValueError, match="measure odd: "):
        Measure("odd", "an odd measure", **row)


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda series: 9 * np.eye(series.shape[1]), "values beyond 1"),
        (lambda series: np.triu(np.full((series.shape[1],) * 2, 0.5)), "not symmetric"),
        (lambda series: 0.5, "shape"),
        (lambda series: series.std(0), "shape"),
        (lambda series: np.eye(series.shape[1]) + 0j, "complex"),
    ],
)
def test_what_a_function_returns_is_what_its_row_says(monkeypatch, compute, words):
    monkeypatch.setitem(MEASURES, "odd", Measure("odd", "an odd measure", compute=compute))
    with pytest.raises(ValueError, match=f"measure odd: `compute` returns .*{words}"):
        connectome(np.random.default_rng(0).normal(size=(50, 4)), "odd", None)


def test_a_measure_alone_says_how_it_is_estimated(repository, counts):
    schema = read_schema(repository / "workflow/schemas/config.schema.json")["properties"]["connectivity"]
    fine = lambda measure, estimator: Validator(schema).is_valid({"measure": measure, "estimator": estimator})
    assert fine("counts", None) and fine("partial", "ledoit_wolf") and fine("correlation", "empirical")
    assert not fine("counts", "empirical") and not fine("partial", None) and not fine("cuonts", None)


def test_the_table_is_read_without_what_computes():
    text = "import sys, dysconnect.data.measures, dysconnect.models.cards as c; c.card_of('gcn');"
    text += "print([name for name in ('torch', 'sklearn', 'nilearn', 'scipy', 'pandas') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_everything_is_read_in_one_place(repository):
    """Names of models stand in the cards, and no list of them anywhere else."""
    names = [name for name in CARDS if name not in ("floor", "ridge")]
    for path in [*(repository / "src").rglob("*.py"), *(repository / "workflow").rglob("*.smk")]:
        if path.name in ("cards.py", "explainer.py"):
            continue
        lines = [line for line in path.read_text().splitlines() if sum(f'"{name}"' in line for name in names) > 1]
        assert not lines, f"{path}: {lines}"
    assert pd.Series(list(CARDS)).is_unique
