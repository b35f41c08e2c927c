"""Denoising does what it says, and whatever is wrong with one subject becomes its exclusion reason."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from nilearn import signal
from nilearn.interfaces.fmriprep import load_confounds
from scipy.interpolate import CubicSpline

from dysconnect.data.series import read_series, write_series
from dysconnect.denoising.projection import projection
from dysconnect.planted.motion import head_motion, motion_artefact
from dysconnect.timeseries import (
    MOTION,
    UnusableError,
    check_series,
    denoise,
    kept_volumes,
    nuisance_regressors,
    prepare_cohort,
    prepare_subject,
)

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


# regressors


def regressors(confounds, spec):
    """Regressors of a table without series."""
    everything = np.ones(len(confounds), bool)
    return nuisance_regressors(np.zeros((len(confounds), 1)), confounds, everything, spec)


@pytest.fixture(scope="module")
def rich(confounds) -> pd.DataFrame:
    """A confounds table with all that fMRIPrep computes: two volumes not steady, jerks at known volumes."""
    rng, table = np.random.default_rng(6), confounds.copy()
    base = [*MOTION, "csf", "white_matter", "global_signal"]
    table[base[6:]] = 100 + rng.normal(size=(N_VOLUMES, 3))
    for name in base:
        table[f"{name}_derivative1"] = table[name].diff()
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[name].diff() ** 2
    table[[f"a_comp_cor_{k:02d}" for k in range(6)]] = rng.normal(size=(N_VOLUMES, 6))
    table["cosine00"] = np.cos(np.pi / N_VOLUMES * (np.arange(N_VOLUMES) + 0.5))
    table["std_dvars"] = np.r_[np.nan, np.ones(N_VOLUMES - 1)]
    table.loc[[40, 47, 90, 146], "framewise_displacement"] = 0.8
    table.loc[[43, 120, 121], "std_dvars"] = 1.7
    unsteady = np.eye(N_VOLUMES)[:, :2].astype(int)
    return table.assign(non_steady_state_outlier00=unsteady[:, 0], non_steady_state_outlier01=unsteady[:, 1])


SCRUB = {"fd_threshold": 0.5, "std_dvars_threshold": 1.5, "scrub": 5}


@pytest.mark.parametrize(("model", "count"), [("basic", 6), ("power2", 12), ("derivatives", 12), ("full", 24)])
def test_motion_models_are_parameters_differences_and_squares(confounds, denoise_spec, model, count):
    x = confounds[list(MOTION)].to_numpy()
    steps = np.zeros_like(x)
    steps[1:] = x[1:] - x[:-1]
    parts = {"basic": [x], "power2": [x, x**2], "derivatives": [x, steps], "full": [x, steps, x**2, steps**2]}
    made = regressors(confounds, {**denoise_spec, "motion": model})
    assert made.shape == (N_VOLUMES, count)
    np.testing.assert_allclose(made, np.hstack(parts[model]))
    assert regressors(confounds, {**denoise_spec, "motion": None}).shape == (N_VOLUMES, 0)


@pytest.mark.parametrize("model", ["basic", "power2", "derivatives", "full"])
def test_columns_and_volumes_are_those_of_load_confounds(tmp_path, rich, denoise_spec, model):
    rich.to_csv(tmp_path / "sub-1_task-rest_desc-confounds_timeseries.tsv", sep="\t", index=False, na_rep="n/a")
    masks = {f"a_comp_cor_{k:02d}": {"Mask": "combined"} for k in range(6)}
    (tmp_path / "sub-1_task-rest_desc-confounds_timeseries.json").write_text(json.dumps(masks))
    scan = tmp_path / "sub-1_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    scan.touch()
    spec = {**denoise_spec, "motion": model, "wm_csf": model, "global_signal": model, "compcor": "anat_combined"}
    spec |= {"n_compcor": 3, **SCRUB}
    theirs, volumes = load_confounds(
        str(scan), ("motion", "wm_csf", "global_signal", "compcor", "high_pass", "scrub"), motion=model, wm_csf=model,
        global_signal=model, compcor="anat_combined", n_compcor=3, scrub=5, fd_threshold=0.5, std_dvars_threshold=1.5,
        demean=False,
    )  # fmt: skip
    ours = regressors(rich, spec)
    np.testing.assert_array_equal(np.flatnonzero(kept_volumes(rich, N_VOLUMES, spec)), volumes)
    assert set(ours) == set(theirs) - {"cosine00"}  # drift is removed by our own filter
    np.testing.assert_allclose(ours.iloc[1:], theirs[ours.columns].iloc[1:], atol=1e-9)


def test_scrubbed_volumes_take_short_runs_with_them(rich, denoise_spec):
    gone = np.flatnonzero(~kept_volumes(rich, N_VOLUMES, {**denoise_spec, **SCRUB}))
    assert gone.tolist() == [0, 1, *range(40, 48), 90, 120, 121, *range(146, 150)]
    gone = np.flatnonzero(~kept_volumes(rich, N_VOLUMES, {**denoise_spec, **SCRUB, "scrub": 0}))
    assert gone.tolist() == [0, 1, 40, 43, 47, 90, 120, 121, 146]
    assert np.flatnonzero(~kept_volumes(rich, N_VOLUMES, denoise_spec)).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"motion": "full"}, r"confounds lack rot_y, rot_z; set denoise\.motion=null"),
        ({"wm_csf": "basic"}, r"confounds lack csf, white_matter; set denoise\.wm_csf=null"),
        ({"global_signal": "basic"}, r"lack global_signal; set denoise\.global_signal=regions to take .* or null"),
        ({"compcor": "anat_combined"}, r"confounds lack a_comp_cor_00; set denoise\.compcor=null"),
        ({"compcor": "anat_combined", "high_pass": None}, r"high-passed series.*set denoise\.high_pass"),
        ({"std_dvars_threshold": 1.5}, r"confounds lack std_dvars; set denoise\.std_dvars_threshold=null"),
        ({"fd_threshold": 0.01}, r"no volume of 150 is left .*displacement > 0\.01 mm.*loosen denoise\.fd_threshold"),
        (
            {"high_pass": 0.3},
            r"nothing lies between denoise\.high_pass=0\.3 Hz .* 0\.25 Hz, the highest frequency at 2 s",
        ),
    ],
)
def test_what_a_strategy_lacks_is_named_with_the_remedy(series, confounds, denoise_spec, choice, message):
    table = confounds.drop(columns=["rot_y", "rot_z"])
    with pytest.raises(UnusableError, match=message):
        denoise(series, table, TR, {**denoise_spec, "motion": None, **choice})


def test_a_strategy_that_needs_confounds_says_so_where_there_are_none(series, denoise_spec):
    with pytest.raises(
        UnusableError, match=r"no confounds table to take framewise_displacement from; set denoise\.fd_"
    ):
        denoise(series, None, TR, {**denoise_spec, "motion": None, "fd_threshold": 0.5})


def test_a_hole_in_the_confounds_is_named(series, confounds, denoise_spec):
    table = confounds.copy()
    table.loc[7, "trans_y"] = np.nan
    with pytest.raises(UnusableError, match=r"no number for trans_y of volume 8; .*denoise\.motion=null"):
        denoise(series, table, TR, denoise_spec)


# one projection


KEPT = np.ones(N_VOLUMES, bool)
KEPT[[0, 1, 30, 31, 32, 77, 101]] = False  # nilearn 0.13 interpolates a volume only if its mirror image is kept


def random_walks(columns: int) -> pd.DataFrame:
    """Regressors with drifts, as motion has them, [T, columns]."""
    return pd.DataFrame(np.random.default_rng(8).normal(size=(N_VOLUMES, columns)).cumsum(0))


def nilearn_clean(series, table, kept, spec):
    """The same strategy by nilearn."""
    band = spec["high_pass"] or spec["low_pass"]
    return signal.clean(
        series, confounds=table.to_numpy() if table.shape[1] else None, detrend=spec["detrend"], t_r=TR,
        sample_mask=None if kept.all() else np.flatnonzero(kept), standardize="zscore_sample",
        filter=spec["filter"] if band else False, high_pass=spec["high_pass"], low_pass=spec["low_pass"],
    )  # fmt: skip


@pytest.mark.parametrize("scrubbed", [False, True])
@pytest.mark.parametrize("detrend", [True, False])
@pytest.mark.parametrize(
    ("filter", "high", "low"),
    [("butterworth", 0.01, 0.1), ("butterworth", 0.008, None), ("butterworth", None, 0.1), ("butterworth", None, None),
     ("cosine", 0.01, None)],
)  # fmt: skip
@pytest.mark.parametrize("columns", [0, 1, 24])
def test_equals_nilearn_clean(series, denoise_spec, columns, filter, high, low, detrend, scrubbed):
    spec = {**denoise_spec, "filter": filter, "high_pass": high, "low_pass": low, "detrend": detrend}
    table, kept = random_walks(columns), KEPT if scrubbed else np.ones(N_VOLUMES, bool)
    if filter == "cosine":  # nilearn leaves its cosines out where a confound looks like one
        table = table.diff().fillna(0.0)
    drifting = series + np.linspace(0, 300, N_VOLUMES)[:, None]
    ours = projection(table, kept, TR, spec).clean(drifting)
    theirs, theirs_spec = table, spec
    if scrubbed and detrend and (filter == "cosine" or not (high or low)):
        # nilearn's trend counts the kept volumes, ours the seconds: hand it the clock as a confound
        theirs, theirs_spec = table.assign(clock=np.arange(N_VOLUMES)), {**spec, "detrend": False}
    np.testing.assert_allclose(ours, nilearn_clean(drifting, theirs, kept, theirs_spec), atol=1e-6)


@pytest.mark.parametrize("at", [[60, 61, 62, 87, 88, 89], [0, 5, 6, 149], [20, 129]])
def test_every_censored_volume_is_interpolated(series, denoise_spec, at):
    """Also those whose mirror image is censored too."""
    kept, table = np.ones(N_VOLUMES, bool), random_walks(6)
    kept[at] = False
    inside = slice(kept.argmax(), N_VOLUMES - kept[::-1].argmax())
    times = np.arange(N_VOLUMES)[inside]
    filled = [CubicSpline(np.flatnonzero(kept), x[kept])(times) for x in (series, table.to_numpy())]
    options = {"detrend": True, "standardize": None, "high_pass": 0.01, "low_pass": 0.1, "t_r": TR}
    x, c = (signal.clean(values, **options)[kept[inside]] for values in filled)
    design = np.c_[np.ones(len(x)), c]
    expected = x - design @ np.linalg.lstsq(design, x, rcond=None)[0]
    np.testing.assert_allclose(projection(table, kept, TR, denoise_spec)(series), expected, atol=1e-6)


@pytest.mark.parametrize("scrubbed", [False, True])
def test_the_cosine_strategy_is_an_orthogonal_projection(series, denoise_spec, scrubbed):
    kept, table = KEPT if scrubbed else np.ones(N_VOLUMES, bool), random_walks(12)
    spec = {**denoise_spec, "filter": "cosine"}
    denoising = projection(table, kept, TR, spec)
    once, back = denoising(series), np.zeros_like(series)
    back[kept] = once
    np.testing.assert_allclose(denoising(back), once, atol=1e-8)
    design = np.c_[table, np.arange(N_VOLUMES), np.ones(N_VOLUMES)][kept]
    np.testing.assert_allclose(design.T @ once / np.linalg.norm(design, axis=0)[:, None], 0, atol=1e-8)


@pytest.mark.parametrize("filter", ["butterworth", "cosine"])
@pytest.mark.parametrize("scrubbed", [False, True])
def test_a_pure_confound_is_gone(denoise_spec, filter, scrubbed):
    kept, table = KEPT if scrubbed else np.ones(N_VOLUMES, bool), random_walks(6)
    denoising = projection(table, kept, TR, {**denoise_spec, "filter": filter})
    mixed = 100 + table.to_numpy() @ np.random.default_rng(1).normal(size=(6, 4)) + np.arange(N_VOLUMES)[:, None]
    assert np.abs(denoising(mixed)).max() < 1e-10 * np.abs(mixed).max()
    np.testing.assert_array_equal(denoising.clean(mixed), 0)  # not rounding scaled up to one


@pytest.mark.parametrize("filter", ["butterworth", "cosine"])
def test_the_band_survives_and_the_rest_goes(denoise_spec, filter):
    time = np.arange(N_VOLUMES) + 0.5
    frequency = np.array([0.02, 0.05, 0.08, 0.004, 0.15, 0.22])
    waves = np.cos(2 * np.pi * frequency * TR * time[:, None])
    denoising = projection(
        pd.DataFrame(index=range(N_VOLUMES)), np.ones(N_VOLUMES, bool), TR, {**denoise_spec, "filter": filter}
    )
    left = denoising(waves)[20:-20] if filter == "butterworth" else denoising(waves)  # it rings at the ends
    share = (left**2).sum(0) / (waves[20:-20] ** 2).sum(0)
    assert share[:3].min() > 0.95
    assert share[3:].max() < 0.03


def outside_power(x: np.ndarray, high: float = 0.01, low: float = 0.1) -> np.ndarray:
    """Share of the power outside the band, a margin left to the filter's slopes."""
    frequency, power = np.fft.rfftfreq(len(x), TR), np.abs(np.fft.rfft(x, axis=0)) ** 2
    return power[(frequency < 0.5 * high) | (frequency > 1.5 * low)].sum(0) / power.sum(0)


