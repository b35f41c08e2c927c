"""How one person deviates from the controls: a small brain, circuits and connections, of the cohort or new."""

import functools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.paper.html import Picture, picture
from dysconnect.paper.shell import brain_shell
from dysconnect.paper.style import HIGHER, INK, LIGHT, LOWER
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, number, p_text, p_value

VIEWS = (  # across, up, what is seen, and the ends from left to right
    ("x", "y", "From above", "LR"),
    ("y", "z", "From the right", ("back", "front")),
    ("x", "z", "From behind", "LR"),
)
WIDTH, HEIGHT, ROOM = 720, 236, 240  # of the picture, and of a view in it
SCALE = 1.02  # pixels a mm
MIDDLE = {"x": 0.0, "y": -18.0, "z": 9.0}  # of the brain, mm
DIRECTIONS = 72  # in which the outline of the brain is measured


def brain_picture(edges: pd.DataFrame, nodes: pd.DataFrame) -> Picture:
    """Deviating connections on the regions' places, from three sides, as SVG of a few kilobytes.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b` and `z`.
    nodes : DataFrame, [N rows]
        `name`, `x`, `y`, `z` (MNI mm).
    """
    caption = (
        f"The {len(edges)} most deviant connections. Blue, solid: weaker than expected; red, dashed: stronger. L and R "
        "are the person's left and right."
    )
    places = {axis: tuple(nodes[axis].astype(float)) for axis in "xyz"}
    names, pairs = nodes["name"].tolist(), list(zip(edges["region_a"], edges["region_b"], edges["z"]))
    views = "".join(_view(k, pairs, names, places) for k in range(len(VIEWS)))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" fill="{INK}">'
    return picture("brain", f"{opening}{views}</svg>", caption, wide=True)


def _view(k: int, pairs: Sequence[tuple], names: Sequence[str], places: Mapping[str, tuple[float, ...]]) -> str:
    title, ends = VIEWS[k][2:]
    pixels, all_regions = _regions(k, *(places[axis] for axis in VIEWS[k][:2]))
    at = dict(zip(names, pixels))
    drawn = "".join(_edge(at[one], at[other], z) for one, other, z in pairs)
    used = dict.fromkeys(name for one, other, _ in pairs for name in (one, other))
    left, middle = k * ROOM, k * ROOM + ROOM / 2
    return (
        f'<path d="{_outline(k)}" fill="#f7f8f9" stroke="{LIGHT}"/>'
        f'<path d="{all_regions}" stroke="{LIGHT}" stroke-width="2.5" stroke-linecap="round"/>'
        f'{drawn}<path d="{_dots(at[name] for name in used)}" stroke="{INK}" stroke-width="5" '
        'stroke-linecap="round"/>'
        f'<text x="{middle:g}" y="16" text-anchor="middle">{title}</text>'
        f'<text x="{left + 24}" y="{HEIGHT - 6}">{ends[0]}</text>'
        f'<text x="{left + ROOM - 24}" y="{HEIGHT - 6}" text-anchor="end">{ends[1]}</text>'
    )


@functools.lru_cache(maxsize=len(VIEWS))
def _regions(k: int, across: tuple[float, ...], up: tuple[float, ...]) -> tuple[list[list[float]], str]:
    """Pixels of all regions on a view, and their dots: the same for everybody."""
    pixels = _pixels(np.column_stack([across, up]), k).tolist()
    return pixels, _dots(pixels)


def _edge(one: Sequence[float], other: Sequence[float], z: float) -> str:
    look = f'stroke="{LOWER}"' if z < 0 else f'stroke="{HIGHER}" stroke-dasharray="5 2.5"'
    return f'<path d="M{one[0]} {one[1]}L{other[0]} {other[1]}" {look} stroke-width="1.8" stroke-opacity=".85"/>'


def _dots(pixels: Iterable[Sequence[float]]) -> str:
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in pixels)


def _pixels(places: np.ndarray, k: int) -> np.ndarray:
    """Pixels of places on a view, mm [n, 2]; the middle of the brain is that of the view."""
    moved = (places - [MIDDLE[axis] for axis in VIEWS[k][:2]]) * SCALE * (1, -1)
    return np.round(moved + np.array([k * ROOM + ROOM / 2, HEIGHT / 2]), 1)


