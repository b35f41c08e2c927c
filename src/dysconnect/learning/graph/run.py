"""Train any number of networks on one fold: search, chunks that fit the memory, and what an interruption leaves."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dysconnect.data.edges import blocks
from dysconnect.keeping.code import digest
from dysconnect.learning.graph.device import PRECISIONS, choose_device, data_budget, memory_budget, train_stacked
from dysconnect.learning.graph.fit import Fitted, Jobs, Training, train_stack, watch_stack
from dysconnect.learning.graph.inside import (
    SEARCHED,
    inner_jobs,
    inner_parts,
    judge_inside,
    make_inner_folds,
    settings_grid,
)
from dysconnect.learning.graph.stack import Stack, Weights
from dysconnect.learning.graph.start import RidgeStart, fit_start
from dysconnect.learning.graph.view import Layout, View, learn_scale, uses_graph, watched_rows
from dysconnect.learning.represented import FilledEdges
from dysconnect.models.graph.layers import LinearPath
from dysconnect.models.networks import build_network

NUMBERS = ("curves", "best_epoch", "best_loss", "said")  # of networks that are kept, beside their weights


@dataclass(frozen=True)
class Networks:
    """K networks trained on the same subjects, and the scale of the edges they learned from them.

    Attributes
    ----------
    sections : dict
        `model`, `graph` and `training` of the configuration.
    mean, scale : array, [E]
    fitted : Fitted
    chosen : array, [K, 2]
        Learning rate and weight decay of every network.
    tried : array, [K, candidates, 4]
        Learning rate, weight decay, validation loss and best epoch of every candidate.
    gamma, bias : array, [K]
        The decision is gamma times the network's logit, and the bias.
    start : RidgeStart, optional
        Its logit is added.
    gains : list of dict
        What the network adds to the start, see `inside.Inside`; nothing of networks without one.
    chunk : int
        Networks that fit the memory at once.
    """

    sections: dict
    n_nodes: int
    mean: np.ndarray
    scale: np.ndarray
    fitted: Fitted
    chosen: np.ndarray
    tried: np.ndarray
    gamma: np.ndarray
    bias: np.ndarray
    start: RidgeStart | None = None
    gains: list[dict] = field(default_factory=list)
    chunk: int = 1

    def take(self, k: int) -> "Networks":
        """The k-th network alone."""
        one, start = slice(k, k + 1), None if self.start is None else self.start.take(k)
        own = {name: getattr(self, name)[one] for name in ("chosen", "tried", "gamma", "bias", "gains")}
        return replace(self, fitted=take(self.fitted, one), start=start, **own)

    def history(self) -> list[dict]:
        """Every epoch of the only network: losses, AUC, learning rate and decay, and whether it is the one kept."""
        curve = self.fitted.curves[:, 0]
        chosen = dict(zip(SEARCHED, self.chosen[0].tolist()))
        rows = (dict(zip(("train_loss", "val_loss", "val_auc"), row.tolist())) for row in curve)
        ran = np.flatnonzero(~np.isnan(curve[:, :2]).all(1))
        kept = self.fitted.best_epoch[0]
        return [
            {"epoch": epoch, **row, **chosen, "kept": epoch == kept}
            for epoch, row in enumerate(islice(rows, ran[-1] + 1))
        ]

    def search(self) -> list[dict]:
        """Every candidate of the only network's search: `lr`, `weight_decay`, `val_loss`, `best_epoch`, `chosen`."""
        rows = [dict(zip((*SEARCHED, "val_loss", "best_epoch"), row.tolist())) for row in self.tried[0]]
        best = self.tried[0, :, 2].argmin() if rows else None
        return [{**row, "best_epoch": int(row["best_epoch"]), "chosen": k == best} for k, row in enumerate(rows)]

    @torch.inference_mode()
    def decide(self, edges: np.ndarray | FilledEdges) -> np.ndarray:
        """Logits of Fisher z edges or tangent vectors (`Layout`), read in blocks, [n, E] -> [n, K]."""
        stacks, logits = list(self.stacks()), np.empty((len(edges), len(self.gamma)))
        view = self.view()
        for first in range(0, len(edges), 64):
            rows = slice(first, first + 64)
            numbers = edges[rows]
            x, graph = view.see(torch.as_tensor(numbers, device=view.device).to(view.dtype))
            said = torch.cat([stack(x, graph)[0] for _, stack in stacks]).T.cpu().numpy()
            logits[rows] = self.gamma * said + self.bias
            if self.start is not None:
                logits[rows] += self.start.logits(numbers[:, : view.layout.n_features])
        return logits

    def stacks(self) -> Iterator[tuple[slice, Stack]]:
        """The networks in chunks that fit the memory, and which of all they are."""
        device = choose_device(self.sections["training"]["device"])
        dtype = PRECISIONS[self.sections["training"]["precision"]]
        for first in range(0, len(self.gamma), self.chunk):
            models = slice(first, first + self.chunk)
            yield models, Stack.restore(self._build, take(self.fitted, models).weights, device, dtype)

    def view(self) -> View:
        """What turns numbers of people into features and graphs."""
        nobody = np.empty((0, len(self.mean)), np.float32)
        return make_view(
            nobody, self.mean, self.scale, self.sections, choose_device(self.sections["training"]["device"])
        )

    def _build(self):
        return build_network(self.sections["model"], self.n_nodes)


