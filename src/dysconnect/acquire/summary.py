"""What was acquired, in one page: who, where, how much, what to beware of, under which licence, how to cite."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.problems import counted
from dysconnect.reading.repetition import times_by_group


def summarise(
    participants: pd.DataFrame,
    spec: Mapping,
    fetched: Mapping | None = None,
    index: pd.DataFrame | None = None,
    choices: pd.DataFrame | None = None,
) -> str:
    """Write the summary that closes the stage.

    Parameters
    ----------
    participants : DataFrame
        Everybody, with `group`, `site` and, for those who cannot be used, `exclusion_reason`.
    spec : mapping
        The `dataset` section.
    fetched : mapping, optional
        `bytes` and `folder` of what is on disk, and `retry`: what to add to the command so that those whose
        fetching failed are tried again ("" when nobody failed).
    index : DataFrame, optional
        Of series or scans: whoever is not in it, or has a `problem` there, has no data.
    choices : DataFrame, optional
        What was taken of several: `participant_id`, `what`, `chosen`, `others`, `why`.

    Returns
    -------
    str
    """
    reasons = without_data(participants, index)
    here = participants[reasons.to_numpy() == ""]
    lines = [f"{spec['name']}: {spec['title']}", f"{len(here)} of {len(participants)} people have data."]
    if fetched and fetched["bytes"]:
        lines.append(f"{fetched['bytes'] / 1e9:,.2f} GB verified in {fetched['folder']}")
    lines += ["", *(_table(here) if len(here) else []), ""]
    lines += [f"  without data: {line}" for line in counted({name: _short(text) for name, text in reasons.items()})]
    if fetched and fetched["retry"]:
        lines.append(f"To try again those that could not be fetched, add to the same command: {fetched['retry']}")
    lines += describe_choices(choices) if choices is not None else []
    if index is not None:
        lines += [_sentence(text) for text in times_by_group(here, index, spec["contrast"])]
    lines += [f"Beware: {trap}" for trap in spec.get("traps") or []]
    lines += [f"Licence: {spec['licence']}", f"Cite: {spec['citation']}"]
    return "\n".join(lines) + "\n"


def without_data(participants: pd.DataFrame, index: pd.DataFrame | None = None) -> pd.Series:
    """Why people have no data, by `participant_id`; "" for those who have."""
    names = participants.get("participant_id", participants.index)
    in_table = participants.get("exclusion_reason", pd.Series("", index=participants.index)).fillna("")
    reasons = pd.Series(in_table.to_numpy(object), index=names)
    if index is None or not {"series", "bold", "matrix"} & set(index):
        return reasons
    problems = index.set_index("participant_id").get("problem", pd.Series("", index=index["participant_id"]))
    in_index = problems.fillna("").reindex(names, fill_value="no file of theirs was found")
    return reasons.where(reasons != "", in_index)


def describe_choices(choices: pd.DataFrame) -> list[str]:
    """One line a kind of choice: how many people it concerns, and the first of them with the files."""
    lines = []
    for (what, why), rows in choices.groupby(["what", "why"], sort=False):
        first, n = rows.iloc[0], len(rows)
        of = f"{first['chosen'] or 'none'}, not {first['others']}" if first["others"] else first["chosen"]
        lines.append(f"Chosen for {n} {'people' if n > 1 else 'person'}: {what}, {why} ({of}; all: choices.tsv)")
    return lines


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _table(people: pd.DataFrame) -> list[str]:
    """Counts of people by site and group, with age and sex where they are known."""
    counts = pd.crosstab(people["site"].fillna("n/a"), people["group"], margins=True, margins_name="all").astype(object)
    if people["age"].notna().any():
        ages = people.groupby("group")["age"]
        counts.loc["age"] = [f"{mean:.0f} ± {sd:.0f}" for mean, sd in zip(ages.mean(), ages.std())] + [""]
    if people["sex"].isin(["F", "M"]).any():
        women = people.groupby("group")["sex"].agg(lambda sex: int((sex == "F").sum()))
        counts.loc["women"] = [*women, int((people["sex"] == "F").sum())]
    counts.index.name, counts.columns.name = "site", None
    return ["  " + line for line in counts.astype(str).reset_index().to_string(index=False).splitlines()]


def _short(reason: str) -> str:
    """A reason without what differs from one person to the next."""
    return "could not be fetched" if reason.startswith("could not be fetched") else reason
