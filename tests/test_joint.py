"""One test over several maps: closed forms, its error rate, what it finds that single maps do not, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student

from dysconnect.localize.joint import Picture, _choice_table, joint, joint_edges, normal_score
from dysconnect.localize.matched import everybody
from dysconnect.localize.statistics import edge_statistics

SPEC = {
    "permutations": 199, "alpha": 0.05, "thresholds": [2.5, 3.5], "prior_circuits": ["loop"], "max_missing": 0.2,
    "seed": 0,
}  # fmt: skip
NUISANCE = ("age", "site")


@pytest.fixture
def make_pictures(make_cohort):
    """Build maps of the same people: `shifts` of the planted edge 5, correlated among maps as `alike` says."""

    def made(shifts=(0.0, 0.0, 0.0), alike=0.0, lacking=(), seed=0, **kinds) -> dict[str, Picture]:
        common, pictures = make_cohort(seed=100 + seed, **kinds), {}
        for name, shift in zip(("rest", "task", "fa"), shifts):
            alone = make_cohort(seed=1000 * (1 + len(pictures)) + seed, **kinds)
            values = np.sqrt(alike) * common.values + np.sqrt(1 - alike) * alone.values
            values[:, 5] += 0.2 * shift * common.labels
            kept = ~np.isin(np.arange(len(values)), lacking) if name == "task" else np.ones(len(values), bool)
            people = common.participants[kept].reset_index(drop=True)
            own = replace(common, values=values[kept], participants=people, missing=common.missing[kept])
            pictures[name] = Picture(own, NUISANCE)
        return pictures

    return made


def loops(pictures) -> np.ndarray:
    return np.where(np.arange(pictures["rest"].cohort.values.shape[1]) < 12, "loop", "")


@pytest.mark.parametrize("df", [20, 100, 1000])
def test_scores_are_those_of_the_t(df):
    t = np.array([-6, -3, -1, 0.5, 4])
    scores = normal_score((t / np.sqrt(t**2 + df)).astype(np.float32), df)
    np.testing.assert_allclose(scores, np.sign(t) * norm.isf(student.sf(np.abs(t), df)), atol=0.005)


def test_the_largest_of_several_scores_is_corrected_for_the_choice():
    table = _choice_table(3)
    for z in (0.5, 2.0, 4.0):
        assert table[round(100 * z)] == pytest.approx(norm.isf((1 - (1 - 2 * norm.sf(z)) ** 3) / 2), abs=1e-5)
    np.testing.assert_allclose(_choice_table(1), np.arange(3601) / 100, atol=1e-5)


def test_a_map_beside_itself_is_that_map(make_pictures):
    """The sum of twice the same scores, over its standard deviation of two, is the score."""
    rest = make_pictures(shifts=(1.5,))["rest"]
    together = joint({"once": rest, "twice": rest}, loops({"rest": rest}), SPEC)
    np.testing.assert_allclose(together.edges["statistic"], together.edges["sum"], atol=1e-4)
    np.testing.assert_array_equal(together.edges["t_once"], together.edges["t_twice"])
    alone = edge_statistics(rest.cohort.values, rest.cohort.participants, NUISANCE, 199, 0)
    t = together.edges.set_index(["region_a", "region_b"])["t_once"]
    np.testing.assert_allclose(t.loc[list(map(tuple, rest.cohort.edge_names.values))], alone.t, atol=1e-4)
    assert abs(together.summary["critical"] - np.quantile(normal_critical(alone), 0.95)) < 0.35


def normal_critical(statistics) -> np.ndarray:
    return norm.isf(student.sf(statistics.max_null, statistics.df))


@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_the_sum_has_the_standard_deviation_that_it_is_divided_by(make_pictures, alike):
    """Over permutations, of every edge: residuals of its maps being as alike as they are, and people lacking one."""
    pictures = make_pictures(alike=alike, lacking=range(15))
    edges, _ = joint_edges(pictures, SPEC | {"permutations": 2000})
    r = np.concatenate([part for _, part in replace(edges, only_sum=True).chunks("sums")])[1:]
    z = r * np.sqrt(edges.df) / np.sqrt(1 - r**2)
    np.testing.assert_allclose(z.std(0), 1, atol=0.12)
    assert z.std() == pytest.approx(1, abs=0.02)
    assert np.std(z * edges.spread) > 1.2 * np.sqrt(3) or alike == 0  # of which it would be far off


def test_null_cohorts_stay_empty(make_pictures):
    """Maps that are alike, and a map that patients lack more often: 80 cohorts."""
    spec = SPEC | {"permutations": 99}
    p = []
    for seed in range(80):
        pictures = make_pictures(alike=0.5, lacking=(1, 3, 5, 7, 9, 11, 2), seed=seed, n=40, n_nodes=8)
        p.append(joint(pictures, np.full(28, ""), spec).edges["p_fwer"].min())
    assert (np.array(p) <= 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(p))
    assert (np.array(p) <= 0.5).mean() > 0.3  # and is no test that never calls


def test_a_weak_difference_in_every_map_is_found_and_one_in_a_single_map_hardly_lost(make_pictures):
    def called(shifts) -> tuple[float, float]:
        """Share of cohorts in which edge 5 is called: by all maps together, and by the first alone."""
        hits = []
        for seed in range(20):
            pictures = make_pictures(shifts, seed=seed, n=60, n_nodes=12)
            first = pictures["rest"].cohort
            edges = joint(pictures, np.full(66, ""), SPEC).edges.set_index(["region_a", "region_b"])
            alone = edge_statistics(first.values, first.participants, NUISANCE, 199, seed)
            hits.append((edges.loc[tuple(first.edge_names.iloc[5]), "p_fwer"] <= 0.05, alone.p_fwer[5] <= 0.05))
        return tuple(np.mean(hits, axis=0))

    together, alone = called((0.75, 0.75, 0.75))
    assert together > alone + 0.3
    together, alone = called((1.5, 0.0, 0.0))
    assert together > 0.8 and together > alone - 0.15


def test_which_map_carries_an_edge_is_said(make_pictures):
    pictures = make_pictures((0.0, 3.0, 0.0))
    edges, _, circuits, summary = joint(pictures, loops(pictures), SPEC)
    best = edges.iloc[0]
    assert [best["region_a"], best["region_b"]] == pictures["rest"].cohort.edge_names.iloc[5].tolist()
    assert best["carried_by"] == "task" and best["direction"] == "patients higher" and summary["n_fwer"] >= 1
    assert abs(best["t_task"]) > 3 * abs(best["t_rest"])
    assert circuits["name"].tolist() == ["loop"]
    assert joint(make_pictures((1, 1, 1)), loops(pictures), SPEC).edges.iloc[0]["carried_by"] == "sum"


def test_people_and_regions_are_matched_by_name(make_pictures):
    pictures = make_pictures((1.0, 1.0, 1.0), lacking=(4, 9, 30))
    expected = joint(pictures, loops(pictures), SPEC)
    task, order, who = pictures["task"].cohort, np.random.default_rng(0).permutation(12), slice(None, None, -1)
    moved = replace(
        task, values=task.values[who][:, task.pairs.among(order)], nodes=task.nodes[order],
        missing=task.missing[who][:, order], participants=task.participants[who].reset_index(drop=True),
    )  # fmt: skip
    again = joint(pictures | {"task": Picture(moved, NUISANCE)}, loops(pictures), SPEC)
    columns = ["region_a", "region_b", "n_maps", "carried_by"]
    np.testing.assert_array_equal(expected.edges[columns], again.edges[columns])
    np.testing.assert_allclose(expected.edges["statistic"], again.edges["statistic"], atol=1e-4)
    np.testing.assert_allclose(expected.edges["p_fwer"], again.edges["p_fwer"], atol=0.011)
    assert expected.summary["without"] == {"rest": 0, "task": 3, "fa": 0}
    assert (expected.summary["n"], expected.summary["n_all"]) == (60, 57)


def test_an_edge_that_a_map_lacks_is_tested_in_the_others(make_pictures):
    pictures = make_pictures()
    fa = pictures["fa"].cohort
    fa.values[::2, 3] = np.nan  # in half of the people
    fa.values[:, 8] = np.nan
    known = np.arange(66) != 8
    pictures["fa"] = Picture(replace(fa, measure="fa", known=known), NUISANCE)
    edges = joint(pictures, loops(pictures), SPEC).edges.set_index(["region_a", "region_b"])
    names = list(map(tuple, fa.edge_names.values))
    assert edges.loc[[names[3], names[8], names[4]], "n_maps"].tolist() == [2, 2, 3]
    assert edges.loc[[names[3], names[8]], "t_fa"].isna().all() and edges["statistic"].notna().all()


def test_blocks_keep_maps_and_sites(make_pictures):
    pictures = make_pictures(lacking=(0, 3))
    people, blocks = everybody({name: one.cohort.participants for name, one in pictures.items()})
    assert len(people) == 60 and people["task"].sum() == 58
    both = people.assign(block=blocks, site=pictures["rest"].cohort.participants["site"].to_numpy())
    assert (both.groupby("block")[["site", "task"]].nunique() == 1).all(axis=None)
    assert both["block"].nunique() == 2 + both.loc[~both["task"], "site"].nunique()


def wrong_pictures(pictures, wrong: str) -> dict[str, Picture]:
    rest = pictures["rest"].cohort
    if wrong == "one":
        return {"rest": pictures["rest"]}
    if wrong == "regions":
        return pictures | {"task": Picture(replace(rest, nodes=np.array(["elsewhere", *rest.nodes[1:]])), NUISANCE)}
    if wrong == "label":
        people = rest.participants.assign(label=np.r_[1 - rest.labels[0], rest.labels[1:]])
        return pictures | {"task": Picture(replace(rest, participants=people), NUISANCE)}
    people = rest.participants.assign(sex="M")
    others = {
        "sex": people.assign(sex=np.where(np.arange(len(people)) == 1, "F", "M")),
        "age": people.assign(age=people["age"] + 16 * (np.arange(len(people)) == 2)),
        "spelt": people.assign(participant_id=people["participant_id"].str.replace("sub-0", "sub-S")),
        "zeros": people.assign(participant_id=people["participant_id"].str.replace("sub-00", "sub-")),
    }
    if wrong in others:
        first = Picture(replace(rest, participants=people), NUISANCE)
        return {"rest": first, "task": Picture(replace(rest, participants=others[wrong]), NUISANCE)}
    if wrong == "exploratory":
        return pictures | {"moving": Picture(replace(rest, measure="variability"), NUISANCE)}
    return pictures | {"task": Picture(rest, ("group",))}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("one", "names one map"),
        ("regions", "task and rest are of other regions .elsewhere, region 0"),
        ("label", "sub-000 is a patient in one of rest, task, fa and a control in another"),
        ("sex", "sub-001 has sex M in rest and F in task: two people under one id"),
        ("age", "sub-002 has age .* two people under one id"),
        ("spelt", "rest and task call people differently .sub-000 and sub-S00"),
        ("zeros", "rest and task call people differently .sub-000 and sub-0."),
        ("exploratory", "moving is exploratory"),
        ("group", "localize.joint, task: the covariates group determine the group"),
    ],
)
def test_what_cannot_be_tested_together_is_refused_by_name(make_pictures, wrong, said):
    pictures = make_pictures()
    with pytest.raises(ValueError, match=said):
        joint(wrong_pictures(pictures, wrong), loops(pictures), SPEC)
