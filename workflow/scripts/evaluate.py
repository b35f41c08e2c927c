"""Job of rule `evaluate`."""

import pandas as pd
from _job import start

from dysconnect.evaluate import evaluate
from dysconnect.participants import read_participants

input, output, params = start(snakemake)
read = lambda files: {name: pd.read_csv(file, sep="\t") for name, file in zip(params.experiments, files)}
splits, participants = pd.read_csv(input.splits, sep="\t"), read_participants(input.participants)
predictions, nulls = read(input.predictions), read(input.nulls)
found = evaluate(predictions, nulls, splits, participants, params.covariates, params.evaluate)
for name, path in output.items():
    getattr(found, name).to_csv(path, sep="\t", index=False)
