"""A user's folder is read as people have it, and what people get wrong is named with its remedy."""

import json

import numpy as np
import pandas as pd
import pytest

from dysconnect.acquire import kind_of
from dysconnect.acquire.local import acquire_local, local_files, plan_local
from dysconnect.data.participants import write_participants
from dysconnect.data.series import BY_ORDER, read_series, write_series
from dysconnect.timeseries import prepare_cohort

TR = 2.0
XCPD = "{name}_task-rest_space-MNI152NLin6Asym_seg-{atlas}_stat-{stat}_{word}.tsv"


@pytest.fixture(scope="module")
def few(nodes) -> pd.DataFrame:
    """Eight regions."""
    return nodes.head(8).reset_index(drop=True)


@pytest.fixture
def spec() -> dict:
    """The `dataset` section."""
    return {
        "name": "mine",
        "contrast": {"cases": ["dystonia"], "controls": ["control"]},
        "covariates": ["age", "sex", "site", "mean_fd"],
        "task": "rest",
        "session": None,
        "run": None,
        "segmentation": None,
        "order": "names",
        "repetition_time": TR,
        "limit": None,
        "participants": None,
    }


@pytest.fixture
def plain(denoise_spec) -> dict:
    """Series that come denoised."""
    none = {"motion": None, "detrend": False, "high_pass": None, "low_pass": None, "min_seconds": 60}
    return {**denoise_spec, **none}


def people(n: int = 3) -> pd.DataFrame:
    """Participants: the odd ones are patients."""
    k = np.arange(1, n + 1)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{i:02d}" for i in k],
            "group": np.where(k % 2, "dystonia", "control"),
            "age": 40 + k,
            "sex": np.where(k % 2, "F", "M"),
            "site": "clinic",
            "mean_fd": 0.1,
        }
    )


def series(seed: int, n: int = 60) -> np.ndarray:
    """Series of eight regions, [n, 8]."""
    return np.random.default_rng(seed).normal(size=(n, 8))


@pytest.fixture
def root(tmp_path, few):
    """Three people with one table each."""
    write_participants(people(), tmp_path / "participants.tsv")
    for k in (1, 2, 3):
        write_series(series(k), few["name"], tmp_path / f"sub-{k:02d}_task-rest_timeseries.tsv")
    return tmp_path


def rewrite(root, change):
    """Change the participants table."""
    change(people()).to_csv(root / "participants.tsv", sep="\t", index=False)


def prepared(spec, root, nodes, denoise):
    """Run the two stages; return the table and the denoised series by subject."""
    participants, index = acquire_local(spec, root)
    names = {"atlas": "few", "denoise": "none"}
    table, kept = prepare_cohort(participants, index, nodes, denoise, root / "results", names, 1, spec["covariates"])
    return table.set_index("participant_id"), kept


# the example of docs/how-to/own-data.md


def test_the_example_of_the_readme(tmp_path, few, spec, plain):
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tgroup\tage\tsex\tsite\tmean_fd\n"
        "sub-01\tdystonia\t52\tF\tclinic\t0.12\n"
        "sub-02\tcontrol\t49\tM\tclinic\t0.09\n"
        "sub-03\tcontrol\t55\tF\tclinic\t0.15\n"
    )
    for k in (1, 2):
        write_series(series(k), few["name"], tmp_path / f"sub-0{k}_task-rest_timeseries.tsv")
        (tmp_path / f"sub-0{k}_task-rest_timeseries.json").write_text('{"RepetitionTime": 2.0}')
    table, kept = prepared({**spec, "repetition_time": None}, tmp_path, few, plain)
    assert table["included"].tolist() == [True, True, False]
    assert table.loc["sub-03", "exclusion_reason"].startswith("no series file in the index")
    assert table["mean_fd"].tolist() == [0.12, 0.09, 0.15]
    assert kept["repetition_time"].tolist() == [2.0, 2.0]


# forms


