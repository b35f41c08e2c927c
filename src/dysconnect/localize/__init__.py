"""Stage `localize`: which edges differ, in which direction, with a family-wise error rate and its stability."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dysconnect.data.cohort import Cohort
from dysconnect.localize import methods
from dysconnect.localize.beside import beside_columns, prepared, regional_table
from dysconnect.localize.bounds import DiscoveryBound
from dysconnect.localize.component_power import component_power
from dysconnect.localize.components import Components
from dysconnect.localize.direction import expected_direction
from dysconnect.localize.effects import effect_interval, selection_shrinkage
from dysconnect.localize.families import COLUMNS as SETS
from dysconnect.localize.families import enrichment
from dysconnect.localize.ingredients import Ingredients, Regions
from dysconnect.localize.overall import ranked, smallest_of_families
from dysconnect.localize.points import STRONGEST, edge_points, group_means
from dysconnect.localize.power import power_table
from dysconnect.localize.statistics import EdgeStatistics, selection_stability
from dysconnect.localize.tested import check_permutations, complete_edges, tracts_seen, without_copies

COLUMNS = (  # of edges.tsv, after the names of the regions; those of new methods follow
    "mean_cases", "mean_controls", "effect_size", "effect_low", "effect_high", "effect_corrected",
    "direction", "statistic", "p", "p_fwer", "p_fdr", "p_fwer_higher", "p_fwer_lower", "stability",
    "p_weighted", "p_component", "p_beside", "also_explained",
)  # fmt: skip


class Localization(NamedTuple):
    """What `localize` finds: edges, a summary, components, sets, what could have been found, points, and regions."""

    edges: pd.DataFrame
    summary: dict
    components: pd.DataFrame
    circuits: pd.DataFrame
    power: pd.DataFrame
    points: pd.DataFrame
    regional: pd.DataFrame


def localize(cohort: Cohort, circuits: np.ndarray, spec: dict, atlas: pd.DataFrame | None = None) -> Localization:
    """Test every edge, the components they make and the circuits they are in.

    Parameters
    ----------
    cohort : Cohort
        Fisher z edges of labelled subjects.
    circuits : array of str, [E]
        Loop of every edge; empty where it is in none.
    spec : dict
        The `localize` section: `nuisance`, `permutations`, `permutation` and `device` (of single edges; the rest stays
        with Smith and the CPU), `alpha`, `thresholds`, `prior`, `prior_circuits`, `stability_draws`, `stability_top`,
        `max_missing`, `seed`.
    atlas : DataFrame or None
        Node table with `name`, `system`, `x`, `y`, `z`; without it there are neither blocks of systems nor
        enrichment.

    Returns
    -------
    edges : DataFrame, [E rows], strongest first
        `region_a`, `region_b`, `mean_cases`, `mean_controls` (as measured), `effect_size` (d),
        `effect_low`, `effect_high` (interval at 1 - alpha),
        `effect_corrected` (d times the `shrinkage` of the list, of edges with `p_fwer` <= alpha),
        `direction` (patients lower, patients higher), `statistic` (t), `p`,
        `p_fwer`, `p_fdr`, `p_fwer_higher`, `p_fwer_lower` (one-sided), `stability`, `p_weighted` (Benjamini-Hochberg
        with the circuits as prior), `p_component` (family-wise, adaptive NBS), `component` (row of `components`; 0:
        none), `circuit`, `n_missing`; the numbers are NaN for an edge that is missing in too many subjects to be
        tested. Where the measure has values of regions, `p_beside` (parametric, beside those of both ends) and
        `also_explained`: by which, of an edge with `p_fwer` <= alpha and `p_beside` above it.
    summary : dict
        Counts, degrees of freedom, and the critical t; `families`: of every family of tests (edge, component, circuit,
        block) its `p`, and `p_any` that allows for all of them (`overall`), the smallest of which is `p_any`. Of
        directed connections also `direction`, as of `expected_direction`; of streamlines also `tracts`, as of
        `tracts_seen`.
    components : DataFrame
        Each that is the most significant of one of its edges, best first: `component`, `family`, `direction`,
        `threshold`, `n_edges`, `n_nodes`, `intensity`, `p_fwer`, `true_edges` (at least so many of its edges differ,
        for all sets together at `alpha`: `discovery_bound`), `regions`.
    circuits : DataFrame
        `kind` (circuit, block), then as of `circuit_tests` and `enrichment`; `true_edges` of circuits.
    power : DataFrame
        As of `power_table`: the effect that an edge, a component (`component_power`, approximate) and every circuit
        would have needed.
    points : DataFrame
        Everybody's value of the strongest edges, as of `edge_points`.
    regional : DataFrame
        Values of regions in both groups, as of `regional_table`.

    Raises
    ------
    ValueError
        When the permutations are too few for `alpha`, or the covariates determine the group.
    """
    check_permutations(spec)
    cohort = without_copies(cohort)
    measured, tested, lost = complete_edges(cohort, spec["max_missing"])
    complete, people, nuisance = prepared(cohort, measured, tested, spec["nuisance"])
    atlas = None if atlas is None else atlas.set_index("name").loc[cohort.nodes]
    asked = spec | {"nuisance": nuisance}
    shared = Ingredients(complete, people, _regions(cohort, tested, circuits, atlas), asked)
    statistics = shared.statistics()
    top = min(spec["stability_top"], complete.shape[1])
    half = nuisance, top, spec["stability_draws"], spec["seed"] + 1
    stability = selection_stability(complete, people, *half)
    members, components = _reported(shared.adaptive, cohort.nodes, shared.bound)
    numbers = _edge_numbers(shared, measured) | {"stability": stability, "component": members}
    numbers |= beside_columns(cohort, measured, tested, spec, cohort.labels, numbers["p_fwer"])
    table = _edge_table(cohort.edge_names, tested, numbers).assign(circuit=circuits, n_missing=lost)
    shrinkage = _shrunken(table, shared, *half[2:])
    order = np.lexsort((-table["statistic"].abs().fillna(-1), table["p_fwer"].fillna(2)))
    families, smallest = _families(shared, atlas)
    summary = _summary(statistics, table, cohort, spec) | _counts(table, components, families, spec["alpha"])
    summary["shrinkage"] = shrinkage
    summary["families"] = _overall(shared.adaptive, smallest, float(statistics.p_fwer.min()))
    summary["p_any"] = min(family["p_any"] for family in summary["families"])
    summary |= {"direction": known} if (known := expected_direction(cohort)) else {}
    summary |= {"tracts": seen} if (seen := tracts_seen(cohort, circuits)) else {}
    summary["n_component_true"] = shared.bound.true_discoveries(shared.adaptive.p_edge <= spec["alpha"])
    power = _power(shared, summary["critical_t"])
    points = _points(shared, measured, table.loc[tested], order)
    regions = regional_table(cohort, spec["nuisance"])
    edges = table.iloc[order].reset_index(drop=True)
    return Localization(edges, summary, components, families, power, points, regions)


def _regions(cohort: Cohort, tested: np.ndarray, circuits: np.ndarray, atlas: pd.DataFrame | None) -> Regions:
    """What is known of the edges that are tested."""
    rows, cols = cohort.pairs.ends
    loops = {name: circuits[tested] == name for name in pd.unique(circuits) if name}
    systems = None if atlas is None else atlas["system"].to_numpy(str)
    return Regions((rows[tested], cols[tested], len(cohort.nodes)), loops, systems)


def _points(shared: Ingredients, measured: np.ndarray, tested: pd.DataFrame, order: np.ndarray) -> pd.DataFrame:
    """Everybody's value of the strongest edges that were tested; `order` has all edges, strongest first."""
    strongest = order[:STRONGEST][np.isin(order[:STRONGEST], tested.index)]
    columns = tested.index.get_indexer(strongest)
    who = shared.people, shared.spec["nuisance"], tested.loc[strongest]
    return edge_points(shared.edges[:, columns], *who, measured[:, columns])


