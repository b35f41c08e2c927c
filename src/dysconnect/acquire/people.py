"""The people of a dataset: who they are, what is known of them, and why somebody cannot be used.

One function reads the participants table of every kind of folder, the user's own and downloads alike.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.selection import select
from dysconnect.participants import COVARIATES, check_participants, read_participants

DEFAULTS = {"age": np.nan, "sex": "", "site": "", "exclusion_reason": ""}


@dataclass(frozen=True)
class People:
    """Everybody of a dataset; `notes` are lines for the terminal on how the table was read.

    `table` has the columns of the contract, and `exclusion_reason` ("" for those who are wanted).
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def people_file(spec: Mapping, folder: str | Path) -> Path:
    """Place of the participants table: `dataset.people`, or participants.tsv in the folder of the data."""
    return Path(spec.get("people") or Path(folder) / "participants.tsv")


def read_people(spec: Mapping, folder: str | Path, known: pd.DataFrame | None = None) -> People:
    """Read the participants table; columns that `covariates` does without are filled in.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `contrast`, `covariates`, `limit`, `participants`.
    folder : path
        Of the data.
    known : DataFrame, optional
        Of a download: `participant_id`, `group` and `reason` of everybody in the manifest.

    Raises
    ------
    FileNotFoundError, ValueError
        When the table is missing, or cannot be read or used; with file, line and remedy.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root={folder}: no such folder (seen from {Path.cwd()}).")
    path, covariates = people_file(spec, folder), spec.get("covariates", COVARIATES)
    if known is not None:
        return People(_join(spec, path, known))
    if not path.exists():
        others = sorted(file.name for file in folder.glob("*") if "participant" in file.name.lower())
        found = f" (found: {', '.join(others)})" if others else ""
        raise FileNotFoundError(
            f"{path}: no such participants table{found}. Write one, separated by tabs, with the columns "
            f"participant_id, group, {', '.join(covariates)} (README, Your own data)."
        )
    needed = [name for name in covariates if name != "mean_fd" and not (name == "site" and spec.get("site"))]
    people = read_participants(path, ("participant_id", "group", *needed))
    people = people.assign(**{name: value for name, value in DEFAULTS.items() if name not in people})
    if "site" not in covariates:
        people["site"] = people["site"].where(people["site"] != "", spec["name"])
    _refuse_ids(people["participant_id"], path)
    _refuse_groups(people["group"], spec["contrast"], path)
    reasons = people["participant_id"].map(select(people, spec))
    return People(
        people.assign(exclusion_reason=people["exclusion_reason"].where(people["exclusion_reason"] != "", reasons))
    )


def _join(spec: Mapping, path: Path, known: pd.DataFrame) -> pd.DataFrame:
    """Everybody of the manifest, with what participants.tsv tells of them under our names of the columns."""
    table = known.set_index("participant_id").rename(columns={"reason": "exclusion_reason"})
    told = pd.DataFrame(index=table.index)
    if path.exists():  # a dataset without such a table: what the manifest knows is all there is
        raw = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        theirs = dict(spec.get("columns") or {})
        absent = [name for name in theirs.values() if name not in raw]
        if absent:
            raise ValueError(
                f"{path}: no column {', '.join(absent)} (found: {', '.join(raw.columns)}). Correct dataset.columns."
            )
        told = raw.rename(columns={name: own for own, name in theirs.items()}).set_index("participant_id")
    table = table.join(told.drop(columns=["group", "exclusion_reason"], errors="ignore"))
    table = table.assign(**{name: value for name, value in DEFAULTS.items() if name not in table})
    if (table["site"].fillna("") == "").all():
        table["site"] = spec["name"]
    absent = (table["exclusion_reason"] == "") & ~table.index.isin(told.index)
    table.loc[absent, "exclusion_reason"] = "has no row in participants.tsv"
    return check_participants(table.reset_index().fillna("").astype(str), path)


def _refuse_ids(ids: pd.Series, path: Path) -> None:
    wrong = ids[~ids.str.fullmatch(r"sub-[A-Za-z0-9]+")]
    if len(wrong):
        bare = re.sub(r"^sub-?|[^A-Za-z0-9]", "", wrong.iloc[0])
        raise ValueError(
            f"{path}, line {wrong.index[0] + 2}: participant_id is {wrong.iloc[0]!r}. Write it as in the file names: "
            f"sub- and then letters or digits only, as in sub-{bare}."
        )


def _refuse_groups(groups: pd.Series, contrast: Mapping[str, Sequence[str]], path: Path) -> None:
    present = sorted(set(groups) - {""})
    for side in ("cases", "controls"):
        if not set(contrast[side]) & set(present):
            raise ValueError(
                f"{path}: nobody is in dataset.contrast.{side} ({', '.join(contrast[side])}); the column group has: "
                f"{', '.join(present) or 'nothing'}. Say which are compared: "
                "'overrides=dataset.contrast.cases=[...] dataset.contrast.controls=[...]'."
            )
