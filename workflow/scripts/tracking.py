"""Job of rule `tracking`."""

import json
from dataclasses import asdict
from pathlib import Path

from _job import start

from dysconnect.tracking import choose_uri, open_tracking

input, output, params = start(snakemake)
handle = open_tracking(choose_uri(params.tracking["uri"]), params.tracking["experiment"])
Path(output.handle).write_text(json.dumps(asdict(handle), indent=1))
