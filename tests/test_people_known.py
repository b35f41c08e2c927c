"""A known data set from one's own copy, and a table elsewhere: the configuration holds as it does for a download."""

from functools import cache

import pandas as pd
import pytest

from dysconnect.acquire.images import SHARED, Plan, plan_images, users_files
from dysconnect.acquire.manifest import read_manifest
from dysconnect.acquire.people import read_people, with_sites
from dysconnect.acquire.table import acquire_table
from dysconnect.plan.compose import compose_workflow

PUBLIC = {
    "ds000245": "participant_id\tAge\tGender\tACER\tMMSE\tOSITJ\n"
    + "".join(f"sub-{group}9{k}\t6{k}\t{'MF'[k]}\t90\t28\t9\n" for group in ("CTL", "ODN", "ODP") for k in (0, 1)),
    "ds006395": "participant_id\tgroup\tsex\tage\tBurke-Fahn_scale\n"
    + "".join(f"sub-{name}\t{group}\tm\t50\t0\n" for name, group in (("C91", "HC"), ("P91", "ULD"), ("P92", "CD"))),
    "ds001907": None,
    "ds005892": "participant_id\tage\tgroup\tsex\n"
    + "".join(f"sub-{k}\t70\t{group}\tFemale\n" for k, group in enumerate(("PD-NC", "PD-MCI", "Control"))),
}  # fmt: skip
WANTED = {
    "ds000245": {"sub-CTL90": "CTL", "sub-CTL91": "CTL", "sub-ODN90": "ODN", "sub-ODN91": "ODN"},
    "ds006395": {"sub-C91": "HC", "sub-P91": "ULD"},
    "ds001907": {"sub-RC4101": "HC", "sub-RC4201": "PD"},
    "ds005892": {"sub-0": "PD-NC", "sub-1": "PD-MCI", "sub-2": "Control"},
}


@cache
def compose(repository, dataset, *overrides):
    """The `dataset` section of the real configuration."""
    told = {"dataset": dataset, "experiment": "floor", "overrides": list(overrides)}
    schema = repository / "workflow/schemas/config.schema.json"
    return compose_workflow(repository / "configs", schema, told)[0]["dataset"]


@pytest.fixture
def clone(tmp_path):
    """A folder as a clone of the public data set has it, with nothing written into it."""

    def make(dataset):
        if PUBLIC[dataset]:
            (tmp_path / "participants.tsv").write_text(PUBLIC[dataset])
        for name in WANTED[dataset]:
            (tmp_path / name).mkdir()
        return tmp_path

    return make


@pytest.mark.parametrize("dataset", PUBLIC)
def test_a_known_data_set_is_read_from_a_clone(repository, clone, tmp_path, dataset):
    spec = compose(repository, dataset) | {"root": str(clone(dataset))}
    plan = plan_images(spec, {}, tmp_path)
    groups = plan.people.set_index("participant_id")["group"]
    assert groups[plan.wanted].to_dict() == WANTED[dataset]
    assert users_files(spec, plan, {}, SHARED) == [str(tmp_path / "participants.tsv")] * bool(PUBLIC[dataset])
    people = read_people(spec, tmp_path).table.set_index("participant_id").loc[plan.wanted]
    assert people["sex"].isin(["F", "M"]).all() == (dataset != "ds001907")
    assert (people["site"] == ("" if spec["site"] else dataset)).all()


def test_a_table_elsewhere_serves_a_folder_that_has_none(repository, clone, tmp_path):
    folder = clone("ds000245")
    table = (folder / "participants.tsv").rename(tmp_path / "of_the_raw_set.tsv")
    spec = compose(repository, "ds000245_fmriprep") | {"root": str(folder), "people": str(table)}
    plan = plan_images(spec, {}, tmp_path)
    assert len(plan.wanted) == 4 and users_files(spec, plan, {}, SHARED) == [str(table)]
    with pytest.raises(FileNotFoundError, match=r"no such participants table.*dataset\.people="):
        plan_images(spec | {"people": None}, {}, tmp_path)


def test_a_table_elsewhere_serves_a_download_and_is_watched(repository, tmp_path):
    table = tmp_path / "demographics.csv"
    table.write_text("subject;age;sex\nsub-RC4101;71;f\nsub-RC4201;999;m\n")
    own = {"covariates": ["age", "sex"], "people": str(table), "columns": {"participant_id": "subject"}}
    spec = compose(repository, "ds001907") | own
    known = pd.DataFrame({"participant_id": ["sub-RC4101", "sub-RC4102", "sub-RC4201", "sub-RC4202"]})
    known = known.assign(group=["HC", "HC", "PD", "PD"], reason=["", "", "", "late"])
    plan = Plan(tmp_path, known, {SHARED: []})
    assert users_files(spec, plan, {}, SHARED) == [str(table)] and users_files(spec, plan, {}, "sub-RC4101") == []
    with pytest.raises(ValueError, match=r"nobody of dataset\.contrast\.cases \(PD\).*age is missing for 1 of 2.*999"):
        read_people(spec, tmp_path, known)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tsv: no such participants table"):
        read_people(spec | {"people": str(tmp_path / "nowhere.tsv")}, tmp_path, known)
    table.write_text(table.read_text().replace("999", "66"))
    people = read_people(spec, tmp_path, known).table
    assert people["exclusion_reason"].tolist() == ["", "has no row in demographics.csv", "", "late"]
    assert people["age"].tolist()[::2] == [71, 66] and people["sex"].tolist()[::2] == ["F", "M"]


