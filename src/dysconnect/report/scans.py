"""Scans of a cohort of images: who lies beyond a limit, what was not scanned, what denoising did."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from dysconnect.data.atlas import SYSTEMS
from dysconnect.paper.carpet import spread
from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, LIGHT, PAGE, box, drawn_of, evenly, note_figure, styled
from dysconnect.paper.tables import Table
from dysconnect.paper.text import compared_text, counted, number, p_text
from dysconnect.quality.people import SKEWED, compared, group_difference
from dysconnect.quality.scans import Scans, limits, marked
from dysconnect.report.measures import MEASURES, compared_people, group_warnings, person_table, share
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section

SHADES = ("#6b1d00", "#d9772b", "#f3cfa5", "#f2f3f5")  # of coverage: told apart in greyscale too
DASHED = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 0.8, "zorder": 0}
MOST = 5  # panels of a line
STRIPS = ("mean_fd", "dvars", "tsnr", "dice_t1w_template", "dice_bold_t1w")


def section(study: Study) -> Section | None:
    """Who lies beyond a limit, what was not scanned, and what denoising did; None without images."""
    scans, contrast, spec = study.results.scans, study.contrast, study.cohort["quality"]
    if scans is None:
        return None
    return Section(
        "scans",
        "Scans",
        facts=scan_facts(scans, contrast, spec, study.level),
        figures=_drawings(study, scans),
        tables={"scans": scan_table(scans, spec) if study.people else None},
        more={"effect": effect_sentence(scans.table)},
    )


def _drawings(study: Study, scans: Scans) -> dict[str, Drawing]:
    contrast, nodes, least = study.contrast, study.nodes, study.cohort["preprocess"]["min_coverage"]
    strips = (
        "Quality of the scans by group. Each point is a person, diamonds lie beyond a limit (dashed), crosses were "
        "left out of the analysis; boxes show quartiles of the included, p by the t-test, for motion of its "
        "logarithm. FD: framewise displacement; DVARS: change of the signal from volume to volume; tSNR: temporal "
        "signal-to-noise ratio."
    ) + drawn_of(len(scans.table))
    coverage = (
        "What lies in the field of view: regions (rows, by system, from top to bottom of the head) of every scan "
        f"(columns, by group, the most complete first). Of regions below {least:.0%} no signal is taken. Right: share "
        "of the scans in which that is so."
    )
    denoising = (
        "What denoising did to each person's regional series. Left: DVARS in standard deviations of the series, 1.41 "
        "for white noise; a filter of high frequencies lowers it by itself. Right: correlation of DVARS with framewise "
        "displacement over time, the trace of motion. Thin lines are people, diamonds medians."
    )
    return {
        "scans": Drawing(lambda: strips_figure(scans, contrast, study.cohort["quality"]), strips, wide=True),
        "coverage": Drawing(lambda: coverage_figure(scans, contrast, nodes, least), coverage, wide=True),
        "denoising": Drawing(lambda: effect_figure(scans.table, contrast), denoising),
    }


def sides_of(table: pd.DataFrame, contrast: Mapping) -> dict[str, str]:
    """Colour of every group: patients, controls, then those that are not compared."""
    looks = dict.fromkeys(contrast["cases"], COLOURS[1]) | dict.fromkeys(contrast["controls"], COLOURS[0])
    others = [name for name in table["group"].unique() if name not in looks]
    return {name: colour for name, colour in looks.items() if (table["group"] == name).any()} | dict.fromkeys(
        others, GREY
    )


def strips_figure(scans: Scans, contrast: Mapping, spec: Mapping) -> Figure:
    """Motion, noise and registration by group, with everybody as a point and the limits as lines.

    Parameters
    ----------
    scans : Scans
    contrast : mapping
        `cases` and `controls`: names of groups.
    spec : mapping
        The `quality` section.
    """
    return strips(scans.table, STRIPS, contrast, spec)


@styled
def strips(table: pd.DataFrame, names: Sequence[str], contrast: Mapping, spec: Mapping) -> Figure:
    """Measures by group, at most five beside each other; parameters as of `strips_figure`."""
    names = [name for name in names if table[name].notna().any()]
    if not names:
        return note_figure("No scan could be measured.")
    lines = -(-len(names) // MOST)
    figure = Figure(figsize=(PAGE, 2.7 if lines == 1 else 2.4 * lines), layout="constrained")
    beyond, levels, groups = marked(table, spec), limits(table, spec), sides_of(table, contrast)
    panels = figure.subplots(lines, -(-len(names) // lines), squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names):
        for place, (group, colour) in enumerate(groups.items()):
            members = (table["group"] == group).to_numpy()
            _strip(axes, table[members], name, beyond.loc[members, name].to_numpy(), place, colour)
        if np.isfinite(levels[name]):
            axes.axhline(levels[name], **DASHED)
        axes.set_xticks(range(len(groups)), groups, rotation=0 if len(groups) < 4 else 45)
        axes.set(xlim=(-0.6, len(groups) - 0.4), ylabel=MEASURES[name].axis)
        axes.tick_params(axis="x", length=0)
        if MEASURES[name].write is share:
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        kept = table[table["included"] & table[name].notna()]
        sides = [kept.loc[kept["group"].isin(contrast[side]), name].to_numpy() for side in ("cases", "controls")]
        p = group_difference(*sides, skewed=name.startswith(SKEWED))[0]
        axes.set_title(p_text(p) if np.isfinite(p) else "", loc="left", size=7)
    return figure


def _strip(axes: Axes, people: pd.DataFrame, name: str, beyond: np.ndarray, place: int, colour: str) -> None:
    """People of one group: a box of the included, and a point for everybody."""
    values, kept = people[name].to_numpy(float), people["included"].to_numpy(bool)
    known = np.isfinite(values)
    if (known & kept).any():
        box(axes, values[known & kept], place)
    where = place + np.random.default_rng(place).uniform(-0.17, 0.17, len(values))
    size = 1.0 if len(values) < 150 else 0.5
    looks = (
        (kept & ~beyond, {"s": 9 * size, "color": colour, "alpha": 0.75, "linewidths": 0}),
        (kept & beyond, {"s": 20 * size, "marker": "D", "facecolor": "none", "edgecolor": colour, "linewidths": 1.1}),
        (~kept, {"s": 16 * size, "color": INK, "marker": "x", "linewidths": 0.9}),
    )
    for chosen, look in looks:
        drawn = np.flatnonzero(known & chosen)
        drawn = drawn[evenly(values[drawn])]
        axes.scatter(where[drawn], values[drawn], zorder=3, **look)


@styled
def coverage_figure(scans: Scans, contrast: Mapping, nodes: pd.DataFrame, least: float) -> Figure:
    """Which regions lie in the field of view of whom, and how many scans lack each.

    Parameters
    ----------
    scans : Scans
    contrast : mapping
    nodes : DataFrame, [N rows]
        `name`, `system`, `z` (mm).
    least : float
        Share of a region that must be there.
    """
    shares = scans.coverage.loc[:, scans.coverage.notna().any()]
    if shares.empty:
        return note_figure("Of no scan it is known what it covers.")
    regions, groups = _regions_in_order(nodes, shares.index), scans.table.set_index("participant_id")["group"]
    columns = [
        name
        for group in sides_of(scans.table, contrast)
        for name in shares.mean().sort_values(ascending=False, kind="stable").index
        if groups[name] == group
    ]
    values = shares.loc[regions["name"], columns].to_numpy(float)
    figure = Figure(figsize=(PAGE, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(6, 1))
    steps = coverage_steps(least)
    shades = ListedColormap([SHADES[0], *SHADES[-(len(steps) - 2) :]])
    left.imshow(values, cmap=shades, norm=BoundaryNorm(steps, shades.N), aspect="auto", interpolation="nearest")
    _label_systems(left, regions["system"].tolist())
    _label_groups(left, groups[columns].tolist())
    right.fill_betweenx(
        np.arange(len(values)), 100 * (values < least).mean(1), step="mid", color=SHADES[0], linewidth=0
    )
    right.set(xlim=(0, 100), xlabel="Scans without (%)", xticks=(0, 50, 100))
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", length=0)
    looks = enumerate(_coverage_labels(steps))
    handles = [Patch(facecolor=shades(k), edgecolor=LIGHT, linewidth=0.5, label=words) for k, words in looks]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), handlelength=1.2)
    return figure


def _regions_in_order(nodes: pd.DataFrame, names: pd.Index) -> pd.DataFrame:
    """Regions by system, and from top to bottom of the head in each."""
    regions = nodes if "system" in nodes else nodes.assign(system="regions")
    regions = regions.assign(rank=regions["system"].map({name: k for k, name in enumerate(SYSTEMS)}))
    return regions[regions["name"].isin(names)].sort_values(["rank", "z"], ascending=[True, False], kind="stable")


def coverage_steps(least: float) -> list[float]:
    """Steps of coverage that are drawn: below the least that is asked, and three above it."""
    return sorted({0.0, least, *(step for step in ((1 + least) / 2, 0.95) if least < step), 1.01})


def _coverage_labels(steps: list[float]) -> list[str]:
    between = [f"{low:.0%} to {high:.0%}" for low, high in pairwise(steps[1:-1])]
    return [f"below {steps[1]:.0%}", *between, f"{steps[-2]:.0%} and more"]


def _label_systems(axes: Axes, systems: list[str]) -> None:
    names = list(dict.fromkeys(systems))
    edges = np.cumsum([0, *[systems.count(name) for name in names]]) - 0.5
    places = spread((edges[:-1] + edges[1:]) / 2, len(systems) / 24)
    axes.set_yticks(places, [name.replace("_", " ") for name in names])
    axes.tick_params(axis="y", length=0)
    for edge in edges[1:-1]:
        axes.axhline(edge, color=INK, linewidth=0.5)


def _label_groups(axes: Axes, groups: list[str]) -> None:
    names = list(dict.fromkeys(groups))
    edges = np.cumsum([0, *[groups.count(name) for name in names]]) - 0.5
    axes.set_xticks(
        (edges[:-1] + edges[1:]) / 2, [f"{name} ({groups.count(name)})" for name in names], rotation=0, ha="center"
    )
    axes.tick_params(axis="x", length=0)
    for edge in edges[1:-1]:
        axes.axvline(edge, color=INK, linewidth=1)


@styled
def effect_figure(table: pd.DataFrame, contrast: Mapping) -> Figure:
    """Before and after denoising, a line a person: DVARS, and its correlation with framewise displacement.

    Parameters
    ----------
    table : DataFrame
        Of `dysconnect.quality.scans.scan_table`.
    contrast : mapping
    """
    parts = {"dvars": "DVARS of regions (sd)", "fd_dvars": "r of DVARS and FD"}
    known = {name: table.dropna(subset=[f"{name}_before", f"{name}_after"]) for name in parts}
    shown = [name for name in parts if len(known[name])]
    if not shown:
        return note_figure("There are no series before and after denoising to compare.")
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    colours = sides_of(table, contrast)
    for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown):
        pairs = known[name][[f"{name}_before", f"{name}_after"]].to_numpy(float)
        for pair, group in zip(pairs, known[name]["group"]):
            line = "-" if group in contrast["cases"] else (0, (3, 1.5))
            axes.plot([0, 1], pair, color=colours[group], linestyle=line, linewidth=0.7, alpha=0.5)
        axes.plot([0, 1], np.median(pairs, axis=0), "D-", color=INK, linewidth=1.8, markersize=5, zorder=4)
        if name == "fd_dvars":
            axes.axhline(0, color=LIGHT, linewidth=0.8, zorder=0)
        else:
            axes.set_ylim(0, None)
        axes.set_xticks([0, 1], ["before", "after"])
        axes.set(xlim=(-0.25, 1.25), ylabel=parts[name])
    others = "controls" if set(table["group"]) <= {*contrast["cases"], *contrast["controls"]} else "controls and others"
    titles = (("patients", COLOURS[1], "-"), (others, COLOURS[0], (0, (3, 1.5))))
    handles = [axes.plot([], [], color=colour, linestyle=line, label=title)[0] for title, colour, line in titles]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=2.4)
    return figure


def effect_sentence(table: pd.DataFrame) -> str:
    """What denoising did to the regional series, in medians over people; empty where it is unknown."""
    known = table.dropna(subset=["dvars_before", "dvars_after"])
    if known.empty:
        return ""
    middle = known.median(numeric_only=True)
    text = (
        f"Denoising took DVARS of the regional series from {number(middle['dvars_before'])} to "
        f"{number(middle['dvars_after'])} standard deviations (medians of {counted(len(known), 'scan')})"
    )
    moved = known.dropna(subset=["fd_dvars_before", "fd_dvars_after"])
    if moved.empty:
        return f"{text}; how it follows head motion is not known."
    middle = moved.median(numeric_only=True)
    return (
        f"{text}, and its correlation with framewise displacement over time from r = "
        f"{number(middle['fd_dvars_before'])} to {number(middle['fd_dvars_after'])}."
    )


def scan_facts(scans: Scans, contrast: Mapping, spec: Mapping, level: float) -> list[tuple[str, str]]:
    """What the section rests on, in numbers."""
    table = scans.table
    failed, beyond = int((table["problem"] != "").sum()), int(marked(table, spec).any(axis=1).sum())
    people = compared_people(table, contrast)
    facts = [("Scans", f"{counted(len(table), 'scan')}, {failed:,} failed, {beyond:,} beyond a limit")]
    for name, title, unit, places in (
        ("tsnr", "tSNR", "", 1), ("dvars", "DVARS", "percent", 2), ("dice_t1w_template", "Dice T1w, template", "", 3),
        ("dice_bold_t1w", "Dice BOLD, T1w", "", 3), ("mean_coverage", "Mean coverage", "", 3),
    ):  # fmt: skip
        if people[name].notna().any():
            facts.append((title, compared_text(compared(people, name, level), unit, places)))
    return facts


def scan_warnings(scans: Scans, contrast: Mapping, spec: Mapping, level: float) -> list[str]:
    """What about the scans threatens the claim, one sentence each (without a full stop)."""
    checks = (
        ("tsnr", "The signal-to-noise ratio", "have less", "have more"),
        ("dice_t1w_template", "The registration to the template", "fit worse", "fit better"),
    )
    return group_warnings(compared_people(scans.table, contrast), checks, spec["group_alpha"], level)


def scan_table(scans: Scans, spec: Mapping) -> Table:
    """Everybody who was preprocessed: those that failed, then those beyond most limits; a link to each page."""
    about = "FD: framewise displacement; regions outside: those of which too little is in the field of view."
    return person_table(scans.table, spec, about)


def scans_text(scans: Scans | None) -> str:
    """How scans were judged; empty where there were none."""
    if scans is None:
        return ""
    return (
        " Scans were marked by the limits that stand with their table, which exclude nobody. DVARS of the regional "
        "series, in their standard deviations, and its correlation with framewise displacement over time (Power et al. "
        "2012; Parkes et al. 2018) were compared before and after denoising."
    )
