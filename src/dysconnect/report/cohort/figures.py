"""Figures of the cohort: from everybody in the data to those who are compared, and how they moved."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, PAGE, box, evenly, note_figure, one_panel, styled
from dysconnect.paper.text import Estimate, counted, listed, number, p_text
from dysconnect.quality.people import group_difference

SIDES = ("cases", "controls", "others")
WORDS = {"cases": "patient", "controls": "control"}
NAMED = 6  # reasons that have a line of their own
LINE, ROOM = 0.145, 0.13  # inches: of a line of text, and around the text of a box
LINE, ROOM = 0.145, 0.13  # inches: of a line of text, and around the text of a box
GAP = 0.26  # between two boxes


@styled
def consort_figure(quality: Mapping, contrast: Mapping) -> Figure:
    """Flow diagram: everybody, who was left out and why, who was analysed, patients and controls.

    Parameters
    ----------
    quality : mapping
        `subjects` with `total` and `kept` of `cases`, `controls` and `others`; `excluded`: `reason` and the same three
        counts, most frequent first.
    contrast : mapping
        `cases` and `controls`: names of groups.
    """
    subjects, lost = quality["subjects"], _lost_lines(quality)
    everybody = {side: subjects[side]["total"] for side in SIDES}
    kept = {side: subjects[side]["kept"] for side in SIDES}
    first = [f"In the data: {_people(sum(everybody.values()))}", _sides(everybody)]
    aside = _height(lost)
    tall = [_height(first), aside, _height(["", ""]), _height(["", ""])]
    height = sum(tall) + 3 * GAP + 0.1
    figure = Figure(figsize=(PAGE, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, PAGE), ylim=(height, 0))
    axes.set_axis_off()
    top, middle = 0.05, 2.2
    bottom = _box(axes, middle, top, 3.2, first)
    lower = bottom + GAP + aside + GAP
    _arrow(axes, (middle, bottom), (middle, lower))
    level = bottom + GAP + aside / 2
    _arrow(axes, (middle, level), (4.0, level))
    _box(axes, 5.55, bottom + GAP, 3.1, lost, left=True)
    analysed = kept["cases"] + kept["controls"]
    others = [f"{kept['others']:,} of other groups are not compared"] if kept["others"] else []
    end = _box(axes, middle, lower, 3.2, [f"Analysed: {_people(analysed)}", *(others or [_share(analysed, everybody)])])
    for side, place in (("cases", 1.2), ("controls", 3.2)):
        _arrow(axes, (place, end), (place, end + GAP))
        _box(axes, place, end + GAP, 1.85, [counted(kept[side], WORDS[side]), listed(contrast[side])])
    return figure


def _people(n: int) -> str:
    return "1 person" if n == 1 else f"{n:,} people"


def _sides(counts: Mapping[str, int]) -> str:
    parts = [counted(counts[side], WORDS[side]) for side in ("cases", "controls")]
    return ", ".join(parts + ([f"{counts['others']:,} of other groups"] if counts["others"] else []))


def _share(analysed: int, everybody: Mapping[str, int]) -> str:
    compared = everybody["cases"] + everybody["controls"]
    return f"{analysed / compared:.0%} of the patients and controls" if compared else ""


def _lost_lines(quality: Mapping) -> list[str]:
    """Who was left out: a line a reason, wrapped; the rarest share one."""
    rows = [(row["reason"], {side: row[side] for side in SIDES}) for row in quality["excluded"]]
    if not rows:
        return ["Nobody was left out"]
    total = {side: sum(counts[side] for _, counts in rows) for side in SIDES}
    lines = [f"Left out: {_people(sum(total.values()))}", _sides(total)]
    shown = rows if len(rows) <= NAMED else rows[: NAMED - 1]
    for reason, counts in shown:
        lines += _wrapped(f"{sum(counts.values()):,}: {reason}")
    rest = sum(sum(counts.values()) for _, counts in rows[len(shown) :])
    return lines + ([f"{rest:,}: other reasons"] if rest else [])


def _wrapped(text: str) -> list[str]:
    lines = textwrap.wrap(text.replace("$", r"\$"), 52, max_lines=2, placeholder=" …")
    return [lines[0], *("\u00a0" * 4 + line for line in lines[1:])]


def _height(lines: list[str]) -> float:
    return LINE * len(lines) + ROOM


def _box(axes: Axes, middle: float, top: float, width: float, lines: list[str], left: bool = False) -> float:
    """A box with text, its first line in bold, and where it ends."""
    height = _height(lines)
    frame = {"facecolor": "white", "edgecolor": INK, "linewidth": 0.8}
    axes.add_patch(Rectangle((middle - width / 2, top), width, height, **frame))
    x, side = (middle - width / 2 + 0.09, "left") if left else (middle, "center")
    for row, line in enumerate(lines):
        look = {"size": 8, "weight": "bold"} if row == 0 else {"size": 7}
        axes.text(x, top + ROOM / 2 + LINE * (row + 0.5), line, ha=side, va="center", **look)
    return top + height


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
    axes.annotate("", end, start, arrowprops=look)


def motion_test(participants: pd.DataFrame, contrast: Mapping, level: float = 0.95) -> Estimate:
    """Motion of the included patients against controls: Cohen's d of its logarithm, patients higher: positive."""
    kept = participants[participants["included"] & participants["mean_fd"].notna()]
    sides = (kept.loc[kept["group"].isin(contrast[side]), "mean_fd"].to_numpy(float) for side in ("cases", "controls"))
    p, d, low, high = group_difference(*sides, level, skewed=True)
    return Estimate(d, low, high, p)


