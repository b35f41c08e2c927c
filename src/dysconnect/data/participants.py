"""The participants table: one row a subject, from the first stage to the last; nobody disappears."""

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.problems import frequent
from dysconnect.reading.cells import sex
from dysconnect.reading.tables import read_table, shown

OLDER = 15  # years between two scans of one person, at most
REQUIRED = ("participant_id", "group", "age", "sex", "site")
TEXT = ("participant_id", "group", "sex", "site", "scan_group", "included", "exclusion_reason")
NUMBERS = ("age", "mean_fd", "n_volumes", "seconds_kept")
COVARIATES = ("age", "sex", "site", "mean_fd")  # what is asked of everybody, unless dataset.covariates says otherwise
ALSO_CALLED = {
    "participant_id": ("subject", "subject_id", "sub", "id", "participant"),
    "group": ("diagnosis", "dx", "label", "class", "status", "condition"),
    "age": ("age_years", "age_at_scan", "years"),
    "sex": ("gender",),
    "site": ("scanner", "centre", "center", "site_id"),
}


def read_participants(path: str | Path, required: Sequence[str] = REQUIRED) -> pd.DataFrame:
    """Read and check a BIDS ``participants.tsv``.

    Parameters
    ----------
    path : path
        Tab-separated table with one row a subject.
    required : sequence of str
        Columns that must be present.

    Returns
    -------
    DataFrame
        `participant_id`, `group`, `sex`, `site` and `exclusion_reason` as strings (empty where missing), `included`
        as bool, `age`, `mean_fd` and whichever other column holds numbers only as floats (NaN where missing).

    Raises
    ------
    ValueError
        When the file is empty, a required column is missing or a `participant_id` is missing or not unique.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such participants table. Check the path, or run the stage before.")
    table = read_table(path).astype(str)
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path}: missing column{'s' * (len(missing) > 1)} {', '.join(missing)} (found: "
            f"{shown(table.columns)}). {column_remedy(missing, list(table.columns))}"
        )
    return check_participants(table, path)


def column_remedy(missing: Sequence[str], present: Sequence[str]) -> str:
    """Say what to do about missing columns: another name, or one more column."""
    likely = {name: column for name in missing if (column := nearest_column(name, present))}
    renamed = [f"Rename {column} to {name}, if that is what it holds." for name, column in likely.items()]
    rest = [name for name in missing if name not in likely]
    plain = [f"Add {'them' if len(rest) > 1 else 'it'}, or rename the columns."] if rest else []
    return " ".join([*renamed, *plain])


def nearest_column(name: str, present: Iterable[str]) -> str:
    """Name the column that may be meant by another name; an empty string when none is near."""
    plain = {column.strip().lower().replace(" ", "_"): column for column in present if column not in REQUIRED}
    for other in (name, *ALSO_CALLED.get(name, ())):
        if other in plain:
            return plain[other]
    close = difflib.get_close_matches(name, plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else ""


def check_participants(table: pd.DataFrame, where: str | Path = "participants") -> pd.DataFrame:
    """Coerce the columns of a participants table and refuse ids that are missing or not unique."""
    if table.empty:
        raise ValueError(f"{where}: no participants. The table needs one row a subject.")
    ids = table["participant_id"].astype(str).str.strip()
    empty = ids.isin(["", "n/a", "N/A", "nan"])
    if empty.any():
        raise ValueError(f"{where}: row {int(np.argmax(empty)) + 2} has no participant_id. Give it one.")
    table = table.replace({"n/a": "", "N/A": "", "nan": ""}).reset_index(drop=True)
    ids = ids.reset_index(drop=True)
    twice = sorted(ids[ids.duplicated()].unique())
    if twice:
        raise ValueError(
            f"{where}: participant_id not unique: {', '.join(twice[:5])}"
            f"{' ...' if len(twice) > 5 else ''}. Keep one row a subject, or give each scan its own id."
        )
    table["participant_id"] = ids
    for name in table.columns.difference(TEXT):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if name in NUMBERS or (numbers.notna() | (table[name] == "")).all():  # a further column of the dataset
            table[name] = numbers
    if "sex" in table:
        table["sex"] = table["sex"].map(lambda word: sex(word) or word)
    if "included" in table:
        table["included"] = table["included"].astype(str).str.lower().isin(["true", "1"])
    return table


def write_participants(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table as BIDS wants it: tabs, never quotes, and ``n/a`` for what is missing."""
    plain = table.replace(r"[\t\r\n]+", " ", regex=True)
    plain.to_csv(path, sep="\t", index=False, na_rep="n/a", float_format="%.6g", quoting=csv.QUOTE_NONE)


