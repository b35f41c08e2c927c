"""Deviations are those of least squares, no control judges itself, and who deviates is named with the circuit."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, false_discovery_control, kstest, norm
from scipy.stats import t as student

from dysconnect.localize.deviation import circuit_table, deviations, edge_table, normal_scores, person_table

COVARIATES = ["age", "sex", "site", "mean_fd"]


def design_of(people: pd.DataFrame, sites=("site-B",)) -> np.ndarray:
    """Design written out by hand: intercept, age, sex, motion and the sites."""
    columns = [np.ones(len(people)), people["age"], people["sex"] == "M", people["mean_fd"]]
    return np.column_stack([*columns, *(people["site"] == site for site in sites)]).astype(float)


def z_of(y, design, train, person) -> tuple[np.ndarray, int]:
    """Deviation of a person by refitting on some rows, and df."""
    x, df = design[train], len(train) - design.shape[1]
    weights = np.linalg.lstsq(x, y[train], rcond=None)[0]
    spread = np.sqrt(((y[train] - x @ weights) ** 2).sum(0) / df)
    leverage = design[person] @ np.linalg.inv(x.T @ x) @ design[person]
    t = (y[person] - design[person] @ weights) / (spread * np.sqrt(1 + leverage))
    return norm.isf(student.sf(np.abs(t), df)) * np.sign(t), df


@pytest.fixture(scope="module")
def cohort(make_participants):
    """Build people and edges that depend on age, motion and site."""

    def build(n: int = 60, n_edges: int = 40, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
        people, rng = make_participants(n, seed), np.random.default_rng([seed, 8])
        people.loc[people.index[people["label"] == 0][:1], "mean_fd"] = people["mean_fd"].max()  # nobody is beyond
        edges = rng.normal(0.3, 0.2, (n, n_edges)) * rng.uniform(0.5, 2, n_edges)
        for name, size in (("age", 0.01), ("mean_fd", 1.0)):
            edges += np.outer(people[name], size * rng.normal(size=n_edges))
        edges += np.outer(people["site"] == "site-B", rng.normal(size=n_edges))
        return edges, people

    return build


# closed forms


def test_patients_equal_the_prediction_interval_of_statsmodels(cohort):
    api = pytest.importorskip("statsmodels.api", reason="statsmodels (of the imaging extra) is absent")
    edges, people = cohort()
    found, design = deviations(edges, people, COVARIATES), design_of(people)
    control = (people["label"] == 0).to_numpy()
    for e in (0, 17, 39):
        fit = api.OLS(edges[control, e], design[control]).fit()
        predicted = fit.get_prediction(design[~control])
        t = (edges[~control, e] - predicted.predicted_mean) / predicted.se_obs
        expected = np.sign(t) * norm.isf(student.sf(np.abs(t), fit.df_resid))
        np.testing.assert_allclose(found.z[~control, e], expected, rtol=1e-5)
        low, high = predicted.conf_int(obs=True, alpha=0.05).T
        outside = (edges[~control, e] < low) | (edges[~control, e] > high)
        np.testing.assert_array_equal(np.abs(found.z[~control, e]) > norm.isf(0.025), outside)
    assert (found.people["df"][~control] == 30 - 5).all()


def test_a_control_equals_refitting_without_this_control(cohort):
    edges, people = cohort()
    found, design = deviations(edges, people, COVARIATES), design_of(people)
    controls = np.flatnonzero(people["label"] == 0)
    for person in controls:
        expected, df = z_of(edges, design, controls[controls != person], person)
        np.testing.assert_allclose(found.z[person], expected, rtol=1e-5, atol=1e-6)
        assert found.people["df"][person] == df == 30 - 1 - 5


def test_copies_of_a_scan_are_left_out_together(cohort):
    edges, people = cohort()
    people.loc[[4, 10, 16], "scan_group"] = "twins"  # all of them controls
    people.loc[[8, 9], "scan_group"] = "odd"  # a control and a patient
    found, design = deviations(edges, people, COVARIATES), design_of(people)
    controls = np.flatnonzero(people["label"] == 0)
    for person in (4, 10, 16, 8, 9):
        train = controls[(people["scan_group"] != people["scan_group"][person]).to_numpy()[controls]]
        expected, df = z_of(edges, design, train, person)
        np.testing.assert_allclose(found.z[person], expected, rtol=1e-5, atol=1e-6)
        assert found.people["df"][person] == df
    assert len(found.controls) == 28  # copies count once
    table = person_table(found).set_index("participant_id")
    assert table.loc["sub-004", "n_controls"] == 27
    assert table.loc["sub-009", "n_controls"] == 27
    assert table.loc["sub-001", "n_controls"] == 28


def test_a_control_changes_others_but_not_the_own_norm(cohort):
    """What a control is compared with does not depend on this control."""
    edges, people = cohort()
    before = deviations(edges, people, COVARIATES).z
    edges[0] += 3.0
    after = deviations(edges, people, COVARIATES).z
    assert (after[0] > before[0] + 3).all()
    back, design = np.array(edges), design_of(people)
    controls = np.flatnonzero(people["label"] == 0)
    expected, _ = z_of(back, design, controls[1:], 0)
    np.testing.assert_allclose(after[0], expected, rtol=1e-5)
    assert np.abs(after[1]).max() < np.abs(before[1]).max()  # the spread of the controls has grown


def test_parts_of_the_edges_make_no_difference(cohort, monkeypatch):
    edges, people = cohort()
    whole = deviations(edges, people, COVARIATES).z
    monkeypatch.setattr("dysconnect.localize.permutation.PART", 8 * 60 * 7)
    np.testing.assert_allclose(deviations(edges, people, COVARIATES).z, whole, rtol=1e-5)


def test_order_of_people_and_edges_makes_no_difference(cohort):
    edges, people = cohort()
    rng = np.random.default_rng(0)
    rows, cols = rng.permutation(60), rng.permutation(40)
    whole = deviations(edges, people, COVARIATES)
    shuffled = deviations(edges[rows][:, cols], people.iloc[rows], COVARIATES)
    np.testing.assert_allclose(shuffled.z, whole.z[rows][:, cols], rtol=1e-4, atol=1e-6)
    own = person_table(shuffled).set_index("participant_id")["p_max"]
    pd.testing.assert_series_equal(own.sort_index(), person_table(whole).set_index("participant_id")["p_max"])


# sites without controls, and other things that controls cannot inform


def test_a_site_without_controls_is_pooled_and_said(cohort):
    edges, people = cohort()
    people.loc[[1, 3], "site"] = "site-C"  # patients
    people.loc[0, "site"] = "site-D"  # the only control there
    people.loc[5, "site"] = "site-D"  # a patient, who has this control
    found = deviations(edges, people, COVARIATES)
    assert found.people["pooled"].tolist()[:6] == ["site", "site", "", "site", "", ""]
    controls = np.flatnonzero(people["label"] == 0)
    pooled, full = design_of(people, ()), design_of(people, ("site-B", "site-D"))
    for person in (1, 3):
        np.testing.assert_allclose(found.z[person], z_of(edges, pooled, controls, person)[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.z[0], z_of(edges, pooled, controls[1:], 0)[0], rtol=1e-5, atol=1e-6)
    for person in (5, 7):
        np.testing.assert_allclose(found.z[person], z_of(edges, full, controls, person)[0], rtol=1e-5, atol=1e-6)
    assert person_table(found)["pooled"].tolist() == found.people["pooled"].tolist()


def test_a_patient_who_moves_more_than_every_control_is_compared_with_nobody(cohort):
    """Not a control, not whoever moves as much as the restless control, and only where motion is accounted for."""
    edges, people = cohort()
    people.loc[0, "mean_fd"] = most = people["mean_fd"].max() + 0.1  # a control
    people.loc[[1, 3], "mean_fd"] = most, most + 0.001
    people["mean_fd_task"] = people["mean_fd"].where(people.index != 5, most + 0.2)
    found = deviations(edges, people, COVARIATES)
    assert found.people["beyond"].tolist() == ["mean_fd" if row == 3 else "" for row in range(60)]
    assert np.isnan(found.z[3]).all() and np.isfinite(np.delete(found.z, 3, axis=0)).all()
    table = person_table(found)
    assert table["beyond"][3] == "mean_fd" and table["df"][3] == 0 and np.isnan(table["p_max"][3])
    rest = deviations(np.delete(edges, 3, axis=0), people.drop(index=3), COVARIATES)
    np.testing.assert_array_equal(rest.z, np.delete(found.z, 3, axis=0))
    for covariates, who in (
        (["age", "log_mean_fd"], {3: "mean_fd"}),
        (["mean_fd", "log_mean_fd", "mean_fd_task"], {3: "mean_fd, mean_fd_task", 5: "mean_fd_task"}),
        (["age"], {}),
    ):
        beyond = deviations(edges, people, covariates).people["beyond"]
        assert beyond[beyond != ""].to_dict() == who


def test_a_person_beyond_what_controls_tell_apart_is_not_measured(cohort):
    """Site and sex are one among controls: nothing is known of a man of the women's site."""
    edges, people = cohort()
    people["sex"] = np.where(people["site"] == "site-A", "F", "M")
    people.loc[1, "sex"] = "M"
    found = deviations(edges, people, COVARIATES)
    assert np.isnan(found.z[1]).all() and found.people["df"][1] == 0
    assert np.isfinite(np.delete(found.z, 1, axis=0)).all()
    table = person_table(found)
    assert table["p_max"].isna().tolist() == (np.arange(60) == 1).tolist()
    assert "sub-001" not in set(circuit_table(found, {"all": np.arange(40)})["participant_id"])
    pairs = pd.DataFrame({"region_a": "a", "region_b": np.arange(40).astype(str)})
    assert "sub-001" not in set(edge_table(found, pairs, 3)["participant_id"])


