"""Tables of the cohort: its groups, who was left out and why, and what was taken of several files."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.special import chdtrc, gammaln

from dysconnect.paper.tables import Column, Row, Table, page_link
from dysconnect.paper.text import NONE, counted, number, p_value
from dysconnect.quality.people import group_difference

MANY = 8  # people with one and the same reason share a row of the table
MOST = 200  # choices that are listed; everything stands in acquire/choices.tsv


def cohort_table(participants: pd.DataFrame, contrast: Mapping) -> Table:
    """Describe every group: how many, and age, sex, site and motion of the included."""
    compared = [*contrast["cases"], *contrast["controls"]]
    groups = compared + sorted(set(participants["group"]) - set(compared))
    rows = []
    for name in groups:
        people = participants[participants["group"] == name]
        role = "patients" if name in contrast["cases"] else "controls" if name in compared else "not compared"
        rows.append(Row([(name or "no group", role), *_group_cells(people)], "" if name in compared else "aside"))
    rows.append(Row([("p", "patients against controls"), "", "", *_balance(participants, contrast)], "total"))
    columns = [
        Column("Group", False), Column("n"), Column("Included"), Column("Age, years (mean ± sd)"),
        Column("Sex", False), Column("Site", False), Column("Mean FD, mm (mean ± sd)"),
    ]  # fmt: skip
    caption = (
        "Groups. Age, sex, site and mean framewise displacement (FD) are those of the included subjects; "
        "p by t-test for age and the logarithm of FD, Fisher or χ² for sex and site."
    )
    return Table(caption, columns, rows)


def _group_cells(group: pd.DataFrame) -> list[str]:
    kept = group[group["included"]]
    return [
        f"{len(group):,}", f"{len(kept):,}", _mean_sd(kept["age"], 1), _counts(kept["sex"]), _counts(kept["site"]),
        _mean_sd(kept["mean_fd"], 3),
    ]  # fmt: skip


def _mean_sd(values: pd.Series, digits: int) -> str:
    known = values.dropna()
    if known.empty:
        return NONE
    text = (
        f"{number(known.mean(), digits)} ± {number(known.std(), digits)}"
        if len(known) > 1
        else number(known.mean(), digits)
    )
    return text if len(known) == len(values) else f"{text} (n = {len(known)})"


def _counts(values: pd.Series) -> str:
    counts = values.fillna("").astype(str).replace("", "unknown").value_counts().sort_index()
    return ", ".join(f"{name}\u00a0{count}" for name, count in counts.items()) or NONE


def _balance(participants: pd.DataFrame, contrast: Mapping) -> list[str]:
    kept = participants[participants["included"]]
    cases, controls = kept[kept["group"].isin(contrast["cases"])], kept[kept["group"].isin(contrast["controls"])]
    both = pd.concat([cases, controls])
    side = np.repeat(["case", "control"], [len(cases), len(controls)])
    ps = []
    for name in ("age", "sex", "site", "mean_fd"):
        if name in ("age", "mean_fd"):
            one, other = cases[name].dropna(), controls[name].dropna()
            p = group_difference(one.to_numpy(), other.to_numpy(), skewed=name == "mean_fd")[0]
        else:
            p = _contingency_p(pd.crosstab(side, both[name].astype(str).to_numpy()).to_numpy())
        ps.append(p_value(float(p)))
    return ps


def _contingency_p(counts: np.ndarray) -> float:
    """Fisher's p of 2 x 2 counts, of more that of χ²: as `scipy.stats`, which takes half a second to import."""
    if min(counts.shape) < 2:
        return np.nan
    rows, columns, total = counts.sum(1), counts.sum(0), counts.sum()
    if counts.shape != (2, 2):
        expected = np.outer(rows, columns) / total
        return float(chdtrc((len(rows) - 1) * (len(columns) - 1), ((counts - expected) ** 2 / expected).sum()))
    first = np.arange(max(0, columns[0] - rows[1]), min(rows[0], columns[0]) + 1)  # what may stand in the first place
    ways = _log_ways(rows[0], first) + _log_ways(rows[1], columns[0] - first)
    chances = np.exp(ways - _log_ways(total, columns[0]))
    return float(min(1, chances[chances <= chances[first == counts[0, 0]] * (1 + 1e-7)].sum()))


def _log_ways(n: int, k: np.ndarray) -> np.ndarray:
    """Logarithm of the ways to choose k of n."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def excluded_table(participants: pd.DataFrame, named: bool = True) -> Table:
    """List everybody who was left out, with the reason; people left out by the dozen, or not named, share a row."""
    lost = participants[~participants["included"]]
    reasons = lost["exclusion_reason"].replace("", "no reason given")
    rows = []
    for reason, people in lost.groupby(reasons, sort=False):
        if len(people) > MANY or not named:
            groups = ", ".join(f"{group or NONE} {count}" for group, count in people["group"].value_counts().items())
            many = f"{len(people):,} {'person' if len(people) == 1 else 'people'}"
            where = (many, "by name in timeseries/participants.tsv") if named else many
            rows.append(Row([where, groups, NONE, reason]))
        else:
            rows += [
                Row(
                    [row.participant_id, row.group or NONE, number(row.mean_fd, 2), reason],
                    link=page_link(row.participant_id),
                )
                for row in people.itertuples()
            ]
    columns = [Column("Subject", False), Column("Group", False), Column("FD, mm"), Column("Reason", False)]
    return Table(f"Excluded subjects ({len(lost):,}).", columns, rows)


def choices_table(choices: pd.DataFrame | None) -> Table | None:
    """What was taken of several files: `participant_id`, `what`, `chosen`, `others`, `why`; None without any."""
    if choices is None or choices.empty:
        return None
    shown = choices.fillna("").head(MOST)
    lines = [
        (row.participant_id, row.what, row.chosen or NONE, row.others or NONE, row.why) for row in shown.itertuples()
    ]
    rows = [Row(list(cells), link=page_link(cells[0])) for cells in lines]
    columns = [Column(title, False) for title in ("Subject", "File", "Taken", "Not taken", "Why")]
    more = f" (the first {MOST}; all in acquire/choices.tsv)" if len(choices) > MOST else ""
    return Table(f"{counted(len(choices), 'choice')} among files{more}.", columns, rows)
