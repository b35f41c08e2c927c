"""The section on quality: figures, tables and facts about motion, exclusion and what is missing."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.paper.style import note_figure
from dysconnect.paper.tables import Column, Row, Table, page_link
from dysconnect.paper.text import NONE, counted, covariate_names, difference_text, number, p_text, p_value, percent
from dysconnect.report.figures import COLOURS, COLUMN, GREY, LIGHT, PAGE, styled
from dysconnect.report.text import lacking_text

SIDES = {"cases": "patients", "controls": "controls", "others": "not compared"}
# colours that differ in greyscale too, and hatches
LOOKS = {
    "cases": {"color": COLOURS[1]},
    "controls": {"color": COLOURS[5], "hatch": "////", "edgecolor": "white", "linewidth": 0},
    "others": {"color": LIGHT},
}
MOST = 10  # rows of a table or bars of a figure; the rest is summed up
BAND = {"color": LIGHT, "linewidth": 0, "alpha": 0.8}


@styled
def qcfc_figure(quality: Mapping) -> Figure:
    """Histogram of QC-FC over connections, before the middle of its null.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    own = quality["qcfc"]["everybody"]
    if "reason" in own:
        return note_figure(f"Not tested: {own['reason']}.")
    cells = own["histogram"]
    edges, value, low, high = (np.array(cells[name]) for name in ("edges", "value", "low", "high"))
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    heights = (np.append(own, own[-1]) for own in (low, high))
    axes.fill_between(edges, *heights, step="post", label="motion permuted", **BAND)
    axes.stairs(value, edges, color=COLOURS[0], linewidth=1.5, label="observed")
    axes.axvline(0, color=GREY, linewidth=0.7, zorder=0)
    reach = np.abs(edges[np.flatnonzero(np.append((value > 5e-4) | (high > 5e-4), False))]).max(initial=0.1) + 0.04
    axes.set(xlim=(-reach, reach), xlabel="QC-FC: correlation with motion (partial r)", ylabel="Share of connections")
    axes.set_ylim(0, axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.legend(loc="upper left", handlelength=1.4)
    axes.set_title(f"{percent(own['share']['value'])} with p < 0.05, {p_text(own['share']['p'])}", loc="left")
    return figure


@styled
def distance_figure(quality: Mapping) -> Figure:
    """QC-FC by the distance of the regions: means of bins, middle half of their connections, and the null.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    own = quality["qcfc"]["everybody"]
    if "reason" in own:
        return note_figure(f"Not tested: {own['reason']}.")
    bins = {name: np.array(numbers) for name, numbers in own["bins"].items()}
    figure = Figure(figsize=(COLUMN, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(bins["distance"], bins["low"], bins["high"], label="mean, motion permuted", **BAND)
    axes.axhline(0, color=GREY, linewidth=0.7, zorder=0)
    axes.vlines(bins["distance"], bins["first"], bins["third"], color=COLOURS[0], linewidth=0.8, label="middle half")
    axes.plot(bins["distance"], bins["value"], "o-", color=COLOURS[0], markersize=4.5, label="mean")
    axes.set(xlabel="Distance of the regions (mm)", ylabel="QC-FC (partial r)")
    axes.legend(loc="upper right", handlelength=1.4)
    if "rho" in own:
        axes.set_title(f"Spearman ρ = {number(own['rho']['value'])}, {p_text(own['rho']['p'])}", loc="left")
    return figure


@styled
def flow_figure(quality: Mapping) -> Figure:
    """Who is kept and who is left out, then the reasons on a scale of their own; patients, controls, others stacked.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    """
    subjects = quality["subjects"]
    kept = {side: subjects[side]["kept"] for side in SIDES}
    lost = {side: subjects[side]["total"] - subjects[side]["kept"] for side in SIDES}
    reasons = _fewer(quality["excluded"])
    heights = [2, len(reasons)] if reasons else [2]
    figure = Figure(figsize=(PAGE, 0.9 + 0.3 * sum(heights) + 0.35 * bool(reasons)), layout="constrained")
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _stacked(panels[0], ["kept", "left out"], [kept, lost])
    shown = [side for side in SIDES if subjects[side]["total"]]
    handles = [panels[0].barh([0], [0], label=SIDES[side], **LOOKS[side]) for side in shown]
    panels[0].legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, handlelength=1.2)
    if reasons:
        _stacked(panels[1], [_short(row["reason"]) for row in reasons], reasons)
        panels[1].set_title("left out, by reason", loc="left")
    panels[-1].set_xlabel("People")
    return figure


def _stacked(axes: Axes, titles: Sequence[str], counts: Sequence[Mapping]) -> None:
    places, starts = np.arange(len(counts)), np.zeros(len(counts))
    for side, look in LOOKS.items():
        lengths = np.array([row[side] for row in counts], float)
        axes.barh(places, lengths, left=starts, height=0.62, **look)
        starts += lengths
    for place, row in zip(places, counts):
        parts = " + ".join(f"{row[side]:,}" for side in SIDES if row[side])
        axes.annotate(parts or "0", (starts[place], place), (4, 0), textcoords="offset points", va="center", size=7)
    axes.set_yticks(places, titles)
    axes.set(ylim=(len(counts) - 0.5, -0.5), xlim=(0, max(1, 1.12 * starts.max())))
    axes.tick_params(axis="y", length=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines["left"].set_color(GREY)


def _fewer(excluded: Sequence[Mapping]) -> list[Mapping]:
    """Reasons for a figure: the most frequent, and the sum of the others."""
    if len(excluded) <= MOST:
        return list(excluded)
    rest = {side: sum(row[side] for row in excluded[MOST - 1 :]) for side in SIDES}
    return [*excluded[: MOST - 1], {"reason": f"{len(excluded) - MOST + 1} other reasons", **rest}]


def _short(reason: str) -> str:
    words = textwrap.shorten(reason, 90, placeholder=" …")
    return "\n".join(textwrap.wrap(words, 46)).replace("$", r"\$")  # a dollar would begin a formula


def draw(quality: Mapping) -> dict[str, Figure]:
    """All figures of the section, by name."""
    return {"flow": flow_figure(quality), "qcfc": qcfc_figure(quality), "qcfc_distance": distance_figure(quality)}


def captions(quality: Mapping, level: str) -> dict[str, str]:
    """Captions of the figures: what they show, then how to read them."""
    adjusted = f"Adjusted for {covariate_names([*quality['nuisance'], 'group'])}."
    return {
        "flow": "People kept and left out, by reason. Numbers beside the bars are patients, controls and others who "
        "are not compared, where there are any; the reasons have a scale of their own.",
        "qcfc": "QC-FC: correlation over people of mean framewise displacement and connectivity, for all connections. "
        f"Grey: the middle {level} where motion is permuted inside sites. Where motion leaves no trace, the observed "
        f"line stays in the grey. {adjusted}",
        "qcfc_distance": "QC-FC by the distance of the two regions, in bins of equally many connections. Dots are "
        f"means, thin lines the middle half of the connections, grey the middle {level} of the means where motion is "
        "permuted. Motion that survives denoising typically lifts short connections and lowers long ones.",
    }


def quality_facts(quality: Mapping, survivors: int, moved: int) -> list[tuple[str, str]]:
    """What the section rests on, in numbers.

    Parameters
    ----------
    quality : mapping
        Summary of the `quality` stage.
    survivors, moved : int
        Connections that survive the localization, and those of them that follow motion.
    """
    subjects, edges = quality["subjects"], quality["edges"]
    lost = [
        counted(subjects[side]["total"] - subjects[side]["kept"], one)
        for side, one in (("cases", "patient"), ("controls", "control"))
    ]
    tested = f"{edges['tested']:,} of {counted(edges['total'], 'connection')}"
    untested = [
        (edges["unmeasured"], "measured in nobody"),
        (edges["outside"], "outside the field of view in too many people"),
        (edges["silent"], "without signal in too many people"),
    ]
    why = "; ".join(f"{count:,} {reason}" for count, reason in untested if count)
    facts = [
        ("Motion", compared_text(quality["motion"], "mm", 3)),
        ("Data kept", compared_text(quality["seconds"], "s", 0)),
        ("Volumes kept", compared_text(quality["volumes"], "volumes", 0)),
        ("Left out", f"{lost[0]}, {lost[1]} (Fisher {p_text(subjects['p'])})"),
        ("Tested for motion", "nothing" if "reason" in quality["qcfc"]["everybody"] else tested),
        ("Missing", why),
        ("Regions missing", lacking_text(quality["lacking"]) if quality["lacking"]["regions"] else ""),
    ]
    if survivors and "reason" not in quality["qcfc"]["everybody"]:
        facts.append(("Survivors", f"{moved:,} of {counted(survivors, 'connection')} that survive follow motion"))
    return [(name, text) for name, text in facts if text]


def compared_text(compared: Mapping, unit: str, digits: int) -> str:
    """Write the means of patients and controls, and their difference."""
    if "cases" not in compared:
        return compared["reason"]
    means = [
        NONE if own["mean"] is None else number(own["mean"], digits)
        for own in (compared["cases"], compared["controls"])
    ]
    test = compared.get("reason") or difference_text(compared)
    return f"{f'{means[0]} {unit}'.strip()} in patients, {f'{means[1]} {unit}'.strip()} in controls ({test})"


def motion_followers(edges: pd.DataFrame, qcfc: pd.DataFrame, alpha: float) -> tuple[int, int]:
    """Count the connections that survive at `alpha`, and those of them whose QC-FC has p < 0.05."""
    found = edges.loc[edges["p_fwer"] <= alpha, ["region_a", "region_b"]]
    return len(found), int((found.merge(qcfc, on=["region_a", "region_b"])["p"] < 0.05).sum())


def qcfc_table(quality: Mapping) -> Table:
    """QC-FC of everybody, and of patients and controls alone; numbers in brackets are what permuting motion takes."""
    rows = []
    for group, title in (("everybody", "everybody"), ("cases", "patients"), ("controls", "controls")):
        own = quality["qcfc"][group]
        if "reason" in own:
            rows.append(Row([title, NONE, own["reason"], *[NONE] * 5], "aside"))
            continue
        share = own["share"]
        cells = [f"{own['n']:,}", _with_null(own["median_r"], lambda r: number(r, 3))]
        cells += [_with_null(share, percent), p_value(share["p"]), percent(own["share_fdr"])]
        rho = own.get("rho")
        cells += [_with_null(rho, number), p_value(rho["p"])] if rho else [NONE, NONE]
        rows.append(Row([title, *cells]))
    columns = [
        Column("People", False), Column("n"), Column("Median |r|"), Column("With p < 0.05"), Column("p"),
        Column("After BH"), Column("ρ with distance"), Column("p"),
    ]  # fmt: skip
    caption = (
        "How connections follow motion (QC-FC). Below each number: the middle of its null, motion permuted inside "
        "sites. After BH: share of the connections at a false-discovery rate of 0.05."
    )
    return Table(caption, columns, rows)


def _with_null(own: Mapping, write) -> tuple[str, str]:
    return write(own["value"]), f"{write(own['low'])} to {write(own['high'])}"


def region_table(quality: Mapping) -> Table:
    """Regions without signal, how many people lack them, and why where coverage is known."""
    regions = quality["regions"]
    rows = [Row([row["region"], f"{row['cases']:,}", f"{row['controls']:,}", *_outside(row)]) for row in regions[:MOST]]
    more = f" The {MOST} that most people lack are listed." if len(regions) > MOST else ""
    columns = [Column("Region", False), Column("Patients"), Column("Controls"), *_outside_column(regions)]
    return Table(f"Regions without signal in somebody ({len(regions):,}).{more}", columns, rows)


def people_table(quality: Mapping) -> Table:
    """People who lack a region, how many they lack, and why where coverage is known."""
    people = quality["people"]
    rows = [
        Row(
            [row["participant_id"], row["group"], f"{row['regions']:,}", *_outside(row)],
            link=page_link(row["participant_id"]),
        )
        for row in people[:MOST]
    ]
    more = f" The {MOST} who lack most are listed." if len(people) > MOST else ""
    columns = [Column("Subject", False), Column("Group", False), Column("Regions"), *_outside_column(people)]
    return Table(f"Analysed people without signal in a region ({len(people):,}).{more}", columns, rows)


def _outside(row: Mapping) -> list[str]:
    return [f"{row['outside']:,}"] if "outside" in row else []


def _outside_column(rows: Sequence[Mapping]) -> list[Column]:
    return [Column("Of these outside the field of view")] if rows and "outside" in rows[0] else []
