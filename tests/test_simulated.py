"""The simulated cohort has the features and the traps of real data, and every spoiled scan is caught."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr
from threadpoolctl import threadpool_limits

from dysconnect.data.atlas import load_atlas
from dysconnect.planted.motion import HEAD_RADIUS, head_motion
from dysconnect.planted.simulated import (
    add_motion,
    bold_noise,
    simulate_cohort,
    simulate_dataset,
    simulate_participants,
    spoil,
)

QUIET = {"patients": 6, "controls": 6, "volumes": 150, "repetition_time": 2.0, "motion_ratio": 1.0, "seed": 1}


@pytest.fixture(scope="module")
def atlas():
    """Return the full default atlas."""
    return load_atlas("seitzman300")


@pytest.fixture(scope="module")
def clean(atlas):
    """Twelve people on the full atlas, without motion artefact."""
    return simulate_cohort(QUIET, atlas)


@pytest.fixture(scope="module")
def mean_correlation(clean):
    """Mean correlation matrix of the twelve, [N, N]."""
    return np.mean([np.corrcoef(x.T) for x in clean[1]], axis=0)


def test_same_seed_same_numbers_other_seed_other_numbers(nodes, simulated_spec):
    first, again = simulate_cohort(simulated_spec, nodes), simulate_cohort(simulated_spec, nodes)
    other = simulate_cohort({**simulated_spec, "seed": 1}, nodes)
    assert first[0].equals(again[0])
    assert not first[0].equals(other[0])
    for k in range(len(first[1])):
        np.testing.assert_array_equal(first[1][k], again[1][k])
        np.testing.assert_array_equal(first[2][k], again[2][k])
        assert np.abs(first[1][k] - other[1][k]).max() > 1


def test_the_same_digits_with_any_number_of_threads(atlas, simulated_spec):
    made = []
    for threads in (1, 2):
        with threadpool_limits(threads, "blas"):
            made.append(
                simulate_dataset(simulated_spec | {"defects": dict.fromkeys(simulated_spec["defects"], 0)}, atlas)
            )
    for one, other in zip(made[0].subjects, made[1].subjects, strict=True):
        np.testing.assert_array_equal(one.series, other.series)


def test_subjects_differ_from_one_another(clean):
    correlations = np.stack([np.corrcoef(x.T)[np.triu_indices(300, 1)] for x in clean[1]])
    alike = np.corrcoef(correlations)[np.triu_indices(len(correlations), 1)]
    assert 0.1 < alike.mean() < 0.9


def test_correlation_falls_with_distance(atlas, mean_correlation):
    upper = np.triu_indices(300, 1)
    xyz = atlas[["x", "y", "z"]].to_numpy()
    assert spearmanr(cdist(xyz, xyz)[upper], mean_correlation[upper])[0] < -0.15
    near, far = cdist(xyz, xyz)[upper] < 20, cdist(xyz, xyz)[upper] > 80
    assert mean_correlation[upper][near].mean() > mean_correlation[upper][far].mean() + 0.1


def test_homotopic_pairs_beat_pairs_matched_for_distance_and_network(atlas, mean_correlation):
    xyz = atlas[["x", "y", "z"]].to_numpy()
    to_mirror = cdist(xyz, xyz * [-1, 1, 1])
    distance, network = cdist(xyz, xyz), atlas["network"].to_numpy()
    gains = []
    for i in np.flatnonzero(xyz[:, 0] < -10):
        j = to_mirror[i].argmin()
        alike = (network == network[j]) & (np.abs(distance[i] - distance[i, j]) < 10) & (to_mirror[i] > 25)
        if to_mirror[i, j] < 8 and network[i] == network[j] and alike.any():
            gains.append(mean_correlation[i, j] - mean_correlation[i, alike].mean())
    assert len(gains) > 30
    assert np.mean(np.array(gains) > 0) > 0.9


def test_motion_artefact_inflates_short_range_correlation(atlas, clean):
    participants, series, confounds = clean
    moved = add_motion(series, confounds, atlas, {**QUIET, "motion_artefact": 4.0})
    still = add_motion(series, confounds, atlas, {**QUIET, "motion_artefact": 0.0})
    np.testing.assert_array_equal(still, series)
    upper = np.triu_indices(300, 1)
    distance = cdist(*[atlas[["x", "y", "z"]].to_numpy()] * 2)[upper]
    rise = np.mean([np.corrcoef(b.T)[upper] - np.corrcoef(a.T)[upper] for a, b in zip(series, moved)], axis=0)
    assert rise[distance < 30].mean() > 0.05
    assert rise[distance < 30].mean() > 3 * rise[distance > 90].mean()
    own = [np.abs(np.corrcoef(b.T)[upper] - np.corrcoef(a.T)[upper]).mean() for a, b in zip(series, moved)]
    assert spearmanr(participants["target_fd"], own)[0] > 0.5  # who moves more is changed more


def test_spectrum_falls_with_frequency():
    noise = bold_noise(400, 50, 2.0, np.random.default_rng(0))
    power = (np.abs(np.fft.rfft(noise, axis=0)) ** 2).mean(1)
    frequency = np.fft.rfftfreq(400, 2.0)
    expected = 1 / (1 + (frequency / 0.03) ** 2)
    bands = [(0.005, 0.03), (0.03, 0.06), (0.06, 0.12), (0.12, 0.25)]
    measured = [power[(frequency >= low) & (frequency < high)].mean() for low, high in bands]
    asked = [expected[(frequency >= low) & (frequency < high)].mean() for low, high in bands]
    np.testing.assert_allclose(np.array(measured) / measured[0], np.array(asked) / asked[0], rtol=0.15)
    assert noise.std() == pytest.approx(1, abs=0.1)


def test_framewise_displacement_is_the_sum_of_absolute_steps():
    motion = head_motion(200, 0.2, np.random.default_rng(0))
    steps = np.abs(np.diff(motion.iloc[:, :6].to_numpy(), axis=0))
    expected = steps[:, :3].sum(1) + HEAD_RADIUS * steps[:, 3:].sum(1)
    assert np.isnan(motion["framewise_displacement"].iloc[0])
    np.testing.assert_allclose(motion["framewise_displacement"].iloc[1:], expected)
    assert motion["framewise_displacement"].mean() == pytest.approx(0.2)


def test_participants_are_plausible():
    spec = {"patients": 400, "controls": 500, "motion_ratio": 1.3}
    table = simulate_participants(spec, np.random.default_rng(0))
    assert table["group"].value_counts().to_dict() == {"DYT": 400, "HC": 500}
    assert table["participant_id"].is_unique
    assert table["age"].between(20, 80).all()
    assert table["age"].std() == pytest.approx(12, abs=1.5)
    assert (table["sex"] == "F").mean() == pytest.approx(0.6, abs=0.06)
    assert set(table["site"]) == {"site-A", "site-B"}
    means = table.groupby("group")["target_fd"].mean()
    assert means["DYT"] / means["HC"] == pytest.approx(1.3, abs=0.1)
    assert not (table["group"] == "DYT").is_monotonic_increasing  # the order betrays nobody
    assert not (table["group"] == "DYT").is_monotonic_decreasing


EXPECTED = {
    "short": "fewer than the 120 s asked",
    "corrupted": "hold NaN or infinity",
    "dead_regions": "of the regions are constant",
    "missing": "no series file in the index",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_defect_ends_in_an_exclusion_with_its_reason(simulated, kind):
    reasons = simulated.participants.loc[~simulated.participants["included"], "exclusion_reason"]
    assert len(reasons) == 4
    assert reasons.str.contains(EXPECTED[kind]).sum() == 1


def test_only_the_spoiled_are_excluded_and_nobody_disappears(simulated):
    table = simulated.participants
    assert table["participant_id"].tolist() == simulated.acquired.participants["participant_id"].tolist()
    assert table["included"].sum() == 12
    assert (table.loc[table["included"], "exclusion_reason"] == "").all()
    assert set(simulated.kept["participant_id"]) == set(table.loc[table["included"], "participant_id"])
    assert table.loc[table["included"], "mean_fd"].between(0.02, 0.9).all()


def test_spoiling_leaves_the_input_alone(nodes, simulated_spec):
    participants, series, confounds = simulate_cohort(simulated_spec, nodes)
    before = [x.copy() for x in series]
    subjects = spoil(participants, series, confounds, simulated_spec)
    for old, new in zip(before, series):
        np.testing.assert_array_equal(old, new)
    changed = [s for s, x in zip(subjects, series) if s.series is None or not np.array_equal(s.series, x)]
    assert len(changed) == 4


def test_truth_and_carriers_are_named(simulated, nodes):
    truth, carriers = simulated.acquired.truth, simulated.acquired.carriers
    assert len(truth) == 10
    assert set(truth["region_a"]) | set(truth["region_b"]) <= set(nodes["name"])
    groups = simulated.acquired.participants.set_index("participant_id")["group"]
    assert (groups.loc[carriers["participant_id"]] == "DYT").all()
    assert len(carriers) == 6  # three quarters of eight
