"""Job of rule `track`."""

import json
from pathlib import Path

import pandas as pd
from _job import start

from dysconnect.tracking import git_commit, log_experiment, read_handle, read_span

input, output, params = start(snakemake)
handle, provenance = read_handle(input.handle), json.loads(Path(input.provenance).read_text())
frames = ["predictions", "history", "search", "null", "scores", "curves"]
tables = {name: pd.read_csv(input[name], sep="\t") for name in frames}
tables["pretraining"] = pd.DataFrame(provenance["pretraining"])
files = [input[name] for name in frames[:4]]
tags = {
    "dataset": snakemake.wildcards.dataset,
    "data_hash": provenance["data_hash"],
    "git": git_commit(snakemake.scriptdir),
}
models = input.model, next(iter(input.bundle), None)
used = read_span(params.benchmark), params.system_metrics
run = log_experiment(handle, snakemake.wildcards.experiment, params.config, tags, tables, files, *models, *used)
Path(output.run).write_text(json.dumps(run, indent=1))
