"""Lagged coupling: it converges to the truth, knows what time reversal does, and is not taken in by delay or noise."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import expm, solve_discrete_lyapunov

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Pairs
from dysconnect.dynamics.direction import PEAK, direction_accuracy, random_network, simulate_scans
from dysconnect.dynamics.lagged import delay_and_noise, estimate, lagged, most_regions, rates, reversal
from dysconnect.localize.associations import severity
from dysconnect.localize.severity import score_statistics
from dysconnect.planted.timed import lead

TR = 0.9
DELAY = 1.0  # s between groups, twice the spread between people
COUPLING = np.array([[0.5, 0.0, 0.0, 0.1], [0.4, 0.4, 0.0, 0.0], [0.0, 0.3, 0.5, 0.0], [0.0, 0.0, -0.3, 0.6]])


def process(n_volumes: int, rng: np.random.Generator, coupling: np.ndarray = COUPLING) -> np.ndarray:
    """VAR(1) from its stationary distribution on, [T, N], with white noise of variance one."""
    n = len(coupling)
    x = np.linalg.cholesky(solve_discrete_lyapunov(coupling, np.eye(n))) @ rng.standard_normal(n)
    series = rng.standard_normal((n_volumes, n))
    for volume in series:
        x = volume[:] = coupling @ x + volume
    return series


def scaled_truth(coupling: np.ndarray) -> np.ndarray:
    """What an estimate from regions of variance one converges to."""
    spread = np.sqrt(np.diag(solve_discrete_lyapunov(coupling, np.eye(len(coupling)))))
    return coupling * spread / spread[:, None]


def all_kept(series: np.ndarray) -> np.ndarray:
    return np.ones(len(series), bool)


# the estimate


def test_estimate_converges_to_the_coupling_as_one_over_the_root_of_time():
    truth, rng = scaled_truth(COUPLING), np.random.default_rng(0)
    errors = []
    for n_volumes in (400, 6400):
        scans = [process(n_volumes, rng) for _ in range(12)]
        away = [estimate(x, all_kept(x), penalty=0).coupling - truth for x in scans]
        errors.append(np.sqrt(np.mean(np.square(away))))
    assert errors[1] < 0.02
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.25)


def test_edge_from_a_to_b_is_where_directed_pairs_have_it():
    x = process(4000, np.random.default_rng(1))
    pairs, edges = Pairs(4, directed=True), lagged(x, all_kept(x), penalty=0).edges
    truth = scaled_truth(COUPLING)
    assert edges[pairs.position(0, 1)] == pytest.approx(truth[1, 0], abs=0.06)  # the first region drives the second
    assert edges[pairs.position(1, 0)] == pytest.approx(0, abs=0.06)
    assert edges[pairs.position(2, 3)] == pytest.approx(truth[3, 2], abs=0.06)


def test_penalty_shrinks_and_scale_does_not_matter():
    x = process(400, np.random.default_rng(2))
    strict, loose = (np.abs(estimate(x, all_kept(x), penalty).coupling).sum() for penalty in (1.0, 0.0))
    assert strict < loose
    np.testing.assert_allclose(lagged(x * [1, 10, 0.1, 5] + 3, all_kept(x)).edges, lagged(x, all_kept(x)).edges)


def test_pairs_of_volumes_across_a_gap_are_not_used():
    rng = np.random.default_rng(3)
    x, kept = process(600, rng), rng.random(600) > 0.2
    fit = estimate(x[kept], kept, penalty=0)
    z = (x - x[kept].mean(0)) / x[kept].std(0)
    both = [t for t in range(599) if kept[t] and kept[t + 1]]
    following = sum(np.outer(z[t + 1], z[t]) for t in both) / len(both)
    assert fit.pairs == len(both) < kept.sum() - 1
    np.testing.assert_allclose(fit.following, following, atol=1e-12)
    joined = estimate(x[kept], np.ones(kept.sum(), bool), penalty=0)
    truth = scaled_truth(COUPLING)
    assert np.abs(fit.coupling - truth).mean() < np.abs(joined.coupling - truth).mean()


# time reversal


@pytest.mark.parametrize("penalty", [0.0, 0.2])
def test_scan_run_backwards_has_the_coupling_of_the_identity(penalty):
    rng = np.random.default_rng(4)
    x, kept = process(500, rng), rng.random(500) > 0.1
    forwards, backwards = estimate(x[kept], kept, penalty), estimate(x[kept][::-1], kept[::-1], penalty)
    ridge = forwards.present + penalty * np.eye(4)
    np.testing.assert_allclose(backwards.coupling, ridge @ forwards.coupling.T @ np.linalg.inv(ridge), atol=1e-10)
    np.testing.assert_allclose(backwards.coupling, forwards.reversed, atol=1e-10)


def test_reversal_tells_what_leads_from_what_is_only_noisier():
    rng = np.random.default_rng(5)
    driven = process(2000, rng)
    shared = process(2000, rng, 0.8 * np.eye(1))
    mixed = shared @ np.ones((1, 4)) + rng.standard_normal((2000, 4)) * [0.2, 1, 2, 3]
    assert reversal(estimate(driven, all_kept(driven))) < -0.8
    assert reversal(estimate(mixed, all_kept(mixed))) > 0.5


# continuous time


def test_rates_are_those_of_the_continuous_process():
    drift = np.array([[-0.7, 0.2, 0.0], [0.0, -0.5, 0.3], [0.1, 0.0, -0.6]])
    np.testing.assert_allclose(rates(expm(drift * 2.0), 2.0), drift, atol=1e-12)


@pytest.mark.parametrize("value", [-0.3, 0.0])
def test_no_rates_where_there_is_no_real_logarithm(value):
    assert rates(np.diag([0.5, value]), 2.0) is None


# delay and noise


def test_delay_and_noise_are_seconds_and_shares():
    rng = np.random.default_rng(6)
    slow = np.convolve(rng.standard_normal(4100), np.hanning(13), "same")
    now = slow[20:4020]
    x = np.stack([now, now, slow[18:4018], -now, *[now] * 8], 1)  # the third is two volumes late
    spread = np.r_[0.1, 1, np.full(10, 0.1)]
    x = x / x.std(0) + spread * rng.standard_normal(x.shape)
    delay, noise = delay_and_noise(x, all_kept(x), 2.0)
    assert delay[2] - delay[0] == pytest.approx(4.0, abs=0.5)
    np.testing.assert_allclose(delay[[1, 3, 4]], delay[0], atol=0.3)
    np.testing.assert_allclose(noise, spread**2 / (1 + spread**2), atol=0.06)


@cache
def cohort(kind: str, seed: int, n_regions: int = 12, n: int = 45) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges [2n, E], covariates [2n, 2N] and group of two groups of one network, whose last n differ in one thing."""
    rng = np.random.default_rng([seed, 11])
    shape = (2 * n, n_regions)
    couplings = random_network(n_regions, rng) * np.exp(0.2 * rng.standard_normal((*shape, n_regions)))
    peaks = PEAK + 0.5 * rng.standard_normal(shape)
    noise = 0.3 * np.exp(0.2 * rng.standard_normal(shape))
    some = rng.permutation(n_regions)[: n_regions // 3]
    peaks[n:, some] += DELAY * (kind == "delay")
    noise[n:, some] *= 2.0 if kind == "noise" else 1.0
    couplings[n:, some[1], some[0]] += 0.1 * (kind == "coupling")
    scans = simulate_scans(couplings, 400, TR, peaks, noise, rng)
    edges = np.stack([lagged(x, all_kept(x)).edges for x in scans])
    nuisance = np.stack([np.r_[delay_and_noise(x, all_kept(x), TR)] for x in scans])
    chosen = Pairs(n_regions, directed=True).position(some[0], some[1])
    return edges, nuisance, chosen


def group_p(edges: np.ndarray, covariates: np.ndarray | None = None) -> np.ndarray:
    """Significance of every edge in a linear model of group and covariates, [E]; the second half are the patients."""
    n = len(edges)
    design = np.ones((n, 1)) if covariates is None else np.c_[np.ones(n), stats.zscore(covariates)]
    basis = np.linalg.qr(design)[0]
    y, group = (part - basis @ (basis.T @ part) for part in (edges, np.repeat([0.0, 1.0], n // 2)))
    r = group @ y / np.sqrt((y**2).sum(0) * (group @ group))
    freedom = n - design.shape[1] - 1
    return 2 * stats.t.sf(np.abs(r) * np.sqrt(freedom / (1 - r**2)), freedom)


@pytest.mark.parametrize("kind", ["delay", "noise"])
def test_groups_that_differ_only_in_delay_or_noise_are_not_called(kind):
    with_them, without = [], []
    for seed in range(8):
        edges, nuisance, _ = cohort(kind, seed)
        with_them.append(np.mean(group_p(edges, nuisance) < 0.05))
        without.append(np.mean(group_p(edges) < 0.05))
    assert np.mean(with_them) <= 0.05 + 2 * np.std(with_them, ddof=1) / np.sqrt(8)
    assert np.mean(without) > 0.08  # which is why they are covariates


@pytest.mark.parametrize("kind", ["delay", "noise"])
def test_a_score_that_goes_with_delay_or_noise_alone_is_not_called(kind):
    asked = {"score": "bfm", "nuisance": [], "permutations": 19, "alpha": 0.05, "max_missing": 0.1, "seed": 0}
    with_them, without = [], []
    for seed in range(8):
        edges, values, _ = cohort(kind, seed)
        n, rng, names = len(edges), np.random.default_rng(seed), np.array([f"region {k}" for k in range(12)])
        score = np.repeat([0.0, 1.0], n // 2) + 0.1 * rng.standard_normal(n)
        people = pd.DataFrame({"participant_id": np.arange(n), "site": "A", "label": 1, "bfm": score})
        regional = dict(zip(("delay", "noise"), np.split(values, 2, axis=1)))
        patients = Cohort(people, edges, np.zeros((n, 12), bool), names, "lagged", True, regional=regional)
        with_them.append((severity(patients, np.full(132, ""), asked).edges["p"] < 0.05).mean())
        without.append((score_statistics(edges, people, "bfm", [], 19, 0).p < 0.05).mean())
    assert np.mean(with_them) <= 0.05 + 2 * np.std(with_them, ddof=1) / np.sqrt(8)
    assert np.mean(without) > 0.07


def test_coupling_that_differs_is_still_seen_beside_delay_and_noise():
    p = [group_p(edges, nuisance)[chosen] for edges, nuisance, chosen in (cohort("coupling", s) for s in range(4))]
    assert np.mean(np.array(p) < 0.05) >= 0.75


# what accuracy to expect


@pytest.mark.parametrize(
    "regions, volumes, seconds, spread, correlation, direction",
    [(20, 400, 0.9, None, 0.50, 0.88), (20, 400, 0.9, 0.0, 0.43, 0.76), (60, 400, 0.9, 0.0, 0.12, 0.57)],
)
def test_accuracy_of_direction_is_that_measured_beforehand(regions, volumes, seconds, spread, correlation, direction):
    seen = direction_accuracy(regions, volumes, seconds, spread, networks=8, penalty=0.02)
    error = np.sqrt(1 / 8 + 1 / 6) * np.sqrt(8)  # of the difference from a mean of six networks, in those of eight
    assert seen.correlation == pytest.approx(correlation, abs=3 * error * seen.correlation_error + 0.01)
    assert seen.direction == pytest.approx(direction, abs=3 * error * seen.direction_error + 0.01)


def test_longer_scans_and_equal_responses_are_more_accurate():
    short, long = (direction_accuracy(10, n, 0.9, 1.0, networks=10) for n in (300, 3000))
    assert long.direction > short.direction and long.correlation > short.correlation + 0.1
    differ = direction_accuracy(10, 3000, 0.9, 2.0, networks=10)
    assert differ.direction < direction_accuracy(10, 3000, 0.9, 0.0, networks=10).direction


def test_one_region_has_no_direction():
    with pytest.raises(ValueError, match="two or more"):
        direction_accuracy(1, 400, 0.9)


# the planted truth


def test_planted_lead_is_seen_in_its_direction_and_not_in_the_correlation():
    rng = np.random.default_rng(8)
    moved, still = [], []
    pairs = Pairs(6, directed=True)
    for _ in range(12):
        x = 1000 + 10 * np.apply_along_axis(np.convolve, 0, rng.standard_normal((400, 6)), np.hanning(9), "same")
        y = lead(x, np.array([0, 0]), np.array([1, 2]), TR, 0.4)
        np.testing.assert_allclose([y.mean(0), y.std(0)], [x.mean(0), x.std(0)])
        moved.append(lagged(y, all_kept(y)).edges - lagged(x, all_kept(x)).edges)
        still.append(np.corrcoef(y.T) - np.corrcoef(x.T))
    moved, still = np.mean(moved, 0), np.mean(still, 0)
    for target in (1, 2):
        assert moved[pairs.position(0, target)] > 0.03 > 0 > moved[pairs.position(target, 0)]
    assert np.abs(moved[pairs.position(np.array([3, 4]), np.array([4, 5]))]).max() < 0.01
    assert np.abs(still[[0, 0], [1, 2]]).max() < 0.01


# bad input


def scan(n_volumes: int = 100, n_regions: int = 3) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((n_volumes, n_regions))


def test_more_regions_than_a_twentieth_are_refused_with_the_number_allowed():
    x = scan(100, 5)
    assert most_regions(all_kept(x)) == 4
    with pytest.raises(ValueError, match=r"5 regions from 99 pairs .* at most 4"):
        lagged(x, all_kept(x))


def test_constant_region_and_missing_number_are_named():
    x = scan()
    x[:, 1] = 7.1
    with pytest.raises(ValueError, match="region 2 of 3 is constant"):
        lagged(x, all_kept(x))
    x[4, 2] = np.nan
    with pytest.raises(ValueError, match="region 3 has no number in kept volume 5"):
        lagged(x, all_kept(x))


@pytest.mark.parametrize("kept", [np.zeros(100, bool), np.arange(100) % 2 == 0])
def test_scan_without_volumes_that_follow_each_other_is_refused(kept):
    x = scan()[kept]
    with pytest.raises(ValueError, match="too short or too much of it is censored"):
        lagged(x, kept)
    with pytest.raises(ValueError, match=r"too few|none of 50 kept volumes follows"):
        estimate(x, kept)


def test_series_of_another_scan_are_refused():
    with pytest.raises(ValueError, match="not those of 99 kept volumes"):
        lagged(scan(), np.arange(100) > 0)


def test_delay_needs_another_region():
    with pytest.raises(ValueError, match="one region"):
        delay_and_noise(scan(100, 1), np.ones(100, bool), TR)