@pytest.mark.parametrize("form", ["tsv", "csv", "semicolons", "txt", "codes", "pandas index", "label"])
def test_named_columns_are_found_in_every_form(tmp_path, few, form):
    values, order = series(0), np.random.default_rng(1).permutation(8)
    names, atlas = few["name"].to_numpy(), few
    if form == "txt":
        atlas = few.assign(name=[f"region{k}" for k in range(8)])
        names = atlas["name"].to_numpy()
    if form in ("codes", "label"):
        atlas = few.assign(label=[f"LH_{k}" for k in range(8)])
        names = few["node"].astype(str).to_numpy() if form == "codes" else atlas["label"].to_numpy()
    table = pd.DataFrame(values[:, order], columns=names[order])
    suffix, mark = {"csv": ("csv", ","), "semicolons": ("csv", ";"), "txt": ("txt", " ")}.get(form, ("tsv", "\t"))
    table.to_csv(tmp_path / f"sub-01.{suffix}", sep=mark, index=form == "pandas index")
    np.testing.assert_allclose(read_series(tmp_path / f"sub-01.{suffix}", "", atlas), values)


@pytest.mark.parametrize("form", ["tsv", "csv", "txt", "1D", "npy", "numbered"])
def test_columns_without_names_need_the_word_of_the_user(tmp_path, few, form):
    values, path = series(0), tmp_path / f"sub-01.{'csv' if form == 'numbered' else form}"
    if form == "npy":
        np.save(path, values)
    elif form == "numbered":
        pd.DataFrame(values).to_csv(path, index=False)
    else:
        np.savetxt(path, values, delimiter={"tsv": "\t", "csv": ","}.get(form, " "))
    with pytest.raises(ValueError, match=r"sub-01.*dataset\.order=atlas"):
        read_series(path, "", few)
    np.testing.assert_allclose(read_series(path, BY_ORDER, few), values)
    with pytest.raises(ValueError, match="8 columns, the atlas 7 regions"):
        read_series(path, BY_ORDER, few.head(7))


def test_order_of_the_atlas_is_asked_for_in_the_configuration(root, few, spec, plain):
    np.savetxt(root / "sub-01_task-rest_timeseries.tsv", series(1), delimiter="\t")
    table, _ = prepared(spec, root, few, plain)
    assert "no region names in its first line" in table.loc["sub-01", "exclusion_reason"]
    table, _ = prepared({**spec, "order": "atlas"}, root, few, plain)
    assert table["included"].all()


@pytest.mark.parametrize("named", [True, False])
def test_transposed_series_are_recognised(tmp_path, few, named):
    table = pd.DataFrame(series(0).T, index=few["name"])
    table.to_csv(tmp_path / "sub-01.csv", index=named, header=named)
    with pytest.raises(ValueError, match=r"sub-01\.csv is transposed: its 8 rows are the atlas's regions"):
        read_series(tmp_path / "sub-01.csv", BY_ORDER, few)


def test_decimal_commas_are_refused(tmp_path, few):
    table = pd.DataFrame(series(0), columns=few["name"])
    table.to_csv(tmp_path / "a.csv", sep=";", decimal=",", index=False)
    table.to_csv(tmp_path / "b.tsv", sep="\t", decimal=",", index=False, header=False)
    for name in ("a.csv", "b.tsv"):
        with pytest.raises(ValueError, match=rf"{name} has decimal commas \(-?\d+,\d+\)"):
            read_series(tmp_path / name, BY_ORDER, few)


def test_a_region_that_is_not_available_throughout_has_no_signal(tmp_path, few, spec, plain, root):
    values = series(1)
    values[:, 3] = np.nan
    path = root / "sub-01_task-rest_timeseries.tsv"
    pd.DataFrame(values, columns=few["name"]).to_csv(path, sep="\t", index=False, na_rep="n/a")
    assert np.ptp(read_series(path, "", few)[:, 3]) == 0
    table, _ = prepared(spec, root, few, {**plain, "max_missing_regions": 0.2})
    assert table.loc["sub-01", "included"]
    values[:30, 4] = np.nan  # half of another is damage
    pd.DataFrame(values, columns=few["name"]).to_csv(path, sep="\t", index=False, na_rep="n/a")
    table, _ = prepared(spec, root, few, {**plain, "max_missing_regions": 0.2})
    assert "30 of 60 volumes hold NaN" in table.loc["sub-01", "exclusion_reason"]


