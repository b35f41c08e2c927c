"""With how many settings a cohort was evaluated in this folder: one sentence, and a table where there were several."""

from collections.abc import Mapping, Sequence

from dysconnect.models.cards import label
from dysconnect.paper.tables import Column, Row, Table
from dysconnect.paper.text import NONE, counted, listed, number
from dysconnect.report.results import Results

MOST = 6  # differences that a row spells out


def tried_sentence(results: Results) -> str:
    """How many settings were tried, and what the p values make of that; empty where it is not known."""
    tried, damaged = results.tried.get("tried", ()), results.tried.get("damaged", ())
    if not tried:
        return ""
    count, since = len(tried) + len(damaged), tried[0]["since"]
    if count == 1:
        return f"This cohort has been evaluated with no other settings in this folder since {since}."
    text = (
        f"This cohort has been evaluated with {counted(count, 'set')} of settings in this folder since {since}; the p "
        "values allow for the models of this run, not for the others."
    )
    if not damaged:
        return text
    record = "record of one of them is" if len(damaged) == 1 else f"records of {len(damaged):,} of them are"
    return f"{text} The {record} damaged, so that its settings are not known: {listed(damaged)} in evaluate."


def tried_table(results: Results) -> Table | None:
    """All settings with what they reached, this run's marked; None where there was one."""
    tried = results.tried.get("tried", ())
    if len(tried) < 2:
        return None
    rows = [_row(one, one["id"] == results.tried["this"]) for one in tried]
    columns = [Column("Since", False), Column("Other than now", False), Column("Best model", False), Column("AUC")]
    caption = (
        "Settings with which this cohort has been evaluated in this folder, and the AUC of the best model of each. "
        "Whoever takes the best of several rows needs a test that allows for all of them, or other people."
    )
    return Table(caption, columns, rows)


def _row(one: Mapping, now: bool) -> Row:
    auc = NONE if one["auc"] is None else number(one["auc"])
    words = "this run" if now else _differences(one["differs"])
    return Row([one["since"], words, label(one["best"]) if one["best"] else NONE, auc], "best" if now else "")


def _differences(differs: Sequence[Sequence[str]]) -> str:
    """What was other, the first few spelled out."""
    said = [_difference(*one) for one in differs[:MOST]]
    more = len(differs) - MOST
    return "; ".join(said) + (f"; {counted(more, 'more difference')}" if more > 0 else "")


def _difference(key: str, then: str, now: str) -> str:
    """One setting that was other; models by their titles."""
    section, _, rest = key.partition(".")
    if section != "experiments":
        return f"{key}={then}, now {now}"
    name, _, setting = rest.partition(".")
    if not setting:
        return f"without {label(name)}" if then == "null" else f"with {label(name)}"
    return f"{label(name)}: {setting}={then}, now {now}"
