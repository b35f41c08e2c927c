"""Graph networks on dense connectomes: ``forward(x [B, N, F], graph [B, N, N]) -> logits [B]``.

All follow one convention. With `noise` [B] they drop channels (training), without it they do not (evaluation).
The attribute `auxiliary` holds what the last call adds to the loss of each graph, [B] or a number.
"""

from torch import nn

from dysconnect.models.graph.bnt import BrainNetworkTransformer
from dysconnect.models.graph.brainnetcnn import BrainNetCNN
from dysconnect.models.graph.gat import GAT
from dysconnect.models.graph.gcn import GCN
from dysconnect.models.graph.gin import GIN
from dysconnect.models.graph.ibgnn import IBGNN
from dysconnect.models.graph.layers import LinearPath
from dysconnect.models.graph.sage import GraphSAGE

NETWORKS = {
    "gcn": GCN,
    "gat": GAT,
    "gin": GIN,
    "sage": GraphSAGE,
    "brainnetcnn": BrainNetCNN,
    "bnt": BrainNetworkTransformer,
    "ibgnn": IBGNN,
}


def build_network(spec: dict, n_nodes: int) -> nn.Module:
    """Build the network that ``spec["name"]`` names for N regions; the other entries are its options.

    With ``spec["linear"]`` it stands beside a linear model of all edges, see `LinearPath`.
    """
    if spec["name"] not in NETWORKS:
        raise ValueError(f"model={spec['name']!r} is unknown; known graph networks: {', '.join(NETWORKS)}.")
    options = {key: value for key, value in spec.items() if key not in ("name", "linear")}
    try:
        network = NETWORKS[spec["name"]](n_nodes, **options)
    except TypeError as error:
        raise ValueError(f"options of model={spec['name']}: {error}") from error
    return LinearPath(network, n_nodes) if spec.get("linear") else network
