"""Job of rule `preprocess`."""

from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.acquire.images import read_receipt, scan_entry
from dysconnect.atlas import load_atlas
from dysconnect.preprocess.engine import run_engine

input, output, params = start(snakemake)
entry = scan_entry(snakemake.wildcards.participant, read_receipt(input.receipt))
folder = Path(output.index).parents[1] / "series"
row = run_engine(entry, load_atlas(params.atlas["nodes"]), folder, params.atlas, params.preprocess)
pd.DataFrame([row]).to_csv(output.index, sep="\t", index=False)
