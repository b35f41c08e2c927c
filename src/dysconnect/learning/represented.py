"""What models are given of people: edges or tangent vectors without gaps, as learned from the training rows alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dysconnect.data.cohort import Cohort
from dysconnect.data.edges import Borrowed, MissingRegions, blocks
from dysconnect.learning.on_disk import OnDisk
from dysconnect.models.in_place import MANY
from dysconnect.models.masked import MaskedRegression

if TYPE_CHECKING:  # torch takes seconds to load
    from dysconnect.models.tangent import TangentSpace

KEPT = 1e8  # bytes of tangent vectors that are kept: they take longer than all that is done with them


@dataclass(frozen=True)
class FilledEdges:
    """Edges of some subjects of a cohort, [n, E], filled in when a slice or rows of them are asked for.

    Attributes
    ----------
    values : array or StoredEdges, [S, E]
        Of the cohort.
    missing : array of bool, [S, N]
    rows : array of int, [n]
        Which subjects.
    filler : MissingRegions or None
        None: as they are.
    graph : array or None, [n, E]
        Edges of which graphs are made; they follow the others (`Layout`).
    """

    values: np.ndarray
    missing: np.ndarray
    rows: np.ndarray
    filler: MissingRegions | None = None
    graph: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Subjects and edges."""
        return len(self.rows), self.values.shape[1] + (0 if self.graph is None else self.graph.shape[1])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, wanted: slice | np.ndarray) -> np.ndarray:
        rows = self.rows[wanted]
        edges = self.values[rows]
        edges = edges if self.filler is None else self.filler.transform(edges, self.missing[rows])
        return edges if self.graph is None else np.hstack([edges, self.graph[wanted]])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """All of them, for whoever cannot do with blocks."""
        return np.asarray(self[:], dtype)

    def __str__(self) -> str:
        return "memory" if isinstance(self.values, np.ndarray) else str(self.values)


