"""Job of rule `tractography`."""

from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import read_receipts, scan_entry
from dysconnect.keeping.rows import made_by, rows_of
from dysconnect.tractography.person import run_person

input, output, params = start(snakemake)
folder, nodes = Path(output.index).absolute().parents[1], load_atlas(params.atlas["nodes"])
settings = params.atlas, params.tractography, params.preprocess
maker = made_by([settings, params.code], input.atlas)


def row(receipt):
    return run_person(scan_entry(receipt["unit"], receipt), nodes, folder, *settings)


table = Path(output.index)
pd.DataFrame(rows_of(read_receipts(input.receipt), table, maker, row)).to_csv(table, sep="\t", index=False)
