"""Job of rule `preprocess_cohort`."""

import pandas as pd
from _job import finish, start

from dysconnect.keeping.rows import in_order

input, output, params = start(snakemake)
rows = [pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False) for path in input.rows]
in_order(pd.concat(rows), params.order).to_csv(output.index, sep="\t", index=False)
finish(snakemake)
