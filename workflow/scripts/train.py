"""Job of rule `train`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.connectivity import labelled_cohort
from dysconnect.train import clear_store, cross_validate, permutation_null
from dysconnect.train.estimators import save_model

input, output, params = start(snakemake)
sections, name = params.sections, snakemake.wildcards.experiment
cohort, data_hash = labelled_cohort(input.connectomes, input.participants, params.contrast, sections["measure"])
splits = pd.read_csv(input.splits, sep="\t")
store = Path(output.predictions).parent / "unfinished"  # networks survive an interruption
trained = cross_validate(cohort, splits, name, sections, store)
trained.predictions.to_csv(output.predictions, sep="\t", index=False)
trained.history.to_csv(output.history, sep="\t", index=False)
save_model(trained.final, cohort, output.model, trained.weights)
null = permutation_null(cohort, splits, sections, trained.first_repeat, store)
null.to_csv(output.null, sep="\t", index=False)
provenance = {"experiment": name, "data_hash": data_hash, "sections": sections}
Path(output.run).write_text(json.dumps(provenance, indent=1))
clear_store(store)
