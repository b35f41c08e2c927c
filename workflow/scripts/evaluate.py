"""Job of rule `evaluate`."""

import pandas as pd
from _job import start

from dysconnect.evaluate import evaluate

input, output, params = start(snakemake)
read = lambda files: {name: pd.read_csv(file, sep="\t") for name, file in zip(params.experiments, files)}
splits = pd.read_csv(input.splits, sep="\t")
tables = evaluate(read(input.predictions), read(input.nulls), splits, params.evaluate)
for table, path in zip(tables, output):
    table.to_csv(path, sep="\t", index=False)