# XCP-D


@pytest.fixture
def xcpd(tmp_path, few):
    """What XCP-D leaves of three people, in two atlases, with censored series and whole tables of motion."""
    write_participants(people().drop(columns="mean_fd"), tmp_path / "participants.tsv")
    for k in (1, 2, 3):
        name, folder = f"sub-{k:02d}", tmp_path / f"sub-{k:02d}" / "func"
        folder.mkdir(parents=True)
        for atlas in ("Few", "Gordon"):
            path = folder / XCPD.format(name=name, atlas=atlas, stat="mean", word="timeseries")
            write_series(series(k, 50), few["name"] if atlas == "Few" else [f"P{i}" for i in range(8)], path)
            for stat, word in (("coverage", "bold"), ("alff", "bold"), ("pearsoncorrelation", "relmat")):
                (folder / XCPD.format(name=name, atlas=atlas, stat=stat, word=word)).write_text("Node\tx\na\t1\n")
        motion = pd.DataFrame({"trans_x": 0.0, "framewise_displacement": np.full(60, 0.1 * k)})
        motion.to_csv(folder / f"{name}_task-rest_motion.tsv", sep="\t", index=False)
        (folder / f"{name}_task-rest_outliers.tsv").write_text("framewise_displacement\n0\n")
        (folder / f"{name}_task-rest_space-X_desc-denoised_bold.json").write_text('{"RepetitionTime": 3}')
    return tmp_path


def test_outputs_of_xcpd_work_as_they_are(xcpd, few, spec, plain):
    with pytest.raises(ValueError, match=r"2 atlases: Few, Gordon\. Choose one with dataset\.segmentation=Few"):
        acquire_local(spec, xcpd)
    table, kept = prepared({**spec, "segmentation": "Few"}, xcpd, few, plain)
    assert table["included"].all()
    np.testing.assert_allclose(table["mean_fd"], [0.1, 0.2, 0.3])
    assert kept["repetition_time"].tolist() == [3.0] * 3


# confounds, sidecars, runs


def test_confounds_beside_the_series_are_regressed_and_give_the_motion(root, few, spec, denoise_spec):
    rng = np.random.default_rng(0)
    names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    for k in (1, 2, 3):
        table = pd.DataFrame(rng.normal(size=(60, 6)), columns=names).assign(framewise_displacement=0.2)
        table.to_csv(root / f"sub-{k:02d}_task-rest_desc-confounds_timeseries.tsv", sep="\t", index=False)
    table, _ = prepared(spec, root, few, {**denoise_spec, "motion": "basic", "min_seconds": 60})
    assert table["included"].all()
    np.testing.assert_allclose(table["mean_fd"], 0.2)


def test_without_any_measure_of_motion_the_reason_says_what_to_do(root, few, spec, plain):
    rewrite(root, lambda t: t.drop(columns="mean_fd"))
    with pytest.raises(ValueError, match=r"mean_fd is missing.*column mean_fd \(mm\).*out of dataset\.covariates"):
        prepared(spec, root, few, plain)
    table, _ = prepared({**spec, "covariates": ["age", "sex", "site"]}, root, few, plain)
    assert table["included"].all()


def test_covariates_that_do_not_exist_are_not_asked_for(root, few, spec, plain):
    rewrite(root, lambda t: t[["participant_id", "group", "mean_fd"]])
    with pytest.raises(ValueError, match="missing columns age, sex, site"):
        acquire_local(spec, root)
    table, _ = prepared({**spec, "covariates": ["mean_fd"]}, root, few, plain)
    assert table["included"].all()
    assert set(table["site"]) == {"mine"}


