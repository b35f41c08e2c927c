"""Job of rule `discard`."""

from _job import start

from dysconnect.acquire.images import discard
from dysconnect.data.images.receipts import read_receipt

input, output, params = start(snakemake)
print(f"{snakemake.wildcards.participant}: {discard(read_receipt(input.receipt)) / 1e6:.0f} MB free")
