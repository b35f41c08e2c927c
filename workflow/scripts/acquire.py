"""Job of rule `acquire`."""

from pathlib import Path

from _job import start

from dysconnect.acquire import acquire, write_acquired
from dysconnect.atlas import load_atlas

input, output, params = start(snakemake)
folder = Path(output.participants).parent / "series"
acquired = acquire(params.dataset, load_atlas(params.atlas["nodes"]), folder)
write_acquired(acquired, dict(output.items()))
