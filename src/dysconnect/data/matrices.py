"""What matrices hold that people bring: whether their values can be that, and what of them is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.measures import measure_of
from dysconnect.data.series import series_hash
from dysconnect.keeping.place import located, portable
from dysconnect.reading.matrices import aligned, holding, read_names, read_square
from dysconnect.reading.matrices.square import Square
from dysconnect.reading.tables import TableError

LARGEST_Z = 10.0  # r of .999999996: two regions with one series
LONGEST = 500.0  # mm: no streamline of a brain is longer
ROUNDED = 1e-3  # of a correlation of 1
FEWEST = 6  # regions, whose connections are not all alike by chance
LEAST_FA = 0.05  # of the most anisotropic connection; diffusivities in mm2/s are far below


@dataclass(frozen=True)
class Content:
    """What the numbers of a matrix are.

    Attributes
    ----------
    name : str
        As in ``dataset.matrices.content``.
    measures : tuple of str
        Measures of connectivity that it gives, the first where nobody says which.
    limits : tuple of two floats
        Between which the values lie.
    words : str
        For messages.
    least : float
        Which the largest value of a matrix reaches, whoever it is of.
    transformed : bool
        Whether the values are what the measure stores already.
    """

    name: str
    measures: tuple[str, ...]
    limits: tuple[float, float]
    words: str
    least: float = 0.0
    transformed: bool = False


CONTENTS = {
    content.name: content
    for content in (
        Content("correlation", ("correlation",), (-1, 1), "correlations, between -1 and 1"),
        Content("fisher_z", ("correlation", "partial"), (-LARGEST_Z, LARGEST_Z), "Fisher z", transformed=True),
        Content("partial", ("partial",), (-1, 1), "partial correlations, between -1 and 1"),
        Content("fa", ("fa",), (0, 1), "fractional anisotropy, between 0 and 1", LEAST_FA),
        Content("count", ("count",), (0, np.inf), "counts of streamlines from 0"),
        Content("length", ("length",), (0, LONGEST), f"lengths of streamlines, 0 to {LONGEST:g} mm", 1.0),
        Content("binary", ("binary",), (0, 1), "0 and 1"),
    )
}


TRACED = ("fa", "count", "length")  # measures that streamlines give


def traced_matrices(measure: str) -> dict:
    """How matrices of this project's streamlines are read, as `dataset.matrices`; counts are divided by volumes."""
    content = measure if measure in TRACED else TRACED[0]
    return {"content": content, "key": None, "labels": None, "scaled": content == "count"}


@dataclass(frozen=True)
class Connections:
    """One person's connections in the order of the atlas.

    Attributes
    ----------
    values : array of float, [N, N]
        As the measure stores them, symmetric; NaN on the diagonal, at missing regions, and where a measure that has
        gaps was not measured.
    missing : array of bool, [N]
        Regions without any connection.
    note : str
        What was decided about the file.
    """

    values: np.ndarray
    missing: np.ndarray
    note: str = ""


def contents_of(measure: str) -> list[str]:
    """Contents of matrices that give a measure."""
    return [content.name for content in CONTENTS.values() if measure in content.measures]


def matrix_hash(row: Mapping[str, str]) -> str:
    """Hash of a person's matrix and of the table that names its rows."""
    paths = [row["matrix"], *([row["labels"]] if row["labels"] else [])]
    return series_hash(b"".join(Path(path).read_bytes() for path in paths))


def read_index_of_matrices(path: str | Path) -> pd.DataFrame:
    """Read an index of matrices, all cells as words; relative paths are resolved against its folder."""
    path = Path(path)
    index = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    files = {column: [located(cell, path.parent) for cell in index[column]] for column in ("matrix", "labels")}
    return index.assign(**files)


def write_index_of_matrices(index: pd.DataFrame, path: str | Path) -> None:
    """Write an index of matrices; paths in the project become relative to it, so that the project can be moved."""
    folder = Path(path).parent
    files = {column: [portable(cell, folder) for cell in index[column]] for column in ("matrix", "labels")}
    index.assign(**files).to_csv(path, sep="\t", index=False)


