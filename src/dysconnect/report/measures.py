"""What is measured of a scan: how it is called and written, what is marked, and the table of everybody."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.paper.tables import MOST_LISTED, Column, Row, Table, first_of
from dysconnect.paper.text import NONE, difference_text, number, percent
from dysconnect.quality.people import compared
from dysconnect.quality.scans import LIMITS, marked

ABOVE, BELOW = "▲", "▼"
UNITS = ("mm", "voxels", "%")
LONGEST = 110  # letters of a note in the table


@dataclass(frozen=True)
class Measure:
    """How a measure of a scan is called, in a heading and on an axis, and written."""

    title: str
    axis: str
    write: Callable[[float], str]


def share(value: float) -> str:
    """Write a share, a dash where it is unknown."""
    return percent(value) if np.isfinite(value) else NONE


def digits(count: int) -> Callable[[float], str]:
    """Write numbers with so many digits."""
    return lambda value: number(value, count)


MEASURES = {
    "mean_fd": Measure("Mean FD, mm", "Mean FD (mm)", digits(3)),
    "spikes": Measure("Over 0.5 mm", "Volumes over 0.5 mm", share),
    "censored": Measure("Volumes left out", "Volumes left out", share),
    "dvars": Measure("DVARS, %", "DVARS (%)", digits(2)),
    "tsnr": Measure("tSNR", "tSNR", digits(1)),
    "least_coverage": Measure("Least coverage", "Least coverage", share),
    "silent": Measure("Regions outside", "Regions outside", share),
    "dice_t1w_template": Measure("Dice T1w, template", "Dice T1w, template", digits(3)),
    "dice_bold_t1w": Measure("Dice BOLD, T1w", "Dice BOLD, T1w", digits(3)),
    # of diffusion images
    "mean_displacement": Measure("Displacement, mm", "Displacement (mm)", digits(2)),
    "fd_dwi": Measure("Mean FD, mm", "Mean FD (mm)", digits(3)),
    "dropped_slices": Measure("Lost slices", "Lost slices", share),
    "neighbour_correlation": Measure("r of neighbours", "r of neighbours", digits(3)),
    "snr_b0": Measure("SNR of b0", "SNR of b0", digits(1)),
    "fa_callosum": Measure("FA of callosum", "FA of callosum", digits(3)),
    "regions_without_streamlines": Measure("Unreached regions", "Unreached regions", share),
    "field_rms": Measure("Field rms, voxels", "Field rms (voxels)", digits(2)),
    "dice_dwi_t1w": Measure("Dice DWI, T1w", "Dice DWI, T1w", digits(3)),
}


def written(name: str, value: float, beyond: bool) -> str:
    """Write a measure, with a sign where it is beyond its limit."""
    text = MEASURES[name].write(value)
    return f"{ABOVE if LIMITS[name].sign > 0 else BELOW}\u00a0{text}" if beyond else text


def in_words(name: str, value: float) -> str:
    """Write a measure in a sentence: ``displacement 6.00 mm``."""
    title, _, unit = MEASURES[name].title.partition(", ")
    title = title[0].lower() + title[1:] if title[1].islower() and title[:4] != "Dice" else title
    return f"{title} {MEASURES[name].write(value)} {unit if unit in UNITS else ''}".strip()


def remark(row: pd.Series, longest: int) -> str:
    """What is to be said of a scan: why it failed, why it was left out, or what is doubtful."""
    reason = "" if row["included"] else row["exclusion_reason"].split("; set ")[0]
    said = [f"failed: {row['problem']}" if row["problem"] else f"left out: {reason}" if reason else "", row["note"]]
    return textwrap.shorten("; ".join(part for part in said if part), longest, placeholder=" …") if any(said) else ""


def measured(table: pd.DataFrame) -> list[str]:
    """Measures that a table of scans knows of somebody."""
    return [name for name in MEASURES if name in table and table[name].notna().any()]


def person_table(table: pd.DataFrame, spec: Mapping, about: str) -> Table:
    """Everybody's scan: those that failed, then those beyond most limits; a link to each page.

    Parameters
    ----------
    table : DataFrame, [n rows]
        `participant_id`, `group`, `included`, `exclusion_reason`, `note`, `problem`, and measures.
    spec : mapping
        The `quality` section.
    about : str
        What the end of the caption says.
    """
    names, beyond = measured(table), marked(table, spec)
    failed = (table["problem"] != "").to_numpy()
    order = np.lexsort([table["participant_id"], -beyond.sum(axis=1).to_numpy(), ~failed])[:MOST_LISTED]
    rows = []
    for k in order:
        row, flags = table.iloc[k], beyond.iloc[k]
        cells = [written(name, row[name], flags.get(name, False)) for name in names]
        emphasised = [column for column, name in enumerate(names, start=1) if flags.get(name, False)]
        mark = "failed" if failed[k] else "beyond" if flags.any() else ""
        person = (row["participant_id"], row["group"] or NONE)
        link = f"subjects/{row['participant_id']}.html"
        rows.append(Row([person, *cells, remark(row, LONGEST)], mark, link, emphasised))
    columns = [Column("Participant", False), *(Column(MEASURES[name].title) for name in names), Column("Note", False)]
    about += first_of(len(table), "all have a page, and a row in the tables of stage quality or tractography")
    return Table(f"Scans ({len(table):,}). {limits_text(table, spec)} {about}", columns, rows)


def limits_text(table: pd.DataFrame, spec: Mapping) -> str:
    """Say what is marked, and that nobody is left out by it."""
    known = {name: LIMITS[name] for name in measured(table) if name in LIMITS}
    words = [
        f"{MEASURES[name].title} {'above' if limit.sign > 0 else 'below'} {MEASURES[name].write(spec[limit.key])}"
        for name, limit in known.items()
        if limit.key
    ]
    far = [MEASURES[name].title.split(",")[0] for name, limit in known.items() if limit.relative]
    what = " or ".join(far) if len(far) < 3 else "any other measure" if words else "any measure"
    if far:
        words.append(f"{what} {spec['max_deviation']:g} robust deviations from the median")
    return f"Marked {ABOVE} or {BELOW}: {'; '.join(words)}. Marks exclude nobody."


def group_warnings(
    people: pd.DataFrame, checks: Sequence[tuple[str, str, str, str]], alpha: float, level: float
) -> list[str]:
    """Which measures differ between the groups, one sentence each (without a full stop).

    Parameters
    ----------
    people : DataFrame
        Those who are compared, with `label`: 1 is the patient.
    checks : sequence of (str, str, str, str)
        Measure, what it is, and what patients do where theirs is lower, and where it is higher.
    alpha, level : float
        p at which it is said; level of the interval.
    """
    said = []
    for name, what, low, high in checks:
        gap = compared(people, name, level)
        if gap.get("p", 1) <= alpha:
            how = high if gap["d"] > 0 else low
            said.append(f"{what} differs between the groups ({difference_text(gap)}; patients {how})")
    return said


def compared_people(table: pd.DataFrame, contrast: Mapping) -> pd.DataFrame:
    """Scans that are used, of both sides of the contrast, with `label`: 1 is the patient."""
    sides = [*contrast["cases"], *contrast["controls"]]
    kept = table[table["included"] & table["group"].isin(sides)]
    return kept.assign(label=kept["group"].isin(contrast["cases"]).astype(int))
