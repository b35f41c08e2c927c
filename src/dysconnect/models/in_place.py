"""Linear models in the dual for thousands of people: one n x n array for everything, or none.

The eigenvectors of a kernel, with what LAPACK needs to find them, are five kernels. Here the kernel stays above the
diagonal of one array, and its Cholesky factor, and then its inverse, are made below it, for one penalty after another:
8 n^2 bytes, and time that grows with n^3 as that of the eigenvectors does. Features are read in blocks. Where features
are few, as the covariates of the floor, no such array is needed (`Narrow`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.blas import dsymm
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from dysconnect.data.edges import blocks
from dysconnect.models.newton import conjugate_gradients, halved_steps

MANY = 5000  # people beyond whom a kernel is solved in place
COPIED = 512  # columns of a triangle at a time
FLAT = 1e-6  # weights of people of whom a logistic curve is certain are no smaller in a step of Newton's


class KernelInPlace:
    """Linear kernel of centred features, scaled to unit mean diagonal, and what is made of it, in one array.

    Parameters
    ----------
    X : array, or what gives arrays of rows, [n, E]
        Features, read in blocks.

    Attributes
    ----------
    mean : array, [E]
    scale : float
    """

    def __init__(self, X: np.ndarray):
        self.mean = sum(X[part].sum(0, dtype=float) for part in blocks(X.shape)) / len(X)
        self.square = np.zeros((len(X), len(X)), order="F")
        for rows in blocks(X.shape):
            ours = X[rows] - self.mean
            for columns in blocks(X.shape):
                if columns.start >= rows.start:
                    theirs = ours if columns == rows else X[columns] - self.mean
                    self.square[rows, columns] = ours @ theirs.T
        self.scale = max(float(np.trace(self.square)) / len(X), np.finfo(float).tiny)
        self.square /= self.scale
        self.diagonal = np.diag(self.square).copy()

    def __len__(self) -> int:
        return len(self.square)

    def factorise(self, ridge: float, constant: float = 0.0) -> None:
        """Put the Cholesky factor of ``K + constant + ridge I`` below the diagonal."""
        for start in range(0, len(self), COPIED):
            stop = start + COPIED
            self.square[stop:, start:stop] = self.square[start:stop, stop:].T
            corner = self.square[start:stop, start:stop]
            corner[np.tril_indices(len(corner), -1)] = corner.T[np.tril_indices(len(corner), -1)]
            if constant:
                below = np.arange(start, len(self))[:, None] >= np.arange(start, min(stop, len(self)))
                self.square[start:, start:stop] += constant * below
        np.fill_diagonal(self.square, self.diagonal + constant + ridge)
        self.square, problem = dpotrf(self.square, lower=1, clean=0, overwrite_a=1)
        if problem or not np.isfinite(self.square[-1, -1]):
            raise np.linalg.LinAlgError(f"the kernel of {len(self)} people is not positive definite: NaN in features?")

    def invert(self, ridge: float) -> None:
        """Put the inverse of ``K + ridge I`` on and below the diagonal."""
        self.factorise(ridge)
        self.square, _ = dpotri(self.square, lower=1, overwrite_c=1)

    def solved(self, right: np.ndarray) -> np.ndarray:
        """Solve with the factor below the diagonal, [n, P]."""
        return dpotrs(self.square, right, lower=1)[0]

    def by_inverse(self, right: np.ndarray) -> np.ndarray:
        """Product of the inverse below the diagonal and some vectors, [n, P]."""
        return dsymm(1.0, self.square, right, lower=1)

    def times(self, right: np.ndarray) -> np.ndarray:
        """Product of the kernel and some vectors, [n, P]."""
        return dsymm(1.0, self.square, right) + (self.diagonal - np.diag(self.square))[:, None] * right

    def weights(self, X: np.ndarray, dual: np.ndarray) -> np.ndarray:
        """Primal weights [E, P] of dual solutions [n, P]; X as it was given."""
        total = sum((X[part] - self.mean).T @ dual[part] for part in blocks(X.shape))
        return total / self.scale


def best_ridge(
    kernel: KernelInPlace, labels: np.ndarray, penalties: np.ndarray, copied: list[np.ndarray]
) -> tuple[np.ndarray, ...]:
    """Ridge solutions of least leave-one-out error, one penalty after the other; see `ridge_path`.

    With ``G = (K + l)^-1`` that is ``1 - H = l G - 11^T / n``. Copies of one scan are given by their positions.

    Returns
    -------
    dual, held_out : array, [n, P]
    mean : array, [P]
        Intercepts.
    chosen : array of int, [P]
    """
    signs = 2.0 * labels - 1
    mean, n = signs.mean(0), len(kernel)
    dual, held_out = np.zeros(signs.shape), np.zeros(signs.shape)
    least, chosen = np.full(signs.shape[1], np.inf), np.zeros(signs.shape[1], int)
    for index, penalty in enumerate(penalties):
        kernel.invert(penalty)
        solution = kernel.by_inverse(signs - mean)
        rest = penalty * np.diag(kernel.square) - 1 / n
        left_out = penalty * solution / np.maximum(rest, 1e-9)[:, None]
        for one in copied:
            lower = np.tril(kernel.square[np.ix_(one, one)])
            block = penalty * (lower + np.tril(lower, -1).T) - 1 / n + 1e-9 * np.eye(len(one))
            left_out[one] = np.linalg.solve(block, penalty * solution[one])
        error = (left_out**2).mean(0)
        better = error < least
        least[better], chosen[better] = error[better], index
        dual[:, better], held_out[:, better] = solution[:, better], (signs - left_out)[:, better]
    return dual, held_out, mean, chosen


def logistic_in_place(
    kernel: KernelInPlace, labels: np.ndarray, penalty: float, constant: float, steps: int = 50
) -> np.ndarray:
    """Dual solutions [n, P] of logistic regression on ``K + constant``, by Newton's method with step halving.

    A step solves ``(K + constant + l / w) a = g / w`` for every label vector's weights w = p (1 - p), by conjugate
    gradients that start from the factor of the same matrix with w = 1/4.
    """
    kernel.factorise(4 * penalty, constant)
    product = lambda some: kernel.times(some) + constant * some.sum(0)

    def toward(dual: np.ndarray, probability: np.ndarray) -> np.ndarray:
        weight = np.maximum(probability * (1 - probability), FLAT)
        gradient, ridge = labels - probability - penalty * dual, penalty / weight
        return conjugate_gradients(lambda x: product(x) + ridge * x, kernel.solved, gradient / weight)

    length = lambda dual, decision: (dual * decision).sum(0)
    return halved_steps(np.zeros(labels.shape), labels, penalty, toward, product, length, steps)


@dataclass(frozen=True)
class Narrow:
    """Kernel of fewer features than people, ``Z Z^T`` with Z [n, E]: its eigenvectors are had from E x E numbers."""

    features: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def __add__(self, constant: float) -> "Narrow":
        return Narrow(np.column_stack([self.features, np.full(len(self), np.sqrt(constant))]))

    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues above zero, rising, [r], and eigenvectors [n, r]."""
        values, turn = np.linalg.eigh(self.features.T @ self.features)
        kept = values > 1e-12 * values.max(initial=0)
        return values[kept], self.features @ (turn[:, kept] / np.sqrt(values[kept]))


def spectrum(kernel: np.ndarray | Narrow) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of a kernel [r], rising, and eigenvectors [n, r]; of a `Narrow` one those above zero."""
    return kernel.spectrum() if isinstance(kernel, Narrow) else np.linalg.eigh(kernel)
