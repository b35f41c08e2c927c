"""What the methods of the localization share: statistics, permutations, components and bounds, each computed once."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from dysconnect.data.atlas import edge_circuits
from dysconnect.data.edges import Pairs
from dysconnect.localize.bounds import DiscoveryBound, discovery_bound
from dysconnect.localize.components import (
    Components,
    Enhanced,
    PermutedEdges,
    adaptive_network_based,
    network_based,
    permuted_edges,
    threshold_free,
)
from dysconnect.localize.families import prior_weights, system_blocks
from dysconnect.localize.statistics import EdgeStatistics, edge_statistics

THRESHOLD = 3.0  # of |t|, for the classical network-based statistic


@dataclass(frozen=True)
class Regions:
    """What the methods know of the edges that are tested.

    Attributes
    ----------
    ends : tuple of array [E], array [E], int
        The two nodes of every edge, and how many nodes there are.
    loops : dict of str to array of bool, [E]
        Edges of every circuit.
    systems : array of str or None, [N]
        System of every node; None where no atlas says so.
    """

    ends: tuple[np.ndarray, np.ndarray, int]
    loops: dict[str, np.ndarray]
    systems: np.ndarray | None = None

    @classmethod
    def of_atlas(cls, nodes: pd.DataFrame) -> "Regions":
        """All edges of an atlas [N rows]."""
        circuits = edge_circuits(nodes)
        loops = {name: circuits == name for name in pd.unique(circuits) if name}
        return cls((*Pairs(len(nodes)).ends, len(nodes)), loops, nodes["system"].to_numpy(str))

    @property
    def blocks(self) -> np.ndarray:
        """Pair of systems of every edge, [E]."""
        return system_blocks(self.systems, *self.ends[:2])


@dataclass(frozen=True)
class Ingredients:
    """One cohort, ready for all methods.

    Attributes
    ----------
    edges : array, [n, E]
        Fisher z, complete.
    people : DataFrame, [n rows]
        `label`, `site` and the covariates.
    regions : Regions
    spec : dict
        `nuisance`, `alpha`, `permutations`, `thresholds`, `prior_circuits`, `prior`, `seed`; `permutation` (by default
        smith) and `device` (the CPU).
    """

    edges: np.ndarray
    people: pd.DataFrame
    regions: Regions
    spec: dict
    _tests: dict[str, EdgeStatistics] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        """The permutation of single edges that was asked for."""
        return self.spec.get("permutation", "smith")

    def statistics(self, scheme: str | None = None) -> EdgeStatistics:
        """Test every edge, the permutation being the one that was asked for or another."""
        scheme = scheme or self.scheme
        if scheme not in self._tests:
            device = self.spec.get("device", "cpu")
            self._tests[scheme] = edge_statistics(self.edges, self.people, *self._drawn, scheme, device)
        return self._tests[scheme]

    @property
    def _drawn(self) -> tuple:
        return self.spec["nuisance"], self.spec["permutations"], self.spec["seed"]

    @cached_property
    def permuted(self) -> PermutedEdges:
        """Edges and group, ready for the permutations of components and circuits."""
        nuisance, *drawn = self._drawn
        return permuted_edges(self.edges, self.people, nuisance, self.regions.ends, *drawn)

    @cached_property
    def prior(self) -> dict[str, np.ndarray]:
        """Edges of the circuits that were expected to differ, bool [E]."""
        return {name: mask for name, mask in self.regions.loops.items() if name in self.spec["prior_circuits"]}

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the edges by this prior, of mean one, [E]."""
        inside = np.any([*self.prior.values(), np.zeros(self.edges.shape[1], bool)], axis=0)
        return prior_weights(inside, self.spec["prior"])

    @cached_property
    def adaptive(self) -> Components:
        """Components at several thresholds."""
        return adaptive_network_based(self.permuted, self.spec["thresholds"], self.prior)

    @cached_property
    def components(self) -> Components:
        """Components at one threshold."""
        return network_based(self.permuted, THRESHOLD)

    @cached_property
    def enhanced(self) -> Enhanced:
        """Threshold-free scores."""
        return threshold_free(self.permuted)

    @cached_property
    def bound(self) -> DiscoveryBound:
        """Bounds on the true discoveries of any set of edges."""
        return discovery_bound(self.edges, self.people, *self._drawn, self.spec["alpha"])
