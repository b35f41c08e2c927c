"""Simulate a case-control cohort of regional BOLD with the traps of real data and a planted truth."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from dysconnect.planted.motion import head_motion, motion_artefact
from dysconnect.planted.plant import plant_cohort

TASKS, TIMED = ("task", "task_change"), ("lagged", "variability")  # measures of which a truth of its own is planted
EXCESS = 0.5  # by which everybody moves more while tapping; patients `motion_ratio` times as much more
RUN = 360  # volumes of a task run at least: twelve minutes, as in OpenNeuro ds006395
ACTIVATION = 2.0  # of the motor loops by tapping, relative to the spread of their series
LESS = 0.7  # of it in patients: they activate less, which is no difference of connections


@dataclass(frozen=True)
class Subject:
    """One simulated scan: `series` [T, N] (None when the file is to be missing), `confounds` [T rows], `events`."""

    participant_id: str
    series: np.ndarray | None
    confounds: pd.DataFrame | None
    events: pd.DataFrame | None = None


class Simulated(NamedTuple):
    """A simulated dataset: the participants, their scans, the planted edges and who of the patients carries them."""

    participants: pd.DataFrame
    subjects: list[Subject]
    truth: pd.DataFrame
    carriers: pd.DataFrame


@dataclass(frozen=True)
class Kernels:
    """Positive-definite building blocks of the covariance, each [N, N] with a unit diagonal or scaled below."""

    local: np.ndarray
    homotopic: np.ndarray
    network: np.ndarray
    loops: np.ndarray


def covariance_kernels(nodes: pd.DataFrame) -> Kernels:
    """Build the kernels of resting connectivity from coordinates, networks and loops.

    Each is positive definite: exponential kernels of Euclidean distance, on the coordinates (local) and on
    the coordinates folded over the midline (homotopic), a block kernel of the functional networks, and a
    rank-one kernel that joins the sensorimotor cortex, the thalamus, the basal ganglia and the cerebellum.
    """
    from scipy.spatial.distance import cdist

    xyz = nodes[["x", "y", "z"]].to_numpy(float)
    folded = np.c_[np.abs(xyz[:, 0]), xyz[:, 1:]]
    network = nodes["network"].to_numpy()
    known = network != "unassigned"
    motor = nodes["network"].str.contains("Somatomotor").to_numpy()
    in_loop = (nodes["system"].isin(["thalamus", "basal_ganglia", "cerebellum"]).to_numpy()) | motor
    return Kernels(
        local=np.exp(-cdist(xyz, xyz) / 20.0),
        homotopic=np.exp(-cdist(folded, folded) / 10.0),
        network=((network[:, None] == network) & known).astype(float),
        loops=np.outer(in_loop, in_loop).astype(float),
    )


def subject_covariance(kernels: Kernels, age: float, sex: str, site: int, rng: np.random.Generator) -> np.ndarray:
    """Mix the kernels for one person, [N, N]: age weakens networks, sex and site shift the mixture."""
    weight = rng.lognormal(0.0, 0.15, 5)
    network = 0.30 * weight[0] * np.exp(-0.008 * (age - 45))
    homotopic = 0.30 * weight[1] * (1.06 if sex == "F" else 1.0)
    local, loops = 0.25 * weight[2], 0.12 * weight[3]
    shared = 0.10 * weight[4] * (1.0 if site == 0 else 1.4)
    covariance = network * kernels.network + homotopic * kernels.homotopic
    covariance += local * kernels.local + loops * kernels.loops + shared
    covariance[np.diag_indices_from(covariance)] += 0.25 if site == 0 else 0.35
    return covariance


def bold_noise(n_volumes: int, n_columns: int, tr: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with the falling spectrum of BOLD, power ~ 1 / (1 + (f / 0.03 Hz)^2), [T, columns]."""
    frequency = np.fft.rfftfreq(n_volumes, tr)
    amplitude = 1 / np.sqrt(1 + (frequency / 0.03) ** 2)
    spectrum = np.fft.rfft(rng.standard_normal((n_volumes, n_columns)), axis=0) * amplitude[:, None]
    noise = np.fft.irfft(spectrum, n=n_volumes, axis=0)
    return noise / np.sqrt((amplitude**2).mean())


