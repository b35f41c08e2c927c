"""Tangent space between covariances and correlations: how much is whitened decides how far a model travels."""

from collections.abc import Mapping, Sequence

import numpy as np

from dysconnect.data.edges import Pairs, blocks
from dysconnect.models.riemann import common_regions
from dysconnect.models.tangent import TangentSpace

SPREAD = 96  # training people, about, from whom the size of a view is learned


class SoftenedTangent:
    """Mean of tangent vectors at several degrees of softening.

    At degree a the covariance C of a person, with the correlations R, counts as ``(1 - a) R + a I``; 0 leaves C as
    it was estimated. The tangent space at the mean of the training people whitens: small eigenvalues, which short
    scans estimate badly, weigh as much as large ones. The nearer a comes to 1 the less it does, and for a to 1 tangent
    vectors become correlations less their mean. Every degree is a view of the same connections, of the same size (root
    mean square of the vectors of training people), and the mean of the views is a tangent vector like others.

    Parameters
    ----------
    degrees : sequence of float
        In [0, 1).

    Attributes
    ----------
    spaces_ : list of TangentSpace, [D]
    sizes_ : array, [D]
    """

    def __init__(self, degrees: Sequence[float]):
        self.degrees = tuple(degrees)

    def fit(self, edges: np.ndarray, n_nodes: int) -> "SoftenedTangent":
        """Learn the references from covariances stored as edges with diagonal, [n, N (N + 1) / 2]."""
        some = edges[:: max(1, len(edges) // SPREAD)]
        self.spaces_, sizes = [], []
        for degree in self.degrees:
            space = TangentSpace().fit(soften(edges, degree), n_nodes)
            vectors = space.transform(soften(some, degree))
            self.spaces_.append(space)
            sizes.append(np.sqrt((vectors.astype(float) ** 2).sum(1).mean()))
        self.sizes_ = np.maximum(sizes, np.finfo(float).tiny)
        return self

    def transform(self, edges: np.ndarray) -> np.ndarray:
        """Project covariances, [n, N (N + 1) / 2] -> features of the same shape, float32."""
        features = np.zeros(edges.shape, np.float32)
        for part in blocks(edges.shape):
            for space, size, degree in zip(self.spaces_, self.sizes_, self.degrees):
                view = space.transform(soften(edges[part], degree))
                features[part] += view * np.float32(self.sizes_[0] / size / len(self.degrees))
        return features

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return {"whitening": np.stack([space.whitening_ for space in self.spaces_]), "sizes": self.sizes_}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "SoftenedTangent":
        """Restore from `state`."""
        self.spaces_ = [TangentSpace().load_state({"whitening": whitening}) for whitening in arrays["whitening"]]
        self.sizes_ = arrays["sizes"]
        return self


class CommonTangent:
    """Softened tangent vectors of the regions that hardly anybody lacks: what is lacking is left out, not completed.

    The kernel of a wide network sees how long a region's profile is, and a completed one is shorter: however its mean
    is set right, the pattern of missing regions could be told. `common_regions` are kept.

    Parameters
    ----------
    degrees : sequence of float
        See `SoftenedTangent`.
    missing : array of bool, [n, N], optional
        Regions that the training people lack; None for a space that is to be restored.

    Attributes
    ----------
    kept_ : array of int
        Pairs of kept regions among all pairs, in their order.
    """

    def __init__(self, degrees: Sequence[float], missing: np.ndarray | None = None):
        self.space_, self.missing = SoftenedTangent(degrees), missing

    def fit(self, edges: np.ndarray, n_nodes: int) -> "CommonTangent":
        """Learn the references from covariances stored as edges with diagonal, [n, N (N + 1) / 2]."""
        common = np.ones(n_nodes, bool) if self.missing is None else common_regions(self.missing)
        pairs = Pairs(n_nodes, diagonal=True)
        self.kept_ = np.flatnonzero(common[pairs.rows] & common[pairs.cols])
        self.space_.fit(edges[:, self.kept_], int(common.sum()))
        return self

    def transform(self, edges: np.ndarray) -> np.ndarray:
        """Project covariances, [n, N (N + 1) / 2] -> features of M kept regions, [n, M (M + 1) / 2] float32."""
        return self.space_.transform(edges[:, self.kept_])

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        return {"kept": self.kept_, **self.space_.state()}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "CommonTangent":
        """Restore from `state`."""
        self.kept_ = arrays["kept"]
        self.space_.load_state(arrays)
        return self


def soften(edges: np.ndarray, degree: float) -> np.ndarray:
    """Covariances C [n, N (N + 1) / 2] with correlations R as ``(1 - a) R + a I``; a = 0 leaves them as they are."""
    if not degree:
        return edges
    pairs = Pairs.of(edges.shape[1], diagonal=True)
    diagonal = pairs.rows == pairs.cols
    sizes = np.sqrt(edges[:, diagonal])
    softened = (1 - degree) * edges / (sizes[:, pairs.rows] * sizes[:, pairs.cols])
    softened[:, diagonal] = 1
    return softened
