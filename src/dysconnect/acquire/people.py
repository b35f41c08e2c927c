"""The people of a dataset: who they are, what is known of them, and why somebody cannot be used.

One function reads the participants table of every kind of folder, of users and downloads alike: under our names
of the columns (`dataset.columns`), with the labels of `dataset.groups`, and judged before any scan is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd

from dysconnect.acquire.covariates import LONGEST, Judged, judge, reason, summary
from dysconnect.acquire.participants_table import (
    WORDS,
    ParticipantsTable,
    no_table,
    people_file,
    read_participants_table,
)
from dysconnect.acquire.selection import select
from dysconnect.data.participants import COVARIATES
from dysconnect.problems import one_line
from dysconnect.reading.bids import ID
from dysconnect.reading.cells import NO, NO_REASON, YES, folded, is_missing, label
from dysconnect.reading.tables import shown

MADE = ("scan_group", "n_volumes", "seconds_kept", "label")  # columns that the workflow makes


@dataclass(frozen=True)
class People:
    """Everybody of a dataset; `notes` are lines for the terminal on how the table was read.

    `table` has the columns of the contract, and `exclusion_reason` ("" for those who are wanted).
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()


def read_people(spec: Mapping, folder: str | Path, known: pd.DataFrame | None = None) -> People:
    """Read the participants table of a dataset, and say of everybody why they cannot be used.

    Parameters
    ----------
    spec : mapping
        The `dataset` section: `name`, `contrast`, `covariates`; `columns` (ours: theirs), `groups` (patterns of ids:
        label), `sexes` (theirs: F or M), `site` (a field of the images' sidecars), `people` (path of the table),
        `exclude`, `limit` and `participants` where the dataset has them.
    folder : path
        Of the data.
    known : DataFrame, optional
        Of a download: `participant_id`, `group` and `reason` of everybody in the manifest.

    Returns
    -------
    People
        `age` and `mean_fd` are numbers, as is any other column that holds numbers only.

    Raises
    ------
    FileNotFoundError
        When there is no such folder, or no table.
    ValueError
        When the table cannot be read without a guess, or nobody of one side of the contrast can be used: with file,
        line and remedy.
    """
    spec, folder = {**spec, "covariates": spec.get("covariates", COVARIATES)}, Path(folder)
    if known is None:
        _refuse_folder(spec, folder)
    path, passed = people_file(spec, folder), []
    if not path.exists() and (known is None or isinstance(spec.get("people"), str)):
        known, passed = _people_by_folder(spec, folder, path), _no_ids(folder)
    raw = read_participants_table(spec, path) if path.exists() else no_table(path)
    people, before, raw = _of_table(spec, raw) if known is None else _of_manifest(known, raw)
    judged, notes = _judge(spec, raw, before)
    reasons = _with_problems(spec, raw, judged, before)
    _refuse_nobody(spec, people, before, reasons, raw, notes)
    if known is None:
        chosen = select(people.assign(reason=reasons.to_numpy()), spec)  # of those who can be used dataset.limit
        reasons = pd.Series(
            {name: before_limit or chosen[name] for name, before_limit in reasons.items()}, dtype=object
        )
    table, more = _table(spec, raw, people, judged, reasons)
    return People(table, (*passed, *notes, *more, *_near_groups(reasons, raw.path)))


def _refuse_folder(spec: Mapping, folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"dataset.root={folder}: no such folder (seen from {Path.cwd()}).")
    if spec.get("kind") in ("local", "matrices") and spec.get("site"):
        raise ValueError(
            f"dataset.site={spec['site']} is a field of the sidecars of images, and {folder} holds none. Name the "
            "column of the participants table instead: dataset.columns={site:NAME}."
        )


def people_notes(spec: Mapping) -> tuple[str, ...]:
    """Say how the participants table of a user's folder of series was read, and whom that leaves out.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_people`.
    """
    return read_people(spec, spec["root"]).notes if spec["kind"] in ("local", "matrices") else ()


def _people_by_folder(spec: Mapping, folder: Path, path: Path) -> pd.DataFrame:
    """Everybody who has a folder, where no table is needed: groups by patterns of ids, and nothing asked of it.

    Raises
    ------
    FileNotFoundError
        When a table is needed.
    """
    asked = [name for name in spec["covariates"] if name != "mean_fd" and not (name == "site" and spec.get("site"))]
    names = sorted(place.name for place in folder.glob("sub-*") if place.is_dir() and ID.fullmatch(place.name))
    if spec.get("groups") and not asked and not spec.get("people") and names:
        people = pd.DataFrame({"participant_id": names, "group": [_by_pattern(spec, name) for name in names]})
        chosen = select(people, spec)
        return people.assign(reason=[chosen[name] for name in names])
    if path.is_symlink():
        raise FileNotFoundError(f"{path} is a link without content. Fetch it: `datalad get {path}`, or git annex get.")
    others = sorted(file.name for file in folder.glob("*") if "participant" in file.name.lower())
    instead = f" (found: {', '.join(others)})" if others else ""
    columns = ["participant_id", *(["group"] if not spec.get("groups") else []), *spec["covariates"]]
    raise FileNotFoundError(
        f"{path}: no such participants table{instead}. Write one, separated by tabs, with the columns "
        f"{', '.join(columns)} (README, Your own data); if it lies elsewhere, say where: dataset.people=/path/to/it."
    )