def simulate_participants(spec: dict, rng: np.random.Generator) -> pd.DataFrame:
    """Draw the participants: two groups, two sites, age, sex, and motion a little higher in patients."""
    n = spec["patients"] + spec["controls"]
    patient = np.arange(n) < spec["patients"]
    order = rng.permutation(n)
    age = np.clip(rng.normal(np.where(patient, 51, 49), 12), 20, 80)
    mean_fd = 0.14 * np.where(patient, spec["motion_ratio"], 1.0) * rng.lognormal(0, 0.35, n)
    table = pd.DataFrame(
        {
            "group": np.where(patient, "DYT", "HC"),
            "age": age.round(1),
            "sex": np.where(rng.random(n) < 0.6, "F", "M"),
            "site": np.where(rng.random(n) < 0.6, "site-A", "site-B"),
            "target_fd": mean_fd,
        }
    ).iloc[order]
    table.insert(0, "participant_id", [f"sub-{k:03d}" for k in range(1, n + 1)])
    return table.reset_index(drop=True)


def simulate_subject(
    row: pd.Series, nodes: pd.DataFrame, kernels: Kernels, spec: dict, rng: np.random.Generator
) -> tuple[np.ndarray, pd.DataFrame]:
    """Simulate one scan: neural series with the person's covariance, and head motion.

    Returns
    -------
    series : array, [T, N]
        Arbitrary BOLD units around 1000, without the motion artefact.
    confounds : DataFrame, [T rows]
    """
    site = 0 if row["site"] == "site-A" else 1
    factor = np.linalg.cholesky(subject_covariance(kernels, row["age"], row["sex"], site, rng))
    n_sources, share = 80, 0.6
    mixing = rng.standard_normal((n_sources, len(nodes))) / np.sqrt(n_sources)
    common = bold_noise(spec["volumes"], len(nodes), spec["repetition_time"], rng)
    personal = bold_noise(spec["volumes"], n_sources, spec["repetition_time"], rng) @ mixing
    series = (np.sqrt(1 - share) * common + np.sqrt(share) * personal) @ factor.T
    thermal = 0.35 * rng.standard_normal(series.shape)
    return 1000 + 10 * (series + thermal), head_motion(spec["volumes"], row["target_fd"], rng)


def simulate_cohort(spec: dict, nodes: pd.DataFrame) -> tuple[pd.DataFrame, list[np.ndarray], list[pd.DataFrame]]:
    """Simulate everybody, before any disruption is planted and before any scan is spoiled.

    Parameters
    ----------
    spec : dict
        The `dataset` section: `patients`, `controls`, `volumes`, `repetition_time` (s), `motion_ratio`,
        `seed`.
    nodes : DataFrame, [N rows]
        Atlas table.

    Returns
    -------
    participants, series, confounds
        In the same order; every subject has another random stream.
    """
    participants = simulate_participants(spec, np.random.default_rng([spec["seed"], 0]))
    kernels = covariance_kernels(nodes)
    scans = [
        simulate_subject(row, nodes, kernels, spec, np.random.default_rng([spec["seed"], 1, k]))
        for k, (_, row) in enumerate(participants.iterrows())
    ]
    return participants, [scan[0] for scan in scans], [scan[1] for scan in scans]


def simulate_tapping(
    spec: dict, participants: pd.DataFrame
) -> tuple[list[pd.DataFrame], list[np.ndarray], list[pd.DataFrame]]:
    """Everybody's events of tapping, how much of it is in every volume, [T] each, and motion that goes with it."""
    from dysconnect.planted.tapping import tapping_events, tapping_load, tapping_motion

    timed = spec["volumes"], spec["repetition_time"]
    rngs = [np.random.default_rng([spec["seed"], 6, k]) for k in range(len(participants))]
    events = [tapping_events(*timed, rng) for rng in rngs]
    loads = [tapping_load(own, *timed) for own in events]
    case = participants["group"].isin(spec["contrast"]["cases"])
    excess = np.where(case, EXCESS * spec["motion_ratio"], EXCESS)
    people = zip(events, participants["target_fd"], excess, rngs)
    return events, loads, [tapping_motion(own, *timed, fd, more, rng) for own, fd, more, rng in people]


def add_responses(
    series: list[np.ndarray], events: list[pd.DataFrame], nodes: pd.DataFrame, spec: dict, patients: np.ndarray
) -> list[np.ndarray]:
    """Add the responses of the motor loops to tapping; those of patients are weaker, wherever connections differ."""
    from dysconnect.planted.tapping import tapping_responses

    loops = np.diag(covariance_kernels(nodes).loops)
    responded = []
    for k, (x, own) in enumerate(zip(series, events)):
        strength = 10 * ACTIVATION * (LESS if k in patients else 1.0) * loops
        rng = np.random.default_rng([spec["seed"], 9, k])
        responded.append(x + tapping_responses(own, spec["volumes"], spec["repetition_time"], strength, rng))
    return responded


