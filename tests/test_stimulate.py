"""Virtual stimulation: planted hubs are found, noise is not, closed forms hold, targets are data."""

import importlib.util
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import kstest

from dysconnect.data.atlas import load_atlas
from dysconnect.data.atlas.targets import target_regions
from dysconnect.data.edges import Pairs
from dysconnect.learning.permuted import Gate, design_permutations
from dysconnect.learning.splits import fold_rows, make_splits
from dysconnect.localize.statistics import nuisance_basis
from dysconnect.stimulate import rank_targets
from dysconnect.stimulate.control import beyond_strength, controllability
from dysconnect.stimulate.counterfactual import cheapest_edit, costs, ledoit_wolf, reach
from dysconnect.stimulate.edits import COLUMNS, gather_edits
from dysconnect.stimulate.folds import expected_control, fitted_folds, fold_effects
from dysconnect.stimulate.matched import matched_standing, neighbours, node_strength
from dysconnect.stimulate.permute import across_kinds, observed_and_shuffled, permutation_p, permuted_shifts
from dysconnect.stimulate.ranking import rank_agreement, share_at_top
from dysconnect.stimulate.targets import list_targets

N, HUB = 20, 7
COVARIATES = ["age", "site"]
SPEC = {
    "covariates": COVARIATES, "permutations": 99, "network_permutations": 0, "matched": 10, "draws": 99,
    "goal": "controls", "edits": {"targets": 2, "edges": 4, "patient_targets": 1, "patient_edges": 2}, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def regions() -> pd.DataFrame:
    """Twenty regions, some of which are targets and make circuits."""
    wanted = ["Pallidum R", "Pallidum L", "Putamen R 1", "Putamen L 1", "Thalamus VL R 1", "Thalamus VL L 1"]
    atlas = load_atlas("seitzman300")
    motor = atlas.index[atlas["name"].isin(wanted)].tolist()
    rest = [k for k in range(0, 240, 17) if k not in motor][: N - len(motor)]
    return atlas.iloc[[*rest, *motor]].reset_index(drop=True)


@pytest.fixture(scope="module")
def hub_cohort(make_cohort, regions):
    """A cohort whose patients have weaker edges at one region."""
    touched = np.flatnonzero(Pairs(N).touching(np.arange(N) == HUB))

    def build(effect: float, seed: int = 0, n: int = 80):
        cohort = make_cohort(n, N, touched, -effect, seed)
        return replace(cohort, nodes=regions["name"].to_numpy())

    return build


def ranking(cohort, regions, sections, **spec):
    splits = make_splits(cohort.participants, folds=4, repeats=2, seed=0)
    return rank_targets(cohort, splits, sections("ridge"), regions, {**SPEC, **spec})


def first_fold(cohort, sections):
    splits = make_splits(cohort.participants, folds=4, repeats=1, seed=0)
    return next(fitted_folds(cohort, splits, sections("ridge")))


def test_the_planted_hub_is_ranked_first(hub_cohort, regions, sections):
    found = ranking(hub_cohort(0.8), regions, sections)
    first = found.targets.iloc[0]
    assert first["kind"] == "node" and first["rank"] == 1 and first["target"] == regions["name"][HUB]
    assert first["p"] == 0.01 and first["p_fwer"] <= 0.05
    assert first["matched_z"] < -4 and first["matched_p"] == pytest.approx(1 / 11)
    assert first["shift"] < 2 * first["controls"] and first["consistency"] > 0.8 and first["top10"] == 1
    nodes = found.targets[found.targets["kind"] == "node"]
    assert first["cost"] == nodes["cost"].min()
    assert found.summary["agreement"] > 0.2 and found.summary["patients"] == 40


def test_targets_have_numbers_where_people_lack_edges(hub_cohort, regions, sections):
    """As the FA of two regions that no streamline joins."""
    cohort = hub_cohort(0.8)
    holes = np.random.default_rng(4).random(cohort.values.shape) < 0.1
    values, known = np.where(holes, np.float32(np.nan), cohort.values), np.ones(cohort.values.shape[1], bool)
    tracts = replace(cohort, values=values, measure="fa", known=known)
    splits = make_splits(tracts.participants, folds=4, repeats=1, seed=0)
    found = rank_targets(tracts, splits, sections("ridge", "fa"), regions, SPEC)
    numbers = found.targets[["shift", "score", "p", "p_fwer", "matched_z", "matched_p", "cost"]]
    assert np.isfinite(numbers).all(axis=None) and found.targets["target"].iloc[0] == regions["name"][HUB]
    assert np.isfinite(found.edits["change"]).all()


CLOSED, OPEN = Gate(False, 0.3, "withheld: ridge does not beat"), Gate(True, 0.01, "ridge (permutation p = 0.01)")
GATED = {"alpha": 0.05, "experiment": "ridge"}


def gated(cohort, regions, own, model, **spec):
    splits = make_splits(cohort.participants, folds=4, repeats=1, seed=0)
    return rank_targets(cohort, splits, own, regions, {**SPEC, **GATED, **spec}, model)


def test_a_hub_is_shown_though_its_model_does_not_beat_chance(hub_cohort, regions, sections):
    found = gated(hub_cohort(0.8), regions, sections("ridge"), CLOSED)
    assert len(found.targets) and found.summary["p"] == found.targets["p_fwer"].min() <= 0.05
    assert "targets" in found.summary["gate"] and found.summary["verdict"].startswith(
        "ridge (family-wise p of the targets"
    )
    assert found.summary["model_p"] == 0.3


def test_nothing_is_shown_of_noise_but_its_p(hub_cohort, regions, sections, monkeypatch):
    """A model that beats chance by luck opens nothing, and no edit is computed before the gate is known."""
    monkeypatch.setattr("dysconnect.stimulate.fold_effects", None)
    found = gated(hub_cohort(0.0, 1), regions, sections("ridge"), OPEN)
    assert found.targets.empty and found.patients.empty and found.edits.empty and tuple(found.edits) == COLUMNS
    assert found.summary["p"] > 0.05 and found.summary["permutations"] == 99
    assert found.summary["verdict"].startswith("withheld: no target of ridge moves patients")


@pytest.mark.parametrize("model", [CLOSED, OPEN])
def test_a_model_whose_targets_have_no_null_opens_its_own_gate(hub_cohort, regions, sections, model):
    own = {**sections("ridge"), "model": {"name": "elastic_net", "ratio": 0.1, "screened": 100}}
    found = gated(hub_cohort(1.0), regions, own, model)
    assert found.targets.empty != model.is_open and found.summary["verdict"] == model.words
    assert found.summary["p"] == model.p and found.summary["gate"].startswith("the model's permutation null")


def test_a_p_that_is_missing_is_written_as_none(hub_cohort, regions, sections):
    untested = Gate(False, np.nan, "withheld: elastic_net was not tested against permuted labels")
    own = {**sections("ridge"), "model": {"name": "elastic_net", "ratio": 0.1, "screened": 100}}
    told = gated(hub_cohort(1.0), regions, own, untested).summary
    assert told["p"] is None and told["model_p"] is None


def test_every_kind_is_ranked_and_what_the_atlas_lacks_is_named(hub_cohort, regions, sections):
    found = ranking(hub_cohort(0.8), regions, sections)
    for kind, own in found.targets.groupby("kind"):
        assert sorted(own["rank"]) == list(range(1, len(own) + 1)), kind
    assert set(found.targets["kind"]) == {"node", "region", "circuit"}
    assert {"subthalamic", "pallidum_internal", "dentate"} <= set(found.summary["absent"])
    named = found.targets[found.targets["target"] == "Pallidum R"].iloc[0]
    assert named["access"] == "DBS"


def test_a_patient_has_a_ranking_of_its_own(hub_cohort, regions, sections):
    cohort = hub_cohort(1.0)
    patients = ranking(cohort, regions, sections).patients
    ill = cohort.participants["participant_id"][cohort.labels == 1]
    assert set(patients["participant_id"]) == set(ill)
    tops = patients[(patients["kind"] == "node") & (patients["rank"] == 1)]
    assert (tops["target"] == regions["name"][HUB]).mean() > 0.5
    assert patients["cost"].min() >= 0


def test_nothing_to_find_gives_uniform_p(hub_cohort, regions, sections):
    p, least = [], []
    for seed in range(25):
        few = {"permutations": 49, "draws": 9, "edits": {**SPEC["edits"], "targets": 0, "patient_targets": 0}}
        targets = ranking(hub_cohort(0.0, seed, n=40), regions, sections, **few).targets
        p.append(targets.set_index("target").loc[regions["name"][HUB], "p"])
        least.append(targets.loc[targets["kind"] == "node", "p_fwer"].min())
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(least) <= 0.1) < 0.25


