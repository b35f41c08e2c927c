"""Job of rule `preprocess`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.acquire.find import find_left
from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import read_receipts, scan_entry
from dysconnect.keeping.rows import made_by, rows_of
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.fmriprep import fmriprep_entry, output_files

input, output, params = start(snakemake)
spec, folder, nodes = params.preprocess, Path(output.index).parents[1], load_atlas(params.atlas["nodes"])
maker = made_by([[params.atlas, spec, params.scan], params.code], [*input.atlas, *input.surface])


def row(receipt):
    entry, left = scan_entry(receipt["unit"], receipt), folder / "fmriprep" / receipt["unit"]
    if spec["engine"] == "fmriprep":
        code, files = json.loads(Path(input.outcome).read_text())["exit_code"], output_files(left, spec["space"])
        entry = fmriprep_entry(entry, code, left, find_left(files, params.scan), params.log)
    return run_engine(entry, nodes, folder / "series", params.atlas, spec)


table = Path(output.index)
pd.DataFrame(rows_of(read_receipts(input.receipt), table, maker, row)).to_csv(table, sep="\t", index=False)
