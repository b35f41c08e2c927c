"""The loop over epochs: all models of a stack on shared batches, each with its subjects, labels and patience."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from dysconnect.learning.graph.device import PRECISIONS, SavedBytes
from dysconnect.learning.graph.stack import AdamW, Stack, Weights, noise_of
from dysconnect.learning.graph.view import View

GAIN = 1e-4  # a smaller fall of the validation loss is none
WATCHED = 64  # subjects whom networks see at once when they only watch


@dataclass(frozen=True)
class Jobs:
    """What differs between the models that are trained on one view of n subjects.

    Attributes
    ----------
    labels : array, [n, K]
    watched : array of bool, [n, K]
        Subjects that decide when to stop; the others are fitted on. Nobody, or some for every model.
    seeds : array of int, [K]
        Of first weights and dropout.
    lr, weight_decay : array, [K]
    epochs : array of int, [K]
        The last one of every model, at most.
    offset : array, [n, K]
        What is added to the logits, and is not learned here: what another model said before.
    balanced : bool
        Whether both classes have the same weight in the loss, as many as there are of each.
    shuffle : int
        Seed of the order of subjects, which all models share.
    """

    labels: np.ndarray
    watched: np.ndarray
    seeds: np.ndarray
    lr: np.ndarray
    weight_decay: np.ndarray
    epochs: np.ndarray
    offset: np.ndarray
    balanced: bool
    shuffle: int

    def __len__(self) -> int:
        return len(self.seeds)

    def take(self, models: slice | np.ndarray) -> "Jobs":
        """Some of the models."""
        settings = {name: getattr(self, name)[models] for name in ("seeds", "lr", "weight_decay", "epochs")}
        people = {name: getattr(self, name)[:, models] for name in ("labels", "watched", "offset")}
        return replace(self, **settings, **people)


@dataclass(frozen=True)
class Fitted:
    """K trained models.

    Attributes
    ----------
    weights : dict of str to Tensor, [K, ...]
        Of the best epoch (the last one, where nobody was watched), parameters and buffers, on the CPU.
    curves : array, [epochs, K, 3]
        Training loss, validation loss, validation AUC; NaN after a model's last epoch, and where nobody was watched.
    best_epoch : array of int, [K]
    best_loss : array, [K]
        Validation loss of that epoch (training loss, where nobody was watched); not finite if it never was a number.
    said : array, [epochs, K, n]
        Logits of the people who were watched, after every epoch, zero of all others; no epochs where nobody asked.
    """

    weights: Weights
    curves: np.ndarray
    best_epoch: np.ndarray
    best_loss: np.ndarray
    said: np.ndarray


class Training:
    """State of a stack in training.

    Parameters
    ----------
    view : View
        The training subjects.
    jobs : Jobs
    build : callable
        Makes one network.
    spec : dict
        `patience`, `batch_size`, `precision`.
    """

    def __init__(self, view: View, jobs: Jobs, build: Callable[[], nn.Module], spec: dict):
        self.view, self.spec, device = view, spec, view.device
        self.stack = Stack(build, jobs.seeds.tolist(), device, PRECISIONS[spec["precision"]])
        to = lambda numbers: torch.as_tensor(np.ascontiguousarray(numbers), device=device)
        self.optimizer = AdamW(self.stack.parameters, to(jobs.lr), to(jobs.weight_decay))
        self.target = to(jobs.labels.T).to(view.dtype)
        self.watched = to(jobs.watched.T).to(view.dtype)
        self.keys, self.order = to(jobs.seeds), torch.tensor([jobs.shuffle], device=device)
        fitted = 1 - self.watched
        self.offset = to(jobs.offset.T).to(view.dtype)
        share = ((self.target * fitted).sum(1) / fitted.sum(1)).clamp(0.05, 0.95)
        self.pos_weight = ((1 - share) / share)[:, None] if jobs.balanced else torch.ones_like(share)[:, None]
        self.shuffler = torch.Generator().manual_seed(jobs.shuffle)
        self.used = torch.as_tensor(~jobs.watched.all(1))  # on the CPU: no need to ask the device
        self.watching = to(np.flatnonzero(jobs.watched.any(1)))

    def losses(self, rows: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Loss of every model on every subject, and what the model itself says (its logits), [K, B] each."""
        dropped = None if noise is None else noise_of(self.order, self.optimizer.steps, rows)[0]
        x, graph = self.view.batch(rows, dropped)
        with self._precision():
            logits, auxiliary = self.stack(x, graph, noise)
        decided, target = logits + self.offset[:, rows], self.target[:, rows]
        return cross_entropy(decided, target, reduction="none", pos_weight=self.pos_weight) + auxiliary, logits

    def epoch(self) -> Tensor:
        """One pass over the subjects, in an order that all models share; mean loss [K]."""
        order = torch.randperm(len(self.used), generator=self.shuffler)
        total = torch.zeros(len(self.keys), device=self.view.device, dtype=self.view.dtype)
        for rows in order.tensor_split(-(-len(order) // self.spec["batch_size"])):
            rows = rows[self.used[rows]].to(self.view.device)  # those whom all models only watch
            if len(rows):
                total = total + self._step(rows)
        return total / (1 - self.watched).sum(1)

    def _step(self, rows: Tensor) -> Tensor:
        losses, _ = self.losses(rows, noise_of(self.keys, self.optimizer.steps, rows))
        trained = 1 - self.watched[:, rows]
        sums, counts = (losses * trained).sum(1), trained.sum(1)
        # models share no weight, so the gradient of the sum is that of each model
        mean = (sums / counts.clamp(min=1)).sum()
        weights = tuple(self.stack.parameters.values())
        self.optimizer.step(torch.autograd.grad(mean, weights, materialize_grads=True))  # none of some in pretraining
        return sums.detach()

    def watch(self) -> tuple[Tensor, Tensor]:
        """Loss and AUC on the watched subjects, dropout off, [K] each; NaN where nobody is watched."""
        if not len(self.watching):
            return (torch.full((len(self.keys),), torch.nan, device=self.view.device, dtype=self.view.dtype),) * 2
        return self.judge(*self.listen())

    @torch.no_grad()
    def listen(self) -> tuple[Tensor, Tensor]:
        """Losses and logits of those whom any model watches, dropout off, [K, W] each."""
        parts = [self.losses(rows, None) for rows in self.watching.split(WATCHED)]
        return tuple(torch.cat(part, dim=1) for part in zip(*parts))

    def judge(self, losses: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and AUC of the whole decision on the watched subjects, [K] each, from `listen`."""
        watched, target = self.watched[:, self.watching], self.target[:, self.watching]
        decided = logits + self.offset[:, self.watching]
        auc = weighted_auc(decided, watched * target, watched * (1 - target))
        return (losses * watched).sum(1) / watched.sum(1), auc

    def bytes_of_a_step(self) -> int:
        """Memory of a step of these models: what the backward pass keeps, its gradients, weights and their like."""
        rows = torch.arange(min(self.spec["batch_size"], len(self.view)), device=self.view.device)
        saved = SavedBytes()
        with saved:
            self.losses(rows, noise_of(self.keys, 0, rows))
        return 2 * saved.total + 6 * sum(value.nbytes for value in self.stack.parameters.values())

    def _precision(self):
        if self.spec["precision"] != "bfloat16":
            return nullcontext()
        return torch.autocast(self.view.device.type, torch.bfloat16)


def weighted_auc(logits: Tensor, cases: Tensor, controls: Tensor) -> Tensor:
    """Share of concordant pairs of every model, ties counted half, [K]; logits and 0/1 weights [K, n]."""
    order = logits.argsort(1)
    value, case, control = (numbers.gather(1, order) for numbers in (logits, cases, controls))
    below = torch.nn.functional.pad(control.cumsum(1), (1, 0))
    lower, upper = (below.gather(1, torch.searchsorted(value, value, right=right)) for right in (False, True))
    return (case * (lower + upper) / 2).sum(1) / (case.sum(1) * control.sum(1))


def train_stack(
    view: View, jobs: Jobs, build: Callable[[], nn.Module], spec: dict, training=Training, hear=None
) -> Fitted:
    """Train all models, with the loss of `training`, to their best epoch on those who are watched, or to the last one.

    A model that has run out of patience goes on with the others, but its best weights stay as they are; the loop ends
    when all have. Nothing is asked of the device but that, once an epoch on a CPU and every fifth on a GPU; then `hear`
    is told the curves since (the first epoch, [epochs, K, 3]).
    """
    state = training(view, jobs, build, spec)
    weights = state.stack.parameters
    best = {name: value.detach().clone() for name, value in weights.items()}
    best_loss = torch.full((len(jobs),), torch.inf, device=view.device, dtype=view.dtype)
    best_epoch, waited = (torch.zeros(len(jobs), dtype=torch.long, device=view.device) for _ in range(2))
    last = torch.as_tensor(jobs.epochs, device=view.device)
    active, curves, told = last > 0, [], 0
    pause = 1 if view.device.type == "cpu" else 5
    for epoch in range(int(jobs.epochs.max())):
        trained, (loss, auc) = state.epoch(), state.watch()
        curves.append(torch.where(active, torch.stack([trained, loss, auc]), torch.nan))
        judged, better = (loss, active & (loss < best_loss - GAIN)) if len(state.watching) else (trained, active)
        best_loss, best_epoch = torch.where(better, judged, best_loss), torch.where(better, epoch, best_epoch)
        for name, value in weights.items():
            best[name] = torch.where(better.view(-1, *[1] * (value.ndim - 1)), value.detach(), best[name])
        waited = torch.where(better, 0, waited + 1)
        active = active & (waited < spec["patience"]) & (epoch + 1 < last)
        if epoch % pause == pause - 1:
            told = _tell(hear, curves, told)
            if not active.any():
                break
    _tell(hear, curves, told)
    kept = {name: value.cpu() for name, value in {**best, **state.stack.buffers}.items()}
    nothing = np.empty((0, *jobs.watched.T.shape), np.float32)
    return Fitted(kept, _curves(curves, jobs), _numbers(best_epoch), _numbers(best_loss), nothing)


def watch_stack(view: View, jobs: Jobs, build: Callable[[], nn.Module], spec: dict, hear=None) -> Fitted:
    """Train all models to their last epoch; keep what they say after each of those who are watched, and no weights."""
    state, curves, said = Training(view, jobs, build, spec), [], []
    place = state.watching.cpu().numpy()
    for epoch in range(int(jobs.epochs.max())):
        trained, (losses, logits) = state.epoch(), state.listen()
        curves.append(torch.stack([trained, *state.judge(losses, logits)]))
        one = np.zeros((len(jobs), len(view)), np.float32)
        one[:, place] = (logits * state.watched[:, state.watching]).float().cpu().numpy()
        said.append(one)
        _tell(hear, curves, epoch)
    curves = _curves(curves, jobs)
    loss = np.where(np.isfinite(curves[:, :, 1]), curves[:, :, 1], np.inf)
    return Fitted({}, curves, loss.argmin(0), loss.min(0), np.stack(said))


def _curves(curves: list[Tensor], jobs: Jobs) -> np.ndarray:
    """Losses and AUC of all epochs, [epochs, K, 3]."""
    return _stacked(curves) if curves else np.empty((0, len(jobs), 3))


def _tell(hear: Callable | None, curves: list[Tensor], told: int) -> int:
    """Tell the curves of all epochs after the first `told`; returns how many are told now."""
    if hear is not None and len(curves) > told:
        hear(told, _stacked(curves[told:]))
    return len(curves)


def _stacked(curves: list[Tensor]) -> np.ndarray:
    return _numbers(torch.stack(curves).permute(0, 2, 1))


def _numbers(values: Tensor) -> np.ndarray:
    return (values.double() if values.is_floating_point() else values).cpu().numpy()
