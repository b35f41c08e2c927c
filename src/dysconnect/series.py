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

from dysconnect.sealed import NotAsWrittenError

BY_ORDER = "order=atlas"  # key of a file whose columns have no names and stand in the order of the atlas
NUMBER = re.compile(r"[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?|nan|n/a|", re.IGNORECASE)


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

    Columns with a header are matched by the atlas's `name`, else by its `node` (the code in the label image), else by
    another of its columns that holds these names (`label`, say). Columns without names, as in every ``.npy``, are
    taken in the order of the atlas, but only if `key` says so.

    Parameters
    ----------
    path : path
        A table with one row a volume (``.tsv``, ``.csv``, ``.txt``, ``.1D``; C-PAC's ``.1D`` has a header of `#code`
        and may be ``.1D.gz``), or an array [T, N] (``.npy``, ``.npz``).
    key : str
        Name of the array in an ``.npz``; `BY_ORDER` for columns without names; else empty.
    nodes : DataFrame, [N rows]
        Atlas table.

    Returns
    -------
    array of float64, [T, N]

    Raises
    ------
    FileNotFoundError, ValueError
        When the file is missing, is no table of numbers, is transposed, or lacks regions of the atlas.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"series file {path.name} is missing")
    if path.suffix == ".npz":
        return _from_archive(path, key, nodes)
    try:
        table, names = _read_table(path, nodes)
    except (ValueError, OSError, EOFError, IndexError, pd.errors.ParserError) as error:
        raise ValueError(f"{path.name} cannot be read as a table of numbers ({error})") from error
    if not any(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes):
        _numbers(table, path)  # says why these are no numbers
    _refuse_transposed(table, names, nodes, path)
    if names and not (_is_numbering(names) and key == BY_ORDER):
        return _numbers(table.iloc[:, _match(names, nodes, path)], path)
    if key != BY_ORDER:
        raise ValueError(
            f"{path.name} has no region names in its first line. Write them, or, if its columns stand in the order of "
            "the atlas table, say so with dataset.order=atlas"
        )
    if table.shape[1] != len(nodes):
        raise ValueError(
            f"{path.name} has {table.shape[1]} columns, the atlas {len(nodes)} regions. "
            "Choose the atlas of the series with atlas=NAME"
        )
    return _numbers(table, path)


