"""Logistic regression by Newton's method, for many label vectors at once."""

from collections.abc import Callable

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

    def toward(solution: np.ndarray, probability: np.ndarray) -> np.ndarray:
        weight = probability * (1 - probability)
        gradient, diagonal = design.T @ (labels - probability) - penalty * solution, weight.mean(0) * squares + penalty
        curved = lambda x: design.T @ (weight * (design @ x)) + penalty * x
        return conjugate_gradients(curved, lambda x: x / diagonal, gradient)

    length = lambda solution, decision: (solution**2).sum(0)
    start = np.zeros((design.shape[1], labels.shape[1]))
    return halved_steps(start, labels, penalty, toward, lambda x: design @ x, length, steps)


def halved_steps(
    solution: np.ndarray,
    labels: np.ndarray,
    penalty: float,
    toward: Callable,
    product: Callable,
    length: Callable,
    steps: int,
) -> np.ndarray:
    """Take Newton's steps of logistic regression, each halved until it is one downhill.

    Parameters
    ----------
    solution : array, [r, P]
        Where to begin, with decisions of zero.
    labels : array of 0/1, [n, P]
    penalty : float
    toward, product, length : callable
        The step [r, P] at a solution and its probabilities [n, P]; what a solution decides [n, P]; the squared norm [P]
        of a solution with its decisions.
    steps : int
    """
    decision = np.zeros(labels.shape)

    def objective(solution: np.ndarray, decision: np.ndarray) -> np.ndarray:
        loss = np.logaddexp(0, np.where(labels == 1, -decision, decision)).sum(0)
        return loss + penalty / 2 * length(solution, decision)

    value = objective(solution, decision)
    for _ in range(steps):
        direction = toward(solution, expit(decision))
        moved, step = product(direction), np.ones(labels.shape[1])
        for _ in range(10):
            tried = objective(solution + step * direction, decision + step * moved)
            worse = tried > value + 1e-9 * (1 + value)
            if not worse.any():
                break
            step[worse] /= 2
        solution, decision, value = solution + step * direction, decision + step * moved, tried
        if np.abs(step * moved).max() < 1e-6:
            break
    return solution


def conjugate_gradients(curved: Callable, conditioned: Callable, right: np.ndarray, steps: int = 200) -> np.ndarray:
    """Solve ``A x = b`` to a hundredth, each column of b [r, P] with its A, of which `curved` is the product.

    `conditioned` solves for the matrix near A that makes it quick.
    """
    solution, rest = np.zeros(right.shape), right
    direction = conditioned(rest)
    left = first = (rest * direction).sum(0)
    for _ in range(steps):
        if (left <= 1e-4 * first).all():
            break
        bent = curved(direction)
        length = left / np.maximum((direction * bent).sum(0), 1e-300)
        solution, rest = solution + length * direction, rest - length * bent
        nearer, before = conditioned(rest), left
        left = (rest * nearer).sum(0)
        direction = nearer + left / np.maximum(before, 1e-300) * direction
    return solution
