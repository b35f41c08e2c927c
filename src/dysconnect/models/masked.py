"""What missing regions do to features that are no linear function of the edges, and how it is taken out."""

from collections.abc import Callable, Mapping

import numpy as np

from dysconnect.models.edges import MissingRegions, edges_from_matrix, matrix_from_edges

EACH = 32  # training people who are masked alike, for every one who lacks these regions
MOST = 2048  # of them for one pattern
ENOUGH = 16  # complete people, who are then preferred to those who lack other regions
STAND_INS = 32  # for the training people, in a saved model
ALONE = 4  # training people for every stand-in, so that they cannot be unmixed

Represent = Callable[[np.ndarray], np.ndarray]  # completed covariances [n, E] to features [n, F]


class MaskedRegression:
    """Bring the features of people who lack regions to where they would be in the mean, had they all.

    A completed covariance has exactly the residual of the mean, and the logarithm of a mean stands out from the mean
    of logarithms: a tangent vector tells which regions were missing. But what masking does can be seen in training
    people who have these regions: let T be their features and T_p those after masking the regions p and completing
    them in the same way. Who lacks p gets ``mean(T) + a (T_p - mean(T_p))``, ``a = <T, T_p> / <T_p, T_p>`` of centred
    features: the regression of T on T_p with one slope.

    Where the pattern does not depend on the covariance, therefore, (1) somebody with any pattern has the expected
    features of a complete person, whatever T and the completion are; (2) if the patients lack p and the controls do
    not, their mean features differ by a times the difference of all of them masked: nothing is left of the pattern;
    and (3) the residual ``T - mean(T) - a (T_p - mean(T_p))`` is uncorrelated with T_p, summed over the features.
    Without (3) a classifier that learned from the controls' T_p would meet the same controls' sampling error again in
    mean(T) - mean(T_p): held-out decisions of the two groups would differ by ``trace cov(T_p, T_p - T) / n``, which is
    little in one feature and something in twenty thousand.

    Attributes
    ----------
    donors_ : array of bool, [n, N]
        Regions that the training people lack.
    """

    def __init__(self, filler: MissingRegions, represent: Represent):
        self.filler, self.represent = filler, represent

    def fit(self, values: np.ndarray, missing: np.ndarray, rows: np.ndarray) -> "MaskedRegression":
        """Remember where the training people are: covariances [S, E] and regions missing [S, N] of a cohort, rows [n].

        Nothing is copied; they are read when somebody lacks regions.
        """
        self.values_, self.rows_ = values, np.asarray(rows)
        self.donors_ = missing[self.rows_]
        return self

    def transform(self, features: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Features [n, F] of people who lack regions [n, N]; those of complete people are returned as they are."""
        missing = missing & ~self.donors_.all(0)  # what nobody has tells nobody apart
        lacking = np.flatnonzero(missing.any(1))
        if not len(lacking):
            return features
        patterns, which = np.unique(missing[lacking], axis=0, return_inverse=True)
        chosen = [self._choose(pattern) for pattern in patterns]
        asked = np.unique(np.concatenate(chosen))
        whole, moved = self._features(asked, np.zeros_like(patterns[0])), features.copy()
        for k, pattern in enumerate(patterns):
            own = lacking[which.ravel() == k]
            moved[own] = _regressed(
                features[own], whole[np.searchsorted(asked, chosen[k])], self._features(chosen[k], pattern)
            )
        return moved

    def state(self) -> dict[str, np.ndarray]:
        """What stands in for the training people in a saved model, as arrays (`StandIns`)."""
        if isinstance(self.values_, StandIns):
            return {"stand_ins": self.values_.logs}
        nothing = np.zeros(self.donors_.shape[1], bool)
        pool = self._fewest(nothing)
        return {"stand_ins": mixed(self._edges(pool[:: max(1, len(pool) // MOST)], nothing), self.filler.mean_)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "MaskedRegression":
        """Restore from `state`: stand-ins are masked in place of the training people."""
        values = StandIns(arrays["stand_ins"], self.filler.mean_)
        n = len(values.logs)
        return self.fit(values, np.zeros((n, values.n_nodes), bool), np.arange(n))

    def _choose(self, pattern: np.ndarray) -> np.ndarray:
        """Training people to mask, by position: for whom many stand, many; the same ones in training and after it."""
        pool = self._fewest(pattern)
        size = min(EACH * max(1, int((self.donors_ == pattern).all(1).sum())), MOST)
        if len(pool) <= size:
            return pool
        drawn = np.random.default_rng(np.packbits(pattern).tolist()).choice(pool, size, replace=False)
        return np.sort(drawn)

    def _fewest(self, pattern: np.ndarray) -> np.ndarray:
        """Training people who lack the fewest of some regions, as a rule none; complete ones if there are enough."""
        lost = self.donors_ & ~self.donors_.all(0)
        lacked = (lost & pattern).sum(1)
        pool = lacked == lacked.min()
        complete = pool & ~lost.any(1)
        return np.flatnonzero(complete if complete.sum() >= ENOUGH else pool)

    def _edges(self, people: np.ndarray, pattern: np.ndarray) -> np.ndarray:
        own = self.values_[self.rows_[people]]
        return self.filler.transform(own, self.donors_[people] | pattern)

    def _features(self, people: np.ndarray, pattern: np.ndarray) -> np.ndarray:
        return self.represent(self._edges(people, pattern))


def _regressed(features: np.ndarray, whole: np.ndarray, masked: np.ndarray) -> np.ndarray:
    """Features [n, F] of the masked by the regression of those of others, whole and masked likewise, [m, F] each."""
    mean, mean_masked = whole.mean(0, dtype=float), masked.mean(0, dtype=float)
    away = masked - mean_masked
    size = float((away**2).sum())
    slope = float((away * (whole - mean)).sum()) / size if size > 0 else 1.0
    return mean + slope * (features - mean_masked)


class StandIns:
    """Covariances that stand in for the training people, [K, E], made when they are asked for.

    Parameters
    ----------
    logs : array, [K, E]
        Of `mixed`.
    mean : array, [E]
        Training mean.
    """

    def __init__(self, logs: np.ndarray, mean: np.ndarray):
        self.logs, self.mean = logs, mean
        self.n_nodes = round((np.sqrt(8 * len(mean) + 1) - 1) / 2)

    def __getitem__(self, wanted: np.ndarray) -> np.ndarray:
        root, _ = _roots(self.mean, self.n_nodes)
        own = matrix_from_edges(self.logs[wanted].astype(float), self.n_nodes, diagonal=True)
        values, vectors = np.linalg.eigh(own)
        grown = (vectors * np.exp(values)[:, None, :]) @ vectors.swapaxes(1, 2)
        return edges_from_matrix(root @ grown @ root, diagonal=True)


def mixed(edges: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Random mixtures of the logarithms of people's covariances [n, E] at their mean [E], [K, E] float16.

    They have the mean of the people and, but for chance, their covariance. Each is a sum over everybody, and they are a
    quarter as many or fewer, so that nobody's connectome can be recovered.
    """
    _, whitening = _roots(mean, round((np.sqrt(8 * len(mean) + 1) - 1) / 2))
    logs = _logarithms(edges, whitening)
    size = max(1, min(STAND_INS, len(logs) // ALONE))
    mixing = np.random.default_rng(31).normal(size=(size, len(logs))) / np.sqrt(len(logs))
    return (logs.mean(0) + mixing @ (logs - logs.mean(0))).astype(np.float16)


def _roots(mean: np.ndarray, n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Square root of a mean covariance, given as edges, and its inverse; [N, N] each."""
    values, vectors = np.linalg.eigh(matrix_from_edges(mean, n_nodes, diagonal=True))
    root = np.sqrt(np.maximum(values, 1e-12))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def _logarithms(edges: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    """Logarithms of whitened covariances, as edges, [n, E] -> [n, E]; one at a time."""
    logs = np.empty(edges.shape, np.float32)
    for row, own in enumerate(edges):
        matrix = whitening @ matrix_from_edges(own.astype(float), len(whitening), diagonal=True) @ whitening
        values, vectors = np.linalg.eigh(matrix)
        logs[row] = edges_from_matrix((vectors * np.log(np.maximum(values, 1e-12))) @ vectors.T, diagonal=True)
    return logs
