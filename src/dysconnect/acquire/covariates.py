"""What a participants table says of people: cells become values, and what is none is named before any scan is read.

Impossible numbers and unknown words are one person's problem and become a reason; what nobody can read without a
guess (sex as 1 and 2, one site spelled in two ways, ditto marks) is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dysconnect.problems import one_line
from dysconnect.reading.cells import CODES, DITTO, RANGES, beyond, codes_among, folded, form, is_missing, number, sex

REMEDIES = {"age": "give it in years", "sex": "write F or M", "site": "name it", "mean_fd": "give it in mm"}
SHOWN = 40  # characters of a cell
LONGEST = 100  # characters of a label; of a note more are cut


@dataclass(frozen=True)
class Judged:
    """One column as values.

    Attributes
    ----------
    values : Series
        Numbers (NaN where there is none) or words ("").
    kinds, hints : Series of str
        What is wrong with a cell ("" where it holds a value), in the same words for everybody; and what it seems to be.
    notes, refusals : tuple of str
        For the user; and why the table cannot be used.
    """

    values: pd.Series
    kinds: pd.Series
    hints: pd.Series
    notes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def judge(name: str, cells: pd.Series, asked: pd.Series, spec: Mapping) -> Judged:
    """Read one column of a participants table.

    Parameters
    ----------
    name : str
        Of the column, under our name.
    cells : Series of str
        By participant.
    asked : Series of bool
        Who is in the contrast, and not left out for another reason.
    spec : mapping
        The `dataset` section: `covariates`, `sexes`.
    """
    if name == "sex":
        return _sexes(cells, asked, spec.get("sexes"))
    wanted = name in spec["covariates"]
    if name in RANGES or (name != "site" and _numeric(cells, wanted)):
        return _numbers(name, cells)
    return _words(name, cells, asked, wanted)


def _numeric(cells: pd.Series, wanted: bool) -> bool:
    """Whether a further column of the dataset holds numbers: all of it, or (of a covariate) most of it."""
    filled = cells[~cells.map(is_missing)]
    share = np.mean([number(cell) == number(cell) or "decimal" in form(cell) for cell in filled]) if len(filled) else 0
    return bool(share > 0.5 if wanted else share == 1 and filled.map(number).notna().all())


def _numbers(name: str, cells: pd.Series) -> Judged:
    plain = cells.map(number).astype(float)
    codes = codes_among(name, plain)
    low, high, _ = RANGES.get(name, (None, None, None))
    kinds, hints = pd.Series("", index=cells.index), pd.Series("", index=cells.index)
    for person, cell in cells.items():
        value = plain[person]
        if is_missing(cell) or value in codes:
            kinds[person] = "missing"
        elif np.isnan(value):
            kinds[person], hints[person] = "no number", form(cell)
        elif beyond(name, value):
            kinds[person], hints[person] = f"outside {low} to {high}", beyond(name, value)
    people_of = [(code, plain.index[plain == code]) for code in sorted(codes)]
    each = ", ".join(f"{code:g} ({len(who)} of {len(cells)}, first: {who[0]})" for code, who in people_of)
    notes = (f"{name}: taken as missing: {each}",) if codes else ()
    return Judged(plain.where(kinds == ""), kinds, hints, notes)


def _sexes(cells: pd.Series, asked: pd.Series, codes: Mapping | None) -> Judged:
    values = cells.map(lambda cell: sex(cell, codes))
    empty = (values == "") & (cells.map(is_missing) | cells.map(number).isin(CODES))
    kinds = pd.Series(np.where(values != "", "", np.where(empty, "missing", "no F or M")), index=cells.index)
    unread = cells[(kinds == "no F or M") & asked]
    coded, words = unread[unread.map(number).notna()], set(cells.str.casefold())
    refusals = []
    if len(coded):
        refusals.append(
            f"sex is a number ({', '.join(sorted(set(coded)))}), and which one is F is not guessed. Say it (the right "
            "way round): 'overrides=dataset.sexes={1:M,2:F}', write F and M in the table"
        )
    elif "h" in words and not codes:
        refusals.append("sex is H for some: M may be mujer. Say it: 'overrides=dataset.sexes={H:M,M:F}'")
    return Judged(values, kinds, pd.Series("", index=cells.index), refusals=tuple(refusals))


def _words(name: str, cells: pd.Series, asked: pd.Series, wanted: bool) -> Judged:
    """Read a column of labels, or (neither a covariate nor the site) of notes, which stand as they are written."""
    empty, codes = _empty(name, cells)
    kinds, hints = pd.Series(np.where(empty, "missing", ""), index=cells.index), pd.Series("", index=cells.index)
    notes = tuple(f"{name}: {code:g} taken as missing" for code in sorted(codes))
    if not wanted and name != "site":
        return Judged(cells.where(cells.str.len() <= LONGEST, cells.map(one_line)).mask(empty, ""), kinds, hints, notes)
    long = cells.str.len() > LONGEST
    values = cells.map(lambda cell: " ".join(cell.split())).mask(empty | long, "")
    changed = cells[(cells != values) & ~empty & ~long]
    if len(changed):
        first = f"(first: {changed.iloc[0]!r})"
        notes += (f"{name}: blanks inside are counted as one for {len(changed)} people {first}",)
    known = values[asked & (values != "")]
    refusals = _spelled(name, known) + (_too_many(name, known) if name != "site" else [])
    return Judged(values, kinds.mask(long, "no label"), hints, notes, tuple(refusals))


def _empty(name: str, cells: pd.Series) -> tuple[pd.Series, set[float]]:
    """Which cells of a column of words hold none, and the codes among them; among numbers a code may be a label."""
    plain = cells.map(number)
    others = cells[~cells.map(is_missing) & ~plain.isin(CODES)]
    codes = codes_among(name, plain) if others.map(number).notna().all() else set(CODES) & set(plain)
    return cells.map(is_missing) | plain.isin(codes), codes


def _spelled(name: str, values: pd.Series) -> list[str]:
    """Name the labels that differ from one another only by case, blanks, hyphens or underscores."""
    refusals = []
    for _, alike in values.groupby(values.map(folded)):
        counts = alike.value_counts()
        if len(counts) > 1:
            each = ", ".join(f"{word!r} ({count})" for word, count in counts.items())
            refusals.append(f"{name} is spelled in {len(counts)} ways: {each} (people). Write it in one way")
    return refusals


def _too_many(name: str, values: pd.Series) -> list[str]:
    distinct = values.nunique()
    if len(values) < 5 or distinct <= 0.8 * len(values):
        return []
    return [
        f"{name} holds {distinct} different words for {len(values)} people (such as {values.iloc[0][:SHOWN]!r}): they "
        "are neither numbers nor groups"
    ]


def reason(name: str, judged: Judged, person: str, cell: str, place: str) -> str:
    """Say why one person's cell cannot be used; an empty string where it can.

    Parameters
    ----------
    name, person : str
        Column and participant.
    judged : Judged
        The column.
    cell, place : str
        What stands there, and where: file and line.
    """
    kind, hint = judged.kinds[person], judged.hints[person]
    if not kind or (kind == "missing" and name == "mean_fd"):  # motion may come with the scan
        return ""
    shown = f": {cell[:SHOWN]!r}" if cell else ""
    problem = f"missing ({place}{shown})" if kind == "missing" else f"{cell[:SHOWN]!r}, {kind}"
    problem += (f" ({hint})" if hint else "") + (f" in {place}" if kind != "missing" else "")
    remedy = REMEDIES.get(name, "give it")
    return one_line(f"{name} is {problem}; {remedy}, or leave {name} out of dataset.covariates")


def summary(name: str, judged: Judged, cells: pd.Series, places: pd.Series, asked: pd.Series) -> list[str]:
    """Say of a column how many people cannot be used for it, and who is the first; one line a kind."""
    kinds = judged.kinds[asked]
    lines = []
    for kind in dict.fromkeys(kinds[kinds != ""]):
        if kind == "missing" and name == "mean_fd":
            continue
        first = kinds.index[kinds == kind][0]
        shown, hint = cells[first][:SHOWN] or "empty", judged.hints[first]
        example = f"{first}, {places[first]}: {shown}" + (f", {hint}" if hint else "")
        lines.append(f"{name} is {kind} for {int((kinds == kind).sum())} of {len(kinds)} (first: {example})")
    values = judged.values[asked]
    if len(values) > 1 and not (kinds != "").any() and name not in ("age", "sex", "site", "mean_fd"):
        lines += [f"{name} is {values.iloc[0]} for everybody: it tells nobody apart"] * (len(set(values)) == 1)
    return lines


def refuse_ditto(cells: pd.DataFrame, names: Iterable[str], lines: Sequence[int], path: object) -> None:
    """Refuse marks that stand for the cell above, in the columns that are read.

    Raises
    ------
    ValueError
        With file and line.
    """
    for name in names:
        marks = [k for k, cell in enumerate(cells[name]) if cell.casefold() in DITTO]
        if marks:
            raise ValueError(
                f"{path}, line {lines[marks[0]]}: {name} is {cells[name].iloc[marks[0]]!r}, a mark for `as above`. "
                "Write the value in every row."
            )