@pytest.mark.parametrize("filter", ["butterworth", "cosine"])
def test_regression_brings_no_frequency_back(series, denoise_spec, filter):
    """Filtering first and regressing unfiltered confounds then does (Lindquist et al. 2019)."""
    everything, table = np.ones(N_VOLUMES, bool), pd.DataFrame(np.random.default_rng(2).normal(size=(N_VOLUMES, 24)))
    spec = {**denoise_spec, "filter": filter}
    filtered = projection(pd.DataFrame(index=range(N_VOLUMES)), everything, TR, spec)(series)
    design = np.c_[np.ones(N_VOLUMES), table]
    one_by_one = filtered - design @ np.linalg.lstsq(design, filtered, rcond=None)[0]
    together = projection(table, everything, TR, spec)(series)
    assert outside_power(one_by_one).mean() > 0.05
    assert outside_power(together).mean() < 0.003
    if filter == "cosine":  # exactly none: what is left is orthogonal to every cosine outside
        again = projection(pd.DataFrame(index=range(N_VOLUMES)), everything, TR, spec)(together)
        np.testing.assert_allclose(again, together, atol=1e-9)


@pytest.mark.parametrize("twice", [False, True])
def test_degrees_of_freedom_are_counted(denoise_spec, twice):
    table, everything = random_walks(10), np.ones(N_VOLUMES, bool)
    table = pd.concat([table, table], axis=1) if twice else table  # a copy costs nothing
    none = {**denoise_spec, "high_pass": None, "low_pass": None}
    assert projection(table, everything, TR, none).degrees_of_freedom == N_VOLUMES - 2 - 10
    assert projection(table, KEPT, TR, none).degrees_of_freedom == KEPT.sum() - 2 - 10
    band = 54  # cosines from 0.01 to 0.1 Hz in 300 s: 2 x 300 s x 0.09 Hz
    cosine = projection(table, everything, TR, {**denoise_spec, "filter": "cosine"})
    assert cosine.degrees_of_freedom == pytest.approx(band - 10, abs=1.01)  # the trend leaks into the band
    butterworth = projection(table, everything, TR, denoise_spec)
    assert butterworth.degrees_of_freedom == pytest.approx(band - 10, abs=2)