def read_connections(entry: Mapping[str, str], nodes: pd.DataFrame) -> Connections:
    """Read one person's matrix, bring it into the order of the atlas and check what it holds.

    Parameters
    ----------
    entry : mapping
        Row of the index of matrices: `matrix`, `labels` (paths), `key`, `segmentation`, `order`, `content`, `scaled`.
    nodes : DataFrame, [N rows]

    Raises
    ------
    FileNotFoundError
        When a file is gone.
    ValueError
        With file, what is wrong, and the remedy.
    """
    square, beside = read_square(entry["matrix"], entry["key"], entry["segmentation"]), ""
    if entry["labels"] and not (square.rows.words or square.columns.words):
        names = read_names(entry["labels"], holding(square.values))
        square = Square(square.name, square.values, names, names)
        beside = f"rows are named by {Path(entry['labels']).name}"
    values, note = aligned(square, nodes, entry["order"] == "atlas")
    note = "; ".join(filter(None, [beside, note]))
    return checked(values, nodes, CONTENTS[entry["content"]], square.name, note, entry["scaled"] == "true")


def checked(
    values: np.ndarray,
    nodes: pd.DataFrame,
    content: Content,
    name: str,
    note: str = "",
    scaled: bool = False,
) -> Connections:
    """Check a symmetric matrix [N, N] in the order of the atlas against what it is said to hold.

    The diagonal says nothing of connections, and is not looked at. A region whose row holds nothing but zeros or n/a
    is missing. So is a single connection of a measure with gaps that is zero or n/a: no streamline ran there.

    Raises
    ------
    TableError
        When the values cannot be that, or single ones are n/a that must be known.
    """
    measure = measure_of(content.measures[0])
    apart, names = ~np.eye(len(values), dtype=bool), nodes["name"].to_numpy()
    nothing = np.isnan(values) | (values == 0)
    missing = (nothing | ~apart).all(1)
    if missing.all():
        raise TableError(f"{name} holds nothing but zeros and n/a")
    seen = apart & ~missing[:, None] & ~missing[None, :]
    _refuse_values(values, seen & ~np.isnan(values), content, names, name, scaled)
    gaps = seen & (nothing if measure.gaps else np.isnan(values))
    if gaps.any() and not measure.gaps:
        a, b = names[np.argwhere(gaps)[0]]
        raise TableError(
            f"{name}: the value between {a} and {b} is n/a, and both have others. Write a number there, or n/a into "
            "the whole row and column of a region that was not measured"
        )
    known = seen & ~gaps
    stored = np.full(values.shape, np.nan)
    stored[known] = values[known] if content.transformed else measure.transformed(values[known])
    return Connections(stored, missing, "; ".join(filter(None, [note, _said(values[seen], content)])))


def _refuse_values(
    values: np.ndarray, seen: np.ndarray, content: Content, names: np.ndarray, name: str, scaled: bool
) -> None:
    """Refuse values of the mask `seen` [N, N] that cannot be what they are called."""
    low, high = content.limits
    there, said = values[seen], f"{name} is said to hold {content.words}"
    wrong = np.argwhere(seen & ~((values >= low) & (values <= high) & np.isfinite(values)))
    if len(wrong):
        a, b = wrong[0]
        others = " or ".join(kind for kind in CONTENTS if kind != content.name)
        raise TableError(
            f"{said}, but {values[a, b]:g} stands between {names[a]} and {names[b]}. What is it? "
            f"dataset.matrices.content={others}"
        )
    if there.max(initial=0) < content.least:
        raise TableError(f"{said}, but the largest is {there.max():.3g}: another quantity, or other units? Write those")
    two = set(np.unique(there)) <= {0, 1}
    if two and content.name != "binary":
        raise TableError(f"{said}, and holds 0 and 1 only. If it is a graph, say dataset.matrices.content=binary")
    _refuse_alike(np.where(seen, values, np.nan), content, names, name)
    _refuse_repeated(np.where(seen, values, np.nan), names, name)
    fractions = there[there != np.round(there)]
    if content.name == "binary" and not two:
        raise TableError(f"{said} only, and holds {fractions[0]:g} too. Say what it is: dataset.matrices.content=...")
    if content.name == "count" and len(fractions) and not scaled:
        raise TableError(
            f"{said}, and {fractions[0]:g} is not whole. If they are weighted (SIFT2) or divided by volumes, say "
            "dataset.matrices.scaled=true"
        )
    if content.limits == (-1, 1):
        _refuse_ones(np.argwhere(seen & (np.abs(values) == 1)), names, name)
        _refuse_diagonal(np.diag(values), said)
    if content.name == "fisher_z" and np.abs(there).max() < 1 and np.allclose(np.diag(values), 1):
        raise TableError(
            f"{said}, but has ones on its diagonal and nothing beyond: correlations? Say "
            "dataset.matrices.content=correlation"
        )


