"""Tables of people as people have them: what is read, who is left out and why, and what is refused before any scan."""

import itertools

import numpy as np
import pandas as pd
import pytest
from try_people import judge as judge_damaged

from dysconnect.acquire.participants_table import people_files
from dysconnect.acquire.people import people_notes, read_people
from dysconnect.data.participants import read_participants, write_participants
from dysconnect.reading.cells import CODES, FORMS, MISSING, SEXES, codes_among, form, is_missing, number, sex

SPEC = {
    "name": "study",
    "kind": "local",
    "contrast": {"cases": ["dystonia"], "controls": ["control"]},
    "covariates": ["age", "sex", "site", "mean_fd"],
}


def people(n: int = 8) -> pd.DataFrame:
    """A table in which everybody can be used."""
    k = np.arange(1, n + 1)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in k],
            "group": np.where(k % 2, "dystonia", "control"),
            "age": (40 + k).astype(str),
            "sex": np.where(k % 3, "M", "F"),
            "site": "clinic",
            "mean_fd": "0.1",
        }
    )


@pytest.fixture
def read(tmp_path):
    """Read a table that was changed: columns by name, cells by position from 0."""

    def run(spec=None, known=None, file="participants.tsv", **columns):
        table = people().drop(columns=[name for name, cells in columns.items() if cells is None])
        for name, cells in columns.items():
            old = table.get(name, pd.Series([""] * 8)).tolist()
            if isinstance(cells, dict):
                table[name] = [cells.get(k, value) for k, value in enumerate(old)]
            elif cells is not None:
                table[name] = [cells] * 8 if isinstance(cells, str) else cells
        lines = ["\t".join(cells) for cells in [list(table), *table.astype(str).to_numpy().tolist()]]
        (tmp_path / file).write_text("\n".join(lines) + "\n")
        return read_people({**SPEC, **(spec or {})}, tmp_path, known)

    return run


def reasons_of(found) -> dict[str, str]:
    """Reasons of those who are left out."""
    table = found.table.set_index("participant_id")["exclusion_reason"]
    return table[table != ""].to_dict()


# values


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (
            "age",
            "1971",
            r"age is '1971', outside 0 to 120 \(a year of birth\?\) in participants\.tsv, line 4; give",
        ),
        ("age", "624", r"outside 0 to 120 \(months\?\)"),
        ("age", "12000", r"outside 0 to 120 \(days\?\)"),
        ("age", "-1", r"outside 0 to 120 \(impossible\)"),
        ("age", "55-60", r"'55-60', no number \(a range\)"),
        ("age", "34,5", r"no number \(with a decimal comma"),
        ("age", "34 y", r"no number \(a number with its unit"),
        ("age", "89+", r"no number \(a bound: BIDS hides"),
        ("age", "1971-05-03", r"no number \(a date\)"),
        ("age", "true", r"no number \(a truth value\)"),
        ("age", "1e400", r"no number \(too large"),
        ("age", "3+2j", r"no number \(a complex number\)"),
        ("age", "old", r"no number \(a word\)"),
        ("age", "-9999", r"age is missing \(participants\.tsv, line 4: '-9999'\)"),
        ("age", "999", r"age is missing .*'999'"),
        ("age", "NaN", r"age is missing .*'NaN'"),
        ("age", "", r"age is missing \(participants\.tsv, line 4\)"),
        ("mean_fd", "-1", r"mean_fd is '-1', outside 0 to 50 \(impossible\).*give it in mm"),
        ("mean_fd", "120.5", "outside 0 to 50"),
        ("mean_fd", "0,12", r"no number \(with a decimal comma"),
        ("sex", "Mixed", r"sex is 'Mixed', no F or M in participants\.tsv, line 4; write F or M"),
        ("sex", "Maybe", "no F or M"),
        ("sex", "Foo", "no F or M"),
        ("sex", "unknown", "sex is missing"),
        ("site", "n/a", r"site is missing \(participants\.tsv, line 4: 'n/a'\); name it"),
        ("site", "-9999", "site is missing"),
        ("group", "n/a", "group is missing"),
        ("group", "", "group is missing"),
    ],
)
def test_a_cell_that_is_no_value_leaves_one_person_out_and_is_named(read, column, cell, message):
    found = read(**{column: {2: cell}})
    assert list(reasons_of(found)) == ["sub-03"]
    assert pd.Series(reasons_of(found)).str.contains(message).all(), reasons_of(found)
    if column in ("age", "mean_fd"):
        assert np.isnan(found.table[column][2])
    if column not in ("group", "site"):
        assert any(note.endswith(".") and f"{column} is" in note and "1 of 8" in note for note in found.notes)


