"""Which file belongs to whom: names are compared in all that both carry, and of several a key decides or nobody."""

import json
import os

import pytest

from dysconnect.reading.bids import (
    Ambiguity,
    absent_content,
    agree,
    asked_entities,
    choose,
    companion,
    list_folder,
    read_name,
    read_sidecars,
    sidecars_of,
)

BOLD = "sub-01/func/sub-01_task-rest{}_bold.nii.gz"


def names(*middles: str, form: str = BOLD) -> list:
    return [read_name(form.format(middle)) for middle in middles]


@pytest.mark.parametrize(
    ("path", "entities", "words", "extension"),
    [
        ("sub-01.1D.gz", {"sub": "01"}, (), ".1D.gz"),
        ("a/sub-X_task-rest_run-02_bold.nii.gz", {"sub": "X", "task": "rest", "run": "02"}, ("bold",), ".nii.gz"),
        ("sub-1_den-91k_bold.dtseries.nii", {"sub": "1", "den": "91k"}, ("bold",), ".dtseries.nii"),
        ("task-rest_acq-x_bold.json", {"task": "rest", "acq": "x"}, ("bold",), ".json"),
        ("sub-1_desc-v1.2_timeseries.tsv", {"sub": "1", "desc": "v1.2"}, ("timeseries",), ".tsv"),
        ("notes.txt", {}, ("notes",), ".txt"),
        ("sub-1/ses-b/func/sub-1_bold.nii", {"sub": "1", "ses": "b"}, ("bold",), ".nii"),  # only the folder tells it
    ],
)  # fmt: skip
def test_a_name_is_taken_apart(path, entities, words, extension):
    named = read_name(path)
    assert (named.entities, named.words, named.extension) == (entities, words, extension)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("sub-1_task-rest_run-1_bold.nii", "sub-1_task-rest_run-01_desc-confounds_timeseries.tsv", True),
        ("sub-1_task-rest_run-1_bold.nii", "sub-1_task-rest_run-2_desc-confounds_timeseries.tsv", False),
        ("sub-1_task-rest_dir-AP_bold.nii", "sub-1_task-rest_dir-PA_desc-confounds_timeseries.tsv", False),
        ("sub-1_ses-1_task-rest_bold.nii", "sub-1_ses-2_task-rest_desc-confounds_timeseries.tsv", False),
        ("sub-1_task-rest_echo-2_bold.nii", "sub-1_task-rest_echo-1_bold.json", False),
        ("sub-1_task-rest_visit-a_bold.nii", "sub-1_task-rest_visit-b_confounds.tsv", False),
        ("sub-1_task-rest_bold.nii", "sub-01_task-rest_confounds.tsv", False),  # numbers, but of people
        ("sub-1_task-rest_space-A_res-2_desc-preproc_bold.nii", "sub-1_task-rest_desc-confounds_timeseries.tsv", True),
    ],
)
def test_names_agree_in_all_that_both_carry(one, other, alike):
    assert agree(read_name(one), read_name(other)) == alike


# which is meant


@pytest.mark.parametrize(
    ("middles", "asked", "taken"),
    [
        (("_run-10", "_run-2"), {}, "_run-2"),
        (("_run-01", "_run-02"), {"run": 2}, "_run-02"),
        (("_acq-mb", ""), {"entities": {"acq": "mb"}}, "_acq-mb"),
        (("_acq-mb", ""), {"entities": {"acq": None}}, ""),
        (("_echo-1", "_echo-2"), {"entities": {"echo": 2}}, "_echo-2"),
        (("_dir-AP", "_dir-PA_run-1", "_dir-PA_run-2"), {"entities": {"dir": "PA"}}, "_dir-PA_run-1"),
        (("_dir-AP_run-1", "_dir-PA_run-2"), {"run": 2}, "_dir-PA_run-2"),
        (("",), {"run": 7, "session": "ses-9", "entities": {"acq": "x"}}, ""),  # what a name leaves out fits
        (("_run-1",), {"run": 2}, None),
    ],
)
def test_a_key_or_the_order_of_runs_decides(middles, asked, taken):
    choice = choose(names(*middles), asked_entities({"task": "rest", **asked}))
    assert (choice.file.path if choice.file else None) == (None if taken is None else BOLD.format(taken))


