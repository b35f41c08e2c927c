"""p of statistics that are sums, from their ranks among those of permutations, and the smallest of many p."""

import numpy as np

SLACK = 1e-5  # relative: what two float32 sums of the same numbers may differ by


def exceedance(observed: np.ndarray | float, null: np.ndarray) -> np.ndarray:
    """``(1 + #{null >= observed}) / (1 + B)`` of statistics that are sums; ties to rounding counted."""
    ordered = np.sort(null)
    observed = np.asarray(observed, float)
    beyond = len(ordered) - np.searchsorted(ordered, observed - SLACK * np.abs(observed), side="left")
    return (1 + beyond) / (1 + len(ordered))


def smallest_p(statistics: np.ndarray, shares: np.ndarray | float = 1.0) -> np.ndarray:
    """Smallest p of every row over all its statistics, each ranked over all rows, ``[1 + B, ...] -> [1 + B]``.

    `shares` [...] divide the p: a statistic with a larger share of alpha needs less.
    """
    flat = statistics.reshape(len(statistics), -1)
    shares = np.broadcast_to(shares, statistics.shape[1:]).ravel()
    smallest = np.full(len(flat), np.inf)
    for column, share in zip(flat.T, shares):
        ordered = np.sort(column)
        below = np.searchsorted(ordered, column - SLACK * np.abs(column), side="left")
        smallest = np.minimum(smallest, (len(flat) - below) / len(flat) / share)
    return smallest


def attained(p: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """Correct p for the choice of the smallest: ``(1 + #{smallest of a permutation <= p}) / (1 + B)``."""
    reached = np.searchsorted(np.sort(smallest), p * (1 + 1e-9), side="right")
    return (1 + reached) / (1 + len(smallest))
