"""How large a difference is: Cohen's d of an edge with its interval, and what is left of it once chosen for being large.

The t of a group difference of d residual standard deviations has noncentrality ``d |g|``, where g is the group
residualised for the nuisance (`power`): so ``t / |g|`` estimates d, covariates that go with the group or not.
"""

import numpy as np
from scipy.special import gammaincinv, ndtr

GRID = 600  # values of t at which limits are solved; between them they are interpolated, to 1e-5
NODES = 200


def effect_interval(t: np.ndarray, size: float, df: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of d, by inverting the noncentral t distribution.

    Parameters
    ----------
    t : array, [E]
    size : float
        Norm of the residualised group, ``|g|``.
    df : int
        Residual degrees of freedom.
    alpha : float
        One minus the level. The interval excludes zero where the two-sided p is below alpha.

    Returns
    -------
    low, high : array, [E]
    """
    if len(t) == 0:
        return np.empty(0), np.empty(0)
    grid = np.linspace(t.min(), t.max(), GRID) if len(t) > GRID else np.unique(t)
    low, high = (_noncentrality(grid, df, tail) for tail in (1 - alpha / 2, alpha / 2))
    return np.interp(t, grid, low) / size, np.interp(t, grid, high) / size


def _noncentrality(t: np.ndarray, df: int, tail: float) -> np.ndarray:
    """Noncentrality under which T <= t has the probability `tail`, by bisection, [T]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    spread = np.sqrt(2 * gammaincinv(df / 2, (nodes + 1) / 2) / df)  # quantiles of chi-squared
    reach = 10 + np.abs(t) * (0.5 + 10 / np.sqrt(df))
    low, high = t - reach, t + reach
    for _ in range(60):
        middle = (low + high) / 2
        below = ndtr(t[:, None] * spread - middle[:, None]) @ weights / 2
        low, high = np.where(below > tail, middle, low), np.where(below > tail, high, middle)
    return (low + high) / 2
