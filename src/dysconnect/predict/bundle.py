"""One file from which a new person is predicted: read without running code, and refused where it is not whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.keeping.whole import save_arrays
from dysconnect.reading.archives import DAMAGED

FORMAT = "dysconnect bundle 3"
NONE = "There is none of the floor, of measures that are exploratory, and of tables of single pairs of regions."


class ModelFileError(ValueError):
    """The file of the model cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Bundle:
    """What one file says.

    Attributes
    ----------
    about : mapping
        Signature: `experiment`, `dataset`, `contrast`, `measure`, `stored`, `estimator`, `denoise`, `atlas` (`name`,
        `title`, `hash`, and `space` where it is known), `covariates`, `nuisance`, `scan`, `people`, `scores`, `norm`.
    nodes : DataFrame, [N rows]
        The atlas's regions.
    arrays : mapping of str to array
        Names begin with what they belong to: ``model/``, ``floor/``, ``calibration/``, ``reference/``, ``norm/``,
        ``known/``; ``atlas_image`` holds the bytes of a label image.
    checksum : str
    """

    about: Mapping
    nodes: pd.DataFrame
    arrays: Mapping[str, np.ndarray]
    checksum: str

    def part(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of one part, by the rest of their names."""
        return {key[len(name) + 1 :]: value for key, value in self.arrays.items() if key.startswith(f"{name}/")}


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values of arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def atlas_hash(nodes: pd.DataFrame, image: bytes = b"") -> str:
    """SHA-256 over the names and places of the regions, and the label image."""
    table = nodes[["name", "x", "y", "z"]].to_csv(index=False, float_format="%.6g")
    return hashlib.sha256(table.encode() + image).hexdigest()


def write_bundle(path: str | Path, about: Mapping, nodes: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a bundle with its checksum; the same content gives the same bytes of arrays.

    Parameters
    ----------
    path : path
        ``.npz``.
    about : mapping
        Fit for JSON.
    nodes : DataFrame, [N rows]
    arrays : mapping of str to array
    """
    table = json.loads(nodes.to_json(orient="split", double_precision=10, index=False))
    described = {"format": FORMAT, **about, "nodes": table}
    whole = {**arrays, "about": np.array(json.dumps(described, sort_keys=True))}
    save_arrays(path, {**whole, "checksum": np.array(checksum(whole))})


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle; nothing in it is executed.

    Raises
    ------
    ModelFileError
        When it is no bundle, holds pickled objects, is of another format, or its content differs from its checksum.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"{path}: no such model file. Name a file of results/DATASET/predict/, or an MLflow run. {NONE}"
        )
    arrays = _read_arrays(path)
    if "about" not in arrays or "checksum" not in arrays:
        raise ModelFileError(
            f"{path} holds arrays, but not what it takes to predict. Name a file of results/DATASET/predict/, which "
            "`snakemake` makes of every model."
        )
    said = str(arrays.pop("checksum"))
    if checksum(arrays) != said:
        raise ModelFileError(
            f"{path}: its content is not what was written (SHA-256 {checksum(arrays)[:12]}, expected {said[:12]}): it "
            "is damaged or was changed. Take the file from its source again."
        )
    about = json.loads(str(arrays.pop("about")))
    if about.get("format") != FORMAT:
        raise ModelFileError(
            f"{path} is of the format {about.get('format')!r}, and this version reads {FORMAT!r}. Make it again with "
            "`snakemake`."
        )
    nodes = about.pop("nodes")
    table = pd.DataFrame(nodes["data"], columns=nodes["columns"])
    table = table.astype({name: float for name in ("x", "y", "z", "radius") if name in table})
    _refuse_other_atlas(path, about, table, arrays)
    return Bundle(about, table, arrays, said)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ModelFileError(f"{path} holds a single array, no model. Name a file of results/DATASET/predict/.")
            return {name: file[name] for name in file.files}
    except ModelFileError:
        raise
    except (*DAMAGED, ValueError, OSError) as error:
        why = "it holds pickled objects, which could run code" if "pickle" in str(error).lower() else str(error)
        raise ModelFileError(
            f"{path} is not read: {why}. A model is an .npz of plain arrays, as of results/DATASET/predict/."
        ) from error


def _refuse_other_atlas(path: Path, about: Mapping, nodes: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse models of other regions than the table's."""
    image = arrays["atlas_image"].tobytes() if "atlas_image" in arrays else b""
    trained = json.loads(str(arrays["model/spec"]))["nodes"]
    if trained != nodes["name"].tolist() or about["atlas"]["hash"] != atlas_hash(nodes, image):
        raise ModelFileError(f"{path}: its models were trained on other regions than its atlas lists. Make it again.")
