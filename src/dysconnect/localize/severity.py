"""Edges that go with severity, and edges that differ between more than two groups.

The same machinery as for two groups: edges and score are residualised for the nuisance and scaled to unit norm, so
that their product is the partial correlation r and ``t = r sqrt(df / (1 - r^2))``. More than two groups span q
directions; with an orthonormal basis Q of their residualised indicators ``R^2 = |Q^T e|^2`` is the partial eta squared
and ``F = (R^2 / q) / ((1 - R^2) / df)``, which for two groups is t^2. Permutation is inside sites, and what is permuted
is residualised again (Smith).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import fdtrc, stdtr

from dysconnect.localize.statistics import (
    covariate_basis,
    exceedance_p,
    false_discovery,
    max_correlations,
    orthonormal,
    parts,
    permuted_groups,
    residual_unit,
    to_f,
    to_t,
)
from dysconnect.localize.tested import NothingToTest
from dysconnect.progress import track


@dataclass(frozen=True)
class AssociationStatistics:
    """Statistics of every edge, each [E].

    Attributes
    ----------
    statistic : array
        t of a score (positive: stronger the higher the score), or F of groups.
    effect_size : array
        Partial r of a score, partial eta squared of groups.
    p, p_fwer, p_fdr : array
        Parametric (of t: two-sided); max over edges by permutation; Benjamini-Hochberg of the parametric.
    max_null : array, [B]
        Largest absolute t, or largest F, of every permutation.
    df : tuple of int
        Degrees of freedom of the score (1) or the groups (q), and of the residuals.
    """

    statistic: np.ndarray
    effect_size: np.ndarray
    p: np.ndarray
    p_fwer: np.ndarray
    p_fdr: np.ndarray
    max_null: np.ndarray
    df: tuple[int, int]


def score_statistics(
    edges: np.ndarray, table: pd.DataFrame, score: str, covariates: Sequence[str], n_permutations: int, seed: int
) -> AssociationStatistics:
    """Test every edge for an association with a continuous score.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete; of the patients, where the score is one of severity. One row a person: copies of a scan
        would count twice (`localize.without_copies`).
    table : DataFrame, [n rows]
        `participant_id`, `site` (exchangeability blocks), the score and the covariates.
    score : str
        Column of the score.
    covariates : sequence of str
        Nuisance.
    n_permutations, seed : int

    Raises
    ------
    ValueError
        When the score is missing for somebody or no number.
    NothingToTest
        A ValueError, when the score does not vary (inside sites), is determined by the covariates, or these leave no
        degrees of freedom.
    """
    refuse_unfinite(edges, table)
    values = score_values(table, score)
    basis, df = _nuisance(table, covariates, 1)
    rest = values - basis @ (basis.T @ values)
    if (rest**2).sum() <= 1e-6 * ((values - values.mean()) ** 2).sum():
        raise NothingToTest(
            f"{score}: the covariates {', '.join(covariates)} determine the score, so that nothing can be said of it. "
            "Leave out the covariate that holds it (localize.nuisance)."
        )
    nulls = permuted_groups(rest, basis, table["site"].to_numpy(), n_permutations, seed).astype(np.float32)
    r, max_r = np.empty(edges.shape[1]), np.zeros(n_permutations)
    for part in track(parts(edges.shape[1], len(edges)), f"{n_permutations} permutations of {score}, in parts"):
        units = residual_unit(edges[:, part].astype(float), basis)
        r[part] = (rest / np.linalg.norm(rest)) @ units
        max_r = np.maximum(max_r, max_correlations(nulls, units))
    t = to_t(r, df)
    p = 2 * stdtr(df, -np.abs(t))
    return AssociationStatistics(t, r, p, exceedance_p(np.abs(r), max_r), false_discovery(p), to_t(max_r, df), (1, df))


def group_statistics(
    edges: np.ndarray, table: pd.DataFrame, group: str, covariates: Sequence[str], n_permutations: int, seed: int
) -> AssociationStatistics:
    """Test every edge for any difference between two or more groups.

    Parameters
    ----------
    edges, table, covariates, n_permutations, seed
        As for `score_statistics`.
    group : str
        Column of the groups.

    Raises
    ------
    ValueError
        When somebody has no group.
    NothingToTest
        A ValueError, when a group has one member, there is one group only, no permutation inside sites changes
        anything, the covariates determine a group, or leave no degrees of freedom.
    """
    refuse_unfinite(edges, table)
    indicators = group_indicators(table, group)
    q = indicators.shape[1]
    basis, df = _nuisance(table, covariates, q)
    rest = indicators - basis @ (basis.T @ indicators)
    directions = orthonormal(rest)
    if directions.shape[1] < q or np.linalg.norm(rest, axis=0).min() < 1e-3:
        raise NothingToTest(
            f"{group}: the covariates {', '.join(covariates)} determine a group: the difference cannot be estimated. "
            "Leave out the covariate that names the group (localize.nuisance)."
        )
    nulls = permuted_bases(rest, basis, table["site"].to_numpy(), n_permutations, seed)
    share, max_share = np.empty(edges.shape[1]), np.zeros(n_permutations)
    for part in track(parts(edges.shape[1], len(edges)), f"{n_permutations} permutations of {group}, in parts"):
        units = residual_unit(edges[:, part].astype(float), basis)
        share[part] = ((directions.T @ units) ** 2).sum(0)
        max_share = np.maximum(max_share, max_shares(nulls, units))
    f = to_f(share, q, df)
    p = fdtrc(q, df, f)
    # as correlations, so that ties are counted alike everywhere
    p_fwer = exceedance_p(np.sqrt(share), np.sqrt(max_share))
    return AssociationStatistics(f, share, p, p_fwer, false_discovery(p), to_f(max_share, q, df), (q, df))


def adjusted_means(
    edges: np.ndarray, table: pd.DataFrame, group: str, covariates: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """Say in which group an edge is weak or strong: what F does not.

    Parameters as for `group_statistics`.

    Returns
    -------
    names : list of str
        Groups in order of their names.
    means : array, [groups, E]
        Adjusted for the covariates, as deviation from the mean of the groups, in residual standard deviations; zero
        for an edge without variance.
    """
    indicators = group_indicators(table, group)
    basis, df = _nuisance(table, covariates, indicators.shape[1])
    inverse = np.linalg.pinv(indicators - basis @ (basis.T @ indicators))
    means = np.zeros((indicators.shape[1] + 1, edges.shape[1]))
    for part in parts(edges.shape[1], len(edges)):
        values = edges[:, part].astype(float)
        means[1:, part] = inverse @ values
        rest = values - indicators @ means[1:, part]
        units = residual_unit(values, basis)
        spread = np.sqrt(((rest - basis @ (basis.T @ rest)) ** 2).sum(0) / df)
        means[:, part] = np.where(units.any(0), means[:, part] / np.where(spread > 0, spread, 1), 0)
    return sorted(table[group].astype(str).unique()), means - means.mean(0)


def permuted_bases(rest: np.ndarray, basis: np.ndarray, blocks: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Orthonormal bases of the groups under permutation inside blocks, float32 [n, S, q]; `rest` [S, q].

    All columns are shuffled together and residualised again, as in `statistics.permuted_groups`.
    """
    rng = np.random.default_rng(seed)
    bases = np.empty((n, *rest.shape), np.float32)
    for part in parts(n, rest.size):
        rows = np.repeat(np.arange(len(rest))[None], part.stop - part.start, axis=0)
        for block in np.unique(blocks):
            members = np.flatnonzero(blocks == block)
            rows[:, members] = rng.permuted(rows[:, members], axis=1)
        shuffled = rest[rows]
        bases[part] = np.linalg.qr(shuffled - basis @ (basis.T @ shuffled))[0]
    return bases


