"""Job of rule `masked`."""

from pathlib import Path

from _job import finish, start

from dysconnect.keeping.whole import whole_file
from dysconnect.share.ledger import FILE
from dysconnect.share.make import make_masked
from dysconnect.share.session import FOLDER

input, output, params = start(snakemake)
spec = {name: value for name, value in params.items()}
content, words = make_masked(input, spec, FILE, FOLDER)
with whole_file(output.masked, len(content)) as file:
    file.write(content)
Path(output.words).write_text(words + "\n", encoding="utf-8")
finish(snakemake)