def simulate_severity(patients: np.ndarray, carriers: np.ndarray, spec: dict, n: int) -> np.ndarray:
    """Clinical score of everybody, [n]: 0 in controls, higher in patients with than without the planted disruption.

    Parameters
    ----------
    patients, carriers : array of int
        Rows of the participants; who carries the disruption.
    spec : dict
        The `dataset` section: `plant` (`effect`) and `seed`.
    n : int
        Participants.
    """
    rng = np.random.default_rng([spec["seed"], 4])
    score = 10 + 5 * rng.standard_normal(n)
    score[carriers] += 10 * spec["plant"]["effect"]
    return np.where(np.isin(np.arange(n), patients), np.maximum(1, score.round()), 0)


def add_motion(
    series: list[np.ndarray], confounds: list[pd.DataFrame], nodes: pd.DataFrame, spec: dict
) -> list[np.ndarray]:
    """Add every subject's motion artefact to the series (arbitrary BOLD units)."""
    xyz = nodes[["x", "y", "z"]].to_numpy(float)
    moved = []
    for k, (x, motion) in enumerate(zip(series, confounds)):
        rng = np.random.default_rng([spec["seed"], 2, k])
        moved.append(x + 10 * motion_artefact(motion, xyz, spec["motion_artefact"], rng))
    return moved


def spoil(
    participants: pd.DataFrame, series: list[np.ndarray], confounds: list[pd.DataFrame], spec: dict
) -> list[Subject]:
    """Spoil a few scans as happens in real cohorts: too short, NaN volumes, dead regions, no file."""
    rng = np.random.default_rng([spec["seed"], 3])
    kinds = [kind for kind, count in spec["defects"].items() for _ in range(count)]
    victims = dict(zip(rng.choice(len(series), len(kinds), replace=False), kinds))
    subjects = []
    for k, name in enumerate(participants["participant_id"]):
        x, motion, kind = series[k].copy(), confounds[k], victims.get(k)
        if kind == "short":
            keep = int(0.4 * len(x))
            x, motion = x[:keep], motion.iloc[:keep]
        elif kind == "corrupted":
            x[len(x) // 2 :, :] = np.nan
        elif kind == "dead_regions":
            x[:, rng.choice(x.shape[1], x.shape[1] // 4, replace=False)] = 0.0
        subjects.append(Subject(name, None if kind == "missing" else x, None if kind == "missing" else motion))
    return subjects


@threadpool_limits.wrap(limits=1, user_api="blas")  # the same digits with any number of threads
def simulate_dataset(spec: dict, nodes: pd.DataFrame) -> Simulated:
    """Simulate a dataset as it would be acquired: people, their planted disruption, motion and spoiled scans.

    Parameters
    ----------
    spec : dict
        The `dataset` section, see `simulate_cohort`; `plant` as of `plant_cohort`, `motion_artefact`, `defects`.
    nodes : DataFrame, [N rows]
        Atlas table.
    """
    from dysconnect.planted.timed import plant_in_time  # with scipy.signal, which the plan of a run need not load

    measure = spec["plant"].get("measure")
    if measure in TASKS:
        spec = spec | {"volumes": max(spec["volumes"], RUN)}
    participants, series, confounds = simulate_cohort(spec, nodes)
    patients = np.flatnonzero(participants["group"].isin(spec["contrast"]["cases"]))
    times = [spec["repetition_time"]] * len(participants)
    if measure in TIMED:
        series, truth, carriers = plant_in_time(series, nodes, times, spec["plant"], patients, measure)
    else:
        events, loads, confounds = simulate_tapping(spec, participants) if measure in TASKS else (None, None, confounds)
        series, truth, carriers = plant_cohort(series, participants, nodes, times, spec["plant"], patients, loads)
        series = add_responses(series, events, nodes, spec, patients) if events else series
    participants["severity"] = simulate_severity(patients, carriers, spec, len(participants))
    subjects = spoil(participants, add_motion(series, confounds, nodes, spec), confounds, spec)
    if measure in TASKS:
        subjects = [replace(subject, events=own) for subject, own in zip(subjects, events)]
    participants["scan_group"] = participants["participant_id"]
    names = participants["participant_id"].iloc[carriers].to_frame()
    return Simulated(participants.drop(columns="target_fd"), subjects, truth, names)
