"""Job of rule `preprocess`."""

from pathlib import Path

from _job import start

from dysconnect.acquire.find import find_left
from dysconnect.data.atlas import load_atlas
from dysconnect.data.images.receipts import write_rows
from dysconnect.keeping.rows import made_by
from dysconnect.preprocess.engine import run_engine
from dysconnect.preprocess.fmriprep import entry_left

input, output, params = start(snakemake)
spec, folder, nodes = params.preprocess, Path(output.index).parents[1], load_atlas(params.atlas["nodes"])
made = [[params.atlas, spec, params.scan], params.code], [*input.atlas, *input.surface]


def row(entry):
    if input.outcome:
        entry = entry_left(entry, input.outcome, spec["space"], params.log, lambda paths: find_left(paths, params.scan))
    return run_engine(entry, nodes, folder / "series", params.atlas, spec)


write_rows(input.receipt, output.index, None if input.outcome else made_by(*made), row)
