"""Job of rule `tractography`."""

from pathlib import Path

from _job import start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import write_rows
from dysconnect.keeping.rows import made_by
from dysconnect.tractography.person import run_person

input, output, params = start(snakemake)
folder, nodes = Path(output.index).absolute().parents[1], load_atlas(params.atlas["nodes"])
settings = params.atlas, params.tractography, params.preprocess
maker = made_by([settings, params.code], input.atlas)
write_rows(input.receipt, output.index, maker, lambda entry: run_person(entry, nodes, folder, *settings))
