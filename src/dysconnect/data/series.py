"""Files of regional series: read every form they come in, write one."""

import errno
import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.keeping.place import located
from dysconnect.keeping.sealed import NotAsWrittenError
from dysconnect.reading.archives import DAMAGED
from dysconnect.reading.numeric import (
    Numbers,
    are_numbers,
    begins_with_codes,
    check_member,
    in_order,
    is_numbering,
    match,
    read_numbers,
    refuse_absent,
)
from dysconnect.reading.tables import TableError

BY_ORDER = "order=atlas"  # key of a file whose columns stand in the order of the atlas
NUISANCE = re.compile(
    "trans_|rot_|csf|white_matter|global_signal|a_comp_cor_|framewise_displacement|std_dvars|non_steady_state_outlier"
)
MOST_CLIPPED = 0.05  # share of all values that may be the largest of them
MOST_DISPLACED = 50.0  # mm; a larger mean displacement is one in other units


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
    except TableError:
        raise
    except (*DAMAGED, ValueError) as error:
        raise ValueError(
            f"{Path(path).name} cannot be read as an archive of arrays ({error}); fetch it again"
        ) from error


def read_series(path: str | Path, key: str, nodes: pd.DataFrame) -> np.ndarray:
    """Read the regional series of one subject, columns in the order of the atlas; see `read_regions`."""
    return read_regions(path, key, nodes)[0]


def read_regions(path: str | Path, key: str, nodes: pd.DataFrame) -> tuple[np.ndarray, str]:
    """Read the regional series of one subject, and say what was decided about its columns.

    Columns with a header are matched by the atlas's `name`, else by its `node` (the code in the label image), else by
    another of its columns that holds these names (`label`, say). Columns without names, as in every ``.npy``, or with
    names or codes that the atlas lacks, are taken in the order of the atlas, but only if `key` says so.

    Parameters
    ----------
    path : path
        A table with one row a volume (``.tsv``, ``.csv``, ``.txt``, ``.1D``; C-PAC's ``.1D`` has a header of `#code`
        and may be ``.1D.gz``), or an array [T, N] (``.npy``, ``.npz``).
    key : str
        Name of the array in an ``.npz``; `BY_ORDER` for columns in the order of the atlas; else empty.
    nodes : DataFrame, [N rows]
        Atlas table.

    Returns
    -------
    series : array of float64, [T, N]
        A region that is n/a throughout is constant.
    note : str
        Empty where nothing had to be decided.

    Raises
    ------
    FileNotFoundError
        When the file is missing: it was there when it was collected.
    TableError
        When it is no table of numbers, is transposed, holds a matrix of connections, or lacks regions of the atlas.
    """
    path = Path(path)
    refuse_absent(path, "series file")
    if path.suffix == ".npz":
        return _from_archive(path, key, nodes), ""
    table = read_numbers(path)
    if not any(are_numbers(table.frame)):
        table.values()  # says why these are no numbers
    if not table.names and begins_with_codes(table, nodes):
        table = table.headed()
    _refuse_transposed(table, nodes)
    _refuse_matrix(table)
    table, columns, note = in_order(table, nodes) if key == BY_ORDER else (table, match(table, nodes), "")
    values = table.values(columns)
    return np.where(np.isnan(values).all(0), 0.0, values), note  # XCP-D writes n/a outside of the field of view


def _refuse_matrix(table: Numbers) -> None:
    """Refuse a matrix of connections of which the atlas has a part of the regions."""
    numeric = are_numbers(table.frame)
    if sum(numeric) == len(table.frame) and (looks := matrix_like(table.frame.loc[:, numeric].to_numpy(float))):
        raise TableError(f"{table.name} {looks}")


def _refuse_transposed(table: Numbers, nodes: pd.DataFrame) -> None:
    """Refuse regions x volumes: the first column holds names, or there are as many rows as regions."""
    frame, named = table.frame, table.names and not is_numbering(table.names)
    in_rows = set(nodes["name"]) <= set(frame.iloc[:, 0].astype(str)) if frame.shape[1] else False
    if in_rows or (not named and len(frame) == len(nodes) != frame.shape[1]):
        raise TableError(
            f"{table.name} is transposed: its {len(frame)} rows are the atlas's regions. Write one row a volume and "
            "one column a region"
        )


def matrix_like(values: np.ndarray) -> str:
    """Say that an array [T, N] is a matrix of connections, not series; an empty string where it may be series."""
    size, width = values.shape
    if values.size > 1 and set(np.unique(values[:2])) <= {0, 1} and set(np.unique(values)) == {0, 1}:
        return f"holds only 0 and 1: a graph, no series. {INSTEAD}"
    if size != width or size < 3:
        return ""
    apart = ~np.eye(size, dtype=bool)
    scale = np.nanmax(np.abs(np.where(np.isfinite(values) & apart, values, 0)))
    if not scale > 0:
        return ""
    alike = np.allclose(values[apart], values.T[apart], rtol=0, atol=1e-4 * scale, equal_nan=True)
    lower, upper = (bool(values[half].any()) for half in (np.tri(size, k=-1, dtype=bool), np.tri(size, k=-1).T > 0))
    diagonal = np.diag(values)
    ones = bool(np.allclose(diagonal, 1, atol=1e-6))
    if not (alike or ones or lower != upper):
        return ""
    what = "a matrix of correlations" if ones else "a matrix of connections"
    about = f"{size} x {size}" + ", symmetric" * alike + ", ones on the diagonal" * ones
    return f"holds {what} ({about}), no series. {INSTEAD}"


INSTEAD = "Give the series themselves, one row a volume; or, if all are matrices, say dataset.matrices.content"


