"""Job of rule `stimulate`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.learning.permuted import gate
from dysconnect.stimulate import rank_targets

input, output, params = start(snakemake)
spec, nodes = params.stimulate, load_atlas(params.atlas["nodes"])
model = gate(pd.read_csv(input.null, sep="\t"), spec["alpha"], spec["experiment"])
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, params.sections["measure"])
ranking = rank_targets(cohort, pd.read_csv(input.splits, sep="\t"), params.sections, nodes, spec, model)
for table in ("targets", "patients", "edits"):
    getattr(ranking, table).to_csv(output[table], sep="\t", index=False, float_format="%.5g")
Path(output.verdict).write_text(json.dumps(ranking.summary, indent=1))
finish(snakemake)
