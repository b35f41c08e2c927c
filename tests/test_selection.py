"""Who is fetched: everybody who is not has a reason."""

import pandas as pd
import pytest

from dysconnect.acquire.selection import select

PEOPLE = pd.DataFrame(
    {
        "participant_id": [f"sub-{k:02d}" for k in range(12)],
        "group": ["ULD"] * 5 + ["HC"] * 4 + ["CD"] * 3,
    }
)
SPEC = {"name": "tiny", "contrast": {"cases": ["ULD"], "controls": ["HC"]}}


def wanted(**keys):
    return [name for name, reason in select(PEOPLE, {**SPEC, **keys}).items() if not reason]


def test_the_contrast_decides_and_everybody_has_a_row():
    reasons = select(PEOPLE, SPEC)
    assert list(reasons) == PEOPLE["participant_id"].tolist()
    assert wanted() == [f"sub-{k:02d}" for k in range(9)]
    assert reasons["sub-10"] == "group CD is not part of the contrast"


def test_excluded_people_carry_the_dataset_s_reason():
    reasons = select(PEOPLE, {**SPEC, "exclude": {"sub-01": "repetition time 2 s"}})
    assert reasons["sub-01"] == "excluded by the dataset's list: repetition time 2 s"
    assert "sub-01" not in wanted(exclude={"sub-01": "x"})


@pytest.mark.parametrize(
    ("limit", "contrast", "expected"),
    [
        (4, SPEC["contrast"], {"ULD": 2, "HC": 2}),
        (3, SPEC["contrast"], {"ULD": 2, "HC": 1}),
        (4, {"cases": ["ULD", "CD"], "controls": ["HC"]}, {"ULD": 2, "CD": 1, "HC": 1}),
        (9, SPEC["contrast"], {"ULD": 5, "HC": 4}),
        (100, SPEC["contrast"], {"ULD": 5, "HC": 4}),
    ],
)
def test_a_limit_is_balanced_over_the_groups(limit, contrast, expected):
    names = wanted(limit=limit, contrast=contrast)
    counts = PEOPLE.set_index("participant_id").loc[names, "group"].value_counts().to_dict()
    assert counts == expected


def test_a_limit_counts_only_those_who_could_be_fetched():
    names = wanted(limit=4, exclude={"sub-00": "short"})
    assert names == ["sub-01", "sub-02", "sub-05", "sub-06"]


def test_a_larger_limit_keeps_those_of_the_smaller():
    assert set(wanted(limit=4)) < set(wanted(limit=6))


def test_named_participants_only():
    assert wanted(participants=["sub-03", "sub-07"]) == ["sub-03", "sub-07"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"participants": ["sub-99"]}, "dataset.participants: no participant sub-99 in tiny"),
        ({"exclude": {"sub-98": "x"}}, "dataset.exclude: no participant sub-98"),
        ({"contrast": {"cases": ["DYT"], "controls": ["control"]}}, "nobody is left to fetch .*CD, HC, ULD"),
        ({"participants": ["sub-10"]}, "nobody is left"),
    ],
)
def test_what_cannot_be_selected_is_named(keys, message):
    with pytest.raises(ValueError, match=message):
        select(PEOPLE, {**SPEC, **keys})


def test_a_copy_of_some_of_the_people_need_not_hold_those_on_the_list():
    spec = {**SPEC, "exclude": {"sub-77": "short", "sub-01": "moved"}}
    with pytest.raises(ValueError, match="no participant sub-77"):
        select(PEOPLE, spec)
    assert select(PEOPLE, {**spec, "root": "/clone"})["sub-01"].endswith("moved")


def test_whoever_cannot_be_used_keeps_that_reason_and_does_not_count_for_the_limit():
    people = PEOPLE.assign(reason=["age is missing", *[""] * 11])
    reasons = select(people, {**SPEC, "limit": 2})
    assert reasons["sub-00"] == "age is missing" and [name for name, why in reasons.items() if not why] == [
        "sub-01",
        "sub-05",
    ]


@pytest.mark.parametrize(
    ("group", "told"), [("uld", "has ULD"), (" H-C", "has HC"), ("TREMOR", "not part"), ("", "missing")]
)
def test_a_group_that_is_only_spelled_otherwise_is_said(group, told):
    assert told in select(PEOPLE.assign(group=[group, *PEOPLE["group"][1:]]), SPEC)["sub-00"]
