"""Job of rule `dictionary`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.dictionary import describe

input, output, params = start(snakemake)
described = describe(Path(output.dictionary).parent)
Path(output.dictionary).write_text(json.dumps(described, indent=1, ensure_ascii=False), encoding="utf-8")
finish(snakemake)
