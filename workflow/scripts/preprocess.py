"""Job of rule `preprocess`."""

from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.atlas import load_atlas
from dysconnect.preprocess import preprocess_cohort

input, output, params = start(snakemake)
index = pd.read_csv(input.index, sep="\t", dtype=str, keep_default_na=False)
folder = Path(output.index).parent / "series"
preprocess_cohort(index, load_atlas(params.atlas["nodes"]), folder).to_csv(output.index, sep="\t", index=False)
