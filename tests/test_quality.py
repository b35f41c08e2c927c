"""Planted motion is found where it was planted, a null cohort gives what chance gives, poor data are named."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress, nct, spearmanr, ttest_ind

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.quality import assess, regions_outside
from dysconnect.quality.motion import (
    UntestableError,
    edge_distances,
    edge_motion,
    known_edges,
    motion_null,
)
from dysconnect.quality.people import (
    compared,
    exclusion_kinds,
    group_difference,
    missing_regions,
    processed,
    subjects_kept,
)
from dysconnect.report.quality.sentences import processing_text, quality_warnings

CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}
COVARIATES = ["age", "sex", "site", "mean_fd"]
SPEC = {"permutations": 300, "distance_bins": 5, "max_missing": 0.1, "level": 0.95, "seed": 0}


def nodes_of(n: int) -> pd.DataFrame:
    places = np.random.default_rng(5).uniform(-60, 60, (n, 3))
    return pd.DataFrame(places, columns=["x", "y", "z"]).assign(name=[f"region {k}" for k in range(n)])


def people_of(make_participants, n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng([seed, 7])
    table = make_participants(n, seed).assign(n_volumes=240, seconds_kept=rng.normal(400, 20, n))
    return table.assign(included=True, exclusion_reason="")


def noise(n: int, n_edges: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, 11]).standard_normal((n, n_edges)).astype(np.float32)


def cohort_of(people: pd.DataFrame | None, values: np.ndarray, missing: np.ndarray) -> Cohort:
    return Cohort(people, values, missing, np.arange(missing.shape[1]).astype(str), "correlation")


def standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def assessed(people, values, nodes, missing=None, everybody=None, covariates=COVARIATES, **changes):
    missing = np.zeros((len(people), len(nodes)), bool) if missing is None else missing
    everybody = people if everybody is None else everybody
    table, summary = assess(
        cohort_of(people, values, missing), nodes, everybody, CONTRAST, covariates, {**SPEC, **changes}
    )
    json.dumps(summary, allow_nan=False)
    return table, summary


def test_partial_correlation_is_that_of_residuals(make_participants):
    people = people_of(make_participants, 50)
    values = noise(50, 6)
    link = edge_motion(values, people, ["age"], 0.1)
    age, motion = people["age"], people["mean_fd"]
    rest = motion - linregress(age, motion).slope * age
    for edge in range(6):
        own = values[:, edge] - linregress(age, values[:, edge]).slope * age
        r = np.corrcoef(rest, own)[0, 1]
        assert link.r[edge] == pytest.approx(r, abs=1e-5)
    assert link.df == 50 - 2 - 1
    plain = edge_motion(values, people, [], 0.1)
    expected = [linregress(motion, values[:, edge]).pvalue for edge in range(6)]
    np.testing.assert_allclose(plain.p, expected, rtol=1e-3)


def test_planted_motion_is_recovered_on_its_edges(make_participants):
    people, nodes = people_of(make_participants, 400), nodes_of(16)
    values = noise(400, 120)
    planted = [3, 50, 99]
    values[:, planted] = 0.6 * standard(people["mean_fd"].to_numpy())[:, None] + 0.8 * values[:, planted]
    table, summary = assessed(people, values, nodes)
    np.testing.assert_allclose(table["r"][planted], 0.6, atol=0.1)
    np.testing.assert_allclose(table["r_cases"][planted], 0.6, atol=0.12)
    np.testing.assert_allclose(table["r_controls"][planted], 0.6, atol=0.12)
    assert set(np.flatnonzero(table["p_fdr"] <= 0.05)) >= set(planted)
    assert table["r"].drop(planted).abs().max() < 0.25
    assert summary["qcfc"]["everybody"]["share_fdr"] >= 3 / 120
    first = table.iloc[0]
    assert (first["region_a"], first["region_b"]) == ("region 0", "region 1")
    gap = nodes.loc[0, ["x", "y", "z"]] - nodes.loc[1, ["x", "y", "z"]]
    assert first["distance"] == pytest.approx(np.sqrt((gap**2).sum()))


def test_a_group_difference_in_both_is_no_motion(make_participants):
    people, nodes = people_of(make_participants, 300), nodes_of(10)
    people["mean_fd"] += 0.2 * people["label"]
    values = noise(300, 45) + 1.0 * people["label"].to_numpy()[:, None]
    table, summary = assessed(people, values.astype(np.float32), nodes)
    assert table["r"].abs().mean() < 0.1
    assert summary["motion"]["p"] < 1e-6 and summary["motion"]["d"] > 1


def test_motion_in_parts_of_a_scan_is_compared_where_it_is_known(make_participants):
    people = people_of(make_participants, 100)
    assert assessed(people, noise(100, 6), nodes_of(4))[1]["motion_within"] == {}
    people = people.assign(mean_fd_task=people["mean_fd"] * (1 + 0.8 * people["label"]), mean_fd_rest=people["mean_fd"])
    _, summary = assessed(people, noise(100, 6), nodes_of(4))
    assert summary["motion_within"]["mean_fd_rest"] == summary["motion"]
    within = summary["motion_within"]["mean_fd_task"]
    assert within["p"] < 1e-3 < summary["motion"]["p"]
    warned = quality_warnings(summary, {"group_alpha": 0.05, "qcfc_alpha": 0})
    assert [text.split(" differs")[0] for text in warned] == ["Motion during the task"]


def test_matrices_made_in_several_ways_are_a_warning_and_a_loud_one_where_these_go_with_the_group(make_participants):
    people = people_of(make_participants, 40)
    side, limits = people["label"].to_numpy() == 1, {"group_alpha": 0.05, "qcfc_alpha": 0}
    assert processed(people, [""] * 40) == {} and processed(people, ()) == {}
    assert processed(people, ["A 1"] * 40)["p"] is None
    _, summary = assessed(people, noise(40, 6), nodes_of(4))
    spread = processed(people, np.where(np.arange(40) % 5 == 0, "A 2", "A 1"))
    gone = processed(people, np.where(side, "A 2", "A 1"))
    three = processed(people, np.where(side, "A 2", np.where(np.arange(40) % 4 < 2, "A 1", "")))
    assert spread["p"] > 0.05 > gone["p"] and three["p"] < 0.05 and len(three["ways"]) == 3
    assert gone["ways"][0]["cases"] in (0, side.sum()) and sum(way["cases"] for way in three["ways"]) == side.sum()
    assert three == processed(people, np.where(side, "A 2", np.where(np.arange(40) % 4 < 2, "A 1", "")))
    usual = quality_warnings(summary, limits)
    said = [quality_warnings(summary | {"processing": each}, limits) for each in (spread, gone)]
    quiet, loud = ([text for text in texts if text not in usual] for texts in said)
    assert "Matrices were made in 2 ways" in quiet[0] and "A 1 (" in quiet[0] and "column site" in quiet[1]
    assert "goes with the group (p < 0.001)" in loud[0]
    assert "not said (" in processing_text(three)


def test_whose_events_are_perhaps_on_another_clock_is_named_as_a_doubt(make_participants):
    people = people_of(make_participants, 100)
    assert assessed(people, noise(100, 6), nodes_of(4))[1]["off_clock"] == []
    shift, fit = np.zeros(100), np.ones(100)
    shift[[3, 5]], shift[7], fit[8] = (8.0, -30.0), np.nan, -0.1
    people = people.assign(task_shift=shift, task_fit=fit)
    _, summary = assessed(people, noise(100, 6), nodes_of(4))
    names = people["participant_id"].tolist()
    assert summary["off_clock"] == [
        {"participant_id": names[k], "shift": shift} for k, shift in ((3, 8.0), (5, -30.0), (8, None))
    ]
    (warned,) = quality_warnings(summary, {"group_alpha": 0, "qcfc_alpha": 0})
    assert f"{names[3]} (+8 s), {names[5]} (-30 s) and {names[8]} (at no time) fit the task at another" in warned


def test_a_null_cohort_gives_five_percent_and_a_flat_curve(make_participants):
    people, nodes = people_of(make_participants, 200), nodes_of(60)
    values = noise(200, 1770)
    table, summary = assessed(people, values, nodes)
    own = summary["qcfc"]["everybody"]
    spread = np.sqrt(0.05 * 0.95 / 1770)  # independent edges: binomial
    assert abs((table["p"] < 0.05).mean() - 0.05) < 4 * spread
    assert own["share"]["value"] == pytest.approx((table["p"] < 0.05).mean())
    assert own["share"]["low"] < 0.05 < own["share"]["high"]
    assert own["share"]["p"] > 0.01 and own["rho"]["p"] > 0.01
    bins = {name: np.array(numbers) for name, numbers in own["bins"].items()}
    assert len(bins["value"]) == 5 and (np.abs(bins["value"]) < 0.02).all()
    assert np.sum(own["histogram"]["value"]) == pytest.approx(1, abs=1e-3)


def test_the_p_of_the_share_is_honest_where_edges_depend_on_each_other(make_participants):
    rng = np.random.default_rng(3)
    distance = edge_distances(nodes_of(12)[["x", "y", "z"]].to_numpy(), Pairs(12))
    ps = []
    for seed in range(60):
        people = people_of(make_participants, 40, seed)
        values = 0.3 * noise(40, 66, seed) + rng.standard_normal((40, 1)) * rng.standard_normal(66)
        link = edge_motion(values.astype(np.float32), people, ["age"], 0.1)
        result = motion_null(link, distance, people["site"].to_numpy(), {**SPEC, "permutations": 99})
        ps.append(result["share"]["p"])
    assert np.mean(np.array(ps) <= 0.05) < 0.15 and 0.3 < np.mean(ps) < 0.7


@pytest.mark.parametrize("sign", [-1, 1])
def test_planted_distance_dependence_has_its_sign(make_participants, sign):
    people, nodes = people_of(make_participants, 150), nodes_of(20)
    distance = edge_distances(nodes[["x", "y", "z"]].to_numpy(), Pairs(len(nodes)))
    motion = standard(people["mean_fd"].to_numpy())
    values = noise(150, 190) + 0.3 * sign * motion[:, None] * standard(distance)
    table, summary = assessed(people, values.astype(np.float32), nodes)
    own = summary["qcfc"]["everybody"]
    assert own["rho"]["value"] == pytest.approx(spearmanr(table["r"], distance)[0], abs=1e-4)
    assert np.sign(own["rho"]["value"]) == sign and own["rho"]["p"] < 0.01
    assert sign * (own["bins"]["value"][-1] - own["bins"]["value"][0]) > 0.3


def test_missing_regions_are_unknown_not_zero(make_participants):
    people, nodes = people_of(make_participants, 300), nodes_of(8)
    values = noise(300, 28) + 5
    values[:, 0] = 5 + 0.6 * standard(people["mean_fd"].to_numpy()) + 0.8 * (values[:, 0] - 5)
    missing = np.zeros((300, 8), bool)
    missing[:20, 0], missing[:60, 7] = True, True
    lost = known_edges(cohort_of(None, values, missing))
    assert np.isnan(lost[:20, :7]).all() and np.isfinite(lost[60:]).all()
    values[np.isnan(lost)] = 0
    table, summary = assessed(people, values, nodes, missing)
    assert table["r"][0] == pytest.approx(0.6, abs=0.1)
    with_last = table["region_b"] == "region 7"
    assert table.loc[with_last, "r"].isna().all() and table.loc[~with_last, "r"].notna().all()
    assert summary["edges"] == {"total": 28, "unmeasured": 0, "outside": 0, "silent": 7, "tested": 21}
    assert summary["regions"][0] == {"region": "region 7", "cases": 30, "controls": 30}
    assert summary["people"][0] == {"participant_id": "sub-000", "group": "HC", "regions": 2}
    assert len(summary["people"]) == 60


def test_edges_measured_in_nobody_are_counted(make_participants):
    people = people_of(make_participants, 30)
    values = noise(30, 6)
    values[:, 2:4] = 0
    table, summary = assessed(people, values, nodes_of(4))
    assert summary["edges"] == {"total": 6, "unmeasured": 2, "outside": 0, "silent": 0, "tested": 4}
    assert table["r"].isna().tolist() == [False, False, True, True, False, False]


def test_without_motion_there_is_a_reason_and_no_number(make_participants):
    people = people_of(make_participants, 20).assign(mean_fd=np.nan, n_volumes=0, seconds_kept=0.0)
    table, summary = assessed(people, noise(20, 6), nodes_of(4), covariates=["age"])
    assert table["r"].isna().all() and table["distance"].notna().all()
    assert set(summary["qcfc"]) == {"everybody", "cases", "controls"}
    assert all(own == {"reason": "head motion was not measured"} for own in summary["qcfc"].values())
    assert summary["motion"] == summary["seconds"] == {"reason": "not measured"}


def test_motion_known_of_some(make_participants):
    people = people_of(make_participants, 80)
    people.loc[:9, "mean_fd"] = np.nan
    _, summary = assessed(people, noise(80, 6), nodes_of(4))
    assert summary["qcfc"]["everybody"]["n"] == 70
    assert summary["motion"]["cases"]["n"] == summary["motion"]["controls"]["n"] == 35


def test_one_site_and_one_sex(make_participants):
    people = people_of(make_participants, 40).assign(site="only", sex="F")
    _, summary = assessed(people, noise(40, 6), nodes_of(4))
    assert summary["qcfc"]["everybody"]["df"] == 40 - 3 - 1  # intercept, age, group


@pytest.mark.parametrize("n", [2, 3])
def test_so_few_people_are_not_tested(make_participants, n):
    people = people_of(make_participants, n)
    table, summary = assessed(people, noise(n, 6), nodes_of(4))
    assert table["r"].isna().all()
    assert "too few" in summary["qcfc"]["everybody"]["reason"]
    assert "reason" in summary["motion"]


def test_a_group_too_small_leaves_the_others_tested(make_participants):
    people = people_of(make_participants, 40)
    people = people[(people["label"] == 0) | (people.index < 4)].reset_index(drop=True)
    table, summary = assessed(people, noise(len(people), 6), nodes_of(4))
    assert "too few" in summary["qcfc"]["cases"]["reason"]
    assert table["r_cases"].isna().all() and table["r_controls"].notna().all() and table["r"].notna().all()


def test_constant_motion_and_edges_all_missing_are_named(make_participants):
    people = people_of(make_participants, 30)
    with pytest.raises(UntestableError, match="does not vary"):
        edge_motion(noise(30, 6), people.assign(mean_fd=0.2), ["age"], 0.1)
    with pytest.raises(UntestableError, match="too many people"):
        edge_motion(np.full((30, 6), np.nan, np.float32), people, ["age"], 0.1)


def test_regions_in_one_place_have_no_distance_dependence(make_participants):
    people, nodes = people_of(make_participants, 30), nodes_of(4).assign(x=0.0, y=0.0, z=0.0)
    _, summary = assessed(people, noise(30, 6), nodes)
    assert "rho" not in summary["qcfc"]["everybody"] and len(summary["qcfc"]["everybody"]["bins"]["value"]) == 1


def test_the_same_seed_gives_the_same_numbers(make_participants):
    people, values = people_of(make_participants, 40), noise(40, 6)
    assert assessed(people, values, nodes_of(4))[1] == assessed(people, values, nodes_of(4))[1]


def test_effect_size_and_its_interval():
    one, other = np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 2, 3])
    p, d, low, high = group_difference(one, other)
    assert d == pytest.approx(1 / np.sqrt(5 / 3))
    assert p == pytest.approx(ttest_ind(one, other).pvalue)
    for limit, tail in ((low, 0.975), (high, 0.025)):
        assert nct.cdf(d * np.sqrt(2), 6, limit * np.sqrt(2)) == pytest.approx(tail, abs=1e-5)
    assert np.isnan(group_difference(np.array([1.0]), np.array([1.0, 2]))).all()


def test_p_and_interval_are_of_one_test():
    rng = np.random.default_rng(1)
    for _ in range(200):
        p, _, low, high = group_difference(np.exp(rng.normal(0.5, 1, 20)), np.exp(rng.normal(0, 1, 15)), skewed=True)
        assert (p < 0.05) == (low > 0 or high < 0)


def test_the_interval_covers():
    rng = np.random.default_rng(0)
    drawn = [group_difference(rng.normal(0.5, 1, 30), rng.normal(0, 1, 25))[2:] for _ in range(400)]
    assert 0.92 < np.mean([low < 0.5 < high for low, high in drawn]) < 0.98


def test_what_is_the_same_in_everybody_is_not_compared(make_participants):
    people = people_of(make_participants, 10)
    own = compared(people, "n_volumes", 0.95)
    assert own["reason"] == "the same in everybody" and own["cases"] == {"n": 5, "mean": 240.0}
    assert compared(people, "absent", 0.95) == {"reason": "not measured"}


def test_exclusion_by_group_and_reason():
    reasons = ["96 volumes x 2 s = 192 s, fewer than the 240 s asked; set denoise.min_seconds to keep it"] * 8
    reasons[1] = reasons[1].replace("96", "100").replace("192", "200")
    reasons += [""] * 30 + ["group CD is not part of the contrast"] * 3
    groups = ["DYT"] * 8 + ["DYT"] * 10 + ["HC"] * 20 + ["CD"] * 3
    included = [not reason for reason in reasons]
    table = pd.DataFrame({"group": groups, "included": included, "exclusion_reason": reasons})
    told = subjects_kept(table, CONTRAST)
    assert told["subjects"]["cases"] == {"total": 18, "kept": 10}
    assert told["subjects"]["controls"] == {"total": 20, "kept": 20}
    assert told["subjects"]["others"] == {"total": 3, "kept": 0}
    assert told["subjects"]["p"] == pytest.approx(0.00089, abs=1e-4)
    assert told["excluded"] == [
        {"reason": "… volumes x 2 s = … s, fewer than the 240 s asked", "cases": 8, "controls": 0, "others": 0},
        {"reason": "group CD is not part of the contrast", "cases": 0, "controls": 0, "others": 3},
    ]


def test_nobody_excluded(make_participants):
    told = subjects_kept(people_of(make_participants, 10), CONTRAST)
    assert told["excluded"] == [] and told["subjects"]["p"] == 1


def test_kinds_of_reasons_keep_what_is_shared():
    kinds = exclusion_kinds(pd.Series(["5 of 240 volumes", "7 of 240 volumes", "", None, "1,5 mm", "1,5 mm"]))
    assert kinds.tolist() == ["… of 240 volumes"] * 2 + ["no reason given"] * 2 + ["1,5 mm"] * 2


def test_regions_outside_the_field_of_view_are_told_from_silent_ones(make_participants, tmp_path):
    people, nodes = people_of(make_participants, 20), nodes_of(4)
    (tmp_path / "series").mkdir()
    rows = []
    for k, name in enumerate(people["participant_id"]):
        (tmp_path / f"series/{name}.json").write_text(json.dumps({"MinimumCoverage": 0.5}))
        shares = [1.0, 1.0, 1.0, 0.3 if k < 5 else 0.5]
        table = pd.DataFrame({"name": nodes["name"], "coverage": shares}).iloc[::-1]
        table.to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
        rows.append({"participant_id": name, "series": f"series/{name}.tsv", "coverage": f"{name}.tsv"})
    pd.DataFrame(rows).iloc[::-1].to_csv(tmp_path / "series.tsv", sep="\t", index=False)
    outside = regions_outside(tmp_path / "series.tsv", people["participant_id"], nodes["name"])
    assert outside[:5, 3].all() and outside.sum() == 5
    missing = outside.copy()
    missing[:3, 0] = True
    values = np.where(np.isnan(known_edges(cohort_of(people, noise(20, 6), missing))), 0, noise(20, 6))
    _, summary = assess(cohort_of(people, values, missing), nodes, people, CONTRAST, COVARIATES, SPEC, outside)
    assert summary["edges"] == {"total": 6, "unmeasured": 0, "outside": 3, "silent": 2, "tested": 1}
    assert [(row["region"], row["outside"]) for row in summary["regions"]] == [("region 3", 5), ("region 0", 0)]
    assert summary["people"][0]["regions"] == 2 and summary["people"][0]["outside"] == 1


def test_nobody_lacks_a_region(make_participants):
    told = missing_regions(np.zeros((4, 3), bool), people_of(make_participants, 4), np.array(["a", "b", "c"]))
    assert told == {"regions": [], "people": []}
