"""All methods of the localization, in one table: what each is, promises and calls.

`localize` writes what the methods with a column say, `validate` tries all of them on cohorts of known truth, and the
report takes its words from here. A new method is one more row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dysconnect.localize.bounds import DiscoveryBound
from dysconnect.localize.components import TAILS
from dysconnect.localize.families import (
    SetTests,
    circuit_tests,
    constrained_network_based,
    weighted_false_discovery,
)
from dysconnect.localize.ingredients import Ingredients

PROMISES = ("FWER", "FWER of sets", "FDR", "bounds", "none")  # the strictest first
SIDES = {"": 0, f", {TAILS[0]}": 1, f", {TAILS[1]}": -1}
NEEDS: dict[str, Callable[[Ingredients], bool]] = {
    "one site": lambda shared: len(np.unique(shared.people["site"])) == 1,
    "circuits": lambda shared: any(mask.any() for mask in shared.regions.loops.values()),
    "systems": lambda shared: shared.regions.systems is not None,
}


class Sets(NamedTuple):
    """Tests of sets of edges: `tests`, whose table has `name`, `p_fwer_mean`, `p_fwer_magnitude`; edges of each [E]."""

    tests: SetTests
    masks: dict[str, np.ndarray]

    @property
    def table(self) -> pd.DataFrame:
        """A row a set."""
        return self.tests.table


@dataclass(frozen=True)
class Method:
    """One method of the localization.

    Attributes
    ----------
    name : str
    kind : str
        What `run` returns: of `edges` p of every edge [E]; of `sets` `Sets`; of a `ranking` how strong every edge is
        [E]; of `bounds` a `DiscoveryBound`.
    promise : str
        What is kept at alpha: the family-wise error rate of single edges (FWER), whatever else is true of the others;
        that of sets as wholes (FWER of sets), such as components, whose single edges may be false; the
        false-discovery rate of edges (FDR); that all bounds hold together (bounds); or none.
    run : callable
        From `Ingredients`.
    sentence : str
        For the methods of a paper, with settings in braces.
    papers : sequence of str
        Short names in the report's references.
    needs : sequence of str
        Of `NEEDS`; elsewhere the method is left out.
    column : str
        Where `localize` writes it: a column of edges.tsv, of sets their `kind` in circuits.tsv; empty: it is validated
        only.
    strength : callable or None
        How a method of edges ranks them, from `Ingredients` to [E], the strongest highest.
    tail : int
        -1, 1: it looks in this direction only; 0: in both.
    scheme : str
        The permutation it belongs to, of methods that share a column.
    """

    name: str
    kind: Literal["edges", "sets", "ranking", "bounds"]
    promise: Literal[PROMISES]
    run: Callable[[Ingredients], np.ndarray | Sets | DiscoveryBound]
    sentence: str
    papers: Sequence[str] = ()
    needs: Sequence[str] = ()
    column: str = ""
    strength: Callable[[Ingredients], np.ndarray] | None = None
    tail: int = 0
    scheme: str = ""

    def fits(self, shared: Ingredients) -> bool:
        """Whether the cohort has what the method needs."""
        return all(NEEDS[name](shared) for name in self.needs)


def _size(shared: Ingredients) -> np.ndarray:
    return np.abs(shared.statistics().t)


def _tested(scheme: str, column: str, shared: Ingredients) -> np.ndarray:
    return getattr(shared.statistics(scheme), column)


def _largest_t(scheme: str, name: str, what: str, needs: Sequence[str] = ()) -> list[Method]:
    """Max-T with one scheme of permutation, in both directions and in each."""
    sentence = (
        f"{{permutations}} permutations of {what} method; Winkler et al. 2014) gave family-wise p by the largest |t| "
        "(Nichols and Holmes 2002)"
    )
    papers = ("Winkler et al. 2014", "Nichols and Holmes 2002")
    columns = zip(("p_fwer", "p_fwer_higher", "p_fwer_lower"), SIDES.items())
    return [
        Method(
            f"max-T{name}{side}", "edges", "FWER", partial(_tested, scheme, column), sentence, papers, needs, column,
            None if tail else _size, tail, scheme,
        )
        for column, (side, tail) in columns
    ]  # fmt: skip


def _weighted(shared: Ingredients) -> np.ndarray:
    return weighted_false_discovery(shared.statistics().p, shared.weights)


def _ranked(shared: Ingredients) -> np.ndarray:
    """Order by the p of components, then by |t|."""
    return np.argsort(np.lexsort((_size(shared), -shared.adaptive.p_edge))).astype(float)


def _classical(column: str, tail: int, shared: Ingredients) -> np.ndarray:
    """Smallest p of the components of every edge, of one side where that is asked for; 1: in none."""
    components, p = shared.components, np.ones(shared.edges.shape[1])
    for edges, value, side in zip(components.edges, components.table[column], components.table["tail"]):
        if not tail or side == TAILS[0 if tail > 0 else 1]:
            p[edges] = np.minimum(p[edges], value)
    return p


def _network_based() -> list[Method]:
    """Classical network-based statistic, by intensity and by size, in both directions and in one."""
    words = "Components beyond |t| of 3 were tested by their {} (Zalesky et al. 2010)"
    return [
        Method(
            f"NBS, {kind}{side}", "edges", "FWER of sets",
            partial(_classical, ("p_tail" if tail else "p_fwer") + suffix, tail), words.format(kind),
            ("Zalesky et al. 2010",), tail=tail,
        )
        for kind, suffix in (("intensity", ""), ("size", "_size"))
        for side, tail in SIDES.items()
    ]  # fmt: skip


def _enhanced(tail: int, shared: Ingredients) -> np.ndarray:
    if not tail:
        return shared.enhanced.p_fwer
    return np.where(tail * shared.permuted.observed() > 0, shared.enhanced.p_tail, 1.0)


def _threshold_free() -> list[Method]:
    """Threshold-free network-based statistic, in both directions and in one."""
    words = "Connections were scored by the components that they are in at every threshold (TFNBS; Baggio et al. 2018)"
    return [
        Method(
            f"TFNBS{side}", "edges", "FWER of sets", partial(_enhanced, tail), words, ("Baggio et al. 2018",),
            tail=tail, strength=None if tail else lambda shared: shared.enhanced.score,
        )
        for side, tail in SIDES.items()
    ]  # fmt: skip


def _circuits(shared: Ingredients) -> Sets:
    loops = shared.regions.loops
    return Sets(circuit_tests(shared.permuted, loops), loops)


def _blocks(shared: Ingredients) -> Sets:
    blocks = shared.regions.blocks
    return Sets(
        constrained_network_based(shared.permuted, blocks), {name: blocks == name for name in np.unique(blocks)}
    )


def _ridge(shared: Ingredients) -> np.ndarray:
    from dysconnect.models.dual import DualRidge  # scikit-learn

    return np.abs(DualRidge().fit(shared.edges, shared.people["label"].to_numpy()).weights_)


NOBLE = ("Noble and Scheinost 2020",)
WHOLES = (
    "Circuits and pairs of systems were tested as wholes by the mean of their t and by its size (after Noble and "
    "Scheinost 2020)"
)
METHODS: tuple[Method, ...] = (
    *_largest_t("smith", "", "the residual group inside sites, residualised again (Smith's"),
    Method(
        "Benjamini-Hochberg", "edges", "FDR", lambda shared: shared.statistics().p_fdr,
        "false-discovery rates are those of Benjamini and Hochberg 1995", ("Benjamini and Hochberg 1995",),
        column="p_fdr", strength=_size,
    ),
    Method(
        "weighted Benjamini-Hochberg", "edges", "FDR", _weighted,
        "those with a prior, in which a connection of the prior circuits counts {prior:g} times as much, are those of "
        "Genovese et al. 2006", ("Genovese et al. 2006",),
        column="p_weighted", strength=lambda shared: -shared.statistics().p / shared.weights,
    ),
    *_network_based(),
    Method(
        "adaptive NBS", "edges", "FWER of sets", lambda shared: shared.adaptive.p_edge,
        "Components are those of the network-based statistic (Zalesky et al. 2010), by intensity beyond |t| of "
        "{thresholds} and by the largest |t|, in the whole brain and in the circuits of dystonia; the smallest p over "
        "the same permutations corrects for the choice (Westfall and Young 1993)",
        ("Zalesky et al. 2010", "Westfall and Young 1993"), column="p_component", strength=_ranked,
    ),
    *_threshold_free(),
    Method("ridge weights", "ranking", "none", _ridge, "Connections were ranked by the weights of ridge regression"),
    Method("circuit tests", "sets", "FWER of sets", _circuits, WHOLES, NOBLE, ("circuits",), "circuit"),
    Method("cNBS, blocks", "sets", "FWER of sets", _blocks, WHOLES, NOBLE, ("systems",), "block"),
    Method(
        "true-discovery bounds", "bounds", "bounds", lambda shared: shared.bound,
        "Lower bounds on the connections of a set that truly differ hold for all sets together: Simes' template, "
        "calibrated by the permutations (Blain et al. 2022)", ("Blain et al. 2022",), column="true_edges",
    ),
    *_largest_t("freedman_lane", ", Freedman-Lane",
                "the residual connections inside sites, residualised again (the Freedman-Lane"),
    *_largest_t("huh_jhun", ", Huh-Jhun", "the group in a basis of the residual space (the Huh-Jhun", ("one site",)),
)  # fmt: skip


def written(kind: str, scheme: str) -> list[Method]:
    """Methods of a kind that `localize` writes with a scheme of permutation."""
    return [method for method in METHODS if method.kind == kind and method.column and method.scheme in ("", scheme)]


def sentences(promises: Sequence[str], scheme: str, **settings: object) -> list[str]:
    """Words for a paper on what `localize` writes with these promises, in their order, each sentence once."""
    chosen = [method for method in METHODS if method.column and not method.tail and method.scheme in ("", scheme)]
    if all(method.scheme == "" for method in chosen):  # a scheme without a row is named, and stops no report
        chosen += _largest_t(scheme, "", f"the group (the {scheme.replace('_', ' ')}")[:1]
    chosen = sorted(
        (method for method in chosen if method.promise in promises), key=lambda one: promises.index(one.promise)
    )
    return list(dict.fromkeys(method.sentence.format(**settings) for method in chosen))


@dataclass(frozen=True)
class Outcome:
    """What a method says of one cohort.

    Attributes
    ----------
    method : str
    called : array of bool, [U]
        Units that it calls different: edges, or sets of edges. None called, and no `sets`: a ranking only.
    strength : array or None, [E]
        How it ranks the edges, the strongest highest.
    sets : array of bool or None, [U, E]
        Edges of every set, where sets are called.
    tail : int
        -1, 1: it looks in this direction only; 0: in both.
    bound : DiscoveryBound or None
        Lower bounds on true discoveries, and in `sets` the sets whose bounds are looked at.
    """

    method: str
    called: np.ndarray
    strength: np.ndarray | None = None
    sets: np.ndarray | None = None
    tail: int = 0
    bound: DiscoveryBound | None = None


def run_methods(shared: Ingredients) -> list[Outcome]:
    """Run all methods that fit on one cohort; bounds look at the edges that the methods before them call."""
    outcomes: list[Outcome] = []
    for method in METHODS:
        if method.fits(shared):
            outcomes.append(_outcome(method, shared, outcomes))
    return outcomes


def _outcome(method: Method, shared: Ingredients, before: Sequence[Outcome]) -> Outcome:
    made, alpha = method.run(shared), shared.spec["alpha"]
    if method.kind == "ranking":
        return Outcome(method.name, np.zeros(0, bool), made)
    if method.kind == "sets":
        called = made.table[["p_fwer_mean", "p_fwer_magnitude"]].min(axis=1).to_numpy() <= alpha
        return Outcome(method.name, called, sets=np.stack([made.masks[name] for name in made.table["name"]]))
    if method.kind == "bounds":
        edges = [one.called for one in before if one.sets is None and len(one.called)]
        looked_at = [np.ones(len(made.p), bool), *shared.regions.loops.values(), *edges]
        some = np.array([made.true_discoveries(mask) > 0 for mask in looked_at])
        return Outcome(method.name, some, sets=np.stack(looked_at), bound=made)
    strength = method.strength(shared) if method.strength else None
    return Outcome(method.name, made <= alpha, strength, tail=method.tail)
