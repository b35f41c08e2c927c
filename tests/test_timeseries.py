"""Denoising does what it says, and whatever is wrong with one subject becomes its exclusion reason."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from nilearn import signal

from dysconnect.series import read_series, write_series
from dysconnect.timeseries import MOTION, check_series, denoise, motion_regressors, prepare_cohort

TR = 2.0
N_VOLUMES = 150


@pytest.fixture(scope="module")
def few(nodes) -> pd.DataFrame:
    """Twelve regions."""
    return nodes.head(12)


@pytest.fixture
def plain(denoise_spec) -> dict:
    """Nothing but z-scoring."""
    return {**denoise_spec, "motion": None, "detrend": False, "high_pass": None, "low_pass": None}


@pytest.fixture(scope="module")
def confounds() -> pd.DataFrame:
    """Random walks of the six parameters, and displacement."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame(rng.normal(0, 0.01, (N_VOLUMES, 6)).cumsum(0), columns=list(MOTION))
    return table.assign(framewise_displacement=np.r_[np.nan, rng.uniform(0.05, 0.25, N_VOLUMES - 1)])


@pytest.fixture
def series() -> np.ndarray:
    """BOLD of twelve regions in scanner units, [T, 12]."""
    return make_series()


def make_series() -> np.ndarray:
    """Return the same series every time."""
    return 1000 + 10 * np.random.default_rng(4).normal(size=(N_VOLUMES, 12))


# motion regressors


def test_24_regressors_are_parameters_differences_and_all_squares(confounds):
    x = confounds[list(MOTION)].to_numpy()
    steps = np.zeros_like(x)
    steps[1:] = x[1:] - x[:-1]
    full = motion_regressors(confounds, "full")
    np.testing.assert_allclose(full, np.c_[x, steps, x**2, steps**2])
    np.testing.assert_allclose(motion_regressors(confounds, "derivatives"), full[:, :12])
    np.testing.assert_allclose(motion_regressors(confounds, "basic"), full[:, :6])
    assert motion_regressors(confounds, None) is None


def test_absent_motion_columns_are_named_with_the_remedy(confounds):
    with pytest.raises(ValueError, match=r"confounds lack rot_y, rot_z; set denoise\.motion=null"):
        motion_regressors(confounds.drop(columns=["rot_y", "rot_z"]), "full")


# denoising


def test_output_is_z_scored(series, confounds, denoise_spec):
    cleaned = denoise(series, confounds, TR, denoise_spec)
    np.testing.assert_allclose(cleaned.mean(0), 0, atol=1e-8)
    np.testing.assert_allclose(cleaned.std(0, ddof=1), 1, atol=1e-6)


def test_without_filter_it_is_a_least_squares_residual(series, confounds, plain):
    spec = {**plain, "motion": "full", "detrend": True}
    design = np.c_[np.ones(N_VOLUMES), np.arange(N_VOLUMES), motion_regressors(confounds, "full")]
    residual = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
    expected = residual / residual.std(0, ddof=1)
    np.testing.assert_allclose(denoise(series, confounds, TR, spec), expected, atol=1e-5)


def test_equals_nilearn_clean(series, confounds, denoise_spec):
    expected = signal.clean(
        series, confounds=motion_regressors(confounds, "full"), detrend=True, standardize="zscore_sample",
        high_pass=0.01, low_pass=0.1, t_r=TR, standardize_confounds=True,
    )  # fmt: skip
    np.testing.assert_allclose(denoise(series, confounds, TR, denoise_spec), expected, atol=1e-8)


@pytest.mark.parametrize("motion", ["basic", "derivatives", "full"])
def test_planted_motion_is_removed(series, confounds, plain, motion):
    course = confounds["trans_x"].to_numpy()
    moved = series + 500 * (course - course.mean())[:, None] / course.std()
    untouched = denoise(moved, confounds, TR, plain)
    cleaned = denoise(moved, confounds, TR, {**plain, "motion": motion})
    assert np.abs(np.corrcoef(course, untouched.T)[0, 1:]).min() > 0.99
    assert np.abs(np.corrcoef(course, cleaned.T)[0, 1:]).max() < 1e-6


def test_squared_motion_needs_the_full_model(series, confounds, plain):
    course = confounds["rot_z"].to_numpy() ** 2
    moved = series + 500 * (course - course.mean())[:, None] / course.std()
    left = {
        motion: np.abs(np.corrcoef(course, denoise(moved, confounds, TR, {**plain, "motion": motion}).T)[0, 1:]).max()
        for motion in ("derivatives", "full")
    }
    assert left["full"] < 1e-6 < 0.05 < left["derivatives"]


def test_band_pass_keeps_the_resting_band_and_removes_the_rest(plain):
    time = np.arange(300) * TR
    kept, removed = np.sin(2 * np.pi * 0.05 * time), np.sin(2 * np.pi * 0.2 * time)
    cleaned = denoise((kept + removed)[:, None], None, TR, {**plain, "high_pass": 0.01, "low_pass": 0.1})[:, 0]
    assert np.corrcoef(cleaned, kept)[0, 1] > 0.98
    assert abs(np.corrcoef(cleaned, removed)[0, 1]) < 0.05


