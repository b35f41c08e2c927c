"""People with their labels and connectomes, as all models and tests take them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dysconnect.data.edges import Pairs, blocks, lacking, measure_pairs
from dysconnect.data.measures import measure_of


@dataclass(frozen=True)
class Cohort:
    """Labelled subjects and their connectomes.

    Attributes
    ----------
    participants : DataFrame, [n rows]
        With `label`, `site`, `scan_group` and the covariates.
    values : array, [n, E]
        Fisher z edges, or covariances with their diagonal for the tangent space. NaN is a single edge that somebody
        lacks, as the FA of two regions that no streamline joins.
    missing : array of bool, [n, N]
        Regions without signal.
    nodes : array of str, [N]
        Region names.
    measure : {"correlation", "partial", "tangent"}
    directed : bool
        Whether the edge from a to b is another than that from b to a.
    known : array of bool, [E], optional
        Edges that were measured in somebody of the whole file, where zero is a value as any other. Without it zero in
        everybody stands for a connection that was measured in nobody.
    regional : dict of str to array, [n, N]
        What the measure says of every region beside connections.
    scan_means : dict of str to float
        Means of what it says of a scan as a whole, over everybody in the file.
    graph : array of float32, [n, E undirected], optional
        Edges of which the graphs of networks are made, where they are not those of `values`; zero is no edge, NaN one
        that is not known.

    Raises
    ------
    ValueError
        When directed edges are given for the tangent space.
    """

    participants: pd.DataFrame
    values: np.ndarray
    missing: np.ndarray
    nodes: np.ndarray
    measure: str
    directed: bool = False
    known: np.ndarray | None = None
    regional: Mapping[str, np.ndarray] = field(default_factory=dict)
    scan_means: Mapping[str, float] = field(default_factory=dict)
    graph: np.ndarray | None = None

    def __post_init__(self):
        if self.directed and measure_of(self.measure).tangent:
            raise ValueError(
                "the tangent space is one of covariances, which are the same both ways, and these edges are directed. "
                "Choose an experiment whose model sees the edges themselves."
            )

    @property
    def pairs(self) -> Pairs:
        """Which two regions every edge joins."""
        return measure_pairs(self.measure, len(self.nodes), self.directed)

    @property
    def measured(self) -> np.ndarray:
        """Edges that were measured in somebody of these people, [E] bool."""
        if self.known is None:
            return self.values.any(0)
        return self.known & (self.n_lacking < len(self.values))

    @property
    def n_lacking(self) -> np.ndarray:
        """How many people lack every edge, [E]; the values are read in blocks, where they must be."""
        return sum(self.lacking(part).sum(0) for part in blocks(self.values.shape))

    def lacking(self, rows: slice | np.ndarray) -> np.ndarray:
        """Edges that some of the people lack, [len(rows), E] bool."""
        if not measure_of(self.measure).gaps:
            return self.pairs.touching(self.missing[rows])
        return lacking(self.values[rows], self.missing[rows], self.pairs)

    @property
    def edge_names(self) -> pd.DataFrame:
        """Names of both regions of every edge: `region_a`, `region_b`, [E rows]."""
        return self.pairs.named(self.nodes)

    @property
    def regional_table(self) -> pd.DataFrame:
        """What the measure says of every region, [n rows], as `delay of NAME`; NaN where somebody lacks it."""
        columns = {
            f"{name} of {region}": np.where(self.missing[:, k], np.nan, values[:, k])
            for name, values in self.regional.items()
            for k, region in enumerate(self.nodes)
        }
        return pd.DataFrame(columns, index=self.participants.index)

    @property
    def labels(self) -> np.ndarray:
        """Labels, [n]: 1 is the patient."""
        return self.participants["label"].to_numpy()
