"""Job of rule `timeseries` where everybody's connections come as a matrix."""

from pathlib import Path

from _job import finish, say, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.matrices import read_index_of_matrices, write_index_of_matrices
from dysconnect.data.participants import read_participants, write_participants
from dysconnect.problems import decided, left_out
from dysconnect.timeseries import describe_dataset, judge_matrices

input, output, params = start(snakemake)
known = read_participants(input.participants), read_index_of_matrices(input.index), load_atlas(params.atlas["nodes"])
table, kept = judge_matrices(*known, params.denoise, params.covariates)
write_participants(table, output.participants)
say(left_out(dict(zip(table["participant_id"], table["exclusion_reason"]))), not table["included"].all())
say(decided(dict(zip(kept["participant_id"], kept["note"])), "matrices"))
write_index_of_matrices(kept, output.index)
describe_dataset(params.dataset, Path(output.description).parent, "matrices")
finish(snakemake)
