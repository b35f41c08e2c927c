"""What a project has released: hashes of who was in and of which columns, beside the results, so that it outlives them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from dysconnect.share.columns import Design
from dysconnect.share.package import Package

FILE = "released.json"  # in the project, as the list of those who have withdrawn


@dataclass
class Ledger:
    """Releases of a project."""

    path: Path
    releases: list[dict] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> "Ledger":
        """Read the ledger of a project; empty where there is none."""
        path = Path(path)
        return cls(path, json.loads(path.read_text())["releases"] if path.exists() else [])

    def add(self, package: Package, design: Design) -> None:
        """Write a release down, once."""
