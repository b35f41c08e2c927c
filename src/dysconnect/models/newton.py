"""Logistic regression by Newton's method, for many label vectors at once."""

import numpy as np
from scipy.special import expit


def newton(design: np.ndarray, labels: np.ndarray, penalty: float, steps: int = 50) -> np.ndarray:
    """Fit logistic regression to many label vectors by Newton's method with step halving.

    The columns of the design are orthogonal, so that ``sum_i w_i D_i^T D_i + penalty``, w replaced by its mean, is
    diagonal: conjugate gradients with that preconditioner solve for the steps of all label vectors in a few products.

    Parameters
    ----------
    design : array, [n, r]
    labels : array of 0/1, [n, P]
    penalty : float
        Minimised is the negative log likelihood plus half the penalty times the squared norm.

    Returns
    -------
    array, [r, P]
    """
    squares = (design**2).sum(0)[:, None]
    solution, decision = np.zeros((design.shape[1], labels.shape[1])), np.zeros(labels.shape)
    objective = _objective(solution, decision, labels, penalty)
    for _ in range(steps):
        probability = expit(decision)
        weight = probability * (1 - probability)
        gradient = design.T @ (labels - probability) - penalty * solution
        direction = _conjugate_gradients(design, weight, penalty, weight.mean(0) * squares + penalty, gradient)
        moved, step = design @ direction, np.ones(labels.shape[1])
        for _ in range(10):
            value = _objective(solution + step * direction, decision + step * moved, labels, penalty)
            worse = value > objective + 1e-9 * (1 + objective)
            if not worse.any():
                break
            step[worse] /= 2
        solution, decision, objective = solution + step * direction, decision + step * moved, value
        if np.abs(step * moved).max() < 1e-6:
            break
    return solution


def _conjugate_gradients(
    design: np.ndarray, weight: np.ndarray, penalty: float, diagonal: np.ndarray, right: np.ndarray, steps: int = 200
) -> np.ndarray:
    """Solve ``(D^T diag(w) D + penalty) x = b`` to a hundredth, each column with its w [n, P] and b [r, P]."""
    solution, rest = np.zeros_like(right), right
    direction = rest / diagonal
    left = first = (rest * direction).sum(0)
    for _ in range(steps):
        if (left <= 1e-4 * first).all():
            break
        curved = design.T @ (weight * (design @ direction)) + penalty * direction
        length = left / np.maximum((direction * curved).sum(0), 1e-300)
        solution, rest = solution + length * direction, rest - length * curved
        conditioned, before = rest / diagonal, left
        left = (rest * conditioned).sum(0)
        direction = conditioned + left / np.maximum(before, 1e-300) * direction
    return solution


def _objective(solution: np.ndarray, decision: np.ndarray, labels: np.ndarray, penalty: float) -> np.ndarray:
    """Penalised negative log likelihood of every label vector, [P]."""
    loss = np.logaddexp(0, np.where(labels == 1, -decision, decision)).sum(0)
    return loss + penalty / 2 * (solution**2).sum(0)