def test_the_trend_of_a_scan_with_gaps_is_in_seconds(denoise_spec):
    drift = np.arange(N_VOLUMES, dtype=float)[:, None]
    for filter in ("butterworth", "cosine"):
        for high in (None, 0.01):
            spec = {**denoise_spec, "filter": filter, "high_pass": high, "low_pass": None}
            left = projection(pd.DataFrame(index=range(N_VOLUMES)), KEPT, TR, spec)(drift)
            np.testing.assert_allclose(left, 0, atol=1e-9)


def test_a_low_pass_above_the_highest_frequency_removes_nothing(series, denoise_spec):
    spec = {**denoise_spec, "motion": None, "low_pass": 0.25}
    np.testing.assert_allclose(
        denoise(series, None, TR, spec), denoise(series, None, TR, {**spec, "low_pass": None}), atol=1e-12
    )


def test_too_short_to_filter_says_so(denoise_spec):
    with pytest.raises(UnusableError, match=r"20 volumes are too few to be filtered; set denoise\.min_seconds"):
        denoise(make_series()[:20], None, TR, {**denoise_spec, "motion": None})


# motion-like artefacts, planted: in the order of the literature (Ciric et al. 2017; Parkes et al. 2018)

STRATEGIES = {
    "band": {"motion": None},
    "basic": {"motion": "basic"},
    "full": {"motion": "full"},
    "scrubbed": {"motion": "full", "fd_threshold": 0.3, "scrub": 0},
    "compcor": {"motion": "full", "compcor": "anat_combined", "n_compcor": 5},
    "tissue": {"motion": "full", "wm_csf": "full"},
    "gsr": {"motion": "full", "global_signal": "regions"},
}