def _power(shared: Ingredients, critical_t: float) -> pd.DataFrame:
    """What an edge, a component inside the prior circuits, and every circuit would have needed."""
    places = {name: np.flatnonzero(mask) for name, mask in shared.regions.loops.items() if mask.any()}
    spec, who = shared.spec, (shared.edges, shared.people, shared.spec["nuisance"])
    table = power_table(*who, places, critical_t, spec["alpha"])
    needed = component_power(
        *who, shared.regions.ends, spec["thresholds"], shared.prior, table["detectable_d"][0], spec["alpha"],
        spec["seed"],
    )  # fmt: skip
    component = pd.DataFrame({"what": ["component"], "n_edges": needed[0], "detectable_d": needed[1]})
    return pd.concat([table[:1], component, table[1:]], ignore_index=True)


def _strength(edges: np.ndarray, ends: tuple[np.ndarray, np.ndarray, int]) -> np.ndarray:
    """Sum of the strengths of an edge's two nodes, over the people's mean absolute edges, [E]."""
    rows, cols, n_nodes = ends
    mean = np.zeros(edges.shape[1])
    for one in edges:  # no copy of the cohort
        mean += np.abs(one) / len(edges)
    node = np.bincount(rows, mean, n_nodes) + np.bincount(cols, mean, n_nodes)
    return node[rows] + node[cols]


