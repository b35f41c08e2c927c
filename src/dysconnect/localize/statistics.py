"""Edge-wise linear model with nuisance covariates, permutation inside sites, family-wise error control.

For every edge e and the group g, both residualised for the nuisance Z and scaled to unit norm, the
correlation ``r = g . e`` gives ``t = r sqrt(df / (1 - r^2))`` with ``df = n - rank(Z) - 1``: the t of the
group in the full model. A permutation shuffles the residualised group inside exchangeability blocks and
residualises it again (the orthogonalised permutation of Smith), so that all edges of all permutations are one
matrix product. Freedman-Lane and Huh-Jhun cross-check the max-T test (`permutation`); components, circuits, bounds and
scores stay with Smith, whose permutations need the group alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from dysconnect.localize.gpu import choose_gpu
from dysconnect.localize.permutation import max_correlations, null_extremes, parts, permuted_groups, residual_unit
from dysconnect.models.floor import CovariateEncoder
from dysconnect.progress import track

__all__ = [  # what is shared by all tests of edges, and the permutation that they share
    "EdgeStatistics", "covariate_basis", "edge_statistics", "estimable", "exceedance_p", "false_discovery",
    "max_correlations", "nuisance_basis", "orthonormal", "parts", "permuted_groups", "residual_unit",
    "selection_stability", "to_f", "to_t",
]  # fmt: skip


@dataclass(frozen=True)
class EdgeStatistics:
    """Statistics of every edge, each [E].

    Attributes
    ----------
    t : array
        Positive: stronger in patients.
    effect_size : array
        Cohen's d in residual standard deviations, ``t / |g|`` with g the group residualised for the nuisance: the
        scale of `power`. Without nuisance it is ``t sqrt(1/n1 + 1/n0)``.
    p, p_fwer, p_fdr : array
        Two-sided: parametric; max-T over permutations; Benjamini-Hochberg of the parametric.
    p_fwer_higher, p_fwer_lower : array
        One-sided max-T: stronger, weaker in patients. Whoever looks at both tails takes the two-sided one.
    max_null : array, [B]
        Largest absolute t of every permutation.
    df, size : int, float
        Residual degrees of freedom; ``|g|``.
    """

    t: np.ndarray
    effect_size: np.ndarray
    p: np.ndarray
    p_fwer: np.ndarray
    p_fdr: np.ndarray
    p_fwer_higher: np.ndarray
    p_fwer_lower: np.ndarray
    max_null: np.ndarray
    df: int
    size: float


def nuisance_basis(table: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Orthonormal basis of intercept and covariates, [n, K]; constant and redundant columns drop out.

    Raises
    ------
    ValueError
        When the covariates determine the group, so that its effect cannot be estimated.
    """
    basis = covariate_basis(table, covariates)
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


def covariate_basis(table: pd.DataFrame, covariates: Sequence[str]) -> np.ndarray:
    """Orthonormal basis of intercept and covariates, [n, K], whatever is tested beside them."""
    columns = CovariateEncoder(covariates).fit(table).transform(table)
    return orthonormal(np.column_stack([np.ones(len(table)), columns]))


