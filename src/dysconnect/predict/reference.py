"""How far a connectome is from those of a cohort: inside the space that the cohort spans, beside it, and in pattern.

Two distances as in the monitoring of processes (Hotelling's T2 and the residual): how unusual a person's place is in
the cohort's leading principal components, and how much of the connectome these components leave unexplained. A third
sees what lies near the cohort's mean only for want of any connectivity: one less the correlation with that mean. What
is usual is learned from people who were held out when the components were, so that a new person is compared with
equals. Nobody's connectome is stored.

References
----------
Jackson and Mudholkar (1979), doi:10.1080/00401706.1979.10489779.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

COMPONENTS = 20  # at most; and one for every five people
FOLDS = 10
RARE = 0.01  # share of the cohort that is as far away, below which somebody is far
FAR = 3.0  # robust standard deviations, for the same
KINDS = ("within", "beside", "pattern")
SCALES = {  # on which distances are about normal
    "within": lambda distance: np.log(np.maximum(distance, 1e-12)),
    "beside": lambda distance: np.log(np.maximum(distance, 1e-12)),
    "pattern": lambda distance: -np.arctanh(np.clip(1 - distance, -0.999999, 0.999999)),
}


@dataclass(frozen=True)
class Reference:
    """What a cohort's connectomes look like.

    Attributes
    ----------
    mean : array, [E]
    axes : array, [r, E]
        Orthonormal.
    spread : array, [r]
        Standard deviation of the cohort along them.
    within, beside, pattern : array, [n]
        Distances of everybody from the others, sorted.
    """

    mean: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    within: np.ndarray
    beside: np.ndarray
    pattern: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """As arrays; connectomes in float32."""
        small = {name: getattr(self, name).astype(np.float32) for name in ("mean", "axes")}
        return {**vars(self), **small}

    def distances(self, edges: np.ndarray) -> dict[str, float]:
        """Distances of one person, edges [E]: root mean squares in standard deviations and in Fisher z, and 1 - r."""
        away = edges.astype(float) - self.mean
        along = self.axes @ away
        within = np.sqrt(np.mean((along / self.spread) ** 2))
        beside = np.sqrt(max(away @ away - along @ along, 0) / len(away))
        pattern = _unlike(edges[None].astype(float), self.mean)[0]
        return {"within": float(within), "beside": float(beside), "pattern": float(pattern)}

    def judge(self, edges: np.ndarray) -> dict[str, dict]:
        """Distances of one person beside those of the cohort.

        Returns
        -------
        dict of str to dict
            By kind (`within`, `beside`, `pattern`): `distance`, `percentile` (of the cohort that is nearer), `z`
            (robust standard deviations, of the logarithm or, of a correlation, of its Fisher z), `far` (farther than
            all but one in a hundred of the cohort, and than three standard deviations; Leys et al. 2013,
            doi:10.1016/j.jesp.2013.03.013).
        """
        found = self.distances(edges)
        return {kind: _among(found[kind], getattr(self, kind), SCALES[kind]) for kind in KINDS}


def _among(distance: float, cohort: np.ndarray, scale: Callable[[np.ndarray], np.ndarray]) -> dict:
    """One distance among those of a cohort, on a scale where these are about normal."""
    scaled = scale(cohort)
    middle = np.median(scaled)
    width = max(1.4826 * np.median(np.abs(scaled - middle)), 1e-6)
    z = (scale(np.array(distance)) - middle) / width
    rank = (1 + (cohort >= distance).sum()) / (1 + len(cohort))
    far = rank <= max(RARE, 1 / (1 + len(cohort))) and z > FAR
    return {
        "distance": distance,
        "percentile": float(100 * (cohort < distance).mean()),
        "z": float(z),
        "far": bool(far),
    }


def learn_reference(edges: np.ndarray, groups: np.ndarray, seed: int = 0) -> Reference:
    """Learn what is usual from a cohort.

    Parameters
    ----------
    edges : array, [n, E]
        Complete.
    groups : array, [n]
        Copies of one scan share an entry, and are held out together.
    seed : int
        Of who is held out with whom.
    """
    values = np.asarray(edges, np.float32)
    centre = values.mean(0, dtype=float).astype(np.float32)
    gram = np.asarray((values - centre) @ (values - centre).T, float)
    _, group = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng([seed, 19]).permutation(group.max() + 1)[group] % min(FOLDS, group.max() + 1)
    within, beside, pattern = (np.empty(len(values)) for _ in KINDS)
    for number in np.unique(fold):
        out, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        within[out], beside[out] = _held_out(gram, rest, out, values.shape[1])
        pattern[out] = _unlike(values[out], values[rest].mean(0, dtype=float))
    everybody = np.arange(len(values))
    weights, spread = _components(gram, everybody)
    axes = weights.T @ (values - centre).astype(float)
    return Reference(centre.astype(float), axes, spread, *map(np.sort, (within, beside, pattern)))


def _unlike(edges: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """One less the correlation of every connectome [n, E] with a mean [E], over edges."""
    own, mean = edges - edges.mean(1, keepdims=True), mean - mean.mean()
    size = np.linalg.norm(own, axis=1) * np.linalg.norm(mean)
    return 1 - own @ mean / np.maximum(size, 1e-12)


def _components(gram: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leading components of some people: weights of these (centred) people [n, r], and standard deviations [r]."""
    own = gram[np.ix_(rows, rows)]
    own = own - own.mean(0) - own.mean(1)[:, None] + own.mean()
    values, vectors = np.linalg.eigh(own)
    r = max(1, min(COMPONENTS, len(rows) // 5))
    values, vectors = np.maximum(values[-r:], 1e-12), vectors[:, -r:]
    return vectors / np.sqrt(values), np.sqrt(values / (len(rows) - 1))


def _held_out(gram: np.ndarray, rest: np.ndarray, out: np.ndarray, n_edges: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of the people `out` from the `rest`, from inner products of all alone."""
    weights, spread = _components(gram, rest)
    inner = gram[np.ix_(rest, rest)]
    cross = gram[np.ix_(out, rest)]
    centred = cross - inner.mean(0) - cross.mean(1)[:, None] + inner.mean()
    along = centred @ weights
    squared = np.diag(gram)[out] - 2 * cross.mean(1) + inner.mean()
    beside = np.sqrt(np.maximum(squared - (along**2).sum(1), 0) / n_edges)
    return np.sqrt(((along / spread) ** 2).mean(1)), beside
