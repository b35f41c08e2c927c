"""Job of rule `report_subjects`."""

from datetime import date
from pathlib import Path

from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.participants import read_participants
from dysconnect.quality.scans import read_scans, scan_rows
from dysconnect.report.people.subjects import write_pages

input, output, params = start(snakemake)
scans = read_scans(input.scans, input.coverage, input.engine)
rows, people = scan_rows(input.index, input.denoised), read_participants(input.participants)
nodes, folder, day = load_atlas(params.atlas["nodes"]), Path(output.pages).parent, date.today().isoformat()
write_pages(rows, scans, people, nodes, params.spec, folder, day, snakemake.threads)
