"""With how many settings a cohort was evaluated: the best of many is not what one test of it says.

Every set of settings has a file of its own, which is written once and whole, in a folder beside the scores that no rule
names: Snakemake removes what a rule makes before it is made again, and jobs at a time would overwrite each other.
"""

import json
from collections.abc import Collection, Mapping
from datetime import date
from pathlib import Path

import pandas as pd

from dysconnect.keeping.settings import config_hash, differing
from dysconnect.keeping.whole import whole_file


def remember(settings: Mapping, scores: pd.DataFrame, seeing: Collection[str], path: str | Path, day: str = "") -> None:
    """Note the settings of an evaluation, and write with which settings there was one so far.

    Parameters
    ----------
    settings : mapping
        What decides the predictions, `experiments` by name among them.
    scores : DataFrame
        `experiment`, `metric`, `value`.
    seeing : collection of str
        Experiments that see connections, of which the best is noted.
    path : path
        JSON to write: `this` (id), `tried` (`id`, `since`, `best`, `auc`, and `differs`: key, value then, value now),
        the first first, and `damaged` (files that cannot be read). Records stand in a folder of the same name.
    day : str, optional
        As in 2026-01-31; by default today.
    """
    settings = json.loads(json.dumps(settings))
    folder, own = Path(path).with_suffix(""), config_hash(settings)[:12]
    folder.mkdir(parents=True, exist_ok=True)
    best, auc = _best(scores, seeing)
    record = {"since": day or date.today().isoformat(), "best": best, "auc": auc, "settings": settings}
    _note(folder / f"{own}.json", record)
    known = {file: _read(file) for file in sorted(folder.glob("*.json"))}
    rows = [_row(file.stem, record, settings) for file, record in known.items() if record is not None]
    rows.sort(key=lambda row: (row["since"], row["id"]))
    damaged = [f"{folder.name}/{file.name}" for file, record in known.items() if record is None]
    Path(path).write_text(json.dumps({"this": own, "tried": rows, "damaged": damaged}, indent=1))


def _row(name: str, record: Mapping, settings: Mapping) -> dict:
    """A record for the overview: what was other than now in place of all settings."""
    said = {key: record[key] for key in ("since", "best", "auc")}
    return {"id": name, **said, "differs": list(differing("", record["settings"], settings))}


def _best(scores: pd.DataFrame, seeing: Collection[str]) -> tuple[str, float | None]:
    """The experiment with the highest AUC of those that see connections, and its AUC; none where none has one."""
    auc = scores[(scores["metric"] == "auc") & scores["experiment"].isin(list(seeing))].dropna(subset="value")
    row = auc.loc[auc["value"].idxmax()] if len(auc) else {"experiment": "", "value": None}
    return row["experiment"], None if row["value"] is None else float(row["value"])


def _note(file: Path, record: dict) -> None:
    """Write a record, unless one of these settings is there; of two AUC (of other code or people) the higher stays."""
    known = _read(file)
    if known is not None:
        if (known["auc"] or 0) >= (record["auc"] or 0):
            return
        record = record | {"since": known["since"]}
    text = json.dumps(record, indent=1).encode()
    with whole_file(file, len(text)) as part:
        part.write(text)


def _read(file: Path) -> dict | None:
    """A record; None where there is none, or a damaged one."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        auc = None if record["auc"] is None else float(record["auc"])
        known = {"since": str(record["since"]), "best": str(record["best"]), "auc": auc}
        return known | {"settings": dict(record["settings"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