def test_an_edge_without_variance_does_not_deviate(cohort):
    edges, people = cohort()
    edges[:, 3] = 0.4
    found = deviations(edges, people, COVARIATES)
    assert (found.z[:, 3] == 0).all()
    assert np.isfinite(found.z).all()


# calibration and power

SEEDS = 60


@pytest.fixture(scope="module")
def null_people(cohort):
    """Deviations of people of many cohorts in which patients are like controls."""
    return [deviations(*cohort(60, 40, seed), COVARIATES) for seed in range(SEEDS)]


def test_deviations_of_null_people_are_standard_normal(null_people):
    z = np.concatenate([found.z for found in null_people]).astype(float)
    label = np.concatenate([found.people["label"] for found in null_people])
    for own in (z[label == 0], z[label == 1]):
        assert (own**2).mean() == pytest.approx(1, abs=0.02)
        assert own.mean() == pytest.approx(0, abs=0.02)
    independent = np.array([found.z[1, 0] for found in null_people])
    assert kstest(independent, "norm").pvalue > 0.001


@pytest.mark.parametrize("kind", ["edges", "circuits"])
def test_null_people_are_called_as_often_as_alpha(null_people, kind):
    """One patient a cohort, so that people are independent; at 0.1, which 30 controls can reach."""
    circuits = {"one": np.arange(10), "two": np.arange(10, 14), "three": np.arange(14, 40)}
    p = []
    for found in null_people:
        table = person_table(found) if kind == "edges" else circuit_table(found, circuits)
        p.append(table.loc[table["participant_id"] == "sub-001", "p_max"].min())
    assert np.sum(np.array(p) <= 0.1) <= binom.ppf(0.999, SEEDS, 0.1)
    assert kstest(p, "uniform").pvalue > 0.001


