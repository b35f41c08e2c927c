"""Diffusion scans of a cohort: how good they are by group, and who lies far from the others."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dysconnect.paper.style import drawn_of
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, Estimate, counted, listed, p_value
from dysconnect.quality.people import compared
from dysconnect.quality.scans import limits, marked
from dysconnect.quality.tracts import MEASURED, tract_table
from dysconnect.report.measures import MEASURES, compared_people, group_warnings, in_words, person_table
from dysconnect.report.results import Study
from dysconnect.report.scans import strips
from dysconnect.report.section import Drawing, Section

STRIPS = (
    "mean_displacement", "dropped_slices", "neighbour_correlation", "snr_b0", "fa_callosum",
    "regions_without_streamlines", "field_rms", "dice_dwi_t1w",
)  # fmt: skip
NAMED = 5  # people who are named in a sentence
CHECKS = (  # measure, what it is, what patients do where theirs is lower and where it is higher
    ("mean_displacement", "Displacement of the head in the diffusion images", "move less", "move more"),
    ("dropped_slices", "The share of lost slices", "lose fewer", "lose more"),
    ("neighbour_correlation", "The likeness of neighbouring diffusion volumes", "have less", "have more"),
    ("snr_b0", "The signal-to-noise ratio of the b0", "have less", "have more"),
)
CONFOUNDER = "It is a confounder: what differs in FA or streamlines may be due to it"
ABOUT = (
    "Displacement: of the head from where it was at the first b0, mean over volumes (shift, and turn on a sphere of 50 "
    "mm). Lost slices: of the weighted volumes, replaced by their prediction. r of neighbours: correlation of each "
    "weighted volume with the one whose gradient is most alike (Yeh et al. 2019). Unreached regions: no streamline "
    "ends there. Field: shift by susceptibility in the brain"
)
METHODS = (
    "Diffusion scans of the groups were compared by the t-test in displacement (by its logarithm), lost slices, "
    "correlation of neighbouring volumes (Yeh et al. 2019), signal-to-noise ratio of the b0, anisotropy of the corpus "
    "callosum, regions without streamlines, size of the field, and overlap with the T1-weighted image. Scans far from "
    "the others in one of these were marked; marks left nobody out."
)


def section(study: Study) -> Section | None:
    """Quality of diffusion scans by group, and who is far from the others; None without diffusion images."""
    if study.results.tracts is None:
        return None
    table, contrast, spec = everybody(study), study.contrast, study.cohort["quality"]
    caption = (
        "Quality of the diffusion scans by group. Each point is a person, diamonds are far from the others (beyond the "
        "dashed line), crosses were left out of the analysis; boxes show quartiles of the included, p by the t-test, "
        "for displacement of its logarithm."
    ) + drawn_of(len(table))
    return Section(
        "tracts",
        "Diffusion scans",
        sentences=[words for words in (far_sentence(table, spec), uncorrected_sentence(table)) if words],
        figures={"tracts": Drawing(lambda: strips(table, STRIPS, contrast, spec), caption, wide=True)},
        tables={
            "groups": group_table(table, contrast, spec, study.level),
            "people": person_table(table, spec, "FD: framewise displacement.") if study.people else None,
        },
        methods=[("Quality", METHODS)],
    )


def everybody(study: Study) -> pd.DataFrame:
    """Diffusion scans beside the people."""
    return tract_table(study.results.tracts, study.results.participants)


def tract_warnings(study: Study) -> list[str]:
    """What about diffusion scans threatens the claim, one sentence each (without a full stop)."""
    if study.results.tracts is None:
        return []
    people, alpha = compared_people(everybody(study), study.contrast), study.cohort["quality"]["group_alpha"]
    moved, *others = ([check] for check in CHECKS)
    said = group_warnings(people, moved, alpha, study.level)
    said += [CONFOUNDER] if said else []
    return said + [words for check in others for words in group_warnings(people, check, alpha, study.level)]


def group_table(table: pd.DataFrame, contrast: Mapping, spec: Mapping, level: float) -> Table:
    """Every measure in patients and controls, how they differ, and how many of either are far from the others."""
    people, levels = compared_people(table, contrast), limits(table, spec)
    beyond = marked(table, spec).loc[people.index]
    rows = []
    for name in MEASURED:
        if not people[name].notna().any():
            continue
        gap, write = compared(people, name, level), MEASURES[name].write
        known = np.isfinite(gap.get("p", np.nan))
        d = str(Estimate(*(gap[key] for key in ("d", "low", "high", "p")))) if known else gap["reason"]
        far = [int(beyond.loc[people["label"] == side, name].sum()) for side in (1, 0)]
        limit = write(levels[name]) if np.isfinite(levels[name]) else NONE
        cells = [*(_mean(people, name, side) for side in (1, 0)), d, p_value(gap["p"]) if known else NONE]
        rows.append(Row([MEASURES[name].title, *cells, limit, *(f"{n:,}" for n in far)]))
    columns = [
        Column("Measure", False), Column("Patients"), Column("Controls"), Column("d [interval]"), Column("p"),
        Column("Limit"), Column("Patients beyond"), Column("Controls beyond"),
    ]  # fmt: skip
    caption = (
        f"Quality of the diffusion scans by group: means of the included, Cohen's d and p of the t-test, for motion of "
        f"its logarithm. Limit: {spec['max_deviation']:g} robust deviations from the median of all, which "
        f"leave nobody out. {ABOUT}."
    )
    return Table(caption, columns, rows)


def _mean(people: pd.DataFrame, name: str, side: int) -> tuple[str, str]:
    values = people.loc[people["label"] == side, name].dropna()
    return MEASURES[name].write(values.mean()) if len(values) else NONE, f"n = {len(values):,}"


def far_sentence(table: pd.DataFrame, spec: Mapping) -> str:
    """Name who is far from the others, and in what."""
    beyond = marked(table, spec)
    many = beyond.sum(axis=1)
    order = many[many > 0].sort_values(ascending=False, kind="stable").index
    if order.empty:
        return "" if not np.isfinite(list(limits(table, spec).values())).any() else "Nobody is far from the others."
    words = [f"{table.loc[k, 'participant_id']} ({_what(table.loc[k], beyond.loc[k])})" for k in order[:NAMED]]
    more = [counted(len(order) - NAMED, "other")] if len(order) > NAMED else []
    return f"Far from the others: {listed([*words, *more])}. Nobody is left out for it: look at their pages."


def _what(row: pd.Series, flags: pd.Series) -> str:
    return ", ".join(in_words(name, row[name]) for name in flags.index[flags])


def uncorrected_sentence(table: pd.DataFrame) -> str:
    """Whose images stay distorted; empty where all were corrected."""
    used = table[table["problem"] == ""]
    lost = used[used["field_rms"].isna()]
    if lost.empty:
        return ""
    names = lost["participant_id"].tolist()
    more = [counted(len(names) - NAMED, "other")] if len(names) > NAMED else []
    who = f": {listed([*names[:NAMED], *more])}" if len(names) < len(used) else ""
    return (
        f"In {len(names):,} of {counted(len(used), 'scan')} distortion by susceptibility was not corrected, for lack "
        f"of b0 of the opposite phase encoding{who}."
    )
