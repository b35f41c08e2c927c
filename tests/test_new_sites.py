"""At sites that a model has not seen: probabilities are right, ComBat says what it does, and words say so."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from test_linear import SPECS

from dysconnect.data.cohort import Cohort
from dysconnect.evaluate.calibration import recalibration
from dysconnect.learning.estimators import build
from dysconnect.learning.new_sites import calibrate_on_sites, for_new_sites
from dysconnect.learning.splits import fold_rows, leaves_sites_out, make_splits, site_folds, unseen_sites
from dysconnect.models.dual import platt, ridge_path
from dysconnect.models.prepare import ComBat, UnseenSite
from dysconnect.predict.calibrate import calibrate
from dysconnect.report.prediction.words import new_sites_text
from dysconnect.train import cross_validate


def of_sites(make_cohort, n_sites: int = 8, n: int = 320, common: float = 0.5, local: float = 0.0) -> Cohort:
    """A cohort whose patients differ by one pattern everywhere, and by one of its own at every site."""
    cohort, rng = make_cohort(n=n), np.random.default_rng(5)
    site = np.arange(n) // 2 % n_sites
    patterns = rng.normal(size=(n_sites + 1, cohort.values.shape[1]))
    moved = common * patterns[-1] + local * patterns[:-1][site]
    values = cohort.values + 0.05 * cohort.labels[:, None] * moved
    people = cohort.participants.assign(site=[f"s{k}" for k in site])
    return dataclasses.replace(cohort, values=values.astype(np.float32), participants=people)


def trained(cohort: Cohort, scheme: str, calibration: str, name: str = "ridge", **own):
    training = {"permutations": 0, "seed": 0, "calibration": calibration}
    sections = {"model": {**SPECS[name], **own}, "measure": "correlation", "graph": {}, "training": training}
    return cross_validate(cohort, make_splits(cohort.participants, 4, 1, 0, scheme), name, sections)


def slope_of(predictions: pd.DataFrame) -> float:
    people = np.sort(predictions["participant_id"].unique())
    return recalibration(predictions, people, np.ones((1, len(people))))["calibration_slope"][0]


# calibration


def test_sites_left_out_calibrate_for_new_sites_and_people_do_not(make_cohort):
    """Half of what tells the groups apart is each site's own: at a new site probabilities of old sites are too sure."""
    cohort = of_sites(make_cohort, n_sites=12, n=480, common=0.6, local=1.6)
    slopes = {kind: slope_of(trained(cohort, "leave_one_site_out", kind).predictions) for kind in ("people", "auto")}
    assert slopes["people"] < 0.7
    assert 0.8 < slopes["auto"] < 1.25


def test_only_the_curve_differs_and_only_where_sites_are_left_out(make_cohort):
    cohort = of_sites(make_cohort, common=0.6, local=1.6)
    tables = {kind: trained(cohort, "leave_one_site_out", kind).predictions for kind in ("people", "auto", "sites")}
    assert tables["auto"].equals(tables["sites"])
    for _, fold in tables["people"].merge(tables["sites"], on=["participant_id", "fold"]).groupby("fold"):
        line = np.polyfit(logit(fold["probability_x"]), logit(fold["probability_y"]), 1)
        np.testing.assert_allclose(
            np.polyval(line, logit(fold["probability_x"])), logit(fold["probability_y"]), atol=1e-6
        )
        assert 0 < line[0] < 1
    known = {kind: trained(cohort, "kfold", kind).predictions for kind in ("people", "auto", "sites")}
    assert known["auto"].equals(known["people"]) and not known["auto"].equals(known["sites"])


def test_two_routes_to_the_curve_of_ridge(make_cohort):
    """Fitting without a site equals leaving it out in closed form."""
    cohort = of_sites(make_cohort, n_sites=4, n=80)
    model = build({"name": "ridge", "penalties": [0.3]}, "correlation", {}, {}).fit(cohort, np.arange(80))
    slope, offset = model.curve_at_new_sites(cohort, np.arange(80))
    centred = cohort.values - cohort.values.mean(0, dtype=float)
    kernel = centred @ centred.T
    sites = cohort.participants["site"].to_numpy()
    held_out = np.empty(80)
    for fit, watch in site_folds(cohort.participants):
        assert len(set(sites[watch])) == 1
        scale = np.trace((part := centred[fit] - centred[fit].mean(0)) @ part.T) / len(fit)
        _, decided, _ = ridge_path(kernel, cohort.labels[:, None], np.array([0.3 * scale]), sites)
        held_out[watch] = decided[0, watch, 0]
    np.testing.assert_allclose((slope, offset), platt(held_out, cohort.labels), rtol=1e-4)


