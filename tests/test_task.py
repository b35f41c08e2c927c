"""Task connectivity: all responses leave, what is shared beyond them is found again, and nothing else is called it."""

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dysconnect.data.estimate import scan_connectome
from dysconnect.data.measures import fisher_z
from dysconnect.data.timing import Timing
from dysconnect.denoising.projection import cosines
from dysconnect.denoising.regressors import UnusableError
from dysconnect.denoising.task import block_courses, flexible_responses, task_design, task_regression
from dysconnect.dynamics.lagged import delay_and_noise
from dysconnect.localize.beside import beside
from dysconnect.localize.severity import score_statistics
from dysconnect.planted import tapping
from dysconnect.planted.motion import motion_artefact
from dysconnect.planted.tapping import Tapping, edge_sources, tapping_events, tapping_motion, tapping_series

T, TR, N = 360, 2.0, 8


def task_connectome(series, regression) -> SimpleNamespace:
    """What the stages make of a person: edges of both measures, activation, volumes, freedom and motion."""
    timing = Timing(TR, regression.remove.kept, regression.load, regression.activation(series))
    cleaned = regression.remove.clean(series)
    made = {name: scan_connectome(cleaned, name, None, timing) for name in ("task", "task_change")}
    return SimpleNamespace(
        task=made["task"].edges,
        change=made["task_change"].edges,
        activation=made["task"].regional[0],
        n_volumes={name: int(rows.sum()) for name, rows in regression.volumes.items()},
        freedom=regression.refuse_short(),
        mean_fd={name.removeprefix("mean_fd_"): value for name, value in regression.mean_displacement().items()},
    )


PLAIN = {
    "motion": None, "wm_csf": None, "global_signal": None, "compcor": None, "n_compcor": 5, "fd_threshold": None,
    "std_dvars_threshold": None, "scrub": 5, "detrend": True, "high_pass": 0.01, "min_seconds": 240,
    "min_degrees_of_freedom": 100,
}  # fmt: skip
GUARDED = {**PLAIN, "motion": "full", "fd_threshold": 0.5}
ROWS, COLS = np.triu_indices(N, 1)
BACKGROUND = np.vstack([np.eye(N), np.full(N, 0.5)])  # what regions fluctuate by, and what all share
PLANTED = (ROWS == 0) & (COLS == 1)
ACTIVE = np.array([1, 1, 1, 1, 1, 1, 0, 0.0])
UNCOUPLED = ~PLANTED & (COLS < 6)  # both ends respond to tapping
PLACES = [
    [-36, -22, 56],
    [-30, -20, 50],
    [-20, -10, 60],
    [36, -22, 56],
    [-12, -18, 6],
    [20, -60, -30],
    [26, 2, 2],
    [-26, 2, 2],
]


def blocks(n=12, duration=30.0, every=62.0, kinds=("left", "right", "both"), first=0.0):
    return pd.DataFrame(
        {"onset": first + every * np.arange(n), "duration": duration, "trial_type": np.resize(kinds, n)}
    )


@pytest.fixture(scope="module")
def design():
    return task_design(blocks(), T, TR)


def head(rng, n=T):
    return tapping_motion(blocks(), n, TR, 0.14, 0.0, rng)


# the regression


def test_a_flexible_response_has_one_column_for_each_volume_since_the_onset():
    events = pd.DataFrame({"onset": [0.0, 62.0, 101.0], "duration": [30.018, 30.0, 0.0], "trial_type": ["a", "a", "b"]})
    columns = flexible_responses(events, 60, TR)
    assert list(columns)[:2] == ["a +0", "a +1"]
    assert columns.shape == (60, 25 + 10)
    assert np.flatnonzero(columns["a +0"]).tolist() == [0, 31]
    assert np.flatnonzero(columns["a +24"]).tolist() == [24, 55]
    assert np.flatnonzero(columns["b +0"]).tolist() == [51]  # the first volume that begins after it
    assert columns.filter(like="a +").sum(axis=1).max() == 1


