"""Tables of a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dysconnect.paper.text import NONE, number

MOST_LISTED = 1000  # people in a table of a page, which would grow with the cohort otherwise


@dataclass(frozen=True)
class Column:
    """Heading of a column; numbers are aligned to the right."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class Row:
    """Cells as text, or (text, small print) pairs; `mark` is a class for the style sheet.

    `link` is where the first cell leads, and `beyond` counts the cells, from 0, that are emphasised.
    """

    cells: Sequence[str | tuple[str, str]]
    mark: str = ""
    link: str = ""
    beyond: Sequence[int] = ()


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[tuple[str, str]] = field(default_factory=tuple)


def first_of(n: int, elsewhere: str = "") -> str:
    """What the caption of a table of n people adds where it lists the first of them only."""
    if n <= MOST_LISTED:
        return ""
    return f" The first {MOST_LISTED:,} of {n:,} are listed{f'; {elsewhere}' if elsewhere else ''}."


def page_name(participant: str) -> str:
    """File name of somebody's page: the id, with whatever cannot stand in a name or an address as a hyphen."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', participant)}.html"


def page_link(participant: str) -> str:
    """Where somebody's page lies, seen from the report."""
    return f"people/{page_name(participant)}"


def region_cell(name: str, places: pd.DataFrame) -> tuple[str, str]:
    """Name, its side kept on one line, and coordinates."""
    title = re.sub(r" ([LRM])(?: (\d+))?$", lambda found: "\u00a0" + "\u00a0".join(filter(None, found.groups())), name)
    return title, ", ".join(number(value, 0) for value in places.loc[name]) if name in places.index else ""


def significant(value: float, digits: int = 2) -> str:
    """Write a number with so many significant digits, without powers of ten where that is short."""
    if not np.isfinite(value):
        return NONE
    return f"{value:#.{digits}g}".replace(".e", "e").rstrip(".").replace("e-0", "e-").replace("-", "−")
