"""Job of rule `timeseries`."""

from pathlib import Path

from _job import finish, say, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.participants import read_participants, write_participants
from dysconnect.data.series import read_index, refuse_changed
from dysconnect.problems import decided, left_out
from dysconnect.timeseries import describe_dataset, emptied, prepare_cohort

input, output, params = start(snakemake)
index, folder = read_index(input.index), emptied(Path(output.participants).parent)
if Path(input.index).parent.name == "acquire":  # else the hash in the index is that of the images
    refuse_changed(index)
known = read_participants(input.participants), index, load_atlas(params.atlas["nodes"]), params.denoise, folder
names = {key: params[key]["name"] for key in ("atlas", "denoise")} | {"task": params.task or "rest"}
table, denoised = prepare_cohort(*known, names, snakemake.threads, params.covariates, params.kinds, params.measures)
write_participants(table, output.participants)
say(left_out(dict(zip(table["participant_id"], table["exclusion_reason"]))), not table["included"].all())
say(decided(dict(zip(denoised["participant_id"], denoised["note"]))))
denoised.to_csv(output.index, sep="\t", index=False)
describe_dataset(params.dataset, folder)
finish(snakemake)