def test_in_noise_everything_seems_to_move_towards_health(hub_cohort, regions, sections):
    """The controls that fit the model also fit the expectation: only permuted labels tell what chance does."""
    found = [ranking(hub_cohort(0.0, seed), regions, sections).targets for seed in range(3)]
    nodes = pd.concat(found).query("kind == 'node'")
    assert nodes["shift"].mean() < 0 and nodes["controls"].mean() < 0
    assert abs(nodes["score"].mean()) < 1


def test_shifts_are_those_of_the_edited_connectome(hub_cohort, regions, sections):
    cohort = hub_cohort(0.8)
    fold = first_fold(cohort, sections)
    basis = nuisance_basis(cohort.participants, COVARIATES)
    targets = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    effects = fold_effects(fold, targets, basis, cohort.labels)
    normal = Pairs(N).matrix(expected_control(fold, basis, cohort.labels)[fold.test])
    edited = Pairs(N).matrix(fold.features[fold.test].astype(float))
    edited[:, 4, :], edited[:, :, 4] = normal[:, 4, :], normal[:, :, 4]
    fitted = fold.classifier
    logits = fitted.slope_ * fitted.decision_function(Pairs(edited.shape[-1]).edges(edited)) + fitted.offset_
    np.testing.assert_allclose(effects.shifts[:, 4], logits - effects.logits, atol=1e-5)


