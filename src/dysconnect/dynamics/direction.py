"""What accuracy of direction to expect of a cohort: networks with known directions, seen through its own scanner."""

from typing import NamedTuple

import numpy as np

from dysconnect.dynamics.lagged import PENALTY, estimate

STEP = 0.1  # s, at most, between the points of a simulated course
RUN_IN = 40.0  # s before the first volume: the response has begun
DECAY = 1.5  # s, of the activity of a region alone
PEAK, UNDERSHOOT, RATIO = 6.0, 16.0, 6.0  # shapes of the gamma densities of the response, and their ratio
NOISE = 0.3  # standard deviation of noise from volume to volume, relative to the signal's


class Accuracy(NamedTuple):
    """How well direction is estimated, as means over simulated networks with standard errors.

    Attributes
    ----------
    correlation, correlation_error : float
        Of the coupling with the truth, over all ordered pairs.
    direction, direction_error : float
        Share of pairs with the right one of the two directions the stronger, among the half of the asymmetric pairs
        that differ most; chance is 0.5.
    """

    correlation: float
    correlation_error: float
    direction: float
    direction_error: float


def direction_accuracy(
    n_regions: int,
    n_volumes: int,
    repetition_time: float,
    response_spread: float | None = 1.0,
    noise: float = NOISE,
    networks: int = 20,
    penalty: float = PENALTY,
    seed: int = 0,
) -> Accuracy:
    """Accuracy to expect of lagged coupling.

    Parameters
    ----------
    n_regions : int
        N, of the circuit.
    n_volumes : int
        T: pairs of volumes that are used, for a censored scan.
    repetition_time : float
        Seconds.
    response_spread : float or None
        Standard deviation over regions of the peak of the haemodynamic response, s; None: activity itself is seen.
    noise : float
        From volume to volume, relative to the signal.
    networks : int
        Random networks that are simulated.

    Raises
    ------
    ValueError
        For fewer than two regions, which have no direction.
    """
    if n_regions < 2:
        raise ValueError(f"{n_regions} regions have no direction between them; give two or more")
    rng = np.random.default_rng(seed)
    truths = np.stack([random_network(n_regions, rng) for _ in range(networks)])
    peaks = None if response_spread is None else PEAK + response_spread * rng.standard_normal((networks, n_regions))
    scans = simulate_scans(truths, n_volumes, repetition_time, peaks, np.full((networks, n_regions), noise), rng)
    kept = np.ones(n_volumes, bool)
    seen = np.array([_agreement(estimate(x, kept, penalty).coupling, truth) for x, truth in zip(scans, truths)])
    mean, error = seen.mean(0), seen.std(0, ddof=1) / np.sqrt(networks)
    return Accuracy(mean[0], error[0], mean[1], error[1])


def random_network(n_regions: int, rng: np.random.Generator) -> np.ndarray:
    """Coupling in 1/s from column to row, [N, N]: a fifth of the ordered pairs, of random strength, and stable."""
    while True:
        joined = rng.random((n_regions, n_regions)) < 0.2
        coupling = joined * rng.gamma(2, 0.5, (n_regions, n_regions)) * ~np.eye(n_regions, dtype=bool)
        radius = np.abs(np.linalg.eigvals(coupling)).max()
        if radius > 1e-2:  # a network without any loop has none to scale by
            return coupling * 0.6 / radius / DECAY


def simulate_scans(
    couplings: np.ndarray,
    n_volumes: int,
    repetition_time: float,
    peaks: np.ndarray | None,
    noise: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Scans of linear networks driven by white noise, ``dx/dt = (C - 1/DECAY) x + w``, sampled exactly.

    Parameters
    ----------
    couplings : array, [P, N, N]
        C of every person, 1/s, from column to row.
    n_volumes : int
    repetition_time : float
        Seconds.
    peaks : array, [P, N], or None
        Shape of every region's response, about the second of its peak + 1; None: activity itself is seen.
    noise : array, [P, N]
        Standard deviation of noise that is added to the signal of standard deviation one.

    Returns
    -------
    array, [P, T, N]
    """
    a_volume = int(np.ceil(repetition_time / STEP - 1e-9))
    step = repetition_time / a_volume
    first = int(np.ceil(RUN_IN / step))
    courses = _activity(couplings, first + n_volumes * a_volume, step, rng)
    if peaks is not None:
        courses = _through_response(courses, peaks, step)
    seen = courses[first::a_volume][:n_volumes]
    seen = (seen - seen.mean(0)) / seen.std(0)
    return (seen + noise * rng.standard_normal(seen.shape)).transpose(1, 0, 2)


def _activity(couplings: np.ndarray, n_points: int, step: float, rng: np.random.Generator) -> np.ndarray:
    """Courses of the networks from their stationary distribution on, [points, P, N]."""
    from scipy.linalg import expm, solve_continuous_lyapunov

    unit = np.eye(couplings.shape[-1])
    drifts = couplings - unit / DECAY
    moves = np.stack([expm(drift * step) for drift in drifts])
    spreads = np.stack([solve_continuous_lyapunov(drift, -unit) for drift in drifts])
    pushes = np.linalg.cholesky(spreads - moves @ spreads @ moves.transpose(0, 2, 1))
    courses = rng.standard_normal((n_points, *couplings.shape[:2], 1))
    courses[0] = np.linalg.cholesky(spreads) @ courses[0]
    for point in range(1, n_points):
        courses[point] = moves @ courses[point - 1] + pushes @ courses[point]
    return courses[..., 0]


def _through_response(courses: np.ndarray, peaks: np.ndarray, step: float) -> np.ndarray:
    """Courses [points, P, N] through a double-gamma response for every region, [points, P, N]."""
    from scipy.signal import fftconvolve
    from scipy.stats import gamma

    time = np.arange(0, 25, step)[:, None, None]
    response = gamma.pdf(time, np.maximum(peaks, 1.5)) - gamma.pdf(time, UNDERSHOOT) / RATIO
    return fftconvolve(courses, response, axes=0)[: len(courses)]


def _agreement(coupling: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Correlation with the truth over ordered pairs, and the share of clearly asymmetric ones with right direction."""
    apart, upper = ~np.eye(len(truth), dtype=bool), np.triu_indices(len(truth), 1)
    net, true_net = (coupling - coupling.T)[upper], (truth - truth.T)[upper]
    size = np.abs(true_net)
    clear = (size > 0) & (size >= np.median(size[size > 0]))
    right = np.sign(net[clear]) == np.sign(true_net[clear])
    return np.corrcoef(coupling[apart], truth[apart])[0, 1], right.mean()