def _reported(components: Components, nodes: np.ndarray, bound: DiscoveryBound) -> tuple[np.ndarray, pd.DataFrame]:
    """Keep the components that are the best of an edge, numbered anew: number of every edge, and the table."""
    used = np.unique(components.member[components.member > 0])
    table = components.table.iloc[used - 1].reset_index(drop=True).rename(columns={"tail": "direction"})
    table.insert(0, "component", np.arange(1, len(used) + 1))
    table["true_edges"] = [bound.true_discoveries(_mask(components.edges[row - 1], bound)) for row in used]
    table["regions"] = ["; ".join(map(str, nodes[list(members)])) for members in table.pop("nodes")]
    return np.searchsorted(used, components.member, side="right"), table.drop(columns="id")


def _mask(edges: np.ndarray, bound: DiscoveryBound) -> np.ndarray:
    return np.isin(np.arange(len(bound.p)), edges)


def _overall(components: Components, smallest: dict[str, np.ndarray], p_edge: float) -> list[dict]:
    """Every family of tests with its p, and with the p that allows for all of them.

    That of single edges is the one in the table, whose permutations are others; the corrected one is never below it.
    """
    strengths = {"edge": -components.largest, "component": components.smallest, **smallest}
    corrected, alone = smallest_of_families(strengths), ranked(np.stack(list(strengths.values())))[:, 0]
    alone[0] = p_edge
    return [{"name": name, "p": float(p), "p_any": max(float(p), corrected[name])} for name, p in zip(strengths, alone)]