def test_edge_fdr_of_null_people_is_controlled(null_people):
    alarms = [person_table(found)["n_fdr"].to_numpy()[1] > 0 for found in null_people]
    assert np.sum(alarms) <= binom.ppf(0.999, SEEDS, 0.05)


@pytest.fixture(scope="module")
def deviant(cohort):
    """One patient whose second circuit is weak, and one with a single strong edge."""
    edges, people = cohort(120, 60)
    spread = edges[people["label"] == 0].std(0)
    edges[7, 20:32] -= 2.5 * spread[20:32]
    edges[9, 50] += 9 * spread[50]
    pairs = pd.DataFrame({"region_a": [f"a{e}" for e in range(60)], "region_b": [f"b{e}" for e in range(60)]})
    circuits = {"first": np.arange(20), "second": np.arange(20, 32), "third": np.arange(32, 60)}
    return deviations(edges, people, COVARIATES), pairs, circuits


def test_a_deviant_person_is_named_with_the_right_circuit(deviant):
    found, _, circuits = deviant
    table = circuit_table(found, circuits)
    assert table.groupby("participant_id").size().eq(3).all()
    strongest = table.sort_values("relative").iloc[-1]
    assert (strongest["participant_id"], strongest["circuit"]) == ("sub-007", "second")
    assert strongest["p_max"] == pytest.approx(1 / 61)
    assert strongest["score"] > 4 and strongest["mean_z"] < -1.5 and strongest["n_edges"] == 12
    own = table[table["participant_id"] == "sub-007"]
    assert own["circuit"].iloc[0] == "second"
    assert own["p"].between(1 / 61 - 1e-9, 1).all()
    position = np.flatnonzero(found.people["participant_id"] == "sub-007")[0]
    assert strongest["score"] == pytest.approx((found.z[position, 20:32].astype(float) ** 2).mean())