def test_the_slope_of_a_block_is_its_ramp_through_the_response(design):
    time = np.arange(0, 720, 0.5)
    ramp = np.where(time % 62 < 30, time % 62 / 15 - 1, 0) * (time < 62)
    course = np.convolve(ramp, tapping.haemodynamic_response(0.5, np.array([6.0]))[:, 0])[: len(time) : 4]
    assert np.corrcoef(course, design.responses["left at 0 s, slope"])[0, 1] > 0.998
    brief = task_design(blocks(duration=9.0), T, TR).responses
    assert not any("slope" in name for name in brief)


@pytest.mark.parametrize("seconds", [0.72, 0.9, 1.1, 2.2])
def test_onsets_on_a_volume_stay_on_it_at_any_repetition_time(seconds):
    number = np.arange(5, 300, 40)
    events = pd.DataFrame({"onset": number * seconds, "duration": 0.0, "trial_type": "a"})
    assert np.flatnonzero(flexible_responses(events, 300, seconds)["a +0"]).tolist() == number.tolist()


def test_the_course_of_a_block_is_its_boxcar_through_the_response(design):
    time = np.arange(0, 720, 0.5)
    boxcar = ((time % 62) < 30).astype(float)
    course = np.convolve(boxcar, tapping.haemodynamic_response(0.5, np.array([6.0]))[:, 0])[: len(time) : 4]
    assert np.corrcoef(course, design.course[:, 0])[0, 1] > 0.998
    assert design.course[:, 0].max() == 1


def test_volumes_after_an_impulse_among_blocks_are_no_rest():
    press = pd.DataFrame({"onset": [45.0], "duration": [0.0], "trial_type": ["left"]})  # in the pause after a block
    alone, among = (task_design(events, T, TR) for events in (blocks(), pd.concat([blocks(), press])))
    rest = [np.flatnonzero(design.load < 0.2) for design in (alone, among)]
    lost = np.setdiff1d(*rest) * TR
    assert len(lost) >= 2 and lost.min() >= 45 and lost.max() <= 60
    assert np.array_equal(alone.load > 0.8, among.load > 0.8)
    assert np.allclose(alone.load, alone.course[:, 0])  # of blocks alone it is their course
    regression = task_regression(np.zeros((T, 2)), None, among, TR, PLAIN)
    assert np.array_equal(np.flatnonzero(regression.volumes["rest"]), rest[1])


def test_a_block_that_began_long_before_the_scan_is_in_the_model():
    early = blocks(first=-40.0).assign(duration=50.0)
    course = task_design(early, T, TR).course[:, 0]
    later = task_design(early.iloc[1:], T, TR).course[:, 0]
    assert course[:4].min() > 0.5 and np.abs(later[:4]).max() < 0.01


def test_many_short_events_are_refused_with_what_they_cost():
    brief = pd.DataFrame({"onset": 18.0 * np.arange(40), "duration": 1.0, "trial_type": "tap"})
    regression = task_regression(np.zeros((T, 2)), None, task_design(brief, T, TR), TR, PLAIN)
    with pytest.raises(UnusableError, match="its events are many and short: each takes two"):
        regression.refuse_short()


def test_any_response_of_a_kind_and_any_amplitude_of_a_block_leave_nothing(design):
    rng = np.random.default_rng(0)
    flexible = design.responses.iloc[:, :75].to_numpy() @ rng.standard_normal((75, 3))
    amplitudes = design.responses.iloc[:, 75:].to_numpy() @ rng.standard_normal((48, 3))
    series = 1000 + flexible + amplitudes + np.arange(T)[:, None] * 0.1
    left = task_regression(series, None, design, TR, PLAIN).remove(series)
    assert np.abs(left).max() < 1e-6 * np.abs(series - 1000).max()


