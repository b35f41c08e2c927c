"""A classifier of covariance matrices on their manifold, through pyriemann."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, ClassifierMixin
from threadpoolctl import threadpool_limits

from dysconnect.data.edges import Pairs
from dysconnect.models.dual import Calibrated, inner_folds, platt
from dysconnect.models.threads import blas_threads

SELDOM = 0.02  # share of training people who may lack a region of which components are made


class ReducedTangent:
    """Tangent space of the leading components of covariances, which asks for nobody's label.

    Covariances C_s [N, N] are reduced to ``F^T C_s F`` [k, k], F the k leading whitened principal components of the
    training mean, and projected on the tangent space at their Riemannian mean (pyriemann). Without the reduction the
    mean alone would take minutes for 800 people of 200 regions; with 40 components a fit takes seconds.

    Parameters
    ----------
    components : int
        k; at most N - 1 are used.
    common : array of bool, [N], optional
        Regions of which the components are made (`common_regions`); else all.

    Attributes
    ----------
    filters_ : array, [N, k]
    reference_ : array, [k, k]
    """

    def __init__(self, components: int = 40, common: np.ndarray | None = None):
        self.components, self.common = components, common

    def fit(self, edges: np.ndarray, n_nodes: int) -> "ReducedTangent":
        """Learn components and reference from covariances stored as edges with diagonal, [n, N(N+1)/2]."""
        from pyriemann.geometry.mean import mean_riemann  # half a second to import, and only this model needs it

        matrices = Pairs(n_nodes, diagonal=True).matrix(edges.astype(float))
        shared = np.arange(n_nodes) if self.common is None else np.flatnonzero(self.common)
        values, vectors = np.linalg.eigh(matrices.mean(0)[np.ix_(shared, shared)])
        k = min(self.components, len(shared) - 1)
        self.filters_ = np.zeros((n_nodes, k))
        self.filters_[shared] = vectors[:, -k:] / np.sqrt(values[-k:])
        self.reference_ = mean_riemann(self._reduce(matrices))
        return self

    def transform(self, edges: np.ndarray) -> np.ndarray:
        """Project covariances, [n, N(N+1)/2] -> [n, k(k+1)/2]; Euclidean distances are those of the tangent space."""
        from pyriemann.geometry.tangentspace import tangent_space

        matrices = Pairs(len(self.filters_), diagonal=True).matrix(edges.astype(float))
        return tangent_space(self._reduce(matrices), self.reference_)

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return {"filters": self.filters_, "reference": self.reference_}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "ReducedTangent":
        """Restore from `state`."""
        self.filters_, self.reference_ = arrays["filters"], arrays["reference"]
        return self

    def _reduce(self, matrices: np.ndarray) -> np.ndarray:
        reduced = self.filters_.T @ matrices @ self.filters_
        return (reduced + reduced.swapaxes(1, 2)) / 2


def common_regions(missing: np.ndarray) -> np.ndarray:
    """Regions that hardly anybody lacks, [N] bool, of missing regions [n, N] of training people.

    Fisher's filter weighs features by the inverse of their covariance, in which completed regions stand out however
    their means are set right. So components do without regions that more than `SELDOM` of the people lack, but for
    the half of all regions that fewest lack. Nobody's label is asked.
    """
    share = missing.mean(0)
    return share <= max(SELDOM, np.sort(share)[(len(share) - 1) // 2])


class FilteredMDM(Calibrated, ClassifierMixin, BaseEstimator):
    """Minimum distance to the mean after Fisher's geodesic filter (FgMDM), on tangent vectors.

    Fisher's linear discriminant a (unit norm; covariances within the groups shrunk as Ledoit and Wolf) filters a
    tangent vector x to ``(a x) a``. Back on the manifold everybody then lies on one geodesic, at ``s = a x``, where
    the Riemannian mean of a group is the mean m of its s, and the affine-invariant distance ``|s - m|``. So the
    decision ``(s - m_0)^2 - (s - m_1)^2`` is linear: ``2 (m_1 - m_0) (s - (m_0 + m_1) / 2)``. Platt's curve is fitted
    to the decisions of an inner split.

    Attributes
    ----------
    weights_ : array, [E]
        ``decision = X @ weights_ + intercept_``.
    intercept_, slope_, offset_ : float
        Probability = expit(slope_ * decision + offset_).

    References
    ----------
    Barachant, Bonnet, Congedo and Jutten (2010), LVA/ICA, LNCS 6365:629-636;
    Barachant et al. (2012), doi:10.1109/TBME.2011.2172210; Ledoit and Wolf (2004), doi:10.1016/S0047-259X(03)00096-4.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None) -> "FilteredMDM":
        """Fit on tangent vectors [n, E] and labels [n] (0 control, 1 patient); copies of one scan share a group [n]."""
        y, X = self._take_labels(y), np.asarray(X, float)
        held_out = np.empty(len(y))
        for fit, watch in inner_folds(y, groups):
            weights, intercept = geodesic_filter(X[fit], y[fit])
            held_out[watch] = X[watch] @ weights + intercept
        self.slope_, self.offset_ = platt(held_out, y)
        self.weights_, self.intercept_ = geodesic_filter(X, y)
        return self

    def decide_many(
        self, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Decisions on X_test [m, E] for many label vectors [n, P], [m, P]; copies do not matter to one filter."""
        X, X_test = np.asarray(X, float), np.asarray(X_test, float)
        threads = blas_threads()
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
            weights, intercepts = zip(*pool.map(lambda column: geodesic_filter(X, column), labels.T))
        return X_test @ np.column_stack(weights) + np.array(intercepts)


def geodesic_filter(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights [E] and intercept of the decision of `FilteredMDM`, from tangent vectors [n, E] and labels [n].

    The covariance within the groups is ``diag(v) + U^T U`` (`_shrunk`), so that Woodbury's identity needs only a
    system of n equations, however many features there are.
    """
    diagonal, spread = np.zeros(X.shape[1]), np.empty_like(X)
    for label in (0, 1):
        members = y == label
        shrinkage, variance, centred = _shrunk(X[members])
        diagonal += members.mean() * shrinkage * variance
        spread[members] = np.sqrt((1 - shrinkage) / len(y)) * centred
    diagonal = np.maximum(diagonal, 1e-12 * max(diagonal.max(), 1e-300))
    apart = X[y == 1].mean(0) - X[y == 0].mean(0)
    scaled = spread / np.sqrt(diagonal)
    system = scaled @ scaled.T
    system.flat[:: len(system) + 1] += 1
    inside = spread.T @ cho_solve(cho_factor(system, overwrite_a=True), spread @ (apart / diagonal))
    direction = (apart - inside) / diagonal
    direction /= max(np.linalg.norm(direction), 1e-300)
    place = X @ direction
    controls, patients = place[y == 0].mean(), place[y == 1].mean()
    return 2 * (patients - controls) * direction, float(controls**2 - patients**2)


def _shrunk(X: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Ledoit and Wolf's shrinkage of standardised features [n, E]: the shrinkage, variances [E], centred features."""
    centred = X - X.mean(0)
    variance = (centred**2).mean(0)
    variance[variance <= 1e-20 * max(variance.max(), 1e-300)] = 1  # a feature without variance is left as it is
    standard = centred / np.sqrt(variance)
    n, n_features = X.shape
    squared = ((standard @ standard.T) ** 2).sum() / n**2  # of the entries of the covariance
    noise = ((standard**2).sum(1) ** 2).sum() / n
    beta = (noise - squared) / (n * n_features)
    apart = (squared - 2 * (standard**2).sum() / n + n_features) / n_features
    return float(np.clip(beta / apart, 0, 1)) if apart > 0 else 0.0, variance, centred
