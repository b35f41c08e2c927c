"""Job of rule `attribute_edges`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.attribute.weights import attribution, with_attribution

input, output, params = start(snakemake)
weights, verdict = attribution(input.model, input.null, params.experiment, params.alpha)
edges = pd.read_csv(input.edges, sep="\t", dtype=str, keep_default_na=False)  # the numbers stay as they are written
with_attribution(edges, weights).to_csv(output.edges, sep="\t", index=False, float_format="%.6g")
Path(output.verdict).write_text(json.dumps({"attribution": verdict}, indent=1))
finish(snakemake)
