"""Job of rule `discard`."""

from pathlib import Path

from _job import start

from dysconnect.acquire.images import discard
from dysconnect.data.images.receipts import kept_elsewhere, read_receipts

input, output, params = start(snakemake)
receipts = read_receipts(input.receipt)
others = kept_elsewhere([receipt["unit"] for receipt in receipts], Path(input.images))
for receipt in receipts:
    same = [other for other in others if other["unit"] == receipt["unit"]]
    print(f"{receipt['unit']}: {discard(receipt, same) / 1e6:.0f} MB free")
