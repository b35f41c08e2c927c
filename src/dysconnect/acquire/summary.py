"""What was acquired, in one page: who, where, how much, what to beware of, under which licence, how to cite."""

from collections.abc import Mapping

import pandas as pd


def summarise(participants: pd.DataFrame, spec: Mapping, fetched: Mapping | None = None) -> str:
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

    Returns
    -------
    str
    """
    reasons = participants.get("exclusion_reason", pd.Series("", index=participants.index)).fillna("")
    here = participants[reasons == ""]
    lines = [f"{spec['name']}: {spec['title']}", f"{len(here)} of {len(participants)} people have data."]
    if fetched:
        lines.append(f"{fetched['bytes'] / 1e9:,.2f} GB verified in {fetched['folder']}")
    lines += ["", *_table(here), ""]
    counts = reasons[reasons != ""].map(_short).value_counts()
    lines += [f"  without data: {count:4d}  {reason}" for reason, count in counts.items()]
    if fetched and fetched["retry"]:
        lines.append(f"To try again those that could not be fetched, add to the same command: {fetched['retry']}")
    lines += [f"Beware: {trap}" for trap in spec.get("traps") or []]
    lines += [f"Licence: {spec['licence']}", f"Cite: {spec['citation']}"]
    return "\n".join(lines) + "\n"


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
    return "could not be fetched" if reason.startswith("could not be fetched") else reason[:100]