def test_the_expectation_is_that_of_the_training_controls(hub_cohort, sections):
    cohort = hub_cohort(0.0)
    fold = first_fold(cohort, sections)
    basis = nuisance_basis(cohort.participants, COVARIATES)
    before = expected_control(fold, basis, cohort.labels)
    features = fold.features.copy()
    features[fold.test] += 5
    features[fold.train[cohort.labels[fold.train] == 1]] -= 5
    np.testing.assert_allclose(expected_control(replace(fold, features=features), basis, cohort.labels), before)


@pytest.mark.parametrize("lacking", [False, True])
def test_permutations_repeat_everything_that_sees_labels(hub_cohort, regions, sections, lacking):
    """The product over all permutations equals fitting, expecting and editing again for each."""
    cohort = hub_cohort(0.8, n=40)
    if lacking:
        cohort.missing[[1, 6, 12], 3] = True
    splits = make_splits(cohort.participants, folds=4, repeats=1, seed=0)
    basis = nuisance_basis(cohort.participants, COVARIATES)
    targets = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    labels = observed_and_shuffled(cohort.labels, cohort.participants["site"].to_numpy(), 3, 0)
    for k, fold in enumerate(fitted_folds(cohort, splits, sections("ridge"))):
        many = permuted_shifts(fold, targets, basis, labels)
        train, test = fold_rows(splits, cohort.participants, 0, k)
        for p, own in enumerate(labels.T):
            fitted = type(fold.classifier)(fold.classifier.penalties).fit(fold.features[train], own[train])
            again = replace(fold, classifier=fitted)
            one = fold_effects(again, targets, basis, own).shifts[own[test] == 1].sum(0) / fitted.slope_
            spread = fitted.decision_function(fold.features[train]).std()
            np.testing.assert_allclose(many[p], one / spread, rtol=1e-3, atol=1e-4)


def test_labels_are_permuted_inside_sites(make_participants):
    people = make_participants(40)
    labels = observed_and_shuffled(people["label"].to_numpy(), people["site"].to_numpy(), 50, 0)
    for _, own in people.groupby("site").indices.items():
        assert (labels[own].sum(0) == labels[own, 0].sum()).all()


def test_p_counts_the_observed():
    shifts = np.array([[-3.0, 0.0], *np.random.default_rng(0).standard_normal((99, 2))])
    score, p, p_fwer = permutation_p(shifts, np.array(["node", "node"]))
    assert score[0] < -2 and p[0] == 0.01 and p_fwer[0] == 0.01 and p[1] > 0.2
    assert (p_fwer >= p - 1e-12).all()
    np.testing.assert_allclose(across_kinds(shifts, np.array(["node", "region"]))[0], p)  # families of one


def test_the_p_over_all_kinds_is_uniform_in_noise_and_single_step():
    """Whatever the kinds' sizes and correlations; it is never below a kind's own, and one kind needs no correction."""
    rng, kinds, least = np.random.default_rng(0), np.repeat(["node", "region", "circuit"], [40, 6, 3]), []
    mixing = rng.standard_normal((49, 49)) + 2 * np.eye(49)
    for _ in range(400):
        z = rng.standard_normal((100, 49)) @ mixing
        own, every = across_kinds(z / z.std(0), kinds)
        assert (every >= own).all()
        least.append(every.min())
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(least) <= level) == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 400))
    np.testing.assert_allclose(*across_kinds(z, np.full(49, "node")))


def test_the_smallest_p_over_kinds_is_that_of_counting():
    """Against loops over permutations and kinds."""
    z, kinds = np.random.default_rng(1).standard_normal((20, 5)), np.array(["a", "a", "b", "b", "b"])
    least = []
    for row in z:
        own = [np.mean([other[kinds == kind].min() <= row[kinds == kind].min() for other in z]) for kind in "ab"]
        least.append(min(own))
    assert across_kinds(z, kinds)[1].min() == pytest.approx(np.mean(np.array(least) <= least[0]))


