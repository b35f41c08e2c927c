"""Job of rule `track_cohort`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.tracking import git_commit, log_cohort, read_handle

input, output, params = start(snakemake)
provenance = json.loads(Path(input.provenance[0]).read_text())
tags = {
    "dataset": snakemake.wildcards.dataset,
    "data_hash": provenance["data_hash"],
    "git": git_commit(snakemake.scriptdir),
}
recovery = pd.read_csv(input.recovery, sep="\t") if input.recovery else None
files = [input.report, input.edges, input.summary, input.participants]
run = log_cohort(
    read_handle(input.handle), params.config, tags, json.loads(Path(input.summary).read_text()), recovery, files
)
Path(output.run).write_text(json.dumps(run, indent=1))
