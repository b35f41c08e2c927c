"""Replication: edges are called in one part of the people, and looked at in another that had no part in the choice.

All lists rank edges by the same |t|, given the nuisance, so that they are nested: a plain list as long as that of
Benjamini and Hochberg *is* that of Benjamini and Hochberg, and what differs between lists is how long they are. The
third list is of a set length, whether its edges are called or not.

What would come by chance is found by permutation of the labels inside sites, which keeps the dependence of edges. With
one part that is looked at, the calls stay as they are. Where every site is left out in turn, each also helps to call
for all others, so that labels are permuted everywhere and edges chosen anew, as many as were called.
"""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtr, stdtrit

from dysconnect.data.cohort import Cohort
from dysconnect.localize.associations import Association
from dysconnect.localize.beside import prepared
from dysconnect.localize.effects import selection_shrinkage
from dysconnect.localize.permutation import permuted_rows, residual_unit
from dysconnect.localize.statistics import EdgeStatistics, edge_statistics, nuisance_basis, to_t
from dysconnect.localize.tested import check_permutations, chosen_people, complete_edges, without_copies
from dysconnect.progress import track

LISTS = ("fwer", "fdr", "strongest")
FEWEST = 5  # of each group, in a part
NOMINAL = 0.05  # one-sided p, of an edge that is looked at
LEVEL = 0.95  # of intervals
DRAWS = 10  # halves of the calling part, for the shrinkage
MOST = 999  # permutations of the shares
AT_ONCE = 2e8  # bytes
COLUMNS = [
    "replicated_in", "region_a", "region_b", "called_by", "effect_size", "effect_corrected", "statistic",
    "effect_other", "statistic_other", "p_other", "same_sign", "circuit",
]  # fmt: skip


class Part(NamedTuple):
    """One part of the people: who [n], nuisance's basis [n, K], unit edges [n, E], correlations [E] with the group.

    `size` is the norm of the residualised group, `df` the residual degrees of freedom.
    """

    who: np.ndarray
    basis: np.ndarray
    units: np.ndarray
    r: np.ndarray
    size: float
    df: int

    @property
    def t(self) -> np.ndarray:
        """Of every edge, [E]; positive: stronger in patients."""
        return to_t(self.r, self.df)

    def permuted(self, labels: np.ndarray) -> np.ndarray:
        """Correlations with every edge of permuted labels of everybody [B, people], [B, E]."""
        groups = residual_unit(labels[:, self.who].T.astype(float), self.basis).T
        return groups.astype(np.float32) @ self.units


class Split(NamedTuple):
    """Both parts with the edges that both have; which edges these are; the order of |t| and the lengths of the lists.

    `shrinkage` of every list is what its effects are expected to keep; `unseen`, how many more were called.
    """

    name: str
    calling: Part
    other: Part
    seen: np.ndarray
    order: np.ndarray
    lengths: np.ndarray
    shrinkage: np.ndarray
    unseen: np.ndarray

    def without_people(self) -> "Split":
        """All but everybody's edges, which are large."""
        nothing = np.empty((0, 0), np.float32)
        return self._replace(calling=self.calling._replace(units=nothing), other=self.other._replace(units=nothing))


def replicate(cohort: Cohort, circuits: np.ndarray, spec: dict) -> Association:
    """Call edges in one part of the people, and look at them in the other.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of labelled subjects; one of several copies of a scan is kept.
    circuits : array of str, [E]
        Loop of every edge; empty where it is in none.
    spec : dict
        The `localize` section: `replicate` (``site``: every site is left out in turn; or names of sites, which are the
        part that is looked at), `nuisance`, `permutations`, `alpha`, `stability_top` (length of the list of the
        strongest), `max_missing`, `seed`.

    Returns
    -------
    edges : DataFrame, strongest first
        Every edge of a list: `replicated_in` (the site or sites that had no part), `region_a`, `region_b`, `called_by`
        (the strictest list it is in: fwer, fdr, strongest), `effect_size` (d), `effect_corrected` (d times the list's
        shrinkage), `statistic` (t); then of the part that had no part in the choice `effect_other`, `statistic_other`,
        `p_other` (one-sided, in the direction of the call), `same_sign`; and `circuit`.
    summary : dict
        `lists`: of each its `name`, how many edges (`n`, over all parts; `n_unseen` more were lacking in the other
        part), and for the `sign` and for p below `nominal` the share, that of all `other` edges, what is `expected`
        of the shrunken effects, the permutation `p` and `chance` range, and where three or more sites are left out
        `low` and `high` (jackknife over sites). `parts`, `left_out` (site to reason), `n_copies`; `reason`: why
        nothing was computed, else empty.

    Raises
    ------
    ValueError
        When a site is unknown, or the permutations are too few for `alpha`.
    """
    check_permutations(spec)
    alone = without_copies(cohort)
    splits, counts, left_out = _splits(alone, spec)
    asked = spec["replicate"] if isinstance(spec["replicate"], str) else list(spec["replicate"])
    summary = {"replicate": asked, "n_copies": len(cohort.labels) - len(alone.labels), "left_out": left_out}
    summary |= {key: spec[key] for key in ("alpha", "permutations")} | {"nominal": NOMINAL, "fewest": FEWEST}
    summary["nuisance"] = list(spec["nuisance"])
    if not splits:
        print("no replication: no part of the people can be looked at", flush=True)
        reason = "no part of the people could be looked at while the rest called"
        return Association(pd.DataFrame(columns=COLUMNS), summary | {"parts": [], "lists": [], "reason": reason})
    summary["parts"] = [_part_row(split, alone.labels) for split in splits]
    summary |= {"lists": _lists(splits, np.stack(counts)), "reason": ""}
    edges = pd.concat([_edge_table(split, alone, circuits) for split in splits], ignore_index=True)
    order = np.argsort(-edges["statistic"].abs().to_numpy(), kind="stable")
    return Association(edges.iloc[order].reset_index(drop=True), summary)