def test_the_cheapest_edit_is_the_closed_form():
    """No other edit that moves the decision as far is cheaper, and a common covariance is the textbook's."""
    rng = np.random.default_rng(0)
    residuals, weights = rng.standard_normal((200, 6)) @ rng.standard_normal((6, 6)), rng.standard_normal(6)
    edit, distance = cheapest_edit(residuals, weights, 2.0, df=199, shrinkage=0.0)
    covariance = residuals.T @ residuals / 199
    np.testing.assert_allclose(edit, -2 * covariance @ weights / (weights @ covariance @ weights))
    assert weights @ edit == pytest.approx(-2)
    price = lambda d: np.sqrt(d @ np.linalg.solve(covariance, d))
    assert price(edit) == pytest.approx(distance)
    for _ in range(50):
        other = edit + 0.1 * rng.standard_normal(6)
        other += (-2 - weights @ other) * weights / (weights @ weights)
        assert price(other) >= distance


def test_reach_is_the_inverse_of_the_cost(regions):
    rng = np.random.default_rng(1)
    targets = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    residuals, weights = rng.standard_normal((30, N * (N - 1) // 2)), rng.standard_normal(N * (N - 1) // 2)
    steps = reach(residuals, weights, targets.members, 29, 0.3)
    for row in (0, len(steps) - 1):
        own = targets.members[row].indices
        _, distance = cheapest_edit(residuals[:, own], weights[own], 1.5, 29, 0.3)
        assert costs(np.array([1.5, -1.0]), steps)[:, row] == pytest.approx([distance, 0])


def test_shrinkage_is_that_of_ledoit_and_wolf():
    from sklearn.covariance import ledoit_wolf_shrinkage

    rng = np.random.default_rng(2)
    residuals = rng.standard_normal((40, 60)) @ rng.standard_normal((60, 60))
    units = residuals / np.sqrt((residuals**2).mean(0))
    expected = ledoit_wolf_shrinkage(units, assume_centered=True)
    assert ledoit_wolf(residuals) == pytest.approx(expected, rel=1e-6)


def test_an_edit_without_weights_is_impossible():
    edit, distance = cheapest_edit(np.ones((5, 2)), np.zeros(2), 1.0, 4, 0.5)
    assert np.isnan(edit).all() and distance == np.inf


def test_the_edges_that_carry_an_edit_are_written_out(hub_cohort, regions, sections):
    """Few planted edges of the hub: they come first, weaker by what was planted, and hold most of the change."""
    moved = [k for k, ends in enumerate(zip(*np.triu_indices(N, 1))) if HUB in ends][:4]
    cohort = hub_cohort(0.0)
    cohort.values[np.ix_(cohort.labels == 1, moved)] -= 0.2 * 1.5  # of spread 0.2
    edits = ranking(cohort, regions, sections).edits
    assert tuple(edits) == COLUMNS
    first = edits.query(f"participant_id == 'group' and kind == 'node' and target == '{regions['name'][HUB]}'")
    rows, cols = np.triu_indices(N, 1)
    planted = {frozenset(regions["name"][[rows[k], cols[k]]]) for k in moved}
    top = first.head(4)
    assert {frozenset(pair) for pair in zip(top["region_a"], top["region_b"])} == planted
    assert top["change"].mean() == pytest.approx(0.3, abs=0.05)
    assert top["change_sd"].mean() == pytest.approx(1.5, abs=0.3)
    assert top["change_spread"].between(0.1, 0.3).all() and top["share"].sum() > 0.8
    assert (top["cheapest"] > 0).all() and (top["cheapest_share"] > 0.05).all()


def test_what_is_written_of_a_target_is_bounded_and_for_everybody(hub_cohort, regions, sections):
    cohort = hub_cohort(0.8)
    found = ranking(cohort, regions, sections, edits={**SPEC["edits"], "edges": N - 1})
    edits, group = found.edits, found.edits["participant_id"] == "group"
    ill = cohort.participants["participant_id"][cohort.labels == 1]
    assert set(edits.loc[~group, "participant_id"]) == set(ill)
    each = edits[~group].groupby(["participant_id", "kind", "target"]).size()
    assert each.between(1, 4).all() and each.groupby(["participant_id", "kind"]).size().eq(1).all()
    assert edits[group].groupby("kind")["target"].nunique().le(2).all()
    whole = edits[group & (edits["target"] == regions["name"][HUB])]
    assert len(whole) == N - 1 and whole["share"].sum() == pytest.approx(1) and whole["share"].is_monotonic_decreasing
    assert whole["cheapest_share"].sum() == pytest.approx(1, abs=1e-4)
    nothing = ranking(cohort, regions, sections, edits={**SPEC["edits"], "targets": 0, "patient_targets": 0}).edits
    assert nothing.empty and tuple(nothing) == COLUMNS


def test_edits_are_those_of_the_models(hub_cohort, regions, sections):
    """Normalisation, its parts, and the cheapest edit of one person, against the definitions."""
    cohort = hub_cohort(0.8)
    cohort.missing[[1, 6, 12], 3] = True
    basis = nuisance_basis(cohort.participants, COVARIATES)
    targets = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    fold = first_fold(cohort, sections)
    effects, aim = fold_effects(fold, targets, basis, cohort.labels), -0.1
    edits = gather_edits([effects], cohort.labels, aim)
    ill = np.flatnonzero(cohort.labels[fold.test] == 1)
    assert (edits.patients == np.sort(fold.test[ill])).all()
    excess = fold.features - expected_control(fold, basis, cohort.labels)
    order = np.argsort(fold.test[ill])
    np.testing.assert_allclose(edits.change, -np.where(fold.lost, 0, excess[fold.test])[ill][order], atol=1e-6)
    shifts = (targets.members @ edits.parts.T).T
    np.testing.assert_allclose(shifts, effects.shifts[ill][order], atol=1e-5)
    controls = fold.train[cohort.labels[fold.train] == 0]
    df = len(controls) - basis.shape[1]
    np.testing.assert_allclose(edits.spread, np.sqrt((excess[controls] ** 2).sum(0) / df))
    person = int(np.argmax(effects.logits[ill][order]))
    entries = slice(*targets.members.indptr[HUB : HUB + 2])
    own = targets.members.indices[entries]
    weights = fold.classifier.slope_ * fold.classifier.weights_
    gap = effects.logits[ill][order][person] - aim
    wanted, _ = cheapest_edit(excess[controls][:, own], weights[own], gap, df, ledoit_wolf(excess[controls]))
    edit, parts = edits.cheapest(np.array([person]), entries)
    np.testing.assert_allclose(edit, wanted, rtol=1e-4, atol=1e-6)
    assert parts.sum() == pytest.approx(-gap, rel=1e-4)
    there = int(np.argmin(effects.logits[ill][order]))
    if effects.logits[ill][order][there] <= aim:
        assert np.isnan(edits.cheapest(np.array([there]), entries)[0]).all()


def test_edits_are_averaged_over_repeats(hub_cohort, regions, sections):
    """A person that two models did not see has the mean of both edits, of the cheapest as well."""
    cohort = hub_cohort(0.8, n=40)
    splits = make_splits(cohort.participants, folds=2, repeats=2, seed=0)
    basis = nuisance_basis(cohort.participants, COVARIATES)
    targets = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    folds = [
        fold_effects(fold, targets, basis, cohort.labels) for fold in fitted_folds(cohort, splits, sections("ridge"))
    ]
    both, aim, entries = gather_edits(folds, cohort.labels, -9.0), -9.0, slice(*targets.members.indptr[:2])
    person = both.patients[3]
    alone = [gather_edits([fold], cohort.labels, aim) for fold in folds if person in fold.test]
    one = [(own, np.flatnonzero(own.patients == person)) for own in alone]
    assert len(one) == 2
    np.testing.assert_allclose(both.change[3], np.mean([own.change[at[0]] for own, at in one], 0), atol=1e-6)
    mean = np.mean([own.cheapest(at, entries)[0] for own, at in one], 0)
    np.testing.assert_allclose(both.cheapest(np.array([3]), entries)[0], mean, rtol=1e-4)


def test_matched_sets_are_like_the_target(regions):
    rng = np.random.default_rng(0)
    strength = np.arange(N, dtype=float)
    for _ in range(20):
        exchange = neighbours(strength, 4, rng)
        assert sorted(exchange) == list(range(N))
        assert np.abs(strength[exchange] - strength).max() <= 4
    effects = rng.standard_normal(N * (N - 1) // 2)
    targets = list_targets(regions, np.ones(len(effects), bool))
    z, p = matched_standing(effects, targets, strength, 8, 50, 0)
    own = targets.members[:N] @ effects
    nearest = own[[k for k in range(6) if k != 2][:4]]
    assert len(z) == len(targets.table) and ((p > 0) & (p <= 1)).all()
    assert np.corrcoef(z[:N], own)[0, 1] > 0.9 and len(nearest) == 4


def test_strength_is_the_sum_of_absolute_edges():
    edges = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 0.5]])
    np.testing.assert_allclose(node_strength(edges, Pairs(3)), [2 + 1, 2 + 0.5, 1 + 0.5])


