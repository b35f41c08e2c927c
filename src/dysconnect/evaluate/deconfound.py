"""What remains of a score once age, sex, site and motion are accounted for: overlap weights of the subjects."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from dysconnect.data.edges import Pairs

PENALTY = 0.1  # keeps the propensity finite where a site has one class only; otherwise too small to be seen
STEPS = 25
FEWEST = 5  # effective subjects of a class, with fewer there is no deconfounded score
SAMPLES = 200  # bootstrap samples at a time


def confound_design(participants: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Columns that the propensity sees, [n, K]: numbers standardised and squared, categories one-hot.

    A missing number becomes the mean, and another column says so.
    """
    columns = [np.ones(len(participants))]
    for name in covariates:
        values = participants[name]
        if not pd.api.types.is_numeric_dtype(values):
            columns += list(pd.get_dummies(values.astype(str), drop_first=True).to_numpy(float).T)
            continue
        known = values.notna().to_numpy()
        if not known.all():
            columns.append((~known).astype(float))
        z = values.to_numpy(float)
        spread = np.nanstd(z) if known.any() else 0
        if spread > 0:
            z = np.where(known, (z - np.nanmean(z)) / spread, 0)
            columns += [z, z**2 - (z**2).mean()]
    return np.column_stack(columns)


def overlap_weights(labels: np.ndarray, design: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Weights that make patients and controls alike in their confounds, for every bootstrap sample, [B, S].

    A logistic regression gives the propensity e, the probability of being a patient given the confounds. Patients
    get the weight 1 - e and controls e: the weighted means of all columns of `design` are then the same in both
    groups, exactly (Li et al. 2018, theorem 3), and who has no counterpart in the other group counts for
    nothing. A score that is a function of the confounds alone then compares like with like, and its AUC is chance; a
    score that knows more keeps what it knows. As Dinga et al. 2020 argue, the predictions are what is judged: to
    regress confounds out of features leaves what a model finds another way.

    In small cohorts the result is conservative. A score that was learned from confounds in other folds falls below
    chance: what balances everybody makes the folds it was learned from and the fold it is tested in opposites. In
    simulations the confound floor came out at 0.40 to 0.45 with 100 subjects and at 0.46 to 0.49 with 400.

    Parameters
    ----------
    labels : array, [S]
    design : array, [S, K]
        From `confound_design`.
    counts : array, [B, S]
        Bootstrap counts; the propensity is fitted anew to each sample.

    References
    ----------
    Li, Morgan and Zaslavsky 2018, doi:10.1080/01621459.2016.1260466; Dinga et al. 2020,
    doi:10.1101/2020.08.17.255034.
    """
    parts = np.array_split(counts, max(1, len(counts) // SAMPLES))
    propensity = np.concatenate([_propensity(labels, design, part) for part in parts])
    return np.where(labels == 1, 1 - propensity, propensity) * counts


def _propensity(labels: np.ndarray, design: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Fitted probabilities of penalised logistic regressions, [B, S], by Newton's method."""
    size = design.shape[1]
    upper = Pairs(size, diagonal=True).ends
    products = design[:, upper[0]] * design[:, upper[1]]
    ridge = np.r_[0.0, np.full(size - 1, PENALTY)]
    beta = np.zeros((len(counts), size))
    for _ in range(STEPS):
        p = expit(beta @ design.T)
        gradient = (counts * (labels - p)) @ design - ridge * beta
        hessian = np.empty((len(counts), size, size))
        hessian[:, upper[0], upper[1]] = (counts * p * (1 - p)) @ products
        hessian[:, upper[1], upper[0]] = hessian[:, upper[0], upper[1]]
        hessian[:, np.arange(size), np.arange(size)] += ridge + 1e-9
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        beta += step / np.maximum(1, np.linalg.norm(step, axis=1, keepdims=True) / 5)
        if np.abs(step).max() < 1e-6:
            break
    return expit(beta @ design.T)


def level_folds(labels: np.ndarray, weights: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Weights [B, S] whose balance holds for pairs that are compared inside folds only, [B, S].

    A pair weighs as much as the product of its weights, so that a fold counts by the square of its sum; divided by
    that sum, it counts as it does in the balance. This matters where folds are sites, and people of one site are
    unlike those of another.

    Parameters
    ----------
    labels : array, [S]
    weights : array, [B, S]
        From `overlap_weights`.
    folds : array of int, [repeats, S]
        Where everybody was tested.
    """
    case, factor = labels == 1, np.zeros_like(weights)
    for fold in folds:
        member = (fold[:, None] == np.unique(fold)).astype(float)
        sums = (weights[:, case] @ member[case]) @ member.T
        factor += np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)
    return weights * np.where(case, factor, 1)


def effective_sizes(labels: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Effective number of patients and controls under weights [S], ``(sum w)^2 / sum w^2`` (Kish 1965)."""
    sides = [weights[labels == label] for label in (1, 0)]
    return tuple(float(side.sum() ** 2 / max((side**2).sum(), 1e-300)) for side in sides)


def enough_overlap(labels: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the groups share enough of their confounds to be compared under weights [S].

    The weights of a group add up to n1 n0 / n where confounds tell nothing, and to nothing where they tell all; they
    must reach what two groups of `FEWEST` alike would.
    """
    return min(effective_sizes(labels, weights)) >= FEWEST and weights[labels == 1].sum() >= FEWEST / 2
