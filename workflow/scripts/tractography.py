"""Job of rule `tractography`."""

from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import read_receipt, scan_entry
from dysconnect.tractography.person import run_person

input, output, params = start(snakemake)
folder = Path(output.index).absolute().parents[1]
entry = scan_entry(snakemake.wildcards.participant, read_receipt(input.receipt))
settings = params.atlas, params.tractography, params.preprocess
row = run_person(entry, load_atlas(params.atlas["nodes"]), folder, *settings)
pd.DataFrame([row]).to_csv(output.index, sep="\t", index=False)
