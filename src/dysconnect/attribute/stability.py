"""How well the maps of many folds agree: of the edges selected (Nogueira, Kuncheva), of the numbers (ICC)."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from dysconnect.data.edges import Pairs


class Interval(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float


def strongest(maps: np.ndarray, top: int) -> np.ndarray:
    """Which edges are the `top` strongest of every map, [M, E] -> bool [M, E]; ties go to the first."""
    order = np.argsort(-np.abs(maps), axis=1, kind="stable")[:, :top]
    selected = np.zeros(maps.shape, bool)
    np.put_along_axis(selected, order, True, axis=1)
    return selected


def nogueira(selected: np.ndarray, level: float = 0.95) -> Interval:
    """Stability of M selections of E edges, corrected for chance: 1 for equal ones, 0 in the mean for random ones.

    ``1 - mean_e(s_e^2) / (k / E (1 - k / E))`` with s_e^2 the unbiased variance of edge e's selection and k the mean
    number selected. The interval takes the selections for independent, which those of overlapping folds are not: it
    is too narrow for these.

    Parameters
    ----------
    selected : array of bool, [M, E]
        M of two or more; neither nothing nor everything.

    References
    ----------
    Nogueira, Sechidis and Brown (2018), J Mach Learn Res 18(174), definition 4 and theorem 7.
    """
    n_maps, n_edges = selected.shape
    share, sizes = selected.mean(0), selected.sum(1)
    mean = sizes.mean() / n_edges
    spread = mean * (1 - mean)
    value = 1 - n_maps / (n_maps - 1) * (share * (1 - share)).mean() / spread
    terms = (selected @ share) / n_edges - sizes * mean / n_edges
    terms = (terms + value / 2 * (2 * sizes * mean / n_edges - sizes / n_edges - mean + 1)) / spread
    error = np.sqrt(4 / n_maps**2 * ((terms - terms.mean()) ** 2).sum())
    reach = ndtri((1 + level) / 2) * error
    return Interval(float(value), float(value - reach), float(min(1, value + reach)))


def kuncheva(selected: np.ndarray) -> float:
    """Mean overlap of all pairs of M selections of k edges each, corrected for chance: ``(o - k^2/E) / (k - k^2/E)``.

    References
    ----------
    Kuncheva (2007), A stability index for feature selection, IASTED Artificial Intelligence and Applications.
    """
    sizes = selected.sum(1)
    if len(set(sizes.tolist())) != 1:
        raise ValueError(f"selections of {sorted(set(sizes.tolist()))} edges: Kuncheva's index needs equal sizes.")
    numbers = selected.astype(float)
    pairs = Pairs(len(selected)).edges(numbers @ numbers.T)
    chance = sizes[0] ** 2 / selected.shape[1]
    return float(((pairs - chance) / (sizes[0] - chance)).mean())


def consistency(maps: np.ndarray) -> float:
    """Intraclass correlation of M maps of E edges, ICC(3,1): two-way, consistency of a single map.

    References
    ----------
    Shrout and Fleiss (1979), doi:10.1037/0033-2909.86.2.420.
    """
    n_maps, n_edges = maps.shape
    centred = maps - maps.mean()
    edges, raters = centred.mean(0), centred.mean(1)
    between = n_maps * (edges**2).sum() / (n_edges - 1)
    rest = ((centred - edges - raters[:, None]) ** 2).sum() / ((n_edges - 1) * (n_maps - 1))
    return float((between - rest) / (between + (n_maps - 1) * rest)) if between + rest > 0 else float("nan")
