"""Job of rule `download`."""

from pathlib import Path

from _job import start

from dysconnect.acquire.images import fetch_unit
from dysconnect.data.images.receipts import write_receipts
from dysconnect.fetching import transport_of
from dysconnect.keeping.rows import made_by, receipt_kept

input, output, params = start(snakemake)
folder, people, results, receipts = Path(params.folder), params.files, Path(output.receipt).parents[2], []
stage, *settings, atlas, surface = params.after or [None] * 4
transport = transport_of(params.fetching, folder.name)
maker, described = made_by(settings, [*atlas, *surface]) if stage else None, made_by([params.scan, params.code])
for name, files in people.items():
    receipt = receipt_kept(name, files, results / stage, maker, described) if stage else None
    receipts.append(receipt or fetch_unit(name, files, folder, transport, params.scan) | {"described_by": described})
    if receipts[-1]["problem"]:
        print(f"{name}: {receipts[-1]['problem']}", flush=True)
again = any(receipt["problem"] and not receipt["permanent"] for receipt in receipts)
if again and not snakemake.resources.last_attempt:
    raise SystemExit("the network or the server is in trouble: trying again")
write_receipts(receipts, output.receipt)