def test_stability_counts_folds():
    effects = np.array([[-3.0, -1, 0, 2], [-3, 0, -1, 2], [-3, -1, 0, 2]])
    assert rank_agreement(effects) == pytest.approx((0.8 + 0.8 + 1) / 3)
    np.testing.assert_allclose(share_at_top(effects, 2), [1, 2 / 3, 1 / 3, 0])
    assert np.isnan(rank_agreement(effects[:1]))


@pytest.mark.parametrize(("atlas", "target", "names"), [
    ("seitzman300", "pallidum", {"Pallidum R", "Pallidum L"}),
    ("seitzman300", "subthalamic", set()),
    ("degeneration", "premotor", {"Dorsal premotor cortex L", "Dorsal premotor cortex R"}),
    ("degeneration", "m1", {"Primary motor cortex, hand L", "Primary motor cortex, hand R"}),
    ("ho110", "sma", {"Supplementary motor area R", "Supplementary motor area L"}),
])  # fmt: skip
def test_target_regions_are_rules(atlas, target, names):
    nodes = load_atlas(atlas)
    found = target_regions(nodes).set_index("target")
    assert set(nodes["name"].iloc[list(found.loc[target, "rows"])]) == names
    assert set(found["access"]) == {"DBS", "TMS"}


def test_the_joined_atlas_names_have_every_deep_target():
    """GPi, GPe and STN come from the atlas of the deep nuclei, the dentate from that of the cerebellum."""
    names = pd.read_csv(
        importlib.util.find_spec("dysconnect.data.atlas").submodule_search_locations[0] + "/names.tsv", sep="\t"
    )
    deep = names[names["source"].isin(["zonabb", "suit", "tian"])].assign(x=10.0, y=-60.0, z=0.0)
    found = target_regions(deep.reset_index(drop=True)).set_index("target")["rows"]
    for target in ("pallidum_internal", "pallidum_external", "subthalamic", "dentate", "motor_thalamus"):
        assert len(found[target]) >= 2, target
    chosen = deep["name"].iloc[list(found["lateral_cerebellum"])]
    assert chosen.empty  # ten millimetres from the midline is not lateral


