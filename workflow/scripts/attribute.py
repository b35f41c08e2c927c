"""Job of rule `attribute`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.attribute import attribute
from dysconnect.data.labelled import labelled_cohort
from dysconnect.data.structure import with_graph

input, output, params = start(snakemake)
cohort, _ = labelled_cohort(input.connectomes, input.participants, params.contrast, params.sections["measure"])
cohort = with_graph(cohort, params.sections)
splits, null = (pd.read_csv(path, sep="\t") for path in (input.splits, input.null))
maps = attribute(cohort, splits, null, input.folds, params.sections, params.localize)
maps.edges.to_csv(output.edges, sep="\t", index=False, float_format="%.6g")
Path(output.told).write_text(json.dumps({"experiment": snakemake.wildcards.experiment, **maps.told}, indent=1))
finish(snakemake)
