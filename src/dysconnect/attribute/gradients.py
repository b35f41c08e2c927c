"""Attributions of graph networks: gradients with respect to the edges that people have, features and graph alike."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dysconnect.data.edges import Pairs
from dysconnect.learning.graph.run import Networks
from dysconnect.learning.graph.stack import Stack
from dysconnect.learning.graph.view import View
from dysconnect.models.graph.layers import LinearPath

PEOPLE = 32  # seen together


def integrated_gradients(networks: Networks, edges: np.ndarray, baseline: np.ndarray, steps: int = 8) -> np.ndarray:
    """Integrated gradients of the logits of K networks with respect to Fisher z edges.

    ``IG_e(z) = (z_e - b_e) * integral_0^1 df/dz_e (b + a (z - b)) da`` by the midpoint rule. An edge counts where it
    is a feature and where it weighs in the graph. Their sum is ``f(z) - f(b)`` up to the rule's error where f is
    continuous; a graph of the strongest edges only makes it jump where an edge enters or leaves.

    Parameters
    ----------
    networks : Networks
    edges : array, [n, E]
        Fisher z of the people to explain.
    baseline : array, [E] or [n, E]
        Edges that count as nothing: the mean of the training controls.
    steps : int

    Returns
    -------
    array, [K, n, E]
        In units of the logit.

    References
    ----------
    Sundararajan, Taly and Yan (2017), arXiv:1703.01365.
    """
    return path_gradients(networks, edges, baseline, steps) * (np.asarray(edges) - baseline).astype(np.float32)


def path_gradients(networks: Networks, edges: np.ndarray, baseline: np.ndarray, steps: int = 8) -> np.ndarray:
    """Mean gradient of the logits between a baseline, of all or each, and all edges [n, E], per z: [K, n, E]."""
    edges, baseline = np.asarray(edges, np.float32), np.asarray(baseline, np.float32)
    gradients = np.zeros((len(networks.chosen), *edges.shape), np.float32)
    view = networks.view()
    baseline = np.broadcast_to(baseline, edges.shape)
    for models, stack in networks.stacks():
        for first in range(0, len(edges), PEOPLE):
            rows = slice(first, first + PEOPLE)
            start = torch.as_tensor(baseline[rows].copy(), device=view.device, dtype=view.dtype)
            way = torch.as_tensor(edges[rows], device=view.device, dtype=view.dtype) - start
            total = sum(_gradient(stack, view, start + (step + 0.5) / steps * way) for step in range(steps))
            gradients[models, rows] = (total / steps).cpu().numpy()
    return _counted(networks, gradients.transpose(1, 0, 2)).transpose(1, 0, 2)


def mean_gradients(networks: Networks, edges: np.ndarray) -> np.ndarray:
    """Gradient of the logits at the edges that people have [n, E], averaged over them, [K, E], per unit of z.

    It is taken where people are. At the mean of the controls standardised edges are near zero, LayerNorm divides by
    their spread, and the gradient there is large and says nothing.
    """
    mean = np.zeros((len(networks.chosen), edges.shape[1]), np.float32)
    for models, _, gradient in _at_people(networks, edges):
        mean[models] += gradient.sum(1) / len(edges)
    return _counted(networks, mean)


def people_gradients(networks: Networks, numbers: np.ndarray) -> np.ndarray:
    """Gradient of the logits by the numbers that people have (see `Layout`) [n, E], of everyone, [K, n, E]."""
    found = np.empty((len(networks.chosen), *numbers.shape), np.float32)
    for models, people, gradient in _at_people(networks, numbers):
        found[models, people] = gradient
    return _counted(networks, found.swapaxes(0, 1)).swapaxes(0, 1)


def _at_people(networks: Networks, numbers: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Which networks, which people, and the gradients of the networks there, [K, B, E]."""
    view = networks.view()
    for models, stack in networks.stacks():
        for first in range(0, len(numbers), PEOPLE):
            people = slice(first, first + PEOPLE)
            seen = torch.as_tensor(np.asarray(numbers[people], np.float32), device=view.device, dtype=view.dtype)
            yield models, people, _gradient(stack, view, seen).cpu().numpy()


def _counted(networks: Networks, gradients: np.ndarray) -> np.ndarray:
    """Gradients of the whole decision from those of the networks alone, [..., K, E]: see `Networks.decide`."""
    counted = networks.gamma[:, None] * gradients
    if networks.start is not None:  # of the features alone, behind which numbers of a graph may stand
        counted[..., : len(networks.start.slopes)] += networks.start.slopes.T
    return counted.astype(np.float32)


def randomised(networks: Networks, seed: int) -> Networks:
    """The same networks before any training: fresh first weights, the scale of the edges kept.

    A linear model beside a network starts at zero, where no map could tell anything: it gets normal weights. Weights of
    ridge regression that a network starts from are permuted.
    """
    seeds = np.random.SeedSequence([seed, 17]).generate_state(len(networks.chosen)).tolist()
    fresh = Stack(networks._build, [drawn % 2**31 for drawn in seeds], "cpu")
    weights = {name: value.detach().clone() for name, value in {**fresh.parameters, **fresh.buffers}.items()}
    if isinstance(networks._build(), LinearPath):
        line, generator = networks.fitted.weights["line"], torch.Generator().manual_seed(seeds[0] % 2**31)
        weights["line"] = torch.randn(line.shape, generator=generator) * line.float().std()
    start = networks.start
    if start is not None:
        start = replace(start, weights=np.random.default_rng([seed, 19]).permutation(start.weights))
    return replace(networks, fitted=replace(networks.fitted, weights=weights), start=start)


def edge_masks(networks: Networks) -> np.ndarray | None:
    """Shared edge mask of every network that has one (IBGNN), [K, E] in (0, 1); None for the others."""
    mask_name = next((name for name in networks.fitted.weights if name.split(".")[-1] == "mask"), None)
    if mask_name is None:
        return None
    mask = networks.fitted.weights[mask_name].float()
    return Pairs(networks.n_nodes).edges(torch.sigmoid(mask + mask.transpose(1, 2)).numpy())


def _gradient(stack: Stack, view: View, z: Tensor) -> Tensor:
    """Gradient of every model's logit with respect to every person's edges, [K, B, E]."""
    z = z.detach().requires_grad_()
    logits, _ = stack(*view.see(z))
    sums = logits.sum(1)  # people share nothing
    if len(stack) == 1:
        return torch.autograd.grad(sums[0], z)[0][None]
    one_each = torch.eye(len(stack), device=z.device, dtype=sums.dtype)
    return torch.autograd.grad(sums, z, one_each, is_grads_batched=True)[0]
