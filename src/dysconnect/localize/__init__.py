"""Stage `localize`: which edges differ, in which direction, with a family-wise error rate and its stability."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.evaluate import permutation_p
from dysconnect.localize.statistics import EdgeStatistics, edge_statistics, selection_stability
from dysconnect.models.edges import MissingRegions, blocks, edge_missing
from dysconnect.train.estimators import Cohort, read_fold_weights


def localize(
    cohort: Cohort, circuits: np.ndarray, spec: dict, attribution: np.ndarray | None = None
) -> tuple[pd.DataFrame, dict]:
    """Test every edge and describe it.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of labelled subjects.
    circuits : array of str, [E]
        Loop of every edge; empty where it is in none.
    spec : dict
        The `localize` section: `nuisance`, `permutations`, `alpha`, `stability_draws`, `stability_top`,
        `max_missing`, `seed`.
    attribution : array or None, [E]
        Weights of a model that beat its permutation null, averaged over folds.

    Returns
    -------
    edges : DataFrame, [E rows], strongest first
        `region_a`, `region_b`, `effect_size`, `direction` (patients lower, patients higher), `statistic` (t), `p`,
        `p_fwer`, `p_fdr`, `stability`, `attribution`, `circuit`, `n_missing`; the numbers are NaN for an edge that
        is missing in too many subjects to be tested.
    summary : dict
        Counts, degrees of freedom, the critical t, and the smallest effect that could have been detected.
    """
    cohort = without_copies(cohort)
    lost = sum(edge_missing(cohort.missing[part]).sum(0) for part in blocks(cohort.values.shape))
    lost[~cohort.values.any(0)] = len(cohort.values)  # measured in nobody
    tested = lost / len(cohort.values) <= spec["max_missing"]
    filler = MissingRegions().fit(cohort.values, cohort.missing, diagonal=False)
    complete = filler.transform(cohort.values, cohort.missing)
    complete = complete if tested.all() else complete[:, tested]
    people, nuisance = cohort.participants, spec["nuisance"]
    statistics = edge_statistics(complete, people, nuisance, spec["permutations"], spec["seed"])
    top = min(spec["stability_top"], complete.shape[1])
    stability = selection_stability(complete, people, nuisance, top, spec["stability_draws"], spec["seed"] + 1)
    table = _edge_table(cohort.nodes, tested, statistics, stability)
    table["attribution"] = np.nan if attribution is None else attribution
    table["circuit"] = circuits
    table["n_missing"] = lost
    order = np.lexsort((-table["statistic"].abs().fillna(-1), table["p_fwer"].fillna(2)))
    return table.iloc[order].reset_index(drop=True), _summary(statistics, table, cohort, spec)


def without_copies(cohort: Cohort) -> Cohort:
    """Keep one of several copies of a scan: people who are tested must be independent."""
    if "scan_group" not in cohort.participants:
        return cohort
    first = ~cohort.participants["scan_group"].duplicated().to_numpy()
    people = cohort.participants[first].reset_index(drop=True)
    return replace(cohort, participants=people, values=cohort.values[first], missing=cohort.missing[first])


def _edge_table(
    nodes: np.ndarray, tested: np.ndarray, statistics: EdgeStatistics, stability: np.ndarray
) -> pd.DataFrame:
    """All edges by name; those that were not tested keep their row, without numbers."""
    rows, cols = np.triu_indices(len(nodes), k=1)
    table = pd.DataFrame({"region_a": nodes[rows], "region_b": nodes[cols]})
    numbers = {
        "effect_size": statistics.effect_size,
        "direction": np.where(statistics.t < 0, "patients lower", "patients higher"),
        "statistic": statistics.t,
        "p": statistics.p,
        "p_fwer": statistics.p_fwer,
        "p_fdr": statistics.p_fdr,
        "stability": stability,
    }
    return table.join(pd.DataFrame(numbers, index=np.flatnonzero(tested)))


def _summary(statistics: EdgeStatistics, table: pd.DataFrame, cohort: Cohort, spec: dict) -> dict:
    cases = int(cohort.labels.sum())
    controls = len(cohort.labels) - cases
    critical = float(np.quantile(statistics.max_null, 1 - spec["alpha"]))
    scale = np.sqrt(1 / cases + 1 / controls)
    return {
        "n_cases": cases,
        "n_controls": controls,
        "n_edges": len(statistics.t),
        "n_untested": len(table) - len(statistics.t),
        "nuisance": list(spec["nuisance"]),
        "permutations": spec["permutations"],
        "alpha": spec["alpha"],
        "df": statistics.df,
        "critical_t": critical,
        # power 0.8 needs a true t of the critical one plus 0.84 standard errors (Cohen 1988)
        "detectable_d": float((critical + 0.8416) * scale),
        "n_fwer": int((table["p_fwer"] <= spec["alpha"]).sum()),
        "n_fdr": int((table["p_fdr"] <= spec["alpha"]).sum()),
    }


def attributed(model: str | Path, null: str | Path, spec: dict) -> tuple[np.ndarray | None, str]:
    """Edge weights of a model averaged over folds, or why they are withheld.

    The gate: no map is shown of a model that does not beat its permutation null.

    Returns
    -------
    weights : array or None, [E]
    verdict : str
    """
    p = permutation_p(pd.read_csv(null, sep="\t"))
    name = spec["attribution"]
    if np.isnan(p):
        return None, f"withheld: {name} was not tested against permuted labels"
    if p > spec["alpha"]:
        return None, f"withheld: {name} does not beat its permutation null (p = {p:.3g})"
    weights = read_fold_weights(model)
    return weights.mean(0), f"{name}, mean over {len(weights)} folds (permutation p = {p:.3g})"
