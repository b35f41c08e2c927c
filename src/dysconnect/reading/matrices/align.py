"""Which row and column of a matrix is which region of the atlas: by name, or where the user says so by order."""

from collections import Counter

import numpy as np
import pandas as pd

from dysconnect.reading.matrices.halves import symmetric
from dysconnect.reading.matrices.rows import RowNames
from dysconnect.reading.matrices.square import Square
from dysconnect.reading.numeric.cells import is_numbering
from dysconnect.reading.numeric.match import loose, positions_of
from dysconnect.reading.tables import TableError


def aligned(square: Square, nodes: pd.DataFrame, by_order: bool = False) -> tuple[np.ndarray, str]:
    """Bring a matrix into the order of the atlas; rows and columns each by what they are called.

    Parameters
    ----------
    square : Square
    nodes : DataFrame, [N rows]
        Atlas table: `name`, `node` and others, all of which may be what rows are called.
    by_order : bool
        Whether the user says that rows stand in the order of the atlas, where nothing names them.

    Returns
    -------
    values : array, [N, N]
        Symmetric.
    note : str
        What was decided; empty where nothing was.

    Raises
    ------
    TableError
        When nothing names the rows, regions of the atlas are not there, or the halves differ.
    """
    rows, columns = square.rows or square.columns, square.columns or square.rows
    places = [_places(named, square, nodes, by_order) for named in (rows, columns)]
    straight = np.array_equal(*places)
    values, notes = square.values, []
    if straight:  # in the order of the file, where a half is a triangle
        values, note = symmetric(values, square.name)
        notes.append(note)
    _refuse_nameless(values, rows, square.name)
    extra = len(values) - len(nodes)
    if extra:
        known = set(places[0].tolist())
        other = next((name for k, name in enumerate(rows.first) if k not in known and name), "")
        notes.append(f"{extra} of {len(values)} rows are none of the atlas's{_shown(other)}, and were left out")
    values = values[np.ix_(*places)]
    if not straight:
        values, note = symmetric(values, square.name)
        notes.append(note)
    return values, "; ".join(filter(None, notes))


def _shown(name: str) -> str:
    return f" (first: {name[:60]})" if name else ""


def _places(named: RowNames, square: Square, nodes: pd.DataFrame, by_order: bool) -> np.ndarray:
    """Where in the file each region of the atlas stands, [N]."""
    size = len(square.values)
    for way in named.ways:
        if is_numbering(way) and (way[0] == "0" or size != len(nodes)):
            continue  # a count, of which nobody knows where it starts, or of another atlas
        found = positions_of(way, nodes)
        if found is not None:
            _refuse_twice(way, found, square.name)
            return np.array(found)
    if not named.words and not by_order:
        raise TableError(
            f"{square.name}: nothing names its {size} rows. Write region names into its first line or column, or "
            "beside it (dataset.matrices.labels=FILE); or, if they stand in the order of the atlas table, say so with "
            "dataset.order=atlas"
        )
    if by_order and not _known(named, nodes):
        if size != len(nodes):
            raise TableError(
                f"{square.name} has {size} rows, the atlas {len(nodes)} regions, and nothing names the rows. Choose "
                "the atlas of the matrices with atlas=NAME"
            )
        return np.arange(size)
    raise TableError(_lacking(named, square.name, nodes))


def _known(named: RowNames, nodes: pd.DataFrame) -> set[str]:
    return set().union(*named.ways) & set(nodes["name"]) if named.ways else set()


def _refuse_twice(way: tuple[str, ...], places: list[int], name: str) -> None:
    count = Counter(way)
    twice = next((way[k] for k in places if count[way[k]] > 1), None)
    if twice:
        raise TableError(f"{name}: {twice[:60]} names {count[twice]} rows; nothing says which is meant. Keep one")


def _refuse_nameless(values: np.ndarray, named: RowNames, name: str) -> None:
    """Refuse numbers in rows that nothing names, as a skipped number leaves them."""
    if not named:
        return
    nameless = np.array([not text for text in named.first])
    filled = np.flatnonzero(nameless & (np.nan_to_num(values) != 0).any(1))
    if len(filled):
        raise TableError(
            f"{name}: row {filled[0] + 1} holds connections and has no name in its table. Give the table of names that "
            "the matrix was made with"
        )


def _lacking(named: RowNames, name: str, nodes: pd.DataFrame) -> str:
    """Say which regions have no row, and what may be the reason."""
    way = max(named.ways, key=lambda way: max(len(set(way) & _column(nodes, column)) for column in nodes))
    column = max(nodes, key=lambda column: len(set(way) & _column(nodes, column)))
    column = column if set(way) & _column(nodes, column) else "name"
    wanted, there = nodes[column].astype(str).tolist(), set(way)
    absent = [text for text in wanted if text not in there]
    unknown = [text for text in way if text and text not in set(wanted)]
    about = (
        f"{name} has {len(way)} rows and lacks {len(absent)} of the atlas's {len(nodes)} regions (first: {absent[0]})"
    )
    spelt = {loose(text): text for text in unknown}
    if all(loose(text) in spelt for text in absent):
        return f"{about}: it is spelt {spelt[loose(absent[0])]}. Write names as the atlas has them"
    if 2 * len(absent) >= len(nodes):
        return f"{about}. Choose the atlas of the matrices with atlas=NAME"
    if unknown:
        return (
            f"{about}, but has {unknown[-1][:60]}, which the atlas has not: are names shifted by a number that was "
            "skipped? Give the table of names that the matrix was made with"
        )
    return f"{about}. Add a row and a column (n/a throughout if not measured), or choose the atlas with atlas=NAME"


def _column(nodes: pd.DataFrame, column: str) -> set[str]:
    return set(nodes[column].astype(str))