def test_detrending_removes_a_drift(series, plain):
    drift = np.linspace(0, 500, N_VOLUMES)
    cleaned = denoise(series + drift[:, None], None, TR, {**plain, "detrend": True})
    assert np.abs(np.corrcoef(drift, cleaned.T)[0, 1:]).max() < 1e-6


@pytest.mark.parametrize("detrend", [True, False])
def test_global_signal_is_removed_only_when_asked(series, plain, detrend):
    shared = 30 * np.random.default_rng(5).normal(size=N_VOLUMES)
    both, spec = series + shared[:, None], {**plain, "detrend": detrend}
    kept = np.corrcoef(denoise(both, None, TR, spec).T)[np.triu_indices(12, 1)]
    gone = np.corrcoef(denoise(both, None, TR, {**spec, "global_signal": True}).T)[np.triu_indices(12, 1)]
    assert kept.min() > 0.8
    assert gone.mean() == pytest.approx(-1 / 11, abs=0.02)  # residuals of their own mean sum to zero


@pytest.mark.parametrize("constant", [0.0, 1000.0, 0.1, 1000.1])
def test_constant_region_stays_zero(series, confounds, denoise_spec, constant):
    series[:, 3] = constant
    cleaned = denoise(series, confounds, TR, denoise_spec)
    np.testing.assert_array_equal(cleaned[:, 3], 0)
    assert (np.delete(cleaned, 3, axis=1).std(0) > 0.9).all()
    assert np.isfinite(cleaned).all()


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_constant_regions_count_as_missing(series, denoise_spec, constant):
    series[:, :3] = constant
    with pytest.raises(ValueError, match=r"25% of the regions are constant .*more than 10%; .*max_missing_regions"):
        check_series(series, TR, denoise_spec)
    check_series(series, TR, {**denoise_spec, "max_missing_regions": 0.25})


# a cohort of good and bad subjects

REASONS = {
    "sub-nan": r"75 of 150 volumes hold NaN or infinity \(first: volume 76\); preprocess",
    "sub-short": r"50 volumes x 2 s = 100 s, fewer than the 120 s asked; set denoise\.min_seconds",
    "sub-dead": r"50% of the regions are constant .* set denoise\.max_missing_regions",
    "sub-other-length": r"150 volumes but 149 rows of confounds; they must agree",
    "sub-moving": r"mean framewise displacement 1\.20 mm, more than 0\.9 mm; set denoise\.max_mean_fd",
    "sub-no-age": r"age is missing .*participants\.tsv",
    "sub-no-sex": r"sex is 'missing'; expected F or M in participants\.tsv",
    "sub-no-site": r"site is missing; name the scanner or centre in participants\.tsv",
    "sub-no-file": r"series file .* is missing",
    "sub-no-entry": r"no series file in the index; check that the scan was acquired",
    "sub-no-fd": r"mean_fd is missing: without a motion estimate",
    "sub-no-confounds-file": r"confounds file .* is missing",
    "sub-other-atlas": r"lacks 2 of the atlas's 12 regions .* atlas=NAME",
    "sub-no-rotation": r"confounds lack rot_x; set denoise\.motion=null",
    "sub-no-displacement": r"confounds .*framewise_displacement.*[;.:] ",
    "sub-no-motion": r"confounds.* set denoise\.motion=null",
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, few, confounds, denoise_spec):
    """Prepare two good subjects among all bad ones; returns the table, the index and the folder."""
    rows, entries, tmp_path = [], [], tmp_path_factory.mktemp("mixed")
    for name in ["sub-good-1", *REASONS, "sub-good-2"]:
        x, motion, regions = make_series(), confounds.copy(), few["name"]
        row = {"participant_id": name, "group": "HC", "age": 50.0, "sex": "F", "site": "A"}
        if name == "sub-nan":
            x[75:] = np.nan
        elif name == "sub-short":
            x, motion = x[:50], motion.iloc[:50]
        elif name == "sub-dead":
            x[:, ::2] = 0
        elif name == "sub-other-length":
            motion = motion.iloc[1:]
        elif name == "sub-moving":
            motion["framewise_displacement"] = 1.2
        elif name == "sub-no-fd":
            motion["framewise_displacement"] = np.nan
        elif name == "sub-no-rotation":
            motion = motion.drop(columns="rot_x")
        elif name == "sub-no-displacement":
            motion = motion.drop(columns="framewise_displacement")
        elif name == "sub-other-atlas":
            x, regions = x[:, :10], regions[:10]
        elif name == "sub-no-motion":
            row["mean_fd"] = 0.1
        elif name.removeprefix("sub-no-") in row:
            row[name.removeprefix("sub-no-")] = {"sub-no-age": np.nan}.get(name, "")
        paths = tmp_path / f"{name}.tsv", tmp_path / f"{name}-confounds.tsv"
        if name != "sub-no-file":
            write_series(x, regions, paths[0])
        if name != "sub-no-confounds-file":
            motion.to_csv(paths[1], sep="\t", index=False, na_rep="n/a")
        rows.append(row)
        if name != "sub-no-entry":
            entry = {"participant_id": name, "series": str(paths[0]), "key": "", "sha256": "0" * 64}
            own = "" if name == "sub-no-motion" else str(paths[1])
            entries.append({**entry, "confounds": own, "repetition_time": TR})
    names = {"atlas": "few", "denoise": "standard"}
    participants, index = pd.DataFrame(rows), pd.DataFrame(entries)
    return (*prepare_cohort(participants, index, few, denoise_spec, tmp_path / "clean", names), tmp_path)


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_subject_is_excluded_with_its_reason(mixed, name):
    table, index, _ = mixed
    row = table.set_index("participant_id").loc[name]
    assert not row["included"]
    assert name not in set(index["participant_id"])
    assert re.search(REASONS[name], row["exclusion_reason"]), row["exclusion_reason"]


