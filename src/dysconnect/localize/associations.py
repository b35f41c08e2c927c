"""Two more questions to the edges: which go with a score inside the patients, and which differ between several groups.

What cannot be tested in a cohort (a score that does not vary, a group of one) is said in the summary; a score that is
no column, or a group that nobody has, is an error.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.localize.beside import beside_columns, prepared
from dysconnect.localize.severity import (
    AssociationStatistics,
    adjusted_means,
    group_indicators,
    group_statistics,
    score_statistics,
    score_values,
)
from dysconnect.localize.tested import (
    NothingToTest,
    check_permutations,
    chosen_people,
    complete_edges,
    without_copies,
)


class Association(NamedTuple):
    """Edges, strongest first, and a summary."""

    edges: pd.DataFrame
    summary: dict


def severity(cohort: Cohort, circuits: np.ndarray, spec: dict) -> Association:
    """Test every edge for an association with a score inside the patients.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of labelled subjects; the controls are left out.
    circuits : array of str, [E]
        Loop of every edge; empty where it is in none.
    spec : dict
        The `localize` section: `score` (column of participants.tsv), `nuisance`, `permutations`, `alpha`,
        `max_missing`, `seed`.

    Returns
    -------
    edges : DataFrame, [E rows]
        `region_a`, `region_b`, `effect_size` (partial r), `direction` (rises with the score, falls with the score),
        `statistic` (t), `p`, `p_fwer`, `p_fdr`, `circuit`; numbers are NaN for an edge that was not tested. Where the
        measure has values of regions, `p_beside` and `also_explained`, as of `localize`.
    summary : dict
        `score`, `n`, `n_without` (patients without a score, who are left out), `detectable_r` (with power 0.8), counts,
        and `reason`: why nothing was tested, else empty.

    Raises
    ------
    ValueError
        When the score is no column, or no number, or the permutations are too few for `alpha`.
    """
    check_permutations(spec)
    cohort, score = without_copies(cohort), spec["score"]
    if score not in cohort.participants:
        raise ValueError(
            f"localize.score={score} is not a column of participants.tsv (found: "
            f"{', '.join(cohort.participants.columns)}). Correct it, or set it to null."
        )
    patients = chosen_people(cohort, cohort.labels == 1)
    column = patients.participants[score]
    known = (column.notna() & (column.astype(str).str.strip() != "")).to_numpy()
    described = {"score": score, "n": int(known.sum()), "n_without": int((~known).sum())}
    scored = chosen_people(patients, known)

    def test(values: np.ndarray, people: pd.DataFrame, nuisance: Sequence[str]) -> AssociationStatistics:
        return score_statistics(values, people, score, nuisance, spec["permutations"], spec["seed"])

    if not known.any():
        return _untested(described, spec, f"{score} is known of none of {len(known)} patients")
    try:
        statistics, tested, beside = _tested(scored, spec, test, score_values(scored.participants, score))
    except NothingToTest as reason:
        return _untested(described, spec, str(reason))
    direction = np.where(statistics.statistic < 0, "falls with the score", "rises with the score")
    summary = described | _summary(statistics, len(tested), spec)
    needed = summary["critical"] + 0.8416  # standard errors of t, as for two groups
    summary["detectable_r"] = float(needed / np.sqrt(needed**2 + statistics.df[1]))
    more = {"direction": direction} | beside
    return Association(_table(cohort.edge_names, tested, statistics, more, circuits), summary)


def group_differences(cohort: Cohort, circuits: np.ndarray, spec: dict) -> Association:
    """Test every edge for any difference between groups.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of the people of two or more groups (column `group`).
    circuits, spec
        As for `severity`, without `score`.

    Returns
    -------
    edges : DataFrame, [E rows]
        As of `severity`, with F as `statistic`, partial eta squared as `effect_size`, and instead of `direction` a
        column `mean_GROUP` for every group: adjusted for the covariates, as deviation from the mean of the groups in
        residual standard deviations.
    summary : dict
        `groups` (name to number of people), counts, and `reason`.

    Raises
    ------
    ValueError
        When the permutations are too few for `alpha`.
    """
    check_permutations(spec)
    cohort = without_copies(cohort)
    sizes = cohort.participants["group"].value_counts().sort_index()
    described = {"groups": {name: int(size) for name, size in sizes.items()}, "n": len(cohort.participants)}
    means = {}

    def test(values: np.ndarray, people: pd.DataFrame, nuisance: Sequence[str]) -> AssociationStatistics:
        result = group_statistics(values, people, "group", nuisance, spec["permutations"], spec["seed"])
        names, rows = adjusted_means(values, people, "group", nuisance)
        means.update({f"mean_{name}": row for name, row in zip(names, rows)})
        return result

    try:
        statistics, tested, beside = _tested(cohort, spec, test, group_indicators(cohort.participants, "group"))
    except NothingToTest as reason:
        return _untested(described, spec, str(reason))
    return Association(
        _table(cohort.edge_names, tested, statistics, means | beside, circuits),
        described | _summary(statistics, len(tested), spec),
    )


def compared_groups(present: Sequence[str], wanted: Sequence[str] | bool) -> list[str]:
    """Groups to compare: all that are present, or those that are wanted.

    Raises
    ------
    ValueError
        When a wanted group has nobody who was analysed, or there is only one group.
    """
    names = sorted(set(present)) if wanted is True else list(dict.fromkeys(wanted))
    absent = [name for name in names if name not in set(present)]
    if absent or len(names) < 2:
        problem = f"nobody who was analysed is of {', '.join(absent)}" if absent else f"one group only ({names[0]})"
        raise ValueError(
            f"localize.groups: {problem}; analysed were {', '.join(sorted(set(present)))}. Name two or more of these, "
            "or put the others into dataset.contrast, which says whose scans are fetched."
        )
    return names


def _tested(
    cohort: Cohort, spec: dict, test, interest: np.ndarray
) -> tuple[AssociationStatistics, np.ndarray, dict[str, np.ndarray]]:
    """Statistics, which edges they are of [E], and columns of what stands beside these (`beside_columns`)."""
    values, tested, _ = complete_edges(cohort, spec["max_missing"])
    statistics = test(*prepared(cohort, values, tested, spec["nuisance"]))
    return statistics, tested, beside_columns(cohort, values, tested, spec, interest, statistics.p_fwer)


def _untested(described: dict, spec: dict, reason: str) -> Association:
    print(f"not tested: {reason}", flush=True)
    nothing = {"n_edges": 0, "n_untested": 0, "n_fwer": 0, "n_fdr": 0, "alpha": spec["alpha"]}
    columns = ["region_a", "region_b", "effect_size", "statistic", "p", "p_fwer", "p_fdr", "circuit"]
    return Association(pd.DataFrame(columns=columns), {**described, **nothing, "reason": reason})


def _summary(statistics: AssociationStatistics, n_edges: int, spec: dict) -> dict:
    alpha = spec["alpha"]
    return {
        "n_edges": len(statistics.statistic),
        "n_untested": n_edges - len(statistics.statistic),
        "nuisance": list(spec["nuisance"]),
        "permutations": spec["permutations"],
        "alpha": alpha,
        "df": list(statistics.df),
        "critical": float(np.quantile(statistics.max_null, 1 - alpha)),
        "n_fwer": int((statistics.p_fwer <= alpha).sum()),
        "n_fdr": int((statistics.p_fdr <= alpha).sum()),
        "reason": "",
    }


def _table(
    pairs: pd.DataFrame, tested: np.ndarray, statistics: AssociationStatistics, more: dict, circuits: np.ndarray
) -> pd.DataFrame:
    numbers = {
        "effect_size": statistics.effect_size,
        **more,
        "statistic": statistics.statistic,
        "p": statistics.p,
        "p_fwer": statistics.p_fwer,
        "p_fdr": statistics.p_fdr,
    }
    table = pairs.join(pd.DataFrame(numbers, index=np.flatnonzero(tested))).assign(circuit=circuits)
    order = np.lexsort((-table["statistic"].abs().fillna(-1), table["p_fwer"].fillna(2)))
    return table.iloc[order].reset_index(drop=True)
