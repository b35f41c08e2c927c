"""Sidecars: which JSON files apply to an image (BIDS, inheritance principle), and what they tell together."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dysconnect.reading.bids.content import absent_content
from dysconnect.reading.bids.names import Named, read_name, same


def inherited(file: Named, of_folder: Callable[[str], Iterable[Named]]) -> list[str]:
    """Sidecars that apply to a file, the most general first (BIDS, inheritance principle).

    Those of the folder of the dataset and of every folder between it and the file, of the same suffix, whose entities
    are all in the file's name with the same values.

    Parameters
    ----------
    file : Named
    of_folder : callable
        Gives the JSON files of a folder, relative to the dataset.
    """
    applying = []
    for folder in folders_above(file.folder):
        of_level = [named for named in of_folder(folder) if named.suffix == file.suffix and _within(named, file)]
        applying += sorted(of_level, key=lambda named: (len(named.entities), len(named.extension), named.path))
    return [named.path for named in applying]


def folders_above(folder: str) -> list[str]:
    """A relative folder and all above it, the dataset's first."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:k]) for k in range(len(parts) + 1)]


def _within(sidecar: Named, file: Named) -> bool:
    return all(same(key, file.entities.get(key), value) for key, value in sidecar.entities.items())


def sidecars_of(path: str | Path, root: str | Path | None = None) -> list[Path]:
    """Sidecars on disk that apply to an image, the most general first.

    Parameters
    ----------
    path : path
    root : path, optional
        Folder of the dataset; without it the folder that holds the image's ``sub-X``, else that of the image.
    """
    path = Path(path)
    root = _root_of(path) if root is None else Path(root)
    file = read_name(path.relative_to(root).as_posix())

    def of_folder(folder: str) -> list[Named]:
        names = [name for name in os.listdir(root / folder) if name.endswith(".json")]
        return [read_name(f"{folder}/{name}" if folder else name) for name in names]

    return [root / sidecar for sidecar in inherited(file, of_folder)] if path.parent.is_dir() else []


def _root_of(path: Path) -> Path:
    participant = read_name(path.name).participant_id
    return next((folder.parent for folder in path.parents if folder.name == participant), path.parent)


def read_sidecars(paths: Iterable[str | Path]) -> tuple[dict, dict[str, str]]:
    """Merge sidecars key by key, the later over the earlier.

    Returns
    -------
    values : dict
        By key.
    origins : dict of str to str
        Name of the file that each comes from.

    Raises
    ------
    ValueError
        When one is no JSON object.
    """
    merged: dict = {}
    origins: dict[str, str] = {}
    for path in map(Path, paths):
        values = read_object(path)
        merged |= values
        origins |= dict.fromkeys(values, path.name)
    return merged, origins


def read_object(path: str | Path) -> dict:
    """Read a JSON file that holds an object.

    Raises
    ------
    ValueError
        When it is none, or a link without content.
    """
    path = Path(path)
    if absent := absent_content(path.parent, [path.name]):
        raise ValueError(absent)
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is no JSON ({error}); mend it, or delete it") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} holds no JSON object, {{...}}; mend it, or delete it")
    return document


def is_derivative(root: str | Path) -> bool:
    """Whether a dataset says of itself that it is made of another one (`DatasetType`)."""
    try:
        return read_object(Path(root) / "dataset_description.json").get("DatasetType") == "derivative"
    except (ValueError, OSError):
        return False


def made_by(description: str | Path) -> str:
    """Which software made a data set, by its ``dataset_description.json``: "QSIRecon 1.0.1, QSIPrep 1.0.0".

    `GeneratedBy`, or `PipelineDescription` as drafts of BIDS called it. Nothing ("") of raw data, where a converter is
    named, and where nothing is said.
    """
    try:
        told = read_object(description)
    except (ValueError, OSError):
        return ""
    if told.get("DatasetType") == "raw":
        return ""
    tools = told.get("GeneratedBy") or told.get("PipelineDescription") or []
    tools = [tool for tool in ([tools] if isinstance(tools, dict) else tools) if isinstance(tool, dict)]
    words = [" ".join(str(tool.get(key) or "") for key in ("Name", "Version")) for tool in tools]
    return ", ".join(filter(None, (" ".join(text.split()) for text in words)))
