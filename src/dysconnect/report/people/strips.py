"""Small pictures of one person as SVG by hand: motion over time, and a probability among those of the cohort."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dysconnect.models.cards import label
from dysconnect.paper.html import Picture, picture
from dysconnect.paper.style import COLOURS, GREY, INK
from dysconnect.paper.text import listed, number

WIDTH, LEFT, RIGHT = 400, 42, 388  # pixels
ROW, TICK = 46, 9
TALL, HEAD, FOOT = 138, 28, 114


def background(predictions: pd.DataFrame) -> tuple[str, str]:
    """Paths of the cohort's probabilities: patients above a line at 0, controls below it."""
    return tuple(
        "".join(f"M{x} 0v{sign * TICK}" for x in sorted(set(_across(side["value"]).tolist())))
        for sign, side in ((-1, predictions[predictions["label"] == 1]), (1, predictions[predictions["label"] == 0]))
    )


def _across(probability: object) -> np.ndarray:
    return np.round(LEFT + (RIGHT - LEFT) * np.asarray(probability, float), 1)


def picture_of(
    predictions: Mapping[str, pd.DataFrame], name: str, experiments: Sequence[str], backgrounds: Mapping, spec: Mapping
) -> Picture:
    """One person's probability by every experiment among those of patients and controls."""
    cases, controls = (listed(spec["dataset"]["contrast"][side]) for side in ("cases", "controls"))
    rows = "".join(
        f'<g transform="translate(0 {28 + ROW * k})">'
        f"{_strip(predictions[model].loc[name], model, backgrounds[model])}</g>"
        for k, model in enumerate(experiments)
    )
    height = 28 + ROW * len(experiments) + 12
    ends = "".join(
        f'<text x="{x}" y="{height - 14}" text-anchor="middle">{words}</text>'
        for x, words in zip(_across([0, 0.5, 1]), ("0", "0.5", "1"))
    )
    caption = (
        f"This person among the cohort. Lines above: {cases}, below: {controls}; diamond: this person, mean over "
        "repeats; bar: from the least to the largest."
    )
    return picture("strips", _svg(height, rows + ends), caption)


def _strip(row: pd.Series, experiment: str, paths: tuple[str, str]) -> str:
    x, low, high = (float(_across(row[part])) for part in ("value", "low", "high"))
    return (
        f'<text x="{LEFT}" y="-13" font-weight="600">{label(experiment)}</text>'
        f'<path d="{paths[0]}" stroke="{COLOURS[1]}"/><path d="{paths[1]}" stroke="{COLOURS[0]}"/>'
        f'<path d="M{LEFT} 0H{RIGHT}" stroke="{GREY}"/><path d="M{low} 0H{high}" stroke="{INK}" stroke-width="4"/>'
        f'<path d="M{x - 7} 0L{x} -7L{x + 7} 0L{x} 7Z" fill="{INK}" stroke="#fff" stroke-width="1.5"/>'
    )


def trace(displacement: np.ndarray, seconds: float, limit: float | None) -> Picture:
    """Framewise displacement over time, [T] mm, and the limit of its mean.

    Parameters
    ----------
    displacement : array, [T]
    seconds : float
        Between volumes.
    limit : float or None
        mm.
    """
    known = np.nan_to_num(np.asarray(displacement, float))
    top = max(1.1 * known.max(initial=0), 1.1 * (limit or 0), 0.1)
    across = LEFT + (RIGHT - LEFT) * np.arange(len(known)) / max(len(known) - 1, 1)
    up = FOOT - (FOOT - HEAD) * known / top
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, up)) if len(known) else ""
    drawn = f'<path d="M{LEFT} {HEAD}V{FOOT}H{RIGHT}" stroke="{INK}" fill="none"/>'
    if limit is not None:
        y = FOOT - (FOOT - HEAD) * limit / top
        drawn += f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{GREY}" stroke-dasharray="4 3"/>'
        drawn += f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{limit:g}</text>'
    drawn += f'<path d="{line}" stroke="{COLOURS[0]}" stroke-width="1.2" fill="none"/>'
    drawn += f'<text x="{LEFT - 4}" y="{FOOT + 4}" text-anchor="end">0</text>'
    drawn += f'<text x="{LEFT}" y="16">FD (mm), largest {number(known.max(initial=0))}</text>'
    drawn += f'<text x="{LEFT}" y="{TALL - 6}">0</text>'
    drawn += f'<text x="{RIGHT}" y="{TALL - 6}" text-anchor="end">{len(known) * seconds / 60:.1f} minutes</text>'
    words = "" if limit is None else f" Dashed: the limit of its mean, {limit:g} mm."
    return picture("motion", _svg(TALL, drawn), f"Head motion from volume to volume (framewise displacement).{words}")


def _svg(height: float, drawn: str) -> str:
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="12" fill="{INK}">'
    return f"{opening}{drawn}</svg>"
