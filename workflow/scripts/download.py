"""Job of rule `download`."""

from pathlib import Path

from _job import start

from dysconnect.acquire.images import fetch_unit
from dysconnect.data.images.receipts import write_receipt
from dysconnect.fetching import transport_of

input, output, params = start(snakemake)
unit, folder = snakemake.wildcards.unit, Path(params.folder)
receipt = fetch_unit(unit, params.files, folder, transport_of(params.fetching, folder.name), params.scan)
if receipt["problem"]:
    print(f"{unit}: {receipt['problem']}", flush=True)
if receipt["problem"] and not receipt["permanent"] and not snakemake.resources.last_attempt:
    raise SystemExit("the network or the server is in trouble: trying again")
write_receipt(receipt, output.receipt)
Path(output.images).touch()
