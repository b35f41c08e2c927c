"""How unlike those of a cohort a connectome is: in place, in what lies beside it, in pattern, size, texture and sides.

Two distances as in the monitoring of processes (Hotelling's T2 and the residual): how unusual a person's place is in
the cohort's leading principal components, and how much of the connectome these components leave unexplained. A third
is one less the correlation with the cohort's mean. These three see what is far, and not what is shrunk towards zero,
so three more ask for less: the slope on the cohort's mean, the texture that neither the mean nor the components
explain, and whether left and right differ as they do in the cohort. What is usual is learned from people who were held
out when mean and components were, so that a new person is compared with equals; and a person is far when the largest
of the six deviations is beyond those of the cohort's people, so that six questions refuse no more than one would.
Nobody's connectome is stored.

References
----------
Jackson and Mudholkar (1979), doi:10.1080/00401706.1979.10489779; Vovk, Gammerman and Shafer (2005), Algorithmic
Learning in a Random World (ranks among equals keep their error rate).
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from dysconnect.data.edges import Pairs
from dysconnect.data.measures import fisher_z

COMPONENTS = 20  # at most; and one for every five people
FOLDS = 10
RARE = 0.01  # share of the cohort that is as far away, below which somebody is far
FAR = 3.0  # robust standard deviations, for the same
KINDS = ("within", "beside", "pattern", "slope", "texture", "sides")
TWO_SIDED = ("slope", "texture")  # too small is as strange as too large
LEAST = 1e-12


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
    partner : array of int, [N]
        Region on the other side of the head.
    held_out : array, [n, 6]
        What `measures` gives for everybody, of a cohort without them.
    """

    mean: np.ndarray
    axes: np.ndarray
    spread: np.ndarray
    partner: np.ndarray
    held_out: np.ndarray

    def state(self) -> dict[str, np.ndarray]:
        """As arrays; connectomes in float32."""
        small = {name: getattr(self, name).astype(np.float32) for name in ("mean", "axes")}
        return {**vars(self), **small}

    def judge(self, edges: np.ndarray, row: int | None = None) -> dict[str, dict]:
        """Distances of one person beside those of the cohort.

        Parameters
        ----------
        edges : array, [E]
            Complete.
        row : int, optional
            Of the person in the cohort: then the others are the cohort, and what counts was measured without them.

        Returns
        -------
        dict of str to dict
            By kind: `distance` (`within`: standard deviations, `beside` and `texture`: Fisher z, root mean squares;
            `pattern` and `sides`: 1 - correlation; `slope`), `percentile` (of the cohort that is nearer), `z` (robust
            standard deviations from the cohort's median, on a scale where distances are about normal), `p_max` (share
            of the cohort, the person counted in, whose largest z over the kinds is as large), `far` (`p_max` of at most
            one in a hundred, or the least that there is, and more than three standard deviations; Leys et al. 2013,
            doi:10.1016/j.jesp.2013.03.013).
        """
        if row is None:
            person = measures(edges[None].astype(float), self.mean, self.axes, self.spread, self.partner)[0]
        else:
            person = self.held_out[row]
        held_out = self.held_out if row is None else np.delete(self.held_out, row, axis=0)
        z, cohort = _robust(person[None], held_out)[0], _robust(held_out, held_out)
        away, others = _sided(z[None])[0], _sided(cohort)
        largest, n = others.max(1), len(cohort)
        p = (1 + (largest[:, None] >= away).sum(0)) / (1 + n)
        far = (p <= max(RARE, 1 / (1 + n))) & (away > FAR)
        return {
            kind: {
                "distance": _familiar(kind, person[k]), "percentile": float(100 * (others[:, k] < away[k]).mean()),
                "z": float(z[k]), "p_max": float(p[k]), "far": bool(far[k]),
            }
            for k, kind in enumerate(KINDS)
        }  # fmt: skip