def _no_ids(folder: Path) -> list[str]:
    """Tell of folders that begin as an id and are none: nobody's files are looked for there."""
    names = sorted(place.name for place in folder.glob("sub-*") if place.is_dir() and not ID.fullmatch(place.name))
    more = f", and {len(names) - 1} more," * (len(names) > 1)
    return [
        f"{folder}: the folder {name[:60]!a}{more} begins as an id and is none: passed over. If it is somebody's, "
        "rename it: sub- and then letters or digits only."
        for name in names[:1]
    ]


def _by_pattern(spec: Mapping, name: str) -> str:
    return next((str(group) for pattern, group in spec["groups"].items() if fnmatchcase(name, str(pattern))), "")


def _groups(spec: Mapping, raw: ParticipantsTable) -> pd.Series:
    """Label everybody as the contrast spells it: by patterns of ids, or by the column `group`."""
    if spec.get("groups"):
        return pd.Series({name: _by_pattern(spec, name) for name in raw.cells.index}, dtype=object)
    known = {label(name): str(name) for side in ("cases", "controls") for name in spec["contrast"][side]}
    labels = raw.cells["group"].map(lambda cell: label(cell)[:LONGEST])
    return labels.map(lambda group: known.get(group, "" if is_missing(group) else group))


def _source(spec: Mapping, raw: ParticipantsTable) -> str:
    return f"{raw.path}: by dataset.groups" if spec.get("groups") else f"{raw.path}:"


def _refuse_groups(groups: pd.Series, contrast: Mapping[str, Sequence[str]], source: str) -> None:
    present = sorted(set(groups) - {""})
    for side in ("cases", "controls"):
        absent = [str(name) for name in contrast[side] if str(name) not in present]
        if absent:
            raise ValueError(
                f"{source} nobody is in dataset.contrast.{side} ({', '.join(absent)}); the column group has: "
                f"{shown(present) or 'nothing'}. Say which are compared: "
                "'overrides=dataset.contrast.cases=[...] dataset.contrast.controls=[...]'."
            )


def _table_reasons(raw: ParticipantsTable) -> pd.Series:
    """Reasons that the table gives itself: its column `exclusion_reason`, or `included`."""
    cells, reasons = raw.cells, pd.Series("", index=raw.cells.index, dtype=object)
    if "included" in cells and not cells["included"].map(is_missing).all():
        for name, cell in cells["included"].items():
            if cell.casefold() not in YES | NO:
                raise ValueError(
                    f"{raw.path.parent / raw.places[name]}: included is {cell[:40]!r}. Write TRUE or FALSE in every "
                    "row, or remove the column."
                )
            reasons[name] = f"included is {cell} in {raw.places[name]}" if cell.casefold() in NO else ""
    if "exclusion_reason" in cells:
        given = cells["exclusion_reason"]
        reasons = given.map(one_line).where(~given.map(lambda cell: cell.casefold() in NO_REASON), reasons)
    return reasons


def _of_table(spec: Mapping, raw: ParticipantsTable) -> tuple[pd.DataFrame, pd.Series, ParticipantsTable]:
    """People of a table, with the reasons that it gives itself, and those of the configuration."""
    people = pd.DataFrame({"participant_id": raw.cells.index, "group": _groups(spec, raw).to_numpy()})
    _refuse_groups(people["group"], spec["contrast"], _source(spec, raw))
    chosen = select(people, {**spec, "limit": None})
    reasons = {name: in_table or chosen[name] for name, in_table in _table_reasons(raw).items()}
    return people, pd.Series(reasons, dtype=object), raw


def _of_manifest(known: pd.DataFrame, raw: ParticipantsTable) -> tuple[pd.DataFrame, pd.Series, ParticipantsTable]:
    """People of a download: what their table says comes after what the configuration does."""
    reasons = known.set_index("participant_id")["reason"].astype(object)
    in_table = _table_reasons(raw)
    for name in reasons.index[reasons == ""]:
        if name in in_table.index:
            reasons[name] = in_table[name]
        elif len(in_table):  # a dataset without such a table: what the manifest knows is all there is
            reasons[name] = f"has no row in {raw.path.name}"
    cells = raw.cells.reindex(reasons.index, fill_value="")
    return (
        known[["participant_id", "group"]],
        reasons,
        ParticipantsTable(cells, raw.places.reindex(reasons.index), raw.path),
    )