def test_a_deviant_edge_is_named(deviant):
    found, pairs, _ = deviant
    table = edge_table(found, pairs, 5)
    assert len(table) == 120 * 5
    own = table[table["participant_id"] == "sub-009"]
    assert own["rank"].tolist() == [1, 2, 3, 4, 5]
    assert own["z"].abs().is_monotonic_decreasing
    best = own.iloc[0]
    assert (best["region_a"], best["region_b"], best["direction"]) == ("a50", "b50", "higher")
    assert best["p_max"] == pytest.approx(1 / 61)
    assert best["p"] == pytest.approx(1 / (1 + 60 * 60))  # larger than every edge of every control
    assert best["p_fdr"] == pytest.approx(60 / (1 + 60 * 60))
    people = person_table(found).set_index("participant_id")
    assert people.loc["sub-009", "p_max"] == best["p_max"]
    assert people.loc["sub-009", "largest_z"] == pytest.approx(best["z"])
    assert people.loc["sub-009", "n_fdr"] >= 1
    assert people.loc["sub-007", "n_fdr"] >= 2


def test_p_by_hand(deviant):
    found, _, _ = deviant
    largest, controls = np.abs(found.z).max(1), np.flatnonzero(found.people["label"] == 0)
    table = person_table(found)
    for person in (1, 3, 0, 2):
        others = controls[controls != person]
        expected = (1 + (largest[others] >= largest[person]).sum()) / (1 + len(others))
        assert table["p_max"][person] == pytest.approx(expected)


def test_p_of_an_edge_by_hand(deviant):
    """Counted among all edges of the other controls, to a thousandth of z."""
    found, pairs, _ = deviant
    size, controls = np.abs(found.z).astype(float), np.flatnonzero(found.people["label"] == 0)
    table = edge_table(found, pairs, 60)
    for person in (1, 0, 33):
        own = table[table["participant_id"] == f"sub-{person:03d}"]
        others = size[controls[controls != person]].ravel()
        for z, p in zip(own["z"], own["p"]):
            low = (1 + (others >= abs(z)).sum()) / (1 + len(others))
            high = (1 + (others >= abs(z) - 0.001).sum()) / (1 + len(others))
            assert low <= p <= high
        np.testing.assert_allclose(own["p_fdr"], false_discovery_control(own["p"]))


