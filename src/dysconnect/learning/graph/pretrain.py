"""Weights to start from, learned from people without labels: a network guesses edges that it cannot see.

Masked autoencoding, of the features of nodes in GraphMAE (Hou et al. 2022, arXiv:2205.10803) and of functional
connectivity over time in Choi et al. 2023 (arXiv:2312.01994), here of the edges of whole connectomes. Meta-matching
(He et al. 2022, doi:10.1038/s41593-022-01059-9) transfers from other phenotypes instead; here no label is seen.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dysconnect.data.edges import MissingRegions
from dysconnect.data.measures import MEASURES
from dysconnect.data.participants import scan_groups
from dysconnect.learning.graph.device import PRECISIONS, choose_device
from dysconnect.learning.graph.fit import Fitted, Jobs, Training, train_stack
from dysconnect.learning.graph.run import fingerprint, stored
from dysconnect.learning.graph.stack import Weights, noise_of
from dysconnect.learning.graph.view import Layout, View, learn_scale, uses_graph
from dysconnect.learning.represented import FilledEdges
from dysconnect.models.cards import CARDS
from dysconnect.models.graph.bnt import BrainNetworkTransformer
from dysconnect.models.graph.brainnetcnn import BrainNetCNN
from dysconnect.models.graph.layers import Dropout
from dysconnect.models.graph.views import edge_weights, unfold
from dysconnect.models.networks import build_network

WATCHED = 0.2  # share of the people who decide when to stop
READ_OUT = {name: card.fresh for name, card in CARDS.items() if card.fresh}  # modules that are not pretrained


@dataclass(frozen=True)
class Pretrained:
    """What is learned from people without labels.

    Attributes
    ----------
    weights : dict of str to Tensor
        Of everything up to the embeddings of the regions.
    history : list of dict
        `epoch`, `train_loss`, `val_loss` (mean square error of hidden edges, in standard deviations of each) and
        `val_explained` (the share of their variance that is guessed) of every epoch.
    people : int
    """

    weights: Weights
    history: list[dict]
    people: int


def pretrain(cohort, sections: dict, seed: int, store: Path | None = None) -> Pretrained:
    """Learn the weights that networks start from, once for an architecture and a seed, for all folds and permutations.

    That is no leakage: neither labels nor any of those who are classified are seen, if `cohort` has none of them (see
    `unlabelled_cohort`). The edges are standardised with the mean and spread of these people; fine-tuning uses those of
    its training subjects. A fifth of the people is watched, and says when to stop.

    Parameters
    ----------
    cohort : Cohort
        Any people; their labels are not looked at.
    sections : dict
        `model`, `graph` and `training`, whose `pretrain` gives `mask`, the share of edges hidden, `lr` and (at most)
        `epochs`.
    seed : int
        Of first weights, dropout, hidden edges, order, and the people who decide when to stop.
    store : path, optional
        Folder where the result is kept and looked for, should all be interrupted.

    Raises
    ------
    ValueError
        For a network whose regions have no embeddings, in the tangent space, or for fewer than four people.
    """
    if MEASURES[sections["measure"]].tangent:
        raise ValueError(
            "training.pretrain hides and guesses edges, and the tangent space has none. Choose "
            "connectivity=correlation, or training.pretrain.connectomes=null."
        )
    if sections["model"]["name"] not in READ_OUT:
        raise ValueError(
            f"model={sections['model']['name']} cannot be pretrained: its regions have no embeddings of which edges "
            f"could be guessed. Choose one of {', '.join(READ_OUT)}, or training.pretrain.connectomes=null."
        )
    spec = {**sections["training"], **sections["training"]["pretrain"], "validation": WATCHED}
    rows = np.arange(len(cohort.missing))
    filler = MissingRegions().fit(cohort.values, cohort.missing, cohort.pairs)
    edges = FilledEdges(cohort.values, cohort.missing, rows, filler)
    view = MaskedView(edges, sections, choose_device(spec["device"]))
    jobs = one_job(scan_groups(cohort.participants), spec, seed)
    build = partial(MaskedEdges, sections["model"], cohort.missing.shape[1])
    train = partial(train_stack, training=Pretraining)
    if store is not None:
        train = partial(stored, Path(store), fingerprint(edges, sections, code=__file__), train=train)
    print(f"pretraining {sections['model']['name']} on {len(rows):,} people, without labels", flush=True)
    return _pretrained(train(view, jobs, build, spec), sections["model"]["name"], len(rows))


def region_embeddings(network: nn.Module, x: Tensor, graph: Tensor | None, noise: Tensor | None = None) -> Tensor:
    """What a network knows of every region before it puts the regions together, [B, N, H]."""
    seen = []
    if isinstance(network, BrainNetworkTransformer):
        handle = network.attention[-1].register_forward_hook(lambda place, given, made: seen.append(made))
    else:
        place = network.drop[0] if isinstance(network, BrainNetCNN) else network.read_out
        handle = place.register_forward_pre_hook(lambda place, given: seen.append(given[0]))
    with handle:
        network(x, graph, noise)
    network.auxiliary = 0.0  # serves the read-out
    return seen[0]


class MaskedEdges(nn.Module):
    """A network whose embeddings of two regions say how strong their edge is: ``z_ij = h_i^T (M + M^T) h_j / H + b``.

    Parameters
    ----------
    spec : dict
        Section `model`.
    n_nodes : int
    """

    auxiliary = 0.0

    def __init__(self, spec: dict, n_nodes: int):
        super().__init__()
        self.network = build_network({**spec, "linear": False}, n_nodes)
        with torch.no_grad():
            width = region_embeddings(self.network, *torch.zeros(2, 1, n_nodes, n_nodes)).shape[-1]
        self.mix = nn.Parameter(torch.randn(width, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, graph: Tensor | None, noise: Tensor | None = None) -> Tensor:
        """Guessed standardised edges, [B, N, N], symmetric."""
        h = region_embeddings(self.network, x, graph, noise)
        return h @ (self.mix + self.mix.T) @ h.transpose(1, 2) / h.shape[-1] + self.bias


class MaskedView(View):
    """People of whose edges a share is hidden, in the features and in the graph.

    Parameters
    ----------
    edges : FilledEdges, [n, E]
    sections : dict
        `model`, `graph` and `training`.
    device : torch.device
    """

    def __init__(self, edges: FilledEdges, sections: dict, device: torch.device):
        precision = PRECISIONS[sections["training"]["precision"]]
        super().__init__(edges, *learn_scale(edges), Layout(edges.missing.shape[1]), device, precision)
        self.present = torch.as_tensor(~edges.missing[edges.rows], device=device).to(precision)
        self.hide = Dropout(sections["training"]["pretrain"]["mask"], 0)  # networks count theirs from 1
        self.share = sections["graph"]["density"] * (1 - self.hide.p) if uses_graph(sections) else None

    def masked(self, rows: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Features, adjacency, the truth, and which of it is hidden and was measured, [B, N, N] each; noise [B].

        A hidden edge is zero, which is its mean, and in no graph; the graph has the strongest of those that are seen,
        so that not even a threshold depends on what is hidden.
        """
        truth = self.held[0][rows]
        hidden = self.hide(torch.ones_like(truth), noise) == 0
        matrix = lambda numbers: unfold(numbers, self.layout.n_nodes)
        graph = None
        if self.share is not None:
            z = (truth * self.scale + self.mean).masked_fill(hidden, -torch.inf)
            graph = matrix(edge_weights(z, self.share))
        present = self.present[rows]
        asked = matrix(hidden.to(truth.dtype)) * present[:, :, None] * present[:, None]
        return matrix(truth.masked_fill(hidden, 0)), graph, matrix(truth), asked


