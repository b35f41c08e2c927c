"""Which row and column of a matrix is which region of the atlas: by name, or where the user says so by order."""

from collections import Counter

import numpy as np
import pandas as pd

from dysconnect.reading.matrices.halves import symmetric
from dysconnect.reading.matrices.rows import RowNames, holding
from dysconnect.reading.matrices.square import Square
from dysconnect.reading.numeric.cells import INTEGER, is_numbering
from dysconnect.reading.numeric.match import loose, positions_of
from dysconnect.reading.tables import TableError

BACKGROUND = ("background", "unknown", "unlabeled", "unlabelled", "clear label", "none", "???")


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
    rows, columns = _named(square.rows, square.columns), _named(square.columns, square.rows)
    places = [_places(named, square, nodes, by_order) for named in (rows, columns)]
    for named in (rows, columns):
        _refuse_nameless(square.values, named, square.name)
    _refuse_background(square.values, rows, square.name)
    order = np.argsort(places[0])  # of the file, where a half is a triangle
    values, note = symmetric(square.values[np.ix_(*(place[order] for place in places))], square.name)
    _refuse_half(bool(note) and (places[0] != places[1]).any(), square.name)
    back, size = np.argsort(order), len(square.values)
    notes = [note, _taken(rows, size, by_order and not _known(rows, nodes)), _left_out(rows, places[0], size)]
    return values[np.ix_(back, back)], "; ".join(filter(None, notes))


def _refuse_half(apart: bool, name: str) -> None:
    """Refuse one half of a matrix whose rows stand in another order than its columns: it is no triangle."""
    if apart:
        raise TableError(
            f"{name}: only one half is stored, and rows and columns stand in different orders: are names shifted? "
            "Write the whole matrix, or both in one order"
        )


def _named(these: RowNames, others: RowNames) -> RowNames:
    """Names of the rows; those of the columns where rows have none, or are only counted, as R and pandas do."""
    return others if not these or (others.words and not these.words) else these


def _taken(rows: RowNames, size: int, by_order: bool) -> str:
    """Say what was made of names that are none."""
    if rows.words and by_order:
        return f"its rows have names that the atlas lacks ({rows.first[0][:60]}, ...), and are taken in its order"
    if rows and not rows.words and not by_order:
        return f"its rows are called 1 to {size}, taken for the atlas's numbers"
    return ""


def _left_out(rows: RowNames, places: np.ndarray, size: int) -> str:
    """Say how many rows of a matrix are no regions of the atlas."""
    extra, known = size - len(places), set(places.tolist())
    if not extra:
        return ""
    other = next((name for k, name in enumerate(rows.first) if k not in known and name), "")
    shown = f" (first: {other[:60]})" if other else ""
    return f"{extra} of {size} rows are none of the atlas's{shown}, and were left out"


def _places(named: RowNames, square: Square, nodes: pd.DataFrame, by_order: bool) -> np.ndarray:
    """Where in the file each region of the atlas stands, [N]."""
    size = len(square.values)
    for way in named.ways:
        found = positions_of(way, nodes) if _is_naming(way, named, nodes) else None
        if found is not None:
            _refuse_twice(way, found, square.name)
            return np.array(found)
    if not named.words and not by_order:
        raise TableError(
            f"{square.name}: nothing names its {size} rows. Write region names into its first line or column, or "
            "beside it (dataset.matrices.labels=FILE); or, if they stand in the order of the atlas table, say so with "
            "dataset.order=atlas"
        )
    if by_order and not _known(named, nodes) and not _elsewhere(named, nodes):
        if size != len(nodes):
            raise TableError(
                f"{square.name} has {size} rows, the atlas {len(nodes)} regions, and nothing names the rows. Choose "
                "the atlas of the matrices with atlas=NAME"
            )
        return np.arange(size)
    raise TableError(_lacking(named, square.name, nodes))


def _is_naming(way: tuple[str, ...], named: RowNames, nodes: pd.DataFrame) -> bool:
    """Whether a way to call rows tells regions; beside names, numbers do where they are the atlas's and no count."""
    if is_numbering(way):
        return way[0] == "1" and len(way) == len(nodes) and not named.words
    return not _is_whole(way) or _codes(way) == _column(nodes, "node")


def _codes(way: tuple[str, ...]) -> set[str]:
    return {text.partition(".")[0] for text in way if text}


def _is_whole(way: tuple[str, ...]) -> bool:
    return all(INTEGER.fullmatch(text) for text in way if text)


def _known(named: RowNames, nodes: pd.DataFrame) -> set[str]:
    return set().union(*named.ways) & set(nodes["name"]) if named.ways else set()


def _elsewhere(named: RowNames, nodes: pd.DataFrame) -> bool:
    """Whether names are those of the atlas but for their spelling, and stand in another order."""
    wanted = [loose(name) for name in nodes["name"]]
    spelt = [[loose(text) for text in way] for way in named.ways]
    return any(set(wanted) <= set(way) and way != wanted for way in spelt)


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
    filled = np.flatnonzero(nameless & holding(values))
    if len(filled):
        raise TableError(
            f"{name}: row {filled[0] + 1} holds connections and has no name in its table. Give the table of names that "
            "the matrix was made with"
        )


def _refuse_background(values: np.ndarray, named: RowNames, name: str) -> None:
    """Refuse a row of the background that holds connections while one of a region holds none: names are shifted."""
    holds = holding(values)
    if named and named.first[0].casefold() in BACKGROUND and holds[0] and not holds.all():
        empty = named.first[int(np.argmin(holds))]
        raise TableError(
            f"{name}: its first row, called {named.first[0]}, holds connections, and that of {empty[:60]} none: are "
            "names shifted by a number that was skipped? Give the table of names that the matrix was made with"
        )


def _lacking(named: RowNames, name: str, nodes: pd.DataFrame) -> str:
    """Say which regions have no row, and what may be the reason."""
    ways = [way for way in named.ways if not _is_whole(way)] or named.ways
    unique = [column for column in nodes if nodes[column].astype(str).is_unique]
    way = max(ways, key=lambda way: max(len(set(way) & _column(nodes, column)) for column in unique))
    column = max(unique, key=lambda column: len(set(way) & _column(nodes, column)))
    column = column if set(way) & _column(nodes, column) else "name"
    wanted, there = nodes[column].astype(str).tolist(), set(way)
    absent = [text for text in wanted if text not in there]
    unknown = [text for text in way if text and text not in set(wanted)]
    if not absent:  # numbers alone, and more of them
        return (
            f"{name}: its rows are called by numbers alone, and the atlas lacks {unknown[0][:60]}. Numbers of "
            "another atlas? Choose it with atlas=NAME, or give names of the rows (dataset.matrices.labels=FILE)"
        )
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
