"""The participants table as a file: its cells under our names, with the line that each person stands in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dysconnect.acquire.covariates import refuse_ditto
from dysconnect.data.participants import column_remedy, nearest_column
from dysconnect.reading.bids import ID
from dysconnect.reading.cells import is_missing
from dysconnect.reading.tables import read_table, read_text, shown

WORDS = ("group", "included", "exclusion_reason")


@dataclass(frozen=True)
class ParticipantsTable:
    """Cells of the participants table under our names, by participant; `places` are their file and line."""

    cells: pd.DataFrame
    places: pd.Series
    path: Path


def people_file(spec: Mapping, folder: str | Path) -> Path:
    """Place of the participants table: `dataset.people`, or participants.tsv in the folder of the data."""
    asked = spec.get("people")
    if isinstance(asked, Mapping):  # of a published table of connections
        return Path(folder) / asked["path"]
    return Path(asked or Path(folder) / "participants.tsv")


def people_files(spec: Mapping, folder: str | Path) -> list[Path]:
    """List the participants table where there is one, so that a change in it is noticed."""
    path = people_file(spec, folder)
    return [path] if spec.get("people") or path.exists() else []


def no_table(path: Path) -> ParticipantsTable:
    """The table where there is none: no rows."""
    return ParticipantsTable(pd.DataFrame(index=pd.Index([], name="participant_id")), pd.Series(dtype=object), path)


def read_participants_table(spec: Mapping, path: Path) -> ParticipantsTable:
    """Read the table under our names, and check what must hold before anything else.

    Raises
    ------
    ValueError
        When a column is not there, an id is missing, wrong or stands twice, or a cell means the one above.
    """
    text = read_text(path)
    cells = _renamed(read_table(path, _separator(path, text), text=text), spec, path)
    if cells.empty:
        raise ValueError(f"{path}: no participants. The table needs one row a subject.")
    _refuse_absent(cells, spec, path)
    ids = cells["participant_id"]
    _refuse_ids(ids, path)
    if spec.get("kind") == "table":
        cells = _one_row_each(cells, spec, path)
    _refuse_twice(cells["participant_id"], path)
    read = [name for name in dict.fromkeys([*WORDS, *spec["covariates"]]) if name in cells]
    refuse_ditto(cells, read, cells.index, path)
    places = pd.Series([f"{path.name}, line {line}" for line in cells.index], index=cells["participant_id"])
    return ParticipantsTable(cells.set_index("participant_id"), places, path)


def _separator(path: Path, text: str) -> str:
    """Tabs, as BIDS wants them; in a file that is called .csv commas, or semicolons."""
    first = text.lstrip().split("\n", 1)[0]
    if path.suffix.lower() != ".csv" or "\t" in first:
        return "\t"
    return ";" if first.count(";") > first.count(",") else ","


def _renamed(raw: pd.DataFrame, spec: Mapping, path: Path) -> pd.DataFrame:
    """Give the columns our names; one that already has such a name makes way for the one that is meant."""
    theirs = {ours: name for ours, name in (spec.get("columns") or {}).items() if ours != name}
    if spec.get("kind") == "table" and "participant_id" not in raw and "subject" in raw:
        theirs.setdefault("participant_id", "subject")
    absent = [name for ours, name in (spec.get("columns") or {}).items() if name not in raw and _is_asked(ours, spec)]
    if absent:
        raise ValueError(
            f"{path}: no column {', '.join(absent)} (found: {shown(raw.columns)}). Correct dataset.columns."
        )
    theirs = {ours: name for ours, name in theirs.items() if name in raw}
    asked = {"participant_id", *WORDS, *spec["covariates"]}
    meant = [name for name in theirs.values() if name not in asked]
    kept = raw.drop(columns=[name for name in raw if name in meant or name in theirs])
    return pd.concat([raw[list(theirs.values())].set_axis(list(theirs), axis=1), kept], axis=1)


def _is_asked(name: str, spec: Mapping) -> bool:
    """Whether a column that the configuration names must be there: not if `covariates` does without what it holds."""
    return name not in ("age", "sex", "site", "mean_fd") or name in spec["covariates"]


def _refuse_absent(cells: pd.DataFrame, spec: Mapping, path: Path) -> None:
    """Refuse a table without a column that is needed. A table without `site` is of one site."""
    groups = [] if spec.get("groups") or spec.get("kind") == "table" else ["group"]
    asked = [name for name in spec["covariates"] if name != "mean_fd" and not (name == "site" and spec.get("site"))]
    absent = [name for name in ["participant_id", *groups, *asked] if name not in cells]
    if not absent or (absent == ["site"] and not nearest_column("site", cells.columns)):
        return
    likely = {name: likeliest for name in absent if (likeliest := nearest_column(name, cells.columns))}
    how = ",".join(f"{name}:{likeliest}" for name, likeliest in likely.items()) or f"{absent[0]}:THEIRS"
    left_out = [name for name in spec["covariates"] if name not in absent]
    without = f", or do without: dataset.covariates=[{','.join(left_out)}]" if set(absent) <= set(asked) else ""
    raise ValueError(
        f"{path}: missing column{'s' * (len(absent) > 1)} {', '.join(absent)} (found: {shown(cells.columns)}). "
        f"{column_remedy(absent, list(cells.columns))} Without changing the file: "
        f"'overrides=dataset.columns={{{how}}}'{without}."
    )


def _refuse_ids(ids: pd.Series, path: Path) -> None:
    empty = ids[ids.map(is_missing)]
    if len(empty):
        raise ValueError(f"{path}, line {empty.index[0]}: no participant_id. Give it one, or remove the row.")
    wrong = ids[~ids.map(lambda name: bool(ID.fullmatch(name)))]
    if len(wrong):
        bare = re.sub(r"(?i)^sub", "", re.sub(r"[^A-Za-z0-9]", "", wrong.iloc[0])) or "01"
        more = f" So it is in lines {', '.join(map(str, wrong.index[1:6]))}{' ...' * (len(wrong) > 6)}."
        raise ValueError(
            f"{path}, line {wrong.index[0]}: participant_id is {wrong.iloc[0][:60]!r}. Write it as in the file names: "
            f"sub- and then letters or digits only, at most 100, as in sub-{bare[:40]}.{more * (len(wrong) > 1)}"
        )


def _refuse_twice(ids: pd.Series, path: Path) -> None:
    twice = ids[ids.duplicated()]
    if len(twice):
        name = twice.iloc[0]
        lines = ", ".join(str(line) for line in ids.index[ids == name][:5])
        raise ValueError(
            f"{path}: participant_id not unique: {name} stands in lines {lines}. Keep one row a subject, or give each "
            "scan its own id."
        )


def _one_row_each(cells: pd.DataFrame, spec: Mapping, path: Path) -> pd.DataFrame:
    """Of a table with several rows a person, the columns that say the same in all of them; the first row stands."""
    kinds = cells.groupby("participant_id", sort=False).nunique()
    varied = [name for name in kinds if kinds[name].max() > 1]
    asked = [name for name in varied if name in spec["covariates"]]
    if asked:
        person = kinds.index[kinds[asked[0]] > 1][0]
        lines = cells.index[cells["participant_id"] == person]
        raise ValueError(
            f"{path}, lines {lines[0]} to {lines[-1]}: {asked[0]} differs between the rows of {person}. Correct it, or "
            f"leave {asked[0]} out of dataset.covariates."
        )
    return cells.loc[~cells["participant_id"].duplicated()].drop(columns=varied)
