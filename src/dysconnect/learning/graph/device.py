"""Where to train, how many models at once, and in which precision."""

import torch

from dysconnect.data.memory import data_memory

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}  # of the weights
CPU_BUDGET = 2e9  # bytes


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


def train_stacked(wanted: bool | str, device: torch.device) -> bool:
    """Whether models are trained side by side.

    ``auto`` does so on a GPU, which one small model leaves idle. On a CPU one model at a time is as fast or faster
    (benchmarks/graph.py measures both), needs less memory, and ends as soon as its patience does.
    """
    return device.type == "cuda" if wanted == "auto" else bool(wanted)


def memory_budget(wanted: float | None, device: torch.device) -> float:
    """Bytes that models trained side by side may take; `wanted` in GB, None for most of what is free."""
    if wanted is not None:
        return wanted * 1e9
    return 0.6 * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else CPU_BUDGET


def data_budget(wanted: float | None, device: torch.device) -> float:
    """Bytes that the subjects may take on the device: half of `wanted` (GB), None for half of what is free."""
    if wanted is None and device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    return data_memory(wanted)


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Count the bytes that a forward pass keeps for the backward one: what a model costs, measured."""

    def __init__(self):
        self.seen: dict[int, int] = {}
        super().__init__(self._count, lambda tensor: tensor)

    def _count(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self.seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    @property
    def total(self) -> int:
        """Bytes of all tensors, each counted once."""
        return sum(self.seen.values())
