"""Models of directed connections: linear ones take them, from fit to targets; a floor of what regions tell."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_report import cohort_of, power_of, results_of

from dysconnect.attribute import attribute
from dysconnect.attribute.weights import attribution
from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.data.overtime import lagged_coupling
from dysconnect.data.timing import Timing
from dysconnect.dynamics.direction import PEAK, random_network, simulate_scans
from dysconnect.evaluate import evaluate
from dysconnect.learning.estimators import build
from dysconnect.learning.saved import SavedModel, restore_folds, save_folds, save_model
from dysconnect.learning.splits import make_splits
from dysconnect.models.cards import CARDS, card_of
from dysconnect.models.dual import concordance
from dysconnect.plan.compose import check_model
from dysconnect.plan.config import ConfigError
from dysconnect.report.prediction.sentences import prediction_in_short, regional_sentence
from dysconnect.report.results import Study
from dysconnect.report.stimulation.tables import connections
from dysconnect.report.stimulation.words import model_words
from dysconnect.stimulate import rank_targets
from dysconnect.stimulate.folds import expected_control, fitted_folds
from dysconnect.stimulate.targets import list_targets
from dysconnect.train import cross_validate, permutation_null, write_trained

N = 6
PAIRS = Pairs(N, directed=True)
NODES = pd.DataFrame(
    {
        "name": [f"region {k}" for k in range(N)], "x": np.linspace(-40, 40, N), "y": 0.0, "z": 10.0,
        "system": ["cerebellum", "thalamus", "cortex"] * 2, "network": "none", "hemisphere": ["left", "right"] * 3,
    }
)  # fmt: skip
THERE, BACK = (int(PAIRS.position(*ends)) for ends in ((0, 1), (1, 0)))
FOLDS = {"permutations": 99, "seed": 0}


def floor(regional: bool) -> dict:
    model = {"name": "floor", "penalties": [0.01, 0.1, 1.0], "covariates": ["age"], "regional": regional}
    return {"model": model, "measure": "lagged", "graph": {}, "training": FOLDS}


def linear(name: str = "ridge", **options) -> dict:
    model = {"name": name, "penalties": [0.01, 0.1, 1.0, 10.0], **options}
    return {"model": model, "measure": "lagged", "graph": {}, "training": FOLDS}


def cohort(n: int = 90, edge: float = 0.0, delay: float = 0.0, seed: int = 0, missing: tuple = ()) -> Cohort:
    """Patients differ by `edge` in the connection from region 0 to region 1, and by `delay` in two regions.

    Every connection follows the delays of its two regions.
    """
    rng, label = np.random.default_rng(seed), np.arange(n) % 2
    names = [f"sub-{k:03d}" for k in range(n)]
    people = pd.DataFrame({"participant_id": names, "label": label, "site": "A", "scan_group": names})
    people = people.assign(age=rng.normal(50, 10, n), sex="F", mean_fd=rng.uniform(0.05, 0.2, n))
    late = rng.standard_normal((n, N)) + delay * label[:, None] * (np.arange(N) < 2)
    values = 0.4 * (late[:, PAIRS.cols] - late[:, PAIRS.rows]) + rng.standard_normal((n, len(PAIRS)))
    values[:, THERE] += edge * label
    lost = np.zeros((n, N), bool)
    for person, region in missing:
        lost[person, region] = True
    values = np.where(PAIRS.touching(lost), 0, values).astype(np.float32)
    regional = {"delay": np.where(lost, 0, late), "noise": rng.standard_normal((n, N))}
    return Cohort(people, values, lost, NODES["name"].to_numpy(str), "lagged", directed=True, regional=regional)


# what may take them


def test_linear_models_take_directed_connections_and_networks_do_not():
    for name, card in CARDS.items():
        takes = "lagged" in card.suited()
        assert takes == (name in ("ridge", "logistic", "svm", "elastic_net", "floor")), name
    config = {"model": {"name": "gat"}, "connectivity": {"measure": "lagged"}, "training": {}}
    with pytest.raises(ConfigError, match=r"experiment gat: model=gat needs .* connectivity=lagged has none"):
        check_model(config, "gat")


# from fit to file


@pytest.mark.parametrize("name", ["ridge", "logistic"])
def test_a_model_finds_the_direction_and_survives_its_file(name, tmp_path):
    people = cohort(edge=2.0, missing=[(3, 4), (80, 1)])
    model = build(linear(name)["model"], "lagged", {}, {}).fit(people, np.arange(60))
    weights = np.abs(model.edge_weights())
    assert weights.argmax() == THERE and weights[BACK] < 0.6 * weights[THERE]
    test = np.arange(60, 90)
    save_folds({(0, 0, 0): model}, people, tmp_path / "folds.npz")
    with np.load(tmp_path / "folds.npz") as file:
        (again,) = restore_folds({key: file[key] for key in file.files}).values()
    np.testing.assert_allclose(again.predict(people, test), model.predict(people, test), atol=1e-6)
    save_model(model, people, tmp_path / "model.npz", model.edge_weights()[None])
    whole = np.setdiff1d(test, [80])
    matrices = PAIRS.matrix(people.values[whole].astype(float))
    np.testing.assert_allclose(
        SavedModel(tmp_path / "model.npz").predict(matrices), model.predict(people, whole), atol=1e-5
    )
    turned = SavedModel(tmp_path / "model.npz").predict(matrices.swapaxes(1, 2))
    assert np.abs(turned - model.predict(people, whole)).max() > 0.05  # rows lead, columns follow
    null = pd.DataFrame({"permutation": range(100), "auc": [0.9, *[0.5] * 99]})
    null.to_csv(tmp_path / "null.tsv", sep="\t", index=False)
    named, _ = attribution(tmp_path / "model.npz", tmp_path / "null.tsv", name, 0.05)
    strongest = named.loc[named["attribution"].abs().idxmax()]
    assert (strongest["region_a"], strongest["region_b"]) == ("region 0", "region 1") and len(named) == len(PAIRS)


def trained(people: Cohort, sections: dict, name: str, folder=None):
    splits = make_splits(people.participants, 3, 1, 0)
    fitted = cross_validate(people, splits, name, sections)
    null = permutation_null(people, splits, sections, fitted.first_repeat)
    return splits, fitted, null


def test_maps_of_directed_connections(tmp_path):
    people = cohort(edge=2.0)
    splits, fitted, null = trained(people, linear(), "ridge")
    names = ("predictions", "history", "search", "start", "null", "model", "folds")
    files = {name: tmp_path / (f"{name}.npz" if name in ("model", "folds") else f"{name}.tsv") for name in names}
    write_trained(fitted, null, people, files)
    spec = {
        "nuisance": ["age"], "permutations": 99, "alpha": 0.05, "max_missing": 0.1, "stability_top": 5, "seed": 0,
        "ridge_penalty": 1.0, "screening_splits": 0, "screened": 5, "attribution_permutations": 0, "explained": 0,
    }  # fmt: skip
    maps = attribute(people, splits, null, files["folds"], linear(), spec)
    assert maps.told["shown"] and len(maps.edges) == len(PAIRS)
    for column in ("weights", "haufe"):
        strongest = maps.edges.loc[maps.edges[column].abs().idxmax()]
        assert (strongest["region_a"], strongest["region_b"]) == ("region 0", "region 1")
    called = maps.edges[maps.edges["p_weights"] <= 0.05]
    assert called[["region_a", "region_b"]].to_numpy().tolist() == [["region 0", "region 1"]]


# targets


def test_a_target_acts_on_what_leaves_a_region_and_what_comes_to_it():
    """Rows and columns of the matrices, edited by hand, are the other route."""
    people = cohort(edge=2.0)
    targets = list_targets(NODES, np.ones(len(PAIRS), bool), directed=True)
    assert targets.table["n_edges"].head(N).tolist() == [2 * (N - 1)] * N
    circuit = targets.members[np.flatnonzero(targets.table["target"] == "cerebello_thalamo_cortical")[0]].indices
    assert THERE in circuit and BACK not in circuit
    splits = make_splits(people.participants, 3, 1, 0)
    basis = np.column_stack([np.ones(90), people.participants["age"]])
    fold = next(fitted_folds(people, splits, linear()))
    normal = PAIRS.matrix(expected_control(fold, basis, people.labels)[fold.test])
    edited = PAIRS.matrix(fold.features[fold.test].astype(float))
    edited[:, 1, :], edited[:, :, 1] = normal[:, 1, :], normal[:, :, 1]
    fitted = fold.classifier
    moved = fitted.slope_ * fitted.decision_function(PAIRS.edges(edited)) + fitted.offset_ - fold.logits
    change = expected_control(fold, basis, people.labels)[fold.test] - fold.features[fold.test]
    shifts = (targets.members @ (change * fitted.slope_ * fitted.weights_).T).T
    np.testing.assert_allclose(shifts[:, 1], moved, atol=1e-5)


def test_targets_are_the_ends_of_the_connection_that_differs():
    people = cohort(edge=2.5)
    spec = {
        "covariates": ["age"], "permutations": 99, "network_permutations": 0, "matched": 5, "draws": 20, "seed": 0,
        "goal": "controls", "edits": {"targets": 2, "edges": 3, "patient_targets": 1, "patient_edges": 2},
    }  # fmt: skip
    found = rank_targets(people, make_splits(people.participants, 3, 1, 0), linear(), NODES, spec)
    first = found.targets[found.targets["kind"] == "node"].head(2)
    assert set(first["target"]) == {"region 0", "region 1"} and (first["p_fwer"] <= 0.05).all()
    assert not found.summary["controllability"]
    table = connections(found.edits.query("participant_id == 'group'"), [("node", "region 1", "one")], "x", "", True)
    assert table.rows[0].cells[1] == "region 0 → region 1"


# a floor of what regions tell


def test_the_floor_sees_values_of_regions_where_it_may():
    people = cohort(delay=1.5, missing=[(0, 0), (70, 1)])
    train, test = np.arange(60), np.arange(60, 90)
    apart = {}
    for regional in (False, True):
        model = build(floor(regional)["model"], "lagged", {}, {}).fit(people, train)
        given = model.predict(people, test)
        apart[regional] = given[people.labels[test] == 1].mean() - given[people.labels[test] == 0].mean()
        arrays = model.state()
        assert ("delay of region 0" in json.loads(str(arrays["encoding"]))["numeric"]) == regional
        again = build(floor(regional)["model"], "covariates", {}, {}).load_state(arrays)
        np.testing.assert_allclose(again.predict(people, test), given)
    assert apart[True] > 0.25 > abs(apart[False]) + 0.1
    nobody = replace(people, missing=people.missing | (np.arange(N) == 2))  # a region that nobody has
    numeric = build(floor(True)["model"], "lagged", {}, {}).fit(nobody, train).encoder_.numeric_
    assert "delay of region 2" not in numeric and "delay of region 3" in numeric


def study(people: Cohort) -> Study:
    """Scores of ridge, the floor and the floor with regions, as the report reads them."""
    every = {"floor": floor(False), "floor_regional": floor(True), "ridge": linear()}
    known = {name: trained(people, sections, name) for name, sections in every.items()}
    predictions, nulls = ({name: getter(row) for name, row in known.items()} for getter in (
        lambda row: row[1].predictions, lambda row: row[2],
    ))  # fmt: skip
    spec = {"floor": "floor", "bootstraps": 300, "level": 0.95, "seed": 0}
    told = evaluate(predictions, nulls, known["ridge"][0], people.participants, ["age"], spec, seeing=["ridge"])
    config = cohort_of()
    config["stimulate"]["experiment"], config["evaluate"] = "ridge", spec
    experiments = {
        name: config | {"model": sections["model"], "connectivity": {"measure": "lagged", "estimator": None}}
        for name, sections in every.items()
    }
    results = results_of(scores=told.scores, comparisons=told.comparisons, folds=told.folds, power=power_of(every))
    return Study(replace(results, nulls=nulls), config, experiments, NODES)


def test_groups_that_differ_in_delay_alone_are_said_to():
    made = study(cohort(n=120, delay=1.2))
    assert "What differs in regions may explain the score" in regional_sentence(made)
    assert "Nothing beyond delay and noise of regions and the covariates is shown" in regional_sentence(made)
    short = prediction_in_short(made)
    assert "not shown to do better than what delay and noise of every region beside age tell" in short
    assert "(exploratory)" in short
    assert "is not shown to beat delay and noise of the regions" in model_words(made)


def test_a_connection_that_differs_is_more_than_its_regions_tell():
    made = study(cohort(n=120, edge=2.5))
    assert "The best model also beats what regions tell without their connections" in regional_sentence(made)
    assert ", and more than delay and noise of every region beside age tell" in prediction_in_short(made)
    assert ", and beats delay and noise of the regions too" in model_words(made)


@pytest.mark.parametrize("measure", ["correlation", "tangent", "partial"])
def test_a_measure_that_says_nothing_of_regions_has_no_such_floor(measure):
    config = {"model": floor(True)["model"], "connectivity": {"measure": measure}, "training": {}}
    with pytest.raises(ConfigError, match=f"connectivity={measure} says nothing of single regions. Choose connect"):
        check_model(config, "floor_regional")
    config["connectivity"]["measure"] = "task"
    check_model(config, "floor_regional")
    assert "delay and noise of every region" in card_of("floor").sentence_for({"regional": True}).format(
        covariates="age", regional="delay and noise"
    )
    assert card_of("floor").sentence_for({"regional": False}) == "logistic regression on {covariates} alone"


def test_scans_that_differ_in_delay_alone_are_told_by_their_regions():
    """Through the response of the blood: four of ten regions answer a second later in one group."""
    rng, n = np.random.default_rng(3), 60
    label, network = np.arange(n) % 2, random_network(10, rng)
    peaks = PEAK + 0.5 * rng.standard_normal((n, 10)) + label[:, None] * (np.arange(10) < 4)
    noise = np.full((n, 10), 0.3)
    scans = simulate_scans(np.broadcast_to(network, (n, 10, 10)), 240, 2.0, peaks, noise, rng)
    measured = [lagged_coupling(scan, Timing(2.0, np.ones(240, bool))) for scan in scans]
    pairs, names = Pairs(10, directed=True), np.array([f"region {k}" for k in range(10)])
    values = pairs.edges(np.stack([matrix for matrix, *_ in measured])).astype(np.float32)
    regional = dict(zip(("delay", "noise"), np.stack([beside for _, beside, _ in measured], axis=1)))
    people, lost = cohort(n).participants, np.zeros((n, 10), bool)
    late = Cohort(people, values, lost, names, "lagged", directed=True, regional=regional)
    auc = {}
    for name, sections in (("regions", floor(True)), ("connections", linear())):
        predictions = trained(late, sections, name)[1].predictions
        by_fold = predictions.groupby("fold")[["probability", "label"]]
        auc[name] = by_fold.apply(lambda part: concordance(part["probability"].to_numpy(), part["label"].to_numpy()))
    assert auc["regions"].mean() > 0.7 and auc["regions"].mean() > auc["connections"].mean()
