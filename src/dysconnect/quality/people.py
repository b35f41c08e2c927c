"""The people of a cohort: who is left out and why, and how the groups compare in motion and in data kept."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import stdtr

from dysconnect.localize.effects import effect_interval

SIDES = ("cases", "controls")
SKEWED = ("mean_fd", "mean_displacement")  # motion
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def group_difference(
    cases: np.ndarray, controls: np.ndarray, level: float = 0.95, skewed: bool = False
) -> tuple[float, float, float, float]:
    """Two-sample t-test: p, and Cohen's d (cases higher: positive) with its interval, all of one test.

    The interval inverts the noncentral t distribution, so that it excludes zero where p is below one minus the level.
    `skewed` numbers, such as motion, are compared by their logarithms where all are positive. NaN where a side has
    fewer than two, or nobody differs from the mean of the side.
    """
    n1, n0 = len(cases), len(controls)
    if min(n1, n0) < 2:
        return np.nan, np.nan, np.nan, np.nan
    if skewed and min(np.min(cases), np.min(controls)) > 0:
        cases, controls = np.log(cases), np.log(controls)
    df, size = n1 + n0 - 2, np.sqrt(n1 * n0 / (n1 + n0))
    spread = np.sqrt(((n1 - 1) * np.var(cases, ddof=1) + (n0 - 1) * np.var(controls, ddof=1)) / df)
    if spread <= 1e-12 * max(abs(np.mean(cases)), abs(np.mean(controls))):
        return np.nan, np.nan, np.nan, np.nan
    d = float((np.mean(cases) - np.mean(controls)) / spread)
    low, high = effect_interval(np.array([d * size]), size, df, 1 - level)
    return float(2 * stdtr(df, -abs(d) * size)), d, float(low[0]), float(high[0])


def compared(people: pd.DataFrame, name: str, level: float) -> dict:
    """Compare a measure of patients and controls: means, p, d with interval; `reason` where it cannot be."""
    numbers = people[name].to_numpy(float) if name in people else np.full(len(people), np.nan)
    known = np.isfinite(numbers)
    label = people["label"].to_numpy()
    if not known.any() or not numbers[known].any():
        return {"reason": "not measured"}
    sides = {"cases": numbers[known & (label == 1)], "controls": numbers[known & (label == 0)]}
    means = {
        side: {"n": len(values), "mean": float(np.mean(values)) if len(values) else None}
        for side, values in sides.items()
    }
    if np.ptp(numbers[known]) == 0:
        return {**means, "reason": "the same in everybody"}
    p, d, low, high = group_difference(sides["cases"], sides["controls"], level, skewed=name.startswith(SKEWED))
    if not np.isfinite(d):
        return {**means, "reason": "too few people to compare"}
    return {**means, "p": p, "d": d, "low": low, "high": high}


def subjects_kept(everybody: pd.DataFrame, contrast: Mapping[str, Sequence[str]]) -> dict:
    """Count who is kept and who is left out, by reason and side of the contrast.

    Returns
    -------
    dict
        `subjects`: `total` and `kept` of `cases`, `controls` and `others` (groups that are not compared), and Fisher's
        `p` of exclusion depending on the side; `excluded`: a list of `reason` with the three counts, most frequent
        first.
    """
    from scipy.stats import fisher_exact  # half a second that not everybody need wait for

    side = np.select([everybody["group"].isin(contrast[name]) for name in SIDES], SIDES, "others")
    included = everybody["included"].to_numpy(bool)
    names = (*SIDES, "others")
    subjects = {
        name: {"total": int((side == name).sum()), "kept": int((included & (side == name)).sum())} for name in names
    }
    kinds = exclusion_kinds(everybody.loc[~included, "exclusion_reason"])
    counts = pd.crosstab(kinds, side[~included]).reindex(columns=list(names), fill_value=0)
    counts = counts.iloc[np.argsort(-counts.sum(axis=1).to_numpy(), kind="stable")]
    table = [[subjects[name]["kept"], subjects[name]["total"] - subjects[name]["kept"]] for name in SIDES]
    subjects["p"] = float(fisher_exact(table).pvalue)
    excluded = [{"reason": reason, **{name: int(row[name]) for name in names}} for reason, row in counts.iterrows()]
    return {"subjects": subjects, "excluded": excluded}


def processed(people: pd.DataFrame, processing: Sequence[str]) -> dict:
    """Count in how many ways the data of patients and controls were made: software and versions, corrections.

    Parameters
    ----------
    people : DataFrame
        `label`: 1 of patients.
    processing : sequence of str
        A word for each of them; "" where nothing says it.

    Returns
    -------
    dict
        `ways`: a list of `way`, `cases` and `controls`, most frequent first; Fisher's `p` of the way depending on the
        side, None where there is one way only. Empty where nothing is said of anybody.
    """
    from scipy.stats import MonteCarloMethod, fisher_exact  # half a second that not everybody need wait for

    if not any(processing):
        return {}
    side = np.where(people["label"].to_numpy() == 1, *SIDES)
    counts = pd.crosstab(np.asarray(processing, object), side).reindex(columns=list(SIDES), fill_value=0)
    counts = counts.iloc[np.argsort(-counts.sum(axis=1).to_numpy(), kind="stable")]
    ways = [{"way": way, **{name: int(row[name]) for name in SIDES}} for way, row in counts.iterrows()]
    resampled = {} if len(ways) <= 2 else {"method": MonteCarloMethod(rng=np.random.default_rng(0))}
    return {"ways": ways, "p": float(fisher_exact(counts, **resampled).pvalue) if len(ways) > 1 else None}


def exclusion_kinds(reasons: pd.Series) -> pd.Series:
    """Shorten reasons to kinds: up to the remedy, and with an ellipsis for numbers that differ between people.

    ``96 volumes x 2 s = 192 s, fewer than the 240 s asked; set ...`` and the same of 100 volumes become
    ``… volumes x 2 s = … s, fewer than the 240 s asked``.
    """
    short = reasons.fillna("").str.split(";").str[0].str.strip().replace("", "no reason given")
    patterns = short.str.replace(NUMBER, "…", regex=True)
    return short.groupby(patterns).transform(_shared_numbers).astype(str)


def _shared_numbers(reasons: pd.Series) -> str:
    numbers = zip(*(NUMBER.findall(reason) for reason in reasons))
    shared = iter([column[0] if len(set(column)) == 1 else "…" for column in numbers])
    return NUMBER.sub(lambda _: next(shared), reasons.iloc[0])


def missing_regions(
    missing: np.ndarray, people: pd.DataFrame, names: np.ndarray, outside: np.ndarray | None = None
) -> dict[str, list[dict]]:
    """List the regions that somebody lacks and the people who lack a region, most first.

    Returns
    -------
    dict
        `regions`: `region`, `cases`, `controls` (how many people lack it); `people`: `participant_id`, `group`,
        `regions` (how many); both with `outside`, how many of these lie outside the field of view, where it is known.
    """
    case = people["label"].to_numpy() == 1
    lost = missing if outside is None else missing & outside
    regions = [
        {"region": str(names[k]), "cases": int(missing[case, k].sum()), "controls": int(missing[~case, k].sum())}
        | ({} if outside is None else {"outside": int(lost[:, k].sum())})
        for k in _most(missing.sum(0))
    ]
    ids, groups = people["participant_id"].to_numpy(str), people["group"].to_numpy(str)
    lacking_people = [
        {"participant_id": str(ids[k]), "group": str(groups[k]), "regions": int(missing[k].sum())}
        | ({} if outside is None else {"outside": int(lost[k].sum())})
        for k in _most(missing.sum(1))
    ]
    return {"regions": regions, "people": lacking_people}


def lacking(missing: np.ndarray, people: pd.DataFrame, names: np.ndarray) -> dict:
    """Compare how many regions patients and controls lack, and who lacks each of them.

    Returns
    -------
    dict
        `cases`, `controls` (regions that a person lacks, mean; None of nobody), Mann-Whitney's `p` of these numbers
        (None where all are alike); `regions`: `region`, `cases`, `controls` (how many people lack it) and `p`,
        Fisher's, adjusted for all regions that somebody lacks (Holm 1979), smallest first.
    """
    from scipy.stats import fisher_exact, mannwhitneyu  # half a second that not everybody need wait for

    case, many = people["label"].to_numpy() == 1, missing.sum(1)
    sides = [many[side] for side in (case, ~case)]
    alike = not len(many) or np.ptp(many) == 0 or min(map(len, sides)) == 0
    means = [float(side.mean()) if len(side) else None for side in sides]
    some = np.flatnonzero(missing.any(0))
    counts = np.array([[missing[side][:, some].sum(0), (~missing[side])[:, some].sum(0)] for side in (case, ~case)])
    p = np.array([fisher_exact(counts[:, :, k]).pvalue for k in range(len(some))])
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    regions = [
        {"region": str(names[some[k]]), **dict(zip(SIDES, counts[:, 0, k].tolist())), "p": float(p_holm)}
        for k, p_holm in zip(order, adjusted)
    ]
    return {**dict(zip(SIDES, means)), "p": None if alike else float(mannwhitneyu(*sides).pvalue), "regions": regions}


def _most(counts: np.ndarray) -> np.ndarray:
    order = np.argsort(-counts, kind="stable")
    return order[counts[order] > 0]