def refuse_repeated(series: np.ndarray) -> None:
    """Refuse series [T, N] that no scanner gives: of several regions exactly alike, or cut off at a limit.

    Raises
    ------
    TableError
        Names the columns, from 1.
    """
    alive = np.flatnonzero(has_signal(series))
    first: dict[bytes, int] = {}
    twins = [(first.setdefault(series[:, k].tobytes(), k), k) for k in alive]
    twins = [(a, b) for a, b in twins if a != b]
    if twins and len({a for a, _ in twins}) == 1 and len(twins) == len(alive) - 1:
        raise TableError(f"all {len(alive)} regions with signal have one and the same series; write the table again")
    if twins:
        a, b = twins[0]
        more = f", and {len(twins) - 1} more" if len(twins) > 1 else ""
        raise TableError(
            f"regions {a + 1} and {b + 1} of the atlas have exactly the same series{more}: a column was written twice? "
            "Write the table again, or leave one of them out of the atlas"
        )
    values = series[:, alive]
    for word, limit in (("largest", values.max(initial=-np.inf)), ("smallest", values.min(initial=np.inf))):
        share = np.mean(values == limit) if values.size else 0
        if share > MOST_CLIPPED:
            raise TableError(
                f"{share:.0%} of all values are exactly the {word} of them ({limit:g}): the series are cut off there, "
                "or rounded to a few steps; write them again in full"
            )


def _from_archive(path: Path, key: str, nodes: pd.DataFrame) -> np.ndarray:
    with open_archive(path) as archive:
        if key not in archive.files:
            raise FileNotFoundError(errno.ENOENT, f"{path.name} has no series {key}", str(path))
        check_member(archive, key, f"{path.name}[{key}]")
        values = archive[key].astype(float)
    if values.shape[1] != len(nodes):
        raise ValueError(
            f"{path.name}[{key}] has shape {values.shape}, the atlas {len(nodes)} regions. "
            "Choose the atlas of the series with atlas=NAME"
        )
    return values


def read_1d(path: Path) -> tuple[np.ndarray, list[str]]:
    """Read a ``.1D``: numbers [T, N] and C-PAC's header of `#code` cells; no codes where there is no such header."""
    table = read_numbers(path)
    return table.values(), table.names


def read_confounds(path: str | Path, n_volumes: int | None = None) -> pd.DataFrame:
    """Read a confounds table with fMRIPrep's column names.

    Parameters
    ----------
    path : path
    n_volumes : int, optional
        Of the scan that the table must fit.

    Returns
    -------
    DataFrame of float, [T rows]
        ``n/a`` becomes NaN. Columns of words that nothing here reads are left out.

    Raises
    ------
    FileNotFoundError
        When the file is missing: it was there when it was collected.
    TableError
        When it is no such table, tells no motion, or has other rows than the scan has volumes.
    """
    path = Path(path)
    refuse_absent(path, "confounds file")
    table = read_numbers(path)
    if not table.names:
        raise TableError(f"confounds {path.name} has no names in its first line; use a confounds table of fMRIPrep")
    numeric = are_numbers(table.frame)
    columns = [k for k, name in enumerate(table.names) if numeric[k] or NUISANCE.match(name)]
    confounds = pd.DataFrame(table.values(columns), columns=[table.names[k] for k in columns])
    if "framewise_displacement" not in confounds:
        raise TableError(
            f"confounds {path.name} lacks the column framewise_displacement (mm): without it motion cannot be judged; "
            "use a confounds table of fMRIPrep"
        )
    if n_volumes is not None and len(confounds) != n_volumes:
        raise TableError(
            f"{n_volumes} volumes but {len(confounds)} rows of confounds; they must agree ({path.name} is of another "
            "run, or one of the two is cut short)"
        )
    _refuse_displacement(confounds["framewise_displacement"].to_numpy(), path.name)
    return confounds


def displacement_of(path: str | Path | None, n_volumes: int) -> np.ndarray | None:
    """Framewise displacement in mm, [T], of a table that `read_confounds` takes; None where there is no table."""
    return read_confounds(path, n_volumes)["framewise_displacement"].to_numpy(float) if path else None


def _refuse_displacement(displacement: np.ndarray, name: str) -> None:
    """Refuse displacements [T] that cannot be, or are not known of most volumes."""
    known = np.isfinite(displacement)
    if 2 * known[1:].sum() < len(known) - 1 or not known.any():
        raise TableError(
            f"confounds {name}: framewise_displacement holds no number in {np.sum(~known)} of {len(known)} volumes; "
            "make the table again"
        )
    wrong = np.flatnonzero(known & (displacement < 0))
    if len(wrong):
        raise TableError(
            f"confounds {name}: framewise_displacement of volume {wrong[0] + 1} is {displacement[wrong[0]]:g} mm; "
            "nothing below zero can be. Write n/a for what is not known"
        )
    if displacement[known].mean() > MOST_DISPLACED:
        raise TableError(
            f"confounds {name}: framewise_displacement is {displacement[known].mean():.0f} mm on average: no head "
            "moves so much; is it in micrometres? Write mm"
        )


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
    """Read an index of series; relative paths are resolved against the folder of the index.

    Returns
    -------
    DataFrame
        `participant_id`, `series`, `key`, `confounds`, `repetition_time` (s), `sha256`; of a task that has events
        `events`, their table, and `start_time`: when the first volume was taken, s on the clock of the events.
    """
    path = Path(path)
    index = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in {"series", "confounds", "events"} & set(index):
        index[column] = [located(cell, path.parent) for cell in index[column]]
    index["repetition_time"] = index["repetition_time"].astype(float)
    if "start_time" in index:
        index["start_time"] = pd.to_numeric(index["start_time"])  # NaN of people without series
    return index