def test_motor_and_premotor_cortex_do_not_overlap():
    for atlas in ("seitzman300", "cc200", "ho110"):
        found = target_regions(load_atlas(atlas)).set_index("target")["rows"]
        assert not set(found["m1"]) & set(found["premotor"])


def test_a_model_without_edge_weights_is_refused(hub_cohort, regions, sections):
    cohort = hub_cohort(0.8)
    splits = make_splits(cohort.participants, folds=4, repeats=1, seed=0)
    with pytest.raises(ValueError, match=r"choose another stimulate\.experiment"):
        rank_targets(cohort, splits, sections("floor"), regions, SPEC)


def test_a_model_that_is_not_permuted_has_matched_nodes_only(hub_cohort, regions, sections):
    cohort = hub_cohort(1.0)
    splits = make_splits(cohort.participants, folds=3, repeats=1, seed=0)
    own = {**sections("ridge"), "model": {"name": "elastic_net", "ratio": 0.1, "screened": 100}}
    found = rank_targets(cohort, splits, own, regions, SPEC)
    numbers = found.edits.query("participant_id == 'group'")[["change", "share"]]
    assert len(numbers) and numbers.notna().all(axis=None)
    assert found.targets[["score", "p", "p_fwer"]].isna().all(axis=None) and found.summary["permutations"] == 0
    assert found.targets.iloc[0]["target"] == regions["name"][HUB]


def test_regions_that_nobody_has_are_no_targets(hub_cohort, regions, sections):
    cohort = hub_cohort(0.8)
    rows, cols = np.triu_indices(N, 1)
    cohort.values[:, (rows == 3) | (cols == 3)] = 0
    cohort.missing[:, 3] = True
    found = ranking(cohort, regions, sections)
    assert regions["name"][3] not in set(found.targets["target"])
    assert found.targets.iloc[0]["target"] == regions["name"][HUB]
    assert (found.targets.query("kind == 'node'")["n_edges"] == N - 2).all()


def test_controllability_beyond_strength():
    rng = np.random.default_rng(0)
    strength = rng.gamma(2, size=30)
    assert np.abs(beyond_strength(np.exp(strength), strength)).max() == pytest.approx(0)
    rest = beyond_strength(rng.standard_normal(30), strength)
    assert rest.std() == pytest.approx(1) and abs(np.corrcoef(rest, strength.argsort().argsort())[0, 1]) < 1e-9


