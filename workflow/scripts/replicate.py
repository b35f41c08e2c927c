"""Job of rule `replicate`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize.replication import replicate

input, output, params = start(snakemake)
spec = params.localize
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, spec["measure"])
edges, summary = replicate(cohort, edge_circuits(load_atlas(params.atlas["nodes"]), cohort.directed), spec)
edges.to_csv(output.edges, sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps(summary, indent=1))
finish(snakemake)
