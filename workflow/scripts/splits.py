"""Job of rule `splits`."""

from _job import start

from dysconnect.participants import read_participants, with_labels
from dysconnect.train.splits import make_splits

input, output, params = start(snakemake)
participants = with_labels(read_participants(input.participants), params.contrast)
make_splits(participants, **params.splits).to_csv(output.splits, sep="\t", index=False)
