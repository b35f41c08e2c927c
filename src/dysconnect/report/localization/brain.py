"""What the page needs to draw a glass brain that can be turned, as one JSON text."""

import base64
import json

import numpy as np
import pandas as pd
from markupsafe import Markup

from dysconnect.paper.shell import brain_shell
from dysconnect.paper.style import HIGHER, LOWER
from dysconnect.paper.text import number, p_value
from dysconnect.report.direction import arrow
from dysconnect.report.localization.figures import drawn_edges


def brain_data(edges: pd.DataFrame, nodes: pd.DataFrame, alpha: float, strongest: int, directed: bool = False) -> dict:
    """Gather the edges that survive, else the strongest, their regions, and the shell around them.

    Parameters
    ----------
    edges : DataFrame
        `region_a`, `region_b`, `effect_size`, `statistic`, `p_fwer`.
    nodes : DataFrame
        Atlas: `name`, `x`, `y`, `z` (MNI mm).
    alpha : float
        Family-wise error rate.
    strongest : int
        Edges drawn where none survives.
    directed : bool
        Whether edges go from `region_a` to `region_b`.

    Returns
    -------
    dict
        `edges`: places of both regions in `nodes`, sign of the effect, and what is said of it; `places` (mm) of all
        regions; `vertices` (tenths of mm) and `faces` of the shell, as little-endian integers in base64; `colours`;
        `directed`.
    """
    shown, _ = drawn_edges(edges, alpha, strongest)
    place = pd.Series(range(len(nodes)), nodes["name"])
    vertices, faces = brain_shell()
    return {
        "edges": [
            [int(place[row.region_a]), int(place[row.region_b]), int(np.sign(row.effect_size)), *_told(row, directed)]
            for row in shown.itertuples()
        ],
        "places": nodes[["x", "y", "z"]].round().astype(int).to_numpy().tolist(),
        "vertices": _packed(np.round(10 * vertices), "<i2"),
        "faces": _packed(faces, "<u2"),
        "colours": {"-1": LOWER, "0": "#555c64", "1": HIGHER},
        "directed": directed,
    }


def _told(row, directed: bool) -> tuple[str, str]:
    """Name of an edge, and its numbers."""
    side = {-1: "weaker in patients", 1: "stronger in patients"}.get(int(np.sign(row.effect_size)), "no difference")
    p = p_value(row.p_fwer)
    numbers = f"d = {number(row.effect_size)}, t = {number(row.statistic)}, p FWER {p if p[0] == '<' else f'= {p}'}"
    return f"{row.region_a} {arrow(directed)} {row.region_b}", f"{side}; {numbers}"


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()


def as_script(data: dict) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))
