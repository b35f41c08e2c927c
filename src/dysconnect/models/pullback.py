"""From gradients by tangent vectors back to the connections of people: the chain rule through the matrix logarithm."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dysconnect.data.edges import Pairs
from dysconnect.models.low_rank import unfold
from dysconnect.models.riemann import ReducedTangent
from dysconnect.models.softened import CommonTangent, SoftenedTangent, soften
from dysconnect.models.tangent import TangentSpace, in_threads, spd_function

Space = TangentSpace | SoftenedTangent | CommonTangent | ReducedTangent


class Whitened(NamedTuple):
    """A view of covariances C: ``size * log(W^T S W)``, S softened by a degree; W of N regions has k columns."""

    degree: float
    size: float
    whitening: np.ndarray


def correlation_gradients(space: Space, covariances: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """What a change of each correlation does to a decision of which the gradient by the tangent vector is known.

    For ``T = log(X)``, ``X = W^T C W`` and the gradient G by T, ``df = <G, Dlog_X[W^T dC W]>``. The differential of the
    logarithm is its own adjoint, so that the gradient by C is

    ``P = W Dlog_X[G] W^T``, ``Dlog_X[G] = U (L o (U^T G U)) U^T``, ``L_ij = (log x_i - log x_j) / (x_i - x_j)``

    with the eigenvectors U and eigenvalues x of X (Daleckii and Krein; ``L_ii = 1 / x_i``). Variances and all other
    correlations held, ``dC_ij = dC_ji = s_i s_j dr_ij`` and ``dr = (1 - r^2) dz``. Views are summed; a region that a
    space leaves out has the gradient zero.

    Parameters
    ----------
    space : TangentSpace, SoftenedTangent, CommonTangent or ReducedTangent
        Fitted.
    covariances : array, [n, N (N + 1) / 2]
        Of people, complete.
    gradients : array, [n, F]
        By the features of the space, in which off-diagonal entries stand once, times sqrt(2).

    Returns
    -------
    array, [n, N (N - 1) / 2]
        Per unit of Fisher z.

    References
    ----------
    Bathory (2025), Commutator calculus and symbolic differentiation of matrix functions, arXiv:2505.07987 (on the
    formula of Daleckii and Krein).
    """
    edges = np.asarray(covariances, float)
    pairs = Pairs.of(edges.shape[1], diagonal=True)
    between = pairs.rows != pairs.cols
    sizes = np.sqrt(edges[:, ~between])
    products = (sizes[:, pairs.rows] * sizes[:, pairs.cols])[:, between]
    total = np.zeros(products.shape)
    for view in views(space, pairs):
        slopes = _through_the_logarithm(soften(edges, view.degree), view.whitening, gradients)[:, between]
        total += 2 * view.size * slopes * (1 - view.degree if view.degree else products)
    return total * (1 - (edges[:, between] / products) ** 2)


def views(space: Space, pairs: Pairs) -> Iterator[Whitened]:
    """Every whitening of a space, with rows of zeros for regions that it leaves out."""
    if isinstance(space, CommonTangent):
        kept = pairs.rows[space.kept_]
        regions = kept[kept == pairs.cols[space.kept_]]
        for view in views(space.space_, Pairs(len(regions), diagonal=True)):
            whitening = np.zeros((pairs.n, len(regions)))
            whitening[regions] = view.whitening
            yield view._replace(whitening=whitening)
    elif isinstance(space, SoftenedTangent):
        for degree, size, part in zip(space.degrees, space.sizes_, space.spaces_):
            yield Whitened(degree, space.sizes_[0] / size / len(space.degrees), part.whitening_)
    elif isinstance(space, ReducedTangent):
        yield Whitened(0, 1, space.filters_ @ spd_function(space.reference_, lambda values: 1 / np.sqrt(values)))
    else:
        yield Whitened(0, 1, space.whitening_)


def _through_the_logarithm(edges: np.ndarray, whitening: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Gradients by covariances [n, E], as entries of symmetric matrices, from those by their logarithms [n, F]."""
    pairs = Pairs(len(whitening), diagonal=True)

    def pull(people: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(whitening.T @ pairs.matrix(edges[people]) @ whitening)
        turned = vectors.swapaxes(1, 2) @ unfold(gradients[people].T.astype(float)) @ vectors
        back = whitening @ vectors
        return pairs.edges(back @ (log_differences(values) * turned) @ back.swapaxes(1, 2))

    return np.concatenate(list(in_threads(pull, np.arange(len(edges)))))


def log_differences(values: np.ndarray) -> np.ndarray:
    """Divided differences of the logarithm, ``(log x_i - log x_j) / (x_i - x_j)``, of positive values [..., k]."""
    values = np.maximum(values, 1e-12)
    base = values[..., None, :]
    apart = (values[..., None] - base) / base
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(apart == 0, 1, np.log1p(apart) / apart)
    return ratio / base
