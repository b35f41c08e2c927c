"""What several benchmarks need: files of counts that go on where they stopped, tangent vectors computed once."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from dysconnect.models.tangent import TangentSpace

COUNTS = Path(__file__).parent / "counts"  # committed: what took long to count


def lines_of(path: Path) -> list[dict]:
    """Whole lines of JSON that the file has; one that was cut off while it was written is taken away."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def add_line(path: Path, line: dict) -> None:
    """Append a line of JSON."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line, default=lambda value: value.item()) + "\n")


@contextmanager
def shared_tangent() -> Iterator[None]:
    """Inside, the same covariances give their reference, and at the same reference their vectors, without new work."""
    known: dict[tuple, np.ndarray] = {}
    learn, project = TangentSpace.fit, TangentSpace.transform

    def fit(space: TangentSpace, edges: np.ndarray, n_nodes: int) -> TangentSpace:
        key = ("reference", _digest(edges))
        if key not in known:
            known[key] = learn(space, edges, n_nodes).whitening_
        space.whitening_ = known[key]
        return space

    def transform(space: TangentSpace, edges: np.ndarray) -> np.ndarray:
        key = ("vectors", _digest(space.whitening_), _digest(edges))
        if key not in known:
            known[key] = project(space, edges)
            known[key].flags.writeable = False
        return known[key]

    with patch.object(TangentSpace, "fit", fit), patch.object(TangentSpace, "transform", transform):
        yield


def _digest(values: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values)).digest()
