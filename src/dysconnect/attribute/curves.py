"""Deletion and insertion: what becomes of the scores of held-out people when edges are replaced by the control mean."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SHARES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of the edges, strongest first


class Curves(NamedTuple):
    """AUC of one fold, [len(SHARES)] each, where that many edges are replaced (deletion) or kept (insertion)."""

    deletion: np.ndarray
    insertion: np.ndarray


def fold_curves(
    decide: Callable[[np.ndarray], np.ndarray],
    edges: np.ndarray,
    labels: np.ndarray,
    baseline: np.ndarray,
    order: np.ndarray,
) -> Curves:
    """Replace more and more edges of held-out people by the mean of the training controls, and score them again.

    Parameters
    ----------
    decide : callable
        Decisions [m] of a fold's model from edges [m, E].
    edges : array, [m, E]
        Of the held-out people, complete.
    labels : array, [m]
        Score the decisions; they choose no edge.
    baseline : array, [E]
    order : array of int, [E]
        Edges, strongest first.

    References
    ----------
    Petsiuk, Das and Saenko (2018) RISE, arXiv:1806.07421.
    """
    from dysconnect.models.dual import concordance  # scikit-learn

    score = lambda part: concordance(decide(part), labels)
    deleted, inserted = edges.copy(), np.repeat(baseline[None].astype(edges.dtype), len(edges), axis=0)
    deletion, insertion, done = [score(deleted)], [score(inserted)], 0
    for share in SHARES[1:-1]:
        part = order[done : round(share * len(order))]
        deleted[:, part], inserted[:, part] = baseline[part], edges[:, part]
        deletion.append(score(deleted))
        insertion.append(score(inserted))
        done += len(part)
    return Curves(np.array([*deletion, insertion[0]]), np.array([*insertion, deletion[0]]))


def area(curve: np.ndarray) -> float:
    """Mean of a curve over the shares between none and all, which are spaced evenly on a logarithmic axis."""
    return float(curve[1:-1].mean())
