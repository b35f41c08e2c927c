"""A graph network from the section `model` of the configuration, as its card says."""

from torch import nn

from dysconnect.models.cards import CARDS, of_kind
from dysconnect.models.graph.layers import LinearPath

AROUND = ("name", "linear", "start")  # entries of a section `model` that are no options of the network itself


def build_network(spec: dict, n_nodes: int) -> nn.Module:
    """Build the network that ``spec["name"]`` names for N regions; the other entries are its options.

    With ``spec["linear"]`` it stands beside a linear model of all edges, see `LinearPath`. What it starts from
    (``spec["start"]``) is no part of it.
    """
    if spec["name"] not in of_kind("graph"):
        raise ValueError(f"model={spec['name']!r} is unknown; known graph networks: {', '.join(of_kind('graph'))}.")
    options = {key: value for key, value in spec.items() if key not in AROUND}
    try:
        network = CARDS[spec["name"]].load()(n_nodes, **options)
    except TypeError as error:
        raise ValueError(f"options of model={spec['name']}: {error}") from error
    return LinearPath(network, n_nodes) if spec.get("linear") else network
