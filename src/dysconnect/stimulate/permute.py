"""Label permutations of the targets' effects: whatever sees labels is done again, for all permutations at once.

In a fold with training rows R and test rows Q the mean shift of target t is bilinear in two vectors of labels' making:
``-sum over its edges e of (c^T X)_e (a^T (X_R - mean))_e``, where a are the dual coefficients of the model and
``c^T X`` is what the test patients have beyond the controls' expectation, c being one on the test patients minus
their regression on the covariates of the training controls. So a permutation is one more row of two products.
"""

import numpy as np

from dysconnect.learning.permuted import shuffle_labels
from dysconnect.localize.overall import smallest_of_families
from dysconnect.models.dual import centred_kernel
from dysconnect.stimulate.folds import Fold
from dysconnect.stimulate.targets import Targets

CHUNK = 5e7  # bytes of edges that are worked on at once


def permuted_shifts(fold: Fold, targets: Targets, basis: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Summed shift of the test patients of a fold for many label vectors, in spreads of the decision, [P, T].

    Parameters
    ----------
    fold : Fold
        Of a classifier in the dual.
    targets : Targets
    basis : array, [n, K]
        Of intercept and covariates.
    labels : array, [n, P]

    Notes
    -----
    The penalty is chosen anew for every label vector, and with it the size of the weights; so shifts are in units of
    the standard deviation of the decision over the training subjects, which makes permutations comparable.
    """
    features = fold.features[fold.train]
    centred = features - features.mean(0)
    kernel, scale = centred_kernel(centred.astype(float))
    dual, _ = fold.classifier.solve_many(kernel, labels[fold.train])
    spread = np.maximum((kernel @ dual).std(0), 1e-12)
    dual = (dual / spread / scale).T.astype(np.float32)
    lacking = np.flatnonzero(fold.lost.any(1))
    solved = _expectation(basis, labels, fold.train)
    rows = beyond_expectation(basis, labels, fold.train, fold.test, solved)
    size = max(1, int(CHUNK // (4 * features.shape[1])))
    shifts = np.empty((labels.shape[1], len(targets.table)))
    for start in range(0, labels.shape[1], size):
        part = slice(start, start + size)
        excess = rows[part] @ fold.features
        for k in lacking:  # what somebody lacks does not move
            one = beyond_expectation(basis, labels[:, part], fold.train, fold.test[k : k + 1], solved[part])
            excess[:, fold.lost[k]] -= one @ fold.features[:, fold.lost[k]]
        shifts[part] = -(targets.members @ (excess * (dual[part] @ centred)).T).T
    return shifts


def _expectation(basis: np.ndarray, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Inverse covariance of the training controls' covariates for every label vector, [P, K, K]."""
    covariates, controls = basis[train], (labels[train] == 0).astype(float)
    squares = (covariates[:, :, None] * covariates[:, None, :]).reshape(len(covariates), -1)
    return np.linalg.pinv((controls.T @ squares).reshape(-1, covariates.shape[1], covariates.shape[1]), hermitian=True)


def beyond_expectation(
    basis: np.ndarray, labels: np.ndarray, train: np.ndarray, test: np.ndarray, solved: np.ndarray
) -> np.ndarray:
    """Coefficients c [P, n] with which ``c @ X`` sums what test patients have beyond the controls' expectation."""
    patients = (labels[test] == 1).astype(float)
    along = np.einsum("pkl,lp->pk", solved, basis[test].T @ patients)
    rows = np.zeros((labels.shape[1], len(labels)))
    rows[:, test] = patients.T
    rows[:, train] = -(along @ basis[train].T) * (labels[train] == 0).T
    return rows.astype(np.float32)


def permutation_p(shifts: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standing of the observed shifts (the first row of [1 + B, T]) among those of permuted labels; kinds [T].

    Returns
    -------
    z : array, [T]
        In standard deviations of the null; negative is towards health.
    p : array, [T]
        ``(1 + #{null <= observed}) / (1 + B)``: one-sided, towards health.
    p_fwer : array, [T]
        Over the targets of all kinds (`across_kinds`).
    """
    spread = shifts.std(0)
    z = (shifts - shifts.mean(0)) / np.where(spread > 0, spread, np.inf)
    p = (1 + (shifts[1:] <= shifts[0]).sum(0)) / len(z)
    return z[0], p, across_kinds(z, kinds)[1]


def across_kinds(z: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Family-wise p of every target, over its kind and over the targets of all kinds, [T] each.

    Over its kind it is that of the most negative z; over all kinds that of the smallest p of a kind, so that kinds of
    many targets and of few count alike. Both are single-step, from the same permutations (Westfall and Young 1993).

    Parameters
    ----------
    z : array, [1 + B, T]
        Standardised shifts, those of the observed labels first.
    kinds : array, [T]
    """
    within, least = np.empty(z.shape[1]), np.ones(len(z))
    for kind in np.unique(kinds):
        members = kinds == kind
        lowest = z[:, members].min(1)
        within[members] = _standing(lowest, z[0, members])
        least = np.minimum(least, _standing(lowest, lowest))
    return within, _standing(least, within)


def _standing(null: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Share of a null, of which the observed one is a part, that is as small as some numbers."""
    return np.searchsorted(np.sort(null), numbers, side="right") / len(null)


def any_target_p(shifts: np.ndarray, kinds: np.ndarray) -> float:
    """Family-wise p of the strongest target of any kind: the smallest over kinds, corrected for there being several.

    Parameters are those of `permutation_p`.
    """
    spread = shifts.std(0)
    z = (shifts - shifts.mean(0)) / np.where(spread > 0, spread, np.inf)
    lowest = {kind: z[:, kinds == kind].min(1) for kind in np.unique(kinds)}
    return min(smallest_of_families(lowest).values())


def observed_and_shuffled(labels: np.ndarray, sites: np.ndarray, n: int, seed: int) -> np.ndarray:
    """The labels and n permutations of them inside sites, [S, 1 + n]."""
    return np.column_stack([labels, shuffle_labels(labels, sites, n, np.random.default_rng([seed, 17]))])
