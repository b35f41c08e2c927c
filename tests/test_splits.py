"""Every scheme of splitting: who is tested when, what is refused, and which leaks the audit finds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest
from test_abide import SPEC, collect

from dysconnect.evaluate.metrics import gather, weighted_scores
from dysconnect.learning.splits import audit_splits, fold_rows, joined_sites, make_splits, scored_folds
from dysconnect.train import cross_validate, permutation_null


@pytest.fixture
def people(make_participants) -> pd.DataFrame:
    """Forty-eight people of three sites, both groups at each."""
    table = make_participants(48)
    return table.assign(site=np.array(["A", "B", "C"])[np.arange(48) // 2 % 3])


def by_site(people: pd.DataFrame) -> pd.DataFrame:
    return make_splits(people, 5, 3, 0, "leave_one_site_out")


# leave one site out


def test_every_site_is_tested_once_by_models_of_the_others(people):
    splits = by_site(people)
    assert len(splits) == 48 and set(splits["repeat"]) == {0}
    assert scored_folds(splits) == [(0, 0), (0, 1), (0, 2)]
    for repeat, fold in scored_folds(splits):
        train, test = fold_rows(splits, people, repeat, fold)
        assert len(set(people["site"].iloc[test])) == 1
        assert not set(people["site"].iloc[test]) & set(people["site"].iloc[train])
        assert sorted([*train, *test]) == list(range(48))


def test_leaving_sites_out_ignores_folds_repeats_and_seed(people):
    assert by_site(people).equals(make_splits(people, 2, 9, 4, "leave_one_site_out"))


def test_sites_that_share_a_scan_are_tested_together(people):
    people.loc[[0, 2], "scan_group"] = "copied"  # of sites A and B
    with pytest.warns(UserWarning, match="sites A, B share copies of a scan: they are tested together"):
        splits = by_site(people)
    assert splits.groupby("scan_group")["fold"].nunique().max() == 1
    assert splits.groupby("site")["fold"].nunique().max() == 1
    assert splits.set_index("site")["fold"].groupby(level=0).first().to_dict() == {"A": 0, "B": 0, "C": 1}
    assert audit_splits(splits, people) == []


def test_chains_of_shared_scans_join_sites():
    sites = np.array(["A", "B", "B", "C", "D", "E"])
    groups = np.array(["x", "x", "y", "y", "z", "w"])
    assert joined_sites(sites, groups) == [["A", "B", "C"], ["D"], ["E"]]
    assert joined_sites(sites, np.arange(6)) == [["A"], ["B"], ["C"], ["D"], ["E"]]


def test_one_site_cannot_be_left_out(people):
    with pytest.raises(ValueError, match=r"needs two sites or more; there is one \(A\)\. Set splits\.scheme=kfold"):
        by_site(people.assign(site="A"))
    people["scan_group"] = np.arange(48) // 6  # the same person at all three sites
    with pytest.raises(ValueError, match=r"there is one \(A, B, C\), for copies of scans join all of them"):
        by_site(people)


def test_a_site_of_one_class_is_predicted_but_adds_no_pair(people, make_cohort, sections):
    cohort = make_cohort(48, planted=range(8))
    own = people.loc[(people["site"] != "C") | (people["label"] == 1)].index
    cohort = type(cohort)(people.loc[own], cohort.values[own], cohort.missing[own], cohort.nodes, cohort.measure)
    with pytest.warns(UserWarning, match=r"one class only in C \(patients\): these subjects are predicted and count"):
        splits = by_site(cohort.participants)
    predictions = cross_validate(cohort, splits, "ridge", sections("ridge")).predictions
    assert sorted(predictions["participant_id"]) == sorted(cohort.participants["participant_id"])
    evidence = gather(predictions)
    at_c = np.isin(evidence.subjects, people["participant_id"][people["site"] == "C"])[evidence.labels == 1]
    assert (evidence.pairs[at_c] == 0).all() and (evidence.pairs[~at_c] > 0).any()
    assert np.isfinite(weighted_scores(evidence, np.ones((1, len(own))))["auc"][0])


def test_sites_that_are_groups_are_refused(people):
    people["site"] = np.where(people["label"] == 1, "clinic", "university")
    with pytest.raises(ValueError, match="there are no patients without clinic: nothing can be trained"):
        by_site(people)
    people["site"] = np.where(people["label"] == 1, "clinic", "university") + (people.index // 2 % 2).astype(str)
    with pytest.raises(ValueError, match=r"every site holds one class only.*splits\.scheme=kfold"):
        by_site(people)


# a fixed test set


def test_a_fixed_split_tests_the_named_sites_and_trains_on_the_others(people, make_cohort, sections):
    splits = make_splits(people, 5, 3, 0, "fixed", ["B"])
    assert scored_folds(splits) == [(0, 0)]
    train, test = fold_rows(splits, people, 0, 0)
    assert set(people["site"].iloc[test]) == {"B"} and set(people["site"].iloc[train]) == {"A", "C"}
    assert audit_splits(splits, people) == []
    cohort = make_cohort(48, planted=range(8), shift=2.0)
    cohort = type(cohort)(people, cohort.values, cohort.missing, cohort.nodes, cohort.measure)
    trained = cross_validate(cohort, splits, "ridge", sections("ridge", permutations=39))
    assert set(trained.predictions["participant_id"]) == set(people["participant_id"].iloc[test])
    null = permutation_null(cohort, splits, sections("ridge", permutations=39), trained.first_repeat)
    observed = weighted_scores(gather(trained.predictions), np.ones((1, 16)))["auc"][0]
    assert null["auc"].iloc[0] == pytest.approx(observed) and observed > 0.8


def test_an_unknown_test_site_is_named_with_the_known(people):
    people = people.replace({"site": {"A": "LEUVEN_1", "B": "NYU"}})
    with pytest.raises(ValueError, match=r"unknown site LEUVEN1 \(did you mean LEUVEN_1\?\); the cohort has: C, LEU"):
        make_splits(people, 5, 1, 0, "fixed", ["LEUVEN1"])


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ([], r"needs splits\.test_sites, some of: A, B, C"),
        (["A", "B", "C"], "names every site"),
    ],
)
def test_a_fixed_split_needs_two_sides(people, sites, message):
    with pytest.raises(ValueError, match=message):
        make_splits(people, 5, 1, 0, "fixed", sites)


def test_a_fixed_split_needs_both_classes_on_both_sides(people):
    one = people[(people["site"] != "B") | (people["label"] == 0)]
    with pytest.raises(ValueError, match="no patients in the test sites B: nothing can be scored"):
        make_splits(one, 5, 1, 0, "fixed", ["B"])
    with pytest.raises(ValueError, match="no patients without the test sites A, C: nothing can be trained"):
        make_splits(one, 5, 1, 0, "fixed", ["A", "C"])


def test_a_fixed_split_refuses_copies_on_both_sides(people):
    people.loc[[0, 2], "scan_group"] = "copied"
    with pytest.raises(ValueError, match=r"copies of a scan stand in test and training sites \(sub-000, sub-002\)"):
        make_splits(people, 5, 1, 0, "fixed", ["B"])
    assert len(make_splits(people, 5, 1, 0, "fixed", ["A", "B"])) == 48


# refusals of all


def test_test_sites_belong_to_the_fixed_scheme(people):
    with pytest.raises(ValueError, match=r"test_sites=\['A'\] is read by splits\.scheme=fixed alone, not by kfold"):
        make_splits(people, 5, 1, 0, "kfold", ["A"])


def test_an_unknown_scheme_lists_the_known(people):
    with pytest.raises(ValueError, match="'loso' is unknown; known: kfold, leave_one_site_out, fixed"):
        make_splits(people, 5, 1, 0, "loso")


@pytest.mark.parametrize("scheme", ["kfold", "leave_one_site_out", "fixed"])
def test_a_cohort_of_one_class_is_refused(people, scheme):
    with pytest.raises(ValueError, match="there are no controls to split"):
        make_splits(people[people["label"] == 1], 5, 1, 0, scheme, ["A"] if scheme == "fixed" else [])


def test_fewer_people_than_folds_are_refused(people):
    with pytest.raises(ValueError, match=r"2 patients cannot be split into 5 folds"):
        make_splits(people.head(4), 5, 1, 0)


def test_copies_count_once_where_folds_are_to_be_filled(people):
    people.loc[people["label"] == 1, "scan_group"] = [f"scan-{k // 16}" for k in people.index[people["label"] == 1]]
    with pytest.raises(ValueError, match="3 patients cannot be split into 5 folds"):
        make_splits(people, 5, 1, 0)


# the audit


@pytest.fixture
def sound(people) -> pd.DataFrame:
    people.loc[[3, 7], "scan_group"] = "copied"
    return make_splits(people, 5, 2, 0)


@pytest.fixture
def copied(people) -> pd.DataFrame:
    people.loc[[3, 7], "scan_group"] = "copied"
    return people


def test_sound_splits_pass(sound, copied):
    assert audit_splits(sound, copied) == []
    assert audit_splits(by_site(copied[copied.index != 7]), copied[copied.index != 7]) == []


def test_copies_on_both_sides_are_found_though_the_splits_deny_them(copied):
    naive = make_splits(copied.drop(columns="scan_group"), 5, 3, 0)
    two = naive[naive["participant_id"].isin(["sub-003", "sub-007"])]
    apart = two.groupby("repeat")["fold"].agg(np.ptp) > 0
    assert apart.any()
    found = audit_splits(naive, copied)
    assert found == [f"repeat {k}: copies of one scan on both sides: sub-003, sub-007" for k in np.flatnonzero(apart)]


def test_somebody_tested_twice_never_or_unknown_is_found(sound, copied):
    row = sound[(sound["participant_id"] == "sub-010") & (sound["repeat"] == 1)]
    twice = pd.concat([sound, row.assign(fold=(row["fold"] + 1) % 5)])
    assert audit_splits(twice, copied) == ["repeat 1: sub-010 in training and test at once, or tested twice"]
    assert audit_splits(sound.drop(row.index), copied) == ["repeat 1: sub-010 never tested"]
    stranger = pd.concat([sound, row.assign(participant_id="sub-999")])
    assert audit_splits(stranger, copied) == ["sub-999 are in the splits but not in the cohort"]


def test_a_fold_that_trains_on_one_class_is_found(people):
    fold = np.where(people["label"] == 1, 0, np.arange(48) % 2)
    splits = people[["participant_id"]].assign(repeat=0, fold=fold)
    assert audit_splits(splits, people) == ["repeat 0: fold 0 trains on one class only"]


def test_many_names_are_cut(sound, copied):
    assert audit_splits(sound.iloc[48:60], copied) == [
        "repeat 1: sub-012, sub-013, sub-014, sub-015, sub-016 and 31 more never tested"
    ]


@pytest.mark.parametrize("scheme", ["kfold", "leave_one_site_out"])
def test_real_splits_pass_and_the_real_copy_stays_together(real_data, scheme):
    people = collect({**SPEC, "repetition_time": {}}, real_data / "abide")[0]
    people["label"] = (people["group"] == "ASD").astype(int)
    splits = make_splits(people, 5, 2, 0, scheme)
    assert audit_splits(splits, people) == []
    pair = splits[splits["participant_id"].isin(["sub-UM10050279", "sub-UM10050286"])]
    assert len(pair) == 2 * len(set(splits["repeat"]))
    assert (pair.groupby("repeat")["fold"].agg(np.ptp) == 0).all()
    assert len(scored_folds(splits)) == (11 if scheme == "leave_one_site_out" else 10)


# the permutation null


def site_cohort(make_cohort, seed: int):
    """Sites differ in all edges and in their share of patients; the groups differ in nothing else."""
    cohort = make_cohort(90, seed=seed)
    rng = np.random.default_rng([seed, 9])
    site = np.arange(90) % 3
    label = (rng.random(90) < np.array([0.25, 0.5, 0.75])[site]).astype(int)
    label[:6] = [0, 0, 0, 1, 1, 1]
    values = cohort.values + 0.4 * (site[:, None] - 1) * np.sign(rng.standard_normal(cohort.values.shape[1]))
    table = cohort.participants.assign(site=np.array(["A", "B", "C"])[site], label=label)
    return type(cohort)(table, values.astype(np.float32), cohort.missing, cohort.nodes, cohort.measure)


def test_leaving_sites_out_catches_a_signal_of_sites_only(make_cohort, sections):
    mixed, apart = [], []
    for seed in range(6):
        cohort = site_cohort(make_cohort, seed)
        for scheme, found in (("kfold", mixed), ("leave_one_site_out", apart)):
            splits = make_splits(cohort.participants, 5, 1, 0, scheme)
            predictions = cross_validate(cohort, splits, "ridge", sections("ridge")).predictions
            evidence = gather(predictions)
            found.append(weighted_scores(evidence, np.ones((1, 90)))["auc"][0])
    assert np.mean(mixed) > 0.62
    assert np.mean(apart) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("scheme", ["kfold", "leave_one_site_out"])
def test_permutation_p_is_uniform_where_only_sites_differ(make_cohort, sections, scheme):
    """Labels move inside sites, so that what sites tell is in the null as well; p is exact with every scheme."""
    spec, ps = sections("ridge", permutations=19), []
    for seed in range(60):
        cohort = site_cohort(make_cohort, seed)
        splits = make_splits(cohort.participants, 5, 1, 0, scheme)
        models = cross_validate(cohort, splits, "ridge", spec).first_repeat
        auc = permutation_null(cohort, splits, spec, models)["auc"].to_numpy()
        ps.append((1 + (auc[1:] >= auc[0] - 1e-12).sum()) / 20)
    assert np.mean(np.array(ps) <= 0.05) <= 0.15
    assert kstest(np.array(ps) - 0.025, "uniform").pvalue > 0.01
