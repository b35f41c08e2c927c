"""Job of rule `stimulate`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.stimulate import shown_targets

input, output, params = start(snakemake)
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, params.sections["measure"])
splits, null = pd.read_csv(input.splits, sep="\t"), pd.read_csv(input.null, sep="\t")
nodes = load_atlas(params.atlas["nodes"])
ranking = shown_targets(cohort, splits, params.sections, nodes, params.stimulate, null)
for table in ("targets", "patients", "edits"):
    getattr(ranking, table).to_csv(output[table], sep="\t", index=False, float_format="%.5g")
Path(output.verdict).write_text(json.dumps(ranking.summary, indent=1))
finish(snakemake)
