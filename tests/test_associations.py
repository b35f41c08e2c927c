"""What goes with severity, and what differs between groups, is found, told, or said not to be testable."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire import acquire
from dysconnect.localize.associations import compared_groups, group_differences, severity
from dysconnect.localize.severity import adjusted_means, group_statistics, score_statistics

SPEC = {
    "score": "bfm", "groups": True, "nuisance": ["age", "sex", "site", "mean_fd"], "permutations": 300, "alpha": 0.05,
    "max_missing": 0.1, "seed": 0,
}  # fmt: skip
NOTHING = np.full(66, "")


@pytest.fixture
def scored(make_cohort):
    """Patients whose score moves edges 0 to 5, two without a score; three groups, edges 10 to 15 weak in CD."""
    cohort = make_cohort(n=120)
    rng, people = np.random.default_rng(3), cohort.participants.copy()
    patients = cohort.labels == 1
    score = np.where(patients, rng.normal(20, 5, 120).round(1), 0.0)
    cohort.values[:, :6] += np.where(patients, 0.04 * (score - 20), 0)[:, None].astype(np.float32)
    people["bfm"] = score
    people.loc[[1, 3], "bfm"] = np.nan
    people.loc[patients, "group"] = np.where(np.arange(60) % 3, "ULD", "CD")
    cohort.values[:, 10:16] -= 0.4 * (people["group"] == "CD").to_numpy()[:, None].astype(np.float32)
    return dataclasses.replace(cohort, participants=people)


def test_planted_severity_is_found_inside_the_patients(scored):
    edges, summary = severity(scored, NOTHING, SPEC)
    names = scored.nodes
    planted = {(names[0], names[k]) for k in range(1, 7)}
    called = edges[edges["p_fwer"] <= 0.05]
    assert planted <= set(zip(called["region_a"], called["region_b"])) and len(called) <= 7
    assert (called["direction"].iloc[:6] == "rises with the score").all()
    assert (summary["n"], summary["n_without"], summary["n_fwer"]) == (58, 2, len(called))
    assert summary["reason"] == "" and summary["df"] == [1, 58 - 5 - 1]
    assert 0.4 < summary["detectable_r"] < 0.7
    keep = (scored.labels == 1) & scored.participants["bfm"].notna().to_numpy()
    people = scored.participants[keep].reset_index(drop=True)
    own = score_statistics(scored.values[keep], people, "bfm", SPEC["nuisance"], 300, 0)
    by_size = np.argsort(own.p_fwer - 1e-6 * np.abs(own.statistic))
    np.testing.assert_allclose(edges["statistic"], own.statistic[by_size])


def test_a_detectable_correlation_is_detected_four_times_in_five():
    rng, df, critical = np.random.default_rng(0), 50, 3.5
    r = (critical + 0.8416) / np.sqrt((critical + 0.8416) ** 2 + df)
    score = rng.normal(size=52)
    edges = r * (score[:, None] - score.mean()) / score.std() + np.sqrt(1 - r**2) * rng.normal(size=(52, 4000))
    found = [np.corrcoef(score, edge)[0, 1] for edge in edges.T]
    t = np.array(found) * np.sqrt(df / (1 - np.square(found)))
    assert (t > critical).mean() == pytest.approx(0.8, abs=0.06)


def test_an_edge_that_is_missing_in_the_patients_is_not_tested(scored):
    missing = scored.missing.copy()
    missing[np.flatnonzero(scored.labels == 1)[:20], 4] = True
    edges, summary = severity(dataclasses.replace(scored, missing=missing), NOTHING, SPEC)
    assert (summary["n_edges"], summary["n_untested"]) == (55, 11)
    assert len(edges) == 66 and edges["statistic"].isna().sum() == 11


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (7.0, r"bfm is 7\.0 for all 60 people .*Choose another column"),
        (np.nan, r"bfm is known of none of 60 patients"),
        ("age", r"the covariates age, sex, site, mean_fd determine the score"),
    ],
)
def test_what_cannot_be_tested_is_said_and_stops_nothing(scored, score, reason):
    people = scored.participants
    people = people.assign(bfm=people[score] if isinstance(score, str) else score)
    edges, summary = severity(dataclasses.replace(scored, participants=people), NOTHING, SPEC)
    assert edges.empty and summary["n_fwer"] == 0
    assert pd.Series([summary["reason"]]).str.contains(reason).item()


def test_a_score_that_is_no_column_stops(scored):
    with pytest.raises(ValueError, match=r"localize\.score=brfm is not a column of participants\.tsv \(found: .*bfm"):
        severity(scored, NOTHING, {**SPEC, "score": "brfm"})
    words = scored.participants.assign(bfm=scored.participants["bfm"].astype(object))
    words.loc[5, "bfm"] = "severe"
    with pytest.raises(ValueError, match=r"bfm is no number for sub-005 \('severe'\)"):
        severity(dataclasses.replace(scored, participants=words), NOTHING, SPEC)


@pytest.mark.parametrize("question", [severity, group_differences])
def test_too_few_permutations_for_alpha_are_refused(scored, question):
    with pytest.raises(ValueError, match=r"300 permutations give no p below 0\.00332.*localize\.permutations to 1000"):
        question(scored, NOTHING, {**SPEC, "alpha": 0.001})


def test_groups_differ_where_one_of_them_does(scored):
    edges, summary = group_differences(scored, NOTHING, SPEC)
    assert summary["groups"] == {"CD": 20, "HC": 60, "ULD": 40}
    assert summary["df"] == [2, 120 - 5 - 2]
    called = edges[edges["p_fwer"] <= 0.05]
    assert 4 <= summary["n_fwer"] == len(called) <= 8
    assert (called["mean_CD"] < -0.5).sum() >= 4
    np.testing.assert_allclose(edges[["mean_CD", "mean_HC", "mean_ULD"]].sum(axis=1), 0, atol=1e-6)
    own = group_statistics(scored.values, scored.participants, "group", SPEC["nuisance"], 300, 0)
    names, means = adjusted_means(scored.values, scored.participants, "group", SPEC["nuisance"])
    best = int(np.argmax(own.statistic))
    assert edges["statistic"][0] == pytest.approx(own.statistic[best])
    assert edges["mean_CD"][0] == pytest.approx(means[names.index("CD"), best])


def test_a_group_of_one_is_told(scored):
    people = scored.participants.copy()
    people.loc[7, "group"] = "PSP"
    edges, summary = group_differences(dataclasses.replace(scored, participants=people), NOTHING, SPEC)
    assert edges.empty and "group PSP has one member (sub-007)" in summary["reason"]


def test_groups_are_chosen_or_refused():
    present = ["HC", "ULD", "CD", "HC"]
    assert compared_groups(present, True) == ["CD", "HC", "ULD"]
    assert compared_groups(present, ["ULD", "HC"]) == ["ULD", "HC"]
    with pytest.raises(ValueError, match=r"nobody who was analysed is of PSP; analysed were CD, HC, ULD.*contrast"):
        compared_groups(present, ["HC", "PSP"])
    with pytest.raises(ValueError, match=r"one group only \(HC\)"):
        compared_groups(["HC"], True)


def test_simulated_severity_follows_the_planted_disruption(simulated, simulated_spec, nodes, tmp_path):
    people = simulated.acquired.participants.set_index("participant_id")
    score, carriers = people["severity"], simulated.acquired.carriers["participant_id"]
    controls, patients = score[people["group"] == "HC"], score[people["group"] == "DYT"]
    assert (controls == 0).all() and (patients >= 1).all()
    assert patients[carriers].mean() > patients.drop(carriers).mean() + 5
    null = {**simulated_spec, "plant": {**simulated_spec["plant"], "effect": 0}}
    (tmp_path / "raw").mkdir()
    without = acquire(null, nodes, tmp_path / "raw").participants.set_index("participant_id")["severity"]
    np.testing.assert_array_equal(without[people["group"] == "HC"], controls)
    assert without[carriers].mean() < patients[carriers].mean() - 5
