"""One test over several maps of the same connections: resting, task and structural, say, of the same people.

A permutation shuffles the group of whole people, the same in all maps. In every map it gives a t, given the nuisance of
that map, and a p with the degrees of freedom of that map, as a normal score z with the sign of the t. Two combinations
of the maps of a connection compete: the sum of the scores over their standard deviation (Stouffer), which is large
where a difference is in all maps, and the largest score, corrected for the number of maps (Tippett, Šidák), which is
large where it is in one. The statistic is the larger of both, and its largest over all connections under each
permutation controls the error rate for all connections, maps and both combinations together.

Permutation p of single connections would not do: with B permutations a few of B connections reach 1/(1 + B) in every
one of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import log_ndtr, ndtri_exp, stdtr

from dysconnect.data.cohort import Cohort
from dysconnect.data.measures import measure_of
from dysconnect.localize.components import CHUNK, DRAWN, adaptive_network_based
from dysconnect.localize.families import circuit_tests
from dysconnect.localize.matched import everybody
from dysconnect.localize.permutation import permuted_rows
from dysconnect.localize.ranks import exceedance
from dysconnect.localize.statistics import nuisance_basis, parts, refuse_untestable, residual_unit, to_t
from dysconnect.localize.tested import check_permutations, complete_edges, without_copies
from dysconnect.models.floor import is_covariate
from dysconnect.progress import track

LARGEST, STEPS = 36, 100  # of the table of scores that were chosen: beyond, and between, they are read as a line
MOST = np.float32(1 - 1e-6)  # of r squared
DF = 1e4  # of the t into which the statistic is put, so that components and circuits take it: thresholds are of z


class Picture(NamedTuple):
    """One map of the connections of some people, with the covariates of its own scans."""

    cohort: Cohort
    nuisance: Sequence[str]


class Joint(NamedTuple):
    """What `joint` finds: edges, strongest first, components and circuits, and a summary."""

    edges: pd.DataFrame
    components: pd.DataFrame
    circuits: pd.DataFrame
    summary: dict


@dataclass(frozen=True)
class Map:
    """A picture ready for permutation.

    Attributes
    ----------
    units : array of float32, [m, E]
        Residualised edges of unit norm; zero where the edge was not tested.
    group : array, [m]
        Residualised group of unit norm.
    basis : array, [m, K]
        Orthonormal nuisance.
    members : array of int, [m]
        Places of its people among all.
    tested : array of bool, [E]
    df : int
    """

    units: np.ndarray
    group: np.ndarray
    basis: np.ndarray
    members: np.ndarray
    tested: np.ndarray
    df: int

    def permuted(self, rows: np.ndarray) -> np.ndarray:
        """Unit group vectors [B, m] under permutations of all people, [B, n] (Smith): nobody enters or leaves a map."""
        place = np.zeros(rows.shape[1], int)
        place[self.members] = np.arange(len(self.members))
        return residual_unit(self.group[place[rows[:, self.members]]].T, self.basis).T

    def scores(self, groups: np.ndarray) -> np.ndarray:
        """Normal scores of every edge for group vectors [B, m], [B, E] float32; zero where it was not tested."""
        return normal_score(groups.astype(np.float32) @ self.units, self.df)


@dataclass(frozen=True)
class JointEdges:
    """Several maps of the same edges, read as one by all that reads `PermutedEdges`.

    Attributes
    ----------
    maps : sequence of Map
    spread : array, [E]
        Standard deviation of the sum of the scores of an edge where nothing differs.
    blocks : array, [n]
        Exchangeability blocks of all people: site, and which maps they have.
    rows, cols : array of int32, [E]
    n_nodes, n_permutations, seed : int
    only_sum : bool
        Whether the largest score of a single map does not count.
    """

    maps: Sequence[Map]
    spread: np.ndarray
    blocks: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    n_nodes: int
    n_permutations: int
    seed: int
    only_sum: bool = False
    df: float = DF

    def chunks(self, what: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Statistics of the group and of its permutations as correlations, as of `PermutedEdges`."""
        done = 0
        for groups in track(self._groups(), what, total=1 + -(-self.n_permutations // DRAWN)):
            step = max(1, int(CHUNK / (4 * max(1, len(self.rows)))))
            for start in range(0, len(groups[0]), step):
                z = self.joined([own[start : start + step] for own in groups])
                yield slice(done, done + len(z)), (z / np.sqrt(z**2 + self.df)).astype(np.float32)
                done += len(z)

    def _groups(self) -> Iterator[list[np.ndarray]]:
        yield [one.group[None] for one in self.maps]
        for draw, start in enumerate(range(0, self.n_permutations, DRAWN)):
            count = min(DRAWN, self.n_permutations - start)
            rows = permuted_rows(self.blocks, DRAWN, [self.seed, draw])[:count]
            yield [one.permuted(rows) for one in self.maps]

    def observed(self) -> np.ndarray:
        """Statistic of every edge, [E]; positive: stronger in patients."""
        return self.joined([one.group[None] for one in self.maps])[0]

    def joined(self, groups: Sequence[np.ndarray]) -> np.ndarray:
        """The larger of the sum of the maps and of the largest, as normal scores, for each map's groups: [B, E]."""
        scores = [one.scores(own) for one, own in zip(self.maps, groups)]
        total = self.summed(scores)
        if self.only_sum:
            return total
        largest = self.largest(scores)
        return np.where(np.abs(total) >= np.abs(largest), total, largest)

    def summed(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """Sum of the scores of all maps over its standard deviation, [B, E]."""
        return sum(scores) / self.spread.astype(np.float32)

    def largest(self, scores: Sequence[np.ndarray]) -> np.ndarray:
        """Largest score of any map with its sign, less what the choice among the maps of the edge makes of it."""
        best = scores[0]
        for other in scores[1:]:
            best = np.where(np.abs(other) > np.abs(best), other, best)
        counts = sum(one.tested.astype(int) for one in self.maps)
        tables = np.stack([_choice_table(max(count, 1)) for count in range(len(self.maps) + 1)])
        place = np.minimum(np.abs(best) * STEPS, tables.shape[1] - 2).astype(np.float32)
        low = place.astype(np.int32)
        chosen = tables[counts, low]
        chosen += (place - low) * (tables[counts, low + 1] - chosen)
        return np.copysign(chosen, best)


def covariates_of(people: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    """Nuisance covariates of a map, as its own people have them: motion in the task and at rest where both are known.

    Raises
    ------
    ValueError
        When its table lacks one.
    """
    task = ("mean_fd_task", "mean_fd_rest")
    plain = dict.fromkeys("mean_fd" if name in task else name for name in wanted)
    own = [part for name in plain for part in (task if name == "mean_fd" and set(task) <= set(people) else [name])]
    if absent := [name for name in own if not is_covariate(name, people)]:
        raise ValueError(f"its participants have no {', '.join(absent)}: leave that out of localize.nuisance.")
    return own


def joint(pictures: Mapping[str, Picture], circuits: np.ndarray, spec: Mapping) -> Joint:
    """Test every edge for a group difference in any of several maps, or in all of them together.

    Parameters
    ----------
    pictures : mapping
        By name. Undirected edges of the same regions; people are matched by `participant_id`, and may lack a map.
    circuits : array of str, [E]
        Loop of every edge of the first picture; empty where it is in none.
    spec : mapping
        The `localize` section: `permutations`, `alpha`, `thresholds`, `prior_circuits`, `max_missing`, `seed`.

    Returns
    -------
    edges : DataFrame, [E rows], strongest first
        `region_a`, `region_b`, `direction`, `statistic` (z), `p_fwer`, `carried_by` (sum, or the map whose score is
        largest), `sum` (z of the sum), `n_maps` (in which it was tested), of every map `t_NAME` and `p_NAME`,
        `circuit`. Numbers are NaN where an edge was tested in no map.
    components : DataFrame
        As of `adaptive_network_based`, thresholds being of z; `regions` by name.
    circuits : DataFrame
        As of `circuit_tests`, of the sums.
    summary : dict
        `pictures` (name, n, n_cases, n_controls, n_edges, df, nuisance, of each), `n`, `n_all` (who have all maps),
        `without` (how many people lack a map, by its name), counts, the critical z, `reason` (empty).

    Raises
    ------
    ValueError
        For fewer than two maps, directed or exploratory ones, other regions, people who are of different groups in two
        maps, or what a single map cannot be tested for.

    References
    ----------
    Winkler et al. (2016), doi:10.1002/hbm.23115 (non-parametric combination, of images).
    """
    check_permutations(spec)
    pictures = {name: picture._replace(cohort=without_copies(picture.cohort)) for name, picture in pictures.items()}
    edges, tested = joint_edges(pictures, spec)
    first = next(iter(pictures.values())).cohort
    loops = {name: circuits[tested] == name for name in pd.unique(circuits) if name}
    prior = {name: mask for name, mask in loops.items() if name in spec["prior_circuits"]}
    found = adaptive_network_based(edges, spec["thresholds"], prior)
    table = _table(edges, list(pictures), found.largest[1:])
    table = first.edge_names.join(table.set_index(np.flatnonzero(tested))).assign(circuit=circuits)
    order = np.lexsort((-table["statistic"].abs().fillna(-1), table["p_fwer"].fillna(2)))
    components = _components(found.table, first.nodes)
    whole = circuit_tests(replace(edges, only_sum=True), loops).table
    counts = _counts(table, components, whole, spec["alpha"])
    critical = float(np.quantile(to_t(found.largest[1:].astype(float), DF), 1 - spec["alpha"]))
    tests = {"permutations": spec["permutations"], "alpha": spec["alpha"], "critical": critical, "reason": ""}
    summary = _people(pictures, edges) | counts | tests
    return Joint(table.iloc[order].reset_index(drop=True), components, whole, summary)


def joint_edges(pictures: Mapping[str, Picture], spec: Mapping) -> tuple[JointEdges, np.ndarray]:
    """Make maps ready for permutation, and say which edges [E] of the first are tested in any; as of `joint`."""
    _refuse_others(pictures)
    people, blocks = everybody({name: picture.cohort.participants for name, picture in pictures.items()})
    nodes, pairs = (getattr(next(iter(pictures.values())).cohort, name) for name in ("nodes", "pairs"))
    maps = [_map(name, picture, people.index, nodes, spec) for name, picture in pictures.items()]
    tested = np.any([one.tested for one in maps], axis=0)
    maps = [replace(one, units=one.units[:, tested], tested=one.tested[tested]) for one in maps]
    rows, cols = (end[tested].astype(np.int32) for end in pairs.ends)
    drawn = spec["permutations"], spec["seed"]
    return JointEdges(maps, _spread(maps), blocks, rows, cols, pairs.n, *drawn), tested


def _refuse_others(pictures: Mapping[str, Picture]) -> None:
    """Refuse what is no picture of the same undirected edges."""
    if len(pictures) < 2:
        raise ValueError("localize.joint names one map: two or more are tested together.")
    names, (one, first) = list(pictures), next(iter(pictures.items()))
    for name, (cohort, _) in pictures.items():
        measure = measure_of(cohort.measure)
        if cohort.directed or measure.exploratory or measure.diagonal:
            kind = "directed" if cohort.directed else "exploratory" if measure.exploratory else "a covariance"
            raise ValueError(
                f"localize.joint: {name} is {kind}, and only maps of which a connection may be named, the same both "
                f"ways, are tested together. Leave it out of {', '.join(names)}."
            )
        others = sorted(set(cohort.nodes) ^ set(first.cohort.nodes))
        if others:
            raise ValueError(
                f"localize.joint: {name} and {one} are of other regions ({', '.join(others[:5])}"
                f"{' ...' if len(others) > 5 else ''}). Make both with one atlas."
            )


def _map(name: str, picture: Picture, people: pd.Index, nodes: np.ndarray, spec: Mapping) -> Map:
    """Residualise a map's edges, in the order of regions of the first, and its group."""
    cohort, table = picture.cohort, picture.cohort.participants
    try:
        refuse_untestable(table)
        basis = nuisance_basis(table, picture.nuisance)
    except ValueError as problem:
        raise ValueError(f"localize.joint, {name}: {problem}") from problem
    edges = complete_edges(cohort, spec["max_missing"])
    order = cohort.pairs.among(pd.Index(cohort.nodes).get_indexer(nodes))
    tested, place = edges.tested[order], np.cumsum(edges.tested) - 1
    units = np.zeros((len(table), len(order)), np.float32)
    for part in parts(len(order), len(table)):
        columns = place[order[part]][tested[part]]
        units[:, part][:, tested[part]] = residual_unit(edges.values[:, columns].astype(float), basis)
    label = table["label"].to_numpy(float)
    group = label - basis @ (basis.T @ label)
    members = people.get_indexer(table["participant_id"])
    return Map(units, group / np.linalg.norm(group), basis, members, tested, len(table) - basis.shape[1] - 1)


def _spread(maps: Sequence[Map]) -> np.ndarray:
    """Standard deviation of the sum of the scores of every edge under permutation, [E].

    Scores of two maps are correlated as their residuals are over the people whom they share, and as the residualised
    groups are there.
    """
    variance = sum(one.tested.astype(float) for one in maps)
    for k, one in enumerate(maps):
        for other in maps[k + 1 :]:
            _, mine, theirs = np.intersect1d(one.members, other.members, return_indices=True)
            if len(mine):
                alike = np.einsum("ne,ne->e", one.units[mine], other.units[theirs], dtype=float)
                groups = one.group[mine] @ other.group[theirs] * np.sqrt(len(one.members) * len(other.members))
                variance += 2 * alike * groups / len(mine)
    return np.sqrt(np.maximum(variance, 0.1))


def _table(edges: JointEdges, names: Sequence[str], null: np.ndarray) -> pd.DataFrame:
    """Numbers of every edge that was tested in some map; `null` [B] are the largest statistics as correlations."""
    groups = [one.group[None] for one in edges.maps]
    scores = [one.scores(own) for one, own in zip(edges.maps, groups)]
    total, z = edges.summed(scores)[0], edges.joined(groups)[0].astype(float)
    best = np.array(names)[np.argmax([np.abs(score[0]) for score in scores], axis=0)]
    table = pd.DataFrame({
        "direction": np.where(z < 0, "patients lower", "patients higher"),
        "statistic": z,
        "p_fwer": exceedance(np.abs(z) / np.sqrt(z**2 + edges.df), null),
        "carried_by": np.where(np.abs(total) >= np.abs(z) - 1e-6, "sum", best),
        "sum": total,
        "n_maps": sum(one.tested.astype(int) for one in edges.maps),
    })  # fmt: skip
    for name, one, own in zip(names, edges.maps, groups):
        t = np.where(one.tested, to_t((own @ one.units)[0].astype(float), one.df), np.nan)
        table[f"t_{name}"], table[f"p_{name}"] = t, 2 * stdtr(one.df, -np.abs(t))
    return table


def _components(table: pd.DataFrame, nodes: np.ndarray) -> pd.DataFrame:
    """Components with the names of their regions."""
    regions = ["; ".join(nodes[list(ends)]) for ends in table["nodes"]]
    return table.rename(columns={"id": "component", "tail": "direction"}).drop(columns="nodes").assign(regions=regions)


def _people(pictures: Mapping[str, Picture], edges: JointEdges) -> dict:
    """Who is in every map, and who lacks one."""
    own = [
        {
            "name": name, "measure": cohort.measure, "n": len(cohort.labels), "n_cases": int(cohort.labels.sum()),
            "n_controls": int((cohort.labels == 0).sum()), "n_edges": int(one.tested.sum()), "df": one.df,
            "nuisance": list(nuisance),
        }
        for (name, (cohort, nuisance)), one in zip(pictures.items(), edges.maps)
    ]  # fmt: skip
    n, seen = len(edges.blocks), np.bincount(np.concatenate([one.members for one in edges.maps]))
    without = {row["name"]: n - row["n"] for row in own}
    return {"pictures": own, "n": n, "n_all": int((seen == len(own)).sum()), "without": without}


def _counts(table: pd.DataFrame, components: pd.DataFrame, circuits: pd.DataFrame, alpha: float) -> dict:
    """How much was tested and is called."""
    tested = int(table["p_fwer"].notna().sum())
    return {
        "n_edges": tested,
        "n_untested": len(table) - tested,
        "n_fwer": int((table["p_fwer"] <= alpha).sum()),
        "n_components": int((components["p_fwer"] <= alpha).sum()),
        "n_circuits": int((circuits[["p_fwer_mean", "p_fwer_magnitude"]].min(axis=1) <= alpha).sum()),
    }


def normal_score(r: np.ndarray, df: int) -> np.ndarray:
    """Normal scores of the t of correlations with `df` degrees of freedom, as one formula: within .005 from df = 20."""
    scale = np.float32((8 * df + 1) / (8 * df + 3) * np.sqrt(df))
    return np.copysign(scale * np.sqrt(-np.log1p(-np.minimum(r**2, MOST))), r)


def _choice_table(count: int) -> np.ndarray:
    """What is left of the scores 0, 1 / STEPS, ... LARGEST if each was the largest of `count`: Šidák's correction."""
    p = 2 * np.exp(log_ndtr(-np.arange(LARGEST * STEPS + 1) / STEPS))
    corrected = -np.expm1(count * np.log1p(-np.minimum(p, 1 - 1e-16)))
    return -ndtri_exp(np.log(corrected) - np.log(2)).astype(np.float32)
