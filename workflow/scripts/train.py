"""Job of rule `train`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.labelled import labelled_cohort, unlabelled_cohort
from dysconnect.learning.saved import save_folds, save_model
from dysconnect.plan.config import pretraining
from dysconnect.train import clear_store, cross_validate, permutation_null

input, output, params = start(snakemake)
sections, name = params.sections, snakemake.wildcards.experiment
wanted = params.contrast, sections["measure"], sections["training"].get("memory")
cohort, data_hash = labelled_cohort(input.connectomes, input.participants, *wanted)
splits = pd.read_csv(input.splits, sep="\t")
store = Path(output.predictions).parent / "unfinished"  # networks survive an interruption
source = pretraining(sections)
others = unlabelled_cohort(source, cohort) if source else None
trained = cross_validate(cohort, splits, name, sections, store, others)
for table in ("predictions", "history", "search"):
    getattr(trained, table).to_csv(output[table], sep="\t", index=False)
permutation_null(cohort, splits, sections, trained.first_repeat, store).to_csv(output.null, sep="\t", index=False)
save_model(trained.final, cohort, output.model, trained.weights)
save_folds(trained.folds, cohort, output.folds)
provenance = {"experiment": name, "data_hash": data_hash, "sections": sections, "pretraining": trained.pretraining}
Path(output.run).write_text(json.dumps(provenance, indent=1))
finish(snakemake)
clear_store(store)
