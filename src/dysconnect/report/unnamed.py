"""A report that is mailed: nothing in it names a participant, and no page of a single person lies beside it."""

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dysconnect.quality.people import exclusion_kinds, subjects_kept
from dysconnect.quality.scans import Scans
from dysconnect.report.results import GROUP, Results, Study

PAGES = ("people", "subjects")  # folders beside the report
FEWEST = 2  # people who share a reason that is printed: what is said of one may be anything
OTHER = "another reason"
PRIVATE = ("participants", "exclude", "root", "base", "people")  # settings that name people, or where their files lie


def as_shown(study: Study) -> Study:
    """A study as its pages may show it: as it is, or without whatever names a participant."""
    return study if study.people else unnamed(study)


def unnamed(study: Study) -> Study:
    """Take out of a study whatever names a participant, or is about a single one.

    Participants are counted through, free text is left out, and a reason for leaving somebody out is kept, shortened
    to its kind, where two people or more share it.
    """
    results, participants = study.results, study.results.participants
    numbers = {name: f"person {k}" for k, name in enumerate(participants["participant_id"], start=1)}
    renamed = {
        field.name: _counted_through(getattr(results, field.name), numbers) for field in dataclasses.fields(Results)
    }
    reasons = shared_reasons(participants)
    everybody = renamed["participants"].assign(exclusion_reason=reasons)
    excluded = subjects_kept(everybody, study.contrast)["excluded"]
    edits, doubtful = results.edits, results.quality.get("off_clock", [])
    doubtful = [row | {"participant_id": numbers[row["participant_id"]]} for row in doubtful]
    changes = renamed | {
        "participants": everybody,
        "people": results.people.iloc[:0],
        "index": None if results.index is None else renamed["index"].filter(["participant_id", "repetition_time"]),
        "choices": None,
        "patient_targets": None,
        "edits": None if edits is None else edits[edits["participant_id"] == GROUP],
        "tracts": None if results.tracts is None else _failed_only(renamed["tracts"]),
        "scans": None if results.scans is None else _scans(results.scans, numbers),
        "quality": {**results.quality, "people": [], "off_clock": doubtful, "excluded": excluded},
    }
    experiments = {name: without_names(config) for name, config in study.experiments.items()}
    return Study(dataclasses.replace(results, **changes), without_names(study.cohort), experiments, study.nodes)


def shared_reasons(participants: pd.DataFrame) -> pd.Series:
    """Why people were left out, as kinds that at least two share, without ids; "" for those who were not."""
    lost = participants[~participants["included"]]
    ids = sorted(map(re.escape, participants["participant_id"].astype(str)), key=len, reverse=True)
    naming = rf"\S*(?<![^\W_])(?:{'|'.join(ids)})(?![^\W_])\S*"  # the whole word: a file, a folder
    kinds = exclusion_kinds(lost["exclusion_reason"].str.replace(naming, "…", regex=True))
    shared = kinds.where(kinds.groupby(kinds).transform("size") >= FEWEST, OTHER)
    return shared.reindex(participants.index, fill_value="")


def without_names(config: Mapping) -> dict:
    """Put an ellipsis in place of the settings that name people or lead to their files."""
    dataset = {key: "…" if key in PRIVATE and value else value for key, value in config["dataset"].items()}
    return {**config, "dataset": dataset}


def remove_pages(report: Path) -> None:
    """Remove the pages of single people that an earlier run left beside a report."""
    for name in PAGES:
        shutil.rmtree(report.parent / name, ignore_errors=True)


def _counted_through(table: object, numbers: Mapping[str, str]) -> object:
    """Put numbers in place of the ids of a table, or of all tables of a mapping; anything else is as it was."""
    if isinstance(table, Mapping):
        return {name: _counted_through(part, numbers) for name, part in table.items()}
    if not isinstance(table, pd.DataFrame) or "participant_id" not in table:
        return table
    table = table.drop(columns="scan_group", errors="ignore")  # the id of the first of several copies
    return table.assign(participant_id=[numbers.get(name, "nobody") for name in table["participant_id"]])


def _scans(scans: Scans, numbers: Mapping[str, str]) -> Scans:
    """Scans whose people are counted through, and of which no words are kept but whether one failed."""
    table = _counted_through(scans.table, numbers)
    table = _failed_only(table.assign(note="", exclusion_reason=""))
    return dataclasses.replace(scans, table=table, coverage=scans.coverage.rename(columns=numbers))


def _failed_only(table: pd.DataFrame) -> pd.DataFrame:
    """A table of scans that says of a problem only that there was one."""
    return table.assign(problem=table["problem"].where(table["problem"] == "", "failed"))
