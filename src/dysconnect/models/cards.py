"""All models, one card each: how it is built, what it needs, its options with their limits, and its words.

Whoever must tell models apart reads the cards: what builds and refuses them, the rules of the configuration, the
report, the runs in MLflow. Classes are imported when a model is built: torch takes seconds to load.
"""

from collections.abc import Mapping

import numpy as np

from dysconnect.data.measures import MEASURES
from dysconnect.models.card import COUNT, DROPOUT, NAMES, PENALTIES, PREPARED, SHARE, SOFTENED, WEIGHT, Card

BESIDE = {  # a network: a linear model of all edges that is trained with it; what is fitted in closed form before it
    "linear": {"type": "boolean", "default": True},
    "start": {"enum": ["none", "ridge"], "default": "none"},
}
TRACE = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}  # of the low-rank weights
FIRST_LAYER = (  # what is said of a wide network that learns it
    ", the first layer following the gradients of the decision (Radhakrishnan et al. 2024) by a share of {learned:g}"
)
REGIONAL = " with {regional} of every region"
LOW_RANK = ", with {share:.0%} of the decision from weights of low rank (trace norm, Tomioka and Müller 2010)"
EDGES = ("correlations or covariances", "undirected edges")  # what networks need


def _by_default(limits: Mapping, value: object) -> dict:
    return {**limits, "default": value}


CONVOLUTION = {
    **BESIDE,
    "hidden": _by_default(COUNT, 32),
    "readout": _by_default(COUNT, 4),
    "dropout": _by_default(DROPOUT, 0.3),
}


def _common_tangent(options: Mapping, missing: np.ndarray | None):
    from dysconnect.models.softened import CommonTangent

    return CommonTangent(options["soften"], missing)


def _reduced_tangent(options: Mapping, missing: np.ndarray | None):
    from dysconnect.models.riemann import ReducedTangent, common_regions

    return ReducedTangent(options["components"], None if missing is None else common_regions(missing))


def _ridge():
    from dysconnect.models.dual import DualRidge

    return DualRidge


def _logistic():
    from dysconnect.models.dual import DualLogistic

    return DualLogistic


def _svm():
    from dysconnect.models.dual import DualSVM

    return DualSVM


def _elastic_net():
    from dysconnect.models.sparse import ElasticNet

    return ElasticNet


def _low_rank():
    from dysconnect.models.low_rank import LowRank

    return LowRank


def _wide():
    from dysconnect.models.wide import Wide

    return Wide


def _riemann():
    from dysconnect.models.riemann import FilteredMDM

    return lambda components: FilteredMDM()  # they are those of the space


def _gcn():
    from dysconnect.models.graph.gcn import GCN

    return GCN


def _gat():
    from dysconnect.models.graph.gat import GAT

    return GAT


def _gin():
    from dysconnect.models.graph.gin import GIN

    return GIN


def _sage():
    from dysconnect.models.graph.sage import GraphSAGE

    return GraphSAGE


def _brainnetcnn():
    from dysconnect.models.graph.brainnetcnn import BrainNetCNN

    return BrainNetCNN


def _bnt():
    from dysconnect.models.graph.bnt import BrainNetworkTransformer

    return BrainNetworkTransformer


def _ibgnn():
    from dysconnect.models.graph.ibgnn import IBGNN

    return IBGNN


