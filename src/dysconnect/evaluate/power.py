"""Power: the smallest AUC that a cohort could have told from chance, and how many subjects another would need."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import ndtri

POWER = 0.8
COLUMNS = [
    "experiment", "method", "n_cases", "n_controls", "null_mean", "null_sd", "critical_auc", "detectable_auc",
    "n_needed",
]  # fmt: skip


def auc_sd(auc: float, cases: np.ndarray, controls: np.ndarray) -> float:
    """Standard error of an AUC whose pairs are compared inside folds.

    Parameters
    ----------
    auc : float
        True AUC.
    cases, controls : array, [folds]
        Patients and controls of every fold.

    References
    ----------
    Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.
    """
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    pairs = cases * controls
    spread = auc * (1 - auc) + (cases - 1) * (first - auc**2) + (controls - 1) * (second - auc**2)
    return float(np.sqrt((pairs * spread).sum()) / pairs.sum())


def detectable_auc(
    cases: np.ndarray, controls: np.ndarray, alpha: float, null_mean: float = 0.5, null_sd: float | None = None
) -> tuple[float, float]:
    """Critical AUC of a one-sided test, and the smallest true AUC that passes it with 80 % power.

    Parameters
    ----------
    cases, controls : array, [folds]
        Patients and controls of every fold.
    alpha : float
        Of the one-sided test.
    null_mean, null_sd : float
        Of permuted labels; without them, chance and Hanley and McNeil's standard error. The ratio of the two standard
        errors at chance is taken to hold for better scores too.

    Returns
    -------
    critical, detectable : float
        NaN where no AUC would do.
    """
    theory = auc_sd(0.5, cases, controls)
    ratio = 1.0 if null_sd is None else null_sd / theory
    critical = null_mean + ndtri(1 - alpha) * ratio * theory
    if critical >= 1:
        return np.nan, np.nan
    reach = ndtri(POWER) * ratio
    return critical, brentq(lambda auc: auc - reach * auc_sd(auc, cases, controls) - critical, critical, 1.0)


def subjects_needed(auc: float, cases: np.ndarray, controls: np.ndarray, alpha: float, ratio: float = 1.0) -> float:
    """Subjects that a cohort of the same mix would need to tell a true AUC from chance with 80 % power.

    Parameters
    ----------
    auc : float
    cases, controls : array, [folds]
    alpha : float
        Of the one-sided test.
    ratio : float
        Standard error of the model's null relative to Hanley and McNeil's.
    """

    def excess(times: float) -> float:
        sd = ratio * auc_sd(0.5, times * cases, times * controls)
        detectable = detectable_auc(times * cases, times * controls, alpha, 0.5, sd)[1]
        return (detectable if np.isfinite(detectable) else 1.0) - auc

    largest = 1e6
    if not auc > 0.5 or not excess(largest) < 0:
        return np.nan
    smallest = 2 / min(cases.min(), controls.min())  # two of a class in every fold
    total = cases.sum() + controls.sum()
    if not excess(smallest) > 0:
        return float(np.ceil(smallest * total))
    times = np.exp(brentq(lambda log: excess(np.exp(log)), np.log(smallest), np.log(largest)))
    return float(np.ceil(times * total))


def power_table(
    auc: Mapping[str, float], nulls: Mapping[str, pd.DataFrame], cases: np.ndarray, controls: np.ndarray, alpha: float
) -> pd.DataFrame:
    """What could have been told from chance, by theory and by the permutations of every model.

    Parameters
    ----------
    auc : mapping of str to float
        Observed, by experiment.
    nulls : mapping of str to DataFrame
        `permutation`, `auc`; empty where there is none.
    cases, controls : array, [folds]
        Of every fold of the first repeat.
    alpha : float

    Returns
    -------
    DataFrame
        `experiment`, `method` (hanley_mcneil, permutation), `n_cases`, `n_controls`, `null_mean`, `null_sd`,
        `critical_auc`, `detectable_auc`, `n_needed` (to tell the observed AUC, were it the true one).
    """
    scored = (cases > 0) & (controls > 0)  # folds of one class have no pair
    cases, controls = cases[scored].astype(float), controls[scored].astype(float)
    theory, rows = auc_sd(0.5, cases, controls), []
    for name, value in auc.items():
        permuted = nulls[name].loc[nulls[name]["permutation"] > 0, "auc"].to_numpy(float)
        known = [("hanley_mcneil", 0.5, theory)]
        if len(permuted) > 1:
            known.append(("permutation", permuted.mean(), permuted.std(ddof=1)))
        for method, mean, sd in known:
            detectable = detectable_auc(cases, controls, alpha, mean, sd)
            needed = subjects_needed(value, cases, controls, alpha, sd / theory)
            rows.append((name, method, int(cases.sum()), int(controls.sum()), mean, sd, *detectable, needed))
    return pd.DataFrame(rows, columns=COLUMNS)
