"""Job of rule `track_cohort`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.localize.recovery import read_recovery
from dysconnect.quality.metrics import quality_metrics
from dysconnect.tracking import git_commit, log_cohort, read_handle

input, output, params = start(snakemake)
load = lambda path: json.loads(Path(path).read_text())
read = lambda path: pd.read_csv(path, sep="\t", na_values=["n/a"], keep_default_na=False) if path else None
tags = {"dataset": snakemake.wildcards.dataset, "data_hash": load(input.provenance[0])["data_hash"]}
tags["git"] = git_commit(snakemake.scriptdir)
quality = quality_metrics(load(input.quality), read(input.scans), params.config["quality"])
names = ("edges", "attribution", "summary", "participants", "scans", "coverage", "validation")
files = [input[name] for name in names if input[name]]
recovery = read_recovery(input.recovery) if input.recovery else None
told = tags, load(input.summary), recovery, files, quality, input.report
run = log_cohort(read_handle(input.handle), params.config, *told)
Path(output.run).write_text(json.dumps(run, indent=1))
