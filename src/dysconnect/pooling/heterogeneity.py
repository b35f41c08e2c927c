"""Whether sites agree: the effect of each by itself, in residual standard deviations, and what they have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, ndtri, stdtr, stdtrit
from scipy.stats import chi2

from dysconnect.pooling.fit import Fit

FEWEST = 3  # degrees of freedom of a site: with fewer its d has no variance


@dataclass(frozen=True)
class Heterogeneity:
    """Effects of single sites on every outcome taken together, [E] each; NaN where fewer than two sites have one.

    Attributes
    ----------
    sites : array of int
        That have an effect of their own.
    q, p : array
        Cochran's Q and its p.
    i2, tau2 : array
        Share of the variance of the effects that chance does not make; variance of d between sites.
    fixed, fixed_se : array
        Mean d weighted by inverse variances; given from one site on.
    random, low, high, p_random : array
        Random-effects mean of d, with interval and p.
    """

    sites: np.ndarray
    q: np.ndarray
    p: np.ndarray
    i2: np.ndarray
    tau2: np.ndarray
    fixed: np.ndarray
    fixed_se: np.ndarray
    random: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_random: np.ndarray


def unbiased(d: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Effects without the bias of few degrees of freedom: d is too large by 3 / (4 df - 1), about (Hedges)."""
    return d * _shrinkage(df)


def effect_variance(d: np.ndarray | float, size: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Variance of the unbiased effect under a true one of d, from the moments of the noncentral t distribution.

    Parameters
    ----------
    d : array or float
    size : array
        Norm of the residualised group.
    df : array
        More than two.
    """
    return _shrinkage(df) ** 2 * df / (df - 2) * (1 / size**2 + d**2) - d**2


def _shrinkage(df: np.ndarray) -> np.ndarray:
    return np.exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / np.sqrt(df / 2)


def heterogeneity(alone: Sequence[Fit], alpha: float) -> Heterogeneity:
    """Compare the effects of sites that were fitted alone.

    Parameters
    ----------
    alone : sequence of Fit
        One a site, [E] each.
    alpha : float
        One minus the level of intervals.

    Notes
    -----
    The variance of a site's d is that under the mean d of all sites, not under its own: otherwise sites with small
    effects would weigh more by chance. The variance between sites is that of DerSimonian and Laird (1986), Control Clin
    Trials 7:177-188; the interval is that of Knapp and Hartung, never narrower than without their factor.

    References
    ----------
    Hedges (1981), J Educ Stat 6:107-128; Higgins and Thompson (2002), doi:10.1002/sim.1186; Röver, Knapp and Friede
    (2015), doi:10.1186/s12874-015-0091-1.
    """
    d, size, df = (np.stack([getattr(one, name) for one in alone]) for name in ("d", "size", "df"))
    usable = np.isfinite(d) & (df >= FEWEST)
    size, df = np.where(usable, size, 1), np.where(usable, df, FEWEST)
    effects = np.where(usable, unbiased(np.where(usable, d, 0), df), 0)
    weights = usable / effect_variance(0.0, size, df)
    weights = usable / effect_variance(_mean(effects, weights), size, df)
    fixed, total, k = _mean(effects, weights), weights.sum(0), usable.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(k > 1, (weights * (effects - fixed) ** 2).sum(0), np.nan)
        i2 = np.where(q > 0, np.maximum(0, 1 - (k - 1) / q), np.where(q == 0, 0.0, np.nan))
        tau2 = np.maximum(0, (q - (k - 1)) / (total - (weights**2).sum(0) / total))
        summary = _random(effects, np.where(usable, 1 / (1 / weights + tau2), 0), k, alpha)
        p = chi2.sf(q, k - 1)
        return Heterogeneity(k, q, p, i2, tau2, fixed, 1 / np.sqrt(np.where(k > 0, total, np.nan)), *summary)


def _mean(effects: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean over sites; NaN without any."""
    total = weights.sum(0)
    return np.where(total > 0, (weights * effects).sum(0) / np.where(total > 0, total, 1), np.nan)


def _random(effects: np.ndarray, weights: np.ndarray, k: np.ndarray, alpha: float) -> tuple[np.ndarray, ...]:
    """Random-effects mean, its interval and p; weights [S, E] have the variance between sites in them."""
    mean = np.where(k > 1, _mean(effects, weights), np.nan)
    df = np.maximum(k - 1, 1)
    factor = np.maximum(1, (weights * (effects - mean) ** 2).sum(0) / df)
    error = np.sqrt(factor / weights.sum(0))
    reach = stdtrit(df, 1 - alpha / 2) * error
    return mean, mean - reach, mean + reach, 2 * stdtr(df, -np.abs(mean / error))


def normal_interval(effect: np.ndarray, error: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of an effect with a known standard error: low and high."""
    reach = -ndtri(alpha / 2) * error
    return effect - reach, effect + reach


def sign_agreement(own: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave each site out: how often its own effect has the sign of that of all others together.

    Parameters
    ----------
    own, others : array, [S, E]
        Effect of every site by itself, and of all but it; NaN where there is none.

    Returns
    -------
    agreeing, judged : array of int, [E]
        Sites with the same sign, and sites of which it can be said.
    """
    product = own * others
    return (product > 0).sum(0), np.isfinite(product).sum(0)
