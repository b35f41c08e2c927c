"""What the section on the cohort says of the files: repetition times by group, and what was taken of several."""

from collections.abc import Mapping

import pandas as pd

from dysconnect.paper.tables import Column, Row, Table, page_link
from dysconnect.paper.text import NONE, counted
from dysconnect.reading.repetition import times_by_group
from dysconnect.report.text import Results

MOST = 200  # rows; everything stands in acquire/choices.tsv


def section(results: Results, contrast: Mapping) -> dict:
    """Sentences on the repetition times of the included, where they differ, and the table of choices, if any."""
    people, index, choices = results.participants, results.index, results.choices
    times = [] if index is None else times_by_group(people[people["included"]], index, contrast)
    return {
        "times": [f"{text[0].upper()}{text[1:]}." for text in times],
        "table": None if choices is None or choices.empty else choices_table(choices),
    }


def choices_table(choices: pd.DataFrame) -> Table:
    """List what was taken of several files, and why; `participant_id`, `what`, `chosen`, `others`, `why`."""
    shown = choices.fillna("").head(MOST)
    told = [
        (row.participant_id, row.what, row.chosen or NONE, row.others or NONE, row.why) for row in shown.itertuples()
    ]
    rows = [Row(list(cells), link=page_link(cells[0])) for cells in told]
    columns = [Column(title, False) for title in ("Subject", "File", "Taken", "Not taken", "Why")]
    more = f" (the first {MOST}; all in acquire/choices.tsv)" if len(choices) > MOST else ""
    return Table(f"{counted(len(choices), 'choice')} among files{more}.", columns, rows)
