"""Job of rule `acquire`."""

from pathlib import Path

from _job import PROJECT, finish, say, start

from dysconnect.acquire import acquire, acquire_scans, fetched_so_far, write_acquired
from dysconnect.acquire.images import plan_images
from dysconnect.acquire.summary import summarise
from dysconnect.acquire.withdrawn import without
from dysconnect.data.atlas import load_atlas

input, output, params = start(snakemake)
dataset, folder = params.dataset | {"withdrawn": params.withdrawn}, Path(output.participants).parent / "series"
if receipts := list(input.receipts):
    plan = plan_images(dataset, params.fetching, PROJECT / "configs/manifest")
    acquired = acquire_scans(dataset, plan, receipts, params.fetching["max_failed"])
else:
    acquired = acquire(dataset, load_atlas(params.atlas["nodes"]), folder, params.fetching)
acquired, outputs = without(acquired, params.withdrawn, folder), dict(output.items())
write_acquired(acquired, outputs)
summary = summarise(acquired.participants, params.dataset, fetched_so_far(receipts), acquired.index, acquired.choices)
Path(outputs["summary"]).write_text(summary)
say(summary, params.dataset["kind"] != "simulated")
finish(snakemake)
