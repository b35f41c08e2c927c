"""Files of regional series: read every form they come in, write one."""

import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd


def series_hash(content: bytes | np.ndarray) -> str:
    """Hash a file's bytes, or an array's values and shape, with SHA-256."""
    if isinstance(content, np.ndarray):
        content = str(content.shape).encode() + np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(content).hexdigest()


def has_signal(series: np.ndarray) -> np.ndarray:
    """Regions that are not constant, bool [N]; series [T, N]. A NaN is no signal."""
    return np.ptp(series, axis=0) > 0


@contextmanager
def open_archive(path: str | Path) -> Iterator[np.lib.npyio.NpzFile]:
    """Open an ``.npz`` for reading; a damaged one is a ValueError that names the file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise ValueError(
            f"{Path(path).name} cannot be read as an archive of arrays ({error}); fetch it again"
        ) from error


def read_series(path: str | Path, key: str, nodes: pd.DataFrame) -> np.ndarray:
    """Read the regional series of one subject, columns in the order of the atlas.

    Named columns (``.tsv``) are matched by region name, coded columns (``.1D`` of the Preprocessed
    Connectomes Project, `#code`) by the atlas's `node`; an ``.npz`` has no names, so its number of columns
    must be the atlas's.

    Parameters
    ----------
    path : path
        ``.tsv``, ``.1D``, ``.1D.gz`` or ``.npz``.
    key : str
        Name of the array in an ``.npz``.
    nodes : DataFrame, [N rows]
        Atlas table.

    Returns
    -------
    array of float64, [T, N]

    Raises
    ------
    FileNotFoundError, ValueError
        When the file is missing, is no table of numbers, or lacks regions of the atlas.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"series file {path.name} is missing")
    if path.suffix == ".npz":
        return _from_archive(path, key, nodes)
    try:
        if ".1D" in path.name:
            values, columns = _read_1d(path)
            wanted = nodes["node"].astype(str)
        else:
            table = pd.read_csv(path, sep="\t", na_values=["n/a"])
            values, columns = table.to_numpy(float), list(table.columns)
            wanted = nodes["name"]
    except (ValueError, OSError, EOFError, IndexError, pd.errors.ParserError) as error:
        raise ValueError(f"{path.name} cannot be read as a table of numbers ({error})") from error
    return values[:, _match(columns, wanted, path)]


def _from_archive(path: Path, key: str, nodes: pd.DataFrame) -> np.ndarray:
    with open_archive(path) as archive:
        if key not in archive.files:
            raise FileNotFoundError(f"{path.name} has no series {key}")
        values = archive[key].astype(float)
    if values.ndim != 2 or values.shape[1] != len(nodes):
        raise ValueError(
            f"{path.name}[{key}] has shape {values.shape}, the atlas {len(nodes)} regions. "
            "Choose the atlas of the series with atlas=NAME"
        )
    return values


def _read_1d(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read C-PAC's ``.1D``: a header of `#code` cells, then numbers."""
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt") as file:
        codes = re.findall(r"#\s*(-?\d+)", file.readline())
        values = np.loadtxt(file, ndmin=2)
    return values, codes


def _match(columns: Iterable[str], wanted: pd.Series, path: Path) -> np.ndarray:
    position = {name: k for k, name in enumerate(columns)}
    absent = [name for name in wanted if name not in position]
    if absent:
        raise ValueError(
            f"{path.name} has {len(position)} columns and lacks {len(absent)} of the atlas's {len(wanted)} "
            f"regions (first: {absent[0]}). Choose the atlas of the series with atlas=NAME"
        )
    return np.array([position[name] for name in wanted])


def read_confounds(path: str | Path) -> pd.DataFrame:
    """Read a confounds table with fMRIPrep's column names, [T rows]; ``n/a`` becomes NaN."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"confounds file {path.name} is missing")
    confounds = pd.read_csv(path, sep="\t", na_values=["n/a"])
    if "framewise_displacement" not in confounds:
        raise ValueError(
            f"confounds {path.name} lacks the column framewise_displacement (mm): without it motion cannot be judged; "
            "use a confounds table of fMRIPrep"
        )
    return confounds


def write_series(series: np.ndarray, names: Iterable[str], path: str | Path) -> None:
    """Write regional series [T, N] as TSV with the region names as header, six significant digits."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, series, fmt="%.6g", delimiter="\t", header="\t".join(names), comments="", encoding="utf-8")


def read_index(path: str | Path) -> pd.DataFrame:
    """Read an index of series; relative paths are resolved against the folder of the index."""
    path = Path(path)
    index = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in ("series", "confounds"):
        index[column] = [str((path.parent / cell).resolve()) if cell else "" for cell in index[column]]
    index["repetition_time"] = index["repetition_time"].astype(float)
    return index
