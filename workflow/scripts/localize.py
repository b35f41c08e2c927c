"""Job of rule `localize`."""

import json
from pathlib import Path

from _job import start

from dysconnect.atlas import edge_circuits, load_atlas
from dysconnect.connectivity import labelled_cohort
from dysconnect.localize import attributed, localize

input, output, params = start(snakemake)
spec = params.localize
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, spec["measure"])
attribution, verdict = attributed(input.model, input.null, spec) if input.model else (None, "no experiment chosen")
atlas = load_atlas(params.atlas["nodes"])
edges, summary, components, circuits = localize(cohort, edge_circuits(atlas), spec, attribution, atlas)
for table, path in ((edges, output.edges), (components, output.components), (circuits, output.circuits)):
    table.to_csv(path, sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps({**summary, "attribution": verdict}, indent=1))
