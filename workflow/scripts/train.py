"""Job of rule `train`."""

import json
from pathlib import Path

import pandas as pd
from _job import finish, start

from dysconnect.data.labelled import labelled_cohort, pretraining_cohort
from dysconnect.data.structure import with_graph
from dysconnect.train import clear_store, cross_validate, permutation_null, show_live, write_trained

input, output, params = start(snakemake)
sections, name = params.sections, snakemake.wildcards.experiment
wanted = params.contrast, sections["measure"], sections["training"].get("memory")
cohort, data_hash = labelled_cohort(input.connectomes, input.participants, *wanted)
cohort = with_graph(cohort, sections)
splits, others = pd.read_csv(input.splits, sep="\t"), pretraining_cohort(sections, cohort)
store = Path(output.predictions).parent / "unfinished"  # networks survive an interruption
with show_live(params.live) as live:
    trained = cross_validate(cohort, splits, name, sections, store, others, live)
null = permutation_null(cohort, splits, sections, trained.first_repeat, store)
write_trained(trained, null, cohort, output)
provenance = {"experiment": name, "data_hash": data_hash, "sections": sections, "pretraining": trained.pretraining}
Path(output.run).write_text(json.dumps(provenance, indent=1))
finish(snakemake)
clear_store(store)
