"""Job of rule `preprocess`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.acquire.find import find_left
from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import read_receipt, scan_entry
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.fmriprep import fmriprep_entry, output_files

input, output, params = start(snakemake)
participant, spec, folder = snakemake.wildcards.participant, params.preprocess, Path(output.index).parents[1]
entry = scan_entry(participant, read_receipt(input.receipt))
if spec["engine"] == "fmriprep":
    left, code = folder / "fmriprep" / participant, json.loads(Path(input.outcome).read_text())["exit_code"]
    entry = fmriprep_entry(entry, code, left, find_left(output_files(left, spec["space"]), params.scan), params.log)
row = run_engine(entry, load_atlas(params.atlas["nodes"]), folder / "series", params.atlas, spec)
pd.DataFrame([row]).to_csv(output.index, sep="\t", index=False)
