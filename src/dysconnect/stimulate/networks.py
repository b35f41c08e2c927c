"""The same for graph networks: edits are made, and the networks asked again; the least edit is searched for."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dysconnect.data.cohort import Cohort
from dysconnect.data.measures import MEASURES
from dysconnect.learning.estimators import build
from dysconnect.learning.graph.run import Networks
from dysconnect.learning.seeds import fold_seeds
from dysconnect.learning.splits import fold_rows, scored_folds
from dysconnect.progress import track
from dysconnect.stimulate.folds import Effects, Fold, expected_control
from dysconnect.stimulate.targets import Targets

TOGETHER = 64  # people that a network sees at once
PATH = 8  # points between the observed and the normal connectome at which gradients are taken
STEPS = 50  # of the search
STRIDE = 0.25  # spreads that an edge moves in a step, at most
SHARE = 0.25  # of a target's edges that an edit may change
PERCENTILES = (5, 95)  # of the controls, beyond which no edge is edited


class NetworkDecision:
    """One trained network as a function of Fisher z edges that can be differentiated; its logit needs no curve."""

    slope_, offset_ = 1.0, 0.0

    def __init__(self, networks: Networks):
        self.networks, self.view, (_, self.stack) = networks, networks.view(), next(networks.stacks())
        self.device, self.gamma = self.view.device, float(networks.gamma[0])
        self.bias, self.line = float(networks.bias[0]), None
        if (start := networks.start) is not None:
            self.line = torch.as_tensor(start.slopes[:, 0], device=self.device).to(self.view.dtype)
            self.bias += float(start.slope[0] * start.intercept[0] + start.offset[0])

    def __call__(self, edges: Tensor) -> Tensor:
        """Logits of edges [B, E], [B]."""
        logits = self.gamma * self.stack(*self.view.see(edges.to(self.view.dtype)))[0][0] + self.bias
        return logits if self.line is None else logits + edges.to(self.view.dtype) @ self.line

    def tensor(self, edges: np.ndarray) -> Tensor:
        """Edges on the network's device."""
        return torch.as_tensor(np.asarray(edges, np.float32), device=self.device)

    @torch.no_grad()
    def decision_function(self, edges: np.ndarray) -> np.ndarray:
        """Logits of edges [n, E], [n]."""
        parts = [edges[start : start + TOGETHER] for start in range(0, len(edges), TOGETHER)]
        return np.concatenate([self(self.tensor(part)).cpu().numpy() for part in parts]).astype(float)


def refuse_unasked(sections: dict) -> None:
    """Refuse networks of which no single edge can be edited, or that cannot be trained again here.

    Raises
    ------
    ValueError
        In the tangent space, for pretrained networks, whose first weights come from other people, and on given graphs.
    """
    if MEASURES[sections["measure"]].tangent:
        raise ValueError(
            f"model={sections['model']['name']} on {sections['measure']} sees no single edges that could be edited; "
            "choose another stimulate.experiment, as correlation_ridge."
        )
    if sections["training"].get("pretrain"):
        raise ValueError("pretrained networks cannot be asked; choose another stimulate.experiment, as gat.")
    if sections["graph"].get("connectomes"):
        raise ValueError(
            "networks on a given graph (graph.connectomes) cannot be asked: each permutation of the labels would need "
            "graphs of its own. Choose another stimulate.experiment, as correlation_gcn."
        )


def fitted_networks(cohort: Cohort, splits: pd.DataFrame, sections: dict) -> Iterator[Fold]:
    """Train the networks of every fold, repeat and seed again, as cross-validation does.

    Raises
    ------
    ValueError
        See `refuse_unasked`.
    """
    refuse_unasked(sections)
    everybody = np.arange(len(cohort.labels))
    for repeat, fold in track(scored_folds(splits), "targets of the networks, by fold"):
        train, test = fold_rows(splits, cohort.participants, repeat, fold)
        model = build(sections["model"], sections["measure"], sections["graph"], sections["training"])
        lost = cohort.lacking(test)
        for fitted in model.fit_many(cohort, train, fold_seeds(sections, repeat, fold)):
            features = fitted.filler_.transform(cohort.values[everybody], cohort.missing)
            yield Fold(repeat, fold, train, test, features, NetworkDecision(fitted.networks_), lost)


def network_effects(fold: Fold, targets: Targets, basis: np.ndarray, labels: np.ndarray, goal: str) -> Effects:
    """What the targets do to the people whom a network did not see.

    The parameters are those of `fold_effects`; `goal` as in `gather`, with the median of this fold's held-out controls.
    Costs and cheapest edits are those of regions and circuits (`search_edit`); a search for every node would take
    hours.

    Notes
    -----
    What an edge contributes is its integrated gradient between the connectome and its normal version (Sundararajan et
    al. 2017), so that the parts of all edges add up to what normalising all of them does.
    """
    expected = expected_control(fold, basis, labels).astype(np.float32)
    people, logits, ill = fold.features[fold.test], fold.logits, labels[fold.test] == 1
    normal = np.where(fold.lost, people, expected[fold.test])
    shifts = np.empty((len(people), len(targets.table)))
    for row in range(shifts.shape[1]):
        edges, edited = targets.members[row].indices, people.copy()
        edited[:, edges] = normal[:, edges]
        shifts[:, row] = fold.classifier.decision_function(edited) - logits
    aim = float(np.median(logits[~ill])) if goal == "controls" and (~ill).any() else 0.0
    controls = fold.train[labels[fold.train] == 0]
    spread = (fold.features[controls] - expected[controls]).std(0)
    prices = np.full(shifts.shape, np.nan)
    prices[ill], steps = _searched(fold, targets, people[ill], spread, fold.features[controls], aim)
    return Effects(
        fold.repeat,
        fold.test,
        logits,
        shifts,
        change=normal[ill] - people[ill],
        parts=integrated_gradients(fold.classifier, people[ill], normal[ill]).astype(np.float32),
        spread=spread,
        steps=steps,
        reach=None,
        costs=prices,
    )