def covariate_problem(row: Mapping[str, object], covariates: Sequence[str] = COVARIATES) -> str:
    """Say why a subject's covariates cannot be used; an empty string when they can.

    Parameters
    ----------
    row : mapping
        The subject's row of the participants table.
    covariates : sequence of str
        What is asked of everybody. `mean_fd` is judged where motion is known, in `timeseries`.
    """
    for name in covariates:
        value = row.get(name)
        if name == "age" and not np.isfinite(float(np.nan if value is None else value)):
            return "age is missing or not a number; give it in years in participants.tsv"
        if name == "sex" and value not in ("F", "M"):
            return f"sex is {value or 'missing'!r}; expected F or M in participants.tsv"
        if name == "site" and not str(value or ""):
            return "site is missing; name the scanner or centre in participants.tsv"
        if name not in COVARIATES and (value is None or value != value or value == ""):
            return f"{name} is missing; give it in participants.tsv, or leave it out of dataset.covariates"
    return ""


def with_labels(table: pd.DataFrame, contrast: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Keep the included subjects of a contrast and add `label`: 1 is the patient, 0 the control.

    Parameters
    ----------
    table : DataFrame
        Participants after the `timeseries` stage.
    contrast : mapping
        ``{"cases": [groups], "controls": [groups]}``.

    Raises
    ------
    ValueError
        When the contrast names a group that the table does not have, or one side stays empty.
    """
    present = sorted(table["group"].unique())
    for side in ("cases", "controls"):
        unknown = [group for group in contrast[side] if group not in present]
        if unknown:
            raise ValueError(
                f"unknown group {', '.join(unknown)} in dataset.contrast.{side}; "
                f"the participants table has: {', '.join(present)}. Correct the contrast."
            )
    kept = table[table["included"]] if "included" in table else table
    kept = kept[kept["group"].isin([*contrast["cases"], *contrast["controls"]])].reset_index(drop=True)
    kept["label"] = kept["group"].isin(contrast["cases"]).astype(int)
    for side, label in (("cases", 1), ("controls", 0)):
        if not (kept["label"] == label).any():
            lost = table[table["group"].isin(contrast[side])].get("exclusion_reason", [])
            why = "".join(f" Most frequent reason: {text}." for text in frequent(lost, 1))
            raise ValueError(
                f"no included subject among the {side} ({', '.join(contrast[side])}).{why} "
                "See exclusion_reason in participants.tsv, or loosen the inclusion limits in denoise."
            )
    return kept


def scan_groups(participants: pd.DataFrame) -> np.ndarray:
    """Group of every subject, [n]: copies of one scan share a group and never stand on both sides."""
    if "scan_group" not in participants:
        return participants["participant_id"].to_numpy()
    return participants["scan_group"].to_numpy()


def refuse_others(tables: Mapping[str, pd.DataFrame]) -> None:
    """Refuse two people under one id, as two studies have them of which each begins with sub-01.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Two tables of people by what they are called, indexed by `participant_id`; `sex` and `age` are compared where
        both have them.

    Raises
    ------
    ValueError
        When somebody has another sex, or is more than `OLDER` years older.
    """
    (first, one), (second, other) = tables.items()
    shared = one.index.intersection(other.index)
    for column in (name for name in ("sex", "age") if name in one and name in other):
        values = pd.DataFrame({"one": one[column].reindex(shared), "other": other[column].reindex(shared)})
        values = values.replace("", np.nan).dropna()
        apart = values["one"] != values["other"] if column == "sex" else values.diff(axis=1)["other"].abs() > OLDER
        if apart.any():
            who = values[apart].iloc[0]
            raise ValueError(
                f"{who.name} has {column} {who['one']} in {first} and {who['other']} in {second}: two people under one "
                "id? Correct the tables."
            )