@functools.cache
def _outline(k: int) -> str:
    """How far the brain reaches in every direction from its middle, as a closed path."""
    axes = ["xyz".index(axis) for axis in VIEWS[k][:2]]
    places = brain_shell()[0][:, axes]
    middle = (places.min(0) + places.max(0)) / 2
    away = places - middle
    angle, reach = np.arctan2(away[:, 1], away[:, 0]), np.hypot(*away.T)
    turns = np.linspace(-np.pi, np.pi, DIRECTIONS, endpoint=False)
    near = np.abs(np.angle(np.exp(1j * (angle[None] - turns[:, None])))) < 2 * np.pi / DIRECTIONS
    longest = np.where(near, reach[None], 0).max(1)
    longest = (np.roll(longest, 1) + 2 * longest + np.roll(longest, -1)) / 4
    ring = middle + longest[:, None] * np.column_stack([np.cos(turns), np.sin(turns)])
    return "M" + "L".join(f"{x} {y}" for x, y in _pixels(ring, k)) + "Z"


def deviation_sentence(found: Mapping, alpha: float, given: str, tested: int = 0) -> str:
    """Say how far the most deviant connection is: `largest_z`, `p_max`, `n_fdr` and `controls` of one person."""
    opening = f"Of {tested:,} connections the most deviant" if tested else "The most deviant connection"
    verdict = "as" if found["p_max"] > alpha else "more than"
    return (
        f"{opening} is {number(found['largest_z'], 1)} standard deviations from what "
        f"{counted(found['controls'], 'control')} make likely for {given}: {verdict} the largest of healthy people are "
        f"({p_text(found['p_max'])}, family-wise). {counted(found['n_fdr'], 'connection')} "
        f"deviate{'s' if found['n_fdr'] == 1 else ''} at a false-discovery rate of {alpha:g}."
    )


def uncompared_sentence(people: pd.DataFrame) -> str:
    """Say how many move more than every control, as a sentence that follows another; empty where nobody does."""
    n = sum(bool(columns_beyond(row)) for _, row in people.iterrows())
    if not n:
        return ""
    who = "moves more than every control, and is" if n == 1 else "move more than every control, and are"
    return f" {counted(n, 'patient')} {who} compared with nobody."


def columns_beyond(person: pd.Series) -> list[str]:
    """Columns of motion in which a person is above every control."""
    beyond = person.get("beyond", "")
    return beyond.split(", ") if isinstance(beyond, str) and beyond else []


def circuit_rows(circuits: pd.DataFrame, titles: Mapping[str, str], alpha: float) -> Table:
    """Circuits of one person as wholes: `circuit`, `n_edges`, `mean_z`, `relative`, `p_max`."""
    rows = [
        Row(
            [titles.get(row.circuit, row.circuit), f"{row.n_edges:,}", number(row.mean_z), number(row.relative),
             p_value(row.p_max)],
            "best" if row.p_max <= alpha else "",
        )
        for row in circuits.itertuples()
    ]  # fmt: skip
    columns = [
        Column("Circuit", False), Column("Connections"), Column("Mean z"), Column("Deviation (sd)"),
        Column("p\u00a0FWER"),
    ]  # fmt: skip
    caption = (
        "Circuits as wholes: mean z (negative: weaker than expected), how far the circuit deviates beside the "
        "controls, and the share of controls of whom a circuit deviates as much."
    )
    return Table(caption, columns, rows)


def edge_rows(edges: pd.DataFrame, alpha: float, directed: bool = False) -> Table:
    """The most deviant connections of one person: `region_a`, `region_b`, `z`, `p_fdr`, `p_max`."""
    rows = [
        Row(
            [row.region_a, row.region_b, number(row.z), _side(row.z), p_value(row.p_fdr), p_value(row.p_max)],
            "best" if row.p_max <= alpha else "",
        )
        for row in edges.itertuples()
    ]
    columns = [
        *(Column(name, False) for name in (("From", "To") if directed else ("Region", "Region"))),
        Column("z"), Column("Than expected", False),
        Column("p\u00a0FDR"), Column("p\u00a0FWER"),
    ]  # fmt: skip
    return Table(f"The {len(rows)} most deviant connections.", columns, rows)


def _side(z: float) -> str:
    return "weaker" if z < 0 else "stronger" if z > 0 else NONE
