"""Variability: nothing that is stationary is called variable, whatever its smoothness, noise and gaps; switching is."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from scipy.signal import lfilter

from dysconnect.data.edges import Pairs
from dysconnect.denoising.projection import denoise
from dysconnect.dynamics.lagged import delay_and_noise
from dysconnect.dynamics.variability import (
    phase_randomized,
    variability,
    window_volumes,
    windowed_fisher,
    windowed_variance,
)
from dysconnect.localize.beside import beside
from dysconnect.planted.timed import switch

TR = 0.9
MIXING = np.linalg.cholesky(0.4 * np.ones((6, 6)) + 0.6 * np.eye(6))


def stationary(rng: np.random.Generator, memory: float = 0.6, noise: float = 0.0, n_volumes: int = 400) -> np.ndarray:
    """VAR(1) of six regions that correlate by 0.4, [T, 6], and noise from volume to volume on it."""
    x = lfilter([1], [1, -memory], rng.standard_normal((n_volumes + 60, 6)) @ MIXING.T, axis=0)[60:]
    return x / x.std(0) + noise * rng.standard_normal((n_volumes, 6))


def gaps(rng: np.random.Generator, share: float, n_volumes: int = 400) -> np.ndarray:
    """Mask with this share of the volumes censored in runs of two to seven."""
    kept = np.ones(n_volumes, bool)
    while np.mean(~kept) < share:
        start = rng.integers(n_volumes - 8)
        kept[start : start + rng.integers(2, 8)] = False
    return kept


def person(x: np.ndarray, kept: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Variability [15] of one person, and delay and noise of the regions, [2, 6]."""
    seen = x[kept]
    return variability(seen, kept, TR, surrogates=12, seed=seed), np.stack(delay_and_noise(seen, kept, TR))


def still(rng: np.random.Generator, share: float = 0.0, **kinds: float) -> tuple[np.ndarray, np.ndarray]:
    """Somebody who is stationary."""
    return person(stationary(rng, **kinds), gaps(rng, share), int(rng.integers(1 << 30)))


def called(groups: list[list[tuple[np.ndarray, np.ndarray]]]) -> float:
    """Share of connections in which two groups differ, beside delay and noise of both ends, as they are tested."""
    edges, values = zip(*groups[0], *groups[1])
    label = np.repeat([1.0, 0.0], [len(group) for group in groups])
    rest = pd.DataFrame(index=range(len(label)))
    return float((beside(np.stack(edges), np.stack(values, axis=1), Pairs(6).ends, rest, [], label).p < 0.05).mean())


# closed forms


def test_white_pairs_have_the_variance_of_fishers_z():
    rng = np.random.default_rng(0)
    for length in (20, 60):
        x = rng.standard_normal((length * 3000, 3))
        seen = windowed_variance(x, np.ones(len(x), bool), length, length)
        np.testing.assert_allclose(seen * (length - 3), 1, atol=0.08)


def test_windows_are_those_of_a_plain_loop():
    rng = np.random.default_rng(1)
    x, mask = stationary(rng, n_volumes=100), gaps(rng, 0.2, 100)
    z = windowed_fisher(x, mask, 40, 4)
    plain = []
    for start in range(0, 61, 4):
        inside = np.zeros(100, bool)
        inside[start : start + 40] = True
        if np.sum(inside & mask) >= 20:
            plain.append(np.arctanh(np.corrcoef(x[inside & mask].T)[Pairs(6).ends]))
    np.testing.assert_allclose(z, plain, atol=1e-10)


def test_variance_is_that_of_windows_that_do_not_overlap():
    rng = np.random.default_rng(13)
    seen = [windowed_variance(rng.standard_normal((120, 6)), np.ones(120, bool), 30, 3).mean() for _ in range(300)]
    assert np.mean(seen) * (30 - 3) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("n_volumes", [400, 401])
def test_surrogates_keep_covariance_and_spectra(n_volumes):
    x = stationary(np.random.default_rng(2), n_volumes=n_volumes)
    away = phase_randomized(x, np.random.default_rng(3))
    np.testing.assert_allclose(np.cov(away.T), np.cov(x.T), atol=1e-10)
    np.testing.assert_allclose(np.abs(np.fft.rfft(away, axis=0)), np.abs(np.fft.rfft(x, axis=0)), atol=1e-9)
    assert np.abs(np.corrcoef(away[:, 0], x[:, 0])[0, 1]) < 0.5


def test_window_is_at_least_as_long_as_asked_and_made_of_its_steps():
    assert window_volumes(60, 0.9) == (70, 7)
    assert window_volumes(60, 2.0) == (30, 3)
    with pytest.raises(ValueError, match="60 s or more"):
        window_volumes(30, 2.0)
    with pytest.raises(ValueError, match="fewer than 10 volumes"):
        window_volumes(60, 8.0)


# size and power


@pytest.mark.parametrize(
    "one, other",
    [
        ({}, {}),
        ({"memory": 0.3}, {"memory": 0.85}),
        ({"memory": 0.8}, {"memory": 0.8, "noise": 1.0}),
        ({}, {"share": 0.2}),
    ],
    ids=["alike", "smoother", "noisier", "scrubbed"],
)
def test_stationary_groups_are_not_called_variable(one, other):
    shares = []
    for cohort in range(6):
        rng = np.random.default_rng([cohort, 4])
        shares.append(called([[still(rng, **kind) for _ in range(n)] for n, kind in ((10, one), (20, other))]))
    assert np.mean(shares) <= 0.05 + 2 * max(np.std(shares, ddof=1), 0.05) / np.sqrt(6)


