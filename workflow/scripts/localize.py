"""Job of rule `localize`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import edge_circuits, load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.localize import localize

input, output, params = start(snakemake)
spec = params.localize
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, spec["measure"])
atlas = load_atlas(params.atlas["nodes"])
result = localize(cohort, edge_circuits(atlas, cohort.directed), spec, atlas)
for name in ("edges", "components", "circuits", "power", "points", "regional"):
    getattr(result, name).to_csv(output[name], sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps(result.summary, indent=1))
finish(snakemake)
