"""Which table of events belongs to a scan: by names and folders, before anything is fetched; not read here.

The scan's folder and those above it are looked into, as BIDS inherits: a copy elsewhere (a backup, an old analysis) is
none of its events, whatever it is called.
"""

from collections.abc import Iterable, Mapping, Sequence

from dysconnect.reading.bids import PROCESSING, Ambiguity, Named, folders_above, listed, read_name, same

REST = "rest"  # the task without one
TABLES = (".tsv", ".tsv.gz", ".csv", ".txt", ".xlsx")  # as people write them; the first is read


def events_above(paths: Iterable[str], spec: Mapping) -> dict[str, list[str]]:
    """What the settings of a scan say of events: tables that lie above the people's folders, and are of everybody.

    Parameters
    ----------
    paths : iterable of str
        All files of a dataset, relative to it.
    spec : mapping
        The `dataset` section: `task`.

    Returns
    -------
    dict
        `events`, sorted; without that key where there is no task, or nobody has events of it.
    """
    if same("task", spec["task"], REST):
        return {}
    files = [file for file in map(read_name, paths) if _is_table(file) and _of_task(file, spec["task"])]
    return {"events": sorted(file.path for file in files if "sub" not in file.entities)} if files else {}


def find_events(scan: Named, files: Iterable[Named], above: Sequence[str], task: str) -> str:
    """Find the events of a scan: in its folder, else above; in each the person's before those of everybody.

    The name may say less than that of the scan, and nothing else: events of run 2 are not those of a scan without a
    run. A derivative inherits from its own folder, then from that of the raw scan in the same dataset.

    Parameters
    ----------
    scan : Named
    files : iterable of Named
        Of the same person.
    above : sequence of str
        From `events_above`.
    task : str

    Returns
    -------
    str
        Path, "" where there are none of this scan.

    Raises
    ------
    Ambiguity
        When two in one folder could be meant.
    """
    tables = [file for file in _tables(files, above) if file.extension == TABLES[0] and not _more(file, scan, task)]
    for folder in _folders(scan):
        here = [file for file in tables if file.folder == folder]
        for level in ([file for file in here if "sub" in file.entities], here):
            if len(level) > 1:
                raise Ambiguity(
                    f"{scan.name}: nothing says which events are its, {listed(level)}. Keep one in that folder, "
                    "with the entities of the scan in its name.",
                    level,
                    "",
                )
            if level:
                return level[0].path
    return ""


def no_events(scan: Named, files: Iterable[Named], above: Sequence[str], task: str) -> str:
    """Say that a scan has no events, under which name they are looked for, and why those that lie there are not its."""
    there = [f"{file.path} ({_why_not(file, scan, task)})" for file in _tables(files, above)]
    own = [f"{key}-{value}" for key, value in scan.entities.items() if key not in PROCESSING]
    own = (
        [part for part in own if part in scan.name]
        if "task" in scan.entities
        else [scan.participant_id, f"task-{task}"]
    )
    return (
        f"{scan.name} has no events, and others have: write {'_'.join(own)}_events.tsv (onset, duration, trial_type) "
        f"beside it{'; not its own: ' if there else ''}{', '.join(there[:2])}"
    )


def _is_table(file: Named) -> bool:
    return file.suffix == "events" and file.extension in TABLES


def _of_task(file: Named, task: str) -> bool:
    """Whether a name is of this task, spelled in any case, or of none."""
    return same("task", file.entities.get("task", task).casefold(), task.casefold())


def _tables(files: Iterable[Named], above: Sequence[str]) -> list[Named]:
    by_path = {file.path: file for file in (*files, *map(read_name, above)) if _is_table(file)}
    return list(by_path.values())


def _folders(scan: Named) -> list[str]:
    """Folders that a scan inherits from, the nearest first; of ``derivatives/X/...`` those of the raw scan as well."""
    parts = scan.folder.split("/")
    inside = parts[0] == "derivatives" and len(parts) > 2
    raw = folders_above("/".join(parts[2:])) if inside else []
    return [*folders_above(scan.folder)[:0:-1], *raw[:0:-1], ""]


def _more(file: Named, scan: Named, task: str) -> list[str]:
    """What a name says that the scan's does not: ``run-2``. A scan's name without a task is of the one asked for."""
    of_scan = {"task": task, **scan.entities}
    wrong = [f"{key}-{value}" for key, value in file.entities.items() if not same(key, value, of_scan.get(key))]
    unsaid = ["no task"] if "task" in scan.entities and "task" not in file.entities else []
    return [*wrong, *unsaid]


def _why_not(file: Named, scan: Named, task: str) -> str:
    if more := _more(file, scan, task):
        return ", ".join(more)
    return "another folder" if file.extension == TABLES[0] else f"{file.extension}, not {TABLES[0]}"