def test_combat_does_not_see_the_inner_sites_that_are_left_out(make_cohort):
    """Sites that stand far apart: ComBat fitted on all of them would hide how little is known at a new one."""
    cohort = of_sites(make_cohort, common=1.0)
    shifts = np.random.default_rng(2).normal(0, 2, (8, cohort.values.shape[1]))
    site = cohort.participants["site"].str[1:].astype(int).to_numpy()
    apart = dataclasses.replace(cohort, values=(cohort.values + shifts[site]).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenSite)
        slopes = {
            kind: slope_of(trained(apart, "leave_one_site_out", kind, harmonise="combat").predictions)
            for kind in ("people", "sites")
        }
    assert abs(np.log(slopes["sites"])) < abs(np.log(slopes["people"]))


def test_inner_folds_are_whole_sites(make_participants):
    people = make_participants(80)
    people["site"] = [f"s{k // 2 % 7}" for k in range(80)]
    people.loc[[0, 2], "scan_group"] = "twice"  # s0 and s1
    folds = site_folds(people)
    assert sorted(np.concatenate([watch for _, watch in folds])) == list(range(80))
    for fit, watch in folds:
        assert not set(people["site"].iloc[fit]) & set(people["site"].iloc[watch])
        assert not set(people["scan_group"].iloc[fit]) & set(people["scan_group"].iloc[watch])
    assert site_folds(people.assign(site="one")) == []
    assert site_folds(people.assign(site=np.where(people["label"] == 1, "cases", "controls"))) == []


def test_what_cannot_be_calibrated_says_so(make_cohort):
    """Two sites: without one there is one, and none can be left out of it."""
    cohort = make_cohort(n=40, planted=range(6), shift=1.5)
    with pytest.warns(UserWarning, match=r"ridge, repeat 0, fold 0: no site can be left out .*of site-B"):
        left = trained(cohort, "leave_one_site_out", "auto").predictions
    assert left.equals(trained(cohort, "leave_one_site_out", "people").predictions)


def test_which_splits_leave_sites_out(make_participants):
    people = make_participants(40)
    one_site = make_splits(people, 4, 2, 0, "leave_one_site_out")
    fixed = make_splits(people, 4, 2, 0, "fixed", ["site-B"])
    kfold = make_splits(people, 4, 2, 0)
    assert [leaves_sites_out(splits) for splits in (one_site, fixed, kfold)] == [True, True, False]
    assert unseen_sites(one_site)[["fold", "site", "people"]].to_numpy().tolist() == [
        [0, "site-A", 20],
        [1, "site-B", 20],
    ]
    assert unseen_sites(fixed)["site"].tolist() == ["site-B"] and unseen_sites(kfold).empty
    graph = {"model": {"name": "gcn"}, "training": {}}
    assert not for_new_sites(graph, one_site)


def test_the_final_model_and_people_of_new_sites(make_cohort):
    """The model of everybody is for new sites; the turn leads there from what is calibrated at the cohort's sites."""
    cohort = of_sites(make_cohort, common=0.6, local=1.6)
    rows = np.arange(len(cohort.labels))
    both = {kind: trained(cohort, "kfold", kind) for kind in ("people", "auto")}
    factor, summand = both["auto"].new_site
    assert factor < 0.8 and both["people"].new_site is None
    own, new = (logit(both[kind].final.predict(cohort, rows)) for kind in ("people", "auto"))
    np.testing.assert_allclose(new, summand + factor * own, atol=1e-5)
    assert trained(cohort, "leave_one_site_out", "auto").new_site.tolist() == [1, 0]
    alone = dataclasses.replace(cohort, participants=cohort.participants.assign(site="one"))
    assert trained(alone, "kfold", "auto").new_site is None
    curve = calibrate(both["auto"].predictions)
    away, place = curve.elsewhere(factor, summand), {(0, 0): 0.8, (0, 1): 0.3}
    np.testing.assert_allclose(logit(away.apply(place)), summand + factor * logit(curve.apply(place)))
    assert away.interval(place)[0] < away.apply(place).mean() < away.interval(place)[1]