def plant_motion(n_volumes: int, n_regions: int, mean_fd: float, rng) -> tuple[pd.DataFrame, np.ndarray]:
    """Confounds and artefact [T, N]: linear in the parameters, local jolts after movements, one course in all."""
    table = head_motion(n_volumes, mean_fd, rng)
    moves = table[list(MOTION)].to_numpy() * np.r_[np.ones(3), np.full(3, 50.0)]  # mm
    moves = np.hstack([moves - moves.mean(0), np.diff(moves, axis=0, prepend=moves[:1])])
    displacement = table["framewise_displacement"].fillna(0).to_numpy()
    shared = np.convolve(displacement * rng.normal(size=n_volumes), np.exp(-np.arange(8) / 3))[:n_volumes] * 15
    artefact = 3 * moves @ rng.normal(size=(12, n_regions)) + shared[:, None] * rng.uniform(0.5, 1.5, n_regions)
    artefact += motion_artefact(table, rng.uniform(-60, 60, (n_regions, 3)), 20.0, rng)
    table["csf"], table["white_matter"] = shared + 2 * rng.normal(size=(2, n_volumes))
    components = np.linalg.svd(artefact - artefact.mean(0), full_matrices=False)[0][:, :5] * np.sqrt(n_volumes)
    names = [f"a_comp_cor_{k:02d}" for k in range(5)]
    table[names] = components + rng.normal(size=components.shape)
    return table, artefact


