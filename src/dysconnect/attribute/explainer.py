"""PyTorch Geometric's GNNExplainer on the sparse view of a trained network."""

import numpy as np
import torch

from dysconnect.data.edges import Pairs
from dysconnect.learning.graph.run import Networks
from dysconnect.models.graph.gat import SparseGAT
from dysconnect.models.graph.gcn import SparseGCN
from dysconnect.models.graph.gin import SparseGIN
from dysconnect.models.graph.sage import SparseGraphSAGE
from dysconnect.models.graph.views import to_batch
from dysconnect.models.networks import AROUND, build_network

SPARSE = {"gcn": SparseGCN, "gat": SparseGAT, "gin": SparseGIN, "sage": SparseGraphSAGE}


def explain(networks: Networks, edges: np.ndarray, epochs: int = 50, seed: int = 0) -> np.ndarray:
    """Mask of every person's graph that keeps the decision of the first network, averaged over people, [E].

    Only edges of a person's graph can be masked, so only these score; what stands beside the network (`LinearPath`),
    and what edges do as features, is not explained. The mask is optimised from random numbers: other seeds give
    other masks, and its stability has to be looked at.

    Parameters
    ----------
    networks : Networks
        Of a model that has a sparse twin: gcn, gat, gin, sage.
    edges : array, [n, E]
        Fisher z of held-out people.
    epochs, seed : int

    References
    ----------
    Ying et al. (2019) GNNExplainer, arXiv:1903.03894.
    """
    from torch_geometric.explain import Explainer, GNNExplainer

    model = sparse_twin(networks)
    z = torch.as_tensor(np.asarray(edges, np.float32))
    x, graphs = (numbers.cpu() for numbers in networks.view().see(z.to(networks.view().device)))
    config = {"mode": "binary_classification", "task_level": "graph", "return_type": "raw"}
    explainer = Explainer(
        model, GNNExplainer(epochs=epochs), explanation_type="model", edge_mask_type="object", model_config=config
    )
    total = torch.zeros(networks.n_nodes, networks.n_nodes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for person in range(len(z)):
            one = to_batch(x[person : person + 1], graphs[person : person + 1])
            mask = explainer(one.x, one.edge_index, edge_weight=one.edge_attr).edge_mask.detach()
            total[one.edge_index[0], one.edge_index[1]] += mask / len(z)
    return Pairs(networks.n_nodes).edges(((total + total.T) / 2).numpy())


def sparse_twin(networks: Networks) -> torch.nn.Module:
    """The first network on `edge_index`, without what stands beside it."""
    spec = networks.sections["model"]
    if spec["name"] not in SPARSE:
        raise ValueError(f"model={spec['name']} has no sparse twin to explain; those have: {', '.join(SPARSE)}.")
    dense = build_network(spec, networks.n_nodes)
    dense.load_state_dict({name: value[0] for name, value in networks.fitted.weights.items()})
    options = {key: value for key, value in spec.items() if key not in AROUND}
    return SPARSE[spec["name"]](networks.n_nodes, **options).load_dense(dense.network if spec.get("linear") else dense)
