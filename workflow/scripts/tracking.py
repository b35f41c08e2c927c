"""Job of rule `tracking`."""

import json
from dataclasses import asdict
from pathlib import Path

from _job import start

from dysconnect.keeping.address import with_password
from dysconnect.tracking import open_tracking

input, output, params = start(snakemake)
handle = open_tracking(with_password(params.uri), params.experiment)
Path(output.handle).write_text(json.dumps(asdict(handle), indent=1))
