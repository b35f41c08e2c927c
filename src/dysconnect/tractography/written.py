"""A person's matrices as a file: named, with quality and settings, and the maps that they were read from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from dysconnect.version import __version__

GIVEN = {"fa": "fa", "count": "density", "length": "length"}  # measures of connectivity, and the matrix of each


def write_person(
    path: Path,
    matrices: Mapping[str, np.ndarray],
    names: Sequence[str],
    maps: Mapping[str, np.ndarray],
    affine: np.ndarray,
    about: Mapping,
) -> None:
    """Write matrices [N, N] with the names of their rows, maps [X, Y, Z] with their affine, and notes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with h5py.File(part, "w") as file:
        file["name"] = np.asarray(names, object)
        for name, values in matrices.items():
            file.create_dataset(name, data=values.astype(np.float32), compression="gzip", compression_opts=1)
        for name, values in maps.items():
            stored = file.create_dataset(f"maps/{name}", data=values.astype(np.float32), compression="gzip")
            stored.attrs["affine"] = affine
        file.attrs.update({"about": json.dumps(about, default=float), "version": __version__})
    part.replace(path)


def read_person(path: str | Path) -> tuple[dict[str, pd.DataFrame], dict]:
    """Matrices by name, rows and columns named, and what is known of them."""
    with h5py.File(path) as file:
        names = file["name"].asstr()[:]
        arrays = {name: item[:] for name, item in file.items() if isinstance(item, h5py.Dataset) and name != "name"}
        about = json.loads(file.attrs["about"])
    return {name: pd.DataFrame(values, names, names) for name, values in arrays.items()}, about


def write_matrices(path: str | Path, folder: Path, participant: str) -> dict[str, Path]:
    """Write a person's matrices as tables with names, as other software reads and writes them; a path a measure."""
    folder.mkdir(parents=True, exist_ok=True)
    matrices, _ = read_person(path)
    written = {}
    for measure, name in GIVEN.items():
        written[measure] = folder / f"{participant}_meas-{measure}_relmat.tsv"
        matrices[name].to_csv(written[measure], sep="\t", na_rep="n/a", float_format="%.6g")
    return written