def test_long_tails_are_no_deviation(cohort):
    """Edges with the tails of t(4): Gaussian p call edges in most healthy people, counted p in few."""
    counted = gaussian = 0
    for seed in range(20):
        _, people = cohort(60, 1, seed)
        edges = np.random.default_rng(seed).standard_t(4, size=(60, 200))
        found = deviations(edges, people, COVARIATES)
        counted += person_table(found)["n_fdr"].to_numpy()[1] > 0
        gaussian += (false_discovery_control(2 * norm.sf(np.abs(found.z[1]))) <= 0.05).any()
    assert counted <= binom.ppf(0.999, 20, 0.05)
    assert gaussian >= 10


# bad input


def test_too_few_controls_are_refused(cohort):
    edges, people = cohort()
    few = np.r_[np.arange(1, 60, 2), 0, 2, 4, 6]
    with pytest.raises(ValueError, match="4 controls are too few for a norm; at least 5 are needed"):
        deviations(edges[few], people.iloc[few], COVARIATES)
    few = np.r_[np.arange(1, 60, 2), 0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(
        ValueError, match=r"7 controls leave fewer than 3 degrees of freedom .* age, sex, site, mean_fd"
    ):
        deviations(edges[few], people.iloc[few], COVARIATES)
    found = deviations(edges[few], people.iloc[few], ["age"])
    assert found.people["df"].min() == 7 - 1 - 2


def test_a_covariate_that_no_control_has_is_refused(cohort):
    edges, people = cohort()
    people.loc[people["label"] == 0, "mean_fd"] = np.nan
    with pytest.raises(ValueError, match="mean_fd is missing for all 30 controls"):
        deviations(edges, people, COVARIATES)
    with pytest.raises(ValueError, match=r"covariate handedness is not a column"):
        deviations(edges, people, ["handedness"])


def test_edges_that_are_not_finite_name_the_person(cohort):
    edges, people = cohort()
    edges[5, 3] = np.nan
    with pytest.raises(ValueError, match="edges of sub-005 hold NaN"):
        deviations(edges, people, COVARIATES)


def test_names_and_circuits_must_fit(deviant):
    found, pairs, _ = deviant
    with pytest.raises(ValueError, match="names of 59 edges for the deviations of 60"):
        edge_table(found, pairs.iloc[1:], 5)
    with pytest.raises(ValueError, match=r"circuits without edges in this atlas: striato_pallidal\. Leave them out"):
        circuit_table(found, {"striato_pallidal": np.array([], int), "other": np.arange(3)})


def test_without_covariates_and_scan_groups_it_works_too(cohort):
    edges, people = cohort()
    found = deviations(edges, people.drop(columns="scan_group"), [])
    control = (people["label"] == 0).to_numpy()
    t = (edges[1] - edges[control].mean(0)) / (edges[control].std(0, ddof=1) * np.sqrt(1 + 1 / 30))
    np.testing.assert_allclose(found.z[1], np.sign(t) * norm.isf(student.sf(np.abs(t), 29)), rtol=1e-5)


def test_connections_that_somebody_lacks_say_nothing_of_how_much_controls_differ():
    """Filled in with a mean they would make controls look alike, and everybody who has them deviant."""
    rng = np.random.default_rng(8)
    edges, lost = rng.normal(size=(41, 2)), np.zeros((41, 2), bool)
    lost[:20, 0] = True
    edges[:20, 0] = edges[20:40, 0].mean()
    people = pd.DataFrame({"participant_id": [f"sub-{k}" for k in range(41)], "label": [*[0] * 40, 1]})
    found = deviations(edges, people, [], lost)
    known = edges[20:40, 0]
    t = (edges[40, 0] - known.mean()) / (known.std(ddof=1) * np.sqrt(1 + 1 / 40))
    np.testing.assert_allclose(found.z[40, 0], normal_scores(np.array([t]), 19)[0], rtol=1e-4)
    assert not found.z[:20, 0].any() and (found.z[:20, 1] != 0).all()
    table = circuit_table(found, {"both": np.arange(2)}).set_index("participant_id")
    np.testing.assert_allclose(table.loc["sub-0", "score"], found.z[0, 1].astype(float) ** 2)