def test_motion_that_is_missing_may_come_with_the_scan(read):
    found = read(mean_fd={0: "-9999", 1: "n/a"})
    assert reasons_of(found) == {} and found.table["mean_fd"].isna().tolist() == [True, True, *[False] * 6]
    assert any("mean_fd: taken as missing: -9999 (1 of 8, first: sub-01)" in note for note in found.notes)


def test_a_code_that_can_be_a_value_is_one(read):
    found = read(
        {"covariates": ["score", "age"]}, age={0: "99"}, score=[str(k) for k in (80, 90, 99, 100, 85, 70, 95, 60)]
    )
    assert reasons_of(found) == {} and found.table["age"][0] == 99 and found.table["score"][2] == 99
    found = read({"covariates": ["score"]}, score=[str(k) for k in (20, 21, 99, 25, 24, 22, 23, -9999)])
    assert sorted(reasons_of(found)) == ["sub-03", "sub-08"]
    assert any(
        "taken as missing: -9999 (1 of 8, first: sub-08), 99 (1 of 8, first: sub-03)" in note for note in found.notes
    )


def test_what_would_leave_nobody_is_refused_before_any_scan(read):
    first = r"age is no number for 8 of 8 \(first: sub-01, participants\.tsv, line 2: 51-56, a range\)"
    with pytest.raises(ValueError, match=rf"tsv: nobody of dataset\.contrast\.cases \(dystonia\).*{first}"):
        read(age="51-56")
    with pytest.raises(ValueError, match=r"nobody of dataset\.contrast\.controls.*age is missing for 4 of 8"):
        read(age={k: "n/a" for k in (1, 3, 5, 7)})
    with pytest.raises(ValueError, match=r"nobody .* can be used\..*tiv is missing for 8 of 8"):
        read({"covariates": ["tiv"]}, tiv="n/a")


def test_what_covariates_do_without_is_not_asked_for(read):
    found = read({"covariates": ["mean_fd"]}, age="51-56", sex="2", site=None)
    assert reasons_of(found) == {} and found.table["age"].isna().all() and (found.table["site"] == "study").all()
    found = read({"covariates": ["sex", "site"]}, age=None, mean_fd=None)
    assert reasons_of(found) == {} and found.table["age"].isna().all()


@pytest.mark.parametrize("codes", ["12", "01"])
def test_sex_as_numbers_is_never_guessed(read, codes):
    cells = [codes[k % 2] for k in range(8)]
    told = (
        rf"participants\.tsv: sex is a number \({', '.join(codes)}\).*dataset\.sexes=\{{1:M,2:F\}}.*out of dataset\.cov"
    )
    with pytest.raises(
        ValueError, match=told + r".*sex is no F or M for 8 of 8 \(first: sub-01, participants\.tsv, line 2"
    ):
        read(sex=cells)
    found = read({"sexes": {int(codes[0]): "M", codes[1]: "F"}}, sex=cells)
    assert found.table["sex"].tolist() == ["M", "F"] * 4


def test_h_and_m_may_be_hombre_and_mujer(read):
    with pytest.raises(ValueError, match=r"sex is H for some: M may be mujer"):
        read(sex=["H", "M"] * 4)
    assert read({"sexes": {"H": "M", "M": "F"}}, sex=["H", "m"] * 4).table["sex"].tolist() == ["M", "F"] * 4


def test_words_for_sex_are_a_closed_list():
    assert {word for word in SEXES if sex(word.upper()) != SEXES[word]} == set()
    for word in ("Mixed", "Maybe", "Foo", "Mujer", "Masc", "Fem", "1", "x", "other", "H", ""):
        assert sex(word) == ""


@pytest.mark.parametrize("code", sorted(MISSING))
def test_every_code_for_missing_is_one_in_any_case(code):
    assert is_missing(code.upper()) and is_missing(code.title()) and np.isnan(number(code))


def test_codes_are_told_from_values_by_the_range_of_their_column():
    assert codes_among("age", [20, 99, -99, 999]) == {-99, 999} and codes_among("mean_fd", [0.1, 99]) == {99}
    for code in CODES:
        assert (
            codes_among("own", [0.5, 1.5, code]) == {code} and codes_among("own", [code - 3, code + 2, code]) == set()
        )


