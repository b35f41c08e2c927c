"""Job of rule `stimulate`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.atlas import load_atlas
from dysconnect.connectivity import labelled_cohort
from dysconnect.localize import attributed
from dysconnect.stimulate import rank_targets
from dysconnect.train.estimators import read_fold_weights

input, output, params = start(snakemake)
spec, nodes = params.localize, load_atlas(params.atlas["nodes"])
weights, verdict = attributed(input.model, input.null, spec)
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, spec["measure"])
targets = rank_targets(
    cohort, pd.read_csv(input.splits, sep="\t"), read_fold_weights(input.model), nodes, spec["nuisance"]
)
shown = targets if weights is not None else targets.iloc[:0]  # no ranking from a model at chance
shown.to_csv(output.targets, sep="\t", index=False, float_format="%.6g")
Path(output.verdict).write_text(json.dumps({"verdict": verdict, "ranked": len(shown)}, indent=1))
