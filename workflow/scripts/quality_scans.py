"""Job of rule `quality_scans`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.participants import read_participants
from dysconnect.progress import track
from dysconnect.quality.scans import read_scan, scan_rows, scan_table

input, output, params = start(snakemake)
nodes, rows = load_atlas(params.atlas["nodes"]), scan_rows(input.index, input.denoised)
scans = (read_scan(*row, nodes) for row in track(rows, "quality of scans"))
table, coverage, engine = scan_table(scans, read_participants(input.participants))
table.to_csv(output.table, sep="\t", index=False, na_rep="n/a", float_format="%.6g")
coverage.to_csv(output.coverage, sep="\t", na_rep="n/a", float_format="%.4g")
Path(output.engine).write_text(json.dumps(engine, indent=1))
finish(snakemake)