def test_calibrating_twice_changes_nothing(make_cohort):
    cohort = of_sites(make_cohort, common=0.6, local=1.6)
    rows = np.arange(len(cohort.labels))
    model = build(SPECS["ridge"], "correlation", {}, {}).fit(cohort, rows)
    calibrate_on_sites(model, cohort, rows)
    np.testing.assert_allclose(calibrate_on_sites(model, cohort, rows), [1, 0], atol=1e-9)


# ComBat


def test_combat_names_the_sites_that_it_has_not_seen():
    features, sites = np.random.default_rng(0).normal(size=(20, 6)), np.repeat(["A", "B"], 10)
    combat = ComBat().fit(features, sites)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        combat.transform(features, sites)
    with pytest.warns(
        UnseenSite, match=r"site Mars \(2\), Venus \(1\): these subjects .* stay as they are.*fitted on A, B"
    ):
        moved = combat.transform(features[:4], np.array(["Mars", "Venus", "A", "Mars"]))
    np.testing.assert_array_equal(moved[[0, 1, 3]], features[[0, 1, 3]].astype(np.float32))


def test_a_site_left_out_is_named_in_the_log_and_in_the_report(make_cohort):
    cohort = of_sites(make_cohort, n_sites=4, n=80)
    splits = make_splits(cohort.participants, 4, 1, 0, "leave_one_site_out")
    with pytest.warns(UnseenSite) as said:
        trained(cohort, "leave_one_site_out", "auto", harmonise="combat")
    named = [str(one.message) for one in said]
    assert all(any(f"of site s{k} (20)" in text for text in named) for k in range(4))
    train, _ = fold_rows(splits, cohort.participants, 0, 0)
    assert not any("(60)" in text for text in named) and len(train) == 60  # nothing is said of the training people
    config = {"model": {"name": "ridge", "harmonise": "combat"}, "training": {"calibration": "auto"}}
    text = new_sites_text(splits, {"tangent_ridge_combat": config, "floor": {**config, "model": {"name": "floor"}}})
    assert (
        "left subjects of sites that it was not fitted on as they were: s0 (20), s1 (20), s2 (20) and s3 (20)" in text
    )
    assert "Platt's curve (Platt 1999) on sites left out inside" in text
    kfold = make_splits(cohort.participants, 4, 1, 0)
    assert new_sites_text(kfold, {"tangent_ridge_combat": config}) == ""
    config["training"]["calibration"] = "sites"
    assert "on sites left out inside. " in new_sites_text(kfold, {"tangent_ridge_combat": config})  # all were seen


def test_the_report_says_where_no_site_could_be_left_out_inside(make_participants):
    """Of two sites none; of four with patients at two, none where one of these two is tested."""
    experiments = {"ridge": {"model": {"name": "ridge"}, "training": {"calibration": "auto"}}}
    people = make_participants(48)
    text = new_sites_text(make_splits(people, 4, 1, 0, "leave_one_site_out"), experiments)
    assert "none could be left out inside" in text and "come from" not in text
    people["site"] = [f"s{k // 2 % 4}" for k in range(48)]
    people.loc[people["site"] > "s1", "label"] = 0
    with pytest.warns(UserWarning, match="one class only"):
        splits = make_splits(people, 4, 1, 0, "leave_one_site_out")
    text = new_sites_text(splits, experiments)
    assert "on sites left out inside (in 2 of 4 folds none could be: there, on people of the same sites)" in text


def test_copies_count_once_where_sites_are_left_out(make_participants):
    """Two copies of one patient are not two patients: an inner choice could not leave one of them out."""
    people = make_participants(24)
    people["site"] = np.repeat(["a", "b"], [8, 16])
    assert len(site_folds(people)) == 2
    people["label"] = [1, 1, 0, 0, 0, 0, 0, 0] + [0, 1] * 8
    assert len(site_folds(people)) == 2
    people.loc[[0, 1], "scan_group"] = "twice"
    assert site_folds(people) == []