def train_networks(
    edges: np.ndarray | FilledEdges,
    labels: np.ndarray,
    groups: np.ndarray,
    seeds: np.ndarray,
    sections: dict,
    store: Path | None = None,
    ticks: Iterator | None = None,
    start: Weights | None = None,
) -> Networks:
    """Train K networks, each with its labels and seed; choose learning rate and decay where there is a choice.

    Parameters
    ----------
    edges : array or FilledEdges, [n, E]
        Fisher z of the training subjects, without NaN. Where they do not fit in half of ``training.memory``, or of what
        is free, batches are read from them.
    labels : array, [n, K]
        Of every network; 1 is the patient.
    groups : array, [n]
        Copies of one scan share an entry.
    seeds : array of int, [K]
        Of first weights, dropout, and the subjects that are watched. The first also orders the batches.
    sections : dict
        `model`, `graph` and `training` of the configuration.
    store : path, optional
        Folder where finished chunks are kept and looked for.
    ticks : iterator, optional
        Advanced by one for every network and candidate that is done; `Ticks` may be told the curves meanwhile.
    start : dict of str to Tensor, optional
        First weights of all networks (see `pretrain`); those not among them depend on the seed.
    """
    spec = sections["training"]
    device, n_nodes = choose_device(spec["device"]), Layout.of(edges.shape[1], sections).n_nodes
    build = partial(start_network, sections["model"], n_nodes, start or {})
    with torch.random.fork_rng(devices=[]):
        build()  # an unknown name or option stops here
    mean, scale = learn_scale(edges)
    view = make_view(edges, mean, scale, sections, device, can_hold(edges, sections, device))
    keep = None if store is None else partial(stored, Path(store), fingerprint(edges, sections, start))
    run = partial(_in_chunks, view, build=build, spec=spec, keep=keep, ticks=ticks)
    what = Networks(sections, n_nodes, mean, scale, *_nothing(len(seeds)))
    if spec.get("inner_folds") and not (spec["validation"] and not starts(sections)):
        return _inside(what, edges, labels, groups, seeds, run)
    if starts(sections):
        raise ValueError(
            f"model.start={sections['model']['start']} needs people whom the network was not fitted on, to say how "
            "much it counts: set training.inner_folds to 2 or more."
        )
    return _watched(what, labels, groups, seeds, run)


def starts(sections: dict) -> bool:
    """Whether networks are added to ridge regression (``model.start=ridge``)."""
    return sections["model"].get("start", "none") != "none"


