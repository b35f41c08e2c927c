"""Edge-wise linear model with nuisance covariates, permutation inside sites, family-wise error control.

For every edge e and the group g, both residualised for the nuisance Z and scaled to unit norm, the
correlation ``r = g . e`` gives ``t = r sqrt(df / (1 - r^2))`` with ``df = n - rank(Z) - 1``: the t of the
group in the full model. A permutation shuffles the residualised group inside exchangeability blocks and
residualises it again (the orthogonalised permutation of Smith), so that all edges of all permutations are one
matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

from dysconnect.models.floor import CovariateEncoder
from dysconnect.progress import track

PART = 2e7  # bytes


@dataclass(frozen=True)
class EdgeStatistics:
    """Statistics of every edge, each [E].

    Attributes
    ----------
    t : array
        Positive: stronger in patients.
    effect_size : array
        Cohen's d of the group, adjusted for the nuisance: ``t sqrt(1/n1 + 1/n0)``.
    p, p_fwer, p_fdr : array
        Two-sided: parametric; max-T over permutations; Benjamini-Hochberg of the parametric.
    max_null : array, [B]
        Largest absolute t of every permutation.
    df : int
    """

    t: np.ndarray
    effect_size: np.ndarray
    p: np.ndarray
    p_fwer: np.ndarray
    p_fdr: np.ndarray
    max_null: np.ndarray
    df: int


def nuisance_basis(table: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Orthonormal basis of intercept and covariates, [n, K]; constant and redundant columns drop out.

    Raises
    ------
    ValueError
        When the covariates determine the group, so that its effect cannot be estimated.
    """
    columns = CovariateEncoder(covariates).fit(table).transform(table)
    basis = orthonormal(np.column_stack([np.ones(len(table)), columns]))
    if len(table) - basis.shape[1] - 1 < 1:
        raise ValueError(
            f"{len(table)} subjects leave no degrees of freedom for {basis.shape[1]} nuisance columns. "
            "Use fewer covariates (localize.nuisance), or more subjects."
        )
    if not estimable(table["label"].to_numpy(float), basis):
        raise ValueError(
            f"the covariates {', '.join(covariates)} determine the group: its effect cannot be estimated. "
            "Leave out the covariate that names the group (localize.nuisance)."
        )
    return basis


def orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns of a design, [n, K]; redundant columns drop out."""
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    return left[:, values > 1e-8 * values[0]]


def estimable(group: np.ndarray, basis: np.ndarray) -> bool:
    """Whether the nuisance leaves anything of the group, [n]."""
    rest = group - basis @ (basis.T @ group)
    return (rest**2).sum() > 1e-6 * ((group - group.mean()) ** 2).sum()


def residual_unit(values: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Residualise columns [n, E] and scale them to unit norm; columns without variance become zero."""
    rest = values - basis @ (basis.T @ values)
    norm = np.linalg.norm(rest, axis=0)
    alive = norm > 1e-6 * np.maximum(np.linalg.norm(values, axis=0), 1e-12)
    return np.where(alive, rest / np.where(alive, norm, 1), 0)