def test_controllability_is_optional(hub_cohort, regions, monkeypatch):
    edges = hub_cohort(0.0).values
    if importlib.util.find_spec("nctpy"):
        table = controllability(edges, regions)
        assert list(table) == ["average_controllability", "modal_controllability"] and len(table) == N
        assert np.isfinite(table.to_numpy()).all()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert controllability(edges, regions) is None


def test_the_search_finds_the_closed_form_of_a_linear_decision():
    import torch

    from dysconnect.stimulate.networks import search_edit

    rng = np.random.default_rng(0)
    residuals, weights = rng.standard_normal((100, 30)) * rng.uniform(0.5, 2, 30), rng.standard_normal(30)
    people, target = rng.standard_normal((4, 30)), np.arange(5, 20)
    spread = residuals.std(0)
    linear = torch.as_tensor(weights, dtype=torch.float32)
    decide = lambda edges: edges @ linear
    aim = float((people @ weights).min()) - 0.5
    wide = np.full(30, 50.0)
    edit, distance = search_edit(decide, people, target, spread, -wide, wide, aim, share=1.0)
    assert not edit[:, np.setdiff1d(np.arange(30), target)].any()
    for person in range(4):
        gap = people[person] @ weights - aim
        own = residuals[:, target] - residuals[:, target].mean(0)
        best, least = cheapest_edit(own, weights[target], gap, df=100, shrinkage=1.0)
        assert distance[person] == pytest.approx(least, rel=0.01)
        np.testing.assert_allclose(edit[person, target], best, atol=0.02)
    few, _ = search_edit(decide, people, target, spread, -wide, wide, aim, share=0.2)
    assert ((few != 0).sum(1) <= 3).all()


def test_the_search_stays_within_the_controls_and_says_when_it_fails():
    import torch

    from dysconnect.stimulate.networks import search_edit

    decide = lambda edges: edges.sum(1)
    people, one = np.array([[1.0, 1.0, 5.0], [-4.0, 0.0, 0.0]]), np.ones(3)
    edit, distance = search_edit(decide, people, np.array([0, 1]), one, -0.5 * one, one, 5.5, share=1.0)
    assert distance[0] == pytest.approx(1.5 / np.sqrt(2), rel=0.01) and distance[1] == 0
    edit, distance = search_edit(decide, people, np.array([0, 1]), one, -0.5 * one, one, 0.0, share=1.0)
    assert np.isnan(distance[0]) and (people + edit >= [[-0.5, -0.5, 5], [-4, 0, 0]]).all()
    assert torch.is_tensor(decide(torch.zeros(1, 3)))