def measures(
    edges: np.ndarray, mean: np.ndarray, axes: np.ndarray, spread: np.ndarray, partner: np.ndarray
) -> np.ndarray:
    """Measure connectomes [n, E] against a cohort, on scales where each kind is about normal, [n, 6]."""
    away = edges - mean
    along = away @ axes.T
    within = np.sqrt(((along / spread) ** 2).mean(1))
    beside = np.sqrt(np.maximum((away**2).sum(1) - (along**2).sum(1), 0) / len(mean))
    known = np.linalg.qr(np.vstack([np.ones_like(mean), mean, axes]).T)[0]
    texture = np.sqrt(np.maximum((edges**2).sum(1) - ((edges @ known) ** 2).sum(1), 0) / len(mean))
    centred = mean - mean.mean()
    slope = edges @ centred / max(centred @ centred, LEAST)
    other = _mirrored(partner)
    correlations = (_correlations(edges, mean), _correlations(edges - edges[:, other], mean - mean[other]))
    pattern, sides = (-fisher_z(r) for r in correlations)
    logs = [np.log(np.maximum(values, LEAST)) for values in (within, beside, np.maximum(slope, 1e-3), texture)]
    return np.column_stack([logs[0], logs[1], pattern, logs[2], logs[3], sides])


def _correlations(edges: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Correlation of every row [n, E] with a mean [E], over edges; 0 where nothing varies."""
    centred, mean = edges - edges.mean(1, keepdims=True), mean - mean.mean()
    size = np.linalg.norm(centred, axis=1) * np.linalg.norm(mean)
    return centred @ mean / np.maximum(size, LEAST)


def _familiar(kind: str, value: float) -> float:
    """A measure as people know it."""
    return float(1 + np.tanh(value) if kind in ("pattern", "sides") else np.exp(value))


def _robust(values: np.ndarray, cohort: np.ndarray) -> np.ndarray:
    """Measures [n, 6] in robust standard deviations from the cohort's median."""
    middle = np.median(cohort, axis=0)
    width = np.maximum(1.4826 * np.median(np.abs(cohort - middle), axis=0), 1e-6)
    return (values - middle) / width


def _sided(z: np.ndarray) -> np.ndarray:
    """How far out, [n, 6]: in both directions where both are strange."""
    return np.where([kind in TWO_SIDED for kind in KINDS], np.abs(z), z)


def partners(nodes: pd.DataFrame) -> np.ndarray:
    """Region on the other side of the head for every region, [N]: one for one, as near to the mirrored place as can be.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        `x`, `y`, `z` (MNI mm).
    """
    places = nodes[["x", "y", "z"]].to_numpy(float)
    distance = np.linalg.norm(places[:, None] - places[None] * (-1, 1, 1), axis=2)
    return linear_sum_assignment(distance + distance.T)[1]


def _mirrored(partner: np.ndarray) -> np.ndarray:
    """Place of every edge's counterpart on the other side, [E]."""
    return Pairs(len(partner)).among(partner)


def learn_reference(edges: np.ndarray, groups: np.ndarray, partner: np.ndarray, seed: int = 0) -> Reference:
    """Learn what is usual from a cohort.

    Parameters
    ----------
    edges : array, [n, E]
        Complete.
    groups : array, [n]
        Copies of one scan share an entry, and are held out together.
    partner : array of int, [N]
        Of `partners`.
    seed : int
        Of who is held out with whom.
    """
    values = np.asarray(edges, np.float32)
    gram = np.asarray((values - values.mean(0)) @ (values - values.mean(0)).T, float)
    _, group = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng([seed, 19]).permutation(group.max() + 1)[group] % min(FOLDS, group.max() + 1)
    held_out = np.empty((len(values), len(KINDS)))
    for number in np.unique(fold):
        out = np.flatnonzero(fold == number)
        described = _describe(values, gram, np.flatnonzero(fold != number))
        held_out[out] = measures(values[out].astype(float), *described, partner)
    return Reference(*_describe(values, gram, np.arange(len(values))), partner, held_out)


def _describe(values: np.ndarray, gram: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [E], components [r, E] and their spread [r] of some people; the Gram matrix [n, n] of all is given."""
    mean = values[rows].mean(0, dtype=float)
    centred = gram[np.ix_(rows, rows)]
    centred = centred - centred.mean(0) - centred.mean(1)[:, None] + centred.mean()
    sizes, vectors = np.linalg.eigh(centred)
    r = max(1, min(COMPONENTS, len(rows) // 5))
    sizes, vectors = np.maximum(sizes[-r:], LEAST), vectors[:, -r:]
    weights = vectors / np.sqrt(sizes)
    axes = weights.T @ values[rows] - weights.sum(0)[:, None] * mean
    return mean, axes, np.sqrt(sizes / (len(rows) - 1))