@pytest.mark.parametrize("other", [{"noise": 0.8}, {"share": 0.3}, {"n_volumes": 280}], ids=str)
def test_groups_that_switch_alike_are_not_called_for_noise_or_less_data(repository, other):
    spec = yaml.safe_load((repository / "configs/denoise/variability.yaml").read_text()) | {"motion": None}
    counts = (switching_alike(fresh, spec, other) for fresh in range(2))  # outside: counted again
    assert any(np.mean(shares) <= 0.05 + np.std(shares, ddof=1) for shares in counts)  # two standard errors of four


def switching_alike(fresh: int, spec: dict, other: dict) -> list[float]:
    """Share of connections that are called in each of four cohorts."""
    shares = []
    for cohort in range(4):
        rng = np.random.default_rng([cohort, 11, fresh])
        shares.append(called([[moving(rng, spec, **kind) for _ in range(24)] for kind in (other, {})]))
    return shares


def moving(rng: np.random.Generator, spec: dict, noise: float = 0.3, share: float = 0.0, n_volumes: int = 400):
    """Somebody whose connections switch, denoised."""
    x = switch(1000 + 10 * stationary(rng, memory=0.9, n_volumes=n_volumes), np.arange(6), TR, 1.0, rng)
    x += 10 * noise * rng.standard_normal(x.shape)
    return person(denoise(x, None, TR, spec), gaps(rng, share, n_volumes), int(rng.integers(1 << 30)))


def test_excess_hardly_depends_on_the_length_of_a_scan():
    """In standard deviations of the surrogates it would be 1.7 times as large in twice the data."""
    rng, size = np.random.default_rng(12), {}
    for n_volumes in (400, 800):
        x = [switch(stationary(rng, 0.9, n_volumes=n_volumes), np.arange(6), TR, 1.5, rng) for _ in range(40)]
        size[n_volumes] = np.mean([variability(y, np.ones(n_volumes, bool), TR, surrogates=10) for y in x])
    assert size[800] == pytest.approx(size[400], rel=0.25)


def test_stationary_people_have_no_excess_unlike_against_shuffled_time():
    rng = np.random.default_rng(5)
    called = {"phases": 0, "shuffled": 0}
    for _ in range(30):
        x = stationary(rng).astype(np.float32)
        null = {"phases": lambda x=x: phase_randomized(x, rng), "shuffled": lambda x=x: rng.permutation(x)}
        seen = windowed_variance(x, np.ones(400, bool), 50, 5).mean()
        for name, draw in null.items():
            above = sum(windowed_variance(draw(), np.ones(400, bool), 50, 5).mean() >= seen for _ in range(19))
            called[name] += above == 0
    assert called["phases"] <= 4  # 0.05 of 30, and three standard errors
    assert called["shuffled"] > 0.9 * 30


def test_people_who_switch_are_told_from_people_who_do_not():
    rng = np.random.default_rng(6)
    kept, regions = np.ones(400, bool), np.array([0, 1, 2])
    rest, moving = [], []
    for _ in range(16):
        x = 1000 + 10 * stationary(rng, memory=0.9)
        y = switch(x, regions, TR, 1.5, rng)
        np.testing.assert_allclose([y.mean(0), y.std(0)], [x.mean(0), x.std(0)])
        rest.append(variability(x, kept, TR, surrogates=30))
        moving.append(variability(y, kept, TR, surrogates=30))
    among = Pairs(6).among(regions)
    p = stats.ttest_ind(moving, rest).pvalue
    assert (p[among] < 0.05).all()
    assert np.mean(moving, 0)[among].min() > 0.04
    assert np.abs(np.mean(moving, 0)[Pairs(6).among(np.array([3, 4, 5]))]).max() < 0.02


def test_regions_without_signal_do_not_switch():
    x = stationary(np.random.default_rng(10))
    x[:, :2] = 5.0
    y = switch(x, np.array([0, 1, 2]), TR, 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(y, x)
    y = switch(x, np.array([0, 2, 3]), TR, 1.0, np.random.default_rng(0))
    assert np.isfinite(y).all() and np.array_equal(y[:, 0], x[:, 0]) and not np.allclose(y[:, 2], x[:, 2])


def test_same_seed_gives_the_same_numbers():
    x, kept = stationary(np.random.default_rng(7)), np.ones(400, bool)
    first, again, other = (variability(x, kept, TR, surrogates=5, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


# bad input


def test_bad_scans_are_refused_with_the_reason():
    rng = np.random.default_rng(8)
    x, kept = stationary(rng), np.ones(400, bool)
    with pytest.raises(ValueError, match="shorter than 3 windows of 70"):
        variability(x[:200], kept[:200], TR)
    with pytest.raises(ValueError, match="0 of 400 volumes are kept"):
        variability(x[:0], ~kept, TR)
    bad = x.copy()
    bad[3, 1] = np.inf
    with pytest.raises(ValueError, match="region 2 has no number in kept volume 4"):
        variability(bad, kept, TR)
    bad[:, 1] = 0.3
    with pytest.raises(ValueError, match="region 2 of 6 is constant"):
        variability(bad, kept, TR)
    few = kept & (np.arange(400) % 3 == 0)
    with pytest.raises(ValueError, match="fewer than two windows"):
        variability(x[few], few, TR)


def test_region_without_signal_in_a_window_varies_with_nobody():
    x = stationary(np.random.default_rng(9))
    x[100:200, 2] = 0
    assert np.isfinite(variability(x, np.ones(400, bool), TR, surrogates=5)).all()
