"""Simulate runs of finger tapping with a known truth: who shares a source while tapping, who responds, how late.

The traps of real runs are in it. Responses rise and fall together from block to block, as attention does, and within
blocks, as strength does, so that regions that only respond seem connected; their delays differ; and people move more
while they tap.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter, oaconvolve
from scipy.stats import gamma

from dysconnect.planted.motion import CONFOUNDS, head_motion

KINDS = ("bimanual", "left", "right")
BLOCK, PAUSE = 30.0, 32.0  # s, as in OpenNeuro ds006395
STEP = 0.5  # s, of the grid on which neural activity is simulated
MEMORY = 1.0  # s, in which it forgets (a first-order process)
VARIES = 0.3  # relative spread of a response: of its amplitude over regions and people, and together over blocks
FADES = 0.3  # relative spread over blocks of its change from the middle of a block to the end, in all regions together
PEAKS = 0.5  # s, spread over regions and people of the peak of the haemodynamic response
NOISE = 0.45  # of the scanner; what activity of variance one leaves in the signal is about as large
LENGTH = 32.0  # s, of the haemodynamic response


@dataclass(frozen=True)
class Tapping:
    """What is true of a group of people.

    Attributes
    ----------
    background : array, [S, N]
        Loadings of the N regions on independent sources that are always active, with variance one.
    coupling : array, [C, N]
        Loadings on sources that are active while tapping only.
    activation : array, [N]
        Mean response to tapping.
    delay : float
        Seconds by which all responses peak later.
    """

    background: np.ndarray
    coupling: np.ndarray
    activation: np.ndarray
    delay: float = 0.0


def tapping_events(n_volumes: int, repetition_time: float, rng: np.random.Generator) -> pd.DataFrame:
    """Blocks of tapping in random order, each kind about equally often, with rest after each.

    Parameters
    ----------
    n_volumes : int
    repetition_time : float
        Seconds.
    rng : Generator

    Returns
    -------
    DataFrame
        `onset`, `duration` (s), `trial_type`; the last event ends with the scan.
    """
    seconds = n_volumes * repetition_time
    start = np.arange(0, seconds, BLOCK + PAUSE)
    order = rng.permutation(np.resize(KINDS, len(start)))
    onset = np.column_stack([start, start + BLOCK]).ravel()
    kind = np.column_stack([order, np.full(len(start), "rest")]).ravel()
    inside = onset < seconds
    events = pd.DataFrame({"onset": onset[inside], "trial_type": kind[inside]})
    events.insert(1, "duration", np.diff(np.r_[onset[inside], seconds]))
    return events


def edge_sources(i: np.ndarray, j: np.ndarray, n_regions: int, loading: float) -> np.ndarray:
    """Loadings of a source for each pair of regions (i, j) that is to be coupled while tapping, [pairs, N]."""
    sources, pairs = np.zeros((len(i), n_regions)), np.arange(len(i))
    sources[pairs, i] = sources[pairs, j] = loading
    return sources


def tapping_series(
    events: pd.DataFrame,
    n_volumes: int,
    repetition_time: float,
    truth: Tapping,
    rng: np.random.Generator,
    n_people: int = 1,
) -> np.ndarray:
    """Simulate people who tap at the same times.

    Parameters
    ----------
    events : DataFrame
        From `tapping_events`.
    n_volumes : int
    repetition_time : float
        Seconds.
    truth : Tapping
    rng : Generator
    n_people : int

    Returns
    -------
    array, [P, T, N]
        Arbitrary BOLD units around 1000, without motion. Where two regions have no other source, one that they share
        while tapping with loadings c gives their activity a correlation of ``c^2 / (1 + c^2)`` then.
    """
    fine = max(1, round(repetition_time / STEP))
    step, n_regions = repetition_time / fine, len(truth.activation)
    lead = int(np.ceil(LENGTH / step))  # before the scan, for the responses to begin
    blocks, ramps = _blocks(events, np.arange(-lead, n_volumes * fine) * step)
    activity = _fluctuations(n_people, len(blocks), len(truth.background), step, rng) @ truth.background
    shared = _fluctuations(n_people, len(blocks), len(truth.coupling), step, rng)
    activity += (shared * blocks.any(1)[:, None]) @ truth.coupling
    height = np.maximum(0, 1 + VARIES * rng.standard_normal((n_people, blocks.shape[1])))
    slope = FADES * rng.standard_normal(height.shape)
    amplitude = truth.activation * (1 + VARIES * rng.standard_normal((n_people, n_regions)))
    activity += (height @ blocks.T + slope @ ramps.T)[..., None] * amplitude[:, None]
    peak = 6 + truth.delay + PEAKS * rng.standard_normal((n_people, 1, n_regions))
    bold = oaconvolve(activity, haemodynamic_response(step, peak), axes=1)[:, lead : len(blocks) : fine]
    return 1000 + 10 * (bold + NOISE * rng.standard_normal(bold.shape))


def tapping_responses(
    events: pd.DataFrame, n_volumes: int, repetition_time: float, activation: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One person's responses to tapping, [T, N], in units of `activation` [N]; amplitudes and delays vary.

    Parameters as of `tapping_series`.
    """
    n_blocks = int((events["trial_type"] != "rest").sum())
    height = np.maximum(0, 1 + VARIES * rng.standard_normal(n_blocks)), FADES * rng.standard_normal(n_blocks)
    amplitude = activation * (1 + VARIES * rng.standard_normal(len(activation)))
    peak = 6 + PEAKS * rng.standard_normal(len(activation))
    return amplitude * _responses(events, n_volumes, repetition_time, *height, peak)