def test_repetition_time_comes_from_the_nearest_sidecar(root, few, spec, plain):
    (root / "task-rest_bold.json").write_text('{"RepetitionTime": 1.5}')
    (root / "sub-01_task-rest_timeseries.json").write_text('{"SamplingFrequency": 0.4}')
    _, index = acquire_local({**spec, "repetition_time": None}, root)
    assert index["repetition_time"].tolist() == [2.5, 1.5, 1.5]
    (root / "task-rest_bold.json").unlink()
    (root / "sub-02_task-rest_timeseries.json").write_text("{")
    (root / "sub-03_task-rest_timeseries.json").write_text(json.dumps({"Units": "z"}))
    table, _ = prepared({**spec, "repetition_time": None}, root, few, plain)
    assert table["included"].tolist() == [True, False, False]
    assert "sub-02_task-rest_timeseries.json is no JSON" in table.loc["sub-02", "exclusion_reason"]
    assert "dataset.repetition_time" in table.loc["sub-03", "exclusion_reason"]


def test_of_several_runs_the_first_is_taken_and_said(root, few, spec):
    for k in (2, 10):
        write_series(series(20 + k), few["name"], root / f"sub-01_task-rest_run-{k:02d}_timeseries.tsv")
    (root / "sub-01_task-rest_timeseries.tsv").unlink()
    _, index = acquire_local(spec, root)
    assert index["series"][0].endswith("run-02_timeseries.tsv")
    choices = plan_local(spec, root).choices
    assert choices["chosen"].tolist() == ["sub-01_task-rest_run-02_timeseries.tsv"]
    assert choices["why"][0] == "the first of several runs (dataset.run=10 takes another)"
    _, index = acquire_local({**spec, "run": 10}, root)
    assert index["series"][0].endswith("run-10_timeseries.tsv")


def test_session_and_task_are_chosen(root, few, spec):
    for session in ("pre", "post"):
        write_series(series(5), few["name"], root / f"sub-01_ses-{session}_task-rest_timeseries.tsv")
    write_series(series(6), few["name"], root / "sub-02_task-motor_timeseries.tsv")
    (root / "sub-01_task-rest_timeseries.tsv").unlink()
    _, index = acquire_local({**spec, "session": "ses-pre"}, root)
    assert [path.rsplit("/", 1)[1] for path in index["series"][:2]] == [
        "sub-01_ses-pre_task-rest_timeseries.tsv",
        "sub-02_task-rest_timeseries.tsv",
    ]


def test_subjects_are_not_mixed_up_and_copies_share_a_group(root, few, spec):
    write_participants(
        people(4).assign(participant_id=["sub-1", "sub-10", "sub-2", "sub-3"]), root / "participants.tsv"
    )
    for k in (1, 2, 3):
        (root / f"sub-{k:02d}_task-rest_timeseries.tsv").unlink()
    for name, seed in (("sub-1", 1), ("sub-10", 2), ("sub-2", 1)):
        write_series(series(seed), few["name"], root / f"{name}.tsv")
    participants, index = acquire_local(spec, root)
    assert [path.rsplit("/", 1)[1] for path in index["series"]] == ["sub-1.tsv", "sub-10.tsv", "sub-2.tsv"]
    assert participants["scan_group"].tolist() == ["sub-1", "sub-10", "sub-1", "sub-3"]


def test_results_and_hidden_folders_are_no_input(root, few, spec):
    for folder in ("results/mine/timeseries", ".git/annex"):
        write_series(series(9), few["name"], root / folder / "sub-01_task-rest_seg-few_timeseries.tsv")
    _, index = acquire_local(spec, root)
    assert index["series"][0] == str(root / "sub-01_task-rest_timeseries.tsv")