def test_blocks_that_begin_and_end_early_or_late_leave_nothing(design):
    rng, shifted = np.random.default_rng(9), np.zeros((T, 6))
    for block in blocks().itertuples():
        for person, (begin, end) in enumerate(rng.normal(0, 1, (6, 2))):
            late = block._replace(onset=max(0.0, block.onset + begin), duration=block.duration + end - begin)
            shifted[:, person] += block_courses(late, T, TR).iloc[:, 0]
    level = design.responses.drop(columns=design.responses.filter(like=", end"))
    left = [
        task_regression(shifted, None, replace(design, responses=responses), TR, PLAIN).remove(shifted).std()
        for responses in (design.responses, level)
    ]
    assert left[0] < 0.4 * left[1] < 0.05 * shifted.std()


def test_an_impulse_at_the_beginning_would_say_nothing_new(design):
    made = block_courses(next(blocks(first=62.0).itertuples()), T, TR)
    begin = block_courses(next(blocks(first=62.0, duration=0.1).itertuples()), T, TR).iloc[:, 0]
    rest = begin - made @ np.linalg.lstsq(made, begin, rcond=None)[0]
    assert np.linalg.norm(rest) < 0.01 * np.linalg.norm(begin)
    assert not made.filter(like="end").empty and not design.responses.filter(like="both at 682 s, end").empty


def test_degrees_of_freedom_are_a_rank(design):
    rng = np.random.default_rng(1)
    regression = task_regression(np.zeros((T, 2)), head(rng), design, TR, {**PLAIN, "motion": "full"})
    motion = regression.nuisance.basis
    every = np.hstack([motion, design.responses.to_numpy()])
    rank = np.linalg.matrix_rank(every / np.linalg.norm(every, axis=0), tol=1e-9)
    assert regression.remove.degrees_of_freedom == T - rank == T - 1 - 1 - 14 - 24 - 75 - 48
    assert len(regression.remove.regressors) == 24 + 75 + 48


def test_two_kinds_that_always_come_together_count_once():
    events = pd.concat([blocks(kinds=("left",)), blocks(kinds=("cue",))]).sort_values("onset")
    twice = task_regression(np.zeros((T, 2)), None, task_design(events, T, TR), TR, PLAIN)
    once = task_regression(np.zeros((T, 2)), None, task_design(blocks(kinds=("left",)), T, TR), TR, PLAIN)
    assert twice.remove.degrees_of_freedom == once.remove.degrees_of_freedom


def test_too_few_degrees_of_freedom_are_refused():
    short = task_design(blocks(6), 180, TR)
    with pytest.raises(UnusableError, match=r"leave \d+\.0 degrees of freedom of 180 volumes, fewer than the 100"):
        task_regression(np.zeros((180, 2)), None, short, TR, PLAIN)
    with pytest.raises(ValueError, match=r"denoise\.low_pass=0\.1: set it to null"):
        task_regression(np.zeros((T, 2)), None, task_design(blocks(), T, TR), TR, {**PLAIN, "low_pass": 0.1})


def test_censored_volumes_have_no_say(design):
    rng = np.random.default_rng(2)
    confounds = head(rng)
    confounds.loc[[50, 51, 200], "framewise_displacement"] = 3.0
    confounds.loc[confounds["framewise_displacement"].lt(3), "framewise_displacement"] = 0.1
    series = rng.standard_normal((T, N))
    spoiled = series.copy()
    spoiled[[50, 51, 200]] = 1e5
    made = [task_connectome(x, task_regression(x, confounds, design, TR, GUARDED)) for x in (series, spoiled)]
    np.testing.assert_array_equal(made[0].task, made[1].task)
    np.testing.assert_array_equal(made[0].activation, made[1].activation)
    assert made[0].mean_fd == {"task": pytest.approx(0.1), "rest": pytest.approx(0.1)}


# what is made of it


