"""Subgroups are scored among themselves, and not at all where they are too few."""

import numpy as np
import pandas as pd
import pytest
from predicted import evaluated, predictions_of
from sklearn.metrics import roc_auc_score

from dysconnect.evaluate.subgroups import subgroups, too_few


@pytest.fixture
def people() -> pd.DataFrame:
    """Ninety people of three sites; the third has controls only, a fourth hardly anybody."""
    rng = np.random.default_rng(0)
    site = np.array(["A", "B", "C"])[np.arange(90) % 3]
    site[:4] = "D"
    label = rng.integers(0, 2, 90)
    label[:4] = [0, 1, 0, 1]
    label[site == "C"] = 0
    names = [f"sub-{k:03d}" for k in range(90)]
    table = pd.DataFrame({"participant_id": names, "site": site, "sex": "F", "age": rng.uniform(18, 60, 90)})
    table.loc[45:, "sex"] = "M"
    return table.assign(mean_fd=rng.lognormal(-2, 0.4, 90), label=label)


@pytest.fixture
def own(people) -> pd.DataFrame:
    """Predictions that work at site A alone."""
    rng = np.random.default_rng(1)
    shift = np.where(people["site"] == "A", 2.5, 0.0) * people["label"]
    return predictions_of(1 / (1 + np.exp(-rng.normal(shift - 0.5))), people["label"].to_numpy())


def test_scores_are_those_of_the_subgroup_alone(people, own):
    table = evaluated({"a": own}, people=people).subgroups
    for variable, column in (("site", "site"), ("sex", "sex")):
        rows = table[(table["variable"] == variable) & (table["metric"] == "auc")].set_index("group")
        for name in set(rows.index) - {"C", "D"}:
            part = (people[column] == name).to_numpy()
            expected = roc_auc_score(people["label"][part], own["probability"][part])
            assert rows.loc[name, "value"] == pytest.approx(expected)
            assert rows.loc[name, "low"] <= expected <= rows.loc[name, "high"]
            assert rows.loc[name, "n"] == part.sum() and rows.loc[name, "n_cases"] == people["label"][part].sum()
    auc = table[(table["variable"] == "site") & (table["metric"] == "auc")].set_index("group")["value"]
    assert auc["A"] > 0.85 and auc["B"] < 0.75


def test_too_few_or_one_class_give_a_reason_and_no_number(people, own):
    table = evaluated({"a": own}, people=people).subgroups.set_index(["variable", "group", "metric"]).sort_index()
    assert table.loc[("site", "C", "auc"), "reason"] == "controls only"
    assert table.loc[("site", "D", "brier"), "reason"] == "fewer than 10 subjects"
    assert table.loc[("site", "C")][["value", "low", "high"]].isna().all(axis=None)
    assert (table.loc[("site", "A"), "reason"] == "").all()


@pytest.mark.parametrize(
    ("cases", "controls", "reason"),
    [(0, 30, "controls only"), (30, 0, "patients only"), (4, 5, "fewer than 10 subjects"),
     (2, 30, "fewer than 3 patients"), (30, 2, "fewer than 3 controls"), (5, 5, "")],
)  # fmt: skip
def test_who_is_too_few(cases, controls, reason):
    assert too_few(np.repeat([1, 0], [cases, controls])) == reason


def test_bands_are_tertiles_from_low_to_high(people):
    groups = subgroups(people)
    assert list(groups) == ["site", "sex", "age", "motion"]
    assert groups["age"].value_counts().tolist() == [30, 30, 30]
    means = people["age"].groupby(groups["age"], observed=True).mean()
    assert means.is_monotonic_increasing and all(name.endswith(" years") for name in means.index)
    assert all(name.endswith(" mm") for name in groups["motion"].cat.categories)


def test_unknown_values_are_in_no_group_and_empty_columns_make_none(people):
    people.loc[:9, "age"] = np.nan
    people.loc[0, "sex"] = ""
    groups = subgroups(people.assign(mean_fd=np.nan, site="A"))
    assert list(groups) == ["sex", "age"]
    assert groups["age"].isna().sum() == 10 and groups["sex"].isna().sum() == 1


def test_bands_that_look_the_same_are_told_apart(people):
    people["mean_fd"] = 0.1 + np.arange(90) / 1e6
    assert subgroups(people)["motion"].cat.categories.is_unique


def test_people_of_different_folds_are_not_compared(people, own):
    """A subgroup whose patients and controls never met in a fold has no AUC, and says why."""
    fold = np.where((people["site"] == "B") & (people["label"] == 1), 0, 1)
    fold[:8] = [0, 0, 1, 1, 0, 1, 0, 1]
    table = evaluated({"a": own.assign(fold=fold)}, people=people).subgroups
    rows = table[table["group"] == "B"].set_index("metric")
    assert rows.loc["auc", "reason"] == "too few patients and controls tested together"
    assert np.isfinite(rows.loc["brier", "value"])