def assert_literature(left: dict) -> None:
    """What is left of the artefact, by strategy."""
    assert left["band"] > left["basic"] > left["full"] > left["scrubbed"]
    assert left["full"] > left["compcor"] > max(left["tissue"], left["gsr"])
    assert min(left["band"] - left["full"], left["full"] - left["gsr"]) > 0.2 * left["band"]


def test_planted_artefacts_shrink_in_the_order_of_the_literature(denoise_spec):
    """Their variance by strategy; the map is linear, so it says what becomes of the artefact alone."""
    rng, left = np.random.default_rng(0), dict.fromkeys(STRATEGIES, 0.0)
    for mean_fd in rng.uniform(0.08, 0.4, 12):
        table, artefact = plant_motion(200, 40, mean_fd, rng)
        series = 10 * rng.normal(size=(200, 40)) + artefact
        for name, choice in STRATEGIES.items():
            spec = {**denoise_spec, **choice}
            kept = kept_volumes(table, 200, spec)
            used = nuisance_regressors(series, table, kept, spec)
            left[name] += projection(used, kept, TR, spec)(artefact).var() / artefact.var()
    assert_literature(left)


def test_real_series_with_planted_motion_lose_its_trace_in_connectivity(real_data, denoise_spec):
    """ABIDE, not filtered: correlation of connections with displacement over people, and their error."""
    with np.load(real_data / "abide" / "small" / "ho111_timeseries_nofilt_noglobal.npz") as archive:
        scans = [x for x in (archive[name] for name in archive.files) if x.shape == (176, 111) and np.ptp(x, 0).all()]
    rng, upper = np.random.default_rng(0), np.triu_indices(111, 1)
    edges = {(name, planted): [] for name in STRATEGIES for planted in (False, True)}
    displacement = rng.permutation(np.linspace(0.08, 0.4, len(scans)))
    for scan, mean_fd in zip(scans, displacement):
        clean = 10 * (scan - scan.mean(0)) / scan.std(0)
        table, artefact = plant_motion(176, 111, mean_fd, rng)
        for (name, planted), own in edges.items():
            series = clean + artefact if planted else clean.astype(float)
            left = denoise(series, table, TR, {**denoise_spec, **STRATEGIES[name]})
            own.append(np.arctanh(np.corrcoef(left.T)[upper]))
    z = (displacement - displacement.mean()) / displacement.std()
    traces, errors = {}, {}
    for name in STRATEGIES:
        planted, truth = np.array(edges[name, True]), np.array(edges[name, False])
        traces[name] = np.median(z @ planted / planted.std(0) / len(z))
        errors[name] = np.sqrt(((planted - truth) ** 2).mean())
    assert len(scans) >= 20
    assert_literature(errors)
    # six parameters hardly help, 24 leave much of it, the global signal takes nearly all
    assert min(traces["band"], traces["basic"]) > traces["full"] > traces["scrubbed"] > 0.15
    assert max(abs(traces["gsr"]), abs(traces["tissue"])) < 0.15