@pytest.mark.parametrize(
    "cell", ["1_000", "0x1F", "−5", "٣", "1e400", "inf", "nan", "1 000", "1,000.5", "12.", "1.2.3"]
)
def test_only_plain_digits_are_numbers(cell):
    assert np.isnan(number(cell)) == (cell != "12.")
    assert form(cell)


def test_every_form_has_an_example():
    examples = ["3.5.1971", "20 to 30", ">89", "3,5", "2j", "34yrs"]
    assert all(pattern.fullmatch(cell) for (pattern, _), cell in zip(FORMS, examples, strict=True))


# sites, groups and words of the dataset's own


@pytest.mark.parametrize(("one", "two"), [("Clinic", "clinic"), ("site A", "siteA"), ("UM_1", "um-1"), ("A", "Ａ")])
@pytest.mark.parametrize("column", ["site", "hand"])
def test_one_label_in_two_spellings_is_refused_with_counts(read, column, one, two):
    spec = {"covariates": ["site", "hand"]}
    message = rf"participants\.tsv: {column} is spelled in 2 ways: '{one}' \(6\), '{two}' \(2\) \(people\)"
    with pytest.raises(ValueError, match=message):
        read(spec, **{"hand": "left", column: {k: two if k > 5 else one for k in range(8)}})


def test_blanks_around_and_inside_are_no_other_site(read):
    found = read(
        site={k: cell for k, cell in enumerate(["The clinic", "The  clinic", " The clinic"] * 2 + ["The clinic"] * 2)}
    )
    assert found.table["site"].unique().tolist() == ["The clinic"]
    assert any("blanks inside are counted as one for 2 people" in note for note in found.notes)


def test_a_table_without_site_is_of_one_site_and_says_so(read):
    found = read(site=None)
    assert (found.table["site"] == "study").all() and any("everybody counts as of one, study" in n for n in found.notes)
    with pytest.raises(ValueError, match=r"missing column site.*Rename centre to site.*columns=\{site:centre\}"):
        read(site=None, centre="x")


def test_groups_that_differ_by_case_or_blanks_are_said(read):
    found = read(group={2: "Dystonia", 3: "  control ", 5: "CONTROL"})
    assert reasons_of(found) == {
        "sub-03": "group Dystonia: dataset.contrast has dystonia",
        "sub-06": "group CONTROL: dataset.contrast has control",
    }
    assert any("1 of 8 people left out: group Dystonia: dataset.contrast has dystonia" in note for note in found.notes)


@pytest.mark.parametrize("cells", [["1", "2"], ["1.0", "2.0"], ["01", "2"]])
def test_groups_may_be_numbers(read, cells):
    found = read({"contrast": {"cases": ["1"], "controls": ["2.0"]}}, group=cells * 4)
    assert found.table["group"].tolist() == ["1", "2.0"] * 4 and reasons_of(found) == {}


def test_a_group_may_be_called_none(read):
    found = read({"contrast": {"cases": ["dystonia"], "controls": ["none"]}}, group=["dystonia", "none"] * 4)
    assert reasons_of(found) == {}


def test_a_group_that_nobody_has_is_refused_before_any_scan(read):
    with pytest.raises(ValueError, match=r"nobody is in dataset\.contrast\.cases \(tremor\); the column group has: c"):
        read({"contrast": {"cases": ["dystonia", "tremor"], "controls": ["control"]}})


def test_covariates_of_the_dataset_are_numbers_or_groups(read):
    spec = {"covariates": ["moca", "hand"]}
    found = read(spec, moca=[*map(str, range(20, 27)), "abc"], hand=["left", "right"] * 4)
    assert reasons_of(found) == {
        "sub-08": "moca is 'abc', no number (a word) in participants.tsv, line 9; give it, or leave moca out of "
        "dataset.covariates"
    }
    assert found.table["moca"].dtype == float and found.table["hand"].tolist() == ["left", "right"] * 4
    with pytest.raises(ValueError, match=r"moca is no number for 8 of 8 .*decimal comma"):
        read(spec, moca=[f"2{k},5" for k in range(8)], hand="left")
    with pytest.raises(ValueError, match=r"hand holds 8 different words for 8 people \(such as 'w0'\)"):
        read(spec, moca="20", hand=[f"w{k}" for k in range(8)])
    assert any(
        "moca is 20.0 for everybody: it tells nobody apart" in note for note in read(spec, moca="20", hand="x").notes
    )