def _nothing(n: int) -> tuple:
    """What is not known yet of n networks, and that their logits count as they are."""
    fitted = Fitted({}, np.empty((0, n, 3)), np.zeros(n, int), np.full(n, np.nan), np.empty((0, n, 0)))
    return fitted, np.full((n, 2), np.nan), np.empty((n, 0, 4)), np.ones(n), np.zeros(n)


def _watched(what: Networks, labels: np.ndarray, groups: np.ndarray, seeds: np.ndarray, run) -> Networks:
    """Train on all, or on all but those who are watched for early stopping, and decide a search if there is one."""
    jobs, candidates = plan_jobs(labels, groups, seeds, what.sections["training"])
    fitted, size = run(jobs)
    loss = fitted.best_loss.reshape(-1, candidates)
    if not np.isfinite(loss).any(1).all():
        raise ValueError(f"the loss was never finite; lower training.lr (now {jobs.lr.min():g}).")
    best = np.arange(len(loss)) * candidates + loss.argmin(1)
    tried = np.column_stack([jobs.lr, jobs.weight_decay, fitted.best_loss, fitted.best_epoch])
    shape = (len(loss), candidates, 4)
    return replace(what, fitted=take(fitted, best), chosen=tried[best, :2], tried=tried.reshape(shape), chunk=size)


def _inside(what: Networks, edges, labels: np.ndarray, groups: np.ndarray, seeds: np.ndarray, run) -> Networks:
    """Let inner folds choose settings, epochs and weight of every network, then train it on all, beside its start."""
    spec, starting, start, kernel = what.sections["training"], starts(what.sections), None, None
    logits, parts = np.zeros(labels.shape), inner_parts(labels, groups, spec["inner_folds"])
    if starting:
        features = edges[:][:, : Layout.of(edges.shape[1], what.sections).n_features]
        start, logits, kernel = fit_start(features, labels, groups)
    folds = make_inner_folds(parts, labels, groups, kernel)
    fitted, _ = run(inner_jobs(labels, seeds, folds, spec, not starting), train=watch_stack)
    inside, grid = judge_inside(fitted, labels, folds, starting), settings_grid(spec)
    chosen = grid[inside.candidate]
    everybody, order = np.zeros(labels.shape, bool), int(seeds[0])
    final = Jobs(labels, everybody, np.asarray(seeds), *chosen.T, inside.epochs, logits, not starting, order)
    fitted, size = run(final)
    loss = inside.curves[inside.best, np.arange(len(seeds)), 1]
    fitted = replace(fitted, curves=inside.curves, best_epoch=inside.best, best_loss=loss)
    tried = np.dstack([np.broadcast_to(grid, (len(chosen), *grid.shape)), inside.tried])
    gains = [gain | {"penalty": penalty} for gain, penalty in zip(inside.gains, start.penalty)] if starting else []
    counts = {"gamma": inside.gamma, "bias": inside.bias, "start": start, "gains": gains}
    return replace(what, fitted=fitted, chosen=chosen, tried=tried, chunk=size, **counts)


def start_network(spec: dict, n_nodes: int, start: Weights) -> nn.Module:
    """A random network that has some weights of another's; a linear model beside it has none.

    One that is added to ridge regression says nothing at first: the last layer is zero.
    """
    network = build_network(spec, n_nodes)
    nonlinear = network.network if isinstance(network, LinearPath) else network
    nonlinear.load_state_dict({**nonlinear.state_dict(), **start})
    if spec.get("start", "none") != "none":
        last = [layer for layer in nonlinear.modules() if isinstance(layer, nn.Linear)][-1]
        for numbers in last.parameters():
            nn.init.zeros_(numbers)
    return network


def restore_network(arrays: dict[str, np.ndarray], sections: dict, n_nodes: int) -> Networks:
    """One trained network from its arrays, those of `network_state`."""
    weights = {name[8:]: torch.as_tensor(value)[None] for name, value in arrays.items() if name.startswith("network.")}
    fitted, *others = _nothing(1)
    networks = Networks(sections, n_nodes, arrays["scale_mean"], arrays["scale_sd"], fitted, *others)
    counts = dict(zip(("gamma", "bias"), arrays.get("counts", np.array([1.0, 0.0]))[:, None]))
    return replace(networks, fitted=replace(fitted, weights=weights), start=RidgeStart.of_state(arrays), **counts)