def _judge(spec: Mapping, raw: ParticipantsTable, reasons: pd.Series) -> tuple[dict[str, Judged], list[str]]:
    """Read every column but the words of the table itself; refuse what would have to be guessed."""
    asked = reasons == ""
    names = [name for name in raw.cells if name not in (*WORDS, *MADE)]
    if spec.get("site"):
        names = [name for name in names if name != "site"]
    judged = {name: judge(name, raw.cells[name], asked, spec) for name in names}
    notes, refusals = [], []
    for name, column in judged.items():
        if name in spec["covariates"]:
            notes += summary(name, column, raw.cells[name], raw.places, asked)
            refusals += column.refusals
        elif name == "site":
            notes += column.refusals
        notes += column.notes
    if refusals:
        also = f". Also, {'; '.join(notes)}" if notes else ""
        raise ValueError(f"{raw.path}: {'; '.join(refusals)}, or leave it out of dataset.covariates{also}.")
    notes = [f"{raw.path}: {note}." for note in notes]
    return judged, notes


def _with_problems(
    spec: Mapping, raw: ParticipantsTable, judged: Mapping[str, Judged], reasons: pd.Series
) -> pd.Series:
    """Add the reason of everybody whose covariates cannot be used."""
    added = reasons.copy()
    for name in (name for name in spec["covariates"] if name in judged):
        for person in added.index[(added == "") & (judged[name].kinds != "")]:
            if isinstance(raw.places[person], str):  # of a download without a table nothing is known
                added[person] = reason(name, judged[name], person, raw.cells.loc[person, name], raw.places[person])
    return added


def _refuse_nobody(
    spec: Mapping,
    people: pd.DataFrame,
    before: pd.Series,
    after: pd.Series,
    raw: ParticipantsTable,
    notes: Sequence[str],
) -> None:
    """Stop where what the table says leaves nobody on a side of the contrast."""
    for side in ("cases", "controls"):
        groups = [str(name) for name in spec["contrast"][side]]
        mine = people["group"].isin(groups).to_numpy()
        if (before[mine] == "").any() and not (after[mine] == "").any():
            because = " ".join(note.removeprefix(f"{raw.path}: ") for note in notes)
            raise ValueError(
                f"{raw.path}: nobody of dataset.contrast.{side} ({', '.join(groups)}) can be used. {because} Correct "
                "the table, or leave what it does not know out of dataset.covariates."
            )


def _table(
    spec: Mapping, raw: ParticipantsTable, people: pd.DataFrame, judged: Mapping[str, Judged], reasons: pd.Series
) -> tuple[pd.DataFrame, list[str]]:
    """Bring everything together in the columns of the contract."""
    values = pd.DataFrame({name: column.values for name, column in judged.items()}, index=reasons.index)
    table = people.set_index("participant_id").join(values)
    table = table.assign(**{name: value for name, value in (("age", np.nan), ("sex", "")) if name not in table})
    notes = [f"{raw.path}: the column {name} is passed over: the workflow makes its own." for name in MADE]
    notes = [note for note, name in zip(notes, MADE) if name in raw.cells]
    site = table.get("site", pd.Series("", index=table.index)).fillna("")
    if spec.get("site"):
        site[:] = ""  # the sidecars tell
    elif (site == "").all() or "site" not in spec["covariates"]:
        if "site" in spec["covariates"]:
            notes.append(f"{raw.path}: no site: everybody counts as of one, {spec['name']}.")
        site = site.where(site != "", spec["name"])
    return table.assign(site=site, exclusion_reason=reasons).reset_index(), notes


def _near_groups(reasons: pd.Series, path: Path) -> list[str]:
    """Tell how many are left out for a group that is only spelled otherwise."""
    near = reasons[reasons.str.contains(": dataset.contrast has ", regex=False)]
    counts = near.value_counts().items()
    return [f"{path}: {count} of {len(reasons)} people left out: {text}. Write them alike." for text, count in counts]


def with_sites(people: pd.DataFrame, sites: Mapping[str, str], spec: Mapping) -> pd.DataFrame:
    """Give everybody the site that the sidecar of their scan tells; whoever has a scan and no site gets the reason.

    Raises
    ------
    ValueError
        When no sidecar tells a site.
    """
    site = pd.Series([sites.get(name, "") for name in people["participant_id"]], index=people.index, dtype=object)
    lost = (people["exclusion_reason"] == "") & (site == "") & ("site" in spec.get("covariates", COVARIATES))
    absent = f"site is missing: the sidecar of the scan has no {spec['site']} (dataset.site)"
    if lost.any() and not (site != "").any():
        raise ValueError(
            f"no sidecar of anybody's scan has the field {spec['site']}. Correct dataset.site, or set it null."
        )
    spelled = site[site != ""].groupby(site.map(folded)).unique()
    for words in spelled[spelled.map(len) > 1]:
        print(f"site is spelled in {len(words)} ways in the sidecars: {', '.join(words)}; they count as {len(words)}.")
    return people.assign(site=site, exclusion_reason=people["exclusion_reason"].mask(lost, absent))