# denoising


def test_output_is_z_scored(series, confounds, denoise_spec):
    cleaned = denoise(series, confounds, TR, denoise_spec)
    np.testing.assert_allclose(cleaned.mean(0), 0, atol=1e-8)
    np.testing.assert_allclose(cleaned.std(0, ddof=1), 1, atol=1e-6)


def test_without_filter_it_is_a_least_squares_residual(series, confounds, plain):
    spec = {**plain, "motion": "full", "detrend": True}
    design = np.c_[np.ones(N_VOLUMES), np.arange(N_VOLUMES), regressors(confounds, spec)]
    residual = series - design @ np.linalg.lstsq(design, series, rcond=None)[0]
    expected = residual / residual.std(0, ddof=1)
    np.testing.assert_allclose(denoise(series, confounds, TR, spec), expected, atol=1e-5)


@pytest.mark.parametrize("motion", ["basic", "power2", "derivatives", "full"])
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
    gone = np.corrcoef(denoise(both, None, TR, {**spec, "global_signal": "regions"}).T)[np.triu_indices(12, 1)]
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
    "sub-no-entry": r"no series file in the index; check that the scan was acquired",
    "sub-no-fd": r"framewise_displacement holds no number in 150 of 150 volumes",
    "sub-other-atlas": r"lacks 2 of the atlas's 12 regions .* atlas=NAME",
    "sub-no-rotation": r"confounds lack rot_x; set denoise\.motion=null",
    "sub-no-displacement": r"confounds .*framewise_displacement.*[;.:] ",
    "sub-no-motion": r"no confounds table to take framewise_displacement .* set denoise\.fd_threshold=null",
    "sub-jerky": r"56 of 150 volumes x 2 s = 112 s are left after scrubbing \(framewise displacement > 0\.5 mm\), "
    r"fewer than the 120 s asked; set denoise\.min_seconds",
}


def jolted(confounds: pd.DataFrame, volumes) -> pd.DataFrame:
    """A copy with too much displacement in some volumes."""
    table = confounds.copy()
    table.loc[volumes, "framewise_displacement"] = 0.6
    return table


@pytest.fixture(scope="module")
def scrubbing(denoise_spec) -> dict:
    """The standard strategy with volumes of more than 0.5 mm left out."""
    return {**denoise_spec, "fd_threshold": 0.5}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, few, confounds, scrubbing):
    """Prepare two good subjects, the second scrubbed, among all bad ones; returns table, index and folder."""
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
        elif name == "sub-jerky":
            motion = jolted(motion, [*range(0, 90), 96, 98, 149])
        elif name == "sub-good-2":
            motion = jolted(motion, [60, 90])
        elif name.removeprefix("sub-no-") in row:
            row[name.removeprefix("sub-no-")] = {"sub-no-age": np.nan}.get(name, "")
        paths = tmp_path / f"{name}.tsv", tmp_path / f"{name}-confounds.tsv"
        write_series(x, regions, paths[0])
        motion.to_csv(paths[1], sep="\t", index=False, na_rep="n/a")
        rows.append(row)
        if name != "sub-no-entry":
            entry = {"participant_id": name, "series": str(paths[0]), "key": "", "sha256": "0" * 64}
            own = "" if name == "sub-no-motion" else str(paths[1])
            entries.append({**entry, "confounds": own, "repetition_time": TR})
    names = {"atlas": "few", "denoise": "standard"}
    participants, index = pd.DataFrame(rows), pd.DataFrame(entries)
    return (*prepare_cohort(participants, index, few, scrubbing, tmp_path, names), tmp_path)


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_subject_is_excluded_with_its_reason(mixed, name):
    table, index, _ = mixed
    row = table.set_index("participant_id").loc[name]
    assert not row["included"]
    assert name not in set(index["participant_id"])
    assert re.search(REASONS[name], row["exclusion_reason"]), row["exclusion_reason"]