@pytest.mark.parametrize(
    ("middles", "key", "setting"),
    [
        (("_acq-a", "_acq-b"), "acq", "dataset.entities={acq:a}"),
        (("_acq-a", ""), "acq", "dataset.entities={acq:null}"),
        (("_dir-AP_run-1", "_dir-PA_run-2"), "dir", "dataset.entities={dir:PA}"),
        (("_echo-1", "_echo-2"), "echo", "dataset.entities={echo:2}"),
        (("_rec-a", "_rec-b"), "rec", "dataset.entities={rec:b}"),
        (("_visit-a", "_visit-b"), "visit", "dataset.entities={visit:a}"),
    ],
)
def test_what_no_key_decides_stops_with_names_and_the_key(middles, key, setting):
    with pytest.raises(Ambiguity) as refused:
        choose(names(*middles), {"task": "rest"})
    assert refused.value.key == key and setting in str(refused.value)
    assert all(BOLD.format(middle) in str(refused.value) for middle in middles)


def test_sessions_stop_and_count_as_people_count():
    paths = [f"sub-1/ses-{s}/func/sub-1_ses-{s}_task-rest_bold.nii" for s in (10, 2, 1)]
    with pytest.raises(Ambiguity, match=r"session \(1, 2, 10\): .*dataset\.session=ses-1 or dataset\.session=ses-2"):
        choose(map(read_name, paths), {"task": "rest"})


@pytest.mark.parametrize(
    "paths",
    [
        ("sub-1.tsv", "old/sub-1.tsv"),
        ("a/sub-1_task-rest_timeseries.tsv", "b/sub-1_task-rest_timeseries.csv"),
        ("sub-1/func/sub-1_task-rest_bold.nii", "sub-1/func/sub-1_task-rest_bold.nii.gz"),
        ("x/sub-1_task-rest_run-1_bold.nii", "y/sub-1_task-rest_run-01_bold.nii", "sub-1_task-rest_run-2_bold.nii"),
    ],
)
def test_copies_of_one_scan_are_refused_and_both_named(paths):
    with pytest.raises(Ambiguity, match="Keep one") as refused:
        choose(map(read_name, paths), {"task": "rest"})
    assert paths[0] in str(refused.value) and paths[1] in str(refused.value)


def test_echoes_are_one_scan_for_whoever_combines_them():
    assert choose(names("_echo-2", "_echo-1"), {}, ("echo",)).file.entities["echo"] == "1"
    with pytest.raises(Ambiguity):
        choose(names("_acq-a_echo-1", "_acq-b_echo-1"), {}, ("echo",))


# what belongs to it

CONFOUNDS = "sub-01/func/sub-01_task-rest{}_desc-confounds_timeseries.tsv"


@pytest.mark.parametrize(
    ("bold", "tables", "rivals", "taken"),
    [
        ("_run-2", ("_run-1",), ("_run-1", "_run-2"), None),
        ("_run-2", ("_run-1", "_run-02"), ("_run-1", "_run-2"), "_run-02"),
        ("_dir-AP", ("_dir-PA",), ("_dir-AP", "_dir-PA"), None),
        ("_acq-mb", ("",), ("_acq-mb",), ""),
        ("_acq-mb", ("",), ("_acq-mb", ""), None),  # that of the scan without acq
        ("_acq-mb", ("", "_acq-mb"), ("_acq-mb", ""), "_acq-mb"),
        ("", ("_run-1",), ("",), "_run-1"),
        ("", ("_run-1",), ("", "_run-1"), None),
        ("_run-1_space-A_res-2", ("_run-1",), ("_run-1_space-A_res-2", "_run-1_space-B"), "_run-1"),
    ],
)
def test_only_what_belongs_to_the_scan_is_taken(bold, tables, rivals, taken):
    choice = companion(*names(bold), names(*tables, form=CONFOUNDS), names(*rivals))
    assert (choice.file.path if choice.file else None) == (None if taken is None else CONFOUNDS.format(taken))


def test_two_that_could_belong_to_it_are_named():
    with pytest.raises(Ambiguity, match=r"nothing says which.*run-1_desc.*run-2_desc"):
        companion(*names(""), names("_run-1", "_run-2", form=CONFOUNDS), names(""))


# sidecars


