"""Job of rule `train`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.config import pretraining
from dysconnect.connectivity import labelled_cohort, unlabelled_cohort
from dysconnect.train import clear_store, cross_validate, permutation_null
from dysconnect.train.estimators import save_model

input, output, params = start(snakemake)
sections, files = params.sections, (input.connectomes, input.participants)
given = params.contrast, sections["measure"], sections["training"].get("memory")
cohort, data_hash = labelled_cohort(*files, *given)
splits, name = pd.read_csv(input.splits, sep="\t"), snakemake.wildcards.experiment
store = Path(output.predictions).parent / "unfinished"  # networks survive an interruption
wanted = pretraining(sections)
trained = cross_validate(cohort, splits, name, sections, store, unlabelled_cohort(wanted, cohort) if wanted else None)
null = permutation_null(cohort, splits, sections, trained.first_repeat, store)
tables = {"predictions": trained.predictions, "history": trained.history, "null": null}
for table, rows in tables.items():
    rows.to_csv(output[table], sep="\t", index=False)
save_model(trained.final, cohort, output.model, trained.weights)
provenance = {"experiment": name, "data_hash": data_hash, "sections": sections, "pretraining": trained.pretraining}
Path(output.run).write_text(json.dumps(provenance, indent=1))
clear_store(store)