def test_edges_are_the_correlations_of_what_is_left(design):
    rng = np.random.default_rng(3)
    series = rng.standard_normal((T, N)).cumsum(0)
    series[:, 4] = 7.0
    regression = task_regression(series, None, design, TR, PLAIN)
    made = task_connectome(series, regression)
    design_matrix = np.hstack([np.ones((T, 1)), np.arange(T)[:, None], cosines(T, TR, 0.01, None), design.responses])
    design_matrix = design_matrix / np.linalg.norm(design_matrix, axis=0)
    left = series - design_matrix @ np.linalg.lstsq(design_matrix, series, rcond=1e-12)[0]
    task, rest = design.course[:, 0] > 0.8, design.course[:, 0] < 0.2
    live = (ROWS != 4) & (COLS != 4)
    with np.errstate(invalid="ignore"):
        z = [fisher_z(np.corrcoef(left[rows].T)[ROWS, COLS]) for rows in (task, rest)]
    np.testing.assert_allclose(made.task[live], z[0][live], atol=1e-5)
    np.testing.assert_allclose(made.change[live], (z[0] - z[1])[live], atol=1e-5)
    assert not made.task[~live].any()
    assert made.n_volumes == {"task": task.sum(), "rest": rest.sum()}
    assert sum(made.freedom.values()) < regression.remove.degrees_of_freedom
    assert made.activation[4] == 0
    assert np.isnan(made.mean_fd["task"])


def test_activation_is_the_slope_of_a_general_linear_model(design):
    rng = np.random.default_rng(4)
    amplitude = np.linspace(-1, 3, 40)
    series = 1000 + 10 * (design.course[:, :1] * amplitude + rng.standard_normal((T, 40)))
    regression = task_regression(series, None, design, TR, PLAIN)
    found = regression.activation(series)
    model = np.hstack([design.course, np.ones((T, 1)), np.arange(T)[:, None], cosines(T, TR, 0.01, None)])
    slope = np.linalg.lstsq(model, series, rcond=None)[0][0]
    spread = np.sqrt((regression.remove(series) ** 2).sum(0) / regression.remove.degrees_of_freedom)
    np.testing.assert_allclose(found, slope / spread, atol=1e-8)
    assert np.abs(found - amplitude).max() < 0.6
    assert np.abs((found - amplitude).mean()) < 0.1


def test_a_source_shared_in_the_task_alone_has_its_closed_form_there_and_nothing_at_rest(design):
    rng = np.random.default_rng(5)
    n, c = 400, 0.8
    activity = rng.standard_normal((T, n, 3))
    task = (design.course[:, 0] > 0.8)[:, None, None]
    activity[..., :2] += c * task * rng.standard_normal((T, n, 1))
    activity += 3 * design.course[:, :1, None]  # all respond, the third does nothing else
    flat = activity.reshape(T, -1)
    regression = task_regression(flat, None, design, TR, PLAIN)
    r = {name: pairwise(regression.remove(flat)[rows], 3) for name, rows in regression.volumes.items()}
    planted = c**2 / (1 + c**2)
    assert r["task"].mean(0) == pytest.approx([planted, 0, 0], abs=0.02)
    assert r["rest"].mean(0) == pytest.approx([0, 0, 0], abs=0.02)


def test_too_little_task_or_rest_is_refused():
    busy = task_design(blocks(12, duration=59.0, kinds=("left",)), T, TR)
    series = np.random.default_rng(6).standard_normal((T, 3))
    with pytest.raises(UnusableError, match=r"volumes of rest \(less than 0\.2 of the largest load\).*; 30 are needed"):
        task_connectome(series, task_regression(series, None, busy, TR, PLAIN))
    with pytest.raises(UnusableError, match="no response to the task falls into the scan"):
        task_design(blocks(1, duration=1.0, first=719.5), T, TR)


def test_a_head_that_moves_with_the_task_is_refused(design):
    confounds = head(np.random.default_rng(7))
    confounds["trans_z"] = design.course[:, 0]
    with pytest.raises(UnusableError, match=r"drift and confounds explain 100% of the course of the task"):
        task_regression(np.zeros((T, 2)), confounds, design, TR, {**PLAIN, "motion": "basic"})


