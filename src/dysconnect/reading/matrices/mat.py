"""Matrices in MATLAB's files, those of QSIRecon and DSI Studio among them, with the names that go with them.

QSIRecon writes ``atlas_ATLAS_MEASURE_connectivity`` [M, M], ``atlas_ATLAS_region_labels`` and
``atlas_ATLAS_region_ids`` (https://qsirecon.readthedocs.io); DSI Studio ``connectivity`` and ``name``, letters as
numbers with a line break after each region.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dysconnect.reading.matrices.names import fitted
from dysconnect.reading.matrices.rows import RowNames, holding
from dysconnect.reading.tables import TableError

LABELS = re.compile(r"(.*_)?(region|roi|node|parcel)?_?(labels?|names?|regions|rois)", re.IGNORECASE)
NUMBERS = re.compile(r"(.*_)?(region|roi|node|parcel)_?(ids?|index|indices|numbers?)", re.IGNORECASE)
ATLAS = re.compile(r"atlas_(?P<atlas>[A-Za-z0-9]+)_(?P<what>.+)")


def read_mat(path: Path, key: str, segmentation: str) -> tuple[np.ndarray, RowNames]:
    """Read the matrix that is meant, [M, M], and what its rows are called; see `read_square`."""
    variables = _variables(path)
    squares = {
        name: values
        for name, values in variables.items()
        if values.ndim == 2 and values.shape[0] == values.shape[1] > 2 and values.dtype.kind in "iuf"
    }
    name = _chosen(squares, key, segmentation, path.name)
    values = squares[name].astype(float)
    return values, _names(variables, name, holding(values), path.name)


def _chosen(squares: Mapping[str, np.ndarray], key: str, segmentation: str, file: str) -> str:
    """Name of the matrix that is meant, of all in the file."""
    if not squares:
        raise TableError(f"{file} holds no square matrix of numbers; save one as a variable")
    if key in squares:
        return key
    fitting = [name for name in squares if not segmentation or _atlas(name) in ("", segmentation)]
    wanted = [name for name in fitting if not key or _measure(name) == key]
    wanted = wanted or [name for name in fitting if key and f"_{key}_" in f"_{name}_"]
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        raise TableError(
            f"{file} has no matrix {key or segmentation}; there are {_listed(squares)}. Set dataset.matrices.key"
        )
    atlases = sorted({_atlas(name) for name in wanted} - {""})
    if len(atlases) > 1:
        raise TableError(f"{file} has several atlases: say dataset.segmentation={' or '.join(atlases[:6])}")
    keys = [_measure(name) for name in wanted]
    raise TableError(f"{file} has {len(wanted)} matrices: say dataset.matrices.key={' or '.join(keys[:6])}")


def _listed(names: Mapping[str, object], most: int = 6) -> str:
    return ", ".join(list(names)[:most]) + ", ..." * (len(names) > most)


def _atlas(name: str) -> str:
    match = ATLAS.fullmatch(name)
    return match["atlas"] if match else ""


def _measure(name: str) -> str:
    match = ATLAS.fullmatch(name)
    return match["what"].removesuffix("_connectivity") if match else name


def _names(variables: Mapping[str, np.ndarray], name: str, holds: np.ndarray, file: str) -> RowNames:
    """Labels and numbers of the rows: of the same atlas, where names tell it; of several those that are as many."""
    atlas, size = f"atlas_{_atlas(name)}_" if _atlas(name) else "", len(holds)
    same = {key: value for key, value in variables.items() if key.startswith(atlas) and key != name}
    labels = [texts for key, value in same.items() if LABELS.fullmatch(key) and len(texts := _texts(value)) > 1]
    numbers = [value.ravel() for key, value in same.items() if NUMBERS.fullmatch(key) and value.dtype.kind in "iuf"]
    if not labels:
        return RowNames()
    lengths = {len(ids) for ids in numbers}
    best = min(labels, key=lambda texts: (len(texts) != size, len(texts) not in lengths))
    alike = [ids for ids in numbers if len(ids) == len(best)]
    ways = [texts for texts in labels if len(texts) == len(best)]
    return fitted(ways, alike[0].astype(int).tolist() if alike else [], holds, file)


def _texts(value: np.ndarray) -> list[str]:
    """Words in cells, in rows of letters, or in letters as numbers with line breaks between."""
    if value.dtype.kind == "O":
        return [_word_in(cell) for cell in value.ravel()]
    if value.dtype.kind == "U":
        return [cell.strip() for cell in value.ravel()]
    if value.dtype.kind in "iu" and 10 in value and np.isin(value[value < 32], (0, 9, 10, 13)).all():
        return bytes(value.ravel().astype(np.uint8)).decode("utf-8", errors="replace").strip("\n\0").split("\n")
    return []


def _word_in(cell: object) -> str:
    """What a cell says, however deep in other cells."""
    while isinstance(cell, np.ndarray) and cell.dtype == object and cell.size == 1:
        cell = cell.item()
    parts = [
        part.decode("utf-8", errors="replace") if isinstance(part, bytes) else str(part) for part in np.ravel(cell)
    ]
    return "".join(parts).strip()


def _variables(path: Path) -> dict[str, np.ndarray]:
    """Variables of a file of any version, by name."""
    import h5py
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError
    from scipy.sparse import issparse

    try:
        if h5py.is_hdf5(path):  # version 7.3
            return _of_hdf5(path)
        found = {name: value.toarray() if issparse(value) else value for name, value in loadmat(path).items()}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    except (ValueError, TypeError, MatReadError, OSError) as error:
        raise TableError(f"{path.name} cannot be read as a file of MATLAB ({error}); fetch or save it again") from error


def _of_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Variables of HDF5: arrays lie the other way round, words are numbers, cells refer to them."""
    import h5py

    with h5py.File(path) as file:
        found = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        return {name: _value(file, item) for name, item in found.items()}


def _value(file, item) -> np.ndarray:
    import h5py

    if h5py.check_ref_dtype(item.dtype):
        return np.array([_word(file[cell]) for cell in np.ravel(item[()].T)], object)
    if item.attrs.get("MATLAB_class") == b"char":
        rows = np.atleast_2d(item[()].T)
        return np.array(["".join(map(chr, row)) for row in rows])
    return item[()].T


def _word(cell) -> str:
    """Letters that a cell refers to; "" where it refers to anything else."""
    letters = getattr(cell, "dtype", None) is not None and cell.dtype.kind in "iu"
    if not letters or cell.attrs.get("MATLAB_class", b"char") != b"char" or cell.attrs.get("MATLAB_empty"):
        return ""
    return "".join(chr(int(letter)) for letter in np.ravel(cell[()].T))