def _searched(
    fold: Fold, targets: Targets, people: np.ndarray, spread: np.ndarray, controls: np.ndarray, aim: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [n, T] and edits [n, 2, nnz] (`Effects.steps`) of people [n, E], of regions and circuits."""
    prices = np.full((len(people), len(targets.table)), np.nan)
    steps = np.zeros((len(people), 2, targets.members.nnz), np.float32)
    low, high = np.percentile(controls, PERCENTILES, axis=0)
    limits = [numbers.astype(np.float32) for numbers in (spread, low, high)]
    for row in range(len(targets.nodes), len(targets.table)):
        entries = slice(*targets.members.indptr[row : row + 2])
        edges = targets.members.indices[entries]
        edit, prices[:, row] = search_edit(fold.classifier, people, edges, *limits, aim)
        edit[np.isnan(prices[:, row])] = 0
        parts = integrated_gradients(fold.classifier, people, people + edit)
        steps[:, 0, entries], steps[:, 1, entries] = edit[:, edges], parts[:, edges]
    return prices, steps


def integrated_gradients(decision: NetworkDecision, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Part of every edge in the change of the logit from one connectome to another, [n, E] each, [n, E]."""
    total = np.zeros(start.shape)
    for point in (np.arange(PATH) + 0.5) / PATH:
        edges = decision.tensor(start + point * (end - start)).requires_grad_()
        total += torch.autograd.grad(decision(edges).sum(), edges)[0].cpu().numpy() / PATH
    return total * (end - start)


def search_edit(
    decide: Callable[[Tensor], Tensor],
    people: np.ndarray,
    target: np.ndarray,
    spread: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    aim: float,
    share: float = SHARE,
) -> tuple[np.ndarray, np.ndarray]:
    """Search for a small edit of few of a target's edges that brings a decision down to `aim`.

    Down the gradient, in the metric of the controls' spread, along the `share` of the target's edges that move the
    decision most; an edge stays between the controls' percentiles, or where it was if that is beyond them. What goes
    too far is taken back by bisection.

    Parameters
    ----------
    decide : callable
        Edges [B, E] to logits [B], differentiable.
    people : array, [B, E]
    target : array of int, [S]
        Its edges.
    spread, low, high : array, [E]
        Standard deviation of the controls, and where an edit must stay.
    aim : float
    share : float

    Returns
    -------
    edit : array, [B, E]
    distance : array, [B]
        ``|edit / spread|``; 0 for those who are at the aim already, NaN for those who cannot be brought there.
    """
    start = torch.as_tensor(people, dtype=torch.float32)
    scale = torch.zeros_like(start[0])
    scale[target] = torch.as_tensor(spread[target], dtype=torch.float32)
    floor = torch.minimum(start, torch.as_tensor(low, dtype=torch.float32))
    ceiling = torch.maximum(start, torch.as_tensor(high, dtype=torch.float32))
    reached, kept = start.clone(), None
    for _ in range(STEPS):
        logits, slope = _sloped(decide, reached)
        active = logits > aim
        if not active.any():
            break
        if kept is None:
            strongest = (slope * scale).abs().topk(max(1, round(share * len(target))), dim=1).indices
            kept = torch.zeros_like(start).scatter_(1, strongest, 1.0)
        move = -slope * scale**2 * kept
        along = ((slope * scale * kept) ** 2).sum(1).clamp(min=1e-20)
        length = (logits - aim) / along
        widest = (move / scale.clamp(min=1e-12)).abs().amax(1).clamp(min=1e-20)
        length = torch.minimum(length * 1.05, STRIDE / widest) * active
        reached = (reached + length[:, None] * move).clamp(floor, ceiling)
    edit = _taken_back(decide, start, reached - start, aim)
    distance = ((edit / scale.clamp(min=1e-12)) ** 2).sum(1).sqrt()
    with torch.no_grad():
        there = decide(start + edit).cpu() <= aim + 1e-3
    return edit.numpy(), torch.where(there, distance, torch.nan).numpy()


def _sloped(decide: Callable[[Tensor], Tensor], edges: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B] and their gradients [B, E]."""
    edges = edges.clone().requires_grad_()
    logits = decide(edges)
    return logits.detach().cpu(), torch.autograd.grad(logits.sum(), edges)[0].cpu()


@torch.no_grad()
def _taken_back(decide: Callable[[Tensor], Tensor], start: Tensor, edit: Tensor, aim: float) -> Tensor:
    """The smallest part of an edit that still reaches the aim, by bisection; all of it where none does."""
    short = torch.zeros(len(start))
    enough = torch.where(decide(start).cpu() <= aim, 0.0, 1.0)
    for _ in range(12):
        middle = (short + enough) / 2
        done = decide(start + middle[:, None] * edit).cpu() <= aim
        enough, short = torch.where(done, middle, enough), torch.where(done, short, middle)
    return enough[:, None] * edit
