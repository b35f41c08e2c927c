"""Train any number of networks on one fold: search, chunks that fit the memory, and what an interruption leaves."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dysconnect.data.edges import blocks
from dysconnect.keeping.code import digest
from dysconnect.learning.graph.device import PRECISIONS, choose_device, data_budget, memory_budget, train_stacked
from dysconnect.learning.graph.fit import Fitted, Jobs, Training, train_stack
from dysconnect.learning.graph.stack import Stack, Weights
from dysconnect.learning.graph.view import FilledEdges, View, learn_scale, watched_rows
from dysconnect.models.cards import CARDS
from dysconnect.models.graph.layers import LinearPath
from dysconnect.models.networks import build_network

SEARCHED = ("lr", "weight_decay")


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
    chunk: int = 1

    def take(self, k: int) -> "Networks":
        """The k-th network alone."""
        return replace(
            self, fitted=take(self.fitted, slice(k, k + 1)), chosen=self.chosen[k : k + 1], tried=self.tried[k : k + 1]
        )

    def history(self) -> list[dict]:
        """Every epoch of the only network: losses, AUC, and the learning rate and decay that were chosen."""
        curve = self.fitted.curves[:, 0]
        chosen = dict(zip(SEARCHED, self.chosen[0].tolist()))
        rows = (dict(zip(("train_loss", "val_loss", "val_auc"), row.tolist())) for row in curve)
        ran = np.flatnonzero(~np.isnan(curve[:, :2]).all(1))
        return [{"epoch": epoch, **row, **chosen} for epoch, row in enumerate(islice(rows, ran[-1] + 1))]

    def search(self) -> list[dict]:
        """Every candidate of the only network's search: `lr`, `weight_decay`, `val_loss`, `best_epoch`, `chosen`."""
        rows = [dict(zip((*SEARCHED, "val_loss", "best_epoch"), row.tolist())) for row in self.tried[0]]
        best = self.tried[0, :, 2].argmin() if rows else None
        return [{**row, "best_epoch": int(row["best_epoch"]), "chosen": k == best} for k, row in enumerate(rows)]

    @torch.inference_mode()
    def decide(self, edges: np.ndarray | FilledEdges) -> np.ndarray:
        """Logits of Fisher z edges, read in blocks, [n, E] -> [n, K]."""
        device = choose_device(self.sections["training"]["device"])
        dtype = PRECISIONS[self.sections["training"]["precision"]]
        stacks = [
            Stack.restore(self._build, take(self.fitted, slice(start, start + self.chunk)).weights, device, dtype)
            for start in range(0, len(self.chosen), self.chunk)
        ]
        logits = []
        for start in range(0, len(edges), 64):
            view = make_view(edges[start : start + 64], self.mean, self.scale, self.n_nodes, self.sections, device)
            x, graph = view.batch(torch.arange(len(view), device=device))
            logits.append(torch.cat([stack(x, graph)[0] for stack in stacks]).T.cpu().numpy())
        return np.concatenate(logits) if logits else np.empty((0, len(self.chosen)))

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
    device, n_nodes = choose_device(spec["device"]), nodes_of(edges.shape[1])
    build = partial(start_network, sections["model"], n_nodes, start or {})
    with torch.random.fork_rng(devices=[]):
        build()  # an unknown name or option stops here
    mean, scale = learn_scale(edges)
    view = make_view(edges, mean, scale, n_nodes, sections, device, can_hold(edges, sections, device))
    jobs, candidates = plan_jobs(labels, groups, seeds, spec)
    size = chunk_size(view, jobs, build, spec)
    kept = None if store is None else partial(stored, Path(store), fingerprint(edges, sections, start))
    fitted = _in_chunks(view, jobs, build, spec, size, kept or train_stack, ticks)
    loss = fitted.best_loss.reshape(-1, candidates)
    if not np.isfinite(loss).any(1).all():
        raise ValueError(f"the loss was never finite; lower training.lr (now {jobs.lr.min():g}).")
    best = np.arange(len(loss)) * candidates + loss.argmin(1)
    tried = np.column_stack([jobs.lr, jobs.weight_decay, fitted.best_loss, fitted.best_epoch])
    shape = (len(loss), candidates, 4)
    return Networks(sections, n_nodes, mean, scale, take(fitted, best), tried[best, :2], tried.reshape(shape), size)


def start_network(spec: dict, n_nodes: int, start: Weights) -> nn.Module:
    """A random network that has some weights of another's; a linear model beside it has none."""
    network = build_network(spec, n_nodes)
    nonlinear = network.network if isinstance(network, LinearPath) else network
    nonlinear.load_state_dict({**nonlinear.state_dict(), **start})
    return network


