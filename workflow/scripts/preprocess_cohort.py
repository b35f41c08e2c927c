"""Job of rule `preprocess_cohort`."""

import pandas as pd
from _job import finish, start

input, output, params = start(snakemake)
rows = [pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in input.rows]
pd.concat(rows, ignore_index=True).to_csv(output.index, sep="\t", index=False)
finish(snakemake)