def _splits(cohort: Cohort, spec: dict) -> tuple[list[Split], list[np.ndarray], dict[str, str]]:
    """Every part with its calls, counts under permuted labels, and what could not be looked at."""
    places, left_out = parts_of(cohort.participants, spec["replicate"])
    labels, splits, counts = _labels(cohort, spec), [], []
    for name, other in track(places.items(), "parts that replicate"):
        try:
            split = _split(name, cohort, other, left_out, spec)
        except ValueError as reason:  # covariates that determine the group, or leave nothing
            left_out[name] = str(reason)
            continue
        counts.append(_agreements(split, labels, len(places) > 1))
        splits.append(split.without_people())
    return splits, counts, left_out


def parts_of(people: pd.DataFrame, asked: str | Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Who is looked at while the others call, by the name of the part; and sites that cannot be looked at, with why.

    Parameters
    ----------
    people : DataFrame, [n rows]
        `site` and `label`.
    asked : str or sequence of str
        ``site``, or names of sites.

    Returns
    -------
    parts : dict of str to array of bool, [n]
    left_out : dict of str to str

    Raises
    ------
    ValueError
        When a named site has nobody, or nobody would be left to call.
    """
    site = people["site"].astype(str).to_numpy()
    counts = people.groupby(site)["label"].agg([lambda own: int((own == 1).sum()), lambda own: int((own == 0).sum())])
    known = list(counts.index)
    if asked != "site":
        _refuse_unknown([str(name) for name in asked], known)
    wanted, fewest = (known, FEWEST) if asked == "site" else ([str(name) for name in asked], 1)
    few = {name: _too_few(*counts.loc[name], fewest) for name in wanted}
    left_out = {name: reason for name, reason in few.items() if reason}
    fit = [name for name in wanted if name not in left_out]
    parts = {name: site == name for name in fit} if asked == "site" else {", ".join(fit): np.isin(site, fit)}
    sides = {name: (mask, ~mask if asked == "site" else ~np.isin(site, wanted)) for name, mask in parts.items()}
    for name, (mask, rest) in sides.items():
        reason = _untestable(people[mask], "looked at") or _untestable(people[rest], "left to call")
        if reason:
            left_out[name or ", ".join(wanted)] = reason
    return {name: mask for name, mask in parts.items() if name and name not in left_out}, left_out


def _refuse_unknown(wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0)
        raise ValueError(
            f"localize.replicate: nobody who was analysed is of site {', '.join(unknown)} (of copies of a scan "
            f"the first counts); did you mean {near[0]}? "
            f"Sites are {', '.join(known)}."
        )
    if set(wanted) == set(known):
        raise ValueError(
            f"localize.replicate names all sites ({', '.join(known)}), and nobody is left to call connections. "
            "Leave out at least one, or set it to site."
        )


def _too_few(cases: int, controls: int, fewest: int) -> str:
    """Why a site cannot be looked at; empty where it can."""
    if cases >= fewest and controls >= fewest:
        return ""
    if not cases or not controls:
        return f"one group only ({cases} patients, {controls} controls)"
    return f"{cases} patients and {controls} controls, and {fewest} of each are needed"


def _untestable(people: pd.DataFrame, what: str) -> str:
    """Why a part cannot be tested: too few of a group at sites that have both; empty where it can."""
    both = people.groupby("site")["label"].transform("nunique") == 2
    cases, controls = int((people[both]["label"] == 1).sum()), int((people[both]["label"] == 0).sum())
    few = _too_few(cases, controls, FEWEST)
    return f"too few would be {what} at sites with both groups: {few}" if few else ""


def _split(name: str, cohort: Cohort, other: np.ndarray, left_out: dict, spec: dict) -> Split:
    """Call edges in all others, and test them in this part; nothing of one part is used in the other."""
    named = np.isin(cohort.participants["site"].astype(str), list(left_out)) & (spec["replicate"] != "site")
    sides = [_tested(cohort, who, spec) for who in (~other & ~named, other)]
    seen = sides[0][1] & sides[1][1]
    (values, tested, *who), (others, tested_other, *who_other) = sides
    statistics = edge_statistics(values, *who[1:], spec["permutations"], spec["seed"])
    called = _called(statistics, spec)
    kept = seen[tested]
    parts = [_part(values[:, kept], *who), _part(others[:, seen[tested_other]], *who_other)]
    lengths = np.array([mask[kept].sum() for mask in called])
    order = np.argsort(-np.abs(parts[0].r), kind="stable")
    shrinkage = [selection_shrinkage(values, *who[1:], int(mask.sum()), DRAWS, spec["seed"]) for mask in called]
    unseen = np.array([mask.sum() for mask in called]) - lengths
    return Split(name, *parts, np.flatnonzero(seen), order, lengths, np.array(shrinkage), unseen)


def _tested(cohort: Cohort, who: np.ndarray, spec: dict) -> tuple:
    """Complete edges of some people, which were tested [E], who they are, their table, and covariates."""
    part = chosen_people(cohort, who)
    values, tested, _ = complete_edges(part, spec["max_missing"])
    edges, people, nuisance = prepared(part, values, tested, spec["nuisance"])
    return edges, tested, np.flatnonzero(who), people, nuisance


def _called(statistics: EdgeStatistics, spec: dict) -> list[np.ndarray]:
    """Edges of every list, bool [E] each."""
    strength = np.abs(statistics.t)
    top = np.sort(strength)[::-1][min(spec["stability_top"], len(strength)) - 1]
    return [statistics.p_fwer <= spec["alpha"], statistics.p_fdr <= spec["alpha"], strength >= top]


def _part(values: np.ndarray, who: np.ndarray, people: pd.DataFrame, nuisance: Sequence[str]) -> Part:
    """Make a part ready to be permuted."""
    basis, label = nuisance_basis(people, nuisance), people["label"].to_numpy(float)
    group, units = label - basis @ (basis.T @ label), residual_unit(values.astype(float), basis)
    size = float(np.linalg.norm(group))
    return Part(who, basis, units.astype(np.float32), group / size @ units, size, len(people) - basis.shape[1] - 1)


def _agreements(split: Split, labels: np.ndarray, anew: bool) -> np.ndarray:
    """How many edges of every list have the same sign, and p below `NOMINAL`, under permuted labels, [B, lists, 2]."""
    longest, critical = split.lengths.max(), stdtrit(split.other.df, 1 - NOMINAL)
    least = critical / np.sqrt(split.other.df + critical**2)
    counts = np.zeros((len(labels), len(split.lengths), 2), int)
    if not longest:
        return counts
    step = max(1, int(AT_ONCE // (8 * len(split.order))))
    for start in range(0, len(labels), step):
        part = labels[start : start + step]
        first = split.calling.permuted(part) if anew else split.calling.r[None]
        top = _strongest(first, longest) if anew else split.order[None, :longest]
        along = np.take_along_axis(split.other.permuted(part), np.broadcast_to(top, (len(part), longest)), 1)
        along = along * np.sign(np.take_along_axis(first, top, 1))
        for k, beyond in enumerate((0, least)):
            sums = np.pad(np.cumsum(along > beyond, axis=1), ((0, 0), (1, 0)))
            counts[start : start + step, :, k] = sums[:, split.lengths]
    return counts


def _strongest(r: np.ndarray, n: int) -> np.ndarray:
    """Numbers of the n largest |r| of every row, largest first, [B, n]."""
    top = np.argpartition(-np.abs(r), n - 1, axis=1)[:, :n]
    return np.take_along_axis(top, np.argsort(-np.abs(np.take_along_axis(r, top, 1)), axis=1), 1)


def _labels(cohort: Cohort, spec: dict) -> np.ndarray:
    """Labels as they are, then permuted inside sites, [1 + B, n]."""
    rows = permuted_rows(cohort.participants["site"].to_numpy(), min(spec["permutations"], MOST), spec["seed"] + 1)
    return cohort.labels[np.vstack([np.arange(len(cohort.labels)), rows])].astype(np.int8)


def _lists(splits: Sequence[Split], counts: np.ndarray) -> list[dict]:
    """What came of every list, over all parts; counts [parts, 1 + B, lists, 2]."""
    lengths = np.stack([split.lengths for split in splits])
    unseen = np.stack([split.unseen for split in splits]).sum(0)
    return [
        {
            "name": name, "n": int(lengths[:, k].sum()), "n_unseen": int(unseen[k]),
            "shrinkage": _mean([split.shrinkage[k] for split in splits], lengths[:, k]),
            **{what: _share(splits, counts[:, :, k, j], k, j) for j, what in enumerate(("sign", "replicated"))},
        }
        for k, name in enumerate(LISTS)
    ]  # fmt: skip


def _share(splits: Sequence[Split], counts: np.ndarray, k: int, j: int) -> dict | None:
    """Share of list k with the same sign (j = 0), or p below `NOMINAL` (1); counts [splits, 1 + B]. None of none."""
    lengths = np.array([split.lengths[k] for split in splits])
    if not lengths.sum():
        return None
    total = counts.sum(0)
    chance = np.quantile(total[1:] / lengths.sum(), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    beside = [_beside(split, k, j) for split in splits]
    rest = [len(split.order) - split.lengths[k] for split in splits]
    return {
        "share": float(total[0] / lengths.sum()),
        "other": _mean(beside, rest),
        "expected": _mean([_expected(split, k, j) for split in splits], lengths),
        "p": float((1 + (total[1:] >= total[0]).sum()) / len(total)),
        "chance": chance.round(4).tolist(),
        **dict(zip(("low", "high"), jackknife(counts[:, 0], lengths))),
    }


def _beside(split: Split, k: int, j: int) -> float:
    """The same share of all edges that are not in the list."""
    rest = split.order[split.lengths[k] :]
    t = split.other.t[rest] * np.sign(split.calling.r[rest])
    return float((t > (0, stdtrit(split.other.df, 1 - NOMINAL))[j]).mean()) if len(rest) else np.nan


def _expected(split: Split, k: int, j: int) -> float:
    """The same share as the effects of the calling part predict, shrunken; normal approximation of t."""
    if not split.lengths[k]:
        return np.nan
    d = np.abs(split.calling.t[split.order[: split.lengths[k]]]) / split.calling.size * split.shrinkage[k]
    return float(ndtr(d * split.other.size - (0, stdtrit(split.other.df, 1 - NOMINAL))[j]).mean())


def _mean(values: Sequence[float], weights: Sequence[int]) -> float | None:
    """Weighted mean of those that are known; None where none is."""
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    known = np.isfinite(values) & (weights > 0)
    return round(float(np.average(values[known], weights=weights[known])), 4) if known.any() else None


def jackknife(counts: np.ndarray, lengths: np.ndarray) -> tuple[float | None, float | None]:
    """Interval of a share over parts, each left out in turn; None below three parts, or where all have the same.

    Parameters
    ----------
    counts, lengths : array, [S]
        Of how many edges of a part the thing is true, of how many.

    Notes
    -----
    Delete-one jackknife of a ratio. The calls of two sites that are left out rest on all others together, so that it is
    a little too narrow.
    """
    counts, lengths = counts[lengths > 0], lengths[lengths > 0]
    n = len(counts)
    if n < 3 or len(set(counts / lengths)) == 1:
        return None, None
    shares = (counts.sum() - counts) / (lengths.sum() - lengths)
    error = np.sqrt((n - 1) / n * ((shares - shares.mean()) ** 2).sum()) * stdtrit(n - 1, (1 + LEVEL) / 2)
    middle = counts.sum() / lengths.sum()
    return float(max(0, middle - error)), float(min(1, middle + error))


def _part_row(split: Split, labels: np.ndarray) -> dict:
    """Who called and who was looked at."""
    people = {
        f"n_{side}_{name}": int((labels[part.who] == label).sum())
        for side, part in (("calling", split.calling), ("other", split.other))
        for name, label in (("cases", 1), ("controls", 0))
    }
    called = {f"n_{name}": int(n) for name, n in zip(LISTS, split.lengths)}
    return {"name": split.name, **people, "df": split.other.df, "n_edges": len(split.seen), **called}


def _edge_table(split: Split, cohort: Cohort, circuits: np.ndarray) -> pd.DataFrame:
    """Edges of all lists, in both parts."""
    top = split.order[: split.lengths.max()]
    shortest = np.min([np.where(np.arange(len(top)) < n, k, 9) for k, n in enumerate(split.lengths)], axis=0)
    t, t_other = split.calling.t[top], split.other.t[top]
    d = t / split.calling.size
    table = cohort.edge_names.iloc[split.seen[top]].reset_index(drop=True).assign(
        replicated_in=split.name, called_by=np.array(LISTS)[shortest], effect_size=d,
        effect_corrected=d * split.shrinkage[shortest], statistic=t, effect_other=t_other / split.other.size,
        statistic_other=t_other, p_other=stdtr(split.other.df, -t_other * np.sign(t)), same_sign=t * t_other > 0,
        circuit=circuits[split.seen[top]],
    )  # fmt: skip
    return table[COLUMNS]