def test_the_files_that_are_read_are_listed(root, spec):
    (root / "sub-01_task-rest_timeseries.json").write_text('{"RepetitionTime": 2}')
    (root / "sub-01_notes.txt").write_text("hello")
    names = [path.name for path in local_files(spec, plan_local(spec, root))]
    series_of = [f"sub-{k:02d}_task-rest_timeseries.tsv" for k in (1, 2, 3)]
    assert names == ["participants.tsv", series_of[0], "sub-01_task-rest_timeseries.json", *series_of[1:]]


def test_images_are_recognised_unless_there_are_series(tmp_path, few, spec):
    folder, spec = tmp_path / "sub-01" / "func", {**spec, "kind": "local", "root": str(tmp_path)}
    folder.mkdir(parents=True)
    assert kind_of(spec) == "local"
    (folder / "sub-01_task-rest_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz").touch()
    (folder / "sub-01_task-rest_desc-confounds_timeseries.tsv").write_text("framewise_displacement\n0.1\n")
    assert kind_of(spec) == "derivatives"
    write_series(series(1), few["name"], tmp_path / "sub-01.tsv")
    assert kind_of(spec) == "local"


# what people get wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"participant_id": "Subject"}), "Rename Subject to participant_id"),
        (lambda t: t.rename(columns={"group": "diagnosis"}), "missing column group.*Rename diagnosis to group"),
        (lambda t: t.rename(columns={"sex": "Gender"}), "Rename Gender to sex"),
        (lambda t: t.drop(columns="age"), "missing column age .*Add it"),
        (lambda t: t.rename(columns={"site": "scanner"}), "missing column site .*Rename scanner to site"),
        (lambda t: t.assign(participant_id=["01", "02", "03"]), r"line 2: participant_id is '01'.*as in sub-01"),
        (lambda t: t.assign(participant_id=["sub-01", "sub_02", "sub-03"]), "line 3: participant_id is 'sub_02'"),
        (lambda t: t.assign(group="DYT"), r"contrast\.cases \(dystonia\); the column group has: DYT"),
        (lambda t: t.assign(group="dystonia"), r"contrast\.controls \(control\); the column group has: dystonia"),
        (lambda t: pd.concat([t, t.head(1)]), "participant_id not unique: sub-01"),
    ],
)
def test_a_wrong_participants_table_says_what_to_do(root, spec, change, message):
    rewrite(root, change)
    with pytest.raises(ValueError, match=rf"participants\.tsv.*{message}"):
        acquire_local(spec, root)


def test_participants_with_commas_or_elsewhere_are_recognised(root, spec):
    people().to_csv(root / "participants.tsv", index=False)
    with pytest.raises(ValueError, match="not separated by tabs"):
        acquire_local(spec, root)
    (root / "participants.tsv").rename(root / "Participants.csv")
    with pytest.raises(FileNotFoundError, match=r"participants\.tsv: no such.*found: Participants\.csv"):
        acquire_local(spec, root)


def test_a_folder_without_series_of_these_people_says_what_is_expected(root, spec):
    write_participants(people().assign(participant_id=["sub-1", "sub-2", "sub-3"]), root / "participants.tsv")
    with pytest.raises(FileNotFoundError, match=r"series of sub-01, sub-02, sub-03, but participants\.tsv has sub-1"):
        acquire_local(spec, root)
    with pytest.raises(FileNotFoundError, match=r"no task-motor among the series; there is rest: dataset\.task=rest"):
        acquire_local({**spec, "task": "motor"}, root)


def test_whom_the_table_excludes_stays_excluded(root, few, spec, plain):
    rewrite(root, lambda t: t.assign(exclusion_reason=["n/a", "tumour", "n/a"]))
    table, _ = prepared(spec, root, few, plain)
    assert table["exclusion_reason"].tolist() == ["", "tumour", ""]


def test_limit_and_groups_outside_the_contrast_become_reasons(root, few, spec, plain):
    rewrite(root, lambda t: t.assign(group=["dystonia", "control", "tremor"]))
    table, _ = prepared(spec, root, few, plain)
    assert table.loc["sub-03", "exclusion_reason"] == "group tremor is not part of the contrast"
    assert table["included"].tolist() == [True, True, False]