def orthonormal(design: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns of a design, [n, K]; redundant columns drop out."""
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    return left[:, values > 1e-8 * values[0]]


def estimable(group: np.ndarray, basis: np.ndarray) -> bool:
    """Whether the nuisance leaves anything of the group, [n]."""
    rest = group - basis @ (basis.T @ group)
    return (rest**2).sum() > 1e-6 * ((group - group.mean()) ** 2).sum()


def edge_statistics(
    edges: np.ndarray,
    table: pd.DataFrame,
    covariates: Sequence[str],
    n_permutations: int,
    seed: int,
    permutation: str = "smith",
    device: str = "cpu",
) -> EdgeStatistics:
    """Test every edge for a group difference.

    Parameters
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    table : DataFrame, [n rows]
        `label`, `site` (exchangeability blocks) and the covariates.
    covariates : sequence of str
    n_permutations, seed : int
    permutation : {"smith", "freedman_lane", "huh_jhun"}
        The latter for one site only.
    device : str
        ``cpu``, ``cuda``, or ``auto``: where the permutations are multiplied; p are the same.

    Raises
    ------
    ValueError
        When an edge is not finite, a group has fewer than two people, the groups share no site, or the covariates
        determine the group or leave no degrees of freedom.

    References
    ----------
    Winkler et al. (2014), doi:10.1016/j.neuroimage.2014.01.060 (methods of permutation);
    Nichols and Holmes (2002), doi:10.1002/hbm.1058 (max-T); Benjamini and Hochberg (1995).
    """
    whole = np.concatenate([np.isfinite(edges[part]).all(1) for part in parts(*edges.shape)])
    if not whole.all():
        bad = table["participant_id"].to_numpy()[~whole]
        raise ValueError(f"edges of {', '.join(map(str, bad[:5]))} hold NaN or infinity; compute them again.")
    refuse_untestable(table)
    basis = nuisance_basis(table, covariates)
    df = len(table) - basis.shape[1] - 1
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    gpu = choose_gpu(device, float(edges.size) * n_permutations)
    extremes = null_extremes(permutation, group, basis, table["site"].to_numpy(), n_permutations, seed, gpu)
    r = np.empty(edges.shape[1])
    highest, lowest = np.full(n_permutations, -1.0), np.full(n_permutations, 1.0)
    said = f"{n_permutations} permutations of {edges.shape[1]} edges, in parts"
    for part in track(parts(edges.shape[1], len(edges)), said):
        units = residual_unit(edges[:, part].astype(float), basis)
        r[part] = (group / np.linalg.norm(group)) @ units
        high, low = extremes(units)
        highest, lowest = np.maximum(highest, high), np.minimum(lowest, low)
    t, max_r = to_t(r, df), np.maximum(highest, -lowest)
    p = 2 * stdtr(df, -np.abs(t))
    size = float(np.linalg.norm(group))
    p_fwer = [exceedance_p(*pair) for pair in ((np.abs(r), max_r), (r, highest), (-r, -lowest))]
    return EdgeStatistics(t, t / size, p, p_fwer[0], false_discovery(p), *p_fwer[1:], to_t(max_r, df), df, size)


def refuse_untestable(table: pd.DataFrame) -> None:
    """Raise ValueError for a group of one, and for groups that share no site; say which sites have one group only."""
    for label, name in ((1, "patients"), (0, "controls")):
        ids = table.loc[table["label"] == label, "participant_id"]
        if len(ids) < 2:
            who = f"one person ({ids.iloc[0]})" if len(ids) else "nobody"
            raise ValueError(
                f"the {name} are {who}: two or more are needed in each group, as one has no spread. Include more "
                "people, or choose another contrast (dataset.contrast)."
            )
    alone = table.groupby("site")["label"].agg(["nunique", "size"]).query("nunique == 1")["size"]
    sites = ", ".join(map(str, alone.index[:5])) + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
    if len(alone) == table["site"].nunique():
        raise ValueError(
            f"no site has both patients and controls ({sites}): group and site cannot be told apart, and permutations "
            "stay inside sites. Choose a contrast within a site (dataset.contrast)."
        )
    if len(alone):
        print(
            f"one group only in {sites} ({alone.sum()} people): no permutation changes their group, so that they say "
            "little about its effect.",
            flush=True,
        )


def to_t(r: np.ndarray, df: int) -> np.ndarray:
    """Correlation to t with `df` degrees of freedom."""
    r = np.clip(r, -1 + 1e-12, 1 - 1e-12)
    return r * np.sqrt(df / (1 - r**2))


def to_f(share: np.ndarray, q: int, df: int | np.ndarray) -> np.ndarray:
    """Explained share of the variance (partial eta squared) to F with `q` and `df` degrees of freedom."""
    share = np.clip(share, 0, 1 - 1e-12)
    return (share / q) / ((1 - share) / df)


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

    Halves keep the label x site composition (Meinshausen and Bühlmann 2010, complementary halves left out). NaN
    where the cohort is so small that no half can estimate the group beside the nuisance.
    """
    drawn = [halves[0] for halves in random_halves(table, covariates, draws, seed) if halves[0] is not None]
    r = np.abs([half.correlations(edges) for half in drawn]).reshape(len(drawn), edges.shape[1])
    strongest = np.argpartition(-r, top - 1, axis=1)[:, :top]
    counts = np.bincount(strongest.ravel(), minlength=edges.shape[1])
    return counts / len(drawn) if drawn else np.full(edges.shape[1], np.nan)


class Half(NamedTuple):
    """Half of a cohort: rows, the nuisance's orthonormal basis there [m, K], and the residualised group [m]."""

    rows: np.ndarray
    basis: np.ndarray
    group: np.ndarray

    @property
    def df(self) -> int:
        """Residual degrees of freedom."""
        return len(self.rows) - self.basis.shape[1] - 1

    def correlations(self, edges: np.ndarray) -> np.ndarray:
        """Correlation of the group with every edge [n, E] in these people, [E]."""
        r, unit = np.empty(edges.shape[1]), self.group / np.linalg.norm(self.group)
        for part in parts(edges.shape[1], len(edges)):
            r[part] = unit @ residual_unit(edges[self.rows, part].astype(float), self.basis)
        return r


def random_halves(
    table: pd.DataFrame, covariates: Sequence[str], draws: int, seed: int
) -> list[tuple[Half | None, Half | None]]:
    """Draw halves that keep the label x site composition, each with the other half; None where it cannot be tested."""
    rng = np.random.default_rng(seed)
    stratum = table["label"].astype(str) + "/" + table["site"].astype(str)
    nuisance, label = nuisance_basis(table, covariates), table["label"].to_numpy(float)

    def half(rows: np.ndarray) -> Half | None:
        basis = orthonormal(nuisance[rows])
        if len(rows) <= basis.shape[1] + 1 or not estimable(label[rows], basis):
            return None
        return Half(rows, basis, label[rows] - basis @ (basis.T @ label[rows]))

    drawn = []
    for _ in range(draws):
        parts_ = [rng.permutation(rows)[: (len(rows) + 1) // 2] for rows in stratum.groupby(stratum).indices.values()]
        rows = np.sort(np.concatenate(parts_))
        drawn.append((half(rows), half(np.setdiff1d(np.arange(len(table)), rows))))
    return drawn
