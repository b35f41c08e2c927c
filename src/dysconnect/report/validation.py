"""Validation: does the localization keep its promises on cohorts whose truth is known?"""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dysconnect.localize import methods as localization
from dysconnect.paper.style import COLOURS, GREY, INK, LIGHT, LINES, MARKERS, PAGE, note_figure, styled
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, listed, number, percent
from dysconnect.report.results import Study
from dysconnect.report.section import Drawing, Section

LEVEL = 0.95
PROMISED = {"no difference": "no difference", "confounded": "motion tied to the group, adjusted for"}
WHERE = {
    "no difference": "where nothing differs",
    "motion tied to the group, adjusted for": "where motion is tied to the group and adjusted for",
    "planted": "beside planted edges",
}
UNADJUSTED = "confounded, not adjusted"
NULLS = {**PROMISED, UNADJUSTED: "motion tied to the group, not adjusted for"}
PATTERNS = {
    "circuit": "edges of circuits",
    "mixed": "circuits, either sign",
    "hub": "all edges of a region",
    "random": "random edges",
}


def section(study: Study) -> Section | None:
    """What the methods promise and what they do on cohorts with a known truth; None where none was made."""
    scores, spec, alpha = study.results.validation, study.cohort.get("validate"), study.alpha
    if scores is None:
        return None
    return Section(
        "validation",
        "Does the localization keep its promises?",
        "Validation",
        sentences=[text for text in (promises(scores, alpha), unprotected(scores, alpha)) if text],
        facts=facts(scores, spec),
        figures=_drawings(scores, alpha),
        tables={"methods": method_table(scores, alpha)},
        more={"simulated": study.cohort["dataset"]["kind"] == "simulated"},
    )


def _drawings(scores: pd.DataFrame, alpha: float) -> dict[str, Drawing]:
    count = int(measured(scores, "fwer")["cohorts"].max()) if len(scores) else 0
    fwer = (
        "Share of cohorts without any difference in which a method finds one, with 95% limits (Clopper and Pearson). "
        f"Line: the {alpha:g} that is promised; band: where 95% of such shares of {counted(count, 'cohort')} lie if "
        "the promise is kept. Right: motion is tied to the group and left out of the model, where nothing can be "
        "promised."
    )
    power = (
        "Share of the planted edges that are found, by the effect planted (mean and 95% limits). Each panel is a "
        "pattern of the truth and a share of the patients who carry it; d is that of the carriers."
    )
    fdp = (
        f"Share of false edges among those called (mean and 95% limits). Line: {alpha:g}, promised by "
        f"{listed(promising('FDR'))}. Network-based methods promise that a component is no accident, not that each of "
        "its edges is true. Edges that moved because a planted one did are left out of the count."
    )
    hits, false = "Planted edges found", "False share of what is called"
    return {
        "validation_fwer": Drawing(lambda: fwer_figure(scores, alpha), fwer, wide=True),
        "validation_power": Drawing(lambda: effect_figure(scores, "tpr", hits, None), power, wide=True),
        "validation_fdp": Drawing(lambda: effect_figure(scores, "fdp", false, alpha), fdp, wide=True),
    }


def promising(promise: str) -> list[str]:
    """Methods that promise this: FDR of edges; FWER of edges, whatever else is true; that all bounds hold together."""
    return [method.name for method in localization.METHODS if method.promise == promise]


def compared() -> list[str]:
    """Methods whose power is drawn: they call edges of both directions, and are no second permutation of another."""
    return [
        method.name
        for method in localization.METHODS
        if method.kind == "edges" and not method.tail and method.scheme in ("", "smith")
    ]


def measured(scores: pd.DataFrame, measure: str, scenario: str | None = None) -> pd.DataFrame:
    """Rows of a measure, and of a scenario."""
    rows = scores[scores["measure"] == measure]
    return rows if scenario is None else rows[rows["scenario"] == scenario]