class Pretraining(Training):
    """State of a network in pretraining: the loss of a person is the mean square error of the hidden edges."""

    def losses(self, rows: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss on every person, and what guessing the mean would lose, [K, B] each.

        In evaluation the same edges of a person are hidden every time. All models see the same ones.
        """
        hiding = noise_of(self.keys, 0, rows) if noise is None else noise
        x, graph, truth, asked = self.view.masked(rows, hiding[0])
        with self._precision():
            guessed, _ = self.stack(x, graph, noise)
        mean = lambda square: (square * asked).sum((-1, -2)) / asked.sum((-1, -2)).clamp(min=1)
        loss = mean((guessed - truth).square())
        return loss, mean(truth.square()).expand_as(loss)

    @torch.no_grad()
    def watch(self) -> tuple[Tensor, Tensor]:
        """Loss on the watched people, and the share of their hidden edges' variance that is guessed, [K] each."""
        parts = [self.losses(rows, None) for rows in self.watching.split(2 * self.spec["batch_size"])]
        loss, variance = (torch.cat(part, dim=1).mean(1) for part in zip(*parts))
        return loss, 1 - loss / variance


def one_job(groups: np.ndarray, spec: dict, seed: int) -> Jobs:
    """One model; copies of a scan are fitted on or watched together."""
    names = np.unique(groups)
    n_watched = max(1, round(spec["validation"] * len(names)))
    if len(names) < 4:
        raise ValueError(f"{len(names)} people to pretrain on; give four or more in training.pretrain.groups.")
    chosen = np.random.default_rng([seed, 5]).permutation(names)[:n_watched]
    column = np.zeros((len(groups), 1))
    one = {"seeds": [seed], "lr": [spec["lr"]], "weight_decay": [spec["weight_decay"]], "epochs": [spec["epochs"]]}
    one = {name: np.array(value) for name, value in one.items()}
    watched = np.isin(groups, chosen)[:, None]
    return Jobs(labels=column, watched=watched, **one, offset=column, balanced=True, shuffle=seed)


def _pretrained(fitted: Fitted, name: str, people: int) -> Pretrained:
    if not np.isfinite(fitted.best_loss[0]):
        raise ValueError("the loss of pretraining was never finite; lower training.pretrain.lr.")
    network = {key.removeprefix("network."): value[0] for key, value in fitted.weights.items() if "network." in key}
    weights = {key: value for key, value in network.items() if key.split(".")[0] not in READ_OUT[name]}
    columns = ("train_loss", "val_loss", "val_explained")
    history = [{"epoch": epoch, **dict(zip(columns, row))} for epoch, row in enumerate(fitted.curves[:, 0].tolist())]
    print(
        f"pretraining: {len(history)} epochs, {history[fitted.best_epoch[0]]['val_explained']:.1%} of the variance of "
        "hidden edges guessed in people who were only watched",
        flush=True,
    )
    return Pretrained(weights, history, people)