def restore_network(arrays: dict[str, np.ndarray], sections: dict, n_nodes: int) -> Networks:
    """One trained network from its arrays: `scale_mean`, `scale_sd` [E], and its weights as ``network.NAME``."""
    weights = {name[8:]: torch.as_tensor(value)[None] for name, value in arrays.items() if name.startswith("network.")}
    fitted = Fitted(weights, np.empty((0, 1, 3)), np.zeros(1, int), np.full(1, np.nan))
    scale = arrays["scale_mean"], arrays["scale_sd"]
    return Networks(sections, n_nodes, *scale, fitted, np.full((1, 2), np.nan), np.empty((1, 0, 4)))


def nodes_of(n_edges: int) -> int:
    """Regions of a connectome with E edges, N (N - 1) / 2 = E."""
    n_nodes = round((1 + (1 + 8 * n_edges) ** 0.5) / 2)
    if n_nodes < 2 or n_nodes * (n_nodes - 1) // 2 != n_edges:
        raise ValueError(f"{n_edges} features are no upper triangle of a matrix, N (N - 1) / 2: 1, 3, 6, 10, 15, ...")
    return n_nodes


def make_view(edges, mean, scale, n_nodes: int, sections: dict, device: torch.device, held: bool = True) -> View:
    """View subjects on the device, with graphs where the network uses them."""
    density = sections["graph"]["density"] if _uses_graph(sections) else None
    return View(edges, mean, scale, n_nodes, density, device, PRECISIONS[sections["training"]["precision"]], held)


def _uses_graph(sections: dict) -> bool:
    return "graph" in CARDS[sections["model"]["name"]].needs


def can_hold(edges: np.ndarray | FilledEdges, sections: dict, device: torch.device) -> bool:
    """Whether all subjects fit on the device as networks see them; says so where they do not."""
    each = PRECISIONS[sections["training"]["precision"]].itemsize * (2 if _uses_graph(sections) else 1)
    budget = data_budget(sections["training"]["memory"], device)
    fits = edges.shape[0] * edges.shape[1] * each <= budget
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
    if not spec["validation"] and any(len(spec["search"].get(key) or ()) > 1 for key in SEARCHED):
        raise ValueError("training.search is decided by people who are watched: set training.validation, say 0.2.")
    grid = np.array(list(product(*(spec["search"].get(key) or [spec[key]] for key in SEARCHED))), float)
    repeated = {name: np.repeat(table, len(grid), axis=1) for name, table in (("labels", labels), ("watched", watched))}
    lr, decay = np.tile(grid, (len(seeds), 1)).T
    seeds = np.repeat(np.asarray(seeds, np.int64), len(grid))
    return Jobs(**repeated, seeds=seeds, lr=lr, weight_decay=decay, shuffle=int(seeds[0])), len(grid)


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


def _in_chunks(view, jobs: Jobs, build, spec: dict, size: int, train, ticks) -> Fitted:
    done, parts = 0, []
    while done < len(jobs):
        chunk = jobs.take(slice(done, done + size))
        try:
            parts.append(train(view, chunk, build, spec, **_heard(ticks, done, len(jobs))))
        except torch.OutOfMemoryError as error:
            size = _halve(size, error, view.device)
            continue
        done += len(chunk)
        if ticks is not None:
            for _ in islice(ticks, len(chunk)):
                pass
    return join(parts)


def _heard(ticks: Iterator | None, first: int, jobs: int) -> dict:
    """Whom curves are told (`Ticks`), if anyone."""
    hear = getattr(ticks, "hear", None)
    return {} if hear is None else {"hear": partial(hear, first, jobs)}


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
            fitted = Fitted(weights, file["curves"], file["best_epoch"], file["best_loss"])
        if hear is not None:
            hear(0, fitted.curves)
        return fitted
    fitted = (train or train_stack)(view, jobs, build, spec, **({} if hear is None else {"hear": hear}))
    arrays = {f"weights.{name}": value.numpy() for name, value in fitted.weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, **arrays, curves=fitted.curves, best_epoch=fitted.best_epoch, best_loss=fitted.best_loss)
    os.replace(unfinished, path)
    return fitted


def take(fitted: Fitted, models: slice | np.ndarray) -> Fitted:
    """Some of the models."""
    weights = {name: value[models] for name, value in fitted.weights.items()}
    return Fitted(weights, fitted.curves[:, models], fitted.best_epoch[models], fitted.best_loss[models])


def join(parts: list[Fitted]) -> Fitted:
    """Models of several chunks as one."""
    longest = max(len(part.curves) for part in parts)
    pad = lambda curves: np.pad(curves, ((0, longest - len(curves)), (0, 0), (0, 0)), constant_values=np.nan)
    weights = {name: torch.cat([part.weights[name] for part in parts]) for name in parts[0].weights}
    curves = np.concatenate([pad(part.curves) for part in parts], axis=1)
    numbers = (np.concatenate([getattr(part, name) for part in parts]) for name in ("best_epoch", "best_loss"))
    return Fitted(weights, curves, *numbers)