@pytest.mark.usefixtures("one_torch_thread")
def test_networks_are_asked_again(hub_cohort, regions, sections):
    """Fold, seed and target of a graph network: shifts are edits, edges add up, the hub is found."""
    from dysconnect.stimulate.networks import fitted_networks, integrated_gradients, network_effects, search_edit

    cohort = hub_cohort(2.0, n=40)
    splits = make_splits(cohort.participants, folds=2, repeats=1, seed=0)
    own = sections("gcn", epochs=15, validation=0, seeds=2, stacked=True)
    fold = next(fitted_networks(cohort, splits, own))
    people = fold.features[fold.test]
    np.testing.assert_allclose(fold.logits, fold.classifier.networks.decide(people)[:, 0], atol=1e-5)
    parts = integrated_gradients(fold.classifier, people, people * 0.9)
    change = fold.classifier.decision_function(people * 0.9) - fold.logits
    assert np.corrcoef(parts.sum(1), change)[0, 1] > 0.8
    touched = np.flatnonzero(Pairs(N).touching(np.arange(N) == HUB))
    limits = people.std(0), people.min(0) - 1, people.max(0) + 1
    edit, distance = search_edit(fold.classifier, people, touched, *limits, float(np.median(fold.logits)), share=1.0)
    assert np.isfinite(distance).mean() > 0.8
    edited = fold.classifier.decision_function(people + edit)
    assert (edited[np.isfinite(distance)] <= np.median(fold.logits) + 0.01).all()
    found = rank_targets(cohort, splits, own, regions, {**SPEC, "network_permutations": 19})
    nodes = found.targets[found.targets["kind"] == "node"]
    assert nodes.iloc[0]["target"] == regions["name"][HUB] and found.summary["folds"] == 4
    assert nodes.iloc[0]["p"] == 0.05 and found.summary["permutations"] == 19 and found.summary["network"]
    assert nodes["matched_z"].notna().all() and nodes["cost"].isna().all()
    group = found.edits[found.edits["participant_id"] == "group"]
    first = group[(group["kind"] == "node") & (group["target"] == regions["name"][HUB])]
    assert (first["change"] > 0).all() and first["cheapest"].isna().all()
    assert group["share"].notna().all()
    whole = list_targets(regions, np.ones(N * (N - 1) // 2, bool))
    whole = replace(
        whole, table=whole.table[:1], members=csr_matrix(np.ones((1, N * (N - 1) // 2))), nodes=np.array([])
    )
    effects = network_effects(fold, whole, nuisance_basis(cohort.participants, COVARIATES), cohort.labels, "controls")
    ill = cohort.labels[fold.test] == 1
    there = np.isfinite(effects.costs[ill, 0])
    assert there.any() and not effects.steps[~there].any()
    gaps = effects.logits[ill] - np.median(effects.logits[~ill])
    change = effects.steps[there, 1].sum(1)
    np.testing.assert_allclose(change, -np.maximum(gaps[there], 0), atol=0.25 * np.abs(gaps).max())


@pytest.fixture(scope="module")
def retrain(make_cohort, sections):
    """Networks of small cohorts with a hub, trained again for permuted labels: shifts, targets, what made them."""
    from dysconnect.stimulate.retrained import retrained_shifts

    n_nodes, hub = 12, 7
    rows, cols = np.triu_indices(n_nodes, 1)
    nodes = load_atlas("seitzman300").iloc[:n_nodes]
    targets = list_targets(nodes, np.ones(len(rows), bool))
    touching = np.flatnonzero((rows == hub) | (cols == hub))

    def run(effect: float, seed: int, permutations: int, n: int = 24):
        cohort = make_cohort(n, n_nodes, touching, -effect, seed)
        splits = make_splits(cohort.participants, folds=2, repeats=1, seed=seed)
        own = sections("gcn", epochs=4, validation=0, batch_size=8, stacked=True, seed=seed)
        own["model"] = {**own["model"], "linear": True}
        basis = nuisance_basis(cohort.participants, ["site"])
        return retrained_shifts(cohort, splits, own, targets, basis, permutations, seed), targets, hub

    return run


@pytest.mark.usefixtures("one_torch_thread")
def test_a_hub_is_told_from_permuted_labels_by_networks_trained_again(retrain):
    shifts, targets, hub = retrain(1.5, 0, 39, n=40)
    score, p, p_fwer = permutation_p(shifts, targets.table["kind"].to_numpy())
    nodes = score[: len(targets.nodes)]
    assert shifts.shape == (40, len(targets.table)) and nodes.argmin() == hub
    assert p[hub] == pytest.approx(1 / 40) and p_fwer[hub] <= 3 / 40  # kinds' smallest p may be equal


@pytest.mark.usefixtures("one_torch_thread")
def test_networks_in_noise_give_every_p(retrain):
    found = []
    for seed in range(4):
        shifts, targets, _ = retrain(0.0, seed, 19)
        found.append(permutation_p(shifts, targets.table["kind"].to_numpy())[1][: len(targets.nodes)])
    assert 0.3 < np.mean(found) < 0.7 and np.mean(np.array(found) <= 0.1) < 0.25
    assert np.mean(np.array(found)[:, 3] > 0.5) > 0  # not one side only


@pytest.mark.usefixtures("one_torch_thread")
def test_a_network_does_not_see_what_else_is_permuted(retrain):
    """The observed labels give the same shifts however many others are trained beside them; shifts of noise differ."""
    few, many = retrain(1.5, 0, 1)[0], retrain(1.5, 0, 4)[0]
    np.testing.assert_allclose(few[0], many[0], rtol=1e-3, atol=1e-4)
    assert np.abs(many[1:] - many[0]).max() > 0.1


def test_labels_of_networks_keep_the_design(make_participants):
    people = make_participants(40).assign(fold=np.arange(40) % 4)
    labels = design_permutations(people["label"].to_numpy(), people, 30, 0)
    for _, own in people.groupby(["site", "fold"]).indices.items():
        assert (labels[own].sum(0) == labels[own, 0].sum()).all()


def test_controllability_is_the_closed_form(hub_cohort, regions):
    """What nctpy finds, against eigenvectors: of a symmetric system both measures are sums over modes."""
    pytest.importorskip("nctpy", reason='pip install "dysconnect[stimulate]"')
    edges = hub_cohort(0.0).values
    network = Pairs(N).matrix(np.maximum(edges.mean(0, dtype=float), 0))
    values, vectors = np.linalg.eigh(network / (1 + np.abs(np.linalg.eigvalsh(network)).max()))
    expected = {
        "average_controllability": vectors**2 @ (1 / (1 - values**2)),
        "modal_controllability": vectors**2 @ (1 - values**2),
    }
    table = controllability(edges, regions)
    for name, own in expected.items():
        np.testing.assert_allclose(table[name], beyond_strength(own, network.sum(0)), atol=1e-8)
