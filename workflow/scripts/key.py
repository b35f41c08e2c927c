"""Job of rule `key`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.pooling.masks import fingerprint
from dysconnect.share.session import FOLDER, described_key, kept_key
from dysconnect.share.unpacked import read_package

input, output, params = start(snakemake)
key = kept_key(read_package(input.package), FOLDER).key
Path(output.key).write_text(json.dumps(described_key(key), indent=1), encoding="utf-8")
print(f"{output.key}: {fingerprint(key.public)}")
finish(snakemake)
