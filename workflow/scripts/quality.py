"""Job of rule `quality`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.matrices import read_index_of_matrices
from dysconnect.data.participants import read_participants
from dysconnect.localize import without_copies
from dysconnect.quality import assess, regions_outside

input, output, params = start(snakemake)
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, params.measure)
cohort, nodes = without_copies(cohort), load_atlas(params.atlas["nodes"])
everybody = read_participants(input.participants)
ids = cohort.participants["participant_id"]
outside = regions_outside(input.series, ids, nodes["name"]) if input.series else None
index = read_index_of_matrices(input.matrices).set_index("participant_id") if input.matrices else None
made = index.loc[ids, "processing"] if input.matrices else ()
table, summary = assess(cohort, nodes, everybody, params.contrast, params.covariates, params.spec, outside, made)
table.to_csv(output.qcfc, sep="\t", index=False, float_format="%.6g")
Path(output.summary).write_text(json.dumps(summary, indent=1, allow_nan=False))
finish(snakemake)