def network_state(networks: Networks) -> dict[str, np.ndarray]:
    """The only network as arrays: `scale_mean`, `scale_sd` [E], `counts`, weights as ``network.NAME``, its start."""
    weights = {f"network.{name}": value[0].numpy() for name, value in networks.fitted.weights.items()}
    counts = np.array([networks.gamma[0], networks.bias[0]])
    start = {} if networks.start is None else networks.start.state()
    return {"scale_mean": networks.mean, "scale_sd": networks.scale, "counts": counts, **weights, **start}


def make_view(edges, mean, scale, sections: dict, device: torch.device, held: bool = True) -> View:
    """View subjects on the device, with graphs where the network uses them."""
    layout = Layout.of(edges.shape[1], sections)
    return View(edges, mean, scale, layout, device, PRECISIONS[sections["training"]["precision"]], held)


def can_hold(edges: np.ndarray | FilledEdges, sections: dict, device: torch.device) -> bool:
    """Whether all subjects fit on the device as networks see them; says so where they do not."""
    layout = Layout.of(edges.shape[1], sections)
    numbers = layout.n_features + (layout.n_edges if uses_graph(sections) and not layout.shared else 0)
    budget = data_budget(sections["training"]["memory"], device)
    fits = len(edges) * numbers * PRECISIONS[sections["training"]["precision"]].itemsize <= budget
    if not fits:
        source = edges if isinstance(edges, FilledEdges) else "memory"
        budget_text = f"{budget / 1e9:.2g} GB (half of training.memory, or of what is free)"
        print(f"reading batches from {source}: {len(edges)} people do not fit in {budget_text}", flush=True)
    return fits


def plan_jobs(labels: np.ndarray, groups: np.ndarray, seeds: np.ndarray, spec: dict) -> tuple[Jobs, int]:
    """One job for each network and each candidate of the search (the candidates of a network side by side)."""
    watched = np.column_stack(
        [watched_rows(column, groups, spec["validation"], int(seed)) for column, seed in zip(labels.T, seeds)]
    )
    grid = settings_grid(spec)
    if not spec["validation"] and len(grid) > 1:
        raise ValueError(
            "training.search is decided by people who are watched: set training.inner_folds, say 5, or "
            "training.validation, say 0.2."
        )
    repeated = {name: np.repeat(table, len(grid), axis=1) for name, table in (("labels", labels), ("watched", watched))}
    lr, decay = np.tile(grid, (len(seeds), 1)).T
    seeds = np.repeat(np.asarray(seeds, np.int64), len(grid))
    epochs, offset = np.full(len(seeds), spec["epochs"]), np.zeros(repeated["labels"].shape)
    how = {"lr": lr, "weight_decay": decay, "epochs": epochs, "offset": offset, "balanced": True}
    return Jobs(**repeated, seeds=seeds, **how, shuffle=int(seeds[0])), len(grid)


