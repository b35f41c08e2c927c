"""Linear classifiers in the dual: with n subjects and E >> n edges everything happens in n x n kernels.

All of them accept many label vectors at once, so that a label permutation is one more right-hand
side. The decision value of subject x is ``sum_i a_i k(x_i, x) + b`` with the linear kernel of features
centred on the training mean and scaled to unit mean squared norm; the primal weights are ``X^T a``.
"""

import copy
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin

from dysconnect.data.edges import blocks
from dysconnect.models.in_place import MANY, KernelInPlace, Narrow, best_ridge, logistic_in_place, spectrum
from dysconnect.models.newton import newton
from dysconnect.models.threads import blas_threads

PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
CONSTANT = 10.0  # added to the kernel: an intercept that is hardly penalised
CHUNK = 1.25e7  # entries of what is solved at once: 100 MB of float64
FEW = 1000  # people up to whom a kernel is written out, however few its features


class Calibrated:
    """What linear classifiers of two classes share: probability ``expit(slope_ * decision + offset_)``."""

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Signed distance, [n]; positive is patient."""
        if isinstance(X, np.ndarray):
            return np.asarray(X, float) @ self.weights_ + self.intercept_
        return np.concatenate([self.decision_function(X[part]) for part in blocks(X.shape)])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probabilities of control and patient, [n, 2]."""
        patient = expit(self.slope_ * self.decision_function(X) + self.offset_)
        return np.column_stack([1 - patient, patient])

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Labels at probability one half, [n]."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(int)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        return {"weights": self.weights_.astype(np.float32), "numbers": self._numbers()}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "Calibrated":
        """Restore from `state`."""
        self.weights_ = arrays["weights"]
        return self._take_numbers(arrays["numbers"])

    def shuffled(self, rng: np.random.Generator) -> "Calibrated":
        """The same classifier with its weights permuted: it knows nothing."""
        twin = copy.copy(self)
        twin.weights_ = rng.permutation(self.weights_)
        return twin

    def _numbers(self) -> np.ndarray:
        return np.array([self.intercept_, self.slope_, self.offset_])

    def _take_numbers(self, numbers: np.ndarray) -> "Calibrated":
        self.intercept_, self.slope_, self.offset_ = numbers
        return self

    def _take_labels(self, y: np.ndarray) -> np.ndarray:
        """Labels as an array, both classes there."""
        y = np.asarray(y)
        if len(np.unique(y)) < 2:
            raise ValueError(f"the training data have one class only (label {y[0]}); both are needed")
        self.classes_ = np.array([0, 1])
        return y


