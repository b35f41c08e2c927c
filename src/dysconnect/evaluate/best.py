"""The best of several models: its p, corrected for having been chosen."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.learning.permuted import permutation_p


def best_p(
    nulls: Mapping[str, pd.DataFrame], seeing: Sequence[str], alpha: float, seeds: Mapping[str, int] | None = None
) -> dict[str, float]:
    """Correct the permutation p of every model for the others that compete.

    The models' nulls come from the same permutations of the labels, whatever their number. Nulls differ in spread, so
    that every AUC is put in standard deviations of the null of its model; the highest of the models under every
    permutation is what a model's is compared with. It covers the repeat that the nulls cover.

    Parameters
    ----------
    nulls : mapping of str to DataFrame
        `permutation` (0: the labels as they are) and `auc`, by experiment; no rows where there is no null.
    seeing : sequence of str
        The experiments that compete: those that see connectivity.
    alpha : float
        Models with too few permutations to reach it do not compete.
    seeds : mapping of str to int, optional
        Seed of every model's permutations. Models of one seed share their permutations; groups of several are corrected
        by Bonferroni.

    Returns
    -------
    dict of str to float
        ``#{k: highest of permutation k >= the model's} / (1 + B)``, and never below the p of the model alone, which may
        rest on more permutations than all share; NaN for those that do not compete.

    References
    ----------
    Westfall and Young (1993), Resampling-based multiple testing (single step).
    """
    known = {name: nulls[name].sort_values("permutation")["auc"].to_numpy(float) for name in nulls}
    able = [name for name in seeing if len(known[name]) and 1 / len(known[name]) <= alpha]
    groups: dict[int, list[str]] = {}
    for name in able:
        groups.setdefault((seeds or {}).get(name, 0), []).append(name)
    reached: dict[str, float] = {}
    for names in groups.values():
        reached |= _single_step({name: known[name] for name in names})
    several = {name: min(1.0, p * len(groups)) for name, p in reached.items()}
    return {name: max(several[name], permutation_p(nulls[name])) if name in several else np.nan for name in nulls}


def _single_step(known: Mapping[str, np.ndarray]) -> dict[str, float]:
    """P of every model by the highest of all, on the permutations that all have."""
    shared = min(map(len, known.values()))
    scores = {name: _standard(auc[:shared]) for name, auc in known.items()}
    highest = np.max(list(scores.values()), axis=0)
    return {name: float((highest >= one[0] - 1e-9).mean()) for name, one in scores.items()}


def _standard(auc: np.ndarray) -> np.ndarray:
    """In standard deviations of all rows, [1 + B], the observed one among them: so the test is exact."""
    return (auc - auc.mean()) / (auc.std() or 1.0)
