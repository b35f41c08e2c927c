"""Error rates for the weights of ridge regression: max-T with shrunk edges in place of edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.localize.statistics import (
    exceedance_p,
    max_correlations,
    nuisance_basis,
    parts,
    permuted_groups,
    residual_unit,
    to_t,
)


@dataclass(frozen=True)
class RidgeWeights:
    """Of every edge, [E]: studentised weight `t` (positive: stronger in patients), `p_fwer`; `max_null`, [B]."""

    t: np.ndarray
    p_fwer: np.ndarray
    max_null: np.ndarray


def ridge_statistics(
    edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], n_permutations: int, seed: int, penalty: float
) -> RidgeWeights:
    """Test the ridge weight of every edge, nuisance projected out, with max-T over permutations.

    With the residualised edges of unit norm U [n, E] and the residualised group g, ridge regression of g on U has the
    weights ``w_e = (A u_e) . g``, ``A = (K + l I)^-1`` and ``K = U U^T`` scaled to a mean eigenvalue of 1. A does not
    depend on the group, so a permutation of g (inside sites, residualised again) is one more row of the same matrix
    product as of `edge_statistics`, with the unit vectors of ``A u_e`` in place of ``u_e``: ``r_e = w_e / |A u_e|``
    is studentised, and K maps what is orthogonal to the nuisance onto itself. l must not be chosen by the labels. For
    l to infinity r_e is the correlation of edge and group, and p that of max-T.

    The error rate is that of naming any edge in a cohort where no edge differs. Where some do, the weight of an edge
    that is correlated with them may be no accident without that edge differing itself: as with every multivariate
    weight, it does not tell a suppressor from a difference.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label`, `site` and the covariates.
    covariates : sequence of str
    n_permutations, seed : int
    penalty : float
        l, relative to the mean eigenvalue of K.
    """
    basis = nuisance_basis(table, covariates)
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    kernel = np.zeros((len(table), len(table)))
    chunks = parts(edges.shape[1], len(table))
    for part in chunks:
        units = residual_unit(edges[:, part].astype(float), basis)
        kernel += units @ units.T
    df = len(table) - basis.shape[1] - 1
    inverse = np.linalg.inv(kernel * (df + 1) / np.trace(kernel) + penalty * np.eye(len(table)))
    nulls = permuted_groups(group, basis, table["site"].to_numpy(), n_permutations, seed).astype(np.float32)
    r, max_r = np.empty(edges.shape[1]), np.zeros(n_permutations)
    for part in chunks:
        shrunk = residual_unit(inverse @ residual_unit(edges[:, part].astype(float), basis), basis)
        r[part] = (group / np.linalg.norm(group)) @ shrunk
        max_r = np.maximum(max_r, max_correlations(nulls, shrunk))
    return RidgeWeights(to_t(r, df), exceedance_p(np.abs(r), max_r), to_t(max_r, df))