def max_shares(bases: np.ndarray, units: np.ndarray, chunk_bytes: float = 1e8) -> np.ndarray:
    """Largest explained share over edges for every basis, [B, S, q] x [S, E] -> [B], in chunks."""
    units = units.astype(np.float32, copy=False)
    count, _, q = bases.shape
    size = max(1, int(chunk_bytes / (4 * (q + 1) * units.shape[1])))
    chunks = []
    for start in range(0, count, size):
        chunk = bases[start : start + size]
        product = chunk.transpose(0, 2, 1).reshape(-1, len(units)) @ units
        chunks.append((product.reshape(len(chunk), q, -1) ** 2).sum(1).max(1))
    return np.concatenate(chunks).astype(float)


def refuse_unfinite(edges: np.ndarray, table: pd.DataFrame) -> None:
    """Raise ValueError with the names of the people whose edges are not all finite."""
    whole = np.concatenate([np.isfinite(edges[part]).all(1) for part in parts(*edges.shape)])
    if not whole.all():
        raise ValueError(f"edges of {_people(table, ~whole)} hold NaN or infinity; compute them again.")


def _people(table: pd.DataFrame, chosen: np.ndarray) -> str:
    """Names of some people, the first five in full."""
    names = table["participant_id"].to_numpy()[chosen].astype(str)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        raise ValueError(f"{name} is not a column of participants.tsv (found: {', '.join(table.columns)}).")
    missing = table[name].isna().to_numpy() | (table[name].astype(str).str.strip() == "").to_numpy()
    if missing.any():
        raise ValueError(
            f"{name} is missing for {_people(table, missing)} ({missing.sum()} of {len(table)} people). "
            "Complete participants.tsv, or leave them out."
        )
    return table[name]


