"""Many models of one architecture as one: every weight carries a leading model axis."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from dysconnect.models.graph.layers import GOLDEN, scramble

Weights = dict[str, Tensor]  # name to [K, ...]


class Stack:
    """K networks of one architecture.

    Parameters
    ----------
    build : callable
        Makes one network with random weights.
    seeds : list of int
        K seeds; a network's first weights depend on its seed alone.
    device, dtype
    """

    def __init__(self, build: Callable[[], nn.Module], seeds: list[int], device, dtype=torch.float32):
        networks = []
        with torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                networks.append(build().to(dtype))
        self.skeleton = copy.deepcopy(networks[0]).to("meta")
        parameters, buffers = stack_module_state(networks)
        self.buffers = {name: value.to(device) for name, value in buffers.items()}
        self.parameters = {name: value.detach().to(device).requires_grad_() for name, value in parameters.items()}

    @classmethod
    def restore(cls, build: Callable[[], nn.Module], weights: Weights, device, dtype=torch.float32) -> "Stack":
        """Networks that were trained: their parameters and buffers, [K, ...]."""
        stack = cls(build, [0], device, dtype)
        place = lambda group: {name: weights[name].to(device, dtype) for name in group}
        stack.parameters, stack.buffers = place(stack.parameters), place(stack.buffers)
        return stack

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def __call__(self, x: Tensor, graph: Tensor | None, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits and auxiliary losses of all models on shared graphs, [K, B] each; noise [K, B] switches dropout on."""
        if len(self) == 1:  # without vmap: as fast as a model alone
            alone = [{name: value[0] for name, value in group.items()} for group in (self.parameters, self.buffers)]
            logits, auxiliary = self._one(*alone, x, graph, None if noise is None else noise[0])
            return logits[None], auxiliary[None]
        dims = (0, 0, None, None, None if noise is None else 0)
        return vmap(self._one, in_dims=dims)(self.parameters, self.buffers, x, graph, noise)

    def _one(self, parameters: Weights, buffers: Weights, x, graph, noise) -> tuple[Tensor, Tensor]:
        logits = functional_call(self.skeleton, (parameters, buffers), (x, graph, noise))
        auxiliary, self.skeleton.auxiliary = self.skeleton.auxiliary, 0.0
        return logits.float() if logits.dtype == torch.bfloat16 else logits, logits.new_zeros(logits.shape) + auxiliary


def noise_of(keys: Tensor, step: int, rows: Tensor) -> Tensor:
    """Seed of the dropout of every model and subject at a step, [K, B]; keys [K] and rows [B] are integers."""
    model = scramble(keys.to(torch.int32) + step * GOLDEN % 2**31)
    return scramble(model[:, None] ^ (rows.to(torch.int32) * GOLDEN))


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), a learning rate and a decay for each model.

    Parameters
    ----------
    parameters : dict of str to Tensor, [K, ...]
    lr, weight_decay : Tensor, [K]
    """

    BETAS, EPS = (0.9, 0.999), 1e-8

    def __init__(self, parameters: Weights, lr: Tensor, weight_decay: Tensor):
        self.values = list(parameters.values())
        self.lr = [self._like(lr, value) for value in self.values]
        self.decay = [1 - self._like(lr * weight_decay, value) for value in self.values]
        self.mean = [torch.zeros_like(value) for value in self.values]
        self.square = [torch.zeros_like(value) for value in self.values]
        self.steps = 0

    @staticmethod
    def _like(numbers: Tensor, value: Tensor) -> Tensor:
        return numbers.to(value.dtype).view(-1, *[1] * (value.ndim - 1))

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...]) -> None:
        """One step of all models."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.BETAS)
        torch._foreach_lerp_(self.mean, gradients, 1 - self.BETAS[0])
        torch._foreach_mul_(self.square, self.BETAS[1])
        torch._foreach_addcmul_(self.square, gradients, gradients, 1 - self.BETAS[1])
        scale = torch._foreach_sqrt(self.square)
        torch._foreach_div_(scale, second**0.5)
        torch._foreach_add_(scale, self.EPS)
        move = torch._foreach_div(self.mean, scale)
        torch._foreach_mul_(move, self.lr)
        torch._foreach_mul_(self.values, self.decay)
        torch._foreach_add_(self.values, move, alpha=-1 / first)
