"""Paths as files and settings keep them: relative where they lie in the project, so that it can be moved and sent."""

import os
from collections.abc import Mapping
from pathlib import Path

# of results/, beside datasets
SHARED_FOLDERS = ("atlas", "benchmarks", "data", "logs", "mlflow-artifacts", "scratch", "sealed")


def portable(value: object, beside: str | Path = ".") -> object:
    """Write a path, or every path in settings, in a way that stays true when the project moves.

    Parameters
    ----------
    value : path, mapping, list or anything else
        Absolute paths in the working folder, that of the project, become relative; what else there is stays.
    beside : path
        Folder that they become relative to: of the file that will hold them.
    """
    if isinstance(value, Mapping):
        return {key: portable(part, beside) for key, part in value.items()}
    if isinstance(value, list):
        return [portable(part, beside) for part in value]
    if not isinstance(value, str | Path) or not os.path.isabs(value) or not _inside(value):
        return value
    return type(value)(os.path.relpath(value, beside))


def _inside(path: str | Path) -> bool:
    return Path(os.path.normpath(path)).is_relative_to(Path.cwd())


def located(cell: str, beside: str | Path) -> str:
    """Absolute path of a cell of a table in some folder; empty where it is empty."""
    return os.path.normpath(os.path.join(os.path.abspath(beside), cell)) if cell else ""
