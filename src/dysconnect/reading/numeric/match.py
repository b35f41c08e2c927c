"""Which column of a table is which region of the atlas."""

import re
from collections.abc import Sequence

import pandas as pd

from dysconnect.reading.numeric.cells import INTEGER, Numbers, holds_codes, is_numbering
from dysconnect.reading.tables import TableError


def begins_with_codes(table: Numbers, nodes: pd.DataFrame) -> bool:
    """Whether the first row holds the codes of the atlas (`node`)."""
    first = {f"{cell:.0f}" for cell in table.frame.iloc[0] if isinstance(cell, int | float) and cell == cell // 1}
    return len(table.frame) > 1 and set(nodes["node"].astype(str)) <= first


def match(table: Numbers, nodes: pd.DataFrame) -> list[int]:
    """Positions of the atlas's regions among the named columns; refuse a table without names."""
    if table.names:
        positions = positions_of(table.names, nodes)
        if positions is None:
            raise TableError(_lacking(table, nodes))
        return positions
    codes = holds_codes(table)
    if codes:
        raise TableError(
            f"{table.name}: its first line holds codes ({_first_of(table)}) that are not the atlas's. Choose the atlas "
            "of the series with atlas=NAME, or say dataset.order=atlas if its columns stand in the order of the atlas"
        )
    raise TableError(
        f"{table.name} has no region names in its first line. Write them, or, if its columns stand in the order of "
        "the atlas table, say so with dataset.order=atlas"
    )


def positions_of(names: Sequence[str], nodes: pd.DataFrame) -> list[int] | None:
    """Positions of the atlas's regions among names, by name, code, or another column of the atlas."""
    position = {re.sub(r"(?<=\d)\.0+$", "", name): k for k, name in enumerate(names)}  # pandas: 2001.0
    position |= {name: k for k, name in enumerate(names)}
    for column in ("name", "node", *(name for name in nodes if name not in ("name", "node"))):
        wanted = nodes[column].astype(str)
        if wanted.is_unique and wanted.isin(position).all():
            return [position[name] for name in wanted]
    return None


def _lacking(table: Numbers, nodes: pd.DataFrame) -> str:
    """Say which regions have no column, and what to do: in other words, another atlas, or no names at all."""
    names, wanted = set(table.names), nodes["name"].tolist()
    if not names & set(wanted) and names & set(nodes["node"].astype(str)):
        wanted = nodes["node"].astype(str).tolist()
    absent = [name for name in wanted if name not in names]
    about = (
        f"{table.name} has {len(names)} columns and lacks {len(absent)} of the atlas's {len(nodes)} regions "
        f"(first: {absent[0]})"
    )
    spelt = {loose(name): name for name in table.names}
    if loose(absent[0]) in spelt and len({*map(loose, absent)} & set(spelt)) == len(absent):
        return f"{about}: it is spelt {spelt[loose(absent[0])]}. Write names as the atlas has them"
    if 2 * len(absent) < len(nodes):
        return f"{about}. Add a column (n/a throughout if not measured), or choose the atlas of the series: atlas=NAME"
    order = len(names) == len(nodes) or is_numbering(table.names)
    hint = ", or say dataset.order=atlas if they stand in its order" if order else ""
    return f"{about}. Choose the atlas of the series with atlas=NAME{hint}"


def loose(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def in_order(table: Numbers, nodes: pd.DataFrame) -> tuple[Numbers, list[int], str]:
    """Columns in the order of the atlas, as the user says, unless names tell; what was decided about the first line."""
    positions = positions_of(table.names, nodes) if table.names and not is_numbering(table.names) else None
    if positions is not None:
        return table, positions, ""
    note = ""
    if table.names and not is_numbering(table.names):
        note = _other_names(table, nodes)
    elif not table.names and table.frame.shape[1] == len(nodes):
        codes = holds_codes(table)
        if codes is None:
            raise TableError(
                f"{table.name}: its first line ({_first_of(table)}) may hold codes of regions or a first volume. "
                "Delete it if it holds codes; else write names or numbers 1, 2, 3, ... above it"
            )
        if codes:
            note = f"its first line holds codes that the atlas lacks ({_first_of(table)}) and is no volume"
            table = table.headed()
    if table.frame.shape[1] != len(nodes):
        raise TableError(_other_width(table, nodes))
    return (
        table,
        list(range(len(nodes))),
        f"{note}; columns in the order of the atlas, as dataset.order says" * bool(note),
    )


def _other_names(table: Numbers, nodes: pd.DataFrame) -> str:
    """Note that names are passed over; refuse names that contradict the order."""
    known = {name: k for k, name in enumerate(nodes["name"])}
    wrong = [name for k, name in enumerate(table.names) if known.get(name, k) != k]
    words = [name for name in table.names if not INTEGER.fullmatch(name)]
    if wrong:
        raise TableError(
            f"{table.name}: dataset.order=atlas is said, but its column {wrong[0]} stands elsewhere than in the atlas. "
            "Name all columns as the atlas does, or none"
        )
    if words and len(words) < len(table.names) / 2:
        raise TableError(
            f"{table.name}: its first line holds numbers and words ({words[0][:24]!r}): names of columns, or a damaged "
            "volume? Mend or delete it"
        )
    return f"its first line holds names that the atlas lacks ({', '.join(table.names[:2])[:60]}, ...)"


def _other_width(table: Numbers, nodes: pd.DataFrame) -> str:
    width = table.frame.shape[1]
    about = f"{table.name} has {width} columns, the atlas {len(nodes)} regions"
    if width == 2 * len(nodes) and all(table.frame[k].dtype.kind in "iu" for k in table.frame):
        return f"{about}: decimal commas between commas? Write it with decimal points"
    return f"{about}. Choose the atlas of the series with atlas=NAME"


def _first_of(table: Numbers) -> str:
    return f"{', '.join(f'{cell:.0f}' for cell in table.frame.iloc[0, :2])}, ..."