def tapping_load(events: pd.DataFrame, n_volumes: int, repetition_time: float) -> np.ndarray:
    """How much of tapping is in every volume, blurred as the response to it is, [T], 0 to 1; parameters as above."""
    even = np.ones(int((events["trial_type"] != "rest").sum()))
    return np.clip(_responses(events, n_volumes, repetition_time, even, 0 * even, np.full(1, 6.0))[:, 0], 0, 1)


def _responses(
    events: pd.DataFrame,
    n_volumes: int,
    repetition_time: float,
    height: np.ndarray,
    slope: np.ndarray,
    peaks: np.ndarray,
) -> np.ndarray:
    """Responses to blocks of these heights and slopes that peak at `peaks` (s), [T, P]."""
    fine = max(1, round(repetition_time / STEP))
    step = repetition_time / fine
    lead = int(np.ceil(LENGTH / step))  # before the scan, for the responses to begin
    blocks, ramps = _blocks(events, np.arange(-lead, n_volumes * fine) * step)
    course = np.broadcast_to((blocks @ height + ramps @ slope)[:, None], (len(blocks), len(peaks)))
    return oaconvolve(course, haemodynamic_response(step, peaks), axes=0)[lead : len(course) : fine]


def haemodynamic_response(step: float, peak: np.ndarray) -> np.ndarray:
    """Two gamma functions on a grid of `step` s, with a sum of one; `peak` (s) is broadcast against time, axis -2."""
    time = np.arange(0, LENGTH, step)[:, None]
    response = gamma.pdf(time, peak) - gamma.pdf(time, 16) / 6
    return response / response.sum(-2, keepdims=True)


def tapping_motion(
    events: pd.DataFrame,
    n_volumes: int,
    repetition_time: float,
    mean_fd: float,
    excess: float,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Head motion of somebody who moves `excess` times more while tapping; mean displacement (mm) as at rest.

    Returns
    -------
    DataFrame, [T rows]
        As of `head_motion`.
    """
    motion = head_motion(n_volumes, mean_fd, rng)
    factor = 1 + excess * _blocks(events, np.arange(n_volumes) * repetition_time)[0].any(1)
    steps = motion[list(CONFOUNDS)].diff().fillna(0.0).mul(factor, axis=0)
    return steps.cumsum().assign(framewise_displacement=motion["framewise_displacement"] * factor)


def _blocks(events: pd.DataFrame, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which times (s) lie in which block of tapping, bool [times, blocks], and how far in it, from -1 to 1."""
    tapping = events[events["trial_type"] != "rest"]
    since, duration = time[:, None] - tapping["onset"].to_numpy(), tapping["duration"].to_numpy()
    inside = (since >= 0) & (since < duration)
    return inside, np.where(inside, 2 * since / duration - 1, 0)


def _fluctuations(n_people: int, n_steps: int, n_sources: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Independent sources of variance one that forget within a second, [P, steps, S]."""
    kept = np.exp(-step / MEMORY)
    white = rng.standard_normal((n_people, n_steps, n_sources))
    return lfilter([np.sqrt(1 - kept**2)], [1, -kept], white, axis=1)
