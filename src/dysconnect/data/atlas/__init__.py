"""Atlases as tables: the nodes, whose order all edges follow, and the loops of dystonia as rules over names.

A node table has one row a region; every matrix and every vector of edges follows the order of its rows.
`SOURCES.md` in this folder says where coordinates and names come from.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.data.edges import Pairs

FOLDER = Path(__file__).parent
BUILT_IN = ("seitzman300", "motor10", "cc200", "ho110", "degeneration")
SYSTEMS = ("cortex", "basal_ganglia", "thalamus", "cerebellum", "brainstem", "limbic")
HEMISPHERES = ("L", "R", "M")
TEXT = ("name", "hemisphere", "system", "network")
COORDINATES = ("x", "y", "z")
REQUIRED = ("node", "name", "hemisphere", *COORDINATES, "system", "network")


def load_atlas(nodes: str | Path) -> pd.DataFrame:
    """Read and check a node table.

    Parameters
    ----------
    nodes : str or Path
        ``seitzman300``, ``motor10``, ``cc200``, ``ho110``, ``degeneration``, or the path of a tab-separated table with
        the columns `node`, `name`, `hemisphere`, `x`, `y`, `z`, `system`, `network` and, for spheres, `radius`.

    Returns
    -------
    DataFrame, [N rows]
        `node` (int, code in the label image), `name`, `hemisphere` (L, R or M for midline), `x`, `y`, `z`
        (float, MNI mm), `system`, `network`, `radius` (float, mm; NaN for regions of a label image), then
        any further columns of the file as text. The index is 0..N-1 in file order.

    Raises
    ------
    FileNotFoundError
        When there is neither a built-in atlas nor a file of that name.
    ValueError
        When a row breaks the contract; the message names the file, the line and the remedy.
    """
    path = _table_path(nodes)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8")
    _check_columns(table, path)
    table = _typed(table, path)
    _check_unique(table, path)
    _check_allowed(table["hemisphere"], HEMISPHERES, path)
    _check_allowed(table["system"], SYSTEMS, path)
    return table


def circuit_edges(nodes: pd.DataFrame, directed: bool = False) -> pd.DataFrame:
    """List the edges of every circuit of dystonia in this atlas.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        Node table with `name`, `system` and `network`.
    directed : bool
        A circuit has the edges of the way that its rules go, from a to b.

    Returns
    -------
    DataFrame
        `circuit`, `edge` (place in `Pairs` of the regions), `i` and `j` (rows of `nodes`; i < j unless directed).
        Circuits in the order of ``circuits.tsv``, edges ascending; an edge may belong to several circuits.

    Notes
    -----
    The rules and their papers are data: ``circuits.tsv``. A rule joins all regions that match its side a
    with all that match its side b: the system is equal, and the patterns occur in name and network,
    ignoring case (an empty pattern occurs in all).
    """
    rows, cols = Pairs(len(nodes), directed).ends
    tables = []
    for circuit, rules in _circuit_rules().groupby("circuit", sort=False):
        edge = np.flatnonzero(_joined(nodes, rules, rows, cols, directed))
        tables.append(pd.DataFrame({"circuit": circuit, "edge": edge, "i": rows[edge], "j": cols[edge]}))
    return pd.concat(tables, ignore_index=True).astype({"circuit": object})


def edge_circuits(nodes: pd.DataFrame, directed: bool = False) -> np.ndarray:
    """Name the circuit of every edge.

    Parameters
    ----------
    nodes : DataFrame, [N rows]
        Node table with `name`, `system` and `network`.
    directed : bool
        A circuit has the edges of the way that it goes.

    Returns
    -------
    ndarray of str, [E]
        In the order of `Pairs`; the first circuit in ``circuits.tsv`` when there are several, "" when none.
    """
    names = np.full(len(Pairs(len(nodes), directed)), "", dtype=f"<U{max(map(len, circuit_titles()))}")
    first = circuit_edges(nodes, directed).drop_duplicates("edge")
    names[first["edge"]] = first["circuit"].to_numpy(dtype=str)
    return names


@cache
def circuit_titles() -> dict[str, str]:
    """Map every circuit's name to its title for people, in the order of ``circuits.tsv``."""
    rules = _circuit_rules().drop_duplicates("circuit")
    return dict(zip(rules["circuit"], rules["title"], strict=True))


@cache
def _circuit_rules() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "circuits.tsv", sep="\t", dtype=str, keep_default_na=False)


def _joined(nodes: pd.DataFrame, rules: pd.DataFrame, rows: np.ndarray, cols: np.ndarray, directed: bool) -> np.ndarray:
    """Whether any of the rules joins the two ends of each edge, [E] bool: from a to b, or in either direction."""
    hit = np.zeros(len(rows), dtype=bool)
    for rule in rules.to_dict("records"):
        a, b = _matches(nodes, rule, "a"), _matches(nodes, rule, "b")
        hit |= a[rows] & b[cols] if directed else (a[rows] & b[cols]) | (b[rows] & a[cols])
    return hit


def _matches(nodes: pd.DataFrame, rule: dict[str, str], side: str) -> np.ndarray:
    """Whether each node is on one side of a rule, [N] bool."""
    fits = nodes["system"] == rule[f"system_{side}"]
    for column in ("name", "network"):
        fits &= nodes[column].str.contains(rule[f"{column}_{side}"], case=False, regex=True)
    return fits.to_numpy(dtype=bool)


def _table_path(nodes: str | Path) -> Path:
    path = FOLDER / f"{nodes}.tsv" if str(nodes) in BUILT_IN else Path(nodes)
    if not path.is_file():
        raise FileNotFoundError(
            f"{nodes}: no such atlas. Name a built-in one ({', '.join(BUILT_IN)}) or the path of a table."
        )
    return path


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    missing = [column for column in REQUIRED if column not in table]
    if missing:
        raise ValueError(
            f"{path}, line 1: no column {', '.join(missing)}. Write a tab-separated header with {', '.join(REQUIRED)}."
        )
    if table.empty:
        raise ValueError(f"{path}: no node below the header. Write one line a region.")


def _typed(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Give every column its fixed type and the columns their fixed order."""
    numbers = table.reindex(columns=["node", *COORDINATES, "radius"]).apply(pd.to_numeric, errors="coerce")
    whole = np.isfinite(numbers["node"]) & (numbers["node"] % 1 == 0)
    _raise_first(~whole, table["node"], path, "Give every region the whole number that it has in the image.")
    for axis in COORDINATES:
        _raise_first(~np.isfinite(numbers[axis]), table[axis], path, "Give a coordinate in MNI mm.")
    typed = table.assign(**numbers.astype(float)).astype({"node": "int64", **dict.fromkeys(TEXT, object)})
    return typed[[*REQUIRED, "radius", *table.columns.difference([*REQUIRED, "radius"], sort=False)]]


def _check_unique(table: pd.DataFrame, path: Path) -> None:
    _raise_first(table["name"] == "", table["name"], path, "Give every region a name.")
    for column in ("node", "name"):
        again = table[column].duplicated()
        _raise_first(again, table[column], path, "It stands on an earlier line too; make it unique.")


def _check_allowed(values: pd.Series, allowed: tuple[str, ...], path: Path) -> None:
    _raise_first(~values.isin(allowed), values, path, f"Write one of {', '.join(allowed)}.")


def _raise_first(wrong: pd.Series, values: pd.Series, path: Path, remedy: str) -> None:
    """Raise for the first wrong row, by its line in the file (the header is line 1)."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"{path}, line {row + 2}: {values.name} is '{values.iloc[row]}'. {remedy}")