def test_the_own_configuration_takes_the_same_keys_as_a_known_one(repository, tmp_path):
    (tmp_path / "participants.tsv").write_text("ID\tAlter\tgender\nsub-P1\t40\t1\nsub-C1\t50\t2\n")
    for kind in ("local", "derivatives"):
        spec = compose(
            repository, kind, "dataset.columns={participant_id:ID,age:Alter,sex:gender}",
            "dataset.groups={sub-P*:patient,sub-C*:control}", "dataset.sexes={1:M,2:F}",
        )  # fmt: skip
        people = read_people(spec | {"root": str(tmp_path)}, tmp_path).table
        assert people[["participant_id", "group", "age", "sex", "site"]].to_numpy().tolist() == [
            ["sub-P1", "patient", 40, "M", kind],
            ["sub-C1", "control", 50, "F", kind],
        ]


def test_sites_of_the_sidecars_are_asked_of_everybody_who_has_a_scan(capsys):
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2", "sub-3", "sub-4"], "site": ""})
    people = people.assign(exclusion_reason=["", "", "", "moved"])
    spec = {"site": "Scanner", "covariates": ["site"]}
    found = with_sites(people, {"sub-1": "E11", "sub-2": "e11", "sub-3": ""}, spec)
    assert found["site"].tolist() == ["E11", "e11", "", ""]
    assert found["exclusion_reason"].tolist()[:2] == ["", ""] and found["exclusion_reason"][3] == "moved"
    assert found["exclusion_reason"][2] == "site is missing: the sidecar of the scan has no Scanner (dataset.site)"
    assert "site is spelled in 2 ways in the sidecars: E11, e11" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no sidecar of anybody's scan has the field Scanner"):
        with_sites(people, {}, spec)
    assert with_sites(people, {}, spec | {"covariates": []})["exclusion_reason"].tolist() == ["", "", "", "moved"]


# connections as numbers


@pytest.fixture
def connections(tmp_path, repository):
    """A table of connections of four people; the function writes the table of people beside it and reads both."""
    nodes = pd.DataFrame({"label": ["a", "b"], "name": ["A", "B"]})
    rows = [(f"sub-0{k}", "ses-pre", "pc"[k % 2], "a_b", 0.1 * k, 1400 + k) for k in range(1, 5)]
    names = ["subject", "session", "group", "regions", "connectivity", "TIV"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    spec = compose(repository, "degeneration") | {"connections": {"path": "c.tsv"}, "people": {"path": "p.tsv"}}

    def read(table, **changes):
        pd.DataFrame(table).to_csv(tmp_path / "p.tsv", sep="\t", index=False)
        return acquire_table(spec | changes, tmp_path, nodes)[0]

    return read


@pytest.mark.parametrize("key", ["subject", "participant_id"])
def test_a_table_of_connections_keeps_all_that_is_told_of_people(connections, key):
    table = {
        key: [f"sub-0{k}" for k in (4, 3, 2, 1)], "age": [40, 50, 60, 70], "sex": ["f", "M", "female", "m"],
        "site": ["A", "A", "B", "B"], "mean_fd": [0.1, 0.2, 0.3, -9999], "moca": [27, 28, 29, 30],
    }  # fmt: skip
    people = connections(table, covariates=["age", "sex", "site", "mean_fd", "moca"])
    assert people["participant_id"].tolist() == ["sub-01", "sub-02", "sub-03", "sub-04"]
    assert people["site"].tolist() == ["B", "B", "A", "A"] and people["sex"].tolist() == ["M", "F", "M", "F"]
    assert people["mean_fd"].tolist()[1:] == [0.3, 0.2, 0.1] and people["mean_fd"].isna()[0]
    assert people["moca"].tolist() == [30, 29, 28, 27] and people["tiv"].tolist() == [1401, 1402, 1403, 1404]
    assert people["group"].tolist() == ["control", "patient"] * 2 and (people["exclusion_reason"] == "").all()


def test_a_table_of_people_may_have_several_rows_a_person_that_agree(connections):
    table = {"subject": [f"sub-0{k}" for k in (1, 1, 2, 2, 3, 4)], "age": [40, 40, 50, 50, 60, 70], "sex": "f"}
    people = connections({**table, "roi": list("abcdef")})
    assert (
        people["age"].tolist() == [40, 50, 60, 70] and "roi" not in people and (people["site"] == "degeneration").all()
    )
    with pytest.raises(ValueError, match=r"p\.tsv, lines 4 to 5: age differs between the rows of sub-02"):
        connections({**table, "age": [40, 40, 50, 51, 60, 70]})


def test_values_of_a_table_of_people_are_judged_like_any_other(connections):
    names = [f"sub-0{k}" for k in range(1, 5)]
    people = connections({"subject": names, "age": [40, 1971, 60, 70], "sex": list("fmfm")})
    assert "year of birth" in people["exclusion_reason"][1] and (people["exclusion_reason"] == "").sum() == 3
    with pytest.raises(ValueError, match=r"p\.tsv: sex is a number \(1\)"):
        connections({"subject": names, "age": 40, "sex": 1})


def test_a_table_elsewhere_is_judged_before_anything_is_fetched(repository, tmp_path):
    manifest = read_manifest(repository / "configs/manifest/ds001907.tsv")
    names = sorted(set(manifest["participant_id"]) - {""})
    rows = "".join(f"{name}\t{1950 if k == 0 else 60}\tf\n" for k, name in enumerate(names))
    (tmp_path / "people.tsv").write_text(f"participant_id\tage\tsex\n{rows}")
    spec = compose(repository, "ds001907") | {"covariates": ["age"], "people": str(tmp_path / "people.tsv")}
    plan = plan_images(spec, {"folder": str(tmp_path / "not_yet")}, repository / "configs/manifest")
    assert plan.wanted == [name for name in plan.people["participant_id"] if name != names[0]]
    assert names[0] not in plan.units and any("a year of birth" in note for note in plan.notes)