def test_good_subjects_go_on_and_nobody_disappears(mixed, series, confounds, few, denoise_spec):
    table, index, folder = mixed
    assert table["participant_id"].tolist() == ["sub-good-1", *REASONS, "sub-good-2"]
    good = table.set_index("participant_id").loc["sub-good-2"]
    assert good["included"]
    assert good["exclusion_reason"] == ""
    assert good["n_volumes"] == N_VOLUMES
    assert good["seconds_kept"] == N_VOLUMES * TR
    assert good["mean_fd"] == pytest.approx(confounds["framewise_displacement"].mean(), rel=1e-5)
    path = folder / index.set_index("participant_id").loc["sub-good-2", "series"]
    assert path.name == "sub-good-2_task-rest_seg-few_desc-standard_timeseries.tsv"
    expected = denoise(series, confounds, TR, denoise_spec)
    np.testing.assert_allclose(read_series(path, "", few), expected, atol=2e-3)  # six digits in the files


def test_sidecar_says_what_was_done(mixed, denoise_spec):
    _, index, folder = mixed
    sidecar = json.loads((folder / index["series"].iloc[0]).with_suffix(".json").read_text())
    assert sidecar["RepetitionTime"] == TR
    assert sidecar["Denoising"] == denoise_spec
    assert sidecar["SourceSHA256"] == "0" * 64
    assert sidecar["RegionsWithoutSignal"] == []


def test_a_cohort_of_nobody_is_refused_with_the_reasons(tmp_path, few, denoise_spec):
    participants = pd.DataFrame({"participant_id": ["sub-1", "sub-2"], "age": 50.0, "sex": "F", "site": "A"})
    index = pd.DataFrame(columns=["participant_id", "series", "key", "confounds", "repetition_time", "sha256"])
    with pytest.raises(ValueError, match=r"none of the 2 subjects can be used\. .*no series file in the index"):
        prepare_cohort(participants, index, few, denoise_spec, tmp_path, {"atlas": "few", "denoise": "standard"})


def test_a_reason_from_acquire_is_kept_and_the_scan_is_not_read(tmp_path, few, plain):
    people = pd.DataFrame(
        {"participant_id": ["sub-1", "sub-2"], "group": "DYT", "age": 40.0, "sex": "F", "site": "A", "mean_fd": 0.1}
    ).assign(exclusion_reason=["could not be fetched: 404", ""])
    write_series(make_series(), few["name"], tmp_path / "b.tsv")
    index = pd.DataFrame(
        {"participant_id": people["participant_id"], "series": [tmp_path / "gone.tsv", str(tmp_path / "b.tsv")],
         "key": "", "confounds": "", "repetition_time": TR, "sha256": ""}
    )  # fmt: skip
    names = {"atlas": "few", "denoise": "plain"}
    table, kept = prepare_cohort(people, index, few, plain, tmp_path / "clean", names)
    assert table["exclusion_reason"].tolist() == ["could not be fetched: 404", ""]
    assert table["included"].tolist() == [False, True]
    assert kept["participant_id"].tolist() == ["sub-2"]


def test_what_is_known_of_nobody_need_not_be_asked_for(tmp_path, few, plain):
    people = pd.DataFrame({"participant_id": ["sub-1"], "group": "DYT", "sex": "", "site": "A"})
    write_series(make_series(), few["name"], tmp_path / "a.tsv")
    index = pd.DataFrame(
        [{"participant_id": "sub-1", "series": str(tmp_path / "a.tsv"), "key": "", "confounds": "",
          "repetition_time": TR, "sha256": ""}]
    )  # fmt: skip
    names = {"atlas": "few", "denoise": "plain"}
    with pytest.raises(ValueError, match=r"none of the 1 subjects.*age is missing"):
        prepare_cohort(people, index, few, plain, tmp_path / "clean", names)
    table, _ = prepare_cohort(people, index, few, plain, tmp_path / "clean", names, covariates=["site"])
    assert table["included"].tolist() == [True]
