"""Job of rule `stimulate`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.labelled import labelled_cohort
from dysconnect.learning.permuted import gate
from dysconnect.stimulate import rank_targets, withheld

input, output, params = start(snakemake)
spec, nodes = params.stimulate, load_atlas(params.atlas["nodes"])
shown, _, verdict = gate(pd.read_csv(input.null, sep="\t"), spec["alpha"], spec["experiment"])
ranking = withheld()
if shown:
    measure = params.sections["measure"]
    cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, measure)
    ranking = rank_targets(cohort, pd.read_csv(input.splits, sep="\t"), params.sections, nodes, spec)
for table in ("targets", "patients", "edits"):
    getattr(ranking, table).to_csv(output[table], sep="\t", index=False, float_format="%.5g")
Path(output.verdict).write_text(json.dumps({"verdict": verdict, **ranking.summary}, indent=1))
finish(snakemake)
