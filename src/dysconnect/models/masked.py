"""What missing regions do to features that are no linear function of the edges, and how it is taken out."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from zlib import crc32

import numpy as np
from threadpoolctl import threadpool_limits

from dysconnect.data.edges import MissingRegions, Pairs, blocks
from dysconnect.models.threads import blas_threads

EACH = 64  # training people who are masked alike, for every one who lacks these regions
MOST = 2048  # of them for one pattern
STAND_INS = 32  # for the training people, in a saved model
MIXED = 256  # training people, about, who are mixed for them
ALONE = 4  # training people for every stand-in, so that they cannot be unmixed

Represent = Callable[[np.ndarray], np.ndarray]  # completed covariances [n, E] to features [n, F]


class MaskedRegression:
    """Bring the features of people who lack regions to where they would be in the mean, had they all.

    A completed covariance has exactly the residual of the mean, and the logarithm of a mean stands out from the mean
    of logarithms: a tangent vector tells which regions were missing. But what masking does can be seen in training
    people who have these regions: let T be their features and T_p those after masking the regions p and completing
    them in the same way. Who lacks p gets ``m + a (T_p - m_p)`` with the means m of T and m_p of T_p and the slope
    ``a = <T, T_p> / <T_p, T_p>`` of centred features: the regression of T on T_p.

    Where the pattern does not depend on the covariance, therefore, (1) somebody with any pattern has the expected
    features of a complete person, whatever T and the completion are; (2) if the patients lack p and the controls do
    not, their mean features differ by a times the difference of all of them masked: nothing is left of the pattern;
    and (3) the residual ``T - m - a (T_p - m_p)`` is uncorrelated with T_p, summed over the features. Without (3) a
    classifier that learned from the controls' T_p would meet the same controls' sampling error again in ``m - m_p``:
    held-out decisions of the two groups would differ by ``trace cov(T_p, T_p - T) / n``, which is little in one
    feature and something in twenty thousand.

    For the same reason everybody who has any of the regions is masked, also those who lack others (T is then what
    they have), as a missing connection takes the mean of all who have it: were complete people alone asked, who may all
    be controls, what they happen to be would go with the label. Weights let every region of p count once (`_weights`).

    What is regressed is nearer to the mean than what was measured. No linear model can tell, but a kernel that sees how
    long the profile of a region is can, without fail where most regions are lacking. For it everybody is given back
    what is lost, the residuals (3) of the training people in random proportions: as much in the mean, and nobody's own.

    Parameters
    ----------
    filler : MissingRegions
    represent : callable
    restored : bool
        Whether residuals are given back.

    Attributes
    ----------
    donors_ : array of bool, [n, N]
        Regions that the training people lack.
    """

    def __init__(self, filler: MissingRegions, represent: Represent, restored: bool = False):
        self.filler, self.represent, self.restored = filler, represent, restored

    def fit(self, values: np.ndarray, missing: np.ndarray, rows: np.ndarray) -> "MaskedRegression":
        """Remember where the training people are: covariances [S, E] and regions missing [S, N] of a cohort, rows [n].

        Nothing is copied; they are read when somebody lacks regions.
        """
        self.values_, self.rows_ = values, np.asarray(rows)
        self.donors_ = missing[self.rows_]
        return self

    def transform(self, features: np.ndarray, missing: np.ndarray, edges: np.ndarray | None = None) -> np.ndarray:
        """Features [n, F] of people who lack regions [n, N]; those of complete people are returned as they are.

        The covariances [n, E] say whom the proportions of residuals belong to: the same person always has the same.
        """
        missing = missing & ~self.donors_.all(0)  # what nobody has tells nobody apart
        lacking = np.flatnonzero(missing.any(1))
        if not len(lacking):
            return features
        patterns, which = np.unique(missing[lacking], axis=0, return_inverse=True)
        chosen = [self._choose(pattern) for pattern in patterns]
        asked = np.unique(np.concatenate(chosen))
        whole, moved = self._features(asked, np.zeros_like(patterns[0])), features.copy()
        for k, pattern in enumerate(patterns):
            alike = lacking[which.ravel() == k]
            donors = whole[np.searchsorted(asked, chosen[k])]
            mixing = _proportions(edges[alike], pattern, len(donors)) if self.restored else None
            moved[alike] = self._regressed(features[alike], donors, chosen[k], pattern, mixing)
        return moved

    def state(self) -> dict[str, np.ndarray]:
        """What stands in for the training people in a saved model, as arrays (`StandIns`)."""
        if isinstance(self.values_, StandIns):
            return {"stand_ins": self.values_.logs}
        people = np.arange(len(self.rows_))[:: max(1, len(self.rows_) // MIXED)]
        edges = self._edges(people, np.zeros(self.donors_.shape[1], bool))
        return {"stand_ins": mixed(edges, self.filler.mean_)}

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> "MaskedRegression":
        """Restore from `state`: stand-ins are masked in place of the training people."""
        values = StandIns(arrays["stand_ins"], self.filler.mean_)
        n = len(values.logs)
        return self.fit(values, np.zeros((n, values.pairs.n), bool), np.arange(n))

    def _choose(self, pattern: np.ndarray) -> np.ndarray:
        """Training people to mask, by position: for whom many stand, many; the same ones in training and after it."""
        pool = np.flatnonzero((~self.donors_ & pattern).any(1))
        size = min(EACH * max(1, int((self.donors_ == pattern).all(1).sum())), MOST)
        if len(pool) <= size:
            return pool
        drawn = np.random.default_rng(np.packbits(pattern).tolist()).choice(pool, size, replace=False)
        return np.sort(drawn)

    def _regressed(
        self,
        features: np.ndarray,
        whole: np.ndarray,
        people: np.ndarray,
        pattern: np.ndarray,
        mixing: np.ndarray | None = None,
    ) -> np.ndarray:
        """Features [k, F] of the masked, by the regression of those of training people [m] (`whole`, [m, F]).

        Their residuals are added in the proportions `mixing`, [k, m].
        """
        had = ~self.donors_[people][:, pattern]
        weights = _weights(had)
        share, total = weights / weights.sum(), weights.sum()
        mean = mean_masked = product = square = mixed = mixed_masked = 0.0
        for part in blocks(whole.shape):
            masked, unmasked = self._features(people[part], pattern).astype(float), whole[part].astype(float)
            mean, mean_masked = mean + share[part] @ unmasked, mean_masked + share[part] @ masked
            product += share[part] @ (masked * unmasked).sum(1)
            square += share[part] @ (masked**2).sum(1)
            if mixing is not None:
                mixed, mixed_masked = mixed + mixing[:, part] @ unmasked, mixed_masked + mixing[:, part] @ masked
        size = square - mean_masked @ mean_masked
        slope = (product - mean @ mean_masked) / size if size > 1e-12 * square else 1.0
        slope = 1 - (1 - slope) / (share @ had.mean(1))  # who had a part of the regions shows a part of what they lose
        moved = mean + slope * (features - mean - total * (mean_masked - mean))
        if mixing is None:
            return moved
        return moved + mixed - slope * mixed_masked - np.outer(mixing.sum(1), mean - slope * mean_masked)

    def _edges(self, people: np.ndarray, pattern: np.ndarray) -> np.ndarray:
        values = self.values_[self.rows_[people]]
        return self.filler.transform(values, self.donors_[people] | pattern)

    def _features(self, people: np.ndarray, pattern: np.ndarray) -> np.ndarray:
        return self.represent(self._edges(people, pattern))


def _proportions(edges: np.ndarray, pattern: np.ndarray, n: int) -> np.ndarray:
    """Random proportions of n training people for people with covariances [k, E] who lack regions [N]: [k, n].

    They depend on what was measured, to the digit, and not on what was completed.
    """
    measured = np.ascontiguousarray(edges[:, ~Pairs(len(pattern), diagonal=True).touching(pattern)], np.float32)
    draw = lambda person: np.random.default_rng(crc32(person)).normal(size=n)
    return np.stack([draw(person) for person in measured]) / np.sqrt(n)


def _weights(had: np.ndarray) -> np.ndarray:
    """Weights of people [m] that count every region once, ``sum_i w_i had_ir = 1``, as equal as that allows.

    Where it cannot be, as where one of two regions is lacked by everybody who has the other, it holds as nearly as can.
    """
    had = had.astype(float)
    equal = np.full(len(had), had.shape[1] / had.sum())
    return equal + had @ np.linalg.lstsq(had.T @ had, 1 - had.T @ equal)[0]


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
        self.pairs = Pairs.of(len(mean), diagonal=True)

    def __getitem__(self, wanted: np.ndarray) -> np.ndarray:
        root, _ = _roots(self.mean, self.pairs)
        matrices = self.pairs.matrix(self.logs[wanted].astype(float))
        values, vectors = np.linalg.eigh(matrices)
        grown = (vectors * np.exp(values)[:, None, :]) @ vectors.swapaxes(1, 2)
        return self.pairs.edges(root @ grown @ root)


def mixed(edges: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Random mixtures of the logarithms of people's covariances [n, E] at their mean [E], [K, E] float16.

    They have the mean of the people and, but for chance, their covariance. Each is a sum over everybody, and they are a
    quarter as many or fewer, so that nobody's connectome can be recovered.
    """
    pairs = Pairs.of(len(mean), diagonal=True)
    _, whitening = _roots(mean, pairs)
    logs = _logarithms(edges, whitening, pairs)
    size = max(1, min(STAND_INS, len(logs) // ALONE))
    mixing = np.random.default_rng(31).normal(size=(size, len(logs))) / np.sqrt(len(logs))
    return (logs.mean(0) + mixing @ (logs - logs.mean(0))).astype(np.float16)


def _roots(mean: np.ndarray, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Square root of a mean covariance, given as edges, and its inverse; [N, N] each."""
    values, vectors = np.linalg.eigh(pairs.matrix(mean))
    root = np.sqrt(np.maximum(values, 1e-12))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def _logarithms(edges: np.ndarray, whitening: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Logarithms of whitened covariances, as edges, [n, E] -> [n, E]; one at a time on every thread."""
    logs, threads = np.empty(edges.shape, np.float32), blas_threads()

    def fill(row: int) -> None:
        matrix = whitening @ pairs.matrix(edges[row].astype(float)) @ whitening
        values, vectors = np.linalg.eigh(matrix)
        logs[row] = pairs.edges((vectors * np.log(np.maximum(values, 1e-12))) @ vectors.T)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, range(len(edges))))  # raises what a thread raised
    return logs
