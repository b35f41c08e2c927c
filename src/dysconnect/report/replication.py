"""Replication: whether connections called in one part of the people are there in sites that had no part in it."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from dysconnect.paper.style import COLOURS, COLUMN, GREY, INK, MARKERS, note_figure, one_panel, styled
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, covariate_names, listed, p_text, p_value, percent
from dysconnect.report.results import Asked, Study
from dysconnect.report.section import Drawing, Section

TITLES = {"fwer": "max-T", "fdr": "Benjamini-Hochberg", "strongest": "strongest"}
MOST_POINTS = 1000


def section(study: Study) -> Section | None:
    """What became of called connections elsewhere; None where nobody asked."""
    asked = study.results.replication
    if asked is None:
        return None
    drawing = Drawing(lambda: scatter_figure(asked), _caption(asked.summary))
    return Section(
        "replication",
        sentences=[sentence(asked.summary), *filter(None, [_left_out(asked.summary), reading(asked.summary)])],
        figures={"replication": drawing},
        tables={"lists": list_table(asked.summary), "parts": part_table(asked.summary)},
        verdict=[("Replication", sentence(asked.summary))],
        methods=[("Localization", paragraph(asked.summary))],
    )


def sentence(summary: Mapping) -> str:
    """Which lists replicate, and by how much."""
    if summary["reason"]:
        return f"Replication was not computed: {summary['reason']}.{_why(summary['left_out'])}"
    lists = [row for row in summary["lists"] if row["n"]]
    return f"{_where(summary)} {' '.join(_said(row, summary) for row in lists)}{_empty(summary)}"


def _where(summary: Mapping) -> str:
    n = len(summary["parts"])
    if summary["replicate"] == "site":
        return f"Connections were called {n:,} times, each time without one site, and looked at in that site."
    return f"Connections were called without {summary['parts'][0]['name']}, and looked at there."


def _said(row: Mapping, summary: Mapping) -> str:
    """One list in a sentence."""
    sign, replicated = row["sign"], row["replicated"]
    return (
        f"{_title(row['name'], summary)} {judged(row, summary['alpha'])}: of {_calls(row['n'], summary)}, "
        f"{percent(sign['share'])} keep their direction ({_base(sign)}), and {percent(replicated['share'])} have a "
        f"one-sided p below {summary['nominal']:g} there ({_base(replicated)})."
    )


def _calls(n: int, summary: Mapping) -> str:
    return counted(n, "call" if summary["replicate"] == "site" else "connection")


def _base(share: Mapping) -> str:
    rest = "" if share["other"] is None else f"all others: {percent(share['other'])}; "
    return f"{rest}{p_text(share['p'])}"


def _title(name: str, summary: Mapping) -> str:
    if name != "strongest":
        return f"The list of {TITLES[name]}"
    return f"The list of the {max(part['n_strongest'] for part in summary['parts']):,} strongest, called or not,"


def _empty(summary: Mapping) -> str:
    nothing = [TITLES[row["name"]] for row in summary["lists"] if not row["n"]]
    return f" Nothing was called by {listed(nothing)}." if nothing else ""


def judged(row: Mapping, alpha: float) -> str:
    """Whether a list replicates: by the share with a small p, else by the direction alone."""
    if row["replicated"]["p"] <= alpha:
        return "replicates beyond chance"
    if row["sign"]["p"] <= alpha:
        return "keeps its direction beyond chance, and no more"
    if row["sign"]["share"] < row["sign"]["chance"][0]:
        return "does not replicate, and has the other direction more often than by chance"
    return "does not replicate"


def reading(summary: Mapping) -> str:
    """How the shares are to be read."""
    if summary["reason"]:
        return ""
    again = " A connection counts once for each site in which it was looked at." * (summary["replicate"] == "site")
    return (
        f"p is how often labels permuted inside sites give as high a share.{again} The lists are nested: all take the "
        "largest |t|, so that a plain list as long as that of Benjamini-Hochberg has the same connections."
    )


def _left_out(summary: Mapping) -> str:
    copies = f"Of copies of a scan one was kept ({summary['n_copies']:,} left out). " if summary["n_copies"] else ""
    return copies if summary["reason"] else f"{copies}{_why(summary['left_out']).strip()}".strip()


def _why(left_out: Mapping[str, str]) -> str:
    if not left_out:
        return ""
    return " Not looked at: " + "; ".join(f"{name} ({why.rstrip('.')})" for name, why in left_out.items()) + "."


def list_table(summary: Mapping) -> Table | None:
    """A row a list and kind of share; None where nothing was computed."""
    rows = []
    for row in summary["lists"]:
        if not row["n"]:
            rows.append(Row([TITLES[row["name"]], "0", *[NONE] * 7], "aside"))
            continue
        kinds = {"the same direction": row["sign"], f"p < {summary['nominal']:g}": row["replicated"]}
        rows += [_share_row(row, what, share, summary["alpha"]) for what, share in kinds.items()]
    columns = [
        Column("List", False), Column("Connections"), Column("Elsewhere", False), Column("Share"), Column("Interval"),
        Column("All others"), Column("Expected"), Column("By chance"), Column("p"),
    ]  # fmt: skip
    caption = (
        "What became of connections in people who had no part in their choice. Interval: 95%, over sites that were "
        "left out. All others: the same share of all connections that are not in the list. Expected: what the effects "
        "of those who called predict once shrunken for having been chosen, with so many people. By chance: the middle "
        f"95% under permuted labels. Marked: p of {summary['alpha']:g} or less, of each list for itself."
    )
    return Table(caption, columns, rows) if rows else None


def _share_row(row: Mapping, what: str, share: Mapping, alpha: float) -> Row:
    interval = NONE if share["low"] is None else f"{percent(share['low'])} to {percent(share['high'])}"
    rest = [NONE if share[name] is None else percent(share[name]) for name in ("other", "expected")]
    chance = " to ".join(map(percent, share["chance"]))
    cells = [TITLES[row["name"]], f"{row['n']:,}", what, percent(share["share"]), interval, *rest, chance]
    return Row([*cells, p_value(share["p"])], "best" if share["p"] <= alpha else "")


def part_table(summary: Mapping) -> Table | None:
    """Who called, and who was looked at."""
    rows = [
        Row([part["name"], *(f"{part[f'n_{side}_{group}']:,}" for side in ("calling", "other") for group in GROUPS),
             *(f"{part[f'n_{name}']:,}" for name in TITLES)])
        for part in summary["parts"]
    ]  # fmt: skip
    columns = [
        Column("Looked at", False), Column("Calling: patients"), Column("controls"), Column("Looked at: patients"),
        Column("controls"), *(Column(title) for title in TITLES.values()),
    ]  # fmt: skip
    caption = "People on both sides, and how many connections each list had."
    return Table(caption, columns, rows) if rows else None


GROUPS = ("cases", "controls")


@styled
def scatter_figure(asked: Asked) -> Figure:
    """Draw d of every listed connection where it was called, and elsewhere, with the identity and the shrinkage."""
    edges = asked.edges
    if edges.empty:
        return note_figure("No replication: nothing could be looked at.")
    figure, axes = one_panel(COLUMN, COLUMN)
    reach = np.array([-1, 1]) * 1.05 * float(edges["effect_size"].abs().max())
    axes.plot(reach, reach, color=GREY, linestyle=(0, (2, 2)), linewidth=0.9, label="the same d")
    for k, (name, title) in reversed(list(enumerate(TITLES.items()))):
        shown = edges[edges["called_by"] == name]
        shown = shown.iloc[:: 1 + len(shown) // MOST_POINTS]
        if len(shown):
            look = {"s": 9, "alpha": 0.6, "linewidths": 0, "color": COLOURS[k], "marker": MARKERS[k]}
            axes.scatter(shown["effect_size"], shown["effect_other"], label=title, **look)
    shrunken = [row for row in asked.summary["lists"] if row["n"] and row["shrinkage"] is not None]
    if shrunken:
        title = f"shrunken ({TITLES[shrunken[0]['name']]})"
        axes.plot(reach, shrunken[0]["shrinkage"] * reach, color=INK, linewidth=1.0, label=title)
    axes.axhline(0, color=GREY, linewidth=0.6, zorder=0)
    axes.set_xlabel("d where it was called")
    axes.set_ylabel("d elsewhere")
    axes.legend(loc="best", handlelength=1.8)
    return figure


def _caption(summary: Mapping) -> str:
    return (
        "Effects of the listed connections in the people who called them, and in those who had no part in the choice. "
        "Points above and below zero on the side of the dashed line keep their direction; the solid line is what the "
        "effects are expected to keep once shrunken for having been chosen. Each point has the colour of the strictest "
        f"list it is in; of many, some are drawn ({MOST_POINTS:,} a list at most)."
    )


def paragraph(summary: Mapping) -> str:
    """How replication was looked at, for the methods."""
    if summary["reason"]:
        return ""
    turn = summary["replicate"] == "site"
    who = "each site in turn" if turn else f"the part {summary['parts'][0]['name']}"
    anew = ", edges chosen anew each time, as many as were called," if turn and len(summary["parts"]) > 1 else ""
    return (
        f"For replication {who} (at least {summary['fewest']} patients and controls) was left out, connections were "
        f"called in all others by max-T and by Benjamini-Hochberg at {summary['alpha']:g}, and tested in the part left "
        f"out, given {covariate_names(summary['nuisance'])} there. The shares that kept their sign, and had a "
        f"one-sided p below {summary['nominal']:g}, were compared with those under labels permuted inside sites{anew} "
        "and with what the shrunken effects predict."
    )