def test_a_score_that_is_no_covariate_loses_its_codes_too(read):
    found = read(severity=["30", "0", "-9999", "0", "25", "0", "41", "0"])
    assert np.isnan(found.table["severity"][2]) and found.table["severity"][0] == 30 and reasons_of(found) == {}


# reasons of the table's own


@pytest.mark.parametrize("word", ["", "none", "no", "0", "-", "n/a", "NA", "OK", "keep", "FALSE", "."])
def test_words_that_are_no_reason_leave_nobody_out(read, word):
    found = read(exclusion_reason={2: word, 4: "tumour"})
    assert reasons_of(found) == {"sub-05": "tumour"}


def test_included_of_the_table_is_honoured_or_refused(read):
    found = read(included=["TRUE", "False", "1", "0", "yes", "no", "1.0", "0.0"], exclusion_reason={1: "moved"})
    assert list(reasons_of(found)) == ["sub-02", "sub-04", "sub-06", "sub-08"]
    assert reasons_of(found)["sub-02"] == "moved"
    assert reasons_of(found)["sub-04"] == "included is 0 in participants.tsv, line 5"
    assert "included" not in found.table
    with pytest.raises(ValueError, match=r"participants\.tsv, line 4: included is 'perhaps'\. Write TRUE or FALSE"):
        read(included={k: "perhaps" if k == 2 else "yes" for k in range(8)})
    assert reasons_of(read(included="n/a")) == {}


@pytest.mark.parametrize("mark", ['"', "''", "dito", "Ditto", "〃"])
@pytest.mark.parametrize("column", ["group", "site", "sex", "age"])
def test_a_mark_for_the_cell_above_is_refused_where_it_is_read(read, mark, column):
    with pytest.raises(ValueError, match=rf"participants\.tsv, line 5: {column} is .*a mark for `as above`"):
        read(**{column: {3: mark}})
    assert read(notes={3: mark}).table["notes"][3] == mark


# which table, and its columns


def test_columns_groups_and_sexes_are_taken_as_the_configuration_says(read):
    spec = {
        "columns": {"age": "Age", "sex": "Gender", "score": "Burke-Fahn"},
        "groups": {"sub-0[1357]": "dystonia", "sub-*": "control"},
    }
    renamed = {"Age": [str(k) for k in range(30, 38)], "Gender": "female", "Burke-Fahn": "3"}
    found = read(spec, age="999", sex=None, group=None, **renamed)
    assert found.table["age"].tolist() == list(range(30, 38)) and set(found.table["sex"]) == {"F"}
    assert found.table["group"].tolist() == ["dystonia", "control"] * 4 and (found.table["score"] == 3).all()
    assert "Age" not in found.table and reasons_of(found) == {}


def test_columns_may_change_places(read):
    found = read({"columns": {"age": "mean_fd", "mean_fd": "age"}}, age="0.2", mean_fd="44")
    assert (found.table["age"] == 44).all() and (found.table["mean_fd"] == 0.2).all()


def test_a_column_that_the_configuration_names_must_be_there_if_it_is_asked_for(read):
    with pytest.raises(ValueError, match=r"no column Gender \(found: participant_id, group.*Correct dataset\.columns"):
        read({"columns": {"sex": "Gender"}})
    assert reasons_of(read({"columns": {"sex": "Gender"}, "covariates": ["age"]}, sex=None)) == {}


def test_the_table_may_lie_elsewhere_and_be_a_csv(read, tmp_path):
    read()
    table = read_participants(tmp_path / "participants.tsv")
    (tmp_path / "participants.tsv").unlink()
    (tmp_path / "clinic").mkdir()
    for separator in ",;":
        table.to_csv(tmp_path / "clinic/people.csv", sep=separator, index=False)
        found = read_people({**SPEC, "people": str(tmp_path / "clinic/people.csv")}, tmp_path)
        assert found.table["age"].tolist() == list(range(41, 49))
    with pytest.raises(FileNotFoundError, match=r"participants\.tsv: no such.*dataset\.people=/path/to/it"):
        read_people(SPEC, tmp_path)
    assert people_files(SPEC, tmp_path) == []
    (tmp_path / "participants.tsv").symlink_to(".git/annex/objects/x")
    with pytest.raises(FileNotFoundError, match=r"is a link without content.*datalad get"):
        read_people(SPEC, tmp_path)


