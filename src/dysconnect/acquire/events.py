"""Which table of events belongs to a scan: found by the names of files, before anything is fetched; not read here."""

from collections.abc import Iterable, Mapping, Sequence

from dysconnect.reading.bids import Named, companion, read_name, same

REST = "rest"  # the task without one


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
    events = [path for path in paths if is_events(read_name(path), spec["task"])]
    return {"events": sorted(path for path in events if not path.startswith("sub-"))} if events else {}


def is_events(file: Named, task: str) -> bool:
    """Whether a name is that of a table of events, of this task or of none."""
    return file.suffix == "events" and file.extension == ".tsv" and same("task", file.entities.get("task", task), task)


def find_events(scan: Named, files: Iterable[Named], above: Sequence[str], rivals: Sequence[Named], task: str) -> str:
    """Find the events of a scan: a person's own before those that lie above, of either the most alike by name.

    Parameters
    ----------
    scan : Named
    files : iterable of Named
        Of the same person.
    above : sequence of str
        From `events_above`.
    rivals : sequence of Named
        Other scans of the person, whose events are not taken.
    task : str

    Returns
    -------
    str
        Path, "" where there are none of this scan.

    Raises
    ------
    Ambiguity
        When nothing says which belong to it.
    """
    for level in (files, map(read_name, above)):
        events = sorted((file for file in level if is_events(file, task)), key=lambda file: -file.path.count("/"))
        if chosen := companion(scan, events, rivals).file:
            return chosen.path
    return ""


def no_events(name: str, participant: str, task: str) -> str:
    """Say that a scan has no events, and where they are looked for."""
    return (
        f"{name} has no events, and others have: write {participant}_task-{task}_events.tsv (onset, duration, "
        "trial_type) beside it"
    )