class DualClassifier(Calibrated, ClassifierMixin, BaseEstimator):
    """What the three share: kernel, choice of penalty, weights, probabilities.

    Parameters
    ----------
    penalties : sequence of float
        Candidates for the penalty, relative to the mean squared norm of the features; one is chosen inside the
        training data, as the subclass says.

    Attributes
    ----------
    weights_ : array, [E]
        Primal weights on the original features: ``decision = X @ weights_ + intercept_``.
    intercept_ : float
    penalty_ : float
        The penalty chosen.
    slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).
    """

    def __init__(self, penalties: tuple[float, ...] = PENALTIES):
        self.penalties = penalties

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "DualClassifier":
        """Fit on features [n, E] and labels [n] (0 control, 1 patient); copies of one scan share a group [n]."""
        y = self._take_labels(y)
        if self._in_place(X):
            weights, intercept, chosen, held_out = self._weights_in_place(X, y[:, None], groups)
            self.weights_, self.intercept_ = weights[:, 0], float(intercept[0])
        else:
            centred, mean = centre(X)
            kernel, scale = self._kernel(centred)
            dual, intercept, chosen, held_out = self.solve(kernel, y[:, None], groups)
            self.weights_ = centred.T @ dual[:, 0] / scale
            self.intercept_ = float(intercept[0] - mean @ self.weights_)
        self.penalty_ = float(np.asarray(self.penalties)[chosen[0]])
        self.slope_, self.offset_ = self.calibrate(held_out[:, 0], y)
        return self

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decision values of held-out subjects for many label vectors at once.

        Parameters
        ----------
        X : array, [n, E]
        labels : array of 0/1, [n, P]
        X_test : array, [m, E]
        groups : array, [n], optional
            Copies of one scan share a group: none helps to judge another.

        Returns
        -------
        array, [m, P]
            The penalty is chosen anew for every label vector, as in `fit`.
        """
        if self._in_place(X):
            weights, intercept, *_ = self._weights_in_place(X, labels, groups)
            return np.concatenate([X_test[part] @ weights for part in blocks(X_test.shape)]) + intercept
        centred, mean = centre(X)
        kernel, scale = self._kernel(centred)
        dual, intercept = self.solve_many(kernel, labels, groups)
        if isinstance(kernel, Narrow):
            return (np.asarray(X_test, float) - mean) @ (centred.T @ dual / scale) + intercept
        cross = (np.asarray(X_test, float) - mean) @ centred.T / scale
        return cross @ dual + intercept

    def solve_many(
        self, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Dual solutions [n, P] and intercepts [P] of many label vectors [n, P], some at a time."""
        size = max(1, int(CHUNK // (len(kernel) * len(self.penalties))))
        parts = [labels[:, start : start + size] for start in range(0, labels.shape[1], size)]
        solved = [self.solve(kernel, part, groups)[:2] for part in parts]
        return np.hstack([dual for dual, _ in solved]), np.concatenate([intercept for _, intercept in solved])

    def _kernel(self, centred: np.ndarray) -> tuple[np.ndarray | Narrow, float]:
        """Kernel of centred features [n, E], not written out where people are many and features few, and its scale."""
        if len(centred) <= max(FEW, centred.shape[1]) or not hasattr(self, "solve_in_place"):
            return centred_kernel(centred)
        scale = max(float((centred**2).sum()) / len(centred), np.finfo(float).tiny)
        return Narrow(centred / np.sqrt(scale)), scale

    def _in_place(self, X: np.ndarray) -> bool:
        """Whether people [n, E] are so many that more than one array of all pairs of them is too many."""
        return min(X.shape) > MANY and hasattr(self, "solve_in_place")

    def _weights_in_place(self, X: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> tuple[np.ndarray, ...]:
        """Weights [E, P] of label vectors [n, P], intercepts [P], penalty index [P], held-out decisions [n, P]."""
        kernel = KernelInPlace(X)
        dual, intercept, chosen, held_out = self.solve_in_place(kernel, labels, groups)
        weights = kernel.weights(X, dual)
        return weights, intercept - kernel.mean @ weights, chosen, held_out


def centre(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features less their means, [n, E] in double precision, the one copy that is made of them; and the means [E]."""
    centred = np.array(X, float)
    mean = centred.mean(0)
    centred -= mean
    return centred, mean


def centred_kernel(centred: np.ndarray) -> tuple[np.ndarray, float]:
    """Linear kernel of centred features scaled to unit mean diagonal, [n, n], and that scale."""
    kernel = centred @ centred.T
    scale = max(float(np.trace(kernel)) / len(kernel), np.finfo(float).tiny)
    kernel /= scale
    return kernel, scale


def pick(loss: np.ndarray, solutions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose per label vector the penalty of least loss: loss [L, P], solutions [L, n, P] -> index, [n, P]."""
    chosen = loss.argmin(0)
    return chosen, np.take_along_axis(solutions, chosen[None, None, :], 0)[0]


def ridge_path(
    kernel: np.ndarray | Narrow, labels: np.ndarray, penalties: np.ndarray, groups: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Ridge solutions and their leave-one-out decisions for all penalties and label vectors at once.

    With the centred kernel ``K = U S U^T`` the dual solution is ``a = U (S + l)^-1 U^T y`` and the leave-one-out
    residual ``r_i / (1 - H_ii)``, ``r = l a`` and ``H = K (K + l)^-1 + 11^T / n`` (labels coded -1 and 1). Copies of
    one scan, which share a group G [n], are left out together: ``(1 - H_GG)^-1 r_G``.

    Returns
    -------
    dual, held_out : array, [L, n, P]
    mean : array, [P]
        Intercepts.
    """
    signs = 2.0 * labels - 1
    mean = signs.mean(0)
    values, vectors = spectrum(kernel)
    values = np.maximum(values, 0)
    turned = vectors.T @ (signs - mean)
    outside = signs - mean - vectors @ turned if isinstance(kernel, Narrow) else None
    copied = _copies(groups)
    dual, held_out = [], []
    for penalty in penalties:
        shrink = values / (values + penalty)
        leverage = (vectors**2) @ shrink + 1 / len(kernel)
        solution = vectors @ (turned / (values + penalty)[:, None])
        solution = solution if outside is None else solution + outside / penalty
        left_out = penalty * solution / np.maximum(1 - leverage, 1e-9)[:, None]
        for one in copied:
            block = (vectors[one] * shrink) @ vectors[one].T + 1 / len(kernel)
            left_out[one] = np.linalg.solve((1 + 1e-9) * np.eye(len(one)) - block, penalty * solution[one])
        dual.append(solution)
        held_out.append(signs - left_out)
    return np.stack(dual), np.stack(held_out), mean


def _copies(groups: np.ndarray | None) -> list[np.ndarray]:
    """Positions of the members of every group [n] of two or more."""
    if groups is None:
        return []
    codes = pd.factorize(groups)[0]
    return [np.flatnonzero(codes == code) for code in np.flatnonzero(np.bincount(codes) > 1)]


class DualRidge(DualClassifier):
    """Ridge regression on labels -1 and 1, penalty by closed-form leave-one-out error (`ridge_path`).

    Probabilities are Platt's logistic curve through the leave-one-out decisions (its slope kept positive: at
    chance leave-one-out decisions are anti-correlated with the labels, which is no reason to turn the model
    round).

    References
    ----------
    Golub, Heath and Wahba (1979), doi:10.1080/00401706.1979.10489751;
    Platt (1999), Probabilistic outputs for support vector machines.
    """

    def solve(self, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Solve for all label vectors: dual [n, P], intercepts [P], penalty index [P], held-out decisions [n, P]."""
        duals, held_out, mean = ridge_path(kernel, labels, np.asarray(self.penalties), groups)
        error = ((held_out - (2.0 * labels - 1)) ** 2).mean(1)
        chosen, dual = pick(error, duals)
        return dual, mean, chosen, pick(error, held_out)[1]

    def solve_in_place(
        self, kernel: KernelInPlace, labels: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Solve for all label vectors, as `solve` does, without the eigenvectors of the kernel."""
        dual, held_out, mean, chosen = best_ridge(kernel, labels, np.asarray(self.penalties), _copies(groups))
        return dual, mean, chosen, held_out

    def calibrate(self, held_out: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Fit Platt's curve to leave-one-out decisions: slope and offset."""
        return platt(held_out, y)


def platt(held_out: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Logistic curve through held-out decisions [n] and their labels: slope (positive) and offset."""
    from sklearn.linear_model import LogisticRegression

    spread = max(float(held_out.std()), 1e-12)
    curve = LogisticRegression(C=10.0).fit(held_out[:, None] / spread, y)
    slope = max(float(curve.coef_[0, 0]), 0.05) / spread
    base = float(np.log(y.mean() / (1 - y.mean())))
    if curve.coef_[0, 0] < 0.05:  # no information: stay near the base rate
        return slope, base - slope * float(held_out.mean())
    return slope, float(curve.intercept_[0])


class DualLogistic(DualClassifier):
    """L2-penalised logistic regression by Newton's method, all label vectors at once.

    With ``K + c 11^T = V S V^T`` (the constant is a nearly unpenalised intercept) the decisions of the training
    subjects are ``D u``, ``D = V S^1/2``, and u minimises the negative log likelihood plus ``l |u|^2 / 2``; the dual
    solution is ``V S^-1/2 u``. With fewer features than subjects D is as narrow as the features. The penalty l is
    chosen by the closed-form leave-one-out error of the first Newton step: from zero, where every weight p (1 - p)
    is 1/4, that step is ridge regression with penalty 4 l.

    References
    ----------
    Hastie and Tibshirani (2004), doi:10.1093/biostatistics/kxh010 (the reduction to at most n dimensions).
    """

    def solve(self, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Solve for all label vectors: dual [n, P], intercepts [P], penalty index [P], held-out decisions [n, P]."""
        penalties = np.asarray(self.penalties)
        _, held_out, _ = ridge_path(kernel, labels, 4 * penalties, groups)
        chosen, held_out = pick(((held_out - (2.0 * labels - 1)) ** 2).mean(1), held_out)
        values, vectors = spectrum(kernel + CONSTANT)
        spans = values > 1e-10 * values[-1]
        root, vectors = np.sqrt(values[spans]), vectors[:, spans]
        dual = np.empty(labels.shape)
        for index in np.unique(chosen):
            columns = chosen == index
            dual[:, columns] = (vectors / root) @ newton(vectors * root, labels[:, columns], penalties[index])
        return dual, CONSTANT * dual.sum(0), chosen, held_out

    def solve_in_place(
        self, kernel: KernelInPlace, labels: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Solve for all label vectors, as `solve` does, without the eigenvectors of the kernel."""
        penalties = np.asarray(self.penalties)
        dual, held_out, _, chosen = best_ridge(kernel, labels, 4 * penalties, _copies(groups))
        for index in np.unique(chosen):
            columns = chosen == index
            dual[:, columns] = logistic_in_place(kernel, labels[:, columns], penalties[index], CONSTANT)
        return dual, CONSTANT * dual.sum(0), chosen, held_out

    def calibrate(self, held_out: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Logistic regression needs no second curve."""
        return 1.0, 0.0


class DualSVM(DualClassifier):
    """Linear support vector machine: ``min |w|^2 / 2 + C sum_i max(0, 1 - s_i (w x_i + b))``, s_i in {-1, 1}.

    Solved by libsvm on the kernel, ``w = sum_i a_i x_i`` with ``0 <= s_i a_i <= C = 1 / penalty``. The penalty is
    chosen by the mean AUC of an inner stratified five-fold split, whose held-out decisions also give Platt's curve;
    both anew for every label vector (a fit takes milliseconds once the kernel is there).

    References
    ----------
    Cortes and Vapnik (1995), doi:10.1007/BF00994018; Chang and Lin (2011), doi:10.1145/1961189.1961199.
    """

    def solve(self, kernel: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        """Solve for all label vectors: dual [n, P], intercepts [P], penalty index [P], held-out decisions [n, P]."""
        with ThreadPoolExecutor(blas_threads()) as pool:  # libsvm releases the lock
            duals, intercepts, chosen, held_out = zip(
                *pool.map(lambda column: self._one(kernel, column, groups), labels.T)
            )
        return np.column_stack(duals), np.array(intercepts), np.array(chosen), np.column_stack(held_out)

    def calibrate(self, held_out: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """Fit Platt's curve to the decisions of the inner split: slope and offset."""
        return platt(held_out, y)

    def _one(
        self, kernel: np.ndarray, y: np.ndarray, groups: np.ndarray | None
    ) -> tuple[np.ndarray, float, int, np.ndarray]:
        held_out, auc = np.empty((len(self.penalties), len(y))), np.zeros(len(self.penalties))
        for fit, watch in inner_folds(y, groups):
            inner, cross = kernel[np.ix_(fit, fit)], kernel[np.ix_(watch, fit)]
            for index, penalty in enumerate(self.penalties):
                dual, intercept = _hinge(inner, y[fit], penalty)
                held_out[index, watch] = cross @ dual + intercept
                auc[index] += concordance(held_out[index, watch], y[watch])
        chosen = int(auc.argmax())
        return *_hinge(kernel, y, self.penalties[chosen]), chosen, held_out[chosen]


def _hinge(kernel: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Fit libsvm on a kernel: signed dual coefficients [n] and intercept."""
    from sklearn.svm import SVC

    machine = SVC(C=1 / penalty, kernel="precomputed").fit(kernel, y)
    dual = np.zeros(len(y))
    dual[machine.support_] = machine.dual_coef_[0]
    return dual, float(machine.intercept_[0])


def inner_folds(y: np.ndarray, groups: np.ndarray | None = None, folds: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified inner folds, fewer where a class has fewer subjects: positions to fit on and to watch.

    Copies of one scan, which share a group [n], are fitted on together or watched together.
    """
    from sklearn.model_selection import StratifiedKFold

    codes = np.arange(len(y)) if groups is None else pd.factorize(groups)[0]  # in order of appearance
    firsts = y[np.unique(codes, return_index=True)[1]]
    rarer = int(min(firsts.sum(), len(firsts) - firsts.sum()))
    if rarer < 2:
        raise ValueError(
            f"a class has {'one training subject only' if rarer else 'no training subject'}: nothing can be chosen in "
            "an inner split. Set splits.folds lower, include more subjects, or choose model=ridge."
        )
    parts = StratifiedKFold(min(folds, rarer), shuffle=True, random_state=0).split(firsts, firsts)
    return [tuple(np.flatnonzero(np.isin(codes, side)) for side in part) for part in parts]


def concordance(decisions: np.ndarray, y: np.ndarray) -> float:
    """Area under the ROC curve of decisions [n] for labels [n]."""
    cases = int(y.sum())
    return float((rankdata(decisions)[y == 1].sum() - cases * (cases + 1) / 2) / (cases * (len(y) - cases)))