def test_a_design_of_single_events_is_analysed():
    rng = np.random.default_rng(8)
    events = pd.DataFrame(
        {"onset": 16.0 * np.arange(44) + rng.uniform(0, 4, 44), "duration": 0.0, "trial_type": "press"}
    )
    series = rng.standard_normal((720, 4))
    regression = task_regression(series, None, task_design(events, 720, 1.0), 1.0, PLAIN)
    made = task_connectome(series, regression)
    assert len(regression.remove.regressors) == 20 + 88
    assert min(made.freedom.values()) > 30


# groups: a cohort is 30 against 30, and no person is in two of them


def pairwise(series, n):
    """Correlations of every person's n regions; [volumes, people x n] -> [people, pairs]."""
    person = series.reshape(len(series), -1, n)
    person = (person - person.mean(0)) / person.std(0)
    rows, cols = np.triu_indices(n, 1)
    return np.einsum("tpi,tpj->pij", person, person)[:, rows, cols] / len(series)


@cache
def people(fresh, coupling=0.6, activation=1.0, delay=0.0, noise=1.0, case=1):
    """Edges of 600 people, who share three orders of blocks, and their `regional` values, [2, 600, N].

    `flexible` is `task` with nothing but flexible responses removed, and `level` without slope and end of each block.
    """
    known = coupling, activation, delay, *([noise] if noise > 1 else [])
    rng = np.random.default_rng([fresh, case, *(int(10 * value) for value in known)])
    edges, regional = {"task": [], "change": [], "flexible": [], "level": []}, []
    truth = Tapping(BACKGROUND, edge_sources([0], [1], N, coupling), activation * ACTIVE, delay)
    for _ in range(3):
        events = tapping_events(T, TR, rng)
        design = task_design(events[events["trial_type"] != "rest"], T, TR)
        series = tapping_series(events, T, TR, truth, rng, 200).transpose(1, 0, 2).reshape(T, -1)
        if noise > 1:
            series += 10 * tapping.NOISE * np.sqrt(noise**2 - 1) * rng.standard_normal(series.shape)
        z = within(series, design)
        edges["task"].append(z["task"])
        edges["change"].append(z["task"] - z["rest"])
        regional.append(activation_and_noise(series, design))
        level = design.responses.drop(columns=design.responses.filter(regex=", (slope|end)"))
        for kind, responses in (("flexible", level.iloc[:, :75]), ("level", level)):
            edges[kind].append(within(series, replace(design, responses=responses))["task"])
    return {kind: np.concatenate(parts) for kind, parts in edges.items()} | {"regional": np.hstack(regional)}


def within(series, design):
    """Fisher z of everybody in the volumes of task and of rest, [people, pairs]."""
    regression = task_regression(series, None, design, TR, PLAIN)
    left = regression.remove(series)
    return {name: fisher_z(pairwise(left[rows], N)) for name, rows in regression.volumes.items()}


def activation_and_noise(series, design):
    """Of everybody's regions, [2, people, N]."""
    regression = task_regression(series, None, design, TR, PLAIN)
    left = regression.remove(series).reshape(T, -1, N)
    noise = [delay_and_noise(left[:, k], regression.remove.kept, TR)[1] for k in range(left.shape[1])]
    return np.stack([regression.activation(series).reshape(-1, N), noise])


def called(cases, controls, edges, covariates=None):
    """Share of edges with p < .05 and its standard error, over cohorts of 30 against 30."""
    shares = []
    for start in range(0, min(len(cases), len(controls)) - 29, 30):
        rows = slice(start, start + 30)
        nuisance = np.ones((60, 1)) if covariates is None else np.vstack([c[rows] for c in covariates])
        p = group_p(np.vstack([cases[rows], controls[rows]])[:, edges], nuisance)
        shares.append((p < 0.05).mean())
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))


