"""Train a graph neural network with early stopping, on CPU or GPU with the same code."""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from dysconnect.models.edges import matrix_from_edges
from dysconnect.models.gcn import DenseGCN, adjacency


def choose_device(wanted: str) -> torch.device:
    """Return the device to train on: ``auto`` takes the GPU where there is one."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"training.device={wanted}, but torch sees no GPU. Set training.device=auto or cpu.")
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(f"training.device={wanted} is unknown; set auto, cpu, cuda or cuda:1.") from error


@dataclass
class GraphClassifier:
    """A GCN with everything it learns from the training subjects: feature scaling, weights, best epoch.

    Parameters
    ----------
    model : dict
        `hidden`, `readout`, `dropout`.
    graph : dict
        `density`: fraction of edges kept in each graph.
    training : dict
        `epochs`, `patience`, `batch_size`, `lr`, `weight_decay`, `device`.
    n_nodes : int
        N regions.

    Attributes
    ----------
    history_ : list of dict
        `epoch`, `train_loss`, `val_loss`, `val_auc` of every epoch.
    best_epoch_ : int
    """

    model: dict
    graph: dict
    training: dict
    n_nodes: int
    history_: list[dict] = field(default_factory=list)

    def fit(self, edges: np.ndarray, y: np.ndarray, fit_rows: np.ndarray, watch_rows: np.ndarray, seed: int):
        """Fit on Fisher z edges [n, E] and labels [n]; `watch_rows` decide when to stop."""
        self.history_ = []
        self.mean_ = edges[fit_rows].mean(0)
        self.scale_ = np.maximum(edges[fit_rows].std(0), 1e-6)
        device = choose_device(self.training["device"])
        x, graph = self._views(edges, device)
        target = torch.as_tensor(y, dtype=torch.float32, device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self.network_ = self._network().to(device)
            self._run(x, graph, target, torch.as_tensor(fit_rows), torch.as_tensor(watch_rows), seed)
        return self

    def decide(self, edges: np.ndarray) -> np.ndarray:
        """Logits of Fisher z edges, [n, E] -> [n]."""
        device = next(self.network_.parameters()).device
        self.network_.eval()
        with torch.inference_mode():
            chunks = [edges[start : start + 64] for start in range(0, len(edges), 64)]
            return np.concatenate([self.network_(*self._views(chunk, device)).cpu().numpy() for chunk in chunks])

    def _network(self) -> DenseGCN:
        sizes = {name: self.model[name] for name in ("hidden", "readout", "dropout")}
        return DenseGCN(self.n_nodes, self.n_nodes, **sizes)

    def _views(self, edges: np.ndarray, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Node features (rows of the standardised connectome) and adjacency, both [n, N, N]."""
        standard = ((edges - self.mean_) / self.scale_).astype(np.float32)
        x = torch.as_tensor(matrix_from_edges(standard, self.n_nodes), device=device)
        z = torch.as_tensor(matrix_from_edges(edges.astype(np.float32), self.n_nodes), device=device)
        return x, adjacency(z, self.graph["density"])

    def _run(self, x, graph, target, fit_rows, watch_rows, seed: int) -> None:
        spec = self.training
        optimizer = torch.optim.AdamW(self.network_.parameters(), lr=spec["lr"], weight_decay=spec["weight_decay"])
        share = target[fit_rows].mean().clamp(0.05, 0.95)
        criterion = nn.BCEWithLogitsLoss(pos_weight=(1 - share) / share)
        shuffler = torch.Generator().manual_seed(seed)
        best, best_state, waited = np.inf, None, 0
        for epoch in range(spec["epochs"]):
            losses = self._epoch(x, graph, target, fit_rows, optimizer, criterion, shuffler)
            watched, auc = self._watch(x, graph, target, watch_rows, criterion)
            self.history_.append({"epoch": epoch, "train_loss": losses, "val_loss": watched, "val_auc": auc})
            if watched < best - 1e-4:
                best, best_state, waited = watched, copy.deepcopy(self.network_.state_dict()), 0
                self.best_epoch_ = epoch
            elif (waited := waited + 1) >= spec["patience"]:
                break
        if best_state is None:
            raise ValueError(f"the validation loss was never finite; lower training.lr (now {spec['lr']:g}).")
        self.network_.load_state_dict(best_state)

    def _epoch(self, x, graph, target, rows, optimizer, criterion, shuffler) -> float:
        """One pass over the training subjects; returns the mean loss."""
        self.network_.train()
        order = rows[torch.randperm(len(rows), generator=shuffler)].to(x.device)
        total = torch.zeros((), device=x.device)
        for batch in order.split(self.training["batch_size"]):
            optimizer.zero_grad()
            loss = criterion(self.network_(x[batch], graph[batch]), target[batch])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        return float(total) / len(rows)

    def _watch(self, x, graph, target, rows, criterion) -> tuple[float, float]:
        """Loss and AUC on the subjects held out for early stopping, dropout off."""
        self.network_.eval()
        rows = rows.to(x.device)
        with torch.inference_mode():
            logits = torch.cat([self.network_(x[part], graph[part]) for part in rows.split(64)])
        labels = target[rows].cpu().numpy()
        usable = 0 < labels.sum() < len(labels) and bool(torch.isfinite(logits).all())
        auc = roc_auc_score(labels, logits.cpu().numpy()) if usable else np.nan
        return float(criterion(logits, target[rows])), float(auc)

    def state(self) -> dict[str, np.ndarray]:
        """Everything needed to predict, as arrays."""
        weights = {f"network.{name}": value.cpu().numpy() for name, value in self.network_.state_dict().items()}
        return {"scale_mean": self.mean_, "scale_sd": self.scale_, **weights}

    def load_state(self, arrays: dict[str, np.ndarray]) -> "GraphClassifier":
        """Restore from `state`."""
        self.mean_, self.scale_ = arrays["scale_mean"], arrays["scale_sd"]
        self.network_ = self._network()
        weights = {name[8:]: torch.as_tensor(value) for name, value in arrays.items() if name.startswith("network.")}
        self.network_.load_state_dict(weights)
        return self