def test_folders_are_people_where_nothing_is_asked_of_a_table(tmp_path):
    for name in ("sub-P1", "sub-P2", "sub-C1"):
        (tmp_path / name).mkdir()
    spec = {**SPEC, "kind": "bids", "groups": {"sub-P*": "dystonia", "sub-C*": "control"}, "covariates": ["mean_fd"]}
    found = read_people(spec, tmp_path)
    assert found.table["group"].tolist() == ["control", "dystonia", "dystonia"] and reasons_of(found) == {}
    with pytest.raises(FileNotFoundError, match="no such participants table"):
        read_people({**spec, "covariates": ["age"]}, tmp_path)


def test_people_of_a_manifest_keep_its_reasons_and_order(read):
    known = pd.DataFrame({"participant_id": ["sub-08", "sub-99", "sub-01", "sub-03"], "group": "control"})
    known = known.assign(reason=["not fetched", "", "", ""])
    found = read({"contrast": {"cases": ["control"], "controls": ["control"]}}, known, age={2: "1971"})
    assert found.table["participant_id"].tolist() == known["participant_id"].tolist()
    told = found.table["exclusion_reason"].tolist()
    assert told[0] == "not fetched" and told[1] == "has no row in participants.tsv" and told[2] == ""
    assert told[3].startswith("age is '1971'")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"participant_id": {2: "sub-01"}}, r"participant_id not unique: sub-01 stands in lines 2, 4"),
        ({"participant_id": {2: "n/a"}}, r"participants\.tsv, line 4: no participant_id"),
        ({"participant_id": {2: "03"}}, r"line 4: participant_id is '03'.*as in sub-03"),
        ({"participant_id": {2: "SUB-03"}}, r"participant_id is 'SUB-03'.*as in sub-03\b"),
        ({"participant_id": {2: "sub-" + "A" * 101}}, "at most 100"),
        ({"group": None}, r"missing column group .*Add it.*dataset\.columns=\{group:THEIRS\}"),
        (
            {"age": None, "Age": "3"},
            r"missing column age .*Rename Age.*columns=\{age:Age\}.*covariates=\[sex,site,mean_fd\]",
        ),
    ],
)
def test_what_nobody_can_do_without_is_named(read, columns, message):
    with pytest.raises(ValueError, match=message):
        read(**columns)


def test_a_field_of_sidecars_is_refused_for_series(read):
    with pytest.raises(ValueError, match=r"dataset\.site=Scanner is a field of the sidecars of images"):
        read({"site": "Scanner"})


def test_a_limit_counts_only_those_who_can_be_used(read):
    found = read({"limit": 4}, age={0: "1971", 1: "n/a"})
    assert found.table.loc[found.table["exclusion_reason"] == "", "participant_id"].tolist() == [
        f"sub-0{k}" for k in (3, 4, 5, 6)
    ]


def test_notes_are_told_of_series_only(read, tmp_path):
    read(age={0: "1971"})
    assert any("year of birth" in note for note in people_notes({**SPEC, "root": str(tmp_path)}))
    assert people_notes({**SPEC, "kind": "simulated"}) == ()


def test_every_route_reads_the_same(read):
    changes = {"age": {0: "1971", 4: "-9999"}, "sex": {2: "Foo"}, "group": {3: "Control"}}
    found = [reasons_of(read({"kind": kind}, **changes)) for kind in ("local", "bids", "derivatives")]
    assert all(a == b for a, b in itertools.pairwise(found)) and len(found[0]) == 4


# what is written


def test_what_is_written_is_never_quoted_and_is_read_again(tmp_path):
    table = people().assign(notes=['"', 'he said "no"', "a\tb", "c\nd", "''", "", "x", "y"], exclusion_reason="")
    write_participants(table, tmp_path / "p.tsv")
    again = read_participants(tmp_path / "p.tsv")
    assert again["notes"].tolist() == ['"', 'he said "no"', "a b", "c d", "''", "", "x", "y"]


def test_damaged_tables_are_refused_by_name_or_keep_values_in_range_only(tmp_path):
    outcomes = {judge_damaged(seed, tmp_path) for seed in range(60)}
    assert {"refused", "0 left out", "1 left out"} <= outcomes
