"""What a measure says of regions beside connections, as covariates of each connection: its own two ends' values.

A group whose regions respond less, later or more noisily may seem to be connected less. So the values of both ends (of
everybody) stand beside the nuisance covariates of an edge; of a measure that looks at all regions at once for every
edge, those of all regions do.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtr

from dysconnect.data.cohort import Cohort
from dysconnect.data.measures import measure_of
from dysconnect.localize.statistics import nuisance_basis, residual_unit, to_t

REGIONAL = ("region", "quantity", "mean_cases", "mean_controls", "d", "t", "p")  # columns of regional.tsv
AT_ONCE = 2e7  # entries of the bases that are held at a time
MOST = 0.5  # of the degrees of freedom: what the values of all regions may take
NOTHING = 1e-8  # share of a direction's variance in the values of both ends below which there is none


class Beside(NamedTuple):
    """t of the group beside the values of both ends, its two-sided p and degrees of freedom, [E] each."""

    t: np.ndarray
    p: np.ndarray
    df: np.ndarray


def regional_values(cohort: Cohort) -> np.ndarray:
    """Values of every region in everybody, [Q, n, N]; who lacks a region has the mean of the others."""
    values = np.array(list(cohort.regional.values()), float).reshape(-1, *cohort.missing.shape)
    known = np.where(cohort.missing, np.nan, values)
    nobody = cohort.missing.all(0)
    known[:, :, nobody] = 0
    return np.where(np.isnan(known), np.nanmean(known, axis=1, keepdims=True), known)


def beside(
    edges: np.ndarray,
    values: np.ndarray,
    ends: Sequence[np.ndarray] | None,
    people: pd.DataFrame,
    covariates: Sequence[str],
) -> Beside:
    """Test every edge for a group difference beside the values of its own two ends.

    Parameters
    ----------
    edges : array, [n, E]
    values : array, [Q, n, N]
        Of `regional_values`.
    ends : two arrays, [E], or None
        Regions of every edge; None: those of all regions stand beside every edge.
    people : DataFrame, [n rows]
        `label` and the covariates.
    covariates : sequence of str

    Returns
    -------
    Beside
        The t of the group in the linear model with the covariates and these values; NaN where they leave nothing of it.

    Raises
    ------
    ValueError
        When the values of all regions leave too few degrees of freedom.
    """
    basis, label = nuisance_basis(people, covariates), people["label"].to_numpy(float)
    group, n = label - basis @ (basis.T @ label), len(people)
    t, df = np.full(edges.shape[1], np.nan), np.zeros(edges.shape[1])
    for part, spans in _spans(values, ends, basis):
        kept = edges[:, part] - basis @ (basis.T @ edges[:, part])
        rest = kept.T - _onto(spans, kept.T)
        own = group - _onto(spans, np.broadcast_to(group, rest.shape))
        df[part] = n - basis.shape[1] - 1 - (spans**2).sum((1, 2)).round()  # as many as columns that are there
        size = np.linalg.norm(rest, axis=1) * np.linalg.norm(own, axis=1)
        some = (np.linalg.norm(own, axis=1) > 1e-3 * np.linalg.norm(group)) & (size > 0) & (df[part] > 0)
        r = np.clip((rest * own).sum(1) / np.where(some, size, 1), -1 + 1e-12, 1 - 1e-12)
        t[part] = np.where(some, r * np.sqrt(np.maximum(df[part], 1) / (1 - r**2)), np.nan)
    return Beside(t, 2 * stdtr(np.maximum(df, 1), -np.abs(t)), df)


def adjusted(
    edges: np.ndarray,
    values: np.ndarray,
    ends: Sequence[np.ndarray] | None,
    people: pd.DataFrame,
    covariates: Sequence[str],
) -> np.ndarray:
    """Edges [n, E] less what the values of their own two ends, or of all regions, explain beyond the covariates.

    Parameters as of `beside`. Whatever tests a group difference in these, and permutes the group, keeps its error rate:
    the part of the group that the values explain is lost to it, which costs power where the groups differ in them, and
    nothing else.
    """
    basis, out = nuisance_basis(people, covariates), np.array(edges, np.float32)
    for part, spans in _spans(values, ends, basis):
        kept = edges[:, part] - basis @ (basis.T @ edges[:, part])
        out[:, part] -= _onto(spans, kept.T).T.astype(np.float32)
    return out


def with_regions(cohort: Cohort, covariates: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """People and covariates of all tests, with the values of all regions where the measure asks for them."""
    if not measure_of(cohort.measure).everywhere:
        return cohort.participants, list(covariates)
    table = cohort.regional_table
    table = table.fillna(table.mean()).fillna(0)  # as of `regional_values`
    return cohort.participants.join(table), [*covariates, *table]


def also_explained(p_fwer: np.ndarray, p_beside: np.ndarray, names: Mapping, alpha: float) -> np.ndarray:
    """What also explains an edge that is called, [E] of str: the regional values beside which it is not found."""
    dies = (p_fwer <= alpha) & ~(p_beside <= alpha)
    return np.where(dies, " and ".join(names), "")


def regional_table(cohort: Cohort, covariates: Sequence[str]) -> pd.DataFrame:
    """Group difference of every value of every region, given the covariates.

    Returns
    -------
    DataFrame
        `region`, `quantity`, `mean_cases`, `mean_controls` (of those in whom it was measured), `d`, `t`, `p` (for
        itself, two-sided); quantity after quantity. No rows where the measure has no values of regions.
    """
    tables = [pd.DataFrame(columns=REGIONAL)]
    patient = cohort.labels == 1
    for (name, seen), values in zip(cohort.regional.items(), regional_values(cohort)):
        known = pd.DataFrame(np.where(cohort.missing, np.nan, seen))
        means = {"mean_cases": known[patient].mean().to_numpy(), "mean_controls": known[~patient].mean().to_numpy()}
        tests = _group_tests(values, cohort.participants, covariates)
        tables.append(pd.DataFrame({"region": cohort.nodes, "quantity": name, **means, **tests}))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def _group_tests(values: np.ndarray, people: pd.DataFrame, covariates: Sequence[str]) -> dict[str, np.ndarray]:
    """d, t and p of the group in values [n, N]; NaN where they are the same in everybody."""
    basis, label = nuisance_basis(people, covariates), people["label"].to_numpy(float)
    group, df = label - basis @ (basis.T @ label), len(people) - basis.shape[1] - 1
    unit, size = residual_unit(values, basis), float(np.linalg.norm(group))
    t = np.where(unit.any(0), to_t(group @ unit / size, df), np.nan)
    return {"d": t / size, "t": t, "p": 2 * stdtr(df, -np.abs(t))}


def _spans(
    values: np.ndarray, ends: Sequence[np.ndarray] | None, basis: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Parts of the edges, and orthonormal bases [e, n, K] of the values beside each, beyond the covariates.

    Columns of zeros where values say the same, or nothing; one basis for all edges where those of all regions count.
    """
    beyond = values - np.einsum("nk,qkr->qnr", basis, np.einsum("nk,qnr->qkr", basis, values))
    size = np.linalg.norm(beyond, axis=1, keepdims=True)
    there = size > 1e-6 * np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-300)
    unit = np.where(there, beyond / np.where(there, size, 1), 0)  # [Q, n, N]
    if ends is None:
        _refuse_too_many(len(basis) - basis.shape[1] - 1, int(there.sum()))
        yield slice(None), _orthonormal(np.concatenate(unit, axis=1)[None])
        return
    step = max(1, int(AT_ONCE // (2 * len(values) * values.shape[1])))
    for start in range(0, len(ends[0]), step):
        part = slice(start, start + step)
        yield part, _orthonormal(np.concatenate([unit[:, :, end[part]] for end in ends]).transpose(2, 1, 0))


def _refuse_too_many(left: int, covariates: int) -> None:
    if covariates >= MOST * left:
        raise ValueError(
            f"the values of all regions are {covariates} covariates, and {left} degrees of freedom are there: too many "
            f"beside one another (at most {MOST:.0%}). Take fewer regions, or more people."
        )


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """Orthonormal bases of unit columns [e, n, K], of the same shape: zeros for what is there twice."""
    strength, turn = np.linalg.eigh(columns.swapaxes(1, 2) @ columns)
    kept = strength > NOTHING
    return columns @ (turn * (kept / np.sqrt(np.where(kept, strength, 1)))[:, None])


def _onto(spans: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Projections of rows [e, n] onto the space of each, [e, n, K]: [e, n]."""
    return (spans @ (spans.swapaxes(1, 2) @ rows[:, :, None]))[:, :, 0]