def told(folder, files: dict, image: str) -> dict:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    (folder / image).parent.mkdir(parents=True, exist_ok=True)
    (folder / image).touch()
    on_disk = sidecars_of(folder / image, folder)
    listing = list_folder(folder)
    assert [folder / path for path in listing.applying(read_name(image))] == on_disk  # both ways say the same
    assert sidecars_of(folder / image) == on_disk
    return read_sidecars(on_disk)[0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"task-rest_acq-x_bold.json": {"a": 1}}, {"a": 1}),
        ({"bold.json": {"a": 1, "b": 1}, "task-rest_bold.json": {"b": 2, "c": 2}}, {"a": 1, "b": 2, "c": 2}),
        ({"sub-01/sub-01_task-rest_bold.json": {"a": 2}, "acq-x_bold.json": {"a": 1, "b": 1}}, {"a": 2, "b": 1}),
        ({"sub-01/ses-1/sub-01_ses-1_bold.json": {"a": 3}, "sub-01/sub-01_bold.json": {"a": 2}}, {"a": 3}),
        ({"task-rest_acq-y_bold.json": {"a": 1}, "task-nback_bold.json": {"a": 2}, "T1w.json": {"a": 3}}, {}),
        ({"task-rest_echo-1_bold.json": {"a": 1}, "sub-02_bold.json": {"a": 2}, "task-rest_sbref.json": {"a": 4}}, {}),
        ({"run-1_bold.json": {"a": 1}}, {"a": 1}),
    ],
)  # fmt: skip
def test_every_sidecar_above_applies_the_more_specific_over_the_more_general(tmp_path, files, expected):
    image = "sub-01/ses-1/func/sub-01_ses-1_task-rest_acq-x_run-01_bold.nii.gz"
    assert told(tmp_path, files, image) == expected


def test_sidecars_outside_of_the_dataset_do_not_apply(tmp_path):
    (tmp_path / "task-rest_bold.json").write_text('{"a": 1}')
    image = tmp_path / "study/sub-01/func/sub-01_task-rest_bold.nii.gz"
    image.parent.mkdir(parents=True)
    image.touch()
    assert sidecars_of(image) == []


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff".encode("utf-8", "surrogatepass").decode("latin-1"), "[" * 9999])
def test_what_is_no_sidecar_is_named(tmp_path, text):
    (tmp_path / "task-rest_bold.json").write_text(text)
    with pytest.raises(ValueError, match=r"task-rest_bold\.json (is no JSON|holds no JSON object)"):
        read_sidecars([tmp_path / "task-rest_bold.json"])


# folders and links


def test_a_folder_is_listed_once_with_its_dead_links(tmp_path):
    root = tmp_path / "study"
    for path in ("sub-01/func/a.nii", ".git/annex/b.nii", "results/c.nii", "sub-01/figures/d.svg", "sub-02/e.nii"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    (root / "sub-01/func/dead.nii").symlink_to("../../.git/annex/gone")
    (root / "sub-01/loop").symlink_to("..")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/f.nii").touch()
    (root / "sub-03").symlink_to(tmp_path / "elsewhere")
    (root / "sourcedata/sub-04").mkdir(parents=True)
    (root / "sourcedata/sub-04/g.nii").touch()
    (root / "sub-04").symlink_to("sourcedata/sub-04")
    (root / "again").symlink_to("sub-02")
    listing = list_folder(root)
    assert listing.files == (
        "sourcedata/sub-04/g.nii", "sub-01/func/a.nii", "sub-01/func/dead.nii", "sub-02/e.nii", "sub-03/f.nii",
        "sub-04/g.nii",
    )  # fmt: skip
    assert sorted(listing.files[1:5]) == ["sub-01/func/a.nii", "sub-01/func/dead.nii", "sub-02/e.nii", "sub-03/f.nii"]
    assert listing.dead == {"sub-01/func/dead.nii"}
    assert sorted(list_folder(root, only="sub-02").files) == ["sub-02/e.nii"]


def test_the_work_grows_with_the_files_not_with_their_square(tmp_path, monkeypatch):
    for k in range(50):
        (tmp_path / f"sub-{k}_task-rest_timeseries.tsv").touch()
        (tmp_path / f"sub-{k}_task-rest_timeseries.json").touch()
    calls = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or scandir(path))
    listing = list_folder(tmp_path)
    for own in listing.by_participant.values():
        assert listing.applying(own[1])
        assert sum(len(level) for level in listing.scans_beside(own[1], "timeseries")) == 1
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (None, "datalad get sub-1_bold.nii.gz"),
        ("/annex/objects/MD5E-s1--0.nii.gz\n", "datalad get sub-1_bold.nii.gz"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull --include sub-1_bold.nii.gz"),
        ("content", ""),
    ],
)  # fmt: skip
def test_a_link_without_content_says_how_to_get_it(tmp_path, content, remedy):
    path = tmp_path / "sub-1_bold.nii.gz"
    path.symlink_to("gone") if content is None else path.write_text(content)
    said = absent_content(tmp_path, ["sub-1_bold.nii.gz", ""])
    assert said.endswith(remedy) and ("is a link without content" in said) == bool(remedy)
