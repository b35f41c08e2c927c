"""What a measure says of regions beside connections, as covariates of each connection: its own two ends' values.

People whose regions respond less, later or more noisily may seem to be connected less. So the values of both ends (of
everybody) stand beside the nuisance covariates of an edge; of a measure that looks at all regions at once for every
edge, those of all regions do. That goes for every question: two groups, several, or a score.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import fdtrc, stdtr

from dysconnect.data.cohort import Cohort
from dysconnect.data.measures import measure_of
from dysconnect.localize.statistics import covariate_basis, nuisance_basis, residual_unit, to_f, to_t
from dysconnect.localize.tested import NothingToTest

REGIONAL = ("region", "quantity", "mean_cases", "mean_controls", "d", "t", "p")  # columns of regional.tsv
AT_ONCE = 2e7  # entries of the bases that are held at a time
MOST = 0.5  # of the degrees of freedom: what the values of all regions may take
LEFT = 1e-6  # of the variance of what is asked, which the values must leave
NOTHING = 1e-8  # share of a direction's variance in the values of both ends below which there is none


class Beside(NamedTuple):
    """t or F beside the values of both ends, its p (of t two-sided), and residual degrees of freedom, [E] each."""

    statistic: np.ndarray
    p: np.ndarray
    df: np.ndarray


def regional_values(cohort: Cohort) -> np.ndarray:
    """Values of every region in everybody, [Q, n, N]; who lacks a region has the mean of the others."""
    values = np.array(list(cohort.regional.values()), float).reshape(-1, *cohort.missing.shape)
    known = np.where(cohort.missing, np.nan, values)
    nobody = cohort.missing.all(0)
    known[:, :, nobody] = 0
    return np.where(np.isnan(known), np.nanmean(known, axis=1, keepdims=True), known)


def prepared(
    cohort: Cohort, edges: np.ndarray, tested: np.ndarray, covariates: Sequence[str]
) -> tuple[np.ndarray, pd.DataFrame, list[str]]:
    """Edges, people and covariates with which a measure is tested, whatever the question.

    Parameters
    ----------
    cohort : Cohort
    edges : array, [n, tested]
        Complete.
    tested : bool array, [E]
        Which edges these are.
    covariates : sequence of str

    Returns
    -------
    edges : array, [n, tested]
        What the values of regions leave of them, where the measure asks for that (`adjusted`).
    people : DataFrame
    covariates : list of str
        With the values of all regions, where it asks for these (`with_regions`).
    """
    people, names = with_regions(cohort, covariates)
    if cohort.regional and measure_of(cohort.measure).adjusted:
        edges = adjusted(edges, *_standing_beside(cohort, tested), covariates)
    return edges, people, names


def beside_columns(
    cohort: Cohort, edges: np.ndarray, tested: np.ndarray, spec: Mapping, interest: np.ndarray, p_fwer: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns `p_beside` and `also_explained` of a table of edges, [tested] each; none without values of regions.

    Parameters
    ----------
    cohort, edges, tested
        As of `prepared`.
    spec : mapping
        `nuisance` and `alpha`.
    interest : array
        As of `beside`.
    p_fwer : array, [tested]
    """
    if not cohort.regional:
        return {}
    p = beside(edges, *_standing_beside(cohort, tested), spec["nuisance"], interest).p
    return {"p_beside": p, "also_explained": also_explained(p_fwer, p, cohort.regional, spec["alpha"])}


def _standing_beside(cohort: Cohort, tested: np.ndarray) -> tuple[np.ndarray, list[np.ndarray] | None, pd.DataFrame]:
    """Values, ends and people, as `beside` takes them."""
    ends = None if measure_of(cohort.measure).everywhere else [end[tested] for end in cohort.pairs.ends]
    return regional_values(cohort), ends, cohort.participants


def beside(
    edges: np.ndarray,
    values: np.ndarray,
    ends: Sequence[np.ndarray] | None,
    people: pd.DataFrame,
    covariates: Sequence[str],
    interest: np.ndarray,
) -> Beside:
    """Test every edge for what is of interest, beside the values of its own two ends.

    Parameters
    ----------
    edges : array, [n, E]
    values : array, [Q, n, N]
        Of `regional_values`.
    ends : two arrays, [E], or None
        Regions of every edge; None: those of all regions stand beside every edge.
    people : DataFrame, [n rows]
        With the covariates.
    covariates : sequence of str
    interest : array, [n] or [n, q]
        The label or a score, or the indicators of several groups.

    Returns
    -------
    Beside
        The t, of q columns the F, of the interest in the linear model with the covariates and these values; NaN where
        they leave nothing of it.

    Raises
    ------
    NothingToTest
        A ValueError, when the values of all regions leave too few degrees of freedom.
    """
    basis, asked = covariate_basis(people, covariates), interest.reshape(len(people), -1)
    n, q = asked.shape
    directions, triangle = np.linalg.qr(asked - basis @ (basis.T @ asked))
    directions *= np.sign(np.diag(triangle))  # the signs of what was asked
    share, side, df = np.full(edges.shape[1], np.nan), np.zeros(edges.shape[1]), np.zeros(edges.shape[1])
    for part, spans in _spans(values, ends, basis):
        kept = edges[:, part] - basis @ (basis.T @ edges[:, part])
        rest = kept.T - _onto(spans, kept.T)
        df[part] = n - basis.shape[1] - q - (spans**2).sum((1, 2)).round()  # as many as columns that are there
        share[part], side[part] = _shares(rest, directions - spans @ (spans.swapaxes(1, 2) @ directions))
    f = to_f(np.where(df > 0, share, np.nan), q, np.maximum(df, 1))
    return Beside(side * np.sqrt(f) if q == 1 else f, fdtrc(q, np.maximum(df, 1), f), df)


def _shares(rest: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the variance of rows [e, n] in what is left of orthonormal directions [e or 1, n, q], and its sign, [e].

    NaN where hardly anything is left of a direction, or of a row.
    """
    gram, along = own.swapaxes(1, 2) @ own, (own.swapaxes(1, 2) @ rest[:, :, None])[:, :, 0]
    size = (rest**2).sum(1)
    some = (np.linalg.eigvalsh(gram)[:, 0] > LEFT) & (size > 0)
    solvable = np.where(some[:, None, None], gram, np.eye(gram.shape[-1]))
    explained = (np.linalg.solve(solvable, along[:, :, None])[:, :, 0] * along).sum(1)
    return np.where(some, explained / np.where(some, size, 1), np.nan), np.sign(along[:, 0])


def adjusted(
    edges: np.ndarray,
    values: np.ndarray,
    ends: Sequence[np.ndarray] | None,
    people: pd.DataFrame,
    covariates: Sequence[str],
) -> np.ndarray:
    """Edges [n, E] less what the values of their own two ends, or of all regions, explain beyond the covariates.

    Parameters as of `beside`. Whatever tests a group or a score in these, and permutes it, keeps its error rate: the
    part of it that the values explain is lost, which costs power where they go together, and nothing else.
    """
    basis, out = covariate_basis(people, covariates), np.array(edges, np.float32)
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
        raise NothingToTest(
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
