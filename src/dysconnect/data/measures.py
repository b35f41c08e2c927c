"""What a connection is: the measures, how each is computed, stored and put into words. One row is one measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from dysconnect.data.conditions import task_change, within_task
from dysconnect.data.overtime import lagged_coupling, refuse_few_pairs, refuse_few_windows, variability_excess
from dysconnect.dynamics.fisher import fisher_z

ESTIMATORS = ("empirical", "ledoit_wolf")  # of covariances
KINDS = ("correlation", "partial correlation", "covariance")  # as nilearn calls them
UNITS = {"fisher": "Fisher z", "log": "log(1 + count)", "none": "connectivity"}  # of what is stored, by transform


@dataclass(frozen=True)
class Measure:
    """A measure of connectivity.

    Attributes
    ----------
    name : str
        As in ``connectivity.measure``.
    sentence : str
        For the methods: what models were given. Papers are cited by their short names.
    kind : str
        What it is of the covariance of a scan, as nilearn calls it; empty where `compute` makes it.
    compute : callable, optional
        Series [T, N] without constant columns to a matrix [N, N]. It imports scipy alone, and that when called: models
        read this table on machines that have little else, and whoever plans a run at once.
    timed : bool
        Whether `compute` takes the `Timing` of the volumes beside them.
    refuse : callable, optional
        Of a timed measure: takes timing and number of regions of a scan, and raises ValueError where it has too little
        for this measure, with what to do after a semicolon. Whoever has is left out before anything is computed.
    regional : tuple of str
        What it says of every region as well, as a second array [R, N]: a difference in them may look like one of
        connections, so that the test is made again beside the values of both ends. Then a third may say something of
        the scan as a whole, numbers by name: their means over people go with the connectomes.
    adjusted : bool
        Whether only that is tested which these values leave of a connection.
    everywhere : bool
        Whether the values of all regions are covariates of every test: a measure that looks at all regions for each
        connection changes with any of them.
    exploratory : str
        Why what is found in it is exploratory, as the end of a sentence: then the verdict of a report names no
        connection. Empty where it is not.
    asks : dict
        Values that keys of `denoise` must have for it.
    stored : str
        Name in the file of connectomes; several measures may be learned from one.
    estimator : {"empirical", "ledoit_wolf", None}
        Estimator of the covariance where nobody chooses; None: it needs no covariance.
    given : bool
        Whether it comes as one matrix a person, not from series: of streamlines, or of other people's tools.
    transform : {"fisher", "log", "none"}
        Of a correlation, Fisher's z is stored; of a count, log(1 + count).
    unit : str
        What is stored of a connection, for the axis of a figure; by default what `transform` says.
    diagonal : bool
        Whether the diagonal is stored.
    directed : bool
        Whether an edge from a to b is another than one from b to a.
    zero : bool
        Whether a connection that is zero in everybody was measured; where not, zero is nothing.
    gaps : bool
        Whether a person may lack a single connection, which is NaN then, as the FA where no streamline runs.
    limits : tuple of two floats
        Between which values are that are given.
    tangent : bool
        Whether features are learned from what is stored, inside training folds: then they are no single edges.
    title : str
        Spelling in the name of an experiment, where it differs from `name`.
    papers : tuple of str
        Those that `sentence` cites.
    """

    name: str
    sentence: str
    kind: str = ""
    compute: Callable | None = None
    timed: bool = False
    refuse: Callable | None = None
    regional: tuple[str, ...] = ()
    adjusted: bool = False
    everywhere: bool = False
    exploratory: str = ""
    asks: Mapping[str, object] = field(default_factory=dict)
    stored: str = ""
    estimator: str | None = None
    given: bool = False
    transform: str = "fisher"
    unit: str = ""
    diagonal: bool = False
    directed: bool = False
    zero: bool = False
    gaps: bool = False
    limits: tuple[float, float] = (-np.inf, np.inf)
    tangent: bool = False
    title: str = ""
    papers: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "stored", self.stored or self.name)
        object.__setattr__(self, "unit", self.unit or UNITS.get(self.transform, ""))
        if self.kind not in ("", *KINDS) or bool(self.kind) + (self.compute is not None) + self.given != 1:
            raise ValueError(
                f"measure {self.name}: `compute` makes it, or a covariance: `kind` is {' or '.join(KINDS)}; or `given`."
            )
        if (self.estimator in ESTIMATORS) != bool(self.kind):
            raise ValueError(f"measure {self.name}: `estimator` is {' or '.join(ESTIMATORS)} with `kind`, else None.")
        if self.transform not in UNITS:
            raise ValueError(f"measure {self.name}: `transform` is {' or '.join(UNITS)}, not {self.transform!r}.")

    def transformed(self, values: np.ndarray) -> np.ndarray:
        """What is stored of the entries of a matrix: Fisher's z, a logarithm, or the entries as they are."""
        if self.transform == "log":
            return np.log1p(values)
        return fisher_z(values) if self.transform == "fisher" else values


MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            name="correlation",
            sentence="the Fisher z of Pearson correlations",
            kind="correlation",
            estimator="empirical",
        ),
        Measure(
            name="partial",
            sentence="the Fisher z of partial correlations",
            kind="partial correlation",
            estimator="ledoit_wolf",
        ),
        Measure(
            name="tangent",
            sentence="tangent space at the geometric mean of the training subjects' covariances "
            "(Varoquaux et al. 2010)",
            kind="covariance",
            stored="covariance",
            estimator="ledoit_wolf",
            transform="none",
            diagonal=True,
            tangent=True,
            papers=("Varoquaux et al. 2010",),
        ),
        Measure(
            name="task",
            sentence="the Fisher z of correlations in the volumes of the task, of what no response to it explains",
            compute=within_task,
            timed=True,
            regional=("activation", "noise"),
            asks={"task": True, "low_pass": None},
        ),
        Measure(
            name="task_change",
            sentence="the Fisher z of correlations in the volumes of the task less that in those of rest in the same "
            "scan, of what no response to the task explains",
            compute=task_change,
            timed=True,
            regional=("activation", "noise"),
            transform="none",
            asks={"task": True, "low_pass": None},
        ),
        Measure(
            name="lagged",
            sentence="the coupling of every region to every other one volume later, by ridge regression on all regions",
            compute=lagged_coupling,
            timed=True,
            refuse=refuse_few_pairs,
            regional=("delay", "noise"),
            everywhere=True,
            exploratory="scans this short give the direction of a connection with many errors, and the blood answers "
            "later in some regions than in others, which looks like a direction",
            transform="none",
            directed=True,
            asks={"low_pass": None},
        ),
        Measure(
            name="variability",
            sentence="the variance in time of windowed Fisher z less that of the person's own phase-randomised series",
            compute=variability_excess,
            timed=True,
            refuse=refuse_few_windows,
            regional=("delay", "noise"),
            adjusted=True,
            exploratory="what changes within minutes is mostly chance, and motion, noise and drowsiness change "
            "connections too",
            transform="none",
            unit="excess variance of Fisher z",
            asks={"low_pass": None},
        ),
        Measure(
            name="fa",
            sentence="the mean fractional anisotropy along the streamlines that join two regions; where none do, the "
            "connection was not measured",
            given=True,
            transform="none",
            unit="fractional anisotropy",
            zero=True,
            gaps=True,
            limits=(0, 1),
        ),
        Measure(
            name="count",
            sentence="the logarithm of one and the number of streamlines that join two regions, divided by the "
            "regions' volume and the streamlines' length where these are known",
            given=True,
            transform="log",
            zero=True,
            limits=(0, np.inf),
        ),
        Measure(
            name="binary",
            sentence="whether two regions are joined, as 0 and 1",
            given=True,
            transform="none",
            unit="joined (0 or 1)",
            zero=True,
            limits=(0, 1),
        ),
        Measure(
            name="length",
            sentence="the mean length of the streamlines that join two regions; where none do, the connection was not "
            "measured",
            given=True,
            transform="none",
            unit="mm",
            zero=True,
            gaps=True,
            limits=(0, np.inf),
        ),
    )
}
STORED = {name: measure.stored for name, measure in MEASURES.items()}


def measure_of(name: str) -> Measure:
    """Find a measure by its name, or what is in a file of connectomes by the name under which it is stored.

    Raises
    ------
    ValueError
        When there is none; it lists those that there are.
    """
    named = [measure for measure in MEASURES.values() if name in (measure.name, measure.stored)]
    if not named:
        raise ValueError(f"no measure is called {name!r}; there are {', '.join(MEASURES)}.")
    return named[0]