def _read_table(path: Path, nodes: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read a table of one subject and the names of its columns; no names where the file has none."""
    if path.suffix == ".npy":
        values = np.load(path, allow_pickle=False)
        if values.ndim != 2:
            raise ValueError(f"an array of shape {values.shape}, expected (volumes, regions)")
        return pd.DataFrame(values), []
    if ".1D" in path.name:
        values, codes = read_1d(path)
        return pd.DataFrame(values), codes
    with open(path, encoding="utf-8-sig") as file:
        first = file.readline().strip("\r\n ")
    separator = next((mark for mark in "\t;," if mark in first), r"\s+")
    cells = [cell.strip(" \"'") for cell in re.split(separator, first)]
    named = (
        not all(map(NUMBER.fullmatch, cells)) or _is_numbering(cells) or set(nodes["node"].astype(str)) <= set(cells)
    )
    header = 0 if named else None
    table = pd.read_csv(path, sep=separator, header=header, na_values=["n/a"], encoding="utf-8-sig")
    if header is None:
        return table, []
    table = table.loc[:, [not str(name).startswith("Unnamed: ") for name in table.columns]]  # an index of pandas
    return table, [str(name).strip() for name in table.columns]


def _is_numbering(cells: list[str]) -> bool:
    """Whether the names of columns only count them: 0, 1, 2, ... or from 1."""
    numbers = [cell for cell in cells if cell]
    return len(numbers) > 1 and any(numbers == [str(k + start) for k in range(len(numbers))] for start in (0, 1))


def _refuse_transposed(table: pd.DataFrame, names: list[str], nodes: pd.DataFrame, path: Path) -> None:
    """Refuse regions x volumes: the first column holds names, or there are as many rows as regions."""
    in_rows = set(nodes["name"]) <= set(table.iloc[:, 0].astype(str)) if table.shape[1] else False
    if in_rows or (not names and len(table) == len(nodes) != table.shape[1]):
        raise ValueError(
            f"{path.name} is transposed: its {len(table)} rows are the atlas's regions. Write one row a volume and one "
            "column a region"
        )


def _match(names: list[str], nodes: pd.DataFrame, path: Path) -> list[int]:
    """Positions of the atlas's regions among the columns, by name, code, or another column of the atlas."""
    position = {name: k for k, name in enumerate(names)}
    others = [column for column in nodes.columns if column not in ("name", "node")]
    for column in ("name", "node", *others):
        wanted = nodes[column].astype(str)
        if wanted.is_unique and wanted.isin(position).all():
            return [position[name] for name in wanted]
    absent = [name for name in nodes["name"] if name not in position]
    if not set(names) & set(nodes["name"]) and set(names) & set(nodes["node"].astype(str)):
        absent = [code for code in nodes["node"].astype(str) if code not in position]
    hint = ", or say dataset.order=atlas if they stand in its order" if _is_numbering(names) else ""
    raise ValueError(
        f"{path.name} has {len(position)} columns and lacks {len(absent)} of the atlas's {len(nodes)} "
        f"regions (first: {absent[0]}). Choose the atlas of the series with atlas=NAME{hint}"
    )


def _numbers(table: pd.DataFrame, path: Path) -> np.ndarray:
    """Convert to float; decimal commas are refused, not guessed. A region that is n/a throughout becomes constant."""
    for values in (table[name] for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)):
        commas = values[values.astype(str).str.fullmatch(r"\s*-?\d+,\d+\s*")]
        if len(commas):
            raise ValueError(f"{path.name} has decimal commas ({commas.iloc[0]}); write it with decimal points")
    try:
        values = table.to_numpy(float)
    except ValueError as error:
        raise ValueError(f"{path.name} cannot be read as a table of numbers ({error})") from error
    return np.where(np.isnan(values).all(0), 0.0, values)  # XCP-D writes n/a for regions outside the field of view


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


def read_1d(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read a ``.1D``: numbers [T, N] and C-PAC's header of `#code` cells; no codes where there is no such header."""
    opening = gzip.open if path.suffix == ".gz" else open
    with opening(path, "rt") as file:
        codes = re.findall(r"#\s*(-?\d+)", file.readline())
        if len(codes) < 2:  # a comment, or numbers already
            codes = []
            file.seek(0)
        values = np.loadtxt(file, ndmin=2)
    return values, codes


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


def refuse_changed(index: pd.DataFrame) -> None:
    """Refuse series that are no longer what they were when they were collected.

    Parameters
    ----------
    index : DataFrame
        `participant_id`, `series` and `sha256` (of the file); archives and compressed files are passed over, whose hash
        is that of their content.

    Raises
    ------
    NotAsWrittenError
        Names the person and the file: this is no reason to exclude anybody.
    """
    for row in index.itertuples():
        path = Path(row.series) if row.series else None
        if path is None or not row.sha256 or path.suffix in (".npz", ".gz") or not path.exists():
            continue
        if series_hash(path.read_bytes()) != row.sha256:
            raise NotAsWrittenError(
                f"{row.participant_id}: {path} is not what it was when it was collected. Collect everybody again: add "
                "--forcerun acquire to the command."
            )


def read_index(path: str | Path) -> pd.DataFrame:
    """Read an index of series; relative paths are resolved against the folder of the index."""
    path = Path(path)
    index = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in ("series", "confounds"):
        index[column] = [str((path.parent / cell).resolve()) if cell else "" for cell in index[column]]
    index["repetition_time"] = index["repetition_time"].astype(float)
    return index
