"""Job of rule `discard`."""

from pathlib import Path

from _job import start

from dysconnect.acquire.images import discard
from dysconnect.data.images.receipts import read_receipt

input, output, params = start(snakemake)
own, name = Path(input.images), snakemake.wildcards.participant
kept = [path for path in Path("results").glob(f"*/acquire/receipts/{name}.images") if path != own]
others = [read_receipt(path.with_suffix(".json")) for path in kept if path.with_suffix(".json").exists()]
print(f"{name}: {discard(read_receipt(input.receipt), others) / 1e6:.0f} MB free")