CARDS = {
    card.name: card
    for card in (
        Card(
            name="ridge",
            kind="linear",
            load=_ridge,
            options={"penalties": PENALTIES, **SOFTENED, **PREPARED},
            sentence="ridge regression on {measure}, its penalty chosen inside the training fold by leave-one-out "
            "error (Golub et al. 1979), its probabilities from Platt's curve (Platt 1999)",
            papers=("Golub et al. 1979", "Platt 1999"),
            promise="weights",
        ),
        Card(
            name="logistic",
            kind="linear",
            load=_logistic,
            options={"penalties": PENALTIES, **SOFTENED, **PREPARED},
            sentence="L2-penalised logistic regression on {measure}, its penalty chosen inside the training fold by "
            "the leave-one-out error of the first Newton step (Golub et al. 1979)",
            papers=("Golub et al. 1979",),
        ),
        Card(
            name="svm",
            kind="linear",
            load=_svm,
            options={"penalties": PENALTIES, **SOFTENED, **PREPARED},
            sentence="linear support vector machine (Cortes and Vapnik 1995) on {measure}, its penalty chosen by the "
            "AUC of a split inside the training fold, its probabilities from Platt's curve (Platt 1999)",
            title="SVM",
            papers=("Cortes and Vapnik 1995", "Platt 1999"),
        ),
        Card(
            name="elastic_net",
            kind="linear",
            load=_elastic_net,
            options={
                "ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                "screened": COUNT,
                "steps": {"type": "integer", "minimum": 2},
                "shortest": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                **SOFTENED,
                **PREPARED,
            },
            sentence="elastic net (Zou and Hastie 2005) on {measure}, the {screened:,} connections that correlate most "
            "with the group screened, and its strength chosen, in splits inside the training fold",
            papers=("Zou and Hastie 2005",),
        ),
        Card(
            name="low_rank",
            kind="linear",
            load=_low_rank,
            options={
                "trace": TRACE,
                "power": {"type": "number", "minimum": 0.5, "maximum": 3},
                "share": SHARE,
                "penalties": PENALTIES,
                **SOFTENED,
                **PREPARED,
            },
            sentence="weights of low rank (trace norm, Tomioka and Müller 2010) added to those of ridge regression on "
            "{measure}, the ridge penalty chosen inside the training fold by leave-one-out error (Golub et al. 1979)",
            needs=("covariances",),
            papers=("Tomioka and Müller 2010", "Golub et al. 1979"),
        ),
        Card(
            name="wide",
            kind="wide",
            load=_wide,
            options={
                "depth": {"type": "integer", "minimum": 0},
                "learned": SHARE,
                "share": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "trace": TRACE,
                "penalties": PENALTIES,
                **SOFTENED,
                **PREPARED,
            },
            sentence="a graph network of infinite width and depth {depth} (Cho and Saul 2009; Du et al. 2019) that "
            f"reads every region's profile{FIRST_LAYER}{LOW_RANK}, on {{measure}}, its penalty chosen inside the "
            "training fold by leave-one-out error (Golub et al. 1979), its probabilities from Platt's curve (Platt "
            "1999)",
            clauses={"learned": FIRST_LAYER, "share": LOW_RANK},
            needs=("covariances",),
            papers=(
                "Cho and Saul 2009",
                "Du et al. 2019",
                "Radhakrishnan et al. 2024",
                "Tomioka and Müller 2010",
                "Golub et al. 1979",
                "Platt 1999",
            ),
            space=_common_tangent,
        ),
        Card(
            name="riemann",
            kind="linear",
            load=_riemann,
            options={"components": COUNT, **PREPARED},
            sentence="minimum distance to Riemannian means after a geodesic filter (Barachant et al. 2010) on "
            "{components} principal components of the covariances{prepared}",
            needs=("covariances",),
            papers=("Barachant et al. 2010",),
            space=_reduced_tangent,
        ),
        Card(
            name="floor",
            kind="floor",
            load=_logistic,
            options={"penalties": PENALTIES, "covariates": NAMES, "regional": {"type": "boolean"}},
            sentence=f"logistic regression on {{covariates}}{REGIONAL} alone",
            clauses={"regional": REGIONAL},
            needs=("covariates",),
        ),
        Card(
            name="gcn",
            kind="graph",
            load=_gcn,
            options=CONVOLUTION,
            sentence="graph convolutional network (Kipf and Welling 2017)",
            needs=(*EDGES, "graph"),
            title="GCN",
            papers=("Kipf and Welling 2017",),
            promise="attribution",
            fresh=("read_out",),
            sparse=True,
        ),
        Card(
            name="gat",
            kind="graph",
            load=_gat,
            options={**CONVOLUTION, "heads": _by_default(COUNT, 4)},
            sentence="graph attention network (Veličković et al. 2018)",
            needs=(*EDGES, "graph"),
            title="GAT",
            papers=("Veličković et al. 2018",),
            promise="attribution",
            fresh=("read_out",),
            sparse=True,
        ),
        Card(
            name="gin",
            kind="graph",
            load=_gin,
            options=CONVOLUTION,
            sentence="graph isomorphism network (Xu et al. 2019)",
            needs=(*EDGES, "graph"),
            title="GIN",
            papers=("Xu et al. 2019",),
            promise="attribution",
            fresh=("read_out",),
            sparse=True,
        ),
        Card(
            name="sage",
            kind="graph",
            load=_sage,
            options=CONVOLUTION,
            sentence="GraphSAGE (Hamilton et al. 2017)",
            needs=(*EDGES, "graph"),
            title="GraphSAGE",
            papers=("Hamilton et al. 2017",),
            promise="attribution",
            fresh=("read_out",),
            sparse=True,
        ),
        Card(
            name="brainnetcnn",
            kind="graph",
            load=_brainnetcnn,
            options={
                **BESIDE,
                "layers": {"type": "integer", "minimum": 1, "maximum": 2, "default": 1},
                "edge_channels": _by_default(COUNT, 16),
                "node_channels": _by_default(COUNT, 32),
                "graph_channels": _by_default(COUNT, 32),
                "dropout": _by_default(DROPOUT, 0.3),
            },
            sentence="BrainNetCNN (Kawahara et al. 2017)",
            needs=EDGES,
            title="BrainNetCNN",
            papers=("Kawahara et al. 2017",),
            promise="attribution",
            fresh=("to_graph", "norm", "classify"),
        ),
        Card(
            name="bnt",
            kind="graph",
            load=_bnt,
            options={
                **BESIDE,
                "width": _by_default(COUNT, 128),
                "heads": _by_default(COUNT, 4),
                "layers": _by_default(COUNT, 1),
                "feedforward": _by_default(COUNT, 128),
                "clusters": _by_default(COUNT, 100),
                "dropout": _by_default(DROPOUT, 0.1),
                "clustering": _by_default(WEIGHT, 1.0),
            },
            sentence="Brain Network Transformer (Kan et al. 2022)",
            needs=EDGES,
            title="BNT",
            papers=("Kan et al. 2022",),
            promise="attribution",
            fresh=("centres", "reduce", "norm", "classify"),
        ),
        Card(
            name="ibgnn",
            kind="graph",
            load=_ibgnn,
            options={**CONVOLUTION, "sparsity": _by_default(WEIGHT, 0.1), "entropy": _by_default(WEIGHT, 0.1)},
            sentence="graph network behind one edge mask shared by all people, after IBGNN (Cui et al. 2022)",
            needs=(*EDGES, "graph"),
            title="IBGNN",
            papers=("Cui et al. 2022",),
            promise="attribution",
            fresh=("read_out",),
        ),
    )
}


def card_of(name: str) -> Card:
    """Find the card of a model.

    Raises
    ------
    ValueError
        When there is none of that name; it lists those that there are.
    """
    if name not in CARDS:
        raise ValueError(f"model.name={name!r} is unknown; known: {', '.join(CARDS)}.")
    return CARDS[name]


def of_kind(kind: str) -> tuple[str, ...]:
    """Names of the models of a kind."""
    return tuple(name for name, card in CARDS.items() if card.kind == kind)


def is_graph(name: str) -> bool:
    """Whether a model is a graph network."""
    return card_of(name).kind == "graph"


def label(experiment: str) -> str:
    """Name of an experiment for people: ``tangent_svm`` is ``tangent SVM``."""
    spelled = {row.name: row.title for row in (*CARDS.values(), *MEASURES.values()) if row.title}
    spelled |= {"combat": "ComBat", "regional": "with regions"}
    return " ".join(spelled.get(word, word) for word in experiment.split("_"))