def _refuse_diagonal(diagonal: np.ndarray, said: str) -> None:
    """Refuse a diagonal that is full and holds what the correlation of a series with itself cannot be."""
    if np.isinf(diagonal).any():
        raise TableError(f"{said}, but has infinity on its diagonal: Fisher z? Say dataset.matrices.content=fisher_z")
    if (np.nan_to_num(diagonal) != 0).all() and (np.abs(np.abs(diagonal) - 1) > ROUNDED).all():
        raise TableError(
            f"{said}, but has {diagonal[0]:.3g} on its diagonal, and 1 nowhere: covariances, Fisher z? Write "
            "correlations"
        )


def _refuse_alike(there: np.ndarray, content: Content, names: np.ndarray, name: str) -> None:
    """Refuse a region all of whose connections have one value but zero: a code for a missing one. NaN is not seen."""
    if content.name == "binary" or len(there) < FEWEST:
        return
    known = ~np.isnan(there)
    low, high = np.where(known, there, np.inf).min(1), np.where(known, there, -np.inf).max(1)
    alike = np.flatnonzero((low == high) & (low != 0) & (known.sum(1) >= FEWEST - 1))
    if 0 < len(alike) <= len(there) / 2:
        raise TableError(
            f"{name}: all connections of {names[alike[0]]} are {low[alike[0]]:g}, a code for a missing region? Write "
            "n/a into its row and column"
        )


def _refuse_repeated(there: np.ndarray, names: np.ndarray, name: str) -> None:
    """Refuse two regions whose connections with all others are the same, and several; NaN is not seen."""
    values = np.sort(np.nan_to_num(there), axis=1)  # the connection of both with each other is in both rows
    _, first, count = np.unique(values, axis=0, return_index=True, return_counts=True)
    for k in first[(count > 1) & (count <= len(there) / 2)]:
        if len(np.unique(values[k])) <= FEWEST:
            continue
        twin = np.flatnonzero((values == values[k]).all(1))[1]
        others = np.delete(np.arange(len(there)), [k, twin])
        if np.array_equal(there[k, others], there[twin, others], equal_nan=True):
            raise TableError(
                f"{name}: {names[k]} and {names[twin]} have the same connections: one region under two names? Leave "
                "one out of matrix and atlas"
            )


def _refuse_ones(pairs: np.ndarray, names: np.ndarray, name: str) -> None:
    if len(pairs):
        a, b = names[pairs[0]]
        raise TableError(f"{name}: the correlation of {a} and {b} is exactly 1: they share one series. Leave one out")


def _said(there: np.ndarray, content: Content) -> str:
    """What should be known of values that are taken as they are."""
    zeros = float((there == 0).mean())
    if content.name in ("correlation", "partial", "fisher_z") and zeros > 0.01:
        return f"{zeros:.0%} of its connections are exactly 0, as a threshold leaves them, and are taken as 0"
    return "read as a graph of 0 and 1" if content.name == "binary" else ""
