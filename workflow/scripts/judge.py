"""Job of rule `timeseries` where connections are given as numbers."""

from pathlib import Path

import pandas as pd
from _job import finish, say, start

from dysconnect.data.participants import read_participants, write_participants
from dysconnect.problems import left_out
from dysconnect.timeseries import describe_dataset, judge_cohort

input, output, params = start(snakemake)
participants, edges = read_participants(input.participants), pd.read_csv(input.index, sep="\t")
table, kept = judge_cohort(participants, edges, params.covariates)
write_participants(table, output.participants)
say(left_out(dict(zip(table["participant_id"], table["exclusion_reason"]))), not table["included"].all())
kept.to_csv(output.index, sep="\t", index=False)
describe_dataset(params.dataset, Path(output.description).parent, "edges")
finish(snakemake)
