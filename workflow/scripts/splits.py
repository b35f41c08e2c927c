"""Job of rule `splits`."""

import json
from pathlib import Path

from _job import finish, start

from dysconnect.data.participants import read_participants, with_labels
from dysconnect.learning.splits import audit_splits, make_splits

input, output, params = start(snakemake)
participants = with_labels(read_participants(input.participants), params.contrast)
splits = make_splits(participants, **params.splits)
if problems := audit_splits(splits, participants):
    raise ValueError("the splits leak: " + "; ".join(problems))
splits.to_csv(output.splits, sep="\t", index=False)
Path(output.settings).write_text(json.dumps({"splits": params.splits}, indent=1))
finish(snakemake)
