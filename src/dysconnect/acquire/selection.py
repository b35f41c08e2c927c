"""Who is wanted: a reason for everybody who is not, before anything is fetched."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.reading.cells import folded


def select(people: pd.DataFrame, spec: Mapping) -> dict[str, str]:
    """Say of every participant why there is no need to fetch the scans.

    Parameters
    ----------
    people : DataFrame
        `participant_id` and `group`, one row a participant; `reason` where somebody cannot be used anyway.
    spec : mapping
        The `dataset` section: `contrast`, and where the dataset has them `exclude` (participant to reason; None for
        somebody whom another dataset's list has), `participants` (the only ones wanted, or None) and `limit` (that
        many, balanced over the groups of the contrast, or None); `withdrawn`, those who have withdrawn
        (``withdrawn.tsv``).

    Returns
    -------
    dict of str to str
        The reason by `participant_id`, in the order of `people`; an empty string for those who are wanted.

    Raises
    ------
    ValueError
        When `exclude` or `participants` names somebody who is not there, or nobody is left.
    """
    known = set(people["participant_id"])
    exclude = {name: why for name, why in (spec.get("exclude") or {}).items() if why}
    chosen, limit = spec.get("participants"), spec.get("limit")
    for key, names in (("exclude", exclude), ("participants", chosen or [])):
        unknown = sorted(set(names) - known)
        if unknown and not (key == "exclude" and spec.get("root")):  # a copy may hold some of the people only
            raise ValueError(
                f"dataset.{key}: no participant {', '.join(unknown[:5])} in {spec['name']} ({len(known)} people, "
                f"first: {min(known)}). Correct the list."
            )
    sides = [*spec["contrast"]["cases"], *spec["contrast"]["controls"]]
    settings = exclude, sides, chosen, spec.get("withdrawn")
    reasons = {row.participant_id: _reason(row, *settings) for row in people.itertuples()}
    if limit is not None:
        _apply_limit(reasons, people, sides, limit)
    if people.shape[0] and all(reasons.values()):
        raise ValueError(
            f"dataset {spec['name']}: nobody is left to fetch (groups here: {', '.join(sorted(set(people['group'])))}; "
            f"contrast: {', '.join(sides)}). Correct dataset.contrast, dataset.participants or dataset.limit."
        )
    return reasons


def _reason(
    row, exclude: Mapping[str, str], sides: list[str], chosen: list[str] | None, withdrawn: list[str] | None
) -> str:
    if row.participant_id in (withdrawn or ()):
        return "has withdrawn"
    if row.participant_id in exclude:
        return f"excluded by the dataset's list: {exclude[row.participant_id]}"
    if row.group not in sides:
        return _other_group(row.group, sides)
    if chosen is not None and row.participant_id not in chosen:
        return "not among dataset.participants"
    return getattr(row, "reason", "")


def _other_group(group: str, sides: list[str]) -> str:
    """Say that a group is not compared; one that differs by case, blanks or hyphens from one that is may be meant."""
    if not group:
        return "group is missing"
    near = next((name for name in sides if folded(name) == folded(group)), "")
    return f"group {group}: dataset.contrast has {near}" if near else f"group {group} is not part of the contrast"


def _apply_limit(reasons: dict[str, str], people: pd.DataFrame, sides: list[str], limit: int) -> None:
    """Keep `limit` of the wanted, taking from the groups in turn, each in the order of the table."""
    queues = {
        group: [name for name in people.loc[people["group"] == group, "participant_id"] if not reasons[name]]
        for group in sides
    }
    kept: set[str] = set()
    while len(kept) < limit and any(queues.values()):
        for group in sides:
            if queues[group] and len(kept) < limit:
                kept.add(queues[group].pop(0))
    for name, reason in reasons.items():
        if not reason and name not in kept:
            reasons[name] = f"left out by dataset.limit={limit}"