def called_beside(cases, controls, kind, edges):
    """As `called`, beside activation and noise of both ends."""
    shares, label = [], np.repeat([1.0, 0.0], 30)
    for start in range(0, 600, 30):
        cohort = slice(start, start + 30)
        values = np.concatenate([group[kind][cohort] for group in (cases, controls)])
        regional = np.concatenate([group["regional"][:, cohort] for group in (cases, controls)], axis=1)
        shares.append(
            (beside(values, regional, (ROWS, COLS), pd.DataFrame(index=range(60)), [], label).p[edges] < 0.05).mean()
        )
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))


def group_p(values, nuisance):
    """P-values of 30 against 30 with covariates, by least squares."""
    model = np.column_stack([np.repeat([1.0, 0.0], len(values) // 2), np.ones(len(values)), nuisance])
    slopes, left = np.linalg.pinv(model) @ values, len(values) - np.linalg.matrix_rank(model)
    variance = ((values - model @ slopes) ** 2).sum(0) / left
    t = slopes[0] / np.sqrt(variance * np.linalg.pinv(model.T @ model)[0, 0])
    return 2 * stats.t.sf(np.abs(t), left)


def counted(edges, kind, **truth):
    """Share of edges that are called, and the bar: at most .05, but for two standard errors."""
    share, error = called(people(**truth)[kind], people(truth["fresh"], case=0)[kind], edges)
    assert error < 0.025
    return share, 0.05 + 2 * error


@pytest.mark.parametrize("kind", ["task", "change"])
@pytest.mark.parametrize("truth", [{}, {"activation": 1.3}, {"activation": 2.0}, {"delay": 1.0}], ids=str)
def test_groups_that_only_respond_otherwise_are_not_called(truth, kind):
    counts = (counted(UNCOUPLED, kind, fresh=fresh, **truth) for fresh in range(2))  # outside: counted again
    assert any(share <= bar for share, bar in counts)


@pytest.mark.parametrize("kind", ["task", "change"])
def test_planted_coupling_is_found_and_nothing_elsewhere(kind):
    assert called(people(0, coupling=1.1)[kind], people(0, case=0)[kind], PLANTED)[0] >= 0.85
    counts = (counted(ROWS > 1, kind, fresh=fresh, coupling=1.1) for fresh in range(2))
    assert any(share <= bar for share, bar in counts)


def test_noise_is_called_and_beside_that_of_both_regions_is_not():
    shared = UNCOUPLED | PLANTED
    assert called(people(0, noise=2.0)["task"], people(0, case=0)["task"], shared)[0] > 0.15
    counts = (called_beside(people(k, noise=2.0), people(k, case=0), "task", shared) for k in range(2))
    assert any(share <= 0.05 + 2 * error for share, error in counts)


def test_planted_coupling_is_found_beside_activation_and_noise():
    assert called_beside(people(0, coupling=1.1), people(0, case=0), "task", PLANTED)[0] >= 0.85


@pytest.mark.parametrize("kind", ["flexible", "level"])
def test_without_a_response_and_a_slope_for_each_block_activation_seems_connectivity(kind):
    assert called(people(0, activation=2.0)[kind], people(0, case=0)[kind], UNCOUPLED)[0] > 0.3


def scored(kind, fresh):
    """Share of uncoupled edges that a score calls which goes with activation alone, and its standard error."""
    strong, weak = people(fresh=fresh, activation=2.0)[kind], people(fresh, case=0)[kind]
    rng, shares = np.random.default_rng(fresh), []
    for start in range(0, len(strong) - 29, 30):
        edges = np.vstack([own[start : start + 30][:, UNCOUPLED] for own in (strong, weak)])
        score = np.repeat([1.0, 0.0], 30) + 0.3 * rng.standard_normal(60)
        table = pd.DataFrame({"participant_id": np.arange(60), "site": "A", "score": score})
        shares.append((score_statistics(edges, table, "score", [], 1, 0).p < 0.05).mean())
    return np.mean(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))


@pytest.mark.parametrize("kind", ["task", "change"])
def test_a_score_that_goes_with_activation_alone_is_not_called(kind):
    counts = (scored(kind, fresh) for fresh in range(2))
    assert any(share <= 0.05 + 2 * error for share, error in counts)
    assert scored("flexible", 0)[0] > 0.3  # without a response for each block


def moving(seed, excess, n=150):
    """Edges and mean displacement [n, 2] of people who move more while tapping, with every guard of a person on."""
    rng, made = np.random.default_rng(seed), {"task": [], "change": [], "mean_fd": []}
    truth = Tapping(BACKGROUND, edge_sources([0], [1], N, 0.6), ACTIVE)
    events = tapping_events(T, TR, rng)
    of_task = task_design(events[events["trial_type"] != "rest"], T, TR)
    for series in tapping_series(events, T, TR, truth, rng, n):
        confounds = tapping_motion(events, T, TR, 0.14 * rng.lognormal(0, 0.3), excess * rng.lognormal(0, 0.3), rng)
        series += 10 * motion_artefact(confounds, np.array(PLACES, float), 2.0, rng)
        try:
            regression = task_regression(series, confounds, of_task, TR, GUARDED)
            person = task_connectome(series, regression)
        except UnusableError:  # they moved too much
            continue
        made["task"].append(person.task)
        made["change"].append(person.change)
        made["mean_fd"].append([person.mean_fd["task"], person.mean_fd["rest"]])
    return {name: np.array(values) for name, values in made.items()}


def test_motion_while_tapping_is_not_called_where_displacement_in_the_volumes_used_is_a_covariate():
    cases, still = moving(20, 1.0), moving(21, 0.3)
    near = COLS < 3  # neighbours: what motion leaves, they share
    for kind in ("task", "change"):
        share, error = called(cases[kind], still[kind], slice(None), (cases["mean_fd"], still["mean_fd"]))
        assert share <= 0.05 + 2 * error
        assert called(cases[kind], still[kind], near)[0] > 0.2  # without it


# the simulation


def test_events_are_those_of_the_real_task():
    events = tapping_events(360, 2.0, np.random.default_rng(0))
    assert events["trial_type"].value_counts().to_dict() == {"rest": 12, "bimanual": 4, "left": 4, "right": 4}
    assert (events["onset"] + events["duration"]).tolist() == [*events["onset"][1:], 720]


def test_a_shared_source_has_its_closed_form_in_the_simulated_signal(monkeypatch):
    monkeypatch.setattr(tapping, "NOISE", 0.0)
    monkeypatch.setattr(tapping, "PEAKS", 0.0)
    monkeypatch.setattr(tapping, "MEMORY", 0.2)
    events = pd.DataFrame({"onset": [0.0], "duration": [720.0], "trial_type": "left"})
    truth = Tapping(np.eye(3), np.array([[0.8, 0.8, 0.0]]), np.zeros(3))
    series = tapping_series(events, T, TR, truth, np.random.default_rng(1), 60)[:, 20:].transpose(1, 0, 2)
    assert pairwise(series, 3).mean(0) == pytest.approx([0.64 / 1.64, 0, 0], abs=0.03)


def test_people_move_more_while_tapping():
    rng, events = np.random.default_rng(2), tapping_events(T, TR, np.random.default_rng(2))
    motion = tapping_motion(events, T, TR, 0.1, 2.0, rng)
    tap = ((np.arange(T) * TR) % 62) < 30
    displacement = motion["framewise_displacement"].to_numpy()
    assert np.nanmean(displacement[tap]) / np.nanmean(displacement[~tap]) == pytest.approx(3, rel=0.3)
    arcs = motion.iloc[:, :6].diff().abs() @ np.r_[1, 1, 1, 50, 50, 50]
    np.testing.assert_allclose(arcs[1:], displacement[1:])