def chunk_size(view: View, jobs: Jobs, build, spec: dict) -> int:
    """Networks that are trained at once: one, or as many as the memory holds."""
    if len(jobs) == 1 or not train_stacked(spec["stacked"], view.device):
        return 1
    each = Training(view, jobs.take(slice(0, 1)), build, spec).bytes_of_a_step()
    budget = memory_budget(spec["memory"], view.device) - (0 if spec["memory"] is None else view.nbytes)
    size = int(np.clip(budget // each, 1, len(jobs)))
    if size < len(jobs):
        print(f"{len(jobs)} networks, {size} at a time: {each / 1e6:.0f} MB each (training.memory)", flush=True)
    return size


def _in_chunks(view: View, jobs: Jobs, build, spec: dict, keep, ticks, train=None) -> tuple[Fitted, int]:
    """Train all jobs (by `train`, if given), as many at once as fit, and keep finished chunks; say how many fit."""
    size = most = chunk_size(view, jobs, build, spec)
    train, hear = train or train_stack, getattr(ticks, "hear", None)  # who is told curves meanwhile, if anyone
    done, parts = 0, []
    while done < len(jobs):
        chunk = jobs.take(slice(done, done + size))
        try:
            one, heard = (view, chunk, build, spec), {} if hear is None else {"hear": partial(hear, done, len(jobs))}
            parts.append(train(*one, **heard) if keep is None else keep(*one, train=train, **heard))
        except torch.OutOfMemoryError as error:
            size = _halve(size, error, view.device)
            continue
        done += len(chunk)
        if ticks is not None:
            for _ in islice(ticks, len(chunk)):
                pass
    return join(parts), most


def _halve(size: int, error: Exception, device: torch.device) -> int:
    if size == 1:
        raise MemoryError(
            f"one network does not fit into the memory of {device}: lower training.batch_size or the model's width."
        ) from error
    print(f"out of memory with {size} networks at a time on {device}: going on with {size // 2}", flush=True)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return size // 2


def fingerprint(
    edges: np.ndarray | FilledEdges, sections: dict, start: Weights | None = None, code: str = __file__
) -> bytes:
    """Hash of all that decides the weights: data, settings, code, versions, kind of device, and weights to start from.

    `code` is the file of the module that trains; what it imports counts too.
    """
    settings = {**sections["training"], "search": None, "stacked": None, "memory": None, "seeds": None}
    settings["device"] = choose_device(sections["training"]["device"]).type
    made_by = [digest(code), torch.__version__, np.__version__]
    text = json.dumps([sections["model"], sections["graph"], settings, made_by], sort_keys=True)
    hashed = hashlib.sha256(text.encode())
    for part in blocks(edges.shape):
        hashed.update(np.ascontiguousarray(edges[part]).data)
    for name, value in (start or {}).items():
        hashed.update(name.encode() + value.numpy().tobytes())
    return hashed.digest()


def stored(folder: Path, data: bytes, view: View, jobs: Jobs, build, spec: dict, train=None, hear=None) -> Fitted:
    """Read these jobs' networks if they were finished before; else train them (by `train`, if given) and keep them."""
    parts = [np.ascontiguousarray(getattr(jobs, name)).tobytes() for name in jobs.__dataclass_fields__]
    path = folder / f"{hashlib.sha256(b'/'.join([data, *parts])).hexdigest()[:32]}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            weights = {name[8:]: torch.as_tensor(file[name]) for name in file.files if name.startswith("weights.")}
            fitted = Fitted(weights, *(file[name] for name in NUMBERS))
        if hear is not None:
            hear(0, fitted.curves)
        return fitted
    fitted = (train or train_stack)(view, jobs, build, spec, **({} if hear is None else {"hear": hear}))
    arrays = {f"weights.{name}": value.numpy() for name, value in fitted.weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, **arrays, **{name: getattr(fitted, name) for name in NUMBERS})
    os.replace(unfinished, path)
    return fitted


def take(fitted: Fitted, models: slice | np.ndarray) -> Fitted:
    """Some of the models."""
    weights = {name: value[models] for name, value in fitted.weights.items()}
    numbers = fitted.curves[:, models], fitted.best_epoch[models], fitted.best_loss[models], fitted.said[:, models]
    return Fitted(weights, *numbers)


def join(parts: list[Fitted]) -> Fitted:
    """Models of several chunks as one."""
    longest = max(len(part.curves) for part in parts)
    pad = lambda curves: np.pad(curves, ((0, longest - len(curves)), (0, 0), (0, 0)), constant_values=np.nan)
    weights = {name: torch.cat([part.weights[name] for part in parts]) for name in parts[0].weights}
    curves = np.concatenate([pad(part.curves) for part in parts], axis=1)
    numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("best_epoch", "best_loss"))
    return Fitted(weights, curves, *numbers, np.concatenate([part.said for part in parts], axis=1))