class Represented:
    """Edges of a cohort, or tangent vectors of its covariances, with what missing regions do to them taken out.

    Parameters
    ----------
    tangent : bool
        Whether the cohort has covariances, of which tangent vectors are made.
    space : callable
        Missing regions [n, N] of the training people, or None for a space that is to be restored, to the tangent space.
    filler : class
        What completes edges or covariances: by the mean of the training people, unless told otherwise.
    curved : bool
        Whether a model sees more of the features than a linear one: then `masked_` gives residuals back.

    Attributes
    ----------
    filler_ : MissingRegions
    space_ : TangentSpace
        Only of tangent vectors, as is `masked_`.
    masked_ : MaskedRegression
    """

    def __init__(
        self,
        tangent: bool,
        space: Callable[[np.ndarray | None], "TangentSpace"],
        filler: type = MissingRegions,
        curved: bool = False,
    ):
        self.tangent, self.space, self.filler, self.curved = tangent, space, filler, curved
        self.kept_: list[tuple] = []

    def fit_transform(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Learn from some rows of a cohort, and represent them, [len(rows), F].

        Raises
        ------
        ValueError
            For covariances with NaN or infinity, with the people, and where they have no mean.
        """
        missing, self.kept_ = cohort.missing[rows], []
        given = FilledEdges(cohort.values, cohort.missing, rows) if self._in_blocks(cohort) else cohort.values[rows]
        self.filler_ = self.filler().fit(given, missing, cohort.pairs)
        del given
        edges = self.completed(cohort, rows)
        if self.tangent:
            _refuse_holes(edges, cohort.participants["participant_id"].to_numpy()[rows])
            self.space_ = self.space(missing).fit(edges, cohort.missing.shape[1])
            self.masked_ = self._masked().fit(cohort.values, cohort.missing, rows)
        return self._keep(cohort, rows, self._represent(edges, missing))

    def transform(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Represent other rows, [len(rows), F]; tangent vectors of the same rows are computed once."""
        for values, missing, known, features in self.kept_:
            if values is cohort.values and missing is cohort.missing and np.array_equal(known, rows):
                return features
        return self._keep(cohort, rows, self._represent(self.completed(cohort, rows), cohort.missing[rows]))

    def completed(self, cohort: Cohort, rows: np.ndarray) -> np.ndarray:
        """Edges or covariances of some rows without gaps, [len(rows), E]; of many people in a file: read in blocks."""
        if self._in_blocks(cohort):
            return FilledEdges(cohort.values, cohort.missing, rows, self.filler_)
        return self.filler_.transform(cohort.values[rows], cohort.missing[rows])

    def of_edges(self, edges: np.ndarray) -> np.ndarray:
        """Represent edges, single ones of which may be missing, or covariances, [n, E] -> [n, F]."""
        if self.tangent:
            return self.space_.transform(edges)
        return self.filler_.transform(edges, np.zeros((len(edges), self.filler_.pairs_.n), bool))

    def remember(self, cohort: Cohort, rows: np.ndarray) -> "Represented":
        """Show the training people again to what was restored: then they need no stand-ins (`MaskedRegression`)."""
        if self.tangent:
            self.masked_.fit(cohort.values, cohort.missing, rows)
            self._lend(cohort.values[rows], cohort.missing[rows])
            self.kept_ = []
        return self

    @property
    def nbytes(self) -> int:
        """Of the tangent vectors that are kept."""
        return sum(features.nbytes for *_, features in self.kept_)

    def forget(self) -> None:
        """Keep no tangent vectors: they are made again when they are asked for."""
        self.kept_ = []

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays."""
        arrays = self.filler_.state()
        return arrays | self.space_.state() | self.masked_.state() if self.tangent else arrays

    def load_state(self, arrays: dict[str, np.ndarray]) -> "Represented":
        """Restore from `state`."""
        self.filler_, self.kept_ = self.filler().load_state(arrays, self.tangent), []
        if self.tangent:
            self.space_ = self.space(None).load_state(arrays)
            self.masked_ = self._masked().load_state(arrays)
            self._lend(self.masked_.values_, np.zeros((len(self.masked_.rows_), self.filler_.pairs_.n), bool))
        return self

    def _lend(self, values: np.ndarray, missing: np.ndarray) -> None:
        if isinstance(self.filler_, Borrowed):
            self.filler_.remember(values, missing)

    def _represent(self, edges: np.ndarray, missing: np.ndarray) -> np.ndarray:
        if not self.tangent:
            return edges
        if isinstance(edges, np.ndarray):
            return self.masked_.transform(self.space_.transform(edges), missing, edges)
        features = OnDisk(edges.shape)
        for part in blocks(edges.shape):
            features.add(self._represent(edges[part], missing[part]))
        return features

    def _in_blocks(self, cohort: Cohort) -> bool:
        """Whether edges stay in their file until somebody reads some: those of people for whom memory has no room."""
        if len(cohort.values) <= MANY or isinstance(cohort.values, np.ndarray):
            return False
        return not self.tangent or (self.filler is MissingRegions and hasattr(self.space(None), "reads_blocks"))

    def _masked(self) -> MaskedRegression:
        return MaskedRegression(self.filler_, self.space_.transform, self.curved)

    def _keep(self, cohort: Cohort, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        if self.tangent and features.nbytes + self.nbytes <= KEPT:
            self.kept_.append((cohort.values, cohort.missing, np.array(rows), features))
        return features


def _refuse_holes(edges: np.ndarray, names: np.ndarray) -> None:
    """Refuse covariances [n, E] that are no numbers, naming the people [n]."""
    bad = names[np.concatenate([~np.isfinite(edges[part]).all(1) for part in blocks(edges.shape)])]
    if len(bad):
        raise ValueError(
            f"NaN or infinity in the covariances of {len(bad)} training subjects ({', '.join(bad[:5])}): leave them "
            "out, or mark the regions that they lack."
        )