def score_values(table: pd.DataFrame, score: str) -> np.ndarray:
    """Return a score that can be tested, [n]; refused as `score_statistics` says."""
    column = _column(table, score)
    values = pd.to_numeric(column, errors="coerce").to_numpy(float)
    if not np.isfinite(values).all():
        bad = ~np.isfinite(values)
        raise ValueError(f"{score} is no number for {_people(table, bad)} ({column[bad].iloc[0]!r}). Correct it.")
    _refuse_constant(values, table, score)
    return values


def _refuse_constant(values: np.ndarray, table: pd.DataFrame, name: str) -> None:
    if len(np.unique(values)) < 2:
        everybody = np.ones(len(table), bool)
        raise NothingToTest(
            f"{name} is {values[0]} for all {len(table)} people ({_people(table, everybody)}): there is nothing "
            "to test. Choose another column, or other people."
        )
    if pd.Series(values).groupby(table["site"].to_numpy()).nunique().max() < 2:
        raise NothingToTest(
            f"{name} does not vary inside any site ({', '.join(map(str, table['site'].unique()))}), and permutations "
            "stay inside sites: nothing can be tested."
        )


def group_indicators(table: pd.DataFrame, group: str) -> np.ndarray:
    """One column a group but the first, [n, groups - 1]; refused as `group_statistics` says."""
    column = _column(table, group).astype(str)
    for name, size in column.value_counts().items():
        if size == 1:
            raise NothingToTest(
                f"{group} {name} has one member ({_people(table, (column == name).to_numpy())}): a group of one has "
                "no spread. Leave this person out, or join the group with another."
            )
    codes, names = pd.factorize(column, sort=True)
    _refuse_constant(names[codes].to_numpy(), table, group)
    return (codes[:, None] == np.arange(1, len(names))).astype(float)


def _nuisance(table: pd.DataFrame, covariates: Sequence[str], q: int) -> tuple[np.ndarray, int]:
    """Orthonormal basis of intercept and covariates, [n, K], and the residual degrees of freedom beside q columns."""
    basis = covariate_basis(table, covariates)
    df = len(table) - basis.shape[1] - q
    if df < 1:
        raise NothingToTest(
            f"{len(table)} people leave no degrees of freedom for {basis.shape[1]} nuisance columns and {q} of "
            "interest. Use fewer covariates (localize.nuisance), or more people."
        )
    return basis, df
