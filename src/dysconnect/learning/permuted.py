"""Labels permuted, and what may be shown of a model: the null and its gate."""

from typing import NamedTuple

import numpy as np
import pandas as pd


def shuffle_labels(labels: np.ndarray, blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Permute labels inside exchangeability blocks, [S, n]; labels [S], blocks [S].

    Permutation k is the same for every `n`, so that models with different numbers of permutations share the first.
    """
    shuffled = np.empty((len(labels), n), labels.dtype)
    for block, own in zip(names := np.unique(blocks), rng.spawn(len(names))):
        members = np.flatnonzero(blocks == block)
        shuffled[members] = own.permuted(np.repeat(labels[members][None], n, axis=0), axis=1).T
    return shuffled


def design_permutations(labels: np.ndarray, first: pd.DataFrame, n: int, seed: int) -> np.ndarray:
    """The labels and n permutations of them inside site x fold, [S, 1 + n]: all have the same design.

    `first` has `site` and `fold` of the people in their order.
    """
    blocks = (first["site"].astype(str) + "/" + first["fold"].astype(str)).to_numpy()
    return np.column_stack([labels, shuffle_labels(labels, blocks, n, np.random.default_rng([seed, 11]))])


def permutation_p(null: pd.DataFrame) -> float:
    """Permutation p, ``(1 + #{null >= observed}) / (1 + B)``; NaN where there is no null."""
    if null.empty:
        return np.nan
    observed = null.loc[null["permutation"] == 0, "auc"].item()
    permuted = null.loc[null["permutation"] > 0, "auc"].to_numpy()
    return (1 + (permuted >= observed - 1e-12).sum()) / (1 + len(permuted))


class Gate(NamedTuple):
    """Whether a model may be asked about connections, its permutation p (NaN: not tested), and both in words."""

    is_open: bool
    p: float
    words: str


def target_gate(p: float, alpha: float, name: str, model: Gate) -> Gate:
    """Decide whether a model's virtual-stimulation targets may be shown.

    Parameters
    ----------
    p : float
        Family-wise over all targets of all kinds, under permuted labels; NaN where the targets have no such p: then the
        gate of the model decides.
    alpha : float
    name : str
        The model's, for the words.
    model : Gate
        Whether the model beats chance.
    """
    if np.isnan(p):
        return model
    if p > alpha:
        return Gate(False, p, f"withheld: no target of {name} moves patients beyond permuted labels (p = {p:.3g})")
    return Gate(True, p, f"{name} (family-wise p of the targets = {p:.3g})")


def gate(null: pd.DataFrame, alpha: float, name: str = "") -> Gate:
    """Decide whether maps, weights or targets of a model may be shown: it must beat its permutation null.

    Parameters
    ----------
    null : DataFrame
        `permutation` (0: the labels as they are), `auc`; no rows where the model was not tested.
    alpha : float
    name : str, optional
        The model's, for the words.

    Returns
    -------
    Gate
    """
    p = permutation_p(null)
    who = f"{name} " if name else ""
    if np.isnan(p):
        return Gate(False, p, f"withheld: {who and f'{who}was '}not tested against permuted labels")
    if p > alpha:
        return Gate(False, p, f"withheld: {who}does not beat its permutation null (p = {p:.3g})")
    return Gate(
        True, p, f"{who}(permutation p = {p:.3g})" if name else f"shown: beats its permutation null (p = {p:.3g})"
    )