@styled
def motion_figure(participants: pd.DataFrame, contrast: Mapping, limit: float) -> Figure:
    """Mean framewise displacement by group, with everybody as a point: patients first, then controls.

    Parameters
    ----------
    participants : DataFrame
        `group`, `mean_fd` (mm), `included`.
    contrast : mapping
        `cases` and `controls`: names of groups.
    limit : float
        Largest mean displacement that is included, mm.
    """
    compared = [*contrast["cases"], *contrast["controls"]]
    groups = compared + [name for name in participants["group"].unique() if name not in compared]
    if participants["mean_fd"].isna().all():
        return note_figure("No measure of head motion came with these data:\nnothing here can tell its part.")
    figure, axes = one_panel(COLUMN, 2.9)
    jitter = np.random.default_rng(0)
    for place, name in enumerate(groups):
        people = participants[(participants["group"] == name) & participants["mean_fd"].notna()]
        kept = people.loc[people["included"], "mean_fd"].to_numpy(float)
        lost = people.loc[~people["included"], "mean_fd"].to_numpy(float)
        colour = COLOURS[1] if name in contrast["cases"] else COLOURS[0] if name in compared else GREY
        if len(kept):
            box(axes, kept, place)
        kept, lost = kept[evenly(kept)], lost[evenly(lost)]
        where = place + jitter.uniform(-0.17, 0.17, len(kept))
        size, alpha = (9, 0.75) if len(kept) < 150 else (4, 0.5)
        axes.scatter(where, kept, s=size, color=colour, alpha=alpha, linewidths=0, zorder=3)
        where = place + jitter.uniform(-0.17, 0.17, len(lost))
        axes.scatter(where, lost, s=16, color=INK, marker="x", linewidths=0.9, zorder=4)
    axes.axhline(limit, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    axes.annotate(
        "limit", (1, limit), (0, 2), ("axes fraction", "data"), "offset points", color=GREY, size=7, ha="right"
    )
    test = motion_test(participants, contrast)
    if np.isfinite(test.p):
        axes.set_title(f"{p_text(test.p)}, d = {number(test.value)}", loc="left")
    axes.set(xlim=(-0.6, len(groups) - 0.4), ylabel="Mean framewise displacement (mm)")
    axes.set_ylim(0, max(axes.get_ylim()[1], limit * 1.12))
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params(axis="x", length=0, labelsize=8)
    return figure