def _families(shared: Ingredients, atlas: pd.DataFrame | None) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Sets of edges that are known beforehand, circuits and blocks of systems; and the smallest p of each kind."""
    tables, smallest = [], {}
    for method in methods.written("sets", shared.scheme):
        if method.fits(shared):
            made = method.run(shared)
            table = _circuits(made, shared, atlas) if method.column == "circuit" else made.table
            tables.append(table.assign(kind=method.column))
            smallest[method.column] = made.tests.smallest
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["kind", *SETS, "true_edges"])
    return table[["kind", *table.columns.drop("kind")]], smallest


def _circuits(made: methods.Sets, shared: Ingredients, atlas: pd.DataFrame | None) -> pd.DataFrame:
    """Circuits with how many of their edges differ at least, and with an atlas their enrichment."""
    true = [shared.bound.true_discoveries(made.masks[name]) for name in made.table["name"]]
    table = made.table.assign(true_edges=true)
    return table if atlas is None else table.merge(_enrichment(shared, atlas), on="name")


def _enrichment(shared: Ingredients, atlas: pd.DataFrame) -> pd.DataFrame:
    """Circuits beside edges of like strength and length."""
    rows, cols, _ = shared.regions.ends
    place = atlas[["x", "y", "z"]].to_numpy(float)
    length = np.linalg.norm(place[rows] - place[cols], axis=1)
    strength = _strength(shared.edges, shared.regions.ends)
    return enrichment(shared.permuted, shared.regions.loops, strength, length)


def _counts(table: pd.DataFrame, components: pd.DataFrame, families: pd.DataFrame, alpha: float) -> dict:
    """How much the structured tests find; an edge of a significant component need not be significant itself."""
    circuits = families[families["kind"] == "circuit"]
    called = circuits[["p_fwer_mean", "p_fwer_magnitude"]].min(axis=1) <= alpha
    return {
        "n_weighted": int((table["p_weighted"] <= alpha).sum()),
        "n_component_edges": int((table["p_component"] <= alpha).sum()),
        "n_components": int((components["p_fwer"] <= alpha).sum()),
        "n_circuits": int(called.sum()),
    }


def _edge_numbers(shared: Ingredients, measured: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the edges that were tested, each [tested]: the tests, and what every method with a column says."""
    statistics = shared.statistics()
    low, high = effect_interval(statistics.t, statistics.size, statistics.df, shared.spec["alpha"])
    tests = group_means(measured, shared.people["label"].to_numpy()) | {
        "effect_size": statistics.effect_size,
        "effect_low": low,
        "effect_high": high,
        "direction": np.where(statistics.t < 0, "patients lower", "patients higher"),
        "statistic": statistics.t,
        "p": statistics.p,
    }
    return tests | {
        method.column: method.run(shared) for method in methods.written("edges", shared.scheme) if method.fits(shared)
    }


def _shrunken(table: pd.DataFrame, shared: Ingredients, draws: int, seed: int) -> float | None:
    """Correct the effects of the edges that are called for having been chosen; the shrinkage, None where none are."""
    called = table["p_fwer"] <= shared.spec["alpha"]
    who = shared.edges, shared.people, shared.spec["nuisance"]
    share = selection_shrinkage(*who, int(called.sum()), draws, seed)
    table.insert(
        table.columns.get_loc("effect_high") + 1, "effect_corrected", table["effect_size"].where(called) * share
    )
    return None if np.isnan(share) else round(share, 4)


def _edge_table(pairs: pd.DataFrame, tested: np.ndarray, numbers: dict[str, np.ndarray]) -> pd.DataFrame:
    """All edges by name; those that were not tested keep their row, without numbers."""
    columns = sorted(numbers, key=lambda name: COLUMNS.index(name) if name in COLUMNS else len(COLUMNS))
    return pairs.join(pd.DataFrame(numbers, index=np.flatnonzero(tested))[columns])


def _summary(statistics: EdgeStatistics, table: pd.DataFrame, cohort: Cohort, spec: dict) -> dict:
    cases = int(cohort.labels.sum())
    controls = len(cohort.labels) - cases
    critical = float(np.quantile(statistics.max_null, 1 - spec["alpha"]))
    return {
        "n_cases": cases,
        "n_controls": controls,
        "n_edges": len(statistics.t),
        "n_untested": len(table) - len(statistics.t),
        "nuisance": list(spec["nuisance"]),
        "permutations": spec["permutations"],
        "permutation": spec["permutation"],
        "alpha": spec["alpha"],
        "df": statistics.df,
        "critical_t": critical,
        "n_fwer": int((table["p_fwer"] <= spec["alpha"]).sum()),
        "n_fdr": int((table["p_fdr"] <= spec["alpha"]).sum()),
    }