def permuted_groups(group: np.ndarray, basis: np.ndarray, blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Unit group vectors under permutation inside blocks, [n, S]; `group` [S] is residualised already."""
    rng = np.random.default_rng(seed)
    shuffled = np.empty((n, len(group)))
    for block in np.unique(blocks):
        own = np.flatnonzero(blocks == block)
        for part in parts(n, len(own)):
            shuffled[part, own] = rng.permuted(np.repeat(group[own][None], part.stop - part.start, axis=0), axis=1)
    for part in parts(n, len(group)):
        shuffled[part] = residual_unit(shuffled[part].T, basis).T
    return shuffled


def parts(count: int, length: int) -> list[slice]:
    """Slices of many vectors of one length that are worked on together: memory grows with them, not with the cohort."""
    step = max(1, int(PART // (8 * max(length, 1))))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def max_correlations(groups: np.ndarray, edges: np.ndarray, chunk_bytes: float = 2e8) -> np.ndarray:
    """Largest absolute correlation over edges for every group vector, [B, S] x [S, E] -> [B], in chunks."""
    size = max(1, int(chunk_bytes / (4 * edges.shape[1])))
    groups, edges = (numbers.astype(np.float32, copy=False) for numbers in (groups, edges))
    chunks = []
    for start in range(0, len(groups), size):
        product = groups[start : start + size] @ edges
        chunks.append(np.maximum(product.max(1), -product.min(1)))
    return np.concatenate(chunks).astype(float)


def edge_statistics(
    edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], n_permutations: int, seed: int
) -> EdgeStatistics:
    """Test every edge for a group difference.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label`, `site` (exchangeability blocks) and the covariates.
    covariates : sequence of str
        Nuisance.
    n_permutations, seed : int

    References
    ----------
    Winkler et al. (2014), doi:10.1016/j.neuroimage.2014.01.060 (methods of permutation; Smith);
    Nichols and Holmes (2002), doi:10.1002/hbm.1058 (max-T); Benjamini and Hochberg (1995).
    """
    whole = np.concatenate([np.isfinite(edges[part]).all(1) for part in parts(*edges.shape)])
    if not whole.all():
        bad = table["participant_id"].to_numpy()[~whole]
        raise ValueError(f"edges of {', '.join(map(str, bad[:5]))} hold NaN or infinity; compute them again.")
    basis = nuisance_basis(table, covariates)
    df = len(table) - basis.shape[1] - 1
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    nulls = permuted_groups(group, basis, table["site"].to_numpy(), n_permutations, seed).astype(np.float32)
    r, max_r = np.empty(edges.shape[1]), np.zeros(n_permutations)
    said = f"{n_permutations} permutations of {edges.shape[1]} edges, in parts"
    for part in track(parts(edges.shape[1], len(edges)), said):
        units = residual_unit(edges[:, part].astype(float), basis)
        r[part] = (group / np.linalg.norm(group)) @ units
        max_r = np.maximum(max_r, max_correlations(nulls, units))
    t = to_t(r, df)
    p = 2 * student.sf(np.abs(t), df)
    cases = label.sum()
    scale = np.sqrt(1 / cases + 1 / (len(label) - cases))
    return EdgeStatistics(t, t * scale, p, exceedance_p(np.abs(r), max_r), false_discovery(p), to_t(max_r, df), df)


def to_t(r: np.ndarray, df: int) -> np.ndarray:
    """Correlation to t with `df` degrees of freedom."""
    r = np.clip(r, -1 + 1e-12, 1 - 1e-12)
    return r * np.sqrt(df / (1 - r**2))


def exceedance_p(observed: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Permutation p of every edge, ``(1 + #{null >= observed}) / (1 + B)``, ties (to float32) counted."""
    ordered = np.sort(null)
    beyond = len(ordered) - np.searchsorted(ordered, observed - 1e-6, side="left")
    return (1 + beyond) / (1 + len(ordered))


def false_discovery(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg adjusted p, [E]."""
    order = np.argsort(p)[::-1]
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(scaled))
    return adjusted


def selection_stability(
    edges: np.ndarray, table: pd.DataFrame, covariates: Sequence[str], top: int, draws: int, seed: int
) -> np.ndarray:
    """How often an edge is among the `top` strongest when half of the subjects are drawn, [E].

    Halves keep the label x site composition (Meinshausen and Buhlmann 2010, complementary halves left out). NaN
    where the cohort is so small that no half can estimate the group beside the nuisance.
    """
    rng = np.random.default_rng(seed)
    stratum = table["label"].astype(str) + "/" + table["site"].astype(str)
    nuisance, label = nuisance_basis(table, covariates), table["label"].to_numpy(float)
    drawn = []
    for _ in range(draws):
        half = [rng.permutation(rows)[: (len(rows) + 1) // 2] for rows in stratum.groupby(stratum).indices.values()]
        rows = np.sort(np.concatenate(half))
        basis = orthonormal(nuisance[rows])
        if len(rows) <= basis.shape[1] + 1 or not estimable(label[rows], basis):
            continue
        group = label[rows] - basis @ (basis.T @ label[rows])
        drawn.append((rows, basis, group))
    r = np.empty((len(drawn), edges.shape[1]))
    for part in parts(edges.shape[1], len(edges)):
        own = edges[:, part].astype(float)
        for k, (rows, basis, group) in enumerate(drawn):
            r[k, part] = np.abs(group @ residual_unit(own[rows], basis))
    strongest = np.argpartition(-r, top - 1, axis=1)[:, :top]
    counts = np.bincount(strongest.ravel(), minlength=edges.shape[1])
    return counts / len(drawn) if drawn else np.full(edges.shape[1], np.nan)
