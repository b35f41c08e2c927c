"""Job of rule `timeseries`."""

from pathlib import Path

from _job import finish, say, start

from dysconnect.data.atlas import load_atlas
from dysconnect.data.participants import read_participants, write_participants
from dysconnect.data.series import read_index, refuse_changed
from dysconnect.problems import counted, left_out
from dysconnect.timeseries import describe_dataset, prepare_cohort

input, output, params = start(snakemake)
participants, index = read_participants(input.participants), read_index(input.index)
names = {"atlas": params.atlas["name"], "denoise": params.denoise["name"]}
folder = Path(output.participants).parent / "series"
nodes = load_atlas(params.atlas["nodes"])
if Path(input.index).parent.name == "acquire":  # else the hash in the index is that of the images
    refuse_changed(index)
table, denoised = prepare_cohort(
    participants, index, nodes, params.denoise, folder, names, snakemake.threads, params.covariates
)
write_participants(table, output.participants)
say(left_out(dict(zip(table["participant_id"], table["exclusion_reason"]))), not table["included"].all())
decided = counted(dict(zip(denoised["participant_id"], denoised["note"])))
say("\n".join(["What was decided about columns:", *decided]), bool(decided))
denoised.to_csv(output.index, sep="\t", index=False)
describe_dataset(params.dataset, output.description)
finish(snakemake)