def test_good_subjects_go_on_and_nobody_disappears(mixed, series, confounds, few, scrubbing):
    table, index, folder = mixed
    assert table["participant_id"].tolist() == ["sub-good-1", *REASONS, "sub-good-2"]
    table, index = table.set_index("participant_id"), index.set_index("participant_id")
    for name, motion, kept in (
        ("sub-good-1", confounds, N_VOLUMES),
        ("sub-good-2", jolted(confounds, [60, 90]), N_VOLUMES - 2),
    ):
        good = table.loc[name]
        assert good["included"]
        assert good["exclusion_reason"] == ""
        assert good["n_volumes"] == N_VOLUMES
        assert good["seconds_kept"] == kept * TR
        assert good["mean_fd"] == pytest.approx(motion["framewise_displacement"].mean(), rel=1e-5)  # before scrubbing
        path = folder / index.loc[name, "series"]
        assert path.name == f"{name}_task-rest_seg-few_desc-standard_timeseries.tsv"
        written = read_series(path, "", few)
        assert written.shape == (kept, 12)
        np.testing.assert_allclose(written, denoise(series, motion, TR, scrubbing), atol=2e-3)  # six digits in files


def test_sidecar_says_what_was_done(mixed, scrubbing):
    _, index, folder = mixed
    sidecar = json.loads((folder / index["series"].iloc[-1]).with_suffix(".json").read_text())
    assert sidecar["RepetitionTime"] == TR
    assert sidecar["Denoising"] == scrubbing
    assert sidecar["SourceSHA256"] == "0" * 64
    assert sidecar["RegionsWithoutSignal"] == []
    assert sidecar["CensoredVolumes"] == [60, 90]
    assert sidecar["NumberOfVolumes"] == N_VOLUMES - 2
    assert sidecar["Regressors"][:7] == [*MOTION, "trans_x_derivative1"]
    assert len(sidecar["Regressors"]) == 24
    assert sidecar["DegreesOfFreedom"] == pytest.approx(54 - 24, abs=4)


@pytest.fixture
def one(tmp_path, few, rich, series):
    """Prepare one subject with a rich table of confounds, under a strategy."""
    write_series(series, few["name"], tmp_path / "a.tsv")
    rich.to_csv(tmp_path / "confounds.tsv", sep="\t", index=False, na_rep="n/a")
    row = pd.Series({"participant_id": "sub-1", "group": "HC", "age": 50.0, "sex": "F", "site": "A"})
    paths = {"series": str(tmp_path / "a.tsv"), "confounds": str(tmp_path / "confounds.tsv")}
    entry = pd.Series({"participant_id": "sub-1", **paths, "key": "", "repetition_time": TR, "sha256": ""})
    return lambda spec: prepare_subject(row, entry, few, spec)


def test_too_few_degrees_of_freedom_are_refused(one, denoise_spec):
    spec = {**denoise_spec, "wm_csf": "full", "global_signal": "full", "min_degrees_of_freedom": 20}
    message = (
        r"the filter and 36 regressors leave 1\d\.\d degrees of freedom of 148 volumes, fewer than the 20 asked; take"
    )
    assert re.match(message, one(spec).exclusion_reason)
    assert one({**spec, "min_degrees_of_freedom": 10}).exclusion_reason == ""


def test_scrubbing_out_of_the_cosine_band_is_refused(one, denoise_spec):
    """Every frequency outside the band costs a volume: nothing is left when the volumes are fewer."""
    spec = {**denoise_spec, **SCRUB, "filter": "cosine", "motion": "full", "low_pass": 0.03}
    assert "degrees of freedom of 133 volumes" in one(spec).exclusion_reason


def test_components_of_other_masks_are_left_alone(one, denoise_spec, tmp_path):
    spec = {**denoise_spec, "motion": None, "compcor": "anat_combined", "n_compcor": 2}
    assert one(spec).removed["Regressors"] == ["a_comp_cor_00", "a_comp_cor_01"]
    masks = {f"a_comp_cor_{k:02d}": {"Mask": mask} for k, mask in enumerate(["CSF", "WM", "WM", "combined"])}
    (tmp_path / "confounds.json").write_text(json.dumps(masks))
    assert one(spec).removed["Regressors"] == ["a_comp_cor_03", "a_comp_cor_04"]
    assert one({**spec, "n_compcor": "all"}).removed["Regressors"] == [f"a_comp_cor_{k:02d}" for k in (3, 4, 5)]
    (tmp_path / "confounds.json").write_text('{"a_comp')
    assert re.match(r"confounds\.json is no JSON .*mend it", one(spec).exclusion_reason)


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
    table, kept = prepare_cohort(people, index, few, plain, tmp_path, names)
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
        prepare_cohort(people, index, few, plain, tmp_path, names)
    table, _ = prepare_cohort(people, index, few, plain, tmp_path, names, covariates=["site"])
    assert table["included"].tolist() == [True]
