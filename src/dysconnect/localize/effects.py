"""How large a difference is: d in residual standard deviations, and its interval from the noncentral t.

The t of a difference of d residual standard deviations is noncentral with noncentrality ``d |g|``, g being the group
residualised for the nuisance. So ``t / |g|`` is d on the scale on which `power` says what could have been found.
Without nuisance ``|g| = sqrt(n1 n0 / (n1 + n0))``, and it is Cohen's d of two samples.
"""

from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import gammaincinv, ndtr

KNOTS, STEPS, NODES = 401, 45, 200


def noncentral_cdf(t: np.ndarray, noncentrality: np.ndarray, df: float) -> np.ndarray:
    """Probability that a noncentral t is at most t, [k]: a mean over the estimated spread (scipy's is NaN far out)."""
    spread, weights = _spread(float(df))
    return ndtr(np.multiply.outer(t, spread) - np.asarray(noncentrality)[..., None]) @ weights


@cache
def _spread(df: float) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of the estimated standard deviation of a true one, and their weights, which every step asks for."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return np.sqrt(2 * gammaincinv(df / 2, (nodes + 1) / 2) / df), weights / 2


def effect_interval(t: np.ndarray, size: float, df: float, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of d by inversion of the noncentral t; it leaves out 0 where the two-sided p is below ``1 - level``.

    Parameters
    ----------
    t : array, [E]
    size : float
        Norm of the group residualised for the nuisance.
    df : float
        Residual degrees of freedom.
    level : float

    Returns
    -------
    low, high : array, [E]
    """
    reach = np.arcsinh(max(float(np.abs(t).max(initial=0)), 1.0))
    knots = np.linspace(-reach, reach, KNOTS)  # dense where most edges are
    limit = CubicSpline(knots, _lower_limits(np.sinh(knots), df, (1 + level) / 2))
    return limit(np.arcsinh(t)) / size, -limit(np.arcsinh(-t)) / size


def _lower_limits(t: np.ndarray, df: float, below: float) -> np.ndarray:
    """Noncentralities under which so large a share lies below t, by bisection."""
    low, high = -np.abs(t) * 40 - 10, np.abs(t) * 40 + 10
    for _ in range(STEPS):
        middle = (low + high) / 2
        enough = noncentral_cdf(t, middle, df) >= below  # more noncentrality, fewer below
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return (low + high) / 2
