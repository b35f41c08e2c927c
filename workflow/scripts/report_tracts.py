"""Job of rule `report_tracts`."""

from datetime import date
from pathlib import Path

from _job import start

from dysconnect.data.participants import read_participants
from dysconnect.quality.tracts import read_tracts, tract_table
from dysconnect.report.people.tracts import read_rows, write_tract_pages

input, output, params = start(snakemake)
people = read_participants(input.participants)
table = tract_table(read_tracts(input.index, input.quality), people)
folder, day = Path(output.pages).parent, date.today().isoformat()
write_tract_pages(read_rows(input.rows), table, people, params.spec, folder, day)
