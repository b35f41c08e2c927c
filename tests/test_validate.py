"""Cohorts with a known truth are what they say, and the scores say what happened in them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import cohort_of, results_of

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.edges import Pairs
from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.methods import Outcome, run_methods
from dysconnect.plan.checks import check_validation
from dysconnect.planted.plant import choose_pattern
from dysconnect.report import Study
from dysconnect.report import validation as report
from dysconnect.report.section import Section
from dysconnect.validate import pool_maker, validate_batch
from dysconnect.validate.pools import controls_of, real_pool, thin
from dysconnect.validate.scenarios import (
    Scenario,
    Truth,
    chosen_edges,
    draw_labels,
    plant_scenario,
    planted_scenarios,
)
from dysconnect.validate.scores import binomial_limits, gather, score_cohort, stability

DATASET = {"kind": "simulated", "volumes": 120, "repetition_time": 2.0, "motion_artefact": 2.0}
LOCALIZE = {
    "measure": "correlation", "nuisance": ["age", "sex", "site", "mean_fd"], "alpha": 0.05, "thresholds": [3, 3.5],
    "prior_circuits": ["striato_pallidal"], "prior": 4, "seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def spec(denoise_spec):
    own = {
        "patients": 12, "controls": 12, "regions": None, "permutations": 39, "patterns": ["circuit"], "carriers": [1.0],
        "effects": [4.0], "circuits": ["striato_pallidal", "cerebello_striatal"], "edges": 6, "confounding": 2.0,
        "artefact": 4.0, "seed": 0,
    }  # fmt: skip
    return {
        "validate": own, "localize": LOCALIZE, "denoise": denoise_spec, "estimator": "empirical", "batch": 0
    }  # fmt: skip


@pytest.fixture(scope="module")
def pool(spec, nodes):
    return pool_maker(DATASET, nodes, spec["validate"], None, None)(0)


def test_patterns_have_their_shape(nodes):
    circuits, rng = ["striato_pallidal", "cerebello_striatal"], np.random.default_rng(0)
    names = edge_circuits(nodes)
    for pattern in ("circuit", "mixed"):
        own = choose_pattern(nodes, pattern, circuits, 8, rng)
        assert len(own) == 8 and set(names[own["edge"]]) <= set(circuits)
        assert set(own["direction"]) == ({-1} if pattern == "circuit" else {-1, 1})
    hub = choose_pattern(nodes, "hub", circuits, 8, rng)
    assert len(hub) == len(nodes) - 1
    shared = set(hub.iloc[0][["i", "j"]]) & set(hub.iloc[-1][["i", "j"]])
    assert len(shared) == 1 and (hub[["i", "j"]] == shared.pop()).any(axis=1).all()
    random = choose_pattern(nodes, "random", circuits, 8, rng)
    assert random["edge"].is_unique and len(random) == 8
    rows, cols = Pairs(len(nodes)).ends
    for own in (hub, random):
        np.testing.assert_array_equal(own["i"], rows[own["edge"]])
        np.testing.assert_array_equal(own["j"], cols[own["edge"]])


def test_a_pattern_depends_on_its_seed_only(nodes, spec):
    first, again = (chosen_edges(nodes, "random", spec["validate"], [0, 1]) for _ in range(2))
    other = chosen_edges(nodes, "random", spec["validate"], [0, 2])
    pd.testing.assert_frame_equal(first, again)
    assert not first["edge"].equals(other["edge"])


@pytest.mark.parametrize(("pattern", "carrying"), [("circuit", 1.0), ("hub", 1.0), ("circuit", 0.5)])
def test_what_is_planted_is_what_moves(pool, spec, nodes, pattern, carrying):
    edges = pool.all_edges(spec)
    labels = draw_labels(pool.participants, 12, 0.0, np.random.default_rng(0))
    chosen = chosen_edges(nodes, pattern, spec["validate"], [0])
    scenario = Scenario("planted", pattern, carrying, 1.5)
    changed, truth = plant_scenario(pool, edges, labels, chosen, scenario, spec, [0])
    np.testing.assert_array_equal(np.flatnonzero(truth.planted), np.sort(chosen["edge"]))
    np.testing.assert_array_equal(changed[labels == 0], edges[labels == 0])
    moved = (np.abs(changed - edges) > 1e-6).any(1)
    assert moved.sum() == carrying * 12 and not moved[labels == 0].any()
    shift = (changed - edges)[moved].mean(0) / edges.std(0, ddof=1)
    assert shift[truth.planted].max() < -0.5 and shift[truth.planted].mean() < -1.0
    assert np.abs(shift[~truth.planted]).mean() < 0.1
    assert truth.moved[truth.planted].all() and truth.moved.sum() < 0.3 * len(truth.moved)


def test_labels_are_balanced_in_every_site_and_follow_motion_where_told(make_participants):
    people = make_participants(100)
    free = draw_labels(people, 40, 0.0, np.random.default_rng(0))
    assert free.sum() == 40
    assert pd.Series(free).groupby(people["site"]).sum().tolist() == [20, 20]
    tied = draw_labels(people, 40, 3.0, np.random.default_rng(0))
    assert tied.sum() == 40
    motion = people["mean_fd"].to_numpy()
    gaps = [motion[label == 1].mean() - motion[label == 0].mean() for label in (free, tied)]
    assert abs(gaps[0]) < 0.5 * motion.std() < gaps[1]


def test_regions_are_thinned_over_all_systems():
    nodes = load_atlas("seitzman300")
    kept = thin(nodes, 60)
    assert len(kept) == 60 and (np.diff(kept) > 0).all()
    share = nodes["system"].value_counts(normalize=True) - nodes["system"].iloc[kept].value_counts(normalize=True)
    assert share.abs().max() < 0.03
    np.testing.assert_array_equal(thin(nodes, None), np.arange(300))


def test_a_batch_has_a_row_a_cohort_scenario_and_method(spec, nodes, tmp_path):
    own = pool_maker(DATASET, nodes, spec["validate"], None, None)
    null = validate_batch(own, nodes, spec, "null", [0, 1])
    planted = validate_batch(own, nodes, spec, "planted", [0, 1])
    assert set(null["scenario"]) == {"no difference", "confounded", "confounded, not adjusted"}
    assert not null.duplicated(["scenario", "cohort", "method"]).any()
    assert len(null) == 2 * 3 * null["method"].nunique()
    assert null[["tpr", "auprc", "sign_accuracy"]].isna().all().all()
    assert set(planted["method"]) == set(null["method"]) and set(planted["d"]) == {4.0}
    rows = planted.set_index("method")
    assert rows.loc["max-T", "auprc_ratio"].eq(1).all()
    assert rows.loc["Benjamini-Hochberg", "tpr"].gt(0.3).all()
    assert rows.loc["Benjamini-Hochberg", "sign_accuracy"].eq(1).all()
    assert rows.loc["max-T, patients higher", "tpr"].isna().all()
    assert rows.loc["ridge weights", ["called", "fwer"]].isna().all().all()
    path = tmp_path / "cohorts.tsv"
    null.to_csv(path, sep="\t", index=False)
    pd.testing.assert_frame_equal(gather(pd.read_csv(path, sep="\t")), gather(null), rtol=1e-9)
    again = validate_batch(own, nodes, spec, "planted", [1])
    pd.testing.assert_frame_equal(
        again.drop(columns="stability"),
        planted[planted["cohort"] == 1].drop(columns="stability").reset_index(drop=True),
    )


def test_without_motion_among_the_covariates_there_is_no_confounded_cohort(spec, nodes, capsys):
    without = {**spec, "localize": {**LOCALIZE, "nuisance": ["age"]}}
    table = validate_batch(pool_maker(DATASET, nodes, spec["validate"], None, None), nodes, without, "null", [0])
    assert set(table["scenario"]) == {"no difference"}
    assert "no confounded cohorts" in capsys.readouterr().out


def test_all_methods_of_the_library_find_a_strong_truth(make_cohort):
    nodes = load_atlas("seitzman300").iloc[::12].reset_index(drop=True)
    rows, _ = Pairs(len(nodes)).ends
    planted = np.flatnonzero(rows == 3)
    cohort = make_cohort(60, len(nodes), planted, shift=3.0)
    spec = {**LOCALIZE, "permutations": 99, "nuisance": ["age"], "prior_circuits": []}
    shared = Ingredients(cohort.values, cohort.participants, Regions.of_atlas(nodes), spec)
    outcomes, t = run_methods(shared), shared.statistics().t
    truth = Truth(np.isin(np.arange(len(rows)), planted).astype(int), np.isin(np.arange(len(rows)), planted))
    scores = score_cohort(outcomes, truth, t).set_index("method")
    whole = ["max-T", "max-T, patients higher", "Benjamini-Hochberg", "weighted Benjamini-Hochberg", "NBS, intensity",
             "NBS, size", "NBS, size, patients higher", "adaptive NBS", "TFNBS"]  # fmt: skip
    assert (scores.loc[whole, "tpr"] > 0.95).all()
    assert (scores["sign_accuracy"].dropna() == 1).all()
    assert scores.loc["true-discovery bounds", "coverage"] == 1 and scores.loc["true-discovery bounds", "tpr"] > 0.8
    assert scores.loc["NBS, intensity, patients lower", "called"] == 0
    assert scores.loc["ridge weights", "auprc"] > 0.8
    assert {"circuit tests", "cNBS, blocks"} <= set(scores.index)


def test_scores_of_a_cohort_by_hand():
    truth = Truth(np.array([-1, -1, 0, 0, 0]), np.array([True, True, True, False, False]))
    called = np.array([True, False, True, True, False])
    t = np.array([2.0, -3.0, -2.5, 2.2, 0.1])
    own = score_cohort([Outcome("one", called, np.abs(t))], truth, t).iloc[0]
    assert (own["called"], own["tpr"], own["fdp"], own["fwer"]) == (3, 0.5, 0.5, 1.0)  # the third only moved along
    assert own["fdp_strict"] == pytest.approx(2 / 3)
    assert own["sign_accuracy"] == 0.0
    assert own["auprc"] == pytest.approx((1 + 2 / 3) / 2)  # -3, [2.2], 2: the third is left out
    sets = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 1]], bool)
    own = score_cohort([Outcome("sets", np.array([True, True, True]), sets=sets)], truth, t).iloc[0]
    assert (own["tpr"], own["fdp"], own["fwer"]) == (1.0, 0.5, 1.0)
    nothing = score_cohort([Outcome("one", np.zeros(5, bool), np.abs(t))], Truth.nothing(5), t).iloc[0]
    assert np.isnan(nothing["tpr"]) and nothing["fdp"] == 0 and nothing["fwer"] == 0


def test_a_one_sided_method_is_asked_for_its_side_only():
    truth = Truth(np.array([-1, 1, 0]), np.array([True, True, False]))
    called = np.array([False, True, False])
    own = score_cohort([Outcome("up", called, tail=1)], truth, np.array([-3.0, 3.0, 0.0])).iloc[0]
    assert own["tpr"] == 1.0 and own["fwer"] == 0.0 and np.isnan(own["auprc"])


def test_stability_of_sets():
    one, other = np.array([1, 1, 0, 0, 0, 0], bool), np.array([0, 0, 1, 1, 0, 0], bool)
    assert stability([one, one, one]) == 1.0
    # by hand: s^2 = 2 * .25 for four of six, share 1/3: 1 - (4 * .5 / 6) / (2 / 9)
    assert stability([one, other]) == pytest.approx(1 - (2 / 6) / (2 / 9))
    assert np.isnan(stability([one])) and np.isnan(stability([one & other, one & other]))


def test_gather_by_hand():
    rows = [("no difference", "", 0.0, 0.0, k, "null_0", "max-T", "edges", float(k == 0)) for k in range(10)]
    columns = ["scenario", "pattern", "carriers", "d", "cohort", "batch", "method", "units", "fwer"]
    table = pd.DataFrame(rows, columns=columns)
    table[["called", "fdp", "fdp_strict"]] = table[["fwer"]].to_numpy() * [3, 1, 1]
    table[["tpr", "auprc", "auprc_ratio", "sign_accuracy", "coverage"]] = np.nan
    table["stability"] = -0.1
    scores = gather(table).set_index("measure")
    assert set(scores.index) == {"fwer", "fdp", "fdp_strict", "called", "stability"}  # a null cohort has no tpr
    own = scores.loc["fwer"]
    assert own["value"] == pytest.approx(0.1) and own["cohorts"] == 10
    assert (own["low"], own["high"]) == (pytest.approx(0.0025, abs=1e-4), pytest.approx(0.4450, abs=1e-4))
    assert scores.loc["stability", "cohorts"] == 1 and np.isnan(scores.loc["stability", "low"])
    assert scores.loc["called", "value"] == pytest.approx(0.3)


def test_binomial_limits_at_the_ends():
    assert binomial_limits(np.zeros(20), 0.95) == (0.0, pytest.approx(0.1684, abs=1e-4))
    assert binomial_limits(np.ones(20), 0.95) == (pytest.approx(0.8316, abs=1e-4), 1.0)


@pytest.mark.parametrize(
    ("patterns", "carriers", "effects", "message"),
    [
        (["circle"], [1.0], [0.8], r"validate\.patterns: circle is unknown\. Choose of circuit, mixed, hub, random"),
        (["hub"], [1.0, 0.0], [0.8], r"validate\.carriers: 0 is no share of the patients\. Give 1 for all"),
        (["hub"], [1.0], [0.8, 0.0], r"validate\.effects: 0 is not positive\. Give Cohen's d"),
        (["hub"], [1.0], [-1.0], r"validate\.effects: -1 is not positive"),
    ],
)
def test_an_impossible_design_is_refused(patterns, carriers, effects, message):
    with pytest.raises(ValueError, match=message):
        planted_scenarios(patterns, carriers, effects)


def test_the_half_who_carry_it_are_changed_as_all_are(pool, spec, nodes):
    """Every pattern and effect is planted once a person, whatever the shares."""
    (whole, half), (stronger, _) = planted_scenarios(["hub"], [1.0, 0.5], [0.5, 0.8])
    assert whole == ("planted", "hub", 1.0, 0.5) and half == ("planted", "hub", 0.5, 0.5) and stronger.d == 0.8
    edges = pool.all_edges(spec)
    labels = draw_labels(pool.participants, 12, 0.0, np.random.default_rng(0))
    chosen, disrupted = chosen_edges(nodes, "hub", spec["validate"], [0]), {}
    all_, _ = plant_scenario(pool, edges, labels, chosen, whole, spec, [0], disrupted)
    assert sorted(disrupted) == np.flatnonzero(labels == 1).tolist()
    some, truth = plant_scenario(pool, edges, labels, chosen, half, spec, [0], disrupted)
    alone, same = plant_scenario(pool, edges, labels, chosen, half, spec, [0])
    np.testing.assert_array_equal(some, alone)
    np.testing.assert_array_equal(truth.moved, same.moved)
    changed = (some != edges).any(1)
    assert changed.sum() == 6
    np.testing.assert_array_equal(some[changed], all_[changed])


def test_an_unknown_pattern_or_too_many_edges_are_refused(nodes):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"pattern 'ring' is unknown\. Choose of circuit, mixed, hub, random"):
        choose_pattern(nodes, "ring", [], 3, rng)
    with pytest.raises(ValueError, match="9999 random edges asked, but 40 regions have 780"):
        choose_pattern(nodes, "random", [], 9999, rng)


def test_a_validation_that_cannot_be_made_is_refused_before_any_job(spec):
    own = {**spec["validate"], "cohorts": {"null": 5, "planted": 0}}
    cohort = {"validate": own, "dataset": {"kind": "table", "name": "degeneration"}, "localize": LOCALIZE}
    with pytest.raises(ValueError, match="connections without series"):
        check_validation(cohort)
    cohort["dataset"] = {"kind": "simulated", "name": "simulated"}
    check_validation(cohort)
    cohort["localize"] = {**LOCALIZE, "alpha": 0.001}
    with pytest.raises(ValueError, match=r"validate\.permutations: 39 give no p .* 999 or more do"):
        check_validation(cohort)
    own["cohorts"] = {"null": 0, "planted": 0}
    check_validation({**cohort, "dataset": {"kind": "table"}})


def test_real_controls_become_cohorts(simulated, nodes, spec, denoise_spec):
    """Series of a cohort on disk, as if its people were real."""
    index = simulated.index
    controls = controls_of(simulated.participants, index, ["HC"], 4)
    included = simulated.participants[simulated.participants["included"]]
    assert set(controls["participant_id"]) == set(included.loc[included["group"] == "HC", "participant_id"])
    pool = real_pool(controls, nodes, np.arange(len(nodes)), 4, [0])
    assert len(pool.series) == 4 and pool.participants["participant_id"].is_unique
    assert pool.confounds[0] is not None and not pool.is_simulated
    assert pool.all_edges(spec).shape == (4, 780)
    with pytest.raises(ValueError, match=rf"asks for 100 people, and there are {len(controls)} included controls"):
        controls_of(simulated.participants, index, ["HC"], 100)
    with pytest.raises(ValueError, match=r"Set validate\.patients and validate\.controls so that together"):
        real_pool(controls, nodes, np.arange(len(nodes)), len(controls) + 1, [0])


@pytest.fixture
def scores():
    """Twenty null cohorts of three methods, of which one fails, and four planted ones."""
    rows = []
    for scenario, failing in (("no difference", 9), ("confounded", 1), ("confounded, not adjusted", 16)):
        for method, count in (("max-T", failing), ("Benjamini-Hochberg", 1)):
            limits = binomial_limits(np.arange(20) < count, 0.95)
            rows.append((scenario, "", 0.0, 0.0, method, "fwer", count / 20, *limits, 20))
        rows.append((scenario, "", 0.0, 0.0, "true-discovery bounds", "coverage", 0.95, 0.75, 1.0, 20))
    for pattern, share, d in product(("circuit", "hub"), (1.0, 0.5), (0.5, 0.8)):
        for method in ("max-T", "Benjamini-Hochberg", "adaptive NBS"):
            planted = "planted", pattern, share, d, method
            rows += [(*planted, "tpr", share * d / 2, share * d / 2 - 0.1, share * d / 2 + 0.1, 4)]
            rows += [(*planted, "fdp", 0.04, 0.0, 0.1, 4)]
            rows += [(*planted, "fwer", 0.0, 0.0, 0.6, 4)]
    columns = ["scenario", "pattern", "carriers", "d", "method", "measure", "value", "low", "high", "cohorts"]
    return pd.DataFrame(rows, columns=columns)


def section_of(scores: pd.DataFrame, spec: dict) -> Section:
    return report.section(Study(results_of(validation=scores), {**cohort_of(), "validate": spec["validate"]}, {}, None))


def test_the_verdict_names_what_is_outside_its_limits(scores, spec):
    judged = report.judged(scores, 0.05).set_index(["method", "where"])["verdict"]
    assert judged["max-T", "no difference"] == 1 and (judged.drop(("max-T", "no difference")) < 1).all()
    said = report.promises(scores, 0.05)
    assert "where nothing differs max-T (9 of 20 cohorts)." in said and "Benjamini" not in said
    held = scores[(scores["method"] != "max-T")]
    assert report.promises(held, 0.05).startswith("All 2 methods keep their promise")
    assert "max-T in 16 of 20 cohorts" in report.unprotected(scores, 0.05)
    calm = scores[scores["scenario"] != "confounded, not adjusted"]
    assert report.unprotected(calm, 0.05) == ""
    table = section_of(scores, spec).tables["methods"]
    assert [row.cells[0] for row in table.rows if row.mark] == ["max-T"]
    assert "9 / 20" in table.rows[0].cells


def test_a_rate_beside_a_truth_is_judged_with_its_error(scores):
    wrong = scores["measure"].eq("fdp") & scores["method"].eq("Benjamini-Hochberg")
    scores.loc[wrong, ["value", "low", "high"]] = [0.2, 0.15, 0.25]
    judged = report.judged(scores, 0.05).set_index(["method", "where"])["verdict"]
    assert judged["Benjamini-Hochberg", "planted"] == 1


def test_figures_are_drawn_from_full_and_from_missing_parts(scores, spec):
    names = {"validation_fwer", "validation_power", "validation_fdp"}
    for own in (scores, scores[scores["scenario"] == "planted"], scores[scores["scenario"] == "no difference"]):
        drawings = section_of(own, spec).figures
        assert set(drawings) == names and all(drawing.caption for drawing in drawings.values())
        assert all(isinstance(drawing.draw(), Figure) for drawing in drawings.values())
    figure = section_of(scores, spec).figures["validation_power"].draw()
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == [
        "edges of circuits,\nall patients", "all edges of a region,\nall patients",
        "edges of circuits,\nhalf of the patients", "all edges of a region,\nhalf of the patients",
    ]  # fmt: skip
    heights = [axes.lines[0].get_ydata()[0] for axes in figure.axes]
    assert heights == pytest.approx([0.25, 0.25, 0.125, 0.125])
    one = report.effect_figure(scores[scores["carriers"] != 0.5], "tpr", "Found", None)
    assert [axes.get_title("left") for axes in one.axes][:2] == ["edges of circuits", "all edges of a region"]
