"""Labels permuted, and what may be shown of a model: the null and its gate."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # torch takes seconds to load
    pass


def shuffle_labels(labels: np.ndarray, blocks: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Permute labels inside exchangeability blocks, [S, n]; labels [S], blocks [S]."""
    shuffled = np.empty((len(labels), n), labels.dtype)
    for block in np.unique(blocks):
        own = np.flatnonzero(blocks == block)
        shuffled[own] = rng.permuted(np.repeat(labels[own][:, None], n, axis=1), axis=0)
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
