"""Job of rule `report_people`."""

from datetime import date
from pathlib import Path

from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.report.people import read_everybody, write_people

input, output, params = start(snakemake)
everybody = read_everybody(dict(input.items()), dict(zip(params.experiments, input.predictions)))
nodes, folder = load_atlas(params.atlas["nodes"]), Path(output.index).parent
write_people(everybody, nodes, params.spec, folder, date.today().isoformat())
