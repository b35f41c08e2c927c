"""Whether anything differs at all: the families of tests of one localization, corrected for there being several.

Single edges, components, circuits and blocks keep 5 % each; a page that shows all of them does not. They share their
permutations, so that the smallest p of them all is compared with the smallest p of every permutation.
"""

from collections.abc import Mapping

import numpy as np


def ranked(strength: np.ndarray) -> np.ndarray:
    """Rank of every row among all, as p, [..., 1 + B] -> [..., 1 + B]; the smaller a row, the stronger it is."""
    ordered = np.sort(strength, axis=-1)
    count = lambda one, rows: np.searchsorted(one, rows + 1e-9 * np.abs(rows), side="right")
    return np.array([count(*pair) for pair in zip(ordered, strength)]) / strength.shape[-1]


def smallest_of_families(strengths: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Correct the p of every family for there being several.

    Parameters
    ----------
    strengths : mapping of str to array, [1 + B]
        Statistic of each under the observed labels (row 0) and under the same B permutations, small where strong:
        a smallest p, say, or a negative score. Each is ranked among its own rows, so that spreads may differ.

    Returns
    -------
    dict of str to float
        ``#{k: smallest p of row k <= p of row 0} / (1 + B)``, which never is below the p of the family alone.

    References
    ----------
    Westfall and Young (1993), Resampling-based multiple testing (smallest p).
    """
    if not strengths:
        return {}
    p = ranked(np.stack(list(strengths.values())))
    smallest = p.min(0)
    return {name: float((smallest <= one + 1e-12).mean()) for name, one in zip(strengths, p[:, 0])}