def judged(scores: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Compare every promise with what was seen.

    Parameters
    ----------
    scores : DataFrame
    alpha : float

    Returns
    -------
    DataFrame
        `method`, `where` (scenario), `said` (what was seen), `verdict`: -1 fewer false findings than the 95% band of
        the promise, 0 inside, 1 more.
    """
    rows = []
    for scenario, words in PROMISED.items():
        rows += [_counted_row(row, row.value, alpha, words) for row in measured(scores, "fwer", scenario).itertuples()]
        rows += [
            _counted_row(row, 1 - row.value, alpha, words)
            for row in measured(scores, "coverage", scenario).itertuples()
        ]
    rows += _planted_rows(scores, alpha)
    return pd.DataFrame(rows, columns=["method", "where", "said", "verdict"])


def _likely(total: int | pd.Series, share: float) -> tuple:
    """Least and largest count of so many cohorts, of which each counts with this probability, at `LEVEL`."""
    from scipy.stats import binom  # half a second that no page of a person need wait for

    return binom.interval(LEVEL, total, share)


def _counted_row(row, share: float, alpha: float, where: str) -> tuple:
    count, total = round(share * row.cohorts), int(row.cohorts)
    low, high = _likely(total, alpha)
    return row.method, where, f"{count} of {counted(total, 'cohort')}", int(count > high) - int(count < low)


def _planted_rows(scores: pd.DataFrame, alpha: float) -> list[tuple]:
    """Promises that hold beside a true difference: means over patterns and effects, planted in the same people."""
    rows, where = [], "planted"
    for measure, promise in (("fdp", "FDR"), ("fwer", "FWER"), ("coverage", "bounds")):
        for method, part in measured(scores, measure, where).groupby("method", sort=False):
            if method not in promising(promise):
                continue
            share = part["value"].mean() if measure != "coverage" else 1 - part["value"].mean()
            if measure == "fdp":
                error = (part["high"] - part["low"]).mean() / 4  # limits are two standard errors either way
                said, verdict = f"{number(100 * share, 1)}% of its calls", int(share > alpha + 2 * np.nan_to_num(error))
            else:
                total = int(part["cohorts"].max())
                said = f"{number(100 * share, 1)}% of cohorts"
                verdict = int(share * total > _likely(total, alpha)[1])
            rows.append((method, where, said, verdict))
    return rows


def promises(scores: pd.DataFrame, alpha: float) -> str:
    """Name every method that is outside the limits of what it promises."""
    table = judged(scores, alpha)
    if table.empty:
        return ""
    above, below = (table[table["verdict"] == side] for side in (1, -1))
    methods = table["method"].nunique()
    if above.empty:
        text = f"All {methods} methods keep their promise: none errs more often than {alpha:g} allows"
    else:
        named = [
            f"{where} {listed(f'{row.method} ({row.said})' for row in part.itertuples())}"
            for where, part in above.assign(where=above["where"].map(WHERE)).groupby("where", sort=False)
        ]
        text = f"Outside the limits of the {alpha:g} that is promised: {'; '.join(named)}"
    by_chance = 0.025 * len(table)
    text += f". Of {counted(len(table), 'check')} {number(by_chance, 1)} would be outside by chance."
    if len(below):
        named = dict.fromkeys(below["method"])
        text += f" More cautious than they need be: {listed(named)}."
    return text


def unprotected(scores: pd.DataFrame, alpha: float) -> str:
    """Say what becomes of the promise where motion differs between the groups and is left out of the model."""
    rows = measured(scores, "fwer", UNADJUSTED)
    if rows.empty:
        return ""
    worst = rows.loc[rows["value"].idxmax()]
    failed = int((rows["value"] * rows["cohorts"] > _likely(rows["cohorts"], alpha)[1]).sum())
    seen = f"{round(worst['value'] * worst['cohorts'])} of {counted(int(worst['cohorts']), 'cohort')}"
    if not failed:
        return (
            f"Leaving motion out of the model did no harm here (at most {seen}, {worst['method']}): these cohorts say "
            "nothing about what adjustment protects from."
        )
    return (
        f"Without motion in the model {failed} of {counted(len(rows), 'method')} find differences where there are none "
        f"({worst['method']} in {seen}): the error rate rests on that covariate."
    )


def facts(scores: pd.DataFrame, spec: Mapping) -> list[tuple[str, str]]:
    """What the validation rests on, in numbers."""
    null, planted = (scores.loc[scores["scenario"] == name, "cohorts"] for name in ("no difference", "planted"))
    regions = "all regions of the atlas" if spec["regions"] is None else f"{spec['regions']:,} regions of the atlas"
    return [
        (
            "Cohorts",
            f"{null.max() if len(null) else 0:,} without, {planted.max() if len(planted) else 0:,} with a truth",
        ),
        ("Each", f"{counted(spec['patients'], 'patient')}, {counted(spec['controls'], 'control')}, {regions}"),
        ("Permutations", f"{spec['permutations']:,}"),
        ("Planted edges", f"{spec['edges']:,} (hub: all of a region)"),
        ("Carried by", listed(carried(share) for share in spec["carriers"])),
        ("Effects", f"d = {', '.join(f'{d:g}' for d in spec['effects'])}"),
    ]


@styled
def fwer_figure(scores: pd.DataFrame, alpha: float) -> Figure:
    """Share of null cohorts with a false finding, by method, with limits: a panel a scenario."""
    rows = measured(scores, "fwer")
    present = [name for name in NULLS if (rows["scenario"] == name).any()]
    if not present:
        return note_figure("No cohorts without a difference were made.")
    methods = list(rows.loc[rows["scenario"].isin(present), "method"].unique())
    figure = Figure(figsize=(PAGE, 1.0 + 0.19 * len(methods)), layout="constrained")
    panels = figure.subplots(1, len(present), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, present):
        _intervals(axes, rows[rows["scenario"] == name].set_index("method").loc[methods], alpha, name in PROMISED)
        axes.set_title(NULLS[name].replace(", ", ",\n"), loc="left")
        axes.set_xlabel("Cohorts with a false finding")
    panels[0].set_yticks(range(len(methods)), methods)
    panels[0].set_ylim(len(methods) - 0.4, -0.6)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, alpha: float, promised: bool) -> None:
    """Dots and limits of every method, over the band of the promise; outside of it as crosses."""
    total = int(rows["cohorts"].max())
    low, high = (bound / total for bound in _likely(total, alpha))
    axes.axvspan(low, high, color=LIGHT, alpha=0.6, linewidth=0, zorder=0)
    axes.axvline(alpha, color=INK, linestyle=(0, (3, 2)), linewidth=0.9, zorder=1)
    for place, row in enumerate(rows.itertuples()):
        outside = promised and not low <= row.value <= high
        colour = COLOURS[1] if outside else COLOURS[0] if promised else GREY
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(row.value, place, "X" if outside else "o", color=colour, markersize=4.5)
    axes.set_xlim(-0.01, max(0.2, min(1.01, rows["high"].max() + 0.02)))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@styled
def effect_figure(scores: pd.DataFrame, measure: str, title: str, promised: float | None) -> Figure:
    """A measure of the planted cohorts over the effect: a panel a pattern and share of carriers, a line a method."""
    rows = measured(scores, measure, "planted")
    methods = [name for name in rows["method"].unique() if name in compared()]
    patterns = [name for name in PATTERNS if (rows["pattern"] == name).any()]
    if not patterns or not methods:
        return note_figure("No cohorts with a planted truth were made.")
    shares = sorted(rows["carriers"].unique(), reverse=True)
    figure = Figure(figsize=(PAGE, 0.6 + 2.1 * len(shares)), layout="constrained")
    panels = figure.subplots(len(shares), len(patterns), sharex=True, sharey=True, squeeze=False)
    top = 1.02 if promised is None else max(0.25, 1.2 * rows.loc[rows["method"].isin(methods), "value"].max())
    effects = np.unique(rows["d"])
    for axes, (share, pattern) in zip(panels.ravel(), product(shares, patterns)):
        part = rows[(rows["pattern"] == pattern) & (rows["carriers"] == share)]
        for place, method in enumerate(methods):
            _line(axes, part[part["method"] == method].sort_values("d"), place, method)
        if promised is not None:
            axes.axhline(promised, color=INK, linestyle=(0, (3, 2)), linewidth=0.9, zorder=0)
        named = [PATTERNS[pattern], carried(share)] if len(shares) > 1 else [PATTERNS[pattern]]
        axes.set_title(",\n".join(named), loc="left")
        axes.set(ylim=(-0.02 * top, top), xlim=(effects[0] - 0.05, effects[-1] + 0.05), ylabel=title)
        axes.set(xticks=effects, xlabel="Effect planted (d)")
        axes.label_outer()
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, handlelength=2.6)
    return figure


def carried(share: float) -> str:
    """Who carries what is planted."""
    return {1.0: "all patients", 0.5: "half of the patients"}.get(share, f"{percent(share)} of the patients")


def _line(axes: Axes, rows: pd.DataFrame, k: int, method: str) -> None:
    look = {"color": COLOURS[k % 7], "linestyle": LINES[(k + k // 7) % 7], "marker": MARKERS[k % 7]}
    d = rows["d"] + 0.004 * (k - 3)  # so that limits do not cover each other
    axes.plot(d, rows["value"], label=method, markersize=3.6, **look)
    axes.vlines(d, rows["low"].clip(0, 1), rows["high"].clip(0, 1), color=look["color"], linewidth=0.7, alpha=0.6)


def method_table(scores: pd.DataFrame, alpha: float) -> Table:
    """Every method: false findings without a difference, and what it finds where there is one."""
    outside = judged(scores, alpha)
    outside = set(outside.loc[outside["verdict"] > 0, "method"])
    rows = []
    for method in scores["method"].unique():
        part = scores[scores["method"] == method]
        cells = [method, *(_false(part, name) for name in NULLS)]
        planted = part[part["scenario"] == "planted"]
        for measure in ("tpr", "fdp", "fdp_strict", "auprc_ratio", "sign_accuracy", "stability"):
            values = planted.loc[planted["measure"] == measure, "value"]
            cells.append(number(values.mean()) if len(values) else NONE)
        rows.append(Row(cells, "best" if method in outside else ""))
    columns = [
        Column("Method", False), Column("No difference"), Column("Motion, adjusted"), Column("Motion, not adjusted"),
        Column("Found"), Column("False"), Column("False, strict"), Column("Ranking"), Column("Sign right"),
        Column("Stability"),
    ]  # fmt: skip
    caption = (
        "First three columns: cohorts with a false finding, of all cohorts in which nothing differs; of the bounds, "
        "cohorts in which one is larger than the truth. The others are means over all cohorts with a planted truth: "
        "planted edges (circuits, blocks) found; false ones among those called, without and with edges that only moved "
        "along; area under the precision-recall curve relative to the ranking by |t|; calls with the right sign; "
        "stability of what is called between cohorts with the same truth (Nogueira et al. 2018; 1: the same, 0: as by "
        f"chance). Marked: outside the limits of {percent(alpha)}."
    )
    return Table(caption, columns, rows)


def _false(scores: pd.DataFrame, scenario: str) -> str:
    rows = scores[(scores["scenario"] == scenario) & scores["measure"].isin(["fwer", "coverage"])]
    if rows.empty:
        return NONE
    row = rows.iloc[0]
    share = row["value"] if row["measure"] == "fwer" else 1 - row["value"]
    return f"{round(share * row['cohorts']):,} / {row['cohorts']:,}"
