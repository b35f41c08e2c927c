"""Participants tables keep their contract, and whatever breaks it is named."""

import re

import numpy as np
import pandas as pd
import pytest

from dysconnect.data.participants import (
    COVARIATES,
    REQUIRED,
    check_participants,
    covariate_problem,
    read_participants,
    with_labels,
    write_participants,
)

CONTRAST = {"cases": ["DYT"], "controls": ["HC"]}


@pytest.fixture
def table() -> pd.DataFrame:
    """Four people as they stand in a file."""
    return pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-2", "sub-3", "sub-4"],
            "group": ["DYT", "HC", "DYT", "HC"],
            "age": ["40", "51.5", "n/a", "33"],
            "sex": ["F", "m", "M", "n/a"],
            "site": ["A", "A", "B", "n/a"],
            "included": ["True", "True", "False", "1"],
            "exclusion_reason": ["n/a", "n/a", "too short", "n/a"],
        }
    )


@pytest.fixture
def written(table, tmp_path):
    """Write the table, changed by a function, and return its path."""

    def write(change=lambda frame: frame):
        path = tmp_path / "participants.tsv"
        change(table).to_csv(path, sep="\t", index=False)
        return path

    return write


@pytest.mark.parametrize("column", REQUIRED)
def test_missing_column_is_named_with_the_file(written, column):
    path = written(lambda frame: frame.drop(columns=column))
    with pytest.raises(ValueError, match=rf"participants\.tsv: missing column {column} .*found: .*Add it"):
        read_participants(path)


def test_two_missing_columns_are_both_named(written):
    with pytest.raises(ValueError, match=r"missing columns age, sex .*Add them"):
        read_participants(written(lambda frame: frame.drop(columns=["sex", "age"])))


def test_missing_file_says_which_and_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tsv: no such participants table\. Check the path"):
        read_participants(tmp_path / "nowhere.tsv")


def test_duplicate_id_is_named(written):
    path = written(lambda frame: frame.assign(participant_id=["sub-1", "sub-2", "sub-1 ", "sub-4"]))
    with pytest.raises(ValueError, match=r"participants\.tsv: participant_id not unique: sub-1\. Keep one row"):
        read_participants(path)


def test_row_without_id_is_named_by_its_line(written):
    path = written(lambda frame: frame.assign(participant_id=["sub-1", "sub-2", "n/a", "sub-4"]))
    with pytest.raises(ValueError, match=r"participants\.tsv: row 4 has no participant_id\. Give it one"):
        read_participants(path)


def test_empty_table_is_refused(written):
    with pytest.raises(ValueError, match=r"participants\.tsv: no participants\. The table needs one row a subject"):
        read_participants(written(lambda frame: frame.iloc[:0]))


def test_not_available_becomes_nan_in_numbers_and_empty_in_text(written):
    read = read_participants(written())
    assert read["age"].tolist()[:2] == [40.0, 51.5]
    assert np.isnan(read["age"][2])
    assert read["sex"].tolist() == ["F", "M", "M", ""]
    assert read["site"].tolist() == ["A", "A", "B", ""]
    assert read["exclusion_reason"].tolist() == ["", "", "too short", ""]


def test_included_is_read_as_a_truth_value(written):
    included = read_participants(written())["included"]
    assert included.dtype == bool
    assert included.tolist() == [True, True, False, True]


def test_what_is_written_is_read_again(table, tmp_path):
    checked = check_participants(table)
    write_participants(checked, tmp_path / "again.tsv")
    text = (tmp_path / "again.tsv").read_text()
    assert "n/a" in text
    assert "nan" not in text
    pd.testing.assert_frame_equal(read_participants(tmp_path / "again.tsv"), checked)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", np.nan, "age is missing or not a number; give it in years"),
        ("age", np.inf, "age is missing or not a number"),
        ("sex", "X", "sex is 'X'; expected F or M"),
        ("sex", "", "sex is 'missing'; expected F or M"),
        ("site", "", "site is missing; name the scanner"),
    ],
)
def test_unusable_covariates_say_why(column, value, message):
    good = {"age": 50.0, "sex": "F", "site": "A"}
    assert covariate_problem(good) == ""
    assert message in covariate_problem({**good, column: value})


def test_label_one_is_the_patient(table):
    labelled = with_labels(check_participants(table), CONTRAST)
    assert dict(zip(labelled["participant_id"], labelled["label"])) == {"sub-1": 1, "sub-2": 0, "sub-4": 0}


def test_excluded_and_other_groups_are_left_out(table):
    more = pd.concat([table, table.iloc[:1].assign(participant_id="sub-9", group="OTHER")])
    labelled = with_labels(check_participants(more), CONTRAST)
    assert labelled["participant_id"].tolist() == ["sub-1", "sub-2", "sub-4"]


@pytest.mark.parametrize("side", ["cases", "controls"])
def test_unknown_group_lists_the_groups_present(table, side):
    contrast = {**CONTRAST, side: ["ULD"]}
    with pytest.raises(ValueError, match=rf"unknown group ULD in dataset\.contrast\.{side}; .*has: DYT, HC\. Correct"):
        with_labels(check_participants(table), contrast)


@pytest.mark.parametrize(("side", "group"), [("cases", "DYT"), ("controls", "HC")])
def test_a_side_with_nobody_included_is_refused(table, side, group):
    none = table.assign(included=np.where(table["group"] == group, "False", "True"))
    with pytest.raises(
        ValueError,
        match=rf"no included subject among the {side} \({group}\)\. (Most .*: too short\. )?See exclusion_reason",
    ):
        with_labels(check_participants(none), CONTRAST)


@pytest.mark.parametrize(
    ("row", "covariates", "message"),
    [
        ({"age": 40.0, "sex": "F", "site": "A"}, COVARIATES, ""),
        ({"age": np.nan, "sex": "F", "site": "A"}, COVARIATES, "age is missing"),
        ({"sex": "F", "site": "A"}, COVARIATES, "age is missing"),
        ({"site": "A"}, ["site"], ""),
        ({"site": ""}, ["site"], "site is missing"),
        ({"tiv": np.nan}, ["tiv"], "tiv is missing; .*dataset.covariates"),
        ({}, ["handedness"], "handedness is missing"),
        ({}, [], ""),
    ],
)
def test_only_the_covariates_of_the_dataset_are_asked_for(row, covariates, message):
    found = covariate_problem(row, covariates)
    assert re.match(message, found) if message else found == ""


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path, table):
    table.to_csv(tmp_path / "participants.tsv", sep="\t", index=False, encoding="utf-8-sig")
    assert read_participants(tmp_path / "participants.tsv").columns[0] == "participant_id"
