"""Variability of connections: how much more they change during a scan than chance makes them seem to."""

import numpy as np

from dysconnect.dynamics.fisher import fisher_z
from dysconnect.dynamics.scans import check_scan, on_time

SHORTEST_WINDOW = 60.0  # s
FASTEST = 0.1  # Hz; above it is hardly more than noise, which makes connections seem to change less
STEPS = 10  # in which a window moves by its own length
WINDOWS = 3  # lengths of a window that a scan must have
NUGGET = 1e-6  # of the variance, without which the covariance of filtered series has no inverse
AT_ONCE = 4e5  # bytes of products of surrogates that are worked on together
SMALLEST_VARIANCE = 1e-6  # within a window, of a region of variance one: constant there, and uncorrelated


def variability(
    series: np.ndarray,
    kept: np.ndarray,
    repetition_time: float,
    window: float = SHORTEST_WINDOW,
    surrogates: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """Excess of every connection's variance in time over that of the person's own stationary surrogates, [E].

    The correlation in a window of a minute is uncertain, the more so the smoother the series: its Fisher z varies
    between windows even where nothing changes. The surrogates (`phase_randomized`) have the same covariance and spectra
    but are stationary. They are made of the series with censored volumes interpolated, and censored alike. Shuffled
    time is no such null: it is white, and any smooth series exceeds it. Only what is slower than 0.1 Hz is compared.

    Parameters
    ----------
    series : array, [K, N]
        Denoised without a low-pass, so that `delay_and_noise` sees their noise; of the kept volumes.
    kept : bool array, [T]
    repetition_time : float
        Seconds.
    window : float
        Seconds: at least 60, and at least the period of the lowest frequency that denoising left.
    surrogates : int
    seed : int

    Returns
    -------
    array of float32, [E]
        Variance less its mean over the surrogates, in squares of Fisher's z, above the diagonal row by row: how much a
        connection changes. In standard deviations of the surrogates it would say how sure that is, which is less in
        shorter and in censored scans, whatever their connections do.

    Raises
    ------
    ValueError
        When the series are unusable (`check_scan`), or the scan is too short (`check_windows`).
    """
    rng = np.random.default_rng(seed)
    scaled = check_scan(series, kept)
    length, step = check_windows(kept, repetition_time, window)
    whole, mask = _filled(scaled, kept, rng)
    whole = _slow(whole, repetition_time).astype(np.float32)
    seen = windowed_variance(whole, mask, length, step).astype(float)
    still = np.zeros_like(seen)
    together = int(np.clip(AT_ONCE * step / (4 * len(whole) * whole.shape[1] ** 2), 1, surrogates))
    for first in range(0, surrogates, together):
        count = min(together, surrogates - first)
        for one in windowed_variance(phase_randomized(whole, rng, (count,)), mask, length, step):
            still += one
    return (seen - still / surrogates).astype(np.float32)


def check_windows(kept: np.ndarray, repetition_time: float, window: float = SHORTEST_WINDOW) -> tuple[int, int]:
    """Length and step of windows in volumes, as of `window_volumes`, where a scan with these kept volumes has enough.

    Raises
    ------
    ValueError
        When the window is short, the scan shorter than three windows, or fewer than two windows keep half of theirs.
    """
    length, step = window_volumes(window, repetition_time)
    mask = kept[_inside(kept)]
    if len(mask) < WINDOWS * length:
        raise ValueError(
            f"{len(mask)} volumes from the first to the last that is kept are shorter than {WINDOWS} windows of "
            f"{length}, too short for variability"
        )
    if (_kept_in_windows(mask, length, step) >= length / 2).sum() < 2:
        raise ValueError(f"fewer than two windows of {length} volumes keep half of them, too much is censored")
    return length, step


def window_volumes(window: float, repetition_time: float) -> tuple[int, int]:
    """Length of a window of so many seconds or a little more, and its step, in volumes.

    Raises
    ------
    ValueError
        Below 60 s, or below ten volumes.
    """
    if window < SHORTEST_WINDOW:
        raise ValueError(f"windows of {window:g} s are too short for resting connectivity: give 60 s or more")
    step = int(np.ceil(window / repetition_time / STEPS - 1e-9))
    if window / repetition_time < STEPS:
        raise ValueError(
            f"a window of {window:g} s has fewer than {STEPS} volumes of {repetition_time:g} s; lengthen it"
        )
    return STEPS * step, step


def phase_randomized(series: np.ndarray, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Surrogates of series [T, N], [*shape, T, N]: random phases, the same in all regions of one.

    So covariance and spectra are kept.

    References
    ----------
    Schreiber and Schmitz (2000), Surrogate time series, arXiv:chao-dyn/9909037.
    """
    from scipy.fft import irfft, rfft

    spectrum = rfft(series, axis=0)
    phases = np.exp(2j * np.pi * rng.random((*shape, len(spectrum))))
    phases[..., 0] = 1
    if len(series) % 2 == 0:
        phases[..., -1] = 1
    return irfft(spectrum * phases.astype(spectrum.dtype)[..., None], n=len(series), axis=-2)


def windowed_variance(series: np.ndarray, mask: np.ndarray, length: int, step: int) -> np.ndarray:
    """Variance over windows of Fisher's z of every pair, [..., E].

    Windows are rectangular. Only volumes of the mask count, and only windows that keep half of theirs. Windows that
    overlap are alike, and vary less the fewer there are: the variance is that of windows that do not, as far as these
    have nothing to do with one another.

    Parameters
    ----------
    series : array, [..., T, N]
        Of one scan, or of several alike.
    mask : bool array, [T]
        With two such windows or more (`check_windows`).
    length, step : int
        Of the windows, in volumes; `step` divides `length`.
    """
    used = _kept_in_windows(mask, length, step) >= length / 2
    return windowed_fisher(series, mask, length, step).var(-2, ddof=1) / _apart(used, length // step)


def windowed_fisher(series: np.ndarray, mask: np.ndarray, length: int, step: int) -> np.ndarray:
    """Fisher's z of every pair in every window, [..., windows, E]; parameters as of `windowed_variance`."""
    *several, time, regions = series.shape
    blocks, width = time // step, length // step
    seen = np.where(mask[:, None], series, 0)[..., : blocks * step, :]
    parts = seen.reshape(*several, blocks, step, regions)
    counts = _kept_in_windows(mask, length, step)
    used = counts >= length / 2
    count = counts[used, None].astype(series.dtype)
    rows, cols = np.triu_indices(regions, 1)
    products = parts.swapaxes(-1, -2) @ parts
    mean = _moving(parts.sum(-2), width)[..., used, :] / count
    square = _moving(np.einsum("...nn->...n", products), width)[..., used, :] / count
    spread = np.sqrt(np.maximum(square - mean**2, SMALLEST_VARIANCE))
    shared = _moving(products[..., rows, cols], width)[..., used, :] / count - mean[..., rows] * mean[..., cols]
    return fisher_z(shared / (spread[..., rows] * spread[..., cols]))


def _kept_in_windows(mask: np.ndarray, length: int, step: int) -> np.ndarray:
    """How many volumes of the mask [T] are in every window, [windows]."""
    blocks = len(mask) // step
    return _moving(mask[: blocks * step].reshape(blocks, step).sum(1)[:, None], length // step)[:, 0]


def _inside(kept: np.ndarray) -> slice:
    """Volumes from the first that is kept to the last."""
    time = np.flatnonzero(kept)
    return slice(time[0], time[-1] + 1)


def _apart(used: np.ndarray, width: int) -> float:
    """One less the mean overlap, as a fraction of their length, of two windows that are used; see `windowed_variance`.

    Windows of `width` steps, each a step after the one before; `used` says which count.
    """
    start = np.flatnonzero(used)
    overlap = np.clip(1 - np.abs(start[:, None] - start) / width, 0, 1)
    return 1 - (overlap.sum() - len(start)) / (len(start) * (len(start) - 1))


def _moving(blocks: np.ndarray, width: int) -> np.ndarray:
    """Sums of `width` blocks that follow each other, [..., B, K] -> [..., B - width + 1, K]."""
    total = np.concatenate([np.zeros_like(blocks[..., :1, :]), np.cumsum(blocks, axis=-2)], axis=-2)
    return total[..., width:, :] - total[..., :-width, :]


def _slow(series: np.ndarray, repetition_time: float) -> np.ndarray:
    """What of series [T, N] is slower than 0.1 Hz."""
    from scipy.fft import irfft, rfft, rfftfreq

    spectrum = rfft(series, axis=0)
    spectrum[rfftfreq(len(series), repetition_time) > FASTEST] = 0
    return irfft(spectrum, n=len(series), axis=0)


def _filled(series: np.ndarray, kept: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Series [K, N] from the first kept volume to the last, [T', N], and the mask [T'] of those that are kept.

    Straight lines over what is censored are smoother than BOLD, and surrogates spread that over the whole scan: they
    would vary more than what was seen. So lines are only where it starts from; the gaps then take a Gaussian draw given
    the kept volumes, by the autocovariance of the regions together.
    """
    from scipy.fft import irfft, rfft
    from scipy.interpolate import make_interp_spline
    from scipy.linalg import toeplitz

    time, inside = np.flatnonzero(kept), _inside(kept)
    whole, mask = on_time(series, kept)[inside], kept[inside]
    if mask.all():
        return whole, mask
    whole[~mask] = make_interp_spline(time - time[0], series, k=1)(np.flatnonzero(~mask))
    power = np.mean(np.abs(rfft(whole, axis=0)) ** 2, axis=1)
    covariance = toeplitz(irfft(power, n=len(whole))) + NUGGET * power.mean() * np.eye(len(whole))
    weights = np.linalg.solve(covariance[np.ix_(mask, mask)], covariance[np.ix_(mask, ~mask)]).T
    draw = phase_randomized(whole, rng)
    whole[~mask] = draw[~mask] + weights @ (whole[mask] - draw[mask])
    return whole, mask
