"""What is said of a model: how it is built, what it needs, its options with their limits, and its words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from string import Formatter

import numpy as np

from dysconnect.data.measures import MEASURES, Measure

# limits of options, as JSON schema
COUNT = {"type": "integer", "minimum": 1}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
NAMES = {"type": "array", "items": {"type": "string"}}
PENALTIES = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 1}
DROPOUT = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
WEIGHT = {"type": "number", "minimum": 0}
KINDS = ("floor", "linear", "wide", "graph")
NEEDS = {
    "covariates": "age, sex and the like",
    "covariances": "a measure of which a tangent space is made",
    "edges": "a measure that is a number an edge",
    "correlations or covariances": "edges that are correlations, or covariances of which a tangent space is made",
    "undirected edges": "the same in both directions",
    "edges without a diagonal": "no number for a region and itself",
    "graph": "the strongest edges",
}
ALWAYS = ("edges without a diagonal",)  # what saved models, predictions and targets rest on
FILLED = ("measure", "prepared", "covariates")  # what a sentence may name beside the options
PREPARED = {"harmonise": {"enum": ["none", "combat"]}, "deconfound": NAMES}  # done before the classifier
DEGREE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
SOFTENED = {"soften": {"type": "array", "items": DEGREE, "minItems": 1}}  # of the tangent space


def _tangent_space(options: Mapping, missing: np.ndarray | None):
    from dysconnect.models.softened import SoftenedTangent
    from dysconnect.models.tangent import TangentSpace

    degrees = options.get("soften", [0])
    return SoftenedTangent(degrees) if any(degrees) else TangentSpace()


@dataclass(frozen=True)
class Card:
    """A model.

    Attributes
    ----------
    name : str
        As in ``model.name``, and in the names of its files.
    kind : {"floor", "linear", "wide", "graph"}
        `wide` are networks of infinite width, which are solved as linear models are.
    load : callable
        Imports what builds the model and returns it: a class whose arguments are the options; those of a network come
        after the number of regions.
    options : mapping of str to mapping
        JSON schema of every option, all of which the configuration must give; of a network also its default.
    sentence : str
        For the methods: what was fitted to what. ``{measure}`` stands for the connections, with what was done to them,
        ``{prepared}`` for the latter alone, and any option for its value. Papers are cited by their short names.
    needs : tuple of str
        Of `NEEDS`. Whatever its card says, only the floor can do without `ALWAYS`.
    title : str
        Spelling in the name of an experiment, where it differs from `name`.
    papers : tuple of str
        Those that `sentence` cites.
    promise : {"", "weights", "attribution"}
        Of which map of the model family-wise p are given: they hold whether or not the model is right.
    space : callable
        Options and missing regions [n, N] of the training people to the tangent space, not yet fitted.
    fresh : tuple of str
        Modules of a network behind the embeddings of the regions, which pretraining leaves as they are.
    sparse : bool
        Whether a network has a twin on ``edge_index``, which PyTorch Geometric explains.
    clauses : mapping of str to str
        Parts of `sentence` that hold only where an option is above zero, by the option.
    """

    name: str
    kind: str
    load: Callable[[], Callable]
    options: Mapping[str, Mapping]
    sentence: str
    needs: tuple[str, ...] = ()
    title: str = ""
    papers: tuple[str, ...] = ()
    promise: str = ""
    space: Callable = field(default=_tangent_space, repr=False)
    fresh: tuple[str, ...] = ()
    sparse: bool = False
    clauses: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        words = {name for _, name, _, _ in Formatter().parse(self.sentence) if name is not None}
        wrong = [f"kind={self.kind!r}"] if self.kind not in KINDS else []
        wrong += [f"needs {need!r}" for need in self.needs if need not in NEEDS]
        wrong += [f"{{{name}}} in its sentence" for name in sorted(words - {*self.options, *FILLED})]
        if wrong:
            raise ValueError(f"card of model {self.name}: nobody knows {', '.join(wrong)}.")

    def lacks(self, measure: Measure) -> str:
        """Say what the model needs and a measure has not; empty where they go together."""
        there = {
            "covariances": measure.tangent,
            "edges": not measure.tangent,
            "correlations or covariances": measure.transform == "fisher" or measure.tangent,
            "undirected edges": not measure.directed,
            "edges without a diagonal": measure.tangent or not measure.diagonal,
        }
        needs = self.needs if self.kind == "floor" else (*self.needs, *ALWAYS)
        return next((need for need in needs if not there.get(need, True)), "")

    def sentence_for(self, options: Mapping) -> str:
        """`sentence` without the clauses that do not hold for these options, yet to be filled in."""
        text = self.sentence
        for option, clause in self.clauses.items():
            text = text if options.get(option) else text.replace(clause, "")
        return text

    def suited(self) -> list[str]:
        """Names of the measures that it can be given."""
        return [name for name, measure in MEASURES.items() if not self.lacks(measure)]

    def defaults(self) -> dict:
        """Options that have a default."""
        return {name: limits["default"] for name, limits in self.options.items() if "default" in limits}
